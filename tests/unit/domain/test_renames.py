"""What objects are called on the target, and which wishes are refused."""

from __future__ import annotations

import msgspec
import pytest

from towline.domain.errors import BadRename, NotBuilt
from towline.domain.renames import find_collision, keep_names, require_kept, require_sound
from towline.domain.tables import NameMap, ObjectSelection, SchemaRename, TableName, TableRename

A, B, C = (TableName("public", name) for name in "abc")


def renaming(*tables: tuple[TableName, TableName], **schemas: str) -> NameMap:
    return NameMap(
        tuple(SchemaRename(source, target) for source, target in schemas.items()),
        tuple(TableRename(source, target) for source, target in tables),
    )


def test_a_table_of_its_own_name_is_not_touched_by_its_schema() -> None:
    names = renaming((A, TableName("public", "z")), public="sales")
    assert names.target_name(A) == TableName("public", "z")
    assert names.target_name(B) == TableName("sales", "b")
    assert names.target_name(TableName("other", "b")) == TableName("other", "b")
    assert names.target_schema("public") == "sales"


def test_names_are_stored_with_the_selection_and_an_older_one_has_none() -> None:
    selection = ObjectSelection(schemas=frozenset({"public"}), names=renaming((A, B), other="x"))
    assert selection.names.target_name(A) == B  # what is worked out on the way is not stored
    text = msgspec.json.encode(selection)
    assert b'"_tables"' not in text
    assert msgspec.json.decode(text, type=ObjectSelection) == selection
    assert not msgspec.json.decode(b'{"schemas":["public"]}', type=ObjectSelection).names


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (renaming((A, C), (B, C)), "two tables would be public.c"),
        (renaming((A, B), (A, C)), "two new names"),
        (renaming((A, B), (B, A)), "is itself renamed"),
        (renaming((A, B), (B, C)), "is itself renamed"),
        (renaming((A, A)), "is not another name"),
        (renaming(public="x", other="x"), "two schemas would be x"),
        (renaming(public="other", other="public"), "is itself renamed"),
        (renaming((A, TableName("public", "é" * 32))), "at most 63 bytes"),
        (renaming((A, TableName("public", ""))), "at least one letter"),
        (renaming((A, TableName("pg_x", "a"))), "reserved"),
        (renaming(public="towline"), "reserved"),
        (renaming((A, C)), "public.a and public.c would both be public.c"),
    ],
)
def test_bad_maps_are_refused(names: NameMap, why: str) -> None:
    selection = ObjectSelection(schemas=frozenset({"other"}), tables=frozenset({A, B, C}), names=names)
    with pytest.raises(BadRename, match=why):
        require_sound(selection, source_family="postgresql", target_family="postgresql")


@pytest.mark.parametrize("name", ["x" * 65, "x ", "mysql", "Sys", "\U0001f600"])
def test_names_that_mysql_would_refuse_are_refused(name: str) -> None:
    with pytest.raises(BadRename):
        require_sound(ObjectSelection(names=renaming(shop=name)), source_family="mysql", target_family="mysql")


@pytest.mark.parametrize("names", [renaming((C, TableName("x", "c"))), renaming(other="x")])
def test_what_is_not_selected_is_not_renamed(names: NameMap) -> None:
    with pytest.raises(BadRename, match="selected"):
        require_sound(
            ObjectSelection(tables=frozenset({A}), names=names), source_family="postgresql", target_family="postgresql"
        )


def test_a_schema_may_be_renamed_when_only_tables_of_it_are_selected() -> None:
    require_sound(
        ObjectSelection(tables=frozenset({A}), names=renaming(public="x")),
        source_family="postgresql",
        target_family="postgresql",
    )
    require_sound(
        ObjectSelection(names=renaming((A, B), other="x")), source_family="postgresql", target_family="postgresql"
    )


def test_collisions_of_objects_that_only_the_source_knows_are_found() -> None:
    names = renaming((A, B), old="new")

    def collide(*tables: TableName) -> bool:
        return find_collision({table: names.target_name(table) for table in tables}) is not None

    assert collide(A, B)
    assert collide(TableName("old", "t"), TableName("new", "t"))
    assert not collide(A, C, TableName("old", "t"))


def test_objects_that_a_job_has_keep_their_names() -> None:
    known = ObjectSelection(tables=frozenset({A}), names=renaming((A, TableName("x", "a"))))
    require_kept(known, ObjectSelection(tables=frozenset({A, B}), names=renaming(*_pair(A), (B, C))))
    for names in (renaming((A, C)), NameMap(), renaming(*_pair(A), public="y")):
        if names.schemas:
            require_kept(ObjectSelection(tables=frozenset({TableName("other", "t")})), ObjectSelection(names=names))
        with pytest.raises(BadRename):
            require_kept(known, ObjectSelection(tables=frozenset({A}), names=names))
    # What leaves needs no name, and keeps the one that it has on the target.
    require_kept(known, ObjectSelection(tables=frozenset({B})))
    names_of_all = renaming((A, C), (B, C), gone="x", public="x")
    assert keep_names(names_of_all, ObjectSelection(tables=frozenset({B}), names=renaming((B, A)))) == renaming(
        (B, A), (A, C), gone="x"
    )


def _pair(table: TableName) -> tuple[tuple[TableName, TableName]]:
    return ((table, TableName("x", table.name)),)


def test_renames_between_families_are_refused() -> None:
    with pytest.raises(NotBuilt):
        require_sound(ObjectSelection(names=renaming(a="b")), source_family="mysql", target_family="postgresql")
