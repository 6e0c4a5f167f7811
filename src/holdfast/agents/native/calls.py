"""Tool calls as steps: each call of an answer is validated, made and recorded, and whatever goes wrong is told to the
model instead of ending the run.

A call's key is its model step's key and its place among the answer's calls; the provider's call id is data. Here a call
becomes a request; how it is made, and how often, is the runtime's business, by the tool's contract.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import ToolCallPart, is_multi_modal_content
from pydantic_core import to_json

from holdfast.agents import base
from holdfast.agents.effects import Contract, FailedBefore, Held, Notes, ToolRequest
from holdfast.agents.native import messages as stored
from holdfast.agents.native.middleware import Middleware, ToolCall, overridden
from holdfast.agents.native.prompt import Said
from holdfast.agents.native.turn import Turn
from holdfast.agents.tools import InvalidArguments, ModelRetry, Tool, ToolReturn, json_object
from holdfast.domain import limits
from holdfast.domain.effects import EffectClass, NotDone
from holdfast.domain.encoding import encode
from holdfast.domain.errors import (
    CallRefused,
    ChildFailed,
    JournalMismatch,
    LimitReached,
    NotEncodable,
    RunError,
    StepFailed,
    UnscopedConcurrency,
)
from holdfast.domain.journal import StepKind
from holdfast.domain.policies import Deny
from holdfast.domain.threads import Role

# What counts against the retry budget of a tool: the model got it wrong and should try again.
RETRIES = frozenset({"unknown_tool", "invalid_arguments", "tool_retry", "handoff_refused"})
# Names of tools that there are not share one budget: a model can invent them without end.
UNKNOWN = ""
NO_NOTES = Notes()
# What the runtime, and not the tool, says of a call.
RUNTIME_CODES = frozenset({"tool_timeout", "tool_error", "effect_unknown", "result_lost"})
FIX = "\n\nFix the errors and try again."


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an answer: where it stands, what its step is called, and what the model wrote."""

    index: int
    key: str
    part: ToolCallPart

    @property
    def tool(self) -> str:
        return self.part.tool_name


class Told(Exception):
    """A call did not work; `code` is recorded, the message is for the model."""

    def __init__(self, code: str, message: str, error_type: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = stored.clean(message)[: limits.ERROR_CHARS_MAX]
        self.error_type = error_type


def calls_of(key: str, parts: Sequence[ToolCallPart]) -> list[Call]:
    return [Call(index, f"{key}/{index}", part) for index, part in enumerate(parts)]


async def make(turn: Turn, calls: Sequence[Call]) -> None:
    """Make the calls, those that may run together in parallel, and put what came of them into the prompt. Whatever of
    them needs leave is asked for first, all at once; the others do not wait for it."""
    wanted = {call.key: request_of(turn, call) for call in calls}
    await turn.run.hold([one for one in wanted.values() if isinstance(one, ToolRequest)])
    recorded: list[base.Recorded] = []
    for group in _groups(turn, calls):
        recorded.extend(await _together(turn, group, wanted))
    for call, result in zip(calls, recorded, strict=True):
        hear(turn, call, result)
    for call, result in zip(calls, recorded, strict=True):
        count(turn, call, result)
    turn.requests.clear()


def _groups(turn: Turn, calls: Sequence[Call]) -> list[list[Call]]:
    """Calls in order, cut where one must run alone: a sequential tool is a barrier."""
    groups: list[list[Call]] = []
    joinable = False
    for call in calls:
        tool = turn.plan.tools.get(call.tool)
        alone = not turn.spec.parallel_tools or (tool is not None and tool.spec.sequential)
        if joinable and not alone:
            groups[-1].append(call)
        else:
            groups.append([call])
        joinable = not alone
    return groups


async def _together(turn: Turn, group: Sequence[Call], wanted: Mapping[str, ToolRequest | Told]) -> list[base.Recorded]:
    if len(group) == 1:
        with turn.run.scope(group[0].key):
            return [await _make_one(turn, group[0], wanted[group[0].key])]
    parts = [(call.key, partial(_make_one, turn, call, wanted[call.key])) for call in group]
    results = await turn.run.branches(parts)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, base.Recorded)]


async def _make_one(turn: Turn, call: Call, wanted: ToolRequest | Told) -> base.Recorded:
    if isinstance(wanted, Told):
        if turn.run.begun(call.key):
            return await turn.run.act(_of_no_tool(turn, call, wanted))
        return await tell(turn, call, wanted)
    tool = turn.plan.tools[call.tool]
    if tool.spec.agent is not None:
        return await _ask_agent(turn, call, tool, wanted)
    return await turn.run.act(wanted)


def request_of(turn: Turn, call: Call) -> ToolRequest | Told:
    """The call as the runtime makes it, or what the model is told instead. Worked out once."""
    known = turn.requests.get(call.key)
    if known is None:
        try:
            known = _request(turn, call, *_prepared(turn, call))
        except Told as told:
            known = told
        turn.requests[call.key] = known
    return known


def _request(turn: Turn, call: Call, tool: Tool[..., Any], arguments: dict[str, Any]) -> ToolRequest:
    spec = tool.spec
    return ToolRequest(
        tool=spec.name,
        name=call.tool,
        agent=turn.acting.id,
        contract=spec.contract,
        version=spec.version,
        timeout_ms=spec.timeout_ms,
        schema=spec.parameters,
        asked=call.part.args,
        arguments=arguments,
        validate=spec.validate,
        invoke=partial(_invoke, turn, call, tool),
        succeeded=partial(succeeded, call),
        failed=partial(_failed, call),
        rules=(*spec.contract.rules, *turn.spec.rules_for(spec.name)),
        key=call.key,
        group=call.key.rpartition("/")[0],
        message=Role.TOOL,
    )


def _of_no_tool(turn: Turn, call: Call, told: Told) -> ToolRequest:
    """A call that began before its tool was taken away, or took other arguments: nobody here can say what became of it,
    so a person is asked, and it is never made again."""

    async def nobody(attempt: Held, arguments: dict[str, Any]) -> Any:
        raise told

    return ToolRequest(
        tool=call.tool,
        name=call.tool,
        agent=turn.acting.id,
        contract=Contract(effect=EffectClass.UNSAFE),
        version="",
        timeout_ms=limits.TOOL_TIMEOUT_MS,
        schema={"type": "object"},
        asked=call.part.args,
        arguments={},
        validate=json_object,
        invoke=nobody,
        succeeded=partial(succeeded, call),
        failed=partial(_failed, call),
        rules=(Deny(reason=told.message),),
        key=call.key,
        group=call.key.rpartition("/")[0],
        message=Role.TOOL,
        validated=False,
    )


def chosen(turn: Turn, key: str, parts: Sequence[ToolCallPart]) -> tuple[Any, ...]:
    """What the ledger has to hold of an answer's calls, written in the commit of the answer."""
    requests = [request_of(turn, call) for call in calls_of(key, parts) if call.tool in turn.plan.tools]
    acting = [one for one in requests if isinstance(one, ToolRequest) and turn.plan.tools[one.tool].spec.agent is None]
    return turn.run.planned(acting)


def _prepared(turn: Turn, call: Call) -> tuple[Tool[..., Any], dict[str, Any]]:
    """The tool and its validated arguments; `Told` if there is no such tool or the arguments do not fit."""
    tool = turn.plan.tools.get(call.tool)
    if tool is None:
        known = ", ".join(sorted([*turn.plan.tools, *turn.plan.transfers])) or "none"
        raise Told("unknown_tool", f"There is no tool {call.tool!r}. The tools are: {known}.")
    try:
        return tool, tool.spec.validate(call.part.args)
    except InvalidArguments as exc:
        raise Told("invalid_arguments", exc.message + FIX) from None


# --- one call --------------------------------------------------------------------------------------------------------


async def _invoke(turn: Turn, call: Call, tool: Tool[..., Any], attempt: Held, arguments: dict[str, Any]) -> Any:
    """The call itself, with the agent's middleware around it."""

    async def innermost(made: ToolCall) -> Any:
        return await tool.invoke_validated(
            turn.run, made.arguments, key=made.key, attempt=made.attempt, handle=attempt.handle
        )

    return await wrapped(turn, ToolCall(call.tool, arguments, call.key, attempt.number), innermost)


def _failed(call: Call, exc: Exception) -> base.Outcome:
    return failed(call, told_of(exc))


def _switched_off(tool: Tool[..., Any]) -> Told:
    return Told("tool_disabled", f"error: the tool {tool.name!r} is switched off; do without it")


async def wrapped(turn: Turn, call: ToolCall, innermost: Callable[[ToolCall], Awaitable[Any]]) -> Any:
    """The call with the agent's middleware around it, the first outermost."""
    around = overridden(turn.spec.middleware, "around_tool")
    if not around:
        return await innermost(call)
    info = turn.info()
    next = innermost
    for middleware in reversed(around):
        next = partial(_around, middleware, info, next)
    return await next(call)


async def _around(middleware: Middleware, info: Any, next: Callable[[ToolCall], Awaitable[Any]], call: ToolCall) -> Any:
    return await middleware.around_tool(info, call, next)


def told_of(exc: Exception) -> Told:
    """What the model is told of an exception; what ends the run is raised instead."""
    match exc:
        case Told():
            return exc
        case ModelRetry():
            return Told("tool_retry", exc.message, "ModelRetry")
        case ToolFailed():
            return Told("tool_error", f"error: {exc.message}", "ToolFailed")
        case NotEncodable():
            return Told("not_encodable", f"error: the tool's result cannot be used: {exc.message}", "NotEncodable")
        case ChildFailed():
            return Told("child_failed", f"error: {exc.message}", "ChildFailed")
        case CallRefused():
            return _refused(exc)
        case FailedBefore():
            return Told(exc.code, exc.message, exc.error_type)
        case StepFailed() if exc.code in RUNTIME_CODES:
            return Told(exc.code, f"error: {exc.message}", exc.error_type)
        case NotDone():
            return Told("not_done", f"error: {exc.message}", "NotDone")
        case LimitReached() | JournalMismatch() | UnscopedConcurrency():
            raise exc
        case _:
            return Told("tool_error", f"error: {str(exc) or type(exc).__name__}", type(exc).__name__)


def _refused(exc: CallRefused) -> Told:
    """The call was not made. Arguments that do not fit, and only those, the model can mend."""
    if exc.code == "invalid_arguments":
        return Told(exc.code, exc.message + FIX)
    return Told(exc.code, f"error: {exc.message}")


async def _ask_agent(turn: Turn, call: Call, tool: Tool[..., Any], wanted: ToolRequest) -> base.Recorded:
    """An agent used as a tool. The child run is a step of its own, outside the tool's: it may outlast the process,
    and has no timeout. The tool's step then records the answer as the message that the model reads."""
    told: Told | None = None
    value: Any = None
    try:
        arguments = await turn.run.permit(wanted)
        if not await _may_start(turn.run, tool):
            raise _switched_off(tool)
        made = ToolCall(call.tool, arguments, call.key, 1)
        value = await wrapped(turn, made, partial(_invoked, turn.run, tool))
    except Exception as exc:
        told = told_of(exc)

    async def body(attempt: base.Attempt) -> base.Outcome:
        try:
            return failed(call, told) if told is not None else succeeded(call, value, wanted.notes)
        except NotEncodable as exc:
            return failed(call, told_of(exc))

    return await turn.run.perform(_message(call), body)


async def _invoked(run: base.RunContext, tool: Tool[..., Any], call: ToolCall) -> Any:
    return await tool.invoke_validated(run, call.arguments, key=call.key, attempt=call.attempt)


async def _may_start(run: base.RunContext, tool: Tool[..., Any]) -> bool:
    """Whether the tool was switched on as its child was about to start: one under way is not forgotten, so it is
    recorded. Behind is soon enough, since the child's opening waits for all that is earlier."""

    async def body(attempt: base.Attempt) -> base.Outcome:
        return base.Outcome(payload=encode(await run.tool_enabled(tool.name)))

    recorded = await run.perform(base.Action(kind=StepKind.VALUE, name="enabled", write_behind=True), body)
    return recorded.unwrap() == b"true"


async def tell(turn: Turn, call: Call, told: Told) -> base.Recorded:
    """Record that a call was refused, as the answer that the model reads."""

    async def body(attempt: base.Attempt) -> base.Outcome:
        return failed(call, told)

    return await turn.run.perform(_message(call), body)


def _message(call: Call) -> base.Action:
    """A tool step that does nothing but answer the call."""
    return base.Action(
        kind=StepKind.TOOL,
        name=call.tool,
        key=call.key,
        arguments=call.part.args,
        write_behind=True,
        message=Role.TOOL,
    )


# --- what came of it -------------------------------------------------------------------------------------------------


def succeeded(call: Call, value: Any, notes: Notes = NO_NOTES) -> base.Outcome:
    """The result as JSON, with files and texts that came besides it; `NotEncodable` if it cannot be stored."""
    more, content = b"", list[Any]()
    told = notes.told()
    if isinstance(value, ToolReturn):
        content = [value.content] if isinstance(value.content, str) else list(value.content or ())
        more = _member(b"metadata", value.metadata) if value.metadata is not None else b""
        value = value.return_value
    value, files = _without_files(value)
    if told is not None:
        content.append(told)
    if files or content:
        more = _member(b"content", stored.dump_content([*files, *content])) + more
    said = encode(value, what=f"The result of tool {call.tool}")
    payload = stored.tool_payload(call.part.tool_call_id, call.tool, call.index, said, failed=False, more=more)
    return base.Outcome(payload=payload)


def _without_files(value: Any) -> tuple[Any, list[Any]]:
    """A result and the files in it, which the model is shown beside it: not every provider takes them in a result."""
    listed = isinstance(value, (list, tuple))
    items = list(cast("Sequence[Any]", value)) if listed else [value]
    files = [item for item in items if is_multi_modal_content(item)]
    if not files:
        return value, []
    rest = [item for item in items if not is_multi_modal_content(item)]
    return rest or f"{len(files)} file{'s' if len(files) > 1 else ''} attached.", files


def _member(name: bytes, value: Any) -> bytes:
    return b',"' + name + b'":' + encode(value, what="What came with a tool's result")


def failed(call: Call, told: Told) -> base.Outcome:
    """A failed step whose payload says what the model is told."""
    payload = stored.tool_payload(call.part.tool_call_id, call.tool, call.index, to_json(told.message), failed=True)
    return base.Outcome(payload=payload, failure=base.StepError(told.code, told.message, told.error_type))


def hear(turn: Turn, call: Call, recorded: base.Recorded) -> None:
    """Put the step's message into the prompt."""
    assert recorded.position is not None, "a tool's step is a message"
    turn.prompt.add(
        Said(
            position=recorded.position,
            role=Role.TOOL,
            payload=recorded.payload,
            name=call.tool,
            failed=not recorded.ok,
            error=recorded.error.message if recorded.error is not None else None,
        )
    )


def count(turn: Turn, call: Call, recorded: base.Recorded) -> None:
    """Count retries in a row; the run fails when a tool's budget is used up."""
    code = recorded.error.code if recorded.error is not None else None
    if code not in RETRIES:
        turn.tool_failures.pop(call.tool, None)
        turn.tool_failures.pop(UNKNOWN, None)
        return
    tool = turn.plan.tools.get(call.tool)
    own = tool.spec.retries if tool is not None else None
    budget = turn.spec.tool_retries if own is None else own
    name = UNKNOWN if code == "unknown_tool" else call.tool
    failures = turn.tool_failures[name] = turn.tool_failures.get(name, 0) + 1
    if failures > budget:
        assert recorded.error is not None
        what = "tools that do not exist" if name is UNKNOWN else f"the tool {call.tool!r} wrongly"
        raise RunError(
            f"The model called {what} {failures} times in a row; {budget} retries were allowed. "
            f"The last error: {recorded.error.message}",
            code="tool_retries_exhausted",
            step=recorded.key,
        )
