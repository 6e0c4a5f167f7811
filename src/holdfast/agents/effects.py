"""What a tool promises about its side effects, and a call of it as the runtime is asked to make it.

A tool declares its contract; `native/calls.py` and `ctx.step` turn a call into a `ToolRequest`; `runtime/effects.py`
makes it, by the contract's class. Nothing here does I/O.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol, cast

from pydantic_ai import ModelRetry
from pydantic_core import to_json

from holdfast.agents.base import UNSET, Attempt, Outcome
from holdfast.domain import limits
from holdfast.domain.effects import Done, EffectClass, EffectInfo, NotDone, OnUnknown, Unknown
from holdfast.domain.encoding import decode
from holdfast.domain.errors import DefinitionError, StepFailed
from holdfast.domain.ids import EffectId
from holdfast.domain.policies import Confirm, Deny, Rule
from holdfast.domain.threads import Role

log = logging.getLogger("holdfast.agents")

# What a tool raises to say for certain that it did nothing.
KNOWN_FAILURES: Final[tuple[type[Exception], ...]] = (NotDone, ModelRetry)
CLASSES: Final = tuple(c.value for c in EffectClass)
Reconcile = Callable[[Any, EffectInfo], "Awaitable[Done | NotDone | Unknown]"]
Compensate = Callable[[Any, EffectInfo], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """How an effect is undone: `fn(ctx, effect)`, with a key of its own that stays the same at every try."""

    fn: Compensate
    tries: int = limits.COMPENSATE_TRIES
    timeout_ms: int = limits.TOOL_TIMEOUT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A tool's promises. `declared`: its author said what it changes. Times are ms.

    `tries`: how often a `keyed` call is made before a person is asked. `rejections`: exceptions that say for certain
    that nothing was done. `dedupe`: a template of arguments that names what must not be done twice. `simulate`: what
    stands in for its result where a fork does not make the call, or a function of the arguments that makes that.
    """

    effect: EffectClass
    declared: bool = True
    rules: tuple[Rule, ...] = ()
    on_unknown: OnUnknown = OnUnknown.ASK
    tries: int = limits.EFFECT_TRIES
    key_ttl_ms: int | None = None
    rejections: tuple[type[Exception], ...] = ()
    dedupe: str | None = None
    dedupe_ttl_ms: int | None = None
    external: bool = False
    reconcile: Reconcile | None = None
    compensation: Compensation | None = None
    simulate: Any = UNSET

    @property
    def ledger(self) -> bool:
        """Whether its calls stand in the ledger."""
        return self.effect is not EffectClass.READ and not self.external


class Transaction(Protocol):
    """`ctx.tx`: the runtime's own database, in the transaction that also records the step."""

    async def execute(self, statement: Any, params: Mapping[str, Any] | None = None) -> int:
        """Run a write (SQL text with `:name` parameters, or SQLAlchemy Core); how many rows it changed."""
        ...

    async def rows(self, statement: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query, or a write with RETURNING; its rows by column name."""
        ...


class Handle(Protocol):
    """What a call under way can ask of the runtime."""

    @property
    def idempotency_key(self) -> str: ...

    @property
    def approved(self) -> bool:
        """Whether a person gave leave for this call."""
        ...

    @property
    def tx(self) -> Transaction: ...

    def tool_context(self, attempt: int) -> Any:
        """The `ToolContext` of a call that is not made by the tool's own function."""
        ...

    async def heartbeat(self) -> None: ...

    async def record_ref(self, ref: str) -> None: ...

    async def ask(self, question: str, options: Mapping[str, Any]) -> Any: ...


class Held(Attempt, Protocol):
    """One try of a tool's call."""

    @property
    def handle(self) -> Handle: ...


Invoke = Callable[[Held, dict[str, Any]], Awaitable[Any]]


class FailedBefore(StepFailed):
    """A call is not made again, and fails as it did when it was: its words are those that were recorded."""


@dataclass(slots=True)
class Notes:
    """What happened to a call on its way: `edited` are the arguments that a person put in place of those asked for,
    `duplicate_of` the effect whose result this is, `assumed` that nobody knows whether it was done."""

    edited: dict[str, Any] | None = None
    approval_note: str | None = None
    duplicate_of: str | None = None
    assumed: bool = False

    def told(self) -> str | None:
        """The same for a model."""
        said: list[str] = []
        if self.edited is not None:
            said.append(f"A person changed the arguments before this was done, to {to_json(self.edited).decode()}.")
        if self.approval_note:
            said.append(f"Who gave leave said: {self.approval_note}")
        if self.duplicate_of is not None:
            said.append("This repeats an earlier call: nothing was done again, the result is that of the first.")
        if self.assumed:
            said.append("It is assumed that this was done; nobody knows for certain, and no result is known.")
        return " ".join(said) or None


@dataclass(slots=True, kw_only=True)
class ToolRequest:
    """A call that an agent or a workflow wants made, and how to record what comes of it.

    Args:
        name: the step's name.
        key: the step's key; None numbers the name within the current scope.
        asked: the arguments as they were asked for, compared on resume.
        arguments: the same, validated unless `validated` is false: then that is done where they are fixed.
        validate: makes arguments of JSON, as a person may have edited it.
        invoke: makes the call; called again with the same key when the contract allows it.
        succeeded, failed: what to record of a result, or of an exception. `failed` raises what ends the run.
        rules: the tool's own and those that the agent has for it.
        group: questions of one group wake the run together; the request's own key unless given.
        returns: the JSON schema of the result, where it is known: what a person says came of it has to fit.
        insists, undoes, first, when_committed, when_unknown: the runtime's, for calls that undo an effect: no failure
            of theirs is the last word, and what they undo is settled with them.
        fixed: the runtime's: the arguments as they are canonical, and validated from that.
        notes: what the model has to be told besides, filled in while the call is made.
    """

    tool: str
    name: str
    agent: str
    contract: Contract
    version: str
    timeout_ms: int
    schema: dict[str, Any]
    asked: Any
    arguments: dict[str, Any]
    validate: Callable[[str | dict[str, Any] | None], dict[str, Any]]
    invoke: Invoke
    succeeded: Callable[[Any, Notes], Outcome]
    failed: Callable[[Exception], Outcome]
    rules: tuple[Rule, ...] = ()
    key: str | None = None
    group: str | None = None
    message: Role | None = None
    tries: int | None = None
    validated: bool = True
    returns: dict[str, Any] | None = None
    insists: bool = False
    undoes: EffectId | None = None
    first: Callable[[], Awaitable[None]] | None = None
    when_committed: tuple[Any, ...] = ()
    when_unknown: tuple[Any, ...] = ()
    notes: Notes = field(default_factory=Notes)
    fixed: tuple[bytes, dict[str, Any]] | None = None


# -- declaring ------------------------------------------------------------------------------------------------------


def effect_class(effect: object) -> EffectClass:
    if effect is None:
        return EffectClass.UNSAFE
    if effect in CLASSES:
        return EffectClass(cast(str, effect))
    raise DefinitionError(f"A tool's effect is one of {', '.join(CLASSES)}, or omitted, not {effect!r}.")


def checked_contract(name: str, contract: Contract, schema: Mapping[str, Any], *, is_async: bool) -> Contract:
    """The contract itself, if its promises go together. `DefinitionError` otherwise."""
    effect = contract.effect
    if effect is EffectClass.TRANSACTION and not is_async:
        raise DefinitionError(f"The transaction tool {name!r} has to be async: ctx.tx belongs to the event loop.")
    if contract.key_ttl_ms is not None and effect is not EffectClass.KEYED:
        raise DefinitionError(f'Tool {name!r}: key_ttl says how long a provider keeps keys; it needs effect="keyed".')
    if contract.on_unknown is not OnUnknown.ASK and effect is not EffectClass.UNSAFE:
        raise DefinitionError(f"Tool {name!r}: on_unknown is for unsafe tools; a {effect} one is settled otherwise.")
    if not 1 <= contract.tries <= limits.STEP_RETRIES_MAX:
        raise DefinitionError(f"Tool {name!r}: tries are 1 to {limits.STEP_RETRIES_MAX}, not {contract.tries}.")
    if contract.dedupe is None and contract.dedupe_ttl_ms is not None:
        raise DefinitionError(f"Tool {name!r}: dedupe_ttl needs dedupe.")
    if contract.dedupe is not None:
        if not contract.ledger:
            raise DefinitionError(f"Tool {name!r} changes nothing here, so it has nothing to deduplicate.")
        _check_template(name, contract.dedupe, schema)
    return contract


def demand_reconciler(name: str, contract: Contract) -> None:
    """Raise `DefinitionError` for a reconcilable tool that cannot be asked. Checked when an agent takes the tool: the
    reconciler is declared after it."""
    if contract.effect is EffectClass.RECONCILABLE and contract.reconcile is None:
        raise DefinitionError(f"The reconcilable tool {name!r} has no reconciler: declare one with @{name}.reconcile.")


def check_tools(agent_id: str, tools: Iterable[Any]) -> None:
    """Raise `DefinitionError` for tools that cannot keep their promises, and warn of those that made none."""
    undeclared: list[str] = []
    for tool in tools:
        if tool.spec.agent is not None:
            continue
        demand_reconciler(tool.name, tool.contract)
        if not tool.contract.declared:
            undeclared.append(tool.name)
    _warn_of(agent_id, undeclared)


def demand_usable(agent_id: str, listed: Mapping[str, Any], tool: Any) -> None:
    """Raise `DefinitionError` for a step's tool that cannot keep its promises. One that its workflow does not list was
    not looked at when Holdfast started, and who undoes an effect finds its tool by name in that list."""
    if listed.get(tool.name) is tool:
        return
    demand_reconciler(tool.name, tool.contract)
    if tool.contract.compensation is not None:
        raise DefinitionError(
            f"The tool {tool.name!r} says how it is undone, but {agent_id!r} does not list it, so nobody would find "
            f"that: say tools=[{tool.name}] where the workflow is declared."
        )
    if not tool.contract.declared and tool.spec.agent is None and (agent_id, tool.name) not in _warned:
        _warned.add((agent_id, tool.name))
        _warn_of(agent_id, [tool.name])


_warned: set[tuple[str, str]] = set()


def _warn_of(agent_id: str, undeclared: Sequence[str]) -> None:
    if undeclared:
        log.warning(
            "%s: %s declare no effect and count as unsafe: after a crash in one of them a person is asked what became "
            'of it. Say @tool(effect="read"), "keyed", "reconcilable", "transaction" or "unsafe".',
            agent_id,
            ", ".join(undeclared),
        )


def compensation_of(given: Sequence[str]) -> frozenset[str]:
    """When an agent's effects are undone."""
    chosen = frozenset([given] if isinstance(given, str) else given)
    if not chosen <= {"failure", "cancel"}:
        raise DefinitionError(f'compensate is some of "failure" and "cancel", not {sorted(chosen)}.')
    return chosen


def rules_of(given: Rule | Sequence[Rule]) -> tuple[Rule, ...]:
    rules: tuple[Any, ...] = (given,) if isinstance(given, (Confirm, Deny)) else tuple(given)
    if not all(isinstance(rule, (Confirm, Deny)) for rule in rules):
        raise DefinitionError(f"A policy is Confirm(…), Deny(…) or a list of them, not {given!r}.")
    return rules


def _check_template(name: str, template: str, schema: Mapping[str, Any]) -> None:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required: Sequence[str] = schema.get("required") or ()
    try:
        named = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as exc:
        raise DefinitionError(f"Tool {name!r}: dedupe={template!r} is not a template: {exc}.") from None
    if not named:
        raise DefinitionError(f"Tool {name!r}: dedupe={template!r} names no argument; every call would be a duplicate.")
    for one in named:
        if one not in properties:
            known = ", ".join(sorted(properties)) or "none"
            raise DefinitionError(f"Tool {name!r}: dedupe names {one!r}, but the arguments are: {known}.")
        if one not in required and "default" not in properties[one]:
            raise DefinitionError(f"Tool {name!r}: dedupe names {one!r}, which may be missing: make it required.")


def business_key(contract: Contract, schema: Mapping[str, Any], arguments: bytes) -> str | None:
    """What `dedupe` makes of a call's canonical arguments."""
    if contract.dedupe is None:
        return None
    given: dict[str, Any] = decode(arguments)
    properties: Mapping[str, Any] = schema.get("properties") or {}
    defaults: dict[str, Any] = {n: p["default"] for n, p in properties.items() if "default" in p}
    made = contract.dedupe.format_map(defaults | given)
    if len(made) > limits.BUSINESS_KEY_CHARS_MAX or "\x00" in made:
        import hashlib

        return "sha256:" + hashlib.sha256(made.encode()).hexdigest()
    return made


def ms_of(name: str, what: str, given: timedelta | float | None) -> int | None:
    """Seconds or a timedelta as ms; None if none was given."""
    if given is None:
        return None
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if not 0 < seconds * 1000 <= limits.EXPIRES_MS_MAX:
        raise DefinitionError(f"Tool {name!r}: {what} is above 0 and at most 366 days, not {given!r}.")
    return max(1, round(seconds * 1000))
