"""What the commands about users, projects and keys share: the service on the store, and how results are shown."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import typer

from towline.cli.options import ending_on_error
from towline.cli.tables import print_table
from towline.clock import SystemClock
from towline.service.accounts import AccountService
from towline.settings import read_settings
from towline.store.opening import opened_store

T = TypeVar("T")


def with_accounts(store: str | None, data_dir: Path | None, work: Callable[[AccountService], Awaitable[T]]) -> T:
    """Do something with the accounts of the store; ends the command when it is refused."""

    async def run() -> T:
        settings = read_settings(os.environ, store=store, data_dir=data_dir)
        clock = SystemClock()
        async with opened_store(settings.store_url, settings.data_dir, clock=clock) as opened:
            return await work(AccountService(opened.accounts, opened.identities, clock=clock))

    with ending_on_error():
        return asyncio.run(run())
    raise AssertionError("the block above returns or exits")


def new_group(name: str, help_text: str) -> typer.Typer:
    """A command that has commands of its own."""
    return typer.Typer(
        name=name, help=help_text, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
    )


def show_records(records: Sequence[dict[str, Any]], *, as_json: bool, nothing: str) -> None:
    """A table, or one JSON array."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(records).decode() + "\n")
        return
    if not records:
        sys.stdout.write(f"{nothing}\n")
        return
    columns = [name.replace("_", " ") for name in records[0]]
    print_table(columns, ([_render(value) for value in record.values()] for record in records))


def show_record(record: dict[str, Any], *, as_json: bool, remark: str = "") -> None:
    """One thing that was made, with secrets that are shown this once."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
        return
    for name, value in record.items():
        sys.stdout.write(f"{name.replace('_', ' '):<13} {value}\n")
    if remark:
        sys.stdout.write(f"\n{remark}\n")


def render_time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_password() -> str:
    """One line of standard input: arguments are visible to other users of the machine."""
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        sys.stderr.write("Error: there is no password on standard input\n")
        raise typer.Exit(1)
    return password


def _render(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {word}" for name, word in value.items()) or "-"
    return "-" if value is None else str(value)
