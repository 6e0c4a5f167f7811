"""Replay a recorded run with the code of this process.

A strict replay changes nothing but what is kept of it. So it takes the right to read runs and no more: nothing is sent
or written that a run could tell, and all that is shown of the run may be read with it. What it costs is bounded: a few
at a time in a process, each within its time. Those that make a run are in `service/live_replays.py`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import encode
from holdfast.domain.errors import Conflict, HoldfastError, NotFound, Unavailable
from holdfast.domain.ids import PrincipalId, ReplayId, RunId
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Mode, StoredReplay
from holdfast.domain.runs import Run
from holdfast.service import live_replays, recordings, runs
from holdfast.service.house import House, Replayer
from holdfast.service.idempotency import Key, Replay, answered, once
from holdfast.store import principals, replays
from holdfast.store.base import Tx

log = logging.getLogger("holdfast.replays")


@dataclass(frozen=True, slots=True)
class Asked:
    """A replay as it stands. `requester`: the name of who asked for it; `replayed` when an earlier request with the
    same key had asked for it; `waiting`: what the run that it made waits for."""

    replay: StoredReplay
    agent: str
    requester: str
    replayed: bool = False
    waiting: str | None = None


async def start(
    house: House,
    principal: Principal,
    run_id: RunId,
    key: Key | None = None,
    mode: Mode = Mode.STRICT,
    *,
    wait_ms: int = limits.REPLAY_WAIT_MS,
) -> Asked:
    """Replay a run, and wait for what comes of it, at most `wait_ms`; it goes on after that.

    A strict replay takes the right to read runs; one with recorded tools makes a run, and takes that to write them; a
    live one acts in the sandbox tenant, and takes an admin. Raises `NotFound` (`run_not_found`), `Refused`, `Conflict`
    (`agent_not_found`, `no_sandbox`, `not_started`, `agent_disabled`). Safe to repeat with a key.
    """
    access.demand(principal, Scope.RUNS_READ)
    run = await _run(house, principal, run_id)
    if house.agents.get(run.agent) is None or (mode is Mode.STRICT and house.replayer is None):
        raise Conflict(
            f"The agent {run.agent!r} is not in this process, so its code cannot be replayed here. Ask a process "
            "that serves it, or replay the run with the command: holdfast replay TARGET RUN",
            code="agent_not_found",
        )
    if mode is Mode.STRICT:
        replay_id, replayed = await _strict(house, principal, run, key, wait_ms)
    else:
        replay_id, replayed = await live_replays.make(house, principal, run, mode, key, wait_ms=wait_ms)
    stored = await _stored(house, principal, run_id, replay_id)
    found, waiting = await live_replays.settled(house, stored)
    if found.ended_at is not None and key is not None and not replayed:
        await house.database.write(principal.tenant_id, lambda tx: answered(tx, principal.tenant_id, key, 200))
    return Asked(found, run.agent, await _requester(house, found), replayed, waiting)


async def _strict(house: House, principal: Principal, run: Run, key: Key | None, wait_ms: int) -> tuple[ReplayId, bool]:
    """Begin to run the code, and wait: the id of the replay, and whether it had been asked for before."""
    replayer = house.replayer
    assert replayer is not None, "it was asked for before"
    recorded = await recordings.read(house, principal, run.id)
    asked = StoredReplay(
        tenant_id=principal.tenant_id,
        id=ReplayId(house.determinism.new_id()),
        run_id=run.id,
        requested_by=principal.id,
        isolation=replayer.isolation,
        recorded_version=recorded.version,
        current_version=house.agents[run.agent].version,
        result=None,
        error=None,
        created_at=0,
        ended_at=None,
    )

    async def body(tx: Tx) -> Replay | None:
        replay = await once(tx, principal.tenant_id, key, 202, asked.id)
        if replay is None:
            await replays.add(tx, replace(asked, created_at=tx.now_ms))
        return replay

    earlier = await house.database.write(principal.tenant_id, body)
    if earlier is not None:
        return ReplayId(earlier.resource), True
    task = replayer.begin(_conclude(house, replayer, asked, recorded))
    await asyncio.wait({task}, timeout=wait_ms / 1000)
    return asked.id, False


async def _conclude(house: House, replayer: Replayer, asked: StoredReplay, recorded: RecordedRun) -> None:
    """Replay, and keep what came of it. An edge: whatever goes wrong is recorded."""
    version, result, error = asked.current_version, None, None
    try:
        found = await replayer.replay(recorded)
        version, result = found.version, encode(found.result.to_json())
    except HoldfastError as exc:
        error = encode({"code": "replay_failed", "message": exc.message})
    except Exception as exc:
        log.exception("a replay failed")
        error = encode({"code": "replay_failed", "message": f"The replay failed: {type(exc).__name__}."})

    async def body(tx: Tx) -> None:
        await replays.end(tx, asked.tenant_id, asked.id, version, result, error)

    while True:
        try:
            await house.database.write(asked.tenant_id, body)
            return
        except Unavailable:
            await asyncio.sleep(limits.LAPSE_BACKOFF_MS / 1000)


async def get(house: House, principal: Principal, run_id: RunId, replay_id: ReplayId) -> Asked:
    """A replay as it stands, decided now if it can be. Raises `NotFound` (`run_not_found`, `replay_not_found`)."""
    access.demand(principal, Scope.RUNS_READ)
    run = await _run(house, principal, run_id)
    found, waiting = await live_replays.settled(house, await _stored(house, principal, run_id, replay_id))
    return Asked(found, run.agent, await _requester(house, found), waiting=waiting)


async def page(house: House, principal: Principal, run_id: RunId, before: bytes | None, limit: int) -> list[Asked]:
    """The replays of a run that are kept, newest first, from behind the id `before` on, each as `get` has it. Raises
    `NotFound`."""
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> tuple[Run, list[StoredReplay], dict[PrincipalId, str]]:
        run = await runs.demand(tx, tenant_id, run_id)
        found = await replays.of_run(tx, tenant_id, run_id, before, limit)
        return run, found, await principals.names(tx, tenant_id, {one.requested_by for one in found})

    run, found, names = await house.database.read(tenant_id, body)
    settled = [await live_replays.settled(house, one) for one in found]
    return [Asked(one, run.agent, names.get(one.requested_by, ""), waiting=waiting) for one, waiting in settled]


async def _requester(house: House, replay: StoredReplay) -> str:
    who = replay.requested_by
    names = await house.database.read(replay.tenant_id, lambda tx: principals.names(tx, replay.tenant_id, {who}))
    return names.get(who, "")


async def _run(house: House, principal: Principal, run_id: RunId) -> Run:
    """The run's row alone."""
    tenant_id = principal.tenant_id
    return await house.database.read(tenant_id, lambda tx: runs.demand(tx, tenant_id, run_id))


async def _stored(house: House, principal: Principal, run_id: RunId, replay_id: ReplayId) -> StoredReplay:
    tenant_id = principal.tenant_id
    found = await house.database.read(tenant_id, lambda tx: replays.get(tx, tenant_id, replay_id))
    if found is None or found.run_id != run_id:
        raise NotFound("There is no replay of this run with this id.", code="replay_not_found")
    return found


def is_lost(house: House, replay: StoredReplay) -> bool:
    """Whether it is under way no more, and nobody will say what came of it: its process ended. A run that a replay
    made has no process to lose."""
    if replay.mode is not Mode.STRICT or replay.ended_at is not None:
        return False
    patience_ms = limits.REPLAYS_AT_ONCE * (limits.REPLAY_MS + limits.REPLAY_PREPARE_MS)
    return house.database.about_now() - replay.created_at > patience_ms
