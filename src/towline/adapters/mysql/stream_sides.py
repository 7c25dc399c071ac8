"""The two sides of one job's stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from towline.adapters.mysql.applier import ApplierOptions, MyApplier
from towline.adapters.mysql.binlog_reader import BinlogReader
from towline.adapters.mysql.forms import TargetForms
from towline.adapters.mysql.probe import MysqlProbe
from towline.domain.jobs import JobSpec
from towline.domain.tables import Table


class MyStreamSides:
    """Implements `engine.ports.StreamSides`."""

    def __init__(
        self, spec: JobSpec, tables: Sequence[Table], *, epoch: int, spill_dir: Path, carries_ddl: bool
    ) -> None:
        """`spill_dir` must belong to this job alone; `carries_ddl`: both servers are of one product."""
        self.spill_dir = spill_dir
        self.memory_bytes = spec.stream_memory_bytes
        self._spec = spec
        self._tables = tables
        self._epoch = epoch
        self._carries_ddl = carries_ddl

    def new_changes(self) -> BinlogReader:
        spec = self._spec
        forms = TargetForms(spec.target, job_id=spec.job_id, names=spec.selection.names)
        return BinlogReader(
            spec.source,
            job_id=spec.job_id,
            tables=self._tables,
            objects=spec.selection,
            part_bytes=self.memory_bytes // 8,
            carries_ddl=self._carries_ddl,
            forms=forms if self._carries_ddl else None,
            copied=None if self._carries_ddl else forms,
            read_joining=partial(forms.read_joining, edit=spec.edit) if spec.edit else None,
        )

    def new_applier(self) -> MyApplier:
        spec = self._spec
        options = ApplierOptions(spec.job_id, self._epoch, spec.conflict_policy, names=spec.selection.names)
        return MyApplier(spec.target, options)

    def new_probe(self) -> MysqlProbe:
        return MysqlProbe(self._spec.source, job_id=self._spec.job_id)
