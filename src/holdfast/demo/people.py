"""The demo's second person: an approver with a key of its own, beside the local admin who needs none.

The key is made at the first start and kept in the demo's folder, readable by its owner only. It does not close the door
for requests without a key, see `service.access.Auth`; whoever brings it is the approver, and may do what an approver
may, which is less than the admin.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from holdfast.domain.access import LOCAL_PRINCIPAL, Principal, PrincipalKind, Scope
from holdfast.domain.errors import Unauthenticated, Unavailable
from holdfast.domain.ids import DEFAULT_TENANT, PrincipalId
from holdfast.service.access import Auth

KEY_FILE: Final = "approver.key"
APPROVER: Final = Principal(
    DEFAULT_TENANT,
    PrincipalId(b"demo-approver".ljust(16, b"\x00")),
    PrincipalKind.USER,
    "approver",
    frozenset(
        {
            Scope.INFO_READ.value,
            Scope.AGENTS_READ.value,
            Scope.THREADS_READ.value,
            Scope.RUNS_READ.value,
            Scope.APPROVALS_READ.value,
            Scope.APPROVALS_WRITE.value,
            Scope.EFFECTS_READ.value,
            Scope.EFFECTS_WRITE.value,
            "role:approver",
        }
    ),
)


async def seed(auth: Auth, file: Path) -> str:
    """The approver's key, made unless the one in the file still works. Raises `Unavailable`."""
    try:
        kept = kept_in(file)
        if kept and await _works(auth, kept):
            return kept
        made = await auth.create_key(LOCAL_PRINCIPAL, "approver of the demo", account=APPROVER)
        _keep_in(file, made.token)
        return made.token
    except OSError as exc:
        raise Unavailable(f"Cannot keep the approver's key in {file}: {exc}") from None


def kept_in(file: Path) -> str:
    """The key in the file; empty if there is none."""
    return file.read_text().strip() if file.exists() else ""


def _keep_in(file: Path, token: str) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(token + "\n")


async def _works(auth: Auth, token: str) -> bool:
    try:
        return (await auth.authenticate(token)).id == APPROVER.id
    except Unauthenticated:
        return False
