"""What people and events bring is stored within other values: nested too deeply, those could not be read any more."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Context, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import ApprovalStatus
from holdfast.domain.errors import Invalid
from holdfast.service import approvals, effects
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.effects import EffectFilter
from tests.runtime.driving import Desk, cancel, ended, ledger, output, question, resolve, send, settle, start, waiting

# What a body that the HTTP API reads may hold, and what Python may hand to the verbs.
DEPTHS = (180, 197, 199, 200, 230)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@tool(effect="keyed", confirm=True)
async def save(data: dict[str, Any]) -> str:
    """Save something."""
    return "saved"


@tool(effect="unsafe")
async def ring() -> Any:
    """Ring somebody up; the line drops."""
    raise ConnectionError("the line is dead")


@workflow("saves", tools=[save])
async def saves(ctx: Context) -> str:
    return await ctx.step("save", save, {})


@workflow("asks")
async def asks(ctx: Context) -> str:
    await ctx.ask("What?")
    return "answered"


@workflow("rings", tools=[ring])
async def rings(ctx: Context) -> str:
    await ctx.step("ring", ring)
    return "rung"


@workflow("waits")
async def waits(ctx: Context) -> str:
    await ctx.wait_event("paid")
    return "paid"


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("agent", ["saves", "asks", "rings", "waits"])
async def test_what_is_nested_too_deeply_is_refused_and_nothing_becomes_unreadable(
    desk: Desk, agent: str, depth: int
) -> None:
    hf = await desk.open(saves, asks, rings, waits)
    run = await waiting(hf, await start(hf, agent))
    value, harmless = nested(depth), nested(2)

    async def said(value: Any) -> Any:
        match agent:
            case "saves":
                await resolve(hf, await question(hf, run), "approve", arguments={"data": value})
            case "asks":
                await resolve(hf, await question(hf, run), "answer", answer=value)
            case "rings":
                (effect,) = await ledger(hf, run)
                await settle(hf, effect, "committed", value)
            case _:
                await send(hf, "paid", value)

    try:
        await said(value)
    except Invalid:
        assert depth > 180
        await said(harmless)
    assert output(await ended(hf, run)) in ("saved", "answered", "rung", "paid")
    everything = ApprovalFilter(status=tuple(ApprovalStatus))
    assert await approvals.page(hf.house, LOCAL_PRINCIPAL, everything) or agent == "waits"
    await effects.page(hf.house, LOCAL_PRINCIPAL, EffectFilter())


async def test_the_same_of_an_effect_whose_run_has_ended(desk: Desk) -> None:
    hf = await desk.open(rings)
    run = await waiting(hf, await start(hf, "rings"))
    await cancel(hf, run)
    (effect,) = await ledger(hf, run)
    with pytest.raises(Invalid):
        await settle(hf, effect, "committed", nested(199))
    await settle(hf, effect, "committed", nested(2))
