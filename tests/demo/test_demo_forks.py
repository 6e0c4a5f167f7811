"""Every kind of the demo's runs, forked at every step, over HTTP: forks come to what their parents came to, and the
provider's books and the shop's refunds stay as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import Settings
from holdfast.demo import build
from holdfast.demo.shop import DAMAGED_ORDER, DELIVERED_ORDER, OPEN_ORDER, SHIPPED_ORDER, VALUABLE_ORDER
from tests.demo.test_demo_holds import Desk, opened

SAID: dict[str, tuple[str, Any]] = {
    "chat": ("support", f"Where is order {SHIPPED_ORDER}?"),
    "refund": ("support", f"Please refund order {DELIVERED_ORDER}, it arrived broken."),
    "redirect": ("support", f"Change the address of order {OPEN_ORDER} to 7 Mill Lane, 20457 Hamburg"),
    "hand-off": ("triage", f"I want my money back for order {DAMAGED_ORDER}, one piece is cracked."),
    "mail": ("support", f"E-mail me about order {SHIPPED_ORDER}."),
    "courier": ("support", f"Call the courier about order {SHIPPED_ORDER}: ring twice."),
    "leave": ("support", f"Please refund order {VALUABLE_ORDER}, one piece is broken."),
}
POLICIES: dict[str, Any] = {
    "default": {"reads": "reuse"},
    "deny": {"repeat": "deny", "new": "deny", "reads": "reuse"},
}


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr("holdfast.demo.desk.CONFIRMATION_S", 0.05)
    async with opened(build(tmp_path, settings=Settings(freeze_gc=False))) as made:
        yield made


async def done(desk: Desk, agent: str, input: Any) -> dict[str, Any]:
    run = await desk.says(input, agent)
    if run["status"] == "waiting":
        await desk.resolves(await desk.asked(run), decision="approve")
    return await desk.ended(run)


async def steps(desk: Desk, run: dict[str, Any]) -> list[tuple[int, str, str]]:
    found = (await desk.http.get(f"/v1/runs/{run['id']}/steps?limit=200")).json()["data"]
    return [(step["seq"], step["key"], step["kind"]) for step in found]


async def forked(desk: Desk, run: dict[str, Any], at: int, effects: dict[str, Any]) -> dict[str, Any]:
    answer = await desk.http.post(f"/v1/runs/{run['id']}/fork?wait=30", json={"at": at, "effects": effects})
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] != "waiting", answer.text
    return await desk.ended(answer.json())


async def outside(desk: Desk) -> tuple[Any, Any]:
    counts = await asyncio.to_thread(desk.demo.shop.counts)
    return await desk.demo.outside.everything(), counts


@pytest.mark.parametrize("kind", SAID)
async def test_a_fork_at_every_step_of_a_demo_run_does_nothing_outside(desk: Desk, kind: str) -> None:
    run = await done(desk, *SAID[kind])
    assert run["status"] == "succeeded"
    journal, before = await steps(desk, run), await outside(desk)
    for name, effects in POLICIES.items():
        for at in range(len(journal) + 1):
            made = await forked(desk, run, at, effects)
            assert made["status"] == "succeeded", made["error"]
            if name == "default":
                assert made["output"] == run["output"]
                kept = [step for step in journal if step[2] != "interrupt" or step[0] <= at]
                assert [key for _, key, _ in await steps(desk, made)] == [key for _, key, _ in kept]
    assert await outside(desk) == before
    assert (await desk.http.get(f"/v1/runs/{run['id']}")).json() == run
    assert await steps(desk, run) == journal


async def test_the_restock_forked_at_every_step_orders_again_only_what_it_finds_anew(desk: Desk) -> None:
    """Its steps are plain functions: those behind the fork point run again. Their keys come of what the fork keeps."""
    run = await done(desk, "nightly-restock", {})
    journal = await steps(desk, run)
    assert [key for _, key, _ in journal][:3] == ["uuid#1", "close-day#1", "find-low-stock#1"]
    for at in reversed(range(len(journal) + 1)):
        before = await outside(desk)
        made = await forked(desk, run, at, POLICIES["default"])
        assert made["status"] == "succeeded", made["error"]
        assert (await steps(desk, made))[:at] == journal[:at]
        if at >= 3:
            assert made["output"] == run["output"]
            assert await outside(desk) == before
