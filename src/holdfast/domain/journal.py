"""The journal of a run: immutable entries, the keys that name its steps, and how a resumed run finds them again.

An entry is one row and exactly one durable event; `pos` is dense over entries, `seq` over steps, both given inside
the commit. In memory things refer to each other by key, never by a number that is not committed yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, assert_never

from holdfast.domain.encoding import decode
from holdfast.domain.errors import Invalid, JournalMismatch
from holdfast.domain.ids import MessageId, RunId
from holdfast.domain.limits import KEY_CHARS_MAX, STEP_NAME_CHARS_MAX
from holdfast.domain.runs import Usage
from holdfast.domain.threads import Role


class EntryType(StrEnum):
    """What an entry says; also the `event:` of the one durable event it is."""

    RUN_QUEUED = "run.queued"
    RUN_FORKED = "run.forked"
    RUN_STARTED = "run.started"
    RUN_WAITING = "run.waiting"
    RUN_RESUMED = "run.resumed"
    RUN_RECOVERED = "run.recovered"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_RETRIED = "run.retried"
    RUN_COMPENSATING = "run.compensating"
    RUN_VERSION_CHANGED = "run.version_changed"
    STEP_OPENED = "step.opened"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    MESSAGE_STARTED = "message.started"
    MESSAGE_COMPLETED = "message.completed"
    TOOL_STARTED = "tool.started"
    TOOL_COMPLETED = "tool.completed"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_CHANGED = "approval.changed"
    APPROVAL_RESOLVED = "approval.resolved"
    EFFECT_UNKNOWN = "effect.unknown"
    CUSTOM = "custom"
    STATE_CHANGED = "state.changed"


TERMINAL: Final = frozenset({EntryType.RUN_SUCCEEDED, EntryType.RUN_FAILED, EntryType.RUN_CANCELLED})


class Ephemeral(StrEnum):
    """Events that are not stored: they have no id, and a reader who comes later never sees them."""

    MESSAGE_DELTA = "message.delta"
    STEP_STARTED = "step.started"


class StepKind(StrEnum):
    MODEL = "model"
    TOOL = "tool"
    CODE = "code"
    CHILD = "child"
    SLEEP = "sleep"
    INTERRUPT = "interrupt"
    EVENT = "event"
    EMIT = "emit"
    VALUE = "value"
    HANDOFF = "handoff"
    STATE = "state"


def matches_arguments(kind: StepKind) -> bool:
    """Whether a resumed step of this kind must ask with the arguments it asked with before.

    What a model step was asked is compared by replay and diff only: on resume the recorded answer wins.
    """
    match kind:
        case StepKind.CODE | StepKind.TOOL | StepKind.CHILD | StepKind.SLEEP | StepKind.INTERRUPT:
            return True
        case StepKind.MODEL | StepKind.EVENT | StepKind.EMIT | StepKind.VALUE | StepKind.HANDOFF | StepKind.STATE:
            return False
        case _:
            assert_never(kind)


class StepStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    VOIDED = "voided"


class Phase(StrEnum):
    """An *opening* tells that something that can outlast the process began; a *result* ends a step."""

    OPENING = "opening"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """The entry's payload is also a message of the thread, at `position` (dense from 1 within the thread)."""

    id: MessageId
    role: Role
    position: int


@dataclass(frozen=True, slots=True)
class NewBlob:
    """Content stored once per tenant under its SHA-256. `data` is None when it is known to be stored already."""

    hash: bytes
    data: bytes | None


@dataclass(slots=True, kw_only=True)  # not frozen: that costs a microsecond or two, once a step
class NewEntry:
    """An entry on its way into the journal. `payload`, `error` and `prompt` are JSON; times are ms UTC."""

    type: EntryType
    at: int
    phase: Phase | None = None
    key: str | None = None
    kind: StepKind | None = None
    name: str | None = None
    attempt: int | None = None
    tries: int | None = None
    status: StepStatus | None = None
    digest: bytes | None = None
    payload: bytes | None = None
    error: bytes | None = None
    prompt: bytes | None = None
    usage: Usage | None = None
    price_version: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    message: NewMessage | None = None
    blobs: tuple[NewBlob, ...] = ()

    @property
    def is_step(self) -> bool:
        return self.phase is Phase.RESULT


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the journal as stored."""

    pos: int
    type: EntryType
    at: int
    epoch: int
    seq: int | None = None
    phase: Phase | None = None
    key: str | None = None
    kind: StepKind | None = None
    name: str | None = None
    attempt: int | None = None
    tries: int | None = None
    status: StepStatus | None = None
    digest: bytes | None = None
    payload: bytes | None = None
    error: bytes | None = None
    prompt: bytes | None = None
    usage: Usage | None = None
    price_version: str | None = None
    started_at: int | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """An entry, and the run that wrote it: a fork has some from others."""

    run_id: RunId
    entry: Entry


def as_found(entry: NewEntry) -> Entry:
    """An entry on its way into the journal as one that is found there; its place is not known yet."""
    return Entry(
        pos=0,
        type=entry.type,
        at=entry.at,
        epoch=0,
        phase=entry.phase,
        key=entry.key,
        kind=entry.kind,
        name=entry.name,
        attempt=entry.attempt,
        status=entry.status,
        digest=entry.digest,
        payload=entry.payload,
        error=entry.error,
        usage=entry.usage,
    )


_UNSAFE_IN_KEYS = str.maketrans({"/": "%2F", "#": "%23", "%": "%25"})


def key_of(scope: str, name: str, occurrence: int) -> str:
    """A step's key: `scope/name#occurrence`, with the separators in a name escaped.

    >>> key_of("", "load-plan", 1), key_of("g#1.0", "a/b", 2)
    ('load-plan#1', 'g#1.0/a%2Fb#2')
    """
    safe = name.translate(_UNSAFE_IN_KEYS) if ("/" in name or "#" in name or "%" in name) else name
    key = f"{scope}/{safe}#{occurrence}" if scope else f"{safe}#{occurrence}"
    if len(key) > KEY_CHARS_MAX:
        raise Invalid(f"The step key {key[:80]}… is longer than {KEY_CHARS_MAX} characters; nest less deeply.")
    return key


def branch_scope(scope: str, group: int, branch: int) -> str:
    """The scope of one branch of a `gather`, numbered in creation order.

    >>> branch_scope("", 1, 0), branch_scope("g#1.0", 2, 3)
    ('g#1.0', 'g#1.0/g#2.3')
    """
    own = f"g#{group}.{branch}"
    return f"{scope}/{own}" if scope else own


def check_name(name: str) -> str:
    """A step's name, if it can be one."""
    if not name or len(name) > STEP_NAME_CHARS_MAX or not name.isprintable():
        raise Invalid(f"A step's name is 1 to {STEP_NAME_CHARS_MAX} printable characters, not {name[:150]!r}.")
    return name


@dataclass(slots=True)
class Journal:
    """What a run had recorded when it was claimed, indexed by key. The executor loads it, steps ask it. Of a fork the
    entries up to `inherited` are others'."""

    results: dict[str, Entry] = field(default_factory=dict[str, Entry])
    openings: dict[str, Entry] = field(default_factory=dict[str, Entry])
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    steps: int = 0
    inherited: int = 0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Journal:
        journal = cls()
        for entry in entries:
            journal.add(entry)
        return journal

    def add(self, entry: Entry) -> None:
        if entry.type is EntryType.RUN_RETRIED:
            self._void(decode(entry.payload)["voided"])
            self._open_anew()
        elif entry.key is not None:
            if entry.phase is Phase.OPENING:
                self.openings[entry.key] = entry
            else:
                assert entry.key not in self.results, f"{entry.key} recorded twice"
                self.results[entry.key] = entry
                self.steps += 1

    def _void(self, voided: Iterable[tuple[str, int]]) -> None:
        """A voided result counts as absent, and the step's attempt rises above every attempt there was."""
        for key, attempt in voided:
            gone = (self.results.pop(key, None), self.openings.pop(key, None))
            last = max([attempt, *((e.attempt or 1) for e in gone if e)])
            self.attempts[key] = max(self.attempt(key), last + 1)

    def _open_anew(self) -> None:
        """The run's end closed its questions and waits: those that have no result are opened once more."""
        for key, opened in list(self.openings.items()):
            if opened.kind in (StepKind.INTERRUPT, StepKind.EVENT) and key not in self.results:
                del self.openings[key]
                self.attempts[key] = max(self.attempt(key), (opened.attempt or 1) + 1)

    def attempt(self, key: str) -> int:
        """The attempt that the next result of this step is, from 1."""
        return self.attempts.get(key, 1)

    def find(self, key: str, kind: StepKind, name: str, digest: bytes | None) -> Entry | None:
        """The recorded result of a step, or None; `JournalMismatch` when another step stands in its place."""
        recorded = self.results.get(key)
        if recorded is not None:
            _demand_match(recorded, key, kind, name, digest, forked=recorded.pos <= self.inherited)
        return recorded

    def opening(self, key: str, kind: StepKind, name: str, digest: bytes | None) -> Entry | None:
        """The opening of a step that has no result yet, or None; checked like `find`."""
        opened = self.openings.get(key)
        if opened is not None:
            _demand_match(opened, key, kind, name, digest)
        return opened


def _demand_match(
    recorded: Entry, key: str, kind: StepKind, name: str, digest: bytes | None, *, forked: bool = False
) -> None:
    same_arguments = not matches_arguments(kind) or recorded.digest == digest
    if recorded.kind is kind and recorded.name == name and same_arguments:
        return
    was = _described(recorded.kind, recorded.name, recorded.digest)
    now = _described(kind, name, digest)
    raise JournalMismatch(
        f"At {key} the journal holds {was}, but the code now asks for {now}. {_OF_FORKS if forked else _OF_CODE}",
        key=key,
        recorded=was,
        requested=now,
    )


_OF_CODE: Final = (
    "The code of this run's agent changed in a way that its journal does not fit: restore the earlier code, or start a "
    "new run."
)
_OF_FORKS: Final = (
    "The run is a fork and has this step from its parent. Either the code changed since, or the step's arguments say "
    "something of the run itself, such as its id, which is another one here: fork before this step."
)


def _described(kind: StepKind | None, name: str | None, digest: bytes | None) -> str:
    arguments = f" (arguments {digest.hex()[:12]})" if digest else ""
    return f"{kind} step {name!r}{arguments}"
