"""Hand-offs and agents as tools: who acts, by whose contract, and what the model is told when it does not work."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from holdfast.agents.native import Agent, Middleware, ToolCall, TurnInfo
from holdfast.agents.registry import Registry
from holdfast.agents.tools import tool
from holdfast.agents.workflow import workflow
from holdfast.domain.encoding import decode
from holdfast.domain.errors import DefinitionError, NotFound, RunError
from holdfast.domain.journal import StepKind, StepStatus
from holdfast.domain.limits import HANDOFFS_MAX
from holdfast.domain.threads import Role
from holdfast.testing.scripted import Call, Output, ScriptedModel
from tests.agents.doubles import answer, asked, scripted
from tests.agents.memory_context import MemoryContext, Thread, run


def contents(model: ScriptedModel, index: int = -1) -> list[str]:
    return [p.content for p in model.requests[index].info.parameters.instruction_parts or []]


async def test_after_a_hand_off_the_other_agent_acts_on_the_same_thread() -> None:
    @tool(effect="read")
    async def pay(n: int) -> str:
        return f"paid {n}"

    other_model = ScriptedModel(lambda messages, info: Call("pay", {"n": 3}) if len(messages) == 3 else "Done.")
    refunds = Agent(
        "refunds",
        model=other_model,
        instructions="Refund.",
        tools=[pay],
        model_settings={"temperature": 1},
        description="Pays.",
    )
    model = scripted(["One moment.", Call("transfer_to_refunds", {"reason": "money"})])
    support = Agent("support", model=model, instructions="Support.", handoffs=[refunds])
    context = MemoryContext()
    assert await answer(support, context=context) == "Done."
    assert context.keys == ["model#1", "model#1/0", "model#2", "model#2/0", "model#3"]
    assert (context.acting, context.handed) == ("refunds", ["refunds"])
    step = context.steps[1]
    assert (step.entry.kind, step.role) == (StepKind.HANDOFF, Role.TOOL)
    assert context.result("model#1/0")["result"] == "Transferred to refunds."
    assert contents(model) == ["Support."]
    assert contents(other_model) == ["Refund."]
    assert other_model.requests[0].info.settings == {"temperature": 1}
    assert other_model.requests[0].info.tool_names == ["pay"]
    assert asked(other_model, 0) == [
        ("user", "hi"), ("model", "One moment."), ("model", "transfer_to_refunds"),
        ("transfer_to_refunds", "Transferred to refunds."),
    ]  # fmt: skip
    (offered,) = model.requests[0].info.parameters.function_tools
    assert offered.description is not None
    assert "Pays." in offered.description


async def test_the_output_contract_stays_the_entry_agents() -> None:
    class Refund(BaseModel):
        amount: int

    refunds = Agent("refunds", model=scripted("", "Fine.", Output({"amount": 3})), output_type=str, output_retries=0)
    checked: list[Any] = []
    support = Agent(
        "support",
        model=scripted(Call("transfer_to_refunds")),
        handoffs=[refunds],
        output_type=Refund,
        output_validators=[lambda value: checked.append(value) or value],
    )
    assert await answer(support) == {"amount": 3}
    assert checked == [Refund(amount=3)]


async def test_the_next_turn_starts_with_the_entry_agent() -> None:
    thread = Thread()
    model = scripted(Call("transfer_to_b"), "", "Me again.")
    support = Agent("a", model=model, handoffs=[Agent("b", model=scripted("", "It is b."))])
    assert decode(await run(support, MemoryContext(thread=thread), "hi")) == "It is b."
    context = MemoryContext(thread=thread)
    assert decode(await run(support, context, "again")) == "Me again."
    assert context.acting == "a"


async def test_other_calls_of_the_answer_are_made_by_who_made_them() -> None:
    done: list[str] = []

    @tool
    async def note() -> None:
        done.append("noted")

    b = Agent("b", model=scripted("", "Done."))
    a = Agent("a", model=scripted([Call("transfer_to_b"), Call("note")]), handoffs=[b], tools=[note])
    assert await answer(a) == "Done."
    assert done == ["noted"]


async def test_a_second_transfer_in_one_answer_is_refused() -> None:
    b, c = Agent("b", model=scripted("", "It is b.")), Agent("c", model=scripted("", "It is c."))
    context = MemoryContext()
    a = Agent("a", model=scripted([Call("transfer_to_b"), Call("transfer_to_c")]), handoffs=[b, c])
    assert await answer(a, context=context) == "It is b."
    assert decode(context.journal.results["model#1/1"].error)["code"] == "handoff_refused"
    assert context.handed == ["b"]


async def test_hand_offs_have_a_limit_beyond_which_the_model_is_refused() -> None:
    def restless(other: str) -> ScriptedModel:
        return ScriptedModel(lambda messages, info: Call(f"transfer_to_{other}"))

    b = Agent("b", model=restless("a"), handoffs=["a"])
    a = Agent("a", model=restless("b"), handoffs=[b])
    context = MemoryContext(agents=[a])
    with pytest.raises(RunError) as caught:
        await answer(a, context=context)
    assert caught.value.code == "tool_retries_exhausted"
    assert context.handed == ["b", "a"] * (HANDOFFS_MAX // 2) + ["b"] * (HANDOFFS_MAX % 2)
    refused = [s for s in context.steps if s.entry.status is StepStatus.FAILED]
    assert [decode(s.entry.error)["code"] for s in refused] == ["handoff_refused"] * 3


async def test_each_agent_has_its_own_retries() -> None:
    wrong = Call("nobody")
    b = Agent("b", model=scripted("", "", "", wrong, wrong, "Done."), tool_retries=2)
    a = Agent("a", model=scripted(wrong, wrong, Call("transfer_to_b")), handoffs=[b], tool_retries=2)
    assert await answer(a) == "Done."


def test_hand_offs_whose_tools_would_have_one_name_are_refused() -> None:
    long = "x" * 60
    with pytest.raises(DefinitionError, match="two whose tools have one name"):
        Agent("a", model="test", handoffs=[f"{long}-one", f"{long}-two"])


async def test_a_hand_off_may_be_named_by_id_and_must_be_a_native_agent() -> None:
    @workflow("flow")
    async def flow(ctx: Any) -> None: ...

    b = Agent("b.c", model=scripted("", "It is b."))
    a = Agent("a", model=scripted(Call("transfer_to_b_c")), handoffs=["b.c"])
    assert await answer(a, context=MemoryContext(agents=[a, b])) == "It is b."
    with pytest.raises(NotFound):
        await answer(Agent("a", model=scripted(Call("transfer_to_b_c")), handoffs=["b.c"]))
    other = Agent("a", model=scripted(Call("transfer_to_flow")), handoffs=["flow"])
    with pytest.raises(DefinitionError, match="not a native agent"):
        await answer(other, context=MemoryContext(agents=[other, flow]))
    with pytest.raises(DefinitionError, match="native agents only"):
        Agent("a", model="test", handoffs=[flow])  # type: ignore[list-item]


# --- agents as tools -------------------------------------------------------------------------------------------------


async def test_an_agent_as_a_tool_is_a_child_run() -> None:
    child = Agent("child.one", model=scripted("42"), description="Knows it.")
    model = scripted(Call("ask_child", {"input": "What is it?"}), "Done.")
    agent = Agent("a", model=model, tools=[child.as_tool(name="ask_child")])
    context = MemoryContext()
    assert await answer(agent, context=context) == "Done."
    assert context.children == [("child.one", "What is it?")]
    assert context.keys == ["model#1", "model#1/0/enabled#1", "model#1/0/ask_child#1", "model#1/0", "model#2"]
    assert asked(model)[-1] == ("ask_child", "42")
    assert child.as_tool().definition() | {"effect": "", "timeout_ms": 0} == {
        "name": "child_one",
        "description": "Knows it.",
        "schema": {
            "type": "object",
            "properties": {
                "input": {"type": "string", "description": "What the agent is asked, with all it must know."}
            },
            "required": ["input"],
            "additionalProperties": False,
        },
        "effect": "",
        "policy": [],
        "external": False,
        "timeout_ms": 0,
    }


async def test_a_childs_input_type_is_the_tools_parameters() -> None:
    class Ask(BaseModel):
        city: str

    child = Agent("child", model=scripted("warm"), input_type=Ask)
    listing = Agent("listing", model=scripted("two"), input_type=list[Ask])
    model = scripted([Call("child", {"city": "Rome"}), Call("listing", {"input": [{"city": "Rome"}]})], "Done.")
    context = MemoryContext()
    await answer(Agent("a", model=model, tools=[child.as_tool(), listing.as_tool()]), context=context)
    assert context.children == [("child", {"city": "Rome"}), ("listing", [{"city": "Rome"}])]
    wrong = scripted([Call("child", {"town": "Rome"}), Call("listing", {"input": [{"town": 1}]})], "Done.")
    context = MemoryContext()
    await answer(Agent("a", model=wrong, tools=[child.as_tool(), listing.as_tool()]), context=context)
    assert context.children == []


async def test_a_child_that_fails_is_told_to_the_model() -> None:
    child = Agent("child", model=scripted(ZeroDivisionError("oops")))
    model = scripted(Call("child", {"input": "?"}), "Done.")
    context = MemoryContext()
    assert await answer(Agent("a", model=model, tools=[child.as_tool()]), context=context) == "Done."
    assert asked(model)[-1] == ("child", "error: child failed: oops")
    assert decode(context.journal.results["model#1/0"].error)["code"] == "child_failed"


async def test_a_child_is_not_started_by_a_tool_that_is_switched_off() -> None:
    child = Agent("child", model=scripted("42"))
    model = scripted(Call("child", {"input": "?"}), "Done.")
    context = MemoryContext()
    context.tools_off.add("child")
    await answer(Agent("a", model=model, tools=[child.as_tool()]), context=context)
    assert context.children == []
    assert asked(model)[-1] == ("child", "error: the tool 'child' is switched off; do without it")
    assert decode(context.journal.results["model#1/0"].error)["code"] == "tool_disabled"


async def test_a_child_under_way_is_not_forgotten_when_its_tool_is_switched_off() -> None:
    def make() -> Agent:
        child = Agent("child", model=scripted("42"))
        return Agent("a", model=scripted(Call("child", {"input": "?"}), "Done."), tools=[child.as_tool()])

    whole = MemoryContext()
    await answer(make(), context=whole)
    resumed = MemoryContext(recorded=whole.steps[:2])  # up to the word that it may start
    resumed.tools_off.add("child")
    await answer(make(), context=resumed)
    assert resumed.result("model#1/0")["result"] == "42"


async def test_middleware_sees_a_child_too() -> None:
    seen: list[str] = []

    class Watch(Middleware):
        async def around_tool(self, turn: TurnInfo, call: ToolCall, next: Any) -> Any:
            seen.append(call.tool)
            return f"<{await next(call)}>"

    child = Agent("child", model=scripted("42"))
    model = scripted(Call("child", {"input": "?"}), "Done.")
    await answer(Agent("a", model=model, tools=[child.as_tool()], middleware=[Watch()]))
    assert seen == ["child"]
    assert asked(model)[-1] == ("child", "<42>")


def test_agents_that_are_called_or_handed_over_to_are_registered_too() -> None:
    leaf = Agent("leaf", model="test")
    child = Agent("child", model="test", handoffs=[leaf])
    other = Agent("other", model="test", tools=[leaf.as_tool()])
    top = Agent("top", model="test", tools=[child.as_tool()], handoffs=[other])
    assert sorted(Registry([top]).ids) == ["child", "leaf", "other", "top"]
