"""What PostgreSQL can do, alone and as a pair with itself: the module is the object that bootstrap holds."""

from __future__ import annotations

from collections.abc import Callable

from towline.adapters.postgres import accounts, catalog
from towline.adapters.postgres.accounts import read_accounts
from towline.adapters.postgres.checks import run_prechecks
from towline.adapters.postgres.connection import connect, parse_url
from towline.adapters.postgres.parameters import read_parameters, write_parameters
from towline.adapters.postgres.row_filters import check_row_filter
from towline.adapters.postgres.sides import open_sides, remove_traces
from towline.adapters.postgres.structure_view import read_structure
from towline.domain.accounts import AccountWish
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.prechecks import PrecheckItem
from towline.domain.structure import StructureReport

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
    connection = await connect(endpoint, purpose="test", side=side)
    connection.terminate()


async def read_identity(endpoint: Endpoint, *, side: Side) -> str:
    connection = await connect(endpoint, purpose="identity", side=side)
    try:
        return await catalog.read_identity(connection)
    finally:
        connection.terminate()


async def ensure_accounts(spec: JobSpec, wish: AccountWish, *, on_report: Callable[[StructureReport], None]) -> None:
    await accounts.ensure_accounts(spec.source, spec.target, wish, on_report=on_report)
