"""What waiting and acting cost. `python -m bench.holds URL`. Prints one JSON object.

`resume`: from an answer to the first step after it, in runs with journals of 100 steps. `waiting`: the memory, tasks
and processor time of a process in which `WAITING` runs wait for people. `call`: a keyed call in the ledger against a
call that reads, one after another in one run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import statistics
import sys
import time

from holdfast import Context, Holdfast, Settings, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import ApprovalStatus
from holdfast.service import approvals, runs
from holdfast.service.approvals import Resolution
from holdfast.store.approvals import ApprovalFilter

RESUMES, JOURNAL_STEPS = 200, 100
WAITING, STARTED_AT_ONCE, IDLE_S = 10_000, 64, 10
CALLS = 300

resumed = asyncio.Queue[float]()


async def one() -> int:
    return 1


@tool(effect="read")
async def look(n: int) -> int:
    """Look."""
    return n


@tool(effect="keyed")
async def act(n: int) -> int:
    """Act."""
    return n


@workflow("asks")
async def asks(ctx: Context, steps: int) -> str:
    for n in range(steps):
        await ctx.step("look", look, n)
    answer = await ctx.ask("Go on?")
    resumed.put_nowait(time.perf_counter())
    return answer


@workflow("calls")
async def calls(ctx: Context, effect: str) -> float:
    began = time.perf_counter()
    for n in range(CALLS):
        if effect == "keyed":
            await ctx.step("act", act, n)
        elif effect == "read":
            await ctx.step("look", look, n)
        else:
            await ctx.step("one", one)
    return time.perf_counter() - began


async def asking(hf: Holdfast, steps: int) -> None:
    started = await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent="asks", input=steps))
    view = await runs.wait(hf.house, LOCAL_PRINCIPAL, started.view, 60)
    assert view.run.status == "waiting", view.run


async def pending(hf: Holdfast, limit: int) -> list[approvals.ApprovalView]:
    wanted = ApprovalFilter(status=(ApprovalStatus.PENDING,), limit=limit)
    return await approvals.page(hf.house, LOCAL_PRINCIPAL, wanted)


async def resume_ms(hf: Holdfast) -> float:
    """The median time from an answer to the first step after it."""
    for _ in range(RESUMES // 20):
        await asyncio.gather(*(asking(hf, JOURNAL_STEPS) for _ in range(20)))
    times: list[float] = []
    said = Resolution(decision="answer", answer="yes")
    for view in await pending(hf, RESUMES):
        began = time.perf_counter()
        await approvals.resolve(hf.house, LOCAL_PRINCIPAL, view.approval.id, said)
        times.append((await resumed.get() - began) * 1000)
    return statistics.median(times)


def rss_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


async def waiting(hf: Holdfast) -> dict[str, float]:
    """What a process holds for runs that wait."""
    gc.collect()
    memory, tasks = rss_mib(), len(asyncio.all_tasks())
    gate = asyncio.Semaphore(STARTED_AT_ONCE)

    async def begin() -> None:
        async with gate:
            await asking(hf, 0)

    await asyncio.gather(*(begin() for _ in range(WAITING)))
    gc.collect()
    before = time.process_time()
    await asyncio.sleep(IDLE_S)
    return {
        "runs": WAITING,
        "memory_mib": rss_mib() - memory,
        "tasks": len(asyncio.all_tasks()) - tasks,
        "cpu_percent": (time.process_time() - before) / IDLE_S * 100,
    }


async def call_ms(hf: Holdfast, effect: str) -> float:
    """One call in a run, the mean of `CALLS`."""
    started = await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent="calls", input=effect))
    view = await runs.wait(hf.house, LOCAL_PRINCIPAL, started.view, 60)
    assert view.output is not None, view.run
    return float(view.output) / CALLS * 1000


async def main(url: str, count: int) -> None:
    global WAITING
    WAITING = count
    hf = Holdfast([asks, calls], settings=Settings(database=url, worker_slots=100))
    async with hf.running():
        costs = {effect: min([await call_ms(hf, effect) for _ in range(3)]) for effect in ("read", "code", "keyed")}
        found = {"call_ms": costs, "resume_p50_ms": await resume_ms(hf), "waiting": await waiting(hf)}
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else WAITING))
