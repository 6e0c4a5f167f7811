"""Forks: a new run that begins in the middle of another one, on a branch of its thread. One transaction, whose cost
depends on how deep forks are nested, never on how long the run is; the parent is only read.

`at` is a step of the parent. Kept are the steps up to it; or those before it, and then that step with another result
(`output`, `answer`), or that step anew (`rerun`, `instructions`, `model`), or nothing at all but the thread before the
run, and then another input (`message`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.agents import json_schema, models
from holdfast.agents.base import Agent
from holdfast.agents.native import edits as native
from holdfast.agents.native import prompt as prompts
from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.approvals import ApprovalStatus, ApprovalType, may_decide
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Conflict, DefinitionError, Invalid, ModelFault, Refused
from holdfast.domain.forks import (
    EffectPolicy,
    Fresh,
    Override,
    Overrides,
    Reads,
    Repeat,
    demand_editable,
    drawn,
    overridden,
    overrides_json,
    overrides_of,
    policy_json,
    policy_of,
)
from holdfast.domain.ids import APPROVAL, RUN, ApprovalId, MessageId, RunId, ThreadId, derived, is_sandbox, parse, text
from holdfast.domain.journal import (
    Entry,
    EntryType,
    Located,
    NewBlob,
    NewEntry,
    NewMessage,
    Phase,
    StepKind,
    StepStatus,
)
from holdfast.domain.messages import is_of_conversation
from holdfast.domain.runs import NO_USAGE, Run, RunLimits, RunStatus, Undo
from holdfast.domain.threads import BranchOf, Role, ThreadStatus
from holdfast.service import approvals as approval_verbs
from holdfast.service import runs as run_verbs
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.service.runs import Started
from holdfast.store import agents as agent_rows
from holdfast.store import approvals, effects, entries, heads, lineage, messages, runs, threads
from holdfast.store.base import Tx
from holdfast.store.heads import Head
from holdfast.store.lineage import RunPiece
from holdfast.store.messages import ThreadPiece

_NOTHING: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What is different in a fork. `output` and `answer` are JSON values; what is not given is `ABSENT`."""

    output: Any = _NOTHING
    answer: Any = _NOTHING
    message: Any = _NOTHING
    instructions: str | None = None
    model: str | None = None

    @property
    def result(self) -> str | None:
        """Which result of the step is another one."""
        return "output" if self.output is not _NOTHING else "answer" if self.answer is not _NOTHING else None

    @property
    def changed_record(self) -> str | None:
        """What was recorded and is to be something else: `message`, which is the input, or a step's result."""
        return "message" if self.message is not _NOTHING else self.result

    @property
    def overrides(self) -> Overrides:
        return Overrides(self.instructions, self.model)


ABSENT = _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRun:
    """What a fork is asked to be. `limits` and `metadata` are the parent's unless given. `new` is `ask`, and of an
    imported run `simulate`, unless given. `through`: a branch that shows the step, whose own thread may be deleted.
    `overrides`: those of a run that is made again, all from the first step on. `recorded`: plain steps hold to the
    record too, as in a fork of an imported run."""

    run_id: RunId
    at: int
    edits: Edits = field(default_factory=Edits)
    rerun: bool = False
    repeat: Repeat = Repeat.REUSE
    new: Fresh | None = None
    reads: Reads = Reads.EXECUTE
    limits: RunLimits | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    through: ThreadId | None = None
    overrides: bytes | None = None
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where a fork leaves its parent. `kept`: the last step it keeps; `input`: the run whose input it keeps, or None;
    `branch`: what its thread reads; `anew`: the step that it makes in its own way; `edited`: the same if it records it
    with another result."""

    parent: Run
    kept: int
    pieces: tuple[RunPiece, ...]
    branch: tuple[ThreadPiece, ...]
    input: RunId | None
    anew: Entry | None = None
    edited: Entry | None = None

    @property
    def pos(self) -> int:
        return self.pieces[-1].pos if self.pieces else 0

    def overrides(self) -> tuple[Override, ...]:
        """What holds of the parent's: also for a step made anew, what it was made with."""
        upto = self.pos if self.anew is None else self.anew.pos
        held = [one for one in overrides_of(self.parent.overrides) if one.since <= upto]
        return tuple(Override(min(one.since, self.pos + 1), one.said) for one in held)


async def fork(house: House, principal: Principal, ask: ForkRun, key: Key | None = None) -> Started:
    """Insert a run that goes on from a step of another one; durable when this returns.

    Raises `NotFound` (`run_not_found`, `agent_not_found`), `Invalid` (`invalid_at`, `edit_not_possible`,
    `invalid_input`, `invalid_answer`), `Conflict` (`agent_disabled`, `not_started`, `imported`, `fork_depth`,
    `idempotency_conflict`), `Refused` (an answer that the principal may not give). Safe to repeat with a key.
    """
    access.demand(principal, Scope.RUNS_WRITE)
    _demand_one_way(ask)
    if ask.edits.model is not None:
        await asyncio.to_thread(demand_model, ask.edits.model)
    tenant_id = principal.tenant_id
    run_id = RunId(house.determinism.new_id())
    made: Run | None = None

    async def body(tx: Tx) -> Replay | None:
        nonlocal made
        made = None
        replay = await once(tx, tenant_id, key, 201, run_id)
        if replay is None:
            made = await insert(tx, house, principal, ask, run_id)
        return replay

    replay = await house.database.write(tenant_id, body)
    try:
        view = await run_verbs.look(house, tenant_id, run_id if replay is None else RunId(replay.resource))
    finally:
        if made is not None:
            announce(house, made)  # last, so that who follows the run from here on hears its first word
    return Started(view) if replay is None else Started(view, replayed=True, status=replay.status)


async def insert(tx: Tx, house: House, principal: Principal, ask: ForkRun, run_id: RunId) -> Run:
    """The same within a transaction, for a fork whose edits can be made; to be announced after it."""
    parent, head = await _parent(tx, principal, ask)
    agent = house.agent(parent.agent)
    await _demand_enabled(tx, principal, parent.agent)
    cut = await _cut(tx, parent, head, ask, agent)
    return await _insert(tx, house, principal, ask, agent, cut, run_id)


def announce(house: House, made: Run) -> None:
    house.run_changed(made.tenant_id, made.id, RunStatus.QUEUED)
    house.thread_changed(made.tenant_id, made.thread_id, ThreadStatus.BUSY.value)
    house.hub.work(made.agent)


def demand_model(name: str) -> None:
    """`Invalid` unless there is such a model. In a thread: the first model of a provider brings the provider's SDK,
    which takes a second."""
    try:
        models.resolve(name)
    except (DefinitionError, ModelFault) as exc:
        said = f"This model cannot be asked: {exc.message}"
        raise Invalid(said, code="edit_not_possible", field=("edits", "model")) from exc


def _demand_one_way(ask: ForkRun) -> None:
    """One step can be kept with another result or run again, not both."""
    edits = ask.edits
    anew = ask.rerun or edits.instructions is not None or edits.model is not None
    ways = [edits.output is not _NOTHING, edits.answer is not _NOTHING, edits.message is not _NOTHING, anew]
    if edits.message is not _NOTHING:
        ways[-1] = ask.rerun  # another input may come with other instructions
    if sum(ways) > 1:
        raise Invalid(
            "A fork has one of: output, answer, message, or the step anew (rerun, instructions, model).",
            code="edit_not_possible",
            field=("edits",),
        )
    if ask.at < 0:
        raise Invalid(f"at is a step's seq, from 0 (before the first), not {ask.at}.", code="invalid_at")
    if edits.message is not _NOTHING and ask.at > 1:
        said = "message replaces the run's input, so no step of it can be kept: fork at 0."
        raise Invalid(said, code="edit_not_possible", field=("edits", "message"))
    if (edits.result or anew) and ask.at == 0:
        raise Invalid("There is no step 0 to edit or to run again: the first is 1.", code="invalid_at")


async def _parent(tx: Tx, principal: Principal, ask: ForkRun) -> tuple[Run, Head]:
    run = await _standing(tx, principal, ask)
    head = await heads.get(tx, run.tenant_id, run.id)
    assert head is not None, "a run has a head"
    if run.input_position is None:
        raise Conflict("The run has not started: there is nothing to fork yet.", code="not_started")
    if _began_elsewhere(run) and (ask.repeat is Repeat.EXECUTE or ask.new in (Fresh.EXECUTE, Fresh.ASK)):
        said = "The run was imported, or goes on from one that was: a fork of it only simulates or denies effects."
        raise Conflict(said, code="imported")
    if ask.at > head.seq:
        raise Invalid(f"The run has {head.seq} steps: at is 0 to {head.seq}, not {ask.at}.", code="invalid_at")
    return run, head


def _began_elsewhere(run: Run) -> bool:
    """Whether it was imported, or is a fork of such a run, or was called by one. A sandbox tenant is there to make what
    was recorded elsewhere once more."""
    if is_sandbox(run.tenant_id):
        return False
    policy = policy_of(run.effect_policy)
    return run.imported or (policy is not None and policy.imported)


async def _standing(tx: Tx, principal: Principal, ask: ForkRun) -> Run:
    """The parent, whose thread is not deleted before the fork reads it; what that reads of others is kept with it."""
    tenant_id = principal.tenant_id
    run = await runs.get(tx, tenant_id, ask.run_id)
    if run is None:
        raise run_verbs.unknown()
    shown_in = ask.through or run.thread_id
    for thread_id in sorted({run.thread_id, shown_in}):
        thread = await threads.share(tx, tenant_id, thread_id)
        if thread is None or (thread.archived and thread_id == shown_in):
            raise run_verbs.unknown()
    return run


async def _demand_enabled(tx: Tx, principal: Principal, agent: str) -> None:
    record = await agent_rows.get(tx, principal.tenant_id, agent)
    if record is not None and not record.enabled:
        raise Conflict(f"The agent {agent!r} is switched off.", code="agent_disabled")


async def _cut(tx: Tx, parent: Run, head: Head, ask: ForkRun, agent: Agent) -> _Cut:
    """What is kept of the parent, and of its thread."""
    edits = ask.edits
    anew = ask.rerun or edits.instructions is not None or edits.model is not None
    kept = ask.at - 1 if edits.result is not None or anew else ask.at
    if edits.message is not _NOTHING:
        kept = -1
    located = await lineage.step(tx, parent, ask.at) if kept == ask.at - 1 >= 0 else None
    before = await lineage.of_run(tx, parent.tenant_id, parent.id) if parent.input_run is not None else ()
    if kept > 0:
        source_id, source_thread, number = lineage.source_of(before, parent, kept)
        pos_max, seq_max = (before[number].pos, before[number].seq) if number < len(before) else (head.pos, head.seq)
        pos = await entries.pos_of_seq(tx, parent.tenant_id, source_id, kept, pos_max=pos_max, seq_max=seq_max)
        await _demand_not_undoing(tx, parent, source_id, pos)
        pos = await _behind_retries(tx, parent, source_id, (kept, pos), (seq_max, pos_max), anew=located is not None)
    else:  # who wrote the input, which is the first entry, or may be left out too
        number, pos = 0, 1 + kept
        source_id, source_thread = parent.id, parent.thread_id
        for root in before[:1]:
            source_id, source_thread = root.source_id, root.source_thread_id
    pieces = () if kept < 0 else (*before[:number], RunPiece(source_id, source_thread, pos, max(kept, 0)))
    assert parent.input_position is not None
    first = parent.input_position
    last = await messages.last_of_run(tx, parent.tenant_id, source_thread, source_id, first, pos) if pos else None
    inner = await lineage.of_thread(tx, parent.tenant_id, source_thread)
    if len(inner) >= limits.FORK_DEPTH_MAX:
        raise Conflict(f"Forks nest at most {limits.FORK_DEPTH_MAX} deep.", code="fork_depth")
    below = inner[-1].last if inner else 0
    piece = ThreadPiece(source_thread, source_id, first, pos, last if last is not None else max(first - 1, below))
    cut = _Cut(parent, max(kept, 0), pieces, (*inner, piece), None if kept < 0 else parent.input_run or parent.id)
    if located is None:
        return cut
    return await _edited(tx, cut, located.entry, located.run_id, ask, agent)


async def _behind_retries(
    tx: Tx, parent: Run, source_id: RunId, kept: tuple[int, int], most: tuple[int, int], *, anew: bool
) -> int:
    """Up to which entry steps are kept. Before a step that is made in another way there is also the retry that had it
    made, and behind one that a retry declared void that retry: or the fork would find a failure there which does not
    count any more. `kept` and `most`: `(seq, pos)` of the last kept step, and of what there is of the source."""
    (seq, pos), (seq_max, pos_max) = kept, most
    later = [one for one in await entries.retries(tx, parent.tenant_id, source_id) if pos < one[0] <= pos_max]
    if later and seq < seq_max:
        where = (tx, parent.tenant_id, source_id)
        following = await entries.pos_of_seq(*where, seq + 1, pos_max=pos_max, seq_max=seq_max)
        later = [one for one in later if one[0] < following]
    if anew or not later:
        return max((at for at, _ in later), default=pos)
    last = await lineage.step(tx, parent, seq)
    assert last is not None, "it was found by its number"
    return next((at for at, keys in later if last.entry.key in keys), pos)


async def _demand_not_undoing(tx: Tx, parent: Run, source_id: RunId, pos: int) -> None:
    source = await runs.get(tx, parent.tenant_id, source_id)
    assert source is not None, "a run that a fork reads is not deleted"
    if source.undo is Undo.BEGUN and await entries.undoing_before(tx, parent.tenant_id, source_id, pos):
        raise Invalid("This step undoes what the run did: fork before that.", code="invalid_at")


async def _edited(tx: Tx, cut: _Cut, step: Entry, source_id: RunId, ask: ForkRun, agent: Agent) -> _Cut:
    edits = ask.edits
    if edits.result is None:
        changes = edits.instructions is not None or edits.model is not None
        if changes and not (step.kind is StepKind.MODEL and is_of_conversation(step)):
            raise Invalid(
                f"Step {ask.at} is of kind {step.kind}: instructions and model change from a model step on.",
                code="edit_not_possible",
                field=("edits", next(iter(edits.overrides.given))),
            )
        return replace(cut, anew=step)
    demand_editable(step, edits.result)
    return replace(cut, anew=step, edited=step)


async def _insert(
    tx: Tx, house: House, principal: Principal, ask: ForkRun, agent: Agent, cut: _Cut, run_id: RunId
) -> Run:
    parent, tenant_id = cut.parent, principal.tenant_id
    source = await threads.get(tx, tenant_id, parent.thread_id)
    thread = threads.new(
        tenant_id,
        ThreadId(house.determinism.new_id()),
        principal.id,
        tx.now_ms,
        title=None if source is None else source.title,
        branch_of=BranchOf(parent.thread_id, parent.id, ask.at),
    )
    await threads.add(tx, thread, last_rank=threads.RANK_STEP)
    run = _new_run(tx, house, principal, ask, agent, cut, run_id, thread.id)
    await runs.add(tx, run, ask.tags)
    await lineage.add_run(tx, tenant_id, run_id, cut.pieces)
    await lineage.add_thread(tx, tenant_id, thread.id, cut.branch)
    new = [_first_entry(tx, ask, cut, agent, run)]
    if cut.edited is not None:
        new.append(await _result(tx, principal, house, cut, cut.edited, run_id, ask))
    steps = len(new) - 1
    await heads.add(tx, Head(tenant_id, run_id, 0, cut.pos + len(new), cut.kept + steps, None, None, 0, False))
    await entries.add(tx, tenant_id, run_id, thread.id, epoch=0, pos=cut.pos, seq=cut.kept, new=new)
    return run


def _new_run(
    tx: Tx,
    house: House,
    principal: Principal,
    ask: ForkRun,
    agent: Agent,
    cut: _Cut,
    run_id: RunId,
    thread_id: ThreadId,
) -> Run:
    parent = cut.parent
    imported = ask.recorded or _began_elsewhere(parent)
    new = ask.new or (Fresh.SIMULATE if imported else Fresh.ASK)
    policy = EffectPolicy(repeat=ask.repeat, new=new, reads=ask.reads, of=parent.id, at=cut.kept, imported=imported)
    return replace(
        parent,
        id=run_id,
        thread_id=thread_id,
        status=RunStatus.QUEUED,
        acting_agent=parent.agent,
        agent_version=agent.version,
        initiator=principal.id,
        root_id=run_id,
        parent_id=None,
        parent_key=None,
        depth=0,
        external_id=None,
        rank=threads.RANK_STEP,
        ordinal=None,
        input_position=None if cut.input is None else parent.input_position,
        start_after=None,
        claimable_at=tx.now_ms,
        wake_at=None,
        on_busy_applied=None,
        rollback=False,
        limits=parent.limits if ask.limits is None else run_verbs.limits_json(ask.limits),
        deadline=None,
        metadata=parent.metadata if ask.metadata is None else run_verbs.metadata_json(ask.metadata),
        tags=encode(list(ask.tags)) if ask.tags else None,
        waiting_on=None,
        cancel_requested_at=None,
        cancel_reason=None,
        error=None,
        output_pos=None,
        usage=NO_USAGE,
        trace_id=house.determinism.random_bytes(16),
        created_at=tx.now_ms,
        started_at=None,
        ended_at=None,
        successor_id=None,
        undo=Undo.NO,
        forked_run=parent.id,
        forked_at=ask.at,
        input_run=cut.input,
        branch=True,
        overrides=overrides_json(_overrides(ask, cut)),
        effect_policy=policy.stored(),
        has_state=False,
        imported=False,
        archived=False,
    )


def _overrides(ask: ForkRun, cut: _Cut) -> tuple[Override, ...]:
    """With what the fork's model calls are made: as where it leaves its parent, but for what its edits say."""
    here = cut.pos + 1
    again = tuple(replace(one, since=here) for one in overrides_of(ask.overrides))
    return overridden(again or cut.overrides(), Override(here, ask.edits.overrides, forked=True))


def _first_entry(tx: Tx, ask: ForkRun, cut: _Cut, agent: Agent, run: Run) -> NewEntry:
    """A fork without a step of its parent has an input of its own; any other says where it comes from."""
    if cut.input is None:
        return NewEntry(type=EntryType.RUN_QUEUED, at=tx.now_ms, payload=agent.accept(ask.edits.message))
    edits = ask.edits
    shown: dict[str, Any] = {
        "output": None if edits.output is _NOTHING else edits.output,
        "answer": None if edits.answer is _NOTHING else edits.answer,
        "instructions": edits.instructions,
        "model": edits.model,
    }
    data = {
        "run_id": text(RUN, cut.parent.id),
        "at": ask.at,
        "kept": cut.kept,
        "edits": {name: value for name, value in shown.items() if value is not None},
        "effects": policy_json(run.effect_policy),
    }
    return NewEntry(type=EntryType.RUN_FORKED, at=tx.now_ms, payload=encode(data, what="The edit"))


# -- the edited step --------------------------------------------------------------------------------------------------


async def _result(
    tx: Tx, principal: Principal, house: House, cut: _Cut, step: Entry, run_id: RunId, ask: ForkRun
) -> NewEntry:
    """The step as the fork records it: what it asked for, and another result."""
    assert step.key is not None, "a step has a key"
    assert step.kind is not None, "a step has a kind"
    role = _ROLES.get(step.kind)
    message: NewMessage | None = None
    if role is not None and is_of_conversation(step):
        message = NewMessage(MessageId(derived(run_id, step.key)), role, cut.branch[-1].last + 1)
    payload = await _payload(tx, principal, house, step, ask.edits)
    hashes = [] if step.prompt is None else prompts.needs(decode(step.prompt))[1]
    return NewEntry(
        type=_TYPES.get(step.kind, EntryType.STEP_COMPLETED),
        at=tx.now_ms,
        phase=Phase.RESULT,
        key=step.key,
        kind=step.kind,
        name=step.name,
        attempt=step.attempt,
        tries=1,
        status=StepStatus.SUCCEEDED,
        digest=step.digest,
        payload=payload,
        prompt=step.prompt,
        started_at=tx.now_ms,
        ended_at=tx.now_ms,
        message=message,
        blobs=tuple(NewBlob(hash=hash, data=None) for hash in hashes),  # the prompt's, whatever becomes of the parent
    )


_ROLES: Mapping[StepKind, Role] = {StepKind.MODEL: Role.ASSISTANT, StepKind.TOOL: Role.TOOL}
_TYPES: Mapping[StepKind, EntryType] = {
    StepKind.MODEL: EntryType.MESSAGE_COMPLETED,
    StepKind.TOOL: EntryType.TOOL_COMPLETED,
    StepKind.INTERRUPT: EntryType.APPROVAL_RESOLVED,
}


async def _payload(tx: Tx, principal: Principal, house: House, step: Entry, edits: Edits) -> bytes:
    assert step.key is not None
    if edits.answer is not ABSENT:
        return await _answer(tx, principal, step, edits.answer)
    match step.kind:
        case StepKind.MODEL if is_of_conversation(step):
            return native.response_payload(step.payload, edits.output, step.key)
        case StepKind.TOOL if is_of_conversation(step):
            return native.result_payload(step.payload, edits.output)
        case StepKind.VALUE:
            return encode(drawn(step.name, edits.output))
        case StepKind.EVENT:
            return encode({**(decode(step.payload) or {}), "data": edits.output}, what="The output")
        case StepKind.CHILD:
            return _child_output(house, step, edits.output)
        case _:
            return encode(edits.output, what="The output")


def _child_output(house: House, step: Entry, output: Any) -> bytes:
    """What a called agent is said to have come to, if it could have."""
    called = house.agents.get(step.name or "")
    schema = None if called is None else called.definition().get("output_schema")
    if schema is not None:
        found = json_schema.errors(json_schema.validator("The output's schema", schema), output)
        if found:
            said = f"This is not an output of {step.name}."
            raise Invalid(said, code="edit_not_possible", errors=found, field=("edits", "output"))
    return encode(output, what="The output")


async def _answer(tx: Tx, principal: Principal, step: Entry, answer: Any) -> bytes:
    """Another answer to a question: by somebody who might have answered it, and one that fits."""
    access.demand(principal, Scope.APPROVALS_WRITE)
    said: dict[str, Any] = decode(step.payload)
    found = await approvals.get(tx, principal.tenant_id, ApprovalId(parse(APPROVAL, said["approval_id"])))
    if found is None or found.type not in (ApprovalType.INPUT, ApprovalType.EXTERNAL):
        raise Invalid(
            "Leave for a call is no answer that can be edited: fork before it, and the fork asks for leave of its own.",
            code="edit_not_possible",
            field=("edits", "answer"),
        )
    standing = may_decide(replace(found, decisions=()), principal.id, principal.roles, admin=principal.is_admin)
    if not standing.allowed:
        raise Refused(f"{principal.name} may not answer this: {standing.reason}.", code=standing.code)
    approval_verbs.demand_answer(found, answer)
    changed = {"status": ApprovalStatus.ANSWERED.value, "answer": answer, "note": None, "decided_by": [principal.name]}
    return encode({**said, **changed}, what="The answer")


# -- what a fork's calls are compared with ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A call that the parent made behind the fork point. `seq`: its step, 0 if none is recorded yet; `known`: whether
    it has a result. `code`: the key of a plain step; tools have none, they are told apart by name and arguments."""

    name: str
    digest: bytes | None
    seq: int
    known: bool
    code: str | None = None


_PAGE = 1_000


async def counterparts(house: House, run: Run, policy: EffectPolicy) -> list[Counterpart] | None:
    """The calls that the parent of a fork has made behind the fork point, in order, but those that did nothing; with
    its plain steps if it began elsewhere. None if it was deleted: nobody knows what it did."""

    async def body(tx: Tx) -> list[Counterpart] | None:
        found: list[Counterpart] = []
        undone: dict[RunId, dict[str, bool]] = {}
        if policy.of is None:
            return found
        parent = await _there(tx, run, policy.of)
        after = policy.at
        while parent is not None:
            page = await lineage.steps(tx, parent, after, _PAGE, bare=True)
            for source in {one.run_id for one in page} - undone.keys():
                undone[source] = await effects.undone(tx, run.tenant_id, source)
            made = [await _made(tx, run, one, undone[one.run_id], policy) for one in page]
            found += [one for one in made if one is not None]
            if policy.imported:
                found += [made for one in page if (made := _of_code(one.entry)) is not None]
            if len(page) < _PAGE:
                begun = await effects.unrecorded(tx, run.tenant_id, parent.id)
                return found + [Counterpart(name, digest, seq=0, known=False) for name, digest in begun]
            after = page[-1].entry.seq or after
        return None

    return await house.database.read(run.tenant_id, body)


async def _there(tx: Tx, run: Run, parent_id: RunId) -> Run | None:
    """The run that a fork is compared with, unless it was deleted: then little or nothing is left of it."""
    parent = await runs.get(tx, run.tenant_id, parent_id)
    return None if parent is None or parent.archived else parent


async def _made(tx: Tx, run: Run, one: Located, undone: dict[str, bool], policy: EffectPolicy) -> Counterpart | None:
    """A tool's step as a counterpart; None for one that did nothing for certain, or was undone. Where nothing is made
    that was not made, also one that failed: that is what it came to."""
    step = one.entry
    if step.kind is not StepKind.TOOL or step.status is StepStatus.VOIDED or step.seq is None or step.key is None:
        return None
    if policy.imported and policy.new is Fresh.DENY and step.status is StepStatus.FAILED:
        return Counterpart(step.name or "", step.digest, step.seq, known=True)
    if undone.get(step.key):
        return None
    known = step.status is StepStatus.SUCCEEDED and step.key not in undone
    if step.status is not StepStatus.SUCCEEDED:
        effect = (await effects.of_steps(tx, run.tenant_id, one.run_id, [step.key])).get(step.key)
        if effect is None or effect.status not in effects.MAY_HAVE_ACTED:
            return None
    return Counterpart(step.name or "", step.digest, step.seq, known)


def _of_code(step: Entry) -> Counterpart | None:
    """A plain step as a counterpart, also one that failed: that is what it came to."""
    if step.kind is not StepKind.CODE or step.status is StepStatus.VOIDED or step.seq is None:
        return None
    return Counterpart(step.name or "", step.digest, step.seq, known=True, code=step.key)


async def result_of(house: House, run: Run, policy: EffectPolicy, seq: int) -> Entry | None:
    """What a counterpart recorded; None if its run was deleted meanwhile."""

    async def body(tx: Tx) -> Entry | None:
        parent = None if policy.of is None else await _there(tx, run, policy.of)
        found = None if parent is None else await lineage.step(tx, parent, seq)
        return None if found is None else found.entry

    return await house.database.read(run.tenant_id, body)


async def policy_below(house: House, run: Run, key: str) -> EffectPolicy | None:
    """The policy for the run that a fork calls in the step `key`: compared with the one its parent called there, or
    with a deleted one if the parent was deleted."""
    policy = policy_of(run.effect_policy)
    if policy is None:
        return None

    async def body(tx: Tx) -> RunId | None:
        parent = None if policy.of is None else await _there(tx, run, policy.of)
        if parent is None:
            return policy.of
        callers = [parent.id, *(piece.source_id for piece in await lineage.of_run(tx, run.tenant_id, parent.id))]
        for caller in callers:
            child = run_verbs.child_id(run.tenant_id, caller, key, 1)
            if await runs.get(tx, run.tenant_id, child) is not None:
                return child
        return None

    return replace(policy, of=await house.database.read(run.tenant_id, body), at=0)
