"""`@workflow`: an async function as an agent. Its steps are what it asks of its context.

The function runs again from the top when a run resumes, and recorded steps answer at once: whatever it does outside
of steps must be a pure function of its input and of what steps returned.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter

from holdfast.agents import base
from holdfast.agents.effects import check_tools, compensation_of
from holdfast.agents.fingerprint import fingerprint, source_of
from holdfast.agents.native.inputs import accept_typed, input_adapter, not_fitting
from holdfast.agents.native.output import encoded
from holdfast.agents.registry import check_declared
from holdfast.agents.tools import Tool, as_tool
from holdfast.domain.agents import AgentKind
from holdfast.domain.errors import DefinitionError
from holdfast.domain.runs import RunLimits

P = ParamSpec("P")
R = TypeVar("R")
UNSET: Final = base.UNSET


class Workflow(Generic[P, R]):
    """A durable function. Made by `@workflow`; still callable as the plain function."""

    def __init__(
        self,
        id: str,
        fn: Callable[P, Awaitable[R]],
        *,
        input_type: Any = UNSET,
        output_type: Any = UNSET,
        limits: RunLimits | None = None,
        durability: Literal["behind", "sync"] = "behind",
        on_version_change: Literal["continue", "fail", "pin"] = "continue",
        description: str | None = None,
        agents: Sequence[base.Agent] = (),
        tools: Sequence[Any] = (),
        compensate: Sequence[Literal["failure", "cancel"]] = (),
    ) -> None:
        check_declared(id, durability, on_version_change)
        if not inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"The workflow {id!r} is made of an async function, not of {fn!r}.")
        declared_input, declared_output, self._takes_input = _declared(id, fn)
        self.fn = fn
        self._id = id
        self._agents = tuple(agents)
        self._tools = {made.name: made for made in map(as_tool, tools)}
        self._compensate = compensation_of(compensate)
        self._limits = limits or RunLimits()
        self._durability: Literal["behind", "sync"] = durability
        self._on_version_change: Literal["continue", "fail", "pin"] = on_version_change
        self._description = description if description is not None else inspect.getdoc(fn) or ""
        self._input = input_adapter(declared_input if input_type is UNSET else input_type)
        self._output = _output_adapter(id, declared_output if output_type is UNSET else output_type)
        self._version = fingerprint([source_of(fn), self._input.json_schema(), self.definition()["output_schema"]])

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """The plain function, with a context of the caller's."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self._id}>"

    @property
    def id(self) -> str:
        return self._id

    @property
    def kind(self) -> AgentKind:
        return AgentKind.WORKFLOW

    @property
    def version(self) -> str:
        """A fingerprint of the function's source and its schemas."""
        return self._version

    @property
    def description(self) -> str:
        return self._description

    @property
    def durability(self) -> Literal["behind", "sync"]:
        return self._durability

    @property
    def on_version_change(self) -> Literal["continue", "fail", "pin"]:
        return self._on_version_change

    @property
    def default_limits(self) -> RunLimits:
        return self._limits

    @property
    def compensate(self) -> frozenset[str]:
        return self._compensate

    def tools(self) -> Mapping[str, Tool[..., Any]]:
        return self._tools

    def definition(self) -> dict[str, Any]:
        """What the API shows, as JSON values."""
        return {
            "name": self._id,
            "description": self._description,
            "tools": [tool.definition() for tool in self._tools.values()],
            "input_schema": self._input.json_schema() if self._takes_input else {"type": "null"},
            "output_schema": self._output.json_schema(mode="serialization"),
        }

    def accept(self, value: Any) -> bytes:
        """The input as JSON to store; `Invalid` (code `invalid_input`) if it does not fit."""
        if not self._takes_input:
            if value is not None:
                raise not_fitting([{"loc": [], "msg": "this workflow takes no input"}])
            return b"null"
        return accept_typed(self._input, value)

    def decode_output(self, payload: bytes) -> R:
        """The value of a stored output, as the declared type."""
        return self._output.validate_json(payload)

    def related(self) -> Sequence[base.Agent]:
        return self._agents

    async def warm_up(self) -> None:
        """Look whether its tools can keep what they promise."""
        check_tools(self._id, self._tools.values())

    async def close(self) -> None:
        """Nothing was opened."""

    async def run(self, ctx: base.RunContext, input: bytes) -> base.Output:
        """Run the function; what it returns is the output."""
        fn = cast("Callable[..., Awaitable[Any]]", self.fn)
        result = await (fn(ctx, self._input.validate_json(input)) if self._takes_input else fn(ctx))
        return base.Output(payload=encoded(self._output, result, what=f"What workflow {self._id!r} returned"))


def workflow(
    id: str,
    *,
    input_type: Any = UNSET,
    output_type: Any = UNSET,
    limits: RunLimits | None = None,
    durability: Literal["behind", "sync"] = "behind",
    on_version_change: Literal["continue", "fail", "pin"] = "continue",
    description: str | None = None,
    agents: Sequence[base.Agent] = (),
    tools: Sequence[Any] = (),
    compensate: Sequence[Literal["failure", "cancel"]] = (),
) -> Callable[[Callable[P, Awaitable[R]]], Workflow[P, R]]:
    """Make a workflow of `async def f(ctx: Context, input: T) -> R`, or of one without the input.

    Args:
        id: 1 to 64 letters, digits, `_`, `.` and `-`, a letter or digit first.
        input_type, output_type: instead of the function's annotations. Without either, any JSON value.
        limits: caps of a run, unless the run is started with its own.
        durability: `"sync"` waits for every step to be durable, `"behind"` for those that must be.
        on_version_change: what a resumed run does if the function changed meanwhile.
        description: instead of the function's docstring.
        agents: agents that it calls, to be registered with it.
        tools: tools that it uses in steps: the API shows them, and what they have done can be undone.
        compensate: when what the run has done is undone, as far as its `tools` have compensators: `"failure"`,
            `"cancel"`, or both. Never unless given; a cancel may ask for it too.

    Raises `DefinitionError` if the function cannot be a workflow.
    """

    def make(fn: Callable[P, Awaitable[R]]) -> Workflow[P, R]:
        return Workflow(
            id,
            fn,
            input_type=input_type,
            output_type=output_type,
            limits=limits,
            durability=durability,
            on_version_change=on_version_change,
            description=description,
            agents=agents,
            tools=tools,
            compensate=compensate,
        )

    return make


def _declared(id: str, fn: Callable[..., Any]) -> tuple[Any, Any, bool]:
    """The input type, the output type, and whether there is an input at all, by the function's signature."""
    parameters = list(inspect.signature(fn).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) not in (1, 2) or any(p.kind not in positional for p in parameters):
        raise DefinitionError(f"The workflow {id!r} takes (ctx) or (ctx, input), positionally.")
    try:
        hints = get_type_hints(fn, include_extras=True)
    except (NameError, TypeError) as exc:
        raise DefinitionError(f"The annotations of workflow {id!r} cannot be resolved: {exc}") from exc
    takes_input = len(parameters) == 2
    return hints.get(parameters[1].name, Any) if takes_input else Any, hints.get("return", Any), takes_input


def _output_adapter(id: str, output_type: Any) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter[Any](output_type)
        adapter.json_schema(mode="serialization")
    except Exception as exc:
        raise DefinitionError(f"The output type {output_type!r} of workflow {id!r} has no JSON schema: {exc}") from exc
    return adapter
