"""How many runs of a worker move at once. A run that only waits gives its slot back, or a pool full of parents would
wait for children that never get one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Slots:
    """`freed` is called when a slot is given back and nobody in the process waits for it."""

    def __init__(self, size: int, freed: Callable[[], None]) -> None:
        self.size = size
        self.free = size
        self._freed = freed
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_take(self) -> bool:
        if self.free <= 0 or self._waiting:
            return False
        self.free -= 1
        return True

    async def take(self) -> None:
        """Wait for a slot; runs that already began go before new ones."""
        if self.try_take():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give()
            raise

    def give(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1
        assert self.free <= self.size, "a slot was given back twice"
        self._freed()
