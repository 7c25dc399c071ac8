"""The two PostgreSQL sides of one job's stream, in the forms that fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from towline.adapters.postgres.applier import ApplierOptions, PgApplier
from towline.adapters.postgres.probe import PgProbe
from towline.adapters.postgres.slot_reader import (
    FIRST_VERSION_WITH_STREAMING,
    PgSlotReader,
    StreamOptions,
)
from towline.domain.jobs import JobSpec
from towline.domain.tables import Table, TableName


class PgStreamSides:
    """Implements `engine.ports.StreamSides`."""

    def __init__(
        self,
        spec: JobSpec,
        tables: Sequence[Table],
        *,
        epoch: int,
        slot: str,
        publication: str,
        source_version: int,
        spill_dir: Path,
        mixed: frozenset[TableName] = frozenset(),
    ) -> None:
        """`source_version` as in `server_version_num`; `spill_dir` must belong to this job alone."""
        self.spill_dir = spill_dir
        self.memory_bytes = spec.stream_memory_bytes
        self._spec = spec
        self._mixed = mixed
        self._tables = tables
        self._epoch = epoch
        # Binary costs both servers less; every value must then mean the same on either side.
        self._is_binary = source_version >= FIRST_VERSION_WITH_STREAMING and all(
            table.is_binary_safe for table in tables
        )
        self._options = StreamOptions(
            slot=slot,
            publication=publication,
            server_version=source_version,
            is_binary=self._is_binary,
            part_bytes=self.memory_bytes // 8,
            large_rows_dir=spill_dir,
        )

    def new_changes(self) -> PgSlotReader:
        return PgSlotReader(self._spec.source, job_id=self._spec.job_id, options=self._options, tables=self._tables)

    def new_applier(self) -> PgApplier:
        spec = self._spec
        options = ApplierOptions(
            spec.job_id,
            self._epoch,
            spec.conflict_policy,
            self._is_binary,
            self._mixed,
            names=spec.selection.names,
        )
        return PgApplier(spec.target, options)

    def new_probe(self) -> PgProbe:
        heartbeat = self._spec.writes_heartbeat
        return PgProbe(self._spec.source, job_id=self._spec.job_id, writes_heartbeat=heartbeat)
