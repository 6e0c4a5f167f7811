"""Lists in pages: `limit`, and an opaque `cursor` that knows which list it belongs to.

A cursor is a position with a digest of the list's name, its tenant and its filters: given to another list, or to the
same one under other filters, it is refused instead of being misread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import Query, Response

from holdfast.domain import ids, limits
from holdfast.domain.access import Principal
from holdfast.domain.encoding import canonical
from holdfast.domain.errors import Invalid
from holdfast.web import views
from holdfast.web.routing import json_response

T = TypeVar("T")

TAG_BYTES: Final = 8
NUMBER_BYTES: Final = 8
MOMENT_BYTES: Final = NUMBER_BYTES + ids.ID_BYTES
CURSOR_CHARS_MAX: Final = 512

Limit = Annotated[int, Query(ge=1, le=limits.PAGE_SIZE_MAX, description="How many rows a page has at most.")]
Cursor = Annotated[
    str | None, Query(max_length=CURSOR_CHARS_MAX, description="`next_cursor` of the page before, as it was given.")
]

Order = Annotated[Literal["asc", "desc"], Query(description="`asc`: oldest first; `desc`: newest first.")]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in one list."""

    tag: bytes
    position: bytes | None

    @property
    def number(self) -> int:
        """The position where rows are numbered from 1; 0 before the first."""
        return 0 if self.position is None else int.from_bytes(self.position, "big")

    @property
    def moment(self) -> tuple[int, bytes] | None:
        """The position where rows are ordered by a time (ms UTC) and their id; None before the first."""
        if self.position is None:
            return None
        return int.from_bytes(self.position[:NUMBER_BYTES], "big"), self.position[NUMBER_BYTES:]


def place(principal: Principal, kind: str, filters: dict[str, Any], cursor: str | None, *, size: int | None) -> Place:
    """Where a page begins. `size` is how many bytes a position of this list has (None: any).

    Raises `Invalid` (`bad_cursor`) for a cursor of anything else.
    """
    named = canonical([kind, {name: value for name, value in filters.items() if value is not None}])
    tag = hashlib.sha256(principal.tenant_id + named).digest()[:TAG_BYTES]
    if cursor is None:
        return Place(tag, None)
    raw = _decoded(cursor)
    position = raw[TAG_BYTES:]
    if raw[:TAG_BYTES] != tag or not _may_be_position(position, size):
        raise bad_cursor()
    return Place(tag, position)


def bad_cursor() -> Invalid:
    return Invalid("The cursor does not belong to this list with these filters.", code="bad_cursor")


def _may_be_position(position: bytes, size: int | None) -> bool:
    """Whether the list can have this position: a tag is no signature, so clients can make positions up."""
    if size is None:
        return bool(position)
    fits = size not in (NUMBER_BYTES, MOMENT_BYTES) or position[:1] < b"\x80"  # what a database's signed integer holds
    return len(position) == size and fits


def _decoded(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def moment(at: int, id: bytes) -> bytes:
    """A position where rows are ordered by a time and their id."""
    return at.to_bytes(NUMBER_BYTES, "big") + id


def answer(
    here: Place, rows: Sequence[T], limit: int, view: Callable[[T], bytes], position: Callable[[T], bytes | int]
) -> Response:
    """A page of at most `limit` of `rows`, of which one more was asked for to know whether there is another page."""
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        last = position(shown[-1])
        raw = last.to_bytes(NUMBER_BYTES, "big") if isinstance(last, int) else last
        following = _encoded(here, raw)
    return json_response(views.page([view(row) for row in shown], following))


def answer_up_to(here: Place, rows: Sequence[T], view: Callable[[T], bytes], position: bytes | None) -> Response:
    """A page of all `rows`; the next one, if there is one, begins behind `position`."""
    following = None if position is None else _encoded(here, position)
    return json_response(views.page([view(row) for row in rows], following))


def _encoded(here: Place, position: bytes) -> str:
    return base64.urlsafe_b64encode(here.tag + position).rstrip(b"=").decode()
