from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.determinism import SYSTEM, SystemRandom


@given(st.lists(st.integers(0, 9_000), max_size=30))
def test_random_bytes_have_the_length_that_was_asked_for(sizes: list[int]) -> None:
    draw = SystemRandom()
    assert [len(draw(size)) for size in sizes] == sizes


def test_no_two_draws_share_bytes() -> None:
    draw = SystemRandom()
    drawn = [draw(16) for _ in range(2_000)]
    assert len(set(drawn)) == len(drawn)


def test_a_forked_child_draws_other_bytes_than_its_parent() -> None:
    draw = SystemRandom()
    draw(16)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, draw(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 16) != draw(16)
    os.close(reading)
    os.close(writing)


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [SYSTEM.new_id() for _ in range(100)]
    assert [id[:6] for id in ids] == sorted(id[:6] for id in ids)
    assert all(id[6] >> 4 == 7 and id[8] >> 6 == 2 for id in ids), "the layout of UUID version 7"
