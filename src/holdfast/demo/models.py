"""Which model speaks in the demo: a provider's if there is a key for it, else the scripted one, said aloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.demo.desk import SCRIPTED
from holdfast.domain.errors import DefinitionError, ModelFault

BY_KEY: Final = (
    ("OPENAI_API_KEY", "openai:gpt-5.6-terra"),
    ("ANTHROPIC_API_KEY", "anthropic:claude-sonnet-5-5"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    model: str
    reason: str


def choose(asked: str | None, environment: Mapping[str, str]) -> Choice:
    """The model asked for, else by the keys in the environment. Raises `DefinitionError` for one that cannot be had."""
    if asked == SCRIPTED:
        return Choice(SCRIPTED, _scripted("as asked"))
    if asked is not None:
        _demand(asked)
        return Choice(asked, f"{asked}, as asked")
    for key, model in BY_KEY:
        if environment.get(key):
            try:
                _demand(model)
            except DefinitionError as exc:
                return Choice(SCRIPTED, _scripted(f"{key} is set, but {exc.message}"))
            return Choice(model, f"{model}, since {key} is set. Its calls are real and cost money.")
    return Choice(SCRIPTED, _scripted("no OPENAI_API_KEY or ANTHROPIC_API_KEY is set"))


def _scripted(why: str) -> str:
    return f"SCRIPTED, not a language model: plain rules over real tools ({why})"


def _demand(model: str) -> None:
    """Raise `DefinitionError` unless the model's provider and key are there. Nothing is sent."""
    from holdfast.agents import models

    try:
        models.resolve(model)
    except ModelFault as exc:
        raise DefinitionError(exc.message) from None
