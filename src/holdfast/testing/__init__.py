"""What ships for testing agents: fakes that behave, not mocks. Public API."""

from holdfast.testing.scripted import (
    Call,
    Fail,
    Output,
    RequestInfo,
    ScriptedModel,
    ScriptExhausted,
    Think,
    last_user_text,
)

__all__ = [
    "Call",
    "Fail",
    "Output",
    "RequestInfo",
    "ScriptExhausted",
    "ScriptedModel",
    "Think",
    "last_user_text",
]
