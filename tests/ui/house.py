"""What the browser tests serve, in processes of its own: agents that do what a page has to bear."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI

from holdfast import Agent, Confirm, Context, Holdfast, tool, workflow
from holdfast.testing import Call, RequestInfo, ScriptedModel, last_user_text

HOSTILE = (
    '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
    "\n\n\x1b[31mred\x1b[0m [a link](javascript:document.title='owned') ![an image](https://elsewhere.example/x.png)\n\n"
    "שלום עולם \u202egnp.exe 👩‍🔬 " + "w" * 4_000
)
WORDS = " ".join(f"word{n}" for n in range(1_200))
LARGE_CHARS = 5_000_000


@tool(effect="keyed", confirm=Confirm(reason="money leaves the house"))
def pay(to: str, amount: float, note: str = "") -> str:
    """Pay somebody.

    Args:
        to: who gets it.
        amount: in euros.
        note: what for.
    """
    return f"paid {amount:.2f} to {to}"


def says(messages: list[Any], _: RequestInfo) -> Any:
    asked = last_user_text(messages)
    if asked.startswith("pay "):
        done = [part for part in messages[-1].parts if part.part_kind == "tool-return"]
        return f"Done: {done[0].content}." if done else Call("pay", {"to": asked.removeprefix("pay "), "amount": 120.5})
    return HOSTILE if "hostile" in asked else WORDS


@workflow("count")
async def count(ctx: Context, steps: int) -> int:
    """Count, a little at a time."""

    async def slowly(number: int) -> int:
        await asyncio.sleep(0.02)
        return number

    for number in range(steps):
        await ctx.step("slowly", slowly, number)
    return steps


@workflow("fetch")
async def fetch(ctx: Context, _: str) -> int:
    """One step whose output is 5 MB."""
    return len(await ctx.step("large", lambda: "x" * LARGE_CHARS))


@workflow("breaks")
async def breaks(ctx: Context, why: str) -> str:
    """Fail."""

    def fail() -> str:
        raise ValueError(why)

    return await ctx.step("fail", fail)


@workflow("asks")
async def asks(ctx: Context, question: str) -> Any:
    """Ask a person."""
    return await ctx.ask(question, choices=["red", "green"])


talker = Agent(
    "talker",
    model=ScriptedModel(says, chunk_chars=5, chunk_latency_ms=5),
    name="Talker",
    description="Talks at length.",
    instructions="Talk.",
    tools=[pay],
    stream=True,
)

hf = Holdfast(agents=[talker, count, fetch, breaks, asks])

outer = FastAPI()
hf.mount(outer, "/some where/holdfast")
