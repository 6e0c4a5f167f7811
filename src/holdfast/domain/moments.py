"""Where a run stood at a step: what its journal up to there says, and nothing that came later. Pure.

The moment of step n is everything before step n + 1 was recorded: what was opened after n belongs to it, and the moment
of the last step is the run as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.domain.forks import inherited
from holdfast.domain.journal import TERMINAL, Entry, EntryType, Journal, Phase, StepKind
from holdfast.domain.runs import NO_USAGE, RunStatus, Usage

_T = EntryType
_STATUS: Final = {
    _T.RUN_QUEUED: RunStatus.QUEUED,
    _T.RUN_FORKED: RunStatus.QUEUED,
    _T.RUN_RETRIED: RunStatus.QUEUED,
    _T.RUN_STARTED: RunStatus.RUNNING,
    _T.RUN_RESUMED: RunStatus.RUNNING,
    _T.RUN_RECOVERED: RunStatus.RUNNING,
    _T.RUN_COMPENSATING: RunStatus.RUNNING,
    _T.RUN_WAITING: RunStatus.WAITING,
    _T.RUN_SUCCEEDED: RunStatus.SUCCEEDED,
    _T.RUN_FAILED: RunStatus.FAILED,
    _T.RUN_CANCELLED: RunStatus.CANCELLED,
}
QUESTIONS: Final = frozenset({_T.APPROVAL_REQUESTED, _T.EFFECT_UNKNOWN})


@dataclass(frozen=True, slots=True)
class Payload:
    """What an entry recorded. `data` is None where there is nothing, or where it is larger than was asked for (`cut`);
    `hash` names what is stored aside. `prompt` is there for model steps."""

    data: bytes | None
    hash: bytes | None
    cut: bool
    error: bytes | None
    prompt: bytes | None


@dataclass(frozen=True, slots=True)
class StepsOfName:
    """All steps of one name: how many there are, and the last of them."""

    name: str
    kind: StepKind
    count: int
    last: Entry


@dataclass(frozen=True, slots=True)
class Moment:
    """`journal` holds the steps that count, by key, `steps` the same in the order in which they were recorded; `open`
    what was opened and has no result, in order. `usage` is of the run's own calls: what a fork shares is on the account
    of who made it."""

    status: RunStatus
    journal: Journal
    steps: Sequence[Entry]
    open: Sequence[Entry]
    usage: Usage
    acting_agent_step: Entry | None
    last: Entry | None

    @property
    def questions(self) -> list[Entry]:
        return [entry for entry in self.open if entry.type in QUESTIONS]

    @property
    def position(self) -> list[str]:
        """Where the code stands: what is open, or the step that ended last."""
        keys = [entry.key for entry in self.open if entry.key is not None]
        return keys or ([self.last.key] if self.last is not None and self.last.key is not None else [])


def at(pieces: Sequence[Sequence[Entry]]) -> Moment:
    """The moment after these entries, in order: those that a run shares with others first, its own last."""
    own = pieces[-1]
    before = [entry for piece in pieces[:-1] for entry in piece]
    kept = inherited(before) if own else before
    journal = Journal.of((*kept, *own))
    life = [entry for entry in (own or before) if entry.type in _STATUS]
    ended = bool(life) and life[-1].type in TERMINAL
    results = sorted(journal.results.values(), key=lambda entry: entry.pos)
    return Moment(
        status=_STATUS[life[-1].type] if life else RunStatus.QUEUED,
        journal=journal,
        steps=results,
        open=() if ended else _open(journal),
        usage=_used(own),
        acting_agent_step=next((entry for entry in reversed(results) if _hands_over(entry)), None),
        last=results[-1] if results else None,
    )


def _open(journal: Journal) -> list[Entry]:
    """What was opened and has no result. Whatever ends the run closes it all."""
    found = [entry for key, entry in journal.openings.items() if key not in journal.results]
    return sorted(found, key=lambda entry: entry.pos)


def _used(entries: Iterable[Entry]) -> Usage:
    used = NO_USAGE
    for entry in entries:
        if entry.usage is not None:
            used = used + entry.usage
    return used


def _hands_over(entry: Entry) -> bool:
    return entry.kind is StepKind.HANDOFF and entry.phase is Phase.RESULT and entry.error is None


def by_name(steps: Iterable[Entry]) -> list[StepsOfName]:
    """Steps gathered by their names, those that were recorded last first."""
    found: dict[tuple[str, StepKind], StepsOfName] = {}
    for entry in steps:
        if entry.name is None or entry.kind is None:
            continue
        known = found.get((entry.name, entry.kind))
        count = 1 if known is None else known.count + 1
        found[entry.name, entry.kind] = StepsOfName(entry.name, entry.kind, count, entry)
    return sorted(found.values(), key=lambda steps: -steps.last.pos)
