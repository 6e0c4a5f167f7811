"""A thread is held by its oldest run that has not ended; `on_busy` says what a new one does about that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Agent, Context, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.errors import Conflict
from holdfast.domain.runs import OnBusy, RunStatus
from holdfast.testing import Call, ScriptedModel, last_user_text
from tests.runtime.driving import Desk, ended, look, messages, output, start, waiting, within

order: list[str] = []


@pytest.fixture(autouse=True)
def _anew() -> None:
    order.clear()


@workflow("w")
async def w(ctx: Context, name: str) -> str:
    order.append(name)
    await ctx.emit("ran", name)
    return name


@workflow("sleeps")
async def sleeps(ctx: Context, name: str) -> None:
    await ctx.sleep(3_600)


async def test_the_runs_of_a_thread_go_one_after_the_other_in_order(desk: Desk) -> None:
    hf = await desk.open(w)
    views = [await start(hf, "w", str(n), thread="t") for n in range(12)]
    assert [output(await ended(hf, v)) for v in views] == order == [str(n) for n in range(12)]
    found = await messages(hf, views[0].run.thread_id)
    assert [m.position for m in found] == list(range(1, 25))
    assert [m.run_id for m in found[::2]] == [v.run.id for v in views]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("on_busy", list(OnBusy))
async def test_a_new_run_in_a_thread_that_waits(desk: Desk, on_busy: OnBusy) -> None:
    hf = await desk.open(w, sleeps)
    holder = await waiting(hf, await start(hf, "sleeps", "holder", thread="t"))
    queued = await start(hf, "w", "queued", thread="t")
    if on_busy is OnBusy.REJECT:
        with pytest.raises(Conflict) as caught:
            await start(hf, "w", "new", thread="t", on_busy=on_busy)
        assert caught.value.code == "thread_busy"
        assert (await look(hf, holder)).run.status is RunStatus.WAITING
        return
    new = await start(hf, "w", "new", thread="t", on_busy=on_busy)
    if on_busy is OnBusy.ENQUEUE:
        view = await look(hf, new)
        assert view.run.status is RunStatus.QUEUED
        assert view.holder_id == holder.run.id
        assert view.queue_position == 2
        assert order == []
        return
    assert (await look(hf, holder)).run.status is RunStatus.CANCELLED
    assert output(await ended(hf, new)) == "new"
    assert output(await ended(hf, queued)) == "queued"
    assert order == ["new", "queued"]
    found = await messages(hf, holder.run.thread_id)
    hidden = [m.void for m in found if m.run_id == holder.run.id]
    assert hidden == [on_busy is OnBusy.ROLLBACK]
    assert (await look(hf, new)).run.on_busy_applied is on_busy


def prompts_seen(history: Any) -> list[str]:
    return [p.content for m in history for p in m.parts if type(p).__name__ == "UserPromptPart"]


@pytest.mark.parametrize("acts", [False, True])
async def test_a_rollback_hides_what_was_said_unless_something_may_have_been_done(desk: Desk, acts: bool) -> None:
    begun, forever = asyncio.Event(), asyncio.Event()
    seen: list[list[str]] = []

    @tool
    async def act(ctx: ToolContext) -> str:
        """Act."""
        begun.set()
        return "acted"

    async def reply(history: Any, info: Any) -> Any:
        if last_user_text(history) == "second":
            seen.append(prompts_seen(history))
            return "answer"
        if acts and info.position == 0:
            return Call("act")
        begun.set()
        await forever.wait()

    hf = await desk.open(Agent("a", model=ScriptedModel(reply), tools=[act]))
    first = await start(hf, "a", "first", thread="t")
    await within(begun.wait())
    second = await ended(hf, await start(hf, "a", "second", thread="t", on_busy=OnBusy.ROLLBACK))
    assert output(second) == "answer"
    assert (await look(hf, first)).run.status is RunStatus.CANCELLED
    applied = OnBusy.INTERRUPT if acts else OnBusy.ROLLBACK
    assert second.run.on_busy_applied is applied
    assert seen == [["first", "second"] if acts else ["second"]]
    voids = {m.void for m in await messages(hf, first.run.thread_id) if m.run_id == first.run.id}
    assert voids == {not acts}
