"""What every database under Holdfast must keep: the conformance suite of the store.

    async def test_my_database() -> None:
        await exercise_store(make_database)

`make_database(determinism)` is an async context manager that gives an open `Database` with all tables and no rows,
whose clock is `determinism`'s. Each rule in `RULES` gets one of its own. A rule is an async function whose name says
what must hold; it is plain asserts, so no test framework is needed.

Invariant: no rule sleeps. Time is a frozen clock, and concurrency is many transactions started at once, whose outcome
must be the same in every order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import select, text

from holdfast.domain import limits
from holdfast.domain.access import ADMIN_SCOPE, ApiKey, Principal, PrincipalKind
from holdfast.domain.agents import AgentKind
from holdfast.domain.approvals import Approval, ApprovalStatus, ApprovalType, Demand
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.effects import Effect, EffectClass, EffectStatus
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Unavailable
from holdfast.domain.ids import (
    DEFAULT_TENANT,
    LOCAL_ADMIN,
    ApprovalId,
    EffectId,
    EventId,
    KeyId,
    MessageId,
    PrincipalId,
    RunId,
    TenantId,
    ThreadId,
    WorkerId,
)
from holdfast.domain.journal import Entry, EntryType, NewBlob, NewEntry, NewMessage, Phase, StepKind, StepStatus
from holdfast.domain.runs import NO_USAGE, OnBusy, Run, RunStatus, Usage
from holdfast.domain.threads import BranchOf, Role, ThreadStatus
from holdfast.store import (
    agents,
    approvals,
    archive,
    awaited,
    blobs,
    claims,
    effects,
    entries,
    heads,
    idempotency,
    journal,
    lineage,
    messages,
    principals,
    runs,
    schema,
    threads,
)
from holdfast.store.approvals import ApprovalFilter, Ask
from holdfast.store.awaited import Await, Awaited, EventWait, Stop
from holdfast.store.base import Database, Rejected, Tx, TxBody
from holdfast.store.claims import Claimed, Requeued
from holdfast.store.effects import EffectFilter, Plan, Replan, Settle, Start
from holdfast.store.heads import Head
from holdfast.store.journal import Append, Appended, Finish, Op, Park, Release
from holdfast.store.lineage import RunPiece
from holdfast.store.messages import ThreadPiece
from holdfast.store.runs import Candidate, End, RunFilter
from holdfast.store.threads import ThreadFilter

T = TypeVar("T")
MakeDatabase = Callable[[Determinism], AbstractAsyncContextManager[Database]]

TENANT = DEFAULT_TENANT
OTHER_TENANT = TenantId(b"\x00" * 15 + b"\x07")
WORKER_A = WorkerId(b"worker-a".ljust(16, b"\x00"))
WORKER_B = WorkerId(b"worker-b".ljust(16, b"\x00"))
LEASE_MS = 15_000
MIDNIGHT_MS = 1_800_000_000_000


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now_ms: int = MIDNIGHT_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms


def step(
    key: str, *, payload: bytes = b"1", attempt: int = 1, message: NewMessage | None = None, **more: Any
) -> NewEntry:
    """A step's result, as the executor would record it."""
    given: dict[str, Any] = {"type": EntryType.STEP_COMPLETED, "kind": StepKind.CODE, "status": StepStatus.SUCCEEDED}
    given |= more
    return NewEntry(
        at=MIDNIGHT_MS,
        phase=Phase.RESULT,
        key=key,
        name=key,
        attempt=attempt,
        payload=payload,
        message=message,
        **given,
    )


def opening(key: str, *, attempt: int = 1, type: EntryType = EntryType.STEP_OPENED) -> NewEntry:
    """The opening of something that can outlast the process."""
    return NewEntry(
        type=type, at=MIDNIGHT_MS, phase=Phase.OPENING, key=key, kind=StepKind.TOOL, name=key, attempt=attempt
    )


def said(type: EntryType, payload: bytes = b"null") -> NewEntry:
    """An entry about the run's life."""
    return NewEntry(type=type, at=MIDNIGHT_MS, payload=payload)


def hash_of(arguments: bytes) -> bytes:
    return sha256(arguments).digest()


def start_of(key: str, *, arguments: bytes = b"{}", leave: ApprovalId | None = None, again: bool = False) -> Start:
    """The call is about to be made."""
    return Start(key=key, timeout_ms=60_000, arguments_hash=hash_of(arguments), leave=leave, again=again)


class Store:
    """A database under test, its clock, and the few moves that rules are made of."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._ids = 0

    async def write(self, body: TxBody[T], tenant: TenantId | None = TENANT) -> T:
        return await self.database.write(tenant, body)

    async def read(self, body: TxBody[T], tenant: TenantId | None = TENANT) -> T:
        return await self.database.read(tenant, body)

    def new_id(self) -> bytes:
        """16 bytes that sort by creation."""
        self._ids += 1
        return self.clock().to_bytes(6, "big") + self._ids.to_bytes(10, "big")

    async def seed(self) -> None:
        """Two tenants, each with an admin."""

        async def body(tx: Tx) -> None:
            await principals.seed(tx)
            await principals.add_tenant(tx, OTHER_TENANT, "other")
            admin = Principal(OTHER_TENANT, LOCAL_ADMIN, PrincipalKind.USER, "other admin", frozenset({ADMIN_SCOPE}))
            await principals.add(tx, admin)

        await self.write(body, None)

    # -- threads and runs

    async def thread(self, tenant: TenantId = TENANT, *, id: ThreadId | None = None, **given: Any) -> ThreadId:
        thread_id = id or ThreadId(self.new_id())
        new = threads.new(tenant, thread_id, LOCAL_ADMIN, self.clock(), **given)
        await self.write(lambda tx: threads.add(tx, new), tenant)
        return thread_id

    async def start(
        self,
        thread_id: ThreadId | None = None,
        *,
        tenant: TenantId = TENANT,
        id: RunId | None = None,
        parent: Run | None = None,
        rank: int | None = None,
        input: bytes = b'"hello"',
        tags: Sequence[str] = (),
        **given: Any,
    ) -> Run:
        """Insert a run, as the start verb does: claimable exactly if nothing holds its thread."""
        in_thread = thread_id or await self.thread(tenant)
        run_id = id or RunId(self.new_id())
        return await self.write(lambda tx: insert_run(tx, tenant, in_thread, run_id, parent, rank, input, tags, given))

    async def run(self, run: Run) -> Run:
        found = await self.read(lambda tx: runs.get(tx, run.tenant_id, run.id))
        assert found is not None
        return found

    async def head(self, run: Run) -> Head:
        found = await self.read(lambda tx: heads.get(tx, run.tenant_id, run.id))
        assert found is not None
        return found

    async def journal(self, run: Run) -> list[Entry]:
        return await self.read(lambda tx: lineage.load(tx, run.tenant_id, run.id))

    # -- what workers do

    async def claimable(self, names: Sequence[str] = ("a",), limit: int = 100) -> list[Candidate]:
        return await self.read(
            lambda tx: runs.claimable(tx, names, limit=limit, lapses_alone=limits.LAPSES_ALONE), None
        )

    async def claim(
        self, worker: WorkerId = WORKER_A, *, names: Sequence[str] = ("a",), limit: int = 100, version: str = "v1"
    ) -> list[Claimed]:
        async def body(tx: Tx) -> list[Claimed]:
            found = await runs.claimable(tx, names, limit=limit, lapses_alone=99)
            return await claims.claim(tx, worker, found, dict.fromkeys(names, version), LEASE_MS)

        return await self.write(body, None)

    async def claim_one(self, worker: WorkerId = WORKER_A, **given: Any) -> Claimed:
        claimed = await self.claim(worker, **given)
        assert len(claimed) == 1, f"one run should be claimable, not {len(claimed)}"
        return claimed[0]

    async def started(self, **given: Any) -> Claimed:
        """A run that worker A has claimed, alone in its thread."""
        run = await self.start(**given)
        claimed = [c for c in await self.claim() if c.run.id == run.id]
        assert len(claimed) == 1
        return claimed[0]

    async def append_all(self, batch: Sequence[Append]) -> list[Appended]:
        return await self.write(lambda tx: journal.append(tx, batch, LEASE_MS), None)

    async def append(
        self,
        claimed: Claimed,
        *new: NewEntry,
        change: Any = None,
        usage: Usage | None = None,
        ops: Sequence[Op] = (),
    ) -> Appended:
        return (await self.append_all([append_of(claimed, *new, change=change, usage=usage, ops=ops)]))[0]

    async def park(
        self,
        claimed: Claimed,
        *,
        wake_at: int | None = None,
        children: Iterable[RunId] = (),
        asked: Iterable[Ask] = (),
        events: Iterable[EventWait] = (),
    ) -> Appended:
        change = Park(
            waiting_on=b'[{"type":"timer"}]',
            wake_at=wake_at,
            children=tuple(children),
            approvals=tuple(ask.id for ask in asked),
            events=tuple(events),
        )
        return await self.append(claimed, said(EntryType.RUN_WAITING), change=change)

    async def finish(
        self, claimed: Claimed, *, status: RunStatus = RunStatus.SUCCEEDED, output_key: str | None = None
    ) -> Appended:
        return await self.append_finish(claimed, End(status=status, output_key=output_key))

    async def append_finish(self, claimed: Claimed, end: End) -> Appended:
        types = {
            RunStatus.SUCCEEDED: EntryType.RUN_SUCCEEDED,
            RunStatus.FAILED: EntryType.RUN_FAILED,
            RunStatus.CANCELLED: EntryType.RUN_CANCELLED,
        }
        change = Finish(end=end, parent=claimed.run.parent_id)
        return await self.append(claimed, said(types[end.status]), change=change, usage=NO_USAGE)

    # -- the ledger, the inbox

    def planned(self, key: str, *, business_key: str | None = None, arguments: bytes = b"{}", **given: Any) -> Plan:
        """A call that a step has chosen."""
        values: dict[str, Any] = {"tool": "pay", "agent": "a", "effect_class": EffectClass.KEYED, "version": "1"}
        return Plan(
            key=key,
            id=EffectId(self.new_id()),
            arguments=arguments,
            arguments_hash=hash_of(arguments),
            idempotency_key=f"key of {key}",
            business_key=business_key,
            **(values | given),
        )

    async def plan(self, claimed: Claimed, key: str, **given: Any) -> Effect:
        await self.append(claimed, step(f"choose {key}"), ops=[self.planned(key, **given)])
        return await self.effect(claimed, key)

    async def begin(self, claimed: Claimed, key: str, **given: Any) -> Effect:
        """Plan an effect and start it."""
        await self.plan(claimed, key, **given)
        assert (await self.append(claimed, opening(key), ops=[start_of(key)])).declined is None
        return await self.effect(claimed, key)

    async def settle(self, claimed: Claimed, key: str, after: EffectStatus, **given: Any) -> Effect:
        op = Settle(key=key, before=(EffectStatus.STARTED,), after=after, **given)
        await self.append(claimed, step(key), ops=[op])
        return await self.effect(claimed, key)

    async def effect(self, claimed: Claimed, key: str) -> Effect:
        found = await self.read(lambda tx: effects.get(tx, claimed.run.tenant_id, claimed.run.id, key))
        assert found is not None
        return found

    def question(self, claimed: Claimed, key: str, **given: Any) -> Ask:
        """Leave that is asked for a call."""
        run = claimed.run
        values: dict[str, Any] = {
            "type": ApprovalType.TOOL, "root_id": run.root_id, "thread_id": run.thread_id, "agent": "a", "group": key,
            "attempt": 1, "message": "may I?", "requested_by": LOCAL_ADMIN, "chain": frozenset({LOCAL_ADMIN}),
            "demand": Demand(), "tool": "pay", "arguments": b"{}", "arguments_hash": hash_of(b"{}"),
        }  # fmt: skip
        return Ask(id=ApprovalId(self.new_id()), key=key, **(values | given))

    async def ask(self, claimed: Claimed, key: str, **given: Any) -> Ask:
        ask = self.question(claimed, key, **given)
        await self.append(claimed, opening(key, type=EntryType.APPROVAL_REQUESTED), ops=[ask])
        return ask

    async def approval(self, ask: Ask) -> Approval:
        found = await self.read(lambda tx: approvals.get(tx, TENANT, ask.id))
        assert found is not None
        return found

    async def answer(
        self, ask: Ask, status: ApprovalStatus = ApprovalStatus.APPROVED, *, usable_ms: int = limits.LEAVE_USABLE_MS
    ) -> Approval:
        """Close a question, as the resolve verb does in the end."""
        before = await self.approval(ask)
        now = self.clock()
        after = replace(before, status=status, resolved_at=now, usable_until=now + usable_ms)
        await self.write(lambda tx: approvals.change(tx, before, after))
        return await self.approval(ask)

    # -- what others do to runs

    async def orphan(self, claimed: Claimed, *, dead: bool = False, epoch: int | None = None) -> Requeued | None:
        run = claimed.run
        return await self.write(
            lambda tx: claims.requeue_orphan(
                tx, run.tenant_id, run.thread_id, run.id, claimed.epoch if epoch is None else epoch, dead=dead
            ),
            None,
        )

    async def cancel(self, run: Run, *, rollback: bool = False, reason: str | None = None) -> Requeued | None:
        """Cancel, as the cancel verb does: a queued or waiting run ends here, a running one is asked."""
        return await self.write(lambda tx: cancel_run(tx, run, rollback, reason), None)

    async def snapshot(self, *, of: TenantId | None = None) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, or of one tenant."""

        async def body(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
            found: dict[str, list[tuple[Any, ...]]] = {}
            for table in schema.metadata.sorted_tables:
                query = select(table) if of is None else select(table).where(table.c.tenant_id == of)
                found[table.name] = sorted((tuple(row) for row in await tx.all(query)), key=repr)
            return found

        return await self.read(body, None)


async def insert_run(
    tx: Tx,
    tenant: TenantId,
    thread_id: ThreadId,
    run_id: RunId,
    parent: Run | None,
    rank: int | None,
    input: bytes,
    tags: Sequence[str],
    given: dict[str, Any],
) -> Run:
    """One transaction of the start verb."""
    assert await threads.lock(tx, tenant, thread_id) is not None
    holder = await threads.holder(tx, tenant, thread_id)
    if rank is None:
        rank = await threads.next_rank(tx, tenant, thread_id)
    start_after: int | None = given.get("start_after")
    values: dict[str, Any] = {
        "status": RunStatus.QUEUED, "agent": "a", "acting_agent": "a", "agent_version": "v1", "initiator": LOCAL_ADMIN,
        "root_id": parent.root_id if parent else run_id, "parent_id": parent.id if parent else None,
        "parent_key": "child#1" if parent else None, "depth": parent.depth + 1 if parent else 0, "external_id": None,
        "ordinal": None, "input_position": None, "start_after": start_after, "wake_at": None, "rollback": False,
        "on_busy_applied": None,
        "claimable_at": max(tx.now_ms, start_after or 0) if holder is None else None, "limits": None, "deadline": None,
        "metadata": None, "tags": encode(list(tags)) if tags else None, "waiting_on": None,
        "cancel_requested_at": None, "cancel_reason": None, "error": None, "output_pos": None, "usage": NO_USAGE,
        "trace_id": run_id, "created_at": tx.now_ms, "started_at": None, "ended_at": None,
    }  # fmt: skip
    run = Run(tenant_id=tenant, id=run_id, thread_id=thread_id, rank=rank, **(values | given))
    await runs.add(tx, run, tags)
    await heads.add(tx, Head(tenant, run_id, 0, 1, 0, None, None, 0, False))
    queued = NewEntry(type=EntryType.RUN_QUEUED, at=tx.now_ms, payload=input)
    await entries.add(tx, tenant, run_id, thread_id, epoch=0, pos=0, seq=0, new=[queued])
    return run


async def cancel_run(tx: Tx, run: Run, rollback: bool, reason: str | None) -> Requeued | None:
    """One transaction of the cancel verb, for a run without children."""
    await heads.lock_threads(tx, [(run.tenant_id, run.thread_id)])
    touched = [(run.tenant_id, run.id)] + ([(run.tenant_id, run.parent_id)] if run.parent_id else [])
    head = (await heads.lock_many(tx, touched)).get(run.id)
    now = await runs.get(tx, run.tenant_id, run.id)
    if head is None or now is None or now.status.ended:
        return None
    await runs.ask_cancel(tx, now, reason, rollback=rollback)
    if now.status is RunStatus.RUNNING:
        await heads.set_cancel(tx, run.tenant_id, run.id, True)
        return None
    asked = await runs.get(tx, run.tenant_id, run.id)
    assert asked is not None
    return await claims.end_unowned(tx, asked, head, RunStatus.CANCELLED, EntryType.RUN_CANCELLED, {"reason": reason})


def append_of(
    claimed: Claimed, *new: NewEntry, change: Any = None, usage: Usage | None = None, ops: Sequence[Op] = ()
) -> Append:
    run = claimed.run
    return Append(
        tenant_id=run.tenant_id,
        run_id=run.id,
        thread_id=run.thread_id,
        epoch=claimed.epoch,
        entries=list(new),
        ops=ops,
        change=change,
        usage=usage,
        acting_agent=run.acting_agent,
    )


def assert_dense(found: Sequence[Entry], head: Head | None = None) -> None:
    """`pos` counts entries, `seq` counts steps, both from 1 without a gap; the head's counters agree."""
    assert [e.pos for e in found] == list(range(1, len(found) + 1))
    steps = [e.seq for e in found if e.phase is Phase.RESULT]
    assert steps == list(range(1, len(steps) + 1))
    assert all(e.seq is None for e in found if e.phase is not Phase.RESULT)
    assert [e.epoch for e in found] == sorted(e.epoch for e in found), "an earlier epoch wrote after a later one"
    if head is not None:
        assert (head.pos, head.seq) == (len(found), len(steps))


async def refused(work: Awaitable[Any]) -> Rejected:
    """The database refuses it."""
    try:
        await work
    except Rejected as exc:
        return exc
    raise AssertionError("the database accepted what it must refuse")


Rule = Callable[[Store], Awaitable[None]]
RULES: list[Rule] = []


def rule(check: Rule) -> Rule:
    RULES.append(check)
    return check


async def exercise_store(make_database: MakeDatabase, *, rules: Sequence[Rule] | None = None) -> None:
    """Hold every rule (or `rules`) against a database. Raises `AssertionError` at the first that does not hold."""
    for check in RULES if rules is None else rules:
        clock = Clock()
        async with make_database(Determinism(now_ms=clock, random=SYSTEM.random)) as database:
            store = Store(database, clock)
            await store.seed()
            await check(store)


# -- transactions -------------------------------------------------------------------------------------------------


@rule
async def a_body_that_fails_leaves_nothing(store: Store) -> None:
    thread_id = ThreadId(store.new_id())

    class Stop(Exception):
        pass

    async def body(tx: Tx) -> None:
        await threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, tx.now_ms))
        raise Stop

    before = await store.snapshot()
    try:
        await store.write(body)
    except Stop:
        pass
    else:
        raise AssertionError("what the body raised must reach the caller")
    assert await store.snapshot() == before


@rule
async def a_body_that_hides_a_refusal_is_never_half_committed(store: Store) -> None:
    """Either all that it wrote stands, or the caller is told that nothing does."""
    thread_id, twice = ThreadId(store.new_id()), await store.thread()

    async def body(tx: Tx) -> None:
        await threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, tx.now_ms))
        try:
            await threads.add(tx, threads.new(TENANT, twice, LOCAL_ADMIN, tx.now_ms))
        except Exception:  # whatever the driver raises
            pass

    try:
        await store.write(body)
        told = True
    except Rejected:
        told = False
    stands = await store.read(lambda tx: threads.get(tx, TENANT, thread_id)) is not None
    assert stands is told


@rule
async def one_bad_transaction_of_many_at_once_fails_alone(store: Store) -> None:
    existing = await store.thread()
    names = [ThreadId(store.new_id()) for _ in range(20)]
    names[7] = existing

    def add(id: ThreadId) -> Awaitable[None]:
        return store.write(lambda tx: threads.add(tx, threads.new(TENANT, id, LOCAL_ADMIN, tx.now_ms)))

    outcomes = await asyncio.gather(*[add(id) for id in names], return_exceptions=True)
    assert [isinstance(o, Rejected) for o in outcomes] == [id == existing for id in names]
    for id in names:
        assert await store.read(lambda tx, id=id: threads.get(tx, TENANT, id)) is not None


@rule
async def the_clock_of_a_transaction_is_the_one_given(store: Store) -> None:
    async def now(tx: Tx) -> int:
        return tx.now_ms

    assert await store.write(now) == await store.read(now) == MIDNIGHT_MS
    store.clock.advance(5)
    assert await store.write(now) == MIDNIGHT_MS + 5


@rule
async def a_value_that_no_column_can_hold_is_refused(store: Store) -> None:
    too_large = replace(threads.new(TENANT, ThreadId(store.new_id()), LOCAL_ADMIN, 0), created_at=2**63)
    surrogate = replace(threads.new(TENANT, ThreadId(store.new_id()), LOCAL_ADMIN, 0), title="\ud800")
    for thread in (too_large, surrogate):
        await refused(store.write(lambda tx, thread=thread: threads.add(tx, thread)))


# -- threads and ranks --------------------------------------------------------------------------------------------


@rule
async def a_thread_is_held_by_its_oldest_run_that_has_not_ended(store: Store) -> None:
    thread_id = await store.thread()
    first = await store.start(thread_id)
    second = await store.start(thread_id)

    async def holder() -> tuple[RunId, RunStatus, bool] | None:
        found = await store.read(lambda tx: threads.holder(tx, TENANT, thread_id))
        return None if found is None else (found.run_id, found.status, found.started)

    assert await holder() == (first.id, RunStatus.QUEUED, False)
    claimed = await store.claim_one()
    assert await holder() == (first.id, RunStatus.RUNNING, True)
    await store.park(claimed, wake_at=store.clock() + 1)
    assert await holder() == (first.id, RunStatus.WAITING, True)
    await store.cancel(first)
    assert await holder() == (second.id, RunStatus.QUEUED, False)
    await store.cancel(second)
    assert await holder() is None


@rule
async def the_database_itself_refuses_a_second_started_run_in_a_thread(store: Store) -> None:
    thread_id = (await store.started()).run.thread_id
    await refused(store.start(thread_id, status=RunStatus.RUNNING, started_at=1, ordinal=9))
    await store.start(thread_id, status=RunStatus.SUCCEEDED, started_at=1, ended_at=2, ordinal=9)


@rule
async def no_two_runs_of_a_thread_have_one_rank(store: Store) -> None:
    first = await store.start()
    await refused(store.start(first.thread_id, rank=first.rank))


async def _interrupt(store: Store, thread_id: ThreadId) -> Run:
    async def rank(tx: Tx) -> int:
        tail = await threads.next_rank(tx, TENANT, thread_id)
        return await runs.rank_behind_holder(tx, TENANT, thread_id) or tail

    return await store.start(thread_id, rank=await store.write(rank), on_busy_applied=OnBusy.INTERRUPT)


async def _order(store: Store) -> list[RunId]:
    """The order in which a thread's runs really start."""
    order: list[RunId] = []
    while claimed := await store.claim():
        assert len(claimed) == 1
        order.append(claimed[0].run.id)
        await store.finish(claimed[0])
    return order


@rule
async def an_interrupt_goes_behind_the_holder_and_before_the_queue(store: Store) -> None:
    thread_id = await store.thread()
    holder, queued = await store.start(thread_id), await store.start(thread_id)
    interrupt = await _interrupt(store, thread_id)
    later = await _interrupt(store, thread_id)
    last = await store.start(thread_id)
    assert await _order(store) == [holder.id, later.id, interrupt.id, queued.id, last.id]


@rule
async def an_interrupt_finds_a_free_place_after_an_earlier_one_was_cancelled(store: Store) -> None:
    thread_id = await store.thread()
    holder, queued = await store.start(thread_id), await store.start(thread_id)
    cancelled = await _interrupt(store, thread_id)
    await store.cancel(cancelled)
    interrupt = await _interrupt(store, thread_id)
    assert await _order(store) == [holder.id, interrupt.id, queued.id]


@rule
async def without_a_queue_there_is_no_place_before_it(store: Store) -> None:
    first = await store.start()
    assert await store.write(lambda tx: runs.rank_behind_holder(tx, TENANT, first.thread_id)) is None


@rule
async def there_is_always_room_for_one_more_interrupt(store: Store) -> None:
    """Each becomes the holder in its turn and is interrupted again, or is overtaken by the next; the queue waits."""
    thread_id = await store.thread()
    holder = await store.start(thread_id)
    queued = [await store.start(thread_id) for _ in range(3)]
    for number in range(50):
        interrupt = await _interrupt(store, thread_id)
        if number % 5 == 0:
            await store.cancel(await _interrupt(store, thread_id))
        await store.cancel(holder)
        found = await store.read(lambda tx: threads.holder(tx, TENANT, thread_id))
        assert found is not None
        assert found.run_id == interrupt.id
        holder = interrupt
    overtaken = [await _interrupt(store, thread_id) for _ in range(50)]
    expected = [holder.id, *(r.id for r in reversed(overtaken)), *(r.id for r in queued)]
    assert await _order(store) == expected


@rule
async def a_queued_run_knows_who_goes_first(store: Store) -> None:
    thread_id = await store.thread()
    queue = [await store.start(thread_id) for _ in range(3)]
    places = [await store.read(lambda tx, r=r: runs.ahead(tx, r)) for r in queue]
    assert places == [(0, None), (1, queue[0].id), (2, queue[0].id)]
    await store.finish(await store.claim_one())
    assert await store.read(lambda tx: runs.ahead(tx, queue[2])) == (1, queue[1].id)


@rule
async def ordinals_are_dense_in_the_order_of_real_starts(store: Store) -> None:
    thread_id = await store.thread()
    holder, queued, cancelled = [await store.start(thread_id) for _ in range(3)]
    interrupt = await _interrupt(store, thread_id)
    await store.cancel(cancelled)
    assert await _order(store) == [holder.id, interrupt.id, queued.id]
    ordinals = [(await store.run(r)).ordinal for r in (holder, interrupt, queued, cancelled)]
    assert ordinals == [1, 2, 3, None]


@rule
async def a_resumed_run_keeps_its_ordinal_and_its_start(store: Store) -> None:
    claimed = await store.started()
    started_at = store.clock()
    store.clock.advance(100)
    await store.append(claimed, said(EntryType.RUN_QUEUED), change=Release())
    again = await store.claim_one(WORKER_B)
    assert (again.run.ordinal, again.run.started_at) == (1, started_at)


# -- claims -------------------------------------------------------------------------------------------------------


@rule
async def only_the_head_of_a_thread_may_be_claimed(store: Store) -> None:
    thread_id = await store.thread()
    queue = [await store.start(thread_id) for _ in range(3)]
    other = await store.start()
    assert {c.run_id for c in await store.claimable()} == {queue[0].id, other.id}
    assert {c.run.id for c in await store.claim()} == {queue[0].id, other.id}
    assert await store.claim() == []
    assert [(await store.run(r)).claimable_at for r in queue] == [None, None, None]


@rule
async def a_claim_of_a_run_that_is_not_the_head_is_refused(store: Store) -> None:
    thread_id = await store.thread()
    await store.start(thread_id)
    second = await store.start(thread_id)
    forged = Candidate(TENANT, second.id, thread_id, "a", False)
    assert await store.write(lambda tx: claims.claim(tx, WORKER_A, [forged], {"a": "v1"}, LEASE_MS), None) == []
    assert (await store.run(second)).status is RunStatus.QUEUED


@rule
async def a_run_is_not_claimed_before_its_time(store: Store) -> None:
    run = await store.start(start_after=store.clock() + 1_000)
    assert await store.claim() == []
    assert await store.read(lambda tx: runs.next_claimable_at(tx, ["a"]), None) == run.start_after
    assert await store.read(lambda tx: runs.next_claimable_at(tx, ["b"]), None) is None
    store.clock.advance(999)
    assert await store.claim() == []
    store.clock.advance(1)
    assert [c.run.id for c in await store.claim()] == [run.id]
    assert await store.read(lambda tx: runs.next_claimable_at(tx, ["a"]), None) is None


@rule
async def a_candidate_that_was_put_off_meanwhile_is_not_claimed(store: Store) -> None:
    """Found, then claimed by another, lapsed twice and backing off: the old candidate must not jump the wait."""
    claimed = await store.started()
    await store.orphan(claimed, dead=True)
    found = await store.claimable()
    assert await store.orphan(await store.claim_one(), dead=True)
    backing_off = (await store.run(claimed.run)).claimable_at
    assert backing_off is not None
    assert backing_off > store.clock()
    assert await store.write(lambda tx: claims.claim(tx, WORKER_B, found, {"a": "v1"}, LEASE_MS), None) == []


@rule
async def a_worker_gets_only_the_agents_it_asks_for(store: Store) -> None:
    a, b, c = [await store.start(agent=name) for name in ("a", "b", "c")]
    assert {x.run.id for x in await store.claim(names=("a", "c"))} == {a.id, c.id}
    assert (await store.run(b)).status is RunStatus.QUEUED


@rule
async def the_run_that_is_due_longest_is_claimed_first(store: Store) -> None:
    order: list[RunId] = []
    for _ in range(4):
        store.clock.advance(10)
        order.insert(0, (await store.start(start_after=MIDNIGHT_MS + 1_000 - store.clock() % 1_000)).id)
    store.clock.advance(5_000)
    by_due = [c.run_id for c in await store.claimable()]
    assert [c.run.id for c in await store.claim(limit=3)] == by_due[:3]
    due = [(await store.read(lambda tx, r=r: runs.get(tx, TENANT, r))) for r in by_due]
    times = [r.start_after for r in due if r is not None and r.start_after is not None]
    assert times == sorted(times)
    assert len(times) == 4


@rule
async def a_suspect_is_not_claimed_with_others(store: Store) -> None:
    suspect = await store.started()
    for _ in range(limits.LAPSES_ALONE):
        assert await store.orphan(suspect, dead=True) is not None
        store.clock.advance(60_000)
        suspect = await store.claim_one() if (await store.head(suspect.run)).lapses < limits.LAPSES_ALONE else suspect
    calm = await store.start()
    assert [c.run_id for c in await store.claimable()] == [calm.id]

    async def suspects(waiting_ms: int) -> list[RunId]:
        found = await store.read(
            lambda tx: runs.suspects(tx, ["a"], limit=9, lapses_alone=limits.LAPSES_ALONE, waiting_ms=waiting_ms), None
        )
        return [c.run_id for c in found]

    due = (await store.run(suspect.run)).claimable_at
    assert due is not None
    assert await suspects(0) == [suspect.run.id]
    assert await suspects(store.clock() - due) == [suspect.run.id]
    assert await suspects(store.clock() - due + 1) == []


@rule
async def claims_at_once_give_each_run_to_one_worker(store: Store) -> None:
    queue = [await store.start() for _ in range(30)]
    workers = [WorkerId(bytes([n + 1]) * 16) for n in range(6)]
    rounds = await asyncio.gather(*[store.claim(w, limit=10) for w in workers for _ in range(3)])
    rounds += [await store.claim(workers[0], limit=100)]
    got = [c.run.id for claimed in rounds for c in claimed]
    assert sorted(got) == sorted(r.id for r in queue)
    for claimed in rounds:
        for one in claimed:
            head = await store.head(one.run)
            assert head.epoch == one.epoch == 1
            assert head.owner is not None
            assert_dense(await store.journal(one.run), head)


@rule
async def a_candidate_that_another_worker_took_is_left_alone(store: Store) -> None:
    await store.start()
    found = await store.claimable()
    taken = await store.claim_one(WORKER_A)
    assert await store.write(lambda tx: claims.claim(tx, WORKER_B, found, {"a": "v1"}, LEASE_MS), None) == []
    head = await store.head(taken.run)
    assert (head.owner, head.epoch) == (WORKER_A, taken.epoch)


@rule
async def a_first_claim_says_so_and_places_the_input(store: Store) -> None:
    run = await store.start(input=b'"question"')
    claimed = await store.claim_one()
    assert (claimed.input, claimed.epoch, claimed.lapses) == (b'"question"', 1, 0)
    assert claimed.run.status is RunStatus.RUNNING
    assert claimed.run.started_at == store.clock()
    assert (claimed.input_position, claimed.next_position) == (1, 2)
    found = await store.journal(run)
    assert [e.type for e in found] == [EntryType.RUN_QUEUED, EntryType.RUN_STARTED]
    assert [(pos, e.type) for pos, e in claimed.appended] == [(2, EntryType.RUN_STARTED)]
    page = await store.read(lambda tx: messages.page(tx, TENANT, run.thread_id, 0, 10))
    assert [(m.position, m.role, m.payload, m.id) for m in page] == [
        (1, Role.USER, b'"question"', claims.input_message_id(run.id))
    ]
    head = await store.head(run)
    assert (head.owner, head.lease_until) == (WORKER_A, store.clock() + LEASE_MS)


@rule
async def a_claim_says_how_the_run_came_to_the_worker(store: Store) -> None:
    first = await store.started()
    await store.append(first, said(EntryType.RUN_QUEUED), change=Release())
    second = await store.claim_one(WORKER_B)
    await store.orphan(second, dead=True)
    third = await store.claim_one(WORKER_B)
    await store.park(third, wake_at=store.clock())  # due at once: refused
    await store.park(third, wake_at=store.clock() + 5)
    store.clock.advance(5)
    assert await store.write(_wake_all, None) == [first.run.id]
    fourth = await store.claim_one(version="v2")
    found = await store.journal(first.run)
    assert [e.type.value for e in found] == [
        "run.queued", "run.started", "run.queued", "run.resumed", "run.recovered", "run.waiting", "run.resumed",
        "run.version_changed",
    ]  # fmt: skip
    assert [first.epoch, second.epoch, third.epoch, fourth.epoch] == sorted(
        {first.epoch, second.epoch, third.epoch, fourth.epoch}
    )
    assert decode(found[4].payload)["lapses"] == 1
    changed = decode(found[7].payload)
    assert (changed["agent"], changed["from"], changed["to"]) == ("a", "v1", "v2")
    assert (await store.run(first.run)).agent_version == "v2"
    assert_dense(found, await store.head(first.run))


async def _wake_all(tx: Tx) -> list[RunId]:
    return [c.run_id for c in await runs.due(tx, 100) if await claims.wake_due(tx, c)]


@rule
async def a_recovery_tells_which_shown_messages_are_void(store: Store) -> None:
    claimed = await store.started()
    begun = [
        replace(said(EntryType.MESSAGE_STARTED, encode({"message_id": f"msg_{n}", "key": f"m#{n}"}))) for n in (1, 2)
    ]
    done = step("m#1", type=EntryType.MESSAGE_COMPLETED, kind=StepKind.MODEL)
    await store.append(claimed, begun[0], done, begun[1])
    await store.orphan(claimed, dead=True)
    again = await store.claim_one()
    assert decode(again.appended[0][1].payload)["void"] == ["msg_2"]


@rule
async def a_claim_returns_the_whole_journal(store: Store) -> None:
    claimed = await store.started()
    await store.append(claimed, *[step(f"s#{n}") for n in range(5_100)])
    await store.append(claimed, said(EntryType.RUN_QUEUED), change=Release())
    again = await store.claim_one()
    assert len(again.entries) == 5_103
    assert_dense(again.entries)


# -- appends and fencing ------------------------------------------------------------------------------------------


@rule
async def an_append_is_given_dense_places(store: Store) -> None:
    claimed = await store.started()
    one = await store.append(claimed, opening("x#1"), step("x#1"), step("y#1"))
    assert (one.pos, one.seq, one.cancel, one.refused, one.open_again) == (2, 0, False, False, False)
    two = await store.append(claimed, step("z#1"))
    assert (two.pos, two.seq) == (5, 2)
    assert_dense(await store.journal(claimed.run), await store.head(claimed.run))


@rule
async def an_entry_comes_back_as_it_was_written(store: Store) -> None:
    claimed = await store.started()
    new = step(
        "k#1",
        payload=b'{"a":1}',
        kind=StepKind.MODEL,
        tries=3,
        status=StepStatus.FAILED,
        digest=b"d" * 16,
        error=b'{"code":"x"}',
        prompt=b"[1]",
        usage=Usage(1, 2, 3, 4, False),
        price_version="p1",
        started_at=5,
        ended_at=6,
    )
    placed = await store.append(claimed, new)
    got = await store.read(lambda tx: entries.at(tx, TENANT, claimed.run.id, placed.pos + 1))
    assert got is not None
    shared = set(Entry.__slots__) - {"pos", "epoch", "seq"}
    assert {n: getattr(got, n) for n in shared} == {n: getattr(new, n) for n in shared}
    assert (got.pos, got.epoch, got.seq) == (3, claimed.epoch, 1)
    assert got == await store.read(lambda tx: entries.step(tx, TENANT, claimed.run.id, 1))


@rule
async def a_stale_epoch_writes_nothing(store: Store) -> None:
    zombie = await store.started()
    await store.orphan(zombie, dead=True)
    before = await store.snapshot()
    for change in (None, Release(), Park(waiting_on=b"[]", wake_at=None), Finish(end=End(status=RunStatus.SUCCEEDED))):
        assert (await store.append(zombie, step("late#1"), change=change)).refused
    assert await store.snapshot() == before
    owner = await store.claim_one(WORKER_B)
    before = await store.snapshot()
    assert (await store.append(zombie, step("late#1"))).refused
    assert await store.snapshot() == before
    assert not (await store.append(owner, step("late#1"))).refused


@rule
async def a_zombie_in_the_owners_own_batch_writes_nothing(store: Store) -> None:
    zombie = await store.started()
    await store.orphan(zombie, dead=True)
    owner = await store.claim_one(WORKER_A)
    late, mine, later = await store.append_all(
        [append_of(zombie, step("s#1"), step("s#2")), append_of(owner, step("s#1")), append_of(zombie, step("s#3"))]
    )
    assert (late.refused, mine.refused, later.refused) == (True, False, True)
    found = await store.journal(owner.run)
    assert [e.key for e in found if e.seq] == ["s#1"]
    assert_dense(found, await store.head(owner.run))


@rule
async def two_tenants_runs_of_one_id_do_not_mix_in_a_batch(store: Store) -> None:
    id = RunId(store.new_id())
    for tenant in (TENANT, OTHER_TENANT):
        await store.start(tenant=tenant, id=id)
    mine, theirs = sorted(await store.claim(), key=lambda c: c.run.tenant_id)
    assert (mine.run.tenant_id, theirs.run.tenant_id) == (TENANT, OTHER_TENANT)
    await store.orphan(theirs, dead=True)
    one, other = await store.append_all([append_of(mine, step("a#1"), step("a#2")), append_of(theirs, step("b#1"))])
    assert (one.refused, other.refused) == (False, True)
    await store.claim_one()
    assert [e.key for e in await store.journal(mine.run) if e.seq] == ["a#1", "a#2"]
    assert [e.key for e in await store.journal(theirs.run) if e.seq] == []


@rule
async def a_lapsed_lease_with_unchanged_epoch_is_still_ours_and_renewed(store: Store) -> None:
    claimed = await store.started()
    store.clock.advance(10 * LEASE_MS)
    assert not (await store.append(claimed, step("s#1"))).refused
    assert (await store.head(claimed.run)).lease_until == store.clock() + LEASE_MS
    assert await store.orphan(claimed) is None


@rule
async def who_let_go_of_a_run_writes_no_more(store: Store) -> None:
    for change in (Release(), Park(waiting_on=b"[]", wake_at=None), Finish(end=End(status=RunStatus.SUCCEEDED))):
        claimed = await store.started()
        await store.append(claimed, said(EntryType.CUSTOM), change=change)
        head = await store.head(claimed.run)
        assert (head.owner, head.lease_until) == (None, None)
        assert (await store.append(claimed, step("s#1"))).refused
        await store.cancel(claimed.run)


@rule
async def every_transition_out_of_running_by_others_raises_the_epoch(store: Store) -> None:
    back = await store.started()
    await store.orphan(back, dead=True)
    assert (await store.head(back.run)).epoch > back.epoch
    await store.cancel(back.run)

    asked = await store.started()
    await store.cancel(asked.run)
    ended = await store.orphan(asked, dead=True)
    assert ended is not None
    assert ended.cancelled
    assert (await store.head(asked.run)).epoch > asked.epoch

    parked = await store.started()
    await store.park(parked)
    await store.cancel(parked.run)
    assert (await store.head(parked.run)).epoch > parked.epoch


@rule
async def renewal_names_the_runs_that_are_still_ours(store: Store) -> None:
    mine, lost, asked = [await store.started() for _ in range(3)]
    await store.orphan(lost, dead=True)
    await store.cancel(asked.run)
    store.clock.advance(9_000)
    held = [(c.run.tenant_id, c.run.id, c.epoch) for c in (lost, asked, mine)]
    rows = await store.write(lambda tx: heads.renew(tx, WORKER_A, held, LEASE_MS), None)
    assert {row[0]: bool(row[1]) for row in rows} == {mine.run.id: False, asked.run.id: True}
    assert (await store.head(mine.run)).lease_until == store.clock() + LEASE_MS
    assert await store.write(lambda tx: heads.renew(tx, WORKER_B, held, LEASE_MS), None) == []
    lessor = store.database.lessor()
    try:
        renewed = await asyncio.to_thread(lessor.renew, WORKER_A, held, 2 * LEASE_MS)
        assert {row[0] for row in renewed} == {mine.run.id, asked.run.id}
    finally:
        await asyncio.to_thread(lessor.close)
    assert (await store.head(mine.run)).lease_until == store.clock() + 2 * LEASE_MS


@rule
async def an_append_tells_that_the_run_was_asked_to_stop(store: Store) -> None:
    claimed = await store.started()
    await store.cancel(claimed.run, reason="enough")
    assert (await store.run(claimed.run)).status is RunStatus.RUNNING
    assert (await store.append(claimed, step("s#1"))).cancel
    await store.cancel(claimed.run, reason="again")
    run = await store.run(claimed.run)
    assert (run.cancel_reason, run.cancel_requested_at) == ("enough", store.clock())


@rule
async def places_stay_dense_when_owner_and_recovery_write_at_once(store: Store) -> None:
    claimed = await store.started()
    work = [store.append(claimed, step(f"s#{n}"), opening(f"t#{n}")) for n in range(12)]
    results = await asyncio.gather(*work[:6], store.orphan(claimed, dead=True), *work[6:])
    found = await store.journal(claimed.run)
    assert_dense(found, await store.head(claimed.run))
    accepted = [r for r in results if isinstance(r, Appended) and not r.refused]
    assert len([e for e in found if e.seq]) == len(accepted)
    assert sorted(r.pos for r in accepted) == [2 + 2 * n for n in range(len(accepted))]


@rule
async def places_stay_dense_when_owner_and_cancel_meet(store: Store) -> None:
    for _ in range(5):
        claimed = await store.started()
        await asyncio.gather(
            store.append(claimed, step("s#1")),
            store.park(claimed),
            store.cancel(claimed.run),
            store.cancel(claimed.run),
        )
        assert_dense(await store.journal(claimed.run), await store.head(claimed.run))
        run = await store.run(claimed.run)
        assert run.status in (RunStatus.CANCELLED, RunStatus.RUNNING), "a run asked to stop must not be left waiting"
        if run.status is RunStatus.RUNNING:
            assert (await store.append(claimed, step("s#2"))).cancel


@rule
async def a_steps_result_is_recorded_once(store: Store) -> None:
    claimed = await store.started()
    await store.append(claimed, opening("s#1"), step("s#1"))
    before = await store.snapshot()
    await refused(store.append(claimed, step("s#1")))
    await refused(store.append(claimed, opening("s#1")))
    await refused(store.append(claimed, step("t#1"), step("t#1")))
    assert await store.snapshot() == before
    await store.append(claimed, step("s#1", attempt=2), opening("s#1", attempt=2))
    attempts = await store.read(lambda tx: entries.of_key(tx, TENANT, claimed.run.id, "s#1"))
    assert attempts == [1, 2]


@rule
async def voided_steps_are_named_by_the_retries(store: Store) -> None:
    claimed = await store.started()
    await store.append(
        claimed,
        said(EntryType.RUN_RETRIED, encode({"voided": [["a#1", 1], ["b#1", 2]]})),
        said(EntryType.RUN_RETRIED, encode({"voided": [["a#1", 2]]})),
    )
    found = await store.read(lambda tx: entries.voided(tx, TENANT, claimed.run.id))
    assert found == {("a#1", 1), ("b#1", 2), ("a#1", 2)}


@rule
async def entries_and_steps_are_paged_in_order(store: Store) -> None:
    claimed = await store.started()
    await store.append(claimed, *[e for n in range(1, 6) for e in (opening(f"s#{n}"), step(f"s#{n}"))])
    run_id = claimed.run.id
    page = await store.read(lambda tx: entries.after(tx, TENANT, run_id, 3, 4))
    assert [e.pos for e in page] == [4, 5, 6, 7]
    steps = await store.read(lambda tx: entries.steps(tx, TENANT, run_id, 2, 2))
    assert [(e.seq, e.key) for e in steps] == [(3, "s#3"), (4, "s#4")]
    assert await store.read(lambda tx: entries.step(tx, TENANT, run_id, 6)) is None
    assert await store.read(lambda tx: entries.at(tx, TENANT, run_id, 13)) is None


# -- park and wake ------------------------------------------------------------------------------------------------


@rule
async def a_parked_run_is_only_a_row(store: Store) -> None:
    claimed = await store.started()
    wake_at = store.clock() + 100
    parked = await store.park(claimed, wake_at=wake_at)
    assert not parked.open_again
    run, head = await store.run(claimed.run), await store.head(claimed.run)
    assert (run.status, run.wake_at, run.waiting_on) == (RunStatus.WAITING, wake_at, b'[{"type":"timer"}]')
    assert (run.claimable_at, head.owner, head.epoch) == (None, None, claimed.epoch)
    assert await store.claim() == []


@rule
async def a_timer_wakes_a_waiting_run_when_it_is_due_and_once(store: Store) -> None:
    claimed = await store.started()
    await store.park(claimed, wake_at=store.clock() + 100)
    assert await store.read(runs.next_due_at, None) == store.clock() + 100
    store.clock.advance(99)
    early = Candidate(TENANT, claimed.run.id, claimed.run.thread_id, "a", True)
    assert await store.read(lambda tx: runs.due(tx, 9), None) == []
    assert not await store.write(lambda tx: claims.wake_due(tx, early), None)
    store.clock.advance(1)
    assert await store.read(lambda tx: runs.due(tx, 9), None) == [early]
    woken = await asyncio.gather(*[store.write(lambda tx: claims.wake_due(tx, early), None) for _ in range(4)])
    assert sorted(woken) == [False, False, False, True]
    run = await store.run(claimed.run)
    assert (run.status, run.claimable_at, run.wake_at, run.waiting_on) == (RunStatus.QUEUED, store.clock(), None, None)
    assert await store.read(runs.next_due_at, None) is None


@rule
async def a_timer_wakes_only_a_waiting_run(store: Store) -> None:
    claimed = await store.started()
    candidate = Candidate(TENANT, claimed.run.id, claimed.run.thread_id, "a", True)
    for _ in range(2):
        assert not await store.write(lambda tx: claims.wake_due(tx, candidate), None)
        await store.cancel(claimed.run)
        await store.orphan(claimed, dead=True)
    unknown = Candidate(TENANT, RunId(store.new_id()), claimed.run.thread_id, "a", True)
    assert not await store.write(lambda tx: claims.wake_due(tx, unknown), None)


@rule
async def a_park_whose_timer_is_due_already_is_refused(store: Store) -> None:
    claimed = await store.started()
    before = await store.snapshot()
    parked = await store.park(claimed, wake_at=store.clock())
    assert parked.open_again
    assert not parked.refused
    assert await store.snapshot() == before


async def _family(store: Store) -> tuple[Claimed, Claimed]:
    parent = await store.started()
    child = await store.start(parent=parent.run)
    return parent, next(c for c in await store.claim() if c.run.id == child.id)


@rule
async def a_park_on_a_child_that_ended_is_refused(store: Store) -> None:
    parent, child = await _family(store)
    sibling = await store.start(parent=parent.run)
    ended = await store.finish(child)
    assert ended.woken is None
    assert (await store.run(parent.run)).status is RunStatus.RUNNING
    before = await store.snapshot()
    assert (await store.park(parent, children=[sibling.id, child.run.id])).open_again
    assert await store.snapshot() == before
    assert not (await store.park(parent, children=[sibling.id])).open_again


@rule
async def a_childs_end_wakes_its_waiting_parent(store: Store) -> None:
    for end in (RunStatus.SUCCEEDED, RunStatus.FAILED):
        parent, child = await _family(store)
        assert not (await store.park(parent, children=[child.run.id])).open_again
        assert (await store.finish(child, status=end)).woken == parent.run.id
        run = await store.run(parent.run)
        assert (run.status, run.claimable_at) == (RunStatus.QUEUED, store.clock())
        await store.cancel(parent.run)


@rule
async def a_child_that_recovery_or_cancel_ends_wakes_its_waiting_parent(store: Store) -> None:
    parent, child = await _family(store)
    await store.park(parent, children=[child.run.id])
    await store.cancel(child.run)
    ended = await store.orphan(child, dead=True)
    assert ended is not None
    assert ended.cancelled
    assert ended.woken == parent.run.id

    again = await store.claim_one()
    second = await store.start(parent=parent.run)
    await store.park(again, children=[second.id])
    cancelled = await store.cancel(second)
    assert cancelled is not None
    assert cancelled.woken == parent.run.id


@rule
async def a_childs_end_leaves_a_parent_alone_that_does_not_wait(store: Store) -> None:
    parent, child = await _family(store)
    await store.orphan(parent, dead=True)
    queued = await store.run(parent.run)
    assert (await store.finish(child)).woken is None
    assert await store.run(parent.run) == queued


@rule
async def a_parent_that_parks_in_the_batch_in_which_its_child_ends_goes_on(store: Store) -> None:
    for parks_first in (True, False):
        parent, child = await _family(store)
        park = append_of(
            parent,
            said(EntryType.RUN_WAITING),
            change=Park(waiting_on=b"[]", wake_at=None, children=(child.run.id,)),
        )
        finish = append_of(
            child,
            said(EntryType.RUN_SUCCEEDED),
            change=Finish(end=End(status=RunStatus.SUCCEEDED), parent=parent.run.id),
        )
        await store.append_all([park, finish] if parks_first else [finish, park])
        assert (await store.run(parent.run)).status is RunStatus.QUEUED
        await store.cancel(parent.run)


@rule
async def park_and_childs_end_at_once_never_lose_the_wake(store: Store) -> None:
    families = [await _family(store) for _ in range(6)]
    work = [store.park(parent, children=[child.run.id]) for parent, child in families]
    ends = [store.finish(child) for _, child in families]
    parked = (await asyncio.gather(*work, *ends))[: len(families)]
    for (parent, _), result in zip(families, parked, strict=True):
        status = (await store.run(parent.run)).status
        assert status is (RunStatus.RUNNING if result.open_again else RunStatus.QUEUED)


@rule
async def a_zombies_park_is_refused_even_when_its_child_has_ended(store: Store) -> None:
    zombie, child = await _family(store)
    await store.finish(child)
    await store.orphan(zombie, dead=True)
    parked = await store.park(zombie, children=[child.run.id])
    assert parked.refused
    assert not parked.open_again


@rule
async def a_run_asked_to_stop_does_not_park(store: Store) -> None:
    """Else nobody would end it: the cancel left it to its worker, and the worker has let it go."""
    claimed = await store.started()
    await store.cancel(claimed.run)
    parked = await store.park(claimed, wake_at=store.clock() + 1_000)
    assert parked.open_again
    assert parked.cancel
    assert (await store.run(claimed.run)).status is RunStatus.RUNNING


# -- recovery -----------------------------------------------------------------------------------------------------


@rule
async def a_live_owner_keeps_its_run(store: Store) -> None:
    claimed = await store.started()
    store.clock.advance(LEASE_MS)
    assert await store.orphan(claimed) is None
    assert await store.read(lambda tx: heads.lapsed(tx, but_not_of=WORKER_B, limit=9), None) == []
    store.clock.advance(1)
    assert await store.read(lambda tx: heads.lapsed(tx, but_not_of=WORKER_A, limit=9), None) == []
    found = await store.read(lambda tx: heads.lapsed(tx, but_not_of=WORKER_B, limit=9), None)
    assert [(h.run_id, h.owner, t) for h, t in found] == [(claimed.run.id, WORKER_A, claimed.run.thread_id)]
    assert await store.orphan(claimed, epoch=claimed.epoch - 1) is None
    back = await store.orphan(claimed)
    assert back is not None
    assert (back.lapses, back.poisoned, back.cancelled) == (1, False, False)


@rule
async def a_dead_owner_loses_its_runs_at_once(store: Store) -> None:
    mine, theirs = await store.started(), await store.start()
    await store.claim_one(WORKER_B)
    assert set(await store.read(heads.owners, None)) == {WORKER_A, WORKER_B}
    held = await store.read(lambda tx: heads.of_owner(tx, WORKER_B, limit=9), None)
    assert [(h.run_id, t) for h, t in held] == [(theirs.id, theirs.thread_id)]
    assert await store.orphan(mine) is None
    assert await store.orphan(mine, dead=True) is not None
    run = await store.run(mine.run)
    assert (run.status, run.claimable_at, run.started_at) == (RunStatus.QUEUED, store.clock(), mine.run.started_at)
    assert await store.orphan(mine, dead=True) is None, "an orphan is taken back once"


@rule
async def recoveries_at_once_take_a_run_back_once(store: Store) -> None:
    claimed = await store.started()
    back = await asyncio.gather(*[store.orphan(claimed, dead=True) for _ in range(6)])
    assert len([b for b in back if b is not None]) == 1
    assert (await store.head(claimed.run)).lapses == 1


@rule
async def lapses_in_a_row_back_off_and_the_fifth_poisons(store: Store) -> None:
    claimed = await store.started()
    waits: list[int] = []
    for lapse in range(1, limits.LAPSES_POISONED):
        back = await store.orphan(claimed, dead=True)
        assert back is not None
        assert back.lapses == lapse
        assert not back.poisoned
        due = (await store.run(claimed.run)).claimable_at
        assert due is not None
        waits.append(due - store.clock())
        store.clock.advance(due - store.clock())
        claimed = await store.claim_one()
        assert claimed.lapses == lapse
    assert waits == [0, 1_000, 2_000, 4_000]
    back = await store.orphan(claimed, dead=True)
    assert back is not None
    assert back.poisoned
    assert back.pos is not None
    view = await store.read(lambda tx: runs.view(tx, TENANT, claimed.run.id))
    assert view is not None
    assert view.view.run.status is RunStatus.FAILED
    assert decode(view.view.run.error)["code"] == "poisoned"
    found = await store.journal(claimed.run)
    assert (found[-1].type, found[-1].pos) == (EntryType.RUN_FAILED, back.pos)
    assert_dense(found, await store.head(claimed.run))


@rule
async def progress_forgets_lapses(store: Store) -> None:
    claimed = await store.started()
    for n in range(2 * limits.LAPSES_POISONED):
        assert not (await store.append(claimed, step(f"s#{n}"))).refused
        back = await store.orphan(claimed, dead=True)
        assert back is not None
        assert back.lapses == 1
        claimed = await store.claim_one()


@rule
async def an_orphan_that_was_asked_to_stop_is_ended(store: Store) -> None:
    thread_id = await store.thread()
    claimed = await store.started(thread_id=thread_id)
    following = await store.start(thread_id)
    await store.cancel(claimed.run, reason="enough")
    assert (await store.run(claimed.run)).status is RunStatus.RUNNING
    back = await store.orphan(claimed, dead=True)
    assert back is not None
    assert (back.cancelled, back.promoted) == (True, following.id)
    run = await store.run(claimed.run)
    assert (run.status, run.ended_at, run.cancel_reason) == (RunStatus.CANCELLED, store.clock(), "enough")
    assert_dense(await store.journal(claimed.run), await store.head(claimed.run))


# -- ends ---------------------------------------------------------------------------------------------------------


@rule
async def an_end_makes_the_next_of_the_thread_claimable_at_its_time(store: Store) -> None:
    thread_id = await store.thread()
    claimed = await store.started(thread_id=thread_id)
    later = await store.start(thread_id, start_after=store.clock() + 500)
    last = await store.start(thread_id)
    assert (await store.finish(claimed)).promoted == later.id
    assert (await store.run(later)).claimable_at == later.start_after
    assert (await store.run(last)).claimable_at is None
    cancelled = await store.cancel(later)
    assert cancelled is not None
    assert cancelled.promoted == last.id
    assert (await store.run(last)).claimable_at == store.clock()


@rule
async def cancelling_a_queued_run_behind_the_holder_promotes_nobody(store: Store) -> None:
    thread_id = await store.thread()
    claimed = await store.started(thread_id=thread_id)
    queued, last = await store.start(thread_id), await store.start(thread_id)
    cancelled = await store.cancel(queued)
    assert cancelled is not None
    assert cancelled.promoted is None
    assert (await store.run(last)).claimable_at is None
    assert (await store.finish(claimed)).promoted == last.id


@rule
async def a_run_ends_once(store: Store) -> None:
    claimed = await store.started()
    await store.finish(claimed)
    before = await store.snapshot()
    assert (await store.finish(claimed)).refused
    assert await store.cancel(claimed.run) is None
    assert await store.orphan(claimed, dead=True) is None
    assert await store.snapshot() == before


@rule
async def ends_and_starts_at_once_leave_a_thread_with_one_claimable_head(store: Store) -> None:
    thread_id = await store.thread()
    claimed = await store.started(thread_id=thread_id)
    queue = [await store.start(thread_id) for _ in range(3)]
    await asyncio.gather(
        store.finish(claimed), *[store.start(thread_id) for _ in range(4)], *[store.cancel(r) for r in queue[:2]]
    )
    assert len(await store.claimable()) == 1
    order = await _order(store)
    assert len(order) == 5
    assert order[0] == queue[2].id


@rule
async def the_output_is_the_step_that_the_end_names(store: Store) -> None:
    claimed = await store.started()
    await store.append(claimed, step("out#1", payload=b'"old"'), step("other#1"))
    await store.append(claimed, step("out#1", payload=b'"new"', attempt=2, kind=StepKind.MODEL))
    await store.finish(claimed, output_key="out#1")
    view = await store.read(lambda tx: runs.view(tx, TENANT, claimed.run.id))
    assert view is not None
    assert (view.view.input, view.view.output, view.output_is_message) == (b'"hello"', b'"new"', True)
    assert (view.view.epoch, view.view.pos, view.view.seq) == (1, 6, 3)


@rule
async def the_output_may_be_the_entry_of_the_end_itself(store: Store) -> None:
    claimed = await store.started()
    end = append_of(
        claimed,
        step("s#1", payload=b'"not this"'),
        said(EntryType.RUN_SUCCEEDED, b'"this"'),
        change=Finish(end=End(status=RunStatus.SUCCEEDED, output_here=True)),
    )
    before, done = await store.append_all([append_of(claimed, step("s#0")), end])
    assert not before.refused
    assert not done.refused
    view = await store.read(lambda tx: runs.view(tx, TENANT, claimed.run.id))
    assert view is not None
    assert (view.view.output, view.output_is_message) == (b'"this"', False)


@rule
async def usage_goes_to_the_row_with_a_change_of_state(store: Store) -> None:
    claimed = await store.started()
    used = Usage(2, 30, 40, 50, False)
    await store.append(claimed, step("m#1", usage=used), step("m#2", usage=Usage(1, 1, 1, 1)))
    assert (await store.run(claimed.run)).usage == NO_USAGE
    total = used + Usage(1, 1, 1, 1)
    assert await store.read(lambda tx: runs.usage_so_far(tx, TENANT, claimed.run.id)) == total
    await store.append(claimed, said(EntryType.RUN_WAITING), change=Park(waiting_on=b"[]", wake_at=None), usage=total)
    assert (await store.run(claimed.run)).usage == total
    await store.cancel(claimed.run)
    assert (await store.run(claimed.run)).usage == total


@rule
async def recovery_ends_a_run_with_the_usage_of_its_journal(store: Store) -> None:
    claimed = await store.started()
    await store.append(claimed, step("m#1", usage=Usage(1, 2, 3, 4)))
    await store.cancel(claimed.run)
    await store.orphan(claimed, dead=True)
    assert (await store.run(claimed.run)).usage == Usage(1, 2, 3, 4)


async def _rolled_back(
    store: Store, *doing: NewEntry, effect: bool = False, failed: bool = False
) -> tuple[list[bool], OnBusy | None]:
    """Which messages of a rolled-back run are void, and what the run that asked for it says. `effect`: it has an effect
    that was started; `failed`: which is known to have done nothing."""
    thread_id = await store.thread()
    before = await store.started(thread_id=thread_id)
    await store.finish(before)
    claimed = await store.started(thread_id=thread_id)
    asks = await store.start(thread_id, on_busy_applied=OnBusy.ROLLBACK)
    say = NewMessage(MessageId(store.new_id()), Role.ASSISTANT, claimed.next_position)
    await store.append(claimed, *doing, step("say#1", message=say))
    if effect:
        await store.begin(claimed, "pay#1")
    if failed:
        await store.settle(claimed, "pay#1", EffectStatus.FAILED)
    await store.cancel(claimed.run, rollback=True)
    await store.finish(claimed, status=RunStatus.CANCELLED)
    page = await store.read(lambda tx: messages.page(tx, TENANT, thread_id, 0, 10))
    assert [m.run_id for m in page] == [before.run.id, claimed.run.id, claimed.run.id]
    assert not page[0].void, "only the rolled-back run's messages are hidden"
    return [m.void for m in page[1:]], (await store.run(asks)).on_busy_applied


@rule
async def a_rollback_hides_what_the_run_said(store: Store) -> None:
    assert await _rolled_back(store, opening("x#1")) == ([True, True], OnBusy.ROLLBACK)


@rule
async def a_rollback_is_softened_when_a_changing_tool_had_started(store: Store) -> None:
    assert await _rolled_back(store, effect=True) == ([False, False], OnBusy.INTERRUPT)


@rule
async def a_rollback_is_not_softened_by_what_is_known_to_have_done_nothing(store: Store) -> None:
    assert await _rolled_back(store, effect=True, failed=True) == ([True, True], OnBusy.ROLLBACK)


@rule
async def a_plain_cancel_hides_nothing(store: Store) -> None:
    claimed = await store.started()
    await store.cancel(claimed.run)
    await store.finish(claimed, status=RunStatus.CANCELLED)
    page = await store.read(lambda tx: messages.page(tx, TENANT, claimed.run.thread_id, 0, 10))
    assert [m.void for m in page] == [False]


@rule
async def a_failed_run_may_be_queued_again_and_goes_on(store: Store) -> None:
    claimed = await store.started()
    end = End(status=RunStatus.FAILED, error=b'{"code":"x"}')
    await store.append_finish(claimed, end)
    assert (await store.run(claimed.run)).error == b'{"code":"x"}'
    assert await store.write(lambda tx: runs.requeue(tx, TENANT, claimed.run.id, RunStatus.FAILED, at=tx.now_ms))
    run = await store.run(claimed.run)
    assert (run.status, run.error, run.ended_at) == (RunStatus.QUEUED, None, None)
    again = await store.claim_one()
    assert again.epoch > claimed.epoch
    assert again.run.ordinal == 1


@rule
async def overdue_runs_are_found_unless_they_run_or_ended(store: Store) -> None:
    deadline = store.clock() + 100
    running = await store.started(deadline=deadline)
    waiting = await store.started(deadline=deadline)
    await store.park(waiting)
    queued = await store.start(deadline=deadline, start_after=deadline + 1)
    ended = await store.start(deadline=deadline, start_after=deadline + 1)
    await store.cancel(ended)
    await store.start(deadline=deadline + 1, start_after=deadline + 1)
    store.clock.advance(99)
    assert await store.read(lambda tx: runs.overdue(tx, 9), None) == []
    store.clock.advance(1)
    found = await store.read(lambda tx: runs.overdue(tx, 9), None)
    assert {c.run_id for c in found} == {waiting.run.id, queued.id}
    assert running.run.id not in {c.run_id for c in found}


@rule
async def descendants_of_any_depth_are_found_while_they_live(store: Store) -> None:
    root = await store.start()
    child, ended = [await store.start(parent=root) for _ in range(2)]
    grandchild = await store.start(parent=child)
    below_ended = await store.start(parent=ended)
    await store.cancel(ended)
    await store.start()
    found = await store.read(lambda tx: runs.descendants_alive(tx, TENANT, root.id))
    assert {r for r, _ in found} == {child.id, grandchild.id, below_ended.id}
    assert dict(found)[grandchild.id] == grandchild.thread_id


# -- payloads -----------------------------------------------------------------------------------------------------


@rule
async def a_large_payload_is_kept_once_and_comes_back_everywhere(store: Store) -> None:
    big = encode("x" * limits.PAYLOAD_INLINE_BYTES_MAX)
    run = await store.start(input=big)
    claimed = await store.claim_one()
    assert claimed.input == big
    say = NewMessage(MessageId(store.new_id()), Role.ASSISTANT, claimed.next_position)
    await store.append(claimed, step("s#1", payload=big, message=say))
    await store.finish(claimed, output_key="s#1")
    view = await store.read(lambda tx: runs.view(tx, TENANT, run.id))
    assert view is not None
    assert (view.view.input, view.view.output) == (big, big)
    page = await store.read(lambda tx: messages.page(tx, TENANT, run.thread_id, 0, 10))
    assert [m.payload for m in page] == [big, big]
    assert [e.payload for e in await store.journal(run)].count(big) == 2
    rows = await store.snapshot()
    assert len(rows["blobs"]) == len(rows["blob_refs"]) == 1
    assert all(len(value) < 1_000 for row in rows["entries"] for value in row if isinstance(value, bytes))


@rule
async def a_payload_of_exactly_the_limit_stays_inline(store: Store) -> None:
    claimed = await store.started()
    payload = b'"' + b"x" * (limits.PAYLOAD_INLINE_BYTES_MAX - 2) + b'"'
    await store.append(claimed, step("s#1", payload=payload))
    assert (await store.snapshot())["blobs"] == []
    await store.append(claimed, step("s#2", payload=payload + b" "))
    assert len((await store.snapshot())["blobs"]) == 1


@rule
async def a_blob_is_collected_a_day_after_its_last_touch_when_nothing_refers_to_it(store: Store) -> None:
    claimed = await store.started()
    other = await store.started()
    loose = NewBlob(hash=b"l" * 32, data=b"loose")
    await store.append(claimed, step("s#1"), replace(said(EntryType.CUSTOM), blobs=(loose,)))
    await store.finish(claimed)
    store.clock.advance(2 * limits.BLOB_UNREFERENCED_KEEP_MS)
    assert await store.write(blobs.collect, None) == 0, "a run refers to it"
    await store.write(lambda tx: archive.remove(tx, TENANT, claimed.run.thread_id))
    assert await store.write(blobs.collect, None) == 1
    assert await store.read(lambda tx: blobs.get(tx, TENANT, loose.hash)) is None

    await store.append(other, replace(said(EntryType.CUSTOM), blobs=(loose,)))
    await store.finish(other)
    await store.write(lambda tx: archive.remove(tx, TENANT, other.run.thread_id))
    store.clock.advance(limits.BLOB_UNREFERENCED_KEEP_MS)
    assert await store.write(blobs.collect, None) == 0, "touched within the day"
    assert await store.read(lambda tx: blobs.get(tx, TENANT, loose.hash)) == b"loose"
    store.clock.advance(1)
    assert await store.write(blobs.collect, None) == 1


@rule
async def the_same_blob_from_many_runs_at_once_is_stored_once(store: Store) -> None:
    owned = [await store.started() for _ in range(6)]
    pair = [encode(c * 40_000) for c in "ab"]

    async def both(claimed: Claimed, first: int) -> Appended:
        return await store.append(claimed, step("s#1", payload=pair[first]), step("s#2", payload=pair[1 - first]))

    await asyncio.gather(*[both(claimed, n % 2) for n, claimed in enumerate(owned)])
    rows = await store.snapshot()
    assert (len(rows["blobs"]), len(rows["blob_refs"])) == (2, 12)


# -- messages -----------------------------------------------------------------------------------------------------


async def _conversation(store: Store, turns: int) -> tuple[ThreadId, list[Claimed]]:
    """Each turn is a run: its input, an answer, and a tool's result."""
    thread_id = await store.thread()
    told: list[Claimed] = []
    for turn in range(turns):
        claimed = await store.started(thread_id=thread_id, input=encode(f"q{turn}"))
        say = [
            step(f"m#{n}", payload=encode(f"a{turn}.{n}"), message=NewMessage(
                MessageId(store.new_id()), role, claimed.next_position + n))
            for n, role in enumerate((Role.ASSISTANT, Role.TOOL))
        ]  # fmt: skip
        await store.append(claimed, *say)
        await store.finish(claimed)
        told.append(claimed)
    return thread_id, told


@rule
async def messages_have_dense_positions_and_are_paged_both_ways(store: Store) -> None:
    thread_id, _ = await _conversation(store, 3)
    forward = await store.read(lambda tx: messages.page(tx, TENANT, thread_id, 0, 100))
    assert [m.position for m in forward] == list(range(1, 10))
    assert [decode(m.payload) for m in forward[:4]] == ["q0", "a0.0", "a0.1", "q1"]
    assert [m.position for m in await store.read(lambda tx: messages.page(tx, TENANT, thread_id, 4, 2))] == [5, 6]
    back = await store.read(lambda tx: messages.backwards(tx, TENANT, thread_id, 5, 3))
    assert [m.position for m in back] == [4, 3, 2]
    part = await store.read(lambda tx: messages.between(tx, TENANT, thread_id, 2, 4))
    assert [m.position for m in part] == [2, 3, 4]
    assert await store.read(lambda tx: messages.last_position(tx, TENANT, thread_id)) == 9
    one = forward[4]
    assert (one.seq, one.kind, one.status) == (1, "code", "succeeded")


@rule
async def a_turn_starts_with_a_runs_input(store: Store) -> None:
    thread_id, _ = await _conversation(store, 3)

    async def start(before: int, turns: int) -> int | None:
        return await store.read(lambda tx: messages.turn_start(tx, TENANT, thread_id, before, turns))

    assert [await start(10, n) for n in (1, 2, 3, 4)] == [7, 4, 1, None]
    assert [await start(7, 1), await start(4, 1), await start(1, 1)] == [4, 1, None]


@rule
async def void_messages_are_shown_but_never_sent_again(store: Store) -> None:
    thread_id, told = await _conversation(store, 3)
    await store.write(lambda tx: messages.hide_run(tx, TENANT, thread_id, told[1].run.id))
    shown = await store.read(lambda tx: messages.page(tx, TENANT, thread_id, 0, 100))
    assert [m.void for m in shown] == [False] * 3 + [True] * 3 + [False] * 3
    sent = await store.read(lambda tx: messages.backwards(tx, TENANT, thread_id, 100, 100))
    assert [m.position for m in sent] == [9, 8, 7, 3, 2, 1]
    assert [m.position for m in await store.read(lambda tx: messages.between(tx, TENANT, thread_id, 3, 7))] == [3, 7]
    assert await store.read(lambda tx: messages.turn_start(tx, TENANT, thread_id, 7, 1)) == 1


@rule
async def a_resumed_run_goes_on_where_its_messages_end(store: Store) -> None:
    thread_id, _ = await _conversation(store, 1)
    claimed = await store.started(thread_id=thread_id)
    assert (claimed.input_position, claimed.next_position) == (4, 5)
    say = NewMessage(MessageId(store.new_id()), Role.ASSISTANT, 5)
    await store.append(claimed, step("m#1", message=say))
    await store.orphan(claimed, dead=True)
    again = await store.claim_one()
    assert (again.input_position, again.next_position) == (4, 6)
    await refused(store.append(again, step("m#2", message=replace(say, id=MessageId(store.new_id())))))


# -- lists and views ----------------------------------------------------------------------------------------------


@rule
async def a_list_of_runs_shows_what_every_filter_asks_for(store: Store) -> None:
    plain = await store.start()
    store.clock.advance(10)
    tagged = await store.start(tags=["x", "y"], agent="b", external_id="ext-1", agent_version="v9")
    someone = PrincipalId(store.new_id())
    theirs = await store.start(initiator=someone)
    store.clock.advance(10)
    child = await store.start(parent=plain)
    second = await store.start(plain.thread_id)
    await store.cancel(second)

    async def ids(**wanted: Any) -> list[RunId]:
        return [v.view.run.id for v in await store.read(lambda tx: runs.page(tx, TENANT, RunFilter(**wanted)))]

    assert await ids() == [second.id, theirs.id, tagged.id, plain.id]
    assert await ids(include_children=True) == [second.id, child.id, theirs.id, tagged.id, plain.id]
    assert await ids(agent="b") == await ids(tag="x") == await ids(version="v9") == [tagged.id]
    assert await ids(external_id="ext-1") == [tagged.id]
    assert await ids(tag="z") == await ids(agent="none") == []
    assert await ids(tag="y", agent="a") == []
    assert await ids(principal_id=someone) == [theirs.id]
    assert await ids(parent_id=plain.id) == [child.id]
    assert await ids(thread_id=plain.thread_id) == [second.id, plain.id]
    assert await ids(status=(RunStatus.CANCELLED,)) == [second.id]
    assert len(await ids(status=(RunStatus.CANCELLED, RunStatus.QUEUED))) == 4
    assert await ids(created_after=MIDNIGHT_MS, created_before=MIDNIGHT_MS + 20) == [theirs.id, tagged.id]
    assert await ids(limit=2) == [second.id, theirs.id]
    assert await ids(limit=2, before=theirs.id) == [tagged.id, plain.id]
    assert await ids(before=plain.id) == []
    counts = await store.read(lambda tx: runs.counts(tx, TENANT))
    assert counts == {RunStatus.QUEUED: 4, RunStatus.CANCELLED: 1}


@rule
async def a_run_is_found_by_the_id_its_client_gave(store: Store) -> None:
    run = await store.start(external_id="mine")
    found = await store.read(lambda tx: runs.by_external_id(tx, TENANT, "mine"))
    assert found is not None
    assert found.view.run.id == run.id
    assert await store.read(lambda tx: runs.by_external_id(tx, TENANT, "other")) is None
    await refused(store.start(external_id="mine"))
    await store.start(tenant=OTHER_TENANT, external_id="mine")


@rule
async def a_list_of_threads_shows_what_every_filter_asks_for(store: Store) -> None:
    empty, idle, failed, busy, waiting = [await store.thread(external_id=f"t{n}") for n in range(5)]
    await store.thread(hidden=True)
    await store.finish(await store.started(thread_id=idle))
    await store.finish(await store.started(thread_id=failed), status=RunStatus.FAILED)
    await store.park(await store.started(thread_id=waiting))
    holder = await store.start(busy)

    async def ids(**wanted: Any) -> list[ThreadId]:
        return [v.thread.id for v in await store.read(lambda tx: threads.page(tx, TENANT, ThreadFilter(**wanted)))]

    assert await ids() == [waiting, busy, failed, idle, empty]
    assert await ids(status=ThreadStatus.IDLE) == [idle, empty]
    assert await ids(status=ThreadStatus.ERROR) == [failed]
    assert await ids(status=ThreadStatus.BUSY) == [busy]
    assert await ids(status=ThreadStatus.WAITING) == [waiting]
    assert await ids(external_id="t3") == [busy]
    assert await ids(limit=2) == [waiting, busy]
    assert await ids(before=busy, limit=2) == [failed, idle]
    assert await ids(before=busy, status=ThreadStatus.IDLE, limit=1) == [idle]
    view = await store.read(lambda tx: threads.view(tx, TENANT, busy))
    assert view is not None
    assert (view.head_run_id, view.head_status) == (holder.id, RunStatus.QUEUED)
    alone = await store.read(lambda tx: threads.view(tx, TENANT, empty))
    assert alone is not None
    assert (alone.head_run_id, alone.status) == (None, ThreadStatus.IDLE)


@rule
async def a_threads_head_is_its_holder_and_else_the_run_that_ended_last(store: Store) -> None:
    thread_id = await store.thread()
    await store.finish(await store.started(thread_id=thread_id), status=RunStatus.FAILED)
    held, queued = await store.started(thread_id=thread_id), await store.start(thread_id)

    async def head() -> tuple[RunId | None, ThreadStatus]:
        view = await store.read(lambda tx: threads.view(tx, TENANT, thread_id))
        assert view is not None
        return view.head_run_id, view.status

    assert await head() == (held.run.id, ThreadStatus.BUSY)
    await store.cancel(queued)
    assert await store.read(lambda tx: runs.last_of_thread(tx, TENANT, thread_id)) == queued.id
    await store.park(held)
    assert await head() == (held.run.id, ThreadStatus.WAITING)


@rule
async def a_thread_keeps_what_it_was_told(store: Store) -> None:
    thread_id = await store.thread(title="old", metadata=b"{}", external_id="mine")
    await refused(store.thread(external_id="mine"))
    found = await store.read(lambda tx: threads.by_external_id(tx, TENANT, "mine"))
    assert found is not None
    assert found.id == thread_id
    store.clock.advance(7)
    await store.write(lambda tx: threads.change(tx, replace(found, title="new", metadata=None)))
    changed = await store.read(lambda tx: threads.get(tx, TENANT, thread_id))
    assert changed is not None
    assert (changed.title, changed.metadata) == ("new", None)
    assert (changed.created_at, changed.updated_at) == (MIDNIGHT_MS, MIDNIGHT_MS + 7)


# -- idempotency, keys, workers, agents ---------------------------------------------------------------------------


def _key(key: str = "k", *, digest: bytes = b"d", route: str = "/v1/runs") -> idempotency.IdempotencyKey:
    return idempotency.IdempotencyKey(LOCAL_ADMIN, route, key, digest)


@rule
async def an_idempotency_key_is_claimed_once_until_it_expires(store: Store) -> None:
    async def claim(key: idempotency.IdempotencyKey, resource: bytes, tenant: TenantId = TENANT) -> bool:
        return await store.write(lambda tx: idempotency.claim(tx, tenant, key, 201, resource))

    assert await claim(_key(), b"one")
    assert not await claim(_key(digest=b"other body"), b"two")
    assert await claim(_key(route="/v1/threads"), b"three")
    assert await claim(_key("l"), b"four")
    assert await claim(_key(), b"five", OTHER_TENANT)
    found = await store.read(lambda tx: idempotency.find(tx, TENANT, _key(digest=b"x")))
    assert found == idempotency.Done(b"d", 201, b"one")
    assert await store.read(lambda tx: idempotency.find(tx, TENANT, _key("m"))) is None

    store.clock.advance(limits.IDEMPOTENCY_KEEP_MS)
    assert await store.read(lambda tx: idempotency.find(tx, TENANT, _key())) is not None
    assert not await claim(_key(), b"six")
    store.clock.advance(1)
    assert await store.read(lambda tx: idempotency.find(tx, TENANT, _key())) is None
    assert await claim(_key(), b"seven")
    again = await store.read(lambda tx: idempotency.find(tx, TENANT, _key()))
    assert again is not None
    assert again.resource == b"seven"
    assert await store.write(idempotency.expire, None) == 3
    assert len((await store.snapshot())["idempotency_keys"]) == 1


@rule
async def of_requests_at_once_with_one_key_one_does_the_work(store: Store) -> None:
    async def request(n: int) -> bool:
        async def body(tx: Tx) -> bool:
            thread_id = ThreadId(bytes([n + 1]) * 16)
            await threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, tx.now_ms))
            if not await idempotency.claim(tx, TENANT, _key(), 201, thread_id):
                raise LookupError
            return True

        try:
            return await store.write(body)
        except LookupError:
            return False

    assert sum(await asyncio.gather(*[request(n) for n in range(8)])) == 1
    rows = await store.snapshot()
    assert len(rows["threads"]) == 1
    assert len(rows["idempotency_keys"]) == 1


@rule
async def an_api_key_tells_its_tenant_and_is_revoked_once(store: Store) -> None:
    assert not await store.read(principals.any_key, None)
    key = ApiKey(TENANT, KeyId(store.new_id()), LOCAL_ADMIN, "ci", b"hmac", store.clock(), store.clock() + 9, None)
    theirs = replace(key, tenant_id=OTHER_TENANT, id=KeyId(store.new_id()))
    for one in (key, theirs):
        await store.write(lambda tx, one=one: principals.add_key(tx, one), None)
    assert await store.read(principals.any_key, None)
    found = await store.read(lambda tx: principals.by_key(tx, theirs.id), None)
    assert found is not None
    assert found[0] == theirs
    assert found[1].tenant_id == OTHER_TENANT
    assert found[1].scopes == frozenset({ADMIN_SCOPE})
    assert await store.read(lambda tx: principals.by_key(tx, KeyId(store.new_id())), None) is None
    assert await store.read(lambda tx: principals.keys(tx, TENANT, 9)) == [key]
    await refused(store.write(lambda tx: principals.add_key(tx, replace(theirs, tenant_id=TENANT)), None))

    assert not await store.write(lambda tx: principals.revoke_key(tx, TENANT, theirs.id))
    assert await store.write(lambda tx: principals.revoke_key(tx, TENANT, key.id))
    assert not await store.write(lambda tx: principals.revoke_key(tx, TENANT, key.id))
    revoked = await store.read(lambda tx: principals.by_key(tx, key.id), None)
    assert revoked is not None
    assert revoked[0].revoked_at == store.clock()
    assert await store.read(principals.any_key, None)
    assert await store.write(lambda tx: principals.revoke_key(tx, OTHER_TENANT, theirs.id))
    assert not await store.read(principals.any_key, None)


@rule
async def seeding_again_changes_nothing(store: Store) -> None:
    before = await store.snapshot()
    store.clock.advance(100)
    await asyncio.gather(*[store.write(principals.seed, None) for _ in range(4)])
    assert await store.snapshot() == before
    admin = await store.read(lambda tx: principals.get(tx, TENANT, LOCAL_ADMIN))
    assert admin is not None
    assert admin.scopes == frozenset({ADMIN_SCOPE})


@rule
async def workers_are_known_while_they_are_seen(store: Store) -> None:
    await store.write(lambda tx: agents.seen(tx, WORKER_B, {"z": "1", "a": "2"}, "host", 42, 8), None)
    store.clock.advance(1_000)
    await store.write(lambda tx: agents.seen(tx, WORKER_A, {"a": "1"}, "host", 43, 8), None)

    async def known(within: int) -> list[agents.Worker]:
        return await store.read(lambda tx: agents.workers(tx, seen_within_ms=within), None)

    assert [(w.id, w.agents) for w in await known(1_000)] == [(WORKER_A, {"a": "1"}), (WORKER_B, {"a": "2", "z": "1"})]
    assert [w.id for w in await known(999)] == [WORKER_A]
    await store.write(lambda tx: agents.seen(tx, WORKER_B, {"a": "2"}, "host", 42, 8), None)
    again = next(w for w in await known(0) if w.id == WORKER_B)
    assert (again.started_at, again.seen_at, again.pid) == (MIDNIGHT_MS, store.clock(), 42)
    await store.write(lambda tx: agents.forget_worker(tx, WORKER_A, unseen_for_ms=5_000), None)
    assert [w.id for w in await known(60_000)] == [WORKER_B]
    store.clock.advance(5_001)
    await store.write(lambda tx: agents.forget_worker(tx, WORKER_A, unseen_for_ms=5_000), None)
    assert await known(60_000) == []


@rule
async def registering_an_agent_again_leaves_its_kill_switch(store: Store) -> None:
    async def register(version: str, definition: bytes = b"{}") -> None:
        await store.write(lambda tx: agents.register(tx, TENANT, "a", AgentKind.NATIVE, version, definition))

    await register("v1")
    store.clock.advance(5)
    await register("v1")
    found = await store.read(lambda tx: agents.get(tx, TENANT, "a"))
    assert found is not None
    assert (found.enabled, found.updated_at) == (True, MIDNIGHT_MS)
    assert await store.write(lambda tx: agents.set_enabled(tx, TENANT, "a", False))
    assert not await store.write(lambda tx: agents.set_enabled(tx, TENANT, "none", False))
    await register("v2", b"[]")
    found = await store.read(lambda tx: agents.get(tx, TENANT, "a"))
    assert found is not None
    assert (found.enabled, found.version, found.definition) == (False, "v2", b"[]")
    for name in ("b", "c"):
        await store.write(lambda tx, name=name: agents.register(tx, TENANT, name, AgentKind.WORKFLOW, "v", b"{}"))
    page = await store.read(lambda tx: agents.page(tx, TENANT, "a", 1))
    assert [a.id for a in page] == ["b"]


# -- removal and isolation ----------------------------------------------------------------------------------------


@rule
async def removing_a_thread_leaves_nothing_of_it_in_any_table(store: Store) -> None:
    thread_id, told = await _conversation(store, 2)
    big = encode("y" * 40_000)
    extra = await store.started(thread_id=thread_id, tags=["x"], external_id="gone")
    await store.append(extra, step("s#1", payload=big))
    await store.finish(extra)
    kept = await store.started(tags=["x"])
    await store.append(kept, step("s#1", payload=big))
    before = await store.snapshot()
    gone = {thread_id, extra.run.id, *(c.run.id for c in told)}

    def holds(row: tuple[Any, ...]) -> bool:
        return any(value in gone for value in row if isinstance(value, bytes))

    named = {name for name, rows in before.items() if any(holds(row) for row in rows)}
    assert named == {"threads", "runs", "run_heads", "run_tags", "entries", "messages", "blob_refs"}
    assert set(await store.read(lambda tx: threads.run_ids(tx, TENANT, thread_id))) == gone - {thread_id}
    await store.write(lambda tx: archive.remove(tx, TENANT, thread_id))
    after = await store.snapshot()
    assert after == {name: [row for row in rows if not holds(row)] for name, rows in before.items()}


async def _everything_about(
    store: Store, tenant: TenantId, ids: Claimed, said_id: MessageId, ended_id: RunId
) -> dict[str, Any]:
    """What every function of the store finds under `tenant` for these ids."""
    run_id, thread_id = ids.run.id, ids.run.thread_id
    asked: dict[str, Callable[[Tx], Any]] = {
        "threads.get": lambda tx: threads.get(tx, tenant, thread_id),
        "threads.lock": lambda tx: threads.lock(tx, tenant, thread_id),
        "threads.view": lambda tx: threads.view(tx, tenant, thread_id),
        "threads.by_external_id": lambda tx: threads.by_external_id(tx, tenant, "thread"),
        "threads.page": lambda tx: threads.page(tx, tenant, ThreadFilter()),
        "threads.holder": lambda tx: threads.holder(tx, tenant, thread_id),
        "threads.share": lambda tx: threads.share(tx, tenant, thread_id),
        "threads.run_ids": lambda tx: threads.run_ids(tx, tenant, thread_id),
        "runs.get": lambda tx: runs.get(tx, tenant, run_id),
        "runs.view": lambda tx: runs.view(tx, tenant, run_id),
        "runs.by_external_id": lambda tx: runs.by_external_id(tx, tenant, "run"),
        "runs.page": lambda tx: runs.page(tx, tenant, RunFilter(include_children=True)),
        "runs.page tag": lambda tx: runs.page(tx, tenant, RunFilter(tag="x")),
        "runs.page thread": lambda tx: runs.page(tx, tenant, RunFilter(thread_id=thread_id)),
        "runs.descendants_alive": lambda tx: runs.descendants_alive(tx, tenant, run_id),
        "runs.last_of_thread": lambda tx: runs.last_of_thread(tx, tenant, thread_id),
        "runs.ended_among": lambda tx: runs.ended_among(tx, [(tenant, ended_id)]),
        "runs.rank_behind_holder": lambda tx: runs.rank_behind_holder(tx, tenant, thread_id),
        "runs.counts": lambda tx: runs.counts(tx, tenant),
        "heads.get": lambda tx: heads.get(tx, tenant, run_id),
        "heads.lock_many": lambda tx: heads.lock_many(tx, [(tenant, run_id)]),
        "heads.lock_free": lambda tx: heads.lock_free(tx, [(tenant, run_id)]),
        "entries.after": lambda tx: entries.after(tx, tenant, run_id, 0, 99),
        "entries.at": lambda tx: entries.at(tx, tenant, run_id, 1),
        "entries.steps": lambda tx: entries.steps(tx, tenant, run_id, 0, 99),
        "entries.step": lambda tx: entries.step(tx, tenant, run_id, 1),
        "entries.voided": lambda tx: entries.voided(tx, tenant, run_id),
        "entries.of_key": lambda tx: entries.of_key(tx, tenant, run_id, "s#1"),
        "messages.page": lambda tx: messages.page(tx, tenant, thread_id, 0, 99),
        "messages.backwards": lambda tx: messages.backwards(tx, tenant, thread_id, 99, 99),
        "messages.between": lambda tx: messages.between(tx, tenant, thread_id, 0, 99),
        "messages.turn_start": lambda tx: messages.turn_start(tx, tenant, thread_id, 99, 1),
        "messages.positions_of_run": lambda tx: messages.positions_of_run(tx, tenant, thread_id, run_id),
        "messages.last_position": lambda tx: messages.last_position(tx, tenant, thread_id),
        "blobs.get": lambda tx: blobs.get(tx, tenant, b"b" * 32),
        "agents.get": lambda tx: agents.get(tx, tenant, "a"),
        "agents.page": lambda tx: agents.page(tx, tenant, "", 9),
        "idempotency.find": lambda tx: idempotency.find(tx, tenant, _key()),
        "principals.keys": lambda tx: principals.keys(tx, tenant, 9),
    }
    return {name: await store.write(ask, tenant) for name, ask in asked.items()}


async def _held_by(store: Store, tenant: TenantId, ids: Claimed, effect: Effect, ask: Ask, sent: Awaited) -> Any:
    """The same for the ledger, the inbox and events."""
    run_id, wait = ids.run.id, EventWait("paid", "", 0)
    asked: dict[str, Callable[[Tx], Any]] = {
        "effects.get": lambda tx: effects.get(tx, tenant, run_id, effect.key),
        "effects.by_id": lambda tx: effects.by_id(tx, tenant, effect.id),
        "effects.of_run": lambda tx: effects.of_run(tx, tenant, run_id),
        "effects.may_have_acted": lambda tx: effects.may_have_acted(tx, tenant, run_id),
        "effects.page": lambda tx: effects.page(tx, tenant, EffectFilter()),
        "effects.links": lambda tx: effects.links(tx, tenant, [effect.id]),
        "approvals.get": lambda tx: approvals.get(tx, tenant, ask.id),
        "approvals.group_open": lambda tx: approvals.group_open(tx, tenant, run_id, ask.group),
        "approvals.page": lambda tx: approvals.page(tx, tenant, ApprovalFilter(run_id=run_id)),
        "approvals.links": lambda tx: approvals.links(tx, tenant, [ask.id]),
        "approvals.page, about an effect": lambda tx: approvals.page(tx, tenant, ApprovalFilter(effect_id=effect.id)),
        "approvals.of_effect": lambda tx: approvals.of_effect(tx, tenant, run_id, effect.id),
        "awaited.get": lambda tx: awaited.get(tx, tenant, sent.id),
        "awaited.by_external_id": lambda tx: awaited.by_external_id(tx, tenant, "e-1"),
        "awaited.waiters": lambda tx: awaited.waiters(tx, tenant, "paid", ""),
        "awaited.oldest": lambda tx: awaited.oldest(tx, tenant, run_id, wait),
    }
    return {name: await store.write(ask_for, tenant) for name, ask_for in asked.items()}


@rule
async def another_tenant_finds_and_changes_nothing_that_a_run_holds(store: Store) -> None:
    claimed = await store.started()
    effect = await store.begin(claimed, "pay#1", business_key="o1")
    ask = await store.ask(claimed, "pay#1/effect#1", effect_id=effect.id, type=ApprovalType.EFFECT)
    await store.append(claimed, opening("paid#1"), ops=[Await("paid#1", "paid", "")])
    sent = await _send(store, id="e-1")
    ours = await _held_by(store, TENANT, claimed, effect, ask, sent)
    assert {name for name, found in ours.items() if not found} == set()
    theirs = await _held_by(store, OTHER_TENANT, claimed, effect, ask, sent)
    assert {name: found for name, found in theirs.items() if found} == {}

    before = await store.snapshot()

    async def strike(tx: Tx) -> None:
        await effects.close(tx, OTHER_TENANT, claimed.run.id)
        await approvals.close(tx, OTHER_TENANT, claimed.run.id)
        await awaited.close(tx, OTHER_TENANT, claimed.run.id)
        epoch = claimed.epoch
        assert not await effects.note(tx, OTHER_TENANT, claimed.run.id, "pay#1", epoch, timeout_ms=1, ref="evil")

    await store.write(strike, OTHER_TENANT)
    forged = replace(claimed, run=replace(claimed.run, tenant_id=OTHER_TENANT))
    assert (await store.append(forged, opening("x#1"), ops=[start_of("pay#1", again=True)])).refused
    assert await store.snapshot() == before


@rule
async def another_tenant_finds_and_changes_nothing(store: Store) -> None:
    thread_id = await store.thread(external_id="thread")
    claimed = await store.started(thread_id=thread_id, tags=["x"], external_id="run")
    queue = [await store.start(thread_id) for _ in range(2)]
    child = await store.start(parent=claimed.run)
    ended = await store.start(parent=claimed.run)
    await store.cancel(ended)
    said_id = MessageId(store.new_id())
    blob = NewBlob(hash=b"b" * 32, data=b"blob")
    await store.append(
        claimed,
        step("s#1", message=NewMessage(said_id, Role.ASSISTANT, claimed.next_position), blobs=(blob,)),
        opening("t#1", type=EntryType.TOOL_STARTED),
        said(EntryType.RUN_RETRIED, encode({"voided": [["q#1", 1]]})),
    )
    await store.write(lambda tx: agents.register(tx, TENANT, "a", AgentKind.NATIVE, "v1", b"{}"))
    await store.write(lambda tx: idempotency.claim(tx, TENANT, _key(), 201, b"r"))
    key = ApiKey(TENANT, KeyId(store.new_id()), LOCAL_ADMIN, "ci", b"hmac", 1, None, None)
    await store.write(lambda tx: principals.add_key(tx, key), None)

    ours = await _everything_about(store, TENANT, claimed, said_id, ended.id)
    empty = {name for name, found in ours.items() if not found}
    assert empty == set(), "a function that finds nothing here proves nothing below"
    theirs = await _everything_about(store, OTHER_TENANT, claimed, said_id, ended.id)
    assert {name: found for name, found in theirs.items() if found} == {}

    before = await store.snapshot()
    foreign = replace(claimed.run, tenant_id=OTHER_TENANT)
    forged = replace(claimed, run=foreign)
    assert (await store.append(forged, step("x#1"))).refused
    assert (await store.finish(forged)).refused
    assert await store.orphan(forged, dead=True) is None
    assert await store.cancel(foreign) is None
    candidate = Candidate(OTHER_TENANT, claimed.run.id, thread_id, "a", True)
    assert not await store.write(lambda tx: claims.wake_due(tx, candidate), None)
    lost = Candidate(OTHER_TENANT, child.id, child.thread_id, "a", False)
    assert await store.write(lambda tx: claims.claim(tx, WORKER_B, [lost], {"a": "v1"}, LEASE_MS), None) == []
    held = [(bytes(OTHER_TENANT), bytes(claimed.run.id), claimed.epoch)]
    assert await store.write(lambda tx: heads.renew(tx, WORKER_A, held, LEASE_MS), None) == []

    async def strike(tx: Tx) -> None:
        await runs.ask_cancel(tx, foreign, "mine now")
        await runs.set_usage(tx, OTHER_TENANT, foreign.id, Usage(9, 9, 9, 9), "evil")
        await runs.set_limits(tx, OTHER_TENANT, foreign.id, b"{}", 1)
        await runs.soften_rollbacks(tx, OTHER_TENANT, thread_id, OnBusy.INTERRUPT)
        await heads.set_cancel(tx, OTHER_TENANT, foreign.id, True)
        await messages.hide_run(tx, OTHER_TENANT, thread_id, foreign.id)
        await threads.touch(tx, OTHER_TENANT, thread_id)
        await archive.remove(tx, OTHER_TENANT, thread_id)
        assert await runs.promote(tx, OTHER_TENANT, thread_id) is None
        assert not await runs.requeue(tx, OTHER_TENANT, foreign.id, RunStatus.RUNNING, at=1)
        assert not await agents.set_enabled(tx, OTHER_TENANT, "a", False)
        assert not await principals.revoke_key(tx, OTHER_TENANT, key.id)

    await store.write(strike, OTHER_TENANT)
    assert await store.snapshot() == before
    assert [(await store.run(r)).status for r in queue] == [RunStatus.QUEUED] * 2


@rule
async def another_tenant_reads_no_branch_and_archives_nothing(store: Store) -> None:
    thread_id, (first, last) = await _conversation(store, 2)
    branch = await store.thread(branch_of=BranchOf(thread_id, last.run.id, 1))
    fork = await store.start(branch, branch=True, forked_run=last.run.id, forked_at=1)
    await store.cancel(fork)
    cut = ThreadPiece(thread_id, last.run.id, last.input_position, 2, last.input_position)

    async def join(tx: Tx) -> None:
        await lineage.add_thread(tx, TENANT, branch, [cut])
        await lineage.add_run(tx, TENANT, fork.id, [RunPiece(last.run.id, thread_id, 2, 0)])

    await store.write(join)

    async def read(tenant: TenantId) -> dict[str, Any]:
        async def body(tx: Tx) -> dict[str, Any]:
            where = (tx, tenant, ThreadId(b"x" * 16))
            return {
                "of_thread": await lineage.of_thread(tx, tenant, branch),
                "of_run": await lineage.of_run(tx, tenant, fork.id),
                "readers": await archive.readers(tx, tenant, thread_id),
                "branches": await threads.page(tx, tenant, ThreadFilter(branch_of=thread_id)),
                "forks": await runs.page(tx, tenant, RunFilter(forked_run=last.run.id)),
                "page": await messages.page(*where, 0, 99, [cut]),
                "backwards": await messages.backwards(*where, 99, 99, [cut]),
                "between": await messages.between(*where, 0, 99, [cut]),
                "turn_start": await messages.turn_start(*where, 99, 2, [cut]),
                "last_of_run": await messages.last_of_run(tx, tenant, thread_id, last.run.id, cut.first, cut.pos),
                "prefix": await lineage.prefix(tx, tenant, [RunPiece(last.run.id, thread_id, 2, 0)]),
            }

        return await store.write(body, tenant)

    ours = await read(TENANT)
    assert {name for name, found in ours.items() if not found} == set()
    assert {name: found for name, found in (await read(OTHER_TENANT)).items() if found} == {}
    before = await store.snapshot()
    await store.write(lambda tx: archive.remove(tx, OTHER_TENANT, thread_id), OTHER_TENANT)
    assert await store.snapshot() == before
    await store.write(lambda tx: archive.archive(tx, TENANT, thread_id, lambda stored: ()))
    assert await store.read(lambda tx: archive.archived_sources(tx, TENANT, branch)) == [thread_id]
    assert await store.read(lambda tx: archive.archived_sources(tx, OTHER_TENANT, branch)) == []
    after = await read(TENANT)
    assert {name: after[name] for name in ours if name != "readers"} == {n: ours[n] for n in ours if n != "readers"}
    assert await store.read(lambda tx: runs.view(tx, TENANT, first.run.id)) is None


@rule
async def what_is_archived_goes_with_its_last_reader(store: Store) -> None:
    before = await store.snapshot()
    thread_id, (_, last) = await _conversation(store, 2)
    later = await store.started(thread_id=thread_id)
    await store.finish(later)
    branch = await store.thread(branch_of=BranchOf(thread_id, last.run.id, 0))
    cut = ThreadPiece(thread_id, last.run.id, last.input_position, 2, last.input_position)
    await store.write(lambda tx: lineage.add_thread(tx, TENANT, branch, [cut]))
    await store.write(lambda tx: archive.archive(tx, TENANT, thread_id, lambda stored: ()))
    left = await store.snapshot()
    kept = {row[0] for row in await store.read(lambda tx: tx.all(select(schema.runs.c.id)))}
    assert len(kept) == 2, "the run behind the last that is read is gone"
    assert later.run.id not in kept
    assert all(row[2] <= 2 for row in left["entries"] if row[1] == last.run.id), "and the rest of that"
    await store.write(lambda tx: archive.archive(tx, TENANT, thread_id, lambda stored: ()))
    assert await store.snapshot() == left, "again is no change"
    await store.write(lambda tx: archive.remove(tx, TENANT, branch))
    await store.write(lambda tx: archive.remove(tx, TENANT, thread_id))
    assert await store.snapshot() == before


@rule
async def a_run_cannot_stand_in_another_tenants_thread(store: Store) -> None:
    thread_id = await store.thread()

    async def body(tx: Tx) -> None:
        run = await insert_run(tx, TENANT, thread_id, RunId(store.new_id()), None, None, b"1", (), {})
        await runs.add(tx, replace(run, tenant_id=OTHER_TENANT, id=RunId(store.new_id())))

    before = await store.snapshot()
    await refused(store.write(body))
    assert await store.snapshot() == before


@rule
async def the_same_ids_under_two_tenants_are_two_things(store: Store) -> None:
    thread_id, run_id = ThreadId(store.new_id()), RunId(store.new_id())
    pair: list[Claimed] = []
    for tenant in (TENANT, OTHER_TENANT):
        await store.thread(tenant, id=thread_id, external_id="same")
        await store.start(thread_id, tenant=tenant, id=run_id, external_id="same", tags=["same"])
    pair = sorted(await store.claim(), key=lambda c: c.run.tenant_id)
    assert [c.run.tenant_id for c in pair] == [TENANT, OTHER_TENANT]
    theirs = await store.snapshot(of=OTHER_TENANT)
    await store.append(pair[0], step("s#1", payload=encode("z" * 40_000)))
    await store.cancel(pair[0].run)
    await store.orphan(pair[0], dead=True)
    assert await store.snapshot(of=OTHER_TENANT) == theirs
    assert (await store.run(pair[1].run)).status is RunStatus.RUNNING
    await store.write(lambda tx: archive.remove(tx, TENANT, thread_id))
    assert await store.snapshot(of=OTHER_TENANT) == theirs
    assert not (await store.append(pair[1], step("s#1"))).refused


# -- the effect ledger ----------------------------------------------------------------------------------------------


@rule
async def an_effect_comes_back_as_it_was_planned(store: Store) -> None:
    claimed = await store.started()
    op = store.planned("pay#1", arguments=b'{"a":1}')
    await store.append(claimed, step("choose#1"), ops=[op])
    found = await store.effect(claimed, "pay#1")
    assert (found.id, found.tool, found.agent, found.effect_class, found.version, found.arguments) == (
        op.id,
        "pay",
        "a",
        EffectClass.KEYED,
        "1",
        b'{"a":1}',
    )
    assert (found.status, found.rotation, found.attempt, found.epoch) == (EffectStatus.PLANNED, 0, 0, claimed.epoch)
    assert (found.planned_at, found.started_at, found.deadline, found.ended_at) == (store.clock(), None, None, None)
    assert await store.read(lambda tx: effects.by_id(tx, TENANT, op.id)) == found
    assert await store.read(lambda tx: effects.of_run(tx, TENANT, claimed.run.id)) == [found]


@rule
async def an_effect_is_found_by_run_and_key_and_planned_once(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    await refused(store.append(claimed, step("again#1"), ops=[store.planned("pay#1")]))
    assert [e.key for e in await store.journal(claimed.run) if e.seq] == ["choose pay#1"]


@rule
async def a_start_says_when_and_until_when(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    store.clock.advance(5)
    await store.append(claimed, opening("pay#1"), ops=[start_of("pay#1")])
    found = await store.effect(claimed, "pay#1")
    assert (found.status, found.attempt) == (EffectStatus.STARTED, 1)
    assert (found.started_at, found.deadline) == (store.clock(), store.clock() + 60_000)


async def _declines(store: Store, claimed: Claimed, op: Start) -> str | None:
    """Why a start is declined; nothing of its append may be there then."""
    before = await store.snapshot()
    answer = await store.append(claimed, opening("pay#1"), ops=[op])
    if answer.declined is not None:
        assert await store.snapshot() == before, "a declined append writes nothing"
    return answer.declined


@rule
async def an_effect_starts_once(store: Store) -> None:
    claimed = await store.started()
    await store.begin(claimed, "pay#1")
    assert await _declines(store, claimed, start_of("pay#1")) == "effect_changed"
    assert (await store.effect(claimed, "pay#1")).attempt == 1


@rule
async def of_two_starts_at_once_one_is_written(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    both = [store.append(claimed, opening("pay#1", attempt=n), ops=[start_of("pay#1")]) for n in (1, 2)]
    answers = await asyncio.gather(*both)
    assert sorted(a.declined or "" for a in answers) == ["", "effect_changed"]
    found = await store.journal(claimed.run)
    assert [e.key for e in found if e.phase is Phase.OPENING] == ["pay#1"]
    assert_dense(found, await store.head(claimed.run))


@rule
async def an_effect_that_was_started_may_be_started_again_only_if_that_is_said(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    assert await _declines(store, claimed, start_of("pay#1", again=True)) == "effect_changed"
    first = await store.begin(claimed, "pay#2")
    store.clock.advance(1_000)
    assert await _declines(store, claimed, start_of("pay#2", again=True)) is None
    found = await store.effect(claimed, "pay#2")
    assert (found.attempt, found.started_at) == (2, first.started_at), "the ttl of a key counts from its first use"
    assert found.deadline == store.clock() + 60_000


@rule
async def an_effect_does_not_start_with_other_arguments_than_were_planned(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    assert await _declines(store, claimed, start_of("pay#1", arguments=b'{"more":1}')) == "effect_changed"


@rule
async def a_run_that_was_asked_to_stop_starts_no_effect(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    await store.cancel(claimed.run)
    assert await _declines(store, claimed, start_of("pay#1")) == "cancelled"
    assert (await store.effect(claimed, "pay#1")).status is EffectStatus.PLANNED


@rule
async def a_run_that_was_taken_away_starts_and_plans_no_effect(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    await store.orphan(claimed, dead=True)
    before = await store.snapshot()
    zombie = await store.append(claimed, opening("pay#1"), ops=[start_of("pay#1")])
    planner = await store.append(claimed, step("x#1"), ops=[store.planned("pay#2")])
    settler = await store.append(
        claimed, step("pay#1"), ops=[Settle(key="pay#1", before=(EffectStatus.PLANNED,), after=EffectStatus.ABANDONED)]
    )
    asker = await store.append(claimed, opening("q#1"), ops=[store.question(claimed, "q#1")])
    assert [a.refused for a in (zombie, planner, settler, asker)] == [True] * 4
    assert await store.snapshot() == before


@rule
async def a_declined_start_does_not_hold_up_the_rest_of_its_batch(store: Store) -> None:
    one, other = await store.started(), await store.started()
    for claimed in (one, other):
        await store.plan(claimed, "pay#1")
    batch = [
        append_of(one, opening("pay#1"), ops=[start_of("pay#1", arguments=b"[]")]),
        append_of(other, opening("pay#1"), ops=[start_of("pay#1")]),
        append_of(one, step("beside#1")),
    ]
    answers = await store.append_all(batch)
    assert [a.declined for a in answers] == ["effect_changed", None, None]
    assert (await store.effect(one, "pay#1")).status is EffectStatus.PLANNED
    assert (await store.effect(other, "pay#1")).status is EffectStatus.STARTED
    assert_dense(await store.journal(one.run), await store.head(one.run))


LEAVES: dict[str, tuple[ApprovalStatus | None, int, bytes, str | None]] = {
    "given": (ApprovalStatus.APPROVED, 1_000, b"{}", None),
    "open": (None, 1_000, b"{}", "leave_missing"),
    "refused": (ApprovalStatus.REJECTED, 1_000, b"{}", "leave_missing"),
    "lapsed": (ApprovalStatus.APPROVED, -1, b"{}", "leave_lapsed"),
    "for other arguments": (ApprovalStatus.APPROVED, 1_000, b"[]", "leave_missing"),
}


@rule
async def an_effect_starts_only_with_leave_that_stands_for_exactly_its_arguments(store: Store) -> None:
    for name, (status, usable_ms, arguments, declined) in LEAVES.items():
        claimed = await store.started()
        effect = await store.plan(claimed, "pay#1")
        given = {"effect_id": effect.id, "arguments": arguments, "arguments_hash": hash_of(arguments)}
        ask = await store.ask(claimed, "pay#1/leave#1", **given)
        if status is not None:
            await store.answer(ask, status, usable_ms=usable_ms)
        assert await _declines(store, claimed, start_of("pay#1", leave=ask.id)) == declined, name
        assert ((await store.approval(ask)).used_at is not None) is (declined is None), name


@rule
async def leave_is_for_the_one_effect_that_it_was_asked_for(store: Store) -> None:
    claimed = await store.started()
    effect = await store.plan(claimed, "pay#1")
    await store.plan(claimed, "pay#2")
    ask = await store.ask(claimed, "pay#1/leave#1", effect_id=effect.id)
    await store.answer(ask)
    assert await _declines(store, claimed, start_of("pay#2", leave=ask.id)) == "leave_missing"
    assert await _declines(store, claimed, start_of("pay#1", leave=ask.id)) is None
    assert (await store.approval(ask)).used_at == store.clock()


@rule
async def the_effect_that_used_its_leave_may_start_again_under_it(store: Store) -> None:
    """It was not done, or a person was asked in between: the leave was for this call."""
    claimed = await store.started()
    effect = await store.plan(claimed, "pay#1")
    ask = await store.ask(claimed, "pay#1/leave#1", effect_id=effect.id)
    await store.answer(ask)
    begin = start_of("pay#1", leave=ask.id)
    assert (await store.append(claimed, opening("pay#1"), ops=[begin])).declined is None
    back = Settle(key="pay#1", before=(EffectStatus.STARTED,), after=EffectStatus.PLANNED, rotation=(1, "fresh"))
    await store.append(claimed, ops=[back])
    assert (await store.append(claimed, ops=[begin])).declined is None
    found = await store.effect(claimed, "pay#1")
    assert (found.attempt, found.rotation, found.idempotency_key) == (2, 1, "fresh")


@rule
async def what_became_of_an_effect_is_in_the_commit_of_its_step(store: Store) -> None:
    claimed = await store.started()
    await store.begin(claimed, "pay#1")
    before = await store.snapshot()
    settle = Settle(key="pay#1", before=(EffectStatus.STARTED,), after=EffectStatus.COMMITTED)
    twice = NewMessage(MessageId(b"m" * 16), Role.ASSISTANT, claimed.next_position)
    await store.append(claimed, step("say#1", message=twice))
    before = await store.snapshot()
    again = replace(twice, position=twice.position)  # a row the database refuses: the place is taken
    await refused(store.append(claimed, step("pay#1", message=again), ops=[settle]))
    assert await store.snapshot() == before, "neither the step nor the ledger"
    store.clock.advance(3)
    await store.append(claimed, step("pay#1"), ops=[settle])
    found = await store.effect(claimed, "pay#1")
    assert (found.status, found.ended_at) == (EffectStatus.COMMITTED, store.clock())


@rule
async def an_effect_that_stands_elsewhere_than_its_run_thinks_writes_nothing(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "pay#1")
    before = await store.snapshot()
    settle = Settle(key="pay#1", before=(EffectStatus.STARTED,), after=EffectStatus.COMMITTED)
    try:
        await store.append(claimed, step("pay#1"), ops=[settle])
    except AssertionError:
        pass
    else:
        raise AssertionError("it was settled from a state in which it was not")
    assert await store.snapshot() == before


@rule
async def plan_start_and_settle_may_be_one_commit(store: Store) -> None:
    """As a transaction tool writes them."""
    claimed = await store.started()
    settle = Settle(key="put#1", before=(EffectStatus.STARTED,), after=EffectStatus.COMMITTED)
    answer = await store.append(claimed, step("put#1"), ops=[store.planned("put#1"), start_of("put#1"), settle])
    assert answer.declined is None
    assert (await store.effect(claimed, "put#1")).status is EffectStatus.COMMITTED


@rule
async def a_sign_of_life_moves_the_deadline_of_its_owner_only(store: Store) -> None:
    claimed = await store.started()
    first = await store.begin(claimed, "pay#1")
    store.clock.advance(1_000)

    async def note(epoch: int, **given: Any) -> bool:
        values: dict[str, Any] = {"timeout_ms": None, "ref": None} | given
        return await store.write(lambda tx: effects.note(tx, TENANT, claimed.run.id, "pay#1", epoch, **values))

    assert await note(claimed.epoch, timeout_ms=60_000)
    assert (await store.effect(claimed, "pay#1")).deadline == (first.deadline or 0) + 1_000
    assert await note(claimed.epoch, ref="tx-1")
    found = await store.effect(claimed, "pay#1")
    assert (found.deadline, found.provider_ref) == ((first.deadline or 0) + 1_000, "tx-1")
    await store.orphan(claimed, dead=True)
    assert not await note(claimed.epoch, timeout_ms=60_000)
    assert await store.effect(claimed, "pay#1") == found


@rule
async def a_runs_end_gives_up_what_was_planned_and_loses_what_was_under_way(store: Store) -> None:
    claimed = await store.started()
    await store.plan(claimed, "planned#1")
    await store.begin(claimed, "under way#1")
    await store.begin(claimed, "done#1")
    await store.settle(claimed, "done#1", EffectStatus.COMMITTED)
    await store.finish(claimed, status=RunStatus.FAILED)
    status = {e.key: e.status for e in await store.read(lambda tx: effects.of_run(tx, TENANT, claimed.run.id))}
    assert status == {
        "planned#1": EffectStatus.ABANDONED,
        "under way#1": EffectStatus.UNKNOWN,
        "done#1": EffectStatus.COMMITTED,
    }
    assert await store.read(effects.unknown_counts, None) == {TENANT: 1}


@rule
async def a_business_key_has_one_holder(store: Store) -> None:
    one, other = await store.started(), await store.started()
    first = await store.plan(one, "pay#1", business_key="o1")
    second = await store.plan(other, "pay#1", business_key="o1")
    third = await store.plan(other, "pay#2", business_key="o2")
    elsewhere = await store.plan(other, "ship#1", business_key="o1", tool="ship")
    assert [e.duplicate_of for e in (first, second, third, elsewhere)] == [None, first.id, None, None]


@rule
async def of_many_that_claim_a_business_key_at_once_one_holds_it(store: Store) -> None:
    many = [await store.started() for _ in range(8)]
    found = await asyncio.gather(*(store.plan(claimed, "pay#1", business_key="o1") for claimed in many))
    holders = [e.id for e in found if e.duplicate_of is None]
    assert len(holders) == 1
    assert {e.duplicate_of for e in found if e.duplicate_of} == set(holders)


@rule
async def two_calls_of_one_batch_do_not_both_hold_a_business_key(store: Store) -> None:
    claimed = await store.started()
    ops = [store.planned(f"pay#{n}", business_key="o1") for n in (1, 2)]
    await store.append(claimed, step("choose#1"), ops=ops)
    found = await store.read(lambda tx: effects.of_run(tx, TENANT, claimed.run.id))
    assert sorted(e.duplicate_of is None for e in found) == [False, True]


@rule
async def failure_and_giving_up_free_a_business_key_and_success_keeps_it(store: Store) -> None:
    for after, free in (
        (EffectStatus.FAILED, True),
        (EffectStatus.COMMITTED, False),
        (EffectStatus.UNKNOWN, False),
    ):
        name = f"o-{after.value}"
        one, other = await store.started(), await store.started()
        first = await store.begin(one, "pay#1", business_key=name)
        await store.settle(one, "pay#1", after)
        second = await store.plan(other, "pay#1", business_key=name)
        assert second.duplicate_of == (None if free else first.id), after
    one, other = await store.started(), await store.started()
    await store.plan(one, "pay#1", business_key="given up")
    await store.finish(one, status=RunStatus.CANCELLED)
    assert (await store.plan(other, "pay#1", business_key="given up")).duplicate_of is None


@rule
async def a_business_key_with_a_time_is_free_after_it(store: Store) -> None:
    one = await store.started()
    first = await store.begin(one, "pay#1", business_key="o1", business_ttl_ms=1_000)
    await store.settle(one, "pay#1", EffectStatus.COMMITTED, business_ttl_ms=1_000)
    store.clock.advance(999)
    assert (await store.plan(await store.started(), "pay#1", business_key="o1")).duplicate_of == first.id
    store.clock.advance(1)
    assert (await store.plan(await store.started(), "pay#1", business_key="o1")).duplicate_of is None


@rule
async def other_arguments_give_up_one_business_key_and_claim_another(store: Store) -> None:
    one, other = await store.started(), await store.started()
    await store.plan(one, "pay#1", business_key="o1")
    op = Replan(key="pay#1", arguments=b"[2]", arguments_hash=hash_of(b"[2]"), business_key="o2", business_ttl_ms=None)
    await store.append(one, ops=[op])
    found = await store.effect(one, "pay#1")
    assert (found.arguments, found.business_key, found.duplicate_of) == (b"[2]", "o2", None)
    assert (await store.plan(other, "pay#1", business_key="o1")).duplicate_of is None
    assert (await store.plan(other, "pay#2", business_key="o2")).duplicate_of == found.id


# -- the inbox ------------------------------------------------------------------------------------------------------


@rule
async def a_question_comes_back_as_it_was_asked(store: Store) -> None:
    claimed = await store.started()
    demand = Demand(roles=(frozenset({"x", "y"}), frozenset({"z"})), quorum=2, four_eyes=True, expires_ms=5_000)
    ask = await store.ask(claimed, "q#1", demand=demand, reason="because", schema=b"{}", choices=b"[1]", default=b"1")
    found = await store.approval(ask)
    assert (found.id, found.key, found.group, found.run_id, found.root_id) == (
        ask.id,
        "q#1",
        "q#1",
        claimed.run.id,
        claimed.run.id,
    )
    assert (found.demand, found.reason, found.schema, found.choices, found.default) == (
        demand,
        "because",
        b"{}",
        b"[1]",
        b"1",
    )
    assert (found.status, found.version, found.decisions, found.chain) == (
        ApprovalStatus.PENDING,
        1,
        (),
        frozenset({LOCAL_ADMIN}),
    )
    assert (found.created_at, found.expires_at) == (store.clock(), store.clock() + 5_000)
    other = await store.approval(await store.ask(claimed, "q#2"))
    assert other.expires_at == store.clock() + limits.EXPIRES_MS


@rule
async def a_question_of_a_step_is_asked_once(store: Store) -> None:
    claimed = await store.started()
    await store.ask(claimed, "q#1")
    before = await store.snapshot()
    await refused(store.append(claimed, opening("q#1", attempt=2), ops=[store.question(claimed, "q#1")]))
    assert await store.snapshot() == before


@rule
async def a_question_is_changed_by_who_read_its_last_version(store: Store) -> None:
    claimed = await store.started()
    ask = await store.ask(claimed, "q#1")
    before = await store.approval(ask)
    await store.answer(ask, ApprovalStatus.REJECTED)
    after = await store.approval(ask)
    assert (after.status, after.version) == (ApprovalStatus.REJECTED, before.version + 1)
    try:
        await store.write(lambda tx: approvals.change(tx, before, replace(before, status=ApprovalStatus.APPROVED)))
    except AssertionError:
        pass
    else:
        raise AssertionError("a decision about an earlier version was taken")
    assert await store.approval(ask) == after


@rule
async def a_group_is_closed_when_none_of_its_questions_is_open(store: Store) -> None:
    claimed = await store.started()
    pair = [await store.ask(claimed, f"q#{n}", group="turn") for n in (1, 2)]
    alone = await store.ask(claimed, "q#3")
    everything = [ask.id for ask in (*pair, alone)]

    async def closed() -> set[bytes]:
        return set(await store.read(lambda tx: approvals.closed_among(tx, TENANT, everything)))

    assert await closed() == set()
    await store.answer(alone)
    assert await closed() == {alone.id}
    await store.answer(pair[0])
    assert await closed() == {alone.id}
    assert await store.read(lambda tx: approvals.group_open(tx, TENANT, claimed.run.id, "turn"))
    await store.answer(pair[1], ApprovalStatus.EXPIRED)
    assert await closed() == set(everything)
    assert not await store.read(lambda tx: approvals.group_open(tx, TENANT, claimed.run.id, "turn"))
    assert await store.read(lambda tx: approvals.closed_among(tx, TENANT, [])) == set()


@rule
async def the_same_group_of_another_run_is_another_group(store: Store) -> None:
    one, other = await store.started(), await store.started()
    ask = await store.ask(one, "q#1", group="turn")
    await store.ask(other, "q#1", group="turn")
    await store.answer(ask)
    assert await store.read(lambda tx: approvals.closed_among(tx, TENANT, [ask.id])) == {ask.id}


@rule
async def a_park_on_an_answered_question_is_refused(store: Store) -> None:
    claimed = await store.started()
    ask = await store.ask(claimed, "q#1")
    await store.answer(ask)
    before = await store.snapshot()
    assert (await store.park(claimed, asked=[ask])).open_again
    assert await store.snapshot() == before
    other = await store.ask(claimed, "q#2")
    assert not (await store.park(claimed, asked=[other])).open_again
    assert (await store.run(claimed.run)).status is RunStatus.WAITING


@rule
async def a_park_on_a_group_half_answered_stands(store: Store) -> None:
    claimed = await store.started()
    pair = [await store.ask(claimed, f"q#{n}", group="turn") for n in (1, 2)]
    await store.answer(pair[0])
    assert not (await store.park(claimed, asked=pair)).open_again


@rule
async def a_runs_end_closes_its_questions(store: Store) -> None:
    claimed, other = await store.started(), await store.started()
    asked = [await store.ask(claimed, f"q#{n}") for n in (1, 2)]
    beside = await store.ask(other, "q#1")
    await store.answer(asked[0])
    store.clock.advance(7)
    await store.finish(claimed, status=RunStatus.FAILED)
    assert (await store.approval(asked[0])).status is ApprovalStatus.APPROVED
    closed = await store.approval(asked[1])
    assert (closed.status, closed.resolved_at) == (ApprovalStatus.CANCELLED, store.clock())
    assert (await store.approval(beside)).status is ApprovalStatus.PENDING


@rule
async def expired_questions_are_due_the_oldest_first(store: Store) -> None:
    claimed = await store.started()
    late = await store.ask(claimed, "q#1", demand=Demand(expires_ms=2_000))
    soon = await store.ask(claimed, "q#2", demand=Demand(expires_ms=1_000))
    answered = await store.ask(claimed, "q#3", demand=Demand(expires_ms=500))
    await store.answer(answered)

    async def due(limit: int = 9) -> list[bytes]:
        return [id for _, id in await store.read(lambda tx: approvals.due(tx, limit), None)]

    assert await due() == []
    assert await store.read(approvals.next_due_at, None) == store.clock() + 1_000
    store.clock.advance(1_000)
    assert await due() == [soon.id]
    store.clock.advance(1_000)
    assert await due() == [soon.id, late.id]
    assert await due(1) == [soon.id]


@rule
async def open_questions_of_children_show_on_every_ancestor(store: Store) -> None:
    top = await store.started()
    middle = await store.started(parent=top.run)
    bottom = await store.started(parent=middle.run)
    own = await store.ask(top, "q#1")
    below = await store.ask(bottom, "q#1", type=ApprovalType.INPUT)

    async def seen(claimed: Claimed) -> list[Any]:
        return await store.read(lambda tx: approvals.open_below(tx, TENANT, claimed.run.id))

    shown = (below.id, ApprovalType.INPUT, bottom.run.id, "q#1")
    assert await seen(top) == await seen(middle) == [shown]
    assert await seen(bottom) == []
    await store.answer(below)
    assert await seen(top) == []
    assert (await store.approval(own)).status is ApprovalStatus.PENDING


@rule
async def the_open_question_about_an_effect_is_found_by_it(store: Store) -> None:
    claimed = await store.started()
    effect = await store.begin(claimed, "pay#1")
    await store.ask(claimed, "pay#1/leave#1", effect_id=effect.id)

    async def of_effect() -> bytes | None:
        found = await store.read(lambda tx: approvals.of_effect(tx, TENANT, claimed.run.id, effect.id))
        return None if found is None else found.id

    assert await of_effect() is None, "leave for it is another question"
    ask = await store.ask(claimed, "pay#1/effect#1", effect_id=effect.id, type=ApprovalType.EFFECT)
    assert await of_effect() == ask.id
    await store.answer(ask, ApprovalStatus.ANSWERED)
    assert await of_effect() is None


# -- events from outside --------------------------------------------------------------------------------------------


async def _send(store: Store, name: str = "paid", key: str = "", *, id: str | None = None) -> Awaited:
    """As the send verb stores an event."""

    async def body(tx: Tx) -> Awaited:
        await awaited.lock(tx, [(TENANT, name, key)])
        event = Awaited(TENANT, EventId(store.new_id()), id, name, key, b"1", LOCAL_ADMIN, 0, tx.now_ms)
        return await awaited.add(tx, event)

    return await store.write(body)


async def _oldest(store: Store, claimed: Claimed, *, since: int = 0, limit: int = 9) -> list[int]:
    wait = EventWait("paid", "", since)
    found = await store.read(lambda tx: awaited.oldest(tx, TENANT, claimed.run.id, wait, limit=limit))
    return [event.seq for event in found]


@rule
async def events_of_a_name_and_key_are_numbered_in_the_order_in_which_they_came(store: Store) -> None:
    sent = await asyncio.gather(*(_send(store) for _ in range(6)))
    assert sorted(event.seq for event in sent) == [1, 2, 3, 4, 5, 6]
    assert (await _send(store, key="k")).seq == 1
    assert (await _send(store, "shipped")).seq == 1


@rule
async def an_event_of_one_id_is_stored_once(store: Store) -> None:
    first = await _send(store, id="e-1")
    await refused(_send(store, id="e-1"))
    assert await store.read(lambda tx: awaited.by_external_id(tx, TENANT, "e-1")) == first


@rule
async def a_run_takes_each_event_once_and_the_oldest_first(store: Store) -> None:
    claimed, other = await store.started(), await store.started()
    first, _ = await _send(store), await _send(store)
    assert await _oldest(store, claimed) == [1, 2]
    assert await _oldest(store, claimed, limit=1) == [1]
    await store.append(claimed, opening("paid#1"), ops=[Await("paid#1", "paid", "")])
    await store.append(claimed, step("paid#1"), ops=[Stop("paid#1", first.id)])
    assert await _oldest(store, claimed) == [2]
    assert await _oldest(store, other) == [1, 2], "what one run took is there for the others"
    await refused(store.append(claimed, step("paid#2"), ops=[Stop("paid#2", first.id)]))


@rule
async def an_event_from_before_the_wait_s_time_does_not_count(store: Store) -> None:
    claimed = await store.started()
    await _send(store)
    store.clock.advance(10)
    await _send(store)
    assert await _oldest(store, claimed, since=store.clock()) == [2]
    assert await _oldest(store, claimed, since=store.clock() + 1) == []


@rule
async def who_waits_for_an_event_is_known_until_it_waits_no_more(store: Store) -> None:
    pair = sorted([await store.started() for _ in range(2)], key=lambda c: c.run.id)

    async def waiters() -> list[RunId]:
        return await store.read(lambda tx: awaited.waiters(tx, TENANT, "paid", ""))

    for claimed in pair:
        await store.append(claimed, opening("paid#1"), ops=[Await("paid#1", "paid", "")])
    assert await waiters() == [claimed.run.id for claimed in pair]
    await store.append(pair[0], step("paid#1"), ops=[Stop("paid#1")])
    assert await waiters() == [pair[1].run.id]
    await store.finish(pair[1], status=RunStatus.FAILED)
    assert await waiters() == []


@rule
async def a_park_on_an_event_that_is_there_is_refused(store: Store) -> None:
    claimed = await store.started()
    wait = EventWait("paid", "", 0)
    await _send(store)
    before = await store.snapshot()
    assert (await store.park(claimed, events=[wait])).open_again
    assert await store.snapshot() == before
    assert not (await store.park(claimed, events=[replace(wait, key="other")])).open_again


@rule
async def park_and_event_at_once_never_lose_the_wake(store: Store) -> None:
    """Either the park sees the event, or the sender sees the waiter."""
    for _ in range(10):
        claimed = await store.started()
        name = claimed.run.id.hex()
        await store.append(claimed, opening("e#1"), ops=[Await("e#1", name, "")])

        async def sending(name: str = name) -> list[RunId]:
            async def body(tx: Tx) -> list[RunId]:
                await awaited.lock(tx, [(TENANT, name, "")])
                waiting = await awaited.waiters(tx, TENANT, name, "")
                event = Awaited(TENANT, EventId(store.new_id()), None, name, "", b"1", LOCAL_ADMIN, 0, tx.now_ms)
                await awaited.add(tx, event)
                woken = [w for w in waiting if await _wake(tx, w)]
                return woken

            return await store.write(body)

        parked, woken = await asyncio.gather(store.park(claimed, events=[EventWait(name, "", 0)]), sending())
        assert parked.open_again is not bool(woken)


async def _wake(tx: Tx, run_id: RunId) -> bool:
    await heads.lock_many(tx, [(TENANT, run_id)])
    return await runs.requeue(tx, TENANT, run_id, RunStatus.WAITING, at=tx.now_ms)


@rule
async def events_are_forgotten_after_seven_days(store: Store) -> None:
    await _send(store)
    store.clock.advance(1)
    young = await _send(store)
    store.clock.advance(limits.EVENT_KEEP_MS)
    assert await store.write(awaited.expire, None) == 1
    claimed = await store.started()
    assert await _oldest(store, claimed) == [young.seq]
    assert (await _send(store)).seq == young.seq + 1, "a number is not given twice while one above it is known"


# -- transactions that user code drives -----------------------------------------------------------------------------

_MARK = text("INSERT INTO blobs (tenant_id, hash, data, touched_at) VALUES (:t, :h, :d, 0)")
WITHIN_MS = 5_000


def _mark(mark: bytes) -> dict[str, Any]:
    return {"t": TENANT, "h": mark * 32, "d": mark}


async def _marked(store: Store) -> list[bytes]:
    rows = await store.read(lambda tx: tx.all(select(schema.blobs.c.data).order_by(schema.blobs.c.data)))
    return [bytes(row[0]) for row in rows]


@rule
async def a_session_commits_with_what_the_journal_appends(store: Store) -> None:
    claimed = await store.started()
    async with store.database.session(TENANT, WITHIN_MS) as session:
        assert await session.execute(_MARK, _mark(b"a")) == 1
        found = await session.rows(text("SELECT data FROM blobs"))
        assert [bytes(row["data"]) for row in found] == [b"a"]
        assert await _marked(store) == [], "nobody else sees it yet"
        (answer,) = await session.finish(lambda tx: journal.append(tx, [append_of(claimed, step("put#1"))], LEASE_MS))
    assert answer.seq == 0
    assert await _marked(store) == [b"a"]
    assert [e.key for e in await store.journal(claimed.run) if e.seq] == ["put#1"]


@rule
async def a_session_that_is_not_finished_leaves_nothing(store: Store) -> None:
    before = await store.snapshot()
    async with store.database.session(TENANT, WITHIN_MS) as session:
        await session.execute(_MARK, _mark(b"a"))
    try:
        async with store.database.session(TENANT, WITHIN_MS) as session:
            await session.execute(_MARK, _mark(b"b"))
            raise LookupError
    except LookupError:
        pass
    assert await store.snapshot() == before


@rule
async def what_the_last_word_of_a_session_raises_undoes_all_of_it(store: Store) -> None:
    before = await store.snapshot()

    async def body(tx: Tx) -> None:
        raise LookupError("refused")

    async with store.database.session(TENANT, WITHIN_MS) as session:
        await session.execute(_MARK, _mark(b"a"))
        try:
            await session.finish(body)
        except LookupError:
            pass
        else:
            raise AssertionError("what the body raised was swallowed")
    assert await store.snapshot() == before


@rule
async def a_statement_that_the_database_refuses_says_so(store: Store) -> None:
    async with store.database.session(TENANT, WITHIN_MS) as session:
        await session.execute(_MARK, _mark(b"a"))
        await refused(session.execute(_MARK, _mark(b"a")))
    assert await _marked(store) == []


@rule
async def a_session_that_comes_too_late_was_undone(store: Store) -> None:
    before = await store.snapshot()
    for last in (False, True):
        async with store.database.session(TENANT, 50) as session:
            await session.execute(_MARK, _mark(b"a"))
            async with asyncio.timeout(10):  # its time is real time, whatever the clock says
                await _until_late(session, last)
    assert await store.snapshot() == before


async def _until_late(session: Any, last: bool) -> None:
    """Its statements are answered until its time is over."""
    if last:
        await asyncio.sleep(0.1)
    while True:
        try:
            if last:
                await session.finish(_nothing)
            else:
                await session.rows(text("SELECT 1 AS one"))
                await asyncio.sleep(0.005)
        except Unavailable as exc:
            code = exc.code
            break
    assert code == "transaction_timeout", code


async def _nothing(tx: Tx) -> None:
    pass


@rule
async def others_write_on_when_a_session_has_been_forgotten(store: Store) -> None:
    async with store.database.session(TENANT, 50) as session:
        await session.execute(_MARK, _mark(b"a"))
        async with asyncio.timeout(10):
            await store.write(lambda tx: tx.execute(_MARK, _mark(b"b")))
    assert await _marked(store) == [b"b"]


@rule
async def sessions_and_other_writes_all_come_through(store: Store) -> None:
    async def one(mark: bytes) -> None:
        async with store.database.session(TENANT, WITHIN_MS) as session:
            await session.execute(_MARK, _mark(mark))
            await session.finish(_nothing)

    marks = [bytes([97 + n]) for n in range(12)]
    writes = [store.write(lambda tx, m=m: tx.execute(_MARK, _mark(m))) for m in marks[6:]]
    await asyncio.gather(*(one(mark) for mark in marks[:6]), *writes)
    assert await _marked(store) == marks
