"""The stream of a control plane: hints at what changed in a tenant, as it happens, and the events of a few runs.

Hints are not stored and not replayed; who misses some is told so. The events of a watched run are those of its own
stream, each once and in order, so that one connection of a browser is enough for all that a page shows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from holdfast.bus.base import Change, ChangeSubscription
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.events import Event
from holdfast.domain.ids import RunId
from holdfast.service import events
from holdfast.service.events import QUIET, Quiet, RunFollower
from holdfast.service.house import House

SCOPES: Final = {
    "run": Scope.RUNS_READ,
    "thread": Scope.THREADS_READ,
    "approval": Scope.APPROVALS_READ,
    "effect": Scope.EFFECTS_READ,
    "agent": Scope.AGENTS_READ,
    "tool": Scope.AGENTS_READ,
}
"""What a credential has to carry to be told of a kind of change."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Hints were missed: what is shown may be stale."""


RESYNC: Final = Resync()


@dataclass(frozen=True, slots=True)
class Watched:
    """An event of a watched run, and how far each of the watched runs has been told by then."""

    event: Event
    places: Mapping[RunId, int]


Told = Change | Watched | Resync | Quiet


async def follow(house: House, principal: Principal, watch: Mapping[RunId, int] | None = None) -> ChangeFollower:
    """The tenant's changes from now on, as far as the principal may read what changed, and the events of the runs in
    `watch`, each behind an entry of it. A reader that falls behind misses the oldest hints and is told so.

    Raises `NotFound`, or `Invalid` (`bad_cursor`) for a position that its run has not reached.
    """
    access.demand(principal, Scope.RUNS_READ)
    arrived = asyncio.Event()
    with ExitStack() as stack:
        hints = house.hub.subscribe_changes(principal.tenant_id, arrived)
        stack.callback(house.hub.unsubscribe_changes, hints)
        watched: dict[RunId, RunFollower] = {}
        for run_id, after in (watch or {}).items():
            watched[run_id] = await events.of_run(house, principal, run_id, after, arrived=arrived)
            stack.callback(watched[run_id].close)
        kinds = frozenset(kind for kind, scope in SCOPES.items() if access.decide(principal, scope).allowed)
        return ChangeFollower(hints, watched, kinds, arrived, stack.pop_all())
    raise AssertionError("unreachable")


class ChangeFollower:
    """Iterate it once, and close it whatever happened."""

    def __init__(
        self,
        hints: ChangeSubscription,
        watched: Mapping[RunId, RunFollower],
        kinds: frozenset[str],
        arrived: asyncio.Event,
        held: ExitStack,
    ) -> None:
        self._hints = hints
        self._watched = watched
        self._kinds = kinds
        self._arrived = arrived
        self._held = held

    def close(self) -> None:
        self._held.close()

    async def __aiter__(self) -> AsyncIterator[Told]:
        clock = asyncio.get_running_loop().time
        looked_at = -math.inf  # at first at what was stored before anybody listened
        while True:
            polled = clock() - looked_at >= limits.POLL_MS / 1000
            if polled:
                looked_at = clock()
            for told in self._changes():
                yield told
            for follower in self._watched.values():
                async for event in follower.told(polled=polled):
                    yield Watched(event, {run_id: one.pos for run_id, one in self._watched.items()})
            yield QUIET
            await self._until_news()

    def _changes(self) -> Sequence[Change | Resync]:
        lost, changes = self._hints.taken()
        allowed = [change for change in changes if change.kind in self._kinds]
        return [RESYNC, *allowed] if lost else allowed

    async def _until_news(self) -> None:
        """Until something arrived, at most a poll's time."""
        try:
            async with asyncio.timeout(limits.POLL_MS / 1000):
                await self._arrived.wait()
        except TimeoutError:
            return
        self._arrived.clear()
