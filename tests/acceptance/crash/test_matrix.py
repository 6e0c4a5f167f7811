"""The crash matrix: whatever write a process dies at, the run comes to what it would have come to.

Every point of a scenario is a process that kills itself at store write number k, before or after the commit, and
another one that recovers. `make test` takes a deterministic sample; HOLDFAST_FULL=1 takes every k.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.base import CommitPoint
from tests import databases
from tests.acceptance.crash import matrix
from tests.acceptance.crash.process import Job
from tests.acceptance.crash.scenarios import SCENARIOS
from tests.acceptance.crash.server import ForkServer

FULL = os.environ.get("HOLDFAST_FULL") == "1"
POINTS: tuple[CommitPoint, ...] = ("before_commit", "after_commit")

# Scenarios of which the sample, too, takes every write on SQLite; of the others it takes every nth.
WHOLE = frozenset({"sequential-tools", "workflow", "sleep-parked", "cancel"})
EVERY_NTH = {"sqlite": 4, "postgresql": 9}
TWICE = ("sequential-tools", "workflow", "child-parked", "restart", "published-state")
ORACLES: dict[tuple[str, str], tuple[dict[str, Any], int]] = {}
LEASE_MS = {"sqlite": 15_000, "postgresql": 250}


@dataclass
class Bench:
    """Processes, and empty databases of one dialect."""

    dialect: str
    server: ForkServer
    template: Path
    postgres: str | None
    directory: Path
    made: int = 0

    def job(self, scenario: str, mode: str = "run") -> Job:
        """A job on a fresh database, in a directory of its own."""
        self.made += 1
        directory = self.directory / str(self.made)
        directory.mkdir()
        url = self.postgres
        if url is None:
            shutil.copyfile(self.template, directory / "holdfast.db")
            url = f"sqlite:///{directory}/holdfast.db"
        else:
            databases.in_thread(lambda: databases.empty_postgres(str(url)))
        return Job(url, str(directory), scenario, mode, lease_ms=LEASE_MS[self.dialect])


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bench(request: pytest.FixtureRequest, server: ForkServer, sqlite_template: Path, tmp_path: Path) -> Bench:
    postgres = request.getfixturevalue("postgres_session") if request.param == "postgresql" else None
    return Bench(request.param, server, sqlite_template, postgres, tmp_path)


def uncrashed(bench: Bench, scenario: str) -> tuple[dict[str, Any], int]:
    """The oracle, and how many writes the scenario has; worked out once per process."""
    known = ORACLES.get((bench.dialect, scenario))
    if known is None:
        known = ORACLES[bench.dialect, scenario] = _uncrashed(bench, scenario)
    return known


def _uncrashed(bench: Bench, scenario: str) -> tuple[dict[str, Any], int]:
    asked = SCENARIOS[scenario]
    job = bench.job(scenario, "oracle")
    report = bench.server.run(job)
    assert report is not None
    state = matrix.read(job.url)
    demand_everything(state, None, job, Counter())
    oracle = matrix.outcome(state, ordered=asked.ordered)
    if asked.oracle is not None:
        report = bench.server.run(bench.job(scenario))
        assert report is not None
    return oracle, report["writes"]


def demand_everything(state: matrix.State, before: matrix.State | None, job: Job, then: Counter[str]) -> None:
    matrix.demand_sound(state)
    matrix.demand_quiet(state)
    matrix.demand_audited(before, state, then, matrix.audited(Path(job.directory)))


def crashed(bench: Bench, job: Job) -> tuple[matrix.State, Counter[str]] | None:
    """Run a job until it dies; what it left. None if it came to its end before its crash point."""
    if bench.server.run(job) is not None:
        return None
    left, then = matrix.read(job.url), matrix.audited(Path(job.directory))
    matrix.demand_sound(left)
    matrix.demand_durable(left, then)
    return left, then


def recovered(bench: Bench, job: Job, left: matrix.State, then: Counter[str], oracle: dict[str, Any]) -> None:
    scenario = SCENARIOS[job.scenario]
    must_stop = scenario.stopped_by in matrix.acked(Path(job.directory))
    assert bench.server.run(replace(job, mode="recover", strike=None)) is not None
    state = matrix.read(job.url)
    demand_everything(state, left, job, then)
    matrix.demand_same(state, oracle, ordered=scenario.ordered, stopped=scenario.stopped, must_stop=must_stop)


def strike(bench: Bench, scenario: str, at: int, when: CommitPoint, oracle: dict[str, Any]) -> None:
    job = replace(bench.job(scenario), strike=at, when=when)
    remains = crashed(bench, job)
    if remains is not None:
        recovered(bench, job, *remains, oracle)


def strike_twice(bench: Bench, scenario: str, at: int, second: int, when: CommitPoint, oracle: dict[str, Any]) -> bool:
    """Crash, and crash again while recovering. False when the recovery has no write of that number any more."""
    job = replace(bench.job(scenario), strike=at, when="after_commit")
    if crashed(bench, job) is None:
        return False
    again = crashed(bench, replace(job, mode="recover", strike=second, when=when))
    if again is None:
        return False
    recovered(bench, job, *again, oracle)
    return True


def progress(text: str) -> None:
    if FULL:
        print(text, file=sys.__stderr__, flush=True)


def sampled(writes: int, nth: int, salt: str) -> list[int]:
    """Every nth write; where it begins depends on the scenario, so that scenarios share the phases among them."""
    return list(range(1 + sum(salt.encode()) % nth, writes + 1, nth))


@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.parametrize("when", POINTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_at_any_write_changes_nothing_about_the_outcome(bench: Bench, scenario: str, when: CommitPoint) -> None:
    oracle, writes = uncrashed(bench, scenario)
    whole = FULL or (bench.dialect == "sqlite" and scenario in WHOLE)
    nth = 1 if whole else max(EVERY_NTH[bench.dialect], writes // 6)
    chosen = sampled(writes, nth, scenario + when)
    failures: list[str] = []
    for at in chosen:
        try:
            strike(bench, scenario, at, when, oracle)
        except AssertionError as exc:
            failures.append(f"write {at} of {writes}: {exc}")
    progress(f"{bench.dialect} {scenario} {when}: {len(chosen)} of {writes} writes, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(1800 if FULL else 120)
@pytest.mark.parametrize("scenario", TWICE)
def test_a_crash_during_the_recovery_changes_nothing_either(bench: Bench, scenario: str) -> None:
    oracle, writes = uncrashed(bench, scenario)
    nth = max(3, writes // 8) if FULL else max(writes // 4, 5 if bench.dialect == "sqlite" else 12)
    count = 0
    for at in sampled(writes, nth, scenario):
        for when in POINTS:
            second = 1 if FULL else 1 + (at + len(when)) % 7
            while strike_twice(bench, scenario, at, second, when, oracle):
                count += 1
                if not FULL:
                    break
                second += 1 if writes < 30 else 7
        progress(f"{bench.dialect} {scenario}: first crash at {at} of {writes}; {count} double faults")
    assert count, "no second crash was ever reached"
