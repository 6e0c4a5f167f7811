"""Holdfast: the self-hosted runtime for AI agents. Durable runs on SQLite or PostgreSQL, served with FastAPI.

A name is imported when it is first asked for: a command that needs no agents does not wait for the SDKs behind them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast._version import __version__

if TYPE_CHECKING:
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

_HOMES = {
    "holdfast.agents.base": ("Context", "Retry", "RunInfo"),
    "holdfast.agents.mcp": ("MCPTools",),
    "holdfast.agents.native": (
        "Agent",
        "All",
        "LastTurns",
        "Middleware",
        "ModelCall",
        "NativeOutput",
        "Summarise",
        "TokenWindow",
        "ToolCall",
        "TurnInfo",
    ),
    "holdfast.agents.tools": ("ModelRetry", "Tool", "ToolContext", "ToolReturn", "tool"),
    "holdfast.agents.workflow": ("workflow",),
    "holdfast.app": ("Holdfast",),
    "holdfast.domain.effects": ("Done", "EffectInfo", "NotDone", "Unknown"),
    "holdfast.domain.errors": ("CallRefused", "ChildFailed", "EventTimedOut", "NotAnswered", "StepFailed"),
    "holdfast.domain.policies": ("Confirm", "Deny"),
    "holdfast.domain.runs": ("RunLimits",),
    "holdfast.settings": ("Settings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
