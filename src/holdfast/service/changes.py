"""Hints for control planes: what changed in a tenant, as it happens. Nothing is stored, nothing is replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holdfast.bus.base import Change
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.service.events import QUIET, Quiet
from holdfast.service.house import House


def follow(house: House, principal: Principal) -> ChangeFollower:
    """The tenant's changes from now on. A reader that falls behind misses the oldest."""
    access.demand(principal, Scope.RUNS_READ)
    return ChangeFollower(house, principal)


class ChangeFollower:
    """Iterate it once, and close it whatever happened."""

    def __init__(self, house: House, principal: Principal) -> None:
        self._house = house
        self._tenant_id = principal.tenant_id
        self._queue = house.hub.subscribe_changes(principal.tenant_id)

    def close(self) -> None:
        self._house.hub.unsubscribe_changes(self._tenant_id, self._queue)

    async def __aiter__(self) -> AsyncIterator[Change | Quiet]:
        while True:
            change: Change | Quiet = QUIET
            try:
                async with asyncio.timeout(limits.POLL_MS / 1000):
                    change = await self._queue.get()
            except TimeoutError:
                pass
            yield change
