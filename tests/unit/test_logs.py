from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from towline.logs import configure_logs, redact_value


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "text",
    [
        "connecting to postgresql://mover:hush@db:5432/shop",
        "password=hush host=db",
        "PASSWORD: 'hush'",
        'secret="hush, hush"',
        ["deep", {"inner": "token=hush"}],
        {"db_password": "hush"},
    ],
)
def test_i7_secrets_in_texts_are_hidden(text):
    assert "hush" not in repr(redact_value(text))


def test_plain_texts_stay_as_they_are():
    text = "copied public.orders: 5 rows at 10:15:00, see https://example.org/a@b"
    assert redact_value(text) == text


def test_i7_a_log_line_is_json_without_secrets(capsys):
    configure_logs("info")
    structlog.get_logger("test").info("connected", url="postgresql://u:hush@h/d", secret_key="hush", rows=5)
    logging.getLogger("library").warning("retry %s", "postgresql://u:hush@h/d")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["rows"], first["secret_key"]) == ("connected", 5, "***")
    assert second["event"] == "retry postgresql://u:***@h/d"


def test_the_level_is_kept(capsys):
    configure_logs("warning")
    structlog.get_logger("test").info("quiet")
    assert capsys.readouterr().err == ""
