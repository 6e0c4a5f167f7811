"""A failed run goes on: from where it stood, after its code, its budget, its instructions or its model became others.

One transaction. Nothing recorded is changed: the step at which the run failed is declared void, and edits hold for the
model calls from here on. Who wants another result of a step forks, where it is another run's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from holdfast.domain import access
from holdfast.domain.access import Principal, Scope
from holdfast.domain.agents import AgentKind
from holdfast.domain.encoding import decode, encode, storable_time
from holdfast.domain.errors import Conflict, Invalid
from holdfast.domain.forks import Override, Overrides, demand_editable, overridden, overrides_json, overrides_of
from holdfast.domain.ids import RUN, RunId, TenantId, text
from holdfast.domain.journal import Entry, EntryType, NewEntry, StepStatus
from holdfast.domain.runs import Run, RunLimits, RunStatus, RunView, Undo
from holdfast.service import forks
from holdfast.service import runs as run_verbs
from holdfast.service.forks import Edits
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.store import entries, heads, lineage, runs
from holdfast.store.base import Tx

_NO_EDITS: Final = Edits()


@dataclass(frozen=True, slots=True)
class Retried:
    """A run that is queued again, by its entry `pos`; `replayed` when an earlier request with the same key had done it:
    then `pos` is where it was retried last."""

    view: RunView
    pos: int
    replayed: bool = False
    status: int = 202


async def retry(
    house: House,
    principal: Principal,
    run_id: RunId,
    given: RunLimits | None = None,
    key: Key | None = None,
    *,
    deadline: int | None = None,
    edits: Edits = _NO_EDITS,
) -> Retried:
    """Queue a failed run again: what it recorded stays, the step at which it failed is declared void and runs anew.

    `given` replaces the run's limits, and `deadline` (ms UTC) with them its calendar deadline. Of `edits` an agent's
    run takes `instructions` and `model`: they hold for its model calls from here on, also after later retries. Durable
    when this returns; safe to repeat with a key. Raises `Conflict`: `not_failed`, `imported`, or `moved_on` when a
    later run of the thread, a parent or a successor has built on the failure; `NotFound` (`agent_not_found`);
    `Invalid`: `edit_not_possible`, or `edit_needs_fork` for what would change the record.
    """
    access.demand(principal, Scope.RUNS_WRITE)
    if deadline is not None:
        storable_time(deadline, what="deadline")
    if edits.model is not None:
        await asyncio.to_thread(forks.demand_model, edits.model)
    tenant_id = principal.tenant_id
    appended: list[tuple[Run, int, NewEntry]] = []

    async def body(tx: Tx) -> Replay | None:
        appended.clear()
        run = await run_verbs.demand(tx, tenant_id, run_id)
        replay = await once(tx, tenant_id, key, 202, run_id)
        if replay is not None:
            return replay
        await heads.lock_threads(tx, [(tenant_id, run.thread_id)])
        head = await heads.lock(tx, tenant_id, run_id)
        run = await run_verbs.demand(tx, tenant_id, run_id)
        assert head is not None
        await _demand_retryable(tx, run)
        await _demand_possible(tx, house, run, head.seq, edits)
        entry = await _entry(tx, run, edits.overrides)
        epoch, pos = await heads.free(tx, head, fence=True, entries=1, lapses=0)
        await heads.set_cancel(tx, tenant_id, run_id, False)
        await runs.forget_cancel(tx, tenant_id, run_id)
        await entries.add(tx, tenant_id, run_id, run.thread_id, epoch=epoch, pos=pos - 1, seq=head.seq, new=[entry])
        if given is not None:
            await runs.set_limits(tx, tenant_id, run_id, run_verbs.limits_json(given), deadline)
        if edits.overrides.given:
            held = overridden(overrides_of(run.overrides), Override(pos, edits.overrides))
            await runs.set_overrides(tx, tenant_id, run_id, overrides_json(held))
        await runs.requeue(tx, tenant_id, run_id, RunStatus.FAILED, at=tx.now_ms)
        appended.append((run, pos, entry))
        return None

    replay = await house.database.write(tenant_id, body)
    try:
        view = await run_verbs.look(house, tenant_id, run_id)
    finally:  # last, so that who follows the run from here on hears its first word
        for run, pos, entry in appended:
            house.hub.entry(run.id, run.thread_id, pos, None, entry)
            house.run_changed(tenant_id, run_id, RunStatus.QUEUED)
            house.hub.work(run.agent)
    if replay is None:
        return Retried(view, appended[-1][1])
    return Retried(view, await _last_retry(house, tenant_id, run_id), replayed=True, status=replay.status)


async def _last_retry(house: House, tenant_id: TenantId, run_id: RunId) -> int:
    found = await house.database.read(tenant_id, lambda tx: entries.retries(tx, tenant_id, run_id))
    return found[-1][0]


async def _demand_retryable(tx: Tx, run: Run) -> None:
    if run.status is not RunStatus.FAILED:
        raise Conflict(f"Only a failed run can be retried; this one is {run.status.value}.", code="not_failed")
    if run.imported:
        raise Conflict("The run was imported: it is there to be looked at, replayed and forked.", code="imported")
    last = await runs.last_of_thread(tx, run.tenant_id, run.thread_id)
    if run.undo is Undo.BEGUN:
        raise Conflict("What this run did was undone: start a new one.", code="moved_on")
    if last != run.id or run.parent_id is not None or run.successor_id is not None:
        raise Conflict(
            "Something has built on this run's failure already: a later run of the thread, or its parent.",
            code="moved_on",
        )


async def _entry(tx: Tx, run: Run, said: Overrides) -> NewEntry:
    """The entry that voids the step at which the run failed. A step that was never recorded needs no voiding."""
    failure: dict[str, Any] = decode(run.error) or {}
    key = failure.get("step")
    attempts: list[int] = []
    if key is not None:
        attempts = await entries.of_key(tx, run.tenant_id, run.id, key) or await _inherited(tx, run, key)
    voided = [[key, attempt] for attempt in attempts[-1:]]
    payload: dict[str, Any] = {"voided": voided, **({"edits": said.given} if said.given else {})}
    return NewEntry(type=EntryType.RUN_RETRIED, at=tx.now_ms, payload=encode(payload))


async def _inherited(tx: Tx, run: Run, key: str) -> list[int]:
    """The attempts of a step that a fork shares with the run it was made from, which failed there."""
    pieces = await lineage.of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ()
    for piece in reversed(pieces):
        if found := await entries.of_key(tx, run.tenant_id, piece.source_id, key):
            return found
    return []


# -- edits ------------------------------------------------------------------------------------------------------------


async def _demand_possible(tx: Tx, house: House, run: Run, last: int, edits: Edits) -> None:
    """`Invalid` for edits that this run cannot go on with; `last` is its last step."""
    changes_record = edits.changed_record
    if changes_record is not None:
        raise await _to_fork(tx, run, last, changes_record)
    if not edits.overrides.given:
        return
    if house.agent(run.agent).kind is AgentKind.WORKFLOW:
        raise Invalid(
            f"{run.agent!r} is a workflow: it asks no model itself, so it has no instructions and no model that could "
            "be others. Change its code, or the agents that it calls, and retry without edits.",
            code="edit_not_possible",
            field=("edits", next(iter(edits.overrides.given))),
        )


_PAGE: Final = 1_000


async def _to_fork(tx: Tx, run: Run, last: int, edit: str) -> Invalid:
    """What to do instead: the fork at the last good step, of those that have something of that name."""
    at = 0
    if edit != "message":
        page = await lineage.steps(tx, run, max(0, last - _PAGE), _PAGE, bare=True)
        good = [one.entry for one in page if one.entry.status is StepStatus.SUCCEEDED]
        fitting = [step.seq for step in good if _has(step, edit)]
        at = max((seq for seq in fitting if seq is not None), default=0)
    said = f"A retry goes on with what is recorded, and never changes it: {edit} would."
    if at == 0 and edit != "message":
        said += f" No step that went well has an {edit}; fork the run at 0 with another message, or start a new one."
        return Invalid(said, code="edit_needs_fork", field=("edits", edit), fork=None)
    called = f'POST /v1/runs/{text(RUN, run.id)}/fork with {{"at": {at}, "edits": {{"{edit}": …}}}}'
    instead = {"at": at, "edit": edit}
    said = f"{said} Fork the run instead: {called}."
    return Invalid(said, code="edit_needs_fork", field=("edits", edit), fork=instead)


def _has(step: Entry, edit: str) -> bool:
    try:
        demand_editable(step, edit)
    except Invalid:
        return False
    return True
