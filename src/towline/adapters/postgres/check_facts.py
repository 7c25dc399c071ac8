"""What the prechecks look at, read in a few queries per side whatever the number of tables."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg

from towline.adapters.postgres.catalog import OID_ALIASES
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.structure_source import read_all_names
from towline.domain.errors import MissingPrivilege, Side, UnclassifiedError
from towline.domain.tables import SAME_NAMES, NameMap, ObjectSelection, TableName


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, sequence, ... of the source; `kind` and `identity` are the letters of pg_class."""

    name: TableName
    kind: str
    is_logged: bool
    identity: str
    has_key: bool
    has_unsent_key: bool  # a column of it is generated
    is_readable: bool
    is_owned: bool
    hides_rows: bool

    @property
    def has_rows(self) -> bool:
        return self.kind == "r"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What both sides tell of themselves."""

    major: int
    identity: str
    encoding: str
    collation: str
    is_standby: bool
    is_read_only: bool
    clock_ahead_s: float  # of ours


@dataclass(frozen=True, slots=True)
class ReplicationFacts:
    """What following needs of the source."""

    wal_level: str
    free_slots: int
    free_senders: int
    max_kept_wal_mb: int  # -1 = no limit
    max_unused_s: int  # 0 = no limit
    has_slot: bool
    may_replicate: bool
    may_create: bool


@dataclass(frozen=True, slots=True)
class KnownObjects:
    """Of a job that has run, by their names on the source.

    `planned`: tables whose rows it moves; `made`: relations that it has made on the target, or will, also the empty
    tables that a single view reads.
    """

    planned: frozenset[TableName] = frozenset()
    made: frozenset[TableName] = frozenset()


NOTHING_KNOWN = KnownObjects()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    server: ServerFacts
    relations: tuple[Relation, ...]  # of the selection
    foreign_keys_out: tuple[tuple[TableName, TableName], ...]  # from the selection to tables outside
    roles: frozenset[str]
    policy_roles: frozenset[str]
    extensions: frozenset[str]
    has_large_objects: bool
    replication: ReplicationFacts
    firing: tuple[str, ...]  # triggers and rules of the selection that fire in the applier's session, too
    hashed_by_id: tuple[TableName, ...]  # partitioned by a hash that is the server's own
    hashed_by_text: tuple[TableName, ...]  # partitioned by a hash of encoded text
    names: NameMap = SAME_NAMES  # with what lies where its table does
    missing: tuple[TableName, ...] = ()  # renamed, but not there
    indexes: tuple[tuple[TableName, TableName], ...] = ()  # each with its table; read only for a job that renames
    unknown: tuple[str, ...] = ()  # what was selected but is not there
    has_selected: bool = True  # whether any of the selection is there

    def names_there(self) -> dict[TableName, TableName]:
        """What each relation, and in a job that renames each index, will be called on the target."""
        there = {relation.name: self.names.target_name(relation.name) for relation in self.relations}
        for index, table in self.indexes:
            there[index] = TableName(self.names.target_name(table).schema, index.name)
        for each in self.names.tables:
            there[each.source] = each.target
        return there


@dataclass(frozen=True, slots=True)
class TargetFacts:
    server: ServerFacts
    may_create: bool
    triggers_refusal: str  # why the session cannot switch triggers off; "" if it can
    is_ours: bool  # it carries this job's bookkeeping
    relations: frozenset[TableName]
    roles: frozenset[str]
    extensions: frozenset[str]  # available ones
    closed_schemas: frozenset[str]  # they exist, and nothing may be created in them
    firing: tuple[str, ...]  # as on the source, of the job's tables as far as they exist


_SERVER = """
SELECT current_setting('server_version_num')::int / 10000 AS major,
       (SELECT system_identifier FROM pg_catalog.pg_control_system())::text || '/' || d.oid::text AS identity,
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collation,
       pg_catalog.pg_is_in_recovery() AS is_standby,
       current_setting('transaction_read_only')::boolean AS is_read_only,
       extract(epoch FROM clock_timestamp())::float8 AS now_s
FROM pg_catalog.pg_database d WHERE d.datname = current_database()
"""

# Members of extensions come with the extension, so they are no concern of a job.
_RELATIONS = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relpersistence = 'p' AS is_logged,
       c.relreplident AS identity,
       EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
               AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) AS has_key,
       EXISTS (SELECT 1 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid
               WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
               AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
               AND a.attgenerated <> '' AND a.attnum = ANY (i.indkey::int2[])) AS has_unsent_key,
       CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN false
            WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
            ELSE has_table_privilege(c.oid, 'SELECT') END AS is_readable,
       pg_has_role(c.relowner, 'USAGE') AS is_owned,
       c.relkind = 'r' AND row_security_active(c.oid) AS hides_rows,
       CASE WHEN c.relispartition THEN ARRAY(
           SELECT ARRAY[an.nspname, a.relname]::text[] FROM pg_catalog.pg_partition_ancestors(c.oid) x
           JOIN pg_catalog.pg_class a ON a.oid = x.relid JOIN pg_catalog.pg_namespace an ON an.oid = a.relnamespace)
           ELSE ARRAY[ARRAY[n.nspname, c.relname]::text[]] END AS names
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'towline') AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""

_SCHEMAS = "SELECT nspname AS name FROM pg_catalog.pg_namespace WHERE nspname = ANY($1::text[])"

_FOREIGN_KEYS = """
SELECT n.nspname AS schema, c.relname AS name, fn.nspname AS other_schema, f.relname AS other_name
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
"""

_INDEXES = """
SELECT n.nspname AS schema, i.relname AS name, c.relname AS table_name
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384
"""

# Roles that own something here, have been granted something ('a') or are named in a policy ('r').
# With the table whose policy names the role, if it is a policy.
_ROLES_IN_USE = """
SELECT DISTINCT r.rolname AS name, n.nspname AS policy_schema, c.relname AS policy_table
FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid
LEFT JOIN pg_catalog.pg_policy p ON d.deptype = 'r' AND p.oid = d.objid
LEFT JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.deptype IN ('o', 'a', 'r')
  AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""

_EXTENSIONS = "SELECT extname AS name FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'"
_LARGE_OBJECTS = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_largeobject_metadata)"

_REPLICATION = """
SELECT current_setting('wal_level') AS wal_level,
       current_setting('max_replication_slots')::int
           - (SELECT count(*) FROM pg_catalog.pg_replication_slots)::int AS free_slots,
       current_setting('max_wal_senders')::int
           - (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders())::int AS free_senders,
       (SELECT setting::int FROM pg_catalog.pg_settings
        WHERE name = 'max_slot_wal_keep_size') AS max_kept_wal_mb,
       (SELECT setting::int FROM pg_catalog.pg_settings
        WHERE name = 'idle_replication_slot_timeout') AS max_unused_s,
       EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE starts_with(slot_name::text, $1)) AS has_slot,
       (SELECT r.rolsuper OR r.rolreplication FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)
           OR EXISTS (SELECT 1 FROM pg_catalog.pg_roles m WHERE m.rolname = 'rds_replication'
                      AND pg_has_role(m.oid, 'MEMBER')) AS may_replicate,
       has_database_privilege(current_database(), 'CREATE') AS may_create
"""

# ENABLE ALWAYS or REPLICA: session_replication_role = replica does not silence them.
_FIRING = """
SELECT n.nspname AS schema, c.relname AS name,
       f.kind || ' ' || f.name || ' on ' || n.nspname || '.' || c.relname AS what
FROM (SELECT tgrelid AS relation, 'trigger' AS kind, tgname AS name FROM pg_catalog.pg_trigger
      WHERE NOT tgisinternal AND tgenabled IN ('A', 'R')
      UNION ALL
      SELECT ev_class, 'rule', rulename FROM pg_catalog.pg_rewrite WHERE ev_enabled IN ('A', 'R')) f
JOIN pg_catalog.pg_class c ON c.oid = f.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
ORDER BY what
"""

# Which hash partition a row belongs to depends on the server when the hash is taken of an object id: that of an enum's
# label, or of a `regclass`, also inside an array, range or row type.  An operator class of the user's own may hash
# something else, such as the label's text.  `names`: the table and what it is a partition of.
_HASHED = """
WITH RECURSIVE key AS (
    SELECT p.partrelid AS id, coalesce(a.atttypid, o.opcintype) AS type_id, k.collation_id <> 0 AS is_text
    FROM pg_catalog.pg_partitioned_table p
    CROSS JOIN LATERAL unnest(p.partattrs::int2[], p.partclass::oid[], p.partcollation::oid[])
        AS k(attnum, class_id, collation_id)
    JOIN pg_catalog.pg_opclass o ON o.oid = k.class_id AND o.oid < 16384
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND k.attnum <> 0
    WHERE p.partstrat = 'h'),
level AS (
    SELECT id, type_id, is_text FROM key
    UNION
    SELECT l.id, inner_type.id, l.is_text
    FROM level l JOIN pg_catalog.pg_type t ON t.oid = l.type_id
    CROSS JOIN LATERAL (
        SELECT t.typbasetype WHERE t.typtype = 'd'
        UNION ALL SELECT t.typelem WHERE t.typcategory = 'A'
        UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                  WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS inner_type(id))
SELECT n.nspname AS schema, c.relname AS name, bool_or(l.is_text) AS is_text,
       bool_or(t.typtype = 'e' OR t.oid = 'pg_catalog.anyenum'::regtype OR t.oid = ANY($1::oid[])) AS is_id,
       ARRAY(SELECT ARRAY[an.nspname, a.relname]::text[] FROM pg_catalog.pg_partition_ancestors(c.oid) x
             JOIN pg_catalog.pg_class a ON a.oid = x.relid
             JOIN pg_catalog.pg_namespace an ON an.oid = a.relnamespace) AS names
FROM level l JOIN pg_catalog.pg_type t ON t.oid = l.type_id
JOIN pg_catalog.pg_class c ON c.oid = l.id JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
GROUP BY c.oid, n.nspname, c.relname ORDER BY n.nspname, c.relname
"""
_EXISTING = """
SELECT u.schema, u.name FROM unnest($1::text[], $2::text[]) AS u(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = u.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.name
"""
_CLOSED_SCHEMAS = """
SELECT nspname AS name FROM pg_catalog.pg_namespace
WHERE nspname = ANY($1::text[]) AND NOT has_schema_privilege(oid, 'CREATE')
"""
_MADE = """
SELECT DISTINCT coalesce(table_schema, schema_name) AS schema, coalesce(table_name, name) AS name
FROM towline.structure_item WHERE job_id = $1
AND kind IN ('TABLE', 'FOREIGN TABLE', 'VIEW', 'MATERIALIZED VIEW', 'SEQUENCE')
"""
_PLANNED = "SELECT schema_name AS schema, table_name AS name FROM towline.table_plan WHERE job_id = $1"
_OWN_JOB = "SELECT EXISTS (SELECT 1 FROM towline.job WHERE job_id = $1)"


async def read_known(connection: asyncpg.Connection, *, job_id: str) -> KnownObjects:
    """What the job has already, as its target remembers it."""
    with translated(Side.TARGET, what="reading the job's objects"):
        if not await connection.fetchval("SELECT to_regclass('towline.structure_item') IS NOT NULL"):
            return NOTHING_KNOWN
        planned, made = await connection.fetch(_PLANNED, job_id), await connection.fetch(_MADE, job_id)
    return KnownObjects(*(frozenset(TableName(row["schema"], row["name"]) for row in rows) for rows in (planned, made)))


async def read_source_facts(
    connection: asyncpg.Connection,
    selection: ObjectSelection,
    *,
    feed_prefix: str,
    known: KnownObjects = NOTHING_KNOWN,
) -> SourceFacts:
    """Everything that is asked of the source. `known`: what is passed over."""

    def selects(table: TableName) -> bool:
        return selection.covers(table) or table in selection.views

    with translated(Side.SOURCE, what="looking at the source"):
        server = await _read_server(connection)
        rows = await connection.fetch(_RELATIONS)
        schemas = await connection.fetch(_SCHEMAS, sorted(selection.schemas))
        keys = await connection.fetch(_FOREIGN_KEYS)
        roles = await connection.fetch(_ROLES_IN_USE)
        extensions = await connection.fetch(_EXTENSIONS)
        has_large_objects = bool(await connection.fetchval(_LARGE_OBJECTS))
        replication = await connection.fetchrow(_REPLICATION, feed_prefix)
        passed = known.planned | {_name(row) for row in rows if row["kind"] != b"r"} & known.made
        # A job that has run may also know the names of tables that left it.
        fresh_names = [each for each in selection.names.tables if selects(each.source) and each.source not in passed]
        names = await read_all_names(connection, NameMap(selection.names.schemas, tuple(fresh_names)))
        indexes = await connection.fetch(_INDEXES) if names else []
        firing = await connection.fetch(_FIRING)
        hashed = [
            row for row in await connection.fetch(_HASHED, sorted(OID_ALIASES)) if _is_covered(row, selection, passed)
        ]
    assert replication is not None

    def covers(table: TableName) -> bool:
        return selection.covers(table) and table not in passed

    links = [(TableName(row["schema"], row["name"]), TableName(row["other_schema"], row["other_name"])) for row in keys]
    present = {_name(row) for row in rows}
    wanted = {f"schema {name}" for name in selection.schemas} | set(map(str, selection.tables | selection.views))
    there = {f"schema {row['name']}" for row in schemas} | set(map(str, present))
    out = [link for link in links if covers(link[0]) and not selection.covers(link[1])]
    return SourceFacts(
        server=server,
        relations=tuple(_relation(row) for row in rows if _is_covered(row, selection, passed)),
        foreign_keys_out=tuple(out),
        roles=frozenset(row["name"] for row in roles),
        policy_roles=frozenset(
            row["name"]
            for row in roles
            if row["policy_table"] and covers(TableName(row["policy_schema"], row["policy_table"]))
        ),
        extensions=frozenset(row["name"] for row in extensions),
        has_large_objects=has_large_objects,
        replication=_replication(replication),
        firing=tuple(row["what"] for row in firing if covers(TableName(row["schema"], row["name"]))),
        hashed_by_id=tuple(TableName(row["schema"], row["name"]) for row in hashed if row["is_id"]),
        hashed_by_text=tuple(TableName(row["schema"], row["name"]) for row in hashed if row["is_text"]),
        names=names,
        missing=tuple(each.source for each in fresh_names if each.source not in present),
        indexes=tuple(
            (TableName(row["schema"], row["name"]), table)
            for row in indexes
            if covers(table := TableName(row["schema"], row["table_name"]))
        ),
        unknown=tuple(sorted(wanted - there)),
        has_selected=selection.is_everything or not wanted.isdisjoint(there),
    )


async def read_target_facts(connection: asyncpg.Connection, names: Sequence[TableName], *, job_id: str) -> TargetFacts:
    """Everything that is asked of the target; `names` are those of the relations that the job will create."""
    with translated(Side.TARGET, what="looking at the target"):
        server = await _read_server(connection)
        may_create = await connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')")
        existing = await connection.fetch(_EXISTING, [n.schema for n in names], [n.name for n in names])
        closed = await connection.fetch(_CLOSED_SCHEMAS, sorted({name.schema for name in names}))
        roles = await connection.fetch("SELECT rolname AS name FROM pg_catalog.pg_roles")
        extensions = await connection.fetch("SELECT name FROM pg_catalog.pg_available_extensions")
        firing = await connection.fetch(_FIRING)
        is_ours = bool(await connection.fetchval("SELECT to_regclass('towline.job') IS NOT NULL")) and bool(
            await connection.fetchval(_OWN_JOB, job_id)
        )
    return TargetFacts(
        server=server,
        may_create=bool(may_create),
        triggers_refusal=await _try_triggers_off(connection),
        is_ours=is_ours,
        relations=frozenset(TableName(row["schema"], row["name"]) for row in existing),
        roles=frozenset(row["name"] for row in roles),
        extensions=frozenset(row["name"] for row in extensions),
        closed_schemas=frozenset(row["name"] for row in closed),
        firing=tuple(row["what"] for row in firing if TableName(row["schema"], row["name"]) in set(names)),
    )


async def _read_server(connection: asyncpg.Connection) -> ServerFacts:
    row = await connection.fetchrow(_SERVER)
    assert row is not None
    facts = dict(row)
    clock_ahead_s = facts.pop("now_s") - time.time()
    return ServerFacts(**facts, clock_ahead_s=clock_ahead_s)


async def _try_triggers_off(connection: asyncpg.Connection) -> str:
    """Managed services allow it in ways of their own, so the answer comes from trying."""
    try:
        with translated(Side.TARGET, what="switching triggers off"):
            await connection.execute("SET session_replication_role = replica; RESET session_replication_role")
    except (MissingPrivilege, UnclassifiedError) as error:
        return error.message
    return ""


def _is_covered(row: asyncpg.Record, selection: ObjectSelection, passed: Collection[TableName]) -> bool:
    """Selected itself, or a partition of a selected table; not one that is passed over."""
    if _name(row) in passed:
        return False
    return _name(row) in selection.views or any(selection.covers(TableName(*name)) for name in row["names"])


def _name(row: asyncpg.Record) -> TableName:
    return TableName(row["schema"], row["name"])


def _relation(row: asyncpg.Record) -> Relation:
    return Relation(
        name=TableName(row["schema"], row["name"]),
        kind=row["kind"].decode(),
        is_logged=row["is_logged"],
        identity=row["identity"].decode(),
        has_key=row["has_key"],
        has_unsent_key=row["has_unsent_key"],
        is_readable=row["is_readable"],
        is_owned=row["is_owned"],
        hides_rows=row["hides_rows"],
    )


def _replication(row: asyncpg.Record) -> ReplicationFacts:
    kept = row["max_kept_wal_mb"]  # version 12 does not have the setting: it never drops a slot's log
    return ReplicationFacts(
        wal_level=row["wal_level"],
        free_slots=row["free_slots"],
        free_senders=row["free_senders"],
        max_kept_wal_mb=-1 if kept is None else kept,
        max_unused_s=row["max_unused_s"] or 0,  # from version 18 on
        has_slot=row["has_slot"],
        may_replicate=row["may_replicate"],
        may_create=row["may_create"],
    )
