"""The scripted model: which reply comes, how it streams, and that a fresh process says the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from holdfast.domain.errors import ModelFault
from holdfast.testing import Call, Fail, Output, ScriptedModel, ScriptExhausted, Think, last_user_text

NO_TOOLS = ModelRequestParameters()


def user(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(text)])


def said(response: ModelResponse) -> str:
    return "".join(part.content for part in response.parts if isinstance(part, TextPart))


async def ask(model: ScriptedModel, messages: list[ModelMessage]) -> ModelResponse:
    return await model.request(messages, None, NO_TOOLS)


async def streamed(model: ScriptedModel, messages: list[ModelMessage]) -> tuple[ModelResponse, list[Any]]:
    async with model.request_stream(messages, None, NO_TOOLS) as stream:
        events = [event async for event in stream]
    return stream.get(), events


# --- which reply comes ---


@pytest.mark.parametrize("per", ["turn", "thread"])
async def test_the_place_in_a_script_is_read_from_the_messages(per: Any) -> None:
    script = [Call("lookup", {"id": 7}), "found", "third", "fourth"]
    history: list[ModelMessage] = [user("one")]
    # A new model for each request is a fresh process for each request.
    first = await ask(ScriptedModel(script, per=per), history)
    assert isinstance(first.parts[0], ToolCallPart)
    assert first.parts[0].args == '{"id":7}'
    history += [first, ModelRequest(parts=[ToolReturnPart("lookup", "x", first.parts[0].tool_call_id)])]
    second = await ask(ScriptedModel(script, per=per), history)
    assert said(second) == "found"
    history += [second, user("two")]
    third = await ask(ScriptedModel(script, per=per), history)
    if per == "turn":
        assert isinstance(third.parts[0], ToolCallPart)
    else:
        assert said(third) == "third"


async def test_asking_again_with_the_same_messages_gets_the_same_answer() -> None:
    model = ScriptedModel(["a", "b"])
    answers = [await ask(model, [user("x")]) for _ in range(3)]
    assert [said(answer) for answer in answers] == ["a", "a", "a"]


async def test_a_call_sent_back_to_the_model_is_no_new_turn() -> None:
    refused = ToolReturnPart(tool_name="a", content="invalid", tool_call_id="c", outcome="retried")
    messages = [user("x"), ModelResponse(parts=[ToolCallPart("a", "{", "c")]), ModelRequest(parts=[refused])]
    assert said(await ask(ScriptedModel([Call("a", "{"), "good"]), messages)) == "good"


async def test_call_ids_are_unique_in_a_thread_and_the_same_on_resume() -> None:
    script = [[Call("a"), Call("a")], "done"]
    one = await ask(ScriptedModel(script), [user("x")])
    history = [user("x"), one, user("y")]
    two, again = await ask(ScriptedModel(script), history), await ask(ScriptedModel(script), history)

    def ids(answer: ModelResponse) -> list[str]:
        return [part.tool_call_id for part in answer.parts if isinstance(part, ToolCallPart)]

    assert len({*ids(one), *ids(two)}) == 4
    assert ids(two) == ids(again)


async def test_past_the_end_a_script_fails_or_repeats() -> None:
    messages = [user("x"), ModelResponse(parts=[TextPart("a")])]
    with pytest.raises(ScriptExhausted, match="1 replies per turn, and reply 2"):
        await ask(ScriptedModel(["a"]), messages)
    assert said(await ask(ScriptedModel(["a"], on_end="repeat"), messages)) == "a"
    with pytest.raises(ScriptExhausted):
        await ask(ScriptedModel([], on_end="repeat"), messages)


async def test_a_string_is_said_every_time() -> None:
    messages = [user("x"), ModelResponse(parts=[TextPart("hello")]), user("y")]
    assert said(await ask(ScriptedModel("hello"), messages)) == "hello"


async def test_functions_may_be_sync_async_and_return_functions() -> None:
    def sync(messages: list[ModelMessage], info: Any) -> str:
        return f"{last_user_text(messages)} at {info.position}, streamed {info.streamed}"

    async def later(messages: list[ModelMessage], info: Any) -> Any:
        await asyncio.sleep(0)
        return sync

    assert said(await ask(ScriptedModel(sync), [user("x")])) == "x at 0, streamed False"
    assert said(await ask(ScriptedModel(later), [user("y")])) == "y at 0, streamed False"
    assert said(await ask(ScriptedModel([later]), [user("z")])) == "z at 0, streamed False"


async def test_a_function_that_returns_itself_is_stopped() -> None:
    def again(messages: list[ModelMessage], info: Any) -> Any:
        return again

    with pytest.raises(ValueError, match="more than 8 deep"):
        await ask(ScriptedModel(again), [user("x")])


async def test_a_function_cannot_change_the_messages() -> None:
    def meddle(messages: list[ModelMessage], info: Any) -> str:
        messages.clear()
        return "ok"

    messages: list[ModelMessage] = [user("x")]
    await ask(ScriptedModel(meddle), messages)
    assert len(messages) == 1


@pytest.mark.parametrize("reply", [7, None, [7], {"a": 1}])
async def test_what_is_no_reply_is_named(reply: Any) -> None:
    with pytest.raises(TypeError, match="A reply is"):
        await ask(ScriptedModel([reply]), [user("x")])


async def test_a_whole_response_is_copied_and_completed() -> None:
    given = ModelResponse(parts=[TextPart("x")])
    model = ScriptedModel([given], model_name="gpt-5.2", system="openai")
    answer = await ask(model, [user("x")])
    answer.parts[0].content = "changed"  # type: ignore[union-attr]
    assert said(given) == "x"
    assert given.model_name is None
    assert (answer.model_name, answer.provider_name, answer.finish_reason) == ("gpt-5.2", "openai", "stop")
    kept = ModelResponse(parts=[], model_name="other", finish_reason="length", usage=RequestUsage(input_tokens=5))
    answer = await ask(ScriptedModel([kept]), [user("x")])
    assert (answer.model_name, answer.finish_reason, answer.usage.input_tokens) == ("other", "length", 5)


async def test_output_goes_the_way_the_agent_asked_for() -> None:
    schema = {"type": "object", "properties": {}}
    plain = ModelRequestParameters(
        output_mode="tool", output_tools=[ToolDefinition(name="final", parameters_json_schema=schema)]
    )
    wrapping = ToolDefinition(name="final", parameters_json_schema=schema, outer_typed_dict_key="response")
    wrapped = ModelRequestParameters(output_mode="tool", output_tools=[wrapping])
    by_tool = await ScriptedModel([Output({"a": 1})]).request([user("x")], None, plain)
    assert isinstance(by_tool.parts[0], ToolCallPart)
    assert (by_tool.parts[0].tool_name, by_tool.parts[0].args) == ("final", '{"a":1}')
    by_wrapping = await ScriptedModel([Output(3)]).request([user("x")], None, wrapped)
    assert isinstance(by_wrapping.parts[0], ToolCallPart)
    assert by_wrapping.parts[0].args == '{"response":3}'
    assert said(await ask(ScriptedModel([Output("s")]), [user("x")])) == '"s"'


# --- streams ---


@pytest.mark.parametrize("chunk_chars", [1, 3, 1_000])
async def test_a_stream_says_what_a_request_says(chunk_chars: int) -> None:
    script = [[Think("hm, let me see"), "the text ✓ of it", Call("lookup", {"id": 7}), Call("noargs", "")]]
    model = ScriptedModel(script, chunk_chars=chunk_chars)
    whole = await ask(model, [user("x")])
    stream, events = await streamed(model, [user("x")])
    assert stream.parts == whole.parts
    assert (stream.usage, stream.finish_reason, stream.model_name, stream.provider_name, stream.state) == (
        whole.usage,
        "tool_call",
        "scripted",
        "scripted",
        "complete",
    )
    deltas = [event for event in events if isinstance(event, PartDeltaEvent)]
    assert len(deltas) == {1: 14 - 1 + 16 - 1 + 8 + 1, 3: 4 + 5 + 3 + 1, 1_000: 0 + 0 + 1 + 1}[chunk_chars]


async def test_parts_without_deltas_stream_whole() -> None:
    given = ModelResponse(parts=[ToolCallPart("a", {"x": 1}, "id"), ThinkingPart("t", signature="s")])
    stream, _ = await streamed(ScriptedModel([given]), [user("x")])
    assert stream.parts == given.parts


async def test_latency_goes_through_the_sleeper_in_seconds() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    model = ScriptedModel("abcdef", latency_ms=250, chunk_latency_ms=10, chunk_chars=2, sleep=sleep)
    await ask(model, [user("x")])
    assert slept == [0.25]
    await streamed(model, [user("x")])
    assert slept == [0.25, 0.25, 0.01, 0.01, 0.01]


async def test_a_stream_can_be_cancelled() -> None:
    async with ScriptedModel("a long text", chunk_chars=1).request_stream([user("x")], None, NO_TOOLS) as stream:
        await anext(aiter(stream))
        await stream.cancel()
    assert stream.get().state == "interrupted"


# --- failures ---


async def test_fail_raises_n_times_and_then_replies() -> None:
    model = ScriptedModel(
        [Fail(ModelFault("slow down", code="model_rate_limited", transient=True), times=2, then="ok now")]
    )
    for _ in range(2):
        with pytest.raises(ModelFault, match="slow down"):
            await ask(model, [user("x")])
    assert said(await ask(model, [user("x")])) == "ok now"


async def test_nested_fails_fail_one_after_the_other() -> None:
    model = ScriptedModel([Fail(ModelHTTPError(500, "m"), then=Fail(TimeoutError("t"), then="ok"))])
    with pytest.raises(ModelHTTPError):
        await ask(model, [user("x")])
    with pytest.raises(TimeoutError):
        await ask(model, [user("x")])
    assert said(await ask(model, [user("x")])) == "ok"


async def test_a_fail_that_is_over_does_not_use_up_a_place() -> None:
    model = ScriptedModel([Fail(TimeoutError(), then="a"), "b"])
    with pytest.raises(TimeoutError):
        await ask(model, [user("x")])
    first = await ask(model, [user("x")])
    assert said(await ask(model, [user("x"), first])) == "b"


async def test_a_stream_can_fail_in_its_middle() -> None:
    model = ScriptedModel([Fail(TimeoutError(), then="abcdef", after_chars=4)], chunk_chars=2)
    async with model.request_stream([user("x")], None, NO_TOOLS) as stream:
        events = aiter(stream)
        heard = [await anext(events) for _ in range(3)]  # a start, pydantic-ai's own final-result event, a delta
        with pytest.raises(TimeoutError):
            await anext(events)
    assert len(heard) == 3
    assert stream.get().state == "incomplete"
    assert said(stream.get()) == "abcd"
    assert said((await streamed(model, [user("x")]))[0]) == "abcdef"


async def test_an_error_later_than_the_text_still_comes() -> None:
    model = ScriptedModel([Fail(TimeoutError(), then="ab", after_chars=99)])
    with pytest.raises(TimeoutError):
        await streamed(model, [user("x")])


async def test_an_exception_in_a_script_is_raised_every_time() -> None:
    model = ScriptedModel([ModelHTTPError(503, "m")])
    for _ in range(2):
        with pytest.raises(ModelHTTPError):
            await ask(model, [user("x")])
        with pytest.raises(ModelHTTPError):
            await streamed(model, [user("x")])


# --- usage, requests, arguments ---


async def test_usage_is_estimated_from_lengths_given_or_computed() -> None:
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("x" * 40)], instructions="i" * 8)]
    usage = (await ask(ScriptedModel(["y" * 20]), messages)).usage
    assert (usage.input_tokens, usage.output_tokens) == (40 // 4 + 2 + 1, 20 // 4 + 1)
    fixed = RequestUsage(input_tokens=1, output_tokens=2)
    answer = await ask(ScriptedModel(["y"], usage=fixed), messages)
    assert answer.usage == fixed
    assert answer.usage is not fixed
    computed = ScriptedModel(["y"], usage=lambda asked, answer: RequestUsage(input_tokens=len(asked)))
    assert (await ask(computed, messages)).usage.input_tokens == 1


async def test_usage_counts_tool_calls_results_and_lists() -> None:
    call = ModelResponse(parts=[ToolCallPart("lookup", {"id": 7}, "c")])
    content = ["see", BinaryContent(b"\0" * 400, media_type="image/png")]
    base: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(content)])]
    few = (await ask(ScriptedModel("ok"), base)).usage.input_tokens
    more = [*base, call, ModelRequest(parts=[ToolReturnPart("lookup", {"text": "z" * 80}, "c")])]
    assert few == 3 // 4 + 1  # of an image nothing is known
    assert (await ask(ScriptedModel("ok"), more)).usage.input_tokens > few + 20


async def test_requests_are_kept_up_to_a_bound() -> None:
    model = ScriptedModel("ok", keep=2)
    for text in ("a", "b", "c"):
        await ask(model, [user(text)])
    assert [last_user_text(request.messages) for request in model.requests] == ["b", "c"]
    tools = ModelRequestParameters(function_tools=[ToolDefinition(name="lookup")])
    await model.request([user("d")], {"temperature": 0.5}, tools)
    info = model.requests[-1].info
    assert info.tool_names == ["lookup"]
    assert info.settings == {"temperature": 0.5}


@pytest.mark.parametrize(
    "options", [{"per": "run"}, {"on_end": "stop"}, {"chunk_chars": 0}, {"latency_ms": -1}, {"keep": -1}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"chunk_chars is|per is"):
        ScriptedModel("x", **options)


def test_the_last_user_text_is_found_among_parts() -> None:
    two = ModelRequest(
        parts=[UserPromptPart("a"), UserPromptPart(["b", BinaryContent(b"", media_type="image/png"), "c"])]
    )
    assert last_user_text([two, ModelResponse(parts=[TextPart("x")])]) == "bc"
    assert last_user_text([]) == ""


@dataclass
class City:
    name: str


async def test_it_runs_under_pydantic_ais_own_agent() -> None:
    agent = Agent(ScriptedModel([Call("lookup", {"id": 7}), Output({"name": "Ulm"})]), output_type=City)

    @agent.tool_plain
    def lookup(id: int) -> str:
        return f"city {id}"

    result = await agent.run("where?")
    assert result.output == City("Ulm")
    returns = [part for message in result.all_messages() for part in message.parts if isinstance(part, ToolReturnPart)]
    assert returns[0].content == "city 7"
