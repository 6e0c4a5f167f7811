"""Deleting threads: one that branches read goes with them, or stays out of sight for as long as they read it.

One transaction, under the locks of all threads that it changes, taken in id order. What it is to change is looked for
before the locks are held and again under them: a branch made meanwhile, or deleted, starts it over. A fork holds a key
lock on the thread it leaves, so it is made before this looks, or finds nothing to leave.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from holdfast.agents.native import prompt as prompts
from holdfast.domain import access
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Conflict
from holdfast.domain.ids import TenantId, ThreadId
from holdfast.service.house import House
from holdfast.service.threads import demand_own
from holdfast.store import archive, heads, threads
from holdfast.store.base import Tx


class Branches(StrEnum):
    """What becomes of the branches of a deleted thread. `refuse`: with one, the thread is not deleted; `delete`: they
    are deleted too, at any depth; `copy`: they keep what they read of it."""

    REFUSE = "refuse"
    DELETE = "delete"
    COPY = "copy"


@dataclass(slots=True)
class _Plan:
    """What goes. `going`: threads, and whether a run of each is alive; `readers`: those that read them and stay;
    `archived`: threads deleted earlier, that are only there for somebody who goes now."""

    going: dict[ThreadId, bool] = field(default_factory=dict[ThreadId, bool])
    readers: set[ThreadId] = field(default_factory=set[ThreadId])
    archived: set[ThreadId] = field(default_factory=set[ThreadId])

    def locked(self) -> set[ThreadId]:
        """All that must hold still. Readers too: one that goes now takes nothing along that is archived only now."""
        return self.going.keys() | self.readers | self.archived


class _Moved(Exception):
    """Branches were made or deleted while the locks were taken."""


_TRIES = 5


async def remove(house: House, principal: Principal, thread_id: ThreadId, branches: Branches = Branches.REFUSE) -> None:
    """Delete a thread with its runs, their journals and messages, and its runs' children with theirs.

    Raises `NotFound`; `Conflict`: `thread_busy` while a run of what is to go has not ended, `has_branches`.
    """
    access.demand(principal, Scope.THREADS_WRITE)
    tenant_id = principal.tenant_id
    for _ in range(_TRIES):
        try:
            gone = await house.database.write(tenant_id, lambda tx: _remove(tx, tenant_id, thread_id, branches))
        except _Moved:
            continue
        for id in gone:
            house.hub.look(id)
            house.thread_changed(tenant_id, id, "deleted")
        return
    raise Conflict("Branches of the thread come and go: try again.", code="thread_busy")


async def _remove(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, branches: Branches) -> list[ThreadId]:
    await demand_own(tx, tenant_id, thread_id)
    before = await _planned(tx, tenant_id, thread_id, branches)
    await heads.lock_threads(tx, [(tenant_id, id) for id in before.locked()])
    await demand_own(tx, tenant_id, thread_id)
    plan = await _planned(tx, tenant_id, thread_id, branches)
    if plan.locked() != before.locked():
        raise _Moved
    if any(plan.going.values()):
        raise Conflict(
            "A run of the thread, or of one that goes with it, is alive: cancel it first.", code="thread_busy"
        )
    if plan.readers and branches is not Branches.COPY:
        raise _has_branches(len(plan.readers))
    for id in plan.going:
        if plan.readers and await archive.readers(tx, tenant_id, id):
            await archive.archive(tx, tenant_id, id, _hashes)
        else:
            await archive.remove(tx, tenant_id, id)
    await _let_go_of_sources(tx, tenant_id, plan.archived)
    return list(plan.going)


def _has_branches(count: int) -> Conflict:
    branches = "1 branch reads" if count == 1 else f"{count} branches read"
    return Conflict(
        f"{branches} this thread. With ?branches=delete they are deleted too, with ?branches=copy they stay and keep "
        "what they read.",
        code="has_branches",
        branches=count,
    )


async def _planned(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, branches: Branches) -> _Plan:
    """The thread and the hidden ones of its runs' children; and the branches that read one of them, with theirs."""
    plan = _Plan()
    left = [thread_id]
    while left:
        first = left.pop()
        family = {} if first in plan.going else await threads.family(tx, tenant_id, first)
        plan.going |= family
        for id in family:
            readers = await archive.readers(tx, tenant_id, id)
            if branches is Branches.DELETE:
                left += [reader.thread_id for reader in readers]
            else:
                plan.readers |= {reader.thread_id for reader in readers if not reader.archived}
            plan.archived.update(await archive.archived_sources(tx, tenant_id, id))
    plan.readers -= plan.going.keys()
    plan.archived -= plan.going.keys()
    return plan


async def _let_go_of_sources(tx: Tx, tenant_id: TenantId, archived: Iterable[ThreadId]) -> None:
    """Remove archived threads that nobody reads any more, and those that only they read; others keep less."""
    left = set(archived)
    while left:
        id = left.pop()
        if await archive.readers(tx, tenant_id, id):
            await archive.archive(tx, tenant_id, id, _hashes)
        else:
            left.update(await archive.archived_sources(tx, tenant_id, id))
            await archive.remove(tx, tenant_id, id)


def _hashes(stored: bytes) -> list[bytes]:
    return prompts.needs(decode(stored))[1]
