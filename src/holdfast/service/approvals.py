"""The inbox: questions that runs wait for, and the one verb that answers them, for every surface.

Resolving is one transaction under the head of the run: compare-and-set on the question, its result in the run's
journal, and the run back in the queue when its group is closed. One winner; everybody else hears the winner's decision.
What follows from an edit is decided by the worker, which has the rules: here it is only checked against the schema.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal, cast

from holdfast.agents import json_schema
from holdfast.domain import access, ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.approvals import (
    Approval,
    ApprovalStatus,
    ApprovalType,
    Decision,
    DecisionKind,
    OnExpiry,
    approvals_given,
    may_decide,
)
from holdfast.domain.effects import Effect, EffectStatus
from holdfast.domain.encoding import canonical, decode, encode, storable_text
from holdfast.domain.errors import Conflict, Invalid, NotFound, OutcomeUnknown, Refused, Unavailable
from holdfast.domain.events import timestamp
from holdfast.domain.ids import ApprovalId, RunId, TenantId
from holdfast.domain.journal import EntryType, NewEntry, Phase, StepKind, StepStatus
from holdfast.domain.runs import Run, RunStatus, Undo
from holdfast.domain.threads import Message
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.service.nesting import shallow
from holdfast.store import approvals, effects, entries, heads, messages, runs
from holdfast.store.approvals import ApprovalFilter, Links, demand_json
from holdfast.store.base import Tx
from holdfast.store.heads import Head

log = logging.getLogger("holdfast.approvals")

ROWS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What somebody says to a question. `version`: refuse unless the question is as it was when they looked."""

    decision: Literal["approve", "reject", "answer"]
    arguments: dict[str, Any] | None = None
    answer: Any = None
    note: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A question with what it leads to, and with `get` what led to it: the last messages of its thread before it was
    asked."""

    approval: Approval
    links: Links
    context: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolved:
    """A question after `resolve`; `replayed` when an earlier request with the same key had done it."""

    view: ApprovalView
    replayed: bool = False
    status: int = 200


@dataclass(slots=True)
class Waking:
    """What has to be told after the commit: the entry that was written, and whether the run may go on."""

    run: Run | None = None
    approval: Approval | None = None
    placed: list[tuple[int, int | None, NewEntry]] = field(default_factory=list[tuple[int, "int | None", NewEntry]])
    queued: bool = False
    effect: Effect | None = None

    def announce(self, house: House) -> None:
        run, approval = self.run, self.approval
        if run is None or approval is None:
            return
        for pos, seq, entry in self.placed:
            house.hub.entry(run.id, run.thread_id, pos, seq, entry)
        house.changed(run.tenant_id, "approval", ids.text(ids.APPROVAL, approval.id), approval.status.value)
        if self.effect is not None:
            house.effect_changed(run.tenant_id, self.effect.id, self.effect.status)
        house.hub.bell(run.id)
        if self.queued:
            house.run_changed(run.tenant_id, run.id, RunStatus.QUEUED)
            house.hub.work(run.agent)


# -- looking ----------------------------------------------------------------------------------------------------------


async def page(
    house: House, principal: Principal, wanted: ApprovalFilter, *, older_than_ms: int | None = None
) -> list[ApprovalView]:
    """A page of the inbox. `older_than_ms`: only what was asked so long ago."""
    access.demand(principal, Scope.APPROVALS_READ)

    async def body(tx: Tx) -> list[ApprovalView]:
        before = (
            [wanted.created_before] if older_than_ms is None else [wanted.created_before, tx.now_ms - older_than_ms]
        )
        until = min((at for at in before if at is not None), default=None)
        asked = replace(wanted, created_before=until)
        found = await approvals.page(tx, principal.tenant_id, asked)
        links = await approvals.links(tx, principal.tenant_id, [one.id for one in found])
        return [ApprovalView(one, links[one.id]) for one in found]

    return await house.database.read(principal.tenant_id, body)


async def get(house: House, principal: Principal, approval_id: ApprovalId) -> ApprovalView:
    """A question with what led to it; `NotFound` for one of another tenant too."""
    access.demand(principal, Scope.APPROVALS_READ)
    return await house.database.read(principal.tenant_id, lambda tx: _look(tx, principal.tenant_id, approval_id))


async def _look(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId) -> ApprovalView:
    found = await _demand(tx, tenant_id, approval_id)
    links = (await approvals.links(tx, tenant_id, [approval_id]))[approval_id]
    assert links.opened_pos is not None, "a question is opened in the journal"
    here = await messages.positions_of_run(tx, tenant_id, found.thread_id, found.run_id)
    last = max((position for pos, position in here.items() if pos < links.opened_pos), default=0)
    before = await messages.backwards(tx, tenant_id, found.thread_id, last + 1, limits.CONTEXT_MESSAGES)
    return ApprovalView(found, links, tuple(reversed(before)))


async def _demand(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId) -> Approval:
    found = await approvals.shown(tx, tenant_id, approval_id)
    if found is None:
        raise NotFound("There is no approval with this id.", code="approval_not_found")
    return found


# -- resolving --------------------------------------------------------------------------------------------------------


async def resolve(
    house: House, principal: Principal, approval_id: ApprovalId, said: Resolution, key: Key | None = None
) -> Resolved:
    """Answer a question; durable when this returns, and then the run goes on by itself.

    Raises `NotFound`; `Conflict`: `already_resolved` (with the first decision), `run_ended`, `expired`,
    `version_conflict`, `already_decided`; `Refused` (`four_eyes`, `role_missing`); `Invalid` (`wrong_decision`,
    `invalid_arguments`, `invalid_answer`). Safe to repeat with a key.
    """
    access.demand(principal, Scope.APPROVALS_WRITE)
    tenant_id = principal.tenant_id
    if said.note is not None:
        storable_text(said.note, what="note", chars_max=limits.NOTE_CHARS_MAX)
    waking = Waking()

    async def body(tx: Tx) -> Replay | None:
        nonlocal waking
        waking = Waking()
        replay = await once(tx, tenant_id, key, 200, approval_id)
        if replay is not None:
            return replay
        found = await _demand(tx, tenant_id, approval_id)
        await lock(tx, tenant_id, found.run_id)
        found = await _demand(tx, tenant_id, approval_id)
        waking = await decide(tx, house, principal, found, said)
        return None

    replay = await house.database.write(tenant_id, body)
    waking.announce(house)
    view = await house.database.read(tenant_id, lambda tx: _look(tx, tenant_id, approval_id))
    return Resolved(view) if replay is None else Resolved(view, replayed=True, status=replay.status)


async def lock(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Head:
    """The head of a question's run. What depends on it is read in a further statement."""
    head = await heads.lock(tx, tenant_id, run_id)
    assert head is not None, "a question's run has a head"
    return head


async def decide(tx: Tx, house: House, principal: Principal, asked: Approval, said: Resolution) -> Waking:
    """One person's word on a question that was read under its run's lock."""
    run = await runs.get(tx, asked.tenant_id, asked.run_id)
    assert run is not None, "a question's run is there"
    _demand_open(tx, asked, run, said)
    _demand_fitting(asked, said)
    rejects = said.decision == "reject"
    standing = may_decide(asked, principal.id, principal.roles, admin=principal.is_admin, rejects=rejects)
    if not standing.allowed:
        problem = Conflict if standing.code == "already_decided" else Refused
        raise problem(f"{principal.name} may not decide this: {standing.reason}.", code=standing.code)
    decided = _decided(tx, principal, asked, said)
    settled = await _settle_effect(tx, asked, said) if asked.type is ApprovalType.EFFECT else None
    waking = await _write(tx, run, asked, decided)
    waking.effect = settled
    return waking


def _demand_open(tx: Tx, asked: Approval, run: Run, said: Resolution) -> None:
    match asked.status:
        case ApprovalStatus.APPROVED | ApprovalStatus.REJECTED | ApprovalStatus.ANSWERED:
            said_already = f"This was {asked.status.value} already."
            raise Conflict(said_already, code="already_resolved", decision=first_decision(asked))
        case ApprovalStatus.EXPIRED:
            raise Conflict(_TOO_LATE, code="expired")
        case ApprovalStatus.PENDING | ApprovalStatus.CANCELLED:
            pass
    if run.status.ended or asked.status is ApprovalStatus.CANCELLED:
        raise Conflict(f"The run has ended ({run.status.value}): nobody waits for this any more.", code="run_ended")
    # What became of an effect stays open: nobody can know by waiting.
    if asked.type is not ApprovalType.EFFECT and asked.expires_at is not None and asked.expires_at <= tx.now_ms:
        raise Conflict(_TOO_LATE, code="expired")
    # A run that undoes what it did has closed all that was open before: this was asked since, and is waited for.
    if run.cancel_requested_at is not None and run.undo is not Undo.BEGUN:
        raise Conflict("The run was asked to stop: nobody waits for this any more.", code="run_ended")
    if said.version is not None and said.version != asked.version:
        raise Conflict(f"This has changed since you looked: it is at version {asked.version}.", code="version_conflict")


_TOO_LATE = "This was not answered in time."


def first_decision(asked: Approval) -> dict[str, Any] | None:
    """The decision that closed a question, as the API shows it to who came later."""
    last = next((d for d in reversed(asked.decisions) if not d.void), None)
    return None if last is None else decision_json(last)


def decision_json(d: Decision) -> dict[str, Any]:
    return {
        "principal": None if d.principal_id is None else ids.text(ids.PRINCIPAL, d.principal_id),
        "name": d.name,
        "decision": d.decision.value,
        "arguments": decode(d.arguments),
        "answer": decode(d.answer),
        "note": d.note,
        "void": d.void,
        "at": timestamp(d.at),
    }


_FITTING: dict[ApprovalType, tuple[str, ...]] = {
    ApprovalType.TOOL: ("approve", "reject"),
    ApprovalType.INPUT: ("answer", "reject"),
    ApprovalType.EXTERNAL: ("answer", "reject"),
    ApprovalType.EFFECT: ("answer",),
}


def _demand_fitting(asked: Approval, said: Resolution) -> None:
    """Raise `Invalid` for a decision of another type, or an answer that does not fit."""
    fitting = _FITTING[asked.type]
    if said.decision not in fitting:
        options = " or ".join(fitting)
        raise Invalid(f"A question of type {asked.type} takes {options}, not {said.decision}.", code="wrong_decision")
    if said.arguments is not None and said.decision != "approve":
        raise Invalid("Arguments are changed by who approves the call.", code="wrong_decision")
    if said.answer is not None and said.decision != "answer":
        raise Invalid("An answer is given with the decision answer.", code="wrong_decision")
    if said.arguments is not None:
        _demand_schema("invalid_arguments", "The changed arguments do not fit the tool", asked.schema, said.arguments)
        _demand_room(asked, said.arguments)
    if said.decision == "answer":
        demand_answer(asked, said.answer)


def _demand_room(asked: Approval, arguments: dict[str, Any]) -> None:
    """Every change is kept: there is an end to how many there are, and to how large they are together."""
    before = [d.arguments for d in asked.decisions if d.arguments is not None]
    code, size = "invalid_arguments", len(shallow(arguments, what="What they are changed to"))
    if len(before) >= limits.EDITS_MAX:
        raise Invalid(f"The arguments were changed {limits.EDITS_MAX} times; decide on them as they are.", code=code)
    if sum(map(len, before)) + size > limits.EDITS_BYTES_MAX:
        raise Invalid("The changes of the arguments are too large; decide on them as they are.", code=code)


def demand_answer(asked: Approval, answer: Any) -> None:
    """Raise `Invalid` (`invalid_answer`) for an answer that the question does not take."""
    shallow(answer, what="The answer")
    if asked.type is ApprovalType.EFFECT:
        told = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if told.get("outcome") not in ("committed", "not_done") or set(told) - {"outcome", "result"}:
            raise Invalid('The answer is {"outcome": "committed" or "not_done", "result": …}.', code="invalid_answer")
        if told["outcome"] == "committed":
            _demand_schema(
                "invalid_answer", "The result is not what the tool returns", asked.schema, told.get("result")
            )
        return
    # Compared as JSON: in Python true is 1.
    if asked.choices is not None and canonical(answer) not in [canonical(one) for one in decode(asked.choices)]:
        raise Invalid("The answer is not one of the choices.", code="invalid_answer")
    _demand_schema("invalid_answer", "The answer does not fit", asked.schema, answer)


def _demand_schema(code: str, what: str, schema: bytes | None, value: Any) -> None:
    if schema is None:
        return
    found = json_schema.errors(json_schema.validator("The schema", decode(schema)), value)
    if found:
        raise Invalid(f"{what}.", code=code, errors=found)


def _decided(tx: Tx, principal: Principal, asked: Approval, said: Resolution) -> Approval:
    """The question with this decision. An edit binds to other arguments, and voids what was decided about the first."""
    decisions, arguments, hashed = asked.decisions, asked.arguments, asked.arguments_hash
    edited: bytes | None = None
    if said.arguments is not None:
        edited = canonical(said.arguments)
        if edited != arguments:
            arguments, hashed = edited, sha256(edited).digest()
            decisions = tuple(replace(d, void=True) for d in decisions)
    decision = Decision(
        principal_id=principal.id,
        name=principal.name,
        decision=DecisionKind(said.decision),
        at=tx.now_ms,
        arguments_hash=hashed,
        arguments=edited,
        answer=encode(said.answer) if said.decision == "answer" else None,
        note=said.note,
    )
    after = replace(asked, arguments=arguments, arguments_hash=hashed, decisions=(*decisions, decision))
    match decision.decision:
        case DecisionKind.REJECT:
            return replace(after, status=ApprovalStatus.REJECTED)
        case DecisionKind.ANSWER:
            return replace(after, status=ApprovalStatus.ANSWERED, answer=decision.answer)
        case DecisionKind.APPROVE:
            enough = approvals_given(after) >= after.demand.quorum
            return replace(after, status=ApprovalStatus.APPROVED) if enough else after


async def _settle_effect(tx: Tx, asked: Approval, said: Resolution) -> Effect | None:
    """The answer to what became of an effect goes to the ledger in the same transaction. The effect, if it changed."""
    assert asked.effect_id is not None, "a question about an effect names it"
    effect = await effects.by_id(tx, asked.tenant_id, asked.effect_id)
    if effect is None or effect.status is not EffectStatus.UNKNOWN:
        return None  # the ledger was told before the question opened: what it holds counts, the question only closes
    await effects.resolve(tx, effect, said.answer["outcome"], said.note, resumes=True)
    return await effects.by_id(tx, asked.tenant_id, asked.effect_id)


async def _write(tx: Tx, run: Run, before: Approval, after: Approval) -> Waking:
    """Write a question's change, and what the run's journal says of it; wake the run when its group is closed."""
    if after.status.closed:
        usable = max(after.expires_at or 0, tx.now_ms + limits.LEAVE_USABLE_MS)
        after = replace(after, resolved_at=tx.now_ms, usable_until=usable)
    await approvals.change(tx, before, after)
    after = replace(after, version=before.version + 1)
    entry = await _entry(tx, before, after)
    head = await heads.get(tx, run.tenant_id, run.id)
    assert head is not None
    pos, seq = await heads.advance(tx, head, entries=1, steps=int(entry.is_step))
    await entries.add(
        tx, run.tenant_id, run.id, run.thread_id, epoch=head.epoch, pos=pos - 1, seq=seq - entry.is_step, new=[entry]
    )
    waking = Waking(run, after, [(pos, seq if entry.is_step else None, entry)])
    if after.status.closed and not await approvals.group_open(tx, run.tenant_id, run.id, after.group):
        waking.queued = run.status is RunStatus.WAITING and await runs.requeue(
            tx, run.tenant_id, run.id, RunStatus.WAITING, at=tx.now_ms
        )
    return waking


async def _entry(tx: Tx, before: Approval, after: Approval) -> NewEntry:
    last = after.decisions[-1] if len(after.decisions) > len(before.decisions) else None
    edited = after.arguments_hash != before.arguments_hash or any(
        d.arguments is not None and not d.void for d in after.decisions
    )
    data: dict[str, Any] = {
        "approval_id": ids.text(ids.APPROVAL, after.id),
        "type": after.type.value,
        "status": after.status.value,
        "version": after.version,
        "note": None if last is None else last.note,
        "decided_by": [d.name for d in after.decisions if not d.void],
    }
    if not after.status.closed:
        data["escalated"] = after.escalated
        return NewEntry(type=EntryType.APPROVAL_CHANGED, at=tx.now_ms, payload=encode({"key": after.key, **data}))
    if after.status is ApprovalStatus.ANSWERED:
        data["answer"] = decode(after.answer)
    if after.arguments_hash is not None:
        data["arguments_hash"] = after.arguments_hash.hex()
        data["demand"] = demand_json(after.demand)
    if edited and after.status is ApprovalStatus.APPROVED:
        editor = next(d for d in reversed(after.decisions) if d.arguments is not None and not d.void)
        data["arguments"] = decode(after.arguments)
        data["edited_by"] = None if editor.principal_id is None else ids.text(ids.PRINCIPAL, editor.principal_id)
    opened = await entries.opening(tx, after.tenant_id, after.run_id, after.key, after.attempt)
    assert opened is not None, "a question is opened in the journal"
    return NewEntry(
        type=EntryType.APPROVAL_RESOLVED,
        at=tx.now_ms,
        phase=Phase.RESULT,
        key=after.key,
        kind=StepKind.INTERRUPT,
        name=opened.name,
        attempt=after.attempt,
        tries=1,
        status=StepStatus.SUCCEEDED,
        digest=opened.digest,
        payload=encode(data),
        started_at=after.created_at,
        ended_at=tx.now_ms,
    )


# -- expiry -----------------------------------------------------------------------------------------------------------


async def expire_due(house: House) -> int:
    """Do what the expired questions say: reject, approve, take the default, or ask others once more. How many."""
    due = await house.database.read(None, lambda tx: approvals.due(tx, ROWS_MAX))
    done = 0
    for tenant_id, approval_id in due:
        try:
            waking = await house.database.write(tenant_id, lambda tx, t=tenant_id, a=approval_id: _expire(tx, t, a))
        except (Unavailable, OutcomeUnknown):
            raise
        except Exception:  # one that cannot be expired keeps neither the others nor the rest of the round waiting
            log.exception("%s could not be expired; it is tried again later", ids.text(ids.APPROVAL, approval_id))
            await house.database.write(tenant_id, lambda tx, t=tenant_id, a=approval_id: _put_off(tx, t, a))
            continue
        if waking is not None:
            done += 1
            waking.announce(house)
    return done


async def _put_off(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId) -> None:
    asked = await approvals.get(tx, tenant_id, approval_id)
    if asked is not None:
        await lock(tx, tenant_id, asked.run_id)
        await approvals.put_off(tx, tenant_id, approval_id, tx.now_ms + limits.EXPIRY_AGAIN_MS)


async def _expire(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId) -> Waking | None:
    asked = await approvals.get(tx, tenant_id, approval_id)
    if asked is None:
        return None
    await lock(tx, tenant_id, asked.run_id)
    asked = await approvals.get(tx, tenant_id, approval_id)
    run = await runs.get(tx, tenant_id, asked.run_id) if asked is not None else None
    if asked is None or run is None or asked.status.closed or run.status.ended:
        return None
    if asked.expires_at is None or asked.expires_at > tx.now_ms:
        return None
    return await _write(tx, run, asked, _expired(tx, asked))


def _expired(tx: Tx, asked: Approval) -> Approval:
    """What a question becomes when its time is over."""
    demand = asked.demand
    if asked.type is ApprovalType.EFFECT:  # it stays open: nobody can know by waiting
        return replace(asked, expires_at=tx.now_ms + limits.EXPIRES_MS_MAX)
    match demand.on_expiry:
        case OnExpiry.REJECT:
            return replace(asked, status=ApprovalStatus.EXPIRED)
        case OnExpiry.APPROVE:
            given = Decision(
                principal_id=None,
                name="expiry",
                decision=DecisionKind.APPROVE,
                at=tx.now_ms,
                arguments_hash=asked.arguments_hash,
                note="Nobody decided in time; the policy approves then.",
            )
            return replace(asked, status=ApprovalStatus.APPROVED, decisions=(*asked.decisions, given))
        case OnExpiry.DEFAULT:
            return replace(asked, status=ApprovalStatus.ANSWERED, answer=asked.default)
        case OnExpiry.ESCALATE:
            wider = replace(demand, roles=(demand.escalate_to,), on_expiry=OnExpiry.REJECT, escalate_to=frozenset())
            expires_at = tx.now_ms + (demand.expires_ms or limits.EXPIRES_MS)
            return replace(asked, demand=wider, escalated=True, expires_at=expires_at)
