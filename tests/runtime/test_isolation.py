"""What code under replay sees of `ctx.deps`: data as it is, everything else behind glass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from holdfast.runtime.isolation import Guard, Isolated, guarded, real


class Mode(Enum):
    FAST = 1


class Slotted:
    __slots__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 3


@dataclass
class Client:
    name: str = "client"
    opened: list[str] = field(default_factory=list)

    def send(self, text: str) -> str:
        self.opened.append(text)
        return text

    @classmethod
    def made(cls) -> Client:
        return cls()

    @property
    def state(self) -> str:
        self.opened.append("state")
        return "open"


@dataclass
class Deps:
    client: Client = field(default_factory=Client)
    mode: Mode = Mode.FAST
    price: Decimal = Decimal("1.5")
    since: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    names: dict[str, list[int]] = field(default_factory=lambda: {"a": [1]})
    clients: dict[str, Client] = field(default_factory=lambda: {"x": Client("x")})
    slotted: Slotted = field(default_factory=Slotted)
    kind: type = Client
    nothing: None = None


@pytest.fixture
def told() -> list[str]:
    return []


def test_data_is_read_as_it_is(told: list[str]) -> None:
    deps = Deps()
    seen = guarded(deps, told.append)
    assert isinstance(seen, Deps)
    assert (seen.mode, seen.price, seen.since, seen.nothing, seen.kind) == (
        Mode.FAST, Decimal("1.5"), deps.since, None, Client
    )  # fmt: skip
    assert (seen.client.name, seen.slotted.rate, seen.clients["x"].name) == ("client", 3, "x")
    assert seen.names == {"a": [1]}
    seen.names["a"].append(2)
    assert deps.names == {"a": [1]}, "a copy was changed"
    assert guarded(None, told.append) is None
    assert told == []


def test_what_is_alive_can_be_named_and_stands_behind_its_guard(told: list[str]) -> None:
    deps = Deps()
    seen = guarded(deps, told.append)
    assert type(seen.client.send) is Guard
    assert real(seen.client.send) == deps.client.send
    assert real(seen.client) is deps.client
    assert real(seen.client.made) == Client.made
    assert seen.client == seen.client
    assert seen.client != seen.clients
    assert bool(seen.client)
    assert "ctx.deps.client" in repr(seen.client)
    assert real(7) == 7
    with pytest.raises(AttributeError, match="missing"):
        _ = seen.client.missing
    assert told == []


def _set(seen: Any) -> None:
    seen.client.name = "other"


def _delete(seen: Any) -> None:
    del seen.client.name


def _enter(seen: Any) -> None:
    with seen.client:
        pass


@pytest.mark.parametrize(
    "use",
    [
        lambda seen: seen.client.send("x"),
        lambda seen: seen.client.made(),
        lambda seen: seen.client.state,
        lambda seen: seen.client == 1,
        lambda seen: list(seen.clients),
        lambda seen: len(seen.clients),
        lambda seen: bool(seen.clients),
        lambda seen: "x" in seen.clients,
        lambda seen: seen.client["x"],
        _set,
        _delete,
        _enter,
    ],
)
def test_it_refuses_to_be_used_and_says_what_to_do(told: list[str], use: Callable[[Any], Any]) -> None:
    deps = Deps()
    with pytest.raises(Isolated, match="Do it in a step"):
        use(guarded(deps, told.append))
    assert len(told) == 1
    assert "ctx.deps.client" in told[0]
    assert (deps.client.name, deps.client.opened) == ("client", [])


async def test_it_is_not_awaited_nor_entered(told: list[str]) -> None:
    seen = guarded(Deps(), told.append)
    with pytest.raises(Isolated):
        await seen.client
    with pytest.raises(Isolated):
        async with seen.client:
            pass
    with pytest.raises(Isolated):
        async for _ in seen.client:
            pass
    assert len(told) == 3


def test_code_that_makes_attributes_up_is_not_run(told: list[str]) -> None:
    class Magic:
        def __getattr__(self, name: str) -> str:
            raise AssertionError("it was run")

    with pytest.raises(Isolated, match="only its own code can tell"):
        _ = guarded(Magic(), told.append).anything
