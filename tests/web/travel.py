"""What the tests of time travel share: an application of given agents behind a real socket, and its client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from holdfast import Holdfast, Settings
from tests.web.serving import listening


@dataclass
class Traveller:
    """A client of a running application."""

    http: httpx.AsyncClient
    holdfast: Holdfast

    async def run(self, agent: str, input: Any = None, **more: Any) -> dict[str, Any]:
        """A run when it ended, or waits."""
        body = {"agent": agent, "input": input, **more}
        response = await self.http.post("/v1/runs", params={"wait": 30}, json=body)
        assert response.status_code == 201, response.text
        return response.json()

    async def get(self, path: str, expected: int = 200, **query: Any) -> dict[str, Any]:
        response = await self.http.get(path, params=query)
        assert response.status_code == expected, response.text
        return response.json()

    async def at(self, run: dict[str, Any], at: int | None = None, **query: Any) -> dict[str, Any]:
        return await self.get(f"/v1/runs/{run['id']}/state", **query, **({} if at is None else {"at": at}))

    async def diff(self, run: dict[str, Any], other: dict[str, Any], **query: Any) -> dict[str, Any]:
        return await self.get(f"/v1/runs/{run['id']}/diff/{other['id']}", **query)

    async def seq_of(self, run: dict[str, Any], key: str) -> int:
        steps = await self.get(f"/v1/runs/{run['id']}/steps", limit=200)
        return next(step["seq"] for step in steps["data"] if step["key"] == key)


@contextlib.asynccontextmanager
async def travelling(url: str, *agents: Any) -> AsyncIterator[Traveller]:
    settings = Settings(database=url, mode="serve", freeze_gc=False)  # pyright: ignore
    hf = Holdfast(agents, settings=settings)
    async with listening(hf.app) as at, httpx.AsyncClient(base_url=at, timeout=40) as http:
        yield Traveller(http, hf)
