"""How a resumed run finds its steps: hit, miss, mismatch; and what a retry makes void."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.encoding import encode
from holdfast.domain.errors import JournalMismatch
from holdfast.domain.journal import Entry, EntryType, Journal, Phase, StepKind, StepStatus, matches_arguments

KINDS = st.sampled_from(StepKind)
MATCHED_BY_ARGUMENTS = {StepKind.CODE, StepKind.TOOL, StepKind.CHILD, StepKind.SLEEP, StepKind.INTERRUPT}


def result(key: str, kind: StepKind = StepKind.CODE, *, digest: bytes | None = b"d", attempt: int = 1) -> Entry:
    return Entry(
        1, EntryType.STEP_COMPLETED, 0, 1, seq=1, phase=Phase.RESULT, key=key, kind=kind, name="n", attempt=attempt,
        status=StepStatus.SUCCEEDED, digest=digest,
    )  # fmt: skip


def opened(key: str, kind: StepKind = StepKind.SLEEP, *, digest: bytes | None = b"d", attempt: int = 1) -> Entry:
    return Entry(
        1,
        EntryType.STEP_OPENED,
        0,
        1,
        phase=Phase.OPENING,
        key=key,
        kind=kind,
        name="n",
        attempt=attempt,
        digest=digest,
    )


def retried(*voided: tuple[str, int]) -> Entry:
    return Entry(1, EntryType.RUN_RETRIED, 0, 1, payload=encode({"voided": [list(v) for v in voided]}))


@given(KINDS)
def test_a_step_asked_as_it_was_recorded_is_answered(kind: StepKind) -> None:
    entry = result("k#1", kind)
    assert Journal.of([entry]).find("k#1", kind, "n", b"d") is entry


@given(KINDS)
def test_a_step_that_is_not_recorded_is_absent(kind: StepKind) -> None:
    journal = Journal.of([result("k#1", kind), opened("o#1", kind)])
    assert journal.find("k#2", kind, "n", b"d") is None
    assert journal.find("o#1", kind, "n", b"d") is None
    assert journal.opening("k#1", kind, "n", b"d") is None


@given(KINDS, KINDS, st.sampled_from(["n", "m"]), st.sampled_from([b"d", b"e", None]))
def test_another_step_in_its_place_is_a_mismatch_that_names_both(
    recorded: StepKind, asked: StepKind, name: str, digest: bytes | None
) -> None:
    journal = Journal.of([result("k#1", recorded), opened("o#1", recorded)])
    arguments_differ = asked in MATCHED_BY_ARGUMENTS and digest != b"d"
    for look, key in ((journal.find, "k#1"), (journal.opening, "o#1")):
        if asked is recorded and name == "n" and not arguments_differ:
            assert look(key, asked, name, digest) is not None
            continue
        with pytest.raises(JournalMismatch) as told:
            look(key, asked, name, digest)
        assert told.value.details["key"] == key
        assert f"{recorded} step 'n'" in told.value.details["recorded"]
        assert f"{asked} step {name!r}" in told.value.details["requested"]
        assert told.value.details["recorded"] in str(told.value)
        assert told.value.details["requested"] in str(told.value)


def test_only_what_must_be_asked_alike_is_matched_by_arguments() -> None:
    assert {kind for kind in StepKind if matches_arguments(kind)} == MATCHED_BY_ARGUMENTS


def test_a_model_steps_recorded_answer_wins_whatever_is_asked_now() -> None:
    entry = result("m#1", StepKind.MODEL, digest=b"old prompt")
    assert Journal.of([entry]).find("m#1", StepKind.MODEL, "n", b"new prompt") is entry


def test_a_step_recorded_twice_is_a_bug() -> None:
    journal = Journal.of([result("k#1")])
    with pytest.raises(AssertionError, match="recorded twice"):
        journal.add(result("k#1"))


def test_a_voided_result_is_absent_and_its_attempt_rises() -> None:
    journal = Journal.of([result("k#1"), result("l#1")])
    assert (journal.attempt("k#1"), journal.attempt("l#1")) == (1, 1)
    journal.add(retried(("k#1", 1)))
    assert journal.find("k#1", StepKind.CODE, "other", b"x") is None, "what was void matches nothing"
    assert (journal.attempt("k#1"), journal.attempt("l#1")) == (2, 1)
    assert journal.find("l#1", StepKind.CODE, "n", b"d") is not None
    again = result("k#1", attempt=2)
    journal.add(again)
    assert journal.find("k#1", StepKind.CODE, "n", b"d") is again


def test_a_voided_opening_is_absent_too() -> None:
    journal = Journal.of([opened("k#1"), retried(("k#1", 1))])
    assert journal.opening("k#1", StepKind.SLEEP, "n", b"d") is None
    assert journal.attempt("k#1") == 2


def test_a_step_that_a_retry_names_again_never_falls_back_to_an_earlier_attempt() -> None:
    """UNIQUE (run, key, phase, attempt) would refuse the repeated attempt, and with it the run."""
    journal = Journal.of([result("k#1"), retried(("k#1", 1)), result("k#1", attempt=2), retried(("k#1", 2))])
    assert journal.attempt("k#1") == 3
    journal.add(retried(("k#1", 2)))
    assert journal.attempt("k#1") == 3


@given(st.lists(st.sampled_from(["record", "open", "void", "void again"]), max_size=12))
def test_no_attempt_is_ever_used_twice(moves: list[str]) -> None:
    journal = Journal()
    used: list[tuple[Any, int]] = []
    for move in moves:
        attempt = journal.attempt("k#1")
        if move == "record" and "k#1" not in journal.results:
            journal.add(result("k#1", attempt=attempt))
            used.append(("result", attempt))
        elif move == "open" and "k#1" not in journal.openings and "k#1" not in journal.results:
            journal.add(opened("k#1", attempt=attempt))
            used.append(("opening", attempt))
        elif move == "void" and ("k#1" in journal.results or "k#1" in journal.openings):
            journal.add(retried(("k#1", attempt)))
        elif move == "void again" and used:
            journal.add(retried(("k#1", used[-1][1])))
        assert journal.attempt("k#1") >= attempt
    assert len(used) == len(set(used))


def test_steps_are_counted_for_the_journals_bound_even_when_void() -> None:
    journal = Journal.of([result("a#1"), opened("b#1"), result("b#1"), retried(("a#1", 1)), result("a#1", attempt=2)])
    assert journal.steps == 3
