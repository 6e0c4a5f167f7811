"""Nouns as JSON. Payloads are JSON already: they are put in as they are stored, neither parsed nor written again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from holdfast.bus.base import Change
from holdfast.domain.access import ROLE_SCOPE
from holdfast.domain.approvals import Approval
from holdfast.domain.effects import Effect
from holdfast.domain.encoding import decode
from holdfast.domain.events import Event, or_none, timestamp, usage_of, waiting_on
from holdfast.domain.forks import policy_json
from holdfast.domain.ids import APPROVAL, EFFECT, EVENT, MESSAGE, PRINCIPAL, RUN, TENANT, THREAD, text
from holdfast.domain.journal import Located, StepStatus
from holdfast.domain.messages import parts_of, step_output
from holdfast.domain.previews import first_words
from holdfast.domain.runs import Cut, Run, RunStatus, RunView
from holdfast.domain.threads import BranchOf, LastRun, Message, ThreadView
from holdfast.service.access import Me
from holdfast.service.agents import AgentView, ToolView, VersionView
from holdfast.service.approvals import ApprovalView, Links, decision_json
from holdfast.service.awaited import Sent
from holdfast.service.effects import EffectView
from holdfast.service.families import Family, Member
from holdfast.service.overview import Overview, Sum
from holdfast.service.runs import Linked
from holdfast.service.timelines import Timeline
from holdfast.web.routing import json_of


def joined(members: dict[str, Any], **stored: bytes | None) -> bytes:
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
        "forked_from": None if r.forked_run is None else {"run_id": text(RUN, r.forked_run), "at": r.forked_at},
        "effects": None if r.effect_policy is None else policy_json(r.effect_policy),
        "imported": r.imported,
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
    return joined(
        {**members, "input_cut": _cut(view.input_cut), "output_cut": _cut(view.output_cut)},
        input=view.input,
        output=view.output,
        error=r.error,
        limits=r.limits or b"{}",
        metadata=r.metadata or b"{}",
        tags=r.tags or b"[]",
    )


def _cut(value: Cut | None) -> dict[str, Any] | None:
    return None if value is None else {"bytes": value.bytes, "preview": value.preview}


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


def step_row(found: Located, linked: Linked) -> bytes:
    return json_of(_step(found, linked))


def step(found: Located, linked: Linked, bytes_max: int | None = None) -> bytes:
    """A step with its output, unless that is larger than `bytes_max`."""
    output = step_output(found.entry.kind, found.entry.payload) or b"null"
    cut = bytes_max is not None and len(output) > bytes_max
    members = {**_step(found, linked), "output_bytes": len(output), "output_cut": cut}
    return joined(members, output=None if cut else output)


def output(found: Located) -> bytes:
    return step_output(found.entry.kind, found.entry.payload) or b"null"


def prompt(found: Mapping[str, Any], bytes_max: int | None) -> bytes:
    """What a model was asked, unless that is larger than `bytes_max`."""
    whole = json_of(found)
    cut = bytes_max is not None and len(whole) > bytes_max
    said = json_of({"messages": []}) if cut else whole
    return said[:-1] + b"," + json_of({"bytes": len(whole), "cut": cut})[1:]


def _step(found: Located, linked: Linked) -> dict[str, Any]:
    entry = found.entry
    by_key, by_attempt = (found.run_id, entry.key or ""), (found.run_id, entry.key or "", entry.attempt or 1)
    effect = None if entry.status is StepStatus.VOIDED else linked.effects.get(by_key)
    return {
        "run_id": text(RUN, found.run_id),
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
        "effect": None if effect is None else _step_effect(effect),
        "approval_id": _id(APPROVAL, linked.approvals.get(by_attempt)),
        "child_run_id": _id(RUN, linked.children.get(by_attempt)),
        "started_at": or_none(entry.started_at),
        "ended_at": or_none(entry.ended_at),
    }


def _step_effect(e: Effect) -> dict[str, Any]:
    return {
        "id": text(EFFECT, e.id),
        "effect_class": e.effect_class.value,
        "status": e.status.value,
        "idempotency_key": e.idempotency_key,
        "attempt": e.attempt,
    }


# -- pages of the control plane --------------------------------------------------------------------------------------


def timeline(found: Timeline) -> bytes:
    c, w, since = found.columns, found.words, found.run.created_at
    return json_of({
        "run_id": text(RUN, found.run.id),
        "status": found.run.status.value,
        "created_at": timestamp(since),
        "now": found.now - since,
        "pos": found.pos,
        "revision": found.revision,
        "last": found.last,
        "more": found.more,
        "inherited_to": found.inherited,
        "words": {
            "kind": w.kind.said,
            "name": w.name.said,
            "status": w.status.said,
            "child_run_id": [_id(RUN, id) for id in w.child_run_id.said],
            "effect_status": w.effect_status.said,
            "error_code": w.error_code.said,
        },
        "steps": {column.name: getattr(c, column.name) for column in fields(c)},
        "open": [
            {
                "key": one.key,
                "kind": one.kind.value,
                "name": one.name,
                "attempt": one.attempt,
                "since": one.since - since,
                "child_run_id": _id(RUN, one.child_id),
                "approval_id": _id(APPROVAL, one.approval_id),
            }
            for one in found.open
        ],
        "waits": [
            {
                "from": pause.since - since,
                "to": None if pause.until is None else pause.until - since,
                "type": pause.type,
                "key": pause.key,
                "others": pause.others,
            }
            for pause in found.pauses
        ],
        "marks": [{"at": mark.at - since, "type": mark.type} for mark in found.marks],
    })  # fmt: skip


def family(found: Family) -> bytes:
    return json_of({
        "root_id": text(RUN, found.root_id),
        "data": [_relative(member) for member in found.members],
        "more": found.more,
    })  # fmt: skip


def _relative(member: Member) -> dict[str, Any]:
    r = member.run
    return {
        "id": text(RUN, r.id),
        "thread_id": text(THREAD, r.thread_id),
        "forked_from": None if r.forked_run is None else {"run_id": text(RUN, r.forked_run), "at": r.forked_at},
        "agent": r.agent,
        "status": r.status.value,
        "imported": r.imported,
        "created_at": timestamp(r.created_at),
        "ended_at": or_none(r.ended_at),
        "usage": usage_of(r.usage),
        "steps": r.steps,
        "edited": member.edited,
        "effects": None if r.effect_policy is None else policy_json(r.effect_policy),
        "output": member.output,
        "error": None if member.error is None else {"code": member.error.code, "message": member.error.message},
    }


def overview(found: Overview) -> bytes:
    total = found.total
    return json_of({
        "runs": {status.value: count for status, count in found.live.items()},
        "since": {"from": timestamp(total.at), "started": total.started, **_ended(total), **usage_of(total.usage)},
        "approvals_pending": found.approvals_pending,
        "effects_unknown": found.effects_unknown,
        "agents": found.agents,
        "workers": found.workers,
        "bucket_hours": found.bucket_hours,
        "hours": [
            {
                "at": timestamp(one.at),
                **_ended(one),
                "cost_micros": one.usage.cost_micros,
                "tokens": one.usage.input_tokens + one.usage.output_tokens,
            }
            for one in found.buckets
        ],
        "more": found.more,
    })  # fmt: skip


def _ended(one: Sum) -> dict[str, int]:
    ended = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)
    return {status.value: one.ended.get(status, 0) for status in ended}


# -- holds ----------------------------------------------------------------------------------------------------------


def approval_row(view: ApprovalView) -> bytes:
    a = view.approval
    return joined(
        _approval(a, view.links),
        arguments=a.arguments,
        schema=a.schema,
        choices=a.choices,
        default=a.default,
        answer=a.answer,
    )


def approval(view: ApprovalView) -> bytes:
    context = b"[" + b",".join(message(m) for m in view.context) + b"]"
    return approval_row(view)[:-1] + b',"context":' + context + b"}"


def _approval(a: Approval, links: Links) -> dict[str, Any]:
    return {
        "id": text(APPROVAL, a.id),
        "type": a.type.value,
        "status": a.status.value,
        "version": a.version,
        "group": a.group,
        "run_id": text(RUN, a.run_id),
        "root_run_id": text(RUN, a.root_id),
        "thread_id": text(THREAD, a.thread_id),
        "step": a.key,
        "step_seq": links.step_seq,
        "opened_pos": links.opened_pos,
        "after_step": links.after_step,
        "agent": a.agent,
        "tool": a.tool,
        "effect_id": _id(EFFECT, a.effect_id),
        "arguments_hash": None if a.arguments_hash is None else a.arguments_hash.hex(),
        "reason": a.reason,
        "message": a.message,
        "requested_by": text(PRINCIPAL, a.requested_by),
        "requested_by_name": links.requester,
        "may_decide": [{"roles": sorted(roles)} for roles in a.demand.roles],
        "quorum": a.demand.quorum,
        "four_eyes": a.demand.four_eyes,
        "decisions": [decision_json(d) for d in a.decisions],
        "expires_at": or_none(a.expires_at),
        "on_expiry": a.demand.on_expiry.value,
        "escalated": a.escalated,
        "created_at": timestamp(a.created_at),
        "resolved_at": or_none(a.resolved_at),
    }


def effect_row(view: EffectView) -> bytes:
    e, links = view.effect, view.links
    members = {
        "id": text(EFFECT, e.id),
        "run_id": text(RUN, e.run_id),
        "run_ended": links.run_ended,
        "step": e.key,
        "step_seq": links.step_seq,
        "opened_pos": links.opened_pos,
        "after_step": links.after_step,
        "approval_id": _id(APPROVAL, links.leave),
        "agent": e.agent,
        "tool": e.tool,
        "effect_class": e.effect_class.value,
        "version": e.version,
        "status": e.status.value,
        "arguments_hash": e.arguments_hash.hex(),
        "idempotency_key": e.idempotency_key,
        "attempt": e.attempt,
        "provider_ref": e.provider_ref,
        "planned_at": timestamp(e.planned_at),
        "started_at": or_none(e.started_at),
        "deadline": or_none(e.deadline),
        "ended_at": or_none(e.ended_at),
        "duplicate_of": _id(EFFECT, e.duplicate_of),
        "compensates": _id(EFFECT, e.compensates),
    }
    return joined(members, arguments=e.arguments, error=e.error)


def effect(view: EffectView) -> bytes:
    return effect_row(view)[:-1] + b',"result_schema":' + (view.result_schema or b"null") + b"}"


def sent(found: Sent) -> bytes:
    e = found.event
    members = {
        "id": text(EVENT, e.id),
        "name": e.name,
        "key": e.key or None,
        "external_id": e.external_id,
        "created_at": timestamp(e.created_at),
        "runs": len(found.woken),
    }
    return joined(members, data=e.data)


# -- threads --------------------------------------------------------------------------------------------------------


def thread(view: ThreadView) -> bytes:
    t = view.thread
    members = {
        "id": text(THREAD, t.id),
        "external_id": t.external_id,
        "title": t.title,
        "preview": None if view.beginning is None else first_words(view.beginning),
        "status": view.status.value,
        "head_run_id": _id(RUN, view.head_run_id),
        "last_run": None if view.last_run is None else _last_run(view.last_run),
        "waiting_on": waiting_on(decode(view.head_waiting_on)),
        "branch_of": None if t.branch_of is None else _branch(t.branch_of),
        "created_by": text(PRINCIPAL, t.created_by),
        "created_at": timestamp(t.created_at),
        "updated_at": timestamp(t.updated_at),
    }
    return joined(members, metadata=t.metadata or b"{}")


def _last_run(run: LastRun) -> dict[str, Any]:
    return {"id": text(RUN, run.id), "agent": run.agent, "status": run.status.value}


def _branch(of: BranchOf) -> dict[str, Any]:
    return {"thread_id": text(THREAD, of.thread_id), "run_id": text(RUN, of.run_id), "at": of.at}


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


def agent_version(view: VersionView) -> bytes:
    return json_of(_agent_version(view))


def agent_version_definition(view: VersionView) -> bytes:
    return joined(_agent_version(view), definition=view.version.definition)


def _agent_version(view: VersionView) -> dict[str, Any]:
    return {
        "agent": view.version.agent,
        "version": view.version.version,
        "current": view.current,
        "workers": view.workers,
        "created_at": timestamp(view.version.created_at),
    }


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


# -- who asks -------------------------------------------------------------------------------------------------------


def me(found: Me) -> bytes:
    principal = found.admission.principal
    return json_of(
        {
            "principal": {
                "id": text(PRINCIPAL, principal.id),
                "name": principal.name,
                "kind": principal.kind.value,
            },
            "tenant": {"id": text(TENANT, principal.tenant_id), "name": found.tenant_name},
            "scopes": sorted(scope for scope in principal.scopes if not scope.startswith(ROLE_SCOPE)),
            "roles": sorted(principal.roles),
            "via": found.admission.via.value,
            "expires_at": or_none(found.admission.expires_at),
        }
    )
