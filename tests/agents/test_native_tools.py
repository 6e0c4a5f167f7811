"""Tool calls: what is made of them, in which order, and what the model is told when they go wrong."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai.messages import BinaryImage, ImageUrl

from holdfast.agents.native import Agent
from holdfast.agents.tools import ModelRetry, Tool, ToolContext, ToolReturn, tool
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Cancelled, LimitReached, ModelFault, RunError, StepFailed, Unavailable
from holdfast.domain.journal import StepKind, StepStatus
from holdfast.domain.threads import Role
from holdfast.testing.scripted import Call
from tests.agents.doubles import answer, asked, scripted
from tests.agents.memory_context import MemoryContext


@tool(effect="read")
async def double(n: int) -> int:
    """Double it."""
    return 2 * n


async def told(made: Any, call: Any = None, **options: Any) -> tuple[Any, MemoryContext]:
    """What the model is told of one call of a tool."""
    made = made if isinstance(made, Tool) else tool(made)
    model = scripted(call or Call(made.name), "Done.")
    context = MemoryContext(deps=options.pop("deps", None))
    await answer(Agent("a", model=model, tools=[made], **options), context=context)
    return asked(model)[-1][1], context


async def test_a_call_is_a_step_under_the_key_of_its_answer_and_its_place_in_it() -> None:
    model = scripted(
        ["Let me see.", Call("double", {"n": 1}), Call("double", {"n": 2})], Call("double", {"n": 3}), "Done."
    )
    context = MemoryContext()
    await answer(Agent("a", model=model, tools=[double]), context=context)
    assert context.keys == ["model#1", "model#1/0", "model#1/1", "model#2", "model#2/0", "model#3"]
    step = context.steps[2]
    assert (step.entry.kind, step.entry.name, step.role) == (StepKind.TOOL, "double", Role.TOOL)
    assert decode(step.entry.payload) == {"call_id": "call_0_2", "tool": "double", "index": 1, "result": 4}
    assert [s.role for s in context.steps] == [
        Role.ASSISTANT,
        Role.TOOL,
        Role.TOOL,
        Role.ASSISTANT,
        Role.TOOL,
        Role.ASSISTANT,
    ]


async def test_tools_that_may_change_something_are_opened_and_awaited_those_that_read_are_not() -> None:
    @tool
    async def write() -> None: ...

    context = MemoryContext()
    model = scripted([Call("double", {"n": 1}), Call("write")], "Done.")
    await answer(Agent("a", model=model, tools=[double, write]), context=context)
    actions = {s.entry.name: s.action for s in context.steps if s.entry.kind is StepKind.TOOL}
    assert (actions["double"].write_behind, actions["write"].write_behind) == (True, False)
    assert context.openings == ["model#1/1"]


async def test_equal_call_ids_are_told_apart() -> None:
    """Some servers repeat `call_0`, in one answer and in the next."""
    model = scripted(
        [Call("double", {"n": 1}, id="call_0"), Call("double", {"n": 2}, id="call_0")],
        [Call("double", {"n": 3}, id="call_0"), Call("double", {"n": 4}, id="")],
        "Done.",
    )
    await answer(Agent("a", model=model, tools=[double]))
    messages = model.requests[-1].messages
    calls = [p.tool_call_id for m in messages for p in m.parts if p.part_kind == "tool-call"]
    results = [(p.tool_call_id, p.content) for m in messages for p in m.parts if p.part_kind == "tool-return"]
    assert len(set(calls)) == 4
    assert results == list(zip(calls, [2, 4, 6, 8], strict=True))


# --- order -----------------------------------------------------------------------------------------------------------


@dataclass
class Meeting:
    """Counts who is inside at once."""

    inside: int = 0
    most: int = 0

    async def visit(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        for _ in range(3):
            await asyncio.sleep(0)
        self.inside -= 1


async def most_at_once(calls: list[str], **options: Any) -> tuple[int, list[str]]:
    meeting, order = Meeting(), list[str]()

    @tool
    async def free() -> None:
        order.append("free")
        await meeting.visit()

    @tool(sequential=True)
    async def alone() -> None:
        order.append("alone")
        await meeting.visit()
        assert meeting.inside == 0

    model = scripted([Call(name) for name in calls], "Done.")
    await answer(Agent("a", model=model, tools=[free, alone], **options))
    return meeting.most, order


async def test_calls_of_one_answer_run_in_parallel() -> None:
    assert await most_at_once(["free"] * 4) == (4, ["free"] * 4)


async def test_a_sequential_tool_is_a_barrier() -> None:
    calls = ["free", "free", "alone", "free", "free", "free", "alone", "alone"]
    assert await most_at_once(calls) == (3, calls)


async def test_an_agent_may_forbid_parallel_calls() -> None:
    assert await most_at_once(["free"] * 4, parallel_tools=False) == (1, ["free"] * 4)


async def test_sync_tools_run_in_threads_in_parallel() -> None:
    barrier = threading.Barrier(2, timeout=10)
    threads: set[int] = set()

    @tool
    def meet(ctx: ToolContext[str]) -> str:
        barrier.wait()  # two at once, or neither gets on
        threads.add(threading.get_ident())
        return ctx.deps

    model = scripted([Call("meet"), Call("meet")], "Done.")
    await answer(Agent("a", model=model, tools=[meet]), context=MemoryContext(deps="deps"))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


# --- results ---------------------------------------------------------------------------------------------------------


class Order(BaseModel):
    id: str
    total: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, None),
        (7, 7),
        ([1, "a"], [1, "a"]),
        ({"a": {"b": None}}, {"a": {"b": None}}),
        (Order(id="7", total=1.5), {"id": "7", "total": 1.5}),
        ([Order(id="7", total=1.5)], [{"id": "7", "total": 1.5}]),
        ((1, 2), [1, 2]),
        (ToolReturn("text"), "text"),
    ],
)
async def test_results_are_json_to_the_model(value: Any, expected: Any) -> None:
    async def f() -> Any:
        return value

    found, context = await told(f)
    assert found == expected
    assert context.result("model#1/0")["result"] == expected


async def test_files_and_further_content_are_shown_beside_the_result() -> None:
    image = BinaryImage(data=b"\x89PNG", media_type="image/png")

    async def picture() -> Any:
        return image

    async def pictures() -> Any:
        return ["Two of them:", image, ImageUrl(url="https://example.org/a.png")]

    async def explained() -> Any:
        return ToolReturn("the result", content=["Look:", image], metadata={"source": 3})

    model = scripted([Call("picture"), Call("pictures"), Call("explained")], "Done.")
    context = MemoryContext()
    await answer(Agent("a", model=model, tools=[picture, pictures, explained]), context=context)
    said = asked(model)
    assert said[4:7] == [("picture", "1 file attached."), ("pictures", ["Two of them:"]), ("explained", "the result")]
    assert [content for who, content in said[7:] if who == "user"] == [
        [image],
        [image, ImageUrl(url="https://example.org/a.png")],
        ["Look:", image],
    ]
    assert context.result("model#1/2")["metadata"] == {"source": 3}


@pytest.mark.parametrize("value", [object(), "\ud800", {"a": object()}, "x" * (17 * 1024 * 1024)])
async def test_a_result_that_cannot_be_stored_is_told_to_the_model(value: Any) -> None:
    async def f() -> Any:
        return value

    found, context = await told(f)
    assert found.startswith("error: the tool's result cannot be used")
    assert error_of(context, "model#1/0")["code"] == "not_encodable"


def error_of(context: MemoryContext, key: str) -> dict[str, Any]:
    entry = context.journal.results[key]
    assert entry.status is StepStatus.FAILED
    return decode(entry.error)


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_tool_that_raises_is_told_to_the_model_and_the_run_goes_on() -> None:
    async def f() -> None:
        raise ValueError("no such order \ud800")

    found, context = await told(f)
    assert found == "error: no such order ?"
    error = error_of(context, "model#1/0")
    assert (error["code"], error["error_type"]) == ("tool_error", "ValueError")
    assert context.result("model#1/0") == {"call_id": "call_0_0", "tool": "f", "index": 0, "error": found}


async def test_an_error_without_words_says_its_type() -> None:
    async def f() -> None:
        raise KeyError

    found, _ = await told(f)
    assert found == "error: KeyError"


async def test_errors_do_not_spend_the_retry_budget() -> None:
    async def f() -> None:
        raise ValueError("again")

    model = scripted(*[Call("f")] * 6, "Done.")
    assert await answer(Agent("a", model=model, tools=[f], tool_retries=0)) == "Done."


async def test_a_tool_that_takes_too_long_is_told_to_the_model() -> None:
    cancelled = []

    @tool(timeout=0.001)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    found, context = await told(slow)
    assert found == "error: no result within 0.001 s"
    assert error_of(context, "model#1/0")["code"] == "tool_timeout"
    assert cancelled == [True]


async def test_a_timeout_of_the_tools_own_is_an_ordinary_error() -> None:
    async def f() -> None:
        raise TimeoutError("the bank did not answer")

    found, context = await told(f)
    assert found == "error: the bank did not answer"
    assert error_of(context, "model#1/0")["code"] == "tool_error"


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        (Call("nobody"), "unknown_tool", "There is no tool 'nobody'. The tools are: double."),
        (Call("double", {"n": "x"}), "invalid_arguments", "- n: Input should be a valid integer"),
        (Call("double", '{"n": '), "invalid_arguments", "Invalid JSON"),
    ],
)
async def test_wrong_calls_are_told_to_the_model_without_an_opening(call: Call, code: str, says: str) -> None:
    found, context = await told(double, call)
    assert says in found
    assert error_of(context, "model#1/0")["code"] == code
    assert context.openings == []


async def test_model_retry_is_told_as_it_is() -> None:
    async def f() -> None:
        raise ModelRetry("use the other id")

    found, context = await told(f)
    assert found == "use the other id"
    assert error_of(context, "model#1/0")["code"] == "tool_retry"


@pytest.mark.parametrize(
    ("calls", "fails"),
    [
        ([Call("double", {"n": "x"})] * 3, True),
        ([Call("double", {"n": "x"})] * 2, False),
        ([Call("double", {"n": "x"})] * 2 + [Call("double", {"n": 1})] + [Call("double", {"n": "x"})] * 2, False),
        ([Call("double", {"n": "x"}), Call("other", {"n": 1})] * 2 + [Call("double", {"n": "x"})], True),
        ([[Call("double", {"n": "x"})] * 3], True),
        ([Call("nobody")] * 3, True),
        ([Call("nobody"), Call("somebody")], False),
        ([Call("nobody"), Call("somebody"), Call("anybody")], True),
        ([Call("nobody"), Call("somebody"), Call("double", {"n": 1})] * 2, False),
        ([Call("strict", {"n": "x"})], True),
        ([Call("patient", {"n": "x"})] * 4, False),
    ],
)
async def test_a_tools_retries_in_a_row_are_limited(calls: list[Any], fails: bool) -> None:
    async def f(n: int) -> int:
        return n

    tools = [double, tool(name="other")(f), tool(name="strict", retries=0)(f), tool(name="patient", retries=4)(f)]
    agent = Agent("a", model=scripted(*calls, "Done."), tools=tools, tool_retries=2)
    if not fails:
        assert await answer(agent) == "Done."
        return
    with pytest.raises(RunError) as caught:
        await answer(agent)
    assert caught.value.code == "tool_retries_exhausted"
    assert "/" in caught.value.details["step"]


@pytest.mark.parametrize("ends", [LimitReached("no more"), Cancelled()])
async def test_what_ends_the_run_is_not_told_to_the_model(ends: BaseException) -> None:
    @tool
    async def f(ctx: ToolContext) -> None:
        raise ends

    for calls in ([Call("f")], [Call("f"), Call("double", {"n": 1})]):
        with pytest.raises(type(ends)):
            await answer(Agent("a", model=scripted(calls, "Done."), tools=[f, double]))


async def test_a_tool_that_is_switched_off_is_not_called() -> None:
    context, model = MemoryContext(), scripted(Call("double", {"n": 1}), "Done.")
    context.tools_off.add("double")
    await answer(Agent("a", model=model, tools=[double]), context=context)
    assert asked(model)[-1] == ("double", "error: the tool 'double' is switched off; do without it")
    assert error_of(context, "model#1/0")["code"] == "tool_disabled"


@pytest.mark.parametrize("error", [ModelFault("no model", code="model_auth"), RunError("no"), Unavailable("closed")])
async def test_an_error_of_the_run_that_a_tool_raises_is_told_like_any_other(error: Exception) -> None:
    async def f() -> None:
        raise error

    found, context = await told(f)
    assert found == f"error: {error}"
    assert context.result("model#1/0")["index"] == 0
    assert error_of(context, "model#1/0")["error_type"] == type(error).__name__


async def test_work_that_was_cancelled_under_a_tool_is_the_tools_error_not_the_end_of_the_run() -> None:
    async def f() -> None:
        work = asyncio.create_task(asyncio.Event().wait())
        work.cancel()
        await work

    found, context = await told(f)
    assert found == "error: what the tool waited for was cancelled"
    assert error_of(context, "model#1/0")["code"] == "tool_error"


async def test_a_tool_that_is_cancelled_with_its_run_tells_nobody() -> None:
    started = asyncio.Event()

    @tool
    async def f() -> None:
        started.set()
        await asyncio.Event().wait()

    context = MemoryContext()
    running = asyncio.create_task(answer(Agent("a", model=scripted(Call("f"), "Done."), tools=[f]), context=context))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert context.keys == ["model#1"]


async def test_a_failed_step_inside_a_tool_is_the_tools_error() -> None:
    async def f() -> None:
        raise StepFailed("it broke", code="step_failed")

    found, context = await told(f)
    assert found == "error: it broke"
    assert error_of(context, "model#1/0")["code"] == "tool_error"


async def test_a_tool_may_emit_events_once() -> None:
    async def f(ctx: ToolContext) -> None:
        await ctx.emit("progress", {"done": 1})

    _, context = await told(f)
    assert context.emitted == [("progress", {"done": 1})]
    assert "model#1/0/progress#1" in context.keys


async def test_agent_tool_decorators() -> None:
    model = scripted([Call("one"), Call("two")], "Done.")
    agent = Agent("a", model=model)
    before = agent.version

    @agent.tool
    async def one() -> int:
        return 1

    @agent.tool(effect="read", name="two")
    def deux(ctx: ToolContext) -> int:
        return 2

    context = MemoryContext()
    await answer(agent, context=context)
    assert [what for who, what in asked(model) if who in ("one", "two")] == [1, 2]
    assert context.openings == ["model#1/0"]
    assert agent.version != before
    assert await one() == 1
