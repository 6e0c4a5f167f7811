"""A workflow is an async function: what it takes and gives is checked, and its version is its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast.agents import base
from holdfast.agents.registry import Registry
from holdfast.agents.workflow import Workflow, workflow
from holdfast.domain.agents import AgentKind
from holdfast.domain.encoding import decode
from holdfast.domain.errors import DefinitionError, Invalid, NotEncodable
from holdfast.domain.runs import RunLimits
from tests.agents.doubles import answer
from tests.agents.memory_context import MemoryContext


class Ask(BaseModel):
    city: str
    days: int = 1


@dataclass
class Report:
    city: str
    on: date


@workflow("report", limits=RunLimits(steps_max=5), durability="sync", on_version_change="fail")
async def report(ctx: base.Context, ask: Ask) -> Report:
    """Reports."""
    doubled = await ctx.step("double", lambda n: 2 * n, ask.days)
    return Report(ask.city * doubled, date(2030, 1, 2))


async def test_input_and_output_have_the_annotated_types() -> None:
    assert await answer(report, {"city": "Rome"}) == {"city": "RomeRome", "on": "2030-01-02"}
    assert report.accept(Ask(city="Rome")) == b'{"city":"Rome","days":1}'
    assert report.decode_output(b'{"city":"Rome","on":"2030-01-02"}') == Report("Rome", date(2030, 1, 2))


async def test_a_workflow_is_an_agent_and_still_the_function() -> None:
    agent: base.Agent = report
    assert (agent.id, agent.kind, agent.durability, agent.on_version_change) == (
        "report",
        AgentKind.WORKFLOW,
        "sync",
        "fail",
    )
    assert agent.default_limits == RunLimits(steps_max=5)
    shown = agent.definition()
    assert (shown["name"], shown["description"]) == ("report", "Reports.")
    assert shown["input_schema"]["required"] == ["city"]
    assert set(shown["output_schema"]["properties"]) == {"city", "on"}
    context = MemoryContext()
    with context.scope(""):
        assert await report(context, Ask(city="x")) == Report("xx", date(2030, 1, 2))
    assert Registry([report]).get("report") is report
    await agent.warm_up()
    await agent.close()


async def test_a_resumed_workflow_finds_its_steps() -> None:
    whole = MemoryContext()
    expected = await answer(report, {"city": "Rome"}, context=whole)
    resumed = MemoryContext(recorded=whole.steps)
    assert await answer(report, {"city": "Rome"}, context=resumed) == expected
    assert resumed.fresh == []


async def test_a_workflow_may_have_no_input() -> None:
    @workflow("plain")
    async def plain(ctx: base.Context) -> list[int]:
        return [1]

    assert await answer(plain, None) == [1]
    assert plain.definition()["input_schema"] == {"type": "null"}
    with pytest.raises(Invalid) as caught:
        plain.accept({"a": 1})
    assert caught.value.code == "invalid_input"


async def test_without_annotations_any_json_goes() -> None:
    @workflow("loose")
    async def loose(ctx, input):  # type: ignore[no-untyped-def]
        return {"got": input}

    assert await answer(loose, {"a": [1, None]}) == {"got": {"a": [1, None]}}
    assert await answer(loose, None) == {"got": None}


async def test_types_may_be_given_instead_of_annotations() -> None:
    @workflow("typed", input_type=int, output_type=str)
    async def typed(ctx: Any, input: Any) -> Any:
        return str(input + 1)

    assert await answer(typed, "3") == "4"
    with pytest.raises(Invalid):
        typed.accept("three")


def test_input_that_does_not_fit_is_refused_with_the_places() -> None:
    with pytest.raises(Invalid) as caught:
        report.accept({"days": "x"})
    assert [e["loc"] for e in caught.value.errors] == [["city"], ["days"]]


async def test_an_output_that_cannot_be_stored_fails_the_run() -> None:
    @workflow("odd")
    async def odd(ctx: base.Context) -> Any:
        return object()

    with pytest.raises(NotEncodable, match="What workflow 'odd' returned"):
        await answer(odd, None)


async def test_an_output_of_another_type_is_stored_as_what_it_is() -> None:
    @workflow("other")
    async def other(ctx: base.Context) -> Report:
        return {"city": "Rome"}  # type: ignore[return-value]

    assert await answer(other, None) == {"city": "Rome"}


def made(body: str, annotation: str = "int") -> Workflow[Any, Any]:
    namespace: dict[str, Any] = {}
    exec(f"async def f(ctx, n: {annotation}) -> int:\n    {body}\n", namespace)
    return workflow("f")(namespace["f"])


def test_the_version_is_that_of_source_and_schemas() -> None:
    assert made("return n").version == made("return n").version
    versions = {made("return n").version, made("return n + 1").version, made("return n", "str").version, report.version}
    assert len(versions) == 4


class Opaque:
    pass


def _sync(ctx: Any) -> None: ...


async def _nothing() -> None: ...


async def _keyword(ctx: Any, *, n: int) -> None: ...


async def _three(ctx: Any, a: int, b: int) -> None: ...


async def _opaque(ctx: Any, a: Opaque) -> None: ...


async def _opaque_output(ctx: Any) -> Opaque: ...


async def _unresolvable(ctx: Any, a: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def _fine(ctx: Any) -> None: ...


@pytest.mark.parametrize("fn", [_sync, _nothing, _keyword, _three, _opaque, _opaque_output, _unresolvable])
def test_functions_that_cannot_be_workflows_are_refused(fn: Callable[..., Any]) -> None:
    with pytest.raises(DefinitionError):
        workflow("w")(fn)


@pytest.mark.parametrize(
    "options", [{"id": "no spaces"}, {"durability": "later"}, {"on_version_change": "ignore"}, {"input_type": Opaque}]
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        workflow(options.pop("id", "w"), **options)(_fine)


def test_agents_that_a_workflow_calls_are_registered_with_it() -> None:
    w = workflow("w", agents=[report])(_fine)
    assert Registry([w]).ids == ["w", "report"]


def test_a_stored_output_is_json() -> None:
    assert decode(b'"x"') == "x"
