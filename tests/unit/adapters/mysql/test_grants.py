"""What of an account's grants concerns a job."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.accounts import native_hash, quote_account
from towline.adapters.mysql.grants import choose_grants
from towline.domain.tables import ObjectSelection, TableName

ONE = ObjectSelection(schemas=frozenset({"my_shop"}), tables=frozenset({TableName("other", "t")}))


def choose(line: str, selection: ObjectSelection = ONE) -> tuple[list[str], list[str]]:
    grants, left_out = choose_grants([line], "u@%", "'u'@'%'", selection)
    return [grant.statement for grant in grants], left_out


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        ("GRANT SELECT ON `my\\_shop`.* TO `u`@`%`", "GRANT SELECT ON `my\\_shop`.* TO 'u'@'%'"),
        # Read as a pattern it would take in `myxshop` as well.
        ("GRANT ALL PRIVILEGES ON `my_shop`.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `my\\_shop`.* TO 'u'@'%'"),
        (
            "GRANT SELECT (`a`), UPDATE (`a`) ON `other`.`t` TO `u`@`%` WITH GRANT OPTION",
            "GRANT SELECT (`a`), UPDATE (`a`) ON `other`.`t` TO 'u'@'%' WITH GRANT OPTION",
        ),
        (
            "GRANT EXECUTE ON PROCEDURE `my_shop`.`p` TO `u`@`%`",
            "GRANT EXECUTE ON PROCEDURE `my_shop`.`p` TO 'u'@'%'",
        ),
    ],
)
def test_grants_on_what_is_selected_are_given(line: str, statement: str) -> None:
    assert choose(line) == ([statement], [])


@pytest.mark.parametrize(
    "line",
    [
        "GRANT SELECT ON `other`.`secret` TO `u`@`%`",
        "GRANT SELECT ON `other`.* TO `u`@`%`",
        "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*AB'",
        "GRANT `clerk`@`%` TO `u`@`%`",
        "GRANT `clerk` TO `u`@`%` WITH ADMIN OPTION",
    ],
)
def test_others_are_no_concern_of_the_job(line: str) -> None:
    assert choose(line) == ([], [])


@pytest.mark.parametrize(
    "line",
    [
        "GRANT SUPER, RELOAD ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*AB'",
        "GRANT SELECT ON `my%`.* TO `u`@`%`",
        "GRANT PROXY ON ``@`%` TO `u`@`%`",
        "REVOKE SELECT ON `my_shop`.* FROM `u`@`%`",
    ],
)
def test_what_cannot_be_carried_over_is_said_without_hashes(line: str) -> None:
    statements, (reason,) = choose(line)
    assert not statements
    assert "*AB" not in reason


def test_databases_of_the_server_are_never_selected() -> None:
    assert choose("GRANT SELECT ON `mysql`.* TO `u`@`%`", ObjectSelection()) == ([], [])


def test_names_and_hashes_are_rendered_as_the_server_reads_them() -> None:
    assert quote_account("o'neil@10.%") == "'o''neil'@'10.%'"
    assert quote_account("clerk") == "`clerk`"
    assert native_hash("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
