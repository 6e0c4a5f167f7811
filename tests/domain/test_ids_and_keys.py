"""Ids and step keys: no two things share a name, and every name reads back as what it named."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.domain import ids, limits
from holdfast.domain.determinism import Determinism
from holdfast.domain.errors import Invalid, NotFound
from holdfast.domain.journal import branch_scope, check_name, key_of

RAW = st.binary(min_size=16, max_size=16)
PREFIXES = st.sampled_from(sorted(ids.NAMES))
NAMES = st.text(st.sampled_from("ab/#%.g0123456789F2 é"), min_size=1, max_size=8)
BRANCHES = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=3)


@given(PREFIXES, RAW)
def test_an_id_reads_back_as_the_bytes_it_stands_for(prefix: str, raw: bytes) -> None:
    text = ids.text(prefix, raw)
    assert ids.parse(prefix, text) == raw
    assert text.startswith(f"{prefix}_")
    assert text.isascii()
    assert text == text.lower()


@given(RAW, RAW)
def test_ids_sort_alike_in_both_forms(one: bytes, other: bytes) -> None:
    assert (one < other) == (ids.text("run", one) < ids.text("run", other))


@given(PREFIXES, RAW, st.text(max_size=40))
def test_nothing_but_the_one_spelling_of_an_id_is_accepted(prefix: str, raw: bytes, other: str) -> None:
    text = ids.text(prefix, raw)
    for wrong in (
        other,
        text.upper(),
        text + "0",
        text[:-1],
        f" {text}",
        f"x{text}",
        text.replace("_", "-"),
        text + "=",
    ):
        if wrong != text:
            with pytest.raises(NotFound):
                ids.parse(prefix, wrong)
    for another in set(ids.NAMES) - {prefix}:
        with pytest.raises(NotFound):
            ids.parse(another, text)


@given(RAW, st.sampled_from("0123456789abcdefghijklmnopqrstuv"))
def test_the_last_character_of_an_id_has_no_second_spelling(raw: bytes, last: str) -> None:
    text = ids.text("run", raw)
    changed = text[:-1] + last
    assume(changed != text)
    try:
        assert ids.parse("run", changed) != raw
    except NotFound:
        pass


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=5), st.binary(min_size=10, max_size=10))
def test_new_ids_sort_by_their_millisecond_and_are_version_seven(times: list[int], tail: bytes) -> None:
    made = [Determinism(now_ms=lambda t=t: t, random_bytes=lambda n: tail[:n]).new_id() for t in times]
    assert [int.from_bytes(i[:6], "big") for i in made] == times
    assert all(i[6] >> 4 == 7 and i[8] >> 6 == 2 and len(i) == 16 for i in made)
    assert sorted(made) == [m for _, m in sorted(zip(times, made, strict=True))]


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_an_id_derived_from_other_parts_is_another_id(one: list[bytes], other: list[bytes]) -> None:
    assert (ids.derived(*one) == ids.derived(*other)) == (one == other)
    assert len(ids.derived(*one)) == ids.ID_BYTES


def test_text_and_its_bytes_derive_the_same_id() -> None:
    assert ids.derived("é", b"x") == ids.derived("é".encode(), "x") != ids.derived("éx")


def scope_of(branches: list[tuple[int, int]]) -> str:
    scope = ""
    for group, branch in branches:
        scope = branch_scope(scope, group, branch)
    return scope


@given(st.tuples(BRANCHES, NAMES, st.integers(1, 20)), st.tuples(BRANCHES, NAMES, st.integers(1, 20)))
def test_no_two_steps_have_one_key(
    one: tuple[list[tuple[int, int]], str, int], other: tuple[list[tuple[int, int]], str, int]
) -> None:
    keys = [key_of(scope_of(branches), name, occurrence) for branches, name, occurrence in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@given(BRANCHES, BRANCHES, NAMES, st.integers(1, 20))
def test_a_scope_is_never_a_steps_key(
    branches: list[tuple[int, int]], others: list[tuple[int, int]], name: str, occurrence: int
) -> None:
    assume(branches)
    assert scope_of(branches) != key_of(scope_of(others), name, occurrence)


def test_a_key_has_a_bound() -> None:
    scope = "s" * (limits.KEY_CHARS_MAX - 4)
    assert len(key_of(scope, "n", 1)) == limits.KEY_CHARS_MAX
    with pytest.raises(Invalid, match="nest less deeply"):
        key_of(scope, "n", 10)


@pytest.mark.parametrize("name", ["", "x" * (limits.STEP_NAME_CHARS_MAX + 1), "a\x00b", "a\nb", "\ud800", "\u200b"])
def test_a_step_needs_a_printable_name(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


@given(st.text(min_size=1, max_size=limits.STEP_NAME_CHARS_MAX).filter(str.isprintable))
def test_a_name_that_is_accepted_can_be_stored(name: str) -> None:
    assert check_name(name) == name
    key_of("", name, 1).encode()
