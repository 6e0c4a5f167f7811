"""Which tasks of a run can move, and what the others wait for. When none can move the run is *quiet*: it may park.

Counting is done by whoever changes the state, before any task runs again, so that the run is never taken for quiet
while a wake-up is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.domain.approvals import ApprovalType
from holdfast.domain.ids import ApprovalId, RunId
from holdfast.store.awaited import EventWait


@dataclass(slots=True, eq=False)
class Wait:
    """One leaf wait of a task: for a time (ms UTC), for a child run to end, for people (`approval_id`), or for an event
    from outside. `since` is monotonic ms. `looked`: whether anybody has looked, since it began, if it is over already.
    """

    key: str
    since: float
    due_at: int | None = None
    child_id: RunId | None = None
    approval_id: ApprovalId | None = None
    approval_type: ApprovalType | None = None
    event: EventWait | None = None
    looked: bool = False
    future: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Activity:
    """The tasks of one run. Starts with one that moves: the main one."""

    def __init__(self, quiet: Callable[[], None]) -> None:
        self._quiet = quiet
        self._moving = 1
        self.waits: dict[str, Wait] = {}

    @property
    def is_quiet(self) -> bool:
        return self._moving == 0 and bool(self.waits)

    def forked(self, tasks: int) -> None:
        """The current task waits for `tasks` new ones."""
        self._moving += tasks - 1

    def joined(self, left: int) -> None:
        """A forked task ended; the last one (`left` is 0) hands its motion back to the task that waits."""
        if left > 0:
            self._stopped()

    async def wait(self, wait: Wait) -> None:
        """Stand still until the wait is resolved, or failed with a signal."""
        self.waits[wait.key] = wait
        self._stopped()
        self.stir()  # its time may come while other tasks still move
        try:
            await wait.future
        finally:
            if self.waits.pop(wait.key, None) is not None:
                self._moving += 1  # cancelled from outside: nobody resolved it

    def resolve(self, wait: Wait) -> None:
        if self.waits.pop(wait.key, None) is not None:
            self._moving += 1
            if not wait.future.done():
                wait.future.set_result(None)

    def stir(self) -> None:
        """Something changed that whoever watches has to know."""
        self._quiet()

    def fail_all(self, signal: Callable[[], BaseException]) -> None:
        """Unwind every waiting task."""
        for wait in list(self.waits.values()):
            del self.waits[wait.key]
            self._moving += 1
            if not wait.future.done():
                wait.future.set_exception(signal())

    def _stopped(self) -> None:
        self._moving -= 1
        assert self._moving >= 0, "more tasks stopped than moved"
        if self._moving == 0:
            self._quiet()

    def described(self) -> list[dict[str, Any]]:
        """What `waiting_on` says, without the public ids."""
        return [{"key": w.key, "due_at": w.due_at, "child_id": w.child_id} for w in self.waits.values()]
