"""One batch of appends, of many runs, in one transaction: lock, start effects, fence, insert, and what follows when a
run ends.

Invariants: an append counts only where the run's head says running under the append's epoch; `pos` and `seq` come from
that same UPDATE; of an append that starts an effect which may not start now only the plan is written; a run that ends
wakes its parent and promotes the next of its thread in the same commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from holdfast.domain.effects import EffectStatus
from holdfast.domain.encoding import decode
from holdfast.domain.ids import ApprovalId, EffectId, RunId, TenantId, ThreadId
from holdfast.domain.journal import EntryType, NewEntry
from holdfast.domain.runs import Run, RunStatus, Usage
from holdfast.store import approvals, awaited, effects, ending, entries, heads, runs, states, threads
from holdfast.store.approvals import Ask
from holdfast.store.awaited import Await, EventWait, Stop
from holdfast.store.base import Tx
from holdfast.store.effects import Plan, Replan, Settle, Start
from holdfast.store.states import Publish

Op = Plan | Replan | Start | Settle | Ask | Await | Stop | Publish
"""What is written beside a run's entries, in the same commit: to the ledger, the inbox, the awaited events, and that
the run has published state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """running → waiting, unless something it waits for has closed already."""

    waiting_on: bytes
    wake_at: int | None
    children: tuple[RunId, ...] = ()
    approvals: tuple[ApprovalId, ...] = ()
    events: tuple[EventWait, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """running → queued: the owner lets go on purpose (drain), the run is claimable at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """running → ended; `parent` is woken. `successor` starts in the same commit, ahead of the thread's queue. `held`:
    the run has effects, questions or waits that its end closes."""

    end: runs.End
    parent: RunId | None = None
    successor: Successor | None = None
    held: bool = True


@dataclass(frozen=True, slots=True)
class BeginUndo:
    """running → running: the run undoes what it did, under no request to stop any more, and ends after that."""


@dataclass(frozen=True, slots=True)
class Successor:
    """A run that follows on another one's end, and its input (JSON). Its rank is given in the commit."""

    run: Run
    input: bytes


Change = Park | Release | Finish | BeginUndo


@dataclass(slots=True, kw_only=True)
class Append:
    """What one run wants to record. `usage` and `acting_agent` go to the run's row together with a change of state."""

    tenant_id: TenantId
    run_id: RunId
    thread_id: ThreadId
    epoch: int
    entries: Sequence[NewEntry]
    ops: Sequence[Op] = ()
    change: Change | None = None
    usage: Usage | None = None
    acting_agent: str = ""


@dataclass(slots=True)
class Appended:
    """What became of an append. `pos` and `seq` stand before its first entry.

    `refused`: the run has another owner. `open_again`: the park was refused, nothing was written. `declined`: an effect
    may not start, and it says why; nothing but its plan was written. `promoted` and `woken` became claimable. `closed`:
    what the run's end, or its undoing, made moot; `settled`: what became of effects.
    """

    pos: int = 0
    seq: int = 0
    cancel: bool = False
    refused: bool = False
    open_again: bool = False
    declined: str | None = None
    promoted: RunId | None = None
    woken: RunId | None = None
    parent_touched: RunId | None = None
    closed: ending.Closed = ending.NOTHING
    settled: tuple[tuple[EffectId, EffectStatus], ...] = ()


@dataclass(slots=True)
class _Placed:
    appends: list[tuple[Append, Appended]] = field(default_factory=list[tuple[Append, Appended]])
    entries: int = 0
    steps: int = 0


async def append(tx: Tx, batch: Sequence[Append], lease_ms: int) -> list[Appended]:
    """Write a batch; one result per append, in order."""
    results = [Appended() for _ in batch]
    if any(a.change is not None or a.ops for a in batch):
        held = await _lock(tx, batch)
        await _refuse_parks(tx, batch, results)
        await _plan_and_start(tx, batch, results, held)
    placed = _group(batch, results)
    rows = [
        (tenant_id, run_id, epoch, group.entries, group.steps)
        for (tenant_id, run_id, epoch), group in sorted(placed.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    fenced = {(row[0], row[1], row[2]): row[3:] for row in await heads.fence(tx, rows, lease_ms)}
    writing = entries.Batch()
    accepted: list[tuple[Append, Appended]] = []
    for key, group in placed.items():
        row = fenced.get(key)
        if row is None:
            for _, result in group.appends:
                result.refused = True
            continue
        accepted.extend(group.appends)
        pos, seq, cancel = row
        _place(writing, group, pos - group.entries, seq - group.steps, bool(cancel))
    await writing.write(tx)
    await _note(tx, [pair for pair in accepted if pair[0].ops])
    await _change(tx, accepted)
    return results


def _group(batch: Sequence[Append], results: Sequence[Appended]) -> dict[tuple[TenantId, RunId, int], _Placed]:
    placed: dict[tuple[TenantId, RunId, int], _Placed] = {}
    for one, result in zip(batch, results, strict=True):
        if result.open_again or result.declined is not None:
            continue
        group = placed.setdefault((one.tenant_id, one.run_id, one.epoch), _Placed())
        group.appends.append((one, result))
        group.entries += len(one.entries)
        group.steps += sum(1 for e in one.entries if e.is_step)
    return placed


def _place(writing: entries.Batch, group: _Placed, pos: int, seq: int, cancel: bool) -> None:
    for one, result in group.appends:
        result.pos, result.seq, result.cancel = pos, seq, cancel
        writing.add(one.tenant_id, one.run_id, one.thread_id, one.epoch, pos, seq, one.entries)
        pos += len(one.entries)
        seq += sum(1 for e in one.entries if e.is_step)


async def _lock(tx: Tx, batch: Sequence[Append]) -> dict[RunId, heads.Head]:
    """Everything this batch will touch, in the house's order: threads, then heads by id, then the names of events.
    The heads of the runs that write to the ledger."""
    ledger = [(a.tenant_id, a.run_id) for a in batch if any(isinstance(op, (Plan, Replan, Start)) for op in a.ops)]
    if not tx.locks_rows:
        return await heads.lock_many(tx, ledger)
    await heads.lock_threads(tx, [(a.tenant_id, a.thread_id) for a in batch if isinstance(a.change, Finish)])
    # A successor's run and thread rows are this run's own: the thread is locked, nobody else knows the new id.
    touched = [(a.tenant_id, a.run_id) for a in batch]
    touched += [
        (a.tenant_id, a.change.parent) for a in batch if isinstance(a.change, Finish) and a.change.parent is not None
    ]
    held = await heads.lock_many(tx, touched)
    parking = [(a.tenant_id, e.name, e.key) for a in batch if isinstance(a.change, Park) for e in a.change.events]
    await awaited.lock(tx, parking)
    return held


async def _refuse_parks(tx: Tx, batch: Sequence[Append], results: Sequence[Appended]) -> None:
    """Read what a parking run waits for only now, under its lock and in a statement of its own: what closed before the
    lock was taken is seen here, what closes later finds the run waiting and wakes it."""
    for one, result in zip(batch, results, strict=True):
        if isinstance(one.change, Park):
            head = await heads.get(tx, one.tenant_id, one.run_id)
            if head is None or head.owner is None or head.epoch != one.epoch:
                continue  # not ours to park: the fence refuses it
            result.cancel = head.cancel
            result.open_again = head.cancel or await _has_closed(tx, one, one.change)


async def _has_closed(tx: Tx, one: Append, park: Park) -> bool:
    """Whether something that a parking run waits for is there already."""
    if park.wake_at is not None and park.wake_at <= tx.now_ms:
        return True
    if await runs.ended_among(tx, [(one.tenant_id, child) for child in park.children]):
        return True
    if await approvals.closed_among(tx, one.tenant_id, park.approvals):
        return True
    return await awaited.any_arrived(tx, one.tenant_id, one.run_id, park.events)


async def _plan_and_start(
    tx: Tx, batch: Sequence[Append], results: Sequence[Appended], held: dict[RunId, heads.Head]
) -> None:
    """The ledger's half that has to come before the fence: it may decline an append. Only for runs that are ours; the
    fence refuses the others, and nobody can come between, since their heads are locked."""
    ours: list[tuple[Append, Appended]] = []
    for one, result in zip(batch, results, strict=True):
        head = held.get(one.run_id)
        if one.ops and head is not None and head.owner is not None and head.epoch == one.epoch:
            ours.append((one, result))
    plans = [(a.tenant_id, a.run_id, a.epoch, op) for a, _ in ours for op in a.ops if isinstance(op, Plan)]
    if plans:
        await effects.plan(tx, plans)
    for one, _ in ours:
        for op in one.ops:
            if isinstance(op, Replan):
                await effects.replan(tx, one.tenant_id, one.run_id, op)
    starts = [(a.tenant_id, a.run_id, a.epoch, op) for a, _ in ours for op in a.ops if isinstance(op, Start)]
    if not starts:
        return
    started = await effects.start(tx, starts)
    for one, result in ours:
        for op in one.ops:
            if isinstance(op, Start) and (one.run_id, op.key) not in started:
                result.declined = await effects.why_not(tx, one.tenant_id, one.run_id, one.epoch, op)


async def _note(tx: Tx, noted: Sequence[tuple[Append, Appended]]) -> None:
    """The other half: what became of effects, questions that open, waits that begin and end."""
    accepted = [one for one, _ in noted]
    settles = [(one, result, op) for one, result in noted for op in one.ops if isinstance(op, Settle)]
    if settles:
        ids = await effects.settle(tx, [(one.tenant_id, one.run_id, one.epoch, op) for one, _, op in settles])
        for (_, result, op), id in zip(settles, ids, strict=True):
            result.settled = (*result.settled, (id, op.after))
    asks = [(a.tenant_id, a.run_id, op) for a in accepted for op in a.ops if isinstance(op, Ask)]
    if asks:
        await approvals.open_all(tx, asks)
    waits = [(a.tenant_id, a.run_id, op) for a in accepted for op in a.ops if isinstance(op, (Await, Stop))]
    if waits:
        await awaited.note(tx, waits)
    for one in accepted:
        if any(isinstance(op, Publish) for op in one.ops):
            await states.mark(tx, one.tenant_id, one.run_id)


async def _change(tx: Tx, accepted: Sequence[tuple[Append, Appended]]) -> None:
    """Parks before ends, so that a child that ends in the same batch finds its parent waiting."""
    for one, _ in accepted:
        if one.change is not None and one.usage is not None:
            await runs.set_usage(tx, one.tenant_id, one.run_id, one.usage, one.acting_agent)
        if isinstance(one.change, Park):
            await runs.park(tx, one.tenant_id, one.run_id, one.change.waiting_on, one.change.wake_at)
            await _let_go(tx, one)
    for one, result in accepted:
        if isinstance(one.change, Release):
            await runs.requeue(tx, one.tenant_id, one.run_id, RunStatus.RUNNING, at=tx.now_ms)
            await _let_go(tx, one)
            result.promoted = one.run_id
        elif isinstance(one.change, BeginUndo):
            await heads.set_cancel(tx, one.tenant_id, one.run_id, False)
            await runs.begin_undo(tx, one.tenant_id, one.run_id)
            moot = await approvals.close(tx, one.tenant_id, one.run_id)  # its code does not go on
            result.closed = ending.Closed(tuple(moot))
            await awaited.close(tx, one.tenant_id, one.run_id)
        elif isinstance(one.change, Finish):
            await _finish(tx, one, one.change, result)


async def _let_go(tx: Tx, one: Append) -> None:
    head = await heads.get(tx, one.tenant_id, one.run_id)
    assert head is not None
    await heads.free(tx, head, fence=False)


async def _finish(tx: Tx, one: Append, finish: Finish, result: Appended) -> None:
    await _let_go(tx, one)
    end = finish.end
    if end.output_here:
        end = replace(end, output_pos=result.pos + len(one.entries))
    if finish.successor is not None:
        asked = await runs.get(tx, one.tenant_id, one.run_id) if result.cancel else None
        await _add_successor(tx, finish.successor, asked)
    if finish.held:
        result.closed = await ending.close(tx, one.tenant_id, one.run_id)
    after = await ending.end(tx, one.tenant_id, one.run_id, one.thread_id, finish.parent, RunStatus.RUNNING, end)
    result.promoted, result.woken, result.parent_touched = after.promoted, after.woken, finish.parent


async def _add_successor(tx: Tx, successor: Successor, asked: Run | None) -> None:
    """`asked`: the run itself, if it was asked to stop while it handed over; the request passes to its successor."""
    run = successor.run
    if asked is not None:
        run = replace(run, cancel_requested_at=asked.cancel_requested_at, cancel_reason=asked.cancel_reason)
    rank = await threads.next_rank(tx, run.tenant_id, run.thread_id)
    rank = await runs.rank_behind_holder(tx, run.tenant_id, run.thread_id) or rank
    await runs.add(tx, replace(run, rank=rank, created_at=tx.now_ms), decode(run.tags) or ())
    await heads.add(tx, heads.Head(run.tenant_id, run.id, 0, 1, 0, None, None, 0, asked is not None))
    queued = NewEntry(type=EntryType.RUN_QUEUED, at=tx.now_ms, payload=successor.input)
    await entries.add(tx, run.tenant_id, run.id, run.thread_id, epoch=0, pos=0, seq=0, new=[queued])
