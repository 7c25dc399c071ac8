"""How large a table is, when the statistics are old."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.catalog import correct_size

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("data", "index", "file", "size"),
    [
        (100 * MB, 0, 300 * MB, 300 * MB),  # it has grown since it was analysed
        (300 * MB, 0, 100 * MB, 100 * MB),  # it was rebuilt
        (100 * MB, 50 * MB, 300 * MB, 200 * MB),  # indexes keep their share of the file
        (100 * MB, 50 * MB, None, 100 * MB),  # the account may not see files
        (16_384, 0, 4 * MB, 16_384),  # a small file is mostly room for more
        (0, 0, 300 * MB, 0),  # no table of InnoDB
    ],
)
def test_the_file_tells_what_old_statistics_do_not(data: int, index: int, file: int | None, size: int):
    assert correct_size(data, index, file) == size
