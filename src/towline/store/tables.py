"""The store's tables, one schema for SQLite and PostgreSQL.

Times are microseconds since the epoch, UTC.  Values that are only ever read whole are kept as JSON text, so a
new member of such a value needs no migration; what a query filters by has a column.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)


def _by_hash(table: str) -> Index:
    """Finds a row among many without a walk down the tree of the primary key. Only PostgreSQL has the kind."""
    return Index(f"ix_{table}_hash", "job_id", postgresql_using="hash").ddl_if(dialect="postgresql")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite gives out row numbers only for the exact type INTEGER.
_ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

domain = Table(
    "domain",
    metadata,
    Column("domain_id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

project = Table(
    "project",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("domain_id", ForeignKey("domain.domain_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("max_jobs", Integer),  # NULL = the server's own limit
    UniqueConstraint("domain_id", "name"),
)

user_account = Table(
    "user_account",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("domain_id", ForeignKey("domain.domain_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),  # argon2
    Column("created_us", BigInteger, nullable=False),
    Column("is_enabled", Boolean, nullable=False, server_default=true()),
    UniqueConstraint("domain_id", "name"),
)

membership = Table(
    "membership",
    metadata,
    Column("user_id", ForeignKey("user_account.user_id"), primary_key=True),
    Column("project_id", ForeignKey("project.project_id"), primary_key=True),
    Column("role", Text, nullable=False),  # domain.access.Role
)

access_key = Table(
    "access_key",
    metadata,
    Column("access_key", Text, primary_key=True),
    # Encrypted, not hashed: checking an HMAC signature needs the key itself.
    Column("secret", LargeBinary, nullable=False),
    Column("user_id", ForeignKey("user_account.user_id"), nullable=False),
    Column("project_id", ForeignKey("project.project_id"), nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("token_hash", Text, primary_key=True),  # SHA-256 of the token
    Column("user_id", ForeignKey("user_account.user_id"), nullable=False),
    Column("project_id", Text, nullable=False),  # "" for a domain scope
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False, index=True),
)

job = Table(
    "job",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("project_id", ForeignKey("project.project_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),  # lower case
    Column("description", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("source", JSON, nullable=False),  # without the password
    Column("target", JSON, nullable=False),
    Column("source_secret", LargeBinary),
    Column("target_secret", LargeBinary),
    Column("accounts_secret", LargeBinary),  # passwords of accounts that the job carries over
    Column("secrets_version", BigInteger, nullable=False),
    Column("selection", Text, nullable=False),
    Column("selection_items", Text, nullable=False),
    Column("conflict_policy", Text, nullable=False),
    Column("speed_windows", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("source_attributes", JSON, nullable=False),
    Column("target_attributes", JSON, nullable=False),
    Column("is_configured", Boolean, nullable=False),
    Column("pause_mode", Text),
    Column("failure", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("full_complete_us", BigInteger),
    Column("scheduled_us", BigInteger),
    Column("is_watched", Boolean, nullable=False, server_default=false()),  # somebody wants messages about it
    Column("is_shipped", Boolean, nullable=False, server_default=false()),  # its history is sent elsewhere
    Column("zone", Text),  # only servers of these zones run the job; NULL: any
    Column("standby_zone", Text),
    Index("ix_job_project_created", "project_id", "created_us"),
    Index("ix_job_status", "status"),
    _by_hash("job"),
    Index(
        "uq_job_project_name",
        "project_id",
        "name_key",
        unique=True,
        sqlite_where=text("status <> 'deleted'"),
        postgresql_where=text("status <> 'deleted'"),
    ),
)

lease = Table(
    "lease",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("owner", Text),  # NULL = free
    Column("epoch", BigInteger, nullable=False),  # grows with every owner; 0 = nobody has ever run the job
    Column("expires_us", BigInteger, nullable=False),
    Column("crashes", Integer, nullable=False),  # in a row
    Column("not_before_us", BigInteger, nullable=False),  # a crashed job waits until then
    # Every worker counts the running jobs now and then, however many others there are.
    Index(
        "ix_lease_held",
        "job_id",
        sqlite_where=text("owner IS NOT NULL"),
        postgresql_where=text("owner IS NOT NULL"),
    ),
)

# The hot table: one row per job, rewritten at most once a second, and all that batch-progress reads.
progress = Table(
    "progress",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("body", Text),  # domain.progress.Progress without tables and diagnosis; NULL before a worker has reported
    # Copies of the job's, so that no join is needed. Triggers on `job` make the row and keep them, whoever writes; a
    # migration that makes `job` anew has to make them anew, too.
    Column("project_id", Text),
    Column("mode", Text),
    Column("status", Text),
    Column("failure", Text),
    _by_hash("progress"),
)

# Only in SQLite: the number of each job's last change of `progress`, in the order of commits; see `lines`.  Triggers on
# `progress` keep it; a migration that makes `progress` anew has to make them anew, too.
progress_change = Table(
    "progress_change",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("job_id", Text, nullable=False, unique=True),
)

# Apart from `progress`, so that batch-progress never reads thousands of tables to leave them out.
table_progress = Table(
    "table_progress",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

# Apart for the same reason; a worker looks at its databases less often than it reports.
diagnosis = Table(
    "diagnosis",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # domain.diagnosis.Diagnosis
)

# What was said of the time that a job still needs, and how good that was.
forecast = Table(
    "forecast",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("finished_us", BigInteger, index=True),
    Column("score", Text),  # domain.forecast.Score, apart so that thousands are read with ease
    Column("body", Text, nullable=False),  # domain.forecast.TrackRecord
)

precheck = Table(
    "precheck",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # service.ports.PrecheckRun
)

event = Table(
    "event",
    metadata,
    Column("event_id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("job.job_id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("shipped_us", BigInteger),
    Index("ix_event_job", "job_id", "event_id"),
)

# What a job's worker uses of its machine.
node_sample = Table(
    "node_sample",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # domain.nodes.NodeSample
)

# A row while the condition holds.
alarm = Table(
    "alarm",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("raised_us", BigInteger, nullable=False),
    Column("told_us", BigInteger),  # NULL until the message is out
)

# What one of the servers of a store does for all of them, for a limited time.
duty = Table(
    "duty",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)

# Groups of servers, by the name that each of them says now and then.
zone = Table(
    "zone",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seen_us", BigInteger, nullable=False),
)
