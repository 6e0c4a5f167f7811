"""Forks under crashes: a process dies at any write of a fork's making and running; another one recovers.

The same machinery as `test_holds.py`. Beside what is true of every run: there is one fork for one request, it does to
the outside what its policy lets it do and nothing twice, and the run that it was forked from is, byte for byte, what it
was. The writes of the parents alone are those of the other scenarios, so the points begin where forks do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain import ids
from holdfast.store.base import CommitPoint
from tests.acceptance.crash import forking, matrix, provider, test_holds, test_matrix
from tests.acceptance.crash.process import Job
from tests.acceptance.crash.provider import Running
from tests.acceptance.crash.server import ForkServer
from tests.acceptance.crash.test_holds import DIALECTS, Bench
from tests.acceptance.crash.test_matrix import FULL, POINTS, progress, sampled

SAMPLED = {"sqlite": 2, "postgresql": 1}
TWICE = ("fork-executes", "fork-of-forks", "fork-answers")
ON_POSTGRES = ("fork-reuses", "fork-executes", "fork-abreast-executes", "fork-answers", "fork-of-forks", "fork-waits",
               "edit", "regenerate")  # fmt: skip
ACTING = [name for name, words in forking.AGAIN.items() if words]
ORACLES: dict[tuple[str, str], Oracle] = {}


@pytest.fixture(scope="session")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("side"))
    yield running
    running.close()


@pytest.fixture(params=DIALECTS)
def bench(
    request: pytest.FixtureRequest, server: ForkServer, sqlite_template: Path, tmp_path: Path, side: Running
) -> Bench:
    postgres = None if request.param == "sqlite" else request.getfixturevalue("postgres_session")
    return Bench(request.param, server, sqlite_template, postgres, tmp_path, world=side)


# --- what must be true -----------------------------------------------------------------------------------------------


def points_of(scenarios: Sequence[str], points: Sequence[str]) -> list[Any]:
    """As in `test_holds.py`; the sample on PostgreSQL is of some scenarios only."""
    every = test_holds.points_of(scenarios, points)
    return [one for one in every if FULL or one[0] == "sqlite" or one[1] in ON_POSTGRES]


def forks_of(state: matrix.State) -> list[matrix.Found]:
    """Forks, also those that keep nothing of their parent, which was noted as forked."""
    return [run for run in state.runs.values() if run.forked]


def demand_audited(before: matrix.State | None, then: Counter[str], now: Counter[str]) -> None:
    """Nothing whose entry was committed before the crash ran again after it; what was not ran at most once more."""
    for run in before.runs.values() if before else ():
        for key in run.steps:
            label = f"{run.id}:{key}"
            assert now[label] == then[label], f"{label} was committed and ran again"
    for label, count in now.items():
        assert count <= then[label] + 1, f"{label} ran {count - then[label]} times after the crash"


def acted_by_forks(bench: Bench, job: Job, state: matrix.State) -> Counter[str]:
    """What the outside knows that forks did, and the runs that they called."""
    mine = {run.id for run in state.runs.values() if state.runs[ids.text(ids.RUN, run.root)].forked}
    acted = Counter(d.data["what"].replace(" ", "_") for d in bench.deeds(job) if d.acted and _owner(d.label) in mine)
    booked = [what for label, what in matrix.read_bookings(job.url) if _owner(label) in mine]
    return acted + Counter(booked)


def _owner(label: str) -> str:
    return label.partition(":")[0]


def demand_once(bench: Bench, job: Job, state: matrix.State) -> None:
    """Whatever the ledger calls done was done once, and nothing else was. What a fork reuses it has planned at most."""
    held = matrix.read_holds(job.url)
    acted = Counter(deed.label for deed in bench.deeds(job) if deed.acted) + held.bookings
    assert all(n == 1 for n in acted.values()), f"done more than once: {acted}"
    committed = {effect.label for effect in held.effects.values() if effect.status in test_holds.DONE}
    assert committed == acted.keys(), f"the ledger: {committed}, the world: {acted.keys()}"
    assert {e.status for e in held.effects.values()} <= test_holds.CLOSED, held.effects
    assert all(status != "pending" for *_, status in held.questions), held.questions
    for run in state.runs.values():
        for key, step in run.steps.items():
            effect = held.effects.get(f"{run.id}:{key}")
            if effect is not None and effect.status in test_holds.DONE:
                assert step.status == "succeeded", f"{effect}: {step}"
            elif effect is not None and step.status == "succeeded":
                assert state.runs[_owner_of(state, run)].forked, f"not done, and it has a result: {effect}: {step}"


def demand_all(bench: Bench, job: Job, before: matrix.State | None, then: Counter[str]) -> matrix.State:
    state = matrix.read(job.url)
    matrix.demand_sound(state)
    matrix.demand_quiet(state)
    demand_audited(before, then, matrix.audited(Path(job.directory)))
    demand_once(bench, job, state)
    again = acted_by_forks(bench, job, state)
    assert again == forking.AGAIN[job.scenario], f"forks did {again} instead of {forking.AGAIN[job.scenario]}"
    noted = json.loads(Path(job.directory, "forked").read_text())
    assert len(forks_of(state)) == len(noted), "one fork for one request"
    if job.scenario in forking.LIKE_THEIR_PARENT:
        said = {json.dumps(run.entries[-1].payload) for run in state.runs.values() if run.id == _owner_of(state, run)}
        assert len(said) == 1, f"parent and fork came to different ends: {said}"
    return state


def _owner_of(state: matrix.State, run: matrix.Found) -> str:
    return ids.text(ids.RUN, run.root)


@dataclass(frozen=True)
class Oracle:
    """What a scenario comes to when nothing crashes; `first`: the first write of a fork."""

    outcome: dict[str, Any]
    first: int
    writes: int
    deeds: list[dict[str, Any]]
    calls: range


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
    assert report["forked"] > 0
    state = demand_all(bench, job, None, Counter())
    outcome = matrix.outcome(state, ordered=forking.SCENARIOS[scenario].ordered)
    parents = {run.id for run in state.runs.values() if not state.runs[_owner_of(state, run)].forked}
    requests = [deed.label for deed in bench.deeds(job)]
    before = sum(_owner(label) in parents for label in requests)
    calls = range(before + 1, len(requests) + 1)
    first = report["writes_before_forks"] + 1
    return Oracle(outcome, first, report["writes"], test_holds.told(bench, job), calls)


def crashed(bench: Bench, job: Job) -> tuple[matrix.State, Counter[str]] | None:
    remains = test_matrix.crashed(bench, job)
    if remains is not None:
        test_holds.demand_started(bench, job)
    return remains


def recovered(bench: Bench, job: Job, left: matrix.State, then: Counter[str], oracle: Oracle) -> None:
    assert bench.server.run(replace(job, mode="recover", strike=None)) is not None
    state = demand_all(bench, job, left, then)
    ordered = forking.SCENARIOS[job.scenario].ordered
    matrix.demand_same(state, oracle.outcome, ordered=ordered, stopped=None, must_stop=False)
    assert test_holds.told(bench, job) == oracle.deeds


# --- the matrix ------------------------------------------------------------------------------------------------------


def chosen(bench: Bench, oracle: Oracle, salt: str) -> list[int]:
    """Every write from the fork's on, or a few that differ from scenario to scenario."""
    count = oracle.writes - oracle.first + 1
    nth = 1 if FULL else max(1, -(-count // SAMPLED[bench.dialect]))
    return [oracle.first - 1 + n for n in sampled(count, nth, salt)]


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize(("bench", "scenario", "when"), points_of(list(forking.SCENARIOS), POINTS), indirect=["bench"])
def test_a_crash_at_any_write_of_a_fork_changes_nothing_about_it_nor_its_parent(
    bench: Bench, scenario: str, when: CommitPoint
) -> None:
    oracle = uncrashed(bench, scenario)
    points = chosen(bench, oracle, scenario + when)
    failures: list[str] = []
    for at in points:
        job = replace(bench.job(scenario), strike=at, when=when)
        try:
            remains = crashed(bench, job)
            if remains is not None:
                recovered(bench, job, *remains, oracle)
        except AssertionError as exc:
            failures.append(f"write {at} of {oracle.first} to {oracle.writes}: {exc}")
    progress(f"{bench.dialect} {scenario} {when}: {len(points)} writes, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize(("bench", "scenario", "point"), points_of(ACTING, provider.POINTS), indirect=["bench"])
def test_a_crash_while_the_provider_has_the_call_of_a_fork_leaves_it_done_exactly_once(
    bench: Bench, scenario: str, point: provider.Point
) -> None:
    oracle = uncrashed(bench, scenario)
    failures: list[str] = []
    for at in oracle.calls if FULL else [oracle.calls[len(scenario) % len(oracle.calls)]]:
        job = bench.job(scenario)
        bench.arm(job, at, point)
        try:
            remains = crashed(bench, job)
            assert remains is not None, "the call was not made"
            recovered(bench, job, *remains, oracle)
        except AssertionError as exc:
            failures.append(f"call {at} of {oracle.calls}: {exc}")
    progress(f"{bench.dialect} {scenario} {point}: {len(oracle.calls)} calls, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize("scenario", list(forking.SCENARIOS) if FULL else TWICE)
def test_a_crash_during_the_recovery_of_a_fork_does_not_repeat_anything_either(bench: Bench, scenario: str) -> None:
    oracle = uncrashed(bench, scenario)
    span = oracle.writes - oracle.first
    firsts = [oracle.first + span * n // 4 for n in range(1, 4)] if FULL else [oracle.first + span // 2]
    seconds = range(1, span + 12, 2) if FULL else [1 + len(scenario) % 3, 4 + len(scenario) % 3]
    failures: list[str] = []
    count = 0
    for first in firsts:
        for second in seconds:
            when = POINTS[second // 2 % 2]
            job = replace(bench.job(scenario), strike=first, when="after_commit")
            try:
                if crashed(bench, job) is None:
                    continue
                again = crashed(bench, replace(job, mode="recover", strike=second, when=when))
                if again is not None:
                    recovered(bench, job, *again, oracle)
                    count += 1
            except AssertionError as exc:
                failures.append(f"crashes at {first} and {second} {when}: {exc}")
    progress(f"{bench.dialect} {scenario}: {count} double faults, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)
    assert count, "no second crash was ever reached"
