"""A wall clock that stands until it is moved, as a `Determinism` for `Holdfast(determinism=…)`.

    clock = FakeClock()
    hf = Holdfast([agent], determinism=clock.determinism)
    clock.advance(timedelta(days=3))

With it the database's clock stands too: what falls due (sleeps, deadlines, leases) is decided by `advance` alone.
Durations stay real: loops still wait between looks, so a timer is noticed up to a poll after the clock was moved.
"""

from __future__ import annotations

import random
from datetime import timedelta

from holdfast.domain.determinism import Determinism

START_MS = 1_800_000_000_000


class FakeClock:
    """A clock in milliseconds UTC, and randomness from `seed`."""

    def __init__(self, now_ms: int = START_MS, *, seed: int = 0) -> None:
        self._now_ms = now_ms
        chance = random.Random(seed)
        self.determinism = Determinism(now_ms=self.now_ms, random_bytes=chance.randbytes, random=chance)

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, by: timedelta | int) -> None:
        """Move on, by a timedelta or by milliseconds."""
        ms = round(by.total_seconds() * 1000) if isinstance(by, timedelta) else by
        assert ms >= 0, "time does not go back"
        self._now_ms += ms
