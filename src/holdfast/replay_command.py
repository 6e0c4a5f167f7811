"""`holdfast replay` and `holdfast runs`: what the commands do, and the reports that others read.

The runs come out of the database, or out of files. A strict replay runs the code in a process that has no way out, one
run after another; a process that had to be killed, or that ended by itself, is replaced. Replays that make runs take a
runtime: this process is one for as long as they take.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from holdfast.domain import ids, limits, portable
from holdfast.domain.access import LOCAL_PRINCIPAL, Principal
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Conflict, Damaged, HoldfastError, Invalid
from holdfast.domain.ids import RunId
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Mode, Replay, Replayed, StoredReplay, Verdict
from holdfast.runtime.replayers import Child
from holdfast.service import importing, recordings, replays, runs
from holdfast.service.house import House
from holdfast.service.importing import Imported
from holdfast.service.replays import Asked
from holdfast.settings import Settings
from holdfast.store.runs import RunFilter

PAGE: Final = 200
LOOK_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """One run, and what came of its replay: a result, or why there is none. `made`: the run that the replay made."""

    run_id: str
    agent: str
    recorded_version: str
    replayed: Replayed | None
    failed: str | None
    took_ms: int
    made: str | None = None

    @property
    def verdict(self) -> str:
        return "failed" if self.replayed is None else self.replayed.result.verdict.value

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"run_id": self.run_id, "agent": self.agent, "verdict": self.verdict}
        current = None if self.replayed is None else self.replayed.version
        found["version"] = {"recorded": self.recorded_version, "current": current}
        if self.made is not None:
            found["replay_run_id"] = self.made
        if self.replayed is None:
            return {**found, "error": self.failed}
        return {**found, **self.replayed.result.to_json()}

    def told(self) -> str:
        """The same for people."""
        said = f"could not be replayed. {self.failed}" if self.replayed is None else self.replayed.result.told()
        return f"{self.run_id} ({self.agent}): {said}"


# -- runs to replay ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[House]:
    """The database of these settings, for verbs that need nothing else."""
    from holdfast.app import database_of
    from holdfast.bus.base import Hub
    from holdfast.store import migrate, principals

    database = database_of(settings)
    await migrate.demand_current(settings.database)
    await database.open()
    try:
        await database.write(None, principals.seed)
        yield House(database=database, hub=Hub(None), agents={})
    finally:
        await database.close()


async def chosen(house: House, given: Sequence[str], agent: str | None, last: int) -> list[RunId]:
    """The runs that are named, or the last ones of an agent, newest first."""
    if agent is None:
        return [RunId(ids.parse(ids.RUN, one)) for one in given]
    found: list[RunId] = []
    before: bytes | None = None
    while len(found) < last:
        limit = min(PAGE, last - len(found))
        wanted = RunFilter(agent=agent, include_children=True, before=before, limit=limit)
        page = await runs.page(house, LOCAL_PRINCIPAL, wanted)
        found += [view.run.id for view in page]
        if len(page) < limit:
            break
        before = found[-1]
    return found


async def of_database(house: House, chosen: Sequence[RunId]) -> AsyncIterator[RecordedRun]:
    for run_id in chosen:
        yield await recordings.read(house, LOCAL_PRINCIPAL, run_id)


def of_file(path: Path) -> list[RecordedRun]:
    """The runs of a file; `Invalid` names it, the line, and what is wrong there."""
    try:
        with path.open("rb") as file:
            return list(portable.read(file))
    except OSError as exc:
        raise Invalid(f"{path} cannot be read: {exc.strerror}.") from None
    except Damaged as exc:
        raise Invalid(f"{path}, {exc.message[0].lower()}{exc.message[1:]}", code=exc.code) from None


async def listed(found: Sequence[RecordedRun]) -> AsyncIterator[RecordedRun]:
    for recorded in found:
        yield recorded


# -- replaying --------------------------------------------------------------------------------------------------------


async def replayed(target: str, sources: AsyncIterator[RecordedRun], tell: Callable[[Case], None]) -> list[Case]:
    """Replay each run in a process of its own kind. Raises `HoldfastError` if the target cannot be loaded there."""
    cases: list[Case] = []
    child = await Child.begin(target, os.getcwd())
    try:
        async for recorded in sources:
            if not child.alive:
                child = await Child.begin(target, os.getcwd())
            case = await _one(child, recorded)
            cases.append(case)
            tell(case)
    finally:
        await child.end()
    return cases


async def _one(child: Child, recorded: RecordedRun) -> Case:
    began = SYSTEM.monotonic_ms()
    found: Replayed | None = None
    failed: str | None = None
    try:
        found = await child.replay(recorded)
    except HoldfastError as exc:
        failed = exc.message
    took = round(SYSTEM.monotonic_ms() - began)
    return Case(recorded.of.run_id, recorded.agent, recorded.version, found, failed, took)


# -- replays that make runs -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run to make again: whose it is, and what it is called in reports."""

    principal: Principal
    run_id: RunId
    shown: str


async def wanted(house: House, given: Sequence[str], agent: str | None, last: int) -> list[Wanted]:
    """Runs of the database, to be made again."""
    return [
        Wanted(LOCAL_PRINCIPAL, run_id, ids.text(ids.RUN, run_id)) for run_id in await chosen(house, given, agent, last)
    ]


async def carried(house: House, found: Sequence[RecordedRun]) -> list[Wanted]:
    """Runs of files: brought into the sandbox tenant, never among those of the database."""
    sandbox = house.sandbox
    assert sandbox is not None, "the command refuses files without one"
    made, _ = await importing.insert(house, sandbox, found)
    return [Wanted(sandbox, one.run_id, one.was) for one in made]


async def made(
    house: House, wanted: Sequence[Wanted], mode: Mode, timeout_s: int, tell: Callable[[Case], None]
) -> list[Case]:
    """Make each run again, a few at a time, in the runtime of this process; the cases in the order of the runs."""
    cases: dict[int, Case] = {}
    left = iter(enumerate(wanted))

    async def work() -> None:
        for number, one in left:
            cases[number] = await _made(house, one, mode, timeout_s)
            tell(cases[number])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(limits.LIVE_REPLAYS_AT_ONCE):
            tasks.create_task(work())
    return [cases[number] for number in sorted(cases)]


async def _made(house: House, one: Wanted, mode: Mode, timeout_s: int) -> Case:
    began = SYSTEM.monotonic_ms()
    run = (await runs.get(house, one.principal, one.run_id)).run
    case = Case(one.shown, run.agent, run.agent_version, None, None, 0)
    try:
        asked = await replays.start(house, one.principal, one.run_id, mode=mode, wait_ms=0)
    except Conflict as exc:
        return replace(case, failed=exc.message)
    while asked.replay.ended_at is None and SYSTEM.monotonic_ms() - began < timeout_s * 1000:
        await asyncio.sleep(LOOK_MS / 1000)
        asked = await replays.get(house, one.principal, one.run_id, asked.replay.id)
    if asked.replay.ended_at is None:
        await _given_up(house, one, asked.replay)
    took = round(SYSTEM.monotonic_ms() - began)
    return _case(replace(case, took_ms=took), asked, timeout_s)


async def _given_up(house: House, one: Wanted, replay: StoredReplay) -> None:
    """Cancel what took too long: nobody will ask for it any more."""
    assert replay.made_run is not None, "such a replay makes a run"
    actor = one.principal if replay.made_tenant == one.principal.tenant_id else house.sandbox
    assert actor is not None, "it is in the sandbox"
    with contextlib.suppress(Conflict):  # it ended just now
        await runs.cancel(house, actor, replay.made_run, "The replay took too long.")


def _case(case: Case, asked: Asked, timeout_s: int) -> Case:
    replay = asked.replay
    case = replace(case, made=None if replay.made_run is None else ids.text(ids.RUN, replay.made_run))
    if replay.result is not None:
        return replace(case, replayed=Replayed(Replay.from_json(decode(replay.result)), replay.current_version))
    if replay.error is not None:
        return replace(case, failed=str(decode(replay.error)["message"]))
    waiting = "" if asked.waiting is None else f" {asked.waiting}"
    return replace(case, failed=f"It took longer than {timeout_s} s and was cancelled.{waiting}")


def counts(cases: Sequence[Case]) -> dict[str, int]:
    return {verdict: sum(case.verdict == verdict for case in cases) for verdict in ("identical", "diverged", "failed")}


# -- reports ----------------------------------------------------------------------------------------------------------


def as_json(cases: Sequence[Case]) -> str:
    return (
        json.dumps({**counts(cases), "runs": [case.to_json() for case in cases]}, ensure_ascii=False, indent=2) + "\n"
    )


_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(cases: Sequence[Case]) -> str:
    """JUnit's XML, as CI systems read it: a case a run, a failure for one that diverged, an error for one that could
    not be replayed."""
    count = counts(cases)
    suite = ET.Element(
        "testsuite",
        name="holdfast replay",
        tests=str(len(cases)),
        failures=str(count["diverged"]),
        errors=str(count["failed"]),
        time=f"{sum(case.took_ms for case in cases) / 1000:.3f}",
    )
    for case in cases:
        one = ET.SubElement(
            suite, "testcase", classname=_xml(case.agent), name=case.run_id, time=f"{case.took_ms / 1000:.3f}"
        )
        if case.verdict != Verdict.IDENTICAL:
            found = ET.SubElement(
                one, "error" if case.replayed is None else "failure", message=_xml(case.told().partition("\n")[0])
            )
            found.text = _xml(json.dumps(case.to_json(), ensure_ascii=False, indent=2))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


# -- files ------------------------------------------------------------------------------------------------------------


async def exported(house: House, given: Sequence[str], redact: portable.Redact | None) -> list[bytes]:
    """The lines of these runs, one after another."""
    lines: list[bytes] = []
    for run_id in await chosen(house, given, None, 0):
        recorded = await recordings.read(house, LOCAL_PRINCIPAL, run_id)
        lines.extend(portable.written(recorded, redact))
    return lines


async def brought_in(house: House, paths: Sequence[Path]) -> list[Imported]:
    """The runs of all these files, or none of them."""
    found = [recorded for path in paths for recorded in of_file(path)]
    return (await importing.insert(house, LOCAL_PRINCIPAL, found))[0]
