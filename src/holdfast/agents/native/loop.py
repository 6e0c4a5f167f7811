"""The loop of a native agent, a state machine over recorded steps:

    assemble → ask the model → an answer without calls → output, or a retry prompt → ask again
                             → calls                   → output, or tool steps, a hand-off → ask again

Nothing is kept between runs of this code but what steps return, so a resumed run walks the same path and finds its
steps recorded. Every round makes at least one model step, and those are limited, so the loop ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model
from pydantic_core import from_json, to_json

from holdfast.agents import base
from holdfast.agents.native import calls, model_step, prompt
from holdfast.agents.native import messages as stored
from holdfast.agents.native.calls import Call, Told
from holdfast.agents.native.middleware import ModelCall, overridden
from holdfast.agents.native.output import Member, Rejected
from holdfast.agents.native.plan import Asked
from holdfast.agents.native.prompt import Said
from holdfast.agents.native.turn import Turn, begin, called, info_of
from holdfast.agents.tools import ModelRetry
from holdfast.domain import limits
from holdfast.domain.errors import OutputInvalid
from holdfast.domain.journal import StepKind
from holdfast.domain.messages import transfer_said
from holdfast.domain.threads import Role

if TYPE_CHECKING:
    from holdfast.agents.native.agent import Agent

EMPTY = "Your answer was empty. Answer with text, or call a tool."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and the key of the step that recorded it."""

    key: str
    response: ModelResponse


async def run(entry: Agent, ctx: base.RunContext, input: bytes) -> base.Output:
    """Run the agent to its output; raises what ends the run when it cannot be had, after `on_error` heard of it."""
    turn: Turn | None = None
    try:
        turn = await begin(entry, ctx, input)
        while True:
            answer = await ask(turn)
            output = await respond(turn, answer)
            if output is not None:
                return output
    except Exception as exc:
        spec = entry.spec if turn is None else turn.spec
        for middleware in overridden(spec.middleware, "on_error"):
            await middleware.on_error(info_of(ctx, spec) if turn is None else turn.info(), exc)
        raise


async def respond(turn: Turn, answer: Answer) -> base.Output | None:
    """Do what the answer asks for; the output if it was the last."""
    parts = stored.tool_calls(answer.response)
    if parts:
        return await respond_to_calls(turn, answer, calls.calls_of(answer.key, parts))
    return await respond_to_text(turn, answer)


# --- asking ----------------------------------------------------------------------------------------------------------


async def ask(turn: Turn) -> Answer:
    """One model step."""
    sent = turn.prompt.ready()
    asked, model = turn.ask_with(f"model#{turn.model_calls + 1}")
    before = overridden(turn.spec.middleware, "before_model")
    if before:
        sent, asked = await _changed(turn, before, sent, asked)
    streams = turn.spec.stream or turn.run.listening()
    action = base.Action(
        kind=StepKind.MODEL,
        name="model",
        write_behind=True,
        streams=streams,
        message=Role.ASSISTANT,
        retry=turn.spec.retry,
        asked=partial(model_step.asking, turn.prompt, asked, sent),
    )
    recorded = await turn.run.perform(action, partial(_asked, turn, model, sent, asked, streams))
    turn.model_calls += 1
    model_step.demand(recorded)
    response = model_step.response_of(recorded)
    assert recorded.position is not None, "a model's answer is a message"
    turn.prompt.add(Said(position=recorded.position, role=Role.ASSISTANT, payload=recorded.payload, response=response))
    return Answer(recorded.key, response)


async def _asked(
    turn: Turn,
    model: Callable[[], Awaitable[Model]],
    sent: list[ModelMessage],
    asked: Asked,
    streams: bool,
    attempt: base.Attempt,
) -> base.Outcome:
    """The body of a model step."""
    if __debug__ and prompt.verify_prompts:
        turn.prompt.check(sent)
    response = await model_step.request(
        attempt, await model(), sent, asked, streams=streams, timeout_ms=turn.spec.model_timeout_ms
    )
    after = overridden(turn.spec.middleware, "after_model")
    if after:
        # Steps made in a body have keys under it, since a resumed run that finds it recorded does not make them. And
        # under this very answer: after a crash here the model is asked again, and what was found out about the first
        # answer does not hold for the second.
        with turn.run.scope(f"{attempt.key}/{stored.fingerprint_of(response)}"):
            for middleware in after:
                response = await middleware.after_model(turn.info(), response) or response
    outcome = model_step.outcome(response, turn.prompt, asked, sent)
    said = response if outcome.value is not None else stored.unpack(outcome.payload) or response
    outcome.ops = calls.chosen(turn, attempt.key, stored.tool_calls(said))
    return outcome


async def _changed(
    turn: Turn, before: Sequence[Any], sent: list[ModelMessage], asked: Asked
) -> tuple[list[ModelMessage], Asked]:
    """What middleware makes of a call."""
    settings = dict(turn.spec.settings)
    call = first = ModelCall(sent, asked.instructions, settings)
    for middleware in before:
        call = await middleware.before_model(turn.info(), call) or call
    if call.instructions != first.instructions or call.settings != turn.spec.settings:
        asked = turn.plan.asked(call.instructions, call.settings)
    return call.messages, asked


# --- answers without calls -------------------------------------------------------------------------------------------


async def respond_to_text(turn: Turn, answer: Answer) -> base.Output | None:
    text = answer.response.text or ""
    output = turn.entry.spec.output
    try:
        if not text.strip():
            raise Rejected(EMPTY)
        value, member = output.from_text(text)
        return await accepted(turn, answer, value, member)
    except Rejected as rejected:
        await say_again(turn, answer, str(rejected))
        return None


async def accepted(turn: Turn, answer: Answer, value: Any, member: Member | None) -> base.Output:
    """The output, after the validators had their say; `Rejected` if one wants another."""
    output, validators = turn.entry.spec.output, turn.entry.spec.validators
    text_itself = member is None
    if validators:
        changed = await _validated(turn, value, member)
        if changed is not None:
            return base.Output(payload=changed)
    if text_itself:
        return base.Output(message_key=answer.key)
    return base.Output(payload=output.encode(value, member))


async def _validated(turn: Turn, value: Any, member: Member | None) -> bytes | None:
    """The output that the validators made, or None if they left it as it is. Recorded, since they may do anything."""
    output, validators = turn.entry.spec.output, turn.entry.spec.validators

    async def body(attempt: base.Attempt) -> base.Outcome:
        before, made = output.encode(value, member), value  # a validator may change the value in place
        try:
            with turn.run.scope(attempt.key):
                for validator in validators:
                    made = await called(turn.run, attempt, validator.fn, made, takes_ctx=validator.takes_ctx)
        except ModelRetry as exc:
            return base.Outcome(payload=to_json({"retry": stored.clean(exc.message)}))
        after = output.encode(made, member)
        return base.Outcome(payload=b'{"same":true}' if before == after else b'{"output":' + after + b"}")

    recorded = await turn.run.perform(base.Action(kind=StepKind.VALUE, name="validate"), body)
    verdict: dict[str, Any] = from_json(recorded.unwrap() or b"{}")
    if "retry" in verdict:
        raise Rejected(verdict["retry"])
    return to_json(verdict["output"]) if "output" in verdict else None


async def say_again(turn: Turn, answer: Answer, text: str) -> None:
    """Ask for another answer, within the budget, by a message that is stored like any other."""
    _spend_output_retry(turn, answer, text)

    async def body(attempt: base.Attempt) -> base.Outcome:
        return base.Outcome(payload=to_json({"retry": stored.clean(text)}))

    action = base.Action(kind=StepKind.VALUE, name="retry", message=Role.USER)
    recorded = await turn.run.perform(action, body)
    assert recorded.position is not None, "a retry prompt is a message"
    turn.prompt.add(Said(position=recorded.position, role=Role.USER, payload=recorded.unwrap(), kind=StepKind.VALUE))


def _spend_output_retry(turn: Turn, answer: Answer, reason: str) -> None:
    budget = turn.entry.spec.output_retries
    turn.output_failures += 1
    if turn.output_failures > budget:
        raise OutputInvalid(
            f"The model did not produce the declared output within {budget} retries. The last error: "
            f"{reason[: limits.ERROR_CHARS_MAX]}",
            step=answer.key,
        )


# --- answers with calls ----------------------------------------------------------------------------------------------


async def respond_to_calls(turn: Turn, answer: Answer, made: list[Call]) -> base.Output | None:
    """Output tools first: with a valid one the run is over, and other calls are made only if the agent says so."""
    output = turn.entry.spec.output
    asking = [(call, member) for call in made if (member := output.member(call.tool)) is not None]
    result, rejections = await _first_valid(turn, answer, asking)
    if result is not None and turn.entry.spec.end_strategy == "early":
        return result
    output_calls = {call.index for call, _ in asking}
    transfers = [c for c in made if c.tool in turn.plan.transfers]
    others = [c for c in made if c.index not in output_calls and c not in transfers]
    await calls.make(turn, others)
    if result is not None:
        return result
    for call, reason in rejections:
        calls.hear(turn, call, await calls.tell(turn, call, Told("output_invalid", reason)))
    if rejections:
        _spend_output_retry(turn, answer, rejections[-1][1])
    await hand_over(turn, transfers)
    return None


async def _first_valid(
    turn: Turn, answer: Answer, asking: Sequence[tuple[Call, Member]]
) -> tuple[base.Output | None, list[tuple[Call, str]]]:
    rejections: list[tuple[Call, str]] = []
    for call, member in asking:
        try:
            value = member.decode(call.part.args)
            return await accepted(turn, answer, value, member), rejections
        except Rejected as rejected:
            rejections.append((call, str(rejected)))
    return None, rejections


async def hand_over(turn: Turn, transfers: Sequence[Call]) -> None:
    """The first transfer is taken, a second one in the same answer is not, nor one beyond the limit."""
    taken: Agent | None = None
    for call in transfers:
        target = turn.acting.handoff(turn.plan.transfers[call.tool], turn.run)
        if taken is not None:
            refusal = "The conversation has just been handed over to another agent."
        elif turn.handoffs >= limits.HANDOFFS_MAX:
            refusal = f"A run has at most {limits.HANDOFFS_MAX} hand-offs: go on yourself."
        else:
            refusal, taken = None, target
        if refusal is not None:
            recorded = await calls.tell(turn, call, Told("handoff_refused", refusal))
        else:
            recorded = await _transfer(turn, call, target)
        calls.hear(turn, call, recorded)
        calls.count(turn, call, recorded)
    if taken is not None:
        await turn.hand_over(taken)


async def _transfer(turn: Turn, call: Call, target: Agent) -> base.Recorded:
    async def body(attempt: base.Attempt) -> base.Outcome:
        return calls.succeeded(call, transfer_said(target.id))

    action = base.Action(
        kind=StepKind.HANDOFF, name=call.tool, key=call.key, arguments=call.part.args, message=Role.TOOL
    )
    return await turn.run.perform(action, body)
