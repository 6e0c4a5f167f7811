"""Side effects: what a tool promises about them, the life of one, and what may be done about it after a crash.

planned    → started, committed (a `transaction`: effect, ledger and step are one commit), abandoned
started    → committed, failed, unknown, planned (it was not done, or the tool asked a person before it acted)
unknown    → committed, planned, failed
failed     → planned                     (the run is retried)
committed  → compensating → compensated, compensation_failed → compensated

An effect is found by its run and step key, never by what it looks like. Its idempotency key follows from tenant, run,
step key and rotation; the rotation rises only after it is known that nothing was done under the old one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from holdfast.domain.ids import EffectId, RunId, TenantId


class EffectClass(StrEnum):
    """What is known about a tool's side effects.

    `read` changes nothing. `transaction` writes only through `ctx.tx`, in the runtime's own database. `keyed` calls a
    provider that honours `ctx.idempotency_key`. `reconcilable` can be asked later what became of a key. `unsafe`, the
    default, may do anything.
    """

    READ = "read"
    TRANSACTION = "transaction"
    KEYED = "keyed"
    RECONCILABLE = "reconcilable"
    UNSAFE = "unsafe"


class EffectStatus(StrEnum):
    PLANNED = "planned"
    STARTED = "started"
    COMMITTED = "committed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


_E = EffectStatus
TRANSITIONS: Final[dict[EffectStatus, frozenset[EffectStatus]]] = {
    _E.PLANNED: frozenset({_E.STARTED, _E.COMMITTED, _E.FAILED, _E.ABANDONED}),
    _E.STARTED: frozenset({_E.COMMITTED, _E.FAILED, _E.UNKNOWN, _E.PLANNED}),
    _E.UNKNOWN: frozenset({_E.COMMITTED, _E.PLANNED, _E.FAILED}),
    _E.FAILED: frozenset({_E.PLANNED}),
    _E.ABANDONED: frozenset({_E.PLANNED}),
    _E.COMMITTED: frozenset({_E.COMPENSATING}),
    _E.COMPENSATING: frozenset({_E.COMPENSATED, _E.COMPENSATION_FAILED}),
    _E.COMPENSATION_FAILED: frozenset({_E.COMPENSATING, _E.COMPENSATED, _E.COMPENSATION_FAILED}),
    _E.COMPENSATED: frozenset(),
}

# Something was done, or may have been: a model must not forget it.
MAY_HAVE_ACTED: Final = frozenset(
    {_E.STARTED, _E.COMMITTED, _E.UNKNOWN, _E.COMPENSATING, _E.COMPENSATED, _E.COMPENSATION_FAILED}
)


def may_become(before: EffectStatus, after: EffectStatus) -> bool:
    return after in TRANSITIONS[before]


class OnUnknown(StrEnum):
    """What happens to an effect of which nobody knows whether it was done: by default a person is asked."""

    ASK = "ask"
    ASSUME_DONE = "assume_done"
    RETRY = "retry"
    FAIL = "fail"


Word = Literal["committed", "not_done"]
"""What a person says of an effect that nobody knew about."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer of a reconciler: it was done, with this result."""

    result: object = None


class NotDone(Exception):
    """It was not done. Raised by a tool it is a known failure, told to the model; returned by a reconciler it lets the
    runtime do it again, under a new idempotency key."""

    def __init__(self, message: str = "it was not done") -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Unknown:
    """The answer of a reconciler: the provider cannot tell. A person will be asked."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectInfo:
    """What a reconciler or a compensator is told of an effect. `arguments` and `result` are JSON values, times ms UTC;
    `provider_ref` is what the tool noted with `ctx.record_ref`."""

    tool: str
    key: str
    idempotency_key: str
    arguments: dict[str, object]
    provider_ref: str | None = None
    started_at: int | None = None
    result: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A row of the ledger. `arguments` is canonical JSON, `error` JSON; times are ms UTC by the database's clock.

    `attempt` counts how often it was started. `duplicate_of`: another effect holds its business key. `compensates`:
    the effect that this one undoes.
    """

    tenant_id: TenantId
    run_id: RunId
    key: str
    id: EffectId
    tool: str
    agent: str
    effect_class: EffectClass
    version: str
    status: EffectStatus
    arguments: bytes
    arguments_hash: bytes
    idempotency_key: str
    rotation: int
    attempt: int
    business_key: str | None
    duplicate_of: EffectId | None
    compensates: EffectId | None
    provider_ref: str | None
    epoch: int
    planned_at: int
    started_at: int | None
    deadline: int | None
    ended_at: int | None
    error: bytes | None


def idempotency_key(tenant_id: TenantId, run_id: RunId, key: str, rotation: int) -> str:
    """What a provider is given, the same at every try: 40 hexadecimal digits after `hf_`."""
    parts = b"\x00".join((tenant_id, run_id, key.encode(), str(rotation).encode()))
    return f"hf_{hashlib.sha256(parts).hexdigest()[:40]}"
