"""Owns every background task of a process: one task group, started and stopped with the application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from holdfast.domain import limits
from holdfast.domain.encoding import encode
from holdfast.domain.ids import DEFAULT_TENANT, RunId, WorkerId
from holdfast.runtime.leases import Held, LeaseKeeper
from holdfast.runtime.recovery import Recovery
from holdfast.runtime.worker import Worker
from holdfast.service import claiming
from holdfast.service.health import RuntimeFacts
from holdfast.service.house import House
from holdfast.store import agents
from holdfast.store.base import Row, Tx
from holdfast.store.journal import Append, Appended
from holdfast.store.writer import JournalWriter

log = logging.getLogger("holdfast.supervisor")


class Supervisor:
    """Runs the worker, recovery and leases of a process. `workers=0` slots: an API process that executes nothing."""

    def __init__(self, house: House, *, slots: int, deps: Any, drain_ms: int = limits.DRAIN_MS) -> None:
        self.house = house
        self.worker_id = WorkerId(house.determinism.new_id())
        self.writer = JournalWriter(
            house.database, self._appended, lease_ms=house.lease_ms, determinism=house.determinism
        )
        self.worker = Worker(house, self.writer, self.worker_id, slots=slots, deps=deps)
        self.recovery = Recovery(house, self.worker)
        self._drain_ms = drain_ms
        self._slots = slots
        self._leases: LeaseKeeper | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    def _appended(self, op: Append, appended: Appended) -> None:
        """Publish durable events, in commit order."""
        pos, seq, hub = appended.pos, appended.seq, self.house.hub
        for entry in op.entries:
            pos += 1
            seq += entry.is_step
            hub.entry(op.run_id, op.thread_id, pos, seq if entry.is_step else None, entry)
        for effect_id, status in appended.settled:
            self.house.effect_changed(op.tenant_id, effect_id, status)
        self.house.closed(op.tenant_id, appended.closed)

    async def start(self) -> None:
        """Register the agents, take back what a dead predecessor left, and begin."""
        house = self.house
        for agent in house.agents.values():
            await agent.warm_up()
        if self._slots > 0:  # an API process claims nothing; what remote tools an agent has is known by now
            self.worker.versions = {id: agent.version for id, agent in house.agents.items()}
        for id in await house.database.write(None, self._register):
            house.changed(DEFAULT_TENANT, "agent", id, "registered")
        house.database.hold(self.worker_id)
        await claiming.requeue_dead(house, self.worker_id)
        await self.recovery.sign_on()
        lessor = house.database.lessor()
        self._leases = LeaseKeeper(
            lessor, self.worker_id, self._held, self._renewed, lease_ms=house.lease_ms, determinism=house.determinism
        )
        self._leases.start()
        self._task = asyncio.create_task(self._run(), name="holdfast-supervisor")
        await self._ready.wait()
        house.dispatch = self.worker
        house.features["runtime"] = self

    async def _register(self, tx: Tx) -> list[str]:
        """Note what this process can run; of which agents that is news."""
        changed: list[str] = []
        for id, agent in self.house.agents.items():
            definition = encode(agent.definition())
            if await agents.register(tx, DEFAULT_TENANT, id, agent.kind, agent.version, definition):
                changed.append(id)
            await agents.note_version(tx, DEFAULT_TENANT, id, agent.version, definition)
        return changed

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.worker.work(tasks), name="holdfast-worker")
                tasks.create_task(self.recovery.run(), name="holdfast-recovery")
                self._ready.set()
        except* asyncio.CancelledError:
            pass

    def facts(self) -> RuntimeFacts:
        """What this process's runtime knows of itself, for probes and metrics."""
        worker = self.worker
        return RuntimeFacts(
            slots=self._slots,
            slots_free=worker.slots.free if self._slots else 0,
            executors=len(worker.executors),
            stuck=worker.stuck_total,
            backlog=self.writer.backlog,
            threads_abandoned=worker.blocking.abandoned,
            claims_total=worker.claims_total,
            recovered_total=self.recovery.recovered_total,
            draining=worker.draining,
        )

    def _held(self) -> Sequence[Held]:
        return [executor.key for executor in list(self.worker.executors.values())]

    def _renewed(self, asked: Sequence[Held], rows: Sequence[Row]) -> None:
        ours = {row[0]: bool(row[1]) for row in rows}
        for held in asked:
            executor = self.worker.executors.get(RunId(held[1]))
            if executor is None or executor.key != held:
                continue  # it ended or parked meanwhile, and may have been claimed here once more
            if held[1] not in ours:
                executor.lose()
            elif ours[held[1]]:
                executor.ring()

    async def stop(self) -> None:
        """Drain, give everything back, end every task."""
        self.house.dispatch = None
        await self.worker.drain(self._drain_ms)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._leases is not None:
            await self._leases.stop()
        self.writer.close()
        self.worker.blocking.close()
        try:
            await claiming.gone(self.house, self.worker_id)
        except Exception:
            log.warning("could not sign off: the worker's row will be removed by others", exc_info=True)
        for agent in self.house.agents.values():
            try:
                await agent.close()
            except Exception:
                log.warning("agent %s did not close what it had opened", agent.id, exc_info=True)
