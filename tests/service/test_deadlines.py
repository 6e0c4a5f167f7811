"""Runs that undo what they did, or still have to: neither a cancel nor a calendar deadline cuts that off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Context, EffectInfo, Holdfast, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.approvals import Approval, ApprovalStatus, ApprovalType
from holdfast.domain.effects import EffectStatus
from holdfast.domain.runs import RunStatus, RunView
from holdfast.service import claiming
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    ended,
    error,
    ledger,
    look,
    questions,
    resolve,
    settle,
    start,
    types,
    until,
    waiting,
)

SOON_MS = 1_000


class World:
    """What was done and undone, and whether undoing works."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.silent = False


world = World()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    world.__init__()
    monkeypatch.setattr(limits, "RETRY_BACKOFF_MS", 1)


@tool(effect="keyed")
async def book(what: str) -> str:
    """Book something."""
    world.log.append(f"book {what}")
    return what


@book.compensate(tries=1)
async def unbook(ctx: ToolContext[None], done: EffectInfo) -> None:
    if world.silent:
        raise ConnectionError("the hotel does not answer")
    world.log.append(f"undo {done.arguments['what']}")


@workflow("trip", tools=[book], compensate=("failure", "cancel"))
async def trip(ctx: Context) -> None:
    await ctx.step("hotel", book, "hotel")
    await ctx.ask("Go on?")
    await ctx.ask("And now?")


@workflow("cancellable", tools=[book], compensate=("cancel",))
async def cancellable(ctx: Context) -> None:
    await ctx.step("hotel", book, "hotel")
    await ctx.ask("Go on?")
    await ctx.ask("And now?")


@workflow("plain", tools=[book])
async def plain(ctx: Context) -> None:
    await ctx.step("hotel", book, "hotel")
    await ctx.ask("Go on?")
    await ctx.ask("And now?")


async def undoing(hf: Holdfast, run: RunView) -> Approval:
    """The question what became of the undoing, once the run waits for that."""
    await until(hf, run, lambda v: b"effect" in (v.run.waiting_on or b""), "undoing")
    (asked,) = await questions(hf, run)
    assert asked.type is ApprovalType.EFFECT, "what was asked before is closed"
    return asked


# -- what became of it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_the_inbox", [True, False])
async def test_a_cancelled_run_hears_what_became_of_its_undoing(desk: Desk, in_the_inbox: bool) -> None:
    hf = await desk.open(trip)
    run = await waiting(hf, await start(hf, "trip"))
    (before,) = await questions(hf, run)
    world.silent = True
    await cancel(hf, run, "enough")
    asked = await undoing(hf, run)
    assert [one.id for one in await questions(hf, run, ApprovalStatus.CANCELLED)] == [before.id]
    if in_the_inbox:
        await resolve(hf, asked, "answer", answer={"outcome": "committed"})
    else:
        (effect,) = [one for one in await ledger(hf, run) if one.status is EffectStatus.UNKNOWN]
        await settle(hf, effect, "committed")
    run = await ended(hf, run)
    assert (run.run.status, run.run.cancel_reason) == (RunStatus.CANCELLED, "enough")
    assert [one.status for one in await ledger(hf, run)] == [EffectStatus.COMPENSATED, EffectStatus.COMMITTED]


async def test_a_run_that_undoes_waits_for_people_beyond_its_deadline(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(trip, determinism=clock.determinism)
    world.silent = True
    run = await waiting(hf, await start(hf, "trip", deadline=clock.now_ms() + SOON_MS))
    clock.advance(SOON_MS + 1)
    asked = await undoing(hf, run)
    before = await types(hf, run)
    for _ in range(3):
        assert await claiming.end_overdue(hf.house) == 0
    await asyncio.sleep(0.1)  # a worker that was woken for nothing would have written so by now
    assert await types(hf, run) == before
    world.silent = False
    await resolve(hf, asked, "answer", answer={"outcome": "not_done"})
    assert error(await ended(hf, run))["code"] == "limit_deadline"
    assert world.log == ["book hotel", "undo hotel"]


# -- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "end"), [("trip", RunStatus.FAILED), ("cancellable", RunStatus.CANCELLED), ("plain", RunStatus.CANCELLED)]
)
async def test_a_queued_run_past_its_deadline_still_undoes_what_it_did(
    desk: Desk, clock: FakeClock, agent: str, end: RunStatus
) -> None:
    agents = (trip, cancellable, plain)
    given: dict[str, Any] = {"determinism": clock.determinism}
    first = desk.make(*agents, **given)
    async with first.running():
        run = await waiting(first, await start(first, agent, deadline=clock.now_ms() + SOON_MS))
    idle = await desk.open(*agents, worker_slots=0, **given)
    (asked,) = await questions(idle, run)
    await resolve(idle, asked, "answer", answer=1)
    assert (await look(idle, run)).run.status is RunStatus.QUEUED
    clock.advance(SOON_MS + 1)
    ends_at_once = agent == "plain"
    await claiming.end_overdue(idle.house)
    await claiming.end_overdue(idle.house)
    assert (await look(idle, run)).run.status.ended is ends_at_once
    hf = await desk.open(*agents, **given)
    assert (await ended(hf, run)).run.status is end
    assert world.log == (["book hotel"] if ends_at_once else ["book hotel", "undo hotel"])


async def test_runs_that_are_left_to_a_worker_do_not_keep_others_from_their_end(
    desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "ROWS_MAX", 2)
    agents = (trip, plain)
    given: dict[str, Any] = {"determinism": clock.determinism}
    first = desk.make(*agents, **given)
    deadline = clock.now_ms() + SOON_MS
    async with first.running():
        held = [await waiting(first, await start(first, "trip", deadline=deadline)) for _ in range(3)]
        other = await waiting(first, await start(first, "plain", deadline=deadline + 1))
    idle = await desk.open(*agents, worker_slots=0, **given)
    clock.advance(SOON_MS + 1)
    await claiming.end_overdue(idle.house)  # its own recovery may have come first
    assert (await look(idle, other)).run.status is RunStatus.FAILED
    assert [(await look(idle, run)).run.status for run in held] == [RunStatus.QUEUED] * 3


@pytest.mark.parametrize("answered", [True, False])
async def test_a_process_that_does_not_know_the_agent_leaves_the_undoing_to_one_that_does(
    desk: Desk, clock: FakeClock, answered: bool
) -> None:
    given: dict[str, Any] = {"determinism": clock.determinism}
    first = desk.make(trip, **given)
    async with first.running():
        run = await waiting(first, await start(first, "trip", deadline=clock.now_ms() + SOON_MS))
    stranger = await desk.open(plain, **given)
    if answered:
        (asked,) = await questions(stranger, run)
        await resolve(stranger, asked, "answer", answer=1)
    clock.advance(SOON_MS + 1)
    await claiming.end_overdue(stranger.house)
    await claiming.end_overdue(stranger.house)
    assert (await look(stranger, run)).run.status is RunStatus.QUEUED
    hf = await desk.open(trip, **given)
    assert error(await ended(hf, run))["code"] == "limit_deadline"
    assert world.log == ["book hotel", "undo hotel"]
