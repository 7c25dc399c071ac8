"""`docs/errors.md` says of every error class what its code and remedy are."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import towline
from towline.domain.errors import TowlineError

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
ROW = re.compile(r"^\| `(?P<code>[A-Z_]+)` \| (?P<kind>[^|]+) \| (?P<remedy>.+) \|$", re.MULTILINE)


def _classes(base: type[TowlineError]) -> Iterator[type[TowlineError]]:
    yield base
    for child in base.__subclasses__():
        yield from _classes(child)


def _import_everything() -> None:
    for module in pkgutil.walk_packages(towline.__path__, "towline."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_page_lists_every_class_with_its_remedy() -> None:
    _import_everything()
    page = {row["code"]: row["remedy"].strip() for row in ROW.finditer(PAGE.read_text())}
    classes = {c.code: c.remedy for c in _classes(TowlineError) if c.__module__.startswith("towline.")}
    assert page == classes


def test_codes_are_unique_and_every_class_says_what_to_do() -> None:
    _import_everything()
    classes = [c for c in set(_classes(TowlineError)) if c.__module__.startswith("towline.")]
    assert len({c.code for c in classes}) == len(classes)
    assert all(c.remedy.endswith(".") for c in classes)
