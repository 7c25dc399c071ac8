"""`towline project`: what jobs belong to; a user or key of one project sees nothing of another."""

from __future__ import annotations

from typing import Annotated

import typer

from towline.cli.accounts import new_group, show_record, show_records, with_accounts
from towline.cli.options import DataDirOption, DomainOption, JsonOption, StoreOption

app = new_group("project", "Projects: what jobs belong to, and how many each may have.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the project.")]


@app.command("add")
def add(
    name: NameArgument,
    domain: Annotated[str, typer.Option(help="Name of the domain.")] = "towline",
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="How many jobs it may have; left out: the server's limit.")
    ] = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a project."""
    project = with_accounts(
        store, data_dir, lambda accounts: accounts.add_project(name, domain=domain, max_jobs=max_jobs)
    )
    show_record({"project_id": project.project_id, "project_name": name, "domain_name": domain}, as_json=as_json)


@app.command("list")
def list_projects(store: StoreOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List projects."""
    records = [
        {
            "project_name": record.project.name,
            "domain_name": record.project.domain.name,
            "max_jobs": record.max_jobs,
            "project_id": record.project.project_id,
        }
        for record in with_accounts(store, data_dir, lambda accounts: accounts.projects())
    ]
    show_records(records, as_json=as_json, nothing="There are no projects.")


@app.command("limit")
def limit(
    name: NameArgument,
    max_jobs: Annotated[
        int | None, typer.Argument(min=1, help="How many jobs it may have; left out: the server's limit again.")
    ] = None,
    domain: DomainOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Change how many jobs a project may have."""
    with_accounts(store, data_dir, lambda accounts: accounts.limit_project(name, max_jobs, domain=domain))
