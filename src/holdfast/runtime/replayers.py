"""Where replays run: away from the event loop that serves, each within its time.

`InProcess` gives the recorded run to a process of its own, which imports the target, has no way out and is killed when
its time is over: the world is kept from everything in it. `InThread` is for an application that was built in somebody's
own process, which no other process could build again: there the code runs in a thread with an event loop of its own,
and the world is kept from what runs in its context; a thread that never ends cannot be stopped, and is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from holdfast.agents.base import Agent
from holdfast.domain import limits, portable
from holdfast.domain.errors import NotFound, Unavailable
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Reason, Replay, Replayed, Verdict
from holdfast.runtime.replaying import replay

Isolation = Literal["process", "thread"]
CHILD: Final = "holdfast.replayed"
READY: Final = "ready"


class ReplayFailed(Unavailable):
    """The replay could not be made."""

    code = "replay_failed"


def overdue() -> Replay:
    """What is said of code that did not come to an end."""
    said = f"The code came to no end within {limits.REPLAY_MS / 1000:g} s."
    return Replay(verdict=Verdict.DIVERGED, steps=0, reason=Reason.STALLED, message=said)


# -- in a thread ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InThread:
    """Replays with the agents of this process."""

    agents: Mapping[str, Agent]
    deps: Any = None
    isolation: Isolation = "thread"

    async def replay(self, recorded: RecordedRun) -> Replayed:
        agent = self.agents.get(recorded.agent)
        if agent is None:
            raise NotFound(f"There is no agent {recorded.agent!r} in this process.", code="agent_not_found")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Replay] = loop.create_future()

        def work() -> None:
            try:
                result = contextvars.Context().run(isolated, agent, self.agents, self.deps, recorded)
            except BaseException as exc:
                _tell(loop, done, lambda exc=exc: done.set_exception(exc))
            else:
                _tell(loop, done, lambda: done.set_result(result))

        threading.Thread(target=work, name="holdfast-replay", daemon=True).start()
        try:
            async with asyncio.timeout(limits.REPLAY_MS / 1000):
                return Replayed(await asyncio.shield(done), agent.version)
        except TimeoutError:
            return Replayed(overdue(), agent.version)


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Replay], say: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop that asked is closed: nobody waits
        loop.call_soon_threadsafe(lambda: None if done.done() else say())


# -- in a process -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Child:
    """A process that has imported the target and replays one run after another. `agents`: the version of each."""

    process: asyncio.subprocess.Process
    agents: dict[str, str]

    @classmethod
    async def begin(cls, target: str, directory: str | None = None) -> Child:
        """Raises `ReplayFailed` with what the child said, if the target cannot be imported there."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", CHILD, target,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=directory,
            limit=2 * limits.IMPORT_BYTES_MAX, start_new_session=True,
        )  # fmt: skip
        child = cls(process, {})
        try:
            said = await child._said(limits.REPLAY_PREPARE_MS)
        except BaseException:
            await child.end()
            raise
        if said is None or READY not in said:
            await child.end()
            reason = "it ended, or gave no sign of life in time" if said is None else said["failed"]
            raise ReplayFailed(f"The process that should replay could not load {target}: {reason}")
        child.agents = said[READY]
        return child

    async def replay(self, recorded: RecordedRun) -> Replayed:
        """One replay; the process is over if that did not end in time."""
        assert self.process.stdin is not None
        for line in portable.written(recorded):
            self.process.stdin.write(line)
        with contextlib.suppress(ConnectionError):
            await self.process.stdin.drain()
        said = await self._said(limits.REPLAY_MS)
        if said is None:
            code = self.process.returncode
            await self.end()
            if code is None:
                return Replayed(overdue(), self.agents.get(recorded.agent, ""))
            raise ReplayFailed(f"The process that replays ended by itself (exit code {code}).")
        if "failed" in said:
            raise ReplayFailed(str(said["failed"]))
        return Replayed(Replay.from_json(said["replay"]), self.agents[recorded.agent])

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def _said(self, within_ms: int) -> dict[str, Any] | None:
        """The next line that it says; None if there is none in time, or ever."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(within_ms / 1000):
                line = await self.process.stdout.readline()
                if not line:
                    await self.process.wait()
                    return None
                return json.loads(line)
        except TimeoutError:
            return None

    async def end(self) -> None:
        """Kill it, with whatever it started."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()


@dataclass(frozen=True, slots=True)
class InProcess:
    """Replays each run in a process of its own, which imports the target again."""

    target: str
    directory: str
    isolation: Isolation = "process"

    async def replay(self, recorded: RecordedRun) -> Replayed:
        child = await Child.begin(self.target, self.directory)
        try:
            return await child.replay(recorded)
        finally:
            await child.end()


class Replayers:
    """The replays of this process: a few at a time, the others wait. Stopped with it."""

    def __init__(self, where: InThread | InProcess) -> None:
        self._where = where
        self._free = asyncio.Semaphore(limits.REPLAYS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def isolation(self) -> Isolation:
        return self._where.isolation

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="replay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def replay(self, recorded: RecordedRun) -> Replayed:
        async with self._free:
            return await self._where.replay(recorded)

    async def stop(self) -> None:
        """What is under way is given up: nobody is left to be told."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def isolated(
    agent: Agent, agents: Mapping[str, Agent], deps: Any, recorded: RecordedRun, *, everywhere: bool = False
) -> Replay:
    """Replay in an event loop of its own, with the world away. For a thread or a process that is there for it."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(replay(agent, agents, deps, recorded, everywhere=everywhere))
    finally:
        loop.close()
