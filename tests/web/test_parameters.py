"""Values that routes take: what was shown means the same when it comes back."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.domain.encoding import TIME_MS_MAX, TIME_MS_MIN
from holdfast.domain.events import timestamp
from holdfast.web.parameters import ms_of


@given(ms=st.integers(TIME_MS_MIN, TIME_MS_MAX))
@example(ms=537_643_115_596)
@example(ms=2_153_683_720_417)
def test_a_time_that_was_shown_is_read_as_the_same_millisecond(ms: int) -> None:
    assert ms_of(datetime.fromisoformat(timestamp(ms))) == ms


@pytest.mark.parametrize(("given", "ms"), [("1970-01-01T00:00:00.0019Z", 1), ("1969-12-31T23:59:59.9999Z", -1)])
def test_what_is_finer_than_a_millisecond_is_cut_off(given: str, ms: int) -> None:
    assert ms_of(datetime.fromisoformat(given)) == ms


def test_no_time_is_none() -> None:
    assert ms_of(None) is None
