"""Who is let in: scopes of routes, API keys, and the loopback rule while no key exists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from holdfast import Context, Holdfast, workflow
from holdfast.domain.access import Scope
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.errors import Invalid, NotFound, Refused
from holdfast.domain.ids import KeyId
from holdfast.service import access
from holdfast.service.access import Auth, Visit, strangeness
from holdfast.web import api
from tests.web.serving import ADMIN, PEPPER, Server, listening, outsider, serving


def concrete(path: str) -> str:
    return (
        path.replace("{run_id}", "run_00000000000000000000000000")
        .replace("{thread_id}", "thr_00000000000000000000000000")
        .replace("{approval_id}", "apr_00000000000000000000000000")
        .replace("{effect_id}", "eff_00000000000000000000000000")
        .replace("{agent_id}", "echo")
        .replace("{name}", "lookup")
        .replace("{seq}", "1")
    )


def every_route(server: Server) -> Iterator[tuple[str, str, tuple[Scope, ...]]]:
    for route in api.routes_of(server.app):
        for method in sorted(route.methods):
            yield method, concrete(route.path), api.scopes_of(route)


async def test_every_route_declares_its_scope(server: Server) -> None:
    undeclared = [route.path for route in api.routes_of(server.app) if not api.scopes_of(route)]
    assert undeclared == []
    assert [type(r) for r in server.app.routes if r not in api.routes_of(server.app)] == [], "every route is checked"


async def test_only_what_says_nothing_of_anybody_is_public(server: Server) -> None:
    public = {path for _, path, scopes in every_route(server) if scopes == (Scope.PUBLIC,)}
    ui = {"/", "/ui", "/ui/{path:path}"}
    assert public == {"/healthz", "/readyz", "/docs", "/docs/reference.js", "/openapi.json", "/v1/session", *ui}


async def test_a_configured_server_wants_a_key_for_every_route_and_for_unknown_ones(server: Server) -> None:
    await server.auth.create_key(ADMIN, "any")
    for method, path, scopes in every_route(server):
        if scopes != (Scope.PUBLIC,):
            response = await server.http.request(method, path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthenticated"), (method, path)
            assert response.headers["www-authenticate"] == "Bearer"
    unknown = await server.http.get("/v1/nothing")
    assert unknown.status_code == 401


async def test_a_key_opens_only_the_routes_of_its_scopes(server: Server) -> None:
    made = await server.auth.create_key(ADMIN, "narrow", scopes=["info:read"])
    headers = {"Authorization": f"Bearer {made.token}"}
    for method, path, scopes in every_route(server):
        if scopes == (Scope.PUBLIC,):
            continue
        response = await server.http.request(method, path, headers=headers)
        if scopes in ((Scope.INFO_READ,), (Scope.AUTHENTICATED,)):
            assert response.status_code == 200
        else:
            assert (response.status_code, response.json()["code"]) in [(403, "forbidden"), (422, "invalid_request")]
            if response.status_code == 422:  # the body is missing: with one, the scope is what fails
                body: dict[str, Any] = {"agent": "echo"} if path == "/v1/runs" else {}
                body = {"enabled": True} if path.endswith("/enabled") else body
                body = {"name": "paid"} if path == "/v1/events" else body
                body = {"decision": "approve"} if "/approvals/" in path else body
                body = {"outcome": "committed"} if "/effects/" in path else body
                again = await server.http.request(method, path, headers=headers, json=body)
                assert again.json()["code"] == "forbidden", (method, path)


async def test_each_scope_opens_its_routes(server: Server) -> None:
    opened = 0
    for scopes in {scopes for _, _, scopes in every_route(server)} - {(Scope.PUBLIC,), (Scope.AUTHENTICATED,)}:
        made = await server.auth.create_key(ADMIN, "some", scopes=[scope.value for scope in scopes])
        headers = {"Authorization": f"Bearer {made.token}"}
        for method, path, needed in every_route(server):
            if set(needed) <= set(scopes) and method == "GET" and path != "/v1/changes":
                response = await server.http.get(path, headers=headers)
                assert response.status_code in (200, 404), (scopes, path, response.text)
                opened += 1
    assert opened > 12


@pytest.mark.parametrize(("query", "accept"), [("?wait=1", "application/json"), ("", "text/event-stream")])
async def test_a_key_that_may_not_see_runs_starts_none_whose_end_it_wants_to_see(
    server: Server, query: str, accept: str
) -> None:
    made = await server.auth.create_key(ADMIN, "blind", scopes=["runs:write"])
    headers = {"Authorization": f"Bearer {made.token}", "Accept": accept}
    refused = await server.http.post(f"/v1/runs{query}", json={"agent": "echo"}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    admin = await server.auth.create_key(ADMIN, "admin")
    seen = await server.http.get("/v1/runs", headers={"Authorization": f"Bearer {admin.token}"})
    assert seen.json()["data"] == []


async def test_a_key_that_may_only_write_is_answered_with_what_it_wrote(either: Server) -> None:
    made = await either.auth.create_key(ADMIN, "writer", scopes=["runs:write", "threads:write"])
    writer = {"Authorization": f"Bearer {made.token}"}

    async def said(method: str, path: str, body: dict[str, Any], key: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = writer if key is None else {**writer, "Idempotency-Key": key}
        response = await either.http.request(method, path, json=body, headers=headers)
        return response.status_code, response.json()

    for status in (201, 201):
        code, thread = await said("POST", "/v1/threads", {"title": "Lamps"}, "make")
        assert (code, thread["title"]) == (status, "Lamps")
    code, thread = await said("PATCH", f"/v1/threads/{thread['id']}", {"title": "Chairs"})
    assert (code, thread["title"]) == (200, "Chairs")
    for _ in range(2):
        code, run = await said("POST", "/v1/runs", {"agent": "sleepy"}, "start")
        assert (code, run["agent"]) == (201, "sleepy")
    code, run = await said("POST", f"/v1/runs/{run['id']}/cancel", {})
    assert (code, run["id"]) == (202, run["id"])
    admin = {"Authorization": f"Bearer {(await either.auth.create_key(ADMIN, 'admin')).token}"}
    failed = await either.http.post("/v1/runs?wait=30", json={"agent": "broken"}, headers=admin)
    code, run = await said("POST", f"/v1/runs/{failed.json()['id']}/retry", {})
    assert (code, run["id"]) == (202, failed.json()["id"])
    for path in (f"/v1/runs/{run['id']}", f"/v1/threads/{thread['id']}"):
        assert (await either.http.get(path, headers=writer)).json()["code"] == "forbidden"


# -- keys -----------------------------------------------------------------------------------------------------------


async def test_a_key_lets_its_holder_in_as_its_own_principal(either: Server) -> None:
    made = await either.auth.create_key(ADMIN, "mine")
    assert made.token.startswith("hf_")
    headers = {"Authorization": f"Bearer {made.token}"}
    response = await either.http.post("/v1/runs", json={"agent": "echo", "input": 1}, headers=headers)
    assert response.status_code == 201
    run = response.json()
    mine = await either.http.get(f"/v1/runs?principal={run['initiator']}", headers=headers)
    assert [r["id"] for r in mine.json()["data"]] == [run["id"]]


async def test_wrong_expired_and_revoked_keys_are_refused_alike(server: Server) -> None:
    good = await server.auth.create_key(ADMIN, "good")
    expired = await server.auth.create_key(ADMIN, "expired", expires_at=SYSTEM.now_ms() - 1)
    revoked = await server.auth.create_key(ADMIN, "revoked")

    async def asked(authorization: str) -> tuple[int, dict[str, Any]]:
        response = await server.http.get("/v1/runs", headers={"Authorization": authorization})
        body = response.json()
        body.pop("request_id", None)
        return response.status_code, body

    assert (await asked(f"Bearer {revoked.token}"))[0] == 200
    await server.auth.revoke_key(ADMIN, revoked.key.id)
    assert (await asked(f"Bearer {good.token}"))[0] == 200
    status, refused = await asked(f"Bearer {revoked.token}")
    assert (status, refused["code"]) == (401, "invalid_api_key"), "revoked at once"
    head, _, secret = good.token.partition(".")
    wrong = [
        f"Bearer {expired.token}",
        f"Bearer {good.token}x",
        f"Bearer {head}.{secret[::-1]}",
        f"Bearer {expired.token.partition('.')[0]}.{secret}",
        f"Bearer {head}",
        f"Bearer hf_00000000000000000000000000.{secret}",
        "Bearer nothing",
        "Bearer",
        f"Basic {good.token}",
        good.token,
    ]
    for authorization in wrong:
        assert await asked(authorization) == (401, refused), authorization


async def test_a_credential_that_is_wrong_is_refused_where_none_would_be_needed(server: Server) -> None:
    assert (await server.http.get("/v1/runs")).status_code == 200
    response = await server.http.get("/v1/runs", headers={"Authorization": "Bearer hf_x.y"})
    assert response.json()["code"] == "invalid_api_key"


async def test_revoking_the_last_key_does_not_open_the_house_again(server: Server) -> None:
    made = await server.auth.create_key(ADMIN, "only")
    await server.auth.revoke_key(ADMIN, made.key.id)
    assert (await server.http.get("/v1/runs")).status_code == 401
    afresh = Auth(server.house, pepper=PEPPER)
    assert await afresh.configured()


async def test_another_process_hears_of_a_revocation_within_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Auth(server.house, pepper=PEPPER)
    made = await server.auth.create_key(ADMIN, "shared")
    assert (await elsewhere.authenticate(made.token)).name == "shared"
    await server.auth.revoke_key(ADMIN, made.key.id)
    assert (await elsewhere.authenticate(made.token)).name == "shared", "still in its cache"
    assert access.STALE_MS <= 5_000
    monkeypatch.setattr(access, "STALE_MS", -1)
    with pytest.raises(access.Unauthenticated):
        await elsewhere.authenticate(made.token)


async def test_a_key_of_another_pepper_is_worth_nothing(server: Server) -> None:
    made = await server.auth.create_key(ADMIN, "mine")
    with pytest.raises(access.Unauthenticated):
        await Auth(server.house, pepper=b"another").authenticate(made.token)


async def test_the_secret_is_not_stored(server: Server) -> None:
    made = await server.auth.create_key(ADMIN, "mine")
    secret = made.token.partition(".")[2]
    (key,) = await server.auth.list_keys(ADMIN)
    assert secret.encode() not in key.digest
    assert len(key.digest) == 32
    path = server.house.database.url.removeprefix("sqlite:///")
    for name in (path, f"{path}-wal"):
        with open(name, "rb") as file:  # noqa: ASYNC230
            assert secret.encode() not in file.read()


async def test_only_an_admin_of_the_tenant_manages_its_keys(server: Server) -> None:
    made = await server.auth.create_key(ADMIN, "narrow", scopes=["runs:read"])
    holder = await server.auth.authenticate(made.token)
    for refused in (
        server.auth.create_key(holder, "more"),
        server.auth.list_keys(holder),
        server.auth.revoke_key(holder, made.key.id),
    ):
        with pytest.raises(Refused):
            await refused
    stranger = (await outsider(server)).principal
    with pytest.raises(NotFound):
        await server.auth.revoke_key(stranger, made.key.id)
    with pytest.raises(NotFound):
        await server.auth.revoke_key(ADMIN, KeyId(b"0" * 16))
    assert (await server.auth.authenticate(made.token)).name == "narrow"
    with pytest.raises(Invalid):
        await server.auth.create_key(ADMIN, "odd", scopes=["everything"])
    with pytest.raises(Invalid):
        await server.auth.create_key(ADMIN, "  ")


# -- loopback -------------------------------------------------------------------------------------------------------

LOCAL = {
    "authorization": None,
    "peer": "127.0.0.1",
    "host": "127.0.0.1:8000",
    "origin": None,
    "scheme": "http",
    "forwarded": False,
    "json_body": None,
}


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"host": "localhost"},
        {"host": "LOCALHOST:80"},
        {"peer": "::1", "host": "[::1]:8000"},
        {"peer": "::ffff:127.0.0.1"},
        {"peer": "127.8.8.8", "host": "127.8.8.8"},
        {"origin": "http://127.0.0.1:8000"},
        {"json_body": True},
    ],
)
def test_a_plain_local_request_is_served_without_configured_authentication(shown: dict[str, Any]) -> None:
    assert strangeness(Visit(**{**LOCAL, **shown})) is None


ELSEWHERE, HOST, ORIGIN = "does not come from this machine", "does not name this machine", "has an Origin"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"peer": "192.168.0.7"}, ELSEWHERE),
        ({"peer": None}, ELSEWHERE),
        ({"peer": "testclient"}, ELSEWHERE),
        ({"host": "example.com"}, HOST),
        ({"host": "127.0.0.1.example.com"}, HOST),
        ({"host": "localhost.example.com:8000"}, HOST),
        ({"host": None}, HOST),
        ({"host": ""}, HOST),
        ({"host": "[::2]:80"}, HOST),
        ({"forwarded": True}, "was forwarded by a proxy"),
        ({"origin": "http://localhost:8000"}, ORIGIN),
        ({"origin": "https://127.0.0.1:8000"}, ORIGIN),
        ({"origin": "http://127.0.0.1:8001"}, ORIGIN),
        ({"origin": "null"}, ORIGIN),
        ({"origin": "http://evil.example"}, ORIGIN),
        ({"json_body": False}, "has a body whose Content-Type"),
    ],
)
async def test_anything_else_is_refused_in_a_sentence_about_the_request(
    server: Server, shown: dict[str, Any], said: str
) -> None:
    with pytest.raises(access.Unauthenticated, match=f"only plain local requests are served; this one {said}"):
        await server.auth.admit(Visit(**{**LOCAL, **shown}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.com"},
        {"Origin": "http://evil.example"},
        {"Forwarded": "for=1.2.3.4"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "127.0.0.1"},
    ],
)
async def test_a_request_that_shows_another_origin_is_401(server: Server, headers: dict[str, str]) -> None:
    response = await server.http.get("/v1/runs", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "authentication_not_configured")
    assert (await server.http.get("/healthz", headers=headers)).status_code == 200


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_a_local_body_that_a_web_page_could_send_is_401(server: Server, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await server.http.post("/v1/runs", content=b'{"agent":"echo"}', headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "authentication_not_configured")


async def test_a_peer_that_is_not_this_machine_is_401(server: Server) -> None:
    transport = httpx.ASGITransport(server.app, client=("10.0.0.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.get("/v1/runs")
    assert (response.status_code, response.json()["code"]) == (401, "authentication_not_configured")


async def test_settings_can_demand_a_key_before_one_exists(sqlite_url: str) -> None:
    async with serving(sqlite_url, required=True) as server:
        assert (await server.http.get("/v1/runs")).json()["code"] == "unauthenticated"
        made = await server.auth.create_key(ADMIN, "first")
        headers = {"Authorization": f"Bearer {made.token}"}
        assert (await server.http.get("/v1/runs", headers=headers)).status_code == 200


async def test_the_api_works_under_a_prefix_of_another_application(server: Server) -> None:
    outer = FastAPI()
    outer.mount("/agents", server.app)
    async with listening(outer) as url, httpx.AsyncClient(base_url=url, timeout=40) as http:
        made = await http.post("/agents/v1/runs", json={"agent": "echo", "input": 1})
        assert made.status_code == 201
        found = await http.get(made.headers["location"])
        assert found.json()["id"] == made.json()["id"]
        assert made.headers["location"].startswith("/agents/v1/runs/run_")
        assert (await http.get("/agents/healthz")).status_code == 200
        document = (await http.get("/agents/openapi.json")).json()
        assert document["servers"] == [{"url": "/agents"}]


def test_an_application_that_holdfast_is_mounted_in_may_be_started_again(tmp_path: Path) -> None:
    @workflow("double")
    async def double(ctx: Context, number: int) -> int:
        return 2 * number

    outer = FastAPI()
    Holdfast(agents=[double], database=f"sqlite:///{tmp_path / 'x.db'}").mount(outer, "/agents")
    for number in (1, 2):
        with TestClient(outer, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
            run = client.post("/agents/v1/runs?wait=30", json={"agent": "double", "input": number})
            assert run.json()["output"] == 2 * number


# -- tenants --------------------------------------------------------------------------------------------------------


async def test_another_tenants_resources_are_unknown_ones(either: Server) -> None:
    run = await either.start("chat", "A lamp.", external_id="mine", tags=["t"], wait=30)
    _, asked = await either.asked("couriers", {"order": "7", "amount": 5})
    other = await outsider(either)
    ours = {
        "{run_id}": run["id"],
        "{thread_id}": run["thread_id"],
        "{seq}": "1",
        "{approval_id}": asked["id"],
        "{effect_id}": asked["effect_id"],
    }
    nobodys = {name: "1" if name == "{seq}" else f"{id[:3]}_{'0' * 26}" for name, id in ours.items()}
    bodies: dict[str, dict[str, Any]] = {
        "{approval_id}/resolve": {"decision": "approve"},
        "{effect_id}/resolve": {"outcome": "committed"},
        "/fork": {"at": 0},
        "/edit": {"message_id": f"msg_{'0' * 26}", "message": "x"},
    }
    checked = 0
    for route in api.routes_of(either.app):
        if "_id}" not in route.path or "agent_id" in route.path:
            continue
        for method in sorted(route.methods):
            answers: list[Any] = []
            for names in (ours, nobodys):
                path = route.path
                for name, value in names.items():
                    path = path.replace(name, value)
                body = next((body for end, body in bodies.items() if route.path.endswith(end)), {})
                sent = body if method in ("POST", "PATCH") else None
                response = await either.http.request(method, path, headers=other.headers, json=sent)
                answer = response.json()
                answer.pop("request_id")
                answers.append((response.status_code, answer))
            assert answers[0] == answers[1], (method, route.path)
            assert answers[0][0] == 404, (method, route.path)
            checked += 1
    assert checked > 12


async def test_another_tenants_rows_are_in_no_list(either: Server) -> None:
    run = await either.start("echo", 1, external_id="mine", tags=["t"], wait=30)
    other = await outsider(either)
    for query in (
        "",
        "external_id=mine",
        "tag=t",
        f"thread_id={run['thread_id']}",
        f"parent_id={run['id']}",
        f"principal={run['initiator']}",
    ):
        response = await either.http.get(f"/v1/runs?{query}", headers=other.headers)
        assert response.json() == {"data": [], "next_cursor": None}, query
    assert (await either.http.get("/v1/threads", headers=other.headers)).json()["data"] == []
    metrics = (await either.http.get("/metrics", headers=other.headers)).text
    assert 'holdfast_runs{status="succeeded"} 0' in metrics
    taken = await either.http.post("/v1/runs", json={"agent": "echo", "external_id": "mine"}, headers=other.headers)
    assert taken.status_code == 201, "an external id belongs to its tenant"
    into = await either.http.post(
        "/v1/runs", json={"agent": "echo", "thread_id": run["thread_id"]}, headers=other.headers
    )
    assert (into.status_code, into.json()["code"]) == (404, "thread_not_found")


async def test_a_cursor_of_another_tenant_is_refused(server: Server) -> None:
    for n in range(2):
        await server.start("echo", n, wait=30)
    cursor = (await server.http.get("/v1/runs?limit=1")).json()["next_cursor"]
    other = await outsider(server)
    response = await server.http.get(f"/v1/runs?limit=1&cursor={cursor}", headers=other.headers)
    assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")


async def test_a_tenants_kill_switch_is_its_own(server: Server) -> None:
    other = await outsider(server)
    mine = {"Authorization": f"Bearer {(await server.auth.create_key(ADMIN, 'mine')).token}"}
    off = await server.http.put("/v1/agents/echo/enabled", json={"enabled": False}, headers=other.headers)
    assert off.json()["enabled"] is False
    assert (await server.http.get("/v1/agents/echo", headers=mine)).json()["enabled"] is True
    refused = await server.http.post("/v1/runs", json={"agent": "echo"}, headers=other.headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "agent_disabled")
    assert (await server.http.post("/v1/runs", json={"agent": "echo"}, headers=mine)).status_code == 201
