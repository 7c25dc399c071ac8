"""The one place that joins ports to adapters, by database family."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from towline.adapters.mysql import accounts as mysql_accounts
from towline.adapters.mysql import catalog as mysql_catalog
from towline.adapters.mysql import parameters as mysql_parameters
from towline.adapters.mysql import sides as mysql_sides
from towline.adapters.mysql.checks import run_prechecks as run_mysql_prechecks
from towline.adapters.mysql.connection import connect as connect_mysql
from towline.adapters.mysql.connection import parse_url as parse_mysql_url
from towline.adapters.mysql.structure_view import read_structure as read_mysql_structure
from towline.adapters.postgres import accounts as postgres_accounts
from towline.adapters.postgres import catalog as postgres_catalog
from towline.adapters.postgres import parameters as postgres_parameters
from towline.adapters.postgres import sides as postgres_sides
from towline.adapters.postgres.checks import run_prechecks as run_postgres_prechecks
from towline.adapters.postgres.connection import connect as connect_postgres
from towline.adapters.postgres.connection import parse_url as parse_postgres_url
from towline.adapters.postgres.row_filters import check_row_filter as check_postgres_row_filter
from towline.adapters.postgres.structure_view import read_structure as read_postgres_structure
from towline.crossing.mysql_to_postgres import MysqlToPostgres
from towline.crossing.postgres_to_mysql import PostgresToMysql
from towline.domain.accounts import Account, AccountWish, Parameter
from towline.domain.errors import NotBuilt, Side
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.prechecks import PrecheckItem
from towline.domain.structure import StructureEntry, StructureReport
from towline.domain.tables import RowFilter
from towline.engine.pipeline import RunResult, run_pipeline
from towline.engine.ports import Clock, Control, Reporter, Sides

OnReport = Callable[[StructureReport], None]


class _Pair(Protocol):
    """What a pair of database families offers."""

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides: ...
    async def remove_traces(self, spec: JobSpec) -> None: ...
    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]: ...


class _Family(_Pair, Protocol):
    """One family, as a pair with itself and alone."""

    async def check_connection(self, endpoint: Endpoint, *, side: Side) -> None: ...
    async def read_identity(self, endpoint: Endpoint, *, side: Side) -> str: ...


class _Postgres:
    """PostgreSQL to PostgreSQL."""

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
        return await postgres_sides.open_sides(spec, epoch=epoch, work_dir=work_dir)

    async def remove_traces(self, spec: JobSpec) -> None:
        await postgres_sides.remove_traces(spec)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await run_postgres_prechecks(spec)

    async def check_connection(self, endpoint: Endpoint, *, side: Side) -> None:
        connection = await connect_postgres(endpoint, purpose="test", side=side)
        connection.terminate()

    async def read_identity(self, endpoint: Endpoint, *, side: Side) -> str:
        connection = await connect_postgres(endpoint, purpose="identity", side=side)
        try:
            return await postgres_catalog.read_identity(connection)
        finally:
            connection.terminate()


class _Mysql:
    """MySQL and MariaDB, each to each."""

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
        return await mysql_sides.open_sides(spec, epoch=epoch, work_dir=work_dir)

    async def remove_traces(self, spec: JobSpec) -> None:
        await mysql_sides.remove_traces(spec)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await run_mysql_prechecks(spec)

    async def check_connection(self, endpoint: Endpoint, *, side: Side) -> None:
        session = await connect_mysql(endpoint, purpose="test", with_database=True, side=side)
        session.terminate()

    async def read_identity(self, endpoint: Endpoint, *, side: Side) -> str:
        session = await connect_mysql(endpoint, purpose="identity", side=side)
        try:
            return await mysql_catalog.read_identity(session)
        finally:
            session.terminate()


class _Extras(Protocol):
    """What a family can say and do besides moving rows; a family may lack it."""

    async def read_accounts(self, source: Endpoint) -> list[Account]: ...
    async def ensure_accounts(self, spec: JobSpec, wish: AccountWish, on_report: OnReport) -> None: ...
    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]: ...
    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool: ...
    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None: ...
    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]: ...


class _PostgresExtras:
    """Of PostgreSQL."""

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        return await postgres_accounts.read_accounts(source)

    async def ensure_accounts(self, spec: JobSpec, wish: AccountWish, on_report: OnReport) -> None:
        await postgres_accounts.ensure_accounts(spec.source, spec.target, wish, on_report=on_report)

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]:
        return await postgres_parameters.read_parameters(source, target)

    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        return await postgres_parameters.write_parameters(target, values)

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        return await read_postgres_structure(target, job_id)

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
        await check_postgres_row_filter(source, wish, follow=follow)


class _MysqlExtras:
    """Of MySQL and MariaDB."""

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        return await mysql_accounts.read_accounts(source)

    async def ensure_accounts(self, spec: JobSpec, wish: AccountWish, on_report: OnReport) -> None:
        await mysql_accounts.ensure_accounts(spec, wish, on_report=on_report)

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]:
        return await mysql_parameters.read_parameters(source, target)

    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        return await mysql_parameters.write_parameters(target, values)

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        return await read_mysql_structure(target, job_id)

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
        raise NotBuilt("Towline cannot filter rows of MySQL and MariaDB databases yet")


_POSTGRES = _Postgres()
_MYSQL = _Mysql()
_PAIRS: dict[tuple[str, str], _Pair] = {
    ("postgresql", "postgresql"): _POSTGRES,
    ("mysql", "mysql"): _MYSQL,
    ("postgresql", "mysql"): PostgresToMysql(),
    ("mysql", "postgresql"): MysqlToPostgres(),
}
_FAMILIES: dict[str, _Family] = {"postgresql": _POSTGRES, "mysql": _MYSQL}
_EXTRAS: dict[str, _Extras] = {"postgresql": _PostgresExtras(), "mysql": _MysqlExtras()}

WORKER_COMMAND = (sys.executable, "-m", "towline.worker_main")


def relax_garbage_collection() -> None:
    """For a process that runs jobs: look for cycles seldom.

    A stream makes some objects per change, none of them in a cycle, and all live until their batch is applied.  At the
    usual pace the search for cycles among them takes a quarter of the time that the changes take.
    """
    gc.set_threshold(50_000, 20, 20)


async def open_sides(spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
    """Connect to both databases of a job and take it over. `epoch` None: whatever comes next.

    `work_dir` is for spill files of this job.
    """
    return await _pair(spec).open_sides(spec, epoch=epoch, work_dir=work_dir)


async def remove_traces(spec: JobSpec) -> None:
    """Drop what the job owns on both databases; safe to repeat."""
    await _pair(spec).remove_traces(spec)


async def run_job(
    spec: JobSpec,
    *,
    epoch: int,
    control: Control,
    reporter: Reporter,
    clock: Clock,
    work_dir: Path,
) -> RunResult:
    """Run a job's pipeline under a lease; see `engine.pipeline.run_pipeline`."""

    async def open_both() -> Sides:
        sides = await open_sides(spec, epoch=epoch, work_dir=work_dir)
        if spec.accounts is not None:
            await _ensure_accounts(spec, spec.accounts, sides, reporter)
        return sides

    return await run_pipeline(spec, open_both, control=control, reporter=reporter, clock=clock)


async def _ensure_accounts(spec: JobSpec, wish: AccountWish, sides: Sides, reporter: Reporter) -> None:
    """Before the structure, which grants them things; later whoever removed one on the target meant it."""
    try:
        if not (await sides.copy_target.load_facts()).is_complete:
            await _extras(spec.source, spec.target).ensure_accounts(spec, wish, reporter.note)
    except BaseException:
        await sides.close()
        raise


class DatabaseProbes:
    """`service.ports.Probes` by the adapters."""

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        return await _extras(source).read_accounts(source)

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]:
        return await _extras(source, target).read_parameters(source, target)

    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        return await _extras(target).write_parameters(target, values)

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        return await _extras(target).read_structure(target, job_id)

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
        await _extras(source).check_row_filter(source, wish, follow=follow)

    async def check_connection(self, endpoint: Endpoint, *, is_source: bool) -> None:
        family = _FAMILIES.get(endpoint.family)
        if family is None:
            raise NotBuilt(f"Towline cannot reach {endpoint.family or 'unnamed'} databases yet")
        await family.check_connection(endpoint, side=Side.SOURCE if is_source else Side.TARGET)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await _pair(spec).run_prechecks(spec)

    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        # Between other families nothing joins, see `domain.jobs.takes_objects_in`.
        return await run_postgres_prechecks(spec, only_joining=True) if spec.takes_objects_in else []

    async def remove_traces(self, spec: JobSpec) -> None:
        await remove_traces(spec)


def _extras(*endpoints: Endpoint) -> _Extras:
    """Of the family that all of the endpoints have."""
    families = {endpoint.family for endpoint in endpoints}
    extras = _EXTRAS.get(min(families)) if len(families) == 1 else None
    if extras is None:
        raise NotBuilt(f"Towline cannot do this with {' and '.join(sorted(families))} databases yet")
    return extras


def parse_url(url: str) -> Endpoint:
    """The endpoint that a database URL names; its scheme decides the family.

    Raises:
        RequestError: says which part is wrong, without repeating the URL (it holds a password).
    """
    scheme = url.partition(":")[0]
    return parse_mysql_url(url) if scheme in ("mysql", "mariadb") else parse_postgres_url(url)


async def read_identity(endpoint: Endpoint, *, side: Side) -> str:
    """Names the database (PostgreSQL) or server (MySQL, MariaDB) behind an endpoint, whatever its address."""
    family = _FAMILIES.get(endpoint.family)
    if family is None:
        raise NotBuilt(f"Towline cannot reach {endpoint.family or 'unnamed'} databases yet")
    return await family.read_identity(endpoint, side=side)


def _pair(spec: JobSpec) -> _Pair:
    pair = (spec.source.family, spec.target.family)
    if pair not in _PAIRS:
        raise NotBuilt(f"Towline cannot move {pair[0]} to {pair[1]} yet")
    return _PAIRS[pair]
