"""Who acts, and what they may do. One decision function, so that every *no* has one reason and one place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.domain.errors import Refused
from holdfast.domain.ids import DEFAULT_TENANT, LOCAL_ADMIN, KeyId, PrincipalId, TenantId


class PrincipalKind(StrEnum):
    USER = "user"
    SERVICE = "service"
    AGENT = "agent"


class Scope(StrEnum):
    """`resource:action`, the vocabulary of routes and credentials."""

    PUBLIC = "public"
    INFO_READ = "info:read"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    THREADS_READ = "threads:read"
    THREADS_WRITE = "threads:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    METRICS_READ = "metrics:read"


ADMIN_SCOPE = "*"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who acts: its tenant, its id, and the scopes its credential carries (`*` is all)."""

    tenant_id: TenantId
    id: PrincipalId
    kind: PrincipalKind
    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored API key. The secret is not in it: only its HMAC-SHA256 under the server's pepper."""

    tenant_id: TenantId
    id: KeyId
    principal_id: PrincipalId
    name: str
    digest: bytes
    created_at: int
    expires_at: int | None
    revoked_at: int | None


LOCAL_PRINCIPAL = Principal(DEFAULT_TENANT, LOCAL_ADMIN, PrincipalKind.USER, "local admin", frozenset({ADMIN_SCOPE}))


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str


def decide(principal: Principal, scope: Scope) -> Decision:
    """Whether the principal may do what the scope names, and why."""
    if scope is Scope.PUBLIC:
        return Decision(True, "the route is public")
    if ADMIN_SCOPE in principal.scopes:
        return Decision(True, "the principal is an admin")
    if scope in principal.scopes:
        return Decision(True, f"the credential carries {scope}")
    return Decision(False, f"the credential does not carry {scope}")


def demand(principal: Principal, scope: Scope) -> None:
    """Raise `Refused` unless `decide` says yes."""
    decision = decide(principal, scope)
    if not decision.allowed:
        raise Refused(f"{principal.name} may not do this: {decision.reason}.")
