"""PostgreSQL when connections break: before the commit nothing was done, after it the server is asked, and only when it
cannot be asked is the outcome unknown. And the races whose two sides can be stopped between two statements."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import OutcomeUnknown, Unavailable
from holdfast.domain.ids import LOCAL_ADMIN, ThreadId
from holdfast.domain.journal import EntryType
from holdfast.domain.runs import RunStatus
from holdfast.store import claims, heads, journal, runs, threads
from holdfast.store import postgres as postgres_module
from holdfast.store import writer as writer_module
from holdfast.store.base import Tx
from holdfast.store.claims import Claimed
from holdfast.store.journal import Finish, Park
from holdfast.store.postgres import PostgresDatabase
from holdfast.store.runs import End
from holdfast.store.writer import JournalWriter
from holdfast.testing.store import (
    LEASE_MS,
    TENANT,
    WORKER_A,
    WORKER_B,
    Clock,
    Store,
    append_of,
    assert_dense,
    said,
    step,
)
from tests import databases

pytestmark = pytest.mark.postgres


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    clock = Clock()
    async with databases.opened(postgres_url, determinism=Determinism(now_ms=clock, random=SYSTEM.random)) as database:
        store = Store(database, clock)
        await store.seed()
        yield store


async def add_thread(store: Store) -> ThreadId:
    thread_id = ThreadId(store.new_id())
    await store.write(lambda tx: threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, tx.now_ms)))
    return thread_id


async def backend_of(tx: Tx) -> int:
    row = await tx.first(text("SELECT pg_backend_pid()"))
    assert row is not None
    return row[0]


async def terminate(url: str, pid: int) -> None:
    """End a backend and wait until it is gone."""
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
    finally:
        await connection.close()


class Wire:
    """A relay on loopback between the program and PostgreSQL that loses the answer to a COMMIT."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self.cut_at_commit = False
        self.refuse_new = False
        self.cuts = 0
        self._links: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return self._to.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    async def close(self) -> None:
        self._server.close()
        await asyncio.sleep(0)  # a link that was just accepted begins, and is known
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the next round

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            if not self.refuse_new:
                await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(task)
            writer.transport.abort()

    async def _relay(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection(self._to.host, self._to.port)
        muted = False

        async def forward() -> None:
            nonlocal muted
            while data := await client_in.read(65_536):
                muted = muted or (self.cut_at_commit and b"COMMIT" in data)
                server_out.write(data)
                await server_out.drain()

        async def back() -> None:
            while data := await server_in.read(65_536):
                if muted:  # the server has answered: the commit is done, and nobody hears of it
                    self.cuts += 1
                    self.cut_at_commit = False
                    return
                client_out.write(data)
                await client_out.drain()

        both = [asyncio.create_task(forward()), asyncio.create_task(back())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            server_out.transport.abort()
            await asyncio.gather(*both, return_exceptions=True)


@contextlib.asynccontextmanager
async def over_a_wire(store: Store, url: str) -> AsyncIterator[tuple[Store, Wire]]:
    wire = Wire(url)
    through = await wire.open()
    try:
        async with databases.opened(
            through, determinism=Determinism(now_ms=store.clock, random=SYSTEM.random)
        ) as there:
            other = Store(there, store.clock)
            other._ids = 1_000_000
            yield other, wire
    finally:
        await wire.close()


# -- broken connections -------------------------------------------------------------------------------------------


async def test_a_connection_that_breaks_before_the_commit_did_nothing(store: Store, postgres_url: str) -> None:
    thread_id = ThreadId(store.new_id())

    async def body(tx: Tx) -> None:
        await threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, tx.now_ms))
        await terminate(postgres_url, await backend_of(tx))

    with pytest.raises(Unavailable, match="nothing was done"):
        await store.write(body)
    assert await store.read(lambda tx: threads.get(tx, TENANT, thread_id)) is None
    assert await store.read(lambda tx: threads.get(tx, TENANT, thread_id)) is None, "the pool has recovered"
    await add_thread(store)


async def test_a_connection_that_breaks_while_reading_is_unavailable(store: Store, postgres_url: str) -> None:
    async def body(tx: Tx) -> None:
        await terminate(postgres_url, await backend_of(tx))
        await backend_of(tx)

    with pytest.raises(Unavailable):
        await store.read(body)
    await store.snapshot()


LOST_ITS_PLACE = asyncpg.InternalClientError("cannot switch to state 13; another operation (2) is in progress")


async def test_a_driver_that_has_lost_its_place_is_a_connection_that_broke(store: Store) -> None:
    """asyncpg says so of a connection whose server stopped in the middle of an answer: nobody's statement was wrong."""

    async def body(tx: Tx) -> None:
        raise LOST_ITS_PLACE

    with pytest.raises(Unavailable, match="nothing was done"):
        await store.write(body)
    with pytest.raises(Unavailable):
        await store.read(body)
    await add_thread(store)


async def test_a_batch_whose_driver_has_lost_its_place_is_written_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_MS", 1)
    claimed = await store.started()
    writer = JournalWriter(store.database, lambda op, result: None)
    append, failures = journal.append, [LOST_ITS_PLACE]

    async def fail_once(tx: Tx, batch: Any, lease_ms: int) -> Any:
        if failures:
            raise failures.pop()
        return await append(tx, batch, lease_ms)

    monkeypatch.setattr(journal, "append", fail_once)
    appended = await writer.append(append_of(claimed, step("s#0")))
    writer.close()
    assert not failures
    assert appended.seq == 0
    assert_dense(await store.journal(claimed.run), await store.head(claimed.run))


async def test_the_journals_connection_may_break_and_nothing_is_lost(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_MS", 1)
    claimed = await store.started()
    writer = JournalWriter(store.database, lambda op, result: None)
    pids: list[int] = []
    append = journal.append

    async def break_once(tx: Tx, batch: Any, lease_ms: int) -> Any:
        result = await append(tx, batch, lease_ms)
        pids.append(await backend_of(tx))
        if len(pids) == 1:
            await terminate(postgres_url, pids[0])
        return result

    monkeypatch.setattr(journal, "append", break_once)
    futures = [writer.append(append_of(claimed, step(f"s#{n}"))) for n in range(5)]
    results = await asyncio.gather(*futures)
    writer.close()
    assert len(set(pids)) == 2
    assert [r.seq for r in results] == list(range(5))
    assert_dense(await store.journal(claimed.run), await store.head(claimed.run))


async def test_a_lost_answer_to_a_commit_is_settled_by_asking(store: Store, postgres_url: str) -> None:
    async with over_a_wire(store, postgres_url) as (far, wire):
        wire.cut_at_commit = True
        thread_id = await add_thread(far)
        assert wire.cuts == 1
    assert await store.read(lambda tx: threads.get(tx, TENANT, thread_id)) is not None


async def test_a_journal_batch_whose_answer_is_lost_is_written_once(store: Store, postgres_url: str) -> None:
    claimed = await store.started()
    async with over_a_wire(store, postgres_url) as (far, wire):
        writer = JournalWriter(far.database, lambda op, result: None)
        await writer.append(append_of(claimed, step("s#0")))
        wire.cut_at_commit = True
        results = await asyncio.gather(*[writer.append(append_of(claimed, step(f"s#{n}"))) for n in range(1, 4)])
        assert wire.cuts == 1
        writer.close()
    assert [r.seq for r in results] == [1, 2, 3]
    assert_dense(await store.journal(claimed.run), await store.head(claimed.run))


async def test_a_server_that_cannot_be_asked_leaves_the_outcome_unknown(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module.limits, "STORE_WAIT_MS", 300)
    async with over_a_wire(store, postgres_url) as (far, wire):
        claimed = await store.started()
        writer = JournalWriter(far.database, lambda op, result: None)
        await writer.append(append_of(claimed, step("s#0")))
        await far.snapshot()
        wire.cut_at_commit = wire.refuse_new = True
        with pytest.raises(OutcomeUnknown):
            await add_thread(far)
        with pytest.raises(Unavailable):
            await far.snapshot()
        wire.refuse_new, wire.cut_at_commit = False, True
        wire.refuse_new = True
        with pytest.raises(OutcomeUnknown):
            await writer.append(append_of(claimed, step("s#1")))
        writer.close()
    assert [e.key for e in await store.journal(claimed.run) if e.seq] == ["s#0", "s#1"], "it was committed after all"


async def test_a_transaction_that_the_server_aborted_is_known_to_be_undone(store: Store, postgres_url: str) -> None:
    """The backend dies between the last statement and the commit."""
    ready = asyncio.Event()
    pid: list[int] = []

    async def body(tx: Tx) -> None:
        await threads.add(tx, threads.new(TENANT, ThreadId(store.new_id()), LOCAL_ADMIN, tx.now_ms))
        pid.append(await backend_of(tx))
        ready.set()
        await terminate(postgres_url, pid[0])

    before = await store.snapshot()
    with pytest.raises(Unavailable):
        await store.write(body)
    assert await store.snapshot() == before


async def test_no_server_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await PostgresDatabase("postgresql://nobody@127.0.0.1:1/none").open()


async def test_a_password_is_not_in_what_is_logged() -> None:
    assert "secret" not in PostgresDatabase("postgresql://me:secret@127.0.0.1:1/none").url


async def test_deadlocked_bodies_run_again_and_both_succeed(store: Store) -> None:
    one, two = await store.thread(), await store.thread()
    first_locked, second_locked = asyncio.Event(), asyncio.Event()
    runs_of_body = 0

    async def lock_both(tx: Tx, first: ThreadId, then: ThreadId, mine: asyncio.Event, theirs: asyncio.Event) -> None:
        nonlocal runs_of_body
        runs_of_body += 1
        await threads.lock(tx, TENANT, first)
        mine.set()
        await theirs.wait()
        await threads.lock(tx, TENANT, then)
        await threads.touch(tx, TENANT, then)

    await asyncio.gather(
        store.write(lambda tx: lock_both(tx, one, two, first_locked, second_locked)),
        store.write(lambda tx: lock_both(tx, two, one, second_locked, first_locked)),
    )
    assert runs_of_body == 3


async def test_closing_answers_every_append(store: Store, postgres_url: str) -> None:
    claimed = await store.started()
    database = PostgresDatabase(postgres_url, determinism=Determinism(now_ms=store.clock))
    await database.open()
    told: list[Any] = []
    stuck = asyncio.Event()

    async def body(tx: Tx) -> None:
        stuck.set()
        await asyncio.Event().wait()

    for _ in range(3):
        database.submit(body, told.append, lambda: None)
    await stuck.wait()
    await database.close()
    assert [type(t) for t in told] == [OutcomeUnknown, Unavailable, Unavailable]
    assert not (await store.append(claimed, step("s#1"))).refused


async def test_a_lapsed_connection_of_the_lease_thread_is_replaced(store: Store, postgres_url: str) -> None:
    claimed = await store.started()
    held = [(bytes(TENANT), bytes(claimed.run.id), claimed.epoch)]
    lessor = store.database.lessor()
    assert await asyncio.to_thread(lessor.renew, WORKER_A, held, LEASE_MS)
    pid = await asyncio.to_thread(lessor._connection.get_server_pid)  # type: ignore[attr-defined]
    await terminate(postgres_url, pid)
    with pytest.raises(Unavailable):
        await asyncio.to_thread(lessor.renew, WORKER_A, held, LEASE_MS)
    assert await asyncio.to_thread(lessor.renew, WORKER_A, held, LEASE_MS)
    await asyncio.to_thread(lessor.close)


# -- races with a pause point between two statements --------------------------------------------------------------


async def blocked(store: Store, task: asyncio.Task[Any]) -> None:
    """Until some transaction of this database waits for a lock (or the task has ended after all)."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while not task.done():
        row = await store.read(lambda tx: tx.first(waiting), None)
        if row is not None and row[0]:
            return


async def family(store: Store) -> tuple[Claimed, Claimed]:
    parent = await store.started()
    child = await store.start(parent=parent.run)
    return parent, next(c for c in await store.claim() if c.run.id == child.id)


async def test_a_child_that_ends_between_a_parks_lock_and_its_look_waits_and_then_wakes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = await family(store)
    locked, go_on = asyncio.Event(), asyncio.Event()
    refuse_parks = journal._refuse_parks

    async def paused(tx: Tx, batch: Any, results: Any) -> None:
        if any(isinstance(a.change, Park) for a in batch):
            locked.set()
            await go_on.wait()
        await refuse_parks(tx, batch, results)

    monkeypatch.setattr(journal, "_refuse_parks", paused)
    park = asyncio.create_task(store.park(parent, children=[child.run.id]))
    await locked.wait()
    end = asyncio.create_task(store.finish(child))
    await blocked(store, end)
    assert not end.done(), "the end must wait for the parent's head"
    go_on.set()
    parked, ended = await park, await end
    assert (parked.open_again, ended.woken) == (False, parent.run.id)
    assert (await store.run(parent.run)).status is RunStatus.QUEUED


async def test_a_park_that_comes_while_its_child_ends_waits_and_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = await family(store)
    ended, go_on = asyncio.Event(), asyncio.Event()
    end_run = runs.end

    async def paused(*args: Any) -> None:
        await end_run(*args)
        ended.set()
        await go_on.wait()

    monkeypatch.setattr(runs, "end", paused)
    end = asyncio.create_task(store.finish(child))
    await ended.wait()
    park = asyncio.create_task(store.park(parent, children=[child.run.id]))
    await blocked(store, park)
    assert not park.done(), "the park must wait for its own head, which the child's end has locked"
    go_on.set()
    assert (await end).woken is None
    assert (await park).open_again
    assert (await store.run(parent.run)).status is RunStatus.RUNNING


async def test_a_cancel_that_comes_while_a_run_parks_ends_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = await store.started()
    locked, go_on = asyncio.Event(), asyncio.Event()
    refuse_parks = journal._refuse_parks

    async def paused(tx: Tx, batch: Any, results: Any) -> None:
        locked.set()
        await go_on.wait()
        await refuse_parks(tx, batch, results)

    monkeypatch.setattr(journal, "_refuse_parks", paused)
    park = asyncio.create_task(store.park(claimed, wake_at=store.clock() + 1_000))
    await locked.wait()
    cancel = asyncio.create_task(store.cancel(claimed.run))
    await blocked(store, cancel)
    go_on.set()
    assert not (await park).open_again
    cancelled = await cancel
    assert cancelled is not None
    assert cancelled.cancelled
    assert (await store.run(claimed.run)).status is RunStatus.CANCELLED


async def test_a_head_that_another_claim_has_locked_is_skipped_and_not_waited_for(store: Store) -> None:
    started, other = await store.started(), await store.started()
    for one in (started, other):
        await store.append(one, said(EntryType.RUN_QUEUED), change=journal.Release())
    claimed, go_on = asyncio.Event(), asyncio.Event()
    found = await store.claimable()
    first = [c for c in found if c.run_id == started.run.id]

    async def slow(tx: Tx) -> list[Claimed]:
        got = await claims.claim(tx, WORKER_A, first, {"a": "v1"}, LEASE_MS)
        claimed.set()
        await go_on.wait()
        return got

    taking = asyncio.create_task(store.write(slow, None))
    await claimed.wait()
    quick = await store.write(lambda tx: claims.claim(tx, WORKER_B, found, {"a": "v1"}, LEASE_MS), None)
    assert [c.run.id for c in quick] == [other.run.id]
    assert not taking.done()
    go_on.set()
    assert [c.run.id for c in await taking] == [started.run.id]


async def test_a_zombie_between_requeue_and_the_next_claim_writes_nothing(store: Store) -> None:
    zombie = await store.started()
    requeued, go_on = asyncio.Event(), asyncio.Event()

    async def recover(tx: Tx) -> None:
        run = zombie.run
        assert await claims.requeue_orphan(tx, TENANT, run.thread_id, run.id, zombie.epoch, dead=True) is not None
        requeued.set()
        await go_on.wait()

    recovery = asyncio.create_task(store.write(recover, None))
    await requeued.wait()
    finish = Finish(end=End(status=RunStatus.SUCCEEDED))
    late = asyncio.create_task(store.append(zombie, said(EntryType.RUN_SUCCEEDED), change=finish))
    await blocked(store, late)
    assert not late.done()
    go_on.set()
    await recovery
    assert (await late).refused
    again = await store.claim_one(WORKER_B)
    assert (await store.append(zombie, step("s#1"))).refused
    assert not (await store.append(again, step("s#1"))).refused


async def test_owners_renew_in_the_order_of_heads_while_batches_write(store: Store) -> None:
    """Many runs locked by renewals, batches and claims at once never deadlock: all go in the order of ids."""
    owned = [await store.started() for _ in range(12)]
    held = [(bytes(TENANT), bytes(c.run.id), c.epoch) for c in reversed(owned)]
    work: list[Any] = []
    for n in range(6):
        order = owned[::-1] if n % 2 else owned
        work.append(store.append_all([append_of(c, step(f"s#{n}")) for c in order]))
        work.append(store.write(lambda tx: heads.renew(tx, WORKER_A, held, LEASE_MS), None))
    outcomes = await asyncio.gather(*work)
    assert all(len(o) == 12 for o in outcomes)
    for claimed in owned:
        assert_dense(await store.journal(claimed.run), await store.head(claimed.run))
