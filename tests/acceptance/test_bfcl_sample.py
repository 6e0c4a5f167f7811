"""A sample of the BFCL run, over HTTP against a server process, by the code that `make acceptance` runs in full."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.bfcl import available, run, world

SAMPLE = 24
CONCURRENCY = 8


@pytest.fixture(scope="module", autouse=True)
def bfcl() -> Path:
    return available.require()


def test_the_sample_takes_as_many_from_each_category_and_touches_every_service() -> None:
    chosen = run.sample(SAMPLE)
    assert Counter(case.category for case in chosen) == dict.fromkeys(world.CATEGORIES, SAMPLE // 4)
    assert {name for case in chosen for name in case.entry["involved_classes"]} == set(world.SERVICES)


def test_calls_made_through_holdfast_satisfy_the_official_checker() -> None:
    report = run.conduct(run.Assignment(cases=run.sample(SAMPLE), concurrency=CONCURRENCY))
    assert report.unwanted() == []
    assert sum(result.valid for result in report.results) == SAMPLE


def test_an_agent_that_calls_nothing_satisfies_it_nowhere() -> None:
    report = run.conduct(run.Assignment(cases=run.sample(SAMPLE), concurrency=CONCURRENCY, silent=True))
    assert report.unwanted() == []
    assert sum(result.valid for result in report.results) == 0
    assert sum(len(result.turns) for result in report.results) == sum(len(r.case.prompts) for r in report.results)
