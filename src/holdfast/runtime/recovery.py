"""What every process does for all: wake timers, end the overdue, and take back runs whose worker is gone.

Lapsed leases are judged only after this process has itself been awake and connected for a whole lease: after its start,
a lost connection or a suspension, everybody's leases look lapsed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from holdfast.domain import limits
from holdfast.domain.errors import OutcomeUnknown, Unavailable
from holdfast.runtime.worker import Worker
from holdfast.service import approvals, claiming
from holdfast.service.house import House

log = logging.getLogger("holdfast.recovery")

SEEN_EVERY_MS = limits.WORKER_SEEN_MS // 3
HOUSEKEEPING_EVERY_MS = 3_600_000


class Recovery:
    """One loop; `nudge` makes it look again at once."""

    def __init__(self, house: House, worker: Worker) -> None:
        self._house = house
        self._worker = worker
        self._clock = house.determinism.monotonic_ms
        self._calm_since = self._clock()
        self._last = self._clock()
        self._seen_at = -float(SEEN_EVERY_MS)
        self._housekeeping_at = self._clock()
        self._nudged = asyncio.Event()
        self.recovered_total = 0

    def nudge(self) -> None:
        self._nudged.set()

    async def run(self) -> None:
        while True:
            wait_ms: float = limits.RECOVERY_EVERY_MS
            self._nudged.clear()
            try:
                self._notice_suspension()
                wait_ms = await self._pass()
            except (Unavailable, OutcomeUnknown) as exc:
                log.warning("recovery waits for the database: %s", exc.message)
                self._calm_since = self._clock()
            except Exception:
                log.exception("a recovery pass failed")
            self._last = self._clock()
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._nudged.wait()
            except TimeoutError:
                pass

    async def sign_on(self) -> None:
        """Let others know that this worker is alive, and what it runs."""
        worker = self._worker
        await claiming.seen(
            self._house, worker.id, worker.versions, socket.gethostname(), os.getpid(), worker.slots.size
        )
        self._seen_at = self._clock()

    async def _pass(self) -> float:
        """One round; in how many ms the next is due."""
        house, me = self._house, self._worker.id
        if self._clock() - self._seen_at >= SEEN_EVERY_MS:
            await self.sign_on()
        await claiming.wake_due(house)
        await approvals.expire_due(house)
        await claiming.end_overdue(house)
        back = await claiming.requeue_dead(house, me)
        if self._clock() - self._calm_since > house.lease_ms:
            back += await claiming.requeue_lapsed(house, me, self._worker.executors.keys())
        self.recovered_total += len(back)
        for one in back:
            log.warning("took back a run of %s from a worker that is gone (lapses: %d)", one.agent, one.lapses)
        if self._clock() - self._housekeeping_at > HOUSEKEEPING_EVERY_MS:
            self._housekeeping_at = self._clock()
            await claiming.housekeeping(house)
        return await self._next_ms()

    async def _next_ms(self) -> float:
        due = await claiming.next_at(self._house, list(self._worker.versions))
        if due is None:
            return limits.RECOVERY_EVERY_MS
        if due <= 0:
            self._house.hub.work(None, relayed=True)
            return limits.RECOVERY_EVERY_MS / 4
        return min(float(due), limits.RECOVERY_EVERY_MS)

    def _notice_suspension(self) -> None:
        """A gap between rounds that no wait explains: the process, or the machine, was asleep."""
        if self._clock() - self._last > self._house.lease_ms / 2 + limits.RECOVERY_EVERY_MS:
            self._calm_since = self._clock()
