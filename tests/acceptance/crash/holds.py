"""Agents of the crash matrix that act on the outside, wait for people and for events, and who answers them.

Every tool tells two witnesses: the auditor's file, before it does anything, and the provider, which does it. Both know
a call by its run and step. The person who answers is truthful: what became of an unknown effect they look up at the
provider. What is answered follows from the question alone, so whoever answers in which process says the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from holdfast import Agent, Context, NotAnswered, ToolContext, tool, workflow
from holdfast.domain import ids
from holdfast.domain.approvals import Approval, ApprovalType
from holdfast.domain.effects import Done, EffectInfo, NotDone
from holdfast.domain.encoding import decode
from holdfast.domain.policies import Confirm
from holdfast.service.approvals import Resolution
from holdfast.testing import Call
from tests.acceptance.crash.provider import Provider
from tests.acceptance.crash.scenarios import (
    Client,
    Drive,
    Scenario,
    auditor,
    look,
    model,
    one,
    signals,
    work,
)

BOOKINGS = "CREATE TABLE IF NOT EXISTS crash_bookings (label TEXT NOT NULL, what TEXT NOT NULL)"
SHORT = timedelta(milliseconds=120)
# A call of which nothing is heard may be on its way for so long: reconcilers are believed afterwards only.
DEADLINE_S = 0.4


class Outside:
    """The provider of this process: set by `process.py` before anything runs."""

    provider: Provider


outside = Outside()


def label_of(ctx: ToolContext) -> str:
    return f"{ctx.run_id}:{ctx.key}"


async def act(ctx: ToolContext, what: str, *, honour: bool = True, **more: Any) -> Any:
    """`honour`: whether the provider does the same thing once per key. It notes the key in any case."""
    auditor.executed(label_of(ctx))
    data = {"what": what, **more}
    return await outside.provider.act(label_of(ctx), data, key=ctx.idempotency_key, honour=honour)


async def became_of(ctx: ToolContext, effect: EffectInfo) -> Done | NotDone:
    found = await outside.provider.lookup(key=effect.idempotency_key)
    return Done(found["result"]) if found["done"] else NotDone()


# --- tools: one per class, and per way of being held -----------------------------------------------------------------


@tool(effect="keyed")
async def change_keyed(ctx: ToolContext, what: str) -> Any:
    """Change something at a provider that honours keys."""
    return await act(ctx, what)


@tool(effect="reconcilable", timeout=DEADLINE_S)
async def change_reconcilable(ctx: ToolContext, what: str) -> Any:
    """Change something at a provider that can be asked later."""
    return await act(ctx, what, honour=False)


@change_reconcilable.reconcile
async def change_reconciled(ctx: ToolContext, effect: EffectInfo) -> Done | NotDone:
    return await became_of(ctx, effect)


@tool(effect="unsafe")
async def change_unsafe(ctx: ToolContext, what: str) -> Any:
    """Change something at a provider of which nothing is known."""
    return await act(ctx, what, honour=False)


@tool(effect="transaction")
async def book(ctx: ToolContext, what: str) -> str:
    """Write a row of the application's own."""
    auditor.executed(label_of(ctx))
    row = {"label": label_of(ctx), "what": what}
    await ctx.tx.execute("INSERT INTO crash_bookings (label, what) VALUES (:label, :what)", row)
    [counted] = await ctx.tx.rows("SELECT count(*) AS n FROM crash_bookings WHERE label = :label", row)
    return f"{what} booked {counted['n']} time"


@tool(effect="keyed", confirm={"amount": {"min": 100}})
async def change_refund(ctx: ToolContext, what: str, amount: int) -> Any:
    """Refund something; much of it needs leave."""
    return await act(ctx, what, amount=amount, approved=ctx.approved)


@tool(effect="unsafe", confirm=True)
async def change_mail(ctx: ToolContext, what: str) -> Any:
    """Send a mail, with leave."""
    return await act(ctx, what, honour=False, approved=ctx.approved)


@tool(effect="reconcilable", timeout=DEADLINE_S, confirm=True)
async def change_order(ctx: ToolContext, what: str) -> Any:
    """Order something, with leave."""
    return await act(ctx, what, honour=False, approved=ctx.approved)


@change_order.reconcile
async def order_reconciled(ctx: ToolContext, effect: EffectInfo) -> Done | NotDone:
    return await became_of(ctx, effect)


@tool(effect="transaction", confirm=True)
async def book_with_leave(ctx: ToolContext, what: str) -> str:
    """Write a row of the application's own, with leave."""
    auditor.executed(label_of(ctx))
    row = {"label": label_of(ctx), "what": what}
    await ctx.tx.execute("INSERT INTO crash_bookings (label, what) VALUES (:label, :what)", row)
    return f"{what} booked"


@tool(effect="unsafe", confirm=Confirm(expires=SHORT))
async def change_never(ctx: ToolContext, what: str) -> Any:
    """Needs leave that nobody gives in time."""
    return await act(ctx, what, honour=False)


@tool(effect="keyed", confirm=Confirm(expires=SHORT, on_expiry="approve"))
async def change_unless(ctx: ToolContext, what: str) -> Any:
    """Is done unless somebody objects in time."""
    return await act(ctx, what, approved=ctx.approved)


@tool(effect="keyed")
async def change_asking(ctx: ToolContext, what: str) -> Any:
    """Ask how, then change something."""
    how = await ctx.ask(f"How is {what} to be changed?", choices=["gently", "roughly"])
    return await act(ctx, what, how=how)


# --- tools that can be undone, each under a key of the undoing's own -------------------------------------------------


async def act_back(ctx: ToolContext, effect: EffectInfo) -> Any:
    """What a compensator is told has to be what the call was, and what came of it."""
    return await act(ctx, f"undo {effect.arguments['what']}", of=effect.result)


@tool(effect="keyed")
async def change_hotel(ctx: ToolContext, what: str) -> Any:
    """Book at a provider that honours keys."""
    return await act(ctx, what)


@change_hotel.compensate
async def hotel_undone(ctx: ToolContext, effect: EffectInfo) -> Any:
    return await act_back(ctx, effect)


@tool(effect="reconcilable", timeout=DEADLINE_S)
async def change_train(ctx: ToolContext, what: str) -> Any:
    """Book at a provider that can be asked later."""
    return await act(ctx, what, honour=False)


@change_train.reconcile
async def train_reconciled(ctx: ToolContext, effect: EffectInfo) -> Done | NotDone:
    return await became_of(ctx, effect)


@change_train.compensate
async def train_undone(ctx: ToolContext, effect: EffectInfo) -> Any:
    return await act_back(ctx, effect)


@tool(effect="keyed")
async def change_tour(ctx: ToolContext, what: str) -> Any:
    """Book what can be undone, though nobody ever says that it was."""
    return await act(ctx, what)


@change_tour.compensate(tries=1)
async def tour_undone(ctx: ToolContext, effect: EffectInfo) -> None:
    await act_back(ctx, effect)
    raise ConnectionError("the line is dead")


@tool(external=True)
async def survey(what: str) -> str:
    """Somebody goes and looks."""
    raise AssertionError("answered from outside")


# --- agents ----------------------------------------------------------------------------------------------------------


def calling(name: str, tool: Any, *arguments: dict[str, Any]) -> Agent:
    """An agent that makes these calls of one tool, one after the other."""
    return Agent(name, model=model(name, *(Call(tool.name, one) for one in arguments), "done"), tools=[tool])


keyed = calling("keyed", change_keyed, {"what": "a"}, {"what": "b"})
reconcilable = calling("reconcilable", change_reconcilable, {"what": "a"}, {"what": "b"})
unsafe = calling("unsafe", change_unsafe, {"what": "a"}, {"what": "b"})
booking = calling("booking", book, {"what": "a"}, {"what": "b"})
refunding = calling("refunding", change_refund, {"what": "a", "amount": 500}, {"what": "b", "amount": 5})
editing = calling("editing", change_refund, {"what": "edit", "amount": 500})
mailing = calling("mailing", change_mail, {"what": "a"})
ordering = calling("ordering", change_order, {"what": "a"})
booking_with_leave = calling("booking_with_leave", book_with_leave, {"what": "a"})
expiring = calling("expiring", change_never, {"what": "a"})
unless = calling("unless", change_unless, {"what": "a"})
asking_tool = calling("asking_tool", change_asking, {"what": "a"})
surveying = calling("surveying", survey, {"what": "a"}, {"what": "b"})

MIXED = [look, change_keyed, change_reconcilable, change_unsafe, book, change_refund, survey]
mixed = Agent(
    "mixed",
    model=model(
        "mixed",
        [Call(t.name, {"what": "m", "amount": 300} if t is change_refund else {"what": "m"}) for t in MIXED],
        [Call("change_mail", {"what": "n"}), Call("change_refund", {"what": "n", "amount": 400})],
        "done",
    ),
    tools=[*MIXED, change_mail],
)


@workflow("family", agents=[keyed, refunding])
async def family(ctx: Context) -> list[Any]:
    """Effects and a question in children."""
    return list(await ctx.gather(ctx.call(keyed, "one"), ctx.call(refunding, "two")))


@workflow("steps")
async def steps(ctx: Context) -> list[Any]:
    """Tools as steps of a workflow, alone and in parallel."""
    first = await ctx.step("first", change_keyed, "a")
    rest = await ctx.gather(
        ctx.step("booked", book, "b"),
        ctx.step("refunded", change_refund, "c", 250),
        ctx.step("told", change_unsafe, "d"),
    )
    return [first, *rest, await ctx.step("ordered", change_reconcilable, "e")]


@workflow("survey_of_people")
async def survey_of_people(ctx: Context) -> list[Any]:
    me = ctx.info.run_id
    colour = await ctx.ask("Which colour?", choices=["red", "green"])
    a = await ctx.step("a", work, me, "a#1", colour)
    both = await ctx.gather(
        ctx.ask("How many?", schema=int), ctx.ask("Anything else? (nobody answers)", expires=SHORT, default="no")
    )
    try:
        await ctx.ask("Anybody there? (nobody answers)", expires=SHORT)
    except NotAnswered as exc:
        return [a, *both, exc.code]
    return [a, *both]


@workflow("awaiting")
async def awaiting(ctx: Context) -> list[Any]:
    """An event that comes while the run waits, and then one that does not come."""
    me = ctx.info.run_id
    paid = await ctx.wait_event("paid", key="42")
    a = await ctx.step("a", work, me, "a#1", paid["n"])
    second = await ctx.wait_event("paid", key="42")
    return [a, second["n"]]


@workflow("early")
async def early(ctx: Context) -> list[Any]:
    """Events that are there before anybody waits for them; each is taken once."""

    async def sent() -> str:
        auditor.executed(f"{ctx.info.run_id}:sent#1")
        await signals.of("sent").wait()
        return "sent"

    await ctx.step("sent", sent)
    first = await ctx.wait_event("paid", key="7", timeout=timedelta(seconds=60))
    second = await ctx.wait_event("paid", key="7")
    return [first["n"], second["n"]]


@workflow("trip", tools=[change_hotel, change_train], compensate=("failure", "cancel"))
async def trip(ctx: Context, waits: bool) -> None:
    """Acts, and then comes to nothing."""
    await ctx.step("hotel", change_hotel, "hotel")
    await ctx.step("train", change_train, "train")
    if waits:
        await ctx.ask("Is it to be? (nobody answers)")
    raise ValueError("it is not to be")


@workflow("tour", tools=[change_hotel, change_tour], compensate=("cancel",))
async def tour(ctx: Context) -> None:
    """Acts, and is cancelled; what became of one undoing only a person can tell."""
    await ctx.step("hotel", change_hotel, "hotel")
    await ctx.step("tour", change_tour, "tour")
    await ctx.ask("Is it to be? (nobody answers)")


@workflow("leg", tools=[change_train])
async def leg(ctx: Context) -> Any:
    return await ctx.step("train", change_train, "train")


@workflow("package", tools=[change_hotel], agents=[leg], compensate=("failure",))
async def package(ctx: Context) -> None:
    """What its child did is undone by itself."""
    await ctx.step("hotel", change_hotel, "hotel")
    await ctx.call(leg)
    await ctx.step("room", change_hotel, "room")
    raise ValueError("it is not to be")


AGENTS = [
    keyed, reconcilable, unsafe, booking, refunding, editing, mailing, ordering, booking_with_leave, expiring, unless,
    asking_tool, surveying, mixed, family, steps, survey_of_people, awaiting, early, trip, tour, leg, package,
]  # fmt: skip


# --- who answers -----------------------------------------------------------------------------------------------------


Answer = Callable[[Approval], Awaitable["Resolution | None"]]


async def answer(asked: Approval) -> Resolution | None:
    """What a person says to a question; None: they say nothing."""
    match asked.type:
        case ApprovalType.TOOL:
            return _leave(asked)
        case ApprovalType.INPUT:
            return None if "nobody answers" in asked.message else Resolution(decision="answer", answer=_choice(asked))
        case ApprovalType.EXTERNAL:
            return Resolution(decision="answer", answer=f"{decode(asked.arguments)['what']} seen")
        case ApprovalType.EFFECT:
            return await _what_became(asked)


def _leave(asked: Approval) -> Resolution | None:
    arguments: dict[str, Any] = decode(asked.arguments)
    if asked.tool in ("change_never", "change_unless"):
        return None
    if arguments["what"] == "edit" and arguments["amount"] == 500:
        return Resolution(decision="approve", arguments={**arguments, "amount": 200}, note="less")
    return Resolution(decision="approve")


def _choice(asked: Approval) -> Any:
    return 3 if asked.choices is None else decode(asked.choices)[0]


async def _what_became(asked: Approval) -> Resolution:
    """The truth, as the provider knows it."""
    step = asked.key.rpartition("/effect#")[0]
    found = await outside.provider.lookup(label=f"{ids.text(ids.RUN, asked.run_id)}:{step}")
    told = {"outcome": "committed", "result": found["result"]} if found["done"] else {"outcome": "not_done"}
    return Resolution(decision="answer", answer=told)


async def doubt(asked: Approval) -> Resolution | None:
    """Somebody who always says that it was not done, even where it was."""
    if asked.type is ApprovalType.EFFECT:
        return Resolution(decision="answer", answer={"outcome": "not_done"})
    return await answer(asked)


# --- scenarios -------------------------------------------------------------------------------------------------------


async def late_events(client: Client) -> None:
    """The first comes while the run waits for it; every one is sent twice."""
    await client.start("run", "awaiting")
    await client.waits("run")
    for n in (1, 2):
        for _ in range(2):
            await client.send("paid", "42", f"bank-{n}", {"n": n})


async def early_events(client: Client) -> None:
    await client.start("run", "early")
    for n in (1, 2):
        for _ in range(2):
            await client.send("paid", "7", f"shop-{n}", {"n": n})
    signals.of("sent").set()


def cancelled(agent: str, input: Any = None) -> Drive:
    """It is cancelled when it has done all that it does, and not before: also after a crash."""

    async def drive(client: Client) -> None:
        await client.start("run", agent, input)
        await client.asks("run")
        await client.cancel("cancel", "run")

    return drive


QUICK = {"RECOVERY_EVERY_MS": 20, "RETRY_BACKOFF_MS": 10}
PARKED = {**QUICK, "KEEP_IN_MEMORY_MS": 0}


def held(drive: Drive, **more: Any) -> Scenario:
    return Scenario(drive, **{"limits": QUICK, "answer": answer, **more})


SCENARIOS: dict[str, Scenario] = {
    "keyed": held(one("keyed", "go")),
    "reconcilable": held(one("reconcilable", "go")),
    "transaction": held(one("booking", "go")),
    "unsafe": held(one("unsafe", "go")),
    "approval": held(one("refunding", "go")),
    "approval-parked": held(one("refunding", "go"), limits=PARKED),
    "approval-edited": held(one("editing", "go")),
    "approval-unsafe": held(one("mailing", "go"), limits=PARKED),
    "approval-reconcilable": held(one("ordering", "go")),
    "approval-transaction": held(one("booking_with_leave", "go")),
    "expiry": held(one("expiring", "go")),
    "expiry-approves": held(one("unless", "go"), limits=PARKED),
    "ask": held(one("survey_of_people"), limits=PARKED),
    "tool-asks": held(one("asking_tool", "go"), limits=PARKED),
    "external": held(one("surveying", "go")),
    "mixed-turn": held(one("mixed", "go"), ordered=False, limits=PARKED),
    "children": held(one("family"), ordered=False, limits=PARKED),
    "workflow-tools": held(one("steps"), ordered=False),
    "event-late": held(late_events, limits=PARKED, drives_on=True),
    "event-early": held(early_events, drives_on=True),
    "undo-failed": held(one("trip", False)),
    "undo-cancelled": held(cancelled("trip", True), limits=PARKED, drives_on=True),
    "undo-asked": held(cancelled("tour"), limits=PARKED, drives_on=True),
    "undo-child": held(one("package"), limits=PARKED),
}
# Whose provider is called by nobody: the row is written here, or the answer comes from people.
WITHOUT_CALLS = frozenset({
    "transaction", "approval-transaction", "expiry", "ask", "external", "event-late", "event-early",
})  # fmt: skip
# A test of its own: it does not end as it would without a crash.
DOUBTED = {"unsafe-doubted": held(one("unsafe", "go"), answer=doubt)}
