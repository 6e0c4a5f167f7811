"""Agents that the chat's browser tests talk to: what they say is known word by word, and comes slowly."""

from __future__ import annotations

from typing import Any

from holdfast import Agent, Confirm, Holdfast, tool
from holdfast.testing import Call, RequestInfo, ScriptedModel, last_user_text

WORDS = 40
AT_ONCE = 20


def answer(asked: str) -> str:
    """What the teller answers: words that say which question they belong to."""
    return " ".join(f"{asked}{n}" for n in range(WORDS))


@tool(effect="read")
def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}"


@tool(effect="keyed", confirm=Confirm(reason="money leaves the house"))
def pay(to: str, amount: float) -> str:
    """Pay somebody.

    Args:
        to: who gets it.
        amount: in euros.
    """
    return f"paid {amount:.2f} to {to}"


failed: set[str] = set()


def tells(messages: list[Any], _: RequestInfo) -> Any:
    asked = last_user_text(messages)
    word, _, rest = asked.partition(" ")
    results = [part for message in messages for part in message.parts if part.part_kind == "tool-return"]
    match word:
        case "pay":
            return f"Done: {results[-1].content}." if results else Call("pay", {"to": rest, "amount": 120.5})
        case "break" if not results:
            return [f"Before {rest} broke.", Call("look", {"page": 1})]
        case "break" if asked not in failed:
            failed.add(asked)
            return ValueError(f"{rest} broke")
        case "read" if len(results) < int(rest):
            upto = min(len(results) + AT_ONCE, int(rest))
            return [f"Page {len(results)}.", *(Call("look", {"page": page}) for page in range(len(results), upto))]
        case "read" if len(results) == int(rest):
            return Call("pay", {"to": "Ada", "amount": 1.0})
        case _:
            return answer(word)


teller = Agent(
    "teller",
    model=ScriptedModel(tells, chunk_chars=6, chunk_latency_ms=40),
    name="Teller",
    description="Tells what it is asked.",
    tools=[look, pay],
)

hf = Holdfast(agents=[teller])
