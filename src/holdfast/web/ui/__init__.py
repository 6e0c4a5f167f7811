"""The control plane: the built web UI, served from memory.

The files of `dist` are read once, at first use, into a table: a path is a key in it and never one of the file system,
so nothing outside can be asked for. What is no file is a place in the single-page application, and gets its page.
Rejected: `StaticFiles`, which asks the file system about every path, reads for each request, and knows no pages.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from holdfast.service.house import House
from holdfast.web import cookies, problems, routing
from holdfast.web.routing import public

BELOW: Final = "/ui/"
ASSETS: Final = "assets/"
PAGE: Final = "index.html"
BASE: Final = re.compile(rb'<base href="/ui/"\s*/?>')
NONCE: Final = b"__CSP_NONCE__"
NONCE_BYTES: Final = 16
METHODS: Final = ["GET", "HEAD"]
GZIP_LEVEL: Final = 6
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
# What is compressed already would not become smaller.
PACKED: Final = frozenset({"jpg", "png", "webp", "woff2"})

SAFETY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
CLOSED: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
NOT_BUILT: Final = """<!doctype html>
<html lang="en"><title>Holdfast: the control plane is not built</title>
<h1>The control plane is not built</h1>
<p>This is a checkout of the source whose web UI was never built. Build it, with Node, and start again:</p>
<pre>cd ui &amp;&amp; npm ci --ignore-scripts &amp;&amp; npm run build</pre>
<p>An installed package brings it along. The API is not concerned.</p>
</html>
"""


# -- files ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent. `packed`: the same with gzip, if that is smaller. `hashed`: its name holds a hash of
    its content, as all names below `assets/` do."""

    body: bytes
    packed: bytes | None
    media_type: str
    etag: str
    hashed: bool


class Dist:
    """What was built. Read once; a new build takes a new start."""

    def __init__(self, directory: Traversable) -> None:
        self._directory = directory
        self._files: dict[str, File] | None = None

    @property
    def built(self) -> bool:
        return self._directory.joinpath(PAGE).is_file()

    async def files(self) -> dict[str, File]:
        """By path below the directory. Two that ask first read it twice, and find the same."""
        if self._files is None:
            self._files = await asyncio.to_thread(lambda: dict(_read(self._directory, "")))
        return self._files


PACKAGED: Final = Dist(resources.files(__name__).joinpath("dist"))


def _read(directory: Traversable, under: str) -> Iterator[tuple[str, File]]:
    for entry in sorted(directory.iterdir(), key=lambda one: one.name) if directory.is_dir() else ():
        path = under + entry.name
        if entry.is_dir():
            yield from _read(entry, path + "/")
        else:
            yield path, _file(path, entry.read_bytes())


def _file(path: str, body: bytes) -> File:
    kind = _ending(path)
    packed = None if kind in PACKED else gzip.compress(body, GZIP_LEVEL, mtime=0)
    return File(
        body,
        packed if packed is not None and len(packed) < len(body) else None,
        TYPES.get(kind, "application/octet-stream"),
        f'W/"{hashlib.sha256(body).hexdigest()[:32]}"',  # weak: it is the same for both encodings
        path.startswith(ASSETS),
    )


def _ending(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower()


# -- answers --------------------------------------------------------------------------------------------------------


def _sent(request: Request, file: File) -> Response:
    headers = {**SAFETY, "Content-Security-Policy": CLOSED, "ETag": file.etag, "Vary": "Accept-Encoding"}
    headers["Cache-Control"] = "public, max-age=31536000, immutable" if file.hashed else "no-cache"
    if _has(request.headers, file.etag):
        return Response(None, 304, headers)
    body = file.body
    if file.packed is not None and _takes_gzip(request.headers):
        body, headers["Content-Encoding"] = file.packed, "gzip"
    return _answer(request, body, file.media_type, headers)


def _page(request: Request, file: File) -> Response:
    """The application's page, with where it is and a nonce for its styles."""
    house: House = request.app.state.house
    nonce = base64.urlsafe_b64encode(house.determinism.random_bytes(NONCE_BYTES)).rstrip(b"=")
    base = f'<base href="{html.escape(cookies.prefix_of(request.scope))}/ui/">'.encode()
    body = BASE.sub(lambda _: base, file.body).replace(NONCE, nonce)
    csp = CSP.format(nonce=nonce.decode())
    headers = {**SAFETY, "Content-Security-Policy": csp, "Cache-Control": "no-cache"}
    return _answer(request, body, file.media_type, headers)


def _not_built(request: Request) -> Response:
    headers = {**SAFETY, "Content-Security-Policy": CLOSED, "Cache-Control": "no-store"}
    return _answer(request, NOT_BUILT.encode(), TYPES["html"], headers, 503)


def _answer(request: Request, body: bytes, media_type: str, headers: dict[str, str], status: int = 200) -> Response:
    shown = b"" if request.method == "HEAD" else body
    return Response(shown, status, {**headers, "Content-Length": str(len(body)), "Content-Type": media_type})


def _missing(request: Request, detail: str) -> Response:
    return problems.response(request.scope, 404, "route_not_found", detail)


def _has(headers: Headers, etag: str) -> bool:
    """Whether the client says that it has this version (RFC 9110 §13.1.2, compared weakly)."""
    given = {one.strip().removeprefix("W/") for one in ",".join(headers.getlist("if-none-match")).split(",")}
    return "*" in given or etag.removeprefix("W/") in given


def _takes_gzip(headers: Headers) -> bool:
    """Whether gzip is acceptable (RFC 9110 §12.5.3): named, or by `*`, and not with a weight of nothing."""
    said: dict[str, bool] = {}
    for one in ",".join(headers.getlist("accept-encoding")).split(","):
        name, _, weight = one.partition(";")
        said[name.strip().lower()] = re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight.lower()) is None
    return said.get("gzip", said.get("x-gzip", said.get("*", False)))


def _is_place(path: str) -> bool:
    """Whether a path that is no file can be a place in the application. One with an odd segment was written by hand."""
    if path.startswith(ASSETS) or _ending(path) in TYPES.keys() - {"html"} or "\\" in path or not path.isprintable():
        return False
    return path == "" or not {"", ".", ".."} & set(path.rstrip("/").split("/"))


# -- routes ---------------------------------------------------------------------------------------------------------

router = routing.router()


@router.api_route("/", methods=METHODS, include_in_schema=False, dependencies=[public()])
async def get_root(request: Request) -> Response:
    """Leads browsers to the control plane."""
    if "text/html" not in request.headers.get("accept", ""):
        return _missing(request, "There is no such route.")
    return RedirectResponse("ui/", 307, {"Vary": "Accept"})


@router.api_route("/ui", methods=METHODS, include_in_schema=False, dependencies=[public()])
async def get_ui(request: Request) -> Response:
    """Leads to `/ui/`."""
    # Relative to what the browser asked for: right below any prefix, whoever knows of it.
    return RedirectResponse("ui/" + (f"?{request.url.query}" if request.url.query else ""), 308)


@router.api_route(BELOW + "{path:path}", methods=METHODS, include_in_schema=False, dependencies=[public()])
async def get_file(request: Request, path: str) -> Response:
    """The control plane: its page at any place in it, and its files."""
    dist: Dist = request.app.state.ui
    files = await dist.files()
    if path in files and path != PAGE:
        return _sent(request, files[path])
    if path != PAGE and not _is_place(path):
        return _missing(request, "The control plane has no such file.")
    return _page(request, files[PAGE]) if PAGE in files else _not_built(request)
