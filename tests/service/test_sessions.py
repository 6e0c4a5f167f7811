"""Sessions: what a browser gets for an API key, how long it is good, and what ends it."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, cast

import pytest

from holdfast.domain import limits, sessions
from holdfast.domain.access import ADMIN_SCOPE, LOCAL_PRINCIPAL, Principal, PrincipalKind, Via
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import Refused, Unauthenticated
from holdfast.domain.ids import DEFAULT_TENANT, KeyId, PrincipalId, TenantId
from holdfast.service import access
from holdfast.service.access import Admission, Auth, Issued, NewKey
from holdfast.service.house import House
from holdfast.service.visits import Visit
from holdfast.store import principals
from holdfast.store.base import Database

PEPPER = b"a pepper for tests"
ADMIN = LOCAL_PRINCIPAL
DAY = timedelta(days=1)
HOUR_MS = 3_600_000


class Clock:
    """Both clocks stand until they are moved."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000
        self.determinism = Determinism(now_ms=lambda: self.ms, monotonic_ms=lambda: float(self.ms))

    def advance(self, ms: int) -> None:
        self.ms += ms


@pytest.fixture
def still() -> Clock:
    return Clock()


@pytest.fixture
def auth(database: Database, still: Clock) -> Auth:
    return another(database, still, PEPPER)


def another(database: Database, still: Clock, pepper: bytes | None) -> Auth:
    """A process of its own on the same database."""
    return Auth(House(database, cast(Any, None), {}, still.determinism), pepper=pepper)


def visit(**shown: Any) -> Visit:
    plain: dict[str, Any] = {
        "authorization": None,
        "peer": "10.0.0.9",
        "host": "agents.example",
        "origin": None,
        "scheme": "http",
        "forwarded": False,
        "json_body": None,
    }
    return Visit(**{**plain, **shown})


PAGE = {"method": "POST", "origin": "http://agents.example", "json_body": True}


async def signed_in(auth: Auth, made: NewKey, **shown: Any) -> Issued:
    admission = await auth.sign_in(visit(**{**PAGE, **shown}), made.token)
    assert admission.issued is not None
    return admission.issued


async def resumed(auth: Auth, token: str, **shown: Any) -> Admission:
    return await auth.admit(visit(session=token, **shown))


async def refused(auth: Auth, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await resumed(auth, token)
    assert not token or token not in str(caught.value)
    return caught.value.code


# -- signing in -----------------------------------------------------------------------------------------------------


async def test_a_session_is_its_keys_principal(auth: Auth, still: Clock) -> None:
    made = await auth.create_key(ADMIN, "mine", scopes=["runs:read", "role:finance"])
    issued = await signed_in(auth, made)
    assert issued.session.expires_at == still.ms + limits.SESSION_MS
    assert issued.keep_s == limits.SESSION_MS // 1000
    found = await resumed(auth, issued.token)
    assert (found.principal, found.via) == (await auth.authenticate(made.token), Via.SESSION)
    assert (found.expires_at, found.issued) == (issued.session.expires_at, None)


async def test_the_session_tells_nothing_of_the_key_but_its_id(auth: Auth) -> None:
    made = await auth.create_key(ADMIN, "mine")
    token = (await signed_in(auth, made)).token
    secret = made.token.partition(".")[2]
    assert secret not in token
    assert base64.urlsafe_b64encode(made.key.digest).rstrip(b"=").decode() not in token
    assert token.split(".")[:2] == ["v1", made.token.partition(".")[0].removeprefix("hf_")]


async def test_spaces_around_a_pasted_key_do_no_harm(auth: Auth) -> None:
    made = await auth.create_key(ADMIN, "mine")
    assert (await auth.sign_in(visit(**PAGE), f" {made.token}\n")).via is Via.SESSION


@pytest.mark.parametrize(
    "token", ["", "hf_", "hf_x.y", "nonsense", "hf_00000000000000000000000000.abc", "hf_\u0661.\u0662"]
)
async def test_a_wrong_key_signs_nobody_in(auth: Auth, token: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await auth.sign_in(visit(**PAGE), token)
    assert caught.value.code == "invalid_api_key"


async def test_an_expired_or_revoked_key_signs_nobody_in(auth: Auth, still: Clock) -> None:
    expired = await auth.create_key(ADMIN, "short", expires_at=still.ms + 1)
    revoked = await auth.create_key(ADMIN, "gone")
    await auth.revoke_key(ADMIN, revoked.key.id)
    still.advance(1)
    for made in (expired, revoked):
        with pytest.raises(Unauthenticated) as caught:
            await signed_in(auth, made)
        assert caught.value.code == "invalid_api_key"


async def test_without_a_pepper_nobody_signs_in_and_no_session_holds(
    database: Database, still: Clock, auth: Auth
) -> None:
    made = await auth.create_key(ADMIN, "mine")
    token = (await signed_in(auth, made)).token
    without = another(database, still, None)
    with pytest.raises(Unauthenticated) as caught:
        await signed_in(without, made)
    assert caught.value.code == "authentication_not_configured"
    assert await refused(without, token) == "invalid_session"


# -- what is no session ---------------------------------------------------------------------------------------------


async def test_a_session_of_another_pepper_is_worth_nothing(database: Database, still: Clock, auth: Auth) -> None:
    made = await auth.create_key(ADMIN, "mine")
    token = (await signed_in(auth, made)).token
    assert await refused(another(database, still, b"another"), token) == "invalid_session"
    assert (await resumed(another(database, still, PEPPER), token)).via is Via.SESSION, "of the same: in each process"


async def test_every_character_of_a_session_counts(auth: Auth) -> None:
    token = (await signed_in(auth, await auth.create_key(ADMIN, "mine"))).token
    for at, character in enumerate(token):
        for other in ("0", "1", "z", "."):
            if other != character:
                changed = token[:at] + other + token[at + 1 :]
                assert await refused(auth, changed) == "invalid_session", changed
    for changed in ("", token[:-1], token + "A", token + "=", token + "\n", " " + token, token.upper(), "v1", "v1..."):
        assert await refused(auth, changed) == "invalid_session", changed


async def test_a_session_cannot_be_made_longer_or_another_keys(auth: Auth, still: Clock) -> None:
    mine, other = [await auth.create_key(ADMIN, name) for name in ("mine", "other")]
    kind, _, expiry, mac = (await signed_in(auth, mine)).token.split(".")
    id_of = other.token.partition(".")[0].removeprefix("hf_")
    assert await refused(auth, f"{kind}.{id_of}.{expiry}.{mac}") == "invalid_session"
    mine_id = mine.token.partition(".")[0].removeprefix("hf_")
    assert await refused(auth, f"{kind}.{mine_id}.{int(expiry) + HOUR_MS}.{mac}") == "invalid_session"
    assert await refused(auth, f"v1s.{mine_id}.{expiry}.{mac}") == "invalid_session"


async def test_what_is_stored_of_a_key_seals_no_session(auth: Auth, still: Clock) -> None:
    made = await auth.create_key(ADMIN, "mine")
    session = sessions.Session(made.key.id, still.ms + HOUR_MS, False)
    for known in (made.key.digest, PEPPER, b""):
        assert await refused(auth, sessions.sealed(session, known)) == "invalid_session"


async def test_a_session_of_a_key_that_never_was_has_ended(auth: Auth, still: Clock) -> None:
    session = sessions.Session(KeyId(b"\x01" * 16), still.ms + HOUR_MS, False)
    assert await refused(auth, sessions.sealed(session, sessions.signing_key(PEPPER))) == "session_expired"


# -- how long -------------------------------------------------------------------------------------------------------


async def test_an_unused_session_ends_to_the_millisecond(auth: Auth, still: Clock) -> None:
    token = (await signed_in(auth, await auth.create_key(ADMIN, "mine"))).token
    still.advance(limits.SESSION_MS - 1)
    assert (await resumed(auth, token)).via is Via.SESSION
    still.advance(1)
    assert await refused(auth, token) == "session_expired"


async def test_a_session_that_is_more_than_half_used_up_is_renewed(auth: Auth, still: Clock) -> None:
    issued = await signed_in(auth, await auth.create_key(ADMIN, "mine"))
    still.advance(limits.SESSION_MS // 2)
    assert (await resumed(auth, issued.token)).issued is None, "half is not more than half"
    still.advance(1)
    renewed = await resumed(auth, issued.token)
    assert renewed.issued is not None
    assert renewed.expires_at == renewed.issued.session.expires_at == still.ms + limits.SESSION_MS
    still.advance(limits.SESSION_MS // 2)
    assert await refused(auth, issued.token) == "session_expired", "the old one ends when it said"
    assert (await resumed(auth, renewed.issued.token)).via is Via.SESSION


async def test_who_works_is_not_thrown_out(auth: Auth, still: Clock) -> None:
    token = (await signed_in(auth, await auth.create_key(ADMIN, "mine"))).token
    for _ in range(30):
        still.advance(HOUR_MS)
        found = await resumed(auth, token)
        token = token if found.issued is None else found.issued.token


async def test_a_session_never_outlives_its_key(auth: Auth, still: Clock) -> None:
    made = await auth.create_key(ADMIN, "short", expires_at=still.ms + 8 * HOUR_MS)
    issued = await signed_in(auth, made)
    assert issued.session.expires_at == made.key.expires_at
    assert issued.keep_s == 8 * 3_600
    still.advance(7 * HOUR_MS)
    assert (await resumed(auth, issued.token)).issued is None, "there is nothing to renew it with"
    still.advance(HOUR_MS)
    assert await refused(auth, issued.token) == "session_expired"


async def test_a_revoked_key_ends_its_sessions_at_once_here_and_within_seconds_elsewhere(
    database: Database, still: Clock, auth: Auth
) -> None:
    made = await auth.create_key(ADMIN, "mine")
    token = (await signed_in(auth, made)).token
    elsewhere = another(database, still, PEPPER)
    assert (await resumed(elsewhere, token)).via is Via.SESSION
    await auth.revoke_key(ADMIN, made.key.id)
    assert await refused(auth, token) == "session_expired"
    still.advance(access.STALE_MS)
    assert (await resumed(elsewhere, token)).via is Via.SESSION, "still in its cache"
    still.advance(1)
    assert await refused(elsewhere, token) == "session_expired"


async def test_a_session_over_https_stays_one_when_it_is_renewed(auth: Auth, still: Clock) -> None:
    made = await auth.create_key(ADMIN, "mine")
    for shown in (
        {"scheme": "https", "origin": "https://agents.example"},
        {"origin": "https://agents.example", "fetch_site": "same-origin"},
    ):
        issued = await signed_in(auth, made, **shown)
        assert issued.session.secure, shown
        still.advance(limits.SESSION_MS // 2 + 1)
        renewed = (await resumed(auth, issued.token)).issued
        assert renewed is not None
        assert renewed.session.secure
    assert not (await signed_in(auth, made)).session.secure


# -- whose page -----------------------------------------------------------------------------------------------------

OWN, OWN_TLS = "http://agents.example", "https://agents.example"


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"method": "HEAD"},
        {"fetch_site": "same-origin"},
        {"fetch_site": "none"},
        {"origin": OWN},
        {"origin": OWN_TLS, "fetch_site": "same-origin"},
        {"method": "POST", "origin": OWN},
        {"method": "POST", "origin": OWN.upper(), "json_body": True},
        {"method": "DELETE", "origin": OWN, "fetch_site": "same-origin"},
        {"method": "PUT", "origin": OWN_TLS, "fetch_site": "same-origin", "json_body": True},
        {"method": "PATCH", "fetch_site": "same-origin", "json_body": True},
        {"method": "POST", "origin": OWN_TLS, "scheme": "https", "json_body": True},
        {"method": "POST", "origin": OWN_TLS, "fetch_site": "same-origin", "host": "127.0.0.1:8484", "forwarded": True},
    ],
)
async def test_a_page_of_ours_uses_its_session(auth: Auth, shown: dict[str, Any]) -> None:
    issued = await signed_in(auth, await auth.create_key(ADMIN, "mine"))
    assert (await resumed(auth, issued.token, **shown)).via is Via.SESSION


FOREIGN = [
    {"method": "POST"},
    {"method": "DELETE"},
    {"method": "PUT", "json_body": True},
    {"method": "POST", "fetch_site": "none"},
    {"method": "POST", "origin": "null", "json_body": True},
    {"method": "POST", "origin": "null", "fetch_site": "same-origin", "json_body": True},
    {"method": "POST", "origin": "", "json_body": True},
    {"method": "POST", "origin": OWN_TLS, "json_body": True},
    {"method": "POST", "origin": f"{OWN}:8080", "json_body": True},
    {"method": "POST", "origin": f"{OWN}.evil.example", "json_body": True},
    {"method": "POST", "origin": "http://evil.example", "json_body": True},
    {"method": "POST", "origin": f"{OWN}, {OWN}", "json_body": True},
    {"method": "POST", "origin": OWN, "host": None, "json_body": True},
    {"method": "POST", "origin": OWN, "fetch_site": "cross-site", "json_body": True},
    {"method": "POST", "origin": OWN, "fetch_site": "same-site", "json_body": True},
    {"method": "POST", "origin": OWN, "fetch_site": "", "json_body": True},
    {"method": "POST", "origin": OWN, "json_body": False},
    {"method": "POST", "origin": OWN, "fetch_site": "same-origin", "json_body": False},
    {"method": "TRACE"},
]


@pytest.mark.parametrize(
    "shown",
    [
        *FOREIGN,
        {"fetch_site": "cross-site"},
        {"fetch_site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
)
async def test_no_other_page_uses_it(auth: Auth, shown: dict[str, Any]) -> None:
    token = (await signed_in(auth, await auth.create_key(ADMIN, "mine"))).token
    for session in (token, "nonsense"):
        with pytest.raises(Refused) as caught:
            await resumed(auth, session, **shown)
        assert caught.value.code == "cross_site", "before the session is looked at: whether it holds is not told"


@pytest.mark.parametrize("shown", FOREIGN)
async def test_no_other_page_signs_somebody_in(auth: Auth, shown: dict[str, Any]) -> None:
    made = await auth.create_key(ADMIN, "mine")
    with pytest.raises(Refused) as caught:
        await auth.sign_in(visit(**shown), made.token)
    assert caught.value.code == "cross_site"


async def test_an_authorization_is_judged_alone(auth: Auth) -> None:
    made, other = [await auth.create_key(ADMIN, name) for name in ("mine", "other")]
    token = (await signed_in(auth, made)).token
    found = await resumed(auth, token, authorization=f"Bearer {other.token}", method="POST", fetch_site="cross-site")
    assert (found.principal.name, found.via, found.expires_at) == ("other", Via.API_KEY, None)
    with pytest.raises(Unauthenticated) as caught:
        await resumed(auth, token, authorization="Bearer hf_x.y")
    assert caught.value.code == "invalid_api_key"


async def test_a_bad_session_is_refused_where_none_would_be_needed(auth: Auth) -> None:
    local = visit(peer="127.0.0.1", host="localhost", session="nonsense")
    with pytest.raises(Unauthenticated) as caught:
        await auth.admit(local)
    assert caught.value.code == "invalid_session"
    plain = await auth.admit(visit(peer="127.0.0.1", host="localhost"))
    assert (plain.via, plain.expires_at) == (Via.LOCAL, None)


# -- who ------------------------------------------------------------------------------------------------------------


async def test_somebody_sees_their_own_tenant(auth: Auth, database: Database) -> None:
    tenant_id = TenantId(SYSTEM.new_id())
    stranger = Principal(
        tenant_id, PrincipalId(SYSTEM.new_id()), PrincipalKind.USER, "stranger", frozenset({ADMIN_SCOPE})
    )
    await database.write(None, lambda tx: principals.add_tenant(tx, tenant_id, "other"))
    for admin, name in ((ADMIN, "default"), (stranger, "other")):
        made = await auth.create_key(admin, "mine")
        me = await auth.me(await auth.sign_in(visit(**PAGE), made.token))
        assert (me.tenant_name, me.admission.principal.tenant_id) == (name, admin.tenant_id)
    assert ADMIN.tenant_id == DEFAULT_TENANT
