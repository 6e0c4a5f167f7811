"""What a database holds after a scenario, what must always be true of it, and how it is compared with the oracle's."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import jsonpatch

from holdfast.domain import ids
from tests import databases

_RUNS = (
    "SELECT id, agent, status, thread_id, parent_id, error, output_pos, ended_at, claimable_at, rank, root_id,"
    " forked_run, has_state FROM runs"
)
_HEADS = "SELECT run_id, epoch, pos, seq, owner, lease_until FROM run_heads"
_ENTRIES = (
    "SELECT e.run_id, e.pos, e.type, e.epoch, e.seq, e.phase, e.key, e.kind, e.name, e.attempt, e.status,"
    " coalesce(e.payload, b.data), e.error FROM entries e"
    " LEFT JOIN blobs b ON b.tenant_id = e.tenant_id AND b.hash = e.payload_blob ORDER BY e.run_id, e.pos"
)
_EFFECTS = (
    "SELECT run_id, key, tool, effect_class, status, idempotency_key, rotation, attempt, id, compensates FROM effects"
)
_APPROVALS = "SELECT run_id, key, type, status FROM approvals"
_BOOKINGS = "SELECT label, what FROM crash_bookings"
# Of forks and branches: what they read of others, from the root on.
_LINEAGE = "SELECT run_id, source_id, pos, seq FROM run_lineage ORDER BY run_id, ord"
_BRANCHES = "SELECT thread_id, last FROM thread_lineage ORDER BY thread_id, ord"
_MESSAGES = "SELECT thread_id, position, run_id, pos, role, void FROM messages ORDER BY thread_id, position"
_TERMINAL = {"run.succeeded", "run.failed", "run.cancelled"}


@dataclass(frozen=True)
class Step:
    pos: int
    type: str
    epoch: int
    seq: int | None
    phase: str | None
    key: str | None
    kind: str | None
    name: str | None
    attempt: int | None
    status: str | None
    payload: Any
    error: Any


@dataclass
class Found:
    """A run as its rows say."""

    id: str
    agent: str
    status: str
    thread: bytes
    error: Any
    output_pos: int | None
    ended: bool
    claimable: bool
    rank: int
    root: bytes
    forked: bool
    has_state: bool
    head: tuple[int, int, int, Any, Any] = (0, 0, 0, None, None)
    entries: list[Step] = field(default_factory=list[Step])
    kept: list[Step] = field(default_factory=list[Step])  # of other runs: this is a fork, and goes on from there
    pieces: int = 0  # of how many

    @property
    def input(self) -> Any:
        return self.entries[0].payload

    @property
    def alias(self) -> str:
        if self.entries[0].type == "run.forked":
            said = self.input
            return f"{self.agent}, forked {self.pieces} deep: {said['edits']} {said['effects']}"
        return f"{self.agent}({json.dumps(self.input)})"

    @property
    def base(self) -> tuple[int, int]:
        """Where its own entries and steps begin to count."""
        seqs = [e.seq for e in self.kept if e.seq is not None]
        return (self.kept[-1].pos if self.kept else 0, seqs[-1] if seqs else 0)

    def entry(self, pos: int) -> Step:
        return self.entries[pos - 1 - self.base[0]]

    @property
    def steps(self) -> dict[str, Step]:
        return {e.key: e for e in self.entries if e.phase == "result" and e.key is not None}

    @property
    def known(self) -> dict[str, Step]:
        """Its steps, and those that it has from others."""
        return {e.key: e for e in self.kept if e.phase == "result" and e.key is not None} | self.steps

    def label_of(self, step: Step) -> str:
        """What the auditor was told when this step executed."""
        if step.kind == "model":
            said = self.input if isinstance(self.input, str) else json.dumps(self.input)
            return f"{self.agent}:{said}:{step.key}"
        return f"{self.id}:{step.key}"


@dataclass(frozen=True)
class EffectRow:
    run: str
    key: str
    tool: str
    effect_class: str
    status: str
    idempotency_key: str
    rotation: int
    attempt: int
    id: bytes
    compensates: bytes | None

    @property
    def label(self) -> str:
        return f"{self.run}:{self.key}"


@dataclass(frozen=True)
class Held:
    """What the holds of a database come to: the ledger, the inbox, and the rows that transactions wrote."""

    effects: dict[str, EffectRow]
    questions: list[tuple[str, str, str, str]]
    bookings: Counter[str]


@dataclass
class State:
    runs: dict[str, Found]
    messages: dict[bytes, list[tuple[int, str, int, str, bool]]]
    below: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def named(self, run: Found) -> str:
        """What the oracle calls it: what a fork calls is not what its parent called."""
        root = self.runs[ids.text(ids.RUN, run.root)]
        return f"{root.alias} > {run.alias}" if root is not run and root.forked else run.alias

    def of(self, agent: str) -> list[Found]:
        return sorted((r for r in self.runs.values() if r.agent == agent), key=lambda r: r.rank)


def read(url: str) -> State:
    return _state(*_rows(url, (_RUNS, _HEADS, _ENTRIES, _MESSAGES, _LINEAGE, _BRANCHES)))


def read_holds(url: str) -> Held:
    queries = (_EFFECTS, _APPROVALS, _BOOKINGS)
    effects, approvals, bookings = _rows(url, queries)
    known = [EffectRow(ids.text(ids.RUN, row[0]), *row[1:]) for row in effects]
    questions = [(ids.text(ids.RUN, row[0]), *row[1:]) for row in approvals]
    return Held({e.label: e for e in known}, questions, Counter(label for label, _ in bookings))


def read_bookings(url: str) -> list[tuple[str, str]]:
    """Which call booked what."""
    return [(label, what) for label, what in _rows(url, (_BOOKINGS,))[0]]


def _rows(url: str, queries: tuple[str, ...]) -> Any:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return [connection.execute(query).fetchall() for query in queries]
        finally:
            connection.close()
    return databases.in_thread(lambda: _postgres_rows(url, queries))


async def _postgres_rows(url: str, queries: tuple[str, ...]) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return [[tuple(row) for row in await connection.fetch(query)] for query in queries]
    finally:
        await connection.close()


def _state(runs: Any, heads: Any, entries: Any, messages: Any, lineage: Any, branches: Any) -> State:
    found: dict[bytes, Found] = {}
    for id, agent, status, thread, _, error, output_pos, ended_at, claimable_at, rank, root, forked, has_state in runs:
        ended, claimable = ended_at is not None, claimable_at is not None
        alias = ids.text(ids.RUN, id)
        found[id] = Found(
            alias, agent, status, thread, _json(error), output_pos, ended, claimable, rank, root, forked is not None,
            has_state is not None,
        )  # fmt: skip
    for row in heads:
        found[row[0]].head = row[1:6]
    for row in entries:
        found[row[0]].entries.append(Step(*row[1:11], _json(row[11]), _json(row[12])))
    for run_id, source, pos, _ in lineage:
        fork = found[run_id]
        fork.pieces += 1
        fork.kept += [e for e in found[source].entries if fork.base[0] < e.pos <= pos]
    threads: dict[bytes, list[tuple[int, str, int, str, bool]]] = {}
    for thread, position, run, pos, role, void in messages:
        threads.setdefault(thread, []).append((position, ids.text(ids.RUN, run), pos, role, bool(void)))
    return State({run.id: run for run in found.values()}, threads, dict(branches))


def _json(raw: bytes | None) -> Any:
    return None if raw is None else json.loads(raw)


# --- what must always be true ----------------------------------------------------------------------------------------


def demand_sound(state: State) -> None:
    """Whatever happened, at any moment: dense numbers, nothing recorded twice, one line of epochs."""
    for run in state.runs.values():
        epoch, pos, seq, owner, lease_until = run.head
        first_pos, first_seq = (n + 1 for n in run.base)
        assert [e.pos for e in run.entries] == list(range(first_pos, pos + 1)), f"{run.alias}: pos has holes"
        seqs = [e.seq for e in run.entries if e.seq is not None]
        assert seqs == list(range(first_seq, seq + 1)), f"{run.alias}: seq has holes: {seqs} of {seq}"
        epochs = [e.epoch for e in run.entries]
        assert [*epochs, epoch] == sorted([*epochs, epoch]), f"{run.alias}: epochs {epochs}, {epoch}"
        twice = [k for k, n in Counter((e.key, e.phase, e.attempt) for e in run.entries if e.key).items() if n > 1]
        assert not twice, f"{run.alias}: recorded twice: {twice}"
        assert (owner is not None) == (run.status == "running") == (lease_until is not None), f"{run.alias}: {run}"
        ends = [e.type for e in run.entries if e.type in _TERMINAL]
        assert len(ends) == run.ended, f"{run.alias} ended {len(ends)} times"
        assert run.has_state == any(e.kind == "state" for e in run.entries), f"{run.alias}: {run.has_state}"
    demand_versions(state)
    under_way = {run.thread for run in state.runs.values() if not run.ended}
    for thread, found in state.messages.items():
        # A transaction is not committed in line with the other calls of its turn: it may come first for a while.
        places = [m[0] for m in found]
        assert len({*places}) == len(places), f"{thread.hex()} has two messages in one place: {found}"
        first = state.below.get(thread, 0) + 1
        assert thread in under_way or places == [*range(first, len(places) + first)], (
            f"{thread.hex()} has holes: {found}"
        )
        for _, run_id, pos, _, _ in found:
            assert pos <= state.runs[run_id].head[1], "a message without its entry"


def demand_versions(state: State) -> None:
    """Versions of a thread's state are dense, in the order of its runs and of their entries, and each patch fits."""
    for thread in {run.thread for run in state.runs.values() if not run.forked}:
        document: Any = None
        version = 0
        for run in sorted((r for r in state.runs.values() if r.thread == thread), key=lambda r: r.rank):
            changes = [e.payload for e in run.entries if e.kind == "state" and e.status == "succeeded"]
            for number, change in enumerate(changes):
                version += 1
                assert change["version"] == version, f"{run.alias}: version {change['version']} instead of {version}"
                assert number or change["patch"][0]["path"] == "", f"{run.alias} begins without a snapshot"
                document = jsonpatch.apply_patch(document, change["patch"])


def demand_quiet(state: State) -> None:
    """At the end: every run has ended, and every thread is free."""
    for run in state.runs.values():
        assert run.ended, f"{run.alias} is lost: {run.status}"
        assert not run.claimable, f"{run.alias} has ended and can be claimed"
        assert run.entries[-1].type in _TERMINAL, f"{run.alias} goes on after its end"


def demand_audited(before: State | None, after: State, then: Counter[str], now: Counter[str]) -> None:
    """Nothing whose entry was committed before the crash ran again after it; what was not ran at most once more."""
    for run in before.runs.values() if before else ():
        for step in run.steps.values():
            label = run.label_of(step)
            assert now[label] == then[label], f"{label} was committed and ran again"
    for label, count in now.items():
        assert count <= then[label] + 1, f"{label} ran {count - then[label]} times after the crash"
    executed = {run.label_of(step) for run in after.runs.values() for step in run.steps.values() if _works(step)}
    assert executed <= now.keys(), f"recorded without having run: {executed - now.keys()}"


def demand_durable(at_crash: State, then: Counter[str]) -> None:
    """A tool that may change something ran only after its opening, and all that it follows from, were durable."""
    for run in at_crash.runs.values():
        opened = {e.key for e in run.entries if e.type == "tool.started"}
        for label in then:
            owner, _, key = label.partition(":")
            if owner != run.id or not _changes(run, key):
                continue
            assert key in opened, f"{label} ran before its opening was durable"
            model, _, place = key.rpartition("/")
            if place.isdigit():
                assert model in run.known, f"{label} ran before {model} was durable"


def _changes(run: Found, key: str) -> bool:
    """Whether the tool at this key changes something: told by its opening, or by the name that the model called."""
    model, _, place = key.rpartition("/")
    asked = run.known.get(model)
    if model == "undo":
        return True
    if place.isdigit() and asked is not None:
        calls = [p for p in asked.payload["data"]["parts"] if p["part_kind"] == "tool-call"]
        return calls[int(place)]["tool_name"].startswith("change")
    return place.startswith("e#") or (place.startswith("b#") and run.agent == "lingering")


def _works(step: Step) -> bool:
    """Whether the auditor hears of this step when it executes."""
    if step.kind == "tool":
        return step.status == "succeeded" and step.name not in ("asked", "survey")
    return step.kind in ("model", "code")


# --- comparison with the oracle --------------------------------------------------------------------------------------

_RUN_ID = re.compile(r"run_[0-9a-v]{26}")
_VARIES = {"timestamp", "usage", "at", "by", "id", "due_at", "run_id", "approval_id", "event_id"}
_UNDO = re.compile(r"^undo/eff_[0-9a-v]{26}")
# Questions that only a crash raises: what became of an effect, and leave for doing again what was not done.
_AFTER_A_CRASH = re.compile(r"/(effect#\d+|leave#([2-9]|\d\d+))$")


def _plain(value: Any) -> Any:
    """Without what differs from one execution to the next."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in _VARIES}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, str):
        return _RUN_ID.sub("run_", value)
    return value


def outcome(state: State, *, ordered: bool) -> dict[str, Any]:
    """What the scenario came to, without ids and times: per run its end, its steps by key, its events, its messages."""
    found: dict[str, Any] = {}
    for run in state.runs.values():
        last = run.entries[-1]
        messages = [
            (role, _plain(run.entry(pos).payload), void)
            for _, owner, pos, role, void in state.messages.get(run.thread, [])
            if owner == run.id
        ]
        name = state.named(run)
        assert name not in found, f"two runs are {name}"
        found[name] = {
            "status": run.status,
            "end": _plain(last.payload),
            "steps": {
                _numbered(run, key): _told(step) for key, step in run.steps.items() if not _AFTER_A_CRASH.search(key)
            },
            "events": [_plain(e.payload) for e in run.entries if e.type == "custom"],
            "messages": messages if ordered else sorted(messages, key=repr),
        }
    return found


def _numbered(run: Found, key: str) -> str:
    """The key of an undoing names the effect by its id; here by its place among what the run undid."""
    undone = [other for other in run.steps if _UNDO.fullmatch(other)]
    return f"undo/{undone.index(key)}" if key in undone else key


def _told(step: Step) -> Any:
    # What parallel branches publish comes in any order: `demand_sound` looks at that.
    payload = None if step.kind in ("value", "state") else _plain(step.payload)
    return (step.kind, step.name, step.status, step.attempt, payload, _plain(step.error))


def demand_same(state: State, oracle: dict[str, Any], *, ordered: bool, stopped: str | None, must_stop: bool) -> None:
    """Every run came to what the oracle's did; the one that was stopped did a part of it."""
    got = outcome(state, ordered=ordered)
    assert got.keys() == oracle.keys(), f"{got.keys()} instead of {oracle.keys()}"
    for alias, mine in got.items():
        theirs = oracle[alias]
        if alias == stopped and (must_stop or mine["status"] == "cancelled"):
            assert mine["status"] == "cancelled", f"{alias} was to be stopped, and {mine['status']}"
            assert mine["steps"].items() <= theirs["steps"].items(), f"{mine['steps']}\nof {theirs['steps']}"
            assert mine["messages"] == theirs["messages"][: len(mine["messages"])], f"{mine}\nof {theirs}"
        else:
            assert mine == theirs, f"{alias}:\n{mine}\ninstead of\n{theirs}"
    demand_values(state)


def demand_values(state: State) -> None:
    """Recorded values are what the run went on with, on whichever side of the crash it read them."""
    for run in state.of("flow"):
        said = run.entries[-1].payload["output"]
        assert run.steps["random#1"].payload == said["by"]
        assert str(UUID(hex=run.steps["uuid#1"].payload, version=4)) == said["id"]


def audited(directory: Path) -> Counter[str]:
    path = directory / "audit"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def acked(directory: Path) -> dict[str, str]:
    """The requests whose answers the client got, with the runs they are about."""
    path = directory / "acks"
    return json.loads(path.read_text()) if path.exists() else {}
