"""PostgreSQL goes away in the middle of a run and comes back: two processes and their streams live through it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import databases
from tests.cli.processes import WAIT_S, Process

AGENTS = """
import asyncio
from pathlib import Path

from holdfast import Context, Holdfast, tool, workflow

SEEN = Path("seen.txt")


async def act(kind: str, number: int) -> str:
    with SEEN.open("a") as seen:
        seen.write(f"{kind} {number}\\n")
    await asyncio.sleep(0.05)
    return f"{kind} {number}"


@tool(effect="unsafe")
async def ring(number: int) -> str:
    "Ring: nobody can tell whether it did."
    return await act("ring", number)


@tool(effect="keyed")
async def pay(number: int) -> str:
    "Pay, under a key."
    return await act("pay", number)


@workflow("work", tools=[ring, pay])
async def work(ctx: Context, rounds: int) -> list[str]:
    done = []
    for number in range(rounds):
        done += await ctx.gather(ctx.step("ring", ring, number), ctx.step("pay", pay, number))
        await ctx.emit("round", number)
    return done


hf = Holdfast(agents=[work])
"""
ROUNDS = 30
BEFORE = 12
SETTINGS = {"HOLDFAST_PEPPER": "p" * 32, "HOLDFAST_LEASE_MS": "1500"}
OUTAGE_S = 2.5  # longer than a lease: nobody may take the run for abandoned


@pytest.fixture(scope="module")
def server() -> Iterator[databases.PrivateServer]:
    """A PostgreSQL that may be stopped."""
    try:
        server = databases.PrivateServer()
    except databases.NotFoundHere as exc:
        if databases.REQUIRE_ALL:
            pytest.fail(f"HOLDFAST_REQUIRE_ALL is set, and: {exc}", pytrace=False)
        pytest.skip(str(exc))
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Reader:
    """Somebody who follows one stream, without ever connecting again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.events: list[tuple[str | None, str, Any]] = []
        self.ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(httpx.TransportError):  # the server stopped: then it has not ended by itself
            self._follow()

    def _follow(self) -> None:
        event: dict[str, str] = {}
        with httpx.stream("GET", self._url, timeout=WAIT_S) as answer:
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line == "" and "event" in event:
                    self.events.append((event.get("id"), event["event"], json.loads(event["data"])))
                event = {} if line == "" else {**event, name: value}
        self.ended = True

    def demand_whole(self) -> None:
        """Every event of the run once and in order, to its end."""
        told = [(id, type) for id, type, _ in self.events if id is not None]
        assert [id for id, _ in told] == [str(pos) for pos in range(1, len(told) + 1)]
        assert told[-1][1] == "run.succeeded"
        rounds = [event["data"]["data"] for _, type, event in self.events if type == "custom"]
        assert rounds == list(range(ROUNDS))


def until(reached: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
    """Ask again and again, until the answer is one."""
    deadline = time.monotonic() + within_s
    while not (found := reached()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_goes_and_comes_back_and_nothing_is_lost_or_done_twice(
    server: databases.PrivateServer, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "agents.py").write_text(AGENTS)
    seen = tmp_path / "seen.txt"
    name = f"restart_{mode}"
    databases.on_server(f"CREATE DATABASE {name}", server.url)
    url = databases.migrated(server.url.rpartition("/")[0] + f"/{name}")

    def serve(*more: str) -> Process:
        return Process("serve", "agents.py", "--port", "0", "--database", url, *more, cwd=tmp_path, **SETTINGS)

    def acted() -> list[str]:
        return seen.read_text().splitlines() if seen.exists() else []

    with serve() as works, serve("--workers", "0") as looks:
        at, beside = works.url(), looks.url()
        run_id = httpx.post(f"{at}/v1/runs", json={"agent": "work", "input": ROUNDS}).json()["id"]
        readers = [Reader(f"{host}/v1/runs/{run_id}/events") for host in (at, beside)]
        changes = Reader(f"{beside}/v1/changes")
        until(lambda: len(acted()) >= BEFORE and all(reader.events for reader in readers), "the run is under way")

        server.stop(mode)
        for host in (at, beside):
            until(lambda host=host: httpx.get(f"{host}/readyz").status_code == 503, "who cannot serve says so")
            assert httpx.get(f"{host}/healthz").status_code == 200, "the process itself is well"
            refused = httpx.get(f"{host}/v1/runs/{run_id}")
            assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
            assert "Retry-After" in refused.headers
        before = len(acted())
        time.sleep(OUTAGE_S)  # the outage lasts: this is the fault, not a wait for something
        assert len(acted()) == before, "nothing is done of which nobody could keep a record"
        assert before < 2 * ROUNDS
        server.start()

        for host in (at, beside):
            until(lambda host=host: httpx.get(f"{host}/readyz").status_code == 200, "it can serve again", 10)
        run = until(lambda: ended(at, run_id), "the run has ended")
        assert run["status"] == "succeeded", run
        assert run["output"] == [f"{kind} {number}" for number in range(ROUNDS) for kind in ("ring", "pay")]
        assert sorted(acted()) == sorted(run["output"]), "each call was made once"
        for reader in readers:
            until(lambda reader=reader: reader.ended, "the stream has come to its end")
            reader.demand_whole()
        effects = httpx.get(f"{beside}/v1/effects", params={"limit": 200}).json()["data"]
        assert [(row["status"], row["attempt"]) for row in effects] == [("committed", 1)] * 2 * ROUNDS
        until(lambda: "resync" in [type for _, type, _ in changes.events], "hints were missed, and that is told")
        assert httpx.get(f"{at}/v1/approvals").json()["data"] == []
        print(works.output)
        print(looks.output)
        for process in (works, looks):
            assert process.stops() == 0
            assert "Traceback" not in process.output, process.output


def ended(url: str, run_id: str) -> dict[str, Any] | None:
    answer = httpx.get(f"{url}/v1/runs/{run_id}?wait=5", timeout=WAIT_S)
    return answer.json() if answer.status_code == 200 and answer.json()["ended_at"] else None
