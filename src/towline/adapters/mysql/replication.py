"""What a client of the replication protocol sends and gets, as bytes. Pure.

Sources: MySQL's manual of the client/server protocol (COM_REGISTER_SLAVE, COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID) and
MariaDB's of the replica's registration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from struct import Struct
from typing import Final
from uuid import UUID, uuid5

from towline.adapters.mysql.gtid import BinlogOffset, BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.mysql.quoting import quote_literal

COM_BINLOG_DUMP: Final = 0x12
COM_REGISTER_SLAVE: Final = 0x15
COM_BINLOG_DUMP_GTID: Final = 0x1E

_THROUGH_GTID: Final = 4
_REGISTER_TAIL = Struct("<HII")  # port, rank, id of its source: the server fills in what it knows
_DUMP = Struct("<IHI")  # position, flags, server id
_DUMP_GTID_HEAD = Struct("<HII")  # flags, server id, size of the file's name
_DUMP_GTID_TAIL = Struct("<QI")  # position, size of the set
_FIRST_OFFSET: Final = 4  # a file begins with a number of four bytes
_MAX_OFFSET: Final = 0xFFFFFFFF
# MariaDB sends GTIDs to clients that know them; 4 is what its own replicas since 10.0 say.
_MARIADB_CAPABILITY: Final = 4
_NS_PER_S: Final = 1_000_000_000
_UUID_SPACE: Final = UUID("7d1f6a3e-0d0e-4f5c-9a53-2b8f3c5f7b1e")

_MAX_PACKET: Final = 0xFFFFFF
_OK, _EOF, _ERROR = 0x00, 0xFE, 0xFF


def choose_server_id(job_id: str) -> int:
    """A server id for the job, the same every time; high, where operators seldom number their servers."""
    digest = hashlib.sha256(job_id.encode()).digest()
    return int.from_bytes(digest[:4], "big") | 0x80000000


def choose_uuid(job_id: str) -> str:
    """The job's name among a server's replicas: the server ends a forgotten connection with the same one."""
    return str(uuid5(_UUID_SPACE, job_id))


def render_settings(start: BinlogPosition, *, job_id: str, heartbeat_s: float) -> str:
    """The statement that says what kind of replica this session is."""
    period = str(round(heartbeat_s * _NS_PER_S))
    variables: Mapping[str, str] = {
        "master_heartbeat_period": period,
        "source_heartbeat_period": period,
        "master_binlog_checksum": "@@global.binlog_checksum",
        "source_binlog_checksum": "@@global.binlog_checksum",
        "slave_uuid": quote_literal(choose_uuid(job_id)),
        "replica_uuid": quote_literal(choose_uuid(job_id)),
    }
    if isinstance(start.resume, MariadbGtids):
        variables = {
            **variables,
            "mariadb_slave_capability": str(_MARIADB_CAPABILITY),
            "slave_connect_state": quote_literal(start.resume.render()),
            "slave_gtid_strict_mode": "0",
            "slave_gtid_ignore_duplicates": "0",
        }
    elif isinstance(start.resume, BinlogOffset):
        variables = {**variables, "mariadb_slave_capability": str(_MARIADB_CAPABILITY)}
    return "SET " + ", ".join(f"@{name} = {value}" for name, value in variables.items())


def encode_registration(server_id: int) -> bytes:
    """Host, user and password of a replica are for SHOW REPLICAS only; ours says what it is."""
    host = b"towline"
    return server_id.to_bytes(4, "little") + bytes([len(host)]) + host + b"\0\0" + _REGISTER_TAIL.pack(0, 0, 0)


def encode_dump(start: BinlogPosition, server_id: int) -> tuple[int, bytes]:
    """The command, and what goes with it, that begins the stream right after `start`.

    Raises: ValueError, the offset lies beyond what the protocol can say.
    """
    resume = start.resume
    if isinstance(resume, GtidSet):
        executed = resume.encode()
        head = _DUMP_GTID_HEAD.pack(_THROUGH_GTID, server_id, 0)
        return COM_BINLOG_DUMP_GTID, head + _DUMP_GTID_TAIL.pack(_FIRST_OFFSET, len(executed)) + executed
    if isinstance(resume, BinlogOffset):
        if resume.offset > _MAX_OFFSET:
            raise ValueError("an offset beyond 4 GB")
        return COM_BINLOG_DUMP, _DUMP.pack(resume.offset, 0, server_id) + resume.file.encode()
    # Where to begin is in @slave_connect_state.
    return COM_BINLOG_DUMP, _DUMP.pack(_FIRST_OFFSET, 0, server_id)


class EventSplitter:
    """Cuts the stream of packets into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._pieces: list[bytes] = []  # of an event that takes several packets

    @property
    def missing_bytes(self) -> int:
        """How much is missing until something can be taken; 1 when that is not known, 0 or less at the stream's end."""
        rest = self._rest
        if len(rest) < 4:
            return 1
        return 4 + int.from_bytes(rest[:3], "little") - len(rest)

    def split(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """The whole events, and the packet that ends the stream if there was one: EOF or an error."""
        if self._rest:
            data = self._rest + data
        events = []
        at, size = 0, len(data)
        ending = None
        while size - at >= 4:
            length = int.from_bytes(data[at : at + 3], "little")
            end = at + 4 + length
            if end > size:
                break
            if self._pieces or length == _MAX_PACKET:
                self._pieces.append(data[at + 4 : end])
                if length < _MAX_PACKET:
                    events.append(b"".join(self._pieces)[1:])
                    self._pieces = []
            elif data[at + 4] == _OK:
                events.append(data[at + 5 : end])
            else:
                ending = data[at + 4 : end]
                break
            at = end
        # A packet that ends the stream stays, for whoever looks next.
        self._rest = data[at:]
        return events, ending
