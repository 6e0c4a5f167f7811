"""JSON values and what differs between them: patches as RFC 6902 has them, and lists of changes for people. Pure.

Invariant: `applied(a, made(a, b))` is b, for all JSON values; a property test holds it. `jsonpatch` does the work.
Values are told apart as JSON does: `true` is not 1, and 1.0 is not 1.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final, cast

import jsonpatch

from holdfast.domain.encoding import decode, encode

Patch = list[dict[str, Any]]

SHOWN_CHARS_MAX: Final = 1_000
"""How much of a changed value is shown: of a longer one its first characters, as text."""


def made(before: Any, after: Any) -> Patch:
    """The patch that turns one JSON value into another; empty if they are the same."""
    return list(jsonpatch.make_patch(before, after).patch)


def applied(document: Any, *patches: Patch) -> Any:
    """A document with patches applied, one after the other; the one given stays as it is. The patches are used up."""
    document = copy.deepcopy(document)
    for patch in patches:
        document = jsonpatch.apply_patch(document, patch, in_place=True)
    return document


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same, whatever the order of members."""
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    if isinstance(a, list) and isinstance(b, list):
        ours, theirs = cast("list[Any]", a), cast("list[Any]", b)
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return _same_scalar(cast(object, a), cast(object, b))


def _same_scalar(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


# --- for people ------------------------------------------------------------------------------------------------------


def changes(before: Any, after: Any, items_max: int) -> list[dict[str, Any]]:
    """What differs, as `{path, old, new}` with JSON pointers; `old` or `new` is absent where there is none.

    Lists of named objects are compared by name, so that one tool more is one change. At most `items_max` of them, the
    last of which then says how many there are besides: `{more: n}`.
    """
    found = list(_differences("", before, after))
    if len(found) <= items_max:
        return found
    return [*found[: items_max - 1], {"more": len(found) - items_max + 1}]


def _differences(path: str, before: Any, after: Any) -> Iterator[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _members(path, cast("dict[str, Any]", before), cast("dict[str, Any]", after))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _items(path, cast("list[Any]", before), cast("list[Any]", after))
    elif not same(before, after):
        yield {"path": path, "old": shown(before), "new": shown(after)}


def _members(path: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in (*before, *(name for name in after if name not in before)):
        at = f"{path}/{_escaped(name)}"
        if name not in after:
            yield {"path": at, "old": shown(before[name])}
        elif name not in before:
            yield {"path": at, "new": shown(after[name])}
        else:
            yield from _differences(at, before[name], after[name])


def _items(path: str, before: list[Any], after: list[Any]) -> Iterator[dict[str, Any]]:
    ours, theirs = _by_name(before), _by_name(after)
    if ours is None or theirs is None:
        ours, theirs = dict(enumerate(before)), dict(enumerate(after))
    places = {name: n for n, name in enumerate(theirs)}
    for n, (name, item) in enumerate(ours.items()):
        if name in theirs:
            yield from _differences(f"{path}/{places[name]}", item, theirs[name])
        else:
            yield {"path": f"{path}/{n}", "old": shown(item)}
    for name, item in theirs.items():
        if name not in ours:
            yield {"path": f"{path}/{places[name]}", "new": shown(item)}


def _by_name(items: list[Any]) -> dict[Any, Any] | None:
    """Objects by their `name`, if each has one of its own."""
    objects = [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
    named = {item["name"]: item for item in objects if isinstance(item.get("name"), str)}
    return named if len(named) == len(items) else None


def shown(value: Any, chars_max: int = SHOWN_CHARS_MAX) -> Any:
    """A value, or of a long one the beginning of its JSON as text."""
    text = encode(value).decode()
    return value if len(text) <= chars_max else text[:chars_max] + "…"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def plain(value: Any, *, what: str) -> tuple[bytes, Any]:
    """A value as JSON, and as what comes back of it."""
    encoded = encode(value, what=what)
    return encoded, decode(encoded)
