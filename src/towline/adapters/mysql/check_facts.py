"""What the prechecks look at on each server: facts only, the verdicts are `check_rules`' work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from towline.adapters.mysql.bookkeeping import has_bookkeeping
from towline.adapters.mysql.cascades import NATIVE_FOREIGN_KEYS, logs_cascades, read_cascading
from towline.adapters.mysql.catalog import read_identity, read_schemas, read_tables
from towline.adapters.mysql.collations import EXACT, Collations
from towline.adapters.mysql.create_table import find_parsers
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import qualified, quote_literal
from towline.adapters.mysql.session import Session
from towline.domain.errors import TowlineError
from towline.domain.tables import SAME_NAMES, NameMap, ObjectSelection, Table, TableName

_VARIABLES = (
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_value_options",
    "server_id",
    "gtid_mode",
    "enforce_gtid_consistency",
    "log_slave_updates",
    "log_replica_updates",
    "character_set_server",
    "collation_server",
    "sql_mode",
    "lower_case_table_names",
    "max_allowed_packet",
    "local_infile",
    "read_only",
    "super_read_only",
    "innodb_strict_mode",
    "transaction_isolation",
    "tx_isolation",
    "binlog_expire_logs_seconds",
    "expire_logs_days",
    "log_bin_trust_function_creators",
    "innodb_default_row_format",
    "sql_generate_invisible_primary_key",
    "sql_require_primary_key",
    "time_zone",
    "system_time_zone",
    "auto_increment_increment",
    "auto_increment_offset",
    "explicit_defaults_for_timestamp",
    "group_concat_max_len",
    "div_precision_increment",
    "event_scheduler",
    "gtid_strict_mode",
    "gtid_binlog_state",
    "innodb_flush_log_at_trx_commit",
    NATIVE_FOREIGN_KEYS,
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server. `clock_ahead_s`: how far its clock is ahead of ours."""

    flavor: Flavor
    identity: str
    variables: dict[str, str]
    grants: frozenset[str]
    clock_ahead_s: float

    def variable(self, name: str) -> str:
        return self.variables.get(name, "")

    @property
    def ignores_case_of_names(self) -> bool:
        """Whether names of databases and tables that differ in capitals only are one name."""
        return self.variable("lower_case_table_names") in ("1", "2")

    def known_name(self, name: TableName) -> TableName:
        """The same for all names that are one to the server."""
        return TableName(name.schema.lower(), name.name.lower()) if self.ignores_case_of_names else name

    @property
    def logs_cascades(self) -> bool:
        """Whether the binlog holds what foreign keys do to child rows."""
        return logs_cascades(self.flavor, self.variable(NATIVE_FOREIGN_KEYS))

    def may(self, *privileges: str) -> bool:
        """Whether the account has one of these privileges for all databases."""
        return "ALL PRIVILEGES" in self.grants or any(privilege in self.grants for privilege in privileges)


@dataclass(frozen=True, slots=True)
class KnownObjects:
    """What a job has that has run: `tables` by the source's names, `objects` as in `SourceFacts`."""

    tables: frozenset[TableName] = frozenset()
    objects: frozenset[str] = frozenset()


NOTHING_KNOWN: Final = KnownObjects()
_ENGINES: Final = "SELECT engine FROM information_schema.engines WHERE support IN ('YES', 'DEFAULT')"
# Of columns; not every server has them.
_RARE_TYPES: Final = ("uuid", "inet4", "inet6", "vector")


@dataclass(frozen=True, slots=True)
class Features:
    """What of the selected tables a target may not know.

    `types`: of columns that not both products have, with their columns in full.  `expression_indexes` in full, too.
    `parsers`: plugins of FULLTEXT indexes, with their indexes in full.
    """

    types: tuple[tuple[str, str], ...] = ()
    expression_indexes: tuple[str, ...] = ()
    versioned: tuple[TableName, ...] = ()
    parsers: tuple[tuple[str, str], ...] = ()


NO_FEATURES: Final = Features()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    server: ServerFacts
    tables: tuple[Table, ...]
    engines: dict[TableName, str]
    schemas: tuple[str, ...]
    foreign_parents: tuple[tuple[TableName, TableName], ...]  # child, its parent outside of the job
    code: int  # triggers and events
    definers: frozenset[str]  # of views, routines and events of whole databases, and of the tables' triggers
    unreadable_routines: int
    collations: frozenset[str]
    missing: tuple[str, ...] = ()  # selected, but not there
    cascading: tuple[TableName, ...] = ()  # the server changes their rows when a parent's row changes
    objects: frozenset[str] = frozenset()  # views, routines and events of whole databases, each with its kind
    names: NameMap = SAME_NAMES
    known: frozenset[TableName] = frozenset()  # selected tables that the job has already; they are in nothing above
    unreadable_tables: tuple[TableName, ...] = ()  # the account may not SELECT all that it sees of them
    features: Features = NO_FEATURES
    code_collations: frozenset[str] = frozenset()  # of parameters and results of routines of whole databases
    logins: tuple[tuple[str, str], ...] = ()  # plugins by which accounts that are to come along log in; both names

    def names_there(self) -> dict[TableName, TableName]:
        """What each table will be called on the target."""
        return {name: self.names.target_name(name) for name in (*(table.name for table in self.tables), *self.known)}

    def new_names_there(self) -> list[TableName]:
        """What the tables that the job does not have yet will be called on the target."""
        return [self.names.target_name(table.name) for table in self.tables]


@dataclass(frozen=True, slots=True)
class TargetFacts:
    server: ServerFacts
    present: frozenset[TableName]
    collations: frozenset[str]
    accounts: frozenset[str] | None  # None: the account may not see them
    has_job: bool
    triggers: tuple[TableName, ...] = field(default=())
    objects: frozenset[str] = frozenset()
    free_bytes: int | None = None  # where its data are; None: the server does not tell
    account: str = ""  # that the session works as, user@host
    plugins: frozenset[str] = frozenset()  # parsers and ways to log in that are active, in small letters
    engines: frozenset[str] = frozenset()  # in small letters


async def read_server(session: Session, *, now_s: float) -> ServerFacts:
    names = ", ".join(quote_literal(name) for name in _VARIABLES)
    rows = await session.query(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})")
    clock = float(await session.query_value("SELECT unix_timestamp(now(6))"))
    return ServerFacts(
        session.flavor,
        await read_identity(session),
        {str(name).lower(): str(value) for name, value in rows},
        await _read_grants(session),
        clock - now_s,
    )


async def read_known(session: Session, names: NameMap, *, job_id: str) -> KnownObjects:
    """What the job has already, as its target remembers it."""
    if not await has_bookkeeping(session):
        return NOTHING_KNOWN
    tables = await session.query("SELECT schema_name, table_name FROM towline.table_plan WHERE job_id = %s", job_id)
    objects = await session.query(
        """SELECT kind, schema_name, name FROM towline.structure_item
           WHERE job_id = %s AND kind IN ('VIEW', 'FUNCTION', 'PROCEDURE', 'EVENT')""",
        job_id,
    )
    return KnownObjects(
        frozenset(TableName(*row) for row in tables),
        frozenset(
            f"view {names.target_name(TableName(schema, name))}"
            if kind == "VIEW"
            else f"{str(kind).lower()} {names.target_schema(schema)}.{name}"
            for kind, schema, name in objects
        ),
    )


async def read_source(
    session: Session,
    selection: ObjectSelection,
    *,
    now_s: float,
    known: KnownObjects = NOTHING_KNOWN,
    accounts: Collection[str] = (),
) -> SourceFacts:
    """Everything that is asked of the source. `known`: what is passed over; `accounts`: what comes along."""
    server = await read_server(session, now_s=now_s)
    selected = await read_tables(session, selection)
    there = {table.name for table in selected}
    tables = [table for table in selected if table.name not in known.tables]
    schemas = await read_schemas(session, selection)
    listed = ", ".join(quote_literal(name) for name in schemas) or "''"
    engines = await session.query(
        f"""SELECT table_schema, table_name, coalesce(engine, ''), coalesce(table_collation, '')
            FROM information_schema.tables WHERE table_schema IN ({listed}) AND table_type <> 'VIEW'"""
    )
    defaults = await session.query(
        f"SELECT default_collation_name FROM information_schema.schemata WHERE schema_name IN ({listed})"
    )
    parents = await session.query(
        f"""SELECT DISTINCT constraint_schema, table_name, unique_constraint_schema, referenced_table_name
            FROM information_schema.referential_constraints WHERE constraint_schema IN ({listed})"""
    )
    cascading = await read_cascading(session, schemas)
    code = await session.query_value(
        f"""SELECT (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema IN ({listed}))
                 + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema IN ({listed}))"""
    )
    whole = [name for name in schemas if selection.is_everything or name in selection.schemas]
    definers = await _read_definers(session, whole, there - known.tables)
    unreadable = await session.query_value(
        f"""SELECT COUNT(*) FROM information_schema.routines
            WHERE routine_schema IN ({listed}) AND routine_definition IS NULL AND routine_body = 'SQL'"""
    )
    of_columns = await session.query(
        f"""SELECT DISTINCT table_schema, table_name, collation_name FROM information_schema.columns
            WHERE table_schema IN ({listed}) AND collation_name IS NOT NULL"""
    )
    chosen = {table.name for table in tables}
    pairs = [(TableName(*row[:2]), TableName(*row[2:])) for row in parents]
    return SourceFacts(
        server,
        tuple(tables),
        {TableName(row[0], row[1]): row[2] for row in engines if TableName(row[0], row[1]) in chosen},
        tuple(schemas),
        tuple((child, parent) for child, parent in pairs if child in chosen and parent not in there),
        int(code or 0),
        definers,
        int(unreadable or 0),
        frozenset(str(row[0]) for row in defaults)
        | frozenset(row[3] for row in engines if row[3])
        | {collation for *row, collation in of_columns if TableName(*row) in chosen},
        tuple(sorted(selection.schemas - set(schemas)) + sorted(map(str, selection.tables - there))),
        tuple(name for name in cascading if name in chosen),
        await _read_objects(session, whole, selection.names, passed_over=known.tables) - known.objects,
        selection.names,
        frozenset(there - chosen),
        tuple(name for name in await _read_unreadable(session, server, listed) if name in chosen),
        await _read_features(session, listed, chosen),
        await _read_code_collations(session, whole),
        await _read_logins(session, accounts),
    )


async def _read_features(session: Session, listed: str, chosen: Collection[TableName]) -> Features:
    types = await session.query(
        f"""SELECT table_schema, table_name, column_name, LOWER(data_type) FROM information_schema.columns
            WHERE table_schema IN ({listed}) AND data_type IN ({", ".join(map(quote_literal, _RARE_TYPES))})
            ORDER BY table_schema, table_name, ordinal_position"""
    )
    indexes: list[Any] = []
    if session.flavor.is_mysql_from(8, 0, 13):
        indexes = await session.query(
            f"""SELECT DISTINCT table_schema, table_name, index_name FROM information_schema.statistics
                WHERE table_schema IN ({listed}) AND expression IS NOT NULL ORDER BY 1, 2, 3"""
        )
    versioned = await session.query(
        f"""SELECT table_schema, table_name FROM information_schema.tables
            WHERE table_schema IN ({listed}) AND table_type = 'SYSTEM VERSIONED' ORDER BY 1, 2"""
    )
    return Features(
        tuple((kind, f"{TableName(*row)}.{name}") for *row, name, kind in types if TableName(*row) in chosen),
        tuple(f"{TableName(*row)}.{name}" for *row, name in indexes if TableName(*row) in chosen),
        tuple(TableName(*row) for row in versioned if TableName(*row) in chosen),
        await _read_parsers(session, listed, chosen),
    )


async def _read_parsers(session: Session, listed: str, chosen: Collection[TableName]) -> tuple[tuple[str, str], ...]:
    """Only SHOW CREATE TABLE tells."""
    rows = await session.query(
        f"""SELECT DISTINCT table_schema, table_name FROM information_schema.statistics
            WHERE table_schema IN ({listed}) AND index_type = 'FULLTEXT' ORDER BY 1, 2"""
    )
    found = []
    for table in (TableName(*row) for row in rows):
        if table in chosen:
            shown = await session.query_one(f"SHOW CREATE TABLE {qualified(table)}")
            found += [(parser, f"{table}.{name}") for name, parser in find_parsers(str(shown[1]) if shown else "")]
    return tuple(found)


async def _read_code_collations(session: Session, whole: Sequence[str]) -> frozenset[str]:
    listed = ", ".join(quote_literal(name) for name in whole) or "''"
    rows = await session.query(
        f"""SELECT DISTINCT collation_name FROM information_schema.parameters
            WHERE specific_schema IN ({listed}) AND collation_name IS NOT NULL"""
    )
    return frozenset(str(row[0]) for row in rows)


async def _read_logins(session: Session, accounts: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Without those of roles; nothing where the account may not look, which the job says itself."""
    if not accounts:
        return ()
    try:
        rows = await session.query("SELECT LOWER(plugin), CONCAT(user, '@', host) FROM mysql.user WHERE plugin <> ''")
    except TowlineError:
        return ()
    return tuple(sorted((str(plugin), str(name)) for plugin, name in rows if name in accounts))


async def read_target(session: Session, names: Collection[TableName], *, job_id: str, now_s: float) -> TargetFacts:
    """`names` are those of the tables that the job will create."""
    server = await read_server(session, now_s=now_s)
    wanted = {server.known_name(name): name for name in names}
    rows = await session.query("SELECT table_schema, table_name FROM information_schema.tables")
    collations = await session.query("SELECT collation_name FROM information_schema.collations")
    triggers = await session.query("SELECT event_object_schema, event_object_table FROM information_schema.triggers")
    return TargetFacts(
        server,
        _choose(rows, wanted, server),
        frozenset(str(row[0]) for row in collations),
        await _read_accounts(session),
        await _has_job(session, job_id),
        tuple(sorted(_choose(triggers, wanted, server))),
        await _read_objects(session, sorted({name.schema for name in names})),
        await _read_free_bytes(session),
        str(await session.query_value("SELECT CURRENT_USER()")),
        await _read_plugins(session),
        frozenset(str(row[0]).lower() for row in await session.query(_ENGINES)),
    )


async def _read_plugins(session: Session) -> frozenset[str]:
    rows = await session.query(
        """SELECT LOWER(plugin_name) FROM information_schema.plugins
           WHERE plugin_type IN ('FTPARSER', 'AUTHENTICATION') AND plugin_status = 'ACTIVE'"""
    )
    return frozenset(str(row[0]) for row in rows)


async def read_key_collations(
    session: Session, tables: Collection[TableName], server: ServerFacts
) -> dict[TableName, Collations]:
    """Of the columns of texts and bytes that are part of a primary or unique key; tables without any are left out."""
    wanted = {server.known_name(table): table for table in tables}
    listed = ", ".join(quote_literal(name) for name in sorted({table.schema for table in tables})) or "''"
    columns = await session.query(
        f"""SELECT table_schema, table_name, column_name, coalesce(collation_name, {quote_literal(EXACT)})
            FROM information_schema.columns WHERE table_schema IN ({listed})
            AND (collation_name IS NOT NULL OR data_type LIKE '%binary' OR data_type LIKE '%blob')"""
    )
    keys = await session.query(
        f"""SELECT DISTINCT table_schema, table_name, column_name FROM information_schema.statistics
            WHERE non_unique = 0 AND table_schema IN ({listed})"""
    )
    known = {(TableName(*row[:2]), row[2]): str(row[3]) for row in columns}
    found: dict[TableName, dict[str, str]] = {}
    for schema, name, column in keys:
        table = wanted.get(server.known_name(TableName(schema, name)))
        if table is not None and (TableName(schema, name), column) in known:
            found.setdefault(table, {})[column] = known[TableName(schema, name), column]
    return dict(found)


def _choose(rows: Iterable[Any], wanted: Mapping[TableName, TableName], server: ServerFacts) -> frozenset[TableName]:
    """Those of the tables that are wanted, by the names that they are wanted by."""
    found = (wanted.get(server.known_name(TableName(*row))) for row in rows)
    return frozenset(name for name in found if name is not None)


async def _read_grants(session: Session) -> frozenset[str]:
    """Privileges for all databases, roles that are active included."""
    granted: set[str] = set()
    for (line,) in await session.query("SHOW GRANTS"):
        head, found, _ = str(line).partition(" ON *.* TO ")
        if found:
            granted.update(part.strip().upper() for part in head.removeprefix("GRANT ").split(","))
    return frozenset(granted)


async def _read_objects(
    session: Session,
    schemas: Sequence[str],
    names: NameMap = SAME_NAMES,
    *,
    passed_over: Collection[TableName] = frozenset(),
) -> frozenset[str]:
    """By the target's names. Foreign keys have names in their database, which meet only where tables are renamed.

    `passed_over`: tables whose foreign keys are left out.
    """
    listed = ", ".join(quote_literal(name) for name in schemas) or "''"
    rows = await session.query(
        f"""SELECT 'view', table_schema, table_name, table_name FROM information_schema.views
            WHERE table_schema IN ({listed})
            UNION SELECT LOWER(routine_type), routine_schema, routine_name, ''
            FROM information_schema.routines WHERE routine_schema IN ({listed})
            UNION SELECT 'event', event_schema, event_name, ''
            FROM information_schema.events WHERE event_schema IN ({listed})
            UNION SELECT 'foreign key', constraint_schema, constraint_name, table_name
            FROM information_schema.referential_constraints WHERE constraint_schema IN ({listed})"""
    )
    found = set()
    for kind, schema, name, relation in rows:
        if kind == "foreign key" and TableName(schema, relation) in passed_over:
            continue
        there = names.target_name(TableName(schema, relation)) if relation else None
        home = names.target_schema(schema) if there is None else there.schema
        found.add(f"{kind} {home}.{there.name if there is not None and kind == 'view' else name}")
    return frozenset(found)


async def _read_unreadable(session: Session, server: ServerFacts, listed: str) -> list[TableName]:
    """Tables of the listed databases with columns that the account sees by another privilege than SELECT."""
    if server.may("SELECT"):
        return []
    rows = await session.query(
        f"""SELECT DISTINCT table_schema, table_name FROM information_schema.columns
            WHERE table_schema IN ({listed}) AND privileges NOT LIKE '%select%' ORDER BY 1, 2"""
    )
    return [TableName(*row) for row in rows]


async def _read_definers(session: Session, whole: Sequence[str], tables: Collection[TableName]) -> frozenset[str]:
    """Each as user@host."""
    listed = ", ".join(quote_literal(name) for name in whole) or "''"
    rows = await session.query(
        f"""SELECT definer FROM information_schema.routines WHERE routine_schema IN ({listed})
            UNION SELECT definer FROM information_schema.views WHERE table_schema IN ({listed})
            UNION SELECT definer FROM information_schema.events WHERE event_schema IN ({listed})"""
    )
    schemas = ", ".join(quote_literal(name) for name in {table.schema for table in tables}) or "''"
    triggers = await session.query(
        f"""SELECT DISTINCT event_object_schema, event_object_table, definer FROM information_schema.triggers
            WHERE event_object_schema IN ({schemas})"""
    )
    return frozenset(row[0] for row in rows) | {row[2] for row in triggers if TableName(*row[:2]) in tables}


async def _read_free_bytes(session: Session) -> int | None:
    """Only MariaDB with its plugin `disks` tells, and only an account with FILE."""
    try:
        folder = str(await session.query_value("SELECT @@datadir"))
        rows = await session.query("SELECT path, available FROM information_schema.disks")
    except TowlineError:
        return None
    # The deepest mount above the folder is the one that it lies on.
    found = [(len(str(path)), int(free)) for path, free in rows if folder.startswith(str(path).rstrip("/") + "/")]
    return max(found)[1] * 1024 if found else None


async def _read_accounts(session: Session) -> frozenset[str] | None:
    try:
        rows: list[Any] = await session.query("SELECT CONCAT(user, '@', host) FROM mysql.user")
    except TowlineError:
        return None
    return frozenset(str(row[0]) for row in rows)


async def _has_job(session: Session, job_id: str) -> bool:
    try:
        return bool(await session.query_value("SELECT COUNT(*) FROM towline.job WHERE job_id = %s", job_id))
    except TowlineError:
        return False
