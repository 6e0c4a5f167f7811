"""What a definition is, as a short hash: it changes when what the agent would do changes.

A function counts by its source text, so a comment changes it too: a false alarm costs an entry `version_changed`, a
change that nobody noticed costs an incident. What a function *calls* is not followed.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.domain.encoding import canonical

FINGERPRINT_CHARS = 16


def fingerprint(value: Any) -> str:
    """16 hex digits that stand for a JSON value; the same in every process."""
    return hashlib.sha256(canonical(value)).hexdigest()[:FINGERPRINT_CHARS]


def source_of(fn: Callable[..., Any]) -> str:
    """What a function does, as text: its source, else its compiled code, else its name."""
    while isinstance(fn, partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    try:
        return inspect.getsource(fn)
    except (OSError, TypeError):
        code = getattr(fn, "__code__", None)
        if code is None:
            return f"{fn.__class__.__module__}.{fn.__class__.__qualname__}"
        return f"{code.co_code.hex()} {[c for c in code.co_consts if isinstance(c, (str, int, float, bytes))]!r}"
