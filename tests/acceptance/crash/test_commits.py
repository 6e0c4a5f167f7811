"""Commits that fail, and commits whose answer is lost: for every write of a scenario, journal appends and verbs alike.

In one process: nothing dies, the run has to go on by itself. A commit that failed is written again; after one whose
fate is unknown the journal is read back. What was recorded never runs again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain import limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import digest
from holdfast.domain.errors import HoldfastError, OutcomeUnknown, Unavailable
from holdfast.domain.runs import RunView
from holdfast.service import runs
from holdfast.service.idempotency import Key
from holdfast.store.base import CommitPoint
from holdfast.testing.crash import CrashPoint, commit_fails, outcome_is_unknown
from tests.acceptance.crash import matrix
from tests.acceptance.crash.scenarios import AGENTS, SCENARIOS, auditor
from tests.runtime.driving import Desk, ended, output, start

FULL = os.environ.get("HOLDFAST_FULL") == "1"
SHORT_MS = 300
INPUTS = {"sequential-tools": ("sequential", "go"), "workflow": ("flow", 7), "child": ("parent", None)}
FAULTS: dict[str, tuple[CommitPoint, Callable[[], object]]] = {
    "fails": ("before_commit", commit_fails),
    "unknown-and-lost": ("before_commit", outcome_is_unknown),
    "unknown-but-done": ("after_commit", outcome_is_unknown),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 50)
    monkeypatch.setattr(limits, "LAPSE_BACKOFF_MS", 20)
    monkeypatch.setattr(limits, "POLL_MS", 200)


async def insisting(hf: Any, agent: str, input: Any, name: str) -> tuple[RunView, list[HoldfastError]]:
    """Start a run like a client does that gets errors: again, with the same key."""
    refused: list[HoldfastError] = []
    key = Key(LOCAL_PRINCIPAL.id, "start", name, digest(name))
    while True:
        try:
            ask = runs.StartRun(agent=agent, input=input)
            return (await runs.start(hf.house, LOCAL_PRINCIPAL, ask, key)).view, refused
        except (Unavailable, OutcomeUnknown) as exc:
            refused.append(exc)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", INPUTS)
async def test_a_run_survives_whatever_becomes_of_any_of_its_commits(
    database_url: str, tmp_path: Path, scenario: str, fault: str
) -> None:
    when, action = FAULTS[fault]
    agent, input = INPUTS[scenario]
    ordered = SCENARIOS[scenario].ordered
    auditor.open(str(tmp_path / "audit"))
    faults = CrashPoint(when=when, action=action)
    async with AsyncExitStack() as stack:
        hf = await Desk(database_url, stack).open(*AGENTS, lease_ms=SHORT_MS, deaf=True, faults=faults)
        faults.arm()
        whole = await ended(hf, await start(hf, agent, input))
        writes = faults.writes
        faults.disarm()
        oracle = matrix.outcome(family(matrix.read(database_url), whole), ordered=ordered)
        for at in range(1, writes + 1, 1 if FULL else 2):
            before = matrix.audited(tmp_path)
            faults.arm(at)
            view, refused = await insisting(hf, agent, input, f"{scenario} {at}")
            await ended(hf, view)
            faults.disarm()
            assert len(refused) <= 1
            if at == 1:
                for again in range(5):  # a write of the background may have come first and met the fault instead
                    if refused:
                        break
                    before = matrix.audited(tmp_path)
                    faults.arm(at)
                    view, refused = await insisting(hf, agent, input, f"{scenario} {at} again {again}")
                    await ended(hf, view)
                    faults.disarm()
                assert [type(exc) for exc in refused] == [Unavailable if fault == "fails" else OutcomeUnknown]
            state = family(matrix.read(database_url), view)
            where = f"write {at} of {writes} {fault}"
            matrix.demand_sound(state)
            matrix.demand_quiet(state)
            assert matrix.outcome(state, ordered=ordered) == oracle, where
            ran = matrix.audited(tmp_path) - before
            again = {label: n for label, n in ran.items() if n > 1}
            assert all(n == 2 for n in again.values()), f"{where}: {again}"
            match fault:
                case "fails":
                    assert not again, f"{where}: {again}"
                case "unknown-but-done":
                    assert again.keys() <= under_way(state), f"{where}: {again}"
                case _:
                    assert len(again) <= 4, f"{where}: {again}"  # one batch was lost


def family(state: matrix.State, root: RunView) -> matrix.State:
    """A run and its children, of all that the database holds."""
    ids = {run.id for run in state.runs.values() if run.root == root.run.root_id}
    threads = {run.thread for run in state.runs.values() if run.id in ids}
    return matrix.State(
        {id: run for id, run in state.runs.items() if id in ids},
        {thread: found for thread, found in state.messages.items() if thread in threads},
    )


def under_way(state: matrix.State) -> set[str]:
    """Labels of the steps that may be under way while another's commit is: after those written behind, and beside
    those of parallel branches. When the journal is read back they are given up, and run again."""
    steps = [(run, step) for run in state.runs.values() for step in run.steps.values()]
    return {
        run.label_of(step)
        for run, step in steps
        if step.kind == "model" or step.name == "look" or str(step.key).startswith("g#")
    }


async def test_a_commit_whose_answer_comes_after_the_lease_is_another_process_s_by_then(
    sqlite_url: str, tmp_path: Path
) -> None:
    """The writer's thread hangs behind a commit, past the lease: another takes the run over, and the first lets go."""
    auditor.open(str(tmp_path / "audit"))
    hung, release = threading.Event(), threading.Event()

    def hang() -> None:
        """Behind the commit of the first step, whatever the background wrote before it."""
        if not hung.is_set() and any(e.epoch == 1 for r in matrix.read(sqlite_url).runs.values() for e in r.entries):
            hung.set()
            assert release.wait(30)

    faults = CrashPoint(1, when="after_commit", action=hang, times=sys.maxsize)
    gate = tmp_path / "gate"
    async with AsyncExitStack() as stack:
        desk = Desk(sqlite_url, stack)
        first = await desk.open(*AGENTS, lease_ms=SHORT_MS, deaf=True, faults=faults)
        try:
            faults.arm()
            view = await start(first, "holding", str(gate))
            assert await asyncio.to_thread(hung.wait, 20)
            second = await desk.open(*AGENTS, lease_ms=SHORT_MS)
            gate.touch()
            assert output(await ended(second, view)) == "held"
        finally:
            release.set()
        async with asyncio.timeout(20):
            while first.supervisor.worker.executors:
                await asyncio.sleep(0.01)
        state = matrix.read(sqlite_url)
        matrix.demand_sound(state)
        matrix.demand_quiet(state)
        [run] = state.runs.values()
        assert {e.epoch for e in run.entries} == {0, 1, 3}
        assert all(n == 1 for n in matrix.audited(tmp_path).values())
