"""The other side of every effect, in a process of its own that nobody kills: it acts, remembers, and counts.

What it did stands in a file, one synced line per request, before anything is answered: it is the auditor of the crash
matrix. Everything belongs to a *scope*, one database under test. `POST` with a JSON body:

    /act     {scope, label, key?, honour, pid, data}   do it; `honour`: only once per key, repeating the first answer
    /lookup  {scope, key | label}                      {done, result}
    /arm     {scope, at, point}                        SIGKILL to whoever sends request number `at`: when it was
                                                       "received" (and is then forgotten), or when it was "acted" on
                                                       (and is never answered)

`python -m tests.acceptance.crash.provider --fd N --log PATH` serves on a socket until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Point = Literal["received", "acted"]
POINTS: tuple[Point, ...] = ("received", "acted")
ROOT = Path(__file__).resolve().parents[3]
BACKLOG = 256


class HungUp(ConnectionError):
    """The provider went away without an answer."""


# --- the client's side -----------------------------------------------------------------------------------------------


async def post(port: int, path: str, body: dict[str, Any]) -> Any:
    """One request on a connection of its own. Raises `HungUp`."""
    raw = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    if not head:
        raise HungUp(f"no answer to {path}")
    return json.loads(content)


@dataclass(frozen=True)
class Provider:
    """A running provider, as one scope sees it."""

    port: int
    scope: str

    async def act(self, label: str, data: dict[str, Any], *, key: str | None, honour: bool) -> Any:
        body = {"scope": self.scope, "label": label, "key": key, "honour": honour, "pid": os.getpid(), "data": data}
        return (await post(self.port, "/act", body))["result"]

    async def lookup(self, **by: str) -> dict[str, Any]:
        return await post(self.port, "/lookup", {"scope": self.scope, **by})

    async def arm(self, at: int, point: Point) -> None:
        await post(self.port, "/arm", {"scope": self.scope, "at": at, "point": point})


@dataclass(frozen=True)
class Deed:
    """A request as it was noted. `acted`: something was done; False: it was a repetition of a key, or was lost."""

    label: str
    key: str | None
    acted: bool
    data: dict[str, Any]


class Running:
    """Starts a provider, and reads what it noted."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "provider.jsonl"
        self.log.touch()
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            self.port: int = listener.getsockname()[1]
            command = [sys.executable, "-m", "tests.acceptance.crash.provider"]
            command += ["--fd", str(listener.fileno()), "--log", str(self.log)]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()], stdin=subprocess.PIPE)

    def of(self, scope: str) -> Provider:
        return Provider(self.port, scope)

    def deeds(self, scope: str) -> list[Deed]:
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        return [Deed(*line["deed"]) for line in lines if line["scope"] == scope]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0, "the auditor itself died"


# --- the server ------------------------------------------------------------------------------------------------------


@dataclass
class Scope:
    by_key: dict[str, Any] = field(default_factory=dict[str, Any])
    by_label: dict[str, Any] = field(default_factory=dict[str, Any])
    requests: int = 0
    armed: tuple[int, Point] | None = None


class Server:
    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        self._scopes: dict[str, Scope] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readline()).split()
            length = 0
            while (line := await reader.readline()).strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = json.loads(await reader.readexactly(length))
            answer = self._answer(request[1].decode(), body)
            if answer is not None:
                raw = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + raw)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, IndexError):
            pass  # whoever asked was killed
        finally:
            writer.close()

    def _answer(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        scope = self._scopes.setdefault(body["scope"], Scope())
        match path:
            case "/act":
                return self._act(scope, body)
            case "/lookup":
                known = scope.by_key if "key" in body else scope.by_label
                asked = body.get("key") or body["label"]
                return {"done": asked in known, "result": known.get(asked)}
            case "/arm":
                scope.armed = body["at"], body["point"]
                return {}
            case _:
                raise AssertionError(path)

    def _act(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any] | None:
        scope.requests += 1
        at, point = scope.armed or (0, "")
        strikes = scope.requests == at
        label, key, data = body["label"], body["key"], body["data"]
        if strikes and point == "received":
            self._note(body["scope"], label, key, False, data)
            os.kill(body["pid"], signal.SIGKILL)
            return None
        fresh = not (body["honour"] and key in scope.by_key)
        if fresh:
            scope.by_label[label] = data
            if key is not None:
                scope.by_key[key] = data
        self._note(body["scope"], label, key, fresh, data)
        if strikes:
            os.kill(body["pid"], signal.SIGKILL)
            return None
        return {"result": data if fresh else scope.by_key[key]}

    def _note(self, scope: str, *deed: Any) -> None:
        os.write(self._log, json.dumps({"scope": scope, "deed": deed}).encode() + b"\n")
        os.fsync(self._log)


async def serve(listener: socket.socket, log: Path) -> None:
    server = await asyncio.start_server(Server(log).talk, sock=listener, backlog=BACKLOG)
    async with server:
        await asyncio.to_thread(sys.stdin.read)  # until whoever started it is gone


def main() -> None:
    options = argparse.ArgumentParser(description="A provider that remembers what it did.")
    options.add_argument("--fd", type=int, required=True)
    options.add_argument("--log", type=Path, required=True)
    given = options.parse_args()
    asyncio.run(serve(socket.socket(fileno=given.fd), given.log))


if __name__ == "__main__":
    main()
