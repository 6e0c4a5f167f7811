"""Every prompt that a test sends is rebuilt from its record and compared with what is sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.agents.native import prompt


@pytest.fixture(autouse=True)
def verified_prompts() -> Iterator[None]:
    before, prompt.verify_prompts = prompt.verify_prompts, True
    yield
    prompt.verify_prompts = before
