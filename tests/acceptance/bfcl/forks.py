"""BFCL forked: every run of a conversation is forked at every one of its steps, and the world counts.

    python -m tests.acceptance.bfcl.forks [--cases N|all]

The scripted model is a function of what it reads, so a fork without an edit has to make the calls that its parent made
and to come to the same words. Three policies: `default` makes reads again, and no call that changes something;
`reads reused` reaches no tool, and every result is the parent's; `deny` reaches no tool, and refuses what changes
something. The world is a process of its own (`outside.py`): what it wrote down is the truth. Exits with 0 only if all
forks of all cases are as they have to be.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from holdfast import Agent, Holdfast, Settings, Tool, ToolContext
from holdfast.domain import ids
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import decode
from holdfast.domain.forks import Fresh, Reads, Repeat
from holdfast.domain.journal import StepKind
from holdfast.domain.runs import RunStatus, RunView
from holdfast.service import forks, runs
from holdfast.service.forks import ForkRun
from holdfast.store import lineage
from holdfast.testing import ScriptedModel
from tests import databases
from tests.acceptance.bfcl import crashes, fetch, outside, script, world
from tests.acceptance.bfcl.agent import INSTRUCTIONS
from tests.acceptance.bfcl.run import sample
from tests.acceptance.bfcl.world import Case, Function, functions

ABREAST = 16
STEPS_MAX = 1_000
FAILURES_SHOWN = 20
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "reads reused": {"reads": Reads.REUSE},
    "deny": {"repeat": Repeat.DENY, "new": Fresh.DENY, "reads": Reads.REUSE},
}

Advance = Callable[[], None]
"""Called when all runs of a case were forked at all their steps."""


@dataclass(frozen=True, slots=True)
class Told:
    """A run as its journal tells it: what the model said, and what each call came to."""

    asked: dict[str, list[tuple[str, str]]]
    results: dict[str, Any]
    changes: frozenset[str]
    output: Any


@dataclass(slots=True)
class Report:
    """`wrong`: what is not as it has to be, a line each. `calls`: those that the parents made; `again`: calls of forks
    that the world heard of, all of which read."""

    cases: int = 0
    runs: int = 0
    forks: int = 0
    calls: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list[str])


# --- the agent -------------------------------------------------------------------------------------------------------


def _agent(port: int) -> Agent:
    return Agent(
        script.AGENT,
        model=ScriptedModel(script.reply),
        instructions=INSTRUCTIONS,
        tools=[_tool(function, port) for function in functions().values()],
    )


def _tool(function: Function, port: int) -> Tool:
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        call=partial(_call, port, function.name),
        effect="read" if function.reads else "unsafe",
    )


async def _call(port: int, name: str, ctx: ToolContext, /, **arguments: Any) -> str:
    asked = {"case": ctx.metadata[script.CASE_KEY], "run": ctx.run_id, "step": ctx.key, "key": None}
    return (await outside.post(port, "/call", {**asked, "name": name, "arguments": arguments, "cut": False}))["result"]


# --- playing ---------------------------------------------------------------------------------------------------------


class Play:
    """Conversations, and the forks of all their runs."""

    def __init__(self, hf: Holdfast) -> None:
        self._house = hf.house
        self._room = asyncio.Semaphore(ABREAST)
        self.report = Report()
        self.parents: set[str] = set()

    async def case(self, case: Case) -> None:
        """The conversation to its end, and then its forks: what they read must not depend on when they run."""
        said = [await self._turn(case, turn) for turn in range(len(case.prompts))]
        for view in said:
            self.parents.add(ids.text(ids.RUN, view.run.id))
            await self._forks(case, view)
        self.report.cases += 1
        self.report.runs += len(said)

    async def _turn(self, case: Case, turn: int) -> RunView:
        ask = runs.StartRun(
            agent=script.AGENT,
            input=script.user_text(case, turn),
            thread_external_id=case.id,
            thread_create=True,
            metadata={script.CASE_KEY: case.id},
        )
        return await self._ended((await runs.start(self._house, LOCAL_PRINCIPAL, ask)).view)

    async def _ended(self, view: RunView) -> RunView:
        while not view.run.status.ended:
            view = await runs.wait(self._house, LOCAL_PRINCIPAL, view, 30)
            assert view.run.status is not RunStatus.WAITING, view.run.waiting_on
        return view

    async def _forks(self, case: Case, parent: RunView) -> None:
        before = await self._told(parent)
        at_each = ((name, at) for name in POLICIES for at in range(parent.seq + 1))
        await asyncio.gather(*(self._fork(case, parent, before, name, at) for name, at in at_each))
        if await self._told(parent) != before:
            self.report.wrong.append(f"{case.id}: a fork changed its parent")

    async def _fork(self, case: Case, parent: RunView, before: Told, name: str, at: int) -> None:
        async with self._room:
            ask = ForkRun(run_id=parent.run.id, at=at, **POLICIES[name])
            made = await self._ended((await forks.fork(self._house, LOCAL_PRINCIPAL, ask)).view)
            found = _difference(name, at, before, await self._told(made))
        self.report.forks += 1
        if found or made.seq != parent.seq:
            self.report.wrong.append(f"{case.id} at {at} of {parent.seq}, {name}: {found or f'{made.seq} steps'}")

    async def _told(self, view: RunView) -> Told:
        steps = await self._house.database.read(
            view.run.tenant_id, lambda tx: lineage.steps(tx, view.run, 0, STEPS_MAX, bare=False)
        )
        asked: dict[str, list[tuple[str, str]]] = {}
        results: dict[str, Any] = {}
        for entry in (one.entry for one in steps):
            payload: Any = decode(entry.payload)
            assert entry.key is not None
            if entry.kind is StepKind.MODEL:
                asked[entry.key] = [_part(part) for part in payload["data"]["parts"]]
            else:
                results[entry.key] = (entry.name, payload.get("result"))
        changes = frozenset(key for key, (name, _) in results.items() if name not in world.READS)
        return Told(asked, results, changes, decode(view.output) if view.output is not None else None)


def _part(part: dict[str, Any]) -> tuple[str, str]:
    """What the model said, without ids that are the run's own."""
    called = part["part_kind"] == "tool-call"
    return (part["tool_name"], str(part["args"])) if called else (part["part_kind"], part["content"])


def _difference(name: str, at: int, parent: Told, fork: Told) -> str:
    """Empty if the fork is what it has to be."""
    if fork.asked != parent.asked:
        return f"the model said {fork.asked} instead of {parent.asked}"
    if fork.output != parent.output:
        return f"it came to {fork.output!r} instead of {parent.output!r}"
    if fork.results.keys() != parent.results.keys():
        return f"calls {sorted(fork.results)} instead of {sorted(parent.results)}"
    every = frozenset(parent.results)
    same = {"default": parent.changes, "reads reused": every, "deny": every - parent.changes}
    other = [key for key in same[name] if fork.results[key] != parent.results[key]]
    if other:
        return f"other results of {other}"
    return ""


# --- judgement -------------------------------------------------------------------------------------------------------


def _witnessed(report: Report, log: Path, parents: set[str]) -> None:
    """What the world says: forks reached no tool that changes something."""
    for run, executed in crashes.read_log(log).items():
        if run in parents:
            report.calls += len(executed)
            continue
        report.again += len(executed)
        report.wrong += [f"{run} did {one.call} again" for one in executed if one.call.name not in world.READS]


async def conduct(cases: Sequence[Case], url: str, directory: Path, advance: Advance = lambda: None) -> Report:
    """Play, fork, judge. `url`: a migrated, empty database."""
    log = directory / "world.jsonl"
    log.touch()
    with crashes.process("outside", "--log", str(log)) as (_, port):
        hf = Holdfast([_agent(port)], settings=Settings(database=url, mode="serve"))  # pyright: ignore
        async with hf.running():
            play = Play(hf)
            for case in cases:
                await play.case(case)
                advance()
    _witnessed(play.report, log, play.parents)
    return play.report


# --- the command -----------------------------------------------------------------------------------------------------


def described(report: Report) -> str:
    return (
        f"BFCL forked: {report.cases} cases, {report.runs} runs with {report.calls} calls; {report.forks} forks, at "
        f"every step under {len(POLICIES)} policies: no effect happened again, {report.again} reads did; "
        f"{len(report.wrong)} wrong"
    )


def _advancing(total: int) -> Iterator[Advance]:
    columns = (SpinnerColumn(), TextColumn("cases forked"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("cases", total=total)
        yield lambda: progress.advance(bar)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.acceptance.bfcl.forks", description="BFCL, forked.")
    options.add_argument("--cases", default="100", help="how many of the category base, or 'all'")
    given = options.parse_args()
    fetch.importable()
    count = sum(c.category == "base" for c in world.cases().values()) if given.cases == "all" else int(given.cases)
    with tempfile.TemporaryDirectory(prefix="holdfast-bfcl-") as directory:
        url = databases.migrated(f"sqlite:///{directory}/bfcl.db")
        for advance in _advancing(count):
            report = asyncio.run(conduct(sample(count, ["base"]), url, Path(directory), advance))
    for line in report.wrong[:FAILURES_SHOWN]:
        print(line)
    print(described(report))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
