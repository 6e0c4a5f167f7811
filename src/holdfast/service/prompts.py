"""The exact prompt of a model step, rebuilt from what the journal refers to: stored messages and blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from holdfast.agents.native import prompt as prompts
from holdfast.domain import access
from holdfast.domain.access import Principal, Scope
from holdfast.domain.encoding import decode
from holdfast.domain.errors import NotFound
from holdfast.domain.ids import RunId
from holdfast.domain.runs import Run
from holdfast.domain.threads import Message
from holdfast.service.house import House
from holdfast.store import blobs, lineage, messages, runs
from holdfast.store.base import Tx

Ranges = dict[tuple[int, int], list[Message]]


async def get(house: House, principal: Principal, run_id: RunId, seq: int) -> dict[str, Any]:
    """`{instructions, messages, tools, output, settings, model}` as the model was asked; JSON values.

    Raises `NotFound`: `run_not_found`, `step_not_found`, or `prompt_not_found` for a step that asked no model.
    """
    access.demand(principal, Scope.RUNS_READ)
    tenant_id = principal.tenant_id

    async def body(tx: Tx) -> tuple[dict[str, Any], Ranges, dict[bytes, bytes]]:
        run = await runs.get(tx, tenant_id, run_id)
        if run is None or run.archived:
            raise NotFound("There is no run with this id.", code="run_not_found")
        located = await lineage.step(tx, run, seq)
        if located is None:
            raise NotFound(f"The run has no step {seq}.", code="step_not_found")
        step = located.entry
        if step.prompt is None:
            raise NotFound(f"Step {seq} asked no model.", code="prompt_not_found")
        record: dict[str, Any] = decode(step.prompt)
        ranges, hashes = prompts.needs(record)
        pieces = await lineage.pieces_of(tx, run)
        said: Ranges = {}
        for first, last in ranges:
            said[first, last] = await _said(tx, run, first, last, pieces)
        return record, said, {hash: await blobs.get(tx, tenant_id, hash) or b"null" for hash in hashes}

    record, said, found = await house.database.read(tenant_id, body)
    return await asyncio.to_thread(_rebuilt, record, said, found)


async def _said(tx: Tx, run: Run, first: int, last: int, pieces: messages.Pieces) -> list[Message]:
    """The messages at these positions, both included. In parts: what a driver makes of rows keeps the loop waiting."""
    found: list[Message] = []
    while (after := found[-1].position if found else first - 1) < last:
        page = await messages.page(tx, run.tenant_id, run.thread_id, after, min(_PAGE, last - after), pieces)
        if not page:
            break
        found += page
    return found


_PAGE: Final = 1_000


def _rebuilt(
    record: dict[str, Any], said: Mapping[tuple[int, int], list[Message]], found: Mapping[bytes, bytes]
) -> dict[str, Any]:
    """In a thread: a prompt may be long."""
    return prompts.rebuild(record, lambda first, last: said[first, last], found.__getitem__)
