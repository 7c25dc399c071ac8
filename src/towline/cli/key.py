"""`towline key`: access keys, with which clients sign their requests."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from towline.cli.accounts import new_group, render_time, show_record, show_records, with_accounts
from towline.cli.options import DataDirOption, DomainOption, JsonOption, StoreOption

app = new_group("key", "Access keys, with which clients sign their requests.")

_SAVE_IT = "Keep the secret key now: it cannot be shown again."


@app.command("add")
def add(
    user: Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")],
    project: Annotated[str, typer.Option("--project", help="Name of the project that the key is for.")],
    domain: DomainOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key; it may do what its user may in the project."""
    made = with_accounts(store, data_dir, lambda accounts: accounts.add_key(user, project=project, domain=domain))
    record = {name: value for name, value in asdict(made).items() if name != "password"}
    show_record(record, as_json=as_json, remark=_SAVE_IT)


@app.command("list")
def list_keys(store: StoreOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List keys, without their secrets."""
    records = [
        {
            "access_key": record.access_key,
            "user_name": record.user_name,
            "project_name": record.project_name,
            "domain_name": record.domain_name,
            "created": render_time(record.created_us),
        }
        for record in with_accounts(store, data_dir, lambda accounts: accounts.keys())
    ]
    show_records(records, as_json=as_json, nothing="There are no access keys.")


@app.command("delete")
def delete(
    access_key: Annotated[str, typer.Argument(metavar="ACCESS_KEY")],
    store: StoreOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a key; requests signed with it are refused from now on."""
    with_accounts(store, data_dir, lambda accounts: accounts.delete_key(access_key))
