"""Databases made for one test and removed after it, whatever the test left in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from towline.embedded import EmbeddedPostgres

DROP_TIMEOUT_S = 30.0

SLOTS = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s"


@dataclass(frozen=True)
class Database:
    """One database of one server, with a few blocking calls for setting it up and looking at it."""

    server: EmbeddedPostgres
    name: str

    @property
    def url(self) -> str:
        """How to reach it as the superuser."""
        return self.server.url(self.name)

    def connect(self) -> psycopg.Connection[TupleRow]:
        """A new connection in autocommit mode; the caller closes it."""
        return psycopg.connect(self.url, autocommit=True)

    def execute(self, statements: str, parameters: Sequence[Any] | None = None) -> None:
        """Run SQL; without parameters it may hold many statements, which are then one transaction."""
        with self.connect() as connection:
            connection.execute(statements.encode(), parameters)

    def fetch_all(self, query: str, parameters: Sequence[Any] | None = None) -> list[TupleRow]:
        """All rows of the answer."""
        with self.connect() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def fetch_value(self, query: str, parameters: Sequence[Any] | None = None) -> Any:
        """The first column of the first row; None if there is no row."""
        rows = self.fetch_all(query, parameters)
        return rows[0][0] if rows else None


def create_database(server: EmbeddedPostgres, name: str) -> Database:
    """An empty database; its name must be new on that server."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        # Since 15 every page of the template is logged unless told otherwise, which takes half as long again.
        strategy = sql.SQL("STRATEGY file_copy" if server.version >= 15 else "")
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(sql.Identifier(name), strategy))
    return Database(server, name)


def drop_database(database: Database) -> None:
    """Remove the database with the sessions, slots, subscriptions and prepared transactions it still has."""
    with database.connect() as inside:
        _drop_subscriptions(inside)
        for (transaction_id,) in inside.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        ).fetchall():
            inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(transaction_id)))
    with psycopg.connect(database.server.url(), autocommit=True) as admin:
        _drop_slots(admin, database.name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))


def _drop_subscriptions(inside: psycopg.Connection[TupleRow]) -> None:
    rows = inside.execute(
        "SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE d.datname = current_database()"
    ).fetchall()
    for (name,) in rows:
        # Without its slot, so that a publisher that is gone does not block the drop.
        for action in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)"):
            inside.execute(sql.SQL(action).format(sql.Identifier(name)))
        inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))


def _drop_slots(admin: psycopg.Connection[TupleRow], database_name: str) -> None:
    deadline_s = time.monotonic() + DROP_TIMEOUT_S
    while slots := admin.execute(SLOTS, (database_name,)).fetchall():
        for name, active_pid in slots:
            if active_pid is not None:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", (active_pid,))
                continue
            try:
                admin.execute("SELECT pg_drop_replication_slot(%s)", (name,))
            except (psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                pass  # taken or dropped by its owner a moment ago: look again
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"slots of {database_name} stay in use: {slots}")
