"""Retries of failed runs from their last good step: after a code fix, with a budget, with other instructions or models.

Every run here is also replayed at its end: its prompts have to be those of its own time, before and behind each retry.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic_ai.exceptions import ModelHTTPError

from holdfast import Agent, Context, Holdfast, RunLimits, tool, workflow
from holdfast.agents.native.middleware import Middleware, ModelCall
from holdfast.domain import limits, portable
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Damaged, Invalid
from holdfast.domain.events import data_of
from holdfast.domain.forks import Fresh, overrides_of
from holdfast.domain.journal import EntryType, StepStatus
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Reason, Verdict
from holdfast.domain.runs import RunStatus, RunView
from holdfast.runtime.replayers import InThread
from holdfast.service import (
    branches,
    diffs,
    families,
    forks,
    history,
    importing,
    prompts,
    recordings,
    retrying,
    runs,
    timelines,
)
from holdfast.service import states as state_verbs
from holdfast.service.forks import Edits, ForkRun
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import (
    Desk,
    crash,
    ended,
    entries,
    error,
    outcome,
    output,
    question,
    requeued,
    resolve,
    retry,
    start,
    types,
    within,
)
from tests.runtime.test_forks import instructed, said

CAREFUL, BRAVE = "Be careful.", "Be brave."
noted: list[str] = []
threads: set[int] = set()


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    noted.clear()
    threads.clear()

    def resolved(model: Any, **_: Any) -> Any:
        if not isinstance(model, str):
            return model
        threads.add(threading.get_ident())
        return ScriptedModel(speaking(model))

    monkeypatch.setattr("holdfast.agents.models.resolve", resolved)


@tool(effect="keyed")
async def note(what: str) -> str:
    """Note something."""
    noted.append(what)
    return what


def speaking(name: str) -> Any:
    """Notes the words of the prompt one after another, each with who says it as what; then says that it is done. At "!"
    it fails unless it is told to be brave, at "?" unless it is another model than the agent's."""

    def speaks(messages: Any, info: Any) -> Any:
        asked, results = said(messages)
        words, told = asked[-1].split(), instructed(info)
        if len(results) == len(words):
            return f"done: {name}, {told}"
        word = words[len(results)]
        if (word == "!" and BRAVE not in told) or (word == "?" and name == "own"):
            raise ModelHTTPError(400, "a-model", {"message": f"no {word}"})
        return Call("note", {"what": f"{word} {name}, {told}"})

    return speaks


def doer(instructions: str = CAREFUL, **more: Any) -> Agent:
    return Agent("doer", model=ScriptedModel(speaking("own")), tools=[note], instructions=instructions, **more)


async def record(hf: Holdfast, view: RunView) -> RecordedRun:
    return await recordings.read(hf.house, LOCAL_PRINCIPAL, view.run.id)


async def asked(hf: Holdfast, view: RunView) -> list[tuple[str, str]]:
    """With what each model step that counts was made: the model by name, and the instructions."""
    found: list[tuple[str, str]] = []
    for one in await runs.steps(hf.house, LOCAL_PRINCIPAL, view.run.id, 0, 100):
        if one.entry.kind == "model" and one.entry.status == "succeeded" and one.entry.seq is not None:
            prompt = await prompts.get(hf.house, LOCAL_PRINCIPAL, view.run.id, one.entry.seq)
            found.append((prompt["model"], prompt["instructions"]))
    return found


async def forked(hf: Holdfast, of: RunView, at: int, **given: Any) -> RunView:
    edits = Edits(**{name: given.pop(name) for name in list(given) if name in Edits.__dataclass_fields__})
    ask = ForkRun(run_id=of.run.id, at=at, edits=edits, new=Fresh.EXECUTE, **given)
    return await ended(hf, (await forks.fork(hf.house, LOCAL_PRINCIPAL, ask)).view)


async def identical(hf: Holdfast, view: RunView, *agents: Agent) -> bool:
    known = {one.id: one for one in Holdfast(agents).registry} if agents else hf.house.agents
    return (await InThread(known, None).replay(await record(hf, view))).result.verdict is Verdict.IDENTICAL


class Flawed(Middleware):
    """Code with a bug, until somebody fixes it."""

    fixed = False

    async def before_model(self, info: Any, call: ModelCall) -> ModelCall | None:
        if info.model_calls == 1 and not Flawed.fixed:
            raise ValueError("a bug")
        return None


@pytest.mark.parametrize("failure", ["the model", "a limit", "the code"])
async def test_edits_hold_from_the_retry_on(desk: Desk, failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flawed, "fixed", False)
    hf = await desk.open(doer(middleware=[Flawed()]) if failure == "the code" else doer())
    capped = RunLimits(steps_max=2) if failure == "a limit" else None
    failed = await outcome(hf, "doer", "one ! two" if failure == "the model" else "one two", limits=capped)
    code = {"the model": "model_rejected", "a limit": "limit_steps", "the code": "user_code"}[failure]
    assert error(failed)["code"] == code, error(failed)
    monkeypatch.setattr(Flawed, "fixed", True)
    before = await entries(hf, failed)
    view = await retry(hf, failed, RunLimits(steps_max=20) if capped else None, instructions=BRAVE)
    assert output(view) == f"done: own, {BRAVE}"
    words = ["!", "two"] if failure == "the model" else ["two"]
    assert noted == [f"one own, {CAREFUL}", *(f"{word} own, {BRAVE}" for word in words)], "nothing was done again"
    assert [told for _, told in await asked(hf, view)] == [CAREFUL, *[BRAVE] * (len(words) + 1)]
    after = await entries(hf, view)
    assert after[: len(before)] == before, "what was recorded stays as it was"
    assert after[len(before)].type is EntryType.RUN_RETRIED
    told = data_of(after[len(before)], seq=None, written=None)
    assert told["edits"] == {"instructions": BRAVE}
    assert len(told["voids"]) == (failure == "the model")
    assert await identical(hf, view)


async def test_a_later_retry_keeps_the_edits_and_replaces_what_it_names(desk: Desk) -> None:
    hf = await desk.open(doer())
    view = await outcome(hf, "doer", "one ! ? two")
    view = await retry(hf, view, instructions=BRAVE)
    assert error(view)["message"].endswith("no ?"), error(view)
    view = await retry(hf, view)
    assert error(view)["message"].endswith("no ?"), "and with the same instructions, or it had been no !"
    view = await retry(hf, view, model="other")
    assert output(view) == f"done: other, {BRAVE}"
    assert threads
    assert threading.get_ident() not in threads, "a model is looked up where it keeps nobody waiting"
    own = "scripted:scripted"
    assert await asked(hf, view) == [(own, CAREFUL), (own, BRAVE), *[("other", BRAVE)] * 3]
    assert [decode(e.payload).get("edits") for e in await entries(hf, view) if e.type is EntryType.RUN_RETRIED] == [
        {"instructions": BRAVE},
        None,
        {"model": "other"},
    ]
    assert await identical(hf, view)
    assert not await identical(hf, view, doer("Be careless.")), "the prompt before the retries is the agent's own"


async def test_retries_before_anything_else_is_recorded(desk: Desk) -> None:
    hf = await desk.open(doer())
    view = await outcome(hf, "doer", "! ?")
    view = await retry(hf, view, instructions="Be bold.")
    view = await retry(hf, view, instructions=BRAVE)
    view = await retry(hf, view, model="other", instructions=f"{BRAVE} Twice.")
    assert output(view) == f"done: other, {BRAVE} Twice."
    twice = ("other", f"{BRAVE} Twice.")
    assert await asked(hf, view) == [("scripted:scripted", BRAVE), twice, twice]


async def test_how_often_is_limited(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OVERRIDES_MAX", 2)
    hf = await desk.open(doer())
    view = await outcome(hf, "doer", "!")
    for n in range(2):
        view = await retry(hf, view, instructions=f"No. {n}")
    before = await entries(hf, view)
    with pytest.raises(Invalid, match="at most 2 times"):
        await retry(hf, view, instructions=BRAVE)
    assert await entries(hf, view) == before
    assert error(await retry(hf, view))["code"] == "model_rejected"


async def test_long_instructions_hide_no_step_that_is_void(desk: Desk) -> None:
    hf = await desk.open(doer())
    long = BRAVE + "!" * (2 * limits.PAYLOAD_INLINE_BYTES_MAX)
    view = await retry(hf, await outcome(hf, "doer", "one !"), instructions=long)
    assert output(view).startswith("done")
    shown = await runs.steps(hf.house, LOCAL_PRINCIPAL, view.run.id, 0, 100)
    assert [one.entry.status for one in shown].count(StepStatus.VOIDED) == 1
    line = await timelines.get(hf.house, LOCAL_PRINCIPAL, view.run.id, 0, 100)
    assert len(line.marks) >= 1
    state = await state_verbs.at_step(hf.house, LOCAL_PRINCIPAL, view.run.id, None)
    assert state is not None


# -- whom they are meant for ------------------------------------------------------------------------------------------


def front() -> Agent:
    def hands_over(messages: Any, info: Any) -> Any:
        if "!" in said(messages)[0][-1] and BRAVE not in instructed(info):
            raise ModelHTTPError(400, "a-model", {"message": "no !"})
        return Call("transfer_to_refunds", {"reason": instructed(info)})

    def refunds(messages: Any, info: Any) -> Any:
        if "?" in said(messages)[0][-1] and BRAVE not in instructed(info):
            raise ModelHTTPError(400, "a-model", {"message": "no ?"})
        return f"refunded: {instructed(info)}"

    desk = Agent("refunds", model=ScriptedModel(refunds), instructions="Pay.")
    return Agent("front", model=ScriptedModel(hands_over), handoffs=[desk], instructions="Ask.")


async def test_edits_are_for_the_agent_that_acts_when_they_are_made(desk: Desk) -> None:
    hf = await desk.open(front())
    view = await retry(hf, await outcome(hf, "front", "!"), instructions=BRAVE)
    assert output(view) == "refunded: Pay.", "the agent that was handed over to has its own instructions"
    view = await retry(hf, await outcome(hf, "front", "?"), instructions=BRAVE)
    assert output(view) == f"refunded: {BRAVE}"
    view = await retry(hf, await outcome(hf, "front", "! ?"), instructions=BRAVE)
    assert error(view)["message"].endswith("no ?")
    view = await retry(hf, view, instructions=f"{BRAVE} And pay.")
    assert output(view) == f"refunded: {BRAVE} And pay."
    assert [told for _, told in await asked(hf, view)] == [BRAVE, f"{BRAVE} And pay."]


# -- crashes ----------------------------------------------------------------------------------------------------------


async def test_edits_survive_a_crash_before_the_next_model_call_and_in_it(desk: Desk) -> None:
    reached = asyncio.Event()
    stuck = True

    async def speaks(messages: Any, info: Any) -> Any:
        if stuck and BRAVE in instructed(info):
            reached.set()
            await asyncio.Event().wait()
        return speaking("own")(messages, info)

    agent = Agent("doer", model=ScriptedModel(speaks), tools=[note], instructions=CAREFUL)
    hf = await desk.open(agent)
    failed = await outcome(hf, "doer", "one ! two")
    again = await requeued(hf, failed, instructions=BRAVE)
    await within(reached.wait())
    reached.clear()
    await crash(hf, again)
    await within(reached.wait())  # asked once more, as it was
    stuck = False
    await crash(hf, again)
    view = await within(ended(hf, again))
    assert output(view) == f"done: own, {BRAVE}"
    assert [told for _, told in await asked(hf, view)] == [CAREFUL, BRAVE, BRAVE, BRAVE]


# -- forks ------------------------------------------------------------------------------------------------------------


async def retried_at_two(hf: Holdfast) -> RunView:
    """Steps 1, 2 before the retry, 3 void, and 4 (model), 5 (call), 6 (model) behind it."""
    view = await retry(hf, await outcome(hf, "doer", "one !", thread="t"), instructions=BRAVE)
    shown = await runs.steps(hf.house, LOCAL_PRINCIPAL, view.run.id, 0, 100)
    kinds = [(one.entry.kind, str(one.entry.status)) for one in shown]
    good, void = "succeeded", "voided"
    assert kinds == [("model", good), ("tool", good), ("model", void), ("model", good), ("tool", good), ("model", good)]
    return view


@pytest.mark.parametrize(
    ("at", "given", "told"),
    [
        (0, {"message": "one two"}, [CAREFUL] * 3),
        (1, {}, [CAREFUL, None]),
        (2, {}, [CAREFUL, None]),
        (3, {}, [CAREFUL, BRAVE, BRAVE]),
        (3, {"rerun": True}, [CAREFUL, None]),
        (1, {"output": "I would rather not."}, [CAREFUL]),
        (4, {}, [CAREFUL, BRAVE, BRAVE]),
        (5, {}, [CAREFUL, BRAVE, BRAVE]),
        (4, {"rerun": True}, [CAREFUL, BRAVE, BRAVE]),
        (6, {"rerun": True}, [CAREFUL, BRAVE, BRAVE]),
        (4, {"output": "I would rather not."}, [CAREFUL, BRAVE]),
        (5, {"output": "nothing"}, [CAREFUL, BRAVE, BRAVE]),
        (6, {"instructions": "Be brief."}, [CAREFUL, BRAVE, "Be brief."]),
        (4, {"model": "other"}, [CAREFUL, BRAVE, BRAVE]),
    ],
)
async def test_forks_behind_the_retry_have_its_edits_and_those_before_it_not(
    desk: Desk, at: int, given: dict[str, Any], told: list[str | None]
) -> None:
    hf = await desk.open(doer())
    parent = await retried_at_two(hf)
    made = await forked(hf, parent, at, **given)
    if None in told:  # the model fails again
        assert error(made)["message"].endswith("no !")
        made = await retry(hf, made, instructions=f"{BRAVE} In the fork.")
        assert [one for _, one in await asked(hf, made)] == [CAREFUL, *[f"{BRAVE} In the fork."] * 2]
    else:
        assert made.run.status is RunStatus.SUCCEEDED, made.run.error
        assert [one for _, one in await asked(hf, made)] == told
    if "model" in given:
        assert [name for name, _ in await asked(hf, made)][1:] == ["other", "other"]
    last = len(await runs.steps(hf.house, LOCAL_PRINCIPAL, made.run.id, 0, 100))
    again = await forked(hf, made, last, rerun=True)  # a fork of the fork goes on as that did
    before = await asked(hf, made)
    assert (await asked(hf, again))[: len(before)] == before
    for one in (parent, made, again):
        assert await identical(hf, one)


async def test_the_family_tells_of_a_fork_what_whoever_forked_changed(desk: Desk) -> None:
    hf = await desk.open(doer())
    parent = await retried_at_two(hf)
    made = await forked(hf, parent, 6, instructions="Be brief.")
    await forked(hf, made, 6, rerun=True)
    found = await families.get(hf.house, LOCAL_PRINCIPAL, parent.run.id)
    assert [list(member.edited) for member in found.members] == [[], ["instructions"], []]


async def test_regenerate_keeps_the_edits_and_a_new_message_begins_without(desk: Desk) -> None:
    hf = await desk.open(doer())
    parent = await retried_at_two(hf)
    page = await history.page(hf.house, LOCAL_PRINCIPAL, parent.run.thread_id, 0, 100)
    how = ForkRun(run_id=parent.run.id, at=0, new=Fresh.EXECUTE)
    again = await branches.regenerate(hf.house, LOCAL_PRINCIPAL, parent.run.thread_id, page[-1].id, how)
    assert output(await ended(hf, again.view)) == f"done: own, {BRAVE}"
    edited = await branches.edit(hf.house, LOCAL_PRINCIPAL, parent.run.thread_id, page[0].id, "two", how)
    assert output(await ended(hf, edited.view)) == f"done: own, {CAREFUL}"
    follows = await outcome(hf, "doer", "three", thread="t")
    assert output(follows) == f"done: own, {CAREFUL}", "they are of the run, not of its thread"


async def test_a_fork_that_was_made_with_edits_is_retried_with_others(desk: Desk) -> None:
    hf = await desk.open(doer())
    parent = await outcome(hf, "doer", "one ! ?")
    shown = await runs.steps(hf.house, LOCAL_PRINCIPAL, parent.run.id, 0, 100)
    made = await forked(hf, parent, len(shown), instructions=BRAVE)
    assert error(made)["message"].endswith("no ?")
    made = await retry(hf, made, model="other")
    assert output(made) == f"done: other, {BRAVE}"
    assert await identical(hf, made)
    found = await diffs.between(hf.house, LOCAL_PRINCIPAL, parent.run.id, made.run.id)
    assert found.divergence is not None


async def test_a_fork_that_kept_the_failure_is_retried_from_before_it(desk: Desk) -> None:
    hf = await desk.open(doer())
    parent = await outcome(hf, "doer", "one !")
    made = await forked(hf, parent, 3)
    assert error(made)["message"].endswith("no !"), "it has the failure from its parent"
    made = await retry(hf, made, instructions=BRAVE)
    assert output(made) == f"done: own, {BRAVE}"
    assert [one for _, one in await asked(hf, made)] == [CAREFUL, BRAVE, BRAVE]
    await timelines.get(hf.house, LOCAL_PRINCIPAL, made.run.id, 0, 100)
    await diffs.between(hf.house, LOCAL_PRINCIPAL, parent.run.id, made.run.id)


# -- files ------------------------------------------------------------------------------------------------------------


async def test_a_retried_run_is_taken_along_with_its_edits(desk: Desk) -> None:
    hf = await desk.open(doer())
    view = await outcome(hf, "doer", "one ! ?", thread="t")
    view = await retry(hf, await retry(hf, view, instructions=BRAVE), model="other")
    made = await forked(hf, view, 6)
    for one in (view, made):
        recorded = await record(hf, one)
        lines = list(portable.written(recorded))
        (read,) = portable.read(lines)
        assert (read.overrides, read.entries) == (recorded.overrides, recorded.entries)
        ((imported,), _) = await importing.load(hf.house, LOCAL_PRINCIPAL, lines)
        there = await recordings.read(hf.house, LOCAL_PRINCIPAL, imported.run_id)
        result = (await InThread(hf.house.agents, None).replay(there)).result
        assert result.verdict is Verdict.IDENTICAL, result
        steps = await runs.steps(hf.house, LOCAL_PRINCIPAL, imported.run_id, 0, 100)
        last = max(step.entry.seq or 0 for step in steps)
        ask = ForkRun(run_id=imported.run_id, at=last, rerun=True)
        fork = await ended(hf, (await forks.fork(hf.house, LOCAL_PRINCIPAL, ask)).view)
        assert output(fork) == f"done: other, {BRAVE}"


@pytest.mark.parametrize("wrong", ["x", [1], [{"instructions": "x"}], [{"since": "1"}], [{"since": 1, "model": 7}]])
async def test_a_file_with_broken_edits_is_refused(desk: Desk, wrong: Any) -> None:
    hf = await desk.open(doer())
    view = await retry(hf, await outcome(hf, "doer", "!"), instructions=BRAVE)

    def broken(line: dict[str, Any]) -> dict[str, Any]:
        if line["line"] == "run":
            line["run"]["overrides"] = wrong
        return line

    lines = list(portable.written(await record(hf, view), broken))
    with pytest.raises(Damaged):
        list(portable.read(lines))


async def test_replay_tells_a_change_on_either_side_of_the_retry(desk: Desk) -> None:
    hf = await desk.open(doer())
    view = await retried_at_two(hf)
    recorded = await record(hf, view)
    known = {one.id: one for one in Holdfast([doer("Be careless.")]).registry}
    found = (await InThread(known, None).replay(recorded)).result
    assert (found.at, found.reason) == (1, Reason.PROMPT_CHANGED)
    (one,) = overrides_of(recorded.overrides)
    assert [e.type for e in recorded.entries if e.pos == one.since] == [EntryType.RUN_RETRIED]


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ({"output": "x"}, '{"at": 2, "edits": {"output": …}}'),
        ({"message": "x"}, '{"at": 0, "edits": {"message": …}}'),
        ({"answer": "x"}, "has an answer"),
        ({"output": "x", "instructions": "y"}, '{"at": 2, "edits": {"output": …}}'),
    ],
)
async def test_what_is_recorded_is_edited_in_a_fork(desk: Desk, edits: dict[str, Any], told: str) -> None:
    hf = await desk.open(doer())
    failed = await outcome(hf, "doer", "one !")
    before = await entries(hf, failed)
    with pytest.raises(Invalid) as caught:
        await retry(hf, failed, **edits)
    assert caught.value.code == "edit_needs_fork"
    assert told in caught.value.message
    assert await entries(hf, failed) == before
    if '"output"' in told:
        made = await forked(hf, failed, 2, output="nothing")  # as it says
        assert [one for _, one in await asked(hf, made)] == [CAREFUL]


async def test_the_last_answer_is_named(desk: Desk) -> None:
    @workflow("asks")
    async def asks(ctx: Context) -> None:
        await ctx.ask("Well?")
        await ctx.uuid()
        raise ValueError("no")

    hf = await desk.open(asks)
    view = await start(hf, "asks")
    await resolve(hf, await question(hf, view), "answer", answer="yes")
    failed = await ended(hf, view)
    with pytest.raises(Invalid, match=r'"at": 1, "edits": \{"answer": …'):
        await retry(hf, failed, answer="no")
    with pytest.raises(Invalid, match=r'"at": 2, "edits": \{"output": …'):
        await retry(hf, failed, output="no")


async def test_a_workflow_has_no_instructions_to_edit(desk: Desk) -> None:
    broken = True

    @workflow("w")
    async def w(ctx: Context) -> int:
        if broken:
            raise ValueError("no")
        return 1

    hf = await desk.open(w)
    failed = await outcome(hf, "w")
    for edits in ({"instructions": "x"}, {"model": "other"}):
        with pytest.raises(Invalid, match="retry without edits") as caught:
            await retry(hf, failed, **edits)
        assert caught.value.code == "edit_not_possible"
    broken = False
    assert output(await retry(hf, failed)) == 1
    assert (await types(hf, failed)).count("run.retried") == 1


async def test_a_model_that_cannot_be_had_is_refused_as_in_a_fork(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    hf = await desk.open(doer())
    failed = await outcome(hf, "doer", "one !")
    with pytest.raises(Invalid) as of_fork:
        await forks.fork(hf.house, LOCAL_PRINCIPAL, ForkRun(run_id=failed.run.id, at=1, edits=Edits(model="no such")))
    with pytest.raises(Invalid) as caught:
        await retrying.retry(hf.house, LOCAL_PRINCIPAL, failed.run.id, edits=Edits(model="no such"))
    assert (caught.value.code, caught.value.message) == (of_fork.value.code, of_fork.value.message)
    assert (await types(hf, failed)).count("run.retried") == 0
