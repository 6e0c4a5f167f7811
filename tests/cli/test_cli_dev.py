"""`holdfast dev`: starts again on changes, outlives mistakes, stops as a whole."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Command
from tests.cli.processes import WAIT_S, Process


def doubled(url: str, number: int) -> object:
    body = {"agent": "double", "input": number}
    return httpx.post(f"{url}/v1/runs?wait=30", json=body, timeout=WAIT_S).json()["output"]


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("this system does not tell a process's children")
    return [int(child) for child in found.read_text().split()]


def test_dev_migrates_serves_and_starts_again_when_a_file_changes(project: Path) -> None:
    agents = project / "agents.py"
    good = agents.read_text()
    with Process("dev", "agents.py", "--port", "0", cwd=project) as process:
        url = process.url()
        assert doubled(url, 3) == 6
        assert process.says("POST /v1/runs")

        seen = len(process.lines)
        agents.write_text(good.replace("2 * number", "20 * number"))
        process.says("Changed: agents.py", seen)
        assert process.url(seen) == url
        assert doubled(url, 3) == 60

        seen = len(process.lines)
        agents.write_text("def broken(:\n")
        process.says("SyntaxError", seen)
        process.says("The server is not running", seen)

        seen = len(process.lines)
        agents.write_text(good)
        process.url(seen)
        assert doubled(url, 4) == 8

        process.send(signal.SIGINT)
        assert process.ends() == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")


def test_a_server_that_was_killed_is_started_again_and_its_run_goes_on(project: Path) -> None:
    with Process("dev", "agents.py", "--port", "0", cwd=project) as process:
        url = process.url()
        body = {"agent": "nap", "input": 0.5}
        run = httpx.post(f"{url}/v1/runs", json=body, timeout=WAIT_S).json()
        (child,) = children(process.pid)
        seen = len(process.lines)
        os.kill(child, signal.SIGKILL)
        process.says("killed \\(signal 9\\). Starting it again", seen)
        done = httpx.get(f"{url}/v1/runs/{run['id']}?wait=30", timeout=WAIT_S).json()
        assert (done["status"], done["output"]) == ("succeeded", "rested")
        assert process.stops() == 0


def test_the_child_ends_when_its_parent_is_killed(project: Path) -> None:
    with Process("dev", "agents.py", "--port", "0", cwd=project) as process:
        url = process.url()
        process.send(signal.SIGKILL)
        assert process.ends() == -signal.SIGKILL  # and whoever else held its output has let go of it
        assert "Stopping" in process.output
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")


def test_a_target_in_a_folder_that_does_not_exist_is_said_in_a_line(command: Command) -> None:
    said = command("dev", "nowhere/agents.py", "--port", "0")
    assert said.code == 2
    assert "There is no file" in said.err
    assert "Traceback" not in said.err
