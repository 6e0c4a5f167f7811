"""What ships for testing agents: fakes that behave, not mocks. Public API.

`holdfast.testing.client.client` is an in-process HTTP client (it needs httpx); `holdfast.testing.store.exercise_store`
is the store's conformance suite.
"""

from holdfast.testing.clock import FakeClock
from holdfast.testing.crash import CrashPoint
from holdfast.testing.replay import ReplayCase, replay_cases
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
    "CrashPoint",
    "Fail",
    "FakeClock",
    "Output",
    "ReplayCase",
    "RequestInfo",
    "ScriptExhausted",
    "ScriptedModel",
    "Think",
    "last_user_text",
    "replay_cases",
]
