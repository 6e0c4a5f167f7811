"""`ctx.state` of one claimed run: the document that its thread publishes, read and changed in steps of kind `state`.

Invariants. A change is computed and handed to the journal without a pause, from the newest version there is: parallel
branches lose nothing, and versions rise in the order of entries. What is recorded is taken from the journal, never
computed again. `get` answers with the version that the code knows of at this place (`Scope.seen`): what the run began
with, its own changes, and those of branches that it joined. A resumed run, whose branches may come to the same places
in another order, therefore reads what it read before, and nothing is recorded for it. Rejected: reading the newest
version there is, which would have to be recorded each time.
"""

from __future__ import annotations

import asyncio
import inspect
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from holdfast.agents import base
from holdfast.agents.base import Action, Outcome
from holdfast.domain import states
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Invalid, UnscopedConcurrency
from holdfast.domain.journal import Phase, StepKind, StepStatus
from holdfast.domain.states import NOTHING, Change, Document, Update
from holdfast.runtime import scopes
from holdfast.runtime.scopes import Scope
from holdfast.service import states as state_verbs
from holdfast.store.claims import Claimed
from holdfast.store.states import Publish

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

STEP = "state"


class State:
    """Implements `agents.base.State` for one claimed run. `_changes` are the run's own, in the order of versions."""

    def __init__(self, ctx: RunContext, claimed: Claimed) -> None:
        self._ctx = ctx
        self._changes: list[Change] = []
        self._own = 0  # how many of them, the last ones, are not inherited: reading the run finds only those
        self._within: dict[str, int] = {}
        self._marked = claimed.run.has_state
        self._begun = False
        self._base = self._newest = NOTHING
        for entry in claimed.entries:
            if entry.kind is StepKind.STATE and entry.phase is Phase.RESULT and entry.status is StepStatus.SUCCEEDED:
                assert entry.key is not None
                self._add(entry.key, states.read(entry.payload), own=entry.pos > claimed.inherited)

    def _add(self, key: str, change: Change, *, own: bool) -> None:
        assert not self._changes or change.version == self._changes[-1].version + 1, "versions are dense"
        self._changes.append(change)
        self._own += own
        for outer in _bodies_around(key):
            self._within[outer] = change.version

    def recalled(self, key: str) -> None:
        """A recorded step is taken from the journal: what was published within it is known from here on."""
        version = self._within.get(key)
        if version is not None:
            scopes.current(self._ctx).see(version)

    # -- what user code calls -----------------------------------------------------------------------------------------

    async def get(self) -> Any:
        self._ctx.demand_open()
        scope = self._scope()
        await self._begin()
        return _copy(self._document(scope.seen).value)

    async def set(self, value: Any) -> None:
        await self._change(lambda _: value)

    async def update(self, update: Update, /) -> Any:
        version = await self._change(lambda document: _updated(_copy(document), update))
        await self._begin()
        return _copy(self._document(version).value)

    def _scope(self) -> Scope:
        try:
            return scopes.current(self._ctx)
        except UnscopedConcurrency as exc:
            self._ctx.close(exc)
            raise

    async def _change(self, compute: Callable[[Any], Any]) -> int:
        self._ctx.demand_open()
        scope = self._scope()
        self._demand_own_scope(scope)
        key = scope.next_key(STEP)
        version = await self._record(key, compute)
        scope.see(version)
        return version

    def _demand_own_scope(self, scope: Scope) -> None:
        """The function of a plain step has no keys of its own: resumed, it does not run again, and what comes after it
        would find its changes."""
        task = asyncio.current_task()
        for key, flight in self._ctx.in_flight.items():
            if flight.task is task and scope.path != key and not scope.path.startswith(f"{key}/"):
                raise Invalid(f"ctx.state is changed by the workflow or by a tool, not by the function of step {key}.")

    async def _record(self, key: str, compute: Callable[[Any], Any]) -> int:
        async def body(attempt: base.Attempt) -> Outcome:
            await self._begin()
            self._ctx.demand_open()
            return self._publish(key, compute)  # no pause from here on until the journal has it

        recorded = await self._ctx.perform(Action(kind=StepKind.STATE, name=STEP, key=key), body)
        return states.read(recorded.unwrap()).version

    def _publish(self, key: str, compute: Callable[[Any], Any]) -> Outcome:
        change, self._newest = states.changed(self._newest, compute(self._newest.value), snapshot=self._due())
        self._add(key, change, own=True)
        ops = () if self._marked else (Publish(),)
        self._marked = True
        return Outcome(payload=change.payload, ops=ops)

    def _due(self) -> bool:
        """Whether the next change is to hold the whole document: the run's first, or it is long since one did."""
        recent = min(self._own, states.SNAPSHOT_EVERY - 1)
        return not any(change.is_snapshot for change in self._changes[len(self._changes) - recent :])

    # -- versions -----------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Find out, once in a claim, what the run began with. Nobody changes that: the run holds its thread."""
        if self._begun:
            return
        base = await self._ctx.patiently(lambda: state_verbs.before(self._ctx.house, self._ctx.run))
        if not self._begun:  # two branches may have asked at once
            self._begun = True
            self._base = base
            self._newest = states.replayed(base, self._changes[-states.SNAPSHOT_EVERY :])

    def _document(self, version: int) -> Document:
        if version == self._newest.version:
            return self._newest
        known = bisect_right(self._changes, version, key=lambda change: change.version)
        return states.replayed(self._base, self._changes[max(0, known - states.SNAPSHOT_EVERY) : known])


def _bodies_around(key: str) -> Iterator[str]:
    """The steps whose bodies a step's key lies in. A call's key is under that of the answer which asked for it, but the
    call is not part of that step: it comes after it."""
    parts = key.split("/")
    for n in range(1, len(parts)):
        if not (parts[n].isdigit() and len(parts[n]) <= _CALL_DIGITS_MAX):
            yield "/".join(parts[:n])


_CALL_DIGITS_MAX = 4


def _copy(value: Any) -> Any:
    """User code may change what it is given; the document stays as it was published."""
    return decode(encode(value))


def _updated(document: Any, update: Update) -> Any:
    made = states.merged(document, update)
    if inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        raise Invalid("What ctx.state.update is given returns the document itself: it is not async.")
    return made
