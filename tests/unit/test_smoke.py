"""The package can be imported and knows its version."""

from importlib.metadata import PackageNotFoundError, version

import pytest

import towline


def test_package_and_installation_agree_on_the_version() -> None:
    try:
        installed = version("towline")
    except PackageNotFoundError:
        pytest.skip("run from the source folder without an installation")
    assert towline.__version__ == installed
