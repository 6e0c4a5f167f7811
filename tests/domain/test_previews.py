"""How a value begins that is too large to be shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.domain.encoding import encode
from holdfast.domain.previews import PREVIEW_CHARS, preview

SAID = 'He said "no" \\ and\nleft 👩‍🔬 שלום ' + "é" * 200


@pytest.mark.parametrize("size", range(1, len(encode(SAID)) + 1))
def test_a_text_is_previewed_wherever_its_json_is_cut(size: int) -> None:
    shown = preview(encode(SAID)[:size])
    assert SAID.startswith(shown) or size == 1


@pytest.mark.parametrize("size", range(30, 200))
def test_an_escape_that_is_cut_is_left_out(size: int) -> None:
    assert preview(json.dumps("\u0001" * 40).encode()[:size]).ljust(40, "\u0001") == "\u0001" * 40


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([{"type": "text", "text": "Look at\nthis"}, {"type": "file", "data": "x"}], "Look at\nthis"),
        ({"order": "7"}, '{"order":"7"}'),
        ([1, 2], "[1,2]"),
        (12, "12"),
        ([{"type": "file", "data": "x"}], '[{"type":"file","data":"x"}]'),
    ],
)
def test_parts_are_previewed_by_their_text_and_all_else_as_json(value: Any, shown: str) -> None:
    assert preview(encode(value)) == shown


def test_a_preview_is_short() -> None:
    assert len(preview(encode("x" * 5_000))) == PREVIEW_CHARS
    assert preview(b"") == ""
