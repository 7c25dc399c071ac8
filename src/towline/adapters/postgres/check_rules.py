"""The prechecks' verdicts. Pure: facts in, one item per test out, with what the operator does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from towline.adapters.postgres.check_facts import Relation, SourceFacts, TargetFacts
from towline.adapters.postgres.missing_features import MissingFeature
from towline.domain.jobs import TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.renames import judge_renames

OLDEST_MAJOR, NEWEST_MAJOR = 12, 18
_NAMES_SHOWN = 5

_VERSION, _PRIVILEGE, _PARAMS = "db_version", "db_user_privilege", "db_params"
_TARGET_STATUS, _DEPENDENCY = "db_target_status", "db_object_dependency_check"
_CONFLICT = "db_object_conflict_check"


def judge_source(facts: SourceFacts, *, mode: TaskMode, missing_program: str) -> list[PrecheckItem]:
    """Items that need the source alone. `missing_program`: why its structure cannot be read, "" if it can."""
    items = [
        _judge_version(facts.server.major, "src", missing_program),
        _judge_selection(facts),
        _judge_reading(facts.relations),
        _judge_foreign_keys(facts),
        _judge_large_objects(facts),
        _judge_hash_partitions(facts),
    ]
    if facts.names:
        items.append(judge_renames(facts.names_there(), missing=_list(list(map(str, facts.missing)))))
    if mode is not TaskMode.FULL:
        items += [rule(facts) for rule in _FOLLOW_RULES]
    return items


def judge_target(facts: TargetFacts, *, mode: TaskMode) -> list[PrecheckItem]:
    """Items that need the target alone."""
    items = [
        _judge_version(facts.server.major, "dst", ""),
        _judge_writing(facts),
        _judge_target_status(facts),
    ]
    if mode is not TaskMode.FULL:
        items.append(_judge_triggers(facts.firing, "dst"))
    return items


def judge_both(source: SourceFacts, target: TargetFacts, *, mode: TaskMode) -> list[PrecheckItem]:
    """Items that compare the two sides."""
    items = [
        _judge_version_pair(source, target),
        _judge_encoding(source, target),
        _judge_hash_of_text(source, target),
        _judge_collation(source, target),
        _judge_extensions(source, target),
        _judge_roles(source, target),
    ]
    if mode is not TaskMode.STREAM:
        items.append(_judge_conflicts(source, target))
    return items


def judge_features(missing: Sequence[MissingFeature]) -> PrecheckItem:
    """Whether the target can hold what the source has; what is left out is told, the rest stops the job here."""
    item = "dstFeaturesMeetRequirement"
    in_the_way = [each for each in missing if not each.is_left_out]
    if in_the_way:
        return _failed(
            item,
            _VERSION,
            "DST_FEATURES_MISSING",
            f"The target's version does not know what the source uses: {_list_features(in_the_way)}.",
            f"Use a newer target, leave these objects out, or: {'; '.join(_remedies(in_the_way))}.",
        )
    if missing:
        return _warning(
            item,
            _VERSION,
            "DST_FEATURES_LEFT_OUT",
            f"The target's version does not know, and will do without: {_list_features(missing)}.",
            "; ".join(["Use a newer target if it needs them", *_remedies(missing)]) + ".",
        )
    return _passed(item, _VERSION)


def _list_features(missing: Sequence[MissingFeature]) -> str:
    return "; ".join(f"{each.what}: {_list(list(each.objects))}" for each in missing)


def _remedies(missing: Sequence[MissingFeature]) -> list[str]:
    return list(dict.fromkeys(each.remedy for each in missing if each.remedy))


# --- one side -----------------------------------------------------------------------------------


def _judge_version(major: int, prefix: str, missing_program: str) -> PrecheckItem:
    item = f"{prefix}DbVersionSupport"
    if not OLDEST_MAJOR <= major <= NEWEST_MAJOR:
        return _failed(
            item,
            _VERSION,
            f"{prefix.upper()}_VERSION_NOT_SUPPORTED",
            f"PostgreSQL {major} is not supported.",
            f"Use PostgreSQL {OLDEST_MAJOR} to {NEWEST_MAJOR}.",
        )
    if missing_program:
        return _failed(
            item,
            _VERSION,
            "PG_DUMP_MISSING",
            missing_program,
            f"Install the PostgreSQL {major} client programs where Towline runs.",
        )
    return _passed(item, _VERSION)


def _judge_reading(relations: tuple[Relation, ...]) -> PrecheckItem:
    item = "srcDbPrivilegesIsEnough"
    unreadable = [relation for relation in relations if not relation.is_readable and relation.kind in "rpS"]
    if unreadable:
        return _failed(
            item,
            _PRIVILEGE,
            "SRC_SELECT_PRIVILEGE_MISSING",
            f"The source's user may not read {_names(unreadable)}.",
            "GRANT USAGE on the schemas and SELECT on the tables and sequences to the source's user.",
        )
    hidden = [relation for relation in relations if relation.hides_rows]
    if hidden:
        return _failed(
            item,
            _PRIVILEGE,
            "SRC_ROWS_HIDDEN",
            f"Row level security hides rows of {_names(hidden)} from the source's user.",
            "Use a user with BYPASSRLS, or the owner of the tables.",
        )
    return _passed(item, _PRIVILEGE)


def _judge_selection(facts: SourceFacts) -> PrecheckItem:
    item = "srcSelectedObjectsExist"
    remedy = "Names are taken as the catalog has them: upper and lower case differ."
    if not facts.has_selected:
        message = f"The source has nothing of what is to be moved: {_list(list(facts.unknown))}."
        return _failed(item, _PARAMS, "SRC_NOTHING_SELECTED", message, remedy)
    if facts.unknown:
        message = f"The source does not have {_list(list(facts.unknown))}; the job does without."
        return _warning(item, _PARAMS, "SRC_SELECTED_OBJECTS_MISSING", message, remedy)
    return _passed(item, _PARAMS)


def _judge_foreign_keys(facts: SourceFacts) -> PrecheckItem:
    item = "hasForeignKeyOnUnselectedTable"
    if not facts.foreign_keys_out:
        return _passed(item, _PARAMS)
    pairs = [f"{table} to {other}" for table, other in facts.foreign_keys_out]
    return _warning(
        item,
        _PARAMS,
        "FOREIGN_KEY_ON_UNSELECTED_TABLE",
        f"Foreign keys lead out of the selection and will be left out: {_list(pairs)}.",
        "Select the referenced tables as well if the target needs these keys.",
    )


def _judge_large_objects(facts: SourceFacts) -> PrecheckItem:
    item = "srcLargeObjectsCheck"
    if not facts.has_large_objects:
        return _passed(item, _PARAMS)
    return _warning(
        item,
        _PARAMS,
        "SRC_HAS_LARGE_OBJECTS",
        "The source has large objects (pg_largeobject); they are not copied.",
        "Move them with pg_dump --large-objects, or store them as bytea.",
    )


def _judge_hash_partitions(facts: SourceFacts) -> PrecheckItem:
    item = "srcHashPartitionsCheck"
    if not facts.hashed_by_id:
        return _passed(item, _PARAMS)
    return _failed(
        item,
        _PARAMS,
        "SRC_HASH_PARTITIONS_BY_ID",
        "Tables are partitioned by the hash of an enum or of an object's id, which is different on every server, so"
        f" their rows would belong into other partitions on the target: {_list(list(map(str, facts.hashed_by_id)))}.",
        "Partition them by LIST or RANGE, or by the hash of a column of another type; or leave them out of the job.",
    )


def _judge_writing(facts: TargetFacts) -> PrecheckItem:
    item = "dstDbPrivilegesIsEnough"
    if not facts.may_create:
        return _failed(
            item,
            _PRIVILEGE,
            "DST_CREATE_PRIVILEGE_MISSING",
            "The target's user may not create schemas in the target database.",
            "GRANT CREATE ON DATABASE to the target's user.",
        )
    if facts.closed_schemas:
        return _failed(
            item,
            _PRIVILEGE,
            "DST_SCHEMA_PRIVILEGE_MISSING",
            f"The target's user may not create objects in schema {_list(sorted(facts.closed_schemas))}.",
            "GRANT CREATE ON SCHEMA to the target's user.",
        )
    if facts.triggers_refusal:
        return _failed(
            item,
            _PRIVILEGE,
            "DST_REPLICATION_ROLE_NOT_ALLOWED",
            f"The target's user may not switch triggers and foreign keys off: {facts.triggers_refusal}.",
            "Use a superuser, or (from version 15) GRANT SET ON PARAMETER session_replication_role.",
        )
    return _passed(item, _PRIVILEGE)


def _judge_target_status(facts: TargetFacts) -> PrecheckItem:
    item = "dstStatusCheck"
    if facts.server.is_standby or facts.server.is_read_only:
        what = "a standby" if facts.server.is_standby else "read-only"
        return _failed(
            item,
            _TARGET_STATUS,
            "DST_READ_ONLY",
            f"The target is {what}.",
            "Use the address of the primary, or switch default_transaction_read_only off.",
        )
    return _passed(item, _TARGET_STATUS)


# --- following the source -----------------------------------------------------------------------


def _judge_following(facts: SourceFacts) -> PrecheckItem:
    item = "srcDbPrivilegesIsEnoughForIncre"
    if not facts.replication.may_replicate:
        return _failed(
            item,
            _PRIVILEGE,
            "SRC_REPLICATION_PRIVILEGE_MISSING",
            "The source's user may not replicate.",
            "ALTER ROLE ... REPLICATION for the source's user (managed services have a role for it).",
        )
    if not facts.replication.may_create:
        return _failed(
            item,
            _PRIVILEGE,
            "SRC_CREATE_PRIVILEGE_MISSING",
            "The source's user may not create a publication in the source database.",
            "GRANT CREATE ON DATABASE to the source's user.",
        )
    foreign = [relation for relation in facts.relations if relation.has_rows and not relation.is_owned]
    if foreign:
        return _failed(
            item,
            _PRIVILEGE,
            "SRC_TABLES_NOT_OWNED",
            f"Only its owner can publish a table, and the source's user does not own {_names(foreign)}.",
            "Use a superuser, or GRANT the owning roles to the source's user.",
        )
    return _passed(item, _PRIVILEGE)


def _judge_source_status(facts: SourceFacts) -> PrecheckItem:
    item = "srcStatusCheck"
    if not facts.server.is_standby:
        return _passed(item, _PARAMS)
    return _failed(
        item,
        _PARAMS,
        "SRC_IS_STANDBY",
        "The source is a standby; a publication can only be created on the primary.",
        "Use the address of the primary as the source.",
    )


def _judge_wal_level(facts: SourceFacts) -> PrecheckItem:
    item = "srcWalLevel"
    if facts.replication.wal_level == "logical":
        return _passed(item, _PARAMS)
    return _failed(
        item,
        _PARAMS,
        "SRC_WAL_LEVEL_NOT_LOGICAL",
        f"wal_level of the source is {facts.replication.wal_level}.",
        "Set wal_level = logical on the source and restart it.",
    )


def _judge_slots(facts: SourceFacts) -> PrecheckItem:
    item = "srcReplicationSlots"
    if facts.replication.has_slot or facts.replication.free_slots > 0:
        return _passed(item, _PARAMS)
    return _failed(
        item,
        _PARAMS,
        "SRC_NO_FREE_REPLICATION_SLOT",
        "All replication slots of the source are taken.",
        "Drop unused slots, or raise max_replication_slots and restart the source.",
    )


def _judge_senders(facts: SourceFacts) -> PrecheckItem:
    item = "srcWalSenders"
    if facts.replication.has_slot or facts.replication.free_senders > 0:
        return _passed(item, _PARAMS)
    return _failed(
        item,
        _PARAMS,
        "SRC_NO_FREE_WAL_SENDER",
        "All WAL senders of the source are busy.",
        "Raise max_wal_senders and restart the source, or end other replication connections.",
    )


def _judge_kept_wal(facts: SourceFacts) -> PrecheckItem:
    item = "srcMaxSlotWalKeepSize"
    limit_mb, limit_s = facts.replication.max_kept_wal_mb, facts.replication.max_unused_s
    limits, remedies = [], []
    if limit_mb >= 0:
        limits.append(f"when it is more than {limit_mb} MB of WAL behind")
        remedies.append("max_slot_wal_keep_size = -1, or to more than the source writes during the full copy")
    if limit_s > 0:
        limits.append(f"when nobody has read it for {limit_s} s, as during the full copy")
        remedies.append("idle_replication_slot_timeout = 0, or to longer than the full copy takes")
    if not limits:
        return _passed(item, _PARAMS)
    return _warning(
        item,
        _PARAMS,
        "SRC_KEPT_WAL_LIMITED",
        f"The source drops the job's slot {', and '.join(limits)}.",
        f"Set {'; '.join(remedies)}.",
    )


def _judge_keys(facts: SourceFacts) -> PrecheckItem:
    item = "srcTablesWithoutKey"
    tables = [relation for relation in facts.relations if relation.has_rows and relation.is_logged]
    nothing = [table for table in tables if table.identity == "n"]
    remedy = (
        "Add a primary key, or ALTER TABLE ... REPLICA IDENTITY USING INDEX (a unique index on columns"
        " that are not null), or REPLICA IDENTITY FULL (slower)."
    )
    if nothing:
        return _failed(
            item,
            _PARAMS,
            "SRC_REPLICA_IDENTITY_NOTHING",
            "The source would refuse every UPDATE and DELETE while the job runs, because of REPLICA IDENTITY"
            f" NOTHING: {_names(nothing)}.",
            remedy,
        )
    unsent = [table for table in tables if table.identity in "di" and table.has_unsent_key]
    if unsent:
        return _failed(
            item,
            _PARAMS,
            "SRC_KEY_GENERATED",
            "A column of the key is generated. The source leaves it out of its log, so changed rows could not be told"
            f" apart: {_names(unsent)}.",
            "ALTER TABLE ... REPLICA IDENTITY FULL (slower), or USING INDEX (a unique index on other columns that are"
            " not null).",
        )
    keyless = [table for table in tables if table.identity in "di" and not table.has_key]
    if keyless:
        return _warning(
            item,
            _PARAMS,
            "SRC_TABLES_WITHOUT_KEY",
            "Tables have no key. The source refuses UPDATE and DELETE on them while the job runs"
            f" (INSERT works): {_names(keyless)}.",
            remedy,
        )
    full = [table for table in tables if table.identity == "f" and (table.has_unsent_key or not table.has_key)]
    if full:
        return _warning(
            item,
            _PARAMS,
            "SRC_REPLICA_IDENTITY_FULL",
            f"Changes are found by comparing whole rows, which is slow on big tables: {_names(full)}.",
            "Add a primary key if these tables change a lot.",
        )
    return _passed(item, _PARAMS)


def _judge_unlogged(facts: SourceFacts) -> PrecheckItem:
    item = "srcUnloggedTables"
    unlogged = [relation for relation in facts.relations if relation.has_rows and not relation.is_logged]
    if not unlogged:
        return _passed(item, _PARAMS)
    return _warning(
        item,
        _PARAMS,
        "SRC_HAS_UNLOGGED_TABLES",
        f"Unlogged tables are copied once, their later changes are not: {_names(unlogged)}.",
        "ALTER TABLE ... SET LOGGED if their changes matter.",
    )


def _judge_triggers(firing: tuple[str, ...], prefix: str) -> PrecheckItem:
    item = f"{prefix}TriggersFireAlways"
    if not firing:
        return _passed(item, _PARAMS)
    return _failed(
        item,
        _PARAMS,
        f"{prefix.upper()}_TRIGGERS_FIRE_ALWAYS",
        "Triggers or rules that are enabled ALWAYS or as REPLICA would act a second time, on the target, on every"
        f" change that is followed: {_list(list(firing))}.",
        "ALTER TABLE ... ENABLE TRIGGER (or RULE) without ALWAYS, which changes nothing for ordinary sessions, and"
        " DISABLE those for REPLICA; put them back when the job has ended.",
    )


def _judge_source_triggers(facts: SourceFacts) -> PrecheckItem:
    return _judge_triggers(facts.firing, "src")


_FOLLOW_RULES: tuple[Callable[[SourceFacts], PrecheckItem], ...] = (
    _judge_following,
    _judge_source_status,
    _judge_wal_level,
    _judge_slots,
    _judge_senders,
    _judge_kept_wal,
    _judge_keys,
    _judge_unlogged,
    _judge_source_triggers,
)


# --- both sides ---------------------------------------------------------------------------------


def _judge_version_pair(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "dbVersionMeetRequirement"
    if source.server.identity == target.server.identity:
        return _failed(
            item,
            _VERSION,
            "SAME_DATABASE",
            "Source and target are the same database.",
            "Give the target's own address and database name.",
        )
    if target.server.major >= source.server.major:
        return _passed(item, _VERSION)
    return _warning(
        item,
        _VERSION,
        "DST_OLDER_THAN_SRC",
        f"The target ({target.server.major}) is older than the source ({source.server.major}). What the texts of"
        " functions use is not looked at; it fails when they are called.",
        "Use a target of the same or a newer version, or try the functions on the target before the switchover.",
    )


def _judge_encoding(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "dbCharacterSetConsistency"
    ours, theirs = source.server.encoding, target.server.encoding
    if ours == theirs or (theirs == "UTF8" and ours != "SQL_ASCII"):
        return _passed(item, _PARAMS)
    message = f"The source's encoding is {ours}, the target's {theirs}."
    remedy = "Create the target database with ENCODING 'UTF8', or with the source's encoding."
    if ours == "SQL_ASCII" or theirs == "SQL_ASCII":
        message += " Text may be stored unconverted."
        return _warning(item, _PARAMS, "ENCODING_UNCHECKED", message, remedy)
    return _failed(item, _PARAMS, "ENCODING_MISMATCH", f"{message} It may not hold all characters.", remedy)


def _judge_hash_of_text(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "dbHashPartitionsConsistency"
    if source.server.encoding == target.server.encoding or not source.hashed_by_text:
        return _passed(item, _PARAMS)
    return _warning(
        item,
        _PARAMS,
        "HASH_PARTITIONS_BY_TEXT",
        "Tables are partitioned by the hash of text, which depends on the encoding; the copy stops at a row whose"
        f" key is not plain ASCII: {_list(list(map(str, source.hashed_by_text)))}.",
        "Create the target database with the source's encoding.",
    )


def _judge_collation(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "dbCollationServerConsistency"
    ours, theirs = source.server.collation, target.server.collation
    if ours.lower().replace("-", "") == theirs.lower().replace("-", ""):
        return _passed(item, _PARAMS)
    return _warning(
        item,
        _PARAMS,
        "COLLATION_MISMATCH",
        f"The databases sort text differently (source {ours}, target {theirs}).",
        "Create the target database with the source's LC_COLLATE if the order of text matters.",
    )


def _judge_extensions(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "extensionsDependentCheck"
    missing = sorted(source.extensions - target.extensions)
    if not missing:
        return _passed(item, _DEPENDENCY)
    return _warning(
        item,
        _DEPENDENCY,
        "DST_EXTENSION_MISSING",
        f"Extensions are not available on the target: {_list(missing)}. The job stops if a table needs one.",
        "Install them on the target server.",
    )


def _judge_roles(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "rolesDependentCheck"
    in_policies = sorted(source.policy_roles - target.roles)
    if in_policies:
        return _failed(
            item,
            _DEPENDENCY,
            "DST_POLICY_ROLE_MISSING",
            f"Row level security policies name roles that the target does not have: {_list(in_policies)}.",
            "Create the roles on the target.",
        )
    missing = sorted(source.roles - target.roles)
    if missing:
        return _warning(
            item,
            _DEPENDENCY,
            "DST_ROLE_MISSING",
            f"Roles do not exist on the target: {_list(missing)}. What they own will belong to the target's"
            " user, and their grants are left out.",
            "Create the roles on the target before the job starts.",
        )
    return _passed(item, _DEPENDENCY)


def _judge_conflicts(source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    item = "srcTableAlreadyExistedInDstTable"
    # A target that carries this job's bookkeeping has them from this very job, which goes on.
    if target.is_ours or not target.relations:
        return _passed(item, _CONFLICT)
    return _failed(
        item,
        _CONFLICT,
        "DST_OBJECTS_EXIST",
        f"The target already has {_list(sorted(map(str, target.relations)))}.",
        "Drop these objects on the target, or choose an empty database.",
    )


# --- words --------------------------------------------------------------------------------------


def _passed(item: str, group: str) -> PrecheckItem:
    return PrecheckItem(item, group, Verdict.PASSED)


def _warning(item: str, group: str, reason: str, message: str, remedy: str) -> PrecheckItem:
    return PrecheckItem(item, group, Verdict.WARNING, reason, message, remedy)


def _failed(item: str, group: str, reason: str, message: str, remedy: str) -> PrecheckItem:
    return PrecheckItem(item, group, Verdict.FAILED, reason, message, remedy)


def _names(relations: Iterable[Relation]) -> str:
    return _list([str(relation.name) for relation in relations])


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
