"""Tenants, principals and their API keys."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, bindparam, insert, select, text, update

from holdfast.domain.access import ADMIN_SCOPE, ApiKey, Principal, PrincipalKind, sandbox_admin
from holdfast.domain.encoding import decode, encode
from holdfast.domain.ids import DEFAULT_TENANT, LOCAL_ADMIN, KeyId, PrincipalId, TenantId
from holdfast.store import schema
from holdfast.store.base import Row, Tx

_ADD_TENANT = text(
    "INSERT INTO tenants (tenant_id, name, created_at) VALUES (:tenant_id, :name, :now) ON CONFLICT DO NOTHING"
)
_ADD_PRINCIPAL = text(
    "INSERT INTO principals (tenant_id, id, kind, name, scopes, created_at)"
    " VALUES (:tenant_id, :id, :kind, :name, :scopes, :now) ON CONFLICT DO NOTHING"
)


async def seed(tx: Tx) -> None:
    """The default tenant and its admin exist, whichever process was first."""
    await tx.execute(_ADD_TENANT, {"tenant_id": DEFAULT_TENANT, "name": "default", "now": tx.now_ms})
    admin = Principal(DEFAULT_TENANT, LOCAL_ADMIN, PrincipalKind.USER, "local admin", frozenset({ADMIN_SCOPE}))
    await add(tx, admin)


async def seed_sandbox(tx: Tx, name: str) -> None:
    """The same for a sandbox tenant, and who acts there."""
    admin = sandbox_admin(name)
    await add_tenant(tx, admin.tenant_id, name)
    await add(tx, admin)


async def add_tenant(tx: Tx, tenant_id: TenantId, name: str) -> None:
    await tx.execute(_ADD_TENANT, {"tenant_id": tenant_id, "name": name, "now": tx.now_ms})


async def add(tx: Tx, principal: Principal) -> None:
    await tx.execute(
        _ADD_PRINCIPAL,
        {
            "tenant_id": principal.tenant_id,
            "id": principal.id,
            "kind": principal.kind.value,
            "name": principal.name,
            "scopes": encode(sorted(principal.scopes)),
            "now": tx.now_ms,
        },
    )


_p = schema.principals.c
_k = schema.api_keys.c
_GET = select(_p.tenant_id, _p.id, _p.kind, _p.name, _p.scopes).where(
    _p.tenant_id == bindparam("b_tenant_id"), _p.id == bindparam("b_id")
)
_NAMES = select(_p.id, _p.name).where(_p.tenant_id == bindparam("b_tenant_id"))
_INSERT_KEY = insert(schema.api_keys).values({c.name: bindparam(c.name) for c in _k})
_KEY = select(
    _k.tenant_id, _k.id, _k.principal_id, _k.name, _k.digest, _k.created_at, _k.expires_at, _k.revoked_at,
    _p.kind, _p.name, _p.scopes,
).select_from(
    schema.api_keys.join(schema.principals, and_(_p.tenant_id == _k.tenant_id, _p.id == _k.principal_id))
).where(_k.id == bindparam("b_id"))  # fmt: skip
_KEYS = (
    select(_k.tenant_id, _k.id, _k.principal_id, _k.name, _k.digest, _k.created_at, _k.expires_at, _k.revoked_at)
    .where(_k.tenant_id == bindparam("b_tenant_id"))
    .order_by(_k.id)
    .limit(bindparam("b_limit"))
)
_REVOKE = (
    update(schema.api_keys)
    .where(_k.tenant_id == bindparam("b_tenant_id"), _k.id == bindparam("b_id"), _k.revoked_at.is_(None))
    .values(revoked_at=bindparam("b_now"))
)
_TENANT_NAME = select(schema.tenants.c.name).where(schema.tenants.c.tenant_id == bindparam("b_tenant_id"))
_EVER = select(_k.id).limit(1)
_EVER_BESIDES = select(_k.id).where(_k.principal_id != bindparam("b_principal_id")).limit(1)
_ANY_KEY = select(_k.id).where(_k.revoked_at.is_(None)).limit(1)


def _principal(row: Row) -> Principal:
    return Principal(row[0], row[1], PrincipalKind(row[2]), row[3], frozenset(decode(row[4])))


async def names(tx: Tx, tenant_id: TenantId, ids: Collection[PrincipalId]) -> dict[PrincipalId, str]:
    """What principals are called."""
    rows = await tx.all(_NAMES.where(_p.id.in_(list(ids))), {"b_tenant_id": tenant_id}) if ids else []
    return {PrincipalId(row[0]): row[1] for row in rows}


async def tenant_name(tx: Tx, tenant_id: TenantId) -> str:
    row = await tx.first(_TENANT_NAME, {"b_tenant_id": tenant_id})
    assert row is not None, "a principal's tenant exists"
    return row[0]


async def get(tx: Tx, tenant_id: TenantId, principal_id: PrincipalId) -> Principal | None:
    row = await tx.first(_GET, {"b_tenant_id": tenant_id, "b_id": principal_id})
    return None if row is None else _principal(row)


async def add_key(tx: Tx, key: ApiKey) -> None:
    await tx.execute(
        _INSERT_KEY,
        {
            "tenant_id": key.tenant_id,
            "id": key.id,
            "principal_id": key.principal_id,
            "name": key.name,
            "digest": key.digest,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        },
    )


async def by_key(tx: Tx, key_id: KeyId) -> tuple[ApiKey, Principal] | None:
    """A key and whose it is, in whatever tenant: a credential is what tells the tenant."""
    row = await tx.first(_KEY, {"b_id": key_id})
    if row is None:
        return None
    return ApiKey(*row[:8]), _principal((row[0], row[2], row[8], row[9], row[10]))


async def keys(tx: Tx, tenant_id: TenantId, limit: int) -> list[ApiKey]:
    return [ApiKey(*row) for row in await tx.all(_KEYS, {"b_tenant_id": tenant_id, "b_limit": limit})]


async def revoke_key(tx: Tx, tenant_id: TenantId, key_id: KeyId) -> bool:
    return bool(await tx.execute(_REVOKE, {"b_tenant_id": tenant_id, "b_id": key_id, "b_now": tx.now_ms}))


async def any_key(tx: Tx) -> bool:
    """Whether authentication is configured at all."""
    return await tx.first(_ANY_KEY) is not None


async def ever_had_key(tx: Tx, besides: PrincipalId | None = None) -> bool:
    """Whether somebody ever made an API key: revoking the last one does not open the house again."""
    found = tx.first(_EVER) if besides is None else tx.first(_EVER_BESIDES, {"b_principal_id": besides})
    return await found is not None
