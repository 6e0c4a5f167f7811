"""A run's life: which state may follow which; and sums of usage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.runs import ENDED, NO_USAGE, TRANSITIONS, RunStatus, Usage, may_become
from holdfast.domain.threads import Thread, ThreadStatus, ThreadView

Q, R, W, S, F, C = (
    RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED,
)  # fmt: skip
ALLOWED = {(Q, R), (Q, C), (R, W), (R, Q), (R, S), (R, F), (R, C), (W, Q), (W, C), (W, F), (F, Q)}


def test_the_table_of_transitions_is_the_one_that_was_decided() -> None:
    assert {(a, b) for a in RunStatus for b in RunStatus if may_become(a, b)} == ALLOWED
    assert set(TRANSITIONS) == set(RunStatus)


def test_an_ended_run_never_moves_again_but_for_a_retry() -> None:
    assert {s for s in RunStatus if s.ended} == ENDED == {S, F, C}
    assert {b for s in ENDED for b in TRANSITIONS[s]} == {Q}
    assert TRANSITIONS[S] == TRANSITIONS[C] == frozenset()


def test_only_a_running_run_succeeds_and_only_a_queued_one_starts() -> None:
    assert {a for a, b in ALLOWED if b is S} == {R}
    assert {a for a, b in ALLOWED if b is R} == {Q}


def test_every_state_of_a_head_gives_its_thread_a_state() -> None:
    thread = Thread(b"", b"", None, None, None, False, b"", 0, 0)  # type: ignore[arg-type]
    states = {s: ThreadView(thread, None, s, None).status for s in [*RunStatus, None]}
    assert states == {
        Q: ThreadStatus.BUSY, R: ThreadStatus.BUSY, W: ThreadStatus.WAITING, F: ThreadStatus.ERROR,
        S: ThreadStatus.IDLE, C: ThreadStatus.IDLE, None: ThreadStatus.IDLE,
    }  # fmt: skip


USAGES = st.builds(Usage, *[st.integers(0, 9)] * 4, st.booleans())


@given(USAGES, USAGES, USAGES)
def test_usage_adds_up_in_any_grouping_and_is_unpriced_if_any_part_is(a: Usage, b: Usage, c: Usage) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + NO_USAGE == a
    assert (a + b).priced == (a.priced and b.priced)
    assert (a + b).cost_micros == a.cost_micros + b.cost_micros
