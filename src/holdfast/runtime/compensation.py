"""Undoing what a run did, before it ends as failed or cancelled: the committed effects of the run and of its children,
the last first, each by its tool's compensator, each an effect of its own.

The run's journal says first how it will end (`run.compensating`); from then on whoever claims the run goes on here and
not in the agent's code. A compensator is tried with one key until it succeeds; when its tries are used up a person is
asked, and the run waits. Children that are still alive undo what they did themselves: they are waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.agents.base import Outcome
from holdfast.agents.effects import Compensation, Contract, Held, Notes, ToolRequest
from holdfast.domain import ids
from holdfast.domain.effects import Effect, EffectClass, EffectStatus
from holdfast.domain.encoding import encode
from holdfast.domain.errors import NotFound
from holdfast.domain.messages import tool_result
from holdfast.runtime.code import failure_of
from holdfast.runtime.unsettled import info_of
from holdfast.runtime.waits import Wait
from holdfast.service import effects as effect_verbs
from holdfast.service.house import House
from holdfast.store.effects import Settle

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

_E = EffectStatus
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Undoable:
    """A committed effect, what came of it, and how its tool takes it back."""

    effect: Effect
    result: object
    compensation: Compensation


async def undo(ctx: RunContext) -> None:
    """Undo everything. Done again after a crash it goes on where it stood: each effect is undone once."""
    await _children_ended(ctx)
    for one in await undoable(ctx.house, ctx):
        await ctx.act(_request(ctx, one))


async def undoable(house: House, ctx: RunContext) -> list[Undoable]:
    """What there is to undo, the last first. Effects of tools without a compensator stay as they are."""
    found: list[Undoable] = []
    for done in await ctx.patiently(lambda: effect_verbs.committed_below(house, ctx.run)):
        compensation = _compensation_of(house, done.effect)
        if compensation is not None and (done.run_ended or done.effect.run_id == ctx.run.id):
            result = None if done.step is None else tool_result(done.step)
            found.append(Undoable(done.effect, result, compensation))
    return found


def _compensation_of(house: House, effect: Effect) -> Compensation | None:
    try:
        tool = house.agent(effect.agent).tools().get(effect.tool)
    except NotFound:
        return None
    return None if tool is None else tool.contract.compensation


async def _children_ended(ctx: RunContext) -> None:
    while alive := await ctx.patiently(lambda: effect_verbs.alive_below(ctx.house, ctx.run)):
        for child in alive:
            await ctx.stand_still(Wait(f"undo/{ids.text(ids.RUN, child)}", ctx.monotonic(), child_id=child))


def _request(ctx: RunContext, one: Undoable) -> ToolRequest:
    """The compensator as a keyed call, with a key that follows from what it undoes."""
    effect, compensation = one.effect, one.compensation

    async def invoke(attempt: Held, arguments: dict[str, Any]) -> Any:
        return await compensation.fn(attempt.handle.tool_context(attempt.number), info_of(effect, one.result))

    async def begin() -> None:
        await ctx.recording.durable([], [_settled(effect, (_E.COMMITTED, _E.COMPENSATION_FAILED), _E.COMPENSATING)])

    return ToolRequest(
        tool=f"{effect.tool}.compensate",
        name=f"undo {effect.tool}",
        agent=effect.agent,
        contract=Contract(effect=EffectClass.KEYED, tries=compensation.tries),
        version=effect.version,
        timeout_ms=compensation.timeout_ms,
        schema=NO_ARGUMENTS,
        asked={"effect_id": ids.text(ids.EFFECT, effect.id)},
        arguments={},
        validate=lambda _: {},
        invoke=invoke,
        succeeded=_succeeded,
        failed=lambda exc: Outcome(payload=None, failure=failure_of(exc)),
        key=f"undo/{ids.text(ids.EFFECT, effect.id)}",
        insists=True,
        undoes=effect.id,
        first=begin if effect.status is not _E.COMPENSATING else None,
        when_committed=(_settled(effect, (_E.COMPENSATING, _E.COMPENSATION_FAILED), _E.COMPENSATED),),
        when_unknown=(_settled(effect, (_E.COMPENSATING, _E.COMPENSATION_FAILED), _E.COMPENSATION_FAILED),),
    )


def _succeeded(value: Any, notes: Notes) -> Outcome:
    return Outcome(payload=encode(value, what="What a compensator returned"))


def _settled(effect: Effect, before: tuple[EffectStatus, ...], after: EffectStatus) -> Settle:
    return Settle(key=effect.key, before=before, after=after, run_id=effect.run_id)
