"""Patches and versions of published state: whatever the values, what is read is what was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import limits, patches, states
from holdfast.domain.encoding import encode
from holdfast.domain.errors import Invalid, NotEncodable
from holdfast.domain.states import NOTHING, Document

NAMES = st.text("ab/~0-", max_size=3)
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | NAMES
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=14
)


def exact(value: Any) -> str:
    """JSON with 1, 1.0 and true told apart."""
    return json.dumps(value, sort_keys=True)


@given(VALUES, VALUES)
def test_a_patch_turns_the_one_value_into_the_other(before: Any, after: Any) -> None:
    kept = exact(before)
    assert exact(patches.applied(before, patches.made(before, after))) == exact(after)
    assert exact(before) == kept, "what a patch is applied to stays as it is"


@given(VALUES, VALUES)
def test_two_values_are_the_same_exactly_if_nothing_is_patched_and_nothing_listed(one: Any, other: Any) -> None:
    assert patches.same(one, other) == (not patches.changes(one, other, 1_000))
    if exact(one) == exact(other):
        assert patches.same(one, other)
        assert patches.made(one, other) == []


@given(st.lists(VALUES, min_size=1, max_size=250), st.integers(0, 100))
def test_any_version_is_read_from_the_snapshot_before_it(values: list[Any], first: int) -> None:
    """As a run writes them: its first change is a snapshot, then one every so often."""
    document, since = Document(first, {"left": "by another run"}), 0
    written: list[states.Change] = []
    for value in values:
        due = not written or since == states.SNAPSHOT_EVERY - 1
        change, document = states.changed(document, value, snapshot=due)
        since = 0 if change.is_snapshot else since + 1
        written.append(states.read(change.payload))
    assert [change.version for change in written] == list(range(first + 1, first + len(values) + 1))
    assert written[0].is_snapshot
    for n, value in enumerate(values):
        last = written[max(0, n + 1 - states.SNAPSHOT_EVERY) : n + 1]
        assert any(change.is_snapshot for change in last), "so many entries are enough"
        read = states.replayed(NOTHING, last)
        assert (read.version, exact(read.value)) == (first + n + 1, exact(value))


def test_a_patch_that_is_larger_than_the_document_is_written_as_a_snapshot() -> None:
    before = Document(1, {"a": list(range(100))})
    change, after = states.changed(before, {"b": 1}, snapshot=False)
    assert change.is_snapshot
    assert change.payload == b'{"version":2,"patch":[{"op":"replace","path":"","value":{"b":1}}]}'
    assert after == Document(2, {"b": 1})


def test_a_small_change_of_a_large_document_is_a_small_patch() -> None:
    before = Document(7, {"log": ["x" * 50] * 200, "at": 1})
    change, _ = states.changed(before, {"log": ["x" * 50] * 200 + ["y"], "at": 1}, snapshot=False)
    assert change.patch == b'[{"op":"add","path":"/log/200","value":"y"}]'


def test_the_state_is_bounded_and_is_json() -> None:
    with pytest.raises(Invalid) as large:
        states.changed(NOTHING, "x" * limits.STATE_BYTES_MAX, snapshot=True)
    assert large.value.code == "state_too_large"
    states.changed(NOTHING, "x" * (limits.STATE_BYTES_MAX - 2), snapshot=True)
    with pytest.raises(NotEncodable):
        states.changed(NOTHING, {"a": object()}, snapshot=True)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_mapping_is_merged_into_an_object_member_by_member(document: dict[str, Any], more: dict[str, Any]) -> None:
    assert states.merged(dict(document), more) == {**document, **more}
    assert states.merged(None, more) == more
    with pytest.raises(Invalid) as refused:
        states.merged([1], more)
    assert refused.value.code == "invalid_state"


def test_changes_are_listed_with_pointers_and_lists_of_named_things_by_name() -> None:
    before = {"model": "a", "tools": [{"name": "x", "effect": "read"}, {"name": "y"}], "gone/~": 1}
    after = {"model": "b", "tools": [{"name": "new"}, {"name": "x", "effect": "keyed"}], "more": [1]}
    assert patches.changes(before, after, 50) == [
        {"path": "/model", "old": "a", "new": "b"},
        {"path": "/tools/1/effect", "old": "read", "new": "keyed"},
        {"path": "/tools/1", "old": {"name": "y"}},
        {"path": "/tools/0", "new": {"name": "new"}},
        {"path": "/gone~1~0", "old": 1},
        {"path": "/more", "new": [1]},
    ]


def test_a_list_of_changes_is_bounded_and_long_values_are_cut() -> None:
    found = patches.changes({str(n): n for n in range(100)}, {}, 10)
    assert len(found) == 10
    assert found[-1] == {"more": 91}
    (long,) = patches.changes("short", "x" * 5_000, 10)
    assert long["new"] == encode("x" * 5_000).decode()[: patches.SHOWN_CHARS_MAX] + "…"
