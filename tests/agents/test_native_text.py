"""Text in, text out: what is sent, what is recorded, what happens when a provider fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart
from pydantic_ai.models import Model
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.usage import RequestUsage

from holdfast.agents import base
from holdfast.agents.native import Agent
from holdfast.agents.native.messages import text_of, unpack
from holdfast.agents.tools import ToolContext
from holdfast.domain.encoding import decode
from holdfast.domain.errors import (
    Cancelled,
    DefinitionError,
    Invalid,
    LimitReached,
    ModelFault,
    OutputInvalid,
    StepFailed,
)
from holdfast.domain.journal import StepKind, StepStatus
from holdfast.domain.threads import Role
from holdfast.testing.scripted import Call, Fail, ScriptedModel, Think
from tests.agents.doubles import answer, asked, prompts, scripted, sent
from tests.agents.memory_context import MemoryContext, Thread, outcome, run


async def test_a_text_run_is_one_model_step_and_its_output_refers_to_the_message() -> None:
    agent = Agent("a", model=scripted("Hello."), instructions="Be kind.")
    context = MemoryContext()
    assert await outcome(agent, context, "hi") == base.Output(message_key="model#1")
    assert context.keys == ["model#1"]
    assert [m.role for m in context.thread.messages] == [Role.USER, Role.ASSISTANT]
    assert text_of(context.thread.messages[1].payload) == "Hello."
    step = context.steps[0]
    assert (step.entry.kind, step.action.write_behind, step.action.streams) == (StepKind.MODEL, True, False)


async def test_the_step_records_envelope_usage_price_and_prompt() -> None:
    model = scripted(
        "Hello.", usage=RequestUsage(input_tokens=1_000, output_tokens=100), model_name="gpt-4o", system="openai"
    )
    agent = Agent("a", model=model, instructions="Be kind.", model_settings={"temperature": 0})
    context = MemoryContext()
    await answer(agent, context=context)
    entry = context.steps[0].entry
    stored = decode(entry.payload)
    assert (stored["fmt"], stored["data"]["parts"]) == (
        "pydantic-ai/response/1",
        [{"content": "Hello.", "part_kind": "text"}],
    )
    assert entry.usage is not None
    assert (entry.usage.requests, entry.usage.input_tokens, entry.usage.output_tokens) == (1, 1_000, 100)
    assert entry.usage.priced
    assert entry.usage.cost_micros == 3_500
    assert entry.price_version
    prompt = prompts(context)["model#1"]
    assert (prompt["instructions"], prompt["model"], prompt["settings"]) == (
        "Be kind.",
        "openai:gpt-4o",
        {"temperature": 0},
    )
    assert prompt["messages"] == sent(model)
    assert decode(entry.prompt)["segments"] == [{"messages": [1, 1]}]


async def test_instructions_and_settings_reach_the_model() -> None:
    model = scripted("Hello.")
    agent = Agent("a", model=model, instructions=["Be kind.", "Be brief."], model_settings={"temperature": 0})
    await answer(agent)
    info = model.requests[0].info
    assert info.settings == {"temperature": 0}
    assert [p.content for p in info.parameters.instruction_parts or []] == ["Be kind.\n\nBe brief."]


async def test_instructions_of_functions_are_recorded_and_see_the_run() -> None:
    model = scripted("Hello.")
    agent = Agent("a", model=model, instructions="Be kind.")

    @agent.instructions
    async def who(ctx: ToolContext[str]) -> str:
        return f"{ctx.deps} for {ctx.run_id}"

    @agent.instructions
    def nothing() -> None:
        return None

    context = MemoryContext(deps="deps")
    await answer(agent, context=context)
    assert context.result("instructions#1") == "Be kind.\n\ndeps for run_1"
    assert prompts(context)["model#1"]["instructions"] == "Be kind.\n\ndeps for run_1"
    assert [p.content for p in model.requests[0].info.parameters.instruction_parts or []] == [
        "Be kind.\n\ndeps for run_1"
    ]


async def test_a_plain_function_may_give_instructions_to_be_awaited() -> None:
    async def later() -> str:
        return "Be kind."

    context = MemoryContext()
    await answer(Agent("a", model=scripted("Hello."), instructions=lambda: later()), context=context)
    assert context.result("instructions#1") == "Be kind."


async def test_instructions_that_are_not_text_fail_the_run() -> None:
    agent = Agent("a", model=scripted("Hello."), instructions=lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(StepFailed, match="instructions are text, not int"):
        await answer(agent)


# --- empty answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", "  \n", [Think("hm")], ModelResponse(parts=[])])
async def test_an_empty_answer_is_asked_for_again(empty: Any) -> None:
    replies = iter([empty, "Hello."])
    model = ScriptedModel(lambda messages, info: next(replies))
    context = MemoryContext()
    assert await answer(Agent("a", model=model), context=context) == "Hello."
    assert context.keys == ["model#1", "retry#1", "model#2"]
    assert [m.role for m in context.thread.messages] == [Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT]
    assert "empty" in context.result("retry#1")["retry"]
    users = [what for who, what in asked(model) if who == "user"]
    assert users == ["hi", context.result("retry#1")["retry"]]


async def test_empty_answers_end_in_output_invalid() -> None:
    context = MemoryContext()
    agent = Agent("a", model=ScriptedModel(""), output_retries=2)
    with pytest.raises(OutputInvalid) as caught:
        await answer(agent, context=context)
    assert caught.value.details["step"] == "model#3"
    assert context.keys == ["model#1", "retry#1", "model#2", "retry#2", "model#3"]


# --- failures --------------------------------------------------------------------------------------------------------


def overloaded(status: int = 503) -> ModelHTTPError:
    return ModelHTTPError(status, "m", {"message": "try later"})


async def test_a_transient_failure_is_tried_again() -> None:
    context = MemoryContext()
    assert (
        await answer(Agent("a", model=scripted(Fail(overloaded(), times=3, then="Hello."))), context=context)
        == "Hello."
    )
    assert context.tries == ["model#1"] * 4
    assert context.steps[0].entry.tries == 4


async def test_the_last_failure_is_recorded_and_fails_the_run_the_same_on_replay() -> None:
    agent = Agent("a", model=scripted(Fail(overloaded(), times=99)))
    context = MemoryContext()
    with pytest.raises(ModelFault) as first:
        await answer(agent, context=context)
    assert (context.steps[0].entry.status, len(context.tries)) == (StepStatus.FAILED, 4)
    replayed = MemoryContext(recorded=context.steps)
    with pytest.raises(ModelFault) as again:
        await answer(agent, context=replayed)
    assert replayed.fresh == []
    for caught in (first, again):
        assert (caught.value.code, caught.value.details["step"]) == ("model_overloaded", "model#1")
    assert first.value.message == again.value.message


async def test_a_final_failure_is_not_tried_again() -> None:
    context = MemoryContext()
    with pytest.raises(ModelFault) as caught:
        await answer(Agent("a", model=scripted(overloaded(401))), context=context)
    assert caught.value.code == "model_auth"
    assert len(context.tries) == 1


async def test_the_retry_of_model_calls_is_the_agents_to_choose() -> None:
    context = MemoryContext()
    once = base.Retry(attempts=1)
    with pytest.raises(ModelFault):
        await answer(Agent("a", model=scripted(Fail(overloaded())), model_retry=once), context=context)
    assert len(context.tries) == 1


async def test_a_model_that_is_not_configured_fails_the_run_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ModelFault) as caught:
        await answer(Agent("a", model="openai:gpt-5.2"))
    assert caught.value.code == "model_misconfigured"


class Stuck(Model[None]):
    """Never answers."""

    model_name, system, provider = "stuck", "test", None  # type: ignore[assignment]

    async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_model_that_does_not_answer_times_out_and_is_tried_again() -> None:
    context = MemoryContext()
    agent = Agent("a", model=Stuck(), model_timeout=0.001)
    with pytest.raises(ModelFault) as caught:
        await answer(agent, context=context)
    assert caught.value.code == "model_timeout"
    assert len(context.tries) == 4


async def test_a_bug_in_a_model_is_not_taken_for_a_provider_fault() -> None:
    context = MemoryContext()
    with pytest.raises(StepFailed) as caught:
        await answer(Agent("a", model=scripted(ZeroDivisionError("oops"))), context=context)
    assert not isinstance(caught.value, ModelFault)
    assert (caught.value.error_type, len(context.tries)) == ("ZeroDivisionError", 1)


async def test_limits_and_signals_pass_through() -> None:
    with pytest.raises(LimitReached):
        await answer(Agent("a", model=scripted(Call("none"), "x")), context=MemoryContext(steps_max=1))

    def cancel(messages: Any, info: Any) -> Any:
        raise Cancelled

    with pytest.raises(Cancelled):
        await answer(Agent("a", model=ScriptedModel(cancel)))


async def test_an_answer_with_lone_surrogates_is_recorded_without_them() -> None:
    context = MemoryContext()
    agent = Agent("a", model=scripted(ModelResponse(parts=[ThinkingPart("\ud800"), TextPart("a\ud83d b")])))
    assert await answer(agent, context=context) == "a? b"
    response = unpack(context.steps[0].entry.payload)
    assert response is not None
    assert response.model_name == "scripted"


async def test_an_answer_beyond_the_payload_limit_fails_the_run_not_the_process() -> None:
    with pytest.raises(StepFailed) as caught:
        await answer(Agent("a", model=scripted("x" * (16 * 1024 * 1024))))
    assert caught.value.code == "not_encodable"


# --- streams ---------------------------------------------------------------------------------------------------------


async def test_a_call_streams_only_if_somebody_listens_or_the_agent_says_so() -> None:
    for listeners, stream, expected in ((False, False, False), (True, False, True), (False, True, True)):
        model = scripted([Think("hm"), "Hello there.", Call("f", {"a": 1})], "Done.", chunk_chars=4)
        context = MemoryContext(listeners=listeners)
        assert await answer(Agent("a", model=model, stream=stream), context=context) == "Done."
        assert [r.info.streamed for r in model.requests] == [expected] * 2
        assert context.steps[0].action.streams is expected
        texts = {
            kind: "".join(t for _, k, t in context.deltas if k == kind) for kind in ("thinking", "text", "tool_call")
        }
        assert texts == (
            {"thinking": "hm", "text": "Hello there.Done.", "tool_call": '{"a":1}'}
            if expected
            else {"thinking": "", "text": "", "tool_call": ""}
        )
        response = unpack(context.steps[0].entry.payload)
        assert response is not None
        assert [type(p).__name__ for p in response.parts] == ["ThinkingPart", "TextPart", "ToolCallPart"]


async def test_a_model_that_cannot_stream_is_asked_without() -> None:
    class Plain(Stuck):
        async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
            return ModelResponse(parts=[TextPart("Hello.")])

    context = MemoryContext(listeners=True)
    assert await answer(Agent("a", model=Plain()), context=context) == "Hello."
    assert context.deltas == []


async def test_a_stream_that_breaks_is_tried_again_whole() -> None:
    model = scripted(Fail(overloaded(), then="Hello there.", after_chars=6), chunk_chars=4)
    context = MemoryContext(listeners=True)
    assert await answer(Agent("a", model=model), context=context) == "Hello there."
    assert context.tries == ["model#1"] * 2


# --- the thread ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_are_prepared_for_the_model_that_is_asked(stream: bool) -> None:
    """Another provider wrote the history: here one that takes call ids of nine characters only."""
    model = scripted(Call("none", id="call_of_another_provider"), "Done.", profile=ModelProfile(tool_call_id_length=9))
    context = MemoryContext()
    await answer(Agent("a", model=model, stream=stream), context=context)
    (call,) = (p for m in model.requests[-1].messages for p in m.parts if p.part_kind == "tool-call")
    assert len(call.tool_call_id) == 9
    shown = prompts(context)["model#2"]["messages"]
    assert shown[1]["parts"][0]["tool_call_id"] == "call_of_another_provider"


async def test_turns_of_a_thread_build_on_each_other() -> None:
    thread = Thread()
    model = scripted("One.", "Two.", "Three.")
    agent = Agent("a", model=model)
    for text in ("a", "b", "c"):
        await run(agent, MemoryContext(thread=thread), text)
    assert asked(model) == [
        ("user", "a"), ("model", "One."), ("user", "b"), ("model", "Two."), ("user", "c"),
    ]  # fmt: skip
    assert len(thread.messages) == 6


async def test_the_messages_a_model_was_given_are_not_changed_afterwards() -> None:
    """A call under way may outlive its turn."""
    given: list[Any] = []

    def reply(messages: list[Any], info: Any) -> Any:
        given.append((messages, [replace(m) for m in messages]))
        return Call("none") if len(given) < 3 else "Done."

    class Keeping(ScriptedModel):
        async def request(self, messages: Any, *rest: Any) -> ModelResponse:
            kept.append(messages)
            return await super().request(messages, *rest)

    kept: list[list[Any]] = []
    await answer(Agent("a", model=Keeping(reply)))
    assert [len(messages) for messages in kept] == [1, 3, 5]
    assert [then for _, then in given] == kept


class Opaque:
    pass


# --- definition ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"id": "no spaces"},
        {"id": ""},
        {"id": "x" * 65},
        {"durability": "later"},
        {"on_version_change": "ignore"},
        {"end_strategy": "late"},
        {"output_retries": -1},
        {"tool_retries": -1},
        {"model_timeout": 0},
        {"instructions": [3]},
        {"handoffs": [3]},
        {"handoffs": ["b", "b"]},
        {"handoffs": ["b.c", "b_c"]},
        {"tools": [3]},
        {"metadata": {"x": object()}},
        {"output_validators": [lambda: None]},
        {"output_type": []},
        {"output_type": Opaque},
        {"input_type": Opaque},
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(options: dict[str, Any]) -> None:
    id = options.pop("id", "a")
    with pytest.raises(DefinitionError):
        Agent(id, model="test", **options)


def test_the_version_changes_with_what_the_agent_would_do_and_only_then() -> None:
    def make(**options: Any) -> str:
        return Agent("a", **{"model": "test", "instructions": "Be kind.", **options}).version

    def f(a: int) -> None: ...

    def g(a: str) -> None: ...

    assert make() == make(name="A", description="An agent.", stream=True, metadata={"a": 1})
    versions = [
        make(),
        make(instructions="Be brief."),
        make(instructions=lambda: "x"),
        make(model="openai:gpt-5.2"),
        make(model_settings={"temperature": 1}),
        make(tools=[f]),
        make(tools=[g]),
        make(output_type=int),
        make(input_type=int),
        make(handoffs=["b"]),
        make(tool_retries=5),
    ]
    assert len(set(versions)) == len(versions)


def test_the_definition_is_json_and_says_what_the_api_shows() -> None:
    def f(a: int) -> None: ...

    shown = Agent(
        "a", model="openai:gpt-5.2", instructions="Be kind.", tools=[f], output_type=int, handoffs=["b"]
    ).definition()
    assert shown["model"] == "openai:gpt-5.2"
    assert shown["instructions"] == "Be kind."
    assert [t["name"] for t in shown["tools"]] == ["f"]
    assert shown["output_schema"] == {"type": "integer"}
    assert shown["handoffs"] == ["b"]


def test_input_that_does_not_fit_is_invalid() -> None:
    with pytest.raises(Invalid) as caught:
        Agent("a", model="test").accept(3)
    assert caught.value.code == "invalid_input"
