"""What jobs said of the time that they still need; an index of the leases that somebody holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forecast",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("score", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.job_id"], name=op.f("fk_forecast_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_forecast")),
    )
    op.create_index(op.f("ix_forecast_finished_us"), "forecast", ["finished_us"])
    held = sa.text("owner IS NOT NULL")
    op.create_index("ix_lease_held", "lease", ["job_id"], sqlite_where=held, postgresql_where=held)
