"""How a process and its database are: for probes, for operators, for Prometheus. The runtime tells its part itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from holdfast import _version
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.errors import HoldfastError
from holdfast.domain.ids import TenantId
from holdfast.domain.runs import RunStatus
from holdfast.service.house import House
from holdfast.store import agents, approvals, effects, runs
from holdfast.store.base import Tx

RUNTIME = "runtime"
COUNTS_KEPT_MS = 10_000
SCHEMA_KEPT_MS = 30_000
UNREADABLE = "the schema's revision cannot be read"
FEATURES = (
    "agents",
    "approvals",
    "awaited_events",
    "changes",
    "effects",
    "events",
    "idempotency",
    "prompts",
    "retry",
    "runs",
    "threads",
)


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """What the runtime of this process knows of itself. Counters begin at its start.

    `slots`, `slots_free`: runs that may move at once. `executors`: runs claimed here. `stuck`: their code does not
    unwind. `backlog`: appends that wait for the journal. `threads_abandoned`: sync calls that never returned.
    """

    slots: int = 0
    slots_free: int = 0
    executors: int = 0
    stuck: int = 0
    backlog: int = 0
    threads_abandoned: int = 0
    claims_total: int = 0
    recovered_total: int = 0
    draining: bool = False


@runtime_checkable
class RuntimeStats(Protocol):
    """Put one as `house.features["runtime"]`; an API process without a runtime has none."""

    def facts(self) -> RuntimeFacts: ...


def runtime_of(house: House) -> RuntimeFacts | None:
    stats = house.features.get(RUNTIME)
    return stats.facts() if isinstance(stats, RuntimeStats) else None


# -- readiness ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Readiness:
    """`checks` says of each what is wrong, or "ok"."""

    checks: dict[str, str]

    @property
    def ready(self) -> bool:
        return all(said == "ok" for said in self.checks.values())


@dataclass(slots=True)
class Probe:
    """Answers probes; what is costly to ask is kept for a while."""

    house: House
    _schema: tuple[float, str] | None = None
    _counts: dict[TenantId, tuple[float, dict[RunStatus, int]]] = field(
        default_factory=dict[TenantId, tuple[float, dict[RunStatus, int]]]
    )

    async def readiness(self) -> Readiness:
        """Whether this process can serve: the database answers, its schema fits, and it is not about to stop."""
        database = await self._database()
        checks = {"database": database}
        if database == "ok":
            checks["migrations"] = await self._migrations()
        checks["capacity"] = self._capacity()
        return Readiness(checks)

    async def _database(self) -> str:
        async def body(tx: Tx) -> int:
            return tx.now_ms

        try:
            async with asyncio.timeout(limits.STORE_WAIT_MS / 1000):
                await self.house.database.read(None, body)
        except (HoldfastError, TimeoutError):
            return "the database does not answer"
        return "ok"

    async def _migrations(self) -> str:
        now = self.house.determinism.monotonic_ms()
        if self._schema is not None and now - self._schema[0] <= SCHEMA_KEPT_MS:
            return self._schema[1]
        found = await self._schema_state()
        # What could not be read is asked again: a database that is back would else be said to be away for a while.
        self._schema = None if found == UNREADABLE else (now, found)
        return found

    async def _schema_state(self) -> str:
        from holdfast.store import migrate  # brings Alembic, which most processes have loaded at start and some never

        try:
            found = await self.house.database.read(None, migrate.revision)
            needed = await asyncio.to_thread(migrate.head)
        except HoldfastError:
            return UNREADABLE
        return "ok" if found == needed else f"the database is at schema {found}; this version needs {needed}"

    def _capacity(self) -> str:
        facts = runtime_of(self.house)
        if facts is None:
            return "ok"
        if facts.draining:
            return "the process is stopping"
        if facts.backlog >= limits.WRITER_QUEUE_OPS_MAX // 2:
            return "the journal's queue is half full: the database does not keep up"
        return "ok"

    # -- metrics ------------------------------------------------------------------------------------------------

    async def counts(self, tenant_id: TenantId) -> dict[RunStatus, int]:
        """The tenant's runs by status, at most `COUNTS_KEPT_MS` old: counting reads an index from end to end."""
        now = self.house.determinism.monotonic_ms()
        known = self._counts.get(tenant_id)
        if known is None or now - known[0] > COUNTS_KEPT_MS:
            found = await self.house.database.read(tenant_id, lambda tx: runs.counts(tx, tenant_id))
            known = self._counts[tenant_id] = (now, found)
        return known[1]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of the tenant: `runs`, `approvals_pending` and `effects_unknown`."""

    runs: dict[RunStatus, int]
    approvals_pending: int
    effects_unknown: int
    workers: int
    worker_slots: int
    runtime: RuntimeFacts | None


async def metrics(probe: Probe, principal: Principal) -> Metrics:
    access.demand(principal, Scope.METRICS_READ)
    house = probe.house
    tenant_id = principal.tenant_id
    counts = await probe.counts(tenant_id)

    async def held(tx: Tx) -> tuple[int, int]:
        return await approvals.pending_count(tx, tenant_id), (await effects.unknown_counts(tx)).get(tenant_id, 0)

    pending, unknown = await house.database.read(tenant_id, held)
    alive = await house.database.read(None, lambda tx: agents.workers(tx, seen_within_ms=limits.WORKER_SEEN_MS))
    return Metrics(counts, pending, unknown, len(alive), sum(worker.slots for worker in alive), runtime_of(house))


@dataclass(frozen=True, slots=True)
class Info:
    version: str
    database: str
    features: tuple[str, ...]
    agents: int


def info(house: House, principal: Principal) -> Info:
    access.demand(principal, Scope.INFO_READ)
    return Info(_version.__version__, house.database.dialect, FEATURES, len(house.agents))
