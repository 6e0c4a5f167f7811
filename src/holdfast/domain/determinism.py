"""Clock, ids and randomness: the one door to what is not a function of its inputs.

Ruff's banned-api forbids `time.time`, `uuid.uuid4`, `random.*` and `os.urandom` elsewhere, so a test that passes its
own `Determinism` controls every such value in the process.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


def system_now_ms() -> int:
    """Wall clock, milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def system_monotonic_ms() -> float:
    """A clock for durations, in milliseconds; never goes back."""
    return time.monotonic_ns() / 1_000_000


class SystemRandom:
    """The operating system's random bytes, drawn in blocks: a system call for each id costs more than the id.

    A forked child must not go on with its parent's block, so a fork throws it away.
    """

    BLOCK = 4_096

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the parent's at the fork
        self._block = b""
        self._used = 0

    def __call__(self, size: int) -> bytes:
        with self._lock:
            if self._used + size > len(self._block):
                self._block, self._used = os.urandom(max(self.BLOCK, size)), 0
            drawn = self._block[self._used : self._used + size]
            self._used += size
            return drawn


@dataclass(frozen=True, slots=True)
class Determinism:
    """What a process draws from outside: wall clock (ms), monotonic clock (ms), random bytes, jitter."""

    now_ms: Callable[[], int] = system_now_ms
    monotonic_ms: Callable[[], float] = system_monotonic_ms
    random_bytes: Callable[[int], bytes] = field(default_factory=SystemRandom)
    random: random.Random = field(default_factory=random.Random)

    def new_id(self) -> bytes:
        """16 bytes in the layout of UUID version 7 (RFC 9562 §5.7): 48 bits of milliseconds, then randomness.

        Ids of one process sort by creation to the millisecond, which keeps indexes append-mostly.
        """
        tail = bytearray(self.random_bytes(10))
        tail[0] = (tail[0] & 0x0F) | 0x70
        tail[2] = (tail[2] & 0x3F) | 0x80
        return self.now_ms().to_bytes(6, "big") + bytes(tail)

    def jitter(self, base_ms: float) -> float:
        """`base_ms` spread over ±50 %, so that many waiters do not wake together."""
        return base_ms * (0.5 + self.random.random())


SYSTEM = Determinism()
