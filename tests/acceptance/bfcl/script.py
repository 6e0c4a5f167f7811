"""The scripted model: it knows the ground truth, and finds case, turn and progress in the messages alone.

Invariant: it keeps nothing between calls. What it answers is a function of the messages it was given, so a history
that lost a turn, a result or a response is seen here: it raises, and the run fails instead of passing by luck.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from tests.acceptance.bfcl.world import Call, Case, cases, functions, ground_truth_calls

AGENT = "bfcl"
CASE_KEY = "bfcl_case"
"""The key of a run's metadata that tells the tools whose services to work on."""

CALLS_FILE = "calls.jsonl"
ADDRESS = re.compile(r"case:(\S+) turn:(\d+)\n")


def user_text(case: Case, turn: int) -> str:
    """What the user says, under a line that tells the script where it is."""
    return f"case:{case.id} turn:{turn}\n{case.prompts[turn]}"


def responses(case: Case, turn: int) -> list[list[Call]]:
    """The turn's calls as model responses: neighbouring reads together, in parallel; what changes state alone.

    Order matters for state, so nothing is moved across a call that changes something.
    """
    grouped = itertools.groupby(ground_truth_calls(case, turn), key=lambda call: functions()[call.name].reads)
    return [group for reads, calls in grouped for group in _split(list(calls), together=reads)]


def reply(messages: Sequence[ModelMessage], _info: Any = None) -> ModelResponse:
    """The next response of the turn that the last user message opened."""
    start, case, turn = _where(messages)
    done = [message for message in messages[start + 1 :] if isinstance(message, ModelResponse)]
    _require_complete(messages, start, turn)
    plan = responses(case, turn)
    if len(done) >= len(plan):
        return ModelResponse(parts=[TextPart("Done." if plan else "I lack what I need for that.")])
    return ModelResponse(parts=_tool_calls(plan[len(done)], prefix=f"t{turn}s{len(done)}"))


def place(messages: Sequence[ModelMessage]) -> tuple[str, int, int]:
    """Case, turn and number of the answer that is asked for."""
    start, case, turn = _where(messages)
    return case.id, turn, sum(isinstance(message, ModelResponse) for message in messages[start + 1 :])


def silent(messages: Sequence[ModelMessage], _info: Any = None) -> ModelResponse:
    """Answers every message in words and calls nothing: what the checker must not let pass."""
    start, _, turn = _where(messages)
    _require_complete(messages, start, turn)
    return ModelResponse(parts=[TextPart("I would rather not.")])


def _split(calls: list[Call], *, together: bool) -> list[list[Call]]:
    return [calls] if together else [[call] for call in calls]


def _tool_calls(calls: list[Call], *, prefix: str) -> list[ToolCallPart]:
    # As text, the way providers send arguments: 5 and 5.0 must both arrive as they were written.
    return [
        ToolCallPart(call.name, json.dumps(call.arguments), tool_call_id=f"{prefix}c{position}")
        for position, call in enumerate(calls)
    ]


def _where(messages: Sequence[ModelMessage]) -> tuple[int, Case, int]:
    for index in range(len(messages) - 1, -1, -1):
        found = ADDRESS.match(_user_said(messages[index]))
        if found:
            return index, cases()[found[1]], int(found[2])
    raise AssertionError("no user message says which case and turn this is")


def _require_complete(messages: Sequence[ModelMessage], start: int, turn: int) -> None:
    addresses = [ADDRESS.match(_user_said(message)) for message in messages]
    seen = [int(found[2]) for found in addresses if found]
    assert seen == list(range(turn + 1)), f"in turn {turn} the history holds the turns {seen}"
    asked = [part.tool_call_id for m in messages[start:] for part in m.parts if isinstance(part, ToolCallPart)]
    answered = [part.tool_call_id for m in messages[start:] for part in m.parts if isinstance(part, ToolReturnPart)]
    assert sorted(asked) == sorted(answered), f"in turn {turn} the calls {asked} were answered by {answered}"


def _user_said(message: ModelMessage) -> str:
    if not isinstance(message, ModelRequest):
        return ""
    said = [part.content for part in message.parts if isinstance(part, UserPromptPart)]
    pieces = [[content] if isinstance(content, str) else content for content in said]
    return "".join(text for piece in pieces for text in piece if isinstance(text, str))
