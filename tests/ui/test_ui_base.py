"""What every page stands on: what aids are told of it, where the focus goes, many tabs, a server that was upgraded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.ui.browser import DESK, PHONE, Visitor, visiting
from tests.ui.conftest import House
from tests.ui.test_ui_shell import PAGES, settled

pytestmark = pytest.mark.timeout(400)  # a browser and several servers, beside whatever else the machine does

TABS = 8
SOWN_S = 30
STREAMS_MAX = 3
TARGET_PX = 24
# WCAG 2.2 §2.5.8 leaves links in a sentence alone, and what is shown by an aid to a larger target around it.
SMALL_TARGETS = """least => {
  const seen = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !e.closest('.sr-only');
  const chosen = 'button, a[href], input, select, textarea, [role=tab], [role=radio], [role=option], [role=menuitem]';
  const boxes = [...document.querySelectorAll(chosen)].filter(seen).map(e => [e, e.getBoundingClientRect()]);
  const centre = b => [b.x + b.width / 2, b.y + b.height / 2];
  const far = (a, b) => Math.hypot(centre(a)[0] - centre(b)[0], centre(a)[1] - centre(b)[1]);
  const small = boxes.filter(([, b]) => b.width > 1 && b.height > 1 && Math.min(b.width, b.height) < least - 0.01);
  const exempt = e => getComputedStyle(e).display === 'inline' || e.closest('label')
    || [...document.querySelectorAll(`label[for="${CSS.escape(e.id)}"]`)].length > 0
    || getComputedStyle(e, '::after').position === 'absolute';
  return small.filter(([e, b]) => !exempt(e) && boxes.some(([o, c]) => o !== e && !e.contains(o) && !o.contains(e)
      && far(b, c) < least))
    .map(([e, b]) => `${e.outerHTML.slice(0, 160)} is ${b.width.toFixed(1)} x ${b.height.toFixed(1)}`);
}"""
SPACED = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }
    p { margin-bottom: 2em !important }`);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}"""
RING = """() => {
  const style = getComputedStyle(document.activeElement);
  const after = getComputedStyle(document.activeElement, '::after');
  const drawn = one => one.outlineStyle !== 'none' && parseFloat(one.outlineWidth) >= 1;
  const around = document.activeElement.parentElement?.closest('[class*="focus-within"]');
  const held = around ? getComputedStyle(around) : style;
  return {
    ring: drawn(style) || drawn(after) || drawn(held) || held.boxShadow !== 'none',
    what: document.activeElement.outerHTML.slice(0, 200),
    nowhere: document.activeElement === document.body,
  };
}"""


def ids(url: str, noun: str, least: int = 1) -> list[str]:
    """The newest ones; the demo sows its own while it is served."""
    until = time.monotonic() + SOWN_S
    while time.monotonic() < until:
        found = httpx.get(f"{url}/v1/{noun}", params={"limit": str(least)}).json()["data"]
        if len(found) >= least:
            return [one["id"] for one in found]
    raise AssertionError(f"There are no {least} {noun}.")


def addresses(url: str) -> list[str]:
    """Every kind of page, those of one thing too."""
    (asked,), (run, other) = ids(url, "approvals"), ids(url, "runs", 2)
    (thread,), (agent,) = ids(url, "threads"), ids(url, "agents")
    return [
        *PAGES,
        f"runs/{run}",
        f"runs/{run}?view=timeline",
        f"runs/{run}?view=journal",
        f"runs/{run}/diff/{other}",
        f"chat/{thread}",
        f"approvals/{asked}",
        f"agents/{agent}",
        "nowhere",
    ]


def status(page: Page, said: str) -> Locator:
    return page.get_by_role("status").filter(has_text=said)


def signs_in(visitor: Visitor, key: str) -> None:
    visitor.page.get_by_label("API key").fill(key)
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_role("dialog")).to_have_count(0)
    settled(visitor)


# -- what aids are told -------------------------------------------------------------------------------------------


def test_every_page_has_a_heading_landmarks_a_title_heads_of_columns_and_a_list_of_keys(
    browser: Browser, desk: str
) -> None:
    """One look at each page: they are many."""
    titles: dict[str, str] = {}
    columns = 0
    with visiting(browser, desk) as visitor:
        visitor.expects_error("status of 4(04|00|22)")
        for path in addresses(desk):
            page = visitor.goes_to(path)
            settled(visitor)
            titles[path.partition("?")[0]] = framed(page, path)
            columns += headed(page, path)
            lists_keys(page, path)
    assert columns > 0
    plain = [titles[path] for path in PAGES]
    assert len(set(plain)) == len(plain), plain


def framed(page: Page, path: str) -> str:
    """It has one heading, and landmarks. Its title."""
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for landmark in ("banner", "navigation", "main"):
        expect(page.get_by_role(landmark)).not_to_have_count(0)
    expect(page.get_by_role("main")).to_have_count(1)
    heading = page.get_by_role("heading", level=1).inner_text()
    assert page.title() == f"{heading} · Holdfast", path
    return page.title()


def headed(page: Page, path: str) -> int:
    """Its columns have heads. How many tables it has."""
    tables = page.locator("table:visible, [role=table]:visible, [role=grid]:visible, [role=treegrid]:visible").all()
    for table in tables:
        heads = table.locator("th, [role=columnheader], [role=rowheader]")
        assert heads.count() > 0, f"{path}: {table.evaluate('e => e.outerHTML.slice(0, 200)')}"
    return len(tables)


def lists_keys(page: Page, path: str) -> None:
    """`?` names each key that works there, once."""
    page.get_by_role("heading", level=1).focus()  # a chat has it in its field, where "?" is text
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    keys = dialog.locator("dd").all_inner_texts()
    assert len(keys) >= 8, path
    assert len(set(keys)) == len(keys), (path, keys)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_what_aids_see_of_the_frame(browser: Browser, desk: str) -> None:
    """The part of the accessibility tree that is the same on every page."""
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to("runs")
        settled(visitor)
        expect(page.get_by_role("navigation", name="Main")).to_match_aria_snapshot("""
            - navigation "Main":
              - link "Overview"
              - link "Chat"
              - link /Approvals/
              - link "Runs"
              - link /Effects/
              - link "Agents"
        """)
        expect(page.get_by_role("navigation").get_by_role("link", name="Runs")).to_have_attribute(
            "aria-current", "page"
        )
        expect(page.get_by_role("region", name="Notifications")).to_match_aria_snapshot("""
            - region "Notifications":
              - alert
              - status
        """)


def test_whoever_skips_the_navigation_is_in_the_page_and_stays_there(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to("runs?status=succeeded")
        settled(visitor)
        before = page.url
        page.keyboard.press("Tab")
        skip = page.get_by_role("button", name="Skip to the page")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null")
        assert page.url == before


@pytest.mark.parametrize("way", ["click", "keys", "palette", "phone"])
def test_whoever_goes_to_another_page_is_at_its_heading(browser: Browser, desk: str, way: str) -> None:
    with visiting(browser, desk, size=PHONE if way == "phone" else (1280, 800)) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        expect(page.get_by_role("heading", level=1)).not_to_be_focused()
        if way == "click":
            page.get_by_role("navigation").get_by_role("link", name="Agents").click()
        elif way == "keys":
            page.keyboard.press("g")
            page.keyboard.press("t")
        elif way == "palette":
            page.keyboard.press("Control+k")
            page.get_by_role("combobox").fill("agents")
            page.keyboard.press("Enter")
        else:
            page.get_by_role("button", name="Open the navigation").click()
            page.get_by_role("navigation").get_by_role("link", name="Agents").click()
        heading = page.get_by_role("heading", level=1, name="Agents")
        expect(heading).to_be_focused()
        assert page.title() == "Agents · Holdfast"
        page.go_back()
        expect(page.get_by_role("heading", level=1, name="Overview")).to_be_focused()


def test_keys_of_a_page_work_from_its_heading(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        page.get_by_role("navigation").get_by_role("link", name="Runs").click()
        expect(page.get_by_role("heading", level=1, name="Runs")).to_be_focused()
        page.keyboard.press("i")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", level=1, name="Runs")).to_be_focused()


def test_a_dialog_gives_the_focus_back_to_what_opened_it(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to("runs")
        settled(visitor)
        for opener, dialog in (
            (page.get_by_role("button", name="Search and commands"), "Search and commands"),
            (page.get_by_role("main").get_by_role("button", name=re.compile("Import")).first, re.compile("Import")),
        ):
            opener.focus()
            page.keyboard.press("Enter")
            shown = page.get_by_role("dialog", name=dialog)
            expect(shown).to_be_visible()
            assert page.evaluate("document.activeElement.closest('[role=dialog]') !== null")
            for _ in range(12):
                page.keyboard.press("Tab")
                assert page.evaluate("document.activeElement.closest('[role=dialog]') !== null"), "it keeps the focus"
            page.keyboard.press("Escape")
            expect(shown).to_have_count(0)
            expect(opener).to_be_focused()


def test_the_palette_names_the_command_that_enter_would_run(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        page.keyboard.press("Control+k")
        box = page.get_by_role("combobox", name="Search and commands")
        expect(box).to_have_attribute("aria-expanded", "true")
        expect(page.get_by_role("listbox", name="Commands")).to_have_id(box.get_attribute("aria-controls") or "")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        chosen = page.get_by_role("option", selected=True)
        expect(chosen).to_have_count(1)
        expect(box).to_have_attribute("aria-activedescendant", chosen.get_attribute("id") or "")
        expect(chosen).to_contain_text("Approvals")
        page.keyboard.press("ArrowUp")
        expect(chosen).to_contain_text("Chat")
        box.fill("nothing is called like this")
        expect(status(page, "Nothing is called that.")).to_be_visible()
        expect(page.get_by_role("option")).to_have_count(0)
        page.keyboard.press("Enter")
        expect(box).to_be_focused()
        box.fill("failed runs")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"/ui/runs\?status=failed$"))


def test_a_theme_that_is_chosen_is_said_to_be(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to()
        page.get_by_role("button", name=re.compile("settings")).click()
        expect(page.get_by_role("menuitemradio", checked=True)).to_have_accessible_name("System theme")
        page.get_by_role("menuitemradio", name="Dark").click()
        page.get_by_role("button", name=re.compile("settings")).click()
        expect(page.get_by_role("menuitemradio", checked=True)).to_have_accessible_name("Dark")


def test_the_theme_follows_the_system_while_it_is_looked_at(browser: Browser, desk: str) -> None:
    with visiting(browser, desk, theme="light") as visitor:
        page = visitor.goes_to()
        settled(visitor)
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        page.emulate_media(color_scheme="dark")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


# -- what can be seen and hit ---------------------------------------------------------------------------------------


def test_what_can_be_pressed_is_large_enough_or_stands_alone(browser: Browser, desk: str) -> None:
    found: list[str] = []
    with visiting(browser, desk) as visitor:
        visitor.expects_error("status of 4(04|00|22)")
        for path in addresses(desk):
            page = visitor.goes_to(path)
            for width, height in (DESK, PHONE):
                page.set_viewport_size({"width": width, "height": height})
                settled(visitor)
                small = page.evaluate(SMALL_TARGETS, TARGET_PX)
                found += [f"{path}, {width} px wide: {one}" for one in small]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("forced", ["none", "active"])
@pytest.mark.parametrize("path", ["", "runs", "approvals", "agents", "effects", "chat"])
def test_the_focus_can_be_seen_wherever_it_is(browser: Browser, desk: str, path: str, forced: Any) -> None:
    with visiting(browser, desk) as visitor:
        visitor.page.emulate_media(forced_colors=forced)
        page = visitor.goes_to(path)
        settled(visitor)
        seen: set[str] = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            state = page.evaluate(RING)
            assert state["ring"] or state["nowhere"], state["what"]
            seen.add(state["what"])
        assert len(seen) > 8, "it moves"


def test_nothing_moves_for_whoever_asked_for_less_of_it(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.page.emulate_media(reduced_motion="reduce")
        for path in PAGES:
            page = visitor.goes_to(path)
            settled(visitor)
            longest = page.evaluate(
                "Math.max(0, ...document.getAnimations().map(a => Number(a.effect.getComputedTiming().endTime)))"
            )
            assert longest <= 1, path


def test_pages_bear_text_that_is_spaced_out(browser: Browser, desk: str) -> None:
    """WCAG 2.2 §1.4.12."""
    with visiting(browser, desk) as visitor:
        for path in PAGES:
            page = visitor.goes_to(path)
            settled(visitor)
            page.evaluate(SPACED)
            visitor.fits()


def test_a_low_window_reaches_the_whole_navigation(browser: Browser, desk: str) -> None:
    with visiting(browser, desk, size=(1024, 240)) as visitor:
        page = visitor.goes_to()
        settled(visitor)
        for name in ("Agents", "Overview"):
            link = page.get_by_role("navigation").get_by_role("link", name=name)
            link.scroll_into_view_if_needed()
            expect(link).to_be_in_viewport()
        expect(page.get_by_role("button", name=re.compile("settings"))).to_be_in_viewport()


# -- many tabs, many servers ----------------------------------------------------------------------------------------


def test_eight_tabs_load_and_the_newest_are_live(browser: Browser, house: House) -> None:
    """A browser has six connections for a server; a stream each would leave none for the seventh tab."""
    with house.serve(verb="dev") as process, visiting(browser, process.url()) as visitor:
        url = process.url()
        tabs: list[Page] = []
        for _ in range(TABS):
            page = visitor.context.new_page()
            page.goto(f"{url}/ui/runs")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            expect(page.get_by_role("status", name=re.compile("Loading"))).to_have_count(0)
            tabs.append(page)
        for page in tabs[-STREAMS_MAX:]:
            expect(status(page, "Live")).to_be_attached()
        for page in tabs[:-STREAMS_MAX]:
            expect(status(page, "Every 10 s")).to_be_attached()
        httpx.post(f"{url}/v1/runs", json={"agent": "count", "input": 1}).raise_for_status()
        for page in tabs:  # those without a stream look in by themselves
            expect(page.get_by_role("main").get_by_text("count").locator("visible=true").first).to_be_visible(
                timeout=40_000
            )


def test_a_browser_is_signed_in_to_two_servers_on_one_host_name(
    browser: Browser, house: House, postgres_house: House
) -> None:
    with house.serve() as first, postgres_house.serve() as second:
        houses = {first.url(): house.key("somebody"), second.url(): postgres_house.key("another")}
        with visiting(browser, first.url()) as visitor:
            visitor.allowed.append(re.compile("status of 401"))
            visitor.origins.update(houses)
            for url, key in houses.items():
                visitor.page.goto(f"{url}/ui/runs")
                signs_in(visitor, key)
            for url, name in zip(houses, ("somebody", "another"), strict=True):
                visitor.page.goto(f"{url}/ui/runs")
                settled(visitor)
                expect(visitor.page.get_by_role("button", name=f"{name}: settings")).to_be_visible()
            assert len({cookie["name"] for cookie in visitor.context.cookies()}) == 2


# -- who is signed in -----------------------------------------------------------------------------------------------


def test_nothing_that_was_typed_is_lost_when_a_session_ends(browser: Browser, house: House) -> None:
    key = house.key("somebody")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 401")
        page = visitor.goes_to("chat?agent=talker")
        signs_in(visitor, key)
        box = page.get_by_role("textbox", name=re.compile("Message to Talker"))
        box.fill("a long and careful question")
        before = page.url
        visitor.context.clear_cookies()
        box.press("Enter")
        dialog = page.get_by_role("dialog", name="Your session has ended")
        expect(dialog).to_be_visible()
        expect(page.get_by_label("API key")).to_be_focused()
        for _ in range(6):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.closest('[role=dialog]') !== null")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Enter")
        expect(dialog).to_be_visible()
        visitor.has_no_barriers("signing in again")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(box).to_have_value("a long and careful question")
        assert page.url == before
        expect(status(page, "Live")).to_be_attached()
        box.press("Enter")
        expect(page.get_by_label("Conversation").first).to_contain_text("word3 word4")


def test_who_signs_in_in_one_tab_is_in_in_the_other(browser: Browser, house: House) -> None:
    key = house.key("somebody")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 401")
        page = visitor.goes_to("runs")
        signs_in(visitor, key)
        visitor.context.clear_cookies()
        page.get_by_role("navigation").get_by_role("link", name="Effects").dispatch_event("click")
        dialog = page.get_by_role("dialog", name="Your session has ended")
        expect(dialog).to_be_visible()
        other = visitor.context.new_page()
        other.goto(f"{process.url()}/ui/")
        other.get_by_label("API key").fill(key)
        other.keyboard.press("Enter")
        expect(other.get_by_role("heading", level=1)).to_be_visible()
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(dialog).to_have_count(0)


def test_another_person_does_not_see_what_was_the_first_ones(browser: Browser, house: House) -> None:
    first, second = house.key("first"), house.key("second", "agents:read", "threads:read", "runs:write")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 40[13]")
        httpx.post(
            f"{process.url()}/v1/runs",
            json={"agent": "breaks", "input": "a private matter"},
            headers={"Authorization": f"Bearer {first}"},
        ).raise_for_status()
        page = visitor.goes_to("chat?agent=talker")
        signs_in(visitor, first)
        box = page.get_by_role("textbox", name=re.compile("Message to Talker"))
        box.fill("a private wish")
        page.get_by_role("navigation").get_by_role("link", name="Runs").click()
        private = page.get_by_role("main").get_by_text("a private matter")
        expect(private.locator("visible=true").first).to_be_visible()
        visitor.context.clear_cookies()
        # No click, and hidden too: the dialog may be there already, over it.
        there = page.get_by_role("navigation", include_hidden=True)
        there.get_by_role("link", name="Approvals", include_hidden=True).dispatch_event("click")
        page.get_by_label("API key").fill(second)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="second: settings")).to_be_visible()
        page.go_back()
        expect(page).to_have_url(re.compile("/ui/runs$"))
        settled(visitor)
        expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
        expect(private).to_have_count(0)
        page.go_back()
        expect(page).to_have_url(re.compile("/ui/chat"))
        expect(box).to_be_enabled()
        expect(box).to_have_value("")


def test_whoever_may_not_follow_changes_is_not_told_that_the_server_is_away(browser: Browser, house: House) -> None:
    key = house.key("decider", "approvals:read", "approvals:write")
    with house.serve() as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 40[13]")
        streams: list[str] = []
        visitor.page.on(
            "request", lambda request: streams.append(request.url) if "/v1/changes" in request.url else None
        )
        page = visitor.goes_to("approvals")
        signs_in(visitor, key)
        expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(["Approvals"])
        expect(status(page, "Every 15 s")).to_be_attached()
        assert streams == []
        page.keyboard.press("Control+k")
        expect(page.get_by_role("option")).to_have_text(
            ["Approvals", "Light theme", "Dark theme", "Theme of the system"]
        )
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        keys = page.get_by_role("dialog", name="Keyboard")
        expect(keys).to_contain_text("Approvals")
        expect(keys).not_to_contain_text("Agents")


# -- the server is another one, or away -----------------------------------------------------------------------------


@contextmanager
def upgraded(page: Page) -> Iterator[list[str]]:
    """The server has another build from now on: no file of this page's own is there. Yields what was asked in vain."""
    missed: list[str] = []

    def gone(route: Route) -> None:
        missed.append(route.request.url)
        route.fulfill(status=404, body="")

    page.route("**/ui/assets/**", gone)
    try:
        yield missed
    finally:
        page.unroute("**/ui/assets/**", gone)


def test_a_page_that_an_upgrade_took_away_is_loaded_anew(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.expects_error("status of 404|part of the page|could not be loaded|PartMissing")
        page = visitor.goes_to()
        settled(visitor)
        page.evaluate("window.mark = true")
        with upgraded(page) as missed, page.expect_event("load"):
            page.get_by_role("navigation").get_by_role("link", name="Agents").click()
        assert page.evaluate("window.mark") is None
        assert any("AgentsPage" in url for url in missed)
        page.goto(page.url)
        expect(page.get_by_role("heading", level=1, name="Agents")).to_be_visible()


def test_a_page_that_cannot_be_had_while_the_server_is_away_comes_when_it_is_back(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.expects_error("ERR_|part of the page|could not be loaded|PartMissing")
        page = visitor.goes_to()
        settled(visitor)
        page.route("**/ui/assets/**", lambda route: route.abort())
        page.get_by_role("navigation").get_by_role("link", name="Agents").click()
        expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
        expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
        page.unroute_all()
        expect(page.get_by_role("heading", level=1, name="Agents")).to_be_visible()


def test_a_tab_says_that_the_server_was_upgraded_and_keeps_what_was_typed(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process:
        port = int(process.url().rpartition(":")[2])
        with visiting(browser, process.url()) as visitor:
            visitor.expects_error("Failed to load resource|ERR_")
            page = visitor.goes_to("chat?agent=talker")
            box = page.get_by_role("textbox", name=re.compile("Message to Talker"))
            box.fill("a question")
            process.stops()
            expect(page.get_by_role("status", name="Offline")).to_be_visible()
            with upgraded(page), house.serve(verb="dev", port=port) as again:
                again.url()
                expect(status(page, "The server has a newer version of this page.")).to_be_visible(timeout=30_000)
                expect(box).to_have_value("a question")
                visitor.has_no_barriers("the hint at a newer version")
                visitor.keeps_shot("newer-version")
                page.unroute_all()
                page.get_by_role("button", name="Reload").click()
                expect(page.get_by_role("heading", level=1, name="New chat")).to_be_visible()


def test_markdown_and_json_are_shown_plainly_when_their_parts_are_gone(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("status of 404|part of the page")
        page = visitor.page
        missed: list[str] = []

        def gone(route: Route) -> None:
            missed.append(route.request.url)
            route.fulfill(status=404, body="")

        page.route("**/assets/MarkdownBlock*", gone)
        visitor.goes_to("chat?agent=talker")
        box = page.get_by_role("textbox", name=re.compile("Message to Talker"))
        box.fill("go on")
        box.press("Enter")
        expect(page.get_by_label("Conversation").first).to_contain_text("word50 ", timeout=40_000)
        assert missed


def test_a_page_that_fails_takes_nothing_else_along(browser: Browser, desk: str) -> None:
    """An answer that no server gives makes the page fail while it is shown."""
    with visiting(browser, desk) as visitor:
        visitor.expects_error(".")
        page = visitor.page
        page.route("**/v1/effects?*", lambda route: route.fulfill(json={"data": [{"id": 1}], "next_cursor": None}))
        visitor.goes_to("effects")
        expect(page.get_by_role("heading", level=1, name="Something went wrong")).to_be_visible()
        assert page.title() == "Something went wrong · Holdfast"
        visitor.has_no_barriers("a page that failed")
        page.unroute_all()
        page.get_by_role("navigation").get_by_role("link", name="Agents").click()
        expect(page.get_by_role("heading", level=1, name="Agents")).to_be_visible()
        visitor.wrong.clear()


def test_a_start_without_a_server_goes_on_by_itself(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.expects_error("ERR_")
        page = visitor.page
        page.route("**/v1/**", lambda route: route.abort())
        visitor.goes_to("runs")
        expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
        visitor.has_no_barriers("a start without a server")
        page.unroute_all()
        settled(visitor)
        expect(page.get_by_role("heading", level=1, name="Runs")).to_be_visible()


# -- browsers as they are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
        "window.BroadcastChannel = class { constructor() { throw new DOMException('no', 'SecurityError'); } };",
        "delete window.BroadcastChannel;",
        "Object.defineProperty(navigator, 'onLine', { get: () => false });",
    ],
    ids=["storage blocked", "no channels", "said to be offline"],
)
def test_pages_work_in_a_browser_that_lends_less(browser: Browser, desk: str, script: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.context.add_init_script(script)
        page = visitor.goes_to()
        settled(visitor)
        expect(status(page, "Live")).to_be_attached()
        for name in ("Runs", "Chat", "Approvals"):
            page.get_by_role("navigation").get_by_role("link", name=name).click()
            settled(visitor)


def test_back_leads_to_where_one_was(browser: Browser, desk: str) -> None:
    with visiting(browser, desk, size=(1280, 420)) as visitor:
        page = visitor.goes_to("agents")
        settled(visitor)
        body = page.get_by_role("main").locator("[tabindex='0']").first
        agent = body.get_by_role("listitem").last.get_by_role("link").first
        body.evaluate("e => e.scrollTo(0, e.scrollHeight)")
        before = body.evaluate("e => e.scrollTop")
        assert before > 0
        agent.click()
        expect(page).to_have_url(re.compile("/ui/agents/"))
        page.go_back()
        expect(page.get_by_role("heading", level=1, name="Agents")).to_be_visible()
        settled(visitor)
        expect(body).to_have_js_property("scrollTop", before)


def test_keys_with_other_modifiers_do_nothing(browser: Browser, desk: str) -> None:
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to("runs")
        settled(visitor)
        dialog = page.get_by_role("dialog")
        for chord in ("Alt+i", "Meta+i", "Shift+i"):
            page.keyboard.press(chord)
        expect(dialog).to_have_count(0)
        page.keyboard.press("i")
        expect(dialog).to_be_visible()
        page.keyboard.press("Control+k")
        box = page.get_by_role("combobox", name="Search and commands")
        box.fill("agents")
        box.press("Control+Enter")
        expect(box).to_be_focused()
        expect(page).to_have_url(re.compile(r"/ui/runs$"))
        box.press("Enter")
        expect(page).to_have_url(re.compile(r"/ui/agents$"))


def test_the_keys_of_a_run_do_what_their_list_says(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process, visiting(browser, process.url()) as visitor:
        run = httpx.post(f"{process.url()}/v1/runs", json={"agent": "asks", "input": "which?"}).json()["id"]
        page = visitor.goes_to(f"runs/{run}")
        settled(visitor)
        page.keyboard.press("?")
        keys = page.get_by_role("dialog", name="Keyboard")
        expect(keys).to_contain_text("Cancel the run")
        page.keyboard.press("Escape")
        expect(keys).to_have_count(0)
        page.keyboard.press("Shift+C")
        expect(page.get_by_role("dialog", name=re.compile("Cancel"))).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        with page.expect_download():
            page.keyboard.press("Shift+E")
