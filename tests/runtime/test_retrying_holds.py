"""A retried run opens its questions and waits once more: its end had closed them, and leave is not for another try."""

from __future__ import annotations

from typing import Any

from holdfast import Context, Holdfast, NotDone, RunLimits, ToolContext, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import Approval, ApprovalStatus
from holdfast.domain.encoding import decode
from holdfast.domain.runs import RunStatus, RunView
from holdfast.service import approvals, awaited, retrying
from holdfast.service.approvals import Resolution
from holdfast.store.approvals import ApprovalFilter
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import Desk, ended, look, start, until, waiting

HOUR_MS = 3_600_000


@workflow("asks")
async def asks(ctx: Context) -> str:
    return await ctx.ask("Go on?")


@workflow("awaits")
async def awaits(ctx: Context) -> Any:
    return await ctx.wait_event("paid", key="7")


async def pending(hf: Holdfast) -> list[Approval]:
    wanted = ApprovalFilter(status=(ApprovalStatus.PENDING,))
    return [view.approval for view in await approvals.page(hf.house, LOCAL_PRINCIPAL, wanted)]


async def answer(hf: Holdfast, asked: Approval, **said: Any) -> None:
    await approvals.resolve(hf.house, LOCAL_PRINCIPAL, asked.id, Resolution(**said))


async def failed_by_its_deadline(hf: Holdfast, clock: FakeClock, agent: str) -> RunView:
    run = await waiting(hf, await start(hf, agent, deadline=clock.now_ms() + HOUR_MS))
    clock.advance(HOUR_MS + 1)
    hf.supervisor.recovery.nudge()
    return await until(hf, run, lambda v: v.run.status is RunStatus.FAILED, "failed")


async def retried(hf: Holdfast, clock: FakeClock, run: RunView) -> RunView:
    await retrying.retry(hf.house, LOCAL_PRINCIPAL, run.run.id, RunLimits(), deadline=clock.now_ms() + 9 * HOUR_MS)
    return await waiting(hf, run)


async def test_a_question_that_the_runs_end_closed_is_asked_anew(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(asks, determinism=clock.determinism)
    run = await waiting(hf, await start(hf, "asks", deadline=clock.now_ms() + HOUR_MS))
    (first,) = await pending(hf)
    clock.advance(HOUR_MS + 1)
    hf.supervisor.recovery.nudge()
    run = await until(hf, run, lambda v: v.run.status is RunStatus.FAILED, "failed")
    assert await pending(hf) == []
    run = await retried(hf, clock, run)
    (second,) = await pending(hf)
    assert second.id != first.id
    assert second.key == first.key
    await answer(hf, second, decision="answer", answer="yes")
    assert (await ended(hf, run)).output == b'"yes"'


async def test_an_event_wakes_a_retried_run_that_waits_for_it(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(awaits, determinism=clock.determinism)
    run = await retried(hf, clock, await failed_by_its_deadline(hf, clock, "awaits"))
    await awaited.send(hf.house, LOCAL_PRINCIPAL, awaited.NewEvent(name="paid", key="7", data={"amount": 3}))
    assert decode((await ended(hf, run)).output) == {"amount": 3}


async def test_leave_for_a_call_that_failed_is_asked_again_before_another_try(desk: Desk) -> None:
    calls: list[str] = []

    @tool(effect="keyed", confirm=True)
    async def refund(ctx: ToolContext, amount: int) -> str:
        """Refund."""
        calls.append(ctx.idempotency_key)
        if len(calls) == 1:
            raise NotDone("the account is closed")
        return "refunded"

    @workflow("refunds", tools=[refund])
    async def refunds(ctx: Context) -> str:
        return await ctx.step("refund", refund, 5)

    hf = await desk.open(refunds)
    run = await waiting(hf, await start(hf, "refunds"))
    (first,) = await pending(hf)
    await answer(hf, first, decision="approve")
    run = await ended(hf, run)
    assert run.run.status is RunStatus.FAILED
    await retrying.retry(hf.house, LOCAL_PRINCIPAL, run.run.id)
    run = await waiting(hf, run)
    assert len(calls) == 1, "nothing is done under the leave that was used"
    (second,) = await pending(hf)
    await answer(hf, second, decision="approve")
    run = await ended(hf, run)
    assert (await look(hf, run)).output == b'"refunded"'
    assert len(set(calls)) == 2, "what failed for certain is done under a new key"
