"""The MySQL and MariaDB fixtures themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.servers.mysql import MARIADB_ROOT_VARIABLE, MysqlDatabase, MysqlServer, Product, find_installation
from tests.servers.mysql_fixtures import MysqlServerFactory
from towline.embedded.guard import server_processes

STARTS_A_SERVER = """
import sys, time
from tests.servers.mysql import MysqlServer, Product, find_installation
server = MysqlServer(find_installation(Product(sys.argv[1])))
server.start()
print(server.folder, flush=True)
time.sleep(600)
"""


def test_server_writes_row_images_to_its_binlog(mysql_server: MysqlServer) -> None:
    found = mysql_server.fetch_all("SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@local_infile")
    assert found == [(1, "ROW", "FULL", 1)]


def test_server_is_of_the_product_asked_for(mysql_server: MysqlServer, mysql_product: Product) -> None:
    version = mysql_server.fetch_value("SELECT version()")
    is_other = MARIADB_ROOT_VARIABLE in os.environ
    assert ("MariaDB" in version) is (mysql_product is Product.MARIADB)
    assert is_other or version.startswith("9." if mysql_product is Product.MYSQL else "10.11.")
    assert ("MariaDB" in version) == mysql_server.is_mariadb


def test_two_servers_are_different(mysql_server: MysqlServer, mysql_server_second: MysqlServer) -> None:
    assert mysql_server.fetch_value("SELECT @@server_id") != mysql_server_second.fetch_value("SELECT @@server_id")


def test_killed_server_comes_back_with_its_data(private_mysql: MysqlServerFactory, mysql_product: Product) -> None:
    server = private_mysql(mysql_product)
    server.execute("CREATE DATABASE d", "CREATE TABLE d.t (id int PRIMARY KEY)", "INSERT INTO d.t VALUES (7)")
    server.kill()
    assert server_processes(server.folder) == []
    server.start()
    assert server.fetch_value("SELECT id FROM d.t") == 7


def test_database_is_dropped_whatever_holds_it(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB")
    with mysql_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("XA START 'held'")
        cursor.execute("INSERT INTO t VALUES (1)")
        cursor.execute("XA END 'held'")
        cursor.execute("XA PREPARE 'held'")
        mysql_database.drop()
    found = mysql_database.server.fetch_all("SHOW DATABASES LIKE %s", (mysql_database.name,))
    assert found == []


def test_no_server_outlives_a_killed_owner(mysql_server: MysqlServer) -> None:
    assert find_installation(mysql_server.product) is not None
    owner = subprocess.Popen(
        [sys.executable, "-c", STARTS_A_SERVER, mysql_server.product.value],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    assert server_processes(folder)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline_s = time.monotonic() + 30
    while server_processes(folder) or folder.exists():
        assert time.monotonic() < deadline_s, "the server outlived its owner"
        time.sleep(0.05)
