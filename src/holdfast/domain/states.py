"""The state that a thread publishes: a JSON document in versions, kept as patches with a whole snapshot now and then.

Version n is what the n-th change of the thread left, dense from 1; version 0 is `null`, before anybody set anything. A
change is one step, its payload `{version, patch}`, the patch RFC 6902. A run's first change is a snapshot, and so is
every `SNAPSHOT_EVERY`-th after one, and whatever would be larger as a patch: reading any version takes at most so many
entries, and what is stored grows with what changed, never with the document times its versions. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from holdfast.domain import limits, patches
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Invalid
from holdfast.domain.ids import RunId

SNAPSHOT_EVERY: Final = limits.STATE_SNAPSHOT_EVERY
_SNAPSHOT: Final = b'[{"op":"replace","path":"","value":'

Update = Mapping[str, Any] | Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A version of a thread's state. `value` is ours: whoever hands it to user code hands out a copy."""

    version: int = 0
    value: Any = None


NOTHING: Final = Document()


@dataclass(frozen=True, slots=True)
class Published:
    """A version of a thread's state, and the step that made it; no run if nobody has set anything."""

    document: Document = NOTHING
    run_id: RunId | None = None
    seq: int | None = None


NEVER: Final = Published()


@dataclass(frozen=True, slots=True)
class Change:
    """One version, as what changed since the one before it. `patch` is JSON."""

    version: int
    patch: bytes

    @property
    def is_snapshot(self) -> bool:
        """Whether it holds the whole document. A change of nothing else is written as one too."""
        return self.patch.startswith(_SNAPSHOT)

    @property
    def payload(self) -> bytes:
        return b'{"version":%d,"patch":%b}' % (self.version, self.patch)


def changed(before: Document, value: Any, *, snapshot: bool) -> tuple[Change, Document]:
    """The next version: `value`, which user code made. `snapshot`: the whole document is due to be written.

    Raises `Invalid` (`state_too_large`), `NotEncodable`.
    """
    encoded, after = patches.plain(value, what="The state")
    if len(encoded) > limits.STATE_BYTES_MAX:
        raise Invalid(
            f"The state is {len(encoded):,} bytes of JSON; the limit is {limits.STATE_BYTES_MAX:,} bytes. Keep large "
            "things elsewhere and publish where they are.",
            code="state_too_large",
        )
    whole = _SNAPSHOT + encoded + b"}]"
    patch = whole if snapshot else _smaller(encode(patches.made(before.value, after)), whole)
    version = before.version + 1
    return Change(version, patch), Document(version, after)


def _smaller(patch: bytes, whole: bytes) -> bytes:
    return patch if len(patch) < len(whole) else whole


def merged(document: Any, update: Update) -> Any:
    """What an update makes of a document: members of a mapping replace those of the object, a function returns the
    next one. `document` is the caller's own copy."""
    if isinstance(update, Mapping):
        if document is not None and not isinstance(document, dict):
            raise Invalid("Only a state that is an object, or none yet, can be merged into.", code="invalid_state")
        return {**cast("dict[str, Any]", document or {}), **update}
    return update(document)


def read(payload: bytes | None) -> Change:
    """A change as its step recorded it."""
    stored: dict[str, Any] = decode(payload)
    return Change(stored["version"], encode(stored["patch"]))


def replayed(before: Document, changes: Sequence[Change]) -> Document:
    """What these changes, in order, make of a version: from the last snapshot among them on."""
    if not changes:
        return before
    start = next((n for n in reversed(range(len(changes))) if changes[n].is_snapshot), None)
    whole = None if start is not None else before.value
    value = patches.applied(whole, *(decode(change.patch) for change in changes[start or 0 :]))
    return Document(changes[-1].version, value)
