"""`ctx.step`: a plain function, or a tool, as a step; and how values go through JSON and come back as themselves.

What a step returns is what a resumed run would get: the value has been encoded and validated again, so that code which
works the first time works after a crash.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError

from holdfast.agents import base
from holdfast.agents.base import Action, Agent, Body, Outcome, Recorded, Retry
from holdfast.agents.tools import Tool
from holdfast.domain.agents import EffectClass
from holdfast.domain.encoding import checked, decode, encode
from holdfast.domain.errors import Invalid, StepFailed
from holdfast.domain.journal import StepKind

_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Call:
    """What `ctx.step` was given."""

    name: str
    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    retry: Retry
    timeout: timedelta | None
    returns: Any


def planned(ctx: base.RunContext, call: Call) -> tuple[Action, Body]:
    """The action and the body of a step."""
    given: list[Any] | dict[str, Any] = list(call.args)
    if call.kwargs:
        given = {"args": given, "kwargs": call.kwargs}
    is_tool = isinstance(call.fn, Tool)
    effect = cast("Tool[..., Any]", call.fn).effect if is_tool else None
    timeout_ms = _timeout_ms(call)
    action = Action(
        kind=StepKind.TOOL if is_tool else StepKind.CODE,
        name=call.name,
        arguments=given,
        write_behind=effect is EffectClass.READ,
        opens=is_tool and effect is not EffectClass.READ,
        retry=call.retry,
        timeout_ms=timeout_ms,
    )
    return action, _tool_body(ctx, call) if is_tool else _code_body(ctx, call)


def _timeout_ms(call: Call) -> int | None:
    if call.timeout is not None:
        milliseconds = round(call.timeout.total_seconds() * 1000)
        if milliseconds <= 0:
            raise Invalid(f"The timeout of step {call.name!r} is {call.timeout}; it has to be positive.")
        return milliseconds
    return cast("Tool[..., Any]", call.fn).timeout_ms if isinstance(call.fn, Tool) else None


def _code_body(ctx: base.RunContext, call: Call) -> Body:
    is_async = _is_async(call.fn)

    async def body(attempt: base.Attempt) -> Outcome:
        if is_async:
            value = await call.fn(*call.args, **call.kwargs)
        else:
            value = await ctx.blocking(call.fn, *call.args, **call.kwargs)
            if inspect.isawaitable(value):
                value = await value
        return _outcome(call, value)

    return body


def _is_async(function: Any) -> bool:
    try:
        return _is_async_cached(function)
    except TypeError:  # a callable object that cannot be hashed
        return inspect.iscoroutinefunction(type(function).__call__)


@functools.lru_cache(maxsize=1_024)
def _is_async_cached(function: Any) -> bool:
    if inspect.isroutine(function) or isinstance(function, functools.partial):
        return inspect.iscoroutinefunction(cast(Any, function))
    return inspect.iscoroutinefunction(type(function).__call__)


def _tool_body(ctx: base.RunContext, call: Call) -> Body:
    tool = cast("Tool[..., Any]", call.fn)

    async def body(attempt: base.Attempt) -> Outcome:
        if not await ctx.tool_enabled(tool.name):
            raise StepFailed(f"The tool {tool.name!r} is switched off.", code="tool_disabled")
        value = await tool.invoke(ctx, *call.args, key=attempt.key, attempt=attempt.number, **call.kwargs)
        return _outcome(call, value)

    return body


def _outcome(call: Call, value: Any) -> Outcome:
    adapter = _adapter(call)
    if adapter is None or isinstance(value, _SCALARS):
        return Outcome(payload=encode(value, what=f"What step {call.name!r} returned"))
    try:
        encoded = adapter.dump_json(value, by_alias=True)
    except (PydanticSerializationError, UnicodeEncodeError, ValueError, RecursionError):
        encoded = encode(value, what=f"What step {call.name!r} returned")  # not what its annotation says it is
    return Outcome(payload=checked(encoded, what=f"What step {call.name!r} returned"))


def value_of(call: Call, recorded: Recorded) -> Any:
    """The step's value; raises `StepFailed` as recorded."""
    payload = recorded.unwrap()
    adapter = _adapter(call)
    if payload is None or adapter is None:
        return decode(payload)
    try:
        return adapter.validate_json(payload)
    except ValidationError as exc:
        raise StepFailed(
            f"What step {call.name!r} recorded is not a {call.returns or 'value of the annotated type'}: {exc}",
            code="step_result_mismatch",
            step=recorded.key,
        ) from None


def _adapter(call: Call) -> TypeAdapter[Any] | None:
    if call.returns is not None:
        return _adapter_of(call.returns)
    function: Any = cast("Tool[..., Any]", call.fn).spec.fn if isinstance(call.fn, Tool) else call.fn
    return _declared(function)


def _declared(function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    try:
        return _declared_cached(function)
    except TypeError:  # a callable object that cannot be hashed
        return None


@functools.lru_cache(maxsize=1_024)
def _declared_cached(function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """The return annotation's validator, if there is an annotation that says something."""
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        returns = get_type_hints(target, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return None
    return None if returns is Any or returns is type(None) else _adapter_of(returns)


def _adapter_of(returns: Any) -> TypeAdapter[Any] | None:
    try:
        return _adapter_cached(returns)
    except TypeError:
        return TypeAdapter[Any](returns)


@functools.lru_cache(maxsize=1_024)
def _adapter_cached(returns: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter[Any](returns)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None  # a class that JSON cannot hold says so when it is encoded


def child_output(child: Agent, payload: bytes | None) -> Any:
    """A child's output, as its declared type if it has one."""
    decoder = getattr(child, "decode_output", None)
    if decoder is not None and payload is not None:
        return decoder(payload)
    return decode(payload)
