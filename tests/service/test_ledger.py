"""Business keys: what was undone may be done again, and a key that comes free in the middle of a claim is claimed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Context, EffectInfo, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.effects import EffectClass, EffectStatus, idempotency_key
from holdfast.domain.ids import EffectId
from holdfast.domain.runs import RunStatus
from holdfast.store import effects
from holdfast.store.base import Tx
from holdfast.store.effects import Plan
from tests.runtime.driving import Desk, ended, ledger, outcome, output, start, waiting, within

log: list[str] = []


class Gate:
    """Where undoing stands still, until it may go on."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


gate = Gate()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    log.clear()
    gate.__init__()
    gate.open.set()
    monkeypatch.setattr(limits, "DEDUPE_WAIT_MS", 5_000)
    monkeypatch.setattr(limits, "DEDUPE_POLL_MS", 10)


@tool(effect="keyed", dedupe="{order}")
async def ship(order: int) -> str:
    """Ship an order, once."""
    log.append(f"ship {order}")
    return f"parcel {len(log)}"


@ship.compensate
async def unship(ctx: ToolContext[None], effect: EffectInfo) -> None:
    gate.reached.set()
    await gate.open.wait()
    log.append(f"back {effect.arguments['order']}")


@workflow("ships", tools=[ship], compensate=("failure",))
async def ships(ctx: Context, fails: bool) -> str:
    parcel = await ctx.step("ship", ship, 7)
    if fails:
        raise ValueError("no luck")
    return parcel


@workflow("asks", tools=[ship])
async def asks(ctx: Context) -> str:
    await ctx.ask("Ship?")
    return await ctx.step("ship", ship, 7)


async def test_what_was_undone_may_be_done_again(desk: Desk) -> None:
    hf = await desk.open(ships)
    assert (await outcome(hf, "ships", True)).run.status is RunStatus.FAILED
    assert output(await outcome(hf, "ships", False)) == "parcel 3"
    assert output(await outcome(hf, "ships", False)) == "parcel 3", "what was done, and not undone, is done once"
    assert log == ["ship 7", "back 7", "ship 7"]


async def test_who_asks_for_it_while_it_is_undone_waits_and_does_it(desk: Desk) -> None:
    hf = await desk.open(ships)
    gate.open.clear()
    first = await start(hf, "ships", True)
    await within(gate.reached.wait())
    second = await start(hf, "ships", False)
    while not await ledger(hf, second):
        await asyncio.sleep(0.005)
    gate.open.set()
    assert (await ended(hf, first)).run.status is RunStatus.FAILED
    assert output(await ended(hf, second)) == "parcel 3"
    assert log == ["ship 7", "back 7", "ship 7"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_business_key_that_comes_free_in_the_middle_of_a_claim_is_claimed(desk: Desk) -> None:
    """The claim finds the key taken; before it reads by whom, the holder fails in another transaction."""
    hf = await desk.open(ships, asks)
    holder = await outcome(hf, "ships", False)
    run = await waiting(hf, await start(hf, "asks"))
    (held,) = await ledger(hf, holder)
    tenant_id, database = run.run.tenant_id, hf.house.database

    class Between:
        """A transaction beside which the holder lets go, once, between two of its statements."""

        def __init__(self, tx: Any) -> None:
            self._tx = tx
            self.met = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tx, name)

        async def first(self, statement: Any, params: Any = None) -> Any:
            if "business_keys" in str(statement) and not self.met:
                self.met += 1
                await database.write(
                    None,
                    lambda tx: effects._free(tx, tenant_id, holder.run.id, held.key),  # pyright: ignore
                )
            return await self._tx.first(statement, params)

    async def plan(tx: Tx) -> int:
        plan = Plan(
            key="ship#1",
            id=EffectId(b"e" * 16),
            tool=held.tool,
            agent="asks",
            effect_class=EffectClass.KEYED,
            version=held.version,
            arguments=held.arguments,
            arguments_hash=held.arguments_hash,
            idempotency_key=idempotency_key(tenant_id, run.run.id, "ship#1", 0),
            business_key=held.business_key,
        )
        between: Any = Between(tx)
        await effects.plan(between, [(tenant_id, run.run.id, 1, plan)])
        return between.met

    assert await database.write(None, plan) == 1
    (mine,) = await ledger(hf, run)
    assert (mine.status, mine.duplicate_of) == (EffectStatus.PLANNED, None)
