"""Tool calls with side effects, made as their contract says: the ledger of one run.

Invariants: `started` is durable before a call that cannot be taken back, and was refused unless leave for exactly these
arguments stands; what a call came to is written in the commit of its step. Rules are judged before a call begins, never
of one that has begun: it may have acted, and only the ledger says how it goes on. What is done about a call of which
nobody knows is not decided here: `runtime/unsettled.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic_ai.exceptions import ApprovalRequired, CallDeferred

from holdfast.agents.base import Action, Attempt, Outcome, Recorded, StepError
from holdfast.agents.effects import ToolRequest, business_key
from holdfast.domain import ids, limits
from holdfast.domain.effects import Effect, EffectClass, EffectStatus, idempotency_key
from holdfast.domain.encoding import digest, encode
from holdfast.domain.errors import (
    CallRefused,
    Cancelled,
    HoldfastError,
    JournalMismatch,
    NotEncodable,
    StepFailed,
    Unavailable,
)
from holdfast.domain.ids import ApprovalId, EffectId
from holdfast.domain.journal import EntryType, NewEntry, StepKind, StepStatus
from holdfast.domain.messages import tool_result
from holdfast.runtime import calls, scopes
from holdfast.runtime.calls import Anew, BeginAnew, CallHandle, Known, Lost, Raised, Value, Wants
from holdfast.runtime.holds import Permit, hash_of
from holdfast.runtime.recording import Declined
from holdfast.runtime.tries import GRACEFUL
from holdfast.runtime.unsettled import Unsettled
from holdfast.service import effects as effect_verbs
from holdfast.store.effects import Plan, Replan, Settle, Start
from holdfast.store.journal import Op

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

_E = EffectStatus
_SESSION_TRIES = 3
# What was not done, or was undone, stands in nobody's way.
_FREED: Final = frozenset({_E.FAILED, _E.ABANDONED, _E.COMPENSATED})
# The call was made, or may have been: leave for it was used, and rules come too late.
_BEGUN: Final = frozenset({_E.STARTED, _E.UNKNOWN, _E.COMMITTED})


class Ledger:
    """The effects of one run."""

    def __init__(self, ctx: RunContext, effects: Iterable[Effect]) -> None:
        self._ctx = ctx
        self._known = {effect.key: effect for effect in effects}
        self._unwritten: dict[EffectId, Plan] = {}
        self._stale: dict[str, ApprovalId | None] = {}
        self._leaves: dict[str, ApprovalId | None] = {}
        self._undone: dict[str, list[HoldfastError]] = {}
        self._announced: set[str] = set()
        self._handed: set[str] = set()
        self._unsettled = Unsettled(ctx, self)

    @property
    def used(self) -> bool:
        return bool(self._known)

    def known(self, key: str) -> Effect | None:
        return self._known.get(key)

    def note(self, effect: Effect) -> Effect:
        """How an effect stands now, as it was just written or read."""
        self._known[effect.key] = effect
        return effect

    def begun(self, key: str) -> bool:
        """Whether the call of a step has begun: it may have acted."""
        effect = self._known.get(key)
        return effect is not None and effect.status in _BEGUN

    def noted(self, key: str, *, timeout_ms: int | None, ref: str | None) -> None:
        """A call under way gave a sign of life, or the provider's reference."""
        effect = self._known[key]
        deadline = effect.deadline if timeout_ms is None else self._ctx.now_ms() + timeout_ms
        self._known[key] = replace(effect, deadline=deadline, provider_ref=ref or effect.provider_ref)

    # -- planning -------------------------------------------------------------------------------------------------

    def planned(self, requests: Sequence[ToolRequest]) -> tuple[Op, ...]:
        """`planned` rows for calls that a step has chosen."""
        ops: list[Op] = []
        for request in requests:
            assert request.key is not None, "a chosen call has its key"
            if request.contract.ledger:
                with suppress(CallRefused):  # the call itself will be told
                    arguments, _ = self._ctx.holds.fixed(request, request.key)
                    ops.append(self._plan(request, request.key, arguments))
        return tuple(ops)

    def _plan(self, request: ToolRequest, key: str, arguments: bytes) -> Plan:
        run = self._ctx.run
        op = Plan(
            key=key,
            id=EffectId(self._ctx.house.determinism.new_id()),
            tool=request.tool,
            agent=request.agent,
            effect_class=request.contract.effect,
            version=request.version,
            arguments=arguments,
            arguments_hash=hash_of(arguments),
            idempotency_key=idempotency_key(run.tenant_id, run.id, key, 0),
            business_key=business_key(request.contract, request.schema, arguments),
            business_ttl_ms=request.contract.dedupe_ttl_ms,
            compensates=request.undoes,
        )
        self._known[key] = Effect(
            tenant_id=run.tenant_id, run_id=run.id, key=key, id=op.id, tool=op.tool, agent=op.agent,
            effect_class=op.effect_class, version=op.version, status=_E.PLANNED, arguments=op.arguments,
            arguments_hash=op.arguments_hash, idempotency_key=op.idempotency_key, rotation=0, attempt=0,
            business_key=op.business_key, duplicate_of=None, compensates=op.compensates, provider_ref=None, epoch=0,
            planned_at=self._ctx.now_ms(), started_at=None, deadline=None, ended_at=None, error=None,
        )  # fmt: skip
        return op

    def plan_now(self, request: ToolRequest, key: str) -> None:
        """The code itself chose this call: its row is written with whatever is recorded of it first."""
        if key not in self._known:
            arguments, _ = self._ctx.holds.fixed(request, key)
            op = self._plan(request, key, arguments)
            self._unwritten[op.id] = op

    def take_unwritten(self, effect_ids: Iterable[EffectId | None]) -> list[Op]:
        """Rows to be written with what is about to be recorded of these effects."""
        return [self._unwritten.pop(id) for id in effect_ids if id is not None and id in self._unwritten]

    async def _demand_planned(self, request: ToolRequest, key: str, permit: Permit) -> Effect:
        """The effect as it stands: with the arguments that leave was given for, and who holds its business key."""
        effect = self._known[key]
        if effect.status is not _E.PLANNED:
            return effect
        changed = effect.arguments_hash != permit.hash
        if not changed and effect.business_key is None:
            return effect
        await self._ctx.recording.durable([], self.take_unwritten([effect.id]))
        if changed:
            business = business_key(request.contract, request.schema, permit.arguments)
            await self._replan(request, key, permit.arguments, business)
        self._ctx.demand_open()
        return await self.read(key)

    async def _replan(self, request: ToolRequest, key: str, arguments: bytes, business: str | None) -> None:
        op = Replan(
            key=key,
            arguments=arguments,
            arguments_hash=hash_of(arguments),
            business_key=business,
            business_ttl_ms=request.contract.dedupe_ttl_ms,
        )
        await self._ctx.recording.durable([], [op])

    async def read(self, key: str) -> Effect:
        ctx = self._ctx
        found = await ctx.patiently(lambda: effect_verbs.of_step(ctx.house, ctx.run, key))
        assert found is not None, "the effect was planned"
        self._known[key] = found
        return found

    # -- making a call --------------------------------------------------------------------------------------------

    async def act(self, request: ToolRequest) -> Recorded:
        """Make a call, or find it recorded."""
        behind = request.contract.effect is EffectClass.READ and not request.contract.external
        self._ctx.demand_open()
        action = Action(
            kind=StepKind.TOOL,
            name=request.name,
            key=request.key or scopes.current(self._ctx).next_key(request.name),
            arguments=request.asked,
            write_behind=behind,
            message=request.message,
        )
        while True:
            try:
                return await self._ctx.perform(action, partial(self._made, request))
            except Declined as declined:  # a transaction tool's fence comes last: all it did is undone
                key = action.key or ""
                self._known[key] = replace(self._known[key], status=_E.PLANNED)
                self.demand_repeatable(key, declined)

    async def _made(self, request: ToolRequest, attempt: Attempt) -> Outcome:
        """The body of a tool's step."""
        key = attempt.key
        try:
            if self.begun(key):
                return await self._settled(request, self._ctx.holds.begun_with(request, key), key)
            if self._ctx.forked is not None:
                outcome = await self._ctx.forked.instead(request, key)
                if outcome is not None:
                    outcome.ops = self._given_up(key)
                    return outcome
            if request.contract.ledger:
                self.plan_now(request, key)
            permit = await self.permitted(request, key, self._stale.pop(key, None))
            if request.contract.external:
                return await self._ctx.holds.external(request, key, permit)
            if request.contract.effect is EffectClass.READ:
                return await self._read_only(request, permit, key)
            return await self._settled(request, permit, key)
        except CallRefused as exc:
            outcome = request.failed(exc)
            outcome.ops = self._given_up(key)
            return outcome

    def _given_up(self, key: str) -> tuple[Op, ...]:
        effect = self._known.get(key)
        if effect is None or effect.status is not _E.PLANNED or self.take_unwritten([effect.id]):
            return ()
        self._known[key] = replace(effect, status=_E.ABANDONED)
        return (Settle(key=key, before=(_E.PLANNED,), after=_E.ABANDONED),)

    async def _read_only(self, request: ToolRequest, permit: Permit, key: str) -> Outcome:
        await self._demand_enabled(request)
        run = self._ctx.run
        handle = CallHandle(self._ctx, key, request.timeout_ms, idempotency_key(run.tenant_id, run.id, key, 0), permit)
        called = await calls.invoke(self._ctx, request, permit, key, 1, handle, anew=False)
        match called:
            case Value(value):
                try:
                    return request.succeeded(value, request.notes)
                except NotEncodable as exc:
                    return request.failed(exc)
            case Wants(exc):
                return await self._as_wanted_by_reader(request, key, exc)
            case Known(exc) | Lost(exc) | Raised(exc):
                return request.failed(exc)
            case Anew():
                raise AssertionError("a call that only reads is not in the ledger, which alone begins one anew")

    async def _as_wanted_by_reader(
        self, request: ToolRequest, key: str, exc: ApprovalRequired | CallDeferred
    ) -> Outcome:
        """The same for a tool that only reads."""
        arguments, typed = self._ctx.holds.fixed(request, key)
        permit = Permit(arguments, hash_of(arguments), typed)
        await self._ctx.holds.open_wanted(request, key, permit, exc, [])
        if isinstance(exc, CallDeferred):
            return await self._ctx.holds.external(request, key, permit)
        return await self._read_only(request, await self.permitted(request, key), key)

    async def _demand_enabled(self, request: ToolRequest) -> None:
        """The kill switch: asked before each call that begins, never of one that may have been made already."""
        if not await self._ctx.tool_enabled(request.tool):
            said = f"the tool {request.tool!r} is switched off; do without it"
            raise CallRefused(said, code="tool_disabled")

    async def _settled(self, request: ToolRequest, permit: Permit, key: str) -> Outcome:
        """Drive an effect from where it stands to its end."""
        tries = 0
        while True:
            effect = await self._demand_planned(request, key, permit)
            match effect.status:
                case _E.PLANNED if effect.duplicate_of is not None:
                    outcome = await self._as_duplicate(request, effect, permit)
                case _E.PLANNED if effect.effect_class is EffectClass.TRANSACTION:
                    outcome, permit = await self._transact(request, effect, permit)
                case _E.PLANNED:
                    tries += 1
                    outcome, permit = await self._begin(request, effect, permit, tries)
                case _E.STARTED if key in self._ctx.salvaged:
                    outcome = self._salvaged(effect)
                case _E.STARTED:
                    tries += 1
                    outcome = await self._unsettled.after_crash(request, effect, permit, tries)
                    permit = await self._judged_again(request, key, permit)
                case _E.UNKNOWN:
                    outcome = await self._unsettled.ask_what_became(request, effect)
                    permit = await self._judged_again(request, key, permit)
                case _E.COMMITTED:
                    outcome = self._as_resolved(request, effect)
                case _E.FAILED | _E.ABANDONED:  # the run is retried
                    await self.planned_again(request, effect)
                    outcome = None
                case _:
                    raise JournalMismatch(
                        f"The effect of {request.tool} is {effect.status}; it cannot be made again.",
                        code="effect_compensated",
                        step=key,
                    )
            if outcome is not None:
                return outcome

    def _salvaged(self, effect: Effect) -> Outcome:
        """The call ended in this very process, while the journal was read back: it came to what it came to."""
        outcome = self._ctx.salvaged.pop(effect.key)
        after = next(op.after for op in outcome.ops if isinstance(op, Settle) and op.run_id is None)
        self._known[effect.key] = replace(effect, status=after)
        return outcome

    async def _begin(
        self, request: ToolRequest, effect: Effect, permit: Permit, tries: int
    ) -> tuple[Outcome | None, Permit]:
        """Start an effect and make the call."""
        if not request.insists:
            await self._demand_enabled(request)
        if request.first is not None and effect.attempt == 0:
            await request.first()
        try:
            effect = await self.start(request, effect, permit)
        except Declined as declined:
            self.demand_repeatable(effect.key, declined)
            return None, await self.permitted(request, effect.key, permit.leave)
        outcome = await self.make(request, effect, permit, tries)
        return outcome, await self._judged_again(request, effect.key, permit)

    async def _judged_again(self, request: ToolRequest, key: str, permit: Permit) -> Permit:
        """What is done anew is judged anew; and the tool itself may want leave now."""
        return await self.permitted(request, key) if self._known[key].status is _E.PLANNED else permit

    async def permitted(self, request: ToolRequest, key: str, lapsed: ApprovalId | None = None) -> Permit:
        permit = await self._ctx.holds.permit(request, key, lapsed=lapsed, in_ledger=request.contract.ledger)
        self._leaves[key] = permit.leave
        return permit

    def demand_repeatable(self, key: str, declined: Declined) -> None:
        """The ledger did not let it start: a run that is to stop stops; leave that is stale may be asked for again."""
        match declined.reason:
            case "cancelled":
                self._ctx.close(Cancelled())
                raise self._ctx.again()
            case "undone":
                self._undone.setdefault(key, []).append(declined.cause or Unavailable())
            case "leave_used" | "leave_lapsed" | "leave_missing":
                self._stale[key] = self._leaves.get(key)
            case _:
                changed = JournalMismatch(
                    "The ledger holds this effect in another state, or with other arguments, than the run does.",
                    code="effect_changed",
                    step=key,
                )
                self._ctx.close(changed)  # a tool under way may catch it: it must not go on
                raise changed

    async def start(self, request: ToolRequest, effect: Effect, permit: Permit, *, again: bool = False) -> Effect:
        """`started`, durable before the call. Raises `Declined`."""
        ctx, key = self._ctx, effect.key
        entries: list[NewEntry] = []
        if key not in ctx.journal.openings and key not in self._announced:
            self._announced.add(key)
            action = Action(kind=StepKind.TOOL, name=request.name)
            data = {"effect_id": ids.text(ids.EFFECT, effect.id), "effect_class": effect.effect_class.value}
            attempt = ctx.journal.attempt(key)
            asked = None if request.asked is None else digest(request.asked)  # what its result will be compared by
            entries.append(ctx.opening(EntryType.TOOL_STARTED, action, key, asked, attempt, data))
        op = Start(
            key=key,
            timeout_ms=request.timeout_ms,
            arguments_hash=permit.hash,
            leave=permit.leave,
            again=again,
        )
        flight = ctx.in_flight.get(key)
        if flight is not None:
            flight.changes = True  # a stop waits for the answer, so that it is known whether the call may be made
        try:
            appended = await ctx.recording.durable(entries, [*self.take_unwritten([effect.id]), op])
        finally:
            if flight is not None:
                flight.changes = False
        if appended.declined is not None:
            raise Declined(appended.declined)
        now = ctx.now_ms()
        started = replace(
            effect,
            status=_E.STARTED,
            attempt=effect.attempt + 1,
            started_at=effect.started_at or now,
            deadline=now + request.timeout_ms,
        )
        self._known[key] = started
        if isinstance(ctx.closed, GRACEFUL) and not again:  # the run stops before the call: it was not made
            await ctx.recording.durable([], [Settle(key=key, before=(_E.STARTED,), after=_E.PLANNED)])
            self._known[key] = replace(started, status=_E.PLANNED)
        ctx.demand_open()
        return started

    async def make(self, request: ToolRequest, effect: Effect, permit: Permit, tries: int) -> Outcome | None:
        """The call itself, and what follows from how it went. None: look where the effect stands now."""
        handle = CallHandle(
            self._ctx, effect.key, request.timeout_ms, effect.idempotency_key, permit, effect=effect, ledger=self
        )
        anew = effect.key in self._handed
        self._handed.add(effect.key)
        called = await calls.invoke(self._ctx, request, permit, effect.key, effect.attempt, handle, anew=anew)
        match called:
            case Value(value):
                return self.committed(request, effect, value)
            case Known(exc):
                return self.failed(request, effect, exc)
            case Wants(exc):
                return await self._as_wanted(request, effect, permit, exc)
            case Anew():
                return None
            case Lost() | Raised():
                return await self._unsettled.after_call(request, self._known[effect.key], permit, tries, called)

    async def _as_wanted(
        self, request: ToolRequest, effect: Effect, permit: Permit, exc: ApprovalRequired | CallDeferred
    ) -> Outcome | None:
        """The tool itself says that it needs leave, or that its result comes from outside. It has done nothing."""
        settle = Settle(key=effect.key, before=(_E.STARTED,), after=_E.PLANNED)
        await self._ctx.holds.open_wanted(request, effect.key, permit, exc, [settle])
        self._known[effect.key] = replace(effect, status=_E.PLANNED)
        if isinstance(exc, CallDeferred):
            outcome = await self._ctx.holds.external(request, effect.key, permit)
            outcome.ops = self._given_up(effect.key)
            return outcome
        return None

    async def suspended(self, key: str, timeout_ms: int, question: str, options: dict[str, Any]) -> Any:
        """A tool asks before it acts: it is not under way while people think, and starts anew when they answered."""
        ctx, effect = self._ctx, self._known[key]
        settle = Settle(key=key, before=(_E.STARTED,), after=_E.PLANNED)
        asked = ctx.holds.asked(question, options)
        if not ctx.holds.is_settled(asked):
            if ctx.holds.is_open(asked.question.key):  # asked before a crash; the call began anew since
                await ctx.recording.durable([], [settle])
            else:
                await ctx.holds.open([asked.question], [settle])
            self._known[key] = replace(effect, status=_E.PLANNED)
            await ctx.holds.answered(asked.question)
            start = Start(
                key=key,
                timeout_ms=timeout_ms,
                arguments_hash=effect.arguments_hash,
                leave=self._leaves.get(key),
            )
            appended = await ctx.recording.durable([], [start])
            if appended.declined is not None:
                self.demand_repeatable(key, Declined(appended.declined))
                raise BeginAnew()  # leave has lapsed meanwhile: it is asked for once more, before the tool begins again
            self._known[key] = replace(effect, attempt=effect.attempt + 1, deadline=ctx.now_ms() + timeout_ms)
        return await ctx.holds.value_of(asked)

    # -- what it came to ------------------------------------------------------------------------------------------

    def committed(self, request: ToolRequest, effect: Effect, value: Any) -> Outcome:
        """Done. A result that cannot be stored is recorded as that: the effect stands, and is never made again."""
        error: bytes | None = None
        try:
            outcome = request.succeeded(value, request.notes)
        except NotEncodable as exc:
            outcome = request.failed(exc)
            error = encode({"code": "not_encodable", "message": exc.message})
        return self._with(outcome, request, effect, _E.COMMITTED, error)

    def failed(self, request: ToolRequest, effect: Effect, exc: Exception) -> Outcome:
        outcome = request.failed(exc)
        failure = outcome.failure or StepError("tool_error", str(exc))
        error = encode({"code": failure.code, "message": failure.message})
        return self._with(outcome, request, effect, _E.FAILED, error)

    def _with(
        self, outcome: Outcome, request: ToolRequest, effect: Effect, after: EffectStatus, error: bytes | None
    ) -> Outcome:
        effect = self._known[effect.key]
        settle = Settle(
            key=effect.key,
            before=(effect.status,),
            after=after,
            error=error,
            business_ttl_ms=request.contract.dedupe_ttl_ms,
        )
        self._known[effect.key] = replace(effect, status=after, error=error)
        outcome.ops = (settle, *(request.when_committed if after is _E.COMMITTED else ()))
        return outcome

    def _as_resolved(self, request: ToolRequest, effect: Effect) -> Outcome:
        """A person said that it was done. What they gave as its result is the result."""
        outcome = self._resolved_outcome(request, effect)
        outcome.ops = tuple(request.when_committed)
        return outcome

    def _resolved_outcome(self, request: ToolRequest, effect: Effect) -> Outcome:
        said = self._unsettled.last_word(effect)
        if said is None:
            lost = "It was done, but what came of it could not be recorded."
            return request.failed(StepFailed(lost, code="result_lost"))
        try:
            return request.succeeded(said.get("result"), request.notes)
        except NotEncodable as exc:
            return request.failed(exc)

    async def planned_again(self, request: ToolRequest, effect: Effect) -> None:
        """Nothing was done: back to `planned`, under a new key."""
        run, rotation = self._ctx.run, effect.rotation + 1
        fresh = idempotency_key(run.tenant_id, run.id, effect.key, rotation)
        op = Settle(
            key=effect.key,
            before=(effect.status,),
            after=_E.PLANNED,
            rotation=(rotation, fresh),
            business_ttl_ms=request.contract.dedupe_ttl_ms,
        )
        await self._ctx.recording.durable([], [op])
        self._known[effect.key] = replace(effect, status=_E.PLANNED, rotation=rotation, idempotency_key=fresh)
        self._ctx.demand_open()

    # -- the same thing twice -------------------------------------------------------------------------------------

    async def _as_duplicate(self, request: ToolRequest, effect: Effect, permit: Permit) -> Outcome | None:
        """Another call holds the business key: its result is ours, if it is the same call."""
        ctx = self._ctx
        holder = effect.duplicate_of
        assert holder is not None, "it is a duplicate of something"
        until = ctx.monotonic() + limits.DEDUPE_WAIT_MS
        while True:
            first = await ctx.patiently(partial(effect_verbs.first_of, ctx.house, ctx.run, holder))
            if first is None or first.effect.status in _FREED:
                await self._replan(request, effect.key, effect.arguments, effect.business_key)
                await self.read(effect.key)
                return None
            shown = ids.text(ids.EFFECT, first.effect.id)
            if first.effect.arguments_hash != effect.arguments_hash or not first.readable:
                raise _duplicate(f"{request.tool} was called for this before, with other arguments ({shown})")
            if first.step is not None and first.effect.status is _E.COMMITTED:
                request.notes.duplicate_of = shown
                if first.step.status is StepStatus.FAILED:
                    raise _duplicate(f"it was done already, and what came of it could not be recorded ({shown})")
                outcome = request.succeeded(tool_result(first.step), request.notes)
                outcome.ops = self._given_up(effect.key)
                return outcome
            if ctx.monotonic() >= until:
                raise _duplicate(f"the same call of {request.tool} is still open ({shown})")
            await asyncio.sleep(limits.DEDUPE_POLL_MS / 1000)
            ctx.demand_open()

    # -- transactions ---------------------------------------------------------------------------------------------

    async def _transact(self, request: ToolRequest, effect: Effect, permit: Permit) -> tuple[Outcome | None, Permit]:
        """The tool's own writes, the ledger and the step are one commit. Nothing is started before."""
        ctx, undone = self._ctx, self._undone.get(effect.key, ())
        if undone and (len(undone) >= _SESSION_TRIES or not _is_conflict(undone[-1])):
            return self.failed(request, effect, undone[-1]), permit
        if undone:
            await asyncio.sleep(ctx.house.determinism.jitter(limits.RETRY_BACKOFF_MS) / 1000)
            ctx.demand_open()
        await self._demand_enabled(request)
        if unwritten := self.take_unwritten([effect.id]):
            await ctx.recording.durable([], unwritten)
        await ctx.recording.barrier()
        ctx.demand_open()
        for number in range(1, _SESSION_TRIES + 1):
            stack = AsyncExitStack()
            try:
                handle = CallHandle(
                    ctx, effect.key, request.timeout_ms, effect.idempotency_key, permit, effect=effect, stack=stack
                )
                anew = effect.key in self._handed
                self._handed.add(effect.key)
                called = await calls.invoke(ctx, request, permit, effect.key, number, handle, anew=anew)
                if isinstance(called, Value):
                    outcome = self.committed(request, effect, called.value)
                    start = Start(
                        key=effect.key, timeout_ms=request.timeout_ms, arguments_hash=permit.hash, leave=permit.leave
                    )
                    settle = outcome.ops[0]
                    outcome.ops = (start, replace(settle, before=(_E.STARTED,)))
                    outcome.session = handle.finishing(stack.pop_all())
                    return outcome, permit
            finally:
                await stack.aclose()
            if isinstance(called, Wants):
                return await self._as_wanted_before(request, effect, permit, called.exc)
            assert not isinstance(called, Anew), "a transaction is not started before its end"
            if not _is_conflict(called.exc) or number == _SESSION_TRIES:
                return self.failed(request, effect, called.exc), permit
            await asyncio.sleep(ctx.house.determinism.jitter(limits.RETRY_BACKOFF_MS) / 1000)
            ctx.demand_open()
        raise AssertionError("unreachable")

    async def _as_wanted_before(
        self, request: ToolRequest, effect: Effect, permit: Permit, exc: ApprovalRequired | CallDeferred
    ) -> tuple[Outcome | None, Permit]:
        """The same for a transaction, which is not started before its end."""
        await self._ctx.holds.open_wanted(request, effect.key, permit, exc, [])
        if isinstance(exc, CallDeferred):
            outcome = await self._ctx.holds.external(request, effect.key, permit)
            outcome.ops = self._given_up(effect.key)
            return outcome, permit
        return None, await self.permitted(request, effect.key)


# -- pieces -------------------------------------------------------------------------------------------------------


def _is_conflict(exc: Exception) -> bool:
    """Whether a transaction that was undone may come through when it is tried again."""
    return isinstance(exc, Unavailable) and exc.code != "transaction_timeout"


def _duplicate(message: str) -> CallRefused:
    return CallRefused(f"This was not done: {message}.", code="duplicate_effect")
