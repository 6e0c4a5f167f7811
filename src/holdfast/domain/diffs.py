"""What differs between two runs, step by step. Pure.

Steps are the same by key, never by number: parallel ones are recorded in any order. What differs from run to run
whatever the code does (a provider's ids, the time, a random number) is no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from holdfast.domain import patches
from holdfast.domain.encoding import decode
from holdfast.domain.journal import Entry, StepKind, matches_arguments
from holdfast.domain.messages import Part, step_output
from holdfast.domain.moments import Payload

CALLS: Final = frozenset({StepKind.TOOL, StepKind.CHILD, StepKind.HANDOFF})
_DRAWN: Final = frozenset({"now", "random", "uuid"})


def shape(one: Entry, other: Entry) -> list[str]:
    """In what two steps of one key differ, as far as their rows say."""
    found: list[str] = []
    if one.kind is not other.kind:
        found.append("kind")
    if one.name != other.name:
        found.append("name")
    if one.kind is other.kind and one.kind is not None and matches_arguments(one.kind) and one.digest != other.digest:
        found.append("arguments")
    if one.status != other.status:
        found.append("status")
    return found


def has_content(step: Entry) -> bool:
    """Whether what a step recorded says anything about what the run did."""
    return not (step.kind is StepKind.VALUE and step.name in _DRAWN) and step.kind is not StepKind.SLEEP


def content(step: Entry, one: Payload, other: Payload) -> list[str]:
    """In what two steps of one key and kind differ, as far as what they recorded says."""
    found: list[str] = []
    if not patches.same(_failure(step, one.error), _failure(step, other.error)):
        found.append("error")
    elif one.data != other.data and not patches.same(recorded(step, one.data), recorded(step, other.data)):
        found.append("output")
    if step.kind is StepKind.MODEL and _parameters(one.prompt) != _parameters(other.prompt):
        found.append("prompt")
    return found


def recorded(step: Entry, payload: bytes | None) -> Any:
    """What a step came to, without what is another one on each run."""
    value = decode(step_output(step.kind, payload))
    if not isinstance(value, dict):
        return value
    said = cast("dict[str, Any]", value)
    match step.kind:
        case StepKind.MODEL:
            return {**said, "parts": unnamed(said["parts"])}
        case StepKind.TOOL | StepKind.HANDOFF | StepKind.CHILD if "call_id" in said and "tool" in said:
            return {name: member for name, member in said.items() if name != "call_id"}
        case StepKind.INTERRUPT:
            return {name: said.get(name) for name in ("status", "answer", "arguments")}
        case StepKind.EVENT:
            return said.get("data")
        case StepKind.STATE:
            return said["patch"]
        case _:
            return said


def _failure(step: Entry, error: bytes | None) -> Any:
    """Why a step failed; of a child without its id."""
    failure: dict[str, Any] | None = decode(error)
    if failure is None or step.kind is not StepKind.CHILD:
        return failure
    details: dict[str, Any] = failure.get("details") or {}
    return details.get("child_code")


def unnamed(parts: Iterable[Part]) -> list[Part]:
    """Parts of a message without the ids that a provider gave to calls."""
    return [{name: value for name, value in part.items() if name != "call_id"} for part in parts]


def _parameters(prompt: bytes | None) -> Any:
    """What a model was asked besides the messages: instructions, tools, settings, by their hash."""
    return None if prompt is None else decode(prompt)["parameters"]


def calls(ours: Sequence[Entry], theirs: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Calls that one run made and the other did not, each with its arguments as often as it was made more."""
    return _besides(ours, theirs), _besides(theirs, ours)


def _besides(ours: Sequence[Entry], theirs: Sequence[Entry]) -> list[Entry]:
    left = Counter((entry.kind, entry.name, entry.digest) for entry in theirs if entry.kind in CALLS)
    found: list[Entry] = []
    for entry in ours:
        if entry.kind in CALLS:
            call = (entry.kind, entry.name, entry.digest)
            if left[call] > 0:
                left[call] -= 1
            else:
                found.append(entry)
    return found
