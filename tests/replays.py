"""Every run that a test records is replayed at its end: what the code did is what it does again, with the network cut.

A test whose code is no pure function of its steps on purpose (it counts its own runs, changes between claims, waits for
the test's own event loop) says so: `@pytest.mark.impure`.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast import Holdfast
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import HoldfastError
from holdfast.domain.ids import RunId
from holdfast.domain.replays import Verdict
from holdfast.runtime.replayers import InThread
from holdfast.service import recordings, runs
from holdfast.store.runs import RunFilter

TIMES = 2


async def assert_identical(opened: Sequence[Holdfast]) -> int:
    """Replay all runs of the database that these use, each with the last of them that has its agent; how many."""
    count = 0
    for run_id in await _all(opened):
        for hf in reversed(opened):
            recorded = await recordings.read(hf.house, LOCAL_PRINCIPAL, run_id)
            if recorded.agent not in hf.house.agents:
                continue
            for _ in range(TIMES):
                result = (await InThread(hf.house.agents, hf.deps).replay(recorded)).result
                assert result.verdict is Verdict.IDENTICAL, f"{recorded.agent}: {result.to_json()}"
            count += 1
            break
    return count


async def _all(opened: Sequence[Holdfast]) -> list[RunId]:
    if not opened:
        return []
    try:
        found = await runs.page(opened[-1].house, LOCAL_PRINCIPAL, RunFilter(include_children=True, limit=200))
    except HoldfastError:  # the test took the database away
        return []
    return [view.run.id for view in found]
