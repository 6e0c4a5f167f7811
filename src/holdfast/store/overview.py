"""How many runs there are by status, and what came of those that were created since some time ago.

Ids begin with the time at which they were made, so a stretch of time is a range of the primary key; children have the
time of the run that they were called by. Every count reads at most so many rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, case, func, select

from holdfast.domain import limits
from holdfast.domain.ids import TenantId, first_of
from holdfast.domain.runs import RunStatus, Usage
from holdfast.store import schema
from holdfast.store.base import Tx

_r = schema.runs.c

_LIVE = (
    select(func.count())
    .select_from(
        select(_r.id)
        .where(
            _r.tenant_id == bindparam("b_tenant_id"), _r.status == bindparam("b_status"), _r.parent_id.is_(None)
        )
        .limit(bindparam("b_limit"))
        .subquery()
    )
)  # fmt: skip


async def live(tx: Tx, tenant_id: TenantId, status: RunStatus) -> int:
    """How many runs have this status; children do not count. Index ix_runs_status."""
    where = {"b_tenant_id": tenant_id, "b_status": status.value, "b_limit": limits.OVERVIEW_RUNS_MAX}
    row = await tx.first(_LIVE, where)
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Bucket:
    """Runs of one status that were created in the `number`-th stretch of time, and what those used."""

    number: int
    status: RunStatus
    runs: int
    usage: Usage


_NUMBER = (_r.created_at - bindparam("b_from", type_=BigInteger())) // bindparam("b_width", type_=BigInteger())
_COUNTED = (
    select(
        _NUMBER.label("number"), _r.status, _r.parent_id, _r.usage_requests, _r.usage_input_tokens,
        _r.usage_output_tokens, _r.usage_cost_micros, _r.usage_priced,
    )
    .where(
        _r.tenant_id == bindparam("b_tenant_id"),
        _r.id >= bindparam("b_first"),
        _r.created_at >= bindparam("b_from"),
        _r.imported.is_(None),
        _r.archived.is_(None),
    )
    .order_by(_r.id.desc())
    .limit(bindparam("b_limit"))
    .subquery("counted")
)  # fmt: skip
_c = _COUNTED.c
_BUCKETS = select(
    _c.number, _c.status, func.sum(case((_c.parent_id.is_(None), 1), else_=0)), func.count(),
    func.sum(_c.usage_requests), func.sum(_c.usage_input_tokens), func.sum(_c.usage_output_tokens),
    func.sum(_c.usage_cost_micros), func.min(_c.usage_priced),
).group_by(_c.number, _c.status)  # fmt: skip


async def buckets(tx: Tx, tenant_id: TenantId, begin: int, width_ms: int) -> tuple[list[Bucket], int]:
    """What came of the newest `OVERVIEW_RUNS_MAX` runs since `begin` (ms UTC), by stretches of `width_ms`; and how many
    runs that are, with one more if there are more."""
    where = {
        "b_tenant_id": tenant_id,
        "b_first": first_of(begin - limits.CLOCKS_APART_MS),
        "b_from": begin,
        "b_width": width_ms,
        "b_limit": limits.OVERVIEW_RUNS_MAX + 1,
    }
    rows = await tx.all(_BUCKETS, where)
    found = [
        Bucket(int(r[0]), RunStatus(r[1]), int(r[2]), Usage(int(r[4]), int(r[5]), int(r[6]), int(r[7]), bool(r[8])))
        for r in rows
    ]
    return found, sum(int(row[3]) for row in rows)
