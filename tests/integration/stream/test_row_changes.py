"""Every kind of change, between every pair of versions."""

from __future__ import annotations

import pytest

from tests.integration.stream.conftest import MakeStream
from tests.servers import Database
from towline.domain.errors import SourceChanged

PAIRS = [
    pytest.param(marks=pytest.mark.postgres(source=s, target=t), id=f"{s}-to-{t}")
    for s, t in [(15, 18), (16, 15), (18, 16), (18, 18)]
]
every_pair = pytest.mark.parametrize((), PAIRS)

# All values survive in binary form here; adding a column of a user's own type makes the stream a textual one.
TYPES = {
    "bool": ["true", "false"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "float4": ["'NaN'", "'-Infinity'", "1e-37", "3.4028235e38"],
    "float8": ["'NaN'", "'Infinity'", "5e-324", "1.7976931348623157e308", "0.1", "'-0'"],
    "numeric": ["'NaN'", "1e1000", "-0.000000000000000000001", "1.00"],
    "numeric(10,2)": ["99999999.99", "-0.01"],
    "text": ["''", "E'tab\\t newline\\n back\\\\slash \\r \\\\N'", "'üñî ☃ 𝄞'", "'u'"],
    "varchar(5)": ["'abcde'", "''"],
    "char(5)": ["'abcde'", "''"],
    "name": ["'n'"],
    '"char"': ["'x'"],
    "bytea": ["'\\x'", "'\\x00ff5c0a'"],
    "date": ["'infinity'", "'4713-01-01 BC'", "'5874897-12-31'"],
    "time": ["'00:00:00'", "'24:00:00'"],
    "timetz": ["'12:00:00+15:59'"],
    "timestamp": ["'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"],
    "timestamptz": ["'infinity'", "'2000-01-01 00:00:00.000001+00'"],
    "interval": ["'178000000 years'", "'1 mon -1 day 00:00:00.000001'"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'"],
    "json": ["'{\"a\":  1}'"],
    "jsonb": ['\'{"a": [1, null, "☃"]}\''],
    "inet": ["'::1/64'", "'10.0.0.0/8'"],
    "cidr": ["'10.0.0.0/8'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "bit(3)": ["B'101'"],
    "varbit": ["B''", "B'1'"],
    "point": ["'(1,2)'"],
    "box": ["'(2,2),(0,0)'"],
    "polygon": ["'((0,0),(1,1),(2,0))'"],
    "circle": ["'<(0,0),5>'"],
    "money": ["'-12.34'"],
    "tsvector": ["'a:1 b:2'"],
    "tsquery": ["'a & b'"],
    "int4range": ["'[1,5)'", "'empty'", "'(,)'"],
    "tstzrange": ["'[2000-01-01,)'"],
    "int4[]": ["'{}'", "'{1,NULL,3}'", "'[2:3]={1,2}'"],
    "text[]": ['\'{"a,b",NULL,"NULL","\\\\\\\\"}\'', "'{{a},{b}}'"],
    "numeric(6,2)[]": ["'{1.50,NULL}'"],
    "pg_lsn": ["'FFFFFFFF/FFFFFFFF'"],
}


def types_table(name: str) -> tuple[str, list[str]]:
    """A table with a column per type, and statements that insert every value."""
    columns = ", ".join(f"c{number} {type_sql}" for number, type_sql in enumerate(TYPES))
    inserts = []
    for place in range(max(map(len, TYPES.values()))):
        values = ", ".join(f"CAST({values[place % len(values)]} AS {type_sql})" for type_sql, values in TYPES.items())
        inserts.append(f"INSERT INTO {name} VALUES ({place}, {values})")
    inserts.append(f"INSERT INTO {name} (id) VALUES (1000)")
    return f"CREATE TABLE {name} (id int PRIMARY KEY, {columns})", inserts


@every_pair
@pytest.mark.parametrize("form", ["binary", "text"])
async def test_all_types_at_their_extremes(make_stream: MakeStream, form):
    table, inserts = types_table("extremes")
    full, full_inserts = types_table("found_by_all")
    own_type = "CREATE TYPE mood AS ENUM ('so', 'la'); CREATE TABLE moods (id int PRIMARY KEY, m mood, ms mood[]);"
    ddl = f"{table}; {full}; ALTER TABLE found_by_all DROP CONSTRAINT found_by_all_pkey;"
    ddl += "ALTER TABLE found_by_all REPLICA IDENTITY FULL;" + (own_type if form == "text" else "")
    job = await make_stream(ddl)
    job.start()
    for statement in inserts + full_inserts:
        job.source.execute(statement)
    if form == "text":
        job.source.execute("INSERT INTO moods VALUES (1, 'so', '{la,so,NULL}'), (2, NULL, NULL)")
        job.source.execute("UPDATE moods SET m = 'la' WHERE id = 2")
    await job.assert_in_step()
    assert job.sides is not None
    assert job.sides._is_binary == (form == "binary")
    # Each row takes the values of another, found by its key or by all of its values.
    others = ", ".join(f"c{number} = o.c{number}" for number in range(len(TYPES)))
    job.source.execute(f"UPDATE extremes t SET {others} FROM extremes o WHERE o.id = (t.id + 1) % 4")
    job.source.execute("UPDATE found_by_all SET id = id + 10")
    job.source.execute("DELETE FROM found_by_all WHERE id % 2 = 0")
    await job.assert_in_step()
    job.source.execute("DELETE FROM extremes")
    await job.assert_in_step()


# What a database or a role is set to, and what sessions of a job must not take over.
ODD_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-9",
    "array_nulls": "off",
    "xmloption": "document",
    "lc_monetary": "POSIX",
    "row_security": "on",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
}


@pytest.mark.parametrize("odd", ["source", "target"])
@pytest.mark.parametrize("form", ["binary", "text"])
async def test_settings_of_a_database_change_no_value(
    make_stream: MakeStream, source_database: Database, target_database: Database, odd: str, form: str
):
    database = source_database if odd == "source" else target_database
    for name, value in ODD_SETTINGS.items():
        database.execute(f"ALTER DATABASE {database.name} SET {name} = '{value}'")
    ddl, inserts = types_table("t")
    ddl += "; CREATE TYPE mood AS ENUM ('so'); CREATE TABLE moods (id int, m mood[])" if form == "text" else ""
    job = await make_stream(ddl)
    job.start()
    # The writer's own session reads the values as they are written here.
    usual = "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET array_nulls = on"
    with job.source.connect() as session:
        session.execute(f"{usual}; SET standard_conforming_strings = on".encode())
        for statement in inserts:
            session.execute(statement.encode())
    await job.assert_in_step()
    assert job.sides is not None
    assert job.sides._is_binary == (form == "binary")


@every_pair
async def test_changes_of_one_row_in_many_transactions(make_stream: MakeStream):
    job = await make_stream("CREATE TABLE t (id int PRIMARY KEY, n int, note text)")
    job.start()
    with job.source.connect() as session:
        for number in range(300):
            session.execute("INSERT INTO t VALUES (%s, 0, 'new')", (number % 50 + 1000 * number,))
            session.execute("UPDATE t SET n = n + 1, note = %s", (f"round {number}",))
            if number % 3 == 0:
                session.execute("DELETE FROM t WHERE id = (SELECT min(id) FROM t)")
            if number % 7 == 0:
                session.execute("UPDATE t SET id = -id WHERE id = (SELECT max(id) FROM t)")
    await job.assert_in_step()


async def test_unchanged_large_values_are_kept(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (id int PRIMARY KEY, small int, big text, big2 text);
           ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER big2 SET STORAGE EXTERNAL"""
    )
    job.start()
    job.source.execute(
        "INSERT INTO t SELECT i, 0, repeat('b', 9000 + i), repeat('c', 9000) FROM generate_series(1, 20) i"
    )
    await job.assert_in_step()
    # One batch for all of it, so that folding meets every combination.
    job.control.is_apply_paused = True
    with job.source.connect() as session:
        session.execute("UPDATE t SET small = 1")
        session.execute("UPDATE t SET big = 'short' WHERE id <= 5")
        session.execute("UPDATE t SET big2 = repeat('d', 9000) WHERE id BETWEEN 4 AND 8")
        session.execute("UPDATE t SET small = 2 WHERE id <= 10")
        session.execute("UPDATE t SET id = id + 100 WHERE id >= 15")
        session.execute("UPDATE t SET small = 3 WHERE id >= 115")
        session.execute("UPDATE t SET id = id + 100, big = 'moved' WHERE id >= 118")
        session.execute("INSERT INTO t VALUES (15, 9, repeat('x', 9000), 'y'), (16, 9, 'x', repeat('y', 9000))")
        session.execute("UPDATE t SET small = 10 WHERE id IN (15, 16)")
        session.execute("DELETE FROM t WHERE id IN (1, 4, 115)")
    job.control.is_apply_paused = False
    await job.assert_in_step()


async def test_old_rows_with_large_values(make_stream: MakeStream):
    """A key too large to be sent twice comes in the old row; under FULL everything does."""
    job = await make_stream(
        """CREATE TABLE large_key (k text PRIMARY KEY, n int, big text);
           ALTER TABLE large_key ALTER k SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL;
           CREATE TABLE whole (id int PRIMARY KEY, n int, big text);
           ALTER TABLE whole REPLICA IDENTITY FULL;
           ALTER TABLE whole ALTER big SET STORAGE EXTERNAL"""
    )
    job.start()
    for table, key in (("large_key", "repeat('k', 2500) || i"), ("whole", "i")):
        job.source.execute(f"INSERT INTO {table} SELECT {key}, i, repeat('b', 9000) FROM generate_series(1, 9) i")
        await job.assert_in_step()
        job.source.execute(f"UPDATE {table} SET n = n + 10 WHERE n > 1")
        job.source.execute(f"UPDATE {table} SET big = 'short' WHERE n = 12")
        await job.assert_in_step()
        job.source.execute(f"DELETE FROM {table} WHERE n = 13")
    job.source.execute("UPDATE whole SET id = id + 100 WHERE id > 5")
    job.source.execute("UPDATE large_key SET k = 'x' || k, n = 0 WHERE n > 15")
    await job.assert_in_step()


async def test_values_swapped_between_rows_of_a_unique_index(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE, seat int, n int DEFAULT 0);
           CREATE UNIQUE INDEX ON t (lower(email), seat)"""
    )
    job.start()
    job.source.execute("INSERT INTO t SELECT i, 'e' || i, i FROM generate_series(1, 200) i")
    await job.assert_in_step()
    job.control.is_apply_paused = True
    with job.source.connect() as session:
        for first in range(1, 40, 2):
            second = first + 1
            with session.transaction():
                session.execute("UPDATE t SET n = n + 1")
                session.execute("UPDATE t SET email = 'held' WHERE id = %s", (first,))
                session.execute("UPDATE t SET email = %s WHERE id = %s", (f"e{first}", second))
                session.execute("UPDATE t SET email = %s WHERE id = %s", (f"e{second}", first))
        session.execute("DELETE FROM t WHERE id = 100")
        session.execute("INSERT INTO t VALUES (1000, 'e100', 100)")
    job.control.is_apply_paused = False
    await job.assert_in_step()
    assert job.figures is not None
    assert job.figures.conflicts == 0


async def test_deferred_unique_constraint_may_be_broken_inside_a_transaction(make_stream: MakeStream):
    job = await make_stream("CREATE TABLE t (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    job.start()
    job.source.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 100) i")
    job.source.execute("UPDATE t SET place = 101 - place")
    await job.assert_in_step()


@every_pair
async def test_truncate_between_changes(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE parent (id int PRIMARY KEY);
           CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int REFERENCES parent)"""
    )
    job.start()
    job.control.is_apply_paused = True
    with job.source.connect() as session:
        session.execute("INSERT INTO parent SELECT generate_series(1, 10)")
        session.execute("INSERT INTO child (parent) SELECT id FROM parent")
        session.execute("TRUNCATE parent RESTART IDENTITY CASCADE")
        session.execute("INSERT INTO parent VALUES (1), (2)")
        session.execute("INSERT INTO child (parent) VALUES (1), (2)")
        session.execute("TRUNCATE child")
        session.execute("INSERT INTO child (parent) VALUES (2)")
    job.control.is_apply_paused = False
    await job.assert_in_step()
    assert job.target.fetch_value("SELECT count(*) FROM parent") == 2


async def test_foreign_keys_and_triggers_do_not_act_on_the_target(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE parent (id int PRIMARY KEY);
           CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, seen int);
           CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS
               $$BEGIN NEW.seen := coalesce(NEW.seen, 0) + 1; RETURN NEW; END$$;
           CREATE TRIGGER counted BEFORE INSERT OR UPDATE ON child FOR EACH ROW EXECUTE FUNCTION count_up()"""
    )
    job.start()
    job.source.execute("INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)")
    job.source.execute("UPDATE child SET parent = 1 WHERE id = 2")
    job.source.execute("DELETE FROM parent WHERE id = 1")
    await job.assert_in_step()
    assert job.target.fetch_value("SELECT count(*) FROM child") == 0


@every_pair
async def test_table_without_key_found_by_whole_rows(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE log (at timestamptz, place point, doc json, note text, n numeric);
           ALTER TABLE log REPLICA IDENTITY FULL;
           CREATE TABLE inserts_only (n int)"""
    )
    job.start()
    with job.source.connect() as session:
        for number in range(20):
            session.execute(
                "INSERT INTO log VALUES (%s, point(1, %s), '{\"a\": 1}', NULL, 1.50), (NULL, NULL, NULL, NULL, NULL)",
                (f"2020-01-{number % 5 + 1:02}", number % 5),
            )
            session.execute("INSERT INTO inserts_only VALUES (%s), (%s)", (number, number))
        session.execute(
            "UPDATE log SET note = 'dear' WHERE ctid IN (SELECT ctid FROM log WHERE at IS NOT NULL LIMIT 3)"
        )
        session.execute("DELETE FROM log WHERE ctid IN (SELECT ctid FROM log WHERE at IS NULL LIMIT 4)")
        session.execute("UPDATE log SET n = 1.5 WHERE note = 'dear'")
    await job.assert_in_step()


@every_pair
async def test_rows_that_move_between_partitions(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE m (id int, day int, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
           CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
           CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
           CREATE TABLE m2a PARTITION OF m2 FOR VALUES IN (1, 2, 3);
           CREATE TABLE m2b PARTITION OF m2 DEFAULT"""
    )
    job.start()
    job.source.execute("INSERT INTO m SELECT i, i, 'x' FROM generate_series(0, 9) i")
    job.source.execute("UPDATE m SET day = day + 10 WHERE id < 5")
    job.source.execute("UPDATE m SET id = id + 1 WHERE day >= 10")
    job.source.execute("DELETE FROM m WHERE id = 4")
    job.source.execute("TRUNCATE m2")
    job.source.execute("INSERT INTO m VALUES (1, 11, 'y')")
    await job.assert_in_step()


@every_pair
async def test_generated_and_identity_columns(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (
               id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price numeric, amount int,
               total numeric GENERATED ALWAYS AS (price * amount) STORED,
               number bigint GENERATED ALWAYS AS IDENTITY (START 100), other int GENERATED BY DEFAULT AS IDENTITY);
           CREATE TABLE only_key (a int, b int, PRIMARY KEY (b, a))"""
    )
    job.start()
    job.source.execute("INSERT INTO t (price, amount) SELECT i, i FROM generate_series(1, 10) i")
    job.source.execute("INSERT INTO only_key SELECT i, i FROM generate_series(1, 10) i")
    await job.assert_in_step()
    job.control.is_apply_paused = True
    job.source.execute("UPDATE t SET price = 7")
    job.source.execute("UPDATE t SET number = DEFAULT WHERE id = 3")
    job.source.execute("DELETE FROM t WHERE id = 5")
    job.source.execute("INSERT INTO t (id, price, amount) OVERRIDING SYSTEM VALUE VALUES (5, 1, 1)")
    job.source.execute("UPDATE only_key SET a = a + 100 WHERE b > 5")
    job.source.execute("UPDATE only_key SET a = a WHERE b < 5")
    job.source.execute("DELETE FROM only_key WHERE b = 1")
    job.control.is_apply_paused = False
    await job.assert_in_step()


async def test_identity_column_beside_a_large_value_that_was_not_sent(make_stream: MakeStream):
    ddl = """CREATE TABLE t (id int PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY, small int, big text);
              ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
              CREATE TABLE by_rows (id int, number bigint GENERATED ALWAYS AS IDENTITY, small int, big text);
              ALTER TABLE by_rows ALTER big SET STORAGE EXTERNAL; ALTER TABLE by_rows REPLICA IDENTITY FULL"""
    more = "ALTER TABLE t ADD own text DEFAULT 'new'; ALTER TABLE by_rows ADD own text DEFAULT 'new'"
    job = await make_stream(ddl, target_ddl=f"{ddl}; {more}")
    job.start()
    job.source.execute("INSERT INTO t (id, small, big) SELECT i, i, repeat('b', 9000) FROM generate_series(1, 20) i")
    job.source.execute("INSERT INTO by_rows (small, big) SELECT i, repeat('b', 9000) FROM generate_series(1, 5) i")
    await job.wait_applied()
    job.target.execute("UPDATE t SET own = 'kept'; UPDATE by_rows SET own = 'kept'")
    job.control.is_apply_paused = True
    job.source.execute("UPDATE t SET small = -small WHERE id <= 5")
    job.source.execute("UPDATE t SET number = DEFAULT WHERE id BETWEEN 4 AND 8")
    job.source.execute("UPDATE t SET number = DEFAULT, big = 'short' WHERE id BETWEEN 9 AND 12")
    job.source.execute("UPDATE t SET id = id + 100, number = DEFAULT WHERE id BETWEEN 13 AND 14")
    job.source.execute("UPDATE by_rows SET number = DEFAULT WHERE small < 3")
    job.control.is_apply_paused = False
    await job.wait_applied()
    for table, order in (("t", "id"), ("by_rows", "small")):
        rows = f"SELECT id, number, small, big FROM {table} ORDER BY {order}"
        assert job.target.fetch_all(rows) == job.source.fetch_all(rows)
        assert job.target.fetch_value(f"SELECT count(*) FROM {table} WHERE own <> 'kept'") == 0


async def test_columns_are_found_by_name(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (a int, gone int, id int PRIMARY KEY, b text); ALTER TABLE t DROP gone;
           CREATE TABLE k (x int, y int, z text, PRIMARY KEY (y, x))""",
        target_ddl="""CREATE TABLE t (b text, id bigint PRIMARY KEY, extra text DEFAULT 'kept', a bigint);
           CREATE TABLE k (z text, y bigint, x bigint, PRIMARY KEY (x, y))""",
    )
    job.start()
    job.source.execute("INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'); INSERT INTO k VALUES (1, 2, 'z'), (3, 4, 'w')")
    await job.wait_applied()
    job.target.execute("UPDATE t SET extra = 'mine' WHERE id = 1")
    job.source.execute("UPDATE t SET a = 7; UPDATE k SET y = 9 WHERE x = 1; UPDATE k SET z = 'q' WHERE x = 3")
    await job.wait_applied()
    assert job.target.fetch_all("SELECT a, b, id, extra FROM t ORDER BY id") == [
        (7, "x", 1, "mine"),
        (7, "y", 2, "kept"),
    ]
    assert job.target.fetch_all("SELECT x, y, z FROM k ORDER BY x") == [(1, 9, "z"), (3, 4, "q")]


async def test_names_that_need_quotes(make_stream: MakeStream):
    job = await make_stream(
        """CREATE SCHEMA "My ""Schema"; CREATE TABLE "My ""Schema"."Tä 'ble" ("Ké y" int PRIMARY KEY, "se lect" text)"""
    )
    job.start()
    job.source.execute("""INSERT INTO "My ""Schema"."Tä 'ble" VALUES (1, 'a'), (2, 'b')""")
    job.source.execute("""UPDATE "My ""Schema"."Tä 'ble" SET "se lect" = 'c' WHERE "Ké y" = 1""")
    job.source.execute("""DELETE FROM "My ""Schema"."Tä 'ble" WHERE "Ké y" = 2""")
    await job.assert_in_step()


async def test_inheritance_children_are_tables_of_their_own(make_stream: MakeStream):
    job = await make_stream(
        "CREATE TABLE animal (id int PRIMARY KEY, n int); CREATE TABLE cat (PRIMARY KEY (id)) INHERITS (animal)"
    )
    job.start()
    job.source.execute("INSERT INTO animal VALUES (1, 1), (2, 2); INSERT INTO cat VALUES (1, 10), (2, 20)")
    job.source.execute(
        "UPDATE ONLY animal SET n = 5; UPDATE cat SET n = 50 WHERE id = 1; DELETE FROM ONLY animal WHERE id = 2"
    )
    await job.assert_in_step()


async def test_columns_added_on_both_sides_while_streaming(make_stream: MakeStream):
    job = await make_stream("CREATE TABLE t (id int PRIMARY KEY, a int)")
    job.start()
    job.source.execute("INSERT INTO t VALUES (1, 1)")
    await job.assert_in_step()
    job.control.is_apply_paused = True
    job.target.execute("ALTER TABLE t ADD b text")
    job.source.execute("UPDATE t SET a = 2")
    job.source.execute("ALTER TABLE t ADD b text")
    job.source.execute("INSERT INTO t VALUES (2, 2, 'two'); UPDATE t SET b = 'one' WHERE id = 1")
    job.control.is_apply_paused = False
    await job.assert_in_step()


@pytest.mark.postgres(source=15, target=18)
async def test_generated_column_in_the_key(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (a int, b int, g int GENERATED ALWAYS AS (b % 10) STORED, v text, PRIMARY KEY (a, g));
           ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t (a, b) VALUES (2, 5), (2, 6)"""
    )
    task = job.start()
    job.source.execute("INSERT INTO t (a, b) VALUES (1, 5), (1, 6); UPDATE t SET v = 'x' WHERE b = 5")
    job.source.execute("DELETE FROM t WHERE b = 6; UPDATE t SET b = b + 1")
    await job.assert_in_step()
    # The log has `a` alone, and several rows may have that.
    job.source.execute("ALTER TABLE t REPLICA IDENTITY DEFAULT; INSERT INTO t (a, b) VALUES (1, 7)")
    with pytest.raises(SourceChanged, match=r"the key of public\.t has a generated column"):
        await task
