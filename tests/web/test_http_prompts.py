"""What every model step was asked, over HTTP: exactly what the model saw, whatever the run went through."""

from __future__ import annotations

from typing import Any

from holdfast import Agent, Middleware, ModelCall, Retry, Summarise, TurnInfo, tool
from holdfast.agents.native import prompt as prompts
from holdfast.domain.errors import ModelFault
from holdfast.testing import Call, Output, ScriptedModel
from tests.web.travel import Traveller, travelling


@tool(effect="read")
async def look(item: str) -> str:
    """Look something up."""
    return f"{item} is here"


async def demand_prompts(traveller: Traveller, run: dict[str, Any], *models: ScriptedModel) -> list[dict[str, Any]]:
    """The prompts of all model steps of a run, failed ones too: each is what a model was asked."""
    steps = (await traveller.get(f"/v1/runs/{run['id']}/steps", limit=200))["data"]
    asked = [prompts.shown(request.messages) for model in models for request in model.requests]
    found = []
    for step in steps:
        path = f"/v1/runs/{run['id']}/steps/{step['seq']}/prompt"
        if step["kind"] != "model":
            assert (await traveller.get(path, 404))["code"] == "prompt_not_found"
            continue
        prompt = await traveller.get(path)
        assert _bare(prompt["messages"]) in [_bare(messages) for messages in asked], step["key"]
        found.append(prompt | {"key": step["key"]})
    return found


def _bare(value: Any) -> Any:
    """Messages without what the model layer adds on the way to a model: ids and times of its own."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if k not in ("timestamp", "run_id", "instructions", "metadata")}
    return [_bare(one) for one in value] if isinstance(value, list) else value


async def test_before_and_after_a_hand_off_with_each_agent_s_own_instructions(database_url: str) -> None:
    second = ScriptedModel(lambda messages, info: [None, Call("look", {"item": "x"}), "done"][info.position])
    refunds = Agent("refunds", model=second, instructions="Refund.", tools=[look])
    first = ScriptedModel([Call("transfer_to_refunds", {})])
    desk = Agent("desk", model=first, instructions="Greet.", handoffs=[refunds])
    async with travelling(database_url, desk) as traveller:
        run = await traveller.run("desk", "hello", thread={"external_id": "t", "create": True})
        found = await demand_prompts(traveller, run, first, second)
        assert [p["instructions"] for p in found] == ["Greet.", "Refund.", "Refund."]
        assert [[t["name"] for t in p["tools"]] for p in found] == [["transfer_to_refunds"], ["look"], ["look"]]
        again = await traveller.run("desk", "and now?", thread={"external_id": "t"})
        assert len(await demand_prompts(traveller, again, first, second)) == 3, "with what the thread said before"


async def test_of_answers_that_were_refused_and_of_the_next_try(database_url: str) -> None:
    model = ScriptedModel([Call("look", {"wrong": 1}), Output({"n": "many"}), Output({"n": 3})])
    agent = Agent("typed", model=model, tools=[look], output_type=dict[str, int])
    async with travelling(database_url, agent) as traveller:
        run = await traveller.run("typed", "hello")
        assert run["status"] == "succeeded", run
        assert len(await demand_prompts(traveller, run, model)) == 3


async def test_of_a_model_step_that_failed_and_of_its_retry(database_url: str) -> None:
    broken = True

    def reply(messages: Any, info: Any) -> Any:
        if info.position == 0:
            return Call("look", {"item": "x"})
        if broken:
            raise ModelFault("the provider is away", code="model_unavailable")
        return "done"

    model = ScriptedModel(reply)
    agent = Agent("fragile", model=model, tools=[look], model_retry=Retry(attempts=1))
    async with travelling(database_url, agent) as traveller:
        run = await traveller.run("fragile", "hello")
        assert run["status"] == "failed", run
        broken = False
        response = await traveller.http.post(f"/v1/runs/{run['id']}/retry")
        assert response.status_code == 202, response.text
        run = await traveller.get(f"/v1/runs/{run['id']}", wait=30)
        assert run["output"] == "done"
        steps = (await traveller.get(f"/v1/runs/{run['id']}/steps"))["data"]
        tried = [(s["key"], s["attempt"], s["status"]) for s in steps if s["key"] == "model#2"]
        assert tried == [("model#2", 1, "voided"), ("model#2", 2, "succeeded")]
        found = await demand_prompts(traveller, run, model)
        assert [p["key"] for p in found] == ["model#1", "model#2", "model#2"]
        assert found[1] == found[2], "both tries were asked the same"


async def test_of_summaries_and_of_what_a_middleware_changed(database_url: str) -> None:
    class Polite(Middleware):
        async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall:
            return ModelCall(call.messages, f"{call.instructions} Be polite.", call.settings)

    model = ScriptedModel(lambda messages, info: "a long answer " * 40)
    agent = Agent(
        "brief", model=model, instructions="Answer.", middleware=[Polite()],
        history=Summarise(when_tokens=50, keep_turns=1),
    )  # fmt: skip
    async with travelling(database_url, agent) as traveller:
        for n in range(3):
            run = await traveller.run("brief", f"question {n}", thread={"external_id": "t", "create": True})
        found = await demand_prompts(traveller, run, model)
        assert len(found) == 2, "a summary and an answer"
        assert found[-1]["instructions"] == "Answer. Be polite."
