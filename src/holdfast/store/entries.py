"""Entries: the journal's rows. Written only by `journal.py`'s batch and by the verbs that change a run's life."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, null, select

from holdfast.domain.encoding import decode
from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, EntryType, NewBlob, NewEntry, Phase, StepKind, StepStatus
from holdfast.domain.limits import PAYLOAD_INLINE_BYTES_MAX
from holdfast.domain.runs import Usage
from holdfast.store import blobs, messages, schema
from holdfast.store.base import Row, Tx

_e = schema.entries.c
_b = schema.blobs.c
_INSERT = insert(schema.entries).values({c.name: bindparam(c.name) for c in _e})
_NO_USAGE = (None, None, None, None, None)


def _row(tenant_id: TenantId, run_id: RunId, pos: int, seq: int | None, epoch: int, entry: NewEntry) -> Row:
    u = entry.usage
    usage = _NO_USAGE if u is None else (u.requests, u.input_tokens, u.output_tokens, u.cost_micros, int(u.priced))
    payload, blob = entry.payload, None
    if payload is not None and len(payload) > PAYLOAD_INLINE_BYTES_MAX:
        blob, payload = _blob_of(payload).hash, None
    return (
        tenant_id, run_id, pos, entry.type.value, entry.at, epoch, seq, entry.phase and entry.phase.value, entry.key,
        entry.kind and entry.kind.value, entry.name, entry.attempt, entry.tries, entry.status and entry.status.value,
        entry.digest, payload, blob, entry.error, entry.prompt, *usage, entry.price_version, entry.started_at,
        entry.ended_at,
    )  # fmt: skip


def _blob_of(payload: bytes) -> NewBlob:
    return NewBlob(hash=hashlib.sha256(payload).digest(), data=payload)


class Batch:
    """Rows of several runs on their way into the journal, collected so that each table is written once."""

    def __init__(self) -> None:
        self._entries: list[Row] = []
        self._messages: list[Row] = []
        self._blobs: list[tuple[TenantId, ThreadId, NewBlob]] = []

    def add(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        thread_id: ThreadId,
        epoch: int,
        pos: int,
        seq: int,
        new: Sequence[NewEntry],
    ) -> None:
        """Place entries at `pos + 1 …`; steps among them get `seq + 1 …`."""
        for entry in new:
            pos += 1
            if entry.is_step:
                seq += 1
            self._entries.append(_row(tenant_id, run_id, pos, seq if entry.is_step else None, epoch, entry))
            if entry.message is not None:
                self._messages.append(messages.row(tenant_id, thread_id, run_id, pos, entry.message))
            if entry.payload is not None and len(entry.payload) > PAYLOAD_INLINE_BYTES_MAX:
                self._blobs.append((tenant_id, thread_id, _blob_of(entry.payload)))
            for blob in entry.blobs:
                self._blobs.append((tenant_id, thread_id, blob))

    async def write(self, tx: Tx) -> None:
        if self._blobs:
            await blobs.put(tx, self._blobs)
        if self._entries:
            await tx.insert_many(_INSERT, self._entries)
        if self._messages:
            await messages.add(tx, self._messages)


async def add(
    tx: Tx,
    tenant_id: TenantId,
    run_id: RunId,
    thread_id: ThreadId,
    *,
    epoch: int,
    pos: int,
    seq: int,
    new: Sequence[NewEntry],
) -> None:
    """Write entries of one run after `pos`. The caller reserved the positions on the run's head."""
    batch = Batch()
    batch.add(tenant_id, run_id, thread_id, epoch, pos, seq, new)
    await batch.write(tx)


_WITH_BLOB = schema.entries.outerjoin(schema.blobs, and_(_b.tenant_id == _e.tenant_id, _b.hash == _e.payload_blob))
_OF_RUN = (_e.tenant_id == bindparam("b_tenant_id"), _e.run_id == bindparam("b_run_id"))
_PAYLOAD = func.coalesce(_e.payload, _b.data)
_COLUMNS = (
    _e.pos, _e.type, _e.at, _e.epoch, _e.seq, _e.phase, _e.key, _e.kind, _e.name, _e.attempt, _e.tries, _e.status,
    _e.digest, _PAYLOAD, _e.error, _e.prompt, _e.usage_requests, _e.usage_input_tokens,
    _e.usage_output_tokens, _e.usage_cost_micros, _e.usage_priced, _e.price_version, _e.started_at, _e.ended_at,
)  # fmt: skip


def _entry(row: Row) -> Entry:
    return Entry(
        row[0],
        EntryType(row[1]),
        row[2],
        row[3],
        row[4],
        Phase(row[5]) if row[5] else None,
        row[6],
        StepKind(row[7]) if row[7] else None,
        row[8],
        row[9],
        row[10],
        StepStatus(row[11]) if row[11] else None,
        row[12],
        row[13],
        row[14],
        row[15],
        None if row[16] is None else Usage(row[16], row[17], row[18], row[19], bool(row[20])),
        row[21],
        row[22],
        row[23],
    )


_AFTER = (
    select(*_COLUMNS)
    .select_from(_WITH_BLOB)
    .where(*_OF_RUN, _e.pos > bindparam("b_after"))
    .order_by(_e.pos)
    .limit(bindparam("b_limit"))
)
_STEPS = (
    select(*_COLUMNS)
    .select_from(_WITH_BLOB)
    .where(*_OF_RUN, _e.seq > bindparam("b_after"))
    .order_by(_e.pos)
    .limit(bindparam("b_limit"))
)
_BARE_STEPS = (
    select(*(null() if c is _PAYLOAD or c is _e.prompt else c for c in _COLUMNS))
    .where(*_OF_RUN, _e.seq > bindparam("b_after"))
    .order_by(_e.pos)
    .limit(bindparam("b_limit"))
)
_STEP = select(*_COLUMNS).select_from(_WITH_BLOB).where(*_OF_RUN, _e.seq == bindparam("b_seq"))
_RETRIES = select(_e.payload).where(*_OF_RUN, _e.type == EntryType.RUN_RETRIED.value)
_AT = select(*_COLUMNS).select_from(_WITH_BLOB).where(*_OF_RUN, _e.pos == bindparam("b_pos"))


async def after(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int, limit: int) -> list[Entry]:
    """Entries behind `pos`, in order."""
    rows = await tx.all(_AFTER, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_after": pos, "b_limit": limit})
    return [_entry(row) for row in rows]


async def at(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int) -> Entry | None:
    row = await tx.first(_AT, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_pos": pos})
    return None if row is None else _entry(row)


async def steps(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, limit: int) -> list[Entry]:
    """Steps behind `seq = after`, in order."""
    rows = await tx.all(_STEPS, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_after": after, "b_limit": limit})
    return [_entry(row) for row in rows]


async def bare_steps(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, limit: int) -> list[Entry]:
    """The same without payloads and prompts, which may be large."""
    rows = await tx.all(_BARE_STEPS, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_after": after, "b_limit": limit})
    return [_entry(row) for row in rows]


async def step(tx: Tx, tenant_id: TenantId, run_id: RunId, seq: int) -> Entry | None:
    row = await tx.first(_STEP, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_seq": seq})
    return None if row is None else _entry(row)


async def voided(tx: Tx, tenant_id: TenantId, run_id: RunId) -> set[tuple[str, int]]:
    """`(key, attempt)` of the steps that a retry declared void."""
    rows = await tx.all(_RETRIES, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    found: set[tuple[str, int]] = set()
    for row in rows:
        value: dict[str, Any] = decode(row[0])
        found.update((key, attempt) for key, attempt in value["voided"])
    return found


_ATTEMPTS = (
    select(_e.attempt)
    .where(*_OF_RUN, _e.key == bindparam("b_key"), _e.phase == Phase.RESULT.value)
    .order_by(_e.attempt)
)


async def of_key(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str) -> list[int]:
    """The attempts that a step has recorded, the last one last."""
    rows = await tx.all(_ATTEMPTS, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key})
    return [row[0] for row in rows]


_LAST_RESULT = (
    select(*_COLUMNS)
    .select_from(_WITH_BLOB)
    .where(*_OF_RUN, _e.key == bindparam("b_key"), _e.phase == Phase.RESULT.value)
    .order_by(_e.attempt.desc())
    .limit(1)
)


async def last_result(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str) -> Entry | None:
    """What a step recorded last, with its payload."""
    row = await tx.first(_LAST_RESULT, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key})
    return None if row is None else _entry(row)


_OPENING = select(*_COLUMNS).select_from(_WITH_BLOB).where(
    *_OF_RUN,
    _e.key == bindparam("b_key"),
    _e.phase == Phase.OPENING.value,
    _e.attempt == bindparam("b_attempt"),
)  # fmt: skip


async def opening(tx: Tx, tenant_id: TenantId, run_id: RunId, key: str, attempt: int) -> Entry | None:
    """What opened a step. Index ux_entries_key."""
    row = await tx.first(_OPENING, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key, "b_attempt": attempt})
    return None if row is None else _entry(row)
