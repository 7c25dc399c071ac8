"""Whether a job may go on at another source server, by what its target remembers."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.failover import find_obstacle
from towline.domain.failover import Followed

ONE, OTHER = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("followed", "words"),
    [
        (Followed(f"{ONE}:1-9", (f"{ONE}:1-5", f"{ONE}:1-9"), is_complete=True), None),
        (Followed(f"{ONE}:1-9,{OTHER}:1", (f"{ONE}:1-5",), is_complete=True), None),
        (Followed(f"{ONE}:1-9 from {ONE}:1-7", (f"{ONE}:1-9",), is_complete=True), None),
        (Followed("0-1-270,3-1-4", ("0-1-269",), is_complete=True), None),
        (Followed(None, (), is_complete=True), "not all copied"),
        (Followed(f"{ONE}:1-9", (f"{ONE}:1-5",), is_complete=False), "not all copied"),
        # Rows of the snapshot may be of transactions that the other server never had.
        (Followed(f"{ONE}:1-9", (f"{ONE}:1-5", f"{ONE}:1-10"), is_complete=True), "last snapshot"),
        (Followed("0-1-270", ("0-1-271",), is_complete=True), "last snapshot"),
        (Followed("binlog.000003:1234", ("binlog.000003:4",), is_complete=True), "GTID"),
        # Any server that was left at its defaults has these.
        (Followed("0-2-270", ("0-1-2",), is_complete=True), "server_id 2"),
        (Followed("0-1-270,3-2-4", ("0-1-2",), is_complete=True), "server_id 2"),
        (Followed("0-1-270 from 0-2-7", ("0-1-2",), is_complete=True), None),
    ],
)
def test_what_stands_in_the_way(followed: Followed, words: str | None) -> None:
    obstacle = find_obstacle(followed, server_id=2)
    assert obstacle is None if words is None else words in (obstacle or "")
