"""Places in the history of a MySQL or MariaDB server. Pure.

Three kinds, each a `Position` whose text says which it is:

- `GtidSet`, MySQL with GTIDs: the set of executed transactions, `uuid:1-5:7,uuid:tag:1-3`.
- `MariadbGtids`: the last transaction of each replication domain, `0-1-270,1-2-9`.
- `BinlogOffset`: a byte of a binlog file, `binlog.000003:1234`, where there are no GTIDs.

A server's history need not be one line: GTID sets are only partly ordered, so ask `covers`.  Positions of different
kinds do not cover each other.

A fourth, `HeldPosition`, exists while a prepared XA transaction waits for its end: everything up to `reached` has been
handed on except what was prepared, so the source has to send again from `resume` on, which lies before the
oldest prepare.  It covers what `reached` covers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final
from uuid import UUID

NO_MYSQL_GTIDS: Final = "mysql:none"
NO_MARIADB_GTIDS: Final = "mariadb:none"
_RESUME: Final = " from "

_COUNT = Struct("<Q")
_INTERVAL = Struct("<QQ")
# In the form with tags, the first and the last byte of the count hold the number of the form.
_TAGGED_FORM: Final = 1 << 56 | 1

_SOURCE = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL_TEXT = re.compile(r"([1-9]\d{0,18})(?:-([1-9]\d{0,18}))?")
_DOMAIN_TEXT = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")
_OFFSET_TEXT = re.compile(r"(.+\.\d{6,}):(\d+)")

Intervals = tuple[int, ...]
"""Half-open and sorted: begin, end, begin, end, ...; no two of them touch."""


class BinlogPosition:
    """What the four kinds have in common."""

    __slots__ = ()

    @property
    def reached(self) -> BinlogPosition:
        """Up to where everything was handed on that was committed."""
        return self

    @property
    def resume(self) -> BinlogPosition:
        """From where the source has to send."""
        return self

    def covers(self, other: BinlogPosition, /) -> bool:
        """True when everything up to and including `other` lies at or before this position."""
        raise NotImplementedError


class GtidSet(BinlogPosition):
    """A set of MySQL's transaction ids; immutable. Keys are `uuid` or `uuid:tag`, in small letters."""

    __slots__ = ("_sources",)

    def __init__(self, sources: Mapping[str, Intervals] | None = None) -> None:
        self._sources: Mapping[str, Intervals] = sources or {}

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """Read the server's form, in which white space and capitals do not matter; empty text is the empty set.

        Raises: ValueError.
        """
        found: dict[str, list[int]] = {}
        for part in "".join(text.split()).lower().split(","):
            if not part:
                continue
            uuid, *items = part.split(":")
            if not re.fullmatch(_SOURCE, uuid) or not items:
                raise ValueError(f"not a GTID set: {text!r}")
            source = uuid
            for item in items:
                interval = _INTERVAL_TEXT.fullmatch(item)
                if interval is not None:
                    begin = int(interval[1])
                    found.setdefault(source, []).extend((begin, int(interval[2] or begin) + 1))
                elif _TAG.fullmatch(item):
                    source = f"{uuid}:{item}"
                else:
                    raise ValueError(f"not a GTID set: {text!r}")
        return cls({source: merged for source, flat in found.items() if (merged := _merge(flat))})

    def with_gtid(self, source: str, number: int) -> GtidSet:
        """The set and one more transaction. Cheap in the usual case, that of the next number of its source."""
        intervals = self._sources.get(source, ())
        if intervals and intervals[-1] == number:
            intervals = (*intervals[:-1], number + 1)
        elif not _contains(intervals, number, number + 1):
            intervals = _merge([*intervals, number, number + 1])
        else:
            return self
        sources = dict(self._sources)
        sources[source] = intervals
        return GtidSet(sources)

    def covers(self, other: BinlogPosition, /) -> bool:
        other = other.reached
        if not isinstance(other, GtidSet):
            return False
        mine = self._sources
        for source, theirs in other._sources.items():
            intervals = mine.get(source, ())
            if intervals != theirs and not all(
                _contains(intervals, begin, end) for begin, end in zip(theirs[::2], theirs[1::2], strict=True)
            ):
                return False
        return True

    def union(self, other: GtidSet) -> GtidSet:
        sources = dict(self._sources)
        for source, theirs in other._sources.items():
            sources[source] = _merge([*sources.get(source, ()), *theirs])
        return GtidSet(sources)

    def without(self, other: GtidSet) -> GtidSet:
        """What is in this set and not in the other."""
        sources = {}
        for source, mine in self._sources.items():
            left = _subtract(mine, other._sources.get(source, ()))
            if left:
                sources[source] = left
        return GtidSet(sources)

    def encode(self) -> bytes:
        """The form of COM_BINLOG_DUMP_GTID; the one without tags, which older servers know, where it can be."""
        is_tagged = any(":" in source for source in self._sources)
        count = len(self._sources)
        parts = [_COUNT.pack(_TAGGED_FORM | count << 8 if is_tagged else count)]
        for source in sorted(self._sources):
            uuid, _, tag = source.partition(":")
            parts.append(UUID(uuid).bytes)
            if is_tagged:
                parts.append(bytes([len(tag) << 1]) + tag.encode())
            intervals = self._sources[source]
            parts.append(_COUNT.pack(len(intervals) // 2))
            parts += [_INTERVAL.pack(begin, end) for begin, end in zip(intervals[::2], intervals[1::2], strict=True)]
        return b"".join(parts)

    def render(self) -> str:
        """The server's form; the empty set is empty text."""
        return ",".join(
            f"{source}:{_render_intervals(intervals)}" for source, intervals in sorted(self._sources.items())
        )

    def __bool__(self) -> bool:
        return bool(self._sources)

    def __str__(self) -> str:
        return self.render() or NO_MYSQL_GTIDS

    def __repr__(self) -> str:
        return f"GtidSet({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and self._sources == other._sources

    def __hash__(self) -> int:
        return hash(frozenset(self._sources.items()))


class MariadbGtids(BinlogPosition):
    """The last transaction of each domain, as (server id, sequence number); immutable.

    Within a domain the sequence numbers grow; the server id only tells who wrote the last one.
    """

    __slots__ = ("_domains",)

    def __init__(self, domains: Mapping[int, tuple[int, int]] | None = None) -> None:
        self._domains: Mapping[int, tuple[int, int]] = domains or {}

    @classmethod
    def parse(cls, text: str) -> MariadbGtids:
        """Read the server's form; empty text means no transaction.

        Raises: ValueError, also for a domain that is named twice.
        """
        domains: dict[int, tuple[int, int]] = {}
        for part in "".join(text.split()).split(","):
            if not part:
                continue
            match = _DOMAIN_TEXT.fullmatch(part)
            if match is None or int(match[1]) in domains:
                raise ValueError(f"not a GTID position: {text!r}")
            domains[int(match[1])] = int(match[2]), int(match[3])
        return cls(domains)

    def last_of(self, domain: int) -> tuple[int, int] | None:
        """Server id and number of the domain's last transaction."""
        return self._domains.get(domain)

    def has_writer(self, server: int) -> bool:
        """Whether that server wrote the last transaction of one of the domains."""
        return any(writer == server for writer, _ in self._domains.values())

    def is_within(self, state: str) -> bool:
        """Whether a server whose `gtid_binlog_state` this is has written every one of these transactions.

        The state has the last number of each domain and server, so it tells also where numbers went back.
        """
        written: dict[tuple[int, int], int] = {}
        for part in filter(None, "".join(state.split()).split(",")):
            domain, server, number = map(int, part.split("-"))
            written[domain, server] = number
        return all(written.get((domain, server), -1) >= number for domain, (server, number) in self._domains.items())

    def with_gtid(self, domain: int, server: int, number: int) -> MariadbGtids:
        domains = dict(self._domains)
        domains[domain] = server, number
        return MariadbGtids(domains)

    def covers(self, other: BinlogPosition, /) -> bool:
        other = other.reached
        if not isinstance(other, MariadbGtids):
            return False
        mine = self._domains
        return all(domain in mine and mine[domain][1] >= number for domain, (_, number) in other._domains.items())

    def render(self) -> str:
        """The server's form; no transaction is empty text."""
        return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(self._domains.items()))

    def __bool__(self) -> bool:
        return bool(self._domains)

    def __str__(self) -> str:
        return self.render() or NO_MARIADB_GTIDS

    def __repr__(self) -> str:
        return f"MariadbGtids({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MariadbGtids) and self._domains == other._domains

    def __hash__(self) -> int:
        return hash(frozenset(self._domains.items()))


class BinlogOffset(BinlogPosition):
    """A byte of one of a server's numbered binlog files; the next event begins there."""

    __slots__ = ("file", "offset")

    def __init__(self, file: str, offset: int) -> None:
        self.file = file
        self.offset = offset

    @classmethod
    def parse(cls, text: str) -> BinlogOffset:
        """Raises ValueError unless the text is `file.number:offset`."""
        match = _OFFSET_TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a binlog position: {text!r}")
        return cls(match[1], int(match[2]))

    @property
    def _place(self) -> tuple[int, int]:
        # By number: after binlog.999999 comes binlog.1000000.
        return int(self.file.rpartition(".")[2]), self.offset

    def covers(self, other: BinlogPosition, /) -> bool:
        other = other.reached
        if not isinstance(other, BinlogOffset):
            return False
        if self.file == other.file:
            return self.offset >= other.offset
        return self.file.rpartition(".")[0] == other.file.rpartition(".")[0] and self._place >= other._place

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"

    def __repr__(self) -> str:
        return f"BinlogOffset({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinlogOffset) and (self.file, self.offset) == (other.file, other.offset)

    def __hash__(self) -> int:
        return hash((self.file, self.offset))


class HeldPosition(BinlogPosition):
    """`reached`, but prepared XA transactions after `resume` have not ended yet."""

    __slots__ = ("_reached", "_resume")

    def __init__(self, reached: BinlogPosition, resume: BinlogPosition) -> None:
        self._reached = reached
        self._resume = resume

    @property
    def reached(self) -> BinlogPosition:
        return self._reached

    @property
    def resume(self) -> BinlogPosition:
        return self._resume

    def covers(self, other: BinlogPosition, /) -> bool:
        return self._reached.covers(other)

    def __str__(self) -> str:
        return f"{self._reached}{_RESUME}{self._resume}"

    def __repr__(self) -> str:
        return f"HeldPosition({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldPosition) and (self._reached, self._resume) == (other._reached, other._resume)

    def __hash__(self) -> int:
        return hash((self._reached, self._resume))


def parse_position(text: str) -> BinlogPosition:
    """The position with this text form, of whichever kind.

    Raises: ValueError.
    """
    reached, is_held, resume = text.partition(_RESUME)
    if is_held:
        return HeldPosition(parse_position(reached), parse_position(resume))
    if text == NO_MYSQL_GTIDS:
        return GtidSet()
    if text == NO_MARIADB_GTIDS:
        return MariadbGtids()
    if not text.strip():
        raise ValueError("an empty position")
    if _DOMAIN_TEXT.fullmatch(text.split(",")[0].strip()):
        return MariadbGtids.parse(text)
    if _OFFSET_TEXT.fullmatch(text):
        return BinlogOffset.parse(text)
    return GtidSet.parse(text)


def _merge(flat: Iterable[int]) -> Intervals:
    """Sorted, without overlaps, touching ones joined, empty ones left out."""
    items = iter(flat)
    merged: list[int] = []
    for begin, end in sorted(zip(items, items, strict=True)):
        if end <= begin:
            continue
        if merged and begin <= merged[-1]:
            merged[-1] = max(merged[-1], end)
        else:
            merged += (begin, end)
    return tuple(merged)


def _contains(intervals: Intervals, begin: int, end: int) -> bool:
    # Late numbers are asked for most.
    for number in range(len(intervals) - 2, -1, -2):
        if intervals[number] <= begin:
            return end <= intervals[number + 1]
    return False


def _subtract(mine: Intervals, theirs: Intervals) -> Intervals:
    left: list[int] = []
    for begin, end in zip(mine[::2], mine[1::2], strict=True):
        for their_begin, their_end in zip(theirs[::2], theirs[1::2], strict=True):
            if their_end <= begin or their_begin >= end:
                continue
            if their_begin > begin:
                left += (begin, their_begin)
            begin = max(begin, their_end)
            if begin >= end:
                break
        if begin < end:
            left += (begin, end)
    return tuple(left)


def _render_intervals(intervals: Intervals) -> str:
    return ":".join(
        str(begin) if end == begin + 1 else f"{begin}-{end - 1}"
        for begin, end in zip(intervals[::2], intervals[1::2], strict=True)
    )
