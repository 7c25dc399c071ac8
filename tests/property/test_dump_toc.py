"""What pg_dump writes into a table of contents is read back; damage is told, never guessed around."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.adapters.postgres.archives import encode_archive
from towline.adapters.postgres.dump_toc import ArchiveUnreadable, TocEntry, TocSection, decode_toc

OIDS = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
ENTRIES = st.builds(
    TocEntry,
    dump_id=st.integers(1, 2**31 - 1),
    class_oid=OIDS,
    oid=OIDS,
    tag=TEXTS,
    desc=st.sampled_from(["TABLE", "INDEX", "ACL"]),
    section=st.sampled_from(TocSection),
    definition=TEXTS,
    drop_statement=TEXTS,
    namespace=TEXTS,
    tablespace=TEXTS,
    access_method=TEXTS,
    relkind=st.sampled_from(["", "r", "p", "v"]),
    owner=TEXTS,
    depends_on=st.lists(st.integers(1, 2**31 - 1), max_size=4).map(tuple),
)


@given(st.lists(ENTRIES, max_size=5), st.integers(12, 16))
def test_every_format_is_read_back(entries: list[TocEntry], minor: int) -> None:
    toc = decode_toc(encode_archive(entries, minor=minor))
    known = [
        replace(
            entry,
            access_method=entry.access_method if minor >= 14 else "",
            relkind=entry.relkind if minor >= 16 else "",
        )
        for entry in entries
    ]
    assert list(toc.entries) == known
    assert (toc.database, toc.server_version, toc.dump_version) == ("db", "16.1", "17.2")


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.integers(12, 16), st.data())
def test_cut_archive_is_told(entries: list[TocEntry], minor: int, data: st.DataObject) -> None:
    archive = encode_archive(entries, minor=minor)
    with pytest.raises(ArchiveUnreadable):
        decode_toc(archive[: data.draw(st.integers(0, len(archive) - 1))])


@given(st.binary(max_size=200))
def test_noise_after_the_magic_word_is_told(noise: bytes) -> None:
    # A header that promises no entries is the only noise that can pass.
    try:
        toc = decode_toc(b"PGDMP" + noise)
    except ArchiveUnreadable:
        return
    assert toc.entries == ()


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.data())
def test_flipped_byte_is_told_or_changes_a_value(entries: list[TocEntry], data: st.DataObject) -> None:
    archive = bytearray(encode_archive(entries))
    place = data.draw(st.integers(0, len(archive) - 1))
    archive[place] ^= data.draw(st.integers(1, 255))
    try:
        decode_toc(bytes(archive))
    except ArchiveUnreadable:
        pass


@pytest.mark.parametrize("version", [(1, 11), (1, 17), (2, 0)])
def test_unknown_format_is_refused_by_name(version: tuple[int, int]) -> None:
    archive = bytearray(encode_archive([]))
    archive[5:7] = bytes(version)
    with pytest.raises(ArchiveUnreadable, match=rf"{version[0]}\.{version[1]}"):
        decode_toc(bytes(archive))
