"""Runs over HTTP, on each database where it matters: starting, looking, waiting, stopping, going on."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.web.serving import Server, serving

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_started_run_is_created_and_can_be_found_where_the_answer_says(either: Server) -> None:
    response = await either.http.post(
        "/v1/runs",
        json={
            "agent": "echo",
            "input": {"a": [1, 2.5, None, "ü"]},
            "external_id": "mine-1",
            "metadata": {"k": "v"},
            "tags": ["x", "y", "x"],
            "limits": {"steps_max": 7},
        },
    )
    assert response.status_code == 201
    run = response.json()
    assert response.headers["location"] == f"/v1/runs/{run['id']}"
    assert (run["external_id"], run["metadata"], run["tags"]) == ("mine-1", {"k": "v"}, ["x", "y"])
    assert run["limits"] == {"steps_max": 7}
    found = await either.settled(run["id"])
    assert (found["status"], found["phase"], found["input"]) == ("succeeded", "ended", {"a": [1, 2.5, None, "ü"]})
    assert found["output"] == found["input"]
    assert found["error"] is None
    assert all(TIME.fullmatch(found[name]) for name in ("created_at", "started_at", "ended_at"))


async def test_wait_holds_the_answer_until_the_run_has_ended(either: Server) -> None:
    run = await either.start("chat", "A lamp, please.", wait=30)
    assert (run["status"], run["output"], run["steps"]) == ("succeeded", "A lamp is yours.", 5)
    assert run["usage"]["requests"] == 3
    again = await either.http.get(f"/v1/runs/{run['id']}")
    assert again.json() == run, "what wait answers is what is read later"


async def test_wait_answers_when_its_time_is_up_though_the_run_goes_on(server: Server) -> None:
    response = await server.http.post("/v1/runs?wait=0.05", json={"agent": "gated", "input": "g"})
    assert response.json()["status"] == "running"
    server.desk.gate("g").set()
    assert (await server.settled(response.json()["id"]))["output"] == "g"


async def test_wait_answers_when_the_run_waits(server: Server) -> None:
    run = await server.start("sleepy", wait=30)
    assert (run["status"], run["phase"]) == ("waiting", "waiting")
    (wait,) = run["waiting_on"]
    assert wait["type"] == "timer"
    due_at = datetime.fromisoformat(wait["due_at"])
    assert timedelta(hours=23) < due_at - datetime.now(UTC) < timedelta(hours=25)
    assert run["wake_at"] == wait["due_at"]


async def test_a_run_of_an_agent_without_input_takes_null(server: Server) -> None:
    run = await server.start("family", None, wait=30)
    assert run["output"] == [1, 2]


async def test_a_run_waits_its_turn_behind_the_one_that_holds_its_thread(server: Server) -> None:
    first = await server.start("gated", "one", thread={"external_id": "t", "create": True})
    second = await server.start("echo", 2, thread_id=first["thread_id"])
    assert (second["status"], second["phase"], second["queue_position"]) == ("queued", "behind", 1)
    assert second["waiting_on"] == [{"type": "run", "id": first["id"]}]
    assert second["on_busy_applied"] == "enqueue"
    server.desk.gate("one").set()
    assert (await server.settled(second["id"]))["status"] == "succeeded"


async def test_wait_answers_at_once_behind_a_run_that_waits(server: Server) -> None:
    holder = await server.start("sleepy", wait=30)
    async with asyncio.timeout(10):
        second = await server.start("echo", 1, thread_id=holder["thread_id"], wait=30)
    assert second["status"] == "queued"


async def test_a_busy_thread_rejects_when_asked_to(server: Server) -> None:
    holder = await server.start("sleepy", wait=30)
    response = await server.http.post(
        "/v1/runs", json={"agent": "echo", "thread_id": holder["thread_id"], "on_busy": "reject"}
    )
    assert (response.status_code, response.json()["code"]) == (409, "thread_busy")


async def test_interrupt_cancels_the_holder_and_goes_on(server: Server) -> None:
    holder = await server.start("sleepy", wait=30)
    run = await server.start("echo", 5, thread_id=holder["thread_id"], on_busy="interrupt", wait=30)
    assert (run["status"], run["on_busy_applied"]) == ("succeeded", "interrupt")
    assert (await server.settled(holder["id"]))["status"] == "cancelled"


async def test_rollback_hides_what_the_holder_said(server: Server) -> None:
    holder = await server.start("gated", "held")
    await server.desk.reached("held").wait()
    run = await server.start("echo", "after", thread_id=holder["thread_id"], on_busy="rollback", wait=30)
    assert (run["status"], run["on_busy_applied"]) == ("succeeded", "rollback")
    messages = (await server.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()["data"]
    assert [(m["run_id"], m["status"]) for m in messages if m["role"] == "user"] == [
        (holder["id"], "void"),
        (run["id"], "complete"),
    ]


async def test_start_after_delays_a_run(server: Server) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    run = await server.start("echo", 1, start_after=later)
    assert (run["status"], run["phase"]) == ("queued", "delayed")
    assert datetime.fromisoformat(run["start_after"]) - datetime.fromisoformat(later) < timedelta(milliseconds=1)


async def test_limits_end_a_run_and_retry_with_higher_ones_continues_it(server: Server) -> None:
    run = await server.start("many", 5, limits={"steps_max": 3}, wait=30)
    assert (run["status"], run["error"]["code"], run["steps"]) == ("failed", "limit_steps", 3)
    response = await server.http.post(f"/v1/runs/{run['id']}/retry", json={"limits": {"steps_max": 10}})
    assert response.status_code == 202
    assert response.json()["limits"] == {"steps_max": 10}
    done = await server.settled(run["id"])
    assert (done["status"], done["output"], done["steps"]) == ("succeeded", 5, 5)


async def test_a_calendar_deadline_is_part_of_the_limits(server: Server) -> None:
    deadline = (datetime.now(UTC) + timedelta(milliseconds=200)).isoformat()
    run = await server.start("gated", "forever", limits={"deadline": deadline}, wait=30)
    assert (run["status"], run["error"]["code"]) == ("failed", "limit_deadline")
    retried = await server.http.post(f"/v1/runs/{run['id']}/retry", json={"limits": {}})
    assert retried.json()["deadline"] is None


async def test_a_failed_run_says_why_and_can_be_retried(either: Server) -> None:
    run = await either.start("broken", wait=30)
    assert run["status"] == "failed"
    assert run["error"]["code"] == "step_failed"
    assert "not today" in run["error"]["message"]
    assert run["error"]["step"] == "bad#1"
    either.desk.broken = False
    response = await either.http.post(f"/v1/runs/{run['id']}/retry")
    assert response.status_code == 202
    done = await either.settled(run["id"])
    assert (done["status"], done["output"], done["error"]) == ("succeeded", "mended", None)
    steps = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    assert [(s["key"], s["attempt"], s["status"]) for s in steps] == [
        ("good#1", 1, "succeeded"),
        ("bad#1", 1, "voided"),
        ("bad#1", 2, "succeeded"),
    ]


async def short(server: Server) -> dict[str, Any]:
    """A run of two steps, a model's and a call's, that failed by its limit."""
    run = await server.start("chat", "A lamp, please.", limits={"steps_max": 2}, wait=30)
    assert (run["status"], run["error"]["code"], run["steps"]) == ("failed", "limit_steps", 2)
    return run


async def test_a_retry_goes_on_with_other_instructions_and_limits(either: Server) -> None:
    run = await short(either)
    path, key = f"/v1/runs/{run['id']}/retry", {"Idempotency-Key": "r-1"}
    body = {"edits": {"instructions": "Be brief."}, "limits": {"steps_max": 20}}
    first = await either.http.post(path, json=body, headers=key)
    assert (first.status_code, first.json()["limits"]) == (202, {"steps_max": 20})
    done = await either.settled(run["id"])
    assert (done["id"], done["status"], done["steps"]) == (run["id"], "succeeded", 5)
    again = await either.http.post(path, json=body, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    other = await either.http.post(path, json={**body, "edits": {"model": "x"}}, headers=key)
    assert other.json()["code"] in ("idempotency_conflict", "edit_not_possible")
    asked = [(await either.http.get(f"/v1/runs/{run['id']}/steps/{seq}/prompt")).json() for seq in (1, 3, 5)]
    assert [one["instructions"] for one in asked] == ["Sell lamps.", "Be brief.", "Be brief."]
    (told,) = [e.data["data"] for e in await either.events(f"/v1/runs/{run['id']}/events") if e.type == "run.retried"]
    assert told == {"voids": [], "edits": {"instructions": "Be brief."}}
    replayed = await either.http.post(f"/v1/runs/{run['id']}/replay")
    assert replayed.json()["verdict"] == "identical", replayed.text
    seen = (await either.http.get(f"/v1/runs/{run['id']}/state", params={"at": 3})).json()
    assert seen["seq" if "seq" in seen else "at"] == 3


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"edits": {"output": "x"}}, "edit_needs_fork", '/fork with {"at": 2, "edits": {"output": …}}'),
        ({"edits": {"output": None}}, "edit_needs_fork", '"at": 2'),
        ({"edits": {"message": "x"}}, "edit_needs_fork", '/fork with {"at": 0, "edits": {"message": …}}'),
        ({"edits": {"answer": "x"}}, "edit_needs_fork", "has an answer"),
        ({"edits": {"model": "no such model"}}, "edit_not_possible", "This model cannot be asked"),
        ({"edits": {"instructions": ""}}, "invalid_request", ""),
        ({"edits": {"instructions": 7}}, "invalid_request", ""),
        ({"edits": {"model": "x" * 256}}, "invalid_request", ""),
        ({"edits": {"prompt": "x"}}, "invalid_request", ""),
        ({"edits": []}, "invalid_request", ""),
    ],
)
async def test_edits_that_a_retry_cannot_have(server: Server, body: Any, code: str, says: str) -> None:
    run = await short(server)
    refused = await server.http.post(f"/v1/runs/{run['id']}/retry", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
    assert says in refused.json()["detail"]
    if code != "invalid_request":
        assert [place["loc"] for place in refused.json()["errors"]] == [["body", "edits", next(iter(body["edits"]))]]
    if code == "edit_needs_fork":
        at = re.search(r'"at": (\d+),', refused.json()["detail"])
        fork = None if at is None else {"at": int(at[1]), "edit": next(iter(body["edits"]))}
        assert refused.json()["fork"] == fork
    if "/fork" in says:
        assert f"POST /v1/runs/{run['id']}/fork" in refused.json()["detail"]
    assert (await server.http.get(f"/v1/runs/{run['id']}")).json() == run, "nothing of it is left"
    fine = await server.http.post(f"/v1/runs/{run['id']}/retry", json={"edits": {}, "limits": None})
    assert fine.status_code == 202


async def test_a_workflow_is_retried_without_edits(server: Server) -> None:
    run = await server.start("broken", wait=30)
    refused = await server.http.post(f"/v1/runs/{run['id']}/retry", json={"edits": {"instructions": "x"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "edit_not_possible")
    assert "retry without edits" in refused.json()["detail"]
    assert [place["loc"] for place in refused.json()["errors"]] == [["body", "edits", "instructions"]]


async def test_only_the_last_failed_run_of_a_thread_can_be_retried(server: Server) -> None:
    failed = await server.start("broken", wait=30)
    await server.start("echo", 1, thread_id=failed["thread_id"], wait=30)
    moved_on = await server.http.post(f"/v1/runs/{failed['id']}/retry", json={})
    assert (moved_on.status_code, moved_on.json()["code"]) == (409, "moved_on")
    fine = await server.start("echo", 1, wait=30)
    not_failed = await server.http.post(f"/v1/runs/{fine['id']}/retry")
    assert (not_failed.status_code, not_failed.json()["code"]) == (409, "not_failed")


async def test_cancel_is_202_then_200_and_409_for_what_ended_otherwise(either: Server) -> None:
    run = await either.start("gated", "g")
    await either.desk.reached("g").wait()
    asked = await either.http.post(f"/v1/runs/{run['id']}/cancel", json={"reason": "enough"})
    assert asked.status_code == 202
    assert asked.json()["cancel_requested_at"] is not None
    done = await either.settled(run["id"])
    assert (done["status"], done["cancel_reason"]) == ("cancelled", "enough")
    again = await either.http.post(f"/v1/runs/{run['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    ended = await either.start("echo", 1, wait=30)
    late = await either.http.post(f"/v1/runs/{ended['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "run_ended")


async def test_a_waiting_run_is_cancelled_at_once(server: Server) -> None:
    run = await server.start("sleepy", wait=30)
    asked = await server.http.post(f"/v1/runs/{run['id']}/cancel")
    assert (asked.status_code, asked.json()["status"]) == (202, "cancelled")


async def test_steps_are_listed_without_and_shown_with_what_they_recorded(either: Server) -> None:
    run = await either.start("chat", "A lamp, please.", wait=30)
    listed = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()
    assert [(s["seq"], s["kind"], s["name"]) for s in listed["data"]] == [
        (1, "model", "model"),
        (2, "tool", "lookup"),
        (3, "model", "model"),
        (4, "tool", "reserve"),
        (5, "model", "model"),
    ]
    assert all("output" not in step for step in listed["data"])
    one = (await either.http.get(f"/v1/runs/{run['id']}/steps/2")).json()
    assert one["output"]["result"] == "lamp is in stock"
    assert {name: value for name, value in one.items() if not name.startswith("output")} == listed["data"][1]


async def test_the_prompt_of_a_model_step_is_shown_exactly(either: Server) -> None:
    run = await either.start("chat", "A lamp, please.", wait=30)
    first = (await either.http.get(f"/v1/runs/{run['id']}/steps/1/prompt")).json()
    assert first["instructions"] == "Sell lamps."
    assert {t["name"] for t in first["tools"]} == {"lookup", "reserve"}
    assert [p["content"] for m in first["messages"] for p in m["parts"]] == ["A lamp, please."]
    third = (await either.http.get(f"/v1/runs/{run['id']}/steps/5/prompt")).json()
    kinds = [p["part_kind"] for m in third["messages"] for p in m["parts"]]
    assert kinds == ["user-prompt", "tool-call", "tool-return", "tool-call", "tool-return"]
    no_model = await either.http.get(f"/v1/runs/{run['id']}/steps/2/prompt")
    assert (no_model.status_code, no_model.json()["code"]) == (404, "prompt_not_found")


async def test_children_are_listed_under_their_parent_only(server: Server) -> None:
    run = await server.start("family", wait=30)
    children = (await server.http.get(f"/v1/runs/{run['id']}/children")).json()["data"]
    assert {(c["agent"], c["output"], c["parent"]["step"]) for c in children} == {
        ("echo", 1, "echo#1"),
        ("echo", 2, "echo#2"),
    }
    assert {c["parent"]["run_id"] for c in children} == {run["id"]}
    times = [c["created_at"] for c in children]
    assert times == sorted(times, reverse=True)
    first = (await server.http.get(f"/v1/runs/{run['id']}/children?limit=1")).json()
    rest = (await server.http.get(f"/v1/runs/{run['id']}/children?limit=1&cursor={first['next_cursor']}")).json()
    assert [*first["data"], *rest["data"]] == children
    top = (await server.http.get("/v1/runs")).json()["data"]
    assert [r["id"] for r in top] == [run["id"]]
    everything = (await server.http.get("/v1/runs?include_children=true")).json()["data"]
    assert len(everything) == 3


async def test_runs_are_filtered(server: Server) -> None:
    one = await server.start("echo", 1, tags=["red"], external_id="one", wait=30)
    two = await server.start("echo", 2, tags=["red", "blue"], wait=30)
    three = await server.start("sleepy", wait=30)

    async def ids(query: str) -> list[str]:
        response = await server.http.get(f"/v1/runs?{query}")
        assert response.status_code == 200, response.text
        return [run["id"] for run in response.json()["data"]]

    everything = [three["id"], two["id"], one["id"]]
    assert await ids("") == everything
    assert await ids("agent=echo") == everything[1:]
    assert await ids("tag=blue") == [two["id"]]
    assert await ids("tag=red&agent=sleepy") == []
    assert await ids("status=waiting") == [three["id"]]
    assert await ids("status=waiting&status=succeeded") == everything
    assert await ids("external_id=one") == [one["id"]]
    assert await ids(f"thread_id={two['thread_id']}") == [two["id"]]
    assert await ids(f"version={three['agent_version']}") == [three["id"]]
    assert await ids(f"principal={one['initiator']}") == everything
    assert await ids("principal=pri_00000000000000000000000000") == []
    assert await ids(f"created_before={two['created_at']}") == [one["id"]]
    assert await ids(f"created_after={two['created_at']}") == [three["id"]]


async def test_a_cursor_walks_a_list_once_and_without_gaps(server: Server) -> None:
    made = [(await server.start("echo", n, wait=30))["id"] for n in range(5)]
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = (await server.http.get(f"/v1/runs?{query}")).json()
        seen += [run["id"] for run in page["data"]]
        if page["next_cursor"] is None:
            break
        assert len(page["data"]) == 2
        query = f"limit=2&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_steps_are_paged_by_a_cursor(server: Server) -> None:
    run = await server.start("many", 5, wait=30)
    first = (await server.http.get(f"/v1/runs/{run['id']}/steps?limit=3")).json()
    rest = (await server.http.get(f"/v1/runs/{run['id']}/steps?limit=3&cursor={first['next_cursor']}")).json()
    assert [s["seq"] for s in [*first["data"], *rest["data"]]] == [1, 2, 3, 4, 5]
    assert rest["next_cursor"] is None


async def test_on_disconnect_cancel_stops_a_run_whose_waiting_client_goes_away(server: Server) -> None:
    body = {"agent": "gated", "input": "left", "on_disconnect": "cancel", "external_id": "left"}
    request = asyncio.create_task(server.http.post("/v1/runs?wait=30", json=body))
    await server.desk.reached("left").wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    (run,) = (await server.http.get("/v1/runs?external_id=left")).json()["data"]
    done = await server.settled(run["id"])
    assert (done["status"], done["cancel_reason"]) == ("cancelled", "the client went away")


async def test_a_run_goes_on_when_a_waiting_client_goes_away(server: Server) -> None:
    body = {"agent": "gated", "input": "left", "external_id": "left"}
    request = asyncio.create_task(server.http.post("/v1/runs?wait=30", json=body))
    await server.desk.reached("left").wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    server.desk.gate("left").set()
    (run,) = (await server.http.get("/v1/runs?external_id=left")).json()["data"]
    assert (await server.settled(run["id"]))["status"] == "succeeded"


async def test_a_run_that_no_live_worker_can_serve_says_so(database_url: str) -> None:
    async with serving(database_url, execute=False) as server:
        run = await server.start("echo", 1)
        found = (await server.http.get(f"/v1/runs/{run['id']}")).json()
        assert (found["status"], found["waiting_on"]) == ("queued", [{"type": "worker", "id": "echo"}])
