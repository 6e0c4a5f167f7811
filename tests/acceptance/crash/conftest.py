"""One fork server for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance.crash.server import ForkServer


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, sqlite_template: Path) -> Iterator[ForkServer]:
    try:
        databases.postgres_server()
    except databases.NotFoundHere:
        made = ForkServer(sqlite_template)
    else:
        url = request.getfixturevalue("postgres_session")
        made = ForkServer(sqlite_template, url)
        made.warmed_up()
        databases.in_thread(lambda: databases.empty_postgres(url))  # of what it warmed up with
    yield made
    made.close()
