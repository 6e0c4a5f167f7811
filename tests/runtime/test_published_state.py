"""State that runs publish: it belongs to the thread, nothing of it is lost or computed twice, and reading it back is
the same whatever a run went through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Agent, Context, Holdfast, Retry, StepFailed, ToolContext, tool, workflow
from holdfast.domain import limits, states
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import decode
from holdfast.domain.runs import RunView
from holdfast.domain.states import Published
from holdfast.service import runs as run_verbs
from holdfast.service import states as state_verbs
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import Desk, crash, ended, entries, error, keys, look, outcome, output, retry, start, waiting


async def published(hf: Holdfast, run: RunView) -> Published:
    """What the run's thread shows."""
    return await state_verbs.of_thread(hf.house, LOCAL_PRINCIPAL, run.run.thread_id)


async def reached(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not there():
            await asyncio.sleep(0.005)


async def versions(hf: Holdfast, run: RunView) -> list[int]:
    """The versions that the run recorded, in the order of its entries."""
    found = [e for e in await entries(hf, run) if e.kind == "state" and e.status == "succeeded"]
    return [states.read(e.payload).version for e in found]


async def test_state_belongs_to_the_thread_and_the_next_run_begins_with_it(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context, name: str) -> Any:
        found = await ctx.state.get()
        await ctx.state.update({name: 1})
        await ctx.state.update(lambda document: {**document, "last": name})
        return [found, await ctx.state.get()]

    hf = await desk.open(w)
    first = await outcome(hf, "w", "a", thread="t")
    assert output(first) == [None, {"a": 1, "last": "a"}]
    second = await outcome(hf, "w", "b", thread="t")
    assert output(second) == [{"a": 1, "last": "a"}, {"a": 1, "last": "b", "b": 1}]
    assert [await versions(hf, run) for run in (first, second)] == [[1, 2], [3, 4]]
    shown = await published(hf, second)
    assert (shown.document.version, shown.document.value) == (4, {"a": 1, "last": "b", "b": 1})
    assert (shown.run_id, shown.seq) == (second.run.id, 2)
    assert output(await outcome(hf, "w", "c", thread="other"))[0] is None, "another thread has a state of its own"


async def test_a_thread_that_publishes_nothing_shows_nothing(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.state.get()

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) is None
    shown = await published(hf, view)
    assert (shown.document.version, shown.document.value, shown.run_id, shown.seq) == (0, None, None, None)
    assert not (await look(hf, view)).run.has_state
    assert await keys(hf, view) == [], "reading is no step"


async def test_a_change_is_one_entry_and_the_first_of_a_run_is_whole(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context, n: int) -> None:
        for i in range(n):
            await ctx.state.update({"log": [*((await ctx.state.get() or {}).get("log") or []), "x" * 20], "i": i})

    hf = await desk.open(w)
    view = await outcome(hf, "w", 2 * limits.STATE_SNAPSHOT_EVERY + 5)
    steps = [e for e in await entries(hf, view) if e.kind == "state"]
    assert {e.type.value for e in steps} == {"state.changed"}
    whole = [n for n, e in enumerate(steps) if states.read(e.payload).is_snapshot and n]
    assert states.read(steps[0].payload).is_snapshot
    assert whole[-1] - max(whole[:-1], default=0) == limits.STATE_SNAPSHOT_EVERY
    assert decode(steps[-1].payload) == {
        "version": len(steps),
        "patch": [
            {"op": "add", "path": f"/log/{len(steps) - 1}", "value": "x" * 20},
            {"op": "replace", "path": "/i", "value": len(steps) - 1},
        ],
    }
    assert (await look(hf, view)).run.has_state


async def test_parallel_branches_lose_nothing_of_each_other(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        async def branch(name: int) -> None:
            for _ in range(5):
                await ctx.state.update(lambda d: {**(d or {}), "n": (d or {}).get("n", 0) + 1, str(name): 1})
                await asyncio.sleep(0)

        await ctx.gather(*(branch(n) for n in range(20)))
        return await ctx.state.get()

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == {"n": 100, **{str(n): 1 for n in range(20)}}
    assert await versions(hf, view) == list(range(1, 101)), "versions are dense, in the order of entries"


async def test_a_branch_reads_its_own_changes_and_those_before_it_until_branches_are_gathered(desk: Desk) -> None:
    is_written = asyncio.Event()

    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.state.set({"before": 1})

        async def writes() -> Any:
            await ctx.state.update({"written": 1})
            is_written.set()
            return await ctx.state.get()

        async def reads() -> Any:
            await is_written.wait()
            return await ctx.state.get()

        return [*await ctx.gather(writes(), reads()), await ctx.state.get()]

    hf = await desk.open(w)
    whole = {"before": 1, "written": 1}
    assert output(await outcome(hf, "w")) == [whole, {"before": 1}, whole]


async def test_a_resumed_run_reads_at_each_place_what_it_read_before(desk: Desk) -> None:
    """Branches interleave on the first way, and come to their ends one by one when they are recalled."""
    seen: list[Any] = []
    computed: list[str] = []
    held = asyncio.Event()

    @workflow("w")
    async def w(ctx: Context) -> Any:
        def add(name: str) -> Any:
            def change(document: Any) -> Any:
                computed.append(name)
                return [*(document or []), name]

            return change

        async def branch(name: str) -> list[Any]:
            read = [await ctx.state.update(add(f"{name}1"))]
            await asyncio.sleep(0.01)
            read.append(await ctx.state.update(add(f"{name}2")))
            await asyncio.sleep(0.01)
            return [*read, await ctx.state.get()]

        found = [await ctx.gather(branch("a"), branch("b"), branch("c")), await ctx.state.get()]
        seen.append(found)
        await ctx.step("hold", held.wait)
        found.append(await ctx.state.update(add("end")))
        return found

    hf = await desk.open(w)
    view = await start(hf, "w")
    await reached(lambda: bool(seen))
    await crash(hf, view)
    held.set()
    view = await ended(hf, view)
    assert seen[0][:2] == seen[1][:2], "the same at each place"
    assert sorted(computed) == sorted({*computed}), "no recorded change is computed again"
    assert [*output(view)[1], "end"] == output(view)[2]
    assert await versions(hf, view) == list(range(1, 8))


async def test_a_run_that_dies_between_branches_goes_on_from_the_newest_version(desk: Desk) -> None:
    open_gate = asyncio.Event()

    @workflow("w")
    async def w(ctx: Context) -> Any:
        async def quick() -> None:
            for n in range(3):
                await ctx.state.update({f"quick{n}": 1})

        async def slow() -> Any:
            await ctx.step("slow", open_gate.wait)
            return await ctx.state.update({"slow": 1})

        await ctx.gather(quick(), slow())
        return await ctx.state.get()

    hf = await desk.open(w)
    view = await start(hf, "w")
    async with asyncio.timeout(20):
        while len(await versions(hf, view)) < 3:
            await asyncio.sleep(0.005)
    await crash(hf, view)
    open_gate.set()
    view = await ended(hf, view)
    assert output(view) == {"quick0": 1, "quick1": 1, "quick2": 1, "slow": 1}
    assert await versions(hf, view) == [1, 2, 3, 4]


async def test_a_tool_publishes_once_however_often_it_is_tried(desk: Desk) -> None:
    tries: list[int] = []

    @tool(effect="keyed", tries=3)
    async def count(ctx: ToolContext) -> Any:
        """Count."""
        tries.append(1)
        await ctx.state.update(lambda d: {"n": (d or {}).get("n", 0) + 1})
        if len(tries) < 3:
            raise ConnectionError("again")
        return await ctx.state.get()

    agent = Agent(
        "a", model=ScriptedModel([Call("count", {}), [Call("count", {}), Call("count", {})], "done"]), tools=[count]
    )
    hf = await desk.open(agent)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert len(tries) == 5
    assert (await published(hf, view)).document.value == {"n": 3}
    assert await versions(hf, view) == [1, 2, 3]


async def test_what_a_recorded_tool_published_is_known_after_it_when_the_run_resumes(desk: Desk) -> None:
    seen: list[Any] = []
    held = asyncio.Event()

    @tool(effect="read")
    async def note(ctx: ToolContext, what: str) -> str:
        """Note something."""
        await ctx.state.update({what: 1})
        return what

    @workflow("w", tools=[note])
    async def w(ctx: Context) -> Any:
        await ctx.step("note", note, "a")
        first = await ctx.state.get()
        await ctx.gather(ctx.step("note", note, "b"), ctx.step("note", note, "c"))
        seen.append([first, await ctx.state.get()])
        await ctx.step("hold", held.wait)
        return await ctx.state.get()

    hf = await desk.open(w)
    view = await start(hf, "w")
    await reached(lambda: bool(seen))
    await crash(hf, view)
    held.set()
    assert output(await ended(hf, view)) == {"a": 1, "b": 1, "c": 1}
    assert seen == [[{"a": 1}, {"a": 1, "b": 1, "c": 1}]] * 2


async def test_a_child_run_has_a_thread_and_a_state_of_its_own(desk: Desk) -> None:
    @workflow("child")
    async def child(ctx: Context) -> Any:
        found = await ctx.state.get()
        await ctx.state.set("child's")
        return found

    @workflow("w", agents=[child])
    async def w(ctx: Context) -> Any:
        await ctx.state.set("parent's")
        return [await ctx.call(child), await ctx.state.get()]

    hf = await desk.open(w)
    assert output(await outcome(hf, "w")) == [None, "parent's"]


async def test_a_failed_run_that_is_retried_keeps_what_it_published_and_goes_on(desk: Desk) -> None:
    broken = True

    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.state.update({"a": 1})

        def bad() -> None:
            if broken:
                raise ValueError("no")

        await ctx.step("bad", bad)
        await ctx.state.update({"b": 1})
        return await ctx.state.get()

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert error(view)["step"] == "bad#1"
    broken = False
    view = await retry(hf, view)
    assert output(view) == {"a": 1, "b": 1}
    assert await versions(hf, view) == [1, 2]


async def test_a_run_that_failed_leaves_what_it_published_and_one_that_was_rolled_back_does_not(desk: Desk) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    @workflow("fails")
    async def fails(ctx: Context) -> None:
        await ctx.state.set("left")
        raise ValueError("no")

    @workflow("stays")
    async def stays(ctx: Context) -> None:
        await ctx.state.set("rolled back")
        begun.set()
        await ctx.step("wait", never.wait)

    @workflow("reads")
    async def reads(ctx: Context) -> Any:
        return await ctx.state.get()

    hf = await desk.open(fails, stays, reads)
    await outcome(hf, "fails", thread="t")
    held = await start(hf, "stays", thread="t")
    await begun.wait()
    assert (await published(hf, held)).document.value == "rolled back"
    view = await outcome(hf, "reads", thread="t", on_busy=run_verbs.OnBusy.ROLLBACK)
    assert output(view) == "left"
    shown = await published(hf, view)
    assert (shown.document.version, shown.document.value) == (1, "left")


async def test_what_is_no_json_or_too_large_fails_as_a_recorded_step(desk: Desk) -> None:
    codes: list[str] = []

    @workflow("w")
    async def w(ctx: Context) -> Any:
        for value in ("x" * limits.STATE_BYTES_MAX, object(), {"ok": 1}):
            try:
                await ctx.state.set(value)
            except StepFailed as exc:
                codes.append(exc.code)
        try:
            await ctx.state.update(lambda _: 1 / 0)
        except StepFailed as exc:
            codes.append(exc.error_type or "")
        await ctx.state.set(3)
        try:
            await ctx.state.update({"a": 1})
        except StepFailed as exc:
            codes.append(exc.code)

        async def later(document: Any) -> Any:
            return document

        try:
            await ctx.state.update(later)
        except StepFailed as exc:
            codes.append(exc.code)
        return await ctx.state.get()

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == 3
    assert codes == ["state_too_large", "not_encodable", "ZeroDivisionError", "invalid_state", "invalid"]
    assert await versions(hf, view) == [1, 2]
    failed = [e for e in await entries(hf, view) if e.status == "failed"]
    assert {e.type.value for e in failed} == {"step.failed"}
    assert len(failed) == 5


async def test_user_code_gets_copies(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        mine: dict[str, Any] = {"list": [1]}
        await ctx.state.set(mine)
        mine["list"].append(2)
        (await ctx.state.get())["list"].append(3)

        def change(document: Any) -> Any:
            document["list"].append(4)
            raise ValueError("changed its mind")

        with pytest.raises(StepFailed):
            await ctx.state.update(change)
        return await ctx.state.get()

    hf = await desk.open(w)
    assert output(await outcome(hf, "w")) == {"list": [1]}


async def test_the_function_of_a_plain_step_may_read_the_state_and_not_change_it(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.state.set(1)
        assert await ctx.step("reads", ctx.state.get) == 1
        await ctx.step("changes", ctx.state.set, 2, retry=Retry(attempts=1))

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert failure["step"] == "changes#1"
    assert "not by the function of step changes#1" in failure["message"]


async def test_a_run_that_waits_goes_on_with_the_state_that_it_left(desk: Desk, clock: FakeClock) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.state.set({"at": "before"})
        await ctx.sleep(60)
        return await ctx.state.update({"then": "after"})

    hf = await desk.open(w, determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "w"))
    assert (await published(hf, view)).document.value == {"at": "before"}
    clock.advance(120_000)
    assert output(await ended(hf, view)) == {"at": "before", "then": "after"}


async def test_state_is_not_for_tasks_that_gather_did_not_make(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await asyncio.create_task(ctx.state.set(1))

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert error(view)["code"] == "unscoped_concurrency"
    assert (await published(hf, view)).run_id is None


async def test_a_tool_that_runs_in_a_thread_is_told_to_be_async(desk: Desk) -> None:
    @tool(effect="read")
    def blocking(ctx: ToolContext) -> None:
        """Block."""
        _ = ctx.state

    @workflow("w", tools=[blocking])
    async def w(ctx: Context) -> None:
        await ctx.step("blocking", blocking)

    hf = await desk.open(w)
    assert "make it async" in error(await outcome(hf, "w"))["message"]
