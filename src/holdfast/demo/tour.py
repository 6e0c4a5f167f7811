"""The tour: the demo's requests as lines to copy, and the same requests made and told by `holdfast demo --once`.

Both come from one table, so what is printed is what is tested. The tour is told from the outside, over HTTP, and may be
taken again and again on the same files: what was refunded is not refunded twice, and the desk says so.
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

from holdfast.demo.desk import EXAMPLE, Demo
from holdfast.demo.people import kept_in
from holdfast.demo.shop import (
    CATERING_ORDER,
    DAMAGED_ORDER,
    DELIVERED_ORDER,
    OPEN_ORDER,
    SHIPPED_ORDER,
    VALUABLE_ORDER,
)
from holdfast.domain.errors import HoldfastError

WAIT_S: Final = 30
REQUEST_S: Final = 60
STOP_S: Final = 120
ENDS: Final = frozenset({"run.succeeded", "run.failed", "run.cancelled"})
SHOWN_CHARS: Final = 110
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says to the question that a run waits with: the admin, or the approver with a key."""

    title: str
    body: dict[str, Any]
    approver: bool = False
    status: int = 200


@dataclass(frozen=True, slots=True)
class Stop:
    """One request of the tour: a run to start, answered when it ended or waits or, with `stream`, by its events."""

    title: str
    agent: str
    input: Any
    stream: bool = False
    words: tuple[Word, ...] = ()

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
MAIL: Final = Stop(
    "A mail: its provider can be asked whether it went out", "support", f"E-mail me about order {SHIPPED_ORDER}."
)
LESS: Final = {"order_id": VALUABLE_ORDER, "amount": "200.00", "reason": "one of three is broken"}
LEAVE: Final = Stop(
    "A refund above 100 euros waits for leave: the run is answered as waiting",
    "support",
    EXAMPLE,
    words=(
        Word(
            "Give leave, but for less: exactly these arguments are executed",
            {"decision": "approve", "arguments": LESS, "note": "Only one of the three is broken."},
        ),
    ),
)
FOUR_EYES: Final = Stop(
    "Above 1,000 euros it takes four eyes",
    "support",
    f"Please refund order {CATERING_ORDER}, all of it arrived broken.",
    words=(
        Word("Who asked may not decide: 403", {"decision": "approve"}, status=403),
        Word("The approver may", {"decision": "approve"}, approver=True),
    ),
)
STOPS: Final = (ASK, REFUND, REDIRECT, HAND_OFF, RESTOCK, MAIL, LEAVE, FOUR_EYES)

AGAIN: Final = f"Please refund 1.50 EUR of order {VALUABLE_ORDER}, it is scratched."
RING: Final = f"Call the courier about order {SHIPPED_ORDER}: ring twice."
JSON: Final = "-H 'content-type: application/json'"

PATH: Final = (
    f"  1. Chat: write to the support desk: {EXAMPLE}",
    "  2. Approve with an edit: the question stands in the chat and in the inbox. Lower the amount there.",
    "  3. Open the run, by its link below the answer: what it said, when, and every step of its journal.",
    "  4. Fork it at a step, as if the shop had answered otherwise, and compare the two.",
    "  5. Replay it: would the code of today do the same?",
)

PROMISE: Final = """\
A recorded step never runs again. What a tool does outside is done once, as far as its provider lets us know: a payment
is repeated under its key, a mail is looked up, and of a call to the courier that was cut off a person is asked."""


class TourFailed(HoldfastError):
    """The demo did not do what the tour says."""

    code = "tour_failed"


def invitation(url: str, demo: Demo) -> str:
    """What to try, as lines that work when copied. The demo has been started."""
    lines = [f"Look around: {url}/ui/", "", *PATH, "", "Or try it in another terminal:"]
    for stop in STOPS:
        lines += ["", f"# {stop.title}", stop.curl(url)]
        if stop is LEAVE:
            lines += ["# The inbox: what waits for people, the oldest first", f"curl -s '{url}{INBOX}'"]
        for word in stop.words:
            lines += [f"# {word.title}", _resolving(url, word, demo.key_file)]
    lines += _outside(url, demo.outside.url)
    lines += [
        "",
        "# What the runs were, and which agents there are",
        f"curl -s '{url}/v1/runs?limit=5'",
        f"curl -s '{url}/v1/agents'",
        *_back_in_time(url),
        "",
        "Then kill this process with -9 while a run is under way, and start the demo again: the run goes on.",
        PROMISE,
        f"The approver's key: {kept_in(demo.key_file)}",
        f"Start over: rm -r {shlex.quote(str(demo.directory.resolve()))}",
    ]
    return "\n".join(lines)


INBOX: Final = "/v1/approvals?status=pending"


def _resolving(url: str, word: Word, key_file: Path) -> str:
    """A line that answers the newest open question."""
    first = f"$(curl -s '{url}{INBOX}&order=desc' | grep -o 'apr_[0-9a-z]*' | head -1)"
    who = f' -H "authorization: Bearer $(cat {shlex.quote(str(key_file))})"' if word.approver else ""
    return f'curl -s "{url}/v1/approvals/{first}/resolve"{who} {JSON} -d {shlex.quote(json.dumps(word.body))}'


def _outside(url: str, provider: str) -> list[str]:
    """Lines that make the provider go wrong, and show what really happened."""
    unknown = f"{url}/v1/effects?status=unknown"
    first = f"$(curl -s '{unknown}' | grep -o 'eff_[0-9a-z]*' | head -1)"
    outcome = shlex.quote(json.dumps({"outcome": "committed", "note": "They say that they were called."}))
    return [
        "",
        "# The payment provider dies right after it paid: the refund is made once, and said to be done",
        _arming(provider, "/refunds"),
        Stop("", "support", AGAIN).curl(url),
        "# The courier's line drops when they were told: nobody can know, so the run waits for a person",
        _arming(provider, "/pickups"),
        Stop("", "support", RING).curl(url),
        f"curl -s '{unknown}'",
        f'curl -s "{url}/v1/effects/{first}/resolve" {JSON} -d {outcome}',
        "# What really happened, from the provider's own books",
        f"curl -s --retry 9 --retry-delay 1 --retry-connrefused '{provider}/books'",
    ]


OTHERWISE: Final[dict[str, Any]] = {"at": 2, "edits": {"output": f"There is no order {SHIPPED_ORDER}."}}


def _back_in_time(url: str) -> list[str]:
    """Lines that look at a run at one of its steps, and go on from there in another way."""
    first = _run_of(f"{url}/v1/runs?agent=support&limit=200", "tail")
    last = _run_of(f"{url}/v1/runs?limit=1", "head")
    return [
        "",
        "# Time travel: where the first chat stood at its second step",
        f'curl -s "{url}/v1/runs/{first}/state?at=2"',
        "# A fork of it: as if the shop had answered otherwise there; the run itself stays as it is",
        f'curl -s "{url}/v1/runs/{first}/fork?wait={WAIT_S}" {JSON} -d {shlex.quote(json.dumps(OTHERWISE))}',
        "# What is different between the two",
        f'curl -s "{url}/v1/runs/{first}/diff/{last}"',
        "# The code of today against what was recorded: no model, no tool, no network",
        f'curl -s -X POST "{url}/v1/runs/{first}/replay"',
    ]


def _run_of(listed: str, which: str) -> str:
    return f"$(curl -s '{listed}' | grep -o '\"id\": *\"run_[0-9a-z]*' | grep -o 'run_.*' | {which} -1)"


def _arming(provider: str, path: str) -> str:
    return f"curl -s '{provider}/control' {JSON} -d {shlex.quote(json.dumps({'path': path, 'fault': 'crash'}))}"


# --- taking it -------------------------------------------------------------------------------------------------------


async def take(url: str, demo: Demo, say: Say) -> None:
    """Make every request of the tour and tell what happens. Raises `TourFailed` if something is not as it should be."""
    async with httpx2.AsyncClient(base_url=url, timeout=REQUEST_S, trust_env=False) as client:
        models = {agent["id"]: agent for agent in (await _get(client, "/v1/agents"))["data"]}
        say(f"\nAgents: {', '.join(sorted(models))}")
        for stop in STOPS:
            say(f"\n## {stop.title}\n→ {stop.agent}: {stop.input if isinstance(stop.input, str) else 'start'}")
            try:
                async with asyncio.timeout(STOP_S):
                    run = await (_follow(client, stop, say) if stop.stream else _ask(client, stop, demo, say))
                    await _tell(client, stop, run, say)
                    if stop is ASK:
                        await _go_back(client, run, say)
            except TimeoutError:
                raise TourFailed(f"{stop.agent} did not end within {STOP_S} s.") from None
    books = await demo.outside.everything()
    say(f"\nThe provider's own books: {', '.join(f'{name}: {len(rows)}' for name, rows in books.items())}")
    say(f"\n{PROMISE}\n\nThe tour is over: everything worked.")


async def _ask(client: httpx2.AsyncClient, stop: Stop, demo: Demo, say: Say) -> dict[str, Any]:
    answer = await client.post(stop.path(), json=stop.body)
    if answer.status_code != 201:
        raise TourFailed(f"POST {stop.path()} answered {answer.status_code}: {answer.text[:500]}")
    run = answer.json()
    if run["status"] == "waiting" and stop.words:
        await _resolve(client, stop, run, demo, say)
    while run["status"] not in ("succeeded", "failed", "cancelled"):
        run = await _get(client, f"/v1/runs/{run['id']}?wait={WAIT_S}")
    return run


async def _resolve(client: httpx2.AsyncClient, stop: Stop, run: dict[str, Any], demo: Demo, say: Say) -> None:
    """Say what there is to say to the question that the run waits with."""
    (asked,) = (await _get(client, f"{INBOX}&run_id={run['id']}"))["data"]
    say(f"  · waiting: {asked['message']}, {asked['reason']}: {json.dumps(asked['arguments'])}")
    for word in stop.words:
        headers = {"authorization": f"Bearer {kept_in(demo.key_file)}"} if word.approver else {}
        answer = await client.post(f"/v1/approvals/{asked['id']}/resolve", json=word.body, headers=headers)
        if answer.status_code != word.status:
            raise TourFailed(f"{word.title}: answered {answer.status_code}: {answer.text[:500]}")
        say(f"  · {word.title} → {answer.status_code} {answer.json().get('code', answer.json().get('status'))}")


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


async def _go_back(client: httpx2.AsyncClient, run: dict[str, Any], say: Say) -> None:
    """Look at the run where its first tool had answered, and go on from there with another answer."""
    path = f"/v1/runs/{run['id']}"
    tools = [step for step in (await _get(client, f"{path}/steps?limit=200"))["data"] if step["kind"] == "tool"]
    if not tools:
        raise TourFailed("The chat called no tool.", run_id=run["id"])
    at = tools[0]["seq"]
    state = await _get(client, f"{path}/state?at={at}")
    say(f"\n## Time travel: at step {at} of {state['last']} the conversation had {state['messages']['total']} messages")
    answer = await client.post(f"{path}/fork?wait={WAIT_S}", json={**OTHERWISE, "at": at})
    if answer.status_code != 201 or answer.json()["status"] != "succeeded":
        raise TourFailed(f"The fork was answered {answer.status_code}: {answer.text[:500]}", run_id=run["id"])
    fork = answer.json()
    say(f"  · a fork, as if {tools[0]['name']} had said: {OTHERWISE['edits']['output']}\n← {fork['output']}")
    found = await _get(client, f"{path}/diff/{fork['id']}")
    say(f"  · they differ from step {found['divergence']['this']['seq']} on")
    if (await _get(client, path))["output"] != run["output"]:
        raise TourFailed("The fork changed the run.", run_id=run["id"])


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
