"""What a source uses that an older target does not have, by name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.features import MISSING, choose_features, render_query
from towline.domain.errors import Side
from towline.domain.tables import ObjectSelection, TableName

_KINDS = {"pg_proc": "function", "pg_type": "type", "pg_opclass": "operator class"}


@dataclass(frozen=True, slots=True)
class MissingFeature:
    """`objects` use it. `is_left_out`: the job goes on without."""

    what: str
    objects: tuple[str, ...]
    remedy: str
    is_left_out: bool = False


async def read_missing_features(
    source: asyncpg.Connection,
    target: asyncpg.Connection,
    selection: ObjectSelection,
    *,
    known: Collection[TableName] = (),
) -> list[MissingFeature]:
    """One query for each side; none where the target is not the older one. `known`: relations that are passed over."""
    source_major, target_major = (side.get_server_version().major for side in (source, target))
    if target_major >= source_major:
        return []
    features = choose_features(source_major, target_major)
    with translated(Side.SOURCE, what="looking for what the target does not know"):
        rows = await source.fetch(render_query(features, source_major=source_major))
    rows = [row for row in rows if _is_covered(row, selection, known)]
    built_in = sorted({(row["kind"], row["built_in"]) for row in rows if row["feature"] < 0})
    with translated(Side.TARGET, what="looking for what the source uses"):
        missing = await target.fetch(MISSING, [kind for kind, _ in built_in], [name for _, name in built_in])
    found = []
    for number, feature in enumerate(features):
        objects = [_describe(row) for row in rows if row["feature"] == number]
        if objects:
            what = f"{feature.what} (from version {feature.since} on)"
            found.append(MissingFeature(what, tuple(objects), feature.remedy, feature.is_left_out))
    for kind, name in sorted((row["kind"], row["name"]) for row in missing):
        objects = [_describe(row) for row in rows if (row["kind"], row["built_in"]) == (kind, name)]
        what = f"the built-in {_KINDS[kind]} {name}"
        found.append(MissingFeature(what, tuple(objects), f"Do without {name} on the source"))
    return found


def _is_covered(row: asyncpg.Record, selection: ObjectSelection, known: Collection[TableName]) -> bool:
    """Selected itself, in a selected schema, or a partition of a selected table."""
    if row["relation"] is None:
        return selection.is_everything or row["schema"] in selection.schemas
    name = TableName(row["schema"], row["relation"])
    if name in known:
        return False
    return name in selection.views or any(selection.covers(TableName(*each)) for each in row["names"])


def _describe(row: asyncpg.Record) -> str:
    if row["relation"] is None:
        return f"{row['schema']}.{row['name']}" if row["schema"] else str(row["name"])
    table = str(TableName(row["schema"], row["relation"]))
    return f"{table} ({row['name']})" if row["name"] else table
