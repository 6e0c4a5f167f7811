"""`holdfast …` as a real process: started with a clean environment, its output read as it comes, never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
WAIT_S = 40
OURS = ("HOLDFAST_", "OPENAI_", "ANTHROPIC_")


def environment(**more: str) -> dict[str, str]:
    """This one, without settings and keys that a developer may have, and with the sources first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "PYTHONPATH": f"{ROOT / 'src'}", "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **more}


class Process:
    """A command under way. Use as a context manager: the end of the block kills what is left of it."""

    def __init__(self, *arguments: str, cwd: Path, module: str = "holdfast", **more: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def says(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Wait for a line that matches, from the line `after` on; fails when the output ends without it."""
        found: re.Match[str] | None = None

        def looked() -> bool:
            nonlocal found
            found = next((m for line in self.lines[after:] if (m := re.search(pattern, line))), None)
            return found is not None or self._ended

        with self._news:
            assert self._news.wait_for(looked, WAIT_S), f"{pattern!r} was not said in time:\n{self.output}"
        assert found is not None, f"{pattern!r} was never said:\n{self.output}"
        return found

    def url(self, after: int = 0) -> str:
        return self.says(r"is ready on (http://\S+)", after)[1]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ends(self) -> int:
        """Its exit code, once it has ended and all was read."""
        code = self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def stops(self) -> int:
        """Asked gently."""
        self.send(signal.SIGTERM)
        return self.ends()


def holdfast(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    command: Sequence[str] = [sys.executable, "-m", "holdfast", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=WAIT_S, check=False
    )
