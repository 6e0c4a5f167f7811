"""Tools whose result comes from outside: nobody is called, the call waits for an answer through the API."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic_ai.exceptions import CallDeferred

from holdfast import Agent, Context, Tool, ToolContext, tool, workflow
from holdfast.domain import ids, limits
from holdfast.domain.approvals import ApprovalStatus, ApprovalType
from holdfast.domain.effects import EffectStatus
from holdfast.domain.errors import DefinitionError, Invalid
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    crash,
    ended,
    error,
    ledger,
    look,
    output,
    question,
    questions,
    resolve,
    start,
    told,
    types,
    waiting,
    within,
)

SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}


def outside(**promises: Any) -> Tool[..., Any]:
    return Tool(name="outside", description="Done elsewhere.", parameters=SCHEMA, external=True, **promises)


def agent(*tools: Any, calls: Any = None) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel([calls or Call("outside", {"what": "x"}), "done"], per="thread")
    return Agent("a", model=model, tools=list(tools)), model


async def test_the_answer_from_outside_is_the_result(desk: Desk) -> None:
    a, model = agent(outside())
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert (asked.type, asked.tool, asked.arguments) == (ApprovalType.EXTERNAL, "outside", b'{"what":"x"}')
    assert asked.key.endswith("/external#1")
    view = await look(hf, view)
    assert json.loads(view.run.waiting_on or b"[]") == [
        {"type": "ask", "id": ids.text(ids.APPROVAL, asked.id), "step": asked.key}
    ]
    await resolve(hf, asked, "answer", answer={"n": 1})
    assert output(await ended(hf, view)) == "done"
    assert told(model) == [("outside", {"n": 1})]
    assert await ledger(hf, view) == []
    assert (await types(hf, view)).count("approval.requested") == 1


async def test_who_does_it_outside_may_refuse(desk: Desk) -> None:
    a, model = agent(outside())
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "reject", note="not my job")
    assert output(await ended(hf, view)) == "done"
    assert "not my job" in str(told(model))


async def test_a_workflow_may_wait_for_an_external_tool(desk: Desk) -> None:
    there = outside()

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("ext", there, what="x")

    hf = await desk.open(w)
    view = await start(hf, "w")
    await resolve(hf, await question(hf, view), "answer", answer=[1])
    assert output(await ended(hf, view)) == [1]


async def test_leave_comes_before_the_work_outside(desk: Desk) -> None:
    a, model = agent(outside(confirm=True))
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    leave = await question(hf, view)
    assert leave.type is ApprovalType.TOOL
    await resolve(hf, leave, "approve", arguments={"what": "y"})
    async with asyncio.timeout(20):
        while not (found := [q for q in await questions(hf, view) if q.type is ApprovalType.EXTERNAL]):
            await asyncio.sleep(0.01)
    assert found[0].arguments == b'{"what":"y"}'
    await resolve(hf, found[0], "answer", answer="did y")
    assert output(await ended(hf, view)) == "done"
    assert told(model)[0] == ("outside", "did y")


async def test_external_calls_and_leave_of_one_turn_are_one_group(desk: Desk) -> None:
    ran: list[str] = []

    @tool(effect="unsafe", confirm=True)
    async def act(ctx: ToolContext) -> str:
        """Act."""
        ran.append("act")
        return "did"

    a, _ = agent(outside(), act, calls=[Call("outside", {"what": "x"}), Call("act")])
    hf = await desk.open(a)
    view = await waiting(hf, await start(hf, "a", "go"))
    both = {q.type: q for q in await questions(hf, view)}
    assert set(both) == {ApprovalType.EXTERNAL, ApprovalType.TOOL}
    await resolve(hf, both[ApprovalType.TOOL], "approve")
    assert ran == []
    await resolve(hf, both[ApprovalType.EXTERNAL], "answer", answer=1)
    assert output(await ended(hf, view)) == "done"
    assert ran == ["act"]


async def test_an_answer_that_does_not_come_is_told(desk: Desk, clock: FakeClock) -> None:
    a, model = agent(outside())
    hf = await desk.open(a, determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "a", "go"))
    clock.advance(limits.EXPIRES_MS)
    assert output(await ended(hf, view)) == "done"
    assert "not answered in time" in str(told(model))
    assert [q.status for q in await questions(hf, view, *ApprovalStatus)] == [ApprovalStatus.EXPIRED]


@pytest.mark.parametrize("effect_class", ["read", "transaction", "keyed", "unsafe"])
async def test_a_tool_may_defer_its_result_to_the_outside(desk: Desk, effect_class: Any) -> None:
    calls: list[str] = []

    @tool(name="outside", effect=effect_class)
    async def begin(ctx: ToolContext, what: str) -> str:
        """Begin."""
        calls.append(what)
        raise CallDeferred()

    a, model = agent(begin)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert asked.type is ApprovalType.EXTERNAL
    assert asked.arguments == b'{"what":"x"}'
    await resolve(hf, asked, "answer", answer="from outside")
    assert output(await ended(hf, view)) == "done"
    assert told(model) == [("outside", "from outside")]
    assert len(calls) <= 2, "it may begin again, since it said that it did nothing yet"
    assert {e.status for e in await ledger(hf, view)} <= {EffectStatus.ABANDONED}


async def test_a_crash_while_it_is_done_outside_asks_nobody_twice(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @tool(effect="read")
    async def slow() -> str:
        """Slow."""
        begun.set()
        await go.wait()
        return "slow"

    a, _ = agent(outside(), slow, calls=[Call("outside", {"what": "x"}), Call("slow")])
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await within(begun.wait())
    await crash(hf, view)
    go.set()
    (asked,) = await questions(hf, view)
    await resolve(hf, asked, "answer", answer=1)
    assert output(await ended(hf, view)) == "done"
    assert len(await questions(hf, view, *ApprovalStatus)) == 1


async def test_approving_is_no_result(desk: Desk) -> None:
    a, _ = agent(outside())
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    with pytest.raises(Invalid) as caught:
        await resolve(hf, await question(hf, view), "approve")
    assert caught.value.code == "wrong_decision"


async def test_a_workflow_hears_that_an_external_call_expired(desk: Desk, clock: FakeClock) -> None:
    there = outside()

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("ext", there, what="x")

    hf = await desk.open(w, determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "w"))
    clock.advance(timedelta(milliseconds=limits.EXPIRES_MS))
    assert error(await ended(hf, view))["code"] == "approval_expired"


def test_an_external_tool_has_no_function() -> None:
    with pytest.raises(DefinitionError):
        Tool(name="x", description="", parameters=SCHEMA)
    with pytest.raises(DefinitionError):
        Tool(name="x", description="", parameters=SCHEMA, external=True, call=lambda: None)
