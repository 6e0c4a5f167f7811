"""The tree of forks: where a run comes from, and what was forked from what it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, case, func, select, text

from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import EntryType, StepKind
from holdfast.domain.runs import RunStatus, Usage
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_r = schema.runs.c
_h = schema.run_heads.c
_e = schema.entries.c
_b = schema.blobs.c
_ends = schema.entries.alias("e_end")
_end = _ends.c
_end_blobs = schema.blobs.alias("b_end")
_end_blob = _end_blobs.c

# A fork is younger than what it was forked from, so neither walk can go in a circle.
_UP = text(
    "WITH RECURSIVE up(id, forked_run, n) AS ("
    " SELECT id, forked_run, 0 FROM runs WHERE tenant_id = :tenant_id AND id = :run_id"
    " UNION ALL"
    " SELECT r.id, r.forked_run, u.n + 1 FROM runs r JOIN up u ON r.id = u.forked_run"
    " WHERE r.tenant_id = :tenant_id AND u.n < :depth_max"
    ") SELECT id FROM up ORDER BY n"
)
_DOWN = text(
    "WITH RECURSIVE down(id) AS ("
    " SELECT id FROM runs WHERE tenant_id = :tenant_id AND id = :run_id"
    " UNION ALL"
    " SELECT r.id FROM runs r JOIN down d ON r.forked_run = d.id WHERE r.tenant_id = :tenant_id"
    ") SELECT id FROM down LIMIT :limit"
)


async def ancestry(tx: Tx, tenant_id: TenantId, run_id: RunId, depth_max: int) -> list[RunId]:
    """A run and what it was forked from, up to the first one."""
    rows = await tx.all(_UP, {"tenant_id": tenant_id, "run_id": run_id, "depth_max": depth_max})
    return [row[0] for row in rows]


async def descent(tx: Tx, tenant_id: TenantId, run_id: RunId, limit: int) -> list[RunId]:
    """A run and what was forked from it, generation by generation. Index ix_runs_forked."""
    rows = await tx.all(_DOWN, {"tenant_id": tenant_id, "run_id": run_id, "limit": limit})
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Relative:
    """A run of a tree. `forking` is the beginning of what its `run.forked` says (JSON), None if it has none; `output`
    the beginning of the entry that holds its output, which may be the answer of a model."""

    id: RunId
    thread_id: ThreadId
    forked_run: RunId | None
    forked_at: int | None
    input_run: RunId | None
    overrides: bytes | None
    effect_policy: bytes | None
    agent: str
    status: RunStatus
    imported: bool
    created_at: int
    ended_at: int | None
    usage: Usage
    steps: int
    forking: bytes | None
    error: bytes | None
    output: bytes | None
    output_is_message: bool


FORKING_BYTES_MAX = 512
# Of an answer the text may stand behind what the model thought.
OUTPUT_BYTES_MAX = 32_768
_own = schema.entries.alias("own").c
_FIRST_OWN = (
    select(func.min(_own.pos)).where(_own.tenant_id == _r.tenant_id, _own.run_id == _r.id).correlate(schema.runs)
)
_FORKING = case(
    (
        _e.type == EntryType.RUN_FORKED.value,
        func.substr(func.coalesce(_e.payload, _b.data), 1, FORKING_BYTES_MAX),
    )
)
_RELATIVES = (
    select(
        _r.id, _r.thread_id, _r.forked_run, _r.forked_at, _r.input_run, _r.overrides, _r.effect_policy, _r.agent,
        _r.status, _r.imported, _r.created_at, _r.ended_at, _r.usage_requests, _r.usage_input_tokens,
        _r.usage_output_tokens, _r.usage_cost_micros, _r.usage_priced, _h.seq, _FORKING, _r.error,
        func.substr(func.coalesce(_end.payload, _end_blob.data), 1, OUTPUT_BYTES_MAX), _end.kind,
    )
    .select_from(
        schema.runs.join(schema.run_heads, and_(_h.tenant_id == _r.tenant_id, _h.run_id == _r.id))
        .outerjoin(
            schema.entries,
            and_(_e.tenant_id == _r.tenant_id, _e.run_id == _r.id, _e.pos == _FIRST_OWN.scalar_subquery()),
        )
        .outerjoin(schema.blobs, and_(_b.tenant_id == _e.tenant_id, _b.hash == _e.payload_blob))
        .outerjoin(
            _ends,
            and_(_end.tenant_id == _r.tenant_id, _end.run_id == _r.id, _end.pos == _r.output_pos),
        )
        .outerjoin(
            _end_blobs, and_(_end_blob.tenant_id == _end.tenant_id, _end_blob.hash == _end.payload_blob)
        )
    )
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.archived.is_(None))
)  # fmt: skip


def _relative(r: Row) -> Relative:
    return Relative(
        id=r[0], thread_id=r[1], forked_run=r[2], forked_at=r[3], input_run=r[4], overrides=r[5], effect_policy=r[6],
        agent=r[7], status=RunStatus(r[8]), imported=bool(r[9]), created_at=r[10], ended_at=r[11],
        usage=Usage(r[12], r[13], r[14], r[15], bool(r[16])), steps=r[17], forking=r[18],
        error=r[19], output=r[20], output_is_message=r[21] == StepKind.MODEL.value,
    )  # fmt: skip


async def relatives(tx: Tx, tenant_id: TenantId, ids: list[RunId]) -> list[Relative]:
    """These runs, oldest first; those that were deleted are left out."""
    query = _RELATIVES.where(_r.id.in_(ids)).order_by(_r.id)
    return [_relative(row) for row in await tx.all(query, {"b_tenant_id": tenant_id})]
