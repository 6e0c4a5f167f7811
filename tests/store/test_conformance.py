"""Every rule of the public conformance suite, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from holdfast.domain.determinism import Determinism
from holdfast.store.base import Database
from holdfast.testing.store import RULES, Rule, exercise_store
from tests import databases


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
async def test_the_database_keeps_the_rule(database_url: str, rule: Rule) -> None:
    @asynccontextmanager
    async def make_database(determinism: Determinism) -> AsyncIterator[Database]:
        async with databases.opened(database_url, determinism=determinism) as database:
            yield database

    await exercise_store(make_database, rules=[rule])
