"""Who is asking: API keys, and the rule for a house in which nobody has configured authentication yet.

A key is `hf_<id>.<secret>`. Only HMAC-SHA256(pepper, id ‖ secret) is stored: with 256 random bits there is nothing to
guess, so a slow hash would only cost every request. What a key may do is what its principal's scopes say.

A browser brings a session instead, which somebody with a key got by signing in. Signing in is not counted or slowed
down: to guess one of 2^256 keys takes no fewer tries over it than over any other route.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from holdfast.domain import ids, limits, sessions
from holdfast.domain.access import (
    ADMIN_SCOPE,
    LOCAL_PRINCIPAL,
    ROLE_SCOPE,
    ApiKey,
    Principal,
    PrincipalKind,
    Scope,
    Via,
)
from holdfast.domain.encoding import storable_text
from holdfast.domain.errors import Invalid, NotFound, Refused, Unauthenticated
from holdfast.domain.ids import KEY, KeyId, PrincipalId, TenantId
from holdfast.domain.sessions import Session
from holdfast.service.house import House
from holdfast.service.visits import Visit, foreignness, over_https, strangeness
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
OPEN: Final = (Scope.PUBLIC, Scope.AUTHENTICATED)
SCOPES: Final = frozenset({ADMIN_SCOPE, *(scope.value for scope in Scope if scope not in OPEN)})


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `token` is shown now and never again."""

    key: ApiKey
    token: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A session for a browser: `token` is what it keeps, for so long."""

    token: str
    session: Session
    keep_s: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Who was let in, and by what. `expires_at`: when that ends by itself, ms UTC. `issued`: the browser keeps this
    session from now on."""

    principal: Principal
    via: Via
    expires_at: int | None = None
    issued: Issued | None = None


@dataclass(frozen=True, slots=True)
class Me:
    """Somebody, as they see themselves."""

    admission: Admission
    tenant_name: str


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
        self._session_key = None if pepper is None else sessions.signing_key(pepper)
        self.session_cookie: Final = sessions.cookie_name(pepper)
        self._required = required
        self._guest = guest
        self._known: OrderedDict[KeyId, tuple[float, ApiKey, Principal]] = OrderedDict()
        self._configured_at: float | None = None
        self._configured = False

    # -- requests -----------------------------------------------------------------------------------------------

    async def admit(self, visit: Visit) -> Admission:
        """Who makes this request. Raises `Unauthenticated`; `Refused` for a session that another site makes use of.

        A request that brings a credential is judged by it alone, also where none would be needed: by its
        Authorization, else by its cookie.
        """
        if visit.authorization is not None:
            key, principal = await self._checked(_bearer(visit.authorization))
            return Admission(principal, Via.API_KEY, key.expires_at)
        if visit.session is not None:
            demand_own_page(visit)
            return await self._resume(visit.session)
        if await self.configured():
            raise Unauthenticated("This server needs an API key: Authorization: Bearer hf_….")
        reason = strangeness(visit)
        if reason is not None:
            raise Unauthenticated(
                f"No authentication is configured, so only plain local requests are served; this one {reason}. "
                "Make an API key with: holdfast keys create",
                code="authentication_not_configured",
            )
        return Admission(LOCAL_PRINCIPAL, Via.LOCAL)

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
        return (await self._checked(token))[1]

    async def _checked(self, token: str) -> tuple[ApiKey, Principal]:
        key_id, secret = _parsed(token)
        known = await self._find(key_id)
        digest = self._digest(key_id, secret)
        if known is None:
            hmac.compare_digest(digest, digest)
            raise _wrong()
        if not hmac.compare_digest(digest, known[0].digest) or not self._stands(known[0]):
            raise _wrong()
        return known

    def _stands(self, key: ApiKey) -> bool:
        ended = key.expires_at is not None and key.expires_at <= self._house.determinism.now_ms()
        return key.revoked_at is None and not ended

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

    # -- sessions -----------------------------------------------------------------------------------------------

    async def sign_in(self, visit: Visit, token: str) -> Admission:
        """Exchange an API key for a session, which the admission holds. Raises as `admit` does.

        Also without a cookie only a page of ours may: another one could sign its visitor in with a key of its own.
        """
        demand_own_page(visit)
        key, principal = await self._checked(token.strip())
        issued = self._issue(key, over_https(visit))
        return Admission(principal, Via.SESSION, issued.session.expires_at, issued)

    async def _resume(self, token: str) -> Admission:
        """Whose session this is. More than half used up it is renewed, so that who works is not thrown out; never
        beyond the end of its key."""
        found = None if self._session_key is None else sessions.unsealed(token, self._session_key)
        if found is None:
            raise Unauthenticated("The session is not one of this server. Sign in again.", code="invalid_session")
        now = self._house.determinism.now_ms()
        known = await self._find(found.key_id)
        if known is None or not self._stands(known[0]) or found.expires_at <= now:
            raise Unauthenticated("The session has ended. Sign in again.", code="session_expired")
        key, principal = known
        if found.expires_at - now < limits.SESSION_MS // 2:
            issued = self._issue(key, found.secure)
            if issued.session.expires_at > found.expires_at:
                return Admission(principal, Via.SESSION, issued.session.expires_at, issued)
        return Admission(principal, Via.SESSION, found.expires_at)

    def _issue(self, key: ApiKey, secure: bool) -> Issued:
        assert self._session_key is not None, "a key was checked, so there is a pepper"
        now = self._house.determinism.now_ms()
        ends = now + limits.SESSION_MS if key.expires_at is None else min(now + limits.SESSION_MS, key.expires_at)
        session = Session(key.id, ends, secure)
        return Issued(sessions.sealed(session, self._session_key), session, (ends - now) // 1000)

    async def me(self, admission: Admission) -> Me:
        """Who that is."""
        tenant_id = admission.principal.tenant_id
        name = await self._house.database.read(tenant_id, lambda tx: principals.tenant_name(tx, tenant_id))
        return Me(admission, name)

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


def demand_own_page(visit: Visit) -> None:
    """Raise `Refused` unless a page of ours made the request."""
    reason = foreignness(visit)
    if reason is not None:
        raise Refused(f"A session is for the pages of this server alone; this request {reason}.", code="cross_site")


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
