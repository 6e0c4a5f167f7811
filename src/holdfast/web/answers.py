"""How a request that sets a run going is answered: with the run at once, with the run when it ended or waits, or with
the run's events. One set of rules for starting, forking, editing, regenerating and retrying."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

from fastapi import Query, Request, Response

from holdfast.domain import access, ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.errors import Conflict, Invalid
from holdfast.domain.ids import RunId
from holdfast.domain.runs import RunView
from holdfast.service import events, runs
from holdfast.service.house import House
from holdfast.web import routing, sse, streams, views

Wait = Annotated[
    float,
    Query(
        ge=0,
        le=limits.WAIT_S_MAX,
        allow_inf_nan=False,
        description="Seconds to hold the answer until the run ended, or waits for something.",
    ),
]

CANCEL_REASON: Final = "the client went away"


RUN_OR_EVENTS: Final[dict[str, Any]] = {
    "description": "The run, or with `Accept: text/event-stream` its events, from the first that this request made on.",
    "content": streams.SSE_RESPONSE["content"],
}
"""What a route that answers so documents."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a client wants to be answered: `streamed`, or after so many `seconds` at most, or (neither) at once."""

    streamed: bool
    seconds: float

    @property
    def held_open(self) -> bool:
        return self.streamed or self.seconds > 0


class Made(Protocol):
    """A run after the verb that set it going; `replayed` when an earlier request with the same key had done it."""

    @property
    def view(self) -> RunView: ...
    @property
    def replayed(self) -> bool: ...
    @property
    def status(self) -> int: ...


def asked(request: Request, principal: Principal, seconds: float) -> Asked:
    """Judged before anything is done. Raises `Invalid`, and `Refused` for somebody who may not read the run."""
    how = Asked(_wants_events(request.headers.get("accept", "")), seconds)
    if how.streamed and how.seconds:
        raise Invalid("A stream does not wait: leave out wait, or accept application/json.", code="invalid_request")
    if how.held_open:
        access.demand(principal, Scope.RUNS_READ)  # now, not when the run has been started and is to be shown
    return how


async def answer(
    request: Request,
    principal: Principal,
    how: Asked,
    made: Made,
    *,
    after: int = 0,
    cancels: bool = False,
    fresh: bool = False,
) -> Response:
    """The run as it was asked for. `after`: the stream begins behind this entry. `cancels`: a client that goes away
    takes the run with it. `fresh`: nothing can have happened since the view was made, so it need not be read again."""
    house: House = request.app.state.house
    run_id = made.view.run.id
    headers = routing.replay_headers(made.replayed, Location=f"{_root(request)}/v1/runs/{ids.text(ids.RUN, run_id)}")
    if how.streamed:
        followed = await events.of_made(house, principal, made.view, after)
        on_gone = _cancelling(house, principal, run_id) if cancels else None
        return streams.of_run(request, followed, on_gone=on_gone, status_code=made.status, headers=headers)
    view = made.view
    if how.seconds and cancels:
        view = await _waited(request, principal, view, how.seconds)
    elif how.seconds:
        view = await runs.wait(house, principal, view, how.seconds, fresh=fresh)
    return routing.json_response(views.run(view), made.status, headers)


def _root(request: Request) -> str:
    return request.scope.get("root_path", "").rstrip("/")


def _wants_events(accept: str) -> bool:
    """Whether a client likes `text/event-stream` better than JSON."""
    events_q, json_q = 0.0, 0.0
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        q = next((_quality(p) for p in parameters if p.startswith("q=")), 1.0)
        if name == "text/event-stream":
            events_q = max(events_q, q)
        elif name in ("application/json", "application/*"):
            json_q = max(json_q, q)
    return events_q > json_q


def _quality(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0


def _cancelling(house: House, principal: Principal, run_id: RunId) -> sse.OnGone:
    async def cancel() -> None:
        try:
            await runs.cancel(house, principal, run_id, CANCEL_REASON)
        except Conflict:
            pass  # it ended meanwhile

    return cancel


async def _waited(request: Request, principal: Principal, view: RunView, seconds: float) -> RunView:
    """Wait, and cancel the run if the client goes away meanwhile."""
    house: House = request.app.state.house
    waiting = asyncio.create_task(runs.wait(house, principal, view, seconds))
    gone = asyncio.create_task(sse.disconnected(request.receive))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await _cancelling(house, principal, view.run.id)()
        return await waiting
    finally:
        gone.cancel()
        waiting.cancel()
