"""Stopping a run and everything below it. Used by the cancel verb and by runs that interrupt a thread's holder.

A queued or waiting run ends here and now. A running one is asked: its worker ends it, or recovery does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import EntryType
from holdfast.domain.runs import RunStatus, Undo
from holdfast.service.house import House
from holdfast.store import claims, heads, runs
from holdfast.store.base import Tx
from holdfast.store.claims import Requeued
from holdfast.store.heads import Head


@dataclass(slots=True)
class Stopped:
    """Runs that ended in the transaction, running ones to be told after it, and ones that a worker has to undo."""

    ended: list[Requeued] = field(default_factory=list[Requeued])
    bells: list[RunId] = field(default_factory=list[RunId])
    queued: list[tuple[RunId, str]] = field(default_factory=list[tuple[RunId, str]])


async def stop(
    tx: Tx,
    house: House,
    tenant_id: TenantId,
    run_id: RunId,
    thread_id: ThreadId,
    *,
    reason: str | None,
    rollback: bool = False,
    undo: bool = False,
) -> Stopped:
    """Cancel a run and its live descendants, parents first: a parent that ended is not woken by its children.

    `undo`: what they did is undone before they end, also by agents that do not say so themselves.
    """
    above = await runs.get(tx, tenant_id, run_id)
    parent = None if above is None else above.parent_id
    tree: list[tuple[RunId, ThreadId]] = []
    locked: dict[RunId, Head] = {}
    below = [(run_id, thread_id), *await runs.descendants_alive(tx, tenant_id, run_id)]
    while len(below) > len(tree):
        tree = below
        locked = await _locked(tx, tenant_id, tree, parent)
        # A child starts under its parent's lock: with that held, one that slipped in is seen, and no more come.
        below = [(run_id, thread_id), *await runs.descendants_alive(tx, tenant_id, run_id)]
    stopped = Stopped()
    for id, _ in tree:
        await _stop_one(tx, house, tenant_id, id, locked.get(id), reason, rollback and id == run_id, undo, stopped)
    return stopped


async def _locked(
    tx: Tx, tenant_id: TenantId, tree: Sequence[tuple[RunId, ThreadId]], parent: RunId | None
) -> dict[RunId, Head]:
    await heads.lock_threads(tx, [(tenant_id, thread_id) for _, thread_id in tree])
    touched = [(tenant_id, run_id) for run_id, _ in tree]
    return await heads.lock_many(tx, [*touched, (tenant_id, parent)] if parent is not None else touched)


async def _stop_one(
    tx: Tx,
    house: House,
    tenant_id: TenantId,
    run_id: RunId,
    head: Head | None,
    reason: str | None,
    rollback: bool,
    undo: bool,
    stopped: Stopped,
) -> None:
    run = await runs.get(tx, tenant_id, run_id)
    if run is None or head is None or run.status.ended or run.undo is Undo.BEGUN:
        return
    agent = house.agents.get(run.agent)
    undo = undo or (agent is not None and "cancel" in agent.compensate)
    await runs.ask_cancel(tx, run, reason, rollback=rollback, undo=undo)
    if run.status is RunStatus.RUNNING:
        await heads.set_cancel(tx, tenant_id, run_id, True)
        stopped.bells.append(run_id)
        return
    asked = await runs.get(tx, tenant_id, run_id)
    assert asked is not None
    if await claims.to_be_undone(tx, asked):  # a worker has to do that
        await heads.set_cancel(tx, tenant_id, run_id, True)
        if run.status is RunStatus.WAITING:
            await runs.requeue(tx, tenant_id, run_id, RunStatus.WAITING, at=tx.now_ms)
        stopped.queued.append((run_id, run.agent))
        return
    data: dict[str, object] = {"reason": asked.cancel_reason}
    stopped.ended.append(await claims.end_unowned(tx, asked, head, RunStatus.CANCELLED, EntryType.RUN_CANCELLED, data))


def announce(
    house: House, ended: Sequence[Requeued], bells: Sequence[RunId], queued: Sequence[tuple[RunId, str]] = ()
) -> None:
    """After the commit: publish what ended, ring who should stop, wake who may go on."""
    for run_id, agent in queued:
        house.hub.bell(run_id)
        house.hub.work(agent)
    for run_id in bells:
        house.hub.bell(run_id)
    for one in ended:
        announce_requeued(house, one)


def announce_requeued(house: House, one: Requeued) -> None:
    if one.entry is not None and one.pos is not None:
        house.hub.entry(one.run_id, one.thread_id, one.pos, None, one.entry)
        status = RunStatus.CANCELLED if one.cancelled else RunStatus.FAILED
        house.run_changed(one.tenant_id, one.run_id, status)
        house.closed(one.tenant_id, one.closed)
    else:
        house.run_changed(one.tenant_id, one.run_id, RunStatus.QUEUED)
        house.hub.work(one.agent)
    if one.parent_id is not None:
        house.hub.bell(one.parent_id)
    if one.woken is not None:
        house.run_changed(one.tenant_id, one.woken, RunStatus.QUEUED)
    if one.promoted is not None or one.woken is not None:
        house.hub.work(None)
        house.hub.work(one.agent)
