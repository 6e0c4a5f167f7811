"""Events from outside that runs wait for. Sender and waiter meet under one lock on (tenant, name, key).

An event is kept for 7 days and given to every run that waits for it, once each, the oldest first: it may come before
the wait, twice (its id says so) or late. On PostgreSQL the lock is an advisory one of the transaction; on SQLite a
transaction excludes every other writer anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, text

from holdfast.domain import limits
from holdfast.domain.ids import EventId, PrincipalId, RunId, TenantId
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_v = schema.awaited_events.c
_w = schema.event_waits.c
_u = schema.event_uses.c


@dataclass(frozen=True, slots=True)
class Awaited:
    """An event as stored. `key` is "" without one, `data` JSON, `seq` its place among those of its name and key."""

    tenant_id: TenantId
    id: EventId
    external_id: str | None
    name: str
    key: str
    data: bytes | None
    sent_by: PrincipalId
    seq: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Await:
    """A step begins to wait. Rides in the commit of its opening."""

    step_key: str
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A step waits no more: it took an event, or its time is over. Rides in the commit of its result."""

    step_key: str
    event_id: EventId | None = None


@dataclass(frozen=True, slots=True)
class EventWait:
    """What a parking run waits for: an event that arrived at `since` (ms UTC) or later and that it has not taken."""

    name: str
    key: str
    since: int


_LOCK = text("SELECT pg_advisory_xact_lock(:lock)")


async def lock(tx: Tx, names: Iterable[tuple[TenantId, str, str]]) -> None:
    """Exclude senders and waiters of these until the transaction ends."""
    if tx.locks_rows:
        for number in sorted({_number(*name) for name in names}):
            await tx.first(_LOCK, {"lock": number})


def _number(tenant_id: TenantId, name: str, key: str) -> int:
    digest = hashlib.sha256(b"\x00".join((b"holdfast.event", tenant_id, name.encode(), key.encode()))).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# -- sending ----------------------------------------------------------------------------------------------------------

_INSERT = insert(schema.awaited_events).values({c.name: bindparam(c.name) for c in _v})
_LAST_SEQ = select(func.coalesce(func.max(_v.seq), 0)).where(
    _v.tenant_id == bindparam("b_tenant_id"), _v.name == bindparam("b_name"), _v.key == bindparam("b_key")
)
_COLUMNS = tuple(_v)
_BY_EXTERNAL = select(*_COLUMNS).where(
    _v.tenant_id == bindparam("b_tenant_id"), _v.external_id == bindparam("b_external_id")
)
_BY_ID = select(*_COLUMNS).where(_v.tenant_id == bindparam("b_tenant_id"), _v.id == bindparam("b_id"))
# Sorted by us: asked to, SQLite walks the primary key, through every wait of the tenant.
_WAITERS = select(_w.run_id).where(
    _w.tenant_id == bindparam("b_tenant_id"), _w.name == bindparam("b_name"), _w.key == bindparam("b_key")
)


def _awaited(row: Row) -> Awaited:
    return Awaited(*row)


async def add(tx: Tx, event: Awaited) -> Awaited:
    """Store an event, behind those of its name and key. The caller holds their lock."""
    last = await tx.first(_LAST_SEQ, {"b_tenant_id": event.tenant_id, "b_name": event.name, "b_key": event.key})
    assert last is not None
    seq = int(last[0]) + 1
    row = (
        event.tenant_id, event.id, event.external_id, event.name, event.key, event.data, event.sent_by, seq, tx.now_ms,
    )  # fmt: skip
    await tx.insert_many(_INSERT, [row])
    return _awaited(row)


async def by_external_id(tx: Tx, tenant_id: TenantId, external_id: str) -> Awaited | None:
    row = await tx.first(_BY_EXTERNAL, {"b_tenant_id": tenant_id, "b_external_id": external_id})
    return None if row is None else _awaited(row)


async def get(tx: Tx, tenant_id: TenantId, event_id: EventId) -> Awaited | None:
    row = await tx.first(_BY_ID, {"b_tenant_id": tenant_id, "b_id": event_id})
    return None if row is None else _awaited(row)


async def waiters(tx: Tx, tenant_id: TenantId, name: str, key: str) -> list[RunId]:
    """The runs that wait for this, in id order. Index ix_event_waits_name."""
    rows = await tx.all(_WAITERS, {"b_tenant_id": tenant_id, "b_name": name, "b_key": key})
    return sorted({row[0] for row in rows})


# -- waiting ----------------------------------------------------------------------------------------------------------

_ADD_WAIT = insert(schema.event_waits).values({c.name: bindparam(c.name) for c in _w})
_ADD_USE = insert(schema.event_uses).values({c.name: bindparam(c.name) for c in _u})
_DROP_WAIT = delete(schema.event_waits).where(
    _w.tenant_id == bindparam("b_tenant_id"), _w.run_id == bindparam("b_run_id"), _w.step_key == bindparam("b_step_key")
)
_USED = (
    select(_u.event_id)
    .where(_u.tenant_id == _v.tenant_id, _u.run_id == bindparam("b_run_id"), _u.event_id == _v.id)
    .exists()
)
_OLDEST = (
    select(*_COLUMNS)
    .where(
        _v.tenant_id == bindparam("b_tenant_id"),
        _v.name == bindparam("b_name"),
        _v.key == bindparam("b_key"),
        _v.created_at >= bindparam("b_since"),
        ~_USED,
    )
    .order_by(_v.seq)
    .limit(bindparam("b_limit"))
)


async def note(tx: Tx, placed: Sequence[tuple[TenantId, RunId, Await | Stop]]) -> None:
    """Write beginnings and ends of waits."""
    begun = [(t, r, op.step_key, op.name, op.key) for t, r, op in placed if isinstance(op, Await)]
    ended = [(t, r, op) for t, r, op in placed if isinstance(op, Stop)]
    if begun:
        await tx.insert_many(_ADD_WAIT, begun)
    if ended:
        drop = [{"b_tenant_id": t, "b_run_id": r, "b_step_key": op.step_key} for t, r, op in ended]
        await tx.execute_many(_DROP_WAIT, drop)
        used = [(t, r, op.event_id) for t, r, op in ended if op.event_id is not None]
        if used:
            await tx.insert_many(_ADD_USE, used)


async def note_taken(tx: Tx, tenant_id: TenantId, run_id: RunId, events: Iterable[EventId]) -> None:
    """The run has taken these events, in steps that it shares with others."""
    rows = [(tenant_id, run_id, event_id) for event_id in dict.fromkeys(events)]
    if rows:
        await tx.insert_many(_ADD_USE, rows)


async def oldest(tx: Tx, tenant_id: TenantId, run_id: RunId, wait: EventWait, *, limit: int = 1) -> list[Awaited]:
    """The oldest events that fit a wait and that the run has not taken, in order. Index ux_awaited_events_seq."""
    rows = await tx.all(
        _OLDEST,
        {
            "b_tenant_id": tenant_id,
            "b_run_id": run_id,
            "b_name": wait.name,
            "b_key": wait.key,
            "b_since": wait.since,
            "b_limit": limit,
        },
    )
    return [_awaited(row) for row in rows]


async def any_arrived(tx: Tx, tenant_id: TenantId, run_id: RunId, waits: Sequence[EventWait]) -> bool:
    """Whether something that a run waits for is there. The caller holds the locks of the names."""
    for wait in waits:
        if await oldest(tx, tenant_id, run_id, wait):
            return True
    return False


# -- keeping ----------------------------------------------------------------------------------------------------------

_FORGET_WAITS = delete(schema.event_waits).where(
    _w.tenant_id == bindparam("b_tenant_id"), _w.run_id == bindparam("b_run_id")
)
_EXPIRE = text("DELETE FROM awaited_events WHERE created_at < :before")


async def close(tx: Tx, tenant_id: TenantId, run_id: RunId) -> None:
    """A run ended: it waits for nothing."""
    await tx.execute(_FORGET_WAITS, {"b_tenant_id": tenant_id, "b_run_id": run_id})


async def expire(tx: Tx) -> int:
    """Delete events older than 7 days; how many. Index ix_awaited_events_created_at."""
    return await tx.execute(_EXPIRE, {"before": tx.now_ms - limits.EVENT_KEEP_MS})
