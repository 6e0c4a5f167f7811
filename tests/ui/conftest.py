"""A browser for a module, and servers for it to visit: the demo on SQLite, the same agents on PostgreSQL.

Playwright's synchronous driver keeps an event loop of its own under way, so it lives no longer than a module, and a
module here has no asynchronous tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import databases
from tests.cli.processes import ROOT, Process, holdfast
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


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def any_desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo once per database: on SQLite the one that the others visit; its URL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("desk")
        return
    request.getfixturevalue("postgres_session")  # says it if there is no server
    folder = tmp_path_factory.mktemp("postgres-desk")
    with databases.postgres_database("desk") as database:
        target = str(ROOT / "tests" / "ui" / "desk.py") + ":hf"
        settings = {"HOLDFAST_DATABASE": database, "HOLDFAST_PEPPER": "p" * 32}
        with Process("dev", target, "--no-reload", "--port", "0", cwd=folder, **settings) as process:
            yield process.url()


@dataclass
class House:
    """A database with the agents of `house.py`, and what it takes to serve it from as many processes as one likes."""

    folder: Path
    database: str
    pepper: str = "p" * 32

    def serve(self, *more: str, port: int = 0, verb: str = "serve", **settings: str) -> Process:
        """A server; use it as a context manager."""
        target = str(ROOT / "tests" / "ui" / "house.py") + ":hf"
        where = ("--port", str(port), "--database", self.database, *(["--no-reload"] if verb == "dev" else []))
        return Process(verb, target, *where, *more, cwd=self.folder, **self._settings(settings))

    def serve_mounted(self) -> Process:
        """Within another application, at a path that needs escaping."""
        settings = self._settings({"HOLDFAST_DATABASE": self.database})
        return Process("tests.ui.house:outer", "--port", "0", module="uvicorn", cwd=self.folder, **settings)

    def command(self, *arguments: str) -> str:
        """What a command says that ends by itself."""
        done = holdfast(*arguments, cwd=self.folder, HOLDFAST_DATABASE=self.database, **self._settings({}))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def key(self, name: str, *scopes: str) -> str:
        """A new API key."""
        said = self.command("keys", "create", name, *(part for scope in scopes for part in ("--scope", scope)))
        return next(word for word in said.split() if word.startswith("hf_"))

    def _settings(self, more: dict[str, str]) -> dict[str, str]:
        return {
            "HOLDFAST_PEPPER": self.pepper,
            "HOLDFAST_LEASE_MS": "1500",
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            **more,
        }


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> House:
    """On SQLite."""
    return House(tmp_path, sqlite_url)


@pytest.fixture
def postgres_house(postgres_url: str, tmp_path: Path) -> House:
    """On PostgreSQL: another installation."""
    return House(tmp_path, postgres_url, pepper="q" * 32)
