"""The life of an effect, and the key under which a provider is asked to do it."""

from __future__ import annotations

import itertools

import pytest

from holdfast.domain.effects import (
    MAY_HAVE_ACTED,
    TRANSITIONS,
    EffectStatus,
    NotDone,
    idempotency_key,
    may_become,
)
from holdfast.domain.ids import RunId, TenantId

TENANT, RUN = TenantId(b"t" * 16), RunId(b"r" * 16)
E = EffectStatus


def test_every_state_says_what_may_follow() -> None:
    assert set(TRANSITIONS) == set(EffectStatus)


def test_an_effect_that_was_started_never_comes_back_to_be_abandoned() -> None:
    assert not may_become(E.STARTED, E.ABANDONED)
    assert not may_become(E.UNKNOWN, E.ABANDONED)


def test_what_was_done_can_only_be_undone() -> None:
    assert TRANSITIONS[E.COMMITTED] == {E.COMPENSATING}
    assert TRANSITIONS[E.COMPENSATED] == set()


def test_every_state_can_be_reached_from_planned() -> None:
    seen, ahead = {E.PLANNED}, [E.PLANNED]
    while ahead:
        new = TRANSITIONS[ahead.pop()] - seen
        seen |= new
        ahead.extend(new)
    assert seen == set(EffectStatus)


@pytest.mark.parametrize("status", [E.PLANNED, E.ABANDONED, E.FAILED])
def test_what_has_surely_done_nothing_need_not_be_remembered(status: EffectStatus) -> None:
    assert status not in MAY_HAVE_ACTED


def test_whatever_may_have_acted_is_remembered() -> None:
    assert set(EffectStatus) - {E.PLANNED, E.ABANDONED, E.FAILED} == MAY_HAVE_ACTED


def test_a_key_follows_from_tenant_run_step_and_rotation_alone() -> None:
    key = idempotency_key(TENANT, RUN, "pay#1", 0)
    assert key == idempotency_key(TENANT, RUN, "pay#1", 0)
    assert len(key) == 43
    assert key.startswith("hf_")
    assert set(key[3:]) <= set("0123456789abcdef")


def test_no_two_calls_share_a_key() -> None:
    parts = itertools.product(
        (TENANT, TenantId(b"u" * 16)), (RUN, RunId(b"s" * 16)), ("pay#1", "pay#10", "pay#1/0"), (0, 1, 10)
    )
    keys = [idempotency_key(*part) for part in parts]
    assert len(set(keys)) == len(keys)


def test_not_done_is_an_exception_with_words() -> None:
    assert NotDone("the card was declined").message == "the card was declined"
    assert str(NotDone()) == "it was not done"
