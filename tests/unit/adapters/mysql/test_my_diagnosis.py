"""What is made of the rows that a server says of locks, statements and disks."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.diagnosis import choose_disk_room
from towline.adapters.mysql.masking import mask_statement
from towline.adapters.mysql.metadata_locks import MetadataLock, find_blockers, guess_wanted, is_lock_wait

OURS, READER, ALTERING, WRITER = 1, 2, 3, 4


def on_item(session: int, mode: str, *, is_granted: bool = True, name: str = "item") -> MetadataLock:
    return MetadataLock(session, "TABLE", "shop", name, mode, is_granted)


def wanted(mode: str, session: int = OURS) -> MetadataLock:
    return on_item(session, mode, is_granted=False)


def test_only_what_excludes_the_request_is_named():
    granted = [on_item(READER, "SHARED_READ"), on_item(WRITER, "SHARED_WRITE", name="other")]
    assert find_blockers(OURS, [*granted, wanted("EXCLUSIVE")]) == [READER]
    assert find_blockers(OURS, [*granted, wanted("SHARED_WRITE")]) == []
    assert find_blockers(OURS, [*granted, on_item(WRITER, "SHARED_WRITE"), wanted("SHARED_READ_ONLY")]) == [WRITER]
    assert find_blockers(OURS, [on_item(OURS, "SHARED_READ"), wanted("EXCLUSIVE")]) == []


def test_of_a_queue_the_one_that_waits_for_nobody_comes_first():
    """Our rows wait for somebody's ALTER, which waits for a reader."""
    locks = [
        on_item(READER, "SHARED_READ"),
        on_item(ALTERING, "SHARED_UPGRADABLE"),
        wanted("EXCLUSIVE", ALTERING),
        wanted("SHARED_WRITE"),
    ]
    assert find_blockers(OURS, locks) == [READER, ALTERING]
    assert find_blockers(OURS, locks, own={ALTERING}) == [READER]


def test_two_that_wait_for_each_other_are_each_named_once():
    locks = [on_item(OURS, "SHARED_READ"), on_item(READER, "SHARED_READ"), wanted("EXCLUSIVE"),
             wanted("EXCLUSIVE", READER)]  # fmt: skip
    assert find_blockers(OURS, locks) == [READER]


@pytest.mark.parametrize(
    ("kind", "held", "asked", "blocks"),
    [
        ("GLOBAL", "SHARED", "INTENTION_EXCLUSIVE", True),
        ("GLOBAL", "INTENTION_EXCLUSIVE", "INTENTION_EXCLUSIVE", False),
        ("BACKUP LOCK", "SHARED", "INTENTION_EXCLUSIVE", True),
        ("BACKUP", "BACKUP_FTWRL2", "BACKUP_DML", True),
        ("BACKUP", "BACKUP_TRANS_DML", "BACKUP_DML", False),
        ("BACKUP", "BACKUP_TRANS_DML", "BACKUP_FTWRL2", True),
    ],
)
def test_locks_of_the_whole_server(kind: str, held: str, asked: str, blocks: bool):
    locks = [MetadataLock(READER, kind, "", "", held), MetadataLock(OURS, kind, "", "", asked, is_granted=False)]
    assert find_blockers(OURS, locks) == ([READER] if blocks else [])


def test_where_only_granted_locks_are_listed_the_statement_says_what_is_wanted():
    granted = [
        on_item(READER, "SHARED_READ"),
        MetadataLock(WRITER, "TABLE", "old", "item", "SHARED_READ"),
        on_item(WRITER, "SHARED_READ", name="item_2"),
        MetadataLock(READER, "BACKUP", "", "", "BACKUP_FTWRL2"),
    ]
    state = "Waiting for table metadata lock"
    (lock,) = guess_wanted(OURS, state, "ALTER TABLE `shop`.`item` ADD x int", granted)
    assert (lock.thing, lock.mode, lock.is_granted) == (("TABLE", "shop", "item"), "EXCLUSIVE", False)
    assert {lock.schema for lock in guess_wanted(OURS, state, "DROP TABLE item", granted)} == {"shop", "old"}
    assert [lock.mode for lock in guess_wanted(OURS, state, "INSERT INTO shop.item VALUES (1)", granted)] == [
        "SHARED_WRITE"
    ]
    assert guess_wanted(OURS, state, "DROP TABLE shop.elsewhere", granted) == []
    (lock,) = guess_wanted(OURS, "Waiting for backup lock", "INSERT INTO shop.item VALUES (1)", granted)
    assert find_blockers(OURS, [*granted, lock]) == [READER]


def test_states_of_a_session_that_waits():
    for state in ("Waiting for table metadata lock", "Waiting for global read lock", "Waiting for table flush"):
        assert is_lock_wait(state)
    for state in ("", "updating", "Waiting for master to send event", "Waiting on empty queue"):
        assert not is_lock_wait(state)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("UPDATE `t 1` SET a = 'x''y', b = \"z\", c = -1.5e+3 WHERE id IN (7, 0x1F, x'ff')",
         "UPDATE `t 1` SET a = ?, b = ?, c = -? WHERE id IN (?, ?, ?)"),
        ("INSERT INTO t2 VALUES (_utf8mb4'Geheim', @a, @@global.x1) # note\n-- more\n/* and 'more' */ ON DUPLICATE KEY",
         "INSERT INTO t2 VALUES (?, @a, @@global.x1) ON DUPLICATE KEY"),
        ("CREATE USER a@b IDENTIFIED BY 'cut o", "CREATE USER a@b IDENTIFIED BY ?"),
        ("INSERT INTO t VALUES (1, 'it\\'s secret', 'x')", "INSERT INTO t VALUES (?, ?"),
        ('SELECT "a\\" secret\'"', "SELECT ?"),
        ("SELECT 1 /* cut", "SELECT ?"),
    ],
)  # fmt: skip
def test_literals_and_comments_are_never_shown(text: str | None, shown: str):
    assert mask_statement(text) == shown


def test_a_long_statement_is_cut():
    assert mask_statement("SELECT " + "a" * 300, max_length=10) == "SELECT aa…"


def test_the_disk_of_the_log_is_the_one_mounted_nearest_above_it():
    disks = {"/": 1, "/var": 2, "/var/lib/mysql": 3, "/va": 4}
    assert choose_disk_room(disks, "/var/lib/mysql/binlog") == 3
    assert choose_disk_room(disks, "/var/lib/mysql2/binlog") == 2
    assert choose_disk_room(disks, "/srv/binlog") == 1
    assert choose_disk_room({"/var": 2}, "/srv/binlog") is None
    assert choose_disk_room(disks, "") is None
