"""Routes of agents."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response
from pydantic import Field

from holdfast.agents import tools
from holdfast.domain import limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.agents import AgentVersion
from holdfast.domain.errors import NotFound
from holdfast.service import agents
from holdfast.web import paging, routing, shapes, views
from holdfast.web.paging import Cursor, Limit
from holdfast.web.routing import Body, needs, problems
from holdfast.web.runs import house_of

Reads = Annotated[Principal, needs(Scope.AGENTS_READ)]
Writes = Annotated[Principal, needs(Scope.AGENTS_WRITE)]

router = routing.router()


class EnabledIn(Body):
    enabled: bool = Field(strict=True)


@router.get("/v1/agents", response_model=shapes.Page[shapes.AgentOut], responses=problems(400, 422), tags=["agents"])
async def list_agents(
    request: Request, principal: Reads, limit: Limit = limits.PAGE_SIZE, cursor: Cursor = None
) -> Response:
    """The declared agents, in the order of their ids."""
    here = paging.place(principal, "agents", {}, cursor, size=None)
    after = "" if here.position is None else here.position.decode("utf-8", "replace")
    if after and not agents.may_be_id(after):
        raise paging.bad_cursor()
    found = await agents.page(house_of(request), principal, after, limit + 1)
    return paging.answer(here, found, limit, views.agent, lambda view: view.record.id.encode())


@router.get("/v1/agents/{agent_id}", response_model=shapes.AgentOut, responses=problems(404, 422), tags=["agents"])
async def get_agent(request: Request, agent_id: str, principal: Reads) -> Response:
    """An agent: what it is, what it takes and gives, what its tools are."""
    view = await agents.get(house_of(request), principal, _known(agent_id))
    return routing.json_response(views.agent(view))


@router.get(
    "/v1/agents/{agent_id}/versions",
    response_model=shapes.Page[shapes.AgentVersionOut],
    responses=problems(400, 404, 422),
    tags=["agents"],
)
async def list_versions(
    request: Request, agent_id: str, principal: Reads, limit: Limit = limits.PAGE_SIZE, cursor: Cursor = None
) -> Response:
    """The versions of an agent that workers have registered, the one first seen last first. Its runs are listed by
    `GET /v1/runs?agent=…&version=…`."""
    known = _known(agent_id)
    here = paging.place(principal, "agent versions", {"agent": known}, cursor, size=None)
    before = None if here.position is None else _version_place(here.position)
    found = await agents.versions(house_of(request), principal, known, before, limit + 1)
    return paging.answer(here, found, limit, views.agent_version, lambda view: _place_of(view.version))


def _place_of(version: AgentVersion) -> bytes:
    return paging.moment(version.created_at, version.version.encode())


def _version_place(position: bytes) -> tuple[int, str]:
    at, name = position[: paging.NUMBER_BYTES], position[paging.NUMBER_BYTES :]
    if len(at) < paging.NUMBER_BYTES or at[:1] >= b"\x80" or not agents.may_be_version(name):
        raise paging.bad_cursor()
    return int.from_bytes(at, "big"), name.decode()


@router.get(
    "/v1/agents/{agent_id}/versions/{version}",
    response_model=shapes.AgentVersionDefinitionOut,
    responses=problems(404, 422),
    tags=["agents"],
)
async def get_version(request: Request, agent_id: str, version: str, principal: Reads) -> Response:
    """One version of an agent, with its definition."""
    known = _known(agent_id)
    if not agents.may_be_version(version.encode("utf-8", "replace")):
        raise NotFound("There was never such a version of this agent.", code="version_not_found")
    view = await agents.version(house_of(request), principal, known, version)
    return routing.json_response(views.agent_version_definition(view))


@router.put(
    "/v1/agents/{agent_id}/enabled",
    response_model=shapes.AgentOut,
    responses=problems(400, 404, 415, 422),
    tags=["agents"],
)
async def enable_agent(request: Request, agent_id: str, body: EnabledIn, principal: Writes) -> Response:
    """The kill switch: new runs of an agent that is off are refused with 409 `agent_disabled`."""
    view = await agents.enable(house_of(request), principal, _known(agent_id), body.enabled)
    return routing.json_response(views.agent(view))


@router.put(
    "/v1/tools/{name}/enabled",
    response_model=shapes.ToolSwitchOut,
    responses=problems(400, 404, 415, 422),
    tags=["agents"],
)
async def enable_tool(request: Request, name: str, body: EnabledIn, principal: Writes) -> Response:
    """The kill switch of a tool, in every agent that has it: the model is told that it is off, a workflow's step fails
    with `tool_disabled`."""
    if not tools.NAME_PATTERN.fullmatch(name):
        raise NotFound("No agent has a tool of this name.", code="tool_not_found")
    view = await agents.enable_tool(house_of(request), principal, name, body.enabled)
    return routing.json_response(views.tool_switch(view))


def _known(agent_id: str) -> str:
    if not agents.may_be_id(agent_id):
        raise NotFound("There is no agent with this id.", code="agent_not_found")
    return agent_id
