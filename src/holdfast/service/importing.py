"""Runs out of files: inserted as they were recorded, under new ids, in one transaction; ended, whatever they were.

The messages of the thread before a run belonged to other runs, which are not in the file. Each gets a row that nobody
sees (`archived`), so that the conversation reads, and is deleted, like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from holdfast.domain import access, ids, limits, portable, states
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import decode, encode
from holdfast.domain.errors import Damaged
from holdfast.domain.forks import overrides_json, overrides_of
from holdfast.domain.ids import MessageId, RunId, ThreadId, derived
from holdfast.domain.journal import Entry, EntryType, NewBlob, NewEntry, NewMessage, Phase, StepKind, StepStatus
from holdfast.domain.recorded import IMPORTED_KEY, Place, RecordedRun
from holdfast.domain.runs import NO_USAGE, Run, RunStatus, Usage
from holdfast.domain.states import Document
from holdfast.domain.threads import Message, Role, ThreadStatus
from holdfast.service.house import House
from holdfast.service.idempotency import Key, once
from holdfast.store import blobs, claims, entries, heads, messages, runs, threads
from holdfast.store.base import Rejected, Tx
from holdfast.store.heads import Head

_UNENDED: Final = "It had not ended when it was exported."
# What a prompt whose contents were redacted keeps: by which hashes it was recorded.
WAS: Final = "was"


@dataclass(frozen=True, slots=True)
class Imported:
    """A run that came out of a file, and which one it was."""

    run_id: RunId
    thread_id: ThreadId
    was: str


async def load(
    house: House, principal: Principal, lines: Iterable[bytes], key: Key | None = None
) -> tuple[list[Imported], bool]:
    """Insert the runs of a file, all or none; durable when this returns. And whether an earlier request with the same
    key had done it.

    Raises `Invalid` (`invalid_recording`, with the line and the reason), `Conflict` (`idempotency_conflict`). Safe to
    repeat with a key; without one they are new runs each time.
    """
    access.demand(principal, Scope.RUNS_WRITE)
    return await insert(house, principal, await asyncio.to_thread(lambda: list(portable.read(lines))), key)


async def insert(
    house: House, principal: Principal, found: Sequence[RecordedRun], key: Key | None = None
) -> tuple[list[Imported], bool]:
    """The same for runs that have been read already."""
    access.demand(principal, Scope.RUNS_WRITE)
    batch = house.determinism.new_id()

    async def body(tx: Tx) -> tuple[list[Imported], bool]:
        replay = await once(tx, principal.tenant_id, key, 201, batch)
        if replay is not None:
            return await _of_batch(tx, principal, replay.resource), True
        made = [_Import(tx, house, principal, one, _id_of(batch, n)) for n, one in enumerate(found)]
        return [await one.made() for one in made], False

    try:
        imported, replayed = await house.database.write(principal.tenant_id, body)
    except Rejected:
        raise Damaged("The database refuses what stands in the file, so no run ever recorded it.") from None
    for one in () if replayed else imported:
        house.changed(principal.tenant_id, "run", ids.text(ids.RUN, one.run_id), "imported")
        house.thread_changed(principal.tenant_id, one.thread_id, ThreadStatus.IDLE.value)
    return imported, replayed


def _id_of(batch: bytes, number: int) -> RunId:
    """Ids of the runs of one request follow from it, so that a repeated one finds them."""
    return RunId(batch[: ids.ID_TIME_BYTES] + derived("import", batch, str(number))[ids.ID_TIME_BYTES :])


async def _of_batch(tx: Tx, principal: Principal, batch: bytes) -> list[Imported]:
    found: list[Imported] = []
    while (run := await runs.get(tx, principal.tenant_id, _id_of(batch, len(found)))) is not None:
        was: dict[str, Any] = decode(run.metadata)[IMPORTED_KEY]
        found.append(Imported(run.id, run.thread_id, was["run_id"]))
    return found


async def carry(tx: Tx, house: House, principal: Principal, recorded: RecordedRun, run_id: RunId) -> None:
    """One run, within a transaction, under an id that the caller chose."""
    await _Import(tx, house, principal, recorded, run_id).made()


class _Import:
    """One run on its way in."""

    def __init__(self, tx: Tx, house: House, principal: Principal, recorded: RecordedRun, run_id: RunId) -> None:
        self._tx = tx
        self._house = house
        self._principal = principal
        self._recorded = recorded
        self._run_id = run_id
        self._thread_id = ThreadId(house.determinism.new_id())
        self._batch = entries.Batch()
        self._rolled_back: list[RunId] = []
        self._hashes = {hash: hashlib.sha256(data).digest() for hash, data in recorded.blobs.items()}

    async def made(self) -> Imported:
        tx, recorded = self._tx, self._recorded
        earlier = self._earlier()
        title = f"Imported: {recorded.agent}, {recorded.of.run_id}"[: limits.TITLE_CHARS_MAX]
        thread = threads.new(self._principal.tenant_id, self._thread_id, self._principal.id, tx.now_ms, title=title)
        count = len(earlier) + 1
        await threads.add(tx, thread, last_rank=count * threads.RANK_STEP, last_ordinal=count)
        for number, said in enumerate(earlier.values(), 1):
            await self._add_earlier(number, said, last=number == len(earlier))
        journal = self._journal()
        await self._add_run(count, journal)
        refs = [NewBlob(self._hashes[hash], data) for hash, data in recorded.blobs.items()]
        await blobs.put(tx, [(thread.tenant_id, thread.id, blob) for blob in refs])
        await self._batch.write(tx)
        for id in self._rolled_back:
            await messages.hide_run(tx, thread.tenant_id, thread.id, id)
        return Imported(self._run_id, self._thread_id, recorded.of.run_id)

    # -- the thread before it -----------------------------------------------------------------------------------------

    def _earlier(self) -> dict[RunId, list[Message]]:
        """What was said before, by the runs that said it, in their order."""
        found: dict[RunId, list[Message]] = {}
        for message in self._recorded.messages:
            found.setdefault(message.run_id, []).append(message)
        return found

    async def _add_earlier(self, number: int, said: Sequence[Message], *, last: bool) -> None:
        """`last`: the one that leaves what the thread had published, which the run began with."""
        first = said[0]
        published = self._recorded.state if last and self._recorded.state.version else None
        id = RunId(self._house.determinism.new_id())
        run = replace(
            self._base(number, first.created_at),
            id=id,
            root_id=id,
            status=RunStatus.SUCCEEDED,
            input_position=first.position,
            has_state=published is not None,
            archived=True,
        )
        if any(message.void for message in said):
            self._rolled_back.append(id)
        end = max(message.pos for message in said)
        if published is not None:
            self._batch.add(run.tenant_id, id, run.thread_id, 1, end, 0, [_published(published, first.created_at)])
        await self._add_rows(run, end + (published is not None), 1 if published is not None else 0)
        for message in said:
            status = None if message.status is None else StepStatus(message.status)
            entry = NewEntry(
                type=EntryType.STEP_COMPLETED if message.pos > 1 else EntryType.RUN_QUEUED,
                at=message.created_at,
                kind=None if message.kind is None else StepKind(message.kind),
                name=message.name,
                status=status,
                payload=message.payload,
                error=message.error,
                message=NewMessage(self._message_id(id, message.pos), message.role, message.position),
            )
            self._batch.add(run.tenant_id, id, run.thread_id, 1, message.pos - 1, 0, [entry])

    @staticmethod
    def _message_id(run_id: RunId, pos: int) -> MessageId:
        return MessageId(derived("imported", run_id, str(pos)))

    # -- the run itself -----------------------------------------------------------------------------------------------

    def _journal(self) -> list[Entry]:
        """Its entries, numbered anew: its input first, wherever that was recorded, and an end last."""
        recorded = self._recorded
        queued = next((e for e in recorded.entries if e.type is EntryType.RUN_QUEUED), None)
        first = queued or Entry(pos=0, type=EntryType.RUN_QUEUED, at=recorded.created_at, epoch=0)
        found = [replace(first, payload=recorded.input), *(e for e in recorded.entries if e is not queued)]
        if not recorded.status.ended:
            at = max(entry.at for entry in found)
            said = encode({"reason": _UNENDED})
            found.append(Entry(pos=0, type=EntryType.RUN_CANCELLED, at=at, epoch=found[-1].epoch, payload=said))
        return found

    async def _add_run(self, number: int, journal: Sequence[Entry]) -> None:
        recorded = self._recorded
        ended = recorded.status.ended
        run = replace(
            self._base(number, recorded.created_at),
            status=recorded.status if ended else RunStatus.CANCELLED,
            started_at=recorded.started_at,
            ended_at=recorded.ended_at or max(entry.at for entry in journal),
            input_position=recorded.input_position,
            limits=recorded.limits,
            metadata=encode(self._metadata(journal)),
            error=recorded.error,
            cancel_reason=recorded.cancel_reason if ended else _UNENDED,
            output_pos=_output_pos(journal),
            usage=_usage_of(journal),
            overrides=_overrides(recorded, journal),
            has_state=any(e.kind is StepKind.STATE and e.phase is Phase.RESULT for e in journal),
        )
        await self._add_rows(run, len(journal), max((e.seq or 0 for e in journal), default=0))
        for pos, entry in enumerate(journal, 1):
            place = recorded.places.get(entry.pos)
            if pos == 1:
                place = Place(recorded.input_position, Role.USER)
            new = self._new(entry, pos, place)
            self._batch.add(run.tenant_id, run.id, run.thread_id, entry.epoch, pos - 1, (entry.seq or 1) - 1, [new])

    def _base(self, number: int, created_at: int) -> Run:
        return Run(
            tenant_id=self._principal.tenant_id,
            id=self._run_id,
            thread_id=self._thread_id,
            status=RunStatus.SUCCEEDED,
            agent=self._recorded.agent,
            acting_agent=self._recorded.agent,
            agent_version=self._recorded.version,
            initiator=self._principal.id,
            root_id=self._run_id,
            parent_id=None,
            parent_key=None,
            depth=0,
            external_id=None,
            rank=number * threads.RANK_STEP,
            ordinal=number,
            input_position=1,
            start_after=None,
            claimable_at=None,
            wake_at=None,
            on_busy_applied=None,
            rollback=False,
            limits=None,
            deadline=None,
            metadata=None,
            tags=None,
            waiting_on=None,
            cancel_requested_at=None,
            cancel_reason=None,
            error=None,
            output_pos=None,
            usage=NO_USAGE,
            trace_id=self._house.determinism.random_bytes(16),
            created_at=created_at,
            started_at=created_at,
            ended_at=created_at,
            imported=True,
        )

    async def _add_rows(self, run: Run, pos: int, seq: int) -> None:
        await runs.add(self._tx, run)
        await heads.add(self._tx, Head(run.tenant_id, run.id, 1, pos, seq, None, None, 0, False))

    def _metadata(self, journal: Sequence[Entry]) -> dict[str, Any]:
        """What the run had, and who it was: replay tells its code so."""
        recorded = self._recorded
        was: dict[str, Any] = {
            **asdict(recorded.of),
            "status": recorded.status.value,
            "depth": recorded.depth,
            "redacted": recorded.redacted,
            "inherited": max((pos for pos, e in enumerate(journal, 1) if 0 < e.pos <= recorded.inherited), default=0),
        }
        if recorded.policed:
            was["policed"] = True
        if recorded.restarted_with is not None:
            was["restarted_with"] = decode(recorded.restarted_with)
        if recorded.state.version:
            was["state"] = [recorded.state.version, recorded.state.value]
        return {**(decode(recorded.metadata) or {}), IMPORTED_KEY: was}

    def _new(self, entry: Entry, pos: int, place: Place | None) -> NewEntry:
        id = claims.input_message_id(self._run_id) if pos == 1 else self._message_id(self._run_id, pos)
        return NewEntry(
            type=entry.type,
            at=entry.at,
            phase=entry.phase,
            key=entry.key,
            kind=entry.kind,
            name=entry.name,
            attempt=entry.attempt,
            tries=entry.tries,
            status=entry.status,
            digest=entry.digest,
            payload=entry.payload,
            error=entry.error,
            prompt=self._prompt(entry.prompt),
            usage=entry.usage,
            price_version=entry.price_version,
            started_at=entry.started_at,
            ended_at=entry.ended_at,
            message=None if place is None else NewMessage(id, place.role, place.position),
        )

    def _prompt(self, prompt: bytes | None) -> bytes | None:
        """Content is stored under its own hash, or somebody could be given another text for it. What was redacted has
        another one than the prompt was recorded with: the prompt names both."""
        moved = {hash.hex(): now.hex() for hash, now in self._hashes.items() if hash != now}
        if prompt is None or not moved:
            return prompt
        record: dict[str, Any] = decode(prompt)
        segments: list[dict[str, Any]] = [
            {**part, "inline": moved.get(part["inline"], part["inline"])} if "inline" in part else part
            for part in record["segments"]
        ]
        parameters = moved.get(record["parameters"], record["parameters"])
        return encode({"segments": segments, "parameters": parameters, WAS: {now: was for was, now in moved.items()}})


def _overrides(recorded: RecordedRun, journal: Sequence[Entry]) -> bytes | None:
    """They hold behind the same entries, which have other numbers here. The input is no model step's, and the first."""

    def now(since: int) -> int:
        return max((pos for pos, entry in enumerate(journal, 1) if 0 < entry.pos <= since), default=1)

    return overrides_json(replace(one, since=now(one.since)) for one in overrides_of(recorded.overrides))


def _published(document: Document, at: int) -> NewEntry:
    """A thread's state as one step that published the whole of it."""
    change, _ = states.changed(Document(document.version - 1), document.value, snapshot=True)
    return NewEntry(
        type=EntryType.STEP_COMPLETED,
        at=at,
        phase=Phase.RESULT,
        key="state#1",
        kind=StepKind.STATE,
        name="state",
        attempt=1,
        tries=1,
        status=StepStatus.SUCCEEDED,
        payload=change.payload,
        started_at=at,
        ended_at=at,
    )


def _output_pos(journal: Sequence[Entry]) -> int | None:
    """Where the output stands: in the last entry, or in the step that this names."""
    last = journal[-1]
    if last.type is not EntryType.RUN_SUCCEEDED:
        return None
    said: dict[str, Any] = decode(last.payload)
    key = said.get("output_step")
    if key is None:
        return len(journal) if "successor" not in said else None
    found = [n for n, e in enumerate(journal, 1) if e.key == key and e.phase is Phase.RESULT]
    return found[-1] if found else None


def _usage_of(journal: Sequence[Entry]) -> Usage:
    total = NO_USAGE
    for entry in journal:
        if entry.usage is not None:
            total = total + entry.usage
    return total
