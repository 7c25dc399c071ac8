"""The form of a table as it follows from statements is that of the source's catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.integration.mysql.reading import endpoint_of
from tests.servers.mysql import MysqlDatabase
from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_alter import plan_alter, read_ddl
from towline.adapters.mysql.postgres_tables import plan_create
from towline.adapters.mysql.shapes import ColumnShape, codec_name
from towline.adapters.mysql.source_form import SourceForm
from towline.adapters.mysql.source_forms import read_source_forms
from towline.adapters.mysql.statement_context import StatementContext
from towline.adapters.mysql.statements import read_statement
from towline.domain.tables import TableName

# Each makes table `t`, or alters it.
STATEMENTS = (
    """CREATE TABLE t (a TINYINT, b SMALLINT(5) UNSIGNED, c MEDIUMINT SIGNED, d INTEGER, e BIGINT UNSIGNED NOT NULL,
        f FLOAT, g DOUBLE PRECISION, h DEC, i NUMERIC(6), j FIXED(7,3) UNSIGNED, k BOOL, l BIT, m BIT(9),
        n YEAR, o DATE, p TIME(3), q DATETIME(6), r TIMESTAMP NULL, UNIQUE (e, a), KEY (d), KEY second (d, c))""",
    """CREATE TABLE t (Id INT AUTO_INCREMENT, a CHAR, b CHARACTER VARYING(7) CHARSET latin1,
        c VARCHAR(3) COLLATE utf8mb4_bin,
        d TINYTEXT, e TEXT CHARACTER SET ucs2, f MEDIUMTEXT COLLATE ascii_general_ci, g LONGTEXT,
        h ENUM('a','it''s  ','b\\\\c', 'ö') CHARSET latin1, i SET('p','q') NOT NULL DEFAULT '', j JSON,
        k BINARY, l BINARY(3), m VARBINARY(20), n TINYBLOB, o BLOB, p MEDIUMBLOB, q LONGBLOB,
        r GEOMETRY, s POINT, u GEOMETRYCOLLECTION, PRIMARY KEY (ID), KEY (b(3)), FULLTEXT (g))
        DEFAULT CHARSET = latin2""",
    "CREATE TABLE t (v VARCHAR(5), w INT PRIMARY KEY, x INT UNIQUE) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    "ALTER TABLE t ADD y CHAR(3) FIRST, ADD z TEXT AFTER W, MODIFY v VARCHAR(9) COLLATE utf8mb4_bin AFTER x",
    "ALTER TABLE t CHANGE x X2 BIGINT NOT NULL FIRST, ADD a INT AFTER v, DROP y, ADD KEY (a), ADD KEY k (w, a)",
    "ALTER TABLE t DROP z, ADD z2 VARCHAR(2), DROP KEY k, ADD b2 ENUM('x') AFTER a, ADD c INT",
    "ALTER TABLE t MODIFY C BIGINT, CHANGE B2 B2 ENUM('x','y') FIRST",
)


async def test_the_form_that_follows_from_statements_is_the_catalog_s(mysql_database: MysqlDatabase) -> None:
    charset = "greek"
    server, table = mysql_database.server, TableName(mysql_database.name, "t")
    mysql_database.execute(f"ALTER DATABASE `{mysql_database.name}` CHARACTER SET {charset}")
    context = StatementContext(mysql_database.name, sql_mode=0, has_explicit_timestamps=True, time_zone="+00:00")
    form: SourceForm | None = None
    known = KnownTables({}, {table.schema: charset}, lambda _: True, lambda name: name)
    for text in STATEMENTS:
        if text.startswith("CREATE"):
            mysql_database.execute("DROP TABLE IF EXISTS t")
        mysql_database.execute(text)
        statement = read_statement(text, mysql_database.name)
        if text.startswith("CREATE"):
            order = plan_create(read_ddl(text, statement), known, context, is_mariadb=server.is_mariadb)
        else:
            assert form is not None
            order = plan_alter(read_ddl(text, statement), form, context, known, is_mariadb=server.is_mariadb)
        assert order is not None
        form = order.forms[0].form
        kept = await read_source_forms(endpoint_of(server), [table], job_id="forms")
        assert kept.charsets[table.schema] == charset
        assert form is not None
        assert normal(form) == normal(kept.tables[table]), text


def normal(form: SourceForm) -> dict[str, Any]:
    """What decoding goes by: a display width does not count, nor what a character set is called."""
    return {
        "columns": [normal_column(column) for column in form.columns],
        "key": form.key,
        "charset": codec_name(form.charset),
        "indexes": sorted(form.indexes),
    }


def normal_column(column: ColumnShape) -> tuple[Any, ...]:
    kind = column.type_name.replace("geometrycollection", "geomcollection")
    has_labels = kind in ("enum", "set")
    parameters = () if kind.endswith("int") or kind == "year" or has_labels else column.parameters
    labels = replace(column, charset="utf8mb4").labels() if has_labels else ()
    return column.name, kind, parameters, column.is_unsigned, labels, column.charset and codec_name(column.charset)
