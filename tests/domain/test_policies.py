"""Rules on calls: when they apply, which one wins, and what is refused when they are declared."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import limits
from holdfast.domain.access import Verdict, decide_call
from holdfast.domain.approvals import OnExpiry
from holdfast.domain.errors import DefinitionError
from holdfast.domain.policies import Confirm, Deny, applies, confirms, denies


def broken(arguments: dict[str, Any]) -> bool:
    raise KeyError("no such argument")


def test_without_a_rule_a_call_is_allowed() -> None:
    assert decide_call([], {}).verdict is Verdict.ALLOW
    assert decide_call([Confirm(when=False), Deny(when=False)], {}).verdict is Verdict.ALLOW


@pytest.mark.parametrize("rules", [[Confirm(), Deny()], [Deny(), Confirm()]])
def test_deny_wins_wherever_it_stands(rules: Any) -> None:
    decision = decide_call(rules, {})
    assert decision.verdict is Verdict.DENY
    assert decision.demand is None


@pytest.mark.parametrize("rule", [Confirm(when=broken), Deny(when=broken), Confirm(when={"missing": {"min": 1}})])
def test_what_cannot_be_judged_is_asked(rule: Any) -> None:
    decision = decide_call([rule], {})
    assert decision.verdict is Verdict.CONFIRM
    assert decision.demand is not None
    assert "could not be judged" in decision.reason


def test_a_rule_that_cannot_be_judged_does_not_hide_one_that_denies() -> None:
    assert decide_call([Confirm(when=broken), Deny(reason="no")], {}).verdict is Verdict.DENY


def test_every_reason_is_given_and_the_demands_add_up() -> None:
    rules = [
        Confirm(reason="money", roles="clerk", quorum=2),
        Confirm(reason="abroad", roles="boss", four_eyes=True, expires=timedelta(hours=1), on_expiry="approve"),
        Confirm(when=False, reason="never", quorum=9),
    ]
    decision = decide_call(rules, {})
    assert decision.reason == "money; abroad"
    demand = decision.demand
    assert demand is not None
    assert set(demand.roles) == {frozenset({"clerk"}), frozenset({"boss"})}
    assert (demand.quorum, demand.four_eyes, demand.expires_ms, demand.on_expiry) == (
        2,
        True,
        3_600_000,
        OnExpiry.REJECT,
    )


def test_the_same_reason_is_said_once_and_not_for_ever() -> None:
    assert decide_call([Confirm(reason="x"), Confirm(reason="x")], {}).reason == "x"
    many = [Confirm(reason=f"{n}" * 100) for n in range(1_000)]
    assert len(decide_call(many, {}).reason) == limits.ERROR_CHARS_MAX


@pytest.mark.parametrize(
    ("when", "arguments", "holds"),
    [
        ({"n": {"min": 5}}, {"n": 5}, True),
        ({"n": {"min": 5}}, {"n": 4.99}, False),
        ({"n": {"max": 5}}, {"n": 5}, True),
        ({"n": {"max": 5}}, {"n": 6}, False),
        ({"n": {"min": 1, "max": 5}}, {"n": 0}, False),
        ({"n": {"min": 100.01}}, {"n": Decimal("100.01")}, True),
        ({"n": {"max": 100.01}}, {"n": Decimal("100.02")}, False),
        ({"to": {"enum": ["a", "b"]}}, {"to": "b"}, True),
        ({"to": {"enum": ["a", "b"]}}, {"to": "c"}, False),
        ({"to": {"regex": r".*@x\.org"}}, {"to": "me@x.org"}, True),
        ({"to": {"regex": r".*@x\.org"}}, {"to": "me@x.org.evil"}, False),
        ({"n": {"min": 5}, "to": {"enum": ["a"]}}, {"n": 9, "to": "b"}, False),
        ({}, {}, True),
        (True, {}, True),
        (lambda a: a["n"] > 1, {"n": 2}, True),
        (lambda a: [], {"n": 2}, False),
    ],
)
def test_a_condition_holds_for_what_fits_it(when: Any, arguments: dict[str, Any], holds: bool) -> None:
    assert applies(when, arguments) is holds


def test_a_condition_cannot_change_the_arguments() -> None:
    arguments = {"n": 1}
    applies(lambda a: a.clear(), arguments)
    assert arguments == {"n": 1}


async def coroutine(arguments: dict[str, Any]) -> bool:
    return True


@pytest.mark.parametrize(
    "when",
    [coroutine, "always", 3, {"n": {}}, {"n": 5}, {"n": {"above": 5}}, {"n": {"regex": "("}}, {"n": {"regex": 5}}],
)
@pytest.mark.parametrize("kind", [Confirm, Deny])
def test_a_condition_that_could_never_be_judged_is_refused_at_once(kind: Any, when: Any) -> None:
    with pytest.raises(DefinitionError):
        kind(when=when)


@pytest.mark.parametrize(
    "given_",
    [
        {"quorum": 0},
        {"quorum": limits.QUORUM_MAX + 1},
        {"roles": "Boss"},
        {"roles": [""]},
        {"expires": timedelta(0)},
        {"expires": timedelta(milliseconds=limits.EXPIRES_MS_MAX + 1)},
        {"on_expiry": "explode"},
        {"on_expiry": "escalate"},
        {"escalate_to": "boss"},
    ],
)
def test_a_demand_that_cannot_be_met_is_refused_at_once(given_: Any) -> None:
    with pytest.raises(DefinitionError):
        Confirm(**given_)


@pytest.mark.parametrize("given_", [None, False])
def test_nothing_is_no_rule(given_: Any) -> None:
    assert confirms(given_) == denies(given_) == ()


def test_rules_may_be_given_short() -> None:
    assert confirms(True) == (Confirm(),)
    assert denies({"n": {"min": 1}}) == (Deny(when={"n": {"min": 1}}),)
    pair = [Confirm(quorum=2), Confirm()]
    assert confirms(pair) == tuple(pair)
    with pytest.raises(DefinitionError):
        confirms([Deny()])  # type: ignore[list-item]
    with pytest.raises(DefinitionError):
        denies([Confirm()])  # type: ignore[list-item]


@given(st.lists(st.sampled_from([Confirm(), Deny(), Confirm(when=False), Deny(when=False), Confirm(when=broken)])))
def test_the_order_of_rules_does_not_matter(rules: list[Any]) -> None:
    assert decide_call(rules, {}).verdict is decide_call(rules[::-1], {}).verdict
