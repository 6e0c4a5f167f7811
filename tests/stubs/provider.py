"""A model provider for tests and benchmarks: OpenAI chat completions and responses, Anthropic messages, over real HTTP.

Raw asyncio on purpose. As the model of a benchmark it must cost next to nothing beside what is measured, and as the
villain of a wire test it must be able to break HTTP itself: cut a connection before or after the headers, in the
middle of a stream, or answer garbage.

A request is told how to behave by, in this order: what was queued at `POST /_script {"directives": […]}` (one each),
its header `x-stub`, its last user text when that starts with `stub:`. Else it answers "ok". A directive is a name and
options, `tools rounds=2 tool=lookup args={"id":7}`; see `Directive` for the names. Unknown ones are answered 400.

`GET /_stats` counts; `POST /_reset` forgets. `python -m tests.stubs.provider --port 0` prints `{"port": …}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shlex
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal

Api = Literal["chat", "responses", "messages"]
APIS: dict[str, Api] = {"/chat/completions": "chat", "/responses": "responses", "/messages": "messages"}
DELAY_MS_MAX = 10_000
BODY_BYTES_MAX = 32 * 1024 * 1024
RECORDED_MAX = 512
CREATED = 1_760_000_000


@dataclass(frozen=True, slots=True)
class Directive:
    """How to treat one request.

    `text` answers `text`; `echo` the last user text; `tools` asks for `calls` calls of `tool` with `args` in each of
    `rounds` turns and then answers `text`. `rate_limit` (with `retry_after` seconds or, in `retry_after_ms`, the
    milliseconds OpenAI also sends), `quota`, `server_error`, `overloaded`, `unauthorized`, `not_found`,
    `context_window`, `rejected` are the provider's errors; `status` (with `code`) any other. `malformed` is a 200 with
    half a JSON document, `plain` one that is not JSON at all. `cut_before` hangs up without a byte, `cut_body` within
    the body, `cut_stream` within the stream; `end_early` ends half a stream as if it were whole. `garbage_stream`
    streams what is not JSON, `error_stream` an error event.
    `delay_ms` waits before the first byte (at most 10 s); `chunk` is the number of characters of a text delta.
    """

    name: str = "text"
    text: str = "ok"
    tool: str = "lookup"
    args: str = "{}"
    rounds: int = 1
    calls: int = 1
    status: int = 400
    code: str = "stub"
    retry_after: str | None = None
    retry_after_ms: int | None = None
    delay_ms: int = 0
    chunk: int = 8


DEFAULT = Directive()
_INTS = {item.name for item in fields(Directive) if "int" in str(item.type)}


def parse_directive(text: str) -> Directive:
    """`name key=value …`, quoted as in a shell except that a JSON object needs no quotes. Raises ValueError."""
    words = _words(text.removeprefix("stub:").strip())
    options: dict[str, Any] = {}
    for word in words[1:]:
        key, _, value = word.partition("=")
        options[key] = int(value) if key in _INTS else value
    try:
        return Directive(words[0] if words else "text", **options)
    except TypeError as exc:
        raise ValueError(f"unknown option in {text!r}") from exc


def _words(text: str) -> list[str]:
    head, brace, tail = text.partition("={")
    if not brace:
        return shlex.split(text)
    # The JSON object ends at the last brace; what follows it are further options.
    body, end, rest = tail.rpartition("}")
    *before, key = shlex.split(head)
    return [*before, f"{key}={{{body}{end}", *shlex.split(rest)]


# --- answers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says: text, or calls as (id, tool, JSON arguments)."""

    text: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()

    @property
    def output_tokens(self) -> int:
        return (len(self.text) + sum(len(args) for _, _, args in self.calls)) // 4 + 1


INPUT_TOKENS = 11


def answer_for(directive: Directive, round_: int, said: str) -> Answer:
    """`round_` is how many tool results the model has seen since the user last spoke, in turns."""
    if directive.name == "echo":
        return Answer(said)
    if directive.name == "tools" and round_ < directive.rounds:
        return Answer(
            calls=tuple((f"call_{round_}_{n}", directive.tool, directive.args) for n in range(directive.calls))
        )
    return Answer(directive.text)


def body(api: Api, model: str, answer: Answer) -> dict[str, Any]:
    """The JSON body of a non-streamed answer."""
    return {"chat": _chat_body, "responses": _responses_body, "messages": _messages_body}[api](model, answer)


def stream(api: Api, model: str, answer: Answer, chunk: int) -> list[bytes]:
    """The server-sent events of a streamed answer, one element each."""
    make = {"chat": _chat_stream, "responses": _responses_stream, "messages": _messages_stream}[api]
    return list(make(model, answer, chunk))


def _chat_body(model: str, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": tool, "arguments": args}}
            for id_, tool, args in answer.calls
        ]
    reason = "tool_calls" if answer.calls else "stop"
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": _chat_usage(answer),
    }


def _chat_usage(answer: Answer) -> dict[str, int]:
    out = answer.output_tokens
    return {"prompt_tokens": INPUT_TOKENS, "completion_tokens": out, "total_tokens": INPUT_TOKENS + out}


def _chat_stream(model: str, answer: Answer, chunk: int) -> Iterator[bytes]:
    base = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": CREATED, "model": model}

    def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return _sse({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield event({"role": "assistant", "content": ""})
    for piece in _pieces(answer.text, chunk):
        yield event({"content": piece})
    for index, (id_, tool, args) in enumerate(answer.calls):
        call = {"index": index, "id": id_, "type": "function", "function": {"name": tool, "arguments": ""}}
        yield event({"tool_calls": [call]})
        for piece in _pieces(args, chunk):
            yield event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield event({}, "tool_calls" if answer.calls else "stop")
    yield _sse({**base, "choices": [], "usage": _chat_usage(answer)})
    yield b"data: [DONE]\n\n"


def _responses_items(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.text:
        content = [{"type": "output_text", "text": answer.text, "annotations": []}]
        items.append(
            {"type": "message", "id": "msg_stub", "role": "assistant", "status": "completed", "content": content}
        )
    items += [
        {
            "type": "function_call",
            "id": f"fc_{id_}",
            "call_id": id_,
            "name": tool,
            "arguments": args,
            "status": "completed",
        }
        for id_, tool, args in answer.calls
    ]
    return items


def _responses_body(model: str, answer: Answer, status: str = "completed") -> dict[str, Any]:
    done = status == "completed"
    out = answer.output_tokens
    usage = {
        "input_tokens": INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT_TOKENS + out,
    }
    return {
        "id": "resp_stub",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": model,
        "output": _responses_items(answer) if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def _responses_stream(model: str, answer: Answer, chunk: int) -> Iterator[bytes]:
    number = iter(range(1_000_000))

    def event(kind: str, **data: Any) -> bytes:
        return _sse({"type": kind, "sequence_number": next(number), **data}, kind)

    yield event("response.created", response=_responses_body(model, answer, "in_progress"))
    for index, item in enumerate(_responses_items(answer)):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "message":
            part = {"type": "output_text", "text": "", "annotations": []}
            yield event(
                "response.output_item.added", output_index=index, item={**item, "content": [], "status": "in_progress"}
            )
            yield event("response.content_part.added", **at, content_index=0, part=part)
            for piece in _pieces(answer.text, chunk):
                yield event("response.output_text.delta", **at, content_index=0, delta=piece, logprobs=[])
            yield event("response.output_text.done", **at, content_index=0, text=answer.text, logprobs=[])
            yield event("response.content_part.done", **at, content_index=0, part=item["content"][0])
        else:
            started = {**item, "arguments": "", "status": "in_progress"}
            yield event("response.output_item.added", output_index=index, item=started)
            for piece in _pieces(item["arguments"], chunk):
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            yield event("response.function_call_arguments.done", **at, arguments=item["arguments"], name=item["name"])
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=_responses_body(model, answer))


def _messages_blocks(answer: Answer) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": answer.text}] if answer.text else []
    calls = [
        {"type": "tool_use", "id": id_, "name": tool, "input": json.loads(args)} for id_, tool, args in answer.calls
    ]
    return [*text, *calls]


def _messages_body(model: str, answer: Answer) -> dict[str, Any]:
    return {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _messages_blocks(answer),
        "stop_reason": "tool_use" if answer.calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": answer.output_tokens},
    }


def _messages_stream(model: str, answer: Answer, chunk: int) -> Iterator[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return _sse({"type": kind, **data}, kind)

    whole = _messages_body(model, answer)
    opening = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield event("message_start", message=opening)
    for index, block in enumerate(whole["content"]):
        is_text = block["type"] == "text"
        yield event(
            "content_block_start", index=index, content_block={**block, **({"text": ""} if is_text else {"input": {}})}
        )
        source = block["text"] if is_text else json.dumps(block["input"])
        for piece in _pieces(source, chunk):
            delta = (
                {"type": "text_delta", "text": piece}
                if is_text
                else {"type": "input_json_delta", "partial_json": piece}
            )
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event(
        "message_delta", delta={"stop_reason": whole["stop_reason"], "stop_sequence": None}, usage=whole["usage"]
    )
    yield event("message_stop")


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), max(1, size)))


def _sse(data: dict[str, Any], event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


# --- errors ----------------------------------------------------------------------------------------------------------

# name: status, (OpenAI's type, code, message), (Anthropic's status, type, message)
_ERRORS: dict[str, tuple[int, tuple[str, str | None, str], tuple[int, str, str]]] = {
    "rate_limit": (
        429,
        ("requests", "rate_limit_exceeded", "Rate limit reached."),
        (429, "rate_limit_error", "This request would exceed your rate limit."),
    ),
    "quota": (
        429,
        ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
        (400, "invalid_request_error", "Your credit balance is too low to access the API."),
    ),
    "server_error": (
        500,
        ("server_error", None, "The server had an error while processing your request."),
        (500, "api_error", "Internal server error"),
    ),
    "overloaded": (
        503,
        ("server_error", "server_is_overloaded", "The engine is currently overloaded."),
        (529, "overloaded_error", "Overloaded"),
    ),
    "unauthorized": (
        401,
        ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: {key}. Find yours at your account."),
        (401, "authentication_error", "invalid x-api-key {key}"),
    ),
    "not_found": (
        404,
        ("invalid_request_error", "model_not_found", "The model does not exist."),
        (404, "not_found_error", "model: unknown"),
    ),
    "context_window": (
        400,
        ("invalid_request_error", "context_length_exceeded", "This model's maximum context length is 8 tokens."),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
    ),
    "rejected": (
        400,
        ("invalid_request_error", "invalid_value", "Invalid value for 'temperature'."),
        (400, "invalid_request_error", "temperature: out of range"),
    ),
}


def error_body(api: Api, directive: Directive, key: str) -> tuple[int, dict[str, Any]]:
    """The status and JSON of a provider's error; `key` is the credential the caller sent, which some echo."""
    if directive.name == "status":
        error = {"type": directive.code, "code": directive.code, "message": directive.text}
        return directive.status, {"type": "error", "error": error}
    status, (kind, code, said), (their_status, their_kind, they_said) = _ERRORS[directive.name]
    if api == "messages":
        error = {"type": their_kind, "message": they_said.format(key=key)}
        return their_status, {"type": "error", "error": error, "request_id": "req_stub"}
    return status, {"error": {"message": said.format(key=key), "type": kind, "param": None, "code": code}}


def error_event(api: Api, directive: Directive) -> bytes:
    """The event with which a provider ends a stream that had begun well: it is out of capacity."""
    if api == "messages":
        return _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
    error = {"type": "server_error", "code": "server_is_overloaded", "message": "Overloaded", "param": None}
    if api == "responses":
        return _sse({"sequence_number": 99, **error, "type": "error"}, "error")
    return _sse({"error": error})


# --- HTTP ------------------------------------------------------------------------------------------------------------

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}
_MODEL = re.compile(rb'"model":\s*"([^"\\]{1,200})"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream":\s*true')


def http(status: int, payload: bytes, content_type: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Stub')}\r\ncontent-type: {content_type}\r\n{extra}"
    return f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload


def chunked(events: list[bytes], *, whole: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    sent = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    return head + sent + (b"0\r\n\r\n" if whole else b"")


@lru_cache(maxsize=4_096)
def encoded(api: Api, model: str, answer: Answer, streamed: bool, chunk: int) -> bytes:
    """A whole HTTP answer; kept, since a benchmark asks for the same one again and again."""
    if streamed:
        return chunked(stream(api, model, answer, chunk))
    return http(200, json.dumps(body(api, model, answer), separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Stub:
    """The state that all connections share, and the handle that tests hold."""

    port: int = 0
    script: deque[Directive] = field(default_factory=deque)
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=RECORDED_MAX))
    counts: Counter[str] = field(default_factory=Counter)
    connections: set[_Connection] = field(default_factory=set)
    record: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, *directives: str) -> None:
        """Queue how the next requests are treated, one each."""
        self.script.extend(parse_directive(directive) for directive in directives)

    def reset(self) -> None:
        self.script.clear()
        self.requests.clear()
        self.counts.clear()


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Requests are answered in order; a delayed one holds back those behind it."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.stub.connections.add(self)
        self.stub.counts["connections"] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.stub.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.advance()

    def advance(self) -> None:
        """Answer every whole request in the buffer."""
        while self.timer is None and self.transport is not None and not self.transport.is_closing():
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end])
            found = _LENGTH.search(head)
            size = int(found.group(1)) if found else 0
            if size > BODY_BYTES_MAX or b"\r\ntransfer-encoding:" in head.lower():
                self.transport.write(http(413, b"{}"))
                self.transport.close()
                return
            if len(self.buffer) < end + 4 + size:
                return
            payload = bytes(self.buffer[end + 4 : end + 4 + size])
            del self.buffer[: end + 4 + size]
            self.answer(head, payload)

    def answer(self, head: bytes, payload: bytes) -> None:
        path = head[: head.find(b"\r\n")].split(b" ")[1].partition(b"?")[0].decode()
        api = APIS.get(path[path.rfind("/", 0, path.rfind("/")) :]) or APIS.get(path[path.rfind("/") :])
        if api is None:
            self.send(self.control(path, payload))
            return
        stub = self.stub
        stub.counts["requests"] += 1
        stub.counts[api] += 1
        if stub.record:
            stub.requests.append(Request(path, _headers(head), payload))
        # The fast path of a benchmark: nothing told this request to be special, so its JSON is not even parsed.
        if not stub.script and b"stub:" not in payload and b"x-stub" not in head:
            self.send(encoded(api, _model(payload), Answer("ok"), _STREAM.search(payload) is not None, 8))
            return
        self.behave(api, head, payload)

    def behave(self, api: Api, head: bytes, payload: bytes) -> None:
        said, round_ = _last_turn(api, payload)
        try:
            directive = self.directive(head, said)
        except ValueError as exc:
            self.send(http(400, json.dumps({"error": {"message": str(exc), "type": "stub"}}).encode()))
            return
        self.stub.counts[f"directive:{directive.name}"] += 1
        if directive.delay_ms:
            delay_s = min(directive.delay_ms, DELAY_MS_MAX) / 1000
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(delay_s, self.late, api, directive, head, payload, said, round_)
            return
        self.perform(api, directive, head, payload, said, round_)

    def late(self, api: Api, directive: Directive, head: bytes, payload: bytes, said: str, round_: int) -> None:
        self.timer = None
        self.perform(api, directive, head, payload, said, round_)
        self.advance()

    def directive(self, head: bytes, said: str) -> Directive:
        if self.stub.script:
            return self.stub.script.popleft()
        asked = _headers(head).get("x-stub")
        if asked is not None:
            return parse_directive(asked)
        return parse_directive(said) if said.startswith("stub:") else DEFAULT

    def perform(self, api: Api, directive: Directive, head: bytes, payload: bytes, said: str, round_: int) -> None:
        model, streamed = _model(payload), _STREAM.search(payload) is not None
        answer = answer_for(directive, round_, said)
        match directive.name:
            case "text" | "echo" | "tools":
                self.send(encoded(api, model, answer, streamed, directive.chunk))
            case "malformed":
                whole = json.dumps(body(api, model, answer)).encode()
                self.send(http(200, whole[: len(whole) // 2]))
            case "plain":
                self.send(http(200, b"<html>Welcome to the proxy</html>", "text/html"))
            case "cut_before":
                self.hang_up(b"")
            case "cut_body":
                whole = http(200, json.dumps(body(api, model, answer)).encode())
                self.hang_up(whole[: len(whole) - 40])
            case "cut_stream":
                events = stream(api, model, answer, directive.chunk)
                self.hang_up(chunked(events[: len(events) // 2], whole=False))
            case "end_early":
                events = stream(api, model, answer, directive.chunk)
                self.send(chunked(events[: len(events) // 2]))
            case "garbage_stream":
                events = stream(api, model, answer, directive.chunk)
                self.send(chunked([*events[:2], b"event: content_block_delta\ndata: {not json\n\n"]))
            case "error_stream":
                events = stream(api, model, answer, directive.chunk)
                self.send(chunked([*events[:2], error_event(api, directive)]))
            case _:
                self.refuse(api, directive, head)

    def refuse(self, api: Api, directive: Directive, head: bytes) -> None:
        if directive.name not in _ERRORS and directive.name != "status":
            self.send(http(400, json.dumps({"error": {"message": f"no directive {directive.name!r}"}}).encode()))
            return
        headers = _headers(head)
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        status, error = error_body(api, directive, key)
        extra = f"retry-after: {directive.retry_after}\r\n" if directive.retry_after is not None else ""
        if directive.retry_after_ms is not None:
            extra += f"retry-after-ms: {directive.retry_after_ms}\r\n"
        self.send(http(status, json.dumps(error).encode(), extra=extra))

    def control(self, path: str, payload: bytes) -> bytes:
        if path == "/_stats":
            return http(200, json.dumps(self.stub.counts).encode())
        if path == "/_reset":
            self.stub.reset()
            return http(200, b"{}")
        if path == "/_script":
            try:
                self.stub.say(*json.loads(payload)["directives"])
            except (ValueError, KeyError, TypeError) as exc:
                return http(400, json.dumps({"error": {"message": str(exc)}}).encode())
            return http(200, b"{}")
        return http(404, b'{"error":{"message":"the stub has no such path"}}')

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def hang_up(self, data: bytes) -> None:
        """Send `data` and close in the middle of the answer."""
        assert self.transport is not None
        self.transport.write(data)
        self.transport.close()


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _model(payload: bytes) -> str:
    found = _MODEL.search(payload)
    return found.group(1).decode() if found else "stub"


def _last_turn(api: Api, payload: bytes) -> tuple[str, int]:
    """The last user text, and in how many turns since then tool results came back."""
    try:
        asked = json.loads(payload)
    except ValueError:
        return "", 0
    items = asked.get("input" if api == "responses" else "messages") or []
    if isinstance(items, str):
        return items, 0
    rounds, was_result = 0, False
    for item in reversed(items):
        is_result = _is_result(api, item)
        rounds += is_result and not was_result
        was_result = is_result
        if item.get("role") == "user" and not is_result:
            return _text(item.get("content")), rounds
    return "", rounds


def _is_result(api: Api, item: dict[str, Any]) -> bool:
    if api == "chat":
        return item.get("role") == "tool"
    if api == "responses":
        return item.get("type") == "function_call_output"
    content = item.get("content")
    return isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content or [] if isinstance(block, dict))


# --- running ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serve(port: int = 0, *, record: bool = True) -> AsyncIterator[Stub]:
    """The stub on 127.0.0.1 in this event loop; connections that are still open at the end are cut."""
    stub = Stub(record=record)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stub), "127.0.0.1", port, backlog=1_024)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()
        for connection in list(stub.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await server.wait_closed()


async def _main(port: int) -> None:
    async with serve(port, record=False) as stub:
        print(json.dumps({"port": stub.port}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args().port))
