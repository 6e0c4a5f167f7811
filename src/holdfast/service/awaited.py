"""Events from outside: stored once, given to the runs that wait for them, kept for those that will."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.domain import access, ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import decode, digest, storable_text
from holdfast.domain.errors import Conflict, Invalid
from holdfast.domain.ids import EventId, RunId, TenantId
from holdfast.domain.runs import Run, RunStatus
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.service.nesting import shallow
from holdfast.store import awaited, heads, runs
from holdfast.store.awaited import Awaited, EventWait
from holdfast.store.base import Rejected, Tx
from holdfast.store.heads import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event as it is sent. `external_id`: the sender's own id, by which a second sending is recognised."""

    name: str
    key: str = ""
    data: Any = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as it stands; `replayed` when it was sent before. `woken`: runs that waited for it."""

    event: Awaited
    replayed: bool = False
    status: int = 202
    woken: tuple[RunId, ...] = ()


async def send(house: House, principal: Principal, new: NewEvent, key: Key | None = None) -> Sent:
    """Store an event and wake who waits for it; durable when this returns. Safe to repeat with an id, or a key.

    Raises `Conflict` (`event_conflict`) if the id was used for another event, `Invalid`.
    """
    access.demand(principal, Scope.EVENTS_WRITE)
    _check(new)
    tenant_id = principal.tenant_id
    data = shallow(new.data, what="An event's data")
    id = EventId(house.determinism.new_id())
    woken: list[tuple[RunId, bool, str]] = []

    async def body(tx: Tx) -> Sent:
        woken.clear()
        replay = await once(tx, tenant_id, key, 202, id)
        if isinstance(replay, Replay):
            known = await awaited.get(tx, tenant_id, EventId(replay.resource))
            if known is not None:
                return Sent(known, replayed=True, status=replay.status)
        # Whoever parks holds its head before it asks for the name's lock: in the other order they lock each other out.
        waiting = await awaited.waiters(tx, tenant_id, new.name, new.key)
        held = await heads.lock_many(tx, [(tenant_id, run_id) for run_id in waiting])
        await awaited.lock(tx, [(tenant_id, new.name, new.key)])
        if new.external_id is not None:
            known = await awaited.by_external_id(tx, tenant_id, new.external_id)
            if known is not None:
                return Sent(_same(known, new, data), replayed=True)
        waiting = await awaited.waiters(tx, tenant_id, new.name, new.key)
        late = await heads.lock_many(tx, [(tenant_id, run_id) for run_id in waiting if run_id not in held])
        event = Awaited(tenant_id, id, new.external_id, new.name, new.key, data, principal.id, 0, tx.now_ms)
        stored = await awaited.add(tx, event)
        woken.extend(await _wake(tx, tenant_id, waiting, {**held, **late}))
        return Sent(stored, woken=tuple(waiting))

    try:
        sent = await house.database.write(tenant_id, body)
    except Rejected:  # two senders brought one id at once: the loser finds the winner's
        if new.external_id is None:
            raise
        sent = await house.database.write(tenant_id, body)
    for run_id, queued, agent in woken:
        house.hub.bell(run_id)
        if queued:
            house.run_changed(tenant_id, run_id, RunStatus.QUEUED)
            house.hub.work(agent)
    return sent


async def _wake(
    tx: Tx, tenant_id: TenantId, waiting: list[RunId], held: dict[RunId, Head]
) -> list[tuple[RunId, bool, str]]:
    """Queue the waiting ones among these runs; which, and what their bells should ring for.

    Whoever parks for this name holds its lock while it looks for events: it either saw this one, or is waiting now.
    """
    found: list[tuple[RunId, bool, str]] = []
    for run_id in waiting:
        head = held.get(run_id)
        run = None if head is None else await runs.get(tx, tenant_id, run_id)
        if head is None or run is None or run.status.ended:
            continue
        queued = head.owner is None and run.status is RunStatus.WAITING
        if queued:
            await runs.requeue(tx, tenant_id, run_id, RunStatus.WAITING, at=tx.now_ms)
        found.append((run_id, queued, run.agent))
    return found


def _same(known: Awaited, new: NewEvent, data: bytes) -> Awaited:
    if (known.name, known.key) != (new.name, new.key) or digest(decode(known.data)) != digest(decode(data)):
        raise Conflict(
            "Another event was sent with this id.", code="event_conflict", event=ids.text(ids.EVENT, known.id)
        )
    return known


def _check(new: NewEvent) -> None:
    if not storable_text(new.name, what="name", chars_max=limits.EVENT_NAME_CHARS_MAX).strip():
        raise Invalid("An event needs a name.", code="invalid_event")
    storable_text(new.key, what="key", chars_max=limits.EVENT_NAME_CHARS_MAX)
    if new.external_id is not None and not storable_text(
        new.external_id, what="id", chars_max=limits.EVENT_ID_CHARS_MAX
    ):
        raise Invalid("An event's id is not empty.", code="invalid_event")


async def oldest(house: House, run: Run, wait: EventWait, *, limit: int) -> list[Awaited]:
    """The oldest events that a run may take, in order."""
    return await house.database.read(
        run.tenant_id, lambda tx: awaited.oldest(tx, run.tenant_id, run.id, wait, limit=limit)
    )
