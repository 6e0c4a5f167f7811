"""Who is asking: API keys, and the rule for a house in which nobody has configured authentication yet.

A key is `hf_<id>.<secret>`. Only HMAC-SHA256(pepper, id ‖ secret) is stored: with 256 random bits there is nothing to
guess, so a slow hash would only cost every request. What a key may do is what its principal's scopes say.

Loopback is not authentication: a page in the operator's browser, or a proxy beside us, reaches loopback too. So
without configured authentication a request is served only if nothing about it says that it comes from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from holdfast.domain import ids, limits
from holdfast.domain.access import (
    ADMIN_SCOPE,
    LOCAL_PRINCIPAL,
    ROLE_SCOPE,
    ApiKey,
    Principal,
    PrincipalKind,
    Scope,
)
from holdfast.domain.encoding import storable_text
from holdfast.domain.errors import Invalid, NotFound, Refused, Unauthenticated
from holdfast.domain.ids import KEY, KeyId, PrincipalId, TenantId
from holdfast.service.house import House
from holdfast.store import principals
from holdfast.store.base import Tx

PREFIX: Final = "hf_"
SECRET_BYTES: Final = 32
STALE_MS: Final = 5_000
CACHE_KEYS_MAX: Final = 10_000
KEYS_LISTED_MAX: Final = 1_000
NAME_CHARS_MAX: Final = 200
ROLE: Final = re.compile(re.escape(ROLE_SCOPE) + r"[a-z0-9][a-z0-9_.-]{0,63}")
# What deciding takes: to see the questions and what led to them, and to answer.
DECIDING: Final = (Scope.APPROVALS_READ, Scope.APPROVALS_WRITE, Scope.RUNS_READ, Scope.THREADS_READ)
SCOPES: Final = frozenset({ADMIN_SCOPE, *(scope.value for scope in Scope if scope is not Scope.PUBLIC)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a request shows of where it comes from. `json_body`: None without a body."""

    authorization: str | None
    peer: str | None
    host: str | None
    origin: str | None
    scheme: str
    forwarded: bool
    json_body: bool | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `token` is shown now and never again."""

    key: ApiKey
    token: str


class Auth:
    """Keys and their cache. One per process: what another process revokes holds here within `STALE_MS`.

    `guest`: an account whose keys do not count as configured authentication, in this process alone: the demo gives its
    second person a key, while the first goes on without one. Whoever brings that key is judged by it, and a process
    that names no guest, such as `holdfast serve` on the same database, counts every key.
    """

    def __init__(
        self, house: House, *, pepper: bytes | None, required: bool = False, guest: PrincipalId | None = None
    ) -> None:
        self._house = house
        self._pepper = pepper
        self._required = required
        self._guest = guest
        self._known: OrderedDict[KeyId, tuple[float, ApiKey, Principal]] = OrderedDict()
        self._configured_at: float | None = None
        self._configured = False

    # -- requests -----------------------------------------------------------------------------------------------

    async def admit(self, visit: Visit) -> Principal:
        """Who makes this request. Raises `Unauthenticated`.

        A request that brings a credential is judged by it alone, also where none would be needed.
        """
        if visit.authorization is not None:
            return await self.authenticate(_bearer(visit.authorization))
        if await self.configured():
            raise Unauthenticated("This server needs an API key: Authorization: Bearer hf_….")
        reason = strangeness(visit)
        if reason is not None:
            raise Unauthenticated(
                f"No authentication is configured, so only plain local requests are served; this one {reason}. "
                "Make an API key with: holdfast keys create",
                code="authentication_not_configured",
            )
        return LOCAL_PRINCIPAL

    async def configured(self) -> bool:
        """Whether a key is needed: settings demand one, or one was ever made. Once true it stays true."""
        if self._required or self._configured:
            return True
        now = self._house.determinism.monotonic_ms()
        if self._configured_at is None or now - self._configured_at > STALE_MS:
            self._configured = await self._house.database.read(
                None, lambda tx: principals.ever_had_key(tx, besides=self._guest)
            )
            self._configured_at = now
        return self._configured

    async def authenticate(self, token: str) -> Principal:
        """Whose key this is. Raises `Unauthenticated` for a wrong, expired or revoked one, without saying which."""
        key_id, secret = _parsed(token)
        known = await self._find(key_id)
        digest = self._digest(key_id, secret)
        if known is None:
            hmac.compare_digest(digest, digest)
            raise _wrong()
        key, principal = known
        if not hmac.compare_digest(digest, key.digest) or key.revoked_at is not None:
            raise _wrong()
        if key.expires_at is not None and key.expires_at <= self._house.determinism.now_ms():
            raise _wrong()
        return principal

    async def _find(self, key_id: KeyId) -> tuple[ApiKey, Principal] | None:
        now = self._house.determinism.monotonic_ms()
        cached = self._known.get(key_id)
        if cached is not None and now - cached[0] <= STALE_MS:
            return cached[1], cached[2]
        found = await self._house.database.read(None, lambda tx: principals.by_key(tx, key_id))
        if found is None:
            self._known.pop(key_id, None)
            return None
        self._known[key_id] = (now, *found)
        self._known.move_to_end(key_id)
        if len(self._known) > CACHE_KEYS_MAX:
            self._known.popitem(last=False)
        return found

    def _digest(self, key_id: KeyId, secret: str) -> bytes:
        if self._pepper is None:
            raise Unauthenticated(
                "API keys cannot be made or checked here: set HOLDFAST_PEPPER to the secret they were made with.",
                code="authentication_not_configured",
            )
        return hmac.new(self._pepper, key_id + secret.encode(), hashlib.sha256).digest()

    # -- keys ---------------------------------------------------------------------------------------------------

    async def create_key(
        self,
        actor: Principal,
        name: str,
        *,
        scopes: Iterable[str] = (ADMIN_SCOPE,),
        expires_at: int | None = None,
        account: Principal | None = None,
    ) -> NewKey:
        """Make a key of the actor's tenant, for a service account of its own with these scopes. Durable on return.

        `account`: for this one instead, with its own scopes; it is made if it is not there. `expires_at` is ms UTC.
        Raises `Refused` unless the actor is an admin, `Invalid` for an unknown scope.
        """
        _demand_admin(actor)
        chosen = _checked_scopes(scopes if account is None else account.scopes)
        if not storable_text(name, what="A key's name", chars_max=NAME_CHARS_MAX).strip():
            raise Invalid("A key needs a name.", code="invalid_name")
        draw = self._house.determinism
        secret = base64.urlsafe_b64encode(draw.random_bytes(SECRET_BYTES)).rstrip(b"=").decode()
        key_id = KeyId(draw.new_id())
        owner = account or Principal(actor.tenant_id, PrincipalId(draw.new_id()), PrincipalKind.SERVICE, name, chosen)
        if owner.tenant_id != actor.tenant_id:
            raise Refused(f"{actor.name} may not make keys for another tenant.")
        digest = self._digest(key_id, secret)

        async def body(tx: Tx) -> ApiKey:
            key = ApiKey(actor.tenant_id, key_id, owner.id, name, digest, tx.now_ms, expires_at, None)
            await principals.add(tx, owner)
            await principals.add_key(tx, key)
            return key

        key = await self._house.database.write(actor.tenant_id, body)
        self._configured = self._configured or owner.id != self._guest
        return NewKey(key, f"{PREFIX}{ids.text(KEY, key_id).removeprefix(KEY + '_')}.{secret}")

    async def list_keys(self, actor: Principal) -> list[ApiKey]:
        """The tenant's keys, oldest first, revoked ones too."""
        _demand_admin(actor)
        return await self._house.database.read(
            actor.tenant_id, lambda tx: principals.keys(tx, actor.tenant_id, KEYS_LISTED_MAX)
        )

    async def revoke_key(self, actor: Principal, key_id: KeyId) -> None:
        """Revoke a key: at once in this process, within `STALE_MS` in others. Safe to repeat. Raises `NotFound`."""
        _demand_admin(actor)
        tenant_id: TenantId = actor.tenant_id

        async def body(tx: Tx) -> None:
            found = await principals.by_key(tx, key_id)
            if found is None or found[0].tenant_id != tenant_id:
                raise NotFound("There is no key with this id.", code="key_not_found")
            await principals.revoke_key(tx, tenant_id, key_id)

        await self._house.database.write(tenant_id, body)
        self._known.pop(key_id, None)


def _checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Known scopes, and roles: `role:finance` is what an approval's `roles` ask for."""
    chosen = frozenset(scopes)
    unknown = {scope for scope in chosen - SCOPES if not ROLE.fullmatch(scope)}
    if not chosen or unknown:
        shown, known = ", ".join(sorted(unknown)) or "none", ", ".join(sorted(SCOPES))
        raise Invalid(f"A key's scopes are some of {known}, and role:NAME; not {shown}.", code="invalid_scope")
    return chosen


def _demand_admin(actor: Principal) -> None:
    if ADMIN_SCOPE not in actor.scopes:
        raise Refused(f"{actor.name} may not manage API keys: only an admin may.")


def _wrong() -> Unauthenticated:
    return Unauthenticated("The API key is not valid: it is wrong, expired or revoked.", code="invalid_api_key")


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _wrong()
    return token.strip()


def _parsed(token: str) -> tuple[KeyId, str]:
    head, _, secret = token.partition(".")
    if not head.startswith(PREFIX) or not secret.isascii() or not 1 <= len(secret) <= limits.EXTERNAL_ID_CHARS_MAX:
        raise _wrong()
    try:
        return KeyId(ids.parse(KEY, f"{KEY}_{head.removeprefix(PREFIX)}")), secret
    except NotFound:
        raise _wrong() from None


# -- without configured authentication ------------------------------------------------------------------------------


def strangeness(visit: Visit) -> str | None:
    """What about a request ("this one …") speaks against serving it without authentication; None if nothing does.

    >>> own = dict(authorization=None, peer="127.0.0.1", host="localhost:8000", scheme="http")
    >>> strangeness(Visit(**own, origin=None, forwarded=False, json_body=True))
    >>> strangeness(Visit(**own, origin="https://evil.example", forwarded=False, json_body=True))
    'has an Origin that is not this server'
    """
    if not _is_loopback(visit.peer):
        return "does not come from this machine"
    if visit.host is None or not _is_loopback(_name_of(visit.host)):
        return "does not name this machine as its Host"
    if visit.forwarded:
        return "was forwarded by a proxy"
    if visit.origin is not None and visit.origin.lower() != f"{visit.scheme}://{visit.host}".lower():
        return "has an Origin that is not this server"
    if visit.json_body is False:
        return "has a body whose Content-Type is not application/json"
    return None


def _name_of(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str | None) -> bool:
    if name is None:
        return False
    if name.lower() == "localhost":
        return True
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
