"""Run heads: who owns a run, until when, and the counters that give `pos` and `seq`. The row that everything locks.

Lock order of every transaction in Holdfast: threads by id, then heads by run id, then anything else. Whoever may end
a run locks its thread first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, case, insert, select, update

from holdfast.domain.ids import RunId, TenantId, ThreadId, WorkerId
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_h = schema.run_heads.c
_THIS = (_h.tenant_id == bindparam("b_tenant_id"), _h.run_id == bindparam("b_run_id"))


@dataclass(frozen=True, slots=True)
class Head:
    tenant_id: TenantId
    run_id: RunId
    epoch: int
    pos: int
    seq: int
    owner: WorkerId | None
    lease_until: int | None
    lapses: int
    cancel: bool


_COLUMNS = (_h.tenant_id, _h.run_id, _h.epoch, _h.pos, _h.seq, _h.owner, _h.lease_until, _h.lapses, _h.cancel)


def _head(row: Row) -> Head:
    return Head(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], bool(row[8]))


_INSERT = insert(schema.run_heads).values({c.name: bindparam(c.name) for c in schema.run_heads.c})


async def add(tx: Tx, head: Head) -> None:
    await tx.execute(
        _INSERT,
        {
            "tenant_id": head.tenant_id,
            "run_id": head.run_id,
            "epoch": head.epoch,
            "pos": head.pos,
            "seq": head.seq,
            "owner": head.owner,
            "lease_until": head.lease_until,
            "lapses": head.lapses,
            "cancel": int(head.cancel),
        },
    )


_GET = select(*_COLUMNS).where(*_THIS)
_LOCK = _GET.with_for_update()
_LOCK_THREAD = (
    select(schema.threads.c.id)
    .where(schema.threads.c.tenant_id == bindparam("b_tenant_id"), schema.threads.c.id == bindparam("b_id"))
    .with_for_update()
)


async def get(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Head | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return None if row is None else _head(row)


async def lock(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Head | None:
    """The head, locked until the transaction ends. Read what depends on it in a further statement."""
    row = await tx.first(_LOCK, {"b_tenant_id": tenant_id, "b_run_id": run_id})
    return None if row is None else _head(row)


async def lock_threads(tx: Tx, threads: Iterable[tuple[TenantId, ThreadId]]) -> None:
    """Lock thread rows in id order. A no-op where writers exclude each other anyway."""
    if tx.locks_rows:
        for tenant_id, thread_id in sorted(set(threads), key=lambda t: t[1]):
            await tx.first(_LOCK_THREAD, {"b_tenant_id": tenant_id, "b_id": thread_id})


async def lock_many(tx: Tx, runs: Iterable[tuple[TenantId, RunId]]) -> dict[RunId, Head]:
    """Lock heads in id order; those that exist."""
    wanted = sorted(set(runs), key=lambda r: r[1])
    if not wanted:
        return {}
    rows = await tx.fetch_many(_LOCK, [{"b_tenant_id": t, "b_run_id": r} for t, r in wanted])
    return {row[1]: _head(row) for row in rows}


_LOCK_FREE = _GET.with_for_update(skip_locked=True)


async def lock_free(tx: Tx, runs: Sequence[tuple[TenantId, RunId]]) -> dict[tuple[TenantId, RunId], Head]:
    """Lock those heads that nobody else has locked now (`SKIP LOCKED`), in id order."""
    if not runs:
        return {}
    rows = [{"b_tenant_id": t, "b_run_id": r} for t, r in sorted(runs, key=lambda one: one[1])]
    return {(row[0], row[1]): _head(row) for row in await tx.fetch_many(_LOCK_FREE, rows)}


_TAKE = (
    update(schema.run_heads)
    .where(*_THIS)
    .values(
        epoch=_h.epoch + 1,
        pos=_h.pos + bindparam("b_entries"),
        owner=bindparam("b_owner"),
        lease_until=bindparam("b_lease_until"),
    )
    .returning(_h.epoch, _h.pos, _h.seq)
)


async def take(tx: Tx, head: Head, owner: WorkerId, lease_ms: int, *, entries: int) -> tuple[int, int, int]:
    """Give a locked head to a worker and reserve `entries` positions: the new `(epoch, pos, seq)`."""
    row = await tx.first(
        _TAKE,
        {
            "b_tenant_id": head.tenant_id,
            "b_run_id": head.run_id,
            "b_owner": owner,
            "b_lease_until": tx.now_ms + lease_ms,
            "b_entries": entries,
        },
    )
    assert row is not None
    return row[0], row[1], row[2]


_FREE = (
    update(schema.run_heads)
    .where(*_THIS)
    .values(
        epoch=_h.epoch + bindparam("b_epochs"),
        pos=_h.pos + bindparam("b_entries"),
        owner=None,
        lease_until=None,
        lapses=bindparam("b_lapses"),
    )
    .returning(_h.epoch, _h.pos)
)


async def free(tx: Tx, head: Head, *, fence: bool, entries: int = 0, lapses: int | None = None) -> tuple[int, int]:
    """Take a head from its owner, if it has one. `fence` raises the epoch: always, when the owner did not ask."""
    row = await tx.first(
        _FREE,
        {
            "b_tenant_id": head.tenant_id,
            "b_run_id": head.run_id,
            "b_epochs": int(fence),
            "b_entries": entries,
            "b_lapses": head.lapses if lapses is None else lapses,
        },
    )
    assert row is not None
    return row[0], row[1]


_ADVANCE = (
    update(schema.run_heads)
    .where(*_THIS)
    .values(pos=_h.pos + bindparam("b_entries"), seq=_h.seq + bindparam("b_steps"))
    .returning(_h.pos, _h.seq)
)


async def advance(tx: Tx, head: Head, *, entries: int, steps: int) -> tuple[int, int]:
    """Reserve positions in the journal of a run, whoever owns it: the new `(pos, seq)`. The caller holds its lock."""
    row = await tx.first(
        _ADVANCE,
        {"b_tenant_id": head.tenant_id, "b_run_id": head.run_id, "b_entries": entries, "b_steps": steps},
    )
    assert row is not None
    return row[0], row[1]


_CANCEL = update(schema.run_heads).where(*_THIS).values(cancel=bindparam("b_cancel"))


async def set_cancel(tx: Tx, tenant_id: TenantId, run_id: RunId, cancel: bool) -> None:
    await tx.execute(_CANCEL, {"b_tenant_id": tenant_id, "b_run_id": run_id, "b_cancel": int(cancel)})


_FENCE = (
    update(schema.run_heads)
    .where(*_THIS, _h.epoch == bindparam("b_epoch"), _h.owner.is_not(None))
    .values(
        pos=_h.pos + bindparam("b_entries"),
        seq=_h.seq + bindparam("b_steps"),
        lease_until=bindparam("b_lease_until"),
        lapses=case((bindparam("b_entries") > 0, 0), else_=_h.lapses),
    )
    .returning(_h.tenant_id, _h.run_id, _h.epoch, _h.pos, _h.seq, _h.cancel)
)


async def fence(tx: Tx, rows: Sequence[tuple[TenantId, RunId, int, int, int]], lease_ms: int) -> list[Row]:
    """The fencing token at work: for each `(tenant, run, epoch, entries, steps)` whose head still says running under
    that epoch, advance `pos` and `seq`, renew the lease, and forget lapses if it recorded anything: a call that begins
    once more after each crash is no progress. Rows `(tenant_id, run_id, epoch, pos, seq, cancel)` for those; what is
    missing has another owner now: a batch may hold a zombie beside the owner of its run. `rows` in id order."""
    until = tx.now_ms + lease_ms
    return await tx.fetch_many(
        _FENCE,
        [
            {
                "b_tenant_id": tenant_id,
                "b_run_id": run_id,
                "b_epoch": epoch,
                "b_entries": entries,
                "b_steps": steps,
                "b_lease_until": until,
            }
            for tenant_id, run_id, epoch, entries, steps in rows
        ],
    )


_RENEW = (
    update(schema.run_heads)
    .where(*_THIS, _h.epoch == bindparam("b_epoch"), _h.owner == bindparam("b_owner"))
    .values(lease_until=bindparam("b_lease_until"))
    .returning(_h.run_id, _h.cancel)
)


async def renew(tx: Tx, owner: bytes, held: Sequence[tuple[bytes, bytes, int]], lease_ms: int) -> list[Row]:
    """Extend the leases of `(tenant_id, run_id, epoch)`; rows `(run_id, cancel)` of those still ours."""
    until = tx.now_ms + lease_ms
    rows = [
        {"b_tenant_id": t, "b_run_id": r, "b_epoch": e, "b_owner": owner, "b_lease_until": until}
        for t, r, e in sorted(held, key=lambda h: h[1])
    ]
    return await tx.fetch_many(_RENEW, rows)


_OWNED = select(*_COLUMNS, schema.runs.c.thread_id).select_from(
    schema.run_heads.join(schema.runs, (schema.runs.c.tenant_id == _h.tenant_id) & (schema.runs.c.id == _h.run_id))
)
_LAPSED = (
    _OWNED.where(_h.owner.is_not(None), _h.lease_until < bindparam("b_now"), _h.owner != bindparam("b_except"))
    .order_by(_h.run_id)
    .limit(bindparam("b_limit"))
)
_OF_OWNER = _OWNED.where(_h.owner == bindparam("b_owner")).order_by(_h.run_id).limit(bindparam("b_limit"))
_OWNERS = select(_h.owner).where(_h.owner.is_not(None)).distinct()


async def lapsed(tx: Tx, *, but_not_of: WorkerId, limit: int) -> list[tuple[Head, ThreadId]]:
    """Heads of other owners whose lease has run out. Unlocked: check again under the lock. Index ix_run_heads_owned."""
    rows = await tx.all(_LAPSED, {"b_now": tx.now_ms, "b_except": but_not_of, "b_limit": limit})
    return [(_head(row), row[9]) for row in rows]


async def of_owner(tx: Tx, owner: WorkerId, *, limit: int) -> list[tuple[Head, ThreadId]]:
    rows = await tx.all(_OF_OWNER, {"b_owner": owner, "b_limit": limit})
    return [(_head(row), row[9]) for row in rows]


async def owners(tx: Tx) -> list[WorkerId]:
    return [row[0] for row in await tx.all(_OWNERS)]
