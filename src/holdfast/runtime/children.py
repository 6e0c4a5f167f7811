"""Child runs: a step that starts a run of its own and waits for its end, or for the end of its successor.

Invariant: a child's id follows from this run and the step's key, so starting it twice is starting it once; its opening
is durable before it begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.agents import base
from holdfast.agents.base import Action, Agent, Outcome, StepError
from holdfast.domain import ids
from holdfast.domain.encoding import decode, digest
from holdfast.domain.errors import Cancelled, ChildFailed
from holdfast.domain.journal import EntryType, StepKind, as_found
from holdfast.domain.runs import RunStatus, RunView
from holdfast.runtime import code
from holdfast.runtime.waits import Wait
from holdfast.service import forks as fork_verbs
from holdfast.service import runs as run_verbs

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext


async def call(ctx: RunContext, child: Agent, input: Any, name: str | None) -> Any:
    """`ctx.call`: the child's output when it ended. Raises `ChildFailed`."""
    encoded = child.accept(input)

    async def body(attempt: base.Attempt) -> Outcome:
        return await _child(ctx, child, encoded, attempt.key, action, digested)

    action = Action(kind=StepKind.CHILD, name=name or child.id, arguments={"agent": child.id, "input": decode(encoded)})
    digested = digest(action.arguments)
    recorded = await ctx.perform(action, body)
    if recorded.error is not None:
        error = recorded.error
        raise ChildFailed(error.message, code=error.code, step=recorded.key, **error.details)
    return code.child_output(child, recorded.payload)


async def _child(ctx: RunContext, child: Agent, input: bytes, key: str, action: Action, digested: bytes) -> Outcome:
    """Start the child (twice is once: its id follows from this step), and wait for its end or its successor's."""
    attempt = ctx.journal.attempt(key)
    if ctx.journal.opening(key, action.kind, action.name, digested) is None:
        child_id = ids.text(ids.RUN, run_verbs.child_id(ctx.run.tenant_id, ctx.run.id, key, attempt))
        said = {"agent": child.id, "child_run_id": child_id}
        entry = ctx.opening(EntryType.STEP_OPENED, action, key, digested, attempt, said)
        await ctx.recording.durable([entry])
        ctx.journal.openings[key] = as_found(entry)  # for the next try of a tool that calls it
        ctx.demand_open()
    parent = run_verbs.Parent(ctx.run.id, ctx.run.root_id, key, attempt, ctx.run.depth + 1)
    principal = run_verbs.acting_for(ctx.run)
    policy = await ctx.patiently(lambda: fork_verbs.policy_below(ctx.house, ctx.run, key))
    ask = run_verbs.StartRun(agent=child.id, input=decode(input), parent=parent, effect_policy=policy)
    try:
        view = (await ctx.patiently(lambda: run_verbs.start(ctx.house, principal, ask))).view
    except Cancelled as signal:  # the run was asked to stop, and has not heard of it yet
        ctx.close(signal)
        raise ctx.again() from None
    while not view.run.status.ended or view.run.successor_id is not None:
        following = view.run.successor_id or view.run.id
        if not view.run.status.ended:
            await ctx.stand_still(Wait(key, ctx.monotonic(), child_id=following))
        view = await ctx.patiently(lambda id=following: run_verbs.get(ctx.house, principal, id))
    return _child_outcome(child, view)


def _child_outcome(child: Agent, view: RunView) -> Outcome:
    if view.run.status is RunStatus.SUCCEEDED:
        return Outcome(payload=view.output or b"null")
    error: dict[str, Any] = decode(view.run.error) or {}
    reason = error.get("message") or view.run.cancel_reason or "no reason was given"
    run_id = ids.text(ids.RUN, view.run.id)
    message = f"The child run {run_id} of {child.id} {view.run.status.value}: {reason}"
    details = {"run_id": run_id, "child_status": view.run.status.value, "child_code": error.get("code")}
    return Outcome(payload=None, failure=StepError("child_failed", message, "ChildFailed", details))
