"""Deleting threads while forks are made of them, while others delete, while forks run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import select, text

from holdfast import Agent, Holdfast, ToolContext, tool
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.errors import Conflict, HoldfastError, NotFound
from holdfast.domain.forks import Fresh
from holdfast.domain.ids import ThreadId
from holdfast.domain.runs import RunView
from holdfast.service import deleting, forks
from holdfast.service.deleting import Branches
from holdfast.service.forks import Edits, ForkRun
from holdfast.store import archive, schema
from holdfast.store.base import Tx
from holdfast.testing import Call, ScriptedModel
from tests.runtime.driving import Desk, ended, outcome, output, question, resolve, waiting

DONE: list[str] = []
DOOR = asyncio.Event()
REACHED = asyncio.Event()


@pytest.fixture(autouse=True)
def _world() -> None:
    DONE.clear()
    global DOOR, REACHED  # one loop for each test
    DOOR, REACHED = asyncio.Event(), asyncio.Event()
    DOOR.set()


@tool(effect="keyed")
async def act(ctx: ToolContext, what: str) -> str:
    """Act."""
    DONE.append(what)
    return f"did {what}"


async def plays(messages: Any, info: Any) -> Any:
    results = str(messages).count("ToolReturnPart(")
    if not DOOR.is_set():
        REACHED.set()
        await DOOR.wait()
    return Call("act", {"what": f"{results}"}) if results < 2 else "Done."


agent = Agent("doer", model=ScriptedModel(plays), tools=[act])


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[tuple[Holdfast, Holdfast]]:
    """Two processes' worth of Holdfast on one PostgreSQL."""
    async with AsyncExitStack() as stack:
        desk = Desk(postgres_url, stack)
        yield await desk.open(agent), await desk.open(agent)


async def fork(hf: Holdfast, of: RunView, at: int = 0, **given: Any) -> RunView:
    return (await forks.fork(hf.house, LOCAL_PRINCIPAL, ForkRun(run_id=of.run.id, at=at, **given))).view


async def delete(hf: Holdfast, thread_id: ThreadId, branches: Branches = Branches.REFUSE) -> None:
    await deleting.remove(hf.house, LOCAL_PRINCIPAL, thread_id, branches)


async def said(work: Awaitable[Any]) -> Any:
    """What it came to: its result, or the code of its error. Anything but a declared error is a bug."""
    try:
        return await work
    except HoldfastError as exc:
        return exc.code


async def rows(hf: Holdfast) -> int:
    async def body(tx: Tx) -> int:
        tables = (
            schema.threads,
            schema.runs,
            schema.entries,
            schema.messages,
            schema.thread_lineage,
            schema.run_lineage,
        )
        return sum([len(await tx.all(select(table.c.tenant_id))) for table in tables])

    return await hf.house.database.read(None, body)


class Pause:
    """Stops a transaction in the middle, until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    def before(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        real = getattr(module, name)

        async def paused(*given: Any, **named: Any) -> Any:
            self.reached.set()
            await self.go.wait()
            return await real(*given, **named)

        monkeypatch.setattr(module, name, paused)


async def blocked(hf: Holdfast) -> None:
    """Until a transaction waits for a lock that another one holds."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    async def body(tx: Tx) -> int:
        row = await tx.first(query)
        assert row is not None
        return row[0]

    async with asyncio.timeout(20):
        while not await hf.house.database.read(None, body):
            await asyncio.sleep(0.01)


@pytest.mark.postgres
async def test_a_fork_that_is_being_made_is_seen_by_who_deletes(
    two: tuple[Holdfast, Holdfast], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    parent = await outcome(one, "doer", "x")
    pause = Pause()
    pause.before(monkeypatch, forks, "_insert")
    making = asyncio.create_task(fork(one, parent, 2))
    await pause.reached.wait()
    removing = asyncio.create_task(said(delete(other, parent.run.thread_id)))
    await blocked(one)
    pause.go.set()
    made = await making
    assert await removing == "has_branches"
    assert output(await ended(one, made)) == "Done."


@pytest.mark.postgres
@pytest.mark.parametrize("branches", [Branches.REFUSE, Branches.COPY, Branches.DELETE])
async def test_a_thread_that_is_being_deleted_is_not_forked(
    two: tuple[Holdfast, Holdfast], monkeypatch: pytest.MonkeyPatch, branches: Branches
) -> None:
    one, other = two
    parent = await outcome(one, "doer", "x")
    if branches is not Branches.REFUSE:
        await ended(one, await fork(one, parent, 2))
    pause = Pause()
    pause.before(monkeypatch, archive, "archive" if branches is Branches.COPY else "remove")
    removing = asyncio.create_task(delete(one, parent.run.thread_id, branches))
    await pause.reached.wait()
    making = asyncio.create_task(said(fork(other, parent, 2)))
    await blocked(one)
    pause.go.set()
    await removing
    assert await making == "run_not_found"
    left = await rows(one)
    assert (left == 0) == (branches is not Branches.COPY)


@pytest.mark.postgres
async def test_a_branch_that_goes_while_its_source_is_archived_leaves_nothing(
    two: tuple[Holdfast, Holdfast], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    parent = await outcome(one, "doer", "x")
    made = await ended(one, await fork(one, parent, 2))
    pause = Pause()
    pause.before(monkeypatch, archive, "archive")
    copying = asyncio.create_task(delete(one, parent.run.thread_id, Branches.COPY))
    await pause.reached.wait()
    removing = asyncio.create_task(delete(other, made.run.thread_id))
    await blocked(one)
    pause.go.set()
    await asyncio.gather(copying, removing)
    assert await rows(one) == 0


async def test_of_many_deletes_at_once_one_deletes(desk: Desk) -> None:
    one, other = await desk.open(agent), await desk.open(agent)
    parent = await outcome(one, "doer", "x")
    await ended(one, await fork(one, parent, 2))
    kinds = [Branches.COPY, Branches.DELETE] * 3
    thread_id = parent.run.thread_id
    came = await asyncio.gather(*(said(delete((one, other)[n % 2], thread_id, kind)) for n, kind in enumerate(kinds)))
    assert sorted(came, key=str) == [None, *["thread_not_found"] * 5]


async def test_forks_and_deletes_at_once_come_to_one_or_the_other(desk: Desk) -> None:
    one, other = await desk.open(agent), await desk.open(agent)
    for turn in range(6):
        parent = await outcome(one, "doer", "x")
        branches = list(Branches)[turn % 3]
        *made, removed = await asyncio.gather(
            *(said(fork((one, other)[n % 2], parent, 5)) for n in range(4)),
            said(delete(other, parent.run.thread_id, branches)),
        )
        views = [view for view in made if isinstance(view, RunView)]
        assert {code for code in made if not isinstance(code, RunView)} <= {"run_not_found"}
        assert removed in (None, "has_branches", "thread_busy")
        for view in views:
            gone = removed is None and branches is Branches.DELETE
            assert gone or output(await ended(one, view)) == "Done."
        if removed is not None:
            await delete(one, parent.run.thread_id, Branches.DELETE)
        elif branches is Branches.COPY:
            for view in views:
                await delete(one, view.run.thread_id)
        assert await rows(one) == 0


async def test_a_fork_under_way_goes_on_when_its_source_is_deleted_and_asks_before_it_acts(desk: Desk) -> None:
    """What the parent did cannot be told any more from what it did not: nothing is done twice by mistake."""
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "x")
    assert DONE == ["0", "1"]
    DOOR.clear()
    made = await fork(hf, parent, 2, new=Fresh.EXECUTE)
    await REACHED.wait()
    with pytest.raises(Conflict) as busy:
        await delete(hf, parent.run.thread_id, Branches.DELETE)
    assert busy.value.code == "thread_busy"
    await delete(hf, parent.run.thread_id, Branches.COPY)
    DOOR.set()
    asked = await question(hf, made)
    assert DONE == ["0", "1"]
    await waiting(hf, made)
    await resolve(hf, asked, "approve")
    assert output(await ended(hf, made)) == "Done."
    assert DONE == ["0", "1", "1"]
    await delete(hf, made.run.thread_id)
    assert await rows(hf) == 0


async def test_a_step_edited_in_a_fork_can_still_be_explained_when_its_parent_is_gone(desk: Desk) -> None:
    hf = await desk.open(agent)
    parent = await outcome(hf, "doer", "x")
    made = await ended(hf, await fork(hf, parent, 5, edits=Edits(output="Said otherwise.")))

    async def refs(tx: Tx) -> set[bytes]:
        refs = schema.blob_refs.c
        return {row[0] for row in await tx.all(select(refs.hash).where(refs.thread_id == made.run.thread_id))}

    assert await hf.house.database.read(None, refs), "the branch itself holds what the prompt of its step refers to"
    with pytest.raises(NotFound):
        await delete(hf, ThreadId(b"n" * 16))
