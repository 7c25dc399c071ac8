"""Jobs that asked for messages before 0004 are watched; estimates of deleted jobs go with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_JOB = sa.table(
    "job",
    sa.column("job_id", sa.Text()),
    sa.column("status", sa.Text()),
    sa.column("attributes", sa.JSON()),
    sa.column("is_watched", sa.Boolean()),
)
_FORECAST = sa.table("forecast", sa.column("job_id", sa.Text()))


def upgrade() -> None:
    connection = op.get_bind()
    asked = [
        row.job_id
        for row in connection.execute(sa.select(_JOB.c.job_id, _JOB.c.attributes).where(~_JOB.c.is_watched))
        if (row.attributes or {}).get("alarm_notify")
    ]
    for job_id in asked:
        connection.execute(sa.update(_JOB).where(_JOB.c.job_id == job_id).values(is_watched=True))
    deleted = sa.select(_JOB.c.job_id).where(_JOB.c.status == "deleted")
    connection.execute(sa.delete(_FORECAST).where(_FORECAST.c.job_id.in_(deleted)))
