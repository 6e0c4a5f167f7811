"""Recorded runs as test cases: files of `holdfast runs export`, replayed with the code that the tests import.

A case is replayed in a thread of its own, with no model, no tool, and no network: what is compared is what the code
asks for, so it costs milliseconds and no key.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.agents.base import Agent
from holdfast.agents.registry import Registry
from holdfast.domain import limits, portable
from holdfast.domain.errors import Damaged
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Replay, Verdict
from holdfast.runtime import replayers

SUFFIX = ".jsonl"


@dataclass(frozen=True)
class ReplayCase:
    """One recorded run, and the agents whose code it is replayed with."""

    recorded: RecordedRun
    agents: Mapping[str, Agent] = field(repr=False)
    deps: Any = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """`agent/run_…`."""
        return f"{self.recorded.agent}/{self.recorded.of.run_id}"

    def replay(self) -> Replay:
        """What the replay found. Raises `LookupError` if the run's agent is not among those given."""
        agent = self.agents.get(self.recorded.agent)
        if agent is None:
            known = ", ".join(sorted(self.agents)) or "none"
            raise LookupError(f"{self.id}: there is no agent {self.recorded.agent!r}; given are: {known}.")
        found: list[Replay] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                found.append(
                    contextvars.Context().run(replayers.isolated, agent, self.agents, self.deps, self.recorded)
                )
            except BaseException as exc:
                failed.append(exc)

        thread = threading.Thread(target=work, name="holdfast-replay", daemon=True)
        thread.start()
        thread.join(limits.REPLAY_MS / 1000)
        if failed:
            raise failed[0]
        return found[0] if found else replayers.overdue()

    def check(self) -> None:
        """Raise `AssertionError`, with the step and both sides, unless the code does what was recorded."""
        result = self.replay()
        if result.verdict is not Verdict.IDENTICAL:
            raise AssertionError(f"{self.id} {result.told()}")


def recorded_runs(path: str | Path) -> list[RecordedRun]:
    """The runs in a file, or in all `*.jsonl` files of a folder and those below it, by name."""
    where = Path(path)
    files = sorted(where.rglob(f"*{SUFFIX}")) if where.is_dir() else [where]
    found: list[RecordedRun] = []
    for file in files:
        with file.open("rb") as lines:
            try:
                found.extend(portable.read(lines))
            except Damaged as exc:
                raise ValueError(f"{file}: {exc.message}") from None
    return found


def replay_cases(path: str | Path, *, agents: Iterable[Agent], deps: Any = None) -> list[Any]:
    """A pytest parameter for each recorded run, with the id `agent/run_…`; its value is a `ReplayCase`.

    Args:
        path: a file of exported runs, or a folder of such files (`*.jsonl`).
        agents: the agents under test; those they call or hand over to come with them.
        deps: what code finds as `ctx.deps`, to be read and named, not used.

    Raises `ValueError` for a file that is damaged, and for a path at which there is no run: a test that checks nothing
    should not pass.
    """
    import pytest

    known = {agent.id: agent for agent in Registry(agents)}
    cases = [ReplayCase(recorded, known, deps) for recorded in recorded_runs(path)]
    if not cases:
        raise ValueError(f"There is no recorded run at {path}. Export some: holdfast runs export RUN… -o FILE{SUFFIX}")
    return [pytest.param(case, id=case.id) for case in cases]
