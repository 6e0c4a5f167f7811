"""The lean client sends what the stock client sends, byte for byte, and reads what it reads.

This test is what allows `agents/openai_lean.py` to skip the SDK's walk. If it fails after an update of openai or
pydantic-ai, set `HOLDFAST_STOCK_OPENAI_CLIENT=1` first and look at the difference second.
"""

from __future__ import annotations

import asyncio
import base64
import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from holdfast.agents.openai_lean import LeanAsyncOpenAI
from tests.stubs import provider

MODELS: dict[provider.Api, Callable[..., Model]] = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}
BOTH = pytest.mark.parametrize("api", ["chat", "responses"])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Exchange:
    """What went over the wire, and what came of it."""

    request: httpx2.Request
    response: ModelResponse
    events: list[Any]


class Transport(httpx2.AsyncBaseTransport):
    """Answers every request like the stub would, and keeps it."""

    def __init__(self, answer: provider.Answer) -> None:
        self.answer = answer
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        asked = json.loads(request.content)
        api = provider.APIS[request.url.path.removeprefix("/v1")]
        if asked.get("stream"):
            content = b"".join(provider.stream(api, asked["model"], self.answer, 3))
            return httpx2.Response(200, content=content, headers={"content-type": "text/event-stream"})
        return httpx2.Response(200, json=provider.body(api, asked["model"], self.answer))


@dataclass(frozen=True)
class Case:
    """One call of a model."""

    messages: list[ModelMessage]
    parameters: ModelRequestParameters
    settings: Any
    stream: bool
    answer: provider.Answer


async def call(client_class: type[openai.AsyncOpenAI], api: provider.Api, case: Case) -> Exchange:
    transport = Transport(case.answer)
    async with client_class(
        api_key="k", base_url="http://model/v1", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        model = MODELS[api]("gpt-5.2", provider=OpenAIProvider(openai_client=client))
        events: list[Any] = []
        if case.stream:
            async with model.request_stream(case.messages, case.settings, case.parameters) as stream:
                events = [event async for event in stream]
            response = stream.get()
        else:
            response = await model.request(case.messages, case.settings, case.parameters)
    assert len(transport.requests) == 1
    response.timestamp = NOW
    return Exchange(transport.requests[0], response, events)


async def both(api: provider.Api, case: Case) -> tuple[Exchange, Exchange]:
    return await call(openai.AsyncOpenAI, api, case), await call(LeanAsyncOpenAI, api, case)


def assert_same(stock: Exchange, lean: Exchange) -> None:
    assert lean.request.content == stock.request.content
    assert lean.request.headers.raw == stock.request.headers.raw
    assert lean.request.url == stock.request.url
    assert lean.request.extensions.get("timeout") == stock.request.extensions.get("timeout")
    assert lean.response == stock.response
    assert lean.events == stock.events


# --- generated histories ---

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
NAME = st.text(string.ascii_lowercase, min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=6,
)
ARGS = st.dictionaries(NAME, JSON, max_size=3)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGE = st.sampled_from([BinaryContent(PNG, media_type="image/png"), ImageUrl("https://example.com/a.png")])
PROMPT = TEXT | st.lists(TEXT | IMAGE, min_size=1, max_size=3)


@st.composite
def thinking(draw: st.DrawFn) -> ThinkingPart:
    if draw(st.booleans()):
        return ThinkingPart(draw(TEXT))
    # As the responses API gives it: an id, and reasoning that only OpenAI can read.
    return ThinkingPart(draw(TEXT), id=f"rs_{draw(NAME)}", signature=draw(NAME), provider_name="openai")


@st.composite
def histories(draw: st.DrawFn) -> list[ModelMessage]:
    """Whole turns: prompt, answers with calls and their results, and a last prompt to be answered."""
    messages: list[ModelMessage] = []
    count = 0
    for turn in range(draw(st.integers(1, 4))):
        parts: list[Any] = [SystemPromptPart(draw(TEXT))] if turn == 0 and draw(st.booleans()) else []
        messages.append(ModelRequest([*parts, UserPromptPart(draw(PROMPT))], instructions=draw(st.none() | TEXT)))
        for _ in range(draw(st.integers(0, 2))):
            calls = []
            for _ in range(draw(st.integers(1, 2))):
                count += 1
                args = draw(ARGS)
                given_as = json.dumps(args) if draw(st.booleans()) else args
                calls.append(ToolCallPart(draw(NAME), given_as, f"call_{count}"))
            lead = draw(st.lists(st.builds(TextPart, TEXT) | thinking(), max_size=2))
            messages.append(ModelResponse([*lead, *calls], provider_name="openai", model_name="gpt-5.2"))
            results: list[Any] = [ToolReturnPart(part.tool_name, draw(JSON), part.tool_call_id) for part in calls]
            messages.append(ModelRequest(results))
        lead = draw(st.lists(thinking(), max_size=1))
        messages.append(ModelResponse([*lead, TextPart(draw(TEXT))], provider_name="openai", model_name="gpt-5.2"))
    messages.append(ModelRequest([UserPromptPart(draw(PROMPT))]))
    return messages


SCHEMA = st.sampled_from(
    [
        {"type": "object", "properties": {}},
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Größe ✓"},
                "days": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "default": []},
            },
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {"Unused": {"enum": [1, "a", None]}},
        },
    ]
)
TOOLS = st.lists(
    st.builds(
        ToolDefinition,
        name=NAME,
        parameters_json_schema=SCHEMA,
        description=st.none() | TEXT,
        strict=st.sampled_from([None, True, False]),
    ),
    max_size=3,
    unique_by=lambda tool: tool.name,
)
OUTPUT = OutputObjectDefinition({"type": "object", "properties": {"n": {"type": "integer"}}}, name="Answer")


@st.composite
def parameters(draw: st.DrawFn) -> ModelRequestParameters:
    tools = draw(TOOLS)
    match draw(st.sampled_from(["text", "tool", "native"])):
        case "tool":
            output = ToolDefinition(name="final_result", parameters_json_schema=draw(SCHEMA), kind="output")
            return ModelRequestParameters(
                function_tools=tools, output_mode="tool", output_tools=[output], allow_text_output=draw(st.booleans())
            )
        case "native":
            return ModelRequestParameters(function_tools=tools, output_mode="native", output_object=OUTPUT)
        case _:
            return ModelRequestParameters(function_tools=tools)


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(16, 999),
        "temperature": st.sampled_from([0, 0.5, 1.0]),
        "top_p": st.just(0.25),
        "parallel_tool_calls": st.booleans(),
        "tool_choice": st.sampled_from(["auto", "required", "none"]),
        "seed": st.integers(0, 9),
        "thinking": st.sampled_from([True, False, "low", "high"]),
        "stop_sequences": st.just(["\n\n", "END"]),
        "timeout": st.sampled_from([7, 7.5, httpx2.Timeout(9, connect=1)]),
        "extra_headers": st.just({"x-trace": "t", "User-Agent": "mine"}),
        "extra_body": st.sampled_from([{}, {"vendor": {"k": [1, None, "✓"]}}, {"temperature": 0.9}]),
        "openai_user": NAME,
        "openai_service_tier": st.sampled_from(["auto", "default", "flex"]),
        "openai_reasoning_effort": st.sampled_from(["low", "high"]),
        "openai_reasoning_summary": st.just("auto"),
        "openai_store": st.sampled_from([True, False, None]),
        "openai_prompt_cache_key": NAME,
        "openai_text_verbosity": st.just("low"),
        "openai_truncation": st.just("auto"),
        "openai_logprobs": st.booleans(),
        "openai_top_logprobs": st.integers(1, 3),
        "openai_prediction": st.just({"type": "content", "content": "soon"}),
        "logit_bias": st.just({"50256": -100}),
        "service_tier": st.sampled_from(["auto", "default"]),
    },
)
CALLS = st.builds(lambda name, args: ("call_x", name, json.dumps(args)), NAME, ARGS)
ANSWERS = st.builds(
    provider.Answer, TEXT.filter(bool), st.lists(CALLS, max_size=1).map(tuple)
)  # a text, and sometimes a call
CASES = st.builds(Case, histories(), parameters(), SETTINGS, st.booleans(), ANSWERS)

ALL_AT_ONCE = Case(
    [
        ModelRequest([SystemPromptPart("s"), UserPromptPart(["look", BinaryContent(PNG, media_type="image/png")])]),
        ModelResponse(
            [ThinkingPart("hm", id="rs_1", signature="x", provider_name="openai"), ToolCallPart("f", "{}", "c")]
        ),
        ModelRequest([ToolReturnPart("f", {"at": "2026-01-01", "n": 1.5}, "c"), UserPromptPart("and?")]),
    ],
    ModelRequestParameters(function_tools=[ToolDefinition(name="f")]),
    {"temperature": 0.5, "extra_body": {"a": None}, "timeout": 3},
    True,
    provider.Answer("fine", (("c2", "f", '{"x": 1}'),)),
)


@BOTH
@given(case=CASES)
@example(case=ALL_AT_ONCE)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydantic-ai says which settings a model does not take
def test_requests_and_answers_are_the_stock_clients(api: provider.Api, case: Case) -> None:
    try:
        stock, lean = asyncio.run(both(api, case))
    except UserError:  # pydantic-ai refuses the combination before it asks any client
        reject()
    assert_same(stock, lean)


# --- what generated requests may not reach ---


def minimal(stream: bool = False, **settings: Any) -> Case:
    return Case(
        [ModelRequest([UserPromptPart("hi")])], ModelRequestParameters(), settings, stream, provider.Answer("ok")
    )


@BOTH
@pytest.mark.parametrize("stream", [True, False])
async def test_stream_is_always_sent(api: provider.Api, stream: bool) -> None:
    stock, lean = await both(api, minimal(stream))
    assert_same(stock, lean)
    assert json.loads(lean.request.content)["stream"] is stream


@BOTH
async def test_extra_headers_body_and_timeout_reach_the_wire(api: provider.Api) -> None:
    case = minimal(extra_headers={"x-a": "b"}, extra_body={"vendor": 1}, timeout=3)
    stock, lean = await both(api, case)
    assert_same(stock, lean)
    assert lean.request.headers["x-a"] == "b"
    assert json.loads(lean.request.content)["vendor"] == 1
    assert lean.request.extensions["timeout"]["read"] == 3
    assert lean.request.headers["authorization"] == "Bearer k"


def create(client: openai.AsyncOpenAI, api: provider.Api) -> Callable[..., Any]:
    return client.chat.completions.create if api == "chat" else client.responses.create


@BOTH
@pytest.mark.parametrize(
    "options",
    [{"extra_query": {"api-version": "1"}}, {"timeout": None}, {"timeout": openai.NOT_GIVEN}, {"extra_body": None}],
)
async def test_options_of_a_direct_call_are_the_stock_clients(api: provider.Api, options: dict[str, Any]) -> None:
    asked = {"messages": [{"role": "user", "content": "hi"}]} if api == "chat" else {"input": "hi"}
    seen: list[httpx2.Request] = []
    for client_class in (openai.AsyncOpenAI, LeanAsyncOpenAI):
        transport = Transport(provider.Answer("ok"))
        http = httpx2.AsyncClient(transport=transport)
        async with client_class(api_key="k", base_url="http://model/v1", http_client=http) as client:
            await create(client, api)(model="m", temperature=openai.omit, user=None, **asked, **options)
        seen += transport.requests
    stock, lean = seen
    assert (lean.url, lean.content, lean.headers.raw) == (stock.url, stock.content, stock.headers.raw)
    assert lean.extensions["timeout"] == stock.extensions["timeout"]
    assert b'"user":null' in lean.content
    assert b"temperature" not in lean.content


@BOTH
async def test_a_parameter_the_key_list_does_not_know_is_sent(api: provider.Api) -> None:
    transport = Transport(provider.Answer("ok"))
    http = httpx2.AsyncClient(transport=transport)
    async with LeanAsyncOpenAI(api_key="k", base_url="http://model/v1", http_client=http) as client:
        await create(client, api)(model="m", invented_later=[1], input="x")
    body = json.loads(transport.requests[0].content)
    assert body["invented_later"] == [1]
    assert next(iter(body)) == "model"


async def test_what_cannot_be_encoded_fails_before_it_is_sent() -> None:
    transport = Transport(provider.Answer("ok"))
    http = httpx2.AsyncClient(transport=transport)
    async with LeanAsyncOpenAI(api_key="k", base_url="http://model/v1", max_retries=0, http_client=http) as client:
        with pytest.raises(TypeError, match="not JSON serializable"):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": object()}])  # type: ignore[arg-type]
    assert transport.requests == []


async def test_a_class_as_response_format_is_refused_like_the_stock_client_does() -> None:
    class Answer(openai.BaseModel):
        n: int

    async with LeanAsyncOpenAI(api_key="k", base_url="http://model/v1") as client:
        with pytest.raises(TypeError, match=r"chat\.completions\.parse"):
            await client.chat.completions.create(model="m", messages=[], response_format=Answer)  # type: ignore[call-overload]


# What servers that are almost like OpenAI's answer.
PLAIN: dict[str, Any] = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}  # fmt: skip
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def message(**changes: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None} | changes}]
    }


ODD: dict[str, dict[str, Any]] = {
    "no finish reason": {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]},
    "finish reason null": {"choices": [{"index": 0, "finish_reason": None, "message": PLAIN["choices"][0]["message"]}]},
    "finish reason unknown": {"choices": [PLAIN["choices"][0] | {"finish_reason": "bored"}]},
    "no choices": {"choices": []},
    "choices null": {"choices": None},
    "created null": {"created": None},
    "created a text": {"created": "17"},
    "no object": {"object": "thing"},
    "usage null": {"usage": None},
    "usage of strings": {"usage": {"prompt_tokens": "1", "completion_tokens": "2", "total_tokens": "3"}},
    "usage with details": {"usage": PLAIN["usage"] | {"prompt_tokens_details": {"cached_tokens": 1, "vendor": 2}}},
    "usage of half the facts": {"usage": {"prompt_tokens": 1}},
    "extra keys": {"vendor": {"a": [1]}, "choices": [PLAIN["choices"][0] | {"vendor": 1}]},
    "reasoning": message(content="hi", reasoning_content="hm"),
    "content in parts": message(content=[{"type": "text", "text": "hi"}]),
    "content a number": message(content=7),
    "another role": message(role="model", content="hi"),
    "a call": message(tool_calls=[CALL]),
    "a call without type": message(tool_calls=[{"id": "t", "function": CALL["function"]}]),
    "a call of another type": message(tool_calls=[CALL | {"type": "dance"}]),
    "a custom call": message(tool_calls=[{"id": "t", "type": "custom", "custom": {"name": "f", "input": "x"}}]),
    "a call with an index": message(tool_calls=[CALL | {"index": 0}]),
    "a call with an object": message(tool_calls=[CALL | {"function": {"name": "f", "arguments": {"a": 1}}}]),
    "a refusal": message(refusal="no"),
    "log probabilities": {"choices": [PLAIN["choices"][0] | {"logprobs": {"content": [], "refusal": None}}]},
}  # fmt: skip


class Saying(httpx2.AsyncBaseTransport):
    def __init__(self, content: bytes, media_type: str = "application/json") -> None:
        self.content, self.media_type = content, media_type

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=self.content, headers={"content-type": self.media_type})


async def read_as(client_class: type[openai.AsyncOpenAI], content: bytes, media_type: str) -> Any:
    http = httpx2.AsyncClient(transport=Saying(content, media_type))
    async with client_class(api_key="k", base_url="http://model/v1", max_retries=0, http_client=http) as client:
        model = OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))
        try:
            response = await model.request([ModelRequest([UserPromptPart("hi")])], None, ModelRequestParameters())
        except Exception as exc:
            return type(exc), str(exc)
    response.timestamp = NOW
    return response


@pytest.mark.parametrize("what", ODD)
async def test_odd_answers_are_read_as_the_stock_client_reads_them(what: str) -> None:
    content = json.dumps(PLAIN | ODD[what]).encode()
    stock = await read_as(openai.AsyncOpenAI, content, "application/json")
    assert await read_as(LeanAsyncOpenAI, content, "application/json") == stock


@pytest.mark.parametrize(("content", "media_type"), [
    (b"null", "application/json"), (b"[]", "application/json"), (b'"text"', "application/json"),
    (b"{}", "application/json"), (b"{", "application/json"), (b"<html>", "text/html"),
])  # fmt: skip
async def test_what_is_no_completion_at_all_is_refused_as_the_stock_client_refuses_it(
    content: bytes, media_type: str
) -> None:
    stock = await read_as(openai.AsyncOpenAI, content, media_type)
    assert not isinstance(stock, ModelResponse)
    assert await read_as(LeanAsyncOpenAI, content, media_type) == stock


@BOTH
async def test_copies_of_a_lean_client_are_lean(api: provider.Api) -> None:
    """`ModelSettings["max_retries"]` makes pydantic-ai send through a copy."""
    stock, lean = await both(api, minimal(max_retries=2))
    assert_same(stock, lean)
    async with LeanAsyncOpenAI(api_key="k", base_url="http://model/v1") as client:
        copy = client.with_options(max_retries=2)
        assert type(create(copy, api).__self__) is type(create(client, api).__self__)
        assert type(copy) is LeanAsyncOpenAI
