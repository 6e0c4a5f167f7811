"""What stands around every page: sign-in, navigation, palette, keys, themes; under a prefix, on a phone, zoomed in."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.cli.processes import ROOT
from tests.ui.browser import PHONE, Theme, Visitor, visiting
from tests.ui.conftest import House

PAGES = ("", "chat", "approvals", "runs", "effects", "agents")
WIDTHS = (320, 390, 640, 1024, 1440, 2560)
REVOKED_WITHIN_S = 30


def settled(visitor: Visitor) -> None:
    """The page has what it shows: no place is held any more."""
    expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
    expect(visitor.page.get_by_role("status", name=re.compile("Loading"))).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_barriers(browser: Browser, desk: str, path: str, theme: Theme) -> None:
    with visiting(browser, desk, theme=theme) as visitor:
        visitor.goes_to(path)
        settled(visitor)
        visitor.has_no_barriers()
        visitor.keeps_shot(f"{path or 'overview'}-{theme}")


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_every_width(browser: Browser, desk: str, width: int) -> None:
    with visiting(browser, desk, size=(width, 900)) as visitor:
        for path in PAGES:
            visitor.goes_to(path)
            settled(visitor)
            visitor.fits()
            if width in (320, 2560):
                visitor.keeps_shot(f"{path or 'overview'}-{width}")


def test_pages_fit_at_twice_the_size(browser: Browser, desk: str) -> None:
    """Zoomed to 200 %, a window of 1280 px is one of 640 px, with twice the pixels for each."""
    with visiting(browser, desk, size=(640, 400), device_scale_factor=2) as visitor:
        for path in PAGES:
            visitor.goes_to(path)
            settled(visitor)
            visitor.fits()


def test_the_palette_goes_anywhere_by_keyboard(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        page.keyboard.press("Control+k")
        box = page.get_by_role("combobox", name="Search and commands")
        expect(box).to_be_focused()
        visitor.has_no_barriers("the palette")
        box.fill("effects")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"/ui/effects"))
        run_id = httpx.get(f"{desk}/v1/runs?limit=1").json()["data"][0]["id"]
        page.keyboard.press("Control+k")
        box.fill(run_id)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"/ui/runs/{run_id}"))


def test_keys_lead_to_pages_and_are_told(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        for keys, path in (("gr", "runs"), ("ga", "approvals"), ("gt", "agents"), ("go", "")):
            for key in keys:
                page.keyboard.press(key)
            expect(page).to_have_url(re.compile(rf"/ui/{path}(\?|$)"))
        page.keyboard.press("?")
        keys = page.get_by_role("dialog", name="Keyboard")
        expect(keys).to_contain_text("Search and commands")
        visitor.has_no_barriers("the list of keys")
        page.keyboard.press("Escape")
        expect(keys).to_have_count(0)


def test_a_theme_that_was_chosen_stays(browser: Browser, desk: str) -> None:
    with visiting(browser, desk, theme="light") as visitor:
        page = visitor.goes_to()
        root = page.locator("html")
        expect(root).to_have_attribute("data-theme", "light")
        page.get_by_role("button", name=re.compile("settings")).click()
        page.get_by_role("menuitemradio", name="Dark").click()
        expect(root).to_have_attribute("data-theme", "dark")
        page.reload()
        expect(root).to_have_attribute("data-theme", "dark")


def test_the_navigation_opens_on_a_phone(browser: Browser, desk: str) -> None:
    with visiting(browser, desk, size=PHONE) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        main = page.get_by_role("navigation", name="Main")
        expect(main).to_be_hidden()
        page.get_by_role("button", name="Open the navigation").click()
        main.get_by_role("link", name="Runs").click()
        expect(page).to_have_url(re.compile("/ui/runs"))
        expect(main).to_be_hidden()


@pytest.mark.parametrize(
    "path",
    [
        "nowhere",
        "runs/run_00000000000000000000000000",
        "runs/nonsense",
        "runs/run_00000000000000000000000000/diff/run_00000000000000000000000001",
        "chat/thr_00000000000000000000000000",
        "approvals/apr_00000000000000000000000000",
        "agents/nobody",
        "runs?status=odd&agent=%00&since=never",
        "effects?effect=eff_00000000000000000000000000",
    ],
)
def test_an_address_of_nothing_says_so(browser: Browser, desk: str, path: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.expects_error(r"status of 4(04|22|00)")
        page = visitor.goes_to(path)
        settled(visitor)
        if "?" not in path:
            expect(
                page.get_by_text(re.compile("does not exist|no such page|could not be loaded", re.I))
            ).to_be_visible()
        visitor.has_no_barriers()


def test_whoever_needs_a_key_signs_in_and_out(browser: Browser, house: House) -> None:
    key = house.key("somebody")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 401")
        page = visitor.goes_to("runs")
        dialog = page.get_by_role("dialog", name="Sign in to Holdfast")
        expect(dialog).to_be_visible()
        visitor.has_no_barriers("the sign-in")
        visitor.keeps_shot("sign-in")
        box = dialog.get_by_label("API key")
        expect(box).to_be_focused()
        box.fill("hf_wrong.key")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("This key is wrong, expired or revoked.")
        box.fill(key)
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        (cookie,) = visitor.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert key not in cookie["value"]
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.get_by_role("button", name=re.compile("settings")).click()
        page.get_by_role("menuitem", name="Sign out").click()
        expect(dialog).to_be_visible()
        assert visitor.context.cookies() == []


def test_a_session_that_ends_is_taken_up_again_where_one_was(browser: Browser, house: House) -> None:
    first, second = house.key("first"), house.key("second")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 401")
        page = visitor.goes_to("runs?status=failed")
        page.get_by_label("API key").fill(first)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_have_count(0)  # a key that is revoked before has no session to end
        settled(visitor)
        (listed,) = [line for line in house.command("keys", "list").splitlines() if "first" in line]
        key_id = next(word for word in listed.split() if word.startswith("key_"))
        house.command("keys", "revoke", key_id)
        dialog = page.get_by_role("dialog", name="Your session has ended")
        expect(dialog).to_be_visible(timeout=REVOKED_WITHIN_S * 1_000)
        page.get_by_label("API key").fill(second)
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(page).to_have_url(re.compile("status=failed"))


def test_whoever_may_do_little_sees_little(browser: Browser, house: House) -> None:
    key = house.key("reader", "runs:read")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 40[13]")
        page = visitor.goes_to()
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        settled(visitor)
        main = page.get_by_role("navigation", name="Main")
        expect(main.get_by_role("link", name="Runs")).to_be_visible()
        expect(main.get_by_role("link", name="Approvals")).to_have_count(0)
        visitor.goes_to("approvals")
        expect(page.get_by_text("You may not see this")).to_be_visible()


def test_it_works_under_a_prefix_that_needs_escaping(browser: Browser, house: House) -> None:
    with house.serve_mounted() as process:
        url = process.says(r"running on (http://\S+)")[1] + "/some%20where/holdfast"
        with visiting(browser, url) as visitor:
            page = visitor.goes_to("runs")
            settled(visitor)
            page.get_by_role("link", name="Agents").click()
            expect(page).to_have_url(re.compile("/some%20where/holdfast/ui/agents"))
            page.reload()
            settled(visitor)
            expect(page.get_by_text("Talker").first).to_be_visible()


def test_the_server_may_be_gone_for_a_while(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process:
        port = int(process.url().rpartition(":")[2])
        with visiting(browser, process.url()) as visitor:
            visitor.expects_error("Failed to load resource|ERR_")
            page = visitor.goes_to("runs")
            settled(visitor)
            process.stops()
            expect(page.get_by_role("status").filter(has_text="Offline")).to_be_visible()
            with house.serve(verb="dev", port=port) as again:
                again.url()
                expect(page.get_by_role("status").filter(has_text="Live")).to_be_attached(timeout=30_000)
                httpx.post(f"{again.url()}/v1/runs", json={"agent": "count", "input": 1}).raise_for_status()
                expect(page.get_by_text("count").locator("visible=true").first).to_be_visible()


def test_there_are_no_pages_that_were_not_looked_at() -> None:
    """A page that is added is added here, too."""
    places = (ROOT / "ui" / "src" / "app" / "places.ts").read_text()
    assert {to.lstrip("/") for to in re.findall(r'\bto: "([^"]*)"', places)} == set(PAGES)
