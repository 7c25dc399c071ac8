"""What `towline serve` says of settings that cannot work, before it serves anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from towline.cli.serve import _load_http_config
from towline.domain.errors import SetupError
from towline.settings import read_settings


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_files_that_are_no_certificate_are_said_with_a_remedy(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_text(content)
    settings = read_settings({"HOME": os.fspath(tmp_path)}, tls_certificate=path, tls_key=path)
    with pytest.raises(SetupError, match=r"cannot serve TLS with .*cert\.pem"):
        _load_http_config(settings, None)
