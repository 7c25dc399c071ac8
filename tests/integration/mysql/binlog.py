"""A server's binlog read from its files, and a sink that keeps what it is handed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.servers.mysql import MysqlDatabase, MysqlServer
from towline.adapters.mysql.binlog_decoder import BinlogDecoder, Stop, StreamSelection
from towline.adapters.mysql.gtid import BinlogOffset, BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.mysql.shapes import READ_COLUMNS, TableShape, build_shapes
from towline.domain.changes import RowChange
from towline.domain.tables import ObjectSelection, TableName

PART_BYTES = 64 * 1024 * 1024


@dataclass
class KeptTransaction:
    changes: list[RowChange]
    position: BinlogPosition
    time_us: int
    parts: int = 1


@dataclass
class KeepingSink:
    """Implements `TransactionSink`; joins the parts of large and of prepared transactions.

    With `room_bytes` it is full beyond them, until the reader has waited for room.
    """

    transactions: list[KeptTransaction] = field(default_factory=list)
    markers: list[Any] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    room_bytes: int = 1 << 62
    held_bytes: int = 0
    peak_bytes: int = 0
    _parts: list[list[RowChange]] = field(default_factory=list)
    _streamed: dict[int, list[RowChange]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.held_bytes >= self.room_bytes

    async def wait_room(self) -> None:
        self.held_bytes = 0

    def _hold(self, size_bytes: int) -> None:
        self.sizes.append(size_bytes)
        self.held_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def transaction(self, changes: list[RowChange], position: Any, time_us: int, size_bytes: int) -> None:
        joined = [change for part in self._parts for change in part] + changes
        self.transactions.append(KeptTransaction(joined, position, time_us, len(self._parts) + 1))
        self._hold(size_bytes)
        self._parts = []

    def part(self, changes: list[RowChange], position: Any, size_bytes: int) -> None:
        self._parts.append(changes)
        self._hold(size_bytes)

    def streamed(self, xid: int, subxid: int, changes: list[RowChange], size_bytes: int) -> None:
        self._streamed.setdefault(xid, []).extend(changes)

    def abort_streamed(self, xid: int, subxid: int) -> None:
        self._streamed.pop(xid, None)

    def commit_streamed(self, xid: int, position: Any, time_us: int) -> None:
        self.transactions.append(KeptTransaction(self._streamed.pop(xid), position, time_us))

    def marker(self, position: Any) -> None:
        self.markers.append(position)

    @property
    def changes(self) -> list[RowChange]:
        return [change for transaction in self.transactions for change in transaction.changes]


def current_file(server: MysqlServer) -> tuple[str, int]:
    row = server.read_binlog_end()
    return row[0], int(row[1])


def current_position(server: MysqlServer) -> BinlogPosition:
    if server.is_mariadb:
        return MariadbGtids.parse(server.fetch_value("SELECT @@gtid_binlog_pos"))
    return GtidSet.parse(server.fetch_value("SELECT @@global.gtid_executed"))


def read_events(server: MysqlServer, file: str, offset: int = 4) -> Iterator[bytes]:
    """The events of one of the server's files from there on, with its first one, which tells the form, before them."""
    data = (server.data_dir / file).read_bytes()
    at = 4
    while at < len(data):
        end = at + int.from_bytes(data[at + 9 : at + 13], "little")
        if at == 4 or at >= offset:
            yield data[at:end]
        at = end


def read_shapes(database: MysqlDatabase) -> dict[TableName, TableShape]:
    tables = [row[0] for row in database.fetch_all("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")]
    wanted = ", ".join(f"('{database.name}', '{table}')" for table in tables)
    return build_shapes(database.fetch_all(READ_COLUMNS.format(tables=wanted)))


def select(keys: Mapping[str, Sequence[str]], database: MysqlDatabase) -> StreamSelection:
    """Tables of the database by name, with their keys."""
    return StreamSelection(
        {TableName(database.name, name): key for name, key in keys.items()},
        ObjectSelection(schemas=frozenset({database.name})),
    )


def new_decoder(
    sink: KeepingSink,
    database: MysqlDatabase,
    keys: Mapping[str, Sequence[str]],
    *,
    start: BinlogPosition | None = None,
    part_bytes: int = PART_BYTES,
    carries_ddl: bool = False,
) -> BinlogDecoder:
    if start is None:
        start = MariadbGtids() if database.server.is_mariadb else GtidSet()
    return BinlogDecoder(
        sink,
        select(keys, database),
        read_shapes(database),
        start=start,
        part_bytes=part_bytes,
        has_checksums=True,
        carries_ddl=carries_ddl,
    )


def decode_since(
    database: MysqlDatabase, place: tuple[str, int], keys: Mapping[str, Sequence[str]], **options: Any
) -> KeepingSink:
    """Everything since that place of the current file, decoded with the catalog as it is now."""
    sink = KeepingSink()
    decoder = new_decoder(sink, database, keys, **options)
    if isinstance(options.get("start"), BinlogOffset):
        raise ValueError("read such positions through a connection")
    decoder.put(read_events(database.server, *place))
    while (stop := decoder.advance()) is Stop.TURN:
        pass
    assert stop is Stop.DONE
    return sink
