"""Driver errors become domain errors, without row values."""

from __future__ import annotations

import asyncio
import socket
import traceback

import asyncpg
import psycopg
import pytest

from towline.adapters.postgres.errors import sqlstate_of, translated, translated_connecting
from towline.domain import errors as domain
from towline.domain.errors import Side


def server_error(state: str, message: str, **fields: str) -> asyncpg.PostgresError:
    """What the driver raises for an answer of the server."""
    letters = {"detail": "D", "table_name": "t", "constraint_name": "n"}
    answer = {
        "C": state,
        "M": message,
        "S": "ERROR",
        **{letters[name]: text for name, text in fields.items()},
    }
    error = asyncpg.PostgresError.new(answer)
    assert isinstance(error, asyncpg.PostgresError)
    return error


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", domain.ConnectionLost),
        ("57P01", domain.ConnectionLost),
        ("28P01", domain.ConnectionRefused),
        ("3D000", domain.ConnectionRefused),
        ("40P01", domain.Deadlock),
        ("40001", domain.Deadlock),
        ("55P03", domain.TargetBusy),
        ("53300", domain.TargetBusy),
        ("53400", domain.NoFreeReplicationSlot),
        ("42501", domain.MissingPrivilege),
        ("22P02", domain.UnrepresentableValue),
        ("23502", domain.UnrepresentableValue),
        ("23505", domain.RowConflict),
        ("53100", domain.SetupError),
        ("42P01", domain.UnclassifiedError),
    ],
)
def test_sqlstate_chooses_the_class(state: str, kind: type[domain.TowlineError]) -> None:
    with pytest.raises(domain.TowlineError) as caught, translated(Side.TARGET, what="writing"):
        raise server_error(state, "it went wrong")
    assert type(caught.value) is kind
    assert caught.value.side is Side.TARGET
    assert str(caught.value) == f"writing: it went wrong (SQLSTATE {state})"
    assert sqlstate_of(caught.value) == state


def test_i7_detail_of_a_conflict_shows_nowhere() -> None:
    with pytest.raises(domain.RowConflict) as caught, translated(Side.TARGET, what="writing"):
        raise server_error(
            "23505",
            'duplicate key value violates unique constraint "people_pkey"',
            detail="Key (name)=(" + "carol) already exists.",
            table_name="people",
            constraint_name="people_pkey",
        )
    printed = "".join(traceback.format_exception(caught.value))
    assert "carol)" not in printed
    assert caught.value.context == {"sqlstate": "23505", "table": "people", "constraint": "people_pkey"}


@pytest.mark.parametrize(
    "message",
    [
        'invalid input syntax for type integer: "%s"',
        'value "%s" is out of range for type smallint',
        'invalid input syntax for type json: "a "%s" b"',
        "ungültige Eingabesyntax für Typ integer: »%s«",
    ],
)
def test_i7_value_quoted_in_a_message_is_cut_out(message: str) -> None:
    with pytest.raises(domain.UnrepresentableValue) as caught, translated(Side.TARGET, what="writing"):
        raise server_error("22P02", message % ("car" + "ol"))
    assert "car" + "ol" not in "".join(traceback.format_exception(caught.value))


def test_closed_connection_is_lost() -> None:
    with pytest.raises(domain.ConnectionLost), translated(Side.SOURCE, what="reading"):
        raise asyncpg.InterfaceError("connection is closed")


def test_misuse_of_the_driver_is_a_defect() -> None:
    with pytest.raises(domain.InvariantBroken), translated(Side.SOURCE, what="reading"):
        raise asyncpg.InterfaceError("cannot perform operation: another operation is in progress")


DISORDER = "cannot switch to state 15; another operation (2) is in progress"


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(), psycopg.OperationalError("gone")])
def test_network_trouble_in_a_session_is_a_lost_connection(error: Exception) -> None:
    with pytest.raises(domain.ConnectionLost), translated(Side.SOURCE, what="reading"):
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "refused"), domain.ServerUnreachable),
        (TimeoutError(), domain.ServerUnreachable),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), domain.ServerUnreachable),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), domain.ConnectionRefused),
        (ConnectionError("rejected SSL upgrade"), domain.ConnectionRefused),
        (psycopg.OperationalError("connection to server failed"), domain.ServerUnreachable),
        (asyncpg.InterfaceError("connection is closed"), domain.ServerUnreachable),
        # A session that is ended while it gets its settings.
        (asyncpg.InternalClientError(DISORDER), domain.ConnectionLost),
        (asyncpg.InternalClientError("something else"), domain.InvariantBroken),
    ],
)
def test_network_trouble_while_connecting(error: Exception, kind: type[domain.TowlineError]) -> None:
    with pytest.raises(domain.TowlineError) as caught, translated_connecting(Side.SOURCE, what="connecting"):
        raise error
    assert type(caught.value) is kind


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyError("x"), domain.LeaseLost("gone")])
def test_foreign_errors_pass_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, translated(Side.SOURCE, what="reading"):
        raise error
    assert caught.value is error
