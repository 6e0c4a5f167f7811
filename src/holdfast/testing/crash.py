"""Crash points: stop a process at store write number k, before or after its commit, or make that commit fail.

    faults = CrashPoint(at=7, when="after_commit")
    hf = Holdfast([agent], faults=faults)
    async with hf.running():
        faults.arm()                  # writes are counted from here on
        ...

To prove that an agent survives anything, count the writes of one run (`CrashPoint()` never strikes), then run it once
for every k in a process of its own, recover in another one, and compare the outcomes.

Invariant: a write has one number at both of its points. Writes of one process are counted in the order in which they
come to their commit; on PostgreSQL they may overlap.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from holdfast.domain.errors import OutcomeUnknown, Unavailable
from holdfast.store.base import CommitPoint


def kill_this_process() -> NoReturn:
    """SIGKILL: no handler, no `finally`, no buffer is written."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable: SIGKILL does not return")


def commit_fails() -> NoReturn:
    """The database went away before the commit: nothing was done."""
    raise Unavailable("Injected: the database went away before the commit.")


def outcome_is_unknown() -> NoReturn:
    """The answer to a commit was lost. Injected before the commit, nothing was done; after it, everything was."""
    raise OutcomeUnknown("Injected: the answer to the commit was lost.")


class CrashPoint:
    """A `faults` hook for `Holdfast(faults=…)`: do `action` at write number `at`, at its point `when`.

    Args:
        at: the number of the write, from 1, counted since `arm()`. None: only count.
        when: `"before_commit"` or `"after_commit"`.
        action: what happens there; by default the process is killed. It may raise, as `commit_fails` and
            `outcome_is_unknown` do, or block. It is called in whatever thread commits.
        times: how many writes in a row are struck, the first being `at`.
    """

    def __init__(
        self,
        at: int | None = None,
        when: CommitPoint = "before_commit",
        *,
        action: Callable[[], object] = kill_this_process,
        times: int = 1,
    ) -> None:
        self.at = at
        self.when: CommitPoint = when
        self.struck = 0
        self._action = action
        self._times = times
        self._armed = False
        self._reached: dict[CommitPoint, int] = {"before_commit": 0, "after_commit": 0}

    @property
    def writes(self) -> int:
        """How many writes came to their commit since `arm()`."""
        return self._reached["before_commit"]

    def arm(self, at: int | None = None) -> None:
        """Count from here on, from 1; `at` replaces the one given before."""
        self._reached = {"before_commit": 0, "after_commit": 0}
        if at is not None:
            self.at = at
        self._armed = True

    def disarm(self) -> None:
        """Let everything pass again."""
        self._armed = False

    def __call__(self, point: CommitPoint) -> None:
        if not self._armed:
            return
        self._reached[point] += 1
        first = self.at
        if first is not None and point == self.when and first <= self._reached[point] < first + self._times:
            self.struck += 1
            self._action()
