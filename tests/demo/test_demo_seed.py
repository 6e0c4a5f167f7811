"""What the demo begins with: a run of each kind, made once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast import Settings
from holdfast.demo import build, seed
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import ApprovalStatus, ApprovalType
from holdfast.domain.runs import RunStatus, RunView
from holdfast.service import approvals, runs
from holdfast.service.house import House
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.runs import RunFilter

SEEDED = len(seed.SEEDS) + 1
SETTLED = {
    "seed-asked": RunStatus.SUCCEEDED,
    "seed-handed-over": RunStatus.SUCCEEDED,
    "seed-restocked": RunStatus.SUCCEEDED,
    "seed-waits": RunStatus.WAITING,
    "seed-unknown": RunStatus.WAITING,
    "seed-failed": RunStatus.FAILED,
    "seed-later": RunStatus.CANCELLED,
    None: RunStatus.SUCCEEDED,
}


async def made(house: House) -> list[RunView]:
    return await runs.page(house, LOCAL_PRINCIPAL, RunFilter(tag=seed.TAG))


async def settled(house: House) -> dict[str | None, RunView]:
    async with asyncio.timeout(30):
        while True:
            found = {view.run.external_id: view for view in await made(house)}
            if {name: view.run.status for name, view in found.items()} == SETTLED:
                return found
            await asyncio.sleep(0.05)


async def test_the_demo_begins_with_a_run_of_each_kind_and_makes_them_once(tmp_path: Path) -> None:
    settings = Settings(freeze_gc=False)
    async with build(tmp_path, settings=settings, seeded=True).holdfast.running() as hf:
        found = await settled(hf.house)
        asked = await approvals.page(hf.house, LOCAL_PRINCIPAL, ApprovalFilter(status=(ApprovalStatus.PENDING,)))
        assert sorted(view.approval.type for view in asked) == [ApprovalType.EFFECT, ApprovalType.TOOL]
        fork = found[None].run
        assert fork.forked_run == found["seed-asked"].run.id
    demo = build(tmp_path, settings=settings)
    async with demo.holdfast.running() as hf:
        await seed.sow(hf.house, demo.outside)
        assert len(await made(hf.house)) == SEEDED


async def test_nothing_is_made_for_a_model_that_costs(tmp_path: Path) -> None:
    demo = build(tmp_path, model="test", settings=Settings(freeze_gc=False), seeded=True)
    async with demo.holdfast.running() as hf:
        assert await made(hf.house) == []
