"""Deleting threads that branches read: refused, with the branches, or out of sight while they keep what they read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from holdfast.domain import limits
from holdfast.store import blobs, schema
from holdfast.store.base import Tx
from holdfast.web import api
from tests.web.serving import Server
from tests.web.test_http_forks import chatted, fork, listed, post

LONG = "A lamp, please. " + "y" * limits.PAYLOAD_INLINE_BYTES_MAX


async def delete(server: Server, run: Mapping[str, Any], branches: str | None = None) -> tuple[int, str | None]:
    query = {} if branches is None else {"branches": branches}
    answer = await server.http.delete(f"/v1/threads/{run['thread_id']}", params=query)
    return answer.status_code, answer.json()["code"] if answer.content else None


async def rows(server: Server) -> dict[str, int]:
    """How many rows there are of what belongs to threads."""
    tables = [t for t in schema.metadata.sorted_tables if {"run_id", "thread_id"} & set(t.c.keys())]

    async def body(tx: Tx) -> dict[str, int]:
        return {t.name: len(await tx.all(select(t.c.tenant_id))) for t in (*tables, schema.threads)}

    return {name: count for name, count in (await server.house.database.read(None, body)).items() if count}


async def told(server: Server, run: dict[str, Any]) -> dict[str, Any]:
    """All that can be read of a run and its thread, but what the thread is called."""
    steps = await listed(server, f"/v1/runs/{run['id']}/steps", 50)
    return {
        "run": (await server.http.get(f"/v1/runs/{run['id']}")).json(),
        "steps": [(await server.http.get(f"/v1/runs/{run['id']}/steps/{s['seq']}")).json() for s in steps],
        "prompts": [
            (await server.http.get(f"/v1/runs/{run['id']}/steps/{s['seq']}/prompt")).json()
            for s in steps
            if s["kind"] == "model"
        ],
        "messages": await listed(server, f"/v1/threads/{run['thread_id']}/messages", 50),
        "events": [(e.id, e.type, e.data) for e in await server.events(f"/v1/runs/{run['id']}/events")],
        "state": (await server.http.get(f"/v1/runs/{run['id']}/state")).json(),
        "at 2": (await server.http.get(f"/v1/runs/{run['id']}/state?at=2")).json(),
    }


async def test_a_thread_with_branches_is_not_deleted_by_accident(either: Server) -> None:
    run = await chatted(either)
    made = await fork(either, run, {"at": 3})
    await fork(either, made, {"at": 5})
    answer = await either.http.delete(f"/v1/threads/{run['thread_id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "has_branches")
    assert "2 branches read this thread" in answer.json()["detail"]
    assert "branches=copy" in answer.json()["detail"]
    assert (await either.http.get(f"/v1/runs/{run['id']}")).status_code == 200
    bad = await delete(either, run, "perhaps")
    assert bad == (422, "invalid_request")


async def test_branches_can_go_with_the_thread_at_any_depth(either: Server) -> None:
    kept = await chatted(either)
    before = await rows(either)
    run = await chatted(either)
    made = [await fork(either, run, {"at": 3}), await fork(either, run, {"at": 0})]
    made.append(await fork(either, made[0], {"at": 5}))
    assert await delete(either, run, "delete") == (204, None)
    for one in (run, *made):
        assert (await either.http.get(f"/v1/runs/{one['id']}")).status_code == 404
        assert (await either.http.get(f"/v1/threads/{one['thread_id']}")).status_code == 404
    assert await rows(either) == before
    assert (await either.http.get(f"/v1/runs/{kept['id']}")).json() == kept


async def test_nothing_is_deleted_while_a_run_of_a_branch_is_alive(either: Server) -> None:
    run = await either.start("sleepy", wait=30)
    made = await fork(either, run, {"at": 0})
    await either.http.post(f"/v1/runs/{run['id']}/cancel")
    before = await rows(either)
    assert await delete(either, run, "delete") == (409, "thread_busy")
    assert await rows(either) == before
    assert await delete(either, run, "copy") == (204, None)  # the fork goes on with what it has
    assert (await either.settled(made["id"]))["status"] == "waiting"
    await either.http.post(f"/v1/runs/{made['id']}/cancel")
    assert await delete(either, made) == (204, None)
    assert await rows(either) == {}


async def test_branches_keep_what_they_read_and_the_rest_is_gone(either: Server) -> None:
    run = await either.start("chat", LONG, wait=30)
    secret = await either.start("chat", f"secret {LONG}", wait=30, thread_id=run["thread_id"])
    child = await fork(either, run, {"at": 3, "edits": {"output": "I would rather not."}})
    deeper = await fork(either, child, {"at": 3, "edits": {"output": "Never."}})
    later = await either.start("chat", "And another.", wait=30, thread_id=child["thread_id"])
    branches = (child, deeper, later)
    before = [await told(either, one) for one in branches]
    title = {"title": "Lamps", "metadata": {"x": 1}}
    assert (await either.http.patch(f"/v1/threads/{run['thread_id']}", json=title)).status_code == 200
    assert await delete(either, run, "copy") == (204, None)

    async def age(tx: Tx) -> None:
        await tx.execute(schema.blobs.update().values(touched_at=1))
        await blobs.collect(tx)

    await either.house.database.write(None, age)
    assert [await told(either, one) for one in branches] == before

    async def left(tx: Tx) -> list[Any]:
        found: list[Any] = []
        for table in schema.metadata.sorted_tables:
            if table.name != "idempotency_keys":
                found += await tx.all(select(table))
        return found

    everything = repr([tuple(row) for row in await either.house.database.read(None, left)])
    assert "secret" not in everything
    assert "Lamps" not in everything
    assert (await either.http.get(f"/v1/runs/{secret['id']}")).status_code == 404
    assert await delete(either, child, "copy") == (204, None)
    assert await told(either, deeper) == before[1]
    assert await delete(either, deeper) == (204, None)
    assert await rows(either) == {}, "the last branch takes along what was kept for it"


async def test_deleting_a_branch_leaves_what_it_read(either: Server) -> None:
    run = await chatted(either)
    before = await told(either, run)
    made = await fork(either, run, {"at": 3})
    assert await delete(either, made) == (204, None)
    assert await told(either, run) == before
    assert await delete(either, run) == (204, None)
    assert await rows(either) == {}


async def test_a_fork_of_a_child_run_is_a_branch_of_what_called_it(either: Server) -> None:
    run = await either.start("family", wait=30)
    (child, _) = (await either.http.get(f"/v1/runs/{run['id']}/children")).json()["data"]
    made = await fork(either, child, {"at": 0})
    assert await delete(either, run) == (409, "has_branches")
    assert await delete(either, run, "copy") == (204, None)
    assert (await either.settled(made["id"]))["output"] == child["output"]
    assert [one["id"] for one in await listed(either, "/v1/runs?include_children=true", 50)] == [made["id"]]
    assert await delete(either, made) == (204, None)
    assert await rows(either) == {}


async def test_what_a_branch_shows_can_be_said_differently_after_its_source_is_gone(either: Server) -> None:
    run = await chatted(either)
    more = await either.start("chat", "Another lamp.", wait=30, thread_id=run["thread_id"])
    made = await fork(either, more, {"at": 3})
    assert await delete(either, run, "copy") == (204, None)
    thread = f"/v1/threads/{made['thread_id']}"
    shown = await listed(either, f"{thread}/messages", 50)
    assert len(shown) == 12
    wait = {"params": {"wait": 30}}
    for place in (0, 6):
        body = {"message_id": shown[place]["id"], "message": "A chair."}
        edited = await post(either, f"{thread}/edit", body, **wait)
        assert (edited.status_code, edited.json()["input"]) == (201, "A chair."), edited.text
    for place in (1, 3, 5, 7, 11):
        again = await post(either, f"{thread}/regenerate", {"message_id": shown[place]["id"]}, **wait)
        assert again.status_code == 201, again.text
        spoken = await listed(either, f"/v1/threads/{again.json()['thread_id']}/messages", 50)
        assert (
            spoken[:place] == [{**m, "thread_id": s["thread_id"]} for m, s in zip(shown, spoken, strict=False)][:place]
        )
    direct = await post(either, f"/v1/runs/{more['id']}/fork", {"at": 1})
    assert (direct.status_code, direct.json()["code"]) == (404, "run_not_found")
    assert await delete(either, made, "copy") == (204, None)
    for one in (await either.http.get("/v1/threads?limit=200")).json()["data"]:
        await either.http.get(f"/v1/runs/{one['head_run_id']}", params={"wait": 30})
        for asked in await either.pending(one["head_run_id"]):
            await either.http.post(f"/v1/runs/{asked['run_id']}/cancel")
        assert await delete(either, {"thread_id": one["id"]}) == (204, None)
    assert await rows(either) == {}


async def test_every_route_is_blind_to_a_deleted_thread_and_its_runs(either: Server) -> None:
    run, question = await either.asked("cashier", "go")
    await either.resolve(question, "approve")
    run = await either.settled(run["id"])
    (effect,) = (await either.http.get("/v1/effects", params={"run_id": run["id"]})).json()["data"]
    made = await fork(either, run, {"at": run["steps"]})
    named = {"external_id": "mine"}
    other = await either.start("echo", 1, wait=30, thread_id=run["thread_id"], **named)
    assert await delete(either, run, "copy") == (204, None)
    ids = {
        "run_id": run["id"],
        "thread_id": run["thread_id"],
        "approval_id": question["id"],
        "effect_id": effect["id"],
        "other_id": made["id"],
        "seq": "1",
    }
    walked = 0
    for route in api.routes_of(either.app):
        wanted = set(re.findall(r"{(\w+)}", route.path))
        if not wanted or "GET" not in route.methods or not wanted <= ids.keys():
            continue
        answer = await either.http.get(route.path.format_map(ids))
        assert answer.status_code == 404, (route.path, answer.text)
        walked += 1
    assert walked >= 15
    swapped = await either.http.get(f"/v1/runs/{made['id']}/diff/{run['id']}")
    assert swapped.status_code == 404
    for path in (
        f"/v1/runs?thread_id={run['thread_id']}",
        f"/v1/runs?parent_id={run['id']}&include_children=true",
        "/v1/runs?external_id=mine",
        f"/v1/effects?run_id={run['id']}",
        f"/v1/approvals?run_id={run['id']}",
        "/v1/effects?tool=refund",
        "/v1/approvals?tool=refund",
    ):
        assert (await either.http.get(path)).json()["data"] == [], path
    assert [one["id"] for one in await listed(either, "/v1/runs", 50)] == [made["id"]]
    assert [one["id"] for one in await listed(either, "/v1/threads", 50)] == [made["thread_id"]]
    for verb in ("cancel", "retry", "replay", "fork"):
        body = {"at": 1} if verb == "fork" else {}
        answer = await either.http.post(f"/v1/runs/{run['id']}/{verb}", json=body)
        assert answer.status_code == 404, (verb, answer.text)
    for method, path, body in (
        ("PATCH", f"/v1/threads/{run['thread_id']}", {"title": "x"}),
        ("DELETE", f"/v1/threads/{run['thread_id']}", None),
        ("POST", "/v1/runs", {"agent": "echo", "input": 1, "thread_id": run["thread_id"]}),
        ("POST", f"/v1/threads/{run['thread_id']}/regenerate", {}),
        ("POST", f"/v1/approvals/{question['id']}/resolve", {"decision": "approve"}),
        ("POST", f"/v1/effects/{effect['id']}/resolve", {"outcome": "not_done"}),
    ):
        answer = await either.http.request(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    again = await either.start("echo", 2, wait=30, **named)
    assert again["external_id"] == other["external_id"] == "mine"
    step = (await either.http.get(f"/v1/runs/{made['id']}/steps")).json()["data"]
    assert any(s["effect"] for s in step), "the branch still says what was done"
