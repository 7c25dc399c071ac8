"""What jobs carry over besides data, what workers use, and how far messages and histories have been sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("accounts_secret", sa.LargeBinary()))
    op.add_column("job", sa.Column("is_watched", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("job", sa.Column("is_shipped", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("job", sa.Column("zone", sa.Text()))
    op.add_column("job", sa.Column("standby_zone", sa.Text()))
    op.create_table(
        "zone",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_zone")),
    )
    op.add_column("event", sa.Column("shipped_us", sa.BigInteger()))
    op.create_table(
        "node_sample",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.job_id"], name=op.f("fk_node_sample_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_node_sample")),
    )
    op.create_table(
        "alarm",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("raised_us", sa.BigInteger(), nullable=False),
        sa.Column("told_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(["job_id"], ["job.job_id"], name=op.f("fk_alarm_job_id")),
        sa.PrimaryKeyConstraint("job_id", "kind", name=op.f("pk_alarm")),
    )
    op.create_table(
        "duty",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duty")),
    )
