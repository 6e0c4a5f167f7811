"""Interrupts: opened in the journal's batch, closed by one compare-and-set under the head of their run.

A *group* wakes together: the questions of one model turn. It is closed when none of its questions is pending.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    LargeBinary,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)

from holdfast.domain import limits
from holdfast.domain.approvals import (
    Approval,
    ApprovalStatus,
    ApprovalType,
    Decision,
    DecisionKind,
    Demand,
    OnExpiry,
)
from holdfast.domain.encoding import decode, encode
from holdfast.domain.ids import ApprovalId, EffectId, PrincipalId, RunId, TenantId, ThreadId
from holdfast.domain.journal import Phase
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_a = schema.approvals.c
_THIS = (_a.tenant_id == bindparam("b_tenant_id"), _a.id == bindparam("b_id"))
_COLUMNS = tuple(schema.approvals.c)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question to open. Rides in the commit of the entry that opens its step. JSON where bytes."""

    id: ApprovalId
    type: ApprovalType
    root_id: RunId
    thread_id: ThreadId
    agent: str
    key: str
    group: str
    attempt: int
    message: str
    requested_by: PrincipalId
    chain: frozenset[PrincipalId]
    demand: Demand
    tool: str | None = None
    reason: str | None = None
    effect_id: EffectId | None = None
    arguments: bytes | None = None
    arguments_hash: bytes | None = None
    schema: bytes | None = None
    choices: bytes | None = None
    default: bytes | None = None


_INSERT = insert(schema.approvals).values({c.name: bindparam(c.name) for c in _a})


async def open_all(tx: Tx, asked: Sequence[tuple[TenantId, RunId, Ask]]) -> None:
    """Open questions. They expire after their demand's time, else after `EXPIRES_MS`."""
    await tx.insert_many(_INSERT, [_new_row(tx, *one) for one in asked])


def _new_row(tx: Tx, tenant_id: TenantId, run_id: RunId, ask: Ask) -> Row:
    expires_at = tx.now_ms + (ask.demand.expires_ms or limits.EXPIRES_MS)
    return (
        tenant_id, ask.id, ask.type.value, ApprovalStatus.PENDING.value, 1, run_id, ask.root_id, ask.thread_id,
        ask.agent, ask.tool, ask.key, ask.group, ask.attempt, ask.effect_id, ask.message, ask.reason, ask.arguments,
        ask.arguments_hash, ask.schema, ask.choices, ask.default, ask.requested_by,
        encode(sorted(p.hex() for p in ask.chain)), encode(demand_json(ask.demand)), b"[]", None, 0, expires_at,
        tx.now_ms, None, None, None,
    )  # fmt: skip


def demand_json(demand: Demand) -> dict[str, Any]:
    return {
        "roles": [sorted(roles) for roles in demand.roles],
        "quorum": demand.quorum,
        "four_eyes": demand.four_eyes,
        "expires_ms": demand.expires_ms,
        "on_expiry": demand.on_expiry.value,
        "escalate_to": sorted(demand.escalate_to),
    }


def demand_of(stored: Any) -> Demand:
    return Demand(
        roles=tuple(frozenset(roles) for roles in stored["roles"]),
        quorum=stored["quorum"],
        four_eyes=stored["four_eyes"],
        expires_ms=stored["expires_ms"],
        on_expiry=OnExpiry(stored["on_expiry"]),
        escalate_to=frozenset(stored["escalate_to"]),
    )


def _decision_json(d: Decision) -> dict[str, Any]:
    return {
        "principal": None if d.principal_id is None else d.principal_id.hex(),
        "name": d.name,
        "decision": d.decision.value,
        "at": d.at,
        "hash": None if d.arguments_hash is None else d.arguments_hash.hex(),
        "arguments": decode(d.arguments),
        "answer": None if d.answer is None else d.answer.decode(),
        "note": d.note,
        "void": d.void,
    }


def _decision(stored: dict[str, Any]) -> Decision:
    return Decision(
        principal_id=None if stored["principal"] is None else PrincipalId(bytes.fromhex(stored["principal"])),
        name=stored["name"],
        decision=DecisionKind(stored["decision"]),
        at=stored["at"],
        arguments_hash=None if stored["hash"] is None else bytes.fromhex(stored["hash"]),
        arguments=None if stored["arguments"] is None else encode(stored["arguments"]),
        answer=None if stored["answer"] is None else stored["answer"].encode(),
        note=stored["note"],
        void=stored["void"],
    )


def _approval(row: Row) -> Approval:
    (
        tenant_id, id, type, status, version, run_id, root_id, thread_id, agent, tool, key, group, attempt, effect_id,
        message, reason, arguments, arguments_hash, schema_, choices, default, requested_by, chain, demand, decisions,
        answer, escalated, expires_at, created_at, resolved_at, usable_until, used_at,
    ) = row  # fmt: skip
    return Approval(
        tenant_id=tenant_id, id=id, type=ApprovalType(type), status=ApprovalStatus(status), version=version,
        run_id=run_id, root_id=root_id, thread_id=thread_id, agent=agent, tool=tool, key=key, group=group,
        attempt=attempt, effect_id=effect_id, message=message, reason=reason, arguments=arguments,
        arguments_hash=arguments_hash, schema=schema_, choices=choices, default=default, requested_by=requested_by,
        chain=frozenset(PrincipalId(bytes.fromhex(p)) for p in decode(chain)), demand=demand_of(decode(demand)),
        decisions=tuple(_decision(d) for d in decode(decisions)), answer=answer, escalated=bool(escalated),
        expires_at=expires_at, created_at=created_at, resolved_at=resolved_at, usable_until=usable_until,
        used_at=used_at,
    )  # fmt: skip


# -- changing -------------------------------------------------------------------------------------------------------

_CHANGE = (
    update(schema.approvals)
    .where(*_THIS, _a.status == ApprovalStatus.PENDING.value, _a.version == bindparam("b_version"))
    .values(
        status=bindparam("b_status"),
        version=_a.version + 1,
        arguments=bindparam("b_arguments"),
        arguments_hash=bindparam("b_hash"),
        demand=bindparam("b_demand"),
        decisions=bindparam("b_decisions"),
        answer=bindparam("b_answer"),
        escalated=bindparam("b_escalated"),
        expires_at=bindparam("b_expires_at"),
        resolved_at=bindparam("b_resolved_at"),
        usable_until=bindparam("b_usable_until"),
    )
)


async def change(tx: Tx, before: Approval, after: Approval) -> None:
    """Write what became of a pending question; its version rises. The caller holds its run's head and read it there."""
    assert before.status is ApprovalStatus.PENDING
    changed = await tx.execute(
        _CHANGE,
        {
            "b_tenant_id": before.tenant_id,
            "b_id": before.id,
            "b_version": before.version,
            "b_status": after.status.value,
            "b_arguments": after.arguments,
            "b_hash": after.arguments_hash,
            "b_demand": encode(demand_json(after.demand)),
            "b_decisions": encode([_decision_json(d) for d in after.decisions]),
            "b_answer": after.answer,
            "b_escalated": int(after.escalated),
            "b_expires_at": after.expires_at,
            "b_resolved_at": after.resolved_at,
            "b_usable_until": after.usable_until,
        },
    )
    assert changed == 1, "a question is changed under its run's head"


_PUT_OFF = (
    update(schema.approvals)
    .where(*_THIS, _a.status == ApprovalStatus.PENDING.value)
    .values(expires_at=bindparam("b_expires_at"))
)


async def put_off(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId, expires_at: int) -> None:
    """A question that could not be expired is due again at another time: it does not stand before the others."""
    await tx.execute(_PUT_OFF, {"b_tenant_id": tenant_id, "b_id": approval_id, "b_expires_at": expires_at})


_CANCEL = (
    update(schema.approvals)
    .where(_a.tenant_id == bindparam("b_tenant_id"), _a.run_id == bindparam("b_run_id"))
    .where(_a.status == ApprovalStatus.PENDING.value)
    .values(status=ApprovalStatus.CANCELLED.value, version=_a.version + 1, resolved_at=bindparam("b_now"))
    .returning(_a.id)
)


async def close(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[ApprovalId]:
    """A run ended: nobody needs to answer its questions any more. Which were open."""
    rows = await tx.all(_CANCEL, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_now": tx.now_ms})
    return [row[0] for row in rows]


# -- reading --------------------------------------------------------------------------------------------------------

_GET = select(*_COLUMNS).where(*_THIS)
# Not of a run that was deleted and only stands for the branches that read it.
_SEEN = ~exists().where(
    schema.runs.c.tenant_id == _a.tenant_id, schema.runs.c.id == _a.run_id, schema.runs.c.archived.is_not(None)
)
_SHOWN = _GET.where(_SEEN)
_PENDING_OF = (
    select(_a.id)
    .where(
        _a.tenant_id == bindparam("b_tenant_id"),
        _a.run_id == bindparam("b_run_id"),
        _a.group_key == bindparam("b_group"),
        _a.status == ApprovalStatus.PENDING.value,
    )
    .limit(1)
)
_PENDING_OF_RUN = select(_a.id).where(
    _a.tenant_id == bindparam("b_tenant_id"),
    _a.run_id == bindparam("b_run_id"),
    _a.status == ApprovalStatus.PENDING.value,
)
_PENDING_COUNT = select(func.count()).where(
    _a.tenant_id == bindparam("b_tenant_id"), _a.status == ApprovalStatus.PENDING.value
)
_DUE = (
    select(_a.tenant_id, _a.id)
    .where(_a.status == ApprovalStatus.PENDING.value, _a.expires_at <= bindparam("b_now"))
    .order_by(_a.expires_at)
    .limit(bindparam("b_limit"))
)
_NEXT_DUE = select(func.min(_a.expires_at)).where(_a.status == ApprovalStatus.PENDING.value, _a.expires_at.is_not(None))


async def get(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId) -> Approval | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_id": approval_id})
    return None if row is None else _approval(row)


async def shown(tx: Tx, tenant_id: TenantId, approval_id: ApprovalId) -> Approval | None:
    """The same for who looks: None also if its thread was deleted."""
    row = await tx.first(_SHOWN, {"b_tenant_id": tenant_id, "b_id": approval_id})
    return None if row is None else _approval(row)


async def group_open(tx: Tx, tenant_id: TenantId, run_id: RunId, group: str) -> bool:
    """Whether a question of the group is still pending. Index ix_approvals_open."""
    row = await tx.first(_PENDING_OF, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_group": group})
    return row is not None


async def pending_of(tx: Tx, tenant_id: TenantId, run_id: RunId) -> set[ApprovalId]:
    """The open questions of a run. Index ix_approvals_open."""
    rows = await tx.all(_PENDING_OF_RUN, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return {row[0] for row in rows}


_KEYS = select(_a.key, _a.attempt, _a.id).where(
    _a.tenant_id == bindparam("b_tenant_id"), _a.run_id == bindparam("b_run_id")
)


async def of_steps(
    tx: Tx, tenant_id: TenantId, run_id: RunId, keys: Sequence[str]
) -> dict[tuple[str, int], ApprovalId]:
    """The questions that these steps of a run are, by key and attempt. Index ux_approvals_key."""
    rows = await tx.all(_KEYS.where(_a.key.in_(list(keys))), {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return {(row[0], row[1]): row[2] for row in rows}


async def pending_count(tx: Tx, tenant_id: TenantId) -> int:
    """How many questions of the tenant are open. Index ix_approvals_status."""
    row = await tx.first(_PENDING_COUNT, {"b_tenant_id": tenant_id})
    return row[0] if row else 0


_other = schema.approvals.alias("other")
_CLOSED = select(_a.id).where(
    *_THIS,
    _a.status != ApprovalStatus.PENDING.value,
    ~select(_other.c.id)
    .where(
        _other.c.tenant_id == _a.tenant_id,
        _other.c.run_id == _a.run_id,
        _other.c.group_key == _a.group_key,
        _other.c.status == ApprovalStatus.PENDING.value,
    )
    .exists(),
)


async def closed_among(tx: Tx, tenant_id: TenantId, ids: Sequence[ApprovalId]) -> set[ApprovalId]:
    """Which of these may go on: closed, and no other question of their group is open."""
    rows = [{"b_tenant_id": tenant_id, "b_id": id} for id in ids]
    return {row[0] for row in await tx.fetch_many(_CLOSED, rows)} if rows else set()


async def due(tx: Tx, limit: int) -> list[tuple[TenantId, ApprovalId]]:
    """Pending questions whose time is over. Index ix_approvals_expires_at."""
    return [(row[0], row[1]) for row in await tx.all(_DUE, {"b_now": tx.now_ms, "b_limit": limit})]


async def next_due_at(tx: Tx) -> int | None:
    row = await tx.first(_NEXT_DUE)
    return row[0] if row else None


# -- what they lead to ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Links:
    """What a question leads to. `step_seq`: its step, once it is answered; `opened_pos`: the entry that opened it;
    `after_step`: the last step of its run before that, 0 before the first; `requester`: the name of who led to it."""

    step_seq: int | None = None
    opened_pos: int | None = None
    after_step: int = 0
    requester: str | None = None


_e = schema.entries.c
_OPENED = schema.entries.alias("opened")
_opened = _OPENED.c
_result = schema.entries.alias("result").c
_p = schema.principals.c
_l = schema.run_lineage.c
_STEP_SEQ = select(_result.seq).where(
    _result.tenant_id == _a.tenant_id,
    _result.run_id == _a.run_id,
    _result.key == _a.key,
    _result.phase == Phase.RESULT.value,
    _result.attempt == _a.attempt,
)
_BEFORE = (
    select(_e.seq)
    .where(_e.tenant_id == _a.tenant_id, _e.run_id == _a.run_id, _e.pos < _opened.pos, _e.seq.is_not(None))
    .order_by(_e.pos.desc())
    .limit(1)
)
# What a fork reads of others is numbered as if it were its own.
_INHERITED = select(func.max(_l.seq)).where(_l.tenant_id == _a.tenant_id, _l.run_id == _a.run_id)
_REQUESTER = select(_p.name).where(_p.tenant_id == _a.tenant_id, _p.id == _a.requested_by)
_OPENED_BY = and_(
    _opened.tenant_id == _a.tenant_id,
    _opened.run_id == _a.run_id,
    _opened.key == _a.key,
    _opened.phase == Phase.OPENING.value,
    _opened.attempt == _a.attempt,
)


@lru_cache(maxsize=limits.PAGE_SIZE_MAX + 1)
def _links_of(count: int) -> Any:
    """The statement for so many questions."""
    return (
        select(
            _a.id,
            _STEP_SEQ.scalar_subquery(),
            _opened.pos,
            func.coalesce(_BEFORE.scalar_subquery(), _INHERITED.scalar_subquery(), 0),
            _REQUESTER.scalar_subquery(),
        )
        .select_from(schema.approvals.outerjoin(_OPENED, _OPENED_BY))
        .where(_a.tenant_id == bindparam("b_tenant_id"), _a.id.in_([bindparam(f"b_{n}") for n in range(count)]))
    )


async def links(tx: Tx, tenant_id: TenantId, ids: Sequence[ApprovalId]) -> dict[ApprovalId, Links]:
    """What these questions lead to, a page of them in one statement: each costs a few looks into ux_entries_key and the
    keys of approvals and entries, however long its run is."""
    if not ids:
        return {}
    named = {f"b_{n}": id for n, id in enumerate(ids)}
    rows = await tx.all(_links_of(len(ids)), {"b_tenant_id": tenant_id, **named})
    return {row[0]: Links(*row[1:]) for row in rows}


# -- lists ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """Which questions a list shows, by when they were asked or, with `by_resolution`, by when they were closed: then
    without those that are open. The oldest is first unless `newest_first`. `after`: that time and the id of the one
    before the page."""

    status: tuple[ApprovalStatus, ...] = ()
    type: ApprovalType | None = None
    agent: str | None = None
    tool: str | None = None
    run_id: RunId | None = None
    effect_id: EffectId | None = None
    created_after: int | None = None
    created_before: int | None = None
    by_resolution: bool = False
    newest_first: bool = False
    after: tuple[int, bytes] | None = None
    limit: int = 50

    def moment_of(self, approval: Approval) -> tuple[int, ApprovalId]:
        """What a question stands by in this list: the `after` of the page behind it."""
        at = approval.resolved_at if self.by_resolution else approval.created_at
        assert at is not None, "what is listed by when it was closed is closed"
        return at, approval.id


def _with_children(tenant_id: TenantId, run_id: RunId) -> Select[tuple[RunId]]:
    """A run and everything below it."""
    r = schema.runs.c
    tree = select(r.id).where(r.tenant_id == tenant_id, r.id == run_id).cte("tree", recursive=True)
    tree = tree.union_all(select(r.id).where(r.tenant_id == tenant_id, r.parent_id == tree.c.id))
    return select(tree.c.id)


async def page(tx: Tx, tenant_id: TenantId, wanted: ApprovalFilter) -> list[Approval]:
    """A page of questions. Index ix_approvals_status, or ix_approvals_resolved, which have those of each status in
    order: they are merged here, so that a page costs the same however long the history is. Those of a run, or of an
    effect (ix_approvals_effect), are few, and sorted."""
    where, order = _wanted(tenant_id, wanted)
    query = select(*_COLUMNS).where(*where).order_by(*order).limit(wanted.limit)
    statuses = _statuses(wanted)
    if wanted.run_id is not None or wanted.effect_id is not None:
        chosen = query.where(_a.status.in_([status.value for status in statuses]))
        return [_approval(row) for row in await tx.all(chosen)]
    parts = [await tx.all(query.where(_a.status == status.value)) for status in statuses]
    found = [_approval(row) for rows in parts for row in rows]
    found.sort(key=wanted.moment_of, reverse=wanted.newest_first)
    return found[: wanted.limit]


def _statuses(wanted: ApprovalFilter) -> list[ApprovalStatus]:
    chosen = wanted.status or tuple(ApprovalStatus)
    return [status for status in chosen if status.closed or not wanted.by_resolution]


def _wanted(tenant_id: TenantId, wanted: ApprovalFilter) -> tuple[list[Any], tuple[Any, ...]]:
    """All but the status; and the order."""
    where: list[Any] = [_a.tenant_id == tenant_id, _SEEN]
    for column, value in (
        (_a.type, None if wanted.type is None else wanted.type.value),
        (_a.agent, wanted.agent),
        (_a.tool, wanted.tool),
        (_a.effect_id, wanted.effect_id),
    ):
        if value is not None:
            where.append(column == value)
    if wanted.run_id is not None:
        where.append(_a.run_id.in_(_with_children(tenant_id, wanted.run_id)))
    if wanted.created_after is not None:
        where.append(_a.created_at > wanted.created_after)
    if wanted.created_before is not None:
        where.append(_a.created_at < wanted.created_before)
    stands = _a.created_at
    if wanted.by_resolution:
        stands = _a.resolved_at
        where.append(stands.is_not(None))
    newest = wanted.newest_first
    if wanted.after is not None:  # one comparison of both, which an index can begin at
        here = tuple_(stands, _a.id)
        place = tuple_(literal(wanted.after[0], BigInteger()), literal(wanted.after[1], LargeBinary()))
        where.append(here < place if newest else here > place)
    return where, (stands.desc(), _a.id.desc()) if newest else (stands, _a.id)


_OPEN_BELOW = text(
    "WITH RECURSIVE tree(id) AS ("
    " SELECT id FROM runs WHERE tenant_id = :tenant_id AND parent_id = :run_id"
    " UNION ALL"
    " SELECT r.id FROM runs r JOIN tree t ON r.parent_id = t.id WHERE r.tenant_id = :tenant_id"
    ") SELECT id, type, run_id, key FROM approvals WHERE tenant_id = :tenant_id AND status = 'pending'"
    " AND run_id IN (SELECT id FROM tree) ORDER BY created_at, id"
)


async def open_below(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[tuple[ApprovalId, ApprovalType, RunId, str]]:
    """Open questions of a run's children, of any depth: `(id, type, run, key)`."""
    rows = await tx.all(_OPEN_BELOW, {"tenant_id": tenant_id, "run_id": run_id})
    return [(row[0], ApprovalType(row[1]), row[2], row[3]) for row in rows]


_SCHEMA = (
    select(_a.schema)
    .where(
        _a.tenant_id == bindparam("b_tenant_id"),
        _a.effect_id == bindparam("b_effect_id"),
        _a.type == ApprovalType.EFFECT.value,
    )
    .order_by(_a.created_at.desc(), _a.id.desc())
    .limit(1)
)


async def result_schema(tx: Tx, tenant_id: TenantId, effect_id: EffectId) -> bytes | None:
    """What the result of an effect has to be, as the last question what became of it says. Index
    ix_approvals_effect."""
    row = await tx.first(_SCHEMA, {"b_tenant_id": tenant_id, "b_effect_id": effect_id})
    return None if row is None else row[0]


async def decided_of_effect(tx: Tx, tenant_id: TenantId, run_id: RunId, effect_id: EffectId) -> Approval | None:
    """The last question what became of an effect that somebody answered."""
    row = await tx.first(_DECIDED, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_effect_id": effect_id})
    return None if row is None else _approval(row)


_DECIDED = (
    select(*_COLUMNS)
    .where(
        _a.tenant_id == bindparam("b_tenant_id"),
        _a.run_id == bindparam("b_run_id"),
        _a.effect_id == bindparam("b_effect_id"),
        _a.type == ApprovalType.EFFECT.value,
        _a.status == ApprovalStatus.ANSWERED.value,
    )
    .order_by(_a.created_at.desc(), _a.id.desc())
    .limit(1)
)


async def of_effect(tx: Tx, tenant_id: TenantId, run_id: RunId, effect_id: EffectId) -> Approval | None:
    """The open question what became of an effect."""
    row = await tx.first(_OF_EFFECT, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_effect_id": effect_id})
    return None if row is None else _approval(row)


_OF_EFFECT = select(*_COLUMNS).where(
    _a.tenant_id == bindparam("b_tenant_id"),
    _a.run_id == bindparam("b_run_id"),
    _a.effect_id == bindparam("b_effect_id"),
    _a.type == ApprovalType.EFFECT.value,
    _a.status == ApprovalStatus.PENDING.value,
)
