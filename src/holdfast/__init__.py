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
from holdfast.domain.effects import Done, EffectInfo, NotDone, Unknown
from holdfast.domain.errors import CallRefused, ChildFailed, EventTimedOut, NotAnswered, StepFailed
from holdfast.domain.policies import Confirm, Deny
from holdfast.domain.runs import RunLimits
from holdfast.settings import Settings

__all__ = [
    "Agent",
    "All",
    "CallRefused",
    "ChildFailed",
    "Confirm",
    "Context",
    "Deny",
    "Done",
    "EffectInfo",
    "EventTimedOut",
    "Holdfast",
    "LastTurns",
    "MCPTools",
    "Middleware",
    "ModelCall",
    "ModelRetry",
    "NativeOutput",
    "NotAnswered",
    "NotDone",
    "Retry",
    "RunInfo",
    "RunLimits",
    "Settings",
    "StepFailed",
    "Summarise",
    "TokenWindow",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolReturn",
    "TurnInfo",
    "Unknown",
    "__version__",
    "tool",
    "workflow",
]
