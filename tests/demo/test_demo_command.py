"""`holdfast demo` as a process: the tour, twice on the same files; and the printed lines, copied into a shell."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from holdfast.demo import seed
from holdfast.demo.models import choose
from holdfast.domain.errors import DefinitionError
from tests.cli.processes import WAIT_S, Process, holdfast

SEEDED = len(seed.SEEDS) + 1  # and a fork


def test_the_tour_works_and_works_again_on_the_same_files(tmp_path: Path) -> None:
    first = holdfast("demo", "--once", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    for words in (
        "SCRIPTED",
        "made now",
        "is on its way with",
        "at step 2 of 5 the conversation had 3 messages",
        "as if order_status had said: There is no order",
        "they differ from step 2 on",
        '"refunded": true',
        '"changed": true',
        "handed over to refunds",
        "run.succeeded",
        "products ran low",
        "I have written to ada.reyes@example.com",
        "waiting: support wants to call refund_order, a refund above 100 euros",
        "I have refunded 200.00 EUR",
        "403 four_eyes",
        "I have refunded 1065.00 EUR",
        "refunds: 4, mails: 1, pickups: 0",
        "everything worked",
    ):
        assert words in first.stdout, first.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [".holdfast-demo"]

    second = holdfast("demo", "--once", cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "from an earlier start" in second.stdout
    assert "4 refunds" in second.stdout
    assert "has been refunded in full already" in second.stdout
    assert "waiting: " not in second.stdout, "of the valuable order less than 100 euros are left"
    assert "refunds: 5, mails: 2, pickups: 0" in second.stdout


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="the lines are for curl")
def test_the_printed_lines_work_when_copied(tmp_path: Path) -> None:
    with Process("demo", "--port", "0", "--directory", "here", cwd=tmp_path) as process:
        url = process.url()
        assert f"{url}/docs" in process.output
        assert f"{url}/ui/" in process.output
        was = when_seeded(url, process)
        lines = [line for line in process.lines if line.startswith("curl ")]
        answers = iter([copied(line) for line in lines])
        for _ in ("chat", "refund", "redirect", "hand-off"):
            assert json.loads(next(answers))["status"] == "succeeded"
        assert "event: run.succeeded" in next(answers)
        assert json.loads(next(answers))["status"] == "succeeded", "the mail"
        assert json.loads(next(answers))["waiting_on"][0]["type"] == "approval"
        *_, asked = json.loads(next(answers))["data"]
        assert asked["arguments"]["amount"] == "267.00"
        assert json.loads(next(answers))["arguments"]["amount"] == "200.00"
        assert json.loads(next(answers))["status"] == "waiting"
        assert json.loads(next(answers))["code"] == "four_eyes"
        approved = json.loads(next(answers))
        assert approved["status"] == "approved"
        crashing, refund, ringing, rang = (json.loads(next(answers)) for _ in range(4))
        assert (crashing["fault"], ringing["fault"]) == ("crash", "crash")
        assert "refunded 1.50 EUR" in refund["output"]
        assert rang["waiting_on"][0]["type"] == "effect"
        unknown, _ = json.loads(next(answers))["data"]
        assert (unknown["tool"], unknown["status"]) == ("call_courier", "unknown")
        assert json.loads(next(answers))["status"] == "committed"
        books = json.loads(next(answers))
        paid = sorted(row["amount_cents"] for row in books["refunds"][len(was["refunds"]) :])
        assert paid == [150, 4190, 6830, 20000, 106500], "each once"
        assert [len(books["mails"]), len(books["pickups"])] == [1, 1 + len(was["pickups"])]
        assert len(json.loads(next(answers))["data"]) == 5
        models = {agent["id"]: agent.get("model") for agent in json.loads(next(answers))["data"]}
        assert models["support"] == "scripted:scripted"
        state, fork, diff, replay = (json.loads(next(answers)) for _ in range(4))
        assert (state["at"], state["messages"]["total"]) == (2, 3)
        assert (fork["forked_from"], fork["status"]) == ({"run_id": state["run_id"], "at": 2}, "succeeded")
        assert "no order" in fork["output"]
        assert (diff["other"]["run_id"], diff["divergence"]["this"]["seq"]) == (fork["id"], 2)
        assert (replay["run_id"], replay["verdict"]) == (state["run_id"], "identical")
        assert list(answers) == []
        assert (tmp_path / "here" / "approver.key").read_text().strip() in process.output
        process.send(signal.SIGINT)
        assert process.ends() == 0
        assert "Traceback" not in process.output
    assert (tmp_path / "here" / "shop.db").exists()
    with pytest.raises(httpx.TransportError):  # it was stopped, too
        httpx.get(f"{provider_in(lines)}/books")


def when_seeded(url: str, process: Process) -> dict[str, list[object]]:
    """The provider's books once the runs that the demo begins with have come as far as they do."""
    wanted = {"seed-unknown": "waiting", "seed-waits": "waiting", "seed-later": "cancelled"}
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        data = httpx.get(f"{url}/v1/runs", params={"tag": seed.TAG}).json()["data"]
        if {run["external_id"]: run["status"] for run in data}.items() >= wanted.items() and len(data) == SEEDED:
            process.says(r"^curl .*/books'$")
            lines = [line for line in process.lines if line.startswith("curl ")]
            with contextlib.suppress(httpx.TransportError):  # it died in the middle of a call, and is being started
                return httpx.get(f"{provider_in(lines)}/books").json()
        time.sleep(0.1)
    raise AssertionError("The demo's first runs were not there in time.")


def provider_in(lines: list[str]) -> str:
    return next(line.split("'")[1].removesuffix("/books") for line in lines if line.endswith("/books'"))


def copied(line: str) -> str:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=WAIT_S, check=True)
    return done.stdout


def test_a_folder_that_cannot_be_made_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = holdfast("demo", "--once", "--directory", "file/demo", cwd=tmp_path)
    assert done.returncode == 1
    assert "file/demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_decides_the_model_and_without_one_it_is_said_that_it_is_scripted() -> None:
    assert choose(None, {}).model == "scripted"
    assert "no OPENAI_API_KEY" in choose(None, {}).reason
    assert choose("scripted", {"OPENAI_API_KEY": "x"}).model == "scripted"
    with pytest.raises(DefinitionError, match="nobody"):
        choose("nobody:model", {})


@pytest.mark.parametrize(("key", "provider"), [("OPENAI_API_KEY", "openai:"), ("ANTHROPIC_API_KEY", "anthropic:")])
def test_a_providers_key_brings_its_model(monkeypatch: pytest.MonkeyPatch, key: str, provider: str) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(key, "a key for tests")
    choice = choose(None, {key: "a key for tests"})
    assert choice.model.startswith(provider)
    assert key in choice.reason
    assert "a key for tests" not in choice.reason
