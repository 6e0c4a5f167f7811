"""The tree of forks that a run belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from holdfast.domain import access, limits, messages
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import decode, encode
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
class Failed:
    """Why a run failed; the message is cut."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Member:
    """A run of the tree, what whoever forked changed, and the beginning of what came of it, by which forks are told
    apart. `output` is None if there is none, or if its beginning holds no text that could be shown."""

    run: Relative
    edited: Sequence[str]
    output: str | None
    error: Failed | None


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
        return Family(above[-1], [_member(one) for one in found], len(ids) > len(chosen))

    return await house.database.read(tenant_id, body)


def _member(run: Relative) -> Member:
    failure: dict[str, Any] | None = decode(run.error)
    failed = None if failure is None else Failed(str(failure.get("code", "")), _cut(str(failure.get("message", ""))))
    return Member(run, _edited(run), _output(run), failed)


def _output(run: Relative) -> str | None:
    """The beginning of it as one text: that of an answer, a string as it is, anything else as JSON."""
    if run.output is None:
        return None
    begun: dict[str, Any] = from_json(run.output, allow_partial="trailing-strings")
    found: Any = messages.response_text(encode(begun)) or None if run.output_is_message else begun.get("output")
    if found is None:
        return None
    return _cut(found if isinstance(found, str) else encode(found).decode())


def _cut(text: str) -> str:
    return text if len(text) <= limits.FAMILY_OUTPUT_CHARS_MAX else f"{text[: limits.FAMILY_OUTPUT_CHARS_MAX - 1]}…"


def _edited(run: Relative) -> list[str]:
    if run.forked_run is None:
        return []
    found = _EDITED.search(run.forking or b"")
    edited = [found[1].decode()] if found is not None else []
    if run.input_run is None:
        edited.append("message")
    said = [one.said.given for one in overrides_of(run.overrides) if one.forked]
    return [*edited, *(name for given in said for name in given)]
