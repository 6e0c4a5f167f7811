"""Leave for tool calls: asked as the rules say, given by whom they name, for exactly the arguments shown, used once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator
from pydantic_ai.exceptions import ApprovalRequired

from holdfast import Agent, Confirm, Context, Deny, ToolContext, tool, workflow
from holdfast.domain import ids, limits
from holdfast.domain.approvals import Approval, ApprovalStatus, ApprovalType
from holdfast.domain.effects import EffectStatus
from holdfast.domain.encoding import decode
from holdfast.domain.errors import CallRefused, Conflict, Invalid, NotFound, Refused
from holdfast.domain.ids import LOCAL_ADMIN, TenantId
from holdfast.domain.journal import EntryType, StepKind
from holdfast.domain.runs import OnBusy, RunStatus
from holdfast.testing import Call, ScriptedModel
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    crash,
    effect,
    ended,
    entries,
    error,
    keys,
    ledger,
    look,
    outcome,
    output,
    person,
    question,
    questions,
    resolve,
    start,
    told,
    types,
    until,
    waiting,
    within,
)

ANN, BOB, CEC = person("ann"), person("bob"), person("cec")


def even(n: int) -> int:
    if n % 2:
        raise ValueError("only even amounts")
    return n


class Shop:
    """What was really paid back, and with which arguments."""

    def __init__(self, **promises: Any) -> None:
        self.refunds: list[dict[str, Any]] = []
        promises.setdefault("effect", "keyed")

        @tool(**promises)
        async def refund(ctx: ToolContext, order: str, amount: int, currency: str = "EUR") -> str:
            """Refund."""
            self.refunds.append({"order": order, "amount": amount, "currency": currency, "approved": ctx.approved})
            return f"refunded {amount}"

        self.tool = refund

    @property
    def amounts(self) -> list[int]:
        return [r["amount"] for r in self.refunds]


def refunding(shop: Shop, *amounts: int, **options: Any) -> tuple[Agent, ScriptedModel]:
    calls = [Call("refund", {"order": f"o{n}", "amount": amount}) for n, amount in enumerate(amounts or (150,))]
    model = ScriptedModel([calls, "done"], per="thread")
    return Agent("a", model=model, tools=[shop.tool], **options), model


# -- when leave is asked ----------------------------------------------------------------------------------------------


async def test_a_call_waits_for_leave_and_is_then_made_once(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(reason="money leaves the house"))
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    one = await effect(hf, view)
    assert shop.refunds == []
    assert (asked.type, asked.status, asked.version) == (ApprovalType.TOOL, ApprovalStatus.PENDING, 1)
    assert (asked.tool, asked.agent, asked.reason, asked.effect_id) == (
        "refund",
        "a",
        "money leaves the house",
        one.id,
    )
    assert asked.arguments == one.arguments == b'{"amount":150,"currency":"EUR","order":"o0"}'
    assert asked.arguments_hash == sha256(asked.arguments or b"").digest()
    assert asked.requested_by == LOCAL_ADMIN
    assert (asked.run_id, asked.root_id) == (view.run.id, view.run.id)
    assert one.status is EffectStatus.PLANNED
    done = await resolve(hf, asked, "approve", by=ANN)
    assert done.status is ApprovalStatus.APPROVED
    assert [d.name for d in done.decisions] == ["ann"]
    view = await ended(hf, view)
    assert output(view) == "done"
    assert shop.refunds == [{"order": "o0", "amount": 150, "currency": "EUR", "approved": True}]
    assert told(model) == [("refund", "refunded 150")]
    (used,) = await questions(hf, view, *ApprovalStatus)
    assert used.used_at is not None


async def test_the_journal_holds_the_question_and_its_answer_as_one_step(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    view = await look(hf, view)
    assert json.loads(view.run.waiting_on or b"[]") == [
        {"type": "approval", "id": ids.text(ids.APPROVAL, asked.id), "step": asked.key}
    ]
    await resolve(hf, asked, "approve", by=ANN, note="fine")
    view = await ended(hf, view)
    found = await entries(hf, view)
    opened = next(e for e in found if e.type is EntryType.APPROVAL_REQUESTED)
    closed = next(e for e in found if e.type is EntryType.APPROVAL_RESOLVED)
    assert (opened.kind, opened.key, closed.kind, closed.key) == (
        StepKind.INTERRUPT,
        asked.key,
        StepKind.INTERRUPT,
        asked.key,
    )
    said = json.loads(opened.payload or b"")
    assert said["approval_id"] == ids.text(ids.APPROVAL, asked.id)
    assert (said["type"], said["tool"], said["group"]) == ("tool", "refund", asked.group)
    answer = json.loads(closed.payload or b"")
    assert (answer["status"], answer["note"], answer["decided_by"]) == ("approved", "fine", ["ann"])
    assert answer["arguments_hash"] == (asked.arguments_hash or b"").hex()
    assert "arguments" not in answer
    told_types = [t for t in await types(hf, view) if t.startswith(("run.", "approval.", "tool."))]
    assert told_types == [
        "run.queued",
        "run.started",
        "approval.requested",
        "run.waiting",
        "approval.resolved",
        "run.resumed",
        "tool.started",
        "tool.completed",
        "run.succeeded",
    ]


CONDITIONS: list[Any] = [
    {"amount": {"min": 100}},
    lambda a: a["amount"] >= 100,
    Confirm(when={"amount": {"min": 100}}),
    [Confirm(when={"order": {"enum": ["zz"]}}), Confirm(when=lambda a: a["amount"] > 99)],
]


@pytest.mark.parametrize("confirm", CONDITIONS, ids=["mapping", "function", "rule", "rules"])
async def test_leave_is_asked_only_when_the_condition_holds(desk: Desk, confirm: Any) -> None:
    shop = Shop(confirm=confirm)
    small, _ = refunding(shop, 99)
    hf = await desk.open(small)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert shop.amounts == [99]
    assert not shop.refunds[0]["approved"]
    assert await questions(hf, view, *ApprovalStatus) == []
    hf.house.agents["a"] = refunding(shop, 100)[0]
    view = await start(hf, "a", "go")
    await question(hf, view)
    assert shop.amounts == [99]


@pytest.mark.parametrize("given", ["confirm", "deny"])
async def test_a_condition_that_raises_asks(desk: Desk, given: str) -> None:
    def broken(arguments: dict[str, Any]) -> bool:
        raise KeyError("nope")

    shop = Shop(**{given: broken})
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert "could not be judged" in (asked.reason or "")
    assert shop.refunds == []


async def test_a_denied_call_is_not_made_and_the_model_hears_why(desk: Desk) -> None:
    shop = Shop(confirm=True, deny=Deny(when={"amount": {"min": 100}}, reason="more than the till holds"))
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await outcome(hf, "a", "go")
    assert output(view) == "done"
    assert shop.refunds == []
    assert "more than the till holds" in str(told(model))
    assert (await effect(hf, view)).status is EffectStatus.ABANDONED
    assert await questions(hf, view, *ApprovalStatus) == []


async def test_a_denied_call_of_a_workflow_raises(desk: Desk) -> None:
    shop = Shop(deny=True)

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("refund", shop.tool, "o1", 5)
        except CallRefused as exc:
            return exc.code

    hf = await desk.open(w)
    assert output(await outcome(hf, "w")) == "tool_denied"
    assert shop.refunds == []


@pytest.mark.parametrize("pattern", ["refund", "ref*"])
async def test_an_agent_s_own_policies_hold_for_its_tools(desk: Desk, pattern: str) -> None:
    shop = Shop()
    a, _ = refunding(shop, policies={pattern: Confirm(quorum=2), "other": Deny()})
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert asked.demand.quorum == 2
    assert shop.refunds == []


async def test_a_read_tool_may_ask_for_leave_too(desk: Desk) -> None:
    shop = Shop(effect="read", confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert asked.effect_id is None
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [150]
    assert await ledger(hf, view) == []


async def test_the_tool_itself_may_ask_for_leave(desk: Desk) -> None:
    calls: list[bool] = []

    @tool(effect="keyed")
    async def refund(ctx: ToolContext, amount: int) -> str:
        """Refund."""
        calls.append(ctx.approved)
        if amount > 100 and not ctx.approved:
            raise ApprovalRequired()
        return "refunded"

    model = ScriptedModel([Call("refund", {"amount": 150}), "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[refund]))
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert (await effect(hf, view)).status is EffectStatus.PLANNED
    await resolve(hf, asked, "approve")
    view = await ended(hf, view)
    assert calls == [False, True]
    assert told(model) == [("refund", "refunded")]
    assert (await effect(hf, view)).status is EffectStatus.COMMITTED


@pytest.mark.parametrize("effect_class", ["read", "transaction", "unsafe"])
async def test_a_tool_of_any_class_may_ask_for_leave_by_itself(desk: Desk, effect_class: Any) -> None:
    calls: list[bool] = []

    @tool(effect=effect_class)
    async def refund(ctx: ToolContext, amount: int) -> str:
        """Refund."""
        calls.append(ctx.approved)
        if not ctx.approved:
            raise ApprovalRequired()
        return "refunded"

    model = ScriptedModel([Call("refund", {"amount": 150}), "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[refund]))
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "approve")
    assert output(await ended(hf, view)) == "done"
    assert calls == [False, True]


# -- who decides ------------------------------------------------------------------------------------------------------


async def test_a_quorum_takes_two_different_people(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(quorum=2))
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    assert (await resolve(hf, asked, "approve", by=ANN)).status is ApprovalStatus.PENDING
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked, "approve", by=ANN)
    assert caught.value.code == "already_decided"
    assert (await look(hf, view)).run.status is RunStatus.WAITING
    assert (await resolve(hf, asked, "approve", by=BOB)).status is ApprovalStatus.APPROVED
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [150]
    assert "approval.changed" in await types(hf, view)


async def test_one_refusal_is_enough(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(quorum=3))
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    await resolve(hf, asked, "approve", by=ANN)
    assert (await resolve(hf, asked, "reject", by=BOB)).status is ApprovalStatus.REJECTED
    assert output(await ended(hf, view)) == "done"
    assert shop.refunds == []


async def test_four_eyes_are_not_those_of_who_started_the_run(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(four_eyes=True))
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    with pytest.raises(Refused) as caught:  # an admin holds every role, but has only two eyes
        await resolve(hf, asked, "approve")
    assert caught.value.code == "four_eyes"
    await resolve(hf, asked, "approve", by=ANN)
    assert output(await ended(hf, view)) == "done"


async def test_who_started_the_run_may_withdraw_the_call(desk: Desk) -> None:
    """To reject it needs no second pair of eyes: that harms nobody."""
    shop = Shop(confirm=Confirm(four_eyes=True))
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await resolve(hf, await question(hf, view), "reject", note="my mistake")
    assert asked.status is ApprovalStatus.REJECTED
    assert output(await ended(hf, view)) == "done"
    assert shop.refunds == []
    assert "my mistake" in told(model)[0][1]


async def test_who_decides_holds_a_role(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(roles=["finance", "boss"]))
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    with pytest.raises(Refused) as caught:
        await resolve(hf, asked, "approve", by=ANN)
    assert caught.value.code == "role_missing"
    await resolve(hf, asked, "approve", by=person("dan", "finance"))
    assert output(await ended(hf, view)) == "done"


async def test_a_refusal_s_note_reaches_the_model(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "reject", note="Ask for the receipt first")
    view = await ended(hf, view)
    assert output(view) == "done"
    assert shop.refunds == []
    assert told(model) == [("refund", "error: The call was rejected by a person: Ask for the receipt first.")]
    assert (await effect(hf, view)).status is EffectStatus.ABANDONED


async def test_the_note_of_who_gave_leave_reaches_the_model(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "approve", note="only this once")
    await ended(hf, view)
    assert "only this once" in str(told(model))


# -- edits ------------------------------------------------------------------------------------------------------------


async def test_the_edited_arguments_are_executed_recorded_and_shown(desk: Desk) -> None:
    shop = Shop(confirm={"amount": {"min": 100}})
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    done = await resolve(hf, asked, "approve", by=ANN, arguments={"order": "o0", "amount": 120})
    assert done.status is ApprovalStatus.APPROVED
    view = await ended(hf, view)
    assert shop.amounts == [120]
    assert shop.refunds[0]["approved"]
    one = await effect(hf, view)
    assert json.loads(one.arguments)["amount"] == 120
    assert one.arguments_hash == done.arguments_hash
    assert "120" in str(told(model)[-1])
    assert "changed the arguments" in str(told(model))
    closed = next(e for e in await entries(hf, view) if e.type is EntryType.APPROVAL_RESOLVED)
    answer = json.loads(closed.payload or b"")
    assert answer["arguments"]["amount"] == 120
    assert answer["edited_by"] == ids.text(ids.PRINCIPAL, ANN.id)


async def test_an_edit_that_needs_no_leave_is_executed(desk: Desk) -> None:
    shop = Shop(confirm={"amount": {"min": 100}})
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "approve", arguments={"order": "o0", "amount": 20})
    view = await ended(hf, view)
    assert shop.amounts == [20]
    assert len(await questions(hf, view, *ApprovalStatus)) == 1


async def test_an_edit_under_a_stricter_demand_opens_a_new_question_that_its_editor_may_not_answer(desk: Desk) -> None:
    shop = Shop(
        confirm=[
            Confirm(when={"amount": {"min": 100}}),
            Confirm(when={"amount": {"min": 1000}}, four_eyes=True, reason="a lot of money"),
        ]
    )
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    first = await question(hf, view)
    await resolve(hf, first, "approve", by=ANN, arguments={"order": "o0", "amount": 5_000})
    view = await until(hf, view, lambda v: v.pos > 8 and v.run.status is RunStatus.WAITING, "asking again")
    second = await _other(hf, view, first)
    assert shop.refunds == []
    assert second.key == first.key.replace("leave#1", "leave#2")
    assert second.requested_by == ANN.id
    assert json.loads(second.arguments or b"")["amount"] == 5_000
    for principal in (ANN,):
        with pytest.raises(Refused) as caught:
            await resolve(hf, second, "approve", by=principal)
        assert caught.value.code == "four_eyes"
    with pytest.raises(Refused):
        await resolve(hf, second, "approve")  # the initiator
    await resolve(hf, second, "approve", by=BOB)
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [5_000]


async def _other(hf: Any, view: Any, *known: Approval) -> Approval:
    """The next question of the run, once it is open."""
    seen = {one.id for one in known}
    async with asyncio.timeout(20):
        while True:
            found = [q for q in await questions(hf, view) if q.id not in seen]
            if found and (await look(hf, view)).run.status is RunStatus.WAITING:
                return found[0]
            await asyncio.sleep(0.01)


async def test_an_edit_to_what_is_forbidden_is_refused_by_the_rules(desk: Desk) -> None:
    shop = Shop(confirm=True, deny=Deny(when={"amount": {"min": 1000}}, reason="too much"))
    a, model = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "approve", arguments={"order": "o0", "amount": 2_000})
    assert output(await ended(hf, view)) == "done"
    assert shop.refunds == []
    assert "too much" in str(told(model))


async def test_an_edit_voids_the_decisions_before_it(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(quorum=2))
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    await resolve(hf, asked, "approve", by=ANN)
    edited = await resolve(hf, asked, "approve", by=BOB, arguments={"order": "o0", "amount": 7})
    assert edited.status is ApprovalStatus.PENDING
    assert [(d.name, d.void) for d in edited.decisions] == [("ann", True), ("bob", False)]
    assert shop.refunds == []
    with pytest.raises(Conflict):
        await resolve(hf, asked, "approve", by=BOB)
    await resolve(hf, asked, "approve", by=ANN)  # for what it is now
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [7]


@pytest.mark.parametrize(
    "arguments",
    [{"order": "o0", "amount": "many"}, {"order": "o0"}, {"order": "o0", "amount": 1, "bribe": True}, {}],
)
async def test_an_edit_that_does_not_fit_the_tool_is_refused_and_changes_nothing(
    desk: Desk, arguments: Mapping[str, Any]
) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    with pytest.raises(Invalid) as caught:
        await resolve(hf, asked, "approve", arguments=dict(arguments))
    assert caught.value.code == "invalid_arguments"
    assert caught.value.errors
    assert await question(hf, view) == asked


async def test_an_edit_that_only_the_code_can_judge_is_asked_about_again(desk: Desk) -> None:
    paid: list[int] = []

    @tool(effect="keyed", confirm=True)
    async def refund(ctx: ToolContext, amount: Annotated[int, AfterValidator(even)]) -> str:
        """Refund."""
        paid.append(amount)
        return "ok"

    model = ScriptedModel([Call("refund", {"amount": 2}), "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[refund]))
    view = await start(hf, "a", "go")
    first = await question(hf, view)
    await resolve(hf, first, "approve", arguments={"amount": 3})
    second = await _other(hf, view, first)
    assert "only even amounts" in (second.reason or "")
    assert json.loads(second.arguments or b"") == {"amount": 2}
    await resolve(hf, second, "approve")
    assert output(await ended(hf, view)) == "done"
    assert paid == [2]


# -- decisions that do not count --------------------------------------------------------------------------------------


async def test_a_resolved_question_cannot_be_resolved_again(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    await resolve(hf, asked, "approve", by=ANN, note="first")
    for decision in ("approve", "reject"):
        with pytest.raises(Conflict) as caught:
            await resolve(hf, asked, decision, by=BOB)
        assert caught.value.code in ("already_resolved", "run_ended")
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [150]


async def test_of_many_who_answer_at_once_one_is_heard(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    people = [person(f"p{n}") for n in range(20)]
    answers = await asyncio.gather(
        *(resolve(hf, asked, ("approve", "reject")[n % 2], by=p) for n, p in enumerate(people)),
        return_exceptions=True,
    )
    won = [one for one in answers if isinstance(one, Approval)]
    lost = [one for one in answers if isinstance(one, Conflict)]
    assert (len(won), len(lost)) == (1, 19)
    first = {json.dumps(one.details.get("decision"), sort_keys=True) for one in lost if one.code == "already_resolved"}
    assert len(first) <= 1
    await ended(hf, view)
    assert len(shop.refunds) == (won[0].status is ApprovalStatus.APPROVED)


@pytest.mark.parametrize("decision", ["answer"])
async def test_a_decision_of_another_type_is_refused(desk: Desk, decision: str) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    with pytest.raises(Invalid) as caught:
        await resolve(hf, asked, decision, answer={"approved": True})
    assert caught.value.code == "wrong_decision"
    with pytest.raises(Invalid):
        await resolve(hf, asked, "reject", arguments={"order": "o0", "amount": 1})


async def test_a_decision_on_what_has_changed_meanwhile_is_refused(desk: Desk) -> None:
    shop = Shop(confirm=Confirm(quorum=3))
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    await resolve(hf, asked, "approve", by=ANN, arguments={"order": "o0", "amount": 9_999})
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked, "approve", by=BOB, version=asked.version)
    assert caught.value.code == "version_conflict"
    assert (await resolve(hf, asked, "approve", by=BOB, version=asked.version + 1)).version == asked.version + 2


async def test_another_tenant_does_not_see_the_question(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    stranger = replace(ANN, tenant_id=TenantId(b"o" * 16))
    with pytest.raises(NotFound):
        await resolve(hf, asked, "approve", by=stranger)


async def test_arguments_that_claim_to_be_approved_are_only_arguments(desk: Desk) -> None:
    seen: list[bool] = []

    @tool(effect="unsafe", confirm=True)
    async def act(ctx: ToolContext, approved: bool = False) -> str:
        """Act."""
        seen.append(ctx.approved)
        return "did"

    model = ScriptedModel([Call("act", {"approved": True}), "done"])
    hf = await desk.open(Agent("a", model=model, tools=[act]))
    view = await start(hf, "a", "go", metadata={"approved": True})
    await question(hf, view)
    assert seen == []


async def test_the_next_turn_asks_for_the_same_call_again(desk: Desk) -> None:
    shop = Shop(confirm=True)
    same = Call("refund", {"order": "o0", "amount": 150})
    model = ScriptedModel([same, same, "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[shop.tool]))
    view = await start(hf, "a", "go")
    first = await question(hf, view)
    await resolve(hf, first, "approve")
    second = await _other(hf, view, first)
    assert shop.amounts == [150]
    await resolve(hf, second, "reject")
    await ended(hf, view)
    assert shop.amounts == [150]


# -- groups -----------------------------------------------------------------------------------------------------------


async def test_all_questions_of_a_turn_open_together_and_allowed_siblings_run_first(desk: Desk) -> None:
    shop = Shop(confirm={"amount": {"min": 100}})
    a, model = refunding(shop, 150, 10, 200)
    hf = await desk.open(a)
    view = await waiting(hf, await start(hf, "a", "go"))
    asked = await questions(hf, view)
    assert len(asked) == 2
    assert asked[0].group == asked[1].group
    assert asked[0].created_at == asked[1].created_at
    assert shop.amounts == [10], "who needs no leave does not wait for the others"
    found = await entries(hf, view)
    opened = [e.pos for e in found if e.type is EntryType.APPROVAL_REQUESTED]
    assert opened[1] == opened[0] + 1
    started = next(e.pos for e in found if e.type is EntryType.TOOL_STARTED)
    assert started > opened[1]
    assert (await types(hf, view)).count("run.waiting") == 1
    first, second = sorted(asked, key=lambda q: q.key)
    await resolve(hf, first, "approve")
    assert (await look(hf, view)).run.status is RunStatus.WAITING
    assert shop.amounts == [10]
    await resolve(hf, second, "reject", note="no")
    view = await ended(hf, view)
    assert sorted(shop.amounts) == [10, 150]
    assert [name for name, _ in told(model)] == ["refund"] * 3
    assert (await types(hf, view)).count("run.resumed") == 1


async def test_questions_of_one_turn_stand_in_the_inbox_in_the_order_of_their_calls(desk: Desk) -> None:
    """They are asked at the same millisecond."""
    shop = Shop(confirm=True)
    amounts = list(range(100, 112))
    a, _ = refunding(shop, *amounts)
    hf = await desk.open(a)
    view = await waiting(hf, await start(hf, "a", "go"))
    asked = await questions(hf, view)
    assert len({one.created_at for one in asked}) == 1
    assert [decode(one.arguments)["amount"] for one in asked] == amounts


async def test_branches_of_a_gather_wake_one_by_one(desk: Desk) -> None:
    shop = Shop(confirm=True)
    ran: list[int] = []

    async def branch(ctx: Context, n: int) -> int:
        await ctx.step("refund", shop.tool, f"o{n}", n)
        ran.append(n)
        return n

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(branch(ctx, 1), branch(ctx, 2))

    hf = await desk.open(w)
    view = await waiting(hf, await start(hf, "w"))
    asked = await questions(hf, view)
    assert len({one.group for one in asked}) == 2
    second = next(q for q in asked if json.loads(q.arguments or b"")["amount"] == 2)
    await resolve(hf, second, "approve")
    async with asyncio.timeout(20):
        while shop.amounts != [2] or (await look(hf, view)).run.status is not RunStatus.WAITING:
            await asyncio.sleep(0.01)
    assert len(await questions(hf, view)) == 1
    (first,) = await questions(hf, view)
    await resolve(hf, first, "approve")
    assert output(await ended(hf, view)) == [1, 2]
    assert shop.amounts == [2, 1]


async def test_a_crash_while_siblings_run_does_not_ask_again(desk: Desk) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    shop = Shop(confirm=True)

    @tool(effect="read")
    async def slow() -> str:
        """Slow."""
        begun.set()
        await go.wait()
        return "slow"

    model = ScriptedModel([[Call("refund", {"order": "o", "amount": 1}), Call("slow")], "done"], per="thread")
    hf = await desk.open(Agent("a", model=model, tools=[shop.tool, slow]))
    view = await start(hf, "a", "go")
    await within(begun.wait())
    (asked,) = await questions(hf, view)
    await crash(hf, view)
    go.set()
    await resolve(hf, asked, "approve")
    view = await ended(hf, view)
    assert shop.amounts == [1]
    assert len(await questions(hf, view, *ApprovalStatus)) == 1


# -- where leave is asked ---------------------------------------------------------------------------------------------


async def test_a_workflow_s_step_asks_for_leave(desk: Desk) -> None:
    shop = Shop(confirm=True)

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("refund", shop.tool, "o1", amount=7)

    hf = await desk.open(w)
    view = await start(hf, "w")
    asked = await question(hf, view)
    assert asked.key == "refund#1/leave#1"
    assert (asked.agent, asked.tool) == ("w", "refund")
    await resolve(hf, asked, "approve", arguments={"order": "o1", "amount": 6})
    assert output(await ended(hf, view)) == "refunded 6"


async def test_a_refused_step_of_a_workflow_raises_what_the_person_said(desk: Desk) -> None:
    shop = Shop(confirm=True)

    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.step("refund", shop.tool, "o1", amount=7)

    hf = await desk.open(w)
    view = await start(hf, "w")
    await resolve(hf, await question(hf, view), "reject", note="not mine")
    failure = error(await ended(hf, view))
    assert failure["code"] == "approval_rejected"
    assert "not mine" in failure["message"]


@pytest.mark.usefixtures("parking")
async def test_a_child_s_question_is_the_child_s_and_resumes_all_above_it(desk: Desk) -> None:
    shop = Shop(confirm=True)
    below_model = ScriptedModel([Call("refund", {"order": "o", "amount": 150}), "done"], per="thread")
    below = Agent("below", model=below_model, tools=[shop.tool])
    top_model = ScriptedModel([Call("below", {"input": "go"}), "top done"], per="thread")
    top = Agent("top", model=top_model, tools=[below.as_tool()])
    hf = await desk.open(top)
    view = await waiting(hf, await start(hf, "top", "go"))
    async with asyncio.timeout(20):
        while not (found := await questions(hf, view)):
            await asyncio.sleep(0.01)
    (asked,) = found
    assert asked.run_id != view.run.id
    assert asked.root_id == view.run.id
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, view)) == "top done"
    assert shop.amounts == [150]


async def test_a_call_of_an_agent_may_itself_need_leave(desk: Desk) -> None:
    below = Agent("below", model=ScriptedModel(["I did it"]))
    top_model = ScriptedModel([Call("below", {"input": "go"}), "top done"], per="thread")
    top = Agent("top", model=top_model, tools=[below.as_tool()], policies={"below": Confirm(reason="it costs")})
    hf = await desk.open(top)
    view = await start(hf, "top", "go")
    asked = await question(hf, view)
    assert (asked.tool, asked.reason) == ("below", "it costs")
    assert not [k for k in await keys(hf, view) if "child" in k]
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, view)) == "top done"
    assert told(top_model) == [("below", "I did it")]


async def test_an_agent_that_may_not_be_called_is_not(desk: Desk) -> None:
    ran: list[Any] = []

    def reply(history: Any, info: Any) -> str:
        ran.append(history)
        return "never"

    below = Agent("below", model=ScriptedModel(reply))
    top_model = ScriptedModel([Call("below", {"input": "go"}), "top done"], per="thread")
    top = Agent("top", model=top_model, tools=[below.as_tool()], policies={"below": Confirm()})
    hf = await desk.open(top)
    view = await start(hf, "top", "go")
    await resolve(hf, await question(hf, view), "reject", note="too dear")
    assert output(await ended(hf, view)) == "top done"
    assert ran == []
    assert "too dear" in str(told(top_model))


# -- the end of a run -------------------------------------------------------------------------------------------------


async def test_a_cancel_closes_the_questions_and_gives_up_the_calls(desk: Desk) -> None:
    shop = Shop(confirm=True)
    a, _ = refunding(shop, 1, 2)
    hf = await desk.open(a)
    view = await waiting(hf, await start(hf, "a", "go"))
    asked = await questions(hf, view)
    await cancel(hf, view)
    view = await look(hf, view)
    assert view.run.status is RunStatus.CANCELLED
    closed = await questions(hf, view, *ApprovalStatus)
    assert {q.status for q in closed} == {ApprovalStatus.CANCELLED}
    assert {e.status for e in await ledger(hf, view)} == {EffectStatus.ABANDONED}
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked[0], "approve")
    assert caught.value.code == "run_ended"
    assert shop.refunds == []


@pytest.mark.parametrize("on_busy", [OnBusy.INTERRUPT, OnBusy.ROLLBACK])
async def test_a_new_message_may_take_the_place_of_a_run_that_waits_for_leave(desk: Desk, on_busy: OnBusy) -> None:
    shop = Shop(confirm=True)
    model = ScriptedModel([Call("refund", {"order": "o", "amount": 1}), "done"])
    hf = await desk.open(Agent("a", model=model, tools=[shop.tool]))
    first = await waiting(hf, await start(hf, "a", "go", thread="t"))
    second = await start(hf, "a", "again", thread="t", on_busy=on_busy)
    assert (await look(hf, first)).run.status is RunStatus.CANCELLED
    second = await waiting(hf, second)
    assert second.run.on_busy_applied is on_busy, "a planned call has done nothing"
    assert shop.refunds == []


# -- rules that change while people think -----------------------------------------------------------------------------


async def test_a_stricter_rule_deployed_meanwhile_asks_again(desk: Desk) -> None:
    lenient, strict = Shop(confirm=True), Shop(confirm=Confirm(four_eyes=True, reason="new rule"))
    a, _ = refunding(lenient)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    first = await question(hf, view)
    hf.house.agents["a"] = refunding(strict)[0]
    await resolve(hf, first, "approve")
    second = await _other(hf, view, first)
    assert "new rule" in (second.reason or "")
    assert lenient.refunds == strict.refunds == []
    with pytest.raises(Refused):
        await resolve(hf, second, "approve")
    await resolve(hf, second, "approve", by=ANN)
    assert output(await ended(hf, view)) == "done"
    assert strict.amounts == [150]


async def test_what_is_forbidden_meanwhile_is_refused_although_leave_was_given(desk: Desk) -> None:
    before, after = Shop(confirm=True), Shop(confirm=True, deny=Deny(reason="frozen"))
    a, _ = refunding(before)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    changed, model = refunding(after)
    hf.house.agents["a"] = changed
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, view)) == "done"
    assert before.refunds == after.refunds == []
    assert "frozen" in str(told(model))


@pytest.mark.impure  # the rules are others in between
async def test_what_needs_no_leave_any_more_still_waits_for_the_question_that_is_open(desk: Desk) -> None:
    before, after = Shop(confirm=True), Shop()
    a, _ = refunding(before)
    hf = await desk.open(a)
    view = await start(hf, "a", "go")
    asked = await question(hf, view)
    hf.house.agents["a"] = refunding(after)[0]
    await resolve(hf, asked, "reject")
    assert output(await ended(hf, view)) == "done"
    assert before.refunds == after.refunds == []


# -- time -------------------------------------------------------------------------------------------------------------


async def asking(desk: Desk, clock: FakeClock, shop: Shop, **options: Any) -> tuple[Any, Any, Any]:
    a, model = refunding(shop, **options)
    hf = await desk.open(a, determinism=clock.determinism)
    return hf, await waiting(hf, await start(hf, "a", "go")), model


async def test_nobody_s_answer_is_a_refusal(desk: Desk, clock: FakeClock) -> None:
    shop = Shop(confirm=Confirm(expires=timedelta(hours=1)))
    hf, view, model = await asking(desk, clock, shop)
    asked = await question(hf, view)
    assert asked.expires_at == clock.now_ms() + 3_600_000
    clock.advance(timedelta(hours=1))
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked, "approve")
    assert caught.value.code == "expired"
    view = await ended(hf, view)
    assert output(view) == "done"
    assert shop.refunds == []
    (closed,) = await questions(hf, view, *ApprovalStatus)
    assert closed.status is ApprovalStatus.EXPIRED
    assert "not answered in time" in str(told(model))
    with pytest.raises(Conflict):
        await resolve(hf, asked, "approve")


async def test_a_question_stands_for_seven_days_unless_told_otherwise(desk: Desk, clock: FakeClock) -> None:
    hf, view, _ = await asking(desk, clock, Shop(confirm=True))
    assert (await question(hf, view)).expires_at == clock.now_ms() + 7 * 86_400_000


async def test_nobody_s_answer_may_be_leave(desk: Desk, clock: FakeClock) -> None:
    shop = Shop(confirm=Confirm(expires=timedelta(hours=1), on_expiry="approve"))
    hf, view, _ = await asking(desk, clock, shop)
    clock.advance(timedelta(hours=1))
    view = await ended(hf, view)
    assert shop.amounts == [150]
    (closed,) = await questions(hf, view, *ApprovalStatus)
    assert closed.status is ApprovalStatus.APPROVED
    assert [(d.principal_id, d.name) for d in closed.decisions] == [(None, "expiry")]


async def test_a_question_escalates_once(desk: Desk, clock: FakeClock) -> None:
    shop = Shop(confirm=Confirm(roles="clerk", expires=timedelta(hours=1), on_expiry="escalate", escalate_to="boss"))
    hf, view, _ = await asking(desk, clock, shop)
    asked = await question(hf, view)
    clerk, boss = person("carl", "clerk"), person("bea", "boss")
    with pytest.raises(Refused):
        await resolve(hf, asked, "approve", by=boss)
    clock.advance(timedelta(hours=1))
    async with asyncio.timeout(20):
        while not (found := await questions(hf, view)) or not found[0].escalated:
            await asyncio.sleep(0.01)
    assert found[0].expires_at == clock.now_ms() + 3_600_000
    assert "approval.changed" in await types(hf, view)
    with pytest.raises(Refused):
        await resolve(hf, asked, "approve", by=clerk)
    await resolve(hf, asked, "approve", by=boss)
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [150]


async def test_an_escalated_question_that_nobody_answers_is_a_refusal(desk: Desk, clock: FakeClock) -> None:
    shop = Shop(confirm=Confirm(expires=timedelta(hours=1), on_expiry="escalate", escalate_to="boss"))
    hf, view, _ = await asking(desk, clock, shop)
    clock.advance(timedelta(hours=1))
    async with asyncio.timeout(20):
        while not (found := await questions(hf, view)) or not found[0].escalated:
            await asyncio.sleep(0.01)
    clock.advance(timedelta(hours=1))
    view = await ended(hf, view)
    assert shop.refunds == []
    assert [q.status for q in await questions(hf, view, *ApprovalStatus)] == [ApprovalStatus.EXPIRED]


async def test_leave_that_is_not_used_in_time_is_asked_for_again(desk: Desk, clock: FakeClock) -> None:
    """Everybody was away: the leave was given, and no process was there to use it for longer than it lasts."""
    shop = Shop(confirm=Confirm(expires=timedelta(hours=1)))
    a, _ = refunding(shop)
    first = desk.make(a, determinism=clock.determinism)
    async with first.running():
        view = await waiting(first, await start(first, "a", "go"))
        asked = await question(first, view)
        await first.supervisor.worker.drain(100)
        await resolve(first, asked, "approve")
    clock.advance(limits.LEAVE_USABLE_MS + 1)
    hf = await desk.open(refunding(shop)[0], determinism=clock.determinism)
    again = await _other(hf, view, asked)
    assert "not used in time" in (again.reason or "")
    assert shop.refunds == []
    await resolve(hf, again, "approve")
    view = await ended(hf, view)
    assert output(view) == "done"
    assert shop.amounts == [150]


async def test_leave_for_a_call_that_stands_in_no_ledger_lapses_too(desk: Desk, clock: FakeClock) -> None:
    shop = Shop(effect="read", confirm=Confirm(expires=timedelta(hours=1)))
    a, _ = refunding(shop)
    first = desk.make(a, determinism=clock.determinism)
    async with first.running():
        view = await waiting(first, await start(first, "a", "go"))
        asked = await question(first, view)
        await first.supervisor.worker.drain(100)
        await resolve(first, asked, "approve")
    clock.advance(limits.LEAVE_USABLE_MS + 1)
    hf = await desk.open(refunding(shop)[0], determinism=clock.determinism)
    again = await _other(hf, view, asked)
    assert "not used in time" in (again.reason or "")
    assert shop.refunds == []
    await resolve(hf, again, "approve")
    assert output(await ended(hf, view)) == "done"
    assert shop.amounts == [150]


@pytest.mark.parametrize("since", ["forbidden", "lapsed"])
async def test_an_agent_that_was_called_with_leave_is_not_forgotten(desk: Desk, clock: FakeClock, since: str) -> None:
    """Its run is under way, and acts: what the rules say by now, and how long ago leave was given, comes too late."""

    @tool(name="look", effect="read")
    async def look_it_up(ctx: ToolContext, what: str) -> str:
        """Look."""
        return await ctx.ask("Which?", expires=timedelta(days=30))

    searching = ScriptedModel([Call("look", {"what": "x"}), "found it"], per="thread")
    helper = Agent("helper", model=searching, tools=[look_it_up])
    model = ScriptedModel([Call("helper", {"input": "look"}), "done"], per="thread")

    def outer(rule: Any) -> Agent:
        return Agent("a", model=model, tools=[helper.as_tool()], policies={"helper": rule})

    hf = await desk.open(outer(Confirm()), helper, determinism=clock.determinism)
    view = await start(hf, "a", "go")
    await resolve(hf, await question(hf, view), "approve", note="go ahead")
    async with asyncio.timeout(10):
        while not (asked := [q for q in await questions(hf, view) if q.type is ApprovalType.INPUT]):
            await asyncio.sleep(0.01)
    await waiting(hf, view)
    if since == "forbidden":
        hf.house.agents["a"] = outer(Deny(reason="since today"))
    clock.advance(timedelta(days=10))
    await resolve(hf, asked[0], "answer", answer="this")
    assert output(await within(ended(hf, view), 10)) == "done"
    first, *rest = told(model)
    assert first == ("helper", "found it")
    assert "go ahead" in str(rest)


# -- what waiting costs -----------------------------------------------------------------------------------------------


async def test_two_hundred_runs_that_wait_have_no_task_and_no_executor(desk: Desk) -> None:
    shop = Shop(confirm=True)

    @workflow("w")
    async def w(ctx: Context, n: int) -> Any:
        return await ctx.step("refund", shop.tool, f"o{n}", n)

    hf = await desk.open(w)
    before = len(asyncio.all_tasks())
    views = await asyncio.gather(*(start(hf, "w", n) for n in range(200)))
    for view in views:
        await waiting(hf, view)
    async with asyncio.timeout(20):
        while hf.supervisor.worker.executors:
            await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) <= before
    assert hf.supervisor.worker.slots.free == hf.supervisor.worker.slots.size
    for view in views[:3]:
        (asked,) = await questions(hf, view)
        await resolve(hf, asked, "approve")
        await ended(hf, view)
    assert len(shop.refunds) == 3
