"""Routes for probes, operators and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Request, Response

from holdfast.domain.access import Principal, Scope
from holdfast.domain.events import timestamp
from holdfast.domain.runs import RunStatus
from holdfast.service import health
from holdfast.service.health import Metrics, Probe, RuntimeFacts
from holdfast.web import problems as problem
from holdfast.web import routing, shapes
from holdfast.web.routing import json_of, json_response, needs, problems, public
from holdfast.web.runs import house_of

router = routing.router()


def _probe(request: Request) -> Probe:
    return request.app.state.probe


@router.get("/healthz", response_model=shapes.HealthOut, dependencies=[public()], tags=["health"])
async def healthz() -> Response:
    """Whether the process is alive."""
    return json_response(b'{"status":"ok"}')


@router.get(
    "/readyz",
    response_model=shapes.ReadyOut,
    responses={503: problems()[503]},
    dependencies=[public()],
    tags=["health"],
)
async def readyz(request: Request) -> Response:
    """Whether the process can serve: its database answers, the schema fits, and it is not about to stop."""
    found = await _probe(request).readiness()
    if found.ready:
        return json_response(json_of({"status": "ready", "checks": found.checks}))
    places = [{"loc": [name], "msg": said} for name, said in found.checks.items() if said != "ok"]
    headers = {"Retry-After": problem.RETRY_AFTER_S}
    return problem.response(
        request.scope, 503, "not_ready", "This process cannot serve now.", places=places, headers=headers
    )


@router.get("/v1/info", response_model=shapes.InfoOut, responses=problems(), tags=["health"])
async def get_info(request: Request, principal: Annotated[Principal, needs(Scope.INFO_READ)]) -> Response:
    """What this server is."""
    found = health.info(house_of(request), principal)
    state = request.app.state
    return json_response(
        json_of(
            {
                "name": "holdfast",
                "version": found.version,
                "mode": "dev" if state.dev else "serve",
                "database": found.database,
                "authentication": await state.auth.configured(),
                "agents": found.agents,
                "features": found.features,
                "ui": state.ui is not None and state.ui.built,
                "now": timestamp(house_of(request).determinism.now_ms()),
            }
        )
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text exposition, version 0.0.4.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(),
    },
    tags=["health"],
)
async def get_metrics(request: Request, principal: Annotated[Principal, needs(Scope.METRICS_READ)]) -> Response:
    """The tenant's runs, and how this process does."""
    found = await health.metrics(_probe(request), principal)
    return Response("\n".join([*_exposition(found), ""]), media_type="text/plain; version=0.0.4; charset=utf-8")


def _exposition(found: Metrics) -> Iterator[str]:
    yield "# HELP holdfast_runs Runs of the tenant by status."
    yield "# TYPE holdfast_runs gauge"
    for status in RunStatus:
        yield f'holdfast_runs{{status="{status.value}"}} {found.runs.get(status, 0)}'
    yield from _metric(
        "holdfast_approvals_pending", "gauge", "Questions of the tenant that nobody answered.", found.approvals_pending
    )
    yield from _metric(
        "holdfast_effects_unknown",
        "gauge",
        "Side effects of the tenant of which nobody knows whether they were done.",
        found.effects_unknown,
    )
    yield from _metric("holdfast_workers", "gauge", "Workers that were seen alive lately.", found.workers)
    yield from _metric("holdfast_worker_slots", "gauge", "Runs that they can move at once.", found.worker_slots)
    if found.runtime is not None:
        yield from _of_process(found.runtime)


def _of_process(facts: RuntimeFacts) -> Iterator[str]:
    gauges = (
        ("slots", "Runs that this process can move at once.", facts.slots),
        ("slots_free", "Slots of this process that nothing uses.", facts.slots_free),
        ("executors", "Runs that this process has claimed.", facts.executors),
        ("executors_stuck", "Claimed runs whose code does not unwind.", facts.stuck),
        ("journal_backlog", "Appends that wait for the journal.", facts.backlog),
        ("threads_abandoned", "Sync calls that never returned.", facts.threads_abandoned),
        ("draining", "Whether this process is stopping.", int(facts.draining)),
    )
    for name, says, value in gauges:
        yield from _metric(f"holdfast_process_{name}", "gauge", says, value)
    yield from _metric(
        "holdfast_process_claims_total", "counter", "Runs that this process claimed.", facts.claims_total
    )
    yield from _metric(
        "holdfast_process_recovered_total", "counter", "Runs that it took back from others.", facts.recovered_total
    )


def _metric(name: str, kind: str, says: str, value: int) -> Iterator[str]:
    yield f"# HELP {name} {says}"
    yield f"# TYPE {name} {kind}"
    yield f"{name} {value}"
