"""Time travel: branches of threads, forks of runs, agent versions with their definitions, published state;
questions in the order in which they were decided, and what nobody knows of."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('agent_versions',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('agent', sa.Text(), autoincrement=False, nullable=False),
    sa.Column('version', sa.Text(), autoincrement=False, nullable=False),
    sa.Column('definition', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'agent', 'version', name=op.f('pk_agent_versions'))
    )
    op.execute(
        "INSERT INTO agent_versions (tenant_id, agent, version, definition, created_at)"
        " SELECT tenant_id, id, version, definition, updated_at FROM agents"
    )
    op.create_table('thread_lineage',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('thread_id', sa.LargeBinary(), nullable=False),
    sa.Column('ord', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('source_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('first', sa.BigInteger(), nullable=False),
    sa.Column('pos', sa.BigInteger(), nullable=False),
    sa.Column('last', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'thread_id', 'ord', name=op.f('pk_thread_lineage')),
    sqlite_with_rowid=False
    )
    op.create_index('ix_thread_lineage_source', 'thread_lineage', ['tenant_id', 'source_id'], unique=False)
    op.create_table('run_lineage',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('ord', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('source_id', sa.LargeBinary(), nullable=False),
    sa.Column('source_thread_id', sa.LargeBinary(), nullable=False),
    sa.Column('pos', sa.BigInteger(), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'run_id', 'ord', name=op.f('pk_run_lineage')),
    sqlite_with_rowid=False
    )
    op.create_index('ix_run_lineage_source', 'run_lineage', ['tenant_id', 'source_id'], unique=False)
    op.create_table('replays',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('requested_by', sa.LargeBinary(), nullable=False),
    sa.Column('isolation', sa.Text(), autoincrement=False, nullable=True),
    sa.Column('recorded_version', sa.Text(), autoincrement=False, nullable=False),
    sa.Column('current_version', sa.Text(), autoincrement=False, nullable=False),
    sa.Column('result', sa.LargeBinary(), nullable=True),
    sa.Column('error', sa.LargeBinary(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('ended_at', sa.BigInteger(), autoincrement=False, nullable=True),
    sa.Column('mode', sa.Text(), autoincrement=False, nullable=False),
    sa.Column('made_tenant', sa.LargeBinary(), nullable=True),
    sa.Column('made_run', sa.LargeBinary(), nullable=True),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_replays'))
    )
    op.create_index('ix_replays_run', 'replays', ['tenant_id', 'run_id', 'id'], unique=False)
    op.create_index('ix_replays_created_at', 'replays', ['created_at'], unique=False)
    op.create_index('ix_replays_made', 'replays', ['made_tenant', 'made_run'], unique=False, sqlite_where=sa.text("made_run IS NOT NULL"), postgresql_where=sa.text("made_run IS NOT NULL"))
    op.add_column('threads', sa.Column('branch_thread', sa.LargeBinary(), nullable=True))
    op.add_column('threads', sa.Column('branch_run', sa.LargeBinary(), nullable=True))
    op.add_column('threads', sa.Column('branch_at', sa.BigInteger(), nullable=True))
    op.add_column('threads', sa.Column('archived_at', sa.BigInteger(), nullable=True))
    op.create_index('ix_threads_branch', 'threads', ['tenant_id', 'branch_thread', 'id'], unique=False, sqlite_where=sa.text("branch_thread IS NOT NULL"), postgresql_where=sa.text("branch_thread IS NOT NULL"))
    op.add_column('runs', sa.Column('forked_run', sa.LargeBinary(), nullable=True))
    op.add_column('runs', sa.Column('forked_at', sa.BigInteger(), nullable=True))
    op.add_column('runs', sa.Column('input_run', sa.LargeBinary(), nullable=True))
    op.add_column('runs', sa.Column('branch', sa.SmallInteger(), nullable=True))
    op.add_column('runs', sa.Column('overrides', sa.LargeBinary(), nullable=True))
    op.add_column('runs', sa.Column('effect_policy', sa.LargeBinary(), nullable=True))
    op.add_column('runs', sa.Column('has_state', sa.SmallInteger(), nullable=True))
    op.add_column('runs', sa.Column('imported', sa.SmallInteger(), nullable=True))
    op.add_column('runs', sa.Column('archived', sa.SmallInteger(), nullable=True))
    op.drop_index('ix_runs_agent', table_name='runs')
    op.create_index('ix_runs_agent', 'runs', ['tenant_id', 'agent', 'status', 'id'], unique=False)
    op.create_index('ix_runs_initiator', 'runs', ['tenant_id', 'initiator', 'id'], unique=False)
    op.create_index('ix_runs_version', 'runs', ['tenant_id', 'agent_version', 'id'], unique=False)
    op.create_index('ix_runs_forks', 'runs', ['tenant_id', 'id'], unique=False, sqlite_where=sa.text("forked_run IS NOT NULL"), postgresql_where=sa.text("forked_run IS NOT NULL"))
    op.create_index('ix_runs_imported', 'runs', ['tenant_id', 'id'], unique=False, sqlite_where=sa.text("imported IS NOT NULL"), postgresql_where=sa.text("imported IS NOT NULL"))
    op.create_index('ix_runs_forked', 'runs', ['tenant_id', 'forked_run', 'id'], unique=False, sqlite_where=sa.text("forked_run IS NOT NULL"), postgresql_where=sa.text("forked_run IS NOT NULL"))
    op.create_index('ix_runs_thread_state', 'runs', ['tenant_id', 'thread_id', 'rank'], unique=False, sqlite_where=sa.text("has_state IS NOT NULL"), postgresql_where=sa.text("has_state IS NOT NULL"))
    op.create_index('ix_entries_state', 'entries', ['tenant_id', 'run_id', 'pos'], unique=False, sqlite_where=sa.text("kind = 'state'"), postgresql_where=sa.text("kind = 'state'"))
    op.create_index('ix_entries_retried', 'entries', ['tenant_id', 'run_id'], unique=False, sqlite_where=sa.text("type = 'run.retried'"), postgresql_where=sa.text("type = 'run.retried'"))
    op.create_index('ix_approvals_resolved', 'approvals', ['tenant_id', 'status', 'resolved_at', 'id'], unique=False, sqlite_where=sa.text("resolved_at IS NOT NULL"), postgresql_where=sa.text("resolved_at IS NOT NULL"))
    op.create_index('ix_approvals_effect', 'approvals', ['tenant_id', 'effect_id'], unique=False, sqlite_where=sa.text("effect_id IS NOT NULL"), postgresql_where=sa.text("effect_id IS NOT NULL"))
    op.drop_index('ix_effects_unknown', table_name='effects')
    op.create_index('ix_effects_unknown', 'effects', ['tenant_id', 'status', 'id'], unique=False, sqlite_where=sa.text("status = 'unknown'"), postgresql_where=sa.text("status = 'unknown'"))
