"""The events of a binlog as transactions for the sink. Pure.

A transaction begins with a GTID event (an anonymous one where there are no GTIDs) and ends with XID, with COMMIT, or
after its only statement.  The source has committed it before it sends the first byte, so parts of a large one are
handed on as they come.  What is not a change of a table of the job costs little: its TABLE_MAP is remembered as
"not ours".

The caller puts events in and calls `advance` until all are taken; in between it waits for room in the sink, reads
the catalog for a table whose columns are not known, or waits until the target has run a DDL statement, whose tables
have a new form for all that follows.  Nothing is lost or done twice by such a stop: it happens
between events.

XA: what is prepared goes to the sink as a transaction in progress and comes to its end with XA COMMIT, maybe
long after.  Until then positions are `HeldPosition`s, from which everything that was prepared is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count
from struct import error as StructError
from typing import Final

from towline.adapters.mysql import binlog_events as ev
from towline.adapters.mysql.ddl_plan import plan_ddl, refuse, require_same_names
from towline.adapters.mysql.forms import TableForm
from towline.adapters.mysql.gtid import BinlogOffset, BinlogPosition, GtidSet, HeldPosition, MariadbGtids
from towline.adapters.mysql.joining import Joining
from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_alter import plan_alter, read_ddl
from towline.adapters.mysql.postgres_tables import plan_create, plan_drop, plan_rename
from towline.adapters.mysql.row_events import TableRows, decompress_event, join_shape
from towline.adapters.mysql.shadow_tables import is_shadow
from towline.adapters.mysql.shapes import TableShape
from towline.adapters.mysql.source_form import KeptForms, SourceForm
from towline.adapters.mysql.statement_context import StatementContext, decode_context, render_settings
from towline.adapters.mysql.statements import Statement, Verb, read_statement, read_words
from towline.adapters.mysql.table_map import decode_table_map, decode_table_name
from towline.adapters.mysql.table_order import KeptForm, TableOrder
from towline.domain.changes import CHANGE_OVERHEAD_BYTES, DDL, DELETE, INSERT, TRUNCATE, UPDATE, Relation, RowChange
from towline.domain.errors import (
    BinlogFormatNotRow,
    InvariantBroken,
    PositionLost,
    SetupError,
    Side,
    SourceChanged,
    SourceDdl,
)
from towline.domain.tables import ObjectSelection, TableName
from towline.engine.ports import TransactionSink

_ROW_EVENTS: Final = {
    ev.WRITE_ROWS: (INSERT, 2, False),
    ev.UPDATE_ROWS: (UPDATE, 2, False),
    ev.DELETE_ROWS: (DELETE, 2, False),
    ev.WRITE_ROWS_V1: (INSERT, 1, False),
    ev.UPDATE_ROWS_V1: (UPDATE, 1, False),
    ev.DELETE_ROWS_V1: (DELETE, 1, False),
    ev.WRITE_ROWS_COMPRESSED_V1: (INSERT, 1, True),
    ev.UPDATE_ROWS_COMPRESSED_V1: (UPDATE, 1, True),
    ev.DELETE_ROWS_COMPRESSED_V1: (DELETE, 1, True),
    ev.WRITE_ROWS_COMPRESSED: (INSERT, 2, True),
    ev.UPDATE_ROWS_COMPRESSED: (UPDATE, 2, True),
    ev.DELETE_ROWS_COMPRESSED: (DELETE, 2, True),
}
_AT_NO_PLACE: Final = frozenset({ev.ROTATE, ev.HEARTBEAT, ev.HEARTBEAT_V2, ev.FORMAT_DESCRIPTION})
_BEGINS: Final = frozenset({ev.GTID, ev.ANONYMOUS_GTID, ev.TAGGED_GTID, ev.MARIADB_GTID})
_STATEMENT_END: Final = 1
# A row event of no table, which only ends a statement: as documented, and as the servers write their own number for it.
_NO_TABLE: Final = frozenset({b"\xff\xff\xff\0\0\0", b"\xff\xff\xff\xff\xff\xff"})
_MAX_KNOWN_MAPS: Final = 10_000
# A compressed transaction may be a thousand times as large as the block that it came in.
_TURN_BYTES: Final = 512 * 1024
_US_PER_S: Final = 1_000_000


class Stop(Enum):
    """Why `advance` returned."""

    DONE = "all events are taken"
    FULL = "the sink has no room"
    SHAPE_WANTED = "the columns of a table are not known"
    TURN = "others on the event loop may want a turn"
    DDL = "a statement was handed on that changes the form of tables"


@dataclass(frozen=True, slots=True)
class StreamSelection:
    """What the stream is about: `keys` has the job's tables with the columns that identify a row.

    `objects` also says which tables that come to be later would belong to the job.
    """

    keys: Mapping[TableName, Sequence[str]]
    objects: ObjectSelection


@dataclass(slots=True)
class _Transaction:
    position: BinlogPosition
    time_us: int
    is_group: bool = False  # between BEGIN and its end; else it is one statement
    xa_name: str = ""  # prepared or completed by it
    changes: list[RowChange] = field(default_factory=list)
    size_bytes: int = 0
    is_partly_handed_on: bool = False
    savepoints: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Held:
    """A prepared XA transaction: its number for the sink, and the position before it."""

    number: int
    resume: BinlogPosition


class BinlogDecoder:
    """Decodes one connection's events in order and hands transactions to the sink."""

    def __init__(
        self,
        sink: TransactionSink,
        selection: StreamSelection,
        shapes: Mapping[TableName, TableShape],
        *,
        start: BinlogPosition,
        part_bytes: int,
        has_checksums: bool,
        carries_ddl: bool = False,
        kept: KeptForms | None = None,
        joining: Joining | None = None,
        ignores_case: bool = False,
        is_in_utc: bool = False,
        cascades_are_logged: bool = False,
    ) -> None:
        """`has_checksums` holds for the first event, which says nothing about itself.

        `ignores_case`: the source has lower_case_table_names other than 0, so statements may spell names in any case.
        `is_in_utc`: what the time zone SYSTEM means there.

        With `carries_ddl`, DDL on the job's tables is handed on as a change in its place among the rows; without,
        it stops the stream.  With `kept`, rows are decoded by these forms and DDL is handed on as a `TableOrder`, as
        far as it is certain; what it makes of the forms is known from its words, so nothing has to wait.
        With `joining`, rows that were copied with their table are not decoded: they may be of an older form.
        """
        self._joining = joining
        self._sink = sink
        self._objects = selection.objects
        self._keys = dict(selection.keys)
        self._shapes = dict(shapes)
        self._start = start
        self._reached = start.resume
        self._part_bytes = part_bytes
        self._has_checksums = has_checksums
        self._carries_ddl = carries_ddl
        self._cascades_are_logged = cascades_are_logged
        self._ignores_case = ignores_case
        self._is_in_utc = is_in_utc
        self._is_mariadb = False
        self._file = start.resume.file if isinstance(start.resume, BinlogOffset) else ""
        self._events: list[Iterator[bytes]] = []
        self._retry: bytes | None = None
        self._rows: dict[bytes, TableRows | None] = {}
        self._known_maps: dict[bytes, TableRows | None] = {}
        self._relations: dict[TableName, Relation] = {}
        self._gone: set[TableName] = set()  # dropped, or renamed, and not made again
        self._kept = kept
        self._forms: dict[TableName, SourceForm] = {}
        if kept is not None:
            for table, form in kept.tables.items():
                self._keep_form(table, form)
        self._transaction: _Transaction | None = None
        self._held: dict[str, _Held] = {}
        self._left_out: dict[str, TableName] = {}  # of which no rows were decoded, by the transaction's XA name
        self._xa_numbers = count(1)
        self.wanted_shape: TableName | None = None
        self.altered: tuple[TableName, ...] = ()

    # --- the caller's side ------------------------------------------------------------------------

    @property
    def position(self) -> BinlogPosition:
        """Everything up to here has been handed on."""
        return self._as_held(self._reached)

    def put(self, events: Iterable[bytes]) -> None:
        """The next events, header and checksum included. Only after `advance` has returned DONE."""
        self._events.append(iter(events))

    def advance(self) -> Stop:
        """Take events until there is a reason to stop.

        Raises:
            InvariantBroken: an event is not of the grammar.
            SourceDdl, SourceChanged, BinlogFormatNotRow, RowImageNotFull: the job cannot go on from here.
            PositionLost: the source itself says that its binlog has a gap.
        """
        try:
            return self._advance()
        except (IndexError, KeyError, ValueError, StructError, StopIteration) as error:
            raise InvariantBroken(
                f"an event of the binlog cannot be decoded ({type(error).__name__}) at {self.position}",
                side=Side.SOURCE,
            ) from error

    def set_forms(self, forms: Mapping[TableName, TableForm] | None) -> None:
        """The answer to DDL: those of the tables in `altered` that the job has now. None: the catalog will say.

        Only after the target has run the statement: then its own tables have the form of the rows that follow.
        """
        for table in self.altered:
            self._shapes.pop(table, None)
            self._relations.pop(table, None)
            if forms is not None:
                form = forms.get(table)
                self._note_gone(table, is_gone=form is None)
                self._keys.pop(table, None)
                if form is not None:
                    self._keys[table] = form.key
                    if form.shape is not None:
                        self._shapes[table] = form.shape
        self.altered = ()
        self._known_maps.clear()
        self._rows.clear()

    def set_shape(self, table: TableName, shape: TableShape | None, key: Sequence[str] | None = None) -> None:
        """The answer to SHAPE_WANTED, with the columns that identify a row if they are known; None: no such table.

        Raises: SourceChanged, the binlog's columns are of another time than the catalog's.
        """
        self.wanted_shape = None
        if shape is None:
            raise SourceChanged(f"table {table} was dropped while the job ran", side=Side.SOURCE)
        self._shapes[table] = shape
        if key is not None:
            self._keys[table] = key
        if self._retry is not None:
            body = self._body(self._retry)
            if self._join(table, body) is None:
                raise SourceChanged(
                    f"the columns of table {table} were changed on the source while the job ran", side=Side.SOURCE
                )

    def refuse_shape(self) -> None:
        """The answer to SHAPE_WANTED where all forms are known: no statement made the table as the binlog has it."""
        raise SourceChanged(
            f"the columns of table {self.wanted_shape} were changed on the source without a word in its binlog",
            side=Side.SOURCE,
        )

    # --- the loop ---------------------------------------------------------------------------------

    def _advance(self) -> Stop:
        # The hot path: small transactions come as five events each.
        stack = self._events
        taken_bytes = 0
        while stack:
            if taken_bytes > _TURN_BYTES:
                return Stop.TURN
            event = self._retry
            self._retry = None
            if event is None:
                event = next(stack[-1], None)
                if event is None:
                    stack.pop()
                    continue
            taken_bytes += len(event)
            kind = event[4]
            # Inside a compressed transaction events have no checksums of their own.
            has_checksum = self._has_checksums and len(stack) == 1
            if has_checksum:
                ev.verify_checksum(event)
            if self._file and len(stack) == 1:
                self._move_offset(event, kind)
            if kind == ev.TABLE_MAP:
                if not self._take_table_map(event):
                    self._retry = event
                    return Stop.SHAPE_WANTED
            elif kind in _ROW_EVENTS:
                self._take_rows(event, *_ROW_EVENTS[kind], has_checksum=has_checksum)
            else:
                self._take_rare(event, kind)
                if self.altered:
                    return Stop.DDL
            if self._sink.is_full:
                return Stop.FULL
        return Stop.DONE

    def _body(self, event: bytes) -> bytes:
        has_checksum = self._has_checksums and len(self._events) == 1
        return event[ev.HEADER_BYTES : -ev.CHECKSUM_BYTES] if has_checksum else event[ev.HEADER_BYTES :]

    def _take_rare(self, event: bytes, kind: int) -> None:
        body = self._body(event)
        if kind == ev.XID:
            self._commit()
        elif kind in (ev.GTID, ev.ANONYMOUS_GTID, ev.TAGGED_GTID):
            gtid = (
                ev.decode_tagged_gtid(body)
                if kind == ev.TAGGED_GTID
                else ev.decode_mysql_gtid(body, is_anonymous=kind == ev.ANONYMOUS_GTID)
            )
            self._begin_mysql(gtid, event)
        elif kind == ev.MARIADB_GTID:
            self._begin_mariadb(ev.decode_mariadb_gtid(body), event)
        elif kind == ev.QUERY:
            self._take_query(*ev.decode_query(body), event)
        elif kind == ev.QUERY_COMPRESSED:
            schema, packed = ev.decode_query(body)
            self._take_query(schema, decompress_event(packed), event)
        elif kind == ev.XA_PREPARE:
            self._take_xa_prepare(*ev.decode_xa_prepare(body))
        elif kind == ev.TRANSACTION_PAYLOAD:
            self._events.append(ev.split_payload(body))
        elif kind == ev.PARTIAL_UPDATE_ROWS:
            self._take_partial_update(body)
        elif kind in (ev.HEARTBEAT, ev.HEARTBEAT_V2):
            self._take_heartbeat(event, kind)
        elif kind == ev.FORMAT_DESCRIPTION:
            self._has_checksums, self._is_mariadb = ev.decode_format(event)
        elif kind == ev.ROTATE:
            self._take_rotate(*ev.decode_rotate(body))
        elif kind in ev.OF_STATEMENTS:
            raise self._not_row("a statement")
        elif kind == ev.INCIDENT:
            raise PositionLost("the source lost events of its own binlog (an incident is recorded)", side=Side.SOURCE)
        elif kind not in ev.WITHOUT_MEANING and not self._flags(event) & ev.FLAG_IGNORABLE:
            raise InvariantBroken(f"the binlog has an event of unknown type {kind}", side=Side.SOURCE)

    @staticmethod
    def _flags(event: bytes) -> int:
        return int.from_bytes(event[17:19], "little")

    # --- positions --------------------------------------------------------------------------------

    def _begin_mysql(self, gtid: ev.MysqlGtid, event: bytes) -> None:
        self._require_end()
        time_us = gtid.time_us if gtid.time_us is not None else self._header_time_us(event)
        if isinstance(self._reached, BinlogOffset):
            # Where it ends is not known yet; this is a place inside it.
            position: BinlogPosition = BinlogOffset(self._file, self._end_of(event))
        elif isinstance(self._reached, GtidSet) and gtid.source:
            position = self._reached.with_gtid(gtid.source, gtid.number)
        else:
            raise SetupError(
                "the source has written a transaction without a GTID",
                side=Side.SOURCE,
                remedy="Set gtid_mode = ON on the source, then end the job and start a new one.",
            )
        self._transaction = _Transaction(position, time_us)

    def _begin_mariadb(self, gtid: ev.MariadbGtid, event: bytes) -> None:
        self._require_end()
        if isinstance(self._reached, BinlogOffset):
            position: BinlogPosition = BinlogOffset(self._file, self._end_of(event))
        elif isinstance(self._reached, MariadbGtids):
            server = int.from_bytes(event[5:9], "little")
            self._require_growth(self._reached, gtid, server)
            position = self._reached.with_gtid(gtid.domain, server, gtid.number)
        else:
            raise InvariantBroken("a transaction of MariaDB on a position of MySQL", side=Side.SOURCE)
        # No BEGIN follows; whatever is no single statement is a group.
        self._transaction = _Transaction(
            position, self._header_time_us(event), is_group=not gtid.is_standalone, xa_name=gtid.prepared_xa
        )

    @staticmethod
    def _require_growth(reached: MariadbGtids, gtid: ev.MariadbGtid, server: int) -> None:
        """Within a domain numbers must grow: a position holds the last one only, and `covers` goes by it.

        The source begins right behind the position that it was given, in each domain, and the binlog's own order is
        the same after every reconnection.  So what comes at or below it is no repetition but another writer's
        transaction; it would be taken for one that the target has.
        """
        last = reached.last_of(gtid.domain)
        if last is not None and gtid.number <= last[1]:
            raise SetupError(
                f"the source's GTIDs go back: {gtid.domain}-{server}-{gtid.number} follows"
                f" {gtid.domain}-{last[0]}-{last[1]}",
                side=Side.SOURCE,
                remedy="Set gtid_strict_mode = ON on the source and its replicas, and let one server write at a time or"
                " give each writer a gtid_domain_id of its own; then end the job and start a new one.",
            )

    def _header_time_us(self, event: bytes) -> int:
        # When the statement began, in whole seconds: it may make the source look further behind, never less.
        return int.from_bytes(event[:4], "little") * _US_PER_S

    def _require_end(self) -> None:
        if self._transaction is not None:
            raise InvariantBroken("a transaction of the binlog begins inside another", side=Side.SOURCE)

    def _end_of(self, event: bytes) -> int:
        """Where the event ends in its file; the header has only the low 32 bits."""
        assert isinstance(self._reached, BinlogOffset)
        low = int.from_bytes(event[13:17], "little")
        if low == 0 or self._flags(event) & ev.FLAG_ARTIFICIAL:
            return self._last_offset
        wide = self._last_offset & ~0xFFFFFFFF | low
        return wide if wide >= self._last_offset else wide + (1 << 32)

    @property
    def _last_offset(self) -> int:
        if self._transaction is not None and isinstance(self._transaction.position, BinlogOffset):
            return self._transaction.position.offset
        assert isinstance(self._reached, BinlogOffset)
        return self._reached.offset

    def _move_offset(self, event: bytes, kind: int) -> None:
        """Without GTIDs the place in the file is the position; inside a transaction it becomes that of its end.

        Where a transaction begins the position stays before it.
        """
        if kind in _AT_NO_PLACE or kind in _BEGINS:
            return
        end = BinlogOffset(self._file, self._end_of(event))
        if self._transaction is None:
            self._reached = end
        else:
            self._transaction.position = end

    def _take_rotate(self, file: str, offset: int) -> None:
        if isinstance(self._reached, BinlogOffset):
            self._require_end()
            # The server begins with a made-up event that says where it is going to begin.
            self._file = file
            self._reached = BinlogOffset(file, offset)

    def _take_heartbeat(self, event: bytes, kind: int) -> None:
        if self._transaction is not None:
            return
        if isinstance(self._reached, BinlogOffset) and kind == ev.HEARTBEAT:
            low = int.from_bytes(event[13:17], "little")
            # Beyond 4 GB the old heartbeat does not say where it is.
            if self._reached.offset < low:
                self._reached = BinlogOffset(self._file, low)
        self._sink.marker(self.position)

    def _as_held(self, reached: BinlogPosition) -> BinlogPosition:
        if not self._held:
            return reached
        return HeldPosition(reached, next(iter(self._held.values())).resume)

    # --- rows -------------------------------------------------------------------------------------

    def _take_table_map(self, event: bytes) -> bool:
        """False when the catalog has to be asked first."""
        body = self._body(event)
        known = body[6:]
        if self._joining is not None and self._is_copied(decode_table_name(body[8:])):
            self._rows[body[:6]] = None
            return True
        if known in self._known_maps:
            self._rows[body[:6]] = self._known_maps[known]
            return True
        table = decode_table_name(body[8:])
        rows = None
        if table in self._keys:
            rows = self._join(table, body)
            if rows is not None:
                rows = self._same_relation(rows)
            elif self._is_past(table):
                # Of a time before the checkpoint, with columns that the table no longer has; nobody wants its rows.
                self._rows[body[:6]] = None
                name = self._group().xa_name
                if name:
                    # Prepared rows keep DDL off the table, so the transaction has ended.  If not, `_end_xa` says so.
                    self._left_out[name] = table
                return True
            else:
                self.wanted_shape = table
                return False
        elif table in self._gone and not self._start.covers(self._group().position):
            # MariaDB logs RENAME of a temporary table as if it were of the lasting one.
            raise SourceChanged(
                f"rows of {table} came after the source's binlog had it renamed or dropped", side=Side.SOURCE
            )
        if len(self._known_maps) >= _MAX_KNOWN_MAPS:
            self._known_maps.clear()
        self._known_maps[known] = rows
        self._rows[body[:6]] = rows
        return True

    def _is_copied(self, table: TableName) -> bool:
        """Not where a transaction is prepared: only its commit tells on which side of the snapshot it is."""
        transaction, joining = self._transaction, self._joining
        if transaction is None or transaction.xa_name or joining is None:
            return False
        return joining.holds(table, transaction.position)

    def _is_past(self, table: TableName) -> bool:
        """Whether the transaction at hand is in the table's rows on the target, unless it is prepared.

        What is before the start is sent once more for the sake of a prepared XA transaction.
        """
        position = self._group().position
        return self._start.covers(position) or (self._joining is not None and self._joining.holds(table, position))

    def _join(self, table: TableName, body: bytes) -> TableRows | None:
        shape = self._shapes.get(table)
        if shape is None:
            return None
        key = self._keys[table]
        return join_shape(decode_table_map(body[8:]), shape, key, is_mariadb=self._is_mariadb)

    def _same_relation(self, rows: TableRows) -> TableRows:
        """Keep the relation of a table whose map differs in nothing that matters."""
        known = self._relations.get(rows.relation.table)
        if known is not None and known.has_shape_of(rows.relation):
            rows.relation = known
        else:
            self._relations[rows.relation.table] = rows.relation
        return rows

    def _take_rows(self, event: bytes, kind: int, version: int, is_compressed: bool, *, has_checksum: bool) -> None:
        if self._transaction is None:
            raise ValueError("rows outside of a transaction")
        begin = ev.HEADER_BYTES
        rows = self._rows_of(event[begin : begin + 8])
        if rows is not None:
            at = begin + 8
            if version == 2:
                at += int.from_bytes(event[at : at + 2], "little")
            body = event[: -ev.CHECKSUM_BYTES] if has_checksum else event
            transaction = self._transaction
            transaction.size_bytes += rows.decode(kind, body, at, transaction.changes, is_compressed=is_compressed)
            if transaction.size_bytes > self._part_bytes:
                self._hand_on_part(transaction)
        if event[begin + 6] & _STATEMENT_END:
            self._rows.clear()

    def _rows_of(self, head: bytes) -> TableRows | None:
        """By a row event's table and flags; None when the table is not the job's.

        Raises: ValueError, no map of the statement says which table it is. What it changes would be lost.
        """
        table_id = head[:6]
        rows = self._rows.get(table_id)
        if rows is None and table_id not in self._rows and not (table_id in _NO_TABLE and head[6] & _STATEMENT_END):
            raise ValueError("rows of a table that was not named before")
        return rows

    def _take_partial_update(self, body: bytes) -> None:
        if self._transaction is None:
            raise ValueError("rows outside of a transaction")
        rows = self._rows_of(body[:8])
        if rows is not None:
            at = 8 + int.from_bytes(body[8:10], "little")
            self._transaction.size_bytes += rows.decode_partial(body, at, self._transaction.changes)
            if self._transaction.size_bytes > self._part_bytes:
                self._hand_on_part(self._transaction)
        if body[6] & _STATEMENT_END:
            self._rows.clear()

    def _hand_on_part(self, transaction: _Transaction) -> None:
        if transaction.xa_name:
            self._stream_xa(transaction)
        else:
            self._sink.part(transaction.changes, self._as_held(transaction.position), transaction.size_bytes)
        transaction.changes, transaction.size_bytes = [], 0
        transaction.is_partly_handed_on = True

    # --- statements -------------------------------------------------------------------------------

    def _take_query(self, schema: str, raw: bytes, event: bytes) -> None:
        if raw == b"BEGIN":
            self._group().is_group = True
            return
        statement = read_statement(raw.decode("utf-8", "replace"), schema)
        if not raw.isascii():
            text = self._context(event).decode_text(raw)
            statement = read_statement(raw.decode("ascii", "replace") if text is None else text, schema)
        verb = statement.verb
        if verb is Verb.BEGIN:
            self._group().is_group = True
        elif verb is Verb.COMMIT:
            self._commit()
        elif verb is Verb.ROLLBACK:
            self._roll_back(None)
            self._commit()
        elif verb is Verb.SAVEPOINT:
            transaction = self._group()
            transaction.savepoints.append((statement.name, len(transaction.changes), transaction.size_bytes))
        elif verb is Verb.ROLLBACK_TO:
            self._roll_back(statement.name)
        elif verb is Verb.XA_START:
            transaction = self._group()
            transaction.is_group, transaction.xa_name = True, _normal_xa_name(statement.name)
        elif verb in (Verb.XA_END, Verb.XA_PREPARE):
            pass  # an event of its own follows
        elif verb in (Verb.XA_COMMIT, Verb.XA_ROLLBACK):
            self._end_xa(_normal_xa_name(statement.name), is_commit=verb is Verb.XA_COMMIT)
        else:
            self._take_statement(statement, schema, raw, event)
            if not self._group().is_group:
                self._commit()

    def _group(self) -> _Transaction:
        if self._transaction is None:
            raise ValueError("a statement outside of a transaction")
        return self._transaction

    def _take_statement(self, statement: Statement, schema: str, raw: bytes, event: bytes) -> None:
        if statement.verb is Verb.CHANGE_ROWS:
            raise self._not_row(statement.summary)
        if self._ignores_case:
            statement = self._as_stored(statement)
        if statement.verb is Verb.EMPTY_TABLE:
            for table in statement.tables:
                if table in self._keys:
                    self._require_lasting(statement, event)
                    relation = Relation(table, (), (), ())
                    self._add_change((TRUNCATE, relation, b"\0", None), 0)
            return
        if statement.verb is not Verb.DDL:
            return
        if self._is_about_us(statement):
            self._require_lasting(statement, event)
            if not self._passes_over(statement, schema, raw):
                self._hand_on_ddl(statement, schema, raw, event)
        elif self._makes_shadow(statement, raw):
            # What cannot be followed from its first row is passed over; it stops the job if it takes a table's place.
            with suppress(SourceDdl):
                self._hand_on_ddl(statement, schema, raw, event)

    def _require_lasting(self, statement: Statement, event: bytes) -> None:
        """A session's temporary table hides the lasting one of its name; with row events nothing of it is logged.

        What makes a table from a temporary one, and what drops others beside it, is about lasting ones all the same.
        """
        is_temporary = self._flags(event) & ev.FLAG_THREAD_SPECIFIC
        if is_temporary and not statement.summary.startswith(("CREATE TABLE ", "DROP TABLE ")):
            raise BinlogFormatNotRow(
                f"the source has logged {statement.summary} of a temporary table, at {self.position}", side=Side.SOURCE
            )

    def _hand_on_ddl(self, statement: Statement, schema: str, raw: bytes, event: bytes) -> None:
        if self._carries_ddl:
            self._take_ddl(statement, schema, raw, self._context(event))
        elif self._kept is not None:
            # What was sent once more is in the forms already.
            if not self._start.covers(self._group().position):
                self._take_kept_ddl(statement, schema, raw, self._context(event))
        else:
            raise SourceDdl(f"the source ran {statement.summary}", side=Side.SOURCE)

    def _passes_over(self, statement: Statement, schema: str, raw: bytes) -> bool:
        position = self._group().position
        if self._joining is None or self._start.covers(position):
            return False
        text = raw.decode("utf-8", "replace")
        has, covers = self._keys.__contains__, self._covers
        return self._joining.passes_over(statement, text, position, database=schema, has=has, covers=covers)

    def _covers_of(self, statement: Statement) -> Callable[[TableName], bool]:
        joining, position = self._joining, self._group().position
        if joining is None or not statement.summary.startswith("DROP TABLE"):
            return self._covers
        return lambda table: joining.drops(self._stored_name(table), position, has=self._keys.__contains__)

    def _text_of_ddl(self, statement: Statement, raw: bytes, context: StatementContext) -> str:
        """Raises SourceDdl for what is not a whole statement that ran on the source from its begin to its end."""
        if context.is_phased:
            raise refuse(statement, "it is logged in two phases", "Set binlog_alter_two_phase = OFF on the source.")
        if self._group().is_group:
            raise refuse(statement, "the table comes with rows", "Create tables and fill them in two statements.")
        if context.error:
            raise refuse(statement, f"it failed half-way on the source (error {context.error})")
        text = context.decode_text(raw)
        if text is None:
            raise refuse(statement, "its character set is not known here")
        return text

    def _take_kept_ddl(self, statement: Statement, schema: str, raw: bytes, context: StatementContext) -> None:
        """Hand on what the statement does, and go on with the forms that it leaves."""
        text = self._text_of_ddl(statement, raw, context)
        context = replace(context, database=schema)
        if self._is_in_utc and context.time_zone == "SYSTEM":
            context = replace(context, time_zone="UTC")
        order = self._plan_kept(statement, text, context)
        if order is None:
            return
        _require_known_session(statement, context)
        assert self._kept is not None
        if self._kept.since.covers(self._group().position) and any(map(self._changes_columns, order.forms)):
            raise SourceDdl(f"the source ran {statement.summary} while the job copied its tables", side=Side.SOURCE)
        self._add_change((DDL, Relation(order.table, (), (), ()), raw, order.encode()), len(raw))
        for kept in order.forms:
            self._keep_form(kept.table, kept.form)
        self._known_maps.clear()
        self._rows.clear()

    def _plan_kept(self, statement: Statement, text: str, context: StatementContext) -> TableOrder | None:
        """Raises SourceDdl: the job cannot go on past it."""
        assert self._kept is not None
        words = read_ddl(text, statement)
        verb, kind = statement.summary.split(" ", 2)[:2]
        known = KnownTables(
            self._forms,
            self._kept.charsets,
            self._takes,
            self._stored_name,
            is_plain=self._kept.is_plain,
            cascades_are_logged=self._cascades_are_logged,
        )
        if verb == "DROP" and kind == "TABLE":
            return plan_drop(words, known)
        if verb == "CREATE" and kind == "TABLE":
            return plan_create(words, known, context, is_mariadb=self._is_mariadb)
        if len(statement.tables) > 1 and verb in ("RENAME", "ALTER"):
            return plan_rename(words, known)
        form = self._forms.get(statement.tables[0]) if len(statement.tables) == 1 else None
        if form is None:
            raise refuse(statement, "it is about more than tables of the job")
        return plan_alter(words, form, context, known, is_mariadb=self._is_mariadb)

    def _changes_columns(self, kept: KeptForm) -> bool:
        """Whether rows before and after are read differently, of a table whose form before is not known for sure."""
        before = self._forms.get(kept.table)
        is_same = (
            before is not None
            and kept.form is not None
            and (before.columns, before.key) == (kept.form.columns, kept.form.key)
        )
        return before is not None and not before.is_made and not is_same

    def _stored_name(self, table: TableName) -> TableName:
        return self._as_stored(Statement(Verb.DDL, tables=(table,))).tables[0] if self._ignores_case else table

    def _keep_form(self, table: TableName, form: SourceForm | None) -> None:
        self._relations.pop(table, None)
        self._note_gone(table, is_gone=form is None)
        if form is None:
            for known in (self._forms, self._shapes, self._keys):
                known.pop(table, None)
            return
        self._forms[table] = form
        self._shapes[table] = form.shape(table)
        self._keys[table] = form.key

    def _note_gone(self, table: TableName, *, is_gone: bool) -> None:
        if not is_gone:
            self._gone.discard(table)
        elif table in self._keys:
            self._gone.add(table)

    def _take_ddl(self, statement: Statement, schema: str, raw: bytes, context: StatementContext) -> None:
        """Hand the statement on as a transaction of its own; what follows waits until the target has run it."""
        text = self._text_of_ddl(statement, raw, context)
        order = plan_ddl(
            text,
            statement,
            database=schema,
            covers=self._covers_of(statement),
            takes=self._takes,
            cascades_are_logged=self._cascades_are_logged,
        )
        if order is None:
            return
        require_same_names(text, statement, database=schema, names=self._objects.names)
        _require_known_session(statement, context)
        order = replace(order, database=schema, settings=render_settings(context))
        # Of no table: a floor is about rows.  What a copy has of a statement is not for the relay to say.
        place = TableName(statement.tables[0].schema if statement.tables else statement.schemas[0], "")
        self._add_change((DDL, Relation(place, (), (), ()), raw, order.encode()), len(raw))
        self.altered = statement.tables

    def _context(self, event: bytes) -> StatementContext:
        return decode_context(self._body(event), header_seconds=int.from_bytes(event[:4], "little"))

    def _covers(self, table: TableName) -> bool:
        """Whether the job has the table, or would have it; an empty name asks for the database."""
        table = self._stored_name(table)
        if _is_of_the_server(table.schema):
            return False
        if not table.name and any(known.schema == table.schema for known in self._keys):
            return True
        return table in self._keys or self._objects.covers(table)

    def _takes(self, table: TableName) -> bool:
        """Whether the job follows a table that comes to be, or that one of its own is renamed to."""
        return self._covers(table) or is_shadow(self._stored_name(table), self._objects)

    def _makes_shadow(self, statement: Statement, raw: bytes) -> bool:
        """One that is certain to be new, and so empty: without IF NOT EXISTS or OR REPLACE."""
        if not statement.summary.startswith("CREATE TABLE ") or not self._takes(statement.tables[0]):
            return False
        words = read_words(raw.decode("ascii", "replace"))
        return words[1].is_word("TABLE") and not words[2].is_word("IF")

    def _as_stored(self, statement: Statement) -> Statement:
        """With the names as the catalog has them; what it does not have yet will be in lower letters."""
        tables = {_lower(table): table for table in self._keys}
        schemas = {table.schema.lower(): table.schema for table in self._keys}
        return replace(
            statement,
            tables=tuple(tables.get(_lower(table), _lower(table)) for table in statement.tables),
            schemas=tuple(schemas.get(schema.lower(), schema.lower()) for schema in statement.schemas),
        )

    def _is_about_us(self, statement: Statement) -> bool:
        if any(map(self._covers, statement.tables)):
            return True
        if any(table.schema in statement.schemas for table in self._keys):
            return True
        return self._carries_ddl and any(self._covers(TableName(schema, "")) for schema in statement.schemas)

    def _add_change(self, change: RowChange, size_bytes: int) -> None:
        transaction = self._group()
        transaction.changes.append(change)
        transaction.size_bytes += size_bytes + CHANGE_OVERHEAD_BYTES

    def _not_row(self, what: str) -> BinlogFormatNotRow:
        return BinlogFormatNotRow(
            f"the source has logged {what} that changes rows as a statement, at {self.position}", side=Side.SOURCE
        )

    def _roll_back(self, savepoint: str | None) -> None:
        """The server logs this only where tables without transactions were changed as well, which is rare."""
        transaction = self._group()
        if transaction.is_partly_handed_on:
            raise InvariantBroken("a large transaction was rolled back in the binlog", side=Side.SOURCE)
        found = next((item for item in reversed(transaction.savepoints) if item[0] == savepoint), None)
        kept, size = (found[1], found[2]) if found is not None else (0, 0)
        del transaction.changes[kept:]
        transaction.size_bytes = size

    # --- ends of transactions ---------------------------------------------------------------------

    def _commit(self) -> None:
        transaction = self._group()
        self._transaction = None
        self._reached = transaction.position
        self._sink.transaction(
            transaction.changes, self._as_held(self._reached), transaction.time_us, transaction.size_bytes
        )

    def _take_xa_prepare(self, is_one_phase: bool, name: str) -> None:
        transaction = self._group()
        transaction.xa_name = name
        if is_one_phase and name not in self._held:
            self._left_out.pop(name, None)
            self._commit()
            return
        self._stream_xa(transaction)
        if is_one_phase:
            self._end_xa(name, is_commit=True)
            return
        self._transaction = None
        self._reached = transaction.position
        self._sink.transaction([], self._as_held(self._reached), transaction.time_us, 0)

    def _stream_xa(self, transaction: _Transaction) -> None:
        held = self._held.get(transaction.xa_name)
        if held is None:
            held = self._held[transaction.xa_name] = _Held(next(self._xa_numbers), self._reached)
        self._sink.streamed(held.number, held.number, transaction.changes, transaction.size_bytes)

    def _end_xa(self, name: str, *, is_commit: bool) -> None:
        transaction = self._group()
        held = self._held.pop(name, None)
        left_out = self._left_out.pop(name, None)
        if is_commit and left_out is not None and not self._is_past(left_out):
            raise SourceChanged(
                f"the columns of table {left_out} were changed on the source while it had prepared rows",
                side=Side.SOURCE,
            )
        if held is None and is_commit:
            raise PositionLost(
                "the source committed an XA transaction that was prepared before the job began to read",
                side=Side.SOURCE,
                remedy="End the job and start a new one while `XA RECOVER` is empty on the source.",
            )
        self._transaction = None
        self._reached = transaction.position
        position = self._as_held(self._reached)
        if held is not None and is_commit:
            self._sink.commit_streamed(held.number, position, transaction.time_us)
            return
        if held is not None:
            self._sink.abort_streamed(held.number, held.number)
        self._sink.transaction([], position, transaction.time_us, 0)


def _normal_xa_name(name: str) -> str:
    """X'..',X'..',1 whatever way the parts are written."""
    parts = [part.strip() for part in name.split(",")]
    return ",".join(part.lower().replace("x'", "X'") for part in parts if part)


def _require_known_session(statement: Statement, context: StatementContext) -> None:
    """Raises: SourceDdl, not all of what the statement's session had is known, and it may mean something else."""
    if context.unknown_code is not None:
        raise refuse(statement, f"its session has a variable that is not known here (code {context.unknown_code})")


def _lower(table: TableName) -> TableName:
    return TableName(table.schema.lower(), table.name.lower())


def _is_of_the_server(schema: str) -> bool:
    return schema.lower() in ("mysql", "sys", "performance_schema", "information_schema", "towline", "ndbinfo")
