"""Which renames a job may ask for. Pure: judged from the wish alone, before anything is changed.

What only the databases can tell, such as an object of the source that has the new name already, is the prechecks' work;
`judge_renames` says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from towline.domain.errors import BadRename, NotBuilt
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import NameMap, ObjectSelection, TableName

_MAX_POSTGRES_BYTES: Final = 63
_MAX_MYSQL_LETTERS: Final = 64
_OWN_SCHEMA: Final = "towline"
_OF_POSTGRES: Final = frozenset({"information_schema", _OWN_SCHEMA})
_OF_MYSQL: Final = frozenset({"information_schema", "performance_schema", "mysql", "sys", _OWN_SCHEMA})
# Words that stand for a row in a trigger, a rule or an INSERT, so that `old.code` is a column and no table.
_NAMES_OF_ROWS: Final = frozenset({"new", "old", "excluded"})


def require_sound(selection: ObjectSelection, *, source_family: str, target_family: str) -> None:
    """Refuse a map before anything is changed.

    Raises:
        BadRename: two objects would have one name, a name cannot be, or what is renamed is not selected.
        NotBuilt: the two families differ.
    """
    names = selection.names
    if names and source_family != target_family:
        raise NotBuilt("objects cannot be renamed between PostgreSQL and MySQL or MariaDB yet")
    for schema in names.schemas:
        _require_name(schema.source, schema.target, target_family, is_schema=True)
    for table in names.tables:
        _require_name(str(table.source), table.target.name, target_family)
        _require_name(str(table.source), table.target.schema, target_family, is_schema=True)
    _require_apart("schema", [(each.source, each.target) for each in names.schemas])
    _require_apart("table", [(each.source, each.target) for each in names.tables])
    for source in {each.source for each in names.schemas} | {each.source.schema for each in names.tables}:
        if source in _NAMES_OF_ROWS:
            raise BadRename(f"objects of schema {source} cannot be renamed: in triggers the word means a row")
    _require_selected(selection)
    chosen = sorted(selection.tables | selection.views | {each.source for each in names.tables})
    collision = find_collision({table: names.target_name(table) for table in chosen})
    if collision is not None:
        raise BadRename(f"{collision[0]} and {collision[1]} would both be {names.target_name(collision[0])}")


def require_kept(known: ObjectSelection, wanted: ObjectSelection) -> None:
    """Raises BadRename when an object that stays in a job would get another name than the one it has on the target."""
    schemas = known.schemas | {each.source for each in (*known.names.schemas, *wanted.names.schemas)}
    tables = known.tables | known.views | {each.source for each in (*known.names.tables, *wanted.names.tables)}
    for schema in sorted(schemas):
        is_kept = _has_some(known, schema) and _has_some(wanted, schema)
        if is_kept and known.names.target_schema(schema) != wanted.names.target_schema(schema):
            raise BadRename(f"schema {schema} has its name on the target already")
    for table in sorted(tables):
        is_kept = all(each.covers(table) or table in each.views for each in (known, wanted))
        if is_kept and known.names.target_name(table) != wanted.names.target_name(table):
            raise BadRename(f"{table} has its name on the target already")


def _has_some(selection: ObjectSelection, schema: str) -> bool:
    if selection.is_everything or schema in selection.schemas:
        return True
    return any(each.schema == schema for each in selection.tables)


def keep_names(known: NameMap, wanted: ObjectSelection) -> NameMap:
    """The names of `wanted`, with what `known` says of objects that it does not select.

    Those that left keep their names on the target.
    """
    schemas = (each for each in known.schemas if not _has_some(wanted, each.source))
    tables = (each for each in known.tables if not (wanted.covers(each.source) or each.source in wanted.views))
    return NameMap((*wanted.names.schemas, *schemas), (*wanted.names.tables, *tables))


def judge_renames(there: Mapping[TableName, TableName], *, missing: str) -> PrecheckItem:
    """What the databases say of a map. `there`: what each of the source's objects will be called on the target.

    `missing`: what is renamed and not on the source, in words; "" if nothing.
    """
    item, group = "renamedObjectsCheck", "db_object_conflict_check"
    if missing:
        message = f"Objects are renamed that the source does not have: {missing}."
        remedy = "Select the objects anew, with the names that they have on the source."
        return PrecheckItem(item, group, Verdict.FAILED, "RENAMED_OBJECT_MISSING", message, remedy)
    collision = find_collision(there)
    if collision is not None:
        message = f"{collision[0]} and {collision[1]} would both be {there[collision[0]]} on the target."
        remedy = "Select the objects anew, and give one of them another name."
        return PrecheckItem(item, group, Verdict.FAILED, "RENAMES_COLLIDE", message, remedy)
    return PrecheckItem(item, group, Verdict.PASSED)


def find_collision(there: Mapping[TableName, TableName]) -> tuple[TableName, TableName] | None:
    """Two of the source's objects that would have one name on the target, if there are such."""
    owners: dict[TableName, TableName] = {}
    for source, target in there.items():
        other = owners.setdefault(target, source)
        if other != source:
            return other, source
    return None


def _require_apart(kind: str, pairs: list[tuple[str, str]] | list[tuple[TableName, TableName]]) -> None:
    """No name twice on either side, and none on both: nobody should have to think in which order they are given."""
    sources, targets = {source for source, _ in pairs}, [target for _, target in pairs]
    if len(sources) != len(pairs):
        raise BadRename(f"a {kind} is given two new names")
    for number, (source, target) in enumerate(pairs):
        if target in targets[:number]:
            raise BadRename(f"two {kind}s would be {target} on the target")
        if target in sources:
            why = "is not another name" if target == source else "is itself renamed"
            raise BadRename(f"{kind} {source} cannot become {target}: that {why}")


def _require_selected(selection: ObjectSelection) -> None:
    containers = {table.schema for table in selection.tables | selection.views}
    for schema in selection.names.schemas:
        if not (selection.is_everything or schema.source in selection.schemas | containers):
            raise BadRename(f"schema {schema.source} is renamed but nothing of it is selected")
    for table in selection.names.tables:
        if not (selection.covers(table.source) or table.source in selection.views):
            raise BadRename(f"{table.source} is renamed but not selected")


def _require_name(source: str, target: str, family: str, *, is_schema: bool = False) -> None:
    problem = _FAULTS[family](target, is_schema)
    if problem:
        raise BadRename(f"{source} cannot be {target!r} on the target: {problem}")


def _fault_of_postgres(name: str, is_schema: bool) -> str:
    if not name or "\0" in name:
        return "a name has at least one letter and no zero byte"
    if len(name.encode()) > _MAX_POSTGRES_BYTES:
        return f"a name of PostgreSQL has at most {_MAX_POSTGRES_BYTES} bytes"
    if is_schema and (name in _OF_POSTGRES or name.startswith("pg_")):
        return "the name is reserved"
    return ""


def _fault_of_mysql(name: str, is_schema: bool) -> str:
    if not name or "\0" in name or name != name.rstrip(" ") or any(ord(letter) > 0xFFFF for letter in name):
        return "a name has letters of the basic plane, does not end with a space and has no zero byte"
    if len(name) > _MAX_MYSQL_LETTERS:
        return f"a name of MySQL and MariaDB has at most {_MAX_MYSQL_LETTERS} letters"
    if is_schema and name.lower() in _OF_MYSQL:
        return "the name is reserved"
    return ""


_FAULTS: Final[dict[str, Callable[[str, bool], str]]] = {
    "postgresql": _fault_of_postgres,
    "mysql": _fault_of_mysql,
}
