"""A running Holdfast on either database, whose waits park at once where a test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from holdfast.domain import limits
from holdfast.testing.clock import FakeClock
from tests.runtime.driving import Desk


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    """Opens `Holdfast`s on one empty database and stops them in the end, the last one first."""
    async with AsyncExitStack() as stack:
        yield Desk(database_url, stack)


@pytest.fixture
def clock(parking: None) -> FakeClock:
    """Time stands, so that whatever sleeps parks, until a test moves it."""
    return FakeClock()


@pytest.fixture
def parking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait parks, and timers are looked at often."""
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)
