"""A recorded run as a value: all that the code of its agent can ask of the past, and nothing that is alive.

What replay compares against, and what a file of an exported run says. The journal in it is whole, so that the rules of
`domain/journal.py` decide what counts, here as in a run that resumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from holdfast.domain import ids
from holdfast.domain.encoding import decode
from holdfast.domain.ids import MessageId, RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, EntryType, Journal
from holdfast.domain.runs import RunStatus
from holdfast.domain.states import NOTHING, Document
from holdfast.domain.threads import Message, Role

# Where the metadata of a run that came out of a file keeps who it was: an object of the fields of `RunIds`.
IMPORTED_KEY: Final = "holdfast.imported"


@dataclass(frozen=True, slots=True)
class RunIds:
    """Who a run was as it ran, as public ids: what `ctx.info` says, and code may have put into its steps."""

    run_id: str
    thread_id: str
    root_id: str
    parent_id: str | None
    tenant_id: str
    principal_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """That an entry is a message of the thread, and where."""

    position: int
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """One run as it was recorded. Fields of bytes are JSON, times ms UTC.

    `entries`: the whole journal, by `pos`. `places`: which entries are messages. `messages`: those of the thread before
    the run's input, void ones too. `blobs`: what prompts name by hash. `arguments`: what the ledger holds of calls, by
    their steps' keys; for people only. `state`: what the thread published before the run. `redacted`: a hook changed it
    on its way into a file, so what was put in place of the truth is not compared. `overrides`: of a fork or a retried
    run, other instructions or another model, and from where on. `policed`: it was a fork, or called by one, so
    that not its rules alone decided on its calls.
    """

    of: RunIds
    agent: str
    version: str
    kind: str | None
    definition: bytes | None
    status: RunStatus
    input: bytes
    output: bytes | None = None
    error: bytes | None = None
    cancel_reason: str | None = None
    restarted_with: bytes | None = None
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    depth: int = 0
    attempt: int = 1
    metadata: bytes | None = None
    limits: bytes | None = None
    overrides: bytes | None = None
    inherited: int = 0
    input_position: int = 1
    entries: tuple[Entry, ...] = ()
    places: Mapping[int, Place] = field(default_factory=dict[int, Place])
    messages: tuple[Message, ...] = ()
    blobs: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    arguments: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    state: Document = NOTHING
    redacted: bool = False
    policed: bool = False

    @property
    def restarted(self) -> bool:
        """Whether it ended by handing over to a successor."""
        last = self.entries[-1] if self.entries else None
        return last is not None and last.type is EntryType.RUN_SUCCEEDED and "successor" in (decode(last.payload) or {})

    def acted(self) -> tuple[Entry, ...]:
        """The entries that the agent's own code made: without those that undid it, which other code did."""
        for number, entry in enumerate(self.entries):
            if entry.type is EntryType.RUN_COMPENSATING:
                return self.entries[:number]
        return self.entries

    def journal(self) -> Journal:
        """What counts of them when the run resumes."""
        journal = Journal.of(self.acted())
        journal.inherited = self.inherited
        return journal

    def voided(self) -> frozenset[str]:
        """Keys of steps that a retry declared void: what was recorded under them may never be asked for again."""
        found: set[str] = set()
        for entry in self.entries:
            if entry.type is EntryType.RUN_RETRIED:
                found.update(key for key, _ in decode(entry.payload)["voided"])
        return frozenset(found)

    def own_messages(self) -> list[Message]:
        """The run's own messages, by position."""
        own = [self._message(entry, self.places[entry.pos]) for entry in self.entries if entry.pos in self.places]
        if self.input_position not in {message.position for message in own}:  # a fork's input is another run's entry
            queued = Entry(pos=1, type=EntryType.RUN_QUEUED, at=self.created_at, epoch=0, payload=self.input)
            own.append(self._message(queued, Place(self.input_position, Role.USER)))
        return sorted(own, key=lambda message: message.position)

    def _message(self, entry: Entry, place: Place) -> Message:
        run_id = RunId(ids.parse(ids.RUN, self.of.run_id))
        return Message(
            tenant_id=TenantId(ids.parse(ids.TENANT, self.of.tenant_id)),
            thread_id=ThreadId(ids.parse(ids.THREAD, self.of.thread_id)),
            position=place.position,
            id=MessageId(ids.derived("recorded", run_id, str(entry.pos))),
            run_id=run_id,
            pos=entry.pos,
            seq=entry.seq,
            role=place.role,
            void=False,
            kind=entry.kind,
            name=entry.name,
            status=entry.status,
            created_at=entry.at,
            payload=entry.payload if entry.payload is not None else b"null",
            error=entry.error,
        )
