"""What looking at runs of 20,000 steps costs. `python -m bench.longruns URL [route]`. Prints one JSON object.

Routes that show a run, in this process, as HTTP would call them: `ms`, the median of a few requests; `stall_ms`, the
longest time for which any of them kept the event loop from anything else. `workflow` is a tree of parallel steps,
`agent` a conversation, `fork` a fork of the workflow's run at its last step: it reads that by reference.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from holdfast import Holdfast, Settings, workflow
from holdfast.agents.base import Context
from holdfast.domain import ids
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.ids import RunId
from holdfast.service import forks
from holdfast.service.forks import ForkRun
from tests import long_runs

STEPS, REPEATS, TICK_S = 20_000, 7, 0.001


@workflow("long-workflow")
async def long_workflow(ctx: Context, input: Any) -> None:
    """Stands for the code that the long run ran."""


class Stalls:
    """The longest time between two turns of the event loop."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        task = asyncio.ensure_future(self._tick())
        try:
            yield
        finally:
            task.cancel()

    async def _tick(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - began - TICK_S) * 1000)


def routes(found: dict[str, RunId]) -> dict[str, str]:
    shown = {name: ids.text(ids.RUN, id) for name, id in found.items()}
    middle, last = STEPS // 2 - 1, STEPS - 1
    made: dict[str, str] = {}
    for name in ("workflow", "agent", "fork"):
        run = f"/v1/runs/{shown[name]}"
        made |= {
            f"{name}: run": run,
            f"{name}: state in the middle": f"{run}/state?at={middle}",
            f"{name}: state at the end": f"{run}/state",
            f"{name}: steps, first page": f"{run}/steps?limit=200",
            f"{name}: step in the middle": f"{run}/steps/{middle}",
            f"{name}: last step": f"{run}/steps/{last}",
        }
    run, other = f"/v1/runs/{shown['workflow']}", shown["other"]
    return made | {
        "workflow: events behind the entry 20,000": f"{run}/events?after={STEPS}",
        "workflow: all events": f"{run}/events",
        "agent: prompt in the middle": f"/v1/runs/{shown['agent']}/steps/{middle}/prompt",
        "agent: last prompt": f"/v1/runs/{shown['agent']}/steps/{last}/prompt",
        "workflow: diff, the same": f"{run}/diff/{shown['workflow']}",
        "workflow: diff, alike": f"{run}/diff/{shown['twin']}",
        "workflow: diff, from the middle on": f"{run}/diff/{other}",
        "agent: diff, alike": f"/v1/runs/{shown['agent']}/diff/{shown['agent_twin']}",
        "fork: diff to its parent": f"/v1/runs/{shown['fork']}/diff/{shown['workflow']}",
    }


async def measure(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    times: list[float] = []
    stalls = Stalls()
    size = 0
    for number in range(REPEATS + 1):
        with stalls.watched():
            await asyncio.sleep(TICK_S * 3)
            stalls.longest_ms = 0 if number <= 1 else stalls.longest_ms  # the first request warms up
            began = time.perf_counter()
            answer = await http.get(path, timeout=120)
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(TICK_S * 3)
        assert answer.status_code == 200, (path, answer.text[:500])
        size = len(answer.content)
    return {"ms": statistics.median(times[1:]), "stall_ms": stalls.longest_ms, "bytes": size}


async def pages(http: httpx.AsyncClient, run: RunId) -> float:
    """All steps of a run, page by page."""
    path = f"/v1/runs/{ids.text(ids.RUN, run)}/steps"
    began = time.perf_counter()
    cursor: str | None = None
    while True:
        answer = (await http.get(path, params={"limit": 200} | ({"cursor": cursor} if cursor else {}))).json()
        cursor = answer["next_cursor"]
        if cursor is None:
            return (time.perf_counter() - began) * 1000


async def main(url: str, only: str = "") -> None:
    hf = Holdfast([long_workflow], settings=Settings(database=url, worker_slots=0))
    async with hf.running():
        house = hf.house
        found = {
            "workflow": await long_runs.add_workflow(house.database, steps=STEPS),
            "twin": await long_runs.add_workflow(house.database, steps=STEPS),
            "other": await long_runs.add_workflow(house.database, steps=STEPS, differs_from=STEPS // 2),
            "agent": await long_runs.add_conversation(house.database, steps=STEPS),
            "agent_twin": await long_runs.add_conversation(house.database, steps=STEPS),
        }
        forked = await forks.fork(house, LOCAL_PRINCIPAL, ForkRun(run_id=found["workflow"], at=STEPS))
        found["fork"] = forked.view.run.id
        transport = httpx.ASGITransport(hf.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            measured = {n: await measure(http, path) for n, path in routes(found).items() if only in n}
            if not only:
                measured["workflow: all steps, 200 a page"] = {"ms": await pages(http, found["workflow"])}
    print(json.dumps({"steps": STEPS, "routes": measured}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
