"""From a service's stream to one on the wire: cursors in, ids out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import Header, Query, Request, Response

from holdfast.bus.base import Change
from holdfast.domain import errors
from holdfast.domain.events import Event
from holdfast.domain.ids import RUN, RunId, text
from holdfast.service.access import Auth
from holdfast.service.changes import ChangeFollower, Resync, Told, Watched
from holdfast.service.events import Follower, Quiet, ThreadCursor
from holdfast.web import gate, routing, sse, views
from holdfast.web.sse import EventStream, OnGone, StillAllowed

CURSOR_CHARS_MAX: Final = 512
_RUN_CURSOR: Final = re.compile(r"(0|[1-9][0-9]{0,17})")
_THREAD_CURSOR: Final = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})")

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The id of the last event that was seen; the stream goes on behind it. Wins over `after`.",
    ),
]
After = Annotated[str | None, Query(description="The same as a parameter, for clients that cannot set the header.")]

SSE_RESPONSE: Final[dict[str, Any]] = {
    "description": "Events (text/event-stream). `id` is set where a client may resume, `event` is the type, `data` "
    "is `{pos, run_id, thread_id, type, at, data}`.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def run_cursor(last_event_id: str | None, after: str | None) -> int:
    given = last_event_id if last_event_id is not None else after
    if given is None:
        return 0
    return _pos(given)


def thread_cursor(last_event_id: str | None, after: str | None) -> ThreadCursor:
    given = last_event_id if last_event_id is not None else after
    if given is None:
        return ThreadCursor()
    found = _THREAD_CURSOR.fullmatch(given)
    if found is None:
        raise errors.Invalid("The thread has no event with this id.", code="bad_cursor")
    return ThreadCursor(int(found[1]), int(found[2]))


def of_run(request: Request, events: Follower, *, on_gone: OnGone | None = None, **response: Any) -> Response:
    """A run's events; their ids are positions in its journal."""
    return EventStream(events, _run_event, allowed=_allowed(request), on_gone=on_gone, **response)


def _run_event(event: Event | Quiet) -> bytes | None:
    if isinstance(event, Quiet):
        return None
    return sse.encoded(event.type, views.event(event), None if event.pos is None else str(event.pos))


def of_thread(request: Request, events: Follower) -> Response:
    """A thread's events; their ids are `ordinal.pos`."""
    return EventStream(events, _thread_event, allowed=_allowed(request))


def _thread_event(event: Event | Quiet) -> bytes | None:
    if isinstance(event, Quiet):
        return None
    return sse.encoded(event.type, views.event(event), None if event.pos is None else f"{event.ordinal}.{event.pos}")


def watched(named: Sequence[str], last_event_id: str | None) -> dict[RunId, int]:
    """The runs to watch, and behind which of its events each. The id of the last event wins, for all that it names."""
    places: dict[RunId, int] = {}
    for one in named:
        run, _, pos = one.partition(":")
        places[routing.run_id(run)] = _pos(pos) if pos else 0
    if last_event_id is None:
        return places
    if len(places) == 1 and ":" not in last_event_id:
        return dict.fromkeys(places, _pos(last_event_id))
    for one in last_event_id[:CURSOR_CHARS_MAX].split(","):
        run, _, pos = one.partition(":")
        run_id = next((id for id in places if text(RUN, id) == run), None)
        if run_id is None:
            raise _no_such_event()
        places[run_id] = _pos(pos)
    return places


def _pos(given: str) -> int:
    if _RUN_CURSOR.fullmatch(given) is None:
        raise _no_such_event()
    return int(given)


def _no_such_event() -> errors.Invalid:
    return errors.Invalid("The run has no event with this id.", code="bad_cursor")


def of_changes(request: Request, changes: ChangeFollower) -> Response:
    """Hints, which have no ids, since there is nothing to resume; and the events of runs, whose ids lead back to all of
    these runs."""
    return EventStream(changes, _told, allowed=_allowed(request))


def _told(told: Told) -> bytes | None:
    match told:
        case Quiet():
            return None
        case Resync():
            return sse.encoded("resync", b"{}")
        case Watched(event, places):
            return sse.encoded(event.type, views.event(event), None if event.pos is None else _cursor(places))
        case Change():
            return sse.encoded("change", views.change(told))


def _cursor(places: Mapping[RunId, int]) -> str:
    if len(places) == 1:
        return str(next(iter(places.values())))
    return ",".join(f"{text(RUN, run_id)}:{pos}" for run_id, pos in places.items())


def _allowed(request: Request) -> StillAllowed:
    """Whether the one who opened the stream would still be let in."""
    auth: Auth = request.app.state.auth
    visit = gate.visit_of(request.scope, request.headers, auth.session_cookie)

    async def allowed() -> bool:
        try:
            await auth.admit(visit)
        except errors.Unauthenticated:
            return False
        except errors.Unavailable:
            return True  # nobody can be asked: what was allowed stays so until somebody can
        return True

    return allowed
