"""The inbox over HTTP: what is asked, who may answer, and that one answer counts."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.web.serving import ADMIN, Server, outsider

PAYMENT = {"order": "7", "amount": 500}
UNKNOWN = f"apr_{'0' * 26}"


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


async def somebody(server: Server, name: str, *scopes: str) -> dict[str, str]:
    """Somebody else's credential."""
    made = await server.auth.create_key(ADMIN, name, scopes=scopes or ("*",))
    return {"Authorization": f"Bearer {made.token}"}


# -- looking ----------------------------------------------------------------------------------------------------------


async def test_a_question_says_what_is_asked_and_what_led_to_it(either: Server) -> None:
    run, row = await either.asked("cashier", "Refund order 7, please.")
    asked = (await either.http.get(f"/v1/approvals/{row['id']}")).json()
    context = asked.pop("context")
    assert asked == row, "a list shows the same, without what led to it"
    assert {name: asked[name] for name in ("type", "status", "version", "run_id", "root_run_id", "thread_id")} == {
        "type": "tool",
        "status": "pending",
        "version": 1,
        "run_id": run["id"],
        "root_run_id": run["id"],
        "thread_id": run["thread_id"],
    }
    assert (asked["agent"], asked["tool"], asked["arguments"]) == ("cashier", "refund", PAYMENT)
    assert set(asked["schema"]["properties"]) == {"order", "amount"}
    assert (asked["may_decide"], asked["quorum"], asked["decisions"], asked["on_expiry"]) == ([], 1, [], "reject")
    assert asked["expires_at"] > asked["created_at"]
    assert [(m["role"], m["parts"][0]["type"]) for m in context] == [("user", "text"), ("assistant", "tool_call")]


async def test_the_context_of_an_old_question_is_what_stood_before_it(either: Server) -> None:
    run, asked = await either.asked("cashier", "Refund order 7, please.")
    before = (await either.http.get(f"/v1/approvals/{asked['id']}")).json()["context"]
    await either.resolve(asked, "approve")
    assert (await either.settled(run["id"]))["status"] == "succeeded"
    await either.start("cashier", "And once more.", thread_id=run["thread_id"], wait=30)
    assert (await either.http.get(f"/v1/approvals/{asked['id']}")).json()["context"] == before


async def test_a_waiting_run_says_what_it_waits_for(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    assert run["waiting_on"] == [{"type": "approval", "id": asked["id"], "step": "refunds#1/leave#1"}]
    ask, question = await either.asked("asker", {})
    assert ask["waiting_on"] == [{"type": "ask", "id": question["id"], "step": "ask#1"}]
    paid = await either.start("paid", "order-7", wait=30)
    assert paid["waiting_on"] == [{"type": "event", "id": "paid", "key": "order-7", "step": "paid#1"}]
    lost, what = await either.asked("couriers", PAYMENT)
    assert [(w["type"], w["id"]) for w in lost["waiting_on"]] == [("effect", what["id"])]
    assert (what["type"], what["tool"]) == ("effect", "courier")


async def test_what_a_child_asks_shows_on_all_its_ancestors(either: Server) -> None:
    top = await either.start("grandparent")
    for _ in range(1_000):
        if found := await either.pending(top["id"]):
            break
    asked = found[0]
    middle = (await either.http.get(f"/v1/runs/{asked['run_id']}")).json()["parent"]["run_id"]
    assert asked["root_run_id"] == top["id"]
    for ancestor in (top["id"], middle):
        shown = await either.settled(ancestor)
        own, below = shown["waiting_on"]
        assert own["type"] == "child"
        assert below == {"type": "approval", "id": asked["id"], "run_id": asked["run_id"], "step": asked["step"]}
        assert [a["id"] for a in await either.pending(ancestor)] == [asked["id"]], "the middle run is no root"
    assert (await either.resolve(asked, "approve")).status_code == 200
    told = await either.events(f"/v1/runs/{top['id']}/events")  # to its end
    assert (told[-1].type, told[-1].data["data"]["output"]) == ("run.succeeded", "refunded 500")
    assert (await either.settled(top["id"]))["waiting_on"] == []


async def test_a_run_no_longer_waits_for_what_was_answered(either: Server) -> None:
    run = await either.start("pair", "Both.", wait=30)
    first, second = sorted(await either.pending(run["id"]), key=lambda asked: asked["arguments"]["order"])
    assert first["group"] == second["group"]
    assert {w["id"] for w in run["waiting_on"]} == {first["id"], second["id"]}
    assert (await either.resolve(first, "approve")).status_code == 200
    shown = (await either.http.get(f"/v1/runs/{run['id']}")).json()
    assert (shown["status"], [w["id"] for w in shown["waiting_on"]]) == ("waiting", [second["id"]])
    assert either.till.done == [], "a turn's calls wake together"
    await either.resolve(second, "reject", note="8 was never paid")
    assert (await either.settled(run["id"]))["output"] == "Done."
    assert either.till.done == [("refund", "7", 500)]


async def test_the_inbox_is_filtered_and_paged_oldest_first(either: Server) -> None:
    runs = [await either.asked("refunds", {"order": str(n), "amount": 100 + n}) for n in range(3)]
    asker, question = await either.asked("asker", {})
    everything = [asked["id"] for _, asked in runs] + [question["id"]]

    async def found(**query: Any) -> list[str]:
        response = await either.http.get("/v1/approvals", params=query)
        assert response.status_code == 200, response.text
        return [row["id"] for row in response.json()["data"]]

    assert await found() == everything
    assert await found(type="input") == [question["id"]]
    assert await found(agent="refunds") == everything[:3]
    assert await found(tool="refund", status="pending") == everything[:3]
    assert await found(run_id=asker["id"]) == [question["id"]]
    assert await found(older_than=3_600) == []
    assert await found(older_than=0) == everything
    assert await found(created_before="2020-01-01T00:00:00Z") == []
    assert await found(created_after="2020-01-01T00:00:00Z") == everything
    await either.resolve(runs[0][1], "reject")
    assert await found(status="rejected") == everything[:1]
    assert await found(status=["pending", "rejected"]) == everything
    seen: list[str] = []
    query = "limit=1"
    while query:
        page = (await either.http.get(f"/v1/approvals?{query}")).json()
        seen += [row["id"] for row in page["data"]]
        query = f"limit=1&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == everything


async def test_what_was_decided_is_listed_by_when_it_was_decided(either: Server) -> None:
    asked = [(await either.asked("refunds", {"order": str(n), "amount": 100 + n}))[1]["id"] for n in range(4)]
    decided = [asked[2], asked[0], asked[3]]
    for id, word in zip(decided, ("approve", "reject", "approve"), strict=True):
        assert (await either.resolve({"id": id}, word)).status_code == 200

    async def pages(**query: Any) -> list[str]:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            response = await either.http.get("/v1/approvals", params={"by": "resolved", "limit": 1, **query, **cursor})
            assert response.status_code == 200, response.text
            seen += [row["id"] for row in response.json()["data"]]
            if response.json()["next_cursor"] is None:
                return seen
            cursor = {"cursor": response.json()["next_cursor"]}

    assert await pages() == decided, "without the one that is open"
    assert await pages(order="desc") == decided[::-1]
    assert await pages(order="desc", status=["approved", "pending"]) == [asked[3], asked[2]]
    assert await pages(status="pending") == []
    run = await either.http.get(f"/v1/approvals/{asked[0]}")
    assert await pages(run_id=run.json()["run_id"]) == [asked[0]]


async def test_a_decision_made_between_two_pages_neither_hides_nor_repeats_one(either: Server) -> None:
    asked = [(await either.asked("refunds", {"order": str(n), "amount": 100 + n}))[1] for n in range(3)]
    await either.resolve(asked[1], "approve")
    await either.resolve(asked[0], "approve")
    query = {"by": "resolved", "order": "desc", "limit": 1}
    first = (await either.http.get("/v1/approvals", params=query)).json()
    await either.resolve(asked[2], "approve")
    second = (await either.http.get("/v1/approvals", params={**query, "cursor": first["next_cursor"]})).json()
    assert [row["id"] for page in (first, second) for row in page["data"]] == [asked[0]["id"], asked[1]["id"]]
    other = {"order": "desc", "limit": 1, "cursor": first["next_cursor"]}
    refused(await either.http.get("/v1/approvals", params=other), 400, "bad_cursor")


async def test_a_question_says_where_it_stands_in_its_run(either: Server) -> None:
    run, asked = await either.asked("cashier", "Refund order 7, please.")
    steps = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    assert [row["kind"] for row in steps][-1] == "model"
    assert (asked["step_seq"], asked["after_step"]) == (None, steps[-1]["seq"]), "behind the step that made the call"
    assert asked["requested_by_name"] == "local admin"
    done = (await either.resolve(asked, "approve")).json()
    await either.settled(run["id"])
    steps = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    (seq,) = [row["seq"] for row in steps if row["key"] == asked["step"]]
    (listed,) = (await either.http.get("/v1/approvals", params={"run_id": run["id"]})).json()["data"]
    told = await either.events(f"/v1/runs/{run['id']}/events")
    assert [event.type for event in told if event.id == str(asked["opened_pos"])] == ["approval.requested"]
    for shown in (done, listed):
        assert (shown["step_seq"], shown["opened_pos"]) == (seq, asked["opened_pos"])
        assert shown["after_step"] == asked["after_step"] < seq


async def test_a_question_of_a_run_without_steps_stands_behind_none(either: Server) -> None:
    _, asked = await either.asked("asker", {})
    assert (asked["step_seq"], asked["after_step"]) == (None, 0)


async def test_a_question_of_a_fork_stands_behind_what_the_fork_inherited(either: Server) -> None:
    run, asked = await either.asked("cashier", "Refund order 7, please.")
    await either.resolve(asked, "approve")
    await either.settled(run["id"])
    body = {"at": asked["after_step"], "effects": "execute"}
    response = await either.http.post(f"/v1/runs/{run['id']}/fork", json=body)
    assert response.status_code == 201, response.text
    fork = await either.settled(response.json()["id"])
    assert fork["status"] == "waiting", fork
    (anew,) = await either.pending(fork["id"])
    assert (anew["step_seq"], anew["after_step"]) == (None, asked["after_step"])


async def test_what_was_asked_about_an_effect_is_found_by_it(either: Server) -> None:
    _, asked = await either.asked("refunds", PAYMENT)
    await either.asked("refunds", {"order": "8", "amount": 500})
    assert asked["effect_id"] is not None

    async def found(**query: Any) -> list[str]:
        response = await either.http.get("/v1/approvals", params=query)
        assert response.status_code == 200, response.text
        return [row["id"] for row in response.json()["data"]]

    assert await found(effect_id=asked["effect_id"]) == [asked["id"]]
    assert await found(effect_id=asked["effect_id"], status="approved") == []
    assert await found(effect_id=f"eff_{'0' * 26}") == []
    wrong = await either.http.get("/v1/approvals", params={"effect_id": asked["id"]})
    assert wrong.status_code == 422


# -- resolving --------------------------------------------------------------------------------------------------------


async def test_leave_lets_the_call_be_made_once_with_what_was_allowed(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    done = await either.resolve(asked, "approve", note="go on", version=1)
    assert done.status_code == 200
    assert (done.json()["status"], done.json()["version"]) == ("approved", 2)
    (decision,) = done.json()["decisions"]
    assert (decision["decision"], decision["name"], decision["note"]) == ("approve", "local admin", "go on")
    assert (await either.settled(run["id"]))["output"] == "refunded 500"
    assert either.till.done == [("refund", "7", 500)]


async def test_an_edit_is_what_is_done(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    done = await either.resolve(asked, "approve", arguments={"order": "7", "amount": 400})
    assert done.json()["arguments"] == {"order": "7", "amount": 400}
    assert done.json()["arguments_hash"] != asked["arguments_hash"]
    assert (await either.settled(run["id"]))["output"] == "refunded 400"
    assert either.till.done == [("refund", "7", 400)]


async def test_a_rejected_call_is_not_made(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    done = await either.resolve(asked, "reject", note="not this one")
    assert done.json()["status"] == "rejected"
    ended = await either.settled(run["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "approval_rejected")
    assert "not this one" in ended["error"]["message"]
    assert either.till.done == []


async def test_an_answer_is_what_the_question_gives(either: Server) -> None:
    run, asked = await either.asked("asker", {"json_schema": {"type": "integer"}, "choices": [1, 2, 3]})
    assert (asked["schema"], asked["choices"], asked["message"]) == ({"type": "integer"}, [1, 2, 3], "How many?")
    done = await either.resolve(asked, "answer", answer=2)
    assert (done.json()["status"], done.json()["answer"]) == ("answered", 2)
    assert (await either.settled(run["id"]))["output"] == 2


async def test_the_result_of_an_external_tool_comes_from_outside(either: Server) -> None:
    run, asked = await either.asked("picker", "Order 7.")
    assert (asked["type"], asked["tool"], run["waiting_on"][0]["type"]) == ("external", "pick", "ask")
    assert (await either.resolve(asked, "answer", answer={"shelf": 4})).status_code == 200
    assert (await either.settled(run["id"]))["output"] == "Picked."
    step = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    assert "tool" in [row["kind"] for row in step]


async def test_a_quorum_takes_different_people(either: Server) -> None:
    first, second = await somebody(either, "first"), await somebody(either, "second")
    run = await either.start_as(first, "destroys", PAYMENT)
    (asked,) = await either.pending(run["id"], first)
    one = await either.resolve(asked, "approve", headers=first)
    assert (one.json()["status"], one.json()["version"], len(one.json()["decisions"])) == ("pending", 2, 1)
    refused(await either.resolve(asked, "approve", headers=first), 409, "already_decided")
    refused(await either.resolve(asked, "approve", headers=second, version=1), 409, "version_conflict")
    two = await either.resolve(asked, "approve", headers=second, version=2)
    assert (two.json()["status"], len(two.json()["decisions"])) == ("approved", 2)


async def test_the_same_key_answers_the_same(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    headers = {"Idempotency-Key": "k-1"}
    first = await either.resolve(asked, "approve", headers=headers)
    await either.settled(run["id"])
    again = await either.resolve(asked, "approve", headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["decisions"] == first.json()["decisions"]
    refused(await either.resolve(asked, "reject", headers=headers), 409, "idempotency_conflict")
    assert len(either.till.done) == 1


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"decision": "approve", "arguments": {"order": "7", "amount": "much"}}, "invalid_arguments"),
        ({"decision": "approve", "arguments": {"order": "7"}}, "invalid_arguments"),
        ({"decision": "approve", "arguments": {"order": "7", "amount": 1, "unknown": 1}}, "invalid_arguments"),
        ({"decision": "approve", "arguments": []}, "invalid_request"),
        ({"decision": "reject", "arguments": PAYMENT}, "wrong_decision"),
        ({"decision": "answer", "answer": 1}, "wrong_decision"),
        ({"decision": "approve", "answer": 1}, "wrong_decision"),
        ({"decision": "answer"}, "invalid_answer"),
        ({"decision": "allow"}, "invalid_request"),
        ({"decision": None}, "invalid_request"),
        ({}, "invalid_request"),
        ({"decision": "approve", "confirmed": True}, "invalid_request"),
        ({"decision": "approve", "version": "1"}, "invalid_request"),
        ({"decision": "approve", "version": 0}, "invalid_request"),
        ({"decision": "approve", "version": True}, "invalid_request"),
        ({"decision": "approve", "note": "n" * 4_001}, "invalid_request"),
    ],
)
async def test_what_does_not_fit_a_call_is_refused_and_leaves_the_question_open(
    server: Server, body: dict[str, Any], code: str
) -> None:
    run, asked = await server.asked("refunds", PAYMENT)
    response = await server.http.post(f"/v1/approvals/{asked['id']}/resolve", json=body)
    said = refused(response, 422, code)
    if code == "invalid_arguments":
        assert all(set(place) == {"loc", "msg"} for place in said["errors"])
        assert said["errors"]
    assert await server.pending(run["id"]) == [asked]
    assert server.till.done == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"json_schema": {"type": "integer"}}, "two"),
        ({"json_schema": {"type": "integer"}}, None),
        ({"json_schema": {"type": "object", "required": ["n"]}}, {}),
        ({"choices": [1, 2]}, 3),
        ({"choices": [1, 2]}, True),
        ({"choices": ["a", None]}, "b"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused(server: Server, question: dict[str, Any], answer: Any) -> None:
    run, asked = await server.asked("asker", question)
    refused(await server.resolve(asked, "answer", answer=answer), 422, "invalid_answer")
    refused(await server.resolve(asked, "approve"), 422, "wrong_decision")
    assert await server.pending(run["id"]) == [asked]


async def test_what_is_refused_is_not_echoed(server: Server) -> None:
    _, asked = await server.asked("refunds", PAYMENT)
    secret = "do-not-echo-this"
    response = await server.resolve(asked, "approve", arguments={"order": "7", "amount": secret})
    assert refused(response, 422, "invalid_arguments")["errors"][0]["loc"] == ["amount"]
    assert secret not in response.text


async def test_an_answer_that_is_nested_without_end_is_no_error_of_ours(server: Server) -> None:
    nested: Any = "bottom"
    for _ in range(150):
        nested = {"a": nested}
    schema = {"$ref": "#/$defs/t", "$defs": {"t": {"properties": {"a": {"$ref": "#/$defs/t"}}, "type": "object"}}}
    _, asked = await server.asked("asker", {"json_schema": schema})
    refused(await server.resolve(asked, "answer", answer=nested), 422, "invalid_answer")


@pytest.mark.parametrize("id", [UNKNOWN, "apr_x", "%00", UNKNOWN.upper(), f"run_{'0' * 26}"])
async def test_an_unknown_question_is_404(server: Server, id: str) -> None:
    refused(await server.http.get(f"/v1/approvals/{id}"), 404, "approval_not_found")
    answer = await server.http.post(f"/v1/approvals/{id}/resolve", json={"decision": "approve"})
    refused(answer, 404, "approval_not_found")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("status=open", 422),
        ("type=leave", 422),
        ("older_than=-1", 422),
        ("older_than=soon", 422),
        ("older_than=999999999999", 422),
        ("run_id=7", 422),
        ("run_id=apr_0", 422),
        ("created_before=yesterday", 422),
        ("cursor=nonsense", 400),
        ("agent=%00", 422),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(server: Server, query: str, status: int) -> None:
    response = await server.http.get(f"/v1/approvals?{query}")
    assert response.status_code == status, response.text


async def test_a_cursor_belongs_to_its_filters(server: Server) -> None:
    for n in range(2):
        await server.asked("refunds", {"order": str(n), "amount": 100})
    cursor = (await server.http.get("/v1/approvals?limit=1")).json()["next_cursor"]
    for query in ("status=pending", "older_than=0", "agent=refunds"):
        refused(await server.http.get(f"/v1/approvals?cursor={cursor}&{query}"), 400, "bad_cursor")
    refused(await server.http.get(f"/v1/runs?cursor={cursor}"), 400, "bad_cursor")


# -- it cannot be bypassed --------------------------------------------------------------------------------------------


async def test_resolving_twice_tells_the_first_decision(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    await either.resolve(asked, "approve", note="mine")
    at_once = refused(await either.resolve(asked, "reject"), 409, "already_resolved")
    await either.settled(run["id"])
    later = refused(
        await either.resolve(asked, "approve", arguments={"order": "7", "amount": 1}), 409, "already_resolved"
    )
    for said in (at_once, later):
        assert (said["decision"]["decision"], said["decision"]["note"]) == ("approve", "mine")
    assert either.till.done == [("refund", "7", 500)]


async def test_what_a_client_claims_is_no_leave(either: Server) -> None:
    for input in ({**PAYMENT, "confirmed": True, "approved": True}, {**PAYMENT, "approval": {"decision": "approve"}}):
        claims = {"confirmed": True, "approved": True, "skip_approval": "yes"}
        run = await either.start("refunds", input, metadata=claims, tags=["approved"], wait=30)
        assert (run["status"], run["waiting_on"][0]["type"]) == ("waiting", "approval")
    assert either.till.done == []


async def test_a_start_does_not_take_a_decision_with_it(server: Server) -> None:
    for member in ("confirmed", "approve", "approvals", "decision"):
        body = {"agent": "refunds", "input": PAYMENT, member: True}
        refused(await server.http.post("/v1/runs", json=body), 422, "invalid_request")


async def test_a_retry_asks_for_leave_anew(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    await either.resolve(asked, "reject", note="never")
    assert (await either.settled(run["id"]))["status"] == "failed"
    assert (await either.http.post(f"/v1/runs/{run['id']}/retry", json={})).status_code == 202
    again = await either.settled(run["id"])
    assert (again["status"], again["waiting_on"][0]["type"]) == ("waiting", "approval")
    (anew,) = await either.pending(run["id"])
    assert anew["id"] != asked["id"]
    assert refused(await either.resolve(asked, "approve"), 409, "already_resolved")["decision"]["note"] == "never"
    assert either.till.done == []
    assert (await either.resolve(anew, "approve")).status_code == 200
    assert (await either.settled(run["id"]))["output"] == "refunded 500"
    assert either.till.done == [("refund", "7", 500)]


async def test_leave_for_one_run_is_none_for_the_next_of_its_thread(either: Server) -> None:
    run, asked = await either.asked("cashier", "Refund order 7, please.")
    await either.resolve(asked, "approve")
    assert (await either.settled(run["id"]))["status"] == "succeeded"
    more = {"thread_id": run["thread_id"], "metadata": {"approval_id": asked["id"]}}
    second, other = await either.asked("cashier", "It was approved: refund order 7 again.", **more)
    assert other["id"] != asked["id"]
    assert other["run_id"] == second["id"]
    assert either.till.done == [("refund", "7", 500)]


async def test_leave_does_not_cover_what_the_rules_forbid(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    done = await either.resolve(asked, "approve", arguments={"order": "7", "amount": 20_000})
    assert done.status_code == 200
    ended = await either.settled(run["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "tool_denied")
    assert either.till.done == []


async def test_leave_is_bound_to_the_arguments_that_were_shown(either: Server) -> None:
    """Who looked before an edit by somebody else does not approve the edit."""
    first, second = await somebody(either, "first"), await somebody(either, "second")
    run = await either.start_as(first, "destroys", PAYMENT)
    (shown,) = await either.pending(run["id"], first)
    edited = await either.resolve(shown, "approve", arguments={"order": "7", "amount": 900}, headers=first)
    assert (edited.json()["status"], edited.json()["version"]) == ("pending", 2)
    stale = await either.resolve(shown, "approve", version=shown["version"], headers=second)
    refused(stale, 409, "version_conflict")
    third = await somebody(either, "third")
    back = await either.resolve(shown, "approve", arguments=PAYMENT, version=2, headers=third)
    decisions = back.json()["decisions"]
    assert [d["void"] for d in decisions] == [True, False], "what was said of other arguments does not count"
    assert back.json()["status"] == "pending"
    assert either.till.done == []


async def test_who_started_it_is_not_the_second_pair_of_eyes(either: Server) -> None:
    first, second = await somebody(either, "first"), await somebody(either, "second")
    run = await either.start_as(first, "wires", {"order": "7", "amount": 2_000})
    (asked,) = await either.pending(run["id"], first)
    assert (asked["four_eyes"], asked["reason"]) == (True, "a wire cannot be called back; it is a lot")
    said = refused(await either.resolve(asked, "approve", headers=first), 403, "four_eyes")
    assert "may not be the one who approves it" in said["detail"]
    assert either.till.done == []
    assert (await either.resolve(asked, "approve", headers=second)).status_code == 200
    assert (await either.settled(run["id"], second))["output"] == "wired 2000"


async def test_a_change_that_asks_for_more_is_decided_by_others_than_who_made_it(either: Server) -> None:
    first, second, third = [await somebody(either, name) for name in ("first", "second", "third")]
    run = await either.start_as(first, "wires", PAYMENT)
    (asked,) = await either.pending(run["id"], first)
    assert asked["four_eyes"] is False
    edited = await either.resolve(asked, "approve", arguments={"order": "7", "amount": 2_000}, headers=second)
    assert edited.json()["status"] == "approved"
    waiting = await either.settled(run["id"], second)
    assert (waiting["status"], either.till.done) == ("waiting", []), "that leave is not enough for this amount"
    (anew,) = await either.pending(run["id"], first)
    assert (anew["arguments"]["amount"], anew["four_eyes"]) == (2_000, True)
    for headers in (first, second):
        refused(await either.resolve(anew, "approve", headers=headers), 403, "four_eyes")
    assert (await either.resolve(anew, "approve", headers=third)).status_code == 200
    assert (await either.settled(run["id"], third))["output"] == "wired 2000"
    assert either.till.done == [("wire", "7", 2_000)]


async def test_who_lacks_the_role_may_not_decide(either: Server) -> None:
    decider = ("approvals:read", "approvals:write", "runs:read", "runs:write")
    clerk = await somebody(either, "clerk", *decider)
    boss = await somebody(either, "boss", *decider, "role:boss")
    run = await either.start_as(clerk, "closes", PAYMENT)
    (asked,) = await either.pending(run["id"], clerk)
    assert asked["may_decide"] == [{"roles": ["approver", "boss"]}]
    said = refused(await either.resolve(asked, "approve", headers=clerk), 403, "role_missing")
    assert "approver or boss" in said["detail"]
    refused(await either.resolve(asked, "reject", headers=clerk), 403, "role_missing")
    assert (await either.resolve(asked, "approve", headers=boss)).status_code == 200
    assert (await either.settled(run["id"], boss))["output"] == "closed"


async def test_a_credential_that_may_only_read_does_not_decide(server: Server) -> None:
    reader = await somebody(server, "reader", "approvals:read", "role:approver")
    boss = await somebody(server, "boss")
    run = await server.start_as(boss, "closes", PAYMENT)
    (asked,) = await server.pending(run["id"], reader)
    refused(await server.resolve(asked, "approve", headers=reader), 403, "forbidden")


async def test_what_expired_cannot_be_approved(either: Server) -> None:
    run, asked = await either.asked("hurries", PAYMENT)
    await asyncio.sleep(0.002)  # it stands for 1 ms
    refused(await either.resolve(asked, "approve"), 409, "expired")  # also if nobody has closed it yet
    told = await either.events(f"/v1/runs/{run['id']}/events")  # to the end: expiry needs nobody who watches
    assert (told[-1].type, told[-1].data["data"]["error"]["code"]) == ("run.failed", "approval_expired")
    assert (await either.http.get(f"/v1/approvals/{asked['id']}")).json()["status"] == "expired"
    refused(await either.resolve(asked, "approve"), 409, "expired")
    assert either.till.done == []


async def test_another_tenants_question_is_like_an_unknown_one(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    stranger = await outsider(either)

    async def said(id: str) -> list[dict[str, Any]]:
        shown = await either.http.get(f"/v1/approvals/{id}", headers=stranger.headers)
        resolved = await either.resolve({"id": id}, "approve", headers=stranger.headers)
        return [{k: v for k, v in r.json().items() if k != "request_id"} for r in (shown, resolved)]

    assert await said(asked["id"]) == await said(UNKNOWN)
    for query in ({}, {"run_id": run["id"]}):
        found = await either.http.get("/v1/approvals", params=query, headers=stranger.headers)
        assert found.json()["data"] == []
    assert either.till.done == []


async def test_nobody_approves_for_a_cancelled_run(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    await either.http.post(f"/v1/runs/{run['id']}/cancel", json={})
    assert (await either.settled(run["id"]))["status"] == "cancelled"
    refused(await either.resolve(asked, "approve"), 409, "run_ended")
    shown = (await either.http.get(f"/v1/approvals/{asked['id']}")).json()
    assert (shown["status"], shown["decisions"]) == ("cancelled", [])
    assert either.till.done == []


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_fifty_who_resolve_at_once_make_one_decision_and_one_call(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    said = ["approve" if n % 2 else "reject" for n in range(50)]
    answers = await asyncio.gather(*(either.resolve(asked, one, note=f"n{n}") for n, one in enumerate(said)))
    (won,) = [a for a in answers if a.status_code == 200]
    (decision,) = won.json()["decisions"]
    for lost in (a for a in answers if a is not won):
        assert refused(lost, 409, "already_resolved")["decision"] == decision
    await either.settled(run["id"])
    assert either.till.done == ([("refund", "7", 500)] if decision["decision"] == "approve" else [])
