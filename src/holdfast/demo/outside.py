"""The provider as the desk has it: a process that is kept running, and the requests that are made to it.

It is started with the demo and ends with it, however that ends: its stdin is a pipe of ours. If it dies by itself, as
it can be told to, it is started again on the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx2

from holdfast.domain.errors import Unavailable

START_S: Final = 30.0
STOP_S: Final = 5.0
REQUEST_S: Final = 3.0
RESTART_POLL_S: Final = 0.05
PROGRAM: Final = Path(__file__).with_name("provider.py")


class Declined(Exception):
    """The provider refused, and says that it did nothing."""


class Outside:
    """The provider. `url` is set while it runs, or from the start if somebody else runs it."""

    def __init__(self, books: Path, url: str = "") -> None:
        self.books = books
        self.url = url

    # -- requests -----------------------------------------------------------------------------------------------

    async def refund(self, order_id: int, amount_cents: int, key: str) -> dict[str, Any]:
        """Pay money back, once for a key. Raises `Declined`, or what httpx raises."""
        return await self._post("/refunds", {"order_id": order_id, "amount_cents": amount_cents}, key)

    async def mail(self, to: str, subject: str, text: str, key: str) -> dict[str, Any]:
        """Send a mail, each time it is asked. Raises `Declined`, or what httpx raises."""
        return await self._post("/mails", {"to": to, "subject": subject, "text": text}, key)

    async def mail_of(self, key: str) -> dict[str, Any] | None:
        """The mail that was sent with this key; None if there is none."""
        async with self._client() as client:
            answer = await client.get("/mails", params={"key": key})
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()

    async def call_courier(self, order_id: int, message: str) -> dict[str, Any]:
        """Tell the courier, each time it is asked. Raises `Declined`, or what httpx raises."""
        return await self._post("/pickups", {"order_id": order_id, "message": message}, None)

    async def everything(self) -> dict[str, Any]:
        """The provider's own books. If it is just being started again, that is waited for."""
        async with asyncio.timeout(START_S), self._client() as client:
            while True:
                try:
                    answer = await client.get("/books")
                    break
                except httpx2.TransportError:
                    await asyncio.sleep(RESTART_POLL_S)
        answer.raise_for_status()
        return answer.json()

    async def arm(self, path: str, fault: str, times: int = 1) -> None:
        """Make the next requests to a path go wrong."""
        await self._post("/control", {"path": path, "fault": fault, "times": times}, None)

    async def _post(self, path: str, body: dict[str, Any], key: str | None) -> dict[str, Any]:
        async with self._client() as client:
            answer = await client.post(path, json=body, headers={} if key is None else {"Idempotency-Key": key})
        if 400 <= answer.status_code < 500:
            raise Declined(answer.json()["error"])
        answer.raise_for_status()
        return answer.json()

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=REQUEST_S, trust_env=False, verify=False)

    # -- the process --------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The provider runs while the block does. Raises `Unavailable` if it does not start."""
        keeper = asyncio.create_task(self._keep(await self._start(0)), name="demo-provider")
        try:
            yield
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self, process: Process) -> None:
        """Start it again whenever it dies; end it when this is cancelled."""
        try:
            while True:
                await process.wait()
                process = await self._start(int(self.url.rpartition(":")[2]))
        finally:
            await _end(process)

    async def _start(self, port: int) -> Process:
        # As a file, not as a module: nothing of Holdfast has to be imported. A session of its own: Ctrl-C is for us.
        command = [sys.executable, "-P", str(PROGRAM), "--books", str(self.books), "--port", str(port)]
        process = await asyncio.create_subprocess_exec(
            *command, "--with-stdin", stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            self.url = await _ready(process)
        except BaseException:
            await _end(process)
            raise
        return process


async def _ready(process: Process) -> str:
    """Its address, once it says so."""
    assert process.stdout is not None
    said = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            said = (await process.stdout.readline()).decode()
    if "ready on " not in said:
        raise Unavailable(f"The demo's provider, {PROGRAM}, did not start.")
    return said.split()[-1]


async def _end(process: Process) -> None:
    if process.returncode is None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
