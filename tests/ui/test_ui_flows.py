"""What people do with the control plane, from end to end: two browsers, two servers, a server that is killed."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from holdfast.demo.desk import EXAMPLE
from tests import databases, long_runs
from tests.cli.processes import WAIT_S
from tests.ui import house as houses
from tests.ui.browser import DESK, PHONE, visiting
from tests.ui.conftest import House

LONG_MS = 60_000


def run_of(url: str, agent: str, input: Any, wait: int = 30) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/runs?wait={wait}", json={"agent": agent, "input": input}, timeout=wait + 10)
    answer.raise_for_status()
    return answer.json()


def seeded(url: str, name: str) -> dict[str, Any]:
    """One of the runs that the demo begins with, once it has come as far as it does."""
    for _ in range(WAIT_S * 10):
        found = httpx.get(f"{url}/v1/runs", params={"tag": "seed"}).json()["data"]
        run = next((run for run in found if run["external_id"] == f"seed-{name}"), None)
        if run is not None and run["status"] not in ("queued", "running"):
            return run
        time.sleep(0.1)
    raise AssertionError(f"The demo did not make its run {name!r} in time.")


def says(page: Page, agent: str, text: str) -> None:
    """Write to an agent and send it."""
    box = page.get_by_role("textbox", name=re.compile(f"Message to {agent}"))
    box.fill(text)
    box.press("Enter")


# -- chat ---------------------------------------------------------------------------------------------------------


def test_a_chat_streams_and_is_there_after_a_reload(browser: Browser, house: House) -> None:
    with house.serve("--log-level", "error", verb="dev") as process, visiting(browser, process.url()) as visitor:
        page = visitor.goes_to("chat?agent=talker")
        says(page, "Talker", "go on")
        talk = page.get_by_role("region", name="Conversation").or_(page.get_by_label("Conversation"))
        expect(talk.first).to_contain_text("word3 word4")
        assert "word1199" not in talk.first.inner_text(), "it streams"
        page.reload()
        expect(talk.first).to_contain_text("word1199", timeout=LONG_MS)
        assert talk.first.inner_text().count("word1198") == 1
        visitor.has_no_barriers("a conversation")
        visitor.keeps_shot("chat-long")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_chat_goes_on_when_its_server_was_killed_in_mid_stream(
    browser: Browser, dialect: str, request: pytest.FixtureRequest
) -> None:
    house: House = request.getfixturevalue("house" if dialect == "sqlite" else "postgres_house")
    with house.serve(verb="dev") as process:
        url = process.url()
        port = int(url.rpartition(":")[2])
        with visiting(browser, url) as visitor:
            visitor.expects_error("Failed to load resource|ERR_")
            page = visitor.goes_to("chat?agent=talker")
            says(page, "Talker", "go on")
            talk = page.get_by_label("Conversation").first
            expect(talk).to_contain_text("word30 ")
            process.send(signal.SIGKILL)
            process.ends()
            expect(page.get_by_role("status", name="Offline")).to_be_visible(timeout=LONG_MS)
            with house.serve(verb="dev", port=port) as again:
                again.url()
                expect(talk).to_contain_text("word1199", timeout=LONG_MS)
                text = talk.inner_text()
                assert [text.count(f"word{n} ") for n in (0, 1, 500, 1198)] == [1, 1, 1, 1]
                runs = httpx.get(f"{url}/v1/runs").json()["data"]
                assert [run["status"] for run in runs] == ["succeeded"]


def test_what_a_model_writes_is_inert(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process:
        run = run_of(process.url(), "talker", "be hostile")
        for size in (DESK, PHONE):
            with visiting(browser, process.url(), size=size) as visitor:
                for path in (f"chat/{run['thread_id']}", f"runs/{run['id']}?view=transcript&step=1"):
                    page = visitor.goes_to(path)
                    expect(page.get_by_text("שלום עולם").first).to_be_visible()
                    assert "owned" not in page.title()
                    assert page.locator("main script, main img").count() == 0
                    assert page.locator("a[href^='javascript']").count() == 0
                    assert "\x1b" not in page.locator("main").inner_text()
                    assert "\u202e" not in page.locator("main").inner_text()
                    visitor.fits()
                    visitor.has_no_barriers()


def test_a_result_of_5_mb_is_shown_in_part_and_can_be_had_whole(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process:
        run = run_of(process.url(), "fetch", "x")
        assert run["status"] == "succeeded", run["error"]
        with visiting(browser, process.url()) as visitor:
            page = visitor.goes_to(f"runs/{run['id']}?step=1")
            panel = page.get_by_role("complementary", name="Step").or_(page.get_by_label("Step", exact=True))
            expect(panel.first).to_contain_text("5.0 MB")
            with page.expect_download() as download:
                panel.first.get_by_role("link", name=re.compile("Download")).or_(
                    panel.first.get_by_role("button", name=re.compile("Download"))
                ).first.click()
            assert Path(download.value.path()).stat().st_size > houses.LARGE_CHARS
            assert page.evaluate("document.documentElement.innerText.length") < 500_000
            visitor.keeps_shot("large-result")


def test_a_message_is_edited_on_a_branch_and_the_tree_shows_both(browser: Browser, any_desk: str) -> None:
    run = run_of(any_desk, "support", "Where is order 1143?")
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"chat/{run['thread_id']}")
        said = page.get_by_label("Conversation").first
        expect(said).to_contain_text("Where is order 1143?")
        page.get_by_role("button", name="Edit the message, on a branch").first.click()
        box = page.get_by_role("textbox", name="The message")
        box.fill("Where is order 1139?")
        box.press("Enter")
        expect(page).not_to_have_url(re.compile(run["thread_id"]))
        expect(said).to_contain_text("Order 1139")
        page.get_by_role("button", name="This thread: more").click()
        page.get_by_role("menuitem", name="Branches…").click()
        branches = page.get_by_role("list", name="Branches of the conversation")
        expect(branches.get_by_role("listitem")).to_have_count(2)
        visitor.has_no_barriers("the tree of a conversation")
        visitor.keeps_shot("branches")


# -- approvals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_an_approval_is_raised_in_one_browser_and_decided_in_another(
    browser: Browser, dialect: str, request: pytest.FixtureRequest
) -> None:
    """On PostgreSQL each browser has a server process of its own, on SQLite they share one."""
    house: House = request.getfixturevalue("house" if dialect == "sqlite" else "postgres_house")
    first = house.serve(verb="dev")
    second = first if dialect == "sqlite" else house.serve(verb="dev")
    with first, second, visiting(browser, first.url()) as asker, visiting(browser, second.url()) as decider:
        inbox = decider.goes_to("approvals")
        badge = inbox.get_by_role("navigation", name="Main").get_by_role("link", name="Approvals")
        expect(badge).to_have_accessible_name("Approvals")
        chat = asker.goes_to("chat?agent=talker")
        says(chat, "Talker", "pay Ada")
        question = chat.get_by_role("group", name=re.compile("^Question"))
        expect(question).to_contain_text("money leaves the house")
        expect(badge).to_have_accessible_name(re.compile("1 pending"))
        inbox.get_by_role("list", name="Open questions").get_by_role("link").first.click()
        inbox.get_by_role("region", name="Decide").get_by_role("button", name="Approve").click()
        expect(badge).to_have_accessible_name("Approvals")
        expect(question).to_have_count(0)
        expect(chat.get_by_label("Conversation").get_by_text("Done: paid 120.50 to Ada")).to_be_visible()
        expect(chat.get_by_text(re.compile("[Aa]pproved")).first).to_be_visible()


def test_two_people_who_decide_the_same_question_hear_of_each_other(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process:
        run = run_of(process.url(), "talker", "pay Bob", wait=20)
        approval = run["waiting_on"][0]["id"]
        with visiting(browser, process.url()) as visitor:
            page = visitor.goes_to(f"approvals/{approval}")
            page.get_by_role("textbox", name=re.compile("[Nn]ote")).fill("what I wanted to say")
            httpx.post(
                f"{process.url()}/v1/approvals/{approval}/resolve", json={"decision": "reject", "note": "No."}
            ).raise_for_status()
            expect(page.get_by_text(re.compile("rejected", re.I)).first).to_be_visible()
            expect(page.get_by_text("what I wanted to say").first).to_be_visible()
            visitor.has_no_barriers()


def test_the_inbox_by_keyboard_alone(browser: Browser, house: House) -> None:
    with house.serve(verb="dev") as process:
        for name in ("Ada", "Bob", "Cleo"):
            run_of(process.url(), "talker", f"pay {name}", wait=20)
        with visiting(browser, process.url()) as visitor:
            page = visitor.goes_to()
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.keyboard.press("g")
            page.keyboard.press("a")
            expect(page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()
            expect(page.get_by_text("Ada").first).to_be_visible()
            page.keyboard.press("j")
            expect(page).to_have_url(re.compile("/approvals/apr_"))
            expect(page.get_by_role("region", name="Decide")).to_be_visible()
            visitor.has_no_barriers("a question")
            visitor.keeps_shot("approval")
            page.keyboard.press("e")
            amount = page.get_by_role("region", name="The question").get_by_label(re.compile("^amount", re.I)).first
            expect(amount).to_be_visible()
            amount.focus()
            page.keyboard.press("Control+a")
            page.keyboard.type("99.5")
            visitor.keeps_shot("approval-edited")
            visitor.has_no_barriers("a question with other arguments")
            page.keyboard.press("Control+Enter")
            listed = page.get_by_role("list", name="Open questions")
            expect(listed.get_by_text("Ada")).to_have_count(0)
            page.keyboard.press("r")  # the next question is before us already
            page.keyboard.type("We pay Bob in March.")
            page.keyboard.press("Control+Enter")
            expect(listed.get_by_text("Bob")).to_have_count(0)
        found = httpx.get(f"{process.url()}/v1/approvals").json()["data"]
        assert [row["status"] for row in found] == ["approved", "rejected", "pending"]
        assert found[0]["arguments"]["amount"] == 99.5
        assert found[1]["decisions"][0]["note"] == "We pay Bob in March."


def test_a_refund_that_a_chat_asked_for_is_approved_for_less_in_the_inbox(browser: Browser, any_desk: str) -> None:
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to("chat?agent=support")
        says(page, "Support desk", EXAMPLE)
        expect(page.get_by_role("group", name=re.compile("^Question"))).to_contain_text("above 100 euros")
        thread = page.url.rpartition("/")[2].partition("?")[0]
        waiting = httpx.get(f"{any_desk}/v1/approvals", params={"status": "pending", "order": "desc"}).json()["data"]
        asked = next(row for row in waiting if row["thread_id"] == thread)
        visitor.goes_to(f"approvals/{asked['id']}")
        expect(page.get_by_role("region", name="Decide")).to_be_visible()
        page.keyboard.press("e")
        amount = page.get_by_role("region", name="The question").get_by_label(re.compile("^amount", re.I)).first
        amount.fill("120.00")
        page.keyboard.press("Control+Enter")
        said = visitor.goes_to(f"chat/{thread}").get_by_label("Conversation").first
        expect(said).to_contain_text("I have refunded 120.00 EUR", timeout=LONG_MS)
    found = httpx.get(f"{any_desk}/v1/approvals/{asked['id']}").json()
    assert (found["status"], found["arguments"]["amount"]) == ("approved", "120.00")


# -- runs and effects ---------------------------------------------------------------------------------------------


def test_of_a_call_that_nobody_knows_of_a_person_says_what_became_of_it(browser: Browser, any_desk: str) -> None:
    run = seeded(any_desk, "unknown")
    (effect,) = httpx.get(f"{any_desk}/v1/effects", params={"run_id": run["id"]}).json()["data"]
    assert effect["status"] == "unknown"
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"effects?status=unknown&effect={effect['id']}")
        word = page.get_by_role("region", name="Say what became of it")
        word.get_by_role("radio", name=re.compile("^It happened")).check()
        word.get_by_role("textbox", name="Note").fill("They say that they were called.")
        word.get_by_role("button", name="Record it").click()
        expect(word).to_have_count(0)
        visitor.goes_to(f"runs/{run['id']}")
        expect(page.get_by_role("main").get_by_text("succeeded").first).to_be_visible(timeout=LONG_MS)
        visitor.has_no_barriers("a run that went on")
    (effect,) = httpx.get(f"{any_desk}/v1/effects", params={"run_id": run["id"]}).json()["data"]
    assert effect["status"] == "committed"


def test_a_run_that_waits_is_cancelled_with_a_reason(browser: Browser, any_desk: str) -> None:
    run = run_of(any_desk, "support", "Please refund order 1071, all of it arrived broken.")
    assert run["status"] == "waiting", run
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}")
        page.get_by_role("button", name="Cancel", exact=True).click()
        dialog = page.get_by_role("dialog", name="Cancel this run")
        dialog.get_by_role("textbox", name="Reason").fill("They changed their mind.")
        visitor.has_no_barriers("the question whether to cancel")
        dialog.get_by_role("button", name="Cancel the run").click()
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("main").get_by_text("cancelled").first).to_be_visible()
    found = httpx.get(f"{any_desk}/v1/runs/{run['id']}").json()
    assert (found["status"], found["cancel_reason"]) == ("cancelled", "They changed their mind.")
    asked = httpx.get(f"{any_desk}/v1/approvals", params={"run_id": run["id"]}).json()["data"]
    assert [row["status"] for row in asked] == ["cancelled"]


def test_a_run_that_failed_is_retried(browser: Browser, any_desk: str) -> None:
    run = seeded(any_desk, "failed")
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}")
        expect(page.get_by_role("main").get_by_text("failed").first).to_be_visible()
        page.get_by_role("button", name="Retry", exact=True).click()
        expect(page.get_by_text("The run is queued again.").first).to_be_visible()
    again = httpx.get(f"{any_desk}/v1/runs/{run['id']}?wait=30", timeout=40).json()
    assert again["attempt"] > run["attempt"]
    assert again["error"]["code"] == "limit_steps", "its limit is what it was"


# -- time travel --------------------------------------------------------------------------------------------------


def test_a_run_is_forked_with_an_edit_by_keyboard_and_compared(browser: Browser, any_desk: str) -> None:
    run = run_of(any_desk, "support", "Where is order 1143?")
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?step=2&fork=true")
        dialog = page.get_by_role("dialog", name="Fork this run")
        expect(dialog).to_be_visible()
        dialog.get_by_role("radio", name=re.compile("result", re.I)).first.focus()
        page.keyboard.press("Space")
        editor = dialog.get_by_role("textbox").first
        expect(editor).to_be_visible()
        editor.focus()
        page.keyboard.press("Control+a")
        page.keyboard.type('"There is no order 1143."')
        visitor.has_no_barriers("the fork dialog")
        visitor.keeps_shot("fork")
        page.keyboard.press("Control+Enter")
        expect(dialog).to_have_count(0)
        expect(page).not_to_have_url(re.compile(run["id"]))
        forked = httpx.get(f"{any_desk}/v1/runs/{run['id']}/forks").json()["data"]
        assert [fork["forked_from"] for fork in forked] == [{"run_id": run["id"], "at": 2}]
        visitor.goes_to(f"runs/{run['id']}/diff/{forked[0]['id']}")
        expect(page.get_by_text("There is no order 1143.").first).to_be_visible()
        visitor.has_no_barriers("a comparison")
        visitor.keeps_shot("diff")


def test_a_run_is_replayed(browser: Browser, any_desk: str) -> None:
    run = run_of(any_desk, "support", "Where is order 1143?")
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?view=replay")
        page.get_by_role("button", name="Replay", exact=True).click()
        expect(page.get_by_text(re.compile("identical", re.I)).first).to_be_visible(timeout=LONG_MS)
        visitor.has_no_barriers("a replay")
        visitor.keeps_shot("replay")


@pytest.mark.parametrize("view", ["transcript", "timeline", "journal", "state", "forks"])
def test_every_view_of_a_run_is_without_barriers(browser: Browser, desk: str, view: str) -> None:
    run = run_of(desk, "support", "Where is order 1143?")
    for theme in ("light", "dark"):
        with visiting(browser, desk, theme=theme) as visitor:
            page = visitor.goes_to(f"runs/{run['id']}?view={view}&step=2")
            expect(page.get_by_role("tab", selected=True).first).to_be_visible()
            expect(page.get_by_role("status", name=re.compile("Loading"))).to_have_count(0)
            visitor.has_no_barriers()
            visitor.fits()
            visitor.keeps_shot(f"run-{view}-{theme}")


def test_one_selection_drives_all_views_and_is_in_the_address(browser: Browser, any_desk: str) -> None:
    run = run_of(any_desk, "nightly-restock", {"products_max": 3})
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?view=timeline")
        page.get_by_text("find-low-stock").first.click()
        expect(page).to_have_url(re.compile("step=3"))
        page.get_by_role("tab", name="Journal").click()
        expect(page).to_have_url(re.compile("view=journal.*step=3|step=3.*view=journal"))
        address = page.url
        with visiting(browser, any_desk) as other:
            shared = other.context.new_page()
            shared.goto(address)
            expect(shared.get_by_role("tab", name="Journal", selected=True)).to_be_visible()
            expect(shared.get_by_role("heading", name="find-low-stock")).to_be_visible()


# -- much of it ---------------------------------------------------------------------------------------------------


def test_a_run_of_20_000_steps_opens_with_few_rows(browser: Browser, house: House) -> None:
    async def write() -> str:
        from holdfast.domain.ids import RUN, text

        async with databases.opened(house.database) as database:
            from holdfast.store import principals

            await database.write(None, principals.seed)
            return text(RUN, await long_runs.add_workflow(database))

    run_id = databases.in_thread(write)
    with house.serve(verb="dev") as process, visiting(browser, process.url()) as visitor:
        page = visitor.goes_to(f"runs/{run_id}?view=timeline")
        expect(page.get_by_text("20,000").first).to_be_visible(timeout=LONG_MS)
        for view in ("timeline", "journal"):
            visitor.goes_to(f"runs/{run_id}?view={view}")
            expect(page.get_by_role("row").nth(5)).to_be_visible(timeout=LONG_MS)
            assert page.evaluate("document.querySelectorAll('*').length") < 4_000, "only what is seen is there"
            visitor.keeps_shot(f"long-{view}")


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500, 502, 503])
def test_every_error_of_the_api_is_shown_and_leaves_the_page_usable(browser: Browser, desk: str, status: int) -> None:
    with visiting(browser, desk) as visitor:
        visitor.expects_error(f"status of {status}")
        body = '{"code": "made_up", "title": "No", "detail": "What was wrong, <b>in words</b>.", "request_id": "req-7"}'
        problem = body if status != 502 else "<html>Bad Gateway</html>"
        visitor.page.route(
            re.compile(r"/v1/runs\?"),
            lambda route: route.fulfill(status=status, content_type="application/problem+json", body=problem),
        )
        page = visitor.goes_to("runs")
        alert = page.get_by_role("main").get_by_role("alert").first
        expect(alert).to_be_visible()
        if status in (400, 409, 422, 429, 500, 503):
            expect(alert).to_contain_text("What was wrong, <b>in words</b>.")
        visitor.has_no_barriers()
        visitor.page.unroute_all()
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Agents").click()
        expect(page.get_by_role("heading", name="Agents", level=1)).to_be_visible()


def test_a_clock_that_is_hours_off_shows_the_right_times(browser: Browser, desk: str) -> None:
    run_of(desk, "support", "Where is order 1143?")
    with visiting(browser, desk) as visitor:
        visitor.page.add_init_script("const real = Date.now; Date.now = () => real() + 3 * 3_600_000;")
        page = visitor.goes_to("runs")
        first = page.get_by_role("row").nth(1).locator("time").first
        expect(first).to_have_text(re.compile(r"just now|\d+ s ago|\d+ min ago"))


def test_a_journal_is_exported_and_imported(browser: Browser, any_desk: str, tmp_path: Path) -> None:
    run = run_of(any_desk, "support", "Where is order 1143?")
    with visiting(browser, any_desk) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}")
        page.get_by_role("button", name="More actions").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="Export journal").click()
        file = tmp_path / "run.jsonl"
        download.value.save_as(file)
        visitor.goes_to("runs")
        page.get_by_role("button", name="Import", exact=True).click()
        page.locator("input[type=file]").set_input_files(file)
        expect(page).to_have_url(re.compile("/runs/run_"))
        expect(page.get_by_text("imported").first).to_be_visible()
        assert run["id"] not in page.url
