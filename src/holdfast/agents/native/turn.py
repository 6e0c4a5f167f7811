"""Where a run of a native agent stands: what the loop's functions share, and how it is assembled.

All of it follows from recorded steps: a resumed run that answers its steps from the journal arrives at the same turn.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_core import to_json

from holdfast.agents import base, models
from holdfast.agents.models import model_name
from holdfast.agents.native import model_step
from holdfast.agents.native.history import Source
from holdfast.agents.native.middleware import TurnInfo
from holdfast.agents.native.plan import (
    Asked,
    Plan,
    instruction_parts,
    joined,
    overridden,
    parameters_blob,
)
from holdfast.agents.native.prompt import Prompt, Said
from holdfast.agents.native.spec import AgentSpec
from holdfast.agents.tools import ToolContext
from holdfast.domain.encoding import decode, encode
from holdfast.domain.forks import Override, Overrides
from holdfast.domain.journal import StepKind
from holdfast.domain.threads import Message, Role

if TYPE_CHECKING:
    from holdfast.agents.effects import ToolRequest
    from holdfast.agents.native.agent import Agent
    from holdfast.agents.native.calls import Told


@dataclass(slots=True)
class Turn:
    """One run under way. `entry` is who was asked, `acting` who acts, with `plan` and `asked`; `requests` are the calls
    of the answer at hand."""

    run: base.RunContext
    entry: Agent
    acting: Agent
    plan: Plan
    asked: Asked
    prompt: Prompt
    model_calls: int = 0
    output_failures: int = 0
    tool_failures: dict[str, int] = field(default_factory=dict[str, int])
    requests: dict[str, ToolRequest | Told] = field(default_factory=dict[str, "ToolRequest | Told"])
    handoffs: int = 0
    # Of a fork or a retried run: for whom each override is meant, the last ones with what they made of `asked`, models.
    meant_for: dict[Override, str] = field(default_factory=dict[Override, str])
    changed: tuple[Overrides, Asked, Asked] | None = None
    models: dict[str, Model] = field(default_factory=dict[str, Model])

    @property
    def spec(self) -> AgentSpec:
        """The definition of who acts."""
        return self.plan.spec

    def info(self) -> TurnInfo:
        """What middleware sees."""
        return info_of(self.run, self.spec, self.model_calls)

    def ask_with(self, key: str) -> tuple[Asked, Callable[[], Awaitable[Model]]]:
        """What the model step `key` asks with, and whom: it may be otherwise from a fork's first own step on, or behind
        a retry, as long as the same agent acts. A recorded step needs no model, and finds none where there is no key
        for it."""
        said = Overrides()
        for one in self.run.overrides(key):
            if self.meant_for.setdefault(one, self.acting.id) == self.acting.id:
                said = one.said.over(said)
        if said == Overrides():
            return self.asked, self._own_model
        if self.changed is None or self.changed[0] != said or self.changed[1] is not self.asked:
            self.changed = said, self.asked, overridden(self.plan, said, self.asked.instructions)
        model = self._own_model if said.model is None else partial(self._other_model, said.model)
        return self.changed[2], model

    async def _own_model(self) -> Model:
        return self.acting.resolved_model()

    async def _other_model(self, name: str) -> Model:
        if name not in self.models:
            self.models[name] = await _resolved(self.run, name)
        return self.models[name]

    async def hand_over(self, agent: Agent) -> None:
        """From here on `agent` acts: its instructions, tools, settings and model. The output contract stays."""
        self.handoffs += 1
        self.acting = agent
        self.plan = agent.plan_for(self.entry)
        self.tool_failures = {}
        self.run.hand_over(agent.id)
        self.asked = await asked_by(self.run, self.plan)


async def _resolved(run: base.RunContext, model: str | Model) -> Model:
    """In a thread: the first model of a provider brings the provider's SDK, which takes a second."""
    return await run.blocking(models.resolve, model) if isinstance(model, str) else model


def info_of(run: base.RunContext, spec: AgentSpec, model_calls: int = 0) -> TurnInfo:
    return TurnInfo(run, spec.id, model_calls, partial(ask_aside, run, spec))


async def begin(entry: Agent, run: base.RunContext, input: bytes) -> Turn:
    """Assemble the prompt of a new run: what of the thread it is given, then its own input."""
    prompt, spec = Prompt(), entry.spec
    chosen = await spec.history.select(Source(run, partial(_summarise, run, spec)))
    if chosen.summary is not None:
        prompt.inline({"user": chosen.summary})
    for message in chosen.messages:
        prompt.add(Said.of(message))
    prompt.add(Said(position=run.input_position, role=Role.USER, payload=input))
    plan = entry.plan_for(entry)
    return Turn(run, entry, entry, plan, await asked_by(run, plan), prompt)


async def asked_by(run: base.RunContext, plan: Plan) -> Asked:
    """What goes with the messages: for texts it is ready, what functions return is recorded first.

    A resumed run is instructed as it was before, whatever the functions would say today.
    """
    if plan.static is not None:
        return plan.static
    instructions = plan.spec.instructions

    async def body(attempt: base.Attempt) -> base.Outcome:
        with run.scope(attempt.key):
            texts = [await _instruction(run, attempt, part) for part in instructions]
        return base.Outcome(payload=encode(joined([t for t in texts if t]), what="The instructions"))

    recorded = await run.perform(base.Action(kind=StepKind.VALUE, name="instructions"), body)
    return plan.asked(decode(recorded.unwrap()))


async def _instruction(run: base.RunContext, attempt: base.Attempt, part: Any) -> str | None:
    if isinstance(part, str):
        return part
    text = await called(run, attempt, part, takes_ctx=bool(inspect.signature(part).parameters))
    if text is not None and not isinstance(text, str):
        raise TypeError(f"instructions are text, not {type(text).__name__}")
    return text


async def called(
    run: base.RunContext, attempt: base.Attempt, fn: Callable[..., Any], *given: Any, takes_ctx: bool
) -> Any:
    """Call a function of the user's, with a `ToolContext` in front if it takes one; in a thread if it is sync.

    The body around it stands in a scope of its own: a resumed run does not run a recorded body again, and the keys of
    what comes after must not depend on that.
    """
    is_async = inspect.iscoroutinefunction(fn)
    context = ToolContext[Any](run, key=attempt.key, attempt=attempt.number, sync=not is_async)
    front = (context,) if takes_ctx else ()
    if is_async:
        return await fn(*front, *given)
    result = await run.blocking(fn, *front, *given)
    return await result if inspect.isawaitable(result) else result


# --- model calls aside from the conversation -------------------------------------------------------------------------


async def ask_aside(
    run: base.RunContext,
    spec: AgentSpec,
    question: str,
    *,
    model: Any = None,
    instructions: str | None = None,
    name: str = "ask",
) -> str:
    """Ask a model something that is not part of the conversation: a recorded step, but no message of the thread."""
    made = Prompt()
    made.inline({"user": question})
    return await _aside(run, spec, made, model, instructions, name)


async def _summarise(
    run: base.RunContext, spec: AgentSpec, older: Sequence[Message], instructions: str, model: Any
) -> str:
    made = Prompt()
    made.transcript([Said.of(message) for message in older])
    return await _aside(run, spec, made, model, instructions, "summary")


async def _aside(
    run: base.RunContext, spec: AgentSpec, made: Prompt, model: Any, instructions: str | None, name: str
) -> str:
    used = model if model is not None else spec.model
    facts = to_json({"model": model_name(used), "tools": [], "output": {"mode": "text", "text": True}})[1:]
    params = ModelRequestParameters(instruction_parts=instruction_parts(instructions))
    asked = Asked(instructions, params, None, parameters_blob(instructions, {}, facts))

    async def body(attempt: base.Attempt) -> base.Outcome:
        resolved, sent = await _resolved(run, used), made.ready()
        answer = await model_step.request(
            attempt, resolved, sent, asked, streams=False, timeout_ms=spec.model_timeout_ms
        )
        return model_step.outcome(answer, made, asked, sent)

    asking = partial(model_step.asking, made, asked)
    action = base.Action(kind=StepKind.MODEL, name=name, write_behind=True, retry=spec.retry, asked=asking)
    recorded = await run.perform(action, body)
    model_step.demand(recorded)
    return model_step.response_of(recorded).text or ""
