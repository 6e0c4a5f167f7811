"""What runs were at their steps, and what differs between two of them, as JSON."""

from __future__ import annotations

from typing import Any, Final

from holdfast.domain import patches
from holdfast.domain.agents import AgentKind
from holdfast.domain.encoding import decode
from holdfast.domain.events import timestamp, usage_of
from holdfast.domain.ids import RUN, THREAD, text
from holdfast.domain.journal import Entry
from holdfast.domain.messages import step_output
from holdfast.domain.moments import Payload, StepsOfName
from holdfast.domain.runs import Usage
from holdfast.domain.states import Published
from holdfast.domain.threads import Message
from holdfast.service import states as state_verbs
from holdfast.service.diffs import Call, Calls, Diff, Divergence, Side, Talks
from holdfast.service.states import Pending, StateView, Talk
from holdfast.web import views
from holdfast.web.routing import json_of

ARGUMENTS_CHARS_MAX: Final = 4_000
OUTPUT_CHARS_MAX: Final = 20_000
MESSAGE_BYTES_MAX: Final = 64 * 1024


def published(found: Published) -> dict[str, Any]:
    return {
        "version": found.document.version,
        "value": found.document.value,
        "run_id": None if found.run_id is None else text(RUN, found.run_id),
        "seq": found.seq,
    }


def run_state(seen: StateView) -> bytes:
    here = seen.at
    is_agent = seen.kind is AgentKind.NATIVE
    members = {
        "run_id": text(RUN, here.run.id),
        "thread_id": text(THREAD, here.run.thread_id),
        "agent": here.run.agent,
        "kind": seen.kind.value,
        "acting_agent": seen.acting_agent,
        "at": here.at,
        "last": here.view.seq,
        "status": here.moment.status.value,
        "usage": usage_of(here.moment.usage),
        "state": published(seen.published),
        "interrupts": [_question(entry, payload) for entry, payload in seen.questions],
        "position": _position(seen),
        "pending_calls": [_pending(one) for one in seen.pending] if is_agent else None,
        "steps": None if is_agent else [_steps(steps, payload) for steps, payload in seen.steps],
        "steps_more": seen.steps_more,
    }
    talk = None if seen.talk is None else _talk(seen.talk)
    return views.joined(members, output=seen.output, messages=talk)


def _talk(talk: Talk) -> bytes:
    data = b"[" + b",".join(views.message(message) for message in talk.shown) + b"]"
    return views.joined({"total": talk.total, "earlier": talk.earlier}, data=data)


def _position(seen: StateView) -> list[dict[str, Any]]:
    moment = seen.at.moment
    if moment.open:
        return [_place(entry, is_open=True) for entry in moment.open]
    return [] if moment.last is None else [_place(moment.last, is_open=False)]


def _place(entry: Entry, *, is_open: bool) -> dict[str, Any]:
    since = timestamp(entry.at) if is_open else None
    return {"key": entry.key, "kind": entry.kind, "name": entry.name, "since": since, "open": is_open}


def _question(entry: Entry, payload: Payload) -> dict[str, Any]:
    said = state_verbs.question(payload)
    told = {name: said.get(name) for name in ("approval_id", "type", "tool", "message", "reason")}
    return {"key": entry.key, **told, "opened_at": timestamp(entry.at)}


def _pending(one: Pending) -> dict[str, Any]:
    return {
        "key": one.key,
        "call_id": one.call["call_id"],
        "name": one.call["name"],
        "arguments": patches.shown(one.call["arguments"], ARGUMENTS_CHARS_MAX),
        "status": one.status,
    }


def _steps(steps: StepsOfName, payload: Payload) -> dict[str, Any]:
    return {
        "name": steps.name,
        "kind": steps.kind.value,
        "count": steps.count,
        "last_seq": steps.last.seq,
        "last_key": steps.last.key,
        "status": steps.last.status,
        "output": decode(step_output(steps.kind, payload.data)),
        "output_cut": payload.cut,
        "error": decode(payload.error),
    }


# -- diffs ----------------------------------------------------------------------------------------------------------


def diff(found: Diff) -> bytes:
    this, other = found.this, found.other
    same_output = patches.same(decode(this.output), decode(other.output))
    members = {
        "identical": found.divergence is None and same_output and not found.patch and found.talks.all_the_same,
        "divergence": None if found.divergence is None else _divergence(found.divergence),
        "this": _side(this),
        "other": _side(other),
        "same_output": same_output,
        "state_patch": found.patch,
        "calls_only_this": _calls(this.only),
        "calls_only_other": _calls(other.only),
        "tokens_difference": _tokens(other.usage) - _tokens(this.usage),
        "cost_micros_difference": other.usage.cost_micros - this.usage.cost_micros,
        "elapsed_ms_difference": other.elapsed_ms - this.elapsed_ms,
    }
    return views.joined(members, messages=_talks(found.talks))


def _tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.output_tokens


def _divergence(found: Divergence) -> dict[str, Any]:
    step = found.step
    return {
        "key": step.key,
        "kind": step.kind,
        "name": step.name,
        "differs": list(found.differs),
        "this": None if found.this is None else _diff_step(*found.this),
        "other": None if found.other is None else _diff_step(*found.other),
    }


def _diff_step(step: Entry, payload: Payload) -> dict[str, Any]:
    return {
        "seq": step.seq,
        "key": step.key,
        "kind": step.kind,
        "name": step.name,
        "attempt": step.attempt,
        "status": step.status,
        "input_digest": None if step.digest is None else step.digest.hex(),
        "output": decode(step_output(step.kind, payload.data)),
        "output_cut": payload.cut,
        "error": decode(payload.error),
    }


def _side(side: Side) -> dict[str, Any]:
    here = side.at
    return {
        "run_id": text(RUN, here.run.id),
        "at": here.at,
        "status": here.moment.status.value,
        "agent": here.run.agent,
        "agent_version": here.run.agent_version,
        "output": patches.shown(decode(side.output), OUTPUT_CHARS_MAX),
        "usage": usage_of(side.usage),
        "elapsed_ms": side.elapsed_ms,
        "state": published(side.published),
    }


def _talks(talks: Talks) -> bytes:
    first_this, first_other = (None if m is None else _message(m) for m in talks.first)
    counts = {"this": talks.this, "other": talks.other, "same": talks.same}
    return views.joined(counts, first_this=first_this, first_other=first_other)


def _message(message: Message) -> bytes:
    """A message; of a very long one the beginning of what it says."""
    if len(message.payload) <= MESSAGE_BYTES_MAX:
        return views.message(message)
    shown: dict[str, Any] = decode(views.message(message))
    beginning = patches.shown(shown["parts"], ARGUMENTS_CHARS_MAX)
    return json_of({**shown, "parts": [{"type": "text", "text": beginning}]})


def _calls(calls: Calls) -> dict[str, Any]:
    return {"data": [_call(call) for call in calls.shown], "more": calls.more}


def _call(call: Call) -> dict[str, Any]:
    step = call.step
    return {
        "seq": step.seq,
        "key": step.key,
        "kind": step.kind,
        "name": step.name,
        "status": step.status,
        "arguments": patches.shown(call.arguments, ARGUMENTS_CHARS_MAX),
        "arguments_digest": None if step.digest is None else step.digest.hex(),
    }


def thread_state(found: Published) -> bytes:
    return json_of(published(found))
