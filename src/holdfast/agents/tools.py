"""Tools: what a model may call. A function with a schema, a name and a word on what it may change.

Owns how a tool is declared, how arguments from outside are validated, and what a tool's function sees (`ToolContext`).
Schemas and validators are built once, when the tool is declared; a call does no schema work. How a call becomes a step
is not decided here: `native/calls.py` does that for models, the runtime for `ctx.step(name, a_tool)`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, update_wrapper
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, get_origin, get_type_hints, overload

from pydantic import ValidationError
from pydantic_ai import ModelRetry, ToolReturn
from pydantic_ai import Tool as _SchemaTool
from pydantic_core import from_json

from holdfast.agents import base
from holdfast.domain import limits
from holdfast.domain.agents import EffectClass
from holdfast.domain.encoding import encode
from holdfast.domain.errors import DefinitionError, HoldfastError, NotEncodable

__all__ = ["InvalidArguments", "ModelRetry", "Tool", "ToolContext", "ToolReturn", "tool"]

P = ParamSpec("P")
R = TypeVar("R")
DepsT = TypeVar("DepsT")

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
RESERVED_PREFIXES: Final = ("final_result", "transfer_to_")
ERRORS_SHOWN_MAX: Final = 20
TIMEOUT_S_MAX: Final = 1_000_000


class InvalidArguments(HoldfastError):
    """The arguments of a tool call do not fit the tool's schema."""

    code = "invalid_arguments"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        self.errors = errors
        super().__init__(described(errors))


def described(errors: list[dict[str, Any]]) -> str:
    """Validation errors as lines that a model or a person can act on."""
    shown = [f"- {'.'.join(map(str, e['loc'])) or '(all)'}: {e['msg']}" for e in errors[:ERRORS_SHOWN_MAX]]
    if len(errors) > ERRORS_SHOWN_MAX:
        shown.append(f"- and {len(errors) - ERRORS_SHOWN_MAX} more")
    return f"{len(errors)} validation error{'s' if len(errors) != 1 else ''}:\n" + "\n".join(shown)


def errors_of(exc: ValidationError) -> list[dict[str, Any]]:
    """pydantic's errors as `{loc, msg}`, without the input, which may be large or secret."""
    found = exc.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": list(e["loc"]), "msg": e["msg"]} for e in found]


class ToolContext(Generic[DepsT]):
    """What a tool's function sees of the run, as its first parameter if it is annotated so.

    `key` is the step's key, the same whenever this call is tried again; `attempt` the try, from 1.
    """

    __slots__ = ("_run", "_sync", "attempt", "key")

    def __init__(self, run: base.Context, *, key: str, attempt: int, sync: bool = False) -> None:
        self._run = run
        self._sync = sync
        self.key = key
        self.attempt = attempt

    @property
    def run_id(self) -> str:
        return self._run.info.run_id

    @property
    def thread_id(self) -> str:
        return self._run.info.thread_id

    @property
    def tenant_id(self) -> str:
        return self._run.info.tenant_id

    @property
    def principal_id(self) -> str:
        return self._run.info.principal_id

    @property
    def metadata(self) -> dict[str, Any]:
        """What the run was started with as `metadata`."""
        return self._run.info.metadata

    @property
    def deps(self) -> DepsT:
        """What was given as `Holdfast(deps=…)`."""
        return cast(DepsT, self._run.deps)

    def emit(self, name: str, data: Any = None) -> Awaitable[None]:
        """Send a custom event to the run's stream, once, even if the tool is tried again. For async tools."""
        self._demand_async("emit")
        return self._run.emit(name, data)

    def call(self, agent: Any, input: Any = None, *, name: str | None = None) -> Awaitable[Any]:
        """Run another agent as a child run; its output when it ended. For async tools.

        The tool's own timeout goes on while the child runs. Raises `ChildFailed` if the child did not succeed.
        """
        self._demand_async("call")
        return self._run.call(agent, input, name=name)

    def _demand_async(self, what: str) -> None:
        if self._sync:
            raise RuntimeError(f"ctx.{what} belongs to the event loop, but this tool runs in a thread: make it async.")


Validate = Callable[["str | dict[str, Any] | None"], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool's definition. `parameters` is the JSON schema of its arguments, times are milliseconds."""

    name: str
    description: str
    parameters: dict[str, Any]
    effect: EffectClass
    sequential: bool
    timeout_ms: int
    retries: int | None
    version: str
    fn: Callable[..., Any]
    takes_ctx: bool
    is_async: bool
    validate: Validate
    positional: tuple[str, ...] = ()
    var_positional: str | None = None
    agent: base.Agent | None = None


class Tool(Generic[P, R]):
    """Something a model may call. `@tool` makes one of a function; this constructor one of a JSON schema.

    Args:
        name: 1 to 64 letters, digits, `_` and `-`; what the model calls.
        description: what the model reads about when to use it.
        parameters: the JSON schema (draft 2020-12, of type object) that arguments are validated against.
        call: `async def call(ctx: ToolContext, **arguments)`; may be sync, then it runs in a thread.
        effect: `"read"` if it changes nothing: it may run again after a crash. Omitted, it may change something, and
            its step is durable before anything else happens.
        sequential: it runs alone, after the calls before it in the same answer and before those after it.
        timeout: seconds or a timedelta, 60 s unless given; then the model is told.
        retries: how many times in a row the model may get it wrong before the run fails; the agent's unless given.
        version: change it when the tool means something else while name and schema stay.
    """

    def __init__(
        self,
        *,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        call: Callable[..., Any],
        effect: Literal["read"] | None = None,
        sequential: bool = False,
        timeout: timedelta | float | None = None,
        retries: int | None = None,
        version: str = "1",
    ) -> None:
        schema = dict(parameters)
        self.spec = checked(
            ToolSpec(
                name=name,
                description=description,
                parameters=schema,
                effect=effect_of(effect),
                sequential=sequential,
                timeout_ms=timeout_ms_of(timeout),
                retries=retries,
                version=version,
                fn=call,
                takes_ctx=True,
                is_async=inspect.iscoroutinefunction(call),
                validate=schema_validator(name, schema),
            )
        )

    @classmethod
    def of(cls, spec: ToolSpec) -> Tool[..., Any]:
        """A tool of a ready definition."""
        made = cast("Tool[..., Any]", object.__new__(cls))
        made.spec = checked(spec)
        return made

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The plain function, as if it had not been decorated: no run, no step, no validation."""
        return self.spec.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.spec.name}>"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def description(self) -> str:
        return self.spec.description

    @property
    def effect(self) -> EffectClass:
        return self.spec.effect

    @property
    def timeout_ms(self) -> int:
        return self.spec.timeout_ms

    def definition(self) -> dict[str, Any]:
        """What the API shows."""
        s = self.spec
        return {
            "name": s.name,
            "description": s.description,
            "schema": s.parameters,
            "effect": s.effect.value,
            "timeout_ms": s.timeout_ms,
        }

    def identity(self) -> dict[str, Any]:
        """What the agent's fingerprint takes of it: not the source, whose changes `version` declares."""
        return {**self.definition(), "version": self.spec.version, "sequential": self.spec.sequential}

    async def invoke(self, run: base.RunContext, *args: Any, key: str, attempt: int, **kwargs: Any) -> Any:
        """Run the function, with a `ToolContext` in front if it takes one; sync functions run in a thread."""
        s = self.spec
        front = (ToolContext[Any](run, key=key, attempt=attempt, sync=not s.is_async),) if s.takes_ctx else ()
        if s.is_async:
            return await s.fn(*front, *args, **kwargs)
        result = await run.blocking(s.fn, *front, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def invoke_validated(self, run: base.RunContext, arguments: dict[str, Any], *, key: str, attempt: int) -> Any:
        """`invoke` with what `spec.validate` returned."""
        s = self.spec
        if not s.positional and s.var_positional is None:
            return await self.invoke(run, key=key, attempt=attempt, **arguments)
        named = dict(arguments)
        args = [named.pop(name) for name in s.positional]
        args.extend(named.pop(s.var_positional) if s.var_positional else ())
        return await self.invoke(run, *args, key=key, attempt=attempt, **named)


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Literal["read"] | None = None,
    sequential: bool = False,
    timeout: timedelta | float | None = None,
    retries: int | None = None,
    version: str = "1",
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Literal["read"] | None = None,
    sequential: bool = False,
    timeout: timedelta | float | None = None,
    retries: int | None = None,
    version: str = "1",
) -> Any:
    """Make a tool of a function, sync or async, with or without a first parameter `ctx: ToolContext`.

    Name, description and schema come from the function: its name, its docstring (Google, NumPy or Sphinx style) and
    its type hints. The result is still callable as the plain function. The options are those of `Tool`.

    Raises `DefinitionError` if the function cannot be a tool.
    """

    def make(function: Callable[..., Any]) -> Tool[..., Any]:
        schema = function_schema(function, name)
        return Tool[..., Any].of(
            ToolSpec(
                name=schema.name,
                description=description if description is not None else schema.description,
                parameters=schema.parameters,
                effect=effect_of(effect),
                sequential=sequential,
                timeout_ms=timeout_ms_of(timeout),
                retries=retries,
                version=version,
                fn=function,
                takes_ctx=schema.takes_ctx,
                is_async=schema.is_async,
                validate=schema.validate,
                positional=schema.positional,
                var_positional=schema.var_positional,
            )
        )

    return make if fn is None else make(fn)


def as_tool(value: Any) -> Tool[..., Any]:
    """What was given in `tools=[…]` as a tool: one already, or a plain function."""
    if isinstance(value, Tool):
        return cast("Tool[..., Any]", value)
    if callable(value):
        return tool(cast("Callable[..., Any]", value))
    raise DefinitionError(f"A tool is made by @tool or Tool(…), or is a function; {value!r} is neither.")


# --- schema of a function --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FunctionSchema:
    """What a function's signature and docstring say."""

    name: str
    description: str
    parameters: dict[str, Any]
    takes_ctx: bool
    is_async: bool
    validate: Validate
    positional: tuple[str, ...]
    var_positional: str | None


def function_schema(function: Callable[..., Any], name: str | None) -> FunctionSchema:
    """Build schema and validator; `DefinitionError` if a type has no JSON schema or a name cannot be resolved."""
    shown = name or getattr(function, "__name__", type(function).__name__)
    if isinstance(function, partial):
        raise DefinitionError(f"Tool {shown!r}: a partial would offer the model what it binds; write a function.")
    # An object that can be called: its signature and hints are its method's.
    target = function if inspect.isroutine(function) else function.__call__
    try:
        takes_ctx = takes_tool_context(target)
        made = _SchemaTool[Any](_without_ctx(target) if takes_ctx else target, name=shown)
    except Exception as exc:
        raise DefinitionError(f"The function of tool {shown!r} has no usable schema: {exc}") from exc
    schema = made.function_schema
    return FunctionSchema(
        name=shown,
        description=made.description or inspect.getdoc(function) or "",
        parameters=schema.json_schema,
        takes_ctx=takes_ctx,
        is_async=schema.is_async,
        validate=partial(_validate_with_pydantic, schema.validator),
        positional=tuple(schema.positional_fields),
        var_positional=schema.var_positional_field,
    )


def takes_tool_context(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated as `ToolContext`."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.annotation is inspect.Parameter.empty:
        return False
    hint = get_type_hints(function).get(first.name)
    return hint is ToolContext or get_origin(hint) is ToolContext


def _without_ctx(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as the schema machinery should see it: the context is ours to give, not the model's."""
    rest = partial(function, None)
    update_wrapper(rest, function, assigned=("__module__", "__name__", "__qualname__", "__doc__"), updated=())
    del rest.__wrapped__  # pyright: ignore[reportAttributeAccessIssue]  # signature() would follow it past the partial
    return rest


def _validate_with_pydantic(validator: Any, arguments: str | dict[str, Any] | None) -> dict[str, Any]:
    try:
        if isinstance(arguments, dict):
            return validator.validate_python(arguments)
        return validator.validate_json(arguments or "{}")
    except ValidationError as exc:
        raise InvalidArguments(errors_of(exc)) from None
    except Exception as exc:  # a validator of the user's own
        raise InvalidArguments([{"loc": [], "msg": f"{type(exc).__name__}: {exc}"}]) from exc


def schema_validator(name: str, schema: dict[str, Any]) -> Validate:
    """A validator for a JSON schema; `DefinitionError` if it is not one, or not of an object."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if schema.get("type") != "object":
        raise DefinitionError(f"The parameters of tool {name!r} are a JSON schema of type object.")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        raise DefinitionError(f"The parameters of tool {name!r} are not a JSON schema: {exc.message}") from exc
    return partial(_validate_with_json_schema, Draft202012Validator(schema))


def json_object(arguments: str | dict[str, Any] | None) -> dict[str, Any]:
    """Arguments that no schema is known for."""
    given = _from_json(arguments)
    if not isinstance(given, dict):
        raise InvalidArguments([{"loc": [], "msg": "The arguments are a JSON object."}])
    return cast("dict[str, Any]", given)


def _from_json(arguments: str | dict[str, Any] | None) -> Any:
    try:
        return from_json(arguments) if isinstance(arguments, str) and arguments else arguments or {}
    except ValueError as exc:
        raise InvalidArguments([{"loc": [], "msg": f"Invalid JSON: {exc}"}]) from None


def _validate_with_json_schema(validator: Any, arguments: str | dict[str, Any] | None) -> dict[str, Any]:
    given = _from_json(arguments)
    errors = sorted(validator.iter_errors(given), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise InvalidArguments([{"loc": list(e.absolute_path), "msg": e.message} for e in errors])
    return cast("dict[str, Any]", given)


# --- checks ----------------------------------------------------------------------------------------------------------


def effect_of(effect: object) -> EffectClass:
    if effect is None:
        return EffectClass.UNSAFE
    if effect == "read":
        return EffectClass.READ
    raise DefinitionError(f'A tool\'s effect is "read" or omitted, not {effect!r}.')


def timeout_ms_of(timeout: timedelta | float | None) -> int:
    """Seconds or a timedelta as milliseconds; the limit for tools if None."""
    if timeout is None:
        return limits.TOOL_TIMEOUT_MS
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if not 0 < seconds < TIMEOUT_S_MAX:
        raise DefinitionError(f"A timeout is above 0 and below {TIMEOUT_S_MAX:,} seconds, not {timeout!r}.")
    return max(1, round(seconds * 1000))


def checked(spec: ToolSpec) -> ToolSpec:
    """The spec itself, if a model can be offered it."""
    if not NAME_PATTERN.fullmatch(spec.name):
        raise DefinitionError(f"A tool's name is 1 to 64 letters, digits, _ and -, not {spec.name!r}.")
    if spec.name.startswith(RESERVED_PREFIXES):
        raise DefinitionError(f"The tool name {spec.name!r} is taken: output and hand-off tools are named so.")
    if spec.retries is not None and spec.retries < 0:
        raise DefinitionError(f"The retries of tool {spec.name!r} are 0 or more, not {spec.retries}.")
    if not callable(spec.fn):
        raise DefinitionError(f"What tool {spec.name!r} calls is not callable.")
    try:
        encode(spec.parameters)
    except NotEncodable as exc:
        raise DefinitionError(f"The schema of tool {spec.name!r} is not JSON: {exc.message}") from exc
    return spec
