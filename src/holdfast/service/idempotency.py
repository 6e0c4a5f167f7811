"""`Idempotency-Key`: a repeated POST answers with the first one's result and does nothing again.

The key is stored in the effect's own transaction, so it exists exactly if the effect does.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.errors import Conflict
from holdfast.domain.ids import PrincipalId, TenantId
from holdfast.store import idempotency
from holdfast.store.base import Tx


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key in its scope (principal, route), with the digest of the body it came with."""

    principal_id: PrincipalId
    route: str
    key: str
    body_digest: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """What the first request answered: its status code, and the id of the resource."""

    status: int
    resource: bytes


async def once(tx: Tx, tenant_id: TenantId, key: Key | None, status: int, resource: bytes) -> Replay | None:
    """Claim the key for this transaction. A `Replay` if it was used before with the same body.

    Raises `Conflict` (`idempotency_conflict`) if it was used with another one.
    """
    if key is None:
        return None
    stored = _stored(key)
    done = await idempotency.find(tx, tenant_id, stored)
    if done is None:
        if await idempotency.claim(tx, tenant_id, stored, status, resource):
            return None
        done = await idempotency.find(tx, tenant_id, stored)
        assert done is not None, "a claim that found the key taken can read it"
    if done.body_digest != key.body_digest:
        raise Conflict("This Idempotency-Key was used with another body.", code="idempotency_conflict")
    return Replay(done.status, done.resource)


async def answered(tx: Tx, tenant_id: TenantId, key: Key | None, status: int) -> None:
    """Note the status code that the request answers with, where it was not known when the key was claimed."""
    if key is not None:
        await idempotency.answered(tx, tenant_id, _stored(key), status)


def _stored(key: Key) -> idempotency.IdempotencyKey:
    return idempotency.IdempotencyKey(key.principal_id, key.route, key.key, key.body_digest)
