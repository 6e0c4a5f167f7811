"""A run's limits: each has its code, and a run that reached one goes on with a higher one without repeating a step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic_ai.usage import RequestUsage

from holdfast import Agent, Confirm, Context, RunLimits, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import Conflict, Invalid
from holdfast.domain.runs import RunStatus
from holdfast.service import retrying, runs
from holdfast.store.runs import RunFilter
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    ended,
    entries,
    error,
    gone,
    keys,
    look,
    outcome,
    output,
    question,
    questions,
    resolve,
    retry,
    start,
    until,
    waiting,
    within,
)

ran: list[str] = []


@tool
async def act(ctx: ToolContext, n: int) -> str:
    """Act."""
    ran.append(ctx.key)
    return f"acted {n}"


def acting() -> Agent:
    usage: Callable[..., RequestUsage] = lambda *_: RequestUsage(input_tokens=60, output_tokens=40)  # noqa: E731
    replies = [Call("act", {"n": 1}), Call("act", {"n": 2}), Call("act", {"n": 3}), "done"]
    return Agent("a", model=ScriptedModel(replies, usage=usage), tools=[act])


@pytest.mark.parametrize(
    ("low", "high", "code"),
    [
        (RunLimits(steps_max=3), RunLimits(steps_max=100), "limit_steps"),
        (RunLimits(tool_calls_max=1), RunLimits(tool_calls_max=3), "limit_tool_calls"),
        (RunLimits(tokens_max=150), RunLimits(tokens_max=10_000), "limit_tokens"),
    ],
)
async def test_a_run_at_its_limit_fails_with_its_code_and_goes_on_with_a_higher_one(
    desk: Desk, low: RunLimits, high: RunLimits, code: str
) -> None:
    ran.clear()
    hf = await desk.open(acting())
    view = await outcome(hf, "a", "go", limits=low)
    assert error(view)["code"] == code
    before = await keys(hf, view)
    assert 0 < len(before) < 7
    view = await retry(hf, view, high)
    assert output(view) == "done"
    after = await keys(hf, view)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 7
    assert ran == ["model#1/0", "model#2/0", "model#3/0"]


async def test_parallel_steps_do_not_pass_the_limit_together(desk: Desk) -> None:
    begun: list[int] = []

    async def one(n: int) -> int:
        begun.append(n)
        await asyncio.sleep(0)
        return n

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(*(ctx.step("one", one, n) for n in range(10)))

    hf = await desk.open(w)
    view = await outcome(hf, "w", limits=RunLimits(steps_max=4))
    assert error(view)["code"] == "limit_steps"
    assert len(begun) <= 4


async def test_a_limit_stays_reached_when_nothing_is_raised(desk: Desk) -> None:
    hf = await desk.open(acting())
    view = await outcome(hf, "a", "go", limits=RunLimits(tool_calls_max=1))
    view = await retry(hf, view)
    assert error(view)["code"] == "limit_tool_calls"


async def test_active_time_stops_a_run_and_a_changing_tool_in_flight_has_its_grace(desk: Desk) -> None:
    ran.clear()

    @tool
    async def slow(ctx: ToolContext) -> str:
        """Act slowly."""
        ran.append(ctx.key)
        await asyncio.sleep(0.3)
        return "acted"

    agent = Agent("a", model=ScriptedModel([Call("slow"), "done"]), tools=[slow])
    hf = await desk.open(agent)
    view = await outcome(hf, "a", "go", limits=RunLimits(active_ms_max=100))
    assert error(view)["code"] == "limit_active_ms"
    assert await keys(hf, view) == ["model#1", "model#1/0"]
    view = await retry(hf, view, RunLimits(active_ms_max=60_000))
    assert output(view) == "done"
    assert ran == ["model#1/0"]


async def test_a_deadline_ends_a_running_a_waiting_and_a_queued_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)
    forever = asyncio.Event()

    @workflow("running")
    async def running(ctx: Context) -> None:
        await forever.wait()

    @workflow("waiting")
    async def parked(ctx: Context) -> None:
        await ctx.sleep(3_600)

    hf = await desk.open(running, parked)
    soon = hf.house.determinism.now_ms() + 400
    first = await start(hf, "running", thread="t", deadline=soon)
    second = await start(hf, "waiting", deadline=soon)
    behind = await start(hf, "running", thread="u", start_after=soon + 60_000, deadline=soon)
    await waiting(hf, second)
    assert error(await ended(hf, first))["code"] == "limit_deadline"
    assert error(await ended(hf, second))["code"] == "limit_deadline"
    assert (await until(hf, behind, gone, "cancelled")).run.cancel_reason == "deadline"


async def test_a_full_journal_fails_the_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOURNAL_STEPS_MAX", 5)

    async def one() -> int:
        return 1

    @workflow("w")
    async def w(ctx: Context) -> None:
        while True:
            await ctx.step("one", one)

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert error(view)["code"] == "journal_full"
    assert len(await keys(hf, view)) == 5


async def test_a_retry_after_a_fix_runs_the_failed_step_anew_and_nothing_before_it(desk: Desk) -> None:
    counted: list[str] = []
    broken = True

    async def first() -> int:
        counted.append("first")
        return 1

    async def second() -> int:
        counted.append("second")
        if broken:
            raise ValueError("a bug")
        return 2

    @workflow("w")
    async def w(ctx: Context) -> int:
        return await ctx.step("first", first) + await ctx.step("second", second)

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert error(view)["step"] == "second#1"
    broken = False
    assert output(await retry(hf, view)) == 3
    assert counted == ["first", "second", "second"]
    attempts = [(e.key, e.attempt, e.status) for e in await entries(hf, view) if e.seq is not None]
    assert attempts == [("first#1", 1, "succeeded"), ("second#1", 1, "failed"), ("second#1", 2, "succeeded")]
    shown = await runs.steps(hf.house, LOCAL_PRINCIPAL, view.run.id, 0, 100)
    assert [one.entry.status for one in shown] == ["succeeded", "voided", "succeeded"]


async def test_a_retry_is_refused_once_the_thread_has_moved_on(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context, fails: bool) -> None:
        if fails:
            raise ValueError("no")

    hf = await desk.open(w)
    view = await outcome(hf, "w", True, thread="t")
    last = await outcome(hf, "w", False, thread="t")
    with pytest.raises(Conflict) as caught:
        await retrying.retry(hf.house, LOCAL_PRINCIPAL, view.run.id)
    assert caught.value.code == "moved_on"
    with pytest.raises(Conflict) as caught:
        await retrying.retry(hf.house, LOCAL_PRINCIPAL, last.run.id)
    assert caught.value.code == "not_failed"


async def test_start_after_holds_a_run_back_until_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 50)
    monkeypatch.setattr(limits, "POLL_MS", 100)

    @workflow("w")
    async def w(ctx: Context) -> None: ...

    hf = await desk.open(w)
    at = hf.house.determinism.now_ms() + 300
    view = await start(hf, "w", start_after=at)
    assert view.run.status is RunStatus.QUEUED
    view = await within(ended(hf, view))
    assert view.run.started_at is not None
    assert view.run.started_at >= at


@pytest.mark.parametrize("ms", [-62_135_596_800_001, 253_402_300_800_000, 2**62])
async def test_a_time_that_no_calendar_has_is_refused_before_it_is_stored(desk: Desk, ms: int) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        raise ValueError("no")

    hf = await desk.open(w)
    failed = await outcome(hf, "w")
    for refused in (
        start(hf, "w", start_after=ms),
        start(hf, "w", deadline=ms),
        retrying.retry(hf.house, LOCAL_PRINCIPAL, failed.run.id, RunLimits(), deadline=ms),
    ):
        with pytest.raises(Invalid) as said:
            await refused
        assert said.value.code == "invalid_time"
    shown = await runs.page(hf.house, LOCAL_PRINCIPAL, RunFilter(limit=10))
    assert [view.run for view in shown] == [failed.run]


async def test_a_call_that_is_asked_about_once_more_counts_once(desk: Desk, clock: FakeClock) -> None:
    """Leave that lapsed is asked for again; the call is still the first."""

    @tool(effect="transaction", confirm=Confirm(expires=timedelta(hours=1)))
    async def act(ctx: ToolContext) -> int:
        """Act."""
        clock.advance(timedelta(days=2) if not calls else timedelta())
        calls.append(1)
        return len(calls)

    @workflow("w", tools=[act])
    async def w(ctx: Context) -> int:
        return await ctx.step("act", act)

    calls: list[int] = []
    hf = await desk.open(w, determinism=clock.determinism)
    view = await start(hf, "w", limits=RunLimits(tool_calls_max=1))
    await resolve(hf, await question(hf, view), "approve")
    async with asyncio.timeout(10):
        while not (asked := await questions(hf, view)) and not (await look(hf, view)).run.status.ended:
            await asyncio.sleep(0.01)
    for one in asked:
        await resolve(hf, one, "approve")
    assert output(await ended(hf, view)) == 2, "what it did under the lapsed leave was undone"
