"""Columns whose types are domains: what a domain demands of a row must not be demanded of a part of one."""

from __future__ import annotations

import pytest

from tests.integration.stream.conftest import MakeStream

DOMAINS = """
    CREATE TYPE mood AS ENUM ('so', 'la');
    CREATE DOMAIN email AS text NOT NULL CHECK (VALUE LIKE '%@%');
    CREATE DOMAIN work_email AS email CHECK (VALUE LIKE '%.example');
    CREATE DOMAIN code AS char(4) NOT NULL;
    CREATE DOMAIN price AS numeric(6, 2) NOT NULL;
    CREATE DOMAIN feeling AS mood NOT NULL;
    CREATE DOMAIN numbers AS int[] NOT NULL;
    CREATE DOMAIN span AS int4range NOT NULL;
"""
# An array of a user's own type makes the stream a textual one.
TEXTUAL = "CREATE TABLE moods (id int PRIMARY KEY, ms mood[]);"
forms = pytest.mark.parametrize("form", ["binary", "text"])


@forms
async def test_domains_that_refuse_null(make_stream: MakeStream, form):
    job = await make_stream(
        f"""{DOMAINS} {TEXTUAL if form == "text" else ""}
            CREATE TABLE t (id int PRIMARY KEY, e work_email, c code, p price, f feeling, n numbers, s span);
            CREATE TABLE whole (e work_email, c code, p price, f feeling, n numbers, s span);
            ALTER TABLE whole REPLICA IDENTITY FULL"""
    )
    job.start()
    row = "i || '@a.example', i, i / 3.0, 'so', ARRAY[i], int4range(i, 9)"
    job.source.execute(f"INSERT INTO t SELECT i, {row} FROM generate_series(1, 6) i")
    job.source.execute(f"INSERT INTO whole SELECT {row} FROM generate_series(1, 6) i")
    await job.assert_in_step()
    assert job.sides is not None
    assert job.sides._is_binary == (form == "binary")
    # Beside the key, what comes with a DELETE and with the old row of a changed key is NULL.
    job.source.execute("DELETE FROM t WHERE id = 1")
    job.source.execute("UPDATE t SET id = id + 10 WHERE id = 2")
    job.source.execute("UPDATE t SET e = 'b@b.example', c = 'x', p = 1, f = 'la' WHERE id = 3")
    job.source.execute("UPDATE whole SET f = 'la', n = '{}' WHERE c = '4'; DELETE FROM whole WHERE c = '5'")
    await job.assert_in_step()


@forms
async def test_keys_whose_types_are_domains(make_stream: MakeStream, form):
    keys = {"email": "'x@y'", "code": "'a'", "price": "1.5", "feeling": "'so'", "numbers": "'{1}'", "span": "'[1,3)'"}
    others = {"email": "'z@y'", "code": "'b'", "price": "2.5", "feeling": "'la'", "numbers": "'{2}'", "span": "'[1,4)'"}
    tables = "".join(f"CREATE TABLE by_{key} (k {key} PRIMARY KEY, n int);" for key in keys)
    job = await make_stream(f"{DOMAINS} {TEXTUAL if form == 'text' else ''} {tables}")
    job.start()
    for key, value in keys.items():
        job.source.execute(f"INSERT INTO by_{key} VALUES ({value}, 1), ({others[key]}, 2)")
    await job.assert_in_step()
    for key in keys:
        job.source.execute(f"UPDATE by_{key} SET n = 3 WHERE n = 1; DELETE FROM by_{key} WHERE n = 2")
        job.source.execute(f"UPDATE by_{key} SET k = {others[key]}")
    await job.assert_in_step()


async def test_unchanged_large_value_of_a_domain_that_refuses_null(make_stream: MakeStream):
    job = await make_stream(
        """CREATE DOMAIN body AS text NOT NULL; CREATE TABLE t (id int PRIMARY KEY, n int, v body);
           ALTER TABLE t ALTER v SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, 1, repeat('x', 5000))"""
    )
    job.start()
    job.source.execute("UPDATE t SET n = 2")
    await job.assert_in_step()
    job.source.execute("UPDATE t SET id = 2")
    await job.assert_in_step()
