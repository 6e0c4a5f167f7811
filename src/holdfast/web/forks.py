"""Routes of time travel that make runs: fork, edit, regenerate; and of the tree that they grow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import Request, Response
from pydantic import Field

from holdfast.domain import ids, limits
from holdfast.domain.access import Principal
from holdfast.domain.forks import Fresh, Reads, Repeat
from holdfast.domain.ids import MessageId, RunId
from holdfast.service import branches, forks, runs, threads
from holdfast.service.forks import ForkRun
from holdfast.service.house import House
from holdfast.service.idempotency import Key
from holdfast.service.runs import Started
from holdfast.service.threads import ThreadFilter
from holdfast.web import answers, paging, routing, shapes, views
from holdfast.web.answers import Wait
from holdfast.web.paging import Cursor, Limit
from holdfast.web.routing import Body, KeyHeader, Writes, key_of, problems
from holdfast.web.routing import Reads as ReadsRuns
from holdfast.web.runs import EditsIn, LimitsIn, ListedBytes, Tag, house_of, runs_page
from holdfast.web.threads import Reads as ReadsThreads

router = routing.router()

SEQ_MAX = limits.JOURNAL_STEPS_MAX * limits.FORK_DEPTH_MAX


class EffectsIn(Body):
    """What the fork's calls do, after the fork point. They are compared by tool and arguments."""

    repeat: Repeat = Field(default=Repeat.REUSE, description="Calls that the parent has made.")
    new: Fresh | None = Field(default=None, description="Calls that it has not; `ask` unless the run was imported.")
    reads: Reads = Field(default=Reads.EXECUTE, description="Calls that only read.")


class _HowIn(Body):
    effects: Repeat | EffectsIn = Field(
        default_factory=EffectsIn, description="`{repeat, new, reads}`, or one word for `repeat`."
    )
    metadata: dict[str, Any] | None = Field(default=None, description="The parent's unless given.")
    tags: list[Tag] = Field(default_factory=list[str], max_length=limits.TAGS_MAX)
    limits: LimitsIn | None = Field(default=None, description="The parent's unless given.")

    def how(self, run_id: RunId, at: int) -> ForkRun:
        effects = EffectsIn(repeat=self.effects) if isinstance(self.effects, Repeat) else self.effects
        return ForkRun(
            run_id=run_id,
            at=at,
            repeat=effects.repeat,
            new=effects.new,
            reads=effects.reads,
            limits=None if self.limits is None else self.limits.caps(),
            metadata=self.metadata,
            tags=tuple(dict.fromkeys(self.tags)),
        )


class ForkIn(_HowIn):
    """Where to leave the run, and what is different then."""

    at: int = Field(ge=0, le=SEQ_MAX, strict=True, description="The step (`seq`) up to which the run is kept; 0: none.")
    edits: EditsIn = Field(default_factory=EditsIn)
    rerun: bool = Field(default=False, strict=True, description="Keep the steps before `at`, and run it again.")

    def ask(self, run_id: RunId) -> ForkRun:
        return replace(self.how(run_id, self.at), edits=self.edits.edits(), rerun=self.rerun)


class EditIn(_HowIn):
    """What to say in place of a message."""

    message_id: str
    message: Any


class RegenerateIn(_HowIn):
    """Which answer to give anew: the last run's, unless a message is named."""

    message_id: str | None = None


# What all routes that make a run out of another one say of themselves.
_MAKES: Final[Mapping[str, Any]] = {
    "status_code": 201,
    "response_model": shapes.RunOut,
    "responses": {201: answers.RUN_OR_EVENTS, **problems(400, 403, 404, 409, 415, 422)},
    "tags": ["time travel"],
}


async def _made(
    request: Request,
    principal: Principal,
    seconds: float,
    given_key: str | None,
    make: Callable[[House, Key | None], Awaitable[Started]],
) -> Response:
    """The run that `make` makes, once for a key, answered as the client wants it."""
    how = answers.asked(request, principal, seconds)
    started = await make(house_of(request), await key_of(request, principal, given_key))
    return await answers.answer(request, principal, how, started)


@router.post("/v1/runs/{run_id}/fork", **_MAKES)
async def fork_run(
    request: Request,
    run_id: str,
    body: ForkIn,
    principal: Writes,
    wait: Wait = 0,
    idempotency_key: KeyHeader = None,
) -> Response:
    """A new run that goes on from a step of this one, on a new branch of its thread. This one stays as it is.

    It acts as whoever forks. Decisions among the kept steps are history: what has not been done is asked again.
    """
    ask = body.ask(routing.run_id(run_id))
    return await _made(
        request, principal, wait, idempotency_key, lambda house, key: forks.fork(house, principal, ask, key)
    )


@router.get(
    "/v1/runs/{run_id}/forks",
    response_model=shapes.Page[shapes.RunOut],
    responses=problems(400, 404, 422),
    tags=["time travel"],
)
async def list_forks(
    request: Request,
    run_id: str,
    principal: ReadsRuns,
    bytes_max: ListedBytes = limits.LISTED_BYTES,
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """The runs that were forked from this one, newest first."""
    id = routing.run_id(run_id)
    await runs.get(house_of(request), principal, id)
    return await runs_page(request, principal, "forks", {"forked_run": id}, limit, cursor, bytes_max)


@router.get(
    "/v1/threads/{thread_id}/branches",
    response_model=shapes.Page[shapes.ThreadOut],
    responses=problems(400, 404, 422),
    tags=["time travel"],
)
async def list_branches(
    request: Request, thread_id: str, principal: ReadsThreads, limit: Limit = limits.PAGE_SIZE, cursor: Cursor = None
) -> Response:
    """The threads that leave this one, newest first; those that leave them are listed there."""
    id = routing.thread_id(thread_id)
    house = house_of(request)
    await threads.get(house, principal, id)
    here = paging.place(principal, "branches", {"thread_id": thread_id}, cursor, size=ids.ID_BYTES)
    wanted = ThreadFilter(branch_of=id, before=here.position, limit=limit + 1)
    found = await threads.page(house, principal, wanted)
    return paging.answer(here, found, limit, views.thread, lambda view: view.thread.id)


@router.post("/v1/threads/{thread_id}/edit", **_MAKES)
async def edit_message(
    request: Request,
    thread_id: str,
    body: EditIn,
    principal: Writes,
    wait: Wait = 0,
    idempotency_key: KeyHeader = None,
) -> Response:
    """Say something else in place of a user's message: a run on a new branch that leaves the thread before it."""
    thread, message = routing.thread_id(thread_id), MessageId(ids.parse(ids.MESSAGE, body.message_id))

    def make(house: House, key: Key | None) -> Awaitable[Started]:
        return branches.edit(house, principal, thread, message, body.message, body.how(_NO_RUN, 0), key)

    return await _made(request, principal, wait, idempotency_key, make)


@router.post("/v1/threads/{thread_id}/regenerate", **_MAKES)
async def regenerate(
    request: Request,
    thread_id: str,
    principal: Writes,
    body: RegenerateIn | None = None,
    wait: Wait = 0,
    idempotency_key: KeyHeader = None,
) -> Response:
    """Have an answer given anew, on a new branch: the one that this message is, or the whole last run."""
    given = body or RegenerateIn()
    thread = routing.thread_id(thread_id)
    message = None if given.message_id is None else MessageId(ids.parse(ids.MESSAGE, given.message_id))

    def make(house: House, key: Key | None) -> Awaitable[Started]:
        return branches.regenerate(house, principal, thread, message, given.how(_NO_RUN, 0), key)

    return await _made(request, principal, wait, idempotency_key, make)


_NO_RUN = RunId(b"")
