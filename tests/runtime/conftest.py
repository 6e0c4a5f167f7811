"""A running Holdfast on either database, whose waits park at once where a test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from holdfast.domain import limits
from holdfast.testing.clock import FakeClock
from tests import replays
from tests.runtime.driving import Desk


@pytest.fixture
async def desk(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    """Opens `Holdfast`s on one empty database and stops them in the end, the last one first. Before that, what they
    recorded is replayed."""
    async with AsyncExitStack() as stack:
        desk = Desk(database_url, stack)
        yield desk
        if request.node.get_closest_marker("impure") is None:
            await replays.assert_identical(desk.opened)


@pytest.fixture
def clock(parking: None) -> FakeClock:
    """Time stands, so that whatever sleeps parks, until a test moves it."""
    return FakeClock()


@pytest.fixture
def parking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait parks, and timers are looked at often."""
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)
