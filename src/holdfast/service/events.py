"""The events of a run, or of a thread's runs, from a cursor on: what is stored, then what happens.

Subscribe first, then read the database, then follow: nothing falls between. What arrives over the hub is used as it
is only where it continues without a gap; otherwise, and once a poll's time besides, the database is read from the
cursor. So every durable event comes once and in order, in whatever process; only deltas can be missed.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.bus.base import LOOK, Delta, Look, Published, Signal, Subscription
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.errors import Invalid, NotFound, Unavailable
from holdfast.domain.events import Event, Written, data_of, output_step
from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, EntryType
from holdfast.domain.messages import response_text
from holdfast.domain.runs import Run, RunStatus, RunView
from holdfast.service.house import House
from holdfast.store import entries, heads, lineage, messages, runs, threads
from holdfast.store.base import Tx

COMPLETED_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing to tell just now: the reader may show that it is alive."""


QUIET = Quiet()


@dataclass(frozen=True, slots=True)
class _Page:
    """Stored events from the cursor on. `at_end`: there are no more now; `over`: nor will there be."""

    events: list[Event]
    at_end: bool
    over: bool = False


# -- one run --------------------------------------------------------------------------------------------------------


async def of_run(
    house: House,
    principal: Principal,
    run_id: RunId,
    after: int = 0,
    *,
    until_waiting: bool = False,
    arrived: asyncio.Event | None = None,
) -> RunFollower:
    """Follow a run behind `pos = after` until it ended (or waits, if asked).

    What can be wrong is raised here, before the first event: `NotFound`, or `Invalid` (`bad_cursor`) for a position
    that the run has not reached. With `arrived` it is one of several that are followed together: it goes on when the
    run has ended, since that may be retried, and rings when there is something to hear.
    """
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id
    subscription = house.hub.subscribe(run_id, arrived=arrived)
    try:
        place = await house.database.read(
            tenant_id, lambda tx: _demand_cursor(tx, tenant_id, run_id, after, until_waiting)
        )
    except BaseException:
        house.hub.unsubscribe(subscription)
        raise
    return RunFollower(house, tenant_id, subscription, place, lasting=arrived is not None)


async def of_made(house: House, principal: Principal, view: RunView, after: int = 0) -> RunFollower:
    """Follow a run behind `pos = after` for whoever set it going: called without an await since then, it hears
    everything, for it listens before it reads. A run that has nothing of others is not read at all."""
    access.demand(principal, Scope.RUNS_READ)
    run = view.run
    if after or run.input_run is not None:
        return await of_run(house, principal, run.id, after)
    place = _RunPlace(run.id, run.thread_id, 0, view.pos, until_waiting=False)
    return RunFollower(house, run.tenant_id, house.hub.subscribe(run.id), place)


async def _demand_cursor(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, until_waiting: bool) -> _RunPlace:
    """The run's thread, where its own events begin, and how far its journal goes by now."""
    run = await runs.get(tx, tenant_id, run_id)
    head = await heads.get(tx, tenant_id, run_id)
    if run is None or run.archived or head is None:
        raise NotFound("There is no run with this id.", code="run_not_found")
    if not 0 <= after <= head.pos:
        raise Invalid("The run has no event with this id.", code="bad_cursor")
    return _RunPlace(run_id, run.thread_id, max(after, await _shared(tx, run)), head.pos, until_waiting)


async def _shared(tx: Tx, run: Run) -> int:
    """The last entry that a fork has of others: its own events are behind it."""
    pieces = await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ()
    return pieces[-1].pos if pieces else 0


class Follower(ABC):
    """A reader's place in a stream: iterate it once, and close it whatever happened. Bounded by its subscription."""

    def __init__(self, house: House, tenant_id: TenantId, subscription: Subscription, thread_id: ThreadId) -> None:
        self._house = house
        self._tenant_id = tenant_id
        self._subscription = subscription
        self._thread_id = thread_id
        self._completed = _Completed()
        self._said: tuple[str, bytes | None] | None = None
        self._over = False
        self._known: int | None = None

    def close(self) -> None:
        self._over = True
        self._house.hub.unsubscribe(self._subscription)

    async def __aiter__(self) -> AsyncIterator[Event | Quiet]:
        async for event in self._stored():
            yield event
        while not self._over:
            signals = await self._subscription.take(limits.POLL_MS / 1000)
            if not signals:
                self._house.hub.keep_listening(self._subscription)
                yield QUIET
            async for event in self._heard(signals or [LOOK]):
                yield event

    async def told(self, *, polled: bool) -> AsyncIterator[Event]:
        """What there is to tell now, for who follows several: with `polled` what is stored, and then what arrived: a
        reader who comes in the middle of a message would else hear its pieces before what led to them."""
        signals = self._subscription.taken()
        if polled:
            self._house.hub.keep_listening(self._subscription)
        async for event in self._heard([LOOK, *signals] if polled else signals):
            yield event

    async def _heard(self, signals: Sequence[Signal]) -> AsyncIterator[Event]:
        for signal in signals:
            if self._over:
                return
            match signal:
                case Delta():
                    if self._shows(signal.run_id) and self._completed.allows(signal):
                        yield Event(signal.run_id, self._thread_id, signal.type, signal.at, signal.data)
                case Published():
                    if self._is_known(signal):
                        continue
                    if self._continues(signal) and not self._needs_store(signal):
                        event = self._live(signal)
                        self._advance(event)
                        yield event
                        continue
                    async for event in self._stored():
                        yield event
                case Look():
                    async for event in self._stored():
                        yield event

    def _needs_store(self, signal: Published) -> bool:
        """Whether this event names an output whose step went by before this reader came."""
        key = output_step(signal.entry)
        return key is not None and (self._said is None or self._said[0] != key)

    def _live(self, signal: Published) -> Event:
        """An event as it happens: what the database would tell of it."""
        entry = signal.entry
        output: Any = None
        if output_step(entry) is not None and self._said is not None:
            output = response_text(self._said[1])
        if entry.type is EntryType.MESSAGE_COMPLETED and entry.key is not None:
            self._said = (entry.key, entry.payload)
        written = None if entry.message is None else Written(entry.message.id, entry.message.role)
        data = data_of(entry, seq=signal.seq, written=written, output=output)
        return Event(signal.run_id, self._thread_id, entry.type.value, entry.at, data, signal.pos, self._ordinal)

    async def _stored(self) -> AsyncIterator[Event]:
        """What the database holds behind the cursor. If it cannot be reached, the next poll tries again."""
        while not self._over:
            try:
                page = await self._house.database.read(self._tenant_id, self._read)
            except Unavailable:
                return
            for event in page.events:
                self._advance(event)
                yield event
            if page.at_end:
                self._over = page.over
                self._known = None
                return

    def _advance(self, event: Event) -> None:
        """The event is about to be told: the cursor stands on it."""
        self._place(event)
        self._completed.note(event)

    # -- what differs between one run and many ------------------------------------------------------------------

    _ordinal: int | None = None

    @abstractmethod
    def _shows(self, run_id: RunId) -> bool:
        """Whether pieces of this run's messages belong here now."""

    @abstractmethod
    def _is_known(self, signal: Published) -> bool:
        """Whether this event has been told."""

    @abstractmethod
    def _continues(self, signal: Published) -> bool:
        """Whether this is the very next event."""

    @abstractmethod
    def _place(self, event: Event) -> None:
        """Move the cursor onto the event, which has to be the next one."""

    @abstractmethod
    async def _read(self, tx: Tx) -> _Page:
        """A page of stored events behind the cursor."""


@dataclass(frozen=True, slots=True)
class _RunPlace:
    """Where a reader begins: behind `pos`. What is stored up to `known` was there when it came; what follows, it
    hears: reading that too would overtake the pieces of messages that are on their way."""

    run_id: RunId
    thread_id: ThreadId
    pos: int
    known: int
    until_waiting: bool


class RunFollower(Follower):
    """`lasting`: the end of the run is not the end of it."""

    def __init__(
        self,
        house: House,
        tenant_id: TenantId,
        subscription: Subscription,
        place: _RunPlace,
        *,
        lasting: bool = False,
    ) -> None:
        super().__init__(house, tenant_id, subscription, place.thread_id)
        self._run_id = place.run_id
        self._pos: int = place.pos
        self._known = place.known
        self._until_waiting = place.until_waiting
        self._lasting = lasting

    @property
    def pos(self) -> int:
        """The last entry that was told."""
        return self._pos

    def _shows(self, run_id: RunId) -> bool:
        return True

    def _is_known(self, signal: Published) -> bool:
        return signal.pos <= self._pos

    def _continues(self, signal: Published) -> bool:
        return signal.pos == self._pos + 1

    def _live(self, signal: Published) -> Event:
        event = super()._live(signal)
        self._over = not self._lasting and (event.ends or (self._until_waiting and event.waits))
        return event

    def _place(self, event: Event) -> None:
        self._pos += 1
        assert event.pos == self._pos, "positions are dense: an event is never left out and never told twice"

    async def _read(self, tx: Tx) -> _Page:
        run = await runs.get(tx, self._tenant_id, self._run_id)
        if run is None or run.archived:
            return _Page([], at_end=True, over=True)  # deleted meanwhile
        events = await _stored_events(tx, self._tenant_id, self._run_id, self._thread_id, self._pos, None)
        known = [e for e in events if self._known is None or (e.pos or 0) <= self._known]
        if len(known) < len(events):
            return _Page(known, at_end=True)
        over = not self._lasting and (run.status.ended or (self._until_waiting and run.status is RunStatus.WAITING))
        return _Page(events, len(events) < limits.STREAM_REPLAY_ROWS, over)


class _Completed:
    """Which messages are complete: a delta that comes late, over another way than their end, is dropped."""

    def __init__(self) -> None:
        self._ids: OrderedDict[object, None] = OrderedDict()

    def note(self, event: Event) -> None:
        if event.type == EntryType.RUN_RECOVERED:
            for void in event.data.get("void", ()):
                self._add(void)
        elif event.type == EntryType.MESSAGE_COMPLETED:
            self._add(event.data.get("message_id"))
        elif event.type == EntryType.MESSAGE_STARTED:
            for void in event.data.get("voids", ()):
                self._add(void)

    def _add(self, id: object) -> None:
        self._ids[id] = None
        if len(self._ids) > COMPLETED_KEPT:
            self._ids.popitem(last=False)

    def allows(self, delta: Delta) -> bool:
        return delta.data.get("message_id") not in self._ids


# -- a thread's runs, one after another ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThreadCursor:
    """Behind entry `pos` of the `ordinal`-th run that started in the thread."""

    ordinal: int = 0
    pos: int = 0


async def of_thread(house: House, principal: Principal, thread_id: ThreadId, after: ThreadCursor) -> Follower:
    """Follow a thread's runs, in the order in which they started; it ends when the thread is deleted.

    A run that was cancelled before it started has no place in it. Raises `NotFound`, or `Invalid` (`bad_cursor`).
    """
    access.demand(principal, Scope.THREADS_READ)
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id
    subscription = house.hub.subscribe(thread_id)
    try:
        place = await house.database.read(tenant_id, lambda tx: _demand_thread_cursor(tx, tenant_id, thread_id, after))
    except BaseException:
        house.hub.unsubscribe(subscription)
        raise
    return _ThreadFollower(house, tenant_id, subscription, thread_id, *place)


async def _demand_thread_cursor(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, after: ThreadCursor
) -> tuple[ThreadCursor, RunId | None]:
    """The cursor, and the run that it stands in, if it stands in one."""
    if not await _is_there(tx, tenant_id, thread_id):
        raise NotFound("There is no thread with this id.", code="thread_not_found")
    if after == ThreadCursor():
        return after, None
    run_id = await runs.by_ordinal(tx, tenant_id, thread_id, after.ordinal)
    run = None if run_id is None else await runs.get(tx, tenant_id, run_id)
    head = None if run is None else await heads.get(tx, tenant_id, run.id)
    if run is None or head is None or not 0 <= after.pos <= head.pos:
        raise Invalid("The thread has no event with this id.", code="bad_cursor")
    return replace(after, pos=max(after.pos, await _shared(tx, run))), run.id


async def _is_there(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> bool:
    found = await threads.get(tx, tenant_id, thread_id)
    return found is not None and not found.archived


class _ThreadFollower(Follower):
    """Entries of several runs may mix on the hub: only what continues the run at the cursor is taken from there."""

    def __init__(
        self,
        house: House,
        tenant_id: TenantId,
        subscription: Subscription,
        thread_id: ThreadId,
        after: ThreadCursor,
        run_id: RunId | None,
    ) -> None:
        super().__init__(house, tenant_id, subscription, thread_id)
        self._ordinal: int | None = after.ordinal
        self._pos: int = after.pos
        self._run_id = run_id

    def _shows(self, run_id: RunId) -> bool:
        return run_id == self._run_id

    def _is_known(self, signal: Published) -> bool:
        return signal.run_id == self._run_id and signal.pos <= self._pos

    def _continues(self, signal: Published) -> bool:
        return signal.run_id == self._run_id and signal.pos == self._pos + 1

    def _place(self, event: Event) -> None:
        assert event.pos is not None
        follows = event.ordinal == self._ordinal and event.pos == self._pos + 1
        # The first run of a branch goes on counting from what it shares.
        begins = event.ordinal == (self._ordinal or 0) + 1 and (event.pos == 1 or event.ordinal == 1)
        assert follows or begins, "no event is left out"
        self._ordinal, self._pos, self._run_id = event.ordinal, event.pos, event.run_id

    async def _read(self, tx: Tx) -> _Page:
        """A page of the run at the cursor or, when it has no more, of the one that started next."""
        if not await _is_there(tx, self._tenant_id, self._thread_id):
            return _Page([], at_end=True, over=True)
        at, pos = self._ordinal or 0, self._pos
        for ordinal in (at, at + 1):
            run_id = await runs.by_ordinal(tx, self._tenant_id, self._thread_id, ordinal)
            if run_id is not None:
                events = await _stored_events(tx, self._tenant_id, run_id, self._thread_id, pos, ordinal)
                if events:
                    return _Page(events, at_end=False)
            pos = 0
        return _Page([], at_end=True)


# -- both -----------------------------------------------------------------------------------------------------------


async def _stored_events(
    tx: Tx, tenant_id: TenantId, run_id: RunId, thread_id: ThreadId, after: int, ordinal: int | None
) -> list[Event]:
    found = await entries.after(tx, tenant_id, run_id, after, limits.STREAM_REPLAY_ROWS)
    if not found:
        return []
    ids = await messages.ids_of_run(tx, tenant_id, thread_id, run_id, found[0].pos, found[-1].pos)
    events: list[Event] = []
    for entry in found:
        role = ids.get(entry.pos)
        written = None if role is None else Written(*role)
        output = await _output(tx, tenant_id, run_id, found, entry)
        data = data_of(entry, seq=entry.seq, written=written, output=output)
        events.append(Event(run_id, thread_id, entry.type.value, entry.at, data, entry.pos, ordinal))
    return events


async def _output(tx: Tx, tenant_id: TenantId, run_id: RunId, page: list[Entry], entry: Entry) -> Any:
    """The text of the model step that a succeeded run names as its output."""
    key = output_step(entry)
    if key is None:
        return None
    step = next((e for e in reversed(page) if e.key == key and e.seq is not None), None)
    if step is None:
        step = await entries.last_result(tx, tenant_id, run_id, key)
    assert step is not None, "a run's output stands in its journal"
    return response_text(step.payload)
