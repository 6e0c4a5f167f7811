"""The services of BFCL as the world outside: a process of its own, which outlives every crash of the runtime.

It executes a call once per idempotency key and repeats the first answer after that; calls without a key it executes
whenever it is told to. What it executed stands in a file, a synced line per call, written before anything is answered:
that, and nothing that Holdfast says, is what the official checker gets. `POST` with a JSON body:

    /call      {case, run, step, key?, name, arguments, cut}   {result}
    /executed  {run, step}                                     {done, result}: for who has to answer truthfully
    /withheld  {}                                              {cases}: whose caller waits for an answer in vain

When it is lossy, the first answer to every call is lost after it was executed: the connection is cut (where `cut`
allows that), or held open until the caller is killed. Invariant: one thread; the services share module-level objects.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.acceptance.bfcl.world import Call, Worlds

BACKLOG = 1_024
Answer = dict[str, Any] | None


class Unanswered(ConnectionError):
    """The world hung up without an answer."""


async def post(port: int, path: str, body: dict[str, Any]) -> Any:
    """One request on a connection of its own. Raises `Unanswered`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(json.dumps({"path": path, **body}).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise Unanswered(f"no answer to {path}")
    return json.loads(line)


class Outside:
    """What happened, and what is said about it."""

    def __init__(self, log: Path, *, lossy: bool) -> None:
        self._log = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        self._lossy = lossy
        self._worlds = Worlds()
        self._by_key: dict[str, str] = {}
        self._by_step: dict[tuple[str, str], str] = {}
        self._withheld: set[str] = set()
        self._routes: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/executed": self._executed,
            "/withheld": lambda _: {"cases": sorted(self._withheld)},
        }

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            if asked["path"] == "/call":
                answer = await self._call(asked, reader)
            else:
                answer = self._routes[asked["path"]](asked)
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the caller was killed
        finally:
            writer.close()

    def _executed(self, asked: dict[str, Any]) -> Answer:
        result = self._by_step.get((asked["run"], asked["step"]))
        return {"done": result is not None, "result": result}

    async def _call(self, asked: dict[str, Any], caller: asyncio.StreamReader) -> Answer:
        key, step = asked["key"], (asked["run"], asked["step"])
        first = step not in self._by_step
        if key is not None and key in self._by_key:
            return {"result": self._by_key[key]}
        result = self._execute(asked)
        if not (self._lossy and first):
            return {"result": result}
        if asked["cut"] and crc32("/".join(step).encode()) % 2:
            return None
        self._withheld.add(asked["case"])
        await caller.read()  # until its process is gone
        self._withheld.discard(asked["case"])
        return None

    def _execute(self, asked: dict[str, Any]) -> str:
        call = Call(asked["name"], asked["arguments"])
        result = self._worlds.of(asked["case"]).execute(call)
        line = {name: asked[name] for name in ("case", "run", "step", "key", "name", "arguments")}
        os.write(self._log, json.dumps({**line, "result": result}).encode() + b"\n")
        os.fsync(self._log)
        self._by_step[asked["run"], asked["step"]] = result
        if asked["key"] is not None:
            self._by_key[asked["key"]] = result
        return result


async def serve(listener: socket.socket, log: Path, *, lossy: bool) -> None:
    outside = Outside(log, lossy=lossy)
    server = await asyncio.start_server(outside.talk, sock=listener, backlog=BACKLOG, limit=1 << 22)
    try:
        await asyncio.to_thread(sys.stdin.read)  # until whoever started it is gone
    finally:
        server.close()


def main() -> None:
    options = argparse.ArgumentParser(description="The services of BFCL, in a process of their own.")
    options.add_argument("--fd", type=int, required=True, help="a listening TCP socket")
    options.add_argument("--log", type=Path, required=True, help="where executed calls are written down")
    options.add_argument("--lossy", action="store_true", help="lose the first answer to every call")
    given = options.parse_args()
    asyncio.run(serve(socket.socket(fileno=given.fd), given.log, lossy=given.lossy))


if __name__ == "__main__":
    main()
