"""Replay, export and import over HTTP, with a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast.agents.base import Context
from holdfast.agents.workflow import workflow
from holdfast.domain import limits
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Replayed
from holdfast.runtime.replayers import InThread, Replayers
from tests.web.serving import ADMIN, Server, outsider

NDJSON = {"content-type": "application/x-ndjson"}


async def ended(server: Server, agent: str, input: Any = None) -> dict[str, Any]:
    run = await server.start(agent, input, wait=30)
    assert run["status"] in ("succeeded", "failed"), run
    return run


async def test_a_run_replays_identical(server: Server) -> None:
    run = await ended(server, "chat", "A lamp, please.")
    answer = await server.http.post(f"/v1/runs/{run['id']}/replay")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["verdict"], shown["status"], shown["steps"], shown["agent"]) == ("identical", "done", 5, "chat")
    assert shown["version"] == {"recorded": run["agent_version"], "current": run["agent_version"]}
    assert (shown["isolation"], shown["reason"], shown["at"]) == ("thread", None, None)
    kept = await server.http.get(answer.headers["location"])
    assert kept.status_code == 200
    assert kept.json() == shown


async def test_a_divergence_names_the_step_and_both_sides(server: Server) -> None:
    run = await ended(server, "order", {"item": "lamp", "count": 2})

    @workflow("order")
    async def changed(ctx: Context, input: Any) -> Any:
        return await ctx.step("verify", lambda: input)

    server.house.agents = {**server.house.agents, "order": changed}
    server.house.replayer = Replayers(InThread(server.house.agents))
    shown = (await server.http.post(f"/v1/runs/{run['id']}/replay")).json()
    assert (shown["verdict"], shown["at"], shown["reason"]) == ("diverged", 1, "step_changed")
    assert (shown["recorded"]["key"], shown["requested"]["key"]) == ("check#1", "verify#1")
    assert shown["difference"] == {"path": "key", "recorded": "check#1", "requested": "verify#1"}
    assert shown["version"]["recorded"] != shown["version"]["current"]


async def test_a_replay_that_takes_long_is_polled(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.service.replays.start.__kwdefaults__", {"wait_ms": 0})
    run = await ended(server, "echo", 1)
    headers = {"Idempotency-Key": "once"}
    answer = await server.http.post(f"/v1/runs/{run['id']}/replay", headers=headers)
    assert (answer.status_code, answer.json()["status"], answer.json()["verdict"]) == (202, "pending", None)
    assert "retry-after" in answer.headers
    while (kept := await server.http.get(answer.headers["location"])).status_code == 202:
        pass
    assert (kept.status_code, kept.json()["verdict"]) == (200, "identical")
    again = await server.http.post(f"/v1/runs/{run['id']}/replay", headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json() == kept.json()


async def test_a_replay_whose_process_ended_is_told_as_lost(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: InThread, recorded: RecordedRun) -> Replayed:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(InThread, "replay", never)
    monkeypatch.setattr("holdfast.service.replays.start.__kwdefaults__", {"wait_ms": 0})
    run = await ended(server, "echo", 1)
    at = (await server.http.post(f"/v1/runs/{run['id']}/replay")).headers["location"]
    assert isinstance(server.house.replayer, Replayers)
    await server.house.replayer.stop()  # what a process does that ends
    assert (await server.http.get(at)).status_code == 202
    monkeypatch.setattr(limits, "REPLAY_MS", -(10**9))  # later
    answer = await server.http.get(at)
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert answer.json()["error"]["code"] == "replay_lost"


async def test_what_is_not_there_cannot_be_replayed(server: Server) -> None:
    run = await ended(server, "echo", 1)
    unknown = "run_" + "0" * 26
    for path in (f"/v1/runs/{unknown}/replay", "/v1/runs/nonsense/replay"):
        answer = await server.http.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
    answer = await server.http.get(f"/v1/runs/{run['id']}/replays/rpl_{'0' * 26}")
    assert (answer.status_code, answer.json()["code"]) == (404, "replay_not_found")
    answer = await server.http.get(f"/v1/runs/{run['id']}/replays/nonsense")
    assert (answer.status_code, answer.json()["code"]) == (404, "replay_not_found")
    server.house.agents = {}
    answer = await server.http.post(f"/v1/runs/{run['id']}/replay")
    assert (answer.status_code, answer.json()["code"]) == (409, "agent_not_found")
    assert "holdfast replay TARGET RUN" in answer.json()["detail"]


async def test_a_replay_goes_when_its_thread_goes(server: Server) -> None:
    run = await ended(server, "echo", 1)
    at = (await server.http.post(f"/v1/runs/{run['id']}/replay")).headers["location"]
    assert (await server.http.delete(f"/v1/threads/{run['thread_id']}")).status_code == 204
    assert (await server.http.get(at)).status_code == 404


async def listed(server: Server, run_id: str, **query: Any) -> dict[str, Any]:
    answer = await server.http.get(f"/v1/runs/{run_id}/replays", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_replays_of_a_run_are_listed_newest_first(either: Server) -> None:
    run, other = await ended(either, "chat", "A lamp, please."), await ended(either, "echo", 1)
    assert await listed(either, run["id"]) == {"data": [], "next_cursor": None}
    made = [(await either.http.post(f"/v1/runs/{run['id']}/replay")).json() for _ in range(3)]
    await either.http.post(f"/v1/runs/{other['id']}/replay")
    whole = await listed(either, run["id"])
    sides = {"recorded", "requested", "difference"}
    assert whole["data"] == [{k: v for k, v in one.items() if k not in sides} for one in reversed(made)]
    assert {(one["mode"], one["verdict"], one["requester"]) for one in whole["data"]} == {
        ("strict", "identical", "local admin")
    }
    first = await listed(either, run["id"], limit=2)
    second = await listed(either, run["id"], limit=2, cursor=first["next_cursor"])
    assert [*first["data"], *second["data"]] == whole["data"]
    assert second["next_cursor"] is None
    strange = await either.http.get(f"/v1/runs/{other['id']}/replays", params={"cursor": first["next_cursor"]})
    assert (strange.status_code, strange.json()["code"]) == (400, "bad_cursor")


async def test_whoever_may_not_see_a_run_sees_none_of_its_replays(server: Server) -> None:
    run = await ended(server, "echo", 1)
    await server.http.post(f"/v1/runs/{run['id']}/replay")
    path = f"/v1/runs/{run['id']}/replays"
    stranger = await outsider(server)
    for asked in (
        await server.http.get(path, headers=stranger.headers),
        await server.http.get("/v1/runs/nonsense/replays", headers=stranger.headers),
    ):
        assert (asked.status_code, asked.json()["code"]) == (404, "run_not_found")
    made = await server.auth.create_key(ADMIN, "writer", scopes=["runs:write"])
    refused = await server.http.get(path, headers={"Authorization": f"Bearer {made.token}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


# -- files ------------------------------------------------------------------------------------------------------------


async def exported(server: Server, run: dict[str, Any]) -> bytes:
    answer = await server.http.get(f"/v1/runs/{run['id']}/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert f"{run['id']}.jsonl" in answer.headers["content-disposition"]
    return answer.content


async def test_a_run_goes_out_and_comes_in_and_is_what_it_was(server: Server) -> None:
    await server.start("chat", "Hello.", wait=30, thread={"external_id": "talk", "create": True})
    run = await server.start("chat", "A lamp, please.", wait=30, thread={"external_id": "talk"})
    made = await server.http.post("/v1/runs/import", content=await exported(server, run), headers=NDJSON)
    assert made.status_code == 201, made.text
    (one,) = made.json()["data"]
    assert one["was"] == run["id"]
    assert one["run_id"] != run["id"]
    seen = (await server.http.get(f"/v1/runs/{one['run_id']}")).json()
    for name in ("status", "agent", "agent_version", "input", "output", "error", "usage", "steps", "created_at"):
        assert seen[name] == run[name], name
    assert seen["imported"] is True
    assert seen["metadata"]["holdfast.imported"]["run_id"] == run["id"]
    assert seen["thread_id"] == one["thread_id"] != run["thread_id"]
    thread = (await server.http.get(f"/v1/threads/{one['thread_id']}")).json()
    assert thread["title"].startswith("Imported: chat")
    for path in ("steps", "steps/1", "steps/3", "steps/1/prompt", "steps/5/prompt"):
        was, now = [await server.http.get(f"/v1/runs/{id}/{path}") for id in (run["id"], one["run_id"])]
        assert now.status_code == 200
        assert _bare(now.json()) == _bare(was.json()), path
    was, now = [
        (await server.http.get(f"/v1/threads/{id}/messages")).json()["data"]
        for id in (run["thread_id"], one["thread_id"])
    ]
    assert [(m["role"], m["parts"]) for m in now] == [(m["role"], m["parts"]) for m in was]
    shown = (await server.http.post(f"/v1/runs/{one['run_id']}/replay")).json()
    assert shown["verdict"] == "identical"
    listed = (await server.http.get("/v1/runs", params={"thread_id": one["thread_id"]})).json()["data"]
    assert [r["id"] for r in listed] == [one["run_id"]]
    again = await exported(server, one | {"id": one["run_id"]})
    assert json.loads(again.splitlines()[0])["run"]["run_id"] == run["id"]
    assert (await server.http.delete(f"/v1/threads/{one['thread_id']}")).status_code == 204


def _bare(value: Any) -> Any:
    """Without ids, which are new."""
    if isinstance(value, dict):
        gone = ("run_id", "thread_id", "message_id", "effect", "effect_id", "effects", "id")
        return {k: _bare(v) for k, v in value.items() if k not in gone}
    return [_bare(v) for v in value] if isinstance(value, list) else value


async def test_a_failed_run_that_was_imported_is_not_retried(server: Server) -> None:
    run = await ended(server, "broken")
    made = await server.http.post("/v1/runs/import", content=await exported(server, run), headers=NDJSON)
    (one,) = made.json()["data"]
    answer = await server.http.post(f"/v1/runs/{one['run_id']}/retry", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "imported")
    shown = (await server.http.post(f"/v1/runs/{one['run_id']}/replay")).json()
    assert shown["verdict"] == "identical"


async def test_a_run_that_waits_comes_in_ended(server: Server) -> None:
    run = await server.start("sleepy", wait=30)
    assert run["status"] == "waiting"
    made = await server.http.post("/v1/runs/import", content=await exported(server, run), headers=NDJSON)
    (one,) = made.json()["data"]
    seen = (await server.http.get(f"/v1/runs/{one['run_id']}")).json()
    assert (seen["status"], seen["metadata"]["holdfast.imported"]["status"]) == ("cancelled", "waiting")
    assert (await server.http.post(f"/v1/runs/{one['run_id']}/replay")).json()["verdict"] == "identical"


async def test_an_import_is_repeated_with_its_key(server: Server) -> None:
    run = await ended(server, "echo", 1)
    body = await exported(server, run) * 2
    headers = {**NDJSON, "Idempotency-Key": "k"}
    first = await server.http.post("/v1/runs/import", content=body, headers=headers)
    second = await server.http.post("/v1/runs/import", content=body, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert len(first.json()["data"]) == 2
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    other = await server.http.post("/v1/runs/import", content=body + b"\n", headers=headers)
    assert other.status_code in (409, 422)


def _lines(body: bytes) -> list[bytes]:
    return body.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("spoilt", "line", "words"),
    [
        (lambda b: b"", 1, "empty"),
        (lambda b: b"no json\n", 1, "not JSON"),
        (lambda b: b"[1]\n", 1, "not an object"),
        (lambda b: b'{"some": "thing"}\n', 1, "not the beginning of a run"),
        (lambda b: b.replace(b'"version":1', b'"version":2', 1), 1, "newer Holdfast"),
        (lambda b: b"".join(_lines(b)[:-1]), 4, "not complete"),
        (lambda b: b"".join([*_lines(b)[:1], *_lines(b)[2:]]), 4, "entries"),
        (lambda b: b.replace(b'"payload":1', b'"payload":2'), 5, "SHA-256"),
        (
            lambda b: b.replace(b'"type":"run.queued"', b'"type":"run.jumped"'),
            2,
            "jumped",
        ),
        (lambda b: b.replace(b'"line":"entry"', b'"line":"poem"', 1), 2, "poem"),
        (lambda b: b + b[: len(b) // 2], 6, ""),
    ],
)
async def test_a_file_that_is_not_whole_is_refused_and_nothing_is_brought_in(
    server: Server, spoilt: Any, line: int, words: str
) -> None:
    run = await ended(server, "echo", 1)
    body = await exported(server, run)
    assert len(_lines(body)) == 5, body
    before = (await server.http.get("/v1/runs")).json()
    answer = await server.http.post("/v1/runs/import", content=spoilt(body), headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_recording"), answer.text
    assert words in answer.json()["detail"]
    (place,) = answer.json()["errors"]
    assert place["loc"][1] >= line
    assert (await server.http.get("/v1/runs")).json() == before


async def test_an_import_is_json_lines_and_bounded(server: Server) -> None:
    answer = await server.http.post("/v1/runs/import", json={})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    run = await ended(server, "echo", "x" * (limits.BODY_BYTES_MAX - 1_000))
    body = await exported(server, run) * 3
    assert len(body) > limits.BODY_BYTES_MAX
    assert (await server.http.post("/v1/runs/import", content=body, headers=NDJSON)).status_code == 201
    answer = await server.http.post("/v1/runs/import", content=b"x" * (limits.IMPORT_BYTES_MAX + 1), headers=NDJSON)
    assert answer.status_code == 413


async def test_who_may_read_runs_may_replay_and_export_them_and_no_more(server: Server) -> None:
    run = await ended(server, "echo", 1)
    at = (await server.http.post(f"/v1/runs/{run['id']}/replay")).headers["location"]
    body = await exported(server, run)
    routes = [("POST", f"/v1/runs/{run['id']}/replay"), ("GET", at), ("GET", f"/v1/runs/{run['id']}/export")]
    statuses: dict[str, list[int]] = {}
    for scope in ("runs:read", "threads:read", "runs:write"):
        token = (await server.auth.create_key(ADMIN, scope, scopes=[scope])).token
        headers = {"Authorization": f"Bearer {token}"}
        answers = [await server.http.request(method, path, headers=headers) for method, path in routes]
        answers.append(await server.http.post("/v1/runs/import", content=body, headers={**NDJSON, **headers}))
        statuses[scope] = [answer.status_code for answer in answers]
    assert statuses == {
        "runs:read": [200, 200, 200, 403],
        "threads:read": [403, 403, 403, 403],
        "runs:write": [403, 403, 403, 201],
    }


async def test_another_tenants_runs_are_not_found(server: Server) -> None:
    run = await ended(server, "echo", 1)
    at = (await server.http.post(f"/v1/runs/{run['id']}/replay")).headers["location"]
    stranger = await outsider(server)
    for method, path in (
        ("POST", f"/v1/runs/{run['id']}/replay"), ("GET", f"/v1/runs/{run['id']}/export"), ("GET", at),
    ):  # fmt: skip
        answer = await server.http.request(method, path, headers=stranger.headers)
        assert answer.status_code == 404, path
