"""What this process uses of its machine; cheap enough to be asked every few seconds."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from towline.domain.nodes import NodeSample
from towline.service.ports import Clock

SAMPLE_INTERVAL_S = 5.0
_MB = 1024 * 1024
_GB = 1024 * _MB


class Sampler:
    """Remembers the last moment, as a share of a core is over the time since."""

    def __init__(self, clock: Clock, *, work_dir: Path, memory_limit_bytes: int) -> None:
        self._clock = clock
        self._work_dir = work_dir
        self._memory_limit_mb = memory_limit_bytes // _MB
        self._last_s = clock.monotonic_s()
        self._last_cpu_s = _cpu_s()

    @property
    def is_due(self) -> bool:
        return self._clock.monotonic_s() - self._last_s >= SAMPLE_INTERVAL_S

    def take(self) -> NodeSample:
        now_s, cpu_s = self._clock.monotonic_s(), _cpu_s()
        passed_s = max(now_s - self._last_s, 0.001)
        share = (cpu_s - self._last_cpu_s) / passed_s
        self._last_s, self._last_cpu_s = now_s, cpu_s
        volume = shutil.disk_usage(self._work_dir)
        return NodeSample(
            at_us=self._clock.now_us(),
            cpu_percent=round(share * 100, 1),
            memory_mb=_resident_bytes() // _MB,
            memory_limit_mb=self._memory_limit_mb,
            volume_gb=volume.total // _GB,
            volume_used_gb=round(volume.used / _GB, 1),
        )


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _resident_bytes() -> int:
    """Now, where the system tells; else the most that it has ever been."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
