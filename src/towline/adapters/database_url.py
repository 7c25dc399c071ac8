"""What the URLs of all databases have in common. No message repeats the URL: it holds a password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from towline.domain.errors import RequestError


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """`port` is None and `host`, `user`, `password`, `database` are empty where the URL does not say."""

    host: str
    port: int | None
    user: str
    password: str
    database: str
    options: dict[str, str]

    def require_place(self, example: str) -> None:
        """Raises: RequestError, user or host are missing."""
        if not self.host or not self.user:
            raise RequestError(f"the database URL needs a user and a host: {example}")


def split_url(url: str, *, schemes: Sequence[str], options: Sequence[str]) -> DatabaseUrl:
    """The parts of a URL whose scheme is one of `schemes` and which may have `options`, unquoted.

    Raises:
        RequestError: says which part is wrong.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RequestError("the database URL is malformed: check host and port") from None
    if parts.scheme not in schemes:
        raise RequestError("a database URL starts with postgresql://, mysql:// or mariadb://")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - set(options))
    if unknown:
        raise RequestError(f"the database URL has a parameter that is not supported: {unknown[0]}")
    return DatabaseUrl(
        host=unquote(parts.hostname or ""),
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.removeprefix("/")),
        options=given,
    )


def read_certificate(path: str) -> str:
    """The text of the file, empty without a path. Raises: RequestError."""
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"the root certificate {path} cannot be read") from None
