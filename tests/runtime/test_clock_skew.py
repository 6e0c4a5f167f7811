"""Timers go by the database's clock: a process whose own clock is wrong sleeps as long as any other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from holdfast import Context, workflow
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.runs import RunStatus
from holdfast.store import postgres
from tests.runtime.driving import Desk, ended, outcome, start, waiting

HOUR_MS = 3_600_000


class Skewed:
    """The system's clock and randomness, with the wall clock off by so much."""

    def __init__(self, by_ms: int) -> None:
        self.by_ms = by_ms
        self.jitter: Callable[[float], float] = SYSTEM.jitter

    def now_ms(self) -> int:
        return SYSTEM.now_ms() + self.by_ms


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
async def test_a_process_with_a_wrong_clock_keeps_the_database_s_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, by_ms: int
) -> None:
    @workflow("nap")
    async def nap(ctx: Context, seconds: float) -> str:
        await ctx.sleep(seconds)
        return "rested"

    async with AsyncExitStack() as stack:
        hf = await Desk(postgres_url, stack).open(nap)
        monkeypatch.setattr(postgres, "SYSTEM", Skewed(by_ms))
        rested = await outcome(hf, "nap", 0.2)
        assert rested.run.status is RunStatus.SUCCEEDED
        parked = await waiting(hf, await start(hf, "nap", 6))
        assert parked.run.wake_at is not None
        assert abs(parked.run.wake_at - parked.run.created_at - 6_000) < 2_000
        assert (await ended(hf, parked)).run.status is RunStatus.SUCCEEDED
