"""Forks: what they take over, what they leave alone, what they may do again."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart

from holdfast import Agent, Confirm, Context, EffectInfo, Holdfast, ToolContext, tool, workflow
from holdfast.domain import limits, portable
from holdfast.domain.access import LOCAL_PRINCIPAL, Principal, PrincipalKind, Scope
from holdfast.domain.errors import Conflict, Invalid, NotFound, Refused, StepFailed
from holdfast.domain.forks import Fresh, Reads, Repeat
from holdfast.domain.ids import DEFAULT_TENANT, PrincipalId, TenantId
from holdfast.domain.runs import RunStatus, RunView
from holdfast.service import branches, forks, history, importing, recordings, runs, threads
from holdfast.service.forks import Edits, ForkRun
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import Desk, ended, entries, error, outcome, output, question, resolve, send, start, waiting

world: list[Any] = []


@pytest.fixture(autouse=True)
def _world() -> None:
    world.clear()


@tool(effect="keyed")
async def act(ctx: ToolContext, what: str) -> str:
    """Act."""
    world.append(what)
    return f"did {what}"


@tool(effect="read")
async def look_up(what: str) -> str:
    """Look."""
    world.append(f"look {what}")
    return f"saw {what}"


def said(messages: Sequence[ModelMessage]) -> tuple[list[str], list[str]]:
    """What the user said last, and what tools returned since."""
    asked: list[str] = []
    results: list[str] = []
    for message in messages:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, UserPromptPart):
                asked.append(str(part.content))
                results = []
            elif isinstance(part, ToolReturnPart):
                results.append(str(part.content))
    return asked, results


def instructed(info: Any) -> str:
    return " ".join(part.content for part in info.parameters.instruction_parts or [])


def plays(messages: list[ModelMessage], info: Any) -> Any:
    """Does the words of the prompt, one after another, and then says what came of them: a function of what it reads."""
    asked, results = said(messages)
    words = asked[-1].split()
    if len(results) < len(words):
        word = words[len(results)]
        return Call("look_up", {"what": word[1:]}) if word.startswith("?") else Call("act", {"what": word})
    return f"{' '.join(asked)}: " + "; ".join(results) + (f" ({told})" if (told := instructed(info)) else "")


agent = Agent("doer", model=ScriptedModel(plays), tools=[act, look_up])


async def fork(hf: Holdfast, of: RunView, at: int, *, principal: Principal = LOCAL_PRINCIPAL, **given: Any) -> RunView:
    edits = Edits(**{name: given.pop(name) for name in list(given) if name in Edits.__dataclass_fields__})
    ask = ForkRun(run_id=of.run.id, at=at, edits=edits, **given)
    return (await forks.fork(hf.house, principal, ask)).view


async def steps(hf: Holdfast, of: RunView) -> list[tuple[int | None, str | None, Any]]:
    found = await runs.steps(hf.house, LOCAL_PRINCIPAL, of.run.id, 0, 1_000)
    return [(one.entry.seq, one.entry.key, one.entry.status) for one in found]


async def spoken(hf: Holdfast, of: RunView) -> list[tuple[int, str, bytes]]:
    found = await history.page(hf.house, LOCAL_PRINCIPAL, of.run.thread_id, 0, 1_000)
    return [(m.position, m.role.value, m.payload) for m in found]


async def rows(hf: Holdfast, of: RunView) -> str:
    """A hash of all that the journal holds of a run."""
    return sha256(repr(await entries(hf, of)).encode()).hexdigest()


async def test_a_fork_at_every_step_ends_like_its_parent_and_does_nothing_again(desk: Desk) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one two ?three one", thread="t")
    assert output(parent) == "one two ?three one: did one; did two; saw three; did one"
    before, did = await rows(hf, parent), list(world)
    whole, all_steps = await spoken(hf, parent), await steps(hf, parent)
    assert len(all_steps) == 9
    for at in range(10):
        world.clear()
        made = await ended(hf, await fork(hf, parent, at))
        assert output(made) == output(parent), at
        assert [key for _, key, _ in await steps(hf, made)] == [key for _, key, _ in all_steps]
        assert [seq for seq, _, _ in await steps(hf, made)] == list(range(1, 10))
        assert [(p, r) for p, r, _ in await spoken(hf, made)] == [(p, r) for p, r, _ in whole]
        assert (made.run.forked_run, made.run.forked_at) == (parent.run.id, at)
        assert made.input == parent.input
        assert [one for one in world if not one.startswith("look")] == []
        assert len([one for one in world if one.startswith("look")]) == (1 if at < 6 else 0)
        assert made.run.usage.requests == 5 - len(
            [seq for seq, key, _ in all_steps if seq <= at and key and "/" not in key]
        )
    assert await rows(hf, parent) == before
    assert did == ["one", "two", "look three", "one"]


@pytest.mark.parametrize("repeat", [Repeat.EXECUTE, Repeat.SIMULATE, Repeat.DENY])
async def test_what_becomes_of_calls_that_the_parent_made(desk: Desk, repeat: Repeat) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one two")
    world.clear()
    made = await ended(hf, await fork(hf, parent, 2, repeat=repeat))
    match repeat:
        case Repeat.EXECUTE:
            assert world == ["two"]
            assert output(made) == output(parent)
        case Repeat.SIMULATE:
            assert (world, output(made)) == ([], output(parent))
        case _:
            assert world == []
            assert "did one; " in output(made)
            assert "not made in a fork" in output(made)


async def test_the_same_call_twice_is_reused_once(desk: Desk) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one")
    world.clear()
    made = await fork(hf, parent, 0, message="one one")
    asked = await question(hf, made)
    assert "forked" in (asked.reason or "")
    assert world == []
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, made)) == "one one: did one; did one"
    assert world == ["one"]


@pytest.mark.parametrize("new", [Fresh.EXECUTE, Fresh.SIMULATE, Fresh.DENY])
async def test_what_becomes_of_calls_that_the_parent_did_not_make(desk: Desk, new: Fresh) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one")
    world.clear()
    made = output(await ended(hf, await fork(hf, parent, 0, message="two", new=new)))
    assert world == (["two"] if new is Fresh.EXECUTE else [])
    assert {"execute": "did two", "simulate": "simulated", "deny": "not made in a fork"}[new.value] in made


async def test_an_edited_result_changes_exactly_what_comes_later(desk: Desk) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one two")
    made = await ended(hf, await fork(hf, parent, 2, output="did nothing"))
    assert output(made) == "one two: did nothing; did two"
    was, now = await spoken(hf, parent), await spoken(hf, made)
    assert was[:2] == now[:2]
    assert json.loads(now[2][2])["result"] == "did nothing"
    assert output(await outcome(hf, "doer", "one two")) == output(parent)


async def test_an_edited_answer_of_the_model(desk: Desk) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one two")
    made = await ended(hf, await fork(hf, parent, 1, output="I would rather not."))
    assert output(made) == "I would rather not."
    other = await fork(hf, parent, 1, output={"tool_calls": [{"tool": "look_up", "args": {"what": "x"}}]})
    assert output(await ended(hf, other)) == "one two: saw x; did two"


async def test_other_instructions_and_another_model_from_a_step_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one")
    made = await ended(hf, await fork(hf, parent, 3, instructions="Be kind."))
    assert output(made) == "one: did one (Be kind.)"
    asked: list[str] = []
    threads: set[int] = set()

    def resolved(model: Any, **_: Any) -> Any:
        asked.append(model)
        threads.add(threading.get_ident())
        return ScriptedModel(["Another model."], on_end="repeat")

    monkeypatch.setattr("holdfast.agents.models.resolve", resolved)
    made = await ended(hf, await fork(hf, parent, 3, model="openai:other"))
    assert (output(made), asked) == ("Another model.", ["openai:other"] * 2), "by the verb, and by the run"
    assert threading.get_ident() not in threads, "it may load a provider's SDK, which would stall the loop"


async def test_edit_and_regenerate(desk: Desk) -> None:
    hf = await desk.open(agent)
    await outcome(hf, "doer", "one", thread="t")
    second = await outcome(hf, "doer", "two", thread="t")
    page = await history.page(hf.house, LOCAL_PRINCIPAL, second.run.thread_id, 0, 100)
    first_said, answered = page[0], page[-1]
    how = ForkRun(run_id=second.run.id, at=0)
    thread_id = second.run.thread_id
    edited = await branches.edit(hf.house, LOCAL_PRINCIPAL, thread_id, first_said.id, "?three", how)
    assert output(await ended(hf, edited.view)) == "?three: saw three"
    again = await branches.regenerate(hf.house, LOCAL_PRINCIPAL, thread_id, answered.id, how)
    assert output(await ended(hf, again.view)) == "one two: did two"
    last = await branches.regenerate(hf.house, LOCAL_PRINCIPAL, thread_id, None, how)
    assert output(await ended(hf, last.view)) == "one two: did two"
    view = await threads.get(hf.house, LOCAL_PRINCIPAL, last.view.run.thread_id)
    assert view.thread.branch_of is not None
    # A branch is a thread like any other: it goes on.
    ask = runs.StartRun(agent="doer", input="?five", thread_id=last.view.run.thread_id)
    more = (await runs.start(hf.house, LOCAL_PRINCIPAL, ask)).view
    assert output(await ended(hf, more)) == "one two ?five: saw five"
    with pytest.raises(Invalid, match="Only what a user said"):
        await branches.edit(hf.house, LOCAL_PRINCIPAL, thread_id, answered.id, "x", how)


async def test_forks_of_forks_read_through_all_of_them(desk: Desk) -> None:
    hf = await desk.open(agent)
    made = await outcome(hf, "doer", "?one ?two", thread="t")
    whole = [(p, r) for p, r, _ in await spoken(hf, made)]
    for depth in range(12):
        made = await ended(hf, await fork(hf, made, (depth * 3) % 6, reads=Reads.REUSE))
        assert output(made) == "?one ?two: saw one; saw two"
        assert [(p, r) for p, r, _ in await spoken(hf, made)] == whole
        assert [seq for seq, _, _ in await steps(hf, made)] == [1, 2, 3, 4, 5]
    assert world == ["look one", "look two"]


async def test_a_run_behind_a_deep_branch_reads_the_whole_conversation(desk: Desk) -> None:
    hf = await desk.open(agent)
    view = await outcome(hf, "doer", "?0", thread="t")
    for depth in range(1, 6):
        branch = await ended(hf, await fork(hf, view, 3))
        ask = runs.StartRun(agent="doer", input=f"?{depth}", thread_id=branch.run.thread_id)
        view = await ended(hf, (await runs.start(hf.house, LOCAL_PRINCIPAL, ask)).view)
        assert output(view) == " ".join(f"?{n}" for n in range(depth + 1)) + f": saw {depth}"


async def test_a_live_model_with_recorded_tools(desk: Desk) -> None:
    """What tools said comes from the record, what they were never asked is refused."""
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one ?two")
    world.clear()
    how: dict[str, Any] = {"repeat": Repeat.REUSE, "new": Fresh.DENY, "reads": Reads.REUSE}
    made = await ended(hf, await fork(hf, parent, 0, **how))
    assert output(made) == output(parent)
    made = await ended(
        hf, await fork(hf, parent, 1, output={"tool_calls": [{"tool": "look_up", "args": {"what": "x"}}]}, **how)
    )
    assert "not made in a fork" in output(made)
    assert world == []


# -- workflows ----------------------------------------------------------------------------------------------------


@workflow("asking")
async def asking(ctx: Context, name: str) -> str:
    first = await ctx.step("greet", str.upper, name)
    colour = await ctx.ask("Which colour?", choices=["red", "blue"])
    done = await ctx.step("paint", act, what=f"{first} {colour}")
    return f"{done}!"


async def test_a_new_answer_to_an_old_question_is_honoured(desk: Desk) -> None:
    hf = await desk.open(asking)
    parent = await start(hf, "asking", "ada")
    await resolve(hf, await question(hf, parent), "answer", answer="red")
    parent = await ended(hf, parent)
    assert output(parent) == "did ADA red!"
    made = await fork(hf, parent, 2, answer="blue", new=Fresh.EXECUTE)
    assert output(await ended(hf, made)) == "did ADA blue!"
    assert world == ["ADA red", "ADA blue"]
    same = await ended(hf, await fork(hf, parent, 2))
    assert output(same) == "did ADA red!"
    anew = await fork(hf, parent, 1)
    await resolve(hf, await question(hf, anew), "answer", answer="red")
    assert output(await ended(hf, anew)) == "did ADA red!"
    assert world == ["ADA red", "ADA blue"]
    with pytest.raises(Invalid, match="choices"):
        await fork(hf, parent, 2, answer="green")
    with pytest.raises(Invalid, match="an interrupt has an answer"):
        await fork(hf, parent, 1, answer="blue")
    with pytest.raises(Invalid, match="no output to edit"):
        await fork(hf, parent, 2, output="blue")
    nobody = Principal(DEFAULT_TENANT, PrincipalId(b"n" * 16), PrincipalKind.USER, "n", frozenset({Scope.RUNS_WRITE}))
    with pytest.raises(Refused):
        await fork(hf, parent, 2, answer="blue", principal=nobody)


@workflow("naps")
async def naps(ctx: Context, n: int) -> list[Any]:
    seen: list[Any] = [await ctx.random()]
    seen += await ctx.gather(*(ctx.step(f"w{k}", act, what=f"{k}") for k in range(n)))
    await ctx.sleep(timedelta(milliseconds=1))
    seen.append(await ctx.call("doer", "one"))
    return seen


async def test_a_fork_of_a_workflow_inherits_children_and_calls_later_ones_anew(desk: Desk) -> None:
    hf = await desk.open(naps, agent)
    parent = await outcome(hf, "naps", 3)
    did = sorted(world)
    everything = output(parent)
    for at in range(parent.seq + 1):
        world.clear()
        made = await ended(hf, await fork(hf, parent, at))
        assert output(made)[1:] == everything[1:], at
        assert (output(made)[0] == everything[0]) == (at > 0)
        assert world == []  # those of the child too
        children = await runs.page(hf.house, LOCAL_PRINCIPAL, runs.RunFilter(parent_id=made.run.id))
        assert len(children) == (0 if at == parent.seq else 1)
    assert did == ["0", "1", "2", "one"]


async def test_a_fork_of_a_running_and_of_a_waiting_run_takes_what_is_recorded(desk: Desk) -> None:
    hf = await desk.open(asking)
    parent = await waiting(hf, await start(hf, "asking", "ada"))
    made = await fork(hf, parent, 1)
    await resolve(hf, await question(hf, made), "answer", answer="blue")
    asked = await question(hf, made)
    assert "forked" in (asked.reason or "")
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, made)) == "did ADA blue!"
    assert parent.run.status is RunStatus.WAITING


@workflow("hears")
async def hears(ctx: Context) -> list[Any]:
    return [await ctx.wait_event("news"), await ctx.wait_event("news")]


async def test_a_fork_takes_the_events_that_its_parent_took_once_each(desk: Desk) -> None:
    hf = await desk.open(hears)
    parent = await start(hf, "hears")
    for number in range(2):
        await send(hf, "news", data=number)
    parent = await ended(hf, parent)
    assert output(parent) == [0, 1]
    for at in range(3):
        assert output(await ended(hf, await fork(hf, parent, at))) == [0, 1], at
    assert output(await ended(hf, await fork(hf, parent, 1, output={"a": 7}))) == [{"a": 7}, 1]


@workflow("draws")
async def draws(ctx: Context) -> list[Any]:
    return [(await ctx.now()).isoformat(), await ctx.random(), str(await ctx.uuid())]


async def test_what_was_drawn_can_be_drawn_otherwise(desk: Desk) -> None:
    hf = await desk.open(draws)
    parent = await outcome(hf, "draws")
    for at, given in enumerate(("2020-01-02T03:04:05+00:00", 0.5, "12345678-1234-4234-8234-123456789abc")):
        made = await ended(hf, await fork(hf, parent, at + 1, output=given))
        assert output(made)[at] == given
        with pytest.raises(Invalid, match="not a value of"):
            await fork(hf, parent, at + 1, output={"no": "thing"})


@workflow("names-itself")
async def names_itself(ctx: Context) -> str:
    return await ctx.step("note", str.upper, ctx.info.run_id)


async def test_a_kept_step_that_names_its_run_is_explained(desk: Desk) -> None:
    hf = await desk.open(names_itself)
    parent = await outcome(hf, "names-itself")
    made = await ended(hf, await fork(hf, parent, 1))
    assert "fork before this step" in error(made)["message"]
    assert output(await ended(hf, await fork(hf, parent, 0))) != output(parent)


# -- leave --------------------------------------------------------------------------------------------------------


@tool(effect="keyed", confirm=Confirm())
async def pay(ctx: ToolContext, amount: int) -> str:
    """Pay."""
    world.append(amount)
    return f"paid {amount}"


payer = Agent("payer", model=ScriptedModel([Call("pay", {"amount": 5}), "Done."]), tools=[pay])


async def test_leave_in_the_prefix_is_history(desk: Desk) -> None:
    hf = await desk.open(payer)
    parent = await start(hf, "payer", "go")
    await resolve(hf, await question(hf, parent), "approve")
    parent = await ended(hf, parent)
    assert [key for _, key, _ in await steps(hf, parent)][1:3] == ["model#1/0/leave#1", "model#1/0"]
    world.clear()
    made = await fork(hf, parent, 2, repeat=Repeat.EXECUTE)
    asked = await question(hf, made)  # leave was given for the parent's call, and is asked for again
    assert world == []
    await resolve(hf, asked, "reject")
    await ended(hf, made)
    assert world == []
    with pytest.raises(Invalid, match="asks for leave of its own"):
        await fork(hf, parent, 2, answer={"approved": True})
    kept = await ended(hf, await fork(hf, parent, 3))
    assert (output(kept), world) == ("Done.", [])


LOST: list[str] = []


@tool(effect="unsafe")
async def lose(ctx: ToolContext, what: str) -> str:
    """Do something, and nobody hears of it."""
    LOST.append(what)
    raise ConnectionError("the line is dead")


loser = Agent("loser", model=ScriptedModel([Call("lose", {"what": "a"}), "Done."]), tools=[lose])


async def test_a_call_of_the_parent_that_has_no_result_yet_is_not_taken_for_one_that_was_not_made(desk: Desk) -> None:
    """The parent waits for somebody to say what became of it: its fork may neither repeat it nor ask whether to."""
    hf = await desk.open(loser)
    LOST.clear()
    parent = await waiting(hf, await start(hf, "loser", "go"))
    for given in ({}, {"new": Fresh.EXECUTE}):
        made = await ended(hf, await fork(hf, parent, 1, **given))
        assert output(made) == "Done."
        [refused] = [entry for entry in await entries(hf, made) if entry.name == "lose"]
        assert "may have been done" in str(refused.error)
    assert LOST == ["a"]
    again = await waiting(hf, await fork(hf, parent, 1, repeat=Repeat.EXECUTE))
    assert (again.run.status, LOST) == (RunStatus.WAITING, ["a", "a"])


@tool(effect="keyed")
async def book(ctx: ToolContext, what: str) -> str:
    """Book."""
    world.append(what)
    return f"booked {what}"


@book.compensate
async def unbook(ctx: ToolContext, effect: EffectInfo) -> None:
    world.append("undone")


@workflow("trip", tools=[book], compensate=("failure",))
async def trip(ctx: Context, fails: bool) -> str:
    booked = await ctx.step("book", book, "a room")
    if fails:
        raise ValueError("it is not to be")
    return booked


async def test_what_the_parent_did_and_undid_counts_as_not_done(desk: Desk) -> None:
    hf = await desk.open(trip)
    parent = await ended(hf, await start(hf, "trip", True))
    assert (parent.run.status, world) == (RunStatus.FAILED, ["a room", "undone"])
    made = await fork(hf, parent, 0, message=False)
    await resolve(hf, await question(hf, made), "approve")
    assert output(await ended(hf, made)) == "booked a room"
    assert world == ["a room", "undone", "a room"]


# -- what is refused --------------------------------------------------------------------------------------------------


async def test_what_cannot_be_forked_is_refused(desk: Desk) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "one")
    for at, given, says in (
        (-1, {}, "from 0"),
        (4, {}, "at is 0 to 3"),
        (0, {"output": 1}, "no step 0"),
        (2, {"message": "x"}, "fork at 0"),
        (2, {"output": 1, "answer": 1}, "one of"),
        (2, {"output": 1, "rerun": True}, "one of"),
        (2, {"instructions": "x"}, "from a model step on"),
        (1, {"output": 7}, "is a text"),
        (1, {"output": {"tool_calls": [{"tool": "x"}]}}, "is a text"),
        (0, {"message": {"not": "text"}}, "does not fit"),
    ):
        with pytest.raises(Invalid, match=says):
            await fork(hf, parent, at, **given)
    stranger = replace(LOCAL_PRINCIPAL, tenant_id=TenantId(b"t" * 16))
    with pytest.raises(NotFound):
        await fork(hf, parent, 1, principal=stranger)
    later = (
        await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent="doer", input="x", start_after=2**42))
    ).view
    with pytest.raises(Conflict, match="not started"):
        await fork(hf, later, 0)


async def test_forks_nest_to_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FORK_DEPTH_MAX", 3)
    hf = await desk.open(agent)
    view = await outcome(hf, "doer", "?one")
    for _ in range(3):
        view = await ended(hf, await fork(hf, view, 3))
        ask = runs.StartRun(agent="doer", input="?two", thread_id=view.run.thread_id)
        view = await ended(hf, (await runs.start(hf.house, LOCAL_PRINCIPAL, ask)).view)
    with pytest.raises(Conflict, match="at most 3 deep"):
        await fork(hf, view, 1)


# -- imported runs ------------------------------------------------------------------------------------------------


def stocked(item: str, most: int = 3) -> int:
    world.append(f"count {item}")
    return min(len(item), most)


@tool(effect="unsafe", simulate=lambda item: f"would order {item}")
async def order(item: str) -> str:
    """Order an item."""
    world.append(f"order {item}")
    return f"ordered {item}"


@tool(effect="read")
async def price(item: str) -> int:
    """What an item costs."""
    world.append(f"price {item}")
    return len(item)


@workflow("restock", tools=[order])
async def restock(ctx: Context, items: list[str]) -> list[Any]:
    """Counts, then asks which item to order besides; what it does of it depends on the answer."""
    counted = [await ctx.step("count", stocked, item) for item in items]
    more = await ctx.ask("What else?")
    failed = None
    try:
        await ctx.step("broken", int, "x")
    except StepFailed as exc:
        failed = exc.code
    noted = await ctx.step("note", stocked, more, simulate=lambda item, **_: -len(item), most=1)
    last = await ctx.step("last", stocked, items[-1], simulate=7)
    return [*counted, failed, noted, last, await ctx.step("order", order, more)]


async def imported(hf: Holdfast, of: RunView) -> RunView:
    """The same run, brought in out of a file."""
    lines = list(portable.written(await recordings.read(hf.house, LOCAL_PRINCIPAL, of.run.id)))
    ((one,), _) = await importing.load(hf.house, LOCAL_PRINCIPAL, lines)
    return await runs.get(hf.house, LOCAL_PRINCIPAL, one.run_id)


async def restocked(hf: Holdfast) -> RunView:
    """`restock`, answered with `pens`. Steps: 1 and 2 counts, 3 the question, 4 broken, 5 note, 6 last, 7 order."""
    parent = await start(hf, "restock", ["cups", "ink"])
    await resolve(hf, await question(hf, parent), "answer", answer="pens")
    parent = await ended(hf, parent)
    assert output(parent) == [3, 3, "step_failed", 1, 3, "ordered pens"]
    found = await imported(hf, parent)
    world.clear()
    return found


async def test_a_fork_of_an_imported_run_does_nothing_and_ends_like_it(desk: Desk) -> None:
    hf = await desk.open(restock)
    parent = await restocked(hf)
    for at in (0, 1, 2, 4, 5, 6, 7):
        made = await fork(hf, parent, at)
        if at < 3:  # the question is asked again
            await resolve(hf, await question(hf, made), "answer", answer="pens")
        assert output(await ended(hf, made)) == [3, 3, "step_failed", 1, 3, "ordered pens"], at
    assert world == []


async def test_what_an_imported_run_did_not_do_is_simulated_in_its_fork(desk: Desk) -> None:
    hf = await desk.open(restock)
    parent = await restocked(hf)
    made = await ended(hf, await fork(hf, parent, 3, answer="paper"))
    assert output(made) == [3, 3, "step_failed", -5, 3, "would order paper"]
    denied = await ended(hf, await fork(hf, parent, 3, answer="paper", new=Fresh.DENY))
    assert error(denied)["code"] == "fork_denied"
    nothing = await ended(hf, await fork(hf, parent, 5, repeat=Repeat.DENY))
    assert error(nothing)["code"] == "fork_denied"
    other = await ended(hf, await fork(hf, parent, 0, message=["tea", "ink"]))
    assert (error(other)["code"], "simulate=" in error(other)["message"]) == ("not_simulated", True)
    assert world == []


async def test_a_fork_of_a_fork_of_an_imported_run_does_nothing_either(desk: Desk) -> None:
    hf = await desk.open(restock)
    parent = await restocked(hf)
    made = await ended(hf, await fork(hf, parent, 3, answer="paper"))
    again = await ended(hf, await fork(hf, made, 3))
    assert output(again) == output(made)
    other = await ended(hf, await fork(hf, made, 3, answer="a pen"))
    assert output(other) == [3, 3, "step_failed", -5, 3, "would order a pen"]
    for how in ({"new": Fresh.EXECUTE}, {"new": Fresh.ASK}, {"repeat": Repeat.EXECUTE}):
        with pytest.raises(Conflict, match="imported"):
            await fork(hf, made, 3, **how)
    assert world == []


@workflow("shops")
async def shops(ctx: Context, items: list[str]) -> Any:
    return await ctx.call("restock_all", items)


@workflow("restock_all", tools=[order])
async def restock_all(ctx: Context, items: list[str]) -> Any:
    return [await ctx.step("order", order, item) for item in items] + [await ctx.step("count", stocked, "all")]


async def test_runs_that_a_fork_of_an_imported_run_calls_do_nothing_either(desk: Desk) -> None:
    hf = await desk.open(shops, restock_all)
    parent = await imported(hf, await outcome(hf, "shops", ["cups"]))
    world.clear()
    made = await ended(hf, await fork(hf, parent, 0, message=["pens"]))
    assert "not_simulated" in str(error(made))
    assert world == []


async def test_a_tool_says_what_stands_in_for_it_wherever_it_is_simulated(desk: Desk) -> None:
    buyer = Agent("buyer", model=ScriptedModel([Call("order", {"item": "cups"}), lambda m, i: said(m)[1][-1]]),
                  tools=[order])  # fmt: skip
    hf = await desk.open(buyer)
    parent = await outcome(hf, "buyer", "Cups!")
    world.clear()
    call = {"tool_calls": [{"tool": "order", "args": {"item": "pens"}}]}
    made = await ended(hf, await fork(hf, parent, 1, output=call, new=Fresh.SIMULATE))
    assert output(made) == "would order pens"
    assert world == []


@workflow("priced")
async def priced(ctx: Context, items: list[str]) -> list[int]:
    return [await ctx.step("price", price, item) for item in items]


async def test_a_workflow_too_reads_from_the_record_if_asked_to(desk: Desk) -> None:
    hf = await desk.open(priced)
    parent = await outcome(hf, "priced", ["cups", "ink"])
    world.clear()
    made = await ended(hf, await fork(hf, parent, 0, reads=Reads.REUSE))
    assert (output(made), world) == ([4, 3], [])
    other = await ended(hf, await fork(hf, parent, 0, message=["pens"], reads=Reads.REUSE))
    assert error(other)["code"] == "fork_denied"
    assert world == []
    assert output(await ended(hf, await fork(hf, parent, 1))) == [4, 3]
    assert world == ["price ink"]
