"""What MySQL and MariaDB can do, alone and each to each: the module is the object that bootstrap holds."""

from __future__ import annotations

from towline.adapters.mysql import catalog
from towline.adapters.mysql.accounts import ensure_accounts, read_accounts
from towline.adapters.mysql.checks import run_prechecks
from towline.adapters.mysql.connection import connect, parse_url
from towline.adapters.mysql.parameters import read_parameters, write_parameters
from towline.adapters.mysql.sides import open_sides, remove_traces
from towline.adapters.mysql.structure_view import read_structure
from towline.domain.errors import NotBuilt, Side
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.prechecks import PrecheckItem
from towline.domain.tables import RowFilter

__all__ = [
    "check_connection",
    "check_joining",
    "check_row_filter",
    "ensure_accounts",
    "open_sides",
    "parse_url",
    "read_accounts",
    "read_identity",
    "read_parameters",
    "read_structure",
    "remove_traces",
    "run_prechecks",
    "write_parameters",
]


async def check_joining(spec: JobSpec) -> list[PrecheckItem]:
    return await run_prechecks(spec, only_joining=True)


async def check_connection(endpoint: Endpoint, *, side: Side) -> None:
    session = await connect(endpoint, purpose="test", with_database=True, side=side)
    session.terminate()


async def read_identity(endpoint: Endpoint, *, side: Side) -> str:
    session = await connect(endpoint, purpose="identity", side=side)
    try:
        return await catalog.read_identity(session)
    finally:
        session.terminate()


async def check_row_filter(source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
    raise NotBuilt("Towline cannot filter rows of MySQL and MariaDB databases yet")
