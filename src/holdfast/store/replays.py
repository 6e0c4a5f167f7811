"""Replays that were asked for through the API, and what they found. Kept for `REPLAY_KEEP_MS`."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from holdfast.domain import limits
from holdfast.domain.ids import ReplayId, RunId, TenantId
from holdfast.domain.replays import Mode, StoredReplay
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_p = schema.replays.c
_INSERT = insert(schema.replays).values({c.name: bindparam(c.name) for c in _p})
_THIS = (_p.tenant_id == bindparam("b_tenant_id"), _p.id == bindparam("b_id"))
_STORED = select(
    _p.tenant_id, _p.id, _p.run_id, _p.requested_by, _p.isolation, _p.recorded_version, _p.current_version, _p.result,
    _p.error, _p.created_at, _p.ended_at, _p.mode, _p.made_tenant, _p.made_run,
)  # fmt: skip
_GET = _STORED.where(*_THIS)
_OF_RUN = _STORED.where(_p.tenant_id == bindparam("b_tenant_id"), _p.run_id == bindparam("b_run_id"))
_END = (
    update(schema.replays)
    .where(*_THIS, _p.ended_at.is_(None))
    .values(
        current_version=bindparam("b_version"),
        result=bindparam("b_result"),
        error=bindparam("b_error"),
        ended_at=bindparam("b_now"),
    )
)
_OLD = delete(schema.replays).where(_p.created_at < bindparam("b_before"))


async def add(tx: Tx, replay: StoredReplay) -> None:
    """Keep a replay that begins, and forget those that are old. Index ix_replays_created_at."""
    await tx.execute(_OLD, {"b_before": tx.now_ms - limits.REPLAY_KEEP_MS})
    await tx.execute(
        _INSERT,
        {
            "tenant_id": replay.tenant_id,
            "id": replay.id,
            "run_id": replay.run_id,
            "requested_by": replay.requested_by,
            "isolation": replay.isolation,
            "recorded_version": replay.recorded_version,
            "current_version": replay.current_version,
            "result": replay.result,
            "error": replay.error,
            "created_at": replay.created_at,
            "ended_at": replay.ended_at,
            "mode": replay.mode.value,
            "made_tenant": replay.made_tenant,
            "made_run": replay.made_run,
        },
    )


async def get(tx: Tx, tenant_id: TenantId, replay_id: ReplayId) -> StoredReplay | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_id": replay_id})
    return None if row is None else _stored(row)


async def of_run(tx: Tx, tenant_id: TenantId, run_id: RunId, before: bytes | None, limit: int) -> list[StoredReplay]:
    """The replays of a run, newest first, from behind the id `before` on. Index ix_replays_run."""
    query = _OF_RUN if before is None else _OF_RUN.where(_p.id < before)
    rows = await tx.all(query.order_by(_p.id.desc()).limit(limit), {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return [_stored(row) for row in rows]


def _stored(row: Row) -> StoredReplay:
    *what, mode, made_tenant, made_run = row
    return StoredReplay(*what, mode=Mode(mode), made_tenant=made_tenant, made_run=made_run)


async def end(
    tx: Tx, tenant_id: TenantId, replay_id: ReplayId, version: str, result: bytes | None, error: bytes | None
) -> None:
    """Note what a replay came to: a result, or why there is none."""
    await tx.execute(
        _END,
        {
            "b_tenant_id": tenant_id,
            "b_id": replay_id,
            "b_version": version,
            "b_result": result,
            "b_error": error,
            "b_now": tx.now_ms,
        },
    )
