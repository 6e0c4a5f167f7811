"""What replays that make a run come to: of runs that did not end, failed, called others, or published state."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Agent, ChildFailed, Context, Holdfast, RunLimits, StepFailed, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import decode
from holdfast.domain.replays import Mode, Reason, Replay, Verdict
from holdfast.domain.runs import RunView
from holdfast.service import live_replays, replays
from holdfast.service.replays import Asked
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import Desk, cancel, ended, look, retry, start, waiting

BOTH = pytest.mark.parametrize("mode", [Mode.RECORDED_TOOLS, Mode.LIVE])


async def opened(desk: Desk, *agents: Any) -> Holdfast:
    return await desk.open(*agents, sandbox_tenant="sandbox")


async def made(hf: Holdfast, view: RunView, mode: Mode, wait_ms: int = 20_000) -> Asked:
    return await replays.start(hf.house, LOCAL_PRINCIPAL, view.run.id, mode=mode, wait_ms=wait_ms)


async def verdict(hf: Holdfast, view: RunView, mode: Mode) -> Replay:
    asked = await made(hf, view, mode)
    assert asked.replay.result is not None, asked
    return Replay.from_json(decode(asked.replay.result))


def twice(number: int) -> int:
    return 2 * number


@workflow("child")
async def child(ctx: Context, number: int) -> int:
    return await ctx.step("twice", twice, number)


@workflow("everything", agents=[child])
async def everything(ctx: Context, number: int) -> dict[str, Any]:
    await ctx.emit("began", {"number": number})
    await ctx.state.set({"number": number})
    await ctx.now()
    await ctx.random()
    await ctx.uuid()
    await ctx.sleep(timedelta(milliseconds=1))
    both = await ctx.gather(ctx.call(child, number), ctx.call(child, number + 1))
    return {"both": list(both), "state": await ctx.state.get()}


@BOTH
async def test_what_is_drawn_or_passes_is_no_difference(desk: Desk, mode: Mode) -> None:
    hf = await opened(desk, everything)
    view = await ended(hf, await start(hf, "everything", 2))
    found = await verdict(hf, view, mode)
    assert (found.verdict, found.steps) == (Verdict.IDENTICAL, view.seq), found.to_json()


@BOTH
async def test_a_run_that_failed_fails_again(desk: Desk, mode: Mode) -> None:
    @workflow("bad")
    async def bad(ctx: Context) -> None:
        def fails() -> None:
            raise ValueError("never")

        await ctx.step("fails", fails)

    hf = await opened(desk, bad)
    view = await ended(hf, await start(hf, "bad"))
    assert (await verdict(hf, view, mode)).verdict is Verdict.IDENTICAL

    @workflow("bad")
    async def mended(ctx: Context) -> str:
        def fails() -> None:
            raise ValueError("never")

        try:
            await ctx.step("fails", fails)
        except StepFailed:
            pass
        return "well"

    hf.house.agents = {**hf.house.agents, "bad": mended}
    found = await verdict(hf, view, mode)
    assert (found.reason, found.at, found.steps) == (Reason.OUTCOME_CHANGED, None, 1), found.to_json()


@BOTH
async def test_what_was_stopped_from_outside_is_compared_as_far_as_it_got(desk: Desk, mode: Mode) -> None:
    @workflow("counting")
    async def counting(ctx: Context, to: int) -> int:
        for number in range(to):
            await ctx.step("twice", twice, number)
        return to

    hf = await opened(desk, counting)
    view = await ended(hf, await start(hf, "counting", 5, limits=RunLimits(steps_max=3)))
    assert view.run.status == "failed"
    found = await verdict(hf, view, mode)
    assert (found.verdict, found.steps) == (Verdict.IDENTICAL, 3), found.to_json()


async def test_steps_that_a_retry_made_again_are_compared_as_they_stand(desk: Desk) -> None:
    works = False

    @workflow("shaky")
    async def shaky(ctx: Context) -> int:
        def shake() -> int:
            if not works:
                raise ValueError("not yet")
            return 1

        return await ctx.step("shake", shake)

    hf = await opened(desk, shaky)
    view = await ended(hf, await start(hf, "shaky"))
    works = True
    view = await ended(hf, await retry(hf, view))
    assert view.run.status == "succeeded"
    assert (await verdict(hf, view, Mode.LIVE)).verdict is Verdict.IDENTICAL


async def test_a_code_that_goes_on_has_a_step_more_and_one_that_stops_a_step_less(desk: Desk) -> None:
    def counting(count: int) -> Any:
        @workflow("counting")
        async def flow(ctx: Context) -> int:
            for number in range(count):
                await ctx.step("twice", twice, number)
            return 0

        return flow

    hf = await opened(desk, counting(2))
    view = await ended(hf, await start(hf, "counting"))
    for count, reason, at in ((3, Reason.STEP_ADDED, 3), (1, Reason.STEP_MISSING, 2)):
        hf.house.agents = {**hf.house.agents, "counting": counting(count)}
        found = await verdict(hf, view, Mode.LIVE)
        assert (found.reason, found.at, found.steps) == (reason, at, at - 1), found.to_json()


async def test_the_first_verdict_stands_however_many_ask_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    hf = await opened(desk, child)
    view = await ended(hf, await start(hf, "child", 4))
    asked = await made(hf, view, Mode.RECORDED_TOOLS, wait_ms=0)
    assert asked.replay.made_run is not None
    await ended(hf, await look(hf, asked.replay.made_run))
    stored = asked.replay
    found = await asyncio.gather(*(live_replays.settled(hf.house, stored) for _ in range(8)))
    assert {(replay.ended_at, replay.result) for replay, _ in found} == {(found[0][0].ended_at, found[0][0].result)}
    assert found[0][0].ended_at is not None


async def test_a_run_that_was_cancelled_has_no_verdict_and_one_that_waits_says_so(desk: Desk) -> None:
    @workflow("asks")
    async def asks(ctx: Context) -> Any:
        return await ctx.ask("May I?")

    hf = await opened(desk, asks)
    view = await waiting(hf, await start(hf, "asks"))
    asked = await made(hf, view, Mode.LIVE)
    assert (asked.replay.ended_at, asked.replay.mode) == (None, Mode.LIVE)
    assert asked.waiting is not None
    assert "ask (ask#1)" in asked.waiting
    await cancel(hf, view)
    again = await replays.get(hf.house, LOCAL_PRINCIPAL, view.run.id, asked.replay.id)
    assert again.replay.ended_at is None, "what becomes of the recorded run is nothing to the copy"


async def test_an_agent_that_calls_others_holds_to_the_record(desk: Desk) -> None:
    made_calls: list[str] = []

    @tool(effect="unsafe")
    def buy(item: str) -> str:
        """Buy it."""
        made_calls.append(item)
        return f"bought {item}"

    script: list[Any] = [Call("buy", {"item": "lamp"}), "A lamp."]
    buyer = Agent("buyer", model=ScriptedModel(lambda m, info: script[info.position]), tools=[buy])

    @workflow("boss", agents=[buyer])
    async def boss(ctx: Context, wish: str) -> str:
        try:
            return await ctx.call(buyer, wish)
        except ChildFailed:
            return "nothing"

    hf = await opened(desk, boss)
    view = await ended(hf, await start(hf, "boss", "A lamp, please."))
    assert made_calls == ["lamp"]
    assert (await verdict(hf, view, Mode.RECORDED_TOOLS)).verdict is Verdict.IDENTICAL
    assert made_calls == ["lamp"]
    script[1] = "No lamp."
    found = await verdict(hf, view, Mode.RECORDED_TOOLS)
    assert (found.reason, found.at) == (Reason.RESULT_CHANGED, 1), found.to_json()


async def test_the_state_before_a_run_is_there_when_it_is_made_again(desk: Desk) -> None:
    @workflow("counter")
    async def counter(ctx: Context) -> Any:
        before = await ctx.state.get()
        await ctx.state.set({"count": 1 if before is None else before["count"] + 1})
        return await ctx.state.get()

    hf = await opened(desk, counter)
    await ended(hf, await start(hf, "counter", thread="t"))
    second = await ended(hf, await start(hf, "counter", thread="t"))
    for mode in (Mode.RECORDED_TOOLS, Mode.LIVE):
        found = await verdict(hf, second, mode)
        assert found.verdict is Verdict.IDENTICAL, found.to_json()
