"""A thread is a conversation: ordered messages across runs, held by its oldest run that has not ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.domain.ids import MessageId, PrincipalId, RunId, TenantId, ThreadId
from holdfast.domain.runs import RunStatus


class ThreadStatus(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class BranchOf:
    """Where a branch leaves another thread: behind the step `at` of its run `run_id`."""

    thread_id: ThreadId
    run_id: RunId
    at: int


@dataclass(frozen=True, slots=True)
class Thread:
    tenant_id: TenantId
    id: ThreadId
    external_id: str | None
    title: str | None
    metadata: bytes | None
    hidden: bool
    created_by: PrincipalId
    created_at: int
    updated_at: int
    branch_of: BranchOf | None = None
    archived: bool = False


@dataclass(frozen=True, slots=True)
class LastRun:
    """The run that stands last in a thread."""

    id: RunId
    agent: str
    status: RunStatus


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A thread with its head: the run that holds it or, when idle, the one that ended last; with its last run, which is
    another one while runs queue; and with the first bytes of what its first run was asked."""

    thread: Thread
    head_run_id: RunId | None
    head_status: RunStatus | None
    head_waiting_on: bytes | None
    last_run: LastRun | None = None
    beginning: bytes | None = None

    @property
    def status(self) -> ThreadStatus:
        match self.head_status:
            case None | RunStatus.SUCCEEDED | RunStatus.CANCELLED:
                return ThreadStatus.IDLE
            case RunStatus.FAILED:
                return ThreadStatus.ERROR
            case RunStatus.WAITING:
                return ThreadStatus.WAITING
            case RunStatus.QUEUED | RunStatus.RUNNING:
                return ThreadStatus.BUSY


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Message:
    """One message: who said it and where its one copy lives (`run_id`, `pos`); `payload` is that entry's JSON."""

    tenant_id: TenantId
    thread_id: ThreadId
    position: int
    id: MessageId
    run_id: RunId
    pos: int
    seq: int | None
    role: Role
    void: bool
    kind: str | None
    name: str | None
    status: str | None
    created_at: int
    payload: bytes
    error: bytes | None
