"""Runs: insertion, the transitions of a run's life, and views of it. Each transition is one function.

A run is *claimable* exactly while it is queued and the oldest of its thread that has not ended; `claimable_at` says
from when on. `promote` keeps that true whenever a run ends. Callers hold the locks that `heads.py` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import and_, bindparam, case, func, insert, or_, select, text, update

from holdfast.domain.ids import PrincipalId, RunId, TenantId, ThreadId, first_of
from holdfast.domain.journal import Phase
from holdfast.domain.limits import CLOCKS_APART_MS, LISTED_BYTES_MAX
from holdfast.domain.previews import BEGINNING_BYTES
from holdfast.domain.runs import OnBusy, Run, RunStatus, RunView, Undo, Usage, may_become
from holdfast.store import schema, threads
from holdfast.store.base import Row, Tx

_r = schema.runs.c
_THIS = (_r.tenant_id == bindparam("b_tenant_id"), _r.id == bindparam("b_id"))
_COLUMNS = tuple(schema.runs.c)


def _run(row: Row) -> Run:
    (
        tenant_id, id, thread_id, status, agent, acting_agent, agent_version, initiator, root_id, parent_id, parent_key,
        depth, external_id, rank, ordinal, input_position, start_after, claimable_at, wake_at, on_busy_applied,
        rollback, limits, deadline, metadata, tags, waiting_on, cancel_requested_at, cancel_reason, error, output_pos,
        requests, input_tokens, output_tokens, cost_micros, priced, trace_id, created_at, started_at, ended_at,
        successor_id, compensate, forked_run, forked_at, input_run, branch, overrides, effect_policy, has_state,
        imported, archived,
    ) = row[: len(_COLUMNS)]  # fmt: skip
    return Run(
        tenant_id, id, thread_id, RunStatus(status), agent, acting_agent, agent_version, initiator, root_id, parent_id,
        parent_key, depth, external_id, rank, ordinal, input_position, start_after, claimable_at, wake_at,
        OnBusy(on_busy_applied) if on_busy_applied else None, bool(rollback), limits, deadline, metadata, tags,
        waiting_on, cancel_requested_at, cancel_reason, error, output_pos,
        Usage(requests, input_tokens, output_tokens, cost_micros, bool(priced)),
        trace_id, created_at, started_at, ended_at, successor_id, Undo(compensate or 0), forked_run, forked_at,
        input_run, bool(branch), overrides, effect_policy, bool(has_state), bool(imported), bool(archived),
    )  # fmt: skip


_INSERT = insert(schema.runs).values({c.name: bindparam(c.name) for c in schema.runs.c})
_INSERT_TAG = insert(schema.run_tags).values({c.name: bindparam(c.name) for c in schema.run_tags.c})


async def add(tx: Tx, run: Run, tags: Sequence[str] = ()) -> None:
    """Insert a run. The caller holds the thread's lock and adds head and first entry in the same transaction."""
    u = run.usage
    row = (
        run.tenant_id, run.id, run.thread_id, run.status.value, run.agent, run.acting_agent, run.agent_version,
        run.initiator, run.root_id, run.parent_id, run.parent_key, run.depth, run.external_id, run.rank, run.ordinal,
        run.input_position, run.start_after, run.claimable_at, run.wake_at,
        run.on_busy_applied.value if run.on_busy_applied else None, int(run.rollback), run.limits, run.deadline,
        run.metadata, run.tags, run.waiting_on, run.cancel_requested_at, run.cancel_reason,
        run.error, run.output_pos, u.requests, u.input_tokens, u.output_tokens, u.cost_micros, int(u.priced),
        run.trace_id, run.created_at, run.started_at, run.ended_at, run.successor_id, run.undo or None, run.forked_run,
        run.forked_at, run.input_run, int(run.branch) or None, run.overrides, run.effect_policy,
        int(run.has_state) or None, int(run.imported) or None, int(run.archived) or None,
    )  # fmt: skip
    await tx.insert_many(_INSERT, [row])
    if tags:
        await tx.execute_many(_INSERT_TAG, [{"tenant_id": run.tenant_id, "tag": t, "run_id": run.id} for t in tags])


_GET = select(*_COLUMNS).where(*_THIS)


async def get(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Run | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_id": run_id})
    return None if row is None else _run(row)


# -- transitions ------------------------------------------------------------------------------------------------

_START = (
    update(schema.runs)
    .where(*_THIS, _r.status == RunStatus.QUEUED.value, _r.claimable_at.is_not(None))
    .values(
        status=RunStatus.RUNNING.value,
        claimable_at=None,
        waiting_on=None,
        started_at=func.coalesce(_r.started_at, bindparam("b_now")),
        ordinal=func.coalesce(_r.ordinal, bindparam("b_ordinal")),
        input_position=func.coalesce(_r.input_position, bindparam("b_input_position")),
        agent_version=bindparam("b_version"),
    )
    .returning(*_COLUMNS)
)


async def start(tx: Tx, run: Run, version: str, ordinal: int | None, input_position: int | None = None) -> Run | None:
    """queued → running. None if it is no longer claimable. A first start gives the run its ordinal, and its input its
    position among the thread's messages."""
    row = await tx.first(
        _START,
        {
            "b_tenant_id": run.tenant_id,
            "b_id": run.id,
            "b_now": tx.now_ms,
            "b_ordinal": ordinal,
            "b_input_position": input_position,
            "b_version": version,
        },
    )
    return None if row is None else _run(row)


_END = (
    update(schema.runs)
    .where(*_THIS, _r.ended_at.is_(None))
    .values(
        status=bindparam("b_status"),
        ended_at=bindparam("b_now"),
        claimable_at=None,
        wake_at=None,
        waiting_on=None,
        error=bindparam("b_error"),
        output_pos=bindparam("b_output_pos"),
        successor_id=bindparam("b_successor"),
    )
    .returning(_r.status)
)
_OUTPUT_POS = (
    select(schema.entries.c.pos)
    .where(
        schema.entries.c.tenant_id == bindparam("b_tenant_id"),
        schema.entries.c.run_id == bindparam("b_id"),
        schema.entries.c.key == bindparam("b_key"),
        schema.entries.c.phase == Phase.RESULT.value,
    )
    .order_by(schema.entries.c.attempt.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a run ends. The output stands in the step `output_key`, or in the entry at `output_pos`, or there is none;
    `output_here` is for the journal's batch, which alone knows the place of the run's last entry."""

    status: RunStatus
    error: bytes | None = None
    output_key: str | None = None
    output_pos: int | None = None
    output_here: bool = False
    successor: RunId | None = None


async def end(tx: Tx, tenant_id: TenantId, run_id: RunId, before: RunStatus, ending: End) -> None:
    """→ succeeded, failed or cancelled. `before` is what the caller read under the head's lock."""
    assert may_become(before, ending.status), (before, ending.status)
    output_pos = ending.output_pos
    if ending.output_key is not None:
        row = await tx.first(_OUTPUT_POS, {"b_tenant_id": tenant_id, "b_id": run_id, "b_key": ending.output_key})
        assert row is not None, f"the output's step {ending.output_key} is not in the journal"
        output_pos = row[0]
    ended = await tx.first(
        _END,
        {
            "b_tenant_id": tenant_id,
            "b_id": run_id,
            "b_status": ending.status.value,
            "b_now": tx.now_ms,
            "b_error": ending.error,
            "b_output_pos": output_pos,
            "b_successor": ending.successor,
        },
    )
    assert ended is not None, "a run ends once"


_USAGE = (
    update(schema.runs)
    .where(*_THIS)
    .values(
        usage_requests=bindparam("b_requests"),
        usage_input_tokens=bindparam("b_input_tokens"),
        usage_output_tokens=bindparam("b_output_tokens"),
        usage_cost_micros=bindparam("b_cost_micros"),
        usage_priced=bindparam("b_priced"),
        acting_agent=bindparam("b_acting_agent"),
    )
)


async def set_usage(tx: Tx, tenant_id: TenantId, run_id: RunId, usage: Usage, acting_agent: str) -> None:
    await tx.execute(
        _USAGE,
        {
            "b_tenant_id": tenant_id,
            "b_id": run_id,
            "b_requests": usage.requests,
            "b_input_tokens": usage.input_tokens,
            "b_output_tokens": usage.output_tokens,
            "b_cost_micros": usage.cost_micros,
            "b_priced": int(usage.priced),
            "b_acting_agent": acting_agent,
        },
    )


_PARK = (
    update(schema.runs)
    .where(*_THIS, _r.status == RunStatus.RUNNING.value)
    .values(status=RunStatus.WAITING.value, waiting_on=bindparam("b_waiting_on"), wake_at=bindparam("b_wake_at"))
)


async def park(tx: Tx, tenant_id: TenantId, run_id: RunId, waiting_on: bytes, wake_at: int | None) -> None:
    """running → waiting."""
    changed = await tx.execute(
        _PARK, {"b_tenant_id": tenant_id, "b_id": run_id, "b_waiting_on": waiting_on, "b_wake_at": wake_at}
    )
    assert changed == 1, "only a running run parks"


_QUEUE = (
    update(schema.runs)
    .where(*_THIS, _r.status == bindparam("b_before"))
    .values(
        status=RunStatus.QUEUED.value,
        claimable_at=bindparam("b_at"),
        wake_at=None,
        waiting_on=None,
        ended_at=None,
        error=None,
        output_pos=None,
    )
)


async def requeue(tx: Tx, tenant_id: TenantId, run_id: RunId, before: RunStatus, *, at: int) -> bool:
    """running, waiting or failed → queued, claimable from `at`. It holds its thread all the while."""
    assert may_become(before, RunStatus.QUEUED), before
    return bool(
        await tx.execute(_QUEUE, {"b_tenant_id": tenant_id, "b_id": run_id, "b_before": before.value, "b_at": at})
    )


_ASK_CANCEL = (
    update(schema.runs)
    .where(*_THIS, _r.ended_at.is_(None))
    .values(
        cancel_requested_at=func.coalesce(_r.cancel_requested_at, bindparam("b_now")),
        cancel_reason=func.coalesce(_r.cancel_reason, bindparam("b_reason")),
        rollback=bindparam("b_rollback"),
        compensate=bindparam("b_compensate"),
    )
)


async def ask_cancel(tx: Tx, run: Run, reason: str | None, *, rollback: bool = False, undo: bool = False) -> None:
    """Note that the run should stop, and whether what it did should be undone; its status stays until somebody ends
    it."""
    await tx.execute(
        _ASK_CANCEL,
        {
            "b_tenant_id": run.tenant_id,
            "b_id": run.id,
            "b_now": tx.now_ms,
            "b_reason": reason,
            "b_rollback": int(rollback or run.rollback),
            "b_compensate": max(run.undo, Undo.ASKED if undo else Undo.NO) or None,
        },
    )


_UNDOING = update(schema.runs).where(*_THIS).values(compensate=int(Undo.BEGUN))


async def begin_undo(tx: Tx, tenant_id: TenantId, run_id: RunId) -> None:
    """From now on the run undoes what it did, and then ends as its journal says."""
    await tx.execute(_UNDOING, {"b_tenant_id": tenant_id, "b_id": run_id})


_FORGET_CANCEL = update(schema.runs).where(*_THIS).values(cancel_requested_at=None, cancel_reason=None, rollback=0)
_SOFTEN = (
    update(schema.runs)
    .where(
        _r.tenant_id == bindparam("b_tenant_id"),
        _r.thread_id == bindparam("b_thread_id"),
        _r.ended_at.is_(None),
        _r.on_busy_applied == OnBusy.ROLLBACK.value,
    )
    .values(on_busy_applied=bindparam("b_applied"))
)
_SET_OVERRIDES = update(schema.runs).where(*_THIS).values(overrides=bindparam("b_overrides"))
_SET_LIMITS = (
    update(schema.runs)
    .where(*_THIS)
    .values(
        limits=bindparam("b_limits"),
        deadline=bindparam("b_deadline"),
        cancel_requested_at=None,
        cancel_reason=None,
    )
)
_SET_TIMES = update(schema.runs).where(*_THIS).values(claimable_at=bindparam("b_at"))
_NEXT = (
    select(_r.id, _r.status, _r.start_after, _r.claimable_at, _r.agent)
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_thread_id"), _r.ended_at.is_(None))
    .order_by(_r.rank)
    .limit(1)
)


async def forget_cancel(tx: Tx, tenant_id: TenantId, run_id: RunId) -> None:
    """A run that is retried was not asked to stop, whatever was asked of it before it failed."""
    await tx.execute(_FORGET_CANCEL, {"b_tenant_id": tenant_id, "b_id": run_id})


async def soften_rollbacks(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, applied: OnBusy) -> None:
    """The runs that asked for a rollback of this thread's holder did not get one: note what was applied instead."""
    await tx.execute(_SOFTEN, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_applied": applied.value})


async def set_limits(tx: Tx, tenant_id: TenantId, run_id: RunId, limits: bytes | None, deadline: int | None) -> None:
    """The limits under which a retried run goes on."""
    await tx.execute(
        _SET_LIMITS, {"b_tenant_id": tenant_id, "b_id": run_id, "b_limits": limits, "b_deadline": deadline}
    )


async def set_overrides(tx: Tx, tenant_id: TenantId, run_id: RunId, overrides: bytes | None) -> None:
    """With what the model calls of a retried run are made."""
    await tx.execute(_SET_OVERRIDES, {"b_tenant_id": tenant_id, "b_id": run_id, "b_overrides": overrides})


async def promote(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> RunId | None:
    """After a run of the thread ended: the oldest left becomes claimable, if it is queued. Which one, if any."""
    row = await tx.first(_NEXT, {"b_tenant_id": tenant_id, "b_thread_id": thread_id})
    if row is None or row[1] != RunStatus.QUEUED or row[3] is not None:
        return None
    at = max(tx.now_ms, row[2] or 0)
    await tx.execute(_SET_TIMES, {"b_tenant_id": tenant_id, "b_id": row[0], "b_at": at})
    return row[0]


# -- finding work -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    tenant_id: TenantId
    run_id: RunId
    thread_id: ThreadId
    agent: str
    started: bool


Pins = tuple[tuple[str, str], ...]
"""Agents whose runs go on only under the version they began with, and the version that this worker has of them."""


@lru_cache(maxsize=64)
def _claimable(agents: tuple[str, ...], pins: Pins, *, suspects: bool) -> Any:
    """SELECT … WHERE claimable_at <= :now AND agent IN (…) ORDER BY claimable_at LIMIT :n, on ix_runs_claimable."""
    h = schema.run_heads.c
    foreign = [and_(_r.agent == agent, _r.started_at.is_not(None), _r.agent_version != v) for agent, v in pins]
    switch = schema.agents.c
    off = select(switch.id).where(switch.tenant_id == _r.tenant_id, switch.id == _r.agent, switch.enabled == 0)
    suspect = h.lapses >= bindparam("b_lapses_alone")
    return (
        select(_r.tenant_id, _r.id, _r.thread_id, _r.agent, _r.started_at)
        .select_from(schema.runs.join(schema.run_heads, and_(h.tenant_id == _r.tenant_id, h.run_id == _r.id)))
        .where(_r.claimable_at <= bindparam("b_now"), _r.agent.in_(agents), suspect if suspects else ~suspect)
        .where(~off.exists(), *(~one for one in foreign))
        .order_by(_r.claimable_at)
        .limit(bindparam("b_limit"))
    )


async def claimable(
    tx: Tx, agents: Sequence[str], *, limit: int, lapses_alone: int, pins: Pins = ()
) -> list[Candidate]:
    """Runs that may be claimed now, longest due first, unlocked: check again under the lock.

    Left out: runs of agents that are switched off, and runs that began under another version of a pinned agent.
    """
    return await _candidates(tx, agents, False, tx.now_ms, limit, lapses_alone, pins)


async def suspects(
    tx: Tx, agents: Sequence[str], *, limit: int, lapses_alone: int, waiting_ms: int, pins: Pins = ()
) -> list[Candidate]:
    """The same for runs whose workers died under them `lapses_alone` times in a row, due for `waiting_ms` at least."""
    return await _candidates(tx, agents, True, tx.now_ms - waiting_ms, limit, lapses_alone, pins)


async def _candidates(
    tx: Tx, agents: Sequence[str], suspects: bool, due_at: int, limit: int, lapses_alone: int, pins: Pins
) -> list[Candidate]:
    statement = _claimable(tuple(sorted(agents)), pins, suspects=suspects)
    rows = await tx.all(statement, {"b_now": due_at, "b_limit": limit, "b_lapses_alone": lapses_alone})
    return [Candidate(row[0], row[1], row[2], row[3], row[4] is not None) for row in rows]


@lru_cache(maxsize=64)
def _next_claimable(agents: tuple[str, ...]) -> Any:
    return select(func.min(_r.claimable_at)).where(_r.claimable_at > bindparam("b_now"), _r.agent.in_(agents))


async def next_claimable_at(tx: Tx, agents: Sequence[str]) -> int | None:
    """When the next queued run falls due, if one has a time to wait for."""
    row = await tx.first(_next_claimable(tuple(sorted(agents))), {"b_now": tx.now_ms})
    return row[0] if row else None


_DUE = (
    select(_r.tenant_id, _r.id, _r.thread_id, _r.agent, _r.started_at)
    .where(_r.wake_at <= bindparam("b_now"))
    .order_by(_r.wake_at)
    .limit(bindparam("b_limit"))
)
_NEXT_DUE = select(func.min(_r.wake_at)).where(_r.wake_at.is_not(None))
_OVERDUE = (
    select(_r.tenant_id, _r.id, _r.thread_id, _r.agent, _r.started_at)
    .where(
        _r.deadline <= bindparam("b_now"),
        _r.ended_at.is_(None),
        _r.status.in_([RunStatus.QUEUED.value, RunStatus.WAITING.value]),
        func.coalesce(_r.compensate, int(Undo.NO)) != int(Undo.BEGUN),
    )
    .order_by(_r.deadline, _r.id)
    .limit(bindparam("b_limit"))
    .offset(bindparam("b_skip"))
)


async def due(tx: Tx, limit: int) -> list[Candidate]:
    """Waiting runs whose timer has come. Index ix_runs_wake_at."""
    rows = await tx.all(_DUE, {"b_now": tx.now_ms, "b_limit": limit})
    return [Candidate(row[0], row[1], row[2], row[3], row[4] is not None) for row in rows]


async def next_due_at(tx: Tx) -> int | None:
    row = await tx.first(_NEXT_DUE)
    return row[0] if row else None


async def overdue(tx: Tx, limit: int, skip: int = 0) -> list[Candidate]:
    """Queued and waiting runs past their calendar deadline, but not those that undo what they did: they end after
    that. Index ix_runs_deadline."""
    rows = await tx.all(_OVERDUE, {"b_now": tx.now_ms, "b_limit": limit, "b_skip": skip})
    return [Candidate(row[0], row[1], row[2], row[3], row[4] is not None) for row in rows]


# -- views ------------------------------------------------------------------------------------------------------

_e_in = schema.entries.alias("e_in")
_e_out = schema.entries.alias("e_out")
_b_in = schema.blobs.alias("b_in")
_b_out = schema.blobs.alias("b_out")
_h = schema.run_heads.c
_FROM = (
    schema.runs.join(schema.run_heads, and_(_h.tenant_id == _r.tenant_id, _h.run_id == _r.id))
    .outerjoin(
        _e_in,
        and_(
            _e_in.c.tenant_id == _r.tenant_id,
            _e_in.c.run_id == func.coalesce(_r.input_run, _r.id),
            _e_in.c.pos == 1,
        ),
    )
    .outerjoin(_b_in, and_(_b_in.c.tenant_id == _r.tenant_id, _b_in.c.hash == _e_in.c.payload_blob))
    .outerjoin(
        _e_out, and_(_e_out.c.tenant_id == _r.tenant_id, _e_out.c.run_id == _r.id, _e_out.c.pos == _r.output_pos)
    )
    .outerjoin(_b_out, and_(_b_out.c.tenant_id == _r.tenant_id, _b_out.c.hash == _e_out.c.payload_blob))
)
_INPUT = func.coalesce(_e_in.c.payload, _b_in.c.data)
_OUTPUT = func.coalesce(_e_out.c.payload, _b_out.c.data)
_VIEWED = (*_COLUMNS, _INPUT, _OUTPUT, _e_out.c.kind, _h.epoch, _h.pos, _h.seq)
_LISTED = (
    *_COLUMNS,
    case((func.length(_INPUT) <= LISTED_BYTES_MAX, _INPUT)),
    case((func.length(_OUTPUT) <= LISTED_BYTES_MAX, _OUTPUT)),
    _e_out.c.kind,
    _h.epoch,
    _h.pos,
    _h.seq,
    func.length(_INPUT),
    case((func.length(_INPUT) > LISTED_BYTES_MAX, func.substr(_INPUT, 1, BEGINNING_BYTES))),
    func.length(_OUTPUT),
    case((func.length(_OUTPUT) > LISTED_BYTES_MAX, func.substr(_OUTPUT, 1, BEGINNING_BYTES))),
)
_VIEW = select(*_VIEWED).select_from(_FROM).where(*_THIS, _r.archived.is_(None))
_BY_EXTERNAL = (
    select(*_VIEWED)
    .select_from(_FROM)
    .where(
        _r.archived.is_(None), _r.tenant_id == bindparam("b_tenant_id"), _r.external_id == bindparam("b_external_id")
    )
)


@dataclass(frozen=True, slots=True)
class Large:
    """A stored value that was not read: how many bytes it is, and the first of them."""

    bytes: int
    beginning: bytes


@dataclass(frozen=True, slots=True)
class StoredView:
    """A run with input and output as stored; `output_is_message` when the output is a model message's text. A page has
    none of them that is larger than `LISTED_BYTES_MAX`."""

    view: RunView
    output_is_message: bool
    input_large: Large | None = None
    output_large: Large | None = None


def _view(row: Row) -> StoredView:
    tail = row[len(_COLUMNS) :]
    view = RunView(_run(row), tail[0] or b"null", tail[1], tail[3], tail[4], tail[5])
    return StoredView(view, tail[2] == "model")


def _listed(row: Row) -> StoredView:
    input_bytes, input_begins, output_bytes, output_begins = row[len(_VIEWED) :]
    return replace(
        _view(row),
        input_large=None if input_begins is None else Large(input_bytes, input_begins),
        output_large=None if output_begins is None else Large(output_bytes, output_begins),
    )


async def view(tx: Tx, tenant_id: TenantId, run_id: RunId) -> StoredView | None:
    row = await tx.first(_VIEW, {"b_tenant_id": tenant_id, "b_id": run_id})
    return None if row is None else _view(row)


async def by_external_id(tx: Tx, tenant_id: TenantId, external_id: str) -> StoredView | None:
    row = await tx.first(_BY_EXTERNAL, {"b_tenant_id": tenant_id, "b_external_id": external_id})
    return None if row is None else _view(row)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows, newest first. `before` is the id after which the page starts."""

    agent: str | None = None
    thread_id: ThreadId | None = None
    status: tuple[RunStatus, ...] = ()
    tag: str | None = None
    version: str | None = None
    principal_id: PrincipalId | None = None
    parent_id: RunId | None = None
    forked_run: RunId | None = None
    external_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    include_children: bool = False
    forked: bool | None = None
    imported: bool | None = None
    before: bytes | None = None
    limit: int = 50


def _wanted(tenant_id: TenantId, f: RunFilter) -> list[Any]:
    """All but what `_parts` and the page's place add."""
    where: list[Any] = [_r.tenant_id == tenant_id, _r.archived.is_(None)]
    for column, value in (
        (_r.forked_run, f.forked_run),
        (_r.agent, f.agent),
        (_r.thread_id, f.thread_id),
        (_r.agent_version, f.version),
        (_r.initiator, f.principal_id),
        (_r.parent_id, f.parent_id),
        (_r.external_id, f.external_id),
    ):
        if value is not None:
            where.append(column == value)
    for column, wanted in ((_r.forked_run, f.forked), (_r.imported, f.imported)):
        if wanted is not None:
            where.append(column.is_not(None) if wanted else column.is_(None))
    if f.created_after is not None:
        where.append(_r.created_at > f.created_after)
    if f.created_before is not None:
        where.append(_r.created_at < f.created_before)
    if not _with_children(f):
        where.append(_r.parent_id.is_(None))
    return where


def _with_children(f: RunFilter) -> bool:
    return f.include_children or f.parent_id is not None or f.thread_id is not None


_NEWEST_CHILD = (_r.created_at.desc(), _r.id.desc())  # their ids follow from their parent's, not from the time


def _older_than(tenant_id: TenantId, run_id: bytes) -> Any:
    its = schema.runs.alias("its")
    created_at = select(its.c.created_at).where(its.c.tenant_id == tenant_id, its.c.id == run_id).scalar_subquery()
    return or_(_r.created_at < created_at, and_(_r.created_at == created_at, _r.id < run_id))


async def page(tx: Tx, tenant_id: TenantId, wanted: RunFilter) -> list[StoredView]:
    """A page of runs, newest first, without large inputs and outputs. The ids are found first, so that payloads are
    read for one page only."""
    found = await _page_ids(tx, tenant_id, wanted)
    if not found:
        return []
    order = (_r.id.desc(),) if wanted.parent_id is None else _NEWEST_CHILD
    query = select(*_LISTED).select_from(_FROM).where(_r.tenant_id == tenant_id, _r.id.in_(found)).order_by(*order)
    return [_listed(row) for row in await tx.all(query)]


async def _page_ids(tx: Tx, tenant_id: TenantId, f: RunFilter) -> list[RunId]:
    """The ids of a page. Each part is read from an index in order, and stops at the page's end: what a page costs does
    not depend on how many runs fit."""
    where = _wanted(tenant_id, f)
    if f.parent_id is not None:
        where += [] if f.before is None else [_older_than(tenant_id, f.before)]
        where += [_r.status.in_([s.value for s in f.status])] if f.status else []
        query = select(_r.id).where(*where).order_by(*_NEWEST_CHILD).limit(f.limit)
        return [row[0] for row in await tx.all(query)]
    found: set[RunId] = set()
    for part in _parts(f):
        found.update(row[0] for row in await tx.all(_part(tenant_id, f, [*where, *part])))
    return sorted(found, reverse=True)[: f.limit]


def _part(tenant_id: TenantId, f: RunFilter, where: list[Any]) -> Any:
    """SELECT id … ORDER BY id DESC LIMIT …, on the primary key, ix_runs_status or ix_runs_agent, ix_runs_initiator or
    ix_runs_version, ix_runs_forks or ix_runs_imported; of a tag on the key of its table, which has the runs of each in
    order too."""
    query, id = select(_r.id), _r.id
    if f.tag is not None:
        t = schema.run_tags.c
        id = t.run_id
        query = select(id).select_from(
            schema.run_tags.join(schema.runs, and_(_r.tenant_id == t.tenant_id, _r.id == t.run_id))
        )
        where = [*where, t.tenant_id == tenant_id, t.tag == f.tag]
    if f.before is not None:
        where = [*where, id < f.before]
    if f.created_after is not None and not _with_children(f):  # a child's id is as old as its parent's
        where = [*where, id >= first_of(f.created_after - CLOCKS_APART_MS)]
    return query.where(*where).order_by(id.desc()).limit(f.limit)


def _parts(f: RunFilter) -> list[list[Any]]:
    """The runs that fit, in parts each of which an index has in order: by status, and those that were imported apart
    from the others, since their ids are younger than they."""
    by_status: list[list[Any]] = [[]]
    alone = (f.tag, f.thread_id, f.external_id, f.version)  # each of these has an index that is narrow enough
    if all(one is None for one in alone) and (f.status or f.agent is not None):
        by_status = [[_r.status == status.value] for status in f.status or RunStatus]
    elif f.status:
        by_status = [[_r.status.in_([s.value for s in f.status])]]
    if f.created_before is None:
        return by_status
    own = [] if f.imported else [[*p, _r.id < first_of(f.created_before + CLOCKS_APART_MS)] for p in by_status]
    foreign = [] if f.imported is False else [[*p, _r.imported.is_not(None)] for p in by_status]
    return own + foreign


_BEFORE_ME = select(func.count(), func.min(_r.rank)).where(
    _r.tenant_id == bindparam("b_tenant_id"),
    _r.thread_id == bindparam("b_thread_id"),
    _r.ended_at.is_(None),
    _r.rank < bindparam("b_rank"),
)
_BY_RANK = select(_r.id).where(
    _r.tenant_id == bindparam("b_tenant_id"),
    _r.thread_id == bindparam("b_thread_id"),
    _r.rank == bindparam("b_rank"),
)


async def ahead(tx: Tx, run: Run) -> tuple[int, RunId | None]:
    """How many runs of the thread go first, and which of them holds it. Index ix_runs_thread_live."""
    where = {"b_tenant_id": run.tenant_id, "b_thread_id": run.thread_id}
    row = await tx.first(_BEFORE_ME, {**where, "b_rank": run.rank})
    if row is None or not row[0]:
        return 0, None
    holder = await tx.first(_BY_RANK, {**where, "b_rank": row[1]})
    return row[0], holder[0] if holder else None


# Through ended children too: one that failed may have left a child of its own alive.
_CHILDREN_OPEN = text(
    "WITH RECURSIVE below(id, thread_id, ended_at) AS ("
    " SELECT id, thread_id, ended_at FROM runs WHERE tenant_id = :tenant_id AND parent_id = :run_id"
    " UNION ALL"
    " SELECT r.id, r.thread_id, r.ended_at FROM runs r JOIN below b ON r.parent_id = b.id"
    " WHERE r.tenant_id = :tenant_id"
    ") SELECT id, thread_id FROM below WHERE ended_at IS NULL"
)


async def descendants_alive(tx: Tx, tenant_id: TenantId, run_id: RunId) -> list[tuple[RunId, ThreadId]]:
    """Child runs, of any depth, that have not ended. Index ix_runs_parent."""
    rows = await tx.all(_CHILDREN_OPEN, {"tenant_id": tenant_id, "run_id": run_id})
    return [(row[0], row[1]) for row in rows]


_CHILDREN = select(_r.id).where(
    _r.tenant_id == bindparam("b_tenant_id"), _r.parent_id == bindparam("b_id"), _r.archived.is_(None)
)
_KNOWN = select(_r.id).where(_r.tenant_id == bindparam("b_tenant_id"), _r.archived.is_(None))


async def children(tx: Tx, tenant_id: TenantId, parent_id: RunId) -> set[RunId]:
    """The runs that this one started. Index ix_runs_parent."""
    return {row[0] for row in await tx.all(_CHILDREN, {"b_tenant_id": tenant_id, "b_id": parent_id})}


_SPENT_BELOW = text(
    "WITH RECURSIVE below(top, id) AS ("
    " SELECT id, id FROM runs WHERE tenant_id = :tenant_id AND parent_id = :run_id"
    " UNION ALL"
    " SELECT b.top, r.id FROM runs r JOIN below b ON r.parent_id = b.id WHERE r.tenant_id = :tenant_id"
    ") SELECT b.top, sum(r.usage_input_tokens), sum(r.usage_output_tokens), sum(r.usage_cost_micros)"
    " FROM below b JOIN runs r ON r.tenant_id = :tenant_id AND r.id = b.id GROUP BY b.top"
)


async def spent_below(tx: Tx, tenant_id: TenantId, parent_id: RunId) -> dict[RunId, tuple[int, int, int]]:
    """What each run that this one started used, with all below it: tokens in and out, cost. Index ix_runs_parent."""
    rows = await tx.all(_SPENT_BELOW, {"tenant_id": tenant_id, "run_id": parent_id})
    return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in rows}


async def known_among(tx: Tx, tenant_id: TenantId, ids: Sequence[RunId]) -> set[RunId]:
    """Which of these there are."""
    rows = await tx.all(_KNOWN.where(_r.id.in_(list(ids))), {"b_tenant_id": tenant_id}) if ids else []
    return {row[0] for row in rows}


_ENDED = select(_r.id).where(*_THIS, _r.ended_at.is_not(None))


async def ended_among(tx: Tx, runs: Sequence[tuple[TenantId, RunId]]) -> set[RunId]:
    """Which of these runs have ended."""
    rows = [{"b_tenant_id": tenant_id, "b_id": run_id} for tenant_id, run_id in runs]
    return {row[0] for row in await tx.fetch_many(_ENDED, rows)} if rows else set()


_LAST_OF_THREAD = (
    select(_r.id)
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_thread_id"))
    .order_by(_r.rank.desc())
    .limit(1)
)


async def last_of_thread(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> RunId | None:
    row = await tx.first(_LAST_OF_THREAD, {"b_tenant_id": tenant_id, "b_thread_id": thread_id})
    return row[0] if row else None


_BY_ORDINAL = select(_r.id).where(
    _r.tenant_id == bindparam("b_tenant_id"),
    _r.thread_id == bindparam("b_thread_id"),
    _r.ordinal == bindparam("b_ordinal"),
)


async def by_ordinal(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, ordinal: int) -> RunId | None:
    """The run that started as the `ordinal`-th of its thread. Index ux_runs_thread_rank."""
    row = await tx.first(_BY_ORDINAL, {"b_tenant_id": tenant_id, "b_thread_id": thread_id, "b_ordinal": ordinal})
    return row[0] if row else None


_COUNTS = (
    select(_r.status, func.count())
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.archived.is_(None))
    .group_by(_r.status)
)
_USAGE_NOW = select(
    func.coalesce(func.sum(schema.entries.c.usage_requests), 0),
    func.coalesce(func.sum(schema.entries.c.usage_input_tokens), 0),
    func.coalesce(func.sum(schema.entries.c.usage_output_tokens), 0),
    func.coalesce(func.sum(schema.entries.c.usage_cost_micros), 0),
    func.coalesce(func.min(schema.entries.c.usage_priced), 1),
).where(
    schema.entries.c.tenant_id == bindparam("b_tenant_id"),
    schema.entries.c.run_id == bindparam("b_id"),
    schema.entries.c.usage_requests.is_not(None),
)


async def usage_so_far(tx: Tx, tenant_id: TenantId, run_id: RunId) -> Usage:
    """What the journal says the run used: for a run under way, whose row is only written at its transitions."""
    row = await tx.first(_USAGE_NOW, {"b_tenant_id": tenant_id, "b_id": run_id})
    assert row is not None
    return Usage(int(row[0]), int(row[1]), int(row[2]), int(row[3]), bool(row[4]))


async def counts(tx: Tx, tenant_id: TenantId) -> dict[RunStatus, int]:
    return {RunStatus(row[0]): row[1] for row in await tx.all(_COUNTS, {"b_tenant_id": tenant_id})}


_LIVE_RANKS = (
    select(_r.id, _r.rank)
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_thread_id"), _r.ended_at.is_(None))
    .order_by(_r.rank)
    .limit(bindparam("b_limit"))
)
_RANK_BEFORE = select(func.max(_r.rank)).where(
    _r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_thread_id"), _r.rank < bindparam("b_rank")
)
_SET_RANK = update(schema.runs).where(*_THIS).values(rank=bindparam("b_rank"))
_NO_LIMIT = 2**31 - 1


async def rank_behind_holder(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> int | None:
    """A free rank directly behind the thread's holder, before every other queued run; None if nothing is queued.

    It lies half-way to the first queued run, since the interrupt becomes the holder and may be interrupted in turn.
    Runs that ended keep their ranks. When `threads.RANK_STEP` is used up by halving, the queue moves back.
    """
    where = {"b_tenant_id": tenant_id, "b_thread_id": thread_id}
    for _ in range(2):
        live = await tx.all(_LIVE_RANKS, {**where, "b_limit": 2})
        if len(live) < 2:
            return None
        following = live[1][1]
        before = await tx.first(_RANK_BEFORE, {**where, "b_rank": following})
        assert before is not None, "the holder is before it"
        if following - before[0] > 1:
            return (before[0] + following) // 2
        for id, _ in (await tx.all(_LIVE_RANKS, {**where, "b_limit": _NO_LIMIT}))[1:]:
            rank = await threads.next_rank(tx, tenant_id, thread_id)
            await tx.execute(_SET_RANK, {"b_tenant_id": tenant_id, "b_id": id, "b_rank": rank})
    raise AssertionError("a queue that moved back has room before it")
