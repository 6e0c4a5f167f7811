"""`Agent`: declare a native agent. It collects a frozen definition; the loop lives in `native/loop.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar, cast, overload

from pydantic_ai.models import Model

from holdfast.agents import base, models
from holdfast.agents.effects import check_tools, compensation_of, rules_of
from holdfast.agents.fingerprint import fingerprint, source_of
from holdfast.agents.models import model_name
from holdfast.agents.native import inputs, loop, model_step
from holdfast.agents.native.history import All, HistoryPolicy
from holdfast.agents.native.middleware import Middleware
from holdfast.agents.native.output import spec_of
from holdfast.agents.native.plan import Plan, agent_id, plan_of, tool_table, transfer_name
from holdfast.agents.native.spec import AgentSpec, Instructions, Toolset, Validator
from holdfast.agents.registry import check_declared
from holdfast.agents.tools import Tool, as_tool, timeout_ms_of, tool
from holdfast.domain import limits as domain_limits
from holdfast.domain.agents import AgentKind
from holdfast.domain.encoding import encode
from holdfast.domain.errors import DefinitionError, ModelFault, NotEncodable
from holdfast.domain.policies import Rule
from holdfast.domain.runs import RunLimits

F = TypeVar("F", bound=Callable[..., Any])

END_STRATEGIES: Final = ("early", "exhaustive")


class Agent:
    """An agent whose steps are model calls and tool calls.

    Args:
        id: 1 to 64 letters, digits, `_`, `.` and `-`, a letter or digit first; unique among registered agents.
        model: a name such as `"openai:gpt-5.2"`, or a pydantic-ai `Model`.
        instructions: text, or a function `(ctx: ToolContext) -> str` or `() -> str`, sync or async; what a function
            returns is recorded once per run. Several: a sequence, or `@agent.instructions`.
        tools: `@tool`s, `Tool`s, plain functions, `other.as_tool()`.
        toolsets: tools that are discovered when the server starts, such as `MCPTools(…)`.
        output_type: `str`, any type pydantic knows, a union or sequence of them, or `NativeOutput(type)`.
        output_retries: how often in one run the model may be asked for another answer when its output is empty,
            does not fit or is refused by a validator; then the run fails as `output_invalid`.
        output_validators: functions `(value)` or `(ctx, value)` that return the value, changed or not, or raise
            `ModelRetry`; what they decide is recorded.
        history: what of the thread's past a run is given: `All()`, `LastTurns(n)`, `TokenWindow(n)`, `Summarise(…)`.
        handoffs: agents, or their ids, that this one may hand the conversation over to.
        middleware: see `Middleware`; the first is the outermost.
        model_settings: settings of the model layer, such as `{"temperature": 0}`.
        model_timeout: seconds or a timedelta for one try of a model call, 10 minutes unless given.
        model_retry: how often, and how patiently, a model call is tried again after a transient failure (a rate limit,
            an overloaded or broken server, a lost connection, a timeout); its `on` decides instead, if it has one.
        limits: caps of a run, unless the run is started with its own.
        stream: stream every model call, even if nobody listens as it starts.
        durability: `"behind"`: model steps and read tools become durable a moment later; `"sync"`: before the next.
        on_version_change: what a resumed run does if the definition changed meanwhile: `"continue"` with the new one,
            `"fail"`, or `"pin"`: only workers with the old one may go on.
        name, description, metadata: for people, and the description for models that may hand over or call the agent.
        input_type: the type of a run's input; without it, text or a list of content parts.
        tool_retries: how often in a row the model may call one tool wrongly before the run fails.
        parallel_tools: make the calls of one answer in parallel, except around a tool that is `sequential`.
        policies: rules of the agent's own, by the names of tools or patterns of them (`"refund_*"`): `Confirm(…)`,
            `Deny(…)` or a list. The strictest rule wins, here or on the tool.
        compensate: when what the run has done is undone, as far as its tools have compensators: `"failure"`,
            `"cancel"`, or both. Never unless given; a cancel may ask for it too.
        end_strategy: with the output in an answer, `"early"` leaves its other calls unmade, `"exhaustive"` makes them.

    Raises `DefinitionError` for what cannot work. Nothing is sent anywhere before a run.
    """

    def __init__(
        self,
        id: str,
        *,
        model: str | Model,
        instructions: Instructions | Sequence[Instructions] | None = None,
        tools: Sequence[Any] = (),
        toolsets: Sequence[Toolset] = (),
        output_type: Any = str,
        output_retries: int = 2,
        output_validators: Sequence[Callable[..., Any]] = (),
        history: HistoryPolicy | None = None,
        handoffs: Sequence[Agent | str] = (),
        middleware: Sequence[Middleware] = (),
        model_settings: dict[str, Any] | None = None,
        model_timeout: timedelta | float | None = None,
        model_retry: base.Retry = model_step.MODEL_RETRY,
        limits: RunLimits | None = None,
        stream: bool = False,
        durability: Literal["behind", "sync"] = "behind",
        on_version_change: Literal["continue", "fail", "pin"] = "continue",
        name: str | None = None,
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        input_type: Any = None,
        tool_retries: int = 2,
        parallel_tools: bool = True,
        end_strategy: Literal["early", "exhaustive"] = "early",
        policies: Mapping[str, Rule | Sequence[Rule]] | None = None,
        compensate: Sequence[Literal["failure", "cancel"]] = (),
    ) -> None:
        default_timeout = domain_limits.MODEL_TIMEOUT_MS
        self._use(
            AgentSpec(
                id=id,
                name=name or id,
                description=description or "",
                metadata=dict(metadata or {}),
                model=model,
                instructions=_instructions(instructions),
                tools=tuple(as_tool(t) for t in tools),
                toolsets=tuple(toolsets),
                output=spec_of(output_type),
                output_retries=output_retries,
                validators=tuple(_validator(v) for v in output_validators),
                history=history or All(),
                handoffs=tuple(handoffs),
                middleware=tuple(middleware),
                settings=dict(model_settings or {}),
                model_timeout_ms=default_timeout if model_timeout is None else timeout_ms_of(model_timeout),
                retry=model_step.retry_of(model_retry),
                limits=limits or RunLimits(),
                stream=stream,
                durability=durability,
                on_version_change=on_version_change,
                input=None if input_type is None else inputs.input_adapter(input_type),
                tool_retries=tool_retries,
                parallel_tools=parallel_tools,
                end_strategy=end_strategy,
                policies=_policies(policies or {}),
                compensate=compensation_of(compensate),
            )
        )

    def _use(self, spec: AgentSpec) -> None:
        _check(spec)
        self.spec = spec
        self._forget()

    def _forget(self) -> None:
        """Drop what was derived from the definition."""
        self._plans: dict[int, tuple[Agent, Any, Plan]] = {}
        self._version: str | None = None
        self._model: Model | None = None

    def __repr__(self) -> str:
        return f"<agent {self.spec.id}>"

    # --- declaring ---------------------------------------------------------------------------------------------------

    @overload
    def tool(self, fn: F, /) -> F: ...
    @overload
    def tool(self, fn: None = None, /, **options: Any) -> Callable[[F], F]: ...
    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Give the agent a tool: `@agent.tool`, or `@agent.tool(effect="read")` with the options of `@tool`.

        The function stays as it is.
        """

        def add(function: Any) -> Any:
            made = as_tool(function) if not options else tool(**options)(function)
            self._use(replace(self.spec, tools=(*self.spec.tools, made)))
            return function

        return add if fn is None else add(fn)

    def instructions(self, fn: F, /) -> F:
        """Give the agent further instructions: `@agent.instructions` on `(ctx: ToolContext) -> str` or `() -> str`."""
        self._use(replace(self.spec, instructions=(*self.spec.instructions, fn)))
        return fn

    def output_validator(self, fn: F, /) -> F:
        """Give the agent a further output validator."""
        self._use(replace(self.spec, validators=(*self.spec.validators, _validator(fn))))
        return fn

    def as_tool(
        self, *, name: str | None = None, description: str | None = None, sequential: bool = False
    ) -> Tool[..., Any]:
        """This agent as a tool of another: each call is a child run with its own journal.

        Its parameters are this agent's input type, or `{"input": text}`. A child that fails is told to the model.
        """
        return _agent_tool(self, name, description, sequential)

    # --- what the runtime asks ---------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def kind(self) -> AgentKind:
        return AgentKind.NATIVE

    @property
    def description(self) -> str:
        return self.spec.description

    @property
    def durability(self) -> Literal["behind", "sync"]:
        return self.spec.durability

    @property
    def on_version_change(self) -> Literal["continue", "fail", "pin"]:
        return self.spec.on_version_change

    @property
    def default_limits(self) -> RunLimits:
        return self.spec.limits

    @property
    def compensate(self) -> frozenset[str]:
        return self.spec.compensate

    def tools(self) -> Mapping[str, Tool[..., Any]]:
        """The tools that it has, discovered ones too, by name."""
        return tool_table(self.spec)

    @property
    def version(self) -> str:
        """The fingerprint of the definition, discovered tools included: final once `warm_up` has returned."""
        if self._version is None:
            self._version = fingerprint(_identity(self.spec))
        return self._version

    def definition(self) -> dict[str, Any]:
        """What the API shows of the agent, as JSON values."""
        spec = self.spec
        texts = [part for part in spec.instructions if isinstance(part, str)]
        return {
            "name": spec.name,
            "description": spec.description,
            "metadata": spec.metadata,
            "model": model_name(spec.model),
            "instructions": "\n\n".join(texts) or None,
            "tools": [t.definition() for t in tool_table(spec).values()],
            "input_schema": inputs.SCHEMA if spec.input is None else spec.input.json_schema(),
            "output_schema": spec.output.schema,
            "handoffs": [agent_id(a) for a in spec.handoffs],
        }

    def accept(self, value: Any) -> bytes:
        """The input as JSON to store; `Invalid` (code `invalid_input`) if it does not fit."""
        if self.spec.input is not None:
            return inputs.accept_typed(self.spec.input, value)
        return inputs.accept_message(value)

    def decode_output(self, payload: bytes) -> Any:
        """The value of a stored output, as the declared type."""
        return self.spec.output.decode(payload)

    def related(self) -> Sequence[base.Agent]:
        handoffs = [a for a in self.spec.handoffs if not isinstance(a, str)]
        return [*handoffs, *(t.spec.agent for t in self.spec.tools if t.spec.agent is not None)]

    async def warm_up(self) -> None:
        """Discover tools and import the model's provider, so that the first run does not wait for it."""
        for toolset in self.spec.toolsets:
            await toolset.discover()
        if self.spec.toolsets:  # what is known by now was derived without them
            self._forget()
        self._model = None  # its client may be that of an event loop which has ended
        check_tools(self.id, self.tools().values())
        # A missing key is the run's failure, with its code; a server with other agents starts without it.
        with suppress(ModelFault):
            self.resolved_model()
        self.plan_for(self)

    async def close(self) -> None:
        for toolset in self.spec.toolsets:
            await toolset.close()

    async def run(self, ctx: base.RunContext, input: bytes) -> base.Output:
        """Do the run. `input` is what `accept` returned."""
        return await loop.run(self, ctx, input)

    # --- what the loop asks ------------------------------------------------------------------------------------------

    def plan_for(self, entry: Agent) -> Plan:
        """What this agent's model calls need when it acts for `entry`; built once."""
        key = id(entry)
        known = self._plans.get(key)
        if known is None or known[1] is not entry.spec.output:
            known = self._plans[key] = (entry, entry.spec.output, plan_of(self.spec, entry.spec.output))
        return known[2]

    def resolved_model(self) -> Model:
        """The model itself; raises `ModelFault` or `DefinitionError` if it cannot be had."""
        if self._model is None:
            self._model = models.resolve(self.spec.model)
        return self._model

    def handoff(self, target: Agent | str, ctx: base.RunContext) -> Agent:
        """The agent that a transfer names."""
        found: object = ctx.agent(target) if isinstance(target, str) else target
        if not isinstance(found, Agent):
            raise DefinitionError(f"{self.id} hands over to {target!r}, which is not a native agent.")
        return found


# --- definitions -----------------------------------------------------------------------------------------------------


def _instructions(given: Instructions | Sequence[Instructions] | None) -> tuple[Instructions, ...]:
    if given is None:
        return ()
    if isinstance(given, str) or callable(given):
        return (given,)
    return tuple(given)


def _policies(given: Mapping[str, Rule | Sequence[Rule]]) -> tuple[tuple[str, tuple[Rule, ...]], ...]:
    return tuple((pattern, rules_of(rules)) for pattern, rules in given.items())


def _validator(fn: Callable[..., Any]) -> Validator:
    takes = len(inspect.signature(fn).parameters)
    if takes not in (1, 2):
        raise DefinitionError(f"An output validator takes (value) or (ctx, value), but {fn!r} takes {takes} arguments.")
    return Validator(fn, takes == 2)


def _check(spec: AgentSpec) -> None:
    """Raise `DefinitionError` for what would fail in a run."""
    check_declared(spec.id, spec.durability, spec.on_version_change)
    if spec.end_strategy not in END_STRATEGIES:
        raise DefinitionError(f"end_strategy is one of {END_STRATEGIES}, not {spec.end_strategy!r}.")
    if min(spec.output_retries, spec.tool_retries) < 0:
        raise DefinitionError(f"The retries of agent {spec.id!r} are 0 or more.")
    for part in spec.instructions:
        if not isinstance(part, str) and not callable(part):
            raise DefinitionError(f"The instructions of agent {spec.id!r} are text or functions, not {part!r}.")
    for target in cast("Sequence[object]", spec.handoffs):
        if not isinstance(target, (str, Agent)):
            raise DefinitionError(f"Agent {spec.id!r} can hand over to native agents only, not to {target!r}.")
    if len({transfer_name(target) for target in spec.handoffs}) < len(spec.handoffs):
        raise DefinitionError(f"Agent {spec.id!r} names a hand-off twice, or two whose tools have one name.")
    tool_table(spec)
    try:
        encode({"metadata": spec.metadata}, what="The metadata")
    except NotEncodable as exc:
        raise DefinitionError(f"Agent {spec.id!r}: {exc.message}") from exc


def _identity(spec: AgentSpec) -> dict[str, Any]:
    """All that changes what the agent would do."""
    return {
        "instructions": [p if isinstance(p, str) else source_of(p) for p in spec.instructions],
        "model": model_name(spec.model),
        "settings": {k: v if isinstance(v, (str, int, float, bool)) else repr(v) for k, v in spec.settings.items()},
        "tools": [t.identity() for t in tool_table(spec).values()],
        "output": {"mode": spec.output.mode, "schema": spec.output.schema, "retries": spec.output_retries},
        "validators": [source_of(v.fn) for v in spec.validators],
        "input": None if spec.input is None else spec.input.json_schema(),
        "history": spec.history.describe(),
        "handoffs": [agent_id(a) for a in spec.handoffs],
        "middleware": [f"{type(m).__module__}.{type(m).__qualname__}" for m in spec.middleware],
        "tool_retries": spec.tool_retries,
        "parallel_tools": spec.parallel_tools,
        "end_strategy": spec.end_strategy,
    }


def _agent_tool(agent: Agent, name: str | None, description: str | None, sequential: bool) -> Tool[..., Any]:
    typed = agent.spec.input
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"input": {"type": "string", "description": "What the agent is asked, with all it must know."}},
        "required": ["input"],
        "additionalProperties": False,
    }
    own = None if typed is None else typed.json_schema()
    direct = own is not None and own.get("type") == "object"
    if own is not None and direct:
        schema = own
    elif own is not None:
        # References name definitions at the root of a schema.
        schema = {**schema, "$defs": own.pop("$defs", {}), "properties": {"input": own}}
    shown = name or re.sub(r"[^A-Za-z0-9_-]", "_", agent.id)

    async def call(ctx: Any, **arguments: Any) -> Any:
        return await ctx.call(agent, arguments if direct else arguments["input"], name=shown)

    made = Tool[..., Any](
        name=shown,
        description=description or agent.description or f"Ask the agent {agent.spec.name}.",
        parameters=schema,
        call=call,
        sequential=sequential,
    )
    return Tool[..., Any].of(replace(made.spec, agent=cast("base.Agent", agent)))
