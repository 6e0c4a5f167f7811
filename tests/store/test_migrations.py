"""Migrations make exactly the schema, on both databases, and a program starts only on its own schema."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from holdfast.domain.errors import DefinitionError, SchemaMismatch, Unavailable
from holdfast.store import migrate
from holdfast.store.migrate import SchemaState
from holdfast.store.schema import metadata
from tests import databases
from tests.conftest import DIALECTS


@pytest.fixture(params=DIALECTS)
def bare_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two databases without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'one.db'}", f"sqlite:///{tmp_path / 'two.db'}"
        return
    request.getfixturevalue("postgres_session")  # skips where there is no server
    with databases.postgres_database("bare") as one, databases.postgres_database("bare") as two:
        yield one, two


@pytest.fixture
def bare_url(bare_urls: tuple[str, str]) -> str:
    return bare_urls[0]


async def on(url: str, work: Any) -> Any:
    return await migrate._with_connection(url, work)


async def execute(url: str, *statements: str) -> None:
    def run(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await on(url, run)


_POSTGRES_CATALOGUE = (
    "SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')"
    " FROM information_schema.columns WHERE table_schema = 'public'",
    "SELECT 'options', relname, '', coalesce(array_to_string(reloptions, ','), '') FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
)


def catalogue(connection: Connection) -> dict[tuple[str, str, str], str]:
    """All that the database knows of its tables, as text: columns, nullability, keys, indexes and their predicates."""
    rows: list[Any] = []
    if connection.dialect.name == "postgresql":
        for query in _POSTGRES_CATALOGUE:
            rows += connection.execute(text(query)).all()
    else:
        for name in metadata.tables:
            for column in connection.execute(text(f"PRAGMA table_info({name})")):
                rows.append(("column", name, column.name, f"{column.type} {column.notnull} {column.pk}"))
            for key in connection.execute(text(f"PRAGMA foreign_key_list({name})")):
                rows.append(("key", name, f"{key.table} {key.seq}", f"{key[3]} {key.to} {key.on_delete}"))
            for index in connection.execute(text(f"PRAGMA index_list({name})")):
                columns = [r.name for r in connection.execute(text(f"PRAGMA index_info('{index.name}')"))]
                rows.append(("index", name, index.name, f"{index.unique} {index.partial} {columns}"))
        named = "SELECT 'sql', tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        rows += connection.execute(text(named)).all()
    return {(r[0], r[1], r[2]): " ".join(str(r[3]).split()) for r in rows if r[1] != "alembic_version"}


async def test_migrations_make_exactly_the_schema(bare_urls: tuple[str, str]) -> None:
    migrated, created = bare_urls
    await migrate.upgrade(migrated)
    await on(created, metadata.create_all)
    ours, fresh = await on(migrated, catalogue), await on(created, catalogue)
    assert len(fresh) > 150
    assert ours == fresh


async def test_alembic_finds_nothing_to_change(bare_url: str) -> None:
    await migrate.upgrade(bare_url)

    def compare(connection: Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    assert await on(bare_url, compare) == []
    await execute(bare_url, "DROP INDEX ix_runs_wake_at")
    assert len(await on(bare_url, compare)) == 1


async def test_every_table_is_led_by_its_tenant(bare_url: str) -> None:
    for table in metadata.tables.values():
        first = next(iter(table.primary_key.columns))
        assert (first.name, first.nullable) == ("tenant_id", False), table.name


async def test_an_upgrade_may_run_again_and_many_times_at_once(bare_url: str) -> None:
    await asyncio.gather(*[migrate.upgrade(bare_url) for _ in range(4)])
    assert await migrate.state(bare_url) == (SchemaState.CURRENT, migrate.head())
    await execute(bare_url, "INSERT INTO tenants VALUES ('t', 'n', 1)" if "sqlite" in bare_url else "SELECT 1")
    before = await on(bare_url, catalogue)
    await migrate.upgrade(bare_url)
    assert await on(bare_url, catalogue) == before


async def test_processes_that_upgrade_at_once_do_not_collide(bare_url: str) -> None:
    program = "import asyncio, sys; from holdfast.store import migrate; asyncio.run(migrate.upgrade(sys.argv[1]))"
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, bare_url, stderr=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    ended = await asyncio.gather(*[process.communicate() for process in started])
    assert [process.returncode for process in started] == [0, 0, 0], [err.decode()[-500:] for _, err in ended]
    assert await migrate.state(bare_url) == (SchemaState.CURRENT, migrate.head())


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(bare_url: str) -> None:
    await execute(bare_url, "CREATE TABLE runs (x INTEGER)")  # in the way, half-way through the migration
    with pytest.raises(Unavailable):
        await migrate.upgrade(bare_url)
    assert await migrate.state(bare_url) == (SchemaState.EMPTY, None)
    await execute(bare_url, "DROP TABLE runs")
    await migrate.upgrade(bare_url)
    assert await migrate.state(bare_url) == (SchemaState.CURRENT, migrate.head())


async def test_an_empty_database_is_refused_with_what_to_do(bare_url: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"no Holdfast tables yet\. Run: holdfast migrate"):
        await migrate.demand_current(bare_url)
    await migrate.upgrade(bare_url)
    await migrate.demand_current(bare_url)


async def test_an_older_database_is_refused_with_what_to_do(bare_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate.upgrade(bare_url)
    revision = migrate.head()
    monkeypatch.setattr(migrate, "head", lambda: "9999")
    assert await migrate.state(bare_url) == (SchemaState.OLDER, revision)
    with pytest.raises(SchemaMismatch, match=rf"schema {revision}; this version needs 9999\. Run: holdfast migrate"):
        await migrate.demand_current(bare_url)


async def test_a_newer_database_is_refused_and_not_touched(bare_url: str) -> None:
    await migrate.upgrade(bare_url)
    await execute(bare_url, "UPDATE alembic_version SET version_num = '0999'")
    assert await migrate.state(bare_url) == (SchemaState.NEWER, "0999")
    for refuse in (migrate.demand_current, migrate.upgrade):
        with pytest.raises(SchemaMismatch, match="0999, which this version of Holdfast does not know"):
            await refuse(bare_url)
    assert await migrate.state(bare_url) == (SchemaState.NEWER, "0999")


async def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none/x.db", "postgresql://nobody@127.0.0.1:1/none"):
        with pytest.raises(Unavailable):
            await migrate.state(url)


@pytest.mark.parametrize("url", ["postgresql://u:secret@h:word/x", "nonsense", "postgresql://u:secret/part@h:1:2/x"])
async def test_a_url_that_cannot_be_read_is_said_to_be_one_without_its_password(url: str) -> None:
    for ask in (migrate.upgrade, migrate.state, migrate.demand_current):
        with pytest.raises(DefinitionError, match="database URL cannot be read") as said:
            await ask(url)
        assert "secret" not in said.value.message


async def test_what_the_database_refused_is_told_in_its_own_words_and_with_its_name(bare_url: str) -> None:
    url = make_url(bare_url)
    with pytest.raises(Unavailable) as said:
        await execute(bare_url, "SELECT * FROM nowhere")
    name = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    assert str(name) in said.value.message
    assert "nowhere" in said.value.message
    assert "SELECT" not in said.value.message
    assert "sqlalche.me" not in said.value.message


async def test_a_server_that_cannot_be_reached_is_named_without_the_password() -> None:
    with pytest.raises(Unavailable, match=r"postgresql://nobody:\*\*\*@127\.0\.0\.1:1/none: ") as said:
        await migrate.state("postgresql://nobody:secret@127.0.0.1:1/none")
    assert "secret" not in said.value.message


async def test_an_upgrade_waits_for_another_process_that_migrates(tmp_path: Path) -> None:
    """SQLite: the second one sees the first one's tables only after its commit."""
    path = tmp_path / "x.db"
    first = sqlite3.connect(path, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    first.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    first.execute("INSERT INTO alembic_version VALUES (?)", [migrate.head()])
    second = asyncio.create_task(migrate.upgrade(f"sqlite:///{path}"))
    while not second.done() and not _is_waited_for(path):
        await asyncio.sleep(0)
    assert not second.done()
    first.execute("COMMIT")
    await second
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar() == 1
    engine.dispose()
    first.close()


def _is_waited_for(path: Path) -> bool:
    """Whether some other descriptor of this process has the file open: the second upgrade is on its way."""
    links = Path("/proc/self/fd").iterdir()
    return sum(1 for link in links if link.is_symlink() and str(link.readlink()) == str(path)) > 1
