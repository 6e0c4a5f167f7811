"""A project of a user's: a folder with a file of agents in it; and commands within this process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast import cli

AGENTS = '''
import time
from pathlib import Path

from holdfast import Agent, Context, Holdfast, tool, workflow
from holdfast.testing import Call, ScriptedModel


@tool(effect="keyed")
def linger(seconds: float) -> str:
    """Take a while."""
    Path("lingering").touch()
    time.sleep(seconds)
    return "done"


def twice(number: int) -> int:
    return 2 * number


@workflow("double")
async def double(ctx: Context, number: int) -> int:
    return await ctx.step("twice", twice, number)


@workflow("nap")
async def nap(ctx: Context, seconds: float) -> str:
    await ctx.sleep(seconds)
    return "rested"


slow = Agent("slow", model=ScriptedModel([Call("linger", {"seconds": 60}), "ok"]), tools=[linger])
hf = Holdfast(agents=[double, nap, slow])
app = hf.app


@app.get("/broken")
async def broken() -> None:
    raise ZeroDivisionError("broken on purpose")
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "agents.py").write_text(AGENTS)
    return folder


@dataclass(frozen=True, slots=True)
class Said:
    """What a command that ends by itself said, and its exit code."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`holdfast …` in this process, in the project's folder: for commands that end by themselves. Leaves no trace."""
    monkeypatch.chdir(project)
    environment = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("HOLDFAST_", "OPENAI_", "ANTHROPIC_")):
            del os.environ[name]
    path, modules = list(sys.path), set(sys.modules)
    loggers = [logging.getLogger(name) for name in (None, "holdfast", "uvicorn.error", "uvicorn.access")]
    states = [(one, one.level, one.propagate, list(one.handlers)) for one in loggers]

    def run(*arguments: str, **variables: str) -> Said:
        os.environ.update(variables)
        monkeypatch.setattr(sys, "argv", ["holdfast", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    yield run
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(project)):
            del sys.modules[name]
    for one, level, propagate, handlers in states:
        one.setLevel(level)
        one.propagate = propagate
        one.handlers[:] = handlers
