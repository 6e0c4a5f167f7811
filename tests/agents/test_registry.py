"""The registry: one agent an id, and everything that a registered agent may call."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.agents.native import Agent
from holdfast.agents.registry import Registry
from holdfast.domain.errors import DefinitionError, NotFound


def test_agents_are_found_by_id_in_the_order_they_were_given() -> None:
    a, b = Agent("a", model="test"), Agent("b.1-x_Y", model="test")
    registry = Registry([a, b])
    assert (registry.get("a"), registry.get("b.1-x_Y")) == (a, b)
    assert (list(registry), registry.ids, len(registry)) == ([a, b], ["a", "b.1-x_Y"], 2)
    assert "a" in registry
    assert "c" not in registry


def test_an_agent_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        Registry([]).get("a")


def test_the_same_agent_may_be_given_twice_but_no_other_of_its_id() -> None:
    a = Agent("a", model="test")
    assert len(Registry([a, a])) == 1
    with pytest.raises(DefinitionError, match="Two agents have the id 'a'"):
        Registry([a, Agent("a", model="test")])
    with pytest.raises(DefinitionError, match="Two agents have the id 'a'"):
        Registry([Agent("b", model="test", handoffs=[a]), Agent("a", model="test")])


def test_agents_that_refer_to_each_other_end_the_walk() -> None:
    a = Agent("a", model="test")
    b = Agent("b", model="test", handoffs=[a])

    @a.tool
    def none() -> None: ...

    a._use(_with_handoff(a, b))
    assert Registry([a]).ids == ["a", "b"]


def _with_handoff(a: Agent, b: Agent) -> Any:
    from dataclasses import replace

    return replace(a.spec, handoffs=(b,))


@pytest.mark.parametrize("value", [object(), type("X", (), {"id": "no spaces", "related": lambda self: ()})()])
def test_what_is_no_agent_is_refused(value: Any) -> None:
    with pytest.raises(DefinitionError):
        Registry([value])
