"""Named points at which a fault test may stop the program.

Production code only calls `reach`; it does nothing unless an observer was installed, which only the fault tests
do, in a worker process of their own.
"""

from __future__ import annotations

from collections.abc import Callable

COPY_IN_CHUNK = "copy.in_chunk"
COPY_BEFORE_LEDGER = "copy.before_ledger"
COPY_BEFORE_COMMIT = "copy.before_commit"
COPY_AFTER_COMMIT = "copy.after_commit"
SNAPSHOT_BEFORE_SLOT = "snapshot.before_slot"
SNAPSHOT_SLOT_CREATED = "snapshot.slot_created"
STRUCTURE_BEFORE_COMMIT = "structure.before_commit"
INDEX_IN_BUILD = "index.in_build"
LEAVE_BEFORE_COMMIT = "leave.before_commit"
LEAVE_REMEMBERED = "leave.remembered"
LEAVE_KEY_DROPPED = "leave.key_dropped"
LEAVE_NARROWED = "leave.narrowed"
JOIN_BEFORE_LEDGER = "join.before_ledger"
JOIN_REMEMBERED = "join.remembered"
JOIN_PUBLISHED = "join.published"
HANDOFF_BEFORE_STREAM = "handoff.before_stream"
APPLY_IN_BATCH = "apply.in_batch"
APPLY_BEFORE_COMMIT = "apply.before_commit"
APPLY_AFTER_COMMIT = "apply.after_commit"
DDL_BEFORE_INTENT = "ddl.before_intent"
DDL_AFTER_INTENT = "ddl.after_intent"
DDL_AFTER_STATEMENT = "ddl.after_statement"
DDL_BEFORE_CHECKPOINT = "ddl.before_checkpoint"

_observer: Callable[[str], None] | None = None


def observe(observer: Callable[[str], None] | None) -> None:
    """Install the observer, or remove it with None."""
    global _observer
    _observer = observer


def reach(point: str) -> None:
    if _observer is not None:
        _observer(point)
