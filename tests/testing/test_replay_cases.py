"""`holdfast.testing.replay_cases`: exported runs as test cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from holdfast import Agent, Context, Holdfast, Settings, workflow
from holdfast.domain import portable
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.service import recordings, runs
from holdfast.testing import ReplayCase, ScriptedModel, replay_cases


def twice(n: int) -> int:
    return 2 * n


def agents_with(instructions: str = "Be kind.", step: str = "twice") -> list[Any]:
    @workflow("double")
    async def double(ctx: Context, n: int) -> int:
        return await ctx.step(step, twice, n)

    return [Agent("greeter", model=ScriptedModel(["Hello."]), instructions=instructions), double]


@pytest.fixture
async def folder(sqlite_url: str, tmp_path: Path) -> Path:
    """Two exported runs, in a folder below."""
    found = tmp_path / "recorded" / "below"
    found.mkdir(parents=True)
    settings = Settings(database=sqlite_url, mode="serve", freeze_gc=False)  # pyright: ignore[reportCallIssue]
    hf = Holdfast(agents_with(), settings=settings)
    async with hf.running():
        for agent, given in (("greeter", "Hi."), ("double", 4)):
            view = (await runs.start(hf.house, LOCAL_PRINCIPAL, runs.StartRun(agent=agent, input=given))).view
            view = await runs.wait(hf.house, LOCAL_PRINCIPAL, view, 20)
            recorded = await recordings.read(hf.house, LOCAL_PRINCIPAL, view.run.id)
            (found / f"{agent}.jsonl").write_bytes(b"".join(portable.written(recorded)))
    return tmp_path / "recorded"


def cases(folder: Path, *agents: Any) -> dict[str, ReplayCase]:
    params = replay_cases(folder, agents=agents)
    assert all(re.fullmatch(r"(greeter|double)/run_\w+", param.id) for param in params)
    return {param.values[0].recorded.agent: param.values[0] for param in params}


async def test_each_recorded_run_is_a_case_that_checks(folder: Path) -> None:
    found = cases(folder, *agents_with())
    assert set(found) == {"greeter", "double"}
    for case in found.values():
        case.check()


async def test_a_change_fails_with_the_step_and_both_sides(folder: Path) -> None:
    found = cases(folder, *agents_with("Be short.", "double"))
    with pytest.raises(AssertionError, match=r"(?s)greeter/run_\w+ diverged at step 1.*Be kind.*Be short") as caught:
        found["greeter"].check()
    assert "instructions was recorded as" in str(caught.value)
    with pytest.raises(AssertionError, match=r"twice#1.*double#1"):
        found["double"].check()


async def test_an_agent_that_is_not_given_is_named(folder: Path) -> None:
    with pytest.raises(LookupError, match="given are: greeter"):
        cases(folder, agents_with()[0])["double"].check()


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recorded run"):
        replay_cases(tmp_path, agents=[])
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"bad.jsonl: Line 1"):
        replay_cases(tmp_path, agents=[])
