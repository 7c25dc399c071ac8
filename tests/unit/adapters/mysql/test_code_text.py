"""Definers and the states of events in what SHOW CREATE says."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.code_text import disable_event, find_definer, is_enabled_event, remove_definer


@pytest.mark.parametrize(
    ("text", "definer", "without"),
    [
        ("CREATE DEFINER=`a`@`%` FUNCTION `f`() x", "`a`@`%`", "CREATE FUNCTION `f`() x"),
        ("CREATE DEFINER=`a``@`@`b` TRIGGER t x", "`a``@`@`b`", "CREATE TRIGGER t x"),
        ("CREATE DEFINER=`clerk` PROCEDURE `p`() x", "`clerk`", "CREATE PROCEDURE `p`() x"),
        (
            "CREATE ALGORITHM=UNDEFINED DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW `v` AS select 1",
            "`a`@`b`",
            "CREATE ALGORITHM=UNDEFINED SQL SECURITY DEFINER VIEW `v` AS select 1",
        ),
        ("CREATE TRIGGER t SET @x = ' DEFINER=`a`@`b`'", None, "CREATE TRIGGER t SET @x = ' DEFINER=`a`@`b`'"),
    ],
)
def test_definer(text: str, definer: str | None, without: str) -> None:
    assert find_definer(text) == definer
    assert remove_definer(text) == without


EVENT = "CREATE DEFINER=`a`@`b` EVENT `{name}` ON SCHEDULE {when} ON COMPLETION {kept}PRESERVE {state} DO BEGIN\nEND"
FAKE = "x ON SCHEDULE EVERY 1 DAY ON COMPLETION PRESERVE ENABLE"


@pytest.mark.parametrize("kept", ["", "NOT "])
@pytest.mark.parametrize("name", ["e", FAKE, "``"])
@pytest.mark.parametrize("state", ["ENABLE", "DISABLE", "DISABLE ON SLAVE", "ENABLE COMMENT 'DISABLE'"])
def test_event_that_is_enabled_is_created_disabled(name: str, kept: str, state: str) -> None:
    when = "EVERY '1\n2' DAY_HOUR STARTS '2020-01-01 00:00:00'"
    text = EVENT.format(name=name, when=when, kept=kept, state=state)
    assert is_enabled_event(text) == state.startswith("ENABLE")
    made = EVENT.format(name=name, when=when, kept=kept, state=state.replace("ENABLE", "DISABLE"))
    assert disable_event(text) == made
