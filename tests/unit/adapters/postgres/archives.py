"""Writes the table of contents of a custom archive, the way pg_dump does (pg_backup_archiver.c, WriteToc)."""

from __future__ import annotations

from collections.abc import Sequence

from towline.adapters.postgres.dump_toc import TocEntry

INT_SIZE, OFFSET_SIZE = 4, 8


def encode_archive(entries: Sequence[TocEntry], *, minor: int = 16) -> bytes:
    """An archive of format 1.`minor` without data."""
    head = b"PGDMP" + bytes([1, minor, 0, INT_SIZE, OFFSET_SIZE, 1])
    head += b"\0" if minor >= 15 else integer(-1)
    head += b"".join(integer(n) for n in (1, 2, 3, 4, 5, 125, 0))
    head += text("db") + text("16.1") + text("17.2")
    return head + integer(len(entries)) + b"".join(_entry(entry, minor) for entry in entries)


def integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(INT_SIZE, "little")


def text(value: str | None) -> bytes:
    if value is None:
        return integer(-1)
    data = value.encode()
    return integer(len(data)) + data


def _entry(entry: TocEntry, minor: int) -> bytes:
    pieces = [
        integer(entry.dump_id),
        integer(0),
        text(str(entry.class_oid)),
        text(str(entry.oid)),
        text(entry.tag),
        text(entry.desc),
        integer(entry.section),
        text(entry.definition),
        text(entry.drop_statement or None),
        text(None),
        text(entry.namespace or None),
        text(entry.tablespace or None),
    ]
    if minor >= 14:
        pieces.append(text(entry.access_method or None))
    if minor >= 16:
        pieces.append(integer(ord(entry.relkind) if entry.relkind else 0))
    pieces += [text(entry.owner), text("false")]
    pieces += [text(str(dependency)) for dependency in entry.depends_on]
    return b"".join([*pieces, text(None), b"\3", bytes(OFFSET_SIZE)])
