"""The effect ledger. Its rows are written in the journal's batch, under the run's head, or by a person's resolution.

Invariants: an effect starts once, from `planned`, while its run is ours, nobody asked it to stop and leave for exactly
these arguments stands; what it came to is written in the transaction that records its step. A business key has at most
one holder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    SmallInteger,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from holdfast.domain import limits
from holdfast.domain.approvals import ApprovalStatus
from holdfast.domain.effects import Effect, EffectClass, EffectStatus, Word, idempotency_key, may_become
from holdfast.domain.encoding import encode
from holdfast.domain.ids import ApprovalId, EffectId, RunId, TenantId
from holdfast.domain.journal import Phase
from holdfast.domain.runs import RunStatus
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_f = schema.effects.c
_a = schema.approvals.c
_h = schema.run_heads.c
_THIS = (_f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id"), _f.key == bindparam("b_key"))
_COLUMNS = tuple(schema.effects.c)


# -- what the journal's batch is asked ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A call was chosen. Rides in the commit of the step that chose it. With a business key it claims that too."""

    key: str
    id: EffectId
    tool: str
    agent: str
    effect_class: EffectClass
    version: str
    arguments: bytes
    arguments_hash: bytes
    idempotency_key: str
    business_key: str | None = None
    business_ttl_ms: int | None = None
    compensates: EffectId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The call is about to be made: durable before it, or refused. `again`: it was started before, under this key."""

    key: str
    timeout_ms: int
    arguments_hash: bytes
    leave: ApprovalId | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """What became of it. Back to `planned` it may bring a new rotation, with its key. `run_id`: of an ended run below
    this one, whose effect is being undone."""

    key: str
    before: tuple[EffectStatus, ...]
    after: EffectStatus
    error: bytes | None = None
    rotation: tuple[int, str] | None = None
    business_ttl_ms: int | None = None
    run_id: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replan:
    """A planned call gets other arguments (a person changed them), or asks again for its business key."""

    key: str
    arguments: bytes
    arguments_hash: bytes
    business_key: str | None
    business_ttl_ms: int | None


LedgerOp = Plan | Start | Settle | Replan
Placed = tuple[TenantId, RunId, int, Any]
"""Whose op it is: tenant, run, epoch, and the op."""


# -- planning -------------------------------------------------------------------------------------------------------

_INSERT = insert(schema.effects).values({c.name: bindparam(c.name) for c in _f})
_CLAIM = text(
    "INSERT INTO business_keys (tenant_id, tool, business_key, run_id, key, effect_id, ttl_ms, expires_at)"
    " VALUES (:tenant_id, :tool, :business_key, :run_id, :key, :effect_id, :ttl_ms, NULL) ON CONFLICT DO NOTHING"
)
_b = schema.business_keys.c
_BUSINESS = (
    _b.tenant_id == bindparam("b_tenant_id"),
    _b.tool == bindparam("b_tool"),
    _b.business_key == bindparam("b_business_key"),
)
_LAPSED_CLAIM = delete(schema.business_keys).where(*_BUSINESS, _b.expires_at <= bindparam("b_now"))
_HOLDER = select(_b.effect_id).where(*_BUSINESS)
# On PostgreSQL whoever held the key may let go between the two statements: then it is claimed once more.
_CLAIM_TRIES = 10


async def plan(tx: Tx, placed: Sequence[Placed]) -> None:
    """Write `Plan`s. The caller holds the heads of their runs and saw that they are theirs."""
    rows: list[Row] = []
    for tenant_id, run_id, epoch, op in sorted(placed, key=lambda p: (p[3].tool, p[3].business_key or "")):
        duplicate_of = None
        if op.business_key is not None:
            duplicate_of = await _claim(
                tx, tenant_id, run_id, op.key, op.id, op.tool, op.business_key, op.business_ttl_ms
            )
        rows.append(
            (
                tenant_id, run_id, op.key, op.id, op.tool, op.agent, op.effect_class.value, op.version,
                EffectStatus.PLANNED.value, op.arguments, op.arguments_hash, op.idempotency_key, 0, 0,
                op.business_key, duplicate_of, op.compensates, None, epoch, tx.now_ms, None, None, None, None,
            )
        )  # fmt: skip
    await tx.insert_many(_INSERT, rows)


async def _claim(
    tx: Tx,
    tenant_id: TenantId,
    run_id: RunId,
    key: str,
    effect_id: EffectId,
    tool: str,
    business_key: str,
    ttl_ms: int | None,
) -> EffectId | None:
    """Claim a business key, to be kept for `ttl_ms` once the effect is committed; the effect that holds it already, if
    another does."""
    named = {"b_tenant_id": tenant_id, "b_tool": tool, "b_business_key": business_key}
    mine = {
        "tenant_id": tenant_id,
        "tool": tool,
        "business_key": business_key,
        "run_id": run_id,
        "key": key,
        "effect_id": effect_id,
        "ttl_ms": ttl_ms,
    }
    await tx.execute(_LAPSED_CLAIM, {**named, "b_now": tx.now_ms})
    for _ in range(_CLAIM_TRIES):
        await tx.execute(_CLAIM, mine)
        row = await tx.first(_HOLDER, named)
        if row is not None:
            return None if row[0] == effect_id else row[0]
    raise AssertionError("the key was claimed, or is held")


_REPLAN = (
    update(schema.effects)
    .where(*_THIS, _f.status == EffectStatus.PLANNED.value)
    .values(
        arguments=bindparam("b_arguments"),
        arguments_hash=bindparam("b_hash"),
        business_key=bindparam("b_business_key"),
        duplicate_of=bindparam("b_duplicate_of"),
    )
)


async def replan(tx: Tx, tenant_id: TenantId, run_id: RunId, op: Replan) -> None:
    known = await get(tx, tenant_id, run_id, op.key)
    assert known is not None, "only what was planned is planned again"
    if known.business_key != op.business_key:
        await _free(tx, tenant_id, run_id, op.key)
    holder = None
    if op.business_key is not None:
        holder = await _claim(tx, tenant_id, run_id, op.key, known.id, known.tool, op.business_key, op.business_ttl_ms)
    changed = await tx.execute(
        _REPLAN,
        {
            "b_tenant_id": tenant_id,
            "b_run_id": run_id,
            "b_key": op.key,
            "b_arguments": op.arguments,
            "b_hash": op.arguments_hash,
            "b_business_key": op.business_key,
            "b_duplicate_of": holder,
        },
    )
    assert changed == 1, "only a planned effect is planned again"


# -- starting -------------------------------------------------------------------------------------------------------

_OURS = exists().where(
    _h.tenant_id == _f.tenant_id,
    _h.run_id == _f.run_id,
    _h.epoch == bindparam("b_epoch"),
    _h.owner.is_not(None),
    _h.cancel == 0,
)
_LEAVE = exists().where(
    _a.tenant_id == _f.tenant_id,
    _a.id == bindparam("b_leave"),
    _a.effect_id == _f.id,
    _a.status == ApprovalStatus.APPROVED.value,
    _a.arguments_hash == bindparam("b_hash"),
    _a.usable_until >= bindparam("b_now"),
    or_(_a.used_at.is_(None), _f.attempt > 0),
)
_STARTABLE = and_(
    *_THIS,
    _f.status == bindparam("b_before"),
    _f.arguments_hash == bindparam("b_hash"),
    _f.duplicate_of.is_(None),
    _OURS,
)
_STARTED: dict[str, Any] = {
    "status": EffectStatus.STARTED.value,
    "attempt": _f.attempt + 1,
    "epoch": bindparam("b_epoch"),
    "started_at": func.coalesce(_f.started_at, bindparam("b_now")),
    "deadline": bindparam("b_deadline"),
    "ended_at": None,
    "error": None,
}
_START = update(schema.effects).where(_STARTABLE).values(_STARTED).returning(_f.run_id, _f.key)
_START_WITH_LEAVE = update(schema.effects).where(_STARTABLE, _LEAVE).values(_STARTED).returning(_f.run_id, _f.key)
_USE_LEAVE = (
    update(schema.approvals)
    .where(_a.tenant_id == bindparam("b_tenant_id"), _a.id == bindparam("b_id"))
    .values(used_at=func.coalesce(_a.used_at, bindparam("b_now")))
)


async def start(tx: Tx, placed: Sequence[Placed]) -> set[tuple[RunId, str]]:
    """Start effects, each only if all conditions hold; which were. The caller holds the heads of their runs.

    UPDATE effects SET status = 'started', … WHERE (tenant_id, run_id, key) = … AND status = 'planned'
      AND arguments_hash = … AND EXISTS (head: our epoch, owned, no cancel)
      AND EXISTS (leave: of this effect, approved, for this hash, unused, not lapsed)
    """
    started: set[tuple[RunId, str]] = set()
    for statement, wants_leave in ((_START, False), (_START_WITH_LEAVE, True)):
        chosen = [p for p in placed if (p[3].leave is not None) is wants_leave]
        if not chosen:
            continue
        rows = await tx.fetch_many(statement, [_start_row(tx, *p, leave=wants_leave) for p in chosen])
        done = {(row[0], row[1]) for row in rows}
        started |= done
        if wants_leave:
            used = [(t, op.leave) for t, r, _, op in chosen if (r, op.key) in done]
            await tx.execute_many(_USE_LEAVE, [{"b_tenant_id": t, "b_id": id, "b_now": tx.now_ms} for t, id in used])
    return started


def _start_row(tx: Tx, tenant_id: TenantId, run_id: RunId, epoch: int, op: Start, *, leave: bool) -> dict[str, Any]:
    row = {
        "b_tenant_id": tenant_id,
        "b_run_id": run_id,
        "b_key": op.key,
        "b_epoch": epoch,
        "b_before": (EffectStatus.STARTED if op.again else EffectStatus.PLANNED).value,
        "b_hash": op.arguments_hash,
        "b_now": tx.now_ms,
        "b_deadline": tx.now_ms + op.timeout_ms,
    }
    return {**row, "b_leave": op.leave} if leave else row


async def why_not(tx: Tx, tenant_id: TenantId, run_id: RunId, epoch: int, op: Start) -> str:
    """Why an effect was not started: `cancelled`, `effect_changed`, `leave_used`, `leave_lapsed` or `leave_missing`."""
    head = await tx.first(_HEAD, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    if head is None or head[0] != epoch or head[1]:
        return "cancelled"
    effect = await get(tx, tenant_id, run_id, op.key)
    wanted = EffectStatus.STARTED if op.again else EffectStatus.PLANNED
    if effect is None or effect.status is not wanted or effect.arguments_hash != op.arguments_hash:
        return "effect_changed"
    leave = await tx.first(_THE_LEAVE, {"b_tenant_id": tenant_id, "b_id": op.leave})
    if leave is None or tuple(leave[:3]) != (effect.id, ApprovalStatus.APPROVED.value, op.arguments_hash):
        return "leave_missing"
    return "leave_used" if leave[3] is not None else "leave_lapsed"


_HEAD = select(_h.epoch, _h.cancel).where(_h.tenant_id == bindparam("b_tenant_id"), _h.run_id == bindparam("b_run_id"))
_THE_LEAVE = select(_a.effect_id, _a.status, _a.arguments_hash, _a.used_at).where(
    _a.tenant_id == bindparam("b_tenant_id"), _a.id == bindparam("b_id")
)


# -- settling -------------------------------------------------------------------------------------------------------

_ENDED = (
    EffectStatus.COMMITTED,
    EffectStatus.FAILED,
    EffectStatus.ABANDONED,
    EffectStatus.COMPENSATED,
    EffectStatus.COMPENSATION_FAILED,
)
_SETTLE = (
    update(schema.effects)
    .where(*_THIS, or_(_f.status == bindparam("b_before"), _f.status == bindparam("b_or_before")))
    .values(
        status=bindparam("b_after"),
        error=bindparam("b_error"),
        ended_at=bindparam("b_ended_at"),
        rotation=func.coalesce(bindparam("b_rotation", type_=SmallInteger()), _f.rotation),
        idempotency_key=func.coalesce(bindparam("b_idempotency_key", type_=Text()), _f.idempotency_key),
    )
    .returning(_f.id)
)
_FREE = delete(schema.business_keys).where(
    _b.tenant_id == bindparam("b_tenant_id"), _b.run_id == bindparam("b_run_id"), _b.key == bindparam("b_key")
)
_KEEP_FOR = (
    update(schema.business_keys)
    .where(_b.tenant_id == bindparam("b_tenant_id"), _b.run_id == bindparam("b_run_id"), _b.key == bindparam("b_key"))
    .values(
        expires_at=bindparam("b_now", type_=BigInteger())
        + func.coalesce(bindparam("b_ttl_ms", type_=BigInteger()), _b.ttl_ms)
    )
)


async def settle(tx: Tx, placed: Sequence[Placed]) -> list[EffectId]:
    """Write what became of effects; which they are, in order. The caller's fence accepted their runs."""
    rows = [_settle_row(tx, *p) for p in placed]
    changed = await tx.fetch_many(_SETTLE, rows)
    assert len(changed) == len(rows), f"of {len(rows)} effects only {len(changed)} stood where their run left them"
    for tenant_id, run_id, _, op in placed:
        if op.after in (EffectStatus.FAILED, EffectStatus.ABANDONED, EffectStatus.COMPENSATED):
            await _free(tx, tenant_id, op.run_id or run_id, op.key)
        elif op.after is EffectStatus.COMMITTED and op.business_ttl_ms is not None:
            await _keep(tx, tenant_id, run_id, op.key, op.business_ttl_ms)
        elif op.after is EffectStatus.PLANNED:
            await _claim_again(tx, tenant_id, run_id, op.key, op.business_ttl_ms)
    return [row[0] for row in changed]


def _settle_row(tx: Tx, tenant_id: TenantId, run_id: RunId, epoch: int, op: Settle) -> dict[str, Any]:
    assert all(may_become(before, op.after) for before in op.before), op
    rotation, key = op.rotation or (None, None)
    return {
        "b_tenant_id": tenant_id,
        "b_run_id": op.run_id or run_id,
        "b_key": op.key,
        "b_before": op.before[0].value,
        "b_or_before": op.before[-1].value,
        "b_after": op.after.value,
        "b_error": op.error,
        "b_ended_at": tx.now_ms if op.after in _ENDED else None,
        "b_rotation": rotation,
        "b_idempotency_key": key,
    }


_DUPLICATE = update(schema.effects).where(*_THIS).values(duplicate_of=bindparam("b_duplicate_of"))


async def _claim_again(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str, ttl_ms: int | None) -> None:
    """A call that was given up is planned anew: its business key was freed, and another may hold it now."""
    known = await get(tx, tenant_id, run_id, key)
    if known is None or known.business_key is None:
        return
    holder = await _claim(tx, tenant_id, run_id, key, known.id, known.tool, known.business_key, ttl_ms)
    this = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key}
    await tx.execute(_DUPLICATE, {**this, "b_duplicate_of": holder})


async def _free(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str) -> None:
    await tx.execute(_FREE, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key})


async def _keep(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str, ttl_ms: int | None = None) -> None:
    """It was done: its business key is held for so long, or for as long as was said when it was claimed."""
    await tx.execute(
        _KEEP_FOR,
        {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key, "b_now": tx.now_ms, "b_ttl_ms": ttl_ms},
    )


# -- while a call is under way ----------------------------------------------------------------------------------------

_OWNED = exists().where(
    _h.tenant_id == _f.tenant_id, _h.run_id == _f.run_id, _h.epoch == bindparam("b_epoch"), _h.owner.is_not(None)
)
_NOTE = (
    update(schema.effects)
    .where(*_THIS, _f.status == EffectStatus.STARTED.value, _OWNED)
    .values(
        deadline=func.coalesce(bindparam("b_deadline", type_=BigInteger()), _f.deadline),
        provider_ref=func.coalesce(bindparam("b_ref", type_=Text()), _f.provider_ref),
    )
)


async def note(
    tx: Tx, tenant_id: TenantId, run_id: RunId, key: str, epoch: int, *, timeout_ms: int | None, ref: str | None
) -> bool:
    """A sign of life of a call under way: its deadline moves, or the provider's reference is noted. False if the run
    has another owner now."""
    return bool(
        await tx.execute(
            _NOTE,
            {
                "b_tenant_id": tenant_id,
                "b_run_id": run_id,
                "b_key": key,
                "b_epoch": epoch,
                "b_deadline": None if timeout_ms is None else tx.now_ms + timeout_ms,
                "b_ref": ref,
            },
        )
    )


# -- when a run ends --------------------------------------------------------------------------------------------------

_ABANDON = (
    update(schema.effects)
    .where(_f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id"))
    .where(_f.status == EffectStatus.PLANNED.value)
    .values(status=EffectStatus.ABANDONED.value, ended_at=bindparam("b_now"))
)
_LOSE = (
    update(schema.effects)
    .where(_f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id"))
    .where(_f.status == EffectStatus.STARTED.value)
    .values(status=EffectStatus.UNKNOWN.value)
    .returning(*_COLUMNS)
)
_FREE_ALL = delete(schema.business_keys).where(
    _b.tenant_id == bindparam("b_tenant_id"),
    _b.run_id == bindparam("b_run_id"),
    _b.effect_id.in_(
        select(_f.id).where(
            _f.tenant_id == bindparam("b_tenant_id"),
            _f.run_id == bindparam("b_run_id"),
            _f.status.in_([EffectStatus.ABANDONED.value, EffectStatus.FAILED.value]),
        )
    ),
)


async def close(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[Effect]:
    """A run ended: what was planned is given up, what was under way is unknown. The unknown ones."""
    this = {"b_tenant_id": tenant_id, "b_run_id": run_id}
    await tx.execute(_ABANDON, {**this, "b_now": tx.now_ms})
    await tx.execute(_FREE_ALL, this)
    return [_effect(row) for row in await tx.all(_LOSE, this)]


# -- reading ----------------------------------------------------------------------------------------------------------


def _effect(row: Row) -> Effect:
    return Effect(
        tenant_id=row[0], run_id=row[1], key=row[2], id=row[3], tool=row[4], agent=row[5],
        effect_class=EffectClass(row[6]), version=row[7], status=EffectStatus(row[8]), arguments=row[9],
        arguments_hash=row[10], idempotency_key=row[11], rotation=row[12], attempt=row[13], business_key=row[14],
        duplicate_of=row[15], compensates=row[16], provider_ref=row[17], epoch=row[18], planned_at=row[19],
        started_at=row[20], deadline=row[21], ended_at=row[22], error=row[23],
    )  # fmt: skip


_GET = select(*_COLUMNS).where(*_THIS)
_BY_ID = select(*_COLUMNS).where(_f.tenant_id == bindparam("b_tenant_id"), _f.id == bindparam("b_id"))
# Not of a run that was deleted and only stands for the branches that read it.
_SEEN = ~exists().where(
    schema.runs.c.tenant_id == _f.tenant_id, schema.runs.c.id == _f.run_id, schema.runs.c.archived.is_not(None)
)
_SHOWN = _BY_ID.where(_SEEN)
_OF_RUN = (
    select(*_COLUMNS)
    .where(_f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id"))
    .order_by(_f.planned_at, _f.key)
)
_ACTED = (
    select(_f.id)
    .where(_f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id"))
    .where(_f.status.not_in([EffectStatus.PLANNED.value, EffectStatus.ABANDONED.value, EffectStatus.FAILED.value]))
    .limit(1)
)
# As text: with a parameter the database could not know that the index holds all of these.
_IS_UNKNOWN = text("effects.status = 'unknown'")
_UNKNOWN = select(_f.tenant_id, func.count()).where(_IS_UNKNOWN).group_by(_f.tenant_id)


MAY_HAVE_ACTED = frozenset({EffectStatus.STARTED, EffectStatus.COMMITTED, EffectStatus.UNKNOWN})
_opened, _result = schema.entries.c, schema.entries.alias("result").c
_UNRECORDED = (
    select(_opened.name, _opened.digest)
    .where(_opened.tenant_id == _f.tenant_id, _opened.run_id == _f.run_id, _opened.key == _f.key)
    .where(_opened.phase == Phase.OPENING.value, _f.status.in_(sorted(s.value for s in MAY_HAVE_ACTED)))
    .where(_f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id"))
    .where(
        ~exists().where(
            _result.tenant_id == _opened.tenant_id,
            _result.run_id == _opened.run_id,
            _result.key == _opened.key,
            _result.phase == Phase.RESULT.value,
            _result.attempt == _opened.attempt,
        )
    )
    .order_by(_opened.pos)
)


async def unrecorded(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[tuple[str, bytes | None]]:
    """Calls of a run that have begun and recorded nothing yet, unless for certain they did nothing: name and digest."""
    rows = await tx.all(_UNRECORDED, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return [(row[0] or "", row[1]) for row in rows]


_UNDONE = select(_f.key, _f.status).where(
    _f.tenant_id == bindparam("b_tenant_id"),
    _f.run_id == bindparam("b_run_id"),
    _f.status.in_([
        EffectStatus.COMPENSATING.value, EffectStatus.COMPENSATED.value, EffectStatus.COMPENSATION_FAILED.value,
    ]),
)  # fmt: skip


async def undone(tx: Tx, tenant_id: TenantId, run_id: RunId) -> dict[str, bool]:
    """The steps of a run that were undone, or were to be, by their keys: whether it is certain that they were."""
    rows = await tx.all(_UNDONE, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return {row[0]: row[1] == EffectStatus.COMPENSATED.value for row in rows}


async def get(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str) -> Effect | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key})
    return None if row is None else _effect(row)


async def by_id(tx: Tx, tenant_id: TenantId, effect_id: EffectId) -> Effect | None:
    row = await tx.first(_BY_ID, {"b_tenant_id": tenant_id, "b_id": effect_id})
    return None if row is None else _effect(row)


async def shown(tx: Tx, tenant_id: TenantId, effect_id: EffectId) -> Effect | None:
    """The same for who looks: None also if its thread was deleted."""
    row = await tx.first(_SHOWN, {"b_tenant_id": tenant_id, "b_id": effect_id})
    return None if row is None else _effect(row)


async def of_run(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[Effect]:
    """A run's effects, in the order in which they were planned."""
    return [_effect(row) for row in await tx.all(_OF_RUN, {"b_tenant_id": tenant_id, "b_run_id": run_id})]


async def of_steps(tx: Tx, tenant_id: TenantId, run_id: RunId, keys: Sequence[str]) -> dict[str, Effect]:
    """The effects of these steps of a run, by their keys."""
    rows = await tx.all(_OF_RUN.where(_f.key.in_(list(keys))), {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return {row[2]: _effect(row) for row in rows}


_STATUSES = select(_f.key, _f.status).where(
    _f.tenant_id == bindparam("b_tenant_id"), _f.run_id == bindparam("b_run_id")
)


async def statuses(tx: Tx, tenant_id: TenantId, run_id: RunId) -> dict[str, str]:
    """How the effects of a run stand, by the keys of their steps."""
    rows = await tx.all(_STATUSES, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return {row[0]: row[1] for row in rows}


async def may_have_acted(tx: Tx, tenant_id: TenantId, run_id: RunId) -> bool:
    """Whether the run has done something, or may have."""
    return await tx.first(_ACTED, {"b_tenant_id": tenant_id, "b_run_id": run_id}) is not None


async def unknown_counts(tx: Tx) -> dict[TenantId, int]:
    """How many effects of each tenant nobody knows the outcome of. Index ix_effects_unknown."""
    return {row[0]: row[1] for row in await tx.all(_UNKNOWN)}


@dataclass(frozen=True, slots=True)
class Links:
    """What an effect leads to. `step_seq`: its step, once it is recorded; `opened_pos`: the entry that opened it last;
    `after_step`: the last step of its run before that; `leave`: the approval that it was begun with."""

    run_ended: bool
    step_seq: int | None = None
    opened_pos: int | None = None
    after_step: int | None = None
    leave: ApprovalId | None = None


_r = schema.runs.c
_l = schema.run_lineage.c
_step = schema.entries.alias("step").c
_before = schema.entries.alias("before").c


def _last(phase: Phase, entry: Any) -> Any:
    """The position of the last entry of an effect's step: of the attempt that counts."""
    return (
        select(entry.pos)
        .where(entry.tenant_id == _f.tenant_id, entry.run_id == _f.run_id, entry.key == _f.key)
        .where(entry.phase == phase.value)
        .order_by(entry.attempt.desc())
        .limit(1)
        .scalar_subquery()
    )


_LEAVE_USED = (
    select(_a.id)
    .where(_a.tenant_id == _f.tenant_id, _a.effect_id == _f.id, _a.arguments_hash == _f.arguments_hash)
    .where(_a.status == ApprovalStatus.APPROVED.value, _a.used_at.is_not(None))
    .order_by(_a.used_at.desc(), _a.created_at.desc(), _a.id.desc())
    .limit(1)
)
_ENDED_AT = select(_r.ended_at).where(_r.tenant_id == _f.tenant_id, _r.id == _f.run_id)


@lru_cache(maxsize=limits.PAGE_SIZE_MAX + 1)
def _links_of(count: int) -> Any:
    """The statement for so many effects. It finds the entries first, and then what stands around them."""
    found = (
        select(
            _f.tenant_id,
            _f.run_id,
            _f.id,
            _last(Phase.OPENING, _opened).label("opened_pos"),
            _last(Phase.RESULT, _result).label("result_pos"),
            _LEAVE_USED.scalar_subquery().label("leave"),
            _ENDED_AT.scalar_subquery().label("ended_at"),
        )
        .where(_f.tenant_id == bindparam("b_tenant_id"), _f.id.in_([bindparam(f"b_{n}") for n in range(count)]))
        .subquery("found")
    ).c
    seq = select(_step.seq).where(
        _step.tenant_id == found.tenant_id, _step.run_id == found.run_id, _step.pos == found.result_pos
    )
    before = (
        select(_before.seq)
        .where(_before.tenant_id == found.tenant_id, _before.run_id == found.run_id)
        .where(_before.pos < found.opened_pos, _before.seq.is_not(None))
        .order_by(_before.pos.desc())
        .limit(1)
    )
    # What a fork reads of others is numbered as if it were its own.
    inherited = select(func.max(_l.seq)).where(_l.tenant_id == found.tenant_id, _l.run_id == found.run_id)
    return select(
        found.id,
        found.opened_pos,
        found.result_pos,
        seq.scalar_subquery(),
        func.coalesce(before.scalar_subquery(), inherited.scalar_subquery(), 0),
        found.leave,
        found.ended_at,
    )


async def links(tx: Tx, tenant_id: TenantId, ids: Sequence[EffectId]) -> dict[EffectId, Links]:
    """What these effects lead to, a page of them in one statement: each costs a few looks into ux_effects_id,
    ux_entries_key, ix_approvals_effect and the keys of runs and entries, however long its run is."""
    if not ids:
        return {}
    named = {f"b_{n}": id for n, id in enumerate(ids)}
    return {row[0]: _links(*row[1:]) for row in await tx.all(_links_of(len(ids)), {"b_tenant_id": tenant_id, **named})}


def _links(
    opened_pos: int | None,
    result_pos: int | None,
    seq: int | None,
    after_step: int,
    leave: ApprovalId | None,
    ended_at: int | None,
) -> Links:
    opened_anew = opened_pos is not None and result_pos is not None and opened_pos > result_pos
    return Links(
        run_ended=ended_at is not None,
        step_seq=None if opened_anew else seq,
        opened_pos=opened_pos,
        after_step=None if opened_pos is None else after_step,
        leave=leave,
    )


@dataclass(frozen=True, slots=True)
class EffectFilter:
    """Which effects a list shows, newest first. `before` is the id after which the page starts."""

    status: tuple[EffectStatus, ...] = ()
    tool: str | None = None
    agent: str | None = None
    run_id: RunId | None = None
    before: bytes | None = None
    limit: int = 50


async def page(tx: Tx, tenant_id: TenantId, wanted: EffectFilter) -> list[Effect]:
    """A page of effects. Index ux_effects_id, which has them in order; those of which nobody knows are rare, and have
    one of their own: ix_effects_unknown."""
    where: list[Any] = [_f.tenant_id == tenant_id, _SEEN]
    if wanted.status == (EffectStatus.UNKNOWN,):
        where.append(_IS_UNKNOWN)
    elif wanted.status:
        where.append(_f.status.in_([s.value for s in wanted.status]))
    if wanted.tool is not None:
        where.append(_f.tool == wanted.tool)
    if wanted.agent is not None:
        where.append(_f.agent == wanted.agent)
    if wanted.run_id is not None:
        where.append(_f.run_id == wanted.run_id)
    if wanted.before is not None:
        where.append(_f.id < wanted.before)
    query = select(*_COLUMNS).where(*where).order_by(_f.id.desc()).limit(wanted.limit)
    return [_effect(row) for row in await tx.all(query)]


_TREE = (
    "WITH RECURSIVE tree(id) AS ("
    " SELECT id FROM runs WHERE tenant_id = :tenant_id AND id = :run_id"
    " UNION ALL"
    " SELECT r.id FROM runs r JOIN tree t ON r.parent_id = t.id WHERE r.tenant_id = :tenant_id"
    ") "
)
_STANDS = (
    " WHERE e.tenant_id = :tenant_id AND e.run_id IN (SELECT id FROM tree)"
    " AND e.status IN ('committed', 'compensating', 'compensation_failed') AND e.compensates IS NULL"
)
_BELOW = text(
    f"{_TREE}SELECT {', '.join(f'e.{column.name}' for column in _COLUMNS)}, r.status"
    " FROM effects e JOIN runs r ON r.tenant_id = e.tenant_id AND r.id = e.run_id"
    f"{_STANDS} ORDER BY coalesce(e.started_at, e.ended_at) DESC, e.id DESC"
)
_ANY_BELOW = text(f"{_TREE}SELECT 1 FROM effects e{_STANDS} LIMIT 1")


async def standing_below(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[tuple[Effect, bool]]:
    """What a run and its children have done and not undone, the last first; and whether its run has ended."""
    rows = await tx.all(_BELOW, {"tenant_id": tenant_id, "run_id": run_id})
    return [(_effect(row), RunStatus(row[-1]).ended) for row in rows]


async def committed_below(tx: Tx, tenant_id: TenantId, run_id: RunId) -> bool:
    """Whether a run or its children have done something that is not undone."""
    return await tx.first(_ANY_BELOW, {"tenant_id": tenant_id, "run_id": run_id}) is not None


async def resolve(
    tx: Tx,
    effect: Effect,
    word: Word,
    note: str | None,
    *,
    resumes: bool,
    decision: dict[str, Any] | None = None,
) -> None:
    """A person said what became of it. `resumes`: its run goes on, and does what was not done, under a new key.

    `decision` is kept with the effect, where no question holds it: who said this, and when.

    The caller holds the run's head and read the effect under it.
    """
    rotation: tuple[int, str] | None = None
    match word:
        case "committed":
            after = EffectStatus.COMMITTED
            said = None if note is None and decision is None else {"code": "resolved", "message": note}
        case "not_done":
            after = EffectStatus.PLANNED if resumes else EffectStatus.FAILED
            said = {"code": "not_done", "message": note or "a person said that it was not done"}
            if resumes:
                turned = effect.rotation + 1
                rotation = turned, idempotency_key(effect.tenant_id, effect.run_id, effect.key, turned)
    error = None if said is None else encode(said if decision is None else {**said, "decision": decision})
    op = Settle(key=effect.key, before=(effect.status,), after=after, rotation=rotation, error=error)
    await settle(tx, [(effect.tenant_id, effect.run_id, effect.epoch, op)])
    if after is EffectStatus.COMMITTED and effect.business_key is not None:
        await _keep(tx, effect.tenant_id, effect.run_id, effect.key)
