"""Signing in from a browser, over HTTP: the cookie, who somebody is, and what other sites cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from holdfast.domain import limits, sessions
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.ids import PRINCIPAL, text
from holdfast.service.access import NewKey
from holdfast.web import cookies, gate, sse
from tests.web import serving as serving_module
from tests.web.serving import ADMIN, PEPPER, Server, listening, outsider, serving

COOKIE = sessions.cookie_name(PEPPER)


async def key(server: Server, **more: Any) -> NewKey:
    return await server.auth.create_key(ADMIN, "mine", **more)


def attributes(response: httpx.Response) -> dict[str, str]:
    """What is said of the one cookie, names in lower case."""
    (header,) = response.headers.get_list("set-cookie")
    value, *rest = header.split("; ")
    assert value.startswith(f"{COOKIE}=")
    return {"value": value.partition("=")[2], **{one.partition("=")[0].lower(): one.partition("=")[2] for one in rest}}


class Browser:
    """A page of a server: its requests carry its Origin, and the cookies that it was given."""

    def __init__(self, url: str, base: str = "", **headers: str) -> None:
        self.http = httpx.AsyncClient(base_url=url + base, timeout=40, headers={"Origin": url, **headers})

    async def sign_in(self, made: NewKey) -> httpx.Response:
        return await self.http.post("/v1/session", json={"api_key": made.token})


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    one = Browser(server.url)
    async with one.http:
        yield one


def planted(browser: Browser, token: str) -> None:
    """Give the browser this session, whatever it had."""
    browser.http.cookies.clear()
    browser.http.cookies.set(COOKIE, token, domain="127.0.0.1")


def sealed(made: NewKey, ends_in_ms: int, pepper: bytes = PEPPER) -> str:
    session = sessions.Session(made.key.id, SYSTEM.now_ms() + ends_in_ms, False)
    return sessions.sealed(session, sessions.signing_key(pepper))


# -- in, out, who ---------------------------------------------------------------------------------------------------


async def test_a_browser_signs_in_works_and_signs_out(either: Server) -> None:
    made = await key(either, scopes=["runs:read", "runs:write", "role:finance"])
    browser = Browser(either.url)
    async with browser.http as http:
        assert (await http.get("/v1/me")).status_code == 401
        response = await browser.sign_in(made)
        assert response.status_code == 201
        assert response.headers["cache-control"] == "no-store"
        me = response.json()
        assert me["principal"]["kind"] == "service"
        assert me["principal"]["id"].startswith("pri_")
        assert me["tenant"] == {"id": me["tenant"]["id"], "name": "default"}
        assert me["tenant"]["id"].startswith("ten_")
        assert (me["scopes"], me["roles"], me["via"]) == (["runs:read", "runs:write"], ["finance"], "session")
        assert me["expires_at"].endswith("Z")
        assert (await http.get("/v1/me")).json() == me
        run = await http.post("/v1/runs?wait=30", json={"agent": "echo", "input": 1})
        assert (run.status_code, run.json()["initiator"]) == (201, me["principal"]["id"])
        assert (await http.get("/v1/agents")).status_code == 403, "the key's scopes hold"
        for _ in range(2):
            out = await http.delete("/v1/session")
            assert (out.status_code, out.content, attributes(out)["value"]) == (204, b"", "")
            assert attributes(out)["max-age"] == "0"
        assert COOKIE not in http.cookies
        assert (await http.get("/v1/me")).json()["code"] == "unauthenticated"


async def test_the_cookie_is_for_this_server_alone(server: Server, browser: Browser) -> None:
    made = await key(server)
    told = attributes(await browser.sign_in(made))
    kept = told.pop("value")
    assert made.token.partition(".")[2] not in kept
    assert told == {"httponly": "", "samesite": "Strict", "path": "/", "max-age": str(limits.SESSION_MS // 1000)}


async def test_over_https_the_cookie_is_kept_to_it(server: Server, browser: Browser) -> None:
    made = await key(server)
    body = {"api_key": made.token}
    transport = httpx.ASGITransport(server.app, client=("10.0.0.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="https://agents.example") as http:
        response = await http.post("/v1/session", json=body, headers={"Origin": "https://agents.example"})
        assert attributes(response)["secure"] == ""
        out = await http.delete("/v1/session", headers={"Origin": "https://agents.example"})
        assert attributes(out)["secure"] == ""
    behind = {"Origin": "https://agents.example", "Sec-Fetch-Site": "same-origin", "X-Forwarded-Proto": "https"}
    response = await server.http.post("/v1/session", json=body, headers=behind)
    assert (response.status_code, "secure" in attributes(response)) == (201, True)


async def test_who_asks_is_told_by_what_they_are_known(either: Server) -> None:
    me = (await either.http.get("/v1/me")).json()
    assert (me["via"], me["expires_at"], me["principal"]["name"]) == ("local", None, "local admin")
    assert (me["tenant"]["name"], me["scopes"], me["roles"]) == ("default", ["*"], [])
    ends = SYSTEM.now_ms() + 3_600_000
    made = await key(either, scopes=["info:read"], expires_at=ends)
    me = (await either.http.get("/v1/me", headers={"Authorization": f"Bearer {made.token}"})).json()
    assert (me["via"], me["scopes"]) == ("api_key", ["info:read"])
    assert me["expires_at"] is not None
    other = await outsider(either)
    me = (await either.http.get("/v1/me", headers=other.headers)).json()
    assert (me["via"], me["expires_at"], me["tenant"]["name"]) == ("api_key", None, "other")


async def test_a_wrong_key_gets_no_cookie(server: Server, browser: Browser) -> None:
    made = await key(server)
    for wrong in (made.token + "x", "hf_x.y", "nothing"):
        response = await browser.http.post("/v1/session", json={"api_key": wrong})
        assert (response.status_code, response.json()["code"]) == (401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
        assert "set-cookie" not in response.headers
        assert wrong not in response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"api_key": ""}, 422), ({"api_key": 1}, 422), ({"api_key": "x", "y": 1}, 422), ([], 422)],
)
async def test_what_is_no_sign_in_is_told_so(browser: Browser, body: Any, status: int) -> None:
    assert (await browser.http.post("/v1/session", json=body)).status_code == status


# -- sessions that do not hold --------------------------------------------------------------------------------------


async def test_a_session_that_does_not_hold_is_401_and_dropped(server: Server, browser: Browser) -> None:
    made, revoked = await key(server), await key(server)
    good = sealed(made, 3_600_000)
    planted(browser, good)
    assert (await browser.http.get("/v1/runs")).status_code == 200
    await server.auth.revoke_key(ADMIN, revoked.key.id)
    for token, code in (
        (good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), "invalid_session"),
        (sealed(made, 3_600_000, b"another"), "invalid_session"),
        ("x", "invalid_session"),
        (sealed(made, -1), "session_expired"),
        (sealed(revoked, 3_600_000), "session_expired"),
    ):
        planted(browser, token)
        response = await browser.http.get("/v1/runs")
        assert (response.status_code, response.json()["code"]) == (401, code), token
        assert (attributes(response)["value"], attributes(response)["max-age"]) == ("", "0")
        assert token not in response.text


async def test_an_authorization_is_judged_alone_and_drops_no_session(server: Server, browser: Browser) -> None:
    made = await key(server)
    planted(browser, "nonsense")
    fine = await browser.http.get("/v1/me", headers={"Authorization": f"Bearer {made.token}"})
    assert (fine.status_code, fine.json()["via"]) == (200, "api_key")
    wrong = await browser.http.get("/v1/me", headers={"Authorization": "Bearer hf_x.y"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)


async def test_a_stale_cookie_does_not_lock_anybody_out(server: Server, browser: Browser) -> None:
    planted(browser, "nonsense")
    assert (await browser.http.get("/v1/me")).json()["code"] == "invalid_session"
    browser.http.cookies.clear()  # as the answer says
    assert (await browser.http.get("/v1/me")).json()["via"] == "local"
    await key(server)
    planted(browser, "nonsense")
    assert (await browser.http.delete("/v1/session")).status_code == 204
    assert (await browser.http.get("/healthz")).status_code == 200


async def test_use_renews_a_session_with_whatever_is_answered(server: Server, browser: Browser) -> None:
    made = await key(server)
    half = limits.SESSION_MS // 2
    planted(browser, sealed(made, half + 60_000))
    assert "set-cookie" not in (await browser.http.get("/v1/me")).headers
    for path, status in (("/v1/me", 200), ("/v1/nothing", 404), ("/v1/runs?limit=x", 422)):
        planted(browser, sealed(made, half - 60_000))
        response = await browser.http.get(path)
        told = attributes(response)
        assert (response.status_code, told["max-age"]) == (status, str(limits.SESSION_MS // 1000))
        planted(browser, told["value"])
        again = await browser.http.get("/v1/me")
        assert (again.status_code, "set-cookie" in again.headers) == (200, False)


# -- other sites ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_another_site_does_nothing_with_a_session(server: Server, headers: dict[str, str]) -> None:
    made = await key(server)
    cookie = {"Cookie": f"{COOKIE}={sealed(made, 3_600_000)}"}
    for method, path, body in (
        ("POST", "/v1/runs", {"agent": "echo"}),
        ("POST", "/v1/session", {"api_key": made.token}),
        ("DELETE", "/v1/session", None),
        ("PUT", "/v1/agents/echo/enabled", {"enabled": False}),
        ("PATCH", f"/v1/threads/thr_{'0' * 26}", {"title": "x"}),
        ("POST", "/v1/nothing", None),
    ):
        response = await server.http.request(method, path, json=body, headers={**headers, **cookie})
        assert (response.status_code, response.json()["code"]) == (403, "cross_site"), (method, path)
        assert "set-cookie" not in response.headers
    mine = {"Authorization": f"Bearer {made.token}"}
    assert (await server.http.get("/v1/runs", headers=mine)).json()["data"] == []
    assert (await server.http.get("/v1/agents/echo", headers=mine)).json()["enabled"] is True


async def test_another_sites_reading_is_refused_too(server: Server) -> None:
    cookie = f"{COOKIE}={sealed(await key(server), 3_600_000)}"
    for site, status in (("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)):
        response = await server.http.get("/v1/runs", headers={"Cookie": cookie, "Sec-Fetch-Site": site})
        assert response.status_code == status, site


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_body_that_a_form_could_send_is_refused(
    server: Server, browser: Browser, content_type: str | None
) -> None:
    made = await key(server)
    await browser.sign_in(made)
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await browser.http.post("/v1/runs", content=b'{"agent":"echo"}', headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "cross_site")
    body = f'{{"api_key":"{made.token}"}}'.encode()
    response = await browser.http.post("/v1/session", content=body, headers=headers)
    assert response.status_code in (403, 415)
    lines = {"Content-Type": "application/x-ndjson"}
    assert (await browser.http.post("/v1/runs/import", content=b"x", headers=lines)).json()["code"] != "cross_site"


async def test_without_a_session_nothing_is_asked_of_whoever_brings_a_key(server: Server) -> None:
    made = await key(server)
    headers = {"Authorization": f"Bearer {made.token}", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    response = await server.http.post("/v1/runs", json={"agent": "echo"}, headers=headers)
    assert response.status_code == 201


# -- where ----------------------------------------------------------------------------------------------------------


async def test_under_a_prefix_the_cookie_stays_there(server: Server) -> None:
    made = await key(server)
    outer = FastAPI()
    outer.mount("/our agents", server.app)
    async with listening(outer) as url:
        browser = Browser(url, "/our%20agents")
        async with browser.http as http:
            response = await browser.sign_in(made)
            assert attributes(response)["path"] == "/our%20agents"
            assert (await http.get("/v1/me")).json()["via"] == "session"
            assert attributes(await http.delete("/v1/session"))["path"] == "/our%20agents"


async def test_behind_a_proxy_that_takes_a_prefix_off_the_cookie_stays_there(server: Server) -> None:
    made = await key(server)
    transport = httpx.ASGITransport(server.app, root_path="/agents", client=("10.0.0.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://in.example") as http:
        headers = {"Origin": "https://out.example", "Sec-Fetch-Site": "same-origin"}
        response = await http.post("/agents/v1/session", json={"api_key": made.token}, headers=headers)
        told = attributes(response)
        assert (response.status_code, told["path"], told["secure"]) == (201, "/agents", "")


def test_of_two_cookies_the_one_of_the_longer_path_counts() -> None:
    headers = httpx.Headers({"cookie": f"a=1; {COOKIE} = mine ;{COOKIE}=others; x{COOKIE}=x"})
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers.raw}
    assert gate.visit_of(scope, gate.Headers(scope=scope), COOKIE).session == "mine"
    for nothing in ("", "a=1", "holdfast_session=1", f"{COOKIE}0=1", f"{COOKIE.upper()}=1", ";;="):
        assert cookies.session_of(gate.Headers({"cookie": nothing}), COOKIE) is None


async def test_two_installations_on_one_host_name_do_not_sign_each_other_out(
    server: Server, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser sends both cookies to both servers, for it does not look at the port."""
    monkeypatch.setattr(serving_module, "PEPPER", b"the pepper of another house")
    async with serving(sqlite_url, execute=False) as other:
        assert server.url.partition("//127.0.0.1:")[1] and other.url.partition("//127.0.0.1:")[1]
        browser = httpx.AsyncClient(headers={"Sec-Fetch-Site": "same-origin"})
        async with browser:
            made = {one.url: await key(one) for one in (server, other)}
            for url, own in made.items():
                signed_in = await browser.post(f"{url}/v1/session", json={"api_key": own.token})
                assert signed_in.status_code == 201
            assert len(browser.cookies) == 2
            for url, own in made.items():
                me = await browser.get(f"{url}/v1/me")
                assert (me.status_code, me.json()["principal"]["id"]) == (200, text(PRINCIPAL, own.key.principal_id))
            assert (await browser.delete(f"{other.url}/v1/session")).status_code == 204
            assert (await browser.get(f"{other.url}/v1/me")).status_code == 401
            assert (await browser.get(f"{server.url}/v1/me")).status_code == 200


def test_a_root_path_says_nothing_else_of_the_cookie() -> None:
    for root in ("/a; Domain=evil.example", "/a\r\nSet-Cookie: b=c", "/ä\u2028", "//evil.example"):
        header = cookies.dropping({"type": "http", "scheme": "http", "root_path": root}, COOKIE)
        assert header.isascii() and header.isprintable()
        (morsel,) = SimpleCookie(header).values()
        assert morsel["domain"] == ""
        assert morsel["path"].startswith("/") and not morsel["path"].startswith("//")


# -- streams --------------------------------------------------------------------------------------------------------


async def test_a_stream_ends_with_its_session(
    server: Server, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "RECHECK_S", 0.0)
    made = await key(server)
    await browser.sign_in(made)
    async with browser.http.stream("GET", "/v1/changes") as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert await anext(lines) == ": open"
        await server.auth.revoke_key(ADMIN, made.key.id)
        async with asyncio.timeout(20):
            server.house.changed(ADMIN.tenant_id, "run", "run_x", None)
            rest = [line async for line in lines]
    assert not any("run_x" in line for line in rest)
