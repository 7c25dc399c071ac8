"""On PostgreSQL, indexes by which a job's row is found without a walk down a tree."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.create_index("ix_job_hash", "job", ["job_id"], postgresql_using="hash")
        op.create_index("ix_progress_hash", "progress", ["job_id"], postgresql_using="hash")
