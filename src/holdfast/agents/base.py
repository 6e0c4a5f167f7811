"""The seam between what runs (agents, workflows) and what makes it durable (`runtime/`).

`Context` is what a workflow's author uses. `RunContext` adds what an agent implementation needs: the one primitive
`perform`, parallel branches with their own keys, the thread's history, and deltas. `runtime/context.py` implements
both; tests may implement them in memory.

Invariant: nothing here does I/O or knows a database. An agent must be a deterministic function of its input and of
what `perform` returns; whatever else it draws on (clock, randomness, files, network) has to happen inside a body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, cast, overload
from uuid import UUID

from holdfast.domain import errors, ids, limits
from holdfast.domain.agents import AgentKind
from holdfast.domain.forks import Override
from holdfast.domain.journal import NewBlob, StepKind
from holdfast.domain.runs import RunLimits, Usage
from holdfast.domain.threads import Message, Role

if TYPE_CHECKING:
    from holdfast.agents.effects import ToolRequest

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step is tried in one attempt of its run, and how long to wait between tries.

    `attempts` counts all tries (1 is no retry). The wait before try n is `backoff_ms · 2^(n-2)`, at most
    `backoff_ms_max`, with ±50 % jitter. `on` decides which exceptions are worth another try.
    """

    attempts: int = 1
    backoff_ms: int = limits.RETRY_BACKOFF_MS
    backoff_ms_max: int = limits.RETRY_BACKOFF_MS_MAX
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool] = Exception

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= limits.STEP_RETRIES_MAX:
            raise errors.DefinitionError(f"Retry.attempts is 1 to {limits.STEP_RETRIES_MAX}, not {self.attempts}.")
        if self.backoff_ms < 0 or self.backoff_ms_max < 0:
            raise errors.DefinitionError("Retry.backoff_ms and backoff_ms_max are milliseconds, 0 or more.")

    def wants(self, exc: Exception) -> bool:
        if isinstance(self.on, (type, tuple)):
            return isinstance(exc, cast("type[Exception] | tuple[type[Exception], ...]", self.on))
        return self.on(exc)


NO_RETRY = Retry()
UNSET: Final = object()  # of an option whose value may be anything, None too


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step failed: a stable code, the exception's type, and a message that may be shown."""

    code: str
    message: str
    error_type: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True, kw_only=True)  # not frozen: that costs a microsecond or two, once a step
class Outcome:
    """What a body did: the JSON to record, the live value for the caller, and what a model call used.

    `failure` records the step as failed with this payload still readable (a tool error that the model is told). `ops`
    and `session` are the runtime's own: what is written to the ledger with the step, and in which transaction.
    """

    payload: bytes | None
    value: Any = None
    failure: StepError | None = None
    usage: Usage | None = None
    price_version: str | None = None
    prompt: bytes | None = None
    blobs: tuple[NewBlob, ...] = ()
    ops: tuple[Any, ...] = ()
    session: Any = None


class Attempt(Protocol):
    """One try of a body."""

    @property
    def key(self) -> str:
        """The step's key, unique in the run."""
        ...

    @property
    def number(self) -> int:
        """The try, from 1; counts on over retries of the run."""
        ...

    def delta(self, part: int, kind: Literal["text", "thinking", "tool_call"], text: str) -> None:
        """Publish a piece of a message under way. Ephemeral: shown to those who listen now, never stored."""
        ...


Body = Callable[[Attempt], Coroutine[Any, Any, Outcome]]


@dataclass(slots=True, kw_only=True)  # not frozen: that costs a microsecond or two, once a step
class Action:
    """A step that an agent wants: how to find it again, how to do it, how durable it is before `perform` returns.

    `key`: None numbers the name within the current scope; a tool call gives its own, `<model key>/<position>`.
    `arguments`: JSON value compared on resume for code, tool, child, sleep and hand-off steps.
    `write_behind`: the result may still be in memory when `perform` returns (model steps, read tools, and what comes
    right before something that is opened).
    `streams`: the body publishes deltas; the message's id is announced durably before the first one is shown.
    `message`: the payload is also a message of the thread, in this role.
    `asked`: of a model step, the record of its prompt and the blobs that it names, as the body would record them.
    Called by replay, which compares them with what was recorded and never calls the body, and for a step that failed.
    """

    kind: StepKind
    name: str
    key: str | None = None
    arguments: Any = None
    write_behind: bool = False
    streams: bool = False
    message: Role | None = None
    retry: Retry = NO_RETRY
    timeout_ms: int | None = None
    asked: Callable[[], tuple[bytes, tuple[NewBlob, ...]]] | None = None


@dataclass(slots=True, kw_only=True)  # not frozen: that costs a microsecond or two, once a step
class Recorded:
    """A step's result, from the journal or fresh. `value` is the body's live value when `fresh`, else None."""

    key: str
    ok: bool
    payload: bytes | None
    error: StepError | None = None
    fresh: bool = False
    value: Any = None
    usage: Usage | None = None
    position: int | None = None

    def unwrap(self) -> bytes | None:
        """The payload; raises `StepFailed` for a failed step, the same on the first run and on replay."""
        if self.error is not None:
            kind = errors.CallRefused if self.error.code in errors.REFUSALS else errors.StepFailed
            raise kind(self.error.message, code=self.error.code, error_type=self.error.error_type, step=self.key)
        return self.payload


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Who and what this run is. Ids are public ids (`run_…`).

    `attempt` is the run's epoch: 1 for the first claim; it rises with every further one, and when the run is taken from
    a worker that is gone.
    """

    run_id: str
    thread_id: str
    root_id: str
    parent_id: str | None
    tenant_id: str
    principal_id: str
    agent: str
    attempt: int
    depth: int
    created_at: datetime
    metadata: dict[str, Any]

    @property
    def sandbox(self) -> bool:
        """Whether the run is of a sandbox tenant: a live replay, which is to use accounts where nothing counts."""
        return ids.is_sandbox(ids.parse(ids.TENANT, self.tenant_id))


NO_DEFAULT: Final = object()


class State(Protocol):
    """The document that a thread publishes, in versions: JSON, at most `STATE_BYTES_MAX` bytes of it, null at first.

    It belongs to the thread: a run begins with what the run before it left. Each change is a step, durable when it
    returns, and parallel branches lose nothing of each other. Not for the functions of plain steps.
    """

    async def get(self) -> Any:
        """The document as the code knows it here: what the run began with, the changes made before this line, and those
        of branches that were gathered. A copy; no step."""
        ...

    async def set(self, value: Any) -> None:
        """Replace the document. Raises `StepFailed` (`state_too_large`, `not_encodable`)."""
        ...

    async def update(self, update: Mapping[str, Any] | Callable[[Any], Any], /) -> Any:
        """Change the newest document, whoever changed it last; returns what came of it.

        A mapping's members replace those of the object. A function is given the document and returns the next one; it
        is sync, and does nothing else. What it raises is recorded, and comes as `StepFailed`.
        """
        ...


class Context(Protocol):
    """What a workflow sees. Every call is recorded under a key; a resumed run gets the recorded answer at once.

    All calls raise `Signal`s (BaseException) when the run parks, is cancelled or loses its lease: let them pass.
    """

    @property
    def info(self) -> RunInfo: ...

    @property
    def deps(self) -> Any:
        """What was given as `Holdfast(deps=…)`; the same object in every run of the process."""
        ...

    @property
    def state(self) -> State:
        """The document that the thread publishes."""
        ...

    async def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]] | Callable[..., T],
        /,
        *args: Any,
        retry: Retry = NO_RETRY,
        timeout: timedelta | None = None,
        returns: Any = None,
        simulate: Any = UNSET,
        **kwargs: Any,
    ) -> T:
        """Run `fn(*args, **kwargs)` once and record what it returns; durable when this returns.

        A tool (made by `@tool`) may be given as `fn`. A plain function is at-least-once: it runs again if the process
        dies between its end and the commit. Sync functions run in a thread. The value that comes back has been
        through JSON and is validated as `returns`, else as the function's return annotation. `simulate`: what stands in
        for a plain function in a fork of an imported run: a value, or a function of the same arguments.
        Raises `StepFailed` when the last try failed; that is recorded too.
        """
        ...

    async def call(self, agent: Any, input: Any = None, *, name: str | None = None) -> Any:
        """Run another agent (the object, or its id) as a child run with its own journal; its output when it ended.

        Durable when it returns. Raises `ChildFailed` if the child did not succeed.
        """
        ...

    @overload
    async def gather(self, a: Awaitable[T1], /) -> tuple[T1]: ...
    @overload
    async def gather(self, a: Awaitable[T1], b: Awaitable[T2], /) -> tuple[T1, T2]: ...
    @overload
    async def gather(self, a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> tuple[T1, T2, T3]: ...
    @overload
    async def gather(self, /, *parts: Awaitable[T]) -> tuple[T, ...]: ...
    async def gather(self, /, *parts: Awaitable[Any]) -> tuple[Any, ...]:
        """Run coroutines in parallel, each with keys of its own. Lets every one settle, then raises the first error
        in creation order; never cancels a sibling."""
        ...

    async def sleep(self, duration: timedelta | float) -> None:
        """Wait, in seconds or as a timedelta, by the database's clock. A long sleep holds no memory."""
        ...

    async def emit(self, name: str, data: Any = None) -> None:
        """Send a custom event to the run's stream, once: it is recorded."""
        ...

    async def ask(
        self,
        question: str,
        *,
        schema: Any = None,
        choices: Sequence[Any] | None = None,
        expires: timedelta | None = None,
        default: Any = NO_DEFAULT,
        roles: Sequence[str] | str = (),
        name: str = "ask",
    ) -> Any:
        """Ask people, and wait for the answer; the run holds no memory meanwhile, and nothing is lost.

        Args:
            question: what is asked, up to `QUESTION_CHARS_MAX` characters.
            schema: a type that pydantic knows, or a JSON schema: the answer is validated by it and comes back as it.
            choices: JSON values of which the answer is one.
            expires: how long the question stands, 7 days unless given.
            default: the answer when nobody gave one in time.
            roles: who answers has to hold one of them.
            name: the step's name.

        Raises `NotAnswered` (`ask_rejected`, or `ask_expired` without a default); that is recorded too.
        """
        ...

    async def wait_event(
        self, name: str, *, key: str = "", timeout: timedelta | None = None, since: datetime | None = None
    ) -> Any:
        """Wait for an event of this name and key (`POST /v1/events`); its data.

        It may have come before: the oldest that arrived since this run was created (or `since`) and that this run has
        not taken yet. Raises `EventTimedOut` after `timeout`.
        """
        ...

    async def now(self) -> datetime:
        """The time, recorded: the same when the run resumes. UTC."""
        ...

    async def random(self) -> float:
        """A random number in [0, 1), recorded."""
        ...

    async def uuid(self) -> UUID:
        """A random UUID, recorded."""
        ...

    async def restart(self, input: Any = None) -> None:
        """End this run and start its successor with `input`, in one transaction. Does not return."""
        ...


class RunContext(Context, Protocol):
    """What an agent implementation needs besides."""

    @property
    def run_limits(self) -> RunLimits:
        """The limits of this run; the context itself enforces them at each new step."""
        ...

    @property
    def acting_agent(self) -> str:
        """The id of the agent that acts now (differs from `info.agent` after a hand-off)."""
        ...

    async def perform(self, action: Action, body: Body) -> Recorded:
        """The one primitive: the recorded result of this step, or do it and record it.

        A body that raises `Exception` is tried again as `action.retry` says, then recorded as failed. Raises
        `JournalMismatch`, `LimitReached`, `UnscopedConcurrency`, `NotEncodable`, or a `Signal`.
        """
        ...

    async def branches(
        self, parts: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, T]]]]
    ) -> list[T | BaseException]:
        """Run coroutine functions in parallel, each under the scope named with it; lets all settle.

        Results and errors come in the order of `parts`. One part runs in the caller's own task.
        """
        ...

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Steps within get keys under `name`."""
        ...

    async def blocking(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a sync function in the bounded thread pool."""
        ...

    @property
    def input_position(self) -> int:
        """The position in the thread of this run's first message, its input (1 in a new thread)."""
        ...

    async def history(self, *, turns: int | None = None) -> list[Message]:
        """The thread's messages before this run's input, oldest first, void ones left out; the last `turns` turns."""
        ...

    def history_backwards(self) -> AsyncIterator[Message]:
        """The same, newest first, read in pages as it is asked for."""
        ...

    def listening(self) -> bool:
        """Whether somebody follows this run's stream now."""
        ...

    def hand_over(self, agent_id: str) -> None:
        """From now on `acting_agent` is this one. Called after the hand-off's step is recorded, and again on replay."""
        ...

    async def hold(self, requests: Sequence[ToolRequest]) -> None:
        """Open, in one commit, the questions that these calls of one model turn need answered before they are made."""
        ...

    async def permit(self, request: ToolRequest) -> dict[str, Any]:
        """The arguments with which a call may be made now; waits for people if its rules say so. `CallRefused`."""
        ...

    async def act(self, request: ToolRequest) -> Recorded:
        """Make a tool's call as its contract says, and record it: at most once as far as physics allows."""
        ...

    def planned(self, requests: Sequence[ToolRequest]) -> tuple[Any, ...]:
        """What the ledger has to hold of calls that a step has chosen: for that step's `Outcome.ops`."""
        ...

    def overrides(self, key: str) -> Sequence[Override]:
        """What a fork or retries say of the model step `key`, in order: not of one recorded before they were made."""
        ...

    def begun(self, key: str) -> bool:
        """Whether a tool's call began in an earlier claim of the run, so that it may have acted."""
        ...

    async def tool_enabled(self, name: str) -> bool:
        """Whether nobody has switched the tool off. Asked within a tool's body only: a recorded call stays recorded."""
        ...

    def agent(self, agent_id: str) -> Agent:
        """A registered agent; `NotFound` if this process has none of that id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a run produced: JSON of its own, or the text of the model message that the step `message_key` recorded."""

    payload: bytes | None = None
    message_key: str | None = None


class Agent(Protocol):
    """Something runnable, declared in code and registered under an id."""

    @property
    def id(self) -> str: ...

    @property
    def kind(self) -> AgentKind: ...

    @property
    def version(self) -> str:
        """A fingerprint of the definition: changes when what the agent would do changes."""
        ...

    @property
    def durability(self) -> Literal["behind", "sync"]: ...

    @property
    def on_version_change(self) -> Literal["continue", "fail", "pin"]: ...

    @property
    def default_limits(self) -> RunLimits: ...

    @property
    def compensate(self) -> frozenset[str]:
        """When what its runs have done is undone: `failure`, `cancel`."""
        ...

    def tools(self) -> Mapping[str, Any]:
        """Its tools by name, for what is done with their calls when the agent's own code does not run."""
        ...

    def definition(self) -> dict[str, Any]:
        """What the API shows: `{model?, instructions?, tools: [{name, description, schema, effect, timeout_ms}],
        input_schema, output_schema, handoffs?}`. JSON values only."""
        ...

    def accept(self, value: Any) -> bytes:
        """The input as JSON to store, if it fits; `Invalid` (code `invalid_input`, with `errors`) if it does not."""
        ...

    def related(self) -> Sequence[Agent]:
        """Agents that this one calls or hands over to; they are registered with it."""
        ...

    async def warm_up(self) -> None:
        """Do what the first run would otherwise wait for (imports, discovery of remote tools)."""
        ...

    async def close(self) -> None:
        """Release what `warm_up` and runs opened."""
        ...

    async def run(self, ctx: RunContext, input: bytes) -> Output:
        """Do the run. `input` is what `accept` returned."""
        ...
