"""Idempotency keys: what a POST did, so that its repetition answers the same and does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, text, update

from holdfast.domain import limits
from holdfast.domain.ids import PrincipalId, TenantId
from holdfast.store import schema
from holdfast.store.base import Tx

_i = schema.idempotency_keys.c
_GET = select(_i.body_digest, _i.status, _i.resource, _i.created_at).where(
    _i.tenant_id == bindparam("b_tenant_id"),
    _i.principal_id == bindparam("b_principal_id"),
    _i.route == bindparam("b_route"),
    _i.key == bindparam("b_key"),
)
_PUT = text(
    "INSERT INTO idempotency_keys (tenant_id, principal_id, route, key, body_digest, status, resource, created_at)"
    " VALUES (:tenant_id, :principal_id, :route, :key, :body_digest, :status, :resource, :now)"
    " ON CONFLICT (tenant_id, principal_id, route, key) DO UPDATE SET body_digest = excluded.body_digest,"
    " status = excluded.status, resource = excluded.resource, created_at = excluded.created_at"
    " WHERE idempotency_keys.created_at < :expired"
)
_EXPIRE = text("DELETE FROM idempotency_keys WHERE created_at < :expired")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key as given by a client, in its scope, with a digest of the body it came with."""

    principal_id: PrincipalId
    route: str
    key: str
    body_digest: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """What the first request with a key did: its status code and the id of what it made."""

    body_digest: bytes
    status: int
    resource: bytes


async def find(tx: Tx, tenant_id: TenantId, key: IdempotencyKey) -> Done | None:
    row = await tx.first(
        _GET,
        {
            "b_tenant_id": tenant_id,
            "b_principal_id": key.principal_id,
            "b_route": key.route,
            "b_key": key.key,
        },
    )
    if row is None or row[3] < tx.now_ms - limits.IDEMPOTENCY_KEEP_MS:
        return None
    return Done(row[0], row[1], row[2])


async def claim(tx: Tx, tenant_id: TenantId, key: IdempotencyKey, status: int, resource: bytes) -> bool:
    """Store what the request does, in its own transaction. False if another request with the key was first.

    On PostgreSQL a concurrent claim waits here until the other transaction ends.
    """
    return bool(
        await tx.execute(
            _PUT,
            {
                "tenant_id": tenant_id,
                "principal_id": key.principal_id,
                "route": key.route,
                "key": key.key,
                "body_digest": key.body_digest,
                "status": status,
                "resource": resource,
                "now": tx.now_ms,
                "expired": tx.now_ms - limits.IDEMPOTENCY_KEEP_MS,
            },
        )
    )


_ANSWERED = (
    update(schema.idempotency_keys)
    .where(
        _i.tenant_id == bindparam("b_tenant_id"),
        _i.principal_id == bindparam("b_principal_id"),
        _i.route == bindparam("b_route"),
        _i.key == bindparam("b_key"),
    )
    .values(status=bindparam("b_status"))
)


async def answered(tx: Tx, tenant_id: TenantId, key: IdempotencyKey, status: int) -> None:
    """The request that claimed the key turned out to answer with another status code."""
    await tx.execute(
        _ANSWERED,
        {
            "b_tenant_id": tenant_id,
            "b_principal_id": key.principal_id,
            "b_route": key.route,
            "b_key": key.key,
            "b_status": status,
        },
    )


async def expire(tx: Tx) -> int:
    return await tx.execute(_EXPIRE, {"expired": tx.now_ms - limits.IDEMPOTENCY_KEEP_MS})
