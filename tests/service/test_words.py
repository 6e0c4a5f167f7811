"""What a person says of an effect reaches its run, however early they say it."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Context, Holdfast, tool, workflow
from holdfast.domain.effects import Effect, EffectStatus
from holdfast.service import effects
from tests.runtime.driving import Desk, outcome, output, settle


@tool(effect="unsafe")
async def ring(who: str) -> str:
    """Ring somebody up; the line drops."""
    raise ConnectionError("the line is dead")


@workflow("rings", tools=[ring])
async def rings(ctx: Context) -> Any:
    return await ctx.step("ring", ring, "ann")


async def test_an_answer_that_comes_before_the_run_waits_for_it_is_heard(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question is open, the run has yet to look at the ledger, and somebody has answered already."""
    hf: Holdfast = await desk.open(rings)
    look, said = effects.of_step, list[EffectStatus]()

    async def late(house: Any, run: Any, key: str) -> Effect | None:
        found = await look(house, run, key)
        if found is not None and found.status is EffectStatus.UNKNOWN and not said:
            said.append((await settle(hf, found, "committed", "she knows")).status)
            found = await look(house, run, key)
        return found

    monkeypatch.setattr(effects, "of_step", late)
    assert output(await outcome(hf, "rings")) == "she knows"
    assert said == [EffectStatus.COMMITTED]
