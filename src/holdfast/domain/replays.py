"""What a replay found: the current code does what was recorded, or where it begins to do something else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic_core import to_json

from holdfast.domain.differences import Difference
from holdfast.domain.ids import PrincipalId, ReplayId, RunId, TenantId


class Mode(StrEnum):
    """What a replay has of the world.

    `strict`: nothing; the code alone runs, against the record. `recorded_tools`: today's model, while tools answer from
    the record. `live`: today's model and today's tools, in a sandbox tenant.
    """

    STRICT = "strict"
    RECORDED_TOOLS = "recorded_tools"
    LIVE = "live"


class Verdict(StrEnum):
    IDENTICAL = "identical"
    DIVERGED = "diverged"


class Reason(StrEnum):
    """How a replay diverged.

    `step_changed`: another step stands in the journal at this place, or one with other arguments. `prompt_changed`: the
    model would be asked something else. `step_added`: the code asks for a step that was not recorded. `step_missing`:
    a recorded step was never asked for. `outcome_changed`: every step was the same, but not how the run ends.
    `isolated`: code outside steps reached for the network, a process or what lives in `ctx.deps`. `stalled`: the code
    waits for something that never comes. `limit`: it asks for more steps than a replay has. `rules_changed`: a call
    that was made without leave, with it, or not at all, would be judged otherwise.

    Of replays that make a run: `answer_changed`: the model answered something else. `call_denied`: the code called what
    the recorded run did not call. `result_changed`: a step came to something else. `waiting`: the run waits for
    somebody where the recorded one went on.
    """

    STEP_CHANGED = "step_changed"
    PROMPT_CHANGED = "prompt_changed"
    STEP_ADDED = "step_added"
    STEP_MISSING = "step_missing"
    OUTCOME_CHANGED = "outcome_changed"
    ISOLATED = "isolated"
    STALLED = "stalled"
    LIMIT = "limit"
    RULES_CHANGED = "rules_changed"
    ANSWER_CHANGED = "answer_changed"
    CALL_DENIED = "call_denied"
    RESULT_CHANGED = "result_changed"
    WAITING = "waiting"


_FROM_OUTSIDE: Final = frozenset(
    {"poisoned", "version_changed", "agent_not_found", "journal_rejected", "journal_full", "threads_exhausted"}
)


def is_from_outside(code: str) -> bool:
    """Whether a failure of this code is not of the code's making: the record just stops there."""
    return code in _FROM_OUTSIDE or code.startswith("limit_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The result of one replay. `steps`: how many recorded steps were asked for and matched. `at`: the `seq` of the
    step where the code diverged, None if it did at the end. `recorded` and `requested` are JSON objects to be read."""

    verdict: Verdict
    steps: int
    at: int | None = None
    reason: Reason | None = None
    message: str = ""
    recorded: dict[str, Any] | None = None
    requested: dict[str, Any] | None = None
    difference: Difference | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"verdict": self.verdict.value, "steps": self.steps}
        if self.verdict is Verdict.IDENTICAL:
            return found
        difference = self.difference
        return {
            **found,
            "at": self.at,
            "reason": None if self.reason is None else self.reason.value,
            "message": self.message,
            "recorded": self.recorded,
            "requested": self.requested,
            "difference": None
            if difference is None
            else {"path": difference.path, "recorded": difference.recorded, "requested": difference.requested},
        }

    def told(self) -> str:
        """The same for people, in a line or a few."""
        if self.verdict is Verdict.IDENTICAL:
            return f"identical, {self.steps} steps"
        where = (
            " at its end" if self.reason is Reason.OUTCOME_CHANGED else "" if self.at is None else f" at step {self.at}"
        )
        said = f"diverged{where}. {self.message}"
        if self.difference is None:
            return said
        path = self.difference.path or "it"
        was = to_json(self.difference.recorded, fallback=repr).decode()
        now = to_json(self.difference.requested, fallback=repr).decode()
        return f"{said}\n    {path} was recorded as  {was}\n    {' ' * len(path)} and would now be {now}"

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Replay:
        difference = found.get("difference")
        reason = found.get("reason")
        return cls(
            verdict=Verdict(found["verdict"]),
            steps=found["steps"],
            at=found.get("at"),
            reason=None if reason is None else Reason(reason),
            message=found.get("message", ""),
            recorded=found.get("recorded"),
            requested=found.get("requested"),
            difference=None if difference is None else Difference(**difference),
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """A result, and the version of the agent whose code was run."""

    result: Replay
    version: str


@dataclass(frozen=True, slots=True)
class StoredReplay:
    """A replay that somebody asked for. `result` is JSON, None while it is under way; `error`: why there is none.

    `isolation`: where a strict one runs. `made_run`: the run that another one made, in the tenant `made_tenant`.
    """

    tenant_id: TenantId
    id: ReplayId
    run_id: RunId
    requested_by: PrincipalId
    isolation: str | None
    recorded_version: str
    current_version: str
    result: bytes | None
    error: bytes | None
    created_at: int
    ended_at: int | None
    mode: Mode = Mode.STRICT
    made_tenant: TenantId | None = None
    made_run: RunId | None = None
