"""Holdfast: the self-hosted runtime for AI agents. Durable runs on SQLite or PostgreSQL, served with FastAPI."""

from holdfast._version import __version__
from holdfast.agents.base import Context, Retry, RunInfo
from holdfast.agents.mcp import MCPTools
from holdfast.agents.native import (
    Agent,
    All,
    LastTurns,
    Middleware,
    ModelCall,
    NativeOutput,
    Summarise,
    TokenWindow,
    ToolCall,
    TurnInfo,
)
from holdfast.agents.tools import ModelRetry, Tool, ToolContext, ToolReturn, tool
from holdfast.agents.workflow import workflow
from holdfast.app import Holdfast
from holdfast.domain.runs import RunLimits
from holdfast.settings import Settings

__all__ = [
    "Agent",
    "All",
    "Context",
    "Holdfast",
    "LastTurns",
    "MCPTools",
    "Middleware",
    "ModelCall",
    "ModelRetry",
    "NativeOutput",
    "Retry",
    "RunInfo",
    "RunLimits",
    "Settings",
    "Summarise",
    "TokenWindow",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolReturn",
    "TurnInfo",
    "__version__",
    "tool",
    "workflow",
]
