"""A real server: uvicorn on a free loopback port, in this event loop, with the runtime beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from holdfast.agents.base import Agent
from holdfast.agents.registry import Registry
from holdfast.app import relay_of
from holdfast.bus.base import Hub
from holdfast.domain import limits
from holdfast.domain.access import ADMIN_SCOPE, Principal, PrincipalKind
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.ids import DEFAULT_TENANT, LOCAL_ADMIN, PrincipalId, TenantId
from holdfast.runtime.replayers import InThread, Replayers
from holdfast.runtime.supervisor import Supervisor
from holdfast.service.access import Auth
from holdfast.service.house import House
from holdfast.store import principals
from holdfast.web import api, ui
from tests import databases
from tests.web import agents, holds

PEPPER = b"a pepper for tests"
ADMIN = Principal(DEFAULT_TENANT, LOCAL_ADMIN, PrincipalKind.USER, "admin", frozenset({ADMIN_SCOPE}))


@dataclass
class Event:
    id: str | None
    type: str
    data: dict[str, Any]


@dataclass
class Server:
    """A running server, and a client of it that comes from loopback."""

    url: str
    http: httpx.AsyncClient
    house: House
    auth: Auth
    app: FastAPI
    desk: agents.Desk
    till: holds.Till
    supervisor: Supervisor | None

    async def start(self, agent: str, input: Any = None, *, wait: int = 0, **more: Any) -> dict[str, Any]:
        response = await self.http.post(
            "/v1/runs", params={"wait": wait} if wait else {}, json={"agent": agent, "input": input, **more}
        )
        assert response.status_code == 201, response.text
        return response.json()

    async def asked(self, agent: str, input: Any = None, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A run that waits, and the question that it waits for (or one of those)."""
        run = await self.start(agent, input, wait=30, **more)
        assert run["status"] == "waiting", run
        return run, (await self.pending(run["id"]))[0]

    async def start_as(self, headers: dict[str, str], agent: str, input: Any = None) -> dict[str, Any]:
        """The same by somebody else, until it ended or waits."""
        body = {"agent": agent, "input": input}
        response = await self.http.post("/v1/runs", params={"wait": 30}, json=body, headers=headers)
        assert response.status_code == 201, response.text
        return response.json()

    async def pending(self, run_id: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """The open questions of a run and those below it, oldest first."""
        query = {"run_id": run_id, "status": "pending"}
        response = await self.http.get("/v1/approvals", params=query, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def resolve(self, asked: dict[str, Any], decision: str, **more: Any) -> httpx.Response:
        """Answer a question; `headers` for somebody else."""
        headers = more.pop("headers", None)
        return await self.http.post(
            f"/v1/approvals/{asked['id']}/resolve", json={"decision": decision, **more}, headers=headers
        )

    async def settled(self, run_id: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        response = await self.http.get(f"/v1/runs/{run_id}", params={"wait": 30}, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def events(self, path: str, **request: Any) -> list[Event]:
        """All events of a stream that ends."""
        async with self.http.stream("GET", path, **request) as response:
            assert response.status_code == 200, await response.aread()
            return [event async for event in parsed(response)]


async def parsed(response: httpx.Response) -> AsyncIterator[Event]:
    """The events of a stream, as the standard reads them; comments are skipped."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line:
            if "event" in fields:
                yield Event(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


async def until(events: AsyncIterator[Event], *types: str) -> list[Event]:
    """Events up to the first of one of these types."""
    seen: list[Event] = []
    async with asyncio.timeout(20):
        async for event in events:
            seen.append(event)
            if event.type in types:
                return seen
    raise AssertionError(f"the stream ended without {types}: {[e.type for e in seen]}")


@contextlib.asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application; its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def serving(
    url: str,
    *,
    slots: int = 16,
    required: bool = False,
    body_bytes_max: int = limits.BODY_BYTES_MAX,
    execute: bool = True,
    control_plane: ui.Dist | None = ui.PACKAGED,
) -> AsyncIterator[Server]:
    desk, till = agents.Desk(), holds.Till()
    async with databases.opened(url) as database:
        await database.write(None, principals.seed)
        registered: list[Agent] = list(Registry([*agents.made(desk), *holds.made(till)]))
        house = House(
            database=database, hub=Hub(relay_of(database, SYSTEM)), agents={agent.id: agent for agent in registered}
        )
        await house.hub.open()
        house.replayer = replayers = Replayers(InThread(house.agents))
        supervisor = Supervisor(house, slots=slots, deps=None, drain_ms=0) if execute else None
        if supervisor is not None:
            await supervisor.start()
        auth = Auth(house, pepper=PEPPER, required=required)
        app = api.build(house, auth=auth, body_bytes_max=body_bytes_max, control_plane=control_plane)
        try:
            async with listening(app) as at, httpx.AsyncClient(base_url=at, timeout=40) as http:
                yield Server(at, http, house, auth, app, desk, till, supervisor)
        finally:
            desk.open_all()
            await replayers.stop()
            if supervisor is not None:
                await supervisor.stop()
            await house.hub.close()


@dataclass
class Outsider:
    """Another tenant, with an admin's key."""

    principal: Principal
    headers: dict[str, str] = field(default_factory=dict[str, str])


async def outsider(server: Server) -> Outsider:
    tenant_id = TenantId(SYSTEM.new_id())
    principal = Principal(
        tenant_id, PrincipalId(SYSTEM.new_id()), PrincipalKind.USER, "stranger", frozenset({ADMIN_SCOPE})
    )
    await server.house.database.write(None, lambda tx: principals.add_tenant(tx, tenant_id, "other"))
    made = await server.auth.create_key(principal, "stranger's key")
    return Outsider(principal, {"Authorization": f"Bearer {made.token}"})
