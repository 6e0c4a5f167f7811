"""The inbox under many hands: a quorum is counted one by one, and pages hold where everything has one time."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from holdfast import Confirm, Context, Holdfast, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import Approval, ApprovalStatus
from holdfast.domain.errors import Conflict
from holdfast.service import approvals, claiming
from holdfast.store.approvals import ApprovalFilter
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import Desk, ended, output, person, question, resolve, start, waiting

done: list[int] = []


@tool(effect="keyed", confirm=Confirm(quorum=3, expires=timedelta(hours=1)))
async def pay(n: int) -> str:
    """Pay."""
    done.append(n)
    return "paid"


@workflow("pays", tools=[pay])
async def pays(ctx: Context) -> str:
    return await ctx.step("pay", pay, 1)


@workflow("asks")
async def asks(ctx: Context) -> None:
    await ctx.ask("What?")


@pytest.fixture(autouse=True)
def fresh() -> None:
    done.clear()


async def test_a_quorum_of_three_is_three_however_many_approve_at_once(desk: Desk) -> None:
    one, other = await desk.open(pays), await desk.open(pays)
    run = await start(one, "pays")
    asked = await question(one, run)

    async def approve(hf: Holdfast, name: str) -> Approval | str:
        try:
            return await resolve(hf, asked, "approve", by=person(name))
        except Conflict as exc:
            return exc.code

    said = await asyncio.gather(*(approve((one, other)[n % 2], f"p{n}") for n in range(12)))
    assert Counter(s for s in said if isinstance(s, str)) == {"already_resolved": 9}
    assert output(await ended(one, run)) == "paid"
    view = await approvals.get(one.house, LOCAL_PRINCIPAL, asked.id)
    assert len({d.principal_id for d in view.approval.decisions}) == len(view.approval.decisions) == 3
    assert (view.approval.status, view.approval.version, done) == (ApprovalStatus.APPROVED, 4, [1])


async def test_pages_neither_lose_nor_repeat_questions_of_one_moment(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(asks, determinism=clock.determinism)
    asked = [await question(hf, await start(hf, "asks")) for _ in range(7)]
    assert len({one.created_at for one in asked}) == 1
    seen: list[bytes] = []
    after: tuple[int, bytes] | None = None
    while page := await approvals.page(hf.house, LOCAL_PRINCIPAL, ApprovalFilter(after=after, limit=2)):
        seen += [view.approval.id for view in page]
        after = page[-1].approval.created_at, page[-1].approval.id
    assert seen == sorted(one.id for one in asked)


async def test_of_an_answer_and_the_expiry_one_counts(desk: Desk, clock: FakeClock) -> None:
    """Whoever is first; the database's clock says whether there is time left."""
    hf = await desk.open(pays, determinism=clock.determinism)
    run = await waiting(hf, await start(hf, "pays"))
    asked = await question(hf, run)
    clock.advance(timedelta(hours=1))
    with pytest.raises(Conflict) as late:
        await resolve(hf, asked, "approve")
    assert late.value.code == "expired"
    await asyncio.gather(*(approvals.expire_due(hf.house) for _ in range(4)), claiming.end_overdue(hf.house))
    assert (await ended(hf, run)).run.error is not None
    view = await approvals.get(hf.house, LOCAL_PRINCIPAL, asked.id)
    assert (view.approval.status, view.approval.version, done) == (ApprovalStatus.EXPIRED, 2, [])
