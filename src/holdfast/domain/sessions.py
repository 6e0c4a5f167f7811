"""Sessions of the web UI: what a browser holds after somebody signed in with an API key.

A session is stateless: the id of the key, when it ends, and an HMAC over both. It is worth nothing without the key's
row, which is looked up with each request: a key that is revoked or expires takes its sessions with it.
Rejected: rows of sessions, which would cost a write a sign-in and a table to clear, and could only tell one browser of
a key from another one of the same key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from holdfast.domain import ids
from holdfast.domain.errors import NotFound
from holdfast.domain.ids import KEY, KeyId

COOKIE: Final = "holdfast_session"
COOKIE_DIGITS: Final = 8
_PLAIN, _SECURE = "v1", "v1s"
_FORM: Final = re.compile(r"(?P<kind>v1s?)\.(?P<key>[0-9a-v]{26})\.(?P<expires>[1-9][0-9]{0,15})\.(?P<mac>[\w-]{43})")


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the API key `key_id`. `expires_at` is ms UTC. `secure`: it began over HTTPS, and stays there."""

    key_id: KeyId
    expires_at: int
    secure: bool


def signing_key(pepper: bytes) -> bytes:
    """The key of sessions: it follows from the pepper, but API keys are hashed with SHA-256 under it, so that nothing
    that is stored of them can ever be this."""
    return hmac.new(pepper, b"holdfast sessions v1", hashlib.sha512).digest()


def cookie_name(pepper: bytes | None) -> str:
    """The name of the cookie that holds sessions of an installation. Browsers share cookies between all ports of a
    host: of two installations there each reads its own alone. Processes that check the same keys agree on it.

    Whoever signs out is told it, so it is short: it would fit too many guesses at a pepper to confirm one.

    >>> cookie_name(None)
    'holdfast_session'
    """
    if pepper is None:
        return COOKIE
    return f"{COOKIE}_{hmac.new(pepper, b'holdfast cookie v1', hashlib.sha512).hexdigest()[:COOKIE_DIGITS]}"


def sealed(session: Session, key: bytes) -> str:
    """The session as text: `v1.<key id>.<expiry, ms>.<HMAC>`, `v1s` for one over HTTPS."""
    kind = _SECURE if session.secure else _PLAIN
    head = f"{kind}.{ids.text(KEY, session.key_id).removeprefix(KEY + '_')}.{session.expires_at}"
    return f"{head}.{_mac(head, key)}"


def unsealed(text: str, key: bytes) -> Session | None:
    """The session that the text is, if it was sealed with this key; nothing is said of whether it has ended."""
    found = _FORM.fullmatch(text) if text.isascii() else None
    if found is None:
        return None
    head, _, mac = text.rpartition(".")
    if not hmac.compare_digest(mac, _mac(head, key)):
        return None
    try:
        key_id = KeyId(ids.parse(KEY, f"{KEY}_{found['key']}"))
    except NotFound:
        return None
    return Session(key_id, int(found["expires"]), found["kind"] == _SECURE)


def _mac(head: str, key: bytes) -> str:
    digest = hmac.new(key, head.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
