"""`towline user`: who may call the API, and what each may do."""

from __future__ import annotations

from typing import Annotated

import typer

from towline.cli.accounts import new_group, read_password, render_time, show_record, show_records, with_accounts
from towline.cli.options import DataDirOption, DomainOption, JsonOption, StoreOption
from towline.domain.access import Role

app = new_group("user", "Users: who may call the API, and what each may do.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]
ProjectOption = Annotated[str, typer.Option("--project", help="Name of the project.")]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of making one up.")
]


@app.command("add")
def add(
    name: NameArgument,
    project: Annotated[str | None, typer.Option("--project", help="Project in which the user gets a role.")] = None,
    role: Annotated[Role | None, typer.Option(help="Role in the project; reader if left out.")] = None,
    domain: Annotated[str, typer.Option(help="Name of the domain.")] = "towline",
    password_stdin: PasswordOption = False,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a user; its password is shown this once."""
    if role is not None and project is None:
        raise typer.BadParameter("a role is held in a project: give --project too")
    given = read_password() if password_stdin else None
    user, password = with_accounts(
        store,
        data_dir,
        lambda accounts: accounts.add_user(name, domain=domain, password=given, role=role, project=project),
    )
    record = {"user_id": user.user_id, "user_name": user.name, "domain_name": domain}
    if given is None:
        record["password"] = password
    show_record(record, as_json=as_json)


@app.command("list")
def list_users(store: StoreOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List users with their roles."""
    records = [
        {
            "user_name": record.user.name,
            "domain_name": record.user.domain.name,
            "enabled": record.is_enabled,
            "roles": {project: role.value for project, role in sorted(record.roles.items())},
            "created": render_time(record.created_us),
            "user_id": record.user.user_id,
        }
        for record in with_accounts(store, data_dir, lambda accounts: accounts.users())
    ]
    show_records(records, as_json=as_json, nothing="There are no users.")


@app.command("disable")
def disable(
    name: NameArgument, domain: DomainOption = None, store: StoreOption = None, data_dir: DataDirOption = None
) -> None:
    """Let a user in no longer: its tokens end at once, its keys are refused until it is enabled again."""
    with_accounts(store, data_dir, lambda accounts: accounts.set_enabled(name, is_enabled=False, domain=domain))


@app.command("enable")
def enable(
    name: NameArgument, domain: DomainOption = None, store: StoreOption = None, data_dir: DataDirOption = None
) -> None:
    """Let a user in again."""
    with_accounts(store, data_dir, lambda accounts: accounts.set_enabled(name, is_enabled=True, domain=domain))


@app.command("password")
def password(
    name: NameArgument,
    domain: DomainOption = None,
    password_stdin: PasswordOption = False,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a user's password; its tokens end."""
    given = read_password() if password_stdin else None
    new = with_accounts(store, data_dir, lambda accounts: accounts.change_password(name, given, domain=domain))
    if given is None:
        show_record({"user_name": name, "password": new}, as_json=as_json)


@app.command("grant")
def grant(
    name: NameArgument,
    role: Annotated[Role, typer.Argument(help="reader sees, operator runs jobs, admin does everything.")],
    project: ProjectOption,
    domain: DomainOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Give a user a role in a project, in place of the one it has there."""
    with_accounts(store, data_dir, lambda accounts: accounts.set_role(name, role, project=project, domain=domain))


@app.command("revoke")
def revoke(
    name: NameArgument,
    project: ProjectOption,
    domain: DomainOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Take a user's role in a project away."""
    with_accounts(store, data_dir, lambda accounts: accounts.set_role(name, None, project=project, domain=domain))
