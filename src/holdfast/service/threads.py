"""What can be asked of threads: make, look, change, delete. Each verb is one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import encode, storable_text
from holdfast.domain.errors import Conflict, Invalid, NotFound
from holdfast.domain.ids import TenantId, ThreadId
from holdfast.domain.threads import Thread, ThreadView
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.store import threads
from holdfast.store.base import Rejected, Tx
from holdfast.store.threads import Searched, ThreadFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class NewThread:
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """A thread after `create`; `replayed` when an earlier request with the same key had made it."""

    view: ThreadView
    replayed: bool = False
    status: int = 201


@dataclass(frozen=True, slots=True)
class Change:
    """What to set; None leaves it as it is. An empty title is no title, empty metadata none."""

    title: str | None = None
    metadata: dict[str, Any] | None = None


def _unknown() -> NotFound:
    return NotFound("There is no thread with this id.", code="thread_not_found")


async def create(house: House, principal: Principal, ask: NewThread, key: Key | None = None) -> Created:
    """Insert a thread; durable when this returns. Raises `Conflict` (`external_id_taken`, `idempotency_conflict`)."""
    access.demand(principal, Scope.THREADS_WRITE)
    metadata = _checked(ask.title, ask.metadata)
    if ask.external_id is not None:
        storable_text(ask.external_id, what="external_id", chars_max=limits.EXTERNAL_ID_CHARS_MAX)
    tenant_id = principal.tenant_id
    thread_id = ThreadId(house.determinism.new_id())

    async def body(tx: Tx) -> Replay | None:
        replay = await once(tx, tenant_id, key, 201, thread_id)
        if replay is not None:
            return replay
        if ask.external_id is not None and await threads.by_external_id(tx, tenant_id, ask.external_id):
            raise Conflict("Another thread has this external_id.", code="external_id_taken")
        given = {"title": ask.title or None, "metadata": metadata, "external_id": ask.external_id}
        await threads.add(tx, threads.new(tenant_id, thread_id, principal.id, tx.now_ms, **given))
        return None

    try:
        replay = await house.database.write(tenant_id, body)
    except Rejected:
        replay = await house.database.write(tenant_id, body)  # two brought one external id: the loser finds it taken
    if replay is not None:
        return Created(await _look(house, tenant_id, ThreadId(replay.resource)), replayed=True, status=replay.status)
    view = await _look(house, tenant_id, thread_id)
    _announce(house, view)
    return Created(view)


def _checked(title: str | None, metadata: dict[str, Any] | None) -> bytes | None:
    if title is not None:
        storable_text(title, what="title", chars_max=limits.TITLE_CHARS_MAX)
    if metadata is None:
        return None
    encoded = encode(metadata, what="metadata")
    if len(encoded) > limits.METADATA_BYTES_MAX:
        raise Invalid(f"metadata is larger than {limits.METADATA_BYTES_MAX:,} bytes of JSON.", code="invalid_metadata")
    return encoded if metadata else None


def _announce(house: House, view: ThreadView) -> None:
    house.thread_changed(view.thread.tenant_id, view.thread.id, view.status.value)


async def get(house: House, principal: Principal, thread_id: ThreadId) -> ThreadView:
    """A thread as it stands; `NotFound` for one of another tenant too."""
    access.demand(principal, Scope.THREADS_READ)
    return await _look(house, principal.tenant_id, thread_id)


async def _look(house: House, tenant_id: TenantId, thread_id: ThreadId) -> ThreadView:
    """The same for a verb that has written: who may do that may see what became of it."""
    view = await house.database.read(tenant_id, lambda tx: threads.view(tx, tenant_id, thread_id))
    if view is None:
        raise _unknown()
    return view


async def page(house: House, principal: Principal, wanted: ThreadFilter) -> list[ThreadView]:
    """A page of threads, newest first; those of child runs are left out."""
    access.demand(principal, Scope.THREADS_READ)
    return await house.database.read(principal.tenant_id, lambda tx: threads.page(tx, principal.tenant_id, wanted))


async def search(house: House, principal: Principal, wanted: ThreadFilter) -> Searched:
    """Threads whose title holds a text, or whose last run is of an agent, newest first: those among the next
    `THREADS_SEARCHED_MAX`, and from where the search goes on."""
    access.demand(principal, Scope.THREADS_READ)
    tenant_id = principal.tenant_id
    scanned_max = limits.THREADS_SEARCHED_MAX
    return await house.database.read(tenant_id, lambda tx: threads.search(tx, tenant_id, wanted, scanned_max))


async def change(house: House, principal: Principal, thread_id: ThreadId, wanted: Change) -> ThreadView:
    """Set a thread's title or metadata. Safe to repeat: what is so already is no change, and moves no `updated_at`."""
    access.demand(principal, Scope.THREADS_WRITE)
    metadata = _checked(wanted.title, wanted.metadata)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> bool:
        found = changed = await demand_own(tx, tenant_id, thread_id)
        if wanted.title is not None:
            changed = replace(changed, title=wanted.title or None)
        if wanted.metadata is not None:
            changed = replace(changed, metadata=metadata)
        if changed == found:
            return False
        await threads.change(tx, changed)
        return True

    moved = await house.database.write(tenant_id, body)
    view = await _look(house, tenant_id, thread_id)
    if moved:
        _announce(house, view)
    return view


async def demand_own(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> Thread:
    """The thread, if it may be changed: one of a child run belongs to the run that called it."""
    found = await threads.get(tx, tenant_id, thread_id)
    if found is None or found.archived:
        raise _unknown()
    if found.hidden:
        raise Conflict("The thread belongs to a child run; it goes with its parent.", code="thread_hidden")
    return found
