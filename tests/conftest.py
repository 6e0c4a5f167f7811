"""Fixtures for every layer: an empty, migrated database of each dialect.

`database_url` and `database` run a test once per dialect; `sqlite_url` and `postgres_url` are for tests of one.
A SQLite test gets a copy of a migrated file of its own; PostgreSQL tests of one process share a database, emptied
before each of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from holdfast.store import principals
from holdfast.store.base import Database
from tests import databases

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

DIALECTS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_session() -> Iterator[str]:
    """The URL of a migrated PostgreSQL database that this process shares among its tests."""
    try:
        databases.postgres_server()
    except databases.NotFoundHere as exc:
        if databases.REQUIRE_ALL:
            pytest.fail(f"HOLDFAST_REQUIRE_ALL is set, and: {exc}", pytrace=False)
        pytest.skip(str(exc))
    with databases.postgres_database() as url:
        yield databases.migrated(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "holdfast.db"
    databases.migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file with no rows in it."""
    path = tmp_path / "holdfast.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_session: str) -> str:
    """A migrated PostgreSQL database with no rows in it."""
    databases.in_thread(lambda: databases.empty_postgres(postgres_session))
    return postgres_session


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database with no rows in it, once per dialect."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with the default tenant and its admin, once per dialect."""
    async with databases.opened(database_url) as database:
        await database.write(None, principals.seed)
        yield database
