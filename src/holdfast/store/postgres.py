# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# (asyncpg ships no types)
"""PostgreSQL through asyncpg: a pool for verbs and reads, one connection for the journal writer, one for leases.

A commit whose answer is lost is settled by asking the server what became of the transaction id; only if that cannot
be asked either is the outcome unknown. Deadlocks and serialisation failures run the body again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.sql.expression import Executable

from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import OutcomeUnknown, Unavailable
from holdfast.domain.ids import TenantId
from holdfast.store import heads, urls
from holdfast.store.base import Faults, Params, Rejected, Row, Tx, TxBody, too_late
from holdfast.store.compile import Compiled, compiler

T = TypeVar("T")

_compiled = compiler(asyncpg_dialect.dialect())
_RERUN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_RERUNS_MAX = 5
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_current_xact_id()::text"
_CLOCK_READ = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver has lost its place, as when a server stops in the middle of an answer
    asyncpg.OperatorInterventionError,  # shutdown, crash, cancelled query, cannot connect now
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.PostgresSystemError,  # an I/O error of the server's
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    TimeoutError,
)


class PostgresTx:
    """A `Tx` on one asyncpg connection."""

    __slots__ = ("_connection", "_tenant_id", "now_ms")
    locks_rows = True

    def __init__(self, connection: Any, tenant_id: TenantId | None, now_ms: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self.now_ms = now_ms

    @property
    def tenant_id(self) -> TenantId:
        assert self._tenant_id is not None, "a system transaction has no tenant of its own"
        return self._tenant_id

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        compiled: Compiled = _compiled(statement)
        status: str = await self._connection.execute(compiled.sql, *compiled.bind(params))
        count = status.rsplit(" ", 1)[-1]
        return int(count) if count.isdigit() else 0

    async def all(self, statement: Executable, params: Params | None = None) -> list[Row]:
        compiled: Compiled = _compiled(statement)
        return [tuple(row) for row in await self._connection.fetch(compiled.sql, *compiled.bind(params))]

    async def first(self, statement: Executable, params: Params | None = None) -> Row | None:
        compiled: Compiled = _compiled(statement)
        row = await self._connection.fetchrow(compiled.sql, *compiled.bind(params))
        return None if row is None else tuple(row)

    async def compute(self, fn: Callable[..., T], /, *args: Any) -> T:
        return await asyncio.to_thread(fn, *args)

    async def execute_many(self, statement: Executable, rows: Sequence[Params]) -> None:
        compiled: Compiled = _compiled(statement)
        await self._connection.executemany(compiled.sql, [compiled.bind(row) for row in rows])

    async def insert_many(self, statement: Executable, rows: Sequence[Row]) -> None:
        await self._connection.executemany(_compiled(statement).sql, rows)

    async def fetch_many(self, statement: Executable, rows: Sequence[Params]) -> list[Row]:
        compiled: Compiled = _compiled(statement)
        found = await self._connection.fetchmany(compiled.sql, [compiled.bind(row) for row in rows])
        return [tuple(row) for row in found]


class PostgresSession:
    """A `Session` on a connection of its own. The server itself ends it when it idles for too long."""

    def __init__(
        self, database: PostgresDatabase, connection: Any, tenant_id: TenantId, within_ms: int, faults: Faults | None
    ) -> None:
        self._database = database
        self._connection = connection
        self._tenant_id = tenant_id
        self._within_ms = within_ms
        self._faults = faults
        self._until = 0.0
        self._now_ms = 0
        self._xid = ""
        self._open = False

    async def begin(self) -> None:
        try:
            self._now_ms, self._xid = await self._database.begin(self._connection)
            self._open = True
            await self._connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {self._within_ms:d}")
        except BaseException as exc:
            raise _translated(exc) from exc
        self._until = asyncio.get_running_loop().time() + self._within_ms / 1000

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        return await self._in_time(self._tx().execute(statement, params))

    async def rows(self, statement: Executable, params: Params | None = None) -> list[dict[str, Any]]:
        return await self._in_time(self._fetch(statement, params))

    async def _fetch(self, statement: Executable, params: Params | None) -> list[dict[str, Any]]:
        compiled: Compiled = _compiled(statement)
        return [dict(row) for row in await self._connection.fetch(compiled.sql, *compiled.bind(params))]

    async def finish(self, body: TxBody[T]) -> T:
        result = await self._in_time(body(cast(Tx, self._tx())))
        if self._faults:
            self._faults("before_commit")
        self._open = False
        await self._database.commit(self._connection, self._xid)
        return result

    def _tx(self) -> PostgresTx:
        return PostgresTx(self._connection, self._tenant_id, self._now_ms)

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        if asyncio.get_running_loop().time() >= self._until:  # the server has ended it, or will
            work.close()
            raise too_late(self._within_ms)
        timeout = asyncio.timeout_at(self._until)
        try:
            async with timeout:
                return await work
        except asyncpg.IdleInTransactionSessionTimeoutError:
            raise too_late(self._within_ms) from None
        except _RERUN as exc:
            raise Unavailable(f"The transaction met a conflict; nothing was done ({exc}).") from exc
        except BaseException as exc:
            if isinstance(exc, TimeoutError) and timeout.expired():
                raise too_late(self._within_ms) from None
            raise _translated(exc) from exc

    async def let_go(self) -> None:
        if self._open:
            await _rollback(self._connection)


@dataclass(slots=True)
class _Submitted:
    body: TxBody[Any]
    done: Callable[[Any], None]
    failed: Callable[[], None]


class PostgresDatabase:
    """`Database` on a PostgreSQL server."""

    dialect: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        determinism: Determinism = SYSTEM,
        faults: Faults | None = None,
        pool: int = limits.POSTGRES_POOL,
    ) -> None:
        parsed = urls.read(url)
        self.dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        self.url = urls.shown(parsed)
        self._pool_size = pool
        self._faults = faults
        self._frozen = None if determinism.now_ms is SYSTEM.now_ms else determinism.now_ms
        self._pool: Any = None
        self._lane: asyncio.Queue[_Submitted] = asyncio.Queue(limits.WRITER_QUEUE_OPS_MAX)
        self._lane_task: asyncio.Task[None] | None = None
        self._lane_connection: Any = None
        self._clock_ahead_ms = 0

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        try:
            self._pool = await asyncpg.create_pool(
                self.dsn, min_size=1, max_size=self._pool_size, reset=_nothing_to_reset, **_OPTIONS
            )
        except _GONE as exc:
            raise Unavailable(f"Cannot reach the database {self.url}: {exc}") from exc
        except asyncpg.PostgresError as exc:
            raise Unavailable(f"The database {self.url} refused the connection: {exc}") from exc
        self._lane_task = asyncio.create_task(self._run_lane(), name="holdfast-write")

    async def close(self) -> None:
        if self._lane_task is not None:
            self._lane_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lane_task
            self._lane_task = None
        while not self._lane.empty():
            submitted = self._lane.get_nowait()
            submitted.failed()
            submitted.done(Unavailable("The database is closing; nothing was done.", code="draining"))
        if self._lane_connection is not None:
            await _shut(self._lane_connection)
        if self._pool is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.STORE_WAIT_MS / 1000):
                    await self._pool.close()
                    return
            self._pool.terminate()

    # -- transactions -------------------------------------------------------------------------------------------

    async def write(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        async with self._connection() as connection:
            return await self._transact(connection, tenant_id, body)

    async def read(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        async with self._connection() as connection:
            try:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                result = await body(cast(Tx, PostgresTx(connection, tenant_id, self.about_now())))
                await connection.execute("COMMIT")
                return result
            except BaseException as exc:
                await _rollback(connection)
                raise _translated(exc) from exc

    @contextlib.asynccontextmanager
    async def session(self, tenant_id: TenantId, within_ms: int) -> AsyncGenerator[PostgresSession]:
        async with self._connection() as connection:
            session = PostgresSession(self, connection, tenant_id, within_ms, self._faults)
            try:
                await session.begin()
                yield session
            finally:
                await session.let_go()

    def about_now(self) -> int:
        """The server's clock as the last write saw it, carried on by ours."""
        return self._frozen() if self._frozen else SYSTEM.now_ms() + self._clock_ahead_ms

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Any]:
        try:
            connection = await self._pool.acquire(timeout=limits.STORE_WAIT_MS / 1000)
        except (*_GONE, asyncpg.PostgresError) as exc:
            raise Unavailable(f"Cannot reach the database {self.url}; nothing was done.") from exc
        try:
            yield connection
        finally:
            try:
                await self._pool.release(connection)
            except _GONE:
                _terminate(connection)

    async def _transact(self, connection: Any, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        for attempt in range(1, _RERUNS_MAX + 1):
            try:
                return await self._once(connection, tenant_id, body)
            except _RERUN as exc:
                if attempt == _RERUNS_MAX:
                    raise Unavailable(f"The transaction met too many conflicts; nothing was done ({exc}).") from exc
                await asyncio.sleep(SYSTEM.jitter(10 * attempt) / 1000)
        raise AssertionError("unreachable")

    async def _once(self, connection: Any, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        xid: str | None = None
        try:
            now, xid = await self.begin(connection)
            result = await body(cast(Tx, PostgresTx(connection, tenant_id, now)))
            if self._faults:
                self._faults("before_commit")
        except BaseException as exc:
            await _rollback(connection)
            if isinstance(exc, _RERUN):
                raise
            raise _translated(exc) from exc
        await self.commit(connection, str(xid))
        return result

    async def begin(self, connection: Any) -> tuple[int, str]:
        """Begin a transaction: the database's clock, and the transaction's id."""
        await connection.execute("BEGIN")
        now, xid = await connection.fetchrow(_CLOCK)
        self._clock_ahead_ms = now - SYSTEM.now_ms()
        return (self._frozen() if self._frozen else now), str(xid)

    async def commit(self, connection: Any, xid: str) -> None:
        """Commit; raises `OutcomeUnknown` only if nobody can be asked what became of it."""
        try:
            ended = await connection.execute("COMMIT")
        except BaseException as exc:
            if isinstance(exc, asyncpg.PostgresError) and not isinstance(exc, _GONE):
                raise _translated(exc) from exc
            await self._settle(connection, xid, exc)
        else:
            if ended != "COMMIT":  # a failed transaction "commits" as ROLLBACK, without an error
                raise Rejected("A statement was refused and its body went on as if it had not been; nothing was done.")
        if self._faults:
            self._faults("after_commit")

    async def _settle(self, connection: Any, xid: str, cause: BaseException) -> None:
        """Find out what became of a commit whose answer was lost. Returns if it was committed."""
        _terminate(connection)
        status = await asyncio.shield(asyncio.ensure_future(self._status_of(xid)))
        if status != "committed" and status != "aborted":
            raise OutcomeUnknown() from cause
        if isinstance(cause, asyncio.CancelledError):
            raise cause
        if status == "aborted":
            raise Unavailable("The database went away before the commit; nothing was done.") from cause

    async def _status_of(self, xid: str) -> str | None:
        """`committed`, `aborted`, or None when the server cannot be asked in time."""
        with contextlib.suppress(*_GONE, asyncpg.PostgresError):
            async with asyncio.timeout(limits.STORE_WAIT_MS / 1000):
                while True:
                    with contextlib.suppress(*_GONE):
                        connection = await asyncpg.connect(self.dsn, **_OPTIONS)
                        try:
                            status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", xid)
                        finally:
                            connection.terminate()
                        if status != "in progress":
                            return cast("str | None", status)
                    await asyncio.sleep(0.1)
        return None

    # -- the journal writer's lane ------------------------------------------------------------------------------

    def submit(self, body: TxBody[T], done: Callable[[T | BaseException], None], failed: Callable[[], None]) -> None:
        try:
            self._lane.put_nowait(_Submitted(body, done, failed))
        except asyncio.QueueFull:
            raise Unavailable("The database's write queue is full; try again later.", code="store_overloaded") from None

    async def _run_lane(self) -> None:
        while True:
            submitted = await self._lane.get()
            try:
                result: Any = await self._lane_once(submitted.body)
            except asyncio.CancelledError:
                submitted.failed()
                submitted.done(OutcomeUnknown())  # it may have been in its commit
                raise
            except BaseException as exc:
                submitted.failed()
                result = exc
            submitted.done(result)

    async def _lane_once(self, body: TxBody[Any]) -> Any:
        if self._lane_connection is None or self._lane_connection.is_closed():
            try:
                self._lane_connection = await asyncpg.connect(self.dsn, **_OPTIONS)
            except (*_GONE, asyncpg.PostgresError) as exc:
                raise Unavailable(f"Cannot reach the database {self.url}; nothing was done.") from exc
        return await self._transact(self._lane_connection, None, body)

    # -- leases and liveness ------------------------------------------------------------------------------------

    def lessor(self) -> PostgresLessor:
        return PostgresLessor(self)

    def hold(self, owner: bytes) -> None:
        """Nothing to hold: on PostgreSQL an owner is alive as long as its leases are."""

    def is_dead(self, owner: bytes) -> bool | None:
        return None

    async def changed_elsewhere(self) -> bool | None:
        return None

    def frozen_now(self) -> int | None:
        return self._frozen() if self._frozen else None


class PostgresLessor:
    """Renews on its own event loop and connection, in the thread that calls it first."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._loop = asyncio.new_event_loop()
        self._connection: Any = None
        self._lock = threading.Lock()

    def renew(self, owner: bytes, held: Sequence[tuple[bytes, bytes, int]], lease_ms: int) -> Sequence[Row]:
        with self._lock:
            return self._loop.run_until_complete(self._renew(owner, held, lease_ms))

    async def _renew(self, owner: bytes, held: Sequence[tuple[bytes, bytes, int]], lease_ms: int) -> list[Row]:
        try:
            async with asyncio.timeout(limits.STORE_WAIT_MS / 1000):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._database.dsn, **_OPTIONS)
                async with self._connection.transaction():
                    now = self._database.frozen_now() or await self._connection.fetchval(_CLOCK_READ)
                    return await heads.renew(cast(Tx, PostgresTx(self._connection, None, now)), owner, held, lease_ms)
        except (*_GONE, asyncpg.PostgresError) as exc:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise Unavailable(f"Cannot renew leases: {exc}") from exc

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._loop.run_until_complete(_shut(self._connection))
            self._loop.close()


_OPTIONS: dict[str, Any] = {
    "timeout": limits.STORE_WAIT_MS / 1000,
    "command_timeout": 60,
    "statement_cache_size": 512,
    "server_settings": {"application_name": "holdfast", "timezone": "UTC"},
}


async def _nothing_to_reset(_: Any) -> None:
    """A connection comes back after COMMIT or ROLLBACK, no session state changed: save the round trip."""


async def _rollback(connection: Any) -> None:
    """Undo, whatever state the connection is in; a connection that cannot is thrown away."""
    try:
        await asyncio.shield(_bounded(connection.execute("ROLLBACK")))
    except BaseException:
        _terminate(connection)


def _terminate(connection: Any) -> None:
    """Throw a connection away. One of the pool's that broke was already taken back by the pool, and says so."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _bounded(work: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.timeout(limits.STORE_WAIT_MS / 1000):
        await work


async def _shut(connection: Any) -> None:
    try:
        await connection.close(timeout=1)
    except (*_GONE, asyncpg.PostgresError):
        connection.terminate()


def _translated(exc: BaseException) -> BaseException:
    """Driver errors, in one place: what the database refuses is `Rejected`, what it cannot do now is `Unavailable`."""
    if isinstance(exc, _GONE):
        return Unavailable(f"The database cannot do this now ({exc or type(exc).__name__}); nothing was done.")
    if isinstance(exc, asyncpg.PostgresError):
        return Rejected(f"PostgreSQL refused a statement: {exc}")
    if isinstance(exc, asyncpg.exceptions.DataError):
        return Rejected(f"PostgreSQL refused a value: {exc}")
    return exc
