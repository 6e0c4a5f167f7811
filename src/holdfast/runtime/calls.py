"""One tool call under way: its time, its key at the provider, its signs of life, its transaction, its questions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import text

from holdfast.agents.tools import ToolContext
from holdfast.domain import limits
from holdfast.domain.effects import Effect, EffectClass
from holdfast.domain.encoding import storable_text
from holdfast.domain.errors import LeaseLost
from holdfast.runtime.holds import Permit
from holdfast.service import effects as effect_verbs
from holdfast.store.base import Session, TxBody

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext
    from holdfast.runtime.effects import Ledger

T = TypeVar("T")


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
        if self._in_ledger:
            await self._note(timeout_ms=self._timeout_ms)
        self._restart_clock()

    async def record_ref(self, ref: str) -> None:
        storable_text(ref, what="A provider's reference", chars_max=limits.EXTERNAL_ID_CHARS_MAX)
        if not self._in_ledger:
            raise RuntimeError("ctx.record_ref is for tools whose calls stand in the ledger before they are made.")
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
            ctx.close(LeaseLost())
            raise ctx.again()
        if self._ledger is not None:
            self._ledger.noted(self._key, timeout_ms=timeout_ms, ref=ref)

    def _restart_clock(self) -> None:
        if not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time() + self._timeout_ms / 1000)

    async def ask(self, question: str, options: Mapping[str, Any]) -> Any:
        """Ask a person from within the call. The clock stands still meanwhile, and the effect goes back to `planned`:
        its author says that nothing was done yet. It is started anew before the call goes on."""
        if self._transaction is not None and self._transaction.opened:
            raise RuntimeError("ctx.ask comes before the first statement of ctx.tx: a transaction waits for nobody.")
        self.timeout.reschedule(None)
        flight = self._ctx.in_flight.get(self._key)
        changes = flight is not None and flight.changes
        if flight is not None:
            flight.changes = False
        try:
            if self._ledger is None or not self._in_ledger:
                return await self._ctx.holds.ask(question, dict(options))
            return await self._ledger.suspended(self._key, self._timeout_ms, question, dict(options))
        finally:
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


def _statement(given: Any) -> Any:
    return text(given) if isinstance(given, str) else given
