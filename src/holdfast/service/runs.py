"""What can be asked of runs: start, look, wait, cancel. Each verb is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from holdfast.bus.base import Look, Published, Subscription
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, PrincipalKind, Scope
from holdfast.domain.approvals import WAITING_ON
from holdfast.domain.effects import Effect
from holdfast.domain.encoding import decode, encode, storable_text, storable_time
from holdfast.domain.errors import Cancelled, Conflict, Invalid, NotFound
from holdfast.domain.forks import EffectPolicy
from holdfast.domain.ids import APPROVAL, ID_TIME_BYTES, RUN, ApprovalId, RunId, TenantId, ThreadId, derived, text
from holdfast.domain.journal import TERMINAL, EntryType, Located, NewEntry, StepKind, StepStatus
from holdfast.domain.messages import response_text
from holdfast.domain.previews import first_words
from holdfast.domain.runs import NO_USAGE, Cut, OnBusy, Run, RunLimits, RunStatus, RunView
from holdfast.domain.threads import Thread, ThreadStatus
from holdfast.service import cancelling
from holdfast.service.house import House, Seat
from holdfast.service.idempotency import Key, Replay, answered, once
from holdfast.store import agents as agent_rows
from holdfast.store import approvals, claims, effects, entries, heads, lineage, messages, runs, threads
from holdfast.store.base import Rejected, Tx, TxBody
from holdfast.store.claims import Claimed
from holdfast.store.heads import Head
from holdfast.store.runs import Large, RunFilter, StoredView


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that starts this one as its child, and the step in which it does so."""

    run_id: RunId
    root_id: RunId
    key: str
    attempt: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """What a new run is asked to be. `input` is a JSON value that the agent accepts; times are ms UTC.

    At most one of `thread_id` and `thread_external_id`; with neither, the run gets a thread of its own.
    """

    agent: str
    input: Any = None
    thread_id: ThreadId | None = None
    thread_external_id: str | None = None
    thread_create: bool = False
    external_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    tags: tuple[str, ...] = ()
    on_busy: OnBusy = OnBusy.ENQUEUE
    start_after: int | None = None
    deadline: int | None = None
    limits: RunLimits | None = None
    parent: Parent | None = None
    effect_policy: EffectPolicy | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A run as it stands after `start`; `replayed` when an earlier request with the same key had made it."""

    view: RunView
    replayed: bool = False
    status: int = 201


@dataclass(slots=True)
class _Draft:
    """A run on its way in, and what the transaction found."""

    run: Run
    thread_new: bool
    input: bytes
    tags: tuple[str, ...]
    holder: threads.Holder | None = None
    claimed: Claimed | None = None
    ended: list[claims.Requeued] = field(default_factory=list[claims.Requeued])
    bells: list[RunId] = field(default_factory=list[RunId])
    queued: list[tuple[RunId, str]] = field(default_factory=list[tuple[RunId, str]])


async def start(house: House, principal: Principal, ask: StartRun, key: Key | None = None) -> Started:
    """Insert a run; durable when this returns.

    Raises `NotFound` (agent, thread), `Invalid` (input, limits, times), `Conflict` (`agent_disabled`, `thread_busy`,
    `external_id_taken`, `idempotency_conflict`, `run_ended` for a parent that ended). Safe to repeat with a key.
    """
    access.demand(principal, Scope.RUNS_WRITE)
    agent = house.agent(ask.agent)
    encoded = agent.accept(ask.input)
    _check(ask)
    seat = house.dispatch.reserve(ask.agent) if house.dispatch and ask.start_after is None else None
    draft: _Draft | None = None
    try:
        tenant_id = principal.tenant_id
        run_id = _run_id(house, tenant_id, ask)

        async def body(tx: Tx) -> StoredView | Replay:
            nonlocal draft
            replay = await once(tx, tenant_id, key, 201, run_id)
            if replay is not None:
                return replay
            found = await runs.view(tx, tenant_id, run_id) if ask.parent else None
            if found is not None:
                return found
            draft = await _insert(tx, house, principal, ask, agent.version, encoded, run_id, seat)
            return await _view_of(tx, draft)

        result = await _write_once_more(house, tenant_id, body, ask)
    except BaseException:
        if seat is not None and house.dispatch is not None:
            house.dispatch.decline(seat)
        raise
    if isinstance(result, Replay):
        _free(house, seat)
        return Started(await look(house, tenant_id, RunId(result.resource)), replayed=True, status=result.status)
    if draft is not None:
        _announce_start(house, draft, seat)
    else:
        _free(house, seat)
    return Started(_finished(result))


async def _write_once_more(
    house: House, tenant_id: TenantId, body: TxBody[StoredView | Replay], ask: StartRun
) -> StoredView | Replay:
    """Two requests may bring the same external id at once: the loser looks again and finds the winner's."""
    try:
        return await house.database.write(tenant_id, body)
    except Rejected:
        if ask.external_id is None and ask.thread_external_id is None and ask.parent is None:
            raise
        return await house.database.write(tenant_id, body)


def _free(house: House, seat: Seat | None) -> None:
    if seat is not None and house.dispatch is not None:
        house.dispatch.decline(seat)


def acting_for(run: Run) -> Principal:
    """A run acts for who started it; what it starts belongs to the same principal."""
    return Principal(
        run.tenant_id, run.initiator, PrincipalKind.AGENT, f"agent {run.agent}", frozenset({access.ADMIN_SCOPE})
    )


def _run_id(house: House, tenant_id: TenantId, ask: StartRun) -> RunId:
    parent = ask.parent
    if parent is None:
        return RunId(house.determinism.new_id())
    return child_id(tenant_id, parent.run_id, parent.key, parent.attempt)


def child_id(tenant_id: TenantId, parent_id: RunId, key: str, attempt: int) -> RunId:
    """A child's id follows from its parent's step, so that starting it twice starts it once. It begins with the time
    in its parent's id: in lists it stands beside it."""
    own = derived("child", tenant_id, parent_id, key, str(attempt))
    return RunId(parent_id[:ID_TIME_BYTES] + own[ID_TIME_BYTES:])


def _check(ask: StartRun) -> None:
    if ask.external_id is not None:
        storable_text(ask.external_id, what="external_id", chars_max=limits.EXTERNAL_ID_CHARS_MAX)
    if ask.thread_external_id is not None:
        storable_text(ask.thread_external_id, what="thread.external_id", chars_max=limits.EXTERNAL_ID_CHARS_MAX)
    if ask.start_after is not None:
        storable_time(ask.start_after, what="start_after")
    if ask.deadline is not None:
        storable_time(ask.deadline, what="deadline")
    if len(ask.tags) > limits.TAGS_MAX:
        raise Invalid(f"A run has at most {limits.TAGS_MAX} tags.", code="invalid_tags")
    for tag in ask.tags:
        storable_text(tag, what="A tag", chars_max=limits.TAG_CHARS_MAX)
    metadata_json(ask.metadata)
    if ask.parent is not None and ask.parent.depth > limits.CHILD_DEPTH_MAX:
        raise Invalid(f"Runs nest at most {limits.CHILD_DEPTH_MAX} deep.", code="child_depth")


async def _insert(
    tx: Tx,
    house: House,
    principal: Principal,
    ask: StartRun,
    version: str,
    encoded: bytes,
    run_id: RunId,
    seat: Seat | None,
) -> _Draft:
    record = await agent_rows.get(tx, principal.tenant_id, ask.agent)
    if record is not None and not record.enabled:
        raise Conflict(f"The agent {ask.agent!r} is switched off.", code="agent_disabled")
    if ask.external_id is not None and await runs.by_external_id(tx, principal.tenant_id, ask.external_id):
        raise Conflict("Another run has this external_id.", code="external_id_taken")
    if ask.parent is not None:
        await _demand_live_parent(tx, principal.tenant_id, ask.parent)
    thread, created = await _thread(tx, house, principal, ask)
    holder = None if created else await threads.holder(tx, principal.tenant_id, thread.id)
    run = _new_run(tx, house, principal, ask, version, run_id, thread)
    draft = _Draft(run, created, encoded, tuple(dict.fromkeys(ask.tags)), holder)
    if holder is None:
        await _insert_first(tx, draft, seat)
    else:
        await _insert_behind(tx, house, draft, holder, ask.on_busy)
    return draft


async def _demand_live_parent(tx: Tx, tenant_id: TenantId, parent: Parent) -> None:
    """A run that was asked to stop starts no more children: its cancel went down a tree that this one is not in."""
    head = await heads.lock(tx, tenant_id, parent.run_id)
    if head is None or head.owner is None or head.cancel:
        raise Cancelled("The parent run was asked to stop, or is not running any more.")


async def _thread(tx: Tx, house: House, principal: Principal, ask: StartRun) -> tuple[Thread, bool]:
    """The run's thread, locked, and whether it was made for it."""
    tenant_id = principal.tenant_id
    if ask.thread_id is not None:
        found = await threads.lock(tx, tenant_id, ask.thread_id)
        if found is None or found.archived or (found.hidden and ask.parent is None):
            raise NotFound("There is no thread with this id.", code="thread_not_found")
        return found, False
    if ask.thread_external_id is not None:
        known = await threads.by_external_id(tx, tenant_id, ask.thread_external_id)
        if known is not None:
            await threads.lock(tx, tenant_id, known.id)
            return known, False
        if not ask.thread_create:
            raise NotFound("There is no thread with this external_id.", code="thread_not_found")
    thread = threads.new(
        tenant_id,
        ThreadId(house.determinism.new_id()),
        principal.id,
        tx.now_ms,
        external_id=ask.thread_external_id,
        hidden=ask.parent is not None,
    )
    await threads.add(tx, thread, last_rank=threads.RANK_STEP)
    return thread, True


def _new_run(
    tx: Tx, house: House, principal: Principal, ask: StartRun, version: str, run_id: RunId, thread: Thread
) -> Run:
    parent = ask.parent
    return Run(
        tenant_id=principal.tenant_id,
        id=run_id,
        thread_id=thread.id,
        status=RunStatus.QUEUED,
        agent=ask.agent,
        acting_agent=ask.agent,
        agent_version=version,
        initiator=principal.id,
        root_id=parent.root_id if parent else run_id,
        parent_id=parent.run_id if parent else None,
        parent_key=parent.key if parent else None,
        depth=parent.depth if parent else 0,
        external_id=ask.external_id,
        rank=threads.RANK_STEP,
        ordinal=None,
        input_position=None,
        start_after=ask.start_after,
        claimable_at=None,
        wake_at=None,
        on_busy_applied=None,
        rollback=False,
        limits=limits_json(ask.limits),
        deadline=ask.deadline,
        metadata=metadata_json(ask.metadata),
        tags=encode(list(dict.fromkeys(ask.tags))) if ask.tags else None,
        waiting_on=None,
        cancel_requested_at=None,
        cancel_reason=None,
        error=None,
        output_pos=None,
        usage=NO_USAGE,
        trace_id=house.determinism.random_bytes(16),
        created_at=tx.now_ms,
        started_at=None,
        ended_at=None,
        branch=thread.branch_of is not None,
        effect_policy=None if ask.effect_policy is None else ask.effect_policy.stored(),
    )


def metadata_json(given: dict[str, Any]) -> bytes | None:
    encoded = encode(given, what="metadata")
    if len(encoded) > limits.METADATA_BYTES_MAX:
        raise Invalid(f"metadata is larger than {limits.METADATA_BYTES_MAX:,} bytes of JSON.", code="invalid_metadata")
    return encoded if given else None


def limits_json(given: RunLimits | None) -> bytes | None:
    if given is None:
        return None
    chosen = {
        "steps_max": given.steps_max,
        "tool_calls_max": given.tool_calls_max,
        "tokens_max": given.tokens_max,
        "cost_micros_max": given.cost_micros_max,
        "active_ms_max": given.active_ms_max,
    }
    return encode({name: value for name, value in chosen.items() if value is not None})


async def _insert_first(tx: Tx, draft: _Draft, seat: Seat | None) -> None:
    """Nobody holds the thread: the run may be claimed at once, by this very transaction if a seat is held."""
    run = draft.run
    if not draft.thread_new:
        run = replace(run, rank=await threads.next_rank(tx, run.tenant_id, run.thread_id))
    if seat is None:
        draft.run = replace(run, claimable_at=max(tx.now_ms, run.start_after or 0))
        await _insert_rows(tx, draft, [])
        return
    ordinal = await threads.next_ordinal(tx, run.tenant_id, run.thread_id)
    last = 0
    if not draft.thread_new:
        pieces = await lineage.pieces_of(tx, run)
        last = await messages.last_position(tx, run.tenant_id, run.thread_id, pieces)
    draft.run = replace(
        run,
        status=RunStatus.RUNNING,
        started_at=tx.now_ms,
        ordinal=ordinal,
        input_position=last + 1,
        agent_version=seat.version,
    )
    started = NewEntry(
        type=EntryType.RUN_STARTED, at=tx.now_ms, payload=encode({"worker": text("wrk", seat.worker_id)})
    )
    await _insert_rows(tx, draft, [started], seat)
    await messages.add(tx, [claims.input_message(draft.run, last + 1)])
    draft.claimed = Claimed(
        run=draft.run,
        epoch=1,
        input=draft.input,
        entries=(),
        input_position=last + 1,
        first_place=last + 1,
        began_at=draft.run.created_at,
        next_position=last + 2,
        lapses=0,
        positions={1: last + 1},
        appended=((2, started),),
    )


async def _insert_behind(tx: Tx, house: House, draft: _Draft, holder: threads.Holder, on_busy: OnBusy) -> None:
    run = draft.run
    rank: int | None = None
    match on_busy:
        case OnBusy.REJECT:
            raise Conflict(
                f"The thread is held by {text(RUN, holder.run_id)} ({holder.status.value}).",
                code="thread_busy",
                run_id=text(RUN, holder.run_id),
            )
        case OnBusy.INTERRUPT | OnBusy.ROLLBACK:
            rank = await threads.next_rank(tx, run.tenant_id, run.thread_id)
            rank = await runs.rank_behind_holder(tx, run.tenant_id, run.thread_id) or rank
        case OnBusy.ENQUEUE:
            rank = await threads.next_rank(tx, run.tenant_id, run.thread_id)
    draft.run = replace(run, rank=rank, on_busy_applied=on_busy)
    await _insert_rows(tx, draft, [])
    if on_busy is not OnBusy.ENQUEUE:
        stopped = await cancelling.stop(
            tx,
            house,
            run.tenant_id,
            holder.run_id,
            run.thread_id,
            reason=f"{on_busy.value} by {text(RUN, run.id)}",
            rollback=on_busy is OnBusy.ROLLBACK,
        )
        draft.ended, draft.bells, draft.queued = stopped.ended, stopped.bells, stopped.queued
        again = await runs.get(tx, run.tenant_id, run.id)
        assert again is not None
        draft.run = again


async def _insert_rows(tx: Tx, draft: _Draft, more: Sequence[NewEntry], seat: Seat | None = None) -> None:
    run = draft.run
    epoch = 0 if seat is None else 1
    queued = NewEntry(type=EntryType.RUN_QUEUED, at=tx.now_ms, payload=draft.input)
    new = [queued, *more]
    await runs.add(tx, run, draft.tags)
    await heads.add(
        tx,
        Head(
            run.tenant_id,
            run.id,
            epoch,
            len(new),
            0,
            None if seat is None else seat.worker_id,
            None if seat is None else tx.now_ms + seat.lease_ms,
            0,
            False,
        ),
    )
    await entries.add(tx, run.tenant_id, run.id, run.thread_id, epoch=epoch, pos=0, seq=0, new=new)


async def _view_of(tx: Tx, draft: _Draft) -> StoredView:
    run = draft.run
    epoch, pos = (1, 2) if draft.claimed else (0, 1)
    behind = draft.holder is not None and run.claimable_at is None
    ahead, holder_id = await runs.ahead(tx, run) if behind else (0, None)
    return StoredView(RunView(run, draft.input, None, epoch, pos, 0, holder_id, ahead or None), False)


def _announce_start(house: House, draft: _Draft, seat: Seat | None) -> None:
    run = draft.run
    queued = NewEntry(type=EntryType.RUN_QUEUED, at=run.created_at, payload=draft.input)
    house.hub.entry(run.id, run.thread_id, 1, None, queued)
    cancelling.announce(house, draft.ended, draft.bells, draft.queued)
    if draft.claimed is not None and seat is not None and house.dispatch is not None:
        for pos, entry in draft.claimed.appended:
            house.hub.entry(run.id, run.thread_id, pos, None, entry)
        house.dispatch.take(seat, draft.claimed)
    else:
        _free(house, seat)
        if run.claimable_at is not None:
            house.hub.work(run.agent)
    house.run_changed(run.tenant_id, run.id, run.status)
    if draft.thread_new and run.parent_id is None:
        house.thread_changed(run.tenant_id, run.thread_id, ThreadStatus.BUSY.value)


# -- looking ------------------------------------------------------------------------------------------------------


def _finished(stored: StoredView) -> RunView:
    """The view with its output as clients see it: the text of the message, or the recorded value."""
    view = stored.view
    if view.output is None:
        return view
    if stored.output_is_message:
        return replace(view, output=encode(response_text(view.output)))
    return replace(view, output=_inner(view.output))


_OUTPUT_PREFIX: Final = b'{"output":'


def _inner(payload: bytes) -> bytes:
    """The value of `{"output": …}`; sliced, not parsed: the journal wrote it just so."""
    assert payload.startswith(_OUTPUT_PREFIX), "a run's last entry holds its output"
    return payload[len(_OUTPUT_PREFIX) : -1]


async def _viewed(tx: Tx, house: House, stored: StoredView) -> RunView:
    """The view completed with what only a query tells: its place in the queue, usage so far, whether it is served."""
    view = _finished(stored)
    run = view.run
    if run.status is RunStatus.QUEUED and run.claimable_at is None:
        ahead, holder = await runs.ahead(tx, run)
        view = replace(view, queue_position=ahead or None, holder_id=holder)
    elif run.status is RunStatus.QUEUED and not _served_here(house, run, tx.now_ms):
        workers = await agent_rows.workers(tx, seen_within_ms=limits.WORKER_SEEN_MS)
        view = replace(
            view, unserved=not any(w.slots > 0 and _fits(house, run, w.agents.get(run.agent)) for w in workers)
        )
    elif run.status is RunStatus.RUNNING:
        view = replace(view, run=replace(run, usage=await runs.usage_so_far(tx, run.tenant_id, run.id)))
    elif run.status is RunStatus.WAITING:
        view = replace(view, run=replace(run, waiting_on=encode(await _open_waits(tx, run))))
    return view


async def _open_waits(tx: Tx, run: Run) -> list[dict[str, Any]]:
    """What a run waits for, as it parked, without the questions that were answered since; then what its children of any
    depth ask: whoever watches a run finds there all that holds it up."""
    waits: list[dict[str, Any]] = decode(run.waiting_on) or []
    if any(wait["type"] in _QUESTIONS for wait in waits):
        still = await approvals.pending_of(tx, run.tenant_id, run.id)
        asked = {text(APPROVAL, approval_id) for approval_id in still}
        waits = [wait for wait in waits if wait["type"] not in _QUESTIONS or wait["id"] in asked]
    if any(wait["type"] == "child" for wait in waits):
        for approval_id, type, run_id, key in await approvals.open_below(tx, run.tenant_id, run.id):
            found = {"type": WAITING_ON[type], "id": text(APPROVAL, approval_id), "step": key}
            waits.append({**found, "run_id": text(RUN, run_id)})
    return waits


_QUESTIONS = frozenset(WAITING_ON.values())


def _served_here(house: House, run: Run, now_ms: int) -> bool:
    """Whether this process is likely to take the run up itself, so that nobody needs to look for other workers."""
    overdue = run.claimable_at is not None and now_ms - run.claimable_at > limits.WORKER_SEEN_MS
    own = house.agents.get(run.agent)
    return house.dispatch is not None and not overdue and _fits(house, run, None if own is None else own.version)


def _fits(house: House, run: Run, version: str | None) -> bool:
    """Whether a worker with this version of the agent may take the run up. Whether it is pinned, our own code says."""
    agent = house.agents.get(run.agent)
    pinned = agent is not None and agent.on_version_change == "pin" and run.started_at is not None
    return version is not None and (version == run.agent_version or not pinned)


async def get(house: House, principal: Principal, run_id: RunId) -> RunView:
    """A run as it stands; `NotFound` for one of another tenant too."""
    access.demand(principal, Scope.RUNS_READ)
    return await look(house, principal.tenant_id, run_id)


async def look(house: House, tenant_id: TenantId, run_id: RunId) -> RunView:
    """The same for a verb that has written: who may do that may see what became of it."""

    async def body(tx: Tx) -> RunView:
        stored = await runs.view(tx, tenant_id, run_id)
        if stored is None:
            raise NotFound("There is no run with this id.", code="run_not_found")
        return await _viewed(tx, house, stored)

    return await house.database.read(tenant_id, body)


async def page(
    house: House, principal: Principal, wanted: RunFilter, bytes_max: int = limits.LISTED_BYTES
) -> list[RunView]:
    """A page of runs, newest first, without inputs and outputs larger than `bytes_max` (`LISTED_BYTES_MAX` at most)."""
    access.demand(principal, Scope.RUNS_READ)

    async def body(tx: Tx) -> list[RunView]:
        found = await runs.page(tx, principal.tenant_id, wanted)
        return [_without_large(await _viewed(tx, house, s), s).cut(bytes_max) for s in found]

    return await house.database.read(principal.tenant_id, body)


def _without_large(view: RunView, stored: StoredView) -> RunView:
    input, output = stored.input_large, stored.output_large
    return replace(
        view,
        input_cut=None if input is None else Cut(input.bytes, first_words(input.beginning) or ""),
        output_cut=None if output is None else _output_cut(output, is_message=stored.output_is_message),
    )


def _output_cut(large: Large, *, is_message: bool) -> Cut:
    """Of a message the size of all that was recorded of it: its text alone would have to be read to be measured."""
    if is_message:
        return Cut(large.bytes, "")
    return Cut(large.bytes - len(_OUTPUT_PREFIX) - 1, first_words(large.beginning[len(_OUTPUT_PREFIX) :]) or "")


async def steps(house: House, principal: Principal, run_id: RunId, after: int, limit: int) -> list[Located]:
    """Steps of a run behind `seq = after`, oldest first, without payloads; ones that a retry voided are `voided`. A
    fork's begin with those it shares with others."""
    access.demand(principal, Scope.RUNS_READ)

    async def body(tx: Tx) -> list[Located]:
        run = await demand(tx, principal.tenant_id, run_id)
        return await lineage.steps(tx, run, after, limit, bare=True)

    return await house.database.read(principal.tenant_id, body)


async def step(house: House, principal: Principal, run_id: RunId, seq: int) -> Located:
    access.demand(principal, Scope.RUNS_READ)

    async def body(tx: Tx) -> Located:
        run = await demand(tx, principal.tenant_id, run_id)
        found = await lineage.step(tx, run, seq)
        if found is None:
            raise NotFound(f"The run has no step {seq}.", code="step_not_found")
        return found

    return await house.database.read(principal.tenant_id, body)


@dataclass(slots=True)
class Linked:
    """What other tables tell of steps: the effect of a tool's call, the approval that a question is, the run that a
    child is. By the run that wrote the step, its key, and its attempt where each attempt has one of its own."""

    effects: dict[tuple[RunId, str], Effect] = field(default_factory=dict[tuple[RunId, str], Effect])
    approvals: dict[tuple[RunId, str, int], ApprovalId] = field(
        default_factory=dict[tuple[RunId, str, int], ApprovalId]
    )
    children: dict[tuple[RunId, str, int], RunId] = field(default_factory=dict[tuple[RunId, str, int], RunId])


async def linked(house: House, tenant_id: TenantId, found: Sequence[Located]) -> Linked:
    """What these steps led to: one question to each table that may know. Nothing of the effects of steps that are
    void."""
    asked: dict[RunId, dict[StepKind, list[tuple[str, int]]]] = {}
    for one in found:
        step = one.entry
        if step.kind is None or step.kind not in _LINKED or step.key is None:
            continue
        if step.kind is not StepKind.TOOL or step.status != StepStatus.VOIDED:
            asked.setdefault(one.run_id, {}).setdefault(step.kind, []).append((step.key, step.attempt or 1))

    async def body(tx: Tx) -> Linked:
        known = Linked()
        for run_id, kinds in asked.items():
            await _link(tx, tenant_id, run_id, kinds, known)
        return known

    return await house.database.read(tenant_id, body) if asked else Linked()


_LINKED = frozenset({StepKind.TOOL, StepKind.INTERRUPT, StepKind.CHILD})


async def _link(
    tx: Tx, tenant_id: TenantId, run_id: RunId, kinds: dict[StepKind, list[tuple[str, int]]], known: Linked
) -> None:
    if calls := kinds.get(StepKind.TOOL):
        acted = await effects.of_steps(tx, tenant_id, run_id, [key for key, _ in calls])
        known.effects.update(((run_id, key), effect) for key, effect in acted.items())
    if questions := kinds.get(StepKind.INTERRUPT):
        held = await approvals.of_steps(tx, tenant_id, run_id, [key for key, _ in questions])
        known.approvals.update(((run_id, *step), id) for step, id in held.items())
    if below := kinds.get(StepKind.CHILD):
        ids = {step: child_id(tenant_id, run_id, *step) for step in below}
        there = await runs.known_among(tx, tenant_id, list(ids.values()))
        known.children.update(((run_id, *step), id) for step, id in ids.items() if id in there)


async def demand(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Run:
    """The run, or `NotFound`: also for one that was deleted and only stands for the forks that read it."""
    run = await runs.get(tx, tenant_id, run_id)
    if run is None or run.archived:
        raise unknown()
    return run


def unknown() -> NotFound:
    return NotFound("There is no run with this id.", code="run_not_found")


async def find_external(house: House, principal: Principal, external_id: str) -> RunView | None:
    """The run that has this external id, if there is one."""
    access.demand(principal, Scope.RUNS_READ)

    async def body(tx: Tx) -> RunView | None:
        stored = await runs.by_external_id(tx, principal.tenant_id, external_id)
        return None if stored is None else await _viewed(tx, house, stored)

    return await house.database.read(principal.tenant_id, body)


# -- waiting ------------------------------------------------------------------------------------------------------


async def wait(house: House, principal: Principal, view: RunView, seconds: float, *, fresh: bool = False) -> RunView:
    """The run when it ended, or waits for something that will not come by itself soon, or after `seconds`.

    A run behind a holder that waits is answered at once: nobody knows how long that takes. `fresh`: the view is what
    `start` answered, and nothing was awaited since, so that nothing can have happened unheard: it is not read again.
    """
    if view.run.status.ended or seconds <= 0:
        return view
    subscription = house.hub.subscribe(view.run.id, milestones=True)
    clock = house.determinism.monotonic_ms
    deadline = clock() + seconds * 1000
    try:
        while True:
            if not fresh:
                view = await get(house, principal, view.run.id)
            fresh = False
            left = (deadline - clock()) / 1000
            if _settled(view) or left <= 0 or await _behind_a_waiting_run(house, view):
                return view
            await _until_news(house, subscription, deadline)
    finally:
        house.hub.unsubscribe(subscription)


def _settled(view: RunView) -> bool:
    return view.run.status.ended or view.run.status is RunStatus.WAITING


async def _until_news(house: House, subscription: Subscription, deadline: float) -> None:
    """Until an event that may have changed the run's status, or a poll's time: hints may be lost."""
    clock = house.determinism.monotonic_ms
    poll_at = clock() + limits.POLL_MS
    while (left := min(deadline, poll_at) - clock()) > 0:
        for signal in await subscription.take(left / 1000):
            if isinstance(signal, Look):
                return
            if isinstance(signal, Published) and (
                signal.entry.type in TERMINAL or signal.entry.type is EntryType.RUN_WAITING
            ):
                return
    house.hub.keep_listening(subscription)


async def _behind_a_waiting_run(house: House, view: RunView) -> bool:
    if view.holder_id is None:
        return False
    holder_id = view.holder_id

    async def body(tx: Tx) -> Run | None:
        return await runs.get(tx, view.run.tenant_id, holder_id)

    holder = await house.database.read(view.run.tenant_id, body)
    return holder is not None and holder.status is RunStatus.WAITING


# -- stopping -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """`already`: the run was cancelled before this request. `status` is the code of the first request with the key."""

    view: RunView
    already: bool
    replayed: bool = False
    status: int = 202


async def cancel(
    house: House,
    principal: Principal,
    run_id: RunId,
    reason: str | None = None,
    key: Key | None = None,
    *,
    compensate: bool = False,
) -> CancelOutcome:
    """Ask a run and its children to stop. Queued and waiting ones end at once, a running one as soon as its worker
    hears of it. `compensate`: before they end, what they did is undone, as far as their tools have compensators.

    Raises `Conflict` (`run_ended`) when it succeeded or failed.
    """
    access.demand(principal, Scope.RUNS_WRITE)
    if reason is not None:
        storable_text(reason, what="reason", chars_max=limits.ERROR_CHARS_MAX)
    tenant_id = principal.tenant_id
    stopped = cancelling.Stopped()

    async def body(tx: Tx) -> Replay | int:
        nonlocal stopped
        stopped = cancelling.Stopped()
        run = await demand(tx, tenant_id, run_id)
        replay = await once(tx, tenant_id, key, 202, run_id)
        if replay is not None:
            return replay
        stopped = await cancelling.stop(tx, house, tenant_id, run_id, run.thread_id, reason=reason, undo=compensate)
        run = await demand(tx, tenant_id, run_id)
        if run.status is RunStatus.CANCELLED and not stopped.ended:
            await answered(tx, tenant_id, key, 200)
            return 200
        if run.status.ended and run.status is not RunStatus.CANCELLED:
            raise Conflict(f"The run has {run.status.value} already.", code="run_ended", status=run.status.value)
        return 202

    result = await house.database.write(tenant_id, body)
    cancelling.announce(house, stopped.ended, stopped.bells, stopped.queued)
    replayed = isinstance(result, Replay)
    status = result.status if isinstance(result, Replay) else result
    view = await look(house, tenant_id, run_id)
    if not view.run.status.ended:  # asked to stop: its phase is another one now
        house.run_changed(tenant_id, run_id, view.run.status)
    return CancelOutcome(view, status == 200, replayed, status)
