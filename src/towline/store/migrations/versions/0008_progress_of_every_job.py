"""Every job has a row of progress, with what batch-progress says of the job beside the figures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COPIED = ("project_id", "mode", "status", "failure")
_NAMES = ", ".join(_COPIED)
_INSERT = f"INSERT INTO progress (job_id, epoch, at_us, {_NAMES})"
_NEW = ", ".join(f"NEW.{name}" for name in _COPIED)
_NEW_ROW = f"{_INSERT} VALUES (NEW.job_id, 0, 0, {_NEW})"
_COPY = f"UPDATE progress SET {', '.join(f'{name} = NEW.{name}' for name in _COPIED)} WHERE job_id = NEW.job_id"


def upgrade() -> None:
    with op.batch_alter_table("progress") as progress:
        progress.alter_column("body", existing_type=sa.Text(), nullable=True)
        for name in _COPIED:
            progress.add_column(sa.Column(name, sa.Text()))
    op.execute(f"UPDATE progress SET ({_NAMES}) = (SELECT {_NAMES} FROM job WHERE job.job_id = progress.job_id)")
    op.execute(
        f"{_INSERT} SELECT job_id, 0, 0, {_NAMES} FROM job"
        " WHERE NOT EXISTS (SELECT 1 FROM progress WHERE progress.job_id = job.job_id)"
    )
    if op.get_context().dialect.name == "postgresql":
        _keep_on_postgresql()
    else:
        _keep_on_sqlite()


def _keep_on_sqlite() -> None:
    is_changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _COPIED)
    op.execute(f"CREATE TRIGGER job_made AFTER INSERT ON job BEGIN {_NEW_ROW}; END")
    op.execute(f"CREATE TRIGGER job_changed AFTER UPDATE OF {_NAMES} ON job WHEN {is_changed} BEGIN {_COPY}; END")


def _keep_on_postgresql() -> None:
    is_changed = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in _COPIED)
    for trigger, moment, when, statement in (
        ("job_made", "INSERT", "", _NEW_ROW),
        ("job_changed", f"UPDATE OF {_NAMES}", f"WHEN ({is_changed})", _COPY),
    ):
        op.execute(
            f"CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"
        )
        op.execute(f"CREATE TRIGGER {trigger} AFTER {moment} ON job FOR EACH ROW {when} EXECUTE FUNCTION {trigger}()")
