"""An encoder of pgoutput messages, written from the manual: the decoder's counterpart in tests."""

from __future__ import annotations

from struct import pack

from towline.domain.changes import Relation, RowChange
from towline.domain.positions import Position

EPOCH_US = 946_684_800_000_000


def frame(message: bytes, start: int = 1) -> bytes:
    """XLogData: start and end of the log, the server's clock."""
    return b"w" + pack(">QQq", start, start, 0) + message


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def begin(commit: int, *, xid: int = 7) -> bytes:
    return frame(b"B" + pack(">QqI", commit, 0, xid))


def commit(commit_position: int, end: int, time_us: int = EPOCH_US) -> bytes:
    return frame(b"C" + pack(">BQQq", 0, commit_position, end, time_us - EPOCH_US))


def _change(kind: bytes, body: bytes, xid: int | None) -> bytes:
    return frame(kind + (b"" if xid is None else pack(">I", xid)) + body)


def relation(
    number: int,
    schema: str,
    name: str,
    columns: list[tuple[str, int, bool]],
    *,
    identity: str = "d",
    xid: int | None = None,
) -> bytes:
    body = pack(">I", number) + text(schema) + text(name) + identity.encode() + pack(">H", len(columns))
    for column, type_id, is_key in columns:
        body += bytes([is_key]) + text(column) + pack(">Ii", type_id, -1)
    return _change(b"R", body, xid)


def insert(number: int, row: bytes, *, xid: int | None = None) -> bytes:
    return _change(b"I", pack(">I", number) + b"N" + row, xid)


def update(number: int, row: bytes, *, old: bytes | None = None, kind: bytes = b"K", xid: int | None = None) -> bytes:
    before = b"" if old is None else kind + old
    return _change(b"U", pack(">I", number) + before + b"N" + row, xid)


def delete(number: int, old: bytes, *, kind: bytes = b"K", xid: int | None = None) -> bytes:
    return _change(b"D", pack(">I", number) + kind + old, xid)


def truncate(numbers: list[int], flags: int, *, xid: int | None = None) -> bytes:
    return _change(b"T", pack(">IB", len(numbers), flags) + b"".join(pack(">I", n) for n in numbers), xid)


def origin(name: str) -> bytes:
    return frame(b"O" + pack(">Q", 1) + text(name))


def type_message(*, xid: int | None = None) -> bytes:
    return _change(b"Y", pack(">I", 90_000) + text("s") + text("mood"), xid)


def logical_message(*, xid: int | None = None) -> bytes:
    return _change(b"M", pack(">BQ", 1, 5) + text("prefix") + pack(">I", 2) + b"hi", xid)


def stream_start(xid: int, *, is_first: bool) -> bytes:
    return frame(b"S" + pack(">IB", xid, is_first))


def stream_stop() -> bytes:
    return frame(b"E")


def stream_commit(xid: int, commit_position: int, end: int, time_us: int = EPOCH_US) -> bytes:
    return frame(b"c" + pack(">IBQQq", xid, 0, commit_position, end, time_us - EPOCH_US))


def stream_abort(xid: int, subxid: int) -> bytes:
    return frame(b"A" + pack(">II", xid, subxid))


class Recorder:
    """A `TransactionSink` that remembers its calls."""

    is_full = False

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.sizes: list[int] = []

    async def wait_room(self) -> None: ...

    def transaction(self, changes: list[RowChange], position: Position, time_us: int, size_bytes: int) -> None:
        self.calls.append(("transaction", plain(changes), position, time_us))
        self.sizes.append(size_bytes)

    def part(self, changes: list[RowChange], position: Position, size_bytes: int) -> None:
        self.calls.append(("part", plain(changes), position))
        self.sizes.append(size_bytes)

    def streamed(self, xid: int, subxid: int, changes: list[RowChange], size_bytes: int) -> None:
        self.calls.append(("streamed", xid, subxid, plain(changes)))
        self.sizes.append(size_bytes)

    def abort_streamed(self, xid: int, subxid: int) -> None:
        self.calls.append(("abort", xid, subxid))

    def commit_streamed(self, xid: int, position: Position, time_us: int) -> None:
        self.calls.append(("commit", xid, position, time_us))

    def marker(self, position: Position) -> None:
        self.calls.append(("marker", position))


def plain(changes: list[RowChange]) -> list[tuple]:
    """Changes with the relation's name in the place of the relation."""
    return [(kind, name_of(relation), new, old) for kind, relation, new, old in changes]


def name_of(relation: Relation) -> str:
    return str(relation.table)
