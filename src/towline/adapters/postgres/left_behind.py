"""What a source database holds that no job takes along: said by every job, so that it is not missed later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import asyncpg

from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection, TableName

_HAS_LARGE_OBJECTS = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_largeobject_metadata)"

# pg_dump writes these with --create only, as they belong to the database and not to what is in it.
_DATABASE = """
SELECT d.datname AS name, d.datconnlimit <> -1 AS has_limit, d.datacl IS NOT NULL AS has_grants,
       pg_catalog.shobj_description(d.oid, 'pg_database') IS NOT NULL AS has_comment,
       ARRAY(SELECT DISTINCT split_part(c.setting, '=', 1) FROM pg_catalog.pg_db_role_setting s
             CROSS JOIN LATERAL unnest(s.setconfig) AS c(setting) WHERE s.setdatabase = d.oid ORDER BY 1) AS settings
FROM pg_catalog.pg_database d WHERE d.datname = current_database()
"""

# CREATE EXTENSION makes these tables anew; pg_dump would bring the rows that users have put into them.
_EXTENSION_TABLES = """
SELECT n.nspname AS schema, c.relname AS name, e.extname AS extension
FROM pg_catalog.pg_extension e CROSS JOIN LATERAL unnest(e.extconfig) AS t(id)
JOIN pg_catalog.pg_class c ON c.oid = t.id AND c.relkind = 'r' JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_relation_size(c.oid) > 0 ORDER BY 1, 2
"""


async def read_left_behind(connection: asyncpg.Connection, selection: ObjectSelection) -> list[StructureReport]:
    """One report for each thing of the database, as far as it is selected, that will be missing on the target."""
    reports = []
    if selection.is_everything:
        row = await connection.fetchrow(_DATABASE)
        assert row is not None
        reports += report_database(dict(row))
    rows = await connection.fetch(_EXTENSION_TABLES)
    reports += report_extension_tables((dict(row) for row in rows), selection)
    if await connection.fetchval(_HAS_LARGE_OBJECTS):
        reports.append(StructureReport("BLOB", "large objects", "they are not copied"))
    return reports


def report_database(row: Mapping[str, object]) -> list[StructureReport]:
    """What the database has of its own; names of settings without their values (I7). Pure."""
    settings = row["settings"]
    assert isinstance(settings, list)
    found = [f"settings ({', '.join(settings)})"] if settings else []
    found += [
        word
        for word, member in (("grants", "has_grants"), ("comment", "has_comment"), ("connection limit", "has_limit"))
        if row[member]
    ]
    if not found:
        return []
    reason = f"not carried over: {', '.join(found)}; see ALTER DATABASE, ALTER ROLE ... IN DATABASE"
    return [StructureReport("DATABASE PROPERTIES", str(row["name"]), reason)]


def report_extension_tables(rows: Iterable[Mapping[str, str]], selection: ObjectSelection) -> list[StructureReport]:
    """Tables of extensions that hold rows of their users. Pure."""
    return [
        StructureReport(
            "TABLE",
            str(table),
            f"rows put into it are not copied: it belongs to extension {row['extension']}",
        )
        for row in rows
        if selection.covers(table := TableName(row["schema"], row["name"]))
    ]
