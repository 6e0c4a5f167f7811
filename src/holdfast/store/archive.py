"""Who reads a thread, and what is left of a deleted one because branches read it.

An archived thread is seen by nobody: it keeps the runs up to the last one that a branch leaves, of that one the entries
and messages up to the last that a branch shows, and what steps among those did and asked. All else of it is deleted,
and the rest goes with its last reader. Whoever calls this holds the locks of the thread, its readers and its sources.

A branch names every thread that it reads (`thread_lineage`), also those that it reads through others, and a fork's
journal (`run_lineage`) reads only runs of those threads: so readers are looked for in one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, update

from holdfast.domain.effects import EffectStatus
from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import Phase
from holdfast.store import schema
from holdfast.store.base import Tx

_t = schema.threads.c
_r = schema.runs.c
_e = schema.entries.c
_m = schema.messages.c
_l = schema.thread_lineage.c
_refs = schema.blob_refs.c

Hashes = Callable[[bytes], Iterable[bytes]]
"""Which blobs the stored record of a prompt refers to."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A branch that reads a thread; `archived` if it is itself deleted, and only stands for others that read it."""

    thread_id: ThreadId
    archived: bool


_READERS = (
    select(_l.thread_id, _t.archived_at)
    .select_from(schema.thread_lineage.join(schema.threads, and_(_t.tenant_id == _l.tenant_id, _t.id == _l.thread_id)))
    .where(_l.tenant_id == bindparam("b_tenant_id"), _l.source_id == bindparam("b_id"))
    .distinct()
)
_SOURCES = (
    select(_l.source_id)
    .select_from(schema.thread_lineage.join(schema.threads, and_(_t.tenant_id == _l.tenant_id, _t.id == _l.source_id)))
    .where(_l.tenant_id == bindparam("b_tenant_id"), _l.thread_id == bindparam("b_id"), _t.archived_at.is_not(None))
)


async def readers(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> list[Reader]:
    """The branches that read a thread, at any depth. Index ix_thread_lineage_source."""
    rows = await tx.all(_READERS, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return [Reader(row[0], row[1] is not None) for row in rows]


async def archived_sources(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> list[ThreadId]:
    """The archived threads that a branch reads: they may go with it. Not DISTINCT, for which SQLite would rather go
    through the index by source of a whole tenant."""
    rows = await tx.all(_SOURCES, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return list(dict.fromkeys(row[0] for row in rows))


# -- what is kept -----------------------------------------------------------------------------------------------------

_LAST_READ = (
    select(_r.rank, _l.run_id, func.max(_l.pos))
    .select_from(schema.thread_lineage.join(schema.runs, and_(_r.tenant_id == _l.tenant_id, _r.id == _l.run_id)))
    .where(_l.tenant_id == bindparam("b_tenant_id"), _l.source_id == bindparam("b_id"))
    .group_by(_r.rank, _l.run_id)
    .order_by(_r.rank.desc())
    .limit(1)
)
_OF_THREAD = (_r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_id"))
_RUN_IDS = select(_r.id).where(*_OF_THREAD)
# Behind the last run that is read, and before it what never started. A branch shows the whole of all others.
_UNREAD = or_(_r.rank > bindparam("b_rank"), and_(_r.rank < bindparam("b_rank"), _r.input_position.is_(None)))
_UNREAD_IDS = _RUN_IDS.where(_UNREAD)
_BY_RUN = (schema.entries, schema.effects, schema.approvals, schema.run_lineage, schema.run_heads)
_OF_NO_USE = (schema.run_tags, schema.business_keys, schema.event_waits, schema.event_uses, schema.replays)


def _of_runs(table: Any, ids: Any) -> Any:
    return delete(table).where(table.c.tenant_id == bindparam("b_tenant_id"), table.c.run_id.in_(ids))


# What replays found that made runs of the thread tells of them: it goes with them, and then those runs are missed.
_FOUND = (
    update(schema.replays)
    .where(schema.replays.c.made_tenant == bindparam("b_tenant_id"), schema.replays.c.made_run.in_(_RUN_IDS))
    .values(result=None, error=None, ended_at=None)
)


def _without_result(table: Any) -> Any:
    """Rows of the ledger or the inbox whose step is not among the kept entries."""
    result = exists().where(
        _e.tenant_id == table.c.tenant_id,
        _e.run_id == table.c.run_id,
        _e.key == table.c.key,
        _e.phase == Phase.RESULT.value,
    )
    return _of_runs(table, _RUN_IDS).where(~result)


_IN_THREAD = (_m.tenant_id == bindparam("b_tenant_id"), _m.thread_id == bindparam("b_id"))
_LATER_MESSAGES = delete(schema.messages).where(*_IN_THREAD, _m.run_id.in_(_UNREAD_IDS))
_REST_OF_MESSAGES = delete(schema.messages).where(
    *_IN_THREAD, _m.run_id == bindparam("b_run_id"), _m.pos > bindparam("b_pos")
)
_REST_OF_ENTRIES = delete(schema.entries).where(
    _e.tenant_id == bindparam("b_tenant_id"), _e.run_id == bindparam("b_run_id"), _e.pos > bindparam("b_pos")
)
_DELETIONS = (
    _FOUND,
    _LATER_MESSAGES,
    _REST_OF_MESSAGES,
    *(_of_runs(table, _UNREAD_IDS) for table in _BY_RUN),
    *(_of_runs(table, _RUN_IDS) for table in _OF_NO_USE),
    delete(schema.runs).where(*_OF_THREAD, _UNREAD),
    _REST_OF_ENTRIES,
    _without_result(schema.effects),
    _without_result(schema.approvals),
    # Nobody sees it any more who could say what became of it.
    _of_runs(schema.effects, _RUN_IDS).where(schema.effects.c.status == EffectStatus.UNKNOWN.value),
)
_HIDE_RUNS = (
    update(schema.runs)
    .where(*_OF_THREAD)
    .values(archived=1, external_id=None, metadata=None, tags=None, error=None, cancel_reason=None)
)
_HIDE_THREAD = (
    update(schema.threads)
    .where(_t.tenant_id == bindparam("b_tenant_id"), _t.id == bindparam("b_id"))
    .values(archived_at=func.coalesce(_t.archived_at, bindparam("b_now")), external_id=None, title=None, metadata=None)
)


async def archive(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, hashes: Hashes) -> None:
    """Leave of a thread that has readers what they read, and hide it; again, when one of several readers is gone."""
    this = {"b_tenant_id": tenant_id, "b_id": thread_id}
    last = await tx.first(_LAST_READ, this)
    assert last is not None, "an archived thread is read by somebody"
    params = {**this, "b_rank": last[0], "b_run_id": last[1], "b_pos": last[2]}
    for statement in _DELETIONS:
        await tx.execute(statement, params)
    await tx.execute(_HIDE_RUNS, this)
    await tx.execute(_HIDE_THREAD, {**this, "b_now": tx.now_ms})
    await _let_go_of_blobs(tx, tenant_id, thread_id, hashes)


# -- blobs ------------------------------------------------------------------------------------------------------------

_HELD = select(_refs.hash).where(_refs.tenant_id == bindparam("b_tenant_id"), _refs.thread_id == bindparam("b_id"))
_REFERRING = (
    select(_e.pos, _e.payload_blob, _e.prompt)
    .where(
        _e.tenant_id == bindparam("b_tenant_id"),
        _e.run_id == bindparam("b_run_id"),
        _e.pos > bindparam("b_after"),
        or_(_e.payload_blob.is_not(None), _e.prompt.is_not(None)),
    )
    .order_by(_e.pos)
    .limit(bindparam("b_limit"))
)
_LET_GO = delete(schema.blob_refs).where(
    _refs.tenant_id == bindparam("b_tenant_id"),
    _refs.hash == bindparam("b_hash"),
    _refs.thread_id == bindparam("b_id"),
)
_PAGE = 1_000


async def _let_go_of_blobs(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, hashes: Hashes) -> None:
    this = {"b_tenant_id": tenant_id, "b_id": thread_id}
    held: set[bytes] = {row[0] for row in await tx.all(_HELD, this)}
    for (run_id,) in await tx.all(_RUN_IDS, this) if held else ():
        held -= await _referred(tx, tenant_id, run_id, hashes)
    if held:
        await tx.execute_many(_LET_GO, [{**this, "b_hash": hash} for hash in sorted(held)])


async def _referred(tx: Tx, tenant_id: TenantId, run_id: RunId, hashes: Hashes) -> set[bytes]:
    """What the entries of a run refer to."""
    found: set[bytes] = set()
    after = 0
    while True:
        where = {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_after": after, "b_limit": _PAGE}
        rows = await tx.all(_REFERRING, where)
        for _, blob, prompt in rows:
            found.update(() if blob is None else (blob,))
            found.update(() if prompt is None else hashes(prompt))
        if len(rows) < _PAGE:
            return found
        after = rows[-1][0]


# -- what is removed --------------------------------------------------------------------------------------------------

_REMOVALS = (
    _FOUND,
    *(_of_runs(table, _RUN_IDS) for table in (*_BY_RUN, *_OF_NO_USE)),
    delete(schema.blob_refs).where(_refs.tenant_id == bindparam("b_tenant_id"), _refs.thread_id == bindparam("b_id")),
    delete(schema.messages).where(*_IN_THREAD),
    delete(schema.runs).where(*_OF_THREAD),
    delete(schema.thread_lineage).where(_l.tenant_id == bindparam("b_tenant_id"), _l.thread_id == bindparam("b_id")),
    delete(schema.threads).where(_t.tenant_id == bindparam("b_tenant_id"), _t.id == bindparam("b_id")),
)


async def remove(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> None:
    """Delete a thread with its runs, entries and messages, and what it read of others. The caller saw, under the lock,
    that no run is alive, and that nothing reads the thread."""
    for statement in _REMOVALS:
        await tx.execute(statement, {"b_tenant_id": tenant_id, "b_id": thread_id})
