"""Errors by number, and what of a server's message may be shown (I7)."""

from __future__ import annotations

import pymysql
import pytest

from towline.adapters.mysql.errors import (
    clean_message,
    is_data_error,
    number_of,
    translate,
    translated,
    translated_connecting,
)
from towline.adapters.mysql.structure_target import is_there_already
from towline.domain.errors import (
    ConnectionLost,
    ConnectionRefused,
    Deadlock,
    InvariantBroken,
    MissingPrivilege,
    RowConflict,
    SetupError,
    Side,
    TargetBusy,
    TowlineError,
    UnclassifiedError,
    UnrepresentableValue,
)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1062, RowConflict),
        (1205, TargetBusy),
        (1213, Deadlock),
        (1366, UnrepresentableValue),
        (2013, ConnectionLost),
        (1153, SetupError),
        (9999, UnclassifiedError),
    ],
)
def test_number_decides_the_class(number: int, kind: type[TowlineError]) -> None:
    error = translate(pymysql.err.OperationalError(number, "words"), Side.TARGET, what="writing")
    assert type(error) is kind
    assert error.side is Side.TARGET
    assert number_of(error) == number


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1062, "Duplicate entry 'sec'ret' for key 'orders.email'"),
        (1366, "Incorrect string value: '\\xF0secret' for column `shop`.`orders`.`note` at row 3"),
        (1292, "Incorrect datetime value: 'secret' for column 'at' at row 1"),
        (1064, "You have an error near 'VALUES (1, 'secret')' at line 1"),
        (1452, "Cannot add: a foreign key (`a`.`b`, CONSTRAINT `c` FOREIGN KEY (`secret`))"),
    ],
)
def test_values_are_cut_out_of_messages(number: int, message: str) -> None:
    driver_error = pymysql.err.DataError(number, message)
    with pytest.raises(TowlineError) as caught, translated(Side.TARGET, what="writing"):
        raise driver_error
    assert "secret" not in str(caught.value)
    assert "secret" not in str(driver_error)


def test_names_of_key_and_column_are_kept() -> None:
    assert "for key 'orders.email'" in clean_message("Duplicate entry 'x' for key 'orders.email'", 1062)
    assert clean_message("Data too long for column 'note' at row 1", 1406) == "Data too long for column 'note' at row 1"


def test_refused_login_and_refused_statement_share_a_number() -> None:
    denied = pymysql.err.OperationalError(1045, "Access denied for user 'a'@'%' (using password: YES)")
    assert isinstance(translate(denied, Side.SOURCE, what="locking"), MissingPrivilege)
    with pytest.raises(ConnectionRefused), translated_connecting(Side.SOURCE, what="connecting"):
        raise denied


@pytest.mark.parametrize(("reason", "is_taken"), [('121 "Duplicate key on write"', True), ('150 "x"', False)])
def test_failed_creation_is_no_sign_that_the_object_exists(reason: str, is_taken: bool) -> None:
    error = pymysql.err.OperationalError(1005, f"Can't create table `shop`.`orders` (errno: {reason})")
    assert is_there_already(translate(error, Side.TARGET, what="creating")) is is_taken


def test_socket_errors_are_lost_connections() -> None:
    assert isinstance(translate(BrokenPipeError("x"), Side.SOURCE, what="reading"), ConnectionLost)
    assert isinstance(translate(pymysql.err.ProgrammingError("misuse"), Side.SOURCE, what="x"), InvariantBroken)


def test_warnings_about_values_are_known() -> None:
    assert is_data_error(1265)
    assert is_data_error(1062)
    assert not is_data_error(1287)  # deprecated syntax


def test_i7_values_without_quotes_are_left_out() -> None:
    assert "4711" not in clean_message("Table has no partition for value 4711", 1526)
    assert "1e400" not in clean_message("Illegal DOUBLE '1e400' value found during parsing", 1367)
