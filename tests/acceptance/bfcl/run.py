"""Plays BFCL multi-turn conversations over HTTP against a real Holdfast server and has the official checker judge them.

    python -m tests.acceptance.bfcl.run [--cases N|all] [--category base] [--concurrency 16] [--silent-agent]

One thread per case, one run per turn. Exits with 0 only if every case is valid; with --silent-agent, where the model
calls nothing, only if none is. A case that broke (a run that did not succeed, a journal that disagrees with the tools,
an answer that differs from the official executor's) counts as neither: it fails both.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.acceptance.bfcl import fetch, recorded, script, server
from tests.acceptance.bfcl.check import Verdict, check, expected_results
from tests.acceptance.bfcl.recorded import Executed
from tests.acceptance.bfcl.world import CATEGORIES, Case, cases, render

WAIT_S = 60
WAITS_MAX = 5
PAGE = 200
CONCURRENCY = 16
ENDED = frozenset({"succeeded", "failed", "cancelled"})
REPLAYS = 2
FAILURES_SHOWN = 20

Advance = Callable[[str], None]
"""Called with "talk" or "check" as a case's conversation ended or was judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which cases to play, how many at once, and with which model."""

    cases: Sequence[Case]
    concurrency: int = CONCURRENCY
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One run: how it ended, the calls its journal tells of, per model response, and how its replay diverged."""

    run: Mapping[str, Any]
    responses: list[list[Executed]]
    diverged: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A case judged. `broken` says what went wrong before the checker's verdict means anything."""

    case: Case
    turns: Sequence[Turn]
    verdict: Verdict
    broken: str = ""

    @property
    def valid(self) -> bool:
        return self.verdict.valid and not self.broken

    @property
    def calls(self) -> int:
        return sum(len(response) for turn in self.turns for response in turn.responses)


@dataclass(frozen=True, slots=True)
class Report:
    """All results, and what was wanted: every case valid, or, of the silent agent, none."""

    results: Sequence[Result]
    silent: bool = field(default=False)

    def unwanted(self) -> list[str]:
        """One line for each case that is not as it should be."""
        return [f"{r.case.id}: {r.broken or r.verdict.reason or 'valid without a call'}" for r in self._off()]

    def _off(self) -> Iterator[Result]:
        return (r for r in self.results if r.broken or r.verdict.valid is self.silent)


def sample(count: int, categories: Sequence[str] = CATEGORIES) -> list[Case]:
    """`count` cases, the same number from each category, evenly spaced over the conversations.

    The categories are variants of the same 200 conversations in the same order; each starts at an offset of its own,
    so that the sample is of different ones.
    """
    chosen: list[Case] = []
    for index, category in enumerate(categories):
        those = [case for case in cases().values() if case.category == category]
        share = min(len(those), count // len(categories) + (index < count % len(categories)))
        offset = (index + 0.5) / len(categories)
        chosen += [those[int((position + offset) * len(those) / share)] for position in range(share)]
    return chosen


def conduct(assignment: Assignment, advance: Advance = lambda _: None) -> Report:
    """Serve, converse, stop the server, then judge: the tools' log is complete only when their process has ended."""
    with server.workplace() as directory:
        with server.serving(directory, silent=assignment.silent) as running:
            spoken = asyncio.run(_converse_all(running.url, assignment, advance))
        log = running.calls()
    return Report([_judged(case, spoken[case.id], log, advance) for case in assignment.cases], assignment.silent)


# ---------------------------------------------------------------------------------------------- conversations


async def _converse_all(url: str, assignment: Assignment, advance: Advance) -> dict[str, list[Turn]]:
    waiting = iter(assignment.cases)
    spoken: dict[str, list[Turn]] = {}

    async def worker(client: httpx.AsyncClient) -> None:
        for case in waiting:
            spoken[case.id] = await _converse(client, case)
            advance("talk")

    timeout = httpx.Timeout(WAIT_S + 30, connect=30)
    async with httpx.AsyncClient(base_url=url, timeout=timeout) as client, asyncio.TaskGroup() as workers:
        for _ in range(assignment.concurrency):
            workers.create_task(worker(client))
    return spoken


async def _converse(client: httpx.AsyncClient, case: Case) -> list[Turn]:
    turns: list[Turn] = []
    for turn in range(len(case.prompts)):
        run = await _ended(client, await _start(client, case, turn))
        responses = recorded.from_journal(await _journal(client, run["id"]))
        turns.append(Turn(run, responses, await _diverged(client, run["id"])))
        if run["status"] != "succeeded":
            break
    return turns


async def _start(client: httpx.AsyncClient, case: Case, turn: int) -> dict[str, Any]:
    body = {
        "agent": script.AGENT,
        "input": script.user_text(case, turn),
        "thread": {"external_id": case.id, "create": True},
        "metadata": {script.CASE_KEY: case.id},
    }
    return _body(await client.post("/v1/runs", params={"wait": WAIT_S}, json=body))


async def _ended(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    for _ in range(WAITS_MAX):
        if run["status"] in ENDED:
            break
        run = _body(await client.get(f"/v1/runs/{run['id']}", params={"wait": WAIT_S}))
    return run


async def _journal(client: httpx.AsyncClient, run_id: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": PAGE}
    while True:
        page = _body(await client.get(f"/v1/runs/{run_id}/steps", params=query))
        rows = [step for step in page["data"] if step["kind"] in ("model", "tool")]
        steps += await asyncio.gather(*(_step(client, run_id, step["seq"]) for step in rows))
        if page["next_cursor"] is None:
            return steps
        query["cursor"] = page["next_cursor"]


async def _step(client: httpx.AsyncClient, run_id: str, seq: int) -> dict[str, Any]:
    """A step with what it recorded; the list shows steps without."""
    return _body(await client.get(f"/v1/runs/{run_id}/steps/{seq}"))


async def _diverged(client: httpx.AsyncClient, run_id: str) -> str:
    """What replays of the run say, if they do not say that the code does what it did: twice, as they have no memory."""
    for _ in range(REPLAYS):
        found = _body(await client.post(f"/v1/runs/{run_id}/replay"))
        while found["status"] == "pending":
            found = _body(await client.get(f"/v1/runs/{run_id}/replays/{found['id']}"))
        if found["verdict"] != "identical":
            return f"its replay {found['verdict']} at step {found['at']}: {found['message']}"
    return ""


def _body(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise RuntimeError(f"{response.request.method} {response.request.url.path}: {response.text}")
    return response.json()


# ---------------------------------------------------------------------------------------------- judgement


def _judged(case: Case, turns: Sequence[Turn], log: Mapping[str, list[Executed]], advance: Advance) -> Result:
    calls = [[[render(executed.call) for executed in response] for response in turn.responses] for turn in turns]
    result = Result(case, turns, check(case, calls), _broken(case, turns, calls, log))
    advance("check")
    return result


def _broken(
    case: Case, turns: Sequence[Turn], calls: Sequence[Sequence[Sequence[str]]], log: Mapping[str, list[Executed]]
) -> str:
    for number, turn in enumerate(turns):
        if turn.run["status"] != "succeeded":
            return f"turn {number}, run {turn.run['id']}: {turn.run['status']} {turn.run.get('error')}"
        if turn.diverged:
            return f"turn {number}, run {turn.run['id']}: {turn.diverged}"
        if unequal := recorded.disagreement(turn.responses, log.get(turn.run["id"], [])):
            return f"turn {number}, run {turn.run['id']}: {unequal}"
    answers = [[executed.result for response in turn.responses for executed in response] for turn in turns]
    if answers != expected_results(case, calls):
        return "the services answered otherwise than in the official executor: state was lost or a call repeated"
    return ""


# ---------------------------------------------------------------------------------------------- the command


def main() -> int:
    """Play the chosen cases, print a table, and tell by the exit code whether all is as it should be."""
    given = _arguments()
    console = Console()
    try:
        fetch.importable()
        report = _with_progress(console, _assignment(given))
    except (fetch.FetchFailed, server.ServerFailed) as failure:
        console.print(f"[red]bfcl:[/] {failure}", highlight=False)
        return 2
    console.print(_table(report))
    unwanted = report.unwanted()
    for line in unwanted[:FAILURES_SHOWN]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 1 if unwanted else 0


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m tests.acceptance.bfcl.run", description="BFCL over Holdfast.")
    options.add_argument("--cases", default="all", help="how many, evenly over the categories, or 'all'")
    options.add_argument("--category", choices=CATEGORIES, action="append", help="only this one; may be repeated")
    options.add_argument("--concurrency", type=int, default=CONCURRENCY, help="conversations at once")
    options.add_argument("--silent-agent", action="store_true", help="a model that calls nothing: 0 may be valid")
    return options.parse_args()


def _assignment(given: argparse.Namespace) -> Assignment:
    categories = given.category or CATEGORIES
    count = len(cases()) if given.cases == "all" else int(given.cases)
    return Assignment(cases=sample(count, categories), concurrency=given.concurrency, silent=given.silent_agent)


def _with_progress(console: Console, assignment: Assignment) -> Report:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        total = len(assignment.cases)
        bars = {
            "talk": progress.add_task("conversations over HTTP", total=total),
            "check": progress.add_task("official checker", total=total),
        }
        return conduct(assignment, lambda kind: progress.advance(bars[kind]))


def _table(report: Report) -> Table:
    table = Table("category", "cases", "runs", "calls", "valid", title="BFCL v4 multi-turn")
    groups = [(c, [r for r in report.results if r.case.category == c]) for c in CATEGORIES]
    for name, results in [*((n, rs) for n, rs in groups if rs), ("all", list(report.results))]:
        numbers = (len(results), sum(len(r.turns) for r in results), sum(r.calls for r in results))
        table.add_row(name, *map(str, numbers), str(sum(r.valid for r in results)))
    return table


if __name__ == "__main__":
    sys.exit(main())
