"""What the API answers with, as the OpenAPI document shows it. `views.py` writes these; a test holds the two together.

Times are RFC 3339 in UTC with milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from holdfast.domain.access import PrincipalKind, Via
from holdfast.domain.agents import AgentKind
from holdfast.domain.approvals import ApprovalStatus, ApprovalType, DecisionKind, OnExpiry
from holdfast.domain.effects import EffectClass, EffectStatus
from holdfast.domain.forks import Fresh, Reads, Repeat
from holdfast.domain.journal import StepKind, StepStatus
from holdfast.domain.runs import OnBusy, RunStatus
from holdfast.domain.threads import Role, ThreadStatus

T = TypeVar("T")

Phase = Literal["delayed", "behind", "ready", "executing", "cancelling", "waiting", "ended"]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class Page(Shape, Generic[T]):
    """`next_cursor` leads to the next page of the same list; null on the last one."""

    data: list[T]
    next_cursor: str | None


class ParentOut(Shape):
    run_id: str
    step: str


class UsageOut(Shape):
    """`cost_micros`: millionths of a US dollar; `priced`: false if a call had no known price."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    priced: bool


class RunErrorOut(BaseModel):
    """Why a run failed. `code` is stable; `step` the key of the step at which it failed."""

    code: str
    message: str
    step: str | None = None
    retryable: bool = True
    details: dict[str, Any] | None = None


class WaitOut(BaseModel):
    """What a run waits for, by type: leave for a call, an answer, what became of an effect, an event from outside, a
    run that holds its thread, a timer, a child, a worker that serves its agent."""

    type: Literal["approval", "ask", "effect", "event", "run", "timer", "child", "worker"]
    id: str
    step: str | None = None
    run_id: str | None = Field(default=None, description="The run below this one that asks; its own have none.")
    key: str | None = Field(default=None, description="The key of an awaited event.")
    due_at: datetime | None = None


class LimitsOut(BaseModel):
    """Caps of a run; what is absent has no cap but the agent's."""

    steps_max: int | None = None
    tool_calls_max: int | None = None
    tokens_max: int | None = None
    cost_micros_max: int | None = None
    active_ms_max: int | None = None


class ForkOut(Shape):
    """Where a fork left another run: behind its step `at`, or at it."""

    run_id: str
    at: int


class EffectPolicyOut(Shape):
    """What the calls of a fork do that its parent made after the fork point, or never made, or that only read."""

    repeat: Repeat
    new: Fresh
    reads: Reads


class BranchOut(Shape):
    """Where a branch leaves another thread: behind the step `at` of one of its runs."""

    thread_id: str
    run_id: str
    at: int


class CutOut(Shape):
    """A value that is left out for its size."""

    bytes: int = Field(description="Its size as JSON; of a model's message in a list, of all that was recorded of it.")
    preview: str = Field(description="Its first words: of a text, of content parts, else of its JSON. May be empty.")


class RunOut(Shape):
    """One execution of one agent, in one thread. What is larger than `bytes_max` is left out of `input` and `output`;
    then `input_cut` and `output_cut` tell of it."""

    id: str
    external_id: str | None
    tenant_id: str
    thread_id: str
    root_id: str
    parent: ParentOut | None
    forked_from: ForkOut | None
    effects: EffectPolicyOut | None = Field(description="Of a fork, and of what it calls.")
    imported: bool
    successor_id: str | None = Field(description="The run that went on with `ctx.restart`.")
    agent: str
    acting_agent: str
    agent_version: str
    initiator: str
    status: RunStatus
    phase: Phase = Field(description="The status in finer words.")
    input: Any
    input_cut: CutOut | None = Field(description="Set if the input is left out for its size, and null for that.")
    output: Any
    output_cut: CutOut | None = Field(description="Set if the output is left out for its size, and null for that.")
    error: RunErrorOut | None
    waiting_on: list[WaitOut]
    queue_position: int | None = Field(description="How many runs of the thread go first.")
    start_after: datetime | None
    wake_at: datetime | None
    cancel_requested_at: datetime | None
    cancel_reason: str | None
    deadline: datetime | None
    limits: LimitsOut
    on_busy_applied: OnBusy | None
    metadata: dict[str, Any]
    tags: list[str]
    trace_id: str
    usage: UsageOut
    steps: int
    attempt: int = Field(description="How often a worker took the run up.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class StepErrorOut(BaseModel):
    code: str
    message: str
    error_type: str | None = None
    details: dict[str, Any] = {}


class StepEffectOut(Shape):
    """What the ledger says of a tool's step."""

    id: str
    effect_class: EffectClass
    status: EffectStatus
    idempotency_key: str
    attempt: int


class StepRow(Shape):
    """A step of a run, without its payload."""

    run_id: str
    seq: int
    pos: int
    key: str
    kind: StepKind
    name: str
    attempt: int
    tries: int = Field(description="How often its body ran in this attempt.")
    status: StepStatus
    input_digest: str | None
    error: StepErrorOut | None
    usage: UsageOut | None
    effect: StepEffectOut | None
    approval_id: str | None = Field(description="Of a question: the approval that it is.")
    child_run_id: str | None = Field(description="Of a child: the run that it started.")
    started_at: datetime | None
    ended_at: datetime | None


class StepOut(StepRow):
    """A step of a run, with what it recorded. `output_cut`: that is larger than `bytes_max`, and `output` is null."""

    output_bytes: int = Field(description="The size of `output` as JSON.")
    output_cut: bool = Field(description="Whether `output` is larger than `bytes_max`, and null for that.")
    output: Any


class PromptOut(BaseModel):
    """What a model was asked, exactly. `cut`: it is larger than `bytes_max`; nothing of it is shown."""

    model: Any = None
    instructions: Any = None
    messages: list[Any]
    tools: Any = None
    output: Any = None
    settings: Any = None
    bytes: int = Field(description="The size of all that as JSON.")
    cut: bool = Field(description="Whether it is larger than `bytes_max`, and left out for that.")


class LastRunOut(Shape):
    """The run that stands last in a thread: the one that was asked for last."""

    id: str
    agent: str
    status: RunStatus


class ThreadOut(Shape):
    """A conversation: ordered messages across runs."""

    id: str
    external_id: str | None
    title: str | None
    preview: str | None = Field(description="The first words of what its first run was asked, in one line.")
    metadata: dict[str, Any]
    status: ThreadStatus
    head_run_id: str | None
    last_run: LastRunOut | None = Field(description="The run that stands last in it: `{id, agent, status}`.")
    waiting_on: list[WaitOut]
    branch_of: BranchOut | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class PartOut(BaseModel):
    type: Literal["text", "thinking", "tool_call", "tool_result", "file", "data"]


class MessageOut(Shape):
    """A message of a thread; `void` ones were rolled back and are shown to no model."""

    id: str
    thread_id: str
    run_id: str
    step_seq: int | None
    position: int
    role: Role
    parts: list[PartOut]
    status: Literal["complete", "void"]
    created_at: datetime


class RuleOut(BaseModel):
    """A rule on a tool's calls. `when` is true, conditions on arguments, or "code"."""

    decision: Literal["confirm", "deny"]
    when: Any
    reason: str | None = None
    roles: list[str] = []
    quorum: int | None = None
    four_eyes: bool | None = None
    expires_ms: int | None = None
    on_expiry: OnExpiry | None = None


class ToolOut(BaseModel):
    """A tool of an agent. `schema` is that of its arguments; `timeout_ms`: how long a call of it may take."""

    name: str
    description: str | None = None
    schema_: Any = Field(default=None, alias="schema")
    timeout_ms: int | None = None
    effect: EffectClass | None = None
    policy: list[RuleOut] = []
    external: bool = False
    enabled: bool = True


class AgentOut(Shape):
    """Something runnable, declared in code. `workers`: how many live ones can run it."""

    id: str
    kind: AgentKind
    version: str
    enabled: bool
    workers: int
    name: str
    description: str
    metadata: dict[str, Any]
    model: str | None
    instructions: str | None
    tools: list[ToolOut]
    handoffs: list[str]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    updated_at: datetime


class AgentVersionOut(Shape):
    """A version of an agent. `current`: a worker registered it last; `workers`: how many live ones have it."""

    agent: str
    version: str
    current: bool
    workers: int
    created_at: datetime = Field(description="When it was first seen.")


class AgentVersionDefinitionOut(AgentVersionOut):
    """A version of an agent, with what it was declared as."""

    definition: dict[str, Any]


class ToolSwitchOut(Shape):
    """A tool's kill switch. `agents`: those that have a tool of this name."""

    name: str
    enabled: bool
    agents: list[str]


class DecisionOut(Shape):
    """What one principal said of a question. `void`: it was said of other arguments than those that stand now."""

    principal: str | None
    name: str
    decision: DecisionKind
    arguments: dict[str, Any] | None
    answer: Any
    note: str | None
    void: bool
    at: datetime


class DeciderOut(Shape):
    """Who decides holds one of these roles."""

    roles: list[str]


class ApprovalRow(Shape):
    """A question that a run waits for, without what led to it."""

    id: str
    type: ApprovalType
    status: ApprovalStatus
    version: int
    group: str
    run_id: str
    root_run_id: str
    thread_id: str
    step: str
    step_seq: int | None = Field(description="The number of its step, once it is answered.")
    opened_pos: int | None = Field(description="The position of the event that asked.")
    after_step: int = Field(description="How many steps its run had recorded when it was asked.")
    agent: str
    tool: str | None
    effect_id: str | None
    arguments: dict[str, Any] | None
    arguments_hash: str | None
    schema_: Any = Field(alias="schema")
    choices: list[Any] | None
    default: Any
    answer: Any
    reason: str | None
    message: str
    requested_by: str
    requested_by_name: str | None
    may_decide: list[DeciderOut]
    quorum: int
    four_eyes: bool
    decisions: list[DecisionOut]
    expires_at: datetime | None
    on_expiry: OnExpiry
    escalated: bool
    created_at: datetime
    resolved_at: datetime | None


class ApprovalOut(ApprovalRow):
    """A question that a run waits for."""

    context: list[MessageOut] = Field(description="What led to it: the last messages before it was asked.")


class EffectErrorOut(BaseModel):
    """Why an effect failed, or what was said of it. `decision`: who said so, where no question holds it."""

    code: str
    message: str | None = None
    decision: DecisionOut | None = None


class EffectRow(Shape):
    """A side effect of a tool call, as the ledger has it, without what its result has to be."""

    id: str
    run_id: str
    run_ended: bool
    step: str
    step_seq: int | None = Field(description="The number of its step, once that is recorded.")
    opened_pos: int | None = Field(description="The position of the event that opened its step last.")
    after_step: int | None = Field(description="How many steps its run had recorded when it was opened.")
    approval_id: str | None = Field(description="The approval that it was begun with, if it took one.")
    agent: str
    tool: str
    effect_class: EffectClass
    version: str
    status: EffectStatus
    arguments: dict[str, Any]
    arguments_hash: str
    idempotency_key: str
    attempt: int
    provider_ref: str | None
    planned_at: datetime
    started_at: datetime | None
    deadline: datetime | None
    ended_at: datetime | None
    error: EffectErrorOut | None
    duplicate_of: str | None
    compensates: str | None


class EffectOut(EffectRow):
    """A side effect of a tool call, as the ledger has it."""

    result_schema: Any = Field(
        description="The JSON schema of its result, if somebody was asked what became of it and one is known."
    )


class EventOut(Shape):
    """An event from outside, as it is kept."""

    id: str
    name: str
    key: str | None
    external_id: str | None
    data: Any
    created_at: datetime
    runs: int = Field(description="How many runs waited for it and were woken; 0 when it had been sent before.")


class HealthOut(Shape):
    status: Literal["ok"]


class ReadyOut(Shape):
    status: Literal["ready"]
    checks: dict[str, str]


class InfoOut(Shape):
    name: Literal["holdfast"]
    version: str
    mode: Literal["dev", "serve"]
    database: Literal["sqlite", "postgresql"]
    authentication: bool = Field(description="Whether an API key is needed.")
    agents: int = Field(description="How many agents this process can run.")
    features: list[str]
    ui: bool = Field(description="Whether the control plane is served, at `/ui/`.")
    now: datetime = Field(description="The server's clock.")


class MyselfOut(Shape):
    id: str
    name: str
    kind: PrincipalKind


class TenantOut(Shape):
    id: str
    name: str


class MeOut(Shape):
    """Who asks. `scopes` is `*` for an admin. `via`: a plain local request, an API key, or a browser's session."""

    principal: MyselfOut
    tenant: TenantOut
    scopes: list[str]
    roles: list[str]
    via: Via
    expires_at: datetime | None = Field(description="When the session, or the API key, ends by itself.")


# -- pages of the control plane --------------------------------------------------------------------------------------


class TimelineWordsOut(Shape):
    """What the numbers in the columns of the same names mean: places in these lists, from 0. In the last three the
    first word is null."""

    kind: list[StepKind]
    name: list[str]
    status: list[StepStatus]
    child_run_id: list[str | None]
    effect_status: list[EffectStatus | None]
    error_code: list[str | None]


class TimelineStepsOut(Shape):
    """Steps as columns of one length, in the order of `seq`. Times are ms since the run was created; those of steps
    that a fork shares with others are negative. `kind`, `name`, `status`, `child_run_id`, `effect_status` and
    `error_code` are places in `words`. A child's tokens and cost are those of its run and all below it."""

    seq: list[int]
    key: list[str]
    kind: list[int]
    name: list[int]
    status: list[int]
    attempt: list[int]
    tries: list[int]
    started_at: list[int | None]
    ended_at: list[int | None]
    input_tokens: list[int]
    output_tokens: list[int]
    cost_micros: list[int]
    child_run_id: list[int]
    effect_status: list[int]
    error_code: list[int]


class OpenStepOut(Shape):
    """A step that was opened and has not ended. `since`: ms since the run was created."""

    key: str
    kind: StepKind
    name: str
    attempt: int
    since: int
    child_run_id: str | None = Field(description="Of a child: the run that it starts, at once or in a moment.")
    approval_id: str | None


PauseType = Literal["queued", "approval", "ask", "effect", "event", "timer", "child", "other"]


class PauseOut(Shape):
    """A time in which no worker had the run; `to` is null while that lasts. `key`: the step that it waited in, if it
    is known; `others`: how many more things it waited for. ms since the run was created."""

    from_: int = Field(alias="from")
    to: int | None
    type: PauseType
    key: str | None
    others: int


class MarkOut(Shape):
    """Something that happened to the run at a time, in ms since it was created."""

    at: int
    type: Literal["forked", "recovered", "retried", "version_changed", "compensating", "cancelled"]


class TimelineOut(Shape):
    """A run's steps in time, without what they recorded. `last`: pass it as `after`, to get what is new.

    `waits` and `marks` are those that began, or ended, behind `after`; one that was begun before is told again, with
    the same `from`. `open` is always all.
    """

    run_id: str
    status: RunStatus
    created_at: datetime
    now: int = Field(description="The time of this answer, in ms since the run was created.")
    pos: int = Field(description="The run's last event that this answer knows of: follow it from here.")
    revision: str = Field(
        description="Another one when a step that was told before is not as it was: a retry declared it void, its "
        "effect came to another end. Then what is behind `after` is not enough: ask for all of it."
    )
    last: int = Field(description="The last step shown here; `after` if there is none.")
    more: bool = Field(description="Whether there are steps behind `last`.")
    inherited_to: int = Field(description="Up to which `seq` the steps are others', of whom the run is a fork.")
    words: TimelineWordsOut
    steps: TimelineStepsOut
    open: list[OpenStepOut]
    waits: list[PauseOut]
    marks: list[MarkOut]


class FailedOut(Shape):
    """Why a run failed; the message is cut."""

    code: str
    message: str


class RelativeOut(Shape):
    """A run in a tree of forks. `usage` of one that is under way is as of its last change of status."""

    id: str
    thread_id: str
    forked_from: ForkOut | None
    agent: str
    status: RunStatus
    imported: bool
    created_at: datetime
    ended_at: datetime | None
    usage: UsageOut
    steps: int
    edited: list[Literal["output", "answer", "message", "instructions", "model"]] = Field(
        description="What whoever forked changed."
    )
    effects: EffectPolicyOut | None
    output: str | None = Field(
        description="The beginning of its output, by which forks are told apart: a text as it is, anything else as "
        "JSON. Null if there is none, or if it begins with nothing that could be shown."
    )
    error: FailedOut | None


class FamilyOut(Shape):
    """The tree of forks that a run belongs to, oldest first. What was deleted is left out, its forks are not. `more`:
    the tree has more runs than are shown; the run itself and those that it comes from always are."""

    root_id: str
    data: list[RelativeOut]
    more: bool


class LiveRunsOut(Shape):
    queued: int
    running: int
    waiting: int


class SinceOut(Shape):
    """Runs that were created since `from`. Children are left out of the numbers of runs, not of what was used."""

    from_: datetime = Field(alias="from")
    started: int
    succeeded: int
    failed: int
    cancelled: int
    requests: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    priced: bool


class BucketOut(Shape):
    """The runs that were created in `bucket_hours` from `at` on."""

    at: datetime
    succeeded: int
    failed: int
    cancelled: int
    cost_micros: int
    tokens: int


class OverviewOut(Shape):
    """How things stand. A number is null if the credential does not carry the scope to read what it counts."""

    runs: LiveRunsOut
    since: SinceOut
    approvals_pending: int | None
    effects_unknown: int | None
    agents: int
    workers: int
    bucket_hours: int
    hours: list[BucketOut] = Field(description="Oldest first; the last one is under way.")
    more: bool = Field(description="The time holds more runs than were counted; the newest were.")


# -- time travel ----------------------------------------------------------------------------------------------------


class PublishedOut(Shape):
    """A version of the state that a thread publishes, and the step that made it. Version 0 is null: nobody set any."""

    version: int
    value: Any
    run_id: str | None
    seq: int | None


class PlaceOut(Shape):
    """A step where the code stands: opened at `since`, or the last one that ended when nothing is open."""

    key: str
    kind: StepKind
    name: str
    since: datetime | None
    open: bool


class QuestionOut(Shape):
    """A question that was open."""

    key: str
    approval_id: str | None
    type: ApprovalType | None
    tool: str | None
    message: str | None
    reason: str | None
    opened_at: datetime


class PendingCallOut(Shape):
    """A call of the last answer that has no result yet. `asked`: somebody has to answer first."""

    key: str
    call_id: str | None
    name: str
    arguments: Any
    status: Literal["planned", "asked", "started"]


class StepsOfNameOut(Shape):
    """The steps of one name. `output` is that of the last one, null with `output_cut` if it is large."""

    name: str
    kind: StepKind
    count: int
    last_seq: int
    last_key: str
    status: StepStatus
    output: Any
    output_cut: bool
    error: StepErrorOut | None


class TalkOut(Shape):
    """The last messages of the run up to the step. `total` counts all of them; `earlier` is what `before` takes to get
    those before these, null if there are none."""

    data: list[MessageOut]
    total: int
    earlier: int | None


class RunStateOut(Shape):
    """Where a run stood at its step `at`: all that was recorded and opened before the next one.

    `messages`, `pending_calls` are of agents, `steps` (the names used last first, `steps_more` not shown) of workflows.
    """

    run_id: str
    thread_id: str
    agent: str
    kind: AgentKind
    acting_agent: str
    at: int
    last: int = Field(description="The run's last step so far.")
    status: RunStatus
    usage: UsageOut
    output: Any
    state: PublishedOut
    interrupts: list[QuestionOut]
    position: list[PlaceOut]
    messages: TalkOut | None
    pending_calls: list[PendingCallOut] | None
    steps: list[StepsOfNameOut] | None
    steps_more: int


class DiffStepOut(Shape):
    """A step as one side has it. `output_cut`: it is too large to be shown here."""

    seq: int
    key: str
    kind: StepKind
    name: str
    attempt: int
    status: StepStatus
    input_digest: str | None
    output: Any
    output_cut: bool
    error: StepErrorOut | None


Differs = Literal["missing", "kind", "name", "arguments", "status", "output", "error", "prompt"]


class DivergenceOut(Shape):
    """The first step that is not the same. `missing`: one of the runs has no step of this key; its side shows what it
    did there instead, null if it had come to its end."""

    key: str
    kind: StepKind
    name: str
    differs: list[Differs]
    this: DiffStepOut | None
    other: DiffStepOut | None


class DiffSideOut(Shape):
    """`usage` and `elapsed_ms` are of the whole way to this step, whoever paid for it."""

    run_id: str
    at: int
    status: RunStatus
    agent: str
    agent_version: str
    output: Any
    usage: UsageOut
    elapsed_ms: int
    state: PublishedOut


class DiffMessagesOut(Shape):
    """How many messages each run has; `same` of them are the same from the first on, and then come these."""

    this: int
    other: int
    same: int
    first_this: MessageOut | None
    first_other: MessageOut | None


class DiffCallOut(Shape):
    """A call. `arguments` is null where only their digest is stored."""

    seq: int
    key: str
    kind: StepKind
    name: str
    status: StepStatus
    arguments: Any
    arguments_digest: str | None


class DiffCallsOut(Shape):
    """Calls that one run made and the other did not; `more` are not shown."""

    data: list[DiffCallOut]
    more: int


class DiffOut(Shape):
    """What differs between two runs, or two steps. The differences of numbers are the other's less this one's."""

    identical: bool = Field(description="Whether every step, the outputs and the published states are the same.")
    divergence: DivergenceOut | None
    this: DiffSideOut
    other: DiffSideOut
    same_output: bool
    messages: DiffMessagesOut
    state_patch: list[dict[str, Any]] = Field(description="RFC 6902: from this one's published state to the other's.")
    calls_only_this: DiffCallsOut
    calls_only_other: DiffCallsOut
    tokens_difference: int
    cost_micros_difference: int
    elapsed_ms_difference: int
