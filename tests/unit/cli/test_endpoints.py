"""Which databases, tables and job a command line means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.cli.endpoints import choose_endpoint, derive_job_id, parse_password_file, parse_renames, parse_selection
from towline.domain.conversion import Collation, Conversion, ZeroDates, parse_column_types
from towline.domain.errors import RequestError
from towline.domain.jobs import Endpoint, TaskMode
from towline.domain.tables import ObjectSelection, TableName

ENDPOINT = Endpoint("postgresql", host="db.example", port=5432, user="mover", database="shop")


def test_password_comes_from_the_password_file_when_the_url_has_none(tmp_path: Path) -> None:
    path = tmp_path / "pass"
    path.write_text("db.example:5432:shop:mover:from-file\n")
    path.chmod(0o600)
    url = "postgresql://mover@db.example/shop"
    endpoint = choose_endpoint(url, variable="X", environment={"PGPASSFILE": str(path)})
    assert endpoint.password == "from-file"


def test_password_file_that_others_may_read_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:*:secret\n")
    (tmp_path / ".pgpass").chmod(0o644)
    endpoint = choose_endpoint("postgresql://m@h/d", variable="X", environment={"HOME": str(tmp_path)})
    assert endpoint.password == ""


def test_url_comes_from_the_environment_when_no_argument_is_given() -> None:
    environment = {"TOWLINE_SOURCE_URL": "postgresql://m:secret@h/d"}
    assert choose_endpoint(None, variable="TOWLINE_SOURCE_URL", environment=environment).password == "secret"


def test_missing_url_names_the_variable() -> None:
    with pytest.raises(RequestError, match="TOWLINE_SOURCE_URL"):
        choose_endpoint(None, variable="TOWLINE_SOURCE_URL", environment={})


def test_unknown_scheme_names_all_that_are_known() -> None:
    with pytest.raises(RequestError, match="postgresql://, mysql:// or mariadb://"):
        choose_endpoint("oracle://u:secret@h/d", variable="TOWLINE_SOURCE_URL", environment={})


def test_i7_malformed_url_is_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        choose_endpoint("postgresql://u:topsecret@h:notaport/d", variable="X", environment={})
    assert "topsecret" not in f"{caught.value} {caught.value.advice}"


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("db.example:5432:shop:mover:plain", "plain"),
        ("other:*:*:*:no\n*:*:*:mover:second", "second"),
        ("# db.example:5432:shop:mover:comment", ""),
        (r"db.example:5432:shop:mover:with\:colon\\and more", r"with:colon\and more"),
        ("db.example:5432:shop:mover:a:b", "a:b"),
        ("db.example:5432:shop", ""),
        ("", ""),
    ],
)
def test_password_file_lines(text: str, password: str) -> None:
    assert parse_password_file(text, ENDPOINT) == password


@given(st.text(max_size=200))
def test_any_password_file_is_read_without_an_error(text: str) -> None:
    parse_password_file(text, ENDPOINT)


def test_selection_of_tables_and_schemas() -> None:
    selection = parse_selection(['shop.orders,"My Schema"."a.b,c"', "audit.*", '"q""x".t'])
    assert selection.schemas == {"audit"}
    assert selection.tables == {
        TableName("shop", "orders"),
        TableName("My Schema", "a.b,c"),
        TableName('q"x', "t"),
    }


def test_no_selection_is_everything() -> None:
    assert parse_selection([]).is_everything


@pytest.mark.parametrize("text", ["orders", "a.b.c", ".b", "a.", '"a.b'])
def test_unreadable_table_names_are_refused(text: str) -> None:
    with pytest.raises(RequestError):
        parse_selection([text])


@pytest.mark.parametrize("text", ["", ","])
def test_empty_selection_is_not_everything(text: str) -> None:
    with pytest.raises(RequestError, match="names no table"):
        parse_selection([text])


def test_same_command_is_the_same_job_and_another_is_not() -> None:
    selection = ObjectSelection(tables=frozenset({TableName("a", "b"), TableName("c", "d")}))
    job_id = derive_job_id("s/1", "t/2", mode=TaskMode.FULL, selection=selection)
    assert job_id == derive_job_id("s/1", "t/2", mode=TaskMode.FULL, selection=selection)
    others = {
        derive_job_id("s/1", "t/3", mode=TaskMode.FULL, selection=selection),
        derive_job_id("s/1", "t/2", mode=TaskMode.FULL_AND_STREAM, selection=selection),
        derive_job_id("s/1", "t/2", mode=TaskMode.FULL, selection=ObjectSelection()),
    }
    assert len(others | {job_id}) == 4
    assert [len(part) for part in job_id.split("-")] == [8, 4, 4, 4, 12]
    assert job_id.endswith("jb01")


def test_renames_are_pairs_of_schemas_or_of_tables() -> None:
    names = parse_renames(['public.orders=sales.orders_2026,"a.b".*=c.*', 'public."x=y"=public."x,y"'])
    assert names.target_name(TableName("public", "orders")) == TableName("sales", "orders_2026")
    assert names.target_name(TableName("a.b", "t")) == TableName("c", "t")
    assert names.target_name(TableName("public", "x=y")) == TableName("public", "x,y")
    assert names.target_name(TableName("public", "other")) == TableName("public", "other")


@pytest.mark.parametrize("text", ["a.b", "a=b.c.d", "a.b=c", "a.*=b.c", "a.b=c.*", "a.b=c.d=e.f", "=", 'a."b=c.d'])
def test_rename_that_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--rename"):
        parse_renames([text])


def test_renames_make_another_job() -> None:
    plain, renamed = ObjectSelection(), ObjectSelection(names=parse_renames(["a.*=b.*"]))
    ids = {derive_job_id("s", "t", mode=TaskMode.FULL, selection=each) for each in (plain, renamed)}
    assert len(ids) == 2


def test_what_the_tables_are_made_by_is_part_of_the_job() -> None:
    """Whoever met a zero date goes on with the job; with other types it is another one."""

    def job_id(*types: str, **wishes: Any) -> str:
        conversion = Conversion(column_types=parse_column_types(types), **wishes)
        return derive_job_id("s", "t", mode=TaskMode.FULL, selection=ObjectSelection(), conversion=conversion)

    assert job_id() == derive_job_id("s", "t", mode=TaskMode.FULL, selection=ObjectSelection())
    assert job_id(zero_dates=ZeroDates.NULL) == job_id()
    assert job_id("a.b.c=text", "int=bigint") == job_id("int=bigint", "a.b.c=text")
    others = {job_id(), job_id("a.b.c=text"), job_id("a.b.c=json"), job_id(collation=Collation.CASE_INSENSITIVE)}
    assert len(others) == 4
