"""The first place at which two JSON values differ, small enough to read: a path, and what stands there on each side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic_core import to_json

from holdfast.domain import limits

ABSENT: Final = "(nothing)"
_BEFORE: Final = 60


@dataclass(frozen=True, slots=True)
class Difference:
    """`path` is as one would write it in Python or jq: `messages[2].parts[0].content`; empty for the value itself."""

    path: str
    recorded: Any
    requested: Any


def first(recorded: Any, requested: Any) -> Difference | None:
    """Where two values begin to differ, members in the order of the recorded ones; None if they are equal."""
    found = _first(recorded, requested, "")
    if found is None:
        return None
    return Difference(found.path, *_shown(found.recorded, found.requested))


def _first(one: Any, other: Any, path: str) -> Difference | None:
    if isinstance(one, dict) and isinstance(other, dict):
        return _in_objects(cast("dict[str, Any]", one), cast("dict[str, Any]", other), path)
    if isinstance(one, list) and isinstance(other, list):
        return _in_lists(cast("list[Any]", one), cast("list[Any]", other), path)
    same = type(cast(object, one)) is type(cast(object, other)) or (_is_number(one) and _is_number(other))
    return None if same and one == other else Difference(path, one, other)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _in_objects(one: dict[str, Any], other: dict[str, Any], path: str) -> Difference | None:
    for name in [*one, *(n for n in other if n not in one)]:
        below = f"{path}.{name}" if path else name
        if name not in one or name not in other:
            return Difference(below, one.get(name, ABSENT), other.get(name, ABSENT))
        found = _first(one[name], other[name], below)
        if found is not None:
            return found
    return None


def _in_lists(one: list[Any], other: list[Any], path: str) -> Difference | None:
    for n, (left, right) in enumerate(zip(one, other, strict=False)):
        found = _first(left, right, f"{path}[{n}]")
        if found is not None:
            return found
    if len(one) == len(other):
        return None
    n = min(len(one), len(other))
    return Difference(f"{path}[{n}]", one[n] if n < len(one) else ABSENT, other[n] if n < len(other) else ABSENT)


def _shown(one: Any, other: Any) -> tuple[Any, Any]:
    """Both values cut to a size that can be read; of long texts the part from a little before they differ."""
    if isinstance(one, str) and isinstance(other, str) and max(len(one), len(other)) > limits.DIFFERENCE_CHARS_MAX:
        same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        start = max(0, same - _BEFORE)
        return _cut(one, start), _cut(other, start)
    return bounded(one), bounded(other)


def _cut(text: str, start: int) -> str:
    piece = text[start : start + limits.DIFFERENCE_CHARS_MAX]
    return ("…" if start else "") + piece + ("…" if start + len(piece) < len(text) else "")


def bounded(value: Any) -> Any:
    """A JSON value as it is, or, if it is long, the beginning of its text."""
    if isinstance(value, str):
        return value if len(value) <= limits.DIFFERENCE_CHARS_MAX else _cut(value, 0)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = to_json(value, fallback=repr).decode()
    return value if len(text) <= limits.DIFFERENCE_CHARS_MAX else _cut(text, 0)
