"""`dedupe=`: of calls that mean the same one is made, in whichever run; the others get its result, or are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Agent, Context, EffectInfo, NotDone, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.effects import EffectStatus
from holdfast.domain.errors import CallRefused, DefinitionError
from holdfast.domain.runs import RunStatus
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    effect,
    ended,
    ledger,
    outcome,
    output,
    question,
    resolve,
    retry,
    start,
    told,
    waiting,
    within,
)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEDUPE_POLL_MS", 10)


class Till:
    """What was paid out, and a workflow that pays."""

    def __init__(self, *behaviours: Any, **promises: Any) -> None:
        self.paid: list[Any] = []
        self._behaviours = list(behaviours)
        promises = {"effect": "keyed", "dedupe": "{order}"} | promises

        @tool(**promises)
        async def refund(ctx: ToolContext, order: str, amount: int = 1) -> Any:
            """Refund."""
            self.paid.append((order, amount))
            behaves = self._behaviours.pop(0) if self._behaviours else None
            if isinstance(behaves, BaseException):
                raise behaves
            if behaves is not None:
                await behaves()
            return {"receipt": len(self.paid)}

        self.tool = refund

        @workflow("w")
        async def w(ctx: Context, wanted: dict[str, Any]) -> Any:
            try:
                return await ctx.step("refund", refund, **wanted)
            except CallRefused as exc:
                return exc.code

        self.workflow = w


ONE, OTHER_AMOUNT = {"order": "o1"}, {"order": "o1", "amount": 2}


async def test_the_second_call_gets_the_result_of_the_first(desk: Desk) -> None:
    till = Till()
    hf = await desk.open(till.workflow)
    first = await outcome(hf, "w", ONE)
    second = await outcome(hf, "w", ONE)
    assert output(first) == output(second) == {"receipt": 1}
    assert till.paid == [("o1", 1)]
    done, repeated = await effect(hf, first), await effect(hf, second)
    assert (done.status, done.business_key, done.duplicate_of) == (EffectStatus.COMMITTED, "o1", None)
    assert (repeated.status, repeated.duplicate_of) == (EffectStatus.ABANDONED, done.id)


async def test_other_orders_are_other_things(desk: Desk) -> None:
    till = Till()
    hf = await desk.open(till.workflow)
    for order in ("o1", "o2", "o3"):
        await outcome(hf, "w", {"order": order})
    assert [order for order, _ in till.paid] == ["o1", "o2", "o3"]


async def test_the_same_thing_with_other_arguments_is_refused(desk: Desk) -> None:
    till = Till()
    hf = await desk.open(till.workflow)
    await outcome(hf, "w", ONE)
    assert output(await outcome(hf, "w", OTHER_AMOUNT)) == "duplicate_effect"
    assert till.paid == [("o1", 1)]


async def test_a_model_that_calls_twice_is_told_that_nothing_was_done_again(desk: Desk) -> None:
    till = Till()
    same = Call("refund", {"order": "o1"})
    model = ScriptedModel([same, same, "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[till.tool]))
    await outcome(hf, "a", "go")
    assert till.paid == [("o1", 1)]
    assert [t for t in told(model) if t[0] == "refund"] == [("refund", {"receipt": 1})] * 2
    assert "nothing was done again" in str(told(model))


async def test_two_calls_of_one_answer_are_one(desk: Desk) -> None:
    till = Till()
    model = ScriptedModel([[Call("refund", {"order": "o1"})] * 2, "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[till.tool]))
    await outcome(hf, "a", "go")
    assert till.paid == [("o1", 1)]
    assert [t for t in told(model) if t[0] == "refund"] == [("refund", {"receipt": 1})] * 2


async def test_a_call_waits_for_the_same_one_that_is_still_open(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    till = Till(slow)
    hf = await desk.open(till.workflow)
    first = await start(hf, "w", ONE)
    await within(begun.wait())
    second = await start(hf, "w", ONE)
    async with asyncio.timeout(20):
        while not await _planned(hf, second):
            await asyncio.sleep(0.01)
    go.set()
    assert output(await ended(hf, first)) == output(await ended(hf, second)) == {"receipt": 1}
    assert len(till.paid) == 1


async def _planned(hf: Any, view: Any) -> bool:
    return bool(await ledger(hf, view))


async def test_a_call_does_not_wait_for_ever(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEDUPE_WAIT_MS", 60)
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    till = Till(slow)
    hf = await desk.open(till.workflow)
    first = await start(hf, "w", ONE)
    await within(begun.wait())
    assert output(await outcome(hf, "w", ONE)) == "duplicate_effect"
    go.set()
    assert output(await ended(hf, first)) == {"receipt": 1}


async def test_ten_runs_at_once_do_one_thing(desk: Desk) -> None:
    till = Till()
    hf = await desk.open(till.workflow)
    views = await asyncio.gather(*(start(hf, "w", ONE) for _ in range(10)))
    assert [output(await ended(hf, view)) for view in views] == [{"receipt": 1}] * 10
    assert till.paid == [("o1", 1)]


async def test_a_failure_frees_the_key(desk: Desk) -> None:
    till = Till(NotDone("no"))
    hf = await desk.open(till.workflow)
    assert (await outcome(hf, "w", ONE)).run.status is RunStatus.FAILED
    assert output(await outcome(hf, "w", OTHER_AMOUNT)) == {"receipt": 2}


async def test_a_call_that_waits_for_one_that_fails_is_made_itself(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        begun.set()
        await go.wait()
        raise NotDone("no")

    till = Till(fails)
    hf = await desk.open(till.workflow)
    first = await start(hf, "w", ONE)
    await within(begun.wait())
    second = await start(hf, "w", ONE)
    async with asyncio.timeout(20):
        while not await _planned(hf, second):
            await asyncio.sleep(0.01)
    go.set()
    assert (await ended(hf, first)).run.status is RunStatus.FAILED
    assert output(await ended(hf, second)) == {"receipt": 2}


@pytest.mark.parametrize("how", ["reject", "cancel"])
async def test_a_refusal_or_a_cancel_frees_the_key(desk: Desk, how: str) -> None:
    till = Till(confirm={"amount": {"min": 2}})
    hf = await desk.open(till.workflow)
    view = await start(hf, "w", OTHER_AMOUNT)
    asked = await question(hf, view)
    if how == "reject":
        await resolve(hf, asked, "reject")
    else:
        await cancel(hf, view)
    await ended(hf, view)
    assert output(await outcome(hf, "w", ONE)) == {"receipt": 1}


async def test_an_edit_gives_up_one_key_and_claims_another(desk: Desk) -> None:
    till = Till(confirm={"amount": {"min": 2}})
    hf = await desk.open(till.workflow)
    view = await start(hf, "w", OTHER_AMOUNT)
    await resolve(hf, await question(hf, view), "approve", arguments={"order": "o2", "amount": 2})
    assert output(await ended(hf, view)) == {"receipt": 1}
    assert till.paid == [("o2", 2)]
    assert output(await outcome(hf, "w", ONE)) == {"receipt": 2}
    assert output(await outcome(hf, "w", {"order": "o2"})) == "duplicate_effect"


async def test_a_key_is_free_again_after_its_time(desk: Desk, clock: FakeClock) -> None:
    till = Till(dedupe_ttl=timedelta(hours=1))
    hf = await desk.open(till.workflow, determinism=clock.determinism)
    await outcome(hf, "w", ONE)
    clock.advance(timedelta(minutes=59))
    await outcome(hf, "w", ONE)
    assert len(till.paid) == 1
    clock.advance(timedelta(minutes=1))
    assert output(await outcome(hf, "w", ONE)) == {"receipt": 2}


async def test_a_key_without_a_time_is_held_for_ever(desk: Desk, clock: FakeClock) -> None:
    till = Till()
    hf = await desk.open(till.workflow, determinism=clock.determinism)
    await outcome(hf, "w", ONE)
    clock.advance(timedelta(days=3_000))
    assert output(await outcome(hf, "w", ONE)) == {"receipt": 1}
    assert len(till.paid) == 1


async def test_a_transaction_may_be_deduplicated_too(desk: Desk) -> None:
    till = Till(effect="transaction")
    hf = await desk.open(till.workflow)
    assert output(await outcome(hf, "w", ONE)) == output(await outcome(hf, "w", ONE)) == {"receipt": 1}
    assert len(till.paid) == 1


async def test_a_call_that_waits_for_leave_holds_its_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEDUPE_WAIT_MS", 50)
    till = Till(confirm={"amount": {"min": 2}})
    hf = await desk.open(till.workflow)
    held = await waiting(hf, await start(hf, "w", OTHER_AMOUNT))
    assert output(await outcome(hf, "w", ONE)) == "duplicate_effect"
    await resolve(hf, await question(hf, held), "approve")
    assert output(await ended(hf, held)) == {"receipt": 1}


@pytest.mark.parametrize(
    "promises",
    [
        {"effect": "keyed", "dedupe": "{nothing}"},
        {"effect": "keyed", "dedupe": "always"},
        {"effect": "keyed", "dedupe": "{order"},
        {"effect": "read", "dedupe": "{order}"},
        {"effect": "keyed", "dedupe_ttl": 5},
        {"effect": "keyed", "dedupe": "{maybe}"},
    ],
)
def test_a_template_that_cannot_work_is_refused_when_the_tool_is_declared(promises: Any) -> None:
    with pytest.raises(DefinitionError):

        @tool(**promises)
        async def refund(order: str, **maybe: int) -> None:
            """Refund."""


async def test_a_retried_call_whose_business_was_done_by_another_run_is_not_made_again(desk: Desk) -> None:
    paid: list[str] = []

    @tool(effect="keyed", dedupe="{order}")
    async def pay(ctx: ToolContext, order: str) -> str:
        """Pay."""
        paid.append(ctx.run_id)
        if len(paid) == 1:
            raise NotDone("the bank is closed")
        return "paid"

    @workflow("pays", tools=[pay])
    async def pays(ctx: Context) -> str:
        return await ctx.step("pay", pay, "o1")

    hf = await desk.open(pays)
    first = await ended(hf, await start(hf, "pays"))
    second = await ended(hf, await start(hf, "pays"))
    assert (first.run.status, second.run.status) == (RunStatus.FAILED, RunStatus.SUCCEEDED)
    again = await ended(hf, await retry(hf, first))
    assert again.run.status is RunStatus.SUCCEEDED
    assert len(paid) == 2, "once in vain, and once"


async def test_what_was_undone_stands_in_nobody_s_way(desk: Desk) -> None:
    till = Till()

    @till.tool.compensate
    async def take_back(ctx: ToolContext, effect: EffectInfo) -> None:
        till.paid.append("taken back")

    refund = till.tool

    @workflow("undone", tools=[refund], compensate="failure")
    async def undone(ctx: Context) -> None:
        await ctx.step("refund", refund, "o1")
        raise ValueError("no luck")

    @workflow("w", tools=[refund])
    async def w(ctx: Context) -> Any:
        return await ctx.step("refund", refund, "o1")

    hf = await desk.open(w, undone)
    assert (await outcome(hf, "undone")).run.status is RunStatus.FAILED
    assert output(await within(outcome(hf, "w"), 10)) == {"receipt": 3}
    assert till.paid == [("o1", 1), "taken back", ("o1", 1)]
