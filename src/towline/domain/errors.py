"""Every failure that Towline can name.

The class answers "what happens next"; the fields answer "where, and about what".  `code` is stable and
documented in `docs/errors.md`; a test holds that page to these classes.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar


class Side(Enum):
    """Where a failure happened."""

    SOURCE = "source"
    TARGET = "target"
    TOWLINE = "towline"


class TowlineError(Exception):
    """Base of all errors that cross a module boundary.

    `message` names the object in question and never contains a password or a row value (I7).
    """

    code: ClassVar[str] = "TOWLINE_ERROR"
    remedy: ClassVar[str] = "Read the log of the job; report the message if it is not clear."

    def __init__(
        self,
        message: str,
        *,
        side: Side = Side.TOWLINE,
        remedy: str | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.side = side
        self.advice = remedy or self.remedy
        self.context = context

    def __str__(self) -> str:
        return self.message


# --- the caller changes the request -------------------------------------------------------------


class RequestError(TowlineError):
    """The request cannot be served as it is; nothing was changed."""

    code = "REQUEST_INVALID"
    remedy = "Change the request as the message says and send it again."


class JobNotFound(RequestError):
    code = "JOB_NOT_FOUND"
    remedy = "Check the job id and the project; list the jobs of the project."


class JobDeleted(RequestError):
    code = "JOB_DELETED"
    remedy = "The job is gone; create a new one."


class JobNameTaken(RequestError):
    code = "JOB_NAME_TAKEN"
    remedy = "Choose another name; names are unique in a project, without regard to case."


class UnknownParameter(RequestError):
    code = "UNKNOWN_PARAMETER"
    remedy = "Name a parameter of the comparison, in its own group."


class RowFilterExists(RequestError):
    code = "ROW_FILTER_EXISTS"
    remedy = "Select the objects of the job anew, which drops all conditions, then give the new ones."


class BadRename(RequestError):
    """Objects of a job cannot have the names that they are to have on the target."""

    code = "BAD_RENAME"
    remedy = "Give each renamed object a name of its own on the target, as the message says; nothing was changed."


class BadConversion(RequestError):
    """A type or another wish for how values cross from one family to the other cannot be."""

    code = "BAD_CONVERSION"
    remedy = "Ask for a type of the list in docs/types.md for each column, as the message says; nothing was changed."


class IllegalTransition(RequestError):
    code = "ILLEGAL_TRANSITION"
    remedy = "Wait for, or bring about, a status in which the call is allowed."


class NotBuilt(RequestError):
    code = "NOT_BUILT"
    remedy = "This part of Towline does not exist yet; leave the option out."


class AuthenticationFailed(RequestError):
    code = "AUTHENTICATION_FAILED"
    remedy = "Check user name, password and domain, or the access key and its secret key."


class TooManyAttempts(RequestError):
    code = "TOO_MANY_ATTEMPTS"
    remedy = "Wait a minute before the next attempt with this user name."


# --- the operator changes a database ------------------------------------------------------------


class SetupError(TowlineError):
    """A database is not set up for the job; the job stops until the operator has changed it."""

    code = "SETUP"
    remedy = "Change the database as the message says, then retry the job."


class ConnectionRefused(SetupError):
    code = "CONNECTION_REFUSED"
    remedy = "Check address, port, user, password, database name and TLS settings."


class MissingPrivilege(SetupError):
    code = "MISSING_PRIVILEGE"
    remedy = "Grant the privilege that the message names, then retry the job."


class WalLevelNotLogical(SetupError):
    code = "WAL_LEVEL_NOT_LOGICAL"
    remedy = "Set wal_level = logical on the source and restart it, then retry the job."


class BinlogFormatNotRow(SetupError):
    code = "BINLOG_FORMAT_NOT_ROW"
    remedy = "Set binlog_format = ROW on the source, also in its sessions, then start a new job."


class RowImageNotFull(SetupError):
    code = "ROW_IMAGE_NOT_FULL"
    remedy = "Set binlog_row_image = FULL on the source, also in its sessions, then start a new job."


class SourceDdl(SetupError):
    code = "SOURCE_DDL"
    remedy = "The source altered a table of the job in a way that cannot be followed; end the job, start a new one."


class NoFreeReplicationSlot(SetupError):
    code = "NO_FREE_REPLICATION_SLOT"
    remedy = "Drop unused slots or raise max_replication_slots and max_wal_senders on the source."


class PgDumpMissing(SetupError):
    code = "PG_DUMP_MISSING"
    remedy = "Install a pg_dump at least as new as the source server and put it on PATH."


class TargetNotEmpty(SetupError):
    code = "TARGET_NOT_EMPTY"
    remedy = "Drop the objects that the message names on the target, or choose an empty database."


class StructureFailed(SetupError):
    code = "STRUCTURE_FAILED"
    remedy = "Make the object that the message names possible on the target, then retry the job."


class SourceChanged(SetupError):
    code = "SOURCE_CHANGED"
    remedy = "A table was altered while the job ran; end the job and start a new one."


class RowFilterRefused(SetupError):
    """A condition that the source does not understand, or that it could not hold in its log."""

    code = "ROW_FILTER_REFUSED"
    remedy = (
        "Give one condition on columns of the table, without functions of your own or subqueries; for a job that "
        "follows changes only on columns of the key, from PostgreSQL 15 on."
    )


class ObjectsRefused(SetupError):
    """Objects that would join a job which has run do not pass its prechecks; names the check and the objects."""

    code = "OBJECTS_REFUSED"
    remedy = "Do what the message says, or select other objects, and retry again; nothing was changed."


class ParameterRefused(SetupError):
    code = "PARAMETER_REFUSED"
    remedy = "Give a value in the range that the comparison of parameters shows; nothing was changed."


class SpillFailed(SetupError):
    code = "SPILL_FAILED"
    remedy = "Free disk space in the job's work folder, or let Towline write there, then retry the job."


class EndpointIncomplete(SetupError):
    code = "ENDPOINT_INCOMPLETE"
    remedy = "Store host, port and user of both databases in the job, then retry it."


class StoreNotReady(SetupError):
    code = "STORE_NOT_READY"
    remedy = "Run `towline init` with the same --store and --data-dir."


class StoreTooNew(SetupError):
    code = "STORE_TOO_NEW"
    remedy = "Run the version of Towline that wrote the store last, or a newer one."


class KeyMissing(SetupError):
    code = "KEY_MISSING"
    remedy = "Put the key file that belongs to this store back into the data directory."


# --- time heals it ------------------------------------------------------------------------------


class TransientError(TowlineError):
    """Trying again may work; the pipeline does so with growing delays."""

    code = "TRANSIENT"
    remedy = "Towline retries by itself; look at the named server if this goes on."


class ConnectionLost(TransientError):
    """The outcome of the last commit is unknown; read the checkpoint or ledger back first."""

    code = "CONNECTION_LOST"


class ServerUnreachable(TransientError):
    """Nothing answers at the server's address, or not in time; nothing was sent."""

    code = "SERVER_UNREACHABLE"
    remedy = "Start the server, or check address, port and firewall."


class SourceBehind(TransientError):
    """The server at the source's address lacks transactions that the job has already read from another one."""

    code = "SOURCE_BEHIND"
    remedy = "Wait until this server has caught up; if the transactions are lost, end the job and start a new one."


class Deadlock(TransientError):
    code = "DEADLOCK"


class TargetBusy(TransientError):
    code = "TARGET_BUSY"
    remedy = "Another session holds a lock on the target, or it has no connections left."


class SnapshotLost(TransientError):
    """The source's snapshot is gone; the next attempt reads the rest under a new one."""

    code = "SNAPSHOT_LOST"


class StoreUnavailable(TransientError):
    code = "STORE_UNAVAILABLE"
    remedy = "Check the server or the disk that holds the store."


class IdentityUnavailable(TransientError):
    code = "IDENTITY_UNAVAILABLE"
    remedy = "Check the address of the identity service in the configuration file, and that it answers."


class NotDelivered(TransientError):
    """A message or a line of a history did not get where it shall be; it is tried again."""

    code = "NOT_DELIVERED"
    remedy = "Check the addresses in the configuration file, and that what stands there answers."


class PrecheckInterrupted(TransientError):
    code = "PRECHECK_INTERRUPTED"
    remedy = "Run the precheck again."


# --- a row does not fit the target --------------------------------------------------------------


class DataError(TowlineError):
    """A value cannot be stored on the target; the job's policy decides. Names table, column and key."""

    code = "DATA"
    remedy = "Change the column on the target, or the job's conflict policy, then retry the job."


class UnrepresentableValue(DataError):
    code = "UNREPRESENTABLE_VALUE"


class RowConflict(DataError):
    """A change met a target row that is missing, or that should not be there."""

    code = "ROW_CONFLICT"
    remedy = "Something else writes to the target. Stop it, repair the row, then retry; or set conflict_policy."


# --- the rest -----------------------------------------------------------------------------------


class TableMustStartOver(TowlineError):
    """A change of this table cannot be joined with rows copied under two snapshots; context: schema, name."""

    code = "TABLE_MUST_START_OVER"
    remedy = "Nothing to do: the table is copied again under one snapshot."


class PositionLost(TowlineError):
    """The source no longer has the changes that the job still needs."""

    code = "POSITION_LOST"
    remedy = "End the job and start a new full copy; raise max_slot_wal_keep_size on the source before."


class LeaseLost(TowlineError):
    """Another worker owns the job now; this one has written nothing since and stops (I6)."""

    code = "LEASE_LOST"
    remedy = "Nothing to do: the job goes on in another worker."


class WorkerCrashed(TowlineError):
    """A job's worker process died several times in a row without saying why."""

    code = "WORKER_CRASHED"
    remedy = "Look for the cause in the server's log and the machine's memory, then retry the job."


class UnclassifiedError(TowlineError):
    """The server said something that Towline does not know; retried while new, then the job stops."""

    code = "UNCLASSIFIED"
    remedy = "Read the server's message; report it so that the error table can be extended."


class InvariantBroken(TowlineError):
    """A defect in Towline itself: stop, never retry."""

    code = "INVARIANT_BROKEN"
    remedy = "Stop the job and report the message with the log."
