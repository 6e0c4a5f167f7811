"""The store against a small pure model, under moves that Hypothesis chooses: starts with every `on_busy`, claims by two
workers, appends by owners and zombies, parks, timers, children, lapses, cancels, ends.

The model knows nothing of SQL: dictionaries of runs and lists of what was written. After every move the database is
compared with it, and the invariants of the journal and of threads are checked on the database alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.ids import RunId, ThreadId
from holdfast.domain.journal import EntryType, Phase
from holdfast.domain.runs import OnBusy, Run, RunStatus
from holdfast.store import claims, heads, lineage, runs, threads
from holdfast.store.base import Database, Tx
from holdfast.store.claims import Claimed
from holdfast.store.journal import Release
from holdfast.testing.store import (
    LEASE_MS,
    TENANT,
    WORKER_A,
    WORKER_B,
    Clock,
    Store,
    assert_dense,
    cancel_run,
    insert_run,
    opening,
    said,
    step,
)
from tests import databases

EFFORT = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 1
PICK = st.integers(0, 2**16)
ON_BUSY = st.sampled_from([OnBusy.ENQUEUE, OnBusy.ENQUEUE, OnBusy.ENQUEUE, *OnBusy])
WORKERS = st.sampled_from([WORKER_A, WORKER_B])
QUEUED, RUNNING, WAITING = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING


@dataclass
class ModelRun:
    """What must be true of a run."""

    run: Run
    status: RunStatus = QUEUED
    due: int = 0
    start_after: int = 0
    worker: bytes | None = None
    epoch: int = 0
    lease_until: int = 0
    lapses: int = 0
    cancel: bool = False
    started: bool = False
    wake_at: int | None = None
    steps: list[str] = field(default_factory=list)
    open_steps: int = 0
    parent: RunId | None = None


class StoreMachine(RuleBasedStateMachine):
    """Subclassed with `fresh()`, which gives an open and empty database."""

    def fresh(self, determinism: Determinism) -> Database:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.database = self.fresh(Determinism(now_ms=self.clock, random=SYSTEM.random))
        self.store = Store(self.database, self.clock)
        self.model: dict[RunId, ModelRun] = {}
        self.queues: dict[ThreadId, list[RunId]] = {}
        self.threads: list[ThreadId] = []
        self.claims: list[Claimed] = []
        """Every claim there ever was: those of the owners and those of zombies."""
        self.numbers = 0
        self.do(self.database.open())
        self.do(self.store.seed())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def teardown(self) -> None:
        self.do(self.database.close())
        self.loop.close()

    def pick(self, number: int) -> Claimed:
        """A claim, of an owner or a zombie, mostly of a run that still lives."""
        live = [c for c in self.claims if not self.model[c.run.id].status.ended]
        may = [*live, *live, *self.claims[-2:]]
        return may[-1 - number % len(may)]

    # -- the model's own rules

    def of_thread(self, thread_id: ThreadId) -> list[ModelRun]:
        return [m for run_id in self.queues.get(thread_id, []) if not (m := self.model[run_id]).status.ended]

    def head_of(self, thread_id: ThreadId) -> ModelRun | None:
        live = self.of_thread(thread_id)
        return live[0] if live else None

    def claimable(self) -> list[ModelRun]:
        heads_ = [self.head_of(t) for t in {m.run.thread_id for m in self.model.values()}]
        return [m for m in heads_ if m is not None and m.status is QUEUED and m.due <= self.clock()]

    def queue(self, m: ModelRun, due: int) -> None:
        m.status, m.due, m.worker, m.wake_at = QUEUED, due, None, None

    def end(self, m: ModelRun, status: RunStatus) -> None:
        before = self.head_of(m.run.thread_id)
        m.status, m.worker, m.wake_at = status, None, None
        after = self.head_of(m.run.thread_id)
        if after is not None and after is not before:
            after.due = max(self.clock(), after.start_after)
        parent = self.model.get(m.parent) if m.parent else None
        if parent is not None and parent.status is WAITING:
            self.queue(parent, self.clock())

    # -- moves

    @initialize(count=st.integers(1, 3))
    def threads_begin(self, count: int) -> None:
        self.threads = [self.do(self.store.thread()) for _ in range(count)]

    @precondition(lambda self: len([m for m in self.model.values() if not m.status.ended]) < 9)
    @rule(pick=PICK, on_busy=ON_BUSY, later=st.sampled_from([0, 0, 0, 2_000]))
    def a_run_starts(self, pick: int, on_busy: OnBusy, later: int) -> None:
        """What the start verb does under each `on_busy`, in one transaction."""
        thread_id = self.threads[pick % len(self.threads)]
        run_id = RunId(self.store.new_id())
        holder = self.head_of(thread_id)
        if holder is not None and on_busy is OnBusy.REJECT:
            found = self.do(self.store.read(lambda tx: threads.holder(tx, TENANT, thread_id)))
            assert found is not None
            assert found.run_id == holder.run.id
            return
        interrupts = holder is not None and on_busy in (OnBusy.INTERRUPT, OnBusy.ROLLBACK)
        given = {"start_after": self.clock() + later if later else None, "on_busy_applied": on_busy}

        async def body(tx: Tx) -> Run:
            rank = None
            if interrupts:
                rank = await threads.next_rank(tx, TENANT, thread_id)
                rank = await runs.rank_behind_holder(tx, TENANT, thread_id) or rank
            run = await insert_run(tx, TENANT, thread_id, run_id, None, rank, b"1", (), given)
            if interrupts:
                assert holder is not None
                await cancel_run(tx, holder.run, on_busy is OnBusy.ROLLBACK, "interrupted")
            return run

        run = self.do(self.store.write(body))
        queue = self.queues.setdefault(thread_id, [])
        queue.insert(queue.index(holder.run.id) + 1 if interrupts and holder else len(queue), run_id)
        due = max(self.clock(), run.start_after or 0)
        self.model[run_id] = ModelRun(run, due=due, start_after=run.start_after or 0)
        if interrupts:
            assert holder is not None
            self._asked_to_stop(holder)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def a_run_starts_a_child(self, pick: int) -> None:
        claimed = self.pick(pick)
        parent = self.model[claimed.run.id]
        if parent.run.depth >= 2 or parent.epoch != claimed.epoch or parent.status is not RUNNING:
            return
        child = self.do(self.store.start(parent=parent.run))
        self.queues[child.thread_id] = [child.id]
        self.model[child.id] = ModelRun(child, due=self.clock(), parent=parent.run.id)

    @precondition(lambda self: self.claimable())
    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def a_worker_claims(self, worker: Any, limit: int) -> None:
        may = {m.run.id: m for m in self.claimable()}
        got: list[Claimed] = self.do(self.store.claim(worker, limit=limit))
        assert {c.run.id for c in got} <= set(may)
        assert len(got) == min(limit, len(may)), "a claimable run was not claimed"
        for claimed in got:
            m = may[claimed.run.id]
            assert claimed.epoch > m.epoch
            assert claimed.lapses == m.lapses
            assert [e.key for e in claimed.entries if e.seq] == m.steps, "a claim returns everything recorded"
            m.status, m.worker, m.epoch, m.started = RUNNING, worker, claimed.epoch, True
            m.lease_until = self.clock() + LEASE_MS
        self.claims += got

    def _ours(self, claimed: Claimed) -> ModelRun | None:
        """The run, if this claim of it still holds."""
        m = self.model[claimed.run.id]
        return m if m.status is RUNNING and m.epoch == claimed.epoch else None

    def _progress(self, m: ModelRun) -> None:
        m.lapses, m.lease_until = 0, self.clock() + LEASE_MS

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, count=st.integers(1, 3), opens=st.booleans())
    def an_owner_or_a_zombie_appends(self, pick: int, count: int, opens: bool) -> None:
        claimed = self.pick(pick)
        keys = [f"s#{self.numbers + n}" for n in range(count)]
        self.numbers += count
        new = [e for k in keys for e in ([opening(k), step(k)] if opens else [step(k)])]
        appended = self.do(self.store.append(claimed, *new))
        m = self._ours(claimed)
        assert appended.refused is (m is None)
        if m is not None:
            assert appended.cancel is m.cancel
            assert appended.seq == len(m.steps)
            m.steps += keys
            self._progress(m)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, sleep=st.sampled_from([None, 0, 1_000, 30_000]), on_children=st.booleans())
    def an_owner_or_a_zombie_parks(self, pick: int, sleep: int | None, on_children: bool) -> None:
        claimed = self.pick(pick)
        own = [c for c in self.model.values() if c.parent == claimed.run.id]
        children = own if on_children else []
        wake_at = None if sleep is None else self.clock() + sleep
        parked = self.do(self.store.park(claimed, wake_at=wake_at, children=[c.run.id for c in children]))
        m = self._ours(claimed)
        if m is None:
            assert parked.refused
            assert not parked.open_again
        elif m.cancel or sleep == 0 or any(c.status.ended for c in children):
            assert parked.open_again
            assert not parked.refused
        else:
            assert not parked.open_again
            assert not parked.refused
            m.status, m.worker, m.wake_at, m.lapses = WAITING, None, wake_at, 0

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, status=st.sampled_from([RunStatus.SUCCEEDED, RunStatus.FAILED]))
    def an_owner_or_a_zombie_finishes(self, pick: int, status: RunStatus) -> None:
        claimed = self.pick(pick)
        done = self.do(self.store.finish(claimed, status=status))
        m = self._ours(claimed)
        assert done.refused is (m is None)
        if m is not None:
            m.lapses = 0
            self.end(m, status)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def an_owner_or_a_zombie_lets_go(self, pick: int) -> None:
        claimed = self.pick(pick)
        released = self.do(self.store.append(claimed, said(EntryType.RUN_QUEUED), change=Release()))
        m = self._ours(claimed)
        assert released.refused is (m is None)
        if m is not None:
            m.lapses = 0
            self.queue(m, self.clock())

    @precondition(lambda self: self.model)
    @rule(ms=st.sampled_from([1, 500, 2_000, LEASE_MS + 1, 60_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    @precondition(lambda self: any(m.status is WAITING for m in self.model.values()))
    @rule()
    def timers_ring(self) -> None:
        due = {m.run.id for m in self.model.values() if m.status is WAITING and (m.wake_at or 2**62) <= self.clock()}

        async def body(tx: Tx) -> set[RunId]:
            return {c.run_id for c in await runs.due(tx, 100) if await claims.wake_due(tx, c)}

        assert self.do(self.store.write(body, None)) == due
        for run_id in due:
            self.queue(self.model[run_id], self.clock())

    @precondition(lambda self: any(m.status is RUNNING for m in self.model.values()))
    @rule(me=WORKERS)
    def recovery_takes_back_what_lapsed(self, me: Any) -> None:
        lapsed = [
            m for m in self.model.values() if m.status is RUNNING and m.worker != me and m.lease_until < self.clock()
        ]
        found = self.do(self.store.read(lambda tx: heads.lapsed(tx, but_not_of=me, limit=100), None))
        assert {h.run_id for h, _ in found} == {m.run.id for m in lapsed}
        for head, thread_id in found:
            self._take_back(self.model[head.run_id], head.epoch, thread_id, dead=False)

    @precondition(lambda self: any(m.status is RUNNING for m in self.model.values()))
    @rule(worker=WORKERS)
    def a_worker_dies(self, worker: Any) -> None:
        held = self.do(self.store.read(lambda tx: heads.of_owner(tx, worker, limit=100), None))
        assert {h.run_id for h, _ in held} == {m.run.id for m in self.model.values() if m.worker == worker}
        for head, thread_id in held:
            self._take_back(self.model[head.run_id], head.epoch, thread_id, dead=True)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def another_worker_takes_over(self, pick: int) -> None:
        """What leaves a zombie beside a new owner, which single moves reach too seldom."""
        claimed = self.pick(pick)
        m = self._ours(claimed)
        if m is None:
            return
        self._take_back(m, claimed.epoch, m.run.thread_id, dead=True)
        self.clock.advance(max(0, m.due - self.clock()))
        if self.claimable():
            self.a_worker_claims(WORKER_B if claimed.epoch % 2 else WORKER_A, 100)

    def _take_back(self, m: ModelRun, epoch: int, thread_id: ThreadId, *, dead: bool) -> None:
        async def body(tx: Tx) -> Any:
            return await claims.requeue_orphan(tx, TENANT, thread_id, m.run.id, epoch, dead=dead)

        back = self.do(self.store.write(body, None))
        assert back is not None
        m.epoch += 1
        lapses = m.lapses + 1
        poisoned = not m.cancel and lapses >= limits.LAPSES_POISONED
        assert (back.cancelled, back.poisoned) == (m.cancel, poisoned)
        if m.cancel:
            self.end(m, RunStatus.CANCELLED)
        elif poisoned:
            self.end(m, RunStatus.FAILED)
        else:
            m.lapses = lapses
            wait = limits.LAPSE_BACKOFF_MS * 2 ** (m.lapses - 2) if m.lapses >= limits.LAPSES_ALONE else 0
            self.queue(m, self.clock() + wait)

    @precondition(lambda self: self.model)
    @rule(pick=PICK)
    def somebody_cancels(self, pick: int) -> None:
        m = list(self.model.values())[pick % len(self.model)]
        cancelled = self.do(self.store.cancel(m.run))
        assert (cancelled is not None) is (m.status in (QUEUED, WAITING))
        self._asked_to_stop(m)

    def _asked_to_stop(self, m: ModelRun) -> None:
        if m.status is RUNNING:
            m.cancel = True
        elif not m.status.ended:
            m.epoch += 1
            self.end(m, RunStatus.CANCELLED)

    # -- what must hold after every move

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        self.do(self._compare())

    async def _compare(self) -> None:
        async def body(tx: Tx) -> dict[RunId, Any]:
            found: dict[RunId, Any] = {}
            for run_id in self.model:
                run, head = await runs.get(tx, TENANT, run_id), await heads.get(tx, TENANT, run_id)
                found[run_id] = (run, head, await lineage.load(tx, TENANT, run_id))
            return found

        found = await self.store.read(body)
        ordinals: dict[ThreadId, list[int]] = {}
        started: dict[ThreadId, int] = {}
        for run_id, (run, head, journal) in found.items():
            m = self.model[run_id]
            assert run.status is m.status
            assert (head.owner, head.epoch, head.lapses) == (m.worker, m.epoch, m.lapses)
            assert (head.owner is not None) is (run.status is RUNNING) is (head.lease_until is not None)
            assert_dense(journal, head)
            assert [e.key for e in journal if e.phase is Phase.RESULT] == m.steps
            assert head.epoch >= max(e.epoch for e in journal)
            is_head = self.head_of(run.thread_id) is m
            assert (run.claimable_at is not None) is (m.status is QUEUED and is_head)
            assert run.claimable_at is None or run.claimable_at == m.due
            assert run.wake_at == m.wake_at
            assert run.wake_at is None or m.status is WAITING
            assert (run.started_at is not None) is m.started is (run.ordinal is not None)
            assert (run.ended_at is not None) is m.status.ended
            if run.started_at is not None and run.ended_at is None:
                started[run.thread_id] = started.get(run.thread_id, 0) + 1
                assert is_head, "only the head of a thread has started"
            if run.ordinal is not None:
                ordinals.setdefault(run.thread_id, []).append(run.ordinal)
        for thread_id, queue in self.queues.items():
            ranks = [found[m.run.id][0].rank for m in self.of_thread(thread_id)]
            assert ranks == sorted(set(ranks)), f"the order of the queue {queue} is not kept"
        assert all(count == 1 for count in started.values())
        assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in ordinals.values())


def test_the_store_keeps_to_the_model_on_sqlite(sqlite_template: Path) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "machine.db")

        class OnSqlite(StoreMachine):
            def fresh(self, determinism: Determinism) -> Database:
                for old in Path(directory).glob("machine.db*"):
                    old.unlink()
                shutil.copyfile(sqlite_template, path)
                return databases.connect(f"sqlite:///{path}", determinism=determinism)

        run_state_machine_as_test(OnSqlite, settings=settings(max_examples=60 * EFFORT, stateful_step_count=40))


@pytest.mark.postgres
def test_the_store_keeps_to_the_model_on_postgresql(postgres_url: str) -> None:
    class OnPostgres(StoreMachine):
        def fresh(self, determinism: Determinism) -> Database:
            self.do(databases.empty_postgres(postgres_url))
            return databases.connect(postgres_url, determinism=determinism, pool=2)

    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=8 * EFFORT, stateful_step_count=30))
