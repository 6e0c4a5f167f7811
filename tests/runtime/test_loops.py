"""The loops that nobody watches outlive what goes wrong in them, and a run that nothing executes is taken back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from holdfast import Context, workflow
from holdfast.agents.workflow import Workflow
from holdfast.domain import limits
from holdfast.domain.runs import RunStatus
from holdfast.runtime import recovery as recovery_module
from holdfast.runtime import worker as worker_module
from holdfast.service import claiming
from holdfast.store import heads
from holdfast.testing.crash import CrashPoint
from tests.runtime.driving import Desk, cancel, ended, look, outcome, output, start, types, within

SHORT_MS = 300


@workflow("w")
async def w(ctx: Context) -> str:
    await ctx.emit("ran")
    return "done"


class Held:
    """A workflow that waits for a test."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()

        @workflow("held")
        async def held(ctx: Context) -> str:
            self.begun.set()
            await self.go.wait()
            return "done"

        self.agent = held


def failing_once(real: Any, failed: list[str]) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        if not failed:
            failed.append("once")
            raise RuntimeError("a bug of ours")
        return await real(*args, **kwargs)

    return call


async def test_a_worker_whose_claim_fails_goes_on_claiming(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    monkeypatch.setattr(limits, "POLL_MS", 50)
    monkeypatch.setattr(worker_module.claiming, "claim", failing_once(claiming.claim, failed))
    hf = await desk.open(w)
    assert output(await ended(hf, await start(hf, "w"))) == "done"
    assert failed


async def test_recovery_goes_on_after_a_failed_round(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    monkeypatch.setattr(recovery_module.claiming, "wake_due", failing_once(claiming.wake_due, failed))

    @workflow("sleeps")
    async def sleeps(ctx: Context) -> str:
        await ctx.sleep(0.2)
        return "woken"

    hf = await desk.open(sleeps)
    assert output(await ended(hf, await start(hf, "sleeps"))) == "woken"
    assert failed


async def test_leases_are_renewed_again_after_a_renewal_that_failed_for_whatever_reason(desk: Desk) -> None:
    held = Held()
    hf = await desk.open(held.agent, lease_ms=SHORT_MS)
    keeper: Any = hf.supervisor._leases  # pyright: ignore[reportPrivateUsage]
    real, calls, renewed = keeper._lessor.renew, [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def renew(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("a bug of the driver")
        rows = real(*args)
        if rows:
            loop.call_soon_threadsafe(renewed.set)
        return rows

    keeper._lessor.renew = renew
    view = await start(hf, "held")
    await within(renewed.wait())
    assert len(calls) >= 2
    held.go.set()
    assert output(await ended(hf, view)) == "done"


async def test_news_about_an_earlier_claim_does_not_concern_the_run_s_present_executor(desk: Desk) -> None:
    held = Held()
    hf = await desk.open(held.agent)
    view = await start(hf, "held")
    await within(held.begun.wait())
    tenant_id, run_id, epoch = hf.supervisor.worker.executors[view.run.id].key
    hf.supervisor._renewed([(tenant_id, run_id, epoch - 1)], [])  # pyright: ignore[reportPrivateUsage]
    held.go.set()
    view = await ended(hf, view)
    assert output(view) == "done"
    assert view.epoch == epoch


async def test_the_bell_of_a_run_claimed_again_is_not_taken_down_by_its_former_executor(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parked run's clean-up goes on in this process while the same process executes the run again."""
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    monkeypatch.setattr("holdfast.runtime.executor.CLEAN_UP_MS", 20_000)
    again, cleaned, forever = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @workflow("w")
    async def slow(ctx: Context) -> None:
        try:
            await ctx.sleep(0.2)
            again.set()
            await forever.wait()
        finally:
            if not again.is_set():
                await again.wait()
                cleaned.set()

    hf = await desk.open(slow)
    view = await start(hf, "w")
    await within(again.wait())
    await within(cleaned.wait())
    await asyncio.sleep(0)
    assert "run.resumed" in await types(hf, view)
    await cancel(hf, view)
    assert (await within(ended(hf, view), 4)).run.status is RunStatus.CANCELLED  # by the bell: a lease is far longer


async def test_a_run_whose_start_was_cancelled_after_its_commit_is_taken_back(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit gave it to this process, and nobody is left who knew: without recovery it would stay so for ever."""
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 50)
    monkeypatch.setattr(limits, "POLL_MS", 100)
    hung, release = threading.Event(), threading.Event()

    def hang() -> None:
        hung.set()
        assert release.wait(30)

    faults = CrashPoint(1, "after_commit", action=hang)
    async with contextlib.AsyncExitStack() as stack:
        hf = await Desk(sqlite_url, stack).open(w, lease_ms=SHORT_MS, deaf=True, faults=faults)
        async with asyncio.timeout(10):
            while hf.supervisor.worker._behind:  # pyright: ignore[reportPrivateUsage]  # only then a start may claim
                await asyncio.sleep(0.01)
        faults.arm()
        request = asyncio.create_task(start(hf, "w"))
        await asyncio.to_thread(hung.wait, 20)
        faults.disarm()
        request.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request
        release.set()
        [(head, _)] = await hf.house.database.read(
            None, lambda tx: heads.of_owner(tx, hf.supervisor.worker_id, limit=9)
        )
        assert head.run_id not in hf.supervisor.worker.executors
        view = await ended(hf, await look(hf, head.run_id))
        assert output(view) == "done"


async def test_a_claim_that_was_on_its_way_when_the_drain_began_is_given_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    claimed, draining = asyncio.Event(), asyncio.Event()
    real = claiming.claim

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        found = await real(*args, **kwargs)
        if found:
            claimed.set()
            await draining.wait()
        return found

    monkeypatch.setattr(worker_module.claiming, "claim", slowly)
    hf = desk.make(held.agent, drain_ms=60_000)
    async with hf.running():
        hf.supervisor.worker._behind = True  # pyright: ignore[reportPrivateUsage]  # no fast path
        view = await start(hf, "held")
        await within(claimed.wait())
        stopping = asyncio.create_task(hf.supervisor.worker.drain(60_000))
        await asyncio.sleep(0)
        assert hf.supervisor.worker.draining
        draining.set()
        await within(stopping, 20)
        async with asyncio.timeout(10):
            while (view := await look(hf, view)).run.status is not RunStatus.QUEUED:
                await asyncio.sleep(0.01)
    assert not held.begun.is_set() or not held.go.is_set()


async def test_a_start_that_fails_closes_what_it_opened_and_may_be_tried_again(desk: Desk) -> None:
    class Refusing(Workflow[Any, Any]):
        refuses = True

        async def warm_up(self) -> None:
            if self.refuses:
                raise RuntimeError("not today")

    async def body(ctx: Context) -> str:
        return "done"

    agent = Refusing("w", body)
    hf = desk.make(agent)
    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError, match="not today"):
        async with hf.running():
            raise AssertionError("it did not start")
    assert asyncio.all_tasks() == before
    agent.refuses = False
    async with hf.running():
        assert output(await outcome(hf, "w")) == "done"


async def test_an_agent_that_does_not_close_keeps_no_other_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    async def close(agent: Workflow[Any, Any]) -> None:
        closed.append(agent.id)
        if agent.id == "w":
            raise RuntimeError("no")

    monkeypatch.setattr(Workflow, "close", close)
    async with desk.make(w, Held().agent).running():
        pass
    assert closed == ["w", "held"]
    assert "agent w did not close" in caplog.text
