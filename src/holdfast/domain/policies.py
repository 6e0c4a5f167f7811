"""Rules on tool calls: when leave must be asked, and when a call is not made at all. What `access.decide_call` reads.

A rule applies when its condition holds for the validated arguments. A condition is `True`, a function of them, or a
mapping such as `{"amount": {"min": 100}}`: every named argument has to fit its `enum`, `min`, `max` (both inclusive)
and `regex` (of the whole text).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Literal, cast

from holdfast.domain import limits
from holdfast.domain.approvals import Demand, OnExpiry
from holdfast.domain.errors import DefinitionError

Condition = bool | Callable[[dict[str, Any]], object] | Mapping[str, Mapping[str, Any]]
TESTS: Final = ("enum", "min", "max", "regex")


@dataclass(frozen=True, slots=True)
class Deny:
    """The call is not made; the model, or the workflow, is told the reason."""

    when: Condition = True
    reason: str = "a policy forbids this call"

    def __post_init__(self) -> None:
        check_condition(self.when)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The call waits until people have given leave.

    Args:
        when: the condition; always unless given.
        reason: why leave is asked, shown to who decides.
        roles: who decides has to hold one of them; anybody of the tenant may if there are none.
        quorum: how many different people have to approve, 1 to `QUORUM_MAX`. One refusal is enough to refuse.
        four_eyes: nobody who led to the call may approve it; nor, of a question that an edit has opened, who made the
            edit. They may reject it.
        expires: how long the question stands, 7 days unless given.
        on_expiry: `"reject"`, `"approve"`, or `"escalate"`: ask `escalate_to` once more, for as long again.
    """

    when: Condition = True
    reason: str = ""
    roles: Sequence[str] | str = ()
    quorum: int = 1
    four_eyes: bool = False
    expires: timedelta | None = None
    on_expiry: Literal["reject", "approve", "escalate"] = "reject"
    escalate_to: Sequence[str] | str = ()

    def __post_init__(self) -> None:
        check_condition(self.when)
        self.demand()

    def demand(self) -> Demand:
        """What this rule asks for, as the engine knows it."""
        if not 1 <= self.quorum <= limits.QUORUM_MAX:
            raise DefinitionError(f"A quorum is 1 to {limits.QUORUM_MAX} people, not {self.quorum}.")
        if self.on_expiry not in ("reject", "approve", "escalate"):
            raise DefinitionError(f'on_expiry is "reject", "approve" or "escalate", not {self.on_expiry!r}.')
        above = role_set(self.escalate_to)
        if (self.on_expiry == "escalate") is not bool(above):
            raise DefinitionError('on_expiry="escalate" and escalate_to=… go together.')
        roles = role_set(self.roles)
        return Demand(
            roles=(roles,) if roles else (),
            quorum=self.quorum,
            four_eyes=self.four_eyes,
            expires_ms=expires_ms_of(self.expires),
            on_expiry=OnExpiry(self.on_expiry),
            escalate_to=above,
        )


Rule = Confirm | Deny
ConfirmGiven = Condition | Confirm | Sequence[Confirm]
DenyGiven = Condition | Deny | Sequence[Deny]


def role_set(given: Sequence[str] | str) -> frozenset[str]:
    names = frozenset([given] if isinstance(given, str) else given)
    if not all(re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", name) for name in names):
        raise DefinitionError(f"A role is 1 to 64 lower-case letters, digits, '_', '.' and '-', not {sorted(names)}.")
    return names


def expires_ms_of(given: timedelta | None) -> int | None:
    """A time to answer in ms; None if none was given."""
    if given is None:
        return None
    expires_ms = round(given.total_seconds() * 1000)
    if not 0 < expires_ms <= limits.EXPIRES_MS_MAX:
        raise DefinitionError(f"A question stands for up to {limits.EXPIRES_MS_MAX // 86_400_000} days, not {given}.")
    return expires_ms


def check_condition(when: object) -> None:
    """Raise `DefinitionError` for a condition that could never be judged."""
    if isinstance(when, bool):
        return
    if isinstance(when, Mapping):
        for name, tests in cast("Mapping[str, Any]", when).items():
            if not isinstance(tests, Mapping) or not tests or not set(cast("Mapping[str, Any]", tests)) <= set(TESTS):
                raise DefinitionError(f"The condition on {name!r} is a mapping of some of {TESTS}, not {tests!r}.")
            if "regex" in tests:
                _pattern(cast(Any, tests)["regex"])
    elif not callable(when) or inspect.iscoroutinefunction(when):
        raise DefinitionError(f"A condition is True, a plain function of the arguments, or a mapping, not {when!r}.")


def _pattern(regex: Any) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except (re.error, TypeError) as exc:
        raise DefinitionError(f"A condition's regex is one, but {regex!r} is not: {exc}.") from None


def applies(when: Condition, arguments: dict[str, Any]) -> bool:
    """Whether a condition holds. Raises whatever it raises: the one who decides takes that for a yes to asking."""
    if isinstance(when, bool):
        return when
    if isinstance(when, Mapping):
        tested = cast("Mapping[str, Mapping[str, Any]]", when)
        return all(_fits(tests, arguments[name]) for name, tests in tested.items())
    return bool(when(dict(arguments)))


def _fits(tests: Mapping[str, Any], value: Any) -> bool:
    if "enum" in tests and value not in tests["enum"]:
        return False
    if "min" in tests and not value >= _bound(tests["min"], value):
        return False
    if "max" in tests and not value <= _bound(tests["max"], value):
        return False
    return not ("regex" in tests and _pattern(tests["regex"]).fullmatch(value) is None)


def _bound(bound: Any, value: Any) -> Any:
    """A bound as it was written: the float 100.01 is a little more than the decimal 100.01."""
    return Decimal(str(bound)) if isinstance(value, Decimal) and isinstance(bound, float) else bound


def confirms(given: ConfirmGiven | None) -> tuple[Confirm, ...]:
    """What was given as `confirm=…`, as rules."""
    if given is None or given is False:
        return ()
    if isinstance(given, Confirm):
        return (given,)
    if isinstance(given, Sequence):
        return tuple(_each(cast("Sequence[Any]", given), Confirm))
    return (Confirm(when=given),)


def denies(given: DenyGiven | None) -> tuple[Deny, ...]:
    """What was given as `deny=…`, as rules."""
    if given is None or given is False:
        return ()
    if isinstance(given, Deny):
        return (given,)
    if isinstance(given, Sequence):
        return tuple(_each(cast("Sequence[Any]", given), Deny))
    return (Deny(when=given),)


def _each(given: Iterable[Any], kind: type[Any]) -> list[Any]:
    found = list(given)
    if not all(isinstance(one, kind) for one in found):
        raise DefinitionError(f"A list of rules here holds {kind.__name__}(…) only, not {found!r}.")
    return found
