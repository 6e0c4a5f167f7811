"""Models by name, what their failures mean, and what an answer cost: the one place that knows provider SDKs.

`resolve` gives every model of a provider the same HTTP connections and no retries of its own: the runtime owns the
one retry loop, and a retry inside a client would be invisible to journal, limits and cancellation. `classify` reads
facts (status, the provider's code, the class that failed), by name, so no SDK is imported to recognise its errors.

Invariant: importing this module imports no provider SDK; no message that leaves it holds a key or a whole body.
Rejected: pydantic-ai's own error categories as the only source; they came late in version 2, and our floor is older.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import httpx2

from holdfast.domain import determinism
from holdfast.domain.errors import DefinitionError, ModelFault
from holdfast.domain.runs import Usage

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from genai_prices.types import ModelInfo, ModelPrice, Provider
    from openai import AsyncOpenAI
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

STOCK_OPENAI_ENV: Final = "HOLDFAST_STOCK_OPENAI_CLIENT"
MESSAGE_CHARS_MAX: Final = 500
UNREADABLE_CHARS_MAX: Final = 160
CLIENTS_MAX: Final = 32
SCHEMAS_MAX: Final = 64
RATES_MAX: Final = 4_096
CAUSES_MAX: Final = 8

# --- resolve ---------------------------------------------------------------------------------------------------------

_OPENAI_PROVIDERS = frozenset({"openai", "openai-chat", "openai-responses", "openai-decisions"})
_OPENAI_ENV = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
_ANTHROPIC_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_FEDERATION_RULE_ID")
_ANTHROPIC_ENV = (*_ANTHROPIC_KEYS, "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS")
_EXTRAS = {**dict.fromkeys(_OPENAI_PROVIDERS, "openai"), "anthropic": "anthropic"}


def resolve(model: str | Model, *, lean: bool | None = None) -> Model:
    """The pydantic-ai model for a name such as `openai:gpt-5.2`, `openai-chat:…`, `anthropic:…`, or `model` itself.

    `openai:` speaks the Responses API, `openai-chat:` chat completions. Keys, base URLs and the like come from the
    provider's own environment variables, read at this call. Models of one provider and environment share one client,
    whose connections are per event loop; `aclose()` closes them. Retries inside the SDK clients are off. A `Model`
    that is passed in is returned as it is, with its own client and its own retries.

    `lean=False` takes the stock OpenAI client and transport; `None` does so if `HOLDFAST_STOCK_OPENAI_CLIENT=1`.

    Raises `DefinitionError` for a name that no provider knows or a missing package, and
    `ModelFault(code="model_misconfigured")` for a missing key. Nothing is sent. Safe to repeat.
    """
    if not isinstance(model, str):
        return model
    stock = os.environ.get(STOCK_OPENAI_ENV) == "1" if lean is None else not lean
    return _infer(model, lambda name: _provider(name, lean=not stock))


def _infer(model: str, provider_factory: Callable[[str], Any]) -> Model:
    from pydantic_ai import models as pydantic_models
    from pydantic_ai.exceptions import UserError

    try:
        try:
            return _remembering(pydantic_models.infer_model(model, provider_factory))
        except ValueError:
            # An unknown provider. The stock path names it before it builds anything, often with a suggestion.
            return pydantic_models.infer_model(model)
    except ImportError as exc:
        raise _missing_package(model, exc) from exc
    except UserError as exc:
        if "environment variable" in exc.message:
            raise _misconfigured(model, exc.message) from exc
        raise _undefined(model, exc.message) from exc
    except ValueError as exc:
        raise _undefined(model, str(exc)) from exc


def _remembering(model: Model) -> Model:
    """`model`, which writes the schemas of a list of tools in its provider's dialect once, and not in every call.

    The walk costs about 20 µs a tool. It depends on nothing but the lists of tools and the output object, which are
    the same objects in every call of an agent; a kind of model that does more than the walk is left as it is.
    """
    from pydantic_ai.models import Model

    if type(model).customize_request_parameters is not Model.customize_request_parameters:
        return model
    walk = model.customize_request_parameters
    known: dict[tuple[int, int, int], tuple[ModelRequestParameters, ModelRequestParameters]] = {}

    def customize(params: ModelRequestParameters) -> ModelRequestParameters:
        key = (id(params.function_tools), id(params.output_tools), id(params.output_object))
        found = known.get(key)
        if found is None:
            if len(known) >= SCHEMAS_MAX:
                known.clear()
            found = known[key] = (params, walk(params))  # what was given is kept: no other object takes its id
        done = found[1]
        return replace(
            params, function_tools=done.function_tools, output_tools=done.output_tools, output_object=done.output_object
        )

    model.customize_request_parameters = customize  # pyright: ignore[reportAttributeAccessIssue]
    return model


def _provider(name: str, *, lean: bool) -> Any:
    from pydantic_ai import providers

    if name in _OPENAI_PROVIDERS:
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIProvider(openai_client=_openai_client(lean, _env(_OPENAI_ENV)))
    if name == "anthropic":
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicProvider(anthropic_client=_anthropic_client(_env(_ANTHROPIC_ENV)))
    provider = providers.infer_provider(name)
    _no_retries(provider)
    return provider


def _no_retries(provider: Any) -> None:
    """Many providers use an SDK of the same make, where the number of retries is a plain attribute of the client."""
    client = getattr(provider, "client", None)
    if isinstance(getattr(client, "max_retries", None), int):
        cast(Any, client).max_retries = 0


def _env(names: tuple[str, ...]) -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in names)


@lru_cache(maxsize=CLIENTS_MAX)
def _openai_client(lean: bool, env: tuple[str | None, ...]) -> AsyncOpenAI:
    """The process's client for this environment; it owns no connection, so dropping it from the cache leaks none."""
    import openai

    key, base_url = env[0], env[1]
    if not key and not base_url:
        raise _misconfigured("openai", "Set the environment variable OPENAI_API_KEY (or OPENAI_BASE_URL).")
    client_class = openai.AsyncOpenAI
    if lean:
        from holdfast.agents.openai_lean import LeanAsyncOpenAI

        client_class = LeanAsyncOpenAI
    # Servers at home (vLLM, Ollama …) need no key, but the SDK does.
    return client_class(api_key=key or "api-key-not-set", max_retries=0, http_client=_http_client("openai", lean))


@lru_cache(maxsize=CLIENTS_MAX)
def _anthropic_client(env: tuple[str | None, ...]) -> AsyncAnthropic:
    import anthropic

    if not any(env[: len(_ANTHROPIC_KEYS)]):
        raise _misconfigured("anthropic", "Set the environment variable ANTHROPIC_API_KEY.")
    return anthropic.AsyncAnthropic(max_retries=0, http_client=_http_client("anthropic", True))


def _misconfigured(model: str, message: str) -> ModelFault:
    return ModelFault(_safe(f"{model}: {message}"), code="model_misconfigured", model=model)


def _undefined(model: str, message: str) -> DefinitionError:
    return DefinitionError(_safe(f"{message.rstrip('.')}. A model is written '<provider>:<model>'."), model=model)


def _missing_package(model: str, exc: ImportError) -> DefinitionError:
    extra = _EXTRAS.get(model.partition(":")[0])
    advice = f'Install it with: pip install "holdfast[{extra}]"' if extra else str(exc)
    return DefinitionError(f"The model {model!r} needs a package that is not installed. {advice}", model=model)


def model_name(model: str | Model) -> str:
    """The model as it was named."""
    return model if isinstance(model, str) else f"{model.system}:{model.model_name}"


# --- connections -----------------------------------------------------------------------------------------------------


class _NoTransport(httpx2.AsyncBaseTransport):
    """Never reached; its presence keeps the outer client from building a connection pool of its own."""


class _LoopClient(httpx2.AsyncClient):
    """One HTTP client per running event loop behind one object, because connections belong to the loop they opened on.

    Agents are declared at import, before any loop runs, and one process may run several loops one after another.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncClient], timeout: httpx2.Timeout) -> None:
        super().__init__(transport=_NoTransport(), timeout=timeout)
        self._make = make
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = WeakKeyDictionary()

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        loop = asyncio.get_running_loop()
        client = self._by_loop.get(loop)
        if client is None:
            client = self._by_loop[loop] = self._make()
        return await client.send(request, **options)

    async def aclose(self) -> None:
        """Close the running loop's connections; the next request opens new ones."""
        client = self._by_loop.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


_http_clients: dict[tuple[str, bool], _LoopClient] = {}  # sdk x transport: four entries at most
_making_client = threading.Lock()  # threads that resolve models at once share one client, or `aclose` would miss some


def _http_client(sdk: str, aiohttp: bool) -> _LoopClient:
    """The connections that all clients of one SDK share; `aiohttp` takes that transport when its package is there."""
    with _making_client:
        client = _http_clients.get((sdk, aiohttp))
        if client is None:
            module = importlib.import_module(sdk)
            fast = aiohttp and importlib.util.find_spec("aiohttp") is not None
            make = module.DefaultAioHttpClient if fast else module.DefaultAsyncHttpxClient
            client = _http_clients[sdk, aiohttp] = _LoopClient(make, module.DEFAULT_TIMEOUT)
        return client


async def aclose() -> None:
    """Close every connection that models of `resolve` opened on the running event loop. Safe to repeat."""
    for client in list(_http_clients.values()):
        await client.aclose()


# --- classify --------------------------------------------------------------------------------------------------------

_TRANSIENT = frozenset(
    {"model_rate_limited", "model_overloaded", "model_server_error", "model_connection", "model_timeout"}
)

# What providers write into `code` or `type` of an error body. It beats the status: an exhausted quota is a 429 too.
_BY_PROVIDER_CODE = {
    "insufficient_quota": "model_quota",
    "billing_hard_limit_reached": "model_quota",
    "credit_balance_exhausted": "model_quota",
    "organization_spend_limit_exceeded": "model_quota",
    "project_spend_limit_exceeded": "model_quota",
    "organization_usage_limit_exceeded": "model_quota",
    "billing_error": "model_quota",
    "context_length_exceeded": "model_context_window",
    "request_too_large": "model_context_window",
    "rate_limit_exceeded": "model_rate_limited",
    "rate_limit_error": "model_rate_limited",
    "too_many_requests": "model_rate_limited",
    "overloaded": "model_overloaded",
    "overloaded_error": "model_overloaded",
    "server_is_overloaded": "model_overloaded",
    "server_error": "model_server_error",
    "api_error": "model_server_error",
    "timeout_error": "model_timeout",
    "invalid_api_key": "model_auth",
    "authentication_error": "model_auth",
    "permission_error": "model_auth",
    "model_not_found": "model_not_found",
    "not_found_error": "model_not_found",
}

# Some providers tell these apart from any other 400 only in prose.
_BY_PHRASE = (
    ("maximum context length", "model_context_window"),
    ("prompt is too long", "model_context_window"),
    ("reduce the length of the messages", "model_context_window"),
    ("input token count", "model_context_window"),
    ("credit balance is too low", "model_quota"),
)

_BY_STATUS = {
    401: "model_auth",
    402: "model_quota",
    403: "model_auth",
    404: "model_not_found",
    408: "model_timeout",
    409: "model_server_error",  # a lock that was not granted in time; the SDKs repeat it too
    413: "model_context_window",
    425: "model_rate_limited",
    429: "model_rate_limited",
    503: "model_overloaded",
    529: "model_overloaded",
}

# By (package, class), looked up along the class's bases, so that a subclass that we do not know keeps its meaning.
_BY_CLASS = {
    ("pydantic_ai", "ModelRateLimitError"): "model_rate_limited",
    ("pydantic_ai", "ModelQuotaExceededError"): "model_quota",
    ("pydantic_ai", "ModelUnavailableError"): "model_overloaded",
    ("pydantic_ai", "ModelServerError"): "model_server_error",
    ("pydantic_ai", "ModelContextWindowExceededError"): "model_context_window",
    ("pydantic_ai", "ModelAuthenticationError"): "model_auth",
    ("pydantic_ai", "ModelNotFoundError"): "model_not_found",
    ("pydantic_ai", "ModelRequestRejectedError"): "model_rejected",
    ("pydantic_ai", "ModelTimeoutError"): "model_timeout",
    ("pydantic_ai", "ModelConnectionError"): "model_connection",
    ("pydantic_ai", "ModelRequestTimeout"): "model_timeout",
    ("pydantic_ai", "ContentFilterError"): "model_rejected",
    ("pydantic_ai", "UnexpectedModelBehavior"): "model_bad_response",
    ("pydantic_ai", "UserError"): "model_misconfigured",
    **{
        (sdk, name): code
        for sdk in ("openai", "anthropic")
        for name, code in {
            "APITimeoutError": "model_timeout",
            "APIConnectionError": "model_connection",
            "APIResponseValidationError": "model_bad_response",
            "APIError": "model_server_error",  # an error event in a stream, without a status
        }.items()
    },
    ("openai", "OpenAIError"): "model_misconfigured",  # the bare root: no key, no endpoint
    ("anthropic", "AnthropicError"): "model_misconfigured",
    **{
        (library, name): code
        for library in ("httpx", "httpx2")
        for name, code in {
            "TimeoutException": "model_timeout",
            "UnsupportedProtocol": "model_misconfigured",
            "InvalidURL": "model_misconfigured",
            "DecodingError": "model_bad_response",
            "TransportError": "model_connection",
            "StreamError": "model_connection",
        }.items()
    },
    ("aiohttp", "ServerTimeoutError"): "model_timeout",
    ("aiohttp", "InvalidURL"): "model_misconfigured",
    ("aiohttp", "ClientConnectionError"): "model_connection",
    ("aiohttp", "ClientPayloadError"): "model_connection",
    ("aiohttp", "ClientResponseError"): "model_bad_response",
    ("json", "JSONDecodeError"): "model_bad_response",
    ("builtins", "UnicodeDecodeError"): "model_bad_response",
    ("builtins", "TimeoutError"): "model_timeout",
    ("builtins", "ConnectionError"): "model_connection",
    ("ssl", "SSLError"): "model_connection",
    ("socket", "gaierror"): "model_connection",
}
_REFINED = {"model_connection": "the connection failed", "model_timeout": "no answer in time"}
_REFINABLE = frozenset(_REFINED)
_VAGUE = frozenset({None, "model_rejected", "model_server_error"})  # a status says more
_PACKAGES = frozenset(package for package, _ in _BY_CLASS)


def classify(exc: BaseException) -> ModelFault | None:
    """What a failed model call means, or None if `exc` is not a model's failure (a bug, a cancellation, a signal).

    Transient, worth another try: `model_rate_limited model_overloaded model_server_error model_connection
    model_timeout`, with `retry_after_ms` if the provider named a time. Final: `model_auth model_rejected
    model_not_found model_context_window model_quota model_misconfigured`, and `model_bad_response`: an answer that
    arrived whole but cannot be read was paid for, and whatever wrote it will write it again. An answer that was cut
    off did not arrive: that is `model_connection`. A provider's `x-should-retry: false` makes any of them final.

    The message is one line of at most 500 characters, without keys. `details`: `status`, `provider_code`, `model`.
    """
    if isinstance(exc, ModelFault):
        return exc
    if isinstance(exc, BaseExceptionGroup):
        return _classify_group(cast("BaseExceptionGroup[BaseException]", exc))
    if not isinstance(exc, Exception):
        return None
    body = _error_body(exc)
    status = _status(exc)
    code = _code(exc, status, body)
    if code is None:
        return None
    return _fault(exc, code, status, body)


def cut_short(response: ModelResponse) -> ModelFault | None:
    """The fault behind a streamed answer that ended before it was finished, or None if it is whole.

    A proxy that loses its upstream may end the stream politely. No error is raised then: pydantic-ai reports half a
    text as complete (chat completions even with finish reason `stop`), and only the absence of what a provider sends
    last gives it away. Such an answer must not be recorded. Call it on every streamed answer; others pass too.
    """
    if not _ended_early(response):
        return None
    message = f"{response.model_name}: the stream ended before the answer did."
    return ModelFault(message, code="model_connection", transient=True, model=response.model_name)


def _ended_early(response: ModelResponse) -> bool:
    if response.state == "incomplete":  # responses: no terminal event
        return True
    if response.provider_name == "anthropic":  # no message_delta with a stop reason
        return response.finish_reason is None
    # Chat completions: neither a finish reason of the provider's own nor the usage that follows it. Some servers at
    # home leave out one of the two.
    details = response.provider_details or {}
    return response.provider_name == "openai" and "finish_reason" not in details and not response.usage.has_values()


def _classify_group(group: BaseExceptionGroup[BaseException]) -> ModelFault | None:
    """All models of a fallback failed: worth another try if any of them is."""
    faults = [classify(exc) for exc in group.exceptions]
    if None in faults:
        return None
    return next((fault for fault in faults if fault is not None and fault.transient), faults[-1])


def _code(exc: Exception, status: int | None, body: Mapping[str, Any]) -> str | None:
    spoken = _spoken_code(body)
    if spoken is not None:
        return spoken
    by_class = _class_code(exc)
    if status is not None and status >= 300 and by_class in _VAGUE:
        return _status_code(status)
    if by_class in _REFINABLE:
        return _innermost_code(exc) or by_class
    return by_class or _cause_code(exc)


def _spoken_code(body: Mapping[str, Any]) -> str | None:
    """What the provider's own code, type or wording says."""
    for key in ("code", "type"):
        found = _BY_PROVIDER_CODE.get(str(body.get(key)))
        if found is not None:
            return found
    message = str(body.get("message") or "").lower()
    return next((code for phrase, code in _BY_PHRASE if phrase in message), None)


def _status_code(status: int) -> str:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return "model_server_error" if status >= 500 else "model_rejected"


def _class_code(exc: BaseException) -> str | None:
    for cls in type(exc).__mro__:
        package = cls.__module__.partition(".")[0]
        found = _BY_CLASS.get((package, cls.__name__)) if package in _PACKAGES else None
        if found is not None:
            return found
    return None


def _innermost_code(exc: BaseException) -> str | None:
    """Connection or timeout, by the deepest cause that says so.

    The SDKs' aiohttp transport reports a server that hung up as a connect *timeout*; the cause knows better.
    """
    codes = [_class_code(cause) for cause in _causes(exc)]
    return next((code for code in reversed(codes) if code in _REFINABLE), None)


def _cause_code(exc: Exception) -> str | None:
    """For pydantic-ai's bare `ModelAPIError`, which says nothing itself."""
    if not any(cls.__name__ == "ModelAPIError" for cls in type(exc).__mro__):
        return None
    codes = (_class_code(cause) for cause in _causes(exc))
    return _innermost_code(exc) or next((code for code in codes if code), "model_bad_response")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """What lies under `exc`, outermost first, at most `CAUSES_MAX` deep."""
    cause: BaseException | None = exc
    for _ in range(CAUSES_MAX):
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is None:
            return
        yield cause


def _status(exc: Exception) -> int | None:
    status = getattr(exc, "status_code", None)
    if not isinstance(status, int):
        status = getattr(getattr(exc, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _error_body(exc: Exception) -> dict[str, Any]:
    """The provider's error object, which some wrap in `error` and some do not; {} if there is none."""
    body = getattr(exc, "body", None)
    if isinstance(body, str):
        return {"message": body}
    if not isinstance(body, dict):
        code, kind = getattr(exc, "provider_error_code", None), getattr(exc, "provider_error_type", None)
        return {"code": code, "type": kind}
    found = cast("dict[str, Any]", body)
    inner = found.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else found


def _fault(exc: Exception, code: str, status: int | None, body: Mapping[str, Any]) -> ModelFault:
    headers = _headers(exc)
    details: dict[str, Any] = {"status": status, "model": getattr(exc, "model_name", None)}
    spoken = body.get("code") or body.get("type")
    details["provider_code"] = _safe(str(spoken))[:100] if spoken else None
    return ModelFault(
        _message(exc, code, status, body),
        code=code,
        transient=code in _TRANSIENT and headers.get("x-should-retry") != "false",
        retry_after_ms=_retry_after_ms(exc, headers) if code in _TRANSIENT else None,
        **{name: value for name, value in details.items() if value is not None},
    )


def _headers(exc: Exception) -> dict[str, str]:
    headers: Any = getattr(exc, "headers", None) or getattr(getattr(exc, "response", None), "headers", None)
    given: dict[str, str] = dict(headers or {})
    return {name.lower(): value for name, value in given.items()}


def _retry_after_ms(exc: Exception, headers: Mapping[str, str]) -> int | None:
    """From `retry-after-ms` (milliseconds) or `Retry-After` (seconds or a date, RFC 9110 §10.2.3)."""
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return round(ms)
    raw = headers.get("retry-after")
    if raw is None:
        stated = getattr(exc, "retry_after", None)  # a provider may say it in the body; pydantic-ai reads that
        return round(stated * 1000) if isinstance(stated, int | float) else None
    if (seconds := _number(raw)) is not None:
        return round(seconds * 1000)
    try:
        at_ms = parsedate_to_datetime(raw).timestamp() * 1000
    except (ValueError, OverflowError):
        return None
    return max(0, round(at_ms) - determinism.system_now_ms())


def _number(raw: str | None) -> float | None:
    try:
        number = float(raw or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def _message(exc: Exception, code: str, status: int | None, body: Mapping[str, Any]) -> str:
    model = getattr(exc, "model_name", None)
    where = ", ".join(str(item) for item in (model, f"HTTP {status}" if status else None) if item)
    said = _said(exc, code, status, body)
    return _safe(f"{where}: {said}" if where else said)


def _said(exc: Exception, code: str, status: int | None, body: Mapping[str, Any]) -> str:
    """The provider's own sentence; not the text of an exception that quotes a whole body."""
    said = body.get("message")
    if isinstance(said, str) and said and not isinstance(getattr(exc, "body", None), str):
        return said
    if status is not None:
        return f"the provider refused the request ({code})."
    if code in _REFINABLE:
        # Not the outer text: it may speak of a timeout where the server hung up.
        reason = str(next((cause for cause in reversed([exc, *_causes(exc)]) if _class_code(cause) == code), exc))
        return f"{_REFINED[code]} ({reason})." if reason else f"{_REFINED[code]}."
    text = str(getattr(exc, "message", None) or exc or type(exc).__name__)
    return text[:UNREADABLE_CHARS_MAX] if code == "model_bad_response" else text


_SECRETS = re.compile(
    r"""\b(?:sk|pk|rk|xai|gsk|ghp|hf|glpat)[-_][\w*.-]{8,}            # keys as providers shape them, masked ones too
      | \bAIza[\w-]{20,}
      | \beyJ[\w-]{10,}\.[\w.-]+                                       # JWT
      | (?<=Bearer\ )\S+
      | (?<=api_key=)\S+ | (?<=x-api-key:\ )\S+""",
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_NAMES = ("_API_KEY", "_AUTH_TOKEN", "_ACCESS_KEY", "_SECRET", "_TOKEN")


def _safe(text: str) -> str:
    """One line of at most `MESSAGE_CHARS_MAX` characters, without anything that is, or looks like, a credential."""
    for name, value in os.environ.items():
        if name.endswith(_SECRET_NAMES) and len(value) >= 8:
            text = text.replace(value, "[redacted]")
    text = " ".join(_SECRETS.sub("[redacted]", text[: MESSAGE_CHARS_MAX * 4]).split())
    return text if len(text) <= MESSAGE_CHARS_MAX else text[: MESSAGE_CHARS_MAX - 1] + "…"


# --- price -----------------------------------------------------------------------------------------------------------

PRICED_BY_PROVIDER: Final = "provider"


@dataclass(frozen=True, slots=True)
class Price:
    """What one answer cost in millionths of a US dollar; `priced` is false, and the cost 0, if nobody knows."""

    cost_micros: int
    priced: bool
    price_version: str


@dataclass(frozen=True, slots=True)
class _Rates:
    """What a model's tokens cost. A price in dollars per million tokens is one in micro-dollars per token.

    Only for models with flat prices, where the library's answer is linear in these four counts. `variant_keys` are the
    details of an answer (such as its service tier) that may select other prices.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    variant_keys: frozenset[str]


@dataclass(slots=True)
class _PriceBook:
    """Look-ups of one snapshot of genai-prices, kept because each costs more than all the rest of pricing."""

    snapshot: Any
    version: str
    models: dict[tuple[str, str | None, str | None], tuple[Provider, ModelInfo, _Rates | None] | None]


_book: _PriceBook | None = None


def price(response: ModelResponse) -> Price:
    """What `response` cost by the prices that came with the installed genai-prices; never the network.

    A cost that the provider or a gateway reported itself wins. `priced` is false for a model that nobody knows, and
    for usage that the provider did not measure or that contradicts itself.
    """
    usage = response.usage
    reported = getattr(usage, "cost", None)
    if reported is not None:
        return Price(_micros(Decimal(reported) * 1_000_000), True, PRICED_BY_PROVIDER)
    book = _price_book()
    entry = _lookup(book, response.model_name, response.provider_url, response.provider_name)
    if entry is None or _is_unmeasured(usage):
        return Price(0, False, book.version)
    provider, model, rates = entry
    cost = None
    if rates is not None and rates.variant_keys.isdisjoint(response.provider_details or ()):
        cost = _linear_cost(usage, rates)
    if cost is None:
        cost = _library_cost(response, provider, model)
    return Price(0, False, book.version) if cost is None else Price(_micros(cost), True, book.version)


def usage_of(response: ModelResponse, priced: Price) -> Usage:
    """Tokens and cost of one answer, as a run adds them up. Cached tokens are part of `input_tokens`."""
    usage = response.usage
    return Usage(1, usage.input_tokens, usage.output_tokens, priced.cost_micros, priced.priced)


def _price_book() -> _PriceBook:
    global _book
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    if _book is None or _book.snapshot is not snapshot:
        _book = _PriceBook(snapshot, _price_version(snapshot), {})
    return _book


def _price_version(snapshot: Any) -> str:
    base = f"genai-prices/{version('genai-prices')}"
    # The user may have started genai-prices' own background update.
    return f"{base}+{snapshot.timestamp:%Y%m%d}" if snapshot.from_auto_update else base


def _lookup(
    book: _PriceBook, model: str | None, url: str | None, name: str | None
) -> tuple[Provider, ModelInfo, _Rates | None] | None:
    if not model:
        return None
    key = (model, url, name)
    if key not in book.models:
        if len(book.models) >= RATES_MAX:
            book.models.clear()
        book.models[key] = _find(book, model, url, name)
    return book.models[key]


def _find(
    book: _PriceBook, model: str, url: str | None, name: str | None
) -> tuple[Provider, ModelInfo, _Rates | None] | None:
    """By the URL, which tells resellers apart, then by the provider's name."""
    for provider_id, api_url in ((None, url), (name, None)):
        if provider_id or api_url:
            try:
                provider, info = book.snapshot.find_provider_model(model, None, provider_id, api_url)
            except LookupError:
                continue
            return provider, info, _rates(provider, info)
    return None


def _rates(provider: Provider, info: ModelInfo) -> _Rates | None:
    """The model's flat rates, asked of the library itself with a million tokens of each kind; None if not flat."""
    from genai_prices.types import ModelPrice
    from genai_prices.types import Usage as Tokens

    prices = info.prices
    if not isinstance(prices, ModelPrice) or not _is_flat(prices):
        return None
    million = 1_000_000

    def cost(**tokens: int) -> Decimal:
        return info.calc_price(Tokens(**tokens), provider).total_price

    try:
        return _Rates(
            cost(input_tokens=million),
            cost(output_tokens=million),
            cost(input_tokens=million, cache_read_tokens=million),
            cost(input_tokens=million, cache_write_tokens=million),
            frozenset(key for variant in info.price_variants or () for key in variant.when),
        )
    except (ValueError, LookupError):
        return None


def _is_flat(prices: ModelPrice) -> bool:
    """No tiers, and nothing for the request itself, which tokens alone do not show."""
    given = {name: value for name, value in vars(prices).items() if value is not None and not name.startswith("_")}
    return all(isinstance(value, Decimal) for value in given.values()) and "requests_kcount" not in given


_LINEAR = frozenset({"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"})
_UNPRICED = frozenset({"details", "cost", "unmeasured_requests"})


def _linear_cost(usage: Any, rates: _Rates) -> Decimal | None:
    """Micro-dollars, or None if the usage holds more than plain and cached tokens (audio, searches …)."""
    counts = cast("dict[str, Any]", vars(usage))
    for name, value in counts.items():
        if value and name not in _LINEAR and name not in _UNPRICED:
            return None
    read, write = usage.cache_read_tokens, usage.cache_write_tokens
    fresh = usage.input_tokens - read - write
    if fresh < 0:
        return None  # contradicts itself; the library decides
    cost = rates.input * fresh + rates.output * usage.output_tokens
    return cost + rates.cache_read * read + rates.cache_write * write if read or write else cost


def _library_cost(response: ModelResponse, provider: Provider, model: ModelInfo) -> Decimal | None:
    try:
        found = model.calc_price(
            response.usage,
            provider,
            genai_request_timestamp=response.timestamp,
            price_context=response.provider_details,
        )
    except (LookupError, ValueError):
        return None
    return found.total_price * 1_000_000


def _is_unmeasured(usage: Any) -> bool:
    """The provider did not say; a count of 0 is then not a price of 0."""
    return bool(getattr(usage, "unmeasured_requests", 0)) and not usage.input_tokens and not usage.output_tokens


def _micros(cost: Decimal) -> int:
    return int(cost.to_integral_value(ROUND_HALF_EVEN))


__all__ = ["Price", "aclose", "classify", "cut_short", "model_name", "price", "resolve", "usage_of"]
