"""What becomes of tables, keys, defaults and of what MySQL cannot have; through the command line."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.fault.mysql_jobs import url_of
from tests.integration.commands import run
from tests.servers.databases import Database
from tests.servers.mysql import MysqlServer, Product

SCHEMA = """
CREATE TYPE level AS ENUM ('low', 'high');
CREATE TABLE customer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name varchar(80) NOT NULL DEFAULT 'it''s new',
    notes text DEFAULT 'none' NOT NULL,
    rating level DEFAULT 'low',
    balance numeric(12,2) DEFAULT -1.5,
    is_active boolean DEFAULT true,
    key uuid DEFAULT gen_random_uuid(),
    created timestamptz DEFAULT now(),
    stamped timestamp(0) DEFAULT CURRENT_TIMESTAMP,
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
    CHECK (balance > -100));
COMMENT ON COLUMN customer.name IS 'how they''re called';
CREATE TABLE purchase (
    id serial PRIMARY KEY, customer_id bigint REFERENCES customer ON DELETE CASCADE, email text, tags jsonb, total real,
    place int, CONSTRAINT by_email FOREIGN KEY (email) REFERENCES customer (email) DEFERRABLE);
CREATE INDEX plain ON purchase (customer_id, place DESC);
CREATE INDEX on_text ON customer (notes);
CREATE INDEX partial ON purchase (place) WHERE place > 0;
CREATE INDEX computed ON purchase ((place + 1));
CREATE INDEX words ON purchase USING gin (tags);
CREATE VIEW totals AS SELECT sum(total) FROM purchase;
CREATE FUNCTION one() RETURNS int LANGUAGE sql RETURN 1;
INSERT INTO customer (email, key) SELECT 'mail' || i || '  ', NULL FROM generate_series(1, 50) i;
DELETE FROM customer WHERE id > 40;
INSERT INTO purchase (customer_id, email, total) SELECT i, 'mail' || i || '  ', i / 10.0 FROM generate_series(1, 40) i;
"""
LEFT_OUT = (
    ("COLUMN", "customer.upper_name"),
    ("CHECK CONSTRAINT", "customer.customer_balance_check"),
    ("DEFAULT", "customer.key"),
    ("INDEX", "purchase.partial"),
    ("INDEX", "purchase.computed"),
    ("INDEX", "purchase.words"),
    ("VIEW", "totals"),
    ("FUNCTION", "one"),
)


@pytest.fixture
def schema(source_database: Database, mysql_server: MysqlServer) -> Iterator[str]:
    name = f"s_{secrets.token_hex(5)}"
    source_database.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {SCHEMA}")
    yield name
    mysql_server.execute(f"DROP DATABASE IF EXISTS `{name}`", "DROP DATABASE IF EXISTS towline")


def test_migrate_makes_what_is_certain_and_tells_the_rest(
    source_database: Database, mysql_server: MysqlServer, schema: str
) -> None:
    environment = {"TOWLINE_SOURCE_URL": source_database.url, "TOWLINE_TARGET_URL": url_of(mysql_server)}
    code, command = run("migrate", "--json", "--until-caught-up", environment=environment)
    assert code == 0, command.told()
    told = {(note["kind"], note["name"]) for record in command.records() for note in record.get("reports", ())}
    for kind, name in LEFT_OUT:
        assert (kind, f"{schema}.{name}") in told, (kind, name, told)
    # The target behaves like the source's tables.
    with mysql_server.connect(schema) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO customer (email) VALUES ('mail1')")  # another text than 'mail1  '
        cursor.execute(
            """SELECT id, name, notes, rating, balance, is_active, `key`,
                      ABS(TIMESTAMPDIFF(SECOND, created, UTC_TIMESTAMP())) < 60, stamped IS NOT NULL
               FROM customer WHERE email = 'mail1'"""
        )
        (row,) = cursor.fetchall()
        assert row[0] == 51, "AUTO_INCREMENT goes on where the source's sequence stood"
        assert [str(value) for value in row[1:]] == ["it's new", "none", "low", "-1.50", "1", "None", "1", "1"]
        for wrong in (
            "INSERT INTO customer (email) VALUES ('mail1')",
            "INSERT INTO customer (email) VALUES (NULL)",
            "INSERT INTO purchase (customer_id, place) VALUES (1000, 1)",
            "INSERT INTO purchase (email) VALUES ('nobody')",
        ):
            with pytest.raises(Exception, match=r"Duplicate|cannot be null|foreign key"):
                cursor.execute(wrong)
    indexes = mysql_server.fetch_all(
        """SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = %s AND index_name IN
           ('plain', 'on_text', 'partial', 'computed', 'words') ORDER BY 1""",
        [schema],
    )
    assert [name for (name,) in indexes] == ["on_text", "plain"]
    assert not mysql_server.fetch_all("SHOW DATABASES LIKE 'towline'")
    assert not source_database.fetch_all("SELECT slot_name FROM pg_replication_slots")
    assert not source_database.fetch_all("SELECT pubname FROM pg_publication")


@pytest.mark.parametrize("mysql_product", [Product.MARIADB])
def test_names_that_the_target_cannot_tell_apart_are_refused_before_the_start(
    source_database: Database, mysql_server: MysqlServer, schema: str
) -> None:
    source_database.execute(f'CREATE TABLE {schema}.twins ("A" int, a int)')
    environment = {"TOWLINE_SOURCE_URL": source_database.url, "TOWLINE_TARGET_URL": url_of(mysql_server)}
    code, command = run("migrate", environment=environment)
    assert code == 1
    assert "differ by letter case only" in command.told()
    assert not mysql_server.fetch_all("SHOW DATABASES LIKE %s", [schema])
