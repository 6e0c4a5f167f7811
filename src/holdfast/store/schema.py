"""The tables, as SQLAlchemy Core. Migrations are proven equal to this file on both databases.

Invariants of every table: `tenant_id` is NOT NULL and leads the primary key; ids are 16 bytes; times are integer
milliseconds UTC; JSON is stored as UTF-8 bytes and never queried by the database.

Foreign keys stand where rows are few (threads, runs, keys). What is written with the journal (`entries`, `messages`,
`blob_refs`, the ledger and the interrupts) has none: a check per row would cost a lookup and, on PostgreSQL, a share
lock on the run's row for each. Those rows are written and deleted only together with their run, by `journal.append`
and `archive.remove`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _id(name: str, *, null: bool = False, key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary(), nullable=null, primary_key=key)


def _col(
    name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]], *, null: bool = False, key: bool = False
) -> Column[Any]:
    return Column(name, kind, nullable=null, primary_key=key, autoincrement=False)


tenants = Table(
    "tenants",
    metadata,
    _id("tenant_id", key=True),
    _col("name", Text),
    _col("created_at", BigInteger),
)

principals = Table(
    "principals",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _col("kind", Text),
    _col("name", Text),
    _col("scopes", LargeBinary),
    _col("created_at", BigInteger),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _id("principal_id"),
    _col("name", Text),
    _col("digest", LargeBinary),
    _col("created_at", BigInteger),
    _col("expires_at", BigInteger, null=True),
    _col("revoked_at", BigInteger, null=True),
    ForeignKeyConstraint(["tenant_id", "principal_id"], ["principals.tenant_id", "principals.id"]),
    Index("ix_api_keys_id", "id", unique=True),
)

agents = Table(
    "agents",
    metadata,
    _id("tenant_id", key=True),
    _col("id", Text, key=True),
    _col("kind", Text),
    _col("version", Text),
    _col("definition", LargeBinary),
    _col("enabled", SmallInteger),
    _col("updated_at", BigInteger),
)

# Every definition of an agent that a worker ever registered, by its version.
agent_versions = Table(
    "agent_versions",
    metadata,
    _id("tenant_id", key=True),
    _col("agent", Text, key=True),
    _col("version", Text, key=True),
    _col("definition", LargeBinary),
    _col("created_at", BigInteger),
)

# The kill switches of tools, by name; a tool without a row is on.
tool_switches = Table(
    "tool_switches",
    metadata,
    _id("tenant_id", key=True),
    _col("name", Text, key=True),
    _col("enabled", SmallInteger),
    _col("updated_at", BigInteger),
)

workers = Table(
    "workers",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _col("agents", LargeBinary),
    _col("host", Text),
    _col("pid", Integer),
    _col("slots", Integer),
    _col("started_at", BigInteger),
    _col("seen_at", BigInteger),
)

threads = Table(
    "threads",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _col("external_id", Text, null=True),
    _col("title", Text, null=True),
    _col("metadata", LargeBinary, null=True),
    _col("hidden", SmallInteger),
    _id("created_by"),
    _col("created_at", BigInteger),
    _col("updated_at", BigInteger),
    _col("last_rank", BigInteger),
    _col("last_ordinal", BigInteger),
    # Of a branch: the thread, the run and the step (`seq`) at which it leaves it.
    _id("branch_thread", null=True),
    _id("branch_run", null=True),
    _col("branch_at", BigInteger, null=True),
    # Deleted while branches read its beginning: nobody sees it any more, and it goes with the last of them.
    _col("archived_at", BigInteger, null=True),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
    Index(
        "ix_threads_branch",
        "tenant_id",
        "branch_thread",
        "id",
        sqlite_where=text("branch_thread IS NOT NULL"),
        postgresql_where=text("branch_thread IS NOT NULL"),
    ),
    Index(
        "ux_threads_external_id",
        "tenant_id",
        "external_id",
        unique=True,
        sqlite_where=text("external_id IS NOT NULL"),
        postgresql_where=text("external_id IS NOT NULL"),
    ),
)

runs = Table(
    "runs",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _id("thread_id"),
    _col("status", Text),
    _col("agent", Text),
    _col("acting_agent", Text),
    _col("agent_version", Text),
    _id("initiator"),
    _id("root_id"),
    _id("parent_id", null=True),
    _col("parent_key", Text, null=True),
    _col("depth", SmallInteger),
    _col("external_id", Text, null=True),
    _col("rank", BigInteger),
    _col("ordinal", BigInteger, null=True),
    _col("input_position", BigInteger, null=True),
    _col("start_after", BigInteger, null=True),
    _col("claimable_at", BigInteger, null=True),
    _col("wake_at", BigInteger, null=True),
    _col("on_busy_applied", Text, null=True),
    _col("rollback", SmallInteger),
    _col("limits", LargeBinary, null=True),
    _col("deadline", BigInteger, null=True),
    _col("metadata", LargeBinary, null=True),
    _col("tags", LargeBinary, null=True),
    _col("waiting_on", LargeBinary, null=True),
    _col("cancel_requested_at", BigInteger, null=True),
    _col("cancel_reason", Text, null=True),
    _col("error", LargeBinary, null=True),
    _col("output_pos", BigInteger, null=True),
    _col("usage_requests", BigInteger),
    _col("usage_input_tokens", BigInteger),
    _col("usage_output_tokens", BigInteger),
    _col("usage_cost_micros", BigInteger),
    _col("usage_priced", SmallInteger),
    _id("trace_id"),
    _col("created_at", BigInteger),
    _col("started_at", BigInteger, null=True),
    _col("ended_at", BigInteger, null=True),
    _id("successor_id", null=True),
    # 1: it is to be undone when it is cancelled, 2: it is being undone, or was.
    _col("compensate", SmallInteger, null=True),
    # Of a fork: the run and the step (`seq`) it was asked to leave, and the run whose first entry is its input.
    _id("forked_run", null=True),
    _col("forked_at", BigInteger, null=True),
    _id("input_run", null=True),
    # 1: its thread is a branch, so messages and entries may have to be looked up in the lineage.
    _col("branch", SmallInteger, null=True),
    # JSON: other instructions or another model; what effects after the fork point do, for children of forks too.
    _col("overrides", LargeBinary, null=True),
    _col("effect_policy", LargeBinary, null=True),
    # 1: it published state. 1: it came out of a file, and is only looked at. 1: it went with its thread (see above).
    _col("has_state", SmallInteger, null=True),
    _col("imported", SmallInteger, null=True),
    _col("archived", SmallInteger, null=True),
    ForeignKeyConstraint(["tenant_id", "thread_id"], ["threads.tenant_id", "threads.id"]),
    Index(
        "ix_runs_forked",
        "tenant_id",
        "forked_run",
        "id",
        sqlite_where=text("forked_run IS NOT NULL"),
        postgresql_where=text("forked_run IS NOT NULL"),
    ),
    Index(
        "ix_runs_thread_state",
        "tenant_id",
        "thread_id",
        "rank",
        sqlite_where=text("has_state IS NOT NULL"),
        postgresql_where=text("has_state IS NOT NULL"),
    ),
    Index("ux_runs_thread_rank", "tenant_id", "thread_id", "rank", unique=True),
    Index(
        "ix_runs_thread_live",
        "tenant_id",
        "thread_id",
        "rank",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    # The database's own guarantee that a thread is held by one run: at most one has started and not ended.
    Index(
        "ux_runs_thread_holder",
        "tenant_id",
        "thread_id",
        unique=True,
        sqlite_where=text("started_at IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=text("started_at IS NOT NULL AND ended_at IS NULL"),
    ),
    Index(
        "ix_runs_claimable",
        "claimable_at",
        "agent",
        sqlite_where=text("claimable_at IS NOT NULL"),
        postgresql_where=text("claimable_at IS NOT NULL"),
    ),
    Index(
        "ix_runs_wake_at",
        "wake_at",
        sqlite_where=text("wake_at IS NOT NULL"),
        postgresql_where=text("wake_at IS NOT NULL"),
    ),
    Index(
        "ix_runs_deadline",
        "deadline",
        sqlite_where=text("deadline IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=text("deadline IS NOT NULL AND ended_at IS NULL"),
    ),
    Index("ix_runs_status", "tenant_id", "status", "id"),
    Index("ix_runs_agent", "tenant_id", "agent", "status", "id"),
    # Lists by who started a run, and by version, and of forks and of what was imported: these may be rare rows, which a
    # walk over all runs would look for long.
    Index("ix_runs_initiator", "tenant_id", "initiator", "id"),
    Index("ix_runs_version", "tenant_id", "agent_version", "id"),
    Index(
        "ix_runs_forks",
        "tenant_id",
        "id",
        sqlite_where=text("forked_run IS NOT NULL"),
        postgresql_where=text("forked_run IS NOT NULL"),
    ),
    Index(
        "ix_runs_imported",
        "tenant_id",
        "id",
        sqlite_where=text("imported IS NOT NULL"),
        postgresql_where=text("imported IS NOT NULL"),
    ),
    Index(
        "ix_runs_parent",
        "tenant_id",
        "parent_id",
        "id",
        sqlite_where=text("parent_id IS NOT NULL"),
        postgresql_where=text("parent_id IS NOT NULL"),
    ),
    Index(
        "ux_runs_external_id",
        "tenant_id",
        "external_id",
        unique=True,
        sqlite_where=text("external_id IS NOT NULL"),
        postgresql_where=text("external_id IS NOT NULL"),
    ),
)

run_tags = Table(
    "run_tags",
    metadata,
    _id("tenant_id", key=True),
    _col("tag", Text, key=True),
    _id("run_id", key=True),
    sqlite_with_rowid=False,
)

# Narrow and hot. No index on lease_until: on PostgreSQL that keeps its updates in place (HOT).
run_heads = Table(
    "run_heads",
    metadata,
    _id("tenant_id", key=True),
    _id("run_id", key=True),
    _col("epoch", BigInteger),
    _col("pos", BigInteger),
    _col("seq", BigInteger),
    _id("owner", null=True),
    _col("lease_until", BigInteger, null=True),
    _col("lapses", SmallInteger),
    _col("cancel", SmallInteger),
    Index(
        "ix_run_heads_owned",
        "tenant_id",
        "run_id",
        sqlite_where=text("owner IS NOT NULL"),
        postgresql_where=text("owner IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 70},
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    _id("tenant_id", key=True),
    _id("run_id", key=True),
    _col("pos", BigInteger, key=True),
    _col("type", Text),
    _col("at", BigInteger),
    _col("epoch", BigInteger),
    _col("seq", BigInteger, null=True),
    _col("phase", Text, null=True),
    _col("key", Text, null=True),
    _col("kind", Text, null=True),
    _col("name", Text, null=True),
    _col("attempt", Integer, null=True),
    _col("tries", Integer, null=True),
    _col("status", Text, null=True),
    _col("digest", LargeBinary, null=True),
    _col("payload", LargeBinary, null=True),
    _col("payload_blob", LargeBinary, null=True),
    _col("error", LargeBinary, null=True),
    _col("prompt", LargeBinary, null=True),
    _col("usage_requests", BigInteger, null=True),
    _col("usage_input_tokens", BigInteger, null=True),
    _col("usage_output_tokens", BigInteger, null=True),
    _col("usage_cost_micros", BigInteger, null=True),
    _col("usage_priced", SmallInteger, null=True),
    _col("price_version", Text, null=True),
    _col("started_at", BigInteger, null=True),
    _col("ended_at", BigInteger, null=True),
    # The state at any step is read from the last few of these.
    Index(
        "ix_entries_state",
        "tenant_id",
        "run_id",
        "pos",
        sqlite_where=text("kind = 'state'"),
        postgresql_where=text("kind = 'state'"),
    ),
    # Repeating an append is harmless. Entries of the run's life have no key and stay out of the index.
    Index(
        "ux_entries_key",
        "tenant_id",
        "run_id",
        "key",
        "phase",
        "attempt",
        unique=True,
        sqlite_where=text("key IS NOT NULL"),
        postgresql_where=text("key IS NOT NULL"),
    ),
    # Rare entries that every look at a run's steps has to know of.
    Index(
        "ix_entries_retried",
        "tenant_id",
        "run_id",
        sqlite_where=text("type = 'run.retried'"),
        postgresql_where=text("type = 'run.retried'"),
    ),
)

# The ledger: one row per side-effecting tool call, found by its run and step key. Written under the run's head.
effects = Table(
    "effects",
    metadata,
    _id("tenant_id", key=True),
    _id("run_id", key=True),
    _col("key", Text, key=True),
    _id("id"),
    _col("tool", Text),
    _col("agent", Text),
    _col("effect_class", Text),
    _col("version", Text),
    _col("status", Text),
    _col("arguments", LargeBinary),
    _col("arguments_hash", LargeBinary),
    _col("idempotency_key", Text),
    _col("rotation", SmallInteger),
    _col("attempt", Integer),
    _col("business_key", Text, null=True),
    _id("duplicate_of", null=True),
    _id("compensates", null=True),
    _col("provider_ref", Text, null=True),
    _col("epoch", BigInteger),
    _col("planned_at", BigInteger),
    _col("started_at", BigInteger, null=True),
    _col("deadline", BigInteger, null=True),
    _col("ended_at", BigInteger, null=True),
    _col("error", LargeBinary, null=True),
    Index("ux_effects_id", "tenant_id", "id", unique=True),
    # The status is named, or SQLite without statistics takes ux_effects_id and reads the whole ledger for them.
    Index(
        "ix_effects_unknown",
        "tenant_id",
        "status",
        "id",
        sqlite_where=text("status = 'unknown'"),
        postgresql_where=text("status = 'unknown'"),
    ),
    postgresql_with={"fillfactor": 80},
)

# Who holds a business key of a tool (`dedupe=`): at most one effect, until it fails, is given up or its time is over.
business_keys = Table(
    "business_keys",
    metadata,
    _id("tenant_id", key=True),
    _col("tool", Text, key=True),
    _col("business_key", Text, key=True),
    _id("run_id"),
    _col("key", Text),
    _id("effect_id"),
    _col("ttl_ms", BigInteger, null=True),
    _col("expires_at", BigInteger, null=True),
    Index("ix_business_keys_run", "tenant_id", "run_id"),
)

# Interrupts of every type. Decisions and demands are JSON: they are read with the row and never searched.
approvals = Table(
    "approvals",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _col("type", Text),
    _col("status", Text),
    _col("version", Integer),
    _id("run_id"),
    _id("root_id"),
    _id("thread_id"),
    _col("agent", Text),
    _col("tool", Text, null=True),
    _col("key", Text),
    _col("group_key", Text),
    _col("attempt", Integer),
    _id("effect_id", null=True),
    _col("message", Text),
    _col("reason", Text, null=True),
    _col("arguments", LargeBinary, null=True),
    _col("arguments_hash", LargeBinary, null=True),
    _col("schema", LargeBinary, null=True),
    _col("choices", LargeBinary, null=True),
    _col("default_answer", LargeBinary, null=True),
    _id("requested_by"),
    _col("chain", LargeBinary),
    _col("demand", LargeBinary),
    _col("decisions", LargeBinary),
    _col("answer", LargeBinary, null=True),
    _col("escalated", SmallInteger),
    _col("expires_at", BigInteger, null=True),
    _col("created_at", BigInteger),
    _col("resolved_at", BigInteger, null=True),
    _col("usable_until", BigInteger, null=True),
    _col("used_at", BigInteger, null=True),
    Index("ux_approvals_key", "tenant_id", "run_id", "key", "attempt", unique=True),
    Index("ix_approvals_status", "tenant_id", "status", "created_at", "id"),
    # What was decided, in the order in which it was; and what was asked about an effect.
    Index(
        "ix_approvals_resolved",
        "tenant_id",
        "status",
        "resolved_at",
        "id",
        sqlite_where=text("resolved_at IS NOT NULL"),
        postgresql_where=text("resolved_at IS NOT NULL"),
    ),
    Index(
        "ix_approvals_effect",
        "tenant_id",
        "effect_id",
        sqlite_where=text("effect_id IS NOT NULL"),
        postgresql_where=text("effect_id IS NOT NULL"),
    ),
    Index(
        "ix_approvals_open",
        "tenant_id",
        "run_id",
        "group_key",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
    Index(
        "ix_approvals_expires_at",
        "expires_at",
        sqlite_where=text("status = 'pending' AND expires_at IS NOT NULL"),
        postgresql_where=text("status = 'pending' AND expires_at IS NOT NULL"),
    ),
)

# Events from outside that runs wait for. `key` is '' for an event without one; `seq` orders those of one name and key.
awaited_events = Table(
    "awaited_events",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _col("external_id", Text, null=True),
    _col("name", Text),
    _col("key", Text),
    _col("data", LargeBinary, null=True),
    _id("sent_by"),
    _col("seq", BigInteger),
    _col("created_at", BigInteger),
    Index("ux_awaited_events_seq", "tenant_id", "name", "key", "seq", unique=True),
    Index(
        "ux_awaited_events_external_id",
        "tenant_id",
        "external_id",
        unique=True,
        sqlite_where=text("external_id IS NOT NULL"),
        postgresql_where=text("external_id IS NOT NULL"),
    ),
    Index("ix_awaited_events_created_at", "created_at"),
)

# Open waits for such events, and which a run has taken: each run takes an event once.
event_waits = Table(
    "event_waits",
    metadata,
    _id("tenant_id", key=True),
    _id("run_id", key=True),
    _col("step_key", Text, key=True),
    _col("name", Text),
    _col("key", Text),
    Index("ix_event_waits_name", "tenant_id", "name", "key"),
)

event_uses = Table(
    "event_uses",
    metadata,
    _id("tenant_id", key=True),
    _id("run_id", key=True),
    _id("event_id", key=True),
    sqlite_with_rowid=False,
)

# Where a branch reads what it did not write itself: of the thread `source_id` the messages up to `last`, and of those
# that stand from the `first` on only the ones of `run_id` up to its entry `pos`. `ord` counts from the root.
thread_lineage = Table(
    "thread_lineage",
    metadata,
    _id("tenant_id", key=True),
    _id("thread_id", key=True),
    _col("ord", Integer, key=True),
    _id("source_id"),
    _id("run_id"),
    _col("first", BigInteger),
    _col("pos", BigInteger),
    _col("last", BigInteger),
    Index("ix_thread_lineage_source", "tenant_id", "source_id"),
    sqlite_with_rowid=False,
)

# Where a fork reads the steps that it did not make itself: the entries of `source_id`, a run of `source_thread_id`,
# behind the piece before and up to `pos`; the last of its steps is `seq`.
run_lineage = Table(
    "run_lineage",
    metadata,
    _id("tenant_id", key=True),
    _id("run_id", key=True),
    _col("ord", Integer, key=True),
    _id("source_id"),
    _id("source_thread_id"),
    _col("pos", BigInteger),
    _col("seq", BigInteger),
    Index("ix_run_lineage_source", "tenant_id", "source_id"),
    sqlite_with_rowid=False,
)

messages = Table(
    "messages",
    metadata,
    _id("tenant_id", key=True),
    _id("thread_id", key=True),
    _col("position", BigInteger, key=True),
    _id("id"),
    _id("run_id"),
    _col("pos", BigInteger),
    _col("role", Text),
    _col("void", SmallInteger),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    _id("tenant_id", key=True),
    _col("hash", LargeBinary, key=True),
    _col("data", LargeBinary),
    _col("touched_at", BigInteger),
)

blob_refs = Table(
    "blob_refs",
    metadata,
    _id("tenant_id", key=True),
    _col("hash", LargeBinary, key=True),
    _id("thread_id", key=True),
    Index("ix_blob_refs_thread", "tenant_id", "thread_id"),
    sqlite_with_rowid=False,
)

# What replays found that were asked for through the API.
replays = Table(
    "replays",
    metadata,
    _id("tenant_id", key=True),
    _id("id", key=True),
    _id("run_id"),
    _id("requested_by"),
    _col("isolation", Text, null=True),
    _col("recorded_version", Text),
    _col("current_version", Text),
    _col("result", LargeBinary, null=True),
    _col("error", LargeBinary, null=True),
    _col("created_at", BigInteger),
    _col("ended_at", BigInteger, null=True),
    _col("mode", Text),
    _col("made_tenant", LargeBinary, null=True),
    _col("made_run", LargeBinary, null=True),
    Index("ix_replays_run", "tenant_id", "run_id", "id"),
    Index("ix_replays_created_at", "created_at"),
    Index(
        "ix_replays_made",
        "made_tenant",
        "made_run",
        sqlite_where=text("made_run IS NOT NULL"),
        postgresql_where=text("made_run IS NOT NULL"),
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _id("tenant_id", key=True),
    _id("principal_id", key=True),
    _col("route", Text, key=True),
    _col("key", Text, key=True),
    _col("body_digest", LargeBinary),
    _col("status", SmallInteger),
    _col("resource", LargeBinary),
    _col("created_at", BigInteger),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
