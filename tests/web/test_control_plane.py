"""Serving the control plane: its page wherever it is, its files, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from holdfast import Holdfast, Settings
from holdfast.domain.access import Scope
from holdfast.web import api, ui
from tests.web.serving import ADMIN, Server, listening, serving

ROOT = Path(__file__).parent.parent.parent
PAGE = """<!doctype html>
<html lang="en"><head>
<base href="/ui/" />
<meta name="csp-nonce" content="__CSP_NONCE__">
<script type="module" src="./assets/index-Ab12_cd.js"></script>
</head><body></body></html>
"""
SCRIPT = "export const answer = 42;\n" * 100
FILES: dict[str, bytes] = {
    "index.html": PAGE.encode(),
    "favicon.svg": b"<svg xmlns='http://www.w3.org/2000/svg'>" + b" " * 200 + b"</svg>",
    "theme.js": b"document.documentElement.dataset.theme = 'dark';\n" * 20,
    "assets/index-Ab12_cd.js": SCRIPT.encode(),
    "assets/index-Ab12_cd.css": b"body { margin: 0 }\n" * 50,
    "assets/small-Ab12_cd.js": b"1",
    "assets/font-Ab12_cd.woff2": bytes(range(256)) * 4,
    "assets/odd.name": b"?",
}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What a build leaves, and beside it what nobody may read."""
    directory = tmp_path / "dist"
    for path, body in FILES.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(body)
    (tmp_path / "secret").write_text("a secret")
    (tmp_path / "secret.js").write_text("a secret")
    return directory


@pytest.fixture
async def site(built: Path, sqlite_url: str) -> AsyncIterator[Server]:
    async with serving(sqlite_url, execute=False, control_plane=ui.Dist(built)) as server:
        yield server


def policy(response: httpx.Response) -> dict[str, str]:
    return {
        name: value
        for name, _, value in (d.partition(" ") for d in response.headers["content-security-policy"].split("; "))
    }


# -- the page -------------------------------------------------------------------------------------------------------


PLACES = [
    "",
    "index.html",
    "runs",
    "runs/",
    "runs/run_000/steps/12",
    "agents/desk.v2",
    "runs?at=3&tab=a.js",
    "%C3%A4/x%20y",
    "assets",
]


async def test_each_place_in_the_application_is_its_page(site: Server) -> None:
    for path in PLACES:
        response = await site.http.get(f"/ui/{path}")
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert response.headers["cache-control"] == "no-cache"
        assert '<base href="/ui/">' in response.text
        assert "./assets/index-Ab12_cd.js" in response.text
        assert "etag" not in response.headers, "it differs each time"


async def test_the_page_lets_in_only_what_this_server_serves(site: Server) -> None:
    response = await site.http.get("/ui/")
    nonces: set[str] = set()
    for _ in range(3):
        response = await site.http.get("/ui/runs")
        (nonce,) = re.findall(r'<meta name="csp-nonce" content="([\w-]{22})">', response.text)
        assert policy(response) == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": f"'self' 'nonce-{nonce}'",
            "img-src": "'self' data:",
            "font-src": "'self'",
            "connect-src": "'self'",
            "manifest-src": "'self'",
            "base-uri": "'self'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        nonces.add(nonce)
    assert len(nonces) == 3
    assert "__CSP_NONCE__" not in response.text


@pytest.mark.parametrize("path", ["", "theme.js", "assets/index-Ab12_cd.js"])
async def test_every_answer_says_what_browsers_may_not_do(site: Server, path: str) -> None:
    headers = (await site.http.get(f"/ui/{path}")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "set-cookie" not in headers


async def test_the_files_are_for_everybody_and_the_api_is_not(site: Server) -> None:
    await site.auth.create_key(ADMIN, "any")
    for path in ("/", "/ui", "/ui/", "/ui/runs", "/ui/theme.js", "/ui/assets/index-Ab12_cd.js"):
        response = await site.http.get(path, headers={"Accept": "text/html", "Origin": "http://evil.example"})
        assert response.status_code in (200, 307, 308), path
        assert "access-control-allow-origin" not in response.headers
    for path in ("/v1/me", "/v1/info", "/uix", "/ui2/", "/v1/ui/", "//ui/", "/v1/../ui/", "/UI/"):
        status, _, _ = await raw(site.url, path)
        assert status == 401, path


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("assets/index-Ab12_cd.js", "text/javascript; charset=utf-8"),
        ("assets/index-Ab12_cd.css", "text/css; charset=utf-8"),
        ("assets/font-Ab12_cd.woff2", "font/woff2"),
        ("assets/odd.name", "application/octet-stream"),
    ],
)
async def test_an_asset_is_kept_for_ever(site: Server, path: str, media_type: str) -> None:
    response = await site.http.get(f"/ui/{path}")
    assert (response.status_code, response.content) == (200, FILES[path])
    assert response.headers["content-type"] == media_type
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("favicon.svg", "image/svg+xml; charset=utf-8"), ("theme.js", "text/javascript; charset=utf-8")],
)
async def test_a_file_of_a_fixed_name_is_asked_for_again(site: Server, path: str, media_type: str) -> None:
    response = await site.http.get(f"/ui/{path}")
    etag = response.headers["etag"]
    assert (response.content, response.headers["content-type"]) == (FILES[path], media_type)
    assert response.headers["cache-control"] == "no-cache"
    for told in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = await site.http.get(f"/ui/{path}", headers={"If-None-Match": told})
        assert (again.status_code, again.content) == (304, b""), told
        assert (again.headers["etag"], again.headers["cache-control"]) == (etag, "no-cache")
        assert "accept-encoding" in again.headers["vary"].lower()
    for told in ("", '"other"', etag[:-2] + '"', f"x{etag}"):
        assert (await site.http.get(f"/ui/{path}", headers={"If-None-Match": told})).status_code == 200, told


ACCEPTED = [
    ("gzip", True),
    ("br, GZIP;q=0.5", True),
    ("*", True),
    ("x-gzip", True),
    ("gzip;q=0", False),
    ("gzip; q=0.000, *", False),
    ("identity", False),
    ("br", False),
    ("", False),
    ("*;q=0", False),
]


async def test_a_file_is_compressed_for_whoever_takes_it_so(site: Server) -> None:
    for accepted, packed in ACCEPTED:
        status, headers, body = await raw(site.url, "/ui/assets/index-Ab12_cd.js", {"Accept-Encoding": accepted})
        assert (status, headers.get("content-encoding")) == (200, "gzip" if packed else None)
        assert headers["vary"] == "Accept-Encoding"
        assert int(headers["content-length"]) == len(body)
        assert (gzip.decompress(body) if packed else body) == SCRIPT.encode()
        assert not packed or len(body) < len(SCRIPT) / 10


@pytest.mark.parametrize("path", ["assets/small-Ab12_cd.js", "assets/font-Ab12_cd.woff2"])
async def test_what_would_not_become_smaller_is_sent_as_it_is(site: Server, path: str) -> None:
    _, headers, body = await raw(site.url, f"/ui/{path}", {"Accept-Encoding": "gzip"})
    assert ("content-encoding" in headers, body) == (False, FILES[path])


@pytest.mark.parametrize("path", ["", "runs", "theme.js", "assets/index-Ab12_cd.js", "assets/none.js"])
async def test_head_tells_what_get_would_without_the_body(site: Server, path: str) -> None:
    got = await site.http.get(f"/ui/{path}")
    told = await site.http.head(f"/ui/{path}")
    assert (told.status_code, told.content) == (got.status_code, b"")
    for name in ("content-type", "content-length", "content-encoding", "cache-control", "etag"):
        assert told.headers.get(name) == got.headers.get(name), name


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_is_done_there(site: Server, method: str) -> None:
    response = await site.http.request(method, "/ui/")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


# -- what is not there ----------------------------------------------------------------------------------------------


NOWHERE = [
    "assets/",
    "assets/none",
    "assets/index-Old.js",
    "assets/index-Ab12_cd.js/",
    "assets/index-Ab12_cd.js.map",
    "assets/../index.html",
    "none.js",
    "robots.txt",
    "runs/none.PNG",
    "assets/index-Ab12_cd.JS",
    "../secret",
    "../secret.js",
    "assets/../../secret",
    "..",
    ".",
    "./runs",
    "a/../b",
    "a//b",
    "/etc/passwd",
    "//etc/passwd",
    "..\\secret",
    "..%5csecret",
    "%2e%2e/secret",
    "%2E%2E%2Fsecret",
    "..%2fsecret",
    "%2e/runs",
    "a%00b",
    "a%0d%0ab",
    "C:\\secret",
]


async def test_what_is_neither_a_file_nor_a_place_is_not_there(site: Server) -> None:
    for path in NOWHERE:
        status, headers, body = await raw(site.url, f"/ui/{path}")
        assert (status, headers["content-type"]) == (404, "application/problem+json"), path
        assert b"route_not_found" in body
        assert b"secret" not in body


async def test_a_dot_of_dots_leaves_the_control_plane_for_a_route_that_is_judged(site: Server) -> None:
    await site.auth.create_key(ADMIN, "any")
    for path in ("/ui/../v1/me", "/ui/%2e%2e/v1/me", "/ui/..%2fv1%2fme", "/ui/..;/v1/me"):
        status, _, body = await raw(site.url, path)
        assert status == 404 or b"<base" in body, path
        assert b"tenant" not in body, path
    assert (await raw(site.url, "/v1/../ui/../v1/me"))[0] == 401


async def raw(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Ask for exactly this path: a client would tidy it up."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *rest = head.decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in rest)}, body


async def test_only_what_was_built_is_read(built: Path) -> None:
    names = set(await ui.Dist(built).files())
    assert names == set(FILES)


# -- where ----------------------------------------------------------------------------------------------------------


async def test_browsers_are_led_to_it(site: Server) -> None:
    for path, status, query in (("/", 307, ""), ("/ui", 308, "?run=run_1&a=%20b")):
        response = await site.http.get(path + query, headers={"Accept": "text/html,*/*;q=0.8"})
        assert response.status_code == status
        assert str(httpx.URL(f"{site.url}{path}").join(response.headers["location"])) == f"{site.url}/ui/{query}"
    for accept in ("application/json", "*/*", ""):
        response = await site.http.get("/", headers={"Accept": accept})
        assert (response.status_code, response.json()["code"]) == (404, "route_not_found")
    assert (await site.http.head("/ui")).status_code == 308


@pytest.mark.parametrize(
    ("mounted", "asked", "base"),
    [
        ("/holdfast", "/holdfast", "/holdfast/ui/"),
        ("/a/b c", "/a/b%20c", "/a/b%20c/ui/"),
        ('/"><script>', "/%22%3E%3Cscript%3E", "/%22%3E%3Cscript%3E/ui/"),
        ("/a&amp'b", "/a&amp'b", "/a%26amp%27b/ui/"),
        ("/ä", "/%C3%A4", "/%C3%A4/ui/"),
    ],
)
async def test_under_a_prefix_the_page_knows_where_it_is(site: Server, mounted: str, asked: str, base: str) -> None:
    outer = FastAPI()
    outer.mount(mounted, site.app)
    async with listening(outer) as url, httpx.AsyncClient(base_url=url, timeout=40) as http:
        page = await http.get(f"{asked}/ui/runs/run_1")
        assert re.findall(r"<base [^>]*>", page.text) == [f'<base href="{base}">']
        assert page.text.count("<script") == 1
        asset = httpx.URL(f"{url}{base}").join("./assets/index-Ab12_cd.js")
        assert (await http.get(asset)).text == SCRIPT
        for path, query in (("/ui", "?a=1"), ("/", "")):
            led = await http.get(asked + path + query, headers={"Accept": "text/html"}, follow_redirects=True)
            assert (led.status_code, str(led.url)) == (200, f"{url}{asked}/ui/{query}")
        assert (await http.get(f"{asked}/ui/assets/none.js")).json()["code"] == "route_not_found"


async def test_behind_a_proxy_that_takes_a_prefix_off_the_page_knows_where_it_is(site: Server) -> None:
    transport = httpx.ASGITransport(site.app, root_path="/agents")
    async with httpx.AsyncClient(transport=transport, base_url="https://out.example") as http:
        for path in ("/ui/runs", "/agents/ui/runs"):  # as servers differ in whether the path has it
            assert '<base href="/agents/ui/">' in (await http.get(path)).text


async def test_a_prefix_that_a_client_chose_does_not_lead_elsewhere(site: Server) -> None:
    outer = FastAPI()
    outer.mount("/{customer:path}/x", site.app)
    async with listening(outer) as url:
        _, _, page = await raw(url, "//evil.example/x/ui/")
        assert b'<base href="/evil.example/x/ui/">' in page
        status, headers, _ = await raw(url, "//evil.example/x/ui")
        assert (status, headers["location"]) == (308, "ui/")


@pytest.mark.parametrize("root_path", ["/agents", "/a/b-c_d.e~f"])
def test_the_prefix_of_a_proxy_is_a_setting(root_path: str, tmp_path: Path) -> None:
    from holdfast import serving as commands

    settings = Settings(database=f"sqlite:///{tmp_path / 'x.db'}", root_path=root_path)
    server = commands.server_of(Holdfast(settings=settings), access_log=False, grace_s=1)
    assert server.config.root_path == root_path


@pytest.mark.parametrize("root_path", ["agents", "/agents/", "/", "//x", "/a b", "https://x", "/a?b", "/ä"])
def test_a_prefix_is_a_plain_path(root_path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=root_path)


# -- without --------------------------------------------------------------------------------------------------------


async def test_a_checkout_that_was_never_built_says_how_to(sqlite_url: str, tmp_path: Path) -> None:
    for directory in (tmp_path / "none", tmp_path):
        async with serving(sqlite_url, execute=False, control_plane=ui.Dist(directory)) as server:
            for path in ("/ui/", "/ui/runs", "/ui/index.html"):
                response = await server.http.get(path)
                assert (response.status_code, response.headers["cache-control"]) == (503, "no-store")
                assert "npm run build" in response.text
                assert policy(response)["default-src"] == "'none'"
            assert (await server.http.get("/ui/assets/index.js")).status_code == 404
            assert (await server.http.get("/v1/info")).json()["ui"] is False
            assert (await server.http.get("/readyz")).status_code == 200, "the API is not concerned"


async def test_switched_off_it_is_not_there(sqlite_url: str) -> None:
    async with serving(sqlite_url, execute=False, control_plane=None) as server:
        for path in ("/", "/ui", "/ui/", "/ui/runs", "/ui/theme.js"):
            response = await server.http.get(path, headers={"Accept": "text/html"})
            assert (response.status_code, response.json()["code"]) == (404, "route_not_found"), path
        assert (await server.http.get("/v1/info")).json()["ui"] is False
        await server.auth.create_key(ADMIN, "any")
        assert (await server.http.get("/ui/")).status_code == 401, "as any route that is not there"


@pytest.mark.parametrize("on", [True, False])
def test_a_setting_switches_it_off(on: bool, tmp_path: Path) -> None:
    made = Holdfast(settings=Settings(database=f"sqlite:///{tmp_path / 'x.db'}", ui=on)).app
    paths = {route.path for route in api.routes_of(made) if Scope.PUBLIC in api.scopes_of(route)}
    assert ("/ui/{path:path}" in paths) is on
    assert Settings().ui is True


@pytest.mark.parametrize(("on", "there"), [(True, True), (True, False), (False, True)])
def test_commands_print_its_address_if_it_is_served(
    on: bool,
    there: bool,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from holdfast import cli

    monkeypatch.setattr(ui, "PACKAGED", ui.Dist(built if there else tmp_path))
    holdfast = Holdfast(settings=Settings(database=f"sqlite:///{tmp_path / 'x.db'}", ui=on))
    cli.announce(holdfast, "http://127.0.0.1:8484")
    said = capsys.readouterr().out
    assert ("http://127.0.0.1:8484/ui/" in said) is (on and there)
    assert said.endswith(" is ready on http://127.0.0.1:8484\n")


async def test_info_says_whether_it_is_served_and_what_time_it_is(site: Server) -> None:
    found = (await site.http.get("/v1/info")).json()
    assert found["ui"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["now"])


# -- the package ----------------------------------------------------------------------------------------------------


def test_the_package_brings_it_along() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"] == {"packages": ["src/holdfast"]}, "with everything in it that git does not ignore"
    assert "exclude" not in targets.get("sdist", {})
    assert "exclude" not in project["tool"]["hatch"]["build"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert not {"dist", "dist/", "ui/", "assets/", "*.js", "*.css", "*.svg"} & set(ignored)
    assert "/dist/" in ignored


async def test_what_is_packaged_has_the_places_that_are_filled_in() -> None:
    """Of a checkout that was never built there is nothing to check but that it says so."""
    files = await ui.PACKAGED.files()
    assert ui.PACKAGED.built is (ui.PAGE in files)
    if ui.PACKAGED.built:
        page = files[ui.PAGE].body
        assert len(ui.BASE.findall(page)) == 1
        assert page.count(ui.NONCE) == 1
        assert sum(len(file.body) for file in files.values()) <= 2 * 1024 * 1024
        for path in re.findall(rb'(?:src|href)="\./([^"]+)"', page):
            assert path.decode() in files
