from __future__ import annotations

from pathlib import Path

import pytest

from towline.domain.errors import RequestError
from towline.settings import read_settings


def test_options_win_over_the_environment_and_that_over_defaults(tmp_path: Path):
    environment = {"TOWLINE_DATA_DIR": str(tmp_path), "TOWLINE_LISTEN": "0.0.0.0:1", "TOWLINE_LOG_LEVEL": "WARNING"}
    settings = read_settings(environment, listen="[::1]:0")
    assert settings.data_dir == tmp_path
    assert settings.store_url == f"sqlite:///{tmp_path / 'towline.db'}"
    assert (settings.listen_host, settings.listen_port) == ("::1", 0)
    assert settings.log_level == "warning"


def test_without_anything_the_data_lies_in_the_home_folder():
    settings = read_settings({"XDG_DATA_HOME": "/somewhere"})
    assert settings.data_dir == Path("/somewhere/towline")
    assert (settings.listen_host, settings.listen_port) == ("127.0.0.1", 8080)
    assert settings.writes_heartbeat
    assert not read_settings({"TOWLINE_HEARTBEAT": "off"}).writes_heartbeat


@pytest.mark.parametrize(
    "environment",
    [
        {"TOWLINE_LISTEN": "nonsense"},
        {"TOWLINE_LISTEN": "host:99999"},
        {"TOWLINE_LISTEN": ":80"},
        {"TOWLINE_LOG_LEVEL": "loud"},
        {"TOWLINE_MAX_WORKERS": "none"},
        {"TOWLINE_HEARTBEAT": "sometimes"},
        {"TOWLINE_TLS_KEY": "only-the-key.pem"},
    ],
)
def test_what_cannot_be_meant_is_refused(environment: dict[str, str]):
    with pytest.raises(RequestError):
        read_settings(environment)


def test_i7_the_store_url_does_not_show(tmp_path: Path):
    settings = read_settings({}, store="postgresql://u:hush@h/d", data_dir=tmp_path)
    assert "hush" not in repr(settings)
