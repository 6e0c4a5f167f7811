"""What follows when a run ends, whoever ended it: what it held open is closed, its thread's next run becomes claimable,
its parent is woken, and a rollback hides its messages and what it published, unless the run has done something, or may
have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.domain.ids import ApprovalId, EffectId, RunId, TenantId, ThreadId
from holdfast.domain.runs import OnBusy, RunStatus
from holdfast.store import approvals, awaited, effects, messages, runs, states
from holdfast.store.base import Tx
from holdfast.store.runs import End


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Runs that became claimable: the next of the thread, and the parent that waited for this run."""

    promoted: RunId | None = None
    woken: RunId | None = None


async def end(
    tx: Tx,
    tenant_id: TenantId,
    run_id: RunId,
    thread_id: ThreadId,
    parent_id: RunId | None,
    before: RunStatus,
    ending: End,
) -> Aftermath:
    """End a run. The caller holds the locks of its thread, its head and its parent's head, and freed the head."""
    await runs.end(tx, tenant_id, run_id, before, ending)
    promoted = await runs.promote(tx, tenant_id, thread_id)
    if ending.status is RunStatus.CANCELLED:
        await _roll_back(tx, tenant_id, run_id, thread_id)
    woken = None
    if parent_id is not None and await runs.requeue(tx, tenant_id, parent_id, RunStatus.WAITING, at=tx.now_ms):
        woken = parent_id
    return Aftermath(promoted, woken)


@dataclass(frozen=True, slots=True)
class Closed:
    """Questions that nobody needs to answer any more, and effects of which nobody knows: whoever shows them is told."""

    approvals: tuple[ApprovalId, ...] = ()
    unknown: tuple[EffectId, ...] = ()


NOTHING: Final = Closed()


async def close(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Closed:
    """Close what the run held: calls that were planned are given up, questions need no answer any more, and of calls
    under way nobody knows what became of them. Those stay in the ledger as `unknown` until a person says."""
    lost = await effects.close(tx, tenant_id, run_id)
    moot = await approvals.close(tx, tenant_id, run_id)
    await awaited.close(tx, tenant_id, run_id)
    return Closed(tuple(moot), tuple(effect.id for effect in lost))


async def _roll_back(tx: Tx, tenant_id: TenantId, run_id: RunId, thread_id: ThreadId) -> None:
    """A model must not forget what it did: with a change made, rollback is applied as interrupt, and the run that
    asked for it says so."""
    run = await runs.get(tx, tenant_id, run_id)
    if run is None or not run.rollback:
        return
    if await effects.may_have_acted(tx, tenant_id, run_id):
        await runs.soften_rollbacks(tx, tenant_id, thread_id, OnBusy.INTERRUPT)
    else:
        await messages.hide_run(tx, tenant_id, thread_id, run_id)
        await states.unmark(tx, tenant_id, run_id)
