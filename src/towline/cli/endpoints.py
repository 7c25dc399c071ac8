"""Which databases and tables a command means: URLs, passwords outside of them, table names, the job's id.

A password in a command line is visible to every user of the machine for as long as the command runs.  So a
URL may come from the environment, and a password may be left out of it: it is then looked up in the
password file that libpq uses, with libpq's rules.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from towline.bootstrap import parse_url
from towline.domain.conversion import PLAIN, Conversion
from towline.domain.errors import RequestError
from towline.domain.jobs import Endpoint, TaskMode
from towline.domain.tables import NameMap, ObjectSelection, SchemaRename, TableName, TableRename


def choose_endpoint(url: str | None, *, variable: str, environment: Mapping[str, str]) -> Endpoint:
    """The database that `url`, or else the environment variable, names; with its password.

    Raises:
        RequestError: there is no URL, or it is malformed; the message never repeats it.
    """
    url = url or environment.get(variable)
    if not url:
        raise RequestError(
            f"no database URL: give it as an argument or in {variable}",
            remedy=f"export {variable}=postgresql://USER@HOST:PORT/DATABASE",
        )
    endpoint = parse_url(url)
    if endpoint.password:
        return endpoint
    return replace(endpoint, password=_find_password(endpoint, environment))


def _find_password(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    path = Path(environment.get("PGPASSFILE") or Path(environment.get("HOME") or os.path.expanduser("~")) / ".pgpass")
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return ""  # libpq ignores a file that others may read, too
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
    return parse_password_file(text, endpoint)


def parse_password_file(text: str, endpoint: Endpoint) -> str:
    """The password of the first line that fits `host:port:database:user:password`; "" if none does. Pure."""
    wanted = (endpoint.host, str(endpoint.port), endpoint.database, endpoint.user)
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        fields = _split_escaped(line)
        if len(fields) >= 5 and all(field in ("*", want) for field, want in zip(fields, wanted, strict=False)):
            return fields[4]
    return ""


def _split_escaped(line: str) -> list[str]:
    fields, is_escaped = [""], False
    for letter in line:
        if is_escaped or letter not in ":\\":
            fields[-1] += letter
            is_escaped = False
        elif letter == "\\":
            is_escaped = True
        elif len(fields) < 5:
            fields.append("")
        else:
            fields[-1] += letter
    return fields


def choose_selection(asked: ObjectSelection, source: Endpoint) -> ObjectSelection:
    """What to move: what was asked for, else the database of a MySQL URL, else everything. Pure."""
    if asked.is_everything and source.family == "mysql" and source.database:
        return replace(asked, schemas=frozenset({source.database}))
    return asked


def parse_selection(texts: list[str]) -> ObjectSelection:
    """Tables and schemas of `SCHEMA.TABLE` and `SCHEMA.*`, comma-separated; everything when none. Pure.

    Names are taken as the catalog has them, so `Orders` is not `orders`; a name that holds a dot or comma
    goes into double quotes.

    Raises:
        RequestError: names the part that is neither.
    """
    schemas: set[str] = set()
    tables: set[TableName] = set()
    for text in texts:
        for parts in _split_names(text):
            if len(parts) != 2 or not all(parts):
                raise RequestError(f"cannot read {'.'.join(parts)!r} in --tables: write SCHEMA.TABLE or SCHEMA.*")
            if parts[1] == "*":
                schemas.add(parts[0])
            else:
                tables.add(TableName(*parts))
    if texts and not schemas and not tables:
        # A variable of a script that is empty must not mean everything.
        raise RequestError("--tables names no table: write SCHEMA.TABLE or SCHEMA.*, or leave the option out")
    return ObjectSelection(frozenset(schemas), frozenset(tables))


def parse_renames(texts: list[str]) -> NameMap:
    """What `SCHEMA.TABLE=SCHEMA.TABLE` and `SCHEMA.*=SCHEMA.*` rename, source to the left; quoted as in --tables. Pure.

    Raises:
        RequestError: names the part that is neither.
    """
    schemas: list[SchemaRename] = []
    tables: list[TableRename] = []
    for pair in (pair for text in texts for pair in _cut(text, ",") if pair):
        sides = [_split_names(side, option="--rename") for side in _cut(pair, "=")]
        (source, target) = (sides[0][0], sides[1][0]) if [len(side) for side in sides] == [1, 1] else ([], [])
        if not (len(source) == len(target) == 2 and all(source + target)) or (source[1] == "*") != (target[1] == "*"):
            raise RequestError(
                f"cannot read {pair!r} in --rename: write SCHEMA.TABLE=SCHEMA.TABLE or SCHEMA.*=SCHEMA.*"
            )
        if source[1] == "*":
            schemas.append(SchemaRename(source[0], target[0]))
        else:
            tables.append(TableRename(TableName(*source), TableName(*target)))
    return NameMap(tuple(schemas), tuple(tables))


def _cut(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside of quotes."""
    parts, is_quoted = [""], False
    for letter in text:
        is_quoted ^= letter == '"'
        if letter == separator and not is_quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _split_names(text: str, *, option: str = "--tables") -> list[list[str]]:
    names, is_quoted, index = [[""]], False, 0
    while index < len(text):
        letter = text[index]
        if letter == '"' and is_quoted and text[index : index + 2] == '""':
            names[-1][-1] += letter
            index += 1
        elif letter == '"':
            is_quoted = not is_quoted
        elif letter == "." and not is_quoted:
            names[-1].append("")
        elif letter == "," and not is_quoted:
            names.append([""])
        else:
            names[-1][-1] += letter
        index += 1
    if is_quoted:
        raise RequestError(f"a double quote in {option} is not closed")
    return [parts for parts in names if parts != [""]]


def derive_job_id(
    source: str, target: str, *, mode: TaskMode, selection: ObjectSelection, conversion: Conversion = PLAIN
) -> str:
    """The same id for the same command, so that running it again goes on where it stopped. Pure.

    `source` and `target` are the databases' identities.  A copy that keeps no changes for a stream cannot
    become one that does, so the mode is part of it, and so is what the structure was made by.
    """
    facts = [
        source,
        target,
        mode.value,
        sorted(selection.schemas),
        sorted([table.schema, table.name] for table in selection.tables),
    ]
    if selection.names:
        facts.append(msgspec.to_builtins(selection.names))
    if conversion.structure:
        facts.append(conversion.structure)
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:28]}jb01"
