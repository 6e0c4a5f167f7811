"""Routes of signing in and out, and of who somebody is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response
from pydantic import Field

from holdfast.domain.access import Principal, Scope
from holdfast.service import access
from holdfast.service.access import Auth
from holdfast.web import cookies, gate, routing, shapes, views
from holdfast.web.routing import Body, json_response, needs, problems, public

NO_STORE = {"Cache-Control": "no-store"}

router = routing.router()


def _auth(request: Request) -> Auth:
    return request.app.state.auth


class SignInIn(Body):
    """What a browser signs in with."""

    api_key: str = Field(min_length=1, description="`hf_…`; it is exchanged for the session and not kept.")


@router.post(
    "/v1/session",
    status_code=201,
    response_model=shapes.MeOut,
    responses=problems(400, 415, 422),
    dependencies=[public()],
    tags=["session"],
)
async def sign_in(request: Request, body: SignInIn) -> Response:
    """Sign a browser in with an API key: its cookie is good for the same requests, from pages of this server."""
    auth = _auth(request)
    admission = await auth.sign_in(gate.visit_of(request.scope, request.headers, auth.session_cookie), body.api_key)
    assert admission.issued is not None
    me = views.me(await auth.me(admission))
    cookie = cookies.keeping(request.scope, auth.session_cookie, admission.issued)
    return json_response(me, 201, {**NO_STORE, "Set-Cookie": cookie})


@router.delete(
    "/v1/session",
    status_code=204,
    response_class=Response,
    responses=problems(),
    dependencies=[public()],
    tags=["session"],
)
async def sign_out(request: Request) -> Response:
    """Sign a browser out: its cookie is dropped. Safe to repeat."""
    cookie = _auth(request).session_cookie
    access.demand_own_page(gate.visit_of(request.scope, request.headers, cookie))
    return Response(None, 204, {**NO_STORE, "Set-Cookie": cookies.dropping(request.scope, cookie)})


@router.get("/v1/me", response_model=shapes.MeOut, responses=problems(), tags=["session"])
async def get_me(request: Request, _: Annotated[Principal, needs(Scope.AUTHENTICATED)]) -> Response:
    """Who asks: their tenant, what they may do, by what they are known, and when that ends by itself."""
    return json_response(views.me(await _auth(request).me(gate.admission_of(request.scope))), headers=NO_STORE)
