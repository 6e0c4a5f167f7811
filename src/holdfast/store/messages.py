"""Messages: where each message of a thread lives. The content is the payload of its entry, one copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from holdfast.domain.ids import MessageId, RunId, TenantId, ThreadId
from holdfast.domain.journal import NewMessage
from holdfast.domain.threads import Message, Role
from holdfast.store import schema
from holdfast.store.base import Row, Tx


@dataclass(frozen=True, slots=True)
class ThreadPiece:
    """Messages of the thread `source_id` up to the position `last`; of those from `first` on only the ones that
    `run_id` wrote up to its entry `pos`. Whether that run was rolled back later is no matter to a branch."""

    source_id: ThreadId
    run_id: RunId
    first: int
    pos: int
    last: int


Pieces = Sequence[ThreadPiece]
"""What a thread reads of others, from the root on: nothing unless it is a branch."""

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


async def last_position(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, pieces: Pieces = ()) -> int:
    found = await tx.first(_LAST, {"b_tenant_id": tenant_id, "b_thread_id": thread_id})
    own: int = (found[0] or 0) if found else 0
    return max(own, pieces[-1].last) if pieces else own


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


# What a piece shows of its source. A message of the run at which the branch leaves counts even if it is void by now.
_HERS = _m.run_id == bindparam("b_run_id")
_SHOWN = or_(_m.void == 0, _HERS)
_PIECE = (
    *_THREAD,
    _m.position <= bindparam("b_last"),
    or_(_m.position < bindparam("b_first"), and_(_HERS, _m.pos <= bindparam("b_pos"))),
)
_WHOLE = (_m.void == 0,)


def _after(*where: Any) -> Any:
    return (
        select(*_COLUMNS)
        .select_from(_FROM)
        .where(*where, _m.position > bindparam("b_after"))
        .order_by(_m.position)
        .limit(bindparam("b_limit"))
    )


def _backwards(*where: Any) -> Any:
    return (
        select(*_COLUMNS)
        .select_from(_FROM)
        .where(*where, _m.position < bindparam("b_before"))
        .order_by(_m.position.desc())
        .limit(bindparam("b_limit"))
    )


def _range(*where: Any) -> Any:
    return (
        select(*_COLUMNS)
        .select_from(_FROM)
        .where(*where, _m.position >= bindparam("b_from"), _m.position <= bindparam("b_to"))
        .order_by(_m.position)
    )


def _turns(*where: Any) -> Any:
    return (
        select(_m.position)
        .where(*where, _m.position < bindparam("b_before"), _m.role == Role.USER.value, _m.pos == 1)
        .order_by(_m.position.desc())
        .limit(bindparam("b_limit"))
    )


_AFTER, _PIECE_AFTER = _after(*_THREAD), _after(*_PIECE)
_BACKWARDS, _PIECE_BACKWARDS = _backwards(*_THREAD, *_WHOLE), _backwards(*_PIECE, _SHOWN)
_BACK, _PIECE_BACK = _backwards(*_THREAD), _backwards(*_PIECE)
_RANGE, _PIECE_RANGE = _range(*_THREAD, *_WHOLE), _range(*_PIECE, _SHOWN)
_TURNS, _PIECE_TURNS = _turns(*_THREAD, *_WHOLE), _turns(*_PIECE, _SHOWN)


def _at(tenant_id: TenantId, piece: ThreadPiece) -> dict[str, Any]:
    return {
        "b_tenant_id": tenant_id,
        "b_thread_id": piece.source_id,
        "b_run_id": piece.run_id,
        "b_first": piece.first,
        "b_pos": piece.pos,
        "b_last": piece.last,
    }


def _shown(piece: ThreadPiece, rows: Sequence[Row]) -> list[Message]:
    found = [_message(row) for row in rows]
    return [replace(m, void=False) if m.void and m.run_id == piece.run_id else m for m in found]


async def page(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, after: int, limit: int, pieces: Pieces = ()
) -> list[Message]:
    """Messages behind `position = after`, oldest first, void ones too."""
    found: list[Message] = []
    for piece in pieces:
        if piece.last > after and len(found) < limit:
            where = {**_at(tenant_id, piece), "b_after": after, "b_limit": limit - len(found)}
            found += _shown(piece, await tx.all(_PIECE_AFTER, where))
    if len(found) < limit:
        where = {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_after": after, "b_limit": limit - len(found)}
        found += [_message(r) for r in await tx.all(_AFTER, where)]
    return found


async def page_back(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, before: int, limit: int, pieces: Pieces = ()
) -> list[Message]:
    """Messages before a position, newest first, void ones too."""
    where: dict[str, Any] = {
        "b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_before": before, "b_limit": limit,
    }  # fmt: skip
    found = [_message(r) for r in await tx.all(_BACK, where)]
    for piece in reversed(pieces):
        if len(found) == limit:
            break
        where = {**_at(tenant_id, piece), "b_before": before, "b_limit": limit - len(found)}
        found += _shown(piece, await tx.all(_PIECE_BACK, where))
    return found


async def backwards(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, before: int, limit: int, pieces: Pieces = ()
) -> list[Message]:
    """Messages before a position, newest first, void ones left out."""
    where: dict[str, Any] = {
        "b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_before": before, "b_limit": limit,
    }  # fmt: skip
    found = [_message(r) for r in await tx.all(_BACKWARDS, where)]
    for piece in reversed(pieces):
        if len(found) == limit:
            break
        where = {**_at(tenant_id, piece), "b_before": before, "b_limit": limit - len(found)}
        found += _shown(piece, await tx.all(_PIECE_BACKWARDS, where))
    return found


async def between(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, first: int, last: int, pieces: Pieces = ()
) -> list[Message]:
    """Messages from `first` to `last`, both included, void ones left out."""
    found: list[Message] = []
    for piece in pieces:
        if piece.last >= first:
            rows = await tx.all(_PIECE_RANGE, {**_at(tenant_id, piece), "b_from": first, "b_to": last})
            found += _shown(piece, rows)
    where = {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_from": first, "b_to": last}
    return [*found, *(_message(r) for r in await tx.all(_RANGE, where))]


async def turn_start(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, before: int, turns: int, pieces: Pieces = ()
) -> int | None:
    """The position at which the last `turns` turns before a position begin. A turn begins with a run's input."""
    where: dict[str, Any] = {"b_tenant_id": tenant_id, "b_thread_id": thread_id}
    found = await tx.all(_TURNS, {**where, "b_before": before, "b_limit": turns})
    for piece in reversed(pieces):
        if len(found) == turns:
            break
        where = {**_at(tenant_id, piece), "b_before": before, "b_limit": turns - len(found)}
        found = [*found, *await tx.all(_PIECE_TURNS, where)]
    return found[-1][0] if len(found) == turns else None


_NAMED = select(_m.run_id, _m.pos, _e.seq, _m.role).select_from(_FROM)
_BY_ID = _NAMED.where(*_THREAD, _m.id == bindparam("b_id"))
_PIECE_BY_ID = _NAMED.where(*_PIECE, _m.id == bindparam("b_id"))


@dataclass(frozen=True, slots=True)
class Written:
    """Who wrote a message, and where: the run, its entry, and the step that this is if it is one."""

    run_id: RunId
    pos: int
    seq: int | None
    role: Role


async def by_id(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, id: MessageId, pieces: Pieces = ()) -> Written | None:
    """A message of a thread. Reads the thread's keys: there is no index by id, which every message would pay for."""
    row = await tx.first(_BY_ID, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_id": id})
    for piece in reversed(pieces):
        if row is None:
            row = await tx.first(_PIECE_BY_ID, {**_at(tenant_id, piece), "b_id": id})
    return None if row is None else Written(row[0], row[1], row[2], Role(row[3]))


# The last message of the thread that a branch keeps of the run at which it leaves. Positions rise at most as fast as
# entries, which bounds the range.
_LAST_OF_RUN = (
    select(_m.position)
    .where(
        *_THREAD,
        _m.position >= bindparam("b_first"),
        _m.position < bindparam("b_first") + bindparam("b_pos"),
        _HERS,
        _m.pos <= bindparam("b_pos"),
    )
    .order_by(_m.position.desc())
    .limit(1)
)


async def last_of_run(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, run_id: RunId, first: int, pos: int
) -> int | None:
    """The position of the last message that a run, whose messages begin at `first`, wrote up to its entry `pos`."""
    row = await tx.first(
        _LAST_OF_RUN,
        {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_run_id": run_id, "b_first": first, "b_pos": pos},
    )
    return None if row is None else row[0]


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
