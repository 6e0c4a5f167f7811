"""Kinds of values that routes take: read strictly, so that what is nearly right is refused and not guessed at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

AMOUNT_MAX: Final = 2**53 - 1


def _strict_time(value: Any) -> Any:
    if isinstance(value, str) and len(value) >= len("2026-01-01T00:00:00Z") and value[10] in "Tt":
        return value
    raise ValueError("a time is RFC 3339 with an offset, such as 2026-01-31T08:00:00Z")


def _in_utc(value: datetime) -> datetime:
    """The same time in UTC, which is how it is stored and shown: there it has to lie in the years 1 to 9999 too."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time lies in the years 1 to 9999 of UTC") from None


def _strict_number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ValueError("a number")


def _strict_bool(value: Any) -> Any:
    if value in ("true", "false", True, False):
        return value
    raise ValueError("true or false")


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_strict_time),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Flag = Annotated[bool, BeforeValidator(_strict_bool)]
Amount = Annotated[int, BeforeValidator(_strict_number), Field(ge=1, le=AMOUNT_MAX)]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def ms_of(time: datetime | None) -> int | None:
    """In whole numbers: a float of seconds does not hold every millisecond, and a time that was shown has to be found
    again as it was shown."""
    return None if time is None else (time - _EPOCH) // _MS
