"""Events from outside: who sends and who waits take their locks in one order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text

from holdfast import Context, workflow
from holdfast.store import awaited, heads, schema
from holdfast.store.base import Tx
from tests.runtime.driving import Desk, ended, output, send, start, waiting, within

_LOCKED_OUT = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
_USES = select(func.count()).select_from(schema.event_uses)


@workflow("w")
async def w(ctx: Context) -> Any:
    return await ctx.wait_event("paid")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_sender_and_waiter_do_not_lock_each_other_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that parks holds its head, and asks for the names of its events: so does who sends one."""
    hf = await desk.open(w)
    run = await waiting(hf, await start(hf, "w"))
    add, tries = awaited.add, list[str]()

    async def counted(tx: Tx, event: awaited.Awaited) -> awaited.Awaited:
        tries.append("send")
        return await add(tx, event)

    monkeypatch.setattr(awaited, "add", counted)
    database = hf.house.database
    holds_head = asyncio.Event()

    async def parks(tx: Tx) -> None:
        tries.append("park")
        await heads.lock(tx, run.run.tenant_id, run.run.id)
        holds_head.set()
        while not (await database.read(None, lambda other: other.first(_LOCKED_OUT)) or (0,))[0]:
            await asyncio.sleep(0.005)
        await awaited.lock(tx, [(run.run.tenant_id, "paid", "")])

    parking = asyncio.create_task(database.write(None, parks))
    await within(holds_head.wait())
    sent = await within(send(hf, "paid", 7))
    await within(parking)
    assert sorted(tries) == ["park", "send"], "one of them was undone and had to begin again"
    assert sent.woken == (run.run.id,)
    assert output(await ended(hf, run)) == 7
