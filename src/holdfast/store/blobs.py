"""Content-addressed storage, per tenant. A blob is touched in the transaction that refers to it; one that nothing
refers to is collected 24 h after its last touch, so a reference that is about to be committed always finds it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select, text

from holdfast.domain import limits
from holdfast.domain.ids import TenantId, ThreadId
from holdfast.domain.journal import NewBlob
from holdfast.store import schema
from holdfast.store.base import Tx

_PUT = text(
    "INSERT INTO blobs (tenant_id, hash, data, touched_at) VALUES (:tenant_id, :hash, :data, :now)"
    " ON CONFLICT (tenant_id, hash) DO UPDATE SET touched_at = excluded.touched_at"
)
_REFER = text(
    "INSERT INTO blob_refs (tenant_id, hash, thread_id) VALUES (:tenant_id, :hash, :thread_id) ON CONFLICT DO NOTHING"
)
_GET = select(schema.blobs.c.data).where(
    schema.blobs.c.tenant_id == bindparam("b_tenant_id"), schema.blobs.c.hash == bindparam("b_hash")
)
_COLLECT = text(
    "DELETE FROM blobs WHERE touched_at < :before AND NOT EXISTS"
    " (SELECT 1 FROM blob_refs r WHERE r.tenant_id = blobs.tenant_id AND r.hash = blobs.hash)"
)


async def put(tx: Tx, refs: Iterable[tuple[TenantId, ThreadId, NewBlob]]) -> None:
    """Store blobs and record which thread refers to them. In hash order, so that two writers cannot deadlock."""
    ordered = sorted(refs, key=lambda r: (r[0], r[2].hash))
    if ordered:
        new = {(t, b.hash): b.data for t, _, b in ordered if b.data is not None}
        if new:
            rows = [{"tenant_id": t, "hash": h, "data": data, "now": tx.now_ms} for (t, h), data in new.items()]
            await tx.execute_many(_PUT, rows)
        await tx.execute_many(_REFER, [{"tenant_id": t, "hash": b.hash, "thread_id": r} for t, r, b in ordered])


async def get(tx: Tx, tenant_id: TenantId, hash: bytes) -> bytes | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_hash": hash})
    return None if row is None else row[0]


async def collect(tx: Tx) -> int:
    """Delete what nothing has referred to for a day; how many blobs went."""
    return await tx.execute(_COLLECT, {"before": tx.now_ms - limits.BLOB_UNREFERENCED_KEEP_MS})
