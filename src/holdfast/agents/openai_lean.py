"""An `AsyncOpenAI` that sends pydantic-ai's request bodies as they are.

pydantic-ai hands the SDK finished wire dicts. The SDK walks them once more against its TypedDict annotations (aliases,
dates, files: none of which occurs in them), and that walk grows with the history: it costs more than everything else
in a call of 40 messages. Here `chat.completions.create` and `responses.create` go straight to `client.post`, the
SDK's documented door for endpoints without a method, with the types the SDK itself would have used for the answer.

Invariant: for every request that pydantic-ai makes, body bytes, headers and parsed answer equal the stock client's.
`tests/agents/test_openai_lean.py` guards it over generated histories; `HOLDFAST_STOCK_OPENAI_CLIENT=1` goes back to
the stock client. A value that only the walk could encode fails loudly in the JSON encoder, before anything is sent.

Rejected: patching the transform away (global, private), and our own HTTP client (errors, streams, auth would be ours).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, cast

from openai import AsyncOpenAI, AsyncStream, NotGiven, Omit, RequestOptions, __version__
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions
from openai.resources.responses import AsyncResponses
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import ValidationError


def _keys(names: str) -> tuple[str, ...]:
    return tuple(names.split())


# The order in which the SDK writes the keys. JSON does not care; byte equality, which the parity test asks for, does.
# A key that is not listed (a newer SDK's) goes last.
_CHAT_KEYS = _keys(
    "model stream service_tier messages audio frequency_penalty function_call functions logit_bias logprobs "
    "max_completion_tokens max_tokens metadata modalities moderation n parallel_tool_calls prediction "
    "presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format "
    "safety_identifier seed stop store stream_options temperature tool_choice tools top_logprobs top_p user verbosity "
    "web_search_options"
)
_RESPONSES_KEYS = _keys(
    "model stream service_tier access_programs background context_management conversation image include input "
    "instructions max_output_tokens max_tool_calls metadata moderation parallel_tool_calls previous_response_id "
    "prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier store "
    "stream_options temperature text tool_choice tools top_logprobs top_p truncation user"
)
# What every `create` takes beside the body's own keys.
_OPTION_KEYS = {"extra_headers": "headers", "extra_query": "params", "extra_body": "extra_json"}


class LeanAsyncOpenAI(AsyncOpenAI):
    """`AsyncOpenAI` whose chat completions and responses skip the SDK's walk over the request; the rest is stock."""

    @cached_property
    def chat(self) -> AsyncChat:  # pyright: ignore[reportIncompatibleMethodOverride] # typed as a property
        return _LeanChat(self)

    @cached_property
    def responses(self) -> AsyncResponses:  # pyright: ignore[reportIncompatibleMethodOverride] # typed as a property
        return _LeanResponses(self)

    @property
    def user_agent(self) -> str:
        return f"AsyncOpenAI/Python {__version__}"  # the SDK writes the name of the class, and that is ours


class _LeanChat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:  # pyright: ignore[reportIncompatibleMethodOverride] # as above
        return _LeanCompletions(self._client)


class _LeanCompletions(AsyncCompletions):
    async def create(self, **params: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # 30 overloads
        if isinstance(params.get("response_format"), type):
            stock: Any = super().create
            return await stock(**params)  # the SDK refuses a class here, and explains it
        options = _take_options(params)
        body = _ordered(params, _CHAT_KEYS)
        return await self._client.post(
            "/chat/completions",
            body=body,
            options=options,
            cast_to=_Completion,
            stream=bool(body.get("stream")),
            stream_cls=AsyncStream[ChatCompletionChunk],
        )


class _Completion(ChatCompletion):
    """How to read a chat completion, in the SDK's terms a model builder: pydantic's own parser, a sixth of the time.

    An answer that does not fit is built the SDK's way, which takes anything: what is wrong with it is for pydantic-ai
    to say, which validates every answer.
    """

    @classmethod
    def build(cls, *, response: Any, data: Any) -> Any:
        try:
            return ChatCompletion.model_validate(data)
        except ValidationError:
            return ChatCompletion.construct(**cast("dict[str, Any]", data)) if isinstance(data, dict) else data


class _LeanResponses(AsyncResponses):
    async def create(self, **params: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # 3 overloads
        options = _take_options(params)
        body = _ordered(params, _RESPONSES_KEYS)
        return await self._client.post(
            "/responses",
            body=body,
            options=options,
            cast_to=Response,
            stream=bool(body.get("stream")),
            stream_cls=AsyncStream[ResponseStreamEvent],
        )


def _take_options(params: dict[str, Any]) -> RequestOptions:
    """Move the `extra_*` and `timeout` arguments out of `params` into the options of the request."""
    options: Any = {"security": {"bearer_auth": True}}
    for argument, option in _OPTION_KEYS.items():
        value = params.pop(argument, None)
        if value is not None:
            options[option] = value
    timeout = params.pop("timeout", NotGiven())
    if not isinstance(timeout, NotGiven):
        options["timeout"] = timeout  # None is a value here: no timeout
    return options


def _ordered(params: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The given values of `params` in the SDK's order; `None` is a value and stays."""
    body = {key: params[key] for key in keys if key in params}
    if len(body) != len(params):
        body.update((key, value) for key, value in params.items() if key not in body)
    return {key: value for key, value in body.items() if not isinstance(value, NotGiven | Omit)}
