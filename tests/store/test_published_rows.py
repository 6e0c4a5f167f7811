"""Published state as rows: a run says in the commit of its first change that it has some, and any version is read from
a bounded number of entries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.domain import states as rules
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.journal import EntryType, NewEntry, StepKind
from holdfast.domain.runs import NO_USAGE, RunStatus
from holdfast.domain.states import NOTHING, Document
from holdfast.store import agents, states, timeline
from holdfast.store.claims import Claimed
from holdfast.store.journal import Finish
from holdfast.store.runs import End
from holdfast.store.states import Publish
from holdfast.testing.store import TENANT, Clock, Store, said, step
from tests import databases


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    clock = Clock()
    async with databases.opened(database_url, determinism=Determinism(now_ms=clock, random=SYSTEM.random)) as database:
        made = Store(database, clock)
        await made.seed()
        yield made


class Writer:
    """One run's changes, as the runtime writes them."""

    def __init__(self, store: Store, claimed: Claimed, begun: Document) -> None:
        self.store, self.claimed, self.document = store, claimed, begun
        self.written: list[rules.Change] = []

    def entry(self, value: Any) -> NewEntry:
        recent = self.written[-(rules.SNAPSHOT_EVERY - 1) :]
        due = not any(change.is_snapshot for change in recent)
        change, self.document = rules.changed(self.document, value, snapshot=due)
        self.written.append(change)
        key = f"state#{len(self.written)}"
        return step(key, kind=StepKind.STATE, type=EntryType.STATE_CHANGED, payload=change.payload)

    async def publish(self, value: Any) -> None:
        first = not self.written
        await self.store.append(self.claimed, self.entry(value), ops=[Publish()] if first else [])

    async def end(self) -> None:
        change = Finish(end=End(status=RunStatus.FAILED, error=b"{}"))
        await self.store.append(self.claimed, said(EntryType.RUN_FAILED, b"{}"), change=change, usage=NO_USAGE)


async def read(store: Store, run: Any, pos: int = 2**60) -> rules.Published:
    return await store.write(lambda tx: states.upto(tx, run, pos))


async def test_a_run_says_that_it_published_in_the_commit_of_its_first_change(store: Store) -> None:
    claimed = await store.started()
    writer = Writer(store, claimed, NOTHING)
    assert not (await store.run(claimed.run)).has_state
    await writer.publish({"a": 1})
    assert (await store.run(claimed.run)).has_state
    refused = replace(claimed, epoch=claimed.epoch + 1)
    other = await store.started()
    appended = await store.append(replace(other, epoch=refused.epoch + 7), writer.entry({"b": 1}), ops=[Publish()])
    assert appended.refused
    assert not (await store.run(other.run)).has_state, "an append that is refused marks nothing"


async def test_any_version_of_any_run_is_read_as_it_was_written(store: Store) -> None:
    thread = await store.thread()
    document, wrote = NOTHING, list[tuple[Any, int, Document]]()
    for number in range(3):
        await store.start(thread)
        claimed = await store.claim_one()
        begun = await store.write(lambda tx, run=claimed.run: states.before(tx, run))
        assert begun.document == document, "a run begins with what the one before it left"
        writer = Writer(store, claimed, document)
        for n in range(rules.SNAPSHOT_EVERY + 7):
            await writer.publish({"run": number, "n": n, "log": ["x" * 40] * (n % 5)})
            pos = (await store.head(claimed.run)).pos
            wrote.append((claimed.run, pos, writer.document))
        document = writer.document
        await writer.end()
    for run, pos, was in wrote[::9]:
        found = await read(store, run, pos)
        assert (found.document, found.run_id) == (was, run.id)
    shown = await store.write(lambda tx: states.of_thread(tx, TENANT, thread))
    assert (shown.document, shown.seq) == (document, rules.SNAPSHOT_EVERY + 7)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~0", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.lists(VALUES, min_size=1, max_size=12))
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
async def test_whatever_is_published_is_read(store: Store, values: list[Any]) -> None:
    claimed = await store.started()
    writer = Writer(store, claimed, NOTHING)
    for value in values:
        await writer.publish(value)
        assert (await read(store, claimed.run)).document == writer.document


async def test_a_rolled_back_run_left_nothing_and_is_still_read_at_its_steps(store: Store) -> None:
    thread = await store.thread()
    await store.start(thread)
    claimed = await store.claim_one()
    await Writer(store, claimed, NOTHING).publish("rolled back")
    await store.write(lambda tx: states.unmark(tx, TENANT, claimed.run.id))
    assert (await store.write(lambda tx: states.of_thread(tx, TENANT, thread))).document == NOTHING
    assert (await read(store, claimed.run)).document.value == "rolled back"


async def test_large_payloads_are_left_out_of_what_is_read_briefly(store: Store) -> None:
    claimed = await store.started()
    large, small = b'"' + b"x" * 5_000 + b'"', b'"y"'
    await store.append(claimed, step("a#1", payload=large), step("b#1", payload=small))
    await store.append(claimed, step("c#1", payload=b'"' + b"z" * 50_000 + b'"'))
    run = await store.run(claimed.run)
    pieces = await store.write(lambda tx: timeline.upto(tx, run, 99))
    found = pieces[-1].entries
    assert [(e.seq, e.payload) for e in found if e.seq is not None] == [(1, None), (2, None), (3, None)]
    positions = [e.pos for e in found if e.seq is not None]
    for wanted in (positions, positions[1:2], [positions[0], positions[2], 2_000]):
        short = await store.write(lambda tx, p=wanted: timeline.payloads(tx, TENANT, run.id, p, 100))
        seen = [(short[p].data, short[p].cut) for p in wanted if p in short]
        assert seen == [(None, True) if p != positions[1] else (small, False) for p in wanted if p in positions]
    whole = await store.write(lambda tx: timeline.payload(tx, TENANT, run.id, positions[2]))
    assert whole is not None
    assert len(whole) == 50_002
    tops = {"last_seq": 3, "last_pos": positions[2]}
    for seq in range(4):
        end = await store.write(lambda tx, s=seq: timeline.end_of(tx, run, s, **tops))
        assert end == (positions[seq] - 1 if seq < 3 else positions[2])


async def test_versions_of_an_agent_are_kept_the_newest_first(store: Store) -> None:
    for n, version in enumerate(("v1", "v2", "v3", "v1")):
        store.clock.now_ms += 1
        definition = b'{"n":%d}' % n
        await store.write(lambda tx, v=version, d=definition: agents.note_version(tx, TENANT, "a", v, d))
    found = await store.write(lambda tx: agents.versions(tx, TENANT, "a", None, 2))
    assert [v.version for v in found] == ["v3", "v2"]
    last = (found[-1].created_at, found[-1].version)
    (first,) = await store.write(lambda tx: agents.versions(tx, TENANT, "a", last, 2))
    assert (first.version, first.definition) == ("v1", b'{"n":3}'), "what a version does not depend on may change"
    assert await store.write(lambda tx: agents.version(tx, TENANT, "a", "v4")) is None
    assert await store.write(lambda tx: agents.versions(tx, TENANT, "b", None, 2)) == []
