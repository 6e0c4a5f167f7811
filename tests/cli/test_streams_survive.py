"""A server is killed in mid-stream: the client comes back, there or to another process, and misses nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.processes import Process

AGENTS = """
import asyncio

from holdfast import Context, Holdfast, workflow


async def slowly(number: int) -> int:
    await asyncio.sleep(0.05)
    return number


@workflow("count")
async def count(ctx: Context, steps: int) -> int:
    for number in range(steps):
        await ctx.step("slowly", slowly, number)
        await ctx.emit("counted", number)
    return steps


hf = Holdfast(agents=[count])
"""
STEPS = 25
SETTINGS = {"HOLDFAST_PEPPER": "p" * 32, "HOLDFAST_LEASE_MS": "1500"}
Event = tuple[int, str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents.py").write_text(AGENTS)
    return tmp_path


def serve(folder: Path, url: str) -> Process:
    return Process("serve", "agents.py", "--port", "0", "--database", url, cwd=folder, **SETTINGS)


def durable(response: httpx.Response) -> Iterator[Event]:
    """The events that have an id."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line == "":
            if "id" in event:
                yield int(event["id"]), event["event"], json.loads(event["data"])["data"]
            event = {}
        elif name:
            event[name] = value


def follow(url: str, run_id: str, last: int | None) -> Iterator[Event]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with httpx.stream("GET", f"{url}/v1/runs/{run_id}/events", headers=headers, timeout=60) as response:
        assert response.status_code == 200
        yield from durable(response)


def until_killed(server: Process, url: str) -> tuple[str, list[Event]]:
    """Start a run, read its stream to the tenth event, kill the server; what was seen, as far as it came."""
    run_id = httpx.post(f"{url}/v1/runs", json={"agent": "count", "input": STEPS}).json()["id"]
    seen: list[Event] = []

    def read() -> None:
        for event in follow(url, run_id, None):
            seen.append(event)
            if len(seen) == 10:
                server.send(signal.SIGKILL)

    with pytest.raises(httpx.TransportError):
        read()
    assert len(seen) >= 10
    assert seen[-1][1] != "run.succeeded", "the run was over before the server was killed"
    return run_id, seen


def demand_whole(url: str, run_id: str, told: list[Event]) -> None:
    assert [id for id, _, _ in told] == list(range(1, len(told) + 1)), "every event once, in order"
    assert told[-1][1] == "run.succeeded"
    assert told[-1][2]["output"] == STEPS
    assert "run.recovered" in [kind for _, kind, _ in told]
    assert [data["data"] for _, kind, data in told if kind == "custom"] == list(range(STEPS))
    assert list(follow(url, run_id, None)) == told, "a replay tells the same"


def test_a_stream_goes_on_with_the_server_that_was_killed_in_its_middle(folder: Path, database_url: str) -> None:
    with serve(folder, database_url) as first:
        run_id, seen = until_killed(first, first.url())
    with serve(folder, database_url) as second:
        url = second.url()
        told = seen + list(follow(url, run_id, seen[-1][0]))
        demand_whole(url, run_id, told)


def test_a_stream_goes_on_at_another_process(folder: Path, postgres_url: str) -> None:
    with serve(folder, postgres_url) as first, serve(folder, postgres_url) as second:
        other = second.url()
        run_id, seen = until_killed(first, first.url())
        told = seen + list(follow(other, run_id, seen[-1][0]))
        demand_whole(other, run_id, told)
