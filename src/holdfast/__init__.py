"""Holdfast: the self-hosted runtime for AI agents. Durable runs on SQLite or PostgreSQL, served with FastAPI."""

from holdfast._version import __version__
from holdfast.agents.base import Context, Retry, RunInfo
from holdfast.agents.native import Agent
from holdfast.agents.tools import ModelRetry, Tool, ToolContext, tool
from holdfast.agents.workflow import workflow
from holdfast.app import Holdfast
from holdfast.domain.runs import RunLimits
from holdfast.settings import Settings

__all__ = [
    "Agent",
    "Context",
    "Holdfast",
    "ModelRetry",
    "Retry",
    "RunInfo",
    "RunLimits",
    "Settings",
    "Tool",
    "ToolContext",
    "__version__",
    "tool",
    "workflow",
]
