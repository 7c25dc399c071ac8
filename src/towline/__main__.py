"""`python -m towline` is the command `towline`."""

from __future__ import annotations

from towline.cli.main import app

app()
