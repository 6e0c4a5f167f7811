"""What can be asked of agents: which there are, what they can do, and switching them off and on.

Workers register what they run in the default tenant, for the whole deployment. A tenant's kill switch is a row of
its own: another tenant's agents stay on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from holdfast.agents.registry import ID_PATTERN
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.agents import AgentRecord, AgentVersion
from holdfast.domain.encoding import decode
from holdfast.domain.errors import NotFound
from holdfast.domain.ids import DEFAULT_TENANT, TenantId
from holdfast.service.house import House
from holdfast.store import agents
from holdfast.store.base import Tx

VERSION_CHARS_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class AgentView:
    """A registered agent, how many live workers can run it, and which tools the tenant has switched off."""

    record: AgentRecord
    workers: int
    tools_off: frozenset[str]


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool by its name, whether it is on for the tenant, and the agents that have one of this name."""

    name: str
    enabled: bool
    agents: tuple[str, ...]


def may_be_id(text: str) -> bool:
    """Whether an agent could have this id at all."""
    return ID_PATTERN.fullmatch(text) is not None


def may_be_version(text: bytes) -> bool:
    """Whether an agent could have this version at all: it is short, printable ASCII."""
    return 0 < len(text) <= VERSION_CHARS_MAX and text.isascii() and text.decode().isprintable()


async def page(house: House, principal: Principal, after: str, limit: int) -> list[AgentView]:
    """A page of agents behind the id `after`, in the order of their ids."""
    access.demand(principal, Scope.AGENTS_READ)

    async def body(tx: Tx) -> list[AgentView]:
        found = await agents.page(tx, DEFAULT_TENANT, after, limit)
        standing = await _standing(tx, principal.tenant_id)
        return [await _viewed(tx, principal.tenant_id, record, standing) for record in found]

    return await house.database.read(None, body)


async def get(house: House, principal: Principal, agent_id: str) -> AgentView:
    """An agent; `NotFound` if no worker ever registered one of this id."""
    access.demand(principal, Scope.AGENTS_READ)

    async def body(tx: Tx) -> AgentView:
        return await _viewed(tx, principal.tenant_id, await _demand(tx, agent_id))

    return await house.database.read(None, body)


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version of an agent, whether it is the one registered last, and how many live workers have it."""

    version: AgentVersion
    current: bool
    workers: int


async def versions(
    house: House, principal: Principal, agent_id: str, before: tuple[int, str] | None, limit: int
) -> list[VersionView]:
    """A page of an agent's versions behind one, the one first seen last first. Raises `NotFound`."""
    access.demand(principal, Scope.AGENTS_READ)

    async def body(tx: Tx) -> list[VersionView]:
        record = await _demand(tx, agent_id)
        found = await agents.versions(tx, DEFAULT_TENANT, agent_id, before, limit)
        return await _versions(tx, record, found)

    return await house.database.read(None, body)


async def version(house: House, principal: Principal, agent_id: str, version: str) -> VersionView:
    """One version of an agent. Raises `NotFound`: `agent_not_found`, `version_not_found`."""
    access.demand(principal, Scope.AGENTS_READ)

    async def body(tx: Tx) -> VersionView:
        record = await _demand(tx, agent_id)
        found = await agents.version(tx, DEFAULT_TENANT, agent_id, version)
        if found is None:
            raise NotFound(f"There was never a version {version!r} of this agent.", code="version_not_found")
        return (await _versions(tx, record, [found]))[0]

    return await house.database.read(None, body)


async def _versions(tx: Tx, record: AgentRecord, found: list[AgentVersion]) -> list[VersionView]:
    alive = await agents.workers(tx, seen_within_ms=limits.WORKER_SEEN_MS)
    having = Counter(w.agents.get(record.id) for w in alive if w.slots > 0)
    return [VersionView(one, one.version == record.version, having[one.version]) for one in found]


async def enable(house: House, principal: Principal, agent_id: str, enabled: bool) -> AgentView:
    """Switch an agent on or off for the principal's tenant: off, new runs of it are refused. Safe to repeat."""
    access.demand(principal, Scope.AGENTS_WRITE)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> AgentView:
        record = await _demand(tx, agent_id)
        if tenant_id != DEFAULT_TENANT:
            await agents.register(tx, tenant_id, record.id, record.kind, record.version, record.definition)
        await agents.set_enabled(tx, tenant_id, agent_id, enabled)
        return await _viewed(tx, tenant_id, record)

    view = await house.database.write(None, body)
    house.changed(tenant_id, "agent", agent_id, "enabled" if enabled else "disabled")
    return view


async def _demand(tx: Tx, agent_id: str) -> AgentRecord:
    record = await agents.get(tx, DEFAULT_TENANT, agent_id)
    if record is None:
        raise NotFound(f"There is no agent {agent_id!r}.", code="agent_not_found")
    return record


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is the same for all agents of an answer: how many live workers have each, and which tools are off."""

    workers: Counter[str]
    tools_off: frozenset[str]


async def _standing(tx: Tx, tenant_id: TenantId) -> _Standing:
    alive = await agents.workers(tx, seen_within_ms=limits.WORKER_SEEN_MS)
    having = Counter(agent for worker in alive if worker.slots > 0 for agent in worker.agents)
    return _Standing(having, await agents.tools_off(tx, tenant_id))


async def _viewed(tx: Tx, tenant_id: TenantId, record: AgentRecord, standing: _Standing | None = None) -> AgentView:
    own = await agents.get(tx, tenant_id, record.id)
    known = standing or await _standing(tx, tenant_id)
    enabled = own is None or own.enabled
    return AgentView(replace(record, enabled=enabled), known.workers[record.id], known.tools_off)


# -- tools ----------------------------------------------------------------------------------------------------------


async def enable_tool(house: House, principal: Principal, name: str, enabled: bool) -> ToolView:
    """Switch the tools of a name on or off for the principal's tenant, in every agent that has one.

    Off, a call is answered to the model, or fails a workflow's step, with `tool_disabled`. Other processes follow
    within `TOOL_SWITCH_STALE_MS`. Safe to repeat. `NotFound` if no registered agent has such a tool.
    """
    access.demand(principal, Scope.AGENTS_WRITE)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> tuple[str, ...]:
        having = tuple([record.id for record in await _all(tx) if name in _tools_of(record)])
        if not having:
            raise NotFound("No agent has a tool of this name.", code="tool_not_found")
        await agents.switch_tool(tx, tenant_id, name, enabled)
        return having

    having = await house.database.write(tenant_id, body)
    house.tools_off.pop(tenant_id, None)
    house.changed(tenant_id, "tool", name, "enabled" if enabled else "disabled")
    return ToolView(name, enabled, having)


async def _all(tx: Tx) -> list[AgentRecord]:
    found: list[AgentRecord] = []
    while page := await agents.page(tx, DEFAULT_TENANT, found[-1].id if found else "", limits.PAGE_SIZE_MAX):
        found += page
    return found


def _tools_of(record: AgentRecord) -> set[str]:
    declared: dict[str, list[dict[str, str]]] = decode(record.definition)
    return {tool["name"] for tool in declared.get("tools") or []}


async def tool_enabled(house: House, tenant_id: TenantId, name: str) -> bool:
    """Whether a tool may be called now, as this process knows: asked at every call, read every few seconds."""
    now = house.determinism.monotonic_ms()
    known = house.tools_off.get(tenant_id)
    if known is None or now - known[0] > limits.TOOL_SWITCH_STALE_MS:
        off = await house.database.read(tenant_id, lambda tx: agents.tools_off(tx, tenant_id))
        known = house.tools_off[tenant_id] = (now, off)
    return name not in known[1]
