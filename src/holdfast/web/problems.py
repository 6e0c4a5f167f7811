"""Errors as clients see them: `application/problem+json`, from one table, never with anything of the request in it.

The only place that knows HTTP statuses of error classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from holdfast.domain import errors
from holdfast.domain.errors import HoldfastError
from holdfast.web.shapes import DecisionOut

log = logging.getLogger("holdfast.web")

MEDIA_TYPE: Final = "application/problem+json"
REQUEST_ID: Final = "holdfast.request_id"
RETRY_AFTER_S: Final = "1"
ERRORS_MAX: Final = 50
LOC_CHARS_MAX: Final = 100

# Looked up along the class's ancestors, most derived first.
STATUSES: Final[dict[type[BaseException], int]] = {
    errors.TooLarge: 413,
    errors.Invalid: 422,
    errors.DefinitionError: 500,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unauthenticated: 401,
    errors.Refused: 403,
    errors.Unavailable: 503,
    errors.OutcomeUnknown: 503,
    errors.SchemaMismatch: 503,
    HoldfastError: 500,
}
# What an error's details tell the client besides.
MEMBERS: Final = ("decision", "fork")
# What cannot be read at all is a bad request, not an unprocessable one.
BAD_REQUESTS: Final = frozenset({"bad_cursor", "malformed_json"})

TITLES: Final = {
    400: "Bad request",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Unprocessable",
    500: "Internal error",
    503: "Unavailable",
}
_CODES: Final = {404: "route_not_found", 405: "method_not_allowed"}
_DETAILS: Final = {404: "There is no such route.", 405: "The route does not know this method."}


class Place(BaseModel):
    """One thing that is wrong with a request, and where."""

    loc: list[str | int]
    msg: str


class ForkInstead(BaseModel):
    """A fork that can have an edit which a retry cannot: `at` of it, and the name of the edit."""

    at: int
    edit: str


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[Place] | None = Field(default=None)
    decision: DecisionOut | None = Field(
        default=None, description="With `already_resolved`: the decision that stands; null if nobody had to decide."
    )
    fork: ForkInstead | None = Field(
        default=None, description="With `edit_needs_fork`: the fork to make instead; null if no step can have the edit."
    )


class Failure(HTTPException):
    """A problem found while the body is read, where the framework lets nothing else through."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, detail)
        self.code = code


def status_of(exc: HoldfastError) -> int:
    if exc.code in BAD_REQUESTS:
        return 400
    return next(STATUSES[cls] for cls in type(exc).__mro__ if cls in STATUSES)


def response(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    places: list[dict[str, Any]] | None = None,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as a response."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": scope.get(REQUEST_ID, ""),
        **(members or {}),
    }
    if places:
        body["errors"] = [_shown(place) for place in places[:ERRORS_MAX]]
    return Response(to_json(body), status, headers, MEDIA_TYPE)


def _shown(place: dict[str, Any]) -> dict[str, Any]:
    loc = [part if isinstance(part, int) else str(part)[:LOC_CHARS_MAX] for part in place["loc"]]
    return {"loc": loc, "msg": place["msg"]}


def of_error(scope: Scope, exc: HoldfastError) -> Response:
    """Any of our errors. What is our own fault is logged, and told as nothing but that."""
    status = status_of(exc)
    if status == 500:
        log.error("request %s failed: %s", scope.get(REQUEST_ID), exc.message, exc_info=exc)
        return response(scope, 500, "internal_error", "Something went wrong; the server's log has it.")
    headers: dict[str, str] = {}
    if status == 503:
        headers["Retry-After"] = RETRY_AFTER_S
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    places = _places(exc) if isinstance(exc, errors.Invalid) else None
    members = {name: exc.details[name] for name in MEMBERS if name in exc.details}
    return response(scope, status, exc.code, exc.message, places=places, members=members, headers=headers)


def _places(exc: errors.Invalid) -> list[dict[str, Any]]:
    """What is wrong where: within the field of the body that the error is about, if it names one."""
    if "field" not in exc.details:
        return exc.errors
    at = ["body", *exc.details["field"]]
    found = exc.errors or [{"loc": [], "msg": exc.message}]
    return [{"loc": [*at, *one["loc"]], "msg": one["msg"]} for one in found]


def interrupted(scope: Scope, detail: str) -> Response:
    """For a request that is cut off, from outside of everything that else tells its id."""
    headers = {"Retry-After": RETRY_AFTER_S, "X-Request-Id": scope.get(REQUEST_ID, "")}
    return response(scope, 503, "draining", detail, headers=headers)


# -- handlers -------------------------------------------------------------------------------------------------------


async def holdfast_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HoldfastError)
    return of_error(request.scope, exc)


async def validation_error(request: Request, exc: Exception) -> Response:
    """What does not fit the route's parameters: where and why, not what was sent."""
    assert isinstance(exc, RequestValidationError)
    places = [{"loc": list(error["loc"]), "msg": error["msg"]} for error in exc.errors()]
    first = places[0]
    where = ".".join(str(part)[:LOC_CHARS_MAX] for part in first["loc"])
    return response(request.scope, 422, "invalid_request", f"{where}: {first['msg']}", places=places)


async def http_error(request: Request, exc: Exception) -> Response:
    """What the framework refuses: no such route, no such method, or a body that cannot be read."""
    assert isinstance(exc, HTTPException)
    if isinstance(exc, Failure):
        return response(request.scope, exc.status_code, exc.code, exc.detail)
    code = _CODES.get(exc.status_code, "bad_request")
    detail = _DETAILS.get(exc.status_code, "The request cannot be read.")
    return response(request.scope, exc.status_code, code, detail, headers=exc.headers)


async def unexpected_error(request: Request, exc: Exception) -> Response:
    """A bug of ours. The server logs it with its traceback."""
    shown = response(request.scope, 500, "internal_error", "Something went wrong; the server's log has it.")
    shown.headers["x-request-id"] = request.scope.get(REQUEST_ID, "")
    return shown
