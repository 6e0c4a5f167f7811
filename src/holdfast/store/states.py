"""The state that threads publish, as the journal holds it: changes that are steps of kind `state`.

Invariant: a run that has such a step, and was not rolled back, says so in `has_state` from the same commit on. So the
state at the start of a run is that of the last run before it that says so, and nobody looks through journals for it.
A branch goes on from what the run it leaves had published there, which `before` and `upto` follow through its lineage.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, func, select, text, update

from holdfast.domain import states
from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import StepStatus
from holdfast.domain.runs import Run
from holdfast.domain.states import NEVER, NOTHING, Published
from holdfast.store import lineage, runs, schema
from holdfast.store.base import Tx

_e = schema.entries.c
_b = schema.blobs.c
_r = schema.runs.c
_FROM = schema.entries.outerjoin(schema.blobs, and_(_b.tenant_id == _e.tenant_id, _b.hash == _e.payload_blob))


@dataclass(frozen=True, slots=True)
class Publish:
    """The run's first change of its thread's state is written: an op of its append."""


_THIS = (_r.tenant_id == bindparam("b_tenant_id"), _r.id == bindparam("b_id"))
_MARK = update(schema.runs).where(*_THIS).values(has_state=1)
_UNMARK = update(schema.runs).where(*_THIS).values(has_state=None)


async def mark(tx: Tx, tenant_id: TenantId, run_id: RunId) -> None:
    """The run has published state."""
    await tx.execute(_MARK, {"b_tenant_id": tenant_id, "b_id": run_id})


async def unmark(tx: Tx, tenant_id: TenantId, run_id: RunId) -> None:
    """What the run published counts no more: it was rolled back."""
    await tx.execute(_UNMARK, {"b_tenant_id": tenant_id, "b_id": run_id})


# The condition on `kind` is written out: a partial index serves no parameter.
_CHANGES = (
    select(_e.seq, func.coalesce(_e.payload, _b.data))
    .select_from(_FROM)
    .where(
        _e.tenant_id == bindparam("b_tenant_id"),
        _e.run_id == bindparam("b_run_id"),
        _e.pos <= bindparam("b_pos"),
        text("entries.kind = 'state'"),
        _e.status == StepStatus.SUCCEEDED.value,
    )
    .order_by(_e.pos.desc())
    .limit(states.SNAPSHOT_EVERY)
)


async def written(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int) -> Published | None:
    """What a run's own entries up to `pos` made of the state, if any did. Index ix_entries_state.

    So few are enough: a run's first change is a snapshot, and of any so many in a row one is.
    """
    rows = await tx.all(_CHANGES, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_pos": pos})
    if not rows:
        return None
    changes = [states.read(row[1]) for row in reversed(rows)]
    return Published(states.replayed(NOTHING, changes), run_id, rows[0][0])


_END = 2**62


async def upto(tx: Tx, run: Run, pos: int = _END) -> Published:
    """A thread's state as it was right after the entry `pos` of a run, whose journal may begin in others'."""
    own = await written(tx, run.tenant_id, run.id, pos)
    if own is not None:
        return own
    pieces = await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ()
    for piece in reversed(pieces):
        found = await written(tx, run.tenant_id, piece.source_id, min(pos, piece.pos))
        if found is not None:
            return found
    return await before(tx, run)


_LAST = (
    select(_r.id)
    .where(
        _r.tenant_id == bindparam("b_tenant_id"),
        _r.thread_id == bindparam("b_thread_id"),
        _r.rank < bindparam("b_rank"),
        _r.has_state.is_not(None),
    )
    .order_by(_r.rank.desc())
    .limit(1)
)


async def last_run(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, rank: int = _END) -> Run | None:
    """The last run of a thread, before a rank, that left state to it. Index ix_runs_thread_state."""
    row = await tx.first(_LAST, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_rank": rank})
    return None if row is None else await runs.get(tx, tenant_id, row[0])


async def before(tx: Tx, run: Run) -> Published:
    """The state with which a run begins: what the last run before it left, in its thread or where that branches off.

    A fork begins as the run did whose input it has.
    """
    if run.input_run is not None:
        first = await runs.get(tx, run.tenant_id, run.input_run)
        assert first is not None, "a run that a fork reads is not deleted"
        return await before(tx, first)
    return await _left(tx, run.tenant_id, run.thread_id, run.rank)


async def of_thread(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> Published:
    """A thread's state as it stands."""
    return await _left(tx, tenant_id, thread_id, _END)


async def _left(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, rank: int) -> Published:
    last = await last_run(tx, tenant_id, thread_id, rank)
    if last is not None:
        return await upto(tx, last)
    pieces = await lineage.of_thread(tx, tenant_id, thread_id)
    if not pieces:
        return NEVER
    source = await runs.get(tx, tenant_id, pieces[-1].run_id)
    assert source is not None, "a run that a branch reads is not deleted"
    return await upto(tx, source, pieces[-1].pos)
