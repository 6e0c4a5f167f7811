"""The events of a run, or of a thread's runs, from a cursor on: what is stored, then what happens.

Subscribe first, then read the database, then follow: nothing falls between. What arrives over the hub is used as it
is only where it continues without a gap; otherwise, and once a poll's time besides, the database is read from the
cursor. So every durable event comes once and in order, in whatever process; only deltas can be missed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.bus.base import LOOK, Delta, Look, Published, Signal, Subscription
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.errors import Invalid, NotFound, Unavailable
from holdfast.domain.events import Event, Written, data_of, output_step
from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, EntryType
from holdfast.domain.messages import response_text
from holdfast.domain.runs import RunStatus
from holdfast.service.house import House
from holdfast.store import entries, heads, messages, runs, threads
from holdfast.store.base import Tx

COMPLETED_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing to tell just now: the reader may show that it is alive."""


QUIET = Quiet()


@dataclass(frozen=True, slots=True)
class _Page:
    """Stored events from the cursor on. `at_end`: there are no more; `stopped`: and the run ended, or waits."""

    events: list[Event]
    at_end: bool
    ended: bool = False
    waiting: bool = False


# -- one run --------------------------------------------------------------------------------------------------------


async def of_run(
    house: House, principal: Principal, run_id: RunId, after: int = 0, *, until_waiting: bool = False
) -> AsyncIterator[Event | Quiet]:
    """Follow a run behind `pos = after` until it ended (or waits, if asked).

    Everything that can be wrong is raised here, before the first event: `NotFound`, or `Invalid` (`bad_cursor`) for a
    position that the run has not reached.
    """
    access.demand(principal, Scope.RUNS_READ)
    thread_id = await house.database.read(
        principal.tenant_id, lambda tx: _demand_cursor(tx, principal.tenant_id, run_id, after)
    )
    return _RunReader(house, principal.tenant_id, run_id, thread_id, after, until_waiting).follow()


async def _demand_cursor(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int) -> ThreadId:
    run = await runs.get(tx, tenant_id, run_id)
    head = await heads.get(tx, tenant_id, run_id)
    if run is None or head is None:
        raise NotFound("There is no run with this id.", code="run_not_found")
    if not 0 <= after <= head.pos:
        raise Invalid("The run has no event with this id.", code="bad_cursor")
    return run.thread_id


class _RunReader:
    """One reader's place in a run's stream."""

    def __init__(
        self, house: House, tenant_id: TenantId, run_id: RunId, thread_id: ThreadId, after: int, until_waiting: bool
    ) -> None:
        self._house = house
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._thread_id = thread_id
        self._pos: int = after
        self._until_waiting = until_waiting
        self._completed = _Completed()
        self._said: tuple[str, bytes | None] | None = None

    async def follow(self) -> AsyncIterator[Event | Quiet]:
        subscription = self._house.hub.subscribe(self._run_id)
        try:
            async for event in self._stored():
                yield event
            while not self._over:
                signals = await subscription.take(limits.POLL_MS / 1000)
                if not signals:
                    self._house.hub.keep_listening(subscription)
                    yield QUIET
                async for event in self._heard(signals or [LOOK]):
                    yield event
        finally:
            self._house.hub.unsubscribe(subscription)

    _over = False

    async def _heard(self, signals: Sequence[Signal]) -> AsyncIterator[Event]:
        for signal in signals:
            if self._over:
                return
            match signal:
                case Delta():
                    if self._completed.allows(signal):
                        yield _ephemeral(signal, self._thread_id)
                case Published(pos=pos) if pos <= self._pos:
                    pass
                case Published(pos=pos) if pos == self._pos + 1 and not self._needs_store(signal):
                    yield self._live(signal)
                case Published() | Look():
                    async for event in self._stored():
                        yield event

    def _needs_store(self, signal: Published) -> bool:
        """Whether this event names an output whose step went by before this reader came."""
        key = output_step(signal.entry)
        return key is not None and (self._said is None or self._said[0] != key)

    def _live(self, signal: Published) -> Event:
        entry = signal.entry
        output: Any = None
        if output_step(entry) is not None and self._said is not None:
            output = response_text(self._said[1])
        if entry.type is EntryType.MESSAGE_COMPLETED and entry.key is not None:
            self._said = (entry.key, entry.payload)
        written = None if entry.message is None else Written(entry.message.id, entry.message.role)
        data = data_of(entry, seq=signal.seq, written=written, output=output)
        event = Event(self._run_id, self._thread_id, entry.type.value, entry.at, data, signal.pos)
        self._note(event)
        self._over = event.ends or (self._until_waiting and event.waits)
        return event

    async def _stored(self) -> AsyncIterator[Event]:
        """What the database holds behind the cursor; over when that is all and the run ended, or waits."""
        while True:
            page = await _patient(self._house, self._tenant_id, self._read)
            for event in page.events:
                self._note(event)
                yield event
            if page.at_end:
                self._over = page.ended or (self._until_waiting and page.waiting)
                return

    def _note(self, event: Event) -> None:
        self._pos += 1
        assert event.pos == self._pos, "positions are dense: an event is never left out and never told twice"
        self._completed.note(event)

    async def _read(self, tx: Tx) -> _Page:
        run = await runs.get(tx, self._tenant_id, self._run_id)
        if run is None:
            return _Page([], at_end=True, ended=True)  # deleted meanwhile
        events = await _stored_events(tx, self._tenant_id, self._run_id, self._thread_id, self._pos, run.ordinal)
        at_end = len(events) < limits.STREAM_REPLAY_ROWS
        return _Page(events, at_end, run.status.ended, run.status is RunStatus.WAITING)


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


def _ephemeral(delta: Delta, thread_id: ThreadId) -> Event:
    return Event(delta.run_id, thread_id, delta.type, delta.at, delta.data)


# -- a thread's runs, one after another ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThreadCursor:
    """Behind entry `pos` of the `ordinal`-th run that started in the thread."""

    ordinal: int = 0
    pos: int = 0


async def of_thread(
    house: House, principal: Principal, thread_id: ThreadId, after: ThreadCursor
) -> AsyncIterator[Event | Quiet]:
    """Follow a thread's runs, in the order in which they started; it ends when the thread is deleted.

    A run that was cancelled before it started has no place in it. Raises `NotFound`, or `Invalid` (`bad_cursor`).
    """
    access.demand(principal, Scope.THREADS_READ)
    access.demand(principal, Scope.RUNS_READ)
    await house.database.read(
        principal.tenant_id, lambda tx: _demand_thread_cursor(tx, principal.tenant_id, thread_id, after)
    )
    return _ThreadReader(house, principal.tenant_id, thread_id, after).follow()


async def _demand_thread_cursor(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, after: ThreadCursor) -> None:
    if await threads.get(tx, tenant_id, thread_id) is None:
        raise NotFound("There is no thread with this id.", code="thread_not_found")
    if after == ThreadCursor():
        return
    run_id = await runs.by_ordinal(tx, tenant_id, thread_id, after.ordinal)
    head = None if run_id is None else await heads.get(tx, tenant_id, run_id)
    if head is None or not 0 <= after.pos <= head.pos:
        raise Invalid("The thread has no event with this id.", code="bad_cursor")


class _ThreadReader:
    """One reader's place in a thread's stream."""

    def __init__(self, house: House, tenant_id: TenantId, thread_id: ThreadId, after: ThreadCursor) -> None:
        self._house = house
        self._tenant_id = tenant_id
        self._thread_id = thread_id
        self._at = after
        self._run_id: RunId | None = None
        self._completed = _Completed()
        self._gone = False

    async def follow(self) -> AsyncIterator[Event | Quiet]:
        subscription = self._house.hub.subscribe(self._thread_id)
        try:
            async for event in self._stored():
                yield event
            while not self._gone:
                async for event in self._next(subscription):
                    yield event
        finally:
            self._house.hub.unsubscribe(subscription)

    async def _next(self, subscription: Subscription) -> AsyncIterator[Event | Quiet]:
        """The next signals. Entries of several runs may mix: their order is the database's to tell."""
        signals = await subscription.take(limits.POLL_MS / 1000)
        if not signals:
            self._house.hub.keep_listening(subscription)
            yield QUIET
        behind = not signals
        for signal in signals:
            if not isinstance(signal, Delta):
                behind = True
                continue
            if behind:
                behind = False
                async for event in self._stored():
                    yield event
            if signal.run_id == self._run_id and self._completed.allows(signal):
                yield _ephemeral(signal, self._thread_id)
        if behind:
            async for event in self._stored():
                yield event

    async def _stored(self) -> AsyncIterator[Event]:
        while True:
            page = await _patient(self._house, self._tenant_id, self._read)
            for event in page.events:
                assert event.ordinal is not None
                assert event.pos is not None
                self._at = ThreadCursor(event.ordinal, event.pos)
                self._run_id = event.run_id
                self._completed.note(event)
                yield event
            self._gone = page.ended
            if page.at_end:
                return

    async def _read(self, tx: Tx) -> _Page:
        """A page of the run at the cursor or, when it has no more, of the one that started next."""
        if await threads.get(tx, self._tenant_id, self._thread_id) is None:
            return _Page([], at_end=True, ended=True)
        pos = self._at.pos
        for ordinal in (self._at.ordinal, self._at.ordinal + 1):
            run_id = await runs.by_ordinal(tx, self._tenant_id, self._thread_id, ordinal)
            if run_id is not None:
                events = await _stored_events(tx, self._tenant_id, run_id, self._thread_id, pos, ordinal)
                if events:
                    return _Page(events, at_end=False)
            pos = 0
        return _Page([], at_end=True)


# -- both -----------------------------------------------------------------------------------------------------------


async def _patient(house: House, tenant_id: TenantId, read: Any) -> _Page:
    """One page; none at the moment if the database cannot be reached: the next poll tries again."""
    try:
        return await house.database.read(tenant_id, read)
    except Unavailable:
        return _Page([], at_end=True)


async def _stored_events(
    tx: Tx, tenant_id: TenantId, run_id: RunId, thread_id: ThreadId, after: int, ordinal: int | None
) -> list[Event]:
    found = await entries.after(tx, tenant_id, run_id, after, limits.STREAM_REPLAY_ROWS)
    if not found:
        return []
    ids = await messages.ids_of_run(tx, tenant_id, run_id, found[0].pos, found[-1].pos)
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
