"""What happens to user code at a park: it unwinds, its clean-up runs, and nothing it still says counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Context, workflow
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    ended,
    entries,
    error,
    keys,
    outcome,
    output,
    slept,
    start,
    types,
    waiting,
)

pytestmark = pytest.mark.usefixtures("parking")


async def test_clean_up_code_runs_at_every_park_and_may_await(desk: Desk, clock: FakeClock) -> None:
    cleaned: list[str] = []

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.sleep(3_600)
            await ctx.sleep(3_600)
            return "done"
        finally:
            await asyncio.sleep(0.2)  # longer than a cancellation needs: clean-up is not cut short
            cleaned.append("yes")

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert output(view) == "done"
    parks = (await types(hf, view)).count("run.waiting")
    assert parks == 2
    assert len(cleaned) == parks + 1


async def test_code_that_swallows_the_park_cannot_answer_nor_record(desk: Desk, clock: FakeClock) -> None:
    after: list[str] = []

    async def one() -> int:
        after.append("ran")
        return 1

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.sleep(3_600)
        except BaseException as exc:
            try:
                await ctx.step("after", one)
            except BaseException as again:
                after.extend([type(exc).__name__, type(again).__name__])
            return "swallowed"
        return "slept"

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert output(view) == "slept"
    assert after == ["Parked", "Parked"]
    assert await keys(hf, view) == ["sleep#1"]


async def test_every_branch_of_a_gather_hears_of_the_park(desk: Desk, clock: FakeClock) -> None:
    heard: list[str] = []

    async def branch(ctx: Context, name: str) -> str:
        try:
            await ctx.sleep(3_600)
        except BaseException as exc:
            heard.append(f"{name}:{type(exc).__name__}")
            raise
        return name

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            return await ctx.gather(branch(ctx, "a"), branch(ctx, "b"))
        except BaseException as exc:
            heard.append(f"main:{type(exc).__name__}")
            raise

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert output(view) == ["a", "b"]
    assert sorted(heard[:3]) == ["a:Parked", "b:Parked", "main:Parked"]


async def test_a_branch_that_moves_keeps_the_run_from_parking(desk: Desk) -> None:
    go = asyncio.Event()

    async def slow() -> str:
        await go.wait()
        return "slow"

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(ctx.sleep(0.01), ctx.step("slow", slow))

    hf = await desk.open(w)
    view = await start(hf, "w")
    while "step.opened" not in await types(hf, view):
        await asyncio.sleep(0.005)
    while "g#1.0/sleep#1" not in await keys(hf, view):
        await asyncio.sleep(0.005)
    go.set()
    view = await ended(hf, view)
    assert output(view) == [None, "slow"]
    assert "run.waiting" not in await types(hf, view)


async def test_an_exception_group_is_told_by_its_first_leaf(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("the leaf"), KeyError("another")])])

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert failure["message"] == "the leaf"
    assert failure["details"] == {"error_type": "ValueError"}


async def test_a_waiting_run_holds_no_task_and_no_slot(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        await ctx.sleep(3_600)
        return "slept"

    hf = await desk.open(w, worker_slots=2)
    views = [await waiting(hf, await start(hf, "w")) for _ in range(4)]
    async with asyncio.timeout(10):
        while hf.supervisor.worker.executors or hf.supervisor.worker.slots.free < 2:
            await asyncio.sleep(0.005)
    for view in views:
        assert (await cancel(hf, view)).view.run.status == "cancelled"


async def test_recorded_values_stay_what_they_were(desk: Desk, clock: FakeClock) -> None:
    seen: list[Any] = []

    @workflow("w")
    async def w(ctx: Context) -> Any:
        values = [str(await ctx.now()), await ctx.random(), str(await ctx.uuid())]
        seen.append(values)
        await ctx.sleep(3_600)
        return values

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert len(seen) == 2
    assert seen[0] == seen[1] == output(view)
    assert [e.kind for e in await entries(hf, view) if e.seq] == ["value", "value", "value", "sleep"]
