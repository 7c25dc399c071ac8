"""Changes of transactions in progress, kept in memory while small and in files of a folder beyond that.

The source sends a large transaction before it commits, mixed with others and with subtransactions that are
rolled back later.  Nothing of it may reach the target before its commit, and all of it may be more than fits in
memory.  A file belongs to one transaction and holds its changes in source order, each with the
subtransaction that made it; those of a rolled-back one are left out when the file is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from towline.domain.changes import CHANGE_OVERHEAD_BYTES, Relation, RowChange
from towline.domain.errors import SpillFailed

SUFFIX: Final = ".spill"
# Kind, number of the relation, subtransaction, sizes of the new and the old row plus one (0 = no row).
_HEAD = Struct(">BIIQQ")


@dataclass(slots=True, eq=False)
class _Transaction:
    memory: list[tuple[int, list[RowChange], int]] = field(default_factory=list)
    memory_bytes: int = 0
    aborted: set[int] = field(default_factory=set)
    file: BinaryIO | None = None
    path: Path | None = None


class Spill:
    """The transactions in progress of one stream. The folder must belong to it alone."""

    def __init__(self, folder: Path, *, memory_bytes: int) -> None:
        """Files that an earlier run left are removed: the source sends those transactions again."""
        self._folder = folder
        self._memory_limit_bytes = memory_bytes
        self._memory_bytes = 0
        self._transactions: dict[int, _Transaction] = {}
        # Relations are few and live as long as the stream; the files hold numbers in their place.
        self._relations: list[Relation] = []
        self._numbers: dict[Relation, int] = {}
        self._files = 0
        self.spilled_bytes = 0
        with named_failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.clear()

    def add(self, xid: int, subxid: int, changes: list[RowChange], size_bytes: int) -> None:
        """Raises SpillFailed when what does not fit in memory cannot be written either."""
        transaction = self._transactions.setdefault(xid, _Transaction())
        transaction.memory.append((subxid, changes, size_bytes))
        transaction.memory_bytes += size_bytes
        self._memory_bytes += size_bytes
        while self._memory_bytes > self._memory_limit_bytes:
            with named_failures(self._folder):
                self._write_out(max(self._transactions.values(), key=lambda each: each.memory_bytes))

    def abort(self, xid: int, subxid: int) -> None:
        """Forget a subtransaction, or all of the transaction when both are the same."""
        if xid == subxid:
            self._forget(xid)
        elif xid in self._transactions:
            self._transactions[xid].aborted.add(subxid)

    def take(self, xid: int, *, part_bytes: int) -> Iterator[tuple[list[RowChange], int]]:
        """The changes of a committed transaction in source order, in parts; forgotten once read or closed.

        A part belongs to the caller, who empties it to have no more than one in memory.
        """
        transaction = self._transactions.get(xid)
        if transaction is None:
            return
        part: list[RowChange] = []
        size = 0
        try:
            with named_failures(self._folder):
                for subxid, changes, size_bytes in self._read(transaction):
                    if subxid in transaction.aborted:
                        continue
                    part += changes
                    size += size_bytes
                    del changes
                    if size >= part_bytes:
                        yield part, size
                        part, size = [], 0
            if part:
                yield part, size
        finally:
            self._forget(xid)

    def clear(self) -> None:
        """Forget everything and remove all files."""
        for xid in list(self._transactions):
            self._forget(xid)
        for path in self._folder.glob(f"*{SUFFIX}"):
            path.unlink(missing_ok=True)

    # --- files ------------------------------------------------------------------------------------

    def _write_out(self, transaction: _Transaction) -> None:
        if transaction.file is None:
            self._files += 1
            transaction.path = self._folder / f"{self._files}{SUFFIX}"
            transaction.file = transaction.path.open("w+b")
        for subxid, changes, _ in transaction.memory:
            for kind, relation, new, old in changes:
                head = _HEAD.pack(kind, self._number(relation), subxid, _size(new), _size(old))
                # One by one: a row may be as large as half of the memory.
                for piece in (head, new, old):
                    self.spilled_bytes += transaction.file.write(piece) if piece else 0
        self._memory_bytes -= transaction.memory_bytes
        transaction.memory, transaction.memory_bytes = [], 0

    def _read(self, transaction: _Transaction) -> Iterator[tuple[int, list[RowChange], int]]:
        file = transaction.file
        if file is not None:
            file.seek(0)
            while head := file.read(_HEAD.size):
                kind, number, subxid, new_size, old_size = _HEAD.unpack(head)
                size = CHANGE_OVERHEAD_BYTES + new_size + old_size
                relation = self._relations[number]
                # Not kept in variables: they would hold the rows while the next ones are read.
                yield subxid, [(kind, relation, _read_row(file, new_size), _read_row(file, old_size))], size
        # What was still in memory came after everything in the file.
        for subxid, changes, size_bytes in transaction.memory:
            yield subxid, changes, size_bytes

    def _number(self, relation: Relation) -> int:
        number = self._numbers.get(relation)
        if number is None:
            number = self._numbers[relation] = len(self._relations)
            self._relations.append(relation)
        return number

    def _forget(self, xid: int) -> None:
        transaction = self._transactions.pop(xid, None)
        if transaction is None:
            return
        self._memory_bytes -= transaction.memory_bytes
        if transaction.file is not None and transaction.path is not None:
            # What was not written for want of space fails again here; the file goes, full or not.
            with suppress(OSError):
                transaction.file.close()
            with suppress(OSError):
                transaction.path.unlink()


@contextmanager
def named_failures(folder: Path) -> Iterator[None]:
    """A full disk is nothing that a retry of the stream could heal."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise SpillFailed(f"changes of transactions in progress cannot be kept in {folder}: {reason}") from error


def _read_row(file: BinaryIO, size: int) -> bytes | None:
    return file.read(size - 1) if size else None


def _size(row: bytes | None) -> int:
    return 0 if row is None else len(row) + 1
