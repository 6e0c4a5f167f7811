"""Routes of what a run looks like from further away: its steps in time, and the tree of forks that it belongs to."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import Field

from holdfast.domain import limits
from holdfast.service import families, timelines
from holdfast.web import routing, shapes, views
from holdfast.web.routing import Reads, problems
from holdfast.web.runs import house_of

router = routing.router()

After = Annotated[int, Field(ge=0, le=limits.JOURNAL_STEPS_MAX * limits.FORK_DEPTH_MAX)]
Steps = Annotated[int, Query(ge=1, le=limits.JOURNAL_STEPS_MAX, description="How many steps are told at most.")]


@router.get(
    "/v1/runs/{run_id}/timeline",
    response_model=shapes.TimelineOut,
    responses=problems(404, 422),
    tags=["steps"],
)
async def get_timeline(
    request: Request,
    run_id: str,
    principal: Reads,
    after: After = 0,
    limit: Steps = limits.JOURNAL_STEPS_MAX,
) -> Response:
    """All steps of a run in time, as columns: what a waterfall shows, in one answer. `after`: only what is new."""
    found = await timelines.get(house_of(request), principal, routing.run_id(run_id), after, limit)
    return routing.json_response(await asyncio.to_thread(views.timeline, found))


@router.get(
    "/v1/runs/{run_id}/family",
    response_model=shapes.FamilyOut,
    responses=problems(404, 422),
    tags=["time travel"],
)
async def get_family(request: Request, run_id: str, principal: Reads) -> Response:
    """The tree of forks that a run belongs to, oldest first, from its root on."""
    found = await families.get(house_of(request), principal, routing.run_id(run_id))
    return routing.json_response(views.family(found))
