"""batch-struct-process and batch-struct-detail: what of a database is on the target, by kind of object.

A worker counts the objects that rows need, and says of each table how far its rows are.  All other objects come from
the target, which remembers what the job makes there; while it cannot be asked, and after the job's end, they are left
out.  Kinds are spelled in lower case, as in the published example and in the path of the second call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from towline.api.wire.errors import as_api_error
from towline.api.wire.fields import Request, require_word
from towline.api.wire.listing import Page, PageRequest
from towline.api.wire.progress import choose_percent, choose_stage
from towline.api.wire.texts import Language
from towline.domain.progress import Progress, TableProgress
from towline.domain.structure import StructureEntry
from towline.domain.tables import SAME_NAMES, NameMap, TableName
from towline.service.ports import Job, JobProgress, JobTables

_RUNNING: Final = 1
_DONE: Final = 2
_KINDS: Final = frozenset(
    {"database", "schema", "table", "view", "procedure", "trigger", "index", "table_indexs", "table_structure"}
)
# What the source's dump calls a kind of object -> the API's word for it.
_WORD_OF_KIND: Final[Mapping[str, str]] = {
    "SCHEMA": "schema",
    "EXTENSION": "extension",
    "TYPE": "type",
    "DOMAIN": "type",
    "SHELL TYPE": "type",
    "SEQUENCE": "sequence",
    "VIEW": "view",
    "MATERIALIZED VIEW": "matview",
    "FUNCTION": "function",
    "AGGREGATE": "function",
    "PROCEDURE": "procedure",
    "DEFAULT": "default",
    "CONSTRAINT": "table_index",
    "INDEX": "index",
    "FK CONSTRAINT": "foreign_key",
    "TRIGGER": "trigger",
    "EVENT TRIGGER": "trigger",
    "RULE": "rule",
}
STRUCTURE_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "table_structure": frozenset({"TABLE"}),
    "view": frozenset({"VIEW", "MATERIALIZED VIEW"}),
    "procedure": frozenset({"PROCEDURE", "FUNCTION", "AGGREGATE"}),
    "trigger": frozenset({"TRIGGER", "EVENT TRIGGER"}),
    "index": frozenset({"INDEX"}),
    "table_indexs": frozenset({"CONSTRAINT"}),
}
"""Kinds of the second call whose objects the target is asked for."""
_NAMED_APART: Final = frozenset({"TABLE", "VIEW", "MATERIALIZED VIEW"})
MAX_JOBS: Final = 100


class StructProcess(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One kind. `status` 1 runs, 2 is done; times are milliseconds, absent while not known."""

    type: str
    status: int
    src_count: int
    dst_count: int
    start_time: int | None = None


class StructProcesses(msgspec.Struct, frozen=True):
    """`create_time`: of the figures, "0" before there are any."""

    create_time: str
    result: list[StructProcess]


class StructProcessResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    job_id: str
    struct_process: StructProcesses | None = None
    error_code: str | None = None
    error_message: str | None = None


class StructProcessAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[StructProcessResult]


class StructDetailRequest(Request):
    """`page_req` cuts the list of objects of each job; without it the list is whole."""

    jobs: list[str]
    page_req: PageRequest | None = None


class StructDetailEntry(msgspec.Struct, frozen=True):
    """One object: `progress` is percent of its rows, 100 only when all are there."""

    progress: int
    src_DB: str
    src_TB: str
    dst_DB: str
    dst_TB: str


class StructDetail(msgspec.Struct, frozen=True, rename={"objects": "list"}):
    """`total_record` counts the objects of all pages."""

    total_record: int
    create_time: str
    objects: list[StructDetailEntry]


class StructDetailResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    job_id: str
    struct_detail: StructDetail | None = None
    error_code: str | None = None
    error_message: str | None = None


class StructDetailAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[StructDetailResult]


def read_kind(word: str | None) -> str:
    """The kind of objects to list. Raises: ApiError."""
    return require_word(word, _KINDS, "type")


def render_process(requested_id: str, known: JobTables) -> StructProcessResult:
    job, progress = known.job, known.progress
    kinds = [] if progress is None else [_render_structure(job, progress), *_render_tables(job, progress)]
    kinds += _render_kinds(job, known.entries)
    return StructProcessResult(
        job_id=requested_id, struct_process=StructProcesses(create_time=_time_of(progress), result=kinds)
    )


def render_missing_process(requested_id: str, error: BaseException, language: Language) -> StructProcessResult:
    refusal = as_api_error(error)
    return StructProcessResult(job_id=requested_id, error_code=refusal.code, error_message=refusal.text(language))


def render_struct_detail(requested_id: str, known: JobTables, *, kind: str, page: Page | None) -> StructDetailResult:
    """The objects of one kind in the order of their names; a page behind the last one is empty."""
    job, progress = known.job, known.progress
    if kind in STRUCTURE_KINDS:
        entries = _structure_entries(job, known.entries, STRUCTURE_KINDS[kind])
    else:
        entries = [] if progress is None else _entries(job, progress, kind)
    shown = entries
    if page is not None and page.size:
        shown = entries[page.offset : page.offset + page.size]
    return StructDetailResult(
        job_id=requested_id,
        struct_detail=StructDetail(total_record=len(entries), create_time=_time_of(progress), objects=shown),
    )


def render_missing_struct_detail(requested_id: str, error: BaseException, language: Language) -> StructDetailResult:
    refusal = as_api_error(error)
    return StructDetailResult(job_id=requested_id, error_code=refusal.code, error_message=refusal.text(language))


def _render_structure(job: Job, progress: Progress) -> StructProcess:
    part = progress.structure
    return StructProcess(
        type="table_structure",
        status=_DONE if part.is_finished else _RUNNING,
        src_count=part.total,
        dst_count=part.total if part.is_finished else part.done,
        start_time=_started_ms(job),
    )


def _render_tables(job: Job, progress: Progress) -> list[StructProcess]:
    """The tables, once it is known which there are."""
    if not progress.tables:
        return []
    done = sum(table.is_finished for table in progress.tables)
    return [
        StructProcess(
            type="table",
            status=_DONE if done == len(progress.tables) else _RUNNING,
            src_count=len(progress.tables),
            dst_count=done,
            start_time=_started_ms(job),
        )
    ]


def _render_kinds(job: Job, entries: Iterable[StructureEntry]) -> list[StructProcess]:
    """One line per kind that the job has, in the table's order."""
    by_word: dict[str, list[StructureEntry]] = {word: [] for word in _WORD_OF_KIND.values()}
    for entry in entries:
        if word := _WORD_OF_KIND.get(entry.kind):
            by_word[word].append(entry)
    return [
        StructProcess(
            type=word,
            status=_DONE if all(entry.is_done for entry in found) else _RUNNING,
            src_count=len(found),
            dst_count=sum(entry.is_made for entry in found),
            start_time=_started_ms(job),
        )
        for word, found in by_word.items()
        if found
    ]


def _structure_entries(job: Job, entries: Iterable[StructureEntry], kinds: frozenset[str]) -> list[StructDetailEntry]:
    same, names = SAME_NAMES, job.selection.names
    named = sorted(
        (_name_of(entry, same), _name_of(entry, names), entry.is_made) for entry in entries if entry.kind in kinds
    )
    return [_entry(job, source, target, 100 if is_made else 0) for source, target, is_made in named]


def _name_of(entry: StructureEntry, names: NameMap) -> str:
    """`schema.name` by these names; with its table in between for what has a name of its own only there."""
    table = None if entry.table is None else names.target_name(entry.table)
    if entry.kind == "TRIGGER" and table is not None:
        return f"{table}.{entry.name}"
    if not entry.schema:
        return entry.name
    if table is None or entry.kind in _NAMED_APART:
        return str(names.target_name(TableName(entry.schema, entry.name)))
    # What belongs to a table lies in the schema where that is.
    return f"{table.schema}.{entry.name}"


def _entries(job: Job, progress: Progress, kind: str) -> list[StructDetailEntry]:
    names = job.selection.names
    if kind == "database":
        figures = JobProgress(job_id=job.job_id, mode=job.mode, status=job.status, progress=progress, failure=None)
        return [_entry(job, "", "", choose_percent(choose_stage(figures), progress))]
    if kind == "schema":
        schemas = sorted({table.schema for table in progress.tables})
        return [
            _entry(
                job,
                schema,
                names.target_schema(schema),
                _percent(table for table in progress.tables if table.schema == schema),
            )
            for schema in schemas
        ]
    tables = sorted((TableName(table.schema, table.name), _percent([table])) for table in progress.tables)
    return [_entry(job, str(table), str(names.target_name(table)), percent) for table, percent in tables]


def _percent(tables: Iterable[TableProgress]) -> int:
    """By bytes; 100 only when all are finished."""
    chosen = list(tables)
    if all(table.is_finished for table in chosen):
        return 100
    total = sum(table.bytes_total for table in chosen)
    done = sum(table.bytes_total if table.is_finished else table.bytes_done for table in chosen)
    return min(99, done * 100 // total) if total else 0


def _entry(job: Job, source: str, target: str, percent: int) -> StructDetailEntry:
    return StructDetailEntry(
        progress=percent, src_DB=job.source.database, src_TB=source, dst_DB=job.target.database, dst_TB=target
    )


def _time_of(progress: Progress | None) -> str:
    return "0" if progress is None else str(progress.at_us // 1000)


def _started_ms(job: Job) -> int | None:
    return None if job.started_us is None else job.started_us // 1000
