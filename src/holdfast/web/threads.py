"""Routes of threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import Field

from holdfast.domain import ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.threads import ThreadStatus
from holdfast.service import deleting, events, history, runs, threads
from holdfast.service.deleting import Branches
from holdfast.service.runs import RunFilter
from holdfast.service.threads import Change, NewThread, ThreadFilter
from holdfast.web import paging, routing, shapes, streams, views
from holdfast.web.paging import Cursor, Limit, Order
from holdfast.web.routing import Body, ExternalId, KeyHeader, NameText, SearchText, key_of, needs, problems
from holdfast.web.runs import ListedBytes, house_of

Reads = Annotated[Principal, needs(Scope.THREADS_READ)]
ReadsRuns = Annotated[Principal, needs(Scope.THREADS_READ, Scope.RUNS_READ)]
Writes = Annotated[Principal, needs(Scope.THREADS_WRITE)]

router = routing.router()


class ThreadIn(Body):
    title: str | None = Field(default=None, max_length=limits.TITLE_CHARS_MAX)
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    external_id: str | None = Field(default=None, min_length=1, max_length=limits.EXTERNAL_ID_CHARS_MAX)


class ThreadChangeIn(Body):
    """What is given is set, the rest stays; null leaves it as it is. An empty title, or empty metadata, removes it."""

    title: str | None = Field(default=None, max_length=limits.TITLE_CHARS_MAX)
    metadata: dict[str, Any] | None = None


@router.post(
    "/v1/threads",
    status_code=201,
    response_model=shapes.ThreadOut,
    responses=problems(400, 409, 415, 422),
    tags=["threads"],
)
async def create_thread(
    request: Request, principal: Writes, body: ThreadIn | None = None, idempotency_key: KeyHeader = None
) -> Response:
    """Make a thread."""
    key = await key_of(request, principal, idempotency_key)
    given = body or ThreadIn()
    ask = NewThread(title=given.title, metadata=given.metadata, external_id=given.external_id)
    created = await threads.create(house_of(request), principal, ask, key)
    root = request.scope.get("root_path", "").rstrip("/")
    location = f"{root}/v1/threads/{ids.text(ids.THREAD, created.view.thread.id)}"
    headers = routing.replay_headers(created.replayed, Location=location)
    return routing.json_response(views.thread(created.view), created.status, headers)


@router.get("/v1/threads", response_model=shapes.Page[shapes.ThreadOut], responses=problems(400, 422), tags=["threads"])
async def list_threads(
    request: Request,
    principal: Reads,
    status: ThreadStatus | None = None,
    external_id: ExternalId | None = None,
    agent: Annotated[NameText | None, Query(description="The agent of the thread's last run.")] = None,
    q: Annotated[SearchText | None, Query(description="What stands in the title, in any case.")] = None,
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """Threads, newest first; those of child runs are left out.

    With `agent` or `q` each page looks through a bounded number of threads: it may show fewer than `limit`, or none,
    and still have a `next_cursor` that leads on.
    """
    filters = {"status": status, "external_id": external_id, "agent": agent, "q": q}
    here = paging.place(principal, "threads", filters, cursor, size=ids.ID_BYTES)
    wanted = ThreadFilter(
        status=status, external_id=external_id, agent=agent, title=q, before=here.position, limit=limit
    )
    if wanted.searches:
        searched = await threads.search(house_of(request), principal, wanted)
        return paging.answer_up_to(here, searched.found, views.thread, searched.following)
    wanted = replace(wanted, limit=limit + 1)
    found = await threads.page(house_of(request), principal, wanted)
    return paging.answer(here, found, limit, views.thread, lambda view: view.thread.id)


@router.get("/v1/threads/{thread_id}", response_model=shapes.ThreadOut, responses=problems(404, 422), tags=["threads"])
async def get_thread(request: Request, thread_id: str, principal: Reads) -> Response:
    """A thread as it stands."""
    view = await threads.get(house_of(request), principal, routing.thread_id(thread_id))
    return routing.json_response(views.thread(view))


@router.patch(
    "/v1/threads/{thread_id}",
    response_model=shapes.ThreadOut,
    responses=problems(400, 404, 409, 415, 422),
    tags=["threads"],
)
async def change_thread(request: Request, thread_id: str, body: ThreadChangeIn, principal: Writes) -> Response:
    """Change a thread's title or metadata. What changes nothing leaves `updated_at`."""
    wanted = Change(body.title, body.metadata)
    view = await threads.change(house_of(request), principal, routing.thread_id(thread_id), wanted)
    return routing.json_response(views.thread(view))


@router.delete(
    "/v1/threads/{thread_id}",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "Deleted."}, **problems(404, 409, 422)},
    tags=["threads"],
)
async def delete_thread(
    request: Request,
    thread_id: str,
    principal: Writes,
    branches: Annotated[
        Literal["delete", "copy"] | None,
        Query(description="What becomes of its branches: `delete` them too, or they keep a `copy` of what they read."),
    ] = None,
) -> Response:
    """Delete a thread with its runs, their journals and messages. 409 `thread_busy` while one of them is alive.

    While branches read it, 409 `has_branches` unless `branches` says what becomes of them. All goes or nothing.
    """
    wanted = Branches.REFUSE if branches is None else Branches(branches)
    await deleting.remove(house_of(request), principal, routing.thread_id(thread_id), wanted)
    return Response(status_code=204)


@router.get(
    "/v1/threads/{thread_id}/messages",
    response_model=shapes.Page[shapes.MessageOut],
    responses=problems(400, 404, 422),
    tags=["threads"],
)
async def list_messages(
    request: Request,
    thread_id: str,
    principal: Reads,
    order: Order = "asc",
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """The thread's messages, oldest first; with `order=desc` newest first, as a chat that opens at its end reads."""
    id = routing.thread_id(thread_id)
    named = {"thread_id": thread_id, "order": "desc" if order == "desc" else None}
    here = paging.place(principal, "messages", named, cursor, size=paging.NUMBER_BYTES)
    house = house_of(request)
    if order == "desc":
        before = None if here.position is None else here.number
        found = await history.page_back(house, principal, id, before, limit + 1)
    else:
        found = await history.page(house, principal, id, here.number, limit + 1)
    return paging.answer(here, found, limit, views.message, lambda message: message.position)


@router.get(
    "/v1/threads/{thread_id}/runs",
    response_model=shapes.Page[shapes.RunOut],
    responses=problems(400, 404, 422),
    tags=["threads"],
)
async def list_thread_runs(
    request: Request,
    thread_id: str,
    principal: ReadsRuns,
    bytes_max: ListedBytes = limits.LISTED_BYTES,
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """The thread's runs, newest first, without large inputs and outputs."""
    id = routing.thread_id(thread_id)
    here = paging.place(principal, "thread_runs", {"thread_id": thread_id}, cursor, size=ids.ID_BYTES)
    house = house_of(request)
    await threads.get(house, principal, id)
    wanted = RunFilter(thread_id=id, before=here.position, limit=limit + 1)
    found = await runs.page(house, principal, wanted, bytes_max)
    return paging.answer(here, found, limit, views.run, lambda view: view.run.id)


@router.get(
    "/v1/threads/{thread_id}/events",
    response_class=Response,
    responses={200: streams.SSE_RESPONSE, **problems(400, 404, 422)},
    tags=["threads"],
)
async def follow_thread(
    request: Request,
    thread_id: str,
    principal: ReadsRuns,
    last_event_id: streams.LastEventId = None,
    after: streams.After = None,
) -> Response:
    """The events of the thread's runs, one run after another; ids are `ordinal.pos`. It stays open between runs."""
    cursor = streams.thread_cursor(last_event_id, after)
    followed = await events.of_thread(house_of(request), principal, routing.thread_id(thread_id), cursor)
    return streams.of_thread(request, followed)
