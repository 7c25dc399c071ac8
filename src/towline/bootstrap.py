"""The one place that joins ports to adapters, by database family."""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

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
    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None: ...
    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]: ...
    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]: ...


class _Family(_Pair, Protocol):
    """One family, as a pair with itself and alone: a module `family` of an adapter."""

    def parse_url(self, url: str) -> Endpoint: ...
    async def check_connection(self, endpoint: Endpoint, *, side: Side) -> None: ...
    async def read_identity(self, endpoint: Endpoint, *, side: Side) -> str: ...
    async def read_accounts(self, source: Endpoint, /) -> list[Account]: ...
    async def ensure_accounts(self, spec: JobSpec, wish: AccountWish, *, on_report: OnReport) -> None: ...
    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]: ...
    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool: ...
    async def check_row_filter(self, source: Endpoint, /, wish: RowFilter, *, follow: bool) -> None: ...
    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]: ...


# The adapters are imported when a job needs them: each comes with a driver of its own, and a worker or a command that
# moves PostgreSQL has no use for those of MySQL.


def _postgres() -> _Family:
    from towline.adapters.postgres import family

    return family


def _mysql() -> _Family:
    from towline.adapters.mysql import family

    return family


@cache
def _postgres_to_mysql() -> _Pair:
    from towline.crossing.postgres_to_mysql import PostgresToMysql

    return PostgresToMysql()


@cache
def _mysql_to_postgres() -> _Pair:
    from towline.crossing.mysql_to_postgres import MysqlToPostgres

    return MysqlToPostgres()


_FAMILIES: dict[str, Callable[[], _Family]] = {"postgresql": _postgres, "mysql": _mysql}
_PAIRS: dict[tuple[str, str], Callable[[], _Pair]] = {
    ("postgresql", "postgresql"): _postgres,
    ("mysql", "mysql"): _mysql,
    ("postgresql", "mysql"): _postgres_to_mysql,
    ("mysql", "postgresql"): _mysql_to_postgres,
}

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


def opening_without_lease(spec: JobSpec, work_dir: Path) -> Callable[[], Awaitable[Sides]]:
    """For one run that no lease protects: it takes the job over when it begins, and never from who came later."""
    epoch: int | None = None

    async def open_again() -> Sides:
        nonlocal epoch
        sides = await open_sides(spec, epoch=epoch, work_dir=work_dir)
        epoch = sides.epoch
        return sides

    return open_again


async def remove_traces(spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
    """Drop what the job owns on both databases; safe to repeat. The reporter hears what the end has left otherwise."""
    await _pair(spec).remove_traces(spec, reporter=reporter, by_force=by_force)


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
            await _shared_family(spec.source, spec.target).ensure_accounts(spec, wish, on_report=reporter.note)
    except BaseException:
        await sides.close()
        raise


class DatabaseProbes:
    """`service.ports.Probes` by the adapters."""

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        return await _shared_family(source).read_accounts(source)

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]:
        return await _shared_family(source, target).read_parameters(source, target)

    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        return await _shared_family(target).write_parameters(target, values)

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        return await _shared_family(target).read_structure(target, job_id)

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
        await _shared_family(source).check_row_filter(source, wish, follow=follow)

    async def check_connection(self, endpoint: Endpoint, *, is_source: bool) -> None:
        await _family(endpoint).check_connection(endpoint, side=Side.SOURCE if is_source else Side.TARGET)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await _pair(spec).run_prechecks(spec)

    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        return await _pair(spec).check_joining(spec)

    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
        await remove_traces(spec, reporter=reporter, by_force=by_force)


def _shared_family(*endpoints: Endpoint) -> _Family:
    families = {endpoint.family for endpoint in endpoints}
    family = _FAMILIES.get(min(families)) if len(families) == 1 else None
    if family is None:
        raise NotBuilt(f"Towline cannot do this with {' and '.join(sorted(families))} databases yet")
    return family()


def parse_url(url: str) -> Endpoint:
    """The endpoint that a database URL names; its scheme decides the family.

    Raises:
        RequestError: says which part is wrong, without repeating the URL (it holds a password).
    """
    scheme = url.partition(":")[0]
    return (_mysql() if scheme in ("mysql", "mariadb") else _postgres()).parse_url(url)


async def read_identity(endpoint: Endpoint, *, side: Side) -> str:
    """Names the database (PostgreSQL) or server (MySQL, MariaDB) behind an endpoint, whatever its address."""
    return await _family(endpoint).read_identity(endpoint, side=side)


def _family(endpoint: Endpoint) -> _Family:
    family = _FAMILIES.get(endpoint.family)
    if family is None:
        raise NotBuilt(f"Towline cannot reach {endpoint.family or 'unnamed'} databases yet")
    return family()


def _pair(spec: JobSpec) -> _Pair:
    pair = (spec.source.family, spec.target.family)
    if pair not in _PAIRS:
        raise NotBuilt(f"Towline cannot move {pair[0]} to {pair[1]} yet")
    return _PAIRS[pair]()
