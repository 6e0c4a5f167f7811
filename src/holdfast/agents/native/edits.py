"""What an edited step of a native agent records: another answer of the model, another result of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from pydantic_ai.messages import ModelResponse, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage
from pydantic_core import to_json

from holdfast.agents.native import messages as stored
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Invalid

_SHAPE = 'A model\'s answer is a text, or {"text"?: text, "tool_calls"?: [{"tool": name, "args": object}]}.'


def response_payload(recorded: bytes | None, given: Any, step_key: str) -> bytes:
    """A model step's payload that says `given` in place of what was recorded: a text, or
    `{"text"?: …, "tool_calls"?: [{"tool", "args"}]}`. `Invalid` for anything else."""
    before = stored.unpack(recorded) or ModelResponse(parts=[], timestamp=stored.NO_TIME)
    said = replace(before, parts=_parts(given, step_key), usage=RequestUsage(), provider_details=None)
    return stored.pack(said)[0]


def _parts(given: Any, step_key: str) -> Sequence[ModelResponsePart]:
    if isinstance(given, str):
        return [TextPart(given)]
    if not isinstance(given, dict) or not given.keys() <= {"text", "tool_calls"} or not given:
        raise Invalid(_SHAPE, code="edit_not_possible", field=("edits", "output"))
    value = cast("dict[str, Any]", given)
    text: Any = value.get("text")
    calls: Any = value.get("tool_calls") or []
    if not isinstance(text, str | None) or not isinstance(calls, list):
        raise Invalid(_SHAPE, code="edit_not_possible", field=("edits", "output"))
    parts: list[ModelResponsePart] = [TextPart(text)] if text else []
    for number, call in enumerate(cast("list[Any]", calls)):
        tool, args = _call(call)
        parts.append(ToolCallPart(tool, args, f"edited_{step_key}_{number}"))
    return parts


def _call(call: Any) -> tuple[str, dict[str, Any]]:
    given = cast("dict[str, Any]", call) if isinstance(call, dict) else {}
    tool, args = given.get("tool"), given.get("args")
    if given.keys() != {"tool", "args"} or not isinstance(tool, str) or not tool or not isinstance(args, dict):
        raise Invalid(_SHAPE, code="edit_not_possible", field=("edits", "output"))
    return tool, cast("dict[str, Any]", args)


def result_payload(recorded: bytes | None, result: Any) -> bytes:
    """A tool step's payload, which is also a message that the model reads, with another result."""
    before: dict[str, Any] = decode(recorded) or {}
    return stored.tool_payload(
        before.get("call_id", ""), before.get("tool", ""), before.get("index", 0), to_json(result), failed=False
    )
