"""What people do with a conversation that is a tree: change what they said, have an answer given anew, look at the
branches. Each is a fork of the run that wrote the message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.domain import access
from holdfast.domain.access import Principal, Scope
from holdfast.domain.errors import Conflict, Invalid, NotFound
from holdfast.domain.ids import MessageId, RunId, ThreadId
from holdfast.domain.threads import Role
from holdfast.service import forks
from holdfast.service.forks import Edits, ForkRun
from holdfast.service.house import House
from holdfast.service.idempotency import Key
from holdfast.service.runs import Started
from holdfast.store import lineage, messages, runs, threads
from holdfast.store.base import Tx
from holdfast.store.messages import Written


async def edit(
    house: House,
    principal: Principal,
    thread_id: ThreadId,
    message_id: MessageId,
    message: Any,
    how: ForkRun,
    key: Key | None = None,
) -> Started:
    """Say something else in place of a user's message: a run with that input, on a new branch that leaves before it.

    `how` is the fork to make; its run, step and edits are filled in. Raises what `forks.fork` does, and `NotFound`
    (`thread_not_found`, `message_not_found`).
    """
    written = await _written(house, principal, thread_id, message_id)
    if written.role is not Role.USER or written.pos != 1:
        raise Invalid(
            "Only what a user said, as the input of a run, can be said differently.",
            code="edit_not_possible",
            field=("message_id",),
        )
    ask = replace(how, run_id=written.run_id, at=0, edits=Edits(message=message), through=thread_id)
    return await forks.fork(house, principal, ask, key)


async def regenerate(
    house: House,
    principal: Principal,
    thread_id: ThreadId,
    message_id: MessageId | None,
    how: ForkRun,
    key: Key | None = None,
) -> Started:
    """Have an answer given anew on a new branch: the step that wrote this message, or the whole last run.

    After a user's message it is the run that answers it. Raises what `forks.fork` does, `NotFound` (`thread_not_found`,
    `message_not_found`), and `Conflict` (`thread_empty`).
    """
    if message_id is None:
        run_id = await _last_run(house, principal, thread_id)
        return await forks.fork(house, principal, replace(how, run_id=run_id, at=0, rerun=False), key)
    written = await _written(house, principal, thread_id, message_id)
    again = written.seq is not None
    ask = replace(how, run_id=written.run_id, at=written.seq or 0, rerun=again, through=thread_id)
    return await forks.fork(house, principal, ask, key)


async def _written(house: House, principal: Principal, thread_id: ThreadId, message_id: MessageId) -> Written:
    access.demand(principal, Scope.RUNS_WRITE)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> Written | None:
        pieces = await _demand(tx, principal, thread_id)
        return await messages.by_id(tx, tenant_id, thread_id, message_id, pieces)

    found = await house.database.read(tenant_id, body)
    if found is None:
        raise NotFound("There is no message with this id in the thread.", code="message_not_found")
    return found


async def _last_run(house: House, principal: Principal, thread_id: ThreadId) -> RunId:
    """The run that a thread ends with: of a branch without runs of its own there is none."""
    access.demand(principal, Scope.RUNS_WRITE)

    async def body(tx: Tx) -> RunId | None:
        await _demand(tx, principal, thread_id)
        return await runs.last_of_thread(tx, principal.tenant_id, thread_id)

    found = await house.database.read(principal.tenant_id, body)
    if found is None:
        raise Conflict("The thread has no run yet.", code="thread_empty")
    return found


async def _demand(tx: Tx, principal: Principal, thread_id: ThreadId) -> messages.Pieces:
    """What the thread reads of others; `NotFound` if there is no such thread."""
    thread = await threads.get(tx, principal.tenant_id, thread_id)
    if thread is None or thread.archived:
        raise NotFound("There is no thread with this id.", code="thread_not_found")
    return await lineage.of_thread(tx, principal.tenant_id, thread_id) if thread.branch_of is not None else ()
