"""The kill switch of a tool: calls stop in every agent that has it, and go on when it is lifted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from holdfast import Agent, Context, Holdfast, tool, workflow
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.client import client

made: list[str] = []


@tool
async def refund(order: str) -> str:
    """Refund an order."""
    made.append(order)
    return f"refunded {order}"


@workflow("nightly")
async def nightly(ctx: Context) -> str:
    return await ctx.step("refund", refund, "7")


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    made.clear()
    desk = Agent("desk", model=ScriptedModel([Call("refund", {"order": "7"}), "done"]), tools=[refund])
    async with client(Holdfast([desk, nightly], database=f"sqlite:///{tmp_path / 'x.db'}")) as opened:
        yield opened


async def run(http: httpx.AsyncClient, agent: str) -> dict[str, object]:
    body = {"agent": agent} | ({"input": "refund 7"} if agent == "desk" else {})
    return (await http.post("/v1/runs?wait=20", json=body)).json()


async def test_a_tool_that_is_off_is_not_called_and_the_model_is_told(http: httpx.AsyncClient) -> None:
    off = await http.put("/v1/tools/refund/enabled", json={"enabled": False})
    assert (off.status_code, off.json()) == (200, {"name": "refund", "enabled": False, "agents": ["desk"]})
    shown = (await http.get("/v1/agents/desk")).json()["tools"]
    assert [(t["name"], t["enabled"]) for t in shown] == [("refund", False)]
    ended = await run(http, "desk")
    assert (ended["status"], ended["output"], made) == ("succeeded", "done", [])
    step = (await http.get(f"/v1/runs/{ended['id']}/steps/2")).json()
    assert (step["status"], step["error"]["code"]) == ("failed", "tool_disabled")
    assert "switched off" in step["output"]["error"]


async def test_a_workflows_step_fails_while_its_tool_is_off(http: httpx.AsyncClient) -> None:
    await http.put("/v1/tools/refund/enabled", json={"enabled": False})
    ended = await run(http, "nightly")
    assert (ended["status"], made) == ("failed", [])
    assert ended["error"]["code"] == "tool_disabled"  # type: ignore[index]


async def test_a_tool_that_is_on_again_is_called_again(http: httpx.AsyncClient) -> None:
    for enabled in (False, True):
        await http.put("/v1/tools/refund/enabled", json={"enabled": enabled})
    assert (await run(http, "desk"))["status"] == "succeeded"
    assert made == ["7"]


@pytest.mark.parametrize("name", ["unknown", "no%20name", "x" * 65])
async def test_a_tool_that_no_agent_has_cannot_be_switched(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.put(f"/v1/tools/{name}/enabled", json={"enabled": False})
    assert (answer.status_code, answer.json()["code"]) == (404, "tool_not_found")
