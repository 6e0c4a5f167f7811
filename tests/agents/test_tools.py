"""What can be a tool, what its schema says, and which arguments it takes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator

from holdfast.agents.native import Agent
from holdfast.agents.tools import InvalidArguments, Tool, ToolContext, as_tool, tool
from holdfast.domain import limits
from holdfast.domain.effects import EffectClass
from holdfast.domain.errors import DefinitionError
from tests.agents.memory_context import MemoryContext


@dataclass
class Deps:
    rate: int


class Order(BaseModel):
    id: str
    amount: Decimal


class Odd(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def crash(cls, value: int) -> int:
        raise ZeroDivisionError("by design")


def test_schema_and_description_come_from_signature_and_docstring() -> None:
    @tool
    async def refund(ctx: ToolContext[Deps], order_id: str, amount: Decimal, reason: str = "none") -> str:
        """Refund an order.

        Args:
            order_id: The order's number.
            amount: How much, in euros.
        """
        return order_id

    shown = refund.definition()
    assert (shown["name"], shown["description"], shown["effect"]) == ("refund", "Refund an order.", "unsafe")
    assert shown["timeout_ms"] == limits.TOOL_TIMEOUT_MS
    properties = shown["schema"]["properties"]
    assert list(properties) == ["order_id", "amount", "reason"]
    assert properties["order_id"] == {"type": "string", "description": "The order's number."}
    assert shown["schema"]["required"] == ["order_id", "amount"]


def test_a_tool_is_still_the_plain_function() -> None:
    @tool(effect="read", timeout=timedelta(seconds=2), retries=4, name="sum", description="Adds.")
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert (add.name, add.description, add.effect, add.timeout_ms) == ("sum", "Adds.", EffectClass.READ, 2_000)
    assert add.spec.retries == 4


def test_arguments_are_validated_and_converted() -> None:
    @tool
    def f(order: Order, day: Literal["mon", "tue"], n: int = 1) -> None: ...

    found = f.spec.validate('{"order": {"id": "7", "amount": "1.50"}, "day": "mon"}')
    assert found == {"order": Order(id="7", amount=Decimal("1.50")), "day": "mon", "n": 1}
    assert f.spec.validate({"order": {"id": "7", "amount": 1}, "day": "tue", "n": "3"})["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "loc", "says"),
    [
        ('{"a": "x"}', ["a"], "valid integer"),
        ("{}", ["a"], "required"),
        ('{"a": 1, "z": 2}', ["z"], "not permitted"),
        ('{"a": 1', [], "Invalid JSON"),
        ("[1]", [], "should be an object"),
        (None, ["a"], "required"),
        ("", ["a"], "required"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: Any, loc: list[str], says: str) -> None:
    @tool
    def f(a: int) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        f.spec.validate(arguments)
    assert caught.value.errors[0]["loc"] == loc
    assert says in caught.value.errors[0]["msg"]


def test_a_validator_that_crashes_counts_as_invalid_arguments() -> None:
    @tool
    def f(odd: Odd) -> None: ...

    with pytest.raises(InvalidArguments, match="ZeroDivisionError: by design"):
        f.spec.validate({"n": 1})


async def test_positional_and_variadic_parameters_arrive_where_they_belong() -> None:
    @tool
    async def f(ctx: ToolContext, a: int, /, b: int, *rest: int, c: int = 0, **more: int) -> Any:
        return a, b, rest, c, more

    validated = f.spec.validate({"a": 1, "b": 2, "rest": [3, 4], "c": 5, "d": 6})
    assert await f.invoke_validated(MemoryContext(), validated, key="k", attempt=1) == (1, 2, (3, 4), 5, {"d": 6})


async def test_a_callable_object_can_be_a_tool() -> None:
    class Doubler:
        """Doubles."""

        async def __call__(self, n: int) -> int:
            return 2 * n

    doubler = tool(name="double")(Doubler())
    assert doubler.description == "Doubles."
    assert await doubler.invoke_validated(MemoryContext(), doubler.spec.validate({"n": 4}), key="k", attempt=1) == 8


async def test_the_context_says_who_and_what_is_running() -> None:
    @tool
    def ask(ctx: ToolContext[Deps], n: int) -> list[Any]:
        return [ctx.run_id, ctx.thread_id, ctx.tenant_id, ctx.principal_id, ctx.key, ctx.attempt, ctx.deps.rate * n]

    context = MemoryContext(deps=Deps(rate=3))
    assert await ask.invoke(context, 2, key="model#1/0", attempt=2) == [
        "run_1", "thr_1", "ten_1", "pri_1", "model#1/0", 2, 6,
    ]  # fmt: skip


async def test_what_needs_the_event_loop_is_refused_in_a_sync_tool() -> None:
    @tool
    def f(ctx: ToolContext) -> None:
        ctx.emit("x")

    @tool
    def g(ctx: ToolContext) -> None:
        ctx.call("other")

    for made in (f, g):
        with pytest.raises(RuntimeError, match="make it async"):
            await made.invoke(MemoryContext(), key="k", attempt=1)


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer", "maximum": 7}},
    "required": ["city"],
    "additionalProperties": False,
}


async def test_a_tool_can_be_given_by_its_json_schema() -> None:
    async def forecast(ctx: ToolContext, **arguments: Any) -> Any:
        return [ctx.run_id, arguments]

    made = Tool(name="forecast", description="Weather.", parameters=SCHEMA, call=forecast, effect="read")
    validated = made.spec.validate('{"city": "Rome", "days": 3}')
    expected = ["run_1", {"city": "Rome", "days": 3}]
    assert await made.invoke_validated(MemoryContext(), validated, key="k", attempt=1) == expected
    assert made.definition()["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("arguments", "locs"),
    [
        ('{"days": 9}', [[], ["days"]]),
        ('{"city": "R"}', [["city"]]),
        ('{"city": "Rome", "x": 1}', [[]]),
        ("[]", [[]]),
        ("{", [[]]),
    ],
)
def test_arguments_are_validated_against_a_given_schema(arguments: str, locs: list[list[str]]) -> None:
    made = Tool(name="forecast", description="", parameters=SCHEMA, call=print)
    with pytest.raises(InvalidArguments) as caught:
        made.spec.validate(arguments)
    assert [e["loc"] for e in caught.value.errors] == locs


def _fine(a: int) -> None: ...


class Opaque:
    pass


def _no_schema(a: Opaque) -> None: ...


def _unresolvable(a: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "declare",
    [
        lambda: tool(name="two words")(lambda a: a),
        lambda: tool(name="x" * 65)(print),
        lambda: tool(name="final_result")(_fine),
        lambda: tool(name="transfer_to_me")(_fine),
        lambda: tool(effect="write")(_fine),  # type: ignore[call-overload]
        lambda: tool(timeout=0)(_fine),
        lambda: tool(timeout=timedelta(seconds=-1))(_fine),
        lambda: tool(retries=-1)(_fine),
        lambda: tool(_no_schema),
        lambda: tool(functools.partial(_fine, a=1)),
        lambda: tool(_unresolvable),
        lambda: Tool(name="t", description="", parameters={"type": "string"}, call=print),
        lambda: Tool(name="t", description="", parameters={"type": "object", "properties": 3}, call=print),
        lambda: Tool(name="t", description="", parameters={"type": "object", "x": {1, object()}}, call=print),
        lambda: Tool(name="t", description="", parameters={"type": "object"}, call="print"),  # type: ignore[arg-type]
        lambda: as_tool(3),
    ],
)
def test_what_cannot_be_a_tool_is_refused_when_it_is_declared(declare: Any) -> None:
    with pytest.raises(DefinitionError):
        declare()


def test_two_tools_of_one_name_are_refused() -> None:
    @tool
    def twice(a: int) -> None: ...

    with pytest.raises(DefinitionError, match="two tools named 'twice'"):
        Agent("a", model="test", tools=[twice, tool(name="twice")(_fine)])


@pytest.mark.parametrize("reference", ["#/$defs/missing", "http://127.0.0.1:1/schema.json", "other.json"])
def test_a_schema_that_refers_to_what_it_does_not_hold_is_refused_and_nothing_is_fetched(reference: str) -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"$ref": reference}]}}}
    with pytest.raises(DefinitionError, match="not in the schema itself"):
        Tool(name="f", description="", parameters=schema, call=lambda ctx: None)


def test_a_schema_may_refer_to_its_own_definitions() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"first": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    made: Tool[..., Any] = Tool(name="f", description="", parameters=schema, call=lambda ctx: None)
    assert made.spec.validate('{"first": {"next": {"n": 1}}}') == {"first": {"next": {"n": 1}}}
    with pytest.raises(InvalidArguments, match=r"first\.next\.n"):
        made.spec.validate({"first": {"next": {"n": "x"}}})
