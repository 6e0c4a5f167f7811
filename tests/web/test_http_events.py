"""Events from outside over HTTP: kept once, early or late, and given to each run that waits."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.web.serving import ADMIN, Server, outsider


async def send(server: Server, body: dict[str, Any], **more: Any) -> httpx.Response:
    return await server.http.post("/v1/events", json=body, **more)


def refused(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text


async def test_an_event_wakes_the_runs_that_wait_for_it(either: Server) -> None:
    runs = [await either.start("paid", "order-7", wait=30) for _ in range(2)]
    other = await either.start("paid", "order-8", wait=30)
    sent = await send(either, {"name": "paid", "key": "order-7", "data": {"amount": 5}})
    assert sent.status_code == 202
    event = sent.json()
    assert event["id"].startswith("evt_")
    assert {name: event[name] for name in ("name", "key", "external_id", "data", "runs")} == {
        "name": "paid",
        "key": "order-7",
        "external_id": None,
        "data": {"amount": 5},
        "runs": 2,
    }
    for run in runs:
        assert (await either.settled(run["id"]))["output"] == {"amount": 5}
    assert (await either.settled(other["id"]))["status"] == "waiting"


async def test_an_event_may_come_before_a_run_waits_for_it(either: Server) -> None:
    """A run takes what arrived since it was created, also while it was still busy with something else."""
    run = await either.start("paid_twice", "order-7", wait=30)
    first = await send(either, {"name": "paid", "key": "order-7", "data": 1})
    second = await send(either, {"name": "paid", "key": "order-7", "data": 2})
    assert first.json()["runs"] == 1
    assert second.json()["id"] != first.json()["id"]
    assert (await either.settled(run["id"]))["output"] == [1, 2]
    late = await send(either, {"name": "paid", "key": "order-7", "data": 3})
    assert (late.status_code, late.json()["runs"]) == (202, 0), "it is kept, for those that will wait"


async def test_an_event_that_is_sent_twice_is_one(either: Server) -> None:
    run = await either.start("paid_twice", "order-7", wait=30)
    body = {"name": "paid", "key": "order-7", "data": {"a": 1, "b": 2}, "id": "hook-1"}
    first = await send(either, body)
    again = await send(either, {**body, "data": {"b": 2, "a": 1}})
    assert (first.status_code, again.status_code) == (202, 202)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert {**again.json(), "runs": 1} == first.json()
    assert first.json()["external_id"] == "hook-1"
    assert (await either.settled(run["id"]))["status"] == "waiting", "it has had this one"
    for other in ({**body, "data": 3}, {**body, "key": "order-8"}, {**body, "name": "refunded"}):
        refused(await send(either, other), 409, "event_conflict")


async def test_the_same_key_answers_the_same(either: Server) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await send(either, {"name": "paid", "data": 1}, headers=headers)
    again = await send(either, {"name": "paid", "data": 1}, headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]
    refused(await send(either, {"name": "paid", "data": 2}, headers=headers), 409, "idempotency_conflict")


async def test_an_event_without_a_key_is_for_waits_without_one(either: Server) -> None:
    for body in ({"name": "paid"}, {"name": "paid", "key": None}, {"name": "paid", "key": ""}):
        sent = (await send(either, body)).json()
        assert (sent["key"], sent["data"], sent["runs"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"name": "  "}, "invalid_event"),
        ({"name": 7}, "invalid_request"),
        ({"name": "n" * 256}, "invalid_request"),
        ({"name": "paid", "key": "k" * 256}, "invalid_request"),
        ({"name": "paid", "key": 7}, "invalid_request"),
        ({"name": "paid", "id": ""}, "invalid_request"),
        ({"name": "paid", "id": "i" * 256}, "invalid_request"),
        ({"name": "paid", "run_id": "run_x"}, "invalid_request"),
        ({"name": "pa\x00id"}, "not_encodable"),
    ],
)
async def test_an_event_that_does_not_fit_is_refused(server: Server, body: dict[str, Any], code: str) -> None:
    refused(await send(server, body), 422, code)


async def test_events_stay_within_their_tenant(either: Server) -> None:
    run = await either.start("paid", "order-7", wait=30)
    stranger = await outsider(either)
    body = {"name": "paid", "key": "order-7", "id": "hook-1"}
    theirs = await send(either, body, headers=stranger.headers)
    assert (theirs.status_code, theirs.json()["runs"]) == (202, 0)
    admin = {"Authorization": f"Bearer {(await either.auth.create_key(ADMIN, 'admin')).token}"}
    assert (await either.settled(run["id"], admin))["status"] == "waiting"
    ours = await send(either, body, headers=admin)
    assert (ours.json()["runs"], "idempotency-replayed" in ours.headers) == (1, False)


async def test_a_credential_without_the_scope_sends_nothing(server: Server) -> None:
    made = await server.auth.create_key(ADMIN, "reader", scopes=["runs:write", "approvals:write"])
    sent = await send(server, {"name": "paid"}, headers={"Authorization": f"Bearer {made.token}"})
    refused(sent, 403, "forbidden")


async def test_fifty_sendings_of_one_event_are_one(either: Server) -> None:
    run = await either.start("paid_twice", "order-7", wait=30)
    body = {"name": "paid", "key": "order-7", "data": 1, "id": "hook-1"}
    answers = await asyncio.gather(*(send(either, body) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert (await either.settled(run["id"]))["status"] == "waiting", "it has had one event, and waits for the second"


async def test_fifty_events_with_one_id_leave_one(either: Server) -> None:
    bodies = [{"name": f"paid-{n % 5}", "data": n, "id": "hook-1"} for n in range(50)]
    answers = await asyncio.gather(*(send(either, body) for body in bodies))
    (won,) = [answer for answer in answers if answer.status_code == 202]
    for lost in (answer for answer in answers if answer is not won):
        refused(lost, 409, "event_conflict")
