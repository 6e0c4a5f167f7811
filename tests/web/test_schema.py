"""The OpenAPI document against the server: whatever it allows, and much that it does not, is answered as documented."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from holdfast.service.access import Auth
from holdfast.service.house import House
from holdfast.store.base import Database
from holdfast.web import api
from tests.web.serving import ADMIN, PEPPER, Server, serving

EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def document() -> dict[str, Any]:
    house = House(database=cast(Database, None), hub=cast(Any, None), agents={})
    made = api.build(house, auth=Auth(house, pepper=PEPPER)).openapi()
    # Each request brings a valid key of ours; wrong ones have their own tests.
    components = {name: part for name, part in made["components"].items() if name != "securitySchemes"}
    return {**made, "components": components, "security": []}


# A stream does not end by itself: it is not for a client that waits for the end of its answers.
STREAMS = {"/v1/runs/{run_id}/events", "/v1/threads/{thread_id}/events", "/v1/changes"}
# Nor is a file of lines: `test_http_replays.py` sends whole and spoilt ones.
FILES = {"/v1/runs/import"}
SCHEMA = schemathesis.openapi.from_dict(document()).exclude(path=sorted(STREAMS | FILES))
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
TRIALS = [
    (label, mode)
    for label, operation in sorted(OPERATIONS.items())
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or operation.body or operation.query or operation.headers
]


@dataclass
class Live:
    url: str
    ids: dict[str, list[str]]
    token: str


@pytest.fixture(scope="module")
def live(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server in a thread of its own, with runs to be found."""
    path = tmp_path_factory.mktemp("schema") / "holdfast.db"
    path.write_bytes(sqlite_template.read_bytes())
    ready: list[tuple[Live, asyncio.AbstractEventLoop, asyncio.Event]] = []
    began = threading.Event()

    async def serve() -> None:
        stop = asyncio.Event()
        async with serving(f"sqlite:///{path}") as server:
            started = [("chat", "Hi."), ("family", None), ("broken", None), ("sleepy", None)]
            made = [await server.start(agent, input, wait=30) for agent, input in started]
            held = [await held_by(server) for _ in range(HELD)]
            said = await server.http.get(f"/v1/threads/{made[0]['thread_id']}/messages")
            spare = [await server.start("echo", n, wait=30) for n in range(3)]
            ids = {
                "run_id": [run["id"] for run in made],
                "other_id": [run["id"] for run in made],
                "thread_id": [run["thread_id"] for run in made],
                "agent_id": ["echo", "chat", "order"],
                "version": [server.house.agents[id].version for id in ("echo", "chat", "order")],
                "replay_id": [await replay_of(server, run) for run in made],
                "approval_id": [approval for approvals, _ in held for approval in approvals],
                "effect_id": [effect for _, effect in held],
                "name": ["lookup"],
                "message_id": [message["id"] for message in said.json()["data"]],
                "seq": ["1", "2"],
                "deleted": [run["thread_id"] for run in spare],
            }
            token = (await server.auth.create_key(ADMIN, "schema")).token
            ready.append((Live(server.url, ids, token), asyncio.get_running_loop(), stop))
            began.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert began.wait(30), "the server did not start"
    found, loop, stop = ready[0]
    yield found
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()


async def replay_of(server: Server, run: dict[str, Any]) -> str:
    answer = await server.http.post(f"/v1/runs/{run['id']}/replay")
    return answer.json()["id"]


HELD = 8


async def held_by(server: Server) -> tuple[list[str], str]:
    """Questions of each type, one answered, and an effect of which nobody knows."""
    asked = [(await server.asked(*one))[1] for one in (("cashier", "Hi."), ("asker", {}), ("picker", "Hi."))]
    _, answered = await server.asked("asker", {})
    await server.resolve(answered, "answer", answer=1)
    server.till.courier_is_lost = True
    _, lost = await server.asked("couriers", {"order": "7", "amount": 5})
    return [one["id"] for one in (*asked, answered, lost)], lost["effect_id"]


def fill(case: schemathesis.Case, live: Live, dice: random.Random, mode: GenerationMode) -> None:
    """Put what exists into most of the places where the generator can only guess. Numbers that are wrong on purpose
    stay wrong."""
    for name in case.path_parameters:
        known = live.ids["deleted" if case.method == "DELETE" else name]
        if dice.random() < 0.7 and not (name == "seq" and mode is GenerationMode.NEGATIVE):
            case.path_parameters[name] = dice.choice(known)
    if "replay_id" in case.path_parameters and dice.random() < 0.7:  # it is of one run only
        chosen = dice.choice(list(zip(live.ids["run_id"], live.ids["replay_id"], strict=True)))
        case.path_parameters["run_id"], case.path_parameters["replay_id"] = chosen
    if isinstance(case.query.get("at"), int) and dice.random() < 0.7:
        case.query["at"] = dice.choice([0, 1])
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("message_id"), str) and dice.random() < 0.7:
        case.path_parameters["thread_id"] = live.ids["thread_id"][0]
        known = live.ids["message_id"]  # what a user said is the first
        body["message_id"] = known[0] if case.path.endswith("/edit") else dice.choice(known)
    if isinstance(body, dict) and "message" in body and dice.random() < 0.7:
        body["message"] = "Say it differently."
    if isinstance(body, dict) and "agent" in body and dice.random() < 0.7:
        body["agent"] = dice.choice(["echo", "many", "chat"])
        body.pop("thread_id", None)
        body.pop("thread", None)
        body.pop("on_disconnect", None)


def simplify(case: schemathesis.Case, live: Live, dice: random.Random) -> None:
    """What is allowed, and would only take time, or never find what it names."""
    if case.query.get("wait"):
        case.query["wait"] = 0.01
    if isinstance(case.body, dict) and "api_key" in case.body:
        case.body["api_key"] = live.token
    if isinstance(case.body, dict) and "decision" in case.body and dice.random() < 0.7:
        for member in ("version", "arguments"):
            case.body.pop(member, None)


@pytest.mark.parametrize(("label", "mode"), TRIALS)
def test_whatever_is_sent_is_answered_as_documented(live: Live, label: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[label]
    dice = random.Random(label)
    statuses: set[int] = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def tried(case: schemathesis.Case) -> None:
        fill(case, live, dice, mode)
        if mode is GenerationMode.POSITIVE:
            simplify(case, live, dice)
        response = case.call(
            base_url=live.url, timeout=30, headers={"Authorization": f"Bearer {live.token}", "Origin": live.url}
        )
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    tried()
    assert 401 not in statuses
    if mode is GenerationMode.POSITIVE:
        assert any(status < 400 for status in statuses), statuses


def test_every_operation_is_tried_but_streams_and_files() -> None:
    paths = document()["paths"]
    streams = {p for p, verbs in paths.items() if "text/event-stream" in str(verbs.get("get", {}).get("responses"))}
    assert streams == STREAMS
    assert len(OPERATIONS) == sum(len(verbs) for verbs in paths.values()) - len(streams | FILES)
