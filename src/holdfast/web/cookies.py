"""The cookie that holds a session: what is read of it, what is said of it. Its name is the installation's own.

`HttpOnly`: no script reads it. `SameSite=Strict`: no other site's request carries it. Its path is where this
application is mounted, so that what is served beside it on the same host does not get it.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Scope

from holdfast.service.access import Issued


def session_of(headers: Headers, cookie: str) -> str | None:
    """The session that a request brings. Of two cookies of this name the first counts: its path is the longer one."""
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == cookie:
                return value.strip()
    return None


def keeping(scope: Scope, cookie: str, issued: Issued) -> str:
    """`Set-Cookie` of a session."""
    return _said(scope, cookie, issued.token, issued.keep_s, secure=issued.session.secure)


def dropping(scope: Scope, cookie: str) -> str:
    """`Set-Cookie` that ends it."""
    return _said(scope, cookie, "", 0, secure=scope.get("scheme") == "https")


def prefix_of(scope: Scope) -> str:
    """The path that this application is under, as it stands in a URL: empty, or `/…` with no slash at its end.

    >>> prefix_of({"root_path": "//a b/"})
    '/a%20b'
    """
    root = scope.get("root_path", "").strip("/")
    return "/" + quote(root) if root else ""


def _said(scope: Scope, cookie: str, value: str, keep_s: int, *, secure: bool) -> str:
    path = prefix_of(scope) or "/"
    said = f"{cookie}={value}; HttpOnly; SameSite=Strict; Path={path}; Max-Age={keep_s}"
    return said + ("; Secure" if secure else "")
