"""Tools of MCP servers. Needs the extra `mcp`, which is imported when a server is first spoken to.

Discovery is I/O, so it happens in `Agent.warm_up`, and what was found is part of the agent's definition until `close`:
a server whose tools change shows as another version of the agent, never as a prompt that changes by itself. A tool is
`read` if the server says `readOnlyHint`; of any other nothing is known.

One connection a toolset, held open by a task of its own: the client's context has to be left by the task that entered
it, while warm-up, calls and close come from anywhere. A connection that was lost is opened anew by the next call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from pydantic_ai.exceptions import ToolFailed

from holdfast.agents.effects import Contract
from holdfast.agents.tools import (
    NAME_PATTERN,
    ModelRetry,
    Tool,
    ToolContext,
    ToolSpec,
    Validate,
    json_object,
    schema_validator,
    timeout_ms_of,
)
from holdfast.domain.effects import EffectClass
from holdfast.domain.errors import DefinitionError, Unavailable

CONNECT_S_MAX: Final = 30
CHECK_S_MAX: Final = 5
TOOLS_MAX: Final = 512


class MCPTools:
    """The tools of one MCP server, for `Agent(toolsets=[…])`.

    Args:
        server: the URL of a streamable-HTTP server, the path of a script to run over stdio, anything else that
            fastmcp makes a client of, or a pydantic-ai `MCPToolset`.
        id: what the toolset is called in errors; by default what the server was given as.
        prefix: put before every tool's name, with `_` between, so that two servers may have tools of one name.
        include: names of the server's tools to offer; by default all.
        timeout: seconds or a timedelta for one call.
        options: further arguments of `MCPToolset`, such as `headers` and `auth`.

    Errors of the server and of the connection are told to the model as the call's result. Raises `DefinitionError`
    if the extra is not installed or no client can be made of `server` and `options`, and `Unavailable` if the server
    cannot be reached to find its tools.
    """

    def __init__(
        self,
        server: Any,
        *,
        id: str | None = None,
        prefix: str | None = None,
        include: Collection[str] | None = None,
        timeout: timedelta | float | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._server = server
        self._id = id or (str(server) if isinstance(server, (str, Path)) else type(server).__name__)
        self._prefix = f"{prefix}_" if prefix else ""
        self._include = None if include is None else frozenset(include)
        self._timeout_ms = timeout_ms_of(timeout)
        self._options = options or {}
        self._tools: tuple[Tool[..., Any], ...] | None = None
        self._connection: _Connection | None = None
        self._lock = asyncio.Lock()

    @property
    def id(self) -> str:
        return self._id

    @property
    def tools(self) -> Sequence[Tool[..., Any]]:
        """What the last `discover` found; nothing before it."""
        return self._tools or ()

    async def discover(self) -> Sequence[Tool[..., Any]]:
        """Ask the server for its tools, once until `close`."""
        if self._tools is None:
            connection = await self._connected()
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    found = await connection.toolset.list_tools()
            except Exception as exc:
                raise Unavailable(f"The MCP server {self._id} did not list its tools: {exc}") from exc
            if len(found) > TOOLS_MAX:
                raise DefinitionError(f"The MCP server {self._id} has {len(found)} tools; the limit is {TOOLS_MAX}.")
            chosen = [t for t in found if self._include is None or t.name in self._include]
            missing = (self._include or frozenset()) - {t.name for t in chosen}
            if missing:
                raise DefinitionError(f"The MCP server {self._id} has no tool {', '.join(sorted(missing))}.")
            self._tools = tuple(self._tool(t) for t in chosen)
        return self._tools

    async def close(self) -> None:
        """Leave the server; a later `discover` or call connects again."""
        async with self._lock:
            connection, self._connection = self._connection, None
            self._tools = None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> _Connection:
        """The connection; opened if nobody did, or if it was lost."""
        async with self._lock:
            if self._connection is not None and not self._connection.alive:
                lost, self._connection = self._connection, None
                await lost.close()
            if self._connection is None:
                connection = _Connection(_toolset_of(self._server, self._options))
                try:
                    await connection.open()
                except Exception as exc:
                    raise Unavailable(f"The MCP server {self._id} cannot be reached: {exc}") from exc
                self._connection = connection
            return self._connection

    def _tool(self, found: Any) -> Tool[..., Any]:
        plain: dict[str, Any] = found.model_dump(by_alias=True)
        hints: dict[str, Any] = plain.get("annotations") or {}
        name = tool_name(f"{self._prefix}{found.name}")
        schema: dict[str, Any] = {"type": "object", **plain["inputSchema"]}
        return Tool[..., Any].of(
            ToolSpec(
                name=name,
                description=plain.get("description") or hints.get("title") or "",
                parameters=schema,
                contract=Contract(effect=_effect_of(hints)),
                sequential=False,
                timeout_ms=self._timeout_ms,
                retries=None,
                version="1",
                fn=partial(self._call, found.name),
                takes_ctx=True,
                is_async=True,
                validate=_validator(name, schema),
            )
        )

    async def _call(self, name: str, ctx: ToolContext[Any], /, **arguments: Any) -> Any:
        try:
            connection = await self._connected()
        except Unavailable as exc:
            raise RuntimeError(exc.message) from exc
        try:
            return await connection.toolset.direct_call_tool(name, arguments)
        except ToolFailed:
            raise
        except Exception as exc:
            await connection.check()
            # An error of the tool, not of the model: no retry budget is spent.
            raise RuntimeError(exc.message if isinstance(exc, ModelRetry) else str(exc)) from exc


def _effect_of(hints: dict[str, Any]) -> EffectClass:
    """What a server says of a tool. Its word is all there is: a tool that says nothing may do anything."""
    if hints.get("readOnlyHint") is True:
        return EffectClass.READ
    return EffectClass.KEYED if hints.get("idempotentHint") is True else EffectClass.UNSAFE


def tool_name(name: str) -> str:
    """A name that every provider takes: MCP allows dots and slashes."""
    return name if NAME_PATTERN.fullmatch(name) else re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]


def _validator(name: str, schema: dict[str, Any]) -> Validate:
    """The schema's own validator; if a server's schema is none, the server has to judge arguments itself."""
    try:
        return schema_validator(name, schema)
    except DefinitionError:
        return json_object


def _toolset_of(server: Any, options: dict[str, Any]) -> Any:
    try:
        from pydantic_ai.mcp import MCPToolset
    except ImportError as exc:
        raise DefinitionError('MCP servers need the extra "mcp": pip install "holdfast[mcp]"') from exc
    if isinstance(server, MCPToolset):
        return cast(Any, server)
    if isinstance(server, str) and "://" not in server:
        server = Path(server)
    made: Any = MCPToolset
    try:
        return made(server, **{"tool_error_behavior": "failed", **options})
    except Exception as exc:  # no such script, no transport for such a thing, an option that is none
        raise DefinitionError(f"No client can be made for the MCP server {server}: {exc}") from exc


class _Connection:
    """A toolset entered by a task that leaves it again when told to."""

    def __init__(self, toolset: Any) -> None:
        self.toolset = toolset
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        self._lost = False
        self._task = asyncio.create_task(self._hold(), name="mcp connection")

    @property
    def alive(self) -> bool:
        return not self._lost and not self._task.done() and bool(self.toolset.client.is_connected())

    async def check(self) -> None:
        """After an error: whether the server is still there. A client does not always notice that it is gone."""
        try:
            async with asyncio.timeout(CHECK_S_MAX):
                await self.toolset.client.ping()
        except Exception:
            self._lost = True

    async def open(self) -> None:
        """Wait until connected; raises what went wrong."""
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await asyncio.shield(self._ready)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._leave.set()
        if not self._ready.done():
            self._task.cancel()
        _, stuck = await asyncio.wait([self._task], timeout=CONNECT_S_MAX)
        if stuck:
            self._task.cancel()

    async def _hold(self) -> None:
        try:
            async with self.toolset:
                self._ready.set_result(None)
                await self._leave.wait()
        except Exception as exc:
            if not self._ready.done():
                self._ready.set_exception(exc)
        finally:
            self._ready.cancel()
            # A stdio client keeps its server running after the session, for the next one, and after a failed start;
            # a client whose session failed raises that once more, and leaves its transport open.
            for part in (self.toolset.client, self.toolset.client.transport):
                with suppress(Exception):
                    await part.close()
