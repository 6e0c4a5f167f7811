"""Agents that the web tests run: each shows one thing, and waits on gates that the test opens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from holdfast.agents.base import Agent, Context
from holdfast.agents.native import Agent as NativeAgent
from holdfast.agents.tools import tool
from holdfast.agents.workflow import workflow
from holdfast.testing import Call, ScriptedModel, last_user_text


class Order(BaseModel):
    item: str
    count: int


class Desk:
    """What tests and agents share: gates by name, and which are waited for."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}
        self._reached: dict[str, asyncio.Event] = {}
        self.broken = True

    def gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def reached(self, name: str) -> asyncio.Event:
        return self._reached.setdefault(name, asyncio.Event())

    async def wait(self, name: str) -> None:
        self.reached(name).set()
        await self.gate(name).wait()

    def open_all(self) -> None:
        for name in [*self._gates, *self._reached]:
            self.gate(name).set()


def made(desk: Desk) -> Sequence[Agent]:
    @tool(effect="read")
    async def lookup(item: str) -> str:
        """Look an item up."""
        return f"{item} is in stock"

    @tool
    async def reserve(item: str) -> str:
        """Reserve an item."""
        return f"{item} is reserved"

    chat = NativeAgent(
        "chat",
        model=ScriptedModel([Call("lookup", {"item": "lamp"}), Call("reserve", {"item": "lamp"}), "A lamp is yours."]),
        instructions="Sell lamps.",
        tools=[lookup, reserve],
    )

    async def slowly(messages: Any, info: Any) -> str:
        await desk.wait(f"model: {last_user_text(messages)}")
        return "Hello, you."

    plain = NativeAgent("plain", model=ScriptedModel(slowly, chunk_chars=3))

    @workflow("echo")
    async def echo(ctx: Context, input: Any) -> Any:
        """Answer with the input."""
        return input

    @workflow("order")
    async def order(ctx: Context, input: Order) -> Order:
        return await ctx.step("check", lambda: input, returns=Order)

    @workflow("gated")
    async def gated(ctx: Context, input: str) -> str:
        """Wait for the test in a step."""
        await ctx.emit("begun", {"name": input})
        await ctx.step("wait", desk.wait, input)
        return input

    @workflow("sleepy")
    async def sleepy(ctx: Context) -> str:
        await ctx.sleep(timedelta(days=1))
        return "rested"

    @workflow("broken")
    async def broken(ctx: Context) -> str:
        await ctx.step("good", lambda: 1)

        def bad() -> str:
            if desk.broken:
                raise ValueError("not today")
            return "mended"

        return await ctx.step("bad", bad)

    @workflow("family", agents=[echo])
    async def family(ctx: Context) -> list[Any]:
        return [await ctx.call(echo, 1), await ctx.call(echo, 2)]

    @workflow("seller", agents=[chat])
    async def seller(ctx: Context) -> Any:
        return await ctx.call(chat, "A lamp.")

    @workflow("shop", agents=[seller])
    async def shop(ctx: Context) -> Any:
        return await ctx.call(seller)

    @workflow("many")
    async def many(ctx: Context, input: int) -> int:
        for n in range(input):
            await ctx.emit("tick", n)
        return input

    return [chat, plain, echo, order, gated, sleepy, broken, family, seller, shop, many]
