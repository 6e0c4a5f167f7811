"""The Holdfast server that is killed after every step: forked from a process that has imported everything.

A server lets each conversation begin one thing, a model's answer or a tool's call, and holds whatever comes next until
it is killed. So of every run at most one step is journaled in a life. Requests of the parent and its answers are lines
of JSON: `{"live": {…}}` starts a server, `{"die": pid}` kills it with SIGKILL and waits for its end. The listening
socket belongs to the parent: a request that comes while no server lives waits.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn

from holdfast import Agent, Holdfast, Settings, Tool, ToolContext
from holdfast.domain import limits
from holdfast.store import migrate
from holdfast.testing import ScriptedModel
from tests.acceptance.bfcl import outside, script
from tests.acceptance.bfcl.agent import INSTRUCTIONS
from tests.acceptance.bfcl.world import Function, cases, functions

# Waiting costs the test time and proves nothing here. A run under which two servers died in one read would be taken for
# their murderer and run alone, after all others: here it is the others that are held until the end of each life.
QUICK = {"RECOVERY_EVERY_MS": 50, "KEEP_IN_MEMORY_MS": 0, "RETRY_BACKOFF_MS": 20, "POLL_MS": 200, "LAPSES_ALONE": 4}


@dataclass(slots=True)
class Life:
    """One life of the server. `done`: what each conversation began, by case; conversations that are in there from the
    start have journaled what a person answered, and may not begin anything."""

    world: int
    done: dict[str, str] = field(default_factory=dict[str, str])

    async def begin(self, case: str, what: str) -> None:
        """Returns once per conversation; again for the same thing. Everything else waits for the end."""
        if self.done.setdefault(case, what) != what:
            await asyncio.Event().wait()


life = Life(0)


async def reply(messages: Any, info: Any = None) -> Any:
    """The scripted answer, if this life has room for it."""
    case, turn, position = script.place(messages)
    await life.begin(case, f"model {turn}.{position}")
    return script.reply(messages, info)


def tool(function: Function, *, unsafe: bool) -> Tool:
    effect = "unsafe" if unsafe else "read" if function.reads else "keyed"
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        call=partial(_call, function.name, effect),
        effect=effect,
    )


async def _call(name: str, effect: str, ctx: ToolContext, /, **arguments: Any) -> str:
    case = ctx.metadata[script.CASE_KEY]
    await life.begin(case, f"{ctx.run_id} {ctx.key}")
    asked = {
        "case": case,
        "run": ctx.run_id,
        "step": ctx.key,
        "key": None if effect == "unsafe" else ctx.idempotency_key,
        "name": name,
        "arguments": arguments,
        "cut": effect != "read",  # a failed read is told to the model, and not tried again
    }
    return (await outside.post(life.world, "/call", asked))["result"]


def agent(*, unsafe: bool) -> Agent:
    tools = [tool(function, unsafe=unsafe) for function in functions().values()]
    return Agent(script.AGENT, model=ScriptedModel(reply), instructions=INSTRUCTIONS, tools=tools)


# --- the process -----------------------------------------------------------------------------------------------------


def server(made: Agent, url: str, slots: int) -> uvicorn.Server:
    settings = Settings(database=url, mode="serve", worker_slots=slots, lease_ms=500)  # pyright: ignore
    app = Holdfast([made], settings=settings).app
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))


def live(made: Agent, listener: socket.socket, url: str, slots: int) -> None:
    """Serve until killed."""
    for name, value in QUICK.items():
        setattr(limits, name, value)
    server(made, url, slots).run(sockets=[listener])


def load_all(made: Agent, url: str, slots: int) -> None:
    """What every life needs, once for all of them: a server is built and opens nothing."""
    server(made, url, slots).config.load()
    asyncio.run(made.warm_up())
    migrate.head()


def obey(say: Callable[[dict[str, Any]], None], be: Callable[[dict[str, Any]], None]) -> None:
    """Start and end lives as told, until there is nobody to tell."""
    alive: set[int] = set()
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            if "live" in asked:
                pid = os.fork()
                if pid == 0:
                    be(asked["live"])
                    os._exit(1)
                alive.add(pid)
                say({"pid": pid})
            else:
                os.kill(asked["die"], signal.SIGKILL)
                _, status = os.waitpid(asked["die"], 0)
                alive.discard(asked["die"])
                say({"code": os.waitstatus_to_exitcode(status)})
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main() -> None:
    options = argparse.ArgumentParser(description="Serve the BFCL agent, life after life.")
    options.add_argument("--fd", type=int, required=True, help="a listening TCP socket")
    options.add_argument("--database", required=True, help="a migrated database")
    options.add_argument("--world", type=int, required=True, help="the port of the world outside")
    options.add_argument("--unsafe", action="store_true", help="every tool declares that nothing is known about it")
    options.add_argument("--slots", type=int, required=True)
    given = options.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    made, listener = agent(unsafe=given.unsafe), socket.socket(fileno=given.fd)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def be(asked: dict[str, Any]) -> None:
        life.world, life.done = given.world, dict.fromkeys(asked["answered"], "")
        live(made, listener, given.database, given.slots)

    cases()  # read once for all lives
    load_all(made, given.database, given.slots)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    say({"ready": True})
    obey(say, be)


if __name__ == "__main__":
    main()
