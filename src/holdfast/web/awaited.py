"""The route of events from outside, which runs wait for with `ctx.wait_event`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import Field

from holdfast.domain import limits
from holdfast.domain.access import Principal, Scope
from holdfast.service import awaited
from holdfast.service.awaited import NewEvent
from holdfast.web import routing, shapes, views
from holdfast.web.routing import Body, KeyHeader, key_of, needs, problems
from holdfast.web.runs import house_of

Writes = Annotated[Principal, needs(Scope.EVENTS_WRITE)]

router = routing.router()


class EventIn(Body):
    """An event to be kept for 7 days, and given to each run that waits for its name and key."""

    name: str = Field(min_length=1, max_length=limits.EVENT_NAME_CHARS_MAX)
    key: str | None = Field(default=None, max_length=limits.EVENT_NAME_CHARS_MAX)
    data: Any = None
    id: str | None = Field(default=None, min_length=1, max_length=limits.EVENT_ID_CHARS_MAX)


@router.post(
    "/v1/events",
    status_code=202,
    response_model=shapes.EventOut,
    responses=problems(400, 409, 415, 422),
    tags=["events"],
)
async def send_event(request: Request, body: EventIn, principal: Writes, idempotency_key: KeyHeader = None) -> Response:
    """Send an event. It may come before a run waits for it. The same id again is the same event, and wakes nobody."""
    key = await key_of(request, principal, idempotency_key)
    new = NewEvent(name=body.name, key=body.key or "", data=body.data, external_id=body.id)
    done = await awaited.send(house_of(request), principal, new, key)
    return routing.json_response(views.sent(done), done.status, routing.replay_headers(done.replayed))
