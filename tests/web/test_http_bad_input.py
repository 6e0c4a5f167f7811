"""Bad input: a problem with a stable code, never a 500, never an echo."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest

from holdfast.web import paging
from tests.web.serving import Server, serving

NOBODY = f"run_{'0' * 26}"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"agent": "nobody"}, "agent_not_found"),
        ({"agent": "echo", "thread_id": f"thr_{'0' * 26}"}, "thread_not_found"),
        ({"agent": "echo", "thread_id": "thr_short"}, "thread_not_found"),
        ({"agent": "echo", "thread_id": NOBODY}, "thread_not_found"),
        ({"agent": "echo", "thread": {"external_id": "unknown"}}, "thread_not_found"),
    ],
)
async def test_what_does_not_exist_is_404(server: Server, body: dict[str, Any], code: str) -> None:
    problem(await server.http.post("/v1/runs", json=body), 404, code)


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/runs/{NOBODY}",
        "/v1/runs/run_x",
        "/v1/runs/%00",
        f"/v1/runs/{NOBODY.upper()}",
        f"/v1/runs/{NOBODY}/events",
        f"/v1/runs/{NOBODY}/steps",
        f"/v1/runs/{NOBODY}/steps/1",
        f"/v1/runs/{NOBODY}/steps/1/prompt",
        f"/v1/runs/{NOBODY}/children",
    ],
)
async def test_an_unknown_run_is_404_everywhere(server: Server, path: str) -> None:
    problem(await server.http.get(path), 404, "run_not_found")


@pytest.mark.parametrize("agent", ["nobody", "%00", "a" * 200, "ä", "..%2f.."])
async def test_an_unknown_agent_is_404(server: Server, agent: str) -> None:
    response = await server.http.get(f"/v1/agents/{agent}")
    problem(response, 404, "route_not_found" if "%2f" in agent else "agent_not_found")


async def test_an_unknown_step_is_404(server: Server) -> None:
    run = await server.start("echo", 1, wait=30)
    problem(await server.http.get(f"/v1/runs/{run['id']}/steps/1"), 404, "step_not_found")
    problem(await server.http.get(f"/v1/runs/{run['id']}/steps/1/prompt"), 404, "step_not_found")


async def test_an_unknown_route_or_method_is_a_problem_too(server: Server) -> None:
    problem(await server.http.get("/v1/nothing"), 404, "route_not_found")
    response = await server.http.delete("/v1/runs")
    problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"] or "POST" in response.headers["allow"]


@pytest.mark.parametrize(
    "body",
    [
        {"agent": "order", "input": {"item": "lamp"}},
        {"agent": "order", "input": {"item": "lamp", "count": "many"}},
        {"agent": "order", "input": None},
        {"agent": "sleepy", "input": 1},
        {"agent": "chat", "input": ""},
        {"agent": "chat", "input": 7},
        {"agent": "chat", "input": [{"type": "unknown"}]},
        {"agent": "chat", "input": []},
    ],
)
async def test_input_that_does_not_fit_the_agent_says_where(server: Server, body: dict[str, Any]) -> None:
    said = problem(await server.http.post("/v1/runs", json=body), 422, "invalid_input")
    assert said["errors"]


SECRET = "do-not-echo-this"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"agent": ""},
        {"agent": 5},
        {"agent": "echo", "unknown": SECRET},
        {"agent": "echo", "tags": [SECRET * 100]},
        {"agent": "echo", "tags": [""]},
        {"agent": "echo", "tags": ["t"] * 33},
        {"agent": "echo", "metadata": SECRET},
        {"agent": "echo", "metadata": []},
        {"agent": "echo", "on_busy": SECRET},
        {"agent": "echo", "on_disconnect": SECRET},
        {"agent": "echo", "external_id": ""},
        {"agent": "echo", "external_id": "x" * 256},
        {"agent": "echo", "start_after": SECRET},
        {"agent": "echo", "start_after": 1700000000},
        {"agent": "echo", "start_after": "1700000000"},
        {"agent": "echo", "start_after": "2026-01-01"},
        {"agent": "echo", "start_after": "2026-01-01T00:00:00"},
        {"agent": "echo", "start_after": "9999-12-31T23:59:59-14:00"},
        {"agent": "echo", "start_after": "0001-01-01T00:00:00+14:00"},
        {"agent": "echo", "limits": {"deadline": "9999-12-31T23:59:59-14:00"}},
        {"agent": "echo", "thread": {"create": True}},
        {"agent": "echo", "thread": {"external_id": "x", "create": "yes"}},
        {"agent": "echo", "thread": SECRET},
        {"agent": "echo", "limits": {"steps_max": 0}},
        {"agent": "echo", "limits": {"steps_max": -1}},
        {"agent": "echo", "limits": {"steps_max": 1.5}},
        {"agent": "echo", "limits": {"steps_max": "7"}},
        {"agent": "echo", "limits": {"steps_max": True}},
        {"agent": "echo", "limits": {"tokens_max": 10**30}},
        {"agent": "echo", "limits": {"unknown_max": 1}},
        {"agent": "echo", "limits": {"deadline": SECRET}},
        [],
        "text",
        7,
        None,
    ],
)
async def test_a_value_that_does_not_fit_is_422_and_not_echoed(server: Server, body: Any) -> None:
    response = await server.http.post("/v1/runs", json=body)
    assert problem(response, 422, "invalid_request")["errors"]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ({"agent": "echo", "thread_id": f"thr_{'0' * 26}", "thread": {"external_id": "x"}}, ""),
        ({"agent": "echo", "on_disconnect": "cancel"}, ""),
    ],
)
async def test_options_that_contradict_each_other_are_refused(server: Server, body: Any, query: str) -> None:
    problem(await server.http.post(f"/v1/runs{query}", json=body), 422, "invalid_request")


async def test_a_stream_does_not_wait(server: Server) -> None:
    headers = {"Accept": "text/event-stream"}
    response = await server.http.post("/v1/runs?wait=1", json={"agent": "echo"}, headers=headers)
    problem(response, 422, "invalid_request")


async def test_metadata_over_its_cap_is_refused(server: Server) -> None:
    body = {"agent": "echo", "metadata": {"k": "x" * 20_000}}
    problem(await server.http.post("/v1/runs", json=body), 422, "invalid_metadata")
    problem(await server.http.post("/v1/threads", json={"metadata": {"k": "x" * 20_000}}), 422, "invalid_metadata")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"{'agent': 'echo'}",
        b'{"agent": "echo"} trailing',
        b'{"agent": "echo", "input": NaN}',
        b'{"agent": "echo", "input": Infinity}',
        b'{"agent": "echo", "input": "\x00"}',
        b'{"agent": "echo", "input": "\xff"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"agent": "echo", "input": ' + b"9" * 10_000 + b"}",
    ],
)
async def test_a_body_that_is_not_json_is_400(server: Server, content: bytes) -> None:
    response = await server.http.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
    if content:
        problem(response, 400, "malformed_json")
    else:
        problem(response, 422, "invalid_request")


@pytest.mark.parametrize("escaped", [r"\u0000", r"\ud800", r"a\udc00b", r"\ud800\ud800"])
@pytest.mark.parametrize(
    "shape",
    [
        '{"agent": "echo", "input": "%s"}',
        '{"agent": "echo", "input": {"deep": [{"%s": 1}]}}',
        '{"agent": "chat", "input": "%s"}',
        '{"agent": "echo", "external_id": "%s"}',
        '{"agent": "echo", "tags": ["%s"]}',
        '{"agent": "echo", "metadata": {"k": "%s"}}',
        '{"agent": "%s"}',
        '{"agent": "echo", "thread": {"external_id": "%s", "create": true}}',
    ],
)
async def test_text_that_cannot_be_stored_is_422(server: Server, shape: str, escaped: str) -> None:
    content = (shape % escaped).encode()
    response = await server.http.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
    problem(response, 422, "not_encodable")


@pytest.mark.parametrize("number", ["1e400", "-1E+999", "1e0400", "1" * 310 + ".0"])
@pytest.mark.parametrize("shape", ['"input": %s', '"input": {"deep": [%s]}', '"metadata": {"k": %s}'])
async def test_a_number_that_would_become_infinite_is_422(server: Server, shape: str, number: str) -> None:
    content = ('{"agent": "echo", ' + shape % number + "}").encode()
    response = await server.http.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
    problem(response, 422, "not_encodable")


async def test_numbers_that_are_large_or_only_look_it_are_numbers_like_any_other(server: Server) -> None:
    content = b'{"agent": "echo", "input": [1e308, 1e-400, "1e400", ' + b"7" * 310 + b"]}"
    response = await server.http.post("/v1/runs?wait=30", content=content, headers={"Content-Type": "application/json"})
    assert response.json()["output"] == [1e308, 0.0, "1e400", int("7" * 310)]


async def test_a_backslash_and_surrogate_pairs_are_text_like_any_other(server: Server) -> None:
    content = rb'{"agent": "echo", "input": "\\u0000 \ud83d\ude00"}'
    response = await server.http.post("/v1/runs?wait=30", content=content, headers={"Content-Type": "application/json"})
    assert response.json()["output"] == "\\u0000 \N{GRINNING FACE}"


@pytest.mark.parametrize(
    "query",
    [
        "wait=-1",
        "wait=61",
        "wait=nan",
        "wait=inf",
        "wait=x",
        "wait=",
    ],
)
async def test_wait_is_0_to_60_seconds(server: Server, query: str) -> None:
    problem(await server.http.post(f"/v1/runs?{query}", json={"agent": "echo"}), 422, "invalid_request")
    run = await server.start("echo", 1, wait=30)
    problem(await server.http.get(f"/v1/runs/{run['id']}?{query}"), 422, "invalid_request")


LISTS = ["/v1/runs", "/v1/threads", "/v1/agents", "/v1/runs/{run}/steps", "/v1/runs/{run}/children"]
LISTS += ["/v1/threads/{thread}/messages", "/v1/threads/{thread}/runs"]


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1" * 400, "x", "", "1.5"])
@pytest.mark.parametrize("path", LISTS)
async def test_a_limit_outside_1_to_200_is_422(server: Server, path: str, limit: str) -> None:
    run = await server.start("echo", 1, wait=30)
    path = path.format(run=run["id"], thread=run["thread_id"])
    problem(await server.http.get(f"{path}?limit={limit}"), 422, "invalid_request")


async def test_a_cursor_of_another_list_or_of_nothing_is_refused(server: Server) -> None:
    await server.start("chat", "A lamp.", tags=["t"], wait=30)
    await server.start("family", wait=30)
    run = await server.start("chat", "A lamp.", tags=["t"], wait=30)
    paths = [path.format(run=run["id"], thread=run["thread_id"]) for path in LISTS]
    cursors: dict[str, str] = {}
    for path in ["/v1/runs?tag=t", *paths]:
        glue = "&" if "?" in path else "?"
        found = (await server.http.get(f"{path}{glue}limit=1")).json()["next_cursor"]
        if found is not None:
            cursors[path] = found
    assert len(cursors) >= 5
    for owner, cursor in cursors.items():
        for path in paths:
            response = await server.http.get(path, params={"cursor": cursor})
            if path == owner:
                assert response.status_code == 200
            else:
                problem(response, 400, "bad_cursor")
    for nonsense in ("x", "====", "AAAA", "A" * 500, "ä", cursors["/v1/runs"][:-2], cursors["/v1/runs"] + "AAAA"):
        problem(await server.http.get("/v1/runs", params={"cursor": nonsense}), 400, "bad_cursor")


def moved(cursor: str, position: bytes) -> str:
    """The cursor with another position: its tag is no signature."""
    tag = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[: paging.TAG_BYTES]
    return base64.urlsafe_b64encode(tag + position).rstrip(b"=").decode()


async def test_a_position_that_no_list_can_have_is_refused(either: Server) -> None:
    await either.start("chat", "A lamp.", wait=30)
    run = await either.start("chat", "A lamp.", wait=30)
    numbered = ["/v1/runs/{run}/steps", "/v1/threads/{thread}/messages"]
    for path, position in [
        *((path, b"\xff" * 8) for path in numbered),
        ("/v1/agents", b"a\x00b"),
        ("/v1/agents", b"\xff"),
    ]:
        path = path.format(run=run["id"], thread=run["thread_id"])
        cursor = (await either.http.get(f"{path}?limit=1")).json()["next_cursor"]
        assert (await either.http.get(path, params={"cursor": cursor})).status_code == 200
        problem(await either.http.get(path, params={"cursor": moved(cursor, position)}), 400, "bad_cursor")


async def test_a_limit_does_not_bind_a_cursor_and_filters_do(server: Server) -> None:
    for n in range(3):
        await server.start("echo", n, tags=["t"], wait=30)
    cursor = (await server.http.get("/v1/runs?tag=t&limit=1")).json()["next_cursor"]
    assert (await server.http.get(f"/v1/runs?tag=t&limit=2&cursor={cursor}")).status_code == 200
    problem(await server.http.get(f"/v1/runs?tag=u&cursor={cursor}"), 400, "bad_cursor")


@pytest.mark.parametrize(
    "query",
    [
        "status=unknown",
        "thread_id=x",
        "parent_id=thr_00000000000000000000000000",
        "principal=me",
        "created_after=yesterday",
        "created_before=0",
        "include_children=perhaps",
        "tag=",
        "tag=%00",
        "agent=%00",
        "external_id=a%00b",
        "version=%00",
    ],
)
async def test_a_filter_that_cannot_be_one_is_422(server: Server, query: str) -> None:
    problem(await server.http.get(f"/v1/runs?{query}"), 422, "invalid_request")


async def test_a_body_over_the_cap_is_413_with_and_without_a_length(sqlite_url: str) -> None:
    async with serving(sqlite_url, body_bytes_max=2_000) as server:
        big = b'{"agent": "echo", "input": "' + b"x" * 3_000 + b'"}'
        headers = {"Content-Type": "application/json"}
        problem(await server.http.post("/v1/runs", content=big, headers=headers), 413, "body_too_large")

        async def pieces() -> Any:
            for start in range(0, len(big), 500):
                yield big[start : start + 500]

        problem(await server.http.post("/v1/runs", content=pieces(), headers=headers), 413, "body_too_large")
        fits = b'{"agent": "echo", "input": "' + b"x" * 1_500 + b'"}'

        async def small() -> Any:
            yield fits

        assert (await server.http.post("/v1/runs", content=small(), headers=headers)).status_code == 201
        assert len((await server.http.get("/v1/runs")).json()["data"]) == 1


async def test_a_body_over_the_cap_is_413_where_no_header_announces_one(sqlite_url: str) -> None:
    """HTTP/2 has bodies without a length and without a transfer encoding."""
    async with serving(sqlite_url, body_bytes_max=2_000) as server:
        host = server.url.removeprefix("http://")
        scope = {
            "type": "http",
            "http_version": "2",
            "method": "POST",
            "path": "/v1/runs",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "headers": [(b"host", host.encode()), (b"content-type", b"application/json")],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b'{"agent": "' + b"x" * 3_000 + b'"}', "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await server.app(scope, receive, send)
        assert sent[0]["status"] == 413


async def test_a_length_that_lies_does_not_pass_the_cap(sqlite_url: str) -> None:
    async with serving(sqlite_url, body_bytes_max=2_000) as server:
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {10**12}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            status = await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert b" 413 " in status, "refused before the body is sent"


async def test_a_body_of_another_type_is_415(server: Server) -> None:
    from tests.web.serving import ADMIN

    made = await server.auth.create_key(ADMIN, "any")
    headers = {"Authorization": f"Bearer {made.token}", "Content-Type": "text/plain"}
    response = await server.http.post("/v1/runs", content=b'{"agent":"echo"}', headers=headers)
    problem(response, 415, "unsupported_media_type")
    with_charset = {**headers, "Content-Type": "Application/JSON; charset=utf-8"}
    response = await server.http.post("/v1/runs", content=b'{"agent":"echo"}', headers=with_charset)
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("mine-1 of 7", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("ä".encode().decode("latin-1"), False),
        ("", False),
    ],
)
async def test_a_request_id_is_taken_over_if_it_is_printable(server: Server, given: str, kept: bool) -> None:
    response = await server.http.get("/v1/nothing", headers=[(b"X-Request-Id", given.encode("latin-1"))])
    assert (response.json()["request_id"] == given) is kept
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert response.json()["request_id"]


async def test_a_disabled_agent_and_a_taken_external_id_are_conflicts(server: Server) -> None:
    await server.start("echo", 1, external_id="taken")
    problem(
        await server.http.post("/v1/runs", json={"agent": "echo", "external_id": "taken"}), 409, "external_id_taken"
    )
    await server.http.put("/v1/agents/echo/enabled", json={"enabled": False})
    problem(await server.http.post("/v1/runs", json={"agent": "echo"}), 409, "agent_disabled")


async def test_what_the_database_cannot_do_now_is_503_with_retry_after(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.domain.errors import OutcomeUnknown, Unavailable

    async def gone(*_: Any) -> Any:
        raise Unavailable

    async def unknown(*_: Any) -> Any:
        raise OutcomeUnknown

    monkeypatch.setattr(server.house.database, "write", gone)
    response = await server.http.post("/v1/threads", json={})
    problem(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "1"
    monkeypatch.setattr(server.house.database, "write", unknown)
    problem(await server.http.post("/v1/threads", json={}), 503, "outcome_unknown")


async def test_a_bug_of_ours_is_a_500_that_tells_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(server.house.database, "write", broken)
    response = await server.http.post("/v1/threads", json={}, headers={"X-Request-Id": "r-1"})
    body = problem(response, 500, "internal_error")
    assert body["request_id"] == "r-1"
    assert SECRET not in response.text
