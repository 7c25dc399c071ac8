"""`towline` itself: what it says of its commands, and what that costs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from towline.cli.main import COMMANDS, GROUPS, app, load_command


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_help_says_of_a_command_what_it_says_of_itself(name: str) -> None:
    said = {**COMMANDS, **GROUPS}[name]
    assert load_command(name).help.splitlines()[0] == said
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert said.split()[0] in shown.output


def test_help_lists_all_commands_and_imports_none_of_them() -> None:
    ask = "import sys; from towline.cli.main import app; app(['--help'], standalone_mode=False)"
    told = "print([m for m in sys.modules if m.split('.')[0] in ('litestar', 'sqlalchemy', 'psycopg', 'numpy')])"
    shown = subprocess.run([sys.executable, "-c", f"{ask}; {told}"], capture_output=True, text=True, check=True).stdout
    for name in (*COMMANDS, *GROUPS):
        assert f" {name} " in shown
    assert shown.splitlines()[-1] == "[]"


def test_unknown_command_is_refused() -> None:
    refused = CliRunner().invoke(app, ["migrat"])
    assert refused.exit_code == 2
    assert "migrat" in refused.output
