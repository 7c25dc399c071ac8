"""Logs: one JSON object per line on standard error, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_SECRET_KEY = re.compile(r"passw|pwd|secret|token|authorization|credential|private|signature", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<head>\b(?:password|passwd|pwd|secret|token)\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s,;)]+)",
    re.IGNORECASE,
)
_HIDDEN = "***"


def configure_logs(level: str = "info") -> None:
    """Set up structlog, and the standard library's loggers of the libraries, for this process."""
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def redact(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """I7: the second line of defence, should a secret reach a log call in spite of all."""
    for key, value in entry.items():
        entry[key] = _HIDDEN if _SECRET_KEY.search(key) else redact_value(value)
    return entry


def redact_value(value: Any) -> Any:
    """The value with passwords in URLs and assignments, and members with telling names, hidden."""
    if isinstance(value, str):
        return _ASSIGNED.sub(r"\g<head>" + _HIDDEN, _URL_PASSWORD.sub(r"\g<head>" + _HIDDEN + "@", value))
    if isinstance(value, Mapping):
        return {key: _HIDDEN if _SECRET_KEY.search(str(key)) else redact_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_value(inner) for inner in value]
    return value


class _LibraryFormatter(logging.Formatter):
    """Lines of other libraries in the same form."""

    def format(self, record: logging.LogRecord) -> str:
        entry: MutableMapping[str, Any] = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        rendered: str = structlog.processors.JSONRenderer()(None, "", redact(None, "", entry))  # type: ignore[assignment]
        return rendered
