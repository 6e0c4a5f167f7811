"""Processes that start in milliseconds: a server that has imported everything and opened nothing forks one per job.

It warms up by running scenarios to their end on each database (statements compiled, adapters built), after which no
thread and no connection is left. Requests and answers are lines of JSON; a job that hangs tells where, and dies.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

HANGS_S = 45


class Died(AssertionError):
    """A process ended in a way that nobody asked for."""


class ForkServer:
    """The client's end. One job at a time."""

    def __init__(self, template: Path, postgres: str | None = None) -> None:
        """`postgres`: a migrated database to warm up on, besides a copy of the SQLite file `template`."""
        # OpenSSL that was used before a fork may hang behind it, and nobody is to be kept out of these connections.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PGSSLMODE": "disable"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.crash.server", str(template), *([postgres] if postgres else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def warmed_up(self) -> None:
        """Returns when it writes nothing by itself any more."""
        self._ask({"warm": True})

    def run(self, job: Any) -> dict[str, Any] | None:
        """What the job reported; None if it was killed as it should be."""
        answer = self._ask({"job": job.dumps()})
        if answer["signal"] == signal.SIGKILL:
            return None
        if answer["code"] != 0:
            raise Died(f"{job}\n{Path(job.directory, 'log').read_text()[-8000:]}")
        return json.loads(Path(job.directory, "result").read_text())

    def spawn(self, job: Any) -> int:
        """Start a job and leave it running: its process id."""
        return int(self._ask({"job": job.dumps(), "leave": True})["pid"])

    def reap(self, pid: int) -> int:
        """Wait for a process that was spawned here: its exit code, or minus the signal that ended it."""
        return int(self._ask({"reap": pid})["code"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Died("the fork server itself died")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def serve(template: str, postgres: str | None = None) -> None:
    from tests.acceptance.crash import process

    answers = os.fdopen(os.dup(1), "w")
    _warm_up(process, template, postgres)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(process, json.loads(line))) + "\n")
        answers.flush()


def _answer(process: Any, request: dict[str, Any]) -> dict[str, Any]:
    if request.get("warm"):
        return {}
    child = request.get("reap")
    if child is None:
        job = process.Job(**json.loads(request["job"]))
        child = os.fork()
        if child == 0:
            _be(process, job)
    if request.get("leave"):
        return {"pid": child}
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"signal": max(0, -code), "code": code}


def _warm_up(process: Any, template: str, postgres: str | None) -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory, "warm.db")
        database.write_bytes(Path(template).read_bytes())
        process.main(process.Job(f"sqlite:///{database}", directory, "parallel-tools"))
        process.main(process.Job(f"sqlite:///{database}", directory, "child", "oracle"))
        if postgres is not None:
            process.main(process.Job(postgres, directory, "parallel-tools"))
            process.main(process.Job(postgres, directory, "child", "oracle"))


def _be(process: Any, job: Any) -> None:
    """The forked child: never returns."""
    code = 1
    log = os.open(Path(job.directory, "log"), os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    try:
        faulthandler.enable()
        faulthandler.dump_traceback_later(HANGS_S, exit=job.mode != "serve")
        Path(job.directory, "result").write_text(json.dumps(process.main(job)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
