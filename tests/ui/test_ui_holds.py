"""The inbox and the ledger in a browser: by keyboard, under many hands, and with values that are hard to edit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests import databases
from tests.cli.processes import ROOT, Process
from tests.ui.browser import Visitor, visiting
from tests.ui.conftest import House

WIDTHS = [(320, 720), (768, 1024), (1280, 800), (2560, 1440)]
MANY = 230
LARGE = 2**53 + 1


def serve(house: House, verb: str = "dev") -> Process:
    target = str(ROOT / "tests" / "ui" / "holds.py") + ":hf"
    return Process(verb, target, "--port", "0", "--database", house.database, cwd=house.folder, **house._settings({}))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server on SQLite for what does not mind what others asked before."""
    folder = tmp_path_factory.mktemp("holds")
    url = databases.migrated(f"sqlite:///{folder / 'holdfast.db'}")
    with serve(House(folder, url)) as process:
        yield process.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> House:
    return request.getfixturevalue("house" if request.param == "sqlite" else "postgres_house")


def asked(url: str, agent: str, input: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """A question that a new run waits with."""
    answer = httpx.post(f"{url}/v1/runs?wait=30", json={"agent": agent, "input": input}, headers=headers, timeout=40)
    answer.raise_for_status()
    assert answer.json()["status"] == "waiting", answer.json()
    found = httpx.get(f"{url}/v1/approvals", params={"run_id": answer.json()["id"]}, headers=headers).json()["data"]
    return found[-1]


def resolved(url: str, question: dict[str, Any], decision: str, **more: Any) -> dict[str, Any]:
    headers = more.pop("headers", None)
    body = {"decision": decision, **more}
    answer = httpx.post(f"{url}/v1/approvals/{question['id']}/resolve", json=body, headers=headers)
    answer.raise_for_status()
    return answer.json()


def shown(url: str, question: dict[str, Any]) -> dict[str, Any]:
    return httpx.get(f"{url}/v1/approvals/{question['id']}").json()


def output(url: str, question: dict[str, Any]) -> Any:
    return httpx.get(f"{url}/v1/runs/{question['run_id']}?wait=30", timeout=40).json()["output"]


def signed_in(visitor: Visitor, key: str) -> Page:
    page = visitor.goes_to("approvals")
    dialog = page.get_by_role("dialog", name="Sign in to Holdfast")
    dialog.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    return page


def opens(visitor: Visitor, question: dict[str, Any]) -> Page:
    """A question, loaded with what led to it: before that, keys have nothing to do."""
    page = visitor.goes_to(f"approvals/{question['id']}")
    expect(decide(page)).to_be_visible()
    expect(page.get_by_role("status", name=re.compile("Loading"))).to_have_count(0)
    return page


def decide(page: Page) -> Locator:
    return page.get_by_role("region", name="Decide")


def question_of(page: Page) -> Locator:
    return page.get_by_role("region", name="The question")


# -- by keyboard --------------------------------------------------------------------------------------------------


def test_the_inbox_is_worked_off_by_keyboard_alone(browser: Browser, either: House) -> None:
    with serve(either) as process:
        url = process.url()
        questions = [asked(url, "ships", name) for name in ("Ada", "Bob", "Cleo", "Dan", "Eve")]
        with visiting(browser, url) as visitor:
            page = visitor.goes_to("approvals")
            listed = page.get_by_role("list", name="Open questions")
            expect(listed.get_by_role("listitem")).to_have_count(5)
            page.keyboard.press("j")
            page.keyboard.press("j")
            expect(page).to_have_url(re.compile(questions[1]["id"]))
            page.keyboard.press("k")
            expect(page).to_have_url(re.compile(questions[0]["id"]))
            page.keyboard.press("e")
            to = question_of(page).get_by_label(re.compile("^to")).first
            expect(to).to_be_focused()
            page.keyboard.press("Control+a")
            page.keyboard.type("Adele")
            page.keyboard.press("Escape")
            page.keyboard.press("a")
            expect(decide(page).get_by_role("button", name="Approve with changes")).to_be_focused()
            page.keyboard.press("Enter")
            expect(listed.get_by_role("listitem")).to_have_count(4)
            expect(page).to_have_url(re.compile(questions[1]["id"]))
            expect(page.get_by_role("heading", name="ships wants to call ship")).to_be_focused()
            page.keyboard.press("r")
            expect(page.get_by_role("textbox", name="Note")).to_be_focused()
            page.keyboard.type("Bob moved.")
            page.keyboard.press("Control+Enter")
            expect(listed.get_by_role("listitem")).to_have_count(3)
            page.keyboard.press("x")
            page.keyboard.press("j")
            page.keyboard.press("x")
            expect(page.get_by_role("toolbar", name="Selected questions")).to_contain_text("2 questions selected")
            page.keyboard.press("r")
            dialog = page.get_by_role("dialog", name="Reject 2 questions")
            expect(dialog.get_by_label("Note for all of them")).to_be_focused()
            page.keyboard.type("Not this week.")
            visitor.has_no_barriers("several at once")
            page.keyboard.press("Control+Enter")
            expect(dialog.get_by_role("status")).to_have_text("2 of 2 done.")
            page.keyboard.press("Enter")
            expect(dialog).to_have_count(0)
            expect(listed.get_by_role("listitem")).to_have_count(1)
        found = [shown(url, one) for one in questions]
        assert [one["status"] for one in found] == ["approved", "rejected", "rejected", "rejected", "pending"]
        assert [one["decisions"][0]["note"] for one in found[:4]] == [None, "Bob moved.", *["Not this week."] * 2]
        assert output(url, questions[0]) == "sent for Adele"


def test_ctrl_enter_in_a_dialog_above_a_question_decides_nothing(browser: Browser, desk: str) -> None:
    question = asked(desk, "ships", "Palette")
    with visiting(browser, desk) as visitor:
        page = opens(visitor, question)
        page.keyboard.press("Control+k")
        expect(page.get_by_role("dialog").first).to_be_visible()
        with visitor.context.expect_event("request", lambda sent: sent.method == "GET" and "/v1/" in sent.url):
            page.keyboard.press("Control+Enter")
            page.keyboard.press("Escape")
            visitor.goes_to("effects")
    assert shown(desk, question)["status"] == "pending"


# -- where things stand -------------------------------------------------------------------------------------------


def test_a_question_its_effect_and_its_step_lead_to_one_another(browser: Browser, desk: str) -> None:
    question = asked(desk, "ships", "Links")
    resolved(desk, question, "approve")
    assert output(desk, question) == "sent for Links"
    steps = httpx.get(f"{desk}/v1/runs/{question['run_id']}/steps").json()["data"]
    seqs = {step["kind"]: step["seq"] for step in steps}
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to(f"approvals/{question['id']}")
        link = page.get_by_role("link", name=re.compile(f"Run, step {seqs['interrupt']}"))
        expect(link).to_have_attribute("href", re.compile(f"{question['run_id']}\\?step={seqs['interrupt']}$"))
        page.get_by_role("link", name=re.compile("^Effect eff_")).click()
        pane = page.get_by_role("complementary", name="The effect")
        link = pane.get_by_role("link", name=re.compile(f"step {seqs['tool']}"))
        expect(link).to_have_attribute("href", re.compile(f"{question['run_id']}\\?step={seqs['tool']}$"))
        expect(pane.get_by_text("Allowed by")).to_be_visible()
        pane.get_by_role("link", name=re.compile("approved")).click()
        expect(page).to_have_url(re.compile(question["id"]))


def test_what_was_decided_last_stands_first(browser: Browser, desk: str) -> None:
    first, second = asked(desk, "ships", "older"), asked(desk, "ships", "newer")
    resolved(desk, second, "reject", note="decided first")
    resolved(desk, first, "reject", note="decided last")
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to("approvals?view=decided")
        rows = page.get_by_role("list", name="Decided questions").get_by_role("listitem")
        expect(rows.nth(0)).to_contain_text("decided last")
        expect(rows.nth(1)).to_contain_text("decided first")


# -- many hands ---------------------------------------------------------------------------------------------------


def test_a_question_that_changes_under_an_edit_keeps_what_was_typed(browser: Browser, house: House) -> None:
    ann, bob = house.key("ann", "*"), {"Authorization": f"Bearer {house.key('bob', '*')}"}
    with serve(house, "serve") as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("401")
        url = process.url()
        question = asked(url, "destroys", "the shed", bob)
        page = signed_in(visitor, ann)
        opens(visitor, question)
        expect(page.get_by_text("bob", exact=False).first).to_be_visible()
        page.keyboard.press("e")
        what = question_of(page).get_by_label(re.compile("^what"))
        what.fill("only the roof")
        resolved(url, question, "approve", arguments={"what": "the whole house"}, headers=bob)
        notice = page.get_by_role("main").get_by_role("alert").filter(has_text="This changed while you were writing")
        expect(notice).to_contain_text("the whole house")
        expect(what).to_have_value("only the roof")
        page.keyboard.press("Control+Enter")
        expect(decide(page).get_by_role("alert")).to_contain_text("Nothing was sent")
        visitor.has_no_barriers("a question that changed")
        notice.get_by_role("button", name="Keep what I typed").click()
        expect(notice).to_have_count(0)
        what.focus()
        said = decide(page).get_by_text("You have approved")
        for _ in range(20):  # what changed just now is not sent before it could be read
            page.keyboard.press("Control+Enter")
            with suppress(AssertionError):
                expect(said).to_be_visible(timeout=500)
                break
        expect(said).to_be_visible()
        after = httpx.get(f"{url}/v1/approvals/{question['id']}", headers=bob).json()
        assert (after["status"], after["arguments"]) == ("pending", {"what": "only the roof"})
        assert [one["void"] for one in after["decisions"]] == [True, False]


def test_starting_again_shows_what_is_asked_now_in_the_raw_editor_too(browser: Browser, house: House) -> None:
    ann, bob = house.key("ann", "*"), {"Authorization": f"Bearer {house.key('bob', '*')}"}
    with serve(house, "serve") as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("401")
        url = process.url()
        question = asked(url, "destroys", "the shed", bob)
        page = signed_in(visitor, ann)
        opens(visitor, question)
        page.keyboard.press("e")
        question_of(page).get_by_role("radio", name="JSON").click()
        editor = question_of(page).get_by_role("textbox", name="Arguments as JSON")
        editor.focus()
        page.keyboard.press("Control+a")
        page.keyboard.type('{"what": "mine"}')
        resolved(url, question, "approve", arguments={"what": "theirs"}, headers=bob)
        page.get_by_role("button", name="Start again from how it is now").click()
        expect(editor).to_contain_text("theirs")
        expect(editor).not_to_contain_text("mine")


def test_a_question_that_expires_under_an_edit_says_so_and_keeps_it(browser: Browser, desk: str) -> None:
    question = asked(desk, "hurries", "the bread")
    with visiting(browser, desk) as visitor:
        page = opens(visitor, question)
        page.keyboard.press("e")
        question_of(page).get_by_label(re.compile("^what")).fill("the cake")
        expect(page.get_by_text("What you had typed was not sent")).to_be_visible(timeout=60_000)
        expect(page.get_by_role("list", name="What you had changed")).to_contain_text("the cake")
        expect(page.get_by_role("heading", name="hurries wanted to call hurry")).to_be_focused()
        visitor.has_no_barriers("what expired")


def test_who_may_only_read_is_told_so_before_they_write(browser: Browser, house: House) -> None:
    admin, reader = {"Authorization": f"Bearer {house.key('admin', '*')}"}, house.key("reader", "approvals:read")
    with serve(house, "serve") as process, visiting(browser, process.url()) as visitor:
        visitor.expects_error("401|403")
        question = asked(process.url(), "ships", "Nobody", admin)
        page = signed_in(visitor, reader)
        opens(visitor, question)
        expect(decide(page)).to_contain_text("approvals:write")
        for name in ("Approve", "Reject"):
            expect(decide(page).get_by_role("button", name=name)).to_be_disabled()
        page.keyboard.press("x")
        page.keyboard.press("r")
        dialog = page.get_by_role("dialog", name="Reject 1 question")
        expect(dialog.get_by_role("list", name="The questions")).to_contain_text("approvals:write")
        expect(dialog.get_by_role("button", name="Reject 0")).to_be_disabled()


# -- values that are hard to edit ---------------------------------------------------------------------------------


def test_a_form_keeps_the_kind_that_was_chosen_until_it_is_filled_in(browser: Browser, desk: str) -> None:
    question = asked(desk, "ships", "Kinds")
    with visiting(browser, desk) as visitor:
        page = opens(visitor, question)
        page.keyboard.press("e")
        form = question_of(page)
        kind = form.get_by_role("combobox", name="Kind")
        kind.select_option(label="Pickup")
        expect(kind.locator("option:checked")).to_have_text("Pickup")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Enter")
        expect(decide(page)).to_contain_text("Something that you typed does not fit")
        form.get_by_label(re.compile("^shelf")).fill("7")
        form.get_by_role("button", name="Give a value for extra").click()
        extra = form.get_by_role("textbox", name="extra as JSON")
        extra.focus()
        page.keyboard.press("Control+a")
        page.keyboard.type('{"fragile": true}')
        visitor.has_no_barriers("a form with a choice of kinds")
        page.keyboard.press("Control+Enter")
        expect(page).not_to_have_url(re.compile(question["id"]))
    given = shown(desk, question)["arguments"]
    assert (given["how"]["shelf"], given["extra"]) == (7, {"fragile": True})
    assert output(desk, question) == "picked up for Kinds"


def test_a_number_that_a_browser_would_change_is_neither_edited_nor_sent(browser: Browser, desk: str) -> None:
    question, ask = asked(desk, "wires", LARGE), asked(desk, "asks", "Which reference?")
    with visiting(browser, desk) as visitor:
        page = opens(visitor, question)
        expect(question_of(page)).to_contain_text("more digits than a browser keeps")
        page.keyboard.press("e")
        expect(page.get_by_text("These arguments cannot be changed here")).to_be_visible()
        decide(page).get_by_role("button", name="Approve").click()
        expect(page).not_to_have_url(re.compile(question["id"]))
        assert output(desk, question) == f"wired {LARGE}"
        opens(visitor, ask)
        question_of(page).get_by_role("radio", name="JSON").click()
        editor = question_of(page).get_by_role("textbox", name="Answer as JSON")
        editor.focus()
        page.keyboard.type(str(LARGE))
        expect(question_of(page)).to_contain_text("more digits than a browser keeps")
        page.keyboard.press("Control+Enter")
        expect(decide(page)).to_contain_text("Something that you typed does not fit")
        page.keyboard.press("Control+a")
        page.keyboard.type('{"broken": ')
        expect(question_of(page).get_by_role("listitem").filter(has_text=re.compile("JSON"))).to_be_visible()
        page.keyboard.press("Control+a")
        page.keyboard.type("42")
        page.keyboard.press("Control+Enter")
        expect(page).not_to_have_url(re.compile(ask["id"]))
    assert output(desk, ask) == 42


# -- effects ------------------------------------------------------------------------------------------------------


def test_an_unknown_effect_is_given_its_result_with_the_form_of_its_tool(browser: Browser, desk: str) -> None:
    question = asked(desk, "loses", "P-1")
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to(f"effects?effect={question['effect_id']}")
        form = page.get_by_role("region", name="Say what became of it")
        expect(form.get_by_role("link", name="in the inbox")).to_have_attribute("href", re.compile(question["id"]))
        record = form.get_by_role("button", name=re.compile("Record it"))
        form.get_by_role("radio", name=re.compile("It happened")).check()
        expect(record).to_be_disabled()
        form.get_by_role("radio", name=re.compile("It did not happen")).check()
        expect(record).to_be_enabled()
        form.get_by_role("radio", name=re.compile("It happened")).check()
        form.get_by_label(re.compile("^number")).fill("P-1")
        form.get_by_label(re.compile("^weight_grams")).fill("250")
        visitor.has_no_barriers("an unknown effect")
        visitor.keeps_shot("effect-unknown")
        record.click()
        expect(form).to_have_count(0)
        expect(page.get_by_role("heading", name=re.compile("courier"))).to_be_focused()
    assert output(desk, question) == {"number": "P-1", "weight_grams": 250}


def test_an_effect_that_somebody_else_settles_says_so(browser: Browser, desk: str) -> None:
    question = asked(desk, "loses", "P-2")
    with visiting(browser, desk) as visitor:
        page = visitor.goes_to(f"effects?effect={question['effect_id']}")
        form = page.get_by_role("region", name="Say what became of it")
        form.get_by_label("Note").fill("I am looking")
        httpx.post(
            f"{desk}/v1/effects/{question['effect_id']}/resolve", json={"outcome": "not_done"}
        ).raise_for_status()
        expect(form).to_have_count(0)
        expect(page.get_by_role("heading", name=re.compile("courier"))).to_be_focused()
        expect(page.get_by_role("complementary", name="The effect")).to_contain_text("It was done.")


# -- much, and nothing --------------------------------------------------------------------------------------------


def test_hundreds_of_questions_are_walked_through_and_only_those_in_view_are_there(
    browser: Browser, house: House
) -> None:
    with serve(house) as process:
        url = process.url()
        with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=url, timeout=60) as http:
            asks = [{"agent": "asks", "input": f"Number {n}?"} for n in range(MANY)]
            for answer in pool.map(lambda body: http.post("/v1/runs", params={"wait": 30}, json=body), asks):
                assert answer.json()["status"] == "waiting"
        with visiting(browser, url, size=(390, 844)) as visitor:
            page = visitor.goes_to("approvals")
            expect(page.get_by_text("100+ open")).to_be_visible()
            first = httpx.get(f"{url}/v1/approvals", params={"limit": 200}).json()
            rest = httpx.get(f"{url}/v1/approvals", params={"limit": 200, "cursor": first["next_cursor"]}).json()
            ids = [row["id"] for row in [*first["data"], *rest["data"]]]
            with page.expect_response(lambda answer: "cursor=" in answer.url):  # the rows behind the first hundred
                visitor.goes_to(f"approvals/{ids[97]}")
            expect(question_of(page)).to_be_visible()
            for at in range(98, 104):
                page.keyboard.press("j")
                expect(page).to_have_url(re.compile(ids[at]))
            assert page.evaluate("document.querySelectorAll('*').length") < 2_000


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("approvals/apr_00000000000000000000000000", "question"),
        ("effects?effect=eff_00000000000000000000000000", "effect"),
    ],
)
def test_an_address_of_what_is_not_there_says_so(browser: Browser, desk: str, path: str, said: str) -> None:
    with visiting(browser, desk) as visitor:
        visitor.expects_error("404")
        page = visitor.goes_to(path)
        expect(page.get_by_role("main").get_by_role("alert")).to_contain_text(re.compile(said, re.I))
        visitor.has_no_barriers()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_inbox_and_the_ledger_fit_every_width(browser: Browser, desk: str, theme: Any) -> None:
    question, unknown = asked(desk, "ships", "W" * 300), asked(desk, "loses", f"P-{theme}")
    paths = ["approvals", f"approvals/{question['id']}", "effects", f"effects?effect={unknown['effect_id']}"]
    for size in WIDTHS:
        with visiting(browser, desk, theme=theme, size=size) as visitor:
            for path in paths:
                page = visitor.goes_to(path)
                expect(page.get_by_role("status", name=re.compile("Loading"))).to_have_count(0)
                expect(page.get_by_text(re.compile("courier|ship")).last).to_be_attached()
                visitor.fits()
                visitor.has_no_barriers(f"{path} at {size[0]} px")
