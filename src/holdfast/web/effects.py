"""Routes of the effect ledger: what tools did, and what nobody knows of."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import Query, Request, Response
from pydantic import Field

from holdfast.domain import ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.effects import EffectStatus
from holdfast.domain.errors import Invalid
from holdfast.domain.ids import RunId
from holdfast.service import effects
from holdfast.service.effects import EffectFilter
from holdfast.web import paging, routing, shapes, views
from holdfast.web.paging import Cursor, Limit
from holdfast.web.routing import Body, KeyHeader, NameText, filter_id, key_of, needs, problems
from holdfast.web.runs import house_of

Reads = Annotated[Principal, needs(Scope.EFFECTS_READ)]
Writes = Annotated[Principal, needs(Scope.EFFECTS_WRITE)]

router = routing.router()


class OutcomeIn(Body):
    """What became of an effect of which nobody knew: it was done, with this result, or it was not."""

    outcome: Literal["committed", "not_done"]
    result: Any = Field(default=None, description="With `committed`: what the call gave.")
    note: str | None = Field(default=None, max_length=limits.NOTE_CHARS_MAX)

    def check(self) -> None:
        if self.outcome == "not_done" and self.result is not None:
            raise Invalid("What was not done has no result.", code="invalid_answer")


@router.get("/v1/effects", response_model=shapes.Page[shapes.EffectRow], responses=problems(400, 422), tags=["effects"])
async def list_effects(
    request: Request,
    principal: Reads,
    status: Annotated[list[EffectStatus] | None, Query(max_length=len(EffectStatus))] = None,
    tool: NameText | None = None,
    agent: NameText | None = None,
    run_id: str | None = None,
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """The side effects of tool calls, newest first."""
    statuses = tuple(sorted(set(status or ())))
    run = cast("RunId | None", filter_id(ids.RUN, "run_id", run_id))
    named = {"status": statuses, "tool": tool, "agent": agent, "run_id": run_id}
    here = paging.place(principal, "effects", named, cursor, size=ids.ID_BYTES)
    wanted = EffectFilter(status=statuses, tool=tool, agent=agent, run_id=run, before=here.position, limit=limit + 1)
    found = await effects.page(house_of(request), principal, wanted)
    return paging.answer(here, found, limit, views.effect_row, lambda view: view.effect.id)


@router.get("/v1/effects/{effect_id}", response_model=shapes.EffectOut, responses=problems(404, 422), tags=["effects"])
async def get_effect(request: Request, effect_id: str, principal: Reads) -> Response:
    """A side effect as the ledger has it."""
    view = await effects.get(house_of(request), principal, routing.effect_id(effect_id))
    return routing.json_response(views.effect(view))


@router.post(
    "/v1/effects/{effect_id}/resolve",
    response_model=shapes.EffectOut,
    responses=problems(400, 404, 409, 415, 422),
    tags=["effects"],
)
async def resolve_effect(
    request: Request, effect_id: str, body: OutcomeIn, principal: Writes, idempotency_key: KeyHeader = None
) -> Response:
    """Say what became of an effect that is `unknown`. Its run goes on: with the result, or it does it again."""
    key = await key_of(request, principal, idempotency_key)
    id = routing.effect_id(effect_id)
    body.check()
    done = await effects.resolve(house_of(request), principal, id, body.outcome, body.result, body.note, key)
    return routing.json_response(views.effect(done.view), done.status, routing.replay_headers(done.replayed))
