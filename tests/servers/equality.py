"""Source and target compared by content, by code that shares nothing with Towline's own compare.

Every row of every table is rendered as text by the server under fixed settings, sorted by bytes and
hashed; sequences and materialised views are compared as well if asked. Partitions are read through
the table that holds the rows, so a row in the wrong partition is a difference.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import asyncpg

# Written by Towline on the target, so never the same on both sides.
IGNORED_SCHEMAS = ("towline",)
MAX_ROWS_SHOWN = 5

# Everything that changes how a value looks as text.
SESSION = {
    "search_path": "pg_catalog",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "application_name": "assert_same_rows",
}

OF_THE_USER = """
    n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND n.nspname <> ALL ($1::text[])
"""

TABLES = f"""
    SELECT c.oid, n.nspname, c.relname,
           array_agg(a.attname::text ORDER BY a.attname COLLATE "C") FILTER (WHERE a.attname IS NOT NULL)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind = ANY ($2::"char"[]) AND {OF_THE_USER}
    GROUP BY c.oid, n.nspname, c.relname
"""

SEQUENCES = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND {OF_THE_USER}
"""

SequenceRule = Literal["equal", "ahead", "ignore"]


@dataclass
class Content:
    """What one side holds: columns per table, row count and hash per table, state per sequence."""

    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, tuple[int, str]] = field(default_factory=dict)
    sequences: dict[str, tuple[int, bool]] = field(default_factory=dict)


async def assert_same_rows(
    source_url: str,
    target_url: str,
    tables: Iterable[str] | None = None,
    *,
    sequences: SequenceRule = "equal",
    materialised_views: bool = False,
    ignored_schemas: Sequence[str] = IGNORED_SCHEMAS,
) -> int:
    """Assert that both databases hold the same rows; returns how many tables were compared.

    `tables` are `schema.name` or names in `public`; None means every table of either side. Sequences are
    compared only with all tables; with "ahead" the target's may be further on than the source's.

    Raises:
        AssertionError: names the first differences, with rows.
    """
    kinds = ["r", "m"] if materialised_views else ["r"]
    wanted = None if tables is None else {_qualified(name) for name in tables}
    source = await asyncpg.connect(source_url, server_settings=SESSION)
    try:
        target = await asyncpg.connect(target_url, server_settings=SESSION)
        try:
            ours, theirs = await asyncio.gather(
                *(_read_content(side, kinds, wanted, ignored_schemas) for side in (source, target))
            )
            _assert_same_columns(ours, theirs, wanted)
            for name in ours.rows:
                if ours.rows[name] != theirs.rows[name]:
                    raise AssertionError(await _describe_difference(source, target, name, ours, theirs))
            if wanted is None:
                _assert_same_sequences(ours, theirs, sequences)
            return len(ours.rows)
        finally:
            await target.close()
    finally:
        await source.close()


async def _read_content(
    connection: asyncpg.Connection, kinds: list[str], wanted: set[str] | None, ignored: Sequence[str]
) -> Content:
    content = Content()
    # One snapshot for all tables: comparing while somebody writes fails in a way that can be explained.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        partitioned = ["p"] if wanted is not None else []
        found = await connection.fetch(TABLES, list(ignored), [kind.encode() for kind in kinds + partitioned])
        for _, schema, table, columns in found:
            name = f"{schema}.{table}"
            if wanted is None or name in wanted:
                content.columns[name] = tuple(columns or ())
                content.rows[name] = await _hash_rows(connection, name, content.columns[name])
        if wanted is None:
            for schema, sequence in await connection.fetch(SEQUENCES, list(ignored)):
                value = await connection.fetchrow(f"SELECT last_value, is_called FROM {_quote(schema, sequence)}")
                assert value is not None
                content.sequences[f"{schema}.{sequence}"] = (value[0], value[1])
    return content


async def _hash_rows(connection: asyncpg.Connection, name: str, columns: tuple[str, ...]) -> tuple[int, str]:
    digest = hashlib.sha256()
    lines = 0

    async def take(block: bytes) -> None:
        nonlocal lines
        digest.update(block)
        lines += block.count(b"\n")  # COPY's text form writes a line break inside a value as \n

    await connection.copy_from_query(_rows_query(name, columns), output=take, format="text")
    return lines, digest.hexdigest()


def _rows_query(name: str, columns: tuple[str, ...]) -> str:
    row = ", ".join(_quote(column) for column in columns)
    return f'SELECT ROW({row})::text AS line FROM {_quoted_name(name)} ORDER BY ROW({row})::text COLLATE "C"'


def _assert_same_columns(ours: Content, theirs: Content, wanted: set[str] | None) -> None:
    missing = sorted((wanted or set()) - ours.columns.keys())
    assert not missing, f"no such table on the source: {missing}"
    only_source = sorted(ours.columns.keys() - theirs.columns.keys())
    only_target = sorted(theirs.columns.keys() - ours.columns.keys())
    assert not only_source, f"tables only on the source: {only_source}"
    assert not only_target, f"tables only on the target: {only_target}"
    for name, columns in ours.columns.items():
        assert columns == theirs.columns[name], f"columns of {name}: {columns} != {theirs.columns[name]}"


def _assert_same_sequences(ours: Content, theirs: Content, rule: SequenceRule) -> None:
    if rule == "ignore":
        return
    names = ours.sequences.keys() ^ theirs.sequences.keys()
    assert not names, f"sequences only on one side: {sorted(names)}"
    for name, state in ours.sequences.items():
        reached = theirs.sequences[name]
        if rule == "equal":
            assert state == reached, f"sequence {name}: source {state}, target {reached}"
        else:
            assert reached >= state, f"sequence {name}: target {reached} is behind source {state}"


async def _describe_difference(
    source: asyncpg.Connection, target: asyncpg.Connection, name: str, ours: Content, theirs: Content
) -> str:
    query = _rows_query(name, ours.columns[name])
    left = [row[0] for row in await source.fetch(query)]
    right = [row[0] for row in await target.fetch(query)]
    only_left, only_right = _without(left, right), _without(right, left)
    return (
        f"{name}: {ours.rows[name][0]} rows on the source, {theirs.rows[name][0]} on the target;"
        f" {len(only_left)} only on the source, e.g. {only_left[:MAX_ROWS_SHOWN]};"
        f" {len(only_right)} only on the target, e.g. {only_right[:MAX_ROWS_SHOWN]}"
    )


def _without(rows: list[str], others: list[str]) -> list[str]:
    remaining: dict[str, int] = {}
    for row in others:
        remaining[row] = remaining.get(row, 0) + 1
    result = []
    for row in rows:
        if remaining.get(row, 0):
            remaining[row] -= 1
        else:
            result.append(row)
    return result


def _qualified(name: str) -> str:
    return name if "." in name else f"public.{name}"


def _quoted_name(name: str) -> str:
    return _quote(*name.split(".", 1))


def _quote(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)
