"""Where a run stood at a step, over HTTP, on each database."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Agent, Context, ToolContext, tool, workflow
from holdfast.testing import Call, Output, ScriptedModel
from tests.web.serving import Server, outsider
from tests.web.travel import Traveller, travelling


@tool(effect="read")
async def look(ctx: ToolContext, item: str) -> str:
    """Look something up."""
    await ctx.state.update({item: "seen"})
    return f"{item} is here"


@tool(effect="keyed", confirm=True)
async def pay(item: str) -> str:
    """Pay for it."""
    return f"{item} paid"


def shop() -> Agent:
    looks = [Call("look", {"item": "a"}), Call("look", {"item": "b"})]
    return Agent("shop", model=ScriptedModel([looks, [Call("pay", {"item": "a"})], "done"]), tools=[look, pay])


@workflow("flow")
async def flow(ctx: Context, n: int) -> int:
    for i in range(n):
        await ctx.step("count", lambda i=i: {"i": i})
    await ctx.step("large", lambda: "x" * 5_000)
    await ctx.state.set({"n": n})
    return await ctx.ask("How many?", schema=int)


async def answer(traveller: Traveller, run: dict[str, Any], **said: Any) -> dict[str, Any]:
    (asked,) = (await traveller.get("/v1/approvals", run_id=run["id"], status="pending"))["data"]
    response = await traveller.http.post(f"/v1/approvals/{asked['id']}/resolve", json=said)
    assert response.status_code == 200, response.text
    return await traveller.get(f"/v1/runs/{run['id']}", wait=30)


async def test_an_agents_run_at_each_of_its_steps(database_url: str) -> None:
    async with travelling(database_url, shop()) as traveller:
        run = await traveller.run("shop", "hello")
        begin = await traveller.at(run, 0)
        assert (begin["at"], begin["last"], begin["status"], begin["usage"]["requests"]) == (0, 6, "running", 0)
        assert [m["role"] for m in begin["messages"]["data"]] == ["user"]
        assert (begin["pending_calls"], begin["position"], begin["steps"]) == ([], [], None)

        chosen = await traveller.at(run, await traveller.seq_of(run, "model#1"))
        assert [(c["key"], c["arguments"], c["status"]) for c in chosen["pending_calls"]] == [
            ("model#1/0", {"item": "a"}, "planned"),
            ("model#1/1", {"item": "b"}, "planned"),
        ]
        assert chosen["state"] == {"version": 0, "value": None, "run_id": None, "seq": None}

        changed = [await traveller.seq_of(run, f"model#1/{n}/state#1") for n in (0, 1)]
        for version, seq in enumerate(sorted(changed), 1):
            published = (await traveller.at(run, seq))["state"]
            assert (published["version"], published["run_id"], published["seq"]) == (version, run["id"], seq)
            assert len(published["value"]) == version

        asked = await traveller.at(run)
        assert (asked["at"], asked["status"], asked["usage"]["requests"]) == (6, "waiting", 2)
        assert [(c["key"], c["status"]) for c in asked["pending_calls"]] == [("model#2/0", "asked")]
        (question,) = asked["interrupts"]
        assert (question["type"], question["tool"], question["key"]) == ("tool", "pay", "model#2/0/leave#1")
        assert [p["key"] for p in asked["position"]] == ["model#2/0/leave#1"]
        assert asked["state"]["value"] == {"a": "seen", "b": "seen"}

        ended = await answer(traveller, run, decision="approve")
        last = await traveller.at(ended)
        assert (last["status"], last["output"], last["interrupts"], last["pending_calls"]) == (
            "succeeded",
            "done",
            [],
            [],
        )
        assert last["messages"]["total"] == 7
        again = await traveller.at(ended, 6)
        assert again == asked | {"last": last["last"]}, "what came later is not in what was"


async def test_messages_of_a_long_run_come_in_pages(database_url: str) -> None:
    model = ScriptedModel([*([Call("look", {"item": "a"})] for _ in range(60)), "done"])
    async with travelling(database_url, Agent("long", model=model, tools=[look])) as traveller:
        run = await traveller.run("long", "hello")
        seen = await traveller.at(run)
        found, total = seen["messages"]["data"], seen["messages"]["total"]
        assert total == 122
        assert len(found) == 50
        while seen["messages"]["earlier"] is not None:
            seen = await traveller.at(run, before=seen["messages"]["earlier"])
            found = [*seen["messages"]["data"], *found]
        assert [m["position"] for m in found] == list(range(1, 123))
        middle = await traveller.at(run, 90)
        assert middle["messages"]["data"][-1]["step_seq"] == 90


async def test_a_workflows_run_shows_its_steps_by_name_and_where_it_stands(database_url: str) -> None:
    async with travelling(database_url, flow) as traveller:
        run = await traveller.run("flow", 3)
        seen = await traveller.at(run)
        assert [(s["name"], s["kind"], s["count"], s["last_seq"]) for s in seen["steps"]] == [
            ("state", "state", 1, 5),
            ("large", "code", 1, 4),
            ("count", "code", 3, 3),
        ]
        large, count = seen["steps"][1:]
        assert (large["output"], large["output_cut"]) == (None, True)
        assert (count["output"], count["output_cut"], count["last_key"]) == ({"i": 2}, False, "count#3")
        assert [(p["key"], p["open"]) for p in seen["position"]] == [("ask#1", True)]
        assert seen["interrupts"][0]["message"] == "How many?"
        assert (seen["state"]["value"], seen["messages"]) == ({"n": 3}, None)
        before = await traveller.at(run, 2)
        assert [(p["key"], p["open"]) for p in before["position"]] == [("count#2", False)]
        assert (before["interrupts"], before["state"]["version"], before["status"]) == ([], 0, "running")
        ended = await answer(traveller, run, decision="answer", answer=4)
        assert (await traveller.at(ended))["output"] == 4
        assert (await traveller.at(ended, 5))["output"] is None


async def test_after_a_hand_off_the_other_agent_acts(database_url: str) -> None:
    other = Agent("other.one", model=ScriptedModel(lambda messages, info: "mine"))
    first = Agent("first", model=ScriptedModel([Call("transfer_to_other_one", {})]), handoffs=[other])
    async with travelling(database_url, first) as traveller:
        run = await traveller.run("first", "hello")
        assert run["acting_agent"] == "other.one"
        seen = [(await traveller.at(run, at))["acting_agent"] for at in range(run["steps"] + 1)]
        assert seen == ["first", "first", "other.one", "other.one"]


async def test_what_gives_the_output_is_no_pending_call(database_url: str) -> None:
    agent = Agent("typed", model=ScriptedModel([Output({"n": 1})]), output_type=dict[str, int])
    async with travelling(database_url, agent) as traveller:
        run = await traveller.run("typed", "hello")
        assert all([(await traveller.at(run, at))["pending_calls"] == [] for at in range(run["steps"] + 1)])


async def test_a_thread_shows_what_its_runs_published(database_url: str) -> None:
    async with travelling(database_url, flow) as traveller:
        run = await traveller.run("flow", 1)
        shown = await traveller.get(f"/v1/threads/{run['thread_id']}/state")
        assert shown == {"version": 1, "value": {"n": 1}, "run_id": run["id"], "seq": 3}
        empty = (await traveller.http.post("/v1/threads", json={})).json()
        shown = await traveller.get(f"/v1/threads/{empty['id']}/state")
        assert shown == {"version": 0, "value": None, "run_id": None, "seq": None}
        missing = await traveller.get("/v1/threads/thr_" + "0" * 26 + "/state", 404)
        assert missing["code"] == "thread_not_found"


async def test_a_run_that_has_not_begun_has_one_moment(either: Server) -> None:
    response = await either.http.post(
        "/v1/runs", json={"agent": "chat", "input": "Hi.", "start_after": "2099-01-01T00:00:00Z"}
    )
    run = response.json()
    seen = (await either.http.get(f"/v1/runs/{run['id']}/state")).json()
    assert (seen["at"], seen["last"], seen["status"]) == (0, 0, "queued")
    assert (seen["messages"]["data"], seen["pending_calls"], seen["position"]) == ([], [], [])
    assert (await either.http.get(f"/v1/runs/{run['id']}/diff/{run['id']}")).json()["identical"]


async def test_a_failed_run_that_was_retried_is_shown_as_it_was_before_and_after(either: Server) -> None:
    run = await either.start("broken", wait=30)
    failed = (await either.http.get(f"/v1/runs/{run['id']}/state")).json()
    assert (failed["status"], failed["steps"][0]["name"], failed["steps"][0]["status"]) == ("failed", "bad", "failed")
    either.desk.broken = False
    assert (await either.http.post(f"/v1/runs/{run['id']}/retry")).status_code == 202
    run = await either.settled(run["id"])
    now = (await either.http.get(f"/v1/runs/{run['id']}/state")).json()
    assert (now["status"], now["output"], now["steps"][0]["status"]) == ("succeeded", "mended", "succeeded")
    assert (now["steps"][0]["count"], now["steps"][0]["last_seq"]) == (1, 3), "what was declared void does not count"
    then = (await either.http.get(f"/v1/runs/{run['id']}/state", params={"at": 1})).json()
    assert [step["name"] for step in then["steps"]] == ["good"]


@pytest.mark.parametrize("at", ["-1", "1.5", "x", "", "99999999999999999999", "1e3", " 1", "٣"])
async def test_a_step_that_cannot_be_is_refused_and_the_answer_says_what_can(server: Server, at: str) -> None:
    run = await server.start("many", 3, wait=30)
    response = await server.http.get(f"/v1/runs/{run['id']}/state", params={"at": at})
    assert response.status_code == 422
    assert "from 0 to the last step of the run" in response.json()["detail"]


async def test_a_step_beyond_the_journal_is_refused_and_the_answer_says_how_far_it_goes(either: Server) -> None:
    run = await either.start("many", 3, wait=30)
    assert (await either.http.get(f"/v1/runs/{run['id']}/state", params={"at": 3})).status_code == 200
    for path in ("state?at=4", f"diff/{run['id']}?at=4", f"diff/{run['id']}?other_at=4"):
        response = await either.http.get(f"/v1/runs/{run['id']}/{path}")
        assert response.status_code == 422
        assert response.json()["code"] == "invalid_at"
        assert "from 0 to 3" in response.json()["detail"]


async def test_runs_and_threads_of_others_are_unknown(either: Server) -> None:
    run, stranger = await either.start("many", 1, wait=30), await outsider(either)
    theirs = await either.start_as(stranger.headers, "many", 1)
    for path in (
        f"/v1/runs/{run['id']}/state",
        f"/v1/threads/{run['thread_id']}/state",
        f"/v1/runs/{run['id']}/diff/{theirs['id']}",
        f"/v1/runs/{theirs['id']}/diff/{run['id']}",
    ):
        response = await either.http.get(path, headers=stranger.headers)
        assert response.status_code == 404, path
        assert response.json()["code"] in ("run_not_found", "thread_not_found")
