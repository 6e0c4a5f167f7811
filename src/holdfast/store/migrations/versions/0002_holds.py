"""Holds: the effect ledger, interrupts and approvals, awaited events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('approvals',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('root_id', sa.LargeBinary(), nullable=False),
    sa.Column('thread_id', sa.LargeBinary(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('tool', sa.Text(), nullable=True),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('group_key', sa.Text(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('effect_id', sa.LargeBinary(), nullable=True),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('arguments', sa.LargeBinary(), nullable=True),
    sa.Column('arguments_hash', sa.LargeBinary(), nullable=True),
    sa.Column('schema', sa.LargeBinary(), nullable=True),
    sa.Column('choices', sa.LargeBinary(), nullable=True),
    sa.Column('default_answer', sa.LargeBinary(), nullable=True),
    sa.Column('requested_by', sa.LargeBinary(), nullable=False),
    sa.Column('chain', sa.LargeBinary(), nullable=False),
    sa.Column('demand', sa.LargeBinary(), nullable=False),
    sa.Column('decisions', sa.LargeBinary(), nullable=False),
    sa.Column('answer', sa.LargeBinary(), nullable=True),
    sa.Column('escalated', sa.SmallInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('resolved_at', sa.BigInteger(), nullable=True),
    sa.Column('usable_until', sa.BigInteger(), nullable=True),
    sa.Column('used_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_approvals'))
    )
    op.create_index('ix_approvals_expires_at', 'approvals', ['expires_at'], unique=False, sqlite_where=sa.text("status = 'pending' AND expires_at IS NOT NULL"), postgresql_where=sa.text("status = 'pending' AND expires_at IS NOT NULL"))
    op.create_index('ix_approvals_open', 'approvals', ['tenant_id', 'run_id', 'group_key'], unique=False, sqlite_where=sa.text("status = 'pending'"), postgresql_where=sa.text("status = 'pending'"))
    op.create_index('ix_approvals_status', 'approvals', ['tenant_id', 'status', 'created_at', 'id'], unique=False)
    op.create_index('ux_approvals_key', 'approvals', ['tenant_id', 'run_id', 'key', 'attempt'], unique=True)
    op.create_table('awaited_events',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=True),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=True),
    sa.Column('sent_by', sa.LargeBinary(), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'id', name=op.f('pk_awaited_events'))
    )
    op.create_index('ix_awaited_events_created_at', 'awaited_events', ['created_at'], unique=False)
    op.create_index('ux_awaited_events_external_id', 'awaited_events', ['tenant_id', 'external_id'], unique=True, sqlite_where=sa.text('external_id IS NOT NULL'), postgresql_where=sa.text('external_id IS NOT NULL'))
    op.create_index('ux_awaited_events_seq', 'awaited_events', ['tenant_id', 'name', 'key', 'seq'], unique=True)
    op.create_table('business_keys',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('tool', sa.Text(), nullable=False),
    sa.Column('business_key', sa.Text(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('effect_id', sa.LargeBinary(), nullable=False),
    sa.Column('ttl_ms', sa.BigInteger(), nullable=True),
    sa.Column('expires_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('tenant_id', 'tool', 'business_key', name=op.f('pk_business_keys'))
    )
    op.create_index('ix_business_keys_run', 'business_keys', ['tenant_id', 'run_id'], unique=False)
    op.create_table('effects',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('id', sa.LargeBinary(), nullable=False),
    sa.Column('tool', sa.Text(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('effect_class', sa.Text(), nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('arguments', sa.LargeBinary(), nullable=False),
    sa.Column('arguments_hash', sa.LargeBinary(), nullable=False),
    sa.Column('idempotency_key', sa.Text(), nullable=False),
    sa.Column('rotation', sa.SmallInteger(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('business_key', sa.Text(), nullable=True),
    sa.Column('duplicate_of', sa.LargeBinary(), nullable=True),
    sa.Column('compensates', sa.LargeBinary(), nullable=True),
    sa.Column('provider_ref', sa.Text(), nullable=True),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('planned_at', sa.BigInteger(), nullable=False),
    sa.Column('started_at', sa.BigInteger(), nullable=True),
    sa.Column('deadline', sa.BigInteger(), nullable=True),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.Column('error', sa.LargeBinary(), nullable=True),
    sa.PrimaryKeyConstraint('tenant_id', 'run_id', 'key', name=op.f('pk_effects')),
    postgresql_with={'fillfactor': 80}
    )
    op.create_index('ix_effects_unknown', 'effects', ['tenant_id', 'id'], unique=False, sqlite_where=sa.text("status = 'unknown'"), postgresql_where=sa.text("status = 'unknown'"))
    op.create_index('ux_effects_id', 'effects', ['tenant_id', 'id'], unique=True)
    op.create_table('event_uses',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('event_id', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'run_id', 'event_id', name=op.f('pk_event_uses')),
    sqlite_with_rowid=False
    )
    op.create_table('event_waits',
    sa.Column('tenant_id', sa.LargeBinary(), nullable=False),
    sa.Column('run_id', sa.LargeBinary(), nullable=False),
    sa.Column('step_key', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'run_id', 'step_key', name=op.f('pk_event_waits'))
    )
    op.create_index('ix_event_waits_name', 'event_waits', ['tenant_id', 'name', 'key'], unique=False)
    op.add_column('runs', sa.Column('compensate', sa.SmallInteger(), nullable=True))
