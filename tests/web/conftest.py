"""Fixtures of the web tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.serving import Server, serving


@pytest.fixture
async def server(sqlite_url: str) -> AsyncIterator[Server]:
    async with serving(sqlite_url) as server:
        yield server


@pytest.fixture
async def either(database_url: str) -> AsyncIterator[Server]:
    """The same on each database."""
    async with serving(database_url) as server:
        yield server
