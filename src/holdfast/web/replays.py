"""Routes of recorded runs: replay one with the code of today, take it out as a file, bring it in."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, Literal

from fastapi import Request, Response
from pydantic import Field

from holdfast.domain import ids, limits, portable
from holdfast.domain.access import Principal
from holdfast.domain.encoding import DIGEST_BYTES, decode
from holdfast.domain.errors import Conflict, NotFound
from holdfast.domain.events import or_none, timestamp
from holdfast.domain.ids import PRINCIPAL, REPLAY, RUN, THREAD, ReplayId, text
from holdfast.domain.replays import Mode, Reason, Verdict
from holdfast.service import importing, recordings, replays
from holdfast.service.house import House
from holdfast.service.idempotency import Key
from holdfast.service.importing import Imported
from holdfast.service.replays import Asked
from holdfast.web import gate, paging, routing, shapes
from holdfast.web.paging import Cursor, Limit
from holdfast.web.problems import Failure
from holdfast.web.routing import Body, KeyHeader, Reads, Writes, key_of, problems
from holdfast.web.runs import house_of
from holdfast.web.shapes import Shape

router = routing.router()

NDJSON: Final = "application/x-ndjson"
IMPORT_PATH: Final = "/v1/runs/import"
RETRY_AFTER_S: Final = "2"


class VersionsOut(Shape):
    """The fingerprint of the agent's definition that the run ended under, and that of the code which was replayed."""

    recorded: str
    current: str


class DifferenceOut(Shape):
    """The first place at which the two sides differ, and what stands there; long values are cut."""

    path: str
    recorded: Any
    requested: Any


class ReplayIn(Body):
    """What the replay has of the world."""

    mode: Mode = Field(
        default=Mode.STRICT,
        description="`strict`: the code alone runs, against the record. `recorded_tools`: a run with today's model, "
        "whose tools answer from the record; needs `runs:write`. `live`: a run with today's model and tools, in the "
        "sandbox tenant; needs an admin.",
    )


class ReplayRow(Shape):
    """A replay, without the two sides that it compared. `verdict` and what follows it are null until `status` is
    `done`; `message` may say before what the run that it made waits for."""

    id: str
    run_id: str
    status: Literal["pending", "done", "failed"]
    mode: Mode
    replay_run_id: str | None = Field(
        description="The run that the replay made, if it is not strict: of a live one it is in the sandbox tenant, "
        "whose keys show it."
    )
    agent: str
    version: VersionsOut
    isolation: Literal["process", "thread"] | None = Field(
        description="Where the code of a strict replay ran: a process of its own, or a thread of the server (of one "
        "that was not started with a target, so that no other process could import it)."
    )
    verdict: Verdict | None
    steps: int | None = Field(description="Recorded steps that the code asked for as they were.")
    at: int | None = Field(description="The step at which the code diverged; null if only the end is another one.")
    reason: Reason | None
    message: str | None
    error: dict[str, Any] | None = Field(description="Of a replay that failed: its `code` and `message`.")
    requested_by: str = Field(description="The id of who asked for it.")
    requester: str = Field(description="The name of who asked for it.")
    created_at: str
    ended_at: str | None


class ReplayOut(ReplayRow):
    """A replay, with what was recorded and what the code of today asked for, where the two part."""

    recorded: dict[str, Any] | None
    requested: dict[str, Any] | None
    difference: DifferenceOut | None


class ImportedOut(Shape):
    """A run that was brought in, and which one it was."""

    run_id: str
    thread_id: str
    was: str


class ImportsOut(Shape):
    data: list[ImportedOut]


def _shown(house: House, asked: Asked) -> dict[str, Any]:
    result: dict[str, Any] = decode(asked.replay.result) or {}
    return {**_row(house, asked, result), **{name: result.get(name) for name in _SIDES}}


def _row(house: House, asked: Asked, result: dict[str, Any]) -> dict[str, Any]:
    replay = asked.replay
    error: dict[str, Any] | None = decode(replay.error)
    if error is None and replays.is_lost(house, replay):
        error = {"code": "replay_lost", "message": "The process that replayed it ended before it was done."}
    return {
        "id": text(REPLAY, replay.id),
        "run_id": text(RUN, replay.run_id),
        "status": "failed" if error is not None else "done" if result else "pending",
        "mode": replay.mode.value,
        "replay_run_id": None if replay.made_run is None else text(RUN, replay.made_run),
        "agent": asked.agent,
        "version": {"recorded": replay.recorded_version, "current": replay.current_version},
        "isolation": replay.isolation,
        **{name: result.get(name) for name in _RESULT},
        "message": result.get("message") or asked.waiting,
        "error": error,
        "requested_by": text(PRINCIPAL, replay.requested_by),
        "requester": asked.requester,
        "created_at": timestamp(replay.created_at),
        "ended_at": or_none(replay.ended_at),
    }


_RESULT: Final = ("verdict", "steps", "at", "reason")
_SIDES: Final = ("recorded", "requested", "difference")


@router.post(
    "/v1/runs/{run_id}/replay",
    response_model=ReplayOut,
    responses={
        202: {"model": ReplayOut, "description": "It takes longer: poll `Location`."},
        **problems(400, 403, 404, 409, 415, 422),
    },
    tags=["time travel"],
)
async def replay_run(
    request: Request,
    run_id: str,
    principal: Reads,
    body: ReplayIn | None = None,
    idempotency_key: KeyHeader = None,
) -> Response:
    """Run the current code of the run's agent against what was recorded, with no model, no tool and no network, and say
    whether it does the same, or at which step it begins to do something else. Changes nothing, unless another `mode`
    than `strict` makes a run to compare with."""
    id = routing.run_id(run_id)
    house, key = house_of(request), await key_of(request, principal, idempotency_key)
    asked = await replays.start(house, principal, id, key, (body or ReplayIn()).mode)
    shown = _shown(house, asked)
    if shown["status"] == "failed" and asked.replay.mode is Mode.STRICT:
        raise Conflict(shown["error"]["message"], code="replay_failed")
    at = f"{request.scope.get('root_path', '')}/v1/runs/{run_id}/replays/{shown['id']}"
    pending = {"Retry-After": RETRY_AFTER_S} if shown["status"] == "pending" else {}
    headers = routing.replay_headers(asked.replayed, Location=at, **pending)
    return routing.json_response(routing.json_of(shown), 202 if pending else 200, headers)


@router.get(
    "/v1/runs/{run_id}/replays",
    response_model=shapes.Page[ReplayRow],
    responses=problems(400, 404, 422),
    tags=["time travel"],
)
async def list_replays(
    request: Request, run_id: str, principal: Reads, limit: Limit = limits.PAGE_SIZE, cursor: Cursor = None
) -> Response:
    """The replays of a run, newest first. They are kept for 7 days."""
    id, house = routing.run_id(run_id), house_of(request)
    here = paging.place(principal, "replays", {"run_id": run_id}, cursor, size=ids.ID_BYTES)
    found = await replays.page(house, principal, id, here.position, limit + 1)

    def view(asked: Asked) -> bytes:
        return routing.json_of(_row(house, asked, decode(asked.replay.result) or {}))

    return paging.answer(here, found, limit, view, lambda asked: asked.replay.id)


@router.get(
    "/v1/runs/{run_id}/replays/{replay_id}",
    response_model=ReplayOut,
    responses={202: {"model": ReplayOut, "description": "It is under way."}, **problems(404, 422)},
    tags=["time travel"],
)
async def get_replay(request: Request, run_id: str, replay_id: str, principal: Reads) -> Response:
    """What came of a replay. Kept for 7 days."""
    id = routing.run_id(run_id)
    try:
        wanted = ReplayId(ids.parse(REPLAY, replay_id))
    except NotFound:
        raise NotFound("There is no replay of this run with this id.", code="replay_not_found") from None
    house = house_of(request)
    shown = _shown(house, await replays.get(house, principal, id, wanted))
    pending = shown["status"] == "pending"
    headers = {"Retry-After": RETRY_AFTER_S} if pending else None
    return routing.json_response(routing.json_of(shown), 202 if pending else 200, headers)


@router.get(
    "/v1/runs/{run_id}/export",
    response_class=Response,
    responses={200: {"content": {NDJSON: {}}, "description": "The run, as JSON lines."}, **problems(404, 422)},
    tags=["time travel"],
)
async def export_run(request: Request, run_id: str, principal: Reads) -> Response:
    """The run as a file of JSON lines: its journal, the messages before it, what its prompts were made of."""
    recorded = await recordings.read(house_of(request), principal, routing.run_id(run_id))
    body = b"".join(portable.written(recorded))
    name = f"{run_id}.jsonl"
    return Response(body, headers={"content-disposition": f'attachment; filename="{name}"'}, media_type=NDJSON)


@router.post(
    IMPORT_PATH,
    response_model=ImportsOut,
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {NDJSON: {"schema": {"type": "string"}}}}},
    responses=problems(400, 409, 413, 415, 422),
    tags=["time travel"],
)
async def import_runs(request: Request, principal: Writes, idempotency_key: KeyHeader = None) -> Response:
    """Bring in runs from a file as `export` gives it, all or none. They are new runs, ended, to be looked at, replayed
    and forked; who they were stands in `metadata["holdfast.imported"]`."""
    if not gate.is_ndjson(request.headers):
        raise Failure(415, "unsupported_media_type", f"The body has to be {NDJSON}.")
    body = await request.body()
    key = _key(request, principal, idempotency_key, body)
    made, replayed = await importing.load(house_of(request), principal, body.splitlines(keepends=True), key)
    shown = {"data": [_imported(one) for one in made]}
    return routing.json_response(routing.json_of(shown), 201, routing.replay_headers(replayed))


def _key(request: Request, principal: Principal, given: str | None, body: bytes) -> Key | None:
    if given is None:
        return None
    digest = sha256(body).digest()[:DIGEST_BYTES]
    return Key(principal.id, f"{request.method} {gate.path_of(request.scope)}", given, digest)


def _imported(one: Imported) -> dict[str, str]:
    return {"run_id": text(RUN, one.run_id), "thread_id": text(THREAD, one.thread_id), "was": one.was}
