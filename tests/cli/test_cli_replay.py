"""`holdfast replay`, `runs export`, `runs import`."""

from __future__ import annotations

import asyncio
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import cli
from holdfast.domain import ids
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.service import runs
from tests.cli.conftest import Command, Said
from tests.cli.processes import WAIT_S, Process

DESK = """
from holdfast import Agent, Context, Holdfast, tool, workflow
from holdfast.testing import Call, ScriptedModel


@tool(effect="read")
def look(item: str) -> str:
    "Look an item up."
    return f"{item} is there"


def twice(number: int) -> int:
    return 2 * number


@workflow("double")
async def double(ctx: Context, number: int) -> int:
    print("to standard output")
    return await ctx.step("twice", twice, number)


desk = Agent("desk", model=ScriptedModel([Call("look", {"item": "lamp"}), "Here."]), tools=[look], instructions="Help.")
hf = Holdfast(agents=[double, desk])
"""


@pytest.fixture
def recorded(project: Path, command: Command) -> list[str]:
    """The ids of two runs, of `desk` and of `double`, in the project's database."""
    (project / "desk.py").write_text(DESK)
    assert command("migrate").code == 0

    async def work() -> list[str]:
        found: list[str] = []
        hf = cli.loaded("desk.py", mode="serve")
        hf.settings = hf.settings.model_copy(update={"freeze_gc": False})
        async with hf.running():
            for agent, given in (("desk", "A lamp?"), ("double", 4)):
                view = (await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent=agent, input=given))).view
                view = await runs.wait(hf.house, LOCAL_PRINCIPAL, view, 20)
                assert view.run.status == "succeeded"
                found.append(ids.text(ids.RUN, view.run.id))
        return found

    try:
        return asyncio.run(work())
    finally:
        os.environ.pop("HOLDFAST_MODE", None)


def change(project: Path, before: str, after: str) -> None:
    text = (project / "desk.py").read_text()
    assert before in text
    (project / "desk.py").write_text(text.replace(before, after))


def test_what_the_code_still_does_is_identical(recorded: list[str], command: Command) -> None:
    said = command("replay", "desk.py", *recorded)
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 identical"), said
    assert command("replay", "desk.py", "--agent", "double", "--last", "5").out.splitlines()[-1] == "1 identical"


def test_what_it_does_not_do_any_more_is_told_and_reported(
    project: Path, recorded: list[str], command: Command
) -> None:
    change(project, 'instructions="Help."', 'instructions="Hinder."')
    said = command("replay", "desk.py", *recorded, "--json", "found.json", "--junit", "found.xml")
    assert said.code == 1
    assert f"{recorded[0]} (desk): diverged at step 1" in said.out
    assert 'instructions was recorded as  "Help."' in said.out
    assert said.out.splitlines()[-1] == "1 identical, 1 diverged"
    report: dict[str, Any] = json.loads((project / "found.json").read_text())
    assert (report["identical"], report["diverged"], report["failed"]) == (1, 1, 0)
    first = report["runs"][0]
    assert (first["run_id"], first["at"], first["reason"]) == (recorded[0], 1, "prompt_changed")
    assert first["version"]["recorded"] != first["version"]["current"]
    (suite,) = ET.parse(project / "found.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert [case.get("classname") for case in suite] == ["desk", "double"]
    assert [len(case) for case in suite] == [1, 0]


def test_files_are_replayed_without_a_database(project: Path, recorded: list[str], command: Command) -> None:
    assert command("runs", "export", *recorded, "-o", "runs.jsonl").code == 0
    (project / "holdfast.db").unlink()
    assert command("replay", "desk.py", "--from", "runs.jsonl").out.splitlines()[-1] == "2 identical"
    change(project, '"twice", twice', '"double", twice')
    said = command("replay", "desk.py", "--from", "runs.jsonl")
    assert (said.code, said.out.splitlines()[-1]) == (1, "1 identical, 1 diverged")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Say which runs"),
        (("run_" + "0" * 26, "--agent", "desk"), "Say which runs"),
        (("run_" + "0" * 26,), "no run with this id"),
        (("nonsense",), "no run with this id"),
        (("--from", "missing.jsonl"), "missing.jsonl cannot be read"),
        (("--agent", "nobody"), ""),
    ],
)
def test_a_mistake_of_usage(recorded: list[str], command: Command, arguments: tuple[str, ...], words: str) -> None:
    said = command("replay", "desk.py", *arguments)
    assert said.code == 2
    assert words in said.err


def test_a_target_that_cannot_be_loaded_is_said(project: Path, recorded: list[str], command: Command) -> None:
    assert command("runs", "export", *recorded, "-o", "runs.jsonl").code == 0
    (project / "broken.py").write_text("raise ValueError('broken')\n")
    said = command("replay", "broken.py", "--from", "runs.jsonl")
    assert said.code != 0
    assert "broken.py" in said.err


def test_an_agent_that_the_target_has_not_cannot_be_replayed(
    project: Path, recorded: list[str], command: Command
) -> None:
    change(project, "agents=[double, desk]", "agents=[desk]")
    said = command("replay", "desk.py", *recorded)
    assert (said.code, said.out.splitlines()[-1]) == (2, "1 identical, 1 failed")
    assert "no agent 'double'" in said.out


def test_code_that_never_ends_is_killed(
    project: Path, recorded: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.domain.limits.REPLAY_MS", 3_000)
    change(project, '    print("to standard output")', "    while True: pass")
    said = command("replay", "desk.py", recorded[1], recorded[0])
    assert (said.code, said.out.splitlines()[-1]) == (1, "1 identical, 1 diverged")
    assert "no end within 3 s" in said.out


def test_code_that_ends_its_process_takes_no_other_run_down(
    project: Path, recorded: list[str], command: Command
) -> None:
    change(project, '    print("to standard output")', "    import os; os._exit(3)")
    said = command("replay", "desk.py", recorded[1], recorded[0])
    assert (said.code, said.out.splitlines()[-1]) == (2, "1 identical, 1 failed")
    assert "exit code 3" in said.out


def test_a_server_with_a_target_replays_in_a_process_of_its_own(project: Path, recorded: list[str]) -> None:
    with Process("dev", "desk.py", "--no-reload", "--port", "0", cwd=project) as server:
        url = server.url()
        answer = httpx.post(f"{url}/v1/runs/{recorded[0]}/replay", timeout=WAIT_S).json()
        assert (answer["verdict"], answer["isolation"], answer["steps"]) == ("identical", "process", 3)
        change(project, 'instructions="Help."', 'instructions="Hinder."')  # the code on the disk is what is replayed
        answer = httpx.post(f"{url}/v1/runs/{recorded[0]}/replay", timeout=WAIT_S).json()
        assert (answer["verdict"], answer["at"], answer["difference"]["path"]) == ("diverged", 1, "instructions")
        assert answer["version"]["recorded"] != answer["version"]["current"]
        (project / "desk.py").write_text("broken(")
        answer = httpx.post(f"{url}/v1/runs/{recorded[0]}/replay", timeout=WAIT_S)
        assert (answer.status_code, answer.json()["code"]) == (409, "replay_failed")
        assert server.stops() == 0


# -- files ------------------------------------------------------------------------------------------------------------


def test_runs_go_out_and_come_in(project: Path, recorded: list[str], command: Command) -> None:
    assert command("runs", "export", *recorded, "--output", "runs.jsonl").code == 0
    assert command("migrate", "--database", "sqlite:///other.db").code == 0
    said = command("runs", "import", "runs.jsonl", "--database", "sqlite:///other.db")
    assert said.code == 0
    lines = [line.split(" was ") for line in said.out.splitlines()]
    assert [was for _, was in lines] == recorded
    again = command("replay", "desk.py", *(new for new, _ in lines), "--database", "sqlite:///other.db")
    assert (again.code, again.out.splitlines()[-1]) == (0, "2 identical")


def test_a_hook_redacts_what_is_written(project: Path, recorded: list[str], command: Command) -> None:
    (project / "hide.py").write_text(
        "def secrets(line):\n"
        "    import json\n"
        "    return json.loads(json.dumps(line).replace('lamp', 'xxxx').replace('Help.', 'yyyyy'))\n"
        "def nothing(line):\n"
        "    return None\n"
    )
    assert command("runs", "export", *recorded, "-o", "runs.jsonl", "--redact", "hide:secrets").code == 0
    text = (project / "runs.jsonl").read_text()
    assert "lamp" not in text
    assert "xxxx" in text
    said = command("replay", "desk.py", "--from", "runs.jsonl")
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 identical"), said
    assert command("runs", "import", "runs.jsonl").code == 0
    said = command("replay", "desk.py", "--agent", "desk")
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 identical"), said
    said = command("runs", "export", *recorded, "-o", "no.jsonl", "--redact", "hide:nothing")
    assert (said.code, (project / "no.jsonl").exists()) == (2, False)
    assert command("runs", "export", *recorded, "--redact", "hide:missing").code == 2


def test_a_damaged_file_brings_nothing_in(project: Path, recorded: list[str], command: Command) -> None:
    assert command("runs", "export", *recorded, "-o", "whole.jsonl").code == 0
    whole = (project / "whole.jsonl").read_bytes()
    (project / "cut.jsonl").write_bytes(whole[:-50])
    before = count(command)
    said = command("runs", "import", "whole.jsonl", "cut.jsonl")
    assert said.code == 2
    assert "cut.jsonl, line" in said.err
    assert count(command) == before


def count(command: Command) -> int:
    said: Said = command("replay", "desk.py", "--agent", "desk")
    return int(said.out.splitlines()[-1].split()[0])
