"""What one can order: sizes of nodes, where they run, how many jobs a project may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from towline.api.wire.fields import Request, Text, require_text, require_word
from towline.api.wire.words import JOB_DIRECTIONS, NODE_TYPES

CATALOGUE_DB_USE_TYPES: Final = frozenset(
    {"migration", "sync", "dataGuard", "cloudDataGuard", "subscription", "backupMigration", "replay"}
)


class NodeTypeAnswer(msgspec.Struct, frozen=True):
    node_type: str
    is_sellout: bool


class NodeTypesAnswer(msgspec.Struct, frozen=True):
    node_types: list[NodeTypeAnswer]


class ZonesRequest(Request):
    engine_type: Text | None = None
    db_use_type: Text | None = None
    job_direction: Text | None = None
    node_type: Text | None = None
    multi_write: Text | None = None


class ZoneAnswer(msgspec.Struct, frozen=True):
    code: str
    name: str
    status: str


class ZonesAnswer(msgspec.Struct, frozen=True):
    az_infos: list[ZoneAnswer]


class QuotaResource(msgspec.Struct, frozen=True):
    type: str
    min: int
    max: int
    quota: int
    used: int


class Quotas(msgspec.Struct, frozen=True):
    """`resource` is one object: clients index it as such."""

    resource: QuotaResource


class QuotasAnswer(msgspec.Struct, frozen=True):
    quotas: Quotas


def check_kind(members: Mapping[str, str | None]) -> None:
    """The three members that say what kind of job is meant. Raises: ApiError."""
    require_text(members.get("engine_type"), "engine_type")
    require_word(members.get("db_use_type"), CATALOGUE_DB_USE_TYPES, "db_use_type")
    require_word(members.get("job_direction"), JOB_DIRECTIONS, "job_direction")


def check_zones(request: ZonesRequest) -> None:
    """Raises: ApiError."""
    check_kind(
        {
            "engine_type": request.engine_type,
            "db_use_type": request.db_use_type,
            "job_direction": request.job_direction,
        }
    )
    require_word(request.node_type, NODE_TYPES, "node_type")
