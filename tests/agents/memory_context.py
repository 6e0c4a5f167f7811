"""A RunContext in memory: a journal of entries, matched by key, that any prefix of can be replayed.

It keeps the promises of `base.RunContext` that agents rely on, and checks those that agents make: keys are unique,
a replayed step is asked for with the same kind, name and arguments, a recorded body is never run again. It uses the
domain's own journal, so what matches here matches there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from holdfast.agents import base
from holdfast.agents.effects import ToolRequest
from holdfast.agents.registry import Registry
from holdfast.domain import encoding, errors
from holdfast.domain.access import Verdict, decide_call
from holdfast.domain.ids import MessageId, RunId, TenantId, ThreadId
from holdfast.domain.journal import (
    Entry,
    EntryType,
    Journal,
    Phase,
    StepKind,
    StepStatus,
    check_name,
    key_of,
)
from holdfast.domain.runs import RunLimits
from holdfast.domain.threads import Message, Role

T = TypeVar("T")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Thread:
    """A conversation in memory, and the blobs that prompts refer to."""

    messages: list[Message] = field(default_factory=list)
    blobs: dict[bytes, bytes] = field(default_factory=dict)

    def copy(self) -> Thread:
        return Thread(list(self.messages), dict(self.blobs))

    def append(
        self,
        role: Role,
        payload: bytes,
        *,
        run: bytes = b"run",
        kind: str | None = None,
        name: str | None = None,
        status: str | None = None,
        error: bytes | None = None,
        void: bool = False,
    ) -> int:
        position = len(self.messages) + 1
        self.messages.append(
            Message(
                tenant_id=TenantId(b"t" * 16),
                thread_id=ThreadId(b"h" * 16),
                position=position,
                id=MessageId(position.to_bytes(16, "big")),
                run_id=RunId(run),
                pos=position,
                seq=position,
                role=role,
                void=void,
                kind=kind,
                name=name,
                status=status,
                created_at=0,
                payload=payload,
                error=error,
            )
        )
        return position

    def load(self, first: int, last: int) -> list[Message]:
        return self.messages[first - 1 : last]


@dataclass
class Step:
    """An entry as recorded, with what else its commit carried."""

    entry: Entry
    role: Role | None
    position: int | None
    outcome: base.Outcome | None
    action: base.Action


@dataclass(frozen=True)
class TryOf:
    key: str
    number: int
    context: MemoryContext

    def delta(self, part: int, kind: str, text: str) -> None:
        self.context.deltas.append((part, kind, text))


@dataclass(frozen=True)
class HeldTry:
    """A try of a call that asks nothing of the runtime."""

    key: str
    number: int
    handle: Any = None

    def delta(self, part: int, kind: str, text: str) -> None:
        raise AssertionError("a tool's call is no message under way")


@dataclass(frozen=True)
class Scope:
    """Where a task stands. Only this task may use the context, as the keys of its steps follow from it."""

    path: str
    context: MemoryContext
    task: asyncio.Task[Any] | None
    counts: dict[str, int] = field(default_factory=dict)


_scope: ContextVar[Scope | None] = ContextVar("scope", default=None)


class MemoryContext:
    """`steps` is the journal in order of recording; `MemoryContext(recorded=steps[:k])` resumes after the first k."""

    def __init__(
        self,
        *,
        thread: Thread | None = None,
        recorded: Sequence[Step] = (),
        agents: Sequence[base.Agent] = (),
        deps: Any = None,
        listeners: bool = False,
        steps_max: int | None = None,
    ) -> None:
        self.thread = thread or Thread()
        self.chosen: list[str] = []
        self.registry = Registry(agents)
        self.deps = deps
        self.listeners = listeners
        self.steps_max = steps_max
        self.steps: list[Step] = []
        self.tools_off: set[str] = set()
        self.journal = Journal()
        self.openings: list[str] = []
        self.fresh: list[str] = []
        self.tries: list[str] = []
        self.deltas: list[tuple[int, str, str]] = []
        self.emitted: list[tuple[str, Any]] = []
        self.children: list[tuple[str, Any]] = []
        self.waits: list[float] = []
        self.acting = ""
        self.handed: list[str] = []
        self.started_at = len(self.thread.messages)
        self._recorded = list(recorded)
        self._position = 0

    def begin(self, agent: base.Agent, input: bytes) -> None:
        """Put the input into the thread, then what was recorded before the crash."""
        self.acting = agent.id
        self._position = self.thread.append(Role.USER, input)
        for step in self._recorded:
            self._keep(step)

    def _keep(self, step: Step) -> None:
        if step.role is not None:
            entry = step.entry
            position = self.thread.append(
                step.role,
                entry.payload if entry.payload is not None else b"null",
                kind=entry.kind,
                name=entry.name,
                status=entry.status,
                error=entry.error,
            )
            step = replace(step, position=position)
        if step.outcome is not None:
            self.thread.blobs.update((b.hash, b.data) for b in step.outcome.blobs)
        self.journal.add(step.entry)
        self.steps.append(step)

    # --- Context -----------------------------------------------------------------------------------------------------

    @property
    def info(self) -> base.RunInfo:
        return base.RunInfo(
            run_id="run_1",
            thread_id="thr_1",
            root_id="run_1",
            parent_id=None,
            tenant_id="ten_1",
            principal_id="pri_1",
            agent="a",
            attempt=1,
            depth=0,
            created_at=NOW,
            metadata={},
        )

    async def step(self, name: str, fn: Any, /, *args: Any, **options: Any) -> Any:
        async def body(attempt: base.Attempt) -> base.Outcome:
            value = fn(*args)
            value = await value if asyncio.iscoroutine(value) else value
            return base.Outcome(payload=encoding.encode(value))

        arguments = [list(args)]
        recorded = await self.perform(base.Action(kind=StepKind.CODE, name=name, arguments=arguments), body)
        return encoding.decode(recorded.unwrap())

    async def call(self, agent: Any, input: Any = None, *, name: str | None = None) -> Any:
        """A child run with a context of its own, whose journal is forgotten when it ended: one step of this run."""
        child: base.Agent = self.registry.get(agent) if isinstance(agent, str) else agent
        payload = child.accept(input)

        async def body(attempt: base.Attempt) -> base.Outcome:
            self.children.append((child.id, encoding.decode(payload)))
            context = MemoryContext(agents=list(self.registry), deps=self.deps)
            try:
                output = await run(child, context, payload)
            except errors.RunError as exc:
                raise errors.ChildFailed(f"{child.id} failed: {exc.message}") from exc
            return base.Outcome(payload=output)

        action = base.Action(kind=StepKind.CHILD, name=name or child.id, arguments=encoding.decode(payload))
        recorded = await self.perform(action, body)
        if recorded.error is not None:
            raise errors.ChildFailed(recorded.error.message, code=recorded.error.code, step=recorded.key)
        return encoding.decode(recorded.payload)

    async def gather(self, *parts: Any) -> Any:
        raise NotImplementedError

    async def sleep(self, duration: Any) -> None:
        raise NotImplementedError

    async def emit(self, name: str, data: Any = None) -> None:
        async def body(attempt: base.Attempt) -> base.Outcome:
            self.emitted.append((name, data))
            return base.Outcome(payload=encoding.encode(data))

        await self.perform(base.Action(kind=StepKind.EMIT, name=name), body)

    async def now(self) -> datetime:
        return NOW

    async def random(self) -> float:
        raise NotImplementedError

    async def uuid(self) -> UUID:
        raise NotImplementedError

    async def restart(self, input: Any = None) -> None:
        raise errors.Restarted

    # --- RunContext --------------------------------------------------------------------------------------------------

    @property
    def run_limits(self) -> RunLimits:
        return RunLimits(steps_max=self.steps_max)

    @property
    def acting_agent(self) -> str:
        return self.acting

    async def tool_enabled(self, name: str) -> bool:
        return name not in self.tools_off

    def planned(self, requests: Sequence[ToolRequest]) -> tuple[Any, ...]:
        self.chosen.extend(request.key or "" for request in requests if request.contract.ledger)
        return ()

    def overrides(self, key: str) -> tuple[()]:
        """No forks here, no retries."""
        return ()

    def begun(self, key: str) -> bool:
        """Nothing outlasts the process here."""
        return False

    async def hold(self, requests: Sequence[ToolRequest]) -> None:
        """Nobody is asked here: who gives leave is the runtime's business."""

    async def permit(self, request: ToolRequest) -> dict[str, Any]:
        decided = decide_call(request.rules, request.arguments)
        if decided.verdict is Verdict.DENY:
            raise errors.CallRefused(decided.reason, code="tool_denied")
        return request.arguments

    async def act(self, request: ToolRequest) -> base.Recorded:
        """Make a call once, as for a tool that only reads; one that may change something is opened before."""
        action = base.Action(
            kind=StepKind.TOOL,
            name=request.name,
            key=request.key,
            arguments=request.asked,
            write_behind=not request.contract.ledger,
            message=request.message,
        )

        async def body(attempt: base.Attempt) -> base.Outcome:
            if request.contract.ledger:
                self.openings.append(attempt.key)
            timeout = asyncio.timeout(request.timeout_ms / 1000)
            try:
                if not await self.tool_enabled(request.tool):
                    said = f"the tool {request.tool!r} is switched off; do without it"
                    raise errors.CallRefused(said, code="tool_disabled")
                arguments = await self.permit(request)
                async with timeout:
                    value = await request.invoke(HeldTry(attempt.key, attempt.number), arguments)
                return request.succeeded(value, request.notes)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                told = "what the tool waited for was cancelled"
                return request.failed(errors.StepFailed(told, code="tool_error", error_type="CancelledError"))
            except (errors.LimitReached, errors.JournalMismatch, errors.UnscopedConcurrency):
                raise
            except Exception as exc:
                if isinstance(exc, TimeoutError) and timeout.expired():
                    told = f"no result within {request.timeout_ms / 1000:g} s"
                    exc = errors.StepFailed(told, code="tool_timeout", error_type="TimeoutError")
                return request.failed(exc)

        return await self.perform(action, body)

    async def perform(self, action: base.Action, body: base.Body) -> base.Recorded:
        scope = self._current()
        key = action.key or _next_key(scope, check_name(action.name))
        digest = None if action.arguments is None else encoding.digest(action.arguments)
        found = self.journal.find(key, action.kind, action.name, digest)
        if found is not None:
            return self._recall(key, found)
        if self.steps_max is not None and len(self.steps) >= self.steps_max:
            raise errors.LimitReached("no more steps", code="limit_steps_max")
        self.fresh.append(key)
        outcome, tries = await self._tried(key, action, body)
        error = outcome.failure
        entry = Entry(
            pos=len(self.steps) + 1,
            type=EntryType.STEP_COMPLETED,
            at=0,
            epoch=1,
            phase=Phase.RESULT,
            key=key,
            kind=action.kind,
            name=action.name,
            status=StepStatus.FAILED if error else StepStatus.SUCCEEDED,
            digest=digest,
            payload=outcome.payload,
            error=None if error is None else encoding.encode(error),
            prompt=outcome.prompt,
            usage=outcome.usage,
            price_version=outcome.price_version,
            tries=tries,
        )
        self._keep(Step(entry, action.message, None, outcome, action))
        return replace(self._recall(key, entry), fresh=True, value=outcome.value)

    async def _tried(self, key: str, action: base.Action, body: base.Body) -> tuple[base.Outcome, int]:
        tries = 0
        while True:
            tries += 1
            self.tries.append(key)
            try:
                async with asyncio.timeout(None if action.timeout_ms is None else action.timeout_ms / 1000):
                    return await body(TryOf(key, tries, self)), tries
            except (errors.LimitReached, errors.JournalMismatch, errors.UnscopedConcurrency, errors.Unavailable):
                raise
            except Exception as exc:
                if tries < action.retry.attempts and action.retry.wants(exc):
                    self.waits.append(getattr(exc, "retry_after_ms", None) or 0)
                    continue
                code = exc.code if isinstance(exc, errors.HoldfastError) else "step_failed"
                failure = base.StepError(code, str(exc), type(exc).__name__)
                return base.Outcome(payload=None, failure=failure), tries

    def _recall(self, key: str, entry: Entry) -> base.Recorded:
        error = encoding.decode(entry.error)
        position = next(s.position for s in self.steps if s.entry.key == key)
        return base.Recorded(
            key=key,
            ok=entry.status is StepStatus.SUCCEEDED,
            payload=entry.payload,
            error=None if error is None else base.StepError(**error),
            usage=entry.usage,
            position=position,
        )

    def _current(self) -> Scope:
        scope = _scope.get()
        if scope is None or scope.context is not self or scope.task is not asyncio.current_task():
            raise errors.UnscopedConcurrency("ctx was used from a task of somebody else's")
        return scope

    async def branches(
        self, parts: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, T]]]]
    ) -> list[T | BaseException]:
        async def one(name: str, fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
            with self.scope(name):
                return await fn()

        return await asyncio.gather(*(one(name, fn) for name, fn in parts), return_exceptions=True)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        token = _scope.set(Scope(name, self, asyncio.current_task()))
        try:
            yield
        finally:
            _scope.reset(token)

    async def blocking(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        return await asyncio.to_thread(fn, *args, **kwargs)

    @property
    def input_position(self) -> int:
        return self._position

    async def history(self, *, turns: int | None = None) -> list[Message]:
        found = [m for m in self.thread.messages[: self._position - 1] if not m.void]
        if turns is None:
            return found
        starts = [i for i, m in enumerate(found) if m.role is Role.USER and m.kind is None]
        return found[starts[-turns] :] if 0 < turns <= len(starts) else found

    async def history_backwards(self) -> AsyncIterator[Message]:
        for message in reversed(await self.history()):
            yield message

    def listening(self) -> bool:
        return self.listeners

    def hand_over(self, agent_id: str) -> None:
        self.acting = agent_id
        self.handed.append(agent_id)

    def agent(self, agent_id: str) -> base.Agent:
        return self.registry.get(agent_id)

    # --- for tests ---------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        return [step.entry.key or "" for step in self.steps]

    def result(self, key: str) -> Any:
        return encoding.decode(self.journal.results[key].payload)

    def output(self, output: base.Output) -> bytes:
        """The JSON of a run's output, as a service would give it."""
        if output.payload is not None:
            return output.payload
        from holdfast.agents.native.messages import text_of

        assert output.message_key is not None
        return encoding.encode(text_of(self.journal.results[output.message_key].payload))


async def run(agent: base.Agent, context: MemoryContext, input: Any) -> bytes:
    """Run an agent; its output as JSON. `input` is a value, or bytes that `accept` returned."""
    return context.output(await outcome(agent, context, input))


async def outcome(agent: base.Agent, context: MemoryContext, input: Any) -> base.Output:
    """The same, as the agent says it."""
    payload = input if isinstance(input, bytes) else agent.accept(input)
    context.begin(agent, payload)
    with context.scope(""):
        return await agent.run(context, payload)


def _next_key(scope: Scope, name: str) -> str:
    number = scope.counts[name] = scope.counts.get(name, 0) + 1
    return key_of(scope.path, name, number)


__all__ = ["MemoryContext", "Step", "Thread", "outcome", "run"]
