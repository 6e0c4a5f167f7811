"""Migrations: forward only, proven equal to `schema.py` on both databases; and whether a program may start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.domain.errors import SchemaMismatch, Unavailable
from holdfast.store import urls
from holdfast.store.base import Tx

T = TypeVar("T")

_HERE = Path(__file__).parent / "migrations"
_ALEMBIC = threading.Lock()  # Alembic keeps the migration under way in module globals


class SchemaState(StrEnum):
    CURRENT = "current"
    EMPTY = "empty"
    OLDER = "older"
    NEWER = "newer"


def head() -> str:
    """The revision that this program needs."""
    found = ScriptDirectory(str(_HERE)).get_current_head()
    assert found is not None
    return found


_REVISION = text("SELECT version_num FROM alembic_version")


async def revision(tx: Tx) -> str | None:
    """The revision that the database is at, asked in passing: for probes, while the program runs."""
    row = await tx.first(_REVISION)
    return row[0] if row else None


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    return config


def _state(connection: Connection) -> tuple[SchemaState, str | None]:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return SchemaState.EMPTY, None
    if revision == head():
        return SchemaState.CURRENT, revision
    known = {script.revision for script in ScriptDirectory(str(_HERE)).walk_revisions()}
    return (SchemaState.OLDER if revision in known else SchemaState.NEWER), revision


def _upgrade(connection: Connection) -> None:
    state, revision = _state(connection)
    if state is SchemaState.NEWER:
        raise SchemaMismatch(
            f"The database is at schema {revision}, which this version of Holdfast does not know (it needs {head()}). "
            "Start the newer version, or restore a backup."
        )
    if state is not SchemaState.CURRENT:
        command.upgrade(_config(connection), "head")


async def _with_connection(url: str, work: Callable[[Connection], T]) -> T:
    """Run `work(connection)` on a connection of its own: SQLAlchemy's, since Alembic speaks to nothing else."""
    return await asyncio.to_thread(_in_thread, url, work)


def _in_thread(url: str, work: Callable[[Connection], T]) -> T:
    parsed = urls.read(url)
    with _ALEMBIC:
        try:
            if parsed.get_backend_name() == "sqlite":
                return _with_sqlite(parsed, work)
            return asyncio.run(_with_postgres(parsed, work))
        except (SQLAlchemyError, OSError) as exc:
            # The driver's own words: SQLAlchemy adds the statement and a link to its manual.
            said = exc.orig if isinstance(exc, DBAPIError) else exc
            raise Unavailable(f"Cannot migrate or inspect the database {urls.shown(parsed)}: {said}") from exc


async def _with_postgres(url: URL, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        result = await connection.run_sync(work)
        await connection.commit()
        return result


def _with_sqlite(url: URL, work: Callable[[Connection], T]) -> T:
    engine = create_engine(url, poolclass=pool.NullPool, connect_args={"timeout": 10, "isolation_level": None})
    try:
        with engine.connect() as connection:
            # The driver on its own would commit each CREATE by itself, and let a second upgrade in between.
            connection.exec_driver_sql("BEGIN IMMEDIATE" if work is _upgrade else "BEGIN")
            result = work(connection)
            connection.commit()
            return result
    finally:
        engine.dispose()


async def upgrade(url: str) -> None:
    """Bring the database to this program's schema, all of it or nothing; nothing happens if it is there already.

    Safe to run twice at once: an advisory lock (PostgreSQL) or the file's write lock (SQLite) orders the two.
    """
    await _with_connection(url, _upgrade)


async def state(url: str) -> tuple[SchemaState, str | None]:
    """How the database's schema stands to this program's, and its revision."""
    return await _with_connection(url, _state)


async def demand_current(url: str) -> None:
    """Raise `SchemaMismatch` unless the database is exactly at this program's schema."""
    found, revision = await state(url)
    match found:
        case SchemaState.CURRENT:
            return
        case SchemaState.EMPTY:
            raise SchemaMismatch("The database has no Holdfast tables yet. Run: holdfast migrate")
        case SchemaState.OLDER:
            raise SchemaMismatch(
                f"The database is at schema {revision}; this version needs {head()}. Run: holdfast migrate"
            )
        case SchemaState.NEWER:
            raise SchemaMismatch(
                f"The database is at schema {revision}, which this version of Holdfast does not know. "
                "Start the newer version."
            )
