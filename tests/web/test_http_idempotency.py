"""Idempotency-Key on every POST: the same again does nothing and answers the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.web import api
from tests.web.serving import ADMIN, Server, parsed

KEY = {"Idempotency-Key": "k-1"}


async def test_a_repeated_start_answers_with_the_run_as_it_is_now(either: Server) -> None:
    body = {"agent": "echo", "input": {"a": 1, "b": 2}}
    first = await either.http.post("/v1/runs", json=body, headers=KEY)
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    await either.settled(first.json()["id"])
    again = await either.http.post("/v1/runs", json={"input": {"b": 2, "a": 1}, "agent": "echo"}, headers=KEY)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "succeeded")
    assert len((await either.http.get("/v1/runs")).json()["data"]) == 1


async def test_many_at_once_start_one_run(either: Server) -> None:
    body = {"agent": "echo", "input": 1}
    answers = await asyncio.gather(*(either.http.post("/v1/runs", json=body, headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_another_body_with_the_same_key_is_a_conflict(either: Server) -> None:
    await either.http.post("/v1/runs", json={"agent": "echo", "input": 1}, headers=KEY)
    other = await either.http.post("/v1/runs", json={"agent": "echo", "input": 2}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_key_belongs_to_its_principal_and_its_route(server: Server) -> None:
    first = await server.http.post("/v1/threads", json={}, headers=KEY)
    run = await server.http.post("/v1/runs", json={"agent": "sleepy"}, headers=KEY)
    assert (first.status_code, run.status_code) == (201, 201)
    assert "idempotency-replayed" not in run.headers
    made = await server.auth.create_key(ADMIN, "somebody else")
    headers = {**KEY, "Authorization": f"Bearer {made.token}"}
    theirs = await server.http.post("/v1/threads", json={}, headers=headers)
    assert theirs.json()["id"] != first.json()["id"]


async def test_a_request_that_was_refused_does_not_use_the_key_up(server: Server) -> None:
    wrong = await server.http.post("/v1/runs", json={"agent": "order", "input": 1}, headers=KEY)
    assert wrong.status_code == 422
    right = await server.http.post(
        "/v1/runs", json={"agent": "order", "input": {"item": "lamp", "count": 1}}, headers=KEY
    )
    assert right.status_code == 201


async def test_a_repeated_stream_is_the_same_runs_stream(server: Server) -> None:
    headers = {**KEY, "Accept": "text/event-stream"}
    told: list[list[Any]] = []
    for _ in range(2):
        async with server.http.stream(
            "POST", "/v1/runs", json={"agent": "many", "input": 3}, headers=headers
        ) as response:
            assert response.status_code == 201
            told.append([event async for event in parsed(response) if event.id is not None])
            replayed = response.headers.get("idempotency-replayed")
    assert replayed == "true"
    assert told[0] == told[1]


async def test_a_repeated_thread_is_the_first_one(either: Server) -> None:
    first = await either.http.post("/v1/threads", json={"title": "one"}, headers=KEY)
    await either.http.patch(f"/v1/threads/{first.json()['id']}", json={"title": "two"})
    again = await either.http.post("/v1/threads", json={"title": "one"}, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (again.json()["id"], again.json()["title"]) == (first.json()["id"], "two"), "the thread as it is now"


async def test_a_repeated_cancel_answers_with_the_first_status_code(either: Server) -> None:
    run = await either.start("gated", "g")
    await either.desk.reached("g").wait()
    path = f"/v1/runs/{run['id']}/cancel"
    first = await either.http.post(path, json={"reason": "enough"}, headers=KEY)
    assert first.status_code == 202
    await either.settled(run["id"])
    again = await either.http.post(path, json={"reason": "enough"}, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["status"] == "cancelled"
    fresh = await either.http.post(path, json={"reason": "enough"}, headers={"Idempotency-Key": "k-2"})
    assert fresh.status_code == 200
    replayed = await either.http.post(path, json={"reason": "enough"}, headers={"Idempotency-Key": "k-2"})
    assert (replayed.status_code, replayed.headers["idempotency-replayed"]) == (200, "true")


async def test_a_repeated_retry_queues_the_run_once(either: Server) -> None:
    run = await either.start("broken", wait=30)
    path = f"/v1/runs/{run['id']}/retry"
    first = await either.http.post(path, json={}, headers=KEY)
    assert first.status_code == 202
    failed = await either.settled(run["id"])
    assert failed["status"] == "failed"
    again = await either.http.post(path, json={}, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["status"] == "failed", "as it is now: it was not queued a second time"
    events = await either.events(f"/v1/runs/{run['id']}/events")
    assert [event.type for event in events].count("run.retried") == 1


@pytest.mark.parametrize("key", ["", "ä", "x" * 256, "tab\tinside"])
async def test_a_key_is_at_most_255_printable_characters(server: Server, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    response = await server.http.post("/v1/runs", json={"agent": "echo"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_a_key_of_255_characters_is_a_key(server: Server) -> None:
    headers = {"Idempotency-Key": "x" * 255}
    first = await server.http.post("/v1/runs", json={"agent": "echo"}, headers=headers)
    again = await server.http.post("/v1/runs", json={"agent": "echo"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]


async def test_every_post_takes_a_key(server: Server) -> None:
    document = server.app.openapi()
    posts = [route.path for route in api.routes_of(server.app) if "POST" in route.methods]
    posts.remove("/v1/session")  # it writes nothing: once more is as good as once
    assert len(posts) >= 4
    for path in posts:
        names = {parameter["name"] for parameter in document["paths"][path]["post"]["parameters"]}
        assert "Idempotency-Key" in names, path
