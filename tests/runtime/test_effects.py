"""What a tool that changes something is called with, how often, and what the ledger says of it, by its class."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from holdfast import Agent, Context, ModelRetry, NotDone, Retry, ToolContext, tool, workflow
from holdfast.domain import ids, limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import ApprovalType
from holdfast.domain.effects import Done, EffectClass, EffectInfo, EffectStatus, Unknown, idempotency_key
from holdfast.domain.errors import StepFailed
from holdfast.domain.journal import EntryType
from holdfast.service import agents
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import (
    Desk,
    effect,
    ended,
    entries,
    error,
    ledger,
    look,
    outcome,
    output,
    question,
    questions,
    resolve,
    settle,
    start,
    told,
    types,
    waiting,
    within,
)

CHANGING = ("keyed", "reconcilable", "unsafe")


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(limits, "RETRY_BACKOFF_MS", 1)


class World:
    """The other side: what was asked of it, with which key, and how it behaves."""

    def __init__(self, *behaviours: Any) -> None:
        self.asked: list[tuple[str, Any]] = []
        self._behaviours = list(behaviours)

    def act(self, ctx: ToolContext, what: Any) -> Any:
        self.asked.append((ctx.idempotency_key, what))
        behaves = self._behaviours.pop(0) if self._behaviours else f"did {what}"
        if isinstance(behaves, BaseException):
            raise behaves
        return behaves

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.asked]


def acting(world: World, **promises: Any) -> Any:
    """A tool of these promises that does what it is told in this world."""

    @tool(**promises)
    async def act(ctx: ToolContext, what: str) -> Any:
        """Act."""
        return world.act(ctx, what)

    if promises.get("effect") == "reconcilable" and act.contract.reconcile is None:

        @act.reconcile
        async def never(ctx: ToolContext, info: EffectInfo) -> Any:
            raise AssertionError("nobody asked")

    return act


def agent(*tools: Any, calls: Any = None, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel([calls or Call("act", {"what": "x"}), "done"], per="thread")
    return Agent("a", model=model, tools=list(tools), **options), model


# -- the happy path ---------------------------------------------------------------------------------------------------


async def test_a_read_tool_stands_in_no_ledger(desk: Desk) -> None:
    @tool(effect="read")
    async def act(what: str) -> str:
        """Look."""
        return what

    a, model = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert await ledger(hf, view) == []
    assert "tool.started" not in await types(hf, view)
    assert told(model) == [("act", "x")]


@pytest.mark.parametrize("effect_class", CHANGING)
async def test_an_effect_is_planned_started_and_committed_and_the_ledger_says_what_it_was(
    desk: Desk, effect_class: str
) -> None:
    world = World()
    a, model = agent(acting(world, effect=effect_class, version="7"))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    one = await effect(hf, view)
    assert (one.status, one.effect_class, one.attempt, one.rotation) == (
        EffectStatus.COMMITTED,
        EffectClass(effect_class),
        1,
        0,
    )
    assert (one.tool, one.agent, one.version, one.arguments) == ("act", "a", "7", b'{"what":"x"}')
    assert one.idempotency_key == idempotency_key(view.run.tenant_id, view.run.id, one.key, 0)
    assert world.asked == [(one.idempotency_key, "x")]
    assert one.started_at is not None
    assert one.deadline is not None
    assert one.deadline - one.started_at == limits.TOOL_TIMEOUT_MS
    assert one.ended_at is not None
    assert one.error is None
    assert told(model) == [("act", "did x")]


async def test_the_journal_says_which_effect_a_tool_s_start_belongs_to(desk: Desk) -> None:
    a, _ = agent(acting(World(), effect="keyed"))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    found = await entries(hf, view)
    kinds = [e.type for e in found]
    assert kinds.index(EntryType.TOOL_STARTED) < kinds.index(EntryType.TOOL_COMPLETED)
    data = json.loads(next(e.payload for e in found if e.type is EntryType.TOOL_STARTED) or b"")
    one = await effect(hf, view)
    assert ids.parse(ids.EFFECT, data["effect_id"]) == one.id
    assert data["effect_class"] == "keyed"


async def test_what_a_model_chose_is_planned_with_its_answer(desk: Desk) -> None:
    """Both calls stand in the ledger while the first is under way and the second has not begun."""
    begun, go = asyncio.Event(), asyncio.Event()

    @tool(effect="unsafe", sequential=True)
    async def slow(ctx: ToolContext) -> str:
        """Slow."""
        begun.set()
        await go.wait()
        return "slow"

    a, _ = agent(slow, acting(World(), effect="keyed"), calls=[Call("slow"), Call("act", {"what": "x"})])
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(begun.wait())
    assert {e.tool: e.status.value for e in await ledger(hf, view)} == {"slow": "started", "act": "planned"}
    go.set()
    await ended(hf, view)
    assert {e.status.value for e in await ledger(hf, view)} == {"committed"}


async def test_each_call_has_a_key_of_its_own(desk: Desk) -> None:
    world = World()
    a, _ = agent(acting(world, effect="keyed"), calls=[Call("act", {"what": "x"}), Call("act", {"what": "x"})])
    hf = await desk.open(a)
    await outcome(hf, "a", "go")
    assert len(set(world.keys)) == 2


async def test_a_workflow_s_step_with_a_tool_stands_in_the_ledger_too(desk: Desk) -> None:
    world = World()
    act = acting(world, effect="keyed")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("pay", act, "x")

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view) == "did x"
    one = await effect(hf, view)
    assert (one.key, one.status, one.tool) == ("pay#1", EffectStatus.COMMITTED, "act")
    assert world.keys == [one.idempotency_key]


# -- transactions -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def stock(desk: Desk) -> Any:
    """A table of the application's in the runtime's own database."""

    async def make(hf: Any) -> None:
        async def body(tx: Any) -> None:
            await tx.execute(text("DROP TABLE IF EXISTS test_stock"))
            await tx.execute(text("CREATE TABLE test_stock (item TEXT PRIMARY KEY, n INTEGER CHECK (n >= 0))"))
            await tx.execute(text("INSERT INTO test_stock VALUES ('x', 5)"))

        await hf.house.database.write(None, body)

    return make


async def left(hf: Any) -> int:
    async def body(tx: Any) -> int:
        row = await tx.first(text("SELECT n FROM test_stock WHERE item = 'x'"))
        assert row is not None
        return int(row[0])

    return await hf.house.database.read(None, body)


@tool(effect="transaction")
async def take(ctx: ToolContext, n: int, fail: bool = False) -> int:
    """Take."""
    await ctx.tx.execute("UPDATE test_stock SET n = n - :n WHERE item = :item", {"n": n, "item": "x"})
    if fail:
        raise ValueError("changed my mind")
    (row,) = await ctx.tx.rows("SELECT n FROM test_stock WHERE item = 'x'")
    return int(row["n"])


async def test_a_transaction_tool_s_writes_and_its_step_are_one_commit(desk: Desk, stock: Any) -> None:
    a, model = agent(take, calls=Call("take", {"n": 2}))
    hf = await desk.open(a)
    await stock(hf)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert told(model) == [("take", 3)]
    assert await left(hf) == 3
    one = await effect(hf, view)
    assert (one.status, one.attempt) == (EffectStatus.COMMITTED, 1)


@pytest.mark.parametrize("arguments", [{"n": 2, "fail": True}, {"n": 6}])
async def test_a_transaction_tool_that_raises_has_done_nothing(desk: Desk, stock: Any, arguments: Any) -> None:
    a, model = agent(take, calls=Call("take", arguments))
    hf = await desk.open(a)
    await stock(hf)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert await left(hf) == 5
    assert (await effect(hf, view)).status is EffectStatus.FAILED
    assert str(told(model)[0][1]).startswith("error: ")


async def test_a_transaction_tool_that_opens_none_is_recorded_all_the_same(desk: Desk) -> None:
    @tool(effect="transaction")
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        return what

    a, model = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert told(model) == [("act", "x")]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED


# -- keyed ------------------------------------------------------------------------------------------------------------

NO_ANSWER = [ConnectionResetError("gone"), TimeoutError(), RuntimeError("a 500"), OSError("no route")]


@pytest.mark.parametrize("exc", NO_ANSWER, ids=lambda e: type(e).__name__)
async def test_a_keyed_call_without_a_certain_answer_is_made_again_with_the_same_key(
    desk: Desk, exc: Exception
) -> None:
    world = World(exc, exc)
    a, model = agent(acting(world, effect="keyed"))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    one = await effect(hf, view)
    assert world.keys == [one.idempotency_key] * 3
    assert (one.status, one.attempt, one.rotation) == (EffectStatus.COMMITTED, 3, 0)
    assert told(model) == [("act", "did x")]
    assert await questions(hf, view) == []


async def test_a_keyed_call_that_hangs_is_made_again_with_the_same_key(desk: Desk) -> None:
    keys: list[str] = []

    @tool(effect="keyed", timeout=0.1)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            await asyncio.Event().wait()
        return "did"

    a, _ = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_a_person_is_asked_after_the_last_try_of_a_keyed_call(desk: Desk) -> None:
    world = World(*[ConnectionResetError("gone")] * 2)
    a, model = agent(acting(world, effect="keyed", tries=2))
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    one = await effect(hf, view)
    assert len(world.asked) == 2
    assert (asked.type, asked.effect_id, asked.tool) == (ApprovalType.EFFECT, one.id, "act")
    assert asked.key == f"{one.key}/effect#1"
    assert "2 tries" in (asked.reason or "")
    assert one.status is EffectStatus.UNKNOWN
    assert (await look(hf, view)).run.waiting_on is not None
    waiting_on = json.loads((await look(hf, view)).run.waiting_on or b"[]")
    assert [w["type"] for w in waiting_on] == ["effect"]
    assert EntryType.EFFECT_UNKNOWN in [e.type for e in await entries(hf, view)]
    await settle(hf, one, "committed", "the provider says so")
    view = await ended(hf, view)
    assert told(model) == [("act", "the provider says so")]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED
    assert len(world.asked) == 2


async def test_what_a_person_says_was_not_done_is_done_under_a_new_key(desk: Desk) -> None:
    world = World(*[ConnectionResetError("gone")] * 2)
    a, model = agent(acting(world, effect="keyed", tries=2))
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    await resolve(hf, asked, "answer", answer={"outcome": "not_done"}, note="looked it up")
    view = await ended(hf, view)
    one = await effect(hf, view)
    assert (one.status, one.rotation, one.attempt) == (EffectStatus.COMMITTED, 1, 3)
    first, second, third = world.keys
    assert first == second != third == one.idempotency_key
    assert told(model) == [("act", "did x")]


async def test_tries_of_a_workflow_s_step_are_those_of_its_retry(desk: Desk) -> None:
    world = World(*[ConnectionResetError("gone")] * 5)
    act = acting(world, effect="keyed")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("pay", act, "x", retry=Retry(attempts=6))

    hf = await desk.open(w)
    assert output(await outcome(hf, "w")) == "did x"
    assert len(world.asked) == 6


# -- known failures ---------------------------------------------------------------------------------------------------


class OutOfStock(Exception):
    """The shop's own word for: nothing was done."""


REJECTIONS = [NotDone("the card was declined"), ModelRetry("try a smaller amount"), OutOfStock("none left")]


@pytest.mark.parametrize("effect_class", ["transaction", *CHANGING])
@pytest.mark.parametrize("exc", REJECTIONS, ids=lambda e: type(e).__name__)
async def test_a_known_failure_is_told_and_not_tried_again(desk: Desk, effect_class: Any, exc: Exception) -> None:
    world = World(exc)
    a, model = agent(acting(world, effect=effect_class, rejections=[OutOfStock]))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert len(world.asked) == 1
    one = await effect(hf, view)
    assert one.status is EffectStatus.FAILED
    assert str(exc.args[0]) in json.loads(one.error or b"{}")["message"]
    assert str(exc.args[0]) in str(told(model))
    assert await questions(hf, view) == []


async def test_a_workflow_hears_of_a_known_failure_as_a_failed_step(desk: Desk) -> None:
    act = acting(World(NotDone("no")), effect="keyed")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("pay", act, "x")
        except StepFailed as exc:
            return [exc.code, exc.message, exc.error_type]

    hf = await desk.open(w)
    code, message, error_type = output(await outcome(hf, "w"))
    assert message == "no"
    assert error_type == "NotDone"
    assert code == "not_done"


# -- reconcilable -----------------------------------------------------------------------------------------------------


def reconciled(world: World, *answers: Any, timeout: float = 0.2, **promises: Any) -> tuple[Any, list[EffectInfo]]:
    """A reconcilable tool whose reconciler gives these answers, the last one again and again."""
    asked: list[EffectInfo] = []
    given = list(answers)
    act = acting(world, effect="reconcilable", timeout=timeout, **promises)

    @act.reconcile
    async def reconcile(ctx: ToolContext, info: EffectInfo) -> Any:
        asked.append(info)
        answer = given.pop(0) if len(given) > 1 else given[0]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception) and not isinstance(answer, NotDone):
            raise answer
        return answer

    return act, asked


async def test_what_the_reconciler_says_was_done_is_believed(desk: Desk) -> None:
    world = World(ConnectionResetError("gone"))
    act, asked = reconciled(world, Done("found it"), timeout=60)
    a, model = agent(act)
    hf = await desk.open(a)
    view = await within(outcome(hf, "a", "go"), 5)  # at once: the deadline is a minute away
    one = await effect(hf, view)
    assert (one.status, one.attempt) == (EffectStatus.COMMITTED, 1)
    assert len(world.asked) == 1
    assert told(model) == [("act", "found it")]
    assert [(i.tool, i.key, i.idempotency_key, i.arguments) for i in asked] == [
        ("act", one.key, one.idempotency_key, {"what": "x"})
    ]


async def test_what_the_reconciler_says_was_not_done_is_done_under_a_new_key_after_the_deadline(desk: Desk) -> None:
    world = World(ConnectionResetError("gone"))
    act, asked = reconciled(world, NotDone())
    a, model = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    one = await effect(hf, view)
    assert (one.status, one.rotation, one.attempt) == (EffectStatus.COMMITTED, 1, 2)
    assert len(set(world.keys)) == 2
    assert len(asked) == 2, "asked at once, and believed only when the call cannot be on its way any more"
    assert told(model) == [("act", "did x")]


async def test_a_call_that_arrived_late_is_found_by_the_second_look(desk: Desk) -> None:
    world = World(ConnectionResetError("gone"))
    act, _ = reconciled(world, NotDone(), Done("late"))
    a, model = agent(act)
    hf = await desk.open(a)
    await outcome(hf, "a", "go")
    assert len(world.asked) == 1
    assert told(model) == [("act", "late")]


async def _never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answer", "reason", "times"),
    [
        (Unknown("the archive is closed"), "the archive is closed", 2),
        (Unknown(), "cannot tell", 2),
        (RuntimeError("boom"), "RuntimeError: boom", 6),
        (_never, "no answer within", 6),
        ("yes", "returned str", 2),
    ],
    ids=["unknown", "unknown without a reason", "raises", "hangs", "talks nonsense"],
)
async def test_a_reconciler_that_cannot_tell_makes_a_person_be_asked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: Any, reason: str, times: int
) -> None:
    monkeypatch.setattr(limits, "RECONCILE_TIMEOUT_MS", 30)
    world = World(ConnectionResetError("gone"))
    act, asked = reconciled(world, answer, timeout=0.5)
    a, _ = agent(act)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    found = await question(hf, view)
    assert reason in (found.reason or "")
    assert len(asked) <= times
    assert len(world.asked) == 1
    assert (await effect(hf, view)).status is EffectStatus.UNKNOWN
    await settle(hf, await effect(hf, view), "not_done")
    assert output(await ended(hf, view)) == "done"
    assert len(set(world.keys)) == 2


async def test_a_reconcilable_call_is_done_anew_only_so_often(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECT_ROTATIONS_MAX", 2)
    world = World(*[ConnectionResetError("gone")] * 9)
    act, _ = reconciled(world, NotDone(), timeout=0.05)
    a, _ = agent(act)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    found = await question(hf, view)
    assert "however often" in (found.reason or "")
    assert len(world.asked) == len(set(world.keys)) == 3


async def test_a_note_about_the_provider_s_reference_reaches_the_reconciler(desk: Desk) -> None:
    @tool(effect="reconcilable", timeout=60)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        await ctx.record_ref("tx-81")
        raise ConnectionResetError

    seen: list[str | None] = []

    @act.reconcile
    async def reconcile(ctx: ToolContext, info: EffectInfo) -> Done:
        seen.append(info.provider_ref)
        return Done("ok")

    a, _ = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert seen == ["tx-81"]
    assert (await effect(hf, view)).provider_ref == "tx-81"


async def test_a_keyed_tool_with_a_reconciler_asks_it_before_a_person(desk: Desk) -> None:
    world = World(*[ConnectionResetError("gone")] * 2)
    act = acting(world, effect="keyed", tries=2, timeout=0.2)

    @act.reconcile
    async def reconcile(ctx: ToolContext, info: EffectInfo) -> Done:
        return Done("found")

    a, model = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert told(model) == [("act", "found")]
    assert await questions(hf, view) == []


# -- unsafe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exc", NO_ANSWER[:2], ids=lambda e: type(e).__name__)
async def test_an_unsafe_call_that_got_no_answer_is_never_repeated_and_a_person_is_asked(
    desk: Desk, exc: Exception
) -> None:
    world = World(exc)
    a, model = agent(acting(world, effect="unsafe"))
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert (await effect(hf, view)).status is EffectStatus.UNKNOWN
    await resolve(hf, asked, "answer", answer={"outcome": "committed", "result": "it went through"})
    view = await ended(hf, view)
    assert len(world.asked) == 1
    assert told(model) == [("act", "it went through")]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED


async def test_an_unsafe_call_that_outlasts_its_time_is_unknown(desk: Desk) -> None:
    calls: list[str] = []

    @tool(effect="unsafe", timeout=0.05)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        calls.append(what)
        await asyncio.Event().wait()
        return "never"

    a, model = agent(act)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert "0.05 s" in (asked.reason or "")
    await settle(hf, await effect(hf, view), "committed")
    assert output(await ended(hf, view)) == "done"
    assert calls == ["x"]
    assert told(model) == [("act", None)]


async def test_another_error_of_an_unsafe_call_is_told_and_recorded_as_failed(desk: Desk) -> None:
    world = World(ValueError("bad address"))
    a, model = agent(acting(world, effect="unsafe"))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert len(world.asked) == 1
    one = await effect(hf, view)
    assert one.status is EffectStatus.FAILED
    assert json.loads(one.error or b"{}") == {"code": "tool_error", "message": "error: bad address"}
    assert told(model) == [("act", "error: bad address")]


async def test_a_tool_without_a_declared_effect_is_unsafe(desk: Desk) -> None:
    world = World(ConnectionResetError("gone"))
    a, _ = agent(acting(world))
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await question(hf, view)
    assert (await effect(hf, view)).effect_class is EffectClass.UNSAFE


async def test_on_unknown_assume_done_goes_on_and_says_so(desk: Desk) -> None:
    world = World(ConnectionResetError("gone"))
    a, model = agent(acting(world, effect="unsafe", on_unknown="assume_done"))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert len(world.asked) == 1
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED
    assert "assumed" in str(told(model))


async def test_on_unknown_fail_tells_the_model_that_nobody_knows(desk: Desk) -> None:
    world = World(ConnectionResetError("gone"))
    a, model = agent(acting(world, effect="unsafe", on_unknown="fail"))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert len(world.asked) == 1
    assert (await effect(hf, view)).status is EffectStatus.FAILED
    assert "Nobody knows" in str(told(model))


async def test_on_unknown_retry_waits_for_the_deadline(desk: Desk) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    @tool(effect="unsafe", on_unknown="retry", timeout=0.3)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        times.append(loop.time())
        if len(times) == 1:
            raise ConnectionResetError
        return "did"

    a, model = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert told(model) == [("act", "did")]
    assert times[1] - times[0] >= 0.25, "a call that may still be on its way is not overtaken"
    assert (await effect(hf, view)).attempt == 2


# -- signs of life ----------------------------------------------------------------------------------------------------


async def test_a_heartbeat_starts_the_timeout_and_the_deadline_anew(desk: Desk) -> None:
    deadlines: list[int] = []
    hf: Any = None
    view: Any = None

    @tool(effect="unsafe", timeout=0.4)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        for _ in range(6):
            await asyncio.sleep(0.15)
            await ctx.heartbeat()
            deadlines.append((await effect(hf, view)).deadline or 0)
        return "did"

    a, model = agent(act)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    view = await ended(hf, view)
    assert told(model) == [("act", "did")]
    assert deadlines == sorted(set(deadlines))


async def test_a_tool_in_a_thread_may_say_that_it_is_alive(desk: Desk) -> None:
    @tool(effect="reconcilable")
    def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        ctx.heartbeat()
        ctx.record_ref("tx-9")
        return ctx.idempotency_key

    @act.reconcile
    async def reconcile(ctx: ToolContext, info: EffectInfo) -> Unknown:
        return Unknown()

    a, model = agent(act)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    one = await effect(hf, view)
    assert one.provider_ref == "tx-9"
    assert told(model) == [("act", one.idempotency_key)]


# -- results that cannot be kept --------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect_class", ["transaction", *CHANGING])
async def test_a_result_that_cannot_be_stored_is_recorded_as_that_and_the_call_never_repeated(
    desk: Desk, effect_class: Any
) -> None:
    world = World(object(), object())
    a, model = agent(acting(world, effect=effect_class))
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert len(world.asked) == 1
    one = await effect(hf, view)
    assert one.status is EffectStatus.COMMITTED
    assert json.loads(one.error or b"{}")["code"] == "not_encodable"
    assert "cannot be used" in str(told(model))


async def test_a_workflow_is_told_of_a_result_that_cannot_be_stored(desk: Desk) -> None:
    world = World(object(), object())
    act = acting(world, effect="unsafe")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.step("act", act, "x")

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert error(view)["code"] == "not_encodable"
    assert len(world.asked) == 1
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED


# -- what the tool asks for itself ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("parking")
@pytest.mark.parametrize("effect_class", ["read", "transaction", *CHANGING])
async def test_a_tool_that_asks_before_it_acts_acts_once(desk: Desk, effect_class: Any) -> None:
    begun: list[str] = []
    acted: list[str] = []

    @tool(effect=effect_class)
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        begun.append(ctx.idempotency_key)
        size = await ctx.ask("Which size?", choices=["s", "m"])
        acted.append(size)
        return f"{what} in {size}"

    if effect_class == "reconcilable":

        @act.reconcile
        async def reconcile(ctx: ToolContext, info: EffectInfo) -> Unknown:
            raise AssertionError("nothing was done while people think")

    a, model = agent(act)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert asked.type is ApprovalType.INPUT
    assert [e.status.value for e in await ledger(hf, view)] == ([] if effect_class == "read" else ["planned"])
    assert acted == []
    await resolve(hf, asked, "answer", answer="m")
    view = await ended(hf, view)
    assert acted == ["m"]
    assert len(begun) == 2
    assert len(set(begun)) == 1
    assert told(model) == [("act", "x in m")]
    assert [e.status.value for e in await ledger(hf, view)] == ([] if effect_class == "read" else ["committed"])


async def test_a_tool_that_asks_twice_begins_again_and_gets_both_answers(desk: Desk) -> None:
    acted: list[Any] = []

    @tool(effect="unsafe")
    async def act(ctx: ToolContext, what: str) -> str:
        """Act."""
        answers = [await ctx.ask("One?", schema=int), await ctx.ask("Two?", schema=int)]
        acted.append(answers)
        return str(sum(answers))

    a, model = agent(act)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    for answer in (3, 4):
        await resolve(hf, await question(hf, view), "answer", answer=answer)
        view = await look(hf, view)
    await ended(hf, view)
    assert acted == [[3, 4]]
    assert told(model) == [("act", "7")]


async def test_a_tool_that_is_switched_off_is_given_up(desk: Desk) -> None:
    world = World()
    a, model = agent(acting(world, effect="keyed"))
    hf = await desk.open(a)
    await agents.enable_tool(hf.house, LOCAL_PRINCIPAL, "act", False)
    view = await outcome(hf, "a", "go")
    assert world.asked == []
    assert (await effect(hf, view)).status is EffectStatus.ABANDONED
    assert "switched off" in str(told(model))


async def test_a_waiting_effect_is_shown_on_the_run(desk: Desk) -> None:
    a, _ = agent(acting(World(ConnectionResetError("gone")), effect="unsafe"))
    hf = await desk.open(a)
    view = await waiting(hf, await start(hf, "a", "go"))
    asked = await question(hf, view)
    (shown,) = json.loads(view.run.waiting_on or b"[]")
    assert shown == {"type": "effect", "id": ids.text(ids.APPROVAL, asked.id), "step": asked.key}
