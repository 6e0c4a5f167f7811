"""An effect that was under way when its process died, its run was cancelled, or its run failed: what is done about it,
by its class, and that nothing is done twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from holdfast import Agent, Confirm, Context, Deny, NotDone, RunLimits, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.approvals import ApprovalStatus, ApprovalType
from holdfast.domain.effects import Done, EffectInfo, EffectStatus, Unknown
from holdfast.domain.errors import Conflict
from holdfast.domain.journal import EntryType
from holdfast.domain.runs import OnBusy, RunStatus
from holdfast.store import claims
from holdfast.testing import Call, ScriptedModel, last_user_text
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    crash,
    effect,
    ended,
    entries,
    error,
    ledger,
    look,
    messages,
    outcome,
    output,
    question,
    questions,
    resolve,
    retry,
    settle,
    start,
    told,
    types,
    waiting,
    within,
)


class Dying:
    """A tool whose first call acts and then hangs until its process is gone; the others act and return."""

    def __init__(self, **promises: Any) -> None:
        self.keys: list[str] = []
        self.begun = asyncio.Event()

        @tool(**promises)
        async def act(ctx: ToolContext, what: str) -> str:
            """Act."""
            self.keys.append(ctx.idempotency_key)
            if len(self.keys) == 1:
                self.begun.set()
                await asyncio.Event().wait()
            return f"did {what}"

        self.tool = act

    def reconciled(self, answer: Callable[[EffectInfo], Any]) -> Dying:
        @self.tool.reconcile
        async def reconcile(ctx: ToolContext, info: EffectInfo) -> Any:
            return answer(info)

        return self

    def agent(self, **options: Any) -> tuple[Agent, ScriptedModel]:
        model = ScriptedModel([Call("act", {"what": "x"}), "done"], per="thread")
        return Agent("a", model=model, tools=[self.tool], **options), model


async def crashed(desk: Desk, dying: Dying, **options: Any) -> tuple[Any, Any, ScriptedModel]:
    """A run whose process died after the tool had acted."""
    a, model = dying.agent(**options)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    await crash(hf, view)
    return hf, view, model


async def test_a_keyed_call_is_made_again_at_once_with_the_same_key(desk: Desk) -> None:
    dying = Dying(effect="keyed")
    hf, view, model = await crashed(desk, dying)
    view = await within(ended(hf, view), 10)
    one = await effect(hf, view)
    assert dying.keys == [one.idempotency_key] * 2
    assert (one.status, one.attempt, one.rotation) == (EffectStatus.COMMITTED, 2, 0)
    assert told(model) == [("act", "did x")]
    found = [e.type for e in await entries(hf, view)]
    assert found.count(EntryType.TOOL_STARTED) == 1
    assert EntryType.RUN_RECOVERED in found


async def test_a_key_that_the_provider_has_forgotten_is_not_used_again(desk: Desk) -> None:
    dying = Dying(effect="keyed", key_ttl=0.001)
    hf, view, _ = await crashed(desk, dying)
    asked = await question(hf, view)
    assert "expired" in (asked.reason or "")
    assert len(dying.keys) == 1
    await settle(hf, await effect(hf, view), "not_done")
    assert output(await ended(hf, view)) == "done"
    assert len(set(dying.keys)) == 2


async def test_a_keyed_tool_with_a_reconciler_asks_it_about_a_forgotten_key(desk: Desk) -> None:
    dying = Dying(effect="keyed", key_ttl=0.001, timeout=0.2).reconciled(lambda _: Done("there"))
    hf, view, model = await crashed(desk, dying)
    await ended(hf, view)
    assert len(dying.keys) == 1
    assert told(model) == [("act", "there")]


async def test_a_reconcilable_call_is_asked_about_after_its_deadline(desk: Desk) -> None:
    when: list[int] = []
    hf: Any = None

    def answer(info: EffectInfo) -> Done:
        when.append(hf.house.database.about_now())
        return Done("y")

    dying = Dying(effect="reconcilable", timeout=0.5).reconciled(answer)
    a, model = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    deadline = (await effect(hf, view)).deadline or 0
    await crash(hf, view)
    await ended(hf, view)
    assert len(dying.keys) == 1
    assert told(model) == [("act", "y")]
    assert when[0] >= deadline, "a zombie's call cannot be fenced, only outlasted"


async def test_a_reconcilable_call_that_was_not_done_is_done_once(desk: Desk) -> None:
    dying = Dying(effect="reconcilable", timeout=0.3).reconciled(lambda _: NotDone())
    hf, view, model = await crashed(desk, dying)
    view = await ended(hf, view)
    assert len(set(dying.keys)) == 2
    assert (await effect(hf, view)).rotation == 1
    assert told(model) == [("act", "did x")]


async def test_a_person_is_asked_about_a_reconcilable_call_that_nobody_knows_of(desk: Desk) -> None:
    dying = Dying(effect="reconcilable", timeout=0.3).reconciled(lambda _: Unknown("no trace"))
    hf, view, _ = await crashed(desk, dying)
    asked = await question(hf, view)
    assert asked.reason == "no trace"
    assert len(dying.keys) == 1


async def test_a_person_is_asked_about_an_unsafe_call(desk: Desk) -> None:
    dying = Dying(effect="unsafe")
    hf, view, model = await crashed(desk, dying)
    asked = await question(hf, view)
    assert asked.type is ApprovalType.EFFECT
    assert "died" in (asked.reason or "")
    assert (await effect(hf, view)).status is EffectStatus.UNKNOWN
    await resolve(hf, asked, "answer", answer={"outcome": "committed", "result": "seen"})
    assert output(await ended(hf, view)) == "done"
    assert len(dying.keys) == 1
    assert told(model) == [("act", "seen")]


async def test_an_unsafe_call_that_is_assumed_done_is_not_repeated(desk: Desk) -> None:
    dying = Dying(effect="unsafe", on_unknown="assume_done")
    hf, view, model = await crashed(desk, dying)
    assert output(await ended(hf, view)) == "done"
    assert len(dying.keys) == 1
    assert "assumed" in str(told(model))


async def test_an_unsafe_call_that_may_be_retried_is_repeated_after_its_deadline(desk: Desk) -> None:
    dying = Dying(effect="unsafe", on_unknown="retry", timeout=0.3)
    hf, view, _ = await crashed(desk, dying)
    assert output(await ended(hf, view)) == "done"
    assert len(dying.keys) == 2


async def test_an_unsafe_call_that_counts_as_failed_is_told(desk: Desk) -> None:
    dying = Dying(effect="unsafe", on_unknown="fail")
    hf, view, model = await crashed(desk, dying)
    view = await ended(hf, view)
    assert len(dying.keys) == 1
    assert "Nobody knows" in str(told(model))
    assert (await effect(hf, view)).status is EffectStatus.FAILED


async def test_a_crash_in_the_middle_of_a_transaction_leaves_nothing_of_it(desk: Desk) -> None:
    begun, calls = asyncio.Event(), []

    @tool(effect="transaction")
    async def put(ctx: ToolContext) -> str:
        """Put."""
        calls.append(ctx.idempotency_key)
        await ctx.tx.execute("INSERT INTO test_put VALUES (:n)", {"n": len(calls)})
        if len(calls) == 1:
            begun.set()
            await asyncio.Event().wait()
        return "put"

    model = ScriptedModel([Call("put"), "done"])
    hf = await desk.open(Agent("a", model=model, tools=[put]))

    async def table(tx: Any) -> None:
        await tx.execute(text("DROP TABLE IF EXISTS test_put"))
        await tx.execute(text("CREATE TABLE test_put (n INTEGER)"))

    await hf.house.database.write(None, table)
    view = await start(hf, "a", "go")
    await within(begun.wait())
    assert (await effect(hf, view)).status is EffectStatus.PLANNED
    await crash(hf, view)
    view = await ended(hf, view)
    rows = await hf.house.database.read(None, lambda tx: tx.all(text("SELECT n FROM test_put")))
    assert [tuple(row) for row in rows] == [(2,)]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED


async def test_a_call_that_another_version_of_the_tool_began_is_unknown(desk: Desk) -> None:
    dying, newer = Dying(effect="keyed", version="1"), Dying(effect="keyed", version="2")
    newer.keys.append("not the first")
    a, _ = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    # A deploy: the process that takes the run up has the tool in another version.
    hf.house.agents["a"] = newer.agent()[0]
    await crash(hf, view)
    asked = await question(hf, view)
    assert "version 1" in (asked.reason or "")
    assert len(dying.keys) == 1
    await settle(hf, await effect(hf, view), "committed", "ok")
    assert output(await ended(hf, view)) == "done"
    assert newer.keys == ["not the first"]


async def test_leave_that_a_call_used_before_the_crash_is_not_asked_for_again(desk: Desk) -> None:
    dying = Dying(effect="keyed", confirm=True)
    a, _ = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "approve")
    await within(dying.begun.wait())
    await crash(hf, view)
    view = await ended(hf, view)
    assert output(view) == "done"
    assert len(dying.keys) == 2
    assert len(set(dying.keys)) == 1
    assert len(await questions(hf, view, *ApprovalStatus)) == 1


async def test_what_a_person_says_before_a_crash_is_not_asked_again_after_it(desk: Desk) -> None:
    """A double fault: the call dies, a person says it was not done, and the second call dies too."""
    begun = [asyncio.Event(), asyncio.Event()]
    keys: list[str] = []

    @tool(effect="unsafe")
    async def act(ctx: ToolContext) -> str:
        """Act."""
        keys.append(ctx.idempotency_key)
        if len(keys) <= 2:
            begun[len(keys) - 1].set()
            await asyncio.Event().wait()
        return "did"

    hf = await desk.open(Agent("a", model=ScriptedModel([Call("act"), "done"]), tools=[act]))
    view = await start(hf, "a", "go")
    await within(begun[0].wait())
    await crash(hf, view)
    first = await question(hf, view)
    await resolve(hf, first, "answer", answer={"outcome": "not_done"})
    await within(begun[1].wait())
    await crash(hf, view)
    second = await question(hf, view)
    assert (first.key[-1], second.key[-1]) == ("1", "2")
    await resolve(hf, second, "answer", answer={"outcome": "not_done"})
    view = await ended(hf, view)
    assert output(view) == "done"
    assert len(set(keys)) == 3
    assert (await effect(hf, view)).rotation == 2


async def test_a_workflow_s_call_is_recovered_like_an_agent_s(desk: Desk) -> None:
    dying = Dying(effect="unsafe")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("act", dying.tool, "x")

    hf = await desk.open(w)
    view = await start(hf, "w")
    await within(dying.begun.wait())
    await crash(hf, view)
    await question(hf, view)
    await settle(hf, await effect(hf, view), "committed", "seen")
    assert output(await ended(hf, view)) == "seen"
    assert len(dying.keys) == 1


# -- cancel -----------------------------------------------------------------------------------------------------------


async def test_an_effect_in_flight_gets_its_grace_and_the_planned_ones_are_given_up(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @tool(effect="unsafe", sequential=True)
    async def slow(ctx: ToolContext) -> str:
        """Slow."""
        begun.set()
        await go.wait()
        return "slow"

    @tool(effect="unsafe", sequential=True)
    async def second(ctx: ToolContext) -> str:
        """Second."""
        ran.append("second")
        return "second"

    model = ScriptedModel([[Call("slow"), Call("second")], "never"])
    hf = await desk.open(Agent("a", model=model, tools=[slow, second]))
    view = await start(hf, "a", "go")
    await within(begun.wait())
    await cancel(hf, view)
    go.set()
    view = await ended(hf, view)
    assert view.run.status is RunStatus.CANCELLED
    assert {e.tool: e.status.value for e in await ledger(hf, view)} == {"slow": "committed", "second": "abandoned"}
    assert ran == []


async def test_an_effect_that_outlasts_its_grace_is_unknown_and_can_be_told_about_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CANCEL_GRACE_MS", 50)
    dying = Dying(effect="unsafe")
    a, _ = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    await cancel(hf, view)
    view = await ended(hf, view)
    assert view.run.status is RunStatus.CANCELLED
    one = await effect(hf, view)
    assert one.status is EffectStatus.UNKNOWN
    assert await questions(hf, view) == [], "the run has ended: nobody waits for an answer"
    before = await types(hf, view)
    settled = await settle(hf, one, "not_done", note="never arrived")
    assert settled.status is EffectStatus.FAILED
    assert await types(hf, view) == before, "it resumes nothing"
    assert (await look(hf, view)).run.status is RunStatus.CANCELLED
    with pytest.raises(Conflict) as caught:
        await settle(hf, one, "committed")
    assert caught.value.code == "already_resolved"


async def test_a_run_that_is_asked_to_stop_while_its_effect_is_unknown_keeps_it_unknown(desk: Desk) -> None:
    dying = Dying(effect="unsafe")
    hf, view, _ = await crashed(desk, dying)
    asked = await question(hf, view)
    await cancel(hf, view)
    assert (await look(hf, view)).run.status is RunStatus.CANCELLED
    assert (await effect(hf, view)).status is EffectStatus.UNKNOWN
    (closed,) = await questions(hf, view, *ApprovalStatus)
    assert closed.status is ApprovalStatus.CANCELLED
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked, "answer", answer={"outcome": "committed"})
    assert caught.value.code == "run_ended"
    assert (await settle(hf, await effect(hf, view), "committed")).status is EffectStatus.COMMITTED


async def test_a_run_that_was_asked_to_stop_starts_no_effect_after_a_crash(desk: Desk) -> None:
    dying = Dying(effect="keyed")
    a, _ = dying.agent()
    hf = await desk.open(a, deaf=True)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    executor = hf.supervisor.worker.executors[view.run.id]
    executor.lose()
    other = await desk.open(a, deaf=True)
    await cancel(other, view)
    view = await _taken_back(hf, view)
    assert view.run.status is RunStatus.CANCELLED
    assert len(dying.keys) == 1
    assert (await effect(hf, view)).status is EffectStatus.UNKNOWN


async def _taken_back(hf: Any, view: Any) -> Any:
    now = await look(hf, view)
    await hf.house.database.write(
        None,
        lambda tx: claims.requeue_orphan(tx, now.run.tenant_id, now.run.thread_id, now.run.id, now.epoch, dead=True),
    )
    return await look(hf, view)


@pytest.mark.parametrize(
    ("effect_class", "acts", "applied"),
    [("unsafe", True, OnBusy.INTERRUPT), ("unsafe", False, OnBusy.ROLLBACK), ("read", True, OnBusy.ROLLBACK)],
)
async def test_a_rollback_hides_a_run_unless_it_changed_something(
    desk: Desk, effect_class: Any, acts: bool, applied: OnBusy
) -> None:
    done, forever = asyncio.Event(), asyncio.Event()

    @tool(effect=effect_class)
    async def act(ctx: ToolContext) -> str:
        """Act."""
        if not acts:
            raise NotDone("no")
        return "did"

    async def reply(history: Any, info: Any) -> Any:
        if last_user_text(history) == "second":
            return "answer"
        if info.position == 0:
            return Call("act")
        done.set()
        await forever.wait()

    hf = await desk.open(Agent("a", model=ScriptedModel(reply), tools=[act]))
    first = await start(hf, "a", "first", thread="t")
    await within(done.wait())
    second = await ended(hf, await start(hf, "a", "second", thread="t", on_busy=OnBusy.ROLLBACK))
    assert second.run.on_busy_applied is applied
    voids = {m.void for m in await messages(hf, first.run.thread_id) if m.run_id == first.run.id}
    assert voids == {applied is OnBusy.ROLLBACK}


# -- retry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect_class", ["keyed", "unsafe", "transaction"])
async def test_the_retry_of_a_failed_call_uses_a_new_key(desk: Desk, effect_class: Any) -> None:
    keys: list[str] = []

    @tool(effect=effect_class)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            raise NotDone("not today")
        return "did"

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("act", act, "x")

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert error(view)["message"] == "not today"
    failed = await effect(hf, view)
    assert failed.status is EffectStatus.FAILED
    view = await retry(hf, view)
    assert output(view) == "did"
    one = await effect(hf, view)
    assert len(set(keys)) == 2
    assert (one.status, one.rotation, one.idempotency_key, one.id) == (
        EffectStatus.COMMITTED,
        1,
        keys[1],
        failed.id,
    )


async def test_a_retry_does_not_repeat_what_was_done(desk: Desk) -> None:
    keys: list[str] = []
    broken = [True]

    @tool(effect="unsafe")
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        keys.append(ctx.idempotency_key)
        return "did"

    async def fragile() -> str:
        if broken:
            raise ValueError("broken")
        return "mended"

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return [await ctx.step("act", act, "x"), await ctx.step("fragile", fragile)]

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert view.run.status is RunStatus.FAILED
    broken.clear()
    assert output(await retry(hf, view)) == ["did", "mended"]
    assert len(keys) == 1


async def test_a_heartbeat_moves_the_moment_at_which_others_may_act(desk: Desk, clock: FakeClock) -> None:
    beaten, asked = asyncio.Event(), asyncio.Event()

    @tool(effect="reconcilable", timeout=60)
    async def act(ctx: ToolContext) -> str:
        """Act."""
        clock.advance(timedelta(seconds=50))
        await ctx.heartbeat()
        beaten.set()
        await asyncio.Event().wait()
        return "never"

    @act.reconcile
    async def reconcile(ctx: ToolContext, info: EffectInfo) -> Done:
        asked.set()
        return Done("ok")

    model = ScriptedModel([Call("act"), "done"])
    hf = await desk.open(Agent("a", model=model, tools=[act]), determinism=clock.determinism)
    view = await start(hf, "a", "go")
    await within(beaten.wait())
    await crash(hf, view)
    one = await effect(hf, view)
    assert one.deadline == clock.now_ms() + 60_000
    view = await waiting(hf, view)
    (shown,) = json.loads(view.run.waiting_on or b"[]")
    assert (shown["type"], shown["due_at"]) == ("timer", one.deadline)
    clock.advance(timedelta(seconds=59))
    await asyncio.sleep(0.1)  # several looks of the timer's loop; it must not have been its time yet
    assert not asked.is_set()
    clock.advance(timedelta(seconds=2))
    assert output(await ended(hf, view)) == "done"


# -- what the rules, the code and people say meanwhile ----------------------------------------------------------------


@pytest.mark.impure  # the rules are others in between
async def test_what_is_forbidden_after_it_began_is_still_settled_by_its_class(desk: Desk) -> None:
    """Rules are judged before a call begins. To tell the model "not done" would be a lie."""
    dying = Dying(effect="keyed")
    a, model = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    forbidden = Agent("a", model=model, tools=[dying.tool], policies={"act": Deny(reason="since today")})
    hf.house.agents["a"] = forbidden
    await crash(hf, view)
    view = await within(ended(hf, view), 10)
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED
    assert told(model) == [("act", "did x")]


@pytest.mark.impure  # the rules are others in between
async def test_what_needs_leave_since_it_began_asks_nobody(desk: Desk) -> None:
    dying = Dying(effect="keyed")
    a, model = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())
    hf.house.agents["a"] = Agent("a", model=model, tools=[dying.tool], policies={"act": Confirm()})
    await crash(hf, view)
    view = await within(ended(hf, view), 10)
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED
    assert "approval.requested" not in await types(hf, view)


@pytest.mark.impure  # the rules are others in between
async def test_a_person_s_word_counts_also_if_the_call_is_forbidden_by_now(desk: Desk) -> None:
    dying = Dying(effect="unsafe")
    hf, view, model = await crashed(desk, dying)
    await question(hf, view)
    hf.house.agents["a"] = Agent("a", model=model, tools=[dying.tool], policies={"act": Deny(reason="since today")})
    await settle(hf, await effect(hf, view), "committed", "it went through")
    view = await within(ended(hf, view), 10)
    assert told(model) == [("act", "it went through")]


async def test_what_was_not_done_and_is_forbidden_by_now_is_not_done(desk: Desk) -> None:
    dying = Dying(effect="unsafe")
    hf, view, model = await crashed(desk, dying)
    await question(hf, view)
    hf.house.agents["a"] = Agent("a", model=model, tools=[dying.tool], policies={"act": Deny(reason="since today")})
    await settle(hf, await effect(hf, view), "not_done")
    view = await within(ended(hf, view), 10)
    ((_, said),) = told(model)
    assert "since today" in said
    assert len(dying.keys) == 1
    assert (await effect(hf, view)).status is EffectStatus.ABANDONED


@pytest.mark.impure  # the code changes between claims
@pytest.mark.parametrize("change", ["gone", "other arguments"])
async def test_a_call_under_way_is_not_forgotten_because_its_tool_changed(desk: Desk, change: str) -> None:
    """A deploy took the tool away, or gave it other arguments, while a call of it was under way."""
    dying = Dying(effect="keyed")
    a, model = dying.agent()
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(dying.begun.wait())

    @tool(name="act", effect="keyed")
    async def other(whom: int) -> str:
        """Act."""
        raise AssertionError("nobody calls this")

    hf.house.agents["a"] = Agent("a", model=model, tools=[] if change == "gone" else [other])
    await crash(hf, view)
    asked = await question(hf, view)
    assert asked.type is ApprovalType.EFFECT
    await settle(hf, await effect(hf, view), "committed", "it went through")
    view = await within(ended(hf, view), 10)
    assert told(model) == [("act", "it went through")]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED


async def test_a_word_on_a_run_that_had_ended_counts_when_it_is_retried(desk: Desk) -> None:
    """The result that a person gave is the result, though no question was open for it."""
    begun = asyncio.Event()

    @tool(effect="unsafe")
    async def act() -> str:
        """Act."""
        begun.set()
        await asyncio.Event().wait()
        return "never"

    @workflow("w", tools=[act], limits=RunLimits(active_ms_max=300))
    async def w(ctx: Context) -> str:
        return await ctx.step("act", act)

    limits_before = limits.CANCEL_GRACE_MS
    limits.CANCEL_GRACE_MS = 1  # pyright: ignore[reportAttributeAccessIssue]
    try:
        hf = await desk.open(w)
        view = await ended(hf, await start(hf, "w"))
    finally:
        limits.CANCEL_GRACE_MS = limits_before  # pyright: ignore[reportAttributeAccessIssue]
    assert error(view)["code"] == "limit_active_ms"
    one = await effect(hf, view)
    assert one.status is EffectStatus.UNKNOWN
    await settle(hf, one, "committed", "it went through")
    assert output(await retry(hf, view, RunLimits())) == "it went through"
