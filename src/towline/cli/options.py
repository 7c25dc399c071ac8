"""Options that several commands share, and how a command ends when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from towline.domain.errors import TowlineError

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
        "left out: $TOWLINE_STORE, or a SQLite file in the data directory.",
        show_default=False,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Key file, SQLite store and files of running jobs; left out: $TOWLINE_DATA_DIR.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


DomainOption = Annotated[
    str | None, typer.Option("--domain", help="Left out: the only one in which the name exists.", show_default=False)
]


@contextmanager
def ending_on_error() -> Iterator[None]:
    """Prints what is wrong and what to do about it, and ends with exit code 1; never a stack trace."""
    try:
        yield
    except TowlineError as error:
        print_error(error)
        raise typer.Exit(1) from None


def print_error(error: TowlineError) -> None:
    """Two lines on standard error: what is wrong, with the code that docs/errors.md explains, and what to do."""
    sys.stderr.write(f"Error: {error.message.removesuffix('.')} ({error.code})\n{error.advice}\n")
