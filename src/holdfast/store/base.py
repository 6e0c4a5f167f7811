"""What a transaction is, on every database; and what a dialect must bring.

A store function is `async` and takes a `Tx`. On PostgreSQL its awaits go to the server. On SQLite nothing ever
suspends, so the same function runs to its end inside one thread (`run_now`): the writer thread for writes, a reader
thread for reads. This is why a transaction's body may await nothing but its own statements; `run_now` asserts it.

The alternative, SQLAlchemy's async engine over aiosqlite, costs several times more per statement and gives every
verb its own commit; Core still owns the tables, the types and the SQL text here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy.sql.expression import Executable

from holdfast.domain.errors import HoldfastError, Unavailable
from holdfast.domain.ids import TenantId

T = TypeVar("T")
Row = Sequence[Any]
Params = Mapping[str, Any]
CommitPoint = Literal["before_commit", "after_commit"]
Faults = Callable[[CommitPoint], None]


class Rejected(HoldfastError):
    """The database refused a row: a constraint, a value out of range, an encoding. The transaction is undone."""

    code = "store_rejected"


class Tx(Protocol):
    """A transaction. `now_ms` is the database's clock when it began; `tenant_id` is None only in a system one."""

    @property
    def now_ms(self) -> int: ...

    @property
    def tenant_id(self) -> TenantId: ...

    @property
    def locks_rows(self) -> bool:
        """False where a transaction already excludes every other writer (SQLite): row locks need no statement."""
        ...

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        """Run a write; how many rows it changed."""
        ...

    async def all(self, statement: Executable, params: Params | None = None) -> list[Row]: ...

    async def first(self, statement: Executable, params: Params | None = None) -> Row | None: ...

    async def execute_many(self, statement: Executable, rows: Sequence[Params]) -> None: ...

    async def insert_many(self, statement: Executable, rows: Sequence[Row]) -> None:
        """The journal's fast path: rows already in the order of the statement's parameters."""
        ...

    async def fetch_many(self, statement: Executable, rows: Sequence[Params]) -> list[Row]:
        """Run a statement with RETURNING once per row of parameters; all that they returned, in order."""
        ...

    async def compute(self, fn: Callable[..., T], /, *args: Any) -> T:
        """What a pure function makes of what was read, where that takes a while: never in the event loop."""
        ...


class Session(Protocol):
    """A transaction that user code drives, statement by statement, for a bounded time (`Database.session`)."""

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        """Run a write; how many rows it changed."""
        ...

    async def rows(self, statement: Executable, params: Params | None = None) -> list[dict[str, Any]]:
        """Run a query, or a write with RETURNING; its rows by column name."""
        ...

    async def finish(self, body: TxBody[T]) -> T:
        """Run `body` as the last thing in the transaction, and commit. Raises like `Database.write`."""
        ...


TxBody = Callable[[Tx], Coroutine[Any, Any, T]]


class Lessor(Protocol):
    """What the lease thread uses: blocking, and never through the event loop, which may be stuck."""

    def renew(self, owner: bytes, held: Sequence[tuple[bytes, bytes, int]], lease_ms: int) -> Sequence[Row]:
        """Extend the leases of `(tenant_id, run_id, epoch)`; rows `(run_id, cancel)` of those that are still ours.

        Raises `Unavailable` when the database cannot be reached in time.
        """
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """One database, opened once per process. Methods are called from the event loop that opened it."""

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]: ...

    @property
    def url(self) -> str:
        """Without the password: fit for logs."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        """Run `body` in a transaction; its result once it is durable. `None` as tenant: a system transaction.

        Raises what the body raised, with nothing done; `Unavailable` when the database cannot be reached, with
        nothing done; `OutcomeUnknown` when the commit's fate is unknown. The body may run more than once.
        """
        ...

    async def read(self, tenant_id: TenantId | None, body: TxBody[T]) -> T:
        """Run `body`, which must not write, on a consistent snapshot."""
        ...

    def session(self, tenant_id: TenantId, within_ms: int) -> AbstractAsyncContextManager[Session]:
        """A transaction that stays open between statements, for at most `within_ms`; undone unless it is finished.

        On SQLite nobody else in the process writes meanwhile. Raises `Unavailable` (`transaction_timeout`) from the
        statement that comes too late.
        """
        ...

    def about_now(self) -> int:
        """The database's clock, ms, without asking it: as it was seen last, carried on by ours.

        Timers are set and looked at by it, and decided in a transaction.
        """
        ...

    def submit(self, body: TxBody[T], done: Callable[[T | BaseException], None], failed: Callable[[], None]) -> None:
        """Queue a system transaction on the one serial lane of the journal writer; `done` is called on the loop.

        `failed` is called in the lane, maybe from another thread, before the next body runs there.
        """
        ...

    def lessor(self) -> Lessor: ...

    def hold(self, owner: bytes) -> None:
        """Show that this process is alive as `owner`, in a way that ends with the process (SQLite: an OS lock)."""
        ...

    def is_dead(self, owner: bytes) -> bool | None:
        """Whether the process that held `owner` is gone; None where only its leases can tell (PostgreSQL)."""
        ...

    async def changed_elsewhere(self) -> bool | None:
        """Whether another process wrote since this was last asked; None where the database can tell by itself."""
        ...


def too_late(within_ms: int) -> Unavailable:
    """What the statement of a session hears that comes after its time."""
    return Unavailable(
        f"The transaction was open for longer than {within_ms:,} ms and was undone; do less in it, or wait for nothing "
        "else while it is open.",
        code="transaction_timeout",
    )


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a store function to its end where no statement suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("a transaction's body awaited something other than its own statements")
