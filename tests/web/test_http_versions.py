"""Versions of agents: each that a worker registered is kept, and a run that changes its version says what changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast import Agent, Context, tool, workflow
from holdfast.testing import ScriptedModel
from tests.web.travel import travelling


def talker(instructions: str, *tools: Any) -> Agent:
    return Agent("talker", model=ScriptedModel(lambda messages, info: "hi"), instructions=instructions, tools=[*tools])


@tool(effect="read")
async def look(item: str) -> str:
    """Look."""
    return item


async def test_every_version_that_was_registered_is_listed_the_newest_first_with_its_definition(
    database_url: str,
) -> None:
    seen: list[str] = []
    for instructions in ("one", "two", "three", "two"):
        async with travelling(database_url, talker(instructions)) as traveller:
            run = await traveller.run("talker", "hello")
            seen.append(run["agent_version"])
            page = await traveller.get("/v1/agents/talker/versions")
            assert [v["current"] for v in page["data"] if v["version"] == run["agent_version"]] == [True]
            assert sum(v["current"] for v in page["data"]) == 1
            assert next(v["workers"] for v in page["data"] if v["current"]) == 1
    async with travelling(database_url, talker("two")) as traveller:
        page = await traveller.get("/v1/agents/talker/versions", limit=2)
        more = await traveller.get("/v1/agents/talker/versions", limit=2, cursor=page["next_cursor"])
        assert [v["version"] for v in (*page["data"], *more["data"])] == [seen[2], seen[1], seen[0]]
        assert more["next_cursor"] is None
        one = await traveller.get(f"/v1/agents/talker/versions/{seen[0]}")
        assert (one["definition"]["instructions"], one["current"]) == ("one", False)
        runs = await traveller.get("/v1/runs", agent="talker", version=seen[1])
        assert len(runs["data"]) == 2
        assert {run["agent_version"] for run in runs["data"]} == {seen[1]}
        for path, code in (
            ("/v1/agents/nobody/versions", "agent_not_found"),
            (f"/v1/agents/nobody/versions/{seen[0]}", "agent_not_found"),
            ("/v1/agents/talker/versions/nope", "version_not_found"),
            ("/v1/agents/talker/versions/%00%ff", "version_not_found"),
            (f"/v1/agents/talker/versions/{'x' * 300}", "version_not_found"),
        ):
            assert (await traveller.get(path, 404))["code"] == code
        other = await traveller.get("/v1/agents", limit=1)
        assert other["next_cursor"] is None
        bad = await traveller.get("/v1/agents/talker/versions", 400, cursor="AAAA")
        assert bad["code"] == "bad_cursor"


def sleeper(description: str, *tools: Any, more: bool = False) -> Any:
    async def body(ctx: Context) -> str:
        await ctx.ask("Go on?")
        return "went on"

    async def longer(ctx: Context) -> str:
        await ctx.ask("Go on?")
        return "went on, longer"

    return workflow("sleeper", description=description, tools=tools)(longer if more else body)


async def test_a_run_that_goes_on_under_another_version_says_what_changed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with travelling(database_url, sleeper("before")) as traveller:
        run = await traveller.run("sleeper")
    async with travelling(database_url, sleeper("after", look, more=True)) as traveller:
        (asked,) = (await traveller.get("/v1/approvals", run_id=run["id"]))["data"]
        said = {"decision": "answer", "answer": "yes"}
        assert (await traveller.http.post(f"/v1/approvals/{asked['id']}/resolve", json=said)).status_code == 200
        assert (await traveller.get(f"/v1/runs/{run['id']}", wait=30))["output"] == "went on, longer"
        events = (await traveller.http.get(f"/v1/runs/{run['id']}/events")).text
        (line,) = [line for line in events.splitlines() if '"run.version_changed"' in line and line.startswith("data:")]
        changed = json.loads(line.removeprefix("data:"))["data"]["changed"]
        assert {"path": "/description", "old": "before", "new": "after"} in changed
        (added,) = [one for one in changed if one["path"] == "/tools/0"]
        assert added["new"]["name"] == "look"
