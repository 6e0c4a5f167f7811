"""Hints cross from process to process over LISTEN/NOTIFY: two hubs with a relay each stand for two processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from holdfast.bus.base import Change, Delta, Hub, Look
from holdfast.bus.postgres import PostgresRelay
from holdfast.domain.ids import DEFAULT_TENANT, RunId, ThreadId

RUN, THREAD = RunId(b"r" * 16), ThreadId(b"t" * 16)
WITHIN_S = 20


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Hub, Hub]]:
    hubs = Hub(PostgresRelay(url)), Hub(PostgresRelay(url))
    for hub in hubs:
        await hub.open()
    try:
        yield hubs
    finally:
        for hub in hubs:
            await hub.close()


async def listened(hub: Hub) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not hub.listened(RUN, THREAD):
            await asyncio.sleep(0.01)


async def test_equal_pieces_of_a_message_all_arrive_at_another_process_in_order(postgres_url: str) -> None:
    async with two(postgres_url) as (near, far):
        subscription = far.subscribe(RUN)
        await listened(near)
        texts = ["ha", "ha", "ha", "!", "ha"]
        for piece in texts:
            near.delta(THREAD, Delta(RUN, "message.delta", {"text": piece}, 1))
        seen: list[object] = []
        async with asyncio.timeout(WITHIN_S):
            while len(seen) < len(texts):
                seen += [s.data["text"] for s in await subscription.take(1) if isinstance(s, Delta)]
        assert seen == texts


async def test_one_that_only_waits_for_the_end_is_no_listener_for_another_process(postgres_url: str) -> None:
    async with two(postgres_url) as (near, far):
        far.subscribe(RUN, milestones=True)
        arrived = asyncio.Event()
        changes = near.subscribe_changes(DEFAULT_TENANT, arrived)
        far.change(Change(DEFAULT_TENANT, "run", "run_x", "queued"))  # sent behind the other hint, on the same session
        async with asyncio.timeout(WITHIN_S):
            await arrived.wait()
        lost, told = changes.taken()
        assert not lost
        assert [change.id for change in told] == ["run_x"]
        assert not near.listened(RUN, THREAD)


async def test_who_comes_back_after_a_lost_connection_is_told_to_look(postgres_url: str) -> None:
    relay = PostgresRelay(postgres_url)
    hub = Hub(relay)
    await hub.open()
    try:
        subscription = hub.subscribe(RUN)
        await subscription.take(0.1)
        relay._connection.terminate()  # what a server does that goes away
        async with asyncio.timeout(WITHIN_S):
            while not any(isinstance(s, Look) for s in await subscription.take(1)):
                pass
    finally:
        await hub.close()
