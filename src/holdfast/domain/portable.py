"""A recorded run as lines of JSON: what `runs export` writes, `runs import` reads, and a replaying process is given.

    {"line":"run","format":"holdfast.run","version":1,…}      who it was, and its agent
    {"line":"entry",…} {"line":"message",…} {"line":"blob",…}
    {"line":"end","entries":n,"messages":n,"blobs":n,"sha256":…}

The last line tells how many there were and the SHA-256 of all lines before it, so a file that was cut or changed is
refused, with the number of the line. Several runs are several such blocks, one after another. Payloads are JSON in the
JSON: a reader without Holdfast can use them, and a hook can change them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

from pydantic_core import from_json, to_json

from holdfast import _version
from holdfast.domain import ids, limits
from holdfast.domain.encoding import decode, encode, storable_text
from holdfast.domain.errors import Damaged, HoldfastError, Invalid
from holdfast.domain.forks import overrides_of
from holdfast.domain.ids import MessageId, RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, EntryType, Phase, StepKind, StepStatus
from holdfast.domain.recorded import Place, RecordedRun, RunIds
from holdfast.domain.runs import RunStatus, Usage
from holdfast.domain.states import Document
from holdfast.domain.threads import Message, Role

E = TypeVar("E", bound=StrEnum)
FORMAT: Final = "holdfast.run"
VERSION: Final = 1
Line = dict[str, Any]
Redact = Callable[[Line], Line]
_NOTHING: Final = object()
# What reading a line of somebody else's making may run into.
_WRONG: Final = (HoldfastError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError)


def damaged(line: int, reason: str) -> Damaged:
    """The error for a line, numbered from 1."""
    return Damaged(f"Line {line}: {reason}", errors=[{"loc": ["body", line], "msg": reason}], line=line)


# -- writing ----------------------------------------------------------------------------------------------------------


def written(recorded: RecordedRun, redact: Redact | None = None) -> Iterator[bytes]:
    """The lines of a run, each with its newline. `redact` is given each line's value, the last one excepted, and
    returns what is written in its stead."""
    digest = hashlib.sha256()
    counts = {"entries": 0, "messages": 0, "blobs": 0}
    for line in _lines(recorded, redacted=redact is not None or recorded.redacted):
        kind = line["line"]
        if redact is not None:
            line = _redacted(redact, line)
        if kind != "run":
            counts[_COUNTED[kind]] += 1
        data = to_json(line) + b"\n"
        digest.update(data)
        yield data
    yield to_json({"line": "end", **counts, "sha256": digest.hexdigest()}) + b"\n"


_COUNTED: Final = {"entry": "entries", "message": "messages", "blob": "blobs"}


def _redacted(redact: Redact, line: Line) -> Line:
    changed: Any = redact(from_json(to_json(line)))
    if not isinstance(changed, dict) or cast(Line, changed).get("line") != line["line"]:
        raise Invalid(f'What redacts a line returns an object with "line": "{line["line"]}", as it was given it.')
    return cast(Line, changed)


def _lines(recorded: RecordedRun, *, redacted: bool) -> Iterator[Line]:
    yield _header(recorded, redacted=redacted)
    for entry in recorded.entries:
        yield _entry_line(entry, recorded.places.get(entry.pos))
    for message in recorded.messages:
        yield _message_line(message)
    for hash, data in sorted(recorded.blobs.items()):
        yield {"line": "blob", "hash": hash.hex(), **_content(data)}


def _header(recorded: RecordedRun, *, redacted: bool) -> Line:
    run: Line = {
        **asdict(recorded.of),
        "status": recorded.status.value,
        "created_at": recorded.created_at,
        "started_at": recorded.started_at,
        "ended_at": recorded.ended_at,
        "cancel_reason": recorded.cancel_reason,
        "depth": recorded.depth,
        "attempt": recorded.attempt,
        "input_position": recorded.input_position,
        "inherited": recorded.inherited,
        "state": [recorded.state.version, recorded.state.value],
        **({"policed": True} if recorded.policed else {}),
    }
    for name in _JSON_OF_RUN:
        _put(run, name, getattr(recorded, name))
    agent = {"id": recorded.agent, "version": recorded.version, "kind": recorded.kind}
    _put(agent, "definition", recorded.definition)
    return {
        "line": "run",
        "format": FORMAT,
        "version": VERSION,
        "holdfast": _version.__version__,
        "redacted": redacted,
        "run": run,
        "agent": agent,
        "arguments": {key: decode(value) for key, value in sorted(recorded.arguments.items())},
    }


_JSON_OF_RUN: Final = ("input", "output", "error", "restarted_with", "metadata", "limits", "overrides")
_PLAIN_OF_ENTRY: Final = (
    "pos", "at", "epoch", "seq", "key", "name", "attempt", "tries", "price_version", "started_at", "ended_at",
)  # fmt: skip
_TEXTS: Final = ("key", "name", "price_version")
_JSON_OF_ENTRY: Final = ("payload", "error", "prompt")


def _put(line: Line, name: str, value: bytes | None) -> None:
    """JSON in JSON. What there is not is left out: that is something else than null."""
    if value is not None:
        line[name] = decode(value)


def _entry_line(entry: Entry, place: Place | None) -> Line:
    line: Line = {"line": "entry", "type": entry.type.value}
    line |= {name: value for name in _PLAIN_OF_ENTRY if (value := getattr(entry, name)) is not None}
    for name in ("phase", "kind", "status"):
        value: StrEnum | None = getattr(entry, name)
        if value is not None:
            line[name] = value.value
    if entry.digest is not None:
        line["digest"] = entry.digest.hex()
    if entry.usage is not None:
        line["usage"] = asdict(entry.usage)
    if place is not None:
        line["message"] = {"position": place.position, "role": place.role.value}
    for name in _JSON_OF_ENTRY:
        _put(line, name, getattr(entry, name))
    return line


def _message_line(message: Message) -> Line:
    line: Line = {
        "line": "message",
        "position": message.position,
        "id": ids.text(ids.MESSAGE, message.id),
        "run_id": ids.text(ids.RUN, message.run_id),
        "pos": message.pos,
        "seq": message.seq,
        "role": message.role.value,
        "void": message.void,
        "kind": message.kind,
        "name": message.name,
        "status": message.status,
        "created_at": message.created_at,
    }
    _put(line, "payload", message.payload)
    _put(line, "error", message.error)
    return line


def _content(data: bytes) -> Line:
    """A blob as JSON if that gives the same bytes again, else as base64: prompts name it by its hash."""
    try:
        value = from_json(data)
        if to_json(value) == data:
            return {"data": value}
    except ValueError:
        pass
    return {"base64": base64.b64encode(data).decode()}


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Block:
    """One run on its way out of a file."""

    first: int
    header: Line
    digest: Any
    entries: list[Entry] = field(default_factory=list[Entry])
    places: dict[int, Place] = field(default_factory=dict[int, Place])
    messages: list[Message] = field(default_factory=list[Message])
    blobs: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    blob_lines: int = 0


def read(lines: Iterable[bytes]) -> Iterator[RecordedRun]:
    """The runs of a file, each when its last line has been checked. Raises `Damaged`."""
    block: _Block | None = None
    number = 0
    for number, raw in enumerate(lines, 1):
        line = _parsed(number, raw)
        try:
            if block is None:
                block = _begun(number, line)
            elif line.get("line") == "end":
                yield _ended(number, block, line)
                block = None
                continue
            else:
                _take(block, line)
        except Damaged:
            raise
        except _WRONG as exc:
            raise damaged(number, f"it cannot be read ({type(exc).__name__}: {exc}).") from None
        block.digest.update(raw if raw.endswith(b"\n") else raw + b"\n")
    if block is not None:
        raise damaged(number + 1, f"the file ends here; the run that begins at line {block.first} is not complete.")
    if number == 0:
        raise damaged(1, "the file is empty.")


def _parsed(number: int, raw: bytes) -> Line:
    try:
        line = from_json(raw, allow_inf_nan=False)
    except ValueError as exc:
        raise damaged(number, f"this is not JSON: {exc}.") from None
    if not isinstance(line, dict):
        raise damaged(number, "this is not an object.")
    return cast(Line, line)


def _begun(number: int, line: Line) -> _Block:
    if line.get("line") != "run" or line.get("format") != FORMAT:
        raise damaged(number, f'this is not the beginning of a run: "format" has to be "{FORMAT}".')
    version = line.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        hint = " Use a newer Holdfast." if newer else ""
        raise damaged(number, f"its format is version {version}; this is Holdfast {_version.__version__}, "
                      f"which reads version {VERSION}.{hint}")  # fmt: skip
    return _Block(number, line, hashlib.sha256())


def _take(block: _Block, line: Line) -> None:
    match line.get("line"):
        case "entry":
            entry, place = _entry(line)
            if block.entries and entry.pos <= block.entries[-1].pos:
                raise ValueError(f"entry {entry.pos} stands behind entry {block.entries[-1].pos}")
            block.entries.append(entry)
            if place is not None:
                block.places[entry.pos] = place
        case "message":
            block.messages.append(_message(line))
        case "blob":
            block.blob_lines += 1
            block.blobs[bytes.fromhex(line["hash"])] = _data(line)
        case other:
            raise ValueError(f"there is no line of kind {other!r}")


def _ended(number: int, block: _Block, line: Line) -> RecordedRun:
    counted = {"entries": len(block.entries), "messages": len(block.messages), "blobs": block.blob_lines}
    for name, count in counted.items():
        if line.get(name) != count:
            raise damaged(number, f"there should be {line.get(name)} {name}, but there are {count}.")
    if line.get("sha256") != block.digest.hexdigest():
        raise damaged(number, f"the SHA-256 of lines {block.first} to {number - 1} is another one: they were changed.")
    try:
        return _recorded(block)
    except _WRONG as exc:
        raise damaged(block.first, f"it cannot be read ({type(exc).__name__}: {exc}).") from None


def _recorded(block: _Block) -> RecordedRun:
    run: Line = block.header["run"]
    agent: Line = block.header["agent"]
    of = RunIds(**{name: run[name] for name in RunIds.__dataclass_fields__})
    for prefix, id in ((ids.RUN, of.run_id), (ids.THREAD, of.thread_id), (ids.TENANT, of.tenant_id)):
        ids.parse(prefix, id)
    recorded = RecordedRun(
        of=of,
        agent=str(agent["id"]),
        version=str(agent["version"]),
        kind=agent.get("kind"),
        definition=_json(agent, "definition"),
        status=RunStatus(run["status"]),
        cancel_reason=run["cancel_reason"],
        created_at=int(run["created_at"]),
        started_at=run["started_at"],
        ended_at=run["ended_at"],
        depth=int(run["depth"]),
        attempt=int(run["attempt"]),
        input_position=int(run["input_position"]),
        inherited=int(run["inherited"]),
        entries=tuple(block.entries),
        places=block.places,
        messages=tuple(block.messages),
        blobs=block.blobs,
        arguments={str(key): encode(value) for key, value in block.header.get("arguments", {}).items()},
        state=Document(int(run["state"][0]), run["state"][1]),
        redacted=bool(block.header["redacted"]),
        policed=bool(run.get("policed", False)),
        input=_json(run, "input") or b"null",
        output=_json(run, "output"),
        error=_json(run, "error"),
        restarted_with=_json(run, "restarted_with"),
        metadata=_json(run, "metadata"),
        limits=_json(run, "limits"),
        overrides=_json(run, "overrides"),
    )
    _demand_sound(recorded)
    return recorded


def _demand_sound(recorded: RecordedRun) -> None:
    """What no run ever records is refused here, or the database would have to."""
    for text, most in ((recorded.agent, 64), (recorded.version, 64)):
        storable_text(text, what="The agent", chars_max=most)
    steps: set[tuple[str, str, int]] = set()
    seq = 0
    for entry in recorded.entries:
        _demand_whole(entry)
        if entry.phase is Phase.RESULT:
            assert entry.seq is not None, "a result has one: it was checked as its line was read"
            if entry.seq <= seq:
                raise ValueError(f"step {entry.seq} stands behind step {seq}")
            seq = entry.seq
        if entry.key is not None:
            step = (entry.key, entry.phase or "", entry.attempt or 1)
            if step in steps:
                raise ValueError(f"{entry.key} is recorded twice")
            steps.add(step)
    recorded.journal()
    held: list[Any] = [(one.since, *one.said.given.values()) for one in overrides_of(recorded.overrides)]
    if not all(isinstance(since, int) and all(isinstance(text, str) for text in texts) for since, *texts in held):
        raise ValueError("overrides are other instructions or models, and behind which entry they hold")
    taken = [m.position for m in recorded.messages]
    if taken != sorted(set(taken)) or any(not 0 < n < recorded.input_position for n in taken):
        raise ValueError("messages before the run stand before its input, in order")
    own = [m.position for m in recorded.own_messages()]
    if len(set(own)) != len(own) or any(not recorded.input_position <= n <= _INTEGER_MAX for n in own):
        raise ValueError("messages of the run stand from its input on, each in a place of its own")


_INTEGER_MAX: Final = 2**53


def _demand_whole(entry: Entry) -> None:
    for text, most in ((entry.key, limits.KEY_CHARS_MAX), (entry.name, limits.STEP_NAME_CHARS_MAX)):
        if text is not None:
            storable_text(text, what="A key or a name", chars_max=most)
    for name in _PLAIN_OF_ENTRY:
        value: object = getattr(entry, name)
        if name in _TEXTS or value is None:
            continue
        if not isinstance(value, int) or not -_INTEGER_MAX <= value <= _INTEGER_MAX:
            raise ValueError(f"{name} is no whole number, or a very large one")


def _json(line: Line, name: str) -> bytes | None:
    value = line.get(name, _NOTHING)
    return None if value is _NOTHING else encode(value)


def _one_of(kind: type[E], line: Line, name: str) -> E | None:
    value = line.get(name)
    return None if value is None else kind(value)


def _entry(line: Line) -> tuple[Entry, Place | None]:
    place = line.get("message")
    digest = line.get("digest")
    usage = line.get("usage")
    entry = Entry(
        type=EntryType(line["type"]),
        phase=_one_of(Phase, line, "phase"),
        kind=_one_of(StepKind, line, "kind"),
        status=_one_of(StepStatus, line, "status"),
        digest=None if digest is None else bytes.fromhex(digest),
        usage=None if usage is None else Usage(**usage),
        **{name: _json(line, name) for name in _JSON_OF_ENTRY},
        **{name: line.get(name) for name in _PLAIN_OF_ENTRY if name not in ("pos", "at", "epoch")},
        pos=int(line["pos"]),
        at=int(line["at"]),
        epoch=int(line["epoch"]),
    )
    if entry.phase is Phase.RESULT and (entry.seq is None or entry.key is None or entry.kind is None):
        raise ValueError("a result of a step has seq, key and kind")
    return entry, None if place is None else Place(int(place["position"]), Role(place["role"]))


def _message(line: Line) -> Message:
    return Message(
        tenant_id=TenantId(b""),
        thread_id=ThreadId(b""),
        position=int(line["position"]),
        id=MessageId(ids.parse(ids.MESSAGE, line["id"])),
        run_id=RunId(ids.parse(ids.RUN, line["run_id"])),
        pos=int(line["pos"]),
        seq=line["seq"],
        role=Role(line["role"]),
        void=bool(line["void"]),
        kind=line["kind"],
        name=line["name"],
        status=line["status"],
        created_at=int(line["created_at"]),
        payload=_json(line, "payload") or b"null",
        error=_json(line, "error"),
    )


def _data(line: Line) -> bytes:
    if "data" in line:
        return to_json(line["data"])
    try:
        return base64.b64decode(line["base64"], validate=True)
    except binascii.Error as exc:
        raise ValueError(f"base64: {exc}") from None
