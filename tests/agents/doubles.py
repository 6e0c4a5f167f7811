"""What several tests of agents need: running, resuming from every prefix, reading prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart

from holdfast.agents import base
from holdfast.agents.native.prompt import rebuild, shown
from holdfast.domain.encoding import decode
from holdfast.domain.journal import StepKind
from holdfast.testing.scripted import ScriptedModel
from tests.agents.memory_context import MemoryContext, Thread, run


@dataclass
class Log:
    """What tools did in the world, which no journal takes back."""

    done: list[Any] = field(default_factory=list)

    def take(self) -> list[Any]:
        done, self.done = self.done, []
        return done


def scripted(*replies: Any, **options: Any) -> ScriptedModel:
    """A model that tells a whole thread: what the loop itself says to it does not start the script again."""
    return ScriptedModel(list(replies), **{"per": "thread", **options})


async def answer(agent: base.Agent, input: Any = "hi", context: MemoryContext | None = None) -> Any:
    """The output of a run, decoded."""
    return decode(await run(agent, context or MemoryContext(), input))


def sent(model: ScriptedModel, index: int = -1) -> list[Any]:
    """The messages of a request as JSON."""
    return shown(model.requests[index].messages)


def texts(messages: Sequence[ModelMessage]) -> Iterator[tuple[str, Any]]:
    """Requests' parts as (who, what)."""
    for message in messages:
        for part in message.parts:
            match part:
                case UserPromptPart(content=content):
                    yield "user", content
                case ToolReturnPart(content=content, tool_name=name):
                    yield name, content
                case _:
                    if not isinstance(message, ModelRequest):
                        yield "model", getattr(part, "content", None) or getattr(part, "tool_name", None)


def asked(model: ScriptedModel, index: int = -1) -> list[tuple[str, Any]]:
    return list(texts(model.requests[index].messages))


def prompts(context: MemoryContext) -> dict[str, Any]:
    """Every model step's prompt, rebuilt from what is stored."""
    return {
        step.entry.key or "": rebuild(decode(step.entry.prompt), context.thread.load, context.thread.blobs.__getitem__)
        for step in context.steps
        if step.entry.kind is StepKind.MODEL and step.entry.prompt is not None
    }


async def resumes_from_every_prefix(
    make: Callable[[], base.Agent],
    input: Any = "hi",
    *,
    log: Log | None = None,
    context: Callable[[], dict[str, Any]] = dict,
) -> MemoryContext:
    """Run; then, for every prefix of what was recorded, run again in a fresh process, as after a crash just there.

    The same output, the same steps with the same results and prompts; nothing recorded is done again.
    """
    log = log or Log()
    whole = MemoryContext(**context())
    output = await run(make(), whole, input)
    effects = log.take()
    assert len(whole.fresh) == len(set(whole.fresh)) == len(whole.steps)
    for length in range(len(whole.steps) + 1):
        resumed = MemoryContext(recorded=whole.steps[:length], **context())
        assert await run(make(), resumed, input) == output
        assert sorted(resumed.keys) == sorted(whole.keys)
        assert sorted(resumed.fresh) == sorted(whole.keys[length:])
        assert {k: _told(resumed, k) for k in resumed.keys} == {k: _told(whole, k) for k in whole.keys}
        assert prompts(resumed) == prompts(whole)
        again = log.take()
        assert all(effect in effects for effect in again)
        assert len(again) <= len(effects)
        if length == len(whole.steps):
            assert again == []
    return whole


def _told(context: MemoryContext, key: str) -> Any:
    """What a step says, without the time at which a model said it."""
    entry = context.journal.results[key]
    payload = decode(entry.payload)
    if isinstance(payload, dict) and isinstance(payload.get("data"), dict):
        payload["data"].pop("timestamp", None)
    return entry.kind, entry.status, payload


__all__ = ["Log", "Thread", "answer", "asked", "prompts", "resumes_from_every_prefix", "scripted", "sent"]
