"""The route that compares runs."""

from __future__ import annotations

from fastapi import Request, Response

from holdfast.service import diffs
from holdfast.web import moments, routing, shapes
from holdfast.web.routing import Reads, problems
from holdfast.web.runs import house_of
from holdfast.web.states import At

router = routing.router()


@router.get(
    "/v1/runs/{run_id}/diff/{other_id}",
    response_model=shapes.DiffOut,
    responses=problems(404, 422),
    tags=["time travel"],
)
async def diff_runs(
    request: Request, run_id: str, other_id: str, principal: Reads, at: At = None, other_at: At = None
) -> Response:
    """What differs between two runs, or between two steps of one: `at` of the first, `other_at` of the second."""
    this, other = routing.run_id(run_id), routing.run_id(other_id)
    found = await diffs.between(house_of(request), principal, this, other, at, other_at)
    return routing.json_response(moments.diff(found))
