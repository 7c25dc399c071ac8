"""Sessions over TLS, verified and not, through both drivers."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace
from pathlib import Path

import asyncpg
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.fixtures import ServerFactory
from towline.adapters.postgres.connection import connect, libpq_conninfo, parse_url
from towline.domain.errors import ConnectionRefused
from towline.domain.jobs import Endpoint
from towline.embedded import EmbeddedPostgres

IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def make_certificate(host: str) -> tuple[str, str]:
    """Key and self-signed certificate for the host, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


def install(server: EmbeddedPostgres, key: str, certificate: str) -> None:
    owner = server.data_dir.stat()
    for name, text in (("tls.key", key), ("tls.crt", certificate)):
        path: Path = server.data_dir / name
        path.touch(mode=0o600)
        path.write_text(text)
        os.chown(path, owner.st_uid, owner.st_gid)
    server.restart(settings={"ssl": "on", "ssl_key_file": "tls.key", "ssl_cert_file": "tls.crt"})


@pytest.fixture
def tls_server(private_server: ServerFactory) -> tuple[EmbeddedPostgres, str]:
    """A server that offers TLS as `localhost`, and its certificate."""
    server = private_server(15)
    key, certificate = make_certificate("localhost")
    install(server, key, certificate)
    return server, certificate


async def is_encrypted(endpoint: Endpoint) -> tuple[bool, bool]:
    """Whether the session is encrypted: asyncpg's, and libpq's."""
    connection: asyncpg.Connection = await connect(endpoint, purpose="test")
    try:
        first = await connection.fetchval(IS_ENCRYPTED)
    finally:
        await connection.close()
    async with await psycopg.AsyncConnection.connect(libpq_conninfo(endpoint, purpose="test")) as other:
        row = await (await other.execute(IS_ENCRYPTED)).fetchone()
    assert row is not None
    return first, row[0]


async def test_tls_as_asked_for(tls_server: tuple[EmbeddedPostgres, str]) -> None:
    server, certificate = tls_server
    plain = parse_url(server.url())
    assert await is_encrypted(plain) == (False, False)
    unverified = replace(plain, tls=True)
    assert await is_encrypted(unverified) == (True, True)
    by_name = replace(unverified, host="localhost", tls_root_certificate=certificate)
    assert await is_encrypted(by_name) == (True, True)
    # An address is not compared with the names in the certificate, but its issuer is.
    by_address = replace(by_name, host="127.0.0.1")
    assert await is_encrypted(by_address) == (True, True)


async def test_foreign_certificate_and_wrong_name_are_refused(tls_server: tuple[EmbeddedPostgres, str]) -> None:
    server, _ = tls_server
    _, foreign = make_certificate("localhost")
    endpoint = replace(parse_url(server.url()), tls=True, host="localhost", tls_root_certificate=foreign)
    with pytest.raises(ConnectionRefused, match="TLS"):
        await connect(endpoint, purpose="test")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        await psycopg.AsyncConnection.connect(libpq_conninfo(endpoint, purpose="test"))

    key, other_name = make_certificate("elsewhere.example")
    install(server, key, other_name)
    endpoint = replace(endpoint, tls_root_certificate=other_name)
    with pytest.raises(ConnectionRefused, match="TLS"):
        await connect(endpoint, purpose="test")
    with pytest.raises(psycopg.OperationalError, match="elsewhere"):
        await psycopg.AsyncConnection.connect(libpq_conninfo(endpoint, purpose="test"))


async def test_server_without_tls_is_refused_when_tls_is_asked_for(pg15: EmbeddedPostgres) -> None:
    with pytest.raises(ConnectionRefused, match="does not offer TLS"):
        await connect(replace(parse_url(pg15.url()), tls=True), purpose="test")
