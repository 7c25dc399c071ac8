"""The command `towline`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from towline import __version__

# NumPy's linear algebra starts a thread for each core, which spins for a while; nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Each is a function of the module of the same name, which is imported only when it is asked for: the server's
# libraries would cost `migrate` about a second.
COMMANDS = ("init", "serve", "migrate", "jobs", "progress", "demo")
# Each is the `app` of its module, with commands of its own.
GROUPS = ("user", "project", "key")


class _Commands(TyperGroup):
    """Finds a command by importing its module.

    Typer has a copy of click inside in newer versions, so the types of its arguments have no stable name.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in GROUPS:
            return get_command(import_module(f"towline.cli.{cmd_name}").app)
        if cmd_name not in COMMANDS:
            return None
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name=cmd_name)(getattr(import_module(f"towline.cli.{cmd_name}"), cmd_name))
        return get_command(single)


app = typer.Typer(
    name="towline",
    cls=_Commands,
    help="Moves live databases to another server and keeps them in step until you switch over.",
    no_args_is_help=True,
    # A stack trace with the values of local variables could show a password (I7).
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Moves live databases to another server and keeps them in step until you switch over."""


if __name__ == "__main__":
    app()
