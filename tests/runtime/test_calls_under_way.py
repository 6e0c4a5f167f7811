"""What may happen around a call while it is under way, and after it is over: signs of life that come late, threads that
go on, children that take long, a process that stops between the decision and the call."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Agent, Confirm, Context, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.approvals import ApprovalType
from holdfast.domain.effects import Done, EffectInfo, EffectStatus, NotDone
from holdfast.domain.runs import RunStatus
from holdfast.runtime.recording import Recording
from holdfast.store.effects import Start
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    effect,
    ended,
    look,
    output,
    question,
    questions,
    resolve,
    settle,
    start,
    told,
    types,
    within,
)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(limits, "RETRY_BACKOFF_MS", 1)


# -- signs of life ----------------------------------------------------------------------------------------------------


async def test_a_sign_of_life_of_a_call_that_is_over_does_not_stop_the_run(desk: Desk) -> None:
    """A heart that the tool forgot to stop must not look like a lost lease."""
    hearts: list[asyncio.Task[None]] = []
    beat, over = asyncio.Event(), asyncio.Event()

    @tool(effect="keyed")
    async def act(ctx: ToolContext) -> str:
        """Act."""

        async def heart() -> None:
            await beat.wait()
            try:
                await ctx.heartbeat()
            finally:
                over.set()

        hearts.append(asyncio.create_task(heart()))
        return "done"

    @workflow("w", tools=[act])
    async def w(ctx: Context) -> str:
        done = await ctx.step("act", act)
        beat.set()
        await over.wait()
        return await ctx.step("after", lambda: done)

    hf = await desk.open(w)
    view = await within(ended(hf, await start(hf, "w")), 10)
    assert output(view) == "done"
    with pytest.raises(RuntimeError, match="over"):
        await hearts[0]
    assert "run.recovered" not in await types(hf, view)


async def test_a_thread_of_an_earlier_try_does_not_speak_for_the_next(desk: Desk) -> None:
    """The first try was given up, but its thread goes on: what it notes belongs to no call any more."""
    late, go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    @tool(effect="keyed", timeout=0.1)
    def act(ctx: ToolContext) -> str:
        """Act."""
        if ctx.attempt == 1:
            go_on.wait(10)
            try:
                ctx.record_ref("of the first")
            except BaseException as exc:
                raised.append(exc)
            late.set()
            return "late"
        ctx.record_ref("of the second")
        go_on.set()
        late.wait(10)
        return "in time"

    @workflow("w", tools=[act])
    async def w(ctx: Context) -> str:
        return await ctx.step("act", act)

    hf = await desk.open(w)
    view = await within(ended(hf, await start(hf, "w")), 15)
    assert output(view) == "in time"
    assert (await effect(hf, view)).provider_ref == "of the second"
    assert len(raised) == 1


# -- threads that go on -----------------------------------------------------------------------------------------------


class Thread:
    """A sync tool whose first call goes on in its thread after its time is over, and acts then."""

    def __init__(self, **promises: Any) -> None:
        self.acted: list[str] = []
        self.order: list[str] = []
        self.calls = 0
        self.go_on = threading.Event()
        self.asked = threading.Event()

        @tool(**promises)
        def act(ctx: ToolContext) -> str:
            """Act."""
            self.calls += 1
            mine = self.calls
            self.order.append(f"{mine} begins")
            if mine == 1:
                self.go_on.wait(10)
            self.acted.append(ctx.idempotency_key)
            self.order.append(f"{mine} ends")
            return "acted"

        self.tool = act

        if promises["effect"] == "reconcilable":

            @act.reconcile
            async def reconcile(ctx: ToolContext, info: EffectInfo) -> Done | NotDone:
                self.asked.set()
                return Done("acted") if info.idempotency_key in self.acted else NotDone()

        @workflow("w", tools=[act])
        async def w(ctx: Context) -> str | None:
            return await ctx.step("act", act)

        self.workflow = w


@pytest.mark.parametrize(
    "promises",
    [{"effect": "reconcilable"}, {"effect": "unsafe", "on_unknown": "retry"}],
    ids=["reconcilable", "unsafe, told to retry"],
)
async def test_nothing_is_done_anew_while_the_thread_of_the_call_goes_on(desk: Desk, promises: Any) -> None:
    """A thread cannot be stopped: whatever the reconciler says while it runs may be wrong a moment later."""
    one = Thread(timeout=0.2, **promises)
    hf = await desk.open(one.workflow)
    view = await start(hf, "w")
    asyncio.get_running_loop().call_later(0.3, one.go_on.set)  # after the deadline
    view = await within(ended(hf, view), 10)
    assert output(view) == "acted"
    if promises["effect"] == "reconcilable":  # what the thread did late was found, and not done again
        assert one.order == ["1 begins", "1 ends"]
    else:
        assert one.order == ["1 begins", "1 ends", "2 begins", "2 ends"]


@pytest.mark.parametrize(
    "promises",
    [{"effect": "reconcilable"}, {"effect": "unsafe", "on_unknown": "retry"}],
    ids=["reconcilable", "unsafe, told to retry"],
)
async def test_a_person_is_asked_about_a_thread_that_does_not_come_back(desk: Desk, promises: Any) -> None:
    one = Thread(timeout=0.2, **promises)
    hf = await desk.open(one.workflow)
    view = await start(hf, "w")
    try:
        asked = await question(hf, view)
        assert asked.type is ApprovalType.EFFECT
        assert "thread" in (asked.reason or "")
        assert one.calls == 1
        await settle(hf, await effect(hf, view), "committed", "by hand")
        assert output(await ended(hf, view)) == "by hand"
    finally:
        one.go_on.set()


# -- children that take long ------------------------------------------------------------------------------------------


async def test_a_tool_that_waits_for_a_child_is_not_cut_off_by_a_park(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put away in the middle of its call, an unsafe tool would look as if its process had died."""
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    go = asyncio.Event()
    calls: list[int] = []

    @workflow("child")
    async def child(ctx: Context) -> str:
        await ctx.step("wait", go.wait)
        return "advice"

    @tool
    async def act(ctx: ToolContext) -> str:
        """Ask somebody, then act."""
        calls.append(1)
        return f"acted on {await ctx.call(child)}"

    model = ScriptedModel([Call("act", {}), "done"], per="thread")
    a = Agent("a", model=model, tools=[act])
    hf = await desk.open(a, child)
    view = await start(hf, "a", "go")
    async with asyncio.timeout(10):
        while not calls:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # time enough for a park: there must be none
    assert (await look(hf, view)).run.status is RunStatus.RUNNING
    go.set()
    assert output(await within(ended(hf, view), 10)) == "done"
    assert told(model) == [("act", "acted on advice")]
    assert calls == [1]


# -- between the decision and the call --------------------------------------------------------------------------------


async def test_a_process_that_stops_before_the_call_leaves_no_doubt_about_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`started` was on its way as the drain came: the call was never made, so nobody is asked what became of it."""
    calls: list[int] = []

    @tool(effect="unsafe")
    async def act() -> str:
        """Act."""
        calls.append(1)
        return "acted"

    @workflow("w", tools=[act])
    async def w(ctx: Context) -> str:
        return await ctx.step("act", act)

    hf = desk.make(w)
    original = Recording.durable

    async def durable(self: Recording, entries: Any, ops: Any = ()) -> Any:
        appended = await original(self, entries, ops)
        if any(isinstance(op, Start) for op in ops):
            monkeypatch.setattr(Recording, "durable", original)
            for executor in hf.supervisor.worker.executors.values():
                executor.release(10_000)
            await asyncio.sleep(0.05)  # the executor hears of it
        return appended

    monkeypatch.setattr(Recording, "durable", durable)
    async with hf.running():
        view = await start(hf, "w")
        async with asyncio.timeout(10):
            while (await look(hf, view)).run.status is RunStatus.RUNNING:
                await asyncio.sleep(0.01)
        view = await ended(hf, view)
        assert output(view) == "acted"
        assert calls == [1]
        assert "effect.unknown" not in await types(hf, view)
        assert (await effect(hf, view)).status is EffectStatus.COMMITTED


async def test_every_try_gets_the_arguments_that_leave_was_given_for(desk: Desk) -> None:
    """What a try did to its arguments is not what the next one executes."""
    seen: list[list[str]] = []

    @tool(effect="keyed", confirm=True)
    async def send(to: list[str]) -> str:
        """Send."""
        to.append("somebody else")
        seen.append(list(to))
        if len(seen) < 3:
            raise ConnectionError("no answer")
        return "sent"

    @workflow("w", tools=[send])
    async def w(ctx: Context) -> str:
        return await ctx.step("send", send, ["ann"])

    hf = await desk.open(w)
    view = await start(hf, "w")
    await resolve(hf, await question(hf, view), "approve")
    assert output(await ended(hf, view)) == "sent"
    assert seen == [["ann", "somebody else"]] * 3


async def test_leave_that_lapses_while_a_tool_asks_is_asked_for_again_and_nothing_is_done_without_it(
    desk: Desk, clock: FakeClock
) -> None:
    """The tool may not go on, not even if it catches whatever comes."""
    acted: list[Any] = []
    busy = asyncio.Event()

    @tool(effect="keyed", confirm=Confirm(expires=timedelta(hours=1)))
    async def act(ctx: ToolContext) -> str:
        """Ask, then act."""
        answer: Any = None
        try:
            answer = await ctx.ask("How?", expires=timedelta(days=30))
        except Exception as exc:
            answer = exc
        acted.append(answer)
        return "acted"

    @workflow("w", tools=[act])
    async def w(ctx: Context) -> str:
        done, _ = await ctx.gather(ctx.step("act", act), ctx.step("busy", busy.wait))  # so that it stays in memory
        return done

    hf = await desk.open(w, determinism=clock.determinism)
    view = await start(hf, "w")
    await resolve(hf, await asked_now(hf, view, ApprovalType.TOOL), "approve")
    how = await asked_now(hf, view, ApprovalType.INPUT)
    clock.advance(timedelta(days=10))
    await resolve(hf, how, "answer", answer="so")
    again = await asked_now(hf, view, ApprovalType.TOOL)
    assert "not used in time" in (again.reason or "")
    assert acted == []
    await resolve(hf, again, "approve")
    busy.set()
    assert output(await within(ended(hf, view), 10)) == "acted"
    assert acted == ["so"]


async def asked_now(hf: Any, view: Any, type: ApprovalType) -> Any:
    """The open question of this type, as soon as there is one."""
    async with asyncio.timeout(10):
        while not (found := [q for q in await questions(hf, view) if q.type is type]):
            await asyncio.sleep(0.01)
    return found[0]
