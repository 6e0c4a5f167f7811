"""What routes are made of: a declared scope each, a body that is really JSON, keys of idempotent POSTs.

A route names its scopes with `needs(…)`; a test fails for one that names none. The verbs ask again: the scope of a
route is what is checked before anything is read, the verb's is what counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute, APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import from_json, to_json
from starlette.requests import Request as StarletteRequest

from holdfast.domain import access, ids, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import digest
from holdfast.domain.errors import Invalid, NotFound
from holdfast.domain.ids import ApprovalId, EffectId, RunId, ThreadId
from holdfast.service.idempotency import Key
from holdfast.web import gate
from holdfast.web.problems import Failure

REPLAYED: Final = "Idempotency-Replayed"
_NUL: Final = b"\\u0000"
_HUGE: Final = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{300}")


# -- bodies ---------------------------------------------------------------------------------------------------------


class Body(BaseModel):
    """The base of request bodies: a field that is not known is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class JsonRequest(Request):
    """A request whose body is parsed strictly: JSON as RFC 8259 has it, and only text that can be stored."""

    async def json(self) -> Any:
        raw = await self.body()
        try:
            value = from_json(raw, allow_inf_nan=False)
        except ValueError:
            raise _unreadable(raw) from None
        if _NUL in raw and _some(value, _has_nul):
            raise Failure(422, "not_encodable", "The body has a NUL character in a text.")
        if _HUGE.search(raw) and _some(value, _is_infinite):
            raise Failure(422, "not_encodable", "The body has a number that is too large: it would become infinite.")
        return value


def _unreadable(raw: bytes) -> Failure:
    """Why a body cannot be read. The strict parser takes a lone surrogate for a mistake in the syntax; it is a value
    that cannot be stored, which the lenient one can tell."""
    try:
        lenient = json.loads(raw)
    except (ValueError, RecursionError):
        lenient = None
    if _some(lenient, _has_surrogate):
        return Failure(422, "not_encodable", "The body has a lone surrogate in a text; it is not Unicode.")
    return Failure(400, "malformed_json", "The body is not JSON.")


def _has_nul(one: object) -> bool:
    return isinstance(one, str) and "\x00" in one


def _has_surrogate(one: object) -> bool:
    return isinstance(one, str) and not one.isascii() and any("\ud800" <= character <= "\udfff" for character in one)


def _is_infinite(one: object) -> bool:
    return isinstance(one, float) and math.isinf(one)


def _some(value: Any, fits: Callable[[object], bool]) -> bool:
    """Whether some text or number in a JSON value fits, names of members too."""
    waiting: list[Any] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for name, member in cast("dict[str, Any]", one).items():
                waiting += (name, member)
        elif isinstance(one, list):
            waiting += cast("list[Any]", one)
        elif fits(one):
            return True
    return False


class Route(APIRoute):
    """A route that reads its body as `JsonRequest` does, and refuses other kinds of body."""

    def get_route_handler(self) -> Callable[[StarletteRequest], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle(request: StarletteRequest) -> Response:
            if takes_body and gate.has_body(request.headers) and not gate.is_json(request.headers):
                raise Failure(415, "unsupported_media_type", "The body has to be application/json.")
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def router() -> APIRouter:
    return APIRouter(route_class=Route)


# -- scopes ---------------------------------------------------------------------------------------------------------


class Needs:
    """A route's scopes, as a dependency: who asks, if they may."""

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = scopes

    async def __call__(self, request: Request) -> Principal:
        principal = gate.principal_of(request.scope)
        for scope in self.scopes:
            access.demand(principal, scope)
        return principal


class Public:
    """Declares that a route is for everybody."""

    scopes = (Scope.PUBLIC,)

    async def __call__(self) -> None:
        return None


def needs(*scopes: Scope) -> Any:
    return Depends(Needs(*scopes))


def public() -> Any:
    return Depends(Public())


Reads = Annotated[Principal, needs(Scope.RUNS_READ)]
Writes = Annotated[Principal, needs(Scope.RUNS_WRITE)]


# -- idempotency ----------------------------------------------------------------------------------------------------

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=limits.IDEMPOTENCY_KEY_CHARS_MAX,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="Printable ASCII. The same key and body again, within 7 days, answers the same and does nothing.",
    ),
]


async def key_of(request: Request, principal: Principal, given: str | None) -> Key | None:
    """The request's idempotency key, in its scope: this principal, this method and path."""
    if given is None:
        return None
    raw = await request.body()
    body = digest(from_json(raw) if raw else None)
    return Key(principal.id, f"{request.method} {gate.path_of(request.scope)}", given, body)


# -- parameters -----------------------------------------------------------------------------------------------------


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("a NUL character cannot be stored")
    return value


NameText = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_storable)]
TagText = Annotated[str, StringConstraints(min_length=1, max_length=limits.TAG_CHARS_MAX), AfterValidator(_storable)]
SearchText = Annotated[
    str, StringConstraints(min_length=1, max_length=limits.SEARCH_CHARS_MAX), AfterValidator(_storable)
]
ExternalId = Annotated[
    str, StringConstraints(min_length=1, max_length=limits.EXTERNAL_ID_CHARS_MAX), AfterValidator(_storable)
]


def run_id(value: str) -> RunId:
    try:
        return RunId(ids.parse(ids.RUN, value))
    except NotFound:
        raise NotFound("There is no run with this id.", code="run_not_found") from None


def thread_id(value: str) -> ThreadId:
    try:
        return ThreadId(ids.parse(ids.THREAD, value))
    except NotFound:
        raise NotFound("There is no thread with this id.", code="thread_not_found") from None


def approval_id(value: str) -> ApprovalId:
    try:
        return ApprovalId(ids.parse(ids.APPROVAL, value))
    except NotFound:
        raise NotFound("There is no approval with this id.", code="approval_not_found") from None


def effect_id(value: str) -> EffectId:
    try:
        return EffectId(ids.parse(ids.EFFECT, value))
    except NotFound:
        raise NotFound("There is no effect with this id.", code="effect_not_found") from None


def filter_id(prefix: str, name: str, value: str | None) -> bytes | None:
    """An id as a filter: one that cannot be an id is a mistake; one of nothing finds nothing."""
    if value is None:
        return None
    try:
        return ids.parse(prefix, value)
    except NotFound:
        raise Invalid(f"{name} is not an id of the form {prefix}_….", code="invalid_request") from None


# -- answers --------------------------------------------------------------------------------------------------------


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, "application/json")


def json_of(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="strings")


def replay_headers(replayed: bool, **more: str) -> dict[str, str]:
    return {**more, REPLAYED: "true"} if replayed else more


_WHEN: Final = {
    400: "The body is not JSON, or a cursor is not one of this list.",
    401: "No valid credential.",
    403: "The credential does not carry the route's scope, or who asks may not do this.",
    404: "There is no such resource, or it is not yours to see.",
    409: "The state of the resource does not allow this now, or the Idempotency-Key was used with another body.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "A value does not fit.",
    503: "Not now (`Retry-After`); or, with code `outcome_unknown`, perhaps done: repeat with the same key.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route documents; some may happen to any."""
    return {
        status: {
            "description": _WHEN[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({401, 403, 413, 503, *statuses})
    }
