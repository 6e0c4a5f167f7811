"""A cancel is prompt: what only reads or thinks is stopped at once, what may change something gets its grace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Agent, Context, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import Conflict
from holdfast.domain.runs import RunStatus
from holdfast.service import runs
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import Desk, cancel, ended, entries, keys, messages, outcome, start, types, waiting, within

# Nothing in these tests may wait for a grace to pass: if it does, the test times out before.
PROMPT_S = 5


async def test_a_queued_and_a_waiting_run_end_with_the_request(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.sleep(3_600)

    hf = await desk.open(w)
    holder = await waiting(hf, await start(hf, "w", thread="t"))
    behind = await start(hf, "w", thread="t")
    for view in (behind, holder):
        done = await cancel(hf, view, "enough")
        assert done.view.run.status is RunStatus.CANCELLED
        assert not done.already
        assert (await types(hf, view))[-1] == "run.cancelled"
        assert (await cancel(hf, view)).already
    assert await keys(hf, holder) == []


async def test_a_model_call_in_flight_is_cancelled_at_once(desk: Desk) -> None:
    asked, stopped, forever = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def reply(history: Any, info: Any) -> str:
        asked.set()
        try:
            await forever.wait()
        finally:
            stopped.set()
        return "never"

    hf = await desk.open(Agent("a", model=ScriptedModel(reply)))
    view = await start(hf, "a", "hi")
    await within(asked.wait())
    await cancel(hf, view)
    view = await within(ended(hf, view), PROMPT_S)
    assert view.run.status is RunStatus.CANCELLED
    assert stopped.is_set()
    assert await keys(hf, view) == []
    assert [m.role for m in await messages(hf, view.run.thread_id)] == ["user"]


async def test_a_changing_tool_in_flight_ends_and_is_recorded_and_a_reading_one_is_not(desk: Desk) -> None:
    begun: list[str] = []
    both, go, forever = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def note(name: str) -> None:
        begun.append(name)
        if len(begun) == 2:
            both.set()

    @tool
    async def change(ctx: ToolContext) -> str:
        """Change."""
        note("change")
        await go.wait()
        return "changed"

    @tool(effect="read")
    async def look(ctx: ToolContext) -> str:
        """Look."""
        note("look")
        try:
            await forever.wait()
        finally:
            go.set()  # only a read that is stopped lets the change end
        return "never"

    model = ScriptedModel([[Call("change"), Call("look")], "never said"])
    hf = await desk.open(Agent("a", model=model, tools=[change, look]))
    view = await start(hf, "a", "go")
    await within(both.wait())
    await cancel(hf, view)
    view = await within(ended(hf, view), PROMPT_S)
    assert view.run.status is RunStatus.CANCELLED
    assert await keys(hf, view) == ["model#1", "model#1/0"]
    assert len(model.requests) == 1


async def test_a_changing_tool_that_does_not_end_within_its_grace_is_cancelled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CANCEL_GRACE_MS", 100)
    begun, forever = asyncio.Event(), asyncio.Event()

    @tool
    async def change(ctx: ToolContext) -> str:
        """Change."""
        begun.set()
        await forever.wait()
        return "never"

    hf = await desk.open(Agent("a", model=ScriptedModel([Call("change"), "never"]), tools=[change]))
    view = await start(hf, "a", "go")
    await within(begun.wait())
    await cancel(hf, view)
    view = await within(ended(hf, view), PROMPT_S)
    assert view.run.status is RunStatus.CANCELLED
    opened = [e.key for e in await entries(hf, view) if e.type == "tool.started"]
    assert opened == ["model#1/0"]
    assert await keys(hf, view) == ["model#1"]


async def test_a_run_that_waits_for_a_slot_hears_of_its_cancel(desk: Desk) -> None:
    begun, forever = asyncio.Event(), asyncio.Event()

    @workflow("sleeps")
    async def sleeps(ctx: Context) -> None:
        await ctx.sleep(0.2)
        await ctx.emit("moved")

    @workflow("hogs")
    async def hogs(ctx: Context) -> None:
        begun.set()
        await forever.wait()

    hf = await desk.open(sleeps, hogs, worker_slots=1)
    view = await start(hf, "sleeps")
    while "step.opened" not in await types(hf, view):
        await asyncio.sleep(0.005)
    hog = await start(hf, "hogs")
    await within(begun.wait())
    executor = hf.supervisor.worker.executors[view.run.id]
    async with asyncio.timeout(PROMPT_S):
        while executor._taking is None:  # pyright: ignore[reportPrivateUsage]  # its time has come: it wants the slot
            await asyncio.sleep(0.005)
    await cancel(hf, view)
    assert (await within(ended(hf, view), PROMPT_S)).run.status is RunStatus.CANCELLED
    assert "custom" not in await types(hf, view)
    await cancel(hf, hog)
    await ended(hf, hog)


async def test_code_that_swallows_its_cancel_is_cancelled_all_the_same(desk: Desk) -> None:
    begun, forever = asyncio.Event(), asyncio.Event()
    swallowed: list[str] = []

    @workflow("w")
    async def w(ctx: Context) -> str:
        begun.set()
        while len(swallowed) < 2:
            try:
                await forever.wait()
            except BaseException as exc:
                swallowed.append(type(exc).__name__)
        return "an answer that does not count"

    hf = await desk.open(w)
    view = await start(hf, "w")
    await within(begun.wait())
    await cancel(hf, view)
    view = await within(ended(hf, view), PROMPT_S)
    assert view.run.status is RunStatus.CANCELLED
    assert view.output is None
    assert len(swallowed) == 2


async def test_a_run_that_ended_cannot_be_cancelled(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        return "done"

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    with pytest.raises(Conflict) as caught:
        await runs.cancel(hf.house, LOCAL_PRINCIPAL, view.run.id)
    assert caught.value.code == "run_ended"
