"""Events as bytes: checksums, packets that carry them, and the commands that ask for them."""

from __future__ import annotations

import zlib

import pytest

from towline.adapters.mysql.binlog_events import verify_checksum
from towline.adapters.mysql.gtid import BinlogOffset, GtidSet, MariadbGtids
from towline.adapters.mysql.replication import (
    COM_BINLOG_DUMP,
    COM_BINLOG_DUMP_GTID,
    EventSplitter,
    choose_server_id,
    choose_uuid,
    encode_dump,
)
from towline.domain.errors import InvariantBroken


def event_of(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(4, "little")


def packet_of(payload: bytes, number: int = 0) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def test_damaged_event_is_told_from_a_good_one() -> None:
    event = event_of(bytes(range(40)))
    verify_checksum(event)
    for place in range(len(event)):
        damaged = bytearray(event)
        damaged[place] ^= 4
        with pytest.raises(InvariantBroken, match="checksum"):
            verify_checksum(bytes(damaged))


@pytest.mark.parametrize("block_bytes", [1, 3, 7, 64, 10_000])
def test_events_are_cut_out_of_any_blocks(block_bytes: int) -> None:
    events = [bytes([number]) * (number * 37 % 300 + 1) for number in range(100)]
    stream = b"".join(packet_of(b"\0" + event, number % 256) for number, event in enumerate(events))
    splitter = EventSplitter()
    found: list[bytes] = []
    for at in range(0, len(stream), block_bytes):
        some, ending = splitter.split(stream[at : at + block_bytes])
        found += some
        assert ending is None
    assert found == events


def test_event_of_several_packets_is_joined() -> None:
    event = bytes(range(256)) * 150_000
    payload = b"\0" + event
    limit = 0xFFFFFF
    pieces = [payload[at : at + limit] for at in range(0, len(payload), limit)]
    stream = b"".join(packet_of(piece, number) for number, piece in enumerate(pieces))
    splitter = EventSplitter()
    found = splitter.split(stream[:1000])[0] + splitter.split(stream[1000:])[0]
    assert found == [event]


def test_event_that_ends_at_the_limit_of_a_packet_has_an_empty_one_behind() -> None:
    payload = b"\0" + bytes(0xFFFFFF - 1)
    found, _ = EventSplitter().split(packet_of(payload) + packet_of(b"", 1) + packet_of(b"\0next", 2))
    assert found == [payload[1:], b"next"]


def test_error_comes_after_the_events_before_it() -> None:
    splitter = EventSplitter()
    events, ending = splitter.split(packet_of(b"\0one") + packet_of(b"\xffproblem", 1))
    assert events == [b"one"]
    assert ending == b"\xffproblem"
    assert splitter.missing_bytes <= 0
    assert splitter.split(b"") == ([], b"\xffproblem")


def test_dump_begins_where_the_position_says() -> None:
    gtids = GtidSet.parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5")
    command, payload = encode_dump(gtids, 77)
    assert command == COM_BINLOG_DUMP_GTID
    assert payload.endswith(gtids.encode())
    command, payload = encode_dump(BinlogOffset("binlog.000002", 1234), 77)
    assert (command, payload) == (COM_BINLOG_DUMP, b"\xd2\4\0\0\0\0\x4d\0\0\0binlog.000002")
    assert encode_dump(MariadbGtids.parse("0-1-5"), 77)[1] == b"\4\0\0\0\0\0\x4d\0\0\0"


def test_job_is_the_same_replica_every_time() -> None:
    assert choose_server_id("job-1") == choose_server_id("job-1") != choose_server_id("job-2")
    assert choose_uuid("job-1") == choose_uuid("job-1") != choose_uuid("job-2")
    assert 0 < choose_server_id("x") < 1 << 32
