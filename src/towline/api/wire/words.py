"""Outside words and what each of them is called inside.

One table per enumeration; a test holds every table to its domain enum, so that a new member cannot be
forgotten.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from towline.domain.jobs import ConflictPolicy, JobStatus, PauseMode, TaskMode
from towline.domain.nodes import NODE_SIZES
from towline.domain.prechecks import Verdict

STATUS_WORD: Final[dict[JobStatus, str]] = {
    JobStatus.CREATING: "CREATING",
    JobStatus.CREATE_FAILED: "CREATE_FAILED",
    JobStatus.CONFIGURING: "CONFIGURATION",
    JobStatus.SCHEDULED: "WAITING_FOR_START",
    JobStatus.STARTING: "STARTJOBING",
    JobStatus.START_FAILED: "START_JOB_FAILED",
    JobStatus.COPYING: "FULL_TRANSFER_STARTED",
    JobStatus.COPY_FAILED: "FULL_TRANSFER_FAILED",
    JobStatus.COPIED: "FULL_TRANSFER_COMPLETE",
    JobStatus.STREAMING: "INCRE_TRANSFER_STARTED",
    JobStatus.STREAM_FAILED: "INCRE_TRANSFER_FAILED",
    JobStatus.PAUSED: "PAUSING",  # the resting state; the word only reads as if it were on its way
    JobStatus.ENDING: "RELEASE_RESOURCE_STARTED",
    JobStatus.END_FAILED: "RELEASE_RESOURCE_FAILED",
    JobStatus.ENDED: "RELEASE_RESOURCE_COMPLETE",
    JobStatus.DELETED: "DELETED",
}
STATUS_OF_WORD: Final[dict[str, JobStatus]] = {word: status for status, word in STATUS_WORD.items()}

# Documented words that no job of ours ever has: a filter on one of them finds nothing, and is no error.
UNUSED_STATUS_WORDS: Final = frozenset(
    {
        "CHANGE_JOB_STARTED",
        "CHANGE_JOB_FAILED",
        "REBUILD_NODE_STARTED",
        "REBUILD_NODE_FAILED",
        "CHILD_TRANSFER_STARTING",
        "CHILD_TRANSFER_STARTED",
        "CHILD_TRANSFER_COMPLETE",
        "CHILD_TRANSFER_FAILED",
        "RELEASE_CHILD_TRANSFER_STARTED",
        "RELEASE_CHILD_TRANSFER_COMPLETE",
        "NODE_UPGRADE_START",
        "NODE_UPGRADE_COMPLETE",
        "NODE_UPGRADE_FAILED",
    }
)

TASK_MODE_WORD: Final[dict[TaskMode, str]] = {
    TaskMode.FULL: "FULL_TRANS",
    TaskMode.FULL_AND_STREAM: "FULL_INCR_TRANS",
    TaskMode.STREAM: "INCR_TRANS",
}
TASK_MODE_OF_WORD: Final[dict[str, TaskMode]] = {word: mode for mode, word in TASK_MODE_WORD.items()}

CONFLICT_POLICY_OF_WORD: Final[dict[str, ConflictPolicy]] = {
    "ignore": ConflictPolicy.IGNORE,
    "overwrite": ConflictPolicy.OVERWRITE,
    "stop": ConflictPolicy.STOP,
}
CONFLICT_POLICY_WORD: Final = {policy: word for word, policy in CONFLICT_POLICY_OF_WORD.items()}

PAUSE_MODE_OF_WORD: Final[dict[str, PauseMode]] = {"target": PauseMode.TARGET, "all": PauseMode.ALL}

VERDICT_WORD: Final[dict[Verdict, str]] = {
    Verdict.PASSED: "PASSED",
    Verdict.WARNING: "ALARM",
    Verdict.FAILED: "FAILED",
}

DB_USE_TYPES: Final = frozenset({"migration", "sync", "cloudDataGuard"})
JOB_DIRECTIONS: Final = frozenset({"up", "down", "non-dbs"})
NET_TYPES: Final = frozenset({"vpn", "vpc", "eip"})
NODE_TYPES: Final = frozenset(NODE_SIZES)
CHARGING_MODES: Final = frozenset({"on_demand", "period"})

BUILT_ENGINE_TYPES: Final[dict[str, tuple[str, str]]] = {
    "postgresql": ("postgresql", "postgresql"),
    "mysql": ("mysql", "mysql"),
    "postgresql-to-mysql": ("postgresql", "mysql"),
    "mysql-to-postgresql": ("mysql", "postgresql"),
}
"""`engine_type` that we can run -> database families of source and target; `mysql` is MariaDB, too."""

BUILT_FAMILIES: Final = frozenset(family for pair in BUILT_ENGINE_TYPES.values() for family in pair)

FAMILIES_WITHOUT_SCHEMAS: Final = frozenset({"mysql"})
"""Their tables lie in the database itself, which is what other families call a schema."""

DB_TYPES: Final = frozenset({"mysql", "mongodb", "postgresql", "taurus", "gaussdbv5", "gaussdbv5ha", "kafka"})
"""Documented `db_type` words. The wider list of the service's cluster call is refused in the same way."""


class EndPointType(Enum):
    """Which side of a job a request item means."""

    SOURCE = "so"
    TARGET = "ta"


class PrecheckMode(Enum):
    START = "forStartJob"
    RETRY = "forRetryJob"


class DeleteType(Enum):
    TERMINATE = "terminate"
    FORCE_TERMINATE = "force_terminate"
    DELETE = "delete"
    ROLL_BACK_UPGRADE = "roll_back_upgrade_active_standby"


ITEM_SUCCESS: Final = "success"
ITEM_FAILED: Final = "failed"
