"""The examples in docstrings of what the web is made of."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from holdfast.domain import events
from holdfast.service import visits
from holdfast.web import cookies


@pytest.mark.parametrize("module", [events, visits, cookies], ids=lambda module: module.__name__)
def test_examples_do_what_they_say(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
