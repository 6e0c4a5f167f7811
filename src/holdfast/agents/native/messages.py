"""Stored payloads ↔ what a model is given: the one place that knows both shapes.

A model step's payload is pydantic-ai's own JSON in an envelope, a tool step's is `{call_id, tool, index, result |
error}`, a user message is what `Agent.accept` returned, or `{"retry": …}` for a message the loop itself wrote.
Invariant: the same payload always becomes the same message, whichever version of a library wrote it; what cannot be
understood is left out, never raised, since it sits in a conversation that must go on.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ToolCallPart,
    UserContent,
    VideoUrl,
)
from pydantic_ai.usage import RequestUsage
from pydantic_core import PydanticSerializationError, from_json, to_json

from holdfast.agents.fingerprint import fingerprint
from holdfast.domain.encoding import checked

FORMAT: Final = "pydantic-ai/response/1"
_HEAD: Final = f'{{"fmt":"{FORMAT}","lib":"{version("pydantic-ai-slim")}","data":'.encode()
_DATA_MARK: Final = b',"data":'
_PREFIX: Final = f'{{"fmt":"{FORMAT}",'.encode()
_response: Final = TypeAdapter[ModelResponse](ModelResponse)
_COUNTERS: Final = tuple(counter.name for counter in fields(RequestUsage))
_part: Final = TypeAdapter[Any](ModelResponsePart)
_content: Final = TypeAdapter[list[Any]](list[UserContent])

# Parts that we build carry no time of their own: a prompt rebuilt tomorrow must equal the one that was sent.
NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


def clean(text: str) -> str:
    """`text` without lone surrogates, which no store can hold and no provider accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


# --- the model's answers ---------------------------------------------------------------------------------------------


def pack(response: ModelResponse) -> tuple[bytes, bool]:
    """A response as the payload to store, and whether that says what the response says.

    Lone surrogates, which some servers send, become question marks: whoever goes on then goes on from the payload, as
    a resumed run would.
    """
    try:
        data, as_it_is = _response.dump_json(response, exclude_none=True, exclude=_unused(response)), True
    except (PydanticSerializationError, UnicodeEncodeError):
        data = to_json(_cleaned(_response.dump_python(response, exclude_none=True)), bytes_mode="base64")
        as_it_is = False
    return checked(_HEAD + data + b"}", what="The model's answer"), as_it_is


def fingerprint_of(response: ModelResponse) -> str:
    """Stands for what a model said, whenever it said it."""
    payload, _ = pack(replace(response, timestamp=NO_TIME))
    return fingerprint(payload.decode())


def _unused(response: ModelResponse) -> Any:
    """Counters at zero: a third of the bytes of a short answer, and defaults when it is read again."""
    usage = response.usage
    return {"usage": {name for name in _COUNTERS if not getattr(usage, name)}}


def unpack(payload: bytes | None) -> ModelResponse | None:
    """The response of a stored payload; None if nothing in it can be understood. Unknown parts are left out."""
    if payload is None:
        return None
    if payload.startswith(_PREFIX):
        start = payload.index(_DATA_MARK) + len(_DATA_MARK)
        try:
            return _response.validate_json(payload[start:-1])
        except (ValidationError, ValueError):
            pass
    return _salvaged(payload)


def text_of(payload: bytes | None) -> str:
    """The text of a stored answer: a run's output, if the run's output is text."""
    response = unpack(payload)
    return (response.text or "") if response is not None else ""


def _salvaged(payload: bytes) -> ModelResponse | None:
    try:
        stored = from_json(payload)
    except ValueError:
        return None
    if not isinstance(stored, dict) or "data" not in stored or "fmt" not in stored:
        # What another kind of agent said in this thread: its output, as text.
        text = stored if isinstance(stored, str) else payload.decode()
        return None if stored is None else ModelResponse(parts=[TextPart(text)], timestamp=NO_TIME)
    data = cast("dict[str, Any]", stored)["data"]
    found: object = cast("dict[str, Any]", data).get("parts") if isinstance(data, dict) else None
    given = cast("list[Any]", found) if isinstance(found, list) else []
    parts = [part for part in map(_known_part, given) if part is not None]
    return ModelResponse(parts=parts, timestamp=NO_TIME)


def _known_part(stored: Any) -> Any:
    try:
        return _part.validate_python(stored)
    except ValidationError:
        pass
    if not isinstance(stored, dict):
        return None
    found = cast("dict[str, Any]", stored)
    text, kind = found.get("content"), found.get("part_kind")
    return TextPart(text) if kind == "text" and isinstance(text, str) else None


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(v) for v in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {clean(k): _cleaned(v) for k, v in cast("dict[str, Any]", value).items()}
    return value


def tool_calls(response: ModelResponse) -> list[ToolCallPart]:
    """The calls that are ours to make, in order; a call's place in this list is part of its step's key."""
    return [part for part in response.parts if isinstance(part, ToolCallPart)]


def says_something(response: ModelResponse) -> bool:
    """Whether a provider would take it as a message: some refuse an empty one."""
    return any(getattr(part, "content", None) or isinstance(part, ToolCallPart) for part in response.parts)


# --- what users say --------------------------------------------------------------------------------------------------


def user_content(payload: bytes) -> str | list[UserContent]:
    """What a stored input is to the model: text, content parts, or the JSON itself as text."""
    value = from_json(payload)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [_user_part(part) for part in cast("list[Any]", value)]
        if None not in parts:
            return cast("list[UserContent]", parts)
    return payload.decode()


def _user_part(part: Any) -> UserContent | None:
    """One part of a stored input; None if it is not one, so that the whole input is shown as JSON instead."""
    match part:
        case {"type": "text", "text": str() as text, **rest} if not rest:
            return text
        case {"type": "data", "data": data, **rest} if not rest:
            return to_json(data).decode()
        case {"type": "file", **rest}:
            return file_content(cast("dict[str, Any]", rest))
        case _:
            return None


def file_content(part: dict[str, Any]) -> UserContent | None:
    """A file part, `{url, media_type}` or `{data: base64, media_type}`, as the model layer's content."""
    media_type, url, data = part.get("media_type"), part.get("url"), part.get("data")
    if not isinstance(media_type, str) or (url is None) == (data is None):
        return None
    if url is not None:
        return _url_class(media_type)(url=str(url), media_type=media_type)
    try:
        return BinaryContent(data=base64.b64decode(str(data), validate=True), media_type=media_type)
    except (binascii.Error, ValueError):
        return None


def _url_class(media_type: str) -> type[ImageUrl | AudioUrl | VideoUrl | DocumentUrl]:
    match media_type.partition("/")[0]:
        case "image":
            return ImageUrl
        case "audio":
            return AudioUrl
        case "video":
            return VideoUrl
        case _:
            return DocumentUrl


# --- what tools say --------------------------------------------------------------------------------------------------


def dump_content(content: list[Any]) -> list[Any]:
    """Files and texts that a tool returned besides its result, as JSON to store."""
    return from_json(_content.dump_json(content, exclude_none=True))


def load_content(stored: Any) -> list[UserContent]:
    try:
        return _content.validate_python(stored)
    except ValidationError:
        return []


def tool_payload(call_id: str, tool: str, index: int, said: bytes, *, failed: bool, more: bytes = b"") -> bytes:
    """A tool step's payload; `said` and `more` are JSON already: the result or the error text, and further members."""
    key = b'"error":' if failed else b'"result":'
    head = b'{"call_id":' + to_json(call_id) + b',"tool":' + to_json(tool) + b',"index":' + str(index).encode() + b","
    return checked(head + key + said + more + b"}", what=f"The result of tool {tool}")
