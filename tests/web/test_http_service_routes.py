"""Agents, health, metrics and the reference page."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from holdfast.domain.errors import Unavailable
from holdfast.service.health import RuntimeFacts
from tests.web.serving import ADMIN, Server, serving


async def test_agents_say_what_they_take_give_and_can_do(either: Server) -> None:
    found = (await either.http.get("/v1/agents")).json()
    ids = [agent["id"] for agent in found["data"]]
    assert ids == sorted(ids)
    assert found["next_cursor"] is None
    chat = (await either.http.get("/v1/agents/chat")).json()
    assert chat == next(agent for agent in found["data"] if agent["id"] == "chat")
    assert (chat["kind"], chat["enabled"], chat["instructions"], chat["model"]) == (
        "native",
        True,
        "Sell lamps.",
        "scripted:scripted",
    )
    tools = {tool["name"]: tool for tool in chat["tools"]}
    assert {name: tool["effect"] for name, tool in tools.items()} == {"lookup": "read", "reserve": "unsafe"}
    assert tools["lookup"]["description"] == "Look an item up."
    assert (tools["lookup"]["policy"], tools["lookup"]["external"]) == ([], False)
    (refund,) = (await either.http.get("/v1/agents/cashier")).json()["tools"]
    assert [(rule["decision"], rule["when"], rule["reason"]) for rule in refund["policy"]] == [
        ("confirm", {"amount": {"min": 100}}, None),
        ("deny", {"amount": {"min": 10_000}}, "that is too much"),
    ]
    (pick,) = (await either.http.get("/v1/agents/picker")).json()["tools"]
    assert (pick["effect"], pick["external"]) == ("read", True)
    order = (await either.http.get("/v1/agents/order")).json()
    assert order["kind"] == "workflow"
    assert set(order["input_schema"]["properties"]) == set(order["output_schema"]["properties"]) == {"item", "count"}


async def test_agents_are_paged(server: Server) -> None:
    everything = [agent["id"] for agent in (await server.http.get("/v1/agents")).json()["data"]]
    seen: list[str] = []
    query = "limit=2"
    while query:
        page = (await server.http.get(f"/v1/agents?{query}")).json()
        seen += [agent["id"] for agent in page["data"]]
        query = f"limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == everything


async def test_the_kill_switch_refuses_new_runs_until_it_is_lifted(either: Server) -> None:
    off = await either.http.put("/v1/agents/echo/enabled", json={"enabled": False})
    assert (off.status_code, off.json()["enabled"]) == (200, False)
    assert (await either.http.get("/v1/agents/echo")).json()["enabled"] is False
    refused = await either.http.post("/v1/runs", json={"agent": "echo"})
    assert (refused.status_code, refused.json()["code"]) == (409, "agent_disabled")
    await either.http.put("/v1/agents/echo/enabled", json={"enabled": True})
    assert (await either.start("echo", 1, wait=30))["status"] == "succeeded"


@pytest.mark.parametrize("body", [{}, {"enabled": "yes"}, {"enabled": 1}, {"enabled": None}, {"enabled": True, "x": 1}])
async def test_the_kill_switch_is_true_or_false(server: Server, body: dict[str, Any]) -> None:
    assert (await server.http.put("/v1/agents/echo/enabled", json=body)).status_code == 422


async def test_an_agent_counts_the_live_workers_that_can_run_it(server: Server) -> None:
    async def workers() -> int:
        return (await server.http.get("/v1/agents/echo")).json()["workers"]

    assert server.supervisor is not None
    for _ in range(1_000):
        if await workers() == 1:
            break
    assert await workers() == 1
    assert (await server.http.get("/metrics")).text.count("\nholdfast_workers 1\n") == 1


# -- health ---------------------------------------------------------------------------------------------------------


async def test_a_process_that_serves_is_alive_and_ready(either: Server) -> None:
    assert (await either.http.get("/healthz")).json() == {"status": "ok"}
    ready = await either.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "checks": {"database": "ok", "migrations": "ok", "capacity": "ok"}}


async def test_without_its_database_a_process_is_alive_but_not_ready(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: Any) -> Any:
        raise Unavailable

    monkeypatch.setattr(server.house.database, "read", gone)
    response = await server.http.get("/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert response.headers["retry-after"] == "1"
    assert [place["loc"] for place in response.json()["errors"]] == [["database"]]
    assert (await server.http.get("/healthz")).status_code == 200


async def test_a_process_whose_schema_does_not_fit_is_not_ready(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.store import migrate

    monkeypatch.setattr(migrate, "head", lambda: "9999")
    response = await server.http.get("/readyz")
    assert (response.status_code, response.json()["errors"][0]["loc"]) == (503, ["migrations"])
    assert "9999" in response.json()["errors"][0]["msg"]


async def test_a_process_that_stops_is_not_ready(server: Server) -> None:
    class Stopping:
        def facts(self) -> RuntimeFacts:
            return RuntimeFacts(draining=True)

    server.house.features["runtime"] = Stopping()
    response = await server.http.get("/readyz")
    assert (response.status_code, response.json()["errors"][0]["loc"]) == (503, ["capacity"])


async def test_info_says_what_this_server_is(either: Server) -> None:
    found = (await either.http.get("/v1/info")).json()
    assert (found["name"], found["mode"], found["authentication"]) == ("holdfast", "dev", False)
    assert found["database"] == either.house.database.dialect
    assert found["agents"] == len(either.house.agents)
    assert found["version"]
    assert {"runs", "approvals", "effects", "awaited_events"} <= set(found["features"])


SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[a-z]+"\})? [0-9.]+')


async def test_metrics_are_an_exposition_that_prometheus_reads(either: Server) -> None:
    class Stats:
        def facts(self) -> RuntimeFacts:
            return RuntimeFacts(slots=8, slots_free=7, executors=1, backlog=2, threads_abandoned=3, claims_total=4)

    either.house.features["runtime"] = Stats()
    await either.start("echo", 1, wait=30)
    await either.start("broken", wait=30)
    await either.start("sleepy", wait=30)
    response = await either.http.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.endswith("\n")
    lines = response.text.splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert all(SAMPLE.fullmatch(line) for line in lines if not line.startswith("#"))
    assert {name for name in samples if name.startswith("holdfast_runs")} == {
        f'holdfast_runs{{status="{status}"}}'
        for status in ("queued", "running", "waiting", "succeeded", "failed", "cancelled")
    }
    assert [samples[f'holdfast_runs{{status="{s}"}}'] for s in ("succeeded", "failed", "waiting", "queued")] == [
        "1",
        "1",
        "1",
        "0",
    ]
    assert samples["holdfast_process_slots_free"] == "7"
    assert samples["holdfast_process_journal_backlog"] == "2"
    assert samples["holdfast_process_threads_abandoned"] == "3"
    assert samples["holdfast_process_claims_total"] == "4"
    named = {line.split(" ")[2] for line in lines if line.startswith("# TYPE")}
    assert {name.partition("{")[0] for name in samples} == named


async def test_a_process_without_a_runtime_has_no_process_metrics(sqlite_url: str) -> None:
    async with serving(sqlite_url, execute=False) as server:
        text = (await server.http.get("/metrics")).text
        assert "holdfast_process_" not in text
        assert 'holdfast_runs{status="queued"} 0' in text


# -- the reference --------------------------------------------------------------------------------------------------

ELSEWHERE = re.compile(r"""(?:src|href)\s*=\s*["'](?:https?:)?//|url\(|@import|https?://""")


async def test_the_reference_page_asks_nobody_but_this_server(server: Server) -> None:
    page = await server.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    sources = re.findall(r'<script src="([^"]+)"', page.text)
    assert sources == ["docs/reference.js"]
    script = await server.http.get(str(httpx.URL(f"{server.url}/docs").join(sources[0])))
    assert script.headers["content-type"].startswith("text/javascript")
    for text in (page.text, script.text):
        assert ELSEWHERE.search(text) is None
    assert 'fetch("openapi.json")' in script.text


async def test_the_document_and_the_page_are_there_for_everybody(server: Server) -> None:
    await server.auth.create_key(ADMIN, "any")
    for path in ("/docs", "/docs/reference.js", "/openapi.json"):
        assert (await server.http.get(path)).status_code == 200


async def test_every_operation_documents_its_errors(server: Server) -> None:
    document = (await server.http.get("/openapi.json")).json()
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            statuses = set(operation["responses"])
            if path in ("/healthz", "/readyz"):
                continue
            wanted = {"401", "403", "503"}
            if "{" in path:
                wanted |= {"404"}
            if operation.get("requestBody") or operation.get("parameters"):
                wanted |= {"422"}
            if operation.get("requestBody"):
                wanted |= {"400", "413", "415"}
            assert wanted <= statuses, (verb, path)
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert set(response["content"]) == {"application/problem+json"}, (verb, path, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]
