"""Runs of one job from PostgreSQL to MySQL or MariaDB, in processes of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.fault.jobs import Runs
from tests.fault.mysql_jobs import url_of
from tests.servers.databases import Database
from tests.servers.mysql import MysqlServer
from towline.bootstrap import parse_url
from towline.domain.jobs import JobSpec, TaskMode

JOB_ID = "33333333-2222-3333-4444-5555555ejb01"


@dataclass(kw_only=True)
class CrossRuns(Runs):
    """From PostgreSQL to a server of MySQL or MariaDB. `schema` is the source's, and the target's database."""

    job_id = JOB_ID
    source: Database
    target: MysqlServer
    schema: str

    def urls(self) -> tuple[str, str]:
        return self.source.url, url_of(self.target)

    def spec(self) -> JobSpec:
        return JobSpec(
            job_id=JOB_ID,
            mode=TaskMode.FULL_AND_STREAM if self.follow else TaskMode.FULL,
            source=parse_url(self.source.url),
            target=parse_url(url_of(self.target)),
        )

    def ledger(self) -> dict[tuple[str, str, int], str]:
        """When each finished chunk was written, by table, kind and number."""
        rows = self.target.fetch_all("SELECT table_name, kind, number, CAST(done_at AS CHAR) FROM towline.chunk")
        return {(table, kind, number): done_at for table, kind, number, done_at in rows}

    def rejects(self) -> list[tuple[Any, ...]]:
        return self.target.fetch_all("SELECT table_name, kind, reason, key_values FROM towline.reject ORDER BY id")


# What the drivers make of a value is compared as it is; these are compared as PostgreSQL's text.
_AS_IS = {
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "double precision",
    "boolean",
    "bytea",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "uuid",
    "oid",
}


def assert_same_values(runs: CrossRuns, *, made: Collection[str] = ()) -> None:
    """Every table of the schema holds the same values on both sides, as two drivers that know no converter see them.

    With `made` these are the tables of the target, and no others, whatever they are on the source.
    """
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in runs.source.fetch_all(
        """SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c
           JOIN information_schema.tables t USING (table_schema, table_name)
           WHERE c.table_schema = %s AND c.is_generated = 'NEVER' AND t.table_type = 'BASE TABLE'
             AND (c.table_name = ANY(%s::text[]) OR cardinality(%s::text[]) = 0 AND NOT EXISTS (
                 SELECT 1 FROM pg_partitioned_table p
                 WHERE p.partrelid = format('%%I.%%I', c.table_schema, c.table_name)::regclass))
           ORDER BY 1, c.ordinal_position""",
        [runs.schema, list(made), list(made)],
    ):
        tables.setdefault(table, []).append((column, kind))
    assert tables, "nothing to compare"
    if made:
        shown = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        assert {name for (name,) in runs.target.fetch_all(shown, [runs.schema])} == set(made)
    for table, columns in tables.items():
        expected = _source_rows(runs, table, columns)
        found = _target_rows(runs, table, columns)
        missing, extra = expected - found, found - expected
        shown = f"missing {list(missing.items())[:3]}, extra {list(extra.items())[:3]}"
        assert expected == found, f"{table}: {len(missing)} missing, {len(extra)} extra; {shown}"


def _source_rows(runs: CrossRuns, table: str, columns: list[tuple[str, str]]) -> Counter[tuple[Any, ...]]:
    def render(name: str, kind: str) -> str:
        if kind == "real":
            return f'"{name}"::double precision'
        if kind == "character":
            return f'"{name}"::text'  # without what fills it
        shown = f'CASE WHEN "{name}" IS DISTINCT FROM NULL THEN format(\'%%s\', "{name}") END'
        return f'"{name}"' if kind in _AS_IS else shown

    selected = ", ".join(render(*column) for column in columns)
    rows = runs.source.fetch_all(f'SELECT {selected} FROM "{runs.schema}"."{table}"', [])
    return Counter(tuple(_plain(value) for value in row) for row in rows)


def _target_rows(runs: CrossRuns, table: str, columns: list[tuple[str, str]]) -> Counter[tuple[Any, ...]]:
    def render(name: str, kind: str) -> str:
        if kind == "real":
            return f"`{name}` * 1e0"
        if kind == "bit" and (width := _bit_width(runs, table, name)) <= 64:
            return f"LPAD(BIN(`{name}`), {width}, '0')"
        return f"`{name}`"

    selected = ", ".join(render(*column) for column in columns)
    rows = runs.target.fetch_all(f"SELECT {selected} FROM `{runs.schema}`.`{table}`")
    return Counter(tuple(_plain(value) for value in row) for row in rows)


def _bit_width(runs: CrossRuns, table: str, column: str) -> int:
    return int(
        runs.source.fetch_value(
            """SELECT character_maximum_length FROM information_schema.columns
               WHERE table_schema = %s AND table_name = %s AND column_name = %s""",
            [runs.schema, table, column],
        )
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, time):
        return timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
    if isinstance(value, Decimal):
        return value.normalize() + 0
    if isinstance(value, UUID):
        return str(value)
    return bytes(value) if isinstance(value, memoryview) else value
