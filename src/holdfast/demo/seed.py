"""What happened at the desk before anybody came: a run of each kind, so that the control plane shows a living system.

Made once, through the same verbs as everybody's runs, with the scripted model only (nobody's money). Each has an
`external_id`, so a start that was cut off is gone on with at the next one. The orders are none of the tour's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

from holdfast.demo.outside import Outside
from holdfast.demo.shop import SHIPPED_ORDER
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import HoldfastError
from holdfast.domain.journal import StepKind
from holdfast.domain.runs import RunLimits, RunView
from holdfast.service import forks, runs
from holdfast.service.forks import Edits, ForkRun
from holdfast.service.house import House
from holdfast.service.runs import StartRun

log = logging.getLogger(__name__)

TAG: Final = "seed"
METADATA: Final = {"holdfast.made_by": "demo"}  # a tag of this name may be anybody's
SETTLES_S: Final = 30
REFUNDED_ORDER: Final = 1024
ASKED_ORDER: Final = 1015
COURIER_ORDER: Final = 1139
LATER_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Seed:
    """One run. `fault`: what the provider does wrong meanwhile, at this path."""

    name: str
    agent: str
    input: Any
    limits: RunLimits | None = None
    start_after_ms: int | None = None
    fault: str | None = None


ASKED: Final = Seed("asked", "support", f"Where is order {SHIPPED_ORDER}?")
SEEDS: Final = (
    ASKED,
    Seed("handed-over", "triage", f"I want my money back for order {REFUNDED_ORDER}, one piece is cracked."),
    Seed("restocked", "nightly-restock", {"products_max": 5}),
    Seed("waits", "support", f"Please refund order {ASKED_ORDER}, it arrived broken."),
    Seed("unknown", "support", f"Call the courier about order {COURIER_ORDER}: ring twice.", fault="/pickups"),
    Seed("failed", "support", f"Where is order {COURIER_ORDER}?", limits=RunLimits(steps_max=1)),
    Seed("later", "nightly-restock", {"products_max": 3}, start_after_ms=LATER_MS),
)


async def sow(house: House, outside: Outside) -> None:
    """Make what is not there yet. What one run cannot do is no reason to go without the others."""
    for seed in SEEDS:
        await _made(house, outside, seed)
    await _fork(house)


async def _made(house: House, outside: Outside, seed: Seed) -> None:
    known = await runs.find_external(house, LOCAL_PRINCIPAL, _external(seed.name))
    if known is not None:
        return
    if seed.fault is not None:
        await outside.arm(seed.fault, "crash")
    later = None if seed.start_after_ms is None else house.determinism.now_ms() + seed.start_after_ms
    ask = StartRun(
        agent=seed.agent,
        input=seed.input,
        external_id=_external(seed.name),
        tags=(TAG,),
        metadata=METADATA,
        limits=seed.limits,
        start_after=later,
    )
    started = await runs.start(house, LOCAL_PRINCIPAL, ask)
    if seed.start_after_ms is None:
        await runs.wait(house, LOCAL_PRINCIPAL, started.view, SETTLES_S)
    else:
        await runs.cancel(house, LOCAL_PRINCIPAL, started.view.run.id, "The shop is closed tomorrow.")


async def _fork(house: House) -> None:
    """The first one once more, as if the shop had known nothing of the order."""
    first = await runs.find_external(house, LOCAL_PRINCIPAL, _external(ASKED.name))
    at = None if first is None else await _first_tool(house, first)
    if first is None or at is None or await _has_fork(house, first):
        return
    edits = Edits(output=f"There is no order {SHIPPED_ORDER}.")
    await forks.fork(
        house, LOCAL_PRINCIPAL, ForkRun(run_id=first.run.id, at=at, edits=edits, tags=(TAG,), metadata=METADATA)
    )


async def _first_tool(house: House, view: RunView) -> int | None:
    steps = await runs.steps(house, LOCAL_PRINCIPAL, view.run.id, 0, 10)
    return next((one.entry.seq for one in steps if one.entry.kind is StepKind.TOOL), None)


async def _has_fork(house: House, view: RunView) -> bool:
    found = await runs.page(house, LOCAL_PRINCIPAL, runs.RunFilter(forked_run=view.run.id, limit=1))
    return bool(found)


def _external(name: str) -> str:
    return f"{TAG}-{name}"


@contextlib.asynccontextmanager
async def sowing(house: House, outside: Outside) -> AsyncGenerator[None]:
    """Sow while the block, a server, is up already."""
    task = asyncio.create_task(_sow(house, outside), name="demo-seed")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _sow(house: House, outside: Outside) -> None:
    try:
        await sow(house, outside)
    except (HoldfastError, OSError) as exc:
        log.warning("The demo goes without some of its earlier runs: %s", exc)
