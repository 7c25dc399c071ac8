"""Small applications as people write them, from each family to the other, compared by content."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.fault.cross_jobs import CrossRuns
from tests.fault.cross_jobs import assert_same_values as assert_same_in_mysql
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.integration.sample_schemas import MYSQL_SAMPLES, POSTGRES_SAMPLES
from tests.servers.databases import Database
from tests.servers.mysql import MysqlDatabase, MysqlServer
from tests.servers.to_postgres_equality import assert_same_values

# How many foreign keys a table has on the target; the partitions of a table are one there.
FOREIGN_KEYS = {
    "dept_emp": 2,
    "film": 2,
    "film_actor": 2,
    "inventory": 2,
    "payment": 1,
    "rental": 2,
    "titles": 1,
}
OTHER_TABLES = ("actor", "customer", "departments", "employees", "film_text", "language", "salaries", "store")


def test_applications_of_mysql_arrive_in_postgresql(
    mysql_database: MysqlDatabase, source_database: Database, tmp_path: Path
) -> None:
    mysql_database.execute(*MYSQL_SAMPLES)
    runs = ToPostgresRuns(source=mysql_database, target=source_database, work_dir=tmp_path, follow=False)
    notes = runs.run_to_the_end()["notes"]
    assert_same_values(mysql_database, source_database)
    found = source_database.fetch_all(
        """SELECT c.relname, count(*) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
           WHERE k.contype = 'f' AND k.connamespace = %s::regnamespace GROUP BY 1""",
        [f'"{mysql_database.name}"'],
    )
    assert dict(found) == FOREIGN_KEYS
    told = {note.partition(":")[0].replace(f" {mysql_database.name}.", " ") for note in notes}
    left_out = {"INDEX film_text.title_about", "INDEX store.place", "TRIGGER film_added"}
    left_out |= {f"VIEW {name}" for name in ("film_list", "by_store", "latest", "current_dept")}
    assert left_out | {"FUNCTION is_in", "PROCEDURE film_in_stock", "CHECK CONSTRAINT film.has_days"} <= told, told


def test_applications_of_postgresql_arrive_in_mysql(
    source_database: Database, mysql_server: MysqlServer, tmp_path: Path
) -> None:
    schema = f"samples_{secrets.token_hex(5)}"
    runs = CrossRuns(source=source_database, target=mysql_server, schema=schema, work_dir=tmp_path, follow=False)
    with source_database.connect() as connection:
        for statement in (f"CREATE SCHEMA {schema}", f"SET search_path = {schema}", *POSTGRES_SAMPLES):
            connection.execute(statement.encode())
    try:
        notes = runs.run_to_the_end()["notes"]
        assert_same_in_mysql(runs, made={*FOREIGN_KEYS, *OTHER_TABLES})
        found = mysql_server.fetch_all(
            """SELECT table_name, COUNT(*) FROM information_schema.referential_constraints
               WHERE constraint_schema = %s GROUP BY 1""",
            [schema],
        )
        assert dict(found) == FOREIGN_KEYS
        told = {note.partition(":")[0].replace(f" {schema}.", " ") for note in notes}
        left_out = {f"INDEX {name}" for name in ("film.lower_title", "film.words", "film.cheap", "store.place")}
        left_out |= {"COLUMN dept_emp.during", "CHECK CONSTRAINT film.has_days", "VIEW film_list", "VIEW latest"}
        assert left_out | {"FUNCTION film_added", "TRIGGER film.film_added"} <= told, told
    finally:
        mysql_server.execute(f"DROP DATABASE IF EXISTS `{schema}`", "DROP DATABASE IF EXISTS towline")
