"""Server-sent events on the wire: what a stream looks like, how it stays alive, how it ends.

Rejected: `StreamingResponse`, which leaves the disconnect to the server's mood, and FastAPI's own event source, which
serialises every event through a model. A stream here is one loop; its source is closed whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from holdfast.domain import limits

PING: Final = b": ping\n\n"
HEADERS: Final = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
RECHECK_S: Final = 5.0

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """What a stream tells. It is closed even if nobody ever read from it."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def close(self) -> None: ...


class _Gone(Exception):
    """The client has: the server said so, with an `OSError`, when something was sent (ASGI's HTTP 2.4)."""


OnGone = Callable[[], Awaitable[None]]
StillAllowed = Callable[[], Awaitable[bool]]


def encoded(type: str, data: bytes, id: str | None = None) -> bytes:
    """One event. `data` is JSON, which has no line breaks of its own; `id` only where a client may resume from."""
    head = b"" if id is None else b"id: " + id.encode() + b"\n"
    return head + b"event: " + type.encode() + b"\ndata: " + data + b"\n\n"


class EventStream(Response, Generic[T]):
    """A response that sends what `source` yields, as `encode` writes it; None is nothing to tell just now.

    `allowed` is asked again every few seconds: a credential may be revoked while a stream is open. `on_gone` is called
    when the client went away before the source ended; not when the server stops.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: Source[T],
        encode: Callable[[T], bytes | None],
        *,
        allowed: StillAllowed,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        on_gone: OnGone | None = None,
    ) -> None:
        super().__init__(None, status_code, {**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._source = source
        self._encode = encode
        self._allowed = allowed
        self._on_gone = on_gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._stream(receive, send)
        finally:
            self._source.close()

    async def _stream(self, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(send), name="holdfast-stream")
        gone = asyncio.create_task(disconnected(receive), name="holdfast-stream-gone")
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            ended = sending.done() and not isinstance(sending.exception(), _Gone)
        finally:
            await _stopped(gone)
            await _stopped(sending)
        if not ended:
            if self._on_gone is not None:
                await self._on_gone()
            return
        sending.result()
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        await _sent(send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sent_at = checked_at = loop.time()
        await _chunk(send, b": open\n\n")
        async with contextlib.aclosing(_closable(self._source)) as told:
            async for one in told:
                now = loop.time()
                if now - checked_at >= RECHECK_S:
                    if not await self._allowed():
                        return
                    checked_at = now
                chunk = self._encode(one)
                if chunk is None and now - sent_at < limits.STREAM_PING_S:
                    continue
                await _chunk(send, chunk or PING)
                sent_at = loop.time()


async def _closable(source: Source[T]) -> AsyncGenerator[T]:
    async for one in source:
        yield one


async def _chunk(send: Send, body: bytes) -> None:
    await _sent(send, {"type": "http.response.body", "body": body, "more_body": True})


async def _sent(send: Send, message: Message) -> None:
    """An `OSError` of the source is a failure; one of the wire is the client's leaving."""
    try:
        await send(message)
    except OSError as exc:
        raise _Gone from exc


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stopped(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
