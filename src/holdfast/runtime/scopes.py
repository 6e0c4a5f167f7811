"""Where in a run the current task stands: its scope gives keys to steps, deterministic whatever the timing.

A scope belongs to one task. `ctx` used from a task that `gather` did not make finds a scope of another task: its keys
would depend on scheduling, so that is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from holdfast.domain.errors import UnscopedConcurrency
from holdfast.domain.journal import check_name, key_of


@dataclass(slots=True)
class Scope:
    """`path` prefixes the keys of steps made here; `owner` is the run's context, `task` alone may use it. `seen` is the
    last version of the thread's published state that the code knows of here."""

    path: str
    owner: object
    task: asyncio.Task[object] | None
    seen: int = 0
    groups: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def next_key(self, name: str) -> str:
        occurrence = self.counts.get(name, 0) + 1
        self.counts[name] = occurrence
        return key_of(self.path, check_name(name), occurrence)

    def next_group(self) -> int:
        self.groups += 1
        return self.groups

    def see(self, version: int) -> None:
        self.seen = max(self.seen, version)


_current: ContextVar[Scope | None] = ContextVar("holdfast_scope", default=None)


def current(owner: object) -> Scope:
    """The scope of the current task in this run; `UnscopedConcurrency` if it has none of its own."""
    scope = _current.get()
    if scope is None or scope.owner is not owner or scope.task is not asyncio.current_task():
        raise UnscopedConcurrency(
            "ctx was used from a task that ctx.gather did not make, so its steps would have no stable keys. "
            "Use ctx.gather for parallel work (not asyncio.create_task, asyncio.gather or asyncio.wait_for)."
        )
    return scope


def enter(path: str, owner: object) -> Scope:
    """Make the current task stand in a new scope, for as long as it lives. It knows of what is known around it."""
    scope = Scope(path, owner, asyncio.current_task(), _seen_by(owner))
    _current.set(scope)
    return scope


@contextmanager
def within(path: str, owner: object) -> Generator[None]:
    """The same for a block of code; the former scope comes back after it, and knows what became known in it."""
    outer = _current.get()
    inner = Scope(path, owner, asyncio.current_task(), _seen_by(owner))
    token = _current.set(inner)
    try:
        yield
    finally:
        _current.reset(token)
        if outer is not None and outer.owner is owner:
            outer.see(inner.seen)


def _seen_by(owner: object) -> int:
    scope = _current.get()
    return scope.seen if scope is not None and scope.owner is owner else 0
