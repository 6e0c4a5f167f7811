"""Steps: retries, timeouts, failures that stay what they were, sync code, and what the journal can hold."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Agent, Context, Retry, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.errors import StepFailed
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from holdfast.testing.crash import CrashPoint
from tests.runtime.driving import Desk, ended, entries, error, keys, outcome, output, slept, start, within


async def test_a_step_is_tried_again_as_its_retry_says_and_recorded_once(desk: Desk) -> None:
    tries: list[int] = []

    async def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return len(tries)

    @workflow("w")
    async def w(ctx: Context) -> int:
        return await ctx.step("flaky", flaky, retry=Retry(attempts=5, backoff_ms=1, on=ConnectionError))

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == 3
    [step] = [e for e in await entries(hf, view) if e.seq is not None]
    assert (step.tries, step.attempt, step.status) == (3, 1, "succeeded")


async def test_an_exception_that_retry_does_not_name_is_not_tried_again(desk: Desk) -> None:
    tries: list[int] = []

    async def wrong() -> None:
        tries.append(1)
        raise ValueError("wrong")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("wrong", wrong, retry=Retry(attempts=5, backoff_ms=1, on=ConnectionError))

    hf = await desk.open(w)
    assert error(await outcome(hf, "w"))["step"] == "wrong#1"
    assert len(tries) == 1


async def test_a_recorded_failure_raises_the_same_on_resume_and_does_not_run_again(
    desk: Desk, clock: FakeClock
) -> None:
    ran: list[int] = []
    raised: list[tuple[Any, ...]] = []

    async def bad() -> None:
        ran.append(1)
        raise LookupError("gone")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.step("bad", bad)
        except StepFailed as exc:
            raised.append((exc.code, exc.message, exc.error_type, exc.details))
        await ctx.sleep(3_600)
        return "on"

    hf = await desk.open(w, determinism=clock.determinism)
    assert output(await slept(hf, clock, await start(hf, "w"))) == "on"
    assert len(ran) == 1
    assert len(raised) == 2
    assert raised[0] == raised[1] == ("step_failed", "gone", "LookupError", {"step": "bad#1"})


async def test_a_step_that_takes_too_long_fails_as_step_timeout(desk: Desk) -> None:
    stopped: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("cancelled")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("forever", forever, timeout=timedelta(milliseconds=50))

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert (failure["code"], failure["step"]) == ("step_timeout", "forever#1")
    assert stopped == ["cancelled"]


async def test_a_sync_step_does_not_stall_the_loop(desk: Desk) -> None:
    entered, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def block() -> str:
        loop.call_soon_threadsafe(entered.set)
        assert release.wait(20)
        return threading.current_thread().name

    async def quick() -> str:
        return "quick"

    @workflow("blocking")
    async def blocking(ctx: Context) -> str:
        return await ctx.step("block", block)

    @workflow("quick")
    async def other(ctx: Context) -> str:
        return await ctx.step("quick", quick)

    hf = await desk.open(blocking, other)
    stuck = await start(hf, "blocking")
    await within(entered.wait())
    assert output(await outcome(hf, "quick")) == "quick"
    release.set()
    assert output(await ended(hf, stuck)) == "holdfast-sync"


async def test_a_sync_step_that_never_returns_is_abandoned_and_counted(desk: Desk) -> None:
    release = threading.Event()

    def block() -> None:
        release.wait(30)

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("block", block, timeout=timedelta(milliseconds=50))

    hf = await desk.open(w)
    try:
        assert error(await outcome(hf, "w"))["code"] == "step_timeout"
        assert hf.supervisor.worker.blocking.abandoned == 1
    finally:
        release.set()
    while hf.supervisor.worker.blocking.abandoned:
        await asyncio.sleep(0.005)


async def test_a_result_that_is_not_json_fails_the_step_and_says_so(desk: Desk) -> None:
    async def odd() -> Any:
        return object()

    async def broken() -> str:
        return "\ud800"

    @workflow("w")
    async def w(ctx: Context, which: str) -> Any:
        return await ctx.step("odd", odd if which == "odd" else broken)

    hf = await desk.open(w)
    for which in ("odd", "broken"):
        failure = error(await outcome(hf, "w", which))
        assert failure["code"] == "not_encodable", failure
        assert "odd" in failure["message"]
        assert failure["step"] == "odd#1"


async def test_a_large_result_goes_to_a_blob_and_comes_back_whole(desk: Desk, clock: FakeClock) -> None:
    size = limits.PAYLOAD_INLINE_BYTES_MAX * 4
    ran: list[int] = []

    async def large() -> str:
        ran.append(1)
        return "x" * size

    @workflow("w")
    async def w(ctx: Context) -> int:
        text = await ctx.step("large", large)
        await ctx.sleep(3_600)
        return len(text)

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert output(view) == size
    assert len(ran) == 1
    [step] = [e for e in await entries(hf, view) if e.key == "large#1"]
    assert step.payload == b'"' + b"x" * size + b'"'


async def test_a_result_beyond_the_limit_fails_the_step_and_names_the_limit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.domain.encoding.PAYLOAD_BYTES_MAX", 1_000)

    async def large() -> str:
        return "x" * 2_000

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("large", large)

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert failure["code"] == "not_encodable"
    assert "2,002 bytes" in failure["message"]
    assert "1,000" in failure["message"]


async def test_the_limit_holds_for_a_result_of_an_annotated_type_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.domain.encoding.PAYLOAD_BYTES_MAX", 1_000)

    async def many() -> list[str]:
        return ["x" * 100] * 20

    @workflow("w")
    async def w(ctx: Context) -> int:
        return len(await ctx.step("many", many))

    failure = error(await outcome(await desk.open(w), "w"))
    assert failure["code"] == "not_encodable"
    assert "1,000" in failure["message"]


async def test_with_durability_sync_every_step_is_durable_before_the_next_begins(desk: Desk) -> None:
    faults = CrashPoint()
    durable: list[list[str]] = []

    @tool(effect="read")
    async def look(ctx: ToolContext, n: int) -> int:
        """Look."""
        durable.append(await keys(hf, view))
        return n

    replies = [Call("look", {"n": 1}), Call("look", {"n": 2}), "done"]
    agent = Agent("a", model=ScriptedModel(replies), tools=[look], durability="sync")
    hf = await desk.open(agent, faults=faults)
    hf.supervisor.worker._behind = True  # pyright: ignore[reportPrivateUsage]  # no fast path: the view comes first
    view = await start(hf, "a", "go")
    view = await ended(hf, view)
    assert output(view) == "done"
    assert durable == [["model#1"], ["model#1", "model#1/0", "model#2"]]


async def test_what_a_tool_asked_for_is_there_when_it_is_tried_again(desk: Desk) -> None:
    """In the same claim as after a crash: nothing within a call is done twice."""
    tries: list[int] = []
    children: list[int] = []

    @workflow("child")
    async def child(ctx: Context, n: int) -> int:
        children.append(n)
        return n + 1

    @tool(effect="keyed", tries=4)
    async def work(ctx: ToolContext) -> int:
        """Work."""
        tries.append(1)
        await ctx.emit("begun", {"of": 1})
        if len(tries) < 2:
            raise ConnectionError("again")
        found = await ctx.call(child, 1)
        if len(tries) < 3:
            raise ConnectionError("again")
        return found

    @workflow("w", agents=[child], tools=[work])
    async def w(ctx: Context) -> int:
        return await ctx.step("work", work)

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == 2
    assert (len(tries), children) == (3, [1])
    assert await keys(hf, view) == ["work#1/begun#1", "work#1/child#1", "work#1"]


async def test_steps_of_a_reading_tool_have_keys_under_its_own(desk: Desk, clock: FakeClock) -> None:
    """A resumed run finds the tool recorded and does not run it: what comes after it must not depend on that."""

    @tool(effect="read")
    async def look(ctx: ToolContext) -> int:
        """Look."""
        await ctx.emit("looked")
        return 1

    @workflow("w", tools=[look])
    async def w(ctx: Context) -> int:
        found = await ctx.step("look", look)
        await ctx.emit("looked", "by the workflow")
        await ctx.sleep(60)
        return found

    hf = await desk.open(w, determinism=clock.determinism)
    view = await slept(hf, clock, await start(hf, "w"))
    assert output(view) == 1
    assert await keys(hf, view) == ["look#1/looked#1", "look#1", "looked#1", "sleep#1"]
