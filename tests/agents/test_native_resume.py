"""Resume from every prefix: the same result, the same prompts, and nothing recorded is done again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from holdfast.agents import base
from holdfast.agents.native import Agent, Middleware, ModelCall, ToolCall, TurnInfo
from holdfast.agents.tools import ModelRetry, Tool, ToolContext, tool
from holdfast.domain.encoding import decode
from holdfast.testing.scripted import Call, Output, ScriptedModel, last_user_text
from tests.agents.doubles import Log, resumes_from_every_prefix, scripted
from tests.agents.memory_context import MemoryContext, run


class Answer(BaseModel):
    city: str
    degrees: Decimal


@pytest.fixture
def log() -> Log:
    return Log()


def look_up(log: Log, **options: Any) -> Tool[..., Any]:
    async def look(ctx: ToolContext, n: int) -> dict[str, int]:
        # The later a call was made, the sooner it ends: results are recorded in another order than asked for.
        for _ in range(5 - n):
            await asyncio.sleep(0)
        log.done.append(("look", n))
        return {"n": n * 10}

    return tool(**options)(look)


async def test_text(log: Log) -> None:
    await resumes_from_every_prefix(lambda: Agent("a", model=scripted("Hello."), instructions="Be kind."))


@pytest.mark.parametrize(
    "options", [{"effect": "read"}, {}, {"sequential": True}, {"effect": "read", "sequential": True}]
)
async def test_parallel_and_sequential_tools(log: Log, options: dict[str, Any]) -> None:
    def make() -> Agent:
        calls = [Call("look", {"n": n}) for n in range(4)]
        model = scripted(calls, ["One more.", Call("look", {"n": 4})], "Done.")
        return Agent("a", model=model, tools=[look_up(log, **options)])

    whole = await resumes_from_every_prefix(make, log=log)
    assert len([k for k in whole.keys if "/" in k]) == 5
    assert whole.openings == (
        [] if options.get("effect") == "read" else [f"model#1/{n}" for n in range(4)] + ["model#2/0"]
    )


async def test_tools_recorded_in_any_order_make_the_same_prompt(log: Log) -> None:
    def make() -> Agent:
        return Agent("a", model=scripted([Call("look", {"n": n}) for n in range(4)], "Done."), tools=[look_up(log)])

    whole = await resumes_from_every_prefix(make, log=log)
    assert whole.keys == ["model#1", "model#1/3", "model#1/2", "model#1/1", "model#1/0", "model#2"]


async def test_failing_tools_and_wrong_calls(log: Log) -> None:
    @tool
    async def fragile(n: int) -> str:
        log.done.append(n)
        if n == 1:
            raise ValueError("broken")
        if n == 2:
            raise ModelRetry("use 3")
        return "ok"

    def make() -> Agent:
        model = scripted(
            [Call("fragile", {"n": 1}), Call("fragile", {"n": 2}), Call("nothing")],
            [Call("fragile", {"n": "x"}), Call("fragile", '{"n":')],
            Call("fragile", {"n": 3}),
            "Done.",
        )
        return Agent("a", model=model, tools=[fragile], tool_retries=3)

    await resumes_from_every_prefix(make, log=log)


async def test_structured_output_with_retries(log: Log) -> None:
    def check(value: Answer) -> Answer:
        log.done.append(str(value.degrees))
        if value.degrees < 0:
            raise ModelRetry("not below zero")
        return value.model_copy(update={"city": value.city.title()})

    def make() -> Agent:
        model = scripted(
            "It is warm.",
            Output({"city": "rome"}),
            Output({"city": "rome", "degrees": -3}),
            [Call("look", {"n": 1}), Output({"city": "rome", "degrees": "21.5"})],
        )
        return Agent(
            "a", model=model, output_type=Answer, output_retries=3, output_validators=[check], tools=[look_up(log)]
        )

    whole = await resumes_from_every_prefix(make, log=log)
    assert whole.keys == ["model#1", "retry#1", "model#2", "model#2/0", "model#3", "validate#1", "model#3/0", "model#4",
                          "validate#2"]  # fmt: skip


async def test_recorded_instructions(log: Log) -> None:
    def make() -> Agent:
        agent = Agent(
            "a", model=scripted(Call("look", {"n": 1}), "Done."), instructions="Be kind.", tools=[look_up(log)]
        )

        @agent.instructions
        async def today() -> str:
            log.done.append("instructions")
            return f"Call {len(log.done)}."

        return agent

    whole = await resumes_from_every_prefix(make, log=log)
    assert whole.keys[0] == "instructions#1"


async def test_handoffs(log: Log) -> None:
    def make() -> Agent:
        refunds = Agent(
            "refunds",
            model=scripted("", "", [Call("look", {"n": 1})], "Refunded."),
            instructions="Refund.",
            tools=[look_up(log)],
        )
        model = scripted(
            Call("look", {"n": 2}), [Call("look", {"n": 3}), Call("transfer_to_refunds", {"reason": "money"})]
        )
        return Agent("support", model=model, instructions="Support.", handoffs=[refunds], tools=[look_up(log)])

    whole = await resumes_from_every_prefix(make, log=log)
    assert whole.acting == "refunds"


async def test_an_agent_as_a_tool(log: Log) -> None:
    def make() -> Agent:
        child = Agent("child", model=scripted(Call("look", {"n": 1}), "It is 10."), tools=[look_up(log)])
        model = scripted([Call("child", {"input": "How much?"}), Call("look", {"n": 2})], "Done.")
        return Agent("a", model=model, tools=[child.as_tool(), look_up(log)])

    whole = await resumes_from_every_prefix(make, log=log)
    assert sorted(whole.keys) == [
        "model#1", "model#1/0", "model#1/0/child#1", "model#1/0/enabled#1", "model#1/1", "model#2",
    ]  # fmt: skip


async def test_tools_that_emit_and_call(log: Log) -> None:
    def make() -> Agent:
        child = Agent("child", model=scripted("Yes."))

        @tool
        async def consult(ctx: ToolContext) -> str:
            await ctx.emit("progress", 1)
            found = await ctx.call(child, "May I?")
            await ctx.emit("progress", 2)
            return found

        return Agent("a", model=scripted([Call("consult"), Call("consult")], "Done."), tools=[consult])

    whole = await resumes_from_every_prefix(make, log=log)
    assert [e for e in whole.emitted if e[1] == 1] == [("progress", 1)] * 2


async def test_middleware_with_steps_of_its_own(log: Log) -> None:
    class Guard(Middleware):
        async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
            said = await turn.ask("Is this fine?", model=scripted("It is."))
            noted = await turn.run.step("note", lambda: len(said))
            return ModelCall([*call.messages], f"{call.instructions} Checked {noted}.", call.settings)

        async def around_tool(self, turn: TurnInfo, call: ToolCall, next: Any) -> Any:
            log.done.append(("around", call.arguments["n"]))
            return await next(call)

    def make() -> Agent:
        model = scripted(Call("look", {"n": 1}), "Done.")
        return Agent("a", model=model, instructions="Be kind.", middleware=[Guard()], tools=[look_up(log)])

    await resumes_from_every_prefix(make, log=log)


async def test_steps_within_instructions_and_validators(log: Log) -> None:
    """A recorded body is not run again, and the keys of what comes after do not depend on that."""

    def make() -> Agent:
        agent = Agent("a", model=scripted(Call("look", {"n": 1}), "no", "yes"), tools=[look_up(log)])

        @agent.instructions
        async def greet(ctx: ToolContext) -> str:
            await ctx.emit("progress", "instructions")
            return "Be kind."

        @agent.output_validator
        async def check(ctx: ToolContext, value: str) -> str:
            await ctx.emit("progress", value)
            if value == "no":
                raise ModelRetry("be nice")
            return value

        return agent

    whole = await resumes_from_every_prefix(make, log=log)
    emitted = [k for k in whole.keys if "progress" in k]
    assert emitted == ["instructions#1/progress#1", "validate#1/progress#1", "validate#2/progress#1"]


def judging(judge: ScriptedModel, *replies: Any) -> Agent:
    """An agent whose every answer is judged by a model before it is recorded."""

    class Judge(Middleware):
        async def after_model(self, turn: TurnInfo, response: ModelResponse) -> ModelResponse | None:
            said = response.text or "a call"
            verdict = await turn.ask(f"Is {said} fine?", model=judge)
            return replace(response, parts=[*response.parts, TextPart(f" {verdict}")])

    look = look_up(Log(), effect="read")
    return Agent("a", model=scripted(*replies), tools=[look], middleware=[Judge()])


def echo() -> ScriptedModel:
    return ScriptedModel(lambda messages, info: f"({last_user_text(messages)})")


async def test_steps_within_after_model(log: Log) -> None:
    whole = await resumes_from_every_prefix(lambda: judging(echo(), Call("look", {"n": 1}), "Done."))
    assert decode(whole.output(base.Output(message_key="model#2"))) == "Done. (Is Done. fine?)"


async def test_what_after_model_found_out_about_an_answer_that_was_lost_does_not_hold_for_the_next() -> None:
    whole = MemoryContext()
    await run(judging(echo(), "First."), whole, "hi")
    (aside,) = [s for s in whole.steps if "ask" in (s.entry.key or "")]
    resumed = MemoryContext(recorded=[aside])  # the process died before the answer was recorded
    assert decode(await run(judging(echo(), "Second."), resumed, "hi")) == "Second. (Is Second. fine?)"


async def test_an_answer_that_had_to_be_cleaned_goes_on_as_it_is_recorded(log: Log) -> None:
    def make() -> Agent:
        call = ToolCallPart("look", '{"n": 1, "more": "\ud83d"}', "call_1")
        said = ModelResponse(parts=[TextPart("a \ud83d"), call])

        @tool(effect="read")
        async def look(n: int, more: str) -> str:
            return f"{n} {more}"

        return Agent("a", model=scripted(said, "Done.", usage=RequestUsage()), tools=[look])

    whole = await resumes_from_every_prefix(make, log=log)
    assert whole.result("model#1/0")["result"] == "1 ?"


REPLIES = st.one_of(
    st.just("text"),
    st.lists(
        st.one_of(
            st.builds(lambda n: Call("look", {"n": n}), st.integers(0, 4)),
            st.builds(lambda n: Call("look", {"n": n}, id="call_0"), st.integers(0, 4)),
            st.just(Call("look", {"n": "wrong"})),
            st.just(Call("nobody")),
            st.just(Call("transfer_to_b")),
            st.builds(Output, st.fixed_dictionaries({"city": st.just("rome"), "degrees": st.integers(-1, 1)})),
        ),
        min_size=1,
        max_size=3,
    ),
)


@settings(max_examples=40, deadline=None)
@given(replies=st.lists(REPLIES, min_size=1, max_size=4))
async def test_whatever_a_model_says(replies: list[Any]) -> None:
    log = Log()

    def check(value: Any) -> Any:
        log.done.append("check")
        if isinstance(value, Answer) and value.degrees < 0:
            raise ModelRetry("not below zero")
        return value

    def make() -> Agent:
        def agent(id: str, **options: Any) -> Agent:
            model = scripted(*replies, "The end.", "The end.", on_end="repeat")
            return Agent(id, model=model, tools=[look_up(log)], tool_retries=50, **options)

        return agent(
            "a",
            output_type=[Answer, str],
            output_retries=50,
            output_validators=[check],
            handoffs=[agent("b")],
            end_strategy="exhaustive",
        )

    await resumes_from_every_prefix(make, log=log)
