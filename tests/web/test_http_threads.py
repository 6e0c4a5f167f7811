"""Threads over HTTP: make, look, change, delete; their messages and runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from holdfast.domain import limits
from tests.web.serving import Server


async def test_a_thread_is_made_found_changed_and_deleted(either: Server) -> None:
    made = await either.http.post("/v1/threads", json={"title": "Lamps", "metadata": {"a": 1}, "external_id": "t-1"})
    assert made.status_code == 201
    thread = made.json()
    assert made.headers["location"] == f"/v1/threads/{thread['id']}"
    assert (thread["title"], thread["metadata"], thread["external_id"]) == ("Lamps", {"a": 1}, "t-1")
    assert (thread["status"], thread["head_run_id"], thread["waiting_on"], thread["branch_of"]) == (
        "idle",
        None,
        [],
        None,
    )
    path = made.headers["location"]
    assert (await either.http.get(path)).json() == thread
    renamed = (await either.http.patch(path, json={"title": "Chairs"})).json()
    assert (renamed["title"], renamed["metadata"]) == ("Chairs", {"a": 1}), "what is not given stays"
    cleared = (await either.http.patch(path, json={"title": "", "metadata": {}})).json()
    assert (cleared["title"], cleared["metadata"]) == (None, {})
    assert (await either.http.delete(path)).status_code == 204
    gone = await either.http.get(path)
    assert (gone.status_code, gone.json()["code"]) == (404, "thread_not_found")
    assert (await either.http.delete(path)).status_code == 404


async def test_a_change_that_changes_nothing_leaves_updated_at(either: Server) -> None:
    made = await either.http.post("/v1/threads", json={"title": "Lamps", "metadata": {"a": 1}})
    path = made.headers["location"]
    await either.house.database.write(
        None, lambda tx: tx.execute(text("UPDATE threads SET updated_at = created_at - 1"))
    )
    before = (await either.http.get(path)).json()
    for body in ({}, {"title": None}, {"title": None, "metadata": None}, {"title": "Lamps"}, {"metadata": {"a": 1}}):
        same = await either.http.patch(path, json=body)
        assert (same.status_code, same.json()) == (200, before), body
    changed = (await either.http.patch(path, json={"title": "Chairs", "metadata": None})).json()
    assert (changed["title"], changed["metadata"]) == ("Chairs", {"a": 1}), "null leaves what was there"
    assert changed["updated_at"] >= made.json()["updated_at"] > before["updated_at"]


async def test_a_thread_needs_no_body(server: Server) -> None:
    assert (await server.http.post("/v1/threads")).status_code == 201


async def test_an_external_id_names_one_thread(either: Server) -> None:
    await either.http.post("/v1/threads", json={"external_id": "t"})
    taken = await either.http.post("/v1/threads", json={"external_id": "t"})
    assert (taken.status_code, taken.json()["code"]) == (409, "external_id_taken")
    listed = (await either.http.get("/v1/threads?external_id=t")).json()["data"]
    run = await either.start("echo", 1, thread={"external_id": "t"}, wait=30)
    assert [thread["id"] for thread in listed] == [run["thread_id"]]
    assert (await either.http.get("/v1/threads?external_id=other")).json()["data"] == []


async def test_a_threads_status_is_its_heads(server: Server) -> None:
    run = await server.start("broken", wait=30)
    path = f"/v1/threads/{run['thread_id']}"
    failed = (await server.http.get(path)).json()
    assert (failed["status"], failed["head_run_id"]) == ("error", run["id"])
    waiting = await server.start("sleepy", thread_id=run["thread_id"], wait=30)
    found = (await server.http.get(path)).json()
    assert (found["status"], found["head_run_id"], found["waiting_on"]) == (
        "waiting",
        waiting["id"],
        waiting["waiting_on"],
    )

    async def listed(status: str) -> list[str]:
        return [t["id"] for t in (await server.http.get(f"/v1/threads?status={status}")).json()["data"]]

    assert await listed("waiting") == [run["thread_id"]]
    assert await listed("error") == await listed("idle") == await listed("busy") == []
    await server.http.post(f"/v1/runs/{waiting['id']}/cancel")
    assert await listed("idle") == [run["thread_id"]]


async def test_messages_tell_the_conversation_oldest_first(either: Server) -> None:
    run = await either.start("chat", "A lamp, please.", wait=30)
    path = f"/v1/threads/{run['thread_id']}/messages"
    found = (await either.http.get(path)).json()["data"]
    assert [(m["position"], m["role"], m["step_seq"]) for m in found] == [
        (1, "user", None),
        (2, "assistant", 1),
        (3, "tool", 2),
        (4, "assistant", 3),
        (5, "tool", 4),
        (6, "assistant", 5),
    ]
    assert found[0]["parts"] == [{"type": "text", "text": "A lamp, please."}]
    (call,) = found[1]["parts"]
    (result,) = found[2]["parts"]
    assert (call["type"], call["name"], call["arguments"]) == ("tool_call", "lookup", {"item": "lamp"})
    assert (result["type"], result["call_id"], result["result"]) == ("tool_result", call["call_id"], "lamp is in stock")
    assert found[5]["parts"] == [{"type": "text", "text": "A lamp is yours."}]
    assert {m["status"] for m in found} == {"complete"}
    pages: list[dict[str, Any]] = []
    query = "limit=4"
    while query:
        page = (await either.http.get(f"{path}?{query}")).json()
        pages += page["data"]
        query = f"limit=4&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert pages == found


async def test_a_threads_runs_are_listed_newest_first(server: Server) -> None:
    first = await server.start("echo", 1, wait=30)
    second = await server.start("echo", 2, thread_id=first["thread_id"], wait=30)
    await server.start("echo", 3, wait=30)
    found = (await server.http.get(f"/v1/threads/{first['thread_id']}/runs")).json()["data"]
    assert [run["id"] for run in found] == [second["id"], first["id"]]


async def test_a_thread_with_a_live_run_cannot_be_deleted(either: Server) -> None:
    run = await either.start("sleepy", wait=30)
    path = f"/v1/threads/{run['thread_id']}"
    busy = await either.http.delete(path)
    assert (busy.status_code, busy.json()["code"]) == (409, "thread_busy")
    assert (await either.http.get(f"/v1/runs/{run['id']}")).json()["status"] == "waiting"
    await either.http.post(f"/v1/runs/{run['id']}/cancel")
    assert (await either.http.delete(path)).status_code == 204


async def test_deleting_a_thread_deletes_its_runs_and_their_children(either: Server) -> None:
    run = await either.start("family", wait=30)
    kept = await either.start("family", wait=30)
    children = (await either.http.get(f"/v1/runs/{run['id']}/children")).json()["data"]
    assert len(children) == 2
    assert (await either.http.delete(f"/v1/threads/{run['thread_id']}")).status_code == 204
    for one in [run, *children]:
        assert (await either.http.get(f"/v1/runs/{one['id']}")).status_code == 404
        assert (await either.http.get(f"/v1/runs/{one['id']}/events")).status_code == 404
        assert (await either.http.get(f"/v1/threads/{one['thread_id']}/messages")).status_code == 404
    rest = (await either.http.get("/v1/runs?include_children=true")).json()["data"]
    assert len(rest) == 3
    assert kept["id"] in {one["id"] for one in rest}


async def test_a_child_runs_thread_is_shown_but_belongs_to_its_parent(server: Server) -> None:
    run = await server.start("family", wait=30)
    (child, _) = (await server.http.get(f"/v1/runs/{run['id']}/children")).json()["data"]
    path = f"/v1/threads/{child['thread_id']}"
    assert (await server.http.get(path)).json()["head_run_id"] == child["id"]
    assert [t["id"] for t in (await server.http.get("/v1/threads")).json()["data"]] == [run["thread_id"]]
    for method in ("DELETE", "PATCH"):
        refused = await server.http.request(method, path, json={} if method == "PATCH" else None)
        assert (refused.status_code, refused.json()["code"]) == (409, "thread_hidden")
    into = await server.http.post("/v1/runs", json={"agent": "echo", "thread_id": child["thread_id"]})
    assert into.status_code == 404


async def test_a_thread_shows_the_first_words_of_what_was_asked_first(either: Server) -> None:
    empty = (await either.http.post("/v1/threads")).json()
    later = await either.start("plain", "Not yet.", start_after="2100-01-01T00:00:00Z")
    form = await either.start("order", {"item": "lamp", "count": 2}, wait=30)
    large = await either.start("echo", "large " * 10_000, wait=30)
    huge = await either.start("echo", "huge " * limits.PREVIEW_READ_BYTES_MAX, wait=30)
    first = await either.start("echo", "What is said\n first", wait=30)
    await either.start("echo", "And then.", thread_id=first["thread_id"], wait=30)
    said = (await either.http.get(f"/v1/threads/{first['thread_id']}/messages")).json()["data"]
    made = await either.http.post(
        f"/v1/threads/{first['thread_id']}/edit",
        params={"wait": 30},
        json={"message_id": said[0]["id"], "message": "Said differently."},
    )
    again = await either.http.post(f"/v1/threads/{first['thread_id']}/regenerate", params={"wait": 30})
    listed = {one["id"]: one["preview"] for one in (await either.http.get("/v1/threads")).json()["data"]}
    assert listed == {
        empty["id"]: None,
        later["thread_id"]: "Not yet.",
        form["thread_id"]: "item: lamp, count: 2",
        large["thread_id"]: ("large " * 27)[: limits.PREVIEW_CHARS_MAX - 1] + "…",
        huge["thread_id"]: None,
        first["thread_id"]: "What is said first",
        made.json()["thread_id"]: "Said differently.",
        again.json()["thread_id"]: "And then.",
    }
    for id, preview in listed.items():
        assert (await either.http.get(f"/v1/threads/{id}")).json()["preview"] == preview
    found = (await either.http.get("/v1/threads", params={"agent": "order"})).json()["data"]
    assert [one["preview"] for one in found] == ["item: lamp, count: 2"]
    shown = (await either.http.get(f"/v1/threads/{first['thread_id']}/branches")).json()["data"]
    assert sorted(one["preview"] for one in shown) == ["And then.", "Said differently."]
