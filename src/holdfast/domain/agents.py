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


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """An agent as it was, or is, under one version; `definition` is JSON, `created_at` when it was first seen."""

    agent: str
    version: str
    definition: bytes
    created_at: int
