"""Decodes the table of contents of a pg_dump custom archive (`pg_dump -Fc`), formats 1.12 to 1.16.

The layout is that of `ReadHead` and `ReadToc` in PostgreSQL's pg_backup_archiver.c and of `_ReadExtraToc`
in pg_backup_custom.c.  An integer is a sign byte and `int_size` bytes, least significant first; a string
is an integer length and its bytes, with a negative length for NULL.  Since 1.14 (version 12) an entry
names its table access method, since 1.15 (16) the header has a compression algorithm for a level, since
1.16 (17) an entry has a relkind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from towline.domain.errors import Side, UnclassifiedError

_MAGIC = b"PGDMP"
_CUSTOM_FORMAT = 1
_OLDEST, _NEWEST = (1, 12), (1, 16)
_WITH_ACCESS_METHOD, _WITH_ALGORITHM, _WITH_RELKIND = (1, 14), (1, 15), (1, 16)
_TIME_FIELDS = 7


class TocSection(IntEnum):
    """When pg_restore would create an entry."""

    NONE = 1  # comments, grants: with what they belong to
    PRE_DATA = 2
    DATA = 3
    POST_DATA = 4


@dataclass(frozen=True, slots=True)
class TocEntry:
    """One object of the dump. `class_oid` and `oid` are its address in the source's catalog, 0 if it has
    none.

    `depends_on` holds dump ids of entries of the same archive.
    """

    dump_id: int
    class_oid: int
    oid: int
    tag: str
    desc: str
    section: TocSection
    definition: str
    drop_statement: str
    namespace: str
    tablespace: str
    access_method: str
    relkind: str
    owner: str
    depends_on: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Toc:
    """The whole table of contents, in creation order."""

    database: str
    server_version: str
    dump_version: str
    entries: tuple[TocEntry, ...]


class ArchiveUnreadable(UnclassifiedError):
    """The archive is cut off, damaged, or of a format that this program does not know."""

    code = "ARCHIVE_UNREADABLE"
    remedy = "Use a pg_dump of a released PostgreSQL version from 12 to 18."


def decode_toc(archive: bytes) -> Toc:
    """The table of contents at the start of a custom archive; what follows it is not looked at.

    Raises:
        ArchiveUnreadable: says what was expected, and where.
    """
    reader = _Reader(archive)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise ArchiveUnreadable("this is not a pg_dump archive", side=Side.SOURCE)
    version = (reader.byte(), reader.byte())
    reader.byte()  # the revision has never mattered
    if not _OLDEST <= version <= _NEWEST:
        raise ArchiveUnreadable(
            f"pg_dump wrote archive format {version[0]}.{version[1]}, known are 1.12 to 1.16",
            side=Side.SOURCE,
        )
    reader.int_size = reader.byte()
    offset_size = reader.byte()
    if reader.byte() != _CUSTOM_FORMAT:
        raise ArchiveUnreadable("the pg_dump archive is not in the custom format", side=Side.SOURCE)
    if version >= _WITH_ALGORITHM:
        reader.byte()
    else:
        reader.integer()
    for _ in range(_TIME_FIELDS):
        reader.integer()
    database, server_version, dump_version = reader.text(), reader.text(), reader.text()
    count = reader.integer()
    entries = tuple(_decode_entry(reader, version, offset_size) for _ in range(count))
    return Toc(database, server_version, dump_version, entries)


def _decode_entry(reader: _Reader, version: tuple[int, int], offset_size: int) -> TocEntry:
    dump_id = reader.integer()
    reader.integer()  # whether the archive holds data for the entry
    class_oid, oid = reader.number(), reader.number()
    tag, desc = reader.text(), reader.text()
    section = reader.section()
    definition, drop_statement = reader.text(), reader.text()
    reader.text()  # the COPY statement
    namespace, tablespace = reader.text(), reader.text()
    access_method = reader.text() if version >= _WITH_ACCESS_METHOD else ""
    relkind = reader.relkind() if version >= _WITH_RELKIND else ""
    owner = reader.text()
    reader.text()  # WITH OIDS, gone since version 12
    depends_on = []
    while (dependency := reader.text_or_none()) is not None:
        depends_on.append(_parse_number(dependency))
    reader.take(1 + offset_size)  # whether and where data follow
    return TocEntry(
        dump_id,
        class_oid,
        oid,
        tag,
        desc,
        section,
        definition,
        drop_statement,
        namespace,
        tablespace,
        access_method,
        relkind,
        owner,
        tuple(depends_on),
    )


class _Reader:
    """Takes values off the front of the bytes; never past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.int_size = 4

    def take(self, size: int) -> bytes:
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise ArchiveUnreadable(
                f"the pg_dump archive ends at byte {len(self._data)}, inside a value from {self._at} on",
                side=Side.SOURCE,
            )
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        is_negative = self.byte() != 0
        value = int.from_bytes(self.take(self.int_size), "little")
        return -value if is_negative else value

    def text_or_none(self) -> str | None:
        length = self.integer()
        if length < 0:
            return None
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise ArchiveUnreadable(
                f"the pg_dump archive has text that is not UTF-8 before byte {self._at}", side=Side.SOURCE
            ) from None

    def text(self) -> str:
        return self.text_or_none() or ""

    def number(self) -> int:
        return _parse_number(self.text())

    def section(self) -> TocSection:
        value = self.integer()
        try:
            return TocSection(value)
        except ValueError:
            raise ArchiveUnreadable(f"the pg_dump archive has an unknown section {value}", side=Side.SOURCE) from None

    def relkind(self) -> str:
        value = self.integer()
        return chr(value) if 0 < value < 128 else ""


def _parse_number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ArchiveUnreadable("the pg_dump archive has text where a number belongs", side=Side.SOURCE)
    return int(text)
