"""The kernel: tenants, principals, keys, agents, workers, threads, runs, heads, entries, messages, blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('agents',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.Column('definition', sa.LargeBinary(), nullable=False),
    sa.Column('enabled', sa.SmallInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_agents'))
    )
    op.create_table('blob_refs',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('hash', sa.LargeBinary(), nullable=False),
    sa.Column('thread_id', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'hash', 'thread_id', name=op.f('pk_blob_refs')),
    sqlite_with_rowid=False
    )
    op.create_index('ix_blob_refs_thread', 'blob_refs', ['tenant_id', 'thread_id'], unique=False)
    op.create_table('blobs',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('hash', sa.LargeBinary(), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.Column('touched_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'hash', name=op.f('pk_blobs'))
    )
    op.create_table('entries',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('pos', sa.BigInteger(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=True),
    sa.Column('phase', sa.Text(), nullable=True),
    sa.Column('key', sa.Text(), nullable=True),
    sa.Column('kind', sa.Text(), nullable=True),
    sa.Column('name', sa.Text(), nullable=True),
    sa.Column('attempt', sa.Integer(), nullable=True),
    sa.Column('tries', sa.Integer(), nullable=True),
    sa.Column('status', sa.Text(), nullable=True),
    sa.Column('digest', sa.LargeBinary(), nullable=True),
    sa.Column('payload', sa.LargeBinary(), nullable=True),
    sa.Column('payload_blob', sa.LargeBinary(), nullable=True),
    sa.Column('error', sa.LargeBinary(), nullable=True),
    sa.Column('prompt', sa.LargeBinary(), nullable=True),
    sa.Column('usage_requests', sa.BigInteger(), nullable=True),
    sa.Column('usage_input_tokens', sa.BigInteger(), nullable=True),
    sa.Column('usage_output_tokens', sa.BigInteger(), nullable=True),
    sa.Column('usage_cost_micros', sa.BigInteger(), nullable=True),
    sa.Column('usage_priced', sa.SmallInteger(), nullable=True),
    sa.Column('price_version', sa.Text(), nullable=True),
    sa.Column('started_at', sa.BigInteger(), nullable=True),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('tenant_id', 'run_id', 'pos', name=op.f('pk_entries'))
    )
    op.create_index('ux_entries_key', 'entries', ['tenant_id', 'run_id', 'key', 'phase', 'attempt'], unique=True, sqlite_where=sa.text('key IS NOT NULL'), postgresql_where=sa.text('key IS NOT NULL'))
    op.create_table('idempotency_keys',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('principal_id', sa.LargeBinary(), nullable=False),
    sa.Column('route', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('body_digest', sa.LargeBinary(), nullable=False),
    sa.Column('status', sa.SmallInteger(), nullable=False),
    sa.Column('resource', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'principal_id', 'route', 'key', name=op.f('pk_idempotency_keys'))
    )
    op.create_index('ix_idempotency_keys_created_at', 'idempotency_keys', ['created_at'], unique=False)
    op.create_table('messages',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('thread_id', sa.LargeBinary(), nullable=False),
    sa.Column('position', sa.BigInteger(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('pos', sa.BigInteger(), nullable=False),
    sa.Column('role', sa.Text(), nullable=False),
    sa.Column('void', sa.SmallInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'thread_id', 'position', name=op.f('pk_messages')),
    sqlite_with_rowid=False
    )
    op.create_table('run_heads',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('pos', sa.BigInteger(), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('owner', sa.LargeBinary(), nullable=True),
    sa.Column('lease_until', sa.BigInteger(), nullable=True),
    sa.Column('lapses', sa.SmallInteger(), nullable=False),
    sa.Column('cancel', sa.SmallInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'run_id', name=op.f('pk_run_heads')),
    postgresql_with={'fillfactor': 70},
    sqlite_with_rowid=False
    )
    op.create_index('ix_run_heads_owned', 'run_heads', ['tenant_id', 'run_id'], unique=False, sqlite_where=sa.text('owner IS NOT NULL'), postgresql_where=sa.text('owner IS NOT NULL'))
    op.create_table('run_tags',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('tag', sa.Text(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'tag', 'run_id', name=op.f('pk_run_tags')),
    sqlite_with_rowid=False
    )
    op.create_table('tenants',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', name=op.f('pk_tenants'))
    )
    op.create_table('tool_switches',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('enabled', sa.SmallInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'name', name=op.f('pk_tool_switches'))
    )
    op.create_table('workers',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('agents', sa.LargeBinary(), nullable=False),
    sa.Column('host', sa.Text(), nullable=False),
    sa.Column('pid', sa.Integer(), nullable=False),
    sa.Column('slots', sa.Integer(), nullable=False),
    sa.Column('started_at', sa.BigInteger(), nullable=False),
    sa.Column('seen_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_workers'))
    )
    op.create_table('principals',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('scopes', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['tenant_id'], ['tenants.tenant_id'], name=op.f('fk_principals_tenant_id')),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_principals'))
    )
    op.create_table('threads',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=True),
    sa.Column('title', sa.Text(), nullable=True),
    sa.Column('metadata', sa.LargeBinary(), nullable=True),
    sa.Column('hidden', sa.SmallInteger(), nullable=False),
    sa.Column('created_by', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.Column('last_rank', sa.BigInteger(), nullable=False),
    sa.Column('last_ordinal', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['tenant_id'], ['tenants.tenant_id'], name=op.f('fk_threads_tenant_id')),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_threads'))
    )
    op.create_index('ux_threads_external_id', 'threads', ['tenant_id', 'external_id'], unique=True, sqlite_where=sa.text('external_id IS NOT NULL'), postgresql_where=sa.text('external_id IS NOT NULL'))
    op.create_table('api_keys',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('principal_id', sa.LargeBinary(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('digest', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=True),
    sa.Column('revoked_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['tenant_id', 'principal_id'], ['principals.tenant_id', 'principals.id'], name=op.f('fk_api_keys_tenant_id_principal_id')),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_api_keys'))
    )
    op.create_index('ix_api_keys_id', 'api_keys', ['id'], unique=True)
    op.create_table('runs',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('thread_id', sa.LargeBinary(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('acting_agent', sa.Text(), nullable=False),
    sa.Column('agent_version', sa.Text(), nullable=False),
    sa.Column('initiator', sa.LargeBinary(), nullable=False),
    sa.Column('root_id', sa.LargeBinary(), nullable=False),
    sa.Column('parent_id', sa.LargeBinary(), nullable=True),
    sa.Column('parent_key', sa.Text(), nullable=True),
    sa.Column('depth', sa.SmallInteger(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=True),
    sa.Column('rank', sa.BigInteger(), nullable=False),
    sa.Column('ordinal', sa.BigInteger(), nullable=True),
    sa.Column('input_position', sa.BigInteger(), nullable=True),
    sa.Column('start_after', sa.BigInteger(), nullable=True),
    sa.Column('claimable_at', sa.BigInteger(), nullable=True),
    sa.Column('wake_at', sa.BigInteger(), nullable=True),
    sa.Column('on_busy_applied', sa.Text(), nullable=True),
    sa.Column('rollback', sa.SmallInteger(), nullable=False),
    sa.Column('limits', sa.LargeBinary(), nullable=True),
    sa.Column('deadline', sa.BigInteger(), nullable=True),
    sa.Column('metadata', sa.LargeBinary(), nullable=True),
    sa.Column('tags', sa.LargeBinary(), nullable=True),
    sa.Column('waiting_on', sa.LargeBinary(), nullable=True),
    sa.Column('cancel_requested_at', sa.BigInteger(), nullable=True),
    sa.Column('cancel_reason', sa.Text(), nullable=True),
    sa.Column('error', sa.LargeBinary(), nullable=True),
    sa.Column('output_pos', sa.BigInteger(), nullable=True),
    sa.Column('usage_requests', sa.BigInteger(), nullable=False),
    sa.Column('usage_input_tokens', sa.BigInteger(), nullable=False),
    sa.Column('usage_output_tokens', sa.BigInteger(), nullable=False),
    sa.Column('usage_cost_micros', sa.BigInteger(), nullable=False),
    sa.Column('usage_priced', sa.SmallInteger(), nullable=False),
    sa.Column('trace_id', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('started_at', sa.BigInteger(), nullable=True),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.Column('successor_id', sa.LargeBinary(), nullable=True),
    sa.ForeignKeyConstraint(['tenant_id', 'thread_id'], ['threads.tenant_id', 'threads.id'], name=op.f('fk_runs_tenant_id_thread_id')),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_runs'))
    )
    op.create_index('ix_runs_agent', 'runs', ['tenant_id', 'agent', 'id'], unique=False)
    op.create_index('ix_runs_claimable', 'runs', ['claimable_at', 'agent'], unique=False, sqlite_where=sa.text('claimable_at IS NOT NULL'), postgresql_where=sa.text('claimable_at IS NOT NULL'))
    op.create_index('ix_runs_deadline', 'runs', ['deadline'], unique=False, sqlite_where=sa.text('deadline IS NOT NULL AND ended_at IS NULL'), postgresql_where=sa.text('deadline IS NOT NULL AND ended_at IS NULL'))
    op.create_index('ix_runs_parent', 'runs', ['tenant_id', 'parent_id', 'id'], unique=False, sqlite_where=sa.text('parent_id IS NOT NULL'), postgresql_where=sa.text('parent_id IS NOT NULL'))
    op.create_index('ix_runs_status', 'runs', ['tenant_id', 'status', 'id'], unique=False)
    op.create_index('ix_runs_thread_live', 'runs', ['tenant_id', 'thread_id', 'rank'], unique=False, sqlite_where=sa.text('ended_at IS NULL'), postgresql_where=sa.text('ended_at IS NULL'))
    op.create_index('ix_runs_wake_at', 'runs', ['wake_at'], unique=False, sqlite_where=sa.text('wake_at IS NOT NULL'), postgresql_where=sa.text('wake_at IS NOT NULL'))
    op.create_index('ux_runs_external_id', 'runs', ['tenant_id', 'external_id'], unique=True, sqlite_where=sa.text('external_id IS NOT NULL'), postgresql_where=sa.text('external_id IS NOT NULL'))
    op.create_index('ux_runs_thread_holder', 'runs', ['tenant_id', 'thread_id'], unique=True, sqlite_where=sa.text('started_at IS NOT NULL AND ended_at IS NULL'), postgresql_where=sa.text('started_at IS NOT NULL AND ended_at IS NULL'))
    op.create_index('ux_runs_thread_rank', 'runs', ['tenant_id', 'thread_id', 'rank'], unique=True)
