"""Journal and log are two witnesses: whatever one of them tells differently is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.bfcl.recorded import CallLog, Executed, disagreement, read_log
from tests.acceptance.bfcl.world import Call

LOOK = Executed(Call("ls", {}), "[]")
FIND = Executed(Call("find", {"name": "a"}), "[]")
MAKE = Executed(Call("mkdir", {"dir_name": "a"}), "None")
PAY = Executed(Call("fund_account", {"amount": 5}), "ok")
PAY_FLOAT = Executed(Call("fund_account", {"amount": 5.0}), "ok")


def test_a_log_reads_back_as_it_was_written_by_run_and_in_order(tmp_path: Path) -> None:
    with CallLog(tmp_path / "calls.jsonl") as log:
        for run_id, executed in [("run_1", MAKE), ("run_2", PAY_FLOAT), ("run_1", LOOK)]:
            log.add(run_id, executed)
    assert read_log(tmp_path / "calls.jsonl") == {"run_1": [MAKE, LOOK], "run_2": [PAY_FLOAT]}


def test_calls_of_one_response_may_run_in_any_order() -> None:
    assert disagreement([[MAKE], [LOOK, FIND]], [MAKE, FIND, LOOK]) == ""


@pytest.mark.parametrize(
    ("journal", "log"),
    [
        ([[MAKE], [LOOK]], [MAKE]),
        ([[MAKE]], [MAKE, MAKE]),
        ([[MAKE], [LOOK]], [LOOK, MAKE]),
        ([[PAY]], [PAY_FLOAT]),
        ([[LOOK]], [Executed(LOOK.call, "['a']")]),
        ([], [MAKE]),
    ],
    ids=["lost", "repeated", "reordered", "coerced", "other answer", "not journaled"],
)
def test_a_difference_is_noticed(journal: list[list[Executed]], log: list[Executed]) -> None:
    assert disagreement(journal, log) != ""
