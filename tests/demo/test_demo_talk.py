"""The scripted clerk: conversations through the real agents, tools and shop; and a pure function of the messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from holdfast import Settings
from holdfast.demo import Demo, build, script
from holdfast.demo.shop import DAMAGED_ORDER, DELIVERED_ORDER, OPEN_ORDER, SHIPPED_ORDER
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import decode
from holdfast.service import runs
from holdfast.testing import RequestInfo
from tests import replays


@dataclass(frozen=True)
class Answer:
    """What the clerk said, which tools it called, and which agent it was in the end."""

    text: str
    tools: list[str]
    acting: str


@dataclass
class Desk:
    demo: Demo
    threads: int = 0

    async def talk(self, agent: str, *said: str) -> list[Answer]:
        """A conversation in a thread of its own."""
        self.threads += 1
        return [await self.ask(agent, text, f"thread {self.threads}") for text in said]

    async def ask(self, agent: str, said: object, thread: str) -> Answer:
        house = self.demo.holdfast.house
        ask = runs.StartRun(agent=agent, input=said, thread_external_id=thread, thread_create=True)
        view = (await runs.start(house, LOCAL_PRINCIPAL, ask)).view
        while not view.run.status.ended:
            view = await runs.wait(house, LOCAL_PRINCIPAL, view, 15)
        assert view.run.status == "succeeded", view.run.error
        steps = [one.entry for one in await runs.steps(house, LOCAL_PRINCIPAL, view.run.id, 0, 200)]
        tools = [str(step.name) for step in steps if step.kind in ("tool", "handoff")]
        output = decode(view.output)
        return Answer(output if isinstance(output, str) else output["summary"], tools, view.run.acting_agent)


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    # No pause between pieces of text: nobody watches.
    monkeypatch.setattr("holdfast.demo.desk.CONFIRMATION_S", 0.05)
    demo = build(tmp_path, settings=Settings(freeze_gc=False))
    async with demo.holdfast.running():
        yield Desk(demo)
        await replays.assert_identical([demo.holdfast])


async def test_the_desk_finds_out_where_an_order_is(desk: Desk) -> None:
    shipped, open_, unknown = await desk.talk(
        "support", f"Hello! Where is my order {SHIPPED_ORDER}?", f"And #{OPEN_ORDER}?", "What is the status of 1999?"
    )
    parcel = desk.demo.shop.shipment(SHIPPED_ORDER)
    assert parcel is not None
    assert shipped.tools == ["order_status", "track_shipment"]
    assert parcel["tracking"] in shipped.text
    assert open_.tools == ["order_status"]
    assert "being packed" in open_.text
    assert "no order 1999" in unknown.text


async def test_a_refund_is_talked_through_and_made_once(desk: Desk) -> None:
    which, why, done, again = await desk.talk(
        "support",
        "I want my money back",
        f"It is {DELIVERED_ORDER}",
        "The handle came off",
        "Refund it because it broke",
    )
    assert "order number" in which.text
    assert "what was wrong" in why.text
    assert desk.demo.shop.counts()["refunds"] == 1
    order = desk.demo.shop.order(DELIVERED_ORDER)
    assert order is not None
    assert done.tools == ["order_status", "refund_order"]
    assert order["total"] in done.text
    assert "in full already" in again.text


async def test_a_part_may_be_refunded_and_what_is_under_way_may_not(desk: Desk) -> None:
    part, no = await desk.talk(
        "support",
        f"Please refund 5.50 EUR of order {DAMAGED_ORDER}, a cup was cracked",
        f"Refund {SHIPPED_ORDER}, it is late",
    )
    assert "5.50 EUR" in part.text
    assert no.tools == ["order_status"]
    assert "not delivered" in no.text
    assert desk.demo.shop.counts()["refunds"] == 1


async def test_an_address_is_changed_for_the_order_that_is_meant_and_not_for_a_postcode(desk: Desk) -> None:
    ask, done, late = await desk.talk(
        "support",
        f"I moved, please change the address of order {OPEN_ORDER}",
        "4 Canal Walk, 1012 Amsterdam",
        f"And send order {SHIPPED_ORDER} to 4 Canal Walk, 1012 Amsterdam please",
    )
    assert "new address" in ask.text
    assert done.tools == ["change_address"]
    assert "4 Canal Walk, 1012 Amsterdam" in done.text
    assert str(SHIPPED_ORDER) in late.text
    order = desk.demo.shop.order(OPEN_ORDER)
    assert order is not None
    assert order["ship_to"] == "4 Canal Walk, 1012 Amsterdam"


async def test_customers_orders_products_and_small_talk(desk: Desk) -> None:
    who, orders, customer, price, nothing, thanks = await desk.talk(
        "support",
        "Show me my orders",
        "ada.reyes@example.com",
        "Find the customer Ada Reyes",
        "How much is the carafe?",
        "xyzzy",
        "Thank you!",
    )
    assert "e-mail address" in who.text
    assert str(SHIPPED_ORDER) in orders.text
    assert "ada.reyes@example.com" in customer.text
    assert "36.50 EUR" in price.text
    assert (nothing.tools, "did not understand" in nothing.text) == ([], True)
    assert "welcome" in thanks.text


async def test_triage_hands_refunds_over_and_answers_the_rest(desk: Desk) -> None:
    where, refund, after = await desk.talk(
        "triage",
        f"Where is order {SHIPPED_ORDER}?",
        f"I want a refund for order {DAMAGED_ORDER}, it is cracked",
        "Where is it now?",
    )
    assert where.acting == "triage"
    assert refund.acting == "refunds"
    assert refund.tools == ["transfer_to_refunds", "order_status", "refund_order"]
    assert "Done: I have refunded" in refund.text
    assert after.acting == "triage"
    assert str(DAMAGED_ORDER) in after.text


async def test_the_restock_orders_what_is_low_and_sums_it_up_night_after_night(desk: Desk) -> None:
    first = await desk.ask("nightly-restock", {}, "night 1")
    ordered = desk.demo.shop.counts()["purchase_orders"]
    assert f"{ordered} products ran low" in first.text
    assert ordered >= 5
    second = await desk.ask("nightly-restock", {"products_max": 3}, "night 2")
    assert "3 products ran low" in second.text
    assert desk.demo.shop.counts()["purchase_orders"] == ordered + 3


async def test_the_model_says_that_it_is_scripted(desk: Desk) -> None:
    definitions = {agent.id: agent.definition() for agent in desk.demo.holdfast.registry}
    assert set(definitions) == {"support", "triage", "refunds", "buyer", "nightly-restock"}
    assert {definition["model"] for definition in definitions.values() if "model" in definition} == {
        "scripted:scripted"
    }


async def test_the_next_words_follow_from_the_messages_alone(desk: Desk) -> None:
    """Every request that the model got is answered the same by a fresh call: nothing is kept in memory."""
    await desk.talk("support", "I want a refund", str(DELIVERED_ORDER), "it was broken")
    (support,) = [agent for agent in desk.demo.holdfast.registry if agent.id == "support"]
    requests = list(support.resolved_model().requests)  # type: ignore[attr-defined]
    assert len(requests) >= 5
    for request in reversed(requests):
        first, second = (script.reply(list(request.messages), request.info) for _ in range(2))
        assert first == second


@pytest.mark.parametrize(
    "text",
    ["", "?", "1042", "refund", "to , 1012 X", "order 10421042", "refund -1 EUR of 1042", "to ß, 12345 Ö", "a" * 5_000],
)  # fmt: skip
def test_whatever_is_said_something_is_answered(text: str) -> None:
    from pydantic_ai.messages import ModelRequest, UserPromptPart

    tools = [ToolDefinition(name=name) for name in ("order_status", "refund_order", "change_address", "list_orders")]
    info = RequestInfo(ModelRequestParameters(function_tools=tools), None, 0, False)
    assert script.reply([ModelRequest(parts=[UserPromptPart(text)])], info)


def test_the_summary_speaks_of_what_was_ordered() -> None:
    said = script.summary(
        "Tonight's purchase orders:\n- 40 x carafe from Oak Works\n- 60 x salt mill from Atelier Nord"
    )
    assert "2 products" in said
    assert "100 pieces" in said
    assert "60 x salt mill" in said
    assert script.summary("Tonight's purchase orders:\n(none)").startswith("Nothing")
