"""Code that changes under a run: mismatches name both sides, versions are noted, agents may be gone for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast import Agent, Context, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.domain.encoding import decode
from holdfast.domain.runs import RunStatus
from holdfast.testing import Call, ScriptedModel
from holdfast.web import views
from tests.runtime.driving import (
    Desk,
    ended,
    entries,
    error,
    look,
    outcome,
    output,
    questions,
    resolve,
    retry,
    start,
    types,
    until,
    waiting,
)

pytestmark = pytest.mark.usefixtures("parking")


async def one() -> int:
    return 1


async def two(n: int) -> int:
    return n


def asleep(**options: Any) -> Any:
    """A workflow as it is before the deploy: it asks for step `one`, and then sleeps."""

    @workflow("w", **options)
    async def w(ctx: Context) -> str:
        await ctx.step("one", one)
        await ctx.step("two", two, 2)
        await ctx.sleep(1)
        return "before"

    return w


def changed(body: Callable[[Context], Awaitable[str]], **options: Any) -> Any:
    @workflow("w", **options)
    async def w(ctx: Context) -> str:
        return await body(ctx)

    return w


async def deploy(desk: Desk, before: Any, after: Any) -> tuple[Any, Any]:
    """Start a run under `before`, and let a process with `after` go on with it."""
    hf = desk.make(before)
    async with hf.running():
        view = await waiting(hf, await start(hf, "w"))
    hf = await desk.open(after)
    return hf, await ended(hf, view)


async def renamed(ctx: Context) -> str:
    await ctx.step("one", one)
    await ctx.step("two", two, 3)
    return "after"


async def of_another_kind(ctx: Context) -> str:
    await ctx.emit("one")
    return "after"


async def longer(ctx: Context) -> str:
    await ctx.step("one", one)
    await ctx.step("two", two, 2)
    await ctx.sleep(2)
    return "after"


async def compatible(ctx: Context) -> str:
    await ctx.step("one", one)
    await ctx.step("two", two, 2)
    await ctx.sleep(1)
    await ctx.step("three", one)
    return "after"


@pytest.mark.parametrize(
    ("body", "at", "recorded", "requested"),
    [
        (renamed, "two#1", "code step 'two'", "code step 'two'"),
        (of_another_kind, "one#1", "code step 'one'", "emit step 'one'"),
        (longer, "sleep#1", "sleep step 'sleep'", "sleep step 'sleep'"),
    ],
)
async def test_a_step_that_is_not_the_recorded_one_ends_the_run_and_both_are_named(
    desk: Desk, body: Any, at: str, recorded: str, requested: str
) -> None:
    hf, view = await deploy(desk, asleep(), changed(body))
    failure = error(view)
    assert failure["code"] == "journal_mismatch"
    details = failure["details"]
    assert details["key"] == at
    assert details["recorded"].startswith(recorded)
    assert details["requested"].startswith(requested)
    assert details["recorded"] != details["requested"]
    assert "run.version_changed" in await types(hf, view)


async def test_a_compatible_change_goes_on_and_the_journal_says_which_version_did(desk: Desk) -> None:
    before, after = asleep(), changed(compatible)
    hf, view = await deploy(desk, before, after)
    assert output(view) == "after"
    [noted] = [e.payload for e in await entries(hf, view) if e.type == "run.version_changed"]
    assert noted is not None
    assert before.version.encode() in noted
    assert after.version.encode() in noted
    assert view.run.agent_version == after.version


async def test_an_agent_may_demand_that_a_changed_run_fails_until_the_old_code_is_back(desk: Desk) -> None:
    hf = desk.make(asleep(on_version_change="fail"))
    async with hf.running():
        view = await waiting(hf, await start(hf, "w"))
    changed_hf = desk.make(changed(compatible, on_version_change="fail"))
    async with changed_hf.running():
        view = await ended(changed_hf, view)
        assert error(view)["code"] == "version_changed"
    hf = await desk.open(asleep(on_version_change="fail"))
    assert output(await retry(hf, view)) == "before"


async def test_a_run_whose_agent_is_gone_stays_queued_says_so_and_is_served_when_it_returns(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POLL_MS", 50)

    @workflow("other")
    async def other(ctx: Context) -> None: ...

    hf = desk.make(asleep())
    async with hf.running():
        view = await waiting(hf, await start(hf, "w"))
    hf = desk.make(other)
    async with hf.running():
        view = await until(hf, view, lambda v: v.run.status is RunStatus.QUEUED, "queued")
        assert view.unserved
    hf = await desk.open(asleep())
    assert not (await look(hf, view)).unserved
    assert output(await ended(hf, view)) == "before"


@pytest.mark.impure  # the code changes between claims
async def test_a_pinned_run_waits_for_a_worker_with_the_version_it_began_under_and_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POLL_MS", 50)
    hf = desk.make(asleep(on_version_change="pin"))
    async with hf.running():
        view = await waiting(hf, await start(hf, "w"))
    changed_hf = await desk.open(changed(compatible, on_version_change="pin"))
    view = await until(changed_hf, view, lambda v: v.run.status is RunStatus.QUEUED, "queued")
    shown = decode(views.run(view))
    assert (shown["phase"], shown["waiting_on"]) == ("ready", [{"type": "worker", "id": "w"}])
    assert output(await outcome(changed_hf, "w")) == "after", "a new run begins under the new version"
    hf = await desk.open(asleep(on_version_change="pin"))
    assert not (await look(changed_hf, view)).unserved
    assert output(await ended(hf, view)) == "before"


@pytest.mark.impure  # the code changes between claims
async def test_what_a_run_used_stays_when_a_new_definition_ends_it(desk: Desk) -> None:
    @tool
    async def ask(ctx: ToolContext) -> str:
        """Ask."""
        return await ctx.ask("Go on?")

    def made(instructions: str) -> Agent:
        model = ScriptedModel([Call("ask"), "done"])
        return Agent("a", model=model, tools=[ask], instructions=instructions, on_version_change="fail")

    hf = desk.make(made("before"))
    async with hf.running():
        view = await waiting(hf, await start(hf, "a", "go"))
    used = view.run.usage
    assert used.requests == 1
    other = await desk.open(made("after"))
    (asked,) = await questions(other, view)
    await resolve(other, asked, "answer", answer="yes")
    view = await ended(other, view)
    assert error(view)["code"] == "version_changed"
    assert view.run.usage == used
