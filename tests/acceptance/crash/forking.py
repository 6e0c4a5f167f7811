"""Scenarios of the crash matrix that fork: runs that act on the outside, and others that go on from the middle of them.

The model does what it was told to: the words of the prompt, one turn each, `tool:what`, with `+` between calls of one
turn. So a fork that reads what its parent read says what its parent said. `AGAIN` is what the forks of a scenario do
to the outside, all of them together: whatever else the provider hears of them was done once too often.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolReturnPart

from holdfast import Agent, Context, workflow
from holdfast.domain.forks import Fresh, Reads, Repeat
from holdfast.runtime import scopes
from holdfast.service.forks import Edits
from holdfast.testing import Call, ScriptedModel, last_user_text
from tests.acceptance.crash.holds import (
    PARKED,
    QUICK,
    book,
    change_keyed,
    change_reconcilable,
    change_refund,
    change_unsafe,
    held,
)
from tests.acceptance.crash.scenarios import Client, Drive, Scenario, auditor, look

TOOLS = {
    "keyed": change_keyed,
    "reconcilable": change_reconcilable,
    "unsafe": change_unsafe,
    "book": book,
    "look": look,
    "refund": change_refund,
}
ALL = "keyed:a reconcilable:b unsafe:c book:d look:e refund:f"
ABREAST = "keyed:a+reconcilable:b+unsafe:c+book:d+look:e keyed:f"


def run_of_this_task() -> str:
    scope = scopes._current.get()  # pyright: ignore[reportPrivateUsage]
    owner: Any = None if scope is None else scope.owner
    assert owner is not None, "a model is asked by a run"
    return owner.info.run_id


def plays(messages: list[ModelMessage], info: Any) -> Any:
    turns = last_user_text(messages).split()
    since = [n for n, message in enumerate(messages) if isinstance(message, ModelRequest)]
    said = messages[_last_prompt(messages, since) :]
    done = sum(isinstance(message, ModelResponse) for message in said)
    auditor.executed(f"{run_of_this_task()}:model#{done + 1}")
    if done < len(turns):
        return [_call(word) for word in turns[done].split("+")]
    results = [p.content for m in said if isinstance(m, ModelRequest) for p in m.parts if isinstance(p, ToolReturnPart)]
    return f"done: {'; '.join(map(str, results))}"


def _last_prompt(messages: list[ModelMessage], requests: list[int]) -> int:
    return max(n for n in requests if any(part.part_kind == "user-prompt" for part in messages[n].parts))


def _call(word: str) -> Call:
    name, _, what = word.partition(":")
    more = {"amount": 300} if name == "refund" else {}
    return Call(TOOLS[name].name, {"what": what, **more})


acting = Agent("acting", model=ScriptedModel(plays), tools=[*TOOLS.values()])


@workflow("journey", agents=[acting], tools=[change_keyed, change_reconcilable, book])
async def journey(ctx: Context) -> list[Any]:
    """Effects before and after a question, in a child, and abreast."""
    first = await ctx.step("first", change_keyed, "a")
    colour = await ctx.ask("Which colour?", choices=["red", "green"])
    painted = await ctx.step("painted", change_reconcilable, f"{colour} paint")
    told = await ctx.call(acting, "unsafe:t book:u")
    both = await ctx.gather(ctx.step("x", book, "x"), ctx.step("y", change_keyed, f"y {colour}"))
    return [first, colour, painted, told, *both]


@workflow("pausing", tools=[change_keyed, change_reconcilable])
async def pausing(ctx: Context) -> list[Any]:
    """Acts before and after something that has to happen elsewhere."""
    first = await ctx.step("first", change_keyed, "a")
    paid = await ctx.wait_event("paid", key="9")
    return [first, paid["n"], await ctx.step("b", change_keyed, "b"), await ctx.step("c", change_reconcilable, "c")]


AGENTS = [acting, journey, pausing]

# --- scenarios -------------------------------------------------------------------------------------------------------


def forked(agent: str, input: Any, at: int, **how: Any) -> Drive:
    """A run, and when it has ended a fork of it."""

    async def drive(client: Client) -> None:
        await client.start("run", agent, input)
        await client.ends("run")
        await client.fork("fork", "run", at, **how)

    return drive


async def of_forks(client: Client) -> None:
    """Each reads through the ones before: what the second keeps was done by the first and by the run itself."""
    await client.start("run", "acting", ALL)
    await client.ends("run")
    await client.fork("first", "run", 4, repeat=Repeat.EXECUTE)
    await client.ends("first")
    await client.fork("second", "first", "model#4/0")
    await client.ends("second")
    await client.fork("third", "second", "model#3/0", repeat=Repeat.EXECUTE)


async def of_one_that_waits(client: Client) -> None:
    """Both wait for the same event, and both take it."""
    await client.start("run", "pausing")
    await client.reaches("run", 1)
    await client.fork("fork", "run", 1, repeat=Repeat.EXECUTE, new=Fresh.EXECUTE)
    await client.send("paid", "9", "bank-9", {"n": 9})


async def of_a_second_turn(client: Client) -> None:
    """The branch keeps the turn before; the thread goes on beside it."""
    await client.start("before", "acting", "keyed:a", thread="t")
    await client.start("run", "acting", "unsafe:b book:c", thread="t")
    await client.ends("run")
    await client.fork("fork", "run", 0, edits=Edits(message="unsafe:b keyed:n"))
    await client.start("after", "acting", "keyed:z", thread="t")


async def of_something_else_said(client: Client) -> None:
    """A chat's second message is another one; what was answered to it stands on the branch, the thread as it was."""
    await client.start("before", "acting", "keyed:a", thread="t")
    await client.start("run", "acting", "unsafe:b book:c", thread="t")
    await client.ends("run")
    await client.edit("fork", "run", "unsafe:b keyed:n")


async def of_answers_given_anew(client: Client) -> None:
    """One answer of a run, which acts again; and then the whole of what came of that, which has it all already."""
    await client.start("run", "acting", "book:b keyed:c", thread="t")
    await client.ends("run")
    await client.regenerate("again", "run", 3, repeat=Repeat.EXECUTE)
    await client.ends("again")
    await client.regenerate("once more", "again", None)


# The steps of ALL: 1 model, 2 keyed, 3 model, 4 reconcilable, 5 model, 6 unsafe, 7 model, 8 book, 9 model, 10 look,
# 11 model, 12 leave, 13 refund, 14 model. Those of the journey: 1 first, 2 the question, 3 painted, 4 the child.
SCENARIOS: dict[str, Scenario] = {
    "fork-reuses": held(forked("acting", ALL, 4)),
    "fork-from-the-start": held(forked("acting", ALL, 0, reads=Reads.REUSE)),
    "fork-executes": held(forked("acting", ALL, 2, repeat=Repeat.EXECUTE)),
    "fork-denies": held(forked("acting", ALL, 2, repeat=Repeat.DENY, new=Fresh.DENY)),
    "fork-simulates": held(forked("acting", ALL, 0, repeat=Repeat.SIMULATE, edits=Edits(message="unsafe:c keyed:z"),
                                  new=Fresh.SIMULATE)),
    "fork-edits-a-result": held(forked("acting", ALL, 2, edits=Edits(output="something else"))),
    "fork-edits-the-message": held(forked("acting", ALL, 0, edits=Edits(message="keyed:a keyed:z book:y unsafe:x")),
                                   limits=PARKED),
    "fork-abreast": held(forked("acting", ABREAST, 1), ordered=False),
    "fork-abreast-executes": held(forked("acting", ABREAST, 1, repeat=Repeat.EXECUTE), ordered=False),
    "fork-answers": held(forked("journey", None, 2, edits=Edits(answer="green")), ordered=False, limits=PARKED),
    "fork-answers-executes": held(
        forked("journey", None, 2, edits=Edits(answer="green"), repeat=Repeat.EXECUTE, new=Fresh.EXECUTE),
        ordered=False,
    ),
    "fork-asks-again": held(forked("journey", None, 1), ordered=False, limits=PARKED),
    "fork-of-forks": held(of_forks),
    "fork-waits": held(of_one_that_waits, limits=PARKED, drives_on=True),
    "fork-branches": held(of_a_second_turn, limits=QUICK),
    "edit": held(of_something_else_said),
    "regenerate": held(of_answers_given_anew),
}  # fmt: skip

AGAIN: dict[str, Counter[str]] = {
    name: Counter(words.split())
    for name, words in {
        "fork-reuses": "",
        "fork-from-the-start": "",
        "fork-executes": "b c d f",
        "fork-denies": "",
        "fork-simulates": "",
        "fork-edits-a-result": "",
        "fork-edits-the-message": "z y x",
        "fork-abreast": "",
        "fork-abreast-executes": "a b c d f",
        "fork-answers": "green_paint y_green",
        "fork-answers-executes": "green_paint t u x y_green",
        "fork-asks-again": "",
        "fork-of-forks": "c d f d f",
        "fork-waits": "b c",
        "fork-branches": "n",
        "edit": "n",
        "regenerate": "c",
    }.items()
}
# Forks that come to what their parent came to: they keep, or reuse, all that it did.
LIKE_THEIR_PARENT = frozenset({
    "fork-reuses", "fork-from-the-start", "fork-abreast", "fork-asks-again", "fork-waits",
})  # fmt: skip
