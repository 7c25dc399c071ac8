"""batch-select-objects: the tree of chosen objects, and the schemas and tables that it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from towline.api.wire.errors import empty, invalid, not_built
from towline.api.wire.fields import Request, Text, check_text, require_word
from towline.api.wire.words import FAMILIES_WITHOUT_SCHEMAS
from towline.domain.jobs import Endpoint
from towline.domain.tables import NameMap, ObjectSelection, SchemaRename, TableName, TableRename

SEPARATOR: Final = "-*-*-"
_TYPES: Final = frozenset({"database", "schema", "table", "view"})
_SELECT: Final = frozenset({"true", "false", "partial"})
_MAX_OBJECTS: Final = 100_000
_MAX_ID: Final = 512
_DEFAULT_SCHEMA: Final = "public"
_LEVELS: Final = {"database": 1, "schema": 2, "table": 3, "view": 3}
_LEVELS_WITHOUT_SCHEMAS: Final = {"database": 1, "table": 2, "view": 2}


class ObjectRequest(Request):
    """`DatabaseInfo`: one node of the tree."""

    id: Text | None = None
    parent_id: Text | None = None
    object_type: Text | None = None
    object_name: Text | None = None
    object_alias_name: Text | None = None
    select: str | bool | None = None


class SelectObjectsRequest(Request):
    """One item of batch-select-objects."""

    job_id: Text | None = None
    selected: bool | None = None
    sync_database: bool | None = None
    job: list[ObjectRequest] | None = None


class SelectObjectsAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One result; alone among the batch calls its `status` is a boolean."""

    job_id: str
    status: bool
    error_code: str | None = None
    error_msg: str | None = None


class SelectObjectsAnswers(msgspec.Struct, frozen=True):
    all_counts: int
    results: list[SelectObjectsAnswer]


def read_selection(
    request: SelectObjectsRequest, *, source: Endpoint, target: Endpoint
) -> tuple[ObjectSelection, tuple[Mapping[str, Any], ...]]:
    """What the tree selects, and its nodes to give back later.

    Raises: ApiError; in particular when nothing is selected, because an empty selection means everything.
    """
    if not request.selected:
        return ObjectSelection(), ()
    if not request.job:
        raise empty("job")
    if len(request.job) > _MAX_OBJECTS:
        raise invalid("job")
    schemas: set[str] = set()
    tables: set[TableName] = set()
    views: set[TableName] = set()
    # What other jobs make of a view is not the view of the source.
    has_views = source.family == target.family and source.family not in FAMILIES_WITHOUT_SCHEMAS
    is_everything = False
    aliases: dict[tuple[str, ...], str] = {}
    for node in request.job:
        kind = require_word(node.object_type, _TYPES, "object_type")
        path = _read_path(node, kind, source)
        if node.object_alias_name and (path or source.family in FAMILIES_WITHOUT_SCHEMAS):
            _add_alias(aliases, path, node.object_alias_name)
        elif node.object_alias_name and node.object_alias_name not in (node.object_name, target.database):
            # The job's endpoint says which database the objects go to.
            raise invalid("object_alias_name")
        if not _is_chosen(node):
            continue
        _refuse_unbuilt(node, kind, has_views=has_views)
        if len(path) == 2:
            (views if kind == "view" else tables).add(TableName(*path))
        elif path:
            schemas.add(path[0])
        else:
            is_everything = True
    if not (is_everything or schemas or tables or views):
        raise invalid("job")
    items = tuple(_keep(node) for node in request.job)
    names = _read_names(aliases)
    selection = ObjectSelection(names=names)
    if not is_everything:
        selection = ObjectSelection(
            schemas=frozenset(schemas),
            tables=frozenset(table for table in tables if table.schema not in schemas),
            views=frozenset(view for view in views if view.schema not in schemas),
            names=names,
        )
    return selection, items


def _add_alias(aliases: dict[tuple[str, ...], str], path: tuple[str, ...], alias: str) -> None:
    """Raises: ApiError, when the object is to have two names."""
    alias = check_text(alias, "object_alias_name", max_length=_MAX_ID)
    if aliases.setdefault(path, alias) != alias:
        raise invalid("object_alias_name")


def _read_names(aliases: Mapping[tuple[str, ...], str]) -> NameMap:
    """A table keeps the place that its schema has on the target, whatever its own name there."""
    schemas = {path[0]: alias for path, alias in aliases.items() if len(path) == 1 and alias != path[0]}
    tables = {
        TableName(*path): TableName(schemas.get(path[0], path[0]), alias)
        for path, alias in aliases.items()
        if len(path) == 2 and alias != path[1]
    }
    return NameMap(
        tuple(SchemaRename(source, schemas[source]) for source in sorted(schemas)),
        tuple(TableRename(source, tables[source]) for source in sorted(tables)),
    )


def read_table_id(text: str, *, source: Endpoint) -> TableName:
    """The table of an id such as `db-*-*-schema-*-*-table`. Raises: ApiError."""
    if not text:
        raise empty("id")
    return TableName(*_read_path(ObjectRequest(id=Text(text)), "table", source))


def _is_chosen(node: ObjectRequest) -> bool:
    # `partial` marks a container some of whose children are chosen; the children say which.
    if node.select is None:
        return False
    word = str(node.select).lower()
    if word not in _SELECT:
        raise invalid("select")
    return word == "true"


def _refuse_unbuilt(node: ObjectRequest, kind: str, *, has_views: bool) -> None:
    if kind == "view" and not has_views:
        raise not_built("selecting single views (views follow their schema)")


def _read_path(node: ObjectRequest, kind: str, source: Endpoint) -> tuple[str, ...]:
    """Schema and table of a node, as many as its kind has, from its id or else its parent and name.

    A job of PostgreSQL lies in one database, so that comes off; for a family without schemas databases stand in
    their place.
    """
    text = check_text(node.id or "", "id", max_length=_MAX_ID)
    if not text:
        if not node.object_name:
            raise empty("object_name")
        parent = check_text(node.parent_id or "", "parent_id", max_length=_MAX_ID)
        name = check_text(node.object_name, "object_name")
        text = f"{parent}{SEPARATOR}{name}" if parent else name
    parts = text.split(SEPARATOR)
    has_schemas = source.family not in FAMILIES_WITHOUT_SCHEMAS
    if has_schemas and kind in ("table", "view") and len(parts) == 2:
        # The two-level scheme knows no schema.
        parts = [parts[0], _DEFAULT_SCHEMA, parts[1]]
    wanted = _LEVELS if has_schemas else _LEVELS_WITHOUT_SCHEMAS
    if len(parts) != wanted.get(kind) or not all(parts):
        raise invalid("id" if node.id else "parent_id")
    if not has_schemas:
        return tuple(parts)
    if source.database and parts[0] != source.database:
        raise invalid("parent_id" if node.parent_id else "id")
    return tuple(parts[1:])


def _keep(node: ObjectRequest) -> dict[str, Any]:
    kept = {
        "id": node.id,
        "parent_id": node.parent_id,
        "object_type": node.object_type,
        "object_name": node.object_name,
        "object_alias_name": node.object_alias_name,
        "select": None if node.select is None else str(node.select).lower(),
    }
    return {name: str(value) for name, value in kept.items() if value is not None}
