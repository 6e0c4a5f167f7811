"""Routes of published state, and of runs at a step."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import BeforeValidator, WithJsonSchema

from holdfast.domain import limits
from holdfast.service import states
from holdfast.web import moments, routing, shapes
from holdfast.web.routing import Reads, problems
from holdfast.web.runs import house_of
from holdfast.web.threads import Reads as ReadsThreads

POSITION_MAX = 2**53

router = routing.router()

STEP_DIGITS_MAX = len(str(limits.JOURNAL_STEPS_MAX))


def _step(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= STEP_DIGITS_MAX:
        return int(value)
    raise ValueError("a step is a whole number, from 0 to the last step of the run")


At = Annotated[
    int | None,
    BeforeValidator(_step),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 10**STEP_DIGITS_MAX - 1}),
    Query(description="A step of the run, by its `seq`; 0 is before the first. The last one by default."),
]
BeforeMessage = Annotated[
    int | None,
    Query(ge=1, le=POSITION_MAX, description="Show messages before this position: `messages.earlier` of the answer."),
]


@router.get(
    "/v1/threads/{thread_id}/state", response_model=shapes.PublishedOut, responses=problems(404, 422), tags=["threads"]
)
async def get_thread_state(request: Request, thread_id: str, principal: ReadsThreads) -> Response:
    """The state that a thread's runs have published, as it stands."""
    found = await states.of_thread(house_of(request), principal, routing.thread_id(thread_id))
    return routing.json_response(moments.thread_state(found))


@router.get(
    "/v1/runs/{run_id}/state", response_model=shapes.RunStateOut, responses=problems(404, 422), tags=["time travel"]
)
async def get_run_state(
    request: Request, run_id: str, principal: Reads, at: At = None, before: BeforeMessage = None
) -> Response:
    """Where a run stood at a step: the last one, unless `at` says which."""
    house = house_of(request)
    seen = await states.at_step(house, principal, routing.run_id(run_id), at, before_message=before)
    return routing.json_response(moments.run_state(seen))
