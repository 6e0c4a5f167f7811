"""Ids: 16 bytes inside, a prefix and 26 characters of base32hex at the edge.

base32hex (RFC 4648 §7) keeps the order of the bytes, so ids sort by time in both forms.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import lru_cache
from typing import NewType

from holdfast.domain.errors import NotFound

TenantId = NewType("TenantId", bytes)
PrincipalId = NewType("PrincipalId", bytes)
KeyId = NewType("KeyId", bytes)
ThreadId = NewType("ThreadId", bytes)
RunId = NewType("RunId", bytes)
MessageId = NewType("MessageId", bytes)
WorkerId = NewType("WorkerId", bytes)
ApprovalId = NewType("ApprovalId", bytes)
EffectId = NewType("EffectId", bytes)
EventId = NewType("EventId", bytes)
ReplayId = NewType("ReplayId", bytes)

ID_BYTES = 16
ID_TIME_BYTES = 6

TENANT, PRINCIPAL, KEY, THREAD, RUN, MESSAGE, WORKER = "ten", "pri", "key", "thr", "run", "msg", "wrk"
APPROVAL, EFFECT, EVENT, REPLAY = "apr", "eff", "evt", "rpl"

DEFAULT_TENANT = TenantId(b"\x00" * 15 + b"\x01")
LOCAL_ADMIN = PrincipalId(b"\x00" * 15 + b"\x02")
_SANDBOX = b"\x00" * 7 + b"\x53"


@lru_cache(maxsize=4_096)  # a request tells the same few ids again and again
def text(prefix: str, value: bytes) -> str:
    """The public form of an id: `run_0b8…`."""
    return f"{prefix}_{base64.b32hexencode(value)[:26].decode('ascii').lower()}"


def parse(prefix: str, value: str) -> bytes:
    """The 16 bytes of a public id; `NotFound` for anything that is not an id of this kind."""
    head, _, tail = value.partition("_")
    if head == prefix and len(tail) == 26 and tail.isascii() and tail == tail.lower():
        try:
            raw = base64.b32hexdecode(tail.upper() + "======")
        except binascii.Error:
            raw = b""
        if len(raw) == ID_BYTES and text(prefix, raw) == value:
            return raw
    raise NotFound(f"There is no {NAMES.get(prefix, 'resource')} with this id.")


NAMES = {
    TENANT: "tenant", PRINCIPAL: "principal", KEY: "key", THREAD: "thread", RUN: "run", MESSAGE: "message",
    APPROVAL: "approval", EFFECT: "effect", EVENT: "event", REPLAY: "replay",
}  # fmt: skip


def derived(*parts: bytes | str) -> bytes:
    """16 bytes that follow from `parts` alone: the same parts give the same id in every process and after a crash."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.digest()[:ID_BYTES]


def first_of(at: int) -> bytes:
    """The least id that can be made at a time (ms UTC)."""
    return max(0, min(at, 2 ** (8 * ID_TIME_BYTES) - 1)).to_bytes(ID_TIME_BYTES, "big").ljust(ID_BYTES, b"\x00")


def sandbox_tenant(name: str) -> TenantId:
    """The tenant that a name of a sandbox stands for: the same one in every process and on every database."""
    return TenantId(_SANDBOX + derived("sandbox", name)[len(_SANDBOX) :])


def is_sandbox(tenant_id: bytes) -> bool:
    """Whether a tenant is a sandbox. The id itself says so: also to a process that was not told of any."""
    return tenant_id.startswith(_SANDBOX)
