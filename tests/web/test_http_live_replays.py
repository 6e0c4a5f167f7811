"""Replays that make a run, over HTTP: with recorded tools, and live in the sandbox tenant."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from holdfast import Agent, Confirm, Context, Holdfast, Settings, ToolContext, tool, workflow
from holdfast.domain.access import sandbox_admin
from holdfast.service.access import Auth
from holdfast.testing import Call, ScriptedModel
from tests.web.serving import ADMIN, PEPPER, listening
from tests.web.travel import Traveller

SANDBOX = sandbox_admin("sandbox")


@dataclass
class World:
    """What the model of the agents says now, and what their tools did, in which tenant."""

    script: list[Any] = field(default_factory=list[Any])
    made: list[str] = field(default_factory=list[str])
    price: int = 20
    refuses: bool = False

    def note(self, sandbox: bool, what: str) -> None:
        self.made.append(f"{'sandbox' if sandbox else 'live'}: {what}")

    def forgotten(self) -> list[str]:
        made, self.made = self.made, []
        return made


def agents(world: World) -> list[Any]:
    @tool(effect="read")
    def look(ctx: ToolContext[Any], item: str) -> int:
        """What it costs."""
        world.note(ctx.sandbox, f"look {item}")
        return world.price

    @tool(effect="unsafe")
    def buy(ctx: ToolContext[Any], item: str) -> str:
        """Buy it."""
        world.note(ctx.sandbox, f"buy {item}")
        if world.refuses:
            raise RuntimeError("sold out")
        return f"bought {item}"

    @tool(effect="unsafe", confirm=Confirm(reason="it is dear"))
    def pay(ctx: ToolContext[Any], amount: int) -> str:
        """Pay."""
        world.note(ctx.sandbox, f"pay {amount}")
        return f"paid {amount}"

    @workflow("errand", tools=[buy])
    async def errand(ctx: Context, item: str) -> str:
        await ctx.step("note", lambda: world.note(ctx.info.sandbox, "step"))
        return await ctx.step("buy", buy, item)

    @workflow("polite")
    async def polite(ctx: Context, question: str) -> Any:
        return await ctx.ask(question)

    model = ScriptedModel(lambda messages, info: world.script[info.position])
    return [errand, polite, Agent("shopper", model=model, tools=[look, buy, pay], instructions="Shop.")]


@dataclass
class Shop(Traveller):
    world: World
    auth: Auth

    async def replay(self, run: dict[str, Any], mode: str, **headers: str) -> httpx.Response:
        return await self.http.post(f"/v1/runs/{run['id']}/replay", json={"mode": mode}, headers=headers)

    async def verdict(self, run: dict[str, Any], mode: str, **headers: str) -> dict[str, Any]:
        answer = await self.replay(run, mode, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def key(self, *scopes: str, sandbox: bool = False) -> dict[str, str]:
        actor = SANDBOX if sandbox else ADMIN
        return {"Authorization": f"Bearer {(await self.auth.create_key(actor, 'test', scopes=scopes)).token}"}


@contextlib.asynccontextmanager
async def shopping(url: str, world: World, sandbox: str | None = "sandbox") -> AsyncGenerator[Shop]:
    settings = Settings(database=url, mode="serve", freeze_gc=False, sandbox_tenant=sandbox, pepper=PEPPER.decode())  # pyright: ignore
    hf = Holdfast(agents(world), settings=settings)
    async with listening(hf.app) as at, httpx.AsyncClient(base_url=at, timeout=40) as http:
        yield Shop(http, hf, world, Auth(hf.house, pepper=PEPPER))


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shopping(database_url, World()) as shop:
        yield shop


BUYS = [Call("look", {"item": "lamp"}), Call("buy", {"item": "lamp"}), "A lamp is yours."]


async def bought(shop: Shop) -> dict[str, Any]:
    shop.world.script = list(BUYS)
    run = await shop.run("shopper", "A lamp, please.")
    assert run["status"] == "succeeded", run
    assert shop.world.forgotten() == ["live: look lamp", "live: buy lamp"]
    return run


# -- recorded tools ---------------------------------------------------------------------------------------------------


async def test_with_recorded_tools_the_model_is_asked_and_no_tool_is(shop: Shop) -> None:
    run = await bought(shop)
    found = await shop.verdict(run, "recorded_tools")
    assert (found["verdict"], found["mode"], found["status"], found["steps"]) == (
        "identical", "recorded_tools", "done", 5,
    )  # fmt: skip
    assert (found["isolation"], found["reason"], found["error"]) == (None, None, None)
    assert shop.world.forgotten() == []
    made = await shop.get(f"/v1/runs/{found['replay_run_id']}")
    assert (made["status"], made["output"], made["forked_from"]["run_id"]) == ("succeeded", run["output"], run["id"])


async def test_a_model_that_answers_otherwise_has_diverged_at_its_answer(shop: Shop) -> None:
    run = await bought(shop)
    shop.world.script[2] = "It is on its way."
    found = await shop.verdict(run, "recorded_tools")
    assert (found["verdict"], found["at"], found["reason"], found["steps"]) == ("diverged", 5, "answer_changed", 4)
    assert found["difference"] == {
        "path": "output.parts[0].text", "recorded": "A lamp is yours.", "requested": "It is on its way.",
    }  # fmt: skip
    assert found["recorded"]["kind"] == found["requested"]["kind"] == "model"
    shop.world.script = [Call("buy", {"item": "sofa"}), "A sofa is yours."]
    found = await shop.verdict(run, "recorded_tools")
    assert (found["at"], found["reason"]) == (1, "answer_changed")
    assert shop.world.forgotten() == [], "what was not called before is refused"


async def test_what_a_tool_failed_with_is_said_again(shop: Shop) -> None:
    shop.world.refuses = True
    shop.world.script = [Call("buy", {"item": "lamp"}), "It is sold out."]
    run = await shop.run("shopper", "A lamp, please.")
    assert run["status"] == "succeeded", run
    shop.world.forgotten()
    found = await shop.verdict(run, "recorded_tools")
    assert (found["verdict"], found["steps"]) == ("identical", 3), found
    assert shop.world.forgotten() == []


async def test_plain_steps_answer_from_the_record_too(shop: Shop) -> None:
    run = await shop.run("errand", "lamp")
    assert shop.world.forgotten() == ["live: step", "live: buy lamp"]
    found = await shop.verdict(run, "recorded_tools")
    assert (found["verdict"], found["steps"]) == ("identical", 2)
    assert shop.world.forgotten() == []


async def test_a_call_that_the_recorded_run_did_not_make_is_denied(shop: Shop) -> None:
    run = await shop.run("errand", "lamp")

    @tool(effect="unsafe")
    def rent(ctx: ToolContext[Any], item: str) -> str:
        """Rent it."""
        shop.world.note(ctx.sandbox, "rent")
        return item

    @workflow("errand", tools=[rent])
    async def changed(ctx: Context, item: str) -> str:
        await ctx.step("note", lambda: shop.world.note(ctx.info.sandbox, "step"))
        return await ctx.step("buy", rent, "sofa")

    shop.world.forgotten()
    shop.holdfast.house.agents = {**shop.holdfast.house.agents, "errand": changed}
    found = await shop.verdict(run, "recorded_tools")
    assert (found["verdict"], found["at"], found["reason"]) == ("diverged", 2, "call_denied"), found
    assert shop.world.forgotten() == []


async def test_a_run_that_waits_for_somebody_is_judged_as_far_as_it_got(shop: Shop) -> None:
    run = await shop.run("polite", "May I?")
    assert run["status"] == "waiting"
    assert (await shop.verdict(run, "recorded_tools"))["verdict"] == "identical", "so does the recorded one"
    (asked,) = (await shop.get("/v1/approvals", run_id=run["id"], status="pending"))["data"]
    answer = {"decision": "answer", "answer": "yes"}
    assert (await shop.http.post(f"/v1/approvals/{asked['id']}/resolve", json=answer)).status_code == 200
    assert (await shop.get(f"/v1/runs/{run['id']}", wait=30))["output"] == "yes"
    found = await shop.verdict(run, "recorded_tools")
    assert (found["verdict"], found["reason"], found["at"], found["steps"]) == ("diverged", "waiting", 1, 0)
    assert found["requested"]["status"] == "waiting"


async def test_a_verdict_stands_whoever_asks_and_after_a_restart(database_url: str) -> None:
    world = World()
    async with shopping(database_url, world) as shop:
        run = await bought(shop)
        first = await shop.replay(run, "recorded_tools", **{"Idempotency-Key": "once"})
        again = await shop.replay(run, "recorded_tools", **{"Idempotency-Key": "once"})
        assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
        assert again.json() == first.json()
        other = await shop.replay(run, "strict", **{"Idempotency-Key": "once"})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    async with shopping(database_url, world) as shop:
        kept = await shop.http.get(first.headers["location"])
        assert (kept.status_code, kept.json()) == (200, first.json())


async def test_a_run_that_is_not_done_is_decided_later_by_another_server(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.service.replays.start.__kwdefaults__", {"wait_ms": 0})
    world = World()
    async with shopping(database_url, world) as shop:
        run = await bought(shop)
        monkeypatch.setattr(shop.holdfast.supervisor.worker, "versions", {})  # nobody makes runs here
        answer = await shop.replay(run, "recorded_tools")
        assert (answer.status_code, answer.json()["status"], answer.json()["verdict"]) == (202, "pending", None)
        assert (await shop.http.get(answer.headers["location"])).status_code == 202
    async with shopping(database_url, world) as shop:
        await shop.get(f"/v1/runs/{answer.json()['replay_run_id']}", wait=30)
        kept = await shop.http.get(answer.headers["location"])
        assert (kept.status_code, kept.json()["verdict"]) == (200, "identical")


async def test_a_list_of_replays_decides_what_nobody_looked_at(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.service.replays.start.__kwdefaults__", {"wait_ms": 0})
    world = World()
    async with shopping(database_url, world) as shop:
        run = await bought(shop)
        asked = (await shop.replay(run, "recorded_tools")).json()
        await shop.get(f"/v1/runs/{asked['replay_run_id']}", wait=30)
        (row,) = (await shop.get(f"/v1/runs/{run['id']}/replays"))["data"]
        assert (row["id"], row["status"], row["verdict"]) == (asked["id"], "done", "identical")
        assert (row["replay_run_id"], row["mode"]) == (asked["replay_run_id"], "recorded_tools")


async def test_a_run_that_was_deleted_or_cancelled_has_no_verdict(shop: Shop) -> None:
    run = await bought(shop)
    answer = await shop.replay(run, "recorded_tools")
    made = await shop.get(f"/v1/runs/{answer.json()['replay_run_id']}")
    assert (await shop.http.delete(f"/v1/threads/{made['thread_id']}")).status_code == 204
    kept = await shop.http.get(answer.headers["location"])
    assert (kept.status_code, kept.json()["status"], kept.json()["error"]["code"]) == (
        200, "failed", "replay_run_gone",
    )  # fmt: skip
    assert kept.json()["recorded"] is None, "what it told of the run goes with the run"


async def test_a_mode_that_is_not_known_and_who_may_not(shop: Shop) -> None:
    run = await bought(shop)
    assert (await shop.replay(run, "wild")).status_code == 422
    reads, writes = await shop.key("runs:read"), await shop.key("runs:read", "runs:write")
    statuses = [
        (await shop.replay(run, mode, **headers)).status_code
        for headers in (reads, writes)
        for mode in ("strict", "recorded_tools", "live")
    ]
    assert statuses == [200, 403, 403, 200, 200, 403]


# -- live -------------------------------------------------------------------------------------------------------------


async def test_live_the_tools_act_in_the_sandbox_and_nothing_shows_where_the_run_is(shop: Shop) -> None:
    await shop.run("polite", "?")
    run = await bought(shop)
    before = (await shop.get("/v1/runs"))["data"], (await shop.get("/v1/threads"))["data"]
    found = await shop.verdict(run, "live")
    assert (found["verdict"], found["mode"], found["steps"]) == ("identical", "live", 5), found
    assert shop.world.forgotten() == ["sandbox: look lamp", "sandbox: buy lamp"]
    assert ((await shop.get("/v1/runs"))["data"], (await shop.get("/v1/threads"))["data"]) == before
    await shop.get(f"/v1/runs/{found['replay_run_id']}", 404)
    answer = await shop.http.get(f"/v1/runs/{found['replay_run_id']}", headers=await shop.key("*", sandbox=True))
    assert (answer.status_code, answer.json()["output"], answer.json()["metadata"]) == (200, run["output"], {})


async def test_live_another_price_is_another_result(shop: Shop) -> None:
    run = await bought(shop)
    shop.world.price = 30
    found = await shop.verdict(run, "live")
    assert (found["verdict"], found["at"], found["reason"]) == ("diverged", 2, "result_changed")
    assert (found["difference"]["recorded"], found["difference"]["requested"]) == (20, 30)


async def test_live_plain_steps_act_too_and_the_conversation_is_there(shop: Shop) -> None:
    run = await shop.run("errand", "lamp")
    shop.world.forgotten()
    assert (await shop.verdict(run, "live"))["verdict"] == "identical"
    assert shop.world.forgotten() == ["sandbox: step", "sandbox: buy lamp"]
    shop.world.script = ["Hello."]
    await shop.run("shopper", "Hi.", thread={"external_id": "talk", "create": True})
    second = await shop.run("shopper", "And?", thread={"external_id": "talk"})
    found = await shop.verdict(second, "live")
    headers = await shop.key("*", sandbox=True)
    made = (await shop.http.get(f"/v1/runs/{found['replay_run_id']}", headers=headers)).json()
    said = (await shop.http.get(f"/v1/threads/{made['thread_id']}/messages", headers=headers)).json()["data"]
    assert [message["role"] for message in said] == ["user", "assistant"] * 2


async def test_live_leave_is_asked_for_in_the_sandbox(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.world.script = [Call("pay", {"amount": 5}), "Paid."]
    run = await shop.run("shopper", "Pay.")
    (asked,) = (await shop.get("/v1/approvals", run_id=run["id"], status="pending"))["data"]
    await shop.http.post(f"/v1/approvals/{asked['id']}/resolve", json={"decision": "approve"})
    run = await shop.get(f"/v1/runs/{run['id']}", wait=30)
    assert shop.world.forgotten() == ["live: pay 5"]
    answer = await shop.replay(run, "live")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert "waiting for approval" in answer.json()["message"]
    admin, headers = await shop.key("*"), await shop.key("*", sandbox=True)
    assert (await shop.http.get("/v1/approvals", params={"status": "pending"}, headers=admin)).json()["data"] == []
    (asked,) = (await shop.http.get("/v1/approvals", params={"status": "pending"}, headers=headers)).json()["data"]
    await shop.http.post(f"/v1/approvals/{asked['id']}/resolve", json={"decision": "approve"}, headers=headers)
    await shop.http.get(f"/v1/runs/{answer.json()['replay_run_id']}", params={"wait": 30}, headers=headers)
    kept = await shop.http.get(answer.headers["location"], headers=admin)
    assert (kept.status_code, kept.json()["verdict"]) == (200, "identical"), kept.text
    assert shop.world.forgotten() == ["sandbox: pay 5"]


async def test_a_run_of_the_sandbox_is_replayed_there(shop: Shop) -> None:
    run = await bought(shop)
    made = {"id": (await shop.verdict(run, "live"))["replay_run_id"]}
    shop.world.forgotten()
    headers = await shop.key("*", sandbox=True)
    assert (await shop.verdict(made, "live", **headers))["verdict"] == "identical"
    assert shop.world.forgotten() == ["sandbox: look lamp", "sandbox: buy lamp"]
    assert (await shop.verdict(made, "recorded_tools", **headers))["verdict"] == "identical"
    assert (await shop.verdict(made, "strict", **headers))["verdict"] == "identical"


async def test_without_a_sandbox_there_is_no_live_replay(database_url: str) -> None:
    async with shopping(database_url, World(), sandbox=None) as shop:
        run = await bought(shop)
        answer = await shop.replay(run, "live")
        assert (answer.status_code, answer.json()["code"]) == (409, "no_sandbox")
        assert "HOLDFAST_SANDBOX_TENANT" in answer.json()["detail"]
