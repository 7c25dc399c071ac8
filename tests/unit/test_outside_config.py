"""The configuration file: what it may say, and that mistakes are found at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.domain.errors import RequestError
from towline.outside_config import OutsideConfig, read_outside_config

WHOLE = """
[keystone]
url = "https://keystone.example.org:5000"
[smtp]
host = "mail.example.org"
sender = "towline@example.org"
password = "Secret-1"
[topics.ops]
webhook = "https://chat.example.org/hooks/Secret-2"
[log_groups.files]
folder = "/var/log/towline"
[log_groups.collector]
otlp = "http://collector:4318"
headers = {Authorization = "Bearer Secret-3"}
"""


def read(tmp_path: Path, text: str) -> OutsideConfig:
    path = tmp_path / "towline.toml"
    path.write_text(text)
    return read_outside_config(path)


def test_a_whole_file(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    assert config.keystone is not None
    assert config.keystone.roles["member"] == "operator"
    assert config.topics["ops"].webhook.endswith("Secret-2")
    assert set(config.log_groups) == {"files", "collector"}
    assert "Secret" not in repr(config)
    assert read_outside_config(None) == OutsideConfig()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[keystone", "not TOML"),
        ('[keystone]\nurl = "ftp://x"', "url"),
        ('[keystone]\nurl = "http://x"\nrole = 1', "role"),
        ("[mail]", "mail"),
        ("[log_groups.a]", "either a folder or an otlp"),
        ('[log_groups.a]\nfolder = "/a"\notlp = "http://x"', "either a folder or an otlp"),
        ('[topics."a/b"]\nwebhook = "http://x"', "topics"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        read_outside_config(tmp_path / "nothing.toml")
