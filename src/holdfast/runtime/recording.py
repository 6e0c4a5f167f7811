"""How entries of one run get into the journal: what is written behind, what a barrier waits for, and what happens to
the run when a write is refused.

Appends of a run are written in the order in which they are made, so waiting for the last one waits for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from holdfast.domain.errors import HoldfastError, JournalRejected, LeaseLost, OutcomeUnknown, Signal, Unavailable
from holdfast.domain.journal import NewEntry
from holdfast.domain.runs import Usage
from holdfast.store import journal
from holdfast.store.base import Rejected, Session, Tx
from holdfast.store.claims import Claimed
from holdfast.store.journal import Append, Appended, Change, Op
from holdfast.store.writer import JournalWriter


class Declined(Exception):
    """The ledger does not let an effect start, or end, as asked; nothing was written. `reason` is its word for why, or
    `undone`: the database undid the user's transaction for a reason of its own, `cause`."""

    def __init__(self, reason: str, cause: HoldfastError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause


class ReadBack(Signal):
    """It is unknown whether something was recorded: read the journal again and go on from what it holds."""


class Recording:
    """The writing end of one claimed run. `broken` is called once, when the run can write no more.

    `outstanding` counts appends that are not durable yet: what a run writes behind is bounded, or a run that is faster
    than the database would fill the writer's queue.
    """

    def __init__(
        self, claimed: Claimed, writer: JournalWriter, broken: Callable[[BaseException], None], lease_ms: int
    ) -> None:
        self._claimed = claimed
        self._writer = writer
        self._lease_ms = lease_ms
        self._broken = broken
        self._last: asyncio.Future[Appended] | None = None
        self.failure: BaseException | None = None
        self.outstanding = 0
        self.acting_agent = claimed.run.acting_agent

    def behind(self, entries: Sequence[NewEntry], ops: Sequence[Op] = ()) -> asyncio.Future[Appended]:
        """Hand entries, and what goes to the ledger with them, to the writer; durable a moment later, in order."""
        return self._append(entries, None, None, ops)

    async def durable(self, entries: Sequence[NewEntry], ops: Sequence[Op] = ()) -> Appended:
        """Record entries, and everything before them; durable when this returns. What the ledger declined was not
        written, and says why."""
        return await self._settled(self._append(entries, None, None, ops))

    async def within(self, session: Session, entries: Sequence[NewEntry], ops: Sequence[Op]) -> Appended:
        """Record entries as the last thing in a transaction that user code has written in, and commit it. Everything
        before them is durable already. Raises `Declined`, with all of it undone, if the ledger or the database does not
        take it."""
        op = self._op(entries, None, None, ops)

        async def body(tx: Tx) -> Appended:
            (appended,) = await journal.append(tx, [op], self._lease_ms)
            if appended.refused:
                raise LeaseLost()
            if appended.declined is not None:
                raise Declined(appended.declined)
            return appended

        try:
            appended = await session.finish(body)
        except (OutcomeUnknown, LeaseLost) as exc:
            self.failure = self.failure or _as_signal(exc)
            self._broken(self.failure)
            raise self.failure from exc
        except (Unavailable, Rejected) as exc:
            raise Declined("undone", exc) from exc
        self._writer.announce(op, appended)
        return appended

    async def barrier(self) -> None:
        """Wait until everything recorded so far is durable."""
        if self._last is not None:  # even one that is done: its refusal may not have been heard of yet
            await self._settled(self._last)
        if self.failure is not None:
            raise self.failure

    async def change(self, entries: Sequence[NewEntry], change: Change, usage: Usage) -> Appended:
        """Record the entries that go with a change of the run's state, and the change, in one commit."""
        return await self._settled(self._append(entries, change, usage))

    def _op(
        self,
        entries: Sequence[NewEntry],
        change: Change | None,
        usage: Usage | None,
        ops: Sequence[Op],
    ) -> Append:
        run = self._claimed.run
        return Append(
            tenant_id=run.tenant_id,
            run_id=run.id,
            thread_id=run.thread_id,
            epoch=self._claimed.epoch,
            entries=entries,
            ops=ops,
            change=change,
            usage=usage,
            acting_agent=self.acting_agent,
        )

    def _append(
        self,
        entries: Sequence[NewEntry],
        change: Change | None,
        usage: Usage | None,
        ops: Sequence[Op] = (),
    ) -> asyncio.Future[Appended]:
        if self._last is not None and self._last.done():
            self._learn(self._last)  # its callback may not have run yet, and nothing may be written behind a hole
        if self.failure is not None:
            raise self.failure
        try:
            future = self._writer.append(self._op(entries, change, usage, ops))
        except Unavailable as exc:  # the process stops, or cannot keep up: whoever takes the run up goes on from here
            self.failure = LeaseLost()
            self._broken(self.failure)
            raise self.failure from exc
        future.add_done_callback(self._check)
        self.outstanding += 1
        self._last = future
        return future

    async def _settled(self, future: asyncio.Future[Appended]) -> Appended:
        try:
            appended = await asyncio.shield(future)
        except (OutcomeUnknown, JournalRejected) as exc:
            raise _as_signal(exc) from exc
        if appended.refused:
            raise LeaseLost()
        return appended

    def _check(self, future: asyncio.Future[Appended]) -> None:
        self.outstanding -= 1
        self._learn(future)

    def _learn(self, future: asyncio.Future[Appended]) -> None:
        if future.cancelled() or self.failure is not None:
            return
        exc = future.exception()
        if exc is not None:
            self.failure = _as_signal(exc)
        elif future.result().refused:
            self.failure = LeaseLost()
        if self.failure is not None:
            self._broken(self.failure)


def _as_signal(exc: BaseException) -> BaseException:
    return ReadBack() if isinstance(exc, OutcomeUnknown) else exc
