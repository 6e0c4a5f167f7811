"""What stands before every route, as plain ASGI: the request's id, the cap on its body, who makes it.

Deny by default: only the paths listed as public, and those below a prefix that is, are served without a principal;
unknown ones are not. The body is counted as it is read, so a cap holds without a Content-Length too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.domain.access import Principal
from holdfast.domain.determinism import Determinism
from holdfast.domain.errors import HoldfastError, TooLarge, Unauthenticated
from holdfast.service.access import Admission, Auth
from holdfast.service.visits import Visit
from holdfast.web import cookies, problems
from holdfast.web.problems import REQUEST_ID, Failure

ADMISSION: Final = "holdfast.admission"
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
        public_below: Collection[str] = (),
        larger: Mapping[str, int] | None = None,
    ) -> None:
        """`public`: paths. `public_below`: prefixes, each with a slash at its end, of paths that are public too.
        `larger`: caps of the bodies of single paths, instead of `body_bytes_max`."""
        self._app = app
        self._auth = auth
        self._determinism = determinism
        self._body_bytes_max = body_bytes_max
        self._larger = dict(larger or {})
        self._public = frozenset(public)
        self._public_below = tuple(public_below)
        assert all(prefix.endswith("/") for prefix in self._public_below), "or it would open more than it names"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = self._request_id(headers)
        scope[REQUEST_ID] = request_id
        told = _telling(send, "x-request-id", request_id)
        path = path_of(scope)
        try:
            if not self._is_public(path):
                told = await self._admitted(scope, headers, told)
            limited = self._limited(path, headers, receive)
        except HoldfastError as exc:
            await self._refused(scope, headers, exc)(scope, receive, told)
            return
        await self._app(scope, limited, told)

    def _is_public(self, path: str) -> bool:
        return path in self._public or path.startswith(self._public_below)

    async def _admitted(self, scope: Scope, headers: Headers, send: Send) -> Send:
        """Let the request in; a session that was renewed is told with the answer, whatever it is."""
        admission = scope[ADMISSION] = await self._auth.admit(visit_of(scope, headers, self._auth.session_cookie))
        if admission.issued is None:
            return send
        return _telling(send, "set-cookie", cookies.keeping(scope, self._auth.session_cookie, admission.issued))

    def _refused(self, scope: Scope, headers: Headers, exc: HoldfastError) -> Response:
        response = problems.of_error(scope, exc)
        if (
            isinstance(exc, Unauthenticated)
            and "authorization" not in headers
            and cookies.session_of(headers, self._auth.session_cookie) is not None
        ):
            response.headers.append("set-cookie", cookies.dropping(scope, self._auth.session_cookie))
        return response

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


def _telling(send: Send, name: str, value: str) -> Send:
    """Adds a header to the answer, unless the answer has it."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault(name, value)
        await send(message)

    return told


def path_of(scope: Scope) -> str:
    """The path within this application, wherever it is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def visit_of(scope: Scope, headers: Headers, cookie: str) -> Visit:
    """What the request shows of where it comes from. `cookie`: the name of the one that holds sessions here."""
    client = scope.get("client")
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    names = headers.keys()
    return Visit(
        authorization=headers.get("authorization"),
        session=cookies.session_of(headers, cookie),
        method=scope["method"],
        peer=None if client is None else client[0],
        host=hosts[0] if len(hosts) == 1 else None,
        origin=", ".join(origins) if origins else None,
        fetch_site=headers.get("sec-fetch-site"),
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
    return admission_of(scope).principal


def admission_of(scope: Scope) -> Admission:
    """The same, and by what they are known."""
    return scope[ADMISSION]
