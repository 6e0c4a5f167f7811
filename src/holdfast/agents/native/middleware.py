"""Middleware: code of the user's own around model calls, tool calls and failures.

`before_model` and `on_error` run again from the top when a run resumes, so what they draw on that is not recorded
must go through `turn.run.step(…)` or `turn.ask(…)`, which are steps. `after_model` and `around_tool` run inside the
step they belong to: what they return is what is recorded, and a resumed run does not run them again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse

from holdfast.agents import base

Ask = Callable[..., Awaitable[str]]


@dataclass(frozen=True, slots=True)
class TurnInfo:
    """Where a run stands. `run` is the workflow's context: steps, recorded time, events. `agent` acts now."""

    run: base.Context
    agent: str
    model_calls: int
    _ask: Ask = field(repr=False)

    async def ask(self, prompt: str, *, model: Any = None, instructions: str | None = None, name: str = "ask") -> str:
        """Ask a model (the acting agent's unless given) aside from the conversation; a recorded step."""
        return await self._ask(prompt, model=model, instructions=instructions, name=name)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What is about to be sent. Change it with `dataclasses.replace`; messages that stay must stay the same objects."""

    messages: list[ModelMessage]
    instructions: str | None
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call about to be made. `arguments` are validated; what a middleware changes is not validated again."""

    tool: str
    arguments: dict[str, Any]
    key: str
    attempt: int


Next = Callable[[ToolCall], Awaitable[Any]]


class Middleware:
    """Override what you need. The first in `Agent(middleware=[…])` is the outermost."""

    async def before_model(self, turn: TurnInfo, call: ModelCall) -> ModelCall | None:
        """Before each model call; the call to make instead, or None for as it is."""
        return None

    async def after_model(self, turn: TurnInfo, response: ModelResponse) -> ModelResponse | None:
        """With each fresh answer, before it is recorded; the answer to record instead, or None for as it is."""
        return None

    async def around_tool(self, turn: TurnInfo, call: ToolCall, next: Next) -> Any:
        """Around each tool call: call `next`, or not. What it returns or raises is the tool's.

        Around an agent used as a tool it runs outside the step, and again when the run resumes.
        """
        return await next(call)

    async def on_error(self, turn: TurnInfo, error: Exception) -> None:
        """When the run is about to fail. To fail with another error, raise it."""


def overridden(middleware: tuple[Middleware, ...], hook: str) -> tuple[Middleware, ...]:
    """Those that do something at a hook; a call around which nobody does anything then costs nothing."""
    return tuple(m for m in middleware if getattr(type(m), hook) is not getattr(Middleware, hook))
