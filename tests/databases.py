"""Databases for tests: where PostgreSQL is, one fresh database per session, and a fast way back to empty.

PostgreSQL is looked for in this order: the URL in `HOLDFAST_TEST_POSTGRES`; a server on 127.0.0.1:5432 that trusts
`postgres` or this user; a private server started from `initdb` and `postgres`, found on PATH or under
/usr/lib/postgresql. With `HOLDFAST_REQUIRE_ALL=1` a missing server fails the tests that need it instead of skipping.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.engine import make_url

from holdfast.store import migrate
from holdfast.store.base import Database
from holdfast.store.postgres import PostgresDatabase
from holdfast.store.schema import metadata
from holdfast.store.sqlite import SqliteDatabase

T = TypeVar("T")

REQUIRE_ALL = os.environ.get("HOLDFAST_REQUIRE_ALL") == "1"
DELETE_ALL = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))


class NotFoundHere(Exception):
    """There is no PostgreSQL for these tests; the message says what was tried."""


def in_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end on a loop of its own, whatever loop the caller may be in."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(work())).result()


# -- where PostgreSQL is ------------------------------------------------------------------------------------------


@functools.cache
def postgres_server() -> str:
    """The URL of a server on which databases may be created. Raises `NotFoundHere`."""
    given = os.environ.get("HOLDFAST_TEST_POSTGRES")
    if given:
        reason = _answers(given)
        if reason is None:
            return given
        raise NotFoundHere(f"HOLDFAST_TEST_POSTGRES does not answer: {reason}")
    for user in dict.fromkeys(["postgres", getpass.getuser()]):
        url = f"postgresql://{user}@127.0.0.1:5432/postgres"
        if _answers(url) is None:
            return url
    return _private_server()


def _answers(url: str) -> str | None:
    """None if the server answers and lets us create databases, else why not."""

    async def ask() -> str | None:
        connection = await asyncpg.connect(_dsn(url), timeout=5)
        try:
            may = await connection.fetchval("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            return None if may else "the user may not create databases"
        finally:
            await connection.close()

    try:
        return in_thread(ask)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        return f"{type(exc).__name__}: {exc}"


def _dsn(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    return found[-1].parent if found else None


def _as_unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise NotFoundHere("PostgreSQL does not run as root, and there is no user postgres to run it as.") from None
    if shutil.which("runuser"):
        return ["runuser", "-u", "postgres", "--"]
    return ["su", "postgres", "-s", "/bin/sh", "-c", 'exec "$0" "$@"', "--"]


class PrivateServer:
    """A PostgreSQL of our own, in a folder of its own, on a free port that it keeps when it is started again."""

    def __init__(self) -> None:
        """Make its files. Raises `NotFoundHere`."""
        binaries = _binaries()
        if binaries is None:
            raise NotFoundHere(
                "No PostgreSQL: nothing answers on 127.0.0.1:5432, HOLDFAST_TEST_POSTGRES is not set, and there is no "
                "initdb to start a private server from."
            )
        self._binaries = binaries
        self._prefix = _as_unprivileged()
        self._home = Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
        if self._prefix:
            shutil.chown(self._home, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        try:
            self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        except NotFoundHere:
            self.remove()
            raise

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self._home / "log"), "start")

    def stop(self, mode: str) -> None:
        """`fast`: it breaks all connections and shuts down; `immediate`: it ends like one that crashed."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def remove(self) -> None:
        with contextlib.suppress(NotFoundHere):  # it may be down
            self.stop("immediate")
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._binaries / program), "-D", str(self._home / "data"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._home, check=False)
        if done.returncode != 0:
            raise NotFoundHere(f"A private PostgreSQL does not do {program}: {done.stderr.strip()[-500:]}")


def _private_server() -> str:
    server = PrivateServer()
    atexit.register(server.remove)
    server.start()
    return server.url


# -- databases on it ----------------------------------------------------------------------------------------------


def on_server(statement: str, server: str | None = None) -> None:
    """Run a statement outside a transaction, connected to the server's own database."""
    url = server or postgres_server()

    async def run() -> None:
        connection = await asyncpg.connect(_dsn(url), timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    in_thread(run)


@contextlib.contextmanager
def postgres_database(label: str = "test"):
    """A fresh database with a name of its own; its URL. Dropped in the end."""
    name = f"holdfast_{label}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    server = postgres_server()
    on_server(f'CREATE DATABASE "{name}"', server)
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', server)


def migrated(url: str) -> str:
    in_thread(lambda: migrate.upgrade(url))
    return url


async def empty_postgres(url: str) -> None:
    """Delete every row. For a handful of rows this is far faster than TRUNCATE, which makes new files."""
    connection = await asyncpg.connect(_dsn(url), timeout=10)
    try:
        await connection.execute(DELETE_ALL)
    finally:
        await connection.close()


def connect(url: str, **options: Any) -> Database:
    """A `Database` for a URL, not opened."""
    if url.startswith("sqlite"):
        return SqliteDatabase(url.removeprefix("sqlite:///"), **options)
    return PostgresDatabase(url, **options)


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """An open `Database` for a URL, closed in the end."""
    database = connect(url, **options)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
