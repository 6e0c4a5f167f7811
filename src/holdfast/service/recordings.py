"""Runs as values: read out of the database whole, in one transaction, for replay and for files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from holdfast.agents.native import prompt as prompts
from holdfast.domain import access, ids
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import NotFound
from holdfast.domain.forks import inherited
from holdfast.domain.ids import RunId
from holdfast.domain.journal import Entry, EntryType, Phase, StepKind
from holdfast.domain.messages import response_text
from holdfast.domain.recorded import IMPORTED_KEY, Place, RecordedRun, RunIds
from holdfast.domain.runs import Run, RunStatus
from holdfast.domain.states import NOTHING, Document
from holdfast.domain.threads import Message, Role
from holdfast.service.house import House
from holdfast.store import agents, blobs, effects, entries, lineage, messages, recordings, runs, states
from holdfast.store.base import Tx

_PAGE = 1_000


async def read(house: House, principal: Principal, run_id: RunId) -> RecordedRun:
    """The run as it is recorded now. Raises `NotFound` (`run_not_found`), for one of another tenant too."""
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> RecordedRun:
        run = await runs.get(tx, tenant_id, run_id)
        if run is None or run.archived:
            raise NotFound("There is no run with this id.", code="run_not_found")
        found = await of_run(tx, run)
        return as_it_was(found) if run.imported else found

    return await house.database.read(tenant_id, body)


async def of_run(tx: Tx, run: Run) -> RecordedRun:
    """All that was recorded of a run, whatever became of it since."""
    journal, places = await _journal(tx, run)
    before = await _messages_before(tx, run)
    record = await agents.get(tx, run.tenant_id, run.agent)
    published = await states.before(tx, run)
    queued = await _first(tx, run)
    return RecordedRun(
        of=_ids_of(run),
        agent=run.agent,
        version=run.agent_version,
        kind=None if record is None else record.kind.value,
        definition=await recordings.definition(tx, run.tenant_id, run.agent, run.agent_version),
        status=run.status,
        input=(queued.payload if queued is not None else None) or b"null",
        output=_output_of(journal) if run.status is RunStatus.SUCCEEDED else None,
        error=run.error,
        cancel_reason=run.cancel_reason,
        restarted_with=await _successors_input(tx, run),
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        depth=run.depth,
        attempt=max((entry.epoch for entry in journal), default=1) or 1,
        metadata=run.metadata,
        limits=run.limits,
        overrides=run.overrides,
        inherited=_inherited(journal),
        input_position=run.input_position or 1,
        entries=tuple(journal),
        places=places,
        messages=tuple(before),
        blobs=await _blobs(tx, run, journal),
        arguments={effect.key: effect.arguments for effect in await effects.of_run(tx, run.tenant_id, run.id)},
        state=published.document,
        policed=run.effect_policy is not None,
    )


async def _journal(tx: Tx, run: Run) -> tuple[list[Entry], dict[int, Place]]:
    """The run's entries, and which of them are messages; a fork's begin with the results that it goes on from."""
    own = await lineage.load(tx, run.tenant_id, run.id)
    before: list[Entry] = []
    positions: dict[int, int] = {}
    if run.input_run is not None:
        pieces = await lineage.of_run(tx, run.tenant_id, run.id)
        before = inherited(await lineage.prefix(tx, run.tenant_id, pieces))
        positions |= await lineage.prefix_positions(tx, run.tenant_id, pieces)
    positions |= await messages.positions_of_run(tx, run.tenant_id, run.thread_id, run.id)
    found = [*before, *own]
    return found, {e.pos: Place(positions[e.pos], _role_of(e)) for e in found if e.pos in positions}


def _inherited(journal: list[Entry]) -> int:
    """Up to which `pos` a fork's entries are others': until it says where it comes from."""
    began = next((entry for entry in journal if entry.type is EntryType.RUN_FORKED), None)
    return 0 if began is None else began.pos - 1


def _role_of(entry: Entry) -> Role:
    """Who says what an entry says, by what kind of entry it is."""
    match entry.type:
        case EntryType.TOOL_COMPLETED:
            return Role.TOOL
        case EntryType.RUN_QUEUED:
            return Role.USER
        case _:
            return Role.USER if entry.kind is StepKind.VALUE else Role.ASSISTANT


async def _first(tx: Tx, run: Run) -> Entry | None:
    return await entries.at(tx, run.tenant_id, run.input_run or run.id, 1)


async def _messages_before(tx: Tx, run: Run) -> list[Message]:
    """The thread's messages before the run's input, oldest first, void ones too."""
    first = run.input_position or 1
    pieces = await lineage.pieces_of(tx, run)
    found: list[Message] = []
    while True:
        after = found[-1].position if found else 0
        page = await messages.page(tx, run.tenant_id, run.thread_id, after, _PAGE, pieces)
        found += [message for message in page if message.position < first]
        if len(page) < _PAGE or page[-1].position >= first:
            return found


def _output_of(journal: list[Entry]) -> bytes | None:
    """What the run ended with: a value, or the text of the message that a step recorded."""
    said: dict[str, Any] = decode(journal[-1].payload) or {}
    key = said.get("output_step")
    if key is None:
        return encode(said.get("output"))
    last = next((e for e in reversed(journal) if e.key == key and e.phase is Phase.RESULT), None)
    return None if last is None else encode(response_text(last.payload))


async def _successors_input(tx: Tx, run: Run) -> bytes | None:
    if run.successor_id is None:
        return None
    queued = await entries.at(tx, run.tenant_id, run.successor_id, 1)
    return None if queued is None else queued.payload


async def _blobs(tx: Tx, run: Run, journal: Iterable[Entry]) -> dict[bytes, bytes]:
    """What prompts name by hash. One that is gone is left out."""
    found: dict[bytes, bytes] = {}
    for entry in journal:
        if entry.prompt is None:
            continue
        for hash in prompts.needs(decode(entry.prompt))[1]:
            if hash not in found:
                data = await blobs.get(tx, run.tenant_id, hash)
                found |= {} if data is None else {hash: data}
    return found


def _ids_of(run: Run) -> RunIds:
    return RunIds(
        run_id=ids.text(ids.RUN, run.id),
        thread_id=ids.text(ids.THREAD, run.thread_id),
        root_id=ids.text(ids.RUN, run.root_id),
        parent_id=None if run.parent_id is None else ids.text(ids.RUN, run.parent_id),
        tenant_id=ids.text(ids.TENANT, run.tenant_id),
        principal_id=ids.text(ids.PRINCIPAL, run.initiator),
    )


def as_it_was(recorded: RecordedRun) -> RecordedRun:
    """A run that came out of a file, as the run that went into it: code may have used its ids in its steps."""
    metadata: dict[str, Any] = decode(recorded.metadata) or {}
    was: dict[str, Any] = metadata.pop(IMPORTED_KEY)
    journal, found = _under_former_hashes(recorded)
    return replace(
        recorded,
        entries=journal,
        blobs=found,
        inherited=was["inherited"],
        of=RunIds(**{name: was[name] for name in RunIds.__dataclass_fields__}),
        redacted=bool(was["redacted"]),
        policed=bool(was.get("policed", False)),
        depth=was["depth"],
        status=RunStatus(was["status"]),
        restarted_with=encode(was["restarted_with"]) if "restarted_with" in was else None,
        state=Document(*was["state"]) if "state" in was else NOTHING,
        metadata=encode(metadata) if metadata else None,
    )


def _under_former_hashes(recorded: RecordedRun) -> tuple[tuple[Entry, ...], dict[bytes, bytes]]:
    """Prompts of a redacted run name what they were recorded with: by that the code's own prompt is compared."""
    found = dict(recorded.blobs)
    journal: list[Entry] = []
    for entry in recorded.entries:
        record: dict[str, Any] = decode(entry.prompt) or {}
        former: dict[str, str] = record.pop("was", {})
        if not former:
            journal.append(entry)
            continue
        found |= {
            bytes.fromhex(was): found[bytes.fromhex(now)] for now, was in former.items() if bytes.fromhex(now) in found
        }
        segments: list[dict[str, Any]] = record["segments"]
        for part in segments:
            if "inline" in part:
                part["inline"] = former.get(part["inline"], part["inline"])
        parameters = former.get(record["parameters"], record["parameters"])
        journal.append(replace(entry, prompt=encode({"segments": segments, "parameters": parameters})))
    return tuple(journal), found
