"""What workers do to runs from outside them: claim, give back orphans, wake timers, end the overdue."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from holdfast.domain import limits
from holdfast.domain.ids import ApprovalId, RunId, ThreadId, WorkerId
from holdfast.domain.journal import Entry, EntryType
from holdfast.domain.runs import Run, RunStatus, Undo
from holdfast.service import cancelling
from holdfast.service.cancelling import Stopped
from holdfast.service.house import House
from holdfast.store import (
    agents,
    approvals,
    awaited,
    blobs,
    claims,
    effects,
    entries,
    heads,
    idempotency,
    runs,
)
from holdfast.store.awaited import EventWait
from holdfast.store.base import Tx
from holdfast.store.claims import Claimed, Requeued
from holdfast.store.heads import Head
from holdfast.store.runs import Candidate

ROWS_MAX = 200
ROUNDS_MAX = 5
NOBODY = WorkerId(b"")


async def claim(
    house: House, worker: WorkerId, versions: Mapping[str, str], limit: int, *, alone: bool
) -> list[Claimed]:
    """Claim up to `limit` runs of the agents in `versions` (id → fingerprint).

    A suspect (a run whose workers died under it) is taken when there is nothing else: by a worker that runs nothing
    beside it (`alone`), or after it has waited `SUSPECT_PATIENCE_MS` for one.
    """

    pins = tuple(
        sorted((id, version) for id, version in versions.items() if house.agents[id].on_version_change == "pin")
    )

    async def body(tx: Tx) -> list[Claimed]:
        names, alone_from = tuple(versions), limits.LAPSES_ALONE
        found = await runs.claimable(tx, names, limit=limit, lapses_alone=alone_from, pins=pins)
        if not found:
            patience = 0 if alone else limits.SUSPECT_PATIENCE_MS
            found = await runs.suspects(tx, names, limit=1, lapses_alone=alone_from, waiting_ms=patience, pins=pins)
        return await claims.claim(tx, worker, found, versions, house.lease_ms) if found else []

    claimed = await house.database.write(None, body)
    for one in claimed:
        for pos, entry in one.appended:
            house.hub.entry(one.run.id, one.run.thread_id, pos, None, entry)
        house.run_changed(one.run.tenant_id, one.run.id, RunStatus.RUNNING)
    return claimed


async def next_at(house: House, names: Sequence[str]) -> int | None:
    """In how many ms from now (by the database's clock) the next queued run or timer falls due, if one does."""

    async def body(tx: Tx) -> int | None:
        due = (await runs.next_claimable_at(tx, names), await runs.next_due_at(tx), await approvals.next_due_at(tx))
        times = [t for t in due if t is not None]
        return max(0, min(times) - tx.now_ms) if times else None

    return await house.database.read(None, body)


async def wake_due(house: House) -> int:
    """Queue the waiting runs whose timer has come; how many."""
    due = await house.database.read(None, lambda tx: runs.due(tx, ROWS_MAX))
    woken = 0
    for candidate in due:
        if await house.database.write(None, lambda tx, c=candidate: claims.wake_due(tx, c)):
            woken += 1
            house.run_changed(candidate.tenant_id, candidate.run_id, RunStatus.QUEUED)
            house.hub.work(candidate.agent)
    return woken


async def end_overdue(house: House) -> int:
    """End the queued and waiting runs whose calendar deadline has passed; how many.

    One that acted, and has to undo it, is left to a worker: those are stepped over, however many they are.
    """
    count = left = 0
    for _ in range(ROUNDS_MAX):
        late = await house.database.read(None, lambda tx, n=left: runs.overdue(tx, ROWS_MAX, n))
        for candidate in late:
            stopped = await house.database.write(None, lambda tx, c=candidate: _end_late(tx, house, c))
            cancelling.announce(house, stopped.ended, stopped.bells, stopped.queued)
            count += len(stopped.ended)
            left += not stopped.ended
        if len(late) < ROWS_MAX or count >= ROWS_MAX:
            break
    return count


async def _end_late(tx: Tx, house: House, late: Candidate) -> Stopped:
    stopped = Stopped()
    run = await runs.get(tx, late.tenant_id, late.run_id)
    if run is None:
        return stopped
    await heads.lock_threads(tx, [(run.tenant_id, run.thread_id)])
    touched = [(run.tenant_id, run.id)] + ([(run.tenant_id, run.parent_id)] if run.parent_id else [])
    head = (await heads.lock_many(tx, touched)).get(run.id)
    run = await runs.get(tx, late.tenant_id, late.run_id)
    if run is None or head is None or run.deadline is None or run.deadline > tx.now_ms or run.undo is Undo.BEGUN:
        return stopped
    if run.status not in (RunStatus.WAITING, RunStatus.QUEUED):
        return stopped
    if await _left_to_a_worker(tx, house, run, head):
        if run.status is RunStatus.WAITING:
            await runs.requeue(tx, run.tenant_id, run.id, RunStatus.WAITING, at=tx.now_ms)
            stopped.queued.append((run.id, run.agent))
    elif run.status is RunStatus.WAITING:
        reason = "The run's calendar deadline passed."
        data: dict[str, object] = {"code": "limit_deadline", "message": reason, "retryable": True}
        stopped.ended.append(await claims.end_unowned(tx, run, head, RunStatus.FAILED, EntryType.RUN_FAILED, data))
    else:
        await runs.ask_cancel(tx, run, "deadline")
        data = {"reason": "deadline"}
        stopped.ended.append(
            await claims.end_unowned(tx, run, head, RunStatus.CANCELLED, EntryType.RUN_CANCELLED, data)
        )
    return stopped


async def _left_to_a_worker(tx: Tx, house: House, run: Run, head: Head) -> bool:
    """Whether a run past its deadline did what has to be undone: a worker finds the deadline passed, or the run
    cancelled, and undoes it before the run ends. What an agent says that is not in this process, a worker knows."""
    agent = house.agents.get(run.agent)
    causes = frozenset({"failure"}) if agent is None else frozenset[str](agent.compensate)
    if "failure" not in causes:  # then it is undone as a cancelled one, if somebody wants that
        wanted = "cancel" in causes or run.undo is Undo.ASKED
        if run.status is RunStatus.WAITING or not wanted:
            return False
    if run.started_at is None or not await effects.committed_below(tx, run.tenant_id, run.id):
        return False
    if "failure" not in causes and not head.cancel:
        await runs.ask_cancel(tx, run, "deadline", undo=True)
        await heads.set_cancel(tx, run.tenant_id, run.id, True)
    return True


async def requeue_dead(house: House, me: WorkerId) -> list[Requeued]:
    """Take back the runs of owners that are known to be gone, without waiting for their leases."""
    owners = await house.database.read(None, heads.owners)
    back: list[Requeued] = []
    for owner in owners:
        if owner != me and house.database.is_dead(owner):
            held = await house.database.read(None, lambda tx, o=owner: heads.of_owner(tx, o, limit=ROWS_MAX))
            back += await _requeue(house, held, dead=True)
    return back


async def requeue_lapsed(house: House, me: WorkerId, executing: Container[bytes]) -> list[Requeued]:
    """Take back the runs whose lease ran out: never one that executes in this process (`executing`, run ids).

    A run of our own that nothing executes is as lost as another's: its claim was committed without our knowing (the
    answer was lost, the request cancelled), or its executor could not even release it.
    """
    held = await house.database.read(None, lambda tx: heads.lapsed(tx, but_not_of=NOBODY, limit=ROWS_MAX))
    lost = [(head, thread) for head, thread in held if head.owner != me or head.run_id not in executing]
    return await _requeue(house, lost, dead=False)


async def _requeue(house: House, held: Sequence[tuple[Head, ThreadId]], *, dead: bool) -> list[Requeued]:
    back: list[Requeued] = []
    for head, thread_id in held:
        one = await house.database.write(
            None,
            lambda tx, h=head, t=thread_id: claims.requeue_orphan(tx, h.tenant_id, t, h.run_id, h.epoch, dead=dead),
        )
        if one is not None:
            back.append(one)
            cancelling.announce_requeued(house, one)
    return back


async def still_ours(house: House, claimed: Claimed) -> Claimed | None:
    """Read back after an unknown commit: the run with its journal as it is now, if this claim still holds."""

    async def body(tx: Tx) -> Claimed | None:
        run, tenant_id = claimed.run, claimed.run.tenant_id
        head = await heads.get(tx, tenant_id, run.id)
        if head is None or head.owner is None or head.epoch != claimed.epoch:
            return None
        return await claims.read_back(tx, claimed)

    return await house.database.read(None, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitedFor:
    """What a running run waits for: children, questions (with the keys of their steps), events."""

    children: Sequence[RunId] = ()
    approvals: Sequence[tuple[ApprovalId, str]] = ()
    events: Sequence[EventWait] = ()


@dataclass(frozen=True, slots=True)
class News:
    """Why the bell of a running run may have rung."""

    stop: bool
    ended: set[RunId]
    answers: dict[ApprovalId, Entry]
    events: set[EventWait]


async def news(house: House, claimed: Claimed, waited: WaitedFor) -> News:
    """Was the run asked to stop, and what of that which it waits for is over?"""
    tenant_id, run_id = claimed.run.tenant_id, claimed.run.id

    async def body(tx: Tx) -> News:
        head = await heads.get(tx, tenant_id, run_id)
        stop = head is not None and head.cancel and head.epoch == claimed.epoch
        ended = await runs.ended_among(tx, [(tenant_id, child) for child in waited.children])
        closed = await approvals.closed_among(tx, tenant_id, [id for id, _ in waited.approvals])
        answers: dict[ApprovalId, Entry] = {}
        for id, key in waited.approvals:
            found = await entries.last_result(tx, tenant_id, run_id, key) if id in closed else None
            if found is not None:
                answers[id] = found
        arrived = {wait for wait in waited.events if await awaited.oldest(tx, tenant_id, run_id, wait)}
        return News(stop, ended, answers, arrived)

    return await house.database.read(tenant_id, body)


async def cancel_reason(house: House, run: Run) -> str | None:
    """Why a run was asked to stop, as the one who asked said."""
    found = await house.database.read(run.tenant_id, lambda tx: runs.get(tx, run.tenant_id, run.id))
    return None if found is None else found.cancel_reason


async def undo_asked(house: House, run: Run) -> bool:
    """Whether who cancelled a run wants undone what it did."""
    found = await house.database.read(run.tenant_id, lambda tx: runs.get(tx, run.tenant_id, run.id))
    return found is not None and found.undo is not Undo.NO


async def housekeeping(house: House) -> None:
    """What nobody waits for: old idempotency keys, blobs that nothing refers to, events too old to be taken."""
    await house.database.write(None, idempotency.expire)
    await house.database.write(None, blobs.collect)
    await house.database.write(None, awaited.expire)


async def seen(house: House, worker: WorkerId, versions: Mapping[str, str], host: str, pid: int, slots: int) -> None:
    await house.database.write(None, lambda tx: agents.seen(tx, worker, versions, host, pid, slots))


async def gone(house: House, worker: WorkerId) -> None:
    await house.database.write(
        None, lambda tx: agents.forget_worker(tx, worker, unseen_for_ms=100 * limits.WORKER_SEEN_MS)
    )
