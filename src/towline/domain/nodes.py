"""Sizes of the worker that runs a job, under the names by which the API's clients choose a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

DEFAULT_NODE_TYPE: Final = "high"


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What one job may use: sessions that copy chunks, indexes built at a time, memory of its process in MB."""

    copy_workers: int
    index_workers: int
    memory_mb: int


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
