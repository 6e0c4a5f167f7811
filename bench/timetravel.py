"""What looking back costs. `python -m bench.timetravel URL`. Prints one JSON object.

`state`: where a run stood at step 500 of 1,000, an agent's and a workflow's, and the same in the middle of a short run;
`diff`: two runs of 1,000 steps against each other; `thread`: the state that a thread has published. `published`: bytes
that 1,000 small changes of a large document took, and the document's own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast import Agent, Context, Holdfast, RunLimits, Settings, ToolContext, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.runs import RunView
from holdfast.service import diffs, runs, states
from holdfast.store import lineage
from holdfast.testing import Call, ScriptedModel

STEPS, SHORT, REPEATS, CHANGES = 1_000, 12, 50, 1_000
PER_ROUND = 3  # the answer, the call, what the call published


@tool(effect="read")
async def note(ctx: ToolContext, n: int) -> str:
    """Note how far it is."""
    await ctx.state.update({"at": n, "log": f"round {n} " * 10})
    return "noted"


def reply(messages: Any, info: Any) -> Any:
    rounds = int(str(messages[0].parts[0].content))
    return Call("note", {"n": info.position}) if info.position < rounds else "done"


agent = Agent("agent", model=ScriptedModel(reply), tools=[note])


@tool(effect="read")
async def look(n: int) -> int:
    """Look."""
    return n


@workflow("flow")
async def flow(ctx: Context, steps: int) -> int:
    for n in range(steps):
        await ctx.step(f"look {n % 10}", look, n)
    return steps


@workflow("publishes")
async def publishes(ctx: Context, changes: int) -> int:
    await ctx.state.set({"at": 0, "rows": ["x" * 100] * 300})
    for n in range(changes):
        await ctx.state.update({"at": n})
    return changes


async def done(hf: Holdfast, name: str, input: Any) -> RunView:
    started = await runs.start(
        hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent=name, input=input, limits=RunLimits(steps_max=10_000))
    )
    view = started.view
    while not view.run.status.ended:
        view = await runs.wait(hf.house, LOCAL_PRINCIPAL, view, 60)
    assert view.run.status == "succeeded", view.run
    return view


async def median_ms(ask: Callable[[], Awaitable[Any]]) -> float:
    times: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


async def main(url: str) -> None:
    hf = Holdfast([agent, flow, publishes], settings=Settings(database=url))
    async with hf.running():

        def state_of(view: RunView) -> Callable[[], Awaitable[Any]]:
            return lambda: states.at_step(hf.house, LOCAL_PRINCIPAL, view.run.id, view.seq // 2)

        long = [await done(hf, "agent", str(STEPS // PER_ROUND)) for _ in range(2)]
        flows = await done(hf, "flow", STEPS)
        short = await done(hf, "agent", str(SHORT // PER_ROUND))
        published = await done(hf, "publishes", CHANGES)
        journal = await hf.house.database.read(
            None, lambda tx: lineage.load(tx, published.run.tenant_id, published.run.id)
        )
        found = {
            "steps": long[0].seq,
            "state_agent_ms": await median_ms(state_of(long[0])),
            "state_workflow_ms": await median_ms(state_of(flows)),
            "state_short_ms": await median_ms(state_of(short)),
            "diff_ms": await median_ms(
                lambda: diffs.between(hf.house, LOCAL_PRINCIPAL, long[0].run.id, long[1].run.id)
            ),
            "thread_state_ms": await median_ms(
                lambda: states.of_thread(hf.house, LOCAL_PRINCIPAL, published.run.thread_id)
            ),
            "published_bytes": sum(len(entry.payload or b"") for entry in journal if entry.kind == "state"),
            "document_bytes": len(journal[2].payload or b""),
            "changes": CHANGES,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
