"""The agents of a process, by id: those that were given, and those that they call or hand over to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from holdfast.agents import base
from holdfast.domain.errors import DefinitionError, NotFound

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

DURABILITIES: Final = ("behind", "sync")
VERSION_POLICIES: Final = ("continue", "fail", "pin")


def check_declared(id: str, durability: str, on_version_change: str) -> None:
    """Raise `DefinitionError` for an id or a policy that cannot be."""
    if not ID_PATTERN.fullmatch(id):
        raise DefinitionError(f"An id is 1 to 64 letters, digits, _ . and -, a letter or digit first, not {id!r}.")
    if durability not in DURABILITIES:
        raise DefinitionError(f"durability is one of {DURABILITIES}, not {durability!r}.")
    if on_version_change not in VERSION_POLICIES:
        raise DefinitionError(f"on_version_change is one of {VERSION_POLICIES}, not {on_version_change!r}.")


class Registry:
    """Finds an agent by its id. Raises `DefinitionError` if an id cannot be one, or names two agents."""

    def __init__(self, agents: Iterable[base.Agent]) -> None:
        self._agents: dict[str, base.Agent] = {}
        waiting = list(agents)[::-1]
        while waiting:
            agent = waiting.pop()
            if self._add(agent):
                waiting.extend(reversed(agent.related()))

    def _add(self, agent: base.Agent) -> bool:
        """Whether the agent was not known yet."""
        if not isinstance(getattr(agent, "id", None), str) or not ID_PATTERN.fullmatch(agent.id):
            raise DefinitionError(
                f"An agent's id is 1 to 64 letters, digits, _ . and -, a letter or digit first; {agent!r} has none."
            )
        known = self._agents.get(agent.id)
        if known is not None and known is not agent:
            raise DefinitionError(f"Two agents have the id {agent.id!r}: {known!r} and {agent!r}.")
        self._agents[agent.id] = agent
        return known is None

    def get(self, id: str) -> base.Agent:
        """The agent; `NotFound` if none has this id."""
        found = self._agents.get(id)
        if found is None:
            raise NotFound(f"There is no agent {id!r}.")
        return found

    def __contains__(self, id: object) -> bool:
        return id in self._agents

    def __iter__(self) -> Iterator[base.Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    @property
    def ids(self) -> list[str]:
        return list(self._agents)
