"""Sizes of the worker that runs a job, under the names by which the API's clients choose a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

DEFAULT_NODE_TYPE: Final = "high"
DEFAULT_ZONE: Final = "towline"
"""The group of servers that a server belongs to unless it is told another one."""
ZONE_SEEN_EVERY_S: Final = 10.0
ZONE_GONE_AFTER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What one job may use: sessions that copy chunks, indexes built at a time, memory of its process in MB."""

    copy_workers: int
    index_workers: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class NodeSample:
    """What the worker of a job uses of its machine, at one moment. `cpu_percent`: of one core."""

    at_us: int
    cpu_percent: float
    memory_mb: int
    memory_limit_mb: int
    volume_gb: int
    volume_used_gb: float


NODE_SIZES: Final[Mapping[str, NodeSize]] = MappingProxyType(
    {
        "micro": NodeSize(1, 1, 256),
        "small": NodeSize(1, 1, 384),
        "medium": NodeSize(2, 1, 384),
        "high": NodeSize(2, 2, 384),
        "xlarge": NodeSize(4, 4, 768),
        "2xlarge": NodeSize(8, 8, 1536),
    }
)


def size_of(node_type: object) -> NodeSize:
    """The size of this name; a job that names none has the default's."""
    return NODE_SIZES.get(str(node_type), NODE_SIZES[DEFAULT_NODE_TYPE])


@dataclass(frozen=True, slots=True)
class Knob:
    """One part of a size that an operator may set for a job; `group` is the API's."""

    group: str
    name: str
    low: int
    high: int


KNOBS: Final = (
    Knob("full_sync", "copy_workers", 1, 32),
    Knob("full_sync", "index_workers", 1, 32),
    Knob("incre_relay", "memory_mb", 128, 65_536),
)


def tuned_size(node_type: object, tuning: Mapping[str, int]) -> NodeSize:
    """The size of this name with the parts that are set in `tuning`."""
    size = size_of(node_type)
    known = {knob.name for knob in KNOBS}
    return replace(size, **{name: value for name, value in tuning.items() if name in known})
