"""A prompt under construction, and the record that lets anybody see it again exactly.

A prompt is a list of *items*: stored messages, by their position in the thread, and inline blobs for what is not one
(closings of calls that nobody answered, summaries, what a middleware changed). The model's messages are a pure
function of that list, and building and rebuilding run the same code: `rebuild` cannot drift from what was sent.
Rejected: storing the messages that were sent; a thread of n turns would cost n² bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Final, cast

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_core import from_json, to_json

from holdfast.agents.native import messages as stored
from holdfast.domain.journal import NewBlob, StepKind
from holdfast.domain.threads import Message, Role

# Tests set it: every prompt is then rebuilt from its record and compared with what is about to be sent.
verify_prompts = False

CALL_ID_CHARS_MAX: Final = 40
_FAILED: Final = "failed"
_LAST: Final = 1 << 30

UNANSWERED: Final = (
    "No result: the run that made this call was cancelled, failed or is still waiting, so the call was not answered."
)
OUTPUT_TAKEN: Final = "Final result processed."
NOT_MADE: Final = "No result: the call was not made, since the same answer gave the final result."


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A stored message as the prompt needs it. `response` spares parsing what is still in memory."""

    position: int
    role: Role
    payload: bytes | None
    kind: str | None = None
    name: str | None = None
    failed: bool = False
    error: str | None = None
    response: ModelResponse | None = None

    @classmethod
    def of(cls, message: Message) -> Said:
        error = from_json(message.error) if message.error else None
        return cls(
            position=message.position,
            role=message.role,
            payload=message.payload,
            kind=message.kind,
            name=message.name,
            failed=message.status == _FAILED,
            error=cast("dict[str, Any]", error).get("message") if isinstance(error, dict) else None,
        )


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call of the last answer that has no result yet; `id` is unique in the prompt, `given` the provider's."""

    index: int
    id: str
    given: str
    tool: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """Stored messages shown as text in one user message: what a summary is made of. Ranges of positions."""

    ranges: tuple[tuple[int, int], ...]


Item = int | bytes | Transcript


@dataclass(slots=True)
class Prompt:
    """Messages for the model, built item by item.

    `order` lists what the messages were made of (a position, or an inline blob's hash), `marks[i]` where in it the
    i-th message begins. What answers calls is collected in `pending` and becomes one request, in the order of the
    calls: results arrive as they finish, but a prompt in another order would miss the provider's cache.
    """

    messages: list[ModelMessage] = field(default_factory=list[ModelMessage])
    order: list[Item] = field(default_factory=list[Item])
    marks: list[int] = field(default_factory=list[int])
    blobs: dict[bytes, NewBlob] = field(default_factory=dict[bytes, NewBlob])
    open: dict[int, OpenCall] = field(default_factory=dict[int, OpenCall])
    pending: list[tuple[int, ModelRequestPart]] = field(default_factory=list[tuple[int, ModelRequestPart]])
    pending_mark: int = 0
    ids: set[str] = field(default_factory=set[str])
    kept: dict[int, Said] = field(default_factory=dict[int, Said])

    # --- adding ------------------------------------------------------------------------------------------------------

    def add(self, said: Said) -> None:
        """A stored message, in the order of positions."""
        if __debug__ and verify_prompts:
            self.kept[said.position] = replace(said, response=None)
        match said.role:
            case Role.ASSISTANT:
                self._answer(said)
            case Role.TOOL:
                self._note(said.position)
                self._tool_result(said)
            case Role.USER:
                self.close_open()
                self._note(said.position)
                self.pending.append((_LAST, UserPromptPart(_user_text(said), timestamp=stored.NO_TIME)))

    def close_open(self) -> None:
        """Answer the calls that nobody answered, as providers demand: in the prompt only, never in the thread."""
        if self.open:
            taken = any(map(_gives_output, self.open.values()))
            closed = [
                {"index": c.index, "call_id": c.id, "tool": c.tool, "text": _closing(c, taken)}
                for c in sorted(self.open.values(), key=lambda c: c.index)
            ]
            self.inline({"closed": closed})

    def inline(self, content: dict[str, Any]) -> None:
        """Something that is not a stored message: `{closed: […]}`, `{user: text}` or `{message: …}`."""
        data = to_json(content)
        blob = NewBlob(hashlib.sha256(data).digest(), data)
        self.blobs[blob.hash] = blob
        self.apply(blob.hash, content)

    def transcript(self, said: Sequence[Said]) -> None:
        """Stored messages as text, for a model that reads about the conversation instead of taking part in it."""
        if __debug__ and verify_prompts:
            self.kept.update((s.position, s) for s in said)
        self._note(Transcript(_ranges(s.position for s in said)))
        self.pending.append((_LAST, UserPromptPart("\n\n".join(map(line, said)), timestamp=stored.NO_TIME)))

    def apply(self, hash: bytes, content: dict[str, Any]) -> None:
        """What an inline blob says, while building or rebuilding."""
        if "message" in content:
            self.flush()
            self._note(hash)
            self._append(_message(content["message"]), len(self.order) - 1)
            return
        self._note(hash)
        for call in content.get("closed", ()):
            self.open.pop(call["index"], None)
            part = ToolReturnPart(call["tool"], call["text"], call["call_id"], timestamp=stored.NO_TIME)
            self.pending.append((call["index"], part))
        if "user" in content:
            self.pending.append((_LAST, UserPromptPart(content["user"], timestamp=stored.NO_TIME)))

    def _answer(self, said: Said) -> None:
        self.close_open()
        response = said.response or stored.unpack(said.payload)
        if response is None or said.failed or not stored.says_something(response):
            self._note(said.position)
            return
        self.flush()
        self._note(said.position)
        self._append(self._with_unique_ids(response), len(self.order) - 1)

    def _with_unique_ids(self, response: ModelResponse) -> ModelResponse:
        """Some servers number calls from 0 in every answer, or name two alike; a prompt needs one id a call."""
        calls = stored.tool_calls(response)
        self.open = {}
        renamed: dict[int, ToolCallPart] = {}
        for index, call in enumerate(calls):
            id = call.tool_call_id
            if not id or id in self.ids:
                id = self._fresh_id(id)
                renamed[id_of(call)] = replace(call, tool_call_id=id)
            self.ids.add(id)
            self.open[index] = OpenCall(index, id, call.tool_call_id, call.tool_name)
        if not renamed:
            return response
        return replace(response, parts=[renamed.get(id_of(part), part) for part in response.parts])

    def _fresh_id(self, id: str) -> str:
        number = 2
        while (fresh := f"{(id or 'call')[: CALL_ID_CHARS_MAX - 8]}-{number}") in self.ids:
            number += 1
        return fresh

    def _tool_result(self, said: Said) -> None:
        body = from_json(said.payload) if said.payload else None
        found: dict[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        call = self._call_of(found, said.name)
        if call is None:
            return  # its question is not in this prompt: a provider would refuse the answer
        del self.open[call.index]
        failed = said.failed or "result" not in found
        content = found.get("error", said.error or "The call failed.") if failed else found["result"]
        part = ToolReturnPart(
            call.tool, content, call.id, timestamp=stored.NO_TIME, outcome="failed" if failed else "success"
        )
        self.pending.append((call.index, part))
        extra = stored.load_content(found["content"]) if "content" in found else []
        if extra:
            self.pending.append((_LAST, UserPromptPart(extra, timestamp=stored.NO_TIME)))

    def _call_of(self, found: dict[str, Any], name: str | None) -> OpenCall | None:
        by_index = self.open.get(found.get("index", -1))
        if by_index is not None and by_index.tool == found.get("tool"):
            return by_index
        id, tool = found.get("call_id"), found.get("tool", name)
        return next((c for c in self.open.values() if id in (None, c.given) and c.tool == tool), None)

    def _note(self, item: Item) -> None:
        if not self.pending:
            self.pending_mark = len(self.order)
        self.order.append(item)

    def _append(self, message: ModelMessage, mark: int) -> None:
        self.messages.append(message)
        self.marks.append(mark)

    # --- sending -----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make a request of what is pending; providers want one message a turn, so it joins a request before it."""
        if not self.pending:
            return
        self.pending.sort(key=_index)
        parts = [part for _, part in self.pending]
        self.pending = []
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelRequest):
            # A new object: the old one may be in the hands of a call under way.
            self.messages[-1] = ModelRequest(parts=[*last.parts, *parts])
        else:
            self._append(ModelRequest(parts=parts), self.pending_mark)

    def ready(self) -> list[ModelMessage]:
        """The messages to send. A copy of the list: a model call may outlive this turn."""
        self.close_open()
        self.flush()
        return list(self.messages)

    def segments(self, sent: Sequence[ModelMessage] | None = None) -> tuple[bytes, tuple[NewBlob, ...]]:
        """The record of what was sent, as JSON, with the blobs it names.

        `sent` differs from `messages` when a middleware changed them: from the first difference on, every message is
        a blob of its own, so that what stays the same from call to call is stored once.
        """
        if sent is None:
            return _encoded(self.order), tuple(self.blobs.values())
        same = 0
        for ours, theirs in zip(self.messages, sent, strict=False):
            if ours is not theirs:
                break
            same += 1
        items = self.order if same == len(self.messages) else self.order[: self.marks[same]]
        changed = [_blob_of(message) for message in sent[same:]]
        return _encoded([*items, *(b.hash for b in changed)]), (*self.blobs.values(), *changed)

    def check(self, sent: Sequence[ModelMessage]) -> None:
        """Assert that the record of this prompt rebuilds to exactly what is about to be sent."""
        segments, blobs = self.segments(sent)
        found = {blob.hash: blob.data or b"" for blob in blobs}

        def said(first: int, last: int) -> list[Said]:
            return [self.kept[position] for position in range(first, last + 1)]

        rebuilt = _rebuilt(from_json(segments), said, found.__getitem__)
        assert shown(rebuilt) == shown(sent), f"the prompt rebuilds to {shown(rebuilt)}, but {shown(sent)} is sent"


def _gives_output(call: OpenCall) -> bool:
    return call.tool.startswith("final_result")


def _closing(call: OpenCall, taken: bool) -> str:
    if _gives_output(call):
        return OUTPUT_TAKEN
    return NOT_MADE if taken else UNANSWERED


def _index(pending: tuple[int, ModelRequestPart]) -> int:
    return pending[0]


def id_of(part: Any) -> int:
    return id(part)


def _user_text(said: Said) -> Any:
    assert said.payload is not None, "a user message has a payload"
    if said.kind == StepKind.VALUE:
        return from_json(said.payload)["retry"]
    return stored.user_content(said.payload)


def _message(data: Any) -> ModelMessage:
    return ModelMessagesTypeAdapter.validate_python([data])[0]


def _blob_of(message: ModelMessage) -> NewBlob:
    # Without times, so that the same message made anew for each call is the same blob.
    data = to_json({"message": shown([message])[0]})
    return NewBlob(hashlib.sha256(data).digest(), data)


def _ranges(positions: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Positions as ranges of neighbours, both ends included."""
    found: list[list[int]] = []
    for position in positions:
        if found and position == found[-1][1] + 1:
            found[-1][1] = position
        else:
            found.append([position, position])
    return tuple((first, last) for first, last in found)


def _encoded(order: Iterable[Item]) -> bytes:
    """Items as segments: runs of neighbouring positions become one range."""
    parts: list[str] = []
    for is_position, items in groupby(order, key=_is_position):
        if is_position:
            ranges = _ranges(cast("Iterable[int]", items))
            parts.extend(f'{{"messages":[{first},{last}]}}' for first, last in ranges)
            continue
        for item in cast("Iterable[bytes | Transcript]", items):
            if isinstance(item, bytes):
                parts.append(f'{{"inline":"{item.hex()}"}}')
            else:
                parts.append(f'{{"transcript":{to_json(item.ranges).decode()}}}')
    return f"[{','.join(parts)}]".encode()


def _is_position(item: Item) -> bool:
    return isinstance(item, int)


def line(said: Said) -> str:
    """A stored message as text, for transcripts and for counting tokens."""
    match said.role:
        case Role.USER:
            content = _user_text(said)
            parts = [content] if isinstance(content, str) else content
            return "User: " + "\n".join(p if isinstance(p, str) else f"[file {p.media_type}]" for p in parts)
        case Role.ASSISTANT:
            response = None if said.failed else said.response or stored.unpack(said.payload)
            calls = stored.tool_calls(response) if response is not None else []
            called = [f"Assistant called {c.tool_name}({c.args_as_json_str()})" for c in calls]
            text = (response.text if response is not None else None) or ""
            return "\n".join(([f"Assistant: {text}"] if text else []) + called)
        case Role.TOOL:
            body: dict[str, Any] = (from_json(said.payload) if said.payload else None) or {}
            outcome: Any = body.get("result", body.get("error", said.error))
            shown = outcome if isinstance(outcome, str) else to_json(outcome).decode()
            return f"Tool {body.get('tool', said.name)} returned: {shown}"


# --- the record ------------------------------------------------------------------------------------------------------


def record(segments: bytes, parameters: bytes) -> bytes:
    """A model step's `prompt`: its segments and the hash of its parameters blob."""
    return b'{"segments":' + segments + b',"parameters":"' + parameters.hex().encode() + b'"}'


def needs(prompt: dict[str, Any]) -> tuple[list[tuple[int, int]], list[bytes]]:
    """What has to be loaded before `rebuild`: ranges of message positions (void ones too), and hashes of blobs."""
    ranges = [(s["messages"][0], s["messages"][1]) for s in prompt["segments"] if "messages" in s]
    ranges += [(first, last) for s in prompt["segments"] for first, last in s.get("transcript", ())]
    hashes = [bytes.fromhex(s["inline"]) for s in prompt["segments"] if "inline" in s]
    return ranges, [*hashes, bytes.fromhex(prompt["parameters"])]


def rebuild(
    prompt: dict[str, Any],
    load_messages: Callable[[int, int], Iterable[Message]],
    load_blob: Callable[[bytes], bytes],
) -> dict[str, Any]:
    """The exact prompt of a model step: `{instructions, messages, tools, output, settings, model}`, JSON values.

    `prompt` is the step's stored record. `load_messages(first, last)` gives the thread's messages at these positions,
    both included, void or not, in order; `load_blob(hash)` a blob's data. Pure.
    """

    def said(first: int, last: int) -> list[Said]:
        return [Said.of(message) for message in load_messages(first, last)]

    messages = _rebuilt(prompt["segments"], said, load_blob)
    return {**from_json(load_blob(bytes.fromhex(prompt["parameters"]))), "messages": shown(messages)}


def _rebuilt(
    segments: Sequence[dict[str, Any]], load: Callable[[int, int], list[Said]], load_blob: Callable[[bytes], bytes]
) -> list[ModelMessage]:
    made = Prompt()
    for segment in segments:
        if "messages" in segment:
            for said in load(*segment["messages"]):
                made.add(said)
        elif "transcript" in segment:
            made.transcript([said for first, last in segment["transcript"] for said in load(first, last)])
        else:
            hash = bytes.fromhex(segment["inline"])
            made.apply(hash, from_json(load_blob(hash)))
    made.flush()
    return made.messages


def shown(sent: Sequence[ModelMessage]) -> list[Any]:
    """Messages as JSON values, without times: no provider is told them."""
    return [_without_times(m) for m in ModelMessagesTypeAdapter.dump_python(list(sent), mode="json", exclude_none=True)]


def _without_times(message: dict[str, Any]) -> dict[str, Any]:
    message.pop("timestamp", None)
    for part in message.get("parts", ()):
        part.pop("timestamp", None)
    return message
