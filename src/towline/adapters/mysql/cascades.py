"""Foreign keys that change rows of a child table, and whether the source's binlog holds what they do.

InnoDB does it below the binlog.  From 9.6 on MySQL does it above, and logs it, unless the server was started with
`innodb_native_foreign_keys`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import quote_literal
from towline.adapters.mysql.session import Session
from towline.domain.errors import SetupError, Side
from towline.domain.tables import TableName

NATIVE_FOREIGN_KEYS: Final = "innodb_native_foreign_keys"
_NAMES_SHOWN: Final = 5
_CASCADING: Final = """
SELECT DISTINCT constraint_schema, table_name FROM information_schema.referential_constraints
WHERE constraint_schema IN ({schemas})
  AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))
ORDER BY constraint_schema, table_name
"""


def logs_cascades(flavor: Flavor, native_foreign_keys: str) -> bool:
    """`native_foreign_keys`: the server's value of that variable, "" if it has none. Pure."""
    return flavor.is_mysql_from(9, 6) and native_foreign_keys != "ON"


async def read_cascading(session: Session, schemas: Collection[str]) -> list[TableName]:
    """The tables of these databases whose rows a foreign key changes."""
    listed = ", ".join(quote_literal(name) for name in schemas) or "''"
    return [TableName(*row) for row in await session.query(_CASCADING.format(schemas=listed))]


async def require_logged_cascades(session: Session, tables: Collection[TableName]) -> bool:
    """Whether this server logs what foreign keys do.

    Raises:
        SetupError: it does not, and they do something to one of these tables.
    """
    rows = await session.query(f"SHOW GLOBAL VARIABLES LIKE '{NATIVE_FOREIGN_KEYS}'", what="reading the kind of keys")
    if logs_cascades(session.flavor, str(rows[0][1]) if rows else ""):
        return True
    found = await read_cascading(session, sorted({table.schema for table in tables}))
    changed = [str(table) for table in found if table in tables]
    if changed:
        raise SetupError(
            f"foreign keys change rows of {', '.join(changed[:_NAMES_SHOWN])} without a word in the source's binlog",
            side=Side.SOURCE,
            remedy="Give these keys ON DELETE and ON UPDATE RESTRICT on the source, or start a job without the tables.",
        )
    return False
