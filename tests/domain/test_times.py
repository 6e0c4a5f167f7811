"""Times as clients see them, and which of them can be stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.encoding import TIME_MS_MAX, TIME_MS_MIN, storable_time
from holdfast.domain.errors import Invalid
from holdfast.domain.events import timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (TIME_MS_MIN, "0001-01-01T00:00:00.000Z"),
        (-30_610_224_000_001, "0999-12-31T23:59:59.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_year_has_four_digits(ms: int, shown: str) -> None:
    assert timestamp(ms) == shown


@given(st.integers(TIME_MS_MIN, TIME_MS_MAX))
def test_every_storable_time_can_be_shown_and_read_back(ms: int) -> None:
    assert storable_time(ms, what="start_after") == ms
    assert datetime.fromisoformat(timestamp(ms)) == EPOCH + timedelta(milliseconds=ms)


@pytest.mark.parametrize("ms", [TIME_MS_MIN - 1, TIME_MS_MAX + 1])
def test_a_time_outside_the_calendar_is_not_storable(ms: int) -> None:
    with pytest.raises(Invalid, match="start_after is ms UTC within the years 1 to 9999"):
        storable_time(ms, what="start_after")
