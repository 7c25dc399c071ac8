"""Source and target compared by structure and content, without any of the code that moved them.

Structure is what pg_dump says of each side, statement by statement in no order.
Every table, partition, view and materialised view is read in the order of its key, or of whole rows where
it has none, as COPY text, and hashed; so is every sequence.  Both sides are read at the same time; nobody
writes any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from towline.domain.errors import SetupError

_RELATIONS = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY k.place)
        FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(number, place)
        JOIN pg_attribute a ON a.attnum = k.number
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'S') AND n.nspname !~ '^(pg_|information_schema$|towline$)'
ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """Something that can be compared. `kind` is the catalog's letter: r, v, m or S."""

    schema: str
    name: str
    kind: str
    key: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Content:
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared and what differs, `problems` in words."""

    rows: int
    tables: int
    views: int
    sequences: int
    statements: int
    problems: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        return not self.problems


async def compare_databases(source_url: str, target_url: str, *, pg_dump: Path) -> Comparison:
    """Read both databases whole and compare them."""
    left_structure, right_structure = await asyncio.gather(
        *(asyncio.to_thread(read_structure, pg_dump, url) for url in (source_url, target_url))
    )
    source, target = await asyncio.gather(asyncpg.connect(source_url), asyncpg.connect(target_url))
    try:
        ours, theirs = await asyncio.gather(read_relations(source), read_relations(target))
        problems = describe_structures(left_structure, right_structure)
        problems += [f"{name} is on the {side} only" for name, side in _one_sided(ours, theirs)]
        both = [relation for relation in ours if relation in theirs]
        rows = 0
        for relation in both:
            left, right = await asyncio.gather(read_content(source, relation), read_content(target, relation))
            rows += left.rows if relation.kind == "r" else 0
            if left != right:
                problems.append(_describe(relation, left, right))
    finally:
        await asyncio.gather(source.close(), target.close())
    return Comparison(
        rows=rows,
        tables=sum(1 for relation in both if relation.kind == "r"),
        views=sum(1 for relation in both if relation.kind in "vm"),
        sequences=sum(1 for relation in both if relation.kind == "S"),
        statements=left_structure.total(),
        problems=tuple(problems),
    )


def read_structure(pg_dump: Path, url: str) -> Counter[str]:
    """Every statement that makes the database's objects, and how often it is there.

    Raises:
        SetupError: pg_dump could not read it.
    """
    done = subprocess.run(
        # What a job keeps for itself is not part of the structure.
        [pg_dump, "--schema-only", "--no-publications", "--exclude-schema=towline"],
        check=False,
        capture_output=True,
        text=True,
        env=_libpq_environment(url),
    )
    if done.returncode != 0:
        raise SetupError(f"pg_dump failed: {done.stderr.strip()[-500:]}")
    return Counter(parse_statements(done.stdout))


def parse_statements(dump: str) -> list[str]:
    """The blocks of a dump that make something, without comments and without the session's settings. Pure."""
    lines = [line for line in dump.splitlines() if not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog."))]
    return [block.strip() for block in "\n".join(lines).split("\n\n\n") if block.strip()]


def describe_structures(left: Counter[str], right: Counter[str]) -> list[str]:
    """The statements of one side only, each by its beginning. Pure."""
    sides = ((left - right, "source"), (right - left, "target"))
    return [
        f"structure on the {side} only: {' '.join(statement.split())[:160]}"
        for more, side in sides
        for statement in more
    ]


def _libpq_environment(url: str) -> Mapping[str, str]:
    # I7: not in the arguments, which every user of the machine can see.
    parts = urlsplit(url)
    return {
        "PATH": os.environ.get("PATH", ""),
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
    }


async def read_relations(connection: asyncpg.Connection) -> list[Relation]:
    return [
        Relation(row["schema"], row["name"], row["kind"], tuple(row["key"] or ()))
        for row in await connection.fetch(_RELATIONS)
    ]


async def read_content(connection: asyncpg.Connection, relation: Relation) -> Content:
    """The number of rows and the hash of all of them."""
    digest = hashlib.md5(usedforsecurity=False)

    async def take(data: bytes) -> None:
        digest.update(data)

    status = await connection.copy_from_query(render_query(relation), output=take)
    return Content(rows=int(status.split()[-1]), digest=digest.hexdigest())


def render_query(relation: Relation) -> str:
    """All of it in an order that does not depend on the server. Pure."""
    name = f"{_quote(relation.schema)}.{_quote(relation.name)}"
    if relation.kind == "S":
        # Without log_cnt, which says how many values the server has set aside and is its own affair.
        return f"SELECT last_value, is_called FROM {name}"
    columns = ", ".join(relation.key) if relation.key else 'content::text COLLATE "C"'
    return f"SELECT * FROM {name} content ORDER BY {columns}"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _one_sided(ours: list[Relation], theirs: list[Relation]) -> list[tuple[str, str]]:
    left, right = (
        {str(relation): relation for relation in ours},
        {str(relation): relation for relation in theirs},
    )
    missing = [(name, "source") for name in left if name not in right]
    extra = [(name, "target") for name in right if name not in left]
    other = [
        (f"{name} as the same kind with the same key", "source")
        for name in left
        if name in right and left[name] != right[name]
    ]
    return missing + extra + other


def _describe(relation: Relation, left: Content, right: Content) -> str:
    if left.rows != right.rows:
        return f"{relation}: {left.rows:,} rows on the source, {right.rows:,} on the target"
    return f"{relation}: the content differs, with {left.rows:,} rows on both"
