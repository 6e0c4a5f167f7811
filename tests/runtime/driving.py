"""What runtime tests do to a Holdfast: start runs, wait for what becomes of them, read their journals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from holdfast import Holdfast, RunLimits, Settings
from holdfast.bus.base import Hub
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.ids import RunId, ThreadId
from holdfast.domain.journal import Entry
from holdfast.domain.runs import RunStatus, RunView
from holdfast.domain.threads import Message
from holdfast.service import history, runs
from holdfast.store import claims
from holdfast.testing.clock import FakeClock

WITHIN_S = 20


class Desk:
    """Holdfasts on one database, and the verbs of a client."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self._stack = stack

    def make(self, *agents: Any, **given: Any) -> Holdfast:
        options = {name: given.pop(name) for name in list(given) if name in Settings.model_fields}
        settings = Settings(**{"database": self.url, "mode": "serve", "freeze_gc": False} | options)  # pyright: ignore
        return Holdfast(agents, settings=settings, **given)

    async def open(self, *agents: Any, lease_ms: int | None = None, deaf: bool = False, **given: Any) -> Holdfast:
        """`deaf`: nothing of this process is heard by others, nor theirs here: no writes but its own runs'."""
        hf = self.make(*agents, **given)
        if lease_ms is not None:
            hf.house.lease_ms = lease_ms
        if deaf:
            hf.house.hub = Hub(None)
        await self._stack.enter_async_context(hf.running())
        return hf


async def start(hf: Holdfast, agent: str, input: Any = None, **more: Any) -> RunView:
    """`thread`: a thread's external id, made if it is not there."""
    thread = more.pop("thread", None)
    ask = runs.StartRun(agent=agent, input=input, thread_external_id=thread, thread_create=thread is not None, **more)
    return (await runs.start(hf.house, LOCAL_PRINCIPAL, ask)).view


async def look(hf: Holdfast, run: RunView | RunId) -> RunView:
    return await runs.get(hf.house, LOCAL_PRINCIPAL, run.run.id if isinstance(run, RunView) else run)


async def until(hf: Holdfast, run: RunView, reached: Callable[[RunView], bool], what: str) -> RunView:
    """The run as soon as it is as wanted."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while not reached(view := await look(hf, run)):
                await runs.wait(hf.house, LOCAL_PRINCIPAL, view, 0.2)
                await asyncio.sleep(0.005)
            return view
    except TimeoutError:
        raise AssertionError(f"the run is not {what}: {await look(hf, run)}") from None


async def ended(hf: Holdfast, run: RunView) -> RunView:
    return await until(hf, run, lambda v: v.run.status.ended, "ended")


async def waiting(hf: Holdfast, run: RunView) -> RunView:
    return await until(hf, run, lambda v: v.run.status is RunStatus.WAITING, "waiting")


async def slept(hf: Holdfast, clock: FakeClock, run: RunView) -> RunView:
    """The run at its end, however long it sleeps: whenever it waits, the clock is moved."""
    while not (view := await until(hf, run, _stands, "standing")).run.status.ended:
        clock.advance(timedelta(hours=2))
        await asyncio.sleep(0.005)
    return view


def _stands(view: RunView) -> bool:
    return view.run.status.ended or view.run.status is RunStatus.WAITING


async def outcome(hf: Holdfast, agent: str, input: Any = None, **more: Any) -> RunView:
    """Start a run and wait for its end."""
    return await ended(hf, await start(hf, agent, input, **more))


def output(view: RunView) -> Any:
    assert view.run.status is RunStatus.SUCCEEDED, (view.run.status, view.run.error)
    return json.loads(view.output or b"null")


def error(view: RunView) -> dict[str, Any]:
    assert view.run.status is RunStatus.FAILED, (view.run.status, view.output)
    return json.loads(view.run.error or b"{}")


async def entries(hf: Holdfast, run: RunView) -> list[Entry]:
    return await hf.house.database.read(None, lambda tx: claims.load(tx, run.run.tenant_id, run.run.id))


async def types(hf: Holdfast, run: RunView) -> list[str]:
    return [e.type.value for e in await entries(hf, run)]


async def keys(hf: Holdfast, run: RunView) -> list[str]:
    """Keys of the recorded steps, in the order in which they were recorded."""
    return [e.key for e in await entries(hf, run) if e.seq is not None and e.key is not None]


async def messages(hf: Holdfast, thread_id: ThreadId) -> list[Message]:
    return await history.page(hf.house, LOCAL_PRINCIPAL, thread_id, 0, 200)


async def cancel(hf: Holdfast, run: RunView, reason: str | None = None) -> runs.CancelOutcome:
    return await runs.cancel(hf.house, LOCAL_PRINCIPAL, run.run.id, reason)


async def retry(hf: Holdfast, run: RunView, given: RunLimits | None = None) -> RunView:
    return await ended(hf, (await runs.retry(hf.house, LOCAL_PRINCIPAL, run.run.id, given)).view)


async def within(work: Awaitable[Any], seconds: float = WITHIN_S) -> Any:
    async with asyncio.timeout(seconds):
        return await work


def gone(view: RunView) -> bool:
    return view.run.status is RunStatus.CANCELLED
