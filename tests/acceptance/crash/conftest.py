"""One fork server for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.crash.server import ForkServer


@pytest.fixture(scope="session")
def server(sqlite_template: Path) -> Iterator[ForkServer]:
    made = ForkServer(sqlite_template)
    yield made
    made.close()
