"""A run's journal without what may be large in it: enough to say where the run stood, and to compare it with another.

Entries come as `Entry`, payloads only of those that say which steps a retry declared void. A fork's are composed of its
pieces and its own, as `lineage.py` has it. A payload that is wanted after all is read with a bound on its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, case, func, select

from holdfast.domain.ids import RunId, TenantId
from holdfast.domain.journal import Entry, EntryType, Phase, StepKind, StepStatus
from holdfast.domain.moments import Payload
from holdfast.domain.runs import Run, Usage
from holdfast.store import entries, lineage, schema
from holdfast.store.base import Row, Tx

_e = schema.entries.c
_b = schema.blobs.c
_OF_RUN = (_e.tenant_id == bindparam("b_tenant_id"), _e.run_id == bindparam("b_run_id"))
_BARE = (
    select(
        _e.pos, _e.type, _e.at, _e.epoch, _e.seq, _e.phase, _e.key, _e.kind, _e.name, _e.attempt, _e.status, _e.digest,
        case((_e.type == EntryType.RUN_RETRIED.value, _e.payload)), _e.usage_requests, _e.usage_input_tokens,
        _e.usage_output_tokens, _e.usage_cost_micros, _e.usage_priced, _e.started_at, _e.ended_at,
    )
    .where(*_OF_RUN, _e.pos > bindparam("b_after"), _e.pos <= bindparam("b_upto"))
    .order_by(_e.pos)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """Entries that one run wrote, in order."""

    run_id: RunId
    entries: list[Entry]


def _entry(r: Row) -> Entry:
    return Entry(
        pos=r[0],
        type=EntryType(r[1]),
        at=r[2],
        epoch=r[3],
        seq=r[4],
        phase=Phase(r[5]) if r[5] else None,
        key=r[6],
        kind=StepKind(r[7]) if r[7] else None,
        name=r[8],
        attempt=r[9],
        status=StepStatus(r[10]) if r[10] else None,
        digest=r[11],
        payload=r[12],
        usage=None if r[13] is None else Usage(r[13], r[14], r[15], r[16], bool(r[17])),
        started_at=r[18],
        ended_at=r[19],
    )


async def upto(tx: Tx, run: Run, pos: int) -> list[Piece]:
    """The run's entries up to `pos`, by who wrote them: those of a fork's pieces first, its own last."""
    found: list[Piece] = []
    after = 0
    for piece in await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ():
        if after < pos:
            found.append(await written_by(tx, run.tenant_id, piece.source_id, after, min(piece.pos, pos)))
        after = piece.pos
    if after < pos or not found:
        found.append(await written_by(tx, run.tenant_id, run.id, after, pos))
    return found


async def written_by(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, upto: int) -> Piece:
    """What one run wrote behind the entry `after`, up to `upto`."""
    rows = await tx.all(_BARE, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_after": after, "b_upto": upto})
    return Piece(run_id, [_entry(row) for row in rows])


async def end_of(tx: Tx, run: Run, seq: int, *, last_seq: int, last_pos: int) -> int:
    """The last entry before the step behind `seq` was recorded: the moment at which step `seq` is the last one."""
    if seq >= last_seq:
        return last_pos
    for piece in await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ():
        if seq + 1 <= piece.seq:
            tops = {"pos_max": piece.pos, "seq_max": piece.seq}
            return await entries.pos_of_seq(tx, run.tenant_id, piece.source_id, seq + 1, **tops) - 1
    tops = {"pos_max": last_pos, "seq_max": last_seq}
    return await entries.pos_of_seq(tx, run.tenant_id, run.id, seq + 1, **tops) - 1


# -- payloads, bounded ------------------------------------------------------------------------------------------------


_FITS = func.length(_e.payload) <= bindparam("b_bytes_max")
_SHORT = (
    _e.pos, case((_FITS, _e.payload)), _e.payload_blob, func.length(_e.payload), _e.error,
    case((_e.kind == StepKind.MODEL.value, _e.prompt)),
)  # fmt: skip
_ONE = select(*_SHORT).where(*_OF_RUN, _e.pos == bindparam("b_pos"))
_RANGE = select(*_SHORT).where(*_OF_RUN, _e.pos >= bindparam("b_first"), _e.pos <= bindparam("b_last"))
_SPARSE = 4


def _payload(row: Row) -> Payload:
    _, data, hash, length, error, prompt = row
    return Payload(data, hash, data is None and (hash is not None or length is not None), error, prompt)


async def payloads(
    tx: Tx, tenant_id: TenantId, run_id: RunId, positions: Sequence[int], bytes_max: int
) -> dict[int, Payload]:
    """What these entries of one run recorded, each at most `bytes_max` bytes."""
    if not positions:
        return {}
    where = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_bytes_max": bytes_max}
    first, last = min(positions), max(positions)
    if last - first < _SPARSE * len(positions):
        rows = await tx.all(_RANGE, {**where, "b_first": first, "b_last": last})
    else:
        rows = await tx.fetch_many(_ONE, [{**where, "b_pos": pos} for pos in positions])
    wanted = frozenset(positions)
    return {row[0]: _payload(row) for row in rows if row[0] in wanted}


_WHOLE = (
    select(func.coalesce(_e.payload, _b.data))
    .select_from(schema.entries.outerjoin(schema.blobs, and_(_b.tenant_id == _e.tenant_id, _b.hash == _e.payload_blob)))
    .where(*_OF_RUN, _e.pos == bindparam("b_pos"))
)


async def payload(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int) -> bytes | None:
    """What one entry recorded, whole."""
    row = await tx.first(_WHOLE, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_pos": pos})
    return None if row is None else row[0]


def writer_of(pieces: Sequence[Piece], pos: int) -> RunId:
    """Which run wrote the entry `pos` of these pieces."""
    return next((p.run_id for p in pieces if p.entries and pos <= p.entries[-1].pos), pieces[-1].run_id)
