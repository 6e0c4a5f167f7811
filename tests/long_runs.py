"""Long runs, made in a second or two: for tests and benchmarks of whatever reads a run of 20,000 steps.

Nothing executes. The rows are written by the store's own functions, in one transaction, as a worker would have written
them one at a time, so every route serves such a run like one that happened. What it holds follows from the arguments
alone: two runs made alike differ in ids and times only. Rejected: running 20,000 steps; it takes most of a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage
from sqlalchemy import update

from holdfast.agents.native import calls, messages, prompt
from holdfast.agents.native.plan import parameters_blob
from holdfast.domain.access import LOCAL_ADMIN
from holdfast.domain.agents import AgentKind
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.effects import EffectClass, EffectStatus, idempotency_key
from holdfast.domain.encoding import canonical, digest, encode
from holdfast.domain.ids import DEFAULT_TENANT, EFFECT, WORKER, EffectId, MessageId, RunId, ThreadId, derived, text
from holdfast.domain.journal import (
    EntryType,
    NewBlob,
    NewEntry,
    NewMessage,
    Phase,
    StepKind,
    StepStatus,
    branch_scope,
    key_of,
)
from holdfast.domain.runs import NO_USAGE, Run, RunStatus, Usage
from holdfast.domain.threads import Role
from holdfast.runtime.context import entry_type
from holdfast.store import agents, claims, effects, entries, heads, runs, schema, threads
from holdfast.store.base import Database, Tx
from holdfast.store.effects import Plan
from holdfast.store.heads import Head

STEPS = 20_000
BRANCHES = 40
GAP_MS = 3
VERSION = "long-1"
MODEL = "gpt-5.2"
WORD = "a line of what was found, as long as such lines are; "


async def add_workflow(
    database: Database, *, steps: int = STEPS, agent: str = "long-workflow", differs_from: int | None = None
) -> RunId:
    """A workflow's run of `steps` steps that succeeded; its id. Durable when this returns.

    It gathers groups of 40 branches, one group after another. A branch fetches (`fetch`, code), looks something up
    (`look_up`, a read tool), asks a model aside in every fourth (`summary`, with its prompt, tokens and costs), orders
    in every fifth (`order`, a keyed tool whose opening and effect are there, committed), fails in every thirteenth
    (`check`, after two tries), gathers three `score` steps of its own in every third, and in every group one sleeps,
    while the run is parked. So it has keys such as `g#3.7/g#1.2/score#1`, three levels deep, and about as many steps of
    each kind in every part of it. The last step is the same code in any case; the output is how many there were.

    Args:
        database: an open one, migrated and seeded.
        steps: how many steps, exactly, from 1 to what a journal may hold.
        agent: the id it ran as; a worker's row for it is written as well, so that its kind is known. No process needs
            to have registered it, and no worker takes the run up.
        differs_from: what `fetch` steps from this `seq` on came to is something else: for comparing two such runs.
    """
    written = _Written(agent, AgentKind.WORKFLOW, encode({"items": steps}))
    written.differs_from = differs_from
    group = 0
    while len(written.steps) < steps - 1:
        group += 1
        _one_group(written, group, steps - 1)
    written.step(StepKind.CODE, "report", "report#1", payload=encode(group))
    written.end(encode({"output": steps}), message=True)
    return await written.store(database)


async def add_conversation(database: Database, *, steps: int = STEPS, agent: str = "long-agent") -> RunId:
    """A native agent's run of `steps` steps (an odd number, else one less) that succeeded; its id. Durable then.

    One question, then turns of an answer with one call of `look_up` and its result, both messages of the thread, with
    tokens, costs and the record of what the model was asked: all messages before it. The last step is an answer in
    words. So it has half as many model steps as steps, and one message more than steps.

    Args: as of `add_workflow`.
    """
    written = _Written(agent, AgentKind.NATIVE, encode("Look everything up."))
    turns = (steps - 1) // 2
    for number in range(1, turns + 2):
        _one_turn(written, number, is_last=number > turns)
    written.end(encode({"output_step": written.steps[-1]}), message=False)
    return await written.store(database)


# --- what they did ---------------------------------------------------------------------------------------------------


@dataclass
class _Written:
    """A journal on its way: entries in order, and what the ledger holds. Times count from the run's beginning."""

    agent: str
    kind: AgentKind
    input: bytes
    run_id: RunId = field(default_factory=lambda: RunId(SYSTEM.new_id()))
    entries: list[NewEntry] = field(default_factory=list[NewEntry])
    steps: list[str] = field(default_factory=list[str])
    plans: list[Plan] = field(default_factory=list[Plan])
    usage: Usage = NO_USAGE
    now: int = 20
    position: int = 1
    differs_from: int | None = None

    def __post_init__(self) -> None:
        self.entries.append(NewEntry(type=EntryType.RUN_QUEUED, at=0, payload=self.input))
        self.says(EntryType.RUN_STARTED, {"worker": text(WORKER, bytes(16))})

    def says(self, type: EntryType, data: Any) -> None:
        """Something that happened to the run."""
        self.entries.append(NewEntry(type=type, at=self.now, payload=encode(data)))

    def opens(self, type: EntryType, kind: StepKind, name: str, key: str, arguments: Any, data: Any) -> None:
        """Something began that can outlast the process."""
        self.entries.append(
            NewEntry(
                type=type, at=self.now, phase=Phase.OPENING, key=key, kind=kind, name=name, attempt=1,
                digest=digest(arguments), payload=encode(data),
            )
        )  # fmt: skip

    def step(self, kind: StepKind, name: str, key: str, arguments: Any = (), **given: Any) -> None:
        """A step that ends now, and took some milliseconds."""
        number = len(self.steps) + 1
        failed = given.get("error") is not None
        took_ms = number * 7 % 90 + (400 if kind is StepKind.MODEL else 1)
        entry = NewEntry(
            type=entry_type(kind, failed), at=self.now, phase=Phase.RESULT, key=key, kind=kind, name=name, attempt=1,
            tries=1, status=StepStatus.FAILED if failed else StepStatus.SUCCEEDED, digest=digest(arguments),
            started_at=max(20, self.now - took_ms), ended_at=self.now,
        )  # fmt: skip
        self.entries.append(replace(entry, **given))
        self.steps.append(key)
        if entry.kind is StepKind.MODEL and given.get("usage") is not None:
            self.usage = self.usage + given["usage"]
        self.now += GAP_MS

    def acts(self, name: str, key: str, arguments: dict[str, Any], result: Any) -> None:
        """A call that changed something outside, once."""
        effect = EffectId(derived("effect", self.run_id, key))
        data = {"effect_id": text(EFFECT, effect), "effect_class": EffectClass.KEYED.value}
        self.opens(EntryType.TOOL_STARTED, StepKind.TOOL, name, key, [arguments], data)
        self.plans.append(
            Plan(
                key=key, id=effect, tool=name, agent=self.agent, effect_class=EffectClass.KEYED, version="1",
                arguments=canonical(arguments), arguments_hash=sha256(canonical(arguments)).digest(),
                idempotency_key=idempotency_key(DEFAULT_TENANT, self.run_id, key, 0),
            )
        )  # fmt: skip
        self.step(StepKind.TOOL, name, key, [arguments], payload=encode(result))

    def message(self, role: Role, key: str) -> NewMessage:
        self.position += 1
        return NewMessage(MessageId(derived("message", self.run_id, key, "1", "0")), role, self.position)

    def end(self, payload: bytes, *, message: bool) -> None:
        said = self.message(Role.ASSISTANT, "output") if message else None
        self.entries.append(NewEntry(type=EntryType.RUN_SUCCEEDED, at=self.now, payload=payload, message=said))

    # --- rows --------------------------------------------------------------------------------------------------------

    async def store(self, database: Database) -> RunId:
        await database.write(DEFAULT_TENANT, self._insert)
        return self.run_id

    async def _insert(self, tx: Tx) -> None:
        began = tx.now_ms - self.now
        thread_id = ThreadId(SYSTEM.new_id())
        thread = threads.new(DEFAULT_TENANT, thread_id, LOCAL_ADMIN, began)
        await threads.add(tx, thread, last_rank=threads.RANK_STEP, last_ordinal=1)
        await runs.add(tx, self._run(thread_id, began))
        await heads.add(
            tx, Head(DEFAULT_TENANT, self.run_id, 1, len(self.entries), len(self.steps), None, None, 0, False)
        )
        asked = NewMessage(claims.input_message_id(self.run_id), Role.USER, 1)
        batch = entries.Batch()
        batch.add(DEFAULT_TENANT, self.run_id, thread_id, 1, 0, 0, list(self._dated(began, asked)))
        await batch.write(tx)
        await effects.plan(tx, [(DEFAULT_TENANT, self.run_id, 1, plan) for plan in self.plans])
        committed = {"status": EffectStatus.COMMITTED.value, "attempt": 1, "started_at": began, "ended_at": began}
        await tx.execute(
            update(schema.effects).where(schema.effects.c.run_id == self.run_id).values(planned_at=began, **committed)
        )
        definition = encode({"name": self.agent, "description": "A long run's.", "tools": []})
        await agents.register(tx, DEFAULT_TENANT, self.agent, self.kind, VERSION, definition)
        await agents.note_version(tx, DEFAULT_TENANT, self.agent, VERSION, definition)

    def _dated(self, began: int, asked: NewMessage) -> Iterator[NewEntry]:
        for number, entry in enumerate(self.entries):
            times = {n: getattr(entry, n) + began for n in ("started_at", "ended_at") if getattr(entry, n) is not None}
            yield replace(entry, at=entry.at + began, message=entry.message if number else asked, **times)

    def _run(self, thread_id: ThreadId, began: int) -> Run:
        output = len(self.entries)
        if self.kind is AgentKind.NATIVE:
            output -= 1
        return Run(
            tenant_id=DEFAULT_TENANT, id=self.run_id, thread_id=thread_id, status=RunStatus.SUCCEEDED,
            agent=self.agent, acting_agent=self.agent, agent_version=VERSION, initiator=LOCAL_ADMIN,
            root_id=self.run_id, parent_id=None, parent_key=None, depth=0, external_id=None, rank=threads.RANK_STEP,
            ordinal=1, input_position=1, start_after=None, claimable_at=None, wake_at=None, on_busy_applied=None,
            rollback=False, limits=None, deadline=None, metadata=None, tags=None, waiting_on=None,
            cancel_requested_at=None, cancel_reason=None, error=None, output_pos=output, usage=self.usage,
            trace_id=self.run_id, created_at=began, started_at=began + 20, ended_at=began + self.now,
        )  # fmt: skip


def _one_group(written: _Written, group: int, last: int) -> None:
    """Branches abreast: what each does next comes in turn, until the run has as many steps as it is to have."""
    scopes = [branch_scope("", group, branch) for branch in range(BRANCHES)]
    waiting = [_of_branch(written, scope, group * BRANCHES + n) for n, scope in enumerate(scopes)]
    while waiting and len(written.steps) < last:
        for one in list(waiting):
            if len(written.steps) >= last:
                return
            if next(one, None) is None:
                waiting.remove(one)


def _of_branch(written: _Written, scope: str, number: int) -> Iterator[bool]:
    """What a branch does; each time this is asked, one step."""
    different = written.differs_from is not None and len(written.steps) + 1 >= written.differs_from
    found = encode({"item": number, "text": WORD * (1 + number % 4), "other": different})
    written.step(StepKind.CODE, "fetch", key_of(scope, "fetch", 1), [number], payload=found)
    yield True
    if number % BRANCHES == BRANCHES - 1:
        _sleeps(written, key_of(scope, "sleep", 1))
        yield True
    written.step(StepKind.TOOL, "look_up", key_of(scope, "look_up", 1), [number], payload=encode(f"item {number}"))
    yield True
    if number % 4 == 0:
        _asks_aside(written, key_of(scope, "summary", 1), number)
        yield True
    if number % 5 == 0:
        order = {"item": number, "amount": number % 7 + 1}
        written.acts("order", key_of(scope, "order", 1), order, f"ordered {number}")
        yield True
    if number % 13 == 0:
        error = {"code": "step_failed", "message": f"item {number} is not there", "error_type": "LookupError"}
        written.step(StepKind.CODE, "check", key_of(scope, "check", 1), [number], error=encode(error), tries=2)
        yield True
    if number % 3 == 0:
        for inner in range(3):
            key = key_of(branch_scope(scope, 1, inner), "score", 1)
            written.step(StepKind.CODE, "score", key, [number, inner], payload=encode(number % 100 / 10))
            yield True


def _sleeps(written: _Written, key: str) -> None:
    due = written.now + 200
    written.opens(EntryType.STEP_OPENED, StepKind.SLEEP, "sleep", key, {"ms": 200}, {"due_at": due})
    waiting_on = [{"type": "timer", "id": None, "step": key, "until": due}]
    written.says(EntryType.RUN_WAITING, {"waiting_on": waiting_on})
    began, written.now = written.now, due
    written.says(EntryType.RUN_RESUMED, {"worker": text(WORKER, bytes(16))})
    written.step(StepKind.SLEEP, "sleep", key, {"ms": 200}, payload=b"null", started_at=began)


_USED = Usage(1, 310, 90, 1_350)
_PARAMETERS = parameters_blob("Be short.", {}, encode({"model": f"openai:{MODEL}", "tools": [], "output": {}})[1:])


def _asks_aside(written: _Written, key: str, number: int) -> None:
    asked = encode({"user": f"Sum up item {number}."})
    inline = NewBlob(sha256(asked).digest(), asked)
    record = prompt.record(encode([{"inline": inline.hash.hex()}]), _PARAMETERS.hash)
    payload = _answer(TextPart(f"Item {number}: {WORD}"))
    blobs = (_PARAMETERS, inline)
    written.step(StepKind.MODEL, "summary", key, payload=payload, usage=_USED, prompt=record, blobs=blobs)


def _one_turn(written: _Written, number: int, *, is_last: bool) -> None:
    """An answer that calls a tool, and what the tool says; the last one is words."""
    key, call_id = f"model#{number}", f"call_{number}"
    arguments = {"item": number}
    record = prompt.record(encode([{"messages": [1, written.position]}]), _PARAMETERS.hash)
    part = TextPart("That is all.") if is_last else ToolCallPart("look_up", arguments, tool_call_id=call_id)
    written.step(
        StepKind.MODEL, "model", key, payload=_answer(part), usage=_USED, prompt=record,
        blobs=(_PARAMETERS,) if number == 1 else (), message=written.message(Role.ASSISTANT, key),
    )  # fmt: skip
    if not is_last:
        call = calls.Call(0, f"{key}/0", ToolCallPart("look_up", arguments, tool_call_id=call_id))
        payload = calls.succeeded(call, f"item {number}: {WORD}").payload
        said = written.message(Role.TOOL, call.key)
        written.step(StepKind.TOOL, "look_up", call.key, arguments, payload=payload, message=said)


def _answer(*parts: TextPart | ToolCallPart) -> bytes:
    usage = RequestUsage(input_tokens=_USED.input_tokens, output_tokens=_USED.output_tokens)
    said: Sequence[Any] = parts
    payload, _ = messages.pack(
        ModelResponse(parts=list(said), usage=usage, model_name=MODEL, timestamp=messages.NO_TIME, finish_reason="stop")
    )
    return payload
