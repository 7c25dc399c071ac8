"""Replication from one server of MySQL or MariaDB to another, by GTID, as an operator sets it up and ends it."""

from __future__ import annotations

from tests.servers.mysql import MysqlServer


def start_replica(replica: MysqlServer, source: MysqlServer) -> None:
    if replica.is_mariadb:
        how, begin = "CHANGE MASTER TO MASTER_{}, MASTER_USE_GTID = slave_pos", "START SLAVE"
        settings = "HOST='{}', MASTER_PORT={}, MASTER_USER='{}', MASTER_PASSWORD='{}'"
    else:
        how, begin = (
            "CHANGE REPLICATION SOURCE TO SOURCE_{}, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
            "START REPLICA",
        )
        settings = "HOST='{}', SOURCE_PORT={}, SOURCE_USER='{}', SOURCE_PASSWORD='{}'"
    replica.execute(how.format(settings.format(source.host, source.port, source.user, source.password)), begin)


def promote(replica: MysqlServer, source: MysqlServer) -> None:
    """The source dies when the replica has all of it, and the replica stands alone."""
    wait_replicated(replica, source)
    source.kill()
    replica.execute("STOP SLAVE" if replica.is_mariadb else "STOP REPLICA")


def wait_replicated(replica: MysqlServer, source: MysqlServer, *, timeout_s: float = 30.0) -> None:
    """Raises AssertionError when the replica does not get there."""
    name = "gtid_binlog_pos" if replica.is_mariadb else "gtid_executed"
    reached = source.fetch_value(f"SELECT @@global.{name}")
    if replica.is_mariadb:
        asked = f"SELECT MASTER_GTID_WAIT('{reached}', {timeout_s}) = 0"
    else:
        asked = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{reached}', {timeout_s}) = 0"
    assert replica.fetch_value(asked), "the replica does not follow"
