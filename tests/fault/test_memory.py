"""A worker's memory does not grow with the table, the row or the transaction.

Scaled to what a test can afford: the same bound (512 MB) with a table and a transaction larger than it and a row of
64 MB would take minutes; `make bench-memory` runs those.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.jobs import JobRuns
from tests.servers import Database, assert_same_rows

MB = 1024 * 1024
ROW_MB = 16
# Kept in memory, each of these and the worker itself (100 MB) would be past the bound.
TABLE_MB = 176
TRANSACTION_MB = 176
LIMIT_MB = 96
# The limit, and a worker without any work: interpreter, libraries, one row of the size above in each driver's buffer.
BOUND_MB = 240


@pytest.mark.postgres(source=18, target=18)
@pytest.mark.timeout(240)
async def test_memory_is_bounded_for_a_large_table_row_and_transaction(
    source_database: Database, target_database: Database, tmp_path: Path
) -> None:
    source_database.execute(
        f"""CREATE TABLE large (id int PRIMARY KEY, filler text);
        INSERT INTO large SELECT i, repeat('x', 1000) FROM generate_series(1, {TABLE_MB * 1000}) i;
        CREATE TABLE wide (id int PRIMARY KEY, doc bytea);
        ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL;
        INSERT INTO wide SELECT i, convert_to(repeat('abcdefgh', {ROW_MB * MB // 8}), 'UTF8')
        FROM generate_series(1, 3) i"""
    )
    runs = JobRuns(source=source_database, target=target_database, work_dir=tmp_path)
    copied = runs.run_to_the_end(memory_limit_bytes=LIMIT_MB * MB)
    source_database.execute(
        f"""INSERT INTO large SELECT 1000000 + i, repeat('y', 1000) FROM generate_series(1, {TRANSACTION_MB * 1000}) i;
        UPDATE wide SET doc = doc || '\\x00'::bytea"""
    )
    streamed = runs.run_to_the_end(memory_limit_bytes=LIMIT_MB * MB)
    assert streamed["changes"] >= TRANSACTION_MB * 1000
    assert copied["peak_rss_bytes"] < BOUND_MB * MB, f"copy: {copied['peak_rss_bytes'] // MB} MB"
    assert streamed["peak_rss_bytes"] < BOUND_MB * MB, f"stream: {streamed['peak_rss_bytes'] // MB} MB"
    await assert_same_rows(source_database.url, target_database.url)
    assert _files(tmp_path) == [], "spill files are left behind"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
