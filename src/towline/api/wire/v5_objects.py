"""The objects of a job as version 5 describes them: a tree of databases, schemas and tables by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from towline.api.wire.errors import empty, invalid, not_built
from towline.api.wire.fields import Request, Text, convert, require_word
from towline.api.wire.selection import SEPARATOR, SelectObjectsRequest
from towline.domain.jobs import Endpoint

_SCOPES: Final = frozenset({"all", "database", "table"})
_KINDS: Final = frozenset({"table", "view", "procedure"})


class TableObject(Request):
    """A table or view. `name` is the one that it has on the target."""

    type: Text | None = None
    name: Text | None = None
    all: bool | None = None
    sync_type: Text | None = None
    db_alias_name: Text | None = None
    schema_alias_name: Text | None = None
    filter_conditions: list[Text] | None = None
    config_conditions: list[Text] | None = None
    columns: dict[str, Any] | None = None


class SchemaObject(Request):
    name: Text | None = None
    all: bool | None = None
    sync_type: Text | None = None
    tables: dict[str, TableObject] | None = None


class DatabaseObject(Request):
    name: Text | None = None
    all: bool | None = None
    sync_type: Text | None = None
    schemas: dict[str, SchemaObject] | None = None
    tables: dict[str, TableObject] | None = None


class TargetRootDb(Request):
    db_name: Text | None = None
    db_encoding: Text | None = None


class DbObjectRequest(Request):
    """`object_info` is by the names on the source; only with the scope `all` there is none."""

    object_scope: Text | None = None
    target_root_db: TargetRootDb | None = None
    object_info: dict[str, DatabaseObject] | None = None


def read_db_object(request: DbObjectRequest | None, *, target: Endpoint) -> SelectObjectsRequest:
    """The same tree as batch-select-objects has it. Raises: ApiError, also for options that would do nothing."""
    if request is None:
        raise empty("db_object")
    scope = require_word(request.object_scope, _SCOPES, "object_scope")
    if root := request.target_root_db:
        if root.db_encoding:
            raise not_built("an encoding for the target's database")
        if root.db_name and root.db_name != target.database:
            raise invalid("target_root_db")  # the job's endpoint says which database the objects go to
    if scope == "all":
        if request.object_info:
            raise invalid("object_info")
        return SelectObjectsRequest(selected=False)
    if not request.object_info:
        raise empty("object_info")
    nodes = [node for name, each in request.object_info.items() for node in _read_database(name, each, scope)]
    # Names were keys so far; as members they are held to what text may be.
    return convert({"selected": True, "job": nodes}, SelectObjectsRequest, where="object_info")


def _read_database(name: str, database: DatabaseObject, scope: str) -> Iterator[dict[str, str | None]]:
    _refuse_config(database.sync_type)
    is_whole = _is_whole(database.all, database.schemas, database.tables)
    if scope == "database" and not is_whole:
        raise invalid("all")
    yield _node("database", (name,), database.name, is_whole=is_whole)
    for schema_name, schema in (database.schemas or {}).items():
        _refuse_config(schema.sync_type)
        is_whole = _is_whole(schema.all, schema.tables)
        yield _node("schema", (name, schema_name), schema.name, is_whole=is_whole)
        yield from _read_tables((name, schema_name), schema.tables)
    yield from _read_tables((name,), database.tables)


def _read_tables(path: tuple[str, ...], tables: Mapping[str, TableObject] | None) -> Iterator[dict[str, str | None]]:
    for name, table in (tables or {}).items():
        _refuse_config(table.sync_type or ("config" if table.config_conditions else None))
        if table.columns or table.all is False:
            raise not_built("choosing columns")
        if table.filter_conditions:
            raise not_built("filter_conditions in this call (batch-transformation has them)")
        if table.db_alias_name or table.schema_alias_name:
            raise not_built("another database or schema for a single table")
        kind = require_word(table.type or "table", _KINDS, "type")
        if kind == "procedure":
            raise not_built("selecting single procedures (they follow their schema)")
        yield _node(kind, (*path, name), table.name, is_whole=True)


def _is_whole(everything: bool | None, *parts: Mapping[str, object] | None) -> bool:
    """Whether all of a database or schema is chosen; parts of a whole could only be there for their columns."""
    if everything and any(parts):
        raise not_built("choosing columns")
    if not everything and not any(parts):
        raise empty("tables")
    return bool(everything)


def _refuse_config(sync_type: str | None) -> None:
    if sync_type:
        raise not_built(f"the type of synchronisation {sync_type}")


def _node(kind: str, path: tuple[str, ...], name_there: str | None, *, is_whole: bool) -> dict[str, str | None]:
    return {
        "id": SEPARATOR.join(path),
        "parent_id": path[0] if len(path) > 1 else None,
        "object_type": kind,
        "object_name": path[-1],
        "object_alias_name": name_there if name_there and name_there != path[-1] else None,
        "select": "true" if is_whole else "partial",
    }
