"""Who acts, and what they may do. One decision function, so that every *no* has one reason and one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from holdfast.domain import limits
from holdfast.domain.approvals import Demand, strictest
from holdfast.domain.errors import Refused
from holdfast.domain.ids import DEFAULT_TENANT, LOCAL_ADMIN, KeyId, PrincipalId, TenantId, derived, sandbox_tenant
from holdfast.domain.policies import Confirm, Deny, Rule, applies


class PrincipalKind(StrEnum):
    USER = "user"
    SERVICE = "service"
    AGENT = "agent"


class Scope(StrEnum):
    """`resource:action`, the vocabulary of routes and credentials."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    INFO_READ = "info:read"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    THREADS_READ = "threads:read"
    THREADS_WRITE = "threads:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    APPROVALS_READ = "approvals:read"
    APPROVALS_WRITE = "approvals:write"
    EFFECTS_READ = "effects:read"
    EFFECTS_WRITE = "effects:write"
    EVENTS_WRITE = "events:write"
    METRICS_READ = "metrics:read"


ADMIN_SCOPE = "*"
ROLE_SCOPE: Final = "role:"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who acts: its tenant, its id, and the scopes its credential carries (`*` is all)."""

    tenant_id: TenantId
    id: PrincipalId
    kind: PrincipalKind
    name: str
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return ADMIN_SCOPE in self.scopes

    @property
    def roles(self) -> frozenset[str]:
        """The roles it holds, by which approvals name who decides: its scopes of the form `role:<name>`."""
        return frozenset(s.removeprefix(ROLE_SCOPE) for s in self.scopes if s.startswith(ROLE_SCOPE))


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


class Via(StrEnum):
    """By what somebody is known."""

    LOCAL = "local"
    API_KEY = "api_key"
    SESSION = "session"


LOCAL_PRINCIPAL = Principal(DEFAULT_TENANT, LOCAL_ADMIN, PrincipalKind.USER, "local admin", frozenset({ADMIN_SCOPE}))


def sandbox_admin(name: str) -> Principal:
    """Who acts in the sandbox tenant of this name: its tenant and its id follow from that."""
    tenant_id = sandbox_tenant(name)
    id = PrincipalId(derived("sandbox admin", tenant_id))
    return Principal(tenant_id, id, PrincipalKind.SERVICE, "sandbox", frozenset({ADMIN_SCOPE}))


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str


def decide(principal: Principal, scope: Scope) -> Decision:
    """Whether the principal may do what the scope names, and why."""
    if scope is Scope.PUBLIC:
        return Decision(True, "the route is public")
    if scope is Scope.AUTHENTICATED:
        return Decision(True, "it is known who asks")
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


# -- tool calls -----------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    ALLOW = "allow"
    CONFIRM = "confirm"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class CallDecision:
    """What becomes of a tool call, and why. `demand`: what leave takes, if it has to be asked."""

    verdict: Verdict
    reason: str
    demand: Demand | None = None


ALLOWED: Final = CallDecision(Verdict.ALLOW, "no rule speaks against it")


def decide_call(rules: Iterable[Rule], arguments: dict[str, Any]) -> CallDecision:
    """Whether a tool may be called with these (validated) arguments: the one decision, asked before leave is sought
    and again when the call is about to be made.

    The strictest rule wins, wherever it was declared. A condition that raises cannot be judged: then people are asked.
    """
    confirming: list[tuple[str, Demand]] = []
    for rule in rules:
        try:
            if not applies(rule.when, arguments):
                continue
        except Exception as exc:
            reason = f"a condition could not be judged ({type(exc).__name__}: {exc})"
            confirming.append((reason, rule.demand() if isinstance(rule, Confirm) else Demand()))
            continue
        match rule:
            case Deny():
                return CallDecision(Verdict.DENY, rule.reason)
            case Confirm():
                confirming.append((rule.reason or "its policy asks for leave", rule.demand()))
    if not confirming:
        return ALLOWED
    demand = strictest([demand for _, demand in confirming])
    reason = "; ".join(dict.fromkeys(reason for reason, _ in confirming))[: limits.ERROR_CHARS_MAX]
    return CallDecision(Verdict.CONFIRM, reason, demand)
