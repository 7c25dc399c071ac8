"""LOAD DATA LOCAL INFILE, spoken by ourselves: the server asks for a file and is sent blocks of rows.

With LOCAL the server does not stop at a value that it has to change or a row that it has to drop; it goes on and warns.
So warnings are counted after every statement, and one about a value is an error here: nothing of it is committed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.catalog import ColumnType
from towline.adapters.mysql.errors import clean_message, is_data_error
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.adapters.mysql.session import COM_QUERY, Session, Wire
from towline.adapters.mysql.text_rows import FORMAT_SQL, LAST_LINE_END
from towline.adapters.mysql.writing import (
    COLUMN_IN_MESSAGE,
    MAX_COUNTED,
    is_about_computed,
    read_warnings,
    require_all_named,
)
from towline.domain.errors import DataError, InvariantBroken, RowConflict, Side, UnrepresentableValue
from towline.domain.tables import Column, Table

_FILE_REQUEST: Final = 0xFB
# What the server asks for besides the rows of a packet.
_PACKET_MARGIN_BYTES: Final = 256

Assign = Callable[[Column, ColumnType | None, str, bool], str | None]
"""(column, the target's type, variable, is MariaDB) -> the value to set from the variable; None: read it directly."""


def assign_text_only(column: Column, kind: ColumnType | None, variable: str, is_mariadb: bool) -> str | None:
    """Values of types that take no binary text go through a variable."""
    if kind is not None and kind.takes_only_text(is_mariadb=is_mariadb):
        return f"CONVERT({variable} USING utf8mb4)"
    return None


@dataclass(frozen=True, slots=True)
class LoadForm:
    """What the blocks of a copy look like: LOAD DATA's words for it, what ends the last row, how columns are read."""

    format_sql: str
    ending: bytes
    assign: Assign


OWN_FORM: Final = LoadForm(FORMAT_SQL, LAST_LINE_END, assign_text_only)
"""What `text_rows` makes of the rows of a MySQL source."""
_WIDTH = re.compile(r"\b(\w*int|year)\(\d+\)")
_ROW = re.compile(r"at row (\d+)")
_DUPLICATES: Final = frozenset({1062, 1022, 1586})
_DUPLICATE_KEY = re.compile(r"Duplicate entry '(.*)' for key ", re.DOTALL)


class LoadMisfit(Exception):
    """What the server warned of: error numbers with cleaned messages and, where it said so, row numbers from 1.

    `rows` were written all the same.  `left_out` has the key of each row that was not, because the table has one with
    that key; it is None when anything else was wrong.  Keys must not be logged (I7).
    """

    def __init__(
        self, warnings: list[tuple[int, str, int]], *, rows: int = 0, left_out: list[str] | None = None
    ) -> None:
        super().__init__(warnings[0][1])
        self.warnings = warnings
        self.rows = rows
        self.left_out = left_out

    def to_error(self, table: Table, key: str) -> DataError:
        number, message, _ = self.warnings[0]
        kind = RowConflict if number in _DUPLICATES else UnrepresentableValue
        more = f" and {len(self.warnings) - 1} more" if len(self.warnings) > 1 else ""
        # The last one: the name stands behind the message where values were taken out of it.
        columns = COLUMN_IN_MESSAGE.findall(message)
        return kind(
            f"{table.name}: {message}{more} (error {number})",
            side=Side.TARGET,
            number=number,
            schema=table.name.schema,
            table=table.name.name,
            column="".join(columns[-1]) if columns else "",
            key=key,
        )


async def load_rows(
    session: Session,
    table: Table,
    types: Mapping[str, ColumnType],
    blocks: AsyncIterable[bytes],
    *,
    packet_bytes: int,
    form: LoadForm = OWN_FORM,
    replaces: bool = False,
) -> int:
    """Append rows to the table inside the session's transaction and return their number.

    `packet_bytes`: the server's limit for a packet. The input is one file to the server, cut wherever.
    With `replaces` a row takes the place of those of the same key, which then count, too.

    Raises:
        LoadMisfit: a row did not fit; the transaction holds what the server made of it, so roll back.
    """
    statement = render_load(table, types, is_mariadb=session.flavor.is_mariadb, form=form, replaces=replaces)
    what = f"writing {table.name}"
    await session.run(lambda wire: _begin(wire, statement.encode()), what=what)
    is_empty = True
    try:
        async for block in blocks:
            is_empty = False
            await session.run(lambda wire, block=block: _send(wire, block, packet_bytes), what=what)  # type: ignore[misc]
    except BaseException:
        # The server waits for the rest of a "file"; only the end of the session keeps it from taking a part.
        session.terminate()
        raise
    rows, warnings = await session.run(lambda wire: _finish(wire, b"" if is_empty else form.ending), what=what)
    if warnings:
        await _require_harmless(session, table, rows, warnings, what=what)
    return rows


def says_too_much(table: Table, types: Mapping[str, ColumnType]) -> bool:
    """Whether remarks would only be about columns that the target computes, maybe one for each row. Pure.

    The columns that are written have the source's types, so that nothing is cut or rounded in them.
    """
    if len(types) == len(table.columns):
        return False
    return all(
        column.name in types and _bare(column.type_sql) == _bare(types[column.name].type_sql)
        for column in table.columns
    )


def _bare(type_sql: str) -> str:
    """The type as both products show it."""
    return "longtext" if type_sql == "json" else _WIDTH.sub(r"\1", type_sql)


def render_load(
    table: Table,
    types: Mapping[str, ColumnType],
    *,
    is_mariadb: bool,
    form: LoadForm = OWN_FORM,
    replaces: bool = False,
) -> str:
    """The statement. Pure."""
    columns, settings = [], []
    for number, column in enumerate(table.columns):
        value = form.assign(column, types.get(column.name), f"@c{number}", is_mariadb)
        if value is not None:
            columns.append(f"@c{number}")
            settings.append(f"{quote_ident(column.name)} = {value}")
        else:
            columns.append(quote_ident(column.name))
    tail = f" SET {', '.join(settings)}" if settings else ""
    head = f"LOAD DATA LOCAL INFILE 'towline' {'REPLACE ' if replaces else ''}INTO TABLE {qualified(table.name)}"
    return f"{head} {form.format_sql} ({', '.join(columns)}){tail}"


def _begin(wire: Wire, statement: bytes) -> None:
    wire.send_command(COM_QUERY, statement)
    answer = wire.read_packet()
    if not answer or answer[0] != _FILE_REQUEST:
        raise InvariantBroken("the target did not ask for rows", side=Side.TARGET)


def _send(wire: Wire, block: bytes, packet_bytes: int) -> None:
    room = max(1, packet_bytes - _PACKET_MARGIN_BYTES)
    view = memoryview(block)
    for at in range(0, len(view), room):
        wire.send_packet(view[at : at + room])


def _finish(wire: Wire, ending: bytes) -> tuple[int, int]:
    if ending:
        wire.send_packet(ending)
    wire.send_packet(b"")
    answer = wire.read_packet()
    rows, at = _read_number(answer, 1)
    _, at = _read_number(answer, at)  # the last AUTO_INCREMENT value
    return rows, int.from_bytes(answer[at + 2 : at + 4], "little")


def _read_number(packet: bytes, at: int) -> tuple[int, int]:
    first = packet[at]
    if first < 0xFB:
        return first, at + 1
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(packet[at + 1 : at + 1 + width], "little"), at + 1 + width


async def _require_harmless(session: Session, table: Table, rows: int, warnings: int, *, what: str) -> None:
    named = await read_warnings(session)
    written = [column.name for column in table.columns]
    said = [
        (number, message)
        for level, number, message in named
        if (level != "Note" or is_data_error(number)) and not is_about_computed(level, number, message, written)
    ]
    if not said:
        require_all_named(len(named), warnings, what=what)
        return
    found = [
        (number, clean_message(message, number), int(match[1]) if (match := _ROW.search(message)) else 0)
        for number, message in said
    ]
    keys = [match[1] for _, message in said if (match := _DUPLICATE_KEY.match(message))]
    # What the server does not name could be of another kind.
    is_all_named = len(keys) == len(said) == warnings < MAX_COUNTED
    # What says that a value did not fit goes before remarks about how it is written.
    found.sort(key=lambda warning: not is_data_error(warning[0]))
    raise LoadMisfit(found, rows=rows, left_out=keys if is_all_named else None)
