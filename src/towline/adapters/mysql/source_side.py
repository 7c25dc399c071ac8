"""What a job with a MySQL or MariaDB source asks of that side, whatever its target is."""

from __future__ import annotations

from dataclasses import dataclass

from towline.adapters.mysql.catalog import read_identity
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.diagnosis import MySourceDiagnosis
from towline.adapters.mysql.failover import find_obstacle
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.gtid import BinlogPosition, parse_position
from towline.adapters.mysql.positions import read_position
from towline.domain.errors import SetupError, Side
from towline.domain.failover import Followed
from towline.domain.jobs import JobSpec


class MySourceSide:
    """The half of `engine.ports.Sides` that is the same for every target."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec

    async def read_source_position(self) -> BinlogPosition:
        session = await connect(self._spec.source, purpose=f"{self._spec.job_id}:position", side=Side.SOURCE)
        try:
            position = await read_position(session)
        finally:
            session.terminate()
        if position is None:
            raise SetupError("the source writes no binlog", side=Side.SOURCE, remedy="Set log_bin on the source.")
        return position

    def parse_position(self, text: str) -> BinlogPosition:
        return parse_position(text)

    def new_source_diagnosis(self) -> MySourceDiagnosis:
        return MySourceDiagnosis(self._spec.source, job_id=self._spec.job_id)


@dataclass(frozen=True, slots=True)
class MyServer:
    identity: str
    flavor: Flavor
    server_id: int

    def find_obstacle(self, followed: Followed) -> str | None:
        """Why a job that another server was the source of cannot go on at this one."""
        return find_obstacle(followed, server_id=self.server_id)


async def look_at_source(spec: JobSpec) -> MyServer:
    """Raises: ConnectionRefused, ServerUnreachable."""
    session = await connect(spec.source, purpose=f"{spec.job_id}:identity", side=Side.SOURCE)
    try:
        server_id = int(await session.query_value("SELECT @@GLOBAL.server_id"))
        return MyServer(await read_identity(session), session.flavor, server_id)
    finally:
        session.terminate()
