"""Agents as registered by workers, every version that there was, their kill switch, and the workers that run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select, text, update

from holdfast.domain import patches
from holdfast.domain.agents import AgentKind, AgentRecord, AgentVersion
from holdfast.domain.encoding import decode, encode
from holdfast.domain.ids import DEFAULT_TENANT, TenantId, WorkerId
from holdfast.domain.limits import VERSION_CHANGES_MAX
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_a = schema.agents.c
_w = schema.workers.c
_UPSERT = text(
    "INSERT INTO agents (tenant_id, id, kind, version, definition, enabled, updated_at)"
    " VALUES (:tenant_id, :id, :kind, :version, :definition, 1, :now)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET kind = excluded.kind, version = excluded.version,"
    " definition = excluded.definition, updated_at = excluded.updated_at"
    " WHERE agents.version <> excluded.version OR agents.definition <> excluded.definition"
)
_COLUMNS = (_a.tenant_id, _a.id, _a.kind, _a.version, _a.definition, _a.enabled, _a.updated_at)
_GET = select(*_COLUMNS).where(_a.tenant_id == bindparam("b_tenant_id"), _a.id == bindparam("b_id"))
_PAGE = (
    select(*_COLUMNS)
    .where(_a.tenant_id == bindparam("b_tenant_id"), _a.id > bindparam("b_after"))
    .order_by(_a.id)
    .limit(bindparam("b_limit"))
)
_ENABLE = (
    update(schema.agents)
    .where(_a.tenant_id == bindparam("b_tenant_id"), _a.id == bindparam("b_id"))
    .values(enabled=bindparam("b_enabled"), updated_at=bindparam("b_now"))
)


def _record(row: Row) -> AgentRecord:
    return AgentRecord(row[0], row[1], AgentKind(row[2]), row[3], row[4], bool(row[5]), row[6])


async def register(tx: Tx, tenant_id: TenantId, id: str, kind: AgentKind, version: str, definition: bytes) -> bool:
    """Note what this process can run; whether that is news. The kill switch is left as it is."""
    changed = await tx.execute(
        _UPSERT,
        {
            "tenant_id": tenant_id,
            "id": id,
            "kind": kind.value,
            "version": version,
            "definition": definition,
            "now": tx.now_ms,
        },
    )
    return changed > 0


_v = schema.agent_versions.c
_NOTE_VERSION = text(
    "INSERT INTO agent_versions (tenant_id, agent, version, definition, created_at)"
    " VALUES (:tenant_id, :id, :version, :definition, :now)"
    " ON CONFLICT (tenant_id, agent, version) DO UPDATE SET definition = excluded.definition"
    " WHERE agent_versions.definition <> excluded.definition"
)
_OF_AGENT = (_v.tenant_id == bindparam("b_tenant_id"), _v.agent == bindparam("b_id"))
_VERSION = select(_v.agent, _v.version, _v.definition, _v.created_at).where(
    *_OF_AGENT, _v.version == bindparam("b_version")
)
_VERSIONS = (
    select(_v.agent, _v.version, _v.definition, _v.created_at)
    .where(
        *_OF_AGENT,
        or_(
            _v.created_at < bindparam("b_at"),
            and_(_v.created_at == bindparam("b_at"), _v.version < bindparam("b_before")),
        ),
    )
    .order_by(_v.created_at.desc(), _v.version.desc())
    .limit(bindparam("b_limit"))
)
_NO_END = 2**62


async def note_version(tx: Tx, tenant_id: TenantId, id: str, version: str, definition: bytes) -> None:
    """Keep what an agent of this version is, for as long as there are runs under it to be understood. What a version
    does not depend on, such as a description, may change under it."""
    where = {"tenant_id": tenant_id, "id": id, "version": version, "definition": definition, "now": tx.now_ms}
    await tx.execute(_NOTE_VERSION, where)


async def version(tx: Tx, tenant_id: TenantId, id: str, version: str) -> AgentVersion | None:
    row = await tx.first(_VERSION, {"b_tenant_id": tenant_id, "b_id": id, "b_version": version})
    return None if row is None else AgentVersion(*row)


async def versions(
    tx: Tx, tenant_id: TenantId, id: str, before: tuple[int, str] | None, limit: int
) -> list[AgentVersion]:
    """The versions of an agent behind one (when it was first seen, its name), the newest first."""
    at, name = before or (_NO_END, "")
    rows = await tx.all(
        _VERSIONS, {"b_tenant_id": tenant_id, "b_id": id, "b_at": at, "b_before": name, "b_limit": limit}
    )
    return [AgentVersion(*row) for row in rows]


async def changed(tx: Tx, id: str, before: str, after: str) -> list[dict[str, Any]] | None:
    """What differs between two versions of an agent, as far as their definitions say; None if one is not known."""
    old, new = await version(tx, DEFAULT_TENANT, id, before), await version(tx, DEFAULT_TENANT, id, after)
    if old is None or new is None:
        return None
    return patches.changes(decode(old.definition), decode(new.definition), VERSION_CHANGES_MAX)


async def get(tx: Tx, tenant_id: TenantId, id: str) -> AgentRecord | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_id": id})
    return None if row is None else _record(row)


async def page(tx: Tx, tenant_id: TenantId, after: str, limit: int) -> list[AgentRecord]:
    """Agents in the order of their ids."""
    rows = await tx.all(_PAGE, {"b_tenant_id": tenant_id, "b_after": after, "b_limit": limit})
    return [_record(row) for row in rows]


_COUNT = select(func.count()).where(_a.tenant_id == bindparam("b_tenant_id"))


async def count(tx: Tx, tenant_id: TenantId) -> int:
    row = await tx.first(_COUNT, {"b_tenant_id": tenant_id})
    return row[0] if row else 0


async def set_enabled(tx: Tx, tenant_id: TenantId, id: str, enabled: bool) -> bool:
    return bool(
        await tx.execute(_ENABLE, {"b_tenant_id": tenant_id, "b_id": id, "b_enabled": int(enabled), "b_now": tx.now_ms})
    )


_SWITCH_TOOL = text(
    "INSERT INTO tool_switches (tenant_id, name, enabled, updated_at) VALUES (:tenant_id, :name, :enabled, :now)"
    " ON CONFLICT (tenant_id, name) DO UPDATE SET enabled = excluded.enabled, updated_at = excluded.updated_at"
)
_t = schema.tool_switches.c
_TOOLS_OFF = select(_t.name).where(_t.tenant_id == bindparam("b_tenant_id"), _t.enabled == 0)


async def switch_tool(tx: Tx, tenant_id: TenantId, name: str, enabled: bool) -> None:
    await tx.execute(_SWITCH_TOOL, {"tenant_id": tenant_id, "name": name, "enabled": int(enabled), "now": tx.now_ms})


async def tools_off(tx: Tx, tenant_id: TenantId) -> frozenset[str]:
    """The names of the tools that the tenant has switched off."""
    return frozenset(row[0] for row in await tx.all(_TOOLS_OFF, {"b_tenant_id": tenant_id}))


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that executes runs. `agents`: the version that it has of each."""

    id: WorkerId
    agents: Mapping[str, str]
    host: str
    pid: int
    slots: int
    started_at: int
    seen_at: int


_SEEN = text(
    "INSERT INTO workers (tenant_id, id, agents, host, pid, slots, started_at, seen_at)"
    " VALUES (:tenant_id, :id, :agents, :host, :pid, :slots, :now, :now)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET seen_at = excluded.seen_at"
)
_WORKERS = (
    select(_w.id, _w.agents, _w.host, _w.pid, _w.slots, _w.started_at, _w.seen_at)
    .where(_w.tenant_id == bindparam("b_tenant_id"), _w.seen_at >= bindparam("b_since"))
    .order_by(_w.id)
    .limit(bindparam("b_limit"))
)
_GONE = text("DELETE FROM workers WHERE tenant_id = :tenant_id AND (id = :id OR seen_at < :before)")
WORKERS_MAX = 1_000


async def seen(tx: Tx, worker: WorkerId, agents: Mapping[str, str], host: str, pid: int, slots: int) -> None:
    """A worker is alive and runs these agents (id → version)."""
    await tx.execute(
        _SEEN,
        {
            "tenant_id": DEFAULT_TENANT,
            "id": worker,
            "agents": encode(dict(sorted(agents.items()))),
            "host": host,
            "pid": pid,
            "slots": slots,
            "now": tx.now_ms,
        },
    )


async def workers(tx: Tx, *, seen_within_ms: int) -> list[Worker]:
    rows = await tx.all(
        _WORKERS, {"b_tenant_id": DEFAULT_TENANT, "b_since": tx.now_ms - seen_within_ms, "b_limit": WORKERS_MAX}
    )
    return [Worker(r[0], decode(r[1]), r[2], r[3], r[4], r[5], r[6]) for r in rows]


async def forget_worker(tx: Tx, worker: WorkerId, *, unseen_for_ms: int) -> None:
    """A worker stops; also remove those that were not seen for long."""
    await tx.execute(_GONE, {"tenant_id": DEFAULT_TENANT, "id": worker, "before": tx.now_ms - unseen_for_ms})
