"""A model that says what it is told to: for tests, demos, and benchmarks without a provider.

    ScriptedModel([Call("lookup", {"id": 7}), "It is on its way."])
    ScriptedModel(lambda messages, info: f"You said {last_user_text(messages)}.")

Invariant: which reply comes next is a function of the *messages*, not of how often the model was asked. A durable run
that resumes in a fresh process asks only for what is not yet recorded, so a counter in memory would start over and
give the first reply again. Hence a function, too, should decide by the messages. `Fail` alone counts in memory, like
the outage it imitates.

Rejected: pydantic-ai's `FunctionModel`, which needs a second function to stream and cannot fail, wait or be inspected.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, cast

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage
from pydantic_core import to_json

REQUESTS_KEPT: Final = 1_000
NESTING_MAX: Final = 8
CHARS_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `tool_name`. `args` is what JSON can hold, or JSON as a string (which may be wrong on purpose).

    `id` is the provider's call id; by default one that is unique in the thread and the same on every resume.
    """

    tool_name: str
    args: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Think:
    """A part of the model's thinking, to go before text or calls in a list."""

    content: str


@dataclass(frozen=True, slots=True)
class Output:
    """A structured output, given in whichever way the agent asked for it: its (first) output tool, or JSON as text."""

    value: Any


@dataclass(slots=True)
class Fail:
    """Raise `error` `times` times, then reply `then`. Counted in this object, so make it once, outside of functions.

    In a stream, the error comes after `after_chars` characters of `then`. A new process starts counting again.
    """

    error: Exception
    times: int = 1
    then: Reply = "ok"
    after_chars: int = 0
    raised: int = 0


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What was asked beside the messages. `position` is the place in a script; `streamed`, whether it is a stream."""

    parameters: ModelRequestParameters
    settings: ModelSettings | None
    position: int
    streamed: bool

    @property
    def tool_names(self) -> list[str]:
        """The tools the model may call, without output tools."""
        return [tool.name for tool in self.parameters.function_tools]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, kept in `ScriptedModel.requests`."""

    messages: list[ModelMessage]
    info: RequestInfo


Piece: TypeAlias = "str | Call | Think | Output"
Reply: TypeAlias = (
    "Piece | Sequence[Piece] | ModelResponse | Exception | Fail | Callable[[list[ModelMessage], RequestInfo], Any]"
)
ReplyFunction: TypeAlias = Callable[[list[ModelMessage], RequestInfo], "Reply | Awaitable[Reply]"]
UsageFunction: TypeAlias = Callable[[list[ModelMessage], ModelResponse], RequestUsage]


class ScriptExhausted(AssertionError):
    """The model was asked for more replies than its script has."""


class ScriptedModel(Model[None]):
    """A pydantic-ai model whose replies are given.

    `script`: a list of replies, one for each answer of the model; or a function `(messages, info) -> reply`, sync or
    async; or a string, said every time. A reply is text, a `Call`, `Think`, `Output`, a list of these, a whole
    `ModelResponse`, an exception to raise, a `Fail`, or a function that makes one of them.

    `per`: where a list starts. "turn": at each user prompt, so every turn plays the whole list; "thread": at the first
    message, so the list tells the whole conversation (a history policy that drops messages then also moves the place).
    `on_end`: past the end of a list, "fail" with `ScriptExhausted` or "repeat" the last reply.
    `chunk_chars`: the length of a delta when streamed. `latency_ms`: before the first byte; `chunk_latency_ms`: before
    each delta; both awaited through `sleep`, which takes seconds. `usage`: tokens of every answer, or a function of
    messages and answer; by default one token for each four characters. `requests` holds the last `keep` requests.
    """

    def __init__(
        self,
        script: Sequence[Reply] | ReplyFunction | str,
        *,
        per: Literal["turn", "thread"] = "turn",
        on_end: Literal["fail", "repeat"] = "fail",
        chunk_chars: int = 16,
        latency_ms: float = 0,
        chunk_latency_ms: float = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        usage: RequestUsage | UsageFunction | None = None,
        model_name: str = "scripted",
        system: str = "scripted",
        keep: int = REQUESTS_KEPT,
        settings: ModelSettings | None = None,
        profile: ModelProfile | None = None,
    ) -> None:
        if per not in ("turn", "thread") or on_end not in ("fail", "repeat"):
            raise ValueError('per is "turn" or "thread"; on_end is "fail" or "repeat".')
        if chunk_chars < 1 or latency_ms < 0 or chunk_latency_ms < 0 or keep < 0:
            raise ValueError("chunk_chars is 1 or more; latency_ms, chunk_latency_ms and keep are 0 or more.")
        default = ModelProfile(supports_json_schema_output=True, supports_json_object_output=True)
        super().__init__(settings=settings, profile=profile if profile is not None else default)
        self.requests: deque[Request] = deque(maxlen=keep)
        self._script = script
        self._per: Literal["turn", "thread"] = per
        self._on_end = on_end
        self._chunk_chars = chunk_chars
        self._latency_s = latency_ms / 1000
        self._chunk_latency_s = chunk_latency_ms / 1000
        self._sleep = sleep
        self._usage = usage
        self._name = model_name
        self._system_name = system

    @property
    def model_name(self) -> str:
        return self._name

    @property
    def system(self) -> str:
        return self._system_name

    @property
    def provider(self) -> None:
        return None

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        info = self._record(messages, settings, parameters, streamed=False)
        plan = await self._plan(messages, info)
        if plan.error is not None:
            raise plan.error
        return plan.response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: Any = None,
    ) -> AsyncGenerator[StreamedResponse]:
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        info = self._record(messages, settings, parameters, streamed=True)
        plan = await self._plan(messages, info)
        if plan.error is not None and plan.error_after_chars <= 0:
            raise plan.error
        yield _ScriptedStream(parameters, plan, self._chunk_chars, self._pause)

    def _record(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        *,
        streamed: bool,
    ) -> RequestInfo:
        info = RequestInfo(parameters, settings, _position(messages, self._per), streamed)
        self.requests.append(Request(list(messages), info))
        return info

    async def _plan(self, messages: list[ModelMessage], info: RequestInfo) -> _Plan:
        if self._latency_s:
            await self._sleep(self._latency_s)
        reply, error, after_chars = await self._resolve(self._scripted(info), messages, info)
        response = self._complete(messages, info, _as_response(reply, messages, info))
        return _Plan(response, error, after_chars)

    async def _pause(self) -> None:
        if self._chunk_latency_s:
            await self._sleep(self._chunk_latency_s)

    def _scripted(self, info: RequestInfo) -> Reply:
        """The reply at this place of the script, not yet asked for what it stands for."""
        script = self._script
        if isinstance(script, str) or callable(script):
            return script
        if info.position < len(script):
            return script[info.position]
        if self._on_end == "repeat" and script:
            return script[-1]
        raise ScriptExhausted(
            f"The script has {len(script)} replies per {self._per}, and reply {info.position + 1} was asked for. "
            'Add one, or pass on_end="repeat".'
        )

    async def _resolve(
        self, reply: Any, messages: list[ModelMessage], info: RequestInfo
    ) -> tuple[Any, Exception | None, int]:
        """What `reply` comes to: functions called, failures counted, as (content, error, after_chars)."""
        error, after_chars = None, 0
        for _ in range(NESTING_MAX):
            if isinstance(reply, Fail):
                if error is None and reply.raised < reply.times:
                    reply.raised += 1
                    error, after_chars = reply.error, reply.after_chars
                reply = reply.then
            elif isinstance(reply, Exception):
                return "", error or reply, after_chars
            elif callable(reply):
                reply = reply(list(messages), info)
                if inspect.isawaitable(reply):
                    reply = await reply
            else:
                return reply, error, after_chars
        raise ValueError(f"A reply of a reply of a reply …: more than {NESTING_MAX} deep.")

    def _complete(self, messages: list[ModelMessage], info: RequestInfo, response: ModelResponse) -> ModelResponse:
        """`response` as this model's answer: its own copy, with a name, a finish reason and usage."""
        calls = any(isinstance(part, ToolCallPart) for part in response.parts)
        whole = replace(
            response,
            parts=[replace(part) for part in response.parts],
            model_name=response.model_name or self._name,
            provider_name=response.provider_name or self._system_name,
            finish_reason=response.finish_reason or ("tool_call" if calls else "stop"),
        )
        if callable(self._usage):
            whole.usage = self._usage(messages, whole)
        elif self._usage is not None:
            whole.usage = replace(self._usage)
        elif not whole.usage.has_values():
            whole.usage = _estimate(messages, whole)
        return whole


@dataclass(frozen=True, slots=True)
class _Plan:
    """The answer, and the error that comes instead of it, or after so many characters of it in a stream."""

    response: ModelResponse
    error: Exception | None
    error_after_chars: int


@dataclass
class _ScriptedStream(StreamedResponse):
    _plan: _Plan
    _chunk_chars: int
    _pause: Callable[[], Awaitable[None]]

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        response, chars = self._plan.response, 0
        for index, part in enumerate(response.parts):
            for event, length in _events(index, part, self._chunk_chars):
                chars += length
                if self._plan.error is not None and chars > self._plan.error_after_chars:
                    raise self._plan.error
                await self._pause()
                self._parts_manager.apply_event(event)
                yield event
        if self._plan.error is not None:
            raise self._plan.error
        self._usage = response.usage
        self.finish_reason = response.finish_reason
        self.provider_response_id = response.provider_response_id
        self.provider_details = response.provider_details

    async def close_stream(self) -> None:
        """Nothing to close: there is no connection."""

    @property
    def model_name(self) -> str:
        return self._plan.response.model_name or ""

    @property
    def provider_name(self) -> str | None:
        return self._plan.response.provider_name

    @property
    def provider_url(self) -> str | None:
        return self._plan.response.provider_url

    @property
    def timestamp(self) -> datetime:
        return self._plan.response.timestamp


def last_user_text(messages: Sequence[ModelMessage]) -> str:
    """What the user said last, as text; "" if nobody did."""
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            for part in reversed(message.parts):
                if isinstance(part, UserPromptPart) and _from_user(message, part):
                    return _user_text(part)
    return ""


def _from_user(message: ModelRequest, part: UserPromptPart) -> bool:
    """Whether a user said it. What comes besides a tool's result stands in a user's part, too: as a list, with it."""
    return isinstance(part.content, str) or not any(isinstance(p, ToolReturnPart) for p in message.parts)


def _user_text(part: UserPromptPart) -> str:
    if isinstance(part.content, str):
        return part.content
    texts = (item if isinstance(item, str) else getattr(item, "content", "") for item in part.content)
    return "".join(text for text in texts if isinstance(text, str))


def _position(messages: Sequence[ModelMessage], per: Literal["turn", "thread"]) -> int:
    """How many answers there are since the last user prompt, or at all."""
    answers = 0
    for message in reversed(messages):
        if isinstance(message, ModelResponse):
            answers += 1
        elif per == "turn" and any(isinstance(p, UserPromptPart) and _from_user(message, p) for p in message.parts):
            break
    return answers


def _as_response(reply: Any, messages: Sequence[ModelMessage], info: RequestInfo) -> ModelResponse:
    if isinstance(reply, ModelResponse):
        return reply
    pieces = [reply] if isinstance(reply, str | Call | Think | Output) else reply
    if not isinstance(pieces, Sequence):
        raise TypeError(
            f"A reply is text, Call, Think, Output, a list of these, a ModelResponse or Fail, not {reply!r}."
        )
    # Ids are unique in the thread: histories are matched by them.
    turn = _position(messages, "thread")
    items = cast("Sequence[object]", pieces)
    return ModelResponse(parts=[_part(piece, f"call_{turn}_{n}", info) for n, piece in enumerate(items)])


def _part(piece: object, call_id: str, info: RequestInfo) -> ModelResponsePart:
    match piece:
        case str():
            return TextPart(piece)
        case Think():
            return ThinkingPart(piece.content)
        case Call():
            return ToolCallPart(piece.tool_name, _json(piece.args), piece.id or call_id)
        case Output():
            return _output(piece.value, call_id, info)
        case _:
            raise TypeError(f"A reply is made of text, Call, Think and Output, not {piece!r}.")


def _output(value: Any, call_id: str, info: RequestInfo) -> ModelResponsePart:
    if not info.parameters.output_tools:
        return TextPart(to_json(value).decode())
    tool = info.parameters.output_tools[0]
    # A tool takes an object: pydantic-ai wraps an output that is none in one, under this key.
    wrapped = {tool.outer_typed_dict_key: value} if tool.outer_typed_dict_key else value
    return ToolCallPart(tool.name, to_json(wrapped).decode(), call_id)


def _json(value: Any) -> str:
    """Strings stay: they may be JSON that is wrong on purpose."""
    return value if isinstance(value, str) else to_json(value).decode()


def _events(index: int, part: ModelResponsePart, size: int) -> Iterator[tuple[ModelResponseStreamEvent, int]]:
    """The events that stream `part`, each with the number of characters it brings."""
    match part:
        case TextPart():
            pieces = _pieces(part.content, size)
            yield PartStartEvent(index=index, part=replace(part, content=pieces[0])), len(pieces[0])
            for text in pieces[1:]:
                yield PartDeltaEvent(index=index, delta=TextPartDelta(content_delta=text)), len(text)
        case ThinkingPart():
            pieces = _pieces(part.content, size)
            yield PartStartEvent(index=index, part=replace(part, content=pieces[0])), len(pieces[0])
            for text in pieces[1:]:
                yield PartDeltaEvent(index=index, delta=ThinkingPartDelta(content_delta=text)), len(text)
        case ToolCallPart(args=str() as args):
            yield PartStartEvent(index=index, part=replace(part, args="")), 0
            for text in _pieces(args, size):
                delta = ToolCallPartDelta(args_delta=text, tool_call_id=part.tool_call_id)
                yield PartDeltaEvent(index=index, delta=delta), len(text)
        case _:
            yield PartStartEvent(index=index, part=part), 0


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def _estimate(messages: Sequence[ModelMessage], response: ModelResponse) -> RequestUsage:
    """Deterministic, not accurate: a token for each four characters of what was sent and of what was said."""
    asked = sum(_chars(part) for message in messages for part in message.parts)
    asked += sum(len(message.instructions or "") for message in messages[-1:] if isinstance(message, ModelRequest))
    said = sum(_chars(part) for part in response.parts)
    return RequestUsage(input_tokens=asked // CHARS_PER_TOKEN + 1, output_tokens=said // CHARS_PER_TOKEN + 1)


def _chars(part: Any) -> int:
    if isinstance(part, UserPromptPart):
        return len(_user_text(part))
    if isinstance(part, ToolCallPart):
        return len(part.tool_name) + len(part.args if isinstance(part.args, str) else part.args_as_json_str())
    content = getattr(part, "content", "")
    return len(content) if isinstance(content, str) else len(to_json(content, serialize_unknown=True))
