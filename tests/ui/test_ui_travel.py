"""Time travel in the control plane: retried with edits, forked, replayed, compared, and taken away as code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.cli.processes import ROOT, Process
from tests.ui.browser import visiting
from tests.ui.conftest import House

LONG_MS = 60_000
CODE_S = 60
# How often the page asks for another state at most.
PACE_S = 0.15
# What gets out of quotes, if anything does.
NASTY = (
    'it\'s "so" $HOME `id` $(id) \\ \\n !! %s {x} #\nsecond\tline \u00fcn\u00efc\u00f6de'
    " \U0001f469\u200d\U0001f52c \u202e\u007f \u2028 EOF"
)
BEYOND = 2**53 + 1
CLIPBOARD = ("clipboard-read", "clipboard-write")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[str]:
    """The agents of `travel_house.py`; the URL of their server."""
    folder = tmp_path_factory.mktemp("travel")
    shutil.copyfile(sqlite_template, folder / "holdfast.db")
    target = str(ROOT / "tests" / "ui" / "travel_house.py") + ":hf"
    where = ("--port", "0", "--database", f"sqlite:///{folder / 'holdfast.db'}")
    with Process("serve", target, *where, cwd=folder, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}") as process:
        yield process.url()


def run_of(url: str, agent: str, input: Any = None, **more: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/runs?wait=30", json={"agent": agent, "input": input, **more}, timeout=40)
    answer.raise_for_status()
    return answer.json()


def fork_of(url: str, run: dict[str, Any], at: int, **more: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/runs/{run['id']}/fork?wait=30", json={"at": at, **more}, timeout=40)
    answer.raise_for_status()
    return answer.json()


def got(url: str, path: str, **query: Any) -> Any:
    answer = httpx.get(f"{url}/v1/{path}", params=query, timeout=40)
    answer.raise_for_status()
    return answer.json()


def short(url: str) -> dict[str, Any]:
    """A run that failed by its limit, behind a model call."""
    run = run_of(url, "seller", "A lamp", limits={"steps_max": 1})
    assert (run["status"], run["error"]["code"]) == ("failed", "limit_steps")
    return run


# -- retry ------------------------------------------------------------------------------------------------------------


def test_a_failed_run_is_retried_with_other_instructions_and_limits(browser: Browser, shop: str) -> None:
    run = short(shop)
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}")
        page.get_by_role("button", name="Retry with edits…").click()
        dialog = page.get_by_role("dialog", name="Retry with edits")
        instructions = dialog.get_by_role("textbox", name="Instructions")
        expect(instructions).to_have_value("Sell lamps.")
        expect(instructions).to_be_focused()
        expect(dialog.get_by_role("textbox", name="Model")).to_have_value(re.compile("scripted"))
        expect(dialog.get_by_label("Steps")).to_have_value("1")
        expect(dialog.get_by_text("Nothing yet: a plain retry.")).to_be_visible()
        instructions.fill("Sell tables.")
        dialog.get_by_label("Steps").fill("20")
        told = dialog.get_by_role("list", name="What is different")
        expect(told.get_by_role("listitem")).to_have_count(2)
        expect(told).to_contain_text("Sell tables.")
        visitor.has_no_barriers("the retry dialog")
        visitor.keeps_shot("retry")
        page.keyboard.press("Control+Enter")
        expect(dialog).to_have_count(0)
        expect(page).not_to_have_url(re.compile("retry"))
    done = got(shop, f"runs/{run['id']}", wait=30)
    assert (done["status"], done["limits"]) == ("succeeded", {"steps_max": 20})
    asked = [got(shop, f"runs/{run['id']}/steps/{seq}/prompt")["instructions"] for seq in (1, 3)]
    assert asked == ["Sell lamps.", "Sell tables."]


def test_what_cannot_be_edited_is_said_beside_its_field(browser: Browser, shop: str) -> None:
    run = short(shop)
    with visiting(browser, shop) as visitor:
        visitor.expects_error("status of 422")
        page = visitor.goes_to(f"runs/{run['id']}?retry=true")
        dialog = page.get_by_role("dialog", name="Retry with edits")
        model = dialog.get_by_role("textbox", name="Model")
        model.fill("no such model")
        dialog.get_by_role("button", name="Retry", exact=True).click()
        expect(model).to_have_attribute("aria-invalid", "true")
        expect(dialog).to_contain_text("This model cannot be asked")
        dialog.get_by_role("button", name="Undo the model").click()
        expect(model).not_to_have_attribute("aria-invalid", "true")
        dialog.get_by_role("textbox", name="Instructions").fill(" ")
        dialog.get_by_role("button", name="Retry", exact=True).click()
        expect(dialog.get_by_role("alert")).to_contain_text("cannot have no instructions")
    assert got(shop, f"runs/{run['id']}")["status"] == "failed"


def test_a_retry_that_is_refused_leads_to_its_fork_filled_in(browser: Browser, shop: str) -> None:
    run = short(shop)
    with visiting(browser, shop) as visitor:
        visitor.expects_error("status of 409")
        page = visitor.goes_to(f"runs/{run['id']}?retry=true")
        dialog = page.get_by_role("dialog", name="Retry with edits")
        dialog.get_by_role("textbox", name="Instructions").fill("Sell chairs.")
        run_of(shop, "echo", 1, thread_id=run["thread_id"])  # the thread goes on while the dialog is open
        dialog.get_by_role("button", name="Retry", exact=True).click()
        expect(dialog.get_by_role("alert")).to_contain_text("built on this run's failure")
        dialog.get_by_role("button", name="Fork instead…").click()
        fork = page.get_by_role("dialog", name="Fork this run")
        expect(fork.get_by_role("radio", name=re.compile("Instructions or model"))).to_be_checked()
        expect(fork.get_by_role("textbox", name="Other instructions")).to_have_value("Sell chairs.")
        fork.get_by_role("button", name="Fork").click()
        expect(fork).to_have_count(0)
    (made,) = [one for one in got(shop, f"runs/{run['id']}/family")["data"] if one["id"] != run["id"]]
    assert (made["forked_from"], made["edited"]) == ({"run_id": run["id"], "at": 1}, ["instructions"])


def test_a_workflow_is_retried_without_edits_of_a_model_and_says_why(browser: Browser, shop: str) -> None:
    run = run_of(shop, "breaks", "no reason")
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?retry=true")
        dialog = page.get_by_role("dialog", name="Retry with edits")
        expect(dialog).to_contain_text("it asks no model itself")
        expect(dialog.get_by_role("textbox", name="Instructions")).to_have_count(0)
        visitor.has_no_barriers("the retry dialog of a workflow")
        dialog.get_by_role("button", name="Fork instead…").click()
        fork = page.get_by_role("dialog", name="Fork this run")
        expect(fork.get_by_role("slider")).to_have_attribute("aria-valuenow", "1")


def test_a_run_that_cannot_be_retried_offers_none(browser: Browser, shop: str) -> None:
    parent = run_of(shop, "calls", "no reason")
    (child,) = got(shop, f"runs/{parent['id']}/children")["data"]
    assert child["status"] == "failed"
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{child['id']}?retry=true")
        expect(page.get_by_role("button", name="Fork", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("Retry"))).to_have_count(0)
        expect(page.get_by_role("dialog")).to_have_count(0)


# -- forks ------------------------------------------------------------------------------------------------------------


def test_the_tree_tells_forks_apart_by_what_came_of_them(browser: Browser, shop: str) -> None:
    run = run_of(shop, "seller", "A lamp")
    for costs in (99, 12):
        fork_of(shop, run, 2, edits={"output": costs})
    with visiting(browser, shop) as visitor:
        asked: list[str] = []
        visitor.page.on("request", lambda request: asked.append(request.url))
        page = visitor.goes_to(f"runs/{run['id']}?view=forks")
        tree = page.get_by_role("region", name="Tree of forks")
        for said in ("It costs 6.", "It costs 99.", "It costs 12."):
            expect(tree.get_by_text(said)).to_be_visible()
        visitor.has_no_barriers("the tree of forks")
        runs = {match[1] for url in asked if (match := re.search(r"/v1/runs/(run_\w+)(?:\?|$)", url))}
        assert runs == {run["id"]}, "the tree is one answer"


def test_an_edit_keeps_every_number_as_it_was_written(browser: Browser, shop: str) -> None:
    run = run_of(shop, "exact")
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?step=1&fork=true")
        dialog = page.get_by_role("dialog", name="Fork this run")
        editor = dialog.get_by_role("textbox").first
        expect(editor).to_contain_text(str(BEYOND))
        expect(editor).to_contain_text("120.0")
        editor.focus()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(f'{{"amount": 7.0, "id": {BEYOND}}}')
        page.keyboard.press("Control+Enter")
        expect(dialog).to_have_count(0)
    (fork,) = got(shop, f"runs/{run['id']}/forks")["data"]
    done = got(shop, f"runs/{fork['id']}", wait=30)
    assert done["output"] == f'{{"amount": 7.0, "id": {BEYOND}}}'


def test_a_double_click_makes_one_fork(browser: Browser, shop: str) -> None:
    run = run_of(shop, "echo", {"id": BEYOND})
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?view=state&step=0&fork=true")
        dialog = page.get_by_role("dialog", name="Fork this run")
        dialog.get_by_role("button", name="Fork").dblclick()
        expect(dialog).to_have_count(0)
        expect(page).not_to_have_url(re.compile(run["id"]))
    (fork,) = got(shop, f"runs/{run['id']}/forks")["data"]
    assert got(shop, f"runs/{fork['id']}", wait=30)["input"] == {"id": BEYOND}


def test_a_parent_that_is_deleted_meanwhile_is_told_and_the_dialog_stays(browser: Browser, shop: str) -> None:
    run = run_of(shop, "echo", 1)
    with visiting(browser, shop) as visitor:
        visitor.expects_error("status of 404")
        page = visitor.goes_to(f"runs/{run['id']}?view=state&step=0&fork=true")
        dialog = page.get_by_role("dialog", name="Fork this run")
        button = dialog.get_by_role("button", name="Fork")
        expect(button).to_be_enabled()
        page.route("**/v1/changes*", lambda route: route.abort())
        httpx.delete(f"{shop}/v1/threads/{run['thread_id']}").raise_for_status()
        button.click()
        expect(dialog.get_by_role("alert")).to_contain_text(re.compile("no run|does not exist", re.I))


def test_a_result_of_5_mb_is_not_put_into_the_editor(browser: Browser, shop: str) -> None:
    run = run_of(shop, "large")
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?step=1&fork=true")
        dialog = page.get_by_role("dialog", name="Fork this run")
        expect(dialog.get_by_role("link", name="Download it")).to_be_visible()
        expect(dialog).to_contain_text("5.0 MB")
        dialog.get_by_role("button", name="Fork").click()
        expect(dialog).to_have_count(0)
    (fork,) = got(shop, f"runs/{run['id']}/forks")["data"]
    assert got(shop, f"runs/{fork['id']}", wait=30)["output"] == 5_000_000, "the step is kept as it was"


# -- replays, comparisons, states -------------------------------------------------------------------------------------


def test_earlier_replays_are_listed_and_opened_by_their_address(browser: Browser, shop: str) -> None:
    run = run_of(shop, "seller", "A lamp")
    made = [
        httpx.post(f"{shop}/v1/runs/{run['id']}/replay", json={"mode": mode}, timeout=60).json()
        for mode in ("strict", "recorded_tools")
    ]
    with visiting(browser, shop) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?view=replay&replay={made[0]['id']}")
        rows = page.get_by_role("list", name="Replays of this run").get_by_role("link")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("recorded tools")
        expect(rows.nth(1)).to_contain_text("Code only")
        expect(rows.nth(1)).to_contain_text("by you")
        expect(rows.nth(1)).to_have_attribute("aria-current", "page")
        expect(rows.nth(0)).not_to_have_attribute("aria-current", "page")
        expect(page.get_by_text("Identical: it would do the same")).to_be_visible()
        rows.nth(0).click()
        expect(page).to_have_url(re.compile(made[1]["id"]))
        expect(page.get_by_role("link", name="The run that it made")).to_be_visible()
        visitor.has_no_barriers("replays")
        visitor.keeps_shot("replays")
        page.get_by_role("button", name="Replay", exact=True).click()
        expect(rows).to_have_count(3, timeout=LONG_MS)
        visitor.expects_error("status of 404")
        visitor.goes_to(f"runs/{run['id']}?view=replay&replay=rpl_{'0' * 26}")
        expect(page.get_by_text("This replay does not exist")).to_be_visible()
        expect(rows).to_have_count(3)


def test_any_two_runs_are_compared(browser: Browser, shop: str) -> None:
    one, other, waiting = run_of(shop, "exact"), run_of(shop, "echo", 1), run_of(shop, "asks", "Which?")
    with visiting(browser, shop) as visitor:
        for left, right in ((one, one), (one, other), (other, waiting)):
            page = visitor.goes_to(f"runs/{left['id']}/diff/{right['id']}")
            expect(page.get_by_role("heading", name="What each took")).to_be_visible()
            visitor.has_no_barriers()
        question = got(shop, "approvals", run_id=waiting["id"])["data"][0]
        answer = {"decision": "answer", "answer": "red"}
        httpx.post(f"{shop}/v1/approvals/{question['id']}/resolve", json=answer).raise_for_status()
        expect(page.get_by_role("region", name="Run B")).to_contain_text("succeeded")
        visitor.expects_error("status of 404")
        visitor.goes_to(f"runs/{one['id']}/diff/run_{'0' * 26}")
        expect(page.get_by_text("One of these runs does not exist")).to_be_visible()


def test_scrubbing_fast_shows_the_last_place_and_asks_for_few(browser: Browser, shop: str) -> None:
    run = run_of(shop, "count", 300)
    with visiting(browser, shop) as visitor:
        states: list[Request] = []
        page = visitor.goes_to(f"runs/{run['id']}?view=state&step=150")
        page.on("request", lambda asked: states.append(asked) if "/state?" in asked.url else None)
        slider = page.get_by_role("slider", name="Step at which to look")
        expect(slider).to_have_attribute("aria-valuenow", "150")
        box = slider.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
        began = time.monotonic()
        page.mouse.down()
        for n in range(200):
            page.mouse.move(box["x"] + 3 + n, box["y"] + 10)
        page.mouse.move(box["x"] + 2, box["y"] + 10)
        page.mouse.up()
        expect(slider).to_have_attribute("aria-valuenow", "0")
        expect(page).to_have_url(re.compile("step=0"))
        expect(page.get_by_text("Nothing had been recorded.")).to_be_visible()
        assert len(states) <= (time.monotonic() - began) / PACE_S + 10
        page.keyboard.press("End")
        expect(slider).to_have_attribute("aria-valuenow", "300")
        expect(page).to_have_url(re.compile("step=300"))


# -- as code ----------------------------------------------------------------------------------------------------------


def copied(page: Page, language: str) -> str:
    """The code that the open dialog copies."""
    dialog = page.get_by_role("dialog", name="As code")
    dialog.get_by_role("radio", name=language).click()
    dialog.get_by_role("button", name=re.compile("Copy the code|Copied")).click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    return page.evaluate("navigator.clipboard.readText()")


def carried_out(language: str, code: str, folder: Path, **settings: str) -> str:
    command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True, timeout=CODE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_code_of_a_run_makes_the_same_run(browser: Browser, shop: str, tmp_path: Path, language: str) -> None:
    given = {"text": NASTY, "id": BEYOND, "amount": 120.0, "yes": True, "none": None}
    run = run_of(shop, "echo", given)
    with visiting(browser, shop, permissions=CLIPBOARD) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}")
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name="Copy as code").click()
        said = carried_out(language, copied(page, language), tmp_path)
    assert "succeeded" in said, "it follows the run to its end"
    made = got(shop, "runs", agent="echo", limit=1)["data"][0]
    assert made["id"] != run["id"]
    assert json.dumps(got(shop, f"runs/{made['id']}", wait=30)["output"]) == json.dumps(given)


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_code_of_a_fork_makes_the_fork(browser: Browser, shop: str, tmp_path: Path, language: str) -> None:
    run = run_of(shop, "exact")
    with visiting(browser, shop, permissions=CLIPBOARD) as visitor:
        page = visitor.goes_to(f"runs/{run['id']}?step=1&fork=true")
        dialog = page.get_by_role("dialog", name="Fork this run")
        dialog.get_by_role("textbox").first.focus()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(json.dumps({"id": BEYOND, "note": NASTY}))
        dialog.get_by_role("button", name="As code").click()
        code = copied(page, language)
    assert got(shop, f"runs/{run['id']}/forks")["data"] == []
    carried_out(language, code, tmp_path)
    (fork,) = got(shop, f"runs/{run['id']}/forks")["data"]
    assert json.loads(got(shop, f"runs/{fork['id']}", wait=30)["output"]) == {"id": BEYOND, "note": NASTY}


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_code_of_a_decision_decides(browser: Browser, shop: str, tmp_path: Path, language: str) -> None:
    run = run_of(shop, "asks", NASTY)
    (question,) = got(shop, "approvals", run_id=run["id"])["data"]
    with visiting(browser, shop, permissions=CLIPBOARD) as visitor:
        page = visitor.goes_to(f"approvals/{question['id']}")
        page.get_by_role("radio", name="green").check()
        page.get_by_role("button", name="As code").click()
        code = copied(page, language)
    carried_out(language, code, tmp_path)
    done = got(shop, f"runs/{run['id']}", wait=30)
    assert (done["status"], done["output"]) == ("succeeded", "green")


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_where_a_key_is_needed_the_code_reads_it_from_the_environment(
    browser: Browser, house: House, tmp_path: Path, language: str
) -> None:
    key = house.key("somebody")
    headers = {"Authorization": f"Bearer {key}"}
    with house.serve() as process, visiting(browser, process.url(), permissions=CLIPBOARD) as visitor:
        url = process.url()
        started = httpx.post(f"{url}/v1/runs?wait=30", json={"agent": "count", "input": 1}, headers=headers, timeout=40)
        visitor.expects_error("status of 401")
        page = visitor.goes_to(f"runs/{started.json()['id']}")
        page.get_by_role("dialog", name="Sign in to Holdfast").get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name="Copy as code").click()
        code = copied(page, language)
        assert key not in code
        carried_out(language, code, tmp_path, HOLDFAST_API_KEY=key)
        runs = httpx.get(f"{url}/v1/runs", headers=headers).json()["data"]
        assert [run["agent"] for run in runs] == ["count", "count"]
