"""How things stand: what the first page of a control plane shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.ids import DEFAULT_TENANT
from holdfast.domain.runs import NO_USAGE, RunStatus, Usage
from holdfast.service.house import House
from holdfast.store import agents, approvals, effects, overview
from holdfast.store.base import Tx

HOUR_MS: Final = 3_600_000
BY_THE_HOUR_MAX: Final = 48
WIDER_HOURS: Final = 6

LIVE: Final = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)


@dataclass(slots=True)
class Sum:
    """Runs that were created in a stretch of time from `at` (ms UTC) on. `ended`: how many are, by status; children
    count for `usage` only."""

    at: int
    started: int = 0
    ended: dict[RunStatus, int] = field(default_factory=dict[RunStatus, int])
    usage: Usage = NO_USAGE

    def add(self, bucket: overview.Bucket) -> None:
        self.started += bucket.runs
        self.ended[bucket.status] = self.ended.get(bucket.status, 0) + bucket.runs
        self.usage = self.usage + bucket.usage


@dataclass(frozen=True, slots=True)
class Overview:
    """`approvals_pending`, `effects_unknown`: None for who may not read what they count. `more`: the time holds more
    runs than `OVERVIEW_RUNS_MAX`; the newest were counted."""

    live: dict[RunStatus, int]
    total: Sum
    buckets: Sequence[Sum]
    bucket_hours: int
    more: bool
    approvals_pending: int | None
    effects_unknown: int | None
    agents: int
    workers: int


async def get(house: House, principal: Principal, hours: int) -> Overview:
    """How things stand, and what came of the runs of the last `hours`: from full hours (of 6, beyond 48) on, the last
    of which is under way."""
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id
    sees_approvals = access.decide(principal, Scope.APPROVALS_READ).allowed
    sees_effects = access.decide(principal, Scope.EFFECTS_READ).allowed

    async def body(tx: Tx) -> Overview:
        width = 1 if hours <= BY_THE_HOUR_MAX else WIDER_HOURS
        buckets = _empty(tx.now_ms, hours, width)
        total = Sum(buckets[0].at)
        found, counted = await overview.buckets(tx, tenant_id, total.at, width * HOUR_MS)
        for one in found:
            buckets[min(one.number, len(buckets) - 1)].add(one)
            total.add(one)
        return Overview(
            live={status: await overview.live(tx, tenant_id, status) for status in LIVE},
            total=total,
            buckets=buckets,
            bucket_hours=width,
            more=counted > limits.OVERVIEW_RUNS_MAX,
            approvals_pending=await approvals.pending_count(tx, tenant_id) if sees_approvals else None,
            effects_unknown=(await effects.unknown_counts(tx)).get(tenant_id, 0) if sees_effects else None,
            agents=await agents.count(tx, DEFAULT_TENANT),
            workers=sum(w.slots > 0 for w in await agents.workers(tx, seen_within_ms=limits.WORKER_SEEN_MS)),
        )

    return await house.database.read(tenant_id, body)


def _empty(now: int, hours: int, width: int) -> list[Sum]:
    wide = width * HOUR_MS
    count = -(-hours // width)
    first = now - now % wide - (count - 1) * wide
    return [Sum(first + number * wide) for number in range(count)]
