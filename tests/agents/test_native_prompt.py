"""The record of a prompt: what has to be loaded, and that what is rebuilt is what was sent."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import ModelResponse
from pydantic_core import from_json

from holdfast.agents.native import Agent, prompt
from holdfast.agents.native.messages import text_of
from holdfast.agents.native.prompt import Prompt, Said, needs, rebuild
from holdfast.agents.tools import tool
from holdfast.domain.encoding import decode
from holdfast.domain.errors import StepFailed
from holdfast.domain.threads import Role
from holdfast.testing.scripted import Call
from tests.agents.doubles import answer, prompts, scripted, sent
from tests.agents.memory_context import MemoryContext, Thread, run


@tool(effect="read")
async def look(n: int) -> int:
    """Look it up."""
    return n


async def test_what_is_rebuilt_is_what_was_sent_for_every_step() -> None:
    thread = Thread()
    calls = [Call("look", {"n": 1}, id="call_0"), Call("look", {"n": 2}, id="call_0")]
    model = scripted(calls, "Done.", calls, "Done again.")
    agent = Agent("a", model=model, instructions="Be kind.", tools=[look], output_type=[str, int])
    for turn, text in enumerate(("one", "two")):
        context = MemoryContext(thread=thread)
        await run(agent, context, text)
        rebuilt = prompts(context)
        assert [rebuilt["model#1"]["messages"], rebuilt["model#2"]["messages"]] == [
            sent(model, 2 * turn),
            sent(model, 2 * turn + 1),
        ]
        assert rebuilt["model#1"]["instructions"] == "Be kind."
        assert [(t["name"], t["description"], t["kind"]) for t in rebuilt["model#1"]["tools"]] == [
            ("look", "Look it up.", "function"),
            ("final_result", "The final response which ends this conversation", "output"),
        ]


async def test_needs_names_all_that_rebuild_loads() -> None:
    thread = Thread()
    thread.append(Role.USER, b'"before"')
    context = MemoryContext(thread=thread)
    await answer(Agent("a", model=scripted("Hello.")), context=context)
    record = decode(context.steps[0].entry.prompt)
    ranges, hashes = needs(record)
    assert ranges == [(1, 2)]
    messages = {r: thread.load(*r) for r in ranges}
    blobs = {h: thread.blobs[h] for h in hashes}
    assert rebuild(record, lambda a, b: messages[a, b], blobs.__getitem__)["messages"]
    closed = {"segments": [{"inline": "aa" * 32}, {"transcript": [[3, 4], [6, 6]]}], "parameters": "bb" * 32}
    assert needs(closed) == ([(3, 4), (6, 6)], [b"\xaa" * 32, b"\xbb" * 32])


async def test_a_blob_is_named_by_its_content() -> None:
    context = MemoryContext()
    await answer(Agent("a", model=scripted("Hello."), instructions="Be kind."), context=context)
    assert context.thread.blobs
    for hash, data in context.thread.blobs.items():
        assert hashlib.sha256(data).digest() == hash


async def test_the_parameters_of_an_agent_are_encoded_once() -> None:
    agent = Agent("a", model=scripted("One.", "Two."), instructions="Be kind.", tools=[look])
    blobs: list[Any] = []
    thread = Thread()
    for text in ("one", "two"):
        context = MemoryContext(thread=thread)
        await run(agent, context, text)
        outcome = context.steps[0].outcome
        assert outcome is not None
        blobs.extend(outcome.blobs)
    assert blobs[0] is blobs[1]


async def test_a_record_that_would_not_rebuild_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that runs in every test of agents can fail."""
    monkeypatch.setattr(prompt, "_encoded", lambda order: b"[]")
    with pytest.raises(StepFailed, match="the prompt rebuilds to"):
        await answer(Agent("a", model=scripted("Hello.")))


def said(position: int, text: str) -> Said:
    return Said(position=position, role=Role.USER, payload=f'"{text}"'.encode())


@given(st.lists(st.integers(1, 40), unique=True).map(sorted))
def test_segments_cover_exactly_the_positions_that_were_added(positions: list[int]) -> None:
    made = Prompt()
    for position in positions:
        made.add(said(position, "x"))
    segments, _ = made.segments()
    covered = [n for s in from_json(segments) for n in range(s["messages"][0], s["messages"][1] + 1)]
    assert covered == positions
    assert len(from_json(segments)) == sum(1 for p in positions if p - 1 not in positions)


def test_a_request_that_was_sent_is_not_changed_by_what_follows() -> None:
    """Providers want one message a turn, so a retry prompt joins the request before it: a new one, not the sent one."""
    made = Prompt()
    made.add(said(1, "question"))
    (first,) = made.ready()
    made.add(Said(position=2, role=Role.ASSISTANT, payload=None, response=ModelResponse(parts=[])))
    made.add(Said(position=3, role=Role.USER, payload=b'{"retry":"again"}', kind="value"))
    (second,) = made.ready()
    assert (len(first.parts), len(second.parts)) == (1, 2)
    assert made.segments()[0] == b'[{"messages":[1,3]}]'


def test_the_output_text_of_a_stored_answer() -> None:
    assert text_of(b'{"fmt":"pydantic-ai/response/1","lib":"1","data":{"parts":[]}}') == ""
    assert text_of(None) == ""
