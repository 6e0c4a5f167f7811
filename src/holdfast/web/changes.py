"""The one stream of a browser tab: hints at what changed, and the events of the runs that it looks at."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from holdfast.domain import limits
from holdfast.service import changes
from holdfast.web import routing, streams
from holdfast.web.routing import Reads, problems
from holdfast.web.runs import house_of

router = routing.router()

Watch = Annotated[
    list[str] | None,
    Query(
        max_length=limits.WATCHED_RUNS_MAX,
        description="A run whose events are told too, as `run_…`, or `run_…:POS` behind an event of it. Repeatable.",
    ),
]


@router.get(
    "/v1/changes",
    response_class=Response,
    responses={
        200: {
            "description": "Events `change` with `{kind, id, status}`, of what the credential may read, and `resync` "
            "when some were missed; they have no id. Of each run in `watch` all its events, as `/v1/runs/{run_id}/"
            "events` tells them; their ids lead back to all of these runs.",
            "content": streams.SSE_RESPONSE["content"],
        },
        **problems(400, 404, 422),
    },
    tags=["changes"],
)
async def follow_changes(
    request: Request,
    principal: Reads,
    watch: Watch = None,
    last_event_id: streams.LastEventId = None,
) -> Response:
    """What changes in the tenant, as it happens, and the events of some runs. It stays open when those have ended.

    There is no replay of hints: after a reconnect, and after `resync`, refetch what is shown. Events of runs are
    neither lost nor repeated: the browser's own reconnect sends the last id, which wins over `watch`.
    """
    places = streams.watched(watch or (), last_event_id)
    followed = await changes.follow(house_of(request), principal, places)
    return streams.of_changes(request, followed)
