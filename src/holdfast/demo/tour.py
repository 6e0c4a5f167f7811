"""The tour: the demo's requests as lines to copy, and the same requests made and told by `holdfast demo --once`.

Both come from one table, so what is printed is what is tested. The tour is told from the outside, over HTTP, and may be
taken again and again on the same files: a refund that was made is not made twice, and the desk says so.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx2

from holdfast.demo.shop import DAMAGED_ORDER, DELIVERED_ORDER, OPEN_ORDER, SHIPPED_ORDER
from holdfast.domain.errors import HoldfastError

WAIT_S: Final = 30
REQUEST_S: Final = 60
STOP_S: Final = 120
ENDS: Final = frozenset({"run.succeeded", "run.failed", "run.cancelled"})
SHOWN_CHARS: Final = 110
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stop:
    """One request of the tour: a run to start, answered when it ended or, with `stream`, by its events."""

    title: str
    agent: str
    input: Any
    stream: bool = False

    @property
    def body(self) -> dict[str, Any]:
        return {"agent": self.agent, "input": self.input}

    def path(self) -> str:
        return "/v1/runs" if self.stream else f"/v1/runs?wait={WAIT_S}"

    def curl(self, url: str) -> str:
        accept = " -H 'accept: text/event-stream'" if self.stream else ""
        flags = "-sN" if self.stream else "-s"
        said = shlex.quote(json.dumps(self.body, ensure_ascii=False))
        return f"curl {flags} '{url}{self.path()}'{accept} -H 'content-type: application/json' -d {said}"


ASK: Final = Stop("Chat: the desk looks things up with tools", "support", f"Where is order {SHIPPED_ORDER}?")
REFUND: Final = Stop(
    "A tool that changes the shop", "support", f"Please refund order {DELIVERED_ORDER}, it arrived broken."
)
REDIRECT: Final = Stop("Another", "support", f"Change the address of order {OPEN_ORDER} to 7 Mill Lane, 20457 Hamburg")
HAND_OFF: Final = Stop(
    "A hand-off: triage passes the conversation on to refunds",
    "triage",
    f"I want my money back for order {DAMAGED_ORDER}, one piece is cracked.",
)
RESTOCK: Final = Stop(
    "A workflow as a stream: parallel steps, a sleep, a child agent", "nightly-restock", {}, stream=True
)
STOPS: Final = (ASK, REFUND, REDIRECT, HAND_OFF, RESTOCK)

AT_LEAST_ONCE: Final = """\
A recorded step never runs again. A tool that is killed half way runs again when the run goes on: in this release that
is at-least-once. The shop's tools pass "run id / step key" to the database, which is the same both times, so the
second try finds the first, and a refund is made once. Any tool of yours that changes something should do the same."""


class TourFailed(HoldfastError):
    """The demo did not do what the tour says."""

    code = "tour_failed"


def invitation(url: str, directory: Path) -> str:
    """What to try, as lines that work when copied."""
    lines = ["Try it, in another terminal:"]
    for stop in STOPS:
        lines += ["", f"# {stop.title}", stop.curl(url)]
    lines += [
        "",
        "# What the runs were, and which agents there are",
        f"curl -s '{url}/v1/runs?limit=5'",
        f"curl -s '{url}/v1/agents'",
        "",
        "Then kill this process with -9 while a run is under way, and start the demo again: the run goes on.",
        AT_LEAST_ONCE,
        f"Start over: rm -r {shlex.quote(str(directory))}",
    ]
    return "\n".join(lines)


# --- taking it -------------------------------------------------------------------------------------------------------


async def take(url: str, say: Say) -> None:
    """Make every request of the tour and tell what happens. Raises `TourFailed` if something is not as it should be."""
    async with httpx2.AsyncClient(base_url=url, timeout=REQUEST_S, trust_env=False) as client:
        models = {agent["id"]: agent for agent in (await _get(client, "/v1/agents"))["data"]}
        say(f"\nAgents: {', '.join(sorted(models))}")
        for stop in STOPS:
            say(f"\n## {stop.title}\n→ {stop.agent}: {stop.input if isinstance(stop.input, str) else 'start'}")
            try:
                async with asyncio.timeout(STOP_S):
                    run = await (_follow(client, stop, say) if stop.stream else _ask(client, stop))
                    await _tell(client, stop, run, say)
            except TimeoutError:
                raise TourFailed(f"{stop.agent} did not end within {STOP_S} s.") from None
    say(f"\n{AT_LEAST_ONCE}\n\nThe tour is over: everything worked.")


async def _ask(client: httpx2.AsyncClient, stop: Stop) -> dict[str, Any]:
    answer = await client.post(stop.path(), json=stop.body)
    if answer.status_code != 201:
        raise TourFailed(f"POST {stop.path()} answered {answer.status_code}: {answer.text[:500]}")
    run = answer.json()
    while run["status"] not in ("succeeded", "failed", "cancelled"):
        run = await _get(client, f"/v1/runs/{run['id']}?wait={WAIT_S}")
    return run


async def _follow(client: httpx2.AsyncClient, stop: Stop, say: Say) -> dict[str, Any]:
    """Tell the events as they come; the run when its stream has ended."""
    run_id, ended = "", False
    headers = {"accept": "text/event-stream"}
    async with client.stream("POST", stop.path(), json=stop.body, headers=headers) as answer:
        if answer.status_code not in (200, 201):
            raise TourFailed(f"POST {stop.path()} answered {answer.status_code} instead of a stream.")
        async for type, event in _events(answer):
            run_id = event.get("run_id", run_id)
            ended = ended or type in ENDS
            if type not in ("message.delta", "ping"):
                name = _object(event.get("data")).get("name")
                say(f"  · {type}{f' {name}' if name else ''}")
    if not ended:
        raise TourFailed("The event stream ended before the run did.")
    return await _get(client, f"/v1/runs/{run_id}")


async def _events(answer: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Server-sent events: type and data."""
    type, data = "message", list[str]()
    async for text in answer.aiter_lines():
        name, _, value = text.partition(":")
        if name == "event":
            type = value.strip()
        elif name == "data":
            data.append(value.strip())
        elif not text and data:
            yield type, json.loads("\n".join(data))
            type, data = "message", []


async def _tell(client: httpx2.AsyncClient, stop: Stop, run: dict[str, Any], say: Say) -> None:
    """The run's journal and its answer."""
    if run["status"] != "succeeded":
        raise TourFailed(f"{stop.agent} ended as {run['status']}: {json.dumps(run['error'])}", run_id=run["id"])
    steps = (await _get(client, f"/v1/runs/{run['id']}/steps?limit=200"))["data"]
    if not steps:
        raise TourFailed("The run has no steps.", run_id=run["id"])
    keys = [(step["key"], step["attempt"]) for step in steps]
    if len(set(keys)) != len(keys):
        raise TourFailed("A step was recorded twice.", run_id=run["id"])
    if stop.stream:
        say(f"  {len(steps)} steps in the journal of {run['id']}")
    else:
        for step in steps:
            say(f"  · {step['kind']} {step['name']}{await _result(client, step)}")
    if run["acting_agent"] != stop.agent:
        say(f"  handed over to {run['acting_agent']}")
    elif stop is HAND_OFF:
        raise TourFailed("triage did not hand over to refunds.", run_id=run["id"])
    output = run["output"]
    say(f"← {output if isinstance(output, str) else _object(output).get('summary', json.dumps(output))}")


async def _result(client: httpx2.AsyncClient, step: dict[str, Any]) -> str:
    """What a tool answered, cut to a line."""
    if step["kind"] != "tool":
        return ""
    output = _object((await _get(client, f"/v1/runs/{step['run_id']}/steps/{step['seq']}"))["output"])
    shown = json.dumps(output.get("result", output.get("error")), ensure_ascii=False)
    return f" → {shown if len(shown) <= SHOWN_CHARS else shown[: SHOWN_CHARS - 1] + '…'}"


async def _get(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    if answer.status_code != 200:
        raise TourFailed(f"GET {path} answered {answer.status_code}: {answer.text[:500]}")
    return answer.json()


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
