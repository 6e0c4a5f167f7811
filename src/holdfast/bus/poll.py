"""The relay for several processes on one SQLite file: each looks, a few times a second, whether another wrote."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from holdfast.bus.base import Change, Delta, Hub
from holdfast.domain.errors import HoldfastError
from holdfast.domain.ids import RunId

log = logging.getLogger("holdfast.bus")

POLL_EVERY_MS = 200
RESYNC_EVERY_MS = 2_000


class PollRelay:
    """`changed` tells whether another process wrote since it was last asked. Deltas do not cross processes here."""

    def __init__(self, changed: Callable[[], Awaitable[bool | None]], *, every_ms: int = POLL_EVERY_MS) -> None:
        self._changed = changed
        self._every_ms = every_ms
        self._task: asyncio.Task[None] | None = None

    async def open(self, hub: Hub) -> None:
        self._task = asyncio.create_task(self._poll(hub), name="holdfast-poll")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _poll(self, hub: Hub) -> None:
        clock = asyncio.get_running_loop().time
        resync_at, stale = clock(), False
        while True:
            await asyncio.sleep(self._every_ms / 1000)
            try:
                changed = await self._changed()
            except HoldfastError:
                continue  # the database is away, or does not tell: ask again
            except Exception:
                log.exception("looking for what other processes wrote failed")
                continue
            if changed:
                hub.look()
                hub.all_bells()
                hub.work(None, relayed=True)
                stale = True
            if stale and clock() >= resync_at:  # no hint crosses: control planes are told that there may be news
                hub.changes_lost()
                resync_at, stale = clock() + RESYNC_EVERY_MS / 1000, False

    def entry(self, key: bytes, milestone: bool) -> None: ...
    def delta(self, delta: Delta) -> None: ...
    def listening(self, key: bytes, milestones: bool) -> None: ...
    def bell(self, run_id: RunId) -> None: ...
    def work(self, agent: str) -> None: ...
    def change(self, change: Change) -> None: ...

    def remote_listener(self, key: bytes) -> bool:
        return False
