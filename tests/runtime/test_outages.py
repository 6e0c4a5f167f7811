"""A database that is locked or away for a while: runs wait and go on, verbs say so, nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from holdfast import Context, workflow
from holdfast.domain import limits
from holdfast.domain.errors import Unavailable
from tests.acceptance.crash import matrix
from tests.runtime.driving import Desk, ended, output, start, within

pytestmark = pytest.mark.timeout(90)


class Proxy:
    """Between Holdfast and PostgreSQL; while it is cut, nothing passes and nobody gets in."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._host, self._port = str(parsed.host), parsed.port or 5432
        self._url = parsed
        self._pipes: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return self._url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        inner_reader, inner_writer = await asyncio.open_connection(self._host, self._port)
        self._pipes |= {writer, inner_writer}
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            for end in (writer, inner_writer):
                end.transport.abort()
                self._pipes.discard(end)

    def cut(self) -> None:
        self._cut = True
        for end in self._pipes:
            end.transport.abort()

    def mend(self) -> None:
        self._cut = False

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, OSError):
        pass
    finally:
        writer.transport.abort()


Outage = Callable[[], Any]


@pytest.fixture
async def outage(database_url: str) -> AsyncIterator[tuple[str, Outage]]:
    """A URL, and a context within which that database cannot be written to."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")

        @asynccontextmanager
        async def locked() -> AsyncIterator[None]:
            other = sqlite3.connect(path, isolation_level=None, timeout=10)
            try:
                other.execute("BEGIN EXCLUSIVE")
                yield
                other.execute("ROLLBACK")
            finally:
                other.close()

        yield database_url, locked
        return
    proxy = Proxy(database_url)
    url = await proxy.open()

    @asynccontextmanager
    async def cut() -> AsyncIterator[None]:
        proxy.cut()
        try:
            yield
        finally:
            proxy.mend()

    yield url, cut
    await proxy.close()


async def test_runs_wait_for_the_database_and_go_on(
    database_url: str, outage: tuple[str, Outage], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SQLITE_BUSY_MS", 300)
    url, away = outage
    ran: list[str] = []
    go, reached = asyncio.Event(), asyncio.Event()

    async def one(key: str) -> str:
        ran.append(key)
        if len(ran) == 8:
            reached.set()
        await go.wait()
        return key

    @workflow("leaf")
    async def leaf(ctx: Context, n: int) -> str:
        return await ctx.step("leaf", one, f"leaf {n}")

    @workflow("w", agents=[leaf])
    async def w(ctx: Context, n: int) -> list[Any]:
        a = await ctx.step("a", one, f"a {n}")
        b = await ctx.gather(ctx.step("b", one, f"b {n}"), ctx.call(leaf, n))
        await ctx.sleep(0.01)
        return [a, *b]

    desk.url = url
    hf = await desk.open(w)
    views = [await start(hf, "w", n) for n in range(8)]
    await within(reached.wait())
    async with away():
        go.set()  # every run now has something to record
        with pytest.raises(Unavailable):
            await start(hf, "w", 99)
        async with asyncio.timeout(10):
            while not hf.supervisor.writer.backlog:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # the outage lasts: this is the fault, not a wait for something
        assert not any(key.startswith("b") for key in ran), "nothing goes on before what it follows from is durable"
    for n, view in enumerate(views):
        assert output(await ended(hf, view)) == [f"a {n}", f"b {n}", f"leaf {n}"]
    assert sorted(ran) == sorted(f"{key} {n}" for n in range(8) for key in ("a", "b", "leaf"))
    state = matrix.read(database_url)
    matrix.demand_sound(state)
    matrix.demand_quiet(state)
    assert len(state.of("w")) == 8


async def test_a_short_outage_at_any_moment_of_a_tree_of_runs_loses_nothing(
    database_url: str, outage: tuple[str, Outage], desk: Desk
) -> None:
    url, away = outage

    async def one(n: int) -> int:
        return n

    @workflow("leaf")
    async def leaf(ctx: Context, n: int) -> int:
        return await ctx.step("one", one, n)

    @workflow("w", agents=[leaf])
    async def w(ctx: Context, n: int) -> int:
        total = 0
        for i in range(4):
            total += await ctx.call(leaf, i)
            await ctx.emit("round", i)
        return total + n

    desk.url = url
    hf = await desk.open(w)
    views = [await start(hf, "w", n) for n in range(10)]
    for _ in range(4):
        async with away():
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
    assert [output(await ended(hf, view)) for view in views] == [6 + n for n in range(10)]
    state = matrix.read(database_url)
    matrix.demand_sound(state)
    matrix.demand_quiet(state)
    assert len(state.of("leaf")) == 40
