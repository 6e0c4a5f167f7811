"""The demo's agents: a support desk, a hand-off, and a workflow with parallel steps, a sleep and a child agent.

What a team would write, and nothing else: tools over its own database and a provider outside, agents, a workflow.
Each tool says what it can promise: a refund passes its idempotency key on, a mail can be looked up, a call to the
courier is neither.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
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
from holdfast.demo import people, script, seed
from holdfast.demo.outside import Declined, Outside
from holdfast.demo.shop import VALUABLE_ORDER, Address, Shop, euros
from holdfast.domain.effects import Done, EffectInfo, NotDone
from holdfast.domain.errors import Unavailable
from holdfast.domain.policies import Confirm
from holdfast.settings import Settings
from holdfast.testing import ScriptedModel

SCRIPTED: Final = "scripted"
EXAMPLE: Final = f"Please refund order {VALUABLE_ORDER}, one piece is broken."
"""What to write to the desk first: it looks something up, and then asks a person for leave."""
CONFIRMATION_S: Final = 1.5
CHUNK_LATENCY_MS: Final = 12
OUTSIDE_S: Final = 10.0  # how long a call to the provider may take, and how long its fate is waited for


@dataclass(frozen=True, slots=True)
class Deps:
    """What the tools work with."""

    shop: Shop
    outside: Outside


# --- tools -----------------------------------------------------------------------------------------------------------


@tool(effect="read")
def find_customer(ctx: ToolContext[Deps], query: str) -> list[dict[str, Any]]:
    """Find customers by a part of their name or e-mail address."""
    return ctx.deps.shop.customers(query)


@tool(effect="read")
def list_orders(ctx: ToolContext[Deps], email: str) -> list[dict[str, Any]] | str:
    """List the latest orders of the customer with this e-mail address, newest first."""
    found = ctx.deps.shop.orders_of(email)
    return f"There is no customer with the address {email}." if found is None else found


@tool(effect="read")
def order_status(ctx: ToolContext[Deps], order_id: int) -> dict[str, Any] | str:
    """Look up an order: its items, status, total, what was refunded, and where it goes."""
    found = ctx.deps.shop.order(order_id)
    if found is None:
        return f"There is no order {order_id}."
    shown = {key: value for key, value in found.items() if not key.endswith("_cents")}
    return {**shown, "refunded": euros(found["refunded_cents"])}


@tool(effect="read")
def track_shipment(ctx: ToolContext[Deps], order_id: int) -> dict[str, Any] | str:
    """Track the parcel of an order: carrier, tracking number, where it was last seen, and when it is expected."""
    found = ctx.deps.shop.shipment(order_id)
    return f"Nothing has been shipped for order {order_id}." if found is None else found


@tool(effect="read")
def search_products(ctx: ToolContext[Deps], query: str) -> list[dict[str, Any]]:
    """Search products by a part of their name: price and stock."""
    return ctx.deps.shop.products(query)


REFUND_RULES: Final = (
    Confirm(when=lambda a: a["amount"] > 100, reason="a refund above 100 euros"),
    Confirm(when=lambda a: a["amount"] > 1_000, reason="a refund above 1,000 euros", four_eyes=True),
)


@tool(effect="keyed", confirm=REFUND_RULES, timeout=OUTSIDE_S)
async def refund_order(ctx: ToolContext[Deps], order_id: int, amount: Decimal, reason: str) -> dict[str, Any]:
    """Refund a delivered order, in full or in part: the amount is in euros. Answers what was done, or why not.

    Whether a colleague has to give leave is decided outside of this tool.
    """
    shop, outside, key = ctx.deps.shop, ctx.deps.outside, ctx.idempotency_key
    cents = round(amount * 100)
    booked = await asyncio.to_thread(shop.refund, order_id, cents, reason, key)
    if not booked["refunded"]:
        return booked
    try:
        paid = await outside.refund(order_id, cents, key)
    except Declined as exc:
        await asyncio.to_thread(shop.take_back, key)
        raise NotDone(f"the payment provider declined: {exc}") from None
    await ctx.record_ref(paid["id"])
    return {**booked, "payment": paid["id"]}


@tool(effect="reconcilable", timeout=OUTSIDE_S, rejections=(Declined,))
async def send_mail(ctx: ToolContext[Deps], to: str, subject: str, text: str) -> dict[str, Any]:
    """Send an e-mail to a customer."""
    return await ctx.deps.outside.mail(to, subject, text, ctx.idempotency_key)


@send_mail.reconcile
async def was_it_sent(ctx: ToolContext[Deps], effect: EffectInfo) -> Done | NotDone:
    sent = await ctx.deps.outside.mail_of(effect.idempotency_key)
    return NotDone() if sent is None else Done(sent)


@tool(effect="unsafe", timeout=OUTSIDE_S, rejections=(Declined,))
async def call_courier(ctx: ToolContext[Deps], order_id: int, message: str) -> dict[str, Any]:
    """Call the courier about an order that was shipped. They have no way to tell one call from a repetition."""
    return await ctx.deps.outside.call_courier(order_id, message)


@tool(effect="keyed")
def change_address(ctx: ToolContext[Deps], order_id: int, street: str, postcode: str, city: str) -> dict[str, Any]:
    """Change where an order is sent, as long as it has not been shipped. Answers whether it was done, or why not."""
    # Doing it twice is doing it once: what keys are for is given without one.
    return ctx.deps.shop.change_address(order_id, Address(street, postcode, city))


LOOKING: Final = (find_customer, list_orders, order_status, track_shipment, search_products)


# --- agents ----------------------------------------------------------------------------------------------------------


def support_agent(model: str | Model) -> Agent:
    return Agent(
        "support",
        model=model,
        name="Support desk",
        description=(
            f"Answers about orders, parcels and products; refunds and redirects orders, writes mails. Try: {EXAMPLE}"
        ),
        instructions=(
            "You are the support desk of a kitchenware shop. Look things up with your tools before you answer, and be "
            "brief and friendly. Refund an order only if the customer asks for it and says why. Never invent data."
        ),
        tools=[*LOOKING, refund_order, change_address, send_mail, call_courier],
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
        shop: Shop = ctx.deps.shop
        # Drawn and recorded, not the run's id: a fork keeps it, so what it orders again has been ordered already.
        night = str(await ctx.uuid())

        def low_stock() -> list[LowProduct]:
            return [LowProduct(**row) for row in shop.low_stock(ask.products_max)]

        def order(product: LowProduct) -> PurchaseOrder:
            number = shop.order_goods(product.sku, product.wanted, f"{night}/{product.sku}")
            return PurchaseOrder(
                number=number,
                sku=product.sku,
                name=product.name,
                quantity=product.wanted,
                supplier=product.supplier,
            )

        await ctx.step("close-day", shop.close_day, night)
        low = await ctx.step("find-low-stock", low_stock, returns=list[LowProduct])
        orders = await ctx.gather(*(ctx.step("order", order, p, returns=PurchaseOrder) for p in low))
        await ctx.sleep(CONFIRMATION_S)  # the suppliers confirm; days would cost no more than this
        lines = "\n".join(f"- {o.quantity} x {o.name} from {o.supplier}" for o in orders)
        summary = await ctx.call(buyer, f"Tonight's purchase orders:\n{lines or '(none)'}")
        await ctx.emit("restocked", {"orders": len(orders)})
        return Restocked(orders=list(orders), summary=summary)

    return nightly_restock


# --- together --------------------------------------------------------------------------------------------------------


class DemoHoldfast(Holdfast):
    """A Holdfast with the world that the demo needs: the provider runs while it does, and the approver has a key."""

    def __init__(self, *args: Any, deps: Deps, key_file: Path, seeded: bool, **kwargs: Any) -> None:
        super().__init__(*args, deps=deps, **kwargs)
        self._seeded = seeded
        self._guest = people.APPROVER.id
        self._outside = deps.outside
        self._key_file = key_file

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Holdfast]:
        async with self._outside.running(), super().running() as started:
            await people.seed(self._authenticator(), self._key_file)
            async with seed.sowing(self.house, self._outside) if self._seeded else nullcontext():
                yield started


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo, ready to be served: where its files are, which model speaks, and whether the shop was made just now."""

    holdfast: Holdfast
    shop: Shop
    outside: Outside
    directory: Path
    model: str
    shop_is_new: bool

    @property
    def key_file(self) -> Path:
        """Where the approver's key is, once the demo has been started."""
        return self.directory.resolve() / people.KEY_FILE


def scripted_model(chunk_latency_ms: float = CHUNK_LATENCY_MS) -> ScriptedModel:
    return ScriptedModel(script.reply, chunk_chars=6, chunk_latency_ms=chunk_latency_ms)


def build(
    directory: Path,
    model: str = SCRIPTED,
    settings: Settings | None = None,
    *,
    seeded: bool = False,
    database: str | None = None,
) -> Demo:
    """The demo with its files in `directory`, which is made if need be. `model`: a model's name, or `scripted`;
    `seeded`: with a few runs that were made before anybody came, if nobody has to pay for them; `database`: another
    place than the directory.

    Raises `Unavailable` if the files cannot be made.
    """
    shop, outside = Shop(directory / "shop.db"), Outside(directory.resolve() / "provider.db")
    try:
        made = shop.create()
    except (OSError, sqlite3.Error) as exc:
        raise Unavailable(f"Cannot make the demo's files in {directory}: {exc}") from None
    chosen = scripted_model() if model == SCRIPTED else model
    holdfast = DemoHoldfast(
        agents=[support_agent(chosen), triage_agent(chosen), restock_workflow(chosen)],
        database=database or f"sqlite:///{directory.resolve() / 'holdfast.db'}",
        deps=Deps(shop, outside),
        key_file=directory.resolve() / people.KEY_FILE,
        seeded=seeded and model == SCRIPTED,
        settings=settings,
    )
    return Demo(holdfast, shop, outside, directory, model, made)
