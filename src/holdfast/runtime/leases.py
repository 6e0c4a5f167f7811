"""The lease thread: it renews the leases of exactly the runs that an executor holds, and learns who should stop.

It is a thread, so that a busy event loop does not lose leases; and it watches the loop, so that a stuck one does: when
the loop has not answered for `STUCK_LEASES` leases its runs are left to another process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import Unavailable
from holdfast.domain.ids import WorkerId
from holdfast.store.base import Lessor, Row

log = logging.getLogger("holdfast.leases")

STUCK_LEASES = 3
Held = tuple[bytes, bytes, int]


class LeaseKeeper:
    """`held` is read from the thread; `renewed(asked, rows)` is called on the event loop."""

    def __init__(
        self,
        lessor: Lessor,
        owner: WorkerId,
        held: Callable[[], Sequence[Held]],
        renewed: Callable[[Sequence[Held], Sequence[Row]], None],
        *,
        lease_ms: int,
        determinism: Determinism = SYSTEM,
    ) -> None:
        self._lessor = lessor
        self._owner = owner
        self._held = held
        self._renewed = renewed
        self._lease_ms = lease_ms
        self._clock = determinism.monotonic_ms
        self._stopped = threading.Event()
        self._beat = self._clock()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="holdfast-leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stopped.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._lease_ms / 3000):
                self._tell(self._note_beat)
                if self._clock() - self._beat > STUCK_LEASES * self._lease_ms:
                    log.error("the event loop is stuck for %d leases: renewing no more until it moves", STUCK_LEASES)
                    continue
                try:
                    self._renew()
                except Exception:  # without this thread every run of the process would be lost
                    log.exception("leases were not renewed")
        finally:
            self._lessor.close()

    def _renew(self) -> None:
        held = list(self._held())
        if not held:
            return
        try:
            rows = self._lessor.renew(self._owner, held, self._lease_ms)
        except Unavailable as exc:
            log.warning("leases were not renewed: %s", exc.message)
            return
        self._tell(lambda: self._renewed(held, rows))

    def _note_beat(self) -> None:
        self._beat = self._clock()

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            self._stopped.set()  # the loop is closed
