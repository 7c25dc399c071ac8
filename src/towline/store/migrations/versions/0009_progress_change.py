"""On SQLite, the order in which the rows of progress were changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NEXT = "(SELECT coalesce(max(number), 0) + 1 FROM progress_change)"
# All of a row but its moments, which say nothing that the body does not.
_TOLD = "body, project_id, mode, status, failure"


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    op.create_table(
        "progress_change",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_progress_change"),
        sa.UniqueConstraint("job_id", name="uq_progress_change_job_id"),
    )
    op.execute("INSERT INTO progress_change (job_id) SELECT job_id FROM progress")
    for trigger, moment, row in (
        ("progress_made", "INSERT", "NEW"),
        ("progress_changed", f"UPDATE OF {_TOLD}", "NEW"),
        ("progress_gone", "DELETE", "OLD"),
    ):
        op.execute(
            f"CREATE TRIGGER {trigger} AFTER {moment} ON progress BEGIN"
            f" INSERT INTO progress_change (number, job_id) VALUES ({_NEXT}, {row}.job_id)"
            " ON CONFLICT (job_id) DO UPDATE SET number = excluded.number; END"
        )
