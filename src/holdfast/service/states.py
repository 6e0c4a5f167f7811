"""Published state, and where a run stood at a step: views of the journal, made of no more of it than they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from holdfast.domain import access, limits, moments
from holdfast.domain.access import Principal, Scope
from holdfast.domain.agents import AgentKind
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Invalid, NotFound
from holdfast.domain.ids import DEFAULT_TENANT, RunId, ThreadId
from holdfast.domain.journal import Entry, StepKind, StepStatus
from holdfast.domain.messages import Part, calls_of, transfer_target
from holdfast.domain.moments import Moment, Payload, StepsOfName
from holdfast.domain.runs import Run, RunStatus, RunView
from holdfast.domain.states import Document, Published
from holdfast.domain.threads import Message
from holdfast.service import runs as run_verbs
from holdfast.service.house import House
from holdfast.store import agents, lineage, messages, states, threads, timeline
from holdfast.store.base import Tx
from holdfast.store.timeline import Known, Piece

MESSAGES: Final = limits.PAGE_SIZE
NAMES: Final = limits.PAGE_SIZE_MAX
_OUTPUT_TOOL: Final = "final_result"


async def before(house: House, run: Run) -> Document:
    """The thread's state as a run found it when it began."""

    async def body(tx: Tx) -> Document:
        return (await states.before(tx, run)).document

    return await house.database.read(run.tenant_id, body)


async def of_thread(house: House, principal: Principal, thread_id: ThreadId) -> Published:
    """A thread's published state as it stands. Raises `NotFound`."""
    access.demand(principal, Scope.THREADS_READ)

    async def body(tx: Tx) -> Published:
        thread = await threads.get(tx, principal.tenant_id, thread_id)
        if thread is None or thread.archived:
            raise NotFound("There is no thread with this id.", code="thread_not_found")
        return await states.of_thread(tx, principal.tenant_id, thread_id)

    return await house.database.read(principal.tenant_id, body)


# -- a run at a step --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class At:
    """A run's journal up to the moment of its step `at`; `end` is the `pos` of the last entry that belongs to it."""

    view: RunView
    at: int
    end: int
    pieces: Sequence[Piece]
    moment: Moment

    @property
    def run(self) -> Run:
        return self.view.run

    def writer(self, pos: int) -> RunId:
        return timeline.writer_of(self.pieces, pos)


async def read_at(tx: Tx, view: RunView, at: int | None, known: Known | None = None) -> At:
    """The one way to a run's past: all that looks at a step goes through here, forks and their pieces included.

    `view` says how far the journal goes, `known` what was read of it for another look. Raises `Invalid` (`invalid_at`).
    """
    chosen = view.seq if at is None else at
    if not 0 <= chosen <= view.seq:
        raise Invalid(f"The run has {view.seq} steps: at is a number from 0 to {view.seq}.", code="invalid_at")
    end = await timeline.end_of(tx, view.run, chosen, last_seq=view.seq, last_pos=view.pos)
    pieces = await timeline.upto(tx, view.run, end, known)
    of_own = pieces[-1].entries if pieces[-1].run_id == view.run.id else []
    shared = [piece.entries for piece in pieces if piece.run_id != view.run.id]
    return At(view, chosen, end, pieces, await tx.compute(moments.at, [*shared, of_own]))


@dataclass(frozen=True, slots=True)
class Talk:
    """The last messages of a run up to a moment. `total` counts all; `earlier` is the position before which the page
    before these ends, None if these begin with the first."""

    shown: Sequence[Message]
    total: int
    earlier: int | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A call of the last answer without a result: `planned`, `asked` (somebody has to answer first) or `started`."""

    key: str
    call: Part
    status: str


@dataclass(frozen=True, slots=True)
class StateView:
    """Where a run stood. `talk` and `pending` are there for agents, `steps` for workflows; `steps_more` names of steps
    are not shown."""

    at: At
    kind: AgentKind
    acting_agent: str
    published: Published
    questions: Sequence[tuple[Entry, Payload]]
    output: bytes | None
    talk: Talk | None = None
    pending: Sequence[Pending] = ()
    steps: Sequence[tuple[StepsOfName, Payload]] = ()
    steps_more: int = 0


async def at_step(
    house: House, principal: Principal, run_id: RunId, at: int | None, *, before_message: int | None = None
) -> StateView:
    """Where a run stood at its step `at` (the last one by default); of its messages those before a position.

    Raises `NotFound`, `Invalid` (`invalid_at`).
    """
    view = await run_verbs.get(house, principal, run_id)

    async def body(tx: Tx) -> StateView:
        here = await read_at(tx, view, at)
        kind = await _kind(tx, here)
        seen = StateView(
            here,
            kind,
            await _acting_agent(tx, here),
            await states.upto(tx, view.run, here.end),
            await _with_payloads(tx, here, here.moment.questions, limits.PAYLOAD_INLINE_BYTES_MAX),
            view.output if here.moment.status is RunStatus.SUCCEEDED else None,
        )
        return await (_of_agent(tx, seen, before_message) if kind is AgentKind.NATIVE else _of_workflow(tx, seen))

    return await house.database.read(principal.tenant_id, body)


async def _kind(tx: Tx, here: At) -> AgentKind:
    """What the run's agent is. Of one that nobody registered here, its run was imported, the steps tell."""
    record = await agents.get(tx, DEFAULT_TENANT, here.run.agent)
    if record is not None:
        return record.kind
    answered = any(step.kind is StepKind.MODEL for step in here.moment.steps)
    return AgentKind.NATIVE if answered else AgentKind.WORKFLOW


async def _acting_agent(tx: Tx, here: At) -> str:
    step = here.moment.acting_agent_step
    if step is None:
        return here.run.agent
    payload = await timeline.payload(tx, here.run.tenant_id, here.writer(step.pos), step.pos)
    return transfer_target(payload) or here.run.acting_agent


async def _with_payloads(tx: Tx, here: At, entries: Sequence[Entry], bytes_max: int) -> list[tuple[Entry, Payload]]:
    found = await payloads_of(tx, here, [entry.pos for entry in entries], bytes_max)
    return [(entry, found[entry.pos]) for entry in entries]


async def payloads_of(tx: Tx, here: At, positions: Sequence[int], bytes_max: int) -> Mapping[int, Payload]:
    """What these entries recorded, each at most `bytes_max` bytes, whoever wrote them."""
    found: dict[int, Payload] = {}
    for writer in {here.writer(pos) for pos in positions}:
        theirs = [pos for pos in positions if here.writer(pos) == writer]
        found |= await timeline.payloads(tx, here.run.tenant_id, writer, theirs, bytes_max)
    return found


# -- agents -----------------------------------------------------------------------------------------------------------


async def positions_of(tx: Tx, here: At) -> dict[int, int]:
    """Where the run's messages up to this moment stand in its thread: `pos` → `position`, in order."""
    run = here.run
    found = await messages.positions_of_run(tx, run.tenant_id, run.thread_id, run.id)
    if run.input_run is not None:
        pieces = await lineage.of_run(tx, run.tenant_id, run.id)
        found = {**await lineage.prefix_positions(tx, run.tenant_id, pieces), **found}
    return await tx.compute(_in_order, found, here.end)


def _in_order(found: Mapping[int, int], end: int) -> dict[int, int]:
    return {pos: place for pos, place in sorted(found.items(), key=lambda item: item[1]) if pos <= end}


async def messages_at(tx: Tx, run: Run, places: Sequence[int]) -> list[Message]:
    """The messages at these positions of the run's thread, which are in order."""
    if not places:
        return []
    pieces = await lineage.pieces_of(tx, run)
    first, last = places[0], places[-1]
    page = await messages.page(tx, run.tenant_id, run.thread_id, first - 1, last - first + 1, pieces)
    wanted = frozenset(places)
    return [message for message in page if message.position in wanted]


async def _of_agent(tx: Tx, seen: StateView, before_message: int | None) -> StateView:
    here = seen.at
    positions = await positions_of(tx, here)
    places = [p for p in positions.values() if before_message is None or p < before_message]
    shown = await messages_at(tx, here.run, places[-MESSAGES:])
    earlier = places[-MESSAGES] if len(places) > MESSAGES else None
    return StateView(
        here,
        seen.kind,
        seen.acting_agent,
        seen.published,
        seen.questions,
        seen.output,
        talk=Talk(shown, len(positions), earlier),
        pending=await _pending(tx, here, positions),
    )


async def _pending(tx: Tx, here: At, positions: Mapping[int, int]) -> list[Pending]:
    """Calls of the last answer that have no result yet. What gives the output is no call."""
    answers = (e for e in reversed(here.moment.steps) if e.kind is StepKind.MODEL and e.pos in positions)
    answer = next(answers, None)
    if answer is None or here.moment.status.ended or answer.status is StepStatus.FAILED:
        return []
    payload = await timeline.payload(tx, here.run.tenant_id, here.writer(answer.pos), answer.pos)
    found = [(f"{answer.key}/{n}", call) for n, call in enumerate(calls_of(payload))]
    return [
        Pending(key, call, _standing(here.moment, key))
        for key, call in found
        if key not in here.moment.journal.results and not str(call["name"]).startswith(_OUTPUT_TOOL)
    ]


def _standing(moment: Moment, key: str) -> str:
    if any((question.key or "").startswith(f"{key}/") or question.key == key for question in moment.questions):
        return "asked"
    return "started" if any(opened.key == key for opened in moment.open) else "planned"


# -- workflows --------------------------------------------------------------------------------------------------------


async def _of_workflow(tx: Tx, seen: StateView) -> StateView:
    here = seen.at
    gathered = await tx.compute(moments.by_name, here.moment.steps)
    shown = gathered[:NAMES]
    last = await payloads_of(tx, here, [steps.last.pos for steps in shown], limits.STATE_OUTPUT_BYTES_MAX)
    return StateView(
        here,
        seen.kind,
        seen.acting_agent,
        seen.published,
        seen.questions,
        seen.output,
        steps=[(steps, last[steps.last.pos]) for steps in shown],
        steps_more=len(gathered) - len(shown),
    )


def question(payload: Payload) -> dict[str, Any]:
    """What an opened question says."""
    return decode(payload.data) or {}
