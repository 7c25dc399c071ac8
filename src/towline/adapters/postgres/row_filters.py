"""Conditions that choose the rows of a table, held against the real table before a job may use them.

The copy reads `SELECT ... WHERE (condition)`, the stream a publication with the same condition.  For a stream the
source itself judges: a publication with the condition is made in a transaction that is rolled back.  It allows only
what it can evaluate while it decodes its log.  One rule it checks too late: a condition on a column outside the replica
identity makes UPDATE and DELETE fail on the source, for its applications; so that is refused here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

import asyncpg

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.adapters.postgres.slots import FILTER_COLUMNS_OUTSIDE_IDENTITY, FIRST_WITH_ROW_FILTERS
from towline.domain.errors import RowFilterRefused, Side
from towline.domain.jobs import Endpoint
from towline.domain.tables import RowFilter, TableName

_SETTINGS = {"statement_timeout": "20s", "lock_timeout": "5s"}

# The table itself, or the leaves of a partitioned one.
_LEAVES = """
SELECT c.oid::bigint AS id, n.nspname AS schema, c.relname AS name, c.relpersistence = 'p' AS is_logged
FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
CROSS JOIN LATERAL (SELECT r.oid AS relid WHERE r.relkind = 'r'
                    UNION ALL SELECT t.relid FROM pg_catalog.pg_partition_tree(r.oid) t
                    WHERE r.relkind = 'p' AND t.isleaf AND t.relid <> r.oid) leaf
JOIN pg_catalog.pg_class c ON c.oid = leaf.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE rn.nspname = $1 AND r.relname = $2 AND c.relkind = 'r' ORDER BY 2, 3
"""


async def check_row_filter(endpoint: Endpoint, wish: RowFilter, *, follow: bool) -> None:
    """Return when the source can copy, and with `follow` stream, the rows that meet the condition. Changes nothing.

    Raises:
        RowFilterRefused: says what is wrong with the condition or the table.
        ConnectionRefused, ServerUnreachable, MissingPrivilege: it could not be looked at.
    """
    require_one_expression(wish.condition)
    connection = await connect(endpoint, purpose="row-filter", settings=_SETTINGS, side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what=f"looking at {wish.table}"):
            leaves = await connection.fetch(_LEAVES, wish.table.schema, wish.table.name)
        if not leaves:
            raise RowFilterRefused(f"the source has no table {wish.table}", side=Side.SOURCE)
        names = [TableName(row["schema"], row["name"]) for row in leaves]
        await _try_select(connection, wish, names[0])
        if follow:
            logged = [name for name, row in zip(names, leaves, strict=True) if row["is_logged"]]
            await _try_publication(connection, wish, logged)
    finally:
        connection.terminate()


async def _try_select(connection: asyncpg.Connection, wish: RowFilter, table: TableName) -> None:
    """Parsed and checked against the columns, not run."""
    query = f"SELECT 1 FROM ONLY {qualified(table)} WHERE ({wish.condition})"
    with translated(Side.SOURCE, what=f"checking the condition for {wish.table}"):
        try:
            await connection.prepare(query)
        except asyncpg.InsufficientPrivilegeError:
            raise
        except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.FeatureNotSupportedError) as error:
            raise _refused(wish, str(error)) from None


async def _try_publication(connection: asyncpg.Connection, wish: RowFilter, tables: Sequence[TableName]) -> None:
    if connection.get_server_version().major < FIRST_WITH_ROW_FILTERS:
        raise _refused(wish, f"a job that follows changes needs PostgreSQL {FIRST_WITH_ROW_FILTERS} or newer for it")
    if not tables:
        return
    name = f"towline_check_{secrets.token_hex(8)}"
    listed = ", ".join(f"ONLY {qualified(table)} WHERE ({wish.condition})" for table in tables)
    with translated(Side.SOURCE, what=f"trying the condition for {wish.table} in a publication"):
        await connection.execute("BEGIN")
        try:
            await connection.execute(f"CREATE PUBLICATION {quote_ident(name)} FOR TABLE {listed}")
            outside = await connection.fetch(FILTER_COLUMNS_OUTSIDE_IDENTITY, name)
        except asyncpg.InsufficientPrivilegeError:
            raise
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
            raise _refused(wish, str(error)) from None
        finally:
            await connection.execute("ROLLBACK")
    if outside:
        raise _refused(
            wish,
            f"column {outside[0]['attname']} is not part of the key, so the source would refuse UPDATE and DELETE "
            "while a job follows it; REPLICA IDENTITY FULL would allow it",
        )


def require_one_expression(condition: str) -> None:
    """Raises RowFilterRefused for text that could mean something else in the middle of a statement. Pure.

    The condition stands in parentheses; so its own must match, and nothing in it may end or hide them.
    """
    outside = _QUOTED.sub(" ", condition)
    if not condition.strip() or re.search(r"['\"\\;\x00]|--|/\*|\$", outside):
        raise RowFilterRefused("the condition must be one expression without comments, semicolons or dollar signs")
    depth = 0
    for sign in re.findall(r"[()]", outside):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            break
    if depth != 0:
        raise RowFilterRefused("the parentheses of the condition do not match")


# Strings and quoted names, whose quotes are doubled inside; a backslash could escape a quote in some strings.
_QUOTED = re.compile(r"'(?:[^'\\]|'')*'|\"(?:[^\"\\]|\"\")*\"")


def _refused(wish: RowFilter, reason: str) -> RowFilterRefused:
    return RowFilterRefused(f"the condition for {wish.table} cannot be used: {reason}", side=Side.SOURCE)
