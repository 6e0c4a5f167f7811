"""Routes of approvals: the inbox, and the one verb that answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import Query, Request, Response
from pydantic import Field

from holdfast.domain import ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.approvals import ApprovalStatus, ApprovalType
from holdfast.domain.errors import Invalid
from holdfast.domain.ids import EffectId, RunId
from holdfast.service import approvals
from holdfast.service.approvals import ApprovalFilter, ApprovalView, Resolution
from holdfast.web import paging, routing, shapes, views
from holdfast.web.paging import Cursor, Limit, Order
from holdfast.web.parameters import Amount, Time, ms_of
from holdfast.web.routing import Body, KeyHeader, NameText, filter_id, key_of, needs, problems
from holdfast.web.runs import house_of

Reads = Annotated[Principal, needs(Scope.APPROVALS_READ)]
Writes = Annotated[Principal, needs(Scope.APPROVALS_WRITE)]
AGE_S_MAX = limits.SLEEP_MS_MAX // 1000

router = routing.router()


class ResolveIn(Body):
    """What somebody says to a question."""

    decision: Literal["approve", "reject", "answer"]
    arguments: dict[str, Any] | None = Field(
        default=None, description="With `approve`: the arguments of the call as they should be, all of them."
    )
    answer: Any = None
    note: str | None = Field(default=None, max_length=limits.NOTE_CHARS_MAX)
    version: Amount | None = None

    def said(self) -> Resolution:
        if self.decision == "answer" and "answer" not in self.model_fields_set:
            raise Invalid("With the decision answer comes an answer, be it null.", code="invalid_answer")
        return Resolution(
            decision=self.decision,
            arguments=self.arguments,
            answer=self.answer,
            note=self.note,
            version=self.version,
        )


@router.get(
    "/v1/approvals", response_model=shapes.Page[shapes.ApprovalRow], responses=problems(400, 422), tags=["approvals"]
)
async def list_approvals(
    request: Request,
    principal: Reads,
    status: Annotated[list[ApprovalStatus] | None, Query(max_length=len(ApprovalStatus))] = None,
    type: ApprovalType | None = None,
    agent: NameText | None = None,
    tool: NameText | None = None,
    run_id: Annotated[str | None, Query(description="Of this run and of those below it.")] = None,
    effect_id: Annotated[
        str | None, Query(description="About this effect: leave for it, or what became of it.")
    ] = None,
    older_than: Annotated[
        int | None, Query(ge=0, le=AGE_S_MAX, description="Asked at least so many seconds ago.")
    ] = None,
    created_after: Time | None = None,
    created_before: Time | None = None,
    by: Annotated[
        Literal["created", "resolved"],
        Query(
            description="What they are ordered by: when they were asked, or when they were closed, without open ones."
        ),
    ] = "created",
    order: Order = "asc",
    limit: Limit = limits.PAGE_SIZE,
    cursor: Cursor = None,
) -> Response:
    """The questions that runs ask, oldest first; with `order=desc` newest first.

    `by=resolved` with `order=desc` is what was decided last.
    """
    filters: dict[str, Any] = {
        "status": tuple(sorted(set(status or ()))),
        "type": type,
        "agent": agent,
        "tool": tool,
        "run_id": cast("RunId | None", filter_id(ids.RUN, "run_id", run_id)),
        "effect_id": cast("EffectId | None", filter_id(ids.EFFECT, "effect_id", effect_id)),
        "created_after": ms_of(created_after),
        "created_before": ms_of(created_before),
    }
    newest_first, by_resolution = order == "desc", by == "resolved"
    named = {
        **filters,
        "run_id": run_id,
        "effect_id": effect_id,
        "older_than": older_than,
        "by": by if by_resolution else None,
        "order": order if newest_first else None,
    }
    here = paging.place(principal, "approvals", named, cursor, size=paging.MOMENT_BYTES)
    wanted = ApprovalFilter(
        **filters, by_resolution=by_resolution, newest_first=newest_first, after=here.moment, limit=limit + 1
    )
    age_ms = None if older_than is None else older_than * 1000
    found = await approvals.page(house_of(request), principal, wanted, older_than_ms=age_ms)
    return paging.answer(here, found, limit, views.approval_row, lambda view: _moment(wanted, view))


def _moment(wanted: ApprovalFilter, view: ApprovalView) -> bytes:
    return paging.moment(*wanted.moment_of(view.approval))


@router.get(
    "/v1/approvals/{approval_id}",
    response_model=shapes.ApprovalOut,
    responses=problems(404, 422),
    tags=["approvals"],
)
async def get_approval(request: Request, approval_id: str, principal: Reads) -> Response:
    """A question, with what led to it."""
    view = await approvals.get(house_of(request), principal, routing.approval_id(approval_id))
    return routing.json_response(views.approval(view))


@router.post(
    "/v1/approvals/{approval_id}/resolve",
    response_model=shapes.ApprovalOut,
    responses=problems(400, 404, 409, 415, 422),
    tags=["approvals"],
)
async def resolve_approval(
    request: Request, approval_id: str, body: ResolveIn, principal: Writes, idempotency_key: KeyHeader = None
) -> Response:
    """Answer a question; its run goes on by itself. One answer counts: later ones are 409 with the first decision."""
    key = await key_of(request, principal, idempotency_key)
    id = routing.approval_id(approval_id)
    done = await approvals.resolve(house_of(request), principal, id, body.said(), key)
    return routing.json_response(views.approval(done.view), done.status, routing.replay_headers(done.replayed))
