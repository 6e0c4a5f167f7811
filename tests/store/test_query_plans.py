"""Statements that rely on an index use it: by the planner's own word, on both databases.

On PostgreSQL sequential scans are switched off, so the question is whether the index *can* serve the statement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from holdfast.domain.access import ApiKey
from holdfast.domain.approvals import ApprovalStatus, Demand
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.effects import EffectStatus
from holdfast.domain.ids import (
    LOCAL_ADMIN,
    ApprovalId,
    EffectId,
    EventId,
    KeyId,
    PrincipalId,
    ReplayId,
    RunId,
    ThreadId,
)
from holdfast.domain.journal import StepKind
from holdfast.domain.replays import StoredReplay
from holdfast.domain.runs import Run, RunStatus
from holdfast.domain.threads import BranchOf
from holdfast.store import (
    agents,
    approvals,
    archive,
    awaited,
    claims,
    effects,
    entries,
    family,
    heads,
    idempotency,
    lineage,
    messages,
    overview,
    principals,
    replays,
    runs,
    states,
    threads,
    timeline,
)
from holdfast.store import postgres as postgres_module
from holdfast.store import sqlite as sqlite_module
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.awaited import Await, Awaited, EventWait
from holdfast.store.base import Tx
from holdfast.store.effects import EffectFilter
from holdfast.store.heads import Head
from holdfast.store.lineage import RunPiece
from holdfast.store.messages import ThreadPiece
from holdfast.store.runs import RunFilter
from holdfast.store.states import Publish
from holdfast.store.threads import ThreadFilter
from holdfast.testing.store import MIDNIGHT_MS, TENANT, WORKER_A, WORKER_B, Clock, Store, step
from tests import databases

RUN, THREAD = RunId(b"r" * 16), ThreadId(b"t" * 16)
EFFECT, APPROVAL = EffectId(b"e" * 16), ApprovalId(b"a" * 16)
HELD = 1_000
PIECES = (ThreadPiece(ThreadId(b"s" * 16), RunId(b"q" * 16), 5, 9, 12),)


class Undo(Exception):
    """Ends a transaction that must leave the database as it was; carries the plans."""


class Explaining:
    """A transaction that asks for the plan of each statement before it runs it."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.plans: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def _explain(self, statement: Any, params: Any) -> None:
        if self._tx.locks_rows:
            compiled = postgres_module._compiled(statement)
            rows = await self._tx._connection.fetch(f"EXPLAIN {compiled.sql}", *compiled.bind(params))
            self.plans.append("\n".join(row[0] for row in rows))
        else:
            compiled = sqlite_module._compiled(statement)
            rows = self._tx._connection.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", compiled.bind(params)).fetchall()
            self.plans.append("\n".join(row[3] for row in rows))

    async def all(self, statement: Any, params: Any = None) -> Any:
        await self._explain(statement, params)
        return await self._tx.all(statement, params)

    async def first(self, statement: Any, params: Any = None) -> Any:
        await self._explain(statement, params)
        return await self._tx.first(statement, params)

    async def execute(self, statement: Any, params: Any = None) -> Any:
        await self._explain(statement, params)
        return await self._tx.execute(statement, params)

    async def fetch_many(self, statement: Any, rows: Any) -> Any:
        await self._explain(statement, rows[0])
        return await self._tx.fetch_many(statement, rows)


ENDED = 2_000
FORKS = 300


async def populate(store: Store) -> None:
    """Many runs that have ended, half of them in one thread, and a few that live: as a database is after a while."""
    crowded = await store.thread()
    for number in range(12):
        await store.start(crowded if number % 2 else None, deadline=store.clock() + 1, tags=["x"])
    for claimed in (await store.claim(WORKER_A))[:3]:
        await store.park(claimed, wake_at=store.clock() + 5)
    template = await store.start()
    await store.cancel(template)
    ended = await store.run(template)
    rows: list[Run] = []
    for number in range(ENDED):
        thread_id = crowded if number % 2 else await store.thread()
        rows.append(replace(ended, id=RunId(store.new_id()), thread_id=thread_id, rank=number - ENDED))

    async def body(tx: Tx) -> None:
        for run in rows:
            await runs.add(tx, run)
            await heads.add(tx, Head(TENANT, run.id, 1, 1, 0, None, None, 0, False))
        for _ in range(300):
            await principals.add_key(tx, ApiKey(TENANT, KeyId(store.new_id()), LOCAL_ADMIN, "k", b"d", 1, None, None))
        for run in rows[:300]:
            asked = StoredReplay(
                TENANT, ReplayId(store.new_id()), run.id, LOCAL_ADMIN, None, "v", "v", None, None, tx.now_ms, None
            )
            await replays.add(tx, asked)

    await store.write(body)
    await populate_branches(store, rows)
    await populate_holds(store)


async def populate_branches(store: Store, rows: list[Run]) -> None:
    """Some of the runs are forks of one another, each on a branch."""

    async def body(tx: Tx) -> None:
        for source, run in zip(rows[:FORKS], rows[FORKS:], strict=False):
            thread_id = ThreadId(store.new_id())
            branch_of = BranchOf(source.thread_id, source.id, 1)
            await threads.add(tx, threads.new(TENANT, thread_id, LOCAL_ADMIN, 1, branch_of=branch_of))
            fork = replace(run, id=RunId(store.new_id()), thread_id=thread_id, forked_run=source.id, forked_at=1)
            await runs.add(tx, fork)
            await heads.add(tx, Head(TENANT, fork.id, 1, 1, 0, None, None, 0, False))
            await lineage.add_run(tx, TENANT, fork.id, [RunPiece(source.id, source.thread_id, 1, 0)])
            await lineage.add_thread(tx, TENANT, thread_id, [ThreadPiece(source.thread_id, source.id, 1, 1, 1)])

    await store.write(body)
    await populate_states(store)


async def populate_states(store: Store) -> None:
    """A few runs have published state, now and then in the midst of what else they did."""
    for _ in range(3):
        claimed = await store.started()
        for number in range(3):
            looks = [step(f"look#{number}.{n}") for n in range(60)]
            published = step(f"state#{number}", kind=StepKind.STATE)
            await store.append(claimed, *looks, published, ops=[Publish()])


async def populate_holds(store: Store) -> None:
    """Many effects and questions that are settled, a few that are not; many events, and who waits for some."""
    claimed = await store.started()
    runs_of = [RunId(store.new_id()) for _ in range(HELD // 4)]

    async def held(tx: Tx) -> None:
        for number in range(HELD):
            run_id = runs_of[number % len(runs_of)]
            plan = store.planned(f"pay#{number}", business_key=f"o{number}")
            ask = store.question(claimed, f"q#{number}", demand=Demand(expires_ms=1_000 + number))
            await effects.plan(tx, [(TENANT, run_id, 1, plan)])
            await approvals.open_all(tx, [(TENANT, run_id, ask)])
            await awaited.note(tx, [(TENANT, run_id, Await(f"e#{number}", f"name {number}", ""))])

    await store.write(held)

    async def settled(tx: Tx) -> None:
        await tx.execute(text("UPDATE effects SET status = 'committed' WHERE key <> 'pay#1'"))
        await tx.execute(text("UPDATE effects SET status = 'unknown' WHERE key = 'pay#1'"))
        await tx.execute(text("UPDATE approvals SET status = 'approved' WHERE key LIKE '%8' OR key LIKE '%9'"))
        await tx.execute(text("UPDATE approvals SET status = 'rejected' WHERE key LIKE '%7'"))
        await tx.execute(text("UPDATE approvals SET resolved_at = created_at + 1 WHERE status <> 'pending'"))
        for number in range(HELD):
            name = "busy" if number % 2 else f"name {number}"
            event = Awaited(TENANT, EventId(store.new_id()), f"x{number}", name, "", b"1", LOCAL_ADMIN, 0, tx.now_ms)
            await awaited.add(tx, event)

    await store.write(settled)


@pytest.fixture(scope="module", params=["sqlite, fresh", "sqlite, analyzed", "postgresql"])
def full_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A well-filled database, with and without the planner's statistics."""

    async def fill(url: str) -> None:
        async with databases.opened(url, determinism=Determinism(now_ms=Clock(), random=SYSTEM.random)) as database:
            store = Store(database, Clock())
            await store.seed()
            await populate(store)

            async def analyze(tx: Tx) -> None:
                await tx.execute(text("ANALYZE"))

            if "fresh" not in request.param:
                await store.write(analyze, None)

    if request.param == "postgresql":
        request.getfixturevalue("postgres_session")  # skips where there is no server
        with databases.postgres_database("plans") as url:
            databases.in_thread(lambda: fill(databases.migrated(url)))
            yield url
    else:
        url = databases.migrated(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'x.db'}")
        databases.in_thread(lambda: fill(url))
        yield url


@pytest.fixture
async def store(full_url: str) -> AsyncIterator[Store]:
    clock = Clock(MIDNIGHT_MS + 1)
    async with databases.opened(full_url, determinism=Determinism(now_ms=clock, random=SYSTEM.random)) as database:
        yield Store(database, clock)


async def plans(store: Store, work: Callable[[Any], Any]) -> list[str]:
    async def body(tx: Tx) -> list[str]:
        if tx.locks_rows:
            await tx.execute(text("SET LOCAL enable_seqscan = off"))
        explaining = Explaining(tx)
        await work(explaining)
        raise Undo(explaining.plans)

    try:
        await store.write(body)
    except Undo as undone:
        return undone.args[0]
    raise AssertionError("unreachable")


ON_INDEX: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "claimable": ("ix_runs_claimable", lambda tx: runs.claimable(tx, ["a"], limit=9, lapses_alone=2)),
    "suspects": ("ix_runs_claimable", lambda tx: runs.suspects(tx, ["a"], limit=9, lapses_alone=2, waiting_ms=0)),
    "next_claimable_at": ("ix_runs_claimable", lambda tx: runs.next_claimable_at(tx, ["a"])),
    "due": ("ix_runs_wake_at", lambda tx: runs.due(tx, 9)),
    "next_due_at": ("ix_runs_wake_at", runs.next_due_at),
    "overdue": ("ix_runs_deadline", lambda tx: runs.overdue(tx, 9)),
    "lapsed": ("ix_run_heads_owned", lambda tx: heads.lapsed(tx, but_not_of=WORKER_B, limit=9)),
    "owners": ("ix_run_heads_owned", heads.owners),
    "of_owner": ("ix_run_heads_owned", lambda tx: heads.of_owner(tx, WORKER_A, limit=9)),
    "holder": ("ix_runs_thread_live", lambda tx: threads.holder(tx, TENANT, THREAD)),
    "promote": ("ix_runs_thread_live", lambda tx: runs.promote(tx, TENANT, THREAD)),
    "rank_behind_holder": ("ix_runs_thread_live", lambda tx: runs.rank_behind_holder(tx, TENANT, THREAD)),
    "last_of_thread": ("ux_runs_thread_rank", lambda tx: runs.last_of_thread(tx, TENANT, THREAD)),
    "descendants_alive": ("ix_runs_parent", lambda tx: runs.descendants_alive(tx, TENANT, RUN)),
    "by_external_id": ("ux_runs_external_id", lambda tx: runs.by_external_id(tx, TENANT, "x")),
    "thread by_external_id": ("ux_threads_external_id", lambda tx: threads.by_external_id(tx, TENANT, "x")),
    "runs of a parent": ("ix_runs_parent", lambda tx: runs.page(tx, TENANT, RunFilter(parent_id=RUN))),
    "messages of a run": ("pk_messages|PRIMARY KEY", lambda tx: messages.positions_of_run(tx, TENANT, THREAD, RUN)),
    "retries of a run": ("ix_entries_retried|autoindex_entries_1", lambda tx: entries.voided(tx, TENANT, RUN)),
    "result of a step": ("ux_entries_key", lambda tx: entries.of_key(tx, TENANT, RUN, "k")),
    "a key": ("ix_api_keys_id", lambda tx: principals.by_key(tx, b"k" * 16)),  # type: ignore[arg-type]
    "an effect of a step": ("pk_effects|PRIMARY KEY|effects_1", lambda tx: effects.get(tx, TENANT, RUN, "k")),
    "an effect": ("ux_effects_id", lambda tx: effects.by_id(tx, TENANT, EFFECT)),
    "effects of a run": ("pk_effects|effects_1", lambda tx: effects.of_run(tx, TENANT, RUN)),
    "whether a run acted": ("pk_effects|effects_1", lambda tx: effects.may_have_acted(tx, TENANT, RUN)),
    "unknown effects, counted": ("ix_effects_unknown", effects.unknown_counts),
    "unknown effects": (
        "ix_effects_unknown",
        lambda tx: effects.page(tx, TENANT, EffectFilter(status=(EffectStatus.UNKNOWN,))),
    ),
    "effects of a run that ends": ("pk_effects|effects_1", lambda tx: effects.close(tx, TENANT, RUN)),
    "open in a group": ("ix_approvals_open", lambda tx: approvals.group_open(tx, TENANT, RUN, "g")),
    "due questions": ("ix_approvals_expires_at", lambda tx: approvals.due(tx, 9)),
    "the next due question": ("ix_approvals_expires_at", approvals.next_due_at),
    "the inbox": (
        "ix_approvals_status",
        lambda tx: approvals.page(tx, TENANT, ApprovalFilter(status=(ApprovalStatus.PENDING,))),
    ),
    "what was decided": (
        "ix_approvals_resolved",
        lambda tx: approvals.page(tx, TENANT, ApprovalFilter(status=(ApprovalStatus.APPROVED,), by_resolution=True)),
    ),
    "what was asked about an effect": (
        "ix_approvals_effect",
        lambda tx: approvals.page(tx, TENANT, ApprovalFilter(effect_id=EFFECT)),
    ),
    "what a result has to be": ("ix_approvals_effect", lambda tx: approvals.result_schema(tx, TENANT, EFFECT)),
    "questions of a run that ends": ("ix_approvals_open|ux_approvals_key", lambda tx: approvals.close(tx, TENANT, RUN)),
    "the question about an effect": (
        "ix_approvals_open|ux_approvals_key|ix_approvals_effect",
        lambda tx: approvals.of_effect(tx, TENANT, RUN, EFFECT),
    ),
    "the state at a step": ("ix_entries_state", lambda tx: states.written(tx, TENANT, RUN, 9)),
    "the last run that published": ("ix_runs_thread_state", lambda tx: states.last_run(tx, TENANT, THREAD)),
    "entries up to one": (
        "pk_entries|PRIMARY KEY|entries_1",
        lambda tx: timeline.written_by(tx, TENANT, RUN, 0, 9, {}),
    ),
    "short payloads": ("pk_entries|PRIMARY KEY|entries_1", lambda tx: timeline.payloads(tx, TENANT, RUN, [1, 2], 9)),
    "versions of an agent": (
        "pk_agent_versions|PRIMARY KEY|agent_versions_1",
        lambda tx: agents.versions(tx, TENANT, "a", None, 9),
    ),
    "runs of an agent": ("ix_runs_agent", lambda tx: runs.page(tx, TENANT, RunFilter(agent="a"))),
    "runs of an agent and a status": (
        "ix_runs_agent",
        lambda tx: runs.page(tx, TENANT, RunFilter(agent="a", status=(RunStatus.FAILED,))),
    ),
    "runs of a status": ("ix_runs_status", lambda tx: runs.page(tx, TENANT, RunFilter(status=(RunStatus.FAILED,)))),
    "runs of a time": (
        "pk_runs|autoindex_runs_1|ux_runs|ix_runs",
        lambda tx: runs.page(tx, TENANT, RunFilter(created_after=MIDNIGHT_MS, created_before=MIDNIGHT_MS + 9)),
    ),
    "runs that are forks": ("ix_runs_forks", lambda tx: runs.page(tx, TENANT, RunFilter(forked=True))),
    "runs that were imported": ("ix_runs_imported", lambda tx: runs.page(tx, TENANT, RunFilter(imported=True))),
    "runs with a tag": ("pk_run_tags|PRIMARY KEY", lambda tx: runs.page(tx, TENANT, RunFilter(tag="x"))),
    "children, by their ids": ("ix_runs_parent", lambda tx: runs.children(tx, TENANT, RUN)),
    "what children used": ("ix_runs_parent", lambda tx: runs.spent_below(tx, TENANT, RUN)),
    "when a run was retried": ("ix_entries_retried", lambda tx: timeline.revision(tx, TENANT, RUN, ())),
    "effects as was said of them later": (
        "pk_effects|autoindex_effects_1",
        lambda tx: timeline.said_later(tx, TENANT, RUN),
    ),
    "what a run comes from": ("pk_runs|autoindex_runs_1", lambda tx: family.ancestry(tx, TENANT, RUN, 9)),
    "the replays of a run": ("ix_replays_run", lambda tx: replays.of_run(tx, TENANT, RUN, None, 9)),
    "what was forked from a run": ("ix_runs_forked", lambda tx: family.descent(tx, TENANT, RUN, 9)),
    "a timeline": ("pk_entries|autoindex_entries_1", lambda tx: timeline.facts(tx, TENANT, RUN, 0, 9)),
    "what happened last": ("pk_entries|autoindex_entries_1", lambda tx: timeline.life_before(tx, TENANT, RUN, 9)),
    "what is open": ("ux_entries_key", lambda tx: timeline.opened(tx, TENANT, RUN)),
    "the questions that steps are": ("ux_approvals_key", lambda tx: approvals.of_steps(tx, TENANT, RUN, ["k"])),
    "how effects of a run stand": ("pk_effects|effects_1", lambda tx: effects.statuses(tx, TENANT, RUN)),
    "live runs, counted": ("ix_runs_status", lambda tx: overview.live(tx, TENANT, RunStatus.WAITING)),
    "runs of the last hours": (
        "pk_runs|autoindex_runs_1",
        lambda tx: overview.buckets(tx, TENANT, MIDNIGHT_MS, 3_600_000),
    ),
    "runs of a version": ("ix_runs_version", lambda tx: runs.page(tx, TENANT, RunFilter(version="v"))),
    "runs of an agent's version": (
        "ix_runs_version|ix_runs_agent",
        lambda tx: runs.page(tx, TENANT, RunFilter(agent="a", version="v")),
    ),
    "runs that somebody started": (
        "ix_runs_initiator",
        lambda tx: runs.page(tx, TENANT, RunFilter(principal_id=PrincipalId(b"p" * 16))),
    ),
    "who waits for an event": ("ix_event_waits_name", lambda tx: awaited.waiters(tx, TENANT, "busy", "")),
    "an event by its sender's id": (
        "ux_awaited_events_external_id",
        lambda tx: awaited.by_external_id(tx, TENANT, "x1"),
    ),
    "the oldest event": (
        "ux_awaited_events_seq",
        lambda tx: awaited.oldest(tx, TENANT, RUN, EventWait("busy", "", 0)),
    ),
    "old events": ("ix_awaited_events_created_at", awaited.expire),
    "what a run reads": ("pk_run_lineage|PRIMARY KEY", lambda tx: lineage.of_run(tx, TENANT, RUN)),
    "what a thread reads": ("pk_thread_lineage|PRIMARY KEY", lambda tx: lineage.of_thread(tx, TENANT, THREAD)),
    "who reads a thread": ("ix_thread_lineage_source", lambda tx: archive.readers(tx, TENANT, THREAD)),
    "which archived threads it reads": (
        "pk_thread_lineage|PRIMARY KEY",
        lambda tx: archive.archived_sources(tx, TENANT, THREAD),
    ),
    "forks of a run": ("ix_runs_forked", lambda tx: runs.page(tx, TENANT, RunFilter(forked_run=RUN))),
    "branches of a thread": ("ix_threads_branch", lambda tx: threads.page(tx, TENANT, ThreadFilter(branch_of=THREAD))),
    "a thread that is forked": ("pk_threads|autoindex_threads_1", lambda tx: threads.share(tx, TENANT, THREAD)),
    "where a step stands": (
        "pk_entries|autoindex_entries_1",
        lambda tx: _tolerant(entries.pos_of_seq(tx, TENANT, RUN, 500, pos_max=1_000, seq_max=900)),
    ),
    "a page of a piece": (
        "pk_messages|PRIMARY KEY",
        lambda tx: messages.page(tx, TENANT, THREAD, 0, 9, PIECES),
    ),
    "the end of a piece": (
        "pk_messages|PRIMARY KEY",
        lambda tx: messages.last_of_run(tx, TENANT, THREAD, RUN, 5, 9),
    ),
    "an effect, for who looks": ("ux_effects_id", lambda tx: effects.shown(tx, TENANT, EFFECT)),
    "a question, for who looks": ("pk_approvals|approvals_1", lambda tx: approvals.shown(tx, TENANT, APPROVAL)),
    "expired idempotency keys": ("ix_idempotency_keys_created_at", idempotency.expire),
}


async def _tolerant(work: Any) -> None:
    """The plan counts; that there is no such step does not."""
    with pytest.raises(AssertionError, match="is not in the journal"):
        await work


@pytest.mark.parametrize("name", ON_INDEX)
async def test_a_statement_uses_the_index_it_names(store: Store, name: str) -> None:
    wanted, work = ON_INDEX[name]
    plan = (await plans(store, work))[0]
    assert any(index in plan for index in wanted.split("|")), plan


async def live_run(store: Store) -> Run:
    found = await store.read(lambda tx: runs.page(tx, TENANT, RunFilter(status=(RunStatus.RUNNING,), limit=1)))
    return found[0].view.run


async def test_the_place_in_a_queue_is_counted_on_the_live_index(store: Store) -> None:
    run = await live_run(store)
    assert "ix_runs_thread_live" in (await plans(store, lambda tx: runs.ahead(tx, run)))[0]


async def test_a_claim_and_a_recovery_read_no_table_from_end_to_end(store: Store) -> None:
    run = await live_run(store)
    head = await store.head(run)

    async def work(tx: Any) -> None:
        assert await claims.requeue_orphan(tx, TENANT, run.thread_id, run.id, head.epoch, dead=True) is not None
        found = await runs.claimable(tx, ["a"], limit=1, lapses_alone=2)
        assert len(await claims.claim(tx, WORKER_A, found, {"a": "v1"}, 1_000)) == 1

    found = await plans(store, work)
    assert len(found) > 8
    for plan in found:
        scans = [line for line in plan.splitlines() if line.startswith("SCAN ") and " INDEX " not in line]
        assert not [line for line in scans if line != "SCAN CONSTANT ROW"], plan
        assert "Seq Scan" not in plan, plan


def whole_tables(plan: str) -> list[str]:
    scans = [line for line in plan.splitlines() if line.startswith("SCAN ") and " INDEX " not in line]
    return [line for line in plan.splitlines() if "Seq Scan" in line] + [s for s in scans if s != "SCAN CONSTANT ROW"]


async def test_what_is_read_of_a_piece_is_read_by_position(store: Store) -> None:
    where = (TENANT, THREAD)

    async def work(tx: Any) -> None:
        await messages.page(tx, *where, 0, 9, PIECES)
        await messages.backwards(tx, *where, 99, 9, PIECES)
        await messages.between(tx, *where, 1, 99, PIECES)
        await messages.turn_start(tx, *where, 99, 3, PIECES)

    found = await plans(store, work)
    assert len(found) == 8, "one statement for the piece, one for the thread's own"
    for plan in found:
        assert "TEMP B-TREE" not in plan, plan
        assert "Sort" not in plan, plan
        assert not whole_tables(plan), plan


async def test_archiving_and_removing_a_thread_read_no_table_from_end_to_end(store: Store) -> None:
    found = await store.read(lambda tx: threads.page(tx, TENANT, ThreadFilter(limit=200)))
    thread = next(view.thread for view in found if view.thread.branch_of is not None)
    assert thread.branch_of is not None
    source = thread.branch_of.thread_id

    async def work(tx: Any) -> None:
        await archive.archive(tx, TENANT, source, lambda stored: [])
        await archive.remove(tx, TENANT, thread.id)

    for plan in await plans(store, work):
        assert not whole_tables(plan), plan


IN_ORDER: dict[str, Callable[[Any], Any]] = {
    "runs": lambda tx: runs.page(tx, TENANT, RunFilter()),
    "runs of an agent": lambda tx: runs.page(tx, TENANT, RunFilter(agent="a")),
    "runs of statuses": lambda tx: runs.page(
        tx, TENANT, RunFilter(status=(RunStatus.FAILED, RunStatus.CANCELLED), before=b"\xff" * 16)
    ),
    "runs of an agent and a status": lambda tx: runs.page(
        tx, TENANT, RunFilter(agent="a", status=(RunStatus.CANCELLED,))
    ),
    "runs of a time": lambda tx: runs.page(
        tx, TENANT, RunFilter(created_after=1, created_before=2, include_children=True)
    ),
    "forks": lambda tx: runs.page(tx, TENANT, RunFilter(forked=True)),
    "runs with a tag": lambda tx: runs.page(tx, TENANT, RunFilter(tag="x")),
    "the inbox, newest first": lambda tx: approvals.page(
        tx, TENANT, ApprovalFilter(newest_first=True, after=(2**50, b"\xff" * 16))
    ),
    "what was decided last": lambda tx: approvals.page(
        tx, TENANT, ApprovalFilter(by_resolution=True, newest_first=True, after=(2**50, b"\xff" * 16))
    ),
    "what was decided first": lambda tx: approvals.page(tx, TENANT, ApprovalFilter(by_resolution=True)),
    "the ledger": lambda tx: effects.page(tx, TENANT, EffectFilter(before=b"\xff" * 16)),
    "unknown effects": lambda tx: effects.page(tx, TENANT, EffectFilter(status=(EffectStatus.UNKNOWN,))),
    "the inbox, oldest first": lambda tx: approvals.page(tx, TENANT, ApprovalFilter(after=(1, b"\x00" * 16))),
}


@pytest.mark.parametrize("name", IN_ORDER)
async def test_a_page_is_read_in_order_and_stops_at_its_end(store: Store, name: str) -> None:
    """The last statement reads the page's own rows by id, where there is one; all others stop at the page's end."""
    found = [plan for plan in await plans(store, IN_ORDER[name]) if "run_heads" not in plan]
    assert found
    for plan in found:
        assert "TEMP B-TREE" not in plan, plan
        assert "Sort" not in plan, plan
        assert not whole_tables(plan), plan


@pytest.mark.parametrize("noun", ["questions", "effects"])
async def test_what_a_page_leads_to_is_one_statement_that_reads_nothing_from_end_to_end(
    store: Store, noun: str
) -> None:
    async def work(tx: Any) -> None:
        if noun == "questions":
            found = await tx._tx.all(text("SELECT id FROM approvals LIMIT 200"))
            assert len(await approvals.links(tx, TENANT, [row[0] for row in found])) == 200
        else:
            found = await tx._tx.all(text("SELECT id FROM effects LIMIT 200"))
            assert len(await effects.links(tx, TENANT, [row[0] for row in found])) == 200

    (plan,) = await plans(store, work)
    assert not whole_tables(plan), plan
    assert "ux_entries_key" in plan, plan
    assert ("ix_approvals_effect" in plan) is (noun == "effects"), plan


async def test_claimable_runs_come_from_the_index_in_order(store: Store) -> None:
    plan = (await plans(store, lambda tx: runs.claimable(tx, ["a"], limit=9, lapses_alone=2)))[0]
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan


async def test_a_timer_costs_nothing_for_runs_that_do_not_wait(store: Store) -> None:
    plan = (await plans(store, lambda tx: runs.due(tx, 9)))[0]
    assert "SCAN" not in plan, plan
    assert "Filter" not in plan, plan


async def test_the_oldest_event_is_the_first_that_the_index_gives(store: Store) -> None:
    wait = EventWait("busy", "", 0)
    plan = (await plans(store, lambda tx: awaited.oldest(tx, TENANT, RUN, wait)))[0]
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan


async def test_open_questions_are_found_without_reading_those_that_are_closed(store: Store) -> None:
    plan = (await plans(store, lambda tx: approvals.due(tx, 9)))[0]
    assert "SCAN" not in plan, plan
    assert "Filter" not in plan, plan


async def test_what_a_run_waits_for_is_asked_of_indexes(store: Store) -> None:
    async def work(tx: Any) -> None:
        await approvals.closed_among(tx, TENANT, [APPROVAL])
        await approvals.open_below(tx, TENANT, RUN)

    for plan in await plans(store, work):
        assert "Seq Scan" not in plan, plan
        scans = [line for line in plan.splitlines() if line.startswith("SCAN ") and " INDEX " not in line]
        assert not [line for line in scans if line not in ("SCAN CONSTANT ROW", "SCAN t", "SCAN tree")], plan
