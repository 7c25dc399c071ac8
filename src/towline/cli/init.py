"""`towline init`: makes the store, the first account and its access key."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import asdict
from typing import Annotated

import msgspec
import typer

from towline.cli.options import DataDirOption, JsonOption, StoreOption, ending_on_error
from towline.clock import SystemClock
from towline.service.identity import IdentityService
from towline.service.ports import Credentials
from towline.settings import Settings, read_settings
from towline.store.opening import opened_store

_SAVE_IT = "Keep the password and the secret key now: neither can be shown again."


def init(
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    project: Annotated[str, typer.Option(help="Name of the project.")] = "default",
    domain: Annotated[str, typer.Option(help="Name of the domain (the account).")] = "towline",
    user: Annotated[str, typer.Option(help="Name of the user.")] = "admin",
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make another access key for the account that exists.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the store with a project, a user and an access key; a second run changes nothing."""
    with ending_on_error():
        settings = read_settings(os.environ, store=store, data_dir=data_dir)
        credentials = asyncio.run(_make(settings, project=project, domain=domain, user=user, new_key=new_key))
    if credentials is None:
        # Nothing but the object belongs on standard output when a program reads it.
        sys.stderr.write("The store has an account already; nothing was changed. `--new-key` makes another key.\n")
        raise typer.Exit(0)
    if as_json:
        sys.stdout.write(msgspec.json.encode(asdict(credentials)).decode() + "\n")
        return
    for name, value in asdict(credentials).items():
        sys.stdout.write(f"{name.replace('_', ' '):<13} {value or '(as before)'}\n")
    sys.stdout.write(f"\n{_SAVE_IT}\n")


async def _make(settings: Settings, *, project: str, domain: str, user: str, new_key: bool) -> Credentials | None:
    clock = SystemClock()
    async with opened_store(settings.store_url, settings.data_dir, clock=clock, may_create=True) as store:
        identity = IdentityService(store.identities, clock=clock)
        if new_key:
            return await identity.create_key()
        return await identity.create_project_user_key(project_name=project, domain_name=domain, user_name=user)
