"""The chat, as people use it: answers that are given anew, a page that is left and come back to, long conversations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.cli.processes import ROOT, Process
from tests.ui import talk
from tests.ui.browser import Visitor, visiting
from tests.ui.conftest import House

LONG_MS = 90_000
LAST = talk.WORDS - 1


@contextmanager
def served(house: House) -> Iterator[str]:
    """The agents of `talk.py`; the URL."""
    where = ("--port", "0", "--database", house.database, "--log-level", "error")
    target = str(ROOT / "tests" / "ui" / "talk.py") + ":hf"
    more = {"HOLDFAST_LEASE_MS": "1500", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with Process("dev", target, *where, cwd=house.folder, **more) as process:
        yield process.url()


@pytest.fixture
def url(house: House) -> Iterator[str]:
    with served(house) as url:
        yield url


def run_of(url: str, said: str, **more: Any) -> dict[str, Any]:
    """A run over the API, when it ended or waits."""
    body = {"agent": "teller", "input": said, **more}
    answer = httpx.post(f"{url}/v1/runs", params={"wait": 60}, json=body, timeout=70)
    answer.raise_for_status()
    return answer.json()


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message to Teller")


def conversation(page: Page) -> Locator:
    return page.get_by_role("region", name="Conversation")


def streams(page: Page, word: str, *, times: int = 1) -> None:
    """An answer comes word by word, and is there once when it is whole."""
    talked = conversation(page)
    expect(talked).to_contain_text(f"{word}0 {word}1")
    assert f"{word}{LAST}" not in talked.inner_text(), "it streams"
    expect(talked).to_contain_text(f"{word}{LAST}", timeout=LONG_MS)
    expect(page.get_by_role("button", name="Copy the answer")).to_have_count(times)
    said = talked.inner_text()
    assert [said.count(f"{word}{n} ") for n in (0, 7, LAST - 1)] == [1, 1, 1]
    assert "…" not in said, "and nothing is missing"


# -- answers given anew -----------------------------------------------------------------------------------------------


def test_a_message_said_differently_is_answered_word_by_word(browser: Browser, url: str) -> None:
    run = run_of(url, "one")
    with visiting(browser, url) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        expect(conversation(page)).to_contain_text(f"one{LAST}")
        page.get_by_role("button", name="Edit the message, on a branch").click()
        field = page.get_by_role("textbox", name="The message")
        field.fill("two")
        field.press("Enter")
        expect(page).not_to_have_url(re.compile(run["thread_id"]))
        streams(page, "two")
        assert "one0" not in conversation(page).inner_text()
    made = httpx.get(f"{url}/v1/threads/{run['thread_id']}/branches").json()["data"]
    assert [one["preview"] for one in made] == ["two"]


def test_an_answer_given_anew_streams_and_can_be_stopped(browser: Browser, url: str) -> None:
    run = run_of(url, "first")
    run_of(url, "second", thread_id=run["thread_id"])
    with visiting(browser, url) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        expect(conversation(page)).to_contain_text(f"second{LAST}")
        page.get_by_role("button", name="Answer anew, on a branch").last.click()
        expect(page).not_to_have_url(re.compile(run["thread_id"]))
        streams(page, "second", times=2)
        branch = re.compile(re.escape(page.url))
        page.get_by_role("button", name="Answer anew, on a branch").last.click()
        expect(page).not_to_have_url(branch)
        expect(conversation(page)).to_contain_text("second0 second1")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        box(page).press("Escape")
        expect(conversation(page).get_by_text("Stopped")).to_be_visible()
        assert f"second{LAST}" not in conversation(page).inner_text()


def test_a_retried_run_goes_on_below_what_it_had_done(browser: Browser, url: str) -> None:
    run = run_of(url, "break lamp")
    assert run["status"] == "failed", run
    with visiting(browser, url) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        expect(conversation(page).get_by_role("alert")).to_contain_text("lamp broke")
        page.get_by_role("button", name="Retry").click()
        streams(page, "break")
        said = conversation(page).inner_text()
        assert said.index("Before lamp broke.") < said.index("break0"), "what was said before stands above"
        assert conversation(page).get_by_role("alert").count() == 0
        visitor.has_no_barriers("a retried run")


def test_a_page_that_is_loaded_anew_in_mid_stream_shows_each_word_once(browser: Browser, url: str) -> None:
    with visiting(browser, url) as visitor:
        page = visitor.goes_to("chat?agent=teller")
        box(page).fill("again")
        box(page).press("Enter")
        expect(conversation(page)).to_contain_text("again3 again4")
        page.reload()
        expect(conversation(page)).to_contain_text(f"again{LAST}", timeout=LONG_MS)
        said = conversation(page).inner_text()
        assert [said.count(f"again{n} ") for n in range(LAST)] == [1] * LAST


def test_a_connection_that_breaks_in_mid_stream_neither_doubles_nor_loses_words(browser: Browser, url: str) -> None:
    with visiting(browser, url) as visitor:
        visitor.expects_error("Failed to load resource|ERR_")
        page = visitor.goes_to("chat?agent=teller")
        box(page).fill("cut")
        box(page).press("Enter")
        expect(conversation(page)).to_contain_text("cut3 cut4")
        visitor.context.set_offline(True)
        visitor.context.set_offline(False)
        expect(conversation(page)).to_contain_text(f"cut{LAST}", timeout=LONG_MS)
        expect(page.get_by_role("button", name="Copy the answer")).to_be_visible()
        said = conversation(page).inner_text()
        assert [said.count(f"cut{n} ") for n in range(LAST)] == [1] * LAST


# -- writing ----------------------------------------------------------------------------------------------------------


def test_enter_that_ends_a_composition_sends_nothing(browser: Browser, url: str) -> None:
    with visiting(browser, url) as visitor:
        page = visitor.goes_to("chat?agent=teller")
        box(page).fill("nihon")
        for composing in ({"isComposing": True}, {"keyCode": 229}):
            box(page).dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **composing})
        expect(box(page)).to_have_value("nihon")
        assert httpx.get(f"{url}/v1/runs").json()["data"] == []
        box(page).press("Enter")
        expect(conversation(page)).to_contain_text("nihon0", timeout=LONG_MS)


def test_drafts_stay_with_their_thread_and_what_was_not_sent_comes_back(browser: Browser, url: str) -> None:
    first, second = run_of(url, "a"), run_of(url, "b")
    with visiting(browser, url) as visitor:
        visitor.expects_error("status of 503")
        page = visitor.goes_to(f"chat/{first['thread_id']}")
        box(page).fill("for the first")
        page.get_by_role("link", name=re.compile("^b")).click()
        expect(page).to_have_url(re.compile(second["thread_id"]))
        expect(box(page)).to_have_value("")
        page.get_by_role("link", name=re.compile("^a")).click()
        expect(box(page)).to_have_value("for the first")

        held: list[Any] = []
        page.route("**/v1/runs", lambda route: held.append(route))
        box(page).press("Enter")
        expect(box(page)).to_have_value("")
        page.get_by_role("link", name=re.compile("^b")).click()
        expect(page).to_have_url(re.compile(second["thread_id"]))
        for route in held:
            route.fulfill(status=503, content_type="application/problem+json", body='{"detail": "Not now."}')
        expect(page.get_by_text("This was not sent")).to_be_visible()
        page.unroute_all()
        page.get_by_role("link", name=re.compile("^a")).click()
        expect(box(page)).to_have_value("for the first")


def test_threads_without_a_title_are_called_by_their_first_words(browser: Browser, url: str) -> None:
    run = run_of(url, "Where is my kettle?")
    asked: list[str] = []
    with visiting(browser, url) as visitor:
        visitor.page.on("request", lambda request: asked.append(request.url))
        page = visitor.goes_to("chat")
        expect(page.get_by_role("navigation", name="Threads").get_by_role("link")).to_contain_text(
            "Where is my kettle?"
        )
        assert not [one for one in asked if "/messages" in one], "the list brings them"
        visitor.goes_to(f"chat/{run['thread_id']}")
        expect(page.get_by_role("heading", level=1, name="Where is my kettle?")).to_be_visible()


# -- others do something meanwhile ------------------------------------------------------------------------------------


def test_a_thread_that_is_deleted_elsewhere_says_so(browser: Browser, url: str) -> None:
    run = run_of(url, "gone")
    with visiting(browser, url) as visitor:
        visitor.expects_error("status of 404")
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        expect(conversation(page)).to_contain_text(f"gone{LAST}")
        httpx.delete(f"{url}/v1/threads/{run['thread_id']}").raise_for_status()
        expect(page.get_by_role("main").get_by_role("alert").first).to_be_visible()
        expect(box(page)).to_have_count(0)
        visitor.has_no_barriers("a thread that is gone")


def test_what_was_being_written_about_a_question_is_kept_when_somebody_is_faster(browser: Browser, url: str) -> None:
    run = run_of(url, "pay Ada")
    approval = run["waiting_on"][0]["id"]
    with visiting(browser, url) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        page.get_by_role("button", name="Reject…").click()
        page.get_by_role("textbox", name="Note").fill("Not before March.")
        httpx.post(f"{url}/v1/approvals/{approval}/resolve", json={"decision": "approve"}).raise_for_status()
        expect(page.get_by_text("You had written, and not sent: Not before March.")).to_be_visible()
        expect(conversation(page)).to_contain_text("Done: paid 120.50 to Ada.")
        visitor.has_no_barriers("a question that somebody else decided")


# -- long -------------------------------------------------------------------------------------------------------------


def test_who_scrolled_up_is_left_there_while_something_is_said(browser: Browser, url: str) -> None:
    run = run_of(url, "read 40")
    with visiting(browser, url, size=(900, 600)) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        talked = conversation(page)
        expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
        place = "one => [Math.round(one.scrollTop), Math.round(one.scrollHeight - one.scrollTop - one.clientHeight)]"
        assert talked.evaluate(place)[1] < 60, "it opens at its end"
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(talked).to_contain_text("read0 read1")
        before = talked.evaluate("one => one.scrollTop")
        talked.evaluate("one => { one.scrollTop -= 20 }")
        expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
        expect(talked).to_contain_text(f"read{LAST}", timeout=LONG_MS)
        assert talked.evaluate("one => one.scrollTop") <= before, "nobody was pulled down"
        page.get_by_role("button", name="Jump to latest").click()
        assert talked.evaluate(place)[1] < 60


def test_a_run_of_more_than_2_000_steps_is_heard_in_a_page_that_stays_small(browser: Browser, url: str) -> None:
    run = run_of(url, "read 2000")
    for _ in range(10):
        run = httpx.get(f"{url}/v1/runs/{run['id']}", params={"wait": 60}, timeout=70).json()
        if run["status"] == "waiting":
            break
    assert run["status"] == "waiting", run["error"]
    assert run["steps"] > 2_000
    with visiting(browser, url) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        approve = page.get_by_role("button", name="Approve", exact=True)
        expect(approve).to_be_visible(timeout=LONG_MS)
        assert page.evaluate("document.querySelectorAll('*').length") < 9_000, "only its end is there"
        approve.click()
        expect(conversation(page)).to_contain_text("read3 read4", timeout=LONG_MS)
        box(page).fill("written meanwhile")
        expect(conversation(page)).to_contain_text(f"read{LAST}", timeout=LONG_MS)
        expect(box(page)).to_have_value("written meanwhile")
        earlier = page.get_by_role("button", name=re.compile("Show earlier"))
        if earlier.count():
            earlier.click()
        keeps_shot(visitor, "chat-2000-steps")


def keeps_shot(visitor: Visitor, name: str) -> None:
    visitor.fits()
    visitor.keeps_shot(name)
