"""What only recordings ask of the database: an agent's definition as a run had it."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from holdfast.domain.ids import TenantId
from holdfast.store import schema
from holdfast.store.base import Tx

_v = schema.agent_versions.c
_DEFINITION = select(_v.definition).where(
    _v.tenant_id == bindparam("b_tenant_id"), _v.agent == bindparam("b_agent"), _v.version == bindparam("b_version")
)


async def definition(tx: Tx, tenant_id: TenantId, agent: str, version: str) -> bytes | None:
    """How a version of an agent was defined, as JSON, if a worker ever registered it."""
    row = await tx.first(_DEFINITION, {"b_tenant_id": tenant_id, "b_agent": agent, "b_version": version})
    return None if row is None else row[0]
