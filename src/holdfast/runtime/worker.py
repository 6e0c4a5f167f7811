"""The worker of a process: it claims runs up to its slots and executes them.

It is told of work by the hub and polls besides; every ring means only "look". The fast path lets a verb claim within
the insert that makes the run, unless runs already wait in the queue: those go first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from holdfast.domain import ids, limits
from holdfast.domain.errors import OutcomeUnknown, Unavailable
from holdfast.domain.ids import WorkerId
from holdfast.runtime.blocking import Blocking
from holdfast.runtime.executor import Executor
from holdfast.runtime.slots import Slots
from holdfast.service import claiming
from holdfast.service.house import House, Seat
from holdfast.store.claims import Claimed
from holdfast.store.writer import JournalWriter

log = logging.getLogger("holdfast.worker")


class Worker:
    """Implements `service.house.Dispatch`. Runs within the supervisor's task group."""

    def __init__(
        self,
        house: House,
        writer: JournalWriter,
        id: WorkerId,
        *,
        slots: int,
        deps: Any,
    ) -> None:
        self.id = id
        self.house = house
        self.versions: Mapping[str, str] = {}
        self.blocking = Blocking()
        self.executors: dict[bytes, Executor] = {}
        self.slots = Slots(slots, self.wake)
        self.draining = False
        self._drain_ms = limits.DRAIN_MS
        self._writer = writer
        self._deps = deps
        self._ring = asyncio.Event()
        self._behind = True
        self._alone = False
        self._tasks: asyncio.TaskGroup | None = None
        self.claims_total = 0
        self.stuck_total = 0

    def wake(self, agent: str | None = None) -> None:
        self._ring.set()

    # -- the fast path ------------------------------------------------------------------------------------------

    def reserve(self, agent: str) -> Seat | None:
        version = self.versions.get(agent)
        if version is None or self.draining or self._behind or self._alone or self._tasks is None:
            return None
        return Seat(self.id, self.house.lease_ms, version) if self.slots.try_take() else None

    def take(self, seat: Seat, claimed: Claimed) -> None:
        self._start(claimed)

    def decline(self, seat: Seat) -> None:
        self.slots.give()

    # -- the loop -----------------------------------------------------------------------------------------------

    async def work(self, tasks: asyncio.TaskGroup) -> None:
        """Claim and execute until cancelled."""
        self._tasks = tasks
        self.house.hub.on_work(self.wake)
        while True:
            self._ring.clear()
            claimed = 0
            if not self.draining and not self._alone:
                try:
                    claimed = await self._claim()
                except Exception:
                    log.exception("claiming failed")
            if not claimed:
                await self._until_rung()

    async def _until_rung(self) -> None:
        try:
            async with asyncio.timeout(self.house.determinism.jitter(limits.POLL_MS) / 1000):
                await self._ring.wait()
        except TimeoutError:
            pass

    async def _claim(self) -> int:
        """Claim as many runs as there are slots; how many there were."""
        taken = 0
        while taken < limits.CLAIM_ROWS_MAX and self.slots.try_take():
            taken += 1
        if not taken:
            return 0
        claimed: list[Claimed] = []
        try:
            alone = not self.executors
            claimed = await claiming.claim(self.house, self.id, self.versions, taken, alone=alone)
            self._behind = len(claimed) == taken
        except (Unavailable, OutcomeUnknown) as exc:
            # What was claimed without our knowing is a run of ours that nothing executes: recovery takes it back.
            log.warning("cannot claim: %s", exc.message)
            await asyncio.sleep(limits.LAPSE_BACKOFF_MS / 1000)
        finally:
            self._give_back(taken - len(claimed))
        for one in claimed:
            self._start(one)
        return len(claimed)

    def _give_back(self, slots: int) -> None:
        """Giving back unused slots rings our own bell: no reason to look again, unless somebody else rang it too."""
        rung = self._ring.is_set()
        for _ in range(slots):
            self.slots.give()
        if not rung and not self._behind:
            self._ring.clear()

    def _start(self, claimed: Claimed) -> None:
        assert self._tasks is not None
        executor = Executor(self.house, self._writer, self.slots, self.blocking, claimed, self._deps)
        self.executors[claimed.run.id] = executor
        self.claims_total += 1
        self._alone = self._alone or claimed.lapses >= limits.LAPSES_ALONE
        if self.draining:  # the claim was on its way when the drain began
            executor.release(self._drain_ms)
        self._tasks.create_task(self._execute(executor))

    async def _execute(self, executor: Executor) -> None:
        run = executor.claimed.run
        try:
            await executor.execute()
        except Exception:
            # A bug of ours, not the user's: the run stays claimed and is taken back when its lease lapses.
            log.exception("executing %s failed", ids.text(ids.RUN, run.id))
        finally:
            self.stuck_total += executor.stuck
            if self.executors.get(run.id) is executor:
                del self.executors[run.id]
            self._alone = any(e.claimed.lapses >= limits.LAPSES_ALONE for e in self.executors.values())
            self.wake()

    # -- stopping -----------------------------------------------------------------------------------------------

    async def drain(self, drain_ms: int) -> None:
        """Start nothing new; give back what runs, after tools that may change something had their time."""
        self.draining, self._drain_ms = True, drain_ms
        for executor in list(self.executors.values()):
            executor.release(drain_ms)
        deadline = self.house.determinism.monotonic_ms() + drain_ms + limits.UNWIND_MS
        while self.executors and self.house.determinism.monotonic_ms() < deadline:
            self._ring.clear()
            await self._until_rung()
