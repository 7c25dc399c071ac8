"""A binlog reader at work on a real server, and what it has handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.integration.mysql.binlog import PART_BYTES, KeepingSink
from tests.servers.mysql import MysqlDatabase, MysqlServer
from towline.adapters.mysql.binlog_reader import BinlogReader
from towline.adapters.mysql.gtid import BinlogPosition
from towline.domain.changes import RowChange, split_row, value_of
from towline.domain.jobs import Endpoint
from towline.domain.positions import Position
from towline.domain.tables import Column, ObjectSelection, Table, TableName

TIMEOUT_S = 30.0


def endpoint_of(server: MysqlServer, **changes: Any) -> Endpoint:
    settings = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    return Endpoint(family="mysql", **{**settings, **changes})


def table_of(schema: str, name: str, key: Sequence[str]) -> Table:
    columns = tuple(Column(column, "int", is_binary_safe=False) for column in key)
    return Table(TableName(schema, name), 0, columns, tuple(key), "d", 0, 0, 0, "")


class Reading:
    """A reader that runs; its failure is raised by whatever waits."""

    def __init__(self, reader: BinlogReader, sink: KeepingSink) -> None:
        self.reader = reader
        self.sink = sink
        self.task = asyncio.create_task(reader.run())

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not is_so():
            if self.task.done():
                self.task.result()
            assert time.monotonic() < deadline_s, "the awaited fact did not come"
            await asyncio.sleep(0.01)

    async def wait_covered(self, position: Position) -> None:
        """Until everything up to the position has been handed on."""
        await self.wait_until(lambda: self.position is not None and self.position.covers(position))

    @property
    def position(self) -> Position | None:
        handed: list[Position] = [
            transaction.position for transaction in self.sink.transactions[-1:]
        ] + self.sink.markers[-1:]
        return next((one for one in handed if all(one.covers(other) for other in handed)), None)


@asynccontextmanager
async def reading(
    database: MysqlDatabase,
    keys: Mapping[str, Sequence[str]],
    start: BinlogPosition,
    *,
    sink: KeepingSink | None = None,
    endpoint: Endpoint | None = None,
    job_id: str = "job-1",
    part_bytes: int = PART_BYTES,
    objects: ObjectSelection | None = None,
    **options: Any,
) -> AsyncIterator[Reading]:
    sink = sink or KeepingSink()
    reader = BinlogReader(
        endpoint or endpoint_of(database.server),
        job_id=job_id,
        tables=[table_of(database.name, name, key) for name, key in keys.items()],
        objects=objects or ObjectSelection(schemas=frozenset({database.name})),
        part_bytes=part_bytes,
        **options,
    )
    try:
        await reader.open(start, sink)
        running = Reading(reader, sink)
        try:
            yield running
        finally:
            running.task.cancel()
            await asyncio.wait([running.task])
            if not running.task.cancelled():
                running.task.exception()
    finally:
        await reader.close()


def apply(changes: Sequence[RowChange], rows: dict[tuple[bytes | None, ...], tuple[bytes | None, ...]]) -> None:
    """Carry changes of one keyed table out on a dict, strictly: each must find what it expects."""
    for kind, relation, new, old in changes:
        before = old if old is not None else new
        assert before is not None
        old_key = tuple(_values(before)[number] for number in relation.key)
        if kind == 0:
            assert new is not None
            assert old_key not in rows, "a row came twice"
            rows[old_key] = _values(new)
        elif kind == 1:
            assert new is not None
            del rows[old_key]
            rows[tuple(_values(new)[number] for number in relation.key)] = _values(new)
        else:
            del rows[old_key]


def _values(row: bytes) -> tuple[bytes | None, ...]:
    return tuple(value_of(cell) for cell in split_row(row))
