"""What an agent is, frozen: the definition that `Agent(…)` collects and the loop reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import TypeAdapter
from pydantic_ai.models import Model

from holdfast.agents import base
from holdfast.agents.native.history import HistoryPolicy
from holdfast.agents.native.middleware import Middleware
from holdfast.agents.native.output import OutputSpec
from holdfast.agents.tools import Tool
from holdfast.domain.policies import Rule
from holdfast.domain.runs import RunLimits

if TYPE_CHECKING:
    from holdfast.agents.native.agent import Agent

Instructions = str | Callable[..., "str | Awaitable[str | None] | None"]


@dataclass(frozen=True, slots=True)
class Validator:
    """`fn(value)`, or `fn(ctx, value)` if it takes a `ToolContext` first."""

    fn: Callable[..., Any]
    takes_ctx: bool


class Toolset(Protocol):
    """Tools that have to be discovered, such as those of an MCP server."""

    @property
    def id(self) -> str: ...

    @property
    def tools(self) -> Sequence[Tool[..., Any]]:
        """What the last `discover` found; nothing before it."""
        ...

    async def discover(self) -> Sequence[Tool[..., Any]]:
        """Find the tools; cached until `close`."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent's definition. Times are milliseconds."""

    id: str
    name: str
    description: str
    metadata: dict[str, Any]
    model: str | Model
    instructions: tuple[Instructions, ...]
    tools: tuple[Tool[..., Any], ...]
    toolsets: tuple[Toolset, ...]
    output: OutputSpec
    output_retries: int
    validators: tuple[Validator, ...]
    history: HistoryPolicy
    handoffs: tuple[Agent | str, ...]
    middleware: tuple[Middleware, ...]
    settings: dict[str, Any]
    model_timeout_ms: int
    retry: base.Retry
    limits: RunLimits
    stream: bool
    durability: Literal["behind", "sync"]
    on_version_change: Literal["continue", "fail", "pin"]
    input: TypeAdapter[Any] | None
    tool_retries: int
    parallel_tools: bool
    end_strategy: Literal["early", "exhaustive"]
    policies: tuple[tuple[str, tuple[Rule, ...]], ...]
    compensate: frozenset[str]

    def rules_for(self, tool: str) -> tuple[Rule, ...]:
        """The agent's own rules for a tool, besides the tool's."""
        return tuple(rule for pattern, rules in self.policies if fnmatchcase(tool, pattern) for rule in rules)
