"""A run's steps in time: columns of numbers, the times in which nobody ran it, and what happened to it. Pure.

A waterfall of 20,000 steps is one answer, so what repeats is said once: a column holds places in a list of words. Times
are ms since the run was created. What is folded here comes as tuples: an object for each row would cost more than the
rest together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from holdfast.domain.encoding import decode
from holdfast.domain.ids import ApprovalId, RunId
from holdfast.domain.journal import TERMINAL, EntryType, StepKind, StepStatus

T = TypeVar("T")
_T = EntryType

LIFE: Final = frozenset({
    _T.RUN_QUEUED, _T.RUN_FORKED, _T.RUN_RETRIED, _T.RUN_WAITING, _T.RUN_STARTED, _T.RUN_RESUMED, _T.RUN_RECOVERED,
    _T.RUN_SUCCEEDED, _T.RUN_FAILED, _T.RUN_CANCELLED, _T.RUN_COMPENSATING, _T.RUN_VERSION_CHANGED,
})  # fmt: skip
"""Entries that say what happened to a run, and not what it did."""

_QUEUES: Final = frozenset({_T.RUN_QUEUED, _T.RUN_FORKED, _T.RUN_RETRIED})
BEGINS_A_PAUSE: Final = _QUEUES | {_T.RUN_WAITING}
_GOES_ON: Final = TERMINAL | {_T.RUN_STARTED, _T.RUN_RESUMED, _T.RUN_RECOVERED}
_MARKS: Final = {
    _T.RUN_FORKED: "forked",
    _T.RUN_RECOVERED: "recovered",
    _T.RUN_RETRIED: "retried",
    _T.RUN_VERSION_CHANGED: "version_changed",
    _T.RUN_COMPENSATING: "compensating",
    _T.RUN_CANCELLED: "cancelled",
}
PAUSES: Final = frozenset({"approval", "ask", "effect", "event", "timer", "child"})


class StepFact(NamedTuple):
    """A step as the journal has it, without what may be large. `error` is JSON, of failed ones only."""

    seq: int
    key: str
    kind: str
    name: str
    attempt: int
    tries: int | None
    status: str
    started_at: int | None
    ended_at: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_micros: int | None
    error: bytes | None


class LifeFact(NamedTuple):
    """An entry of `LIFE`. `payload` is there for `run.waiting`, unless it is large."""

    type: str
    at: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Written:
    """Steps that one run wrote, and what is known of them: which a retry declared void, the children that some started,
    what those used (tokens in, tokens out, cost), and what the ledger says of their effects."""

    run_id: RunId
    steps: Sequence[StepFact]
    voided: AbstractSet[tuple[str, int]] = frozenset()
    children: Mapping[tuple[str, int], RunId] = field(default_factory=dict[tuple[str, int], RunId])
    spent: Mapping[RunId, tuple[int, int, int]] = field(default_factory=dict["RunId", "tuple[int, int, int]"])
    effects: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step that was opened and has not ended. Times are ms UTC here."""

    key: str
    kind: StepKind
    name: str
    attempt: int
    since: int
    child_id: RunId | None = None
    approval_id: ApprovalId | None = None


class Words(Generic[T]):
    """What a column says, each once, in the order in which it came."""

    __slots__ = ("_places", "said")

    def __init__(self, *said: T) -> None:
        self.said: list[T] = list(said)
        self._places: dict[T, int] = {word: place for place, word in enumerate(said)}

    def place(self, word: T) -> int:
        found = self._places.get(word)
        if found is None:
            found = self._places[word] = len(self.said)
            self.said.append(word)
        return found


@dataclass(slots=True)
class Columns:
    """Steps, one list a column; the last six hold places in words. A null stands first among the words of a column
    that may have it."""

    seq: list[int] = field(default_factory=list[int])
    key: list[str] = field(default_factory=list[str])
    attempt: list[int] = field(default_factory=list[int])
    tries: list[int] = field(default_factory=list[int])
    started_at: list[int | None] = field(default_factory=list["int | None"])
    ended_at: list[int | None] = field(default_factory=list["int | None"])
    input_tokens: list[int] = field(default_factory=list[int])
    output_tokens: list[int] = field(default_factory=list[int])
    cost_micros: list[int] = field(default_factory=list[int])
    kind: list[int] = field(default_factory=list[int])
    name: list[int] = field(default_factory=list[int])
    status: list[int] = field(default_factory=list[int])
    child_run_id: list[int] = field(default_factory=list[int])
    effect_status: list[int] = field(default_factory=list[int])
    error_code: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class Vocabulary:
    kind: Words[str] = field(default_factory=Words[str])
    name: Words[str] = field(default_factory=Words[str])
    status: Words[str] = field(default_factory=Words[str])
    child_run_id: Words[RunId | None] = field(default_factory=lambda: Words[RunId | None](None))
    effect_status: Words[str | None] = field(default_factory=lambda: Words[str | None](None))
    error_code: Words[str | None] = field(default_factory=lambda: Words[str | None](None))


_NOTHING: Final = (0, 0, 0)


def columns(pieces: Iterable[Written], since: int) -> tuple[Columns, Vocabulary]:
    """The steps of all pieces in order, with their times counted from `since` (ms UTC)."""
    made, words = Columns(), Vocabulary()
    for piece in pieces:
        _add(made, words, piece, since)
    return made, words


def _add(made: Columns, words: Vocabulary, piece: Written, since: int) -> None:
    voided, children, effects = piece.voided, piece.children, piece.effects
    for s in piece.steps:
        void = (s.key, s.attempt) in voided
        made.seq.append(s.seq)
        made.key.append(s.key)
        made.attempt.append(s.attempt)
        made.tries.append(s.tries or 1)
        made.started_at.append(None if s.started_at is None else s.started_at - since)
        made.ended_at.append(None if s.ended_at is None else s.ended_at - since)
        child = children.get((s.key, s.attempt)) if s.kind == StepKind.CHILD else None
        below = _NOTHING if child is None else piece.spent.get(child, _NOTHING)
        made.input_tokens.append((s.input_tokens or 0) + below[0])
        made.output_tokens.append((s.output_tokens or 0) + below[1])
        made.cost_micros.append((s.cost_micros or 0) + below[2])
        made.kind.append(words.kind.place(s.kind))
        made.name.append(words.name.place(s.name))
        made.status.append(words.status.place(StepStatus.VOIDED.value if void else s.status))
        acted = effects.get(s.key) if s.kind == StepKind.TOOL and not void else None
        made.effect_status.append(words.effect_status.place(acted) if acted else 0)
        made.child_run_id.append(words.child_run_id.place(child) if child else 0)
        made.error_code.append(words.error_code.place(decode(s.error)["code"]) if s.error else 0)


# -- when nobody ran it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pause:
    """From when to when (ms UTC; None: it lasts) no worker had the run, and why. `others`: what it waited for besides
    what `key` names."""

    since: int
    until: int | None
    type: str
    key: str | None = None
    others: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    at: int
    type: str


def life(facts: Iterable[LifeFact]) -> tuple[list[Pause], list[Mark]]:
    """The pauses of a run and what happened to it, in order. A pause that has begun before the facts do is told if
    they begin with the one that began it."""
    pauses: list[Pause] = []
    marks: list[Mark] = []
    begun: Pause | None = None
    for fact in facts:
        if fact.type in _MARKS:
            marks.append(Mark(fact.at, _MARKS[EntryType(fact.type)]))
        if begun is not None and (fact.type in _GOES_ON or fact.type in _QUEUES):
            pauses.append(_until(begun, fact.at))
            begun = None
        if fact.type in _QUEUES:
            begun = Pause(fact.at, None, "queued")
        elif fact.type == EntryType.RUN_WAITING:
            begun = _waiting(fact)
    return [*pauses, *([begun] if begun is not None else [])], marks


def _until(pause: Pause, at: int) -> Pause:
    return Pause(pause.since, at, pause.type, pause.key, pause.others)


def _waiting(fact: LifeFact) -> Pause:
    payload: dict[str, list[dict[str, Any]]] = decode(fact.payload) or {}
    said = payload.get("waiting_on")
    if not said:
        return Pause(fact.at, None, "other")
    first = said[0]
    type = first.get("type")
    return Pause(fact.at, None, type if type in PAUSES else "other", first.get("step"), len(said) - 1)
