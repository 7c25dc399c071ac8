"""What PostgreSQL can do: alone, and as a pair with itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from towline.adapters.postgres import accounts, catalog, parameters, sides
from towline.adapters.postgres.checks import run_prechecks
from towline.adapters.postgres.connection import connect, parse_url
from towline.adapters.postgres.row_filters import check_row_filter
from towline.adapters.postgres.structure_view import read_structure
from towline.domain.accounts import Account, AccountWish, Parameter
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.prechecks import PrecheckItem
from towline.domain.structure import StructureEntry, StructureReport
from towline.domain.tables import RowFilter
from towline.engine.ports import Sides

OnReport = Callable[[StructureReport], None]


class PostgresFamily:
    """PostgreSQL, and PostgreSQL to PostgreSQL."""

    def parse_url(self, url: str) -> Endpoint:
        return parse_url(url)

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
        return await sides.open_sides(spec, epoch=epoch, work_dir=work_dir)

    async def remove_traces(self, spec: JobSpec) -> None:
        await sides.remove_traces(spec)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await run_prechecks(spec)

    async def check_connection(self, endpoint: Endpoint, *, side: Side) -> None:
        connection = await connect(endpoint, purpose="test", side=side)
        connection.terminate()

    async def read_identity(self, endpoint: Endpoint, *, side: Side) -> str:
        connection = await connect(endpoint, purpose="identity", side=side)
        try:
            return await catalog.read_identity(connection)
        finally:
            connection.terminate()

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        return await accounts.read_accounts(source)

    async def ensure_accounts(
        self, spec: JobSpec, wish: AccountWish, on_report: Callable[[StructureReport], None]
    ) -> None:
        await accounts.ensure_accounts(spec.source, spec.target, wish, on_report=on_report)

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]:
        return await parameters.read_parameters(source, target)

    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        return await parameters.write_parameters(target, values)

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        return await read_structure(target, job_id)

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
        await check_row_filter(source, wish, follow=follow)
