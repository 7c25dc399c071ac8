"""The command `towline`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from towline import __version__

# NumPy's linear algebra starts a thread for each core, which spins for a while; nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# What `towline --help` says of each. The module of the same name, which has the function of that name, is imported only
# when the command runs: the server's libraries take about a second.
COMMANDS: Final = {
    "init": "Make the store with a project, a user and an access key; a second run changes nothing.",
    "serve": "Serve the API and run the jobs of the store until Ctrl-C.",
    "migrate": "Move a database to another server: structure, rows, indexes, with --follow later changes.",
    "jobs": "List the jobs of all projects, newest first.",
    "progress": "Show how far jobs are, how long they still take and how far behind they are; the worst first.",
    "demo": "Move a live PostgreSQL database between two servers of its own, and prove that nothing was lost.",
}
# Each is the `app` of its module, with commands of its own.
GROUPS: Final = {
    "user": "Users: who may call the API, and what each may do.",
    "project": "Projects: what jobs belong to, and how many each may have.",
    "key": "Access keys, with which clients sign their requests.",
}


class _Commands(TyperGroup):
    """Tells of commands without importing their modules, and imports the one that runs.

    Typer has a copy of click inside in newer versions, so the types of its arguments have no stable name.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        text = COMMANDS.get(cmd_name) or GROUPS.get(cmd_name)
        return TyperCommand(cmd_name, help=text) if text else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if found is not None and name else None, rest


def load_command(name: str) -> Any:
    """The command itself, from its module."""
    module = import_module(f"towline.cli.{name}")
    if name in GROUPS:
        return get_command(module.app)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name=name)(getattr(module, name))
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
