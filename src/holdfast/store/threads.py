"""Threads: conversations, the ordinals of their runs, and which run holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, case, func, insert, null, or_, select, text, update

from holdfast.domain import limits
from holdfast.domain.ids import PrincipalId, RunId, TenantId, ThreadId
from holdfast.domain.previews import BEGINNING_BYTES
from holdfast.domain.runs import RunStatus
from holdfast.domain.threads import BranchOf, LastRun, Thread, ThreadStatus, ThreadView
from holdfast.store import schema
from holdfast.store.base import Row, Tx

RANK_STEP = 1 << 20
"""Ranks leave this much room between queued runs, for interrupts that go ahead of them."""

_t = schema.threads.c
_r = schema.runs.c
_THIS = (_t.tenant_id == bindparam("b_tenant_id"), _t.id == bindparam("b_id"))
_COLUMNS = (
    _t.tenant_id,
    _t.id,
    _t.external_id,
    _t.title,
    _t.metadata,
    _t.hidden,
    _t.created_by,
    _t.created_at,
    _t.updated_at,
    _t.branch_thread,
    _t.branch_run,
    _t.branch_at,
    _t.archived_at,
)


def _thread(row: Row) -> Thread:
    branch = None if row[9] is None else BranchOf(row[9], row[10], row[11])
    return Thread(
        row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6], row[7], row[8], branch, row[12] is not None
    )


_INSERT = insert(schema.threads).values({c.name: bindparam(c.name) for c in schema.threads.c})


async def add(tx: Tx, thread: Thread, *, last_rank: int = 0, last_ordinal: int = 0) -> None:
    await tx.execute(
        _INSERT,
        {
            "tenant_id": thread.tenant_id,
            "id": thread.id,
            "external_id": thread.external_id,
            "title": thread.title,
            "metadata": thread.metadata,
            "hidden": int(thread.hidden),
            "created_by": thread.created_by,
            "created_at": thread.created_at,
            "updated_at": thread.updated_at,
            "last_rank": last_rank,
            "last_ordinal": last_ordinal,
            "branch_thread": thread.branch_of and thread.branch_of.thread_id,
            "branch_run": thread.branch_of and thread.branch_of.run_id,
            "branch_at": thread.branch_of and thread.branch_of.at,
            "archived_at": None,
        },
    )


_GET = select(*_COLUMNS).where(*_THIS)
_BY_EXTERNAL = select(*_COLUMNS).where(
    _t.tenant_id == bindparam("b_tenant_id"), _t.external_id == bindparam("b_external_id")
)
_LOCK = _GET.with_for_update()
_SHARE = _GET.with_for_update(read=True, key_share=True)


async def get(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> Thread | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return None if row is None else _thread(row)


async def by_external_id(tx: Tx, tenant_id: TenantId, external_id: str) -> Thread | None:
    row = await tx.first(_BY_EXTERNAL, {"b_tenant_id": tenant_id, "b_external_id": external_id})
    return None if row is None else _thread(row)


async def lock(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> Thread | None:
    row = await tx.first(_LOCK, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return None if row is None else _thread(row)


async def share(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> Thread | None:
    """The thread, which is not deleted until the transaction ends: a key lock, that only meets those of `lock`."""
    row = await tx.first(_SHARE, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return None if row is None else _thread(row)


_NEXT_RANK = (
    update(schema.threads).where(*_THIS).values(last_rank=_t.last_rank + RANK_STEP, updated_at=bindparam("b_now"))
).returning(_t.last_rank)
_NEXT_ORDINAL = (
    update(schema.threads).where(*_THIS).values(last_ordinal=_t.last_ordinal + 1, updated_at=bindparam("b_now"))
).returning(_t.last_ordinal)
_TOUCH = update(schema.threads).where(*_THIS).values(updated_at=bindparam("b_now"))


async def next_rank(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> int:
    """The next place in the thread's queue. The caller holds the thread's lock."""
    row = await tx.first(_NEXT_RANK, {"b_tenant_id": tenant_id, "b_id": thread_id, "b_now": tx.now_ms})
    assert row is not None
    return row[0]


async def next_ordinal(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> int:
    """The number, dense from 1, of a run that starts now: the order in which the thread's runs really ran."""
    row = await tx.first(_NEXT_ORDINAL, {"b_tenant_id": tenant_id, "b_id": thread_id, "b_now": tx.now_ms})
    assert row is not None
    return row[0]


async def touch(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> None:
    await tx.execute(_TOUCH, {"b_tenant_id": tenant_id, "b_id": thread_id, "b_now": tx.now_ms})


_UPDATE = (
    update(schema.threads)
    .where(*_THIS)
    .values(title=bindparam("b_title"), metadata=bindparam("b_metadata"), updated_at=bindparam("b_now"))
)


async def change(tx: Tx, thread: Thread) -> None:
    """Write a thread's title and metadata."""
    await tx.execute(
        _UPDATE,
        {
            "b_tenant_id": thread.tenant_id,
            "b_id": thread.id,
            "b_title": thread.title,
            "b_metadata": thread.metadata,
            "b_now": tx.now_ms,
        },
    )


# The head of a thread: its holder (the lowest rank that has not ended; ix_runs_thread_live) or else its last run.
_of_thread = and_(_r.tenant_id == _t.tenant_id, _r.thread_id == _t.id)
_LIVE = select(_r.id).where(_of_thread, _r.ended_at.is_(None)).order_by(_r.rank).limit(1)
_LAST = select(_r.id).where(_of_thread).order_by(_r.rank.desc()).limit(1)
_LAST_ID = _LAST.correlate(schema.threads).scalar_subquery()
_HEAD_ID = func.coalesce(_LIVE.correlate(schema.threads).scalar_subquery(), _LAST_ID)
_FIRST_ID = (
    select(_r.id).where(_of_thread).order_by(_r.rank).limit(1).correlate(schema.threads).scalar_subquery()
)  # fmt: skip
_LAST_AGENT = (
    select(_r.agent)
    .where(_of_thread)
    .order_by(_r.rank.desc())
    .limit(1)
    .correlate(schema.threads)
    .scalar_subquery()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ThreadFilter:
    """Which threads a list shows, newest first. `before` is the id after which the page starts."""

    status: ThreadStatus | None = None
    external_id: str | None = None
    branch_of: ThreadId | None = None
    agent: str | None = None
    title: str | None = None
    before: bytes | None = None
    limit: int = 50

    @property
    def searches(self) -> bool:
        """Whether threads have to be looked through for it, since no index knows."""
        return self.agent is not None or self.title is not None


def _views(where: list[Any], limit: int) -> Any:
    page = (
        select(*_COLUMNS, _HEAD_ID.label("head_id"), _LAST_ID.label("last_id"), _FIRST_ID.label("first_id"))
        .where(*where)
        .order_by(_t.id.desc())
        .limit(limit)
        .subquery("page")
    )
    tenant_id = page.c.tenant_id
    head, last, first = (schema.runs.alias(name) for name in ("head", "last", "first"))
    said, large = schema.entries.alias("said"), schema.blobs.alias("large")
    by = func.coalesce(first.c.input_run, first.c.id)
    return (
        select(page, head.c.status, head.c.waiting_on, last.c.agent, last.c.status, _beginning(said, large))
        .select_from(
            page.outerjoin(head, and_(head.c.tenant_id == tenant_id, head.c.id == page.c.head_id))
            .outerjoin(last, and_(last.c.tenant_id == tenant_id, last.c.id == page.c.last_id))
            .outerjoin(first, and_(first.c.tenant_id == tenant_id, first.c.id == page.c.first_id))
            .outerjoin(said, and_(said.c.tenant_id == tenant_id, said.c.run_id == by, said.c.pos == 1))
            .outerjoin(large, and_(large.c.tenant_id == tenant_id, large.c.hash == said.c.payload_blob))
        )
        .order_by(page.c.id.desc())
    )


def _beginning(said: Any, large: Any) -> Any:
    # Of what is so large that a page of them would be slow, nothing.
    fits = func.length(large.c.data) <= limits.PREVIEW_READ_BYTES_MAX
    return func.substr(func.coalesce(said.c.payload, case((fits, large.c.data))), 1, BEGINNING_BYTES)


def _view(row: Row) -> ThreadView:
    head_id, last_id, _, status, waiting_on, agent, last_status, beginning = row[len(_COLUMNS) :]
    last = None if last_id is None else LastRun(last_id, agent, RunStatus(last_status))
    return ThreadView(_thread(row), head_id, RunStatus(status) if status else None, waiting_on, last, beginning)


_VIEW = _views([*_THIS, _t.archived_at.is_(None)], 1)


async def view(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> ThreadView | None:
    row = await tx.first(_VIEW, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return None if row is None else _view(row)


_STATUSES: dict[ThreadStatus, tuple[RunStatus, ...]] = {
    ThreadStatus.BUSY: (RunStatus.QUEUED, RunStatus.RUNNING),
    ThreadStatus.WAITING: (RunStatus.WAITING,),
    ThreadStatus.ERROR: (RunStatus.FAILED,),
    ThreadStatus.IDLE: (RunStatus.SUCCEEDED, RunStatus.CANCELLED),
}


async def page(tx: Tx, tenant_id: TenantId, wanted: ThreadFilter) -> list[ThreadView]:
    """A page of visible threads, newest first. What has to be searched for is `search`'s."""
    assert not wanted.searches
    return [_view(row) for row in await tx.all(_views(_where(tenant_id, wanted), wanted.limit))]


@dataclass(frozen=True, slots=True)
class Searched:
    """Threads that were found, newest first, at most as many as were wanted; and behind which thread the search goes
    on, if it does: that one need not be among them."""

    found: list[ThreadView]
    following: bytes | None


async def search(tx: Tx, tenant_id: TenantId, wanted: ThreadFilter, scanned_max: int) -> Searched:
    """The same for what no index knows: of the next `scanned_max` threads those that fit. Titles are compared here, by
    Unicode's rules: the databases have different ones."""
    columns = (_t.id, _t.title if wanted.title is not None else null(), _LAST_AGENT if wanted.agent else null())
    scan = select(*columns).where(*_where(tenant_id, wanted)).order_by(_t.id.desc()).limit(scanned_max)
    rows = await tx.all(scan)
    sought = None if wanted.title is None else wanted.title.casefold()
    ids = [
        id
        for id, title, agent in rows
        if (sought is None or sought in (title or "").casefold()) and wanted.agent in (None, agent)
    ]
    shown = ids[: wanted.limit]
    following = shown[-1] if len(ids) > len(shown) else rows[-1][0] if len(rows) == scanned_max else None
    if not shown:
        return Searched([], following)
    found = await tx.all(_views([_t.tenant_id == tenant_id, _t.id.in_(shown)], len(shown)))
    return Searched([_view(row) for row in found], following)


def _where(tenant_id: TenantId, wanted: ThreadFilter) -> list[Any]:
    where: list[Any] = [_t.tenant_id == tenant_id, _t.hidden == 0, _t.archived_at.is_(None)]
    if wanted.branch_of is not None:
        where.append(_t.branch_thread == wanted.branch_of)
    if wanted.external_id is not None:
        where.append(_t.external_id == wanted.external_id)
    if wanted.before is not None:
        where.append(_t.id < wanted.before)
    if wanted.status is not None:
        head = schema.runs.alias("status_head")
        status = select(head.c.status).where(head.c.tenant_id == _t.tenant_id, head.c.id == _HEAD_ID).scalar_subquery()
        fits = status.in_([str(s) for s in _STATUSES[wanted.status]])
        where.append(or_(fits, status.is_(None)) if wanted.status is ThreadStatus.IDLE else fits)
    return where


_RUN_IDS = select(_r.id).where(_r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_id"))
_HOLDER = (
    select(_r.id, _r.status, _r.rank, _r.started_at)
    .where(_r.tenant_id == bindparam("b_tenant_id"), _r.thread_id == bindparam("b_id"), _r.ended_at.is_(None))
    .order_by(_r.rank)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Holder:
    run_id: RunId
    status: RunStatus
    rank: int
    started: bool


async def holder(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> Holder | None:
    """The run that holds the thread: its oldest that has not ended. Index ix_runs_thread_live."""
    row = await tx.first(_HOLDER, {"b_tenant_id": tenant_id, "b_id": thread_id})
    return None if row is None else Holder(row[0], RunStatus(row[1]), row[2], row[3] is not None)


async def run_ids(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> list[RunId]:
    return [row[0] for row in await tx.all(_RUN_IDS, {"b_tenant_id": tenant_id, "b_id": thread_id})]


_FAMILY = text(
    "WITH RECURSIVE below(id, thread_id, ended_at) AS ("
    " SELECT id, thread_id, ended_at FROM runs WHERE tenant_id = :tenant_id AND thread_id = :thread_id"
    " UNION"
    " SELECT r.id, r.thread_id, r.ended_at FROM runs r JOIN below b ON r.parent_id = b.id"
    " WHERE r.tenant_id = :tenant_id"
    ") SELECT thread_id, max(CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END) FROM below GROUP BY thread_id"
)


async def family(tx: Tx, tenant_id: TenantId, thread_id: ThreadId) -> dict[ThreadId, bool]:
    """The thread and the hidden ones of its runs' children, of any depth: whether a run of it is alive."""
    rows = await tx.all(_FAMILY, {"tenant_id": tenant_id, "thread_id": thread_id})
    return {thread_id: False, **{row[0]: bool(row[1]) for row in rows}}


def new(tenant_id: TenantId, thread_id: ThreadId, created_by: PrincipalId, now: int, **given: Any) -> Thread:
    """A thread as it is at creation."""
    return Thread(
        tenant_id,
        thread_id,
        given.get("external_id"),
        given.get("title"),
        given.get("metadata"),
        given.get("hidden", False),
        created_by,
        now,
        now,
        given.get("branch_of"),
    )
