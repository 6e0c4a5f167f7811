"""SQLite (WAL, synchronous=FULL): one writer thread for all writes of the process, readers with their own connections.

The writer takes whatever is queued, runs each body under a savepoint and commits once: verbs and journal batches
share the fsync. A body that fails is rolled back alone. Other processes on the same host may use the same file;
`BEGIN IMMEDIATE` and the busy timeout order their writers. Network file systems are refused: their locks lie.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.sql.expression import Executable

from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import DefinitionError, Unavailable
from holdfast.domain.ids import TenantId
from holdfast.store import heads
from holdfast.store.base import Faults, Params, Rejected, Row, Tx, TxBody, run_now, too_late
from holdfast.store.compile import Compiled, compiler

T = TypeVar("T")

_compiled = compiler(sqlite_dialect.dialect(paramstyle="qmark"))  # pyright: ignore[reportArgumentType]
LOCK_FILE_KEPT_S = 60
# How many steps of its virtual machine SQLite takes between two looks at the clock: some 0.1 ms of work.
PROGRESS_OPS = 10_000
_DATA_VERSION = text("PRAGMA data_version")
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"}
)


class SqliteTx:
    """A `Tx` on one sqlite3 connection; its awaits never suspend."""

    __slots__ = ("_connection", "_tenant_id", "now_ms")
    locks_rows = False

    def __init__(self, connection: sqlite3.Connection, tenant_id: TenantId | None, now_ms: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self.now_ms = now_ms

    @property
    def tenant_id(self) -> TenantId:
        assert self._tenant_id is not None, "a system transaction has no tenant of its own"
        return self._tenant_id

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        compiled: Compiled = _compiled(statement)
        return self._connection.execute(compiled.sql, compiled.bind(params)).rowcount

    async def all(self, statement: Executable, params: Params | None = None) -> list[Row]:
        compiled: Compiled = _compiled(statement)
        return self._connection.execute(compiled.sql, compiled.bind(params)).fetchall()

    async def first(self, statement: Executable, params: Params | None = None) -> Row | None:
        compiled: Compiled = _compiled(statement)
        rows = self._connection.execute(compiled.sql, compiled.bind(params)).fetchall()
        return rows[0] if rows else None

    async def compute(self, fn: Callable[..., T], /, *args: Any) -> T:
        return fn(*args)

    async def execute_many(self, statement: Executable, rows: Sequence[Params]) -> None:
        compiled: Compiled = _compiled(statement)
        bind = compiled.bind
        self._connection.executemany(compiled.sql, [bind(row) for row in rows])

    async def insert_many(self, statement: Executable, rows: Sequence[Row]) -> None:
        self._connection.executemany(_compiled(statement).sql, rows)

    async def fetch_many(self, statement: Executable, rows: Sequence[Params]) -> list[Row]:
        compiled: Compiled = _compiled(statement)
        found: list[Row] = []
        for row in rows:
            found.extend(self._connection.execute(compiled.sql, compiled.bind(row)).fetchall())
        return found


@dataclass(slots=True)
class _Item:
    """A body waiting for the writer, and what became of it."""

    tenant_id: TenantId | None
    body: TxBody[Any]
    done: Callable[[Any], None] | None = None  # called on the event loop
    on_failure: Callable[[], None] | None = None  # called in the writer's thread
    future: Future[Any] | None = None  # or resolved from the writer's thread
    result: Any = None
    failed: bool = False


Command = Callable[[sqlite3.Connection, int], Any]


class SqliteSession:
    """A `Session`: its commands go one by one to the writer thread, which serves nobody else until it ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tenant_id: TenantId, within_ms: int) -> None:
        self.within_ms = within_ms
        self._loop = loop
        self._tenant_id = tenant_id
        self._commands: queue.SimpleQueue[tuple[Command, bool, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = False

    # -- on the event loop ----------------------------------------------------------------------------------------

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        compiled: Compiled = _compiled(statement)
        bound = compiled.bind(params)
        return await self._send(lambda connection, _: connection.execute(compiled.sql, bound).rowcount)

    async def rows(self, statement: Executable, params: Params | None = None) -> list[dict[str, Any]]:
        compiled: Compiled = _compiled(statement)
        bound = compiled.bind(params)

        def command(connection: sqlite3.Connection, now: int) -> list[dict[str, Any]]:
            cursor = connection.execute(compiled.sql, bound)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        return await self._send(command)

    async def finish(self, body: TxBody[T]) -> T:
        def command(connection: sqlite3.Connection, now: int) -> T:
            return run_now(body(cast(Tx, SqliteTx(connection, self._tenant_id, now))))

        return await self._send(command, last=True)

    async def _send(self, command: Command, *, last: bool = False) -> Any:
        answer: asyncio.Future[Any] = self._loop.create_future()
        with self._lock:
            if self._ended:
                raise too_late(self.within_ms)
            self._commands.put((command, last, answer))
        return await answer

    def let_go(self) -> None:
        """Undo what was not finished."""
        self._commands.put(None)

    # -- in the writer thread -------------------------------------------------------------------------------------

    def take(self, within_ms: float) -> tuple[Command, bool, asyncio.Future[Any]] | None:
        """The next command; None when there will be none, or none came in time."""
        try:
            return self._commands.get(timeout=max(0.0, within_ms / 1000))
        except queue.Empty:
            return None

    def answer(self, future: asyncio.Future[Any], result: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_answer, future, result)

    def end(self, reason: BaseException) -> None:
        """Serve no more; what was sent meanwhile hears why."""
        with self._lock:
            self._ended = True
        while not self._commands.empty():
            late = self._commands.get()
            if late is not None:
                self.answer(late[2], reason)


class SqliteDatabase:
    """`Database` on a SQLite file. `:memory:` is refused: every thread would get a database of its own."""

    dialect: Literal["sqlite", "postgresql"] = "sqlite"

    def __init__(
        self,
        path: str,
        *,
        determinism: Determinism = SYSTEM,
        faults: Faults | None = None,
        busy_ms: int = limits.SQLITE_BUSY_MS,
        readers: int = limits.SQLITE_READERS,
    ) -> None:
        self.path = _usable(path)
        self.url = f"sqlite:///{self.path}"
        self._now_ms = determinism.now_ms
        self._monotonic_ms = determinism.monotonic_ms
        self._faults = faults
        self._busy_ms = busy_ms
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="holdfast-read")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._queue: queue.SimpleQueue[_Item | SqliteSession | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._locks: dict[bytes, int] = {}
        self._version: int | None = None
        self._kept: SqliteSession | None = None
        self._closed = False

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        _refuse_network_file_system(self.path)
        connection = await asyncio.to_thread(self._connect)
        self._thread = threading.Thread(target=self._write_loop, args=(connection,), name="holdfast-write", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._refuse_the_rest()
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        for owner, descriptor in self._locks.items():
            self.forget(owner)
            os.close(descriptor)
        self._locks.clear()

    def _refuse_the_rest(self) -> None:
        """Answer what was queued from another thread at the moment of closing."""
        late: list[_Item] = []
        while not self._queue.empty():
            item = self._queue.get()
            if isinstance(item, SqliteSession):
                item.end(_closing())
            elif item is not None:
                item.failed, item.result = True, _closing()
                late.append(item)
        for item in late:
            if item.on_failure is not None:
                item.on_failure()
        self._report(late)

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=self._busy_ms / 1000,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as exc:
            raise Unavailable(f"Cannot open the SQLite database {self.path}: {exc}") from exc
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA wal_autocheckpoint=2000")
        self._opened.append(connection)
        return connection

    # -- transactions -------------------------------------------------------------------------------------------

    async def write(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        assert self._loop is not None, "the database is not open"
        answer: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any) -> None:
            if answer.done():
                return
            if isinstance(result, BaseException):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        self._enqueue(_Item(tenant_id, body, done=done))
        return cast(T, await answer)

    def about_now(self) -> int:
        return self._now_ms()

    def submit(self, body: TxBody[T], done: Callable[[T | BaseException], None], failed: Callable[[], None]) -> None:
        self._enqueue(_Item(None, body, done=done, on_failure=failed))

    def _enqueue(self, item: _Item) -> None:
        if self._closed:
            raise _closing()
        if self._queue.qsize() >= limits.WRITER_QUEUE_OPS_MAX:
            raise Unavailable("The database's write queue is full; try again later.", code="store_overloaded")
        self._queue.put(item)

    async def read(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        assert self._loop is not None, "the database is not open"
        if self._closed:
            raise _closing()
        return await self._loop.run_in_executor(self._readers, self._read, tenant_id, body)

    def _read(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        try:
            connection.execute("BEGIN")
            try:
                return run_now(body(cast(Tx, SqliteTx(connection, tenant_id, self._now_ms()))))
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            raise _translated(exc) from exc

    @contextlib.asynccontextmanager
    async def session(self, tenant_id: TenantId, within_ms: int) -> AsyncGenerator[SqliteSession]:
        assert self._loop is not None, "the database is not open"
        if self._closed:
            raise _closing()
        session = SqliteSession(self._loop, tenant_id, within_ms)
        self._queue.put(session)
        try:
            yield session
        finally:
            session.let_go()

    # -- the writer thread --------------------------------------------------------------------------------------

    def _write_loop(self, connection: sqlite3.Connection) -> None:
        while True:
            items = self._take()
            if isinstance(items, SqliteSession):
                self._serve(connection, items)
                continue
            if items:
                self._transaction(connection, items)
                for item in items:
                    if item.failed and item.on_failure is not None:
                        item.on_failure()
                self._report(items)
            if items is None:
                return

    def _take(self) -> list[_Item] | SqliteSession | None:
        """What waits, at least one item; or a session, which is served alone. None when the database closes."""
        first = self._kept or self._queue.get()
        self._kept = None
        if first is None or isinstance(first, SqliteSession):
            return first
        items = [first]
        while len(items) < limits.BATCH_OPS_MAX:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            if isinstance(item, SqliteSession):
                self._kept = item
                break
            items.append(item)
        return items

    def _serve(self, connection: sqlite3.Connection, session: SqliteSession) -> None:
        """Do what a session asks until it is finished, let go, or its time is over. Its clock starts here."""
        reason: BaseException = too_late(session.within_ms)
        try:
            connection.execute("BEGIN IMMEDIATE")
            now, until = self._now_ms(), self._monotonic_ms() + session.within_ms
            # A single statement may take longer than all of it may: nobody else can write meanwhile.
            connection.set_progress_handler(lambda: self._monotonic_ms() > until, PROGRESS_OPS)
            while (taken := session.take(until - self._monotonic_ms())) is not None:
                command, last, answer = taken
                session.answer(answer, self._obey(connection, command, now, session.within_ms, last=last))
                if last:
                    break
        except sqlite3.Error as exc:
            reason = _translated(exc)
        finally:
            connection.set_progress_handler(None, 0)
            self._undo(connection)
            session.end(reason)

    def _obey(self, connection: sqlite3.Connection, command: Command, now: int, within_ms: int, *, last: bool) -> Any:
        """One command of a session; the last one commits. What it returned, or why it could not."""
        try:
            if not connection.in_transaction:
                raise Unavailable("The database undid this transaction; nothing was done.")
            result = command(connection, now)
            if last:
                if self._faults:
                    self._faults("before_commit")
                connection.execute("COMMIT")
                if self._faults:
                    self._faults("after_commit")
            return result
        except BaseException as exc:
            if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                return too_late(within_ms)
            return _translated(exc)

    def _transaction(self, connection: sqlite3.Connection, items: list[_Item]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            now = self._now_ms()
            for item in items:
                self._run(connection, item, now)
            if self._faults:
                self._faults("before_commit")
            connection.execute("COMMIT")
        except BaseException as exc:
            self._undo(connection)
            for item in items:
                if not item.failed:
                    item.failed, item.result = True, _translated(exc)
            return
        if self._faults:
            try:
                self._faults("after_commit")
            except Exception as exc:
                for item in items:
                    if not item.failed:
                        item.failed, item.result = True, exc

    def _run(self, connection: sqlite3.Connection, item: _Item, now: int) -> None:
        connection.execute("SAVEPOINT item")
        try:
            item.result = run_now(item.body(cast(Tx, SqliteTx(connection, item.tenant_id, now))))
        except BaseException as exc:
            item.failed, item.result = True, _translated(exc)
            if not connection.in_transaction:
                raise  # the database undid everything (disk full, I/O error): nobody's work stands
            connection.execute("ROLLBACK TO item")
        connection.execute("RELEASE item")

    @staticmethod
    def _undo(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # already undone by the failure itself

    def _report(self, items: list[_Item]) -> None:
        """One hop to the event loop for the whole batch: a hop costs more than a row."""
        for item in items:
            if item.future is not None:
                _resolve(item.future, item.result)
        called = [item for item in items if item.done is not None]
        if called and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(_call_all, called)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

    # -- leases and liveness ------------------------------------------------------------------------------------

    def lessor(self) -> SqliteLessor:
        return SqliteLessor(self)

    def run_blocking(self, body: TxBody[T], timeout_ms: int) -> T:
        """Run a system transaction from a thread that is not the event loop's."""
        future: Future[Any] = Future()
        self._enqueue(_Item(None, body, future=future))
        try:
            return cast(T, future.result(timeout_ms / 1000))
        except TimeoutError as exc:
            raise Unavailable("The database did not answer in time.") from exc

    def hold(self, owner: bytes) -> None:
        directory = Path(f"{self.path}.workers")
        directory.mkdir(exist_ok=True)
        self._sweep(directory)
        descriptor = os.open(directory / f"{owner.hex()}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._locks[owner] = descriptor

    def _sweep(self, directory: Path) -> None:
        """Remove lock files of dead owners. Young ones are left alone: their owner may be about to lock them. A missing
        file says the same as a free lock, so nothing is forgotten by this."""
        for path in directory.glob("*.lock"):
            with contextlib.suppress(OSError, ValueError):
                old = self._now_ms() / 1000 - path.stat().st_mtime > LOCK_FILE_KEPT_S
                if old and self.is_dead(bytes.fromhex(path.stem)):
                    path.unlink()

    def is_dead(self, owner: bytes) -> bool | None:
        """An owner whose lock can be taken is gone: the system released it with the process."""
        if owner in self._locks:
            return False
        path = Path(f"{self.path}.workers") / f"{owner.hex()}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def forget(self, owner: bytes) -> None:
        """Remove the lock file of a dead owner, once none of its runs is left."""
        Path(f"{self.path}.workers", f"{owner.hex()}.lock").unlink(missing_ok=True)

    async def changed_elsewhere(self) -> bool | None:
        """Asked on the writer's own connection: `data_version` moves there only for commits that are not ours."""

        async def version(tx: Tx) -> int:
            row = await tx.first(_DATA_VERSION)
            assert row is not None
            return int(row[0])

        now = await self.write(None, version)
        before, self._version = self._version, now
        return before is not None and before != now


class SqliteLessor:
    """Renews through the writer thread, which does not depend on the event loop."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def renew(self, owner: bytes, held: Sequence[tuple[bytes, bytes, int]], lease_ms: int) -> Sequence[Row]:
        return self._database.run_blocking(lambda tx: heads.renew(tx, owner, held, lease_ms), limits.STORE_WAIT_MS)

    def close(self) -> None:
        pass


def _call_all(items: list[_Item]) -> None:
    for item in items:
        if item.done is not None:
            item.done(item.result)


def _resolve(future: Future[Any], result: Any) -> None:
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _closing() -> Unavailable:
    return Unavailable("The database is closed; nothing was done.", code="draining")


def _translated(exc: BaseException) -> BaseException:
    """Driver errors, in one place: what the database refuses is `Rejected`, what it cannot do now is `Unavailable`."""
    if isinstance(exc, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
        return Rejected(f"SQLite refused a row: {exc}")
    if isinstance(exc, (OverflowError, UnicodeEncodeError)):
        return Rejected(f"SQLite refused a value: {exc}")
    if isinstance(exc, sqlite3.ProgrammingError):
        return Rejected(f"SQLite refused a statement: {exc}")
    if isinstance(exc, sqlite3.Error):
        return Unavailable(f"SQLite cannot do this now ({exc}); nothing was done.")
    return exc


def _usable(path: str) -> str:
    if path in ("", ":memory:"):
        raise DefinitionError(
            "SQLite needs a file: sqlite:///holdfast.db (an in-memory database would lose every run)."
        )
    return str(Path(path).expanduser().resolve())


def _refuse_network_file_system(path: str) -> None:
    kind = _file_system_of(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise DefinitionError(
            f"{path} is on a network file system ({kind}), whose locks SQLite cannot trust. Use a local disk or "
            "PostgreSQL."
        )


def _file_system_of(path: str) -> str | None:
    """The type of the mount that holds `path`, where the system tells (Linux)."""
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return None
    best, kind = "", None
    for line in mounts:
        fields = line.split()
        if len(fields) > 2:
            point = fields[1].replace("\\040", " ")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, fields[2]
    return kind
