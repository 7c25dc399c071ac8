"""Ranges of a table's key: how a table is cut, and the condition that selects a part.

A bound is a JSON list of constants, one for each of the key's first columns, as SQL: a number, or bytes with the
column's character set in front.  It went through the target's bookkeeping in between, so its form is checked before it
becomes part of a statement.

A single integer column is cut without a scan: the server is asked how many rows it expects between two numbers
(EXPLAIN looks at the index only), and a range with too many is halved.  So gaps and crowds in the numbers do no harm.
Other keys are cut by walking the key's index from bound to bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from towline.adapters.mysql.catalog import ColumnType
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.adapters.mysql.session import Session
from towline.domain.errors import InvariantBroken
from towline.domain.tables import Table

_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "integer", "bigint"})
_EXACT = _INTEGERS | {"decimal", "numeric"}
_TEXTS = frozenset({"char", "varchar"})
_BYTES = frozenset({"binary", "varbinary"})
_TIMES = frozenset({"date", "datetime", "timestamp"})
_CUTTABLE = _EXACT | _TEXTS | _BYTES | _TIMES

_CONSTANT = re.compile(r"-?\d+(\.\d+)?|(_[a-z0-9]+ )?X'([0-9A-F]{2})*'|'[0-9: .-]+'")
_MAX_HALVINGS = 12


def choose_columns(table: Table, types: Mapping[str, ColumnType]) -> tuple[str, ...]:
    """The key's first columns whose order can be written down as constants. Pure.

    An ENUM, for one, sorts by number in the index and by label in a comparison.
    """
    chosen = []
    for name in table.key:
        if name not in types or types[name].base not in _CUTTABLE:
            break
        chosen.append(name)
    return tuple(chosen)


def render_bound(values: Sequence[Any], columns: Sequence[ColumnType]) -> str:
    """The bound at a row with these values of the key's first columns. Pure."""
    return json.dumps([_render_constant(value, column) for value, column in zip(values, columns, strict=True)])


def render_condition(table: Table, after: str | None, upto: str | None) -> str:
    """The rows with a key above `after` and not above `upto`, as SQL; "" for all. Pure."""
    parts = []
    if after is not None:
        parts.append(_render_compare(table.key, _parse_bound(after), ">"))
    if upto is not None:
        constants = _parse_bound(upto)
        parts.append(
            f"NOT {_render_compare(table.key, constants, '>')}"
            if len(constants) > 1
            else f"{quote_ident(table.key[0])} <= {constants[0]}"
        )
        if len(constants) > 1:
            # Lets the server see a range of the index in the condition.
            parts.append(f"{quote_ident(table.key[0])} <= {constants[0]}")
    return " AND ".join(parts)


async def read_bounds(
    session: Session, table: Table, types: Mapping[str, ColumnType], *, parts: int
) -> tuple[str, ...]:
    """Bounds that cut the table into about so many parts; () leaves it in one."""
    columns = choose_columns(table, types)
    if parts <= 1 or not columns:
        return ()
    rows_per_part = max(1, table.estimated_rows // parts)
    if len(table.key) == 1 and types[columns[0]].base in _INTEGERS:
        return await _halve(session, table, rows_per_part)
    return await _walk(session, table, [types[name] for name in columns], rows_per_part)


# --- integers ---------------------------------------------------------------------------------------


async def _halve(session: Session, table: Table, rows_per_part: int) -> tuple[str, ...]:
    key, name = quote_ident(table.key[0]), qualified(table.name)
    row = await session.query_one(f"SELECT MIN({key}), MAX({key}) FROM {name}")
    if row is None or row[0] is None:
        return ()
    low, high = int(row[0]), int(row[1])

    # Newer ones of MySQL answer with a tree unless told otherwise; MariaDB does not know the word.
    explain = "EXPLAIN" if session.flavor.is_mariadb else "EXPLAIN FORMAT=TRADITIONAL"

    async def expected(first: int, last: int) -> int:
        plan = await session.query_named(
            f"{explain} SELECT {key} FROM {name} WHERE {key} > {first} AND {key} <= {last}"
        )
        return int(plan[0]["rows"] or 0) if plan else 0

    bounds: list[int] = []

    async def cut(first: int, last: int, depth: int) -> None:
        rows = await expected(first, last)
        if rows > rows_per_part * 3 // 2 and last - first > 1 and depth < _MAX_HALVINGS:
            middle = (first + last) // 2
            await cut(first, middle, depth + 1)
            bounds.append(middle)
            await cut(middle, last, depth + 1)

    # Begin with even parts, so that numbers without gaps are cut into parts of one size.
    even = max(1, round(table.estimated_rows / rows_per_part))
    edges = sorted({low - 1 + (high - low + 1) * number // even for number in range(even + 1)})
    for first, last in pairwise(edges):
        await cut(first, last, 0)
        bounds.append(last)
    return tuple(json.dumps([str(bound)]) for bound in bounds[:-1])


# --- other keys -------------------------------------------------------------------------------------


async def _walk(session: Session, table: Table, columns: Sequence[ColumnType], rows_per_part: int) -> tuple[str, ...]:
    # Bytes of text columns come as HEX of what is stored, so that no character set is in between.
    selected = ", ".join(
        f"HEX({quote_ident(column.name)})" if column.base in _TEXTS | _BYTES else f"CONCAT({quote_ident(column.name)})"
        for column in columns
    )
    order = ", ".join(quote_ident(name) for name in table.key)
    bounds: list[str] = []
    while True:
        condition = render_condition(table, bounds[-1] if bounds else None, None)
        where = f" WHERE {condition}" if condition else ""
        row = await session.query_one(
            f"SELECT {selected} FROM {qualified(table.name)}{where} ORDER BY {order} LIMIT 1 OFFSET {rows_per_part - 1}"
        )
        if row is None:
            return tuple(bounds)
        bounds.append(render_bound(row, columns))


def _render_constant(value: Any, column: ColumnType) -> str:
    text = value.decode("ascii") if isinstance(value, bytes) else str(value)
    if column.base in _EXACT:
        return text
    if column.base in _TEXTS:
        return f"_{column.charset} X'{text}'"
    if column.base in _BYTES:
        return f"X'{text}'"
    return f"'{text}'"


def _parse_bound(text: str) -> list[str]:
    constants: list[str] = json.loads(text)
    if not constants or not all(_CONSTANT.fullmatch(str(part)) for part in constants):
        raise InvariantBroken("the bound of a chunk on the target is none of Towline's")
    return constants


def _render_compare(key: Sequence[str], constants: Sequence[str], operator: str) -> str:
    """`(a, b) > (x, y)` in a form that both products find in an index."""
    names = [quote_ident(name) for name in key[: len(constants)]]
    if len(names) == 1:
        return f"{names[0]} {operator} {constants[0]}"
    inner = _render_compare(key[1:], constants[1:], operator)
    return f"({names[0]} >= {constants[0]} AND ({names[0]} {operator} {constants[0]} OR {inner}))"
