"""A run's life: its states, which may follow which, and what a run is.

queued  → running, cancelled
running → waiting, queued, succeeded, failed, cancelled
waiting → queued, cancelled, failed
failed  → queued                  (retry only)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Final

from holdfast.domain.ids import PrincipalId, RunId, TenantId, ThreadId
from holdfast.domain.previews import BEGINNING_BYTES, first_words


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED


_S = RunStatus
ENDED: Final = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})

TRANSITIONS: Final[dict[RunStatus, frozenset[RunStatus]]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.WAITING, _S.QUEUED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.QUEUED, _S.CANCELLED, _S.FAILED}),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.SUCCEEDED: frozenset(),
    _S.CANCELLED: frozenset(),
}


def may_become(before: RunStatus, after: RunStatus) -> bool:
    return after in TRANSITIONS[before]


class OnBusy(StrEnum):
    """What a new run does when its thread is held by an older run that has not ended."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class Undo(IntEnum):
    """Whether what a run did is undone before it ends."""

    NO = 0
    ASKED = 1
    BEGUN = 2


class OnDisconnect(StrEnum):
    CONTINUE = "continue"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Caps of one run; `None` is no cap. Each has its own error code, `limit_<name>`."""

    steps_max: int | None = None
    tool_calls_max: int | None = None
    tokens_max: int | None = None
    cost_micros_max: int | None = None
    active_ms_max: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls used. `cost_micros` is millionths of a US dollar; `priced` is false if any call had no price."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    priced: bool = True

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_micros + other.cost_micros,
            self.priced and other.priced,
        )


NO_USAGE: Final = Usage()


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of one agent, as the store holds it. Bytes fields named here are JSON; times are ms UTC.

    Of a fork `forked_run` and `forked_at` say at which step of which run it was asked to begin, `input_run` whose first
    entry is its input; `overrides` and `effect_policy` what is different in it. `branch`: its thread is a branch.
    `imported`: it came out of a file. `archived`: it was deleted, and stands only for the forks that read it.
    """

    tenant_id: TenantId
    id: RunId
    thread_id: ThreadId
    status: RunStatus
    agent: str
    acting_agent: str
    agent_version: str
    initiator: PrincipalId
    root_id: RunId
    parent_id: RunId | None
    parent_key: str | None
    depth: int
    external_id: str | None
    rank: int
    ordinal: int | None
    input_position: int | None
    start_after: int | None
    claimable_at: int | None
    wake_at: int | None
    on_busy_applied: OnBusy | None
    rollback: bool
    limits: bytes | None
    deadline: int | None
    metadata: bytes | None
    tags: bytes | None
    waiting_on: bytes | None
    cancel_requested_at: int | None
    cancel_reason: str | None
    error: bytes | None
    output_pos: int | None
    usage: Usage
    trace_id: bytes
    created_at: int
    started_at: int | None
    ended_at: int | None
    successor_id: RunId | None = None
    undo: Undo = Undo.NO
    forked_run: RunId | None = None
    forked_at: int | None = None
    input_run: RunId | None = None
    branch: bool = False
    overrides: bytes | None = None
    effect_policy: bytes | None = None
    has_state: bool = False
    imported: bool = False
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """A value that is left out for its size: how many bytes of JSON it is, and its first words."""

    bytes: int
    preview: str


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with what lives in other tables: input and output (JSON), its head's counters, its place in the queue."""

    run: Run
    input: bytes
    output: bytes | None
    epoch: int
    pos: int
    seq: int
    holder_id: RunId | None = None
    queue_position: int | None = None
    unserved: bool = False
    input_cut: Cut | None = None
    output_cut: Cut | None = None

    def cut(self, bytes_max: int) -> RunView:
        """The same without an input or an output that is larger than so many bytes."""
        return replace(
            self,
            input=b"null" if _larger(self.input, bytes_max) else self.input,
            output=None if _larger(self.output, bytes_max) else self.output,
            input_cut=self.input_cut or _cut(self.input, bytes_max),
            output_cut=self.output_cut or _cut(self.output, bytes_max),
        )


def _larger(value: bytes | None, bytes_max: int) -> bool:
    return value is not None and len(value) > bytes_max


def _cut(value: bytes | None, bytes_max: int) -> Cut | None:
    if value is None or len(value) <= bytes_max:
        return None
    return Cut(len(value), first_words(value[:BEGINNING_BYTES]) or "")


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run failed: `code` is stable, `step` is the key of the step at which it failed."""

    code: str
    message: str
    step: str | None = None
    retryable: bool = True
    details: dict[str, object] = field(default_factory=dict[str, object])
