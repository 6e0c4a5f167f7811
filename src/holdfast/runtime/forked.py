"""What a fork's calls do: those its parent has made after the fork point, and those it has not.

Decided here, once for each call and before any rule is judged: the call comes to what the parent's came to, or to a
stand-in, or is refused; or it is made for real, and then the tool's rules hold as for any other call. Invariant: each
call of the parent is reused at most once, in order, also when the fork resumes: what its own journal holds counts.
Plain steps run again, but in a fork of an imported run: there each comes to what the step of that key came to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, assert_never

from holdfast.agents.base import NO_RETRY, UNSET, Action, Attempt, Body, Outcome, StepError
from holdfast.agents.effects import FailedBefore, ToolRequest
from holdfast.agents.tools import Tool
from holdfast.domain.effects import EffectClass
from holdfast.domain.encoding import decode, digest
from holdfast.domain.errors import CallRefused, StepFailed
from holdfast.domain.forks import EffectPolicy, Fresh, Reads, Repeat, policy_of
from holdfast.domain.journal import StepKind
from holdfast.domain.messages import tool_result
from holdfast.domain.policies import Confirm
from holdfast.runtime import code
from holdfast.runtime.code import Call
from holdfast.service import forks
from holdfast.service.forks import Counterpart

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

_ASK = Confirm(reason="the run was forked, and the run it was forked from did not do this, or was deleted")

# What is said of a plain step that neither the record nor its author answers for.
_NO_STAND_IN: Final = (
    "The function of step {name!r} was not called: this run goes on from an imported one, which did not make the step, "
    "so it is only simulated, and nothing stands in for its result. Give the step what does, a value or a function of "
    'the same arguments: simulate=… in ctx.step. A step that only reads may be a tool with effect="read" instead.'
)


class Forked:
    """The effect policy of one run, at work."""

    def __init__(self, ctx: RunContext, policy: EffectPolicy) -> None:
        self._ctx = ctx
        self._policy = policy
        self._left: dict[tuple[str, bytes | None], list[Counterpart]] | None = None
        self._gone = False
        self._code: dict[str, Counterpart] = {}
        self._chosen: dict[str, Counterpart | None] = {}

    @classmethod
    def of(cls, ctx: RunContext) -> Forked | None:
        """None for a run that is no fork, nor called by one."""
        policy = policy_of(ctx.run.effect_policy)
        return None if policy is None else cls(ctx, policy)

    async def for_real(self, requests: Sequence[ToolRequest]) -> list[ToolRequest]:
        """Those of the calls of one turn that will be made, with the rules that hold for them here."""
        return [one for one in requests if one.key is not None and await self._is_real(one, one.key)]

    async def _is_real(self, request: ToolRequest, key: str) -> bool:
        if self._ctx.undoing or key in self._ctx.journal.results:
            return True
        counterpart = await self._counterpart(request, key)
        if _only_reads(request):
            return self._policy.reads is Reads.EXECUTE
        if counterpart is not None:
            return self._policy.repeat is Repeat.EXECUTE
        if self._asks and _ASK not in request.rules:
            request.rules = (*request.rules, _ASK)
        return self._policy.new in (Fresh.ASK, Fresh.EXECUTE)

    @property
    def _asks(self) -> bool:
        """Whether a call that the parent has not made needs leave: so does any, when nobody knows which those are."""
        return self._policy.new is Fresh.ASK or (self._policy.new is Fresh.EXECUTE and self._gone)

    async def instead(self, request: ToolRequest, key: str) -> Outcome | None:
        """What a call comes to that is not made; None for one that is. Raises `CallRefused`."""
        if await self._is_real(request, key):
            return None
        counterpart = self._chosen[key]
        if _only_reads(request):
            if counterpart is None:
                raise _refused(f"{request.tool} was not called like this in the run that this one repeats")
            return await self._as_before(request, counterpart)
        if counterpart is not None:
            match self._policy.repeat:
                case Repeat.REUSE:
                    return await self._as_before(request, counterpart)
                case Repeat.SIMULATE if counterpart.known:
                    return await self._as_before(request, counterpart)
                case Repeat.SIMULATE:
                    return await self._stand_in(request, key)
                case Repeat.DENY:
                    raise _refused(f"{request.tool} was called in the run that this one was forked from")
                case Repeat.EXECUTE:
                    raise AssertionError("a call that is executed is real")
                case _:
                    assert_never(self._policy.repeat)
        if self._policy.new is Fresh.SIMULATE:
            return await self._stand_in(request, key)
        raise _refused(f"{request.tool} was not called in the run that this one was forked from")

    async def _as_before(self, request: ToolRequest, counterpart: Counterpart) -> Outcome:
        ctx = self._ctx
        if not counterpart.known:
            raise _refused(f"{request.tool} may have been done in the run that this one was forked from; nobody knows")
        found = await ctx.patiently(lambda: forks.result_of(ctx.house, ctx.run, self._policy, counterpart.seq))
        if found is None:
            raise _refused(f"the run in which {request.tool} was called was deleted")
        if found.error is None:
            return request.succeeded(tool_result(found), request.notes)
        failure = StepError(**decode(found.error))
        return request.failed(
            FailedBefore(failure.message, code=failure.code, error_type=failure.error_type, **failure.details)
        )

    async def _stand_in(self, request: ToolRequest, key: str) -> Outcome:
        simulate = request.contract.simulate
        if simulate is UNSET:
            value: Any = {"simulated": True, "tool": request.tool, "arguments": request.arguments}
            return request.succeeded(value, request.notes)
        _, arguments = self._ctx.holds.fixed(request, key)
        try:
            value = await code.simulated(self._ctx, simulate, (), arguments)
            return request.succeeded(value, request.notes)
        except Exception as exc:  # the tool's author wrote it
            return request.failed(exc)

    # -- plain steps --------------------------------------------------------------------------------------------------

    def decides_on(self, call: Call) -> bool:
        """Whether a tool's step that otherwise would just be made is looked up first: one that only reads."""
        return self._policy.reads is Reads.REUSE and isinstance(call.fn, Tool)

    def planned(self, call: Call, action: Action, body: Body) -> tuple[Action, Body]:
        """A plain step: as it is, but in a fork of an imported run, which does nothing that was not done there."""
        if action.kind is not StepKind.CODE or not self._policy.imported:
            return action, body
        never_called = replace(action, retry=NO_RETRY, timeout_ms=None)
        return never_called, partial(self._instead_of_code, call, digest(action.arguments))

    async def _instead_of_code(self, call: Call, digested: bytes, attempt: Attempt) -> Outcome:
        """Steps are told apart by their keys as well: what a function does need not follow from its arguments."""
        ctx = self._ctx
        await self._unused()
        counterpart = self._code.get(attempt.key)
        if counterpart is not None and counterpart.digest == digested:
            if self._policy.repeat is Repeat.DENY:
                raise _refused(f"step {call.name!r} was made in the run that this one was forked from")
            found = await ctx.patiently(lambda: forks.result_of(ctx.house, ctx.run, self._policy, counterpart.seq))
            if found is None:
                raise _refused(f"the run in which step {call.name!r} was made was deleted")
            failure = None if found.error is None else StepError(**decode(found.error))
            return Outcome(payload=found.payload, failure=failure)
        if self._policy.new is not Fresh.SIMULATE:
            raise _refused(f"step {call.name!r} was not made in the run that this one was forked from")
        if call.simulate is UNSET:
            raise StepFailed(_NO_STAND_IN.format(name=call.name), code="not_simulated")
        return code.outcome_of(call, await code.simulated(ctx, call.simulate, call.args, call.kwargs))

    async def _counterpart(self, request: ToolRequest, key: str) -> Counterpart | None:
        """The parent's call that this one repeats: the first one left with the same name and arguments."""
        if key not in self._chosen:
            left = await self._unused()
            same = left.get((request.name, digest(request.asked)))
            if key not in self._chosen:  # another branch may have been here meanwhile, for the same group of calls
                self._chosen[key] = same.pop(0) if same else None
        return self._chosen[key]

    async def _unused(self) -> dict[tuple[str, bytes | None], list[Counterpart]]:
        if self._left is None:
            ctx = self._ctx
            found = await ctx.patiently(lambda: forks.counterparts(ctx.house, ctx.run, self._policy))
            if self._left is None:
                self._left = {}
                self._gone = found is None
                for one in found or ():
                    if one.code is not None:
                        self._code[one.code] = one
                    else:
                        self._left.setdefault((one.name, one.digest), []).append(one)
                self._without_recorded(self._left)
        return self._left

    def _without_recorded(self, left: dict[tuple[str, bytes | None], list[Counterpart]]) -> None:
        for entry in self._ctx.journal.results.values():
            if entry.kind is StepKind.TOOL and entry.pos > self._ctx.inherited:
                same = left.get((entry.name or "", entry.digest))
                if same:
                    same.pop(0)


def _only_reads(request: ToolRequest) -> bool:
    return request.contract.effect is EffectClass.READ and not request.contract.external


def _refused(why: str) -> CallRefused:
    return CallRefused(f"This call is not made in a fork: {why}.", code="fork_denied")
