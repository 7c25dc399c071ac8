"""DDL that a MySQL source runs while the job follows it, done on the PostgreSQL target.

Theory of operation: the applier calls this inside its transaction, which ends with the move of the checkpoint.  DDL is
transactional here, so a crash leaves both or neither, and nothing has to be remembered or compared afterwards.  The
forms of the source's tables, by which rows are decoded, change in the same transaction.
"""

from __future__ import annotations

import re
from typing import Final

import asyncpg

from towline.adapters.mysql.column_changes import ColumnAction
from towline.adapters.mysql.postgres_ddl import full_name, ident, literal, sequence_name
from towline.adapters.mysql.postgres_indexes import IndexAction
from towline.adapters.mysql.table_order import TableOrder
from towline.adapters.postgres.errors import translated
from towline.crossing.kept_forms import replace_form
from towline.crossing.mysql_to_postgres_tables import run_table_action
from towline.crossing.target_indexes import build_index, find_index, free_name, read_indexes
from towline.crossing.target_keys import add_foreign_key, drop_foreign_key, set_primary_key
from towline.domain.errors import Side, SourceDdl, TowlineError, TransientError

_COLUMNS: Final = """
SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
_COLUMN: Final = """
SELECT a.attidentity <> '' AS is_counted,
       ARRAY(SELECT conname::text FROM pg_constraint k
             WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]) AS checks
FROM pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attname = $2
"""
_IS_COMPLETE: Final = "SELECT completed_at IS NOT NULL FROM towline.job WHERE job_id = $1"
_GIVEN_CHECK: Final = re.compile(r"_check\d*$")
_REMEDY: Final = (
    "Make the statement possible on the target, then retry the job, which will run it; or end the job and start a new"
    " one."
)


async def run_source_ddl(connection: asyncpg.Connection, packed: bytes, *, job_id: str) -> None:
    """Do what `TableOrder` says in the open transaction.

    Raises: SourceDdl, the target cannot follow; the caller takes the transaction back.
    """
    order = TableOrder.decode(packed)
    if not await connection.fetchval(_IS_COMPLETE, job_id):
        # The plan of the structure builds indexes still, so whether this one is there is not known yet.
        raise SourceDdl(f"the source ran {order.summary} while the job copied its tables", side=Side.SOURCE)
    try:
        with translated(Side.TARGET, what=f"running {order.summary}"):
            await _run(connection, order)
            for kept in order.forms:
                await replace_form(connection, job_id, kept)
    except (SourceDdl, TransientError):
        raise
    except TowlineError as error:
        raise SourceDdl(
            f"the target cannot follow {order.summary}: {error.message}", side=Side.TARGET, remedy=_REMEDY
        ) from error


async def _run(connection: asyncpg.Connection, order: TableOrder) -> None:
    """Keys and indexes go before columns do, and come when the new ones are there."""
    for key in order.keys:
        if key.kind == "drop":
            await drop_foreign_key(connection, order, key)
    for table in order.tables:
        await run_table_action(connection, table)
    indexes = _drops_first(order.indexes)
    for action in indexes:
        if action.kind != "create":
            await _DO[action.kind](connection, order, action)
    for column in order.columns:
        await _DO_COLUMN[column.kind](connection, order, column)
    for key in order.keys:
        if key.kind == "primary":
            await set_primary_key(connection, order, key)
    for action in indexes:
        if action.kind == "create":
            await _create(connection, order, action)
    for key in order.keys:
        if key.kind == "add":
            await add_foreign_key(connection, order, key)


def _drops_first(actions: tuple[IndexAction, ...]) -> list[IndexAction]:
    """MySQL takes all names of one statement as they were before it: an index may be replaced by one of its name."""
    return sorted(actions, key=lambda action: ("drop", "rename", "create").index(action.kind))


async def _create(connection: asyncpg.Connection, order: TableOrder, action: IndexAction) -> None:
    known = {name.lower(): name for (name,) in await connection.fetch(_COLUMNS, full_name(order.table))}
    missing = [name for name, _ in action.columns if name.lower() not in known]
    if missing:
        raise SourceDdl(f"the target's table {order.table} has no column {missing[0]}", side=Side.TARGET)
    columns = [(known[name.lower()], is_descending) for name, is_descending in action.columns]
    found = await find_index(connection, order.table, action.name)
    if found is not None:
        if (found.is_unique, list(found.columns)) == (action.is_unique, [name for name, _ in columns]):
            return  # it was made on the source between the begin of the stream and the copy of the structure
        raise SourceDdl(f"{order.summary}: the target has another index {found.name}", side=Side.TARGET)
    name = await free_name(connection, order.table, action.name)
    await build_index(connection, order.table, name, columns, is_unique=action.is_unique)


async def _drop(connection: asyncpg.Connection, order: TableOrder, action: IndexAction) -> None:
    found = await find_index(connection, order.table, action.name)
    if found is None:
        return
    if found.is_constraint or (found.is_unique and set(found.columns) == set(order.key)):
        raise SourceDdl(
            f"the source ran {order.summary}, which is not carried: the job finds the table's rows by that index",
            side=Side.SOURCE,
        )
    await connection.execute(f"DROP INDEX {ident(order.table.schema)}.{ident(found.name)}")


async def _rename(connection: asyncpg.Connection, order: TableOrder, action: IndexAction) -> None:
    found = await find_index(connection, order.table, action.name)
    if found is not None:
        name = await free_name(connection, order.table, action.new_name)
        await connection.execute(f"ALTER INDEX {ident(order.table.schema)}.{ident(found.name)} RENAME TO {ident(name)}")


_DO: Final = {"create": _create, "drop": _drop, "rename": _rename}


# --- columns ----------------------------------------------------------------------------------------


async def _add_column(connection: asyncpg.Connection, order: TableOrder, action: ColumnAction) -> None:
    name = full_name(order.table)
    if action.must_be_empty and await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):
        raise SourceDdl(
            f"the source ran {order.summary}, which is not carried: {action.must_be_empty}", side=Side.SOURCE
        )
    for clause in action.clauses:
        await connection.execute(f"ALTER TABLE {name} {clause}")
    await _comment(connection, order, action)


async def _drop_column(connection: asyncpg.Connection, order: TableOrder, action: ColumnAction) -> None:
    """The target drops all indexes that have the column, the source takes the column out of them."""
    indexes = await read_indexes(connection, order.table)
    shorter = [each for each in indexes if action.name in each.columns and len(each.columns) > 1]
    if any(each.is_constraint for each in shorter):
        raise SourceDdl(f"the source ran {order.summary}, which is not carried: it changes a key", side=Side.SOURCE)
    await connection.execute(f"ALTER TABLE {full_name(order.table)} DROP COLUMN {ident(action.name)}")
    for index in shorter:
        rest = [part for part in index.parts if part[0] != action.name]
        await build_index(connection, order.table, index.name, rest, is_unique=index.is_unique)


async def _rename_column(connection: asyncpg.Connection, order: TableOrder, action: ColumnAction) -> None:
    name = full_name(order.table)
    await connection.execute(f"ALTER TABLE {name} RENAME COLUMN {ident(action.name)} TO {ident(action.new_name)}")
    sequence = await connection.fetchval("SELECT pg_get_serial_sequence($1, $2)", name, action.new_name)
    if sequence is not None:
        new = ident(sequence_name(order.table.name, action.new_name))
        await connection.execute(f"ALTER SEQUENCE {sequence} RENAME TO {new}")


async def _alter_column(connection: asyncpg.Connection, order: TableOrder, action: ColumnAction) -> None:
    table, column = full_name(order.table), ident(action.name)
    row = await connection.fetchrow(_COLUMN, table, action.name)
    if row is None:
        raise SourceDdl(f"the target's table {order.table} has no column {action.name}", side=Side.TARGET)
    if action.is_counted and not row["is_counted"]:
        raise SourceDdl(
            f"the source ran {order.summary}, which is not carried: it numbers the rows that are there",
            side=Side.SOURCE,
        )
    clauses = list(action.clauses)
    if row["is_counted"] and not action.is_counted:
        clauses.insert(0, f"ALTER COLUMN {column} DROP IDENTITY")
    if action.check is not None:
        # By the name that the server gives: one that an operator made is left alone.
        dropped = [name for name in row["checks"] if _GIVEN_CHECK.search(name)]
        clauses += [f"DROP CONSTRAINT {ident(name)}" for name in dropped]
        clauses += [f"ADD {action.check}"] if action.check else []
    for clause in clauses:
        await connection.execute(f"ALTER TABLE {table} {clause}")
    await _comment(connection, order, action)


async def _set_default(connection: asyncpg.Connection, order: TableOrder, action: ColumnAction) -> None:
    for clause in action.clauses:
        await connection.execute(f"ALTER TABLE {full_name(order.table)} {clause}")


async def _comment(connection: asyncpg.Connection, order: TableOrder, action: ColumnAction) -> None:
    if action.comment is not None:
        column = f"{full_name(order.table)}.{ident(action.name)}"
        await connection.execute(f"COMMENT ON COLUMN {column} IS {literal(action.comment)}")


_DO_COLUMN: Final = {
    "add": _add_column,
    "drop": _drop_column,
    "rename": _rename_column,
    "alter": _alter_column,
    "default": _set_default,
}
