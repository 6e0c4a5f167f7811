"""An HTTP client for an application in the same process: no socket, no server, the real routes and the real runtime."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from holdfast.app import Holdfast


@asynccontextmanager
async def client(holdfast: Holdfast, *, timeout_s: float = 60) -> AsyncGenerator[httpx.AsyncClient]:
    """Start the runtime and yield a client for its API; stop it at the end.

    Needs `httpx` (`pip install "holdfast[test]"`). An answer is handed over when it is complete, so follow an event
    stream with `?until=waiting` or to its end, not token by token.
    """
    async with holdfast.running():
        transport = httpx.ASGITransport(holdfast.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=timeout_s) as made:
            yield made
