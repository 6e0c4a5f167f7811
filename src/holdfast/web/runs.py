"""Routes of runs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, cast

from fastapi import Query, Request, Response
from pydantic import Field

from holdfast.domain import ids, limits
from holdfast.domain.access import Principal
from holdfast.domain.errors import Invalid
from holdfast.domain.ids import PrincipalId, RunId, ThreadId
from holdfast.domain.runs import OnBusy, OnDisconnect, RunLimits, RunStatus
from holdfast.service import events, prompts, retrying, runs
from holdfast.service.forks import ABSENT, Edits
from holdfast.service.house import House
from holdfast.service.runs import RunFilter, StartRun
from holdfast.web import answers, paging, routing, shapes, streams, views
from holdfast.web.answers import Wait
from holdfast.web.paging import Cursor, Limit
from holdfast.web.parameters import Amount, Flag, Time, ms_of
from holdfast.web.routing import (
    Body,
    ExternalId,
    KeyHeader,
    NameText,
    Reads,
    TagText,
    Writes,
    filter_id,
    key_of,
    problems,
)

SEQ_MAX = limits.JOURNAL_STEPS_MAX

router = routing.router()


# -- parameters -----------------------------------------------------------------------------------------------------


Tag = Annotated[str, Field(min_length=1, max_length=limits.TAG_CHARS_MAX)]


class LimitsIn(Body):
    """Caps of a run. What is absent has no cap but the agent's."""

    steps_max: Amount | None = None
    tool_calls_max: Amount | None = None
    tokens_max: Amount | None = None
    cost_micros_max: Amount | None = None
    active_ms_max: Amount | None = None
    deadline: Time | None = Field(default=None, description="The calendar time at which the run ends at the latest.")

    def caps(self) -> RunLimits:
        return RunLimits(self.steps_max, self.tool_calls_max, self.tokens_max, self.cost_micros_max, self.active_ms_max)


class ThreadIn(Body):
    """A thread by the client's own id; `create`: make it if there is none."""

    external_id: str = Field(min_length=1, max_length=limits.EXTERNAL_ID_CHARS_MAX)
    create: bool = Field(default=False, strict=True)


class StartIn(Body):
    """A run to start. Without `thread_id` or `thread` it gets a thread of its own."""

    agent: str = Field(min_length=1, max_length=64)
    input: Any = Field(default=None, description="Text, content parts, or the agent's input type.")
    thread_id: str | None = None
    thread: ThreadIn | None = None
    external_id: str | None = Field(default=None, min_length=1, max_length=limits.EXTERNAL_ID_CHARS_MAX)
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    tags: list[Tag] = Field(default_factory=list[str], max_length=limits.TAGS_MAX)
    on_busy: OnBusy = OnBusy.ENQUEUE
    start_after: Time | None = None
    limits: LimitsIn | None = None
    on_disconnect: OnDisconnect = Field(
        default=OnDisconnect.CONTINUE,
        description="`cancel`: the run is cancelled if the client goes away before its answer. Only for requests that "
        "are held open: a stream, or `wait`.",
    )

    def ask(self) -> StartRun:
        if self.thread_id is not None and self.thread is not None:
            raise Invalid("Give thread_id or thread, not both.", code="invalid_request")
        caps = self.limits
        return StartRun(
            agent=self.agent,
            input=self.input,
            thread_id=None if self.thread_id is None else routing.thread_id(self.thread_id),
            thread_external_id=None if self.thread is None else self.thread.external_id,
            thread_create=self.thread is not None and self.thread.create,
            external_id=self.external_id,
            metadata=self.metadata,
            tags=tuple(self.tags),
            on_busy=self.on_busy,
            start_after=ms_of(self.start_after),
            deadline=None if caps is None else ms_of(caps.deadline),
            limits=None if caps is None else caps.caps(),
        )


class CancelIn(Body):
    reason: str | None = Field(default=None, max_length=limits.ERROR_CHARS_MAX)
    compensate: bool = Field(
        default=False,
        strict=True,
        description="Before the run and its children end, what they did is undone, as far as their tools say how.",
    )


class EditsIn(Body):
    """What is different. At most one of `output`, `answer`, `message`; `instructions` and `model`: of model calls."""

    output: Any = Field(
        default=None,
        description='Another result of the step: of a tool, of code, of a child; of a model a text, or `{"text", '
        '"tool_calls": [{"tool", "args"}]}`.',
    )
    answer: Any = Field(default=None, description="Another answer to the question that the step is.")
    message: Any = Field(default=None, description="Another input of the run; then `at` is 0.")
    instructions: str | None = Field(default=None, min_length=1, max_length=limits.INSTRUCTIONS_CHARS_MAX)
    model: str | None = Field(default=None, min_length=1, max_length=limits.MODEL_CHARS_MAX)

    def edits(self) -> Edits:
        given = self.model_fields_set
        return Edits(
            output=self.output if "output" in given else ABSENT,
            answer=self.answer if "answer" in given else ABSENT,
            message=self.message if "message" in given else ABSENT,
            instructions=self.instructions,
            model=self.model,
        )


class RetryIn(Body):
    """`limits` replace all limits of the run; without them it keeps its own."""

    limits: LimitsIn | None = None
    edits: EditsIn | None = Field(
        default=None,
        description="`instructions` and `model` of all model calls from here on; an agent's run only. Whatever else "
        "would change what is recorded: that is a fork.",
    )


def house_of(request: Request) -> House:
    return request.app.state.house


# -- starting -------------------------------------------------------------------------------------------------------


@router.post(
    "/v1/runs",
    status_code=201,
    response_model=shapes.RunOut,
    responses={201: answers.RUN_OR_EVENTS, **problems(400, 404, 409, 415, 422)},
    tags=["runs"],
)
async def start_run(
    request: Request,
    body: StartIn,
    principal: Writes,
    wait: Wait = 0,
    idempotency_key: KeyHeader = None,
) -> Response:
    """Start a run. It is durable when this answers."""
    how = answers.asked(request, principal, wait)
    cancels = body.on_disconnect is OnDisconnect.CANCEL
    if cancels and not how.held_open:
        raise Invalid(
            "on_disconnect: cancel needs a request that is held open: wait, or Accept: text/event-stream.",
            code="invalid_request",
        )
    key = await key_of(request, principal, idempotency_key)
    started = await runs.start(house_of(request), principal, body.ask(), key)
    return await answers.answer(request, principal, how, started, cancels=cancels, fresh=not started.replayed)


# -- looking --------------------------------------------------------------------------------------------------------


BytesMax = Annotated[
    int | None,
    Query(
        ge=limits.CUT_BYTES_MIN,
        le=limits.PAYLOAD_BYTES_MAX,
        description="Leave out what is larger than so many bytes of JSON.",
    ),
]
ListedBytes = Annotated[
    int,
    Query(
        ge=limits.CUT_BYTES_MIN,
        le=limits.LISTED_BYTES_MAX,
        description="Leave out each input and output that is larger than so many bytes of JSON.",
    ),
]


@router.get("/v1/runs", response_model=shapes.Page[shapes.RunOut], responses=problems(400, 422), tags=["runs"])
async def list_runs(
    request: Request,
    principal: Reads,
    agent: NameText | None = None,
    thread_id: str | None = None,
    status: Annotated[list[RunStatus] | None, Query(max_length=len(RunStatus))] = None,
    tag: TagText | None = None,
    version: NameText | None = None,
    initiator: Annotated[str | None, Query(alias="principal")] = None,
    parent_id: str | None = None,
    external_id: ExternalId | None = None,
    created_after: Time | None = None,
    created_before: Time | None = None,
    include_children: Flag = False,
    forked: Annotated[Flag | None, Query(description="Whether it was forked from another run.")] = None,
    imported: Annotated[Flag | None, Query(description="Whether it came out of a file.")] = None,
    bytes_max: ListedBytes = limits.LISTED_BYTES,
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """Runs, newest first. Child runs are shown with `include_children`, or when asked for by parent or thread.

    Large inputs and outputs are left out, and `input_cut` and `output_cut` tell of them; a run alone has them whole.
    """
    filters: dict[str, Any] = {
        "agent": agent,
        "thread_id": cast("ThreadId | None", filter_id(ids.THREAD, "thread_id", thread_id)),
        "tag": tag,
        "version": version,
        "principal_id": cast("PrincipalId | None", filter_id(ids.PRINCIPAL, "principal", initiator)),
        "parent_id": cast("RunId | None", filter_id(ids.RUN, "parent_id", parent_id)),
        "external_id": external_id,
        "created_after": ms_of(created_after),
        "created_before": ms_of(created_before),
        "include_children": include_children,
        "forked": forked,
        "imported": imported,
        "status": tuple(sorted(set(status or ()))),
    }
    return await runs_page(request, principal, "runs", filters, limit, cursor, bytes_max)


async def runs_page(
    request: Request,
    principal: Principal,
    kind: str,
    filters: dict[str, Any],
    limit: int,
    cursor: str | None,
    bytes_max: int,
) -> Response:
    named = {name: value.hex() if isinstance(value, bytes) else value for name, value in filters.items()}
    here = paging.place(principal, kind, named, cursor, size=ids.ID_BYTES)
    wanted = RunFilter(**filters, before=here.position, limit=limit + 1)
    found = await runs.page(house_of(request), principal, wanted, bytes_max)
    return paging.answer(here, found, limit, views.run, lambda view: view.run.id)


@router.get("/v1/runs/{run_id}", response_model=shapes.RunOut, responses=problems(404, 422), tags=["runs"])
async def get_run(
    request: Request, run_id: str, principal: Reads, wait: Wait = 0, bytes_max: BytesMax = None
) -> Response:
    """A run as it stands."""
    house = house_of(request)
    view = await runs.get(house, principal, routing.run_id(run_id))
    if wait:
        view = await runs.wait(house, principal, view, wait)
    return routing.json_response(views.run(view if bytes_max is None else view.cut(bytes_max)))


@router.get(
    "/v1/runs/{run_id}/events",
    response_class=Response,
    responses={200: streams.SSE_RESPONSE, **problems(400, 404, 422)},
    tags=["runs"],
)
async def follow_run(
    request: Request,
    run_id: str,
    principal: Reads,
    last_event_id: streams.LastEventId = None,
    after: streams.After = None,
    until: Literal["waiting"] | None = None,
) -> Response:
    """A run's events: every durable one behind the cursor, once and in order; then what happens, until it ended.

    `until=waiting` ends the stream also when the run waits.
    """
    cursor = streams.run_cursor(last_event_id, after)
    followed = await events.of_run(
        house_of(request), principal, routing.run_id(run_id), cursor, until_waiting=until is not None
    )
    return streams.of_run(request, followed)


Seq = Annotated[int, Field(ge=1, le=SEQ_MAX)]


@router.get(
    "/v1/runs/{run_id}/steps",
    response_model=shapes.Page[shapes.StepRow],
    responses=problems(400, 404, 422),
    tags=["steps"],
)
async def list_steps(
    request: Request, run_id: str, principal: Reads, limit: Limit = limits.PAGE_SIZE, cursor: Cursor = None
) -> Response:
    """The steps of a run, oldest first, without what they recorded."""
    id = routing.run_id(run_id)
    here = paging.place(principal, "steps", {"run_id": run_id}, cursor, size=paging.NUMBER_BYTES)
    house = house_of(request)
    found = await runs.steps(house, principal, id, here.number, limit + 1)
    linked = await runs.linked(house, principal.tenant_id, found)
    return paging.answer(here, found, limit, lambda one: views.step_row(one, linked), lambda one: one.entry.seq or 0)


@router.get(
    "/v1/runs/{run_id}/steps/{seq}", response_model=shapes.StepOut, responses=problems(404, 422), tags=["steps"]
)
async def get_step(request: Request, run_id: str, seq: Seq, principal: Reads, bytes_max: BytesMax = None) -> Response:
    """One step, with what it recorded."""
    house = house_of(request)
    found = await runs.step(house, principal, routing.run_id(run_id), seq)
    linked = await runs.linked(house, principal.tenant_id, [found])
    return routing.json_response(views.step(found, linked, bytes_max))


@router.get(
    "/v1/runs/{run_id}/steps/{seq}/output",
    response_class=Response,
    responses={
        200: {
            "description": "The output as a file of JSON.",
            "content": {"application/json": {"schema": {}}},
        },
        **problems(404, 422),
    },
    tags=["steps"],
)
async def get_output(request: Request, run_id: str, seq: Seq, principal: Reads) -> Response:
    """What a step recorded, whole, as a file."""
    found = await runs.step(house_of(request), principal, routing.run_id(run_id), seq)
    name = f"{run_id}.{seq}.json"
    return routing.json_response(
        views.output(found),
        headers={"content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"},
    )


@router.get(
    "/v1/runs/{run_id}/steps/{seq}/prompt",
    response_model=shapes.PromptOut,
    responses=problems(404, 422),
    tags=["steps"],
)
async def get_prompt(request: Request, run_id: str, seq: Seq, principal: Reads, bytes_max: BytesMax = None) -> Response:
    """What a model step asked, exactly."""
    found = await prompts.get(house_of(request), principal, routing.run_id(run_id), seq)
    return routing.json_response(await asyncio.to_thread(views.prompt, found, bytes_max))


@router.get(
    "/v1/runs/{run_id}/children",
    response_model=shapes.Page[shapes.RunOut],
    responses=problems(400, 404, 422),
    tags=["runs"],
)
async def list_children(
    request: Request,
    run_id: str,
    principal: Reads,
    bytes_max: ListedBytes = limits.LISTED_BYTES,
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """The runs that this one started, newest first."""
    id = routing.run_id(run_id)
    await runs.get(house_of(request), principal, id)
    return await runs_page(request, principal, "children", {"parent_id": id}, limit, cursor, bytes_max)


# -- stopping and going on ------------------------------------------------------------------------------------------


@router.post(
    "/v1/runs/{run_id}/cancel",
    status_code=202,
    response_model=shapes.RunOut,
    responses={
        200: {"description": "The run was cancelled before.", "model": shapes.RunOut},
        **problems(400, 404, 409, 415, 422),
    },
    tags=["runs"],
)
async def cancel_run(
    request: Request, run_id: str, principal: Writes, body: CancelIn | None = None, idempotency_key: KeyHeader = None
) -> Response:
    """Ask a run and its children to stop. A queued or waiting one ends at once, a running one as soon as it can."""
    key = await key_of(request, principal, idempotency_key)
    given = body or CancelIn()
    id = routing.run_id(run_id)
    outcome = await runs.cancel(house_of(request), principal, id, given.reason, key, compensate=given.compensate)
    headers = routing.replay_headers(outcome.replayed)
    return routing.json_response(views.run(outcome.view), outcome.status, headers)


@router.post(
    "/v1/runs/{run_id}/retry",
    status_code=202,
    response_model=shapes.RunOut,
    responses={202: answers.RUN_OR_EVENTS, **problems(400, 404, 409, 415, 422)},
    tags=["runs"],
)
async def retry_run(
    request: Request,
    run_id: str,
    principal: Writes,
    body: RetryIn | None = None,
    wait: Wait = 0,
    idempotency_key: KeyHeader = None,
) -> Response:
    """Queue a failed run again. What it recorded stays; the step at which it failed runs anew."""
    how = answers.asked(request, principal, wait)
    key = await key_of(request, principal, idempotency_key)
    given = body or RetryIn()
    caps = None if given.limits is None else given.limits.caps()
    deadline = None if given.limits is None else ms_of(given.limits.deadline)
    edits = Edits() if given.edits is None else given.edits.edits()
    id = routing.run_id(run_id)
    retried = await retrying.retry(house_of(request), principal, id, caps, key, deadline=deadline, edits=edits)
    return await answers.answer(request, principal, how, retried, after=retried.pos - 1)
