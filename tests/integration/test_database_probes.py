"""What the service asks of real servers: conditions for rows, accounts, parameters."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64decode
from dataclasses import replace

import psycopg
import pytest

from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory, ServerFactory
from towline.adapters.postgres.accounts import ensure_accounts, read_accounts, scram_verifier
from towline.adapters.postgres.checks import run_prechecks
from towline.adapters.postgres.connection import parse_url
from towline.adapters.postgres.parameters import read_parameters, write_parameters
from towline.adapters.postgres.row_filters import check_row_filter, require_one_expression
from towline.domain.accounts import AccountWish
from towline.domain.errors import MissingPrivilege, ParameterRefused, RowFilterRefused
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.prechecks import Verdict
from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection, RowFilter, TableName
from towline.embedded import EmbeddedPostgres

SALE = TableName("public", "sale")


async def check(database: Database, condition: str, *, table: TableName = SALE, follow: bool = True) -> None:
    await check_row_filter(parse_url(database.url), RowFilter(table, condition), follow=follow)


@pytest.fixture
def filtered(pg18: EmbeddedPostgres, fresh_database: DatabaseFactory) -> Database:
    database = fresh_database(pg18, "filters")
    database.execute(
        "CREATE TABLE sale (id int, region text, note text, PRIMARY KEY (id, region));"
        "CREATE TABLE part (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');"
        "CREATE FUNCTION mine(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true';"
    )
    return database


@pytest.mark.parametrize(
    "condition",
    [
        "id > 10",
        "region IN ('eu', 'it''s')",
        "id % 2 = 0 AND (region = 'a;b' OR \"region\" = ')')",
        "length(region) = 2",
    ],
)
async def test_conditions_on_the_key_may_be_followed(filtered: Database, condition: str) -> None:
    await check(filtered, condition)
    assert filtered.fetch_all("SELECT pubname FROM pg_publication") == []


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("amount > 1", "does not exist"),
        ("id = 'x'", "integer"),
        ("id", "boolean"),
        ("id >", "syntax"),
        ("note = 'x'", "not part of the key"),
        ("public.mine(id)", "cannot be used"),
        ("id IN (SELECT 1)", "cannot be used"),
    ],
)
async def test_conditions_that_a_stream_cannot_hold_are_refused(filtered: Database, condition: str, says: str) -> None:
    with pytest.raises(RowFilterRefused, match=says):
        await check(filtered, condition)


async def test_a_copy_alone_may_use_any_column(filtered: Database) -> None:
    await check(filtered, "note = 'x' AND public.mine(id)", follow=False)
    filtered.execute("ALTER TABLE sale REPLICA IDENTITY FULL")
    await check(filtered, "note = 'x'")


async def test_the_precheck_looks_at_conditions_again(filtered: Database, target_database: Database) -> None:
    spec = JobSpec(
        "job-filters",
        TaskMode.FULL,
        parse_url(filtered.url),
        parse_url(target_database.url),
        ObjectSelection(row_filters=(RowFilter(SALE, "note = 'x'"),)),
    )
    for mode, verdict in ((TaskMode.FULL, Verdict.PASSED), (TaskMode.FULL_AND_STREAM, Verdict.FAILED)):
        items = {item.item: item for item in await run_prechecks(replace(spec, mode=mode))}
        assert items["srcRowFilterCheck"].verdict is verdict


async def test_a_partitioned_table_is_checked_by_its_leaves(filtered: Database) -> None:
    part = TableName("public", "part")
    await check(filtered, "day >= '2024-06-01'", table=part)
    with pytest.raises(RowFilterRefused, match="no table"):
        await check(filtered, "true", table=TableName("public", "nothing"))


@pytest.mark.parametrize(
    "text",
    ["", " ", "true) OR (true", "(a", "a; DROP TABLE x", "a -- b", "a /* b", "'a", "$$a$$", "E'\\'' = ')' OR ('1"],
)
def test_text_that_could_leave_its_parentheses_is_refused(text: str) -> None:
    with pytest.raises(RowFilterRefused):
        require_one_expression(text)


@pytest.mark.parametrize("text", ["a = ')'", "(a) OR (b)", "x = 'it''s; -- fine'", '"odd ""( name" > 1'])
def test_quoted_signs_mean_nothing(text: str) -> None:
    require_one_expression(text)


# --- accounts ---------------------------------------------------------------------------------------


async def test_accounts_are_made_with_their_passwords_and_memberships(
    pg16: EmbeddedPostgres, private_server: ServerFactory, fresh_database: DatabaseFactory
) -> None:
    source = fresh_database(pg16, "accounts")
    target = fresh_database(private_server(18), "accounts")
    source.execute(
        "DROP ROLE IF EXISTS tw_app, tw_own, tw_staff; CREATE ROLE tw_staff NOINHERIT; "
        "CREATE ROLE tw_app LOGIN CREATEDB PASSWORD 'of the source' CONNECTION LIMIT 7 IN ROLE tw_staff; "
        "COMMENT ON ROLE tw_app IS 'the application'; CREATE ROLE tw_own LOGIN PASSWORD 'old'"
    )
    try:
        listed = {account.name: account for account in await read_accounts(parse_url(source.url))}
        assert (listed["tw_app"].can_login, listed["tw_app"].member_of) == (True, ("tw_staff",))
        assert listed["tw_app"].privileges == ("CREATEDB", "LOGIN", "INHERIT")
        assert listed[source.server.user].reason
        reports: list[StructureReport] = []
        wish = AccountWish(("tw_app", "tw_gone", "tw_own", "tw_staff"), {"tw_own": "a new one"})
        for _ in range(2):
            await ensure_accounts(parse_url(source.url), parse_url(target.url), wish, on_report=reports.append)
        assert {report.name for report in reports} == {"tw_gone"}
        assert target.fetch_all(
            "SELECT rolname, rolcreatedb, rolinherit, rolconnlimit, shobj_description(oid, 'pg_authid') FROM pg_roles "
            "WHERE rolname LIKE 'tw%' ORDER BY 1"
        ) == [
            ("tw_app", True, True, 7, "the application"),
            ("tw_own", False, True, -1, None),
            ("tw_staff", False, False, -1, None),
        ]
        assert target.fetch_value("SELECT pg_has_role('tw_app', 'tw_staff', 'member')")
        hashes = "SELECT rolpassword FROM pg_authid WHERE rolname = 'tw_app'"
        assert source.fetch_value(hashes) == target.fetch_value(hashes)
        assert password_fits(
            target.fetch_value("SELECT rolpassword FROM pg_authid WHERE rolname = 'tw_own'"), "a new one"
        )
    finally:
        source.execute("DROP ROLE tw_app, tw_own, tw_staff")


def password_fits(verifier: str, password: str) -> bool:
    _, rounds_and_salt, keys = verifier.split("$")
    rounds, salt = rounds_and_salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(salt), int(rounds))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return stored == b64decode(keys.split(":")[0])


def test_a_verifier_fits_its_password_only() -> None:
    assert password_fits(scram_verifier("secret"), "secret")
    assert not password_fits(scram_verifier("secret"), "Secret")


# --- parameters -------------------------------------------------------------------------------------


async def test_parameters_are_compared_and_changed_all_or_none(
    pg16: EmbeddedPostgres, private_server: ServerFactory, fresh_database: DatabaseFactory
) -> None:
    source, target = fresh_database(pg16, "parameters"), fresh_database(private_server(18), "parameters")
    here, there = parse_url(source.url), parse_url(target.url)
    found = {each.name: each for each in await read_parameters(here, there)}
    assert found["work_mem"].group == "performance"
    assert (found["max_connections"].group, found["max_connections"].needs_restart) == ("common", True)
    with pytest.raises(ParameterRefused, match="seq_page_cost"):
        await write_parameters(there, {"work_mem": "9MB", "seq_page_cost": "much"})
    assert {each.name: each for each in await read_parameters(here, there)}["work_mem"].target_value != "9MB"
    assert target.fetch_value("SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'") == 0
    assert await write_parameters(there, {"work_mem": "9MB"}) is False
    assert await write_parameters(there, {"max_connections": "77"}) is True
    with psycopg.connect(target.url, autocommit=True) as fresh:
        assert fresh.execute("SHOW work_mem").fetchone() == ("9MB",)
    # The user may change both, and not see what they were.
    target.execute(
        "CREATE ROLE tuner LOGIN PASSWORD 'tune'; GRANT ALTER SYSTEM ON PARAMETER work_mem, seq_page_cost TO tuner"
    )
    tuner = replace(there, user="tuner", password="tune")
    with pytest.raises(MissingPrivilege, match="may not see"):
        await write_parameters(tuner, {"work_mem": "10MB", "seq_page_cost": "much"})
    written = "SELECT setting FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' AND name = 'work_mem'"
    assert target.fetch_value(written) == "9MB"
    for statement in ("GRANT SELECT ON pg_file_settings", "GRANT EXECUTE ON FUNCTION pg_show_all_file_settings()"):
        target.execute(f"{statement} TO tuner")
    with pytest.raises(ParameterRefused, match="seq_page_cost"):
        await write_parameters(tuner, {"work_mem": "10MB", "seq_page_cost": "much"})
    assert target.fetch_value(written) == "9MB"
    # Cancelled in the middle; all are changed all the same.
    target.execute("ALTER SYSTEM RESET ALL")
    names = ("work_mem", "temp_buffers", "wal_buffers", "min_wal_size", "max_wal_size", "shared_buffers")
    costs = ("seq_page_cost", "random_page_cost")
    values = {**dict.fromkeys(names, "65MB"), **dict.fromkeys(costs, "2"), "max_connections": "78"}
    changing = asyncio.create_task(write_parameters(there, values))
    changed = "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'"
    async with asyncio.timeout(20):
        while target.fetch_value(changed) == 0:
            await asyncio.sleep(0)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert target.fetch_value(changed) == len(values)
