"""`holdfast dev`: starts again on changes, outlives mistakes, stops as a whole."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import WAIT_S, Process


def doubled(url: str, number: int) -> object:
    body = {"agent": "double", "input": number}
    return httpx.post(f"{url}/v1/runs?wait=30", json=body, timeout=WAIT_S).json()["output"]


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


def test_the_child_ends_when_its_parent_is_killed(project: Path) -> None:
    with Process("dev", "agents.py", "--port", "0", cwd=project) as process:
        url = process.url()
        process.send(signal.SIGKILL)
        assert process.ends() == -signal.SIGKILL  # and whoever else held its output has let go of it
        assert "Stopping" in process.output
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")
