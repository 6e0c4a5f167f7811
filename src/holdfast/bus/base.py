"""The hub of a process: who listens to which run, whom to wake, and the relay that tells other processes.

Everything here is a hint. A subscriber that missed one (its buffer was full, a relay reconnected) is told to look
into the database; a worker polls besides. Nothing is decided by what arrives or does not arrive here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from holdfast.domain import limits
from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import TERMINAL, EntryType, NewEntry


@dataclass(frozen=True, slots=True)
class Published:
    """A durable event: an entry that is committed, with its place."""

    run_id: RunId
    pos: int
    seq: int | None
    entry: NewEntry


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message under way, or another ephemeral event; `data` is JSON-able."""

    run_id: RunId
    type: str
    data: dict[str, object]
    at: int


@dataclass(frozen=True, slots=True)
class Look:
    """Something happened elsewhere, or something was missed: read the database from where you stand."""


LOOK = Look()
Signal = Published | Delta | Look
MILESTONES = TERMINAL | {EntryType.RUN_WAITING}


@dataclass(frozen=True, slots=True)
class Change:
    """A hint for control planes: this resource changed."""

    tenant_id: TenantId
    kind: str
    id: str
    status: str | None


class Subscription:
    """What arrives for one run. Bounded: when full, what it holds is replaced by one `LOOK`. One reader of several may
    have them all ring the same bell, `arrived`."""

    __slots__ = ("_arrived", "_items", "key", "milestones")

    def __init__(self, key: bytes, milestones: bool, arrived: asyncio.Event | None = None) -> None:
        self.key = key
        self.milestones = milestones
        self._items: deque[Signal] = deque()
        self._arrived = arrived or asyncio.Event()

    def put(self, signal: Signal) -> None:
        if len(self._items) >= limits.STREAM_BUFFER_EVENTS:
            self._items.clear()
            signal = LOOK
        self._items.append(signal)
        self._arrived.set()

    async def take(self, timeout_s: float) -> list[Signal]:
        """All that arrived, waiting for the first at most `timeout_s` seconds; empty when nothing came."""
        if not self._items:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        return self.taken()

    def taken(self) -> list[Signal]:
        """All that arrived, without waiting."""
        items = list(self._items)
        self._items.clear()
        return items


class ChangeSubscription:
    """The hints of one tenant. Bounded: when full, the oldest go, and the reader is told that some are missing."""

    __slots__ = ("_arrived", "_items", "_lost", "tenant_id")

    def __init__(self, tenant_id: TenantId, arrived: asyncio.Event) -> None:
        self.tenant_id = tenant_id
        self._items: deque[Change] = deque()
        self._arrived = arrived
        self._lost = False

    def put(self, change: Change) -> None:
        if len(self._items) >= limits.CHANGES_BUFFER:
            self._items.popleft()  # the newest matter most
            self._lost = True
        self._items.append(change)
        self._arrived.set()

    def lose(self) -> None:
        """Some may never arrive."""
        self._lost = True
        self._arrived.set()

    def taken(self) -> tuple[bool, list[Change]]:
        """Whether some were missed, and all that arrived."""
        lost, self._lost = self._lost, False
        items = list(self._items)
        self._items.clear()
        return lost, items


class Relay(Protocol):
    """Carries hints to other processes."""

    async def open(self, hub: Hub) -> None: ...
    async def close(self) -> None: ...
    def entry(self, key: bytes, milestone: bool) -> None: ...
    def delta(self, delta: Delta) -> None: ...
    def listening(self, key: bytes, milestones: bool) -> None: ...
    def bell(self, run_id: RunId) -> None: ...
    def work(self, agent: str) -> None: ...
    def change(self, change: Change) -> None: ...

    def remote_listener(self, key: bytes) -> bool:
        """Whether somebody in another process follows this run or thread."""
        ...


@dataclass(slots=True)
class Hub:
    """One per process; used from its event loop only."""

    relay: Relay | None = None
    _runs: dict[bytes, set[Subscription]] = field(default_factory=dict[bytes, set[Subscription]])
    _waiters: dict[bytes, set[Subscription]] = field(default_factory=dict[bytes, set[Subscription]])
    _bells: dict[bytes, Callable[[], None]] = field(default_factory=dict[bytes, Callable[[], None]])
    _workers: list[Callable[[str | None], None]] = field(default_factory=list[Callable[[str | None], None]])
    _changes: dict[TenantId, set[ChangeSubscription]] = field(default_factory=dict[TenantId, set[ChangeSubscription]])

    async def open(self) -> None:
        if self.relay is not None:
            await self.relay.open(self)

    async def close(self) -> None:
        if self.relay is not None:
            await self.relay.close()

    # -- events of runs -----------------------------------------------------------------------------------------

    def subscribe(
        self, key: RunId | ThreadId, *, milestones: bool = False, arrived: asyncio.Event | None = None
    ) -> Subscription:
        """Follow a run, or all runs of a thread. Subscribe first, then read the database: nothing falls between.

        `milestones`: only be told when the run ends or waits. Such a subscriber is no listener: nothing is streamed
        for it.
        """
        subscription = Subscription(key, milestones, arrived)
        held = self._waiters if milestones else self._runs
        held.setdefault(key, set()).add(subscription)
        self.keep_listening(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        of_kind = self._waiters if subscription.milestones else self._runs
        held = of_kind.get(subscription.key)
        if held is not None:
            held.discard(subscription)
            if not held:
                del of_kind[subscription.key]

    def keep_listening(self, subscription: Subscription) -> None:
        """Say, and say again, to other processes that somebody listens; they forget after a while."""
        if self.relay is not None:
            self.relay.listening(subscription.key, subscription.milestones)

    def listened(self, run_id: RunId, thread_id: ThreadId) -> bool:
        """Whether somebody, in whatever process, follows the run."""
        if run_id in self._runs or thread_id in self._runs:
            return True
        return self.relay is not None and (self.relay.remote_listener(run_id) or self.relay.remote_listener(thread_id))

    def entry(self, run_id: RunId, thread_id: ThreadId, pos: int, seq: int | None, entry: NewEntry) -> None:
        """An entry was committed."""
        milestone = entry.type in MILESTONES
        if self._runs or (milestone and self._waiters):
            published = Published(run_id, pos, seq, entry)
            for key in (run_id, thread_id):
                for subscription in self._runs.get(key, ()):
                    subscription.put(published)
            if milestone:
                for subscription in self._waiters.get(run_id, ()):
                    subscription.put(published)
        if self.relay is not None:
            self.relay.entry(run_id, milestone)
            self.relay.entry(thread_id, milestone)

    def delta(self, thread_id: ThreadId, delta: Delta) -> None:
        for key in (delta.run_id, thread_id):
            for subscription in self._runs.get(key, ()):
                subscription.put(delta)
        if self.relay is not None:
            self.relay.delta(delta)

    def look(self, key: bytes | None = None) -> None:
        """Tell subscribers of one run or thread, or all of them, to read the database."""
        for of_kind in (self._runs, self._waiters):
            chosen = [of_kind.get(key, set())] if key is not None else list(of_kind.values())
            for subscriptions in chosen:
                for subscription in subscriptions:
                    subscription.put(LOOK)

    def deliver(self, delta: Delta) -> None:
        """A delta that came from another process."""
        for subscription in self._runs.get(delta.run_id, ()):
            subscription.put(delta)

    # -- bells of executors -------------------------------------------------------------------------------------

    def on_bell(self, run_id: RunId, ring: Callable[[], None] | None) -> None:
        """Whom to call when something that the running run waits for has closed, or it should stop."""
        if ring is None:
            self._bells.pop(run_id, None)
        else:
            self._bells[run_id] = ring

    def bell(self, run_id: RunId, *, relayed: bool = False) -> None:
        ring = self._bells.get(run_id)
        if ring is not None:
            ring()
        elif self.relay is not None and not relayed:
            self.relay.bell(run_id)

    def all_bells(self) -> None:
        for ring in list(self._bells.values()):
            ring()

    # -- work ---------------------------------------------------------------------------------------------------

    def on_work(self, wake: Callable[[str | None], None]) -> None:
        self._workers.append(wake)

    def work(self, agent: str | None, *, relayed: bool = False) -> None:
        """A run of this agent became claimable (None: perhaps one of any agent)."""
        for wake in self._workers:
            wake(agent)
        if self.relay is not None and not relayed and agent is not None:
            self.relay.work(agent)

    # -- changes ------------------------------------------------------------------------------------------------

    def subscribe_changes(self, tenant_id: TenantId, arrived: asyncio.Event) -> ChangeSubscription:
        """Hear what changes in a tenant; `arrived` is set when there is something to take."""
        subscription = ChangeSubscription(tenant_id, arrived)
        self._changes.setdefault(tenant_id, set()).add(subscription)
        return subscription

    def unsubscribe_changes(self, subscription: ChangeSubscription) -> None:
        held = self._changes.get(subscription.tenant_id)
        if held is not None:
            held.discard(subscription)
            if not held:
                del self._changes[subscription.tenant_id]

    def change(self, change: Change, *, relayed: bool = False) -> None:
        for subscription in self._changes.get(change.tenant_id, ()):
            subscription.put(change)
        if self.relay is not None and not relayed:
            self.relay.change(change)

    def changes_lost(self) -> None:
        """Hints of other processes may have been missed, of any tenant."""
        for subscriptions in self._changes.values():
            for subscription in subscriptions:
                subscription.lose()
