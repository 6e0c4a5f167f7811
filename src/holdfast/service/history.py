"""A thread's messages: for the next prompt of a run, and for readers. Those of a branch begin with what it shares."""

from __future__ import annotations

from holdfast.domain import access
from holdfast.domain.access import Principal, Scope
from holdfast.domain.errors import NotFound
from holdfast.domain.ids import TenantId, ThreadId
from holdfast.domain.runs import Run
from holdfast.domain.threads import Message
from holdfast.service.house import House
from holdfast.store import lineage, messages, threads
from holdfast.store.base import Tx

PAGE = 200


async def before(house: House, run: Run, position: int, *, turns: int | None) -> list[Message]:
    """Messages before a position, oldest first, void ones left out: all, or those of the last `turns` turns."""

    async def body(tx: Tx) -> list[Message]:
        pieces = await lineage.pieces_of(tx, run)
        first = 1
        if turns is not None:
            found = await messages.turn_start(tx, run.tenant_id, run.thread_id, position, turns, pieces)
            first = found or 1
        return await messages.between(tx, run.tenant_id, run.thread_id, first, position - 1, pieces)

    return await house.database.read(run.tenant_id, body)


async def page_before(house: House, run: Run, position: int) -> list[Message]:
    """Up to `PAGE` messages before a position, newest first, void ones left out."""

    async def body(tx: Tx) -> list[Message]:
        pieces = await lineage.pieces_of(tx, run)
        return await messages.backwards(tx, run.tenant_id, run.thread_id, position, PAGE, pieces)

    return await house.database.read(run.tenant_id, body)


async def page(house: House, principal: Principal, thread_id: ThreadId, after: int, limit: int) -> list[Message]:
    """A page of a thread's messages behind `position = after`, oldest first; void ones are shown as such."""
    access.demand(principal, Scope.THREADS_READ)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> list[Message]:
        return await messages.page(tx, tenant_id, thread_id, after, limit, await _pieces(tx, tenant_id, thread_id))

    return await house.database.read(tenant_id, body)


async def page_back(
    house: House, principal: Principal, thread_id: ThreadId, before: int | None, limit: int
) -> list[Message]:
    """The same newest first: before a position, or from the thread's end."""
    access.demand(principal, Scope.THREADS_READ)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> list[Message]:
        pieces = await _pieces(tx, tenant_id, thread_id)
        return await messages.page_back(tx, tenant_id, thread_id, _END if before is None else before, limit, pieces)

    return await house.database.read(tenant_id, body)


_END = 2**62


async def _pieces(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> messages.Pieces:
    """What the thread reads of others; `NotFound` if it is not there."""
    thread = await threads.get(tx, tenant_id, thread_id)
    if thread is None or thread.archived:
        raise NotFound("There is no thread with this id.", code="thread_not_found")
    return () if thread.branch_of is None else await lineage.of_thread(tx, tenant_id, thread_id)
