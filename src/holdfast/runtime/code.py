"""`ctx.step`: a plain function, or a tool, as a step; and how values go through JSON and come back as themselves.

What a step returns is what a resumed run would get: the value has been encoded and validated again, so that code which
works the first time works after a crash.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError

from holdfast.agents import base
from holdfast.agents.base import Action, Agent, Body, Outcome, Recorded, Retry, StepError
from holdfast.agents.effects import Held, ToolRequest
from holdfast.agents.tools import Tool
from holdfast.domain import limits
from holdfast.domain.effects import EffectClass, NotDone
from holdfast.domain.encoding import checked, decode, encode
from holdfast.domain.errors import HoldfastError, Invalid, StepFailed
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
    simulate: Any = base.UNSET


def is_held(call: Call) -> bool:
    """Whether the step is the call of a tool that may change something, or has rules."""
    if not isinstance(call.fn, Tool):
        return False
    contract = cast("Tool[..., Any]", call.fn).contract
    return contract.effect is not EffectClass.READ or bool(contract.rules) or contract.external


def request(ctx: base.RunContext, call: Call) -> ToolRequest:
    """The step as a tool's call."""
    tool = cast("Tool[..., Any]", call.fn)
    spec = tool.spec
    try:
        arguments = tool.bound(call.args, call.kwargs)
    except TypeError as exc:
        raise Invalid(f"Step {call.name!r}: {spec.name}() {exc}.") from None

    async def invoke(attempt: Held, typed: dict[str, Any]) -> Any:
        return await tool.invoke_validated(ctx, typed, key=attempt.key, attempt=attempt.number, handle=attempt.handle)

    return ToolRequest(
        tool=spec.name,
        name=call.name,
        agent=ctx.acting_agent,
        contract=spec.contract,
        version=spec.version,
        timeout_ms=_timeout_ms(call) or spec.timeout_ms,
        schema=spec.parameters,
        asked=_given(call),
        arguments=arguments,
        validated=False,
        validate=spec.validate,
        invoke=invoke,
        succeeded=lambda value, notes: outcome_of(call, value),
        failed=_failed,
        rules=spec.contract.rules,
        tries=call.retry.attempts if call.retry.attempts > 1 else None,
        returns=_returns(call),
    )


def _returns(call: Call) -> dict[str, Any] | None:
    """The JSON schema of the step's value, if its type has one."""
    adapter = _adapter(call)
    try:
        return None if adapter is None else _schema_of(adapter)
    except PydanticInvalidForJsonSchema:
        return None


@functools.lru_cache(maxsize=1_024)
def _schema_of(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    return adapter.json_schema()


def _failed(exc: Exception) -> Outcome:
    return Outcome(payload=None, failure=failure_of(exc))


def failure_of(exc: Exception) -> StepError:
    """How an exception stands in the journal. The message of a foreign one is cut; it is text, not data."""
    text = str(exc).encode("utf-8", "replace").decode()[: limits.ERROR_CHARS_MAX]
    if isinstance(exc, StepFailed):
        return StepError(exc.code, text, exc.error_type or type(exc).__name__, _plain(exc.details))
    if isinstance(exc, HoldfastError):
        return StepError(exc.code, text, type(exc).__name__, _plain(exc.details))
    if isinstance(exc, NotDone):
        return StepError("not_done", text, "NotDone")
    return StepError("step_failed", text or type(exc).__name__, type(exc).__name__)


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if isinstance(value, (str, int, float, bool, type(None)))}


def _given(call: Call) -> list[Any] | dict[str, Any]:
    return {"args": list(call.args), "kwargs": call.kwargs} if call.kwargs else list(call.args)


def planned(ctx: base.RunContext, call: Call) -> tuple[Action, Body]:
    """The action and the body of a step that changes nothing that we would know of."""
    is_tool = isinstance(call.fn, Tool)
    action = Action(
        kind=StepKind.TOOL if is_tool else StepKind.CODE,
        name=call.name,
        arguments=_given(call),
        write_behind=is_tool,
        retry=call.retry,
        timeout_ms=_timeout_ms(call),
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
        return outcome_of(call, value)

    return body


async def simulated(ctx: base.RunContext, simulate: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What stands in for a call that is not made: a value, or what a function of its arguments makes of them."""
    if not callable(simulate):
        return simulate
    if _is_async(simulate):
        return await cast(Any, simulate)(*args, **kwargs)
    return await ctx.blocking(cast(Any, simulate), *args, **kwargs)


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
        with ctx.scope(attempt.key):  # its steps have keys of their own: resumed, a recorded tool does not run again
            value = await tool.invoke(ctx, *call.args, key=attempt.key, attempt=attempt.number, **call.kwargs)
        return outcome_of(call, value)

    return body


def outcome_of(call: Call, value: Any) -> Outcome:
    """What to record of a value that the step came to."""
    adapter = _adapter(call)
    if adapter is None or isinstance(value, _SCALARS):
        return Outcome(payload=encode(value, what=f"What step {call.name!r} returned"))
    try:
        encoded = adapter.dump_json(value, by_alias=True, warnings="error")
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
