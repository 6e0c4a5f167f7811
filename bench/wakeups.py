"""How fast other processes hear: enqueue → started by a worker in another process (PostgreSQL), and how long an
orphan of a killed worker waits. `python -m bench.wakeups URL`. Prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time

from holdfast import Context, Holdfast, Settings, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.service import runs

LEASE_MS = 2_000


@workflow("quick")
async def quick(ctx: Context) -> int:
    return 1


@workflow("slow")
async def slow(ctx: Context) -> int:
    async def forever() -> int:
        await asyncio.sleep(60)
        return 1

    if ctx.info.attempt > 1:
        return 2
    return await ctx.step("forever", forever)


def settings(url: str, slots: int) -> Settings:
    return Settings(database=url, worker_slots=slots, lease_ms=LEASE_MS)


async def work(url: str) -> None:
    async with Holdfast([quick, slow], settings=settings(url, 10)).running():
        print("ready", flush=True)
        await asyncio.Event().wait()


def start_worker(url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.wakeups", url, "worker"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


async def main(url: str) -> None:
    hf = Holdfast([quick, slow], settings=settings(url, 0))
    async with hf.running():
        worker = start_worker(url)
        started_ms: list[float] = []
        for _ in range(200):
            first = await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent="quick"))
            view = await runs.wait(hf.house, LOCAL_PRINCIPAL, first.view, 30)
            assert view.run.status == "succeeded"
            assert view.run.started_at is not None
            started_ms.append(view.run.started_at - view.run.created_at)
        orphan = await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent="slow"))
        while (await runs.get(hf.house, LOCAL_PRINCIPAL, orphan.view.run.id)).run.status != "running":
            await asyncio.sleep(0.01)
        second = start_worker(url)
        await asyncio.sleep(LEASE_MS / 1000)
        os.kill(worker.pid, signal.SIGKILL)
        killed = time.perf_counter()
        view = await runs.wait(hf.house, LOCAL_PRINCIPAL, orphan.view, 60)
        assert view.output == b"2", view
        resumed_ms = (time.perf_counter() - killed) * 1000
        second.terminate()
        worker.wait()
        second.wait()
    print(json.dumps({"enqueue_p50_ms": statistics.median(started_ms), "orphan_ms": resumed_ms, "lease_ms": LEASE_MS}))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]) if len(sys.argv) > 2 else main(sys.argv[1]))
