"""What the browser tests of time travel serve: runs that fail, fork, wait, and hold values that are easily lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from holdfast import Agent, Context, Holdfast, tool, workflow
from holdfast.testing import Call, RequestInfo, ScriptedModel, last_user_text

LARGE_CHARS = 5_000_000
EXACT = {"id": 2**53 + 1, "amount": 120.0, "note": "a word"}


@tool(effect="read")
def price(item: str) -> int:
    """What something costs.

    Args:
        item: what.
    """
    return len(item)


def says(messages: list[Any], _: RequestInfo) -> Any:
    done = [part for part in messages[-1].parts if part.part_kind == "tool-return"]
    return f"It costs {done[0].content}." if done else Call("price", {"item": last_user_text(messages)})


seller = Agent("seller", model=ScriptedModel(says), name="Seller", instructions="Sell lamps.", tools=[price])


@workflow("echo")
async def echo(ctx: Context, input: Any) -> Any:
    """Give back what it was given."""
    return input


@workflow("exact")
async def exact(ctx: Context, _: Any) -> str:
    """Say, as JSON, what a step came to."""
    return json.dumps(await ctx.step("measure", lambda: EXACT), sort_keys=True)


@workflow("large")
async def large(ctx: Context, _: Any) -> int:
    """One step whose output is 5 MB."""
    return len(await ctx.step("large", lambda: "x" * LARGE_CHARS))


@workflow("breaks")
async def breaks(ctx: Context, why: str) -> str:
    """Fail."""
    await ctx.step("before", lambda: "fine")

    def fail() -> str:
        raise ValueError(why)

    return await ctx.step("fail", fail)


@workflow("calls")
async def calls(ctx: Context, why: str) -> Any:
    """Call one that fails."""
    return await ctx.call("breaks", why)


@workflow("asks")
async def asks(ctx: Context, question: str) -> Any:
    """Ask a person."""
    return await ctx.ask(question, choices=["red", "green"])


@workflow("count")
async def count(ctx: Context, steps: int) -> int:
    """Count, a little at a time."""

    async def slowly(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    for number in range(steps):
        await ctx.step(f"count {number}", slowly, number)
    return steps


hf = Holdfast(agents=[seller, echo, exact, large, breaks, calls, asks, count])
