"""The journal writer: what it batches, what it keeps in order, and whom it tells when the database fails.

The first half holds the writer against a lane that the test moves step by step, so that every interleaving of lane and
event loop can be reached; the second half uses the real databases.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import JournalRejected, OutcomeUnknown, Unavailable
from holdfast.domain.ids import RunId, ThreadId
from holdfast.domain.journal import EntryType
from holdfast.domain.runs import RunStatus
from holdfast.store import writer as writer_module
from holdfast.store.base import CommitPoint, Rejected, run_now
from holdfast.store.journal import Append, Appended, Finish
from holdfast.store.runs import End
from holdfast.store.writer import JournalWriter
from holdfast.testing.store import TENANT, Clock, Store, append_of, assert_dense, said, step
from tests import databases


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_MS", 0)


# -- against a lane moved by hand ---------------------------------------------------------------------------------


@dataclass
class Op:
    run: int
    poison: bool
    append: Append
    future: asyncio.Future[Appended]
    generation: int


@dataclass
class Lane:
    """The one lane of a database that does nothing by itself. `step` runs the next body, `deliver` calls back."""

    queue: deque[tuple[Any, Any, Any]] = field(default_factory=deque)
    news: deque[tuple[Any, Any]] = field(default_factory=deque)
    committed: list[Append] = field(default_factory=list)
    overloaded: bool = False
    _writing: list[Append] = field(default_factory=list)

    def submit(self, body: Any, done: Any, failed: Any) -> None:
        if self.overloaded:
            raise Unavailable("too much")
        self.queue.append((body, done, failed))

    async def journal_append(self, tx: Any, ops: list[Append], lease_ms: int) -> list[Appended]:
        self._writing = list(ops)
        if any(op.acting_agent == "poison" for op in ops):
            raise Rejected("a poison row")
        return [Appended() for _ in ops]

    def step(self, outcome: str) -> None:
        if not self.queue:
            return
        body, done, failed = self.queue.popleft()
        self._writing = []
        result: Any
        try:
            if outcome == "gone":
                raise Unavailable("no connection")
            result = run_now(body(None))
            if outcome in ("committed, unknown", "lost, unknown"):
                if outcome.startswith("committed"):
                    self.committed += self._writing
                raise OutcomeUnknown
            if outcome == "lost":
                raise Unavailable("rolled back")
            self.committed += self._writing
        except (Unavailable, OutcomeUnknown, Rejected) as exc:
            failed()
            result = exc
        self.news.append((done, result))

    def deliver(self) -> None:
        if self.news:
            done, result = self.news.popleft()
            done(result)


def an_append(run: int, *, poison: bool = False) -> Append:
    return Append(
        tenant_id=TENANT,
        run_id=RunId(bytes([run]) * 16),
        thread_id=ThreadId(bytes(16)),
        epoch=1,
        entries=[],
        acting_agent="poison" if poison else "",
    )


class Drive:
    """A writer on a lane moved by hand, and what each run appended in which generation.

    A run that is told of a failure reads back and begins a new generation; within one, a failure must never be
    followed by a success: that would be a hole in the journal.
    """

    def __init__(self) -> None:
        self.lane = Lane()
        self.published: list[Append] = []
        self.writer = JournalWriter(self.lane, lambda op, _: self.published.append(op))  # type: ignore[arg-type]
        self.ops: list[Op] = []

    def append(self, run: int, *, poison: bool = False) -> None:
        given = an_append(run, poison=poison)
        generation = sum(1 for op in self.ops if op.run == run and op.future.done() and op.future.exception())
        self.ops.append(Op(run, poison, given, self.writer.append(given), generation))

    async def settle(self) -> None:
        """Everything works from now on; run until nothing is left to do."""
        for _ in range(1_000):
            if all(op.future.done() for op in self.ops) and not self.lane.queue and not self.lane.news:
                return
            self.lane.step("ok")
            self.lane.deliver()
            await asyncio.sleep(0)
        waiting = [op for op in self.ops if not op.future.done()]
        raise AssertionError(f"{len(waiting)} appends are never answered; backlog {self.writer.backlog}")

    def check(self) -> None:
        place = {id(op): n for n, op in enumerate(self.lane.committed)}
        assert len(place) == len(self.lane.committed), "something was written twice"
        for run in {op.run for op in self.ops}:
            own = [op for op in self.ops if op.run == run]
            written = [place[id(op.append)] for op in own if id(op.append) in place]
            assert written == sorted(written), "a run's appends were written out of order"
            for generation in {op.generation for op in own}:
                ok = [op.future.exception() is None for op in own if op.generation == generation]
                assert ok == sorted(ok, reverse=True), "a success behind a failure: a hole in the journal"
        for op in self.ops:
            failure = op.future.exception()
            if failure is None:
                assert id(op.append) in place
                assert not op.poison
            elif isinstance(failure, JournalRejected):
                assert id(op.append) not in place
            else:
                assert isinstance(failure, OutcomeUnknown)
        told = [op.append for op in self.ops if op.future.exception() is None]
        assert [id(op) for op in self.published] == [id(op) for op in self.lane.committed if any(op is t for t in told)]


MOVES = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 3)),
    st.tuples(st.just("poison"), st.integers(1, 3)),
    st.tuples(
        st.just("step"), st.sampled_from(["ok", "ok", "ok", "lost", "gone", "committed, unknown", "lost, unknown"])
    ),
    st.tuples(st.just("deliver"), st.just(0)),
    st.tuples(st.just("breathe"), st.just(0)),
    st.tuples(st.just("overload"), st.booleans()),
)


def drive(moves: list[tuple[str, Any]]) -> Drive:
    driven = Drive()

    async def run() -> Drive:
        for move, argument in moves:
            match move:
                case "append" | "poison":
                    driven.append(argument, poison=move == "poison")
                case "step":
                    driven.lane.step(argument)
                case "deliver":
                    driven.lane.deliver()
                case "overload":
                    driven.lane.overloaded = argument
                case _:
                    await asyncio.sleep(0)
        driven.lane.overloaded = False
        await driven.settle()
        driven.check()
        return driven

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module.journal, "append", driven.lane.journal_append)
        patch.setattr(writer_module, "RETRY_MS", 0)
        return asyncio.run(run())


@settings(max_examples=600)
@given(st.lists(MOVES, max_size=40))
def test_whatever_fails_a_runs_appends_keep_their_order_and_are_all_answered(moves: list[tuple[str, Any]]) -> None:
    drive(moves)


def test_late_news_of_a_success_does_not_let_newer_appends_pass_a_failed_batch() -> None:
    """Lane: first batch commits, second fails. The loop hears of the first only now: it must not go on yet."""
    drive([
        ("append", 1), ("step", "ok"),
        ("append", 1), ("poison", 2), ("step", "ok"),
        ("append", 1), ("deliver", 0), ("step", "ok"), ("deliver", 0),
    ])  # fmt: skip


def test_the_writer_goes_on_after_a_body_that_never_began() -> None:
    driven = drive([("append", 1), ("step", "gone"), ("deliver", 0), ("breathe", 0)])
    assert len(driven.lane.committed) == 1


def test_what_waits_behind_an_unknown_commit_is_not_written() -> None:
    driven = drive([("append", 1), ("step", "lost, unknown"), ("append", 1), ("append", 2), ("deliver", 0)])
    assert [op.run_id[0] for op in driven.lane.committed] == [2]


def test_a_poison_row_fails_its_run_and_what_waits_behind_it() -> None:
    driven = drive([("poison", 1), ("append", 2), ("step", "ok"), ("append", 1), ("append", 3), ("deliver", 0)])
    assert sorted(op.run_id[0] for op in driven.lane.committed) == [2, 3]
    assert [isinstance(op.future.exception(), JournalRejected) for op in driven.ops] == [True, False, True, False]


def test_an_overloaded_lane_only_delays() -> None:
    driven = drive([
        ("append", 1), ("poison", 2), ("overload", True), ("step", "ok"), ("deliver", 0), ("append", 1),
        ("breathe", 0), ("overload", False),
    ])  # fmt: skip
    assert len(driven.lane.committed) == 2


# -- against the real databases -----------------------------------------------------------------------------------


class Interposed:
    """A database whose lane the test can hold in the middle of a transaction, and make fail there."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self.sizes: list[int] = []
        self.hold = False
        self.entered = asyncio.Event()
        self.fail: deque[Exception] = deque()
        self._go_thread, self._go_async = threading.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def release(self) -> None:
        self.hold = False
        self._go_thread.set()
        self._go_async.set()

    def submit(self, body: Any, done: Any, failed: Any) -> None:
        async def interposed(tx: Any) -> Any:
            result = await body(tx)
            if result:
                self.sizes.append(len(result))
            if self.hold:
                self._loop.call_soon_threadsafe(self.entered.set)
                if tx.locks_rows:
                    await self._go_async.wait()
                else:
                    assert self._go_thread.wait(30)
            if self.fail:
                raise self.fail.popleft()
            return result

        self._database.submit(interposed, done, failed)


@dataclass
class House:
    store: Store
    lane: Interposed
    writer: JournalWriter
    told: list[tuple[Append, Appended]]
    fault: list[Callable[[CommitPoint], None]]


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    faults: list[Callable[[CommitPoint], None]] = []

    def fault(point: CommitPoint) -> None:
        for one in list(faults):
            one(point)

    clock = Clock()
    determinism = Determinism(now_ms=clock, random=SYSTEM.random)
    async with databases.opened(database_url, determinism=determinism, faults=fault) as database:
        store = Store(database, clock)
        await store.seed()
        lane = Interposed(database)
        told: list[tuple[Append, Appended]] = []
        writer = JournalWriter(lane, lambda op, result: told.append((op, result)))  # type: ignore[arg-type]
        yield House(store, lane, writer, told, faults)
        lane.release()
        writer.close()


async def test_what_comes_while_a_commit_is_in_flight_is_one_batch(house: House) -> None:
    owned = [await house.store.started() for _ in range(5)]
    house.lane.hold = True
    first = house.writer.append(append_of(owned[0], step("s#0")))
    await house.lane.entered.wait()
    later = [house.writer.append(append_of(c, step(f"s#{n}"))) for n in range(1, 11) for c in owned]
    assert house.writer.backlog == 50
    assert not first.done()
    house.lane.release()
    await asyncio.gather(first, *later)
    assert house.lane.sizes == [1, 50]
    assert house.writer.backlog == 0
    for claimed in owned:
        assert_dense(await house.store.journal(claimed.run), await house.store.head(claimed.run))


async def test_a_batch_has_a_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_OPS_MAX", 8)
    claimed = await house.store.started()
    house.lane.hold = True
    ops = [house.writer.append(append_of(claimed, step("s#0")))]
    await house.lane.entered.wait()
    ops += [house.writer.append(append_of(claimed, step(f"s#{n}"))) for n in range(1, 21)]
    house.lane.release()
    await asyncio.gather(*ops)
    assert house.lane.sizes == [1, 8, 8, 4]


async def test_the_news_of_an_append_comes_before_its_answer_and_in_commit_order(house: House) -> None:
    claimed = await house.store.started()
    futures = [house.writer.append(append_of(claimed, step(f"s#{n}"), step(f"t#{n}"))) for n in range(20)]
    seen: list[int] = []
    futures[7].add_done_callback(lambda _: seen.append(len(house.told)))
    results = await asyncio.gather(*futures)
    assert seen[0] >= 8
    assert [id(r) for _, r in house.told] == [id(r) for r in results]
    assert [r.pos for r in results] == [2 + 2 * n for n in range(20)]


async def test_a_refused_append_is_answered_and_not_announced(house: House) -> None:
    zombie = await house.store.started()
    await house.store.orphan(zombie, dead=True)
    owner = await house.store.claim_one()
    late, mine = await asyncio.gather(
        house.writer.append(append_of(zombie, step("s#1"))), house.writer.append(append_of(owner, step("s#1")))
    )
    assert (late.refused, mine.refused) == (True, False)
    assert [op.epoch for op, _ in house.told] == [owner.epoch]


async def test_the_order_of_a_run_survives_batches_that_fail(house: House) -> None:
    owned = [await house.store.started() for _ in range(3)]
    house.lane.fail.extend([Unavailable(), Unavailable()])
    house.lane.hold = True
    futures = [house.writer.append(append_of(c, step("s#0"))) for c in owned]
    await house.lane.entered.wait()
    futures += [house.writer.append(append_of(c, step(f"s#{n}"))) for n in range(1, 6) for c in owned]
    house.lane.release()
    results = await asyncio.gather(*futures)
    assert not any(r.refused for r in results)
    assert not house.lane.fail
    for claimed in owned:
        found = await house.store.journal(claimed.run)
        assert [e.key for e in found if e.seq] == [f"s#{n}" for n in range(6)]
        assert_dense(found, await house.store.head(claimed.run))


async def test_a_poison_row_in_a_batch_of_fifty_fails_only_its_run(house: House) -> None:
    owned = [await house.store.started() for _ in range(49)]
    await house.store.append(owned[20], step("twice#1"))
    house.lane.hold = True
    first = house.writer.append(append_of(owned[0], step("first#1")))
    await house.lane.entered.wait()
    futures = [house.writer.append(append_of(c, step("s#1"))) for c in owned]
    poison = house.writer.append(append_of(owned[20], step("ok#1"), step("twice#1")))
    house.lane.release()
    outcomes = await asyncio.gather(first, *futures, poison, return_exceptions=True)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert failed == [21, 50]
    assert all(isinstance(outcomes[n], JournalRejected) for n in failed)
    assert "twice" in str(outcomes[50]) or "UNIQUE" in str(outcomes[50])
    for n, claimed in enumerate(owned):
        found = await house.store.journal(claimed.run)
        assert ("s#1" in {e.key for e in found}) is (n != 20)
        assert_dense(found, await house.store.head(claimed.run))
    told = await house.writer.append(append_of(owned[20], step("after#1")))
    assert not told.refused, "the run may still record how it failed"


@pytest.mark.parametrize("poison", ["surrogate", "too large a number"])
async def test_a_value_that_no_column_can_hold_fails_only_its_run(house: House, poison: str) -> None:
    good, bad = await house.store.started(), await house.store.started()
    wrong = step("\ud800") if poison == "surrogate" else step("s#1", started_at=2**70)
    outcomes = await asyncio.gather(
        house.writer.append(append_of(good, step("s#1"))),
        house.writer.append(append_of(bad, wrong)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], JournalRejected)
    assert isinstance(outcomes[0], Appended)
    assert not outcomes[0].refused


async def test_every_run_of_a_batch_with_an_unknown_commit_is_told(house: House) -> None:
    owned = [await house.store.started() for _ in range(4)]

    def lose_the_answer(point: CommitPoint) -> None:
        if point == "after_commit":
            house.fault.clear()
            raise OutcomeUnknown

    house.fault.append(lose_the_answer)
    outcomes = await asyncio.gather(
        *[house.writer.append(append_of(c, step("s#1"))) for c in owned], return_exceptions=True
    )
    assert [type(o) for o in outcomes] == [OutcomeUnknown] * 4
    assert house.told == []
    for claimed in owned:
        assert [e.key for e in await house.store.journal(claimed.run) if e.seq] == ["s#1"], "it was committed after all"
        assert not (await house.writer.append(append_of(claimed, step("s#2")))).refused


async def test_a_failure_before_the_commit_leaves_nothing_and_is_tried_again(house: House) -> None:
    claimed = await house.store.started()
    points: list[CommitPoint] = []

    def fail(point: CommitPoint) -> None:
        points.append(point)
        if len(points) == 1:
            raise Unavailable

    house.fault.append(fail)
    placed = await house.writer.append(append_of(claimed, step("s#1")))
    assert points[:3] == ["before_commit", "before_commit", "after_commit"]
    assert placed.pos == 2
    assert_dense(await house.store.journal(claimed.run), await house.store.head(claimed.run))


async def test_a_finish_in_a_batch_promotes_and_is_told(house: House) -> None:
    thread_id = await house.store.thread()
    claimed = await house.store.started(thread_id=thread_id)
    following = await house.store.start(thread_id)
    finish = Finish(end=End(status=RunStatus.SUCCEEDED, output_key="s#1"))
    first, last = await asyncio.gather(
        house.writer.append(append_of(claimed, step("s#1"))),
        house.writer.append(append_of(claimed, said(EntryType.RUN_SUCCEEDED), change=finish)),
    )
    assert (first.promoted, last.promoted) == (None, following.id)
    assert (await house.store.run(claimed.run)).output_pos == first.pos + 1


async def test_a_full_queue_refuses_and_keeps_what_it_has(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = await house.store.started()
    house.lane.hold = True
    ops = [house.writer.append(append_of(claimed, step("s#0")))]
    await house.lane.entered.wait()
    monkeypatch.setattr(limits, "WRITER_QUEUE_OPS_MAX", 3)
    ops += [house.writer.append(append_of(claimed, step(f"s#{n}"))) for n in range(1, 4)]
    with pytest.raises(Unavailable) as refusal:
        house.writer.append(append_of(claimed, step("s#9")))
    assert refusal.value.code == "store_overloaded"
    monkeypatch.undo()
    house.lane.release()
    await asyncio.gather(*ops)
    assert [e.key for e in await house.store.journal(claimed.run) if e.seq] == ["s#0", "s#1", "s#2", "s#3"]


async def test_closing_lets_go_of_what_waits_and_finishes_what_is_under_way(house: House) -> None:
    claimed = await house.store.started()
    house.lane.hold = True
    under_way = house.writer.append(append_of(claimed, step("s#0")))
    await house.lane.entered.wait()
    waiting = house.writer.append(append_of(claimed, step("s#1")))
    house.writer.close()
    house.lane.release()
    assert not (await under_way).refused
    with pytest.raises(Unavailable) as told:
        await waiting
    assert told.value.code == "draining"
    with pytest.raises(Unavailable):
        house.writer.append(append_of(claimed, step("s#2")))


async def test_a_batch_that_fails_while_the_writer_closes_is_answered(house: House) -> None:
    claimed = await house.store.started()
    house.lane.hold = True
    house.lane.fail.append(Unavailable())
    under_way = house.writer.append(append_of(claimed, step("s#0")))
    await house.lane.entered.wait()
    house.writer.close()
    house.lane.release()
    with pytest.raises(Unavailable) as told:
        await asyncio.wait_for(under_way, 10)
    assert told.value.code == "draining"


async def test_a_caller_that_stops_waiting_does_not_disturb_the_batch(house: House) -> None:
    claimed = await house.store.started()
    house.lane.hold = True
    gone = house.writer.append(append_of(claimed, step("s#0")))
    await house.lane.entered.wait()
    gone.cancel()
    later = house.writer.append(append_of(claimed, step("s#1")))
    house.lane.release()
    assert not (await later).refused
    assert [e.key for e in await house.store.journal(claimed.run) if e.seq] == ["s#0", "s#1"]
