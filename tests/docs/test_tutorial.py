"""The tutorial is walked through as a reader would: files are written, the server is started, killed and started again,
requests are sent, and what it says they print is what they print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.docs import blocks
from tests.docs.blocks import DOCS, Command
from tests.docs.talk import Talk

TUTORIAL = DOCS / "tutorial" / "first-steps.md"
WAIT_S = 30


class Reader:
    """Somebody at a terminal, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: subprocess.Popen[str] | None = None
        self.talk: Talk | None = None
        self.variables: dict[str, str] = {}
        self.killed = 0

    async def do(self, command: Command) -> None:
        words = command.words
        if words[0] == "holdfast":
            assert words[:2] == ["holdfast", "dev"], command.text
            self.stop(signal.SIGTERM)
            self.start(words[2])
        elif words[0] == "pkill":
            assert "-9" in words
            self.stop(signal.SIGKILL)
            self.killed += 1
        elif words[0] == "cat":
            self.read(words[1], command.output)
        elif words[0] == "curl" or command.assigns is not None:
            await self.ask(command)
        else:
            assert words[0] in ("python3", "pip", "."), f"what to do about: {command.text}"

    async def ask(self, command: Command) -> None:
        assert self.server is not None, command.text
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S) as client:
            talk = Talk(client)
            talk.variables = self.variables
            printed = await talk.send(command)
        if command.output.strip():
            assert printed == command.output, command.text

    def read(self, name: str, expected: str) -> None:
        """A reader looks again until it is there."""
        deadline = time.monotonic() + WAIT_S
        path = self.folder / name
        while not path.exists() or path.read_text() != expected:
            found = path.read_text() if path.exists() else None
            assert time.monotonic() < deadline, f"{name} holds {found!r}"
            time.sleep(0.02)

    def start(self, file: str) -> None:
        command = [sys.executable, "-m", "holdfast", "dev", file, "--no-reload", "--port", "0", "--log-level", "error"]
        self.server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(WAIT_S, self.server.kill)
        watchdog.start()
        assert self.server.stdout is not None
        try:
            line = next(line for line in self.server.stdout if " is ready on " in line)
        finally:
            watchdog.cancel()
        self.url = line.split()[-1]

    def stop(self, how: signal.Signals) -> None:
        if self.server is None:
            return
        self.server.send_signal(how)
        try:
            self.server.wait(WAIT_S)
        finally:
            self.server.kill()
            assert self.server.stdout is not None
            self.server.stdout.close()
            self.server = None


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    somebody = Reader(folder)
    try:
        yield somebody
    finally:
        somebody.stop(signal.SIGTERM)


async def test_the_tutorial_works(tmp_path: Path) -> None:
    assert not [name for name in os.environ if name.startswith("HOLDFAST_DATABASE")]
    with reader(tmp_path) as somebody:
        for block in blocks.blocks(TUTORIAL, "python", "console"):
            if block.language == "python":
                assert block.file_name is not None
                (tmp_path / block.file_name).write_text(block.code.replace("time.sleep(10)", "time.sleep(1)"))
            elif "OPENAI_API_KEY" not in block.code:
                for command in blocks.commands(block):
                    await somebody.do(command)
        assert somebody.killed == 2
