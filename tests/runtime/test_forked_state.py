"""Published state in forks and branches: they go on from what was published where they leave, and change nothing of it
for others; what a run looked like at a step is the same whoever wrote the step."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Agent, Context, Holdfast, ToolContext, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import NotFound
from holdfast.domain.runs import RunView
from holdfast.domain.threads import Role
from holdfast.service import branches, deleting, diffs, forks
from holdfast.service import states as state_verbs
from holdfast.service.deleting import Branches
from holdfast.service.forks import Edits, ForkRun
from holdfast.service.states import StateView
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import Desk, ended, messages, outcome, output, start, waiting


@workflow("notes")
async def notes(ctx: Context, words: list[str]) -> Any:
    begun = await ctx.state.get()
    for word in words:
        word = await ctx.step("think", lambda word=word: word)
        await ctx.state.update(lambda found, word=word: [*(found or []), word])
    return [begun, await ctx.state.get()]


async def fork(hf: Holdfast, of: RunView, at: int, **given: Any) -> RunView:
    edits = Edits(**{name: given.pop(name) for name in list(given) if name in Edits.__dataclass_fields__})
    ask = ForkRun(run_id=of.run.id, at=at, edits=edits, **given)
    return await ended(hf, (await forks.fork(hf.house, LOCAL_PRINCIPAL, ask)).view)


async def look_at(hf: Holdfast, of: RunView, at: int | None = None) -> StateView:
    return await state_verbs.at_step(hf.house, LOCAL_PRINCIPAL, of.run.id, at)


async def shown(hf: Holdfast, of: RunView) -> tuple[int, Any]:
    """What the run's thread shows."""
    document = (await state_verbs.of_thread(hf.house, LOCAL_PRINCIPAL, of.run.thread_id)).document
    return document.version, document.value


async def test_a_fork_goes_on_from_the_state_at_its_step_and_leaves_its_parent_s_alone(desk: Desk) -> None:
    hf = await desk.open(notes)
    await outcome(hf, "notes", ["before"], thread="t")
    parent = await outcome(hf, "notes", ["a", "b", "c"], thread="t")
    assert output(parent) == [["before"], ["before", "a", "b", "c"]]
    for at in range(7):
        made = await fork(hf, parent, at)
        assert output(made) == output(parent), at
        assert await shown(hf, made) == (4, ["before", "a", "b", "c"])
        for step in range(7):
            mine, theirs = await look_at(hf, made, step), await look_at(hf, parent, step)
            assert mine.published.document == theirs.published.document, (at, step)
            assert mine.at.moment.position == theirs.at.moment.position
    edited = await fork(hf, parent, 3, output="B")
    assert output(edited) == [["before"], ["before", "a", "B", "c"]]
    assert await shown(hf, edited) == (4, ["before", "a", "B", "c"])
    assert await shown(hf, parent) == (4, ["before", "a", "b", "c"])


async def test_runs_on_a_branch_go_on_from_what_was_published_where_it_leaves(desk: Desk) -> None:
    hf = await desk.open(notes)
    first = await outcome(hf, "notes", ["one"], thread="t")
    await outcome(hf, "notes", ["two"], thread="t")
    nothing_new = await fork(hf, first, 2)
    assert await shown(hf, nothing_new) == (1, ["one"]), "the fork published nothing of its own"
    after = await outcome(hf, "notes", ["three"], thread_id=nothing_new.run.thread_id)
    assert output(after) == [["one"], ["one", "three"]]
    assert await shown(hf, after) == (2, ["one", "three"])
    again = await fork(hf, after, 0)
    assert output(again) == output(after), "a branch of a branch"


async def test_another_input_begins_with_what_the_run_began_with(desk: Desk) -> None:
    hf = await desk.open(notes)
    first = await outcome(hf, "notes", ["one"], thread="t")
    second = await outcome(hf, "notes", ["two"], thread="t")
    other = await fork(hf, second, 0, message=["else"])
    assert output(other) == [["one"], ["one", "else"]]
    from_the_start = await fork(hf, first, 0, message=["new"])
    assert output(from_the_start) == [None, ["new"]]
    said = await messages(hf, second.run.thread_id)
    (asked, *_) = [m for m in said if m.role is Role.USER and m.run_id == second.run.id]
    how = ForkRun(run_id=second.run.id, at=0)
    made = await branches.edit(hf.house, LOCAL_PRINCIPAL, second.run.thread_id, asked.id, ["said"], how)
    assert output(await ended(hf, made.view)) == [["one"], ["one", "said"]]


async def test_a_fork_and_its_parent_are_compared_from_where_they_part(desk: Desk) -> None:
    @tool(effect="read")
    async def note(ctx: ToolContext, what: str) -> str:
        """Note."""
        await ctx.state.update({"last": what})
        return f"{what} noted"

    def reply(messages: Any, info: Any) -> Any:
        said = str(messages[0].parts[0].content).split()
        return Call("note", {"what": said[info.position]}) if info.position < len(said) else "done"

    agent = Agent("noter", model=ScriptedModel(reply), tools=[note])
    hf = await desk.open(agent)
    parent = await outcome(hf, "noter", "a b c")
    made = await fork(hf, parent, 3)
    found = await diffs.between(hf.house, LOCAL_PRINCIPAL, parent.run.id, made.run.id)
    assert found.divergence is None
    assert (found.talks.all_the_same, found.patch) == (True, [])
    assert found.this.usage == found.other.usage, "the whole way, shared or not"
    view = await look_at(hf, made)
    assert view.at.moment.usage.requests == made.run.usage.requests < parent.run.usage.requests, "its own calls"
    assert view.talk is not None
    assert view.talk.total == 8
    edited = await fork(hf, parent, 3, output="something else")
    found = await diffs.between(hf.house, LOCAL_PRINCIPAL, parent.run.id, edited.run.id)
    assert found.divergence is not None
    assert (found.divergence.step.seq, found.divergence.differs) == (3, ["output"])
    inside = await look_at(hf, edited, 2)
    theirs = await look_at(hf, parent, 2)
    assert inside.talk is not None
    assert theirs.talk is not None
    assert [m.payload for m in inside.talk.shown] == [m.payload for m in theirs.talk.shown]
    assert [p.key for p in inside.pending] == [p.key for p in theirs.pending] == ["model#1/0"]


async def test_a_fork_that_goes_on_shows_what_is_open_in_it_and_not_what_was_in_its_parent(desk: Desk) -> None:
    @workflow("asker")
    async def asker(ctx: Context) -> str:
        await ctx.state.set("asking")
        return await ctx.ask("Well?")

    hf = await desk.open(asker)
    parent = await waiting(hf, await start(hf, "asker"))
    ask = ForkRun(run_id=parent.run.id, at=1)
    made = await waiting(hf, (await forks.fork(hf.house, LOCAL_PRINCIPAL, ask)).view)
    mine, theirs = await look_at(hf, made), await look_at(hf, parent)
    assert [q.key for q, _ in mine.questions] == [q.key for q, _ in theirs.questions] == ["ask#1"]
    assert mine.questions[0][1].data != theirs.questions[0][1].data, "questions of their own"


def told(found: diffs.Diff) -> tuple[Any, ...]:
    """What a comparison says, but how long things took."""
    diverged = found.divergence
    return (
        None if diverged is None else (diverged.step.key, tuple(diverged.differs)),
        found.patch,
        (found.talks.this, found.talks.other, found.talks.same),
        found.this.published.document,
        found.other.published.document,
    )


async def test_what_a_branch_reads_of_a_deleted_thread_is_what_it_read_before(desk: Desk) -> None:
    """The rows stay for the branches that read them: of the thread itself nothing is left to be seen."""
    hf = await desk.open(notes)
    await outcome(hf, "notes", ["before"], thread="t")
    parent = await outcome(hf, "notes", ["a", "b", "c"], thread="t")
    made = await fork(hf, parent, 3, output="B")  # reads a run and the thread before it
    deeper = await fork(hf, made, 5)  # reads through the fork
    bare = await fork(hf, parent, parent.seq)  # has published nothing itself
    forked = (made, deeper, bare)
    document = [await shown(hf, one) for one in forked]
    assert document == [(4, ["before", "a", "B", "c"])] * 2 + [(4, ["before", "a", "b", "c"])]

    async def looked() -> list[Any]:
        """Every step of every branch: who published what, where it stood, what it says of the steps."""
        found: list[Any] = []
        for one in forked:
            for at in range(one.seq + 1):
                seen = await look_at(hf, one, at)
                names = [(steps.name, steps.count, payload) for steps, payload in seen.steps]
                found.append((seen.published, seen.at.moment.position, names, seen.output))
        return found

    async def compared() -> list[Any]:
        pairs = [(a, b) for a in forked for b in forked]
        return [told(await diffs.between(hf.house, LOCAL_PRINCIPAL, a.run.id, b.run.id, 3, 4)) for a, b in pairs] + [
            told(await diffs.between(hf.house, LOCAL_PRINCIPAL, a.run.id, b.run.id)) for a, b in pairs
        ]

    states, differences = await looked(), await compared()
    beside = [await fork(hf, one, one.seq) for one in forked]  # of these the state goes on before the deletion
    went_on = [output(await outcome(hf, "notes", ["more"], thread_id=one.run.thread_id)) for one in beside]
    for one in beside:
        await deleting.remove(hf.house, LOCAL_PRINCIPAL, one.run.thread_id, Branches.REFUSE)

    await deleting.remove(hf.house, LOCAL_PRINCIPAL, parent.run.thread_id, Branches.COPY)
    with pytest.raises(NotFound):
        await look_at(hf, parent)
    assert await looked() == states
    assert await compared() == differences
    assert [await shown(hf, one) for one in forked] == document
    # The one in the middle goes too: what is read through it is there.
    await deleting.remove(hf.house, LOCAL_PRINCIPAL, made.run.thread_id, Branches.COPY)
    forked, states = (deeper, bare), states[made.seq + 1 :]
    assert await looked() == states
    for one, before in zip(forked, went_on[1:], strict=True):
        after = await outcome(hf, "notes", ["more"], thread_id=one.run.thread_id)
        assert output(after) == before == [before[0], [*before[0], "more"]]
        assert (await look_at(hf, after, 0)).published.document.value == before[0]
