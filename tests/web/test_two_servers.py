"""Two server processes on one PostgreSQL, and fifty clients who all want to be first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cli.processes import Process

AGENTS = """
from pathlib import Path

from holdfast import Context, Holdfast, tool, workflow

DONE = Path(__file__).with_name("done")


def note(what: str) -> None:
    with DONE.open("a") as file:
        file.write(what + "\\n")


@tool(confirm=True)
def refund(amount: int) -> str:
    note(f"refund {amount}")
    return f"refunded {amount}"


@tool(effect="unsafe")
def courier(order: str) -> str:
    note(f"courier {order}")
    if len(DONE.read_text().splitlines()) == 1:
        raise ConnectionError("the line is dead")
    return "sent"


@workflow("refunds")
async def refunds(ctx: Context, amount: int) -> str:
    return await ctx.step("refund", refund, amount)


@workflow("couriers")
async def couriers(ctx: Context, order: str) -> str:
    return await ctx.step("courier", courier, order)


@workflow("paid")
async def paid(ctx: Context) -> list[object]:
    first = await ctx.wait_event("paid")
    return [first, await ctx.wait_event("paid")]


hf = Holdfast(agents=[refunds, couriers, paid])
"""
SETTINGS = {"HOLDFAST_PEPPER": "p" * 32, "HOLDFAST_LEASE_MS": "3000"}
CLIENTS = 50


@dataclass
class Pair:
    """Clients of the two processes, and what their tools have done together."""

    clients: list[httpx.AsyncClient]
    done_file: Path

    @property
    def done(self) -> list[str]:
        return self.done_file.read_text().splitlines() if self.done_file.exists() else []

    async def start(self, agent: str, input: Any = None) -> dict[str, Any]:
        answer = await self.clients[0].post("/v1/runs?wait=30", json={"agent": agent, "input": input})
        assert answer.status_code == 201, answer.text
        assert answer.json()["status"] == "waiting", answer.text
        return answer.json()

    async def ended(self, run_id: str) -> dict[str, Any]:
        """The run at its end: that is where its stream ends."""
        async with self.clients[1].stream("GET", f"/v1/runs/{run_id}/events") as events:
            async for _ in events.aiter_lines():
                pass
        return (await self.clients[1].get(f"/v1/runs/{run_id}")).json()

    async def all_at_once(self, path: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
        """Every other one to the other process."""
        return await asyncio.gather(*(self.clients[n % 2].post(path, json=body) for n, body in enumerate(bodies)))


@asynccontextmanager
async def pair(folder: Path, url: str) -> AsyncGenerator[Pair]:
    (folder / "agents.py").write_text(AGENTS)

    def serve() -> Process:
        return Process("serve", "agents.py", "--port", "0", "--database", url, cwd=folder, **SETTINGS)

    with serve() as first, serve() as second:
        urls = [await asyncio.to_thread(process.url) for process in (first, second)]
        one, other = [httpx.AsyncClient(base_url=url, timeout=60) for url in urls]
        async with one, other:
            yield Pair([one, other], folder / "done")


def won_and_lost(answers: list[httpx.Response], status: int, code: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
    """The one that was accepted, and the problems of the others."""
    (won,) = [answer for answer in answers if answer.status_code == status]
    lost = [answer.json() for answer in answers if answer is not won]
    assert {(problem["status"], problem["code"]) for problem in lost} == {(409, code)}
    return won, lost


async def test_fifty_who_resolve_one_approval_make_one_decision_and_one_call(tmp_path: Path, postgres_url: str) -> None:
    async with pair(tmp_path, postgres_url) as servers:
        run = await servers.start("refunds", 500)
        path = f"/v1/approvals/{run['waiting_on'][0]['id']}/resolve"
        bodies = [{"decision": "approve", "arguments": {"amount": n}, "note": f"n{n}"} for n in range(CLIENTS)]
        won, lost = won_and_lost(await servers.all_at_once(path, bodies), 200, "already_resolved")
        (decision,) = won.json()["decisions"]
        assert [problem["decision"] for problem in lost] == [decision] * (CLIENTS - 1)
        amount = decision["arguments"]["amount"]
        assert (await servers.ended(run["id"]))["output"] == f"refunded {amount}"
        assert servers.done == [f"refund {amount}"]


async def test_fifty_who_settle_one_effect_are_one_word(tmp_path: Path, postgres_url: str) -> None:
    async with pair(tmp_path, postgres_url) as servers:
        run = await servers.start("couriers", "7")
        (effect,) = (await servers.clients[1].get("/v1/effects?status=unknown")).json()["data"]
        bodies: list[dict[str, Any]] = [
            {"outcome": "committed", "result": f"sent by {n}"} if n % 2 else {"outcome": "not_done"}
            for n in range(CLIENTS)
        ]
        answers = await servers.all_at_once(f"/v1/effects/{effect['id']}/resolve", bodies)
        won, lost = won_and_lost(answers, 200, "already_resolved")
        said = bodies[answers.index(won)]
        told = {"outcome": said["outcome"], "result": said.get("result")}
        assert [problem["decision"]["answer"] for problem in lost] == [told] * (CLIENTS - 1)
        ended = await servers.ended(run["id"])
        expected = ("sent", 2) if said["outcome"] == "not_done" else (said["result"], 1)
        assert (ended["output"], len(servers.done)) == expected


async def test_fifty_sendings_of_one_event_are_one(tmp_path: Path, postgres_url: str) -> None:
    async with pair(tmp_path, postgres_url) as servers:
        run = await servers.start("paid")
        same = [{"name": "paid", "data": 1, "id": "hook-1"}] * CLIENTS
        answers = await servers.all_at_once("/v1/events", same)
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
        assert sum(answer.json()["runs"] for answer in answers) == 1
        others = [{"name": "paid", "data": n, "id": "hook-2"} for n in range(CLIENTS)]
        won, _ = won_and_lost(await servers.all_at_once("/v1/events", others), 202, "event_conflict")
        assert (await servers.ended(run["id"]))["output"] == [1, won.json()["data"]]
