"""`python -m holdfast.replayed TARGET`: the process in which code is replayed. Not a command for people.

It imports the target, says on its standard output which agents it has, and then answers each run that comes in on its
standard input, as lines of `domain/portable.py`, with one line of JSON. From the moment before the first replay it has
no way out: no sockets, no processes, no databases. Whatever user code prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import IO, TYPE_CHECKING, Any

from pydantic_core import to_json

from holdfast.domain import portable
from holdfast.domain.errors import HoldfastError
from holdfast.domain.recorded import RecordedRun

if TYPE_CHECKING:
    from holdfast.app import Holdfast


def main() -> None:
    given, said = _taken_over()
    try:
        holdfast = _prepared(sys.argv[1])
    except HoldfastError as exc:
        _say(said, {"failed": exc.message})
        return
    _say(said, {"ready": {agent.id: agent.version for agent in holdfast.registry}})
    for recorded in portable.read(given):
        _say(said, _answer(holdfast, recorded))


def _taken_over() -> tuple[IO[bytes], IO[bytes]]:
    """Our two ends of the pipes, out of reach of user code, which reads nothing and prints to standard error."""
    given, said = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return given, said


def _prepared(target: str) -> Holdfast:
    """The target, with the tools that its agents discover: the network is there for that, as when a server starts."""
    from holdfast.target import load

    holdfast: Holdfast = load(target)
    asyncio.run(_discovered(holdfast))
    return holdfast


async def _discovered(holdfast: Holdfast) -> None:
    for agent in holdfast.registry:
        if getattr(getattr(agent, "spec", None), "toolsets", ()):
            await agent.warm_up()


def _answer(holdfast: Holdfast, recorded: RecordedRun) -> dict[str, Any]:
    from holdfast.runtime.replayers import isolated

    agents = {agent.id: agent for agent in holdfast.registry}
    agent = agents.get(recorded.agent)
    if agent is None:
        return {"failed": f"There is no agent {recorded.agent!r} in the target."}
    return {"replay": isolated(agent, agents, holdfast.deps, recorded, everywhere=True).to_json()}


def _say(said: IO[bytes], value: dict[str, Any]) -> None:
    said.write(to_json(value, fallback=repr) + b"\n")
    said.flush()


if __name__ == "__main__":
    main()
