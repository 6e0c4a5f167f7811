"""The context of one claimed run: `perform`, the one primitive, and everything built on it.

Invariants: a step whose entry is committed never runs again; a body runs only while the context is open; every key
follows from the code's shape, never from timing. From the first signal on the context is *closed*: every later call
raises the same signal, and what a body still returns is discarded, except that a tool which may have changed
something is recorded if the run was only asked to stop.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

from holdfast.agents import base
from holdfast.agents.base import Action, Agent, Body, Outcome, Recorded, Retry, RunInfo, StepError
from holdfast.agents.effects import ToolRequest, demand_usable
from holdfast.bus.base import Delta
from holdfast.domain import ids, limits
from holdfast.domain.encoding import decode, digest, encode
from holdfast.domain.errors import (
    Invalid,
    JournalMismatch,
    LimitReached,
    OutcomeUnknown,
    Restarted,
    Signal,
    Unavailable,
    UnscopedConcurrency,
)
from holdfast.domain.forks import Override, overriding
from holdfast.domain.ids import MessageId
from holdfast.domain.journal import (
    Entry,
    EntryType,
    Ephemeral,
    Journal,
    NewBlob,
    NewEntry,
    NewMessage,
    Phase,
    StepKind,
    StepStatus,
    as_found,
)
from holdfast.domain.runs import NO_USAGE, Run, RunLimits, Usage
from holdfast.domain.threads import Message, Role
from holdfast.runtime import branches, children, code, scopes, tries
from holdfast.runtime.blocking import Blocking
from holdfast.runtime.effects import Ledger
from holdfast.runtime.forked import Forked
from holdfast.runtime.holds import Holds
from holdfast.runtime.recording import Declined, ReadBack, Recording
from holdfast.runtime.states import State
from holdfast.runtime.tries import GRACEFUL, InFlight, Try
from holdfast.runtime.waits import Activity, Wait
from holdfast.service import agents as agent_verbs
from holdfast.service import history as history_verbs
from holdfast.service.house import House
from holdfast.store.claims import Claimed
from holdfast.store.journal import Appended

T = TypeVar("T")

# What ends the run rather than the step: it is not a body's business to fail with these.
_ENDS_THE_RUN = (LimitReached, JournalMismatch, UnscopedConcurrency)


class RunContext:
    """Implements `agents.base.RunContext` for one claimed run in this process."""

    def __init__(
        self,
        house: House,
        claimed: Claimed,
        recording: Recording,
        activity: Activity,
        blocking: Blocking,
        deps: Any,
        agent: Agent,
        salvaged: dict[str, Outcome] | None = None,
    ) -> None:
        """`salvaged`: what calls came to that ended while the journal had to be read back; they are not made again."""
        self.house = house
        self.run: Run = claimed.run
        self.recording = recording
        self.activity = activity
        self.closed: BaseException | None = None
        self.in_flight: dict[str, InFlight] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.usage: Usage = NO_USAGE
        self.streams: dict[str, list[str]] = {}
        self.undoing = False
        self.salvaged: dict[str, Outcome] = {} if salvaged is None else salvaged
        self._claimed = claimed
        self._blocking = blocking
        self._deps = deps
        self._agent = agent
        self._sync = agent.durability == "sync"
        self._limits = merged_limits(agent.default_limits, claimed.run.limits)
        self._next_position = claimed.next_position
        self._started = house.determinism.monotonic_ms()
        self._tool_calls = 0
        self._steps = 0
        self._referred: set[bytes] = set()
        self.journal = Journal.of(claimed.entries)
        self.journal.inherited = claimed.inherited
        self._positions = claimed.positions
        # Places of messages that were on their way when a process died, and later ones were written already.
        self._free = sorted(set(range(claimed.first_place, claimed.next_position)) - set(claimed.positions.values()))
        self._count_recorded()
        self._info = self._describe()
        self.inherited = claimed.inherited
        self.began_at = claimed.began_at
        self.forked = Forked.of(self)
        self.ledger = Ledger(self, claimed.effects)
        self.holds = Holds(self)
        self.state = State(self, claimed)

    def _count_recorded(self) -> None:
        inherited = self._claimed.inherited  # what a fork shares with others is on their account
        self._steps = sum(1 for entry in self.journal.results.values() if entry.pos > inherited)
        for entry in self._claimed.entries:
            if entry.pos <= inherited:
                continue
            if entry.usage is not None:
                self.usage = self.usage + entry.usage
            if entry.kind is StepKind.TOOL and entry.phase is Phase.RESULT:
                self._tool_calls += 1
            if entry.type is EntryType.MESSAGE_STARTED:
                begun = decode(entry.payload)
                self.streams.setdefault(begun["key"], []).append(begun["message_id"])

    def _describe(self) -> RunInfo:
        run = self.run
        return RunInfo(
            run_id=ids.text(ids.RUN, run.id),
            thread_id=ids.text(ids.THREAD, run.thread_id),
            root_id=ids.text(ids.RUN, run.root_id),
            parent_id=None if run.parent_id is None else ids.text(ids.RUN, run.parent_id),
            tenant_id=ids.text(ids.TENANT, run.tenant_id),
            principal_id=ids.text(ids.PRINCIPAL, run.initiator),
            agent=run.agent,
            attempt=self._claimed.epoch,
            depth=run.depth,
            created_at=datetime.fromtimestamp(run.created_at / 1000, UTC),
            metadata=decode(run.metadata) or {},
        )

    # -- what is known ------------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        return self._info

    @property
    def deps(self) -> Any:
        return self._deps

    @property
    def run_limits(self) -> RunLimits:
        return self._limits

    @property
    def acting_agent(self) -> str:
        return self.recording.acting_agent

    @property
    def input_position(self) -> int:
        return self._claimed.input_position

    def now_ms(self) -> int:
        """The time as the journal notes it, ms."""
        return self.house.database.about_now()

    def active_ms(self) -> float:
        """How long this claim has been at work, ms."""
        return self.house.determinism.monotonic_ms() - self._started

    def listening(self) -> bool:
        return self.house.hub.listened(self.run.id, self.run.thread_id)

    def hand_over(self, agent_id: str) -> None:
        self.recording.acting_agent = agent_id

    async def tool_enabled(self, name: str) -> bool:
        return await self.patiently(lambda: agent_verbs.tool_enabled(self.house, self.run.tenant_id, name))

    def agent(self, agent_id: str) -> Agent:
        return self.house.agent(agent_id)

    async def blocking(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        return await self._blocking.run(fn, *args, **kwargs)

    def threads_of(self, key: str) -> set[asyncio.Future[Any]]:
        """Threads of a step's call that could not be stopped and have not returned, in this process."""
        return self._blocking.left_by((self.run.id, key))

    @property
    def changing(self) -> bool:
        """Whether a call that may change something is under way."""
        return any(flight.changes for flight in self.in_flight.values())

    def close(self, signal: BaseException) -> None:
        """From now on every call raises this."""
        if self.closed is None:
            self.closed = signal
            self.activity.fail_all(self.again)
            self.activity.stir()

    def again(self) -> BaseException:
        """The closing signal once more: a fresh object, so that tracebacks do not pile up on one."""
        assert self.closed is not None
        if isinstance(self.closed, Signal):
            return type(self.closed)(*self.closed.args)
        return self.closed

    def demand_open(self) -> None:
        if self.closed is not None:
            raise self.again()

    # -- the primitive ------------------------------------------------------------------------------------------

    async def perform(self, action: Action, body: Body) -> Recorded:
        self.demand_open()
        try:
            key = action.key or scopes.current(self).next_key(action.name)
            digested = None if action.arguments is None else digest(action.arguments)
            found = self.journal.find(key, action.kind, action.name, digested)
            if found is not None:
                return self._recall(found)
            self._admit(action)
            calls = int(action.kind is StepKind.TOOL)
            self._steps += 1  # from its admission, or parallel steps would pass a limit together
            self._tool_calls += calls
            try:
                return await self._do(action, body, key, digested)
            except BaseException:
                self._steps -= 1
                self._tool_calls -= calls
                raise
        except _ENDS_THE_RUN as exc:  # also if the code catches it: what it did next would not be the run's any more
            self.close(exc)
            raise

    def _recall(self, entry: Entry) -> Recorded:
        assert entry.key is not None
        self.state.recalled(entry.key)
        error = None if entry.error is None else StepError(**decode(entry.error))
        return Recorded(
            key=entry.key,
            ok=entry.status is StepStatus.SUCCEEDED,
            payload=entry.payload,
            error=error,
            usage=entry.usage,
            position=self._positions.get(entry.pos),
        )

    def _admit(self, action: Action) -> None:
        """The run's limits, checked before anything new begins. What undoes a run that reached them stands above."""
        if self.undoing:
            return
        caps = self._limits
        _under("steps", self._steps, caps.steps_max)
        if self._steps >= limits.JOURNAL_STEPS_MAX:
            raise LimitReached(
                f"The journal holds {limits.JOURNAL_STEPS_MAX:,} steps; use ctx.restart for longer work.",
                code="journal_full",
            )
        if action.kind is StepKind.TOOL:
            _under("tool_calls", self._tool_calls, caps.tool_calls_max)
        if action.kind is StepKind.MODEL:
            _under("tokens", self.usage.input_tokens + self.usage.output_tokens, caps.tokens_max)
            _under("cost_micros", self.usage.cost_micros, caps.cost_micros_max)

    async def _do(self, action: Action, body: Body, key: str, digested: bytes | None) -> Recorded:
        attempt = self.journal.attempt(key)
        started_at = self.now_ms()
        if self.listening():
            self._tell_started(action, key)
        outcome, tried, message = await self._tried(action, body, key, attempt)
        try:
            if self.closed is not None and not (isinstance(self.closed, GRACEFUL) and outcome.ops):
                raise self.again()
            return await self._record(action, key, digested, attempt, tried, started_at, outcome, message)
        except (ReadBack, asyncio.CancelledError) as exc:
            lost = isinstance(exc, ReadBack) or isinstance(self.closed, ReadBack)
            if lost and outcome.ops and outcome.session is None:
                self.salvaged[key] = outcome
            raise
        finally:
            if outcome.session is not None:
                await outcome.session.aclose()

    def opening(
        self, type: EntryType, action: Action, key: str, digested: bytes | None, attempt: int, data: Any
    ) -> NewEntry:
        return NewEntry(
            type=type,
            at=self.now_ms(),
            phase=Phase.OPENING,
            key=key,
            kind=action.kind,
            name=action.name,
            attempt=attempt,
            digest=digested,
            payload=None if data is None else encode(data),
        )

    def _tell_started(self, action: Action, key: str) -> None:
        data: dict[str, object] = {"key": key, "kind": action.kind.value, "name": action.name}
        self.house.hub.delta(self.run.thread_id, Delta(self.run.id, Ephemeral.STEP_STARTED.value, data, self.now_ms()))

    async def _tried(self, action: Action, body: Body, key: str, attempt: int) -> tuple[Outcome, int, MessageId | None]:
        """Run the body until it succeeds or its tries are used up. Signals and what ends the run pass through."""
        flight = InFlight(key, asyncio.current_task())
        self.in_flight[key] = flight
        number = 0
        try:
            while True:
                number += 1
                message = self._message_id(action, key, attempt)
                one = Try(self, key, number, message)
                if action.streams:
                    self._announce(one, key, message)
                try:
                    return await tries.make(action, body, one), number, message
                except _ENDS_THE_RUN:
                    raise
                except asyncio.CancelledError:
                    raise (self.again() if self.closed is not None else asyncio.CancelledError()) from None
                except Exception as exc:
                    self.demand_open()
                    if number >= action.retry.attempts or not action.retry.wants(exc):
                        return Outcome(payload=None, failure=code.failure_of(exc)), number, message
                    await self._back_off(action.retry, number, exc)
        finally:
            del self.in_flight[key]
            flight.done.set()

    def _announce(self, one: Try, key: str, message: MessageId | None) -> None:
        assert message is not None
        earlier = self.streams.setdefault(key, [])
        one.announce(earlier)
        earlier.append(ids.text(ids.MESSAGE, message))

    def _message_id(self, action: Action, key: str, attempt: int) -> MessageId | None:
        """Follows from run, key and attempt; a streamed message that begins again is another message."""
        if action.message is None:
            return None
        again = len(self.streams.get(key, ())) if action.streams else 0
        return MessageId(ids.derived("message", self.run.id, key, str(attempt), str(again)))

    async def _back_off(self, retry: Retry, number: int, exc: Exception) -> None:
        asked = getattr(exc, "retry_after_ms", None)
        wait_ms = min(retry.backoff_ms * 2 ** (number - 1), retry.backoff_ms_max)
        wait_ms = max(self.house.determinism.jitter(wait_ms), min(asked or 0, limits.RETRY_AFTER_MS_MAX))
        await asyncio.sleep(wait_ms / 1000)
        self.demand_open()

    async def _record(
        self,
        action: Action,
        key: str,
        digested: bytes | None,
        attempt: int,
        tried: int,
        started_at: int,
        outcome: Outcome,
        message: MessageId | None,
    ) -> Recorded:
        failure = outcome.failure
        position = None
        if action.message is not None:
            position = self.take_position()
        prompt, blobs = outcome.prompt, outcome.blobs
        if failure is not None and prompt is None and action.asked is not None:
            prompt, blobs = action.asked()  # what a model was asked is worth knowing above all when nothing came of it
        now = self.now_ms()
        entry = NewEntry(
            type=entry_type(action.kind, failure is not None),
            at=now,
            phase=Phase.RESULT,
            key=key,
            kind=action.kind,
            name=action.name,
            attempt=attempt,
            tries=tried,
            status=StepStatus.SUCCEEDED if failure is None else StepStatus.FAILED,
            digest=digested,
            payload=outcome.payload,
            error=None if failure is None else encode(failure),
            prompt=prompt,
            usage=outcome.usage,
            price_version=outcome.price_version,
            started_at=started_at,
            ended_at=now,
            message=_new_message(message, action.message, position),
            blobs=self._to_store(blobs),
        )
        if outcome.usage is not None:
            self.usage = self.usage + outcome.usage
        if outcome.session is not None or (outcome.ops and not action.write_behind):
            await self._write_with(outcome, entry)
        else:
            appended = self.recording.behind([entry], outcome.ops)
            if entry.blobs:
                appended.add_done_callback(partial(self._stored, entry.blobs))
        self._keep_for_another_try(entry)
        if not action.write_behind or self._sync or self.recording.outstanding >= limits.BEHIND_ENTRIES_MAX:
            await self.recording.barrier()
        return Recorded(
            key=key,
            ok=failure is None,
            payload=outcome.payload,
            error=failure,
            fresh=True,
            value=outcome.value,
            usage=outcome.usage,
            position=position,
        )

    def _keep_for_another_try(self, entry: NewEntry) -> None:
        """What a call under way recorded is found by its next try, as it would be by the try of another claim."""
        outer = (entry.key or "").rpartition("/")[0]
        while outer and outer not in self.in_flight:
            outer = outer.rpartition("/")[0]
        if outer and entry.key is not None:
            self.journal.results[entry.key] = as_found(entry)

    async def _write_with(self, outcome: Outcome, entry: NewEntry) -> None:
        """Write a step's entry with what goes to the ledger, or raise `Declined` with nothing written."""
        try:
            if outcome.session is not None:
                await self.recording.within(outcome.session, [entry], outcome.ops)
            elif declined := (await self.recording.durable([entry], outcome.ops)).declined:
                raise Declined(declined)
        except Declined:
            if entry.message is not None:
                insort(self._free, entry.message.position)
            raise

    def take_position(self) -> int:
        """The next message's place in the thread: ours alone while we hold it."""
        if self._free:
            return self._free.pop(0)
        position, self._next_position = self._next_position, self._next_position + 1
        return position

    def _to_store(self, blobs: tuple[NewBlob, ...]) -> tuple[NewBlob, ...]:
        """What of these the commit has to carry: a reference once per run, the content unless it was touched lately."""
        if not blobs:
            return blobs
        now, known = self.monotonic(), self.house.stored_blobs
        found: list[NewBlob] = []
        for blob in blobs:
            if blob.hash in self._referred:
                continue
            self._referred.add(blob.hash)
            touched = known.get((self.run.tenant_id, blob.hash))
            lately = touched is not None and now - touched < limits.BLOB_TOUCH_EVERY_MS
            found.append(NewBlob(blob.hash, None) if lately else blob)
        return tuple(found)

    def _stored(self, blobs: tuple[NewBlob, ...], appended: asyncio.Future[Appended]) -> None:
        """Their commit came back: other runs of this process need not send the contents again for a while."""
        if appended.cancelled() or appended.exception() is not None or appended.result().refused:
            return
        known = self.house.stored_blobs
        for blob in blobs:
            if blob.data is not None:
                known[self.run.tenant_id, blob.hash] = self.monotonic()
        while len(known) > limits.BLOBS_KNOWN_MAX:
            del known[next(iter(known))]

    # -- parallel work ------------------------------------------------------------------------------------------

    def scope(self, name: str) -> AbstractContextManager[None]:
        return scopes.within(name, self)

    async def branches(
        self, parts: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, T]]]]
    ) -> list[T | BaseException]:
        return await branches.run(self, parts)

    async def gather(self, /, *parts: Awaitable[Any]) -> tuple[Any, ...]:
        return await branches.gather(self, parts)

    # -- holds and effects --------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The fencing token of this claim."""
        return self._claimed.epoch

    @property
    def held(self) -> bool:
        """Whether the run has effects, questions or waits that its end has to close."""
        return self.ledger.used or self.holds.used

    def learn(self, entry: Entry) -> None:
        """A result that somebody else wrote: the answer to a question."""
        if entry.key is not None and entry.key not in self.journal.results:
            self.journal.add(entry)
            self._steps += 1

    async def hold(self, requests: Sequence[ToolRequest]) -> None:
        self.demand_open()
        await self.holds.open_group(requests)

    async def permit(self, request: ToolRequest) -> dict[str, Any]:
        self.demand_open()
        assert request.key is not None, "a call that is only permitted has a key of its own"
        return (await self.holds.permit(request, request.key, in_ledger=False)).typed

    async def act(self, request: ToolRequest) -> Recorded:
        return await self.ledger.act(request)

    def planned(self, requests: Sequence[ToolRequest]) -> tuple[Any, ...]:
        return self.ledger.planned(requests)

    def overrides(self, key: str) -> Sequence[Override]:
        return overriding(self.run.overrides, self.journal, key)

    def begun(self, key: str) -> bool:
        return self.ledger.begun(key)

    async def ask(self, question: str, **options: Any) -> Any:
        self.demand_open()
        return await self.holds.ask(question, options)

    async def wait_event(
        self, name: str, *, key: str = "", timeout: timedelta | None = None, since: datetime | None = None
    ) -> Any:
        return await self.holds.wait_event(name, key, timeout, since)

    # -- what workflows use -------------------------------------------------------------------------------------

    async def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]] | Callable[..., T],
        /,
        *args: Any,
        retry: Retry = base.NO_RETRY,
        timeout: timedelta | None = None,
        returns: Any = None,
        simulate: Any = base.UNSET,
        **kwargs: Any,
    ) -> T:
        call = code.Call(name, fn, args, kwargs, retry, timeout, returns, simulate)
        if code.is_held(call) or (self.forked is not None and self.forked.decides_on(call)):
            acting = self._agent if self.acting_agent == self._agent.id else self.agent(self.acting_agent)
            demand_usable(acting.id, acting.tools(), call.fn)
            recorded = await self.act(code.request(self, call))
        else:
            planned = code.planned(self, call)
            recorded = await self.perform(*(planned if self.forked is None else self.forked.planned(call, *planned)))
        return cast(T, code.value_of(call, recorded))

    async def emit(self, name: str, data: Any = None) -> None:
        payload = encode({"name": name, "data": data}, what=f"The data of event {name!r}")
        await self.perform(Action(kind=StepKind.EMIT, name=name), _constant(payload))

    async def now(self) -> datetime:
        recorded = await self._value("now", self.now_ms)
        return datetime.fromtimestamp(recorded / 1000, UTC)

    async def random(self) -> float:
        return await self._value("random", self.house.determinism.random.random)

    async def uuid(self) -> UUID:
        made = await self._value("uuid", lambda: self.house.determinism.random_bytes(16).hex())
        return UUID(hex=made, version=4)

    async def _value(self, name: str, draw: Callable[[], Any]) -> Any:
        async def body(attempt: base.Attempt) -> Outcome:
            return Outcome(payload=encode(draw()))

        recorded = await self.perform(Action(kind=StepKind.VALUE, name=name), body)
        return decode(recorded.unwrap())

    async def sleep(self, duration: timedelta | float) -> None:
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
        wait_ms = round(seconds * 1000)
        if not 0 <= wait_ms <= limits.SLEEP_MS_MAX:
            raise Invalid(f"A sleep lasts from 0 to {limits.SLEEP_MS_MAX // 86_400_000:,} days, not {seconds} s.")

        async def body(attempt: base.Attempt) -> Outcome:
            due_at = await self._opened_at(action, attempt.key, digested, wait_ms)
            if due_at > self.now_ms():
                await self.stand_still(Wait(attempt.key, self.monotonic(), due_at=due_at))
            return Outcome(payload=b"null")

        action = Action(kind=StepKind.SLEEP, name="sleep", arguments={"ms": wait_ms})
        digested = digest(action.arguments)
        await self.perform(action, body)

    async def _opened_at(self, action: Action, key: str, digested: bytes, wait_ms: int) -> int:
        """When the sleep ends: from its opening, written now if this is the first time."""
        opening = self.journal.opening(key, action.kind, action.name, digested)
        if opening is not None:
            return int(decode(opening.payload)["due_at"])
        due_at = self.now_ms() + wait_ms
        attempt = self.journal.attempt(key)
        entry = self.opening(EntryType.STEP_OPENED, action, key, digested, attempt, {"due_at": due_at})
        await self.recording.durable([entry])
        self.demand_open()
        return due_at

    async def stand_still(self, wait: Wait) -> None:
        self.demand_open()
        await self.activity.wait(wait)
        self.demand_open()

    def monotonic(self) -> float:
        return self.house.determinism.monotonic_ms()

    async def call(self, agent: Any, input: Any = None, *, name: str | None = None) -> Any:
        self.demand_open()
        child = self.agent(agent) if isinstance(agent, str) else cast(Agent, agent)
        return await children.call(self, child, input, name)

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the database answers: a run waits for it rather than fail. What is asked may be asked twice."""
        while True:
            try:
                return await ask()
            except (Unavailable, OutcomeUnknown):
                self.demand_open()
                await asyncio.sleep(self.house.determinism.jitter(limits.LAPSE_BACKOFF_MS) / 1000)

    async def restart(self, input: Any = None) -> None:
        self.demand_open()
        scopes.current(self)
        self.restart_input = self._agent.accept(input)
        self.close(Restarted())
        raise self.again()

    restart_input: bytes | None = None

    # -- the thread ---------------------------------------------------------------------------------------------

    async def history(self, *, turns: int | None = None) -> list[Message]:
        if self.input_position == 1:
            return []
        return await self.patiently(
            lambda: history_verbs.before(self.house, self.run, self.input_position, turns=turns)
        )

    async def history_backwards(self) -> AsyncIterator[Message]:
        position = self.input_position
        while position > 1:
            page = await self.patiently(lambda at=position: history_verbs.page_before(self.house, self.run, at))
            for message in page:
                yield message
            if not page:
                return
            position = page[-1].position


# -- pieces -------------------------------------------------------------------------------------------------------


def _under(name: str, used: int, cap: int | None) -> None:
    if cap is not None and used >= cap:
        raise LimitReached(
            f"The run has used its limit of {cap:,} {name.replace('_', ' ')}. It can be continued with a higher one.",
            code=f"limit_{name}",
        )


def merged_limits(default: RunLimits, given: bytes | None) -> RunLimits:
    """The run's own limits where it has them, else the agent's."""
    own: dict[str, int] = decode(given) or {}
    return RunLimits(
        steps_max=own.get("steps_max", default.steps_max),
        tool_calls_max=own.get("tool_calls_max", default.tool_calls_max),
        tokens_max=own.get("tokens_max", default.tokens_max),
        cost_micros_max=own.get("cost_micros_max", default.cost_micros_max),
        active_ms_max=own.get("active_ms_max", default.active_ms_max),
    )


def entry_type(kind: StepKind, failed: bool) -> EntryType:
    """The one event that a step's entry is."""
    match kind:
        case StepKind.MODEL:
            return EntryType.STEP_FAILED if failed else EntryType.MESSAGE_COMPLETED
        case StepKind.TOOL | StepKind.HANDOFF:
            return EntryType.TOOL_COMPLETED
        case StepKind.EMIT:
            return EntryType.CUSTOM
        case StepKind.STATE:
            return EntryType.STEP_FAILED if failed else EntryType.STATE_CHANGED
        case StepKind.CODE | StepKind.CHILD | StepKind.SLEEP | StepKind.INTERRUPT | StepKind.EVENT | StepKind.VALUE:
            return EntryType.STEP_FAILED if failed else EntryType.STEP_COMPLETED


def _new_message(id: MessageId | None, role: Role | None, position: int | None) -> NewMessage | None:
    if id is None or role is None or position is None:
        return None
    return NewMessage(id, role, position)


def _constant(payload: bytes) -> Body:
    async def body(attempt: base.Attempt) -> Outcome:
        return Outcome(payload=payload)

    return body
