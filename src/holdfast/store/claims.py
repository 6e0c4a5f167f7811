"""Taking and giving back runs: claim, start within the insert, requeue of orphans.

A claim is a fencing token: it raises the run's epoch, and only appends under that epoch count from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from holdfast.domain import limits
from holdfast.domain.effects import Effect
from holdfast.domain.encoding import decode, encode
from holdfast.domain.forks import inherited
from holdfast.domain.ids import (
    EVENT,
    WORKER,
    EventId,
    MessageId,
    RunId,
    TenantId,
    ThreadId,
    WorkerId,
    derived,
    parse,
    text,
)
from holdfast.domain.journal import Entry, EntryType, NewEntry, NewMessage, StepKind, StepStatus
from holdfast.domain.runs import Run, RunStatus, Undo
from holdfast.domain.threads import Role
from holdfast.store import agents, awaited, effects, ending, entries, heads, lineage, messages, runs, threads
from holdfast.store.base import Row, Tx
from holdfast.store.heads import Head
from holdfast.store.runs import Candidate, End


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that is now ours. `entries` is its journal from before this claim, `input` is JSON; `positions` tells, for
    each entry that is a message (by `pos`), its place in the thread. `effects`: the run's part of the ledger.

    Of a fork `entries` begin with what it inherited, up to the `pos` `inherited`; its own messages stand from
    `first_place` on. `began_at`: since when events count for it, ms UTC: since its creation, or that of the run whose
    input it has."""

    run: Run
    epoch: int
    input: bytes
    entries: tuple[Entry, ...]
    input_position: int
    first_place: int
    next_position: int
    lapses: int
    positions: Mapping[int, int]
    appended: tuple[tuple[int, NewEntry], ...] = ()
    effects: tuple[Effect, ...] = ()
    inherited: int = 0
    began_at: int = 0


def input_message_id(run_id: RunId) -> MessageId:
    return MessageId(derived(run_id, "input"))


async def claim(
    tx: Tx,
    worker: WorkerId,
    candidates: Sequence[Candidate],
    versions: Mapping[str, str],
    lease_ms: int,
) -> list[Claimed]:
    """Claim those of the candidates that are still claimable and that nobody else is claiming now."""
    await heads.lock_threads(tx, [(c.tenant_id, c.thread_id) for c in candidates if not c.started])
    free = await heads.lock_free(tx, [(c.tenant_id, c.run_id) for c in candidates])
    claimed: list[Claimed] = []
    for candidate in candidates:
        head = free.get((candidate.tenant_id, candidate.run_id))
        if head is None or head.owner is not None:
            continue
        run = await runs.get(tx, candidate.tenant_id, candidate.run_id)
        if run is None or run.status is not RunStatus.QUEUED or run.claimable_at is None:
            continue
        if run.claimable_at > tx.now_ms:
            continue  # put off since it was found: it was claimed, and backs off after a lapse
        if (run.started_at is not None) is not candidate.started:
            continue  # the thread was not locked for this one: the next round will
        claimed.append(await _take(tx, worker, run, head, versions.get(run.agent, ""), lease_ms))
    return claimed


async def _take(tx: Tx, worker: WorkerId, run: Run, head: Head, version: str, lease_ms: int) -> Claimed:
    first = run.started_at is None
    ordinal = await threads.next_ordinal(tx, run.tenant_id, run.thread_id) if first else None
    own = await lineage.load(tx, run.tenant_id, run.id)
    new = await _claim_entries(tx, worker, run, own, version, head)
    epoch, pos, _ = await heads.take(tx, head, worker, lease_ms, entries=len(new))
    pieces = await lineage.pieces_of(tx, run)
    place: int | None = None
    if first and run.input_position is None:
        place = await messages.last_position(tx, run.tenant_id, run.thread_id, pieces) + 1
    started = await runs.start(tx, run, version, ordinal, place)
    assert started is not None, "the head was locked and the run claimable"
    if place is not None:
        await messages.add(tx, [input_message(run, place)])
    first_pos = pos - len(new)
    await entries.add(tx, run.tenant_id, run.id, run.thread_id, epoch=epoch, pos=first_pos, seq=head.seq, new=new)
    claimed = await _journaled(tx, started, own, pieces)
    if first and run.input_run is not None:
        await awaited.note_taken(tx, run.tenant_id, run.id, _events_of(claimed.entries))
    return replace(
        claimed,
        epoch=epoch,
        lapses=head.lapses,
        appended=tuple((first_pos + n + 1, entry) for n, entry in enumerate(new)),
    )


def _events_of(taken: Sequence[Entry]) -> list[EventId]:
    """The events that a fork has taken before it began: it takes each once, like any run."""
    found = [decode(e.payload) for e in taken if e.kind is StepKind.EVENT and e.status is StepStatus.SUCCEEDED]
    return [EventId(parse(EVENT, one["event_id"])) for one in found if "event_id" in one]


async def read_back(tx: Tx, claimed: Claimed) -> Claimed:
    """A claim that still holds, with the run and its journal as they are now."""
    run = await runs.get(tx, claimed.run.tenant_id, claimed.run.id)
    assert run is not None
    own = await lineage.load(tx, run.tenant_id, run.id)
    again = await _journaled(tx, run, own, await lineage.pieces_of(tx, run))
    return replace(again, epoch=claimed.epoch, lapses=claimed.lapses)


async def _journaled(tx: Tx, run: Run, own: Sequence[Entry], pieces: messages.Pieces) -> Claimed:
    """A run with all that its code goes on from."""
    assert run.input_position is not None, "a started run has its input among the messages"
    positions = await messages.positions_of_run(tx, run.tenant_id, run.thread_id, run.id)
    last_inherited = pieces[-1].last if pieces else 0
    claimed = Claimed(
        run=run,
        epoch=0,
        input=(own[0].payload if own else None) or b"null",
        entries=tuple(own),
        input_position=run.input_position,
        next_position=max([last_inherited, *positions.values()]) + 1,
        lapses=0,
        positions=positions,
        effects=tuple(await effects.of_run(tx, run.tenant_id, run.id)) if len(own) > 1 else (),
        first_place=max(run.input_position, last_inherited + 1),
        began_at=run.created_at,
    )
    return claimed if run.input_run is None else await _inherited(tx, claimed, run.input_run)


async def _inherited(tx: Tx, claimed: Claimed, input_run: RunId) -> Claimed:
    """The same with what a fork goes on from that others wrote."""
    run = claimed.run
    pieces = await lineage.of_run(tx, run.tenant_id, run.id)
    before = inherited(await lineage.prefix(tx, run.tenant_id, pieces))
    places = await lineage.prefix_positions(tx, run.tenant_id, pieces)
    root = await runs.get(tx, run.tenant_id, input_run)
    asked = await entries.at(tx, run.tenant_id, input_run, 1)
    assert root is not None, "a run that a fork reads is not deleted"
    assert asked is not None, "a run's first entry holds its input"
    return replace(
        claimed,
        input=asked.payload or b"null",
        entries=(*before, *claimed.entries),
        positions={**places, **claimed.positions},
        inherited=pieces[-1].pos,
        began_at=root.created_at,
    )


def input_message(run: Run, position: int) -> Row:
    """The run's input as a message of its thread: the payload of its first entry."""
    message = NewMessage(input_message_id(run.id), Role.USER, position)
    return messages.row(run.tenant_id, run.thread_id, run.id, 1, message)


async def _claim_entries(
    tx: Tx, worker: WorkerId, run: Run, before: Sequence[Entry], version: str, head: Head
) -> list[NewEntry]:
    """What the claim itself says in the journal: how the run came to this worker, and under which version."""
    last = next((e for e in reversed(before) if e.type in _LIFE), None)
    data: dict[str, object] = {"worker": text(WORKER, worker)}
    kind = EntryType.RUN_STARTED
    if run.started_at is not None:
        kind = EntryType.RUN_RESUMED
        if last is not None and last.type in _RUNNING:
            kind = EntryType.RUN_RECOVERED
            data |= {"lapses": head.lapses, "void": void_messages(before)}
    new = [NewEntry(type=kind, at=tx.now_ms, payload=encode(data))]
    if run.started_at is not None and run.agent_version != version:
        changed = await agents.changed(tx, run.agent, run.agent_version, version)
        change = {"agent": run.agent, "from": run.agent_version, "to": version, "changed": changed}
        new.append(NewEntry(type=EntryType.RUN_VERSION_CHANGED, at=tx.now_ms, payload=encode(change)))
    return new


_RUNNING = frozenset({EntryType.RUN_STARTED, EntryType.RUN_RESUMED, EntryType.RUN_RECOVERED})
_LIFE = _RUNNING | {EntryType.RUN_WAITING, EntryType.RUN_QUEUED, EntryType.RUN_FORKED, EntryType.RUN_RETRIED}


def void_messages(before: Sequence[Entry]) -> list[str]:
    """Ids of messages whose deltas were shown and that were never completed: what was seen of them is void."""
    completed = {e.key for e in before if e.type is EntryType.MESSAGE_COMPLETED}
    begun = [decode(e.payload) for e in before if e.type is EntryType.MESSAGE_STARTED]
    return [b["message_id"] for b in begun if b["key"] not in completed]


# -- giving back --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requeued:
    tenant_id: TenantId
    run_id: RunId
    thread_id: ThreadId
    agent: str
    lapses: int
    poisoned: bool = False
    cancelled: bool = False
    woken: RunId | None = None
    promoted: RunId | None = None
    parent_id: RunId | None = None
    pos: int | None = None
    entry: NewEntry | None = None
    closed: ending.Closed = ending.NOTHING


async def requeue_orphan(
    tx: Tx, tenant_id: TenantId, thread_id: ThreadId, run_id: RunId, epoch: int, *, dead: bool
) -> Requeued | None:
    """Take a run from an owner that died or stopped renewing: back to the queue, or ended if it was to be cancelled or
    has killed too many workers in a row (one that acted is queued once more, to be ended by a worker). None if the
    owner is alive after all (the head is checked under its lock).

    `dead`: the owner is known to be gone, whatever its lease says.
    """
    run = await runs.get(tx, tenant_id, run_id)
    if run is None:
        return None
    await heads.lock_threads(tx, [(tenant_id, thread_id)])
    touched = [(tenant_id, run_id)] + ([(tenant_id, run.parent_id)] if run.parent_id else [])
    head = (await heads.lock_many(tx, touched)).get(run_id)
    if head is None or head.owner is None or head.epoch != epoch:
        return None
    if not dead and (head.lease_until or 0) >= tx.now_ms:
        return None
    run = await runs.get(tx, tenant_id, run_id)
    assert run is not None
    assert run.status is RunStatus.RUNNING, "an owned head belongs to a running run"
    lapses = head.lapses + 1
    if head.cancel and not await to_be_undone(tx, run):
        ended = await end_unowned(tx, run, head, RunStatus.CANCELLED, EntryType.RUN_CANCELLED, _reason(run))
        return replace(ended, lapses=lapses, cancelled=True)
    # One that acted is claimed once more, not to go on: its worker knows whether to undo that before it ends.
    if lapses > limits.LAPSES_POISONED or (lapses == limits.LAPSES_POISONED and not await _may_undo(tx, run)):
        error: dict[str, object] = {"code": "poisoned", "message": poisoned(lapses), "retryable": True}
        ended = await end_unowned(tx, run, head, RunStatus.FAILED, EntryType.RUN_FAILED, error)
        return replace(ended, lapses=lapses, poisoned=True)
    await heads.free(tx, head, fence=True, lapses=lapses)
    backoff = limits.LAPSE_BACKOFF_MS * 2 ** (lapses - 2) if lapses >= limits.LAPSES_ALONE else 0
    await runs.requeue(tx, tenant_id, run_id, RunStatus.RUNNING, at=tx.now_ms + backoff)
    return Requeued(tenant_id, run_id, thread_id, run.agent, lapses, parent_id=run.parent_id)


async def to_be_undone(tx: Tx, run: Run) -> bool:
    """Whether a run that was asked to stop has to be claimed once more, to undo what it did."""
    if run.undo is Undo.NO or run.started_at is None:
        return False
    return await effects.committed_below(tx, run.tenant_id, run.id)


async def _may_undo(tx: Tx, run: Run) -> bool:
    """Whether a run has done something, and does not stop at undoing that already."""
    return run.undo is not Undo.BEGUN and await effects.committed_below(tx, run.tenant_id, run.id)


def poisoned(lapses: int) -> str:
    """Why a run is given up."""
    return f"{lapses} workers in a row stopped while they ran this run, without it making any progress."


def _reason(run: Run) -> dict[str, object]:
    return {"reason": run.cancel_reason}


async def end_unowned(
    tx: Tx, run: Run, head: Head, status: RunStatus, type: EntryType, data: dict[str, object]
) -> Requeued:
    """End a run from outside its worker: fence the owner if there is one, journal the end, wake and promote.

    The caller holds the locks of the thread, the run's head and its parent's head.
    """
    entry = NewEntry(type=type, at=tx.now_ms, payload=encode(data))
    epoch, pos = await heads.free(tx, head, fence=True, entries=1)
    await entries.add(tx, run.tenant_id, run.id, run.thread_id, epoch=epoch, pos=pos - 1, seq=head.seq, new=[entry])
    error = encode(data) if status is RunStatus.FAILED else None
    await runs.set_usage(
        tx, run.tenant_id, run.id, await runs.usage_so_far(tx, run.tenant_id, run.id), run.acting_agent
    )
    closed = await ending.close(tx, run.tenant_id, run.id)
    after = await ending.end(
        tx, run.tenant_id, run.id, run.thread_id, run.parent_id, run.status, End(status=status, error=error)
    )
    return Requeued(
        run.tenant_id,
        run.id,
        run.thread_id,
        run.agent,
        head.lapses,
        cancelled=status is RunStatus.CANCELLED,
        woken=after.woken,
        promoted=after.promoted,
        parent_id=run.parent_id,
        pos=pos,
        entry=entry,
        closed=closed,
    )


async def wake_due(tx: Tx, candidate: Candidate) -> bool:
    """A timer has come: waiting → queued, unless something else woke the run meanwhile."""
    head = await heads.lock(tx, candidate.tenant_id, candidate.run_id)
    if head is None:
        return False
    run = await runs.get(tx, candidate.tenant_id, candidate.run_id)
    if run is None or run.status is not RunStatus.WAITING or run.wake_at is None or run.wake_at > tx.now_ms:
        return False
    return await runs.requeue(tx, run.tenant_id, run.id, RunStatus.WAITING, at=tx.now_ms)
