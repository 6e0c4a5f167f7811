"""Whether tests that need the BFCL wheel can run: always in CI; elsewhere only with a package index or a past fetch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.bfcl import fetch


def require() -> Path:
    """The directory of the fetched wheel. Without a network this skips, and says so; with `CI` set it fails."""
    try:
        return fetch.importable()
    except fetch.FetchFailed as failure:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"BFCL is not here and cannot be fetched: {failure}")
