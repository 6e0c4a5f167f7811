"""One claimed run, from claim to end, park or release: prepare → start → drive → unwind → conclude.

The agent's code runs in a task of its own; this drives it: it hears signals (lease, bell, cancel, drain, limits),
decides when a quiet run parks, and writes the one entry that ends the claim. It looks at the context, never at the
exception, to know why code unwound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

from holdfast.agents.base import Agent, Outcome, Output
from holdfast.domain import forks, ids, limits
from holdfast.domain.agents import AgentKind
from holdfast.domain.approvals import WAITING_ON
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import (
    Cancelled,
    HoldfastError,
    LeaseLost,
    LimitReached,
    NotFound,
    Parked,
    Released,
    Restarted,
    RunError,
    Unavailable,
    UserCodeFailed,
)
from holdfast.domain.ids import MessageId, RunId
from holdfast.domain.journal import EntryType, NewEntry, NewMessage
from holdfast.domain.messages import response_text
from holdfast.domain.runs import NO_USAGE, RunFailure, RunStatus, Usage
from holdfast.domain.threads import Role
from holdfast.runtime import compensation, scopes
from holdfast.runtime.blocking import Blocking
from holdfast.runtime.code import failure_of
from holdfast.runtime.context import RunContext
from holdfast.runtime.recording import ReadBack, Recording
from holdfast.runtime.slots import Slots
from holdfast.runtime.tries import GRACEFUL
from holdfast.runtime.waits import Activity, Wait
from holdfast.service import claiming
from holdfast.service import effects as effect_verbs
from holdfast.service.house import House
from holdfast.store import claims
from holdfast.store.claims import Claimed
from holdfast.store.journal import Appended, BeginUndo, Finish, Park, Release, Successor
from holdfast.store.runs import End
from holdfast.store.writer import JournalWriter

log = logging.getLogger("holdfast.executor")

T = TypeVar("T")

CLEAN_UP_MS = 1_000


class Executor:
    """Executes one claim. `execute` returns when this process is done with the run, whatever became of it."""

    def __init__(
        self,
        house: House,
        writer: JournalWriter,
        slots: Slots,
        blocking: Blocking,
        claimed: Claimed,
        deps: Any,
    ) -> None:
        self.house = house
        self.claimed = claimed
        self._writer = writer
        self._slots = slots
        self._blocking = blocking
        self._deps = deps
        self._notice = asyncio.Event()
        self._rung = False
        self._ending = _ending_of(claimed)
        # Asked to stop before it was claimed: it must not make a single step more.
        asked = claimed.run.cancel_requested_at is not None and self._ending is None
        self._stop: BaseException | None = Cancelled() if asked else None
        self._drain_ms = limits.CANCEL_GRACE_MS
        self._timers: list[asyncio.TimerHandle] = []
        self._context: RunContext | None = None
        self._salvaged: dict[str, Outcome] = {}
        self._holds_slot = True
        self._taking: asyncio.Task[None] | None = None
        self.stuck = False

    @property
    def key(self) -> tuple[bytes, bytes, int]:
        """`(tenant_id, run_id, epoch)`, as leases name it."""
        run = self.claimed.run
        return run.tenant_id, run.id, self.claimed.epoch

    @property
    def context(self) -> RunContext:
        assert self._context is not None
        return self._context

    # -- what others tell it ------------------------------------------------------------------------------------

    def ring(self) -> None:
        """Something this run waits for has closed, or it should stop: look."""
        self._rung = True
        self._notice.set()

    def lose(self) -> None:
        """The lease is gone."""
        self._halt(LeaseLost())

    def release(self, drain_ms: int) -> None:
        """The process stops: let tools that may change something finish within `drain_ms`, and give the run back."""
        self._drain_ms = drain_ms
        self._halt(Released())

    def _halt(self, signal: BaseException) -> None:
        if self._stop is None:
            self._stop = signal
            self._notice.set()

    # -- the pipeline -------------------------------------------------------------------------------------------

    async def execute(self) -> None:
        try:
            while await self._once():
                pass
        finally:
            for timer in self._timers:
                timer.cancel()
            if self._taking is not None:
                self._taking.cancel()
            self._give_slot()

    async def _once(self) -> bool:
        """Run the agent's code from the top, once. True: read the journal again and repeat."""
        recording = Recording(self.claimed, self._writer, self._halt, self.house.lease_ms)
        agent = self._prepare()
        if isinstance(agent, RunError):
            return await self._written(recording, self._conclude_failed(recording, agent))
        activity = Activity(self._notice.set)
        self._context = RunContext(
            self.house, self.claimed, recording, activity, self._blocking, self._deps, agent, self._salvaged
        )
        self._set_timers(self._context)
        self.house.hub.on_bell(self.claimed.run.id, self.ring)
        main = asyncio.create_task(self._main(agent), name=ids.text(ids.RUN, self.claimed.run.id))
        main.add_done_callback(lambda _: self._notice.set())
        try:
            await self._drive(main)
        finally:
            # While a parked run's code unwinds, this very process may claim the run again: the bell is its then.
            self.house.hub.on_bell(self.claimed.run.id, None)
            await self._unwind(main)
        return await self._conclude(agent, recording, main)

    def _prepare(self) -> Agent | RunError:
        """The agent in this process, if it may go on with this run."""
        run = self.claimed.run
        try:
            agent = self.house.agent(run.agent)
        except NotFound:
            return RunError(f"The agent {run.agent!r} is not in this process any more.", code="agent_not_found")
        if self._ending is None and self._stop is None and self.claimed.lapses >= limits.LAPSES_POISONED:
            return RunError(claims.poisoned(self.claimed.lapses), code="poisoned")
        if self._ending is None and agent.on_version_change == "fail" and self._first_version(agent) != agent.version:
            return RunError(
                f"The definition of {run.agent!r} changed while this run was under way, and the agent says "
                'on_version_change="fail".',
                code="version_changed",
            )
        return agent

    def _first_version(self, agent: Agent) -> str:
        """The version that the run began with: what the first change of it changed."""
        entries = [*self.claimed.entries, *(entry for _, entry in self.claimed.appended)]
        changed = next((e for e in entries if e.type is EntryType.RUN_VERSION_CHANGED), None)
        return agent.version if changed is None else str(decode(changed.payload)["from"])

    async def _main(self, agent: Agent) -> Output:
        scopes.enter("", self.context)
        if self._ending is not None:
            self.context.undoing = True
            await compensation.undo(self.context)
            return Output(payload=b"null")
        return await agent.run(self.context, self.claimed.input)

    def _set_timers(self, context: RunContext) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._ending is not None:
            return
        loop = asyncio.get_running_loop()
        cap = context.run_limits.active_ms_max
        if cap is not None:
            message = f"The run was at work for its limit of {cap:,} ms. It can be continued with a higher one."
            exceeded = LimitReached(message, code="limit_active_ms")
            self._timers.append(loop.call_later(cap / 1000, self._halt, exceeded))
        deadline = self.claimed.run.deadline
        if deadline is not None:
            left_ms = max(0, deadline - self.house.database.about_now())
            passed = LimitReached("The run's calendar deadline passed.", code="limit_deadline")
            self._timers.append(loop.call_later(left_ms / 1000, self._halt, passed))

    # -- drive --------------------------------------------------------------------------------------------------

    async def _drive(self, main: asyncio.Task[Output]) -> None:
        """Until the code ended or has to be stopped."""
        context = self.context
        while not main.done():
            if self._rung:
                await self._look()
            if self._stop is not None:
                context.close(self._stop)
            if context.closed is not None:
                return
            if context.activity.is_quiet:
                await self._stand(context)
            elif self._unheard(context):
                self._rung = True
            elif due := self._due(context):  # other branches move: so may those whose time has come
                for wait in due:
                    context.activity.resolve(wait)
            elif not main.done():
                await self._noticed(self._next_due_ms(context))

    async def _look(self) -> None:
        """The bell rang: read why."""
        self._rung = False
        context = self.context
        waits = list(context.activity.waits.values())
        for wait in waits:
            wait.looked = True
        asked = claiming.WaitedFor(
            children=[w.child_id for w in waits if w.child_id is not None],
            approvals=[(w.approval_id, w.key) for w in waits if w.approval_id is not None],
            events=[w.event for w in waits if w.event is not None],
        )
        try:
            news = await claiming.news(self.house, self.claimed, asked)
        except Unavailable:
            self._rung = True
            await asyncio.sleep(limits.LAPSE_BACKOFF_MS / 1000)
            return
        if news.stop and self._ending is None:
            self._halt(Cancelled())
            return
        over = [w for w in waits if w.child_id in news.ended or w.approval_id in news.answers or w.event in news.events]
        if over and self._may_move():
            for answer in news.answers.values():
                context.learn(answer)
            for wait in over:
                context.activity.resolve(wait)

    async def _stand(self, context: RunContext) -> None:
        """Nothing can move. Short waits stay in memory, without a slot; longer ones park."""
        due = self._due(context)
        if due and self._may_move():
            for wait in due:
                context.activity.resolve(wait)
            return
        if self._taking is not None:
            await self._noticed(None)
            return
        self._give_slot()
        patience_ms = self._patience_ms(context)
        if patience_ms > 0 or context.changing:  # a call under way that was put away would look like one that died
            self._rung = self._rung or self._unheard(context)
            await self._noticed(patience_ms if patience_ms > 0 else self._next_due_ms(context))
        else:
            await self._park(context)

    @staticmethod
    def _unheard(context: RunContext) -> bool:
        """Whether something may have been over before it was waited for: a run that parks hears of it then."""
        return any(not w.looked and (w.approval_id or w.event) for w in context.activity.waits.values())

    async def _noticed(self, within_ms: float | None) -> None:
        """Until there is something to hear of, at most so long."""
        self._notice.clear()
        if self._rung or self._stop is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if within_ms is None else within_ms / 1000):
                await self._notice.wait()

    def _due(self, context: RunContext) -> list[Wait]:
        now = self.house.database.about_now()
        return [w for w in context.activity.waits.values() if w.due_at is not None and w.due_at <= now]

    def _next_due_ms(self, context: RunContext) -> float | None:
        now = self.house.database.about_now()
        times = [w.due_at - now for w in context.activity.waits.values() if w.due_at is not None]
        return max(1.0, float(min(times))) if times else None

    def _patience_ms(self, context: RunContext) -> float:
        """How long to keep the coroutine: until the next timer if that is near, or while a child is young."""
        now, clock = self.house.database.about_now(), self.house.determinism.monotonic_ms()
        near = [w.due_at - now for w in context.activity.waits.values() if w.due_at is not None]
        timers = [ms for ms in near if ms <= limits.KEEP_IN_MEMORY_MS]
        if timers:
            return max(1.0, float(min(timers)))
        young = [
            limits.KEEP_IN_MEMORY_MS - (clock - w.since)
            for w in context.activity.waits.values()
            if w.child_id is not None
        ]
        return max([0.0, *young])

    def _may_move(self) -> bool:
        """Whether this run has a slot. If not it asks for one and looks again when it has it; till then it can hear."""
        if not self._holds_slot and self._slots.try_take():
            self._holds_slot = True
        if not self._holds_slot and self._taking is None:
            self._taking = asyncio.create_task(self._take_slot())
        return self._holds_slot

    async def _take_slot(self) -> None:
        await self._slots.take()
        self._holds_slot, self._taking = True, None
        self.ring()

    def _give_slot(self) -> None:
        if self._holds_slot:
            self._holds_slot = False
            self._slots.give()

    async def _park(self, context: RunContext) -> None:
        waits = list(context.activity.waits.values())
        waiting_on = [_waiting_on(w) for w in waits]
        entry = NewEntry(
            type=EntryType.RUN_WAITING,
            at=self.house.database.about_now(),
            payload=encode({"waiting_on": waiting_on}),
        )
        times = [w.due_at for w in waits if w.due_at is not None]
        park = Park(
            waiting_on=encode(waiting_on),
            wake_at=min(times, default=None),
            children=tuple(w.child_id for w in waits if w.child_id is not None),
            approvals=tuple(w.approval_id for w in waits if w.approval_id is not None),
            events=tuple(w.event for w in waits if w.event is not None),
        )
        try:
            appended = await context.recording.change([entry], park, context.usage)
        except (LeaseLost, ReadBack, RunError) as exc:
            self._halt(exc)
            return
        if appended.open_again:
            self._rung = True
        else:
            context.close(Parked())
            self.house.run_changed(self.claimed.run.tenant_id, self.claimed.run.id, RunStatus.WAITING)

    # -- unwind -------------------------------------------------------------------------------------------------

    async def _unwind(self, main: asyncio.Task[Output]) -> None:
        """Let code under way come to its end: reads and model calls at once, changes within their grace."""
        context = self.context
        if main.done():
            _heard(main)
            return
        if context.closed is None:
            context.close(LeaseLost())  # this executor itself was cancelled: the process goes down
        gentle = isinstance(context.closed, (*GRACEFUL, ReadBack))
        for flight in list(context.in_flight.values()):
            if not (gentle and flight.changes) and flight.task is not None:
                flight.task.cancel()
        changing = [f for f in context.in_flight.values() if gentle and f.changes]
        if changing:
            await _within(self._drain_ms, asyncio.gather(*(f.done.wait() for f in changing)))
        await _within(limits.UNWIND_MS, _ended(main, context))
        if main.done():
            _heard(main)
        else:
            main.add_done_callback(_heard)
            self.stuck = True
            log.warning("run %s does not unwind; its task is left to itself", ids.text(ids.RUN, self.claimed.run.id))

    # -- conclude -----------------------------------------------------------------------------------------------

    async def _conclude(self, agent: Agent, recording: Recording, main: asyncio.Task[Output]) -> bool:
        """Write how this claim ends. True: start over from the journal."""
        closed = self.context.closed
        match closed:
            case None:
                ending = self._conclude_ended(agent, recording, main)
            case Parked() | LeaseLost():
                return False
            case ReadBack():
                return await self._read_back()
            case Cancelled():
                ending = self._conclude_cancelled(recording)
            case Released():
                ending = self._conclude_released(recording)
            case Restarted():
                ending = self._conclude_restarted(recording)
            case RunError():
                ending = self._conclude_failed(self._fresh(recording), closed)
            case _:
                raise AssertionError(f"closed by {closed!r}")
        return await self._written(recording, ending)

    async def _written(self, recording: Recording, ending: Awaitable[bool]) -> bool:
        """The end of a claim, as far as the journal takes it."""
        try:
            return await ending
        except ReadBack:
            return await self._read_back()
        except LeaseLost:
            return False
        except RunError as exc:  # the database refused the ending itself
            return await self._conclude_failed(self._fresh(recording), exc)

    async def _conclude_released(self, recording: Recording) -> bool:
        appended = await recording.change([], Release(), self.context.usage)
        self._after(appended, RunStatus.QUEUED)
        return False

    def _usage(self) -> Usage:
        """What the run has used so far, also if its code was not run in this claim."""
        if self._context is not None:
            return self._context.usage
        own = (e.usage for e in self.claimed.entries if e.usage is not None and e.pos > self.claimed.inherited)
        return sum(own, NO_USAGE)

    def _fresh(self, recording: Recording) -> Recording:
        """A recording that may still write the end of a run whose former writes were refused."""
        if recording.failure is None:
            return recording
        again = Recording(self.claimed, self._writer, self._halt, self.house.lease_ms)
        again.acting_agent = recording.acting_agent
        return again

    async def _read_back(self) -> bool:
        """A commit's fate is unknown: wait until the database answers, then go on from what the journal holds."""
        if isinstance(self._stop, ReadBack):  # whatever else was said still holds
            self._stop = None
        self._rung = True  # nobody heard the bell meanwhile
        while True:
            try:
                again = await claiming.still_ours(self.house, self.claimed)
            except Unavailable:
                await asyncio.sleep(limits.LAPSE_BACKOFF_MS / 1000)
                continue
            self._tell_of_unheard()
            if again is None:
                return False
            self.claimed = again
            self._ending = _ending_of(again)
            return True

    def _tell_of_unheard(self) -> None:
        """What was committed without our hearing of it was not published: whoever follows the run, waits for its end
        or stands behind it has to look."""
        run, hub = self.claimed.run, self.house.hub
        hub.look(run.id)
        hub.look(run.thread_id)
        hub.work(run.agent)
        if run.parent_id is not None:
            hub.bell(run.parent_id)

    async def _conclude_ended(self, agent: Agent, recording: Recording, main: asyncio.Task[Output]) -> bool:
        if main.cancelled():
            return await self._conclude_failed(recording, UserCodeFailed("The agent's code cancelled its own task."))
        exc = main.exception()
        if exc is not None:
            return await self._conclude_failed(recording, _one(exc))
        if self._ending is not None:
            return await self._conclude_undone(recording, self._ending)
        output = main.result()
        entry, end = self._success(agent, output)
        finish = Finish(end=end, parent=self.claimed.run.parent_id, held=self.context.held)
        appended = await recording.change([entry], finish, self.context.usage)
        self._after(appended, RunStatus.SUCCEEDED)
        return False

    def _success(self, agent: Agent, output: Output) -> tuple[NewEntry, End]:
        now = self.house.database.about_now()
        said = None if output.message_key is None else self.context.journal.results.get(output.message_key)
        if said is not None and said.pos <= self.claimed.inherited:  # a fork's own entries hold its output
            output = Output(payload=encode(response_text(said.payload)))
        if output.message_key is not None:
            payload = encode({"output_step": output.message_key})
            end = End(status=RunStatus.SUCCEEDED, output_key=output.message_key)
            return NewEntry(type=EntryType.RUN_SUCCEEDED, at=now, payload=payload), end
        payload = b'{"output":' + (output.payload or b"null") + b"}"
        entry = NewEntry(type=EntryType.RUN_SUCCEEDED, at=now, payload=payload)
        if agent.kind is AgentKind.WORKFLOW:
            entry = replace(entry, message=self._output_message())
        return entry, End(status=RunStatus.SUCCEEDED, output_here=True)

    def _output_message(self) -> NewMessage:
        id = MessageId(ids.derived("output", self.claimed.run.id))
        return NewMessage(id, Role.ASSISTANT, self.context.take_position())

    async def _conclude_failed(self, recording: Recording, exc: BaseException) -> bool:
        failure = failure_from(exc)
        error = {name: value for name, value in vars_of(failure).items() if value is not None}
        if await self._must_undo("failure"):
            return await self._begin_undo(recording, {"status": RunStatus.FAILED.value, "error": error})
        await self._end_failed(recording, encode(error))
        return False

    async def _end_failed(self, recording: Recording, data: bytes) -> None:
        entry = NewEntry(type=EntryType.RUN_FAILED, at=self.house.database.about_now(), payload=data)
        end = End(status=RunStatus.FAILED, error=data)
        finish = Finish(end=end, parent=self.claimed.run.parent_id)
        with contextlib.suppress(LeaseLost):
            appended = await recording.change([entry], finish, self._usage())
            self._after(appended, RunStatus.FAILED)

    async def _conclude_cancelled(self, recording: Recording) -> bool:
        reason = await self._cancel_reason()
        if await self._must_undo("cancel"):
            return await self._begin_undo(recording, {"status": RunStatus.CANCELLED.value, "reason": reason})
        await self._end_cancelled(recording, reason)
        return False

    async def _end_cancelled(self, recording: Recording, reason: str | None) -> None:
        entry = NewEntry(
            type=EntryType.RUN_CANCELLED, at=self.house.database.about_now(), payload=encode({"reason": reason})
        )
        finish = Finish(end=End(status=RunStatus.CANCELLED), parent=self.claimed.run.parent_id)
        appended = await recording.change([entry], finish, self.context.usage)
        self._after(appended, RunStatus.CANCELLED)

    async def _must_undo(self, cause: str) -> bool:
        """Whether something is to be undone before the run ends, by its agent's word or that of who cancelled it."""
        if self._ending is not None:
            return False
        run, agent = self.claimed.run, self.house.agents.get(self.claimed.run.agent)
        wanted = agent is not None and cause in agent.compensate
        if not wanted and cause == "cancel":
            asked = await self._patiently(lambda: claiming.undo_asked(self.house, run))
            wanted = asked
        return wanted and await self._patiently(lambda: effect_verbs.has_committed_below(self.house, run))

    async def _begin_undo(self, recording: Recording, ending: dict[str, Any]) -> bool:
        """Say durably how the run will end, and go on with undoing what it did."""
        now = self.house.database.about_now()
        entry = NewEntry(type=EntryType.RUN_COMPENSATING, at=now, payload=encode(ending))
        await recording.change([entry], BeginUndo(), self._usage())
        self._stop = None
        return await self._read_back()

    async def _conclude_undone(self, recording: Recording, ending: dict[str, Any]) -> bool:
        if ending["status"] == RunStatus.FAILED.value:
            await self._end_failed(recording, encode(ending["error"]))
        else:
            await self._end_cancelled(recording, ending["reason"])
        return False

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(limits.LAPSE_BACKOFF_MS / 1000)

    async def _cancel_reason(self) -> str | None:
        return await self._patiently(lambda: claiming.cancel_reason(self.house, self.claimed.run))

    async def _conclude_restarted(self, recording: Recording) -> bool:
        run, now = self.claimed.run, self.house.database.about_now()
        input = self.context.restart_input or b"null"
        following = RunId(self.house.determinism.new_id())  # fresh each time: it is committed with this run's end
        successor = replace(
            run,
            id=following,
            status=RunStatus.QUEUED,
            acting_agent=run.agent,
            external_id=None,
            ordinal=None,
            input_position=None,
            start_after=None,
            claimable_at=None,
            usage=NO_USAGE,
            on_busy_applied=None,
            started_at=None,
            root_id=following if run.root_id == run.id else run.root_id,
            forked_run=None,
            forked_at=None,
            input_run=None,
            overrides=None,
            effect_policy=forks.unpaired(run.effect_policy),
            has_state=False,
        )
        payload = b'{"output":null,"successor":' + encode(ids.text(ids.RUN, following)) + b"}"
        entry = NewEntry(type=EntryType.RUN_SUCCEEDED, at=now, payload=payload)
        end = End(status=RunStatus.SUCCEEDED, successor=following)
        finish = Finish(end=end, parent=run.parent_id, successor=Successor(successor, input))
        appended = await recording.change([entry], finish, self.context.usage)
        self._after(appended, RunStatus.SUCCEEDED)
        self.house.run_changed(run.tenant_id, following, RunStatus.QUEUED)
        return False

    def _after(self, appended: Appended, status: RunStatus) -> None:
        """After the commit: tell who may go on."""
        run, hub = self.claimed.run, self.house.hub
        self.house.run_changed(run.tenant_id, run.id, status)
        if appended.woken is not None:
            self.house.run_changed(run.tenant_id, appended.woken, RunStatus.QUEUED)
        if appended.parent_touched is not None:
            hub.bell(appended.parent_touched)
        if appended.promoted is not None or appended.woken is not None:
            hub.work(run.agent)


def _ending_of(claimed: Claimed) -> dict[str, Any] | None:
    """How a run will end that undoes what it did; None for one that goes on."""
    for entry in reversed(claimed.entries):
        if entry.type is EntryType.RUN_COMPENSATING:
            return decode(entry.payload)
        if entry.type is EntryType.RUN_RETRIED:
            return None
    return None


def vars_of(failure: RunFailure) -> dict[str, Any]:
    return {
        "code": failure.code,
        "message": failure.message,
        "step": failure.step,
        "retryable": failure.retryable,
        "details": failure.details or None,
    }


def failure_from(exc: BaseException) -> RunFailure:
    """What a run's `error` says of the exception that ended it."""
    if isinstance(exc, HoldfastError):
        error = failure_of(exc)
        step = error.details.pop("step", None)
        retryable = getattr(exc, "retryable", True)
        return RunFailure(error.code, error.message, step, retryable, dict(error.details))
    if isinstance(exc, Exception):
        error = failure_of(exc)
        return RunFailure("user_code", error.message, None, True, {"error_type": error.error_type})
    return RunFailure("user_code", f"The agent's code raised {type(exc).__name__}.", None, True)


def _one(exc: BaseException) -> BaseException:
    """The first leaf of an exception group: user code may use task groups of its own."""
    found = exc
    while isinstance(found, BaseExceptionGroup):
        found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
    return found


def _waiting_on(wait: Wait) -> dict[str, Any]:
    if wait.child_id is not None:
        return {"type": "child", "id": ids.text(ids.RUN, wait.child_id), "step": wait.key}
    if wait.approval_id is not None and wait.approval_type is not None:
        return {
            "type": WAITING_ON[wait.approval_type],
            "id": ids.text(ids.APPROVAL, wait.approval_id),
            "step": wait.key,
        }
    if wait.event is not None:
        waiting = {"type": "event", "id": wait.event.name, "key": wait.event.key, "step": wait.key}
        return waiting if wait.due_at is None else {**waiting, "due_at": wait.due_at}
    return {"type": "timer", "id": wait.key, "due_at": wait.due_at, "step": wait.key}


def _heard(task: asyncio.Task[Any]) -> None:
    """How closed code unwound does not matter: the context says why. Only hear it, so that nobody reports it lost."""
    if not task.cancelled():
        task.exception()


async def _within(ms: int, work: Any) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ms / 1000):
            await work


async def _ended(main: asyncio.Task[Any], context: RunContext) -> None:
    """Cancel what is left; after a time for clean-up again and again: code may catch a cancellation and go on."""
    patience_s = CLEAN_UP_MS / 1000
    while left := [task for task in (main, *context.tasks) if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=patience_s)
        patience_s = 0.1
