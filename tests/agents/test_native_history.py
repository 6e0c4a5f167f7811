"""What of a thread's past a run is given, and how a past that went wrong is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_core import to_json

from holdfast.agents.native import Agent, All, LastTurns, Summarise, TokenWindow
from holdfast.agents.native.history import approximate_tokens
from holdfast.agents.native.messages import pack, unpack
from holdfast.agents.native.prompt import UNANSWERED
from holdfast.agents.tools import tool
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import DefinitionError, ModelFault, StepFailed
from holdfast.domain.journal import StepKind
from holdfast.domain.threads import Role
from holdfast.testing.scripted import Call, ScriptedModel
from tests.agents.doubles import asked, prompts, resumes_from_every_prefix, scripted
from tests.agents.memory_context import MemoryContext, Thread, run


@tool(effect="read")
async def look(n: int) -> int:
    return n


def talker(history: Any = None, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(lambda messages, info: f"Answer {len(messages)}.")
    return Agent("a", model=model, history=history, **options), model


async def talked(turns: int) -> Thread:
    """A thread of turns, each with two calls of a tool: six messages a turn."""
    thread = Thread()
    for turn in range(turns):
        model = ScriptedModel([[Call("look", {"n": turn}), Call("look", {"n": turn})], f"Answer {turn}."])
        await run(
            Agent("a", model=model, tools=[look], history=LastTurns(0)),
            MemoryContext(thread=thread),
            f"Question {turn}",
        )
    assert len(thread.messages) == 5 * turns
    return thread


def questions(model: ScriptedModel, index: int = -1) -> list[Any]:
    return [what for who, what in asked(model, index) if who == "user"]


async def test_all_is_the_whole_thread_and_the_default() -> None:
    for history in (None, All()):
        agent, model = talker(history)
        await run(agent, MemoryContext(thread=await talked(3)), "now")
        assert questions(model) == ["Question 0", "Question 1", "Question 2", "now"]


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_last_turns(turns: int) -> None:
    agent, model = talker(LastTurns(turns))
    await run(agent, MemoryContext(thread=await talked(3)), "now")
    assert questions(model) == ["Question 0", "Question 1", "Question 2", "now"][max(0, 3 - turns) :]


@pytest.mark.parametrize(("tokens", "kept"), [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (100, 3)])
async def test_a_token_window_keeps_the_whole_turns_that_fit(tokens: int, kept: int) -> None:
    """With a counter that counts a message as one token (and four for its frame subtracted)."""
    agent, model = talker(TokenWindow(tokens * 5, count=lambda text: 1))
    await run(agent, MemoryContext(thread=await talked(3)), "now")
    assert len(questions(model)) == kept + 1
    assert_well_formed(model)


def assert_well_formed(model: ScriptedModel) -> None:
    """Every call has its result and every result its call, in order."""
    open: list[str] = []
    for message in model.requests[-1].messages:
        for part in message.parts:
            match part.part_kind:
                case "tool-call":
                    open.append(part.tool_call_id)
                case "tool-return":
                    assert open.pop(0) == part.tool_call_id
                case "user-prompt" | "text":
                    assert open == []
    assert open == []


async def test_a_retry_prompt_is_no_turn() -> None:
    thread = Thread()
    replies = iter(["", "Hello."])
    agent = Agent("a", model=ScriptedModel(lambda messages, info: next(replies)))
    await run(agent, MemoryContext(thread=thread), "hi")
    talk, model = talker(TokenWindow(19, count=lambda text: 1))
    await run(talk, MemoryContext(thread=thread.copy()), "now")
    assert questions(model) == ["now"]
    talk, model = talker(TokenWindow(20, count=lambda text: 1))
    await run(talk, MemoryContext(thread=thread), "now")
    assert questions(model) == ["hi", "Your answer was empty. Answer with text, or call a tool.", "now"]


async def test_void_messages_are_left_out_and_the_prompt_is_still_rebuilt() -> None:
    thread = await talked(3)
    thread.messages[5:10] = [_void(m) for m in thread.messages[5:10]]
    agent, model = talker()
    context = MemoryContext(thread=thread)
    await run(agent, context, "now")
    assert questions(model) == ["Question 0", "Question 2", "now"]
    assert decode(context.steps[0].entry.prompt)["segments"] == [{"messages": [1, 5]}, {"messages": [11, 16]}]
    assert prompts(context)["model#1"]["messages"]


def _void(message: Any) -> Any:
    return replace(message, void=True)


# --- calls that nobody answered --------------------------------------------------------------------------------------


def broken_off(results: dict[int, Any]) -> Thread:
    """A run that ended after an answer with three calls, of which some were answered."""
    thread = Thread()
    thread.append(Role.USER, b'"question"')
    response = ModelResponse(parts=[ToolCallPart("look", {"n": n}, "call_0") for n in range(3)])
    thread.append(Role.ASSISTANT, pack(response)[0], kind="model", name="model", status="succeeded")
    for index, result in results.items():
        payload = {"call_id": "call_0", "tool": "look", "index": index, "result": result}
        thread.append(Role.TOOL, encode(payload), kind="tool", name="look", status="succeeded")
    return thread


@pytest.mark.parametrize("results", [{}, {1: "one"}, {2: "two", 0: "zero"}, {2: "two", 1: "one", 0: "zero"}])
async def test_open_calls_are_closed_in_the_prompt_and_nowhere_else(results: dict[int, str]) -> None:
    thread = broken_off(results)
    before = len(thread.messages)
    agent, model = talker()
    context = MemoryContext(thread=thread)
    await run(agent, context, "now")
    said = [what for who, what in asked(model) if who == "look"]
    assert said == [results.get(n, UNANSWERED) for n in range(3)]
    assert_well_formed(model)
    assert len(thread.messages) == before + 2
    assert prompts(context)["model#1"]["messages"]


async def test_a_failed_call_without_a_payload_is_told_by_its_error() -> None:
    thread = broken_off({})
    error = encode({"code": "step_timeout", "message": "took too long"})
    thread.append(Role.TOOL, b"null", kind="tool", name="look", status="failed", error=error)
    agent, model = talker()
    await run(agent, MemoryContext(thread=thread), "now")
    assert [what for who, what in asked(model) if who == "look"] == ["took too long", UNANSWERED, UNANSWERED]


async def test_a_result_without_its_call_is_left_out() -> None:
    thread = Thread()
    thread.append(Role.USER, b'"question"')
    thread.append(
        Role.TOOL, encode({"call_id": "x", "tool": "look", "index": 0, "result": 1}), kind="tool", name="look"
    )
    agent, model = talker()
    await run(agent, MemoryContext(thread=thread), "now")
    assert asked(model) == [("user", "question"), ("user", "now")]


async def test_a_model_call_that_failed_left_nothing_to_tell() -> None:
    thread = Thread()
    failing = Agent("a", model=scripted(ZeroDivisionError()))
    with pytest.raises(StepFailed):
        await run(failing, MemoryContext(thread=thread), "question")
    assert thread.messages[-1].status == "failed"
    agent, model = talker()
    await run(agent, MemoryContext(thread=thread), "now")
    assert asked(model) == [("user", "question"), ("user", "now")]


# --- what others wrote -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {
                "fmt": "pydantic-ai/response/1",
                "lib": "1.0",
                "data": {"parts": [{"part_kind": "text", "content": "old"}]},
            },
            "old",
        ),
        (
            {
                "fmt": "pydantic-ai/response/1",
                "lib": "9.0",
                "data": {
                    "kind": "response",
                    "new_field": {"a": 1},
                    "parts": [
                        {"part_kind": "hologram", "content": "?"},
                        {"part_kind": "text", "content": "new", "mood": "good", "id": 7},
                    ],
                },
            },
            "new",
        ),
        ({"fmt": "pydantic-ai/response/1", "lib": "9.0", "data": None}, None),
        ({"fmt": "something/else", "data": {"parts": [{"part_kind": "text", "content": "other"}]}}, "other"),
        ("a workflow's output", "a workflow's output"),
        ({"total": 3}, '{"total":3}'),
        (None, None),
    ],
)
async def test_answers_written_by_others_are_read_as_far_as_they_can_be(payload: Any, expected: str | None) -> None:
    thread = Thread()
    thread.append(Role.USER, b'{"some": "workflow input"}')
    thread.append(Role.ASSISTANT, to_json(payload), kind="model")
    agent, model = talker()
    context = MemoryContext(thread=thread)
    await run(agent, context, "now")
    assert [what for who, what in asked(model) if who == "model"] == ([] if expected is None else [expected])
    assert questions(model)[0] == '{"some": "workflow input"}'
    assert prompts(context)["model#1"]["messages"]


def test_what_is_not_even_json_is_nothing() -> None:
    assert unpack(b'{"fmt":"pydantic-ai/response/1","lib":"2","data":{') is None
    assert unpack(None) is None


# --- summaries -------------------------------------------------------------------------------------------------------


def summarising(**options: Any) -> tuple[Agent, ScriptedModel, ScriptedModel]:
    writer = ScriptedModel("They talked.")
    policy = Summarise(**{"when_tokens": 20, "keep_turns": 1, "model": writer, "count": lambda text: 1, **options})
    agent, model = talker(policy)
    return agent, model, writer


async def test_a_long_history_is_summarised_by_a_step_of_the_run() -> None:
    agent, model, writer = summarising(instructions="Sum up.")
    thread = await talked(3)
    context = MemoryContext(thread=thread)
    await run(agent, context, "now")
    assert context.keys == ["summary#1", "model#1"]
    assert (context.steps[0].entry.kind, context.steps[0].role) == (StepKind.MODEL, None)
    assert len(thread.messages) == 17
    said = questions(model)
    assert said == ["Summary of the earlier part of this conversation:\n\nThey talked.", "Question 2", "now"]
    (transcript,) = questions(writer)
    assert "User: Question 0" in transcript
    assert 'Assistant called look({"n":1})\nAssistant called look({"n":1})' in transcript
    assert "Tool look returned: 1" in transcript
    assert "Question 2" not in transcript
    assert [p.content for p in writer.requests[0].info.parameters.instruction_parts or []] == ["Sum up."]
    rebuilt = prompts(context)
    assert rebuilt["summary#1"]["messages"][0]["parts"][0]["content"] == transcript
    assert decode(context.steps[0].entry.prompt)["segments"] == [{"transcript": [[1, 10]]}]
    assert "They talked." in rebuilt["model#1"]["messages"][0]["parts"][0]["content"]


async def test_a_short_history_is_not_summarised() -> None:
    for turns, options in ((3, {"when_tokens": 75}), (1, {"when_tokens": 0}), (0, {"when_tokens": 0})):
        agent, model, writer = summarising(**options)
        await run(agent, MemoryContext(thread=await talked(turns)), "now")
        assert len(writer.requests) == 0
        assert len(questions(model)) == turns + 1


async def test_a_summary_reads_no_more_than_it_is_told_to() -> None:
    agent, _, writer = summarising(read_tokens=25)
    await run(agent, MemoryContext(thread=await talked(4)), "now")
    (transcript,) = questions(writer)
    assert transcript.startswith("User: Question 2")


async def test_a_history_that_exceeds_what_a_summary_reads_is_summarised_all_the_same() -> None:
    """What is read for the summary may be less than what has to be there before there is one."""
    agent, model, writer = summarising(when_tokens=60, read_tokens=25)
    await run(agent, MemoryContext(thread=await talked(4)), "now")
    (transcript,) = questions(writer)
    assert transcript.startswith("User: Question 2")
    assert questions(model)[1:] == ["Question 3", "now"]
    agent, model, writer = summarising(when_tokens=100, read_tokens=25)
    await run(agent, MemoryContext(thread=await talked(4)), "now")
    assert len(writer.requests) == 0
    assert questions(model) == ["Question 0", "Question 1", "Question 2", "Question 3", "now"]


async def test_a_summary_that_says_nothing_does_not_take_the_place_of_what_was_said() -> None:
    agent, model, _ = summarising(model=ScriptedModel("\n"))
    await run(agent, MemoryContext(thread=await talked(3)), "now")
    assert questions(model) == ["Question 0", "Question 1", "Question 2", "now"]


def test_the_model_that_writes_summaries_is_part_of_the_version_by_its_name() -> None:
    def made(name: str) -> FunctionModel:  # whose representation holds an address
        return FunctionModel(lambda messages, info: ModelResponse(parts=[]), model_name=name)

    models = [made(name) for name in ("one", "one", "two")]
    one, same, other = (Agent("a", model="test", history=Summarise(1, model=model)).version for model in models)
    assert one == same != other


async def test_a_summary_resumes() -> None:
    thread = await talked(3)
    await resumes_from_every_prefix(lambda: summarising()[0], context=lambda: {"thread": thread.copy()})


async def test_a_summary_that_fails_fails_the_run_with_its_code() -> None:
    agent, _, _ = summarising(model=scripted(ModelHTTPError(401, "m")))
    with pytest.raises(ModelFault) as caught:
        await run(agent, MemoryContext(thread=await talked(3)), "now")
    assert (caught.value.code, caught.value.details["step"]) == ("model_auth", "summary#1")


@pytest.mark.parametrize(
    "declare",
    [lambda: LastTurns(-1), lambda: TokenWindow(-1), lambda: Summarise(-1), lambda: Summarise(1, read_tokens=0)],
)
def test_policies_that_cannot_be_are_refused(declare: Any) -> None:
    with pytest.raises(DefinitionError):
        declare()


def test_the_default_counter_takes_four_characters_for_a_token() -> None:
    assert approximate_tokens("x" * 40) == 10
