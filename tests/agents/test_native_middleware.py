"""Middleware: what it may change, what of that is recorded, and that the prompt can still be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

from holdfast.agents.native import Agent, Middleware, ModelCall, ToolCall, TurnInfo
from holdfast.agents.tools import ModelRetry, tool
from holdfast.domain.encoding import decode
from holdfast.domain.errors import OutputInvalid, RunError
from holdfast.domain.journal import StepKind
from holdfast.testing.scripted import Call, ScriptedModel
from tests.agents.doubles import answer, asked, prompts, scripted, sent
from tests.agents.memory_context import MemoryContext, Thread, run


@tool(effect="read")
async def look(n: int) -> int:
    return n


class Context(Middleware):
    """Adds a message at the end of every prompt."""

    async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
        return replace(
            call, messages=[*call.messages, ModelRequest(parts=[UserPromptPart(f"Call {turn.model_calls}.")])]
        )


class Redact(Middleware):
    """Changes the first message."""

    async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
        return replace(call, messages=[ModelRequest(parts=[UserPromptPart("(redacted)")]), *call.messages[1:]])


async def test_without_middleware_a_prompt_is_one_range() -> None:
    context = MemoryContext()
    await answer(Agent("a", model=scripted(Call("look", {"n": 1}), "Done."), tools=[look]), context=context)
    assert [decode(s.entry.prompt)["segments"] for s in context.steps if s.entry.prompt] == [
        [{"messages": [1, 1]}],
        [{"messages": [1, 3]}],
    ]


async def test_what_is_added_to_a_prompt_is_stored_beside_the_thread() -> None:
    context = MemoryContext()
    model = ScriptedModel([Call("look", {"n": 1}), "Done."], per="thread")
    await answer(Agent("a", model=model, tools=[look], middleware=[Context()]), context=context)
    segments = [decode(s.entry.prompt)["segments"] for s in context.steps if s.entry.prompt]
    assert [list(map(list, s)) for s in segments] == [[["messages"], ["inline"]], [["messages"], ["inline"]]]
    rebuilt = prompts(context)
    assert [rebuilt["model#1"]["messages"], rebuilt["model#2"]["messages"]] == [sent(model, 0), sent(model, 1)]
    assert len(context.thread.messages) == 4


async def test_a_change_in_the_middle_can_be_rebuilt_and_unchanged_messages_are_stored_once() -> None:
    thread, model = Thread(), ScriptedModel(lambda messages, info: "Fine.")
    agent = Agent("a", model=model, middleware=[Redact()])
    for text in ("one", "two", "three"):
        context = MemoryContext(thread=thread)
        await run(agent, context, text)
        assert prompts(context)["model#1"]["messages"] == sent(model)
    assert asked(model)[0] == ("user", "(redacted)")
    # Three prompts of 1, 3 and 5 messages: five blobs of messages and one of parameters, not nine.
    assert len(thread.blobs) == 6


async def test_instructions_and_settings_may_be_changed() -> None:
    class Other(Middleware):
        async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
            return replace(call, instructions=f"{call.instructions} Be brief.", settings={**call.settings, "seed": 1})

    context, model = MemoryContext(), scripted("Done.")
    agent = Agent("a", model=model, instructions="Be kind.", model_settings={"temperature": 0}, middleware=[Other()])
    await answer(agent, context=context)
    info = model.requests[0].info
    assert [p.content for p in info.parameters.instruction_parts or []] == ["Be kind. Be brief."]
    assert info.settings == {"temperature": 0, "seed": 1}
    prompt = prompts(context)["model#1"]
    assert (prompt["instructions"], prompt["settings"]) == ("Be kind. Be brief.", {"temperature": 0, "seed": 1})


async def test_the_first_middleware_is_the_outermost() -> None:
    order: list[str] = []

    class Named(Middleware):
        def __init__(self, name: str) -> None:
            self.name = name

        async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
            order.append(f"before {self.name}")
            return None

        async def around_tool(self, turn: TurnInfo, call: ToolCall, next: Any) -> Any:
            order.append(f"in {self.name}")
            try:
                return await next(call)
            finally:
                order.append(f"out {self.name}")

    model = scripted(Call("look", {"n": 1}), "Done.")
    await answer(Agent("a", model=model, tools=[look], middleware=[Named("1"), Named("2")]))
    once = ["before 1", "before 2"]
    assert order == [*once, "in 1", "in 2", "out 2", "out 1", *once]


async def test_what_after_model_returns_is_what_is_recorded() -> None:
    class Polite(Middleware):
        async def after_model(self, turn: TurnInfo, response: ModelResponse) -> ModelResponse | None:
            if response.text == "no":
                return replace(response, parts=[TextPart("No, thank you.")])
            return None

    context = MemoryContext()
    assert await answer(Agent("a", model=scripted("no"), middleware=[Polite()]), context=context) == "No, thank you."
    assert context.result("model#1")["data"]["parts"][0]["content"] == "No, thank you."


async def test_around_tool_may_change_refuse_or_replace_a_call() -> None:
    class Gate(Middleware):
        async def around_tool(self, turn: TurnInfo, call: ToolCall, next: Any) -> Any:
            match call.arguments["n"]:
                case 1:
                    return await next(replace(call, arguments={"n": 10}))
                case 2:
                    raise ModelRetry("not two")
                case 3:
                    return "three, without asking"
                case _:
                    raise ValueError("broken gate")

    model = scripted([Call("look", {"n": n}) for n in (1, 2, 3, 4)], "Done.")
    context = MemoryContext()
    await answer(Agent("a", model=model, tools=[look], middleware=[Gate()]), context=context)
    assert [what for who, what in asked(model) if who == "look"] == [
        10, "not two", "three, without asking", "error: broken gate",
    ]  # fmt: skip
    assert [s.entry.status for s in context.steps[1:5]].count("failed") == 2


async def test_asking_a_model_aside_is_a_step_and_no_message() -> None:
    judge = scripted("yes")

    class Judge(Middleware):
        async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
            verdict = await turn.ask("Is it safe?", model=judge, instructions="Judge.", name="judge")
            return replace(call, instructions=f"Safe: {verdict}")

    context, model = MemoryContext(), scripted("Done.")
    await answer(Agent("a", model=model, middleware=[Judge()]), context=context)
    assert context.keys == ["judge#1", "model#1"]
    assert (context.steps[0].entry.kind, context.steps[0].role) == (StepKind.MODEL, None)
    assert asked(judge) == [("user", "Is it safe?")]
    rebuilt = prompts(context)
    assert rebuilt["judge#1"]["instructions"] == "Judge."
    assert rebuilt["judge#1"]["messages"] == sent(judge)
    assert rebuilt["model#1"]["instructions"] == "Safe: yes"
    assert len(context.thread.messages) == 2


async def test_on_error_is_told_and_may_fail_the_run_with_another_error() -> None:
    told: list[Exception] = []

    class Watch(Middleware):
        def __init__(self, other: RunError | None = None) -> None:
            self.other = other

        async def on_error(self, turn: TurnInfo, error: Exception) -> None:
            told.append(error)
            if self.other is not None:
                raise self.other

    with pytest.raises(OutputInvalid):
        await answer(Agent("a", model=ScriptedModel(""), output_retries=0, middleware=[Watch()]))
    assert [type(e) for e in told] == [OutputInvalid]
    with pytest.raises(RunError) as caught:
        await answer(
            Agent("a", model=ScriptedModel(""), output_retries=0, middleware=[Watch(RunError("other", code="other"))])
        )
    assert caught.value.code == "other"


@pytest.mark.parametrize("where", ["instructions", "before_model", "hand-off"])
async def test_on_error_is_told_of_whatever_ends_the_run(where: str) -> None:
    told: list[tuple[str, Exception]] = []

    class Watch(Middleware):
        async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
            if where == "before_model":
                raise ZeroDivisionError
            return None

        async def on_error(self, turn: TurnInfo, error: Exception) -> None:
            told.append((turn.agent, error))

    agent = Agent("a", model=scripted(Call("transfer_to_b")), handoffs=["b"], middleware=[Watch()])
    if where == "instructions":
        agent.instructions(lambda: 1 / 0)
    with pytest.raises(Exception) as caught:  # three kinds of it
        await answer(agent)
    assert told == [("a", caught.value)]
