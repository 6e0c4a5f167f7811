"""The kill -9 story, told by a script: python examples/kill9.py

It starts a server as a process of its own, starts a run over HTTP, kills the server with `kill -9` in the middle of a
tool, starts it again, and watches the run finish by itself. Then it prints the journal: every step is there once. The
step before the crash was not done again. The tool that was cut off is `keyed`: it was called again with the same key,
by which the other side recognises a repetition. What else a tool can promise: docs/howto/side-effects.md

Nothing is needed but Holdfast: the model is scripted, files go to a temporary folder, ports are free ones of loopback.
The exit code says whether the story came true.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from holdfast import Agent, Holdfast, ToolContext, tool
from holdfast.testing import Call, ScriptedModel

WAIT_S = 60
LEDGER = "KILL9_LEDGER"  # a file to which the tools write what they do, in the world outside the journal


# --- what the server serves ------------------------------------------------------------------------------------------


def note(text: str) -> None:
    with Path(os.environ[LEDGER]).open("a") as ledger:
        ledger.write(text + "\n")


@tool(effect="keyed")
def reserve(order: int) -> str:
    """Reserve the goods of an order."""
    note(f"reserved {order}")
    return "reserved"


@tool(effect="keyed")
def pack(ctx: ToolContext[None], order: int) -> str:
    """Pack the parcel of an order. It takes a while."""
    note(f"packing {order} began, {ctx.idempotency_key}")
    time.sleep(2)
    note(f"packing {order} ended, {ctx.idempotency_key}")
    return "packed"


clerk = Agent(
    "clerk",
    model=ScriptedModel([Call("reserve", {"order": 7}), Call("pack", {"order": 7}), "Order 7 is on its way."]),
    tools=[reserve, pack],
)
hf = Holdfast(agents=[clerk])


# --- the story -------------------------------------------------------------------------------------------------------


class StoryFailed(Exception):
    pass


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise StoryFailed(what)


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server as a process of its own, and its address once it is ready."""
    command = [sys.executable, "-m", "holdfast", "dev", __file__, "--no-reload", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--database", f"sqlite:///{folder / 'holdfast.db'}", "--log-level", "warning"],
        env={**os.environ, LEDGER: str(folder / "ledger")},
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(WAIT_S, server.kill)
    watchdog.start()
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if " is ready on " in line:
                return server, line.split()[-1]
    finally:
        watchdog.cancel()
    raise StoryFailed("The server did not start.")


def call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return json.load(answer)


def wait_for(ledger: Path, text: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not (ledger.exists() and text in ledger.read_text()):
        demand(time.monotonic() < deadline, f"{text!r} did not happen")
        time.sleep(0.02)


def watch(url: str, run_id: str) -> str:
    """Print the run's events from the first one on, until the run has ended; the last event's type."""
    last = ""
    with urllib.request.urlopen(f"{url}/v1/runs/{run_id}/events", timeout=WAIT_S) as stream:
        for raw in stream:
            name, _, value = raw.decode().strip().partition(": ")
            if name == "event" and value not in ("message.delta", "step.started"):
                last = value
                print(f"   {last}")
            if last in ("run.succeeded", "run.failed", "run.cancelled"):
                return last
    return last


def tell(folder: Path) -> None:
    print("1. Start the server, and a run on it")
    server, url = start(folder)
    try:
        run_id = call(f"{url}/v1/runs", {"agent": "clerk", "input": "Send order 7."})["id"]
        wait_for(folder / "ledger", "packing 7 began")
        print(f"2. {run_id} is in the middle of a tool: kill -9 {server.pid}")
        server.send_signal(signal.SIGKILL)
        demand(server.wait(WAIT_S) == -signal.SIGKILL, "The server was not killed.")
        print("3. Start it again, and only watch")
        server, url = start(folder)
        last = watch(url, run_id)
        demand(last == "run.succeeded", f"The run ended with {last!r}.")
        show(folder, call(f"{url}/v1/runs/{run_id}"), call(f"{url}/v1/runs/{run_id}/steps")["data"])
    finally:
        server.terminate()
        try:
            server.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            server.kill()


def show(folder: Path, run: Any, steps: list[Any]) -> None:
    print("4. The journal, each step once:")
    for step in steps:
        print(f"   {step['seq']}  {step['key']:12} {step['kind']:6} {step['name']:8} {step['status']}")
    print(f"   answer: {run['output']}")
    keys = [step["key"] for step in steps]
    demand(len(keys) == 5 and len(set(keys)) == 5, f"There should be five steps, each once, not {keys}.")
    done = (folder / "ledger").read_text().splitlines()
    print("5. What happened in the world outside:")
    for line in done:
        print(f"   {line}")
    demand(done.count("reserved 7") == 1, "The recorded tool ran again.")
    packing = [line for line in done if line.startswith("packing")]
    demand(len(packing) == 3, "The tool that was cut off should have been called a second time, and ended once.")
    demand(len({line.split(", ")[1] for line in packing}) == 1, "The second call should have the key of the first.")
    print("   `reserve` was recorded and ran once. `pack` was cut off: it was called again, with the same key.")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-kill9-") as folder:
        try:
            tell(Path(folder))
        except (StoryFailed, OSError) as exc:
            print(f"The story failed: {exc}", file=sys.stderr)
            return 1
    print("The run survived.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
