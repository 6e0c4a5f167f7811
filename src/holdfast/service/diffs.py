"""What differs between two runs, or between two steps: one verb, made of the moments of both.

Invariant: what is answered is bounded whatever the runs hold. Whole payloads are read one at a time, where rows and
what is short of them do not tell; steps that both runs have from the same writer are not read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from holdfast.domain import diffs, limits, patches
from holdfast.domain.access import Principal
from holdfast.domain.encoding import decode, encode
from holdfast.domain.ids import RunId
from holdfast.domain.journal import Entry, StepKind, StepStatus
from holdfast.domain.messages import calls_of, parts_of
from holdfast.domain.moments import Payload
from holdfast.domain.runs import NO_USAGE, RunStatus, Usage
from holdfast.domain.states import Published
from holdfast.domain.threads import Message
from holdfast.service import runs as run_verbs
from holdfast.service import states as state_verbs
from holdfast.service.house import House
from holdfast.service.states import At
from holdfast.store import effects, states, timeline
from holdfast.store.base import Tx
from holdfast.store.timeline import Known, Piece

_PAGE: Final = 100
_NO_END: Final = 2**62  # a fork of forks may have more steps than one journal


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first step that is not the same, `step`. `differs` says in what; with `missing` one of the runs has no such
    step, and its side is what it did there instead, None if that was its end."""

    step: Entry
    differs: Sequence[str]
    this: tuple[Entry, Payload] | None
    other: tuple[Entry, Payload] | None


@dataclass(frozen=True, slots=True)
class Talks:
    """How many messages each run has, how many are the same from the first on, and the first that are not."""

    this: int
    other: int
    same: int
    first: tuple[Message | None, Message | None]

    @property
    def all_the_same(self) -> bool:
        return self.same == self.this == self.other


@dataclass(frozen=True, slots=True)
class Call:
    """A call that only one of the runs made. `arguments` is None where nobody stored them, only their digest."""

    step: Entry
    arguments: Any


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one side, the first ones; `more` besides."""

    shown: Sequence[Call]
    more: int


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. `usage` and `elapsed_ms` are of the whole way to this step, shared or not."""

    at: At
    published: Published
    output: bytes | None
    usage: Usage
    elapsed_ms: int
    only: Calls


@dataclass(frozen=True, slots=True)
class Diff:
    this: Side
    other: Side
    divergence: Divergence | None
    talks: Talks
    patch: patches.Patch


async def between(
    house: House,
    principal: Principal,
    run_id: RunId,
    other_id: RunId,
    at: int | None = None,
    other_at: int | None = None,
) -> Diff:
    """What differs between a run at its step `at` and another, or the same, at `other_at`; the last steps by default.

    Raises `NotFound`, `Invalid` (`invalid_at`).
    """
    this_view = await run_verbs.get(house, principal, run_id)
    other_view = await run_verbs.get(house, principal, other_id)

    async def body(tx: Tx) -> Diff:
        known: Known = {}
        this = await state_verbs.read_at(tx, this_view, at, known)
        other = await state_verbs.read_at(tx, other_view, other_at, known)
        ours, theirs = await tx.compute(diffs.calls, this.moment.steps, other.moment.steps)
        one, two = await _side(tx, this, ours), await _side(tx, other, theirs)
        patch = _patch(one.published.document.value, two.published.document.value)
        diverged = await divergence(tx, this, other)
        return Diff(one, two, diverged, await _talks(tx, this, other, diverged), patch)

    return await house.database.read(principal.tenant_id, body)


def _patch(before: Any, after: Any) -> patches.Patch:
    """From one document to another; the whole of it where that is less to read."""
    patch = patches.made(before, after)
    whole: patches.Patch = [{"op": "replace", "path": "", "value": after}]
    return patch if len(encode(patch)) <= len(encode(whole)) else whole


async def _side(tx: Tx, here: At, only: Sequence[Entry]) -> Side:
    usage, elapsed = await tx.compute(_spent, here.pieces)
    return Side(
        here,
        await states.upto(tx, here.run, here.end),
        here.view.output if here.moment.status is RunStatus.SUCCEEDED else None,
        usage,
        elapsed,
        await _calls(tx, here, only),
    )


def _spent(pieces: Sequence[Piece]) -> tuple[Usage, int]:
    """What a run used on its way, and how long it took, ms."""
    usage, elapsed = NO_USAGE, 0
    for piece in pieces:
        for entry in piece.entries:
            usage = usage if entry.usage is None else usage + entry.usage
        if piece.entries:
            elapsed += piece.entries[-1].at - piece.entries[0].at
    return usage, elapsed


# -- the first divergence ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """What of two runs is compared: all, or not what models were asked (`prompts`), what the other run did further
    (`beyond`), and steps of ours with these keys (`besides`)."""

    prompts: bool = True
    beyond: bool = True
    besides: frozenset[str] = frozenset()


async def divergence(tx: Tx, this: At, other: At, compared: Compared = Compared()) -> Divergence | None:
    """The first of our steps that the other run has not, or not so; or its first that we have not, if that comes
    before."""
    strange = await tx.compute(_first_missing, other, this) if compared.beyond else None
    until = strange.seq if strange is not None and strange.seq is not None else _NO_END
    ours = [s for s in this.moment.steps if (s.seq or 0) <= until and s.key not in compared.besides]
    for start in range(0, len(ours), _PAGE):
        found = await _first_in(tx, this, other, ours[start : start + _PAGE], compared)
        if found is not None:
            differs, step, counterpart = found
            other_side = counterpart or _instead(other, step)
            return Divergence(step, differs, await _shown(tx, this, step), await _shown(tx, other, other_side))
    if strange is None:
        return None
    ours_instead = await _shown(tx, this, _instead(this, strange))
    return Divergence(strange, ["missing"], ours_instead, await _shown(tx, other, strange))


def _first_missing(here: At, there: At) -> Entry | None:
    """The first step of one run that the other has not."""
    return next((step for step in here.moment.steps if step.key not in there.moment.journal.results), None)


def _instead(here: At, missing: Entry) -> Entry | None:
    """What a run did where the other recorded a step that this one has not."""
    return next((step for step in here.moment.steps if (step.seq or 0) >= (missing.seq or 0)), None)


async def _first_in(
    tx: Tx, this: At, other: At, steps: Sequence[Entry], compared: Compared
) -> tuple[list[str], Entry, Entry | None] | None:
    """The first of these steps that the other run has not, or not so, and what stands there in its place."""
    pairs = [(step, other.moment.journal.results.get(step.key or "")) for step in steps]
    pairs = [(a, b) for a, b in pairs if b is None or not _is_shared(this, other, a, b)]
    read = [(a, b) for a, b in pairs if b is not None and a.kind is b.kind and diffs.has_content(a)]
    bytes_max = limits.PAYLOAD_INLINE_BYTES_MAX
    ours = await state_verbs.payloads_of(tx, this, [a.pos for a, _ in read], bytes_max)
    theirs = await state_verbs.payloads_of(tx, other, [b.pos for _, b in read], bytes_max)
    for step, counterpart in pairs:
        if counterpart is None:
            return ["missing"], step, None
        differs = diffs.shape(step, counterpart)
        if step.pos in ours and counterpart.pos in theirs:
            one, two = ours[step.pos], theirs[counterpart.pos]
            if one.hash is None or one.hash != two.hash:
                one, two = await _whole(tx, this, step, one), await _whole(tx, other, counterpart, two)
            found = diffs.content(step, one, two)
            if found and step.kind is StepKind.STATE and await _publish_the_same(tx, this, other, step, counterpart):
                found = []
            differs += found if compared.prompts else [one for one in found if one != "prompt"]
        if differs:
            return differs, step, counterpart
    return None


async def _publish_the_same(tx: Tx, this: At, other: At, step: Entry, counterpart: Entry) -> bool:
    """Whether two changes of the state, written differently, come to one document: one may be stored whole."""
    one = await states.upto(tx, this.run, step.pos)
    two = await states.upto(tx, other.run, counterpart.pos)
    return patches.same(one.document.value, two.document.value)


def _is_shared(this: At, other: At, one: Entry, two: Entry) -> bool:
    return one.pos == two.pos and this.writer(one.pos) == other.writer(two.pos)


async def _whole(tx: Tx, here: At, step: Entry, payload: Payload) -> Payload:
    if not payload.cut:
        return payload
    data = await timeline.payload(tx, here.run.tenant_id, here.writer(step.pos), step.pos)
    return replace(payload, data=data, cut=False)


async def _shown(tx: Tx, here: At, step: Entry | None) -> tuple[Entry, Payload] | None:
    if step is None:
        return None
    found = await state_verbs.payloads_of(tx, here, [step.pos], limits.STATE_OUTPUT_BYTES_MAX)
    return step, found[step.pos]


# -- messages ---------------------------------------------------------------------------------------------------------


async def _talks(tx: Tx, this: At, other: At, diverged: Divergence | None) -> Talks:
    """Messages of steps that were found to be the same are not read: only the others, from the first on."""
    our_places, their_places = await state_verbs.positions_of(tx, this), await state_verbs.positions_of(tx, other)
    ours, theirs = list(our_places.values()), list(their_places.values())
    known = await tx.compute(_known_as_same, this, other, list(our_places), list(their_places), diverged)
    same = 0
    while same < max(len(ours), len(theirs)):
        if same < len(known) and known[same]:
            same += 1
            continue
        one = await state_verbs.messages_at(tx, this.run, ours[same : same + _PAGE])
        two = await state_verbs.messages_at(tx, other.run, theirs[same : same + _PAGE])
        for a, b in zip(one, two, strict=False):
            if not _say_the_same(a, b):
                return Talks(len(ours), len(theirs), same, (a, b))
            same += 1
        if len(one) != len(two):
            rest = (one[len(two) :], two[len(one) :])
            return Talks(len(ours), len(theirs), same, (_head(rest[0]), _head(rest[1])))
    return Talks(len(ours), len(theirs), same, (None, None))


def _known_as_same(
    this: At, other: At, ours: Sequence[int], theirs: Sequence[int], diverged: Divergence | None
) -> list[bool]:
    """Of messages in turn, by the entries they are: whether both are one step before the first that is not the same."""
    until = _NO_END if diverged is None else diverged.step.seq or 0
    our_keys = {step.pos: step.key for step in this.moment.steps if (step.seq or 0) < until}
    their_keys = {step.pos: step.key for step in other.moment.steps}
    pairs = zip(ours, theirs, strict=False)
    return [our_keys.get(a) is not None and our_keys.get(a) == their_keys.get(b) for a, b in pairs]


def _head(messages: Sequence[Message]) -> Message | None:
    return messages[0] if messages else None


def _say_the_same(one: Message, other: Message) -> bool:
    if one.role is not other.role:
        return False
    if one.run_id == other.run_id and one.pos == other.pos:
        return True
    if _stored(one) == _stored(other):
        return True
    return patches.same(diffs.unnamed(parts_of(one)), diffs.unnamed(parts_of(other)))


def _stored(message: Message) -> tuple[object, ...]:
    """All that its parts are made of."""
    return message.payload, message.kind, message.name, message.status, message.error


# -- calls ------------------------------------------------------------------------------------------------------------


async def _calls(tx: Tx, here: At, only: Sequence[Entry]) -> Calls:
    shown = only[: limits.DIFF_CALLS_MAX]
    by_ledger = await _of_ledger(tx, here, shown)
    answers: dict[str, list[dict[str, Any]]] = {}
    found: list[Call] = []
    for step in shown:
        key = step.key or ""
        arguments = by_ledger.get(key)
        if arguments is None:
            arguments = await _of_answer(tx, here, key, answers)
        found.append(Call(step, arguments))
    return Calls(found, len(only) - len(shown))


async def _of_ledger(tx: Tx, here: At, steps: Sequence[Entry]) -> dict[str, Any]:
    """The arguments of calls that may change something, as they were made."""
    found: dict[str, Any] = {}
    for writer in {here.writer(step.pos) for step in steps}:
        keys = [step.key for step in steps if step.key is not None and here.writer(step.pos) == writer]
        acted = await effects.of_steps(tx, here.run.tenant_id, writer, keys)
        found |= {key: decode(effect.arguments) for key, effect in acted.items()}
    return found


async def _of_answer(tx: Tx, here: At, key: str, answers: dict[str, list[dict[str, Any]]]) -> Any:
    """The arguments that a model gave: a call's key is that of the answer and its place in it."""
    asked, _, place = key.rpartition("/")
    answer = here.moment.journal.results.get(asked)
    if answer is None or answer.status is StepStatus.FAILED or not place.isdigit():
        return None
    if asked not in answers:
        payload = await timeline.payload(tx, here.run.tenant_id, here.writer(answer.pos), answer.pos)
        answers[asked] = calls_of(payload)
    made = answers[asked]
    return made[int(place)]["arguments"] if int(place) < len(made) else None
