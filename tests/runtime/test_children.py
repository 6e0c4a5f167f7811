"""Child runs: their failure is recorded, cancels go down the tree, and parents never starve them of slots."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Context, workflow
from holdfast.domain import limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import ChildFailed
from holdfast.domain.runs import RunStatus
from holdfast.service import runs
from holdfast.store.runs import RunFilter
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    ended,
    error,
    gone,
    look,
    outcome,
    output,
    slept,
    start,
    until,
    within,
)


async def everyone(desk_hf: Any) -> list[Any]:
    return await runs.page(desk_hf.house, LOCAL_PRINCIPAL, RunFilter(include_children=True, limit=200))


async def test_the_failure_of_a_child_is_recorded_and_raised_again_on_resume(desk: Desk, clock: FakeClock) -> None:
    raised: list[Any] = []

    @workflow("bad")
    async def bad(ctx: Context) -> None:
        raise ValueError("child is broken")

    @workflow("w", agents=[bad])
    async def w(ctx: Context) -> str:
        try:
            await ctx.call(bad)
        except ChildFailed as exc:
            raised.append((exc.code, exc.message, exc.details))
        await ctx.sleep(3_600)
        return "on"

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert output(view) == "on"
    assert raised[0] == raised[-1]
    assert len(raised) >= 2
    assert raised[0][0] == "child_failed"
    assert raised[0][2]["child_code"] == "user_code"
    children = [v for v in await everyone(hf) if v.run.parent_id == view.run.id]
    assert len(children) == 1


async def test_runs_nest_only_so_deep(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context, n: int) -> int:
        try:
            return await ctx.call("w", n + 1)
        except ChildFailed as exc:
            if exc.details.get("child_code") is None:
                return n
            raise

    hf = await desk.open(w)
    assert output(await outcome(hf, "w", 0)) == limits.CHILD_DEPTH_MAX


async def test_a_pool_full_of_parents_finishes(desk: Desk) -> None:
    @workflow("leaf")
    async def leaf(ctx: Context, n: int) -> int:
        await ctx.emit("leaf", n)
        return n

    @workflow("middle", agents=[leaf])
    async def middle(ctx: Context, n: int) -> int:
        return sum(await ctx.gather(ctx.call(leaf, n), ctx.call(leaf, n + 1)))

    @workflow("top", agents=[middle])
    async def top(ctx: Context, n: int) -> int:
        return sum(await ctx.gather(*(ctx.call(middle, n + i) for i in range(3))))

    hf = await desk.open(top, worker_slots=2)
    views = [await start(hf, "top", n) for n in range(4)]
    assert [output(await ended(hf, v)) for v in views] == [6 * n + 9 for n in range(4)]
    assert hf.supervisor.worker.slots.free == 2 or await within(_free(hf))


async def _free(hf: Any) -> bool:
    while hf.supervisor.worker.slots.free != 2:
        await asyncio.sleep(0.005)
    return True


@pytest.mark.parametrize("parks", [False, True])
async def test_a_cancel_goes_down_the_tree(desk: Desk, parks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if parks:
        monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    begun, forever = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await forever.wait()

    @workflow("leaf")
    async def leaf(ctx: Context) -> None:
        await ctx.step("wait", wait)

    @workflow("middle", agents=[leaf])
    async def middle(ctx: Context) -> None:
        await ctx.call(leaf)

    @workflow("top", agents=[middle])
    async def top(ctx: Context) -> None:
        await ctx.call(middle)

    hf = await desk.open(top)
    view = await start(hf, "top")
    await within(begun.wait())
    if parks:
        await until(hf, view, lambda v: v.run.status is RunStatus.WAITING, "waiting")
    await cancel(hf, view, "enough")
    assert (await until(hf, view, gone, "cancelled")).run.cancel_reason == "enough"
    for one in await everyone(hf):
        assert (await ended(hf, one)).run.status is RunStatus.CANCELLED


async def test_a_cancelled_child_fails_its_parent_s_step(desk: Desk) -> None:
    begun, forever = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await forever.wait()

    @workflow("leaf")
    async def leaf(ctx: Context) -> None:
        await ctx.step("wait", wait)

    @workflow("top", agents=[leaf])
    async def top(ctx: Context) -> None:
        await ctx.call(leaf)

    hf = await desk.open(top)
    view = await start(hf, "top")
    await within(begun.wait())
    [child] = [v for v in await everyone(hf) if v.run.agent == "leaf"]
    await cancel(hf, child)
    failure = error(await ended(hf, view))
    assert failure["code"] == "child_failed"
    assert failure["details"]["child_status"] == "cancelled"


async def test_a_chain_of_restarts_is_one_line_of_runs_and_a_caller_gets_the_last_one_s_output(desk: Desk) -> None:
    @workflow("loop")
    async def loop(ctx: Context, n: int) -> int:
        await ctx.emit("round", n)
        if n < 4:
            await ctx.restart(n + 1)
        return n

    @workflow("w", agents=[loop])
    async def w(ctx: Context) -> int:
        return await ctx.call(loop, 1)

    hf = await desk.open(w)
    first = await outcome(hf, "loop", 1, thread="t")
    chain = [first]
    while chain[-1].run.successor_id is not None:
        chain.append(await ended(hf, await look(hf, chain[-1].run.successor_id)))
    assert [v.input for v in chain] == [b"1", b"2", b"3", b"4"]
    assert output(chain[-1]) == 4
    assert {v.run.thread_id for v in chain} == {first.run.thread_id}
    assert output(await outcome(hf, "w")) == 4


@pytest.mark.impure  # its code asks for its own cancel, outside of steps
async def test_a_cancel_that_comes_while_a_run_hands_over_stops_its_successor(desk: Desk) -> None:
    asked: list[Any] = []

    @workflow("loop")
    async def loop(ctx: Context, n: int) -> None:
        await ctx.emit("round", n)
        if n == 1:
            hf.house.hub.on_bell(view.run.id, None)  # the request is made, and the run does not hear of it in time
            asked.append(await cancel(hf, view, "stop"))
        await ctx.restart(n + 1)

    hf = await desk.open(loop)
    hf.supervisor.worker._behind = True  # pyright: ignore[reportPrivateUsage]  # no fast path: the view comes first
    view = await start(hf, "loop", 1)
    first = await ended(hf, view)
    assert asked
    assert first.run.successor_id is not None
    second = await ended(hf, await look(hf, first.run.successor_id))
    assert second.run.status is RunStatus.CANCELLED
    assert second.run.cancel_reason == "stop"
    assert second.run.successor_id is None


async def test_a_successor_has_the_tags_of_the_run_it_follows(desk: Desk) -> None:
    @workflow("loop")
    async def loop(ctx: Context, n: int) -> int:
        if n < 2:
            await ctx.restart(n + 1)
        return n

    hf = await desk.open(loop)
    first = await ended(hf, await start(hf, "loop", 1, tags=("nightly", "eu")))
    assert first.run.successor_id is not None
    await ended(hf, await look(hf, first.run.successor_id))
    found = await runs.page(hf.house, LOCAL_PRINCIPAL, RunFilter(tag="eu"))
    assert [v.run.id for v in found] == [first.run.successor_id, first.run.id]
