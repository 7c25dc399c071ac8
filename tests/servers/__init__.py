"""Real servers for the tests: a server per session, a fresh database per test, a line that can be cut."""

from tests.servers.databases import Database
from tests.servers.equality import assert_same_rows
from tests.servers.proxy import Direction, TcpProxy

__all__ = ["Database", "Direction", "TcpProxy", "assert_same_rows"]
