"""`holdfast replay --mode …`: replays that make runs; and keys of the sandbox tenant."""

from __future__ import annotations

import asyncio
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from holdfast import cli
from holdfast.domain import ids
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.service import runs
from tests.cli.conftest import Command

SHOP = """
from datetime import timedelta
from pathlib import Path

from holdfast import Agent, Confirm, Context, Holdfast, ToolContext, tool, workflow
from holdfast.testing import Call, ScriptedModel


@tool(effect="unsafe")
def buy(ctx: ToolContext, item: str) -> str:
    "Buy it."
    with Path("bought").open("a") as file:
        file.write("sandbox " if ctx.sandbox else "live ")
    return f"bought {item}"


@tool(effect="unsafe", confirm=True)
def pay(amount: int) -> str:
    "Pay."
    return f"paid {amount}"


@workflow("nap")
async def nap(ctx: Context) -> str:
    await ctx.sleep(timedelta(seconds=0))
    return "rested"


shop = Agent("shop", model=ScriptedModel([Call("buy", {"item": "lamp"}), "Yours."]), tools=[buy, pay])
hf = Holdfast(agents=[shop, nap])
"""


@pytest.fixture
def recorded(project: Path, command: Command) -> list[str]:
    """The ids of two runs, of `shop` and of `nap`."""
    (project / "shop.py").write_text(SHOP)
    assert command("migrate").code == 0

    async def work() -> list[str]:
        found: list[str] = []
        hf = cli.loaded("shop.py", mode="serve")
        hf.settings = hf.settings.model_copy(update={"freeze_gc": False})
        async with hf.running():
            for agent, given in (("shop", "A lamp."), ("nap", None)):
                view = (await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent=agent, input=given))).view
                view = await runs.wait(hf.house, LOCAL_PRINCIPAL, view, 20)
                assert view.run.status == "succeeded"
                found.append(ids.text(ids.RUN, view.run.id))
        return found

    try:
        return asyncio.run(work())
    finally:
        os.environ.pop("HOLDFAST_MODE", None)
        assert (project / "bought").read_text() == "live "


def change(project: Path, before: str, after: str) -> None:
    text = (project / "shop.py").read_text()
    assert before in text
    (project / "shop.py").write_text(text.replace(before, after))


def test_with_recorded_tools_no_tool_is_called(project: Path, recorded: list[str], command: Command) -> None:
    said = command("replay", "shop.py", *recorded, "--mode", "recorded-tools", "--json", "found.json")
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 identical"), said
    assert (project / "bought").read_text() == "live "
    report: dict[str, Any] = json.loads((project / "found.json").read_text())
    assert [run["run_id"] for run in report["runs"]] == recorded
    assert all(run["replay_run_id"].startswith("run_") for run in report["runs"])


def test_another_answer_is_told_and_reported(project: Path, recorded: list[str], command: Command) -> None:
    change(project, '"Yours."', '"Mine."')
    said = command("replay", "shop.py", *recorded, "--mode", "recorded-tools", "--junit", "found.xml")
    assert (said.code, said.out.splitlines()[-1]) == (1, "1 identical, 1 diverged"), said
    assert f"{recorded[0]} (shop): diverged at step 3. The model answered something else" in said.out
    (suite,) = ET.parse(project / "found.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")


def test_live_is_in_the_sandbox_and_only_if_there_is_one(project: Path, recorded: list[str], command: Command) -> None:
    said = command("replay", "shop.py", *recorded, "--mode", "live")
    assert said.code == 2
    assert "HOLDFAST_SANDBOX_TENANT" in said.err
    said = command("replay", "shop.py", "--agent", "shop", "--mode", "live", HOLDFAST_SANDBOX_TENANT="sandbox")
    assert (said.code, said.out.splitlines()[-1]) == (0, "1 identical"), said
    assert (project / "bought").read_text() == "live sandbox "
    said = command("replay", "shop.py", "--agent", "shop")
    assert said.out.splitlines()[-1] == "1 identical", "the run that was made is not among those of the database"


def test_files_are_made_again_in_the_sandbox(project: Path, recorded: list[str], command: Command) -> None:
    assert command("runs", "export", *recorded, "-o", "runs.jsonl").code == 0
    assert command("migrate", "--database", "sqlite:///other.db").code == 0
    for mode, bought in (("recorded-tools", "live "), ("live", "live sandbox ")):
        given = ("replay", "shop.py", "--from", "runs.jsonl", "--mode", mode, "--database", "sqlite:///other.db")
        os.environ.pop("HOLDFAST_SANDBOX_TENANT", None)
        assert command(*given).code == 2
        said = command(*given, "--json", "found.json", HOLDFAST_SANDBOX_TENANT="sandbox")
        assert (said.code, said.out.splitlines()[-1]) == (0, "2 identical"), said
        assert (project / "bought").read_text() == bought
        report: dict[str, Any] = json.loads((project / "found.json").read_text())
        assert [run["run_id"] for run in report["runs"]] == recorded
    said = command("replay", "shop.py", "--agent", "shop", "--database", "sqlite:///other.db")
    assert (said.code, said.out) == (2, "There are no such runs.\n"), "nothing came into the default tenant"


def test_what_takes_too_long_is_cancelled_and_failed(project: Path, recorded: list[str], command: Command) -> None:
    change(project, "seconds=0", "seconds=1_000")
    given = ("replay", "shop.py", recorded[1], "--mode", "recorded-tools", "--timeout", "1", "--json", "found.json")
    said = command(*given)
    assert (said.code, said.out.splitlines()[-1]) == (2, "1 failed"), said
    assert "longer than 1 s" in said.out
    (found,) = json.loads((project / "found.json").read_text())["runs"]
    assert found["verdict"] == "failed"


@pytest.mark.parametrize(
    "arguments", [("--mode", "wild", "--agent", "shop"), ("--mode", "live"), ("run_1", "--mode", "recorded-tools")]
)
def test_a_mistake_of_usage(recorded: list[str], command: Command, arguments: tuple[str, ...]) -> None:
    assert command("replay", "shop.py", *arguments).code == 2


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keys_of_the_sandbox_are_its_own(project: Path, command: Command) -> None:
    assert command("migrate").code == 0
    said = command("keys", "create", "tester", "--tenant", "sandbox")
    assert said.code == 2
    assert "no tenant 'sandbox'" in said.err
    said = command("keys", "create", "tester", "--tenant", "sandbox", HOLDFAST_SANDBOX_TENANT="sandbox")
    assert said.code == 0
    token = said.out.strip()
    assert "tester" in command("keys", "list", "--tenant", "sandbox").out
    assert "tester" not in command("keys", "list").out
    assert command("keys", "revoke", token).code == 2, "it is not the default tenant's"
    assert command("keys", "revoke", token, "--tenant", "sandbox").code == 0
    assert "revoked" in command("keys", "list", "--tenant", "sandbox").out
    said = command("keys", "list", "--tenant", "other")
    assert (said.code, "it is sandbox" in said.err) == (2, True)
