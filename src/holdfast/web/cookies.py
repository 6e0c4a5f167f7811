"""The cookie that holds a session: what is read of it, what is said of it.

`HttpOnly`: no script reads it. `SameSite=Strict`: no other site's request carries it. Its path is where this
application is mounted, so that what is served beside it on the same host does not get it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Scope

from holdfast.service.access import Issued

NAME: Final = "holdfast_session"


def session_of(headers: Headers) -> str | None:
    """The session that a request brings. Of two cookies of this name the first counts: its path is the longer one."""
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == NAME:
                return value.strip()
    return None


def keeping(scope: Scope, issued: Issued) -> str:
    """`Set-Cookie` of a session."""
    return _cookie(scope, issued.token, issued.keep_s, secure=issued.session.secure)


def dropping(scope: Scope) -> str:
    """`Set-Cookie` that ends it."""
    return _cookie(scope, "", 0, secure=scope.get("scheme") == "https")


def prefix_of(scope: Scope) -> str:
    """The path that this application is under, as it stands in a URL: empty, or `/…` with no slash at its end.

    >>> prefix_of({"root_path": "//a b/"})
    '/a%20b'
    """
    root = scope.get("root_path", "").strip("/")
    return "/" + quote(root) if root else ""


def _cookie(scope: Scope, value: str, keep_s: int, *, secure: bool) -> str:
    path = prefix_of(scope) or "/"
    return f"{NAME}={value}; HttpOnly; SameSite=Strict; Path={path}; Max-Age={keep_s}" + ("; Secure" if secure else "")
