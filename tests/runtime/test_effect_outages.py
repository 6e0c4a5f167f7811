"""An effect under way while the answer to a commit is lost: nobody died, so nothing is made again, nobody is asked."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Context, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.effects import EffectStatus
from holdfast.service import approvals, effects
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.base import CommitPoint
from holdfast.store.effects import EffectFilter
from holdfast.testing.crash import CrashPoint, outcome_is_unknown
from tests.runtime.driving import Desk, ended, output, start, within


@pytest.mark.parametrize("when", ["before_commit", "after_commit"])
async def test_what_a_call_came_to_while_the_journal_was_read_back_is_recorded(desk: Desk, when: CommitPoint) -> None:
    begun, go_on, struck = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    calls: list[str] = []

    def lose_the_answer() -> None:
        loop.call_soon_threadsafe(struck.set)
        outcome_is_unknown()

    faults = CrashPoint(when=when, action=lose_the_answer)

    @tool(effect="unsafe")
    async def courier() -> str:
        """Send a courier."""
        calls.append("sent")
        begun.set()
        await go_on.wait()
        return "on the way"

    async def beside() -> str:
        await begun.wait()
        if faults.at is None:
            faults.arm(at=1)  # its own step's commit
        return "done"

    @workflow("both", tools=[courier])
    async def both(ctx: Context) -> list[str]:
        return list(await ctx.gather(ctx.step("courier", courier), ctx.step("beside", beside)))

    hf = await desk.open(both, faults=faults, deaf=True)
    run = await start(hf, "both")
    await within(struck.wait())
    go_on.set()
    run = await ended(hf, run)
    assert output(run) == ["on the way", "done"]
    assert calls == ["sent"]
    assert await approvals.page(hf.house, LOCAL_PRINCIPAL, ApprovalFilter()) == []
    (effect,) = await effects.page(hf.house, LOCAL_PRINCIPAL, EffectFilter())
    assert effect.effect.status is EffectStatus.COMMITTED
    assert effect.effect.attempt == 1
