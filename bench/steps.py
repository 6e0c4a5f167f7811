"""Durable steps per second in one process: many runs of trivial steps. `python -m bench.steps URL behind|awaited`.

`awaited`: each step (kind code) waits for its commit. `behind`: read tools, written behind.
Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from holdfast import Context, Holdfast, Settings, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.service import runs

RUNS, STEPS, ROUNDS = 100, 500, 2


async def one() -> int:
    return 1


@tool(effect="read")
async def look() -> int:
    """Look."""
    return 1


@workflow("awaited")
async def awaited(ctx: Context, steps: int) -> int:
    for _ in range(steps):
        await ctx.step("one", one)
    return steps


@workflow("behind")
async def behind(ctx: Context, steps: int) -> int:
    for _ in range(steps):
        await ctx.step("look", look)
    return steps


async def main(url: str, kind: str) -> None:
    hf = Holdfast([awaited, behind], settings=Settings(database=url, worker_slots=2 * RUNS))
    async with hf.running():

        async def go() -> None:
            started = await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent=kind, input=STEPS))
            view = await runs.wait(hf.house, LOCAL_PRINCIPAL, started.view, 60)
            assert view.run.status == "succeeded", view.run

        await go()
        rates: list[float] = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await asyncio.gather(*(go() for _ in range(RUNS)))
            rates.append(RUNS * STEPS / (time.perf_counter() - began))
    print(json.dumps({"steps_per_s": max(rates), "all": rates}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
