"""Hints for control planes: what changed in a tenant, as it happens. Nothing is stored, nothing is replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holdfast.bus.base import Change
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.service.events import QUIET, Quiet
from holdfast.service.house import House


def follow(house: House, principal: Principal) -> AsyncIterator[Change | Quiet]:
    """The tenant's changes from now on. A reader that falls behind misses the oldest."""
    access.demand(principal, Scope.RUNS_READ)
    return _follow(house, principal)


async def _follow(house: House, principal: Principal) -> AsyncIterator[Change | Quiet]:
    queue = house.hub.subscribe_changes(principal.tenant_id)
    try:
        while True:
            try:
                async with asyncio.timeout(limits.POLL_MS / 1000):
                    change: Change | Quiet = await queue.get()
            except TimeoutError:
                change = QUIET
            yield change
    finally:
        house.hub.unsubscribe_changes(principal.tenant_id, queue)
