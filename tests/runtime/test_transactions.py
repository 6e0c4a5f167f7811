"""`ctx.tx`: the application's own rows change in the commit that records the step, or not at all."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, text

from holdfast import Agent, Context, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.approvals import ApprovalStatus
from holdfast.domain.effects import EffectStatus
from holdfast.domain.errors import DefinitionError, StepFailed
from holdfast.domain.runs import RunStatus
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.crash import CrashPoint, commit_fails, outcome_is_unknown
from tests.runtime.driving import (
    Desk,
    cancel,
    crash,
    effect,
    ended,
    error,
    outcome,
    output,
    question,
    questions,
    resolve,
    start,
    told,
    types,
    within,
)

BOOK = Table("test_book", MetaData(), Column("n", Integer), Column("who", Text))


class Book:
    """A table of the application's, and tools that write into it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()

        @tool(effect="transaction", timeout=30)
        async def enter(ctx: ToolContext, n: int, hold: bool = False) -> int:
            """Enter."""
            self.calls.append(ctx.idempotency_key)
            await ctx.tx.execute(insert(BOOK).values(n=n, who=ctx.run_id))
            if hold:
                self.begun.set()
                await self.go.wait()
            return len(await ctx.tx.rows(select(BOOK)))

        self.enter = enter

    def workflow(self) -> Any:
        enter = self.enter

        @workflow("w")
        async def w(ctx: Context, wanted: dict[str, Any]) -> Any:
            return await ctx.step("enter", enter, **wanted)

        return w


async def make(hf: Any) -> None:
    async def body(tx: Any) -> None:
        await tx.execute(text("DROP TABLE IF EXISTS test_book"))
        await tx.execute(text("CREATE TABLE test_book (n INTEGER UNIQUE, who TEXT)"))

    await hf.house.database.write(None, body)


async def book(hf: Any) -> list[int]:
    rows = await hf.house.database.read(None, lambda tx: tx.all(text("SELECT n FROM test_book ORDER BY n")))
    return [row[0] for row in rows]


async def test_core_statements_and_text_work_alike(desk: Desk) -> None:
    one = Book()
    hf = await desk.open(one.workflow())
    await make(hf)
    view = await outcome(hf, "w", {"n": 1})
    assert output(view) == 1
    assert await book(hf) == [1]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED
    assert (await types(hf, view)).count("tool.completed") == 1


async def test_what_the_database_refuses_is_told_and_undone(desk: Desk) -> None:
    one = Book()
    model = ScriptedModel([Call("enter", {"n": 1}), Call("enter", {"n": 1}), "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[one.enter]))
    await make(hf)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert await book(hf) == [1]
    first, second = told(model)
    assert first == ("enter", 1)
    assert str(second[1]).startswith("error: ")
    assert len(one.calls) == 2


async def test_a_commit_that_fails_undoes_all_and_the_call_is_made_again(desk: Desk) -> None:
    """The database went away at the very commit: nothing was done, so nothing is lost by doing it again."""
    faults = CrashPoint(action=commit_fails)
    one = Book()
    hf = await desk.open(one.workflow(), faults=faults, deaf=True)
    await make(hf)
    view = await start(hf, "w", {"n": 1, "hold": True})
    await within(one.begun.wait())
    faults.arm(1)
    one.go.set()
    view = await ended(hf, view)
    faults.disarm()
    assert faults.struck == 1
    assert output(view) == 1
    assert await book(hf) == [1]
    assert len(one.calls) == 2


@pytest.mark.parametrize("when", ["before_commit", "after_commit"])
async def test_a_commit_of_which_nobody_knows_is_read_back(desk: Desk, when: Any) -> None:
    faults = CrashPoint(when=when, action=outcome_is_unknown)
    one = Book()
    hf = await desk.open(one.workflow(), faults=faults, deaf=True)
    await make(hf)
    view = await start(hf, "w", {"n": 1, "hold": True})
    await within(one.begun.wait())
    faults.arm(1)
    one.go.set()
    view = await ended(hf, view)
    faults.disarm()
    assert faults.struck == 1
    assert output(view) == 1
    assert await book(hf) == [1], "once, whether the commit had happened or not"
    assert len(one.calls) == (2 if when == "before_commit" else 1)


async def test_a_transaction_that_stays_open_too_long_is_undone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRANSACTION_MS", 150)
    monkeypatch.setattr(limits, "TRANSACTION_SQLITE_MS", 150)

    @tool(effect="transaction")
    async def slow(ctx: ToolContext) -> None:
        """Slow."""
        await ctx.tx.execute(insert(BOOK).values(n=1, who="x"))
        await asyncio.sleep(0.5)  # longer than it may be open: this is the fault
        await ctx.tx.execute(insert(BOOK).values(n=2, who="x"))

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("slow", slow)
        except StepFailed as exc:
            return exc.code

    hf = await desk.open(w)
    await make(hf)
    view = await outcome(hf, "w")
    assert output(view) == "transaction_timeout"
    assert await book(hf) == []
    assert (await effect(hf, view)).status is EffectStatus.FAILED


async def test_others_may_write_when_a_transaction_is_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that forgets to come back holds nobody up for longer than its transaction may last."""
    monkeypatch.setattr(limits, "TRANSACTION_MS", 200)
    monkeypatch.setattr(limits, "TRANSACTION_SQLITE_MS", 200)
    one = Book()
    hf = await desk.open(one.workflow())
    await make(hf)
    held = await start(hf, "w", {"n": 1, "hold": True})
    await within(one.begun.wait())
    assert output(await within(outcome(hf, "w", {"n": 2}), 10)) == 1
    await asyncio.sleep(0.3)  # longer than it may be open: this is the fault
    one.go.set()
    assert error(await ended(hf, held))["code"] == "transaction_timeout"
    assert await book(hf) == [2]


async def test_a_cancel_during_a_transaction_lets_it_commit_or_undoes_it(desk: Desk) -> None:
    one = Book()
    hf = await desk.open(one.workflow())
    await make(hf)
    view = await start(hf, "w", {"n": 1, "hold": True})
    await within(one.begun.wait())
    cancelling = asyncio.create_task(cancel(hf, view))
    one.go.set()
    await cancelling
    view = await ended(hf, view)
    done = (await effect(hf, view)).status
    assert await book(hf) == ([1] if done is EffectStatus.COMMITTED else [])
    assert done in (EffectStatus.COMMITTED, EffectStatus.ABANDONED)


async def test_a_run_that_lost_its_lease_commits_nothing(desk: Desk) -> None:
    """The fence comes last: what a zombie wrote is undone, and the new owner does it once."""
    one = Book()
    hf = await desk.open(one.workflow())
    await make(hf)
    view = await start(hf, "w", {"n": 1, "hold": True})
    await within(one.begun.wait())
    await crash(hf, view)
    one.go.set()
    assert output(await ended(hf, view)) == 1
    assert await book(hf) == [1]
    assert len(one.calls) == 2


async def test_leave_is_checked_in_the_transaction_s_own_commit(desk: Desk) -> None:
    calls: list[bool] = []

    @tool(effect="transaction", confirm=True)
    async def enter(ctx: ToolContext, n: int) -> str:
        """Enter."""
        calls.append(ctx.approved)
        await ctx.tx.execute(insert(BOOK).values(n=n, who="x"))
        return "entered"

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("enter", enter, n=4)

    hf = await desk.open(w)
    await make(hf)
    view = await start(hf, "w")
    asked = await question(hf, view)
    assert await book(hf) == []
    await resolve(hf, asked, "approve", arguments={"n": 5})
    assert output(await ended(hf, view)) == "entered"
    assert await book(hf) == [5]
    (used,) = await questions(hf, view, *ApprovalStatus)
    assert used.used_at is not None
    assert calls == [True]


async def test_a_question_comes_before_the_first_statement(desk: Desk) -> None:
    @tool(effect="transaction")
    async def enter(ctx: ToolContext) -> str:
        """Enter."""
        await ctx.tx.execute(insert(BOOK).values(n=1, who="x"))
        return await ctx.ask("Really?")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("enter", enter)

    hf = await desk.open(w)
    await make(hf)
    view = await outcome(hf, "w")
    assert "waits for nobody" in error(view)["message"]
    assert await book(hf) == []


async def test_only_a_transaction_tool_has_a_transaction(desk: Desk) -> None:
    @tool(effect="unsafe")
    async def enter(ctx: ToolContext) -> None:
        """Enter."""
        await ctx.tx.execute(insert(BOOK).values(n=1, who="x"))

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("enter", enter)

    hf = await desk.open(w)
    assert "transaction" in error(await outcome(hf, "w"))["message"]


def test_a_transaction_tool_is_async() -> None:
    with pytest.raises(DefinitionError):

        @tool(effect="transaction")
        def enter(ctx: ToolContext) -> None:
            """Enter."""


async def test_many_transactions_at_once_all_come_through(desk: Desk) -> None:
    one = Book()
    hf = await desk.open(one.workflow())
    await make(hf)
    views = await asyncio.gather(*(start(hf, "w", {"n": n}) for n in range(30)))
    for view in views:
        assert (await ended(hf, view)).run.status is RunStatus.SUCCEEDED
    assert await book(hf) == list(range(30))


async def test_a_deadlocked_transaction_is_tried_again(desk: Desk) -> None:
    """Two transactions that take two rows in opposite order: PostgreSQL ends one of them, which did nothing."""
    both = asyncio.Barrier(2)
    tries: list[int] = []

    @tool(effect="transaction")
    async def move(ctx: ToolContext, a: int, b: int) -> str:
        """Move."""
        tries.append(a)
        await ctx.tx.execute("UPDATE test_book SET who = 'a' WHERE n = :n", {"n": a})
        if hf.house.database.dialect == "postgresql" and len(tries) <= 2:
            await both.wait()
        await ctx.tx.execute("UPDATE test_book SET who = 'b' WHERE n = :n", {"n": b})
        return "moved"

    @workflow("w")
    async def w(ctx: Context, pair: list[int]) -> Any:
        return await ctx.step("move", move, a=pair[0], b=pair[1])

    hf = await desk.open(w)
    await make(hf)
    await hf.house.database.write(None, lambda tx: tx.execute(text("INSERT INTO test_book VALUES (1, ''), (2, '')")))
    views = await asyncio.gather(start(hf, "w", [1, 2]), start(hf, "w", [2, 1]))
    assert [output(await ended(hf, view)) for view in views] == ["moved", "moved"]


async def test_a_transaction_whose_time_is_over_at_its_commit_is_told_and_not_repeated_for_ever(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TRANSACTION_MS", 100)
    monkeypatch.setattr(limits, "TRANSACTION_SQLITE_MS", 100)
    calls: list[int] = []

    @tool(effect="transaction")
    async def slow(ctx: ToolContext) -> None:
        """Slow."""
        calls.append(1)
        await ctx.tx.execute(insert(BOOK).values(n=1, who="x"))
        await asyncio.sleep(0.3)  # longer than it may be open: this is the fault

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("slow", slow)
        except StepFailed as exc:
            return exc.code

    hf = await desk.open(w)
    await make(hf)
    view = await within(outcome(hf, "w"), 10)
    assert output(view) == "transaction_timeout"
    assert await book(hf) == []
    assert calls == [1]
    assert (await effect(hf, view)).status is EffectStatus.FAILED


async def test_what_the_database_refuses_at_the_commit_is_told_and_not_repeated_for_ever(desk: Desk) -> None:
    """A deferred constraint is judged by the commit itself."""
    calls: list[int] = []

    @tool(effect="transaction")
    async def point(ctx: ToolContext) -> None:
        """Point at what is not there."""
        calls.append(1)
        await ctx.tx.execute("INSERT INTO test_page (n, after) VALUES (1, 4711)")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("point", point)
        except StepFailed as exc:
            return exc.code

    async def pages(tx: Any) -> None:
        await tx.execute(text("DROP TABLE IF EXISTS test_page"))
        deferred = "REFERENCES test_page (n) DEFERRABLE INITIALLY DEFERRED"
        await tx.execute(text(f"CREATE TABLE test_page (n INTEGER PRIMARY KEY, after INTEGER {deferred})"))

    hf = await desk.open(w)
    await hf.house.database.write(None, pages)
    view = await within(outcome(hf, "w"), 10)
    assert output(view) == "store_rejected"
    assert calls == [1]
    assert (await effect(hf, view)).status is EffectStatus.FAILED


async def test_a_single_statement_is_cut_off_at_the_time_of_its_transaction(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, where everybody waits for it: on PostgreSQL others may write meanwhile."""
    monkeypatch.setattr(limits, "TRANSACTION_SQLITE_MS", 200)

    @tool(effect="transaction")
    async def count(ctx: ToolContext) -> Any:
        """Count for an hour."""
        await ctx.tx.execute(insert(BOOK).values(n=1, who="x"))
        numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000000000)"
        return await ctx.tx.rows(f"{numbers} SELECT count(*) FROM c")

    @workflow("w", tools=[count])
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("count", count)
        except StepFailed as exc:
            return exc.code

    async with AsyncExitStack() as stack:
        hf = await Desk(sqlite_url, stack).open(w)
        await make(hf)
        view = await within(outcome(hf, "w"), 10)
        assert output(view) == "transaction_timeout"
        assert await book(hf) == []
