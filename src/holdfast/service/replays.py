"""Replay a recorded run with the code of this process. It changes nothing but what is kept of the replay itself.

It takes the right to read runs and no more: nothing is sent or written that a run could tell, and all that is shown of
the run may be read with it. What it costs is bounded: a few at a time in a process, each within its time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import encode
from holdfast.domain.errors import Conflict, HoldfastError, NotFound, Unavailable
from holdfast.domain.ids import ReplayId, RunId
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import StoredReplay
from holdfast.service import recordings, runs
from holdfast.service.house import House, Replayer
from holdfast.service.idempotency import Key, Replay, answered, once
from holdfast.store import replays
from holdfast.store.base import Tx

log = logging.getLogger("holdfast.replays")


@dataclass(frozen=True, slots=True)
class Asked:
    """A replay as it stands; `replayed` when an earlier request with the same key had asked for it."""

    replay: StoredReplay
    agent: str
    replayed: bool = False


async def start(
    house: House, principal: Principal, run_id: RunId, key: Key | None = None, *, wait_ms: int = limits.REPLAY_WAIT_MS
) -> Asked:
    """Replay a run, and wait for what comes of it, at most `wait_ms`; it goes on after that.

    Raises `NotFound` (`run_not_found`), `Conflict` (`agent_not_found`, `replay_failed`). Safe to repeat with a key.
    """
    access.demand(principal, Scope.RUNS_READ)
    recorded = await recordings.read(house, principal, run_id)
    agent = house.agents.get(recorded.agent)
    if agent is None or house.replayer is None:
        raise Conflict(
            f"The agent {recorded.agent!r} is not in this process, so its code cannot be replayed here. Ask a process "
            "that serves it, or replay the run with the command: holdfast replay TARGET RUN",
            code="agent_not_found",
        )
    asked = StoredReplay(
        tenant_id=principal.tenant_id,
        id=ReplayId(house.determinism.new_id()),
        run_id=run_id,
        requested_by=principal.id,
        isolation=house.replayer.isolation,
        recorded_version=recorded.version,
        current_version=agent.version,
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
        return Asked(await _get(house, principal, run_id, ReplayId(earlier.resource)), recorded.agent, replayed=True)
    task = house.replayer.begin(_conclude(house, house.replayer, asked, recorded))
    await asyncio.wait({task}, timeout=wait_ms / 1000)
    found = await _get(house, principal, run_id, asked.id)
    if found.ended_at is not None and key is not None:
        await house.database.write(principal.tenant_id, lambda tx: answered(tx, principal.tenant_id, key, 200))
    return Asked(found, recorded.agent)


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
    """A replay as it stands. Raises `NotFound` (`run_not_found`, `replay_not_found`)."""
    access.demand(principal, Scope.RUNS_READ)
    view = await runs.get(house, principal, run_id)
    return Asked(await _get(house, principal, run_id, replay_id), view.run.agent)


async def _get(house: House, principal: Principal, run_id: RunId, replay_id: ReplayId) -> StoredReplay:
    tenant_id = principal.tenant_id
    found = await house.database.read(tenant_id, lambda tx: replays.get(tx, tenant_id, replay_id))
    if found is None or found.run_id != run_id:
        raise NotFound("There is no replay of this run with this id.", code="replay_not_found")
    return found


def is_lost(house: House, replay: StoredReplay) -> bool:
    """Whether it is under way no more, and nobody will say what came of it: its process ended."""
    patience_ms = limits.REPLAYS_AT_ONCE * (limits.REPLAY_MS + limits.REPLAY_PREPARE_MS)
    return replay.ended_at is None and house.database.about_now() - replay.created_at > patience_ms
