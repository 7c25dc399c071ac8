"""Real PostgreSQL servers for the demo and the tests, started and ended by this process.

A leaf: nothing in the engine, the API or the worker knows of it.
"""

from towline.embedded.errors import EmbeddedServerError
from towline.embedded.installation import PostgresInstallation, find_postgres
from towline.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedServerError", "PostgresInstallation", "find_postgres"]
