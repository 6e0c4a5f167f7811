"""The pictures of the docs, taken of the demo as a person walks through it: `HOLDFAST_PICTURES=1` keeps them there."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.cli.processes import ROOT, WAIT_S
from tests.ui.browser import Theme, Visitor, visiting

IMAGES = ROOT / "docs" / "images"
SIZE = (1280, 800)
Walk = Callable[[Visitor, dict[str, str]], None]


def settled(page: Page) -> None:
    expect(page.get_by_role("heading").first).to_be_visible()
    expect(page.get_by_role("status", name=re.compile("Loading"))).to_have_count(0)


def known(url: str) -> dict[str, str]:
    """The demo's first runs by name, and the fork, once all of them are there."""
    for _ in range(WAIT_S * 10):
        found = httpx.get(f"{url}/v1/runs", params={"tag": "seed"}).json()["data"]
        named = {run["external_id"] or "fork": run["id"] for run in found}
        if len(named) == 8 and all(run["status"] not in ("queued", "running") for run in found):
            waits = next(run for run in found if run["external_id"] == "seed-waits")
            return named | {"thread": waits["thread_id"], "approval": waits["waiting_on"][0]["id"]}
        time.sleep(0.1)
    raise AssertionError("The demo's first runs were not there in time.")


def overview(visitor: Visitor, _: dict[str, str]) -> None:
    page = visitor.goes_to()
    expect(page.get_by_text("refund_order").first).to_be_visible()


def chat(visitor: Visitor, ids: dict[str, str]) -> None:
    page = visitor.goes_to(f"chat/{ids['thread']}")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()


def approvals(visitor: Visitor, ids: dict[str, str]) -> None:
    page = visitor.goes_to(f"approvals/{ids['approval']}")
    expect(page.get_by_role("region", name="Decide")).to_be_visible()


def run(visitor: Visitor, ids: dict[str, str]) -> None:
    page = visitor.goes_to(f"runs/{ids['seed-restocked']}?view=timeline&step=3")
    expect(page.get_by_role("heading", name="find-low-stock")).to_be_visible()
    expect(page.get_by_text("milk frother").first).to_be_visible()


def fork(visitor: Visitor, ids: dict[str, str]) -> None:
    page = visitor.goes_to(f"runs/{ids['seed-asked']}?view=timeline&step=2&fork=true")
    expect(page.get_by_role("dialog", name="Fork this run").get_by_role("textbox").first).to_be_visible()


def diff(visitor: Visitor, ids: dict[str, str]) -> None:
    page = visitor.goes_to(f"runs/{ids['seed-asked']}/diff/{ids['fork']}")
    expect(page.get_by_text("There is no order 1143.").first).to_be_visible()


def effects(visitor: Visitor, _: dict[str, str]) -> None:
    page = visitor.goes_to("effects?status=unknown")
    expect(page.get_by_role("main").get_by_text("call_courier").locator("visible=true").first).to_be_visible()


WALK: dict[str, Walk] = {
    "overview": overview,
    "chat": chat,
    "approvals": approvals,
    "run": run,
    "fork": fork,
    "diff": diff,
    "effects": effects,
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", WALK)
def test_the_walk_shows_what_the_pictures_show(browser: Browser, desk: str, name: str, theme: Theme) -> None:
    ids = known(desk)
    with visiting(browser, desk, size=SIZE, theme=theme) as visitor:
        WALK[name](visitor, ids)
        settled(visitor.page)
        visitor.page.evaluate("document.fonts.ready")
        taken = visitor.keeps_shot(f"walk-{name}-{theme}")
        visitor.has_no_barriers(name)
        visitor.fits()
        if os.environ.get("HOLDFAST_PICTURES") == "1" and theme == "light":
            IMAGES.mkdir(exist_ok=True)
            shutil.copyfile(taken, IMAGES / f"{name}.png")


def test_every_picture_is_taken_here_and_shown_somewhere() -> None:
    shown = {
        Path(found).stem
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for found in re.findall(r"images/([\w-]+\.png)", page.read_text())
    }
    assert shown == set(WALK) == {path.stem for path in IMAGES.glob("*.png")}
