"""Interrupts: open questions on a run. An approval asks leave for a tool call; others ask for input, for the result of
an external tool, or what became of an effect.

pending → approved, rejected, answered, expired, cancelled

A decision binds to one hash of the arguments: an edit makes another hash, and voids the decisions before it. What may
decide is fixed when the question opens; who decides is checked when they do, in the transaction that records it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holdfast.domain.ids import ApprovalId, EffectId, PrincipalId, RunId, TenantId, ThreadId


class ApprovalType(StrEnum):
    TOOL = "tool"
    INPUT = "input"
    EXTERNAL = "external"
    EFFECT = "effect"


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    ANSWERED = "answered"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def closed(self) -> bool:
        return self is not ApprovalStatus.PENDING


# What a waiting run says that it waits for.
WAITING_ON: Final = {
    ApprovalType.TOOL: "approval",
    ApprovalType.INPUT: "ask",
    ApprovalType.EXTERNAL: "ask",
    ApprovalType.EFFECT: "effect",
}


class DecisionKind(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"


class OnExpiry(StrEnum):
    """What happens to a question that nobody answered in time. An ask with a default takes the default."""

    REJECT = "reject"
    APPROVE = "approve"
    ESCALATE = "escalate"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What leave takes. `roles`: who decides has to hold one role of each set; none means everybody may.

    `quorum` people have to approve, one refusal is enough. `four_eyes`: nobody of the chain that led to the call
    approves it, though they may withdraw it; of a question that an edit has opened its editor belongs to that chain.
    `expires_ms` from the opening of the question on; then `on_expiry`: an escalation asks `escalate_to` once more for
    as long.
    """

    roles: tuple[frozenset[str], ...] = ()
    quorum: int = 1
    four_eyes: bool = False
    expires_ms: int | None = None
    on_expiry: OnExpiry = OnExpiry.REJECT
    escalate_to: frozenset[str] = frozenset()

    def covers(self, other: Demand) -> bool:
        """Whether leave that satisfied this demand also satisfies the other. Whom the other escalates to may stand in
        for those it names."""
        eyes = self.four_eyes or not other.four_eyes
        roles = all(any(mine <= theirs | other.escalate_to for mine in self.roles) for theirs in other.roles)
        return self.quorum >= other.quorum and eyes and roles


def strictest(demands: Sequence[Demand]) -> Demand:
    """One demand that satisfies all: every set of roles, the largest quorum, the shortest time."""
    roles: list[frozenset[str]] = []
    for demand in demands:
        roles.extend(r for r in demand.roles if r not in roles)
    times = [d.expires_ms for d in demands if d.expires_ms is not None]
    hardest = min(demands, key=lambda d: _EASE[d.on_expiry])
    return Demand(
        roles=tuple(roles),
        quorum=max(d.quorum for d in demands),
        four_eyes=any(d.four_eyes for d in demands),
        expires_ms=min(times, default=None),
        on_expiry=hardest.on_expiry,
        escalate_to=hardest.escalate_to,
    )


_EASE: Final = {OnExpiry.REJECT: 0, OnExpiry.ESCALATE: 1, OnExpiry.DEFAULT: 2, OnExpiry.APPROVE: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one principal said. `arguments` are given with an edit; a void one counted for other arguments."""

    principal_id: PrincipalId | None
    name: str
    decision: DecisionKind
    at: int
    arguments_hash: bytes | None = None
    arguments: bytes | None = None
    answer: bytes | None = None
    note: str | None = None
    void: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An interrupt as stored. Bytes fields are JSON, `arguments` canonical; times are ms UTC by the database's clock.

    `key` is the key of the interrupt's step, `group` what wakes together; `chain` the principals who led to the call.
    `default`: the answer that an ask takes when nobody gave one in time. `usable_until`: leave not used by then lapses.
    """

    tenant_id: TenantId
    id: ApprovalId
    type: ApprovalType
    status: ApprovalStatus
    version: int
    run_id: RunId
    root_id: RunId
    thread_id: ThreadId
    agent: str
    tool: str | None
    key: str
    group: str
    attempt: int
    effect_id: EffectId | None
    message: str
    reason: str | None
    arguments: bytes | None
    arguments_hash: bytes | None
    schema: bytes | None
    choices: bytes | None
    default: bytes | None
    requested_by: PrincipalId
    chain: frozenset[PrincipalId]
    demand: Demand
    decisions: tuple[Decision, ...]
    answer: bytes | None
    escalated: bool
    expires_at: int | None
    created_at: int
    resolved_at: int | None
    usable_until: int | None
    used_at: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Why somebody may or may not decide a question now."""

    allowed: bool
    code: str
    reason: str


def may_decide(
    approval: Approval, principal_id: PrincipalId, roles: Iterable[str], *, admin: bool, rejects: bool = False
) -> Standing:
    """Whether this principal may decide: four eyes, then roles, then that nobody decides twice.

    An admin holds every role, but has only two eyes. Who led to a call may still withdraw it (`rejects`).
    """
    demand = approval.demand
    if demand.four_eyes and not rejects and (principal_id in approval.chain or principal_id == approval.requested_by):
        return Standing(False, "four_eyes", "who led to this call, or changed it, may not be the one who approves it")
    held = frozenset(roles)
    missing = [wanted for wanted in demand.roles if not wanted & held]
    if missing and not admin:
        shown = " and ".join(" or ".join(sorted(wanted)) for wanted in missing)
        return Standing(False, "role_missing", f"this takes the role {shown}")
    if any(d.principal_id == principal_id and not d.void for d in approval.decisions):
        return Standing(False, "already_decided", "you have decided this already; it takes somebody else")
    return Standing(True, "ok", "may decide")


def approvals_given(approval: Approval) -> int:
    """How many stand for the arguments as they are."""
    return sum(1 for d in approval.decisions if d.decision is DecisionKind.APPROVE and not d.void)
