"""`holdfast dev`: a parent that holds the socket and starts its child again when a file changes.

The socket stays open in the parent, so requests during a restart wait instead of failing. The child stops gently, its
runs go back to the queue and the next child takes them up: a run survives the change of its own code. A child that
was killed is started again at once, a few times; one that ended by itself, as with a mistake in the code, at the
next change.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from watchfiles import PythonFilter, watch

from holdfast import target
from holdfast.domain import limits
from holdfast.serving import GRACE_DEV_S, SIGNALS
from holdfast.target import Target, TargetError

LOOK_EVERY_MS: Final = 200
REVIVALS_MAX: Final = 5


def supervise(
    given: str, listener: socket.socket, *, database: str | None, log_level: str, drain_ms: int, out: Console
) -> int:
    """Serve and start again until a signal; the exit code."""
    wanted = target.parse(given)
    watched = sorted({_folder_of(wanted), Path.cwd()})
    child = Child(given, listener, database, log_level, stop_s=(drain_ms + limits.UNWIND_MS) / 1000 + GRACE_DEV_S)
    stopped = threading.Event()
    told = 0

    def heard(number: int, _: FrameType | None) -> None:
        nonlocal told
        told += 1
        if told == 1:
            child.ask_to_stop()
        else:
            child.kill()
        stopped.set()

    before = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        child.start()
        for changes in watch(
            *watched,
            watch_filter=PythonFilter(),
            stop_event=stopped,
            rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if changes:
                out.print(f"Changed: {_named(changes)}. Starting again.", markup=False)
                child.stop()
                child.revivals = 0
                if not stopped.is_set():
                    child.start()
            elif (code := child.ended()) is not None:
                if code < 0 and child.revivals < REVIVALS_MAX:
                    child.revivals += 1
                    out.print(f"The server was killed (signal {-code}). Starting it again.", markup=False)
                    child.start()
                elif not child.mourned:
                    child.mourned = True
                    out.print("The server is not running. It starts again when a Python file changes.")
        return child.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        child.stop()


def _folder_of(wanted: Target) -> Path:
    """Where the target's file is, or a module is looked for; `TargetError` for a folder that cannot be watched."""
    if wanted.path is None:
        return Path.cwd()
    path = wanted.path.expanduser().resolve()
    if not path.parent.is_dir():
        raise TargetError(f"There is no file {path}.")
    return path.parent


def _named(changes: Iterable[tuple[object, str]]) -> str:
    names = sorted({os.path.relpath(path) for _, path in changes})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


class Child:
    """The serving process. It has a session of its own, so that a Ctrl-C reaches it once, through the parent."""

    def __init__(
        self, given: str, listener: socket.socket, database: str | None, log_level: str, *, stop_s: float
    ) -> None:
        self._listener = listener
        self._stop_s = stop_s
        self._arguments = ["dev", given, "--no-reload", "--log-level", log_level]
        if database is not None:
            self._arguments += ["--database", database]
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._asked = False
        self.revivals = 0
        self.mourned = False

    def start(self) -> None:
        self._hang_up()
        theirs, self._lifeline = os.pipe()
        descriptor = self._listener.fileno()
        handed = ["--listener-fd", str(descriptor), "--parent-fd", str(theirs)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", *self._arguments, *handed],
            pass_fds=(descriptor, theirs),
            start_new_session=True,
        )
        os.close(theirs)
        self._asked = self.mourned = False

    def ask_to_stop(self) -> None:
        """Once: a second time would be an order to stop at once."""
        if self._process is not None and not self._asked:
            self._asked = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def stop(self) -> int:
        """Ask it to stop, wait, and kill it if it does not; its exit code."""
        if self._process is None:
            return 0
        self.ask_to_stop()
        try:
            code = self._process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process = None
        self._hang_up()
        return max(code, 0)

    def ended(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _hang_up(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
