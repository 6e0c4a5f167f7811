"""Forks, edits and regenerated answers over HTTP, and what a fork shows of what it shares."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.web.serving import ADMIN, Event, Server, outsider, parsed, until

KEY = {"Idempotency-Key": "f-1"}


async def chatted(server: Server, **more: Any) -> dict[str, Any]:
    """A run of five steps: an answer, a look, an answer, a reservation, an answer."""
    run = await server.start("chat", "A lamp, please.", wait=30, **more)
    assert (run["status"], run["steps"]) == ("succeeded", 5), run
    return run


async def post(server: Server, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return await server.http.post(path, json={} if body is None else body, **more)


async def fork(server: Server, run: dict[str, Any], body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A fork when it ended, or waits."""
    made = await post(server, f"/v1/runs/{run['id']}/fork", body, params={"wait": 30}, **more)
    assert made.status_code == 201, made.text
    return made.json()


async def listed(server: Server, path: str, limit: int) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = (await server.http.get(path, params=query)).json()
        assert len(page["data"]) <= limit
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


# -- what a fork is ---------------------------------------------------------------------------------------------------


async def test_a_fork_is_a_run_on_a_branch_and_shows_the_steps_it_shares(either: Server) -> None:
    run = await chatted(either)
    made = await fork(either, run, {"at": 4, "metadata": {"why": "x"}, "tags": ["t"]})
    assert made["forked_from"] == {"run_id": run["id"], "at": 4}
    assert (made["status"], made["output"], made["metadata"], made["tags"]) == (
        "succeeded", run["output"], {"why": "x"}, ["t"],
    )  # fmt: skip
    thread = (await either.http.get(f"/v1/threads/{made['thread_id']}")).json()
    assert thread["branch_of"] == {"thread_id": run["thread_id"], "run_id": run["id"], "at": 4}
    was = await listed(either, f"/v1/runs/{run['id']}/steps", 2)
    now = await listed(either, f"/v1/runs/{made['id']}/steps", 2)
    assert [(s["seq"], s["key"], s["status"]) for s in now] == [(s["seq"], s["key"], s["status"]) for s in was]
    assert [s["run_id"] for s in now] == [run["id"]] * 4 + [made["id"]]
    assert now[3]["effect"] == was[3]["effect"]
    for seq in (1, 3, 5):
        was_asked = (await either.http.get(f"/v1/runs/{run['id']}/steps/{seq}/prompt")).json()
        now_asked = (await either.http.get(f"/v1/runs/{made['id']}/steps/{seq}/prompt")).json()
        assert now_asked["messages"] == was_asked["messages"]
        assert now_asked["instructions"] == was_asked["instructions"]
    assert (await either.http.get(f"/v1/runs/{run['id']}")).json() == run


async def test_the_events_of_a_fork_begin_with_where_it_comes_from_and_resume(either: Server) -> None:
    run = await chatted(either)
    made = await fork(either, run, {"at": 2})
    told = await either.events(f"/v1/runs/{made['id']}/events")
    assert told[0].type == "run.forked"
    assert told[0].data["data"]["run_id"] == run["id"]
    assert (told[0].data["data"]["at"], told[0].data["data"]["kept"]) == (2, 2)
    assert told[-1].type == "run.succeeded"
    places = [int(e.id or 0) for e in told if e.id is not None]
    assert places == list(range(places[0], places[0] + len(places)))
    for n, event in enumerate(told[:-1]):
        rest = await either.events(f"/v1/runs/{made['id']}/events", headers={"Last-Event-ID": event.id or ""})
        assert [e.id for e in rest] == [e.id for e in told[n + 1 :]]
    thread = f"/v1/threads/{made['thread_id']}/events"
    async with either.http.stream("GET", thread) as response:
        seen = await until(parsed(response), "run.succeeded")
    assert seen[0].type == "run.forked"


async def test_every_edit(server: Server) -> None:
    run = await chatted(server)
    other = await fork(server, run, {"at": 2, "edits": {"output": "no lamps left"}})
    step = (await server.http.get(f"/v1/runs/{other['id']}/steps/2")).json()
    assert step["output"]["result"] == "no lamps left"
    assert step["run_id"] == other["id"]
    prompt = (await server.http.get(f"/v1/runs/{other['id']}/steps/3/prompt")).json()
    assert "no lamps left" in str(prompt["messages"])
    said = await fork(server, run, {"at": 5, "edits": {"output": "It is yours."}})
    assert said["output"] == "It is yours."
    asked = (await server.http.get(f"/v1/runs/{said['id']}/steps/5/prompt")).json()
    assert asked["instructions"] == ["Sell lamps."] or "Sell lamps." in str(asked)
    told = await fork(server, run, {"at": 5, "edits": {"instructions": "Be brief."}})
    assert "Be brief." in str((await server.http.get(f"/v1/runs/{told['id']}/steps/5/prompt")).json())
    anew = await fork(server, run, {"at": 5, "rerun": True})
    assert (anew["output"], anew["steps"]) == (run["output"], 5)
    message = await fork(server, run, {"at": 0, "edits": {"message": "A lamp?"}})
    assert (message["input"], message["status"]) == ("A lamp?", "succeeded")
    spoken = (await server.http.get(f"/v1/threads/{message['thread_id']}/messages")).json()["data"]
    assert (len(spoken), spoken[0]["parts"][0]["text"]) == (6, "A lamp?")


async def test_an_edited_answer_needs_the_right_to_give_it(server: Server) -> None:
    run, question = await server.asked("asker", {})
    await server.resolve(question, "answer", answer=1)
    run = await server.settled(run["id"])
    made = await fork(server, run, {"at": 1, "edits": {"answer": 2}})
    assert (run["output"], made["output"]) == (1, 2)
    starts = await server.auth.create_key(ADMIN, "starts", scopes=["runs:write", "runs:read"])
    headers = {"Authorization": f"Bearer {starts.token}"}
    body = {"at": 1, "edits": {"answer": 3}}
    refused = await post(server, f"/v1/runs/{run['id']}/fork", body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    plain = await post(server, f"/v1/runs/{run['id']}/fork", {"at": 1}, headers=headers)
    assert plain.status_code == 201


async def test_who_may_only_look_cannot_fork(server: Server) -> None:
    run = await chatted(server)
    page = (await server.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()["data"]
    looks = await server.auth.create_key(ADMIN, "looks", scopes=["runs:read", "threads:read"])
    headers = {"Authorization": f"Bearer {looks.token}"}
    for path, body in (
        (f"/v1/runs/{run['id']}/fork", {"at": 1}),
        (f"/v1/threads/{run['thread_id']}/edit", {"message_id": page[0]["id"], "message": "x"}),
        (f"/v1/threads/{run['thread_id']}/regenerate", {}),
    ):
        refused = await post(server, path, body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), path
    for path in (f"/v1/runs/{run['id']}/forks", f"/v1/threads/{run['thread_id']}/branches"):
        assert (await server.http.get(path, headers=headers)).json()["data"] == []
    writes = await server.auth.create_key(ADMIN, "writes", scopes=["runs:write"])
    only = {"Authorization": f"Bearer {writes.token}"}
    waits = await post(server, f"/v1/runs/{run['id']}/fork", {"at": 1}, headers=only, params={"wait": 1})
    assert waits.status_code == 403, "whoever waits for a run reads it"


@pytest.mark.parametrize("effects", ["reuse", "simulate", {"repeat": "reuse", "new": "deny", "reads": "reuse"}])
async def test_the_policy_is_a_word_or_an_object(server: Server, effects: Any) -> None:
    run = await chatted(server)
    made = await fork(server, run, {"at": 1, "effects": effects})
    assert made["output"] == run["output"]
    told = await server.events(f"/v1/runs/{made['id']}/events")
    wanted = {"repeat": effects, "new": "ask", "reads": "execute"} if isinstance(effects, str) else effects
    assert told[0].data["data"]["effects"] == wanted


async def test_a_call_that_the_parent_did_not_make_waits_for_leave(server: Server) -> None:
    run = await chatted(server)
    said = {"tool_calls": [{"tool": "reserve", "args": {"item": "chair"}}]}
    made = await fork(server, run, {"at": 3, "edits": {"output": said}})
    assert made["status"] == "waiting"
    (asked,) = await server.pending(made["id"])
    assert "forked" in asked["reason"]


# -- the tree ---------------------------------------------------------------------------------------------------------


async def test_forks_and_branches_are_listed_newest_first_and_paged(either: Server) -> None:
    run = await chatted(either)
    made = [await fork(either, run, {"at": 5}) for _ in range(5)]
    deeper = await fork(either, made[0], {"at": 5})
    forks = await listed(either, f"/v1/runs/{run['id']}/forks", 2)
    assert [one["id"] for one in forks] == [one["id"] for one in reversed(made)]
    branches = await listed(either, f"/v1/threads/{run['thread_id']}/branches", 2)
    assert [one["id"] for one in branches] == [one["thread_id"] for one in reversed(made)]
    assert [one["id"] for one in await listed(either, f"/v1/runs/{made[0]['id']}/forks", 2)] == [deeper["id"]]
    bad = await either.http.get(f"/v1/runs/{run['id']}/forks", params={"cursor": "x"})
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_cursor")


async def test_a_message_said_differently_and_an_answer_given_anew(either: Server) -> None:
    run = await chatted(either)
    thread = f"/v1/threads/{run['thread_id']}"
    page = (await either.http.get(f"{thread}/messages")).json()["data"]
    wait = {"params": {"wait": 30}}
    edited = await post(either, f"{thread}/edit", {"message_id": page[0]["id"], "message": "Two lamps."}, **wait)
    assert (edited.status_code, edited.json()["input"], edited.json()["status"]) == (201, "Two lamps.", "succeeded")
    again = (await post(either, f"{thread}/regenerate", {"message_id": page[5]["id"]}, **wait)).json()
    assert (again["forked_from"], again["output"]) == ({"run_id": run["id"], "at": 5}, run["output"])
    spoken = (await either.http.get(f"/v1/threads/{again['thread_id']}/messages")).json()["data"]
    assert [m["id"] for m in spoken[:5]] == [m["id"] for m in page[:5]]
    whole = await either.http.post(f"{thread}/regenerate", params={"wait": 30})
    assert whole.json()["forked_from"] == {"run_id": run["id"], "at": 0}
    assert (await either.http.get(f"{thread}/messages")).json()["data"] == page
    for path, body, status, code in (
        (f"{thread}/edit", {"message_id": page[1]["id"], "message": "x"}, 422, "edit_not_possible"),
        (f"{thread}/edit", {"message_id": page[0]["id"], "message": {"no": "text"}}, 422, "invalid_input"),
        (f"{thread}/edit", {"message_id": f"msg_{'0' * 26}", "message": "x"}, 404, "message_not_found"),
        (f"{thread}/edit", {"message_id": "x", "message": "x"}, 404, "not_found"),
        (f"{thread}/edit", {"message": "x"}, 422, "invalid_request"),
        (f"{thread}/regenerate", {"message_id": f"msg_{'0' * 26}"}, 404, "message_not_found"),
        (f"/v1/threads/thr_{'0' * 26}/regenerate", {}, 404, "thread_not_found"),
    ):
        answer = await post(either, path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    empty = (await either.http.post("/v1/threads", json={})).json()
    nothing = await post(either, f"/v1/threads/{empty['id']}/regenerate")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "thread_empty")


# -- repeated, refused ------------------------------------------------------------------------------------------------


async def test_a_repeated_fork_is_made_once(either: Server) -> None:
    run = await chatted(either)
    path = f"/v1/runs/{run['id']}/fork"
    first = await post(either, path, {"at": 5}, headers=KEY)
    again = await post(either, path, {"at": 5}, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    other = await post(either, path, {"at": 4}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len((await either.http.get(f"/v1/runs/{run['id']}/forks")).json()["data"]) == 1


BAD: list[tuple[Any, int, str]] = [
    ({}, 422, "invalid_request"),
    ([], 422, "invalid_request"),
    ({"at": -1}, 422, "invalid_request"),
    ({"at": 1.5}, 422, "invalid_request"),
    ({"at": "1"}, 422, "invalid_request"),
    ({"at": True}, 422, "invalid_request"),
    ({"at": None}, 422, "invalid_request"),
    ({"at": 10**30}, 422, "invalid_request"),
    ({"at": 6}, 422, "invalid_at"),
    ({"at": 0, "rerun": True}, 422, "invalid_at"),
    ({"at": 0, "edits": {"output": "x"}}, 422, "invalid_at"),
    ({"at": 1, "edits": {"outputs": "x"}}, 422, "invalid_request"),
    ({"at": 1, "edits": "x"}, 422, "invalid_request"),
    ({"at": 1, "unknown": 1}, 422, "invalid_request"),
    ({"at": 1, "rerun": "yes"}, 422, "invalid_request"),
    ({"at": 1, "edits": {"answer": "x"}}, 422, "edit_not_possible"),
    ({"at": 2, "edits": {"instructions": "x"}}, 422, "edit_not_possible"),
    ({"at": 1, "edits": {"instructions": ""}}, 422, "invalid_request"),
    ({"at": 1, "edits": {"instructions": "x" * 200_000}}, 422, "invalid_request"),
    ({"at": 1, "edits": {"model": "no such model"}}, 422, "edit_not_possible"),
    ({"at": 1, "edits": {"output": 7}}, 422, "edit_not_possible"),
    ({"at": 1, "edits": {"output": {"tool_calls": [{"tool": 1}]}}}, 422, "edit_not_possible"),
    ({"at": 1, "edits": {"output": "x", "message": "y"}}, 422, "edit_not_possible"),
    ({"at": 1, "rerun": True, "edits": {"output": "x"}}, 422, "edit_not_possible"),
    ({"at": 2, "edits": {"message": "x"}}, 422, "edit_not_possible"),
    ({"at": 0, "edits": {"message": {"no": "text"}}}, 422, "invalid_input"),
    ({"at": 1, "effects": "perhaps"}, 422, "invalid_request"),
    ({"at": 1, "effects": {"repeat": "ask"}}, 422, "invalid_request"),
    ({"at": 1, "effects": {"again": "reuse"}}, 422, "invalid_request"),
]


async def test_bad_input_says_what_is_wrong_and_makes_nothing(server: Server) -> None:
    run = await chatted(server)
    for body, status, code in BAD:
        answer = await server.http.post(f"/v1/runs/{run['id']}/fork", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (body, answer.text)
    assert (await server.http.get(f"/v1/runs/{run['id']}/forks")).json()["data"] == []


async def test_an_edit_that_is_not_possible_is_named(server: Server) -> None:
    run = await chatted(server)
    for body, status, code in BAD:
        if code != "edit_not_possible":
            continue
        answer = (await server.http.post(f"/v1/runs/{run['id']}/fork", json=body)).json()
        edits = body["edits"]
        clash = len(edits) > 1 or "rerun" in body
        (place,) = answer["errors"]
        assert place["loc"] == ["body", "edits", *([] if clash else edits)], (status, body, answer)
        assert place["msg"] == answer["detail"]


async def test_what_is_not_there_or_not_yours_cannot_be_forked(server: Server) -> None:
    run = await chatted(server)
    stranger = await outsider(server)
    other = await server.auth.create_key(ADMIN, "mine")
    mine = {"Authorization": f"Bearer {other.token}"}
    for path, headers in (
        (f"/v1/runs/run_{'0' * 26}/fork", mine),
        (f"/v1/runs/{run['id']}/fork", stranger.headers),
    ):
        answer = await post(server, path, {"at": 1}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
    for path in (f"/v1/runs/{run['id']}/forks", f"/v1/threads/{run['thread_id']}/branches"):
        assert (await server.http.get(path, headers=stranger.headers)).status_code == 404
    malformed = await post(server, "/v1/runs/run_x/fork", {"at": 1}, headers=mine)
    assert malformed.status_code in (404, 422)
    await server.http.delete(f"/v1/threads/{run['thread_id']}", headers=mine)
    gone = await post(server, f"/v1/runs/{run['id']}/fork", {"at": 1}, headers=mine)
    assert (gone.status_code, gone.json()["code"]) == (404, "run_not_found")


async def test_a_run_that_has_not_started_has_nothing_to_fork(server: Server) -> None:
    later = await server.start("echo", 1, start_after="2100-01-01T00:00:00Z")
    answer = await post(server, f"/v1/runs/{later['id']}/fork", {"at": 0})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_started")


async def test_a_run_under_way_is_forked_as_far_as_it_is_recorded(server: Server) -> None:
    run = await server.start("gated", "door")
    await server.desk.reached("door").wait()
    made = await post(server, f"/v1/runs/{run['id']}/fork", {"at": 0})
    assert made.status_code == 201
    server.desk.gate("door").set()
    assert (await server.settled(made.json()["id"]))["output"] == "door"
    assert (await server.settled(run["id"]))["output"] == "door"


async def test_a_fork_of_a_child_run_is_a_run_of_its_own(server: Server) -> None:
    run = await server.start("family", wait=30)
    (child, _) = (await server.http.get(f"/v1/runs/{run['id']}/children")).json()["data"]
    made = await fork(server, child, {"at": 0, "edits": {"message": 9}})
    assert (made["output"], made["parent"], made["root_id"]) == (9, None, made["id"])
    assert made["thread_id"] in [t["id"] for t in (await server.http.get("/v1/threads")).json()["data"]]


# -- answered with events ---------------------------------------------------------------------------------------------

EVENTS = {"Accept": "text/event-stream"}


async def ways(server: Server) -> list[tuple[str, Any, int, str, int]]:
    """Every request that sets a run going out of another one: path, body, status, first event and its position."""
    run = await chatted(server)
    page = (await server.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()["data"]
    thread = f"/v1/threads/{run['thread_id']}"
    server.desk.broken = True
    broken = await server.start("broken", wait=30)
    assert broken["status"] == "failed", broken
    server.desk.broken = False
    behind = (await server.events(f"/v1/runs/{broken['id']}/events"))[-1].id
    return [
        (f"{thread}/edit", {"message_id": page[0]["id"], "message": "Two lamps."}, 201, "run.queued", 1),
        (f"{thread}/regenerate", {"message_id": page[5]["id"]}, 201, "run.forked", -1),
        (f"{thread}/regenerate", None, 201, "run.forked", 2),
        (f"/v1/runs/{run['id']}/fork", {"at": 2}, 201, "run.forked", -1),
        (f"/v1/runs/{broken['id']}/retry", None, 202, "run.retried", int(behind or 0) + 1),
    ]


async def test_what_sets_a_run_going_out_of_another_is_answered_with_its_events(either: Server) -> None:
    """As `POST /v1/runs` is: each durable event once and in order, and as the run's own stream tells them."""
    for path, body, status, first, at in await ways(either):
        async with either.http.stream("POST", path, json=body, headers=EVENTS) as response:
            assert response.status_code == status, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
            where = response.headers["location"]
            live = [event async for event in parsed(response)]
        assert live[0].type == first, path
        begins = int(live[0].id or 0)
        assert at in (-1, begins), path
        durable = [event for event in live if event.id is not None]
        assert [event.id for event in durable] == [str(n) for n in range(begins, begins + len(durable))], path
        assert durable[-1].type == "run.succeeded", path
        assert {f"/v1/runs/{event.data['run_id']}" for event in live} == {where}
        assert await either.events(f"{where}/events", params={"after": begins - 1}) == durable
        for event in durable[:-1]:
            rest = await either.events(f"{where}/events", headers={"Last-Event-ID": event.id or ""})
            assert rest == durable[durable.index(event) + 1 :], "a reader that was cut off goes on behind it"


async def test_a_repeated_key_is_answered_with_the_same_runs_events(either: Server) -> None:
    for n, (path, body, status, first, _) in enumerate(await ways(either)):
        told: list[list[Event]] = []
        for time in range(2):
            headers = {**EVENTS, "Idempotency-Key": f"again-{n}"}
            async with either.http.stream("POST", path, json=body, headers=headers) as response:
                assert response.status_code == status, await response.aread()
                assert response.headers.get("idempotency-replayed") == ("true" if time else None)
                told.append([event async for event in parsed(response) if event.id is not None])
        assert told[0] == told[1]
        assert told[0][0].type == first
        plain = await either.http.post(path, json=body, headers={"Idempotency-Key": f"again-{n}"})
        assert (plain.status_code, plain.json()["id"]) == (status, told[0][0].data["run_id"])
        assert plain.headers["location"] == f"/v1/runs/{plain.json()['id']}"


async def test_a_stream_does_not_wait_and_needs_the_right_to_read(server: Server) -> None:
    asked = await ways(server)
    for path, body, *_ in asked:
        both = await server.http.post(path, json=body, headers=EVENTS, params={"wait": 1})
        assert (both.status_code, both.json()["code"]) == (422, "invalid_request"), path
        wrong = await server.http.post(path, json={"no": "such field"}, headers=EVENTS)
        assert wrong.status_code == 422, path
        assert wrong.headers["content-type"] == "application/problem+json"
    writes = await server.auth.create_key(ADMIN, "writes", scopes=["runs:write"])
    only = {"Authorization": f"Bearer {writes.token}"}
    for path, body, *_ in asked:
        for held in ({"headers": {**only, **EVENTS}}, {"headers": only, "params": {"wait": 1}}):
            refused = await server.http.post(path, json=body, **held)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), path
    reads = await server.auth.create_key(ADMIN, "reads", scopes=["runs:read"])
    may_read = {"Authorization": f"Bearer {reads.token}"}
    listed = (await server.http.get("/v1/runs", headers=may_read)).json()["data"]
    assert sorted(run["status"] for run in listed) == ["failed", "succeeded"], "what was refused did nothing"


async def test_the_first_words_of_an_answer_given_anew_are_told_as_they_come(either: Server) -> None:
    """A model call streams only if somebody listens as it begins, and nobody can follow a run that is not yet there."""
    either.desk.gate("model: Hi.").set()
    run = await either.start("plain", "Hi.", wait=30)
    either.desk.gate("model: Hi.").clear()
    async with either.http.stream("POST", f"/v1/threads/{run['thread_id']}/regenerate", headers=EVENTS) as response:
        told = parsed(response)
        seen = await until(told, "message.started")
        either.desk.gate("model: Hi.").set()
        seen += await until(told, "run.succeeded")
    deltas = [event.data["data"]["text"] for event in seen if event.type == "message.delta"]
    assert "".join(deltas) == "Hello, you."
    assert len(deltas) > 1


async def test_a_run_goes_on_when_the_answer_that_told_of_it_breaks(server: Server) -> None:
    server.desk.gate("door").set()
    run = await server.start("gated", "door", wait=30)
    server.desk.gate("door").clear()
    async with server.http.stream("POST", f"/v1/runs/{run['id']}/fork", json={"at": 0}, headers=EVENTS) as response:
        made = response.headers["location"].rpartition("/")[2]
        await until(parsed(response), "custom")
    assert (await server.http.get(f"/v1/runs/{made}")).json()["status"] == "running"
    server.desk.gate("door").set()
    assert (await server.settled(made))["status"] == "succeeded"


async def test_the_api_description_tells_of_both_answers(server: Server) -> None:
    paths = (await server.http.get("/openapi.json")).json()["paths"]
    for path, status in (
        ("/v1/runs", "201"),
        ("/v1/runs/{run_id}/fork", "201"),
        ("/v1/runs/{run_id}/retry", "202"),
        ("/v1/threads/{thread_id}/edit", "201"),
        ("/v1/threads/{thread_id}/regenerate", "201"),
    ):
        told = paths[path]["post"]["responses"][status]
        assert set(told["content"]) == {"application/json", "text/event-stream"}, path
        assert "text/event-stream" in told["description"], path
