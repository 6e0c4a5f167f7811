"""A run's steps in time, as columns: what a waterfall of all of it needs, and nothing that may be large."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast.domain import access, timelines
from holdfast.domain.access import Principal, Scope
from holdfast.domain.ids import RunId, TenantId
from holdfast.domain.journal import StepKind
from holdfast.domain.runs import Run
from holdfast.domain.timelines import Columns, LifeFact, Mark, OpenStep, Pause, Vocabulary, Written
from holdfast.service import runs as run_verbs
from holdfast.service.house import House
from holdfast.store import approvals, effects, entries, heads, lineage, runs, timeline
from holdfast.store.base import Tx


@dataclass(frozen=True, slots=True)
class Timeline:
    """`last`: the last step that is shown, of `steps` that there are. `pos`: the last entry that was looked at.
    `revision` is another one when a step that was told before is not as it was."""

    run: Run
    now: int
    pos: int
    revision: str
    after: int
    steps: int
    inherited: int
    columns: Columns
    words: Vocabulary
    open: Sequence[OpenStep]
    pauses: Sequence[Pause]
    marks: Sequence[Mark]

    @property
    def last(self) -> int:
        return self.columns.seq[-1] if self.columns.seq else self.after

    @property
    def more(self) -> bool:
        return self.last < self.steps


@dataclass(frozen=True, slots=True)
class _Read:
    """What the database holds, before it is folded."""

    run: Run
    now: int
    pos: int
    revision: str
    steps: int
    inherited: int
    pieces: Sequence[Written]
    life: Sequence[LifeFact]
    open: Sequence[OpenStep]


async def get(house: House, principal: Principal, run_id: RunId, after: int, limit: int) -> Timeline:
    """The steps of a run behind `seq = after`, at most `limit`, with its pauses and what is open. Raises `NotFound`."""
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id
    read = await house.database.read(tenant_id, lambda tx: _read(tx, tenant_id, run_id, after, limit))
    return await asyncio.to_thread(_folded, read, after)


def _folded(read: _Read, after: int) -> Timeline:
    """In a thread: there may be 20,000 steps."""
    columns, words = timelines.columns(read.pieces, read.run.created_at)
    pauses, marks = timelines.life(read.life)
    run = read.run
    if run.forked_run is not None and after == 0 and not any(mark.type == "forked" for mark in marks):
        marks = [Mark(run.created_at, "forked"), *marks]  # one that keeps no step begins like any run
    return Timeline(
        run,
        read.now,
        read.pos,
        read.revision,
        after,
        read.steps,
        read.inherited,
        columns,
        words,
        read.open,
        pauses,
        marks,
    )


async def _read(tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, limit: int) -> _Read:
    run = await run_verbs.demand(tx, tenant_id, run_id)
    head = await heads.get(tx, tenant_id, run_id)
    if head is None:
        raise run_verbs.unknown()
    tops = {"last_seq": head.seq, "last_pos": head.pos}
    start = await timeline.pos_of(tx, run, after, **tops)
    end = await timeline.end_of(tx, run, after + limit, **tops)
    pieces = await lineage.of_run(tx, tenant_id, run_id) if run.input_run is not None else ()
    found: list[Written] = []
    for piece in pieces:
        if start < piece.pos:
            facts = await timeline.facts(tx, tenant_id, piece.source_id, start, min(piece.pos, end))
            found.append(await _known(tx, tenant_id, facts, upto=piece.pos))
            start = min(piece.pos, end)
    inherited_pos = pieces[-1].pos if pieces else 0
    life: list[LifeFact] = []
    if end > inherited_pos or not pieces:
        facts = await timeline.facts(tx, tenant_id, run_id, max(start, inherited_pos), end)
        found.append(await _known(tx, tenant_id, facts, upto=None))
        before = await timeline.life_before(tx, tenant_id, run_id, start) if start > inherited_pos else None
        life = [*([before] if before is not None and _lasts(before) else []), *facts.life]
    return _Read(
        run=run,
        now=tx.now_ms,
        pos=end,
        revision=await timeline.revision(tx, tenant_id, run_id, [piece.source_id for piece in pieces]),
        steps=head.seq,
        inherited=pieces[-1].seq if pieces else 0,
        pieces=found,
        life=life,
        open=() if run.status.ended else await _open(tx, run),
    )


def _lasts(fact: LifeFact) -> bool:
    """Whether it began something that is told again: when it ends, or as long as it lasts."""
    return fact.type in timelines.BEGINS_A_PAUSE


async def _known(tx: Tx, tenant_id: TenantId, facts: timeline.Facts, upto: int | None) -> Written:
    """The steps with what other tables tell of them, asked only if there is anything to ask."""
    kinds = {step.kind for step in facts.steps}
    written = Written(facts.run_id, facts.steps)
    if facts.steps:
        written = replace(written, voided=await entries.voided(tx, tenant_id, facts.run_id, upto))
    if StepKind.TOOL in kinds:
        written = replace(written, effects=await effects.statuses(tx, tenant_id, facts.run_id))
    if StepKind.CHILD in kinds:
        there = await runs.children(tx, tenant_id, facts.run_id)
        asked = [(s.key, s.attempt) for s in facts.steps if s.kind == StepKind.CHILD]
        ids = {step: run_verbs.child_id(tenant_id, facts.run_id, *step) for step in asked}
        spent = await runs.spent_below(tx, tenant_id, facts.run_id)
        written = replace(written, children={step: id for step, id in ids.items() if id in there}, spent=spent)
    return written


async def _open(tx: Tx, run: Run) -> list[OpenStep]:
    found = await timeline.opened(tx, run.tenant_id, run.id)
    keys = [one.key for one in found if one.kind is StepKind.INTERRUPT]
    asked = await approvals.of_steps(tx, run.tenant_id, run.id, keys) if keys else {}
    return [
        replace(
            one,
            child_id=run_verbs.child_id(run.tenant_id, run.id, one.key, one.attempt)
            if one.kind is StepKind.CHILD
            else None,
            approval_id=asked.get((one.key, one.attempt)),
        )
        for one in found
    ]
