"""Models by name against a real HTTP server that misbehaves: what is sent and read, and what each fault becomes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.exceptions import (
    ContentFilterError,
    FallbackExceptionGroup,
    ModelAPIError,
    ModelHTTPError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from holdfast.agents import models
from holdfast.domain.errors import Cancelled, DefinitionError, ModelFault
from tests.stubs.provider import Stub, serve

OPENAI_KEY = "sk-proj-abcdefghijklmnop"
ANTHROPIC_KEY = "sk-ant-qrstuvwxyz012345"
CHAT, RESPONSES, ANTHROPIC = "openai-chat:gpt-5.2", "openai:gpt-5.2", "anthropic:claude-sonnet-5"
NAMES = [CHAT, RESPONSES, ANTHROPIC]
EVERY_MODEL = pytest.mark.parametrize("name", NAMES)
EVERY_WAY = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
TOOLS = ModelRequestParameters(function_tools=[ToolDefinition(name="lookup")])
API = {CHAT: "chat", RESPONSES: "responses", ANTHROPIC: "messages"}


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stub]:
    async with serve() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{running.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", ANTHROPIC_KEY)
        yield running
        await models.aclose()


def user(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(text)])


async def ask(model: Model, messages: list[ModelMessage], streamed: bool = False, **settings: Any) -> ModelResponse:
    asked: Any = {"max_tokens": 100, **settings}
    if not streamed:
        return await model.request(messages, asked, TOOLS)
    async with model.request_stream(messages, asked, TOOLS) as stream:
        async for _ in stream:
            pass
    return stream.get()


async def fault(model: Model, streamed: bool, **settings: Any) -> ModelFault:
    """What the failure of this call becomes; the call has to fail."""
    try:
        await ask(model, [user("hi")], streamed, **settings)
    except Exception as exc:
        failure = exc
    else:
        raise AssertionError("the call succeeded")
    found = models.classify(failure)
    assert found is not None, repr(failure)
    return found


# --- answers ---


@EVERY_MODEL
@EVERY_WAY
async def test_text_arrives(stub: Stub, name: str, streamed: bool) -> None:
    stub.say("text text='hello, ✓ world'")
    answer = await ask(models.resolve(name), [user("hi")], streamed)
    assert [part.content for part in answer.parts if isinstance(part, TextPart)] == ["hello, ✓ world"]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 4)
    assert models.cut_short(answer) is None
    assert stub.counts == {"requests": 1, API[name]: 1, "connections": 1, "directive:text": 1}


@EVERY_MODEL
@EVERY_WAY
async def test_rounds_of_tool_calls_end_in_text(stub: Stub, name: str, streamed: bool) -> None:
    model = models.resolve(name)
    history: list[ModelMessage] = [user('stub:tools rounds=2 calls=2 tool=lookup args={"id": 7} text="all done"')]
    for round_ in range(2):
        answer = await ask(model, history, streamed)
        calls = [part for part in answer.parts if isinstance(part, ToolCallPart)]
        assert [(call.tool_name, call.args_as_dict()) for call in calls] == [("lookup", {"id": 7})] * 2
        assert [call.tool_call_id for call in calls] == [f"call_{round_}_0", f"call_{round_}_1"]
        history += [answer, ModelRequest(parts=[ToolReturnPart("lookup", "x", call.tool_call_id) for call in calls])]
    answer = await ask(model, history, streamed)
    assert [part.content for part in answer.parts if isinstance(part, TextPart)] == ["all done"]
    assert stub.counts["connections"] == 1, "connections are kept alive"


@EVERY_MODEL
@EVERY_WAY
async def test_a_header_and_the_last_user_text_direct_the_stub(stub: Stub, name: str, streamed: bool) -> None:
    model = models.resolve(name)
    by_header = await ask(model, [user("hi")], streamed, extra_headers={"x-stub": "text text=header"})
    echoed = await ask(model, [user("stub:echo")], streamed)
    assert by_header.parts[0].content == "header"  # type: ignore[union-attr]
    assert echoed.parts[0].content == "stub:echo"  # type: ignore[union-attr]
    found = await fault(model, streamed, extra_headers={"x-stub": "nonsense"})
    assert (found.code, found.details["status"]) == ("model_rejected", 400)


@EVERY_MODEL
def test_a_model_writes_the_schemas_of_a_list_of_tools_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", ANTHROPIC_KEY)
    model = models.resolve(name)
    schema = {"type": "object", "properties": {"a": {"type": "integer", "title": "A"}}, "required": ["a"]}
    tools = [ToolDefinition(name=f"t{i}", parameters_json_schema=schema) for i in range(3)]
    asked = ModelRequestParameters(function_tools=tools, output_tools=[ToolDefinition(name="done", kind="output")])
    first = model.customize_request_parameters(asked)
    again = model.customize_request_parameters(replace(asked, allow_text_output=False))
    assert first == Model.customize_request_parameters(model, asked)
    assert all(x is y for x, y in zip(again.function_tools, first.function_tools, strict=True))
    assert all(x is y for x, y in zip(again.output_tools, first.output_tools, strict=True))
    assert not again.allow_text_output  # what is not a schema is this call's
    for count in range(2 * models.SCHEMAS_MAX):  # lists that come and go never give another's schemas
        others = [ToolDefinition(name=f"u{count}", parameters_json_schema={"type": "object", "title": str(count)})]
        found = model.customize_request_parameters(ModelRequestParameters(function_tools=others))
        assert [tool.name for tool in found.function_tools] == [f"u{count}"]
    assert model.customize_request_parameters(asked) == first


# --- faults ---

FAULTS: list[tuple[str, str, bool]] = [
    ("rate_limit", "model_rate_limited", True),
    ("quota", "model_quota", False),
    ("server_error", "model_server_error", True),
    ("status status=502 code=bad_gateway", "model_server_error", True),
    ("overloaded", "model_overloaded", True),
    ("status status=503 code=x", "model_overloaded", True),
    ("status status=529 code=x", "model_overloaded", True),
    ("status status=408 code=x", "model_timeout", True),
    ("unauthorized", "model_auth", False),
    ("status status=403 code=x", "model_auth", False),
    ("not_found", "model_not_found", False),
    ("context_window", "model_context_window", False),
    ("status status=413 code=x", "model_context_window", False),
    ("rejected", "model_rejected", False),
    ("status status=422 code=x", "model_rejected", False),
    ("malformed", "model_bad_response", False),
    ("plain", "model_bad_response", False),
    ("cut_before", "model_connection", True),
    ("cut_body", "model_connection", True),
    ("cut_stream", "model_connection", True),
]


@EVERY_MODEL
@EVERY_WAY
@pytest.mark.parametrize(("directive", "code", "transient"), FAULTS, ids=[item[0] for item in FAULTS])
async def test_each_fault_has_its_code(
    stub: Stub, name: str, streamed: bool, directive: str, code: str, transient: bool
) -> None:
    stub.say(directive)
    found = await fault(models.resolve(name), streamed)
    assert (found.code, found.transient) == (code, transient)
    assert stub.counts["requests"] == 1, "the client must not retry: the runtime owns the one retry loop"


@EVERY_MODEL
@pytest.mark.parametrize(
    ("directive", "code", "transient"),
    [("garbage_stream", "model_bad_response", False), ("error_stream", "model_overloaded", True)],
)
async def test_faults_within_a_stream(stub: Stub, name: str, directive: str, code: str, transient: bool) -> None:
    stub.say(directive)
    found = await fault(models.resolve(name), True)
    assert (found.code, found.transient) == (code, transient)


@EVERY_MODEL
async def test_a_stream_that_ends_politely_in_the_middle_is_found_out(stub: Stub, name: str) -> None:
    stub.say("end_early text='a text that is long enough to be cut in two'")
    answer = await ask(models.resolve(name), [user("hi")], True)
    found = models.cut_short(answer)
    assert found is not None
    assert (found.code, found.transient) == ("model_connection", True)


@pytest.mark.parametrize("name", [CHAT, RESPONSES])
@pytest.mark.parametrize("directive", ["cut_before", "cut_body", "malformed", "rate_limit"])
async def test_the_stock_client_fails_alike(stub: Stub, name: str, directive: str) -> None:
    stub.say(directive, directive)
    lean, stock = [await fault(models.resolve(name, lean=lean), False) for lean in (True, False)]
    assert (lean.code, lean.transient) == (stock.code, stock.transient)


@EVERY_MODEL
@EVERY_WAY
@pytest.mark.parametrize(
    ("directive", "retry_after_ms"),
    [
        ("rate_limit retry_after=2", 2_000),
        ("rate_limit retry_after=0.5", 500),
        ("rate_limit retry_after=9 retry_after_ms=1500", 1_500),
        ("overloaded retry_after=3", 3_000),
        ("rate_limit retry_after=soon", None),
        ("rate_limit retry_after=-1", None),
        ("rate_limit retry_after='Wed, 21 Oct 2015 07:28:00 GMT'", 0),
        ("rate_limit", None),
        ("quota retry_after=2", None),
    ],
)
async def test_the_time_to_wait_is_read(
    stub: Stub, name: str, streamed: bool, directive: str, retry_after_ms: int | None
) -> None:
    stub.say(directive)
    assert (await fault(models.resolve(name), streamed)).retry_after_ms == retry_after_ms


@EVERY_MODEL
@EVERY_WAY
async def test_a_slow_first_byte_is_a_timeout(stub: Stub, name: str, streamed: bool) -> None:
    stub.say("text delay_ms=10000")
    found = await fault(models.resolve(name), streamed, timeout=0.05)
    assert (found.code, found.transient) == ("model_timeout", True)


@EVERY_MODEL
async def test_a_slow_answer_within_its_time_arrives(stub: Stub, name: str) -> None:
    stub.say("text delay_ms=20 text=late")
    answer = await ask(models.resolve(name), [user("hi")])
    assert answer.parts[0].content == "late"  # type: ignore[union-attr]


@EVERY_MODEL
async def test_nobody_listening_is_a_connection_fault(stub: Stub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as gone:
        port = gone.port
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{port}")
    found = await fault(models.resolve(name), False)
    assert (found.code, found.transient) == ("model_connection", True)


@EVERY_MODEL
async def test_a_fault_says_what_happened_without_the_key(stub: Stub, name: str) -> None:
    stub.say("unauthorized", "status status=418 code=teapot text='short and stout'")
    model = models.resolve(name)
    refused, teapot = await fault(model, False), await fault(model, False)
    key = ANTHROPIC_KEY if name == ANTHROPIC else OPENAI_KEY
    assert stub.requests[0].headers.get("x-api-key", stub.requests[0].headers.get("authorization", "")).endswith(key)
    assert key not in refused.message
    assert "[redacted]" in refused.message
    assert teapot.message == f"{name.partition(':')[2]}, HTTP 418: short and stout"
    assert teapot.details == {"status": 418, "provider_code": "teapot", "model": name.partition(":")[2]}


@EVERY_MODEL
async def test_a_connection_survives_every_fault_that_leaves_it_whole(stub: Stub, name: str) -> None:
    model = models.resolve(name)
    stub.say("rate_limit", "malformed", "not_found")
    for _ in range(3):
        await fault(model, False)
    await ask(model, [user("hi")])
    assert stub.counts["connections"] == 1


# --- resolve ---


async def test_openai_speaks_responses_and_openai_chat_speaks_chat(stub: Stub) -> None:
    for name in NAMES:
        await ask(models.resolve(name), [user("hi")])
    assert [request.path for request in stub.requests] == ["/v1/chat/completions", "/v1/responses", "/v1/messages"]


async def test_models_of_a_provider_share_one_client(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = {id(models.resolve(name).client) for name in (CHAT, RESPONSES, "openai-chat:other")}  # type: ignore[attr-defined]
    assert len(clients) == 1
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-key-altogether")
    await ask(models.resolve(CHAT), [user("hi")])
    assert stub.requests[-1].headers["authorization"] == "Bearer sk-another-key-altogether"
    for name in (CHAT, RESPONSES):
        await ask(models.resolve(name), [user("hi")])
    assert stub.counts["connections"] == 1


async def test_a_client_that_was_closed_opens_again(stub: Stub) -> None:
    model = models.resolve(CHAT)
    for expected in (1, 2):
        await ask(model, [user("hi")])
        assert stub.counts["connections"] == expected
        await models.aclose()
        await models.aclose()


@contextlib.contextmanager
def stub_process() -> Iterator[int]:
    """The port of a stub that runs outside of any event loop of this process."""
    command = [sys.executable, "-m", "tests.stubs.provider", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.kill()


@EVERY_MODEL
def test_one_model_serves_several_event_loops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are module-level; a process may run more than one loop, one after another or side by side."""
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", ANTHROPIC_KEY)
    with stub_process() as port, asyncio.Runner() as one, asyncio.Runner() as other:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{port}")
        model = models.resolve(name)  # no loop runs
        for runner in (one, other, one, other):
            assert runner.run(ask(model, [user("hi")])).parts[0].content == "ok"  # type: ignore[union-attr]
        one.run(models.aclose())
        assert other.run(ask(model, [user("hi")])).parts[0].content == "ok"  # type: ignore[union-attr]
        other.run(models.aclose())
        stats = httpx2.get(f"http://127.0.0.1:{port}/_stats", trust_env=False).json()
    assert stats["requests"] == 5
    assert stats["connections"] == 2 + 1, "one for each loop, kept alive, and the one that asks for the numbers"


@pytest.mark.parametrize(("env", "lean"), [(None, True), ("1", False), ("0", True)])
def test_the_environment_switches_back_to_the_stock_client(
    monkeypatch: pytest.MonkeyPatch, env: str | None, lean: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.delenv(models.STOCK_OPENAI_ENV, raising=False)
    if env is not None:
        monkeypatch.setenv(models.STOCK_OPENAI_ENV, env)

    def client(**options: Any) -> str:
        return type(models.resolve(CHAT, **options).client).__name__  # type: ignore[attr-defined]

    assert client() == ("LeanAsyncOpenAI" if lean else "AsyncOpenAI")
    assert (client(lean=True), client(lean=False)) == ("LeanAsyncOpenAI", "AsyncOpenAI")


def test_a_model_is_returned_as_it_is() -> None:
    model = TestModel()
    assert models.resolve(model) is model
    assert isinstance(models.resolve("test"), TestModel)


@pytest.mark.parametrize("name", ["gpt-nonsense", "nobody:gpt-5.2", "", "nobody:"])
def test_an_unknown_name_is_a_definition_error(name: str) -> None:
    with pytest.raises(DefinitionError, match="<provider>:<model>"):
        models.resolve(name)


@pytest.mark.parametrize(
    ("name", "variable"),
    [(CHAT, "OPENAI_API_KEY"), (RESPONSES, "OPENAI_API_KEY"), (ANTHROPIC, "ANTHROPIC_API_KEY")],
)
def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch, name: str, variable: str) -> None:
    for each in (*models._OPENAI_ENV, *models._ANTHROPIC_ENV):
        monkeypatch.delenv(each, raising=False)
    with pytest.raises(ModelFault, match=variable) as caught:
        models.resolve(name)
    assert (caught.value.code, caught.value.transient) == ("model_misconfigured", False)


def test_a_missing_key_of_another_provider_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(ModelFault, match="OPENROUTER_API_KEY"):
        models.resolve("openrouter:some/model")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-xxxxxxxxxxxx")
    assert models.resolve("openrouter:some/model").client.max_retries == 0  # type: ignore[attr-defined]


async def test_a_server_at_home_needs_no_key(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    await ask(models.resolve(CHAT), [user("hi")])
    assert stub.counts["requests"] == 1


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_module_imports_no_provider() -> None:
    loaded = python("import sys, json, holdfast.agents.models; print(json.dumps(list(sys.modules)))")
    assert not {"openai", "anthropic", "aiohttp"} & set(json.loads(loaded))


@pytest.mark.parametrize(("name", "package"), [(CHAT, "openai"), (RESPONSES, "openai"), (ANTHROPIC, "anthropic")])
def test_a_missing_extra_is_named(name: str, package: str) -> None:
    said = python(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from holdfast.agents import models; from holdfast.domain.errors import DefinitionError\n"
        f"try: models.resolve({name!r})\nexcept DefinitionError as exc: print(exc)"
    )
    assert f'pip install "holdfast[{package}]"' in said


def test_the_transport_of_the_sdk_stands_in_for_aiohttp() -> None:
    python(
        "import importlib.util as u, os; os.environ.update(OPENAI_API_KEY='k', OPENAI_BASE_URL='http://127.0.0.1:9/v1')\n"
        "find = u.find_spec; u.find_spec = lambda name, *a: None if name == 'aiohttp' else find(name, *a)\n"
        "from holdfast.agents import models; import openai\n"
        "models.resolve('openai-chat:m'); client = models._http_clients['openai', True]\n"
        "assert client._make is openai.DefaultAsyncHttpxClient, client._make"
    )


# --- classify, of errors that no server can be made to cause ---

REQUEST = httpx2.Request("POST", "http://model")


def caused(outer: Exception, *causes: Exception) -> Exception:
    inner = outer
    for cause in causes:
        inner.__cause__ = cause
        inner = cause
    return outer


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: httpx.ConnectError("x"), "model_connection"),
        (lambda: httpx.ReadTimeout("x"), "model_timeout"),
        (lambda: httpx2.RemoteProtocolError("x"), "model_connection"),
        (lambda: httpx2.ConnectTimeout("x"), "model_timeout"),
        (lambda: httpx2.UnsupportedProtocol("x"), "model_misconfigured"),
        (lambda: httpx2.DecodingError("x"), "model_bad_response"),
        (lambda: httpx2.HTTPStatusError("x", request=REQUEST, response=httpx2.Response(503)), "model_overloaded"),
        (aiohttp.ServerDisconnectedError, "model_connection"),
        (aiohttp.SocketTimeoutError, "model_timeout"),
        (aiohttp.ClientPayloadError, "model_connection"),
        (lambda: caused(httpx2.ConnectTimeout("x"), aiohttp.ServerDisconnectedError()), "model_connection"),
        (ConnectionResetError, "model_connection"),
        (lambda: ssl.SSLCertVerificationError("x"), "model_connection"),
        (TimeoutError, "model_timeout"),
        (lambda: json.JSONDecodeError("x", "{", 1), "model_bad_response"),
        (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "model_bad_response"),
        (lambda: openai.APITimeoutError(REQUEST), "model_timeout"),
        (lambda: openai.APIConnectionError(request=REQUEST), "model_connection"),
        (lambda: openai.APIError("x", REQUEST, body=None), "model_server_error"),
        (lambda: openai.APIError("x", REQUEST, body={"code": "insufficient_quota"}), "model_quota"),
        (lambda: openai.OpenAIError("no key"), "model_misconfigured"),
        (lambda: status_error(openai, 409), "model_server_error"),
        (lambda: status_error(openai, 429), "model_rate_limited"),
        (lambda: status_error(anthropic, 529), "model_overloaded"),
        (lambda: status_error(anthropic, 401), "model_auth"),
        (lambda: anthropic.APIConnectionError(request=REQUEST), "model_connection"),
        (lambda: ModelAPIError("m", "what?"), "model_bad_response"),
        (lambda: caused(ModelAPIError("m", "x"), json.JSONDecodeError("x", "{", 1)), "model_bad_response"),
        (lambda: caused(ModelAPIError("m", "x"), openai.APIConnectionError(request=REQUEST)), "model_connection"),
        (lambda: caused(ModelAPIError("m", "x"), openai.APITimeoutError(REQUEST)), "model_timeout"),
        (lambda: UnexpectedModelBehavior("x", '{"a": 1}'), "model_bad_response"),
        (lambda: ContentFilterError("x"), "model_rejected"),
        (lambda: UserError("x"), "model_misconfigured"),
        (lambda: ModelHTTPError(402, "m"), "model_quota"),
        (lambda: ModelHTTPError(307, "m"), "model_rejected"),
        (lambda: ModelHTTPError(400, "m", "maximum context length is 8"), "model_context_window"),
    ],
)
def test_errors_are_told_apart_by_what_they_are(make: Callable[[], Exception], code: str) -> None:
    found = models.classify(make())
    assert found is not None
    assert found.code == code
    assert found.transient == (code in models._TRANSIENT)


def status_error(sdk: Any, status: int, **headers: str) -> Exception:
    response = httpx2.Response(status, request=REQUEST, headers=headers)
    return sdk.APIStatusError("x", response=response, body=None)


@pytest.mark.parametrize(
    "exc",
    [ValueError("a bug"), KeyError("x"), asyncio.CancelledError(), Cancelled(), KeyboardInterrupt(), OSError(28, "x")],
)
def test_what_is_no_fault_of_a_model_is_left_alone(exc: BaseException) -> None:
    assert models.classify(exc) is None


def test_a_fault_stays_what_it_is() -> None:
    fault = ModelFault("x", code="model_quota")
    assert models.classify(fault) is fault


def test_a_subclass_nobody_knows_keeps_its_meaning() -> None:
    class Mine(httpx2.ReadTimeout):
        pass

    found = models.classify(Mine("x"))
    assert found is not None
    assert found.code == "model_timeout"


def test_a_provider_that_says_do_not_retry_is_believed() -> None:
    told = models.classify(status_error(openai, 500, **{"X-Should-Retry": "false"}))
    assert told is not None
    assert (told.code, told.transient) == ("model_server_error", False)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([ModelHTTPError(401, "a"), ModelHTTPError(503, "b")], "model_overloaded"),
        ([ModelHTTPError(401, "a"), ModelHTTPError(400, "b")], "model_rejected"),
        ([ModelHTTPError(401, "a"), ValueError("bug")], None),
    ],
)
def test_a_fallback_is_worth_a_try_if_any_of_its_models_is(errors: list[Exception], code: str | None) -> None:
    found = models.classify(FallbackExceptionGroup("all failed", errors))
    assert (found and found.code) == code


def test_a_cause_that_leads_to_itself_ends() -> None:
    exc = ModelAPIError("m", "x")
    other = ValueError()
    exc.__cause__, other.__cause__ = other, exc
    found = models.classify(exc)
    assert found is not None
    assert found.code == "model_bad_response"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefgh12345678",
        "sk-ant-api03-abcdefgh",
        "sk-abcd********wxyz",
        "AIzaSyA-abcdefghijklmnopqrstuvwxyz0123",
        "gsk_abcdefghijklmnop",
        "Bearer abcdef.ghijkl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln",
        "very-special-secret",
    ],
)
def test_nothing_that_looks_like_a_key_leaves(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("SOME_VENDOR_API_KEY", "very-special-secret")
    body = {"message": f"bad key: {secret}.", "code": f"code {secret}"}
    found = models.classify(ModelHTTPError(401, "m", body))
    assert found is not None
    value = secret.removeprefix("Bearer ")
    assert value not in found.message
    assert value not in str(found.details)
    assert "[redacted]" in found.message


def test_long_messages_and_bodies_are_not_quoted_whole() -> None:
    long = models.classify(ModelHTTPError(400, "m", {"message": "x y" * 5_000}))
    body = models.classify(ModelHTTPError(500, "m", "<html>" + "secret prompt " * 100))
    page = models.classify(ModelAPIError("m", "Expected a JSON response, got: " + "page " * 5_000))
    assert long is not None
    assert len(long.message) == models.MESSAGE_CHARS_MAX
    assert body is not None
    assert "prompt" not in body.message
    assert page is not None
    assert len(page.message) < 200
    assert "\n" not in page.message


# --- price ---


def answer(
    model: str | None = "gpt-5.2", provider: str | None = "openai", url: str | None = None, **usage: Any
) -> ModelResponse:
    return ModelResponse(
        parts=[], model_name=model, provider_name=provider, provider_url=url, usage=RequestUsage(**usage)
    )


def test_a_known_model_has_a_price() -> None:
    found = models.price(answer(input_tokens=1_000_000, output_tokens=100_000))
    listed = calc_price(RequestUsage(input_tokens=1_000_000, output_tokens=100_000), "gpt-5.2", provider_id="openai")
    assert found.priced
    assert found.cost_micros == listed.total_price * 1_000_000 > 0
    assert found.price_version.startswith("genai-prices/")


@pytest.mark.parametrize(
    "unknown",
    [
        answer("no-such-model", input_tokens=5),
        answer("gpt-5.2", "no-such-provider", input_tokens=5),
        answer("gpt-5.2", None, input_tokens=5),
        answer(None, input_tokens=5),
        answer(unmeasured_requests=1),
        answer(input_tokens=1, cache_read_tokens=9),
    ],
)
def test_what_nobody_can_price_costs_nothing_and_says_so(unknown: ModelResponse) -> None:
    found = models.price(unknown)
    assert (found.cost_micros, found.priced) == (0, False)


def test_the_url_tells_resellers_apart_and_an_unknown_one_falls_back_to_the_provider() -> None:
    tokens = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    direct = models.price(answer("claude-sonnet-4-5", "anthropic", "https://api.anthropic.com/", **tokens))
    proxied = models.price(answer("claude-sonnet-4-5", "anthropic", "http://proxy.internal/", **tokens))
    assert direct == proxied
    assert direct.priced


def test_a_cost_that_the_provider_reports_wins() -> None:
    found = models.price(answer("no-such-model", cost=Decimal("0.0000125"), input_tokens=5))
    assert found == models.Price(12, True, models.PRICED_BY_PROVIDER)


FLAT = ["gpt-5.2", "gpt-4o-mini", "claude-opus-4-1", "claude-haiku-4-5", "o3"]
TIERED = ["gemini-2.5-pro", "claude-sonnet-4-5"]
COUNT = st.integers(0, 3_000_000)


@given(st.sampled_from([*FLAT, *TIERED]), COUNT, COUNT, COUNT, COUNT, st.sampled_from([0, 0, 0, 700]))
def test_the_shortcut_agrees_with_the_library(
    model: str, fresh: int, out: int, read: int, write: int, audio: int
) -> None:
    total = fresh + read + write + audio
    usage = RequestUsage(
        input_tokens=total,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=write,
        input_audio_tokens=audio,
    )
    provider = "google" if model.startswith("gemini") else "anthropic" if model.startswith("claude") else "openai"
    response = ModelResponse(parts=[], model_name=model, provider_name=provider, usage=usage)
    try:
        listed = calc_price(usage, model, provider_id=provider, genai_request_timestamp=response.timestamp).total_price
    except ValueError:
        assert not models.price(response).priced
        return
    exact = int((listed * 1_000_000).to_integral_value(ROUND_HALF_EVEN))
    assert models.price(response).cost_micros == exact


@pytest.mark.parametrize(("model", "is_flat"), [("gpt-5.2", True), ("gemini-2.5-pro", False)])
def test_only_flat_prices_take_the_shortcut(model: str, is_flat: bool) -> None:
    provider = "google" if model.startswith("gemini") else "openai"
    entry = models._lookup(models._price_book(), model, None, provider)
    assert entry is not None
    assert (entry[2] is not None) == is_flat


def test_a_service_tier_has_its_own_price() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    tokens = RequestUsage(input_tokens=1_000_000)

    def cost(tier: str) -> int:
        details = {"service_tier": tier, "finish_reason": "stop"}
        response = ModelResponse(
            parts=[], model_name="gpt-5.2", provider_name="openai", usage=tokens, timestamp=at, provider_details=details
        )
        listed = calc_price(
            tokens, "gpt-5.2", provider_id="openai", genai_request_timestamp=at, price_context=details
        ).total_price
        assert models.price(response).cost_micros == listed * 1_000_000
        return models.price(response).cost_micros

    assert cost("flex") < cost("default") < cost("priority")


def test_usage_is_what_a_run_adds_up() -> None:
    response = answer(input_tokens=100, output_tokens=10)
    usage = models.usage_of(response, models.price(response))
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == (1, 100, 10)
    assert (usage.cost_micros, usage.priced) == (models.price(response).cost_micros, True)


def test_a_new_snapshot_of_prices_is_noticed() -> None:
    from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot

    bundled = get_snapshot()
    before = models.price(answer(input_tokens=1_000)).price_version
    set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))
    try:
        updated = models.price(answer(input_tokens=1_000))
    finally:
        set_custom_snapshot(None)
    assert get_snapshot() is bundled
    assert not updated.priced
    assert updated.price_version.startswith(f"{before}+")
    assert models.price(answer(input_tokens=1_000)).priced


# --- the stub as a process ---


async def test_the_stub_runs_as_a_process_of_its_own() -> None:
    with stub_process() as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.post("/_script", json={"directives": ["not_found"]})).status_code == 200
            asked = {"model": "m", "messages": []}
            statuses = [(await client.post("/v1/chat/completions", json=asked)).status_code for _ in range(2)]
            stats = (await client.get("/_stats")).json()
            refused = await client.post("/_script", json={"directives": ["text nonsense=1"]})
            assert (await client.post("/_reset")).status_code == 200
            after = (await client.get("/_stats")).json()
            nowhere = await client.get("/nowhere")
    assert statuses == [404, 200]
    assert (stats["requests"], stats["chat"], stats["directive:not_found"]) == (2, 2, 1)
    assert refused.status_code == 400
    assert "requests" not in after
    assert nowhere.status_code == 404


async def test_the_stub_answers_pipelined_and_split_requests_in_order(stub: Stub) -> None:
    stub.say("text text=first delay_ms=20", "text text=second")
    reader, writer = await asyncio.open_connection("127.0.0.1", stub.port)
    body = b'{"model":"m","messages":[]}'
    one = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    writer.write(one + one[:30])
    await writer.drain()
    writer.write(one[30:])
    seen = b""
    while seen.count(b"HTTP/1.1 200") < 2 or b"second" not in seen:
        seen += await asyncio.wait_for(reader.read(4_096), 10)
    writer.close()
    await writer.wait_closed()
    assert seen.index(b"first") < seen.index(b"second")


async def test_the_stub_refuses_what_it_cannot_frame(stub: Stub) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stub.port)
    writer.write(b"POST /v1/responses HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 413")
    writer.close()
    await writer.wait_closed()
