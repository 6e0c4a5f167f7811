"""The effect ledger as people see it: which effects there are, and what became of those that nobody knows about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.approvals import Decision, DecisionKind
from holdfast.domain.effects import Effect, EffectStatus, Word
from holdfast.domain.encoding import decode, encode, storable_text
from holdfast.domain.errors import Conflict, NotFound
from holdfast.domain.ids import EffectId, RunId, TenantId
from holdfast.domain.journal import Entry
from holdfast.domain.runs import Run
from holdfast.service import approvals as approval_verbs
from holdfast.service.approvals import Resolution
from holdfast.service.house import House
from holdfast.service.idempotency import Key, Replay, once
from holdfast.service.nesting import shallow
from holdfast.store import approvals, effects, entries, runs
from holdfast.store.base import Tx
from holdfast.store.effects import EffectFilter, Links


@dataclass(frozen=True, slots=True)
class EffectView:
    """An effect with what it leads to, and with `get` the JSON schema of its result, where one is known."""

    effect: Effect
    links: Links
    result_schema: bytes | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """An effect after `resolve`; `replayed` when an earlier request with the same key had done it."""

    view: EffectView
    replayed: bool = False
    status: int = 200


@dataclass(frozen=True, slots=True)
class FirstCall:
    """The effect that holds a business key: its step once recorded, and whether another run may have its result."""

    effect: Effect
    step: Entry | None
    readable: bool


# -- looking ----------------------------------------------------------------------------------------------------------


async def page(house: House, principal: Principal, wanted: EffectFilter) -> list[EffectView]:
    """A page of effects, newest first."""
    access.demand(principal, Scope.EFFECTS_READ)

    async def body(tx: Tx) -> list[EffectView]:
        found = await effects.page(tx, principal.tenant_id, wanted)
        links = await effects.links(tx, principal.tenant_id, [one.id for one in found])
        return [EffectView(one, links[one.id]) for one in found]

    return await house.database.read(principal.tenant_id, body)


async def get(house: House, principal: Principal, effect_id: EffectId) -> EffectView:
    """An effect; `NotFound` for one of another tenant too."""
    access.demand(principal, Scope.EFFECTS_READ)
    return await house.database.read(principal.tenant_id, lambda tx: _look(tx, principal.tenant_id, effect_id))


async def _look(tx: Tx, tenant_id: TenantId, effect_id: EffectId) -> EffectView:
    found = await _demand(tx, tenant_id, effect_id)
    links = (await effects.links(tx, tenant_id, [effect_id]))[effect_id]
    return EffectView(found, links, await approvals.result_schema(tx, tenant_id, effect_id))


async def _demand(tx: Tx, tenant_id: TenantId, effect_id: EffectId) -> Effect:
    found = await effects.shown(tx, tenant_id, effect_id)
    if found is None:
        raise NotFound("There is no effect with this id.", code="effect_not_found")
    return found


async def unknown(house: House) -> int:
    """How many effects nobody knows the outcome of, over all tenants."""
    counted = await house.database.read(None, effects.unknown_counts)
    return sum(counted.values())


# -- resolving --------------------------------------------------------------------------------------------------------


async def resolve(
    house: House,
    principal: Principal,
    effect_id: EffectId,
    word: Word,
    result: Any = None,
    note: str | None = None,
    key: Key | None = None,
) -> Resolved:
    """Say what became of an unknown effect: `committed`, with its result, or `not_done`. Durable when this returns.

    Its run goes on, if it waits for that. On a run that has ended it is recorded and resumes nothing. Raises
    `NotFound`, `Conflict` (`already_resolved`), `Refused`. Safe to repeat with a key.
    """
    access.demand(principal, Scope.EFFECTS_WRITE)
    tenant_id = principal.tenant_id
    if note is not None:
        storable_text(note, what="note", chars_max=limits.NOTE_CHARS_MAX)
    shallow(result, what="The result")
    waking = approval_verbs.Waking()

    async def body(tx: Tx) -> Replay | None:
        nonlocal waking
        waking = approval_verbs.Waking()
        replay = await once(tx, tenant_id, key, 200, effect_id)
        if replay is not None:
            return replay
        effect = await _demand(tx, tenant_id, effect_id)
        await approval_verbs.lock(tx, tenant_id, effect.run_id)
        effect = await _demand(tx, tenant_id, effect_id)
        if effect.status is not EffectStatus.UNKNOWN:
            said = f"This effect is {effect.status}: nobody needs to say what became of it."
            first = await _first_decision(tx, effect)
            raise Conflict(said, code="already_resolved", decision=first)
        asked = await approvals.of_effect(tx, tenant_id, effect.run_id, effect.id)
        answer = {"outcome": word, "result": result}
        if asked is None:
            decision = Decision(
                principal_id=principal.id,
                name=principal.name,
                decision=DecisionKind.ANSWER,
                at=tx.now_ms,
                answer=encode(answer),
                note=note,
            )
            record = approval_verbs.decision_json(decision)
            await effects.resolve(tx, effect, word, note, resumes=False, decision=record)
        else:
            said = Resolution(decision="answer", answer=answer, note=note)
            waking = await approval_verbs.decide(tx, house, principal, asked, said)
        return None

    replay = await house.database.write(tenant_id, body)
    waking.announce(house)
    view = await house.database.read(tenant_id, lambda tx: _look(tx, tenant_id, effect_id))
    house.effect_changed(tenant_id, effect_id, view.effect.status)
    return Resolved(view) if replay is None else Resolved(view, replayed=True, status=replay.status)


async def _first_decision(tx: Tx, effect: Effect) -> dict[str, Any] | None:
    """What somebody has said of it before; None if nobody had to."""
    asked = await approvals.decided_of_effect(tx, effect.tenant_id, effect.run_id, effect.id)
    if asked is not None:
        return approval_verbs.first_decision(asked)
    kept: dict[str, Any] = decode(effect.error) or {}
    return kept.get("decision")


# -- what the runtime asks --------------------------------------------------------------------------------------------


async def of_step(house: House, run: Run, key: str) -> Effect | None:
    """A run's effect, by its step."""
    return await house.database.read(run.tenant_id, lambda tx: effects.get(tx, run.tenant_id, run.id, key))


async def note(
    house: House, run: Run, key: str, epoch: int, *, timeout_ms: int | None = None, ref: str | None = None
) -> bool:
    """A sign of life of a call under way, or the provider's reference. Durable on return; False: not ours any more."""
    return await house.database.write(
        run.tenant_id,
        lambda tx: effects.note(tx, run.tenant_id, run.id, key, epoch, timeout_ms=timeout_ms, ref=ref),
    )


@dataclass(frozen=True, slots=True)
class DoneBelow:
    """An effect that stands, with its step, in a run or one below it; and whether that run has ended."""

    effect: Effect
    step: Entry | None
    run_ended: bool


async def committed_below(house: House, run: Run) -> list[DoneBelow]:
    """What a run and those below it have done and not undone, the last first."""

    async def body(tx: Tx) -> list[DoneBelow]:
        found = await effects.standing_below(tx, run.tenant_id, run.id)
        steps = await entries.last_results(tx, run.tenant_id, [(effect.run_id, effect.key) for effect, _ in found])
        return [DoneBelow(effect, steps.get((effect.run_id, effect.key)), ended) for effect, ended in found]

    return await house.database.read(run.tenant_id, body)


async def has_committed_below(house: House, run: Run) -> bool:
    """Whether a run or those below it have done something that is not undone."""
    return await house.database.read(run.tenant_id, lambda tx: effects.committed_below(tx, run.tenant_id, run.id))


async def alive_below(house: House, run: Run) -> list[RunId]:
    """The runs below this one that have not ended."""
    found = await house.database.read(run.tenant_id, lambda tx: runs.descendants_alive(tx, run.tenant_id, run.id))
    return [run_id for run_id, _ in found]


async def first_of(house: House, run: Run, effect_id: EffectId) -> FirstCall | None:
    """The effect that holds a business key which `run` asked for too. Everybody of a tenant may read its runs, until
    grants say otherwise: then this is where they do."""

    async def body(tx: Tx) -> FirstCall | None:
        effect = await effects.by_id(tx, run.tenant_id, effect_id)
        if effect is None:
            return None
        step = await entries.last_result(tx, run.tenant_id, effect.run_id, effect.key)
        return FirstCall(effect, step, readable=True)

    return await house.database.read(run.tenant_id, body)
