"""Histories of jobs as JSON lines in files, and as logs of an OTLP collector."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from towline.domain.errors import NotDelivered
from towline.outbound.http import HttpFailed, send
from towline.outbound.threads import RECEIVERS, run_in
from towline.outside_config import LogGroupConfig
from towline.service.duties import by_stream
from towline.service.ports import LogLine


class OutsideLogSink:
    """`service.ports.LogSink` by the log groups of the configuration."""

    def __init__(self, groups: Mapping[str, LogGroupConfig]) -> None:
        self._groups = groups

    async def write(self, group: str, lines: Sequence[LogLine]) -> None:
        config = self._groups.get(group)
        if config is None:
            raise NotDelivered(f"the server has no log group {group} in its configuration")
        if config.folder is not None:
            await run_in(RECEIVERS, _append, Path(config.folder), list(lines))
        else:
            await _export(config, group, list(lines))


def _append(folder: Path, lines: list[LogLine]) -> None:
    """To one file per stream, on the disk when this returns. Whoever rotates a file may move it away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stream, of_stream in by_stream(lines):
            with (folder / f"{stream}.jsonl").open("ab") as file:
                file.writelines(msgspec.json.encode(_render_line(line)) + b"\n" for line in of_stream)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise NotDelivered(f"a log file cannot be written: {os.strerror(error.errno or 0)}") from None


def _render_line(line: LogLine) -> dict[str, Any]:
    return {
        "time_us": line.at_us,
        "event_id": line.event_id,
        "project_id": line.project_id,
        "job_id": line.job_id,
        "job_name": line.job_name,
        "kind": line.kind,
        "message": line.message,
    }


async def _export(config: LogGroupConfig, group: str, lines: list[LogLine]) -> None:
    assert config.otlp is not None
    try:
        answer = await send(
            "POST",
            f"{config.otlp.rstrip('/')}/v1/logs",
            headers={"Content-Type": "application/json", **config.headers},
            body=render_otlp(group, lines),
            timeout_s=config.timeout_s,
            ca_file=config.ca_file,
        )
    except HttpFailed as error:
        raise NotDelivered(f"the collector of log group {group} does not answer ({error})") from None
    if answer.status >= 300:
        raise NotDelivered(f"the collector of log group {group} answers with status {answer.status}")


def render_otlp(group: str, lines: list[LogLine]) -> bytes:
    """An export request; format: OTLP/HTTP 1.x with JSON, "ExportLogsServiceRequest"."""
    resources = []
    for stream, of_stream in by_stream(lines):
        resource = {"service.name": "towline", "log.group": group, "log.stream": stream}
        records = [
            {
                "timeUnixNano": str(line.at_us * 1000),
                "observedTimeUnixNano": str(line.at_us * 1000),
                "severityNumber": 13 if line.kind == "warning" else 9,
                "severityText": "WARN" if line.kind == "warning" else "INFO",
                "body": {"stringValue": line.message},
                "attributes": _attributes(
                    {
                        "event.id": str(line.event_id),
                        "event.kind": line.kind,
                        "job.id": line.job_id,
                        "job.name": line.job_name,
                        "project.id": line.project_id,
                    }
                ),
            }
            for line in of_stream
        ]
        resources.append(
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeLogs": [{"scope": {"name": "towline.jobs"}, "logRecords": records}],
            }
        )
    return msgspec.json.encode({"resourceLogs": resources})


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
