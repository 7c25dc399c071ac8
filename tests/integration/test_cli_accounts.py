"""`towline user`, `towline project` and `towline key` on a store of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.commands import run


def test_users_projects_and_keys_are_managed_by_commands(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path))

    def call(*words: str) -> Any:
        code, command = run(*words, *where)
        assert code == 0, command.told()
        return json.loads(command.lines[-1]) if "--json" in words else None

    first = call("init", "--json")
    second = call("project", "add", "second", "--max-jobs", "3", "--json")
    assert len(second["project_id"]) == 32
    bob = call("user", "add", "bob", "--project", "second", "--role", "operator", "--json")
    assert len(bob["password"]) == 24
    key = call("key", "add", "bob", "--project", "second", "--json")
    assert (key["project_id"], key["user_name"]) == (second["project_id"], "bob")
    call("user", "grant", "bob", "reader", "--project", "default")
    call("user", "disable", "bob")
    (listed,) = [user for user in call("user", "list", "--json") if user["user_name"] == "bob"]
    assert (listed["enabled"], listed["roles"]) == (False, {"default": "reader", "second": "operator"})
    keys = call("key", "list", "--json")
    assert {entry["access_key"] for entry in keys} == {first["access_key"], key["access_key"]}
    assert key["secret_key"] not in json.dumps(keys)
    call("key", "delete", key["access_key"])
    code, command = run("key", "add", "nobody", "--project", "second", *where)
    assert code == 1
    assert "there is no nobody" in command.told()
