"""BFCL under crashes: a sample of it, or with HOLDFAST_FULL=1 all 200 conversations of the category base.

The server is killed after every journaled step; the calls that the world really executed satisfy the official checker.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.acceptance.bfcl import available, crashes
from tests.acceptance.bfcl.run import sample

FULL = os.environ.get("HOLDFAST_FULL") == "1"
BASE = 200
SAMPLE = {"sqlite": 4, "postgresql": 2}
KINDS: dict[str, dict[str, bool]] = {
    "keyed": {},
    "keyed-lossy": {"lossy": True},
    "unsafe": {"unsafe": True},
    "unsafe-lossy": {"unsafe": True, "lossy": True},
}
LOSSY = ["keyed-lossy", "unsafe-lossy"]
ANSWERS: dict[str, set[str]] = {
    "keyed": set(),
    "keyed-lossy": set(),
    "unsafe": {"not_done"},
    "unsafe-lossy": {"not_done", "committed"},
}


@pytest.fixture(scope="module", autouse=True)
def bfcl() -> Path:
    return available.require()


def played(url: str, directory: Path, kind: str, count: int) -> crashes.Report:
    siege = crashes.Siege(cases=sample(count, ["base"]), url=url, directory=directory, **KINDS[kind])
    report = asyncio.run(crashes.conduct(siege))
    print(crashes.described(siege, report))
    return report


def demand_whole(report: crashes.Report, kind: str, count: int) -> None:
    assert report.wrong == {}
    assert report.valid == count
    toll = report.toll
    assert toll.steps > report.calls > 0, "not every step was followed by a kill"
    assert bool(toll.stuck) is ("lossy" in kind), "whether calls were interrupted after they had been executed"
    assert set(toll.answers) == ANSWERS[kind], "whether people were asked, and had to look"


@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize("kind", list(KINDS) if FULL else LOSSY)
def test_every_call_is_executed_exactly_once_though_the_server_dies_after_every_step(
    sqlite_url: str, tmp_path: Path, kind: str
) -> None:
    count = BASE if FULL else SAMPLE["sqlite"]
    demand_whole(played(sqlite_url, tmp_path, kind, count), kind, count)


@pytest.mark.postgres
@pytest.mark.timeout(1_800 if FULL else 120)
@pytest.mark.parametrize("kind", LOSSY if FULL else LOSSY[1:])
def test_the_same_on_postgresql(postgres_url: str, tmp_path: Path, kind: str) -> None:
    count = BASE if FULL else SAMPLE["postgresql"]
    demand_whole(played(postgres_url, tmp_path, kind, count), kind, count)
