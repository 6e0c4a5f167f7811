"""A run's journal without what may be large in it: enough to say where the run stood, and to compare it with another.

Entries come as `Entry`, payloads only of those that say which steps a retry declared void. A fork's are composed of its
pieces and its own, as `lineage.py` has it. A payload that is wanted after all is read with a bound on its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, case, exists, func, or_, select, text

from holdfast.domain.effects import EffectStatus
from holdfast.domain.encoding import canonical
from holdfast.domain.ids import RunId, TenantId
from holdfast.domain.journal import Entry, EntryType, Phase, StepKind, StepStatus
from holdfast.domain.moments import Payload
from holdfast.domain.runs import Run, Usage
from holdfast.domain.timelines import LIFE, LifeFact, OpenStep, StepFact
from holdfast.store import entries, lineage, schema
from holdfast.store.base import Row, Tx

_e = schema.entries.c
_b = schema.blobs.c
_OF_RUN = (_e.tenant_id == bindparam("b_tenant_id"), _e.run_id == bindparam("b_run_id"))
_LARGE = select(_b.data).where(_b.tenant_id == _e.tenant_id, _b.hash == _e.payload_blob).correlate(schema.entries)
_VOIDS = case((_e.type == EntryType.RUN_RETRIED.value, func.coalesce(_e.payload, _LARGE.scalar_subquery())))
_BARE = (
    select(
        _e.pos, _e.type, _e.at, _e.epoch, _e.seq, _e.phase, _e.key, _e.kind, _e.name, _e.attempt, _e.status, _e.digest,
        _VOIDS, _e.usage_requests, _e.usage_input_tokens,
        _e.usage_output_tokens, _e.usage_cost_micros, _e.usage_priced, _e.started_at, _e.ended_at,
    )
    .where(*_OF_RUN, _e.pos > bindparam("b_after"), _e.pos <= bindparam("b_upto"))
    .order_by(_e.pos)
    .limit(bindparam("b_limit"))
)  # fmt: skip
_BARE_PAGE = 2_500
# Looked up and not called: of 20,000 rows half the time would go into finding the members of enumerations.
_TYPES = {type.value: type for type in EntryType}
_PHASES = {phase.value: phase for phase in Phase}
_KINDS = {kind.value: kind for kind in StepKind}
_STATUSES = {status.value: status for status in StepStatus}


@dataclass(frozen=True, slots=True)
class Piece:
    """Entries that one run wrote, in order."""

    run_id: RunId
    entries: list[Entry]


def _entry(r: Row) -> Entry:
    return Entry(
        pos=r[0],
        type=_TYPES[r[1]],
        at=r[2],
        epoch=r[3],
        seq=r[4],
        phase=_PHASES[r[5]] if r[5] else None,
        key=r[6],
        kind=_KINDS[r[7]] if r[7] else None,
        name=r[8],
        attempt=r[9],
        status=_STATUSES[r[10]] if r[10] else None,
        digest=r[11],
        payload=r[12],
        usage=None if r[13] is None else Usage(r[13], r[14], r[15], r[16], bool(r[17])),
        started_at=r[18],
        ended_at=r[19],
    )


Known = dict[RunId, list[Entry]]
"""What was read of runs so far, from their first own entries on: what two of them share is read once."""


async def upto(tx: Tx, run: Run, pos: int, known: Known | None = None) -> list[Piece]:
    """The run's entries up to `pos`, by who wrote them: those of a fork's pieces first, its own last."""
    known = {} if known is None else known
    found: list[Piece] = []
    after = 0
    for piece in await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ():
        if after < pos:
            found.append(await written_by(tx, run.tenant_id, piece.source_id, after, min(piece.pos, pos), known))
        after = piece.pos
    if after < pos or not found:
        found.append(await written_by(tx, run.tenant_id, run.id, after, pos, known))
    return found


async def written_by(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, upto: int, known: Known) -> Piece:
    """What one run wrote behind the entry `after`, where its own begin, up to `upto`. Read in parts, since a driver may
    make rows of what it receives in the event loop."""
    found = known.setdefault(run_id, [])
    where = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_upto": upto, "b_limit": _BARE_PAGE}
    while (last := found[-1].pos if found else after) < upto:
        rows = await tx.all(_BARE, {**where, "b_after": last})
        found += await tx.compute(_entries, rows)
        if len(rows) < _BARE_PAGE:
            break
    return Piece(run_id, found[: upto - after])  # `pos` is dense


def _entries(rows: Sequence[Row]) -> list[Entry]:
    return [_entry(row) for row in rows]


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
    if len(pieces) == 1:
        return pieces[0].run_id
    return next((p.run_id for p in pieces if p.entries and pos <= p.entries[-1].pos), pieces[-1].run_id)


# -- steps in time ----------------------------------------------------------------------------------------------------

_IS_LIFE = _e.type.in_(sorted(type.value for type in LIFE))
_FACTS = (
    select(
        _e.pos, _e.type, _e.at, case((and_(_e.type == EntryType.RUN_WAITING.value, _FITS), _e.payload)),
        _e.seq, _e.key, _e.kind, _e.name, _e.attempt, _e.tries, _e.status, _e.started_at, _e.ended_at,
        _e.usage_input_tokens, _e.usage_output_tokens, _e.usage_cost_micros,
        case((_e.status == StepStatus.FAILED.value, _e.error)),
    )
    .where(*_OF_RUN, _e.pos > bindparam("b_after"), _e.pos <= bindparam("b_upto"), or_(_e.seq.is_not(None), _IS_LIFE))
    .order_by(_e.pos)
    .limit(bindparam("b_limit"))
)  # fmt: skip
_FACTS_PAGE = 5_000
_WAITS_BYTES_MAX = 32 * 1024


@dataclass(slots=True)
class Facts:
    """What one run did, and what happened to it, between two of its entries."""

    run_id: RunId
    steps: list[StepFact] = field(default_factory=list[StepFact])
    life: list[LifeFact] = field(default_factory=list[LifeFact])


async def facts(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, upto: int) -> Facts:
    """The steps of a run behind its entry `after`, up to `upto`, and the entries of its life. Read in parts, so that a
    driver that makes rows in the event loop never keeps it for long."""
    found = Facts(run_id)
    where = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_upto": upto, "b_bytes_max": _WAITS_BYTES_MAX}
    while after < upto:
        rows = await tx.all(_FACTS, {**where, "b_after": after, "b_limit": _FACTS_PAGE})
        for row in rows:
            if row[4] is None:
                found.life.append(LifeFact(row[1], row[2], row[3]))
            else:
                found.steps.append(StepFact(*row[4:]))
        if len(rows) < _FACTS_PAGE:
            break
        after = rows[-1][0]
    return found


_LIFE_BEFORE = (
    select(_e.type, _e.at, case((and_(_e.type == EntryType.RUN_WAITING.value, _FITS), _e.payload)))
    .where(*_OF_RUN, _e.pos <= bindparam("b_upto"), _IS_LIFE)
    .order_by(_e.pos.desc())
    .limit(1)
)


async def life_before(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int) -> LifeFact | None:
    """What happened to a run last, up to the entry `pos`."""
    where = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_upto": pos, "b_bytes_max": _WAITS_BYTES_MAX}
    row = await tx.first(_LIFE_BEFORE, where)
    return None if row is None else LifeFact(*row)


async def pos_of(tx: Tx, run: Run, seq: int, *, last_seq: int, last_pos: int) -> int:
    """Where the step `seq` of a run stands, whoever wrote it; 0 for 0, and the end for one that is not there yet."""
    if seq == 0:
        return 0
    for piece in await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ():
        if seq <= piece.seq:
            tops = {"pos_max": piece.pos, "seq_max": piece.seq}
            return await entries.pos_of_seq(tx, run.tenant_id, piece.source_id, seq, **tops)
    if seq > last_seq:
        return last_pos
    tops = {"pos_max": last_pos, "seq_max": last_seq}
    return await entries.pos_of_seq(tx, run.tenant_id, run.id, seq, **tops)


_f = schema.effects.c
_RETRIED = select(_e.pos).where(*_OF_RUN, text("entries.type = 'run.retried'"))
_AS_RECORDED = (EffectStatus.PLANNED, EffectStatus.STARTED, EffectStatus.COMMITTED, EffectStatus.FAILED)
_AS_SAID_LATER = (
    select(_f.key, _f.status)
    .where(
        _f.tenant_id == bindparam("b_tenant_id"),
        _f.run_id == bindparam("b_run_id"),
        _f.status.not_in([status.value for status in _AS_RECORDED]),
    )
    .order_by(_f.key)
)
_REVISION_BYTES = 8


async def revision(tx: Tx, tenant_id: TenantId, run_id: RunId, sources: Sequence[RunId]) -> str:
    """What is another one when steps that were told are not as they were: a retry declared some void, an effect came to
    another end than its step. `sources`: the runs whose steps it has besides its own. Indexes ix_entries_retried and
    pk_effects."""
    retried = await tx.all(_RETRIED, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    found: list[Any] = [sorted(row[0] for row in retried)]  # here, or SQLite would walk the run for the order
    for source in (*sources, run_id):
        found.append(await said_later(tx, tenant_id, source))
    return hashlib.blake2b(canonical(found), digest_size=_REVISION_BYTES).hexdigest()


async def said_later(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[tuple[str, str]]:
    """Keys and statuses of a run's effects that may have come to them after their steps. Index pk_effects."""
    rows = await tx.all(_AS_SAID_LATER, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return [(row[0], row[1]) for row in rows]


_result = schema.entries.alias("result").c
_OPENED = (
    select(_e.pos, _e.key, _e.kind, _e.name, _e.attempt, _e.at)
    .where(
        *_OF_RUN,
        _e.key.is_not(None),
        _e.phase == Phase.OPENING.value,
        ~exists().where(
            _result.tenant_id == _e.tenant_id,
            _result.run_id == _e.run_id,
            _result.key == _e.key,
            _result.phase == Phase.RESULT.value,
            _result.attempt >= _e.attempt,
        ),
    )
    .order_by(_e.pos)
)


async def opened(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[OpenStep]:
    """What a run has opened itself and not ended, in order: nothing that a retry declared void, or opens anew. Index
    ux_entries_key."""
    rows = await tx.all(_OPENED, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    retries = await entries.retries(tx, tenant_id, run_id) if rows else []
    last = {row[1]: row for row in rows}
    return [
        OpenStep(key, StepKind(kind), name, attempt, at)
        for pos, key, kind, name, attempt, at in last.values()
        if not any(pos < since and (kind in _OPENED_ANEW or key in voided) for since, voided in retries)
    ]


_OPENED_ANEW = frozenset({StepKind.INTERRUPT.value, StepKind.EVENT.value})
