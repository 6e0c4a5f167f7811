"""Values as JSON: what goes in comes back, equal values have equal digests everywhere, and the rest is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from holdfast.domain import limits
from holdfast.domain.encoding import canonical, checked, decode, digest, encode, storable_text
from holdfast.domain.errors import NotEncodable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [1, 100, 150, 180, 194])
def test_what_was_let_in_can_be_read_within_an_envelope(levels: int) -> None:
    assert decode(b'{"a":{"b":[' + encode(nested(levels)) + b"]}}") == {"a": {"b": [nested(levels)]}}


@pytest.mark.parametrize("levels", [200, 254, 300])
def test_what_could_not_be_read_back_is_not_let_in(levels: int) -> None:
    with pytest.raises(NotEncodable):
        encode(nested(levels))


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    tags: set[str] = set()
    inner: Any = None


@dataclass
class Record:
    tags: frozenset[str]


def reordered(value: Any) -> Any:
    """The same value with its dicts built in another order."""
    if isinstance(value, dict):
        return {k: reordered(v) for k, v in reversed(list(value.items()))}
    return [reordered(v) for v in value] if isinstance(value, list) else value


@given(JSON)
def test_a_value_comes_back_as_it_went_in(value: Any) -> None:
    assert decode(encode(value)) == value
    assert json.loads(encode(value)) == value


@given(JSON)
def test_the_order_of_keys_does_not_change_a_digest(value: Any) -> None:
    assert canonical(reordered(value)) == canonical(value)
    assert len(digest(value)) == 16
    assert canonical(decode(canonical(value))) == canonical(value)


@given(JSON, JSON)
def test_other_values_have_other_digests(one: Any, other: Any) -> None:
    if json.dumps(whole(one), sort_keys=True) != json.dumps(whole(other), sort_keys=True):
        assert digest(one) != digest(other)


def whole(value: Any) -> Any:
    """JSON has one kind of number: 1.0 is 1."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [whole(v) for v in value]
        case dict():
            return {name: whole(v) for name, v in value.items()}
        case _:
            return value


# RFC 8785, appendix B, and what it says of members' order.
@pytest.mark.parametrize(
    ("number", "written"),
    [
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (-0.0000033333333333333333, "-0.0000033333333333333333"),
        (1424953923781206.2, "1424953923781206.2"),
        (-0.0, "0"),
        (4.50, "4.5"),
    ],
)
def test_numbers_are_written_as_the_canonical_scheme_says(number: float, written: str) -> None:
    assert canonical(number).decode() == written


def test_members_are_sorted_by_their_utf16_code_units() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = list(decode(canonical(dict.fromkeys(names, 0))))
    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@given(JSON)
def test_a_value_and_what_was_stored_of_it_have_one_digest(value: Any) -> None:
    assert digest(decode(encode(value))) == digest(value)


_PROGRAM = """
from dataclasses import dataclass
from typing import Any
from pydantic import BaseModel
from holdfast.domain.encoding import digest

class Model(BaseModel):
    tags: set[str] = set()
    inner: Any = None

@dataclass
class Record:
    tags: frozenset[str]

for value in [
    {"a", "b", "c", "dd", "e"},
    frozenset({("x", 1), ("y", 2), ("z", 3)}),
    [{"k": {"p", "q", "r", "s"}}],
    Model(tags={"a", "b", "c", "dd", "e", "f"}),
    Model(inner=[Model(tags={"p", "q", "r", "s"})]),
    {"record": Record(frozenset({"a", "b", "c", "dd", "e"}))},
]:
    print(digest(value).hex())
"""


def test_a_set_has_one_digest_in_every_process() -> None:
    """String hashing, and so a set's order, differs from process to process."""
    path = ":".join(p for p in sys.path if p)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(1, 4)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1
    assert len(set(answers.pop().split())) == 6


def test_a_models_digest_is_that_of_its_fields() -> None:
    assert digest(Model(tags={"b", "a"}, inner=1)) == digest({"tags": ["a", "b"], "inner": 1})
    assert digest(Record(frozenset({"b", "a"}))) == digest({"tags": ["a", "b"]})
    assert digest(Model(inner=Decimal("1.50"))) == digest({"tags": [], "inner": "1.50"})


def test_what_json_has_no_word_for_is_spelled_out() -> None:
    assert [decode(encode(v)) for v in (math.nan, math.inf, -math.inf)] == ["NaN", "Infinity", "-Infinity"]
    assert digest(math.nan) == digest(math.nan) == digest("NaN")
    values = [Decimal("1.10"), UUID(int=1), datetime(2030, 1, 2, tzinfo=UTC), Colour.RED, (1, 2), {3}]
    assert decode(encode(values)) == [
        "1.10", "00000000-0000-0000-0000-000000000001", "2030-01-02T00:00:00Z", "red", [1, 2], [3]
    ]  # fmt: skip


def test_true_and_one_are_two_values() -> None:
    assert encode(1) == b"1"
    assert encode(True) == b"true"
    assert encode(0) == b"0"
    assert encode(False) == b"false"
    assert encode(None) == b"null"
    assert decode(None) is None
    assert digest(True) != digest(1)


def test_nul_is_text_like_any_other() -> None:
    assert decode(encode({"a\x00": "\x00"})) == {"a\x00": "\x00"}
    assert b"\x00" not in encode("\x00")


class Opaque:
    pass


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


NOT_JSON = ["\ud800", {"\ud800": 1}, ["x", "\udfff"], {"\ud800"}, b"\xff", Opaque(), [Opaque()], circular(), circular]


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: type(value).__name__)
def test_what_cannot_be_stored_is_refused_with_a_reason(value: Any) -> None:
    for refuse in (encode, canonical, digest):
        with pytest.raises(NotEncodable, match=r"cannot be stored as JSON: .+"):
            refuse(value)


def test_a_payload_has_a_bound() -> None:
    limit = limits.PAYLOAD_BYTES_MAX
    assert len(encode("x" * (limit - 2))) == limit
    with pytest.raises(NotEncodable, match="the limit is"):
        encode("x" * (limit - 1))
    with pytest.raises(NotEncodable):
        checked(b"x" * (limit + 1))


@given(st.text(max_size=12))
def test_text_that_a_column_cannot_hold_is_refused(text: str) -> None:
    bad = "\x00" in text or any(0xD800 <= ord(c) <= 0xDFFF for c in text) or len(text) > 10
    try:
        assert storable_text(text, what="x", chars_max=10) == text
        assert not bad
    except NotEncodable:
        assert bad


def test_text_is_refused_for_the_reason_that_is_told() -> None:
    for text, reason in (("a\x00", "NUL"), ("\ud800", "surrogate"), ("x" * 11, "the limit is 10")):
        with pytest.raises(NotEncodable, match=reason):
            storable_text(text, what="The title", chars_max=10)
