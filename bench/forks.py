"""What forks cost. `python -m bench.forks URL`. Prints one JSON object.

`fork_ms`: the verb, durable when it returns, for a run of 1,000 steps and one of 10, in the middle and at the end, in
turn; nobody executes the forks meanwhile. `branch_ms`: a run behind a branch 50 levels deep against one in a plain
thread with the same conversation. `parent_bytes`, `forks_bytes`: a thread of 1,000 turns, and 100 forks of its last run
that ran to their ends (SQLite only: the file's size).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from bench import threads
from holdfast import Agent, Holdfast, RunLimits, Settings, tool
from holdfast.agents.native import LastTurns
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.ids import ThreadId
from holdfast.domain.runs import RunView
from holdfast.service import forks, runs
from holdfast.service.forks import ForkRun
from holdfast.testing import Call, ScriptedModel

LONG, SHORT, FORKS, DEPTH, TURNS, COPIES, RUNS = 1_000, 10, 200, 50, 1_000, 100, 100


@tool(effect="read")
async def look(n: int) -> str:
    """Look."""
    return f"seen {n}"


def reply(messages: Any, info: Any) -> Any:
    """As many rounds as were asked for: two steps each."""
    rounds = int(str(messages[0].parts[0].content))
    return Call("look", {"n": info.position}) if info.position < rounds else "done"


agent = Agent("agent", model=ScriptedModel(reply), tools=[look])
talker = Agent("talker", model=ScriptedModel(lambda messages, info: threads.TURN), history=LastTurns(20))


class Bench:
    def __init__(self, hf: Holdfast) -> None:
        self.house = hf.house

    async def fork(self, of: RunView, at: int) -> tuple[RunView, float]:
        began = time.perf_counter()
        made = await forks.fork(self.house, LOCAL_PRINCIPAL, ForkRun(run_id=of.run.id, at=at))
        return made.view, (time.perf_counter() - began) * 1000

    async def ended(self, view: RunView) -> RunView:
        while not view.run.status.ended:
            view = await runs.wait(self.house, LOCAL_PRINCIPAL, view, 60)
        assert view.run.status == "succeeded", view.run
        return view

    async def run(self, name: str, input: str, thread: ThreadId | None = None) -> tuple[RunView, float]:
        caps = RunLimits(steps_max=10_000, tool_calls_max=10_000)
        began = time.perf_counter()
        started = await runs.start(
            self.house, LOCAL_PRINCIPAL, runs.StartRun(agent=name, input=input, limits=caps, thread_id=thread)
        )
        return await self.ended(started.view), (time.perf_counter() - began) * 1000

    async def talk(self, thread: ThreadId) -> float:
        return (await self.run("talker", threads.TURN, thread))[1]

    async def deep(self) -> tuple[ThreadId, ThreadId]:
        """A branch of a branch of a …, with a turn on each; and a plain thread with as many turns."""
        branch = plain = (await self.run("talker", threads.TURN))[0]
        for _ in range(DEPTH):
            made = await self.ended((await self.fork(branch, branch.seq))[0])
            branch, _ = await self.run("talker", threads.TURN, made.run.thread_id)
            plain, _ = await self.run("talker", threads.TURN, plain.run.thread_id)
        return branch.run.thread_id, plain.run.thread_id


async def main(url: str) -> None:
    found: dict[str, Any] = {"depth": DEPTH, "copies": COPIES, "turns": TURNS}
    is_file = url.startswith("sqlite")
    async with (hf := _holdfast(url, slots=8)).running():
        bench = Bench(hf)
        long, short = [(await bench.run("agent", str(steps // 2)))[0] for steps in (LONG, SHORT)]
        branch, plain = await bench.deep()
        times = [(await bench.talk(branch), await bench.talk(plain)) for _ in range(RUNS)]
        found["branch_ms"], found["plain_ms"] = (statistics.median(column) for column in zip(*times, strict=True))
        if is_file:
            empty = threads.size_of(url)
            last, _ = await bench.run("talker", threads.TURN)
            for _ in range(TURNS - 1):
                last, _ = await bench.run("talker", threads.TURN, last.run.thread_id)
            whole = threads.size_of(url)
            for _ in range(COPIES):
                await bench.ended((await bench.fork(last, last.seq))[0])
            found |= {"parent_bytes": whole - empty, "forks_bytes": threads.size_of(url) - whole}
    async with (hf := _holdfast(url, slots=0)).running():
        bench = Bench(hf)
        rounds = [
            [(await bench.fork(of, at))[1] for of in (long, short) for at in (of.seq // 2, of.seq)]
            for _ in range(FORKS)
        ]
        names = ("long_middle_ms", "long_end_ms", "short_middle_ms", "short_end_ms")
        found |= {n: statistics.median(column) for n, column in zip(names, zip(*rounds, strict=True), strict=True)}
    print(json.dumps(found))


def _holdfast(url: str, *, slots: int) -> Holdfast:
    return Holdfast([agent, talker], settings=Settings(database=url, worker_slots=slots))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
