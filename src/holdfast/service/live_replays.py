"""Replays that make a run: the recorded one once more from its input, with today's model.

With recorded tools it is a fork at 0 beside the run. Live, the run is carried into the sandbox tenant, as an import is,
and forked there, so that nothing of it counts, shows or bills where it came from.

Nothing minds such a replay: the run that it made is durable, and whoever looks when that has ended, or waits, decides
and stores the verdict, once. Rejected: a loop for it, which would only find out sooner what nobody asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from holdfast.domain import access
from holdfast.domain.access import Principal, Scope
from holdfast.domain.approvals import WAITING_ON
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Conflict, NotFound, Refused
from holdfast.domain.forks import Fresh, Reads, Repeat
from holdfast.domain.ids import ReplayId, RunId, is_sandbox
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Mode, StoredReplay
from holdfast.domain.runs import Run, RunStatus, RunView
from holdfast.service import forks, importing, recordings, verdicts
from holdfast.service import runs as run_verbs
from holdfast.service.forks import ForkRun
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.store import replays
from holdfast.store.base import Tx

_PEOPLE = frozenset(WAITING_ON.values())


@dataclass(frozen=True, slots=True)
class _Plan:
    """A replay about to be made: who acts, in whose tenant, and the recorded run, if it has to be carried there."""

    mode: Mode
    actor: Principal
    run: Run
    version: str
    carried: RecordedRun | None


async def make(
    house: House, principal: Principal, run: Run, mode: Mode, key: Key | None, *, wait_ms: int
) -> tuple[ReplayId, bool]:
    """Make the run, and wait for it at most `wait_ms`: the id of the replay, and whether an earlier request with the
    same key had made it. Durable when this returns.

    Raises `Refused`, `Conflict` (`no_sandbox`, `not_started`, `agent_disabled`). Safe to repeat with a key.
    """
    access.demand(principal, Scope.RUNS_WRITE)
    plan = await _planned(house, principal, run, mode)
    replay_id, made_id = ReplayId(house.determinism.new_id()), RunId(house.determinism.new_id())
    made: Run | None = None

    async def body(tx: Tx) -> Replay | None:
        nonlocal made
        made = None
        replay = await once(tx, principal.tenant_id, key, 202, replay_id)
        if replay is None:
            made = await _insert(tx, house, plan, made_id)
            await replays.add(tx, _stored(tx, principal, plan, replay_id, made_id))
        return replay

    earlier = await house.database.write(None, body)  # of two tenants, where a run is carried
    if made is None:
        assert earlier is not None, "what was not made had been made before"
        return ReplayId(earlier.resource), True
    forks.announce(house, made)
    view = await run_verbs.look(house, plan.actor.tenant_id, made_id)
    await run_verbs.wait(house, plan.actor, view, wait_ms / 1000)
    return replay_id, False


async def _planned(house: House, principal: Principal, run: Run, mode: Mode) -> _Plan:
    version = house.agent(run.agent).version
    if run.input_position is None:
        raise Conflict("The run has not started: there is nothing to make again yet.", code="not_started")
    if mode is Mode.RECORDED_TOOLS:
        return _Plan(mode, principal, run, version, None)
    if not principal.is_admin:
        raise Refused(f"{principal.name} may not do this: a live replay acts in another tenant, as only an admin may.")
    if is_sandbox(principal.tenant_id):
        return _Plan(mode, principal, run, version, None)
    if house.sandbox is None:
        raise Conflict(
            "A live replay calls tools for real, so it needs a tenant in which nothing counts. Name one with "
            "HOLDFAST_SANDBOX_TENANT=sandbox, and let tools ask ctx.info.sandbox which accounts to use.",
            code="no_sandbox",
        )
    return _Plan(mode, house.sandbox, run, version, await recordings.read(house, principal, run.id))


async def _insert(tx: Tx, house: House, plan: _Plan, made_id: RunId) -> Run:
    source = plan.run.id
    metadata: dict[str, Any] | None = None
    if plan.carried is not None:
        source = RunId(house.determinism.new_id())
        await importing.carry(tx, house, plan.actor, plan.carried, source)
        metadata = decode(plan.carried.metadata) or {}
    ask = ForkRun(run_id=source, at=0, metadata=metadata, overrides=plan.run.overrides)
    if plan.mode is Mode.RECORDED_TOOLS:
        ask = replace(ask, repeat=Repeat.REUSE, new=Fresh.DENY, reads=Reads.REUSE, recorded=True)
    else:
        ask = replace(ask, repeat=Repeat.EXECUTE, new=Fresh.EXECUTE, reads=Reads.EXECUTE)
    return await forks.insert(tx, house, plan.actor, ask, made_id)


def _stored(tx: Tx, principal: Principal, plan: _Plan, replay_id: ReplayId, made_id: RunId) -> StoredReplay:
    return StoredReplay(
        tenant_id=principal.tenant_id,
        id=replay_id,
        run_id=plan.run.id,
        requested_by=principal.id,
        isolation=None,
        recorded_version=plan.run.agent_version,
        current_version=plan.version,
        result=None,
        error=None,
        created_at=tx.now_ms,
        ended_at=None,
        mode=plan.mode,
        made_tenant=plan.actor.tenant_id,
        made_run=made_id,
    )


# -- what came of it --------------------------------------------------------------------------------------------------


async def settled(house: House, replay: StoredReplay) -> tuple[StoredReplay, str | None]:
    """The replay, decided if that can be done by now; else what its run waits for, if it does. The first verdict
    stands, whoever asks and how often."""
    if replay.mode is Mode.STRICT or replay.ended_at is not None:
        return replay, None
    made = await _made(house, replay)
    version, result, error = replay.current_version, None, None
    if made is None:
        error = encode({"code": "replay_run_gone", "message": "The run that the replay made was deleted."})
    elif made.run.status is RunStatus.CANCELLED:
        error = encode({"code": "replay_failed", "message": "The run that the replay made was cancelled."})
    elif made.run.status.ended or (replay.mode is Mode.RECORDED_TOOLS and _waits_for_somebody(made.run)):
        found = await verdicts.of(house, replay.mode, made)
        if found is None:
            error = encode({"code": "replay_run_gone", "message": "The run that was replayed was deleted."})
        else:
            version, result = found.version, encode(found.result.to_json())
    else:
        return replay, _waiting(made.run)

    async def body(tx: Tx) -> StoredReplay | None:
        await replays.end(tx, replay.tenant_id, replay.id, version, result, error)
        return await replays.get(tx, replay.tenant_id, replay.id)

    return await house.database.write(replay.tenant_id, body) or replay, None


async def _made(house: House, replay: StoredReplay) -> RunView | None:
    tenant_id, run_id = replay.made_tenant, replay.made_run
    assert tenant_id is not None, "such a replay makes a run"
    assert run_id is not None, "in some tenant"
    try:
        view = await run_verbs.look(house, tenant_id, run_id)
    except NotFound:
        return None
    return None if view.run.archived else view


def _waits_for_somebody(made: Run) -> bool:
    """Whether nothing but somebody from outside can move it, or what it called, on."""
    waits = verdicts.waits_of(made)
    from_outside = [w for w in waits if w["type"] in _PEOPLE or (w["type"] == "event" and "due_at" not in w)]
    by_itself = [w for w in waits if w not in from_outside and w["type"] != "child"]
    return made.status is RunStatus.WAITING and bool(from_outside) and not by_itself


def _waiting(made: Run) -> str | None:
    if made.status is not RunStatus.WAITING:
        return None
    return f"The run that the replay made is waiting for {verdicts.waits_told(made)}."
