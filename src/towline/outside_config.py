"""The configuration file: other services that a Towline server speaks to. TOML, read and checked once at start-up.

A client of the API only ever names what stands here; it can neither make the server write to a file nor call an
address of the client's choice.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec

from towline.domain.errors import RequestError

Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#]+")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=60)]

_REMEDY: Final = "See the page of operations for what a configuration file may hold."


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mistyped name must not be a setting that does not hold."""


class KeystoneConfig(_Section, frozen=True):
    """An identity service whose tokens let in. `roles`: what its roles mean here."""

    url: Url  # without /v3
    roles: dict[str, str] = msgspec.field(
        default_factory=lambda: {"reader": "reader", "member": "operator", "admin": "admin"}
    )
    timeout_s: Seconds = 5.0
    ca_file: str | None = None


class SmtpConfig(_Section, frozen=True):
    host: str
    sender: str
    port: int = 25
    user: str = ""
    password: str = ""
    starttls: bool = False
    timeout_s: Seconds = 10.0

    def __repr__(self) -> str:
        return f"SmtpConfig({self.host}:{self.port})"  # I7


class TopicConfig(_Section, frozen=True):
    """Where messages of a topic go. With a secret each request is signed."""

    webhook: Url
    secret: str = ""
    timeout_s: Seconds = 10.0
    ca_file: str | None = None

    def __repr__(self) -> str:
        return "TopicConfig(...)"  # I7: addresses of webhooks are often secrets themselves


class LogGroupConfig(_Section, frozen=True):
    """Where the histories of jobs go: a folder with a file per stream, or an OTLP/HTTP collector; one of the two."""

    folder: str | None = None
    otlp: Url | None = None
    headers: dict[str, str] = {}
    timeout_s: Seconds = 10.0
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"LogGroupConfig({self.folder or 'otlp'})"  # I7: headers hold keys


class OutsideConfig(_Section, frozen=True):
    """Everything in the file; all of it may be left out."""

    keystone: KeystoneConfig | None = None
    smtp: SmtpConfig | None = None
    topics: dict[Name, TopicConfig] = {}
    log_groups: dict[Name, LogGroupConfig] = {}


def read_outside_config(path: Path | None) -> OutsideConfig:
    """What the file says; nothing without a file.

    Raises:
        RequestError: it cannot be read, or says something that cannot be meant.
    """
    if path is None:
        return OutsideConfig()
    try:
        with path.open("rb") as file:
            config = msgspec.convert(tomllib.load(file), OutsideConfig)
    except OSError:
        raise RequestError(f"the configuration file {path} cannot be read", remedy=_REMEDY) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise RequestError(f"the configuration file {path} is not TOML", remedy=_REMEDY) from None
    except msgspec.ValidationError as error:
        raise RequestError(f"the configuration file {path}: {error}", remedy=_REMEDY) from None
    for name, group in config.log_groups.items():
        if (group.folder is None) == (group.otlp is None):
            raise RequestError(f"log group {name} needs either a folder or an otlp address", remedy=_REMEDY)
    return config
