"""Branches against naive full copies of what they share, under moves that Hypothesis chooses: runs in any branch, forks
of any run at any step with any edit, rolled-back runs, voided steps, deleted threads.

The model copies a thread's messages and a run's steps whenever a fork is made, and knows nothing of pieces. Whatever is
read of a branch, in whatever pages, must be what the copy holds, also when the threads that it reads were deleted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Agent
from holdfast.agents.native import edits
from holdfast.bus.base import Hub
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.encoding import encode
from holdfast.domain.errors import Conflict
from holdfast.domain.ids import MessageId, RunId, ThreadId, derived
from holdfast.domain.journal import EntryType, NewEntry, NewMessage, StepKind
from holdfast.domain.runs import RunStatus
from holdfast.domain.threads import Role
from holdfast.service import deleting, forks
from holdfast.service.deleting import Branches
from holdfast.service.forks import Edits, ForkRun
from holdfast.service.house import House
from holdfast.store import lineage, messages
from holdfast.store.base import Database, Tx
from holdfast.store.claims import Claimed, input_message_id
from holdfast.testing import ScriptedModel
from holdfast.testing.store import TENANT, Clock, Store, said, step
from tests import databases

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
PICK = st.integers(0, 2**16)
KEPT = {"tenants", "principals", "api_keys", "blobs", "agents"}


@dataclass(frozen=True)
class Said:
    """A message as a reader sees it. `seq`: the step that wrote it, 0 for an input."""

    position: int
    id: bytes
    run: bytes
    seq: int
    role: Role
    payload: bytes
    void: bool = False


@dataclass(frozen=True)
class Done:
    """A step as a reader sees it, with the run that wrote it; or, without a `seq`, that a step is void from here on."""

    run: bytes
    seq: int | None
    key: str
    payload: bytes = b""


@dataclass
class Ran:
    """A run with all its steps, those that it shares too."""

    id: RunId
    thread: ThreadId
    input: Said
    done: list[Done] = field(default_factory=list[Done])
    claimed: Claimed | None = None

    @property
    def seq(self) -> int:
        return max((one.seq or 0 for one in self.done), default=0)

    def upto(self, seq: int, *, anew: bool) -> list[Done]:
        """With the last step also the retry right behind it that declared it void; `anew`: all right behind it."""
        ends = next((n + 1 for n, one in enumerate(self.done) if one.seq == seq), 0)
        kept = self.done[:ends]
        if not kept:
            return []
        retries: list[Done] = []
        for one in self.done[ends:]:
            if one.seq is not None or one.run != kept[-1].run:
                break
            retries.append(one)
        voiding = next((n + 1 for n, one in enumerate(retries) if one.key == kept[-1].key), 0)
        return [*kept, *(retries if anew else retries[:voiding])]

    def steps(self) -> list[tuple[bytes, int, str, bytes, bool]]:
        void = {one.key for one in self.done if one.seq is None}
        return [(one.run, one.seq, one.key, one.payload, one.key in void) for one in self.done if one.seq is not None]


@dataclass
class Talk:
    """A thread with all its messages, those that it shares too, and the threads that it reads."""

    id: ThreadId
    said: list[Said] = field(default_factory=list[Said])
    runs: list[Ran] = field(default_factory=list[Ran])
    reads: set[ThreadId] = field(default_factory=set[ThreadId])

    @property
    def running(self) -> Ran | None:
        return next((ran for ran in self.runs if ran.claimed is not None), None)


class World:
    """The database and the model, and the moves that change both."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.store = Store(database, clock)
        agent = Agent("a", model=ScriptedModel(["never asked"]))
        self.house = House(database=database, hub=Hub(None), agents={"a": agent})
        self.talks: dict[ThreadId, Talk] = {}
        self.wrote: dict[bytes, Talk] = {}
        """The thread of each run that there ever was."""
        self.number = 0

    def _next(self) -> int:
        self.number += 1
        return self.number

    async def thread(self) -> Talk:
        talk = Talk(await self.store.thread())
        self.talks[talk.id] = talk
        return talk

    # -- runs

    async def begin(self, talk: Talk) -> Ran:
        input = encode(f"input {self._next()}")
        run = await self.store.start(talk.id, input=input, branch=bool(talk.reads))
        position = len(talk.said) + 1
        ran = Ran(run.id, talk.id, Said(position, input_message_id(run.id), run.id, 0, Role.USER, input))
        talk.said.append(ran.input)
        talk.runs.append(ran)
        self.wrote[run.id] = talk
        await self.claim(talk, ran)
        return ran

    async def claim(self, talk: Talk, ran: Ran) -> None:
        claimed = await self.store.claim_one()
        assert claimed.run.id == ran.id
        assert claimed.next_position == len(talk.said) + 1
        assert claimed.input == ran.input.payload
        assert claimed.input_position == ran.input.position
        ran.claimed = claimed

    async def act(self, talk: Talk, kind: int) -> None:
        """One more entry of the thread's run, which is begun if there is none."""
        ran = talk.running or await self.begin(talk)
        assert ran.claimed is not None
        number = self._next()
        own = [one for one in ran.done if one.run == ran.id and one.seq is not None]
        if kind == 0 and own:
            ran.done.append(Done(ran.id, None, own[-1].key))
            await self.store.append(ran.claimed, said(EntryType.RUN_RETRIED, encode({"voided": [[own[-1].key, 1]]})))
        elif kind == 1:
            await self.store.append(ran.claimed, said(EntryType.RUN_RESUMED))
        elif kind == 2:
            await self._record(talk, ran, step(f"code#{number}", payload=encode(number)))
        else:
            payload = edits.result_payload(encode({"call_id": "c", "tool": "t", "index": number}), number)
            role = Role.TOOL if kind % 2 else Role.ASSISTANT
            message = NewMessage(MessageId(self.store.new_id()), role, len(talk.said) + 1)
            tool = step(f"model#1/{number}", payload=payload, message=message, kind=StepKind.TOOL)
            await self._record(talk, ran, tool)

    async def _record(self, talk: Talk, ran: Ran, entry: NewEntry) -> None:
        assert ran.claimed is not None
        await self.store.append(ran.claimed, entry)
        self._note(talk, ran, entry.key or "", entry.payload or b"", entry.message)

    @staticmethod
    def _note(talk: Talk, ran: Ran, key: str, payload: bytes, message: NewMessage | None) -> None:
        ran.done.append(Done(ran.id, ran.seq + 1, key, payload))
        if message is not None:
            talk.said.append(Said(message.position, message.id, ran.id, ran.seq, message.role, payload))

    async def end(self, talk: Talk, *, rollback: bool = False) -> None:
        ran = talk.running
        if ran is None:
            return
        assert ran.claimed is not None
        if rollback:
            await self.store.cancel(ran.claimed.run, rollback=True)
            talk.said = [replace(one, void=True) if one.run == ran.id else one for one in talk.said]
        await self.store.finish(ran.claimed, status=RunStatus.CANCELLED if rollback else RunStatus.SUCCEEDED)
        ran.claimed = None

    # -- forks

    async def fork(self, ran: Ran, at: int, way: str) -> None:
        """A copy of the thread up to the cut; the fork is claimed at once."""
        edited = next((one for one in ran.done if one.seq == at), None)
        void = {one.key for one in ran.done if one.seq is None}
        asked = ForkRun(run_id=ran.id, at=at)
        kept = at
        if way == "message":
            asked, kept = ForkRun(run_id=ran.id, at=0, edits=Edits(message=f"edited {self._next()}")), -1
        elif way == "rerun" and edited is not None:
            asked, kept = replace(asked, rerun=True), at - 1
        elif way == "output" and edited is not None and edited.key not in void:
            asked, kept = replace(asked, edits=Edits(output=self._next())), at - 1
        else:
            edited = None
        started = await forks.fork(self.house, LOCAL_PRINCIPAL, asked)
        run = started.view.run
        source = self.talks[ran.thread]
        leaves = self.wrote[next((one.run for one in ran.done if one.seq == kept), ran.input.run)]
        talk = Talk(run.thread_id, reads={leaves.id, *leaves.reads})
        self.wrote[run.id] = talk
        self.talks[talk.id] = talk
        ran_from = {one.run for one in ran.done} | {ran.id, ran.input.run}
        for one in source.said:
            if one.position < ran.input.position:
                talk.said.append(one)
            elif one.run in ran_from and one.seq <= kept and _is_of(one, ran):
                talk.said.append(replace(one, void=False))
        done = ran.upto(kept, anew=edited is not None)
        if way == "message":
            payload = encode(asked.edits.message)
            position = len(talk.said) + 1
            first = Said(position, input_message_id(run.id), run.id, 0, Role.USER, payload)
            talk.said.append(first)
        else:
            first = ran.input
        made = Ran(run.id, talk.id, first, done)
        talk.runs.append(made)
        if edited is not None and asked.edits.result is not None:
            message, payload = None, encode(asked.edits.output)
            if edited.key.startswith("model"):
                payload = edits.result_payload(edited.payload, asked.edits.output)
                place = len(talk.said) + 1
                message = NewMessage(MessageId(derived(run.id, edited.key)), Role.TOOL, place)
            self._note(talk, made, edited.key, payload, message)
        await self.claim(talk, made)

    # -- deletion

    async def delete(self, talk: Talk, branches: Branches) -> None:
        readers = [one for one in self.talks.values() if talk.id in one.reads]
        going = [talk, *readers] if branches is Branches.DELETE else [talk]
        busy = any(one.running is not None for one in going)
        refused = "thread_busy" if busy else "has_branches" if branches is Branches.REFUSE and readers else None
        before = await self.store.snapshot() if refused else None
        try:
            await deleting.remove(self.house, LOCAL_PRINCIPAL, talk.id, branches)
        except Conflict as exc:
            assert exc.code == refused
            assert exc.code != "has_branches" or exc.details["branches"] == len(readers)
            assert await self.store.snapshot() == before
            return
        assert refused is None
        for one in going:
            del self.talks[one.id]

    async def delete_all(self) -> None:
        for talk in list(self.talks.values()):
            await self.end(talk)
        while self.talks:
            await self.delete(next(iter(self.talks.values())), Branches.COPY)
        left = {name: rows for name, rows in (await self.store.snapshot()).items() if rows and name not in KEPT}
        assert left == {}, "the last branch takes along what was only there for it"

    # -- what is read

    async def check(self, pick: Callable[[], int]) -> None:
        for talk in self.talks.values():
            await self._check_thread(talk, pick)
            for ran in talk.runs:
                await self._check_steps(ran, pick)

    async def _check_thread(self, talk: Talk, pick: Callable[[], int]) -> None:
        size = len(talk.said)
        after, limit, first, turns = pick() % (size + 2), 1 + pick() % 5, pick() % (size + 2), 1 + pick() % 4
        last = first + pick() % 6
        wanted = talk.said[pick() % size] if size else None

        async def body(tx: Tx) -> None:
            pieces = await lineage.of_thread(tx, TENANT, talk.id)
            assert (await lineage.of_thread(tx, TENANT, talk.id) != ()) == bool(talk.reads)
            where = (tx, TENANT, talk.id)
            assert await messages.last_position(*where, pieces) == size
            assert [_seen(m) for m in await messages.page(*where, 0, size + 9, pieces)] == [_as(m) for m in talk.said]
            page = await messages.page(*where, after, limit, pieces)
            assert [_seen(m) for m in page] == [_as(m) for m in talk.said if m.position > after][:limit]
            valid = [m for m in talk.said if not m.void]
            back = await messages.backwards(*where, after, limit, pieces)
            assert [_seen(m) for m in back] == [_as(m) for m in reversed(valid) if m.position < after][:limit]
            some = await messages.between(*where, first, last, pieces)
            assert [_seen(m) for m in some] == [_as(m) for m in valid if first <= m.position <= last]
            inputs = [m.position for m in reversed(valid) if m.seq == 0 and m.position < after]
            start = await messages.turn_start(*where, after, turns, pieces)
            assert start == (inputs[turns - 1] if len(inputs) >= turns else None)
            if wanted is not None:
                written = await messages.by_id(*where, MessageId(wanted.id), pieces)
                assert written is not None
                assert (written.run_id, written.seq or 0, written.role) == (wanted.run, wanted.seq, wanted.role)

        await self.store.read(body)

    async def _check_steps(self, ran: Ran, pick: Callable[[], int]) -> None:
        run = (await self.store.run(_row(ran))) if ran.claimed is None else ran.claimed.run
        limit = 1 + pick() % 4

        async def body(tx: Tx) -> list[Any]:
            found: list[Any] = []
            while page := await lineage.steps(tx, run, len(found), limit, bare=False):
                found += [
                    (o.run_id, o.entry.seq, o.entry.key, o.entry.payload, o.entry.status == "voided") for o in page
                ]
            return found

        assert await self.store.read(body) == ran.steps()


def _row(ran: Ran) -> Any:
    class Named:
        tenant_id, id = TENANT, ran.id

    return Named


def _is_of(one: Said, ran: Ran) -> bool:
    """Whether the message is of a step, or the input, that this run has."""
    if one.seq == 0:
        return one.run == ran.input.run
    return any(step.run == one.run and step.seq == one.seq for step in ran.done)


def _as(one: Said) -> tuple[int, bytes, bytes, Role, bytes, bool]:
    return (one.position, one.id, one.run, one.role, one.payload, one.void)


def _seen(m: Any) -> tuple[int, bytes, bytes, Role, bytes, bool]:
    return (m.position, m.id, m.run_id, m.role, m.payload, m.void)


MOVES = ["act"] * 6 + ["fork"] * 4 + ["end"] * 2 + ["roll back", "thread", "delete", "delete", "check"]
WAYS = ["plain", "plain", "rerun", "output", "message"]


async def live(data: st.DataObject, world: World, moves: int) -> None:
    def pick() -> int:
        return data.draw(PICK)

    def any_of(found: Any) -> Any:
        return found[pick() % len(found)]

    await world.thread()
    for _ in range(moves):
        talks = list(world.talks.values())
        match data.draw(st.sampled_from(MOVES)) if talks else "thread":
            case "thread":
                await world.thread()
            case "act":
                talk = any_of(talks)
                for _ in range(1 + pick() % 3):
                    await world.act(talk, pick() % 8)
            case "end" | "roll back" as how:
                await world.end(any_of(talks), rollback=how == "roll back")
            case "fork":
                ran = any_of([ran for talk in talks for ran in talk.runs] or [None])
                if ran is not None:
                    await world.fork(ran, pick() % (ran.seq + 1), data.draw(st.sampled_from(WAYS)))
            case "delete":
                talk = any_of(talks)
                if pick() % 2:
                    await world.end(talk)
                await world.delete(talk, data.draw(st.sampled_from([Branches.COPY, *Branches])))
            case _:
                await world.check(pick)
    await world.check(pick)
    await world.delete_all()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner() as runner:
        runner.run(asyncio.wait_for(work(), 60))


async def lived(url: str, data: st.DataObject, moves: int, **options: Any) -> None:
    clock = Clock()
    async with databases.opened(
        url, determinism=Determinism(now_ms=clock, random=SYSTEM.random), **options
    ) as database:
        world = World(database, clock)
        await world.store.seed()
        await live(data, world, moves)


def test_a_branch_reads_like_a_full_copy_on_sqlite(sqlite_template: Path) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "branches.db")

        @settings(max_examples=1_500 if THOROUGH else 40)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            for old in Path(directory).glob("branches.db*"):
                old.unlink()
            shutil.copyfile(sqlite_template, path)
            run(lambda: lived(f"sqlite:///{path}", data, 40))

        check()


@pytest.mark.postgres
def test_a_branch_reads_like_a_full_copy_on_postgresql(postgres_url: str) -> None:
    @settings(max_examples=100 if THOROUGH else 6)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        databases.in_thread(lambda: databases.empty_postgres(postgres_url))
        run(lambda: lived(postgres_url, data, 30, pool=2))

    check()
