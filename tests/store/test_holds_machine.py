"""Holds against a small pure model, under moves that Hypothesis chooses: calls planned, started and settled by owners
and zombies, questions asked and answered early, late, twice, by the wrong people and with edits, events sent and taken,
runs that park, end, are cancelled or taken over.

The model knows nothing of SQL and shares no rule with the code: dictionaries of effects, questions, events and business
keys. After every move the database is compared with it, and what must always hold is checked on the database alone,
from its rows now and after the move before.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from holdfast.bus.base import Hub
from holdfast.domain import limits
from holdfast.domain.access import LOCAL_PRINCIPAL, Principal, PrincipalKind
from holdfast.domain.approvals import Approval, ApprovalStatus, ApprovalType, DecisionKind, Demand, OnExpiry
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.effects import Effect, EffectClass, EffectStatus, idempotency_key, may_become
from holdfast.domain.encoding import canonical, decode, encode
from holdfast.domain.errors import HoldfastError
from holdfast.domain.ids import ApprovalId, EffectId, EventId, PrincipalId, RunId
from holdfast.domain.journal import Entry, EntryType, NewEntry, Phase, StepKind
from holdfast.domain.runs import Run, RunStatus
from holdfast.service import approvals as approval_verbs
from holdfast.service import awaited as awaited_verbs
from holdfast.service import effects as effect_verbs
from holdfast.service.approvals import Resolution
from holdfast.service.awaited import NewEvent
from holdfast.service.house import House
from holdfast.store import approvals, awaited, effects, heads, lineage, runs, schema
from holdfast.store.approvals import ApprovalFilter, Ask
from holdfast.store.awaited import Await, EventWait, Stop
from holdfast.store.base import Database, Tx
from holdfast.store.claims import Claimed
from holdfast.store.effects import EffectFilter, Plan, Replan, Settle, Start
from holdfast.store.heads import Head
from holdfast.store.journal import Appended, Finish, Op, Park, Release
from holdfast.store.runs import End
from holdfast.testing.store import (
    TENANT,
    WORKER_A,
    WORKER_B,
    Clock,
    Store,
    append_of,
    assert_dense,
    said,
    step,
)
from tests import databases

EFFORT = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 1
PICK = st.integers(0, 2**16)
QUEUED, RUNNING, WAITING = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING
ENDS = st.sampled_from([None] * 6 + [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED])
_E, _A = EffectStatus, ApprovalStatus
OPEN = (_E.PLANNED, _E.STARTED, _E.COMMITTED, _E.FAILED)
"""What may go on, unless its step is recorded."""

SOON_MS = 5_000
BOSS = frozenset({"boss"})
DEMANDS = {
    "nothing": None,
    "leave": Demand(),
    "two": Demand(quorum=2),
    "four eyes": Demand(four_eyes=True),
    "a boss": Demand(roles=(BOSS,)),
    "soon": Demand(expires_ms=SOON_MS),
    "soon or yes": Demand(expires_ms=SOON_MS, on_expiry=OnExpiry.APPROVE, quorum=2),
    "soon or a boss": Demand(expires_ms=SOON_MS, on_expiry=OnExpiry.ESCALATE, escalate_to=BOSS),
}
TOOLS = {"pay": EffectClass.KEYED, "mail": EffectClass.UNSAFE}
LASTING, BRIEF = "order-1", "order-2"
BRIEF_MS = 10_000
CALL = st.tuples(
    st.sampled_from(sorted(TOOLS)),
    st.sampled_from([None, None, None, LASTING, BRIEF]),
    st.integers(1, 2),
    st.sampled_from([*DEMANDS, "two", "two"]),
)
SHAPE = encode({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
BECAME = st.sampled_from([_E.COMMITTED, _E.COMMITTED, _E.FAILED, _E.UNKNOWN, _E.UNKNOWN, _E.PLANNED])
EVENT_NAMES = st.sampled_from(["paid", "sent"])


def _person(number: int, name: str, *more: str) -> Principal:
    scopes = frozenset({"approvals:write", "effects:write", "events:write", *more})
    return Principal(TENANT, PrincipalId(bytes([number]) * 16), PrincipalKind.USER, name, scopes)


INITIATOR = LOCAL_PRINCIPAL
BOB, CAROL, DAVE = _person(1, "bob"), _person(2, "carol", "role:boss"), _person(3, "dave", "role:boss")
NOBODY = Principal(TENANT, PrincipalId(b"\x04" * 16), PrincipalKind.USER, "nobody", frozenset({"role:boss"}))
PEOPLE = {p.name: p for p in (INITIATOR, BOB, CAROL, DAVE, NOBODY)}
NAMES = st.sampled_from([INITIATOR.name, "bob", "bob", "carol", "carol", "dave", "dave", "nobody"])
SAYINGS = st.sampled_from(["approve"] * 4 + ["edit"] * 3 + ["same", "misfit", "reject", "confused"])
"""What is said to a question that asks for leave; to others `approve` and the edits mean an answer."""


def arguments_of(n: int) -> bytes:
    return canonical({"n": n})


def hash_of(arguments: bytes) -> bytes:
    return sha256(arguments).digest()


@dataclass(eq=False)
class ModelRun:
    """What must be true of a run."""

    run: Run
    status: RunStatus = QUEUED
    due: int = 0
    worker: bytes | None = None
    epoch: int = 0
    lapses: int = 0
    cancel: bool = False
    steps: list[str] = field(default_factory=list)
    asked: list[ModelQuestion] = field(default_factory=list)
    """Questions of whose answers the run has not heard yet."""
    waits: dict[str, tuple[str, str]] = field(default_factory=dict)
    taken: set[EventId] = field(default_factory=set)


@dataclass(eq=False)
class ModelEffect:
    """What must be true of an effect. `demand`: the leave that the run's rules want for it."""

    run: ModelRun
    key: str
    group: str
    id: EffectId
    tool: str
    arguments: bytes
    business: str | None
    demand: Demand | None
    duplicate_of: EffectId | None = None
    status: EffectStatus = _E.PLANNED
    rotation: int = 0
    attempt: int = 0
    recorded: bool = False
    leaves: list[ModelQuestion] = field(default_factory=list)
    doubts: int = 0


@dataclass(eq=False)
class Said:
    """One decision: by whom, what, and whether an edit voided it."""

    who: PrincipalId | None
    what: str
    void: bool = False


@dataclass(eq=False)
class ModelQuestion:
    """What must be true of a question."""

    run: ModelRun
    id: ApprovalId
    key: str
    group: str
    type: ApprovalType
    demand: Demand
    expires_at: int
    arguments: bytes | None = None
    effect: ModelEffect | None = None
    choices: list[Any] | None = None
    default: Any = None
    status: ApprovalStatus = _A.PENDING
    version: int = 1
    decisions: list[Said] = field(default_factory=list)
    answer: Any = None
    escalated: bool = False
    usable_until: int | None = None
    used_at: int | None = None

    @property
    def pending(self) -> bool:
        return self.status is _A.PENDING


@dataclass(frozen=True)
class ModelEvent:
    id: EventId
    external_id: str | None
    name: str
    key: str
    data: Any
    at: int


@dataclass
class Seen:
    """All rows that matter, as read in one transaction."""

    runs: dict[RunId, Run]
    heads: dict[RunId, Head]
    journals: dict[RunId, list[Entry]]
    effects: dict[EffectId, Effect]
    questions: dict[ApprovalId, Approval]
    holders: dict[tuple[str, str], tuple[EffectId, int | None]]
    waits: set[tuple[RunId, str, str, str]]
    uses: set[tuple[RunId, EventId]]
    events: dict[EventId, tuple[str, str, int]]
    ready: set[RunId]
    """Waiting runs among whose questions and events something is over."""


class HoldsMachine(RuleBasedStateMachine):
    """Subclassed with `fresh()`, which gives an open and empty database."""

    def fresh(self, determinism: Determinism) -> Database:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        determinism = Determinism(now_ms=self.clock, random=SYSTEM.random)
        self.database = self.fresh(determinism)
        self.store = Store(self.database, self.clock)
        self.house = House(database=self.database, hub=Hub(None), agents={}, determinism=determinism)
        self.model: dict[RunId, ModelRun] = {}
        self.effects: dict[EffectId, ModelEffect] = {}
        self.questions: dict[ApprovalId, ModelQuestion] = {}
        self.events: dict[EventId, ModelEvent] = {}
        self.holders: dict[tuple[str, str], tuple[EffectId, int | None]] = {}
        self.claims: list[Claimed] = []
        """Every claim there ever was: those of the owners and those of zombies."""
        self.leaves_used: dict[ApprovalId, set[EffectId]] = {}
        self.starts: Counter[tuple[EffectId, int]] = Counter()
        """How often an effect left `planned` for `started` under a rotation, by the database's rows alone."""
        self.before: Seen | None = None
        self.numbers = 0
        self.do(self.database.open())
        self.do(self.store.seed())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def teardown(self) -> None:
        self.do(self.database.close())
        self.loop.close()

    def key(self, name: str) -> str:
        self.numbers += 1
        return f"{name}#{self.numbers}"

    def claim_of(self, number: int) -> Claimed:
        """A claim, of an owner or a zombie, mostly of an owner."""
        owners = [c for c in self.claims if self.ours(c) is not None]
        may = [*self.claims[-2:], *owners, *owners, *owners]
        return may[-1 - number % len(may)]

    def effect_of(self, claimed: Claimed, number: int, *statuses: EffectStatus) -> ModelEffect | None:
        """An effect of this run in one of the states; of a zombie's, any: what it writes is refused anyway."""
        of_run = [e for e in self.effects.values() if e.run.run.id == claimed.run.id]
        may = of_run if self.ours(claimed) is None else [e for e in of_run if e.status in statuses and not e.recorded]
        return may[-1 - number % len(may)] if may else None

    # -- the model's own rules

    def ours(self, claimed: Claimed) -> ModelRun | None:
        """The run, if this claim of it still holds."""
        m = self.model[claimed.run.id]
        return m if m.status is RUNNING and m.epoch == claimed.epoch else None

    def group_open(self, q: ModelQuestion) -> bool:
        return any(o.pending and o.group == q.group and o.run is q.run for o in self.questions.values())

    def over(self, q: ModelQuestion) -> bool:
        return not q.pending and not self.group_open(q)

    def fitting(self, m: ModelRun, name: str, key: str) -> list[ModelEvent]:
        """Events that a run may take, the oldest first."""
        return [
            e
            for e in self.events.values()
            if (e.name, e.key) == (name, key) and e.at >= m.run.created_at and e.id not in m.taken
        ]

    def queue(self, m: ModelRun, due: int) -> None:
        m.status, m.due, m.worker = QUEUED, due, None

    def wake(self, m: ModelRun) -> None:
        if m.status is WAITING:
            self.queue(m, self.clock())

    def end(self, m: ModelRun, status: RunStatus) -> None:
        m.status, m.worker = status, None
        m.waits.clear()
        for e in self.effects.values():
            if e.run is m and e.status is _E.PLANNED:
                e.status = _E.ABANDONED
                self.free(e)
            elif e.run is m and e.status is _E.STARTED:
                e.status = _E.UNKNOWN
        for q in self.questions.values():
            if q.run is m and q.pending:
                q.status, q.version = _A.CANCELLED, q.version + 1

    def free(self, e: ModelEffect) -> None:
        self.holders = {name: held for name, held in self.holders.items() if held[0] != e.id}

    def hold(self, e: ModelEffect) -> EffectId | None:
        """Claim the effect's business key; who has it, if another does."""
        if e.business is None:
            return None
        name = (e.tool, e.business)
        held = self.holders.get(name)
        if held is None or (held[1] is not None and held[1] <= self.clock()):
            held = self.holders[name] = (e.id, None)
        return None if held[0] == e.id else held[0]

    # -- runs

    def living(self) -> list[ModelRun]:
        return [m for m in self.model.values() if not m.status.ended]

    @precondition(lambda self: len(self.living()) < 3)
    @rule(waits=st.sampled_from([False, False, True]))
    def a_run_starts(self, waits: bool) -> None:
        """And is claimed, or waits for a worker."""
        run = self.do(self.store.start())
        self.model[run.id] = ModelRun(run, due=self.clock())
        if not waits:
            self.a_worker_claims(WORKER_A)

    @precondition(lambda self: self.claimable())
    @rule(worker=st.sampled_from([WORKER_A, WORKER_B]))
    def a_worker_claims(self, worker: Any) -> None:
        may = {m.run.id: m for m in self.claimable()}
        got: list[Claimed] = self.do(self.store.claim(worker))
        assert {c.run.id for c in got} == set(may)
        for claimed in got:
            m = may[claimed.run.id]
            mine = {e.key: e for e in self.effects.values() if e.run is m}
            assert [e.key for e in claimed.entries if e.seq] == m.steps, "a claim returns every answer"
            assert {e.key: e.status for e in claimed.effects} == {e.key: e.status for e in mine.values()}
            m.status, m.worker, m.epoch = RUNNING, worker, claimed.epoch
            m.asked = [q for q in m.asked if q.pending]
        self.claims += got

    def claimable(self) -> list[ModelRun]:
        return [m for m in self.model.values() if m.status is QUEUED and m.due <= self.clock()]

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def another_worker_takes_over(self, pick: int) -> None:
        """It leaves a zombie beside a new owner; or ends the run, if it was asked to stop or killed too many."""
        claimed = self.claim_of(pick)
        m = self.ours(claimed)
        if m is not None and m.lapses > 1 and pick % 8:
            return  # else most runs would be killed by this before they did anything
        back = self.do(self.store.orphan(claimed, dead=True))
        assert (back is None) is (m is None)
        if m is None:
            return
        m.epoch += 1
        lapses = m.lapses + 1  # one that acted is queued once more: a worker may have to undo that
        acted = any(e.run is m and e.status is _E.COMMITTED for e in self.effects.values())
        poisoned = not m.cancel and lapses >= limits.LAPSES_POISONED + int(acted)
        assert (back.cancelled, back.poisoned) == (m.cancel, poisoned)
        if m.cancel or poisoned:
            self.end(m, RunStatus.CANCELLED if m.cancel else RunStatus.FAILED)
            return
        m.lapses += 1
        waits_ms = limits.LAPSE_BACKOFF_MS * 2 ** (m.lapses - 2) if m.lapses >= limits.LAPSES_ALONE else 0
        self.queue(m, self.clock() + waits_ms)
        self.clock.advance(waits_ms)
        self.a_worker_claims(WORKER_B if claimed.epoch % 2 else WORKER_A)

    def cancel(self, m: ModelRun) -> None:
        cancelled = self.do(self.store.cancel(m.run))
        assert (cancelled is not None) is (m.status in (QUEUED, WAITING))
        if m.status is RUNNING:
            m.cancel = True
        elif not m.status.ended:
            m.epoch += 1
            self.end(m, RunStatus.CANCELLED)

    @precondition(lambda self: self.model)
    @rule(
        ms=st.sampled_from([1, SOON_MS - 1, SOON_MS, SOON_MS, BRIEF_MS, limits.LEAVE_USABLE_MS, limits.EXPIRES_MS]),
        watched=st.booleans(),
    )
    def time_passes(self, ms: int, watched: bool) -> None:
        self.clock.advance(ms)
        if watched and any(q.pending and q.expires_at <= self.clock() for q in self.questions.values()):
            self.questions_expire()

    # -- what workers write

    def append(self, claimed: Claimed, new: Sequence[NewEntry], ops: Sequence[Op] = (), change: Any = None) -> Appended:
        return self.do(self.appending(claimed, new, ops, change))

    async def appending(
        self, claimed: Claimed, new: Sequence[NewEntry], ops: Sequence[Op] = (), change: Any = None
    ) -> Appended:
        one = append_of(claimed, *new, change=change)
        one.ops = ops
        return (await self.store.append_all([one]))[0]

    def written(self, claimed: Claimed, new: Sequence[NewEntry], ops: Sequence[Op], change: Any = None) -> bool:
        """Append what the store must accept of an owner and refuse of a zombie; whether it did."""
        appended = self.append(claimed, new, ops, change)
        assert appended.declined is None
        assert not appended.open_again
        return self.took(claimed, appended, new)

    def took(self, claimed: Claimed, appended: Appended, new: Sequence[NewEntry]) -> bool:
        m = self.ours(claimed)
        assert appended.refused is (m is None)
        if m is None:
            return False
        assert appended.cancel is m.cancel
        assert appended.seq == len(m.steps)
        m.steps += [e.key for e in new if e.is_step and e.key is not None]
        if new:  # what records nothing is no progress
            m.lapses = 0
        return True

    def question(self, e: ModelEffect, type: ApprovalType, demand: Demand) -> ModelQuestion:
        """A question about a call, not asked yet."""
        number = 1 + (len(e.leaves) if type is ApprovalType.TOOL else e.doubts)
        return ModelQuestion(
            run=e.run,
            id=ApprovalId(self.store.new_id()),
            key=f"{e.key}/{'leave' if type is ApprovalType.TOOL else 'effect'}#{number}",
            group=e.group,
            type=type,
            demand=demand,
            expires_at=self.clock() + (demand.expires_ms or limits.EXPIRES_MS),
            arguments=e.arguments,
            effect=e,
        )

    def asking(self, q: ModelQuestion) -> tuple[NewEntry, Ask]:
        """The opening entry and the row of a question."""
        entry = NewEntry(
            type=EntryType.EFFECT_UNKNOWN if q.type is ApprovalType.EFFECT else EntryType.APPROVAL_REQUESTED,
            at=self.clock(),
            phase=Phase.OPENING,
            key=q.key,
            kind=StepKind.INTERRUPT,
            name=q.type.value,
            attempt=1,
        )
        shape = {ApprovalType.TOOL: SHAPE, ApprovalType.INPUT: encode({"type": "integer"})}
        ask = Ask(
            id=q.id, type=q.type, root_id=q.run.run.id, thread_id=q.run.run.thread_id, agent="a", key=q.key,
            group=q.group, attempt=1, message="?", requested_by=INITIATOR.id, chain=frozenset({INITIATOR.id}),
            demand=q.demand, tool=q.effect.tool if q.effect else None, effect_id=q.effect.id if q.effect else None,
            arguments=q.arguments, arguments_hash=None if q.arguments is None else hash_of(q.arguments),
            schema=shape.get(q.type), choices=None if q.choices is None else encode(q.choices),
            default=None if q.default is None else encode(q.default),
        )  # fmt: skip
        return entry, ask

    def opened(self, q: ModelQuestion) -> None:
        self.questions[q.id] = q
        q.run.asked.append(q)
        if q.effect is not None and q.type is ApprovalType.TOOL:
            q.effect.leaves.append(q)
        elif q.effect is not None:
            q.effect.doubts += 1

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, calls=st.lists(CALL, min_size=1, max_size=2), asks=st.sampled_from([True, True, False]))
    def a_turn_plans_its_calls(self, pick: int, calls: list[tuple[Any, ...]], asks: bool) -> None:
        """Their leave is asked for in the same commit, or later."""
        claimed = self.claim_of(pick)
        m = self.model[claimed.run.id]
        turn = self.key("turn")
        chosen = [
            ModelEffect(
                m, self.key("call"), turn, EffectId(self.store.new_id()), tool, arguments_of(n), business, DEMANDS[want]
            )
            for tool, business, n, want in calls
        ]
        new, ops = [step(turn)], [self.plan(e) for e in chosen]
        leaves = [self.question(e, ApprovalType.TOOL, e.demand) for e in chosen if asks and e.demand is not None]
        openings = [self.asking(q) for q in leaves]
        if not self.written(claimed, [*new, *(e for e, _ in openings)], [*ops, *(a for _, a in openings)]):
            return
        for e in sorted(chosen, key=lambda e: (e.tool, e.business or "")):
            e.duplicate_of = self.hold(e)
        self.effects |= {e.id: e for e in chosen}
        for q in leaves:
            self.opened(q)

    def plan(self, e: ModelEffect) -> Plan:
        return Plan(
            key=e.key,
            id=e.id,
            tool=e.tool,
            agent="a",
            effect_class=TOOLS[e.tool],
            version="1",
            arguments=e.arguments,
            arguments_hash=hash_of(e.arguments),
            idempotency_key=idempotency_key(TENANT, e.run.run.id, e.key, 0),
            business_key=e.business,
        )

    @precondition(lambda self: self.effects)
    @rule(pick=PICK, which=PICK, became=BECAME, soon=st.booleans(), moves=st.integers(1, 3))
    def a_call_goes_on(self, pick: int, which: int, became: EffectStatus, soon: bool, moves: int) -> None:
        """What its run does with it next, if all goes well; a zombie does the same too late."""
        claimed = self.claim_of(pick)
        e = self.effect_of(claimed, which, *OPEN)
        for move in range(moves):
            if e is None or e.recorded or e.status not in OPEN:
                return
            if move:
                self.the_database_is_as_the_model_says_and_keeps_its_promises()
            self.move_on(claimed, e, became, soon=soon)

    @precondition(lambda self: self.effects)
    @rule(pick=PICK, became=BECAME, soon=st.booleans())
    def all_calls_of_a_run_go_on(self, pick: int, became: EffectStatus, soon: bool) -> None:
        claimed = self.claim_of(pick)
        for e in [e for e in self.effects.values() if e.run.run.id == claimed.run.id and not e.recorded]:
            if e.status in OPEN:
                self.move_on(claimed, e, became, soon=soon)
                self.the_database_is_as_the_model_says_and_keeps_its_promises()

    def move_on(self, claimed: Claimed, e: ModelEffect, became: EffectStatus, *, soon: bool) -> None:
        given = [q for q in e.leaves if q.status is _A.APPROVED]
        if e.status is _E.FAILED:
            self.plan_again(claimed, e)
        elif e.status is _E.STARTED:
            self.settle(claimed, e, became, soon)
        elif e.status is not _E.PLANNED or (e.duplicate_of is not None and soon):
            self.give_up_or_record(claimed, e)
        elif e.duplicate_of is not None:
            self.replan(claimed, e, e.business)
        elif e.demand is not None and not given:
            self.ask_leave(claimed, e)
        elif given and given[-1].arguments != e.arguments:
            self.replan(claimed, e, e.business)
        else:
            self.start(claimed, e, given[-1] if given else None)

    def ask_leave(self, claimed: Claimed, e: ModelEffect) -> None:
        if e.demand is None or any(q.pending for q in e.leaves):
            return
        q = self.question(e, ApprovalType.TOOL, e.demand)
        entry, ask = self.asking(q)
        if self.written(claimed, [entry], [ask]):
            self.opened(q)

    def replan(self, claimed: Claimed, e: ModelEffect, wanted: str | None) -> None:
        arguments = next((q.arguments for q in reversed(e.leaves) if q.status is _A.APPROVED), None) or e.arguments
        op = Replan(
            key=e.key,
            arguments=arguments,
            arguments_hash=hash_of(arguments),
            business_key=wanted,
            business_ttl_ms=None,
        )
        if self.written(claimed, [], [op]):
            if wanted != e.business:
                self.free(e)
            e.arguments, e.business = arguments, wanted
            e.duplicate_of = self.hold(e)

    @precondition(lambda self: self.effects)
    @rule(pick=PICK, which=PICK, leave=PICK, wrong=st.sampled_from(["leave", "leave", "arguments", "again", "planned"]))
    def a_call_goes_wrong(self, pick: int, which: int, leave: int, wrong: str) -> None:
        """It is started by any leave there is, with other arguments, once more; or gets another business key. What the
        rules do not let go without leave is not started without: that half is the runtime's."""
        claimed = self.claim_of(pick)
        e = self.effect_of(claimed, which, _E.PLANNED, _E.STARTED)
        if e is not None and e.status is _E.PLANNED and wrong == "planned":
            self.replan(claimed, e, [None, LASTING, BRIEF][leave % 3])
        if e is None or e.duplicate_of is not None or wrong == "planned":
            return
        alike = [q for q in self.questions.values() if q.arguments == e.arguments and q.status is _A.APPROVED]
        may = [*list(self.questions.values())[-5:], *alike, *alike]
        self.start(claimed, e, may[leave % len(may)] if may else None, wrong)

    def start(self, claimed: Claimed, e: ModelEffect, q: ModelQuestion | None, wrong: str = "") -> None:
        again = wrong == "again"
        q = None if again else q
        known = None if q is None else q.id
        if not again and e.demand is not None and q is None:
            known = ApprovalId(self.store.new_id())
        hashed = hash_of(b"{}") if wrong == "arguments" else hash_of(e.arguments)
        op = Start(key=e.key, timeout_ms=1_000, arguments_hash=hashed, leave=known, again=again)
        appended = self.append(claimed, [], [op])
        m = self.ours(claimed)
        assert appended.refused is (m is None)
        if m is None:
            return
        assert appended.declined == self.why_not(m, e, op, q)
        if appended.declined is None:
            assert appended.cancel is False
            e.status, e.attempt = _E.STARTED, e.attempt + 1
            if q is not None:
                q.used_at = self.clock() if q.used_at is None else q.used_at
                self.leaves_used.setdefault(q.id, set()).add(e.id)

    def why_not(self, m: ModelRun, e: ModelEffect, op: Start, q: ModelQuestion | None) -> str | None:
        if m.cancel:
            return "cancelled"
        if e.status is not (_E.STARTED if op.again else _E.PLANNED) or op.arguments_hash != hash_of(e.arguments):
            return "effect_changed"
        if op.leave is None:
            return None
        if q is None or q.status is not _A.APPROVED or q.arguments != e.arguments or q.effect is not e:
            return "leave_missing"
        lapsed = q.usable_until is None or q.usable_until < self.clock()
        if q.used_at is None:
            return "leave_lapsed" if lapsed else None
        return "leave_used" if lapsed or e.attempt == 0 else None

    def settle(self, claimed: Claimed, e: ModelEffect, became: EffectStatus, soon: bool) -> None:
        """With its step, or, if its run will be retried, without; as unknown with a question to people; back to
        `planned` with a new key."""
        turned = e.rotation + 1
        rotation = (turned, idempotency_key(TENANT, e.run.run.id, e.key, turned)) if became is _E.PLANNED else None
        brief = BRIEF_MS if became is _E.COMMITTED and e.business == BRIEF else None
        ops: list[Op] = [
            Settle(key=e.key, before=(_E.STARTED,), after=became, rotation=rotation, business_ttl_ms=brief)
        ]
        records = became is _E.COMMITTED or (became is _E.FAILED and not soon)
        new = [step(e.key)] if records else []
        q = self.question(e, ApprovalType.EFFECT, Demand(expires_ms=SOON_MS if soon else limits.EXPIRES_MS_MAX))
        if became is _E.UNKNOWN:
            entry, ask = self.asking(q)
            new, ops = [entry], [*ops, ask]
        if not self.written(claimed, new, ops):
            return
        e.status, e.recorded = became, records
        if became is _E.UNKNOWN:
            self.opened(q)
        elif became is _E.PLANNED:
            e.rotation = turned
        elif became is _E.FAILED:
            self.free(e)
        elif brief is not None:
            self.holders = {
                name: (held, self.clock() + brief if held == e.id else until)
                for name, (held, until) in self.holders.items()
            }

    def plan_again(self, claimed: Claimed, e: ModelEffect) -> None:
        """Its run was retried: what failed is tried anew, unless somebody else has its business key by now."""
        turned = e.rotation + 1
        rotation = (turned, idempotency_key(TENANT, e.run.run.id, e.key, turned))
        if self.written(claimed, [], [Settle(key=e.key, before=(_E.FAILED,), after=_E.PLANNED, rotation=rotation)]):
            e.status, e.rotation = _E.PLANNED, turned
            e.duplicate_of = self.hold(e)

    def give_up_or_record(self, claimed: Claimed, e: ModelEffect) -> None:
        """A refused call; or one of which a person said that it was done."""
        gives_up = e.status is _E.PLANNED
        ops = [Settle(key=e.key, before=(_E.PLANNED,), after=_E.ABANDONED)] if gives_up else []
        if self.written(claimed, [step(e.key)], ops):
            e.recorded = True
            if gives_up:
                e.status = _E.ABANDONED
                self.free(e)

    @precondition(lambda self: self.claims)
    @rule(
        pick=PICK,
        name=st.sampled_from(["input", "input", "paid", "sent"]),
        choices=st.sampled_from([None, [1, 2]]),
        default=st.sampled_from([None, 1]),
        soon=st.booleans(),
    )
    def a_run_asks_for_input_or_waits_for_an_event(
        self, pick: int, name: str, choices: list[Any] | None, default: Any, soon: bool
    ) -> None:
        if name == "input":
            self.ask_input(self.claim_of(pick), choices, default, soon=soon)
        else:
            self.await_event(self.claim_of(pick), name)

    def ask_input(self, claimed: Claimed, choices: list[Any] | None, default: Any, *, soon: bool) -> None:
        key = self.key("ask")
        demand = Demand(
            expires_ms=SOON_MS if soon else None,
            on_expiry=OnExpiry.REJECT if default is None else OnExpiry.DEFAULT,
        )
        q = ModelQuestion(
            run=self.model[claimed.run.id],
            id=ApprovalId(self.store.new_id()),
            key=key,
            group=key,
            type=ApprovalType.INPUT,
            demand=demand,
            expires_at=self.clock() + (demand.expires_ms or limits.EXPIRES_MS),
            choices=choices,
            default=default,
        )
        entry, ask = self.asking(q)
        if self.written(claimed, [entry], [ask]):
            self.opened(q)

    def await_event(self, claimed: Claimed, name: str) -> None:
        key = self.key("event")
        entry = NewEntry(
            type=EntryType.STEP_OPENED, at=self.clock(), phase=Phase.OPENING, key=key, kind=StepKind.EVENT, name=name,
            attempt=1,
        )  # fmt: skip
        if self.written(claimed, [entry], [Await(key, name, "k")]):
            self.model[claimed.run.id].waits[key] = (name, "k")

    @precondition(lambda self: any(self.model[c.run.id].waits for c in self.claims))
    @rule(pick=PICK, over=st.sampled_from([False, False, False, True]))
    def a_run_takes_an_event_or_waits_no_more(self, pick: int, over: bool) -> None:
        claimed = self.claim_of(pick)
        m = self.model[claimed.run.id]
        if not m.waits:
            return
        key = list(m.waits)[pick % len(m.waits)]
        wait = EventWait(*m.waits[key], m.run.created_at)
        found = self.do(awaited_verbs.oldest(self.house, m.run, wait, limit=1))
        expected = self.fitting(m, *m.waits[key])[:1]
        assert [e.id for e in found] == [e.id for e in expected]
        if not found and not over:
            return
        taken = None if over else found[0].id
        payload = encode(None if taken is None else taken.hex())
        if self.written(claimed, [step(key, payload=payload, kind=StepKind.EVENT)], [Stop(key, taken)]):
            del m.waits[key]
            if taken is not None:
                m.taken.add(taken)

    # -- parking and ending

    def parking(self, m: ModelRun) -> Park:
        """All that a run waits for; the row says it too, so that it can be checked on the database alone."""
        waits = sorted(m.waits.values())
        told = {"approvals": [q.id.hex() for q in m.asked], "events": waits}
        return Park(
            waiting_on=encode(told),
            wake_at=None,
            approvals=tuple(q.id for q in m.asked),
            events=tuple(EventWait(name, key, m.run.created_at) for name, key in waits),
        )

    def may_go_on(self, m: ModelRun) -> bool:
        return (
            m.cancel or any(self.over(q) for q in m.asked) or any(self.fitting(m, *wait) for wait in m.waits.values())
        )

    def parked(self, claimed: Claimed, appended: Appended) -> None:
        m = self.ours(claimed)
        assert appended.refused is (m is None)
        if m is None:
            assert not appended.open_again
            return
        assert appended.open_again is self.may_go_on(m)
        if appended.open_again:
            m.asked = [q for q in m.asked if not self.over(q)]
        else:
            m.status, m.worker, m.lapses = WAITING, None, 0

    @precondition(lambda self: any(self.waits_for_something(c) for c in self.claims))
    @rule(pick=PICK)
    def a_run_parks(self, pick: int) -> None:
        claimed = self.claim_of(pick)
        if self.waits_for_something(claimed):
            park = self.parking(self.model[claimed.run.id])
            self.parked(claimed, self.append(claimed, [said(EntryType.RUN_WAITING)], change=park))

    def waits_for_something(self, claimed: Claimed) -> bool:
        m = self.model[claimed.run.id]
        return bool(m.asked or m.waits)

    @precondition(lambda self: len(self.living()) > 1 and self.claims)
    @rule(pick=PICK, end=ENDS)
    def a_run_ends_or_goes_on(self, pick: int, end: RunStatus | None) -> None:
        """An end is rare: it needs a past."""
        claimed = self.claim_of(pick)
        if end is None and self.effects:
            self.a_call_goes_on(pick, pick, _E.UNKNOWN, soon=False, moves=2)
        elif end is RunStatus.CANCELLED:
            self.cancel(list(self.model.values())[-1 - pick % len(self.model)])
        elif end is not None:
            type = EntryType.RUN_SUCCEEDED if end is RunStatus.SUCCEEDED else EntryType.RUN_FAILED
            if self.written(claimed, [said(type)], [], Finish(end=End(status=end))):
                self.end(self.model[claimed.run.id], end)

    # -- what people say

    def question_of(self, number: int) -> ModelQuestion:
        """Mostly one that is open."""
        open_ = [q for q in self.questions.values() if q.pending]
        about_calls = [q for q in open_ if q.effect is not None]
        may = [*list(self.questions.values())[-2:], *open_, *(about_calls * 3)]
        return may[-1 - number % len(may)]

    def resolution(self, q: ModelQuestion, saying: str, stale: bool) -> Resolution:
        version = q.version - 1 if stale else None
        if saying == "reject":
            return Resolution(decision="reject", note="no", version=version)
        if q.type is ApprovalType.TOOL:
            edits = {"edit": {"n": 3 + q.version % 2}, "same": decode(q.arguments), "misfit": {"n": "x"}}
            if saying == "confused":
                return Resolution(decision="answer", answer=1, version=version)
            return Resolution(decision="approve", arguments=edits.get(saying), version=version)
        if saying == "confused":
            return Resolution(decision="approve", version=version)
        if q.type is ApprovalType.EFFECT:
            told = {"misfit": {"outcome": "perhaps"}, "approve": {"outcome": "committed"}}
            return Resolution(decision="answer", answer=told.get(saying, {"outcome": "not_done"}), version=version)
        return Resolution(decision="answer", answer="x" if saying == "misfit" else 2, version=version)

    def verdict(self, q: ModelQuestion, who: Principal, said: Resolution, saying: str) -> str:
        """`ok`, or the code of the refusal."""
        if q.status in (_A.APPROVED, _A.REJECTED, _A.ANSWERED):
            return "already_resolved"
        if q.status is _A.EXPIRED:
            return "expired"
        if q.run.status.ended:
            return "run_ended"
        if q.expires_at <= self.clock() and q.type is not ApprovalType.EFFECT:
            return "expired"
        if q.run.cancel:
            return "run_ended"
        if said.version is not None and said.version != q.version:
            return "version_conflict"
        if saying == "confused" or (saying == "reject" and q.type is ApprovalType.EFFECT):
            return "wrong_decision"
        if saying == "misfit":
            return "invalid_arguments" if q.type is ApprovalType.TOOL else "invalid_answer"
        if q.demand.four_eyes and who is INITIATOR and saying != "reject":  # who asked may take it back
            return "four_eyes"
        if q.demand.roles and who is BOB:
            return "role_missing"
        if any(d.who == who.id and not d.void for d in q.decisions):
            return "already_decided"
        return "ok"

    def heard(self, q: ModelQuestion, who: Principal, said: Resolution) -> None:
        """What follows from a word that counts."""
        q.version += 1
        edited = None if said.arguments is None else canonical(said.arguments)
        if edited is not None and edited != q.arguments:
            q.arguments = edited
            for d in q.decisions:
                d.void = True
        q.decisions.append(Said(who.id, said.decision))
        if said.decision == "reject":
            self.closed(q, _A.REJECTED)
        elif said.decision == "answer":
            q.answer = said.answer
            if q.type is ApprovalType.EFFECT:
                assert q.effect is not None
                self.resolved(q.effect, said.answer["outcome"], resumes=True)
            self.closed(q, _A.ANSWERED)
        elif sum(d.what == "approve" and not d.void for d in q.decisions) >= q.demand.quorum:
            self.closed(q, _A.APPROVED)

    def closed(self, q: ModelQuestion, status: ApprovalStatus) -> None:
        q.status = status
        q.usable_until = max(q.expires_at, self.clock() + limits.LEAVE_USABLE_MS)
        q.run.steps.append(q.key)
        if not self.group_open(q):
            self.wake(q.run)

    def resolved(self, e: ModelEffect, word: str, *, resumes: bool) -> None:
        assert e.status is _E.UNKNOWN
        if word == "committed":
            e.status = _E.COMMITTED
        elif resumes:
            e.status, e.rotation = _E.PLANNED, e.rotation + 1
        else:
            e.status = _E.FAILED
            self.free(e)

    def told(self, work: Coroutine[Any, Any, Any]) -> str:
        return self.do(_code_of(work))

    @precondition(lambda self: self.questions)
    @rule(pick=PICK, by=NAMES, saying=SAYINGS, stale=st.sampled_from([False] * 7 + [True]))
    def somebody_answers(self, pick: int, by: str, saying: str, stale: bool) -> None:
        """Before the run parks or after, in time or not, for the first time or again."""
        q, who = self.question_of(pick), PEOPLE[by]
        said = self.resolution(q, saying, stale)
        expected = "forbidden" if who is NOBODY else self.verdict(q, who, said, saying)
        assert self.told(approval_verbs.resolve(self.house, who, q.id, said)) == expected
        if expected == "ok":
            self.heard(q, who, said)

    @precondition(lambda self: any(q.pending for q in self.questions.values()))
    @rule(pick=PICK, saying=st.sampled_from(["approve", "approve", "edit", "reject"]))
    def several_answer_at_once(self, pick: int, saying: str) -> None:
        """In whatever order they come, and both may decide alike: where the question stands then is always the same."""
        q = self.question_of(pick)
        people = [CAROL, DAVE]
        if any(d.who in (CAROL.id, DAVE.id) for d in q.decisions):
            return
        said = self.resolution(q, saying, stale=False)

        async def body() -> list[str]:
            return await asyncio.gather(*(_code_of(approval_verbs.resolve(self.house, p, q.id, said)) for p in people))

        told = list(zip(people, self.do(body()), strict=True))
        if [code for _, code in told] == ["ok", "ok"]:
            stored = self.do(self.store.read(lambda tx: approvals.get(tx, TENANT, q.id)))
            told.sort(key=lambda t: [d.principal_id for d in stored.decisions][-2:].index(t[0].id))
        else:  # who heard what is true of the question as it was came first
            told.sort(key=lambda t: t[1] != self.verdict(q, t[0], said, saying))
        for who, code in told:
            expected = self.verdict(q, who, said, saying)
            assert code == expected
            if expected == "ok":
                self.heard(q, who, said)

    @precondition(lambda self: any(q.pending and q.run.status is RUNNING for q in self.questions.values()))
    @rule(pick=PICK, saying=SAYINGS)
    def somebody_answers_while_the_run_parks(self, pick: int, saying: str) -> None:
        """Whoever comes first: the park is refused, or the answer wakes the run. Where the park was refused for the
        answer its owner lets go of the run, so that both orders end alike."""
        may = [q for q in self.questions.values() if q.pending and q.run.status is RUNNING]
        q = may[pick % len(may)]
        claimed = next(c for c in self.claims if self.ours(c) is q.run)
        said_ = self.resolution(q, saying, stale=False)
        park = self.parking(q.run)

        async def body() -> tuple[str, Appended]:
            return await asyncio.gather(
                _code_of(approval_verbs.resolve(self.house, CAROL, q.id, said_)),
                self.appending(claimed, [said(EntryType.RUN_WAITING)], change=park),
            )

        code, appended = self.do(body())
        assert code == self.verdict(q, CAROL, said_, saying)
        parked_first = not self.may_go_on(q.run) and not appended.open_again
        if parked_first:
            self.parked(claimed, appended)
        if code == "ok":
            self.heard(q, CAROL, said_)
        if not parked_first:
            freed = appended.open_again and not q.run.cancel and self.over(q)
            self.parked(claimed, appended)
            if freed and self.written(claimed, [said(EntryType.RUN_QUEUED)], [], Release()):
                self.queue(q.run, self.clock())
        q.run.asked = [other for other in q.run.asked if other.pending]

    @precondition(lambda self: self.effects)
    @rule(pick=PICK, by=NAMES, word=st.sampled_from(["committed", "not_done"]))
    def somebody_says_what_became_of_an_effect(self, pick: int, by: str, word: Any) -> None:
        unknown = [e for e in self.effects.values() if e.status is _E.UNKNOWN]
        may = [*list(self.effects.values())[-3:], *(unknown * 3)]
        e, who = may[-1 - pick % len(may)], PEOPLE[by]
        q = next(
            (q for q in self.questions.values() if q.pending and q.effect is e and q.type is ApprovalType.EFFECT), None
        )
        said = Resolution(decision="answer", answer={"outcome": word, "result": None})
        if who is NOBODY:
            expected = "forbidden"
        elif e.status is not _E.UNKNOWN:
            expected = "already_resolved"
        else:
            expected = "ok" if q is None else self.verdict(q, who, said, "answer")
        assert self.told(effect_verbs.resolve(self.house, who, e.id, word)) == expected
        if expected == "ok" and q is not None:
            self.heard(q, who, said)
        elif expected == "ok":
            assert e.run.status.ended, "while a run lives, what it does not know is asked"
            self.resolved(e, word, resumes=False)

    @precondition(lambda self: self.model)
    @rule(by=NAMES, name=EVENT_NAMES, data=st.integers(1, 2), external_id=st.sampled_from([None, None, None, "x", "y"]))
    def somebody_sends_an_event(self, by: str, name: str, data: int, external_id: str | None) -> None:
        who = PEOPLE[by]
        new = NewEvent(name=name, key="k", data=data, external_id=external_id)
        known = next((e for e in self.events.values() if external_id and e.external_id == external_id), None)
        same = known is not None and (known.name, known.data) == (name, data)
        if who is NOBODY or (known is not None and not same):
            expected = "forbidden" if who is NOBODY else "event_conflict"
            assert self.told(awaited_verbs.send(self.house, who, new)) == expected
            return
        sent = self.do(awaited_verbs.send(self.house, who, new))
        assert sent.replayed is same
        if known is not None:
            assert sent.event.id == known.id
            return
        self.events[sent.event.id] = ModelEvent(sent.event.id, external_id, name, "k", data, self.clock())
        for m in self.model.values():
            if (name, "k") in m.waits.values():
                self.wake(m)

    @precondition(lambda self: any(q.pending and q.expires_at <= self.clock() for q in self.questions.values()))
    @rule()
    def questions_expire(self) -> None:
        due = [q for q in self.questions.values() if q.pending and q.expires_at <= self.clock()]
        assert self.do(approval_verbs.expire_due(self.house)) == len(due)
        for q in sorted(due, key=lambda q: q.expires_at):
            self.expire(q)
        for m in {q.run.run.id: q.run for q in due}.values():
            self.settle_order(m, {q.key for q in due if not q.pending})

    def expire(self, q: ModelQuestion) -> None:
        q.version += 1
        if q.type is ApprovalType.EFFECT:
            q.expires_at = self.clock() + limits.EXPIRES_MS_MAX
            return
        match q.demand.on_expiry:
            case OnExpiry.REJECT:
                self.closed(q, _A.EXPIRED)
            case OnExpiry.APPROVE:
                q.decisions.append(Said(None, "approve"))
                self.closed(q, _A.APPROVED)
            case OnExpiry.DEFAULT:
                q.answer = q.default
                self.closed(q, _A.ANSWERED)
            case OnExpiry.ESCALATE:
                q.escalated = True
                q.expires_at = self.clock() + SOON_MS
                q.demand = replace(
                    q.demand, roles=(q.demand.escalate_to,), on_expiry=OnExpiry.REJECT, escalate_to=frozenset()
                )

    def settle_order(self, m: ModelRun, at_once: set[str]) -> None:
        """Questions that expire in one round do so in any order: take the one they got."""
        journal = self.do(self.store.journal(m.run))
        order = [e.key for e in journal if e.phase is Phase.RESULT]
        places = [n for n, key in enumerate(m.steps) if key in at_once]
        for place, key in zip(places, [k for k in order if k in at_once], strict=True):
            m.steps[place] = key

    # -- what must hold after every move

    @invariant()
    def the_database_is_as_the_model_says_and_keeps_its_promises(self) -> None:
        seen = self.do(self.store.read(self._see))
        self._compare_runs(seen)
        self._compare_effects(seen)
        self._compare_questions(seen)
        self._keeps_promises(seen)
        if self.before is not None:
            self._moved_rightly(self.before, seen)
        self.before = seen

    async def _see(self, tx: Tx) -> Seen:
        found: dict[RunId, Run] = {}
        owned: dict[RunId, Head] = {}
        journals: dict[RunId, list[Entry]] = {}
        ready: set[RunId] = set()
        for run_id in self.model:
            run, head = await runs.get(tx, TENANT, run_id), await heads.get(tx, TENANT, run_id)
            assert run is not None
            assert head is not None
            found[run_id], owned[run_id] = run, head
            last = self.before
            unchanged = last is not None and run_id in last.heads and last.heads[run_id].pos == head.pos
            journals[run_id] = last.journals[run_id] if unchanged and last else await lineage.load(tx, TENANT, run_id)
            if run.status is WAITING and await self._is_ready(tx, run):
                ready.add(run_id)
        keys, used, waited = schema.business_keys.c, schema.event_uses.c, schema.event_waits.c
        arrived = schema.awaited_events.c
        return Seen(
            runs=found,
            heads=owned,
            journals=journals,
            effects={e.id: e for e in await effects.page(tx, TENANT, EffectFilter(limit=1_000))},
            questions={a.id: a for a in await approvals.page(tx, TENANT, ApprovalFilter(limit=1_000))},
            holders={
                (row[0], row[1]): (row[2], row[3])
                for row in await tx.all(select(keys.tool, keys.business_key, keys.effect_id, keys.expires_at))
            },
            waits={tuple(r) for r in await tx.all(select(waited.run_id, waited.step_key, waited.name, waited.key))},  # pyright: ignore
            uses={(row[0], row[1]) for row in await tx.all(select(used.run_id, used.event_id))},
            events={
                row[0]: (row[1], row[2], row[3])
                for row in await tx.all(select(arrived.id, arrived.name, arrived.key, arrived.created_at))
            },
            ready=ready,
        )

    async def _is_ready(self, tx: Tx, run: Run) -> bool:
        told: Any = decode(run.waiting_on)
        ids = [ApprovalId(bytes.fromhex(id)) for id in told["approvals"]]
        waits = [EventWait(name, key, run.created_at) for name, key in told["events"]]
        return bool(await approvals.closed_among(tx, TENANT, ids)) or await awaited.any_arrived(
            tx, TENANT, run.id, waits
        )

    def _compare_runs(self, seen: Seen) -> None:
        for run_id, m in self.model.items():
            run, head, journal = seen.runs[run_id], seen.heads[run_id], seen.journals[run_id]
            assert run.status is m.status
            assert (head.owner, head.epoch, head.lapses) == (m.worker, m.epoch, m.lapses)
            assert run.claimable_at == (m.due if m.status is QUEUED else None)
            assert (run.cancel_requested_at is not None) is (m.cancel or m.status is RunStatus.CANCELLED)
            assert_dense(journal, head)
            assert [e.key for e in journal if e.phase is Phase.RESULT] == m.steps
            assert {(run_id, k, *w) for k, w in m.waits.items()} == {w for w in seen.waits if w[0] == run_id}
            assert m.taken == {event for taker, event in seen.uses if taker == run_id}
        assert seen.events == {e.id: (e.name, e.key, e.at) for e in self.events.values()}

    def _compare_effects(self, seen: Seen) -> None:
        assert seen.effects.keys() == self.effects.keys()
        for id, e in self.effects.items():
            row = seen.effects[id]
            assert (row.status, row.rotation, row.attempt) == (e.status, e.rotation, e.attempt)
            assert (row.arguments, row.arguments_hash) == (e.arguments, hash_of(e.arguments))
            assert (row.business_key, row.duplicate_of) == (e.business, e.duplicate_of)
            assert row.idempotency_key == idempotency_key(TENANT, e.run.run.id, e.key, e.rotation)
        assert seen.holders == self.holders

    def _compare_questions(self, seen: Seen) -> None:
        assert seen.questions.keys() == self.questions.keys()
        for id, q in self.questions.items():
            row = seen.questions[id]
            assert (row.status, row.version, row.escalated) == (q.status, q.version, q.escalated)
            assert (row.demand, row.expires_at, row.arguments) == (q.demand, q.expires_at, q.arguments)
            assert row.arguments_hash == (None if q.arguments is None else hash_of(q.arguments))
            assert [(d.principal_id, d.decision, d.void) for d in row.decisions] == [
                (d.who, DecisionKind(d.what), d.void) for d in q.decisions
            ]
            assert decode(row.answer) == q.answer
            assert (row.usable_until, row.used_at) == (q.usable_until, q.used_at)

    def _keeps_promises(self, seen: Seen) -> None:
        """What holds of the rows by themselves."""
        assert not seen.ready, "a run waits, and what it waits for is there"
        for e in seen.effects.values():
            ended = seen.runs[e.run_id].status.ended
            assert not ended or e.status not in (_E.PLANNED, _E.STARTED), "an ended run has nothing under way"
        for q in seen.questions.values():
            assert q.status.closed or not seen.runs[q.run_id].status.ended, "an ended run asks nothing"
            self._is_decided_once(q, seen.journals[q.run_id])
        for (tool, business), (holder, _) in seen.holders.items():
            e = seen.effects[holder]
            assert (e.tool, e.business_key) == (tool, business)
            assert e.status in (_E.PLANNED, _E.STARTED, _E.UNKNOWN, _E.COMMITTED), "it was freed by failure"
        acted = Counter(
            (e.tool, e.business_key)
            for e in seen.effects.values()
            if e.business_key == LASTING and e.status in (_E.STARTED, _E.UNKNOWN, _E.COMMITTED)
        )
        assert all(count == 1 for count in acted.values()), "a business key was acted on twice"
        for run_id, journal in seen.journals.items():
            taken = [decode(e.payload) for e in journal if e.kind is StepKind.EVENT and e.phase is Phase.RESULT]
            took = [id for id in taken if id is not None]
            assert len(took) == len(set(took)), "a run takes an event once"
            assert {(run_id, EventId(bytes.fromhex(id))) for id in took} == {u for u in seen.uses if u[0] == run_id}
        assert all(len(used) == 1 for used in self.leaves_used.values()), "leave is used by one effect"

    def _is_decided_once(self, q: Approval, journal: Sequence[Entry]) -> None:
        standing = [d for d in q.decisions if not d.void]
        approving = [d for d in standing if d.decision is DecisionKind.APPROVE]
        others = [d for d in standing if d.decision is not DecisionKind.APPROVE]
        results = [e for e in journal if e.key == q.key and e.phase is Phase.RESULT]
        assert len(results) == (q.status.closed and q.status is not _A.CANCELLED), "a question has one answer"
        if q.status is _A.APPROVED:
            by_expiry = standing[-1].principal_id is None
            assert by_expiry or len(approving) == q.demand.quorum
            assert all(d.arguments_hash == q.arguments_hash for d in approving), "a decision binds to its arguments"
            assert not others
        elif q.status in (_A.REJECTED, _A.ANSWERED) and standing:
            assert others == standing[-1:]
        else:
            assert not others
        assert len({d.principal_id for d in standing}) == len(standing), "nobody decides twice"
        if q.demand.four_eyes:
            assert INITIATOR.id not in {d.principal_id for d in q.decisions if d.decision is not DecisionKind.REJECT}

    def _moved_rightly(self, before: Seen, now: Seen) -> None:
        """What holds of every step from one state of the rows to the next."""
        for id, e in now.effects.items():
            was = before.effects.get(id)
            if was is None or was.status is e.status:
                continue
            assert may_become(was.status, e.status)
            if e.status is _E.STARTED:
                self._started_rightly(e, before, now)
        for id, q in now.questions.items():
            was_asked = before.questions.get(id)
            if was_asked is None:
                continue
            if was_asked.status.closed:
                used = q.used_at if was_asked.used_at is None else was_asked.used_at
                assert q == replace(was_asked, used_at=used), "what was decided stays"
            else:
                assert q.version >= was_asked.version
                assert q == was_asked or q.version > was_asked.version, "a change raises the version"
        assert before.uses <= now.uses

    def _started_rightly(self, e: Effect, before: Seen, now: Seen) -> None:
        head, run = before.heads[e.run_id], before.runs[e.run_id]
        assert head.owner is not None
        assert e.epoch == head.epoch, "it was started by another than the owner"
        assert not head.cancel
        assert run.cancel_requested_at is None
        self.starts[e.id, e.rotation] += 1
        assert self.starts[e.id, e.rotation] == 1, "a key was used twice"
        if self.effects[e.id].demand is not None:
            given = [q for q in now.questions.values() if q.effect_id == e.id and q.status is _A.APPROVED]
            fits = [q for q in given if q.arguments_hash == e.arguments_hash and q.used_at is not None]
            assert fits, "it was started without leave for these arguments"


async def _code_of(work: Coroutine[Any, Any, Any]) -> str:
    """`ok`, or the code of the refusal."""
    try:
        await work
    except HoldfastError as exc:
        return exc.code
    return "ok"


@pytest.mark.timeout(120 * EFFORT)
def test_holds_keep_to_the_model_on_sqlite(sqlite_template: Path) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "machine.db")

        class OnSqlite(HoldsMachine):
            def fresh(self, determinism: Determinism) -> Database:
                for old in Path(directory).glob("machine.db*"):
                    old.unlink()
                shutil.copyfile(sqlite_template, path)
                return databases.connect(f"sqlite:///{path}", determinism=determinism)

        run_state_machine_as_test(OnSqlite, settings=settings(max_examples=15 * EFFORT, stateful_step_count=80))


@pytest.mark.postgres
@pytest.mark.timeout(120 * EFFORT)
def test_holds_keep_to_the_model_on_postgresql(postgres_url: str) -> None:
    class OnPostgres(HoldsMachine):
        def fresh(self, determinism: Determinism) -> Database:
            self.do(databases.empty_postgres(postgres_url))
            return databases.connect(postgres_url, determinism=determinism, pool=3)

    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=5 * EFFORT, stateful_step_count=60))
