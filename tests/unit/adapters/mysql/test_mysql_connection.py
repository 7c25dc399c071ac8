"""Endpoints from URLs, and what a server's version says."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.adapters.mysql.connection import parse_url
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import quote_ident, quote_literal
from towline.domain.errors import RequestError


def test_url_with_everything(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("PEM")
    endpoint = parse_url(f"mysql://us%40er:p%2Fw@db.example:3307/sh%20op?ssl-mode=VERIFY_CA&ssl-ca={certificate}")
    assert (endpoint.family, endpoint.host, endpoint.port, endpoint.user) == ("mysql", "db.example", 3307, "us@er")
    assert (endpoint.password, endpoint.database, endpoint.tls) == ("p/w", "sh op", True)
    assert endpoint.tls_root_certificate == "PEM"


def test_url_with_defaults() -> None:
    endpoint = parse_url("mariadb://root@localhost")
    assert (endpoint.port, endpoint.database, endpoint.password, endpoint.tls) == (3306, "", "", False)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/d",
        "mysql://h/d",
        "mysql://u:secret@h:99999/d",
        "mysql://u:secret@h/d?ssl-mode=MAYBE",
        "mysql://u:secret@h/d?ssl-mode=VERIFY_IDENTITY",
        "mysql://u:secret@h/d?charset=latin1",
    ],
)
def test_bad_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_mariadb", "version"),
    [
        ("9.7.4", False, (9, 7, 4)),
        ("8.0.36-0ubuntu0.22.04.1", False, (8, 0, 36)),
        ("5.5.5-10.11.8-MariaDB-0+deb12u1", True, (10, 11, 8)),
        ("11.4.2-MariaDB", True, (11, 4, 2)),
    ],
)
def test_version_names_product(text: str, is_mariadb: bool, version: tuple[int, int, int]) -> None:
    flavor = Flavor.parse(text)
    assert (flavor.is_mariadb, flavor.version) == (is_mariadb, version)


def test_version_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="not a server version"):
        Flavor.parse("HTTP/1.1 400")


def test_names_and_literals_are_quoted_whole() -> None:
    assert quote_ident("a`b") == "`a``b`"
    assert quote_literal("it's \\ here") == "'it''s \\\\ here'"
    with pytest.raises(ValueError, match="zero byte"):
        quote_ident("a\0b")
