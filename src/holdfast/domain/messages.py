"""Messages as clients see them: parts of plain JSON, whatever a model library's own format says.

Pure functions over stored payloads. A part that is not understood (a newer library wrote it) is shown as `data`.
"""

from __future__ import annotations

from typing import Any, cast

from holdfast.domain.encoding import decode, encode
from holdfast.domain.journal import Entry, StepKind
from holdfast.domain.threads import Message, Role

Part = dict[str, Any]


def response_parts(payload: bytes | None) -> list[Part]:
    """The parts of a recorded model response (`{fmt, lib, data: {parts: …}}`)."""
    stored = decode(payload)
    data: Any = _object(stored).get("data", stored)
    parts: list[Any] = _object(data).get("parts") or []
    return [_response_part(_object(p)) for p in parts if isinstance(p, dict)]


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _response_part(part: dict[str, Any]) -> Part:
    match part.get("part_kind"):
        case "text":
            return {"type": "text", "text": part.get("content", "")}
        case "thinking":
            return {"type": "thinking", "text": part.get("content", "")}
        case "tool-call" | "builtin-tool-call" | "native-tool-call":
            arguments = part.get("args")
            return {
                "type": "tool_call",
                "call_id": part.get("tool_call_id"),
                "name": part.get("tool_name"),
                "arguments": _arguments(arguments),
            }
        case "file":
            content = _object(part.get("content"))
            return {"type": "file", "media_type": content.get("media_type"), "data": content.get("data")}
        case _:
            return {"type": "data", "data": part}


def _arguments(raw: Any) -> Any:
    if isinstance(raw, str):
        try:
            return decode(raw.encode())
        except (ValueError, UnicodeEncodeError):
            return raw
    return {} if raw is None else raw


def step_output(kind: str | None, payload: bytes | None) -> bytes | None:
    """What a step recorded, as clients see it: a model's answer as parts, anything else as the JSON it is."""
    if kind != StepKind.MODEL or payload is None:
        return payload
    data = _object(_object(decode(payload)).get("data"))
    said = {"model": data.get("model_name"), "finish_reason": data.get("finish_reason")}
    return encode({"parts": response_parts(payload), **said})


def tool_result(step: Entry) -> Any:
    """What a recorded tool returned. The step of a model's call is the message that the model reads, with the result
    in it: its key ends in the call's index, where that of a step which code named ends in `#n`."""
    recorded = decode(step.payload)
    named = "#" in (step.key or "").rpartition("/")[2]
    return recorded if named else _object(recorded).get("result")


def is_of_conversation(step: Entry) -> bool:
    """Whether a model or tool step is a message of its thread: an answer, or the result of a call that one made; not
    a model asked aside, nor a tool that code called."""
    if step.kind is StepKind.MODEL:
        return step.name == "model"
    return step.kind is StepKind.TOOL and "#" not in (step.key or "").rpartition("/")[2]


def transfer_said(agent_id: str) -> str:
    """What a hand-off answers to the call that asked for it."""
    return f"Transferred to {agent_id}."


def transfer_target(payload: bytes | None) -> str | None:
    """To which agent a recorded hand-off went."""
    said = _object(decode(payload)).get("result")
    before, _, agent_id = said.removesuffix(".").partition("Transferred to ") if isinstance(said, str) else ("", "", "")
    return agent_id if not before and agent_id else None


def calls_of(payload: bytes | None) -> list[Part]:
    """The calls of a recorded model response that are ours to make; a call's place here is part of its step's key."""
    data = _object(_object(decode(payload)).get("data"))
    parts: list[Any] = data.get("parts") or []
    return [_response_part(p) for p in map(_object, parts) if p.get("part_kind") == "tool-call"]


def response_text(payload: bytes | None) -> str:
    """The text of a recorded model response: its text parts, joined."""
    return "".join(p["text"] for p in response_parts(payload) if p["type"] == "text")


def input_parts(value: Any) -> list[Part]:
    """The parts of a run's input: text, content parts as given, or one `data` part."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if isinstance(value, list) and value and all(_is_part(p) for p in cast("list[Any]", value)):
        return cast("list[Part]", value)
    return [{"type": "data", "data": value}]


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and cast("dict[str, Any]", value).get("type") in {"text", "file", "data"}


def parts_of(message: Message) -> list[Part]:
    """The parts of any stored message, told by the kind of the step that recorded it (none: an input or an output)."""
    payload, status = message.payload, message.status
    match message.kind:
        case StepKind.MODEL:
            return response_parts(payload)
        case StepKind.TOOL | StepKind.HANDOFF:
            stored = _object(decode(payload))
            part: Part = {
                "type": "tool_result",
                "call_id": stored.get("call_id"),
                "name": stored.get("tool", message.name),
                "result": stored.get("result"),
            }
            if status == "failed":
                failure = _object(decode(message.error))
                part["error"] = stored.get("error") or failure.get("message")
            return [part]
        case StepKind.VALUE:
            value = decode(payload)
            text = _object(value).get("retry")
            return [{"type": "text", "text": str(text)}] if text is not None else [{"type": "data", "data": value}]
        case _:
            value = decode(payload)
            return input_parts(value["output"] if message.role is Role.ASSISTANT else value)
