"""How deep what people and events bring may be nested.

It is stored within other values: an answer within its step's result, changed arguments among a question's decisions.
JSON can be written some levels deeper than it can be read: what was let in too deep would make the inbox, or its run's
journal, unreadable for good. So a few levels are kept free here, where such values come in.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import NotEncodable

LEVELS_KEPT: Final = 10


def shallow(value: Any, *, what: str) -> bytes:
    """`value` as JSON that can be read back from wherever it is put. Raises `NotEncodable`."""
    encoded = encode(value, what=what)
    try:
        decode(b"[" * LEVELS_KEPT + encoded + b"]" * LEVELS_KEPT)
    except ValueError:
        raise NotEncodable(f"{what} is nested too deeply.") from None
    return encoded
