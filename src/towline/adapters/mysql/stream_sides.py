"""The two sides of one job's stream."""

from __future__ import annotations

from typing import Any


class MyStreamSides:
    def __init__(self, *a: Any, **k: Any) -> None: ...
