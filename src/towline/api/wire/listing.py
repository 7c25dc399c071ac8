"""Filters and pages: what `POST jobs`, batch-status and batch-detail ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from towline.api.wire.attributes import TagRequest
from towline.api.wire.errors import ApiError, invalid
from towline.api.wire.fields import Request, Text, check_text, convert, require_word
from towline.api.wire.words import DB_USE_TYPES, STATUS_OF_WORD, UNUSED_STATUS_WORDS
from towline.domain.jobs import JobStatus
from towline.service.ports import JobFilter

T = TypeVar("T")
_MAX_PER_PAGE: Final = 100
_MAX_PAGE: Final = 1_000_000
_MAX_NAMES: Final = 100
_MAX_INSTANCES: Final = 10
_EVERY_ENTERPRISE_PROJECT: Final = "all_granted_eps"
_LIST_PER_PAGE: Final = 10
_STATUS_PER_PAGE: Final = 5


class PageRequest(Request):
    cur_page: int | None = None
    per_page: int | None = None


class JobIdsPage(Request):
    """The body of batch-status and batch-detail."""

    jobs: list[str]
    page_req: PageRequest | None = None


class ListJobsRequest(Request):
    """`QueryJobsReq`. An empty text is no filter."""

    db_use_type: Text | None = None
    cur_page: int | None = None
    per_page: int | None = None
    name: Text | None = None
    engine_type: Text | None = None
    net_type: Text | None = None
    status: Text | None = None
    enterprise_project_id: Text | None = None
    service_name: Text | None = None
    tags: dict[str, Text | None] | list[TagRequest] | None = None
    instance_ids: list[Text] | None = None
    instance_ip: Text | None = None


class Page:
    """A page of a list; `per_page` 0 means everything."""

    __slots__ = ("number", "size")

    def __init__(self, cur_page: int | None, per_page: int | None, *, default_size: int) -> None:
        self.size = default_size if per_page is None else per_page
        self.number = 1 if cur_page is None else cur_page
        if not 0 <= self.size <= _MAX_PER_PAGE:
            raise ApiError("DRS.M00210", "per_page")
        if not 0 <= self.number <= _MAX_PAGE or (self.size == 0 and self.number > 1):
            raise ApiError("DRS.M00210", "cur_page")
        # 0 asks for everything where the list allows it, and is no page otherwise.
        if self.number == 0 and self.size != 0:
            raise ApiError("DRS.M00210", "cur_page")

    @property
    def limit(self) -> int | None:
        return self.size or None

    @property
    def offset(self) -> int:
        return (max(1, self.number) - 1) * self.size

    def cut(self, items: Sequence[T]) -> list[T]:
        """This page's items. Raises: ApiError DRS.M00211 for a page behind the last one."""
        if self.offset and self.offset >= len(items):
            raise ApiError("DRS.M00211")
        return list(items[self.offset : self.offset + self.size] if self.size else items)


def read_status_page(page_req: Any) -> Page | None:
    """The page of batch-status and batch-detail; None (everything) when `page_req` is absent."""
    if page_req is None:
        return None
    request = convert(page_req, PageRequest, where="page_req")
    return Page(request.cur_page, request.per_page, default_size=_STATUS_PER_PAGE)


def read_list_page(request: ListJobsRequest) -> Page:
    """The page of the job list; there, page 0 asks for everything."""
    page = Page(request.cur_page or 1, request.per_page, default_size=_LIST_PER_PAGE)
    return Page(0, 0, default_size=_LIST_PER_PAGE) if request.cur_page == 0 else page


def read_filter(request: ListJobsRequest) -> JobFilter | None:
    """The filter, or None when it can match nothing. Raises: ApiError."""
    attributes = {"db_use_type": require_word(request.db_use_type, DB_USE_TYPES, "db_use_type")}
    for name in ("engine_type", "net_type"):
        if value := getattr(request, name):
            attributes[name] = check_text(value, name)
    names = tuple(part.strip() for part in str(request.name or "").split(",") if part.strip())
    if len(names) > _MAX_NAMES or any(len(name) > 64 for name in names):
        raise invalid("name")
    if request.instance_ids and len(request.instance_ids) > _MAX_INSTANCES:
        raise invalid("instance_ids")
    if request.status in UNUSED_STATUS_WORDS:
        return None
    return JobFilter(
        names_or_ids=names,
        statuses=_read_statuses(request.status),
        attributes=attributes,
        tags=_read_tags(request.tags),
        enterprise_project=_read_enterprise_project(request.enterprise_project_id),
        host=check_text(request.instance_ip or "", "instance_ip"),
        instance_ids=tuple(check_text(instance_id, "instance_ids") for instance_id in request.instance_ids or ()),
    )


def _read_enterprise_project(text: str | None) -> str:
    return "" if not text or text == _EVERY_ENTERPRISE_PROJECT else check_text(text, "enterprise_project_id")


def _read_statuses(word: str | None) -> frozenset[JobStatus]:
    if not word:
        return frozenset()
    if word not in STATUS_OF_WORD:
        raise invalid("status")
    return frozenset({STATUS_OF_WORD[word]})


def _read_tags(tags: dict[str, Text | None] | list[TagRequest] | None) -> dict[str, str]:
    pairs = [(tag.key or "", tag.value or "") for tag in tags] if isinstance(tags, list) else list((tags or {}).items())
    if len(pairs) > 20:
        raise ApiError("DRS.M00271")
    return {check_text(key, "tags"): check_text(value or "", "tags") for key, value in pairs if key}
