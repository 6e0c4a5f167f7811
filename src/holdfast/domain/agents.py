"""What the registry and the API know about something runnable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.domain.ids import TenantId


class AgentKind(StrEnum):
    NATIVE = "native"
    WORKFLOW = "workflow"


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as some worker registered it; `definition` is JSON, `version` its fingerprint."""

    tenant_id: TenantId
    id: str
    kind: AgentKind
    version: str
    definition: bytes
    enabled: bool
    updated_at: int
