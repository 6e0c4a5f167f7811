"""Who may decide, what several demands ask for together, and when leave for one is leave for another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.approvals import (
    WAITING_ON,
    Approval,
    ApprovalStatus,
    ApprovalType,
    Decision,
    DecisionKind,
    Demand,
    OnExpiry,
    approvals_given,
    may_decide,
    strictest,
)
from holdfast.domain.ids import ApprovalId, PrincipalId, RunId, TenantId, ThreadId

ANN, BOB, CEC = (PrincipalId(name * 16) for name in (b"a", b"b", b"c"))


def said(by: PrincipalId, decision: DecisionKind = DecisionKind.APPROVE, *, void: bool = False) -> Decision:
    return Decision(principal_id=by, name="x", decision=decision, at=1, void=void)


def approval(*decisions: Decision, **demand: Any) -> Approval:
    return Approval(
        tenant_id=TenantId(b"t" * 16), id=ApprovalId(b"q" * 16), type=ApprovalType.TOOL,
        status=ApprovalStatus.PENDING, version=1, run_id=RunId(b"r" * 16), root_id=RunId(b"r" * 16),
        thread_id=ThreadId(b"h" * 16), agent="a", tool="pay", key="k", group="k", attempt=1, effect_id=None,
        message="m", reason=None, arguments=b"{}", arguments_hash=b"h", schema=None, choices=None, default=None,
        requested_by=BOB, chain=frozenset({ANN}), demand=Demand(**demand), decisions=decisions, answer=None,
        escalated=False, expires_at=None, created_at=1, resolved_at=None, usable_until=None, used_at=None,
    )  # fmt: skip


def code(asked: Approval, by: PrincipalId, *roles: str, admin: bool = False) -> str:
    return may_decide(asked, by, roles, admin=admin).code


def test_anybody_may_decide_what_nobody_restricts() -> None:
    assert code(approval(), ANN) == "ok"


@pytest.mark.parametrize("admin", [False, True])
def test_four_eyes_are_not_those_of_the_chain_nor_of_the_requester(admin: bool) -> None:
    asked = approval(four_eyes=True)
    assert code(asked, ANN, admin=admin) == "four_eyes"
    assert code(asked, BOB, admin=admin) == "four_eyes"
    assert code(asked, CEC, admin=admin) == "ok"


def test_who_led_to_a_call_may_withdraw_it() -> None:
    """It takes other eyes to let it happen, not to let it be. Roles and the second word are another matter."""
    asked = approval(four_eyes=True, roles=(frozenset({"boss"}),))
    assert may_decide(asked, ANN, ["boss"], admin=False, rejects=True).code == "ok"
    assert may_decide(asked, BOB, [], admin=True, rejects=True).code == "ok"
    assert may_decide(asked, ANN, [], admin=False, rejects=True).code == "role_missing"
    assert may_decide(approval(said(ANN), four_eyes=True), ANN, [], admin=False, rejects=True).code == "already_decided"


def test_one_role_of_each_set_is_needed() -> None:
    asked = approval(roles=(frozenset({"clerk", "boss"}), frozenset({"legal"})))
    assert code(asked, CEC, "clerk") == "role_missing"
    assert code(asked, CEC, "legal") == "role_missing"
    assert code(asked, CEC, "boss", "legal") == "ok"
    assert code(asked, CEC, admin=True) == "ok", "an admin holds every role"
    assert "legal" in may_decide(asked, CEC, ["clerk"], admin=False).reason


def test_nobody_decides_twice_unless_the_first_time_was_about_something_else() -> None:
    assert code(approval(said(CEC)), CEC) == "already_decided"
    assert code(approval(said(CEC)), CEC, admin=True) == "already_decided"
    assert code(approval(said(CEC, void=True)), CEC) == "ok"


def test_only_standing_approvals_count() -> None:
    asked = approval(said(ANN), said(BOB, void=True), said(CEC, DecisionKind.REJECT))
    assert approvals_given(asked) == 1


def test_only_pending_is_open() -> None:
    assert [s for s in ApprovalStatus if not s.closed] == [ApprovalStatus.PENDING]


def test_every_type_says_what_a_run_waits_on() -> None:
    assert set(WAITING_ON) == set(ApprovalType)


roles = st.lists(st.frozensets(st.sampled_from("abcd"), min_size=1), max_size=3).map(tuple)
demands = st.builds(
    Demand,
    roles=roles,
    quorum=st.integers(1, 4),
    four_eyes=st.booleans(),
    expires_ms=st.none() | st.integers(1, 9),
    on_expiry=st.sampled_from([OnExpiry.REJECT, OnExpiry.APPROVE]),
)


@given(demands)
def test_a_demand_covers_itself(one: Demand) -> None:
    assert one.covers(one)


@given(st.lists(demands, min_size=1, max_size=4))
def test_the_strictest_covers_each_of_them(several: list[Demand]) -> None:
    made = strictest(several)
    assert all(made.covers(one) for one in several)
    times = [d.expires_ms for d in several if d.expires_ms is not None]
    assert made.expires_ms == min(times, default=None)
    if any(d.on_expiry is OnExpiry.REJECT for d in several):
        assert made.on_expiry is OnExpiry.REJECT


@given(demands, demands, demands)
def test_covering_goes_on_from_one_to_the_next(a: Demand, b: Demand, c: Demand) -> None:
    if a.covers(b) and b.covers(c):
        assert a.covers(c)


@pytest.mark.parametrize(
    ("mine", "theirs", "covers"),
    [
        (Demand(), Demand(quorum=2), False),
        (Demand(quorum=2), Demand(), True),
        (Demand(), Demand(four_eyes=True), False),
        (Demand(), Demand(roles=(frozenset({"boss"}),)), False),
        (Demand(roles=(frozenset({"boss"}),)), Demand(roles=(frozenset({"boss", "clerk"}),)), True),
        (Demand(roles=(frozenset({"boss", "clerk"}),)), Demand(roles=(frozenset({"boss"}),)), False),
        (Demand(expires_ms=1), Demand(expires_ms=9), True),
    ],
)
def test_leave_for_less_is_no_leave_for_more(mine: Demand, theirs: Demand, covers: bool) -> None:
    assert mine.covers(theirs) is covers


def test_whom_a_demand_escalates_to_may_stand_in_for_those_it_names() -> None:
    asked = Demand(
        roles=(frozenset({"clerk"}),), on_expiry=OnExpiry.ESCALATE, escalate_to=frozenset({"boss"}), quorum=2
    )
    by_the_boss = Demand(roles=(frozenset({"boss"}),), quorum=2)
    assert by_the_boss.covers(asked)
    assert not Demand(roles=(frozenset({"boss"}),)).covers(asked), "as many as before"
    assert not Demand(roles=(frozenset({"boss", "other"}),), quorum=2).covers(asked)
