from __future__ import annotations

from towline.adapters.mysql.ending import find_difference
from towline.domain.structure import Section, StructureItem

EVENT = "CREATE EVENT `{name}` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE {state} DO {does}"


def item(number: int, kind: str, name: str, *statements: str) -> StructureItem:
    return StructureItem(number, Section.AFTER_DATA, kind, name, "s", None, ("USE `s`", *statements))


def event(number: int, name: str, *, state: str = "ENABLE", does: str = "SELECT 1") -> StructureItem:
    return item(number, "EVENT", name, EVENT.format(name=name, state=state, does=does))


def test_only_what_is_not_as_remembered_is_a_difference() -> None:
    remembered = [event(4, "same"), event(5, "stopped"), event(6, "other"), item(7, "VIEW", "gone", "CREATE VIEW")]
    now = [
        event(1, "other", does="SELECT 2"),
        event(2, "same"),
        event(3, "stopped", state="DISABLE"),
        item(4, "VIEW", "other", "CREATE VIEW"),
    ]
    found = find_difference(remembered, now)
    assert [(each.number, each.name) for each in found.changed] == [(6, "other")]
    assert [(each.number, each.name) for each in found.switched] == [(5, "stopped")]
    assert [(each.kind, each.name) for each in found.new] == [("VIEW", "other")]
    assert [each.name for each in found.gone] == ["gone"]


def test_event_that_is_switched_and_changed_is_changed() -> None:
    found = find_difference([event(1, "e")], [event(1, "e", state="DISABLE ON SLAVE")])
    assert [each.name for each in found.changed] == ["e"]
