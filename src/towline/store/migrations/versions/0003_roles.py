"""Roles of users in projects, users that are out of use, limits of projects.

Whoever could sign in before may go on doing everything: each user becomes admin of each project of its domain.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_account", sa.Column("is_enabled", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("project", sa.Column("max_jobs", sa.Integer()))
    op.create_table(
        "membership",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_membership_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.user_id"], name=op.f("fk_membership_user_id")),
        sa.PrimaryKeyConstraint("user_id", "project_id", name=op.f("pk_membership")),
    )
    op.execute(
        "INSERT INTO membership (user_id, project_id, role) SELECT u.user_id, p.project_id, 'admin' "
        "FROM user_account u JOIN project p ON p.domain_id = u.domain_id"
    )
