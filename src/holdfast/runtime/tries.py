"""One try of a step's body: what the body sees of it, its time, and what of it is under way.

Invariant: pieces of a message are shown only after its beginning is durable; what a stop does to a body is decided by
whether it may change something (`InFlight`), never by what it happens to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from holdfast.agents.base import Action, Body, Outcome
from holdfast.bus.base import Delta
from holdfast.domain import ids
from holdfast.domain.encoding import encode
from holdfast.domain.errors import Cancelled, LimitReached, Released, StepFailed
from holdfast.domain.ids import MessageId
from holdfast.domain.journal import EntryType, Ephemeral, NewEntry

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

T = TypeVar("T")

# What stops a run that is still ours: a tool that may have changed something gets its grace, and is recorded.
GRACEFUL: Final = (Cancelled, Released, LimitReached)


@dataclass(slots=True)
class InFlight:
    """A body under way: its task, and whether it may change something (then a cancel gives it its grace)."""

    key: str
    task: asyncio.Task[Any] | None
    changes: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Try:
    """One try of a body, as the body sees it."""

    __slots__ = ("_context", "_message", "_opened", "_pieces", "_shown", "key", "number")

    def __init__(self, context: RunContext, key: str, number: int, message: MessageId | None) -> None:
        self.key = key
        self.number = number
        self._context = context
        self._message = message
        self._opened: asyncio.Future[Any] | None = None
        self._pieces = 0
        self._shown: list[Delta] = []

    def announce(self, voids: Sequence[str]) -> None:
        """Say durably that a message begins: only then may pieces of it be shown."""
        assert self._message is not None
        data = {"message_id": ids.text(ids.MESSAGE, self._message), "key": self.key, "voids": list(voids)}
        entry = NewEntry(type=EntryType.MESSAGE_STARTED, at=self._context.now_ms(), payload=encode(data))
        self._opened = self._context.recording.behind([entry])
        self._opened.add_done_callback(lambda _: self._flush())

    def delta(self, part: int, kind: Literal["text", "thinking", "tool_call"], text: str) -> None:
        """Publish a piece of the message under way; held back until its announcement is durable. Pieces are numbered: a
        reader can tell one that comes again from one that is missing, for they are not stored."""
        if self._message is None or self._context.closed is not None:
            return
        data: dict[str, object] = {
            "message_id": ids.text(ids.MESSAGE, self._message),
            "part": part,
            "kind": kind,
            "text": text,
            "piece": self._pieces,
        }
        self._pieces += 1
        self._shown.append(Delta(self._context.run.id, Ephemeral.MESSAGE_DELTA.value, data, self._context.now_ms()))
        self._flush()

    def _flush(self) -> None:
        if self._opened is not None and self._opened.done():
            for delta in self._shown:
                self._context.house.hub.delta(self._context.run.thread_id, delta)
            self._shown.clear()


async def make(action: Action, body: Body, one: Try) -> Outcome:
    """One try of a body, within the action's time."""
    if action.timeout_ms is None:
        return await body(one)
    work = body(one)
    try:
        waits_for = work.send(None)
    except StopIteration as end:  # it never had to wait: a timer would have cost more than the body
        return end.value
    timeout = asyncio.timeout(action.timeout_ms / 1000)
    try:
        async with timeout:
            return await _Begun(work, waits_for)
    except TimeoutError:
        if not timeout.expired():
            raise
        message = f"{action.name} took longer than {action.timeout_ms / 1000:g} s."
        raise StepFailed(message, code="step_timeout", error_type="TimeoutError") from None


class _Begun:
    """The rest of a coroutine that was begun by hand, and what it waits for now."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._work = work
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        while True:
            try:
                sent = yield waits_for
            except BaseException as exc:
                step = partial(self._work.throw, exc)
            else:
                step = partial(self._work.send, sent)
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
