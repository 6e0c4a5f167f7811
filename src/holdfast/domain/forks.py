"""Forks: what a run that begins in the middle of another one takes over from it, and what its calls may do.

A fork keeps steps of its parent by reference, and acts as the principal who forks. Invariants: the parent never
changes; decisions among the kept steps are history, not leave; a call that the parent made after the fork point is not
made again unless whoever forks says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from holdfast.domain import limits
from holdfast.domain.approvals import ApprovalType
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Invalid
from holdfast.domain.ids import RUN, RunId, parse, text
from holdfast.domain.journal import Entry, Journal, StepKind, StepStatus


class Repeat(StrEnum):
    """What becomes of a call that the parent has made after the fork point, with the same arguments.

    `reuse`: it is not made again, and comes to what it came to. `execute`: it is made, under the tool's rules.
    `simulate`: it is not made, and comes to a stand-in. `deny`: it is refused.
    """

    REUSE = "reuse"
    EXECUTE = "execute"
    SIMULATE = "simulate"
    DENY = "deny"


class Fresh(StrEnum):
    """What becomes of a call that the parent has not made. `ask`: a person has to allow it, whatever the rules say."""

    ASK = "ask"
    EXECUTE = "execute"
    SIMULATE = "simulate"
    DENY = "deny"


class Reads(StrEnum):
    """What becomes of calls that only read. `reuse`: the parent's results stand in, and what it did not read is
    refused."""

    EXECUTE = "execute"
    REUSE = "reuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectPolicy:
    """What the calls of a fork do after its fork point, and those of the runs that it calls.

    They are compared with the calls of the run `of` behind its step `at`; with nothing if the parent has no such run.
    `imported`: the run that all of this began with came out of a file, so that plain steps hold to it as well.
    """

    repeat: Repeat = Repeat.REUSE
    new: Fresh = Fresh.ASK
    reads: Reads = Reads.EXECUTE
    of: RunId | None = None
    at: int = 0
    imported: bool = False

    def stored(self) -> bytes:
        return encode({
            "repeat": self.repeat.value,
            "new": self.new.value,
            "reads": self.reads.value,
            "of": None if self.of is None else text(RUN, self.of),
            "at": self.at,
            **({"imported": True} if self.imported else {}),
        })  # fmt: skip


def policy_of(stored: bytes | None) -> EffectPolicy | None:
    """The policy of a run; None for one that is no fork, nor called by one."""
    if stored is None:
        return None
    value: dict[str, Any] = decode(stored)
    of = None if value["of"] is None else RunId(parse(RUN, value["of"]))
    return EffectPolicy(
        repeat=Repeat(value["repeat"]),
        new=Fresh(value["new"]),
        reads=Reads(value["reads"]),
        of=of,
        at=value["at"],
        imported="imported" in value,
    )


def unpaired(stored: bytes | None) -> bytes | None:
    """The same policy for a run that follows on another one with `ctx.restart`: no run is its counterpart."""
    policy = policy_of(stored)
    return None if policy is None else replace(policy, of=None, at=0).stored()


def policy_json(stored: bytes | None) -> dict[str, str]:
    """What a fork's policy says to who looks at it."""
    policy = policy_of(stored) or EffectPolicy()
    return {"repeat": policy.repeat.value, "new": policy.new.value, "reads": policy.reads.value}


@dataclass(frozen=True, slots=True)
class Overrides:
    """Other instructions and another model than the agent's; None leaves what there is."""

    instructions: str | None = None
    model: str | None = None

    @property
    def given(self) -> dict[str, str]:
        said = (("instructions", self.instructions), ("model", self.model))
        return {name: value for name, value in said if value is not None}

    def over(self, earlier: Overrides) -> Overrides:
        """Both, where this one has the last word."""
        return Overrides(self.instructions or earlier.instructions, self.model or earlier.model)


@dataclass(frozen=True, slots=True)
class Override:
    """What a fork or a retry says of the model calls recorded behind the entry `since`, the one that tells of it.

    It is meant for the agent that makes the first of them. `forked`: whoever made this very fork said so; it is not of
    a retry, nor of what the fork was made from.
    """

    since: int
    said: Overrides
    forked: bool = False


def overridden(held: tuple[Override, ...], own: Override) -> tuple[Override, ...]:
    """Those that held, and what is said now; `Invalid` if that was done too often."""
    if not own.said.given:
        return held
    if len(held) >= limits.OVERRIDES_MAX:
        raise Invalid(
            f"Instructions or model of a run become others at most {limits.OVERRIDES_MAX} times: start a new one.",
            code="edit_not_possible",
            field=("edits", next(iter(own.said.given))),
        )
    return (*held, own)


def overrides_json(overrides: Iterable[Override]) -> bytes | None:
    """A run's overrides as its row keeps them, in the order in which they came."""
    kept = [{"since": one.since, **one.said.given, **({"forked": True} if one.forked else {})} for one in overrides]
    return encode(kept) if kept else None


def overrides_of(stored: bytes | None) -> tuple[Override, ...]:
    found: list[dict[str, Any]] = [] if stored is None else decode(stored)
    return tuple(
        Override(one["since"], Overrides(one.get("instructions"), one.get("model")), bool(one.get("forked")))
        for one in found
    )


def overriding(stored: bytes | None, journal: Journal, key: str) -> tuple[Override, ...]:
    """Those under which the model step `key` was recorded, or is made if it is not recorded."""
    if stored is None:
        return ()
    recorded = journal.results.get(key)
    return tuple(one for one in overrides_of(stored) if recorded is None or one.since < recorded.pos)


def inherited(entries: Iterable[Entry]) -> list[Entry]:
    """What a fork goes on from, of the entries that it shares with others: the results that count.

    A question opened and not answered is asked again, a call begun and not recorded is made anew. Leave for a call
    whose result is not among them is history: the call has to be allowed to whoever forks. So is what was decided of
    one of which nobody knew.
    """
    journal = Journal()
    for entry in entries:
        journal.add(entry)
    kept = [entry for entry in journal.results.values() if not _is_leave(entry, journal.results)]
    return sorted(kept, key=lambda entry: entry.pos)


_LEAVE: Final = frozenset({ApprovalType.TOOL.value, ApprovalType.EFFECT.value})


def _is_leave(entry: Entry, results: dict[str, Entry]) -> bool:
    """Whether it is a decision about a call that has no result here."""
    if entry.kind is not StepKind.INTERRUPT or entry.key is None or decode(entry.payload).get("type") not in _LEAVE:
        return False
    call = entry.key.rpartition("/")[0]
    return call not in results and call.rpartition("@")[0] not in results


def drawn(name: str | None, given: Any) -> Any:
    """What `ctx.now`, `random` or `uuid` records for a value as people write it: a time (RFC 3339), a number from 0 to
    below 1, a UUID. `Invalid` for anything else."""
    try:
        match name:
            case "now" if isinstance(given, str):
                return round(datetime.fromisoformat(given).timestamp() * 1000)
            case "random" if isinstance(given, int | float) and 0 <= given < 1:
                return float(given)
            case "uuid" if isinstance(given, str):
                return UUID(given).hex
            case _:
                pass
    except ValueError:
        pass
    raise Invalid(f"This is not a value of ctx.{name}.", code="edit_not_possible", field=("edits", "output"))


_DRAWN: Final = frozenset({"now", "random", "uuid"})


def demand_editable(step: Entry, edit: str) -> None:
    """`Invalid` unless the step is of a kind that has something of that name to edit."""
    field = ("edits", edit)
    match edit, step.kind:
        case "answer", StepKind.INTERRUPT:
            return
        case (
            "output",
            StepKind.MODEL | StepKind.TOOL | StepKind.CODE | StepKind.CHILD | StepKind.VALUE | StepKind.EVENT,
        ):
            if step.status is StepStatus.VOIDED:
                said = "A retry declared this step void: edit the one that stands."
                raise Invalid(said, code="edit_not_possible", field=field)
            return
        case _:
            what = "an interrupt has an answer" if edit == "answer" else "this kind of step has no output to edit"
            raise Invalid(f"Step {step.seq} is of kind {step.kind}; {what}.", code="edit_not_possible", field=field)
