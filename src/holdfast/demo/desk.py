"""The demo's agents: a support desk, a hand-off, and a workflow with parallel steps, a sleep and a child agent.

What a team would write, and nothing else: tools over its own database, agents, a workflow. Tools that change the shop
pass `run id / step key` as their request key. It is the same whenever the step is tried again, so a tool that was
killed between its write and its step's commit changes the shop once, although it runs twice.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field
from pydantic_ai.models import Model

from holdfast.agents.base import Context
from holdfast.agents.native import Agent
from holdfast.agents.tools import ToolContext, tool
from holdfast.agents.workflow import workflow
from holdfast.app import Holdfast
from holdfast.demo import script
from holdfast.demo.shop import Address, Shop, euros
from holdfast.domain.errors import Unavailable
from holdfast.settings import Settings
from holdfast.testing import ScriptedModel

SCRIPTED: Final = "scripted"
CONFIRMATION_S: Final = 1.5
CHUNK_LATENCY_MS: Final = 12


# --- tools -----------------------------------------------------------------------------------------------------------


@tool(effect="read")
def find_customer(ctx: ToolContext[Shop], query: str) -> list[dict[str, Any]]:
    """Find customers by a part of their name or e-mail address."""
    return ctx.deps.customers(query)


@tool(effect="read")
def list_orders(ctx: ToolContext[Shop], email: str) -> list[dict[str, Any]] | str:
    """List the latest orders of the customer with this e-mail address, newest first."""
    found = ctx.deps.orders_of(email)
    return f"There is no customer with the address {email}." if found is None else found


@tool(effect="read")
def order_status(ctx: ToolContext[Shop], order_id: int) -> dict[str, Any] | str:
    """Look up an order: its items, status, total, what was refunded, and where it goes."""
    found = ctx.deps.order(order_id)
    if found is None:
        return f"There is no order {order_id}."
    shown = {key: value for key, value in found.items() if not key.endswith("_cents")}
    return {**shown, "refunded": euros(found["refunded_cents"])}


@tool(effect="read")
def track_shipment(ctx: ToolContext[Shop], order_id: int) -> dict[str, Any] | str:
    """Track the parcel of an order: carrier, tracking number, where it was last seen, and when it is expected."""
    found = ctx.deps.shipment(order_id)
    return f"Nothing has been shipped for order {order_id}." if found is None else found


@tool(effect="read")
def search_products(ctx: ToolContext[Shop], query: str) -> list[dict[str, Any]]:
    """Search products by a part of their name: price and stock."""
    return ctx.deps.products(query)


@tool
def refund_order(ctx: ToolContext[Shop], order_id: int, reason: str, amount: Decimal | None = None) -> dict[str, Any]:
    """Refund a delivered order, in part if an amount in euros is given. Answers whether it was done, or why not."""
    cents = None if amount is None else round(amount * 100)
    return ctx.deps.refund(order_id, cents, reason, request_key(ctx))


@tool
def change_address(ctx: ToolContext[Shop], order_id: int, street: str, postcode: str, city: str) -> dict[str, Any]:
    """Change where an order is sent, as long as it has not been shipped. Answers whether it was done, or why not."""
    return ctx.deps.change_address(order_id, Address(street, postcode, city))


def request_key(ctx: ToolContext[Shop]) -> str:
    """The same whenever this call is tried again, and no other call's."""
    return f"{ctx.run_id}/{ctx.key}"


LOOKING: Final = (find_customer, list_orders, order_status, track_shipment, search_products)


# --- agents ----------------------------------------------------------------------------------------------------------


def support_agent(model: str | Model) -> Agent:
    return Agent(
        "support",
        model=model,
        name="Support desk",
        description="Answers about orders, parcels and products; refunds and redirects orders.",
        instructions=(
            "You are the support desk of a kitchenware shop. Look things up with your tools before you answer, and be "
            "brief and friendly. Refund an order only if the customer asks for it and says why. Never invent data."
        ),
        tools=[*LOOKING, refund_order, change_address],
    )


def triage_agent(model: str | Model) -> Agent:
    refunds = Agent(
        "refunds",
        model=model,
        name="Refunds",
        description="Decides about refunds and makes them.",
        instructions=(
            "You handle refunds for a kitchenware shop. Look the order up first. Refund delivered orders when the "
            "customer says what was wrong; explain kindly why others cannot be refunded."
        ),
        tools=[order_status, refund_order],
    )
    return Agent(
        "triage",
        model=model,
        name="Front desk",
        description="Answers simple questions and hands refunds over.",
        instructions=(
            "You are the front desk of a kitchenware shop. Answer questions about orders and parcels yourself. As soon "
            "as somebody wants money back, hand over to the refunds agent."
        ),
        tools=[order_status, track_shipment],
        handoffs=[refunds],
    )


def buyer_agent(model: str | Model) -> Agent:
    return Agent(
        "buyer",
        model=model,
        name="Buyer's assistant",
        description="Sums up a restock for the buyer.",
        instructions="You sum up tonight's purchase orders for the buyer of a kitchenware shop, in three sentences.",
    )


# --- the workflow ----------------------------------------------------------------------------------------------------


class Restock(BaseModel):
    """What the nightly restock is asked to do."""

    products_max: int = Field(8, ge=1, le=20, description="How many products to restock at most.")


class LowProduct(BaseModel):
    sku: str
    name: str
    stock: int
    supplier: str
    wanted: int


class PurchaseOrder(BaseModel):
    number: int
    sku: str
    name: str
    quantity: int
    supplier: str


class Restocked(BaseModel):
    """What the nightly restock did."""

    orders: list[PurchaseOrder]
    summary: str


def restock_workflow(model: str | Model) -> Any:
    buyer = buyer_agent(model)

    @workflow("nightly-restock", agents=[buyer])
    async def nightly_restock(ctx: Context, ask: Restock) -> Restocked:
        """Order what runs low: every order is a parallel step, then wait for the suppliers, then a summary."""
        shop: Shop = ctx.deps

        def low_stock() -> list[LowProduct]:
            return [LowProduct(**row) for row in shop.low_stock(ask.products_max)]

        def order(product: LowProduct) -> PurchaseOrder:
            number = shop.order_goods(product.sku, product.wanted, f"{ctx.info.run_id}/{product.sku}")
            return PurchaseOrder(
                number=number,
                sku=product.sku,
                name=product.name,
                quantity=product.wanted,
                supplier=product.supplier,
            )

        await ctx.step("close-day", shop.close_day, ctx.info.run_id)
        low = await ctx.step("find-low-stock", low_stock, returns=list[LowProduct])
        orders = await ctx.gather(*(ctx.step("order", order, p, returns=PurchaseOrder) for p in low))
        await ctx.sleep(CONFIRMATION_S)  # the suppliers confirm; days would cost no more than this
        lines = "\n".join(f"- {o.quantity} x {o.name} from {o.supplier}" for o in orders)
        summary = await ctx.call(buyer, f"Tonight's purchase orders:\n{lines or '(none)'}")
        await ctx.emit("restocked", {"orders": len(orders)})
        return Restocked(orders=list(orders), summary=summary)

    return nightly_restock


# --- together --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo, ready to be served: where its files are, which model speaks, and whether the shop was made just now."""

    holdfast: Holdfast
    shop: Shop
    directory: Path
    model: str
    shop_is_new: bool


def scripted_model(chunk_latency_ms: float = CHUNK_LATENCY_MS) -> ScriptedModel:
    return ScriptedModel(script.reply, chunk_chars=6, chunk_latency_ms=chunk_latency_ms)


def build(directory: Path, model: str = SCRIPTED, settings: Settings | None = None) -> Demo:
    """The demo with its files in `directory`, which is made if need be. `model`: a model's name, or `scripted`.

    Raises `Unavailable` if the files cannot be made.
    """
    shop = Shop(directory / "shop.db")
    try:
        made = shop.create()
    except (OSError, sqlite3.Error) as exc:
        raise Unavailable(f"Cannot make the demo's files in {directory}: {exc}") from None
    chosen = scripted_model() if model == SCRIPTED else model
    holdfast = Holdfast(
        agents=[support_agent(chosen), triage_agent(chosen), restock_workflow(chosen)],
        database=f"sqlite:///{directory.resolve() / 'holdfast.db'}",
        deps=shop,
        settings=settings,
    )
    return Demo(holdfast, shop, directory, model, made)
