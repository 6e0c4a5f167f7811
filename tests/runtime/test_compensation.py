"""What a run did is undone before it ends, if it fails or is cancelled and says so: the last first, each once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Context, EffectInfo, Holdfast, NotDone, ToolContext, tool, workflow
from holdfast.agents.workflow import Workflow
from holdfast.domain import limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import ApprovalStatus, ApprovalType
from holdfast.domain.effects import EffectStatus
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Conflict
from holdfast.domain.journal import EntryType
from holdfast.domain.runs import RunStatus
from holdfast.service import approvals, effects, retrying, runs
from holdfast.service.approvals import Resolution
from holdfast.store import effects as effect_store
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.effects import EffectFilter
from tests.runtime.driving import Desk, crash, ended, entries, error, look, outcome, start, until, waiting, within


class World:
    """What was done and undone, in order, with the keys it was asked with."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.refuse = 0
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()


world = World()


@pytest.fixture(autouse=True)
async def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    world.__init__()
    monkeypatch.setattr(limits, "RETRY_BACKOFF_MS", 1)
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)


@tool(effect="keyed", version="1")
async def book(ctx: ToolContext, what: str) -> str:
    """Book something."""
    world.log.append(f"book {what}")
    return f"booking of {what}"


@book.compensate(tries=3)
async def cancel_booking(ctx: ToolContext, effect: EffectInfo) -> str:
    world.keys.append(ctx.idempotency_key)
    world.entered.set()
    await world.go_on.wait()
    if world.refuse > 0:
        world.refuse -= 1
        raise ConnectionError("the hotel does not answer")
    world.log.append(f"undo {effect.arguments['what']}: {effect.result}")
    return "gone"


@tool(effect="keyed")
async def mail(text: str) -> None:
    """Nothing takes a mail back."""
    world.log.append(f"mail {text}")


@workflow("trip", tools=[book, mail], compensate=("failure", "cancel"))
async def trip(ctx: Context, how: str) -> str:
    await ctx.step("flight", book, "flight")
    await ctx.step("note", mail, "hello")
    await ctx.step("hotel", book, "hotel")
    if how == "fail":
        raise ValueError("no luck")
    if how == "ask":
        await ctx.ask("Go on?")
    return "done"


@workflow("plain", tools=[book])
async def plain(ctx: Context, how: str) -> str:
    await ctx.step("flight", book, "flight")
    if how == "fail":
        raise ValueError("no luck")
    await ctx.ask("Go on?")
    return "done"


@workflow("family", tools=[book], agents=[plain], compensate=("failure",))
async def family(ctx: Context, how: str) -> None:
    await ctx.step("flight", book, "own")
    await ctx.call(quick, None)
    raise ValueError("no luck")


@workflow("quick", tools=[book])
async def quick(ctx: Context) -> str:
    return await ctx.step("flight", book, "child's")


async def opened(desk: Desk) -> Holdfast:
    return await desk.open(trip, plain, family, quick)


async def statuses(hf: Holdfast) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for view in await effects.page(hf.house, LOCAL_PRINCIPAL, EffectFilter()):
        found.setdefault(view.effect.tool, []).append(view.effect.status.value)
    return found


async def inbox(hf: Holdfast) -> list[Any]:
    wanted = ApprovalFilter(status=(ApprovalStatus.PENDING,))
    return [view.approval for view in await approvals.page(hf.house, LOCAL_PRINCIPAL, wanted)]


DONE = ["book flight", "mail hello", "book hotel"]
UNDONE = ["undo hotel: booking of hotel", "undo flight: booking of flight"]


async def test_what_a_failed_run_did_is_undone_the_last_first_before_it_ends(desk: Desk) -> None:
    hf = await opened(desk)
    run = await ended(hf, await start(hf, "trip", "fail"))
    assert run.run.status is RunStatus.FAILED
    assert decode(run.run.error)["message"] == "no luck"
    assert world.log == DONE + UNDONE
    assert await statuses(hf) == {
        "book": ["compensated", "compensated"],
        "mail": ["committed"],
        "book.compensate": ["committed", "committed"],
    }
    types = [entry.type for entry in await entries(hf, run)]
    assert types.index(EntryType.RUN_COMPENSATING) < types.index(EntryType.RUN_FAILED)
    assert types[-1] is EntryType.RUN_FAILED


async def test_a_run_that_does_not_say_so_is_not_undone(desk: Desk) -> None:
    hf = await opened(desk)
    run = await ended(hf, await start(hf, "plain", "fail"))
    assert run.run.status is RunStatus.FAILED
    assert world.log == ["book flight"]


async def test_a_waiting_run_that_is_cancelled_undoes_what_it_did(desk: Desk) -> None:
    hf = await opened(desk)
    run = await waiting(hf, await start(hf, "trip", "ask"))
    await runs.cancel(hf.house, LOCAL_PRINCIPAL, run.run.id, "enough")
    run = await ended(hf, run)
    assert run.run.status is RunStatus.CANCELLED
    assert run.run.cancel_reason == "enough"
    assert world.log == DONE + UNDONE
    assert await inbox(hf) == []


async def test_who_cancels_may_ask_for_it(desk: Desk) -> None:
    hf = await opened(desk)
    one = await waiting(hf, await start(hf, "plain", "ask"))
    await runs.cancel(hf.house, LOCAL_PRINCIPAL, one.run.id)
    assert (await ended(hf, one)).run.status is RunStatus.CANCELLED
    assert world.log == ["book flight"]
    other = await waiting(hf, await start(hf, "plain", "ask"))
    await runs.cancel(hf.house, LOCAL_PRINCIPAL, other.run.id, compensate=True)
    assert (await ended(hf, other)).run.status is RunStatus.CANCELLED
    assert world.log == ["book flight", "book flight", "undo flight: booking of flight"]


async def test_a_compensator_is_tried_with_one_key(desk: Desk) -> None:
    hf = await opened(desk)
    world.refuse = 2
    await ended(hf, await start(hf, "trip", "fail"))
    assert world.log == DONE + UNDONE
    assert len(world.keys) == 4
    assert len(set(world.keys)) == 2
    assert len(set(world.keys[:3])) == 1


async def test_when_its_tries_are_used_up_a_person_is_asked_and_the_run_waits(desk: Desk) -> None:
    hf = await opened(desk)
    world.refuse = 3
    run = await waiting(hf, await start(hf, "trip", "fail"))
    (asked,) = await inbox(hf)
    assert asked.type is ApprovalType.EFFECT
    assert (await statuses(hf))["book"] == ["compensation_failed", "committed"]
    said = Resolution(decision="answer", answer={"outcome": "committed"}, note="I called them")
    await approvals.resolve(hf.house, LOCAL_PRINCIPAL, asked.id, said)
    run = await ended(hf, run)
    assert run.run.status is RunStatus.FAILED
    assert world.log == [*DONE, UNDONE[1]]
    assert (await statuses(hf))["book"] == ["compensated", "compensated"]


async def test_a_person_may_have_it_tried_again_under_a_new_key(desk: Desk) -> None:
    hf = await opened(desk)
    world.refuse = 3
    run = await waiting(hf, await start(hf, "trip", "fail"))
    (asked,) = await inbox(hf)
    said = Resolution(decision="answer", answer={"outcome": "not_done"})
    await approvals.resolve(hf.house, LOCAL_PRINCIPAL, asked.id, said)
    await ended(hf, run)
    assert world.log == DONE + UNDONE
    assert len(set(world.keys[:4])) == 2, "the fourth try has another key"


async def test_what_a_child_did_is_undone_by_its_parent(desk: Desk) -> None:
    hf = await opened(desk)
    await ended(hf, await start(hf, "family", "fail"))
    assert world.log == ["book own", "book child's", "undo child's: booking of child's", "undo own: booking of own"]


async def test_a_cancel_does_not_stop_the_undoing(desk: Desk) -> None:
    hf = await opened(desk)
    world.go_on.clear()
    run = await start(hf, "trip", "fail")
    await asyncio.wait_for(world.entered.wait(), 10)
    await runs.cancel(hf.house, LOCAL_PRINCIPAL, run.run.id, compensate=True)
    world.go_on.set()
    run = await ended(hf, run)
    assert run.run.status is RunStatus.FAILED
    assert world.log == DONE + UNDONE


async def test_a_process_that_stops_in_between_leaves_the_rest_to_the_next(desk: Desk, database_url: str) -> None:
    hf = desk.make(trip, drain_ms=1)
    world.go_on.clear()
    async with hf.running():
        run = await start(hf, "trip", "fail")
        await asyncio.wait_for(world.entered.wait(), 10)
    world.go_on.set()
    other = await desk.open(trip)
    run = await until(other, run, lambda v: v.run.status.ended, "ended")
    assert run.run.status is RunStatus.FAILED
    assert world.log == DONE + UNDONE
    assert len(set(world.keys)) == 2, "the try that was cut off had the key of the next"


async def test_a_run_that_was_undone_is_not_retried(desk: Desk) -> None:
    hf = await opened(desk)
    run = await ended(hf, await start(hf, "trip", "fail"))
    with pytest.raises(Conflict) as refused:
        await retrying.retry(hf.house, LOCAL_PRINCIPAL, run.run.id)
    assert refused.value.code == "moved_on"


async def test_a_compensator_that_says_it_could_not_is_tried_again_all_the_same(desk: Desk) -> None:
    @tool(effect="keyed")
    async def pay() -> str:
        """Pay."""
        return "paid"

    tries: list[int] = []

    @pay.compensate(tries=2)
    async def pay_back(ctx: ToolContext, effect: EffectInfo) -> None:
        tries.append(ctx.attempt)
        raise NotDone("no money")

    @workflow("pays", tools=[pay], compensate="failure")
    async def pays(ctx: Context) -> None:
        await ctx.step("pay", pay)
        raise ValueError("no luck")

    hf = await desk.open(pays)
    run = await waiting(hf, await start(hf, "pays"))
    assert len(tries) == 2
    (asked,) = await inbox(hf)
    assert asked.reason is not None
    assert "no money" in asked.reason
    assert (await look(hf, run)).run.status is RunStatus.WAITING
    assert EffectStatus.COMPENSATION_FAILED in (await statuses(hf))["pay"]


# -- runs that are given up -------------------------------------------------------------------------------------------


class Deadly:
    """A tool that takes its process with it, as often as it is called; and what a workflow did before it."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = asyncio.Event()

        @tool(effect="keyed")
        async def die() -> None:
            """Die."""
            self.calls += 1
            self.called.set()
            await asyncio.Event().wait()

        @workflow("deadly", tools=[book, die], compensate="failure")
        async def deadly(ctx: Context) -> None:
            await ctx.step("flight", book, "flight")
            await ctx.step("die", die)

        self.workflow = deadly

    async def kill(self, hf: Holdfast, run: Any) -> None:
        await within(self.called.wait())
        self.called.clear()
        await crash(hf, run)


async def test_a_run_that_is_given_up_undoes_what_it_did(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is begun once more after each crash is no progress, or such a run would crash for ever."""
    monkeypatch.setattr(limits, "LAPSE_BACKOFF_MS", 1)
    deadly = Deadly()
    hf = await desk.open(deadly.workflow)
    run = await start(hf, "deadly")
    for _ in range(limits.LAPSES_POISONED):
        await deadly.kill(hf, run)
    run = await within(ended(hf, run), 10)
    assert error(run)["code"] == "poisoned"
    assert deadly.calls == limits.LAPSES_POISONED
    assert world.log == ["book flight", "undo flight: booking of flight"]
    assert (await statuses(hf))["die"] == ["unknown"], "nobody knows about the call itself"


async def test_a_run_whose_undoing_kills_its_workers_is_given_up_for_good(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LAPSE_BACKOFF_MS", 1)
    world.go_on.clear()
    hf = await opened(desk)
    run = await start(hf, "plain", "ask")
    run = await waiting(hf, run)
    await runs.cancel(hf.house, LOCAL_PRINCIPAL, run.run.id, compensate=True)
    for _ in range(limits.LAPSES_POISONED):
        await within(world.entered.wait())
        world.entered.clear()
        await crash(hf, run)
    run = await within(ended(hf, run), 10)
    assert error(run)["code"] == "poisoned"
    assert len(world.keys) == limits.LAPSES_POISONED
    assert len(set(world.keys)) == 1
    assert (await statuses(hf))["book.compensate"] == ["unknown"], "people see that nobody knows"


@pytest.mark.impure  # the code changes between claims
async def test_a_run_that_a_new_definition_ends_undoes_what_it_did(desk: Desk) -> None:
    async def first(ctx: Context) -> None:
        await ctx.step("flight", book, "flight")
        await ctx.ask("Go on?")

    async def second(ctx: Context) -> None:
        await ctx.step("other", book, "other")

    def made(fn: Any) -> Workflow[Any, Any]:
        return Workflow("w", fn, tools=[book], compensate=("failure",), on_version_change="fail")

    hf = desk.make(made(first))
    async with hf.running():
        run = await waiting(hf, await start(hf, "w"))
    other = await desk.open(made(second))
    (asked,) = await inbox(other)
    await approvals.resolve(other.house, LOCAL_PRINCIPAL, asked.id, Resolution(decision="answer", answer="yes"))
    run = await ended(other, run)
    assert error(run)["code"] == "version_changed"
    assert world.log == ["book flight", "undo flight: booking of flight"]


# -- finding it -------------------------------------------------------------------------------------------------------


async def test_a_tool_that_says_how_it_is_undone_has_to_be_listed(desk: Desk) -> None:
    """Whoever undoes finds the tool in the workflow's list, when its code does not run any more."""

    @workflow("w", compensate="failure")
    async def w(ctx: Context) -> None:
        await ctx.step("flight", book, "flight")

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert failure["code"] == "invalid_definition"
    assert "tools=[book]" in failure["message"]
    assert world.log == []


async def test_another_tool_of_the_same_name_is_not_the_listed_one(desk: Desk) -> None:
    @tool(name="book", effect="keyed")
    async def other(what: str) -> str:
        """Book something else."""
        return what

    @workflow("w", tools=[other], compensate="failure")
    async def w(ctx: Context) -> None:
        await ctx.step("flight", book, "flight")

    hf = await desk.open(w)
    assert error(await outcome(hf, "w"))["code"] == "invalid_definition"
    assert world.log == []


async def test_a_reconcilable_tool_that_nobody_looked_at_needs_its_reconciler_all_the_same(desk: Desk) -> None:
    @tool(effect="reconcilable")
    async def send(what: str) -> str:
        """Send."""
        world.log.append(what)
        return what

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("send", send, "x")

    hf = await desk.open(w)
    failure = error(await outcome(hf, "w"))
    assert failure["code"] == "invalid_definition"
    assert "reconcile" in failure["message"]
    assert world.log == []


async def test_what_is_to_be_undone_is_read_at_once_however_much_it_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    @workflow("much", tools=[book], compensate="failure")
    async def much(ctx: Context) -> None:
        for n in range(20):
            await ctx.step("book", book, str(n))
        raise ValueError("no luck")

    async def one_by_one(*_: Any) -> None:
        raise AssertionError("a statement for each effect")

    monkeypatch.setattr(effect_store, "get", one_by_one)
    hf = await desk.open(much)
    await ended(hf, await start(hf, "much"))
    assert world.log[20:] == [f"undo {n}: booking of {n}" for n in reversed(range(20))]
