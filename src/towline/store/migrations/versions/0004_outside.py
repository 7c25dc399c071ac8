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
