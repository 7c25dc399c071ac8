"""Endpoints in and out of libpq's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from towline.adapters.postgres.connection import (
    application_name,
    libpq_conninfo,
    libpq_environment,
    parse_url,
)
from towline.domain.errors import RequestError
from towline.domain.jobs import Endpoint


def test_url_becomes_an_endpoint() -> None:
    assert parse_url("postgresql://me:p%40ss%2Fword@db.example:6000/my%20db") == Endpoint(
        family="postgresql", host="db.example", port=6000, user="me", password="p@ss/word", database="my db"
    )


def test_url_without_port_and_database_uses_the_usual_ones() -> None:
    endpoint = parse_url("postgres://me@[::1]")
    assert (endpoint.host, endpoint.port, endpoint.database) == ("::1", 5432, "me")


def test_url_with_a_certificate_verifies(tmp_path: Path) -> None:
    certificate = tmp_path / "root.pem"
    certificate.write_text("PEM")
    endpoint = parse_url(f"postgresql://me@db/x?sslmode=verify-full&sslrootcert={certificate}")
    assert endpoint.tls
    assert endpoint.tls_root_certificate == "PEM"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:SECRET@db/x",
        "postgresql://me:SECRET@db:port/x",
        "postgresql://me:SECRET@/x",
        "postgresql://:SECRET@db/x",
        "postgresql://me:SECRET@db/x?sslmode=verify-full",
        "postgresql://me:SECRET@db/x?sslmode=maybe",
        "postgresql://me:SECRET@db/x?service=other",
        "postgresql://me:SECRET@db/x?sslmode=require&sslrootcert=missing.pem",
    ],
)
def test_i7_bad_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_url(url)
    assert "SECRET" not in str(caught.value)


def test_conninfo_holds_settings_for_replication() -> None:
    endpoint = Endpoint("postgresql", "db", 6000, "me", "p'w \\", "my db")
    known = conninfo_to_dict(libpq_conninfo(endpoint, purpose="j:stream", replication=True))
    assert known["replication"] == "database"
    assert known["password"] == "p'w \\"
    assert known["dbname"] == "my db"
    assert known["application_name"] == "towline:j:stream"
    assert "-c search_path= " in str(known["options"])


@pytest.mark.parametrize(
    ("tls", "certificate", "host", "mode"),
    [
        (False, "", "db", "disable"),
        (True, "", "db", "require"),
        (True, "PEM", "db", "verify-full"),
        (True, "PEM", "10.0.0.1", "verify-ca"),
    ],
)
def test_tls_in_words_of_libpq(tls: bool, certificate: str, host: str, mode: str) -> None:
    endpoint = Endpoint("postgresql", host, 1, "me", "", "d", tls=tls, tls_root_certificate=certificate)
    environment = libpq_environment(endpoint, purpose="dump")
    assert environment["PGSSLMODE"] == mode
    if certificate:
        assert Path(environment["PGSSLROOTCERT"]).read_text() == "PEM"


def test_application_name_fits_the_server() -> None:
    assert len(application_name("x" * 100)) == 63
