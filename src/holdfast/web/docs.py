"""`/openapi.json`, and `/docs`: a reference page that this server draws by itself.

Rejected: the framework's pages, which load their scripts from a CDN: an offline server would show nothing, and a
private one would tell somebody else that it exists.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from holdfast.domain import sessions
from holdfast.web import routing
from holdfast.web.problems import Problem
from holdfast.web.routing import json_of, json_response, public

router = routing.router()

CSP: Final = (
    "default-src 'none'; connect-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _asset(name: str) -> bytes:
    return resources.files("holdfast.web").joinpath("reference", name).read_bytes()


@router.get("/docs", include_in_schema=False, dependencies=[public()])
async def get_docs() -> Response:
    return HTMLResponse(_asset("index.html"), headers={"content-security-policy": CSP})


@router.get("/docs/reference.js", include_in_schema=False, dependencies=[public()])
async def get_script() -> Response:
    return Response(_asset("reference.js"), media_type="text/javascript")


@router.get("/openapi.json", include_in_schema=False, dependencies=[public()])
async def get_document(request: Request) -> Response:
    document: dict[str, Any] = request.app.openapi()
    root = request.scope.get("root_path", "").rstrip("/")
    if root:
        document = {**document, "servers": [{"url": root}]}
    return json_response(json_of(document))


def document_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the parts that the framework does not write by itself. Built once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = made.setdefault("components", {})
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update(schema.pop("$defs", {}))
        components["schemas"]["Problem"] = schema
        components["securitySchemes"] = {
            "api_key": {"type": "http", "scheme": "bearer", "description": "An API key: `hf_<id>.<secret>`."},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": sessions.COOKIE,
                "description": "Of `POST /v1/session`. Its name goes on with `_` and digits of the installation's own.",
            },
        }
        made["security"] = [{"api_key": []}, {"session": []}]
        app.openapi_schema = made
    return app.openapi_schema
