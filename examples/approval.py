"""An agent that may refund: it asks, waits, is killed, is approved with another amount, is killed again while it pays.

    python examples/approval.py

The payment provider is a process of its own (`holdfast.demo.provider`) that honours idempotency keys. What it says in
the end was done is what counts: one refund, of the amount that was approved.

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
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from holdfast import Agent, Confirm, Holdfast, ToolContext, tool
from holdfast.testing import Call, ScriptedModel

WAIT_S = 60
PROVIDER = "APPROVAL_PROVIDER"  # the provider's address, for the tool


def call(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return json.load(answer)


# --- what the server serves ------------------------------------------------------------------------------------------


@tool(effect="keyed", confirm=Confirm(when=lambda a: a["amount"] > 100, reason="it is above 100 euros"))
def refund(ctx: ToolContext[None], order_id: int, amount: Decimal) -> str:
    """Refund an order, in euros."""
    body = {"order_id": order_id, "amount_cents": round(amount * 100)}
    call(f"{os.environ[PROVIDER]}/refunds", body, **{"Idempotency-Key": ctx.idempotency_key})
    return f"refunded {amount} euros of order {order_id}"


clerk = Agent(
    "clerk",
    model=ScriptedModel([Call("refund", {"order_id": 7, "amount": "180.00"}), "That is settled."]),
    tools=[refund],
)
hf = Holdfast(agents=[clerk])


# --- the story -------------------------------------------------------------------------------------------------------


class StoryFailed(Exception):
    pass


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise StoryFailed(what)


class Process:
    """A process of the story, and its address once it is ready."""

    def __init__(self, *command: str, **more: str) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-m", *command], env={**os.environ, **more}, stdout=subprocess.PIPE, text=True
        )
        watchdog = threading.Timer(WAIT_S, self.running.kill)
        watchdog.start()
        assert self.running.stdout is not None
        said = next((line for line in self.running.stdout if " is ready on " in line), "")
        watchdog.cancel()
        self.url = said.split()[-1] if said else ""

    def kill(self) -> None:
        """`kill -9`: nothing of it can clean up."""
        self.running.send_signal(signal.SIGKILL)
        demand(self.running.wait(WAIT_S) == -signal.SIGKILL, "The process was not killed.")

    def stop(self) -> None:
        self.running.terminate()
        try:
            self.running.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.running.kill()
        assert self.running.stdout is not None
        self.running.stdout.close()


@contextmanager
def process(*command: str, **more: str) -> Iterator[Process]:
    started = Process(*command, **more)
    try:
        demand(bool(started.url), f"{command[0]} did not start.")
        yield started
    finally:
        started.stop()


def server(folder: Path, provider: Process) -> Any:
    options = ("--no-reload", "--port", "0", "--log-level", "warning")
    database = f"sqlite:///{folder / 'holdfast.db'}"
    return process("holdfast", "dev", __file__, *options, "--database", database, **{PROVIDER: provider.url})


def tell(folder: Path) -> None:
    with process("holdfast.demo.provider", "--books", str(folder / "books.db")) as provider:
        with server(folder, provider) as first:
            run = call(f"{first.url}/v1/runs?wait=30", {"agent": "clerk", "input": "Refund 180 euros of order 7."})
            print(f"1. {run['id']} is {run['status']}, on: {', '.join(on['type'] for on in run['waiting_on'])}")
            demand(run["status"] == "waiting", "The run should wait for leave.")
            print("2. kill -9, and start again")
            first.kill()
        with server(folder, provider) as second:
            (asked,) = call(f"{second.url}/v1/approvals?status=pending")["data"]
            print(f"3. The inbox: {asked['message']}, since {asked['reason']}: {json.dumps(asked['arguments'])}")
            # The next payment is made at once, but its answer is late.
            call(f"{provider.url}/control", {"path": "/refunds", "fault": "timeout"})
            said = {"decision": "approve", "arguments": {"order_id": 7, "amount": "120.00"}, "note": "120 will do."}
            approved = call(f"{second.url}/v1/approvals/{asked['id']}/resolve", said)
            print(f"4. Approved, but with other arguments: {json.dumps(approved['arguments'])}")
            wait_for_payment(provider)
            print("5. The provider has paid, and nobody here knows it yet: kill -9, and start again")
            second.kill()
        with server(folder, provider) as third:
            show(provider, wait_for_end(third, run["id"]), call(f"{third.url}/v1/effects")["data"])


def wait_for_payment(provider: Process) -> None:
    deadline = time.monotonic() + WAIT_S
    while not call(f"{provider.url}/books")["refunds"]:
        demand(time.monotonic() < deadline, "Nothing was paid.")
        time.sleep(0.02)


def wait_for_end(started: Process, run_id: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while (run := call(f"{started.url}/v1/runs/{run_id}?wait=30"))["status"] not in ("succeeded", "failed"):
        demand(time.monotonic() < deadline, f"The run did not end: {run}")
    demand(run["status"] == "succeeded", f"The run failed: {run['error']}")
    return run


def show(provider: Process, run: Any, effects: list[Any]) -> None:
    print(f"6. The run has ended: {run['output']}")
    (effect,) = effects
    print(
        f"   The ledger: {effect['tool']}, {effect['effect_class']}, {effect['status']}, made {effect['attempt']} times"
    )
    books = call(f"{provider.url}/books")["refunds"]
    print("7. The provider's own books:")
    for row in books:
        print(f"   order {row['order_id']}: {row['amount_cents'] / 100:.2f} euros, asked for {row['requests']} times")
    demand(len(books) == 1, f"There should be one refund, not {len(books)}.")
    demand(books[0]["amount_cents"] == 12_000, "It should be the amount that was approved.")
    demand(books[0]["key"] == effect["idempotency_key"], "The provider knows it by the key in the ledger.")
    demand(effect["status"] == "committed", "The ledger should know that it was done.")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-approval-") as folder:
        try:
            tell(Path(folder))
        except (StoryFailed, OSError) as exc:
            print(f"The story failed: {exc}", file=sys.stderr)
            return 1
    print("It was paid once.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
