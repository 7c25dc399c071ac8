"""The events of a binlog that are not about rows: their numbers and their bodies. Pure.

An event is a header of 19 bytes (seconds, type, server id, size, next position, flags), a body, and with checksums four
bytes of CRC32.  Bodies here are without header and checksum.  Numbers are little-endian.

Sources: MySQL's and MariaDB's manuals of the replication protocol.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final
from uuid import UUID

import zstandard

from towline.adapters.mysql.jsonb import read_packed_int
from towline.domain.errors import InvariantBroken, Side

HEADER = Struct("<IBIIIH")
HEADER_BYTES: Final = 19
CHECKSUM_BYTES: Final = 4

QUERY, STOP, ROTATE, INTVAR = 2, 3, 4, 5
RAND, USER_VAR, FORMAT_DESCRIPTION, XID = 13, 14, 15, 16
BEGIN_LOAD_QUERY, EXECUTE_LOAD_QUERY, TABLE_MAP = 17, 18, 19
WRITE_ROWS_V1, UPDATE_ROWS_V1, DELETE_ROWS_V1, INCIDENT, HEARTBEAT, IGNORABLE, ROWS_QUERY = range(23, 30)
WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS, GTID, ANONYMOUS_GTID, PREVIOUS_GTIDS, TRANSACTION_CONTEXT = range(30, 37)
VIEW_CHANGE, XA_PREPARE, PARTIAL_UPDATE_ROWS, TRANSACTION_PAYLOAD, HEARTBEAT_V2, TAGGED_GTID = range(37, 43)
ANNOTATE_ROWS, BINLOG_CHECKPOINT, MARIADB_GTID, MARIADB_GTID_LIST, START_ENCRYPTION = range(160, 165)
QUERY_COMPRESSED, WRITE_ROWS_COMPRESSED_V1, UPDATE_ROWS_COMPRESSED_V1, DELETE_ROWS_COMPRESSED_V1 = range(165, 169)
WRITE_ROWS_COMPRESSED, UPDATE_ROWS_COMPRESSED, DELETE_ROWS_COMPRESSED = range(169, 172)

# Of no meaning for rows: limits of files, texts of statements beside their rows, groups' bookkeeping.
WITHOUT_MEANING: Final = frozenset(
    {STOP, IGNORABLE, ROWS_QUERY, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE}
    | {ANNOTATE_ROWS, BINLOG_CHECKPOINT, MARIADB_GTID_LIST, START_ENCRYPTION, 0}
)
# Parts of a statement that is logged as such, which changes rows that no event of ours names.
OF_STATEMENTS: Final = frozenset({INTVAR, RAND, USER_VAR, BEGIN_LOAD_QUERY, EXECUTE_LOAD_QUERY})

FLAG_IN_USE: Final = 0x01
# The statement used a temporary table of its session.
FLAG_THREAD_SPECIFIC: Final = 0x04
FLAG_ARTIFICIAL: Final = 0x20
FLAG_IGNORABLE: Final = 0x80

MARIADB_STANDALONE, MARIADB_GROUP_COMMIT, MARIADB_PREPARED_XA = 1, 2, 64

_QUERY_HEAD = Struct("<IIBHH")  # thread, seconds it took, size of the schema's name, error, size of status variables
_MYSQL_GTID = Struct("<B16sq")
_MARIADB_GTID = Struct("<QIB")
_MARIADB_XID = Struct("<IBB")  # format, sizes of the two parts
_XA_HEAD = Struct("<BIII")  # one phase, format, sizes of the two parts
_HAS_ORIGINAL_TIME: Final = 1 << 55
_LOGICAL_CLOCK_BYTES: Final = 17  # its kind, and two numbers
_CHECKSUM_CRC32: Final = 1
# What CRC32 makes of any content that is followed by its own CRC32.
_CRC_WITH_ITSELF: Final = 0x2144DF1C
_ZSTD, _UNCOMPRESSED = 0, 255
_PAYLOAD_END, _PAYLOAD_SIZE, _PAYLOAD_KIND, _PAYLOAD_FULL_SIZE = 0, 1, 2, 3
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MysqlGtid:
    """The begin of a transaction; `source` is its uuid, or `uuid:tag`; empty for an anonymous one.

    `time_us` is when this server committed it, None from servers before 8.0.
    """

    source: str
    number: int
    time_us: int | None


@dataclass(frozen=True, slots=True)
class MariadbGtid:
    """The begin of a transaction; `prepared_xa` is the name of the XA transaction that it prepares."""

    domain: int
    number: int
    flags: int
    prepared_xa: str

    @property
    def is_standalone(self) -> bool:
        """One statement, without an event that ends it."""
        return bool(self.flags & MARIADB_STANDALONE)


def verify_checksum(event: bytes) -> None:
    """Raises: InvariantBroken, when the event's last four bytes are not those of its content."""
    if zlib.crc32(event) == _CRC_WITH_ITSELF:
        return
    # The flag "this file is in use" is set and cleared without a new checksum.
    if event[4] == FORMAT_DESCRIPTION and zlib.crc32(_without_in_use(event)) == _CRC_WITH_ITSELF:
        return
    raise InvariantBroken("an event of the binlog was damaged on its way: its checksum is wrong", side=Side.SOURCE)


def _without_in_use(event: bytes) -> bytes:
    return event[:17] + bytes([event[17] & ~FLAG_IN_USE]) + event[18:]


def decode_format(event: bytes) -> tuple[bool, bool]:
    """Whether the events of the file have checksums, and whether MariaDB wrote it, from FORMAT_DESCRIPTION.

    Servers since 5.6 and 5.3 end this event with the kind of checksum and, whatever the kind, room for one.
    """
    version = event[HEADER_BYTES + 2 : HEADER_BYTES + 52]
    return event[-CHECKSUM_BYTES - 1] == _CHECKSUM_CRC32, b"mariadb" in version.lower()


def decode_rotate(body: bytes) -> tuple[str, int]:
    """The next file and where in it the next event begins."""
    return body[8:].decode(), int.from_bytes(body[:8], "little")


def decode_query(body: bytes) -> tuple[str, bytes]:
    """The session's database and the statement."""
    _, _, schema_size, _, status_size = _QUERY_HEAD.unpack_from(body)
    begin = _QUERY_HEAD.size + status_size
    end = begin + schema_size
    return body[begin:end].decode(errors="replace"), body[end + 1 :]


def decode_mysql_gtid(body: bytes, *, is_anonymous: bool) -> MysqlGtid:
    _, sid, number = _MYSQL_GTID.unpack_from(body)
    at = _MYSQL_GTID.size + _LOGICAL_CLOCK_BYTES
    time_us = None
    if len(body) >= at + 7:
        time_us = int.from_bytes(body[at : at + 7], "little") & _HAS_ORIGINAL_TIME - 1
    return MysqlGtid("" if is_anonymous else _render_uuid(sid), number, time_us)


@lru_cache(1024)
def _render_uuid(raw: bytes) -> str:
    # A binlog names few servers, once per transaction.
    return str(UUID(bytes=raw))


def decode_tagged_gtid(body: bytes) -> MysqlGtid:
    """A message of MySQL's serialization library: numbered fields, those that are not needed left out."""
    at = 0
    for _ in range(3):  # version, size, last field that may not be ignored
        _, at = _read_varlen(body, at)
    found: dict[int, int | bytes] = {}
    while at < len(body):
        field, at = _read_varlen(body, at)
        if field == 0:  # flags
            value, at = _read_varlen(body, at)
        elif field == 1:
            octets = []
            for _ in range(16):
                octet, at = _read_varlen(body, at)
                octets.append(octet)
            found[field] = bytes(octets)
            continue
        elif field == 3:
            size, at = _read_varlen(body, at)
            found[field] = body[at : at + size]
            at += size
            continue
        else:
            value, at = _read_varlen(body, at)
        found[field] = value
        if field >= 6:
            break  # what follows the time is of no interest
    uuid, tag, number, time_us = found[1], found.get(3, b""), found[2], found.get(6, 0)
    assert isinstance(uuid, bytes)
    assert isinstance(tag, bytes)
    assert isinstance(number, int)
    assert isinstance(time_us, int)
    source = _render_uuid(uuid) + (f":{tag.decode()}" if tag else "")
    # The number is of a signed type, whose sign is in the lowest bit.
    return MysqlGtid(source, number >> 1, time_us or None)


def _read_varlen(data: bytes, at: int) -> tuple[int, int]:
    """As many further bytes as the first has ones at its low end; the rest is the number."""
    first = data[at]
    size = 1
    while first & 1 and size < 9:
        first >>= 1
        size += 1
    if size == 9:
        return int.from_bytes(data[at + 1 : at + 9], "little"), at + 9
    return int.from_bytes(data[at : at + size], "little") >> size, at + size


def decode_mariadb_gtid(body: bytes) -> MariadbGtid:
    number, domain, flags = _MARIADB_GTID.unpack_from(body)
    prepared_xa = ""
    if flags & MARIADB_PREPARED_XA:
        at = _MARIADB_GTID.size + (8 if flags & MARIADB_GROUP_COMMIT else 0)
        form, global_size, branch_size = _MARIADB_XID.unpack_from(body, at)
        data = body[at + _MARIADB_XID.size :]
        prepared_xa = render_xa_name(data[:global_size], data[global_size : global_size + branch_size], form)
    return MariadbGtid(domain, number, flags, prepared_xa)


def render_xa_name(global_part: bytes, branch_part: bytes, form: int) -> str:
    """The name as it stands in XA COMMIT."""
    return f"X'{global_part.hex()}',X'{branch_part.hex()}',{form}"


def decode_xa_prepare(body: bytes) -> tuple[bool, str]:
    """Whether it was committed in one phase, and the name in the form of XA COMMIT."""
    one_phase, form, global_size, branch_size = _XA_HEAD.unpack_from(body)
    data = body[_XA_HEAD.size :]
    name = render_xa_name(data[:global_size], data[global_size : global_size + branch_size], form)
    return bool(one_phase), name


def split_payload(body: bytes) -> Iterator[bytes]:
    """The events inside a TRANSACTION_PAYLOAD, decompressed as they are asked for; they have no checksums.

    Raises: InvariantBroken, the compression is unknown or the payload ends inside an event.
    """
    kind, begin = _ZSTD, 0
    while True:
        field, begin = read_packed_int(body, begin)
        if field == _PAYLOAD_END:
            break
        size, begin = read_packed_int(body, begin)
        if field == _PAYLOAD_KIND:
            kind, _ = read_packed_int(body, begin)
        begin += size
    if kind not in (_ZSTD, _UNCOMPRESSED):
        raise InvariantBroken(f"a transaction is compressed in an unknown way ({kind})", side=Side.SOURCE)
    blocks: Iterable[bytes] = [body[begin:]] if kind == _UNCOMPRESSED else _decompress(body[begin:])
    pending = b""
    for block in blocks:
        pending += block
        at = 0
        while len(pending) - at >= HEADER_BYTES:
            end = at + int.from_bytes(pending[at + 9 : at + 13], "little")
            if end > len(pending) or end < at + HEADER_BYTES:
                break
            yield pending[at:end]
            at = end
        pending = pending[at:]
    if pending:
        raise InvariantBroken("a compressed transaction ends inside an event", side=Side.SOURCE)


def _decompress(data: bytes) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(data, read_across_frames=True)
    while block := reader.read(_BLOCK_BYTES):
        yield block
