"""A browser for a module, and servers for it to visit: the demo on SQLite, the same agents on PostgreSQL.

Playwright's synchronous driver keeps an event loop of its own under way, so it lives no longer than a module, and a
module here has no asynchronous tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import databases
from tests.cli.processes import Process
from tests.ui import browser as browsers


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        browsers.chromium()
    except browsers.NoBrowser as exc:
        if databases.REQUIRE_ALL:
            pytest.fail(f"HOLDFAST_REQUIRE_ALL is set, and: {exc}", pytrace=False)
        pytest.skip(str(exc))
    with sync_playwright() as playwright:
        launched = browsers.launched(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo as `make demo` serves it; its URL."""
    folder = tmp_path_factory.mktemp("desk")
    with Process("demo", "--port", "0", "--directory", str(folder), cwd=folder) as process:
        yield process.url()


@pytest.fixture(scope="module")
def desk_folder(desk: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where that demo keeps its files."""
    return next(tmp_path_factory.getbasetemp().glob("desk*"))
