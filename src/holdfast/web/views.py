"""Nouns as JSON. Payloads are JSON already: they are put in as they are stored, neither parsed nor written again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from holdfast.bus.base import Change
from holdfast.domain.encoding import decode
from holdfast.domain.events import Event, or_none, timestamp, usage_of, waiting_on
from holdfast.domain.ids import MESSAGE, PRINCIPAL, RUN, TENANT, THREAD, text
from holdfast.domain.journal import Entry
from holdfast.domain.messages import parts_of, step_output
from holdfast.domain.runs import Run, RunStatus, RunView
from holdfast.domain.threads import Message, ThreadView
from holdfast.service.agents import AgentView, ToolView
from holdfast.web.routing import json_of


def _joined(members: dict[str, Any], **stored: bytes | None) -> bytes:
    """An object of `members`, and of members that are JSON already."""
    tail = b"".join(b',"' + name.encode() + b'":' + (value or b"null") for name, value in stored.items())
    return json_of(members)[:-1] + tail + b"}"


def page(rows: Sequence[bytes], next_cursor: str | None) -> bytes:
    return b'{"data":[' + b",".join(rows) + b'],"next_cursor":' + json_of(next_cursor) + b"}"


def _id(prefix: str, value: bytes | None) -> str | None:
    return None if value is None else text(prefix, value)


# -- runs -----------------------------------------------------------------------------------------------------------


def run(view: RunView) -> bytes:
    r = view.run
    parent = None if r.parent_id is None else {"run_id": text(RUN, r.parent_id), "step": r.parent_key}
    members = {
        "id": text(RUN, r.id),
        "external_id": r.external_id,
        "tenant_id": text(TENANT, r.tenant_id),
        "thread_id": text(THREAD, r.thread_id),
        "root_id": text(RUN, r.root_id),
        "parent": parent,
        "forked_from": None,
        "successor_id": _id(RUN, r.successor_id),
        "agent": r.agent,
        "acting_agent": r.acting_agent,
        "agent_version": r.agent_version,
        "initiator": text(PRINCIPAL, r.initiator),
        "status": r.status.value,
        "phase": _phase(view),
        "waiting_on": _waits(view),
        "queue_position": view.queue_position,
        "start_after": or_none(r.start_after),
        "wake_at": or_none(r.wake_at),
        "cancel_requested_at": or_none(r.cancel_requested_at),
        "cancel_reason": r.cancel_reason,
        "deadline": or_none(r.deadline),
        "on_busy_applied": r.on_busy_applied,
        "trace_id": r.trace_id.hex(),
        "usage": usage_of(r.usage),
        "steps": view.seq,
        "attempt": view.epoch,
        "created_at": timestamp(r.created_at),
        "started_at": or_none(r.started_at),
        "ended_at": or_none(r.ended_at),
    }
    return _joined(
        members,
        input=view.input,
        output=view.output,
        error=r.error,
        limits=r.limits or b"{}",
        metadata=r.metadata or b"{}",
        tags=r.tags or b"[]",
    )


def _phase(view: RunView) -> str:
    r = view.run
    if not r.status.ended and r.cancel_requested_at is not None:
        return "cancelling"
    match r.status:
        case RunStatus.QUEUED:
            return _phase_queued(r)
        case RunStatus.RUNNING:
            return "executing"
        case RunStatus.WAITING:
            return "waiting"
        case RunStatus.SUCCEEDED | RunStatus.FAILED | RunStatus.CANCELLED:
            return "ended"


def _phase_queued(r: Run) -> str:
    if r.claimable_at is None:
        return "behind"
    return "delayed" if r.claimable_at > r.created_at and r.claimable_at == r.start_after else "ready"


def _waits(view: RunView) -> list[dict[str, Any]]:
    if view.run.waiting_on is not None:
        return waiting_on(decode(view.run.waiting_on))
    if view.holder_id is not None:
        return [{"type": "run", "id": text(RUN, view.holder_id)}]
    if view.unserved:
        return [{"type": "worker", "id": view.run.agent}]
    return []


def step_row(r: Run, entry: Entry) -> bytes:
    return json_of(_step(r, entry))


def step(r: Run, entry: Entry) -> bytes:
    return _joined(_step(r, entry), output=step_output(entry.kind, entry.payload))


def _step(r: Run, entry: Entry) -> dict[str, Any]:
    return {
        "run_id": text(RUN, r.id),
        "seq": entry.seq,
        "pos": entry.pos,
        "key": entry.key,
        "kind": entry.kind,
        "name": entry.name,
        "attempt": entry.attempt,
        "tries": entry.tries,
        "status": entry.status,
        "input_digest": None if entry.digest is None else entry.digest.hex(),
        "error": decode(entry.error),
        "usage": None if entry.usage is None else usage_of(entry.usage),
        "effect": None,
        "started_at": or_none(entry.started_at),
        "ended_at": or_none(entry.ended_at),
    }


# -- threads --------------------------------------------------------------------------------------------------------


def thread(view: ThreadView) -> bytes:
    t = view.thread
    members = {
        "id": text(THREAD, t.id),
        "external_id": t.external_id,
        "title": t.title,
        "status": view.status.value,
        "head_run_id": _id(RUN, view.head_run_id),
        "waiting_on": waiting_on(decode(view.head_waiting_on)),
        "branch_of": None,
        "created_by": text(PRINCIPAL, t.created_by),
        "created_at": timestamp(t.created_at),
        "updated_at": timestamp(t.updated_at),
    }
    return _joined(members, metadata=t.metadata or b"{}")


def message(m: Message) -> bytes:
    return json_of(
        {
            "id": text(MESSAGE, m.id),
            "thread_id": text(THREAD, m.thread_id),
            "run_id": text(RUN, m.run_id),
            "step_seq": m.seq,
            "position": m.position,
            "role": m.role.value,
            "parts": parts_of(m),
            "status": "void" if m.void else "complete",
            "created_at": timestamp(m.created_at),
        }
    )


# -- agents ---------------------------------------------------------------------------------------------------------


def agent(view: AgentView) -> bytes:
    record = view.record
    declared: dict[str, Any] = decode(record.definition)
    tools: list[dict[str, Any]] = [dict(tool) for tool in cast("list[Any]", declared.get("tools") or [])]
    return json_of(
        {
            "id": record.id,
            "kind": record.kind.value,
            "version": record.version,
            "enabled": record.enabled,
            "workers": view.workers,
            "name": declared.get("name") or record.id,
            "description": declared.get("description") or "",
            "metadata": declared.get("metadata") or {},
            "model": declared.get("model"),
            "instructions": declared.get("instructions"),
            "tools": [tool | {"enabled": tool["name"] not in view.tools_off} for tool in tools],
            "handoffs": declared.get("handoffs") or [],
            "input_schema": declared.get("input_schema") or {},
            "output_schema": declared.get("output_schema"),
            "updated_at": timestamp(record.updated_at),
        }
    )


def tool_switch(view: ToolView) -> bytes:
    return json_of({"name": view.name, "enabled": view.enabled, "agents": list(view.agents)})


# -- streams --------------------------------------------------------------------------------------------------------


def event(e: Event) -> bytes:
    return json_of(
        {
            "pos": e.pos,
            "run_id": text(RUN, e.run_id),
            "thread_id": text(THREAD, e.thread_id),
            "type": e.type,
            "at": timestamp(e.at),
            "data": e.data,
        }
    )


def change(c: Change) -> bytes:
    return json_of({"kind": c.kind, "id": c.id, "status": c.status})
