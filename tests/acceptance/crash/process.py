"""One process of the crash matrix: it opens the database, drives a scenario or recovers one, and reports as JSON.

`run` is killed somewhere on its way. `recover` first lets every run end by itself, without any call, and only then
repeats, with their idempotency keys, the requests whose answers the client had not got.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from holdfast import Holdfast, Settings
from holdfast.bus.base import Hub
from holdfast.domain import ids, limits
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import Approval, ApprovalStatus
from holdfast.domain.encoding import decode, digest
from holdfast.domain.errors import Conflict
from holdfast.domain.ids import MessageId, RunId, ThreadId
from holdfast.domain.runs import OnBusy, RunStatus
from holdfast.service import approvals, awaited, branches, forks, history, runs
from holdfast.service.approvals import Resolution
from holdfast.service.forks import ForkRun
from holdfast.service.idempotency import Key
from holdfast.store import schema
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.base import CommitPoint
from holdfast.testing.crash import CrashPoint
from tests.acceptance.crash import forking, holds, scenarios
from tests.acceptance.crash.provider import Provider
from tests.acceptance.crash.scenarios import Client, Drive, Scenario, auditor, signals
from tests.acceptance.crash.untouched import Untouched

AGENTS = [*scenarios.AGENTS, *holds.AGENTS, *forking.AGENTS]
SCENARIOS: dict[str, Scenario] = {**scenarios.SCENARIOS, **holds.SCENARIOS, **holds.DOUBTED, **forking.SCENARIOS}

ENDS_WITHIN_S = 20
Answer = Callable[[Approval], Awaitable["Resolution | None"]]


@dataclass(frozen=True)
class Job:
    """`strike`: the number of the write at which the process dies; none: it lives, and counts."""

    url: str
    directory: str
    scenario: str
    mode: str = "run"  # or "recover", "oracle", or "serve": work until SIGTERM
    strike: int | None = None
    when: CommitPoint = "before_commit"
    lease_ms: int = 15_000
    limits: dict[str, int] = field(default_factory=dict[str, int])
    slots: int = 8
    provider: int = 0  # the port of the other side, for scenarios that act

    def dumps(self) -> str:
        return json.dumps(asdict(self))


class Http(Client):
    """A client whose answers are noted in a file: what is in there was promised."""

    def __init__(self, hf: Holdfast, directory: Path, faults: CrashPoint, *, waits: bool) -> None:
        self._house = hf.house
        self._faults = faults
        self.untouched = Untouched(hf.house.database, directory)
        self.writes_before_forks: int | None = None
        self._acks = directory / "acks"
        self._runs: dict[str, RunId] = {}
        self._waits = waits

    def _ack(self, name: str, run_id: RunId) -> None:
        new = self._acks.with_suffix(".new")
        acked = json.loads(self._acks.read_text()) if self._acks.exists() else {}
        new.write_text(json.dumps({**acked, name: ids.text(ids.RUN, run_id)}))
        os.replace(new, self._acks)

    def _key(self, name: str) -> Key:
        return Key(LOCAL_PRINCIPAL.id, "crash", name, digest(name))

    async def start(
        self, name: str, agent: str, input: Any = None, *, thread: str | None = None, on_busy: OnBusy = OnBusy.ENQUEUE
    ) -> None:
        ask = runs.StartRun(
            agent=agent, input=input, thread_external_id=thread, thread_create=thread is not None, on_busy=on_busy
        )
        started = await runs.start(self._house, LOCAL_PRINCIPAL, ask, self._key(name))
        self._runs[name] = started.view.run.id
        self._ack(name, started.view.run.id)

    async def cancel(self, name: str, run: str) -> None:
        try:
            await runs.cancel(self._house, LOCAL_PRINCIPAL, self._runs[run], "enough", self._key(name))
        except Conflict as exc:
            if exc.code != "run_ended":
                raise
            return
        self._ack(name, self._runs[run])

    async def until(self, signal: str, run: str) -> None:
        if self._waits:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await signals.of(signal).wait()

    async def waits(self, run: str) -> None:
        """Until the run waits for something; after a crash it may long be further."""
        async with asyncio.timeout(ENDS_WITHIN_S):
            while self._waits:
                view = await runs.get(self._house, LOCAL_PRINCIPAL, self._runs[run])
                if view.run.status is RunStatus.WAITING:
                    return
                await asyncio.sleep(0.005)

    async def asks(self, run: str) -> None:
        """Until the run asks somebody, in whatever process, or is over that: it was cancelled."""
        async with asyncio.timeout(ENDS_WITHIN_S):
            while True:
                view = await runs.get(self._house, LOCAL_PRINCIPAL, self._runs[run])
                waits = decode(view.run.waiting_on) or []
                if view.run.cancel_requested_at is not None or any(wait["type"] == "ask" for wait in waits):
                    return
                assert not view.run.status.ended, "it ended before it was cancelled"
                await asyncio.sleep(0.005)

    async def ends(self, run: str) -> None:
        async with asyncio.timeout(ENDS_WITHIN_S):
            while not (await runs.get(self._house, LOCAL_PRINCIPAL, self._runs[run])).run.status.ended:
                await asyncio.sleep(0.005)

    async def reaches(self, run: str, seq: int) -> None:
        """Until so many steps are recorded."""
        async with asyncio.timeout(ENDS_WITHIN_S):
            while (await runs.get(self._house, LOCAL_PRINCIPAL, self._runs[run])).seq < seq:
                await asyncio.sleep(0.005)

    async def fork(self, name: str, of: str, at: int | str, **how: Any) -> None:
        """At a step, by its number or by its key: after a crash somebody may have been asked before it."""
        await self._note(of)
        if isinstance(at, str):
            steps = [one.entry for one in await runs.steps(self._house, LOCAL_PRINCIPAL, self._runs[of], 0, 100)]
            at = next(step.seq for step in steps if step.key == at) or 0
        ask = ForkRun(run_id=self._runs[of], at=at, **how)
        self._forked(name, await forks.fork(self._house, LOCAL_PRINCIPAL, ask, self._key(name)))

    async def edit(self, name: str, of: str, message: str) -> None:
        """Say something else in place of a run's input."""
        await self._note(of)
        thread, said = await self._message(of, None)
        how = ForkRun(run_id=self._runs[of], at=0)
        made = await branches.edit(self._house, LOCAL_PRINCIPAL, thread, said, message, how, self._key(name))
        self._forked(name, made)

    async def regenerate(self, name: str, of: str, seq: int | None, **how: Any) -> None:
        """Have the answer of a run's step given anew, or the whole run, which is the last of its thread."""
        await self._note(of)
        thread, said = await self._message(of, seq)
        ask, answer = ForkRun(run_id=self._runs[of], at=0, **how), None if seq is None else said
        made = await branches.regenerate(self._house, LOCAL_PRINCIPAL, thread, answer, ask, self._key(name))
        self._forked(name, made)

    async def _note(self, of: str) -> None:
        if self.writes_before_forks is None:
            self.writes_before_forks = self._faults.writes
        await self.untouched.note(self._runs[of])

    async def _message(self, of: str, seq: int | None) -> tuple[ThreadId, MessageId]:
        """A run's thread, and the message there that one of its steps wrote, or that was its input."""
        run = (await runs.get(self._house, LOCAL_PRINCIPAL, self._runs[of])).run
        page = await history.page(self._house, LOCAL_PRINCIPAL, run.thread_id, 0, 100)
        return run.thread_id, next(m.id for m in page if m.run_id in (run.id, run.input_run) and m.seq == seq)

    def _forked(self, name: str, started: runs.Started) -> None:
        self._runs[name] = started.view.run.id
        self._ack(name, started.view.run.id)

    async def send(self, event: str, key: str, id: str, data: Any) -> None:
        new = awaited.NewEvent(name=event, key=key, data=data, external_id=id)
        await awaited.send(self._house, LOCAL_PRINCIPAL, new)


async def answering(hf: Holdfast, answer: Answer) -> None:
    """A person with nothing else to do: answers what is open, as long as it is. Safe to repeat in another process."""
    wanted = ApprovalFilter(status=(ApprovalStatus.PENDING,), limit=200)
    while True:
        for view in await approvals.page(hf.house, LOCAL_PRINCIPAL, wanted):
            said = await answer(view.approval)
            if said is not None:
                key = Key(LOCAL_PRINCIPAL.id, "resolve", view.approval.id.hex(), digest(view.approval.id.hex()))
                try:
                    await approvals.resolve(hf.house, LOCAL_PRINCIPAL, view.approval.id, said, key)
                except Conflict as exc:  # answered before the crash, or meanwhile
                    assert exc.code == "already_resolved", exc
        await asyncio.sleep(0.01)


async def all_ended(hf: Holdfast) -> None:
    """Wait until no run is left that has not ended."""
    alive = select(schema.runs.c.id).where(schema.runs.c.ended_at.is_(None))
    async with asyncio.timeout(ENDS_WITHIN_S):
        while rows := await hf.house.database.read(None, lambda tx: tx.all(alive)):
            view = await runs.get(hf.house, LOCAL_PRINCIPAL, RunId(rows[0][0]))
            await runs.wait(hf.house, LOCAL_PRINCIPAL, view, 1)
            await asyncio.sleep(0.005)


async def nudging(hf: Holdfast, lease_ms: int) -> None:
    """Look for lapsed leases as soon as there can be one, not at the next round."""
    await asyncio.sleep(lease_ms * 1.1 / 1000)
    while True:
        hf.supervisor.recovery.nudge()
        await asyncio.sleep(0.03)


def performing(job: Job, oracle: bool) -> Drive:
    scenario = SCENARIOS[job.scenario]
    return (scenario.oracle or scenario.drive) if oracle else scenario.drive


async def perform(job: Job) -> dict[str, Any]:
    for name, value in SCENARIOS[job.scenario].limits.items():
        setattr(limits, name, value)
    directory = Path(job.directory)
    auditor.open(str(directory / "audit"))
    holds.outside.provider = Provider(job.provider, job.directory)
    faults = CrashPoint(job.strike, job.when)
    hf = Holdfast(
        AGENTS,
        settings=Settings(database=job.url, mode="serve", freeze_gc=False, worker_slots=8),  # pyright: ignore
        faults=faults,
    )
    house = hf.house
    house.lease_ms = job.lease_ms
    if house.database.dialect == "sqlite":
        house.hub = Hub(None)  # one process: the poll of the file would only add writes to count
    faults.arm()
    async with hf.running():
        client = Http(hf, directory, faults, waits=job.mode != "recover")
        nudges = asyncio.create_task(nudging(hf, job.lease_ms)) if house.database.dialect == "postgresql" else None
        scenario = SCENARIOS[job.scenario]
        answers = None if scenario.answer is None else asyncio.create_task(answering(hf, scenario.answer))
        if job.mode != "recover":
            faults.arm()  # the writes of the start-up itself are not the scenario's
        elif not scenario.drives_on:
            await all_ended(hf)
        await performing(job, job.mode == "oracle")(client)
        await all_ended(hf)
        writes = faults.writes
        faults.disarm()
        forked = await client.untouched.demand()
        for task in (nudges, answers):
            if task is not None:
                assert not task.done(), task
                task.cancel()
    return {"writes": writes, "writes_before_forks": client.writes_before_forks, "forked": forked}


async def serve(job: Job) -> dict[str, Any]:
    """A worker: it says that it is ready, works until SIGTERM, and drains."""
    for name, value in job.limits.items():
        setattr(limits, name, value)
    directory = Path(job.directory)
    auditor.open(str(directory / "audit"))
    settings = Settings(database=job.url, mode="serve", freeze_gc=False, worker_slots=job.slots)  # pyright: ignore
    hf = Holdfast(AGENTS, settings=settings)
    hf.house.lease_ms = job.lease_ms
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with hf.running():
        (directory / f"ready.{os.getpid()}").touch()
        await end.wait()
    return {}


def main(job: Job) -> dict[str, Any]:
    return asyncio.run(serve(job) if job.mode == "serve" else perform(job))


__all__ = ["Job", "main"]
