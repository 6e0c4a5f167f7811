"""`holdfast serve` and `holdfast worker` as real processes: what they refuse, what they serve, how they stop."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Command
from tests.cli.processes import WAIT_S, Process, holdfast

PEPPER = {"HOLDFAST_PEPPER": "a pepper for tests only"}


def start(url: str, agent: str, input: object, wait: int | None = None, **headers: str) -> dict[str, object]:
    path = f"{url}/v1/runs" + (f"?wait={wait}" if wait else "")
    answer = httpx.post(path, json={"agent": agent, "input": input}, headers=headers, timeout=WAIT_S)
    assert answer.status_code == 201, answer.text
    return answer.json()


def ended(url: str, run_id: object) -> dict[str, object]:
    """The run when it has ended."""
    for _ in range(8):
        run = httpx.get(f"{url}/v1/runs/{run_id}?wait=10", timeout=WAIT_S).json()
        if run["status"] in ("succeeded", "failed", "cancelled"):
            return run
    raise AssertionError(f"the run did not end: {run}")


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("serve", "agents.py", "--port", "0"), ("worker", "agents.py")])
def test_a_database_that_was_not_migrated_is_refused(command: Command, arguments: tuple[str, ...]) -> None:
    said = command(*arguments)
    assert said.code == 1
    assert "Run: holdfast migrate" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_bind_that_others_reach_is_refused_without_a_key_and_guarded_with_one(
    project: Path, command: Command, sqlite_url: str
) -> None:
    serve = ("serve", "agents.py", "--host", "0.0.0.0", "--port", "0", "--database", sqlite_url)
    refused = command(*serve)
    assert refused.code == 1
    assert "holdfast keys create" in refused.err
    assert "Traceback" not in refused.err
    key = command("keys", "create", "mine", "--database", sqlite_url).out.strip()
    with Process(*serve, cwd=project) as process:
        url = process.url()
        assert httpx.get(f"{url}/v1/agents").status_code == 401
        assert httpx.get(f"{url}/v1/agents", headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert process.stops() == 0


def test_a_port_that_is_taken_is_said_in_a_line(command: Command, sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = command("serve", "agents.py", "--port", port, "--database", sqlite_url)
    assert said.code == 1
    assert f"port {port}" in said.err
    assert "--port" in said.err
    assert "Traceback" not in said.err


def test_what_fails_within_the_start_is_said_without_our_traceback(project: Path, sqlite_url: str) -> None:
    (project / "unknown.py").write_text(
        "from holdfast import Agent, Holdfast\nhf = Holdfast(agents=[Agent('a', model='nobody:some-model')])\n"
    )
    done = holdfast("serve", "unknown.py", "--port", "0", "--database", sqlite_url, cwd=project)
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stdout


def test_the_option_cannot_move_an_application_that_named_its_database_itself(
    project: Path, command: Command, sqlite_url: str
) -> None:
    (project / "fixed.py").write_text(
        "from holdfast import Holdfast\nhf = Holdfast(database='sqlite:///own.db')\napp = hf.app\n"
    )
    said = command("serve", "fixed.py", "--database", sqlite_url, "--port", "0")
    assert (said.code, "--database comes too late" in said.err) == (2, True)


def test_a_worker_without_slots_is_refused(command: Command, sqlite_url: str) -> None:
    said = command("worker", "agents.py", "--database", sqlite_url, HOLDFAST_WORKER_SLOTS="0")
    assert (said.code, "--workers" in said.err) == (2, True)


# -- serving ----------------------------------------------------------------------------------------------------------


def test_serve_runs_what_it_is_sent_and_stops_although_a_stream_is_open(project: Path, sqlite_url: str) -> None:
    command = ("serve", "agents:hf", "--port", "0", "--database", sqlite_url, "--access-log")
    with Process(*command, cwd=project) as process:
        url = process.url()
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert start(url, "double", 21, wait=30)["output"] == 42
        run = start(url, "nap", 3_600)
        assert "Traceback" not in process.output
        assert httpx.get(f"{url}/broken").status_code == 500
        process.says("ZeroDivisionError: broken on purpose")  # with its traceback: what a request met is no secret here
        seen = len(process.lines)
        with httpx.stream("GET", f"{url}/v1/runs/{run['id']}/events", timeout=WAIT_S) as stream:
            lines = stream.iter_lines()
            assert any("run.queued" in line for line in lines)
            process.send(signal.SIGTERM)
            # The stream ends by itself, as a whole response: a broken one would raise here.
            assert not any("run.succeeded" in line for line in lines)
        assert process.ends() == 0
        assert not any("Traceback" in line for line in process.lines[seen:])
        assert "Stopping" in process.output
        assert "GET /readyz" in process.output


def test_a_request_that_outlasts_the_stop_is_told_so(project: Path, sqlite_url: str) -> None:
    with Process("dev", "agents.py", "--no-reload", "--port", "0", "--database", sqlite_url, cwd=project) as process:
        url = process.url()
        run = start(url, "slow", "go")
        waiting = http.client.HTTPConnection(url.removeprefix("http://"), timeout=WAIT_S)
        waiting.request("GET", f"/v1/runs/{run['id']}?wait=60")
        assert httpx.get(f"{url}/healthz").status_code == 200  # by now the request before is under way
        process.send(signal.SIGTERM)
        answer = waiting.getresponse()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        told = json.loads(answer.read())
        assert set(told) == {"type", "title", "status", "detail", "code", "request_id"}
        assert (told["code"], told["status"], told["title"]) == ("draining", 503, "Unavailable")
        assert told["request_id"] == answer.headers["x-request-id"] != ""
        waiting.close()
        assert "Traceback" not in process.output


def test_a_second_signal_stops_at_once_and_the_run_goes_on_with_the_next_start(project: Path, sqlite_url: str) -> None:
    command = ("serve", "agents.py", "--port", "0", "--database", sqlite_url)
    with Process(*command, cwd=project) as process:
        run = start(process.url(), "slow", "go")
        while not (project / "lingering").exists():
            httpx.get(f"{process.url()}/v1/runs/{run['id']}?wait=1", timeout=WAIT_S)
        process.send(signal.SIGTERM)
        process.says("Stopping")
        process.send(signal.SIGTERM)
        assert process.ends() == 128 + signal.SIGTERM
        assert "POST /v1/runs" not in process.output  # requests are logged only if asked for
    (project / "agents.py").write_text((project / "agents.py").read_text().replace("time.sleep(seconds)", "pass"))
    with Process(*command, cwd=project) as process:
        done = ended(process.url(), run["id"])
        assert (done["status"], done["output"]) == ("succeeded", "ok")
        assert process.stops() == 0


def test_an_api_without_workers_accepts_what_a_worker_process_then_runs(project: Path, database_url: str) -> None:
    option = ("--database", database_url)
    api = Process("serve", "agents.py", "--port", "0", "--workers", "0", *option, cwd=project, **PEPPER)
    with api:
        url = api.url()
        assert "API only" in api.output
        accepted = start(url, "double", 4)
        assert accepted["status"] == "queued"
        with Process("worker", "agents.py", "--workers", "2", *option, cwd=project, **PEPPER) as worker:
            worker.says("works")
            done = ended(url, accepted["id"])
            assert (done["status"], done["output"]) == ("succeeded", 8)
            assert worker.stops() == 0
            assert "Traceback" not in worker.output
        assert api.stops() == 0
