"""When a job may go on at another source server than the one it was copied from. Pure.

After a failover the source's address leads to a server with another identity.  The job goes on there when both hold:

- What the target has is the source's state at one place of its history.  While tables are still being copied, or the
  stream has not passed the last snapshot, there are rows on the target that are newer than the checkpoint, and
  the other server may have lost just their transactions.
- That place has a name on the other server, a GTID.  Whether the server has all of it, and none purged that comes
  after, is asked when the stream begins, see `binlog_reader`.

A MySQL GTID holds the UUID of the server that wrote the transaction, so no two histories share one.  A MariaDB GTID
holds a small number that the operator chose, and `0-1-270` is on each server that was left at the default.  So a server
with the number of the one that wrote the job's last transaction is not followed: it may be a stranger with a history
of its own, while a replica has another number.
"""

from __future__ import annotations

from towline.adapters.mysql.gtid import GtidSet, MariadbGtids, parse_position
from towline.domain.failover import Followed


def find_obstacle(followed: Followed, *, server_id: int) -> str | None:
    """Why the server with this `@@server_id` cannot be followed instead; None when nothing is known against it."""
    if followed.checkpoint is None or not followed.is_complete:
        return "its tables are not all copied yet"
    checkpoint = parse_position(followed.checkpoint)
    if not isinstance(checkpoint.reached, GtidSet | MariadbGtids):
        return "its place in the history is a byte of a file, which another server does not have; that takes GTIDs"
    if not all(checkpoint.covers(parse_position(snapshot)) for snapshot in followed.snapshots):
        return "the target has not reached the place of its last snapshot yet"
    if isinstance(checkpoint.reached, MariadbGtids) and checkpoint.reached.has_writer(server_id):
        return f"this server has the server_id {server_id} of the one that wrote the job's last transaction"
    return None
