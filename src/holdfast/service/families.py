"""The tree of forks that a run belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.domain import access, limits
from holdfast.domain.access import Principal, Scope
from holdfast.domain.forks import overrides_of
from holdfast.domain.ids import RunId
from holdfast.service import runs as run_verbs
from holdfast.service.house import House
from holdfast.store import family
from holdfast.store.base import Tx
from holdfast.store.family import Relative

# What `run.forked` says of the edits stands near its beginning: the edited result itself may be large, and is not read.
_EDITED: Final = re.compile(rb'"edits":\{"(output|answer)":')


@dataclass(frozen=True, slots=True)
class Member:
    """A run of the tree, and what whoever forked changed."""

    run: Relative
    edited: Sequence[str]


@dataclass(frozen=True, slots=True)
class Family:
    """`root_id`: the run that the tree begins with, be it deleted. `more`: not all of it is here."""

    root_id: RunId
    members: Sequence[Member]
    more: bool


async def get(house: House, principal: Principal, run_id: RunId) -> Family:
    """The tree, oldest first: the run, all that it comes from, and what else was forked from those, generation by
    generation, up to `FAMILY_RUNS_MAX`. Raises `NotFound`."""
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> Family:
        await run_verbs.demand(tx, tenant_id, run_id)
        above = await family.ancestry(tx, tenant_id, run_id, limits.FORK_DEPTH_MAX)
        below = await family.descent(tx, tenant_id, above[-1], limits.FAMILY_RUNS_MAX + 1)
        ids = list(dict.fromkeys([*above, *below]))
        chosen = ids[: limits.FAMILY_RUNS_MAX]
        found = await family.relatives(tx, tenant_id, chosen)
        return Family(above[-1], [Member(one, _edited(one)) for one in found], len(ids) > len(chosen))

    return await house.database.read(tenant_id, body)


def _edited(run: Relative) -> list[str]:
    if run.forked_run is None:
        return []
    found = _EDITED.search(run.forking or b"")
    edited = [found[1].decode()] if found is not None else []
    if run.input_run is None:
        edited.append("message")
    said = [one.said.given for one in overrides_of(run.overrides) if one.forked]
    return [*edited, *(name for given in said for name in given)]
