"""One ephemeral stream per browser tab: hints at what changed."""

from __future__ import annotations

from fastapi import Request, Response

from holdfast.service import changes
from holdfast.web import routing, streams
from holdfast.web.routing import Reads, problems
from holdfast.web.runs import house_of

router = routing.router()


@router.get(
    "/v1/changes",
    response_class=Response,
    responses={
        200: {
            "description": "Events `change` with `{kind, id, status}`. No replay: after a reconnect, refetch.",
            "content": streams.SSE_RESPONSE["content"],
        },
        **problems(),
    },
    tags=["changes"],
)
async def follow_changes(request: Request, principal: Reads) -> Response:
    """What changes in the tenant, as it happens."""
    return streams.of_changes(request, changes.follow(house_of(request), principal))
