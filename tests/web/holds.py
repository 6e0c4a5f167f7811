"""Agents that stop and ask, for the web tests: each holds for one reason, and what was really done is counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from holdfast.agents.base import Agent, Context
from holdfast.agents.native import Agent as NativeAgent
from holdfast.agents.tools import Tool, tool
from holdfast.agents.workflow import workflow
from holdfast.domain.policies import Confirm, Deny
from holdfast.testing import Call, ScriptedModel


class Payment(BaseModel):
    order: str = "7"
    amount: int = 500


class Question(BaseModel):
    """What an asker asks for: a JSON schema, choices, a role, and how long it stands."""

    json_schema: dict[str, Any] | None = None
    choices: list[Any] | None = None
    roles: list[str] = []
    expires_ms: int | None = None
    default: Any = None


class Till:
    """What the tools have done, in order: one entry per execution."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.courier_is_lost = True


def made(till: Till) -> Sequence[Agent]:
    @tool(confirm={"amount": {"min": 100}}, deny=Deny(when={"amount": {"min": 10_000}}, reason="that is too much"))
    async def refund(order: str, amount: int) -> str:
        """Refund an order."""
        till.done.append(("refund", order, amount))
        return f"refunded {amount}"

    @tool(
        confirm=[
            Confirm(reason="a wire cannot be called back"),
            Confirm(when={"amount": {"min": 1_000}}, four_eyes=True, reason="it is a lot"),
        ]
    )
    async def wire(order: str, amount: int) -> str:
        till.done.append(("wire", order, amount))
        return f"wired {amount}"

    @tool(confirm=Confirm(roles=["approver", "boss"]))
    async def close(order: str, amount: int) -> str:
        till.done.append(("close", order, amount))
        return "closed"

    @tool(confirm=Confirm(quorum=2))
    async def destroy(order: str, amount: int) -> str:
        till.done.append(("destroy", order, amount))
        return "destroyed"

    @tool(confirm=Confirm(expires=timedelta(milliseconds=1)))
    async def hurry(order: str, amount: int) -> str:
        till.done.append(("hurry", order, amount))
        return "hurried"

    @tool(effect="unsafe")
    async def courier(order: str, amount: int) -> str:
        """Send a parcel; the answer of the first one never comes."""
        till.done.append(("courier", order, amount))
        if till.courier_is_lost:
            till.courier_is_lost = False
            raise ConnectionError("the line is dead")
        return "sent"

    pick = Tool(
        name="pick",
        description="Pick an order in the warehouse.",
        parameters={"type": "object", "properties": {"order": {"type": "string"}}},
        effect="read",
        external=True,
    )

    def paying(name: str, used: Any) -> Agent:
        @workflow(name)
        async def pay(ctx: Context, input: Payment) -> str:
            return await ctx.step(name, used, input.order, input.amount)

        return pay

    refunds = paying("refunds", refund)
    cashier = NativeAgent(
        "cashier",
        model=ScriptedModel([[Call("refund", {"order": "7", "amount": 500})], "Done."]),
        instructions="Refund.",
        tools=[refund],
    )
    pair = NativeAgent(
        "pair",
        model=ScriptedModel(
            [[Call("refund", {"order": "7", "amount": 500}), Call("refund", {"order": "8", "amount": 600})], "Done."]
        ),
        tools=[refund],
    )
    picker = NativeAgent("picker", model=ScriptedModel([Call("pick", {"order": "7"}), "Picked."]), tools=[pick])

    @workflow("asker")
    async def asker(ctx: Context, input: Question) -> Any:
        expires = None if input.expires_ms is None else timedelta(milliseconds=input.expires_ms)
        more = {} if input.default is None else {"default": input.default}
        return await ctx.ask(
            "How many?",
            schema=input.json_schema,
            choices=input.choices,
            roles=input.roles,
            expires=expires,
            **more,
        )

    @workflow("paid")
    async def paid(ctx: Context, input: str) -> Any:
        return await ctx.wait_event("paid", key=input)

    @workflow("paid_twice")
    async def paid_twice(ctx: Context, input: str) -> Any:
        first = await ctx.wait_event("paid", key=input)
        return [first, await ctx.wait_event("paid", key=input)]

    @workflow("parent", agents=[refunds])
    async def parent(ctx: Context) -> Any:
        return await ctx.call(refunds, Payment())

    @workflow("grandparent", agents=[parent])
    async def grandparent(ctx: Context) -> Any:
        return await ctx.call(parent)

    return [
        refunds,
        paying("wires", wire),
        paying("closes", close),
        paying("destroys", destroy),
        paying("hurries", hurry),
        paying("couriers", courier),
        cashier,
        pair,
        picker,
        asker,
        paid,
        paid_twice,
        parent,
        grandparent,
    ]
