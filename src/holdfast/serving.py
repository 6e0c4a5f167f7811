"""A process that serves: its socket, its signals, its HTTP server, and how it stops.

The first SIGTERM or SIGINT stops gently: no new connection, open event streams end at once (their clients reconnect
and miss nothing), requests under way get some seconds, then the lifespan drains the runtime. The second one exits
hard; that is safe, since whatever was running is taken up where its journal ends.

Rejected: uvicorn's own handling of signals. It raises them again after a clean stop, so that a drained server looks
killed, waits for event streams as if they ended by themselves, and logs tracebacks of ours for a wrong setting.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from holdfast.domain.errors import HoldfastError, Refused

if TYPE_CHECKING:
    from holdfast.app import Holdfast
    from holdfast.settings import Settings

GRACE_S: Final = 5
GRACE_DEV_S: Final = 1
BACKLOG: Final = 2_048
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

STOPPING: Final = "The server is stopping. This may have been done all the same: repeat it with its Idempotency-Key."

Scope = Any
Message = Any
Receive = Callable[[], Any]
Send = Callable[[Message], Any]


class CannotListen(HoldfastError):
    """The address cannot be listened on."""

    code = "cannot_listen"


# --- the door --------------------------------------------------------------------------------------------------------


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not listening yet; `CannotListen` if it is taken, unknown or not permitted."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as exc:
        hint = " Choose another one with --port, or 0 for any free one." if "in use" in str(exc) else ""
        raise CannotListen(f"Cannot listen on {host} port {port}: {exc}.{hint}") from None
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """The address as a URL that works on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1" if listener.family is socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`. Raises `CannotListen` for an unknown name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise CannotListen(f"The host {host!r} is not known: {exc}.") from None
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


async def demand_authentication(settings: Settings, host: str) -> None:
    """Raise `Refused` if others could reach this server, but nobody could sign in: there is no API key yet."""
    if is_loopback(host) or await has_key(settings):
        return
    raise Refused(
        f"{host} can be reached by others, and no authentication is configured. Create an API key first, which every "
        "request then has to carry: holdfast keys create NAME. Or listen on this machine only: --host 127.0.0.1",
        code="authentication_not_configured",
    )


async def has_key(settings: Settings) -> bool:
    """Whether the database holds an API key that has not been revoked."""
    from holdfast.app import database_of
    from holdfast.store import principals

    database = database_of(settings)
    await database.open()
    try:
        return await database.read(None, principals.any_key)
    finally:
        await database.close()


# --- signals ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopping_gently(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` at the first signal, exit hard at the second. For the main thread."""
    told = False

    def heard(number: int, _: FrameType | None) -> None:
        nonlocal told
        if told:
            os.write(2, b"Stopped at once. Runs under way are taken up by the next start.\n")
            os._exit(128 + number)
        told = True
        stop()

    before = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class NoLifecycle(logging.Filter):
    """Keeps out what the HTTP server says of its own start and stop, which is said in our words. Errors of requests,
    which it logs with their traceback, pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None or not str(record.msg).startswith(("Application ", "Cancel "))


# --- HTTP ------------------------------------------------------------------------------------------------------------


class Front:
    """The application as the server calls it: event streams can be ended, and why the start failed is kept."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.failure: BaseException | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def end_streams(self) -> None:
        """End every event stream, now."""
        self._stopping = True
        for task in self._streams:
            task.cancel()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None, "an ASGI application runs in a task"
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if _is_stream(message):
                    self._streams.add(task)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            # Ended by us: finish the response, so that the client sees an end and not a broken connection.
            with contextlib.suppress(asyncio.CancelledError):
                if started:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                else:
                    from holdfast.web import problems

                    await problems.interrupted(scope, STOPPING)(scope, receive, send)
        finally:
            self._streams.discard(task)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def quiet(message: Message) -> None:
            await send({key: value for key, value in message.items() if key != "message"})

        try:
            await self.app(scope, receive, quiet)
        except BaseException as exc:
            self.failure = exc
            raise


def _is_stream(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"])


class Server(uvicorn.Server):
    """uvicorn's server with our way to stop; signals are handled around it."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self.front = front
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        except SystemExit:
            raise (self.front.failure or RuntimeError("The server did not start.")) from None
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.front.end_streams()
        await super().shutdown(sockets=sockets)

    def stop(self) -> None:
        self.should_exit = True


def server_of(holdfast: Holdfast, *, access_log: bool, grace_s: int) -> Server:
    """A server for the application of `holdfast`, not started. Takes the peer's address from the connection alone."""
    front = Front(holdfast.app)
    config = uvicorn.Config(
        front,
        lifespan="on",
        log_config=None,
        access_log=access_log,
        proxy_headers=False,
        root_path=holdfast.settings.root_path,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=grace_s,
    )
    return Server(config, front)


async def serve(
    holdfast: Holdfast,
    listener: socket.socket,
    *,
    ready: Callable[[], None],
    stopping: Callable[[], None],
    access_log: bool,
    grace_s: int = GRACE_S,
) -> None:
    """Serve until a signal; `ready` and `stopping` are called as it begins and ends. Raises what the start raised."""
    server = server_of(holdfast, access_log=access_log, grace_s=grace_s)

    def stop() -> None:
        stopping()
        server.stop()

    with stopping_gently(stop):
        async with _serving(server, listener) as running:
            ready()
            await running


@contextlib.asynccontextmanager
async def served(holdfast: Holdfast, listener: socket.socket, *, access_log: bool = False) -> AsyncGenerator[None]:
    """Serve while the block runs."""
    server = server_of(holdfast, access_log=access_log, grace_s=GRACE_DEV_S)
    async with _serving(server, listener) as running:
        try:
            yield
        finally:
            server.stop()
            await running


@contextlib.asynccontextmanager
async def _serving(server: Server, listener: socket.socket) -> AsyncGenerator[asyncio.Task[None]]:
    """The server's task, once it accepts connections."""
    running = asyncio.create_task(server.serve(sockets=[listener]), name="holdfast-http")
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield running
    finally:
        ready.cancel()
        if not running.done():
            server.stop()
            await asyncio.shield(running)


# --- without HTTP ----------------------------------------------------------------------------------------------------


async def work(holdfast: Holdfast, *, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
    """Execute runs until a signal, then drain."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopping()
        loop.call_soon_threadsafe(stopped.set)

    with stopping_gently(stop):
        async with holdfast.running():
            ready()
            await stopped.wait()
