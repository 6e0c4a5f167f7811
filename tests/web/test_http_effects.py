"""The effect ledger over HTTP: what was done, and people's word on what nobody knows."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.web.serving import ADMIN, Server, outsider

PAYMENT = {"order": "7", "amount": 500}
UNKNOWN = f"eff_{'0' * 26}"


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    return response.json()


async def lost(server: Server) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run that waits because nobody knows what became of its effect, and that effect."""
    run = await server.start("couriers", PAYMENT, wait=30)
    (effect,) = await listed(server, status="unknown", run_id=run["id"])
    return run, effect


async def listed(server: Server, **query: Any) -> list[dict[str, Any]]:
    response = await server.http.get("/v1/effects", params=query)
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def resolve(server: Server, effect: dict[str, Any], outcome: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    body = {"outcome": outcome, **more}
    return await server.http.post(f"/v1/effects/{effect['id']}/resolve", json=body, headers=headers)


async def test_an_effect_shows_in_the_ledger_and_on_its_step(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    (planned,) = await listed(either, run_id=run["id"])
    assert (planned["status"], planned["attempt"], planned["started_at"]) == ("planned", 0, None)
    assert asked["effect_id"] == planned["id"]
    await either.resolve(asked, "approve")
    await either.settled(run["id"])
    effect = (await either.http.get(f"/v1/effects/{planned['id']}")).json()
    assert {name: effect[name] for name in ("status", "attempt", "tool", "agent", "effect_class", "run_ended")} == {
        "status": "committed",
        "attempt": 1,
        "tool": "refund",
        "agent": "refunds",
        "effect_class": "unsafe",
        "run_ended": True,
    }
    assert (effect["arguments"], effect["run_id"], effect["step"]) == (PAYMENT, run["id"], "refunds#1")
    shown = {name: effect[name] for name in ("id", "effect_class", "status", "idempotency_key", "attempt")}
    rows = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    assert {row["key"]: row["effect"] for row in rows} == {"refunds#1/leave#1": None, "refunds#1": shown}
    seq = next(row["seq"] for row in rows if row["key"] == "refunds#1")
    assert (await either.http.get(f"/v1/runs/{run['id']}/steps/{seq}")).json()["effect"] == shown


async def test_an_effect_names_its_step_and_the_leave_that_it_was_begun_with(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    (planned,) = await listed(either, run_id=run["id"])
    assert (planned["step_seq"], planned["opened_pos"], planned["after_step"]) == (None, None, None)
    assert planned["approval_id"] is None, "nobody has given leave yet"
    await either.resolve(asked, "approve")
    await either.settled(run["id"])
    (row,) = await listed(either, run_id=run["id"])
    steps = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    seqs = {one["key"]: one["seq"] for one in steps}
    assert (row["step_seq"], row["after_step"]) == (seqs["refunds#1"], seqs["refunds#1/leave#1"])
    assert row["opened_pos"] > (await either.http.get(f"/v1/approvals/{asked['id']}")).json()["opened_pos"]
    assert row["approval_id"] == asked["id"]
    assert (await either.http.get(f"/v1/effects/{row['id']}")).json() == {**row, "result_schema": None}


async def test_a_call_that_took_no_leave_names_none(either: Server) -> None:
    run = await either.start("refunds", {"order": "7", "amount": 1}, wait=30)
    (effect,) = await listed(either, run_id=run["id"])
    assert (effect["status"], effect["approval_id"], effect["step_seq"]) == ("committed", None, 1)


async def test_leave_that_was_refused_is_not_what_an_effect_was_begun_with(either: Server) -> None:
    run, asked = await either.asked("refunds", PAYMENT)
    await either.resolve(asked, "reject")
    await either.settled(run["id"])
    (effect,) = await listed(either, run_id=run["id"])
    assert (effect["approval_id"], effect["started_at"]) == (None, None)


async def test_an_unknown_effect_says_where_it_stands_and_what_its_result_has_to_be(either: Server) -> None:
    run, effect = await lost(either)
    assert (effect["step_seq"], effect["after_step"]) == (None, 0)
    assert effect["opened_pos"] is not None
    shown = (await either.http.get(f"/v1/effects/{effect['id']}")).json()
    (asked,) = await either.pending(run["id"])
    assert shown["result_schema"] == asked["schema"] == {"type": "string"}
    await either.http.post(f"/v1/runs/{run['id']}/cancel", json={})
    await either.settled(run["id"])
    after = (await either.http.get(f"/v1/effects/{effect['id']}")).json()
    assert (after["status"], after["result_schema"]) == ("unknown", {"type": "string"})


async def test_effects_are_filtered_and_paged_newest_first(either: Server) -> None:
    runs = [await either.start("refunds", {"order": str(n), "amount": 1}, wait=30) for n in range(3)]
    everything = [effect["run_id"] for effect in await listed(either)]
    assert everything == [run["id"] for run in reversed(runs)]
    assert [e["run_id"] for e in await listed(either, run_id=runs[1]["id"])] == [runs[1]["id"]]
    assert await listed(either, tool="wire") == []
    assert await listed(either, status="unknown") == []
    assert len(await listed(either, status=["committed", "failed"], tool="refund")) == 3
    seen: list[str] = []
    query = "limit=1"
    while query:
        page = (await either.http.get(f"/v1/effects?{query}")).json()
        seen += [row["run_id"] for row in page["data"]]
        query = f"limit=1&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == everything


async def test_what_was_done_is_not_done_again(either: Server) -> None:
    run, effect = await lost(either)
    done = await resolve(either, effect, "committed", result="sent by hand", note="I called them")
    assert (done.status_code, done.json()["status"]) == (200, "committed")
    assert (await either.settled(run["id"]))["output"] == "sent by hand"
    assert either.till.done == [("courier", "7", 500)]


async def test_what_was_not_done_is_done_under_another_key(either: Server) -> None:
    run, effect = await lost(either)
    done = await resolve(either, effect, "not_done")
    assert done.status_code == 200
    assert (await either.settled(run["id"]))["output"] == "sent"
    assert len(either.till.done) == 2
    after = (await either.http.get(f"/v1/effects/{effect['id']}")).json()
    assert (after["status"], after["attempt"]) == ("committed", 2)
    assert after["idempotency_key"] != effect["idempotency_key"]


async def test_an_effect_may_be_settled_in_the_inbox_too(either: Server) -> None:
    run, _ = await lost(either)
    (asked,) = await either.pending(run["id"])
    refused(await either.resolve(asked, "answer", answer="yes"), 422, "invalid_answer")
    refused(await either.resolve(asked, "answer", answer={"outcome": "perhaps"}), 422, "invalid_answer")
    refused(await either.resolve(asked, "approve"), 422, "wrong_decision")
    answer = {"outcome": "committed", "result": "sent by hand"}
    assert (await either.resolve(asked, "answer", answer=answer)).status_code == 200
    assert (await either.settled(run["id"]))["output"] == "sent by hand"


async def test_saying_it_twice_tells_what_was_said_first(either: Server) -> None:
    run, effect = await lost(either)
    await resolve(either, effect, "committed", result="by hand", note="I called them")
    await either.settled(run["id"])
    said = refused(await resolve(either, effect, "not_done"), 409, "already_resolved")["decision"]
    assert (said["answer"], said["note"]) == ({"outcome": "committed", "result": "by hand"}, "I called them")
    assert said["name"] == "local admin"


async def test_what_everybody_knows_needs_no_word(either: Server) -> None:
    run = await either.start("refunds", {"order": "7", "amount": 1}, wait=30)
    (effect,) = await listed(either, run_id=run["id"])
    assert refused(await resolve(either, effect, "not_done"), 409, "already_resolved")["decision"] is None


async def test_an_effect_of_a_run_that_ended_is_settled_and_resumes_nothing(either: Server) -> None:
    run, effect = await lost(either)
    await either.http.post(f"/v1/runs/{run['id']}/cancel", json={})
    assert (await either.settled(run["id"]))["status"] == "cancelled"
    (shown,) = await listed(either, status="unknown")
    assert (shown["id"], shown["run_ended"]) == (effect["id"], True)
    done = await resolve(either, effect, "not_done", note="they have no record of it")
    assert (done.status_code, done.json()["status"]) == (200, "failed")
    decision = done.json()["error"]["decision"]
    assert (decision["answer"]["outcome"], decision["note"]) == ("not_done", "they have no record of it")
    assert (
        refused(await resolve(either, effect, "committed", result="x"), 409, "already_resolved")["decision"] == decision
    )
    assert (await either.settled(run["id"]))["status"] == "cancelled"
    assert len(either.till.done) == 1


async def test_the_same_key_answers_the_same(either: Server) -> None:
    _, effect = await lost(either)
    headers = {"Idempotency-Key": "k-1"}
    for replayed in (None, "true"):
        done = await resolve(either, effect, "committed", result="x", headers=headers)
        assert (done.status_code, done.headers.get("idempotency-replayed")) == (200, replayed)
    refused(await resolve(either, effect, "not_done", headers=headers), 409, "idempotency_conflict")


async def test_metrics_count_what_waits_for_people(either: Server) -> None:
    async def samples() -> tuple[str, str]:
        lines = (await either.http.get("/metrics")).text.splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return found["holdfast_effects_unknown"], found["holdfast_approvals_pending"]

    assert await samples() == ("0", "0")
    _, effect = await lost(either)
    await either.asked("asker", {})
    assert await samples() == ("1", "2")
    await resolve(either, effect, "committed", result="x")
    assert await samples() == ("0", "1")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"outcome": "unknown"}, "invalid_request"),
        ({"outcome": "committed", "force": True}, "invalid_request"),
        ({"outcome": "committed", "note": 1}, "invalid_request"),
        ({"outcome": "not_done", "result": 1}, "invalid_answer"),
    ],
)
async def test_a_word_that_does_not_fit_is_refused(server: Server, body: dict[str, Any], code: str) -> None:
    _, effect = await lost(server)
    refused(await server.http.post(f"/v1/effects/{effect['id']}/resolve", json=body), 422, code)
    assert (await listed(server, status="unknown")) == [effect]


@pytest.mark.parametrize("id", [UNKNOWN, "eff_x", "%00", f"apr_{'0' * 26}"])
async def test_an_unknown_effect_is_404(server: Server, id: str) -> None:
    refused(await server.http.get(f"/v1/effects/{id}"), 404, "effect_not_found")
    answer = await server.http.post(f"/v1/effects/{id}/resolve", json={"outcome": "committed"})
    refused(answer, 404, "effect_not_found")


async def test_another_tenants_effect_is_like_an_unknown_one(either: Server) -> None:
    _, effect = await lost(either)
    stranger = await outsider(either)
    for id in (effect["id"], UNKNOWN):
        refused(await either.http.get(f"/v1/effects/{id}", headers=stranger.headers), 404, "effect_not_found")
        said = await resolve(either, {"id": id}, "committed", headers=stranger.headers)
        refused(said, 404, "effect_not_found")
    assert (await either.http.get("/v1/effects", headers=stranger.headers)).json()["data"] == []


async def test_a_credential_that_may_only_read_settles_nothing(server: Server) -> None:
    _, effect = await lost(server)
    made = await server.auth.create_key(ADMIN, "reader", scopes=["effects:read", "approvals:write"])
    headers = {"Authorization": f"Bearer {made.token}"}
    refused(await resolve(server, effect, "committed", headers=headers), 403, "forbidden")


async def test_fifty_who_settle_at_once_are_one_word(either: Server) -> None:
    run, effect = await lost(either)
    words = ["committed" if n % 2 else "not_done" for n in range(50)]
    answers = await asyncio.gather(*(resolve(either, effect, word, note=f"n{n}") for n, word in enumerate(words)))
    (won,) = [answer for answer in answers if answer.status_code == 200]
    said = words[answers.index(won)]
    decisions = [refused(a, 409, "already_resolved")["decision"] for a in answers if a is not won]
    assert all(decision == decisions[0] for decision in decisions)
    assert decisions[0]["answer"]["outcome"] == said
    assert decisions[0]["note"] == f"n{answers.index(won)}"
    await either.settled(run["id"])
    assert len(either.till.done) == (1 if said == "committed" else 2)
