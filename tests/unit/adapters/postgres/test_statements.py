"""I7: a statement that is shown holds neither rows' values nor passwords."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.adapters.postgres.statements import MAX_LENGTH, mask_statement


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE t SET a = 'x''y', b = 4711 WHERE id=$1", "UPDATE t SET a = ?, b = ? WHERE id=$1"),
        ("ALTER USER ada PASSWORD 'hush'", "ALTER USER ada PASSWORD ?"),
        ("SELECT E'a\\nb', $q$it's$q$, $$x$$, B'01', U&'d', .5, 1e-3, 1.5E+7", "SELECT ?, ?, ?, ?, ?, ?, ?, ?"),
        ('SELECT "it\'s 5", t1.c2 -- pin 1234\n FROM s.t1 /* hush */', 'SELECT "it\'s 5", t1.c2 FROM s.t1'),
        ("INSERT INTO t VALUES ('cut off in the mid", "INSERT INTO t VALUES (?"),
        ("SELECT $tag$ cut off", "SELECT ?"),
        ("SELECT 1 /* cut off 42", "SELECT ?"),
        ("SELECT 'a\\' hush', 'b'", "SELECT ?"),
        ("  LOCK\n\tTABLE t  ", "LOCK TABLE t"),
        ("<insufficient privilege>", ""),
        (None, ""),
    ],
)
def test_literals_are_masked(statement: str | None, shown: str):
    assert mask_statement(statement) == shown


@given(st.text(), st.sampled_from(["'{}'", "E'{}'", "$x${}$x$", "N'{}'"]), st.integers(0, 400))
def test_i7_a_literal_never_shows_wherever_the_statement_is_cut(value: str, form: str, end: int):
    secret = "Geheim77"
    inside = value.replace("'", "''").replace("$", "") + secret
    statement = f"UPDATE t SET a = {form.format(inside)}, b = {form.format(secret)} WHERE c = 9988776655"[:end]
    shown = mask_statement(statement)
    assert "Geheim" not in shown
    assert "99887" not in shown
    assert len(shown) <= MAX_LENGTH
