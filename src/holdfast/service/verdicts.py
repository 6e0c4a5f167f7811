"""What became of a run that was made again: whether it came to the same as the recorded one, by what differs.

What a model was asked is not compared, since today's model and today's instructions are what is tried: what it answered
is. Invariant: as far as the recorded run did not come by its own code, nothing is missed and nothing is too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from holdfast.domain import differences
from holdfast.domain import diffs as rules
from holdfast.domain.diffs import CALLS
from holdfast.domain.encoding import decode
from holdfast.domain.errors import NotFound
from holdfast.domain.journal import Entry, StepKind
from holdfast.domain.moments import Payload
from holdfast.domain.recorded import IMPORTED_KEY
from holdfast.domain.replays import Mode, Reason, Replay, Replayed, Verdict, is_from_outside
from holdfast.domain.runs import Run, RunStatus, RunView
from holdfast.service import diffs
from holdfast.service import runs as run_verbs
from holdfast.service import states as state_verbs
from holdfast.service.diffs import Compared, Divergence
from holdfast.service.house import House
from holdfast.service.states import At
from holdfast.store.base import Tx

_DENIED: Final = "fork_denied"
_OTHER_STEP: Final = frozenset({"kind", "name", "arguments"})
_SAID: Final = frozenset({StepKind.STATE, StepKind.EMIT})


async def of(house: House, mode: Mode, made: RunView) -> Replayed | None:
    """The verdict about a run that ended, or waits for somebody; None if the run that it repeats was deleted."""
    tenant_id, recorded_id = made.run.tenant_id, made.run.forked_run
    assert recorded_id is not None, "such a run is a fork"
    try:
        recorded = await run_verbs.look(house, tenant_id, recorded_id)
    except NotFound:
        return None
    if recorded.run.archived:
        return None

    async def body(tx: Tx) -> Replay:
        this = await state_verbs.read_at(tx, recorded, None)
        other = await state_verbs.read_at(tx, made, None)
        return await _judged(tx, mode, this, other)

    return Replayed(await house.database.read(tenant_id, body), made.run.agent_version)


async def _judged(tx: Tx, mode: Mode, this: At, other: At) -> Replay:
    besides = _below_calls(this.moment.steps) if mode is Mode.RECORDED_TOOLS else frozenset[str]()
    whole = _came_to_its_own_end(this.run)
    compared = Compared(prompts=False, beyond=whole, besides=besides)
    found = await diffs.divergence(tx, this, other, compared)
    steps = [step for step in this.moment.steps if step.key not in besides]
    if found is not None:
        return _diverged(this, other, found, steps)
    if other.run.status is RunStatus.WAITING:
        waits = _status_of(this.run) is RunStatus.WAITING
        return _identical(steps) if waits or not whole else _waiting(this, other, steps, None)
    if not whole or _same_end(this, other):
        return _identical(steps)
    one, two = _end_of(this), _end_of(other)
    said = "Every step came to the same, but the run ended in another way."
    return Replay(
        verdict=Verdict.DIVERGED,
        steps=len(steps),
        reason=Reason.OUTCOME_CHANGED,
        message=said,
        recorded=_bounded(one),
        requested=_bounded(two),
        difference=differences.first(one, two),
    )


def _identical(steps: list[Entry]) -> Replay:
    return Replay(verdict=Verdict.IDENTICAL, steps=len(steps))


def _below_calls(steps: Iterable[Entry]) -> frozenset[str]:
    """Keys of steps that belong to calls, which are not made here: what their bodies did, and leave for them."""
    found = list(steps)
    calls = {step.key for step in found if step.kind is StepKind.TOOL}
    return frozenset(step.key for step in found if step.key is not None and _above(step.key) & calls)


def _above(key: str) -> set[str]:
    found: set[str] = set()
    while "/" in key:
        key = key.rpartition("/")[0]
        found |= {key, key.partition("@")[0]}
    return found


# -- a divergence -----------------------------------------------------------------------------------------------------


def _diverged(this: At, other: At, found: Divergence, steps: list[Entry]) -> Replay:
    at = found.this[0].seq if found.this is not None else (steps[-1].seq or 0) + 1 if steps else 1
    before = [step for step in steps if (step.seq or 0) < (at or 0)]
    if found.other is None and other.run.status is RunStatus.WAITING:
        return _waiting(this, other, before, found)
    reason = _reason(found)
    one = _end_of(this) if found.this is None else _side(*found.this)
    two = None if found.other is None else _side(*found.other)
    return Replay(
        verdict=Verdict.DIVERGED,
        steps=len(before),
        at=at,
        reason=reason,
        message=_told(reason, at, found),
        recorded=_bounded(one),
        requested=None if two is None else _bounded(two),
        difference=_difference(found, one, two),
    )


def _waiting(this: At, other: At, before: list[Entry], found: Divergence | None) -> Replay:
    shown = _end_of(this) if found is None or found.this is None else _side(*found.this)
    at = found.step.seq if found is not None else (before[-1].seq or 0) + 1 if before else 1
    said = f"The run waits for {waits_told(other.run)} at step {at}, where the recorded run went on."
    requested = {"status": RunStatus.WAITING.value, "waiting_on": waits_of(other.run)}
    return Replay(
        verdict=Verdict.DIVERGED,
        steps=len(before),
        at=at,
        reason=Reason.WAITING,
        message=said,
        recorded=_bounded(shown),
        requested=_bounded(requested),
    )


def _reason(found: Divergence) -> Reason:
    if found.this is None:
        return Reason.STEP_ADDED
    if found.other is None:
        return Reason.STEP_MISSING
    if _code_of(found.other) == _DENIED and _code_of(found.this) != _DENIED:
        return Reason.CALL_DENIED
    if "missing" in found.differs or _OTHER_STEP & set(found.differs) or found.step.kind in _SAID:
        return Reason.STEP_CHANGED
    return Reason.ANSWER_CHANGED if found.step.kind is StepKind.MODEL else Reason.RESULT_CHANGED


def _code_of(side: tuple[Entry, Payload]) -> str | None:
    error: dict[str, Any] = decode(side[1].error) or {}
    return error.get("code")


def _told(reason: Reason, at: int | None, found: Divergence) -> str:
    step = _described(found.step)
    match reason:
        case Reason.ANSWER_CHANGED:
            return f"The model answered something else in step {at}, {step}."
        case Reason.RESULT_CHANGED:
            return f"Step {at}, {step}, came to something else."
        case Reason.CALL_DENIED:
            assert found.other is not None, "somebody was refused"
            return f"At step {at} the code called what the recorded run did not: {_described(found.other[0])}."
        case Reason.STEP_ADDED:
            return f"The run went on with {step} behind the last recorded step, where the recorded run had ended."
        case Reason.STEP_MISSING:
            return f"Step {at}, {step}, was recorded, and the run ended without it."
        case _:
            other = found.step if found.other is None else found.other[0]
            assert found.this is not None, "another step stands in place of one"
            return f"Step {at} was {_described(found.this[0])}; the run made {_described(other)}."


def _described(step: Entry) -> str:
    kind = "" if step.kind is None else step.kind.value
    return f"the {kind} step {step.name!r} ({step.key})"


def _side(step: Entry, payload: Payload) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "seq": step.seq,
        "key": step.key,
        "kind": None if step.kind is None else step.kind.value,
        "name": step.name,
        "status": None if step.status is None else step.status.value,
    }
    if step.kind in CALLS and step.digest is not None:
        shown["arguments_digest"] = step.digest.hex()
    if payload.error is not None:
        shown["error"] = decode(payload.error)
    elif payload.cut:
        shown["output"] = "(too large to be shown)"
    elif rules.has_content(step):
        shown["output"] = rules.recorded(step, payload.data)
    return shown


def _difference(found: Divergence, one: dict[str, Any], two: dict[str, Any] | None) -> differences.Difference | None:
    if found.this is None or two is None:
        return None
    left, right = [{name: value for name, value in side.items() if name != "seq"} for side in (one, two)]
    return differences.first(left, right)


def _bounded(side: dict[str, Any]) -> dict[str, Any]:
    return {name: differences.bounded(value) for name, value in side.items()}


# -- how runs end -----------------------------------------------------------------------------------------------------


def _was(run: Run) -> dict[str, Any]:
    """Who a run was that came out of a file."""
    if not run.imported:
        return {}
    metadata: dict[str, Any] = decode(run.metadata)
    return metadata[IMPORTED_KEY]


def _status_of(run: Run) -> RunStatus:
    return RunStatus(_was(run).get("status", run.status))


def _came_to_its_own_end(run: Run) -> bool:
    """Whether its code ended it: what was cancelled, reached a limit or has not ended is compared as far as it got."""
    error: dict[str, Any] = decode(run.error) or {}
    match _status_of(run):
        case RunStatus.SUCCEEDED:
            return True
        case RunStatus.FAILED:
            return not is_from_outside(str(error.get("code", "")))
        case _:
            return False


def _end_of(here: At) -> dict[str, Any]:
    run = here.run
    status = _status_of(run)
    shown: dict[str, Any] = {"status": status.value}
    if run.successor_id is not None or "restarted_with" in _was(run):
        return {"status": "restarted"}
    if status is RunStatus.SUCCEEDED:
        shown["output"] = decode(here.view.output)
    elif status is RunStatus.FAILED:
        error: dict[str, Any] = decode(run.error) or {}
        shown["error"] = {name: error[name] for name in ("code", "message", "step") if error.get(name) is not None}
    return shown


def _same_end(this: At, other: At) -> bool:
    one, two = _end_of(this), _end_of(other)
    if one["status"] == RunStatus.FAILED.value == two["status"]:
        return one["error"].get("code") == two["error"].get("code")
    return differences.first(one, two) is None


def waits_of(run: Run) -> list[dict[str, Any]]:
    return decode(run.waiting_on) or []


def waits_told(run: Run) -> str:
    """What a run waits for, in words."""
    return ", ".join(f"{wait['type']} ({wait['step']})" for wait in waits_of(run)) or "nothing that it tells of"
