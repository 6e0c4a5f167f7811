"""Effects and holds under crashes, with a provider in a process of its own that counts what really happened.

The same machinery as `test_matrix.py`: a process dies at store write k, before or after its commit, or at the n-th call
of the provider, before or after it acted; another process recovers; people answer truthfully. Then: everything happened
exactly once, everything is in the journal, nothing is left open, and the outcome is the oracle's.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast.store.base import CommitPoint
from tests import databases
from tests.acceptance.crash import holds, matrix, provider, test_matrix
from tests.acceptance.crash.process import Job
from tests.acceptance.crash.provider import Deed, Running
from tests.acceptance.crash.server import ForkServer
from tests.acceptance.crash.test_matrix import FULL, POINTS, crashed, progress, sampled

# How many points of a scenario the sample takes, at either side of the commit.
SAMPLED = {"sqlite": 2, "postgresql": 1}
TWICE = ("mixed-turn", "approval-unsafe", "reconcilable", "undo-failed", "undo-asked")
DIALECTS = ("sqlite", "postgresql")
ORACLES: dict[tuple[str, str], Oracle] = {}
ACTING = [name for name in holds.SCENARIOS if name not in holds.WITHOUT_CALLS]
DONE = {"committed", "compensated"}
CLOSED = {*DONE, "failed", "abandoned"}


@dataclass
class Bench(test_matrix.Bench):
    """The same, with the outside world and a table of the application's own."""

    world: Running | None = None

    def job(self, scenario: str, mode: str = "run") -> Job:
        assert self.world is not None
        job = replace(super().job(scenario, mode), provider=self.world.port)
        if self.postgres is None:
            with sqlite3.connect(job.url.removeprefix("sqlite:///")) as connection:
                connection.execute(holds.BOOKINGS)
            connection.close()
        else:
            databases.in_thread(lambda: _empty_table(job.url))
        return job

    def deeds(self, job: Job) -> list[Deed]:
        assert self.world is not None
        return self.world.deeds(job.directory)

    def arm(self, job: Job, at: int, point: provider.Point) -> None:
        assert self.world is not None
        side = self.world.of(job.directory)
        databases.in_thread(lambda: side.arm(at, point))


async def _empty_table(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"{holds.BOOKINGS}; DELETE FROM crash_bookings")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("world"))
    yield running
    running.close()


@pytest.fixture(params=DIALECTS)
def bench(
    request: pytest.FixtureRequest, server: ForkServer, sqlite_template: Path, tmp_path: Path, world: Running
) -> Bench:
    postgres = None if request.param == "sqlite" else request.getfixturevalue("postgres_session")
    return Bench(request.param, server, sqlite_template, postgres, tmp_path, world=world)


# --- what must be true -----------------------------------------------------------------------------------------------


def demand_started(bench: Bench, job: Job) -> None:
    """At any moment: who acted had a row in the ledger that said so first, and used the key that it holds."""
    held = matrix.read_holds(job.url)
    for deed in bench.deeds(job):
        effect = held.effects[deed.label]
        assert effect.attempt > 0, f"{deed.label} was done before it was started"
        if effect.rotation == 0:
            assert deed.key == effect.idempotency_key, f"{deed.label} was done under another key"


def demand_once(bench: Bench, job: Job, state: matrix.State) -> None:
    """At the end: whatever the ledger calls done was done once, and nothing else was."""
    held = matrix.read_holds(job.url)
    acted = Counter(deed.label for deed in bench.deeds(job) if deed.acted) + held.bookings
    assert all(n == 1 for n in acted.values()), f"done more than once: {acted}"
    committed = {effect.label for effect in held.effects.values() if effect.status in DONE}
    assert committed == acted.keys(), f"the ledger: {committed}, the world: {acted.keys()}"
    assert {e.status for e in held.effects.values()} <= CLOSED, held.effects
    assert all(status != "pending" for *_, status in held.questions), held.questions
    for run in state.runs.values():
        for step in run.steps.values():
            effect = held.effects.get(f"{run.id}:{step.key}")
            if effect is not None:
                assert (effect.status in DONE) == (step.status == "succeeded"), f"{effect}: {step}"


def demand_undone(bench: Bench, job: Job) -> None:
    """At the end: what the ledger calls compensated was undone by one effect of its own, after all that was done, and
    the last first."""
    held = matrix.read_holds(job.url)
    labels = {effect.id: effect.label for effect in held.effects.values()}
    undoings = [effect for effect in held.effects.values() if effect.compensates is not None]
    undone = {effect.label: labels[effect.compensates] for effect in undoings if effect.compensates is not None}
    compensated = [effect.label for effect in held.effects.values() if effect.status == "compensated"]
    assert sorted(undone.values()) == sorted(compensated), f"{undone} undo {compensated}"
    assert all(effect.status == "committed" for effect in undoings), undoings
    acted = [deed.label for deed in bench.deeds(job) if deed.acted]
    done = [label for label in acted if label in compensated]
    taken_back = [undone[label] for label in acted if label in undone]
    assert taken_back == done[::-1], f"done: {done}, undone: {taken_back}"
    assert not undone or acted[-len(taken_back) :] == [label for label in acted if label in undone]


def demand_all(bench: Bench, job: Job, before: matrix.State | None, then: Counter[str]) -> matrix.State:
    state = matrix.read(job.url)
    test_matrix.demand_everything(state, before, job, then)
    demand_once(bench, job, state)
    demand_undone(bench, job)
    return state


def told(bench: Bench, job: Job) -> list[dict[str, Any]]:
    """What was really done, whoever did it: also the arguments have to be the oracle's."""
    return sorted((deed.data for deed in bench.deeds(job) if deed.acted), key=repr)


@dataclass(frozen=True)
class Oracle:
    """What a scenario comes to when nothing crashes."""

    outcome: dict[str, Any]
    writes: int
    deeds: list[dict[str, Any]]


def uncrashed(bench: Bench, scenario: str) -> Oracle:
    """Worked out once per process."""
    known = ORACLES.get((bench.dialect, scenario))
    if known is None:
        known = ORACLES[bench.dialect, scenario] = _uncrashed(bench, scenario)
    return known


def _uncrashed(bench: Bench, scenario: str) -> Oracle:
    job = bench.job(scenario)
    report = bench.server.run(job)
    assert report is not None
    state = demand_all(bench, job, None, Counter())
    outcome = matrix.outcome(state, ordered=holds.SCENARIOS[scenario].ordered)
    return Oracle(outcome, report["writes"], told(bench, job))


def recovered(bench: Bench, job: Job, left: matrix.State, then: Counter[str], oracle: Oracle) -> None:
    demand_started(bench, job)
    assert bench.server.run(replace(job, mode="recover", strike=None)) is not None
    state = demand_all(bench, job, left, then)
    ordered = holds.SCENARIOS[job.scenario].ordered
    matrix.demand_same(state, oracle.outcome, ordered=ordered, stopped=None, must_stop=False)
    assert told(bench, job) == oracle.deeds


# --- the matrix ------------------------------------------------------------------------------------------------------


def points_of(scenarios: Sequence[str], points: Sequence[str]) -> list[Any]:
    """Every scenario at every point on both databases; the sample takes one of the points on PostgreSQL, in turn."""
    every = [("sqlite", scenario, point) for scenario in scenarios for point in points]
    for number, scenario in enumerate(scenarios):
        taken = points if FULL else [points[number % len(points)]]
        every.extend(("postgresql", scenario, point) for point in taken)
    return every


def chosen(bench: Bench, writes: int, salt: str) -> list[int]:
    """Every write, or a few that differ from scenario to scenario."""
    if FULL:
        return list(range(1, writes + 1))
    count = SAMPLED[bench.dialect]
    return sampled(writes, max(1, -(-writes // count)), salt)


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize(("bench", "scenario", "when"), points_of(list(holds.SCENARIOS), POINTS), indirect=["bench"])
def test_a_crash_at_any_write_leaves_every_effect_done_exactly_once(
    bench: Bench, scenario: str, when: CommitPoint
) -> None:
    oracle = uncrashed(bench, scenario)
    points = chosen(bench, oracle.writes, scenario + when)
    failures: list[str] = []
    for at in points:
        job = replace(bench.job(scenario), strike=at, when=when)
        try:
            remains = crashed(bench, job)
            if remains is not None:
                recovered(bench, job, *remains, oracle)
        except AssertionError as exc:
            failures.append(f"write {at} of {oracle.writes}: {exc}")
    progress(f"{bench.dialect} {scenario} {when}: {len(points)} of {oracle.writes} writes, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize(("bench", "scenario", "point"), points_of(ACTING, provider.POINTS), indirect=["bench"])
def test_a_crash_while_the_provider_has_the_call_leaves_it_done_exactly_once(
    bench: Bench, scenario: str, point: provider.Point
) -> None:
    oracle = uncrashed(bench, scenario)
    calls = range(1, len(oracle.deeds) + 1)
    failures: list[str] = []
    for at in calls if FULL else list(calls)[len(scenario) % len(calls) :][:1]:
        job = bench.job(scenario)
        bench.arm(job, at, point)
        try:
            remains = crashed(bench, job)
            assert remains is not None, "the call was not made"
            recovered(bench, job, *remains, oracle)
        except AssertionError as exc:
            failures.append(f"call {at} of {len(calls)}: {exc}")
    progress(f"{bench.dialect} {scenario} {point}: {len(calls)} calls, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize("scenario", list(holds.SCENARIOS) if FULL else TWICE)
def test_a_crash_during_the_recovery_does_not_repeat_anything_either(bench: Bench, scenario: str) -> None:
    """The first crash is the worst: the provider has acted, and nobody heard of it."""
    oracle = uncrashed(bench, scenario)
    seconds = range(1, oracle.writes + 1) if FULL else [1 + len(scenario) % 3, 4 + len(scenario) % 3]
    failures: list[str] = []
    count = 0
    for second in seconds:
        for when in POINTS:
            job = bench.job(scenario)
            if scenario in ACTING:
                bench.arm(job, 1 + second % len(oracle.deeds), "acted")
            else:
                job = replace(job, strike=max(1, oracle.writes // 2), when="after_commit")
            try:
                if crashed(bench, job) is None:
                    continue
                again = crashed(bench, replace(job, mode="recover", strike=second, when=when))
                if again is not None:
                    recovered(bench, job, *again, oracle)
                    count += 1
            except AssertionError as exc:
                failures.append(f"second crash at {second} {when}: {exc}")
    progress(f"{bench.dialect} {scenario}: {count} double faults, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)
    assert count, "no second crash was ever reached"


def test_an_unsafe_effect_is_repeated_only_on_a_person_s_recorded_word(bench: Bench) -> None:
    """The person errs: they say that it was not done. It is done again once for each such word, and never otherwise."""
    job = bench.job("unsafe-doubted")
    bench.arm(job, 1, "acted")
    assert crashed(bench, job) is not None
    assert bench.server.run(replace(job, mode="recover")) is not None
    acted = Counter(deed.label for deed in bench.deeds(job) if deed.acted)
    state = matrix.read(job.url)
    words = Counter[str]()
    for run in state.runs.values():
        for key, step in run.steps.items():
            if "/effect#" in key:
                assert step.payload["decided_by"] == ["local admin"]
                words[f"{run.id}:{key.partition('/effect#')[0]}"] += 1
    assert sum(words.values()) == 1
    assert acted == {label: 1 + words[label] for label in acted}
