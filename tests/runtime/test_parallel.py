"""`ctx.gather`: what settles, what is raised, and keys that do not depend on timing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Context, workflow
from holdfast.domain.errors import StepFailed
from tests.runtime.driving import Desk, entries, error, keys, outcome, output


async def test_every_branch_settles_and_the_first_error_in_creation_order_is_raised(desk: Desk) -> None:
    last = asyncio.Event()
    done: list[str] = []

    async def slow_failure() -> None:
        await last.wait()
        raise ValueError("first created, last to fail")

    async def quick_failure() -> None:
        raise KeyError("second created, first to fail")

    async def slow_success() -> str:
        await asyncio.sleep(0)
        done.append("sibling")
        last.set()
        return "done"

    @workflow("w")
    async def w(ctx: Context) -> dict[str, Any]:
        try:
            await ctx.gather(ctx.step("a", slow_failure), ctx.step("b", quick_failure), ctx.step("c", slow_success))
        except StepFailed as exc:
            return {"type": exc.error_type, "message": str(exc)}
        return {}

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == {"type": "ValueError", "message": "first created, last to fail"}
    assert done == ["sibling"]
    recorded = {e.key: e.status for e in await entries(hf, view) if e.seq is not None}
    assert recorded == {"g#1.0/a#1": "failed", "g#1.1/b#1": "failed", "g#1.2/c#1": "succeeded"}


@pytest.mark.parametrize("first", ["x", "y"])
async def test_keys_follow_from_the_code_whatever_finishes_first(desk: Desk, first: str) -> None:
    turn = {"x": asyncio.Event(), "y": asyncio.Event()}
    turn[first].set()

    async def take(name: str) -> str:
        await turn[name].wait()
        return name

    async def branch(ctx: Context, name: str) -> list[str]:
        got = [await ctx.step("take", take, name)]
        turn["y" if name == "x" else "x"].set()
        return [*got, *await ctx.gather(ctx.step("inner", take, name), ctx.step("inner", take, name))]

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return [await ctx.gather(branch(ctx, "x"), branch(ctx, "y")), await ctx.gather(ctx.step("take", take, "x"))]

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == [[["x", "x", "x"], ["y", "y", "y"]], ["x"]]
    recorded = await keys(hf, view)
    assert sorted(recorded) == [
        "g#1.0/g#1.0/inner#1", "g#1.0/g#1.1/inner#1", "g#1.0/take#1",
        "g#1.1/g#1.0/inner#1", "g#1.1/g#1.1/inner#1", "g#1.1/take#1", "g#2.0/take#1",
    ]  # fmt: skip
    assert recorded[0] == ("g#1.0/take#1" if first == "x" else "g#1.1/take#1")


async def test_a_task_that_gather_did_not_make_may_not_use_the_context(desk: Desk) -> None:
    async def one() -> int:
        return 1

    @workflow("tasks")
    async def tasks(ctx: Context) -> Any:
        return await asyncio.create_task(ctx.step("a", one))

    @workflow("groups")
    async def groups(ctx: Context) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("a", one))

    @workflow("gathers")
    async def gathers(ctx: Context) -> Any:
        return await asyncio.gather(ctx.step("a", one), ctx.step("b", one), return_exceptions=True)

    hf = await desk.open(tasks, groups, gathers)
    for agent in ("tasks", "groups", "gathers"):
        view = await outcome(hf, agent)
        assert error(view)["code"] == "unscoped_concurrency", agent
        assert await keys(hf, view) == []


async def test_a_gather_within_a_gather_fails_with_the_error_of_the_inner_one(desk: Desk) -> None:
    async def bad() -> None:
        raise ValueError("inner")

    async def good() -> int:
        return 1

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(ctx.step("good", good), ctx.gather(ctx.step("good", good), ctx.step("bad", bad)))

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert failure["code"] == "step_failed"
    assert failure["step"] == "g#1.1/g#1.1/bad#1"
