"""Several processes on one database: zombies, dead owners, stuck loops, poison, drains, suspensions."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.runs import RunStatus
from tests.acceptance.crash import matrix
from tests.acceptance.crash.process import Job
from tests.acceptance.crash.scenarios import AGENTS
from tests.acceptance.crash.server import ForkServer
from tests.runtime.driving import Desk, ended, error, look, output, start

FULL = os.environ.get("HOLDFAST_FULL") == "1"
FAR_MS = 600_000  # a lease that does not lapse within a test: what is taken back before was known to be dead
SHORT_MS = 300
QUICK = {"RECOVERY_EVERY_MS": 50, "POLL_MS": 100, "LAPSE_BACKOFF_MS": 50}


@dataclass
class Fleet:
    """Worker processes, and a client in this one that executes nothing."""

    url: str
    directory: Path
    server: ForkServer
    hf: Any
    pids: list[int] = field(default_factory=list[int])

    async def spawn(self, *, lease_ms: int = FAR_MS, slots: int = 8, **more: int) -> int:
        """A worker that is ready to work."""
        job = Job(self.url, str(self.directory), "", "serve", lease_ms=lease_ms, limits=QUICK | more, slots=slots)
        pid = self.server.spawn(job)
        self.pids.append(pid)
        await until((self.directory / f"ready.{pid}").exists, f"worker {pid} is ready")
        return pid

    async def end(self, pid: int, by: int) -> int:
        """Send a signal and wait for the end: the exit code."""
        os.kill(pid, by)
        return await self.reap(pid)

    async def reap(self, pid: int) -> int:
        code = await asyncio.to_thread(self.server.reap, pid)
        self.pids.remove(pid)
        return code

    async def executed(self, count: int, *labels: str) -> None:
        """Until the auditor heard so many executions of a step whose label begins so."""
        await until(lambda: self.count(*labels) >= count, f"{labels} executed {count} times: {self.audit()}")

    def count(self, *labels: str) -> int:
        return sum(n for label, n in self.audit().items() if label.startswith(labels))

    def audit(self) -> Any:
        return matrix.audited(self.directory)

    def gate(self) -> str:
        """Something that a tool waits for, until it is released."""
        return str(self.directory / "gate")

    def release(self, gate: str, pid: int | None = None) -> None:
        """Open a gate for all processes, or for one."""
        Path(gate if pid is None else f"{gate}.{pid}").touch()

    async def state(self) -> matrix.State:
        return await asyncio.to_thread(matrix.read, self.url)


async def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def fleet_on(url: str, tmp_path: Path, server: ForkServer) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        hf = await Desk(url, stack).open(*AGENTS, worker_slots=0, lease_ms=FAR_MS)
        fleet = Fleet(url, tmp_path, server, hf)
        try:
            yield fleet
        finally:
            for pid in list(fleet.pids):
                os.kill(pid, signal.SIGKILL)
                await fleet.reap(pid)


@pytest.fixture
async def fleet(database_url: str, tmp_path: Path, server: ForkServer) -> AsyncIterator[Fleet]:
    async for made in fleet_on(database_url, tmp_path, server):
        yield made


@pytest.fixture
async def postgres_fleet(postgres_url: str, tmp_path: Path, server: ForkServer) -> AsyncIterator[Fleet]:
    async for made in fleet_on(postgres_url, tmp_path, server):
        yield made


@pytest.fixture
async def sqlite_fleet(sqlite_url: str, tmp_path: Path, server: ForkServer) -> AsyncIterator[Fleet]:
    async for made in fleet_on(sqlite_url, tmp_path, server):
        yield made


async def sound(fleet: Fleet) -> matrix.State:
    state = await fleet.state()
    matrix.demand_sound(state)
    matrix.demand_quiet(state)
    return state


@pytest.mark.postgres
async def test_a_zombie_s_writes_are_refused_and_it_lets_go(postgres_fleet: Fleet) -> None:
    fleet = postgres_fleet
    zombie = await fleet.spawn(lease_ms=SHORT_MS)
    gate = fleet.gate()
    view = await start(fleet.hf, "holding", gate)
    await fleet.executed(2, "run_")
    os.kill(zombie, signal.SIGSTOP)
    await fleet.spawn(lease_ms=SHORT_MS)
    await fleet.executed(3, "run_")  # the other one took the run over, and began the tool again
    fleet.release(gate, zombie)  # as soon as it wakes, the zombie has a result to record
    os.kill(zombie, signal.SIGCONT)
    assert await fleet.end(zombie, signal.SIGTERM) == 0
    between = await fleet.state()
    matrix.demand_sound(between)
    assert next(iter(between.runs.values())).status == "running"
    assert "b#1" not in next(iter(between.runs.values())).steps
    fleet.release(gate)
    assert output(await ended(fleet.hf, view)) == "held"
    [run] = (await sound(fleet)).runs.values()
    assert {e.epoch for e in run.entries} == {0, 1, 3}, "inserted, claimed, fenced and claimed again"
    assert run.steps["b#1"].epoch == 3
    assert fleet.count("run_") == 3


async def test_the_only_process_goes_on_with_its_own_runs_after_a_suspension(fleet: Fleet) -> None:
    pid = await fleet.spawn(lease_ms=SHORT_MS)
    gate = fleet.gate()
    view = await start(fleet.hf, "holding", gate)
    await fleet.executed(2, "run_")
    # Only for this test: the client's recovery, which is awake, must not take the run over.
    fleet.hf.supervisor.recovery._calm_since = float("inf")  # pyright: ignore[reportPrivateUsage]
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(SHORT_MS * 5 / 1000)  # past all leases: this is the fault, not a wait for something
    os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(SHORT_MS * 3 / 1000)  # long enough for its recovery to take its own run back, if it did that
    fleet.release(gate)
    assert output(await ended(fleet.hf, view)) == "held"
    [run] = (await sound(fleet)).runs.values()
    assert {e.epoch for e in run.entries if e.pos > 1} == {1}
    assert fleet.count("run_") == 2


async def test_a_dead_owner_is_recovered_at_once_on_sqlite_and_a_live_one_never(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    owner = await fleet.spawn()
    gate = fleet.gate()
    view = await start(fleet.hf, "holding", gate)
    await fleet.executed(2, "run_")
    os.kill(owner, signal.SIGSTOP)  # silent, but alive: it holds its lock
    await fleet.spawn()
    for n in range(5):
        assert isinstance(output(await ended(fleet.hf, await start(fleet.hf, "brief", n))), int)
    assert fleet.count("run_") == 2
    assert (await look(fleet.hf, view)).epoch == 1
    assert await fleet.end(owner, signal.SIGKILL) == -signal.SIGKILL
    await fleet.executed(3, "run_")
    fleet.release(gate)
    assert output(await ended(fleet.hf, view)) == "held"
    await sound(fleet)


async def test_processes_on_one_database_share_the_work(fleet: Fleet) -> None:
    for _ in range(2):
        await fleet.spawn(slots=2)
    views = [await start(fleet.hf, "brief", n) for n in range(40)]
    pids = {output(await ended(fleet.hf, view)) for view in views}
    assert pids == set(fleet.pids)
    await sound(fleet)


async def test_a_process_whose_event_loop_is_stuck_loses_its_runs(fleet: Fleet) -> None:
    first = await fleet.spawn(lease_ms=SHORT_MS)
    gate = fleet.gate()
    view = await start(fleet.hf, "stuck", gate)
    await fleet.executed(1, "run_")
    second = await fleet.spawn(lease_ms=SHORT_MS)
    assert output(await ended(fleet.hf, view)) == second
    before = await sound(fleet)
    fleet.release(gate)
    assert await fleet.end(first, signal.SIGTERM) == 0
    assert await sound(fleet) == before


async def test_a_run_that_kills_its_workers_is_poisoned_and_the_others_succeed(fleet: Fleet) -> None:
    lease = {"lease_ms": SHORT_MS} if fleet.url.startswith("postgres") else {}
    bad = await start(fleet.hf, "poison")
    good = [await start(fleet.hf, "brief", n) for n in range(100 if FULL else 20)]
    deaths = 0
    while not (await look(fleet.hf, bad)).run.status.ended:
        pid = await fleet.spawn(slots=4, **lease)
        end = asyncio.create_task(fleet.reap(pid))
        bad_end = asyncio.create_task(ended(fleet.hf, bad))
        await asyncio.wait([end, bad_end], return_when=asyncio.FIRST_COMPLETED)
        if end.done():
            assert end.result() == 9
            deaths += 1
            bad_end.cancel()
        else:
            os.kill(pid, signal.SIGTERM)
            assert await end == 0
    assert deaths == 5
    failure = error(await look(fleet.hf, bad))
    assert failure["code"] == "poisoned"
    beside = [line for line in (fleet.directory / "audit").read_text().splitlines() if line.startswith("beside")]
    assert beside[2:] == ["beside:0"] * 3, "suspects run alone"
    await fleet.spawn(slots=4, **lease)
    for view in good:
        assert isinstance(output(await ended(fleet.hf, view)), int)
    await sound(fleet)


async def test_a_drain_waits_for_a_changing_tool_gives_back_the_rest_and_loses_nothing(fleet: Fleet) -> None:
    first = await fleet.spawn(KEEP_IN_MEMORY_MS=60_000)
    gate = fleet.gate()
    acting = await start(fleet.hf, "holding", gate)
    sleeping = await start(fleet.hf, "sleeper", 1_200)
    await fleet.executed(3, "run_")
    os.kill(first, signal.SIGTERM)
    async with asyncio.timeout(20):  # the one that only waits is given back at once, while the tool still goes on
        while (await look(fleet.hf, sleeping)).run.status is not RunStatus.QUEUED:
            await asyncio.sleep(0.01)
    assert (await look(fleet.hf, acting)).run.status is RunStatus.RUNNING
    fleet.release(gate)
    assert await fleet.reap(first) == 0
    state = await fleet.state()
    [held] = state.of("holding")
    assert held.status == "queued"
    assert held.steps["b#1"].payload == "held"
    await fleet.spawn()
    assert output(await ended(fleet.hf, acting)) == "held"
    assert output(await ended(fleet.hf, sleeping)) == 3
    assert all(n == 1 for n in fleet.audit().values()), fleet.audit()
    await sound(fleet)
