"""Worker processes are killed and suspended at random while runs are started; in the end every run came to its answer.

The choices come from a seed, which a failure names; the timing is the machine's.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import Any

import pytest

from holdfast.domain.runs import RunStatus, RunView
from tests.acceptance.crash import matrix
from tests.acceptance.crash.test_processes import SHORT_MS, Fleet, postgres_fleet, sound
from tests.runtime.driving import ended, error, look, output, start

FULL = os.environ.get("HOLDFAST_FULL") == "1"
LASTS_S = 20 if FULL else 6
WORKERS = 3
SEED = int(os.environ.get("HOLDFAST_SEED", "7"))

__all__ = ["postgres_fleet"]

ANSWERS: dict[str, tuple[Any, Any]] = {
    "flow": (7, 34),
    "sleeper": (60, 3),
    "sequential": ("go", "done"),
    "parallel": ("go", "done"),
    "parent": (None, [1, "advice", "user_code", "advice"]),
    "patient": (None, [3, 3, "advice"]),
    "asking": ("go", "done"),
}


async def spawn(fleet: Fleet) -> int:
    return await fleet.spawn(lease_ms=SHORT_MS, KEEP_IN_MEMORY_MS=30)


async def break_things(fleet: Fleet, chance: random.Random, over: asyncio.Event) -> int:
    """Kill or suspend one worker after the other; how often."""
    count = 0
    while not over.is_set():
        await asyncio.sleep(chance.uniform(0.1, 0.5))
        victim = chance.choice(fleet.pids)
        count += 1
        if chance.random() < 0.6:
            await fleet.end(victim, signal.SIGKILL)
            await spawn(fleet)
        else:
            os.kill(victim, signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0.5, 4) * SHORT_MS / 1000)
            os.kill(victim, signal.SIGCONT)
    return count


async def start_things(fleet: Fleet, chance: random.Random, over: asyncio.Event) -> list[RunView]:
    started: list[RunView] = []
    while not over.is_set():
        agent = chance.choice(list(ANSWERS))
        started.append(await start(fleet.hf, agent, ANSWERS[agent][0]))
        await asyncio.sleep(chance.uniform(0, 0.1))
    return started


@pytest.mark.postgres
@pytest.mark.timeout(300 if FULL else 120)
async def test_every_run_comes_to_its_answer_however_workers_die(postgres_fleet: Fleet) -> None:
    fleet, over = postgres_fleet, asyncio.Event()
    for _ in range(WORKERS):
        await spawn(fleet)
    breaking = asyncio.create_task(break_things(fleet, random.Random(SEED), over))
    starting = asyncio.create_task(start_things(fleet, random.Random(SEED + 1), over))
    await asyncio.wait([breaking, starting], timeout=LASTS_S)
    over.set()
    broken, views = await breaking, await starting
    assert broken >= 5
    assert len(views) >= 20
    for view in views:
        end = await ended(fleet.hf, view)
        if end.run.status is RunStatus.FAILED:
            raise AssertionError(f"seed {SEED}: {view.run.agent} failed: {error(end)}")
        found = output(end)
        answer = found["sum"] if view.run.agent == "flow" else found
        assert answer == ANSWERS[view.run.agent][1], f"seed {SEED}: {view.run.agent}"
    state = await sound(fleet)
    roots = [run for run in state.runs.values() if run.root == matrix.ids.parse("run", run.id)]
    assert len(roots) == len(views)
    assert (await look(fleet.hf, views[0])).run.status is RunStatus.SUCCEEDED
