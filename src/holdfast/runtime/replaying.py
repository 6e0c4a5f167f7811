"""Replay: the current code of an agent, run against a recorded journal.

Invariant: the context has no model, no tool, no network and no database, because nothing of the kind is given to it;
the body of a step is never called. What code may ask of a live context it may ask here, under the same keys: what the
runtime's own parts do (branches, questions, child calls, published state) is done by the same functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast
from uuid import UUID

from holdfast.agents import base
from holdfast.agents.base import Action, Agent, Body, Recorded, RunInfo, StepError
from holdfast.agents.effects import ToolRequest, demand_usable
from holdfast.agents.native import prompt as prompts
from holdfast.domain import access, differences, limits
from holdfast.domain.differences import Difference
from holdfast.domain.encoding import decode, digest, encode
from holdfast.domain.errors import (
    CallRefused,
    Invalid,
    JournalMismatch,
    LimitReached,
    NotFound,
    Signal,
    UnscopedConcurrency,
    UserCodeFailed,
)
from holdfast.domain.forks import Override, overriding
from holdfast.domain.journal import Entry, NewBlob, StepKind, StepStatus
from holdfast.domain.messages import response_text
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Reason, Replay, Verdict
from holdfast.domain.runs import RunLimits
from holdfast.domain.threads import Message, Role
from holdfast.runtime import branches, children, code, isolation, scopes
from holdfast.runtime.context import merged_limits
from holdfast.runtime.executor import failure_from, vars_of
from holdfast.runtime.holds import BY_ITSELF, Holds, Question
from holdfast.runtime.script import Divergence, Ended, Halted, Request, Script, Watched
from holdfast.runtime.states import State
from holdfast.runtime.waits import Wait
from holdfast.store.claims import Claimed
from holdfast.store.journal import Op

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

T = TypeVar("T")
_ENDS_THE_RUN: Final = (LimitReached, JournalMismatch, UnscopedConcurrency)
_NOT_HERE: Final = "Bodies of steps do not run in a replay."


class Restarted(Signal):
    """The code handed over to a successor, with this input."""

    def __init__(self, input: bytes) -> None:
        super().__init__()
        self.input = input


class _NoLedger:
    """The ledger of a run that makes no calls."""

    def known(self, key: str) -> None:
        return None

    def begun(self, key: str) -> bool:
        return False


class _NoActivity:
    """Nothing parks: who comes to the end of the record is let go."""

    def forked(self, tasks: int) -> None: ...

    def joined(self, left: int) -> None: ...


class _Answers(Holds):
    """Questions of a recorded run: those that were not asked then are not asked now."""

    def __init__(self, ctx: ReplayContext) -> None:
        super().__init__(ctx.as_live)
        self._replay = ctx

    async def open(self, questions: Sequence[Question], ops: Sequence[Op] = ()) -> None:
        asked = questions[0]
        arguments = {"question": asked.message}
        raise self._replay.beyond(
            Request(asked.key, StepKind.INTERRUPT, asked.name, asked.digest, arguments, self._replay.path)
        )

    def judged_then(self, entry: Entry) -> access.Verdict | None:
        """What the rules said of a recorded call; None where the record does not tell. A tool may have asked for leave
        by itself, which is no rule's doing."""
        assert entry.key is not None, "a result has a key"
        error: dict[str, Any] = decode(entry.error) or {}
        denied = error.get("code") == "tool_denied"
        key = self._leave_key(entry.key, 1)
        asked = self._ctx.journal.results.get(key)
        if asked is None:
            allowed = access.Verdict.ALLOW if entry.status is StepStatus.SUCCEEDED else None
            return access.Verdict.DENY if denied else allowed
        if denied and decode(asked.payload).get("arguments") is None:
            return access.Verdict.DENY  # what it was asked for was forbidden meanwhile, not what somebody made of it
        opened = self._ctx.journal.openings.get(key)
        by_itself = opened is not None and decode(opened.payload).get("reason") == BY_ITSELF
        return None if by_itself else access.Verdict.CONFIRM

    def judged_now(self, request: ToolRequest, key: str) -> access.Verdict | None:
        """What today's rules say of it; None if the tool does not take its arguments any more."""
        if not request.rules:
            return access.Verdict.ALLOW
        try:
            _, arguments = self.fixed(request, key)
        except CallRefused:
            return None
        return access.decide_call(request.rules, arguments).verdict


_JUDGED: Final = {
    access.Verdict.ALLOW: "not asked for",
    access.Verdict.CONFIRM: "asked for",
    access.Verdict.DENY: "denied",
}


class _Published(State):
    """The thread's document, as the recorded changes made it. What the code would make of it now is compared: that
    follows from the document alone."""

    def __init__(self, ctx: ReplayContext, recorded: RecordedRun) -> None:
        super().__init__(ctx.as_live, cast("Claimed", _Inherited(ctx.run, recorded.acted())))
        self._replay = ctx
        self._base = self._newest = recorded.state
        self._begun = True

    async def _record(self, key: str, compute: Callable[[Any], Any]) -> int:
        version = await super()._record(key, compute)
        before, after = self._document(version - 1).value, self._document(version).value
        self._replay.demand_same_value(key, after, decode(encode(compute(decode(encode(before))))))
        return version


@dataclass(frozen=True, slots=True)
class _Facts:
    """What questions, waits and state ask of the run itself."""

    created_at: int
    has_state: bool = True


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What published state asks of a claim."""

    run: _Facts
    entries: tuple[Entry, ...]
    inherited: int = 0


class ReplayContext:
    """Implements `agents.base.RunContext` for a recorded run."""

    def __init__(self, recorded: RecordedRun, agent: Agent, agents: Mapping[str, Agent], deps: Any) -> None:
        self.script = Script.of(recorded)
        self.recorded = recorded
        self.progress = 0
        self.refused: Divergence | None = None
        self.ended_by: BaseException | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.activity = _NoActivity()
        self.ledger = _NoLedger()
        self.run = _Facts(recorded.created_at)
        self.began_at = recorded.created_at
        self.journal = self._watched()
        self._agent = agent
        self._agents = agents
        self._deps = isolation.guarded(deps, self.refuse)
        self._acting = recorded.agent
        self._halted: dict[str, BaseException] = {}
        self._messages = {m.position: m for m in (*recorded.messages, *recorded.own_messages())}
        self._info = _info_of(recorded)
        self.in_flight: dict[str, Any] = {}
        self.holds = _Answers(self)
        self.published = _Published(self, recorded)

    @property
    def as_live(self) -> RunContext:
        """The same for functions of the runtime that use of a live context what is here under the same names."""
        return cast("RunContext", self)

    def _watched(self) -> Watched:
        known = self.script.journal
        journal = Watched(known.results, known.openings, known.attempts, known.steps, known.inherited)
        journal.ask = self._asked_for
        return journal

    def refuse(self, said: str) -> None:
        """Code reached for something outside: the replay has diverged, whatever the code makes of the refusal."""
        if self.refused is None:
            following = next(iter(self.script.missing()), None)
            self.refused = self.stopped(Reason.ISOLATED, said, following)

    def stopped(self, reason: Reason, said: str, following: Entry | None) -> Divergence:
        """The code did not get far enough to compare more: the step that would have followed is where."""
        shown = self.script.outcome() if following is None else self.script.side(following)
        return Divergence(None if following is None else following.seq, reason, said, shown, None)

    # -- what is known ----------------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        return self._info

    @property
    def deps(self) -> Any:
        return self._deps

    @property
    def state(self) -> base.State:
        return self.published

    @property
    def run_limits(self) -> RunLimits:
        return merged_limits(self._agent.default_limits, self.recorded.limits)

    @property
    def acting_agent(self) -> str:
        return self._acting

    @property
    def input_position(self) -> int:
        return self.recorded.input_position

    def listening(self) -> bool:
        return False

    def hand_over(self, agent_id: str) -> None:
        self._acting = agent_id

    def agent(self, agent_id: str) -> Agent:
        found = self._agents.get(agent_id)
        if found is None:
            raise NotFound(f"There is no agent {agent_id!r}.", code="agent_not_found")
        return found

    async def tool_enabled(self, name: str) -> bool:
        raise AssertionError(_NOT_HERE)

    async def blocking(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        raise AssertionError(_NOT_HERE)

    def monotonic(self) -> float:
        return 0.0

    # -- the primitive ----------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The scope that the current task stands in."""
        try:
            return scopes.current(self).path
        except UnscopedConcurrency:
            return ""

    def demand_open(self) -> None:
        """Raise what ended this branch, or one below it: nothing goes on from there."""
        self._move()
        path = self.path
        for halted, signal in self._halted.items():
            if not path or halted == path or halted.startswith(path + "/"):
                raise _again(signal)

    def _move(self) -> None:
        self.progress += 1
        if self.progress > limits.REPLAY_STEPS_MAX:
            if self.progress == limits.REPLAY_STEPS_MAX + 1:
                said = f"The code asked for more than {limits.REPLAY_STEPS_MAX:,} steps."
                self.script.found.append(Divergence(None, Reason.LIMIT, said, self.script.outcome(), None))
            raise self._halt(Halted())

    @property
    def halted(self) -> list[BaseException]:
        """What let branches go, whatever the code made of it."""
        return list(self._halted.values())

    def _halt(self, signal: BaseException) -> BaseException:
        self._halted.setdefault(self.path, signal)
        return signal

    def beyond(self, request: Request) -> BaseException:
        return self._halt(self.script.beyond(request))

    def _asked_for(self, key: str, kind: StepKind, name: str, digested: bytes | None) -> Entry | None:
        """A question is looked up: the same as any other step."""
        self._move()
        return self._answered(Request(key, kind, name, digested, None, self.path))

    def _answered(self, request: Request) -> Entry | None:
        try:
            return self.script.ask(request)
        except Halted as signal:
            raise self._halt(signal) from None

    async def perform(self, action: Action, body: Body) -> Recorded:
        self.demand_open()
        try:
            key = action.key or scopes.current(self).next_key(action.name)
            digested = None if action.arguments is None else digest(action.arguments)
            arguments = None if action.arguments is None else decode(encode(action.arguments))
            request = Request(key, action.kind, action.name, digested, arguments, self.path)
            entry = self._answered(request)
            if entry is None:
                raise self.beyond(request)
            if action.asked is not None and entry.prompt is not None:
                self._demand_same_prompt(entry, request, action.asked)
            self.published.recalled(key)
            return self._recall(entry)
        except _ENDS_THE_RUN as exc:  # also if the code catches it, as in a live run
            self.close(exc)
            raise

    def close(self, exc: BaseException) -> None:
        """From now on the code can only end: with this, as a live run does."""
        self.ended_by = self.ended_by or exc
        self._halt(exc)

    def _recall(self, entry: Entry) -> Recorded:
        assert entry.key is not None, "a result has a key"
        place = self.recorded.places.get(entry.pos)
        return Recorded(
            key=entry.key,
            ok=entry.status is StepStatus.SUCCEEDED,
            payload=entry.payload,
            error=None if entry.error is None else StepError(**decode(entry.error)),
            usage=entry.usage,
            position=None if place is None else place.position,
        )

    # -- prompts ----------------------------------------------------------------------------------------------------

    def _demand_same_prompt(
        self, entry: Entry, request: Request, asked: Callable[[], tuple[bytes, tuple[NewBlob, ...]]]
    ) -> None:
        """Mostly the records are the same bytes. If not, what counts is what the model would see."""
        record, blobs = asked()
        if record == entry.prompt:
            return
        was: dict[str, Any] = decode(entry.prompt)
        now: dict[str, Any] = decode(record)
        if was == now:
            return
        found = differences.first(self._rebuilt(was, ()), self._rebuilt(now, blobs))
        if found is not None:
            raise self._halt(self.script.diverge(entry, Reason.PROMPT_CHANGED, request, found))

    def _rebuilt(self, record: dict[str, Any], blobs: Sequence[NewBlob]) -> dict[str, Any]:
        here = {blob.hash: blob.data or b"null" for blob in blobs}

        def load(first: int, last: int) -> list[Message]:
            return [self._messages[n] for n in range(first, last + 1) if n in self._messages]

        def blob(hash: bytes) -> bytes:
            return here.get(hash) or self.recorded.blobs.get(hash) or b'{"user":"(not in the record)"}'

        return prompts.rebuild(record, load, blob)

    # -- parallel work ----------------------------------------------------------------------------------------------

    def scope(self, name: str) -> AbstractContextManager[None]:
        return scopes.within(name, self)

    async def branches(
        self, parts: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, T]]]]
    ) -> list[T | BaseException]:
        return await branches.run(self.as_live, parts)

    async def gather(self, /, *parts: Awaitable[Any]) -> tuple[Any, ...]:
        return await branches.gather(self.as_live, parts)

    # -- holds and effects ------------------------------------------------------------------------------------------

    async def hold(self, requests: Sequence[ToolRequest]) -> None:
        """Leave is asked for by a call that is made; here none is."""
        self.demand_open()

    async def permit(self, request: ToolRequest) -> dict[str, Any]:
        self.demand_open()
        assert request.key is not None, "a call that is only permitted has a key of its own"
        return (await self.holds.permit(request, request.key)).typed

    async def act(self, request: ToolRequest) -> Recorded:
        action = Action(
            kind=StepKind.TOOL, name=request.name, key=request.key, arguments=request.asked, message=request.message
        )
        recorded = await self.perform(action, _never)
        self._demand_same_rules(request, recorded)
        return recorded

    def _demand_same_rules(self, request: ToolRequest, recorded: Recorded) -> None:
        """Leave for the call would be asked for, or not, as it was. Of a fork's calls its policy decided too."""
        if self.recorded.redacted or self.recorded.policed:
            return
        entry, asked = self.script.journal.results[recorded.key], self.script.asked[recorded.key]
        was, now = self.holds.judged_then(entry), self.holds.judged_now(request, recorded.key)
        if was is None or now is None or was is now:
            return
        found = Difference("leave", _JUDGED[was], _JUDGED[now])
        call = f"the call of step {entry.seq}, {request.tool}"
        said = f"Leave for {call}, was {_JUDGED[was]}; it would now be {_JUDGED[now]}."
        raise self._halt(self.script.diverge(entry, Reason.RULES_CHANGED, asked, found, said))

    def planned(self, requests: Sequence[ToolRequest]) -> tuple[Any, ...]:
        raise AssertionError(_NOT_HERE)

    def overrides(self, key: str) -> Sequence[Override]:
        return overriding(self.recorded.overrides, self.script.journal, key)

    def begun(self, key: str) -> bool:
        """Whether it began is not asked of a call that is recorded, and no other one is made."""
        return False

    async def stand_still(self, wait: Wait) -> None:
        """The code waits for what had not come yet."""
        raise self.beyond(self.script.asked[wait.key])

    async def ask(self, question: str, **options: Any) -> Any:
        self.demand_open()
        return await self.holds.ask(question, options)

    async def wait_event(
        self, name: str, *, key: str = "", timeout: timedelta | None = None, since: datetime | None = None
    ) -> Any:
        return await self.holds.wait_event(name, key, timeout, since)

    # -- what workflows use -----------------------------------------------------------------------------------------

    async def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]] | Callable[..., T],
        /,
        *args: Any,
        retry: base.Retry = base.NO_RETRY,
        timeout: timedelta | None = None,
        returns: Any = None,
        simulate: Any = base.UNSET,
        **kwargs: Any,
    ) -> T:
        given = tuple(isolation.real(one) for one in args)
        named = {option: isolation.real(one) for option, one in kwargs.items()}
        call = code.Call(name, isolation.real(fn), given, named, retry, timeout, returns)
        if code.is_held(call):
            acting = self._agent if self.acting_agent == self._agent.id else self.agent(self.acting_agent)
            demand_usable(acting.id, acting.tools(), call.fn)
            recorded = await self.act(code.request(self, call))
        else:
            recorded = await self.perform(*code.planned(self, call))
        return cast(T, code.value_of(call, recorded))

    async def emit(self, name: str, data: Any = None) -> None:
        payload = encode({"name": name, "data": data}, what=f"The data of event {name!r}")
        recorded = await self.perform(Action(kind=StepKind.EMIT, name=name), _never)
        self._demand_same_event(recorded, decode(payload))

    def _demand_same_event(self, recorded: Recorded, now: dict[str, Any]) -> None:
        """What was sent is known without running anything, so it is compared too."""
        found = None if self.recorded.redacted else differences.first(decode(recorded.payload), now)
        if found is not None:
            entry, request = self.journal.results[recorded.key], self.script.asked[recorded.key]
            said = f"The event {request.name!r} of step {entry.seq} would be sent with other data."
            raise self._halt(self.script.diverge(entry, Reason.STEP_CHANGED, request, found, said))

    def demand_same_value(self, key: str, was: Any, now: Any) -> None:
        """The published document would be the same."""
        found = None if self.recorded.redacted else differences.first(was, now)
        if found is not None:
            entry, request = self.journal.results[key], self.script.asked[key]
            said = f"The document that step {entry.seq} publishes would be another one."
            raise self._halt(self.script.diverge(entry, Reason.STEP_CHANGED, request, found, said))

    async def now(self) -> datetime:
        return datetime.fromtimestamp(await self._value("now") / 1000, UTC)

    async def random(self) -> float:
        return await self._value("random")

    async def uuid(self) -> UUID:
        return UUID(hex=await self._value("uuid"), version=4)

    async def _value(self, name: str) -> Any:
        return decode((await self.perform(Action(kind=StepKind.VALUE, name=name), _never)).unwrap())

    async def sleep(self, duration: timedelta | float) -> None:
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
        wait_ms = round(seconds * 1000)
        if not 0 <= wait_ms <= limits.SLEEP_MS_MAX:
            raise Invalid(f"A sleep lasts from 0 to {limits.SLEEP_MS_MAX // 86_400_000:,} days, not {seconds} s.")
        await self.perform(Action(kind=StepKind.SLEEP, name="sleep", arguments={"ms": wait_ms}), _never)

    async def call(self, agent: Any, input: Any = None, *, name: str | None = None) -> Any:
        self.demand_open()
        child = self.agent(agent) if isinstance(agent, str) else cast(Agent, isolation.real(agent))
        return await children.call(self.as_live, child, isolation.real(input), name)

    async def restart(self, input: Any = None) -> None:
        self.demand_open()
        scopes.current(self)
        raise self._halt(Restarted(self._agent.accept(input)))

    # -- the thread -------------------------------------------------------------------------------------------------

    async def history(self, *, turns: int | None = None) -> list[Message]:
        found = [m for m in self.recorded.messages if not m.void]
        if turns is None:
            return found
        starts = [n for n, m in enumerate(found) if m.role is Role.USER and m.kind is None]
        return found[starts[-turns] :] if 0 < turns <= len(starts) else found

    async def history_backwards(self) -> AsyncIterator[Message]:
        for message in reversed(await self.history()):
            yield message


# -- a replay ---------------------------------------------------------------------------------------------------------


async def replay(
    agent: Agent, agents: Mapping[str, Agent], deps: Any, recorded: RecordedRun, *, everywhere: bool = False
) -> Replay:
    """Run the agent's code against the record, in this event loop, which the caller made for it; the caller minds the
    time. `everywhere`: this process is there for nothing else."""
    ctx = ReplayContext(recorded, agent, agents, deps)
    isolation.cut(ctx.refuse, everywhere=everywhere)
    main = asyncio.create_task(_main(ctx, agent))
    stalled = await _until_ended(ctx, main)
    ended = Ended(signal=True) if stalled else _ended(ctx, main)
    if ctx.refused is not None:
        return ctx.refused.result(len(ctx.script.matched))
    result = ctx.script.judge(ended)
    if stalled and (result.verdict is Verdict.IDENTICAL or result.reason is Reason.STEP_MISSING):
        following = next(iter(ctx.script.missing()), None)
        said = "The code waits for something that never comes."
        return ctx.stopped(Reason.STALLED, said, following).result(len(ctx.script.matched))
    return result


async def _main(ctx: ReplayContext, agent: Agent) -> bytes | None:
    scopes.enter("", ctx)
    output = await agent.run(cast("base.RunContext", ctx), ctx.recorded.input)
    if output.message_key is None:
        return output.payload or b"null"
    return encode(response_text(ctx.journal.results[output.message_key].payload))


async def _until_ended(ctx: ReplayContext, main: asyncio.Task[bytes | None]) -> bool:
    """Whether the code stood still: nothing asked for, and no end, for a while."""
    progress = -1
    while not main.done() and progress != ctx.progress:
        progress = ctx.progress
        await asyncio.wait({main}, timeout=limits.REPLAY_STALL_MS / 1000)
    if main.done():
        return False
    for task in (main, *ctx.tasks):
        task.cancel()
    await asyncio.wait({main, *ctx.tasks}, timeout=1)
    return True


def _ended(ctx: ReplayContext, main: asyncio.Task[bytes | None]) -> Ended:
    cancelled = UserCodeFailed("The agent's code cancelled its own task.")
    exc = cancelled if main.cancelled() else main.exception()
    while isinstance(exc, BaseExceptionGroup):
        exc = cast("BaseExceptionGroup[BaseException]", exc).exceptions[0]
    restarted = next((s for s in ctx.halted if isinstance(s, Restarted)), None)
    if restarted is not None:
        return Ended(restarted_with=restarted.input)
    if ctx.ended_by is not None:
        exc = ctx.ended_by
    elif isinstance(exc, Signal) or any(isinstance(s, Signal) for s in ctx.halted):
        return Ended(signal=True)
    if exc is not None:
        failure = {name: value for name, value in vars_of(failure_from(exc)).items() if value is not None}
        return Ended(error=decode(encode(failure)))
    return Ended(output=main.result())


def _again(signal: BaseException) -> BaseException:
    if isinstance(signal, Restarted):
        return Restarted(signal.input)
    return type(signal)() if isinstance(signal, Signal) else signal


async def _never(attempt: base.Attempt) -> NoReturn:
    raise AssertionError(_NOT_HERE)


def _info_of(recorded: RecordedRun) -> RunInfo:
    of = recorded.of
    return RunInfo(
        run_id=of.run_id,
        thread_id=of.thread_id,
        root_id=of.root_id,
        parent_id=of.parent_id,
        tenant_id=of.tenant_id,
        principal_id=of.principal_id,
        agent=recorded.agent,
        attempt=recorded.attempt,
        depth=recorded.depth,
        created_at=datetime.fromtimestamp(recorded.created_at / 1000, UTC),
        metadata=decode(recorded.metadata) or {},
    )


__all__ = ["ReplayContext", "replay"]
