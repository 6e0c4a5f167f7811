"""What the tests of the inbox and the ledger serve: agents that ask, each for one reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from holdfast import Confirm, Context, Holdfast, tool, workflow


class Express(BaseModel):
    """It is there tomorrow."""

    carrier: str = ""


class Pickup(BaseModel):
    """Somebody fetches it. What an express parcel holds is a part of what this one does."""

    carrier: str = ""
    shelf: int


class Parcel(BaseModel):
    number: str
    weight_grams: int = Field(ge=1)


@tool(effect="keyed", confirm=Confirm(reason="it costs money"))
async def ship(to: str, how: Express | Pickup, extra: Any = None, size: Literal["small", "large"] = "small") -> str:
    """Ship an order."""
    kind = "picked up" if isinstance(how, Pickup) or (isinstance(how, dict) and "shelf" in how) else "sent"
    return f"{kind} for {to}"


@tool(effect="keyed", confirm=Confirm())
async def wire(reference: int) -> str:
    """Wire money under a reference of many digits."""
    return f"wired {reference}"


@tool(effect="keyed", confirm=Confirm(quorum=2))
async def destroy(what: str) -> str:
    """Destroy something."""
    return f"destroyed {what}"


@tool(effect="keyed", confirm=Confirm(expires=timedelta(seconds=20)))
async def hurry(what: str) -> str:
    """Do something soon."""
    return f"hurried {what}"


lost: set[str] = set()


@tool(effect="unsafe")
async def courier(parcel: str) -> Parcel:
    """Send a parcel; the first answer for each never comes."""
    if parcel not in lost:
        lost.add(parcel)
        raise ConnectionError("the line is dead")
    return Parcel(number=parcel, weight_grams=1)


@workflow("ships")
async def ships(ctx: Context, to: str) -> str:
    return await ctx.step("ship", ship, to, {"carrier": "fast"})


@workflow("wires")
async def wires(ctx: Context, reference: int) -> str:
    return await ctx.step("wire", wire, reference)


@workflow("destroys")
async def destroys(ctx: Context, what: str) -> str:
    return await ctx.step("destroy", destroy, what)


@workflow("hurries")
async def hurries(ctx: Context, what: str) -> str:
    return await ctx.step("hurry", hurry, what)


@workflow("loses")
async def loses(ctx: Context, parcel: str) -> Any:
    sent = await ctx.step("courier", courier, parcel)
    return sent.model_dump() if isinstance(sent, Parcel) else sent


@workflow("asks")
async def asks(ctx: Context, question: str) -> Any:
    """Ask for nothing in particular."""
    return await ctx.ask(question)


hf = Holdfast(agents=[ships, wires, destroys, hurries, loses, asks])
