"""Messages: where each message of a thread lives. The content is the payload of its entry, one copy."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, func, insert, select, update

from holdfast.domain.ids import MessageId, RunId, TenantId, ThreadId
from holdfast.domain.journal import NewMessage
from holdfast.domain.threads import Message, Role
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_m = schema.messages.c
_e = schema.entries.c
_b = schema.blobs.c
_INSERT = insert(schema.messages).values({c.name: bindparam(c.name) for c in _m})


def row(tenant_id: TenantId, thread_id: ThreadId, run_id: RunId, pos: int, message: NewMessage) -> Row:
    return (tenant_id, thread_id, message.position, message.id, run_id, pos, message.role.value, 0)


async def add(tx: Tx, rows: list[Row]) -> None:
    await tx.insert_many(_INSERT, rows)


_THREAD = (_m.tenant_id == bindparam("b_tenant_id"), _m.thread_id == bindparam("b_thread_id"))
_LAST = select(func.max(_m.position)).where(*_THREAD)


async def last_position(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> int:
    found = await tx.first(_LAST, {"b_tenant_id": tenant_id, "b_thread_id": thread_id})
    return (found[0] or 0) if found else 0


_FROM = schema.messages.join(
    schema.entries, and_(_e.tenant_id == _m.tenant_id, _e.run_id == _m.run_id, _e.pos == _m.pos)
).outerjoin(schema.blobs, and_(_b.tenant_id == _e.tenant_id, _b.hash == _e.payload_blob))
_COLUMNS = (
    _m.tenant_id, _m.thread_id, _m.position, _m.id, _m.run_id, _m.pos, _e.seq, _m.role, _m.void, _e.kind, _e.name,
    _e.status, _e.at, func.coalesce(_e.payload, _b.data), _e.error,
)  # fmt: skip


def _message(r: Row) -> Message:
    return Message(
        r[0], r[1], r[2], r[3], r[4], r[5], r[6], Role(r[7]), bool(r[8]), r[9], r[10], r[11], r[12], r[13] or b"null",
        r[14],
    )  # fmt: skip


_AFTER = (
    select(*_COLUMNS)
    .select_from(_FROM)
    .where(*_THREAD, _m.position > bindparam("b_after"))
    .order_by(_m.position)
    .limit(bindparam("b_limit"))
)
_BACKWARDS = (
    select(*_COLUMNS)
    .select_from(_FROM)
    .where(*_THREAD, _m.position < bindparam("b_before"), _m.void == 0)
    .order_by(_m.position.desc())
    .limit(bindparam("b_limit"))
)
_RANGE = (
    select(*_COLUMNS)
    .select_from(_FROM)
    .where(*_THREAD, _m.position >= bindparam("b_first"), _m.position <= bindparam("b_last"), _m.void == 0)
    .order_by(_m.position)
)
_NTH_USER = (
    select(_m.position)
    .where(*_THREAD, _m.position < bindparam("b_before"), _m.role == Role.USER.value, _m.void == 0, _m.pos == 1)
    .order_by(_m.position.desc())
    .limit(1)
    .offset(bindparam("b_skip"))
)


async def page(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, after: int, limit: int) -> list[Message]:
    """Messages behind `position = after`, oldest first, void ones too."""
    rows = await tx.all(
        _AFTER, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_after": after, "b_limit": limit}
    )
    return [_message(r) for r in rows]


async def backwards(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, before: int, limit: int) -> list[Message]:
    """Messages before a position, newest first, void ones left out."""
    rows = await tx.all(
        _BACKWARDS, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_before": before, "b_limit": limit}
    )
    return [_message(r) for r in rows]


async def between(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, first: int, last: int) -> list[Message]:
    """Messages from `first` to `last`, both included, void ones left out."""
    rows = await tx.all(_RANGE, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_first": first, "b_last": last})
    return [_message(r) for r in rows]


async def turn_start(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, before: int, turns: int) -> int | None:
    """The position at which the last `turns` turns before a position begin. A turn begins with a run's input."""
    found = await tx.first(
        _NTH_USER,
        {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_before": before, "b_skip": turns - 1},
    )
    return found[0] if found else None


# A run holds its thread, so its messages stand together from its input on, and are at most as many as its entries: that
# bounds the range on the thread's own key, without an index by run.
_r = schema.runs.c
_h = schema.run_heads.c
_RUN = select(_r.input_position).where(_r.tenant_id == bindparam("b_tenant_id"), _r.id == bindparam("b_run_id"))
_ENTRIES = select(_h.pos).where(_h.tenant_id == bindparam("b_tenant_id"), _h.run_id == bindparam("b_run_id"))
_FIRST = _RUN.scalar_subquery()
_OF_RUN = (
    *_THREAD,
    _m.position >= _FIRST,
    _m.position <= _FIRST + _ENTRIES.scalar_subquery(),
    _m.run_id == bindparam("b_run_id"),
)
_HIDE = update(schema.messages).where(*_OF_RUN).values(void=1)
_PLACES = select(_m.pos, _m.position).where(*_OF_RUN)
_IDS = select(_m.pos, _m.id, _m.role).where(*_OF_RUN, _m.pos >= bindparam("b_from"), _m.pos <= bindparam("b_to"))


async def hide_run(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, run_id: RunId) -> None:
    """Declare a rolled-back run's messages void: shown as such, never sent to a model again."""
    await tx.execute(_HIDE, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_run_id": run_id})


async def positions_of_run(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, run_id: RunId) -> dict[int, int]:
    """Where the run's entries stand among the thread's messages: `pos` → `position`."""
    rows = await tx.all(_PLACES, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_run_id": run_id})
    return {row[0]: row[1] for row in rows}


async def ids_of_run(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, run_id: RunId, first: int, last: int
) -> dict[int, tuple[MessageId, Role]]:
    """Which of a run's entries from `pos` first to last are messages."""
    where = {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_run_id": run_id, "b_from": first, "b_to": last}
    return {row[0]: (row[1], Role(row[2])) for row in await tx.all(_IDS, where)}
