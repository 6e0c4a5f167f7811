"""How a value begins that is too large to be shown: the first words of JSON, out of its first bytes. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

PREVIEW_BYTES: Final = 2_048
PREVIEW_CHARS: Final = 240

_TEXT: Final = r'"((?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)'
_STRING: Final = re.compile(_TEXT)
_PART: Final = re.compile(r'"text":' + _TEXT)


def preview(beginning: bytes) -> str:
    """The first words: of a text itself, of content parts the first text among them, of anything else its JSON."""
    said = beginning.decode("utf-8", "ignore")  # the last character may be cut in the middle
    found = _STRING.match(said) or (_PART.search(said) if said.startswith("[{") else None)
    words = said if found is None else json.loads(f'"{found[1]}"')
    return words[:PREVIEW_CHARS]
