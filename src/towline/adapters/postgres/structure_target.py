"""The target's side of the structure: creates objects, and remembers it in the same transaction.

Theory of operation.  `apply_items` may run in several tasks at once; each call takes a session of its
own.  A group of items is first tried in one transaction: epoch check, one round trip with all statements,
marks, commit.  If anything in it fails, the transaction is gone as a whole, and the items are done one by
one, each in a transaction of its own, to find the culprit.  A crash at any point leaves every object
either created and marked, or neither (I6: the epoch check comes first and holds to the commit).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from operator import attrgetter

import asyncpg

from towline.adapters.postgres.bookkeeping import require_epoch
from towline.adapters.postgres.compressed_log import ensure_compressed_log
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import server_message, sqlstate_of, translated
from towline.adapters.postgres.structure_plan import (
    add_reports,
    count_items,
    load_done,
    load_failed_extensions,
    load_plan,
    load_reports,
    lock_pending,
    mark_done,
    save_plan,
)
from towline.domain.errors import (
    LeaseLost,
    MissingPrivilege,
    Side,
    StructureFailed,
    TargetNotEmpty,
    TowlineError,
    TransientError,
)
from towline.domain.jobs import Endpoint
from towline.domain.structure import SequenceValue, StructureItem, StructureReport
from towline.domain.tables import SAME_NAMES, NameMap, TableName
from towline.engine.points import INDEX_IN_BUILD, STRUCTURE_BEFORE_COMMIT, reach

_SETTINGS = {
    "check_function_bodies": "off",  # a body may name what is created later
    "client_min_messages": "warning",
    "row_security": "off",
    "synchronous_commit": "off",  # a lost commit takes its marks with it
    "default_table_access_method": "heap",
    "default_tablespace": "",
    "default_transaction_read_only": "off",
    "xmloption": "content",  # the laxer form: a document is content, too
    "lock_timeout": "120s",
}
_FIRST_VERSION_WITH_CONNECTION_CHECK = 14
_MAX_SESSIONS = 16
_BUILDS = frozenset({"CONSTRAINT", "INDEX"})

_DUPLICATE_STATES = frozenset({"42P06", "42P07", "42710", "42723", "42701"})
_UNDEFINED_OBJECT = "42704"
_UNDEFINED_STATES = frozenset({_UNDEFINED_OBJECT, "42883", "42P01", "3F000"})
_NAMES_SHOWN = 10

# Types and tables share one space of names, so a table in the way may be a type or a view.
_EXISTING = """
SELECT u.schema, u.name FROM unnest($1::text[], $2::text[]) AS u(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = u.schema
WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = u.name)
ORDER BY 1, 2
"""

# A sequence that the target does not have was created on the source after the structure was read.
_SET_SEQUENCES = """
SELECT pg_catalog.setval(c.oid::regclass, u.value, u.is_called)
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[]) AS u(schema, name, value, is_called)
JOIN pg_catalog.pg_namespace n ON n.nspname = u.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.name AND c.relkind = 'S'
"""

_BUILD_PROGRESS = """
SELECT pid, phase, coalesce(blocks_done::float8 / nullif(blocks_total, 0), 0) AS blocks,
       coalesce(tuples_done::float8 / nullif(tuples_total, 0), 0) AS tuples
FROM pg_catalog.pg_stat_progress_create_index WHERE pid = ANY($1::int[])
"""

Report = Callable[[StructureReport], None]


class PgStructureTarget:
    """Creates the structure of one job on one target database. Close it to end its sessions.

    `maintenance_work_mem_mb` is what each index build may use; `parallel_workers` per build, None for the
    server's own setting.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        epoch: int,
        maintenance_work_mem_mb: int = 256,
        parallel_workers: int | None = None,
        max_sessions: int = _MAX_SESSIONS,
        names: NameMap = SAME_NAMES,
    ) -> None:
        self._names = names
        self._endpoint = endpoint
        self._job_id = job_id
        self._epoch = epoch
        self._settings = {**_SETTINGS, "maintenance_work_mem": f"{maintenance_work_mem_mb}MB"}
        if parallel_workers is not None:
            self._settings["max_parallel_maintenance_workers"] = str(parallel_workers)
        self._items: list[StructureItem] = []  # read anew only when objects have joined
        self._builds: dict[int, StructureItem] = {}  # by the server process that builds it
        self._idle: list[asyncpg.Connection] = []
        self._free_places = asyncio.Semaphore(max_sessions)

    async def save_structure(self, items: Sequence[StructureItem], reports: Sequence[StructureReport]) -> None:
        """Remember the whole plan, once; a later call with a plan present changes nothing."""
        async with self._writing("saving the plan of the structure") as connection:
            await save_plan(connection, self._job_id, items, reports)

    async def load_structure(self) -> tuple[list[StructureItem], frozenset[int]]:
        """The remembered plan and the numbers that are done; ([], empty) before `save_structure`."""
        async with self._session("loading the plan of the structure") as connection:
            if len(self._items) != await count_items(connection, self._job_id):
                self._items = await load_plan(connection, self._job_id)
            return self._items, await load_done(connection, self._job_id)

    async def load_reports(self) -> list[StructureReport]:
        async with self._session("loading the reports of the structure") as connection:
            return await load_reports(connection, self._job_id)

    async def apply_items(self, items: Sequence[StructureItem], *, on_report: Report) -> None:
        """Create the items in order and mark them done; optional ones that fail are reported.

        Raises:
            StructureFailed, TargetNotEmpty, MissingPrivilege: name the object; what came before it stays
            done. LeaseLost: nothing was written.
        """
        try:
            async with self._writing("creating objects") as connection:
                await self._create_together(connection, items)
        except (TransientError, LeaseLost):
            raise
        except TowlineError:
            await self._create_one_by_one(items, on_report)

    async def read_build_progress(self) -> dict[int, float]:
        """How far each index build in flight is, 0..1 by the item's number."""
        if not self._builds:
            return {}
        async with self._session("looking at index builds") as connection:
            rows = await connection.fetch(_BUILD_PROGRESS, list(self._builds))
        built = ((row, self._builds[row["pid"]]) for row in rows if row["pid"] in self._builds)
        return {
            item.number: estimate_build(
                row["phase"], row["blocks"], row["tuples"], is_inverted=" using gin " in item.statements[0].lower()
            )
            for row, item in built
        }

    async def write_sequences(self, values: Sequence[SequenceValue], *, is_final: bool) -> None:
        """Set the target's sequences, each time; those that it does not have are passed over."""
        async with self._writing("setting sequences") as connection:
            await connection.execute(
                _SET_SEQUENCES,
                [value.schema for value in values],
                [value.name for value in values],
                [value.last_value for value in values],
                [value.is_called for value in values],
            )

    async def refresh_views(self, *, on_report: Report) -> None:
        """Refresh the job's populated materialised views, in order of dependency; a failure is reported."""
        items, _ = await self.load_structure()
        for item in items:
            if item.kind != "MATERIALIZED VIEW DATA":
                continue
            async with self._writing(f"refreshing {item.name}") as connection:
                failures = await _try_each(connection, item)
            for _statement, reason in failures:
                on_report(StructureReport(item.kind, _describe(item), reason))

    async def close(self) -> None:
        """End all sessions; safe to repeat."""
        while self._idle:
            self._idle.pop().terminate()

    # --- groups -------------------------------------------------------------------------------------

    async def _create_together(self, connection: asyncpg.Connection, items: Sequence[StructureItem]) -> None:
        pending = await lock_pending(connection, self._job_id, [item.number for item in items])
        wanted = [item for item in items if item.number in pending]
        if not wanted:
            return
        user = await connection.fetchval("SELECT current_user") if _has_owner(wanted) else ""
        statements = _render(wanted, user=user)
        if len(wanted) == 1 and wanted[0].kind in _BUILDS:
            await self._build(connection, wanted[0], statements)
        elif statements:
            await connection.execute(statements)
        await mark_done(connection, self._job_id, [item.number for item in wanted])
        reach(STRUCTURE_BEFORE_COMMIT)

    async def _build(self, connection: asyncpg.Connection, item: StructureItem, statement: str) -> None:
        pid = connection.get_server_pid()
        self._builds[pid] = item
        building = asyncio.ensure_future(connection.execute(statement))
        try:
            await asyncio.sleep(0)  # the statement is on its way now
            reach(INDEX_IN_BUILD)
            await building
        finally:
            building.cancel()
            del self._builds[pid]

    async def _create_one_by_one(self, items: Sequence[StructureItem], on_report: Report) -> None:
        for is_optional, group in groupby(items, key=attrgetter("is_optional")):
            if not is_optional:
                for item in group:
                    await self._create_required(item)
                continue
            for report in await self._try_optional(list(group)):
                on_report(report)

    async def _create_required(self, item: StructureItem) -> None:
        try:
            async with self._writing(_describe(item)) as connection:
                await self._create_together(connection, [item])
        except (TransientError, LeaseLost):
            raise
        except TowlineError as error:
            raise await self._explain(error, item) from error

    async def _try_optional(self, items: Sequence[StructureItem]) -> list[StructureReport]:
        """Do as many of the items' statements as work; they are done either way, and what failed is remembered."""
        reports: list[StructureReport] = []
        reasons: dict[int, str] = {}
        async with self._writing(_describe(items[0])) as connection:
            pending = await lock_pending(connection, self._job_id, [item.number for item in items])
            for item in items:
                if item.number not in pending:
                    continue
                for statement, reason in await _try_each(connection, item):
                    reports.append(StructureReport(item.kind, _what_failed(item, statement), reason))
                    reasons.setdefault(item.number, reason)
            reports = _merge(reports)
            await mark_done(connection, self._job_id, sorted(pending), failed=reasons)
            await add_reports(connection, self._job_id, reports)
            reach(STRUCTURE_BEFORE_COMMIT)
        return reports

    async def _explain(self, error: TowlineError, item: StructureItem) -> TowlineError:
        """What the operator can do about a required object that could not be created."""
        state = sqlstate_of(error)
        if state in _DUPLICATE_STATES:
            names = await self._read_existing(item)
            return TargetNotEmpty(f"the target already has {names}", side=Side.TARGET, kind=item.kind, sqlstate=state)
        if isinstance(error, MissingPrivilege):
            return error
        message = error.message
        if state in _UNDEFINED_STATES:
            async with self._session("loading the plan of the structure") as connection:
                missing = await load_failed_extensions(connection, self._job_id)
            if missing:
                message += f"; extensions not available on the target: {', '.join(missing)}"
        return StructureFailed(message, side=Side.TARGET, kind=item.kind, object=_qualified_name(item), sqlstate=state)

    async def _read_existing(self, item: StructureItem) -> str:
        """Names of all the tables in the way, not only of the first; the object itself if it is no table."""
        known = [other.table for other in self._items if other.kind == "TABLE" and other.table is not None]
        tables = [self._names.target_name(table) for table in known]
        async with self._session("looking for objects in the way") as connection:
            rows = await connection.fetch(_EXISTING, [t.schema for t in tables], [t.name for t in tables])
        # In this order: what another batch has created meanwhile is done by now.
        items, done = await self.load_structure()
        created = {
            str(self._names.target_name(other.table))
            for other in items
            if other.number in done and other.kind == "TABLE" and other.table is not None
        }
        found = (str(TableName(row["schema"], row["name"])) for row in rows)
        names = [name for name in found if name not in created]
        own = str(self._names.target_name(item.table)) if item.kind == "TABLE" and item.table else _qualified_name(item)
        if own not in names:
            names.insert(0, f"{item.kind} {own}")
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return ", ".join(names[:_NAMES_SHOWN]) + more

    # --- sessions -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _writing(self, what: str) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that only the job's owner can commit (I6)."""
        async with self._session(what) as connection, connection.transaction():
            await require_epoch(connection, self._job_id, self._epoch)
            yield connection

    @asynccontextmanager
    async def _session(self, what: str) -> AsyncIterator[asyncpg.Connection]:
        async with self._free_places:
            connection = self._take_idle() or await self._connect()
            try:
                with translated(Side.TARGET, what=what):
                    yield connection
            except BaseException as error:
                # A server's refusal leaves the session usable; anything else leaves it in an unknown state.
                was_refused = sqlstate_of(error) and not isinstance(error, TransientError)
                if was_refused and not connection.is_closed():
                    self._idle.append(connection)
                else:
                    connection.terminate()
                raise
            self._idle.append(connection)

    def _take_idle(self) -> asyncpg.Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> asyncpg.Connection:
        return await connect(
            self._endpoint,
            purpose=f"{self._job_id}:structure",
            settings=self._settings,
            side=Side.TARGET,
            prepare=_prepare,
        )


async def _prepare(connection: asyncpg.Connection) -> None:
    await ensure_compressed_log(connection)
    if connection.get_server_version().major >= _FIRST_VERSION_WITH_CONNECTION_CHECK:
        # An index build notices that its worker died instead of going on for hours.
        await connection.execute("SET client_connection_check_interval = '5s'")


def estimate_build(phase: str, blocks: float, tuples: float, *, is_inverted: bool) -> float:
    """How far a build is, 0..1. Reading takes most of it; sorting is not measured by the server.

    `is_inverted`: of kind GIN, which makes its entries while it reads.
    """
    if phase == "building index: sorting live tuples":
        return 0.6
    if phase == "building index: loading tuples in tree":
        return 0.7 + 0.3 * tuples
    return (0.9 if is_inverted else 0.6) * blocks if phase.startswith("building index") else 0.0


async def _try_each(connection: asyncpg.Connection, item: StructureItem) -> list[tuple[str, str]]:
    """Execute the item's statements, each under a savepoint; returns those that failed, with the reason."""
    failures: list[tuple[str, str]] = []
    for statement in item.statements:
        try:
            async with connection.transaction():
                with translated(Side.TARGET, what=_describe(item)):
                    await connection.execute(statement)
        except TransientError:
            raise
        except TowlineError as error:
            failures.append((statement, _reason(item, error)))
    return failures


def _reason(item: StructureItem, error: TowlineError) -> str:
    message = server_message(error) or error.message
    if item.kind == "OWNER" and sqlstate_of(error) == _UNDEFINED_OBJECT:
        return f"role {item.name} does not exist on the target"
    if item.kind == "EXTENSION":
        return f"extension {item.name} is not available on the target: {message}"
    return f"{message} on the target" if sqlstate_of(error) == _UNDEFINED_OBJECT else message


def _what_failed(item: StructureItem, statement: str) -> str:
    # The statement of an owner or grant tells what it was about; others may hold secrets (user mappings).
    if item.kind in ("ACL", "OWNER"):
        return statement.removesuffix(";")
    return _qualified_name(item)


def _merge(reports: Sequence[StructureReport]) -> list[StructureReport]:
    """One report per kind and reason: a role that is missing may have had ten thousand grants."""
    groups: dict[tuple[str, str], list[StructureReport]] = {}
    for report in reports:
        groups.setdefault((report.kind, report.reason), []).append(report)
    return [
        group[0] if len(group) == 1 else StructureReport(kind, f"{group[0].name} and {len(group) - 1} more", reason)
        for (kind, reason), group in groups.items()
    ]


def _render(items: Sequence[StructureItem], *, user: str) -> str:
    # Each on a line of its own: a definition may end with a comment.
    return "\n".join(statement for item in items for statement in _needed(item, user))


def _needed(item: StructureItem, user: str) -> Iterable[str]:
    """What was just created belongs to the session's user already; a schema may have been there before."""
    if item.kind == "OWNER" and item.name == user:
        return (statement for statement in item.statements if statement.startswith("ALTER SCHEMA "))
    return item.statements


def _has_owner(items: Sequence[StructureItem]) -> bool:
    return any(item.kind == "OWNER" for item in items)


def _describe(item: StructureItem) -> str:
    return f"{item.kind} {_qualified_name(item)}"


def _qualified_name(item: StructureItem) -> str:
    return f"{item.schema}.{item.name}" if item.schema else item.name
