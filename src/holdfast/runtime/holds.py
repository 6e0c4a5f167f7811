"""What a run waits for people and events with: leave for calls, asks, external results, awaited events.

A question is a step of kind `interrupt`: its opening is written here, with its row in the inbox, in one commit; its
result is written by whoever answers, in `service/approvals.py`, never here. So a run that resumes finds the answer in
its journal like any other result. The rules that ask for leave are judged anew each time a call is about to be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred

from holdfast.agents import base, json_schema
from holdfast.agents.base import Action, Outcome, StepError
from holdfast.agents.effects import ToolRequest
from holdfast.agents.tools import InvalidArguments
from holdfast.domain import ids, limits
from holdfast.domain.access import Verdict, decide_call
from holdfast.domain.approvals import ApprovalStatus, ApprovalType, Demand, OnExpiry
from holdfast.domain.effects import EffectClass
from holdfast.domain.encoding import canonical, decode, digest, encode, storable_text
from holdfast.domain.errors import CallRefused, EventTimedOut, Invalid, NotAnswered, StepFailed
from holdfast.domain.ids import ApprovalId, EffectId, EventId, PrincipalId
from holdfast.domain.journal import Entry, EntryType, NewEntry, Phase, StepKind
from holdfast.domain.policies import expires_ms_of, role_set
from holdfast.runtime import scopes
from holdfast.runtime.waits import Wait
from holdfast.service import awaited as awaited_verbs
from holdfast.store.approvals import Ask, demand_of
from holdfast.store.awaited import Await, EventWait, Stop
from holdfast.store.journal import Op

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext


BY_ITSELF: Final = "the tool itself asks for leave"


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make a call: with exactly these arguments, canonical and validated. `leave`: the approval that the call
    rests on; `approved`: whether people gave leave, even if the rules would not ask for it now; `fits`: whether the
    tool still takes these arguments."""

    arguments: bytes
    hash: bytes
    typed: dict[str, Any]
    leave: ApprovalId | None = None
    approved: bool = False
    fits: bool = True


@dataclass(frozen=True, slots=True)
class Granted:
    """What people have allowed so far."""

    id: ApprovalId
    hash: bytes
    demand: Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about to be opened, without what the run itself knows."""

    key: str
    type: ApprovalType
    message: str
    demand: Demand
    group: str
    name: str
    digest: bytes | None = None
    tool: str | None = None
    agent: str | None = None
    reason: str | None = None
    effect_id: EffectId | None = None
    arguments: bytes | None = None
    schema: bytes | None = None
    choices: bytes | None = None
    default: bytes | None = None
    requester: PrincipalId | None = None
    event: EntryType = EntryType.APPROVAL_REQUESTED


@dataclass(frozen=True, slots=True)
class Asked:
    """An ask, and what its answer is validated by."""

    question: Question
    adapter: TypeAdapter[Any] | None


def hash_of(arguments: bytes) -> bytes:
    """What a decision binds to: SHA-256 of the canonical arguments."""
    return sha256(arguments).digest()


class Holds:
    """The questions and awaited events of one run."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self._open: dict[str, ApprovalId] = {}
        self._taken: set[EventId] = set()
        for key, entry in ctx.journal.openings.items():
            if entry.kind is StepKind.INTERRUPT and entry.payload is not None:
                self._open[key] = ApprovalId(ids.parse(ids.APPROVAL, decode(entry.payload)["approval_id"]))
        self.used = any(e.kind in (StepKind.INTERRUPT, StepKind.EVENT) for e in ctx.journal.openings.values())

    # -- questions ------------------------------------------------------------------------------------------------

    def opening(self, question: Question, id: ApprovalId) -> tuple[NewEntry, Ask]:
        """The entry that opens a question, and its row."""
        ctx, run = self._ctx, self._ctx.run
        hashed = None if question.arguments is None else hash_of(question.arguments)
        requester = question.requester or run.initiator
        attempt = ctx.journal.attempt(question.key)
        ask = Ask(
            id=id,
            type=question.type,
            root_id=run.root_id,
            thread_id=run.thread_id,
            agent=question.agent or ctx.acting_agent,
            key=question.key,
            group=question.group,
            attempt=attempt,
            message=question.message,
            requested_by=requester,
            chain=frozenset({run.initiator, requester}),
            demand=question.demand,
            tool=question.tool,
            reason=question.reason,
            effect_id=question.effect_id,
            arguments=question.arguments,
            arguments_hash=hashed,
            schema=question.schema,
            choices=question.choices,
            default=question.default,
        )
        data: dict[str, Any] = {
            "approval_id": ids.text(ids.APPROVAL, id),
            "type": question.type.value,
            "message": question.message,
            "reason": question.reason,
            "tool": question.tool,
            "group": question.group,
            "expires_ms": question.demand.expires_ms or limits.EXPIRES_MS,
        }
        if question.effect_id is not None:
            data["effect_id"] = ids.text(ids.EFFECT, question.effect_id)
        entry = NewEntry(
            type=question.event,
            at=ctx.now_ms(),
            phase=Phase.OPENING,
            key=question.key,
            kind=StepKind.INTERRUPT,
            name=question.name,
            attempt=attempt,
            digest=question.digest,
            payload=encode(data),
        )
        self._open[question.key] = id
        self.used = True
        return entry, ask

    async def open(self, questions: Sequence[Question], ops: Sequence[Op] = ()) -> None:
        """Open questions in one commit, with what goes to the ledger besides. Their ids rise in their order: the inbox
        shows what was asked at the same time by id."""
        new_id = self._ctx.house.determinism.new_id
        made = sorted(ApprovalId(new_id()) for _ in questions)
        opened = [self.opening(question, id) for question, id in zip(questions, made, strict=True)]
        planned = self._ctx.ledger.take_unwritten([question.effect_id for question in questions])
        await self._ctx.recording.durable([entry for entry, _ in opened], [*planned, *ops, *(ask for _, ask in opened)])
        self._ctx.demand_open()
        for _, ask in opened:
            self._ctx.house.changed(self._ctx.run.tenant_id, "approval", ids.text(ids.APPROVAL, ask.id), "pending")

    def is_open(self, key: str) -> bool:
        return key in self._open

    def answer(self, key: str, name: str, digested: bytes | None) -> Entry | None:
        """The result of a question, if somebody has given one."""
        return self._ctx.journal.find(key, StepKind.INTERRUPT, name, digested)

    async def answered(self, question: Question) -> dict[str, Any]:
        """What came of a question; opened now unless it is open already. Holds nothing while nobody answers."""
        ctx = self._ctx
        while (entry := self.answer(question.key, question.name, question.digest)) is None:
            if not self.is_open(question.key):
                ctx.journal.opening(question.key, StepKind.INTERRUPT, question.name, question.digest)
                await self.open([question])
            wait = Wait(
                question.key,
                ctx.monotonic(),
                approval_id=self._open[question.key],
                approval_type=question.type,
            )
            await ctx.stand_still(wait)
        return decode(entry.payload)

    # -- leave for a call -----------------------------------------------------------------------------------------

    async def open_group(self, requests: Sequence[ToolRequest]) -> None:
        """Open what these calls of one turn need, in one commit: leave, and results from outside."""
        questions: list[Question] = []
        forked = self._ctx.forked
        for request in requests if forked is None else await forked.for_real(requests):
            assert request.key is not None, "calls of a turn have keys of their own"
            if request.key not in self._ctx.journal.results and not self._ctx.ledger.begun(request.key):
                with suppress(CallRefused):  # the call itself will be told
                    questions.extend(self._first_question(request, request.key))
        if questions:
            await self.open(questions)

    def _first_question(self, request: ToolRequest, key: str) -> list[Question]:
        asked = self._leave_key(key, 1)
        if not request.rules and not request.contract.external:
            return []
        if self.is_open(asked) or asked in self._ctx.journal.results:
            return []
        arguments, typed = self.fixed(request, key)
        decision = decide_call(request.rules, typed)
        match decision.verdict:
            case Verdict.CONFIRM:
                assert decision.demand is not None
                return [self._leave_question(request, key, 1, arguments, decision.demand, decision.reason)]
            case Verdict.ALLOW if request.contract.external and not self.is_open(self._external_key(key)):
                return (
                    []
                    if self._external_key(key) in self._ctx.journal.results
                    else [self._external(request, key, arguments)]
                )
            case _:
                return []

    def fixed(self, request: ToolRequest, key: str) -> tuple[bytes, dict[str, Any]]:
        """The call's arguments, canonical and validated: as they were fixed when it was planned."""
        planned = self._ctx.ledger.known(key)
        if request.fixed is None or (planned is not None and request.fixed[0] != planned.arguments):
            asked = canonical(request.arguments)
            arguments = asked if planned is None else planned.arguments
            typed = request.arguments if request.validated and arguments == asked else None
            request.fixed = arguments, self._validated(request, arguments) if typed is None else typed
        return request.fixed

    def _validated(self, request: ToolRequest, arguments: bytes) -> dict[str, Any]:
        try:
            return request.validate(arguments.decode())
        except InvalidArguments as exc:
            raise CallRefused(exc.message, code="invalid_arguments") from None

    async def permit(
        self, request: ToolRequest, key: str, *, lapsed: ApprovalId | None = None, in_ledger: bool = True
    ) -> Permit:
        """Leave for a call, as its rules stand now. Raises `CallRefused`.

        `lapsed`: leave that the ledger did not accept any more; it is asked for again. Whether leave for a call that is
        not `in_ledger` has lapsed is seen here.
        """
        if not in_ledger and self.begun(request, key):
            return self.begun_with(request, key)
        free = request.contract.effect is EffectClass.READ and not request.rules and not request.contract.external
        if free and not self.is_open(self._leave_key(key, 1)):
            return Permit(b"", b"", request.arguments)
        arguments, typed = self.fixed(request, key)
        granted: Granted | None = None
        requester: PrincipalId | None = None
        number, why = 0, ""
        while True:
            number += 1
            asked = self._leave_key(key, number)
            hashed = hash_of(arguments)
            decision = decide_call(request.rules, typed)
            if decision.verdict is Verdict.DENY:
                raise CallRefused(f"This call is not allowed: {decision.reason}.", code="tool_denied")
            known = self.is_open(asked) or asked in self._ctx.journal.results
            if not known:
                good = granted is not None and granted.hash == hashed
                if decision.verdict is Verdict.ALLOW:
                    leave = granted.id if granted is not None and good else None
                    return Permit(arguments, hashed, typed, leave, approved=good)
                assert decision.demand is not None
                if good and granted is not None and granted.demand.covers(decision.demand):
                    return Permit(arguments, hashed, typed, granted.id, approved=True)
            reason = "; ".join(part for part in (why, decision.reason) if part)
            demand = decision.demand or Demand()
            question = self._leave_question(request, key, number, arguments, demand, reason, requester)
            result = await self.answered(question)
            _demand_leave(result)
            request.notes.approval_note = result.get("note")
            id, why = self._open[asked], ""
            edited = result.get("arguments")
            if edited is not None:
                requester = PrincipalId(ids.parse(ids.PRINCIPAL, result["edited_by"]))
                try:
                    arguments = canonical(edited)
                    typed = request.validate(arguments.decode())
                except InvalidArguments as exc:
                    arguments, typed = self.fixed(request, key)
                    granted, why = None, f"the changed arguments do not fit: {exc.message}"[: limits.ERROR_CHARS_MAX]
                    continue
                request.notes.edited = edited
            granted = Granted(id, bytes.fromhex(result["arguments_hash"]), demand_of(result["demand"]))
            if id == lapsed or (not in_ledger and self._has_lapsed(asked)):
                granted, why = None, "the leave that was given was not used in time"

    def begun(self, request: ToolRequest, key: str) -> bool:
        """Whether a call that the ledger does not hold has begun: its child run was started, or somebody outside was
        asked to make it."""
        if request.contract.external:
            asked = self._external_key(key)
            return self.is_open(asked) or asked in self._ctx.journal.results
        below = f"{key}/"
        openings = self._ctx.journal.openings
        return any(e.kind is StepKind.CHILD and opened.startswith(below) for opened, e in openings.items())

    def begun_with(self, request: ToolRequest, key: str) -> Permit:
        """What a call that has begun was given leave for. No rule is judged any more: it may have acted."""
        effect = self._ctx.ledger.known(key)
        arguments = canonical(request.arguments) if effect is None else effect.arguments
        leave: ApprovalId | None = None
        number = 1
        while (entry := self._ctx.journal.results.get(self._leave_key(key, number))) is not None:
            result = decode(entry.payload)
            number += 1
            if result["status"] != ApprovalStatus.APPROVED:
                continue
            request.notes.approval_note = result.get("note")
            edited = None if result.get("arguments") is None else canonical(result["arguments"])
            if edited is not None and effect is None and self._fits(request, edited):
                arguments = edited
            if edited == arguments:
                request.notes.edited = result["arguments"]
            if bytes.fromhex(result["arguments_hash"]) == hash_of(arguments):
                leave = self._open[entry.key or ""]
        fits = self._fits(request, arguments)
        typed = request.validate(arguments.decode()) if fits else {}
        return Permit(arguments, hash_of(arguments), typed, leave, approved=leave is not None, fits=fits)

    @staticmethod
    def _fits(request: ToolRequest, arguments: bytes) -> bool:
        try:
            request.validate(arguments.decode())
        except InvalidArguments:
            return False
        return True

    def _has_lapsed(self, asked: str) -> bool:
        """Whether leave is too old to be used, as `service/approvals.py` says: by what the journal holds of it."""
        opened, given = self._ctx.journal.openings.get(asked), self._ctx.journal.results[asked]
        if opened is None:
            return False  # it was asked for in this claim
        until = max(opened.at + decode(opened.payload)["expires_ms"], given.at + limits.LEAVE_USABLE_MS)
        return self._ctx.now_ms() > until

    def under(self, key: str) -> str:
        """What the keys of a call's questions begin with. A step that a retry declared void asks anew: leave that was
        given for a call which failed is not leave for another try."""
        attempt = self._ctx.journal.attempt(key)
        return key if attempt == 1 else f"{key}@{attempt}"

    def _leave_key(self, key: str, number: int) -> str:
        return f"{self.under(key)}/leave#{number}"

    def _external_key(self, key: str) -> str:
        return f"{self.under(key)}/external#1"

    def _leave_question(
        self,
        request: ToolRequest,
        key: str,
        number: int,
        arguments: bytes,
        demand: Demand,
        reason: str,
        requester: PrincipalId | None = None,
    ) -> Question:
        planned = self._ctx.ledger.known(key)
        return Question(
            key=self._leave_key(key, number),
            type=ApprovalType.TOOL,
            message=f"{request.agent} wants to call {request.tool}",
            demand=demand,
            group=request.group or key,
            name="leave",
            tool=request.tool,
            agent=request.agent,
            reason=reason,
            effect_id=None if planned is None else planned.id,
            arguments=arguments,
            schema=encode(request.schema),
            requester=requester,
        )

    async def open_wanted(
        self,
        request: ToolRequest,
        key: str,
        permit: Permit,
        exc: ApprovalRequired | CallDeferred,
        ops: Sequence[Op],
    ) -> None:
        """A tool asked by itself for leave, or for a result from outside: open that, unless it is open already."""
        if isinstance(exc, CallDeferred):
            question = self._external(request, key, permit.arguments)
        else:
            number = 1
            while self.is_open(self._leave_key(key, number)):
                number += 1
            reason = BY_ITSELF
            question = self._leave_question(request, key, number, permit.arguments, Demand(), reason)
        if self.is_open(question.key):
            await self._ctx.recording.durable([], ops)
        else:
            await self.open([question], ops)

    # -- results from outside -------------------------------------------------------------------------------------

    async def external(self, request: ToolRequest, key: str, permit: Permit) -> Outcome:
        """The result of an external tool: somebody gives it through the API."""
        result = await self.answered(self._external(request, key, permit.arguments))
        if result["status"] == ApprovalStatus.ANSWERED:
            return request.succeeded(result["answer"], request.notes)
        return request.failed(_refusal(result, "The call"))

    def _external(self, request: ToolRequest, key: str, arguments: bytes) -> Question:
        return Question(
            key=self._external_key(key),
            type=ApprovalType.EXTERNAL,
            message=f"{request.agent} called {request.tool}; its result comes from outside",
            demand=Demand(),
            group=request.group or key,
            name="external",
            tool=request.tool,
            agent=request.agent,
            arguments=arguments,
        )

    # -- asks -----------------------------------------------------------------------------------------------------

    async def ask(self, question: str, options: dict[str, Any]) -> Any:
        """`ctx.ask`."""
        return await self.value_of(self.asked(question, options))

    def asked(self, question: str, options: dict[str, Any]) -> Asked:
        return Asked(*self._asked(question, **options))

    def is_settled(self, asked: Asked) -> bool:
        """Whether the question has its answer already."""
        return self.answer(asked.question.key, asked.question.name, asked.question.digest) is not None

    async def value_of(self, asked: Asked) -> Any:
        """The answer, as the asked-for type. Raises `NotAnswered`."""
        result = await self.answered(asked.question)
        key = asked.question.key
        if result["status"] != ApprovalStatus.ANSWERED:
            rejected = result["status"] == ApprovalStatus.REJECTED
            code = "ask_rejected" if rejected else "ask_expired"
            raise NotAnswered(_refusal(result, "The question").message, code=code, step=key)
        return _as_typed(asked.adapter, result["answer"], key)

    def _asked(
        self,
        question: str,
        *,
        schema: Any = None,
        choices: Sequence[Any] | None = None,
        expires: timedelta | None = None,
        default: Any = base.NO_DEFAULT,
        roles: Sequence[str] | str = (),
        name: str = "ask",
    ) -> tuple[Question, TypeAdapter[Any] | None]:
        message = storable_text(question, what="A question", chars_max=limits.QUESTION_CHARS_MAX)
        if not message.strip():
            raise Invalid("A question needs words.")
        adapter, shape = _shape_of(schema)
        listed = None if choices is None else list(choices)
        if listed is not None and not 1 <= len(listed) <= limits.CHOICES_MAX:
            raise Invalid(f"A question has 1 to {limits.CHOICES_MAX} choices, not {len(listed)}.")
        wanted = role_set(roles)
        has_default = default is not base.NO_DEFAULT
        if has_default:
            _demand_fitting(default, adapter, shape, listed)
        demand = Demand(
            roles=(wanted,) if wanted else (),
            expires_ms=expires_ms_of(expires),
            on_expiry=OnExpiry.DEFAULT if has_default else OnExpiry.REJECT,
        )
        key = scopes.current(self._ctx).next_key(name)
        asked = Question(
            key=key,
            type=ApprovalType.INPUT,
            message=message,
            demand=demand,
            group=key,
            name=name,
            digest=digest({"question": message, "schema": shape, "choices": listed}),
            schema=None if shape is None else encode(shape),
            choices=None if listed is None else encode(listed),
            default=encode(default) if has_default else None,
        )
        return asked, adapter

    # -- awaited events -------------------------------------------------------------------------------------------

    async def wait_event(self, name: str, key: str, timeout: timedelta | None, since: datetime | None) -> Any:
        storable_text(name, what="An event's name", chars_max=limits.EVENT_NAME_CHARS_MAX)
        storable_text(key, what="An event's key", chars_max=limits.EVENT_NAME_CHARS_MAX)
        ctx = self._ctx
        from_ms = ctx.began_at if since is None else round(since.timestamp() * 1000)
        wait_ms = None if timeout is None else round(timeout.total_seconds() * 1000)
        if wait_ms is not None and not 0 < wait_ms <= limits.SLEEP_MS_MAX:
            raise Invalid(
                f"A timeout is above 0 and at most {limits.SLEEP_MS_MAX // 86_400_000:,} days, not {timeout}."
            )
        wanted = EventWait(name, key, from_ms)
        action = Action(kind=StepKind.EVENT, name=name)
        recorded = await ctx.perform(action, lambda attempt: self._awaited(attempt.key, action, wanted, wait_ms))
        if recorded.error is not None:
            raise EventTimedOut(recorded.error.message, code=recorded.error.code, step=recorded.key)
        return decode(recorded.payload)["data"]

    async def _awaited(self, key: str, action: Action, wanted: EventWait, wait_ms: int | None) -> Outcome:
        """The body of a wait: it looks whenever something may have come, and parks in between."""
        ctx = self._ctx
        due_at = await self._begun(key, action, wanted, wait_ms)
        while True:
            event = await self._oldest(wanted)
            if event is not None:
                self._taken.add(event.id)
                data = {"event_id": ids.text(ids.EVENT, event.id), "data": decode(event.data)}
                return Outcome(payload=encode(data), ops=(Stop(key, event.id),))
            if due_at is not None and due_at <= ctx.now_ms():
                told = StepError("event_timed_out", f"No event {wanted.name!r} came in time.", "EventTimedOut")
                return Outcome(payload=None, failure=told, ops=(Stop(key),))
            await ctx.stand_still(Wait(key, ctx.monotonic(), due_at=due_at, event=wanted))

    async def _begun(self, key: str, action: Action, wanted: EventWait, wait_ms: int | None) -> int | None:
        """When the wait is over: from its opening, written now if this is the first time."""
        ctx = self._ctx
        opened = ctx.journal.opening(key, action.kind, action.name, None)
        if opened is not None:
            return cast("int | None", decode(opened.payload).get("due_at"))
        due_at = None if wait_ms is None else ctx.now_ms() + wait_ms
        data = {"event": wanted.name, "event_key": wanted.key, "due_at": due_at}
        attempt = ctx.journal.attempt(key)
        entry = ctx.opening(EntryType.STEP_OPENED, action, key, None, attempt, data)
        self.used = True
        await ctx.recording.durable([entry], [Await(key, wanted.name, wanted.key)])
        ctx.demand_open()
        return due_at

    async def _oldest(self, wanted: EventWait) -> Any:
        """The oldest event that neither this run nor a parallel branch of it has taken."""
        ctx = self._ctx
        found = await ctx.patiently(
            lambda: awaited_verbs.oldest(ctx.house, ctx.run, wanted, limit=len(self._taken) + 1)
        )
        return next((event for event in found if event.id not in self._taken), None)


def _demand_leave(result: dict[str, Any]) -> None:
    if result["status"] == ApprovalStatus.APPROVED:
        return
    raise _refusal(result, "The call")


def _refusal(result: dict[str, Any], what: str) -> CallRefused:
    """What is told of a question that was not answered as hoped."""
    note = result.get("note")
    said = f": {note}" if note else ""
    if result["status"] == ApprovalStatus.REJECTED:
        return CallRefused(f"{what} was rejected by a person{said}.".replace("..", "."), code="approval_rejected")
    return CallRefused(f"{what} was not answered in time, so it was not done.", code="approval_expired")


def _shape_of(schema: Any) -> tuple[TypeAdapter[Any] | None, Any]:
    """An answer's validator and its JSON schema."""
    if schema is None:
        return None, None
    if isinstance(schema, dict):
        given = cast("dict[str, Any]", schema)
        json_schema.validator("The schema of an ask", given)
        return None, given
    try:
        adapter = TypeAdapter[Any](schema)
        return adapter, adapter.json_schema()
    except Exception as exc:
        raise Invalid(f"The schema of an ask is a type with a JSON schema, or one itself: {exc}") from exc


def _demand_fitting(default: Any, adapter: TypeAdapter[Any] | None, shape: Any, choices: list[Any] | None) -> None:
    """Raise `Invalid` for a default that would not be accepted as an answer: better now than when its time comes."""
    value = decode(encode(default, what="The default of an ask"))
    if choices is not None and value not in decode(encode(choices)):
        raise Invalid("The default of an ask is one of its choices.")
    if adapter is not None:
        try:
            adapter.validate_json(encode(value))
        except ValidationError as exc:
            raise Invalid(f"The default of an ask does not fit its schema: {exc}") from None
    elif shape is not None and json_schema.errors(json_schema.validator("The schema of an ask", shape), value):
        raise Invalid("The default of an ask does not fit its schema.")


def _as_typed(adapter: TypeAdapter[Any] | None, answer: Any, key: str) -> Any:
    if adapter is None:
        return answer
    try:
        return adapter.validate_json(encode(answer))
    except ValidationError as exc:
        raise StepFailed(
            f"The recorded answer does not fit the asked-for type any more: {exc}",
            code="step_result_mismatch",
            step=key,
        ) from None
