"""Starts and stops the application under test as its own process, on a free loopback port.

Invariant: the port is bound here and handed down as an open socket, so nothing can take it in between, and a request
sent before the application is up waits in the socket's backlog instead of being refused. No polling, no sleep.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.acceptance.bfcl import script
from tests.acceptance.bfcl.recorded import Executed, read_log

ROOT = Path(__file__).resolve().parents[3]
START_S = 60
STOP_S = 60
BACKLOG = 1_024
LOG_LINES_SHOWN = 40


class ServerFailed(Exception):
    """The application under test did not come up, or did not go down."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers; its `calls` may be read once it was stopped."""

    url: str
    directory: Path

    def calls(self) -> dict[str, list[Executed]]:
        """What the tools wrote down, by run id."""
        return read_log(self.directory / script.CALLS_FILE)

    def log_tail(self) -> str:
        """The last lines of what the process printed."""
        return "\n".join((self.directory / "server.log").read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A directory for the database, the call log and what the server prints; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bfcl-") as directory:
        yield Path(directory)


@contextlib.contextmanager
def serving(directory: Path, *, silent: bool) -> Iterator[Server]:
    """A running server; gracefully stopped at the end. Raises ServerFailed with what it printed."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}", directory)
        process = _start(listener, directory, silent=silent)
        # Leaving this block closes our copy of the socket: if the process dies, connections are refused, not queued.
    try:
        _await_ready(server)
        yield server
    finally:
        _stop(process, server)


def _start(listener: socket.socket, directory: Path, *, silent: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.acceptance.bfcl.agent", "--fd", str(listener.fileno())]
    command += ["--directory", str(directory), *(["--silent-agent"] if silent else [])]
    with (directory / "server.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()], stdout=log, stderr=log)


def _await_ready(server: Server) -> None:
    try:
        httpx.get(f"{server.url}/readyz", timeout=START_S).raise_for_status()
    except httpx.HTTPError as error:
        raise ServerFailed(f"the server did not come up: {error!r}\n{server.log_tail()}") from error


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise ServerFailed(f"the server did not stop within {STOP_S} s of SIGTERM\n{server.log_tail()}") from None
