"""BFCL forked: a sample of it, by the code that `make acceptance` runs on 100 conversations."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.bfcl import available, forks, world

# Of both, some turns call several tools, one after the other and in parallel.
CASES = ("multi_turn_base_71", "multi_turn_base_128")


@pytest.fixture(scope="module", autouse=True)
def bfcl() -> Path:
    return available.require()


def demand_whole(url: str, directory: Path, *cases: str) -> None:
    report = asyncio.run(forks.conduct([world.cases()[case] for case in cases], url, directory))
    assert report.wrong == []
    assert report.cases == len(cases)
    assert report.calls > report.runs
    assert report.forks > len(forks.POLICIES) * report.calls, "at every step, and there is one for every call"
    assert report.again > 0, "the default makes reads again, or nothing was looked at"


def test_a_fork_at_every_step_goes_on_like_its_parent_and_changes_nothing_outside(
    sqlite_url: str, tmp_path: Path
) -> None:
    demand_whole(sqlite_url, tmp_path, *CASES)


@pytest.mark.postgres
def test_the_same_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    demand_whole(postgres_url, tmp_path, CASES[1])
