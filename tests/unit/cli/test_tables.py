"""Lists of the commands, on a terminal and in a pipe."""

from __future__ import annotations

import io

from towline.cli.tables import print_table

ROW = ("87249c6f-3d30-d4ca-95dc-1a60bf9djb74", "nightly", "[::1]:5432/" + "x" * 90)


def test_rows_are_whole_lines_where_nobody_looks() -> None:
    out = io.StringIO()
    print_table(("id", "name", "source"), [ROW, ROW], out=out)
    head, *lines = out.getvalue().splitlines()
    assert head.split() == ["id", "name", "source"]
    assert [line.split() for line in lines] == [list(ROW), list(ROW)]


def test_nothing_is_cut_off_on_a_narrow_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    print_table(("id", "name", "source"), [ROW], out=out)
    assert "…" not in out.getvalue()
    assert out.getvalue().count("x") == 90
