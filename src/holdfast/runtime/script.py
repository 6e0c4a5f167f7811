"""The recorded side of a replay: answers the steps that code asks for, and says where it asked for something else.

Invariants: a recorded step is answered at most as it was recorded; of all divergences that parallel branches run into,
the one with the lowest recorded `seq` is reported, whichever came first; what a body asked for itself is not expected,
since bodies do not run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from holdfast.domain import differences
from holdfast.domain.differences import Difference
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Cancelled, JournalMismatch, LimitReached, Parked, Signal
from holdfast.domain.journal import Entry, EntryType, Journal, StepKind, matches_arguments
from holdfast.domain.recorded import RecordedRun
from holdfast.domain.replays import Reason, Replay, Verdict, is_from_outside
from holdfast.domain.runs import RunStatus

# What ends a run at once, so that steps of its other branches were never recorded.
_CLOSING: Final = frozenset({"journal_mismatch", "unscoped_concurrency", "effect_compensated"})


class Halted(Signal):
    """The replay of this branch is over: it diverged."""


@dataclass(frozen=True, slots=True)
class Request:
    """A step that the code asks for; `path` is the scope it stands in."""

    key: str
    kind: StepKind
    name: str
    digest: bytes | None
    arguments: Any
    path: str

    def side(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"key": self.key, "kind": self.kind.value, "name": self.name}
        if self.arguments is not None:
            shown["arguments"] = differences.bounded(self.arguments)
        return shown


@dataclass(frozen=True, slots=True)
class Divergence:
    """`seq` is None behind the last recorded step."""

    seq: int | None
    reason: Reason
    message: str
    recorded: dict[str, Any] | None
    requested: dict[str, Any] | None
    difference: Difference | None = None

    def result(self, steps: int) -> Replay:
        return Replay(
            verdict=Verdict.DIVERGED,
            steps=steps,
            at=self.seq,
            reason=self.reason,
            message=self.message,
            recorded=self.recorded,
            requested=self.requested,
            difference=self.difference,
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How the code came to its end: with an output, with an error, by restarting, or not at all (a signal)."""

    output: bytes | None = None
    error: dict[str, Any] | None = None
    restarted_with: bytes | None = None
    signal: bool = False


class Watched(Journal):
    """A journal that tells what it is asked for."""

    __slots__ = ("ask",)

    ask: Callable[[str, StepKind, str, bytes | None], Entry | None]

    def find(self, key: str, kind: StepKind, name: str, digest: bytes | None) -> Entry | None:
        return self.ask(key, kind, name, digest)


@dataclass(slots=True)
class Script:
    """What was recorded, and what has been asked for of it."""

    recorded: RecordedRun
    journal: Journal
    asked: dict[str, Request] = field(default_factory=dict[str, Request])
    matched: list[tuple[Request, Entry]] = field(default_factory=list[tuple[Request, Entry]])
    past: list[Request] = field(default_factory=list[Request])
    added: list[Request] = field(default_factory=list[Request])
    found: list[Divergence] = field(default_factory=list[Divergence])
    mismatched: int | None = None
    _own: dict[str, int] = field(default_factory=dict[str, int])
    _below: dict[str, int] = field(default_factory=dict[str, int])
    _voided: frozenset[str] = frozenset()
    _error: dict[str, Any] = field(default_factory=dict[str, Any])
    _status: RunStatus = RunStatus.SUCCEEDED

    @classmethod
    def of(cls, recorded: RecordedRun) -> Script:
        script = cls(recorded, recorded.journal(), _voided=recorded.voided())
        script._status, script._error = _ending(recorded)
        return script

    # -- asking ---------------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> Entry | None:
        """The recorded result of the step, or None; `Halted` if another one stands in its place."""
        self.asked.setdefault(request.key, request)
        entry = self.journal.results.get(request.key)
        if entry is None:
            self._demand_opening(request)
            return None
        compared = request.digest if not self.recorded.redacted else entry.digest
        try:
            self.journal.find(request.key, request.kind, request.name, compared)
        except JournalMismatch:
            if self._error.get("code") == "journal_mismatch" and _key_of(self._error) == request.key:
                self.mismatched = entry.seq  # it ended so before, too
                raise
            raise self._changed(entry, request) from None
        self._demand_order(request, entry)
        self.matched.append((request, entry))
        return entry

    def _demand_opening(self, request: Request) -> None:
        """What was begun and has no result has to be the same step, too."""
        opened = self.journal.openings.get(request.key)
        if opened is None or self.recorded.redacted:
            return
        try:
            self.journal.opening(request.key, request.kind, request.name, request.digest)
        except JournalMismatch:
            if self._error.get("code") == "journal_mismatch" and _key_of(self._error) == request.key:
                raise
            raise self._changed(replace(opened, seq=self._last + 1), request) from None

    @property
    def _last(self) -> int:
        return max((e.seq or 0 for e in self.journal.results.values()), default=0)

    def _demand_order(self, request: Request, entry: Entry) -> None:
        """Within a branch steps come as they were recorded. What parallel branches do is in no order, and a step that a
        retry declared void was recorded again later than what came after it."""
        seq = entry.seq or 0
        if request.key in self._voided:
            return
        above = max(self._own.get(path, 0) for path in _upwards(request.path))
        if seq < max(above, self._below.get(request.path, 0)):
            raise self._out_of_order(entry)
        self._own[request.path] = max(seq, self._own.get(request.path, 0))
        for path in _upwards(request.path):
            self._below[path] = max(seq, self._below.get(path, 0))

    def _out_of_order(self, entry: Entry) -> Halted:
        """The code came to this step too late: what it asked for in its stead is what it asked for first of the later
        ones."""
        late = self.asked[entry.key or ""]
        early = next(
            request
            for request, other in self.matched
            if (other.seq or 0) > (entry.seq or 0)
            and (_is_within(request.path, late.path) or _is_within(late.path, request.path))
        )
        return self.diverge(entry, Reason.STEP_CHANGED, early)

    def _changed(self, entry: Entry, request: Request) -> Halted:
        return self.diverge(entry, Reason.STEP_CHANGED, request)

    def diverge(
        self, entry: Entry, reason: Reason, request: Request, difference: Difference | None = None, said: str = ""
    ) -> Halted:
        """Note that the code wants something else than the step that was recorded here."""
        one, other = self.side(entry), request.side()
        found = difference or self._difference(entry, one, request, other)
        message = said or (
            f"Step {entry.seq} was {_described(one)}; the code now asks for {_described(other)}."
            if reason is Reason.STEP_CHANGED
            else f"The model would be asked something else at step {entry.seq}, {_described(one)}."
        )
        self.found.append(Divergence(entry.seq, reason, message, one, other, found))
        self.matched = [pair for pair in self.matched if pair[1] is not entry]
        return Halted()

    def _difference(
        self, entry: Entry, one: dict[str, Any], request: Request, other: dict[str, Any]
    ) -> Difference | None:
        shared = {name: value for name, value in one.items() if name in ("key", "kind", "name", "arguments")}
        if "arguments" not in shared or request.arguments is None:
            shared.pop("arguments", None)
            other = {name: value for name, value in other.items() if name != "arguments"}
        found = differences.first(shared, other)
        if found is None and entry.digest != request.digest:
            was = (
                "none" if entry.digest is None else f"digest {entry.digest.hex()} (all that the journal keeps of them)"
            )
            return Difference("arguments", was, differences.bounded(request.arguments))
        return found

    # -- behind the record ------------------------------------------------------------------------------------------

    def beyond(self, request: Request) -> BaseException:
        """What to raise for a step that was not recorded. As far as the record goes nothing is wrong yet, if it was
        not the code that ended it."""
        self.asked.setdefault(request.key, request)
        self.past.append(request)
        if not self._status.ended:
            return Parked()
        if self._status is RunStatus.CANCELLED:
            return Cancelled()
        if self.ended_outside:
            return LimitReached(str(self._error.get("message", "")), code=str(self._error.get("code")))
        self.added.append(request)
        return Halted()

    @property
    def ended_outside(self) -> bool:
        """Whether something else than the code ended the run, or nothing has yet."""
        if self._status in (RunStatus.FAILED, RunStatus.SUCCEEDED):
            code = str(self._error.get("code", ""))
            return self._status is RunStatus.FAILED and is_from_outside(code)
        return True

    # -- the verdict ------------------------------------------------------------------------------------------------

    def missing(self) -> list[Entry]:
        """Recorded steps that nobody asked for and that should have been, in order."""
        left = (e for key, e in self.journal.results.items() if key not in self.asked)
        return sorted((e for e in left if not self._excused(e)), key=lambda e: e.seq or 0)

    def _excused(self, entry: Entry) -> bool:
        """Whether a step was asked for from within another one's body (then it was recorded before that one), or lies
        under one that was declared void, or came while the run was on its way to the failure it had."""
        if self.mismatched is not None and (entry.seq or 0) > self.mismatched:
            return True
        for above in _above(entry.key or ""):
            if above in self._voided:
                return True
            if above in self.asked:
                result = self.journal.results.get(above)
                if result is None or (entry.seq or 0) < (result.seq or 0):
                    return True
        return False

    def judge(self, ended: Ended) -> Replay:
        """What the replay came to, after the code has come to its end."""
        found = list(self.found)
        missing = self.missing()
        closed_again = self._code in _CLOSING and ended.error is not None and _same_error(ended.error, self._error)
        added = [] if closed_again else self.added
        if missing:
            found.append(self._missed(missing[0]))
        elif added:
            found.append(self._behind(added[0]))
        steps = len(self.matched)
        if found:
            return min(found, key=lambda one: (one.seq is None, one.seq or 0)).result(steps)
        other = self._other_outcome(ended)
        return Replay(verdict=Verdict.IDENTICAL, steps=steps) if other is None else other.result(steps)

    @property
    def _code(self) -> str:
        return str(self._error.get("code", ""))

    def _missed(self, entry: Entry) -> Divergence:
        """A recorded step that nobody asked for, and what was asked for instead, where it stands or around it."""
        path = (entry.key or "").rpartition("/")[0]
        instead = next((r for r in self.past if _is_within(path, r.path) or _is_within(r.path, path)), None)
        one = self.side(entry)
        if instead is None:
            message = f"Step {entry.seq}, {_described(one)}, was recorded, and the code never asks for it."
            return Divergence(entry.seq, Reason.STEP_MISSING, message, one, None)
        other = instead.side()
        message = f"Step {entry.seq} was {_described(one)}; the code now asks for {_described(other)}."
        difference = self._difference(entry, one, instead, other)
        return Divergence(entry.seq, Reason.STEP_CHANGED, message, one, other, difference)

    def _behind(self, request: Request) -> Divergence:
        other = request.side()
        message = f"The code asks for {_described(other)} behind the last recorded step, where the run had ended."
        return Divergence(self._last + 1, Reason.STEP_ADDED, message, self.outcome(), other)

    def _other_outcome(self, ended: Ended) -> Divergence | None:
        """Whether the code came to another end than the run; None if it is the same, or not the code's."""
        if ended.signal or self._ends_elsewhere():
            return None
        if self._same_outcome(ended):
            return None
        one, other = self._outcome(), _outcome_of(ended)
        message = "Every recorded step was asked for as it was, but the run would end in another way."
        difference = differences.first(one, other)
        return Divergence(None, Reason.OUTCOME_CHANGED, message, _bounded(one), _bounded(other), difference)

    def _ends_elsewhere(self) -> bool:
        return self.ended_outside and self._status is not RunStatus.WAITING

    def _same_outcome(self, ended: Ended) -> bool:
        recorded = self.recorded
        if self._status is RunStatus.WAITING:
            return False
        if self._status is RunStatus.FAILED:
            return ended.error is not None and (recorded.redacted or _same_error(ended.error, self._error))
        if recorded.restarted:
            given = recorded.restarted_with
            return ended.restarted_with is not None and (given is None or decode(given) == decode(ended.restarted_with))
        if ended.error is not None or ended.restarted_with is not None:
            return False
        return recorded.redacted or differences.first(decode(recorded.output), decode(ended.output)) is None

    # -- what people see --------------------------------------------------------------------------------------------

    def outcome(self) -> dict[str, Any]:
        """How the run ended, as it was recorded, in a size that can be read."""
        return _bounded(self._outcome())

    def _outcome(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"status": self._status.value}
        if self._status is RunStatus.SUCCEEDED:
            if self.recorded.restarted:
                return {"status": "restarted", "input": decode(self.recorded.restarted_with)}
            shown["output"] = decode(self.recorded.output)
        elif self._status is RunStatus.FAILED:
            shown["error"] = _told(self._error)
        return shown

    def side(self, entry: Entry) -> dict[str, Any]:
        """A recorded step, with its arguments where something still knows them."""
        assert entry.kind is not None, "a result is of a step"
        shown: dict[str, Any] = {
            "seq": entry.seq,
            "key": entry.key,
            "kind": entry.kind.value,
            "name": entry.name,
            "status": None if entry.status is None else entry.status.value,
        }
        known, arguments = self._arguments(entry)
        if known:
            shown["arguments"] = differences.bounded(arguments)
        elif entry.digest is not None and matches_arguments(entry.kind):
            shown["arguments_digest"] = entry.digest.hex()
        return shown

    def _arguments(self, entry: Entry) -> tuple[bool, Any]:
        """The journal keeps a digest of arguments; the model's answer, the ledger and openings tell more."""
        key = entry.key or ""
        asked_by, _, index = key.rpartition("/")
        answer = self.journal.results.get(asked_by)
        if answer is not None and answer.kind is StepKind.MODEL and index.isdecimal():
            calls = [p for p in _parts(answer) if p.get("part_kind") == "tool-call"]
            if int(index) < len(calls):
                return True, calls[int(index)].get("args")
        if key in self.recorded.arguments:
            return True, decode(self.recorded.arguments[key])
        opening = self.journal.openings.get(key)
        if opening is not None and entry.kind is StepKind.INTERRUPT:
            return True, {"question": decode(opening.payload).get("message")}
        return False, None


# -- pieces -----------------------------------------------------------------------------------------------------------


def _ending(recorded: RecordedRun) -> tuple[RunStatus, dict[str, Any]]:
    """How the agent's own code ended the run: what was undone afterwards does not change that."""
    for entry in recorded.entries:
        if entry.type is EntryType.RUN_COMPENSATING:
            said: dict[str, Any] = decode(entry.payload)
            return RunStatus(said["status"]), said.get("error") or {}
    return recorded.status, decode(recorded.error) or {}


def _key_of(error: dict[str, Any]) -> str | None:
    details: dict[str, Any] = error.get("details") or {}
    return details.get("key")


def _parts(answer: Entry) -> list[dict[str, Any]]:
    said: dict[str, Any] = decode(answer.payload) or {}
    data: Any = said.get("data")
    return cast("dict[str, Any]", data).get("parts") or [] if isinstance(data, dict) else []


def _upwards(path: str) -> list[str]:
    """A scope and all it lies in."""
    found = [path]
    while path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found


def _is_within(path: str, other: str) -> bool:
    """Whether the scope `path` is `other`, or lies in it."""
    return not other or path == other or path.startswith(other + "/")


def _above(key: str) -> list[str]:
    """Keys of steps in whose bodies a step of this key may have been asked for."""
    found: list[str] = []
    while "/" in key:
        key = key.rpartition("/")[0]
        found += [key, key.partition("@")[0]] if "@" in key else [key]
    return found


_ADDRESS: Final = "0x"


def _without_addresses(text: str) -> str:
    """Objects show their address in their `repr`; it is another one in each process."""
    head, *rest = text.split(_ADDRESS)
    return head + "".join(part.lstrip("0123456789abcdefABCDEF") for part in rest)


def _told(error: dict[str, Any]) -> dict[str, Any]:
    """What of an error is the same on each run: not the object's address in its text."""
    shown = {name: error[name] for name in ("code", "step") if error.get(name) is not None}
    return {**shown, "message": _without_addresses(str(error.get("message", "")))}


def _same_error(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return _told(one) == _told(other)


def _bounded(side: dict[str, Any]) -> dict[str, Any]:
    return {name: differences.bounded(value) for name, value in side.items()}


def _outcome_of(ended: Ended) -> dict[str, Any]:
    if ended.error is not None:
        return {"status": "failed", "error": _told(ended.error)}
    if ended.restarted_with is not None:
        return {"status": "restarted", "input": decode(ended.restarted_with)}
    return {"status": "succeeded", "output": decode(ended.output)}


def _described(side: dict[str, Any]) -> str:
    return f"the {side['kind']} step {side['name']!r} ({side['key']})"
