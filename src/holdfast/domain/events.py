"""What a subscriber sees of a journal: one durable event per entry, told the same live and from the database. Pure.

An event is `{pos, run_id, thread_id, type, at, data}`; `pos` is its id in the run's stream. `data` by type:

    run.queued          input
    run.forked          run_id, at, kept, edits, effects: the first event of a fork that keeps steps of another run
    run.started         worker                          also run.resumed
    run.recovered       worker, lapses, void: [message_id]; what was shown of those messages is to be forgotten
    run.waiting         waiting_on: [{type, id, …}]
    run.succeeded       output, successor?: run_id      run.failed     error: {code, message, step?, retryable, …}
    run.cancelled       reason                          run.retried    voids: [{key, attempt}], edits?
    run.version_changed agent, from, to, changed        run.compensating  status, error | reason: how it will end
    step.opened         key, kind, name, attempt, and for a sleep due_at, for a child agent and child_run_id
    step.completed      seq, key, kind, name, attempt, status, output, started_at, ended_at, message_id?
    step.failed         the same with error instead of output
    message.started     message_id, key, voids: [message_id]
    message.completed   seq, key, name, attempt, status, message_id, role, parts, usage, started_at, ended_at
    tool.started        key, kind, name, attempt        durable only for tools that may change something
    tool.completed      seq, key, kind, name, attempt, status, call_id, result | error, message_id, started_at, ended_at
    approval.requested  key, approval_id, type, message, reason, tool?, group, expires_ms; a question opened
    approval.changed    the same id with what changed: a decision that was not the last, an edit, an escalation
    approval.resolved   seq, key, approval_id, type, status, answer?, arguments?, note?, decided_by
    effect.unknown      key, approval_id, effect_id, tool, reason: nobody knows whether it was done, a person is asked
    custom              name, data
    state.changed       seq, key, kind, name, attempt, status, version, patch (RFC 6902), started_at, ended_at

Ephemeral, without `pos`: `message.delta` {message_id, part, kind, text, piece} and `step.started` {key, kind, name}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from holdfast.domain.encoding import decode
from holdfast.domain.ids import MESSAGE, MessageId, RunId, ThreadId, text
from holdfast.domain.journal import TERMINAL, Entry, EntryType, NewEntry, StepStatus
from holdfast.domain.messages import response_parts
from holdfast.domain.runs import Usage
from holdfast.domain.threads import Role

AnyEntry = Entry | NewEntry
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """`pos` is None for what is not stored. `ordinal` counts the thread's runs in the order in which they started."""

    run_id: RunId
    thread_id: ThreadId
    type: str
    at: int
    data: Mapping[str, Any]
    pos: int | None = None
    ordinal: int | None = None

    @property
    def ends(self) -> bool:
        """Whether the run ended with it (until somebody retries it)."""
        return self.pos is not None and self.type in TERMINAL

    @property
    def waits(self) -> bool:
        return self.pos is not None and self.type == EntryType.RUN_WAITING


@dataclass(frozen=True, slots=True)
class Written:
    """The message that an entry is, if it is one."""

    id: MessageId
    role: Role


def timestamp(ms: int) -> str:
    """A time as clients see it: RFC 3339, UTC, milliseconds.

    >>> timestamp(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    >>> timestamp(-62_135_596_800_000)
    '0001-01-01T00:00:00.000Z'
    """
    seconds = datetime.fromtimestamp(ms // 1000, UTC).isoformat().removesuffix("+00:00")
    return f"{seconds}.{ms % 1000:03d}Z"


def or_none(ms: int | None) -> str | None:
    return None if ms is None else timestamp(ms)


def usage_of(usage: Usage) -> Data:
    return {
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_micros": usage.cost_micros,
        "priced": usage.priced,
    }


def waiting_on(stored: Any) -> list[Data]:
    """What a run waits for, with times as clients see them."""
    return [_with_time(wait) for wait in cast("list[Data]", stored or [])]


def _with_time(data: Data) -> Data:
    due_at = data.get("due_at")
    return {**data, "due_at": timestamp(due_at)} if isinstance(due_at, int) else data


def output_step(entry: AnyEntry) -> str | None:
    """The key of the step whose text is the output that this entry tells of, when it does not hold it itself."""
    if entry.type is not EntryType.RUN_SUCCEEDED:
        return None
    return decode(entry.payload).get("output_step")


def data_of(entry: AnyEntry, *, seq: int | None, written: Written | None, output: Any = None) -> Data:
    """What the event of an entry says. `output`: the resolved output of a run whose entry only names its step."""
    match entry.type:
        case EntryType.RUN_QUEUED:
            return {"input": decode(entry.payload)}
        case EntryType.RUN_SUCCEEDED:
            said: Data = decode(entry.payload)
            return {"output": output} if "output_step" in said else said
        case EntryType.RUN_FAILED:
            return {"error": decode(entry.payload)}
        case EntryType.RUN_WAITING:
            return {"waiting_on": waiting_on(decode(entry.payload)["waiting_on"])}
        case EntryType.RUN_RETRIED:
            retried: Data = decode(entry.payload)
            voids = [{"key": key, "attempt": attempt} for key, attempt in retried["voided"]]
            return {"voids": voids, **({"edits": retried["edits"]} if "edits" in retried else {})}
        case (
            EntryType.RUN_FORKED
            | EntryType.RUN_STARTED
            | EntryType.RUN_RESUMED
            | EntryType.RUN_RECOVERED
            | EntryType.RUN_CANCELLED
            | EntryType.RUN_COMPENSATING
            | EntryType.RUN_VERSION_CHANGED
            | EntryType.MESSAGE_STARTED
            | EntryType.CUSTOM
        ):
            return decode(entry.payload) or {}
        case (
            EntryType.STEP_OPENED
            | EntryType.TOOL_STARTED
            | EntryType.APPROVAL_REQUESTED
            | EntryType.APPROVAL_CHANGED
            | EntryType.EFFECT_UNKNOWN
        ):
            return {**_named(entry), **_with_time(decode(entry.payload) or {})}
        case EntryType.APPROVAL_RESOLVED:
            return {**_result(entry, seq, written), **_decided(entry)}
        case EntryType.STEP_COMPLETED | EntryType.STEP_FAILED:
            return {**_result(entry, seq, written), **_output(entry)}
        case EntryType.MESSAGE_COMPLETED:
            usage = None if entry.usage is None else usage_of(entry.usage)
            return {**_result(entry, seq, written), "parts": response_parts(entry.payload), "usage": usage}
        case EntryType.TOOL_COMPLETED:
            return {**_result(entry, seq, written), **_answer(entry, written)}
        case EntryType.STATE_CHANGED:
            return {**_result(entry, seq, written), **decode(entry.payload)}


def _named(entry: AnyEntry) -> Data:
    kind = None if entry.kind is None else entry.kind.value
    return {"key": entry.key, "kind": kind, "name": entry.name, "attempt": entry.attempt}


def _result(entry: AnyEntry, seq: int | None, written: Written | None) -> Data:
    data = {
        "seq": seq,
        **_named(entry),
        "status": None if entry.status is None else entry.status.value,
        "started_at": or_none(entry.started_at),
        "ended_at": or_none(entry.ended_at),
    }
    if written is not None:
        data |= {"message_id": text(MESSAGE, written.id), "role": written.role.value}
    return data


def _decided(entry: AnyEntry) -> Data:
    """What came of a question; what it had demanded is the runtime's business."""
    said: Data = decode(entry.payload) or {}
    return {name: value for name, value in said.items() if name != "demand"}


def _output(entry: AnyEntry) -> Data:
    if entry.status is StepStatus.FAILED:
        return {"error": decode(entry.error)}
    return {"output": decode(entry.payload)}


def _answer(entry: AnyEntry, written: Written | None) -> Data:
    """A call's result. As a message of the thread it is wrapped in what the model needs; a workflow's stands bare."""
    stored = decode(entry.payload)
    wrapped = cast("Data", stored) if written is not None and isinstance(stored, dict) else {"result": stored}
    call_id = wrapped.get("call_id")
    if entry.status is StepStatus.FAILED:
        return {"call_id": call_id, "error": decode(entry.error)}
    return {"call_id": call_id, "result": wrapped.get("result")}
