"""Values as JSON bytes: what the journal stores, and what digests are made of.

Everything is checked here, before it can enter a batch with other runs' rows: valid UTF-8 (no lone surrogates), JSON
all the way down, and no larger than `PAYLOAD_BYTES_MAX`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, cast

from pydantic_core import PydanticSerializationError, SchemaSerializer, from_json, to_json

from holdfast.domain.errors import Invalid, NotEncodable
from holdfast.domain.limits import PAYLOAD_BYTES_MAX

DIGEST_BYTES = 16
_CONSTANTS: dict[Any, bytes] = {None: b"null", True: b"true", False: b"false"}


def encode(value: Any, *, what: str = "The value") -> bytes:
    """`value` as compact JSON. Pydantic models, dataclasses, dates, decimals, UUIDs, enums and sets are understood.

    Infinity and NaN become the strings `"Infinity"` and `"NaN"`, since JSON has no numbers for them.
    Raises `NotEncodable` for anything else, naming the type and the reason.
    """
    if value is None or value is True or value is False:
        return _CONSTANTS[value]
    try:
        encoded = to_json(value, inf_nan_mode="strings", by_alias=True)
    except (PydanticSerializationError, UnicodeEncodeError, ValueError, RecursionError) as exc:
        reason = str(exc).split("\n", 1)[0][:300]
        raise NotEncodable(f"{what} of type {type(value).__name__} cannot be stored as JSON: {reason}") from None
    return checked(encoded, what=what)


def checked(encoded: bytes, *, what: str = "The value") -> bytes:
    """`encoded` itself, if the journal may hold it."""
    if len(encoded) > PAYLOAD_BYTES_MAX:
        raise NotEncodable(f"{what} is {len(encoded):,} bytes of JSON; the limit is {PAYLOAD_BYTES_MAX:,} bytes.")
    if encoded.count(b"[") + encoded.count(b"{") > _LEVELS_SAFE:
        _demand_readable(encoded, what)
    return encoded


_LEVELS_SAFE: Final = 150
_LEVELS_KEPT: Final = 5


def _demand_readable(encoded: bytes, what: str) -> None:
    """JSON can be written some levels deeper than it can be read. What is stored is read within a few more."""
    try:
        from_json(b"[" * _LEVELS_KEPT + encoded + b"]" * _LEVELS_KEPT)
    except ValueError:
        raise NotEncodable(f"{what} is nested too deeply.") from None


def decode(encoded: bytes | None) -> Any:
    """The value of stored JSON; `None` for nothing."""
    return None if encoded is None else from_json(encoded, cache_strings="keys")


def storable_text(text: str, *, what: str, chars_max: int) -> str:
    """`text` itself, if a text column of every database can hold it: no NUL, no lone surrogate, not too long."""
    if "\x00" in text:
        raise NotEncodable(f"{what} contains a NUL character.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotEncodable(f"{what} contains a lone surrogate; it is not valid Unicode text.") from None
    if len(text) > chars_max:
        raise NotEncodable(f"{what} has {len(text):,} characters; the limit is {chars_max:,}.")
    return text


TIME_MS_MIN: Final = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z
TIME_MS_MAX: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


def storable_time(ms: int, *, what: str) -> int:
    """`ms` (UTC) itself, if it can be shown: RFC 3339 knows the years 1 to 9999."""
    if not TIME_MS_MIN <= ms <= TIME_MS_MAX:
        raise Invalid(f"{what} is ms UTC within the years 1 to 9999, not {ms}.", code="invalid_time")
    return ms


def canonical(value: Any) -> bytes:
    """One spelling of a value, the JSON Canonicalization Scheme of RFC 8785: members sorted by their UTF-16 code units,
    no spaces, numbers as ECMAScript writes them; sets in order.

    Integers keep all their digits, also beyond 2^53, where the scheme knows only doubles.

    >>> canonical({"b": 1.0, "a": 1e21, "c": [0.002, 1e-7, -0.0]})
    b'{"a":1e+21,"b":1,"c":[0.002,1e-7,0]}'
    """
    try:
        plain = from_json(to_json(_ordered(value), inf_nan_mode="strings", by_alias=True))
        parts: list[str] = []
        _write(plain, parts)
        return "".join(parts).encode()
    except (PydanticSerializationError, UnicodeEncodeError, ValueError, RecursionError) as exc:
        reason = str(exc).split("\n", 1)[0][:300]
        raise NotEncodable(f"Arguments cannot be stored as JSON: {reason}") from None


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        names = sorted(members) if all(name.isascii() for name in members) else sorted(members, key=_utf16)
        parts.append("{")
        for n, name in enumerate(names):
            parts.append(("," if n else "") + _quoted(name) + ":")
            _write(members[name], parts)
        parts.append("}")
    elif isinstance(value, list):
        parts.append("[")
        for n, item in enumerate(cast("list[Any]", value)):
            if n:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    elif isinstance(value, str):
        parts.append(_quoted(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    else:
        parts.append(_CONSTANTS[value].decode() if value is None or isinstance(value, bool) else str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _number(value: float) -> str:
    """As ECMAScript's Number::toString: the shortest digits that read back, plain from 1e-6 up to 1e21.

    Python's `repr` finds the same digits; only where it changes to exponents, and how it writes them, differ.
    """
    if value == 0:
        return "0"
    digits, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = digits.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)  # how many digits stand before the decimal point
    figures = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(figures)
    figures = figures.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(figures) <= point <= 21:
        return sign + figures + "0" * (point - len(figures))
    if 0 < point <= 21:
        return f"{sign}{figures[:point]}.{figures[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{figures}"
    power = point - 1
    mantissa = figures[0] + (f".{figures[1:]}" if len(figures) > 1 else "")
    return f"{sign}{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"


def digest(value: Any) -> bytes:
    """16 bytes that stand for a value; equal values have equal digests in every process."""
    if not value and isinstance(value, list):
        return _DIGEST_OF_NOTHING
    return hashlib.sha256(canonical(value)).digest()[:DIGEST_BYTES]


def _ordered(value: Any) -> Any:
    """Sets have no order of their own: string hashing would change it from process to process."""
    if isinstance(value, (set, frozenset)):
        return sorted((_ordered(v) for v in cast("set[Any]", value)), key=canonical)
    if isinstance(value, (list, tuple)):
        return [_ordered(v) for v in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {k: _ordered(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    parts = _fields(value)
    return _ordered(parts) if _holds_a_set(parts) else value


def _fields(value: Any) -> Any:
    """What a model or a dataclass is made of, sets still as sets; None for anything else."""
    serializer = getattr(cast(Any, type(value)), "__pydantic_serializer__", None)
    if isinstance(serializer, SchemaSerializer):
        return serializer.to_python(value, by_alias=True)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return None


def _holds_a_set(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_a_set(v) for v in cast("list[Any]", value))
    if isinstance(value, Mapping):
        return any(_holds_a_set(v) for v in cast("Mapping[Any, Any]", value).values())
    return isinstance(value, (set, frozenset)) or (value is not None and _holds_a_set(_fields(value)))


_DIGEST_OF_NOTHING = hashlib.sha256(b"[]").digest()[:DIGEST_BYTES]
