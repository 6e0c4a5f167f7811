"""Tool calls with side effects, made as their contract says: the ledger of one run, and what is done about an effect
that was under way when a process died.

Invariants: `started` is durable before a call that cannot be taken back, and was refused unless leave for exactly these
arguments stands; what a call came to is written in the commit of its step. Only a `keyed` call is made again without
asking, under the same key. Of everything else that may have been done, the reconciler is asked, or a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_ai.exceptions import ApprovalRequired, CallDeferred

from holdfast.agents.base import Action, Attempt, Outcome, Recorded, StepError
from holdfast.agents.effects import KNOWN_FAILURES, ToolRequest, business_key
from holdfast.domain import ids, limits
from holdfast.domain.approvals import ApprovalType, Demand
from holdfast.domain.effects import (
    Done,
    Effect,
    EffectClass,
    EffectInfo,
    EffectStatus,
    NotDone,
    OnUnknown,
    Unknown,
    idempotency_key,
)
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import (
    CallRefused,
    Cancelled,
    HoldfastError,
    JournalMismatch,
    LimitReached,
    NotEncodable,
    StepFailed,
    Unavailable,
    UnscopedConcurrency,
)
from holdfast.domain.ids import ApprovalId, EffectId
from holdfast.domain.journal import EntryType, NewEntry, StepKind, StepStatus
from holdfast.domain.messages import tool_result
from holdfast.runtime import scopes
from holdfast.runtime.calls import CallHandle, TryOfCall
from holdfast.runtime.holds import Permit, Question, hash_of
from holdfast.runtime.recording import Declined
from holdfast.runtime.waits import Wait
from holdfast.service import effects as effect_verbs
from holdfast.store.effects import Plan, Replan, Settle, Start
from holdfast.store.journal import Op

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

ENDS_THE_RUN = (LimitReached, JournalMismatch, UnscopedConcurrency)
_E = EffectStatus
# Exceptions after which nobody knows whether the other side acted, by name: their libraries are not ours to import.
_LOST_NAMES = frozenset({"TransportError", "ClientConnectionError", "ConnectionError", "Timeout"})
_SESSION_TRIES = 3


@dataclass(frozen=True, slots=True)
class Value:
    """The call returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Known:
    """The call says for certain that it did nothing."""

    exc: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody knows what became of it: no answer came."""

    exc: Exception


@dataclass(frozen=True, slots=True)
class Raised:
    """It raised something else: an answer, but none that says what was done."""

    exc: Exception


@dataclass(frozen=True, slots=True)
class Wants:
    """It did nothing yet: it wants leave first, or its result comes from outside."""

    exc: ApprovalRequired | CallDeferred


Called = Value | Known | Lost | Raised | Wants


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

    @property
    def used(self) -> bool:
        return bool(self._known)

    def known(self, key: str) -> Effect | None:
        return self._known.get(key)

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
        return await self._read(key)

    async def _replan(self, request: ToolRequest, key: str, arguments: bytes, business: str | None) -> None:
        op = Replan(
            key=key,
            arguments=arguments,
            arguments_hash=hash_of(arguments),
            business_key=business,
            business_ttl_ms=request.contract.dedupe_ttl_ms,
        )
        await self._ctx.recording.durable([], [op])

    async def _read(self, key: str) -> Effect:
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
                self._demand_repeatable(key, declined)

    async def _made(self, request: ToolRequest, attempt: Attempt) -> Outcome:
        """The body of a tool's step."""
        key = attempt.key
        try:
            if request.contract.ledger:
                self.plan_now(request, key)
            permit = await self._permitted(request, key, self._stale.pop(key, None))
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
        called = await self._call(request, permit, key, 1, handle)
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

    async def _as_wanted_by_reader(
        self, request: ToolRequest, key: str, exc: ApprovalRequired | CallDeferred
    ) -> Outcome:
        """The same for a tool that only reads."""
        arguments, typed = self._ctx.holds.fixed(request, key)
        permit = Permit(arguments, hash_of(arguments), typed)
        await self._ctx.holds.open_wanted(request, key, permit, exc, [])
        if isinstance(exc, CallDeferred):
            return await self._ctx.holds.external(request, key, permit)
        return await self._read_only(request, await self._permitted(request, key), key)

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
                    outcome = await self._after_crash(request, effect, permit, tries)
                    permit = await self._judged_again(request, key, permit)
                case _E.UNKNOWN:
                    outcome = await self._ask_what_became(request, effect)
                    permit = await self._judged_again(request, key, permit)
                case _E.COMMITTED:
                    outcome = self._as_resolved(request, effect)
                case _E.FAILED | _E.ABANDONED:  # the run is retried
                    await self._planned_again(request, effect)
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
            effect = await self._start(request, effect, permit)
        except Declined as declined:
            self._demand_repeatable(effect.key, declined)
            return None, await self._permitted(request, effect.key, permit.leave)
        outcome = await self._make(request, effect, permit, tries)
        return outcome, await self._judged_again(request, effect.key, permit)

    async def _judged_again(self, request: ToolRequest, key: str, permit: Permit) -> Permit:
        """What is done anew is judged anew; and the tool itself may want leave now."""
        return await self._permitted(request, key) if self._known[key].status is _E.PLANNED else permit

    async def _permitted(self, request: ToolRequest, key: str, lapsed: ApprovalId | None = None) -> Permit:
        permit = await self._ctx.holds.permit(request, key, lapsed=lapsed)
        self._leaves[key] = permit.leave
        return permit

    def _demand_repeatable(self, key: str, declined: Declined) -> None:
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
                raise JournalMismatch(
                    "The ledger holds this effect in another state, or with other arguments, than the run does.",
                    code="effect_changed",
                    step=key,
                )

    async def _start(self, request: ToolRequest, effect: Effect, permit: Permit, *, again: bool = False) -> Effect:
        """`started`, durable before the call. Raises `Declined`."""
        ctx, key = self._ctx, effect.key
        entries: list[NewEntry] = []
        if key not in ctx.journal.openings and key not in self._announced:
            self._announced.add(key)
            action = Action(kind=StepKind.TOOL, name=request.name)
            data = {"effect_id": ids.text(ids.EFFECT, effect.id), "effect_class": effect.effect_class.value}
            attempt = ctx.journal.attempt(key)
            entries.append(ctx.opening(EntryType.TOOL_STARTED, action, key, None, attempt, data))
        op = Start(
            key=key,
            timeout_ms=request.timeout_ms,
            arguments_hash=permit.hash,
            leave=permit.leave,
            again=again,
        )
        appended = await ctx.recording.durable(entries, [*self.take_unwritten([effect.id]), op])
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
        ctx.demand_open()
        return started

    async def _make(self, request: ToolRequest, effect: Effect, permit: Permit, tries: int) -> Outcome | None:
        """The call itself, and what follows from how it went. None: look where the effect stands now."""
        handle = CallHandle(
            self._ctx, effect.key, request.timeout_ms, effect.idempotency_key, permit, effect=effect, ledger=self
        )
        called = await self._call(request, permit, effect.key, effect.attempt, handle)
        match called:
            case Value(value):
                return self._committed(request, effect, value)
            case Known(exc):
                return self._failed(request, effect, exc)
            case Wants(exc):
                return await self._as_wanted(request, effect, permit, exc)
            case Lost(exc) | Raised(exc):
                pass
        effect = self._known[effect.key]
        match effect.effect_class:
            case EffectClass.KEYED:
                return await self._once_more(request, effect, permit, tries, exc)
            case EffectClass.RECONCILABLE:
                return await self._reconciled(request, effect, permit, early=True)
            case _ if isinstance(called, Lost):
                return await self._unsure(request, effect, permit, str(exc) or type(exc).__name__)
            case _:
                return self._failed(request, effect, exc)

    async def _call(self, request: ToolRequest, permit: Permit, key: str, number: int, handle: CallHandle) -> Called:
        """Call user code, within its time. While it is under way a cancel gives it its grace."""
        ctx = self._ctx
        flight = ctx.in_flight.get(key)
        changes = request.contract.effect is not EffectClass.READ
        try:
            if flight is not None:
                flight.task, flight.changes = asyncio.current_task(), changes
            with ctx.scope(key):
                async with handle.timeout:
                    return Value(await request.invoke(TryOfCall(key, number, handle), dict(permit.typed)))
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            told = StepFailed("what the tool waited for was cancelled", code="tool_error", error_type="CancelledError")
            told.__cause__ = exc
            return Lost(told)
        except ENDS_THE_RUN:
            raise
        except Exception as exc:
            if isinstance(exc, TimeoutError) and handle.timeout.expired():
                message = f"no result within {request.timeout_ms / 1000:g} s"
                return Lost(StepFailed(message, code="tool_timeout", error_type="TimeoutError"))
            if isinstance(exc, (*KNOWN_FAILURES, *request.contract.rejections)) and not request.insists:
                return Known(exc)
            if isinstance(exc, CallDeferred) or (isinstance(exc, ApprovalRequired) and not permit.approved):
                return Wants(exc)
            return Lost(exc) if _is_lost(exc) else Raised(exc)
        finally:
            if flight is not None:
                flight.changes = False

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
                self._demand_repeatable(key, Declined(appended.declined))
                raise CallRefused("The leave for this call has lapsed meanwhile.", code="approval_expired")
            self._known[key] = replace(effect, attempt=effect.attempt + 1, deadline=ctx.now_ms() + timeout_ms)
        return await ctx.holds.value_of(asked)

    # -- what it came to ------------------------------------------------------------------------------------------

    def _committed(self, request: ToolRequest, effect: Effect, value: Any) -> Outcome:
        """Done. A result that cannot be stored is recorded as that: the effect stands, and is never made again."""
        error: bytes | None = None
        try:
            outcome = request.succeeded(value, request.notes)
        except NotEncodable as exc:
            outcome = request.failed(exc)
            error = encode({"code": "not_encodable", "message": exc.message})
        return self._with(outcome, request, effect, _E.COMMITTED, error)

    def _failed(self, request: ToolRequest, effect: Effect, exc: Exception) -> Outcome:
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
        result = self._last_word(effect.key)
        if result is None:
            said = "It was done, but what came of it could not be recorded."
            return request.failed(StepFailed(said, code="result_lost"))
        try:
            return request.succeeded(result.get("result"), request.notes)
        except NotEncodable as exc:
            return request.failed(exc)

    def _last_word(self, key: str) -> dict[str, Any] | None:
        """What a person said last about an effect."""
        number, found = 1, None
        while (entry := self._ctx.journal.results.get(self._unknown_key(key, number))) is not None:
            found, number = decode(entry.payload), number + 1
        return found["answer"] if found is not None else None

    async def _planned_again(self, request: ToolRequest, effect: Effect) -> None:
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

    # -- nobody knows ---------------------------------------------------------------------------------------------

    async def _after_crash(self, request: ToolRequest, effect: Effect, permit: Permit, tries: int) -> Outcome | None:
        """It was under way when its process died, or the run was let go: by its class."""
        if effect.version != request.version:
            return await self._ask(request, effect, f"it was made by version {effect.version} of the tool")
        match effect.effect_class:
            case EffectClass.KEYED:
                return await self._same_key_again(request, effect, permit, tries, "the process that made it died")
            case EffectClass.RECONCILABLE:
                return await self._reconciled(request, effect, permit, early=False)
            case _:
                return await self._unsure(request, effect, permit, "the process that made it died")

    async def _once_more(
        self, request: ToolRequest, effect: Effect, permit: Permit, tries: int, exc: Exception
    ) -> Outcome | None:
        """A keyed call that gave no certain answer is made again with the same key, a few times."""
        reason = str(exc) or type(exc).__name__
        if tries >= (request.tries or request.contract.tries):
            return await self._reconciled_or_asked(request, effect, permit, f"{tries} tries gave no answer: {reason}")
        wait_ms = min(limits.RETRY_BACKOFF_MS * 2 ** (tries - 1), limits.RETRY_BACKOFF_MS_MAX)
        await asyncio.sleep(self._ctx.house.determinism.jitter(wait_ms) / 1000)
        self._ctx.demand_open()
        return await self._same_key_again(request, effect, permit, tries + 1, reason)

    async def _same_key_again(
        self, request: ToolRequest, effect: Effect, permit: Permit, tries: int, reason: str
    ) -> Outcome | None:
        ttl_ms, started = request.contract.key_ttl_ms, effect.started_at or 0
        if ttl_ms is not None and self._ctx.now_ms() - started >= ttl_ms:
            return await self._reconciled_or_asked(request, effect, permit, f"its key has expired, and {reason}")
        effect = await self._started_again(request, effect, permit)
        return await self._make(request, effect, permit, tries)

    async def _started_again(self, request: ToolRequest, effect: Effect, permit: Permit) -> Effect:
        """`started` once more, under the same key: the leave was used when it began."""
        try:
            return await self._start(request, effect, replace(permit, leave=None), again=True)
        except Declined as declined:
            self._demand_repeatable(effect.key, declined)
            raise AssertionError("leave is not asked of a call that was started already") from None

    async def _reconciled_or_asked(
        self, request: ToolRequest, effect: Effect, permit: Permit, reason: str
    ) -> Outcome | None:
        if request.contract.reconcile is not None:
            return await self._reconciled(request, effect, permit, early=False)
        return await self._ask(request, effect, reason)

    async def _reconciled(self, request: ToolRequest, effect: Effect, permit: Permit, *, early: bool) -> Outcome | None:
        """Ask the tool's reconciler. That it was done may be believed at once; that it was not, only after the
        deadline: until then the call may still be on its way."""
        if not early:
            await self._until_deadline(effect)
        answer = await self._asked_reconciler(request, effect)
        match answer:
            case Done(result):
                return self._committed(request, effect, result)
            case NotDone():
                if self._ctx.now_ms() < (effect.deadline or 0):
                    return await self._reconciled(request, effect, permit, early=False)
                if effect.rotation >= limits.EFFECT_ROTATIONS_MAX:
                    return await self._ask(request, effect, "it was not done, however often it was tried")
                await self._planned_again(request, effect)
                return None
            case Unknown(reason):
                if self._ctx.now_ms() < (effect.deadline or 0):
                    return await self._reconciled(request, effect, permit, early=False)
                return await self._ask(request, effect, reason or "the reconciler cannot tell")

    async def _until_deadline(self, effect: Effect) -> None:
        ctx = self._ctx
        while (effect.deadline or 0) > ctx.now_ms():
            await ctx.stand_still(Wait(f"{effect.key}/deadline", ctx.monotonic(), due_at=effect.deadline))
            effect = await self._read(effect.key)  # a zombie's heartbeat may have moved it

    async def _asked_reconciler(self, request: ToolRequest, effect: Effect) -> Done | NotDone | Unknown:
        """What the reconciler says; one that raises, hangs or talks nonsense cannot tell."""
        assert request.contract.reconcile is not None, "checked at start-up"
        ctx, reason = self._ctx, ""
        for number in range(1, limits.RECONCILE_TRIES + 1):
            handle = CallHandle(ctx, effect.key, limits.RECONCILE_TIMEOUT_MS, effect.idempotency_key, None)
            try:
                async with handle.timeout:
                    answer: Any = await request.contract.reconcile(handle.tool_context(number), info_of(effect))
                if isinstance(answer, (Done, NotDone, Unknown)):
                    return answer
                reason = f"the reconciler returned {type(answer).__name__}, not Done, NotDone or Unknown"
                break
            except NotDone as exc:
                return exc
            except TimeoutError:
                reason = f"the reconciler gave no answer within {limits.RECONCILE_TIMEOUT_MS / 1000:g} s"
            except Exception as exc:
                reason = f"the reconciler failed: {type(exc).__name__}: {exc}"
            ctx.demand_open()
            await asyncio.sleep(ctx.house.determinism.jitter(limits.RETRY_BACKOFF_MS * 2**number) / 1000)
            ctx.demand_open()
        return Unknown(reason[: limits.ERROR_CHARS_MAX])

    async def _unsure(self, request: ToolRequest, effect: Effect, permit: Permit, reason: str) -> Outcome | None:
        """An unsafe call of which nobody knows: as the tool says."""
        match request.contract.on_unknown:
            case OnUnknown.ASK:
                return await self._ask(request, effect, reason)
            case OnUnknown.ASSUME_DONE:
                request.notes.assumed = True
                return self._committed(request, effect, None)
            case OnUnknown.FAIL:
                told = StepFailed(f"Nobody knows whether this was done: {reason}.", code="effect_unknown")
                return self._failed(request, effect, told)
            case OnUnknown.RETRY:
                await self._until_deadline(effect)
                effect = await self._started_again(request, self._known[effect.key], permit)
                return await self._make(request, effect, permit, 1)

    async def _ask(self, request: ToolRequest, effect: Effect, reason: str) -> Outcome | None:
        """`unknown`, and the question to people what became of it, in one commit."""
        error = encode({"code": "effect_unknown", "message": reason})
        settle = Settle(key=effect.key, before=(_E.STARTED,), after=_E.UNKNOWN, error=error)
        question = self._question(request, effect, reason)
        await self._ctx.holds.open([question], [settle, *request.when_unknown])
        self._known[effect.key] = replace(effect, status=_E.UNKNOWN, error=error)
        return None

    def _unknown_key(self, key: str, number: int) -> str:
        return f"{self._ctx.holds.under(key)}/effect#{number}"

    def _question(self, request: ToolRequest, effect: Effect, reason: str) -> Question:
        number = 1
        while self._unknown_key(effect.key, number) in self._ctx.journal.results:
            number += 1
        return Question(
            key=self._unknown_key(effect.key, number),
            type=ApprovalType.EFFECT,
            message=f"What became of {request.tool}?",
            demand=Demand(expires_ms=limits.EXPIRES_MS_MAX),
            group=request.group or effect.key,
            name="effect",
            tool=request.tool,
            agent=request.agent,
            reason=reason[: limits.ERROR_CHARS_MAX],
            effect_id=effect.id,
            arguments=effect.arguments,
            schema=None if request.returns is None else encode(request.returns),
            event=EntryType.EFFECT_UNKNOWN,
        )

    async def _ask_what_became(self, request: ToolRequest, effect: Effect) -> Outcome | None:
        """Wait for a person's word on an unknown effect; then the ledger says how it goes on."""
        effect = await self._read(effect.key)  # somebody may have said so in the ledger itself, with no question open
        if effect.status is _E.UNKNOWN:
            error: dict[str, Any] = decode(effect.error) or {}
            await self._ctx.holds.answered(self._question(request, effect, str(error.get("message", ""))))
            await self._read(effect.key)
        return None

    # -- the same thing twice -------------------------------------------------------------------------------------

    async def _as_duplicate(self, request: ToolRequest, effect: Effect, permit: Permit) -> Outcome | None:
        """Another call holds the business key: its result is ours, if it is the same call."""
        ctx = self._ctx
        holder = effect.duplicate_of
        assert holder is not None, "it is a duplicate of something"
        until = ctx.monotonic() + limits.DEDUPE_WAIT_MS
        while True:
            first = await ctx.patiently(partial(effect_verbs.first_of, ctx.house, ctx.run, holder))
            if first is None or first.effect.status in (_E.FAILED, _E.ABANDONED):
                await self._replan(request, effect.key, effect.arguments, effect.business_key)
                await self._read(effect.key)
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
        ctx = self._ctx
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
                called = await self._call(request, permit, effect.key, number, handle)
                if isinstance(called, Value):
                    outcome = self._committed(request, effect, called.value)
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
            if not _is_conflict(called.exc) or number == _SESSION_TRIES:
                return self._failed(request, effect, called.exc), permit
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
        return None, await self._permitted(request, effect.key)


# -- pieces -------------------------------------------------------------------------------------------------------


def info_of(effect: Effect, result: object = None) -> EffectInfo:
    return EffectInfo(
        tool=effect.tool,
        key=effect.key,
        idempotency_key=effect.idempotency_key,
        arguments=decode(effect.arguments),
        provider_ref=effect.provider_ref,
        started_at=effect.started_at,
        result=result,
    )


def _is_lost(exc: BaseException) -> bool:
    """Whether an exception, or what caused it, says that no answer came."""
    seen: BaseException | None = exc
    while seen is not None:
        if isinstance(seen, (TimeoutError, ConnectionError, EOFError, asyncio.CancelledError)):
            return True
        if any(kind.__name__ in _LOST_NAMES for kind in type(seen).__mro__):
            return True
        seen = seen.__cause__
    return False


def _is_conflict(exc: Exception) -> bool:
    """Whether a transaction that was undone may come through when it is tried again."""
    return isinstance(exc, Unavailable) and exc.code != "transaction_timeout"


def _duplicate(message: str) -> CallRefused:
    return CallRefused(f"This was not done: {message}.", code="duplicate_effect")
