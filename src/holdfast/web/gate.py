"""What stands before every route, as plain ASGI: the request's id, the cap on its body, who makes it.

Deny by default: only the paths listed as public are served without a principal, unknown ones are not. The body is
counted as it is read, so a cap holds without a Content-Length too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.domain.access import Principal
from holdfast.domain.determinism import Determinism
from holdfast.domain.errors import HoldfastError, TooLarge
from holdfast.service.access import Auth, Visit
from holdfast.web import problems
from holdfast.web.problems import REQUEST_ID, Failure

PRINCIPAL: Final = "holdfast.principal"
REQUEST_ID_CHARS_MAX: Final = 128
_TELLTALES: Final = ("forwarded", "x-real-ip", "via")


class Gate:
    """Middleware; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        auth: Auth,
        determinism: Determinism,
        body_bytes_max: int,
        public: Collection[str],
        larger: Mapping[str, int] | None = None,
    ) -> None:
        """`larger`: caps of the bodies of single paths, instead of `body_bytes_max`."""
        self._app = app
        self._auth = auth
        self._determinism = determinism
        self._body_bytes_max = body_bytes_max
        self._larger = dict(larger or {})
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = self._request_id(headers)
        scope[REQUEST_ID] = request_id
        told = _telling(send, request_id)
        try:
            if path_of(scope) not in self._public:
                scope[PRINCIPAL] = await self._auth.admit(visit_of(scope, headers))
            limited = self._limited(path_of(scope), headers, receive)
        except HoldfastError as exc:
            await problems.of_error(scope, exc)(scope, receive, told)
            return
        await self._app(scope, limited, told)

    def _request_id(self, headers: Headers) -> str:
        """The client's id if it is one that may go into headers and logs, else one of ours."""
        given = headers.get("x-request-id")
        if given and len(given) <= REQUEST_ID_CHARS_MAX and given.isascii() and given.isprintable():
            return given
        return self._determinism.new_id().hex()

    def _limited(self, path: str, headers: Headers, receive: Receive) -> Receive:
        length = headers.get("content-length")
        most = self._larger.get(path, self._body_bytes_max)
        if length is not None and length.isdecimal() and int(length) > most:
            raise TooLarge(_too_large(most))
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > most:
                    raise Failure(413, TooLarge.code, _too_large(most))
            return message

        return counted


def _too_large(most: int) -> str:
    return f"The body is larger than {most:,} bytes."


def _telling(send: Send, request_id: str) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("x-request-id", request_id)
        await send(message)

    return told


def path_of(scope: Scope) -> str:
    """The path within this application, wherever it is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def visit_of(scope: Scope, headers: Headers) -> Visit:
    """What the request shows of where it comes from."""
    client = scope.get("client")
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    names = headers.keys()
    return Visit(
        authorization=headers.get("authorization"),
        peer=None if client is None else client[0],
        host=hosts[0] if len(hosts) == 1 else None,
        origin=", ".join(origins) if origins else None,
        scheme=scope.get("scheme", "http"),
        forwarded=any(name.startswith("x-forwarded") or name in _TELLTALES for name in names),
        json_body=(is_json(headers) or is_ndjson(headers)) if has_body(headers) else None,
    )


def has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def is_json(headers: Headers) -> bool:
    return _type_of(headers) == "application/json"


def is_ndjson(headers: Headers) -> bool:
    """JSON lines: of another site's making a browser asks leave first, as it does for JSON."""
    return _type_of(headers) == "application/x-ndjson"


def _type_of(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def principal_of(scope: Scope) -> Principal:
    """Who makes the request: the gate has let it through."""
    return scope[PRINCIPAL]
