"""The Holdfast application under test: one agent whose 128 tools are the services of BFCL, in a process of its own.

Invariant: a tool does nothing but make the call on the case's services and write down that it did, so the log holds
the calls that were really executed, with the arguments as they came through the runtime's validation.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from holdfast import Agent, Holdfast, Tool, ToolContext
from holdfast.testing import ScriptedModel
from tests.acceptance.bfcl import script
from tests.acceptance.bfcl.recorded import CallLog, Executed
from tests.acceptance.bfcl.world import Call, Function, Worlds, functions

DATABASE_FILE = "bfcl.db"
INSTRUCTIONS = "You help with files, messages, trading, travel, a car, tickets, posts and arithmetic. Use the tools."


def create_app(directory: Path, log: CallLog, *, silent: bool) -> FastAPI:
    """The app over a SQLite database in `directory`; `silent` gives it the model that calls nothing."""
    worlds = Worlds()
    agent = Agent(
        script.AGENT,
        model=ScriptedModel(script.silent if silent else script.reply),
        instructions=INSTRUCTIONS,
        tools=[_tool(function, worlds, log) for function in functions().values()],
    )
    return Holdfast(agents=[agent], database=f"sqlite:///{directory / DATABASE_FILE}").app


def _tool(function: Function, worlds: Worlds, log: CallLog) -> Tool:
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        call=_body(function.name, worlds, log),
        effect="read" if function.reads else None,
    )


def _body(name: str, worlds: Worlds, log: CallLog) -> Callable[..., Awaitable[str]]:
    # A coroutine without an await: the services share module-level objects and must not run in two threads at once.
    async def body(ctx: ToolContext, **arguments: Any) -> str:
        call = Call(name, arguments)
        result = worlds.of(_case_id(ctx)).execute(call)
        log.add(ctx.run_id, Executed(call, result))
        return result

    return body


def _case_id(ctx: ToolContext) -> str:
    return ctx.metadata[script.CASE_KEY]


def main() -> None:
    """Serve on the listening socket that the parent handed down, until SIGTERM."""
    options = argparse.ArgumentParser(description="Serve the BFCL agent.")
    options.add_argument("--fd", type=int, required=True, help="a listening TCP socket")
    options.add_argument("--directory", type=Path, required=True, help="where the database and the call log go")
    options.add_argument("--silent-agent", action="store_true", help="a model that calls nothing")
    given = options.parse_args()
    with CallLog(given.directory / script.CALLS_FILE) as log:
        app = create_app(given.directory, log, silent=given.silent_agent)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        server.run(sockets=[socket.socket(fileno=given.fd)])


if __name__ == "__main__":
    main()
