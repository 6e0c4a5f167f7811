"""Tools of a real MCP server, run as a child process over stdio and over HTTP on the loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.agents import mcp
from holdfast.agents.mcp import MCPTools
from holdfast.agents.native import Agent
from holdfast.domain.encoding import decode
from holdfast.domain.errors import DefinitionError, Unavailable
from holdfast.testing.scripted import Call
from tests.agents.doubles import answer, asked, scripted
from tests.agents.memory_context import MemoryContext

pytest.importorskip("fastmcp")

SERVER = '''
import asyncio, os, sys
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

server = MCPServer("orders")

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look_up(order: int) -> dict[str, int]:
    """Look an order up."""
    return {"order": order, "total": order * 10}

@server.tool(name="orders.cancel")
def cancel(order: int) -> str:
    """Cancel an order."""
    return f"cancelled {order}"

@server.tool()
def broken() -> str:
    raise ToolError("the warehouse is closed")

@server.tool()
async def slow() -> str:
    await asyncio.Event().wait()

@server.tool()
def die() -> str:
    os._exit(1)

if sys.argv[1:]:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run("stdio")
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "orders.py"
    path.write_text(SERVER)
    return path


@pytest.fixture
async def tools(script: Path) -> AsyncIterator[MCPTools]:
    made = MCPTools(str(script), prefix="shop", timeout=20)
    yield made
    await made.close()


async def told(tools: MCPTools, call: Call) -> tuple[Any, MemoryContext]:
    model = scripted(call, "Done.")
    agent = Agent("a", model=model, toolsets=[tools])
    await agent.warm_up()
    context = MemoryContext()
    assert await answer(agent, context=context) == "Done."
    return asked(model)[-1][1], context


async def test_discovered_tools_are_part_of_the_definition(tools: MCPTools) -> None:
    agent = Agent("a", model=scripted("hi"), toolsets=[tools])
    before = agent.version
    assert agent.definition()["tools"] == []
    await agent.warm_up()
    shown = {t["name"]: t for t in agent.definition()["tools"]}
    assert set(shown) == {"shop_look_up", "shop_orders_cancel", "shop_broken", "shop_slow", "shop_die"}
    assert shown["shop_look_up"]["description"] == "Look an order up."
    assert shown["shop_look_up"]["schema"]["required"] == ["order"]
    assert {name: t["effect"] for name, t in shown.items() if t["effect"] == "read"} == {"shop_look_up": "read"}
    assert agent.version != before
    version = agent.version
    await agent.warm_up()
    assert agent.version == version
    await agent.close()


async def test_a_call_goes_to_the_server_under_its_own_name(tools: MCPTools) -> None:
    found, context = await told(tools, Call("shop_look_up", {"order": 7}))
    assert found == {"order": 7, "total": 70}
    assert context.openings == []
    found, context = await told(tools, Call("shop_orders_cancel", {"order": 7}))
    assert found == "cancelled 7"
    assert context.openings == ["model#1/0"]


async def test_errors_of_the_server_are_told_to_the_model(tools: MCPTools) -> None:
    found, context = await told(tools, Call("shop_broken"))
    assert "the warehouse is closed" in found
    assert decode(context.journal.results["model#1/0"].error)["code"] == "tool_error"


async def test_arguments_are_validated_before_the_server_sees_them(tools: MCPTools) -> None:
    found, context = await told(tools, Call("shop_look_up", {"order": "seven"}))
    assert "- order: the value is not of type 'integer'" in found
    assert decode(context.journal.results["model#1/0"].error)["code"] == "invalid_arguments"


async def test_a_call_that_takes_too_long_is_told_and_the_connection_lives_on(script: Path) -> None:
    tools = MCPTools(str(script), timeout=0.05, include=["slow", "look_up"])
    try:
        found, _ = await told(tools, Call("slow"))
        assert found == "error: no result within 0.05 s"
        connection = tools._connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        assert connection.alive
        assert await connection.toolset.direct_call_tool("look_up", {"order": 1}) == {"order": 1, "total": 10}
    finally:
        await tools.close()


async def test_a_server_that_dies_is_told_and_started_again_by_the_next_call(tools: MCPTools) -> None:
    found, _ = await told(tools, Call("shop_die"))
    assert found.startswith("error: ")
    found, _ = await told(tools, Call("shop_look_up", {"order": 1}))
    assert found == {"order": 1, "total": 10}


async def test_a_toolset_can_be_closed_from_another_task_and_used_again(tools: MCPTools) -> None:
    assert len(await asyncio.create_task(tools.discover())) == 5
    await asyncio.create_task(tools.close())
    assert tools.tools == ()
    assert len(await tools.discover()) == 5


async def test_a_tool_that_the_server_does_not_have_is_a_definition_error(script: Path) -> None:
    tools = MCPTools(str(script), include=["nothing"])
    try:
        with pytest.raises(DefinitionError, match="has no tool nothing"):
            await tools.discover()
    finally:
        await tools.close()


async def test_a_server_over_http(script: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(port), stderr=asyncio.subprocess.PIPE, env={**os.environ}
    )
    tools = MCPTools(f"http://127.0.0.1:{port}/mcp")
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while b"running on" not in await process.stderr.readline():
                assert process.returncode is None
        found, _ = await told(tools, Call("look_up", {"order": 3}))
        assert found == {"order": 3, "total": 30}
    finally:
        await tools.close()
        process.kill()
        await process.communicate()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        tools = MCPTools(f"http://127.0.0.1:{held.getsockname()[1]}/mcp")
        with pytest.raises(Unavailable, match="cannot be reached"):
            await Agent("a", model="test", toolsets=[tools]).warm_up()


@pytest.mark.parametrize(
    ("server", "options", "says"),
    [
        ("no-such-script.py", {}, "Script not found"),
        (object(), {}, "Could not infer a valid transport"),
        ("http://127.0.0.1:1/mcp", {"colour": "red"}, "colour"),
    ],
)
async def test_a_server_of_which_no_client_can_be_made_is_a_definition_error(
    server: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says):
        await MCPTools(server, options=options).discover()


async def test_a_server_that_does_not_start_leaves_nothing_behind(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("raise SystemExit(3)")
    before = asyncio.all_tasks()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await MCPTools(script).discover()
    assert asyncio.all_tasks() == before


async def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai.mcp", None)
    with pytest.raises(DefinitionError, match=r"holdfast\[mcp\]"):
        await MCPTools("http://127.0.0.1:1/mcp").discover()


def test_names_that_providers_would_refuse_are_made_acceptable() -> None:
    assert mcp.tool_name("a.b/c") == "a_b_c"
    assert mcp.tool_name("x" * 80) == "x" * 64
    assert mcp.tool_name("fine-1") == "fine-1"
