"""Names and literals survive quoting."""

from __future__ import annotations

import pytest

from towline.adapters.postgres.quoting import qualified, quote_ident, quote_literal
from towline.domain.tables import TableName


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("orders", '"orders"'), ('say "hi"', '"say ""hi"""'), ("Größe µ", '"Größe µ"'), ("a.b", '"a.b"')],
)
def test_name_is_always_quoted(name: str, quoted: str) -> None:
    assert quote_ident(name) == quoted


@pytest.mark.parametrize(("text", "quoted"), [("it's", "'it''s'"), ("a\\b'", "E'a\\\\b'''"), ("", "''")])
def test_literal_is_quoted(text: str, quoted: str) -> None:
    assert quote_literal(text) == quoted


def test_qualified_quotes_both_parts() -> None:
    assert qualified(TableName("my schema", "a.b")) == '"my schema"."a.b"'


@pytest.mark.parametrize("quote", [quote_ident, quote_literal])
def test_zero_byte_is_refused(quote) -> None:
    with pytest.raises(ValueError, match="zero byte"):
        quote("a\0b")
