"""The first difference of two JSON values: its path, and both sides small enough to read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import limits
from holdfast.domain.differences import ABSENT, bounded, first

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("one", "other", "path", "was", "now"),
    [
        (1, 2, "", 1, 2),
        ({"a": {"b": [0, {"c": 1}]}}, {"a": {"b": [0, {"c": 2}]}}, "a.b[1].c", 1, 2),
        ([1, 2], [1, 2, 3], "[2]", ABSENT, 3),
        ([1, 2], [1], "[1]", 2, ABSENT),
        ({"a": 1}, {"b": 1}, "a", 1, ABSENT),
        ({"a": 1}, {"a": 1, "b": 2}, "b", ABSENT, 2),
        ({"b": 1, "a": 1}, {"a": 2, "b": 2}, "b", 1, 2),
        (True, 1, "", True, 1),
        (None, False, "", None, False),
        ("1", 1, "", "1", 1),
    ],
)
def test_the_first_difference_has_a_path(one: Any, other: Any, path: str, was: Any, now: Any) -> None:
    found = first(one, other)
    assert found is not None
    assert (found.path, found.recorded, found.requested) == (path, was, now)


def test_numbers_are_equal_by_value() -> None:
    assert first({"a": 1}, {"a": 1.0}) is None


def test_of_long_texts_the_part_around_the_difference_is_shown() -> None:
    found = first("a" * 9_000 + "b" + "c" * 9_000, "a" * 9_000 + "d" + "c" * 9_000)
    assert found is not None
    assert found.recorded.startswith("…aaa")
    assert "ab" in found.recorded[:80]
    assert "ad" in found.requested[:80]
    assert max(len(found.recorded), len(found.requested)) <= limits.DIFFERENCE_CHARS_MAX + 2


@given(JSON)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert first(value, value) is None


@given(JSON, JSON)
def test_what_differs_one_way_differs_the_other(one: Any, other: Any) -> None:
    assert (first(one, other) is None) == (first(other, one) is None)


@given(st.lists(st.text(min_size=200), min_size=20, max_size=40))
def test_what_is_shown_is_bounded(value: list[str]) -> None:
    assert len(str(bounded(value))) <= 2 * limits.DIFFERENCE_CHARS_MAX
