"""Settings of a Towline process, read and checked once at start-up.

A command-line option wins over the environment variable `TOWLINE_<NAME>`, which wins over the default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from towline.domain.errors import RequestError
from towline.domain.jobs import DEFAULT_MAX_JOBS
from towline.domain.nodes import DEFAULT_ZONE
from towline.outside_config import OutsideConfig, read_outside_config

DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_MAX_WORKERS = 64
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Towline keeps what it knows, and how it serves it."""

    data_dir: Path
    store_url: str = field(repr=False)  # may hold a password (I7)
    listen_host: str
    listen_port: int
    log_level: str
    max_workers: int
    max_jobs: int
    tls_certificate: Path | None
    tls_key: Path | None
    zone: str = DEFAULT_ZONE
    writes_heartbeat: bool = True
    outside: OutsideConfig = field(default_factory=OutsideConfig, repr=False)


def read_settings(
    environment: Mapping[str, str],
    *,
    store: str | None = None,
    data_dir: Path | None = None,
    listen: str | None = None,
    log_level: str | None = None,
    max_workers: int | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    config: Path | None = None,
) -> Settings:
    """The settings of this process.

    Raises:
        RequestError: one of them cannot be meant; the message names it.
    """
    folder = _absolute(data_dir or _path(environment, "DATA_DIR") or _default_data_dir(environment))
    host, port = _parse_listen(listen or environment.get("TOWLINE_LISTEN") or DEFAULT_LISTEN)
    level = (log_level or environment.get("TOWLINE_LOG_LEVEL") or "info").lower()
    if level not in LOG_LEVELS:
        raise RequestError(f"the log level is none of {', '.join(LOG_LEVELS)}")
    certificate = tls_certificate or _path(environment, "TLS_CERTIFICATE")
    key = tls_key or _path(environment, "TLS_KEY")
    if (certificate is None) != (key is None):
        raise RequestError("TLS needs both a certificate and its key")
    return Settings(
        data_dir=folder,
        store_url=store or environment.get("TOWLINE_STORE") or f"sqlite:///{folder / 'towline.db'}",
        listen_host=host,
        listen_port=port,
        log_level=level,
        max_workers=max_workers or _number(environment, "MAX_WORKERS") or DEFAULT_MAX_WORKERS,
        max_jobs=_number(environment, "MAX_JOBS") or DEFAULT_MAX_JOBS,
        tls_certificate=certificate,
        tls_key=key,
        zone=_zone(environment),
        writes_heartbeat=read_heartbeat(environment),
        outside=read_outside_config(config or _path(environment, "CONFIG")),
    )


def read_heartbeat(environment: Mapping[str, str]) -> bool:
    """Whether a heartbeat may be written into the log of a source. Raises RequestError."""
    word = (environment.get("TOWLINE_HEARTBEAT") or "on").lower()
    if word not in ("on", "off"):
        raise RequestError("TOWLINE_HEARTBEAT is neither on nor off")
    return word == "on"


def _default_data_dir(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "towline"


def _absolute(path: Path) -> Path:
    # Workers must find it whatever their working directory is.
    return path.expanduser().absolute()


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(f"TOWLINE_{name}")
    return Path(text) if text else None


def _zone(environment: Mapping[str, str]) -> str:
    zone = environment.get("TOWLINE_ZONE") or DEFAULT_ZONE
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", zone):
        raise RequestError("TOWLINE_ZONE is not a name of letters, digits, '_', '.' and '-'")
    return zone


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(f"TOWLINE_{name}")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise RequestError(f"TOWLINE_{name} is not a positive number")
    return int(text)


def _parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT, with an IPv6 host in brackets; port 0 is any free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise RequestError(f"cannot listen on {text!r}", remedy="Give HOST:PORT, such as 127.0.0.1:8080.")
    return host.removeprefix("[").removesuffix("]"), int(port)
