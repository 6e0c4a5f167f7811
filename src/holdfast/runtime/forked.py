"""What a fork's calls do: those its parent has made after the fork point, and those it has not.

Decided here, once for each call and before any rule is judged: the call comes to what the parent's came to, or to a
stand-in, or is refused; or it is made for real, and then the tool's rules hold as for any other call. Invariant: each
call of the parent is reused at most once, in order, also when the fork resumes: what its own journal holds counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from holdfast.agents.base import Outcome
from holdfast.agents.effects import ToolRequest
from holdfast.domain.effects import EffectClass
from holdfast.domain.encoding import digest
from holdfast.domain.errors import CallRefused
from holdfast.domain.forks import EffectPolicy, Fresh, Reads, Repeat, policy_of
from holdfast.domain.journal import StepKind
from holdfast.domain.messages import tool_result
from holdfast.domain.policies import Confirm
from holdfast.service import forks
from holdfast.service.forks import Counterpart

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

_ASK = Confirm(reason="the run was forked, and the run it was forked from did not do this, or was deleted")


class Forked:
    """The effect policy of one run, at work."""

    def __init__(self, ctx: RunContext, policy: EffectPolicy) -> None:
        self._ctx = ctx
        self._policy = policy
        self._left: dict[tuple[str, bytes | None], list[Counterpart]] | None = None
        self._gone = False
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
                    return self._stand_in(request)
                case Repeat.DENY:
                    raise _refused(f"{request.tool} was called in the run that this one was forked from")
                case Repeat.EXECUTE:
                    raise AssertionError("a call that is executed is real")
                case _:
                    assert_never(self._policy.repeat)
        if self._policy.new is Fresh.SIMULATE:
            return self._stand_in(request)
        raise _refused(f"{request.tool} was not called in the run that this one was forked from")

    async def _as_before(self, request: ToolRequest, counterpart: Counterpart) -> Outcome:
        ctx = self._ctx
        if not counterpart.known:
            raise _refused(f"{request.tool} may have been done in the run that this one was forked from; nobody knows")
        found = await ctx.patiently(lambda: forks.result_of(ctx.house, ctx.run, self._policy, counterpart.seq))
        if found is None:
            raise _refused(f"the run in which {request.tool} was called was deleted")
        return request.succeeded(tool_result(found), request.notes)

    @staticmethod
    def _stand_in(request: ToolRequest) -> Outcome:
        value: dict[str, Any] = {"simulated": True, "tool": request.tool, "arguments": request.arguments}
        return request.succeeded(value, request.notes)

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
