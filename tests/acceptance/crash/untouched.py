"""Whether a run is, byte for byte, what it was when it was forked.

What its rows were is noted in a file before the fork is asked for, and compared at the end by whichever process comes
to it: also by one that was started because the first one was killed.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select

from holdfast.domain import ids
from holdfast.domain.ids import RunId
from holdfast.store import runs, schema
from holdfast.store.base import Database, Tx

_WHOLE = (schema.effects, schema.approvals, schema.run_lineage)


class Untouched:
    """The runs that were forked."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._path = directory / "forked"

    async def note(self, run_id: RunId) -> None:
        """Remember what a run is now; the first time counts. What has not ended may go on: its past may not change."""
        noted, name = self._noted(), ids.text(ids.RUN, run_id)
        if name in noted:
            return

        async def body(tx: Tx) -> tuple[int, bool]:
            found = await runs.get(tx, ids.DEFAULT_TENANT, run_id)
            assert found is not None
            [[pos]] = await tx.all(select(schema.run_heads.c.pos).where(schema.run_heads.c.run_id == run_id))
            return pos, found.status.ended

        pos, ended = await self._database.read(None, body)
        noted[name] = {"pos": pos, "ended": ended, "rows": await self._rows(run_id, pos, ended=ended)}
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(noted))
        os.replace(new, self._path)

    async def demand(self) -> int:
        """Every run that was forked is what it was: how many there are."""
        noted = self._noted()
        for name, was in noted.items():
            run_id = RunId(ids.parse(ids.RUN, name))
            now = await self._rows(run_id, was["pos"], ended=was["ended"])
            assert now == was["rows"], f"{name} was changed by its fork: {now} instead of {was['rows']}"
        return len(noted)

    def _noted(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    async def _rows(self, run_id: RunId, pos: int, *, ended: bool) -> dict[str, str]:
        """A hash of what each table holds of a run."""

        async def body(tx: Tx) -> dict[str, str]:
            found: dict[str, Any] = {}
            for table in (schema.entries, schema.messages):
                found[table.name] = await tx.all(
                    select(table).where(table.c.run_id == run_id, table.c.pos <= pos).order_by(table.c.pos)
                )
            for table in _WHOLE if ended else ():
                found[table.name] = sorted(map(repr, await tx.all(select(table).where(table.c.run_id == run_id))))
            if ended:
                found["runs"] = await tx.all(select(schema.runs).where(schema.runs.c.id == run_id))
            return {name: sha256(repr([*map(tuple, rows)]).encode()).hexdigest() for name, rows in found.items()}

        return await self._database.read(None, body)
