"""The bounded pool of threads in which sync tools and steps run, so that a blocking one never stalls the loop.

A thread cannot be stopped. When its caller gives up (timeout, cancel) it is *abandoned*: its place is free again at
once, it is counted until it returns, and past `THREADS_ABANDONED_MAX` new calls are refused, with that as the reason.
Whose it is stays known (`OWNER`): nobody may conclude that a call did nothing while its thread may still act.
Threads are daemons: one that never returns does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from holdfast.domain.errors import UserCodeFailed
from holdfast.domain.limits import THREAD_POOL_MAX, THREADS_ABANDONED_MAX

T = TypeVar("T")
OWNER: Final[ContextVar[Hashable]] = ContextVar("holdfast_thread_owner", default=None)
"""The call that what is started now belongs to, where anybody has to know."""
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Blocking:
    """`run` calls a sync function in a thread; used from one event loop."""

    def __init__(self, threads_max: int = THREAD_POOL_MAX) -> None:
        self._free = asyncio.Semaphore(threads_max)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._left: dict[Hashable, set[asyncio.Future[Any]]] = {}
        self.abandoned = 0

    async def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """What `fn` returns. Cancelling the caller leaves the thread to itself."""
        if self.abandoned >= THREADS_ABANDONED_MAX:
            raise UserCodeFailed(
                f"{self.abandoned} sync calls never returned; no more threads are started. Restart the worker and "
                "give these calls timeouts of their own.",
                code="threads_exhausted",
            )
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        async with self._free:
            future: asyncio.Future[T] = loop.create_future()
            self._start((lambda: context.run(fn, *args, **kwargs), future, loop))
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                if not future.done():
                    self._abandon(future, OWNER.get())
                raise

    def left_by(self, owner: Hashable) -> set[asyncio.Future[Any]]:
        """The abandoned threads of a call that have not returned."""
        return set(self._left.get(owner, ()))

    def _abandon(self, future: asyncio.Future[Any], owner: Hashable) -> None:
        self.abandoned += 1
        if owner is not None:
            self._left.setdefault(owner, set()).add(future)
        future.add_done_callback(lambda _: self._returned(future, owner))

    def _returned(self, future: asyncio.Future[Any], owner: Hashable) -> None:
        self.abandoned -= 1
        left = self._left.get(owner)
        if left is not None:
            left.discard(future)
            if not left:
                del self._left[owner]
        if not future.cancelled():
            future.exception()  # nobody waits for it any more

    def _start(self, job: _Job) -> None:
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                self._threads += 1
                threading.Thread(target=self._work, name="holdfast-sync", daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future, loop = job
            try:
                value, error = call(), None
            except BaseException as exc:
                value, error = None, exc
            with self._lock:
                self._idle += 1
            try:
                loop.call_soon_threadsafe(_settle, future, value, error)
            except RuntimeError:
                return  # the loop is closed: the process ends

    def close(self) -> None:
        """Let idle threads end; abandoned ones end with the process."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future cannot carry it
        error = RuntimeError("the function raised StopIteration")
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
