"""A whole life of a job through the vendor's unmodified client: two real servers, a real store, real workers.

created -> tested -> stored -> chosen -> prechecked -> started -> full phase -> incremental phase, with writes all the
while -> provably caught up -> paused -> resumed -> ended -> deleted, and the rows compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdrs import v3 as drs

from tests.api.serving import Served, served, vendor_client, vendor_home, wait_until
from tests.servers.databases import Database
from tests.servers.equality import assert_same_rows
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import MysqlDatabase, MysqlServer
from tests.servers.mysql_equality import assert_same_rows as assert_same_mysql_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.embedded import EmbeddedPostgres

__all__ = ["vendor_home"]
pytestmark = [
    pytest.mark.usefixtures("vendor_home"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdk"),
]

SCHEMA = """
CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2), changed timestamptz);
CREATE INDEX ON item (name);
CREATE TABLE sale (id bigserial PRIMARY KEY, item_id bigint REFERENCES item, amount int);
INSERT INTO item SELECT n, 'item ' || n, n / 7.0, now() FROM generate_series(1, 20000) n;
INSERT INTO sale (item_id, amount) SELECT 1 + n % 20000, n FROM generate_series(1, 40000) n;
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, pg18: EmbeddedPostgres, fresh_database: DatabaseFactory
) -> Iterator[Served]:
    store_url = fresh_database(pg18, "store").url if request.param == "postgresql" else None
    with served(tmp_path / "towline", store_url=store_url) as server:
        yield server


def endpoint(database: Database | MysqlDatabase, kind: type = drs.Endpoint, **members: Any) -> Any:
    return kind(
        db_type=engine_of(database),
        ip=database.server.host,
        db_port=database.server.port,
        db_user=database.server.user,
        db_password=database.server.password,
        db_name=database.name if engine_of(database) == "postgresql" else None,
        **members,
    )


def engine_of(database: Database | MysqlDatabase) -> str:
    return "mysql" if isinstance(database, MysqlDatabase) else "postgresql"


class Life:
    """The calls of one job, each checked for being accepted."""

    def __init__(
        self, client: Any, source: Database | MysqlDatabase, target: Database | MysqlDatabase, *chosen: Any
    ) -> None:
        """`chosen`: objects of the source; everything when there are none."""
        self.client = client
        self.engine = engine_of(source)
        self.chosen = list(chosen)
        self.source = source
        self.target = target
        self.seen: list[str] = []
        self.percents: list[int] = []
        job = drs.CreateJobReq(
            bind_eip=True,
            db_use_type="sync",
            name="whole-life",
            engine_type=self.engine,
            job_direction="up",
            net_type="eip",
            node_type="high",
            task_type="FULL_INCR_TRANS",
            customize_sutnet_id="",
            source_endpoint=drs.Endpoint(db_type=self.engine),
            target_endpoint=drs.Endpoint(db_type=self.engine),
        )
        answer = client.batch_create_jobs(drs.BatchCreateJobsRequest(body=drs.BatchCreateJobReq(jobs=[job])))
        self.job_id: str = answer.results[0].id

    def configure(self) -> None:
        tests = [
            endpoint(database, drs.TestEndPoint, id=self.job_id, net_type="eip", end_point_type=side)
            for database, side in ((self.source, "so"), (self.target, "ta"))
        ]
        body: Any = drs.BatchTestConnectionReq(jobs=tests)
        answer = self.client.batch_validate_connections(drs.BatchValidateConnectionsRequest(body=body))
        assert [result.success for result in answer.results] == [True, True], answer
        change = drs.ModifyJobReq(
            job_id=self.job_id,
            store_db_info=True,
            engine_type=self.engine,
            net_type="eip",
            node_type="high",
            source_endpoint=endpoint(self.source),
            target_endpoint=endpoint(self.target),
        )
        answer = self.client.batch_update_job(drs.BatchUpdateJobRequest(body=drs.BatchModifyJobReq(jobs=[change])))
        assert answer.results[0].status == "success", answer
        chosen = drs.UpdateDatabaseObjectReq(job_id=self.job_id, selected=bool(self.chosen), job=self.chosen or None)
        body = drs.BatchUpdateDatabaseObjectReq(jobs=[chosen])
        assert self.client.batch_set_objects(drs.BatchSetObjectsRequest(body=body)).results[0].status

    def edit_objects(self, *objects: Any) -> None:
        """Let the running job have these objects and no others."""
        chosen = drs.UpdateDatabaseObjectReq(job_id=self.job_id, selected=True, job=list(objects))
        body: Any = drs.BatchUpdateDatabaseObjectReq(jobs=[chosen])
        assert self.client.batch_set_objects(drs.BatchSetObjectsRequest(body=body)).results[0].status
        body = drs.BatchRetryReq(jobs=[drs.RetryInfo(job_id=self.job_id, is_sync_re_edit=True)])
        answer = self.client.batch_restore_task(drs.BatchRestoreTaskRequest(body=body))
        assert answer.results[0].status == "success", answer

    def precheck(self) -> None:
        item = drs.PreCheckInfo(job_id=self.job_id, precheck_mode="forStartJob")
        body = drs.BatchPrecheckReq(jobs=[item])
        answer = self.client.batch_check_jobs(drs.BatchCheckJobsRequest(body=body))
        assert answer.results[0].status == "success", answer
        request = drs.BatchCheckResultsRequest(body=drs.BatchQueryPrecheckResultReq(jobs=[self.job_id]))
        result = wait_until(
            lambda: self.client.batch_check_results(request).results[0],
            lambda run: run.process == "100%",
            timeout_s=60,
            what="precheck",
        )
        assert result.total_passed_rate == "100%", result

    def start(self) -> None:
        body = drs.BatchStartJobReq(jobs=[drs.StartInfo(job_id=self.job_id)])
        answer = self.client.batch_start_jobs(drs.BatchStartJobsRequest(body=body))
        assert answer.results[0].status == "success", answer

    def pause(self) -> None:
        body = drs.BatchPauseJobReq(jobs=[drs.PauseInfo(job_id=self.job_id, pause_mode="all")])
        answer = self.client.batch_stop_jobs(drs.BatchStopJobsRequest(body=body))
        assert answer.results[0].status == "success", answer

    def resume(self) -> None:
        body = drs.BatchRetryReq(jobs=[drs.RetryInfo(job_id=self.job_id)])
        answer = self.client.batch_restore_task(drs.BatchRestoreTaskRequest(body=body))
        assert answer.results[0].status == "success", answer

    def delete(self, kind: str) -> None:
        body = drs.BatchDeleteJobReq(jobs=[drs.DeleteJobReq(job_id=self.job_id, delete_type=kind)])
        answer = self.client.batch_delete_jobs(drs.BatchDeleteJobsRequest(body=body))
        assert answer.results[0].status == "success", answer

    def progress(self) -> Any:
        """The job's record, which must not contradict itself or go backwards."""
        body = drs.BatchQueryProgressReq(jobs=[self.job_id])
        record = self.client.batch_list_progresses(drs.BatchListProgressesRequest(body=body)).results[0]
        if record.transfer_status not in self.seen[-1:]:
            self.seen.append(record.transfer_status)
        self.percents.append(int(record.progress))
        assert self.percents == sorted(self.percents), "progress went backwards"
        if record.transfer_status == "FULL_TRANSFER_STARTED":
            assert int(record.progress) < 100
            assert record.incre_trans_delay == "-1"
        if record.transfer_status == "INCRE_TRANSFER_STARTED":
            assert record.progress == "100"
            assert record.progress_map is None
        assert record.error_code is None, record
        return record

    def check_structure(self) -> None:
        """After the full phase every object and every table is on the target."""
        body: Any = drs.BatchQueryJobReq(jobs=[self.job_id])
        assert self.read_tables() == {"public.item": 100, "public.sale": 100}
        (result,) = self.client.batch_list_struct_process(drs.BatchListStructProcessRequest(body=body)).results
        kinds = {kind.type: kind for kind in result.struct_process.result}
        assert all(kind.status == 2 and kind.src_count == kind.dst_count for kind in kinds.values()), result
        assert kinds["table"].src_count == 2
        body = drs.BatchQueryJobReqPage(jobs=[self.job_id])
        assert (kinds["index"].src_count, kinds["foreign_key"].src_count, kinds["sequence"].src_count) == (1, 1, 1)
        answer = self.client.batch_list_struct_detail(drs.BatchListStructDetailRequest(type="index", body=body))
        (index,) = answer.results[0].struct_detail.list
        assert (index.src_tb, index.progress) == ("public.item_name_idx", 100)

    def read_tables(self) -> dict[str, int]:
        """The percentage of the rows of each of the job's tables."""
        body = drs.BatchQueryJobReqPage(jobs=[self.job_id])
        answer = self.client.batch_list_struct_detail(drs.BatchListStructDetailRequest(type="table", body=body))
        return {entry.src_tb: entry.progress for entry in answer.results[0].struct_detail.list}

    def wait_for(self, word: str, *, timeout_s: float = 90) -> Any:
        return wait_until(self.progress, lambda record: record.transfer_status == word, timeout_s=timeout_s, what=word)

    def wait_until_proven(self) -> None:
        """The delay says that everything committed before now is on the target."""
        now_ms = time.time() * 1000

        def is_proven(record: Any) -> bool:
            asked_ms = time.time() * 1000
            delay_ms = int(record.incre_trans_delay_millis)
            return record.transfer_status == "INCRE_TRANSFER_STARTED" and 0 <= delay_ms < asked_ms - now_ms

        wait_until(self.progress, is_proven, timeout_s=60, what="proof of the delay")


@pytest.mark.timeout(300)
async def test_whole_life_of_a_job(
    server: Served, pg18: EmbeddedPostgres, pg16: EmbeddedPostgres, fresh_database: DatabaseFactory
) -> None:
    source, target = fresh_database(pg16, "source"), fresh_database(pg18, "target")
    source.execute(SCHEMA)
    life = Life(vendor_client(server), source, target)
    life.configure()
    life.precheck()
    life.start()
    source.execute("UPDATE item SET price = price + 1 WHERE id % 10 = 0; DELETE FROM sale WHERE id % 100 = 0")
    life.wait_for("INCRE_TRANSFER_STARTED")
    life.check_structure()
    source.execute("INSERT INTO item SELECT n, 'later', 1, now() FROM generate_series(30001, 31000) n")
    life.wait_until_proven()
    await assert_same_rows(source.url, target.url)

    life.pause()
    paused = life.wait_for("PAUSING")
    assert paused.progress == "100"
    source.execute("UPDATE item SET name = 'while paused' WHERE id <= 50")
    life.resume()
    life.wait_for("INCRE_TRANSFER_STARTED")
    life.wait_until_proven()
    await assert_same_rows(source.url, target.url)

    source.execute(
        "CREATE TABLE late (id int PRIMARY KEY, item int); INSERT INTO late SELECT n, n FROM generate_series(1, 99) n"
    )
    # One table joins and another one leaves.
    kept = [f"{source.name}-*-*-public-*-*-{name}" for name in ("item", "late")]
    life.edit_objects(*(drs.DatabaseInfo(id=name, object_type="table", select="true") for name in kept))
    copied = "SELECT CASE WHEN to_regclass('late') IS NULL THEN 0 ELSE pg_relation_size(to_regclass('late')) END"
    wait_until(lambda: target.fetch_value(copied), bool, timeout_s=60, what="a table that joins")
    before = target.fetch_value("SELECT count(*) FROM sale")
    source.execute(
        """UPDATE late SET item = 0 WHERE id < 10; UPDATE item SET name = 'after all' WHERE id <= 50;
        DELETE FROM sale; DELETE FROM item WHERE id < 50"""
    )
    life.wait_until_proven()
    await assert_same_rows(source.url, target.url, ["item", "late"])
    assert target.fetch_value("SELECT count(*) FROM sale") == before > 0
    assert life.read_tables() == {"public.item": 100, "public.late": 100}

    detail_body = drs.BatchQueryJobReqPage(jobs=[life.job_id])
    detail = life.client.batch_list_job_details(drs.BatchListJobDetailsRequest(body=detail_body)).results[0]
    assert int(detail.create_time) <= int(detail.actual_start_time) <= int(detail.full_transfer_complete_time)

    life.delete("terminate")
    life.wait_for("RELEASE_RESOURCE_COMPLETE")
    assert source.fetch_all("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    assert source.fetch_all("SELECT pubname FROM pg_publication") == []
    await assert_same_rows(source.url, target.url, ["item", "late"])
    life.delete("delete")
    assert "INCRE_TRANSFER_STARTED" in life.seen


@pytest.mark.timeout(300)
async def test_whole_life_of_a_mysql_job(
    tmp_path: Path,
    mysql_server: MysqlServer,
    mysql_server_second: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
) -> None:
    source = fresh_mysql_database(mysql_server)
    target = MysqlDatabase(mysql_server_second, source.name)
    source.execute(
        "CREATE TABLE item (id int PRIMARY KEY AUTO_INCREMENT, name varchar(40), price decimal(10,2), KEY (name))",
        "INSERT INTO item (name, price) VALUES " + ", ".join(f"('item {n}', {n})" for n in range(2000)),
        "CREATE TABLE other (id int PRIMARY KEY)",
    )
    try:
        with served(tmp_path / "towline") as server:
            table = drs.DatabaseInfo(id=f"{source.name}-*-*-item", object_type="table", select="true")
            life = Life(vendor_client(server), source, target, table)
            life.configure()
            life.precheck()
            life.start()
            life.wait_for("INCRE_TRANSFER_STARTED")
            source.execute("UPDATE item SET price = price + 1 WHERE id % 10 = 0", "DELETE FROM item WHERE id > 1990")
            life.wait_until_proven()
            source.execute("DROP TABLE other")  # not of the job
            assert_same_mysql_rows(mysql_server, mysql_server_second, source.name)
            life.pause()
            life.wait_for("PAUSING")
            source.execute("INSERT INTO item (name, price) VALUES ('while paused', 1)")
            life.resume()
            life.wait_for("INCRE_TRANSFER_STARTED")
            life.wait_until_proven()
            assert_same_mysql_rows(mysql_server, mysql_server_second, source.name)
            life.delete("terminate")
            life.wait_for("RELEASE_RESOURCE_COMPLETE")
            assert mysql_server_second.fetch_all("SHOW DATABASES LIKE 'towline'") == []
            life.delete("delete")
    finally:
        target.drop()
