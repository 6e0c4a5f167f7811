"""Structured output: how it is asked for, what is accepted, and when the run gives up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, RootModel
from pydantic_ai.profiles import ModelProfile
from typing_extensions import TypedDict

from holdfast.agents import base
from holdfast.agents.native import Agent, NativeOutput
from holdfast.agents.native.prompt import NOT_MADE
from holdfast.agents.tools import ModelRetry, ToolContext, tool
from holdfast.domain.encoding import decode
from holdfast.domain.errors import ModelFault, OutputInvalid, StepFailed
from holdfast.domain.threads import Role
from holdfast.testing.scripted import Call, Output
from tests.agents.doubles import answer, asked, prompts, resumes_from_every_prefix, scripted
from tests.agents.memory_context import MemoryContext, Thread, outcome, run


class Answer(BaseModel):
    """Where and how warm."""

    city: str
    degrees: Decimal


@dataclass
class Point:
    x: int
    y: int = 0


class Box(TypedDict):
    size: int


class Colour(StrEnum):
    RED = "red"


class Names(RootModel[list[str]]):
    pass


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


@pytest.mark.parametrize(
    ("output_type", "said", "expected"),
    [
        (Answer, {"city": "Rome", "degrees": 21.5}, {"city": "Rome", "degrees": "21.5"}),
        (Point, {"x": 1}, {"x": 1, "y": 0}),
        (Box, {"size": 3}, {"size": 3}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (bool, True, True),
        (int, 7, 7),
        (list[Point], [{"x": 1}], [{"x": 1, "y": 0}]),
        (Colour, "red", "red"),
        (Literal["yes", "no"], "no", "no"),
        (Names, ["a"], ["a"]),
        (int | None, None, None),
        (Tree, {"value": 1, "children": [{"value": 2}]}, {"value": 1, "children": [{"value": 2, "children": []}]}),
    ],
)
async def test_any_type_can_be_an_output(output_type: Any, said: Any, expected: Any) -> None:
    model = scripted(Output(said))
    agent = Agent("a", model=model, output_type=output_type)
    assert await answer(agent) == expected
    parameters = model.requests[0].info.parameters
    assert parameters.allow_text_output is False
    (asked_for,) = parameters.output_tools
    assert asked_for.name == "final_result"
    assert asked_for.parameters_json_schema["type"] == "object" or "$ref" in asked_for.parameters_json_schema


async def test_structured_output_is_stored_once_and_typed_when_decoded() -> None:
    agent = Agent("a", model=scripted(Output({"city": "Rome", "degrees": "21.5"})), output_type=Answer)
    context = MemoryContext()
    output = await outcome(agent, context, "hi")
    assert output == base.Output(payload=b'{"city":"Rome","degrees":"21.5"}')
    assert agent.decode_output(output.payload or b"") == Answer(city="Rome", degrees=Decimal("21.5"))
    assert context.keys == ["model#1"]


class Left(BaseModel):
    left: int = 0


class Right(BaseModel):
    right: int = 0


def test_a_stored_output_is_decoded_as_the_type_that_it_fits_best() -> None:
    agent = Agent("a", model="test", output_type=[Left, Right, int, str])
    assert agent.decode_output(b'{"right":3}') == Right(right=3)
    assert agent.decode_output(b'"5"') == "5"
    assert agent.decode_output(b"[5]") == [5]


async def test_an_output_of_which_nothing_is_required_may_be_called_without_arguments() -> None:
    assert await answer(Agent("a", model=scripted(Call("final_result", "")), output_type=Left)) == {"left": 0}


async def test_a_union_has_one_tool_for_each_member() -> None:
    for said, expected in (
        (Call("final_result_Answer", {"city": "Rome", "degrees": 1}), {"city": "Rome", "degrees": "1"}),
        (Call("final_result_Point", {"x": 2}), {"x": 2, "y": 0}),
        (Call("final_result_bool", {"response": True}), True),
        ("Just text.", "Just text."),
    ):
        model = scripted(said)
        assert await answer(Agent("a", model=model, output_type=Answer | Point | bool | str)) == expected
        parameters = model.requests[0].info.parameters
        assert parameters.allow_text_output
        names = [t.name for t in parameters.output_tools]
        assert names == ["final_result_Answer", "final_result_Point", "final_result_bool"]
    assert len(Agent("a", model="test", output_type=[list[int], list[str]]).spec.output.members) == 2


async def test_text_instead_of_an_output_is_asked_for_again() -> None:
    context = MemoryContext()
    model = scripted("It is warm.", Output({"city": "Rome", "degrees": 1}))
    await answer(Agent("a", model=model, output_type=Answer), context=context)
    assert [m.role for m in context.thread.messages] == [Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT]
    assert asked(model)[-1] == ("user", "Plain text is not an answer here: call final_result with your final response.")


async def test_arguments_that_do_not_fit_are_told_as_the_answer_to_the_call() -> None:
    context = MemoryContext()
    model = scripted(Output({"city": "Rome"}), Output({"city": "Rome", "degrees": 1}))
    await answer(Agent("a", model=model, output_type=Answer), context=context)
    who, what = asked(model)[-1]
    assert who == "final_result"
    assert "- degrees: Field required" in what
    assert decode(context.journal.results["model#1/0"].error)["code"] == "output_invalid"


async def test_the_output_budget_covers_all_kinds_of_retries() -> None:
    wrong = ["text", Output({"city": "Rome"}), ""]
    agent = Agent("a", model=scripted(*wrong), output_type=Answer, output_retries=2)
    with pytest.raises(OutputInvalid) as caught:
        await answer(agent)
    assert caught.value.details["step"] == "model#3"
    agent = Agent("a", model=scripted("text"), output_type=Answer, output_retries=0)
    with pytest.raises(OutputInvalid, match="Plain text is not an answer"):
        await answer(agent)


# --- other calls in the same answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "made"), [("early", []), ("exhaustive", [1])])
async def test_other_calls_beside_the_output(strategy: Any, made: list[int]) -> None:
    done: list[int] = []

    @tool
    async def act(n: int) -> None:
        done.append(n)

    thread, model = Thread(), scripted([Call("act", {"n": 1}), Output(7)], Output(8))
    agent = Agent("a", model=model, output_type=int, tools=[act], end_strategy=strategy)
    assert decode(await run(agent, MemoryContext(thread=thread), "hi")) == 7
    assert done == made
    # The next turn finds every call of this one answered.
    assert decode(await run(agent, MemoryContext(thread=thread), "again")) == 8
    replies = {who: what for who, what in asked(model) if who not in ("user", "model")}
    assert replies["final_result"] == "Final result processed."
    assert list(replies) == ["act", "final_result"]
    assert (replies["act"] == NOT_MADE) is (made == [])


async def test_an_invalid_output_does_not_stop_the_other_calls() -> None:
    done: list[int] = []

    @tool
    async def act(n: int) -> None:
        done.append(n)

    model = scripted([Call("act", {"n": 1}), Output("x")], Output(7))
    assert await answer(Agent("a", model=model, output_type=int, tools=[act])) == 7
    assert done == [1]


async def test_the_first_valid_output_wins() -> None:
    assert await answer(Agent("a", model=scripted([Output("x"), Output(7), Output(8)]), output_type=int)) == 7


# --- validators ------------------------------------------------------------------------------------------------------


async def test_validators_may_change_the_output_or_ask_for_another() -> None:
    async def known(ctx: ToolContext[set[str]], value: Answer) -> Answer:
        if value.city not in ctx.deps:
            raise ModelRetry(f"{value.city} is not known")
        return value

    def shout(value: Answer) -> Answer:
        return value.model_copy(update={"city": value.city.upper()})

    context = MemoryContext(deps={"Rome"})
    model = scripted(Output({"city": "Atlantis", "degrees": 1}), Output({"city": "Rome", "degrees": 1}))
    agent = Agent("a", model=model, output_type=Answer, output_validators=[known, shout])
    assert await answer(agent, context=context) == {"city": "ROME", "degrees": "1"}
    assert asked(model)[-1] == ("final_result", "Atlantis is not known")


async def test_a_validator_of_text_that_leaves_it_alone_costs_no_second_copy() -> None:
    agent = Agent("a", model=scripted("Hello."), output_validators=[lambda value: value])
    context = MemoryContext()
    assert await outcome(agent, context, "hi") == base.Output(message_key="model#1")
    assert context.result("validate#1") == {"same": True}


async def test_a_validator_of_text_may_change_it_or_refuse_it() -> None:
    agent = Agent("a", model=scripted("no", "hello"))

    @agent.output_validator
    async def polite(value: str) -> str:
        if value == "no":
            raise ModelRetry("be polite")
        return value.title()

    context = MemoryContext()
    assert await answer(agent, context=context) == "Hello"
    assert context.keys == ["model#1", "validate#1", "retry#1", "model#2", "validate#2"]
    assert context.result("retry#1") == {"retry": "be polite"}


async def test_a_validator_may_change_the_value_in_place() -> None:
    def shout(value: Answer) -> Answer:
        value.city = value.city.upper()
        return value

    def make() -> Agent:
        model = scripted(Output({"city": "Rome", "degrees": 1}))
        return Agent("a", model=model, output_type=Answer, output_validators=[shout])

    whole = await resumes_from_every_prefix(make)
    assert whole.result("validate#1") == {"output": {"city": "ROME", "degrees": "1"}}


async def test_a_plain_function_may_validate_by_what_is_awaited() -> None:
    async def later(value: str) -> str:
        return value.upper()

    agent = Agent("a", model=scripted("Hello."), output_validators=[lambda value: later(value)])
    assert await answer(agent) == "HELLO."


async def test_a_validator_that_crashes_fails_the_run() -> None:
    def crash(value: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(StepFailed) as caught:
        await answer(Agent("a", model=scripted("Hello."), output_validators=[crash]))
    assert caught.value.error_type == "ZeroDivisionError"


# --- the provider's own mode -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ['{"city": "Rome", "degrees": 1}', '```json\n{"city": "Rome", "degrees": 1}\n```'])
async def test_native_output_is_asked_for_by_schema(said: str) -> None:
    model = scripted(said)
    agent = Agent("a", model=model, output_type=NativeOutput(Answer, name="weather", strict=True))
    context = MemoryContext()
    assert await answer(agent, context=context) == {"city": "Rome", "degrees": "1"}
    parameters = model.requests[0].info.parameters
    assert (parameters.output_mode, parameters.output_tools) == ("native", [])
    assert parameters.output_object is not None
    assert (parameters.output_object.name, parameters.output_object.strict) == ("weather", True)
    assert prompts(context)["model#1"]["output"]["schema"]["required"] == ["city", "degrees"]


async def test_native_output_of_a_plain_type_is_wrapped_and_errors_are_told() -> None:
    context = MemoryContext()
    model = scripted('{"response": "x"}', '{"response": 7}')
    assert await answer(Agent("a", model=model, output_type=NativeOutput(int)), context=context) == 7
    assert "- response: Input should be a valid integer" in context.result("retry#1")["retry"]


async def test_native_output_needs_a_model_that_has_it() -> None:
    model = scripted("{}", profile=ModelProfile(supports_json_schema_output=False))
    with pytest.raises(ModelFault) as caught:
        await answer(Agent("a", model=model, output_type=NativeOutput(Answer)))
    assert caught.value.code == "model_misconfigured"
