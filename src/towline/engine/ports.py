"""What the engine asks of the world. Adapters implement these; nothing here does I/O.

Every method raises only errors of `towline.domain.errors`; adapters translate driver errors in one place.
Sizes are bytes, times are microseconds since the epoch (UTC) unless the name says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from towline.domain.changes import RowChange
from towline.domain.conversion import ReplacedValues
from towline.domain.diagnosis import SourceFacts, TargetFacts
from towline.domain.pace import TargetPace
from towline.domain.positions import Position
from towline.domain.prechecks import PrecheckItem
from towline.domain.progress import Progress
from towline.domain.structure import SequenceValue, StructureItem, StructureReport
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.engine.batch import Batch


class Clock(Protocol):
    """Time, handed in."""

    def now_us(self) -> int: ...
    def monotonic_s(self) -> float: ...


# --- structure ----------------------------------------------------------------------------------


class StructureSource(Protocol):
    async def read_structure(
        self, selection: ObjectSelection, *, on_report: Callable[[StructureReport], None]
    ) -> list[StructureItem]:
        """All objects of the selection, dependencies included, in creation order.

        `on_report` hears what will be different on the target, such as an object that is left out.

        Raises: PgDumpMissing, MissingPrivilege, ConnectionLost.
        """
        ...

    async def read_sequences(self, selection: ObjectSelection) -> list[SequenceValue]: ...


class StructureTarget(Protocol):
    """Creates objects and remembers in the same transaction that it has (crash-safe, repeatable)."""

    async def save_structure(self, items: Sequence[StructureItem], reports: Sequence[StructureReport]) -> None:
        """Remember the whole plan and what is said of it, once; a later call with a plan present changes nothing.

        Statements of items that are secret are not remembered.
        """
        ...

    async def load_structure(self) -> tuple[list[StructureItem], frozenset[int]]:
        """The remembered plan and the numbers that are done; ([], empty) before `save_structure`."""
        ...

    async def load_reports(self) -> list[StructureReport]:
        """All that was said of the job's structure so far, by this worker or an earlier one."""
        ...

    async def apply_items(
        self, items: Sequence[StructureItem], *, on_report: Callable[[StructureReport], None]
    ) -> None:
        """Create the items in order and mark them done, in as few transactions as possible.

        Optional items that fail are reported and marked done. Items already done are skipped. What is reported is
        remembered no later than the item is done, and before `on_report` hears it.

        Raises:
            StructureFailed: names the object; everything before it stays done.
        """
        ...

    async def read_build_progress(self) -> Mapping[int, float]:
        """How far each index build in flight is, 0..1 by the item's number; a build nobody knows of is left out."""
        ...

    async def write_sequences(self, values: Sequence[SequenceValue], *, is_final: bool) -> None:
        """Let the target's sequences go on where the source's stand; those that it does not have are passed over.

        Called again and again while changes are followed.  A target whose counters follow the rows, and on which
        setting one is in the way of others, may leave it to the last time, when `is_final`, and to those that
        stayed behind since the call before.
        """
        ...

    async def refresh_views(self, *, on_report: Callable[[StructureReport], None]) -> None:
        """Refresh the job's populated materialised views, in order of dependency; a failure is reported."""
        ...


# --- copy ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of one table: rows whose heap page lies in [first_page, end_page); None = no limit.

    `kind` is 'pages' for a part of the snapshot and 'changed' for the rows of a table that changed after the
    base snapshot and before snapshot `snapshot_number` (see `engine/snapshot.py`).

    A table that is cut by its key has one 'page' for each part: rows whose key is greater than `after` and not
    greater than `upto`; None = no limit.  Only the adapter that made these texts reads them.
    """

    table: TableName
    number: int
    first_page: int
    end_page: int | None
    kind: str = "pages"
    after: str | None = None
    upto: str | None = None


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """A ledger row: the chunk's rows are on the target, copied under snapshot `snapshot_number`."""

    chunk: Chunk
    snapshot_number: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotFact:
    """A snapshot that chunks were read under: its position, and its text form for visibility tests.

    `age_s`: of the snapshot when the facts were read; None where nobody asks for it.
    """

    number: int
    position: str
    snapshot_text: str
    age_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the stream is durable on the target. Never ahead of the data (I1)."""

    position: Position
    source_time_us: int | None
    transactions: int
    changes: int


@dataclass(frozen=True, slots=True)
class TablePlan:
    """How a table was cut when the job began, as the target remembers it.

    `bounds` are the keys between the parts of a table that is cut by its key, in order.
    """

    table: TableName
    pages: int
    chunk_pages: int
    size_bytes: int
    estimated_rows: int
    storage_id: str
    bounds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """Everything that the target knows of the copy; the phase is derived from it."""

    snapshots: tuple[SnapshotFact, ...]
    plans: tuple[TablePlan, ...]
    done: tuple[ChunkDone, ...]
    is_planned: bool
    is_copied: bool
    is_complete: bool  # structure, rows, indexes: the full phase is over
    edit: int = 0  # the last change of the selection that has been taken in, see `EditTarget`
    renews_tables: bool = False  # the stream carries DDL: tables come into the plan, and leave it, in its course
    joining: frozenset[TableName] = frozenset()  # where DDL of the source matters: tables that are not in step yet


class ChunkReader(Protocol):
    """One session of the source that sees the snapshot."""

    def read(self, table: Table, chunk: Chunk, *, changed_since: SnapshotFact | None) -> AsyncIterator[bytes]:
        """The chunk's rows in the table's wire form, in pieces as they come off the socket.

        With `changed_since`, a 'pages' chunk leaves out rows written after that snapshot began, and a 'changed'
        chunk holds nothing but them.
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class NamesRows(Protocol):
    """A chunk reader that can say which row of a chunk was the n-th, from 1, by its key; for messages."""

    async def read_key(self, table: Table, chunk: Chunk, *, row_number: int) -> str: ...


@runtime_checkable
class ReplacesValues(Protocol):
    """A chunk reader that, where the job allows it, gives NULL for values that the target does not have."""

    def replaced(self, table: Table) -> Mapping[str, int]:
        """How many by column, of the chunk of this table that was read last, to its end."""
        ...


class Snapshot(Protocol):
    """A moment of the source that any number of sessions can read. Close it when all are open or done."""

    @property
    def position(self) -> Position | None:
        """Every transaction committed up to here is in the snapshot, no later one; None without a stream."""
        ...

    @property
    def text(self) -> str: ...
    def shows_same_rows_as(self, text: str) -> bool:
        """True when it is certain that nothing was written since the snapshot with this text."""
        ...

    async def open_reader(self) -> ChunkReader: ...
    async def close(self) -> None: ...


class CopySource(Protocol):
    async def read_identity(self) -> str: ...
    async def read_tables(self, selection: ObjectSelection) -> list[Table]: ...
    @property
    def can_seek_pages(self) -> bool: ...
    @property
    def cuts_by_key(self) -> bool:
        """Whether tables are cut by `read_bounds` rather than by their pages."""
        ...

    async def read_bounds(self, table: Table, *, parts: int) -> tuple[str, ...]:
        """Keys that cut the table into about so many parts of about the same size; () leaves it in one."""
        ...

    async def open_base_snapshot(self, tables: Sequence[Table], *, follow: bool) -> Snapshot:
        """The first snapshot. With `follow` the stream is kept by the source from exactly this moment on."""
        ...

    async def drop_feed(self) -> None:
        """Let the source forget what `open_base_snapshot` made it keep. Touches nothing of another worker."""
        ...

    async def open_later_snapshot(self, tables: Sequence[Table], *, follow: bool) -> Snapshot: ...


class ChunkWriter(Protocol):
    """One session of the target."""

    async def write(
        self,
        work: Sequence[tuple[Table, Chunk]],
        reader: ChunkReader,
        *,
        snapshot_number: int,
        changed_since: Mapping[TableName, SnapshotFact],
        on_bytes: Callable[[Table, int], Awaitable[None]],
    ) -> list[ChunkDone]:
        """Copy the chunks and their ledger rows in one transaction."""
        ...

    async def close(self) -> None: ...


class CopyTarget(Protocol):
    """The ledger. Every method that writes requires the job's epoch (I6)."""

    async def require_lease(self) -> None:
        """Raises LeaseLost when another worker owns the job."""
        ...

    async def load_facts(self) -> CopyFacts: ...
    async def save_snapshot(self, snapshot: SnapshotFact) -> None: ...
    async def save_plan(self, plans: Sequence[TablePlan]) -> None: ...
    async def start_over(self, tables: Sequence[TableName], plans: Sequence[TablePlan]) -> None:
        """Empty the tables, forget their chunks and remember the new plans, in one transaction.

        The copy as a whole is then no longer marked as done.
        """
        ...

    async def mark_copied(self) -> None:
        """All chunks are done: make them durable (a flushed commit) and remember it."""
        ...

    async def mark_complete(self) -> None: ...
    async def open_writer(self) -> ChunkWriter: ...


@runtime_checkable
class EditTarget(Protocol):
    """What a `CopyTarget` can do besides if objects can leave a job that has run."""

    async def leave(
        self,
        tables: Sequence[TableName],
        items: Sequence[int],
        *,
        edit: int | None,
        describe: Callable[[str], Sequence[StructureReport]],
    ) -> None:
        """Forget plans, chunks and structure of these tables, in one transaction; their rows stay on the target.

        `edit`: the number of the edit that is taken in with it; None: something is still to join.  `describe` says what
        became of the tables, given the position up to which changes are in their rows.  It is remembered, together with
        what becomes of foreign keys between them and tables that stay.
        """
        ...

    async def finish_leaving(self) -> list[StructureReport]:
        """Do what `leave` could not do in its transaction; what is to be told of it until `forget_told`.

        Safe to repeat.
        """
        ...

    async def forget_told(self) -> None: ...


@runtime_checkable
class NarrowingSource(Protocol):
    """What a `CopySource` can do besides if it, rather than whoever reads the stream, chooses what is sent."""

    async def narrow_feed(self, tables: Sequence[TableName]) -> bool:
        """Send no changes of other tables any more; False when there are none. Safe to repeat.

        A worker that was frozen and wakes up late does not take away what its successors have added since.
        """
        ...

    async def find_unsent(self, tables: Sequence[Table]) -> list[TableName]:
        """Those of the tables, as they are now, whose changes are not sent although there is a log of them."""
        ...


_COLUMN_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class TableFile:
    """`storage_id` and `columns_id` of a `Table` when it was looked at."""

    storage_id: str
    columns_id: str

    def has_other_values(self, now: TableFile) -> bool:
        """Whether the table may have been rewritten with other values since."""
        is_rewritten = now.storage_id != self.storage_id
        return is_rewritten and not now._words() - now._parents() <= self._words()

    def has_other_parent(self, now: TableFile) -> bool:
        """Whether the table became a partition since, or is none any more."""
        return now._parents() != self._parents()

    def has_other_columns(self, now: TableFile) -> bool:
        """Whether columns were added or dropped since."""
        return now._numbers() != self._numbers()

    def _numbers(self) -> set[str]:
        return {match[0] for word in self._words() if (match := _COLUMN_NUMBER.match(word))}

    def _words(self) -> set[str]:
        return set(self.columns_id.split())

    def _parents(self) -> set[str]:
        return {word for word in self._words() if word.startswith("p")}


@runtime_checkable
class RemembersFiles(Protocol):
    """What a `CopyTarget` can do besides if it serves sources that rewrite tables without a word in their log."""

    async def load_files(self) -> Mapping[TableName, TableFile]: ...

    async def save_files(self, files: Mapping[TableName, TableFile]) -> None:
        """Remember these, in place of what was remembered of the same tables."""
        ...


@runtime_checkable
class JoinTarget(EditTarget, Protocol):
    """What a `CopyTarget` can do besides if objects can join a job that has run; not every one can."""

    async def join(
        self,
        plans: Sequence[TablePlan],
        items: Sequence[StructureItem],
        *,
        edit: int,
        since: Position,
        reports: Sequence[StructureReport],
    ) -> None:
        """Add tables and structure to the job, with what is said of them, and note the edit, in one transaction.

        With new tables the copy, and with new items the full phase, is no longer marked as done.  `since`: where the
        source was before the structure was read; what its log says of the new tables up to there is in it already.
        """
        ...


@runtime_checkable
class CountsReplaced(Protocol):
    """A `CopyTarget` that remembers, with the rows themselves, how many values became NULL."""

    async def load_replaced(self) -> Sequence[ReplacedValues]:
        """By table and column; nothing of columns without any."""
        ...


class Reporter(Protocol):
    """Takes figures; must be cheap, the store is written by somebody else, every `interval_s`."""

    @property
    def interval_s(self) -> float:
        """How often figures are passed on at present: to know something sooner than that is of no use."""
        ...

    def report(self, progress: Progress) -> None: ...
    def attach(self, take: Callable[[], Progress] | None) -> None:
        """Until told otherwise, `take` gives the figures of the very moment; None: only what was reported holds."""
        ...

    def note(self, report: StructureReport) -> None: ...
    async def restate(self, reports: Sequence[StructureReport]) -> None:
        """All that was noted of the structure so far: what did not arrive, because a worker was killed, is noted."""
        ...

    async def deliver(self) -> None:
        """What was noted so far is where it stays. Raises: LeaseLost."""
        ...


class Control(Protocol):
    """What the operator wants of a running job; read often, so it must be cheap."""

    @property
    def is_stop_wanted(self) -> bool: ...
    @property
    def is_apply_paused(self) -> bool: ...
    def limit_bytes_per_s(self) -> int | None:
        """The speed limit that holds now; None = no limit."""
        ...

    async def wait_stop(self) -> None: ...


class Precheck(Protocol):
    async def run(self) -> list[PrecheckItem]: ...


# --- the figures of a running stream ------------------------------------------------------------


class StreamFigures(Protocol):
    """Readable at any moment while a stream runs; all from the applier's own bookkeeping."""

    @property
    def proven_source_time_us(self) -> int | None: ...
    @property
    def source_clock_offset_us(self) -> int | None: ...
    @property
    def transactions(self) -> int: ...
    @property
    def changes(self) -> int: ...
    @property
    def rows_per_s(self) -> float | None: ...
    @property
    def bytes_per_s(self) -> float | None: ...
    @property
    def applied_position(self) -> str | None: ...
    @property
    def source_position(self) -> str | None: ...
    @property
    def waiting_for(self) -> str | None: ...
    @property
    def received_position(self) -> str | None:
        """How far the source's changes have been read; not all of it is on the target."""
        ...

    @property
    def received_source_time_us(self) -> int | None:
        """As `proven_source_time_us`, for what has been read; None before anything is known of this connection."""
        ...

    @property
    def queued_bytes(self) -> int:
        """What lies between reader and target, the batch at hand included."""
        ...

    def applying_s(self) -> float:
        """For how long the target has been at the batch at hand; 0 when there is none."""
        ...

    @property
    def is_caught_up(self) -> bool:
        """True once the applied position has covered a position of the source sampled while streaming."""
        ...


@dataclass(frozen=True, slots=True)
class StreamGoal:
    """Where a stream begins, ends and is tolerant.

    `start`: used when the target has no checkpoint yet.  `until`: return once the applied position covers
    it; None = go on until told to stop.  `tolerant_until`: up to here a row may be ahead of the stream
    (see `engine/snapshot.py`).  `table_floors`: changes of a table in transactions that its snapshot
    already holds are skipped.  `only`: changes of other tables are skipped; None = there are none.
    """

    start: Position
    until: Position | None
    tolerant_until: Position | None
    table_floors: Mapping[TableName, Position]
    only: frozenset[TableName] | None = None


class Sides(Protocol):
    """Both databases of a job, opened and taken over by this worker."""

    @property
    def epoch(self) -> int:
        """Of this worker: as long as it is the job's newest, nobody else writes (I6)."""
        ...

    @property
    def target_pace(self) -> TargetPace:
        """What the target is like before anything is measured."""
        ...

    @property
    def structure_source(self) -> StructureSource: ...
    @property
    def structure_target(self) -> StructureTarget: ...
    @property
    def copy_source(self) -> CopySource: ...
    @property
    def copy_target(self) -> CopyTarget: ...
    async def read_source_position(self) -> Position:
        """Everything committed on the source so far lies at or before it."""
        ...

    def parse_position(self, text: str) -> Position: ...
    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        """`mixed`: tables whose chunks come from several snapshots."""
        ...

    def new_source_diagnosis(self) -> SourceDiagnosis: ...
    def new_target_diagnosis(self) -> TargetDiagnosis: ...
    async def close(self) -> None: ...


# --- why things take long -------------------------------------------------------------------------


class SourceDiagnosis(Protocol):
    """Looks at the source on a connection of its own, made when first needed and anew after a failure."""

    async def read(self, *, at_us: int) -> SourceFacts:
        """What it looks like now, which is `at_us`; returns or fails within seconds, whatever is locked there.

        Raises: TowlineError, when the source does not answer or does not allow it.
        """
        ...

    async def close(self) -> None: ...


class TargetDiagnosis(Protocol):
    """The same for the target: what the job's own sessions wait for, and who holds it."""

    async def read(self, *, at_us: int) -> TargetFacts: ...
    async def close(self) -> None: ...


# --- stream ---------------------------------------------------------------------------------------


class TransactionSink(Protocol):
    """Takes what a reader decodes, in commit order. Never blocks: a reader stops while it `is_full`."""

    @property
    def is_full(self) -> bool: ...
    async def wait_room(self) -> None: ...

    def transaction(self, changes: list[RowChange], position: Position, time_us: int, size_bytes: int) -> None:
        """A transaction (or the rest of one) was committed at `time_us` of the source's clock.

        `position` lies right after its commit. `size_bytes` is what the changes take in memory.
        """
        ...

    def part(self, changes: list[RowChange], position: Position, size_bytes: int) -> None:
        """The next part of a committed transaction that is too large to be handed on at once.

        `position` lies inside its commit.
        """
        ...

    def streamed(self, xid: int, subxid: int, changes: list[RowChange], size_bytes: int) -> None:
        """Changes of a transaction still in progress, made by its subtransaction `subxid` (or itself)."""
        ...

    def abort_streamed(self, xid: int, subxid: int) -> None:
        """The subtransaction (or all of the transaction) was rolled back."""
        ...

    def commit_streamed(self, xid: int, position: Position, time_us: int) -> None: ...

    def marker(self, position: Position) -> None:
        """Every commit before `position` has been handed on."""
        ...


class ChangeStream(Protocol):
    """One connection to the source's live feed; made anew after a failure."""

    async def open(self, start: Position, sink: TransactionSink) -> None:
        """Begin after `start`.

        Raises:
            PositionLost: the source no longer has the changes after `start`.
            TransientError: another session reads the feed, or the source cannot be reached.
        """
        ...

    async def run(self) -> None:
        """Hand changes to the sink until cancelled or the connection fails."""
        ...

    def confirm(self, position: Position) -> None:
        """The target is durable up to `position` (I1): the source may forget what lies before."""
        ...

    def ask_position(self) -> None:
        """Let the source say how far it has sent, so that an idle stream moves on."""
        ...

    async def close(self) -> None: ...


class ChangeApplier(Protocol):
    """One session that writes the stream to the target; made anew after a failure."""

    async def open(self, start: Position) -> Checkpoint:
        """Connect and read the checkpoint back; the first time it is made at `start`.

        Raises: LeaseLost, MissingPrivilege, TransientError.
        """
        ...

    async def apply(
        self,
        batch: Batch,
        next_part: Callable[[], Awaitable[Batch]],
        *,
        may_flush_later: Callable[[], bool],
    ) -> ApplyResult:
        """Apply whole source transactions and the checkpoint in one target transaction.

        While a batch is not complete its transaction goes on in `next_part`.  Asked at the commit,
        `may_flush_later` allows it to become durable only with a later one; the result says which it was.

        Raises:
            ConnectionLost: the outcome of the commit is unknown; open anew to read the checkpoint back.
            DataError, SourceChanged, LeaseLost: nothing of the batch is on the target.
        """
        ...

    async def save_position(self, position: Position) -> None:
        """Move the checkpoint past a stretch of the source's history that holds no changes of the job.

        Afterwards it is durable, with everything that was committed before.
        """
        ...

    async def describe_wait(self) -> str | None:
        """What the apply at hand waits for on the target, in words; None if it just works.

        Raises:
            ConnectionLost: the target no longer knows the applier's session.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """One committed batch: the new checkpoint and how many changes met a row that was not as expected."""

    checkpoint: Checkpoint
    conflicts: int
    is_durable: bool


@dataclass(frozen=True, slots=True)
class SourceSample:
    """The source's clock, then its position: every change committed up to that time lies before it.

    `has_exact_commits`: transactions carry the moment of their commit, to the microsecond and by the source's own
    clock.  Where they do not, samples have to tell, and are taken more often.
    """

    source_time_us: int
    position: Position
    has_exact_commits: bool = True


class SourceProbe(Protocol):
    """Asks the source for the time and its position, on a connection of its own."""

    async def sample(self) -> SourceSample: ...
    async def nudge(self) -> None:
        """Write a heartbeat that moves an idle source on; does nothing where that is not possible."""
        ...

    async def close(self) -> None: ...


class StreamSides(Protocol):
    """What `run_stream` joins. Each call makes a new, unconnected object."""

    @property
    def spill_dir(self) -> Path:
        """A folder of this job alone for large transactions in progress."""
        ...

    @property
    def memory_bytes(self) -> int:
        """How much memory changes may take between the source and the target."""
        ...

    def new_changes(self) -> ChangeStream: ...
    def new_applier(self) -> ChangeApplier: ...
    def new_probe(self) -> SourceProbe: ...
