"""What is done about a call of which nobody knows whether it acted: its process died, no answer came, its time is over.

Invariant: only a `keyed` call is made again without asking, under the same key. Of everything else that may have acted,
the reconciler is asked, or a person; nothing is done anew before the call's deadline, nor while a thread of it still
runs here. `unknown` and the question what became of it are one commit.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from holdfast.agents.base import Outcome
from holdfast.agents.effects import ToolRequest
from holdfast.domain import limits
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
)
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import StepFailed
from holdfast.domain.journal import EntryType
from holdfast.runtime.calls import CallHandle, Lost, Raised
from holdfast.runtime.holds import Permit, Question
from holdfast.runtime.recording import Declined
from holdfast.runtime.waits import Wait
from holdfast.store.effects import Settle

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext
    from holdfast.runtime.effects import Ledger

_E = EffectStatus
_THREAD: Final = "it runs in a thread that goes on after its time, and may still act"


class Unsettled:
    """The doubtful calls of one run."""

    def __init__(self, ctx: RunContext, ledger: Ledger) -> None:
        self._ctx = ctx
        self._ledger = ledger

    async def after_call(
        self, request: ToolRequest, effect: Effect, permit: Permit, tries: int, called: Lost | Raised
    ) -> Outcome | None:
        """The call came back without a certain answer: by its class. None: look where the effect stands now."""
        match effect.effect_class:
            case EffectClass.KEYED:
                return await self._once_more(request, effect, permit, tries, called.exc)
            case EffectClass.RECONCILABLE:
                return await self._reconciled(request, effect, permit, early=True)
            case _ if isinstance(called, Lost):
                return await self._unsure(request, effect, permit, str(called.exc) or type(called.exc).__name__)
            case _:
                return self._ledger.failed(request, effect, called.exc)

    async def after_crash(self, request: ToolRequest, effect: Effect, permit: Permit, tries: int) -> Outcome | None:
        """It was under way when its process died, or the run was let go: by its class."""
        if effect.version != request.version:
            return await self._ask(request, effect, f"it was made by version {effect.version} of the tool")
        if effect.effect_class is not request.contract.effect or not permit.fits:
            return await self._ask(request, effect, "it was made by another definition of the tool")
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
        return await self._ledger.make(request, effect, permit, tries)

    async def _started_again(self, request: ToolRequest, effect: Effect, permit: Permit) -> Effect:
        """`started` once more, under the same key: the leave was used when it began."""
        try:
            return await self._ledger.start(request, effect, replace(permit, leave=None), again=True)
        except Declined as declined:
            self._ledger.demand_repeatable(effect.key, declined)
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
            effect = await self._until_deadline(effect)
            if not await self._threads_ended(request, effect):
                return await self._ask(request, effect, _THREAD)
        answer = await self._asked_reconciler(request, effect)
        match answer:
            case Done(result):
                return self._ledger.committed(request, effect, result)
            case NotDone() | Unknown() if early and self._may_still_act(effect):
                return await self._reconciled(request, effect, permit, early=False)
            case NotDone():
                if effect.rotation >= limits.EFFECT_ROTATIONS_MAX:
                    return await self._ask(request, effect, "it was not done, however often it was tried")
                await self._ledger.planned_again(request, effect)
                return None
            case Unknown(reason):
                return await self._ask(request, effect, reason or "the reconciler cannot tell")

    def _may_still_act(self, effect: Effect) -> bool:
        """Whether what was sent, or a thread that could not be stopped, may still arrive."""
        return self._ctx.now_ms() < (effect.deadline or 0) or bool(self._ctx.threads_of(effect.key))

    async def _until_deadline(self, effect: Effect) -> Effect:
        """The effect when its deadline has passed."""
        ctx = self._ctx
        while (effect.deadline or 0) > ctx.now_ms():
            await ctx.stand_still(Wait(f"{effect.key}/deadline", ctx.monotonic(), due_at=effect.deadline))
            effect = await self._ledger.read(effect.key)  # a zombie's heartbeat may have moved it
        return effect

    async def _threads_ended(self, request: ToolRequest, effect: Effect) -> bool:
        """Whether no thread of the call is left in this process. One that goes on gets as long again as the call."""
        left = self._ctx.threads_of(effect.key)
        if left:
            await asyncio.wait(left, timeout=request.timeout_ms / 1000)
            self._ctx.demand_open()
        return not self._ctx.threads_of(effect.key)

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
            finally:
                handle.end()
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
                return self._ledger.committed(request, effect, None)
            case OnUnknown.FAIL:
                told = StepFailed(f"Nobody knows whether this was done: {reason}.", code="effect_unknown")
                return self._ledger.failed(request, effect, told)
            case OnUnknown.RETRY:
                effect = await self._until_deadline(effect)
                if not await self._threads_ended(request, effect):
                    return await self._ask(request, effect, _THREAD)
                effect = await self._started_again(request, effect, permit)
                return await self._ledger.make(request, effect, permit, 1)

    async def _ask(self, request: ToolRequest, effect: Effect, reason: str) -> Outcome | None:
        """`unknown`, and the question to people what became of it, in one commit."""
        error = encode({"code": "effect_unknown", "message": reason})
        settle = Settle(key=effect.key, before=(_E.STARTED,), after=_E.UNKNOWN, error=error)
        question = self._question(request, effect, reason)
        await self._ctx.holds.open([question], [settle, *request.when_unknown])
        self._ledger.note(replace(effect, status=_E.UNKNOWN, error=error))
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

    async def ask_what_became(self, request: ToolRequest, effect: Effect) -> Outcome | None:
        """Wait for a person's word on an unknown effect; then the ledger says how it goes on."""
        # Somebody may have said so in the ledger itself, with no question open. One that is open may have been answered
        # already, before this run looked: what was said to it has to be heard in any case.
        effect = await self._ledger.read(effect.key)
        error: dict[str, Any] = decode(effect.error) or {}
        question = self._question(request, effect, str(error.get("message", "")))
        if effect.status is _E.UNKNOWN or self._ctx.holds.is_open(question.key):
            await self._ctx.holds.answered(question)
            await self._ledger.read(effect.key)
        return None

    def last_word(self, effect: Effect) -> dict[str, Any] | None:
        """What a person said last about an effect: to its question, or with none open, to the ledger itself."""
        kept: dict[str, Any] = decode(effect.error) or {}
        if kept.get("decision") is not None:
            return kept["decision"]["answer"]
        number, found = 1, None
        while (entry := self._ctx.journal.results.get(self._unknown_key(effect.key, number))) is not None:
            found, number = decode(entry.payload), number + 1
        return found["answer"] if found is not None else None


def info_of(effect: Effect, result: object = None) -> EffectInfo:
    """An effect as a reconciler or a compensator is told of it."""
    return EffectInfo(
        tool=effect.tool,
        key=effect.key,
        idempotency_key=effect.idempotency_key,
        arguments=decode(effect.arguments),
        provider_ref=effect.provider_ref,
        started_at=effect.started_at,
        result=result,
    )
