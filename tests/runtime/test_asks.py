"""`ctx.ask`: a question to people, answered once, remembered for ever, and fitting what was asked for."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from holdfast import Context, workflow
from holdfast.domain import ids, limits
from holdfast.domain.approvals import ApprovalStatus, ApprovalType
from holdfast.domain.errors import Conflict, Invalid, NotAnswered, Refused
from holdfast.domain.journal import EntryType, StepKind
from holdfast.domain.runs import RunStatus
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import (
    Desk,
    cancel,
    ended,
    entries,
    error,
    keys,
    look,
    outcome,
    output,
    person,
    question,
    questions,
    resolve,
    start,
    waiting,
)


class Trip(BaseModel):
    to: str
    days: int = 1


def asking(**options: Any) -> Any:
    """A workflow that asks one question and returns the answer, or the code of why there is none."""

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            answer = await ctx.ask("Where to?", **options)
        except NotAnswered as exc:
            return {"code": exc.code, "message": exc.message}
        return {"answer": answer.model_dump() if isinstance(answer, BaseModel) else answer}

    return w


async def test_an_ask_waits_for_its_answer_and_is_not_asked_again(desk: Desk, clock: FakeClock) -> None:
    asked_times: list[Any] = []

    @workflow("w")
    async def w(ctx: Context) -> Any:
        answer = await ctx.ask("Where to?")
        asked_times.append(answer)
        await ctx.sleep(1)
        return answer

    hf = await desk.open(w, determinism=clock.determinism)
    view = await start(hf, "w")
    asked = await question(hf, view)
    assert (asked.type, asked.message, asked.key) == (ApprovalType.INPUT, "Where to?", "ask#1")
    await resolve(hf, asked, "answer", answer={"free": ["text", 1]})
    async with asyncio.timeout(20):
        while not asked_times or (await look(hf, view)).run.status is not RunStatus.WAITING:
            await asyncio.sleep(0.005)
    clock.advance(timedelta(seconds=2))
    assert output(await ended(hf, view)) == {"free": ["text", 1]}
    assert asked_times == [{"free": ["text", 1]}] * 2
    assert await keys(hf, view) == ["ask#1", "sleep#1"]
    assert len(await questions(hf, view, *ApprovalStatus)) == 1


async def test_the_journal_and_the_run_say_what_is_asked(desk: Desk) -> None:
    hf = await desk.open(asking())
    view = await start(hf, "w")
    asked = await question(hf, view)
    view = await look(hf, view)
    assert json.loads(view.run.waiting_on or b"[]") == [
        {"type": "ask", "id": ids.text(ids.APPROVAL, asked.id), "step": "ask#1"}
    ]
    (opened,) = [e for e in await entries(hf, view) if e.type is EntryType.APPROVAL_REQUESTED]
    assert (opened.kind, opened.name) == (StepKind.INTERRUPT, "ask")
    assert json.loads(opened.payload or b"")["type"] == "input"
    await resolve(hf, asked, "answer", answer="Rome", note="sunny")
    view = await ended(hf, view)
    (closed,) = [e for e in await entries(hf, view) if e.type is EntryType.APPROVAL_RESOLVED]
    said = json.loads(closed.payload or b"")
    assert (said["status"], said["answer"], said["note"]) == ("answered", "Rome", "sunny")


@pytest.mark.parametrize(
    ("options", "good", "bad"),
    [
        ({"schema": int}, 3, ["three", None, 1.5]),
        ({"schema": Trip}, {"to": "Rome", "days": 2}, [{"days": 2}, "Rome", None]),
        ({"schema": Literal["a", "b"]}, "a", ["c"]),
        ({"schema": {"type": "object", "required": ["x"]}}, {"x": None}, [{}, 3]),
        ({"choices": ["yes", "no", 3]}, 3, ["maybe", "3", None]),
        ({"choices": ["yes"], "schema": str}, "yes", ["no", 1]),
    ],
    ids=["int", "model", "literal", "json schema", "choices", "both"],
)
async def test_an_answer_fits_what_was_asked_for(desk: Desk, options: Any, good: Any, bad: list[Any]) -> None:
    hf = await desk.open(asking(**options))
    view = await start(hf, "w")
    asked = await question(hf, view)
    for answer in bad:
        with pytest.raises(Invalid) as caught:
            await resolve(hf, asked, "answer", answer=answer)
        assert caught.value.code == "invalid_answer"
    assert await question(hf, view) == asked
    await resolve(hf, asked, "answer", answer=good)
    assert output(await ended(hf, view)) == {"answer": good}


async def test_the_answer_comes_as_the_type_that_was_asked_for(desk: Desk) -> None:
    seen: list[Any] = []

    @workflow("w")
    async def w(ctx: Context) -> int:
        trip = await ctx.ask("Where to?", schema=Trip)
        seen.append(trip)
        return trip.days

    hf = await desk.open(w)
    view = await start(hf, "w")
    await resolve(hf, await question(hf, view), "answer", answer={"to": "Rome"})
    assert output(await ended(hf, view)) == 1
    assert seen == [Trip(to="Rome", days=1)]


async def test_a_question_may_be_rejected(desk: Desk) -> None:
    hf = await desk.open(asking())
    view = await start(hf, "w")
    await resolve(hf, await question(hf, view), "reject", note="none of your business")
    told = output(await ended(hf, view))
    assert told["code"] == "ask_rejected"
    assert "none of your business" in told["message"]


async def test_an_ask_that_nobody_catches_fails_the_run_with_its_reason(desk: Desk) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.ask("Where to?")

    hf = await desk.open(w)
    view = await start(hf, "w")
    await resolve(hf, await question(hf, view), "reject")
    failure = error(await ended(hf, view))
    assert (failure["code"], failure["step"]) == ("ask_rejected", "ask#1")


async def test_approve_is_no_answer(desk: Desk) -> None:
    hf = await desk.open(asking())
    view = await start(hf, "w")
    with pytest.raises(Invalid) as caught:
        await resolve(hf, await question(hf, view), "approve")
    assert caught.value.code == "wrong_decision"


async def test_who_answers_holds_a_role(desk: Desk) -> None:
    hf = await desk.open(asking(roles="pilot"))
    view = await start(hf, "w")
    asked = await question(hf, view)
    with pytest.raises(Refused):
        await resolve(hf, asked, "answer", answer="Rome", by=person("ann"))
    await resolve(hf, asked, "answer", answer="Rome", by=person("bea", "pilot"))
    assert output(await ended(hf, view)) == {"answer": "Rome"}


async def test_an_answer_counts_once(desk: Desk) -> None:
    hf = await desk.open(asking())
    view = await start(hf, "w")
    asked = await question(hf, view)
    answers = await asyncio.gather(*(resolve(hf, asked, "answer", answer=n) for n in range(10)), return_exceptions=True)
    won = [a for a in answers if not isinstance(a, BaseException)]
    lost = [a for a in answers if isinstance(a, Conflict)]
    assert (len(won), len(lost)) == (1, 9)
    assert {e.details["decision"]["answer"] for e in lost if e.code == "already_resolved"} <= {
        json.loads(won[0].answer or b"null")
    }
    assert output(await ended(hf, view)) == {"answer": json.loads(won[0].answer or b"null")}


async def test_after_its_time_an_ask_takes_its_default(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(asking(schema=int, expires=timedelta(days=2), default=7), determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "w"))
    clock.advance(timedelta(days=2))
    assert output(await ended(hf, view)) == {"answer": 7}
    (closed,) = await questions(hf, view, *ApprovalStatus)
    assert (closed.status, closed.decisions, closed.answer) == (ApprovalStatus.ANSWERED, (), b"7")


async def test_a_default_may_be_nothing(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(asking(expires=timedelta(days=2), default=None), determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "w"))
    clock.advance(timedelta(days=2))
    assert output(await ended(hf, view)) == {"answer": None}


async def test_after_its_time_an_ask_without_a_default_is_not_answered(desk: Desk, clock: FakeClock) -> None:
    hf = await desk.open(asking(), determinism=clock.determinism)
    view = await waiting(hf, await start(hf, "w"))
    asked = await question(hf, view)
    clock.advance(limits.EXPIRES_MS)
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked, "answer", answer="late")
    assert caught.value.code == "expired"
    assert output(await ended(hf, view))["code"] == "ask_expired"


async def test_a_cancel_closes_the_question(desk: Desk) -> None:
    hf = await desk.open(asking())
    view = await start(hf, "w")
    asked = await question(hf, view)
    await cancel(hf, view)
    with pytest.raises(Conflict) as caught:
        await resolve(hf, asked, "answer", answer="Rome")
    assert caught.value.code == "run_ended"
    assert [q.status for q in await questions(hf, view, *ApprovalStatus)] == [ApprovalStatus.CANCELLED]


async def test_two_branches_ask_at_the_same_time_and_go_on_one_by_one(desk: Desk) -> None:
    async def note(n: int) -> None:
        pass

    async def branch(ctx: Context, n: int) -> Any:
        answer = await ctx.ask(f"Number {n}?")
        await ctx.step("answered", note, n)
        return answer

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(branch(ctx, 0), branch(ctx, 1))

    hf = await desk.open(w)
    view = await waiting(hf, await start(hf, "w"))
    both = {q.key: q for q in await questions(hf, view)}
    assert set(both) == {"g#1.0/ask#1", "g#1.1/ask#1"}
    await resolve(hf, both["g#1.1/ask#1"], "answer", answer="b")
    async with asyncio.timeout(20):
        while "g#1.1/answered#1" not in await keys(hf, view):
            await asyncio.sleep(0.01)
    view = await waiting(hf, view)
    await resolve(hf, both["g#1.0/ask#1"], "answer", answer="a")
    assert output(await ended(hf, view)) == ["a", "b"]


async def test_an_answer_that_comes_while_a_branch_is_at_work_is_heard(desk: Desk) -> None:
    """The run does not park, since one branch moves: the other goes on with its answer all the same."""
    go, answered = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        await go.wait()
        return "slow"

    async def ask(ctx: Context) -> Any:
        answer = await ctx.ask("Now?")
        answered.set()
        return answer

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(ctx.step("slow", slow), ask(ctx))

    hf = await desk.open(w)
    view = await start(hf, "w")
    async with asyncio.timeout(20):
        while not (found := await questions(hf, view)):
            await asyncio.sleep(0.005)
    await resolve(hf, found[0], "answer", answer="yes")
    async with asyncio.timeout(20):
        await answered.wait()
    go.set()
    assert output(await ended(hf, view)) == ["slow", "yes"]


BAD: list[tuple[Any, dict[str, Any]]] = [
    ("", {}),
    ("  ", {}),
    ("x" * (limits.QUESTION_CHARS_MAX + 1), {}),
    ("x\x00y", {}),
    ("x", {"choices": []}),
    ("x", {"choices": list(range(limits.CHOICES_MAX + 1))}),
    ("x", {"schema": asyncio.Event}),
    ("x", {"schema": {"type": "nonsense"}}),
    ("x", {"expires": timedelta(0)}),
    ("x", {"expires": timedelta(days=400)}),
    ("x", {"roles": "Not A Role"}),
    ("x", {"choices": [object()]}),
    ("x", {"default": object()}),
]


@pytest.mark.parametrize(("text", "options"), BAD, ids=[str(n) for n in range(len(BAD))])
async def test_a_question_that_cannot_be_asked_is_refused(desk: Desk, text: str, options: Any) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.ask(text, **options)
        except Invalid as exc:
            return exc.code

    hf = await desk.open(w)
    view = await outcome(hf, "w")
    assert output(view)
    assert await questions(hf, view, *ApprovalStatus) == []


@pytest.mark.parametrize(
    "options",
    [
        {"schema": int, "default": "many"},
        {"schema": int, "default": None},
        {"schema": {"type": "integer"}, "default": "many"},
        {"choices": ["yes", "no"], "default": "maybe"},
    ],
)
async def test_a_default_that_does_not_fit_is_refused_before_anybody_is_asked(desk: Desk, options: Any) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.ask("How many?", **options)
        except Invalid as exc:
            return exc.code

    hf = await desk.open(w)
    assert output(await outcome(hf, "w"))


async def test_another_question_at_the_same_place_is_a_mismatch(desk: Desk) -> None:
    words = ["Where to?"]

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.ask(words[0])

    hf = await desk.open(w)
    view = await start(hf, "w")
    asked = await question(hf, view)
    words[0] = "How much?"
    await resolve(hf, asked, "answer", answer="Rome")
    assert error(await ended(hf, view))["code"] == "journal_mismatch"
