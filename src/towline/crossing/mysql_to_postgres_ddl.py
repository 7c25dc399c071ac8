"""Indexes that a MySQL source makes, drops and renames while the job follows it, done on the PostgreSQL target.

Theory of operation: the applier calls this inside its transaction, which ends with the move of the checkpoint.  DDL is
transactional here, so a crash leaves both or neither, and nothing has to be remembered or compared afterwards.
Indexes are named as the copy names them, the table's name in front; which one is meant is looked up among the table's
own, so an index that the copy left out is simply not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

import asyncpg

from towline.adapters.mysql.postgres_ddl import candidates, full_name, ident
from towline.adapters.mysql.postgres_indexes import IndexAction, IndexOrder
from towline.adapters.postgres.errors import translated
from towline.domain.errors import Side, SourceDdl, TowlineError, TransientError

_COLUMNS: Final = """
SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
_INDEXES: Final = """
SELECT c.relname::text AS name, i.indisunique AS is_unique,
       EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = c.oid AND o.contype IN ('p', 'u', 'x')) AS is_constraint,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::text::regclass
"""
_TAKEN: Final = """
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2)
"""
_IS_COMPLETE: Final = "SELECT completed_at IS NOT NULL FROM towline.job WHERE job_id = $1"
_REMEDY: Final = (
    "Make the statement possible on the target, then retry the job, which will run it; or end the job and start a new"
    " one."
)


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    is_unique: bool
    is_constraint: bool
    columns: tuple[str, ...]


async def run_index_ddl(connection: asyncpg.Connection, packed: bytes, *, job_id: str) -> None:
    """Do what `IndexOrder` says in the open transaction.

    Raises: SourceDdl, the target cannot follow; the caller takes the transaction back.
    """
    order = IndexOrder.decode(packed)
    if not await connection.fetchval(_IS_COMPLETE, job_id):
        # The plan of the structure builds indexes still, so whether this one is there is not known yet.
        raise SourceDdl(f"the source ran {order.summary} while the job copied its tables", side=Side.SOURCE)
    try:
        with translated(Side.TARGET, what=f"running {order.summary}"):
            for action in _drops_first(order.actions):
                await _DO[action.kind](connection, order, action)
    except (SourceDdl, TransientError):
        raise
    except TowlineError as error:
        raise SourceDdl(
            f"the target cannot follow {order.summary}: {error.message}", side=Side.TARGET, remedy=_REMEDY
        ) from error


def _drops_first(actions: tuple[IndexAction, ...]) -> list[IndexAction]:
    """MySQL takes all names of one statement as they were before it: an index may be replaced by one of its name."""
    return sorted(actions, key=lambda action: ("drop", "rename", "create").index(action.kind))


async def _create(connection: asyncpg.Connection, order: IndexOrder, action: IndexAction) -> None:
    known = {name.lower(): name for (name,) in await connection.fetch(_COLUMNS, full_name(order.table))}
    missing = [name for name, _ in action.columns if name.lower() not in known]
    if missing:
        raise SourceDdl(f"the target's table {order.table} has no column {missing[0]}", side=Side.TARGET)
    columns = [(known[name.lower()], is_descending) for name, is_descending in action.columns]
    found = await _find(connection, order, action.name)
    if found is not None:
        if (found.is_unique, list(found.columns)) == (action.is_unique, [name for name, _ in columns]):
            return  # it was made on the source between the begin of the stream and the copy of the structure
        raise SourceDdl(f"{order.summary}: the target has another index {found.name}", side=Side.TARGET)
    listed = ", ".join(ident(name) + (" DESC" if is_descending else "") for name, is_descending in columns)
    name = await _free_name(connection, order, action.name)
    unique = "UNIQUE " if action.is_unique else ""
    await connection.execute(f"CREATE {unique}INDEX {ident(name)} ON {full_name(order.table)} ({listed})")


async def _drop(connection: asyncpg.Connection, order: IndexOrder, action: IndexAction) -> None:
    found = await _find(connection, order, action.name)
    if found is None:
        return
    if found.is_constraint or (found.is_unique and set(found.columns) == set(order.key)):
        raise SourceDdl(
            f"the source ran {order.summary}, which is not carried: the job finds the table's rows by that index",
            side=Side.SOURCE,
        )
    await connection.execute(f"DROP INDEX {ident(order.table.schema)}.{ident(found.name)}")


async def _rename(connection: asyncpg.Connection, order: IndexOrder, action: IndexAction) -> None:
    found = await _find(connection, order, action.name)
    if found is not None:
        name = await _free_name(connection, order, action.new_name)
        await connection.execute(f"ALTER INDEX {ident(order.table.schema)}.{ident(found.name)} RENAME TO {ident(name)}")


_DO: Final = {"create": _create, "drop": _drop, "rename": _rename}


async def _find(connection: asyncpg.Connection, order: IndexOrder, name: str) -> _Index | None:
    """The table's index that the source calls so; MySQL does not tell upper from lower letters in such names."""
    rows = await connection.fetch(_INDEXES, full_name(order.table))
    indexes = {
        row["name"].lower(): _Index(row["name"], row["is_unique"], row["is_constraint"], tuple(row["columns"] or ()))
        for row in rows
    }
    # As many places as the table has indexes, and one for each that took a name before.
    for candidate in islice(candidates(_index_name(order, name)), len(indexes) + 10):
        found = indexes.get(candidate.lower())
        if found is not None:
            return found
    return None


async def _free_name(connection: asyncpg.Connection, order: IndexOrder, name: str) -> str:
    for candidate in candidates(_index_name(order, name)):
        if not await connection.fetchval(_TAKEN, order.table.schema, candidate):
            return candidate
    raise AssertionError("names do not end")


def _index_name(order: IndexOrder, name: str) -> str:
    """As the structure asks for it."""
    return f"{order.table.name}_{name}"
