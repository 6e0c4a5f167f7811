"""Expiry goes on: past what cannot be expired, whatever people changed before, and beside others that do the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Confirm, Context, Holdfast, NotAnswered, tool, workflow
from holdfast.domain import encoding, limits
from holdfast.domain.approvals import Approval, ApprovalStatus
from holdfast.domain.errors import Invalid
from holdfast.domain.journal import EntryType
from holdfast.domain.runs import RunView
from holdfast.service import approvals
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import Desk, ended, entries, output, person, question, questions, resolve, start, waiting

HOUR = timedelta(hours=1)
ANN, BOB = person("ann"), person("bob")
done: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    done.clear()


@workflow("asks")
async def asks(ctx: Context, n: int) -> str:
    try:
        return await ctx.ask(f"Number {n}?", expires=HOUR)
    except NotAnswered as exc:
        return exc.code


@tool(effect="keyed", confirm=Confirm(quorum=2, expires=HOUR, on_expiry="approve"))
async def pay(text: str, n: int) -> str:
    """Pay."""
    done.append((text, n))
    return "paid"


@workflow("pays", tools=[pay])
async def pays(ctx: Context) -> str:
    return await ctx.step("pay", pay, "a", 1)


async def test_a_question_that_cannot_be_expired_does_not_keep_others_from_it(
    desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "ROWS_MAX", 2)
    hf = await desk.open(asks, determinism=clock.determinism)
    runs = [await waiting(hf, await start(hf, "asks", n)) for n in range(6)]
    bad = [(await question(hf, run)).id for run in runs[:3]]
    write, broken = approvals._entry, True  # pyright: ignore[reportPrivateUsage]

    async def poisoned(tx: Any, before: Approval, after: Approval) -> Any:
        if before.id in bad and broken:
            raise AssertionError("a bug of ours")
        return await write(tx, before, after)

    monkeypatch.setattr(approvals, "_entry", poisoned)
    clock.advance(HOUR)
    assert [output(await ended(hf, run)) for run in runs[3:]] == ["ask_expired"] * 3
    assert len(await questions(hf, runs[0])) == 1, "it is still there"
    broken = False
    clock.advance(HOUR)
    assert [output(await ended(hf, run)) for run in runs[:3]] == ["ask_expired"] * 3


async def changed(hf: Holdfast, run: RunView, text: str) -> tuple[int, Approval, Invalid]:
    """Two people who cannot agree change the arguments until that is refused: how often they did."""
    asked = await question(hf, run)
    for n in range(1_000):
        by = (ANN, BOB)[n % 2]
        try:
            asked = await resolve(hf, asked, "approve", by=by, arguments={"text": text, "n": n})
        except Invalid as exc:
            return n, asked, exc
    raise AssertionError("there is no end to it")


async def test_what_many_have_changed_can_still_be_decided_and_expires(
    desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change is kept with its question: they have to stay so small that one more decision fits."""
    monkeypatch.setattr(encoding, "PAYLOAD_BYTES_MAX", 64_000)
    monkeypatch.setattr(limits, "EDITS_BYTES_MAX", 32_000)
    hf = await desk.open(pays, determinism=clock.determinism)
    run = await start(hf, "pays")
    times, _, refused = await changed(hf, run, "x" * 6_000)
    assert (times, refused.code) == (5, "invalid_arguments")
    clock.advance(HOUR)
    assert output(await ended(hf, run)) == "paid"
    assert done == [("x" * 6_000, 4)]


async def test_a_question_is_not_changed_without_end(desk: Desk) -> None:
    hf = await desk.open(pays)
    run = await start(hf, "pays")
    times, asked, refused = await changed(hf, run, "x")
    assert (times, refused.code) == (limits.EDITS_MAX, "invalid_arguments")
    kept = [e for e in await entries(hf, run) if e.type is EntryType.APPROVAL_CHANGED]
    assert len(kept) == times
    decided = await resolve(hf, asked, "approve", by=(ANN, BOB)[times % 2])
    assert decided.status is ApprovalStatus.APPROVED
    assert output(await ended(hf, run)) == "paid"


async def test_two_processes_expire_each_question_once(desk: Desk, clock: FakeClock) -> None:
    one = await desk.open(asks, determinism=clock.determinism)
    other = await desk.open(asks, determinism=clock.determinism)
    runs = [await waiting(one, await start(one, "asks", n)) for n in range(20)]
    clock.advance(HOUR)
    await asyncio.gather(*(approvals.expire_due(hf.house) for hf in (one, other, one, other)))
    for run in runs:
        assert output(await ended(one, run)) == "ask_expired"
        resolved = [e for e in await entries(one, run) if e.type is EntryType.APPROVAL_RESOLVED]
        assert len(resolved) == 1
