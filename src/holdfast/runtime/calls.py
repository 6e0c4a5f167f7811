"""One tool call under way: its time, its key at the provider, its signs of life, its transaction, its questions; and
what a call came to.

Invariant: a handle speaks for its call only while that is under way. What outlives the call (a task that the tool
forgot, a thread that could not be stopped) is refused, and says nothing about the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
from sqlalchemy import text

from holdfast.agents.effects import KNOWN_FAILURES, ToolRequest
from holdfast.agents.tools import ToolContext
from holdfast.domain import limits
from holdfast.domain.effects import Effect, EffectClass
from holdfast.domain.encoding import storable_text
from holdfast.domain.errors import JournalMismatch, LeaseLost, LimitReached, StepFailed, UnscopedConcurrency
from holdfast.runtime import blocking
from holdfast.runtime.holds import Permit
from holdfast.service import effects as effect_verbs
from holdfast.store.base import Session, TxBody

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext
    from holdfast.runtime.effects import Ledger

T = TypeVar("T")

ENDS_THE_RUN = (LimitReached, JournalMismatch, UnscopedConcurrency)
# Exceptions after which nobody knows whether the other side acted, by name: their libraries are not ours to import.
_LOST_NAMES = frozenset({"TransportError", "ClientConnectionError", "ConnectionError", "Timeout"})


# -- what a call came to ----------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Anew:
    """It did nothing yet, and may not go on: it begins anew, if it still may."""


Called = Value | Known | Lost | Raised | Wants | Anew


class BeginAnew(BaseException):
    """Unwinds a tool that may not go on after it asked. Not an `Exception`: code that catches those would act."""


async def invoke(
    ctx: RunContext, request: ToolRequest, permit: Permit, key: str, number: int, handle: CallHandle, *, anew: bool
) -> Called:
    """Call user code, within its time. While it is under way a cancel gives it its grace.

    `anew`: an earlier try had the permit's arguments in hand; whatever it did to them, this one gets them as they were.
    """
    flight = ctx.in_flight.get(key)
    changes = request.contract.effect is not EffectClass.READ
    owner = blocking.OWNER.set((ctx.run.id, key)) if changes else None
    try:
        typed = request.validate(permit.arguments.decode()) if anew else dict(permit.typed)
        if flight is not None:
            flight.task, flight.changes = asyncio.current_task(), changes
        with ctx.scope(key):
            async with handle.timeout:
                return Value(await request.invoke(TryOfCall(key, number, handle), typed))
    except BeginAnew:
        return Anew()
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
        return _came_to(request, permit, handle, exc)
    finally:
        handle.end()
        if owner is not None:
            blocking.OWNER.reset(owner)
        if flight is not None:
            flight.changes = False


def _came_to(request: ToolRequest, permit: Permit, handle: CallHandle, exc: Exception) -> Called:
    """What an exception says of the call that raised it."""
    if isinstance(exc, TimeoutError) and handle.timeout.expired():
        message = f"no result within {request.timeout_ms / 1000:g} s"
        return Lost(StepFailed(message, code="tool_timeout", error_type="TimeoutError"))
    if not request.insists:
        if isinstance(exc, (*KNOWN_FAILURES, *request.contract.rejections)):
            return Known(exc)
        if isinstance(exc, CallDeferred) or (isinstance(exc, ApprovalRequired) and not permit.approved):
            return Wants(exc)
    return Lost(exc) if _is_lost(exc) else Raised(exc)


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


# -- while it is under way --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TryOfCall:
    """One try of a call, as its body sees it."""

    key: str
    number: int
    handle: CallHandle

    def delta(self, part: int, kind: Literal["text", "thinking", "tool_call"], text: str) -> None:
        """A tool's call is no message under way."""


class CallHandle:
    """What a call can ask of the runtime (`agents.effects.Handle`). Without `effect` it is one that only reads."""

    def __init__(
        self,
        ctx: RunContext,
        key: str,
        timeout_ms: int,
        idempotency_key: str,
        permit: Permit | None,
        *,
        effect: Effect | None = None,
        ledger: Ledger | None = None,
        stack: AsyncExitStack | None = None,
    ) -> None:
        self.idempotency_key = idempotency_key
        self.timeout = asyncio.timeout(timeout_ms / 1000)
        self._ctx = ctx
        self._key = key
        self._timeout_ms = timeout_ms
        self._permit = permit
        self._effect = effect
        self._ledger = ledger
        self._transaction = None if stack is None else OpenTransaction(ctx, stack)
        self._over = False
        self._asking = False

    def end(self) -> None:
        """The call is over: nothing that it left behind speaks for it any more."""
        self._over = True
        if self._transaction is not None:
            self._transaction.over = True

    @property
    def approved(self) -> bool:
        return self._permit is not None and self._permit.approved

    @property
    def tx(self) -> OpenTransaction:
        if self._transaction is None:
            raise RuntimeError('ctx.tx is for tools that are declared with effect="transaction".')
        return self._transaction

    def tool_context(self, attempt: int) -> ToolContext[Any]:
        return ToolContext[Any](self._ctx, key=self._key, attempt=attempt, handle=self)

    async def heartbeat(self) -> None:
        _demand_under_way(self._over)
        if self._asking:
            return  # its clock stands still
        if self._in_ledger:
            await self._note(timeout_ms=self._timeout_ms)
        self._restart_clock()

    async def record_ref(self, ref: str) -> None:
        storable_text(ref, what="A provider's reference", chars_max=limits.EXTERNAL_ID_CHARS_MAX)
        if not self._in_ledger:
            raise RuntimeError("ctx.record_ref is for tools whose calls stand in the ledger before they are made.")
        _demand_under_way(self._over)
        if self._asking:
            raise RuntimeError("ctx.record_ref comes after the answer to ctx.ask: nothing is being done until then.")
        await self._note(ref=ref)

    @property
    def _in_ledger(self) -> bool:
        return self._effect is not None and self._effect.effect_class is not EffectClass.TRANSACTION

    async def _note(self, *, timeout_ms: int | None = None, ref: str | None = None) -> None:
        ctx = self._ctx
        ours = await ctx.patiently(
            lambda: effect_verbs.note(ctx.house, ctx.run, self._key, ctx.epoch, timeout_ms=timeout_ms, ref=ref)
        )
        if not ours:
            _demand_under_way(self._over)  # it ended meanwhile, and its effect is not under way any more
            if self._asking:
                return
            ctx.close(LeaseLost())
            raise ctx.again()
        if self._ledger is not None:
            self._ledger.noted(self._key, timeout_ms=timeout_ms, ref=ref)

    def _restart_clock(self) -> None:
        if not self._over and not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time() + self._timeout_ms / 1000)

    async def ask(self, question: str, options: Mapping[str, Any]) -> Any:
        """Ask a person from within the call. The clock stands still meanwhile, and the effect goes back to `planned`:
        its author says that nothing was done yet. It is started anew before the call goes on."""
        _demand_under_way(self._over)
        if self._transaction is not None and self._transaction.opened:
            raise RuntimeError("ctx.ask comes before the first statement of ctx.tx: a transaction waits for nobody.")
        self.timeout.reschedule(None)
        flight = self._ctx.in_flight.get(self._key)
        changes = flight is not None and flight.changes
        if flight is not None:
            flight.changes = False
        self._asking = True
        try:
            if self._ledger is None or not self._in_ledger:
                return await self._ctx.holds.ask(question, dict(options))
            return await self._ledger.suspended(self._key, self._timeout_ms, question, dict(options))
        finally:
            self._asking = False
            if flight is not None:
                flight.changes = changes
            self._restart_clock()

    def finishing(self, stack: AsyncExitStack) -> Finishing | None:
        """The transaction to be ended with the step, if the tool opened one."""
        if self._transaction is None or self._transaction.session is None:
            return None
        return Finishing(self._transaction.session, stack)


class OpenTransaction:
    """`ctx.tx`: opens at its first statement."""

    def __init__(self, ctx: RunContext, stack: AsyncExitStack) -> None:
        self._ctx = ctx
        self._stack = stack
        self.session: Session | None = None
        self.over = False

    @property
    def opened(self) -> bool:
        return self.session is not None

    async def execute(self, statement: Any, params: Mapping[str, Any] | None = None) -> int:
        session = await self._begun()
        return await session.execute(_statement(statement), params)

    async def rows(self, statement: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        session = await self._begun()
        return await session.rows(_statement(statement), params)

    async def _begun(self) -> Session:
        _demand_under_way(self.over)
        self._ctx.demand_open()
        if self.session is None:
            database = self._ctx.house.database
            within_ms = limits.TRANSACTION_SQLITE_MS if database.dialect == "sqlite" else limits.TRANSACTION_MS
            opened = database.session(self._ctx.run.tenant_id, within_ms)
            self.session = await self._stack.enter_async_context(opened)
        return self.session


@dataclass(frozen=True, slots=True)
class Finishing:
    """A transaction of the user's that the step's entry will end: committed by `finish`, undone by `aclose`."""

    session: Session
    stack: AsyncExitStack

    async def finish(self, body: TxBody[T]) -> T:
        return await self.session.finish(body)

    async def aclose(self) -> None:
        await self.stack.aclose()


def _demand_under_way(over: bool) -> None:
    if over:
        raise RuntimeError("This call is over: its context says nothing for it any more. Stop what the tool began.")


def _statement(given: Any) -> Any:
    return text(given) if isinstance(given, str) else given
