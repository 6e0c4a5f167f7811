"""A browser as a person has it, with eyes for what no page may do: an error on the console, a request elsewhere.

Playwright drives the Chromium of the machine. A `Visitor` is one person with one browser profile; leaving the block
checks what went on behind the page.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Route, expect

ROOT = Path(__file__).parent.parent.parent
SHOTS = ROOT / ".acceptance" / "ui"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 15_000
DESK = (1280, 800)
PHONE = (390, 844)
Theme = Literal["light", "dark"]

expect.set_options(timeout=WAIT_MS)


class NoBrowser(Exception):
    """There is no Chromium on this machine."""


def chromium() -> str:
    """The path of a Chromium. Raises `NoBrowser`."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    given = os.environ.get("HOLDFAST_TEST_CHROMIUM")
    found = given or next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise NoBrowser(f"No browser: none of {', '.join(names)} is on PATH, and HOLDFAST_TEST_CHROMIUM is not set.")
    return found


def launched(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))


@dataclass
class Visitor:
    """A person with a page open. `wrong`: what the pages did that they may not. `origins`: whom they may ask."""

    page: Page
    context: BrowserContext
    url: str
    theme: Theme
    wrong: list[str] = field(default_factory=list[str])
    allowed: list[re.Pattern[str]] = field(default_factory=list[re.Pattern[str]])
    origins: set[str] = field(default_factory=set[str])

    def goes_to(self, path: str = "") -> Page:
        """Open an address below `/ui/`."""
        self.page.goto(f"{self.url}/ui/{path}")
        return self.page

    def expects_error(self, pattern: str) -> None:
        """What the console may say in this test: the browser logs every answer that is an error."""
        self.allowed.append(re.compile(pattern))

    def has_no_barriers(self, what: str = "") -> None:
        """axe finds nothing on the page as it is."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, f"{what or self.page.url}, {self.theme}:\n{_told(found.response)}"

    def fits(self) -> None:
        """Nothing makes the page itself scroll sideways."""
        over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{self.page.url} is {over} px wider than the window."

    def keeps_shot(self, name: str) -> Path:
        """A picture of the page, kept to be looked at. The caret and what moves are left out."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled", caret="hide")
        return path


def _told(response: dict[str, Any]) -> str:
    lines: list[str] = []
    for violation in response["violations"]:
        lines.append(f"{violation['id']} ({violation['impact']}): {violation['help']}")
        lines += [f"    {node['html'][:300]}\n      {node['failureSummary']}" for node in violation["nodes"][:5]]
    return "\n".join(lines)


@contextmanager
def visiting(
    browser: Browser, url: str, *, theme: Theme = "light", size: tuple[int, int] = DESK, **more: Any
) -> Iterator[Visitor]:
    """Somebody who visits the server at `url`, which has no path of its own but a mount's."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce", **more
    )
    context.set_default_timeout(WAIT_MS)
    visitor = Visitor(context.new_page(), context, url.rstrip("/"), theme, origins={url})

    def judged(route: Route, request: Request) -> None:
        if urlsplit(request.url)[:2] not in {
            urlsplit(one)[:2] for one in visitor.origins
        } and not request.url.startswith(("data:", "blob:")):
            visitor.wrong.append(f"a request elsewhere: {request.url}")
            route.abort()
        else:
            route.fallback()

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(p.search(message.text) for p in visitor.allowed):
            visitor.wrong.append(f"console {message.type}: {message.text}")

    context.route("**/*", judged)
    context.on("console", heard)
    context.on("weberror", lambda error: visitor.wrong.append(f"uncaught: {error.error}"))
    try:
        yield visitor
        assert not visitor.wrong, "\n".join(visitor.wrong)
    finally:
        context.close()
