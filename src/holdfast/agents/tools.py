"""Tools: what a model may call. A function with a schema, a name and a word on what it may change.

Owns how a tool is declared, how arguments from outside are validated, and what a tool's function sees (`ToolContext`).
Schemas and validators are built once, when the tool is declared; a call does no schema work. How a call becomes a step
is not decided here: `native/calls.py` does that for models, the runtime for `ctx.step(name, a_tool)`.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial, update_wrapper
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, get_origin, get_type_hints, overload

from pydantic import ValidationError
from pydantic_ai import ModelRetry, ToolReturn
from pydantic_ai import Tool as _SchemaTool
from pydantic_core import from_json

from holdfast.agents import base, json_schema
from holdfast.agents.effects import (
    Compensation,
    Contract,
    Handle,
    Transaction,
    checked_contract,
    effect_class,
    ms_of,
)
from holdfast.domain import limits
from holdfast.domain.effects import EffectClass, OnUnknown
from holdfast.domain.encoding import encode
from holdfast.domain.errors import DefinitionError, HoldfastError, NotEncodable
from holdfast.domain.policies import ConfirmGiven, Deny, DenyGiven, Rule, confirms, denies

__all__ = ["InvalidArguments", "ModelRetry", "Tool", "ToolContext", "ToolReturn", "tool"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
DepsT = TypeVar("DepsT")
EffectName = Literal["read", "transaction", "keyed", "reconcilable", "unsafe"]
UnknownName = Literal["ask", "assume_done", "retry", "fail"]

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

    __slots__ = ("_handle", "_loop", "_run", "_sync", "attempt", "key")

    def __init__(
        self, run: base.Context, *, key: str, attempt: int, sync: bool = False, handle: Handle | None = None
    ) -> None:
        self._run = run
        self._sync = sync
        self._handle = handle
        self._loop = asyncio.get_running_loop() if sync and handle is not None else None
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
    def sandbox(self) -> bool:
        """Whether the run is of a sandbox tenant: a live replay, which is to use accounts where nothing counts."""
        return self._run.info.sandbox

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

    @property
    def state(self) -> base.State:
        """The document that the thread publishes. A change is made once, even if the tool is tried again. For async
        tools."""
        self._demand_async("state")
        return self._run.state

    @property
    def idempotency_key(self) -> str:
        """What to give the provider, so that it does the same thing once: 43 characters, the same at every try of this
        call, also after a crash. It changes only after it is known that nothing was done under the old one."""
        return self._call_handle("idempotency_key").idempotency_key

    @property
    def approved(self) -> bool:
        """Whether a person gave leave for exactly this call."""
        return self._call_handle("approved").approved

    @property
    def tx(self) -> Transaction:
        """For `effect="transaction"`: the runtime's own database, in the transaction that also records this step.

        `await ctx.tx.execute("UPDATE … WHERE id = :id", {"id": 1})`, `await ctx.tx.rows("SELECT …")`. It opens at the
        first statement and lasts at most 5 s (1 s on SQLite, where nobody else can write meanwhile), so do nothing
        slow between statements. If the tool raises, everything is undone.
        """
        self._demand_async("tx")
        return self._call_handle("tx").tx

    def heartbeat(self) -> Awaitable[None]:
        """Say that the call is alive: its timeout, and the deadline after which others may act, start anew. Durable
        when it returns. In a sync tool it blocks, and there is nothing to await."""
        return self._told(self._call_handle("heartbeat").heartbeat())

    def record_ref(self, ref: str) -> Awaitable[None]:
        """Note the provider's reference of what is being done, for the reconciler and for people. Durable when it
        returns. In a sync tool it blocks, and there is nothing to await."""
        return self._told(self._call_handle("record_ref").record_ref(ref))

    def ask(self, question: str, **options: Any) -> Awaitable[Any]:
        """Ask a person, with the options of `Context.ask`. Ask before you act: the run may be put away until there is
        an answer, and the tool then runs again from its start, with the answer at hand. For async tools."""
        self._demand_async("ask")
        return self._call_handle("ask").ask(question, options)

    def _call_handle(self, what: str) -> Handle:
        if self._handle is None:
            raise RuntimeError(f"ctx.{what} is there within a tool's call only.")
        return self._handle

    def _told(self, work: Coroutine[Any, Any, None]) -> Awaitable[None]:
        if self._loop is None:
            return work
        asyncio.run_coroutine_threadsafe(work, self._loop).result()
        return _Finished()

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


class _Finished:
    """What a blocking call leaves to be awaited: nothing."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


Validate = Callable[["str | dict[str, Any] | None"], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool's definition. `parameters` is the JSON schema of its arguments, times are milliseconds."""

    name: str
    description: str
    parameters: dict[str, Any]
    contract: Contract
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
        effect: what is known about its side effects: `"read"`, `"transaction"`, `"keyed"`, `"reconcilable"` or
            `"unsafe"`; unsafe unless given, and then you are warned at start-up.
        confirm: when people have to give leave: True, a function of the arguments, a mapping of conditions,
            `Confirm(…)` or a list of those.
        deny: when the call is not made, in the same forms with `Deny(…)`.
        on_unknown: for unsafe tools, what happens when nobody knows whether it was done: `"ask"` a person (the
            default), `"assume_done"`, `"retry"` after the timeout, or `"fail"`.
        key_ttl: for keyed tools, how long the provider remembers a key. An older call is not repeated under it.
        tries: how often a keyed call is made before a person is asked, 4 unless given.
        rejections: exceptions which say for certain that nothing was done. `NotDone` always does.
        dedupe: a template such as `"{order_id}"`: of calls that make the same text of it, one is made.
        dedupe_ttl: for how long after it was done; for ever unless given.
        external: nobody is called here: the result comes from outside, through the API.
        simulate: what stands in for the result in a fork that does not make the call: a value, or a function that is
            given the arguments by name. `{"simulated": true, …}` unless given.
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
        call: Callable[..., Any] | None = None,
        effect: EffectName | None = None,
        confirm: ConfirmGiven | None = None,
        deny: DenyGiven | None = None,
        on_unknown: UnknownName = "ask",
        key_ttl: timedelta | float | None = None,
        tries: int = limits.EFFECT_TRIES,
        rejections: Sequence[type[Exception]] = (),
        dedupe: str | None = None,
        dedupe_ttl: timedelta | float | None = None,
        external: bool = False,
        simulate: Any = base.UNSET,
        sequential: bool = False,
        timeout: timedelta | float | None = None,
        retries: int | None = None,
        version: str = "1",
    ) -> None:
        schema = dict(parameters)
        if (call is None) is not external:
            raise DefinitionError(f"Tool {name!r} needs a function to call, or external=True, and not both.")
        call = call or _nobody
        self.spec = checked(
            ToolSpec(
                name=name,
                description=description,
                parameters=schema,
                contract=contract_of(
                    name,
                    effect,
                    confirm=confirm,
                    deny=deny,
                    on_unknown=on_unknown,
                    key_ttl=key_ttl,
                    tries=tries,
                    rejections=rejections,
                    dedupe=dedupe,
                    dedupe_ttl=dedupe_ttl,
                    external=external,
                    simulate=simulate,
                ),
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
        return self.spec.contract.effect

    @property
    def contract(self) -> Contract:
        return self.spec.contract

    def reconcile(self, fn: F, /) -> F:
        """Declare how to find out what became of a call: `@refund.reconcile` on `async def f(ctx, effect: EffectInfo)`,
        which returns `Done(result)`, `NotDone()` or `Unknown()`. The function stays as it is."""
        self._demand_coroutine(fn, "reconciler")
        self.spec = checked(replace(self.spec, contract=replace(self.spec.contract, reconcile=cast(Any, fn))))
        return fn

    @overload
    def compensate(self, fn: F, /) -> F: ...
    @overload
    def compensate(
        self, fn: None = None, /, *, tries: int = ..., timeout: timedelta | float | None = ...
    ) -> Callable[[F], F]: ...
    def compensate(
        self, fn: Any = None, /, *, tries: int = limits.COMPENSATE_TRIES, timeout: timedelta | float | None = None
    ) -> Any:
        """Declare how a call is undone: `@refund.compensate` on `async def f(ctx, effect: EffectInfo)`.

        It is tried `tries` times, always with the same `ctx.idempotency_key`, then a person is asked. The function
        stays as it is.
        """

        def declare(function: Any) -> Any:
            self._demand_coroutine(function, "compensator")
            made = Compensation(fn=function, tries=tries, timeout_ms=timeout_ms_of(timeout))
            self.spec = checked(replace(self.spec, contract=replace(self.spec.contract, compensation=made)))
            return function

        return declare if fn is None else declare(fn)

    def _demand_coroutine(self, fn: Any, what: str) -> None:
        if not self.contract.ledger:
            raise DefinitionError(f"Tool {self.name!r} changes nothing here: it needs no {what}.")
        if not inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"The {what} of tool {self.name!r} is an async function of (ctx, effect).")

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
            "effect": s.contract.effect.value,
            "policy": policy_of(s.contract),
            "external": s.contract.external,
            "timeout_ms": s.timeout_ms,
        }

    def identity(self) -> dict[str, Any]:
        """What the agent's fingerprint takes of it: not the source, whose changes `version` declares."""
        return {**self.definition(), "version": self.spec.version, "sequential": self.spec.sequential}

    async def invoke(
        self, run: base.RunContext, *args: Any, key: str, attempt: int, handle: Handle | None = None, **kwargs: Any
    ) -> Any:
        """Run the function, with a `ToolContext` in front if it takes one; sync functions run in a thread."""
        front = self._front(run, key, attempt, handle)
        return await self._called(run, *front, *args, **kwargs)

    def _front(self, run: base.RunContext, key: str, attempt: int, handle: Handle | None) -> tuple[Any, ...]:
        if not self.spec.takes_ctx:
            return ()
        return (ToolContext[Any](run, key=key, attempt=attempt, sync=not self.spec.is_async, handle=handle),)

    async def invoke_validated(
        self, run: base.RunContext, arguments: dict[str, Any], *, key: str, attempt: int, handle: Handle | None = None
    ) -> Any:
        """`invoke` with what `spec.validate` returned."""
        s = self.spec
        named = dict(arguments)
        args = [named.pop(name) for name in s.positional]
        args.extend(named.pop(s.var_positional) if s.var_positional else ())
        return await self._called(run, *self._front(run, key, attempt, handle), *args, **named)

    async def _called(self, run: base.RunContext, /, *args: Any, **kwargs: Any) -> Any:
        if self.spec.is_async:
            return await self.spec.fn(*args, **kwargs)
        result = await run.blocking(self.spec.fn, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments given as to the function, by name. Raises `TypeError` as the call would."""
        if self.spec.var_positional is None and not args:
            return dict(kwargs)
        signature = inspect.signature(self.spec.fn)
        parameters = list(signature.parameters.values())[1 if self.spec.takes_ctx else 0 :]
        given = signature.replace(parameters=parameters).bind(*args, **kwargs)
        named = dict(given.arguments)
        for parameter in parameters:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named |= named.pop(parameter.name, {})
        return named


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: EffectName | None = None,
    confirm: ConfirmGiven | None = None,
    deny: DenyGiven | None = None,
    on_unknown: UnknownName = "ask",
    key_ttl: timedelta | float | None = None,
    tries: int = limits.EFFECT_TRIES,
    rejections: Sequence[type[Exception]] = (),
    dedupe: str | None = None,
    dedupe_ttl: timedelta | float | None = None,
    external: bool = False,
    simulate: Any = base.UNSET,
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
    effect: EffectName | None = None,
    sequential: bool = False,
    timeout: timedelta | float | None = None,
    retries: int | None = None,
    version: str = "1",
    **promises: Any,
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
                contract=contract_of(schema.name, effect, **promises),
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
    if schema.get("type") != "object":
        raise DefinitionError(f"The parameters of tool {name!r} are a JSON schema of type object.")
    return partial(_validate_with_json_schema, json_schema.validator(f"The parameters of tool {name!r}", schema))


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
    errors = json_schema.errors(validator, given)
    if errors:
        raise InvalidArguments(errors)
    return cast("dict[str, Any]", given)


# --- checks ----------------------------------------------------------------------------------------------------------


def contract_of(
    name: str,
    effect: str | None,
    *,
    confirm: ConfirmGiven | None = None,
    deny: DenyGiven | None = None,
    on_unknown: str = "ask",
    key_ttl: timedelta | float | None = None,
    tries: int = limits.EFFECT_TRIES,
    rejections: Sequence[type[Exception]] = (),
    dedupe: str | None = None,
    dedupe_ttl: timedelta | float | None = None,
    external: bool = False,
    simulate: Any = base.UNSET,
) -> Contract:
    """The options of `@tool` as a contract. Whether they go together is checked with the schema, by `checked`."""
    if on_unknown not in tuple(OnUnknown):
        raise DefinitionError(f"on_unknown of tool {name!r} is one of {', '.join(OnUnknown)}, not {on_unknown!r}.")
    return Contract(
        effect=effect_class(effect),
        declared=effect is not None or external,
        rules=(*confirms(confirm), *denies(deny)),
        on_unknown=OnUnknown(on_unknown),
        tries=tries,
        key_ttl_ms=ms_of(name, "key_ttl", key_ttl),
        rejections=tuple(rejections),
        dedupe=dedupe,
        dedupe_ttl_ms=ms_of(name, "dedupe_ttl", dedupe_ttl),
        external=external,
        simulate=simulate,
    )


def policy_of(contract: Contract) -> list[dict[str, Any]]:
    """What the API shows of a tool's rules; of a condition in code only that there is one."""
    return [described_rule(rule) for rule in contract.rules]


def described_rule(rule: Rule) -> dict[str, Any]:
    when: object = "code" if callable(rule.when) else rule.when
    if isinstance(rule, Deny):
        return {"decision": "deny", "when": when, "reason": rule.reason}
    demand = rule.demand()
    return {
        "decision": "confirm",
        "when": when,
        "reason": rule.reason or None,
        "roles": sorted(role for roles in demand.roles for role in roles),
        "quorum": demand.quorum,
        "four_eyes": demand.four_eyes,
        "expires_ms": demand.expires_ms or limits.EXPIRES_MS,
        "on_expiry": demand.on_expiry.value,
    }


async def _nobody(**_: Any) -> None:
    raise AssertionError("an external tool is answered from outside")


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
    checked_contract(spec.name, spec.contract, spec.parameters, is_async=spec.is_async)
    try:
        encode(spec.parameters)
    except NotEncodable as exc:
        raise DefinitionError(f"The schema of tool {spec.name!r} is not JSON: {exc.message}") from exc
    return spec
