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
from holdfast.domain.access import LOCAL_PRINCIPAL, Principal, PrincipalKind, Scope
from holdfast.domain.approvals import Approval, ApprovalStatus
from holdfast.domain.effects import Effect, Word
from holdfast.domain.ids import DEFAULT_TENANT, PrincipalId, RunId, ThreadId
from holdfast.domain.journal import Entry
from holdfast.domain.runs import RunStatus, RunView
from holdfast.domain.threads import Message
from holdfast.service import approvals, awaited, history, retrying, runs
from holdfast.service import effects as effect_verbs
from holdfast.service.approvals import Resolution
from holdfast.service.awaited import NewEvent
from holdfast.service.forks import Edits
from holdfast.store import claims, effects, lineage
from holdfast.store.approvals import ApprovalFilter
from holdfast.testing.clock import FakeClock

WITHIN_S = 20


class Desk:
    """Holdfasts on one database, and the verbs of a client."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.opened: list[Holdfast] = []
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
        self.opened.append(hf)
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
    return await hf.house.database.read(None, lambda tx: lineage.load(tx, run.run.tenant_id, run.run.id))


async def types(hf: Holdfast, run: RunView) -> list[str]:
    return [e.type.value for e in await entries(hf, run)]


async def keys(hf: Holdfast, run: RunView) -> list[str]:
    """Keys of the recorded steps, in the order in which they were recorded."""
    return [e.key for e in await entries(hf, run) if e.seq is not None and e.key is not None]


async def messages(hf: Holdfast, thread_id: ThreadId) -> list[Message]:
    return await history.page(hf.house, LOCAL_PRINCIPAL, thread_id, 0, 200)


async def cancel(hf: Holdfast, run: RunView, reason: str | None = None) -> runs.CancelOutcome:
    return await runs.cancel(hf.house, LOCAL_PRINCIPAL, run.run.id, reason)


async def retry(hf: Holdfast, run: RunView, given: RunLimits | None = None, **edits: Any) -> RunView:
    return await ended(hf, await requeued(hf, run, given, **edits))


async def requeued(hf: Holdfast, run: RunView, given: RunLimits | None = None, **edits: Any) -> RunView:
    """The same, without waiting for what becomes of it."""
    return (await retrying.retry(hf.house, LOCAL_PRINCIPAL, run.run.id, given, edits=Edits(**edits))).view


async def within(work: Awaitable[Any], seconds: float = WITHIN_S) -> Any:
    async with asyncio.timeout(seconds):
        return await work


def gone(view: RunView) -> bool:
    return view.run.status is RunStatus.CANCELLED


# -- holds and effects ------------------------------------------------------------------------------------------------


def person(name: str, *roles: str) -> Principal:
    """Somebody who may start runs and answer questions, and who holds these roles."""
    scopes = {Scope.RUNS_WRITE, Scope.APPROVALS_READ, Scope.APPROVALS_WRITE, Scope.EFFECTS_WRITE, Scope.EVENTS_WRITE}
    id = PrincipalId(name.encode().ljust(16, b"\x00"))
    held = frozenset({*scopes, *(f"role:{role}" for role in roles)})
    return Principal(DEFAULT_TENANT, id, PrincipalKind.USER, name, held)


async def ledger(hf: Holdfast, run: RunView) -> list[Effect]:
    """The run's effects, as they were planned."""
    return await hf.house.database.read(None, lambda tx: effects.of_run(tx, run.run.tenant_id, run.run.id))


async def effect(hf: Holdfast, run: RunView) -> Effect:
    """The only effect of the run."""
    (found,) = await ledger(hf, run)
    return found


async def questions(hf: Holdfast, run: RunView, *status: ApprovalStatus) -> list[Approval]:
    """The run's questions and those of its children, oldest first; the open ones unless said otherwise."""
    wanted = ApprovalFilter(run_id=run.run.id, status=status or (ApprovalStatus.PENDING,), limit=200)
    return [view.approval for view in await approvals.page(hf.house, LOCAL_PRINCIPAL, wanted)]


async def question(hf: Holdfast, run: RunView) -> Approval:
    """The one open question of a run that waits."""
    await waiting(hf, run)
    (found,) = await questions(hf, run)
    return found


async def resolve(
    hf: Holdfast, asked: Approval, decision: Any, *, by: Principal = LOCAL_PRINCIPAL, **more: Any
) -> Approval:
    said = Resolution(decision=decision, **more)
    return (await approvals.resolve(hf.house, by, asked.id, said)).view.approval


async def settle(
    hf: Holdfast,
    one: Effect,
    word: Word,
    result: Any = None,
    note: str | None = None,
    *,
    by: Principal = LOCAL_PRINCIPAL,
) -> Effect:
    return (await effect_verbs.resolve(hf.house, by, one.id, word, result, note)).view.effect


async def send(hf: Holdfast, name: str, data: Any = None, *, key: str = "", id: str | None = None) -> awaited.Sent:
    return await awaited.send(hf.house, LOCAL_PRINCIPAL, NewEvent(name=name, key=key, data=data, external_id=id))


async def crash(hf: Holdfast, run: RunView) -> None:
    """What a run is left as when its process dies, and what recovery then does: from this moment its executor can
    write nothing more, and the run is queued again under another epoch."""
    executor = hf.supervisor.worker.executors[run.run.id]
    executor.lose()
    tenant_id, run_id, epoch = executor.key
    while hf.supervisor.worker.executors.get(run.run.id) is executor:
        await asyncio.sleep(0.005)
    back = await hf.house.database.write(
        None, lambda tx: claims.requeue_orphan(tx, tenant_id, run.run.thread_id, run.run.id, epoch, dead=True)
    )
    assert back is not None
    assert run_id == run.run.id
    hf.house.hub.work(run.run.agent)


def told(model: Any) -> list[tuple[str, Any]]:
    """What the model was told last by its tools: `(tool, text)`, and `("user", …)` for what came besides."""
    found: list[tuple[str, Any]] = []
    for part in (p for message in model.requests[-1].messages for p in message.parts):
        if part.part_kind in ("tool-return", "retry-prompt"):
            found.append((part.tool_name, part.content))
        elif part.part_kind == "user-prompt" and found:
            found.append(("user", part.content))
    return found
