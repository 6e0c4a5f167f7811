"""The first words of what was said or came out, out of the first bytes of its JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from holdfast.domain import limits

# So many bytes of JSON are enough for a preview.
BEGINNING_BYTES: Final = 4 * limits.PREVIEW_CHARS_MAX + 256
_MEMBERS_MAX: Final = 8


def first_words(beginning: bytes) -> str | None:
    """One line of at most `PREVIEW_CHARS_MAX` characters: of text its beginning, of content parts their texts, of a
    form its members as `name: value`. None for what says nothing. `beginning` may end anywhere, in a character too."""
    try:
        value: Any = from_json(beginning, allow_partial="trailing-strings")
    except ValueError:
        return None
    line = " ".join(" ".join(islice(_words(value), _MEMBERS_MAX)).split())
    if len(line) > limits.PREVIEW_CHARS_MAX:
        line = line[: limits.PREVIEW_CHARS_MAX - 1] + "…"
    return line or None


def _words(value: Any) -> Iterator[str]:
    match value:
        case None:
            return
        case str():
            yield value
        case [{"type": str()}, *_]:
            yield from _of_parts(value)
        case dict():
            yield from _of_members(cast("Mapping[str, Any]", value))
        case _:
            yield _json(value)


def _of_parts(parts: Sequence[Any]) -> Iterator[str]:
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "data", "data": data}:
                yield from _words(data)
            case {"type": str(type)}:
                yield type
            case _:
                yield _json(part)


def _of_members(members: Mapping[str, Any]) -> Iterator[str]:
    last = len(members) - 1
    for n, (name, value) in enumerate(members.items()):
        shown = value if isinstance(value, str) else _json(value)
        yield f"{name}: {shown}" + ("," if n < min(last, _MEMBERS_MAX - 1) else "")


def _json(value: Any) -> str:
    return to_json(value, inf_nan_mode="strings").decode()
