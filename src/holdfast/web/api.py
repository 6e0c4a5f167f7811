"""The native API as a FastAPI application: assembly only."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from holdfast import _version
from holdfast.domain import limits
from holdfast.domain.access import Scope
from holdfast.domain.errors import HoldfastError
from holdfast.service.access import Auth
from holdfast.service.health import Probe
from holdfast.service.house import House
from holdfast.web import (
    agents,
    approvals,
    awaited,
    changes,
    diffs,
    docs,
    effects,
    forks,
    health,
    overview,
    problems,
    replays,
    runs,
    sessions,
    states,
    threads,
    timelines,
    ui,
)
from holdfast.web.gate import Gate
from holdfast.web.routing import Needs, Public

DESCRIPTION: Final = (
    "Durable runs of AI agents. Errors are application/problem+json with a stable code. Every POST takes an "
    "Idempotency-Key. Lists are pages: pass next_cursor as cursor."
)


class Api(FastAPI):
    """The framework's application with our document."""

    def openapi(self) -> dict[str, Any]:
        return docs.document_of(self)


def build(
    house: House,
    *,
    auth: Auth,
    dev: bool = True,
    body_bytes_max: int = limits.BODY_BYTES_MAX,
    lifespan: Lifespan[FastAPI] | None = None,
    control_plane: ui.Dist | None = ui.PACKAGED,
    title: str = "Holdfast",
) -> FastAPI:
    """The application. It may be mounted in another one; `lifespan` starts and stops what it needs. `control_plane`:
    the files of its web UI, if it has one."""
    app = Api(
        title=title,
        version=_version.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.house, app.state.auth, app.state.dev, app.state.probe = house, auth, dev, Probe(house)
    app.state.ui = control_plane
    for noun in (
        runs,
        timelines,
        threads,
        forks,
        states,
        diffs,
        replays,
        approvals,
        effects,
        awaited,
        agents,
        changes,
        overview,
        health,
        sessions,
        docs,
        *(() if control_plane is None else (ui,)),
    ):
        app.router.routes.extend(noun.router.routes)
    app.add_middleware(
        Gate,
        auth=auth,
        determinism=house.determinism,
        body_bytes_max=body_bytes_max,
        larger={replays.IMPORT_PATH: limits.IMPORT_BYTES_MAX},
        public={route.path for route in routes_of(app) if Scope.PUBLIC in scopes_of(route)},
        public_below=() if control_plane is None else (ui.BELOW,),
    )
    app.add_exception_handler(HoldfastError, problems.holdfast_error)
    app.add_exception_handler(RequestValidationError, problems.validation_error)
    app.add_exception_handler(HTTPException, problems.http_error)
    app.add_exception_handler(Exception, problems.unexpected_error)
    return app


def routes_of(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def scopes_of(route: APIRoute) -> tuple[Scope, ...]:
    """The scopes that a route declares; a test refuses one that declares none."""
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, (Needs, Public)):
            return dependency.call.scopes
    return ()
