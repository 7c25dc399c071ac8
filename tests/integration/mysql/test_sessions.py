"""Sessions with real servers of both products."""

from __future__ import annotations

import asyncio

import pytest

from tests.servers.mysql import MysqlServer
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.session import COM_QUERY, Wire
from towline.domain.errors import ConnectionLost, ConnectionRefused, ServerUnreachable, Side, UnrepresentableValue
from towline.domain.jobs import Endpoint


def endpoint_of(server: MysqlServer, **changes: object) -> Endpoint:
    fields = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    return Endpoint(family="mysql", **{**fields, **changes})  # type: ignore[arg-type]


async def test_session_knows_product_and_changes_no_value(mysql_server: MysqlServer) -> None:
    session = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)
    assert session.flavor.is_mariadb == mysql_server.is_mariadb
    assert await session.query_value("SELECT %s", "it's ä 🚢") == "it's ä 🚢"
    assert await session.query_value("SELECT @@time_zone") == "+00:00"
    with pytest.raises(UnrepresentableValue):
        await session.execute(
            "SELECT JSON_EXTRACT('{', '$')"
            if not mysql_server.is_mariadb
            else "SIGNAL SQLSTATE '22003' SET MYSQL_ERRNO = 1264"
        )
    assert await session.query_value("SELECT 1") == 1
    session.terminate()


async def test_what_the_server_has_for_all_sessions_does_not_hold_for_ours(mysql_server: MysqlServer) -> None:
    hostile = {"sql_select_limit": 2, "max_join_size": 1, "autocommit": 0, "completion_type": 1, "unique_checks": 0}
    mysql_server.execute(*(f"SET GLOBAL {name} = {value}" for name, value in hostile.items()))
    try:
        session = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)
        rows = await session.query("SELECT character_set_name FROM information_schema.character_sets")
        assert len(rows) > 2, "a list of tables, or a chunk of rows, would be as short"
        assert await session.query_one("SELECT @@autocommit, @@completion_type, @@unique_checks") == (1, "NO_CHAIN", 1)
        session.terminate()
    finally:
        mysql_server.execute(*(f"SET GLOBAL {name} = DEFAULT" for name in hostile))


async def test_wire_and_statements_alternate(mysql_server: MysqlServer) -> None:
    session = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)

    def read_row(wire: Wire) -> bytes:
        wire.send_command(COM_QUERY, b"SELECT 'abc'")
        packets = [wire.read_packet() for _ in range(5)]
        return packets[3]

    for _ in range(2):
        assert await session.run(read_row) == b"\x03abc"
        assert await session.query_value("SELECT 7") == 7
    session.terminate()


async def test_cancelled_call_ends_the_session(mysql_server: MysqlServer) -> None:
    session = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)
    other = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)
    sleeping = asyncio.ensure_future(session.query("SELECT SLEEP(100)"))
    find = "SELECT COUNT(*) FROM information_schema.processlist WHERE id = %s AND info LIKE 'SELECT SLEEP%%'"
    while not await other.query_value(find, session.connection_id):
        await asyncio.sleep(0.01)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    with pytest.raises(ConnectionLost):
        await session.query("SELECT 1")
    other.terminate()


async def test_killed_session_says_connection_lost(mysql_server: MysqlServer) -> None:
    session = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)
    mysql_server.execute(f"KILL {session.connection_id}")
    with pytest.raises(ConnectionLost):
        await session.query("SELECT 1")
    session.terminate()


async def test_wrong_password_and_closed_port_differ(mysql_server: MysqlServer) -> None:
    with pytest.raises(ConnectionRefused) as caught:
        await connect(endpoint_of(mysql_server, password="wrong-one"), purpose="test")
    assert "wrong-one" not in repr(caught.value)
    with pytest.raises(ServerUnreachable):
        await connect(endpoint_of(mysql_server, port=1), purpose="test")


async def test_tls_is_used_or_refused(mysql_server: MysqlServer) -> None:
    endpoint = endpoint_of(mysql_server, tls=True)
    # MariaDB 10 makes itself no certificate.
    if mysql_server.is_mariadb and mysql_server.fetch_value("SELECT @@have_ssl") == "DISABLED":
        with pytest.raises(ConnectionRefused):
            await connect(endpoint, purpose="test")
        return
    session = await connect(endpoint, purpose="test")
    assert (await session.query("SHOW STATUS LIKE 'Ssl_version'"))[0][1].startswith("TLSv1")
    session.terminate()
    if mysql_server.is_mariadb:  # MariaDB 11 keeps its own in memory
        return
    certificate = (mysql_server.data_dir / "ca.pem").read_text()
    verified = await connect(endpoint_of(mysql_server, tls=True, tls_root_certificate=certificate), purpose="test")
    verified.terminate()
