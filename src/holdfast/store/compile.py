"""SQLAlchemy statements as driver calls: SQL text and parameter order, compiled once per dialect and kept.

Statements that modules keep as constants are found by identity; ones built per call (list filters) pass through the
same bounded cache and fall out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable

STATEMENTS_KEPT = 1_024

Bind = Callable[[Mapping[str, Any]], Sequence[Any]]


class Compiled:
    """`sql` for the driver, and `bind` from named parameters to the driver's positional ones."""

    __slots__ = ("_fixed", "_names", "sql")

    def __init__(self, sql: str, names: tuple[str, ...], fixed: dict[str, Any]) -> None:
        self.sql = sql
        self._names = names
        self._fixed = fixed

    def bind(self, params: Mapping[str, Any] | None) -> list[Any]:
        if not self._fixed:
            return [params[name] for name in self._names] if params else []
        given = params or {}
        return [given[name] if name in given else self._fixed[name] for name in self._names]


def compiler(dialect: Dialect) -> Callable[[Executable], Compiled]:
    """A compiling function with its cache, for one dialect."""

    @lru_cache(maxsize=STATEMENTS_KEPT)
    def compiled(statement: Executable) -> Compiled:
        result = cast(SQLCompiler, cast(Any, statement).compile(dialect=dialect))
        asked = {name for name, bind in result.binds.items() if bind.required}
        # An IN list's length is part of the text: the expanded state has it written out, with a name per element.
        expanded = result.construct_expanded_state(dict.fromkeys(asked))
        names = tuple(expanded.positiontup or ())
        fixed = {name: expanded.parameters[name] for name in names if name not in asked}
        return Compiled(expanded.statement, names, fixed)

    return compiled
