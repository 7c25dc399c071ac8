"""The prechecks' verdicts. Pure: facts in, one item per test out, with what the operator does about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from towline.adapters.mysql.check_facts import ServerFacts, SourceFacts, TargetFacts
from towline.adapters.mysql.collations import Collations, find_looser_keys
from towline.adapters.mysql.create_table import adapt
from towline.adapters.mysql.flavor import Flavor
from towline.domain.jobs import TaskMode
from towline.domain.pair_checks import KEY_COLLATIONS, judge_clocks, judge_room
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.renames import judge_renames
from towline.domain.tables import TableName

_VERSION, _PRIVILEGE, _PARAMS = "db_version", "db_user_privilege", "db_params"
_TARGET_STATUS, _CONFLICT = "db_target_status", "db_object_conflict_check"
_NAMES_SHOWN = 5
_SMALL_PACKET_BYTES = 16 * 1024 * 1024
_SHORT_RETENTION_S = 86_400
_ENGINES = frozenset({"innodb", "myisam", "aria", "memory", "archive", "csv", "rocksdb"})
_TRANSACTIONAL = frozenset({"innodb", "rocksdb"})
_PARAMETERS = (
    *("auto_increment_increment", "auto_increment_offset", "explicit_defaults_for_timestamp", "event_scheduler"),
    # Of a division; a generated column may have one, and is computed on each side.
    "div_precision_increment",
    *("group_concat_max_len", "innodb_default_row_format"),
)
# What it takes to create the objects of a kind; nothing of it is needed before the rows are there.
_CREATING = {"view": "CREATE VIEW", "function": "CREATE ROUTINE", "procedure": "CREATE ROUTINE", "event": "EVENT"}
# Since when MariaDB has the types that MySQL does not.
_MARIADB_TYPES = {"inet6": (10, 5), "uuid": (10, 7), "inet4": (10, 10)}
_WRITING = ("CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE", "SELECT", "INDEX", "REFERENCES")


def judge_source(facts: SourceFacts, *, mode: TaskMode) -> list[PrecheckItem]:
    items = [
        _judge_version(facts.server, "src"),
        _judge_selection(facts),
        *([_judge_renames(facts)] if facts.names else []),
        _judge_reading(facts),
        _judge_engines(facts),
        _judge_parents(facts),
        _judge_routines(facts),
        _judge_versioning(facts, follows=mode is not TaskMode.FULL),
    ]
    if mode is not TaskMode.FULL:
        items += [
            _judge_following(facts.server),
            _judge_binlog(facts.server),
            _judge_format(facts.server),
            _judge_row_image(facts.server),
            _judge_server_id(facts.server),
            _judge_retention(facts.server),
            _judge_replica_updates(facts.server),
            _judge_gtids(facts.server),
            _judge_keys(facts),
            _judge_cascades(facts),
            _judge_code(facts),
        ]
    return items


def judge_target(facts: TargetFacts, *, mode: TaskMode) -> list[PrecheckItem]:
    items = [
        _judge_version(facts.server, "dst"),
        _judge_writing(facts.server),
        _judge_writable(facts.server),
        _judge_packet(facts.server),
    ]
    if mode is not TaskMode.FULL and facts.triggers:
        items.append(
            _failed(
                "dstTriggersCheck",
                _PARAMS,
                "DST_TRIGGERS_FIRE",
                f"Triggers on the target would fire again for streamed changes: {_names(facts.triggers)}.",
                "Drop them until the switch-over.",
            )
        )
    return items


def judge_both(
    source: SourceFacts, target: TargetFacts, *, mode: TaskMode, replaces_owners: bool = False
) -> list[PrecheckItem]:
    """`replaces_owners`: everything is to belong to the target's account."""
    items = [
        _judge_version_pair(source.server, target.server),
        _judge_same_server(source.server, target.server),
        _judge_collations(source, target),
        _judge_case(source.server, target.server),
        judge_clocks(source.server.clock_ahead_s, target.server.clock_ahead_s),
        _judge_definers(source.definers - {target.account} if not replaces_owners else frozenset(), target),
        _compare(source, target, "collation_server", "dbCollationServerConsistency"),
        _compare(source, target, "innodb_strict_mode", "innodbStrictModeConsistency"),
        _compare_modes(source.server, target.server),
        _compare_isolation(source.server, target.server),
        _compare_parameters(source.server, target.server),
    ]
    if mode is not TaskMode.STREAM:
        items += [
            judge_conflicts(target),
            _judge_object_conflicts(source, target),
            judge_room(
                sum(table.size_bytes for table in source.tables), free_bytes=target.free_bytes, has_job=target.has_job
            ),
            _judge_keyless(source, target.server),
            _judge_creating(source, target.server),
            _judge_creators(source, target.server),
            _judge_features(source, target),
            _judge_logins(source, target),
        ]
    return items


# --- one side ---------------------------------------------------------------------------------------


def _judge_version(server: ServerFacts, prefix: str) -> PrecheckItem:
    item = f"{prefix}DbVersionSupport"
    flavor = server.flavor
    is_known = (10, 6) <= flavor.version[:2] < (12, 0) if flavor.is_mariadb else (5, 7) <= flavor.version[:2] < (10, 0)
    if is_known:
        return _passed(item, _VERSION)
    reason = f"{prefix.upper()}_VERSION_NOT_SUPPORTED"
    remedy = "Use MySQL 5.7 to 9, or MariaDB 10.6 to 11."
    return _failed(item, _VERSION, reason, f"{flavor} is not supported.", remedy)


def _judge_selection(facts: SourceFacts) -> PrecheckItem:
    item = "userSelectObjectsCheck"
    if not facts.missing:
        return _passed(item)
    message = f"The source does not have, or its account may not see: {_names(facts.missing)}."
    return _failed(item, _PARAMS, "SELECTED_OBJECTS_MISSING", message, "Correct the names, or grant SELECT on them.")


def _judge_renames(facts: SourceFacts) -> PrecheckItem:
    there = facts.names_there()
    missing = [
        each.source
        for each in facts.names.tables
        if each.source not in there and f"view {each.target}" not in facts.objects
    ]
    return judge_renames(there, missing=_names(missing))


def _judge_reading(facts: SourceFacts) -> PrecheckItem:
    item = "srcDbPrivilegesIsEnough"
    server = facts.server
    if facts.unreadable_tables:
        message = f"The source account may not read all columns of {_names(facts.unreadable_tables)}."
        return _failed(item, _PRIVILEGE, "SRC_TABLES_NOT_READABLE", message, "GRANT SELECT on them to it.")
    if not server.may("RELOAD", "FLUSH_TABLES") and not server.flavor.is_mariadb and not server.may("LOCK TABLES"):
        return _warning(
            item,
            _PRIVILEGE,
            "SRC_NO_LOCK_PRIVILEGE",
            "The source account has neither RELOAD nor LOCK TABLES for all databases; without LOCK TABLES on the "
            "job's databases no consistent snapshot is possible.",
            "GRANT RELOAD ON *.* to it.",
        )
    return _passed(item, _PRIVILEGE)


def _judge_following(server: ServerFacts) -> PrecheckItem:
    item = "srcDbPrivilegesIsEnoughForIncre"
    if not server.may("REPLICATION SLAVE", "REPLICATION REPLICA"):
        return _failed(
            item,
            _PRIVILEGE,
            "SRC_NO_REPLICATION_PRIVILEGE",
            "The source account may not read the binlog.",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* to it.",
        )
    if not server.may("REPLICATION CLIENT", "BINLOG MONITOR", "SUPER"):
        remedy = f"GRANT {'BINLOG MONITOR' if server.flavor.is_mariadb else 'REPLICATION CLIENT'} ON *.* to it."
        message = "The source account may not see the binlog's position."
        return _failed(item, _PRIVILEGE, "SRC_NO_BINLOG_STATUS_PRIVILEGE", message, remedy)
    return _passed(item, _PRIVILEGE)


def _judge_binlog(server: ServerFacts) -> PrecheckItem:
    item = "srcDbBinlogIsOff"
    if server.variable("log_bin") == "ON":
        return _passed(item)
    remedy = "Set log_bin on the source and restart it."
    return _failed(item, _PARAMS, "SRC_BINLOG_IS_OFF", "The source writes no binlog.", remedy)


def _judge_format(server: ServerFacts) -> PrecheckItem:
    item = "srcBinlogFormatCheck"
    value = server.variable("binlog_format") or "ROW"
    if value == "ROW":
        return _passed(item)
    remedy = "SET GLOBAL binlog_format = ROW on the source; sessions that are open must reconnect."
    return _failed(item, _PARAMS, "SRC_BINLOG_FORMAT_NOT_ROW", f"binlog_format is {value}.", remedy)


def _judge_row_image(server: ServerFacts) -> PrecheckItem:
    item = "srcBinlogRowImageCheck"
    value = server.variable("binlog_row_image") or "FULL"
    if value == "FULL":
        return _passed(item)
    remedy = "SET GLOBAL binlog_row_image = FULL on the source; sessions that are open must reconnect."
    return _failed(item, _PARAMS, "SRC_BINLOG_ROW_IMAGE_NOT_FULL", f"binlog_row_image is {value}.", remedy)


def _judge_server_id(server: ServerFacts) -> PrecheckItem:
    item = "srcDbServerIdCheck"
    if server.variable("server_id") not in ("", "0"):
        return _passed(item)
    remedy = "Give the source a server_id above 0."
    return _failed(item, _PARAMS, "SRC_SERVER_ID_IS_ZERO", "The source's server_id is 0.", remedy)


def _judge_retention(server: ServerFacts) -> PrecheckItem:
    item = "srcDbBinlogExpireLogsDays"
    seconds = server.variable("binlog_expire_logs_seconds")
    days = server.variable("expire_logs_days")
    kept_s = float(seconds or 0) or float(days or 0) * 86_400
    if kept_s == 0 or kept_s >= _SHORT_RETENTION_S:
        return _passed(item)
    message = f"The source keeps its binlog for {kept_s / 3600:.1f} hours; a longer pause loses the job's position."
    return _warning(item, _PARAMS, "SRC_BINLOG_KEPT_SHORTLY", message, "Raise binlog_expire_logs_seconds.")


def _judge_replica_updates(server: ServerFacts) -> PrecheckItem:
    item = "srclogSlaveUpdatesCheck"
    value = server.variable("log_replica_updates") or server.variable("log_slave_updates")
    if value != "OFF":
        return _passed(item)
    message = "Changes that come to the source by replication are not in its binlog."
    return _warning(
        item, _PARAMS, "SRC_LOG_REPLICA_UPDATES_OFF", message, "If the source is a replica: log_replica_updates = ON."
    )


def _judge_gtids(server: ServerFacts) -> PrecheckItem:
    item = "srcGtidConsistencyCheck"
    mode = server.variable("gtid_mode")
    if mode.endswith("_PERMISSIVE"):
        message = f"gtid_mode is {mode}; transactions with and without GTIDs cannot be followed by one position."
        return _warning(item, _PARAMS, "SRC_GTID_MODE_PERMISSIVE", message, "SET GLOBAL gtid_mode = ON on the source.")
    writers: dict[str, int] = {}
    for entry in filter(None, "".join(server.variable("gtid_binlog_state").split()).split(",")):
        domain = entry.partition("-")[0]
        writers[domain] = writers.get(domain, 0) + 1
    shared = [domain for domain, servers in writers.items() if servers > 1]
    if shared and server.variable("gtid_strict_mode") != "ON":
        message = (
            f"Several servers have written in GTID domain {', '.join(shared)}; a number that goes back stops a job."
        )
        remedy = "Let one server write at a time, or give each writer a gtid_domain_id; gtid_strict_mode = ON holds it."
        return _warning(item, _PARAMS, "SRC_GTID_DOMAIN_SHARED", message, remedy)
    return _passed(item)


def _judge_engines(facts: SourceFacts) -> PrecheckItem:
    item = "srcDbExistUnsupportEngineTable"
    unknown = sorted(name for name, engine in facts.engines.items() if engine.lower() not in _ENGINES)
    if unknown:
        message = f"These tables have an engine that is not supported: {_names(unknown)}."
        return _failed(item, _PARAMS, "SRC_ENGINE_NOT_SUPPORTED", message, "Convert them, or leave them out.")
    loose = sorted(name for name, engine in facts.engines.items() if engine.lower() not in _TRANSACTIONAL)
    if loose:
        # The target's tables would be of the same engine: what is interrupted there could not be taken back (I1, I5).
        message = f"Rows of these tables cannot be written in transactions: {_names(loose)}."
        remedy = "ALTER TABLE ... ENGINE = InnoDB on the source, or leave them out."
        return _failed(item, _PARAMS, "SRC_ENGINE_NOT_TRANSACTIONAL", message, remedy)
    return _passed(item)


def _judge_cascades(facts: SourceFacts) -> PrecheckItem:
    """What a foreign key does to child rows may be done below the binlog; see `cascades`."""
    item = "srcForeignKeyActionCheck"
    if facts.server.logs_cascades or not facts.cascading:
        return _passed(item)
    message = f"Foreign keys change rows of these tables without a word in the binlog: {_names(list(facts.cascading))}."
    remedy = "Leave these tables out, give their keys ON DELETE and ON UPDATE RESTRICT, or copy without following."
    return _failed(item, _PARAMS, "SRC_FOREIGN_KEY_CASCADES", message, remedy)


def _judge_versioning(facts: SourceFacts, *, follows: bool) -> PrecheckItem:
    """Old rows of such a table look like new ones in the binlog, and only those of now are copied."""
    item = "srcSystemVersioningCheck"
    versioned = facts.features.versioned
    if not versioned:
        return _passed(item)
    if follows:
        message = f"Changes of tables with system versioning cannot be followed: {_names(versioned)}."
        remedy = "Leave these tables out, drop their system versioning, or copy without following."
        return _failed(item, _PARAMS, "SRC_HAS_SYSTEM_VERSIONING", message, remedy)
    message = f"Only the rows of now are moved of tables with system versioning: {_names(versioned)}."
    return _warning(item, _PARAMS, "SRC_HISTORY_NOT_MOVED", message, "Keep the source for as long as old rows count.")


def _judge_parents(facts: SourceFacts) -> PrecheckItem:
    item = "hasForeignKeyOnUnselectedTable"
    if not facts.foreign_parents:
        return _passed(item)
    shown = ", ".join(f"{child} to {parent}" for child, parent in facts.foreign_parents[:_NAMES_SHOWN])
    message = f"Foreign keys lead out of the job: {shown}."
    return _warning(item, _PARAMS, "FOREIGN_KEY_ON_UNSELECTED_TABLE", message, "Select those tables, too.")


def _judge_routines(facts: SourceFacts) -> PrecheckItem:
    item = "srcRoutinesWithoutPrivilegeCheck"
    if not facts.unreadable_routines:
        return _passed(item)
    message = f"The source account may not read {facts.unreadable_routines} routines; they will be missing."
    remedy = "GRANT SHOW_ROUTINE (MySQL) or SELECT on mysql.proc (MariaDB) to it."
    return _warning(item, _PARAMS, "SRC_ROUTINES_NOT_READABLE", message, remedy)


def _judge_keys(facts: SourceFacts) -> PrecheckItem:
    item = "srcTablesWithoutKey"
    without = [table.name for table in facts.tables if not table.key]
    if not without:
        return _passed(item)
    message = f"Tables without a primary key or a unique key without NULLs are followed row by row: {_names(without)}."
    return _warning(item, _PARAMS, "SRC_TABLES_WITHOUT_KEY", message, "Give them a primary key, if they change a lot.")


def _judge_code(facts: SourceFacts) -> PrecheckItem:
    item = "srcTriggerAndEventCheck"
    if not facts.code:
        return _passed(item)
    message = (
        "Triggers come to the target when the job ends, as they are on the source then; events act there from then on."
    )
    remedy = (
        "Leave both on the source until the job has ended, and end it before applications write to the target; events"
        " need event_scheduler = ON there."
    )
    return _warning(item, _PARAMS, "SRC_HAS_TRIGGERS_OR_EVENTS", message, remedy)


def _judge_writing(server: ServerFacts) -> PrecheckItem:
    item = "dstDbPrivilegesIsEnough"
    missing = [privilege for privilege in _WRITING if not server.may(privilege)]
    if not missing:
        return _passed(item, _PRIVILEGE)
    message = f"The target account lacks, for all databases: {', '.join(missing)}."
    remedy = "GRANT them ON *.*, or at least on the job's databases and on the database towline."
    return _warning(item, _PRIVILEGE, "DST_PRIVILEGES_NOT_ENOUGH", message, remedy)


def _judge_writable(server: ServerFacts) -> PrecheckItem:
    item = "dstStatusCheck"
    if "ON" in (server.variable("read_only"), server.variable("super_read_only")):
        remedy = "Use the address of the primary server, or switch its read-only setting off."
        return _failed(item, _TARGET_STATUS, "DST_IS_READ_ONLY", "The target is read-only.", remedy)
    if server.variable("local_infile") == "OFF":
        message = "The target refuses LOAD DATA LOCAL, by which rows are copied."
        return _failed(
            item, _TARGET_STATUS, "DST_LOCAL_INFILE_OFF", message, "SET GLOBAL local_infile = ON on the target."
        )
    return _passed(item, _TARGET_STATUS)


def _judge_packet(server: ServerFacts) -> PrecheckItem:
    item = "dstMaxAllowedPacketCheck"
    size = int(server.variable("max_allowed_packet") or 0)
    if size >= _SMALL_PACKET_BYTES:
        return _passed(item)
    message = f"max_allowed_packet of the target is {size} bytes; larger rows cannot be written."
    return _warning(item, _PARAMS, "DST_MAX_ALLOWED_PACKET_SMALL", message, "Raise it to 64 MB on the target.")


# --- both sides -------------------------------------------------------------------------------------


def _judge_version_pair(source: ServerFacts, target: ServerFacts) -> PrecheckItem:
    item = "dbVersionMeetRequirement"
    same = source.flavor.is_mariadb == target.flavor.is_mariadb
    if same and source.flavor.version[:2] <= target.flavor.version[:2]:
        return _passed(item, _VERSION)
    message = (
        f"From {source.flavor} to {target.flavor}: what the target does not know stops the job while it creates"
        " tables, or is left out and reported."
    )
    return _warning(
        item, _VERSION, "TARGET_OLDER_OR_OTHER_PRODUCT", message, "Try the structure on an empty target first."
    )


def _judge_same_server(source: ServerFacts, target: ServerFacts) -> PrecheckItem:
    item = "dbServerUuidConsistency"
    if source.identity != target.identity:
        return _passed(item)
    message = "Source and target are the same server, or copies of each other with the same identity."
    return _failed(
        item,
        _PARAMS,
        "SAME_SERVER",
        message,
        "Check the addresses; a cloned server needs a server_uuid (MariaDB: server_id) of its own.",
    )


def _judge_collations(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "dbCharacterSetConsistency"
    missing = []
    # What the other product refuses of code is left out and told.
    is_foreign = source.server.flavor.is_mariadb != target.server.flavor.is_mariadb
    for name in sorted(source.collations | (frozenset() if is_foreign else source.code_collations)):
        adapted, _ = adapt(name, source.server.flavor, target.server.flavor)
        if not _has_collation(target, adapted):
            missing.append(name)
    if not missing:
        return _passed(item)
    message = f"The target does not know these collations of the source: {', '.join(missing[:_NAMES_SHOWN])}."
    return _failed(
        item,
        _PARAMS,
        "COLLATION_UNKNOWN",
        message,
        "Change the collation of tables and routines, or use a newer target.",
    )


def _has_collation(target: TargetFacts, name: str) -> bool:
    # MariaDB lists the newer ones without their character set.
    return name in target.collations or name.partition("_")[2] in target.collations


def _judge_case(source: ServerFacts, target: ServerFacts) -> PrecheckItem:
    item = "srcDstTableNameCaseSensitiveCheck"
    mine, other = source.variable("lower_case_table_names"), target.variable("lower_case_table_names")
    if mine == other:
        return _passed(item)
    message = f"lower_case_table_names is {mine} on the source and {other} on the target."
    return _failed(item, _PARAMS, "TABLE_NAME_CASE_DIFFERS", message, "Use a target with the source's setting.")


def judge_key_collations(
    source: Mapping[TableName, Collations], target: Mapping[TableName, Collations], *, has_job: bool
) -> PrecheckItem:
    """Of tables that the target has: columns of keys, both by the target's names of the tables.

    `has_job`: they are the job's own. The source may have altered its keys since, which the stream will bring.
    """
    item = KEY_COLLATIONS
    loose = [
        f"{table}.{column} ({target[table][column]})"
        for table in sorted(target)
        for column in find_looser_keys(target[table], source.get(table, {}))
    ]
    if not loose:
        return _passed(item)
    message = (
        f"Keys of the target take values for equal that differ on the source, so that rows get lost: {_names(loose)}."
    )
    remedy = (
        "Give these columns the source's collation on the target (ALTER TABLE ... MODIFY), or drop the tables there."
    )
    verdict = _warning if has_job else _failed
    return verdict(item, _PARAMS, "DST_KEY_COLLATION_LOOSER", message, remedy)


def judge_case_of_names(names: Iterable[TableName], target: ServerFacts) -> PrecheckItem:
    """For a source that tells names in capital and small letters apart. `names`: those of tables on the target."""
    item = "srcDstTableNameCaseSensitiveCheck"
    if not target.ignores_case_of_names:
        return _passed(item)
    alike: dict[TableName, list[TableName]] = {}
    for name in names:
        alike.setdefault(target.known_name(name), []).append(name)
    same = [found for found in alike.values() if len(found) > 1]
    if same:
        message = f"On the target these would be one table: {' and '.join(map(str, same[0]))}."
        remedy = "Use a target with lower_case_table_names = 0, or give one of them another name."
        return _failed(item, _PARAMS, "TABLE_NAMES_COLLIDE", message, remedy)
    changed = [name for small, (name,) in alike.items() if name != small]
    if not changed:
        return _passed(item)
    message = (
        f"The target does not tell capitals in names from small letters; it may not keep these: {_names(changed)}."
    )
    remedy = "Use a target with lower_case_table_names = 0, if applications need them."
    return _warning(item, _PARAMS, "TABLE_NAME_CASE_DIFFERS", message, remedy)


def _judge_definers(definers: frozenset[str], target: TargetFacts) -> PrecheckItem:
    """`definers`: those that are to be kept, and are not the target's account itself."""
    item = "userRequirementIsEnoughForDefiner"
    if not definers:
        return _passed(item)
    is_mariadb = target.server.flavor.is_mariadb
    if not target.server.may("SET USER" if is_mariadb else "SET_ANY_DEFINER", "SET_USER_ID", "SUPER"):
        message = f"What belongs to these definers would belong to the target's account: {_names(sorted(definers))}."
        remedy = f"GRANT {'SET USER' if is_mariadb else 'SET_ANY_DEFINER'} ON *.* to it, if it shall stay theirs."
        return _warning(item, _PARAMS, "DST_MAY_NOT_SET_DEFINERS", message, remedy)
    if target.accounts is None:
        message = f"The target does not show whether it has these definers: {_names(sorted(definers))}."
        remedy = "GRANT SELECT ON mysql.user to its account, or look there yourself."
        return _warning(item, _PARAMS, "DST_DEFINERS_NOT_SHOWN", message, remedy)
    missing = sorted(definers - target.accounts)
    if not missing:
        return _passed(item)
    message = (
        f"Views, routines, triggers or events belong to accounts that the target does not have: {_names(missing)}."
    )
    remedy = "Create these accounts on the target, or let the job replace definers by the target's account."
    return _warning(item, _PARAMS, "DEFINER_MISSING", message, remedy)


def _compare(source: SourceFacts, target: TargetFacts, variable: str, item: str) -> PrecheckItem:
    mine, other = source.server.variable(variable), target.server.variable(variable)
    if mine == other:
        return _passed(item)
    message = f"{variable} is {mine} on the source and {other} on the target."
    remedy = "Copied objects keep the source's; set it alike for those created later."
    return _warning(item, _PARAMS, f"{variable.upper()}_DIFFERS", message, remedy)


def _compare_modes(source: ServerFacts, target: ServerFacts) -> PrecheckItem:
    item = "sqlModeConsistency"
    mine, other = (set(server.variable("sql_mode").split(",")) - {""} for server in (source, target))
    if mine == other:
        return _passed(item)
    shown = ", ".join(sorted(mine ^ other))
    message = f"sql_mode differs in {shown}; Towline's own sessions do not depend on it, your applications may."
    return _warning(item, _PARAMS, "SQL_MODE_DIFFERS", message, "Set it alike before the switch-over.")


def judge_conflicts(target: TargetFacts) -> PrecheckItem:
    item = "srcTableAlreadyExistedInDstTable"
    if target.has_job or not target.present:
        return _passed(item, _CONFLICT)
    message = f"The target already has {_names(sorted(target.present))}."
    remedy = "Drop them on the target, or choose another one."
    return _failed(item, _CONFLICT, "TABLE_ALREADY_EXISTED_IN_TARGET", message, remedy)


def _judge_object_conflicts(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "srcViewAlreadyExistedInDstView"
    both = sorted(source.objects & target.objects)
    if target.has_job or not both:
        return _passed(item, _CONFLICT)
    message = f"The target already has {_names(both)}."
    remedy = "Drop them on the target, or choose another one."
    return _failed(item, _CONFLICT, "OBJECT_ALREADY_EXISTED_IN_TARGET", message, remedy)


def _judge_keyless(source: SourceFacts, target: ServerFacts) -> PrecheckItem:
    item = "srcHasNoPkTableWhenTgtHasInvisiblePk"
    without = [table.name for table in source.tables if not table.key]
    if not without or "ON" not in (
        target.variable("sql_require_primary_key"),
        target.variable("sql_generate_invisible_primary_key"),
    ):
        return _passed(item)
    if target.variable("sql_require_primary_key") == "ON":
        message = f"The target takes no tables without a primary key: {_names(without)}."
        remedy = "Give them a primary key, or SET GLOBAL sql_require_primary_key = OFF on the target."
        return _failed(item, _PARAMS, "DST_REQUIRES_PRIMARY_KEY", message, remedy)
    message = f"The target would give these tables an invisible key of its own: {_names(without)}."
    remedy = "SET GLOBAL sql_generate_invisible_primary_key = OFF on the target, if they shall stay alike."
    return _warning(item, _PARAMS, "DST_GENERATES_PRIMARY_KEY", message, remedy)


def _judge_creating(source: SourceFacts, target: ServerFacts) -> PrecheckItem:
    item = "dstDbPrivilegesIsEnoughForObjects"
    kinds = [name.partition(" ")[0] for name in source.objects]
    needed = {_CREATING[kind] for kind in kinds if kind in _CREATING}
    if source.code > kinds.count("event"):
        needed.add("TRIGGER")
    missing = sorted(privilege for privilege in needed if not target.may(privilege))
    if not missing:
        return _passed(item, _PRIVILEGE)
    message = f"The target account lacks, for all databases, what objects after the rows take: {', '.join(missing)}."
    remedy = "GRANT them ON *.*, or at least on the job's databases."
    return _warning(item, _PRIVILEGE, "DST_OBJECT_PRIVILEGES_NOT_ENOUGH", message, remedy)


def _judge_creators(source: SourceFacts, target: ServerFacts) -> PrecheckItem:
    item = "dstTrustFunctionCreatorsCheck"
    has_code = source.code or any(name.startswith("function ") for name in source.objects)
    is_free = target.variable("log_bin") != "ON" or target.variable("log_bin_trust_function_creators") == "ON"
    if not has_code or is_free or target.may("SUPER"):
        return _passed(item)
    message = "The target's account may not create triggers and functions while its server writes a binlog."
    remedy = "SET GLOBAL log_bin_trust_function_creators = ON on the target."
    return _warning(item, _PARAMS, "DST_TRUSTS_NO_CREATORS", message, remedy)


def _judge_features(source: SourceFacts, facts: TargetFacts) -> PrecheckItem:
    """What of the tables the target cannot hold; the job would find it out itself, some of it after the rows."""
    item = "dstFeaturesMeetRequirement"
    features, target = source.features, facts.server.flavor
    is_foreign = source.server.flavor.is_mariadb != target.is_mariadb
    engines = _TRANSACTIONAL - facts.engines
    plugins = [f"{table} (engine {each})" for table, each in source.engines.items() if each.lower() in engines]
    if not is_foreign:
        plugins += [f"{index} (parser {each})" for each, index in features.parsers if each.lower() not in facts.plugins]
    if plugins:
        message = f"The target lacks plugins that the source's tables use: {_names(plugins)}."
        remedy = "Install these plugins on the target, change these tables on the source, or leave them out."
        return _failed(item, _VERSION, "DST_PLUGINS_MISSING", message, remedy)
    in_the_way = [f"{column} ({kind})" for kind, column in features.types if not _has_type(target, kind)]
    in_the_way += [f"{table} (system versioning)" for table in features.versioned if not target.is_mariadb]
    if in_the_way:
        message = f"{target} does not know what the source's tables use: {_names(in_the_way)}."
        remedy = "Change these tables on the source, or leave them out."
        return _failed(item, _VERSION, "DST_FEATURES_MISSING", message, remedy)
    left_out = [] if target.is_mysql_from(8, 0, 13) else list(features.expression_indexes)
    left_out += [f"{index} (parser {each})" for each, index in features.parsers] if is_foreign else []
    if not left_out:
        return _passed(item, _VERSION)
    message = f"The job leaves out indexes of expressions and with parsers that {target} does not know: "
    message += f"{_names(left_out)}."
    remedy = (
        "Give a generated column an index in place of an expression, or the target another index, if queries need it."
    )
    return _warning(item, _VERSION, "DST_FEATURES_LEFT_OUT", message, remedy)


def _judge_logins(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "dstAccountPluginsCheck"
    missing = [f"{account} ({plugin})" for plugin, account in source.logins if plugin not in target.plugins]
    if not missing or source.server.flavor.is_mariadb != target.server.flavor.is_mariadb:
        return _passed(item)
    message = f"Accounts log in by plugins that the target lacks, and would be left out: {_names(missing)}."
    remedy = "Install these plugins on the target, or give the accounts passwords of the job's own."
    return _warning(item, _PARAMS, "DST_ACCOUNT_PLUGINS_MISSING", message, remedy)


def _has_type(target: Flavor, kind: str) -> bool:
    if kind == "vector":
        return target.is_mysql_from(9) or target.is_mariadb_from(11, 7)
    return target.is_mariadb_from(*_MARIADB_TYPES[kind])


def _compare_isolation(source: ServerFacts, target: ServerFacts) -> PrecheckItem:
    item = "dbIsolationLevelConsistency"
    mine, other = (s.variable("transaction_isolation") or s.variable("tx_isolation") for s in (source, target))
    if mine == other:
        return _passed(item)
    message = f"The isolation level is {mine} on the source and {other} on the target; applications may depend on it."
    return _warning(item, _PARAMS, "ISOLATION_LEVEL_DIFFERS", message, "Set it alike before the switch-over.")


def _compare_parameters(source: ServerFacts, target: ServerFacts) -> PrecheckItem:
    item = "dbParamConsistency"
    pairs = {name: (source.variable(name), target.variable(name)) for name in _PARAMETERS}
    pairs["time_zone"] = (_time_zone(source), _time_zone(target))
    different = [
        f"{name} ({mine}, {other})" for name, (mine, other) in pairs.items() if mine and other and mine != other
    ]
    if not different:
        return _passed(item)
    message = f"These differ between source and target: {'; '.join(different)}."
    remedy = "Rows are copied as they are; set them alike before applications move."
    return _warning(item, _PARAMS, "PARAMETERS_DIFFER", message, remedy)


def _time_zone(server: ServerFacts) -> str:
    zone = server.variable("time_zone")
    return server.variable("system_time_zone") if zone == "SYSTEM" else zone


# --- words ------------------------------------------------------------------------------------------


def _names(names: Iterable[object]) -> str:
    shown = [str(name) for name in names]
    more = f" and {len(shown) - _NAMES_SHOWN} more" if len(shown) > _NAMES_SHOWN else ""
    return ", ".join(shown[:_NAMES_SHOWN]) + more


def _passed(item: str, group: str = _PARAMS) -> PrecheckItem:
    return PrecheckItem(item, group, Verdict.PASSED)


def _warning(item: str, group: str, reason: str, message: str, remedy: str) -> PrecheckItem:
    return PrecheckItem(item, group, Verdict.WARNING, reason, message, remedy)


def _failed(item: str, group: str, reason: str, message: str, remedy: str) -> PrecheckItem:
    return PrecheckItem(item, group, Verdict.FAILED, reason, message, remedy)
