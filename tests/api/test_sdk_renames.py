"""Objects with other names on the target, through the vendor's client: real servers on both sides, a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdrs import v3 as drs

from tests.api.serving import served, vendor_client, vendor_home
from tests.api.test_sdk_life import Life
from tests.servers.fixtures import DatabaseFactory
from towline.embedded import EmbeddedPostgres

__all__ = ["vendor_home"]
pytestmark = [
    pytest.mark.usefixtures("vendor_home"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdk"),
]

SCHEMA = """
CREATE SCHEMA shop;
CREATE TABLE shop.item (id bigint PRIMARY KEY, name text);
CREATE TABLE shop.sale (id bigserial PRIMARY KEY, item_id bigint REFERENCES shop.item, amount int);
CREATE VIEW shop.sold AS SELECT item.name, sum(sale.amount) AS amount FROM shop.sale JOIN shop.item
    ON item.id = sale.item_id GROUP BY item.name;
INSERT INTO shop.item SELECT n, 'item ' || n FROM generate_series(1, 100) n;
INSERT INTO shop.sale (item_id, amount) SELECT 1 + n % 100, n FROM generate_series(1, 1000) n;
"""


def chosen(kind: str, alias: str | None, *path: str) -> Any:
    return drs.DatabaseInfo(
        id="-*-*-".join(path), object_type=kind, object_name=path[-1], object_alias_name=alias, select="true"
    )


def read_pairs(life: Life, kind: str) -> list[tuple[str, str]]:
    request = drs.BatchListStructDetailRequest(type=kind, body=drs.BatchQueryJobReqPage(jobs=[life.job_id]))
    (result,) = life.client.batch_list_struct_detail(request).results
    return [(entry.src_tb, entry.dst_tb) for entry in result.struct_detail.list]


@pytest.mark.timeout(240)
async def test_a_schema_and_a_table_have_other_names_on_the_target(
    tmp_path: Path, pg18: EmbeddedPostgres, pg18_second: EmbeddedPostgres, fresh_database: DatabaseFactory
) -> None:
    source, target = fresh_database(pg18, "source"), fresh_database(pg18_second, "target")
    source.execute(SCHEMA)
    target.execute("CREATE SCHEMA shop; CREATE TABLE shop.sale (mine int)")
    objects = chosen("schema", "sales", source.name, "shop"), chosen("table", "sale_2026", source.name, "shop", "sale")
    with served(tmp_path / "towline") as server:
        life = Life(vendor_client(server), source, target, *objects)
        life.configure()
        life.precheck()
        life.start()
        life.wait_for("INCRE_TRANSFER_STARTED")
        source.execute("UPDATE shop.sale SET amount = -1 WHERE id < 10; INSERT INTO shop.item VALUES (200, 'late')")
        life.wait_until_proven()
        rows = "SELECT * FROM {} ORDER BY 1"
        for mine, there in (("sale", "sale_2026"), ("item", "item"), ("sold", "sold")):
            expected = source.fetch_all(rows.format(f"shop.{mine}"))
            assert target.fetch_all(rows.format(f"sales.{there}")) == expected
        assert read_pairs(life, "table") == [("shop.item", "sales.item"), ("shop.sale", "sales.sale_2026")]
        assert read_pairs(life, "view") == [("shop.sold", "sales.sold")]
        assert read_pairs(life, "schema") == [("shop", "sales")]
        body = drs.BatchQueryJobReqPage(jobs=[life.job_id])
        detail = life.client.batch_list_job_details(drs.BatchListJobDetailsRequest(body=body)).results[0]
        assert [(each.name, each.alias_name) for each in detail.object_infos] == [
            ("shop", "sales"),
            ("sale", "sale_2026"),
        ]
        life.delete("terminate")
        life.wait_for("RELEASE_RESOURCE_COMPLETE")
    assert target.fetch_all("SELECT * FROM shop.sale") == []
