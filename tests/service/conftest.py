"""Fixtures of the service tests: a running Holdfast on either database."""

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
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Time stands until a test moves it; every wait parks, and recovery looks often."""
    monkeypatch.setattr(limits, "KEEP_IN_MEMORY_MS", 0)
    monkeypatch.setattr(limits, "RECOVERY_EVERY_MS", 20)
    return FakeClock()
