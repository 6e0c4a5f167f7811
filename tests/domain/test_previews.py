"""The first words of an input, wherever its JSON was cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import limits
from holdfast.domain.encoding import encode
from holdfast.domain.previews import first_words

INPUTS: list[tuple[Any, str | None]] = [
    ("Where is my order?", "Where is my order?"),
    ("  two\n\n lines\t ", "two lines"),
    ("", None),
    (" \n ", None),
    (None, None),
    ([], "[]"),
    ({}, None),
    (7, "7"),
    (True, "true"),
    ({"city": "Porto", "days": 3}, "city: Porto, days: 3"),
    ({"order": {"id": 7}}, 'order: {"id":7}'),
    ([{"type": "text", "text": "Look"}, {"type": "file", "data": "AAAA"}, {"type": "text", "text": "here"}],
     "Look file here"),
    ([{"type": "data", "data": {"a": 1}}], "a: 1"),
    ([1, 2], "[1,2]"),
    ({str(n): n for n in range(20)}, "0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7"),
    ("שלום עולם 👩‍🔬", "שלום עולם 👩‍🔬"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "words"), INPUTS)
def test_an_input_begins_with_these_words(value: Any, words: str | None) -> None:
    assert first_words(encode(value)) == words


def test_a_long_text_is_cut_and_says_so() -> None:
    found = first_words(encode("word " * 1_000)) or ""
    assert len(found) == limits.PREVIEW_CHARS_MAX
    assert found.endswith("…")


LEAVES = st.none() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8), st.data())
def test_a_beginning_may_end_anywhere(value: Any, data: st.DataObject) -> None:
    whole = encode(value)
    found = first_words(whole[: data.draw(st.integers(0, len(whole)))])
    assert found is None or 0 < len(found) <= limits.PREVIEW_CHARS_MAX
    assert found is None or "\n" not in found
