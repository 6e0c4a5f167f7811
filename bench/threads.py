"""What a long thread costs: a run in a thread of 10,000 messages with `LastTurns(20)` against one of 60, and the
bytes that 1,000 turns take against their live JSON. `python -m bench.threads URL`. Prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import statistics
import sys
import time
from contextlib import closing

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.usage import RequestUsage

from holdfast import Agent, Holdfast, Settings
from holdfast.agents.native import LastTurns
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.ids import ThreadId
from holdfast.service import runs
from holdfast.testing import ScriptedModel

TURN = "The quick brown fox jumps over the lazy dog while the agent explains the order's way to its customer. " * 4
assistant = Agent(
    "assistant",
    model=ScriptedModel(lambda messages, info: TURN),
    instructions="Answer.",
    history=LastTurns(20),
)


async def main(url: str) -> None:
    hf = Holdfast([assistant], settings=Settings(database=url))
    async with hf.running():

        async def turn(thread: ThreadId | None) -> tuple[ThreadId, float]:
            ask = runs.StartRun(agent="assistant", input=TURN, thread_id=thread)
            began = time.perf_counter()
            started = await runs.start(hf.house, LOCAL_PRINCIPAL, ask)
            view = await runs.wait(hf.house, LOCAL_PRINCIPAL, started.view, 60)
            assert view.run.status == "succeeded", view.run
            return view.run.thread_id, time.perf_counter() - began

        async def build(turns: int) -> ThreadId:
            thread: ThreadId | None = None
            for _ in range(turns):
                thread, _ = await turn(thread)
            assert thread is not None
            return thread

        before = size_of(url)
        thousand = await build(1_000)
        stored = size_of(url) - before
        plain = 1_000 * 2 * len(json.dumps({"role": "assistant", "content": TURN}))
        live = 1_000 * len(ModelMessagesTypeAdapter.dump_json(a_turn()))
        long = thousand
        for _ in range(4_000):
            await turn(long)
        short = await build(30)
        times: dict[str, list[float]] = {"short": [], "long": []}
        for _ in range(200):
            times["short"].append((await turn(short))[1])
            times["long"].append((await turn(long))[1])
    short_ms, long_ms = (statistics.median(times[k]) * 1000 for k in ("short", "long"))
    sizes = {"stored_bytes": stored, "live_bytes": live, "plain_bytes": plain}
    print(json.dumps({"short_ms": short_ms, "long_ms": long_ms} | sizes))


def a_turn() -> list[ModelMessage]:
    """One turn as the model layer holds it in memory."""
    asked = ModelRequest(parts=[UserPromptPart(TURN)])
    said = ModelResponse(parts=[TextPart(TURN)], usage=RequestUsage(input_tokens=103, output_tokens=103))
    return [asked, said]


def size_of(url: str) -> int:
    """Bytes of the SQLite file, with its log written back into it."""
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
