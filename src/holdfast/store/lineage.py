"""Where forks and branches read what they did not write: pieces of other runs and threads, from the root on.

A fork's journal is the entries of its pieces, each up to its `pos`, and then its own, which go on counting from there;
a branch's messages likewise by `position`. Nothing is copied, so a fork costs what its depth costs, never its length.
Invariant: a run that is read by a piece has its rows: `archive.py` sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select

from holdfast.domain.ids import RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, Located
from holdfast.domain.runs import Run
from holdfast.store import entries, messages, schema
from holdfast.store.base import Tx
from holdfast.store.messages import ThreadPiece

_r = schema.run_lineage.c
_t = schema.thread_lineage.c
_INSERT_RUN = insert(schema.run_lineage).values({c.name: bindparam(c.name) for c in _r})
_INSERT_THREAD = insert(schema.thread_lineage).values({c.name: bindparam(c.name) for c in _t})
_OF_RUN = (
    select(_r.source_id, _r.source_thread_id, _r.pos, _r.seq)
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.run_id == bindparam("b_id"))
    .order_by(_r.ord)
)
_OF_THREAD = (
    select(_t.source_id, _t.run_id, _t.first, _t.pos, _t.last)
    .where(_t.tenant_id == bindparam("b_tenant_id"), _t.thread_id == bindparam("b_id"))
    .order_by(_t.ord)
)


@dataclass(frozen=True, slots=True)
class RunPiece:
    """Entries of the run `source_id`, behind the piece before, up to `pos`; the last of their steps is `seq`."""

    source_id: RunId
    source_thread_id: ThreadId
    pos: int
    seq: int


async def of_run(tx: Tx, tenant_id: TenantId, run_id: RunId) -> tuple[RunPiece, ...]:
    """What a fork reads of other runs; nothing for a run that is none."""
    rows = await tx.all(_OF_RUN, {"b_tenant_id": tenant_id, "b_id": run_id})
    return tuple(RunPiece(*row) for row in rows)


async def of_thread(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> tuple[ThreadPiece, ...]:
    """What a branch reads of other threads; nothing for a thread that is none."""
    rows = await tx.all(_OF_THREAD, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return tuple(ThreadPiece(*row) for row in rows)


async def pieces_of(tx: Tx, run: Run) -> tuple[ThreadPiece, ...]:
    """What a run's thread reads of others, without a question to the database if it is no branch."""
    return await of_thread(tx, run.tenant_id, run.thread_id) if run.branch else ()


async def add_run(tx: Tx, tenant_id: TenantId, run_id: RunId, pieces: Sequence[RunPiece]) -> None:
    rows = [(tenant_id, run_id, n, p.source_id, p.source_thread_id, p.pos, p.seq) for n, p in enumerate(pieces)]
    if rows:
        await tx.insert_many(_INSERT_RUN, rows)


async def add_thread(tx: Tx, tenant_id: TenantId, thread_id: ThreadId, pieces: Sequence[ThreadPiece]) -> None:
    rows = [(tenant_id, thread_id, n, p.source_id, p.run_id, p.first, p.pos, p.last) for n, p in enumerate(pieces)]
    if rows:
        await tx.insert_many(_INSERT_THREAD, rows)


# -- entries --------------------------------------------------------------------------------------------------------


async def load(tx: Tx, tenant_id: TenantId, run_id: RunId, pos: int = 0, upto: int | None = None) -> list[Entry]:
    """A run's own entries behind `pos`, up to `upto`, whole; they are bounded by `journal_steps_max`."""
    found: list[Entry] = []
    while True:
        page = await entries.after(tx, tenant_id, run_id, found[-1].pos if found else pos, _PAGE)
        found.extend(page)
        if upto is not None and found and found[-1].pos >= upto:
            return [entry for entry in found if entry.pos <= upto]
        if len(page) < _PAGE:
            return found


_PAGE = 5_000


async def prefix(tx: Tx, tenant_id: TenantId, pieces: Sequence[RunPiece]) -> list[Entry]:
    """All entries of a fork's pieces, in order."""
    found: list[Entry] = []
    for piece in pieces:
        after = found[-1].pos if found else 0
        found.extend(await load(tx, tenant_id, piece.source_id, after, piece.pos))
    return found


async def prefix_positions(tx: Tx, tenant_id: TenantId, pieces: Sequence[RunPiece]) -> dict[int, int]:
    """Where the entries of a fork's pieces stand among the messages of its thread: `pos` → `position`."""
    found: dict[int, int] = {}
    after = 0
    for piece in pieces:
        places = await messages.positions_of_run(tx, tenant_id, piece.source_thread_id, piece.source_id)
        found.update((pos, place) for pos, place in places.items() if after < pos <= piece.pos)
        after = piece.pos
    return found


async def steps(tx: Tx, run: Run, after: int, limit: int, *, bare: bool) -> list[Located]:
    """Steps of a run behind `seq = after`, in order, those of its pieces first; ones that a retry declared void are
    `voided`. `bare`: without payloads and prompts."""
    found: list[Located] = []
    for piece in await of_run(tx, run.tenant_id, run.id) if run.input_run is not None else ():
        wanted = min(limit - len(found), piece.seq - after)
        if wanted > 0:  # `seq` is dense
            found += await _page(tx, run.tenant_id, piece.source_id, after, wanted, bare=bare, upto=piece.pos)
            after = piece.seq
    if len(found) < limit:
        found += await _page(tx, run.tenant_id, run.id, after, limit - len(found), bare=bare, upto=None)
    return found


async def _page(
    tx: Tx, tenant_id: TenantId, run_id: RunId, after: int, limit: int, *, bare: bool, upto: int | None
) -> list[Located]:
    read = entries.bare_steps if bare else entries.steps
    page = await read(tx, tenant_id, run_id, after, limit)
    void = await entries.voided(tx, tenant_id, run_id, upto) if page else set[tuple[str, int]]()
    return [Located(run_id, entries.as_voided(e) if (e.key, e.attempt) in void else e) for e in page]


async def step(tx: Tx, run: Run, seq: int) -> Located | None:
    """The step `seq` of a run, whoever wrote it."""
    found = await steps(tx, run, seq - 1, 1, bare=False) if seq > 0 else []
    return found[0] if found and found[0].entry.seq == seq else None


def source_of(pieces: Sequence[RunPiece], run: Run, seq: int) -> tuple[RunId, ThreadId, int]:
    """Who wrote the step `seq` of a run (its id and thread), and how many of the pieces lie wholly before it."""
    for number, piece in enumerate(pieces):
        if seq <= piece.seq:
            return piece.source_id, piece.source_thread_id, number
    return run.id, run.thread_id, len(pieces)
