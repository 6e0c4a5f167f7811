"""The native agent: an explicit, resumable loop of model calls and tool calls over recorded steps."""

from holdfast.agents.native.agent import Agent
from holdfast.agents.native.history import All, HistoryPolicy, LastTurns, Summarise, TokenWindow
from holdfast.agents.native.middleware import Middleware, ModelCall, ToolCall, TurnInfo
from holdfast.agents.native.output import NativeOutput

__all__ = [
    "Agent",
    "All",
    "HistoryPolicy",
    "LastTurns",
    "Middleware",
    "ModelCall",
    "NativeOutput",
    "Summarise",
    "TokenWindow",
    "ToolCall",
    "TurnInfo",
]
