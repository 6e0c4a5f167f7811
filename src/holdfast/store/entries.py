"""Entries: the journal's rows. Written only by `journal.py`'s batch and by the verbs that change a run's life."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, null, select, text

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
# The type as text: with a parameter the database could not know that the index holds all of these.
_RETRIES = select(_e.pos, _PAYLOAD).select_from(_WITH_BLOB).where(*_OF_RUN, text("entries.type = 'run.retried'"))
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


_UNDOING = (
    select(_e.pos).where(*_OF_RUN, _e.type == EntryType.RUN_COMPENSATING.value, _e.pos < bindparam("b_before")).limit(1)
)


async def undoing_before(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int) -> bool:
    """Whether the run had begun to undo what it did before this entry."""
    where = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_before": pos}
    return await tx.first(_UNDOING, where) is not None


async def voided(tx: Tx, tenant_id: TenantId, run_id: RunId, upto: int | None = None) -> set[tuple[str, int]]:
    """`(key, attempt)` of the steps that a retry, as far as the entry `upto`, declared void (ix_entries_retried)."""
    found: set[tuple[str, int]] = set()
    for pos, payload in await tx.all(_RETRIES, {"b_tenant_id": tenant_id, "b_run_id": run_id}):
        if upto is None or pos <= upto:
            value: dict[str, Any] = decode(payload)
            found.update((key, attempt) for key, attempt in value["voided"])
    return found


async def retries(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[tuple[int, frozenset[str]]]:
    """Where a run was retried (`pos`), in order, and the keys of the steps that this declared void. Index
    ix_entries_retried."""
    rows = await tx.all(_RETRIES, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    found = [(row[0], frozenset(key for key, _ in decode(row[1])["voided"])) for row in rows]
    return sorted(found, key=lambda one: one[0])  # here, or the order would tempt PostgreSQL to another index


def as_voided(entry: Entry) -> Entry:
    return replace(entry, status=StepStatus.VOIDED)


_NEAR = (
    select(_e.pos, _e.seq)
    .where(*_OF_RUN, _e.pos >= bindparam("b_from"), _e.pos <= bindparam("b_to"), _e.seq.is_not(None))
    .order_by(_e.pos)
)
_LAST_BEFORE = (
    select(_e.pos, _e.seq)
    .where(*_OF_RUN, _e.pos < bindparam("b_before"), _e.seq.is_not(None))
    .order_by(_e.pos.desc())
    .limit(1)
)
_WINDOW = 32


async def pos_of_seq(tx: Tx, tenant_id: TenantId, run_id: RunId, seq: int, *, pos_max: int, seq_max: int) -> int:
    """Where a step stands that is known to be there. `pos_max`, `seq_max`: the end of the run, or a place behind it.

    There is no index by `seq`, which every append would pay for. Both numbers are dense and rise together, so the place
    is found by interpolation between what is known: a few small windows, however long the journal is.
    """
    run = {"b_tenant_id": tenant_id, "b_run_id": run_id}
    low_pos, low_seq, high_pos, high_seq = 0, 0, pos_max, seq_max
    while low_pos < high_pos:
        share = (seq - low_seq) / max(1, high_seq - low_seq)
        guess = min(max(low_pos + round(share * (high_pos - low_pos)), low_pos + 1), high_pos)
        first, last = max(low_pos + 1, guess - _WINDOW), min(high_pos, guess + _WINDOW)
        near = await tx.all(_NEAR, {**run, "b_from": first, "b_to": last})
        found = next((row[0] for row in near if row[1] == seq), None)
        if found is not None:
            return found
        before = near[-1] if near else await tx.first(_LAST_BEFORE, {**run, "b_before": first})
        at_pos, at_seq = (int(before[0]), int(before[1])) if before is not None else (0, 0)
        if at_seq < seq:
            low_pos, low_seq = last, at_seq
        elif near:
            high_pos, high_seq = first - 1, int(near[0][1]) - 1
        else:
            high_pos, high_seq = at_pos, at_seq
    raise AssertionError(f"step {seq} is not in the journal of this run")


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


_LAST_RESULTS = _LAST_RESULT.add_columns(_e.run_id)


async def last_results(
    tx: Tx, tenant_id: TenantId, steps: Sequence[tuple[RunId, str]]
) -> dict[tuple[RunId, str], Entry]:
    """What each of these steps recorded last, with its payload; those that recorded nothing are missing."""
    rows = [{"b_tenant_id": tenant_id, "b_run_id": run_id, "b_key": key} for run_id, key in steps]
    found = [(row[-1], _entry(row)) for row in (await tx.fetch_many(_LAST_RESULTS, rows) if rows else ())]
    return {(run_id, entry.key or ""): entry for run_id, entry in found}


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
