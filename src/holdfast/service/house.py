"""What every verb needs: the database, the hub, the agents of this process. Composed in `app.py`, nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from holdfast.agents.base import Agent
from holdfast.bus.base import Change, Hub
from holdfast.domain import limits
from holdfast.domain.access import Principal
from holdfast.domain.approvals import ApprovalStatus
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.effects import EffectStatus
from holdfast.domain.errors import NotFound
from holdfast.domain.ids import APPROVAL, EFFECT, RUN, THREAD, EffectId, RunId, TenantId, ThreadId, WorkerId, text
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Replayed
from holdfast.domain.runs import RunStatus
from holdfast.store.base import Database
from holdfast.store.claims import Claimed
from holdfast.store.ending import Closed


@dataclass(frozen=True, slots=True)
class Seat:
    """A free slot of the worker in this process, held for a run that is about to be inserted."""

    worker_id: WorkerId
    lease_ms: int
    version: str


class Dispatch(Protocol):
    """The worker of this process, as far as a verb may know it: the fast path that claims within the insert."""

    def reserve(self, agent: str) -> Seat | None:
        """Hold a slot, if there is one and the agent is served here."""
        ...

    def take(self, seat: Seat, claimed: Claimed) -> None:
        """The insert is committed: run it."""
        ...

    def decline(self, seat: Seat) -> None:
        """The insert did not claim after all: free the slot."""
        ...


class Replayer(Protocol):
    """Where replays run in this process, and who minds them. `isolation`: `process` or `thread`."""

    @property
    def isolation(self) -> str: ...

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do this beside what asked for it; it ends at the latest when the process stops."""
        ...

    async def replay(self, recorded: RecordedRun) -> Replayed:
        """Run the current code against the record. Raises `HoldfastError` if that cannot be done."""
        ...


@dataclass(slots=True)
class House:
    database: Database
    hub: Hub
    agents: Mapping[str, Agent]
    determinism: Determinism = SYSTEM
    lease_ms: int = limits.LEASE_MS
    dispatch: Dispatch | None = None
    replayer: Replayer | None = None
    sandbox: Principal | None = None
    tools_off: dict[TenantId, tuple[float, frozenset[str]]] = field(
        default_factory=dict[TenantId, "tuple[float, frozenset[str]]"]
    )
    stored_blobs: dict[tuple[TenantId, bytes], float] = field(default_factory=dict[tuple[TenantId, bytes], float])
    features: dict[str, object] = field(default_factory=dict[str, object])

    def agent(self, agent_id: str) -> Agent:
        agent = self.agents.get(agent_id)
        if agent is None:
            raise NotFound(f"There is no agent {agent_id!r}.", code="agent_not_found")
        return agent

    def changed(self, tenant_id: TenantId, kind: str, id: str, status: str | None) -> None:
        self.hub.change(Change(tenant_id, kind, id, status))

    def thread_changed(self, tenant_id: TenantId, thread_id: ThreadId, status: str) -> None:
        self.changed(tenant_id, "thread", text(THREAD, thread_id), status)

    def effect_changed(self, tenant_id: TenantId, effect_id: EffectId, status: EffectStatus) -> None:
        self.changed(tenant_id, "effect", text(EFFECT, effect_id), status.value)

    def closed(self, tenant_id: TenantId, closed: Closed) -> None:
        """A run ended: what it held is moot, or unknown."""
        for approval_id in closed.approvals:
            self.changed(tenant_id, "approval", text(APPROVAL, approval_id), ApprovalStatus.CANCELLED.value)
        for effect_id in closed.unknown:
            self.effect_changed(tenant_id, effect_id, EffectStatus.UNKNOWN)

    def run_changed(self, tenant_id: TenantId, run_id: RunId, status: RunStatus) -> None:
        self.hub.change(Change(tenant_id, "run", text(RUN, run_id), status.value))
