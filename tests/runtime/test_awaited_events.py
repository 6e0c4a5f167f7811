"""Events from outside: they may come early, twice or late, to many runs, and each run takes each once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import Context, workflow
from holdfast.domain import limits
from holdfast.domain.errors import Conflict, EventTimedOut, Invalid
from holdfast.domain.runs import RunStatus
from holdfast.store import awaited
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    crash,
    ended,
    entries,
    error,
    keys,
    look,
    outcome,
    output,
    send,
    start,
    waiting,
    within,
)


@workflow("w")
async def w(ctx: Context, key: str = "") -> Any:
    return await ctx.wait_event("paid", key=key)


async def test_a_run_waits_for_its_event(desk: Desk) -> None:
    hf = await desk.open(w)
    view = await waiting(hf, await start(hf, "w", "o1"))
    assert json.loads(view.run.waiting_on or b"[]") == [{"type": "event", "id": "paid", "key": "o1", "step": "paid#1"}]
    sent = await send(hf, "paid", {"cents": 5}, key="o1")
    assert sent.woken == (view.run.id,)
    assert sent.status == 202
    view = await ended(hf, view)
    assert output(view) == {"cents": 5}
    assert await keys(hf, view) == ["paid#1"]


async def test_an_event_of_another_name_or_key_wakes_nobody(desk: Desk) -> None:
    hf = await desk.open(w)
    view = await waiting(hf, await start(hf, "w", "o1"))
    for name, key in (("paid", "o2"), ("paid", ""), ("shipped", "o1")):
        assert (await send(hf, name, key=key)).woken == ()
    assert (await look(hf, view)).run.status is RunStatus.WAITING


async def test_an_event_may_come_before_the_wait(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    @workflow("late")
    async def late(ctx: Context) -> Any:
        await ctx.step("slow", slow)
        return await ctx.wait_event("paid")

    hf = await desk.open(late)
    view = await start(hf, "late")
    await within(begun.wait())
    assert (await send(hf, "paid", 1)).woken == ()
    go.set()
    assert output(await ended(hf, view)) == 1
    assert "run.waiting" not in [e.type.value for e in await entries(hf, view)]


async def test_an_event_from_before_the_run_is_none_of_its(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(w, determinism=clock.determinism)
    await send(hf, "paid", "old")
    clock.advance(1)
    view = await waiting(hf, await start(hf, "w", ""))
    await send(hf, "paid", "new")
    assert output(await ended(hf, view)) == "new"


async def test_since_reaches_back_before_the_run(desk: Desk, clock: FakeClock) -> None:
    @workflow("back")
    async def back(ctx: Context, ms: int) -> Any:
        return await ctx.wait_event("paid", since=datetime.fromtimestamp(ms / 1000, UTC))

    hf = await desk.open(back, determinism=clock.determinism)
    await send(hf, "paid", "too old")
    clock.advance(1_000)
    since = clock.now_ms()
    await send(hf, "paid", "old")
    clock.advance(1_000)
    assert output(await outcome(hf, "back", since)) == "old"


async def test_a_second_sending_of_one_id_is_the_first(desk: Desk) -> None:
    @workflow("twice")
    async def twice(ctx: Context) -> Any:
        first = await ctx.wait_event("paid")
        try:
            return [first, await ctx.wait_event("paid", timeout=timedelta(milliseconds=50))]
        except EventTimedOut as exc:
            return [first, exc.code]

    hf = await desk.open(twice)
    view = await waiting(hf, await start(hf, "twice"))
    one = await send(hf, "paid", 1, id="e-1")
    two = await send(hf, "paid", 1, id="e-1")
    assert two.replayed
    assert two.event == one.event
    assert output(await ended(hf, view)) == [1, "event_timed_out"]
    with pytest.raises(Conflict) as caught:
        await send(hf, "paid", 2, id="e-1")
    assert caught.value.code == "event_conflict"


async def test_of_many_sendings_of_one_id_at_once_one_is_stored(desk: Desk) -> None:
    hf = await desk.open(w)
    sent = await asyncio.gather(*(send(hf, "paid", 1, id="e-1") for _ in range(20)))
    assert len({s.event.id for s in sent}) == 1
    assert sum(not s.replayed for s in sent) == 1


async def test_events_are_taken_in_the_order_in_which_they_came(desk: Desk) -> None:
    @workflow("three")
    async def three(ctx: Context) -> Any:
        await ctx.wait_event("go")
        return [await ctx.wait_event("paid") for _ in range(3)]

    hf = await desk.open(three)
    view = await waiting(hf, await start(hf, "three"))
    for n in range(3):
        await send(hf, "paid", n)
    await send(hf, "go")
    assert output(await ended(hf, view)) == [0, 1, 2]


async def test_two_runs_both_get_the_event(desk: Desk) -> None:
    hf = await desk.open(w)
    views = [await waiting(hf, await start(hf, "w", "")) for _ in range(2)]
    sent = await send(hf, "paid", 1)
    assert set(sent.woken) == {v.run.id for v in views}
    assert [output(await ended(hf, v)) for v in views] == [1, 1]


async def test_two_branches_of_a_run_take_two_events(desk: Desk) -> None:
    @workflow("both")
    async def both(ctx: Context) -> Any:
        return sorted(await ctx.gather(ctx.wait_event("paid"), ctx.wait_event("paid")))

    hf = await desk.open(both)
    view = await waiting(hf, await start(hf, "both"))
    await send(hf, "paid", 1)
    async with asyncio.timeout(20):
        while len(await keys(hf, view)) < 1 or (await look(hf, view)).run.status is not RunStatus.WAITING:
            await asyncio.sleep(0.005)
    await send(hf, "paid", 2)
    assert output(await ended(hf, view)) == [1, 2]


async def test_two_branches_find_two_events_that_are_there_already(desk: Desk) -> None:
    @workflow("both")
    async def both(ctx: Context) -> Any:
        await ctx.wait_event("go")
        return sorted(await ctx.gather(ctx.wait_event("paid"), ctx.wait_event("paid")))

    hf = await desk.open(both)
    view = await waiting(hf, await start(hf, "both"))
    await send(hf, "paid", 1)
    await send(hf, "paid", 2)
    await send(hf, "go")
    assert output(await ended(hf, view)) == [1, 2]


async def test_a_wait_that_takes_too_long_is_over(desk: Desk, clock: FakeClock) -> None:
    @workflow("patient")
    async def patient(ctx: Context) -> Any:
        try:
            return await ctx.wait_event("paid", timeout=timedelta(days=3))
        except EventTimedOut as exc:
            return exc.code

    hf = await desk.open(patient, determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "patient"))
    (shown,) = json.loads(view.run.waiting_on or b"[]")
    assert shown["due_at"] == clock.now_ms() + 3 * 86_400_000
    clock.advance(timedelta(days=3))
    view = await ended(hf, view)
    assert output(view) == "event_timed_out"
    late = await send(hf, "paid", 1)
    assert late.woken == ()


async def test_a_wait_that_nobody_ends_fails_the_run_with_its_reason(desk: Desk, clock: FakeClock) -> None:
    @workflow("patient")
    async def patient(ctx: Context) -> Any:
        return await ctx.wait_event("paid", timeout=timedelta(hours=1))

    hf = await desk.open(patient, determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "patient"))
    clock.advance(timedelta(hours=1))
    assert error(await ended(hf, view))["code"] == "event_timed_out"


async def test_what_was_taken_stays_taken_after_a_crash(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    @workflow("again")
    async def again(ctx: Context) -> Any:
        first = await ctx.wait_event("paid")
        await ctx.step("slow", slow)
        return [first, await ctx.wait_event("paid")]

    hf = await desk.open(again)
    view = await waiting(hf, await start(hf, "again"))
    await send(hf, "paid", 1)
    await within(begun.wait())
    await crash(hf, view)
    go.set()
    view = await waiting(hf, view)
    await send(hf, "paid", 2)
    assert output(await ended(hf, view)) == [1, 2]


async def test_sender_and_waiter_that_meet_never_miss_each_other(desk: Desk) -> None:
    hf = await desk.open(w)

    async def one(n: int) -> Any:
        view, _ = await asyncio.gather(start(hf, "w", f"k{n}"), asyncio.sleep(0))
        sent = asyncio.create_task(send(hf, "paid", n, key=f"k{n}"))
        await sent
        return output(await ended(hf, view))

    assert await asyncio.gather(*(one(n) for n in range(40))) == list(range(40))


async def test_a_cancelled_run_waits_for_nothing(desk: Desk) -> None:
    hf = await desk.open(w)
    view = await waiting(hf, await start(hf, "w", ""))
    await cancel(hf, view)
    assert (await send(hf, "paid", 1)).woken == ()
    left = await hf.house.database.read(None, lambda tx: awaited.waiters(tx, view.run.tenant_id, "paid", ""))
    assert left == []


async def test_an_event_is_kept_for_seven_days(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(w, determinism=clock.determinism)
    old = await send(hf, "paid", "old")
    clock.advance(1)
    young = await send(hf, "paid", "young")
    clock.advance(limits.EVENT_KEEP_MS)
    assert await hf.house.database.write(None, awaited.expire) == 1
    for sent, there in ((old, False), (young, True)):
        found = await hf.house.database.read(None, lambda tx, s=sent: awaited.get(tx, s.event.tenant_id, s.event.id))
        assert (found is not None) is there


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("", {}),
        ("x" * (limits.EVENT_NAME_CHARS_MAX + 1), {}),
        ("x\x00", {}),
        ("x", {"key": "k" * (limits.EVENT_NAME_CHARS_MAX + 1)}),
        ("x", {"timeout": timedelta(0)}),
        ("x", {"timeout": timedelta(days=10_000)}),
    ],
)
async def test_a_wait_that_cannot_be_is_refused(desk: Desk, name: str, options: Any) -> None:
    @workflow("bad")
    async def bad(ctx: Context) -> Any:
        try:
            await ctx.wait_event(name, **options)
        except Invalid as exc:
            return exc.code

    hf = await desk.open(bad)
    assert output(await outcome(hf, "bad"))


@pytest.mark.parametrize(
    "given", [{"name": " "}, {"name": "x", "id": ""}, {"name": "x" * 256}, {"name": "x", "id": "i" * 256}]
)
async def test_an_event_that_cannot_be_is_refused(desk: Desk, given: Any) -> None:
    hf = await desk.open(w)
    with pytest.raises(Invalid):
        await send(hf, **given)


async def test_two_hundred_runs_that_wait_hold_no_executor_and_one_event_wakes_all(desk: Desk) -> None:
    hf = await desk.open(w)
    views = await asyncio.gather(*(start(hf, "w", "k") for _ in range(200)))
    for view in views:
        await waiting(hf, view)
    async with asyncio.timeout(20):
        while hf.supervisor.worker.executors:
            await asyncio.sleep(0.01)
    sent = await send(hf, "paid", "all", key="k")
    assert len(sent.woken) == 200
    assert {output(await ended(hf, view)) for view in views} == {"all"}
