"""Replay: what was recorded is what the code does, or the step at which it does something else is named."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic_ai.exceptions import ApprovalRequired

from holdfast import (
    Agent,
    ChildFailed,
    Context,
    Holdfast,
    RunLimits,
    StepFailed,
    ToolContext,
    TurnInfo,
    tool,
    workflow,
)
from holdfast.agents.native.middleware import Middleware, ModelCall
from holdfast.domain import limits, portable
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import DecisionKind
from holdfast.domain.errors import NotFound
from holdfast.domain.forks import Repeat
from holdfast.domain.ids import RunId
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Reason, Replay, Verdict
from holdfast.domain.runs import OnBusy, RunView
from holdfast.runtime.replayers import InThread
from holdfast.service import forks, importing, recordings
from holdfast.testing import Call, Fail, ScriptedModel
from tests import replays
from tests.runtime.driving import Desk, cancel, ended, outcome, output, question, resolve, retry, send, start, waiting


async def record(hf: Holdfast, view: RunView) -> RecordedRun:
    return await recordings.read(hf.house, LOCAL_PRINCIPAL, view.run.id)


async def replayed(recorded: RecordedRun, *agents: Any, deps: Any = None) -> Replay:
    """The same twice over: a replay has no memory."""
    known = {agent.id: agent for agent in Holdfast(agents).registry}
    first = (await InThread(known, deps).replay(recorded)).result
    assert (await InThread(known, deps).replay(recorded)).result == first
    return first


def twice(number: int) -> int:
    return 2 * number


@tool(effect="read")
async def look(item: str) -> str:
    """Look an item up."""
    return f"{item} is there"


@tool(effect="keyed")
async def book(item: str) -> str:
    """Book an item."""
    return f"{item} is booked"


# -- native agents: what diverges, and where --------------------------------------------------------------------------


def desk_agent(change: str = "") -> Agent:
    """Asks the model three times; `change` is one thing that is different."""

    @tool(name="look_up" if change == "tool name" else "look", effect="read")
    async def looking(item: str) -> str:
        """Look an item up."""
        return f"{item} is there"

    @tool(effect="keyed")
    async def book(item: str, count: int = 1) -> str:
        """Book an item."""
        return f"{item} is booked"

    @tool(effect="keyed", name="book")
    async def book_less(item: str) -> str:
        """Book an item."""
        return f"{item} is booked"

    return Agent(
        "desk",
        model=ScriptedModel(
            [Call("look", {"item": "lamp"}), Call("book", {"item": "lamp"}), "It is yours."],
            model_name="other" if change == "model" else "scripted",
        ),
        instructions="Be short." if change == "instructions" else "Be kind.",
        tools=[looking, book_less if change == "schema" else book],
        model_settings={"temperature": 1 if change == "settings" else 0},
        output_type=int if change == "output" else str,
    )


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ("tool name", "tools[0].name"),
        ("schema", "tools[1].schema.properties.count"),
        ("instructions", "instructions"),
        ("settings", "settings.temperature"),
        ("model", "model"),
        ("output", "tools[2]"),
    ],
)
async def test_a_prompt_that_would_be_another_one_is_told_with_the_first_difference(
    desk: Desk, change: str, path: str
) -> None:
    hf = await desk.open(desk_agent())
    recorded = await record(hf, await outcome(hf, "desk", "A lamp!"))
    assert (await replayed(recorded, desk_agent())).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, desk_agent(change))
    assert (result.verdict, result.reason, result.at, result.steps) == (
        Verdict.DIVERGED, Reason.PROMPT_CHANGED, 1, 0
    )  # fmt: skip
    assert result.difference is not None
    assert result.difference.path == path
    assert result.difference.recorded != result.difference.requested


async def test_a_prompt_that_changes_in_the_middle_is_told_there(desk: Desk) -> None:
    class Reminding(Middleware):
        def __init__(self, from_call: int) -> None:
            self.from_call = from_call

        async def before_model(self, info: TurnInfo, call: ModelCall) -> ModelCall | None:
            if info.model_calls < self.from_call:
                return None
            return ModelCall(call.messages, f"{call.instructions} And hurry.", call.settings)

    def made(from_call: int) -> Agent:
        model = ScriptedModel([Call("look", {"item": "a"}), Call("look", {"item": "b"}), "Done."])
        return Agent("a", model=model, instructions="Go.", tools=[look], middleware=[Reminding(from_call)])

    hf = await desk.open(made(2))
    recorded = await record(hf, await outcome(hf, "a", "?"))
    assert (await replayed(recorded, made(2))).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, made(1))
    assert (result.at, result.reason, result.steps) == (3, Reason.PROMPT_CHANGED, 2)
    assert result.difference is not None
    assert (result.difference.recorded, result.difference.requested) == ("Go.", "Go. And hurry.")


async def test_the_conversation_before_is_part_of_the_prompt(desk: Desk) -> None:
    def made(model: Any, instructions: str = "Go.") -> Agent:
        return Agent("a", model=model, instructions=instructions)

    hf = await desk.open(made(ScriptedModel(["one", "two"], per="thread")))
    await outcome(hf, "a", "first", thread="t")
    view = await outcome(hf, "a", "second", thread="t")
    recorded = await record(hf, view)
    assert [message.position for message in recorded.messages] == [1, 2]
    assert (await replayed(recorded, made(ScriptedModel(["x"])))).verdict is (Verdict.IDENTICAL)


# -- workflows: what diverges, and where ------------------------------------------------------------------------------


@workflow("w")
async def original(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    b = await ctx.step("two", twice, a)
    await ctx.emit("done", {"at": b})
    return await ctx.step("three", twice, b)


@workflow("w")
async def renamed(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    b = await ctx.step("second", twice, a)
    await ctx.emit("done", {"at": b})
    return await ctx.step("three", twice, b)


@workflow("w")
async def other_argument(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    b = await ctx.step("two", twice, a + 1)
    await ctx.emit("done", {"at": b})
    return await ctx.step("three", twice, b)


@workflow("w")
async def other_order(ctx: Context, n: int) -> int:
    b = await ctx.step("two", twice, 2 * n)
    a = await ctx.step("one", twice, n)
    await ctx.emit("done", {"at": a and b})
    return await ctx.step("three", twice, b)


@workflow("w")
async def left_out(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    await ctx.emit("done", {"at": 2 * a})
    return await ctx.step("three", twice, 2 * a)


@workflow("w")
async def put_in(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    b = await ctx.step("two", twice, a)
    await ctx.step("more", twice, b)
    await ctx.emit("done", {"at": b})
    return await ctx.step("three", twice, b)


@workflow("w")
async def gone_on(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    b = await ctx.step("two", twice, a)
    await ctx.emit("done", {"at": b})
    return await ctx.step("four", twice, await ctx.step("three", twice, b))


@workflow("w")
async def other_kind(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    await ctx.emit("two", None)
    await ctx.emit("done", {"at": 2 * a})
    return await ctx.step("three", twice, 2 * a)


@workflow("w")
async def other_event(ctx: Context, n: int) -> int:
    a = await ctx.step("one", twice, n)
    b = await ctx.step("two", twice, a)
    await ctx.emit("done", {"at": b + 1})
    return await ctx.step("three", twice, b)


@workflow("w")
async def other_output(ctx: Context, n: int) -> int:
    return -await original.fn(ctx, n)


@workflow("w")
async def other_end(ctx: Context, n: int) -> int:
    await original.fn(ctx, n)
    raise ValueError("no")


@workflow("w")
async def ended_early(ctx: Context, n: int) -> int:
    return await ctx.step("one", twice, n)


@pytest.mark.parametrize(
    ("code", "at", "reason", "requested"),
    [
        (renamed, 2, Reason.STEP_CHANGED, "second#1"),
        (other_argument, 2, Reason.STEP_CHANGED, "two#1"),
        (other_order, 1, Reason.STEP_CHANGED, "two#1"),
        (left_out, 2, Reason.STEP_MISSING, None),
        (put_in, 3, Reason.STEP_CHANGED, "more#1"),
        (gone_on, 5, Reason.STEP_ADDED, "four#1"),
        (other_kind, 2, Reason.STEP_CHANGED, "two#1"),
        (other_event, 3, Reason.STEP_CHANGED, "done#1"),
        (other_output, None, Reason.OUTCOME_CHANGED, None),
        (other_end, None, Reason.OUTCOME_CHANGED, None),
        (ended_early, 2, Reason.STEP_MISSING, None),
    ],
)
async def test_a_deliberate_change_is_told_at_the_right_step(
    desk: Desk, code: Any, at: int | None, reason: Reason, requested: str | None
) -> None:
    hf = await desk.open(original)
    recorded = await record(hf, await outcome(hf, "w", 3))
    assert (await replayed(recorded, original)).steps == 4
    result = await replayed(recorded, code)
    assert (result.verdict, result.at, result.reason) == (Verdict.DIVERGED, at, reason)
    if requested is not None:
        assert result.requested is not None
        assert result.requested["key"] == requested
    if at is not None and at < 5:
        assert result.recorded is not None
        assert result.recorded["seq"] == at


async def test_both_ends_are_shown(desk: Desk) -> None:
    hf = await desk.open(original)
    recorded = await record(hf, await outcome(hf, "w", 3))
    result = await replayed(recorded, other_output)
    assert (result.recorded, result.requested) == (
        {"status": "succeeded", "output": 24}, {"status": "succeeded", "output": -24}
    )  # fmt: skip
    assert result.difference is not None
    assert result.difference.path == "output"
    result = await replayed(recorded, other_end)
    assert result.requested == {"status": "failed", "error": {"code": "user_code", "message": "no"}}


async def test_of_parallel_branches_the_divergence_with_the_lowest_step_is_told(desk: Desk) -> None:
    order = [asyncio.Event(), asyncio.Event()]

    async def slow(n: int) -> int:
        await order[n].wait()
        order[1 - n].set()
        return n

    def made(first: str, second: str) -> Any:
        @workflow("w")
        async def w(ctx: Context) -> list[int]:
            return list(await ctx.gather(ctx.step(first, slow, 0), ctx.step(second, slow, 1)))

        return w

    order[1].set()  # the second branch is recorded first
    hf = await desk.open(made("a", "b"))
    recorded = await record(hf, await outcome(hf, "w"))
    assert (await replayed(recorded, made("a", "b"))).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, made("x", "y"))
    assert (result.at, result.recorded and result.recorded["key"]) == (1, "g#1.1/b#1")
    assert result.requested is not None
    assert result.requested["key"] == "g#1.1/y#1"
    result = await replayed(recorded, made("x", "b"))
    assert (result.at, result.recorded and result.recorded["key"]) == (2, "g#1.0/a#1")


# -- runs of every kind replay ----------------------------------------------------------------------------------------


@tool(effect="keyed", confirm=True)
async def pay(euros: int) -> str:
    """Pay."""
    return f"paid {euros}"


@workflow("child")
async def child(ctx: Context, n: int) -> int:
    if n < 0:
        raise ValueError("negative")
    return await ctx.step("twice", twice, n)


helper = Agent("helper", model=ScriptedModel(["I helped."]))
boss = Agent(
    "boss",
    model=ScriptedModel(
        [[Call("look", {"item": "x"}), Call("helper", {"input": "help"}), Call("nosuch", {})], "Fine."]
    ),
    tools=[look, helper.as_tool()],
)


@workflow("everything", agents=[child, boss], tools=[book, pay])
async def everything(ctx: Context, n: int) -> dict[str, Any]:
    async def branch(m: int) -> Any:
        await ctx.sleep(0.001)
        return [await ctx.step("twice", twice, m), await ctx.random()]

    found: dict[str, Any] = {"branches": await ctx.gather(branch(1), branch(2), ctx.step("look", look, "a"))}
    found["booked"] = await ctx.step("book", book, item="lamp")
    found["child"] = await ctx.call(child, n)
    try:
        await ctx.call(child, -1)
    except ChildFailed as exc:
        found["failed"] = exc.code
    found["now"] = (await ctx.now()).year > 2000
    found["uuid"] = str(await ctx.uuid())[14]
    found["boss"] = await ctx.call("boss", "Do it.")
    found["asked"] = await ctx.ask("Which?", choices=["a", "b"])
    found["paid"] = await ctx.step("pay", pay, 7)
    found["event"] = await ctx.wait_event("go", key="1")
    await ctx.state.update({"seen": n})
    found["state"] = await ctx.state.get()
    await ctx.emit("over", found["child"])
    return found


async def test_a_run_of_everything_replays_up_to_wherever_it_got(desk: Desk) -> None:
    hf = await desk.open(everything)
    view = await start(hf, "everything", 4)
    stages = 0

    async def identical() -> None:
        nonlocal stages
        stages += 1
        assert await replays.assert_identical([hf]) > 0

    asked = await question(hf, view)
    await identical()
    await resolve(hf, asked, "answer", answer="b")
    asked = await question(hf, view)
    await identical()
    await resolve(hf, asked, DecisionKind.APPROVE)
    await waiting(hf, view)
    await send(hf, "go", {"n": 1}, key="1")
    made = output(await ended(hf, view))
    assert (made["failed"], made["asked"], made["paid"], made["event"], made["state"]) == (
        "child_failed", "b", "paid 7", {"n": 1}, {"seen": 4}
    )  # fmt: skip
    await identical()


async def test_what_a_run_that_has_not_ended_would_do_next_is_no_divergence(desk: Desk) -> None:
    def made(more: bool) -> Any:
        @workflow("w")
        async def w(ctx: Context) -> Any:
            await ctx.step("one", twice, 1)
            if more:
                await ctx.ask("Go on?")
                await ctx.step("two", twice, 2)
            return 1

        return w

    hf = await desk.open(made(True))
    view = await start(hf, "w")
    await question(hf, view)
    recorded = await record(hf, view)
    assert (await replayed(recorded, made(True))).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, made(False))  # it waited, and the code does not wait any more
    assert (result.reason, result.recorded) == (Reason.OUTCOME_CHANGED, {"status": "waiting"})
    await cancel(hf, view)
    recorded = await record(hf, await ended(hf, view))
    assert (await replayed(recorded, made(True))).verdict is Verdict.IDENTICAL


async def test_a_failed_run_fails_again_and_a_retried_one_is_what_it_became(desk: Desk) -> None:
    broken = [True]

    def step() -> int:
        if broken:
            raise ValueError("not yet")
        return 1

    @workflow("w")
    async def w(ctx: Context) -> int:
        first = await ctx.step("good", twice, 1)
        return first + await ctx.step("bad", step)

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    recorded = await record(hf, view)
    assert (await replayed(recorded, w)).verdict is Verdict.IDENTICAL
    broken.clear()
    assert output(await retry(hf, view)) == 3
    assert (await replayed(await record(hf, view), w)).verdict is Verdict.IDENTICAL

    @workflow("w")
    async def mended(ctx: Context) -> int:
        try:
            return await w.fn(ctx)
        except StepFailed:
            return 0

    result = await replayed(recorded, mended)
    assert (result.reason, result.requested) == (Reason.OUTCOME_CHANGED, {"status": "succeeded", "output": 0})


async def test_a_run_that_a_limit_ended_replays(desk: Desk) -> None:
    many = Agent("many", model=ScriptedModel([Call("look", {"item": "x"})], on_end="repeat"), tools=[look])
    hf = await desk.open(many, original)
    view = await outcome(hf, "many", "?", limits=RunLimits(tool_calls_max=2))
    assert view.run.status == "failed"
    view = await outcome(hf, "w", 1, limits=RunLimits(steps_max=2))
    assert view.run.status == "failed"
    result = await replayed(await record(hf, view), left_out)
    assert (result.at, result.reason) == (2, Reason.STEP_CHANGED)


async def test_a_model_that_failed_fails_again(desk: Desk) -> None:
    a = Agent("a", model=ScriptedModel([Fail(ValueError("broken"), times=9)]))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "?")
    assert view.run.status == "failed"


async def test_a_run_that_handed_over_to_a_successor_does_so_again(desk: Desk) -> None:
    def made(step: int) -> Any:
        @workflow("w")
        async def w(ctx: Context, n: int) -> int:
            if n < 2:
                await ctx.restart(n + step)
            return n

        return w

    hf = await desk.open(made(1))
    view = await outcome(hf, "w", 0)
    recorded = await record(hf, view)
    assert (await replayed(recorded, made(1))).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, made(2))
    assert (result.reason, result.recorded, result.requested) == (
        Reason.OUTCOME_CHANGED, {"status": "restarted", "input": 1}, {"status": "restarted", "input": 2}
    )  # fmt: skip


async def test_a_hand_off_replays_and_another_target_is_told(desk: Desk) -> None:
    def made(instructions: str) -> Agent:
        refunds = Agent("refunds", model=ScriptedModel(["", "Refunded."]), instructions=instructions)
        model = ScriptedModel([Call("transfer_to_refunds", {"reason": "money"})])
        return Agent("front", model=model, handoffs=[refunds])

    hf = await desk.open(made("Pay."))
    view = await outcome(hf, "front", "My money!")
    assert output(view) == "Refunded."
    recorded = await record(hf, view)
    assert (await replayed(recorded, made("Pay."))).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, made("Do not pay."))
    assert (result.at, result.reason) == (3, Reason.PROMPT_CHANGED)


async def test_other_published_state_is_told(desk: Desk) -> None:
    def made(value: int) -> Any:
        @workflow("w")
        async def w(ctx: Context) -> int:
            await ctx.state.set({"n": 0})
            return (await ctx.state.update(lambda d: {"n": d["n"] + value}))["n"] * 0

        return w

    hf = await desk.open(made(1))
    recorded = await record(hf, await outcome(hf, "w"))
    assert (await replayed(recorded, made(1))).verdict is Verdict.IDENTICAL
    result = await replayed(recorded, made(2))
    assert result.difference is not None
    assert (result.at, result.difference.path) == (2, "n")


# -- files ------------------------------------------------------------------------------------------------------------


async def brought_in(hf: Holdfast, recorded: RecordedRun) -> RecordedRun:
    """Out into a file and in again: as the imported run is recorded."""
    lines = list(portable.written(recorded))
    ((imported,), _) = await importing.load(hf.house, LOCAL_PRINCIPAL, lines)
    return await recordings.read(hf.house, LOCAL_PRINCIPAL, imported.run_id)


async def test_an_imported_run_is_recorded_as_it_was(desk: Desk) -> None:
    hf = await desk.open(everything, desk_agent())
    await outcome(hf, "desk", "First.", thread="t")
    view = await outcome(hf, "desk", "Second.", thread="t")
    waits = await start(hf, "everything", 4)
    await question(hf, waits)
    for one in (view, waits):
        was = await record(hf, one)
        now = await brought_in(hf, was)
        assert (now.of, now.status, now.input, now.output, now.metadata) == (
            was.of, was.status, was.input, was.output, was.metadata
        )  # fmt: skip
        assert {key: entry.payload for key, entry in now.journal().results.items()} == {
            key: entry.payload for key, entry in was.journal().results.items()
        }
        assert [(m.position, m.payload) for m in now.messages] == [(m.position, m.payload) for m in was.messages]
        assert now.blobs == was.blobs
    assert await replays.assert_identical([hf]) >= 5


async def test_an_imported_run_can_be_forked_and_the_fork_replays(desk: Desk) -> None:
    hf = await desk.open(desk_agent())
    was = await record(hf, await outcome(hf, "desk", "A lamp!"))
    ((imported,), _) = await importing.load(hf.house, LOCAL_PRINCIPAL, list(portable.written(was)))
    for at in (1, 3):
        ask = forks.ForkRun(run_id=imported.run_id, at=at)
        view = await ended(hf, (await forks.fork(hf.house, LOCAL_PRINCIPAL, ask)).view)
        assert output(view) == "It is yours."


async def test_what_was_rolled_back_before_a_run_stays_out_of_its_history(desk: Desk) -> None:
    @workflow("asks")
    async def asks(ctx: Context, text: str) -> None:
        await ctx.ask(text)

    greeter = Agent("greeter", model=ScriptedModel(["Hello."]))
    hf = await desk.open(asks, greeter)
    first = await start(hf, "asks", "Well?", thread="t")
    await question(hf, first)
    view = await outcome(hf, "greeter", "Hi.", thread="t", on_busy=OnBusy.ROLLBACK)
    was = await record(hf, view)
    assert [m.void for m in was.messages] == [True]
    now = await brought_in(hf, was)
    assert [m.void for m in now.messages] == [True]
    assert (await replayed(now, greeter)).verdict is Verdict.IDENTICAL


async def test_a_fork_goes_out_and_comes_in_with_what_it_inherited(desk: Desk) -> None:
    hf = await desk.open(desk_agent())
    parent = await outcome(hf, "desk", "A lamp!")
    ask = forks.ForkRun(run_id=parent.run.id, at=3, repeat=Repeat.REUSE)
    view = await ended(hf, (await forks.fork(hf.house, LOCAL_PRINCIPAL, ask)).view)
    was = await record(hf, view)
    assert was.inherited > 0
    assert (await replayed(was, desk_agent())).verdict is Verdict.IDENTICAL
    now = await brought_in(hf, was)
    assert (now.input, now.output) == (was.input, was.output)
    result = await replayed(now, desk_agent())
    assert (result.verdict, result.steps) == (Verdict.IDENTICAL, 5)


# -- isolation --------------------------------------------------------------------------------------------------------


@dataclass
class Shop:
    currency: str = "EUR"
    calls: int = 0

    async def price(self, item: str) -> int:
        self.calls += 1
        return len(item)

    @property
    def rate(self) -> float:
        return 2.0


async def test_deps_may_be_looked_into_and_named_but_nothing_of_them_is_alive(desk: Desk) -> None:
    @workflow("w")
    async def good(ctx: Context) -> Any:
        assert isinstance(ctx.deps, Shop)
        return [ctx.deps.currency, await ctx.step("price", ctx.deps.price, "lamp")]

    @workflow("w")
    async def calling(ctx: Context) -> Any:
        try:
            await ctx.deps.price("lamp")
        except Exception:
            pass  # whatever the code makes of the refusal
        return await good.fn(ctx)

    @workflow("w")
    async def computing(ctx: Context) -> Any:
        return [ctx.deps.rate, *await good.fn(ctx)]

    @workflow("w")
    async def setting(ctx: Context) -> Any:
        ctx.deps.calls = 3
        return await good.fn(ctx)

    shop = Shop()
    hf = await desk.open(good, deps=shop)
    recorded = await record(hf, await outcome(hf, "w"))
    assert (await replayed(recorded, good, deps=shop)).verdict is Verdict.IDENTICAL
    for code, word in ((calling, "call ctx.deps.price"), (computing, "rate"), (setting, "calls")):
        result = await replayed(recorded, code, deps=shop)
        assert (result.verdict, result.reason, result.at) == (Verdict.DIVERGED, Reason.ISOLATED, 1), code
        assert word in result.message
    assert shop.calls == 1


def _connects() -> None:
    with socket.socket() as one:
        one.connect(("127.0.0.1", 9))


def _spawns() -> None:
    subprocess.run(["true"], check=True)


def _resolves() -> None:
    socket.getaddrinfo("localhost", 80)


@pytest.mark.parametrize("reach", [_connects, _spawns, _resolves])
@pytest.mark.parametrize("thread", [False, True])
async def test_code_outside_steps_has_no_way_out(desk: Desk, reach: Callable[[], None], thread: bool) -> None:
    live = [True]

    @workflow("w")
    async def w(ctx: Context) -> int:
        if not live:
            await (asyncio.to_thread(reach) if thread else _now(reach))
        return await ctx.step("one", twice, 1)

    hf = await desk.open(w)
    recorded = await record(hf, await outcome(hf, "w"))
    live.clear()
    result = await replayed(recorded, w)
    assert (result.reason, result.at) == (Reason.ISOLATED, 1)
    live.append(True)
    with pytest.raises(ConnectionRefusedError):
        _connects()  # nobody else is kept from it


async def _now(reach: Callable[[], None]) -> None:
    reach()


async def test_code_that_waits_for_what_never_comes_is_stalled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_STALL_MS", 100)
    live = [True]

    @workflow("w")
    async def w(ctx: Context) -> int:
        await ctx.step("one", twice, 1)
        if not live:
            await asyncio.Event().wait()
        return await ctx.step("two", twice, 1)

    hf = await desk.open(w)
    recorded = await record(hf, await outcome(hf, "w"))
    live.clear()
    result = await replayed(recorded, w)
    assert (result.reason, result.at) == (Reason.STALLED, 2)
    live.append(True)


async def test_a_loop_over_the_context_has_an_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_STEPS_MAX", 1_000)
    live = [True]

    @workflow("w")
    async def w(ctx: Context) -> int:
        n = 0
        while not live and n < 10_000:
            n += 1
            try:
                await ctx.step("again", twice, n)
            except BaseException:
                pass
        return 1

    hf = await desk.open(w)
    recorded = await record(hf, await outcome(hf, "w"))
    live.clear()
    result = await replayed(recorded, w)
    assert (result.verdict, result.reason) == (Verdict.DIVERGED, Reason.STEP_ADDED)
    live.append(True)


async def test_code_that_never_ends_is_overdue(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_MS", 200)
    live = [True]

    @workflow("w")
    async def w(ctx: Context) -> int:
        while not live:
            pass
        return 1

    hf = await desk.open(w)
    recorded = await record(hf, await outcome(hf, "w"))
    live.clear()
    known = {"w": w}
    result = (await InThread(known).replay(recorded)).result
    assert (result.verdict, result.reason) == (Verdict.DIVERGED, Reason.STALLED)
    live.append(True)  # the thread ends


async def test_sides_are_bounded(desk: Desk) -> None:
    def made(text: str) -> Any:
        @workflow("w")
        async def w(ctx: Context) -> str:
            await ctx.emit("text", text)
            return text

        return w

    long = "x" * 50_000
    hf = await desk.open(made(long + "a"))
    recorded = await record(hf, await outcome(hf, "w"))
    result = await replayed(recorded, made(long + "b"))
    assert result.difference is not None
    assert (result.difference.recorded[-1], result.difference.requested[-1]) == ("a", "b")
    assert len(str(result.to_json())) < 10_000

    @workflow("w")
    async def other(ctx: Context) -> str:
        await ctx.emit("text", long + "a")
        return long + "b"

    result = await replayed(recorded, other)
    assert (result.reason, result.difference and result.difference.path) == (Reason.OUTCOME_CHANGED, "output")
    assert len(str(result.to_json())) < 10_000


async def test_a_run_that_the_context_ended_is_ended_by_it_again(desk: Desk) -> None:
    """`ctx` from a task of somebody else's: the code may catch what that raises, and ends all the same."""

    @workflow("w")
    async def w(ctx: Context) -> int:
        async def both() -> None:
            await asyncio.gather(ctx.step("a", twice, 1), ctx.step("b", twice, 2))

        await ctx.step("one", twice, 1)
        try:
            await both()
        except Exception:
            pass
        return 1

    @workflow("w")
    async def mended(ctx: Context) -> int:
        await ctx.step("one", twice, 1)
        await ctx.gather(ctx.step("a", twice, 1), ctx.step("b", twice, 2))
        return 1

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert b"unscoped_concurrency" in (view.run.error or b"")
    recorded = await record(hf, view)
    assert (await replayed(recorded, w)).verdict is Verdict.IDENTICAL
    assert (await replayed(recorded, mended)).verdict is Verdict.DIVERGED


async def test_a_recording_of_an_unknown_run_is_not_found(desk: Desk) -> None:
    hf = await desk.open(original)
    with pytest.raises(NotFound):
        await recordings.read(hf.house, LOCAL_PRINCIPAL, RunId(b"x" * 16))


# -- rules on calls ---------------------------------------------------------------------------------------------------


def dear(arguments: dict[str, Any]) -> bool:
    return arguments["item"] == "palace"


RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "asks": {"confirm": True},
    "asks if dear": {"confirm": dear},
    "denies": {"deny": True},
    "asks by itself": {"itself": True},
}


def buyer(rules: str, native: bool, item: str = "lamp") -> Any:
    given = dict(RULES[rules])
    itself = given.pop("itself", False)

    @tool(effect="unsafe", **given)
    def buy(ctx: ToolContext[Any], item: str) -> str:
        """Buy it."""
        if itself and not ctx.approved:
            raise ApprovalRequired
        return f"bought {item}"

    @workflow("buyer", tools=[buy])
    async def flow(ctx: Context, given: str) -> str:
        try:
            return await ctx.step("buy", buy, item)
        except StepFailed as exc:
            return exc.code

    model = ScriptedModel([Call("buy", {"item": item}), "Well."])
    return Agent("buyer", model=model, tools=[buy], instructions="Buy.") if native else flow


@pytest.mark.parametrize("native", [True, False], ids=["agent", "workflow"])
@pytest.mark.parametrize(
    ("then", "now", "leave"),
    [
        ("none", "none", None),
        ("none", "asks", ("not asked for", "asked for")),
        ("none", "denies", ("not asked for", "denied")),
        ("none", "asks if dear", None),
        ("asks", "asks", None),
        ("asks", "none", ("asked for", "not asked for")),
        ("asks", "denies", ("asked for", "denied")),
        ("asks", "asks if dear", ("asked for", "not asked for")),
        ("denies", "denies", None),
        ("denies", "none", ("denied", "not asked for")),
        ("denies", "asks", ("denied", "asked for")),
        ("asks by itself", "asks by itself", None),
    ],
)
async def test_other_rules_on_a_call_are_told(
    desk: Desk, native: bool, then: str, now: str, leave: tuple[str, str] | None
) -> None:
    hf = await desk.open(buyer(then, native))
    view = await start(hf, "buyer", "Go.")
    if then.startswith("asks"):
        view = await waiting(hf, view)
        await resolve(hf, await question(hf, view), DecisionKind.APPROVE)
    recorded = await record(hf, await ended(hf, view))
    result = await replayed(recorded, buyer(now, native))
    if leave is None:
        assert result.verdict is Verdict.IDENTICAL, result.to_json()
        return
    step = 2 if native else 1
    if then == "asks":
        step += 1
    assert (result.reason, result.at) == (Reason.RULES_CHANGED, step), result.to_json()
    assert result.difference is not None
    assert (result.difference.path, result.difference.recorded, result.difference.requested) == ("leave", *leave)


@pytest.mark.parametrize("answer", ["reject", "edit"])
async def test_leave_that_was_refused_or_changed_counts_as_asked_for(desk: Desk, answer: str) -> None:
    hf = await desk.open(buyer("asks if dear", True, "palace"))
    view = await waiting(hf, await start(hf, "buyer", "Go."))
    asked = await question(hf, view)
    if answer == "reject":
        await resolve(hf, asked, DecisionKind.REJECT)
    else:
        await resolve(hf, asked, DecisionKind.APPROVE, arguments={"item": "lamp"})
    recorded = await record(hf, await ended(hf, view))
    assert (await replayed(recorded, buyer("asks if dear", True, "palace"))).verdict is Verdict.IDENTICAL
    assert (await replayed(recorded, buyer("none", True, "palace"))).reason is Reason.RULES_CHANGED


async def test_of_a_forks_calls_its_policy_decided_so_rules_are_not_compared(desk: Desk) -> None:
    hf = await desk.open(buyer("asks", True))
    parent = await waiting(hf, await start(hf, "buyer", "Go."))
    await resolve(hf, await question(hf, parent), DecisionKind.APPROVE)
    parent = await ended(hf, parent)
    started = await forks.fork(hf.house, LOCAL_PRINCIPAL, forks.ForkRun(run_id=parent.run.id, at=0))
    recorded = await record(hf, await ended(hf, started.view))
    assert (await replayed(recorded, buyer("asks", True))).verdict is Verdict.IDENTICAL
    again = next(iter(portable.read(portable.written(recorded))))
    assert again.policed
    assert (await replayed(await brought_in(hf, recorded), buyer("none", True))).verdict is Verdict.IDENTICAL
