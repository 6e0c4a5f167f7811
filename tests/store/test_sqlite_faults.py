"""SQLite when the file is locked, full or closed: nothing is lost, and verbs are told in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import DefinitionError, Unavailable
from holdfast.domain.ids import LOCAL_ADMIN, ThreadId
from holdfast.store import threads
from holdfast.store import writer as writer_module
from holdfast.store.base import Tx
from holdfast.store.sqlite import SqliteDatabase
from holdfast.store.writer import JournalWriter
from holdfast.testing.store import MIDNIGHT_MS, TENANT, Clock, Store, append_of, assert_dense, step
from tests import databases

BUSY_MS = 50
_LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("unlocked", flush=True)
"""


@contextmanager
def locked_by_another_process(path: str) -> Iterator[Any]:
    """The file is locked for writing until the block ends, or `unlock()` is called."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LOCKER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"

    def unlock() -> None:
        if process.poll() is None:
            process.communicate("\n", timeout=10)

    try:
        yield unlock
    finally:
        unlock()


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    clock = Clock()
    determinism = Determinism(now_ms=clock, random=SYSTEM.random)
    async with databases.opened(sqlite_url, determinism=determinism, busy_ms=BUSY_MS) as database:
        store = Store(database, clock)
        await store.seed()
        yield store


def path_of(store: Store) -> str:
    return store.database.url.removeprefix("sqlite:///")


async def add_thread(store: Store) -> ThreadId:
    thread_id = ThreadId(store.new_id())
    await store.write(lambda tx: threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, tx.now_ms)))
    return thread_id


async def test_a_verb_is_refused_while_another_process_holds_the_lock(store: Store) -> None:
    before = await store.snapshot()
    with locked_by_another_process(path_of(store)):
        with pytest.raises(Unavailable, match="nothing was done"):
            await add_thread(store)
        assert await store.snapshot() == before, "readers go on meanwhile"
    await add_thread(store)


async def test_appends_wait_while_another_process_holds_the_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_MS", 1)
    claimed = await store.started()
    writer = JournalWriter(store.database, lambda op, result: None)
    tries: list[int] = []
    again_later = writer._again_later
    monkeypatch.setattr(writer, "_again_later", lambda taken: (tries.append(len(taken)), again_later(taken)))
    with locked_by_another_process(path_of(store)) as unlock:
        futures = [writer.append(append_of(claimed, step(f"s#{n}"))) for n in range(5)]
        while len(tries) < 3:
            await asyncio.wait(futures, timeout=0.005)
        assert not any(f.done() for f in futures)
        assert writer.backlog == 5
        await asyncio.to_thread(unlock)
        await asyncio.gather(*futures)
    writer.close()
    found = await store.journal(claimed.run)
    assert [e.key for e in found if e.seq] == [f"s#{n}" for n in range(5)]
    assert_dense(found, await store.head(claimed.run))


def limit_pages(store: Store, more: int | None) -> Any:
    """Let the writer's own connection grow the file by so many pages at most."""

    async def body(tx: Tx) -> None:
        row = await tx.first(text("PRAGMA page_count"))
        assert row is not None
        await tx.first(text(f"PRAGMA max_page_count = {1_000_000 if more is None else row[0] + more}"))

    return store.write(body, None)


async def lift_limit(store: Store) -> None:
    """Also when it shares its transaction with a write that still fills the disk."""
    while True:
        with contextlib.suppress(Unavailable):
            return await limit_pages(store, None)


async def test_a_full_disk_loses_nothing_and_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_MS", 1)
    claimed = await store.started()
    await limit_pages(store, 2)
    big = b'"' + b"x" * 20_000 + b'"'
    with pytest.raises(Unavailable, match="full"):
        await store.append(claimed, *[step(f"v#{n}", payload=big) for n in range(4)])
    writer = JournalWriter(store.database, lambda op, result: None)
    tries: list[int] = []
    again_later = writer._again_later
    monkeypatch.setattr(writer, "_again_later", lambda taken: (tries.append(len(taken)), again_later(taken)))
    futures = [writer.append(append_of(claimed, step(f"s#{n}", payload=big))) for n in range(6)]
    while len(tries) < 2:
        await asyncio.wait(futures, timeout=0.005)
    assert not all(f.done() for f in futures)
    await lift_limit(store)
    await asyncio.gather(*futures)
    writer.close()
    found = await store.journal(claimed.run)
    assert [e.key for e in found if e.seq] == [f"s#{n}" for n in range(6)]
    assert_dense(found, await store.head(claimed.run))


async def test_work_beside_a_statement_that_fills_the_disk_is_not_half_done(store: Store) -> None:
    """SQLite may undo the whole transaction: then the verbs that shared it are told, none is half there."""
    claimed = await store.started()
    await limit_pages(store, 2)
    big = b'"' + b"x" * 20_000 + b'"'
    small = [add_thread(store) for _ in range(5)]
    outcomes = await asyncio.gather(
        *small[:2],
        store.append(claimed, *[step(f"v#{n}", payload=big) for n in range(4)]),
        *small[2:],
        return_exceptions=True,
    )
    await lift_limit(store)
    assert isinstance(outcomes[2], Unavailable)
    there = {row[1] for row in (await store.snapshot())["threads"]} - {claimed.run.thread_id}
    assert there == {o for o in outcomes if isinstance(o, bytes)}
    assert [e.key for e in await store.journal(claimed.run) if e.seq] == []


async def test_a_body_that_awaits_something_else_is_a_bug_that_is_told(store: Store) -> None:
    before = await store.snapshot()

    async def body(tx: Tx) -> None:
        await threads.add(tx, threads.new(TENANT, ThreadId(store.new_id()), LOCAL_ADMIN, tx.now_ms))
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="awaited something other than its own statements"):
        await store.write(body)
    assert await store.snapshot() == before


async def test_a_closed_database_refuses_work(sqlite_url: str) -> None:
    database = SqliteDatabase(sqlite_url.removeprefix("sqlite:///"))
    await database.open()
    store = Store(database, Clock())
    await store.seed()
    await database.close()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(add_thread(store), 10)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(store.snapshot(), 10)
    with pytest.raises(Unavailable):
        await asyncio.to_thread(database.lessor().renew, b"w" * 16, [], 1)


async def test_closing_finishes_what_was_queued(sqlite_url: str) -> None:
    database = SqliteDatabase(sqlite_url.removeprefix("sqlite:///"))
    await database.open()
    store = Store(database, Clock())
    await store.seed()
    queued = [asyncio.create_task(add_thread(store)) for _ in range(3 * limits.BATCH_OPS_MAX)]
    await asyncio.sleep(0)
    await database.close()
    made = set(await asyncio.wait_for(asyncio.gather(*queued), 30))
    async with databases.opened(sqlite_url) as again:
        assert {row[1] for row in (await Store(again, Clock()).snapshot())["threads"]} == made


async def test_two_processes_may_share_the_file_and_see_each_others_commits(store: Store, sqlite_url: str) -> None:
    assert await store.database.changed_elsewhere() is False
    async with databases.opened(sqlite_url) as other:
        theirs = Store(other, Clock(MIDNIGHT_MS + 1_000_000))
        await add_thread(theirs)
        assert await store.database.changed_elsewhere() is True
        assert await store.database.changed_elsewhere() is False
        await add_thread(store)
        assert await store.database.changed_elsewhere() is False, "our own commits are not news"
        assert await other.changed_elsewhere() is False
        await add_thread(store)
        assert await other.changed_elsewhere() is True


async def test_an_owner_is_alive_as_long_as_its_process_holds_its_lock(store: Store, sqlite_url: str) -> None:
    database = store.database
    assert database.is_dead(b"n" * 16) is True, "nobody ever held it"
    database.hold(b"m" * 16)
    assert database.is_dead(b"m" * 16) is False
    program = (
        "import sys; from holdfast.store.sqlite import SqliteDatabase as D; d = D(sys.argv[1]);"
        "d.hold(b'o' * 16); print('held', d.is_dead(b'm' * 16), flush=True); sys.stdin.readline()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        path_of(store),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held False\n"
    assert database.is_dead(b"o" * 16) is False
    process.kill()
    await process.communicate()
    assert database.is_dead(b"o" * 16) is True
    database.forget(b"o" * 16)
    assert not any("6f6f6f" in name for name in os.listdir(f"{path_of(store)}.workers"))
    async with databases.opened(sqlite_url) as other:
        assert other.is_dead(b"m" * 16) is False


def test_memory_and_network_files_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in ("", ":memory:"):
        with pytest.raises(DefinitionError):
            SqliteDatabase(path)
    monkeypatch.setattr("holdfast.store.sqlite._file_system_of", lambda path: "nfs4")

    async def open() -> None:
        await SqliteDatabase(str(tmp_path / "x.db")).open()

    with pytest.raises(DefinitionError, match="nfs4"):
        asyncio.run(open())


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(Unavailable):
        await SqliteDatabase(str(path)).open()


def test_commits_are_synced_in_full(sqlite_url: str) -> None:
    async def run() -> None:
        async with databases.opened(sqlite_url) as database:

            async def pragmas(tx: Tx) -> list[Any]:
                rows = [
                    await tx.first(text(f"PRAGMA {name}")) for name in ("synchronous", "journal_mode", "foreign_keys")
                ]
                return [row[0] for row in rows if row is not None]

            assert await database.write(None, pragmas) == [2, "wal", 1]

    asyncio.run(run())
    assert sqlite3.sqlite_version_info >= (3, 35), "RETURNING"
