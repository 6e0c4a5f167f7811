"""Every example runs: served by the real command, asked over HTTP; models are a stub provider's, over real HTTP too."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import pytest

from tests.cli.processes import ROOT, WAIT_S, Process, environment
from tests.stubs import provider

EXAMPLES = ROOT / "examples"
TESTED = {"first_agent.py", "workflow.py", "handoff.py", "structured_output.py", "mounted.py"} | {
    "kill9.py",
    "approval.py",
    "time_travel.py",
}


@pytest.fixture(scope="module")
def stub() -> Iterator[provider.Stub]:
    """A provider, in a thread of its own."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(provider.serve()) as running,
    ):
        yield running


class Example:
    """An example, served."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = process.url()

    def run(self, agent: str, input: Any) -> dict[str, Any]:
        body = {"agent": agent, "input": input}
        answer = httpx.post(f"{self.url}/v1/runs?wait=30", json=body, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def steps(self, run: dict[str, Any]) -> list[tuple[str, str]]:
        found = httpx.get(f"{self.url}/v1/runs/{run['id']}/steps", timeout=WAIT_S).json()["data"]
        return [(step["kind"], step["name"]) for step in found]


def served(name: str, folder: Path, stub: provider.Stub | None = None) -> Process:
    more = {} if stub is None else {"OPENAI_BASE_URL": f"http://127.0.0.1:{stub.port}/v1", "OPENAI_API_KEY": "none"}
    return Process("dev", str(EXAMPLES / name), "--no-reload", "--port", "0", cwd=folder, **more)


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


def test_the_first_agent_calls_its_tool(tmp_path: Path, stub: provider.Stub) -> None:
    with served("first_agent.py", tmp_path, stub) as process:
        example = Example(process)
        run = example.run("assistant", 'stub: tools tool=weather args={"city": "Lisbon"} text=Sunny.')
        assert (run["status"], run["output"]) == ("succeeded", "Sunny.")
        assert example.steps(run) == [("model", "model"), ("tool", "weather"), ("model", "model")]
        assert process.stops() == 0


def test_the_readme_shows_the_first_agent() -> None:
    code = (EXAMPLES / "first_agent.py").read_text().split('"""\n', 1)[1].strip()
    assert code in (ROOT / "README.md").read_text()


def test_the_hand_off_ends_with_the_other_agent(tmp_path: Path, stub: provider.Stub) -> None:
    with served("handoff.py", tmp_path, stub) as process:
        example = Example(process)
        run = example.run("triage", "stub: tools tool=transfer_to_billing args={} text=Credited.")
        assert (run["status"], run["agent"], run["acting_agent"]) == ("succeeded", "triage", "billing")
        assert example.steps(run)[1] == ("handoff", "transfer_to_billing")
        assert process.stops() == 0


def test_structured_output_is_checked_and_asked_for_again(tmp_path: Path, stub: provider.Stub) -> None:
    lines = '"lines": [{"text": "kettle", "quantity": 3, "price": 59}]'
    wrong, right = (
        f'tools tool=final_result args={{"supplier": "K", {lines}, "total": {total}, "due": "2026-04-01"}}'
        for total in (100, 177)
    )
    with served("structured_output.py", tmp_path, stub) as process:
        httpx.post(f"http://127.0.0.1:{stub.port}/_script", json={"directives": [wrong, f"{right} rounds=9"]})
        example = Example(process)
        run = example.run("invoices", "Kettle & Sons, 3 kettles at 59 euros")
        assert run["status"] == "succeeded", run
        assert run["output"]["lines"][0]["quantity"] == 3
        assert float(run["output"]["total"]) == 177
        assert [kind for kind, _ in example.steps(run)].count("model") == 2
        assert process.stops() == 0


def test_the_workflow_runs_its_parallel_steps_and_its_sleep(tmp_path: Path) -> None:
    with served("workflow.py", tmp_path) as process:
        example = Example(process)
        run = example.run("fulfil", {"order": 7, "items": ["kettle", "cups"]})
        assert run["output"] == {"tracking": "PARCEL-00007", "picked": ["kettle from shelf 6", "cups from shelf 4"]}
        kinds = [kind for kind, _ in example.steps(run)]
        assert sorted(kinds) == ["code", "code", "code", "emit", "sleep"]
        assert process.stops() == 0


def test_holdfast_is_mounted_beside_an_applications_own_routes_and_lifespan(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "mounted:app", "--app-dir", str(EXAMPLES), "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        watchdog = threading.Timer(WAIT_S, process.kill)
        watchdog.start()
        try:
            assert process.stderr is not None
            found = next((m for line in process.stderr if (m := re.search(r"running on (http://\S+)", line))), None)
            assert found is not None, "the application did not start"
            assert httpx.get(f"{found[1]}/").json() == {"events": ["your start-up"]}
            body = {"agent": "double", "input": 21}
            run = httpx.post(f"{found[1]}/agents/v1/runs?wait=30", json=body, timeout=WAIT_S).json()
            assert (run["status"], run["output"]) == ("succeeded", 42)
        finally:
            process.terminate()
            process.communicate(timeout=WAIT_S)
            watchdog.cancel()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("kill9.py", ("The run survived.", "kill -9", "called again, with the same key")),
        ("approval.py", ("is waiting, on: approval", "order 7: 120.00 euros, asked for 2 times", "It was paid once.")),
        ("time_travel.py", ("did not pay anything again", "diverged at step 3", "The right order was refunded, once")),
    ],
)
def test_the_stories_come_true(name: str, says: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in says:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []
