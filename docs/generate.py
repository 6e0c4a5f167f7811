"""Write the tables in docs that follow from code: `python docs/generate.py`, or `--check` to list stale files.

A table stands between `<!-- generated: name -->` and `<!-- end -->`. What code cannot say, a meaning in words, stands
in the dictionaries here; one that is missing, or of something that is gone, is an error. A test runs the check.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parent
SOURCE: Final = DOCS.parent / "src" / "holdfast"
OPENAPI: Final = DOCS.parent / "ui" / "openapi.json"
MARKED: Final = re.compile(r"(<!-- generated: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# --- meanings --------------------------------------------------------------------------------------------------------

LIMITS: Final = {
    "JOURNAL_STEPS_MAX": "steps in one run's journal; past it the run fails as `journal_full`",
    "PAYLOAD_BYTES_MAX": "one stored JSON value: an input, an output, a step's result",
    "PAYLOAD_INLINE_BYTES_MAX": "above it a payload is stored once per tenant under its hash, not in the row",
    "STEP_NAME_CHARS_MAX": "the name of a step",
    "KEY_CHARS_MAX": "the key of a step: all scopes it is nested in, and its name",
    "GATHER_BRANCHES_MAX": "branches of one `gather`",
    "BATCH_OPS_MAX": "appends, or writes, in one commit",
    "BEHIND_ENTRIES_MAX": "entries of one run that are not durable yet; past it even model steps and read tools wait",
    "WRITER_QUEUE_OPS_MAX": "appends that may wait for the database; past it a run is let go, and taken up again later",
    "BLOB_UNREFERENCED_KEEP_MS": "how long content is kept that no run refers to",
    "BLOB_TOUCH_EVERY_MS": "how often content that is sent again and again is marked as used",
    "BLOBS_KNOWN_MAX": "hashes of stored content that a process remembers",
    "STATE_BYTES_MAX": "the state that a thread publishes, as JSON",
    "STATE_SNAPSHOT_EVERY": "of so many changes of it in a row one is stored whole, the others as patches; reading it "
    "at any step takes at most so many entries",
    "STATE_OUTPUT_BYTES_MAX": "a step's output in the state of a run, and in a diff; a larger one is left out",
    "DIFF_CALLS_MAX": "calls of each side that a diff lists",
    "VERSION_CHANGES_MAX": "changes of a definition that `run.version_changed` lists",
    "CHILD_DEPTH_MAX": "how deep child runs nest",
    "FORK_DEPTH_MAX": "how many other threads a branch may read: how deep forks of forks nest",
    "OVERRIDES_MAX": "how often a run's instructions or model may become others, in retries and in the forks it is of",
    "HANDOFFS_MAX": "hand-offs in one run; a further one is refused, and the model is told",
    "TAGS_MAX": "tags of a run",
    "TAG_CHARS_MAX": "one tag",
    "METADATA_BYTES_MAX": "metadata of a run or a thread, as JSON",
    "EXTERNAL_ID_CHARS_MAX": "an `external_id`",
    "INSTRUCTIONS_CHARS_MAX": "the instructions that a fork gives",
    "MODEL_CHARS_MAX": "the name of the model that a fork asks",
    "TITLE_CHARS_MAX": "a thread's title",
    "LAPSES_ALONE": "after so many lost workers in a row, without progress between, a run is claimed alone",
    "LAPSES_POISONED": "after so many, it fails as `poisoned`",
    "SUSPECT_PATIENCE_MS": "how long such a run waits for a worker that has nothing else to do",
    "LAPSE_BACKOFF_MS": "how long such a run waits before its next claim; doubled with each lapse",
    "LEASE_MS": "default of the setting `lease_ms`",
    "SQLITE_LOCK_PROBE_MS": "how often owners on SQLite are asked whether they still live",
    "POLL_MS": "how often workers and streams look into the database when nobody rings",
    "RECOVERY_EVERY_MS": "how often timers, deadlines and lapsed leases are looked for, at the latest",
    "KEEP_IN_MEMORY_MS": "a wait that is shorter keeps the coroutine; a longer one parks the run",
    "DRAIN_MS": "default of the setting `drain_ms`",
    "UNWIND_MS": "how long stopped code may take to come to its end",
    "CANCEL_GRACE_MS": "how long a tool that may change something may go on after a cancel",
    "WORKER_SLOTS": "default of the setting `worker_slots`",
    "WORKER_SEEN_MS": "a worker that was not seen for so long does not count as alive",
    "THREAD_POOL_MAX": "threads for sync tools and steps, per process",
    "THREADS_ABANDONED_MAX": "sync calls that never returned; past it new ones are refused (`threads_exhausted`)",
    "SLEEP_MS_MAX": "one `ctx.sleep`",
    "CLAIM_ROWS_MAX": "runs in one claim",
    "STEP_RETRIES_MAX": "`Retry(attempts=…)`",
    "RETRY_BACKOFF_MS": "default of `Retry(backoff_ms=…)`",
    "RETRY_BACKOFF_MS_MAX": "default of `Retry(backoff_ms_max=…)`",
    "RETRY_AFTER_MS_MAX": "the longest wait that a provider's `Retry-After` is heeded for",
    "MODEL_ATTEMPTS": "tries of one model call, unless `model_retry` says otherwise",
    "MODEL_TIMEOUT_MS": "one try of a model call, unless `model_timeout` says otherwise",
    "TOOL_SWITCH_STALE_MS": "how long a process may not have heard that a tool was switched off or on",
    "TOOL_TIMEOUT_MS": "one tool call, unless the tool's `timeout` says otherwise",
    "QUORUM_MAX": "`Confirm(quorum=…)`",
    "EXPIRES_MS": "how long a question stands, unless it says otherwise",
    "EXPIRES_MS_MAX": "how long it may",
    "LEAVE_USABLE_MS": "leave that was given is good for so long, or until the question's own time is over if that is "
    "later; then it is asked for again",
    "QUESTION_CHARS_MAX": "the words of a `ctx.ask`",
    "CHOICES_MAX": "choices of one question",
    "NOTE_CHARS_MAX": "the note of a decision",
    "EDITS_MAX": "changes of one call's arguments by those who decide on it",
    "EDITS_BYTES_MAX": "those changes together, as JSON",
    "EXPIRY_AGAIN_MS": "until an expired question that could not be closed is tried again",
    "CONTEXT_MESSAGES": "messages that an approval shows as what led to it",
    "EVENT_KEEP_MS": "how long an event from outside is kept",
    "EVENT_NAME_CHARS_MAX": "its name, and its key",
    "EVENT_ID_CHARS_MAX": "its sender's id",
    "EFFECT_TRIES": "how often a `keyed` call is made before a person is asked, unless the tool's `tries` says so",
    "EFFECT_ROTATIONS_MAX": "how often a call is made anew after a reconciler said that nothing was done; then a "
    "person is asked",
    "RECONCILE_TRIES": "how often a reconciler is asked before a person is",
    "RECONCILE_TIMEOUT_MS": "one try of a reconciler",
    "COMPENSATE_TRIES": "how often a compensator is tried before a person is asked, unless its `tries` says otherwise",
    "BUSINESS_KEY_CHARS_MAX": "what a `dedupe` template makes of a call",
    "DEDUPE_WAIT_MS": "how long a call waits for the first one of the same `dedupe` key to end",
    "DEDUPE_POLL_MS": "how often it looks",
    "TRANSACTION_MS": "a tool's `ctx.tx`, from its first statement on",
    "TRANSACTION_SQLITE_MS": "the same on SQLite, where nobody else can write meanwhile",
    "REPLAY_MS": "one replay; code that has come to no end is `stalled`",
    "REPLAY_STALL_MS": "code that asks for nothing so long, and does not end, is `stalled`",
    "REPLAY_STEPS_MAX": "how often code may ask its context for something in one replay",
    "REPLAY_WAIT_MS": "how long a request waits for a replay before it answers 202",
    "REPLAY_PREPARE_MS": "how long a process that replays may take to import its target",
    "REPLAYS_AT_ONCE": "replays under way in one process; further ones wait",
    "LIVE_REPLAYS_AT_ONCE": "runs that one `holdfast replay --mode` of them makes at a time",
    "REPLAY_KEEP_MS": "how long what a replay found is kept",
    "DIFFERENCE_CHARS_MAX": "a value that a replay shows; longer ones are cut",
    "IMPORT_BYTES_MAX": "the body of `POST /v1/runs/import`",
    "BODY_BYTES_MAX": "default of the setting `body_bytes_max`",
    "PAGE_SIZE": "rows of a page, unless `limit` says otherwise",
    "PAGE_SIZE_MAX": "the largest `limit`",
    "WAIT_S_MAX": "the largest `?wait=`",
    "STREAM_BUFFER_EVENTS": "events that wait for a slow reader; past it the stream goes on from the database",
    "STREAM_REPLAY_ROWS": "stored events that a stream reads at once",
    "STREAM_PING_S": "how often a quiet stream sends a comment",
    "IDEMPOTENCY_KEEP_MS": "how long an `Idempotency-Key` is remembered",
    "IDEMPOTENCY_KEY_CHARS_MAX": "an `Idempotency-Key`",
    "CHANGES_BUFFER": "hints that wait for a slow reader of `/v1/changes`; past it the oldest go, and `resync` says so",
    "WATCHED_RUNS_MAX": "runs whose events one stream of `/v1/changes` tells besides",
    "FAMILY_OUTPUT_CHARS_MAX": "of a run's output, or error, that such a tree shows",
    "FAMILY_RUNS_MAX": "runs of a tree of forks that `/v1/runs/{run_id}/family` shows",
    "OVERVIEW_HOURS_MAX": "how many hours back `/v1/overview` looks",
    "OVERVIEW_RUNS_MAX": "runs that it counts, the newest first",
    "PREVIEW_CHARS_MAX": "a thread's `preview`",
    "PREVIEW_READ_BYTES_MAX": "an input that a `preview` is made of; a thread that began with a larger one has none",
    "THREADS_SEARCHED_MAX": "threads that one page of `GET /v1/threads` with `q` or `agent` looks through",
    "SEARCH_CHARS_MAX": "the text `q` that it looks for",
    "CUT_BYTES_MIN": "the least `bytes_max` of a run, of a list of runs, of a step's output and of a prompt",
    "LISTED_BYTES": "an input or output in a list of runs, unless `bytes_max` says otherwise; larger ones are left out",
    "LISTED_BYTES_MAX": "the most `bytes_max` of a list of runs",
    "CLOCKS_APART_MS": "how far the clocks of processes and database may be apart for lists by time to be whole",
    "SESSION_MS": "a browser's session without a request; one with less than half of it left is renewed by use",
    "STORE_WAIT_MS": "how long a request waits for the database before 503",
    "SQLITE_BUSY_MS": "how long a process waits for another one's write on SQLite",
    "SQLITE_READERS": "reading threads on SQLite",
    "POSTGRES_POOL": "default of the setting `postgres_pool`",
    "NOTIFY_COALESCE_MS": "hints to other processes are gathered for so long",
    "NOTIFY_BYTES_MAX": "one PostgreSQL notification; longer deltas do not cross processes",
    "ERROR_CHARS_MAX": "the message of an error in the journal",
}

SCOPES: Final = {
    "public": "nothing is needed; no key carries it",
    "authenticated": "every key carries it: it takes nothing but to be known",
    "info:read": "what this server is",
    "agents:read": "which agents there are, and what they can do",
    "agents:write": "switching agents off and on",
    "threads:read": "threads and their messages",
    "threads:write": "making, changing and deleting threads",
    "runs:read": "runs, steps, prompts, events; replaying a run, and taking it out as a file",
    "runs:write": "starting, cancelling and retrying runs",
    "approvals:read": "questions, and what led to them",
    "approvals:write": "answering questions, as far as each one lets",
    "effects:read": "the ledger of side effects",
    "effects:write": "saying what became of an effect of which nobody knows",
    "events:write": "sending events that runs wait for",
    "metrics:read": "Prometheus metrics",
}

# What a request can be answered with besides the code of the class itself.
REQUEST_CODES: Final = {
    "agent_disabled": "The agent is switched off.",
    "already_decided": "You have decided this question; it takes somebody else.",
    "already_resolved": "Somebody was first; `decision` is theirs.",
    "approval_not_found": "There is no approval of this id, or it is another tenant's.",
    "agent_not_found": "There is no agent of this id. As a run's error: its worker no longer has it.",
    "authentication_not_configured": "There is no API key yet, and the request is not a plain local one. `serve` "
    "refuses to listen to others for the same reason.",
    "bad_cursor": "The cursor or event id is not one of this list, or of this run.",
    "cross_site": "A request with a session's cookie, or one that signs in or out, that no page of this server made.",
    "child_depth": "A run would nest too deep.",
    "draining": "The process is stopping; another one, or the next start, will do it.",
    "edit_needs_fork": "A retry goes on with what is recorded: fork the run to change it; the message says how.",
    "edit_not_possible": "The step, or the message, has nothing of that kind to edit, or the edit does not fit it; "
    "`errors` names the edit.",
    "effect_not_found": "There is no effect of this id, or it is another tenant's.",
    "event_conflict": "Another event was sent with this id.",
    "expired": "The question was not answered in time.",
    "external_id_taken": "Another thread or run has this `external_id`.",
    "fork_depth": "Forks nest too deep.",
    "four_eyes": "Who led to the call, or changed it, may not be the one who approves it.",
    "has_branches": "Other threads read this one: say with `branches` whether they are deleted too or keep what they "
    "read.",
    "idempotency_conflict": "The `Idempotency-Key` was used with another body.",
    "imported": "The run came out of a file: it is not retried, and a fork of it only simulates or denies effects.",
    "internal_error": "A bug of ours. The server's log has the reason, under the `request_id`.",
    "invalid_api_key": "The key is wrong, expired or revoked.",
    "invalid_at": "The run has no such step: `at` is from 0, before the first, to its last one.",
    "invalid_answer": "The answer does not fit the question; `errors` names each place.",
    "invalid_arguments": "The changed arguments do not fit the tool; `errors` names each place.",
    "invalid_event": "An event needs a name.",
    "invalid_input": "The input does not fit the agent's input type; `errors` names each place.",
    "invalid_metadata": "The metadata is too large.",
    "invalid_name": "An API key needs a name.",
    "invalid_request": "A parameter or a field does not fit; `errors` names each place.",
    "invalid_session": "The cookie is not a session of this server; it is dropped. Sign in again.",
    "invalid_scope": "An API key was asked for with a scope that does not exist.",
    "invalid_tags": "Too many tags.",
    "invalid_time": "A time given in Python is not within the years 1 to 9999.",
    "key_not_found": "There is no API key of this id.",
    "malformed_json": "The body is not JSON.",
    "message_not_found": "There is no message of this id in the thread.",
    "method_not_allowed": "The route does not know this method.",
    "moved_on": "A later run of the thread, a parent or a successor has built on this failure: it cannot be retried.",
    "not_failed": "Only a failed run can be retried.",
    "not_started": "The run has not started: there is nothing to fork yet.",
    "not_ready": "`/readyz`: this process cannot serve now; `errors` names each check that failed.",
    "prompt_not_found": "The step asked no model.",
    "no_sandbox": "A live replay needs a tenant in which nothing counts: `HOLDFAST_SANDBOX_TENANT` names it.",
    "replay_failed": "The replay could not be made: its process could not import the target, or ended; or the run that "
    "it made was cancelled.",
    "replay_not_found": "There is no replay of this id, or not of this run. They are kept for 7 days.",
    "bad_request": "The request cannot be read.",
    "route_not_found": "There is no such route.",
    "role_missing": "The question is for people who hold a role that you do not.",
    "run_ended": "The run has ended already, or was asked to stop.",
    "run_not_found": "There is no run of this id, or it is another tenant's.",
    "invalid_state": "A mapping was merged into a published state that is no object. The run sees it, no client does.",
    "state_too_large": "The published state would be larger than it may be. The run sees it, no client does.",
    "session_expired": "The session, or the API key behind it, has ended; the cookie is dropped. Sign in again.",
    "step_not_found": "The run has no step of this number.",
    "store_overloaded": "The database does not keep up.",
    "thread_busy": "The thread is held by a run that has not ended (`on_busy: reject`, or a delete).",
    "thread_empty": "The thread has no run of its own yet: there is no answer to give anew.",
    "thread_hidden": "The thread belongs to a child run and goes with its parent.",
    "thread_not_found": "There is no thread of this id or `external_id`, or it is another tenant's.",
    "transaction_timeout": "A tool's `ctx.tx` took too long and was undone. The tool sees it, no client does.",
    "tool_not_found": "No registered agent has a tool of this name.",
    "unsupported_media_type": "The body has to be `application/json`.",
    "version_conflict": "The question has changed since you looked.",
    "version_not_found": "No worker ever registered this version of the agent.",
    "wrong_decision": "The question takes another kind of decision.",
}

# What `run.error.code` can be besides the code of the class itself.
RUN_CODES: Final = {
    "agent_not_found": "The worker that took the run up no longer has its agent.",
    "approval_expired": "A workflow's call needed leave, and nobody gave it in time.",
    "approval_rejected": "Leave for a workflow's call was refused; the message has the note.",
    "ask_rejected": "A question of `ctx.ask` was rejected.",
    "duplicate_effect": "A workflow's call has the `dedupe` key of another one.",
    "fork_denied": "A fork's call was not made, as its `effects` say; of a tool of an agent the model is told.",
    "not_simulated": "A fork of an imported run came to a plain step that was not made there and has no `simulate=`.",
    "effect_changed": "The arguments of a call that may have been made are not those that the code asks for now.",
    "effect_compensated": "The run asks for a call whose effect was undone.",
    "effect_unknown": 'Nobody knows whether a call was made, and its tool says `on_unknown="fail"`.',
    "invalid_arguments": "A workflow called a tool with arguments that do not fit its schema.",
    "result_lost": "A call was made, but what came of it could not be recorded. It is not made again.",
    "tool_error": "A workflow's tool raised an exception.",
    "tool_timeout": "A workflow's tool gave no result within its timeout.",
    "version_changed": 'The agent\'s definition changed under the run, and it says `on_version_change="fail"`.',
    "journal_full": "The journal holds as many steps as it may. Use `ctx.restart` for longer work.",
    "limit_steps": "`steps_max` is reached.",
    "limit_tool_calls": "`tool_calls_max` is reached.",
    "limit_tokens": "`tokens_max` is reached.",
    "limit_cost_micros": "`cost_micros_max` is reached.",
    "limit_active_ms": "`active_ms_max` is reached: one claim of the run was at work for so long.",
    "limit_deadline": "The calendar deadline passed.",
    "poisoned": "Five workers in a row died while they ran this run, without any progress between.",
    "step_timeout": "A step's last try took longer than its timeout.",
    "step_result_mismatch": "What a step recorded does not fit its return type (any more).",
    "threads_exhausted": "Too many sync calls never returned; the worker starts no more threads.",
    "tool_disabled": "A workflow's step called a tool that is switched off.",
    "tool_retries_exhausted": "The model called one tool wrongly too often in a row.",
}

# What a failed tool step says; the model is told, and the run goes on.
TOOL_CODES: Final = {
    "unknown_tool": ("The model called a tool that there is not.", True),
    "invalid_arguments": ("The arguments do not fit the tool's schema.", True),
    "tool_retry": ("The tool raised `ModelRetry`.", True),
    "handoff_refused": ("A second hand-off in one answer, or one beyond the limit.", True),
    "tool_error": ("The tool raised anything else.", False),
    "tool_disabled": ("The tool is switched off.", False),
    "tool_denied": ("A policy forbids the call.", False),
    "approval_rejected": ("Leave was refused; the model is told the note.", False),
    "approval_expired": ("Nobody gave leave in time.", False),
    "duplicate_effect": ("Another call has the same `dedupe` key.", False),
    "not_done": ("The tool raised `NotDone`.", False),
    "effect_unknown": ('Nobody knows whether it was done, and the tool says `on_unknown="fail"`.', False),
    "result_lost": ("It was done, but what came of it could not be recorded. It is not done again.", False),
    "tool_timeout": ("The tool gave no result within its timeout.", False),
    "not_encodable": ("The result cannot be stored as JSON.", False),
    "child_failed": ("An agent used as a tool did not succeed.", False),
    "output_invalid": ("The output that the model gave does not fit; counted against `output_retries`.", False),
}

MODEL_CODES: Final = {
    "model_rate_limited": "Too many requests (429).",
    "model_overloaded": "The provider is overloaded (503, 529).",
    "model_server_error": "The provider failed (5xx).",
    "model_connection": "No connection, or it broke, or a stream ended before the answer did.",
    "model_timeout": "No answer in time.",
    "model_auth": "The key is wrong or may not use the model (401, 403).",
    "model_rejected": "The provider refuses the request as it is, or its content filter does.",
    "model_not_found": "The provider has no such model (404).",
    "model_context_window": "The prompt is too long for the model.",
    "model_quota": "The account's money or quota is used up.",
    "model_bad_response": "An answer that arrived whole but cannot be read.",
    "model_misconfigured": "A key or an address is missing; nothing was sent.",
}

# (when, fields of data; a trailing ? is one that is not always there)
EVENTS: Final[dict[str, tuple[str, str]]] = {
    "run.queued": ("the run is stored", "input"),
    "run.forked": (
        "the run goes on from a step of another one; a fork's stream begins with it, unless the input is its own",
        "run_id at kept edits effects",
    ),
    "run.started": ("a worker took it up for the first time", "worker"),
    "run.waiting": ("it parked; nothing of it is in memory", "waiting_on"),
    "run.resumed": ("a worker took it up again", "worker"),
    "run.recovered": (
        "the same, after the worker before was lost; forget what was shown of the messages in `void`",
        "worker lapses void",
    ),
    "run.succeeded": ("it ended; `successor` is the run that `ctx.restart` began", "output successor?"),
    "run.failed": ("it ended; see [errors](errors.md)", "error"),
    "run.cancelled": ("it ended because somebody asked for it", "reason"),
    "run.retried": (
        "it was queued again after it had failed; `edits` are the instructions or the model from there on",
        "voids edits?",
    ),
    "run.compensating": (
        "before it ends as `status` says, what it did is undone",
        "status error? reason?",
    ),
    "run.version_changed": (
        "the agent's definition is another one than before; `changed` lists what differs as `{path, old, new}`, and is "
        "null if a definition is not known any more",
        "agent from to changed",
    ),
    "step.opened": (
        "a sleep, a child or a wait for an event began; `due_at` for a sleep, `agent` and `child_run_id` for a child, "
        "`event` and `event_key` for an event",
        "key kind name attempt due_at? agent? child_run_id? event? event_key?",
    ),
    "step.completed": (
        "a step of a workflow, or a recorded value, is there",
        "seq key kind name attempt status output started_at ended_at message_id? role?",
    ),
    "step.failed": (
        "a step failed after its last try",
        "seq key kind name attempt status error started_at ended_at message_id? role?",
    ),
    "message.started": (
        "a streamed message begins; forget what was shown of those in `voids`",
        "message_id key voids",
    ),
    "message.completed": (
        "a model's answer, whole",
        "seq key kind name attempt status parts usage started_at ended_at message_id? role?",
    ),
    "tool.started": (
        "a tool that may change something is about to run",
        "key kind name attempt effect_id? effect_class?",
    ),
    "tool.completed": (
        "a tool call, or a hand-off, has its result; `error` instead of `result` when it failed",
        "seq key kind name attempt status call_id result? error? started_at ended_at message_id? role?",
    ),
    "approval.requested": (
        "a question opened: leave for a call, a `ctx.ask`, or the result of an external tool",
        "key kind name attempt approval_id type message reason tool group expires_ms effect_id?",
    ),
    "approval.changed": (
        "a decision that was not the last one, or others are asked now",
        "key kind name attempt approval_id type status version note decided_by escalated",
    ),
    "approval.resolved": (
        "a question is closed; `status` is the approval's",
        "seq key kind name attempt approval_id type status version note decided_by answer? arguments_hash? demand? "
        "arguments? edited_by? started_at ended_at message_id? role?",
    ),
    "effect.unknown": (
        "nobody knows whether a call was made: a question what became of it opened",
        "key kind name attempt approval_id effect_id type message reason tool group expires_ms",
    ),
    "custom": ("`ctx.emit`", "name data"),
    "state.changed": (
        "the run published a new version of its thread's state; `patch` is RFC 6902, and replaces the whole document "
        "now and then",
        "seq key kind name attempt status version patch started_at ended_at message_id? role?",
    ),
    "message.delta": (
        "a piece of a message under way; `kind` is `text`, `thinking` or `tool_call`; `piece` counts them from 0",
        "message_id part kind text piece",
    ),
    "step.started": ("a step begins to run, if somebody listens as it does", "key kind name"),
}

# Fields of the API's objects that their schema says nothing about.
MEMBERS: Final = {
    "Agent.compensate": "On which ends of a run what it did is undone: some of `failure` and `cancel`.",
    "Context.info": "Who and what this run is: see `RunInfo`.",
    "ToolContext.run_id": "The run's id, `run_…`.",
    "ToolContext.thread_id": "Its thread's, `thr_…`.",
    "ToolContext.tenant_id": "Whose it is.",
    "ToolContext.principal_id": "For whom it acts.",
    "TurnInfo.run": "The workflow's context: steps, recorded time, events.",
    "TurnInfo.agent": "The id of the agent that acts now.",
    "TurnInfo.model_calls": "How many model calls of the run are done.",
}

FIELDS: Final[dict[str, dict[str, str]]] = {
    "StartIn": {
        "agent": "the id of the agent; the only field that is needed",
        "thread_id": "an existing thread to run in",
        "thread": "`{external_id, create?}`: a thread by your own id; with `create: true` it is made if there is none",
        "external_id": "your own id for the run, unique per tenant",
        "metadata": "anything of yours; shown as `ctx.info.metadata` to the code",
        "tags": "to filter lists by",
        "on_busy": "what to do when the thread is held; see [threads](../howto/threads-and-busy.md)",
        "start_after": "not before this time; then it queues",
        "limits": "caps of this run; what is absent is the agent's",
    },
    "LimitsIn": {
        "steps_max": "steps of all kinds",
        "tool_calls_max": "tool calls",
        "tokens_max": "input and output tokens of all model calls together",
        "cost_micros_max": "millionths of a US dollar, for models whose price is known",
        "active_ms_max": "milliseconds that one claim of the run may be at work; waiting for long does not count",
    },
    "RunOut": {
        "id": "`run_…`",
        "external_id": "your own id, as given",
        "tenant_id": "whose it is",
        "thread_id": "the thread it runs in",
        "root_id": "the run at the top of the tree; itself if it is nobody's child",
        "parent": "`{run_id, step}` of the run that started it with `ctx.call`",
        "forked_from": "of a fork, the run and the step that it was asked to leave: `{run_id, at}`",
        "imported": "it came out of a file: it is looked at, replayed and forked, never resumed",
        "agent": "who was asked",
        "acting_agent": "who acts now, or acted last; another one after a hand-off",
        "agent_version": "the fingerprint of the agent that runs it",
        "initiator": "the principal that started it, or its parent",
        "status": "see [the life of a run](#the-life-of-a-run)",
        "input": "as the agent accepted it",
        "output": "of a run that succeeded; text, or JSON of the declared type",
        "error": "why it failed",
        "waiting_on": "what it waits for, and what the runs below it ask",
        "start_after": "as given",
        "wake_at": "when the next timer of a waiting run is due",
        "cancel_requested_at": "when somebody asked it to stop",
        "cancel_reason": "why, in their words",
        "deadline": "as given in `limits`",
        "limits": "as given; the agent's own are not repeated",
        "on_busy_applied": "what was done about a held thread; null if it was free",
        "metadata": "as given",
        "tags": "as given",
        "trace_id": "32 hex digits, in the form that OpenTelemetry uses",
        "usage": "of all its model calls; children count their own",
        "steps": "how many are recorded",
        "attempt": "rises each time a worker takes the run up, and each time it is taken from one; 1 if all went well",
        "created_at": "when it was stored",
        "started_at": "when a worker took it up for the first time",
        "ended_at": "when it ended",
    },
    "RunErrorOut": {
        "code": "see [errors](errors.md#what-a-run-fails-with)",
        "message": "one or two sentences for people",
        "step": "the key of the step at which it failed",
        "retryable": "whether `retry` makes sense",
        "details": "what else is known",
    },
    "WaitOut": {
        "type": "what kind of thing it is",
        "id": "the approval's (also of `ask` and `effect`), the run's or the agent's id, the name of an event, or the "
        "key of the sleep",
        "step": "the step that waits",
        "due_at": "when a timer is due, or the wait for an event is over",
    },
    "UsageOut": {
        "requests": "model calls",
        "input_tokens": "cached ones included",
        "output_tokens": "thinking included",
        "cost_micros": "millionths of a US dollar",
        "priced": "false if a call had no known price; the cost is then a lower bound",
    },
    "StepOut": {
        "run_id": "whose step it is",
        "seq": "its number, dense from 1",
        "pos": "its place among all entries; the id of its event",
        "key": "how the code finds it again",
        "kind": "what kind of step it is",
        "name": "as the code named it",
        "attempt": "rises when `retry` has voided it",
        "status": "`voided`: a retry declared it void",
        "input_digest": "stands for its arguments",
        "error": "`{code, message, error_type, details}` if it failed",
        "usage": "of a model step",
        "effect": "`{id, effect_class, status, idempotency_key, attempt}` of a tool's step that is in the ledger",
        "started_at": "when its body began",
        "ended_at": "when it was done",
        "output": "what it recorded; left out in lists",
    },
    "ThreadOut": {
        "id": "`thr_…`",
        "external_id": "your own id, as given",
        "title": "as given",
        "preview": "the first words of what its first run was asked, in one line, for a list of threads without titles",
        "metadata": "as given",
        "status": "`busy` or `waiting` as its head is; `error` if the last run failed; else `idle`",
        "head_run_id": "the run that holds it or, when idle, the one that ended last",
        "waiting_on": "what the head waits for",
        "branch_of": "of a branch, where it leaves another thread: `{thread_id, run_id, at}`",
        "created_by": "the principal",
        "created_at": "when it was made",
        "updated_at": "when its title or metadata changed last",
    },
    "MessageOut": {
        "id": "`msg_…`",
        "thread_id": "where it stands",
        "run_id": "which run wrote it",
        "step_seq": "the step that recorded it; null for an input or an output",
        "position": "its place in the thread, from 1",
        "role": "who says it",
        "parts": "see [messages](#messages)",
        "status": "`void`: rolled back, and shown to no model",
        "created_at": "when it was recorded",
    },
    "AgentOut": {
        "id": "as declared",
        "kind": "a native agent or a workflow",
        "version": "the fingerprint of its definition",
        "enabled": "the kill switch",
        "workers": "how many live workers can run it",
        "name": "for people",
        "description": "for people and for models",
        "metadata": "as declared",
        "model": "as named; null for a workflow",
        "instructions": "the plain texts among them",
        "tools": "`{name, description, schema, effect, policy, external, timeout_ms, enabled}` each",
        "handoffs": "ids of agents that it may hand over to",
        "input_schema": "JSON schema of a run's `input`",
        "output_schema": "JSON schema of its `output`",
        "updated_at": "when a worker registered it last",
    },
    "ResolveIn": {
        "decision": "`approve` or `reject` for leave, `answer` or `reject` for an ask or an external result, `answer` "
        "for an effect",
        "answer": "what the question asks for; for an effect `{outcome, result?}`",
        "note": "shown to the model, and kept",
        "version": "refuse unless the question is as it was when you looked",
    },
    "ApprovalOut": {
        "id": "`apr_…`",
        "type": "leave for a tool's call, a `ctx.ask`, the result of an external tool, or what became of an effect",
        "status": "`cancelled`: its run ended first",
        "version": "rises with each change",
        "group": "questions of one group wake their run together",
        "run_id": "the run that asks",
        "root_run_id": "the run at the top of its tree",
        "thread_id": "its thread",
        "step": "the key of the question's step",
        "agent": "who acts",
        "tool": "whose call it is about",
        "effect_id": "the effect it is about",
        "arguments": "of the call, as they will be used; `ctx.ask` has none",
        "arguments_hash": "SHA-256 of them in canonical form (RFC 8785); a decision is about exactly these",
        "schema": "JSON schema of the arguments, or of the answer",
        "choices": "the answer is one of these",
        "default": "the answer if nobody gives one in time",
        "answer": "as given",
        "reason": "why leave is asked",
        "message": "the question in words",
        "requested_by": "the principal for whom it is asked",
        "requested_by_name": "what they are called, if they are known",
        "may_decide": "who decides holds a role of each; empty: everybody with the scope",
        "quorum": "how many different people have to approve",
        "four_eyes": "nobody who led to the call, or changed it, may approve it",
        "decisions": "in the order in which they were made",
        "expires_at": "until when it can be answered",
        "on_expiry": "what happens then",
        "escalated": "whether it has been asked of others once more",
        "created_at": "when it was asked",
        "resolved_at": "when it was closed",
    },
    "DecisionOut": {
        "principal": "who; null for what expiry decided",
        "name": "their name",
        "decision": "what they said",
        "arguments": "if they changed them",
        "answer": "if they gave one",
        "note": "as given",
        "void": "it was about other arguments, and does not count any more",
        "at": "when",
    },
    "OutcomeIn": {
        "outcome": "it was done, or it was not: then it is done now, under a new idempotency key",
        "note": "kept",
    },
    "EffectOut": {
        "id": "`eff_…`",
        "run_id": "whose call it is",
        "run_ended": "whether that run has ended; then a resolution resumes nothing",
        "step": "the key of the call's step",
        "agent": "who acted",
        "tool": "what was called",
        "effect_class": "what the tool promises",
        "version": "of the tool",
        "status": "see [the ledger](#effects)",
        "arguments": "of the call",
        "arguments_hash": "SHA-256 of them in canonical form (RFC 8785)",
        "idempotency_key": "what the provider was given",
        "attempt": "how often it was started",
        "provider_ref": "what the tool noted with `ctx.record_ref`",
        "planned_at": "when it was chosen",
        "started_at": "when it was started last",
        "deadline": "when its call is over at the latest",
        "ended_at": "when it was known what became of it",
        "error": "why it failed, or what was said of it",
        "duplicate_of": "the effect that holds its `dedupe` key",
        "compensates": "the effect that this one undoes",
    },
    "EventIn": {
        "name": "as in `ctx.wait_event(name)`",
        "key": "as in `ctx.wait_event(name, key=…)`",
        "data": "what the wait gives",
        "id": "your own id: sent again, it is the same event",
    },
    "EventOut": {
        "id": "`evt_…`",
        "name": "as given",
        "key": "as given",
        "external_id": "your own id, as given",
        "data": "as given",
        "created_at": "when it was stored",
    },
    "PromptOut": {
        "model": "as named",
        "instructions": "as sent",
        "messages": "as the model library has them, oldest first",
        "tools": "with their schemas",
        "output": "which output was asked for, and how",
        "settings": "as sent",
    },
    "Problem": {
        "type": "always `about:blank`",
        "title": "the status in words",
        "status": "the HTTP status",
        "detail": "what is wrong, and often what to do",
        "code": "stable; see [errors](errors.md)",
        "request_id": "yours (`X-Request-Id`), or one of ours; it stands in the server's log",
        "errors": "`{loc, msg}` for each place, where places can be named",
        "decision": "with `already_resolved`: the [decision](#decisions) that stands; null if nobody had to decide",
    },
}

# --- pieces ----------------------------------------------------------------------------------------------------------


class Stale(Exception):
    """Code and the meanings here do not speak of the same things."""


def agree(what: str, found: Iterable[str], told: Iterable[str]) -> None:
    missing, gone = set(found) - set(told), set(told) - set(found)
    if missing or gone:
        raise Stale(f"{what}: say what these mean in docs/generate.py: {sorted(missing)}; gone: {sorted(gone)}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def code(text: object) -> str:
    return f"`{text}`"


def first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").split("\n\n", 1)[0].replace("\n", " ")


def own_doc(cls: type) -> str:
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "").split("\n\n", 1)[0].replace("\n", " ")


# --- settings and limits ---------------------------------------------------------------------------------------------


def settings() -> str:
    from holdfast.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "none" if default in (None, "") else f"{default:,}" if type(default) is int else str(default)
        rows.append(
            (code(f"HOLDFAST_{name.upper()}"), code(name), code(shown), _bounds(field), field.description or "")
        )
        if not field.description:
            raise Stale(f"The setting {name} has no description.")
    return table(("variable", "in code", "default", "values", "what it is"), rows)


def _bounds(field: Any) -> str:
    if typing.get_origin(field.annotation) is typing.Literal:
        return " or ".join(code(v) for v in typing.get_args(field.annotation))
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    if low is not None or high is not None:
        return f"{low:,} to {high:,}"
    return {bool: "`true` or `false`", str: "text"}.get(field.annotation, "text")


def limits() -> str:
    """One table per group; groups are the comments of the module."""
    from holdfast.domain import limits as module

    groups: list[tuple[str, list[str]]] = []
    for line in inspect.getsource(module).splitlines():
        if line.startswith("# "):
            groups.append((line[2:], []))
        elif found := re.match(r"([A-Z][A-Z_]+):", line):
            groups[-1][1].append(found[1])
    agree("limits", [name for _, names in groups for name in names], LIMITS)
    parts = []
    for title, names in groups:
        rows = [(code(name), _amount(name, getattr(module, name)), LIMITS[name]) for name in names]
        parts.append(f"### {title.capitalize()}\n\n" + table(("limit", "value", "of what"), rows))
    return "\n" + "\n".join(parts)


def _amount(name: str, value: int) -> str:
    if "_BYTES" in name:
        return (
            f"{value // 1024**2} MiB"
            if value % 1024**2 == 0
            else f"{value // 1024} KiB"
            if value % 1024 == 0
            else f"{value:,} bytes"
        )
    if name.endswith("_MS") or "_MS_" in name:
        return _span(value)
    if "_CHARS" in name:
        return f"{value:,} characters"
    if name.endswith("_S") or "_S_" in name:
        return f"{value} s"
    return f"{value:,}"


def _span(ms: int) -> str:
    for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("s", 1_000)):
        if ms % size == 0 and ms >= size:
            count = ms // size
            return f"{count:,} {unit if count != 1 or unit == 's' else unit[:-1]}"
    return f"{ms} ms"


# --- errors ----------------------------------------------------------------------------------------------------------


def _classes() -> list[type]:
    from holdfast.domain import errors

    return [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, BaseException)]


def error_classes() -> str:
    from holdfast.domain.errors import HoldfastError, RunError, Signal
    from holdfast.web import problems

    rows = []
    for cls in _classes():
        if not issubclass(cls, HoldfastError) or issubclass(cls, RunError):
            continue
        status = problems.status_of(cls("x")) if cls is not HoldfastError else 500
        rows.append((code(cls.__name__), code(cls.code), str(status), own_doc(cls)))
    assert Signal is not None
    return table(("class", "code", "HTTP", "meaning"), rows)


def _codes_in(path: Path) -> Iterable[tuple[str, str]]:
    """`(class, code)` of every call that gives an error a code of its own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    yield name, str(keyword.value.value)


def _all_codes() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        if "testing" not in path.parts and "demo" not in path.parts and path.name != "serving.py":
            for cls, one in _codes_in(path):
                found.setdefault(one, set()).add(cls)
    return found


def request_codes() -> str:
    from holdfast.domain import errors
    from holdfast.web import problems

    statuses: dict[str, str] = {
        "internal_error": "500",
        "malformed_json": "400",
        "bad_request": "400",
        "method_not_allowed": "405",
        "not_ready": "503",
        "route_not_found": "404",
        "unsupported_media_type": "415",
        "already_decided": "409",
        "four_eyes": "403",
        "role_missing": "403",
        "invalid_arguments": "422",
    }
    known = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type)}
    for one, names in _all_codes().items():
        classes = [known[n] for n in sorted(names) if n in known]
        for cls in classes:
            if issubclass(cls, errors.HoldfastError) and not issubclass(cls, errors.RunError):
                statuses.setdefault(one, str(problems.status_of(cls("x", code=one))))
    agree("request codes", statuses, REQUEST_CODES)
    rows = sorted((code(one), statuses[one], meaning) for one, meaning in REQUEST_CODES.items())
    return table(("code", "HTTP", "meaning"), rows)


def run_codes() -> str:
    from holdfast.domain.errors import REFUSALS, RunError
    from holdfast.domain.runs import RunLimits

    known = {c.__name__ for c in _classes() if issubclass(c, RunError)}
    found = {one for one, names in _all_codes().items() if names & known and not one.startswith("model_")}
    found |= {f"limit_{f.name.removesuffix('_max')}" for f in fields(RunLimits)}
    found |= {"poisoned", "limit_deadline", "ask_rejected", *REFUSALS}
    classes = [c for c in _classes() if issubclass(c, RunError)]
    agree("run codes", found - {c.code for c in classes}, RUN_CODES)
    rows = [(code(c.code), own_doc(c)) for c in classes]
    rows += [(code(one), meaning) for one, meaning in RUN_CODES.items()]
    return table(("`error.code`", "meaning"), sorted(rows))


def model_codes() -> str:
    from holdfast.agents import models

    transient = set(models._TRANSIENT)
    found = transient | set(models._BY_PROVIDER_CODE.values()) | set(models._BY_STATUS.values())
    found |= set(models._BY_CLASS.values()) | {"model_rejected", "model_server_error"}
    agree("model codes", found, MODEL_CODES)
    rows = [(code(one), "yes" if one in transient else "no", meaning) for one, meaning in MODEL_CODES.items()]
    return table(("code", "tried again", "meaning"), rows)


def tool_codes() -> str:
    from holdfast.agents.native import calls
    from holdfast.domain.errors import REFUSALS

    counted = {one for one, (_, counts) in TOOL_CODES.items() if counts}
    agree("tool codes that count as the model's mistake", calls.RETRIES, counted)
    text = (SOURCE / "agents" / "native" / "calls.py").read_text() + (
        SOURCE / "agents" / "native" / "loop.py"
    ).read_text()
    told = {*re.findall(r'Told\(\s*"(\w+)"', text), *calls.RUNTIME_CODES, *REFUSALS}
    agree("tool codes", told, TOOL_CODES)
    rows = [(code(one), "yes" if counts else "no", said) for one, (said, counts) in TOOL_CODES.items()]
    return table(("code", "counts against `tool_retries`", "meaning"), rows)


# --- events, scopes --------------------------------------------------------------------------------------------------


def _event_rows(types: Iterable[str]) -> str:
    def shown(data: str) -> str:
        return " ".join(code(field) for field in data.split())

    return table(("`event:`", "when", "`data` holds"), [(code(t), EVENTS[t][0], shown(EVENTS[t][1])) for t in types])


def events() -> str:
    from holdfast.domain.journal import EntryType, Ephemeral

    agree("events", [*EntryType, *Ephemeral], EVENTS)
    return _event_rows(t.value for t in EntryType)


def ephemeral_events() -> str:
    from holdfast.domain.journal import Ephemeral

    return _event_rows(t.value for t in Ephemeral)


def scopes() -> str:
    from holdfast.domain.access import Scope

    agree("scopes", [s.value for s in Scope], SCOPES)
    needing: dict[str, list[str]] = {s.value: [] for s in Scope}
    for method, path, needed, _ in _routes():
        for scope in needed:
            needing[scope].append(code(f"{method} {path}"))
    rows = [(code(s.value), SCOPES[s.value], ", ".join(needing[s.value]) or "none") for s in Scope]
    return table(("scope", "what it allows", "routes"), rows)


# --- HTTP ------------------------------------------------------------------------------------------------------------


@functools.cache
def _app() -> Any:
    from holdfast import Holdfast, Settings

    return Holdfast(settings=Settings(database="sqlite:////tmp/never-opened.db", pepper="x")).app


def _routes() -> list[tuple[str, str, list[str], str]]:
    """`(method, path, scopes, summary)` of every route of the API."""
    from holdfast.web import api

    found: list[tuple[str, str, list[str], str]] = []
    for route in api.routes_of(_app()):
        scopes = [scope.value for scope in api.scopes_of(route)]
        if not scopes:
            raise Stale(f"{route.path} declares no scope.")
        methods = sorted(route.methods - {"HEAD"})  # which goes with GET
        found += [(method, route.path, scopes, first_line(route.endpoint)) for method in methods]
    return [row for row in found if not row[1].startswith("/docs/")]


def routes() -> str:
    own = {
        "/docs": "A page that shows the whole API, drawn by this server alone.",
        "/openapi.json": "The API as OpenAPI.",
    }
    rows = [
        (code(f"{method} {path}"), " ".join(code(scope) for scope in scopes), said or own[path])
        for method, path, scopes, said in _routes()
    ]
    return table(("route", "scope", "what it does"), rows)


@functools.cache
def _schema() -> dict[str, Any]:
    return _app().openapi()["components"]["schemas"]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1].rsplit("__", 1)[-1].removesuffix("Out").removesuffix("In")
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return " ".join(code(v) for v in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "date-time":
        return "time"
    return {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "object": "object",
        "null": "null",
    }.get(schema.get("type", ""), "any JSON")


def _fields(name: str) -> str:
    schemas = _schema()
    shape = schemas[name]
    told = FIELDS[name]
    undocumented = [f for f, schema in shape["properties"].items() if f not in told and "description" not in schema]
    agree(f"fields of {name}", {*undocumented, *(f for f in told if f in shape["properties"])}, told)
    rows = []
    for field, schema in shape["properties"].items():
        shown = _type(schema)
        if "$ref" in schema and "enum" in schemas.get(schema["$ref"].rsplit("/", 1)[-1], {}):
            shown = _type(schemas[schema["$ref"].rsplit("/", 1)[-1]])
        for option in schema.get("anyOf", ()):
            inner = schemas.get(option.get("$ref", "").rsplit("/", 1)[-1], {})
            if "enum" in inner:
                shown = f"{_type(inner)} or null"
        rows.append((code(field), shown, told.get(field) or schema["description"]))
    return table(("field", "type", "what it is"), rows)


def _object(name: str) -> Callable[[], str]:
    return lambda: _fields(name)


# --- commands --------------------------------------------------------------------------------------------------------


def cli() -> str:
    import typer

    from holdfast.cli import app

    command: Any = typer.main.get_command(app)
    parts = []
    for path, one in _commands(command, ("holdfast",)):
        usage = " ".join([*path, *(_argument(p) for p in one.params if p.param_type_name == "argument")])
        options = [p for p in one.params if p.param_type_name == "option" and not p.hidden and p.name != "help"]
        shown = f"{usage}{' [OPTIONS]' if options else ''}"
        text = f"### {' '.join(path)}\n\n```console\n$ {shown}\n```\n\n{inspect.cleandoc(one.help or '')}\n"
        described = [p for p in one.params if p.param_type_name == "argument"] + options
        if described:
            rows = [(_names(p), _default(p), _plain(getattr(p, "help", "") or "")) for p in described]
            text += "\n" + table(("argument or option", "default", "what it is"), rows)
        parts.append(text)
    return "\n" + "\n".join(parts)


def _commands(command: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, one in command.commands.items():
        if hasattr(one, "commands"):
            yield from _commands(one, (*path, name))
        elif not one.hidden:
            yield (*path, name), one


def _argument(param: Any) -> str:
    shown = (param.metavar or param.name.upper()).strip("[]")
    return shown if param.required else f"[{shown}]"


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return code(_argument(param))
    names = "/".join([*param.opts, *param.secondary_opts])
    return code(names if param.is_flag else f"{names} {param.metavar or _kind(param)}")


def _kind(param: Any) -> str:
    annotation = param.type_descriptor.annotation
    found = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(found)
    inner = next((a for a in found if a is not type(None)), annotation)
    return {int: "N", str: "TEXT", Path: "PATH"}.get(inner, "TEXT")


def _default(param: Any) -> str:
    if param.required or param.default is None or param.param_type_name == "argument":
        return ""
    if param.is_flag and isinstance(param.default, bool):
        return code((param.opts if param.default else param.secondary_opts or ["off"])[0])
    return code(param.default)


def _plain(text: str) -> str:
    return " ".join(text.split())


# --- Python ----------------------------------------------------------------------------------------------------------

PYTHON: Final = (
    ("Serving", ("Holdfast", "Settings")),
    ("Agents", ("Agent", "NativeOutput", "RunLimits", "Retry")),
    ("Tools", ("tool", "Tool", "ToolContext", "ToolReturn", "ModelRetry", "MCPTools")),
    ("Effects and approvals", ("Confirm", "Deny", "Done", "NotDone", "Unknown", "EffectInfo")),
    ("Workflows", ("workflow", "Context", "RunInfo")),
    ("Errors", ("StepFailed", "CallRefused", "NotAnswered", "EventTimedOut", "ChildFailed")),
    ("History", ("All", "LastTurns", "TokenWindow", "Summarise")),
    ("Middleware", ("Middleware", "TurnInfo", "ModelCall", "ToolCall")),
)
WITH_MEMBERS: Final = frozenset({"Holdfast", "Agent", "ToolContext", "Context", "RunInfo", "Middleware", "TurnInfo"})
OF_THE_RUNTIME: Final = frozenset(
    {
        "id",
        "kind",
        "description",
        "durability",
        "on_version_change",
        "default_limits",
        "version",
        "definition",
        "accept",
        "decode_output",
        "related",
        "warm_up",
        "close",
        "run",
        "plan_for",
        "resolved_model",
        "handoff",
        "house",
        "supervisor",
    }
)


def python() -> str:
    import holdfast

    agree("public names", set(holdfast.__all__) - {"__version__"}, [n for _, names in PYTHON for n in names])
    parts = []
    for title, names in PYTHON:
        parts.append(f"## {title}\n")
        parts += [_python_name(name, getattr(holdfast, name)) for name in names]
    return "\n" + "\n".join(parts)


def _python_name(name: str, value: Any) -> str:
    said = _as_markdown(inspect.getdoc(value) or "")
    foreign = not getattr(value, "__module__", "").startswith("holdfast")
    if foreign:
        said = said or ""
        said = {
            "ModelRetry": "Raise it from a tool, or an output validator: the model is told, and tries again.",
            "ToolReturn": "Return it from a tool to give the model more than a value: `ToolReturn(return_value, "
            "content=None, metadata=None)`. `content` is shown to the model beside the result (text, or files); "
            "`metadata` is recorded and not shown.",
        }[name]
    signature = "" if foreign or name in ("Context", "Middleware") else f"\n```\n{_signature(name, value)}\n```\n"
    if name == "Settings":
        signature, said = (
            "",
            "Every setting, as keyword arguments: see [settings](settings.md). Arguments win over the environment.",
        )
    text = f"### {name}\n{signature}\n{said}\n"
    if name in WITH_MEMBERS:
        text += _members(name, value)
    return text


def _signature(name: str, value: Any) -> str:
    parameters = [p for p in inspect.signature(value).parameters.values() if p.name not in ("self", "_ask")]
    shown, starred = [], False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not starred:
            starred = True
            shown.append("*")
        default = "" if p.default is p.empty else f"={_short(p.default)}"
        shown.append(f"{p.name}{default}")
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= 110 else f"{name}(\n    " + ",\n    ".join(shown) + ",\n)"


def _short(default: Any) -> str:
    text = repr(default)
    if type(default).__module__ == "builtins" and len(text) < 40 and "<" not in text:
        return text
    if isinstance(default, enum.Enum):
        return repr(default.value)
    return "…"


def _members(name: str, cls: type) -> str:
    rows = []
    if is_dataclass(cls):
        rows += [(code(f.name), MEMBERS.get(f"{name}.{f.name}", "")) for f in fields(cls) if not f.name.startswith("_")]
        if name == "RunInfo":
            return "\n" + " ".join(code(f.name) for f in fields(cls)) + "\n"
        rows = rows if name == "TurnInfo" else []
    for member, value in vars(cls).items():
        if member.startswith("_") or member in OF_THE_RUNTIME:
            continue
        if isinstance(value, property):
            rows.append((code(member), first_line(value.fget) or MEMBERS[f"{name}.{member}"]))
        elif inspect.isfunction(value):
            rows.append((code(_member_signature(member, value)), first_line(value)))
    if name == "ToolContext":
        rows = [
            (code("key"), "the step's key: the same whenever this call is tried again"),
            (code("attempt"), "the try, from 1"),
            *rows,
        ]
    return "\n" + table(("member", "what it does"), rows) if rows else ""


def _member_signature(name: str, value: Any) -> str:
    shown = []
    for p in list(inspect.signature(value).parameters.values())[1:]:
        star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        shown.append(f"{star}{p.name}" + ("" if p.default is p.empty else f"={_short(p.default)}"))
    return f"{'await ' if inspect.iscoroutinefunction(value) else ''}{name}({', '.join(shown)})"


def _as_markdown(doc: str) -> str:
    """A Google-style docstring: its `Args:` as a list."""
    head, found, rest = doc.partition("\nArgs:\n")
    if not found:
        return doc
    block, _, after = rest.partition("\n\n")
    items: list[str] = []
    for line in block.splitlines():
        if re.match(r"    \w[\w, ]*:", line):
            names, _, said = line.strip().partition(": ")
            items.append(f"- {', '.join(code(n) for n in names.split(', '))}: {said}")
        else:
            items[-1] += " " + line.strip()
    return f"{head.rstrip()}\n\n" + "\n".join(items) + (f"\n\n{after}" if after else "")


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": settings,
    "limits": limits,
    "error classes": error_classes,
    "request codes": request_codes,
    "run codes": run_codes,
    "model codes": model_codes,
    "tool codes": tool_codes,
    "events": events,
    "ephemeral events": ephemeral_events,
    "scopes": scopes,
    "routes": routes,
    "start": _object("StartIn"),
    "limits in": _object("LimitsIn"),
    "run": _object("RunOut"),
    "run error": _object("RunErrorOut"),
    "wait": _object("WaitOut"),
    "usage": _object("UsageOut"),
    "step": _object("StepOut"),
    "thread": _object("ThreadOut"),
    "message": _object("MessageOut"),
    "agent": _object("AgentOut"),
    "resolve": _object("ResolveIn"),
    "approval": _object("ApprovalOut"),
    "decision": _object("DecisionOut"),
    "outcome": _object("OutcomeIn"),
    "effect": _object("EffectOut"),
    "event in": _object("EventIn"),
    "event out": _object("EventOut"),
    "prompt": _object("PromptOut"),
    "problem": _object("Problem"),
    "cli": cli,
    "python": python,
}


@functools.cache
def _table(name: str) -> str:
    return TABLES[name]()


def rewritten(text: str) -> str:
    """The document with its tables as they should be."""

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}{_table(found[2])}{found[3]}"

    return MARKED.sub(fill, text)


def openapi() -> str:
    """The document that the types of the control plane are made of, by `npm run types` in `ui/`."""
    return json.dumps(_app().openapi(), ensure_ascii=False, indent=1) + "\n"


def stale(write: bool = False) -> list[str]:
    """The documents whose tables are not what the code says; with `write` they are mended."""
    wanted = {path: rewritten(path.read_text()) for path in sorted(DOCS.rglob("*.md"))} | {OPENAPI: openapi()}
    found = [path for path, after in wanted.items() if not path.exists() or path.read_text() != after]
    if write:
        for path in found:
            path.write_text(wanted[path])
    return [str(path.relative_to(DOCS.parent)) for path in found]


if __name__ == "__main__":
    checking = "--check" in sys.argv
    changed = stale(write=not checking)
    sys.stdout.write("\n".join(changed or ["Nothing is stale."]) + "\n")
    sys.exit(1 if checking and changed else 0)
