"""An agent refunded the wrong order. Look at the moment, go back to it, compare, and test the fix on last week's runs.

    python examples/time_travel.py

1. Three customers write; the search behind `find_order` gives one of them somebody else's order, and it is refunded.
2. `/state` shows where that run stood when it decided, `/fork` goes on from there with the right order: on a branch,
   with what was paid before left as it was, and with leave asked for the refund that is new.
3. `/diff` says what is different, and from which step on.
4. The agent is mended, and `/replay` runs the new code against the three recorded runs: no model, no tool, no network.
   Two come out as they were; in the wrong one the model would have been told of the mistake, before it paid.

The payment provider is a process of its own (`holdfast.demo.provider`), and its books are what counts. Nothing is
needed but Holdfast: the model is scripted, files go to a temporary folder, ports are free ones of loopback. The exit
code says whether the story came true.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart

from holdfast import Agent, Holdfast, Middleware, ModelCall, ToolContext, TurnInfo, tool
from holdfast.testing import Call, ScriptedModel, last_user_text

WAIT_S = 60
PROVIDER = "TIME_TRAVEL_PROVIDER"  # the provider's address, for the tool
CAREFUL = "TIME_TRAVEL_CAREFUL"  # set: the agent as it was mended


def call(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return json.load(answer)


# --- what the server serves ------------------------------------------------------------------------------------------

ORDERS: dict[str, dict[str, Any]] = {
    "tea pot": {"order_id": 5, "item": "tea pot", "total": "24.00"},
    "kettle": {"order_id": 7, "item": "kettle", "total": "59.00"},
    "espresso machine": {"order_id": 8, "item": "espresso machine", "total": "340.00"},
    "cups": {"order_id": 9, "item": "cups", "total": "18.00"},
}


@tool(effect="read")
def find_order(text: str) -> dict[str, Any]:
    """Find the order that a customer writes about."""
    # The search has a mistake: for "kettle" it finds what stands beside it in the catalogue.
    found = next(item for item in ORDERS if item in text)
    return ORDERS["espresso machine" if found == "kettle" else found]


@tool(effect="keyed")
def refund(ctx: ToolContext[None], order_id: int, amount: Decimal) -> str:
    """Refund an order, in euros."""
    body = {"order_id": order_id, "amount_cents": round(amount * 100)}
    call(f"{os.environ[PROVIDER]}/refunds", body, **{"Idempotency-Key": ctx.idempotency_key})
    return f"refunded {amount} euros of order {order_id}"


def reply(messages: list[ModelMessage], info: Any) -> Any:
    """What a model would do: find the order, refund it, say so. It believes what its tools tell it."""
    results = results_in(messages)
    if not results:
        return Call("find_order", {"text": last_user_text(messages)})
    if any(WARNING in part.content for part in info.parameters.instruction_parts or []):
        return "I am not sure which order you mean. What is its number?"
    if len(results) == 1:
        found: Any = results[0]
        return Call("refund", {"order_id": found["order_id"], "amount": found["total"]})
    return f"I am sorry about the {results[0]['item']}. I have {results[1]}."


def results_in(messages: list[ModelMessage]) -> list[Any]:
    return [
        p.content for m in messages if isinstance(m, ModelRequest) for p in m.parts if isinstance(p, ToolReturnPart)
    ]


WARNING = "What was found is not what the customer writes about. Ask for the number of the order."


class Careful(Middleware):
    """The mended agent: the model is warned of an order that does not fit."""

    async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
        found = results_in(call.messages)[:1]
        if not found or found[0]["item"] in last_user_text(call.messages):
            return None
        return replace(call, instructions=f"{call.instructions}\n{WARNING}")


clerk = Agent(
    "clerk",
    model=ScriptedModel(reply),
    instructions="Refund what arrived broken.",
    tools=[find_order, refund],
    middleware=[Careful()] if os.environ.get(CAREFUL) else [],
)
hf = Holdfast(agents=[clerk])


# --- the story -------------------------------------------------------------------------------------------------------


class StoryFailed(Exception):
    pass


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise StoryFailed(what)


@contextmanager
def process(*command: str, **more: str) -> Iterator[str]:
    """A process of the story; its address once it is ready."""
    started = subprocess.Popen(
        [sys.executable, "-m", *command], env={**os.environ, **more}, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    watchdog = threading.Timer(WAIT_S, started.kill)
    watchdog.start()
    try:
        said = next((line for line in started.stdout if " is ready on " in line), "")
        watchdog.cancel()
        demand(bool(said), f"{command[0]} did not start.")
        yield said.split()[-1]
    finally:
        watchdog.cancel()
        started.terminate()
        try:
            started.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            started.kill()
        started.stdout.close()


def server(folder: Path, provider: str, **more: str) -> Any:
    options = ("--no-reload", "--port", "0", "--log-level", "warning")
    database = f"sqlite:///{folder / 'holdfast.db'}"
    return process("holdfast", "dev", __file__, *options, "--database", database, **{PROVIDER: provider}, **more)


def tell(folder: Path) -> None:
    with process("holdfast.demo.provider", "--books", str(folder / "books.db")) as provider:
        with server(folder, provider) as url:
            runs = last_week(url, provider)
            wrong = runs[1]
            look(url, wrong)
            fork = go_back(url, wrong)
            compare(url, wrong, fork)
            settle(provider)
        with server(folder, provider, **{CAREFUL: "1"}) as url:
            test_the_fix(url, runs)
            demand(len(books(provider)) == 4, "A replay should not have paid anything.")


def books(provider: str) -> list[tuple[int, float]]:
    """What was really refunded."""
    return sorted((row["order_id"], row["amount_cents"] / 100) for row in call(f"{provider}/books")["refunds"])


def last_week(url: str, provider: str) -> list[Any]:
    said = [f"My {item} arrived broken." for item in ("tea pot", "kettle", "cups")]
    runs = [call(f"{url}/v1/runs?wait=30", {"agent": "clerk", "input": text}) for text in said]
    print("1. Last week:")
    for text, run in zip(said, runs, strict=True):
        demand(run["status"] == "succeeded", f"A run did not end: {run}")
        print(f"   {text:<32} → {run['output']}")
    print(f"   The provider's books: {books(provider)}. Nobody sent back an espresso machine.")
    return runs


def look(url: str, run: Any) -> None:
    steps = call(f"{url}/v1/runs/{run['id']}/steps")["data"]
    print(
        "2. The steps of the second run:", ", ".join(f"{step['seq']} {step['kind']} {step['name']}" for step in steps)
    )
    state = call(f"{url}/v1/runs/{run['id']}/state?at=2")
    (result,) = state["messages"]["data"][-1]["parts"]
    print(f"   At step 2, {result['name']} had just said: {json.dumps(result['result'])}")
    demand(result["result"]["order_id"] == 8, "The wrong order should be there.")


def go_back(url: str, run: Any) -> Any:
    body = {"at": 2, "edits": {"output": ORDERS["kettle"]}}
    fork = call(f"{url}/v1/runs/{run['id']}/fork?wait=30", body)
    print(f"3. A fork at step 2, with the right order as the tool's result, is {fork['status']}:")
    demand(fork["status"] == "waiting", "What the first run did not do has to be asked for.")
    (asked,) = call(f"{url}/v1/approvals?status=pending")["data"]
    print(f"   {asked['message']}, since {asked['reason']}: {json.dumps(asked['arguments'])}")
    call(f"{url}/v1/approvals/{asked['id']}/resolve", {"decision": "approve"})
    deadline = time.monotonic() + WAIT_S
    while (fork := call(f"{url}/v1/runs/{fork['id']}?wait=30"))["status"] != "succeeded":
        demand(fork["status"] in ("queued", "running", "waiting") and time.monotonic() < deadline, f"It failed: {fork}")
    print(f"   Allowed. It says: {fork['output']}")
    return fork


def compare(url: str, run: Any, fork: Any) -> None:
    found = call(f"{url}/v1/runs/{run['id']}/diff/{fork['id']}")
    first = found["divergence"]
    print(f"4. They differ from step {first['this']['seq']} on, the {', '.join(first['differs'])} of {first['name']}:")
    for side, whose in (("this", "last week"), ("other", "the fork")):
        (made,) = found[f"calls_only_{side}"]["data"]
        print(f"   {whose:<9} called {made['name']} with {json.dumps(made['arguments'])}")
        print(f"   {'':<9} and said: {found[side]['output']}")
    demand(first["this"]["seq"] == 2 and not found["same_output"], "They should differ at the edited step.")


def settle(provider: str) -> None:
    made = books(provider)
    print(f"5. The provider's books: {made}. The fork paid the kettle, and did not pay anything again.")
    demand([order for order, _ in made] == [5, 7, 8, 9], "Each order should be refunded once.")


def test_the_fix(url: str, runs: list[Any]) -> None:
    print("6. The agent is mended. The new code, against the recorded runs:")
    verdicts: list[str] = []
    for run in runs:
        found = call(f"{url}/v1/runs/{run['id']}/replay", {})
        while found["status"] == "pending":
            found = call(f"{url}/v1/runs/{run['id']}/replays/{found['id']}")
        where = f" at step {found['at']}: {found['message']}" if found["verdict"] == "diverged" else ""
        print(f"   {run['id']}: {found['verdict']}{where}")
        if found["difference"]:
            print(f"   now: {found['difference']['requested']!r}")
        verdicts.append(found["verdict"])
    demand(verdicts == ["identical", "diverged", "identical"], f"It should be the second one alone: {verdicts}")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-time-travel-") as folder:
        try:
            tell(Path(folder))
        except (StoryFailed, OSError) as exc:
            print(f"The story failed: {exc}", file=sys.stderr)
            return 1
    print("The right order was refunded, once; and the mistake would not happen again.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
