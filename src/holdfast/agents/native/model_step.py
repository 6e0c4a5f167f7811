"""One model call as a step: what is sent, how it is retried, what of the answer is recorded.

The answer is recorded whole, whether it was streamed or not; deltas are for those who listen as the call starts.
Streaming costs twice the CPU, so a call streams only if somebody listens, or the agent says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model
from pydantic_core import to_json

from holdfast.agents import base, models
from holdfast.agents.native import messages as stored
from holdfast.agents.native.plan import Asked
from holdfast.agents.native.prompt import Prompt, record
from holdfast.domain import limits
from holdfast.domain.errors import ModelFault, StepFailed
from holdfast.domain.journal import NewBlob


def is_transient(exc: Exception) -> bool:
    fault = models.classify(exc)
    return fault is not None and fault.transient


MODEL_RETRY = base.Retry(attempts=limits.MODEL_ATTEMPTS, on=is_transient)


def retry_of(given: base.Retry) -> base.Retry:
    """A retry for model calls: without a rule of its own it tries again what may pass, never a wrong key."""
    return replace(given, on=is_transient) if given.on is Exception else given


async def request(
    attempt: base.Attempt, model: Model, sent: list[ModelMessage], asked: Asked, *, streams: bool, timeout_ms: int
) -> ModelResponse:
    """Ask the model; whatever goes wrong at the provider comes out as a `ModelFault`."""
    try:
        # What a provider cannot take as it is (long call ids, system text in the middle) is part of how it is written
        # on the wire, like the rest of what the model layer does: a function of the prompt, and not recorded.
        sent = model.prepare_messages(sent, asked.params)
        async with asyncio.timeout(timeout_ms / 1000):
            if streams:
                return await _streamed(attempt, model, sent, asked)
            return await model.request(sent, asked.settings, asked.params)
    except Exception as exc:
        fault = models.classify(exc)
        if fault is None or fault is exc:
            raise
        raise fault from exc


async def _streamed(attempt: base.Attempt, model: Model, sent: list[ModelMessage], asked: Asked) -> ModelResponse:
    try:
        stream = model.request_stream(sent, asked.settings, asked.params)
        async with stream as response:
            async for event in response:
                if isinstance(event, PartStartEvent):
                    _started(attempt, event)
                elif isinstance(event, PartDeltaEvent):
                    _moved(attempt, event)
            whole = response.get()
            fault = models.cut_short(whole)  # a stream that ended early but politely raises nothing
            if fault is not None:
                raise fault
            return whole
    except NotImplementedError:  # a model that cannot stream says so before it sends anything
        return await model.request(sent, asked.settings, asked.params)


def _started(attempt: base.Attempt, event: PartStartEvent) -> None:
    match event.part:
        case TextPart(content=text) if text:
            attempt.delta(event.index, "text", text)
        case ThinkingPart(content=text) if text:
            attempt.delta(event.index, "thinking", text)
        case ToolCallPart(args=args) if args:
            attempt.delta(event.index, "tool_call", _as_text(args))
        case _:
            pass


def _moved(attempt: base.Attempt, event: PartDeltaEvent) -> None:
    match event.delta:
        case TextPartDelta(content_delta=text) if text:
            attempt.delta(event.index, "text", text)
        case ThinkingPartDelta(content_delta=str() as text) if text:
            attempt.delta(event.index, "thinking", text)
        case ToolCallPartDelta(args_delta=args) if args:
            attempt.delta(event.index, "tool_call", _as_text(args))
        case _:
            pass


def _as_text(args: Any) -> str:
    return args if isinstance(args, str) else to_json(args).decode()


def outcome(
    response: ModelResponse, prompt: Prompt, asked: Asked, sent: Sequence[ModelMessage] | None = None
) -> base.Outcome:
    """What to record of an answer: itself, what it used, and what was asked."""
    recorded, blobs = asking(prompt, asked, sent)
    price = models.price(response)
    payload, as_it_is = stored.pack(response)
    return base.Outcome(
        payload=payload,
        value=response if as_it_is else None,
        usage=models.usage_of(response, price),
        price_version=price.price_version,
        prompt=recorded,
        blobs=blobs,
    )


def asking(
    prompt: Prompt, asked: Asked, sent: Sequence[ModelMessage] | None = None
) -> tuple[bytes, tuple[NewBlob, ...]]:
    """The record of what a model is asked, and the blobs that it names."""
    segments, blobs = prompt.segments(sent)
    return record(segments, asked.blob.hash), (asked.blob, *blobs) if blobs else (asked.blob,)


def demand(recorded: base.Recorded) -> None:
    """Raise if the step failed: the provider's fault by its code, the same on the first run and on replay."""
    error = recorded.error
    if error is None:
        return
    if error.code.startswith("model_"):
        raise ModelFault(error.message, code=error.code, step=recorded.key)
    raise StepFailed(error.message, code=error.code, error_type=error.error_type, step=recorded.key)


def response_of(recorded: base.Recorded) -> ModelResponse:
    """The live answer, or the recorded one."""
    if isinstance(recorded.value, ModelResponse):
        return recorded.value
    return stored.unpack(recorded.payload) or ModelResponse(parts=[], timestamp=stored.NO_TIME)
