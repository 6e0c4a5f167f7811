"""The journal writer: one per process, it gathers the appends of all runs and writes each batch in one transaction.

No linger: a batch is whatever came while the last one was being committed. A batch that the database refuses is
written again run by run, so that only the offender fails (`JournalRejected`). While the database cannot be reached,
appends wait, up to the bound of the queue; when a commit's fate is unknown every run of the batch is told so and has
to read back before it goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import JournalRejected, OutcomeUnknown, Unavailable
from holdfast.store import journal
from holdfast.store.base import Database, Rejected, Tx
from holdfast.store.journal import Append, Appended

RETRY_MS = 100
RETRY_MS_MAX = 2_000

OnAppended = Callable[[Append, Appended], None]
_Waiting = tuple[Append, "asyncio.Future[Appended]"]


class JournalWriter:
    """`append` returns a future at once; it resolves when the entries are durable.

    `on_appended` is called on the event loop for each accepted append, in commit order, before its future resolves:
    that is where durable events are published.
    """

    def __init__(
        self,
        database: Database,
        on_appended: OnAppended,
        *,
        lease_ms: int = limits.LEASE_MS,
        determinism: Determinism = SYSTEM,
    ) -> None:
        self._database = database
        self._on_appended = on_appended
        self._lease_ms = lease_ms
        self._determinism = determinism
        self._waiting: deque[_Waiting] = deque()
        self._scheduled = False
        self._failed = 0
        self._settled = 0
        self._redoing = 0
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def append(self, op: Append) -> asyncio.Future[Appended]:
        """Queue an append. Raises `Unavailable` when too much waits already (the database is gone for long)."""
        if self._closed:
            raise Unavailable("The journal writer is closed.", code="draining")
        if len(self._waiting) >= limits.WRITER_QUEUE_OPS_MAX:
            raise Unavailable("The journal's queue is full; the database does not keep up.", code="store_overloaded")
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((op, future))
        self._schedule()
        return future

    def announce(self, op: Append, appended: Appended) -> None:
        """Publish an append that was committed in another transaction than the writer's own."""
        self._on_appended(op, appended)

    @property
    def backlog(self) -> int:
        """How many appends wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Let go of what still waits; call it when nothing runs any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(Unavailable("The server is stopping.", code="draining"))

    # The lane runs bodies one after another, each maybe before the loop has heard how the last one ended. So a failure
    # stalls the writer right there, in the lane: nothing newer of a run may be written before what failed has been
    # written, given up, or put back in its place. The lane counts failures and the loop counts those it has settled;
    # a single flag would be lifted by the news of an *earlier* batch's success.

    @property
    def _stalled(self) -> bool:
        return self._failed != self._settled or self._redoing > 0 or self._timer is not None

    def _schedule(self) -> None:
        if self._scheduled or self._closed or self._stalled:
            return
        self._scheduled = True
        self._submit([], drain=True)

    def _submit(self, taken: list[_Waiting], *, drain: bool) -> None:
        begun = failed = False

        async def flush(tx: Tx) -> list[Appended]:
            nonlocal begun
            if drain and not taken:  # a body may run again after a conflict: it keeps what it took
                stalled = self._stalled
                if not begun:
                    begun, self._scheduled = True, False
                while not stalled and self._waiting and len(taken) < limits.BATCH_OPS_MAX:
                    taken.append(self._waiting.popleft())
            return await journal.append(tx, [op for op, _ in taken], self._lease_ms) if taken else []

        def stall() -> None:
            nonlocal failed
            failed = True
            self._failed += 1

        def done(result: list[Appended] | BaseException) -> None:
            if drain and not begun:  # the database was gone before the body could take anything
                self._scheduled = False
            self._settle(taken, result)
            self._settled += failed
            self._redoing -= not drain
            self._go_on()

        try:
            self._database.submit(flush, done, stall)
        except Unavailable as exc:
            done(exc)

    def _settle(self, taken: list[_Waiting], result: Sequence[Appended] | BaseException) -> None:
        if not isinstance(result, BaseException):
            self._failures = 0
            for (op, future), appended in zip(taken, result, strict=True):
                if not appended.refused and not appended.open_again and appended.declined is None:
                    self._on_appended(op, appended)
                if not future.done():
                    future.set_result(appended)
        elif isinstance(result, Unavailable):
            self._again_later(taken)
        elif isinstance(result, OutcomeUnknown) or not isinstance(result, Exception):
            self._give_up(taken, OutcomeUnknown("It is unknown whether this was recorded."))
        else:
            self._one_by_one(taken, result)

    def _go_on(self) -> None:
        if self._waiting and not self._stalled:
            self._schedule()

    def _again_later(self, taken: list[_Waiting]) -> None:
        """Nothing was written: the same appends go first when the database is back."""
        if self._closed:
            _fail(taken, Unavailable("The server is stopping.", code="draining"))
            return
        self._waiting.extendleft(reversed(taken))
        self._failures += 1
        if self._timer is None:
            wait_ms = self._determinism.jitter(min(RETRY_MS * 2 ** min(self._failures, 6), RETRY_MS_MAX))
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._go_on()

    def _one_by_one(self, taken: list[_Waiting], cause: Exception) -> None:
        by_run: dict[tuple[bytes, bytes], list[_Waiting]] = {}
        for waiting in taken:
            by_run.setdefault((waiting[0].tenant_id, waiting[0].run_id), []).append(waiting)
        if len(by_run) > 1:
            self._redoing += len(by_run)
            for own in by_run.values():
                self._submit(own, drain=False)
        else:
            reason = cause.message if isinstance(cause, Rejected) else f"{type(cause).__name__}: {cause}"
            self._give_up(
                taken, JournalRejected(f"The database refused what this run wanted to record: {reason[:500]}")
            )

    def _give_up(self, taken: Sequence[_Waiting], exc: Exception) -> None:
        """Fail these appends, and what waits behind them of the same runs: a journal has no holes. The lane is stalled,
        so nobody else takes from the queue now."""
        gone = {(op.tenant_id, op.run_id, op.epoch) for op, _ in taken}
        waiting = list(self._waiting)
        behind = [w for w in waiting if (w[0].tenant_id, w[0].run_id, w[0].epoch) in gone]
        if behind:
            self._waiting.clear()
            self._waiting.extend(w for w in waiting if (w[0].tenant_id, w[0].run_id, w[0].epoch) not in gone)
        _fail([*taken, *behind], exc)


def _fail(taken: Sequence[_Waiting], exc: Exception) -> None:
    for _, future in taken:
        if not future.done():
            future.set_exception(exc)
            future.exception()  # a run that has gone does not read it
