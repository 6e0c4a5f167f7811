"""The route of the first page: how things stand."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from holdfast.domain import limits
from holdfast.service import overview
from holdfast.web import routing, shapes, views
from holdfast.web.routing import Reads, problems
from holdfast.web.runs import house_of

router = routing.router()

Hours = Annotated[
    int,
    Query(
        ge=1,
        le=limits.OVERVIEW_HOURS_MAX,
        description="How far back to look. Up to 48 it is told by the hour, beyond by 6 hours.",
    ),
]


@router.get("/v1/overview", response_model=shapes.OverviewOut, responses=problems(422), tags=["overview"])
async def get_overview(request: Request, principal: Reads, hours: Hours = 24) -> Response:
    """How many runs there are by status, what came of those since some time ago, and what waits for people."""
    return routing.json_response(views.overview(await overview.get(house_of(request), principal, hours)))
